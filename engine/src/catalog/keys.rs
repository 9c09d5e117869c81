//! The catalog's keys: a letter and big-endian numbers, so that order of bytes is order of meaning.
//!
//! Every key of the store is made here and nowhere else.

use sha2::{Digest, Sha256};

use crate::limits;
use crate::types::{CategoryId, HoldId, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};

/// How far the log is applied.
pub const APPLIED: &[u8] = b"a";

/// The first key behind every key that starts with `prefix`.
#[must_use]
pub fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return end;
        }
    }
    vec![u8::MAX; 64]
}

fn one(letter: u8, id: u64) -> Vec<u8> {
    let mut key = Vec::with_capacity(9);
    key.push(letter);
    key.extend_from_slice(&id.to_be_bytes());
    key
}

fn two(letter: u8, first: u64, second: u64) -> Vec<u8> {
    let mut key = one(letter, first);
    key.extend_from_slice(&second.to_be_bytes());
    key
}

/// The big-endian number at `at` of a key; 0 if the key is shorter.
#[must_use]
pub fn number_at(key: &[u8], at: usize) -> u64 {
    key.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_be_bytes)
}

/// A signed number in an order-keeping form.
const fn ordered(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// `RoomRow` of a room.
#[must_use]
pub fn room(id: RoomId) -> Vec<u8> {
    one(b'r', id.0)
}

/// The first byte of every key of [`tip`].
pub const TIPS: &[u8] = b"h";

/// `TipRow` of a room.
#[must_use]
pub fn tip(id: RoomId) -> Vec<u8> {
    one(b'h', id.0)
}

/// `MemberRow` of a room and a principal.
#[must_use]
pub fn member(room: RoomId, principal: PrincipalId) -> Vec<u8> {
    two(b'm', room.0, principal.0)
}

/// The members of a room.
#[must_use]
pub fn members(room: RoomId) -> Vec<u8> {
    one(b'm', room.0)
}

/// The roles of a principal in a room, by principal.
#[must_use]
pub fn membership(principal: PrincipalId, room: RoomId) -> Vec<u8> {
    two(b'p', principal.0, room.0)
}

/// `CategoryRow` of a category.
#[must_use]
pub fn category(id: CategoryId) -> Vec<u8> {
    one(b'c', id.0)
}

/// A room's being in a category now.
#[must_use]
pub fn category_room(category: CategoryId, room: RoomId) -> Vec<u8> {
    two(b'k', category.0, room.0)
}

/// A room's having been moved into a category after it was made.
#[must_use]
pub fn moved_in(category: CategoryId, room: RoomId) -> Vec<u8> {
    two(b'v', category.0, room.0)
}

/// `PrincipalRow` of a principal.
#[must_use]
pub fn principal(id: PrincipalId) -> Vec<u8> {
    one(b'u', id.0)
}

/// `TokenRow` by the token's hash.
#[must_use]
pub fn token(sha256: &[u8; 32]) -> Vec<u8> {
    let mut key = vec![b't'];
    key.extend_from_slice(sha256);
    key
}

/// The hash of a token by its identifier.
#[must_use]
pub fn token_by_id(id: TokenId) -> Vec<u8> {
    one(b'i', id.0)
}

/// A principal's having a token.
#[must_use]
pub fn token_of(principal: PrincipalId, token: TokenId) -> Vec<u8> {
    two(b'o', principal.0, token.0)
}

/// A room's name; equal but for ASCII case is equal.
#[must_use]
pub fn room_name(name: &str) -> Vec<u8> {
    folded(b'R', "", name)
}

/// A category's name; equal but for ASCII case is equal.
#[must_use]
pub fn category_name(name: &str) -> Vec<u8> {
    folded(b'C', "", name)
}

/// A principal's name: users and groups share their names without regard to ASCII case; imported
/// authors are told apart to the byte, within their source.
#[must_use]
pub fn principal_name(imported: Option<&str>, name: &str) -> Vec<u8> {
    match imported {
        None => folded(b'U', "", name),
        Some(source) => {
            let mut key = vec![b'n', b'I'];
            key.extend_from_slice(&(source.len() as u64).to_be_bytes());
            key.extend_from_slice(source.as_bytes());
            key.extend_from_slice(name.as_bytes());
            key
        }
    }
}

fn folded(sort: u8, source: &str, name: &str) -> Vec<u8> {
    let mut key = vec![b'n', sort];
    key.extend_from_slice(source.as_bytes());
    key.extend_from_slice(name.to_ascii_lowercase().as_bytes());
    key
}

/// A client's idempotency key, within its principal and room: 96 bits of its hash, so that a row
/// has the same few bytes whatever clients send. Two of a billion keys meet with a chance of 2^-37.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(pub [u8; 12]);

impl KeyName {
    /// The first bytes of the SHA-256 of principal and room (eight bytes each) and the key.
    #[must_use]
    pub fn new(principal: PrincipalId, room: RoomId, client_key: &[u8]) -> Self {
        let hash: [u8; 32] = Sha256::new()
            .chain_update(principal.0.to_be_bytes())
            .chain_update(room.0.to_be_bytes())
            .chain_update(client_key)
            .finalize()
            .into();
        Self(std::array::from_fn(|at| hash[at]))
    }
}

/// Twelve hours of `recorded` time, in which idempotency keys go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeySpan(pub u32);

impl KeySpan {
    /// Its length in microseconds.
    pub const US: i64 = 12 * 3_600 * 1_000_000;

    /// The span of a time.
    #[must_use]
    pub const fn of(recorded: TimeUs) -> Self {
        // All of time has some 430 million spans.
        let nth = recorded.0.div_euclid(Self::US) + (1 << 31);
        let [_, _, _, _, a, b, c, d] = nth.to_be_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }

    /// Where it begins.
    #[must_use]
    pub const fn begin(self) -> TimeUs {
        TimeUs((self.0 as i64 - (1 << 31)).saturating_mul(Self::US))
    }

    /// The next one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The oldest span with a key that is still remembered when it is `recorded`.
    #[must_use]
    pub const fn oldest(recorded: TimeUs) -> Self {
        Self::of(recorded.saturating_add_us(-limits::IDEMPOTENCY_WINDOW_US))
    }
}

/// Up to where every idempotency key stands in a run.
pub const KEYS_KEPT: &[u8] = b"I";
/// The first byte of every key of [`key_filter`].
pub const KEY_FILTERS: &[u8] = b"F";
/// The first byte of every key of [`key_page`].
pub const KEY_PAGES: &[u8] = b"G";
/// True of a key of the rows of runs of idempotency keys.
#[must_use]
pub fn is_of_keys(key: &[u8]) -> bool {
    [KEYS_KEPT, KEY_FILTERS, KEY_PAGES].into_iter().any(|letter| key.starts_with(letter))
}

/// Where the run's first place stands in a key of [`key_filter`] or [`key_page`], behind its span.
pub const KEY_FIRST_AT: usize = 5;

fn key_rows(letter: &[u8], span: KeySpan) -> Vec<u8> {
    let mut key = Vec::with_capacity(25);
    key.extend_from_slice(letter);
    key.extend_from_slice(&span.0.to_be_bytes());
    key
}

/// The filters and the pages of the runs of a span: what both kinds of keys begin with.
#[must_use]
pub fn key_span(span: KeySpan) -> [Vec<u8>; 2] {
    [key_rows(KEY_FILTERS, span), key_rows(KEY_PAGES, span)]
}

/// The filter of a run.
#[must_use]
pub fn key_filter(span: KeySpan, first: Lsn) -> Vec<u8> {
    let mut key = key_rows(KEY_FILTERS, span);
    key.extend_from_slice(&first.0.to_be_bytes());
    key
}

/// The pages of a run.
#[must_use]
pub fn key_pages(span: KeySpan, first: Lsn) -> Vec<u8> {
    let mut key = key_rows(KEY_PAGES, span);
    key.extend_from_slice(&first.0.to_be_bytes());
    key
}

/// `KeyPage` of a run whose keys begin with this one.
#[must_use]
pub fn key_page(span: KeySpan, first: Lsn, name: &KeyName) -> Vec<u8> {
    let mut key = key_pages(span, first);
    key.extend_from_slice(&name.0);
    key
}

/// The first byte of every key of [`first_key`].
pub const FIRST_KEYS: &[u8] = b"Q";

/// Where in the log the idempotency keys of a span begin.
#[must_use]
pub fn first_key(span: KeySpan) -> Vec<u8> {
    let mut key = FIRST_KEYS.to_vec();
    key.extend_from_slice(&span.0.to_be_bytes());
    key
}

/// The span of a key of [`first_key`], [`key_filter`] or [`key_page`].
#[must_use]
pub fn span_at(key: &[u8]) -> KeySpan {
    let bytes = key.get(1..5).and_then(|bytes| bytes.try_into().ok());
    KeySpan(bytes.map_or(0, u32::from_be_bytes))
}

/// `ImportProgress` of a room, format and source.
#[must_use]
pub fn import(room: RoomId, format: &str, source: &str) -> Vec<u8> {
    let mut key = one(b'f', room.0);
    key.extend_from_slice(&(format.len() as u64).to_be_bytes());
    key.extend_from_slice(format.as_bytes());
    key.extend_from_slice(source.as_bytes());
    key
}

/// A setting's value.
#[must_use]
pub fn setting(name: &str) -> Vec<u8> {
    let mut key = vec![b's'];
    key.extend_from_slice(name.as_bytes());
    key
}

/// `AmendRow` of an entry that was edited or redacted.
#[must_use]
pub fn amended(room: RoomId, seq: Seq) -> Vec<u8> {
    two(b'e', room.0, seq.0)
}

/// The first byte of every key of [`amended`].
pub const AMENDS: &[u8] = b"e";

/// The first byte of every key of [`past`].
pub const PASTS: &[u8] = b"E";

/// `PastRow` of a room of which an entry was edited, redacted or expired.
#[must_use]
pub fn past(room: RoomId) -> Vec<u8> {
    one(b'E', room.0)
}

/// The newest `SignedHead`.
pub const NEWEST_HEAD: &[u8] = b"j";
/// The first byte of every key of [`signing_key`].
pub const SIGNING_KEYS: &[u8] = b"K";
/// Where the rev stands in a key of [`signing_key`].
pub const SIGNING_KEY_REV_AT: usize = 1;

/// `SigningKey` by the rev of its record.
#[must_use]
pub fn signing_key(rev: Rev) -> Vec<u8> {
    one(b'K', rev.0)
}

/// The first byte of every key of [`old_tree`].
pub const OLD_TREES: &[u8] = b"T";

/// The tree of a room, as format 1 kept it.
#[must_use]
pub fn old_tree(room: RoomId) -> Vec<u8> {
    one(b'T', room.0)
}

/// A node of a room's tree that is kept, by its index.
#[must_use]
pub fn tree_node(room: RoomId, index: u64) -> Vec<u8> {
    two(b'N', room.0, index)
}

/// The first byte of every key of [`salts`].
pub const SALTS: &[u8] = b"S";
/// Where a span's first place stands in a key of [`salts`], and behind it its level.
pub const SALTS_FIRST_AT: usize = 1;
/// Where a span's level stands there.
pub const SALTS_LEVEL_AT: usize = 9;

/// `SaltRow` of a span of the log.
#[must_use]
pub fn salts(first: Lsn, level: u8) -> Vec<u8> {
    let mut key = one(b'S', first.0);
    key.push(level);
    key
}

/// The first byte of every key of [`hold`].
pub const HOLDS: &[u8] = b"H";

/// `HoldRow` of a legal hold.
#[must_use]
pub fn hold(id: HoldId) -> Vec<u8> {
    one(b'H', id.0)
}

/// An edit of an entry, by its rev.
#[must_use]
pub fn edit(room: RoomId, seq: Seq, rev: Rev) -> Vec<u8> {
    let mut key = edits(room, seq);
    key.extend_from_slice(&rev.0.to_be_bytes());
    key
}

/// The edits of an entry.
#[must_use]
pub fn edits(room: RoomId, seq: Seq) -> Vec<u8> {
    two(b'w', room.0, seq.0)
}

/// The first byte of every key of [`lost`].
pub const LOST: &[u8] = b"z";

/// A message that is lost while its place is known.
#[must_use]
pub fn lost(room: RoomId, seq: Seq) -> Vec<u8> {
    let mut key = one(b'z', room.0);
    key.extend_from_slice(&seq.0.to_be_bytes());
    key
}

/// A hole of the log that is not yet accepted.
#[must_use]
pub fn open_hole(first: Lsn) -> Vec<u8> {
    one(b'g', first.0)
}

/// A span of the log whose loss was accepted, by its first place.
#[must_use]
pub fn accepted_loss(first: Lsn) -> Vec<u8> {
    one(b'l', first.0)
}

/// `Run` of a room by its first rev.
#[must_use]
pub fn run(room: RoomId, first_rev: Rev) -> Vec<u8> {
    two(b'R', room.0, first_rev.0)
}

/// The runs of a room.
#[must_use]
pub fn runs(room: RoomId) -> Vec<u8> {
    one(b'R', room.0)
}

/// The smallest dyadic span of time that holds a run: (level, bucket).
///
/// Level `n` cuts time into spans of 2^n microseconds; a run stands at the lowest level at which
/// its first and last time fall into one span. A reader of a span of time looks, at each level, at
/// the few buckets that overlap it. (The idea of a hierarchical index over intervals, as in R.
/// Kriegel's relational interval tree, with fixed powers of two.)
#[must_use]
pub const fn dyadic(first: TimeUs, last: TimeUs) -> (u8, u64) {
    let (low, high) = (ordered(first.0), ordered(last.0));
    let differing = 64 - (low ^ high).leading_zeros();
    let level = if differing < MIN_LEVEL as u32 { MIN_LEVEL as u32 } else { differing };
    (level.to_le_bytes()[0], bucket(low, level))
}

/// The lowest level: spans of 2^32 microseconds, 71 minutes.
pub const MIN_LEVEL: u8 = 32;
/// The highest level: all of time.
pub const MAX_LEVEL: u8 = 64;

const fn bucket(ordered: u64, level: u32) -> u64 {
    if level >= 64 { 0 } else { ordered >> level }
}

/// The buckets of `level` that overlap `[from, to]`.
#[must_use]
pub const fn buckets(level: u8, from: TimeUs, to: TimeUs) -> (u64, u64) {
    (bucket(ordered(from.0), level as u32), bucket(ordered(to.0), level as u32))
}

/// A run of a category, by time.
#[must_use]
pub fn category_run(
    category: CategoryId,
    (level, bucket): (u8, u64),
    room: RoomId,
    first_rev: Rev,
) -> Vec<u8> {
    let mut key = category_level(category, level, bucket);
    key.extend_from_slice(&room.0.to_be_bytes());
    key.extend_from_slice(&first_rev.0.to_be_bytes());
    key
}

/// The runs of a category at one level from one bucket on.
#[must_use]
pub fn category_level(category: CategoryId, level: u8, bucket: u64) -> Vec<u8> {
    let mut key = one(b'C', category.0);
    key.push(level);
    key.extend_from_slice(&bucket.to_be_bytes());
    key
}

/// Where the level stands in a key of [`category_level`].
pub const CATEGORY_LEVEL_AT: usize = 9;

/// Where the room and the first rev stand in a key of [`category_run`].
pub const CATEGORY_RUN_ROOM_AT: usize = 18;

/// The mark that all rows of a pack's runs are written.
#[must_use]
pub fn pack_indexed(pack: u64) -> Vec<u8> {
    one(b'P', pack)
}

/// A compliance event.
#[must_use]
pub fn event(lsn: Lsn) -> Vec<u8> {
    lsn.0.to_be_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_in_a_bucket_that_every_overlapping_search_visits() {
        let samples =
            [0, 1, -1, 3_600_000_000, -3_600_000_000, 1 << 40, -(1 << 50), 86_400_000_000];
        for first in samples {
            for len in [0, 1, 1 << 33, 1 << 45] {
                let last = first + len;
                let (level, at) = dyadic(TimeUs(first), TimeUs(last));
                for probe in [first, last, i64::midpoint(first, last)] {
                    let (low, high) = buckets(level, TimeUs(probe - 5), TimeUs(probe + 5));
                    assert!(low <= at && at <= high, "first={first} len={len} probe={probe}");
                }
            }
        }
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_its_keys() {
        assert_eq!(after_prefix(b"a"), b"b");
        assert_eq!(after_prefix(&[b'a', 255, 255]), b"b");
        assert!(after_prefix(&[255, 255]) > vec![255; 40]);
    }

    #[test]
    fn spans_of_keys_are_in_the_order_of_time_and_begin_where_they_say() {
        let times = [i64::MIN, -KeySpan::US - 1, -1, 0, 1, KeySpan::US, i64::MAX].map(TimeUs);
        let spans = times.map(KeySpan::of);
        assert!(spans.is_sorted());
        assert_eq!(spans[2].next(), spans[3]);
        assert_eq!((spans[3], spans[3].next()), (spans[4], spans[5]));
        for (time, span) in times.into_iter().zip(spans).skip(1) {
            assert!(span.begin() <= time, "{time:?}");
            assert!(time.0 - span.begin().0 < KeySpan::US, "{time:?}");
            assert_eq!(span_at(&first_key(span)), span);
            let last = key_page(span, Lsn(u64::MAX), &KeyName([255; 12]));
            assert!(last < key_pages(span.next(), Lsn::ZERO) && span_at(&last) == span);
        }
    }

    #[test]
    fn a_key_is_another_in_another_room_or_of_another_principal() {
        let name = |who, room, key: &[u8]| KeyName::new(PrincipalId(who), RoomId(room), key);
        let one = name(1, 2, b"key");
        assert_eq!(one, name(1, 2, b"key"));
        for other in [name(2, 1, b"key"), name(1, 3, b"key"), name(1, 2, b"key2")] {
            assert_ne!(one, other);
        }
    }
}
