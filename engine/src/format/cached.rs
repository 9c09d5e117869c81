//! A block as readers keep it: its texts as they were, and its numbers in columns of few bits.
//!
//! A reader of a page wants to know which records are entries, and what they say; the rest of a
//! record is wanted of few, and is put together when it is. So what is cached is not the records
//! but what they are made of: a third less memory a message (88 bytes where whole records of the
//! benches' million took 134; of blocks of up to seven records a tenth more), and less to decode.
//! Every number of a column takes as many bits as the widest, above the least of them ("frame of
//! reference": Goldstein, Ramakrishnan and Shaft, "Compressing Relations and Indexes", ICDE 1998),
//! so that any one is found without those before it. Whoever goes through all records of a block
//! takes `Block`.
//!
//! INVARIANT: a record that is put together is byte for byte the one that `Block` holds, and every
//! number that names a place was looked at when the block was decoded.

use std::ops::Range;

use super::block::{self, Block, Decoded, Sizes};
use super::codec::{DecodeError, Reader};
use super::columns::{self, DIGEST_BYTES, PostPart, Sections};
use super::dictionary::{Decompressor, Dictionary};
use super::payload::Kind;
use super::record::{Outline, Parts, Record, is_post, kind_of, words_at};
use super::rice::BitWriter;
use crate::limits;
use crate::types::{Seq, TimeUs};

/// Bytes behind the columns, so that a word can be read wherever a number begins.
const PADDING: usize = 9;
/// Numbers of a record.
const COLUMNS: usize = 11;

/// A block in memory.
#[derive(Debug)]
pub struct CachedBlock(Form);

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "nearly all are columns")]
enum Form {
    Columns(Compact),
    /// One whose records did not fit columns.
    Rows(Box<Block>),
}

impl Decoded for CachedBlock {
    fn of_sections(sections: Sections<'_>, _: Sizes) -> Result<Self, DecodeError> {
        Ok(Self(Form::Columns(Compact::of(sections))))
    }

    fn of_rows(rows: Block) -> Self {
        Self(Form::Rows(Box::new(rows)))
    }

    fn len(&self) -> usize {
        self.len()
    }
}

impl CachedBlock {
    /// Decodes a block as [`Block::decode`] does, but that the bytes of its records are not
    /// counted.
    ///
    /// # Errors
    /// The same.
    pub fn decode(
        bytes: &[u8],
        own: Option<&Dictionary>,
        decompressor: &mut Decompressor,
    ) -> Result<Self, DecodeError> {
        block::decode(bytes, own, decompressor)
    }

    /// How many records it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        match &self.0 {
            Form::Columns(compact) => compact.records,
            Form::Rows(block) => block.len(),
        }
    }

    /// True if it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// True if record `at` takes a place in its room's timeline.
    #[inline]
    #[must_use]
    pub fn takes_seq(&self, at: usize) -> bool {
        match &self.0 {
            Form::Columns(compact) => compact.takes_seq(at),
            Form::Rows(block) => block.bytes(at).and_then(kind_of).is_some_and(Kind::takes_seq),
        }
    }

    /// True if record `at` is a post that can be read.
    #[inline]
    #[must_use]
    pub fn is_post(&self, at: usize) -> bool {
        match &self.0 {
            Form::Columns(compact) => compact.is_post(at),
            Form::Rows(block) => block.bytes(at).and_then(words_at).is_some(),
        }
    }

    /// Where record `at` stands in its room's timeline, and when it was said; none if it is no
    /// post.
    ///
    /// # Errors
    /// If its bytes do not begin as a record's.
    pub fn place(&self, at: usize) -> Result<Option<(Seq, TimeUs)>, DecodeError> {
        match &self.0 {
            Form::Columns(compact) => Ok(compact.place(at)),
            Form::Rows(block) => {
                let post = block.bytes(at).filter(|bytes| is_post(bytes));
                let outline = post.map(Outline::peek).transpose()?;
                Ok(outline.map(|outline| (outline.seq, outline.time)))
            }
        }
    }

    /// What record `at` says, if it is a post that can be read: bytes, which were UTF-8 when they
    /// were recorded.
    #[inline]
    #[must_use]
    pub fn words(&self, at: usize) -> Option<&[u8]> {
        match &self.0 {
            Form::Columns(compact) => {
                if compact.is_post(at) {
                    compact.text(at)
                } else {
                    None
                }
            }
            Form::Rows(block) => {
                let bytes = block.bytes(at)?;
                let reader = &mut Reader::new(bytes.get(words_at(bytes)?..)?);
                reader.bytes(limits::RECORD_BYTES_MAX, "Post.body").ok()
            }
        }
    }

    /// Record `at`, if it is a post.
    ///
    /// # Errors
    /// As [`Record::from_bytes`] of its bytes.
    pub fn post(&self, at: usize) -> Result<Option<Record>, DecodeError> {
        match &self.0 {
            Form::Columns(compact) => match compact.parts(at) {
                Some((parts, Some(PostPart { kind, reply_to, rest }))) => {
                    Record::of_post(&parts, (kind, reply_to, rest)).map(Some)
                }
                _ => Ok(None),
            },
            Form::Rows(block) => {
                block.bytes(at).filter(|bytes| is_post(bytes)).map(Record::from_bytes).transpose()
            }
        }
    }

    /// The bytes of record `at`.
    #[must_use]
    pub fn record(&self, at: usize) -> Option<Vec<u8>> {
        match &self.0 {
            Form::Columns(compact) => compact.record(at),
            Form::Rows(block) => block.bytes(at).map(<[u8]>::to_vec),
        }
    }

    /// The bytes of all records, in order.
    pub fn records(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        (0..self.len()).map_while(|at| self.record(at))
    }

    /// Memory it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        let held = match &self.0 {
            Form::Columns(compact) => compact.held(),
            Form::Rows(block) => block.weight(),
        };
        size_of::<Self>() + held
    }
}

/// A time as a number in the same order.
const fn in_order(time: i64) -> u64 {
    time.cast_unsigned() ^ (1 << 63)
}

const fn time_of(number: u64) -> i64 {
    (number ^ (1 << 63)).cast_signed()
}

/// Numbers of which each takes as many bits.
#[derive(Clone, Copy, Debug)]
struct Column {
    /// What they are above.
    least: u64,
    /// Where they begin.
    at: u32,
    bits: u32,
}

impl Column {
    /// One of these numbers, which begins `at` some place, and goes up to the place that it says
    /// then.
    fn of(numbers: &[u64], at: &mut usize) -> Self {
        let (least, most) =
            numbers.iter().fold((u64::MAX, 0), |(least, most), n| (*n.min(&least), *n.max(&most)));
        let bits = u64::BITS - most.saturating_sub(least).leading_zeros();
        let column = Self { least, at: u32::try_from(*at).unwrap_or(u32::MAX), bits };
        *at += (bits as usize * numbers.len()).div_ceil(8);
        column
    }

    /// Appends the same numbers there.
    fn put(&self, numbers: &[u64], out: &mut Vec<u8>) {
        if self.bits == 0 {
            return;
        }
        let mut writer = BitWriter::new(out);
        for n in numbers {
            let above = n - self.least;
            if self.bits <= 32 {
                writer.put(above, self.bits);
            } else {
                writer.put(above & u64::from(u32::MAX), 32);
                writer.put(above >> 32, self.bits - 32);
            }
        }
        writer.end();
    }

    /// Number `nth`, of which there must be so many.
    #[inline]
    fn get(&self, bytes: &[u8], nth: usize) -> u64 {
        if self.bits == 0 {
            return self.least;
        }
        let bit = nth * self.bits as usize;
        let (at, shift) = (self.at as usize + bit / 8, bit % 8);
        let Some((word, rest)) = bytes.get(at..).and_then(<[u8]>::split_first_chunk) else {
            return self.least;
        };
        let mut number = u64::from_le_bytes(*word) >> shift;
        if self.bits as usize + shift > 64 {
            number |= u64::from(rest.first().copied().unwrap_or(0)) << (64 - shift);
        }
        self.least.wrapping_add(number & (u64::MAX >> (u64::BITS - self.bits)))
    }
}

/// Some of the bytes.
#[derive(Clone, Copy, Debug)]
struct Slice {
    at: u32,
    len: u32,
}

impl Slice {
    fn put(out: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let number = |n| u32::try_from(n).unwrap_or(u32::MAX);
        let slice = Self { at: number(out.len()), len: number(bytes.len()) };
        out.extend_from_slice(bytes);
        slice
    }

    #[inline]
    fn of(self, bytes: &[u8]) -> &[u8] {
        let at = self.at as usize;
        bytes.get(at..at + self.len as usize).unwrap_or_default()
    }
}

/// What many records begin with: see `columns`.
#[derive(Debug)]
struct Head {
    kind: Kind,
    seq: bool,
    time: bool,
    key: bool,
    bytes: Slice,
    /// Of a post: its kind and what follows what it answers.
    post: Option<(u8, Slice)>,
}

/// A block of columns.
#[derive(Debug)]
struct Compact {
    room: u64,
    first_rev: u64,
    records: usize,
    text_end: Column,
    head: Column,
    maker: Column,
    lsn: Column,
    recorded: Column,
    time: Column,
    seq: Column,
    reply_to: Column,
    policy: Column,
    /// Policies are how far they are behind their places in the log.
    are_lags: bool,
    /// Keys before a record's own.
    keys: Column,
    key_end: Column,
    heads: Box<[Head]>,
    /// All that these are heads of are posts, and take places in a timeline.
    all_posts: bool,
    all_take_seq: bool,
    makers: Box<[Slice]>,
    texts: Slice,
    key_bytes: Slice,
    digests: Slice,
    /// Everything that is not fixed.
    bytes: Box<[u8]>,
}

impl Compact {
    fn of(sections: Sections<'_>) -> Self {
        let Sections { heads, makers, head, maker, lsn, policy, .. } = sections;
        let in_order = |mut times: Vec<u64>| -> Vec<u64> {
            times.iter_mut().for_each(|time| *time = in_order(time.cast_signed()));
            times
        };
        let ends = |mut lengths: Vec<u64>| -> Vec<u64> {
            let mut end = 0;
            for length in &mut lengths {
                end += *length;
                *length = end;
            }
            lengths
        };
        // What some records have, for all of them.
        let spread = |numbers: Vec<u64>, has: fn(&columns::Head<'_>) -> bool| -> Vec<u64> {
            if numbers.is_empty() || numbers.len() == head.len() {
                return numbers;
            }
            let (mut next, mut now) = (numbers.into_iter(), 0);
            let has = |nth: &u64| {
                let head = usize::try_from(*nth).ok().and_then(|nth| heads.get(nth));
                head.is_some_and(has)
            };
            let all = head.iter().map(|head| {
                now = if has(head) { next.next().unwrap_or(now) } else { now };
                now
            });
            all.collect()
        };
        let mut lags = Vec::new();
        let bits = Column::of(&policy, &mut 0).bits;
        if bits > 0 {
            lags.extend(lsn.iter().zip(&policy).map(|(lsn, policy)| lsn.wrapping_sub(*policy)));
        }
        let are_lags = bits > Column::of(&lags, &mut 0).bits;
        let keys = (0..sections.key.len() as u64).collect();
        let numbers: [&[u64]; COLUMNS] = [
            &ends(sections.text),
            &head,
            &maker,
            &lsn,
            &in_order(sections.recorded),
            &spread(in_order(sections.times), |head| head.time),
            &spread(sections.seqs, |head| head.seq),
            &spread(sections.replies, |head| head.post.is_some()),
            if are_lags { &lags } else { &policy },
            &spread(keys, |head| head.key),
            &spread(ends(sections.key), |head| head.key),
        ];
        let (records, mut size) = (head.len(), 0);
        let columns = numbers.map(|numbers| Column::of(numbers, &mut size));
        let (made, each) = makers.all();
        let words = sections.texts.len() + sections.keys.len() + sections.digests.len();
        let of_heads =
            heads.iter().map(|h| h.bytes.len() + h.post.map_or(0, |(_, rest)| rest.len()));
        size += PADDING + words + made.len() + of_heads.sum::<usize>();
        let mut bytes = Vec::with_capacity(size);
        columns.iter().zip(numbers).for_each(|(column, numbers)| column.put(numbers, &mut bytes));
        bytes.extend_from_slice(&[0; PADDING]);
        let texts = Slice::put(&mut bytes, sections.texts);
        let key_bytes = Slice::put(&mut bytes, sections.keys);
        let digests = Slice::put(&mut bytes, sections.digests);
        let kept = heads.iter().map(|head| Head {
            kind: head.kind,
            seq: head.seq,
            time: head.time,
            key: head.key,
            bytes: Slice::put(&mut bytes, head.bytes),
            post: head.post.map(|(kind, rest)| (kind, Slice::put(&mut bytes, rest))),
        });
        let kept = kept.collect();
        let maker = |range: &Range<usize>| made.get(range.clone()).unwrap_or_default();
        let makers = each.iter().map(|range| Slice::put(&mut bytes, maker(range))).collect();
        let [text_end, head, maker, lsn, recorded, time, seq, reply_to, policy, keys, key_end] =
            columns;
        Self {
            room: sections.room,
            first_rev: sections.first_rev,
            records,
            text_end,
            head,
            maker,
            lsn,
            recorded,
            time,
            seq,
            reply_to,
            policy,
            are_lags,
            keys,
            key_end,
            heads: kept,
            all_posts: heads.iter().all(|head| head.post.is_some()),
            all_take_seq: heads.iter().all(|head| head.kind.takes_seq()),
            makers,
            texts,
            key_bytes,
            digests,
            bytes: bytes.into_boxed_slice(),
        }
    }

    #[inline]
    fn takes_seq(&self, at: usize) -> bool {
        let takes = |head: &Head| head.kind.takes_seq();
        if self.all_take_seq { at < self.records } else { self.head(at).is_some_and(takes) }
    }

    #[inline]
    fn is_post(&self, at: usize) -> bool {
        let is = |head: &Head| head.post.is_some();
        if self.all_posts { at < self.records } else { self.head(at).is_some_and(is) }
    }

    /// Number `nth` of a column; none if there are not so many records.
    #[inline]
    fn number(&self, column: &Column, nth: usize) -> Option<u64> {
        (nth < self.records).then(|| column.get(&self.bytes, nth))
    }

    #[inline]
    fn head(&self, at: usize) -> Option<&Head> {
        self.heads.get(usize::try_from(self.number(&self.head, at)?).ok()?)
    }

    /// What ends in number `at` of a column, and begins where the one before ends.
    #[inline]
    fn part<'a>(&self, of: &'a [u8], ends: &Column, at: usize) -> Option<&'a [u8]> {
        let end = usize::try_from(self.number(ends, at)?).ok()?;
        let start = at.checked_sub(1).map_or(0, |before| ends.get(&self.bytes, before));
        of.get(usize::try_from(start).ok()?..end)
    }

    #[inline]
    fn text(&self, at: usize) -> Option<&[u8]> {
        self.part(self.texts.of(&self.bytes), &self.text_end, at)
    }

    fn place(&self, at: usize) -> Option<(Seq, TimeUs)> {
        let head = self.head(at).filter(|head| head.post.is_some())?;
        let seq = if head.seq { self.number(&self.seq, at)? } else { 0 };
        let time = self.number(if head.time { &self.time } else { &self.recorded }, at)?;
        Some((Seq(seq), TimeUs(time_of(time))))
    }

    fn key(&self, at: usize) -> Option<(&[u8], [u8; DIGEST_BYTES])> {
        let key = self.part(self.key_bytes.of(&self.bytes), &self.key_end, at)?;
        let nth = usize::try_from(self.number(&self.keys, at)?).ok()?;
        let digests = self.digests.of(&self.bytes).get(nth * DIGEST_BYTES..)?;
        Some((key, *digests.first_chunk()?))
    }

    /// The parts of a record, and of a post what stands around its body.
    fn parts(&self, at: usize) -> Option<(Parts<'_>, Option<PostPart<'_>>)> {
        let head = self.head(at)?;
        let number = |column| self.number(column, at);
        let maker = self.makers.get(usize::try_from(number(&self.maker)?).ok()?)?;
        let lsn = number(&self.lsn)?;
        let policy = number(&self.policy)?;
        let own = |has: bool, column| if has { number(column) } else { None };
        let post = match head.post {
            Some((kind, rest)) => {
                let reply_to = number(&self.reply_to)?;
                Some(PostPart { kind, reply_to, rest: rest.of(&self.bytes) })
            }
            None => None,
        };
        let parts = Parts {
            head: head.bytes.of(&self.bytes),
            kind: head.kind,
            lsn,
            room: self.room,
            rev: self.first_rev.wrapping_add(at as u64),
            seq: own(head.seq, &self.seq),
            recorded: time_of(number(&self.recorded)?),
            time: own(head.time, &self.time).map(time_of),
            maker: maker.of(&self.bytes),
            policy: if self.are_lags { lsn.wrapping_sub(policy) } else { policy },
            key: if head.key { Some(self.key(at)?) } else { None },
            payload: self.text(at)?,
        };
        Some((parts, post))
    }

    fn record(&self, at: usize) -> Option<Vec<u8>> {
        let (parts, post) = self.parts(at)?;
        let mut out = Vec::with_capacity(parts.payload.len() + parts.maker.len() + 128);
        columns::put(&parts, post, &mut out);
        Some(out)
    }

    /// Memory it holds beside itself.
    fn held(&self) -> usize {
        size_of_val(&*self.heads) + size_of_val(&*self.makers) + self.bytes.len()
    }
}

#[cfg(test)]
#[path = "cached_tests.rs"]
pub(super) mod tests;
