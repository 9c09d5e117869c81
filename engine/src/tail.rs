//! Tails: the newest records of each active room, in memory and ready to read.
//!
//! Every committed record that no pack holds yet stands here; after a seal a busy room keeps its
//! last page. An idle room has no tail. It does no I/O and decides nothing.
//!
//! INVARIANT: a record is removed only after its run's row is in the catalog, so that a reader who
//! takes the tail first and then looks into the packs misses nothing.

mod entries;

use crate::sync::atomic::{AtomicUsize, Ordering};
use std::collections::HashMap;

use crate::sync::RwLock;
use bytes::Bytes;
use foldhash::fast::RandomState;

use crate::catalog::rows::HeadRow;
use crate::format::payload::Kind;
use crate::types::{Lsn, Rev, RoomId, Seq, TimeUs};
use entries::Entries;

const SHARDS: usize = 64;
/// Memory counted for an entry beside its bytes.
const ENTRY_BYTES: usize = 96;
/// Memory counted for a room with a tail.
const ROOM_BYTES: usize = 160;
/// Sealed entries that a busy room keeps: a page.
const KEEP_ENTRIES: usize = 50;

/// One record of a tail.
#[derive(Clone, Debug)]
pub struct TailEntry {
    /// Its place in the log.
    pub lsn: Lsn,
    /// Its rev.
    pub rev: Rev,
    /// The room's seq after it; its own if it is an entry.
    pub seq_at: Seq,
    /// The room's time after it; its own if it is an entry.
    pub time_at: TimeUs,
    /// Its kind.
    pub kind: Kind,
    /// Its bytes.
    pub bytes: Bytes,
    /// Where in them the length of a post's words stands; zero if it is none, or nobody knows.
    pub words: u32,
}

impl TailEntry {
    fn weight(&self) -> usize {
        self.bytes.len() + ENTRY_BYTES
    }
}

#[derive(Debug, Default)]
struct RoomTail {
    entries: Entries,
    /// Something was added since the last seal.
    busy: bool,
}

/// The tails of all active rooms.
#[derive(Debug)]
pub struct Tails {
    shards: Vec<RwLock<HashMap<RoomId, RoomTail, RandomState>>>,
    bytes: AtomicUsize,
    rooms: AtomicUsize,
}

impl Default for Tails {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::default()).collect();
        Self { shards, bytes: AtomicUsize::new(0), rooms: AtomicUsize::new(0) }
    }
}

/// Where a room's tail begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TailStart {
    /// The first rev it holds.
    pub rev: Rev,
    /// The room's seq before it.
    pub seq_before: Seq,
}

impl TailStart {
    fn at(first: &TailEntry) -> Self {
        let own = u64::from(first.kind.takes_seq());
        Self { rev: first.rev, seq_before: Seq(first.seq_at.0.saturating_sub(own)) }
    }
}

/// Part of a room's tail.
#[derive(Clone, Debug, Default)]
pub struct TailPart {
    /// The records asked for, in order of rev.
    pub entries: Vec<TailEntry>,
    /// Where the tail begins; none if the room has none.
    pub start: Option<TailStart>,
}

/// Consecutive records of a room that no pack holds yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unsealed {
    /// The room.
    pub room: RoomId,
    /// The first.
    pub first: Rev,
    /// The last.
    pub last: Rev,
    /// An entry is among them, or a change of one.
    pub said: bool,
}

impl Tails {
    fn shard(&self, room: RoomId) -> &RwLock<HashMap<RoomId, RoomTail, RandomState>> {
        let mixed = room.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        let index = usize::try_from(mixed).unwrap_or(0) % SHARDS;
        // The index is below the number of shards, which never changes.
        #[expect(clippy::indexing_slicing, reason = "bounded by the modulus")]
        &self.shards[index]
    }

    /// Adds a committed record. `seq_at` is the room's seq after it.
    pub fn push(&self, room: RoomId, entry: TailEntry) {
        let weight = entry.weight();
        let mut shard = self.shard(room).write();
        let tail = shard.entry(room).or_insert_with(|| {
            self.rooms.fetch_add(1, Ordering::Relaxed);
            self.bytes.fetch_add(ROOM_BYTES, Ordering::Relaxed);
            RoomTail::default()
        });
        let mut entry = entry;
        if !entry.kind.is_entry() {
            entry.time_at = tail.entries.back().map_or(TimeUs::MIN, |last| last.time_at);
        }
        tail.busy = true;
        tail.entries.push_back(entry);
        drop(shard);
        self.bytes.fetch_add(weight, Ordering::Relaxed);
    }

    /// Memory held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Rooms with a tail.
    #[must_use]
    pub fn rooms(&self) -> usize {
        self.rooms.load(Ordering::Relaxed)
    }

    /// The rooms with a tail, in order, unless there are more than `most`.
    #[must_use]
    pub fn some_rooms(&self, most: usize) -> Option<Vec<RoomId>> {
        let mut rooms = Vec::new();
        for shard in &self.shards {
            rooms.extend(shard.read().keys());
            if rooms.len() > most {
                return None;
            }
        }
        rooms.sort_unstable();
        Some(rooms)
    }

    /// A room's head, if it has a tail. The time is `MIN` if the tail holds no timeline entry.
    #[must_use]
    pub fn head(&self, room: RoomId) -> Option<HeadRow> {
        let shard = self.shard(room).read();
        let last = shard.get(&room)?.entries.back()?;
        Some(HeadRow { seq: last.seq_at, rev: last.rev, time: last.time_at })
    }

    /// True if the room has a tail.
    #[must_use]
    pub fn has(&self, room: RoomId) -> bool {
        self.shard(room).read().contains_key(&room)
    }

    fn part(&self, room: RoomId, pick: impl Fn(&Entries) -> (usize, usize)) -> TailPart {
        let shard = self.shard(room).read();
        let Some(entries) = shard.get(&room).map(|t| &t.entries) else {
            return TailPart::default();
        };
        let Some(first) = entries.front() else { return TailPart::default() };
        let start = Some(TailStart::at(first));
        let (from, to) = pick(entries);
        // What is skipped may be missing, so the iterator does not say how many there are.
        let mut part = Vec::with_capacity(to.saturating_sub(from));
        part.extend(entries.range(from, to).cloned());
        TailPart { entries: part, start }
    }

    /// Shows `take` at most `most` timeline entries before `seq`, the newest first. It must be
    /// quick: records of the room and of some others wait for it.
    pub fn before(
        &self,
        room: RoomId,
        seq: Seq,
        most: usize,
        take: impl FnMut(&TailEntry),
    ) -> Option<TailStart> {
        let shard = self.shard(room).read();
        let entries = &shard.get(&room)?.entries;
        let to = match entries.back() {
            Some(last) if last.seq_at < seq => entries.len(),
            _ => entries.partition_point(|e| e.seq_at < seq),
        };
        entries.range(0, to).rev().filter(|e| e.kind.is_entry()).take(most).for_each(take);
        entries.front().map(TailStart::at)
    }

    /// At most `most` timeline entries from `seq` on.
    #[must_use]
    pub fn from(&self, room: RoomId, seq: Seq, most: usize) -> TailPart {
        let mut part = self.part(room, |entries| {
            let from = entries.partition_point(|e| e.seq_at < seq);
            let mut to = from;
            let mut taken = 0;
            while to < entries.len() && taken < most {
                taken += usize::from(entries.get(to).is_some_and(|e| e.kind.is_entry()));
                to += 1;
            }
            (from, to)
        });
        // A change behind entry `seq - 1` carries that seq too; it is not an entry.
        part.entries.retain(|e| e.kind.is_entry() && e.seq_at >= seq);
        part
    }

    /// At most `most` records after `rev`.
    #[must_use]
    pub fn after_rev(&self, room: RoomId, rev: Rev, most: usize) -> TailPart {
        self.part(room, |entries| {
            let from = entries.partition_point(|e| e.rev <= rev);
            (from, (from + most).min(entries.len()))
        })
    }

    /// The timeline entries with `from <= time < to`.
    #[must_use]
    pub fn between_times(&self, room: RoomId, from: TimeUs, to: TimeUs) -> Vec<TailEntry> {
        let mut part = self.part(room, |entries| {
            let start = entries.partition_point(|e| e.time_at < from);
            (start, entries.partition_point(|e| e.time_at < to))
        });
        part.entries.retain(|e| e.kind.is_entry());
        part.entries
    }

    /// The seq of the first entry at or after `time`, if the tail holds one.
    #[must_use]
    pub fn seek_time(&self, room: RoomId, time: TimeUs) -> Option<Seq> {
        let shard = self.shard(room).read();
        let entries = &shard.get(&room)?.entries;
        let at = entries.partition_point(|e| e.time_at < time);
        entries.range(at, usize::MAX).find(|e| e.kind.is_entry()).map(|e| e.seq_at)
    }

    /// What stands above `after` and at or below `upto`, in no order of rooms.
    #[must_use]
    pub fn unsealed(&self, after: Lsn, upto: Lsn) -> Vec<Unsealed> {
        let mut rooms = Vec::new();
        for shard in &self.shards {
            for (room, tail) in shard.read().iter() {
                let from = tail.entries.partition_point(|e| e.lsn <= after);
                let to = tail.entries.partition_point(|e| e.lsn <= upto);
                let mut span = tail.entries.range(from, to);
                let of_entries = |e: &TailEntry| e.kind.takes_seq() || e.kind.is_amendment();
                let said = span.clone().any(of_entries);
                if let (Some(first), last) = (span.next(), span.next_back()) {
                    let last = last.unwrap_or(first).rev;
                    rooms.push(Unsealed { room: *room, first: first.rev, last, said });
                }
            }
        }
        rooms
    }

    /// The records of a room between two revs, both included, in order: some of the first of them,
    /// at most `most`.
    #[must_use]
    pub fn between(&self, room: RoomId, (first, last): (Rev, Rev), most: usize) -> Vec<TailEntry> {
        let part = self.part(room, |entries| {
            let from = entries.partition_point(|e| e.rev < first);
            let to = entries.partition_point(|e| e.rev <= last);
            (from, to.min(from + most))
        });
        part.entries
    }

    /// Lets go of sealed records. A room that was busy since the last seal keeps a page, while what
    /// is kept so stays below `keep_bytes`.
    pub fn drop_sealed(&self, sealed: Lsn, keep_bytes: usize) {
        let mut kept = 0;
        for shard in &self.shards {
            let mut freed = 0;
            let mut gone = 0;
            shard.write().retain(|_, tail| {
                let old = tail.entries.partition_point(|e| e.lsn <= sealed);
                let keep_from = if tail.busy && kept < keep_bytes {
                    old.saturating_sub(KEEP_ENTRIES.saturating_sub(tail.entries.len() - old))
                } else {
                    old
                };
                freed += tail.entries.range(0, keep_from).map(TailEntry::weight).sum::<usize>();
                // A room that was busy once does not keep the place that it needed then.
                tail.entries.drop_front(keep_from, KEEP_ENTRIES);
                for at in 0..old - keep_from {
                    let Some(entry) = tail.entries.get_mut(at) else { break };
                    // The buffer is shared with a whole frame; keep only these bytes of it.
                    entry.bytes = Bytes::copy_from_slice(&entry.bytes);
                    kept += entry.weight();
                }
                tail.busy = old < tail.entries.len() + keep_from;
                let stays = !tail.entries.is_empty();
                gone += usize::from(!stays);
                stays
            });
            self.rooms.fetch_sub(gone, Ordering::Relaxed);
            self.bytes.fetch_sub(freed + gone * ROOM_BYTES, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId(900);

    fn entry(n: u64, seq: u64, kind: Kind) -> TailEntry {
        TailEntry {
            lsn: Lsn(n),
            rev: Rev(n),
            seq_at: Seq(seq),
            time_at: TimeUs(i64::try_from(n).unwrap() * 10),
            kind,
            bytes: Bytes::from_static(b"0123456789"),
            words: 0,
        }
    }

    fn sample() -> Tails {
        let tails = Tails::default();
        for (n, seq, kind) in [
            (1, 0, Kind::RoomCreated),
            (2, 1, Kind::Post),
            (3, 1, Kind::MemberSet),
            (4, 2, Kind::Post),
            (5, 3, Kind::Lost),
            (6, 4, Kind::Post),
        ] {
            tails.push(ROOM, entry(n, seq, kind));
        }
        tails
    }

    fn seqs(part: &TailPart) -> Vec<u64> {
        part.entries.iter().map(|e| e.seq_at.0).collect()
    }

    fn before(tails: &Tails, seq: Seq, most: usize) -> Vec<u64> {
        let mut seqs = Vec::new();
        tails.before(ROOM, seq, most, |e| seqs.push(e.seq_at.0));
        seqs
    }

    #[test]
    fn pages_of_a_tail_hold_entries_only() {
        let tails = sample();
        assert_eq!(before(&tails, Seq(5), 2), [4, 2]);
        assert_eq!(before(&tails, Seq(2), 9), [1]);
        assert_eq!(seqs(&tails.from(ROOM, Seq(2), 2)), [2, 4]);
        assert_eq!(seqs(&tails.from(ROOM, Seq(1), 9)), [1, 2, 4]);
        assert_eq!(tails.after_rev(ROOM, Rev(2), 2).entries.len(), 2);
        assert_eq!(tails.seek_time(ROOM, TimeUs(21)), Some(Seq(2)));
        assert_eq!(tails.seek_time(ROOM, TimeUs(61)), None);
    }

    #[test]
    fn dropping_gives_all_memory_back() {
        let tails = sample();
        assert_eq!(tails.rooms(), 1);
        tails.drop_sealed(Lsn(4), 0);
        let start = tails.after_rev(ROOM, Rev(0), 9).start;
        assert_eq!(start, Some(TailStart { rev: Rev(5), seq_before: Seq(2) }));
        tails.drop_sealed(Lsn(6), 0);
        assert_eq!((tails.bytes(), tails.rooms()), (0, 0));
    }

    #[test]
    fn a_busy_room_keeps_its_last_page_until_it_is_idle() {
        let tails = sample();
        tails.drop_sealed(Lsn(6), 1 << 20);
        assert_eq!(before(&tails, Seq(9), 9), [4, 2, 1]);
        tails.drop_sealed(Lsn(6), 1 << 20);
        assert_eq!((tails.bytes(), tails.rooms()), (0, 0));
    }
}
