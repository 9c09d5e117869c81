//! Salts of the log's places, from few random seeds, each of which can be forgotten alone.
//!
//! A seed stands for 2^n places; hashed, it gives two seeds for half as many each, and so on down
//! to a place's own (the pseudo-random functions of Goldreich, Goldwasser and Micali, 1986). To
//! forget a place, its seed's siblings on the way down take the place of the root: all other places
//! keep their salts, and nobody can tell that one again (a puncturable function). The seeds of a
//! span are in the log, because every copy needs the same; forgetting replaces a record.
//!
//! INVARIANT: from the seeds that are left no salt of a forgotten place can be computed.

use sha2::{Digest, Sha256};

use crate::format::wire::wire_struct;
use crate::types::Lsn;

/// Bytes of a seed and of a salt.
pub const SEED_BYTES: usize = 16;
/// A seed.
pub type Seed = [u8; SEED_BYTES];
/// Places under one root: 2^20.
pub const SPAN_LEVEL: u8 = 20;
/// Places that are forgotten together with no other root's: 2^10. So many seeds at most stand in
/// one record.
pub const CHUNK_LEVEL: u8 = 10;
/// What a hash of a seed begins with.
const DOMAIN: &[u8] = b"hansard salts 1";

wire_struct! {
    /// A seed for 2^`level` places.
    pub struct SaltNode {
        /// Its level; a place's own is 0.
        pub level: u8,
        /// Its index among those of its level, counted from place 0 of the log.
        pub index: u64,
        /// The seed.
        pub seed: [u8; 16],
    }
}

wire_struct! {
    /// From now on these seeds are all that is known of the salts of a span of the log.
    pub struct Salts {
        /// The span's first place, a multiple of its width.
        pub first: Lsn,
        /// Its width is 2^`level` places.
        pub level: u8,
        /// The seeds, in order of their places.
        pub nodes: Vec<SaltNode>,
    }
}

impl SaltNode {
    fn first(&self) -> u64 {
        self.index.checked_shl(self.level.into()).unwrap_or(0)
    }

    fn covers(&self, place: u64) -> bool {
        place.checked_shr(self.level.into()).unwrap_or(0) == self.index
    }
}

/// The two seeds of a seed.
fn halves(seed: &Seed) -> (Seed, Seed) {
    let hash: [u8; 32] = Sha256::new().chain_update(DOMAIN).chain_update(seed).finalize().into();
    let (mut left, mut right) = ([0; SEED_BYTES], [0; SEED_BYTES]);
    left.copy_from_slice(&hash[..SEED_BYTES]);
    right.copy_from_slice(&hash[SEED_BYTES..]);
    (left, right)
}

/// The salts of a place: for what was said, and for where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlaceSalts {
    /// Of the commitment to what was said.
    pub said: Seed,
    /// Of the commitment to where it came from.
    pub origin: Seed,
}

impl PlaceSalts {
    fn of(seed: &Seed) -> Self {
        let (said, origin) = halves(seed);
        Self { said, origin }
    }
}

impl Salts {
    /// One seed for a whole span.
    #[must_use]
    pub fn rooted(first: Lsn, level: u8, seed: Seed) -> Self {
        let index = first.0.checked_shr(level.into()).unwrap_or(0);
        Self { first, level, nodes: vec![SaltNode { level, index, seed }] }
    }

    /// The first place behind the span.
    #[must_use]
    pub fn end(&self) -> Lsn {
        Lsn(self.first.0.saturating_add(1_u64.checked_shl(self.level.into()).unwrap_or(u64::MAX)))
    }

    /// True if the seeds stand in order, each within the span, none twice, and their number is
    /// bounded: what a decoder cannot tell.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let width = 1_u64.checked_shl(self.level.into()).unwrap_or(0);
        if width == 0 || self.level > SPAN_LEVEL || !self.first.0.is_multiple_of(width) {
            return false;
        }
        if self.nodes.len() > 1 << CHUNK_LEVEL {
            return false;
        }
        let mut at = self.first.0;
        self.nodes.iter().all(|node| {
            let fits = node.level <= self.level && node.index <= u64::MAX >> node.level.min(63);
            let next = fits && node.first() >= at && node.first() < self.end().0;
            at = node.first().saturating_add(1 << node.level.min(63));
            next && at <= self.end().0
        })
    }

    fn node(&self, place: Lsn) -> Option<&SaltNode> {
        let behind = self.nodes.partition_point(|node| node.first() <= place.0);
        let node = self.nodes.get(behind.checked_sub(1)?)?;
        node.covers(place.0).then_some(node)
    }

    /// The salts of a place; none if they are forgotten or it is another span's.
    #[must_use]
    pub fn of(&self, place: Lsn) -> Option<PlaceSalts> {
        let node = self.node(place)?;
        Some(PlaceSalts::of(&down(node.seed, node.level, place)))
    }

    /// Forgets places of the span. What is left of it stands in the last of these; where the span
    /// is wider than a chunk, what is left of each chunk that lost a place stands before it in one
    /// of its own, so that taken in this order they never lack a place that is not forgotten. None
    /// if every place was forgotten before.
    #[must_use]
    pub fn without(&self, places: &[Lsn]) -> Vec<Self> {
        let mut whole = self.clone();
        let mut chunks: Vec<Self> = Vec::new();
        let mut changed = false;
        for place in places {
            let chunk = chunks.iter_mut().find(|chunk| chunk.node(*place).is_some());
            if let Some(chunk) = chunk {
                chunk.forget(place.0, 0);
                continue;
            }
            let Some(node) = whole.node(*place) else { continue };
            changed = true;
            // A seed for less than a chunk, which no build writes into a wider span, covers nothing
            // else of its chunk: that has no root to go on with.
            if whole.level <= CHUNK_LEVEL || node.level < CHUNK_LEVEL {
                whole.forget(place.0, 0);
                continue;
            }
            let Some(seed) = whole.forget(place.0, CHUNK_LEVEL) else { continue };
            let first = Lsn(place.0 >> CHUNK_LEVEL << CHUNK_LEVEL);
            let mut chunk = Self::rooted(first, CHUNK_LEVEL, seed);
            chunk.forget(place.0, 0);
            chunks.push(chunk);
        }
        if changed { chunks.into_iter().chain([whole]).collect() } else { Vec::new() }
    }

    /// Takes the seed of level `down` that covers a place out, and leaves its siblings on the way
    /// down from where it was. Gives that seed.
    fn forget(&mut self, place: u64, down: u8) -> Option<Seed> {
        let at = self.nodes.iter().position(|node| node.covers(place))?;
        let node = self.nodes.remove(at);
        let (mut seed, mut siblings) = (node.seed, Vec::new());
        for level in (down..node.level).rev() {
            let (left, right) = halves(&seed);
            let index = place >> level;
            let (own, other) = if index & 1 == 0 { (left, right) } else { (right, left) };
            siblings.push(SaltNode { level, index: index ^ 1, seed: other });
            seed = own;
        }
        siblings.sort_by_key(SaltNode::first);
        self.nodes.splice(at..at, siblings);
        Some(seed)
    }
}

/// The seeds of the chunk that begins at `first` as far as these spans have them, none for more
/// than the chunk.
fn roots_of(first: Lsn, spans: &[Salts]) -> Vec<SaltNode> {
    let end = first.0.saturating_add(1 << CHUNK_LEVEL);
    let mut roots: Vec<SaltNode> = Vec::new();
    let near = spans.iter().filter(|span| span.first.0 < end && span.end() > first);
    for node in near.flat_map(|span| &span.nodes) {
        let behind = node.first().saturating_add(1 << node.level.min(63));
        if node.first() >= end || behind <= first.0 {
            continue;
        }
        let (mut seed, mut level) = (node.seed, node.level);
        while level > CHUNK_LEVEL {
            level -= 1;
            let (left, right) = halves(&seed);
            seed = if first.0 >> level & 1 == 0 { left } else { right };
        }
        let index = node.first().max(first.0) >> level;
        roots.push(SaltNode { level, index, seed });
    }
    roots
}

/// Salts of places near each other: the seeds on the way down to the last one are kept, and their
/// siblings. So the places of a chunk in order take about one hash each, and a place alone about
/// twenty.
#[derive(Clone, Debug, Default)]
pub struct Chunk {
    first: u64,
    /// It is of a chunk at all.
    some: bool,
    /// What is known of the chunk, none above its level.
    roots: Vec<SaltNode>,
    /// The last place, and the root over it.
    last: Option<(u64, SaltNode)>,
    /// At each level below that root, the two seeds of the one over `last`.
    pairs: [[Seed; 2]; CHUNK_LEVEL as usize],
}

impl Chunk {
    /// The chunk of the log in which a place is.
    #[must_use]
    pub const fn first_of(place: Lsn) -> Lsn {
        Lsn(place.0 >> CHUNK_LEVEL << CHUNK_LEVEL)
    }

    /// The seeds of the chunk that begins at `first`, as far as these spans have them.
    #[must_use]
    pub fn of(first: Lsn, spans: &[Salts]) -> Self {
        Self { first: first.0, some: true, roots: roots_of(first, spans), ..Self::default() }
    }

    /// True if a place is of this chunk.
    #[must_use]
    pub fn has(&self, place: Lsn) -> bool {
        self.some && Self::first_of(place).0 == self.first
    }

    /// The salts of a place of this chunk, if they are known.
    #[must_use]
    pub fn get(&mut self, place: Lsn) -> Option<PlaceSalts> {
        let place = place.0;
        let (mut seed, mut above) = match &self.last {
            // Up to where the way to the last one parts, and down from there.
            Some((last, root)) if root.covers(place) && *last != place => {
                let parts = (last ^ place).ilog2();
                let side = usize::from(place >> parts & 1 == 1);
                (self.pairs.get(parts as usize)?[side], parts)
            }
            _ => {
                let over = self.roots.iter().filter(|root| root.covers(place));
                let root = over.min_by_key(|root| root.level)?.clone();
                let from = (root.seed, u32::from(root.level));
                self.last = Some((place, root));
                from
            }
        };
        while let Some(level) = above.checked_sub(1) {
            let (left, right) = halves(&seed);
            *self.pairs.get_mut(level as usize)? = [left, right];
            seed = if place >> level & 1 == 0 { left } else { right };
            above = level;
        }
        if let Some((last, _)) = &mut self.last {
            *last = place;
        }
        Some(PlaceSalts::of(&seed))
    }
}

/// A chunk's salts in whatever order they are asked for: the seeds of `level` are kept, so that a
/// place takes so many hashes and one more, wherever the one before it was. A room's records stand
/// all over the log; each would take a [`Chunk`] of its own.
#[derive(Clone, Debug)]
pub struct Steps {
    first: u64,
    level: u8,
    /// The seeds for 2^`level` places each, in order.
    seeds: Vec<Option<Seed>>,
    /// Seeds for fewer, of a chunk that lost places or of short spans; those for the fewest first.
    below: Vec<SaltNode>,
}

impl Steps {
    /// Bytes of memory, about, for the places of one chunk.
    #[must_use]
    pub const fn weight(level: u8) -> usize {
        size_of::<Self>() + (size_of::<Option<Seed>>() << CHUNK_LEVEL.saturating_sub(level))
    }

    /// The seeds of the chunk that begins at `first`, as far as these spans have them.
    #[must_use]
    pub fn of(first: Lsn, spans: &[Salts], level: u8) -> Self {
        let level = level.min(CHUNK_LEVEL);
        let mut roots = roots_of(first, spans);
        // Where two seeds are for a place, that for fewer counts.
        roots.sort_by_key(|root| root.level);
        let above = roots.split_off(roots.partition_point(|root| root.level < level));
        let seeds = vec![None; 1 << (CHUNK_LEVEL - level)];
        let mut steps = Self { first: first.0, level, seeds, below: roots };
        above.iter().rev().for_each(|root| steps.open(root));
        steps
    }

    /// Puts what is under a seed in its places.
    fn open(&mut self, node: &SaltNode) {
        if node.level > self.level {
            let (left, right) = halves(&node.seed);
            let level = node.level - 1;
            self.open(&SaltNode { level, index: node.index << 1, seed: left });
            self.open(&SaltNode { level, index: node.index << 1 | 1, seed: right });
        } else if let Some(slot) = self.slot(node.first())
            && let Some(place) = self.seeds.get_mut(slot)
        {
            *place = Some(node.seed);
        }
    }

    fn slot(&self, place: u64) -> Option<usize> {
        usize::try_from(place.checked_sub(self.first)? >> self.level).ok()
    }

    /// The salts of a place of this chunk, if they are known.
    #[must_use]
    pub fn get(&self, place: Lsn) -> Option<PlaceSalts> {
        let lower = self.below.iter().find(|node| node.covers(place.0));
        let (seed, level) = match lower {
            Some(node) => (node.seed, node.level),
            None => ((*self.seeds.get(self.slot(place.0)?)?)?, self.level),
        };
        Some(PlaceSalts::of(&down(seed, level, place)))
    }
}

/// A place's own seed, under one of a level over it.
fn down(mut seed: Seed, level: u8, place: Lsn) -> Seed {
    for level in (0..level).rev() {
        let (left, right) = halves(&seed);
        seed = if place.0 >> level & 1 == 0 { left } else { right };
    }
    seed
}

#[cfg(test)]
#[path = "salts_tests.rs"]
mod tests;
