"""Checks Hansard's proofs, written from engine/FORMAT.md alone, with Python's standard library.

A second implementation of `hansard-tool check-proof`: neither shares a line with the other, so what
both accept is what the document says. Usage: check_proof.py KEY FILE; one line a proof on standard
output, the JSON of what is proved, or NO and why.
"""

import base64
import datetime
import hashlib
import json
import sys

# Ed25519 (RFC 8032, section 5.1.7), in the plainest way.
P = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, P - 2, P) % P
ROOT = pow(2, (P - 1) // 4, P)


def recover(y, sign):
    if y >= P:
        raise ValueError("a point is out of range")
    x2 = (y * y - 1) * pow(D * y * y + 1, P - 2, P) % P
    x = pow(x2, (P + 3) // 8, P)
    if (x * x - x2) % P:
        x = x * ROOT % P
    if (x * x - x2) % P or (x == 0 and sign):
        raise ValueError("a point is on no curve")
    return P - x if x & 1 != sign else x


def point(data):
    number = int.from_bytes(data, "little")
    y, sign = number & (2**255 - 1), number >> 255
    x = recover(y, sign)
    return (x, y, 1, x * y % P)


def add(a, b):
    x1, y1, z1, t1 = a
    x2, y2, z2, t2 = b
    e, f = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    g, h = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    e, f, g, h = f - e, h - g, h + g, f + e
    return (e * f % P, g * h % P, f * g % P, e * h % P)


def times(number, base):
    total = (0, 1, 1, 0)
    while number:
        if number & 1:
            total = add(total, base)
        base = add(base, base)
        number >>= 1
    return total


def same(a, b):
    return (a[0] * b[2] - b[0] * a[2]) % P == 0 and (a[1] * b[2] - b[1] * a[2]) % P == 0


BASE = (recover(4 * pow(5, P - 2, P) % P, 0), 4 * pow(5, P - 2, P) % P)
BASE = (BASE[0], BASE[1], 1, BASE[0] * BASE[1] % P)


def verifies(public, text, signature):
    a, r = point(public), point(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if s >= ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + text).digest(), "little") % ORDER
    return same(times(s, BASE), add(r, times(k, a)))


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf_hash(data):
    return sha(b"\x00", data)


def node_hash(left, right):
    return sha(b"\x01", left, right)


def require(true, why):
    if not true:
        raise ValueError(why)


class Reader:
    """Reads the fields of a record's bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, count):
        require(self.at + count <= len(self.data), "bytes are cut short")
        self.at += count
        return self.data[self.at - count : self.at]

    def varint(self):
        number, shift = 0, 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if byte < 0x80:
                require(byte or not shift, "a number is not in its shortest form")
                require(number < 2**64, "a number is too large")
                return number
            shift += 7
            require(shift < 70, "a number is too long")

    def signed(self):
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def text(self):
        return self.take(self.varint()).decode("utf-8")

    def end(self):
        require(self.at == len(self.data), "there are bytes behind the end")


def varint(number):
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(out) + bytes([number])


def name_of(letter, number):
    return f"{letter}{number >> 48}-{number & (2**48 - 1)}"


def moment(us):
    at = datetime.datetime(1970, 1, 1) + datetime.timedelta(microseconds=us)
    return at.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond:06d}Z"


DOORS = {1: "system", 2: "http", 3: "irc", 4: "import"}
KINDS = {1: "post", 4: "edited", 5: "redacted", 7: "erased", 72: "room-heads"}
ENTRIES = {1: "text", 2: "action", 3: "file", 4: "event"}


def read_leaf(data):
    reader = Reader(data)
    require(reader.take(1) == b"\x01", "the leaf is of another version")
    leaf = {"kind": KINDS[reader.take(1)[0]]}
    for field in ("epoch", "lsn", "room", "rev", "seq"):
        leaf[field] = reader.varint()
    leaf["recorded"], leaf["time"] = reader.signed(), reader.signed()
    leaf["actor"], leaf["name"] = reader.varint(), reader.text()
    leaf["door"] = DOORS[reader.take(1)[0]]
    leaf["said"], leaf["origin"] = reader.take(32), reader.take(32)
    reader.end()
    return leaf


def shown(leaf, said, origin):
    """What a leaf says, and its commitments where they are opened."""
    out = {
        "room": name_of("r", leaf["room"]),
        "rev": leaf["rev"],
        "epoch": leaf["epoch"],
        "lsn": leaf["lsn"],
        "recorded": moment(leaf["recorded"]),
        "time": moment(leaf["time"]),
        "author": {"id": name_of("p", leaf["actor"]), "name": leaf["name"]},
        "door": leaf["door"],
        "kind": leaf["kind"],
    }
    if leaf["seq"]:
        out["seq"] = leaf["seq"]
    if said is not None:
        data = opened(said, b"\x02", leaf["said"])
        reader = Reader(data)
        if leaf["kind"] == "post":
            out["kind"], out["body"] = ENTRIES[reader.take(1)[0]], reader.text()
            reply_to = reader.varint()
            if reply_to:
                out["reply_to"] = reply_to
            if reader.take(1) == b"\x01":
                source, form = reader.text(), reader.text()
                importer = name_of("p", reader.varint())
                out["source"] = {"name": source, "format": form, "importer": importer}
        elif leaf["kind"] == "edited":
            out["edits"], out["body"] = reader.varint(), reader.text()
        elif leaf["kind"] == "redacted":
            out["redacts"], out["reason"] = reader.varint(), reader.text()
        elif leaf["kind"] == "erased":
            out["erases"] = reader.varint()
            reader.signed(), reader.varint()
            out["reason"] = reader.text()
            # What it says of the records that are gone.
            reader.take(len(data) - reader.at)
        else:
            reader.take(len(data))
        reader.end()
    if origin is not None:
        reader = Reader(opened(origin, b"\x03", leaf["origin"]))
        out["address"] = reader.text()
        out["session"], out["policy"] = name_of("t", reader.varint()), reader.varint()
        reader.end()
    return out


def unhex(text):
    require(text == text.lower(), "hexadecimal is written in lower case")
    return bytes.fromhex(text)


def opened(opening, domain, commitment):
    salt, data = unhex(opening["salt"]), unhex(opening["bytes"])
    require(len(salt) == 16, "a salt has another length")
    require(sha(domain, salt, data) == commitment, "an opening is not what was committed to")
    return data


def root_of(leaf, index, size, path):
    """RFC 9162, 2.1.3.2."""
    require(0 <= index < size, "there is no such leaf")
    at, last, current = index, size - 1, leaf
    for step in path:
        other = unhex(step)
        require(last and len(other) == 32, "a path does not fit its tree")
        if at & 1 or at == last:
            current = node_hash(other, current)
            while at and not at & 1:
                at, last = at >> 1, last >> 1
        else:
            current = node_hash(current, other)
        at, last = at >> 1, last >> 1
    require(not last, "a path does not fit its tree")
    return current


SIGNED = {}


def open_note(note, key):
    """The checkpoint of a signed note (C2SP signed-note, tlog-checkpoint)."""
    if note in SIGNED:
        return SIGNED[note]
    name, number, public = key
    text, signatures = note.split("\n\n", 1)
    text += "\n"
    for line in signatures.splitlines():
        require(line.startswith("\u2014 "), "a signature has another form")
        signer, signature = line[2:].split(" ")
        signature = base64.b64decode(signature, validate=True)
        if signer == name and signature[:4] == number and len(signature) == 68:
            require(verifies(public, text.encode(), signature[4:]), "the signature is wrong")
            origin, size, root, upto, time = text.splitlines()
            root = base64.b64decode(root, validate=True)
            checkpoint = {"origin": origin, "size": int(size), "root": root}
            require(origin == name, "the checkpoint is of another log than the key")
            require(upto.startswith("upto ") and time.startswith("time_us "), "another form")
            checkpoint["time"] = int(time[len("time_us ") :])
            SIGNED[note] = checkpoint
            return checkpoint
    raise ValueError("the note is not signed with the key")


def read_key(text):
    name, number, data = text.strip().split("+", 2)
    data = base64.b64decode(data, validate=True)
    require(data[0] == 1, "the key is not of Ed25519")
    expected = sha(name.encode(), b"\n", data)[:4]
    require(expected.hex() == number, "the key's hash is another key's")
    return name, expected, data[1:]


def check(proof, key):
    require(proof["format"] == "hansard-proof 1", "this is no proof of a message")
    head = open_note(proof["head"], key)
    data = unhex(proof["leaf"])
    leaf = read_leaf(data)
    size = proof["room"]["size"]
    root = root_of(leaf_hash(data), leaf["rev"] - 1, size, proof["room"]["path"])
    listed = proof["listed"]
    entry = leaf_hash(varint(leaf["room"]) + varint(size) + root)
    entries = root_of(entry, listed["index"], listed["entries"], listed["path"])
    data = unhex(listed["leaf"])
    of_list = read_leaf(data)
    require(of_list["kind"] == "room-heads" and of_list["room"] == 8, "this lists no rooms")
    require(
        sha(b"\x02", unhex(listed["salt"]), entries) == of_list["said"], "the room is not listed"
    )
    top = root_of(leaf_hash(data), of_list["rev"] - 1, head["size"], proof["heads"]["path"])
    require(top == head["root"], "the list is not under the signed head")
    proved = shown(leaf, proof["said"], proof["origin"])
    require(proved == proof["message"], "message says something else than what is proved")
    proved["log"], proved["signed"] = head["origin"], moment(head["time"])
    return proved


def main():
    key = read_key(sys.argv[1])
    with open(sys.argv[2], encoding="utf-8") as file:
        for line in file:
            try:
                print(json.dumps(check(json.loads(line), key), sort_keys=True))
            except (ValueError, KeyError, TypeError, IndexError, OverflowError) as wrong:
                print(f"NO {wrong!r}")


main()
