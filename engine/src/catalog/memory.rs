//! The catalog's twin: an ordered map that forgets what was not flushed.
//!
//! For simulation, fuzzing and most tests; it stands no comparison of speed.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{CatalogStore, Change, Family, Go, Visit, Walk};
use crate::error::{Error, Result};
use crate::sync::RwLock;

/// All rows of a store.
pub type Rows = BTreeMap<(Family, Vec<u8>), Vec<u8>>;

#[derive(Debug, Default)]
struct Inner {
    rows: Rows,
    flushed: Rows,
}

/// Rows in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryCatalog {
    inner: Arc<RwLock<Inner>>,
    broken: Arc<AtomicBool>,
    /// Rows as they were at a checkpoint, by where it went.
    copies: Arc<RwLock<BTreeMap<PathBuf, Rows>>>,
}

impl MemoryCatalog {
    /// The store that a checkpoint made.
    #[must_use]
    pub fn copy_at(&self, to: &Path) -> Option<Self> {
        let rows = self.copies.read().get(to).cloned()?;
        let inner = Inner { rows: rows.clone(), flushed: rows };
        Some(Self { inner: Arc::new(RwLock::new(inner)), ..Self::default() })
    }

    /// What is found after a crash: the rows of the last flush. This one stays as it is.
    #[must_use]
    pub fn crash(&self) -> Self {
        let flushed = self.inner.read().flushed.clone();
        let inner = Inner { rows: flushed.clone(), flushed };
        let copies = Arc::clone(&self.copies);
        Self { inner: Arc::new(RwLock::new(inner)), broken: Arc::default(), copies }
    }

    /// Makes every later write and flush fail.
    pub fn break_down(&self) {
        self.broken.store(true, Ordering::SeqCst);
    }

    /// True if writes fail.
    #[must_use]
    pub fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    /// A copy of all rows.
    #[must_use]
    pub fn rows(&self) -> Rows {
        self.inner.read().rows.clone()
    }

    fn check(&self) -> Result<()> {
        if self.broken.load(Ordering::SeqCst) {
            let failure = std::io::Error::other("simulated failure");
            return Err(Error::io("catalog write", Path::new("catalog"), &failure));
        }
        Ok(())
    }
}

impl CatalogStore for MemoryCatalog {
    fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
        Ok(self.inner.read().rows.get(&(family, key.to_vec())).cloned())
    }

    fn range(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        walk: Walk,
        visit: Visit<'_>,
    ) -> Result<()> {
        if from >= to {
            return Ok(());
        }
        // The lock is not held while visiting: a visitor may read again.
        let inner = self.inner.read();
        let bounds =
            (Bound::Included((family, from.to_vec())), Bound::Excluded((family, to.to_vec())));
        let rows: Vec<(Vec<u8>, Vec<u8>)> =
            inner.rows.range(bounds).map(|((_, k), v)| (k.clone(), v.clone())).collect();
        drop(inner);
        let mut walk_on = |(key, value): &(Vec<u8>, Vec<u8>)| visit(key, value);
        let each: Box<dyn Iterator<Item = &(Vec<u8>, Vec<u8>)>> = match walk {
            Walk::Up => Box::new(rows.iter()),
            Walk::Down => Box::new(rows.iter().rev()),
        };
        for row in each {
            if walk_on(row)? == Go::Stop {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, changes: &[Change]) -> Result<()> {
        self.check()?;
        let mut inner = self.inner.write();
        for change in changes {
            let key = (change.family, change.key.clone());
            match &change.value {
                Some(value) => inner.rows.insert(key, value.clone()),
                None => inner.rows.remove(&key),
            };
        }
        Ok(())
    }

    fn remove_range(&self, family: Family, from: &[u8], to: &[u8]) -> Result<()> {
        self.check()?;
        let here = |key: &(Family, Vec<u8>)| key.0 == family && from <= &*key.1 && &*key.1 < to;
        let mut inner = self.inner.write();
        inner.rows.retain(|key, _| !here(key));
        // A real store may give back whole files at once, whatever is not flushed beside.
        inner.flushed.retain(|key, _| !here(key));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        self.check()?;
        let mut inner = self.inner.write();
        inner.flushed = inner.rows.clone();
        Ok(())
    }

    fn checkpoint(&self, to: &Path) -> Result<()> {
        self.flush()?;
        self.copies.write().insert(to.to_path_buf(), self.rows());
        Ok(())
    }

    fn erase_removed(&self, _: Family, _: &[u8], _: &[u8]) -> Result<()> {
        self.flush()
    }
}
