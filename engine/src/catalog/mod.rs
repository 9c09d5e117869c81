//! The catalog: rows derived from the log, behind a trait.
//!
//! It is a cache of journal and packs: it can be deleted and rebuilt. Its own log is off; a batch
//! is durable only after a flush, and replay from `applied` covers the rest.
//!
//! INVARIANT: a batch and its `AppliedRow` become visible, and durable, together.

pub mod framing;
pub mod keys;
pub mod memory;
#[cfg(feature = "rocksdb")]
pub mod rocks;
pub mod rows;

use std::path::Path;

use crate::error::Result;

/// A family of rows, kept apart on disk but flushed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// Rooms, members, principals, tokens, names, keys, settings.
    State,
    /// Where history stands in packs.
    Index,
    /// Compliance events.
    Compliance,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 3] = [Self::State, Self::Index, Self::Compliance];

    /// Its name on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Index => "index",
            Self::Compliance => "compliance",
        }
    }
}

/// One change of a row: its new value, or none to remove it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The family.
    pub family: Family,
    /// The key.
    pub key: Vec<u8>,
    /// The value; none removes the row.
    pub value: Option<Vec<u8>>,
}

/// The direction of a walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Walk {
    /// From the first key up.
    Up,
    /// From the last key down.
    Down,
}

/// Whether a walk goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// To the next row.
    On,
    /// No further.
    Stop,
}

/// Sees one row of a walk.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<Go>;

/// Sees one row of a walk through several prefixes, with the prefix's number.
pub type VisitOf<'a> = &'a mut dyn FnMut(usize, &[u8], &[u8]) -> Result<Go>;

/// An ordered store of rows.
pub trait CatalogStore: Send + Sync {
    /// A row's value.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The values of rows in the order of their keys, at a lower cost than one by one, above all
    /// where the keys are given in order.
    ///
    /// # Errors
    /// As [`Self::get`].
    fn get_many(&self, family: Family, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>> {
        keys.iter().map(|key| self.get(family, key)).collect()
    }

    /// Visits the rows with `from <= key < to`.
    ///
    /// # Errors
    /// `Io` or `Corrupt`, and what the visitor returns.
    fn range(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        walk: Walk,
        visit: Visit<'_>,
    ) -> Result<()>;

    /// Visits for each of these prefixes the rows whose key starts with it, up to where the visitor
    /// stops, with the prefix's number: at a lower cost than one by one. They are given in order,
    /// and none is the beginning of another.
    ///
    /// # Errors
    /// As [`Self::range`].
    fn prefixes(&self, family: Family, prefixes: &[Vec<u8>], visit: VisitOf<'_>) -> Result<()> {
        prefixes.iter().enumerate().try_for_each(|(at, prefix)| {
            let to = keys::after_prefix(prefix);
            let mut visit = |key: &[u8], value: &[u8]| visit(at, key, value);
            self.range(family, prefix, &to, Walk::Up, &mut visit)
        })
    }

    /// Makes all changes visible at once; durable with the next flush.
    ///
    /// # Errors
    /// `Io` or `NoSpace`; the store must not be used after it.
    fn write(&self, changes: &[Change]) -> Result<()>;

    /// Removes every row with `from <= key < to` that was written before, at a cost that does not
    /// grow with them. It is durable with the next flush; a crash before may leave any of the rows
    /// and no others, whatever it leaves of changes made beside.
    ///
    /// # Errors
    /// As [`Self::write`].
    fn remove_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()>;

    /// Makes everything written so far durable, all families together.
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    fn flush(&self) -> Result<()>;

    /// A consistent copy in the absent directory `to`. Nothing may be written meanwhile.
    ///
    /// # Errors
    /// `Io`.
    fn checkpoint(&self, to: &Path) -> Result<()>;

    /// Removes the bytes of rows that were removed, with `from <= key < to`, from the disk.
    ///
    /// # Errors
    /// `Io`.
    fn erase_removed(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()>;
}

/// Visits every row whose key starts with `prefix`.
///
/// # Errors
/// As [`CatalogStore::range`].
pub fn walk_prefix(
    store: &dyn CatalogStore,
    family: Family,
    prefix: &[u8],
    visit: Visit<'_>,
) -> Result<()> {
    store.range(family, prefix, &keys::after_prefix(prefix), Walk::Up, visit)
}

#[cfg(test)]
#[path = "conformance.rs"]
mod conformance;
