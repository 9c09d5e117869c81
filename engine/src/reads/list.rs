//! Entries of a page where they are: a page holds the blocks that it was read from, and of each
//! entry its place.
//!
//! A counted reference for each entry would be most of what a page from cached blocks costs, beside
//! looking at the words.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::format::cached::CachedBlock;
use crate::format::codec::{DecodeError, Reader};
use crate::format::record::{Record, words_at};
use crate::limits;
use crate::types::Seq;

/// A timeline entry, which a page or an entry holds.
#[derive(Clone, Copy)]
pub struct EntryRef<'a> {
    /// Its place.
    pub seq: Seq,
    pub(super) stored: Stored<'a>,
}

/// Where an entry is.
#[derive(Clone, Copy)]
pub(super) enum Stored<'a> {
    /// Its bytes, and where its words begin in them, their length before them.
    Bytes { bytes: &'a [u8], words: u32 },
    /// A record of a block.
    Block { block: &'a CachedBlock, at: usize },
}

/// Names what is wrong with an entry's words, which begin `at` some place of its bytes.
#[cold]
fn no_words(error: DecodeError, at: usize) -> Error {
    Error::undecodable(DecodeError { at: at + error.at, ..error })
}

const NO_WORDS: DecodeError = DecodeError { what: "Post.body", at: 0 };

impl<'a> EntryRef<'a> {
    /// What it says.
    ///
    /// # Errors
    /// As [`Self::record`].
    pub fn body(self) -> Result<&'a str> {
        let text = std::str::from_utf8(self.words()?);
        text.map_err(|e| no_words(NO_WORDS, e.valid_up_to()))
    }

    /// The same bytes without a look at whether they are UTF-8, as they were when they were
    /// recorded.
    ///
    /// # Errors
    /// As [`Self::record`].
    #[inline]
    pub fn words(self) -> Result<&'a [u8]> {
        match self.stored {
            Stored::Bytes { bytes, words } => {
                let at = words as usize;
                let mut reader = Reader::new(bytes.get(at..).unwrap_or_default());
                let words = reader.bytes(limits::RECORD_BYTES_MAX, "Post.body");
                words.map_err(|e| no_words(e, at))
            }
            Stored::Block { block, at } => block.words(at).ok_or_else(|| no_words(NO_WORDS, 0)),
        }
    }

    /// All that is recorded of it.
    ///
    /// # Errors
    /// `Corrupt` if its bytes, which passed their checksum, are of no form that this build reads.
    pub fn record(self) -> Result<Record> {
        Record::from_bytes(&self.bytes()).map_err(Error::undecodable)
    }

    /// The bytes of its record.
    fn bytes(self) -> Cow<'a, [u8]> {
        match self.stored {
            Stored::Bytes { bytes, .. } => Cow::Borrowed(bytes),
            Stored::Block { block, at } => Cow::Owned(block.record(at).unwrap_or_default()),
        }
    }
}

/// By what they are, wherever they stand.
impl PartialEq for EntryRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq && self.bytes() == other.bytes()
    }
}

impl Eq for EntryRef<'_> {}

impl fmt::Debug for EntryRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRef").field("seq", &self.seq).field("body", &self.body()).finish()
    }
}

/// Where the words of a post begin; none if these are the bytes of no post, or of none that can be
/// read. `known` is the answer where it is not zero.
pub(super) fn words_of(bytes: &[u8], known: u32) -> Option<u32> {
    // A post's bytes are not touched before somebody wants its words.
    if known > 0 { Some(known) } else { u32::try_from(words_at(bytes)?).ok() }
}

/// Where an entry is.
#[derive(Clone, Debug)]
enum Place {
    /// A record of a block that the list holds.
    Block { block: u32, at: u32 },
    /// By itself, as in a tail: its bytes, and where its words begin.
    Own { bytes: Bytes, words: u32 },
}

#[derive(Clone, Debug)]
struct Item {
    seq: Seq,
    place: Place,
}

/// The entries of a page, in the order of the page.
#[derive(Clone, Default)]
pub struct EntryList {
    blocks: Vec<Arc<CachedBlock>>,
    items: Vec<Item>,
}

impl EntryList {
    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.items.len()
    }

    /// True if there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One by its place on the page.
    #[must_use]
    pub fn get(&self, at: usize) -> Option<EntryRef<'_>> {
        self.items.get(at).map(|item| self.entry(item))
    }

    /// All of them, in order.
    #[must_use]
    #[inline]
    pub fn iter(&self) -> Iter<'_> {
        Iter { list: self, items: self.items.iter() }
    }

    #[inline]
    fn entry<'a>(&'a self, item: &'a Item) -> EntryRef<'a> {
        let stored = match &item.place {
            Place::Own { bytes, words } => Stored::Bytes { bytes, words: *words },
            Place::Block { block, at } => match self.blocks.get(*block as usize) {
                Some(block) => Stored::Block { block, at: *at as usize },
                None => Stored::Bytes { bytes: &[], words: 0 },
            },
        };
        EntryRef { seq: item.seq, stored }
    }

    /// Makes room for so many.
    pub(crate) fn reserve(&mut self, count: usize) {
        self.items.reserve(count);
    }

    /// The place in the timeline of one, by its place on the page.
    pub(crate) fn seq(&self, at: usize) -> Option<Seq> {
        self.items.get(at).map(|item| item.seq)
    }

    /// Adds record `at` of a block, if it is an entry that can be read.
    #[inline]
    pub(crate) fn push_of(&mut self, seq: Seq, block: &Arc<CachedBlock>, at: usize) {
        if !block.is_post(at) {
            return;
        }
        if self.blocks.last().is_none_or(|last| !Arc::ptr_eq(last, block)) {
            self.blocks.push(Arc::clone(block));
        }
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let place = Place::Block { block: number(self.blocks.len() - 1), at: number(at) };
        self.items.push(Item { seq, place });
    }

    /// Adds an entry of its bytes, if it is one that can be read; `words` as in [`words_of`].
    #[inline]
    pub(crate) fn push(&mut self, seq: Seq, bytes: Bytes, words: u32) {
        if let Some(words) = words_of(&bytes, words) {
            self.items.push(Item { seq, place: Place::Own { bytes, words } });
        }
    }

    /// The entries among these records.
    pub(crate) fn of(records: &[Record]) -> Self {
        let mut list = Self::default();
        for record in records {
            let mut bytes = Vec::new();
            let words = record.put(&mut bytes);
            list.push(record.seq, bytes.into(), u32::try_from(words).unwrap_or(0));
        }
        list
    }

    /// Adds those of another page behind these.
    pub(crate) fn append(&mut self, mut other: Self) {
        let before = u32::try_from(self.blocks.len()).unwrap_or(u32::MAX);
        for item in &mut other.items {
            if let Place::Block { block, .. } = &mut item.place {
                *block = block.saturating_add(before);
            }
        }
        self.blocks.append(&mut other.blocks);
        self.items.append(&mut other.items);
    }

    pub(crate) fn truncate(&mut self, count: usize) {
        self.items.truncate(count);
    }

    pub(crate) fn retain(&mut self, stays: impl Fn(Seq) -> bool) {
        self.items.retain(|item| stays(item.seq));
    }

    pub(crate) fn reverse(&mut self) {
        self.items.reverse();
    }
}

/// The entries of a list.
#[derive(Clone, Debug)]
pub struct Iter<'a> {
    list: &'a EntryList,
    items: std::slice::Iter<'a, Item>,
}

impl<'a> Iterator for Iter<'a> {
    type Item = EntryRef<'a>;

    #[inline]
    fn next(&mut self) -> Option<EntryRef<'a>> {
        self.items.next().map(|item| self.list.entry(item))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.items.size_hint()
    }
}

impl DoubleEndedIterator for Iter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.items.next_back().map(|item| self.list.entry(item))
    }
}

impl ExactSizeIterator for Iter<'_> {}

impl<'a> IntoIterator for &'a EntryList {
    type Item = EntryRef<'a>;
    type IntoIter = Iter<'a>;

    #[inline]
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl fmt::Debug for EntryList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// By what they are, wherever their bytes stand.
impl PartialEq for EntryList {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for EntryList {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::block::{self, BlockBuilder};
    use crate::format::dictionary::{Compressor, Decompressor};
    use crate::format::payload::{Kind, Payload};
    use crate::format::record::tests::samples;

    fn block_of(records: &[Record], mut builder: BlockBuilder) -> Arc<CachedBlock> {
        records.iter().for_each(|record| builder.push(&record.to_bytes()));
        let mut bytes = Vec::new();
        builder.finish(&mut Compressor::generic(3).unwrap(), &mut bytes).unwrap();
        Arc::new(block::decode(&bytes, None, &mut Decompressor::new().unwrap()).unwrap())
    }

    #[test]
    fn entries_are_the_same_wherever_their_bytes_stand() {
        let records = samples();
        let posts: Vec<&Record> =
            records.iter().filter(|record| record.payload.kind() == Kind::Post).collect();
        assert!(posts.len() > 1 && posts.len() < records.len());
        let of_records = EntryList::of(&records);
        let mut lists = vec![of_records.clone()];
        let mut alone = EntryList::default();
        for record in &records {
            alone.push(record.seq, record.to_bytes().into(), 0);
        }
        lists.push(alone);
        // One block after the other, columns and rows, and a part of it from elsewhere.
        for builder in [BlockBuilder::default(), BlockBuilder::of_rows()] {
            let block = block_of(&records, builder);
            let mut list = EntryList::default();
            for (at, record) in records.iter().enumerate() {
                list.push_of(record.seq, &block, at);
            }
            assert_eq!(list.blocks.len(), 1, "held once");
            lists.push(list);
        }
        for list in &lists {
            assert_eq!(list.len(), posts.len());
            assert_eq!(*list, of_records);
            for (entry, record) in list.iter().zip(&posts) {
                let Payload::Post(post) = &record.payload else { panic!("no post") };
                assert_eq!((entry.seq, entry.body().unwrap()), (record.seq, &*post.body));
                assert_eq!(entry.words().unwrap(), post.body.as_bytes());
                assert_eq!(entry.record().unwrap(), **record);
            }
        }
        let mut both = lists.swap_remove(2);
        both.append(lists.swap_remove(1));
        assert_eq!(both.len(), 2 * posts.len());
        let half = both.iter().skip(posts.len());
        assert!(half.eq(of_records.iter()), "each still in its own");
        both.reverse();
        assert!(both.iter().rev().take(posts.len()).eq(of_records.iter()));
        both.truncate(1);
        let only = both.get(0).unwrap();
        assert_eq!((only.seq, both.get(1)), (posts.last().unwrap().seq, None));
        both.retain(|seq| seq != only.seq);
        assert!(both.is_empty() && both.iter().next().is_none());
    }
}
