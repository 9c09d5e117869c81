//! Records of one room as columns: what they have in common once, numbers as differences in few
//! bits, and what was said side by side.
//!
//! Two sections come of it. `numbers` is dense already and is stored as it is; `words`, the texts,
//! is for zstd. The table in it is of heads: version, kind, flags and epoch; of a post also its
//! kind and its mark of an import. Who made the records, and from where, is `makers`'.
//!
//! Only records that one room's revs number without a gap fit; others are kept as rows.
//!
//! INVARIANT: records come back byte for byte, and reading allocates no more than it was told to
//! expect.

use super::codec::{DecodeError, Reader, put_bytes, put_varint, zigzag};
use super::makers::{Made, Makers};
use super::payload::{EntryKind, Kind};
use super::record::Parts;
use super::rice;
use super::wire::Wire;
use crate::limits;

/// What a record adds to its block's bytes beside its texts, about.
const RECORD_WEIGHT: usize = 10;

/// A post's payload: its kind, what it says, what it answers, and the rest.
struct Said<'a> {
    kind: u8,
    body: &'a [u8],
    reply_to: u64,
    rest: &'a [u8],
}

impl<'a> Said<'a> {
    fn of(payload: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(payload);
        let kind = EntryKind::get(reader, "Post.kind")?.code();
        let body = reader.bytes(reader.remaining(), "Post.body")?;
        let reply_to = reader.varint("Post.reply_to")?;
        Ok(Self { kind, body, reply_to, rest: reader.rest() })
    }
}

/// Entries that many records share, in the order in which they were first met.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Vec<u8>>,
    bytes: usize,
    /// Where the last one was found: neighbours are often alike.
    last: usize,
}

impl Table {
    /// The number of an entry that was met before.
    pub(super) fn find(&mut self, entry: &[u8]) -> Option<u64> {
        let is = |at: &usize| self.entries.get(*at).is_some_and(|known| known == entry);
        let found = Some(self.last).filter(is);
        let found = found.or_else(|| self.entries.iter().position(|known| known == entry))?;
        self.last = found;
        Some(found as u64)
    }

    /// Adds a new entry.
    pub(super) fn add(&mut self, entry: &[u8]) {
        self.last = self.entries.len();
        self.entries.push(entry.to_vec());
        self.bytes += entry.len() + 1;
    }

    /// The number of an entry, which is added if it is new.
    fn number(&mut self, entry: &[u8]) -> u64 {
        if let Some(number) = self.find(entry) {
            return number;
        }
        self.add(entry);
        self.last as u64
    }

    pub(super) const fn len(&self) -> usize {
        self.entries.len()
    }

    /// What `put` appends, about.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends them, each behind its length.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for entry in &self.entries {
            put_bytes(out, entry);
        }
    }
}

/// Columns that are being filled.
#[derive(Debug, Default)]
pub(super) struct Columns {
    room: u64,
    first_rev: u64,
    heads: Table,
    makers: Makers,
    head: Vec<u64>,
    maker: Vec<u64>,
    lsn: Vec<u64>,
    recorded: Vec<u64>,
    time: Vec<u64>,
    policy: Vec<u64>,
    /// How far behind its place in the log a record's policy is.
    lag: Vec<u64>,
    seq: Vec<u64>,
    text: Vec<u64>,
    reply_to: Vec<u64>,
    key: Vec<u64>,
    digests: Vec<u8>,
    keys: Vec<u8>,
    texts: Vec<u8>,
    /// What the next record's numbers are differences to.
    before: Before,
}

/// The record before: numbers are differences to its.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    lsn: u64,
    recorded: i64,
    time: i64,
    seq: u64,
    policy: u64,
}

/// The policies are differences to the one before.
const POLICY_STEPS: u8 = 0;
/// The policies are differences to the places in the log.
const POLICY_LAGS: u8 = 1;
/// Bytes of the digest beside a key.
pub(super) const DIGEST_BYTES: usize = 16;

/// The difference of two numbers as one that is small if they are near.
pub(super) const fn difference(number: u64, from: u64) -> u64 {
    zigzag(number.wrapping_sub(from).cast_signed())
}

const fn difference_i(number: i64, from: i64) -> u64 {
    difference(number.cast_unsigned(), from.cast_unsigned())
}

pub(super) const fn apart(by: u64, from: u64) -> u64 {
    from.wrapping_add((by >> 1) ^ (by & 1).wrapping_neg())
}

impl Columns {
    /// Adds a record; false if it does not fit, and then nothing is changed.
    pub(super) fn push(&mut self, record: &[u8]) -> bool {
        let Ok(parts) = Parts::of(record) else { return false };
        let next = self.first_rev.wrapping_add(self.head.len() as u64);
        if !self.head.is_empty() && (parts.room != self.room || parts.rev != next) {
            return false;
        }
        let mut head = parts.head.to_vec();
        let (mut text, mut reply_to) = (parts.payload, None);
        if parts.kind == Kind::Post {
            let Ok(said) = Said::of(parts.payload) else { return false };
            head.push(said.kind);
            head.extend_from_slice(said.rest);
            text = said.body;
            reply_to = Some(said.reply_to);
        }
        let Some(maker) = self.makers.number(parts.maker) else { return false };
        self.reply_to.extend(reply_to);
        if self.head.is_empty() {
            (self.room, self.first_rev) = (parts.room, parts.rev);
        }
        let before = self.before;
        // A length stands before the head's own bytes: what follows them is of the post.
        let mut entry = vec![u8::try_from(parts.head.len()).unwrap_or(u8::MAX)];
        entry.append(&mut head);
        self.head.push(self.heads.number(&entry));
        self.maker.push(maker);
        self.lsn.push(difference(parts.lsn, before.lsn));
        self.recorded.push(difference_i(parts.recorded, before.recorded));
        self.policy.push(difference(parts.policy, before.policy));
        self.lag.push(difference(parts.policy, parts.lsn));
        let Parts { lsn, recorded, policy, .. } = parts;
        let mut now = Before { lsn, recorded, policy, ..before };
        if let Some(seq) = parts.seq {
            self.seq.push(difference(seq, before.seq.wrapping_add(1)));
            now.seq = seq;
        }
        if let Some(time) = parts.time {
            self.time.push(difference_i(time, before.time));
            now.time = time;
        }
        if let Some((key, digest)) = parts.key {
            self.key.push(key.len() as u64);
            self.keys.extend_from_slice(key);
            self.digests.extend_from_slice(&digest);
        }
        self.text.push(text.len() as u64);
        self.texts.extend_from_slice(text);
        self.before = now;
        true
    }

    /// About the bytes of both sections.
    pub(super) fn weight(&self) -> usize {
        let tables = self.heads.bytes() + self.makers.weight();
        let keys = self.keys.len() + self.digests.len();
        tables + keys + self.texts.len() + self.head.len() * RECORD_WEIGHT
    }

    /// Appends the sections.
    pub(super) fn put(&self, numbers: &mut Vec<u8>, words: &mut Vec<u8>) {
        put_varint(numbers, self.room);
        put_varint(numbers, self.first_rev);
        put_varint(numbers, self.heads.len() as u64);
        put_varint(numbers, self.makers.len() as u64);
        self.makers.put_numbers(self.room, numbers);
        // Whichever takes less: one check may stand for many records, or for each the newest place.
        let (mut steps, mut lags) = (vec![POLICY_STEPS], vec![POLICY_LAGS]);
        rice::put(&mut steps, &self.policy);
        rice::put(&mut lags, &self.lag);
        numbers.extend(if lags.len() < steps.len() { lags } else { steps });
        let Self { head, maker, lsn, recorded, time, seq, text, reply_to, key, .. } = self;
        for column in [head, maker, lsn, recorded, text, seq, time, reply_to, key] {
            rice::put(numbers, column);
        }
        numbers.extend_from_slice(&self.digests);
        self.heads.put(words);
        self.makers.put_words(words);
        words.extend_from_slice(&self.keys);
        words.extend_from_slice(&self.texts);
    }

    /// Nothing any more, with the memory it had.
    pub(super) fn clear(&mut self) {
        let Self { head, maker, lsn, recorded, time, policy, lag, .. } = self;
        for column in [head, maker, lsn, recorded, time, policy, lag] {
            column.clear();
        }
        for column in [&mut self.seq, &mut self.text, &mut self.reply_to, &mut self.key] {
            column.clear();
        }
        for bytes in [&mut self.digests, &mut self.keys, &mut self.texts] {
            bytes.clear();
        }
        (self.heads, self.makers) = (Table::default(), Makers::default());
        self.before = Before::default();
    }
}

/// An entry of the table of heads.
pub(super) struct Head<'a> {
    pub(super) kind: Kind,
    pub(super) bytes: &'a [u8],
    pub(super) seq: bool,
    pub(super) time: bool,
    pub(super) key: bool,
    /// Of a post: its kind and what follows what it answers.
    pub(super) post: Option<(u8, &'a [u8])>,
}

impl<'a> Head<'a> {
    fn get(words: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let wrong = words.error("block.head");
        let entry = words.bytes(limits::RECORD_BYTES_MAX, "block.head")?;
        let (len, rest) = entry.split_first().ok_or(wrong)?;
        let (bytes, rest) = rest.split_at_checked(usize::from(*len)).ok_or(wrong)?;
        let (kind, [seq, time, key]) = Parts::of_head(bytes).map_err(|_| wrong)?;
        let post = match (kind, rest.split_first()) {
            (Kind::Post, Some((kind, rest))) => Some((*kind, rest)),
            (Kind::Post, None) => return Err(wrong),
            (_, None) => None,
            (_, Some(_)) => return Err(wrong),
        };
        Ok(Self { kind, bytes, seq, time, key, post })
    }
}

/// How many there are of what each record has one of.
fn count(
    reader: &mut Reader<'_>,
    records: usize,
    what: &'static str,
) -> Result<usize, DecodeError> {
    let wrong = reader.error(what);
    let count = usize::try_from(reader.varint(what)?);
    count.ok().filter(|count| *count <= records).ok_or(wrong)
}

/// True if policies are differences to places in the log.
fn has_lags(reader: &mut Reader<'_>) -> Result<bool, DecodeError> {
    let wrong = reader.error("block.policies");
    match reader.u8("block.policies")? {
        POLICY_STEPS => Ok(false),
        POLICY_LAGS => Ok(true),
        _ => Err(wrong),
    }
}

/// How a block has its makers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MakersAs {
    /// As columns.
    Columns,
    /// As records have them: so wrote format 1.
    Whole,
}

/// Where a record stands among others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) bytes: u32,
}

/// What a post says beside its body.
#[derive(Clone, Copy)]
pub(super) struct PostPart<'a> {
    pub(super) kind: u8,
    pub(super) reply_to: u64,
    pub(super) rest: &'a [u8],
}

/// Appends a record's bytes. The payload of a post is its body, and `post` what stands around it.
pub(super) fn put(parts: &Parts<'_>, post: Option<PostPart<'_>>, out: &mut Vec<u8>) {
    parts.put(out);
    let Some(PostPart { kind, reply_to, rest }) = post else {
        return out.extend_from_slice(parts.payload);
    };
    out.push(kind);
    put_bytes(out, parts.payload);
    put_varint(out, reply_to);
    out.extend_from_slice(rest);
}

/// Both sections of a block, read: numbers as they are in records, and where the words are.
pub(crate) struct Sections<'a> {
    pub(super) room: u64,
    pub(super) first_rev: u64,
    pub(super) heads: Vec<Head<'a>>,
    pub(super) makers: Made,
    /// Of each record the number of its head, and that of its maker, which are there.
    pub(super) head: Vec<u64>,
    pub(super) maker: Vec<u64>,
    pub(super) lsn: Vec<u64>,
    pub(super) recorded: Vec<u64>,
    pub(super) policy: Vec<u64>,
    /// Bytes of its text, and all texts end to end, which are as long.
    pub(super) text: Vec<u64>,
    pub(super) texts: &'a [u8],
    /// Of those that have one.
    pub(super) seqs: Vec<u64>,
    pub(super) times: Vec<u64>,
    pub(super) replies: Vec<u64>,
    /// Bytes of the clients' keys, all keys end to end, and a digest for each.
    pub(super) key: Vec<u64>,
    pub(super) keys: &'a [u8],
    pub(super) digests: &'a [u8],
}

/// The sum of lengths; none if nothing can be so long.
fn sum(lengths: &[u64]) -> Option<usize> {
    let sum = lengths.iter().try_fold(0u64, |sum, len| sum.checked_add(*len))?;
    usize::try_from(sum).ok()
}

/// Makes differences to the number before, and so much, the numbers.
fn add_up(differences: &mut [u64], step: u64) {
    let mut before = 0_u64;
    for number in differences {
        *number = apart(*number, before.wrapping_add(step));
        before = *number;
    }
}

impl<'a> Sections<'a> {
    /// Reads the sections of so many records, whose makers have so many bytes at most.
    ///
    /// # Errors
    /// If they are not of so many.
    pub(super) fn get(
        (numbers, words): (&'a [u8], &'a [u8]),
        makers_as: MakersAs,
        records: usize,
        bytes: usize,
    ) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(numbers);
        let room = reader.varint("block.room")?;
        let first_rev = reader.varint("block.first_rev")?;
        let heads = count(reader, records, "block.heads")?;
        let makers = count(reader, records, "block.makers")?;
        let words = &mut Reader::new(words);
        let heads = (0..heads).map(|_| Head::get(words)).collect::<Result<Vec<_>, _>>()?;
        let makers = match makers_as {
            MakersAs::Columns => Made::get(reader, words, room, (makers, bytes))?,
            MakersAs::Whole => Made::get_whole(words, makers)?,
        };

        let column = |reader: &mut Reader<'_>, what| rice::get(reader, records, what);
        let lags = has_lags(reader)?;
        let mut policy = column(reader, "block.policies")?;
        let head = column(reader, "block.head_numbers")?;
        let maker = column(reader, "block.maker_numbers")?;
        let mut lsn = column(reader, "block.lsns")?;
        let mut recorded = column(reader, "block.recorded")?;
        let text = column(reader, "block.texts")?;
        let wrong = reader.error("block.head_numbers");
        let (mut with_seq, mut with_time, mut posts, mut with_key) = (0, 0, 0, 0);
        for nth in &head {
            let head = usize::try_from(*nth).ok().and_then(|nth| heads.get(nth)).ok_or(wrong)?;
            with_seq += usize::from(head.seq);
            with_time += usize::from(head.time);
            posts += usize::from(head.post.is_some());
            with_key += usize::from(head.key);
        }
        if maker.iter().any(|nth| *nth >= makers.len() as u64) {
            return Err(reader.error("block.maker_numbers"));
        }
        let mut seqs = rice::get(reader, with_seq, "block.seqs")?;
        let mut times = rice::get(reader, with_time, "block.times")?;
        let replies = rice::get(reader, posts, "block.replies")?;
        let key = rice::get(reader, with_key, "block.keys")?;
        let digests = reader.take(with_key.saturating_mul(DIGEST_BYTES), "block.digests")?;
        reader.end("block.numbers")?;
        let wrong = words.error("block.keys");
        let keys = words.take(sum(&key).ok_or(wrong)?, "block.keys")?;
        let wrong = words.error("block.texts");
        let texts = words.take(sum(&text).ok_or(wrong)?, "block.texts")?;
        words.end("block.words")?;

        add_up(&mut lsn, 0);
        add_up(&mut recorded, 0);
        add_up(&mut seqs, 1);
        add_up(&mut times, 0);
        match lags {
            true => policy.iter_mut().zip(&lsn).for_each(|(n, lsn)| *n = apart(*n, *lsn)),
            false => add_up(&mut policy, 0),
        }
        Ok(Self {
            room,
            first_rev,
            heads,
            makers,
            head,
            maker,
            lsn,
            recorded,
            policy,
            text,
            texts,
            seqs,
            times,
            replies,
            key,
            keys,
            digests,
        })
    }

    /// The records' bytes one behind the other, of at most `bytes`, and where each stands.
    ///
    /// # Errors
    /// If there are more bytes.
    pub(super) fn whole(&self, bytes: usize) -> Result<(Vec<u8>, Vec<Span>), DecodeError> {
        let mut out = Vec::with_capacity(bytes);
        let mut spans = Vec::with_capacity(self.len());
        let (mut keys, mut texts) = (Reader::new(self.keys), Reader::new(self.texts));
        let mut digests = Reader::new(self.digests);
        let (mut seqs, mut times) = (self.seqs.iter(), self.times.iter());
        let (mut replies, mut key) = (self.replies.iter(), self.key.iter());
        let Self { head, maker, lsn, recorded, policy, text, .. } = self;
        let columns = head.iter().zip(maker).zip(lsn).zip(recorded).zip(policy).zip(text);
        for (nth, (((((head, maker), lsn), recorded), policy), text)) in columns.enumerate() {
            let wrong = DecodeError { what: "block.record", at: texts.position() };
            let index = |number: u64| usize::try_from(number).map_err(|_| wrong);
            let next = |column: &mut std::slice::Iter<'_, u64>| column.next().copied().ok_or(wrong);
            let head = self.heads.get(index(*head)?).ok_or(wrong)?;
            let parts = Parts {
                head: head.bytes,
                kind: head.kind,
                lsn: *lsn,
                room: self.room,
                rev: self.first_rev.wrapping_add(nth as u64),
                seq: if head.seq { Some(next(&mut seqs)?) } else { None },
                recorded: recorded.cast_signed(),
                time: if head.time { Some(next(&mut times)?.cast_signed()) } else { None },
                maker: self.makers.at(index(*maker)?).ok_or(wrong)?,
                policy: *policy,
                key: match head.key {
                    true => {
                        let key = keys.take(index(next(&mut key)?)?, "block.key")?;
                        Some((key, digests.array("block.digest")?))
                    }
                    false => None,
                },
                payload: texts.take(index(*text)?, "block.text")?,
            };
            let post = match head.post {
                Some((kind, rest)) => Some(PostPart { kind, reply_to: next(&mut replies)?, rest }),
                None => None,
            };
            let start = out.len();
            put(&parts, post, &mut out);
            if out.len() > bytes {
                return Err(wrong);
            }
            let number = |n: usize| u32::try_from(n).map_err(|_| wrong);
            spans.push(Span { start: number(start)?, bytes: number(out.len() - start)? });
        }
        Ok((out, spans))
    }

    /// How many records there are.
    pub(super) const fn len(&self) -> usize {
        self.head.len()
    }
}
