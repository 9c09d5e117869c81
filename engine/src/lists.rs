//! What readers need before entries, read from the catalog and kept in memory: of a room its runs
//! and its head at rest, where it belongs and what became of its entries; of a category where among
//! its runs to look.
//!
//! A room with a tail has its newest head there. INVARIANT: nothing is kept that was read before
//! the rows it repeats were written anew.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::hash::Hash;
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::apply::{decode_head, decode_row};
use crate::catalog::rows::{HeadRow, PastRow, RoomRow};
use crate::catalog::{CatalogStore, Family, Go, Walk, keys, walk_prefix};
use crate::category::span_of;
use crate::error::Result;
use crate::format::run::Run;
use crate::limits;
use crate::types::{CategoryId, Rev, RoomId, TimeUs};

/// Run lists that are expected to be kept at once.
const RUN_LISTS: usize = 16 * 1024;
/// Bytes of rows of lists that are read ahead at once.
const AHEAD_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Rooms of which it is known what became of their entries: some 60 bytes each.
const PASTS: usize = 64 * 1024;
/// Rooms of which it is known where they belong.
const PLACES: usize = 64 * 1024;
/// Categories of which it is expected to be known where to look.
const WHEREABOUTS: usize = 4096;
/// Runs of a category that are kept in memory with it: of more, only at which levels they stand.
const PLACED_MAX: usize = 8192;
/// What this takes of the budget of run lists: a part of so many.
const WHEREABOUTS_SHARE: u64 = 8;
/// What a shard of a cache holds at least, and how many there are at most.
const SHARD_BYTES: u64 = 16 * 1024 * 1024;
const SHARDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct RunsWeight;

/// A room as its rows say.
#[derive(Debug)]
pub(crate) struct RoomList {
    /// Its runs in order of rev.
    pub runs: Vec<Run>,
    /// Its head, as far as packs or catalog had come: the newest, if the room had no tail then.
    pub head: HeadRow,
}

impl Weighter<RoomId, Arc<RoomList>> for RunsWeight {
    fn weight(&self, _: &RoomId, list: &Arc<RoomList>) -> u64 {
        let blocks: usize = list.runs.iter().map(|r| r.blocks.len()).sum();
        128 + (list.runs.len() * size_of::<Run>() + blocks * 64) as u64
    }
}

/// Where among a category's runs to look.
#[derive(Debug)]
pub(crate) struct Whereabouts {
    /// When this was true.
    stamps: Stamps,
    /// Its runs, if they are few.
    pub runs: Option<Vec<Placed>>,
    /// If not, the levels of spans of time at which they stand.
    pub levels: Vec<u8>,
    /// Rooms that were moved into it at some time.
    pub moved: Vec<RoomId>,
}

/// A run of a category, and the time of its first and of its last entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Placed {
    pub room: RoomId,
    pub first_rev: Rev,
    pub first: TimeUs,
    pub last: TimeUs,
}

impl Placed {
    /// Of a row of a category's run.
    pub(crate) fn of(key: &[u8], value: &[u8]) -> Self {
        let room = RoomId(keys::number_at(key, keys::CATEGORY_RUN_ROOM_AT));
        let first_rev = Rev(keys::number_at(key, keys::CATEGORY_RUN_ROOM_AT + 8));
        let (first, last) = span_of(value);
        Self { room, first_rev, first, last }
    }
}

#[derive(Clone, Copy, Debug)]
struct WhereaboutsWeight;

impl Weighter<CategoryId, Arc<Whereabouts>> for WhereaboutsWeight {
    fn weight(&self, _: &CategoryId, known: &Arc<Whereabouts>) -> u64 {
        let runs = known.runs.as_ref().map_or(0, Vec::len);
        (256 + runs * size_of::<Placed>() + known.moved.len() * 8) as u64
    }
}

/// How often rows of runs were written, were replaced, and those of rooms were changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamps(u64, u64, u64);

/// The runs of rooms, read from the catalog and cached.
pub(crate) struct RunLists {
    store: Arc<dyn CatalogStore>,
    cache: Cache<RoomId, Arc<RoomList>, RunsWeight>,
    pasts: Cache<RoomId, PastRow>,
    /// None for a room that is deleted.
    places: Cache<RoomId, Option<CategoryId>>,
    whereabouts: Cache<CategoryId, Arc<Whereabouts>, WhereaboutsWeight>,
    /// Runs may not tell how far their room has come: something is missing without a trace.
    holed: bool,
    generation: AtomicU64,
    /// The same for what became of entries.
    past_generation: AtomicU64,
    /// And for rooms themselves.
    place_generation: AtomicU64,
    /// Rises when rows of runs begin to be replaced, and again when they are: odd between.
    replaced: AtomicU64,
}

impl RunLists {
    pub(crate) fn new(store: Arc<dyn CatalogStore>, cache_bytes: u64, holed: bool) -> Self {
        let share = cache_bytes / WHEREABOUTS_SHARE;
        Self {
            store,
            cache: cache(RUN_LISTS, cache_bytes - share, RunsWeight),
            pasts: Cache::new(PASTS),
            places: Cache::new(PLACES),
            whereabouts: cache(WHEREABOUTS, share, WhereaboutsWeight),
            holed,
            generation: AtomicU64::new(0),
            past_generation: AtomicU64::new(0),
            place_generation: AtomicU64::new(0),
            replaced: AtomicU64::new(0),
        }
    }

    /// Lets `write` replace rows of runs of these rooms. Whoever looks at those of several rooms at
    /// once meanwhile must look again.
    pub(crate) fn replace<T>(
        &self,
        rooms: impl Iterator<Item = RoomId>,
        write: impl FnOnce() -> T,
    ) -> T {
        self.replaced.fetch_add(1, Ordering::SeqCst);
        let written = write();
        // ORDERING: as long as a list may be the old one, nobody takes it together with new rows.
        self.forget(rooms);
        self.replaced.fetch_add(1, Ordering::SeqCst);
        written
    }

    /// Equal before and behind a look at rows if none were replaced meanwhile; none while some are.
    pub(crate) fn stamp(&self) -> Option<u64> {
        let replaced = self.replaced.load(Ordering::SeqCst);
        replaced.is_multiple_of(2).then_some(replaced)
    }

    /// Forgets the lists of rooms whose runs changed. Call after the rows are written.
    pub(crate) fn forget(&self, rooms: impl Iterator<Item = RoomId>) {
        // ORDERING: see `keep`.
        self.generation.fetch_add(1, Ordering::SeqCst);
        for room in rooms {
            self.cache.remove(&room);
        }
    }

    /// A room's list.
    pub(crate) fn get(&self, room: RoomId) -> Result<Arc<RoomList>> {
        if let Some(list) = self.cache.get(&room) {
            return Ok(list);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let mut runs = Vec::new();
        walk_prefix(&*self.store, Family::Index, &keys::runs(room), &mut |_, value| {
            push_run(&mut runs, value)
        })?;
        self.listed(room, runs, generation)
    }

    /// Reads at once what reads of these rooms will ask for one after the other: their lists, as
    /// far as they are not large, and what became of their entries.
    pub(crate) fn read_ahead(&self, rooms: &[RoomId]) -> Result<()> {
        let absent = |is_kept: &dyn Fn(&RoomId) -> bool| {
            let mut rooms: Vec<RoomId> =
                rooms.iter().copied().filter(|room| !is_kept(room)).collect();
            rooms.sort_unstable();
            rooms.dedup();
            rooms
        };
        let generation = self.past_generation.load(Ordering::SeqCst);
        let absent_pasts = absent(&|room| self.pasts.peek(room).is_some());
        let rows: Vec<Vec<u8>> = absent_pasts.iter().map(|room| keys::past(*room)).collect();
        for (room, row) in absent_pasts.into_iter().zip(self.store.get_many(Family::State, &rows)?)
        {
            keep(&self.pasts, (&self.past_generation, generation), room, past_of(row)?);
        }
        let generation = self.generation.load(Ordering::SeqCst);
        let absent_lists = absent(&|room| self.cache.peek(room).is_some());
        let prefixes: Vec<Vec<u8>> = absent_lists.iter().map(|room| keys::runs(*room)).collect();
        let mut lists: Vec<Vec<Run>> = vec![Vec::new(); prefixes.len()];
        let (mut bytes, mut whole) = (0, prefixes.len());
        self.store.prefixes(Family::Index, &prefixes, &mut |at, _, value| {
            bytes += value.len();
            // Lists of large rooms are large: the rest are read when they are asked for.
            if bytes > AHEAD_BYTES_MAX {
                whole = whole.min(at);
            }
            match lists.get_mut(at) {
                Some(runs) if at < whole => push_run(runs, value),
                _ => Ok(Go::Stop),
            }
        })?;
        for (room, runs) in absent_lists.into_iter().zip(lists).take(whole) {
            self.listed(room, runs, generation)?;
        }
        Ok(())
    }

    /// The list of a room of these runs, which were read while the generation was that one.
    fn listed(&self, room: RoomId, runs: Vec<Run>, generation: u64) -> Result<Arc<RoomList>> {
        // Where the last run ends is where the room's row says that it has come, if it has no tail.
        let whole = !self.holed && runs.len() < limits::RUN_LIST_MAX;
        let last = runs.last().filter(|run| whole && run.has_entries());
        let head = match last {
            Some(run) => HeadRow { seq: run.last_seq, rev: run.last_rev, time: run.last_time },
            None => self.head(room)?,
        };
        let list = Arc::new(RoomList { runs, head });
        keep(&self.cache, (&self.generation, generation), room, Arc::clone(&list));
        Ok(list)
    }

    /// How far the catalog says that a room has come.
    pub(crate) fn head(&self, room: RoomId) -> Result<HeadRow> {
        let row = self.store.get(Family::State, &keys::tip(room))?;
        row.map_or(Ok(HeadRow::EMPTY), |bytes| decode_head(&bytes))
    }

    /// What became of a room's entries.
    pub(crate) fn past(&self, room: RoomId) -> Result<PastRow> {
        if let Some(past) = self.pasts.get(&room) {
            return Ok(past);
        }
        let generation = self.past_generation.load(Ordering::SeqCst);
        let past = past_of(self.store.get(Family::State, &keys::past(room))?)?;
        keep(&self.pasts, (&self.past_generation, generation), room, past.clone());
        Ok(past)
    }

    /// True if a room is there and in a category now.
    pub(crate) fn is_in(&self, room: RoomId, category: CategoryId) -> Result<bool> {
        if let Some(place) = self.places.get(&room) {
            return Ok(place == Some(category));
        }
        let generation = self.place_generation.load(Ordering::SeqCst);
        let Some(bytes) = self.store.get(Family::State, &keys::room(room))? else {
            return Ok(false);
        };
        let row: RoomRow = decode_row(&bytes, "room row")?;
        let place = Some(row.settings.category).filter(|_| !row.deleted);
        keep(&self.places, (&self.place_generation, generation), room, place);
        Ok(place == Some(category))
    }

    fn stamps(&self) -> Stamps {
        let load = |number: &AtomicU64| number.load(Ordering::SeqCst);
        Stamps(load(&self.generation), load(&self.replaced), load(&self.place_generation))
    }

    /// The rooms of a category.
    pub(crate) fn rooms_of(&self, category: CategoryId) -> Result<Vec<RoomId>> {
        self.rooms_under(&keys::category_room(category, RoomId::NONE))
    }

    /// The rooms behind the category in keys like this one.
    fn rooms_under(&self, key: &[u8]) -> Result<Vec<RoomId>> {
        let mut rooms = Vec::new();
        let prefix = key.get(..9).unwrap_or(key);
        walk_prefix(&*self.store, Family::State, prefix, &mut |key, _| {
            rooms.push(RoomId(keys::number_at(key, 9)));
            Ok(Go::On)
        })?;
        Ok(rooms)
    }

    /// The levels at which a category has runs.
    fn levels(&self, category: CategoryId, end: &[u8]) -> Result<Vec<u8>> {
        let (mut levels, mut next) = (Vec::new(), keys::MIN_LEVEL);
        while next <= keys::MAX_LEVEL {
            let (from, mut found) = (keys::category_level(category, next, 0), None);
            self.store.range(Family::Index, &from, end, Walk::Up, &mut |key, _| {
                found = key.get(keys::CATEGORY_LEVEL_AT).copied();
                Ok(Go::Stop)
            })?;
            let Some(level) = found else { break };
            levels.push(level);
            next = level.saturating_add(1);
        }
        Ok(levels)
    }

    /// Where among a category's runs to look. A run or level may be named that is gone, and none is
    /// left out, but for rows that were written after the caller looked at the tails, whose records
    /// it then saw there.
    pub(crate) fn whereabouts(&self, category: CategoryId) -> Result<Arc<Whereabouts>> {
        let stamps = self.stamps();
        if let Some(known) = self.whereabouts.get(&category)
            && known.stamps == stamps
        {
            return Ok(known);
        }
        let end = keys::category_level(category, keys::MAX_LEVEL + 1, 0);
        let (from, mut runs) = (keys::category_level(category, keys::MIN_LEVEL, 0), Vec::new());
        self.store.range(Family::Index, &from, &end, Walk::Up, &mut |key, value| {
            runs.push(Placed::of(key, value));
            Ok(if runs.len() <= PLACED_MAX { Go::On } else { Go::Stop })
        })?;
        let runs = Some(runs).filter(|runs| runs.len() <= PLACED_MAX);
        let levels = if runs.is_some() { Vec::new() } else { self.levels(category, &end)? };
        let moved = self.rooms_under(&keys::moved_in(category, RoomId::NONE))?;
        let known = Arc::new(Whereabouts { stamps, runs, levels, moved });
        // Whatever was written meanwhile changed a stamp, or does before its reader must know it.
        self.whereabouts.insert(category, Arc::clone(&known));
        Ok(known)
    }

    /// Forgets what became of the entries of rooms. Call after the rows are written, and before
    /// anybody is told of it.
    pub(crate) fn forget_pasts(&self, rooms: impl Iterator<Item = RoomId>) {
        forget_all(&self.pasts, &self.past_generation, rooms);
    }

    /// The same for rooms that were changed or deleted.
    pub(crate) fn forget_places(&self, rooms: impl Iterator<Item = RoomId>) {
        forget_all(&self.places, &self.place_generation, rooms);
    }
}

/// A cache of at most so many bytes. What is larger than a shard of it is never kept: the list of a
/// room of ten million entries takes five MiB.
fn cache<K, V, W>(items: usize, bytes: u64, weight: W) -> Cache<K, V, W>
where
    K: Eq + Hash,
    V: Clone,
    W: Weighter<K, V> + Clone,
{
    let shards = usize::try_from(bytes / SHARD_BYTES).unwrap_or(1).clamp(1, SHARDS_MAX);
    let options = OptionsBuilder::new()
        .estimated_items_capacity(items)
        .weight_capacity(bytes)
        .shards(shards)
        .build();
    match options {
        Ok(options) => Cache::with_options(
            options,
            weight,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        ),
        Err(_) => Cache::with_weighter(items, bytes, weight),
    }
}

fn past_of(row: Option<Vec<u8>>) -> Result<PastRow> {
    row.map_or(Ok(PastRow::EMPTY), |bytes| decode_row(&bytes, "past row"))
}

/// Adds the run of a row to a room's.
fn push_run(runs: &mut Vec<Run>, row: &[u8]) -> Result<Go> {
    runs.push(decode_row::<Run>(row, "run row")?);
    Ok(if runs.len() < limits::RUN_LIST_MAX { Go::On } else { Go::Stop })
}

/// Keeps what was read while the generation was `seen`.
///
/// ORDERING: whoever writes the rows anew raises the generation behind it, then removes. So what
/// was read before is not put in behind the removal, or is taken out again here.
fn keep<K, V, W>(cache: &Cache<K, V, W>, (generation, seen): (&AtomicU64, u64), key: K, value: V)
where
    K: Eq + Hash + Copy,
    V: Clone,
    W: Weighter<K, V> + Clone,
{
    if generation.load(Ordering::SeqCst) == seen {
        cache.insert(key, value);
        if generation.load(Ordering::SeqCst) != seen {
            cache.remove(&key);
        }
    }
}

fn forget_all<V: Clone>(
    cache: &Cache<RoomId, V>,
    generation: &AtomicU64,
    rooms: impl Iterator<Item = RoomId>,
) {
    let mut rooms = rooms.peekable();
    if rooms.peek().is_some() {
        // ORDERING: see `keep`.
        generation.fetch_add(1, Ordering::SeqCst);
        for room in rooms {
            cache.remove(&room);
        }
    }
}

#[cfg(test)]
#[path = "lists_tests.rs"]
mod tests;
