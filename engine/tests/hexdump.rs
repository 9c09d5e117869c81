//! The worked example of FORMAT.md: one message in the journal and in a pack, byte for byte.
//!
//! Every byte is written here by hand, with what it means; the code must come to the same bytes,
//! and FORMAT.md must show them. `HANSARD_BLESS=1 cargo test -p hansard-engine --test hexdump`
//! writes the example anew.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::fmt::Write as _;
use std::sync::Arc;

use hansard_engine::format::frame::{DirEntry, FrameParts, encode_frame};
use hansard_engine::format::payload::*;
use hansard_engine::format::record::{Actor, Door, Record};
use hansard_engine::open::FOLDERS;
use hansard_engine::pack::{PackKind, PackWriter};
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::SimStorage;
use hansard_engine::tail::TailEntry;
use hansard_engine::types::*;

const BEGIN: &str = "<!-- generated: hexdump -->";
const END: &str = "<!-- end of the example -->";

/// Bytes with what they mean.
#[derive(Default)]
struct Dump(Vec<(Vec<u8>, String)>);

impl Dump {
    fn put(&mut self, bytes: impl AsRef<[u8]>, means: &str) -> &mut Self {
        self.0.push((bytes.as_ref().to_vec(), means.to_owned()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|(bytes, _)| bytes.iter().copied()).collect()
    }

    /// All of another, each line with a word before it.
    fn all(&mut self, other: &Self) -> &mut Self {
        self.0.extend(other.0.iter().cloned());
        self
    }

    fn show(&self, title: &str, out: &mut String) {
        writeln!(out, "\n{title}\n\n```text").unwrap();
        let mut at = 0;
        for (bytes, means) in &self.0 {
            let zeros = bytes.len() > 16 && bytes.iter().all(|byte| *byte == 0);
            if zeros {
                writeln!(out, "{at:04x}  {:<47}  {means}", format!("00 .. 00 ({})", bytes.len()))
                    .unwrap();
            }
            let lines = if zeros { [].chunks(16) } else { bytes.chunks(16) };
            for (nth, line) in lines.enumerate() {
                let hex: Vec<String> = line.iter().map(|byte| format!("{byte:02x}")).collect();
                let means = if nth == 0 { means } else { "" };
                let text = format!("{:04x}  {:<47}  {means}", at + nth * 16, hex.join(" "));
                writeln!(out, "{}", text.trim_end()).unwrap();
            }
            at += bytes.len();
        }
        out.push_str("```\n");
    }
}

fn varint(mut n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 128 {
        out.push(u8::try_from(n % 128).unwrap() | 128);
        n /= 128;
    }
    out.push(u8::try_from(n).unwrap());
    out
}

fn zigzag(n: i64) -> Vec<u8> {
    varint(if n < 0 { (n.unsigned_abs() - 1) * 2 + 1 } else { n.unsigned_abs() * 2 })
}

/// CRC-32 as everything on disk has it, a bit at a time.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 0 { crc >> 1 } else { (crc >> 1) ^ 0xedb8_8320 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

const fn le4(n: u32) -> [u8; 4] {
    n.to_le_bytes()
}

const fn le8(n: u64) -> [u8; 8] {
    n.to_le_bytes()
}

fn text(text: &str) -> Vec<u8> {
    [varint(text.len() as u64), text.as_bytes().to_vec()].concat()
}

/// 2026-01-01T12:00:00Z.
const NOON: i64 = 1_767_268_800_000_000;
const ROOM: u64 = (1 << 48) + 9;
const CATEGORY: u64 = (1 << 48) + 8;
const ANN: u64 = (1 << 48) + 6;
const SESSION: u64 = (1 << 48) + 7;
const LAYOUT: u32 = 2 << 16;

fn record() -> Record {
    Record {
        epoch: Epoch(1),
        lsn: Lsn(12),
        recorded: TimeUs(NOON),
        time: TimeUs(NOON),
        room: RoomId(ROOM),
        seq: Seq(1),
        rev: Rev(2),
        actor: Actor {
            id: PrincipalId(ANN),
            name: "ann".into(),
            door: Door::Http,
            address: "127.0.0.1".into(),
            session: TokenId(SESSION),
        },
        policy: Lsn(11),
        idempotency: None,
        payload: Payload::Post(Post {
            kind: EntryKind::Text,
            body: "Order, order!".into(),
            reply_to: Seq::ZERO,
            import: None,
        }),
    }
}

fn record_by_hand() -> Dump {
    let mut dump = Dump::default();
    dump.put([1], "version of the envelope").put([1], "kind: post").put([1], "flags: has a seq");
    dump.put([1], "epoch").put([12], "lsn").put(varint(ROOM), "room 1<<48 | 9").put([2], "rev");
    dump.put([1], "seq").put(zigzag(NOON), "recorded, 2026-01-01T12:00:00Z");
    dump.all(&maker()).put([11], "policy").put([1], "Post.kind: text");
    dump.put(text("Order, order!"), "Post.body").put([0], "Post.reply_to: nothing");
    dump.put([0], "Post.import: none");
    dump
}

fn maker() -> Dump {
    let mut dump = Dump::default();
    dump.put(varint(ANN), "actor 1<<48 | 6").put(text("ann"), "his name").put([2], "door: http");
    dump.put(text("127.0.0.1"), "client address").put(varint(SESSION), "session 1<<48 | 7");
    dump
}

/// The first frame of a file: at 4096, in its third use.
fn frame_by_hand(record: &[u8]) -> Dump {
    let mut dir = Dump::default();
    dir.put(le4(u32::try_from(record.len()).unwrap()), "record: its bytes").put([1], "kind");
    dir.put([0; 3], "zero").put(le8(ROOM), "room").put(le8(1), "seq").put(le8(2), "rev");
    let use_and_lsn = [le8(3), le8(12)].concat();
    let dir_crc = crc(&[use_and_lsn.as_slice(), &dir.bytes()].concat());
    let mut rest = Dump::default();
    rest.put(le4(0xfeed_beef), "header CRC of the frame before").put(le4(0), "flags");
    rest.put(le8(3), "incarnation").put(le8(4096), "offset in the file").put(le8(12), "first lsn");
    rest.put(le8(11), "synced")
        .put(le8(11), "committed")
        .put(le8(NOON.unsigned_abs()), "newest time");
    rest.put(le4(1), "epoch").put(le4(1), "records").put(le4(dir_crc), "CRC-32 of directory");
    rest.put(le4(u32::try_from(record.len()).unwrap() + 4), "bytes of records with checksums");
    rest.put(le4(4096), "bytes of the frame").put([0; 12], "zero");
    let mut dump = Dump::default();
    dump.put("HnFr", "magic").put(le4(crc(&rest.bytes())), "CRC-32 of the rest of the header");
    dump.all(&rest).all(&dir).put(record, "the record, as above");
    let sum = crc(&[use_and_lsn.as_slice(), record].concat());
    dump.put(le4(sum), "CRC-32 of incarnation, lsn and record");
    let padding = 4096 - dump.bytes().len();
    dump.put(vec![0; padding], "padding to the sector");
    dump
}

/// A pack with this record alone.
fn pack_by_hand(record: usize) -> Dump {
    let mut numbers = Dump::default();
    numbers
        .put(varint(ROOM), "numbers: room")
        .put([2], "first rev")
        .put([1], "heads")
        .put([1], "makers");
    numbers.put([0, 0x80, 5], "actors: 3 less than the room");
    numbers.put([0, 0x80, 3], "sessions: 2 less than the room").put([0x80, 3], "names: 3 bytes");
    numbers.put([0xc0], "places: each a new one");
    numbers.put([0, 0x80, 22], "policy: 11 more than nothing before");
    numbers.put([0xc0], "head: all 0").put([0xc0], "maker: all 0").put([0x80, 24], "lsn: 12 more");
    numbers.put([&[0x80][..], &zigzag(NOON)].concat(), "recorded: so much more than 0");
    numbers
        .put([0x80, 13], "text: 13 bytes")
        .put([0xc0], "seq: the next")
        .put([0xc0], "time: no numbers");
    numbers.put([0xc0], "reply_to: 0").put([0xc0], "key: no numbers");
    let mut words = Dump::default();
    words.put([7, 4], "words: a head of 7 bytes, of which 4 are of the record");
    words
        .put([1, 1, 1, 1], "version, kind, flags, epoch")
        .put([1], "Post.kind")
        .put([0], "Post.import");
    words.put("ann", "a name").put([10, 2], "a place: 10 bytes, door http");
    words.put("127.0.0.1", "client address").put("Order, order!", "the text");
    let (numbers_len, words_len) = (numbers.bytes().len(), words.bytes().len());
    let mut block = Dump::default();
    block
        .put("HnBk", "block: magic")
        .put([7], "form: columns, words as they are, makers as columns")
        .put([0], "dictionary: none");
    block.put([1], "records").put(varint(record as u64), "bytes of the records");
    block
        .put(varint(numbers_len as u64), "bytes of numbers")
        .put(varint(words_len as u64), "bytes of words");
    block.all(&numbers).all(&words);

    let mut index = Dump::default();
    let id = |id: u64| [varint(id & 0xffff_ffff_ffff), varint(id >> 48)].concat();
    index
        .put([1], "index: runs")
        .put([0], "Run.form")
        .put([4], "flags: one block")
        .put([5], "pack")
        .put(id(ROOM), "room")
        .put(id(CATEGORY), "category");
    index.put([2], "first_rev").put([0], "last_rev: the same").put([0], "seq_base");
    index.put(zigzag(1), "last_seq: 1 more").put(zigzag(NOON), "first_time");
    index.put([0], "last_time: the same").put([12], "first_lsn").put([0], "last_lsn: the same");
    index
        .put(zigzag(28), "BlockRef.offset: 28 more than 0")
        .put(varint(block.bytes().len() as u64), "bytes")
        .put(le4(crc(&block.bytes())), "crc")
        .put([0], "dropped");

    let mut head = Dump::default();
    head.put("HnPk", "header: magic")
        .put(le4(LAYOUT), "layout: format 2")
        .put(le8(5), "pack number");
    head.put(le4(0), "bytes of its own dictionary").put(le4(0), "its CRC-32");
    let at = 28 + block.bytes().len() as u64;
    let mut foot = Dump::default();
    foot.put(le8(5), "footer: pack number").put(le8(at), "where the index starts");
    foot.put(le8(index.bytes().len() as u64), "its bytes")
        .put(le8(1), "runs")
        .put(le8(1), "records");
    foot.put(le4(crc(&index.bytes())), "CRC-32 of the index").put(le4(LAYOUT), "layout");
    foot.put(le4(365), "retention class: 365 days")
        .put(le4(0), "level")
        .put(le8(0), "dictionary: none");
    let mut dump = Dump::default();
    dump.all(&head)
        .put(le4(crc(&head.bytes())), "CRC-32 of the header")
        .all(&block)
        .all(&index)
        .all(&foot);
    dump.put(le4(crc(&foot.bytes())), "CRC-32 of the footer").put("HnPe", "magic");
    dump
}

fn frame_by_code(record: &Record, bytes: &[u8]) -> Vec<u8> {
    let entry = DirEntry {
        bytes: u32::try_from(bytes.len()).unwrap(),
        kind: record.payload.kind(),
        room: record.room,
        seq: record.seq,
        rev: record.rev,
    };
    let parts = FrameParts {
        prev_crc: 0xfeed_beef,
        flags: 0,
        incarnation: 3,
        offset: 4096,
        first_lsn: Lsn(12),
        synced: Lsn(11),
        committed: Lsn(11),
        recorded: TimeUs(NOON),
        epoch: Epoch(1),
        entries: &[entry],
        records: bytes,
    };
    encode_frame(&parts).0
}

fn pack_by_code(record: &Record, bytes: Vec<u8>) -> Vec<u8> {
    let sim = SimStorage::new();
    let disk = Disk::new(Arc::new(sim.clone()));
    FOLDERS.iter().for_each(|folder| disk.create_dir(folder).unwrap());
    let kind = PackKind { class: 365, level: 0, day: TimeUs(NOON).day() };
    let mut writer = PackWriter::create(&disk, 5, kind, None).unwrap();
    let entry = TailEntry {
        lsn: record.lsn,
        rev: record.rev,
        seq_at: record.seq,
        time_at: record.time,
        kind: record.payload.kind(),
        bytes: bytes.into(),
        words: 0,
    };
    writer.add(record.room, CategoryId(CATEGORY), &entry).unwrap();
    writer.finish().unwrap();
    sim.bytes_of("packs/00000005.pack").unwrap()
}

#[test]
fn the_worked_example_of_format_md_is_what_the_code_writes() {
    let record = record();
    let bytes = record.to_bytes();
    let by_hand = record_by_hand();
    assert_eq!(by_hand.bytes(), bytes, "the record");
    assert_eq!(Record::from_bytes(&by_hand.bytes()).unwrap(), record);
    let frame = frame_by_hand(&bytes);
    assert_eq!(frame.bytes(), frame_by_code(&record, &bytes), "the frame");
    let pack = pack_by_hand(bytes.len());
    assert_eq!(pack.bytes(), pack_by_code(&record, bytes.clone()), "the pack");

    let mut shown = String::new();
    by_hand.show("A message as a record:", &mut shown);
    frame.show(
        "The frame of the journal that holds it, alone, the first behind the header of a file:",
        &mut shown,
    );
    pack.show("A pack that holds it, alone:", &mut shown);
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/FORMAT.md");
    let doc = std::fs::read_to_string(path).unwrap();
    let (before, rest) = doc.split_once(BEGIN).expect("FORMAT.md has a place for the example");
    let (there, after) = rest.split_once(END).expect("the example ends");
    if std::env::var_os("HANSARD_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}\n{shown}\n{END}{after}")).unwrap();
    } else {
        assert_eq!(there, format!("\n{shown}\n"), "run with HANSARD_BLESS=1");
    }
}
