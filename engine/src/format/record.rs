//! The envelope of every record, and its bytes: the same in the journal, in blocks and in the
//! compliance family.
//!
//! It does not frame, checksum or compress; those belong to whoever carries the record.
//! INVARIANT: one value has one byte form, so equal logs are equal bytes.

use super::codec::{
    DecodeError, Reader, VARINT_BYTES_MAX, each_varint_byte, put_bytes, put_signed, put_varint,
    zigzag,
};
use super::payload::{EntryKind, Kind, Payload, Post};
use super::wire::{Wire, wire_enum};
use crate::limits;
use crate::types::{Epoch, Lsn, MessageId, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};

/// The envelope version this build writes.
const VERSION: u8 = 1;

wire_enum! {
    /// The way a draft came in.
    pub enum Door {
        /// The server itself, or an offline tool.
        System = 1 "system",
        /// HTTP.
        Http = 2 "http",
        /// IRC.
        Irc = 3 "irc",
        /// An importer.
        Import = 4 "import",
    }
}

/// Who did it, from where, as it was then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// The principal.
    pub id: PrincipalId,
    /// His name at that time.
    pub name: String,
    /// The way in.
    pub door: Door,
    /// The client's address; empty if there is none.
    pub address: String,
    /// The session or token; none for the server itself.
    pub session: TokenId,
}

/// A client's idempotency key with the digest of what it sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// 1 to 128 printable bytes.
    pub key: Vec<u8>,
    /// The first 16 bytes of SHA-256 over the request.
    pub digest: [u8; 16],
}

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The epoch it was ordered in.
    pub epoch: Epoch,
    /// Its place in the log.
    pub lsn: Lsn,
    /// When this log took it.
    pub recorded: TimeUs,
    /// When it was said; equal to `recorded` but for imports and clamping.
    pub time: TimeUs,
    /// The room, or a system room.
    pub room: RoomId,
    /// Its place in the timeline; zero if it has none.
    pub seq: Seq,
    /// Its place among everything that happened to the room.
    pub rev: Rev,
    /// Who did it.
    pub actor: Actor,
    /// The policy the door checked against: nothing newer concerned this draft.
    pub policy: Lsn,
    /// The client's key, if it gave one.
    pub idempotency: Option<Idempotency>,
    /// What it says.
    pub payload: Payload,
}

const HAS_SEQ: u8 = 1;
const HAS_OWN_TIME: u8 = 2;
const HAS_KEY: u8 = 4;
/// Where the kind stands.
const KIND_AT: usize = 1;
/// Where the flags stand.
const FLAGS_AT: usize = 2;

impl Record {
    /// Where it stands, and what it is.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let Self { epoch, lsn, room, seq, rev, time, recorded, .. } = *self;
        Outline { kind: self.payload.kind(), epoch, lsn, room, seq, rev, time, recorded }
    }

    /// The message identifier of a timeline entry.
    #[must_use]
    pub const fn message_id(&self) -> MessageId {
        MessageId { room: self.room, epoch: self.epoch, seq: self.seq }
    }

    /// Appends the record's bytes. Returns where in them the length of a post's words stands, or
    /// zero.
    pub fn put(&self, out: &mut Vec<u8>) -> usize {
        let start = out.len();
        let mut flags = 0;
        if self.seq > Seq::ZERO {
            flags |= HAS_SEQ;
        }
        if self.time != self.recorded {
            flags |= HAS_OWN_TIME;
        }
        if self.idempotency.is_some() {
            flags |= HAS_KEY;
        }
        out.extend_from_slice(&[VERSION, self.payload.kind().code(), flags]);
        self.epoch.put(out);
        self.lsn.put(out);
        self.room.put(out);
        self.rev.put(out);
        if flags & HAS_SEQ != 0 {
            self.seq.put(out);
        }
        self.recorded.put(out);
        if flags & HAS_OWN_TIME != 0 {
            put_signed(out, self.time.0.wrapping_sub(self.recorded.0));
        }
        self.actor.id.put(out);
        put_bytes(out, self.actor.name.as_bytes());
        self.actor.door.put(out);
        put_bytes(out, self.actor.address.as_bytes());
        self.actor.session.put(out);
        put_varint(out, self.policy.0);
        if let Some(idempotency) = &self.idempotency {
            put_bytes(out, &idempotency.key);
            out.extend_from_slice(&idempotency.digest);
        }
        let payload = out.len() - start;
        self.payload.put(out);
        // The post's kind is one byte.
        if self.payload.kind() == Kind::Post { payload + 1 } else { 0 }
    }

    /// The record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        self.put(&mut out);
        out
    }

    /// Reads a record that fills `bytes` exactly.
    ///
    /// # Errors
    /// If the bytes are not a record of a version this build reads.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let front = Front::get(reader)?;
        let payload = Payload::get(front.outline.kind, reader)?;
        reader.end("record.end")?;
        let Outline { epoch, lsn, room, seq, rev, time, recorded, .. } = front.outline;
        let policy = front.policy;
        let actor = front.by.to_actor();
        let idempotency = front.key.map(|(key, digest)| Idempotency { key: key.to_vec(), digest });
        Ok(Self { epoch, lsn, recorded, time, room, seq, rev, actor, policy, idempotency, payload })
    }

    /// The record of a post's parts, of which the payload is the body: what [`Self::from_bytes`]
    /// makes of its bytes.
    ///
    /// # Errors
    /// The same, where the bytes would be at fault.
    pub(super) fn of_post(
        parts: &Parts<'_>,
        (kind, reply_to, rest): (u8, u64, &[u8]),
    ) -> Result<Self, DecodeError> {
        let wrong = |what| DecodeError { what, at: 0 };
        let epoch = Parts::epoch_of(parts.head)?;
        let seq = parts.seq.unwrap_or(0);
        if parts.seq == Some(0) {
            return Err(wrong("record.seq"));
        }
        if parts.time == Some(parts.recorded) {
            return Err(wrong("record.time"));
        }
        let maker = &mut Reader::new(parts.maker);
        let actor = By::get(maker)?.to_actor();
        maker.end("record.maker")?;
        let idempotency = match parts.key {
            Some((key, digest)) if key.len() <= limits::IDEMPOTENCY_KEY_BYTES_MAX => {
                Some(Idempotency { key: key.to_vec(), digest })
            }
            Some(_) => return Err(wrong("record.key")),
            None => None,
        };
        let body = std::str::from_utf8(parts.payload).map_err(|_| wrong("Post.body"))?;
        let rest = &mut Reader::new(rest);
        let import = Option::get(rest, "Post.import")?;
        rest.end("record.end")?;
        let kind = EntryKind::get(&mut Reader::new(&[kind]), "Post.kind")?;
        Ok(Self {
            epoch,
            lsn: Lsn(parts.lsn),
            recorded: TimeUs(parts.recorded),
            time: TimeUs(parts.time.unwrap_or(parts.recorded)),
            room: RoomId(parts.room),
            seq: Seq(seq),
            rev: Rev(parts.rev),
            actor,
            policy: Lsn(parts.policy),
            idempotency,
            payload: Payload::Post(Post {
                kind,
                body: body.to_owned(),
                reply_to: Seq(reply_to),
                import,
            }),
        })
    }
}

/// Where a record stands: what a check of many records needs of each, without a copy of its texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outline {
    /// What it is.
    pub kind: Kind,
    /// The epoch it was ordered in.
    pub epoch: Epoch,
    /// Its place in the log.
    pub lsn: Lsn,
    /// The room, or a system room.
    pub room: RoomId,
    /// Its place in the timeline; zero if it has none.
    pub seq: Seq,
    /// Its place among everything that happened to the room.
    pub rev: Rev,
    /// When it was said.
    pub time: TimeUs,
    /// When this log took it.
    pub recorded: TimeUs,
}

impl Outline {
    /// Checks a record that fills `bytes` exactly, as [`Record::from_bytes`] does.
    ///
    /// # Errors
    /// The same.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let front = Front::get(reader)?;
        match front.outline.kind {
            Kind::Post => Post::check(reader)?,
            kind => drop(Payload::get(kind, reader)?),
        }
        reader.end("record.end")?;
        Ok(front.outline)
    }

    /// As [`Self::from_bytes`], but nothing behind the place is looked at: for bytes that are
    /// decoded in full before anybody gets them.
    ///
    /// # Errors
    /// If the bytes do not begin as a record's.
    pub fn peek(bytes: &[u8]) -> Result<Self, DecodeError> {
        Front::get_outline(&mut Reader::new(bytes)).map(|(outline, ..)| outline)
    }
}

/// A record's bytes cut where its fields are: what changes from record to record apart from what
/// many have in common. Put together again they are the same bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    /// Version, kind, flags and epoch.
    pub(super) head: &'a [u8],
    pub(super) kind: Kind,
    pub(super) lsn: u64,
    pub(super) room: u64,
    pub(super) rev: u64,
    /// Set if it has one.
    pub(super) seq: Option<u64>,
    pub(super) recorded: i64,
    /// Set if it has one of its own.
    pub(super) time: Option<i64>,
    /// Actor, name, door, address and session.
    pub(super) maker: &'a [u8],
    pub(super) policy: u64,
    pub(super) key: Option<(&'a [u8], [u8; 16])>,
    pub(super) payload: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Cuts a record's bytes; its payload is not looked at.
    ///
    /// # Errors
    /// If the bytes before the payload are not those of a record.
    pub(super) fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let Front { outline, head, maker, policy, key, .. } = Front::get(reader)?;
        let Outline { kind, lsn, room, rev, seq, time, recorded, .. } = outline;
        Ok(Self {
            head,
            kind,
            lsn: lsn.0,
            room: room.0,
            rev: rev.0,
            seq: (seq > Seq::ZERO).then_some(seq.0),
            recorded: recorded.0,
            time: (time != recorded).then_some(time.0),
            maker,
            policy: policy.0,
            key,
            payload: reader.rest(),
        })
    }

    /// What the head says of a record's parts: its kind, and whether it has a seq, a time of its
    /// own and a key.
    ///
    /// # Errors
    /// If it is not a head.
    pub(super) fn of_head(head: &[u8]) -> Result<(Kind, [bool; 3]), DecodeError> {
        let reader = &mut Reader::new(head);
        let (kind, flags) = Front::get_start(reader)?;
        Epoch::get(reader, "record.epoch")?;
        reader.end("record.head")?;
        Ok((kind, [HAS_SEQ, HAS_OWN_TIME, HAS_KEY].map(|flag| flags & flag != 0)))
    }

    /// The epoch that a head says.
    fn epoch_of(head: &[u8]) -> Result<Epoch, DecodeError> {
        let reader = &mut Reader::new(head);
        Front::get_start(reader)?;
        Epoch::get(reader, "record.epoch")
    }

    /// Appends the record's bytes up to the payload.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.head);
        // All at once: each byte alone would ask whether there is room for it.
        let mut numbers = Varints::default();
        numbers.put(self.lsn);
        numbers.put(self.room);
        numbers.put(self.rev);
        if let Some(seq) = self.seq {
            numbers.put(seq);
        }
        numbers.put_signed(self.recorded);
        if let Some(time) = self.time {
            numbers.put_signed(time.wrapping_sub(self.recorded));
        }
        out.extend_from_slice(numbers.bytes());
        out.extend_from_slice(self.maker);
        put_varint(out, self.policy);
        if let Some((key, digest)) = self.key {
            put_bytes(out, key);
            out.extend_from_slice(&digest);
        }
    }
}

/// Varints of a record, one behind the other: six at most.
struct Varints {
    bytes: [u8; 6 * VARINT_BYTES_MAX],
    len: usize,
}

impl Default for Varints {
    fn default() -> Self {
        Self { bytes: [0; 6 * VARINT_BYTES_MAX], len: 0 }
    }
}

impl Varints {
    fn put(&mut self, value: u64) {
        each_varint_byte(value, |byte| self.push(byte));
    }

    fn put_signed(&mut self, value: i64) {
        self.put(zigzag(value));
    }

    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

/// True if stored bytes begin as those of a timeline entry.
#[must_use]
pub fn is_post(bytes: &[u8]) -> bool {
    bytes.first() == Some(&VERSION) && kind_of(bytes) == Some(Kind::Post)
}

/// What stored bytes say that they are of.
#[must_use]
pub fn kind_of(bytes: &[u8]) -> Option<Kind> {
    bytes.get(KIND_AT).copied().and_then(Kind::from_code)
}

/// Where in a post's bytes the length of what it says stands, and behind it the words; none if they
/// are no post's.
#[must_use]
pub fn words_at(bytes: &[u8]) -> Option<usize> {
    let reader = &mut Reader::new(bytes);
    Front::get(reader).ok().filter(|front| front.outline.kind == Kind::Post)?;
    let payload = reader.position();
    Post::check(reader).and_then(|()| reader.end("record.end")).ok()?;
    // The post's kind is one byte.
    Some(payload + 1)
}

/// A record's bytes without its idempotency key; none if it has none.
#[must_use]
pub fn without_key(bytes: &[u8]) -> Option<Vec<u8>> {
    let parts = Parts::of(bytes).ok().filter(|parts| parts.key.is_some())?;
    let mut head = parts.head.to_vec();
    *head.get_mut(FLAGS_AT)? &= !HAS_KEY;
    let mut out = Vec::with_capacity(bytes.len());
    Parts { head: &head, key: None, ..parts }.put(&mut out);
    out.extend_from_slice(parts.payload);
    Some(out)
}

/// Who made a record, and from where.
struct By<'a> {
    id: PrincipalId,
    name: &'a str,
    door: Door,
    address: &'a str,
    session: TokenId,
}

impl<'a> By<'a> {
    fn get(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            id: PrincipalId::get(reader, "record.actor")?,
            name: reader.text(limits::NAME_BYTES_MAX, "record.actor_name")?,
            door: Door::get(reader, "record.door")?,
            address: reader.text(limits::ADDRESS_BYTES_MAX, "record.address")?,
            session: TokenId::get(reader, "record.session")?,
        })
    }

    fn to_actor(&self) -> Actor {
        let Self { id, name, door, address, session } = *self;
        Actor { id, name: name.to_owned(), door, address: address.to_owned(), session }
    }
}

/// Everything before a record's payload.
struct Front<'a> {
    outline: Outline,
    /// The bytes of version, kind, flags and epoch.
    head: &'a [u8],
    /// The bytes of actor, name, door, address and session.
    maker: &'a [u8],
    by: By<'a>,
    policy: Lsn,
    key: Option<(&'a [u8], [u8; 16])>,
}

impl<'a> Front<'a> {
    /// Where a record stands, and the bytes of version, kind, flags and epoch.
    fn get_outline(reader: &mut Reader<'a>) -> Result<(Outline, u8, &'a [u8]), DecodeError> {
        let start = reader.position();
        let (kind, flags) = Self::get_start(reader)?;
        let epoch = Epoch::get(reader, "record.epoch")?;
        let head = reader.since(start);
        let lsn = Lsn::get(reader, "record.lsn")?;
        let room = RoomId::get(reader, "record.room")?;
        let rev = Rev::get(reader, "record.rev")?;
        let seq = if flags & HAS_SEQ == 0 { Seq::ZERO } else { Seq::get(reader, "record.seq")? };
        if (flags & HAS_SEQ != 0) != (seq > Seq::ZERO) {
            return Err(reader.error("record.seq"));
        }
        let recorded = TimeUs::get(reader, "record.recorded")?;
        let mut time = recorded;
        if flags & HAS_OWN_TIME != 0 {
            time = TimeUs(recorded.0.wrapping_add(reader.signed("record.time")?));
            if time == recorded {
                return Err(reader.error("record.time"));
            }
        }
        Ok((Outline { kind, epoch, lsn, room, seq, rev, time, recorded }, flags, head))
    }

    fn get(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let (outline, flags, head) = Self::get_outline(reader)?;
        let start = reader.position();
        let by = By::get(reader)?;
        Ok(Self {
            outline,
            head,
            maker: reader.since(start),
            by,
            policy: Lsn::get(reader, "record.policy")?,
            key: match flags & HAS_KEY {
                0 => None,
                _ => Some((
                    reader.bytes(limits::IDEMPOTENCY_KEY_BYTES_MAX, "record.key")?,
                    reader.array("record.key_digest")?,
                )),
            },
        })
    }

    fn get_start(reader: &mut Reader<'_>) -> Result<(Kind, u8), DecodeError> {
        let wrong = reader.error("record.version");
        if reader.u8("record.version")? != VERSION {
            return Err(wrong);
        }
        let kind = Kind::get(reader, "record.kind")?;
        let wrong = reader.error("record.flags");
        let flags = reader.u8("record.flags")?;
        if flags & !(HAS_SEQ | HAS_OWN_TIME | HAS_KEY) != 0 {
            return Err(wrong);
        }
        Ok((kind, flags))
    }
}

#[cfg(test)]
#[path = "record_tests.rs"]
pub(crate) mod tests;
