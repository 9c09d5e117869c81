//! What readers need before entries, read from the catalog and kept in memory: of a room its runs
//! and its head at rest, where it belongs and what became of its entries; of a category where among
//! its runs to look.
//!
//! A room with a tail has its newest head there. INVARIANT: nothing is kept that was read before
//! the rows it repeats were written anew.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::apply::decode_row;
use crate::catalog::rows::{HeadRow, PastRow, RoomRow};
use crate::catalog::{CatalogStore, Family, Go, Walk, keys, walk_prefix};
use crate::category::span_of;
use crate::error::Result;
use crate::format::run::Run;
use crate::limits;
use crate::types::{CategoryId, Rev, RoomId, TimeUs};

/// Run lists that are expected to be kept at once.
const RUN_LISTS: usize = 16 * 1024;
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
/// What a shard of the cache of run lists holds at least, and how many there are at most.
const SHARD_BYTES: u64 = 16 * 1024 * 1024;
const SHARDS_MAX: usize = 64;

#[derive(Clone, Copy, Debug)]
struct RunsWeight;

/// A room as its rows say.
#[derive(Debug)]
pub(crate) struct RoomList {
    /// Its runs in order of rev.
    pub runs: Vec<Run>,
    /// Its head, as far as the catalog had come: the newest, if the room had no tail then.
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

/// How often rows of runs were written, were replaced, and those of rooms were written.
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
    generation: AtomicU64,
    /// The same for what became of entries and rooms.
    past_generation: AtomicU64,
    /// Rises when rows of runs begin to be replaced, and again when they are: odd between.
    replaced: AtomicU64,
}

impl RunLists {
    pub(crate) fn new(store: Arc<dyn CatalogStore>, cache_bytes: u64) -> Self {
        // A list that is larger than a shard is never kept: that of a room of ten million entries
        // takes five MiB.
        let shards = usize::try_from(cache_bytes / SHARD_BYTES).unwrap_or(1).clamp(1, SHARDS_MAX);
        let options = OptionsBuilder::new()
            .estimated_items_capacity(RUN_LISTS)
            .weight_capacity(cache_bytes)
            .shards(shards)
            .build();
        let cache = match options {
            Ok(options) => Cache::with_options(
                options,
                RunsWeight,
                DefaultHashBuilder::default(),
                DefaultLifecycle::default(),
            ),
            Err(_) => Cache::with_weighter(RUN_LISTS, cache_bytes, RunsWeight),
        };
        let (pasts, places) = (Cache::new(PASTS), Cache::new(PLACES));
        let share = cache_bytes / WHEREABOUTS_SHARE;
        let whereabouts = Cache::with_weighter(WHEREABOUTS, share, WhereaboutsWeight);
        let (generation, past_generation) = (AtomicU64::new(0), AtomicU64::new(0));
        let replaced = AtomicU64::new(0);
        Self { store, cache, pasts, places, whereabouts, generation, past_generation, replaced }
    }

    /// Rows of runs are going to be replaced: whoever looks at those of several rooms at once must
    /// look again.
    pub(crate) fn begin_replacing(&self) {
        self.replaced.fetch_add(1, Ordering::SeqCst);
    }

    /// They are replaced.
    pub(crate) fn end_replacing(&self) {
        self.replaced.fetch_add(1, Ordering::SeqCst);
    }

    /// Equal before and behind a look at rows if none were replaced meanwhile; none while some are.
    pub(crate) fn stamp(&self) -> Option<u64> {
        let replaced = self.replaced.load(Ordering::SeqCst);
        replaced.is_multiple_of(2).then_some(replaced)
    }

    /// Forgets the lists of rooms whose runs changed. Call after the rows are written.
    pub(crate) fn forget(&self, rooms: impl Iterator<Item = RoomId>) {
        // ORDERING: a list read before the rows were written is put into the cache only if the
        // generation is still the one its reader saw.
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
            runs.push(decode_row::<Run>(value, "run row")?);
            Ok(if runs.len() < limits::RUN_LIST_MAX { Go::On } else { Go::Stop })
        })?;
        let list = Arc::new(RoomList { runs, head: self.head(room)? });
        if self.generation.load(Ordering::SeqCst) == generation {
            self.cache.insert(room, Arc::clone(&list));
            if self.generation.load(Ordering::SeqCst) != generation {
                self.cache.remove(&room);
            }
        }
        Ok(list)
    }

    /// How far the catalog says that a room has come.
    pub(crate) fn head(&self, room: RoomId) -> Result<HeadRow> {
        let row = self.store.get(Family::State, &keys::head(room))?;
        row.map_or(Ok(HeadRow::EMPTY), |bytes| decode_row(&bytes, "head row"))
    }

    /// What became of a room's entries.
    pub(crate) fn past(&self, room: RoomId) -> Result<PastRow> {
        if let Some(past) = self.pasts.get(&room) {
            return Ok(past);
        }
        let generation = self.past_generation.load(Ordering::SeqCst);
        let row = self.store.get(Family::State, &keys::past(room))?;
        let past: PastRow =
            row.map_or(Ok(PastRow::EMPTY), |bytes| decode_row(&bytes, "past row"))?;
        if self.past_generation.load(Ordering::SeqCst) == generation {
            self.pasts.insert(room, past.clone());
            if self.past_generation.load(Ordering::SeqCst) != generation {
                self.pasts.remove(&room);
            }
        }
        Ok(past)
    }

    /// True if a room is there and in a category now.
    pub(crate) fn is_in(&self, room: RoomId, category: CategoryId) -> Result<bool> {
        if let Some(place) = self.places.get(&room) {
            return Ok(place == Some(category));
        }
        let generation = self.past_generation.load(Ordering::SeqCst);
        let Some(bytes) = self.store.get(Family::State, &keys::room(room))? else {
            return Ok(false);
        };
        let row: RoomRow = decode_row(&bytes, "room row")?;
        let place = Some(row.settings.category).filter(|_| !row.deleted);
        if self.past_generation.load(Ordering::SeqCst) == generation {
            self.places.insert(room, place);
            if self.past_generation.load(Ordering::SeqCst) != generation {
                self.places.remove(&room);
            }
        }
        Ok(place == Some(category))
    }

    fn stamps(&self) -> Stamps {
        let load = |number: &AtomicU64| number.load(Ordering::SeqCst);
        Stamps(load(&self.generation), load(&self.replaced), load(&self.past_generation))
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
        let mut moved = Vec::new();
        let prefix = keys::moved_in(category, RoomId::NONE);
        let prefix = prefix.get(..9).unwrap_or(&prefix);
        walk_prefix(&*self.store, Family::State, prefix, &mut |key, _| {
            moved.push(RoomId(keys::number_at(key, 9)));
            Ok(Go::On)
        })?;
        let known = Arc::new(Whereabouts { stamps, runs, levels, moved });
        // Whatever was written meanwhile changed a stamp, or does before its reader must know it.
        self.whereabouts.insert(category, Arc::clone(&known));
        Ok(known)
    }

    /// Forgets what became of rooms and their entries. Call after the rows are written, and before
    /// anybody is told of it.
    pub(crate) fn forget_pasts(&self, rooms: impl Iterator<Item = RoomId>) {
        let mut rooms = rooms.peekable();
        if rooms.peek().is_some() {
            // ORDERING: as in `forget`.
            self.past_generation.fetch_add(1, Ordering::SeqCst);
            for room in rooms {
                self.pasts.remove(&room);
                self.places.remove(&room);
            }
        }
    }
}
