//! What readers need of a room before its entries, read from the catalog and kept in memory: its
//! runs and its head at rest, and what became of its entries.
//!
//! A room with a tail has its newest head there. INVARIANT: nothing is kept that was read before
//! the rows it repeats were written anew.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::apply::decode_row;
use crate::catalog::rows::{HeadRow, PastRow};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::error::Result;
use crate::format::run::Run;
use crate::limits;
use crate::types::RoomId;

/// Run lists that are expected to be kept at once.
const RUN_LISTS: usize = 16 * 1024;
/// Rooms of which it is known what became of their entries: some 60 bytes each.
const PASTS: usize = 64 * 1024;
/// What a shard of their cache holds at least, and how many there are at most.
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

/// The runs of rooms, read from the catalog and cached.
pub(crate) struct RunLists {
    store: Arc<dyn CatalogStore>,
    cache: Cache<RoomId, Arc<RoomList>, RunsWeight>,
    pasts: Cache<RoomId, PastRow>,
    generation: AtomicU64,
    /// The same for what became of entries.
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
        let pasts = Cache::new(PASTS);
        let (generation, past_generation) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { store, cache, pasts, generation, past_generation, replaced: AtomicU64::new(0) }
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

    /// Forgets what became of the entries of rooms. Call after the rows are written, and before
    /// anybody is told of it.
    pub(crate) fn forget_pasts(&self, rooms: impl Iterator<Item = RoomId>) {
        let mut rooms = rooms.peekable();
        if rooms.peek().is_some() {
            // ORDERING: as in `forget`.
            self.past_generation.fetch_add(1, Ordering::SeqCst);
            for room in rooms {
                self.pasts.remove(&room);
            }
        }
    }
}
