//! Salts as the catalog's rows have them, along the log or all over it.
//!
//! What was read of the rows is kept. `Book` keeps the seeds on the way down to one place, so that
//! going through the log costs about one hash a place; `Scattered` opens chunks, so that going
//! through a room does not cost twenty. Whoever changes the rows makes a new one.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::salts::{CHUNK_LEVEL, Chunk, PlaceSalts, SPAN_LEVEL, Salts, Steps};
use crate::apply::decode_row;
use crate::catalog::rows::SaltRow;
use crate::catalog::{CatalogStore, Family, Go, Walk, keys, walk_prefix};
use crate::error::{Error, Result};
use crate::types::Lsn;

/// Rows with `from <= key < to`.
pub(crate) type Rows<'a> = &'a dyn Fn(&[u8], &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>>;

/// The keys of the rows that may cover a place of the chunk that begins at `first`.
fn keys_around(first: Lsn) -> (Vec<u8>, Vec<u8>) {
    let span = Lsn(first.0 >> SPAN_LEVEL << SPAN_LEVEL);
    let behind = Lsn(first.0.saturating_add(1 << CHUNK_LEVEL));
    (keys::salts(span, 0), keys::salts(behind, 0))
}

/// True if the span that a key names overlaps a chunk.
fn overlaps(key: &[u8], chunk: Lsn) -> bool {
    let first = keys::number_at(key, keys::SALTS_FIRST_AT);
    let level = key.get(keys::SALTS_LEVEL_AT).copied().unwrap_or(0).min(63);
    let end = first.saturating_add(1 << level);
    first < chunk.0.saturating_add(1 << CHUNK_LEVEL) && end > chunk.0
}

/// What the rows say of a span of the highest level.
fn spans(rows: Rows<'_>, span: u64) -> Result<Vec<Salts>> {
    let [first, behind] = [span, span.saturating_add(1)].map(|n| Lsn(n.saturating_mul(SPAN)));
    let rows = rows(&keys::salts(first, 0), &keys::salts(behind, 0))?;
    rows.into_values().map(|row| Ok(sound(&row)?.salts)).collect()
}

/// A row, if it is one that a record can have made.
fn sound(row: &[u8]) -> Result<SaltRow> {
    let row: SaltRow = decode_row(row, "salt row")?;
    let file = Path::new("catalog");
    let wrong = || Error::corrupt("unsound salt row", file, 0, row.salts.first.0, 0);
    if row.salts.is_sound() { Ok(row) } else { Err(wrong()) }
}

/// Places of a span of the highest level.
const SPAN: u64 = 1 << SPAN_LEVEL;
/// Spans of which the rows are kept; a row is small.
const SPANS_MAX: usize = 64;

/// What the rows say of spans of the highest level, as far as they were read.
#[derive(Debug, Default)]
struct Known(HashMap<u64, Vec<Salts>>);

impl Known {
    /// What may have a seed for a place.
    fn of(&mut self, place: Lsn, rows: Rows<'_>) -> Result<&[Salts]> {
        let span = place.0 >> SPAN_LEVEL;
        if !self.0.contains_key(&span) {
            if self.0.len() >= SPANS_MAX {
                self.0.clear();
            }
            self.0.insert(span, spans(rows, span)?);
        }
        Ok(self.0.get(&span).map(Vec::as_slice).unwrap_or_default())
    }
}

/// The salts of places, one after the other in the log.
#[derive(Debug, Default)]
pub(crate) struct Book {
    known: Known,
    chunk: Chunk,
}

impl Book {
    /// The salts of a place, if they are known.
    ///
    /// # Errors
    /// What reading the rows fails with.
    pub(crate) fn get(&mut self, place: Lsn, rows: Rows<'_>) -> Result<Option<PlaceSalts>> {
        if !self.chunk.has(place) {
            self.chunk = Chunk::of(Chunk::first_of(place), self.known.of(place, rows)?);
        }
        Ok(self.chunk.get(place))
    }

    /// As [`Self::get`], of a store's rows as they stand.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(crate) fn of(
        &mut self,
        place: Lsn,
        store: &dyn CatalogStore,
    ) -> Result<Option<PlaceSalts>> {
        self.get(place, &|from, to| rows_of(store, from, to))
    }
}

/// Places that share a seed that is kept, as a power of two.
const STEP_LEVEL: u8 = 3;
/// Chunks that are open at once: with their seeds some 9 MiB for four million places.
const OPEN_MAX: usize = 4096;

/// The salts of places all over the log.
#[derive(Debug, Default)]
pub(crate) struct Scattered {
    known: Known,
    open: HashMap<Lsn, Steps>,
}

impl Scattered {
    /// The salts of a place as a store's rows stand, if they are known.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub(crate) fn of(
        &mut self,
        place: Lsn,
        store: &dyn CatalogStore,
    ) -> Result<Option<PlaceSalts>> {
        let first = Chunk::first_of(place);
        if let Some(steps) = self.open.get(&first) {
            return Ok(steps.get(place));
        }
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        let known = self.known.of(place, &|from, to| rows_of(store, from, to))?;
        let steps = Steps::of(first, known, STEP_LEVEL);
        let found = steps.get(place);
        self.open.insert(first, steps);
        Ok(found)
    }
}

fn rows_of(store: &dyn CatalogStore, from: &[u8], to: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let mut rows = BTreeMap::new();
    store.range(Family::State, from, to, Walk::Up, &mut |key, value| {
        rows.insert(key.to_vec(), value.to_vec());
        Ok(Go::On)
    })?;
    Ok(rows)
}

/// The rows of salts that have a seed for a place.
///
/// # Errors
/// `Io` or `Corrupt`.
pub(crate) fn rows_covering(store: &dyn CatalogStore, place: Lsn) -> Result<Vec<SaltRow>> {
    let chunk = Chunk::first_of(place);
    let (from, to) = keys_around(chunk);
    let rows = rows_of(store, &from, &to)?.into_iter().filter(|(key, _)| overlaps(key, chunk));
    let rows = rows.map(|(_, row)| sound(&row));
    let rows: Vec<SaltRow> = rows.collect::<Result<_>>()?;
    Ok(rows.into_iter().filter(|row| row.salts.of(place).is_some()).collect())
}

/// What the newest record says of the span that these salts are of.
///
/// # Errors
/// `Io` or `Corrupt`.
pub(crate) fn salt_row(store: &dyn CatalogStore, salts: &Salts) -> Result<Option<SaltRow>> {
    let row = store.get(Family::State, &keys::salts(salts.first, salts.level))?;
    row.map(|row| sound(&row)).transpose()
}

/// The first place of the log behind every span of salts.
///
/// # Errors
/// `Io` or `Corrupt`.
pub(crate) fn salted_to(store: &dyn CatalogStore) -> Result<Lsn> {
    let mut salted = Lsn::ZERO;
    walk_prefix(store, Family::State, keys::SALTS, &mut |key, _| {
        let first = keys::number_at(key, keys::SALTS_FIRST_AT);
        let level = key.get(keys::SALTS_LEVEL_AT).copied().unwrap_or(0).min(63);
        salted = salted.max(Lsn(first.saturating_add(1 << level)));
        Ok(Go::On)
    })?;
    Ok(salted)
}
