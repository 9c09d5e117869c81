//! Opening a data directory for reading: lock, version, manifest, catalog.
//!
//! INVARIANT: nothing here writes; a directory that a server has open is refused.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use hansard_engine::catalog::CatalogStore;
use hansard_engine::catalog::rocks::RocksCatalog;
use hansard_engine::error::{Error, Result};
use hansard_engine::format::format_of;
use hansard_engine::manifest::{self, Loaded};
use hansard_engine::open::{LOCK, check_version};
use hansard_engine::storage::real::RealStorage;
use hansard_engine::storage::{Disk, Exclusive, Lock};

/// The catalog's folder.
pub(crate) const CATALOG: &str = "catalog";

/// A data directory, open for reading.
pub struct Directory {
    /// The version of the format that it is of.
    pub format: u16,
    /// Its files.
    pub disk: Disk,
    /// Its manifest.
    pub manifest: Loaded,
    /// Its catalog, or why it cannot be read.
    pub catalog: Result<Box<dyn CatalogStore>>,
    _lock: Box<dyn Lock>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Directory({:?})", self.disk)
    }
}

impl Directory {
    /// Opens the directory at `path`.
    ///
    /// # Errors
    /// `Locked` if a server has it, `NotFound`, `Unsupported`, `Io`, or `Corrupt` if the manifest
    /// is no manifest.
    pub fn open(path: &Path) -> Result<Self> {
        let disk = Disk::new(Arc::new(RealStorage::new(path)));
        let format = format_of(check_version(&disk)?);
        let lock = disk.lock(LOCK, Exclusive::No)?;
        let manifest = manifest::load(&disk)?;
        let catalog = open_catalog(&disk).map(|c| Box::new(c) as Box<dyn CatalogStore>);
        Ok(Self { format, disk, manifest, catalog, _lock: lock })
    }

    /// The catalog.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn catalog(&self) -> Result<&dyn CatalogStore> {
        self.catalog.as_ref().map(|c| &**c).map_err(Error::clone)
    }
}

/// The catalog, for reading only.
///
/// # Errors
/// Why it cannot be read.
pub(crate) fn open_catalog(disk: &Disk) -> Result<RocksCatalog> {
    let path = disk.full(CATALOG);
    // RocksDB makes the folder even of a catalog that it is only to read.
    if disk.list(CATALOG)?.is_empty() {
        let message = "it is missing or empty".to_owned();
        return Err(Error::Io { op: "open catalog", path, kind: ErrorKind::NotFound, message });
    }
    RocksCatalog::open_read_only(&path)
}

/// The error that there is no data directory, with its path: a command may be about two.
pub(crate) fn named(error: Error, path: &Path) -> Error {
    match error {
        Error::NotFound { what } => {
            Error::Invalid { what: format!("{what} not found path={path:?}") }
        }
        other => other,
    }
}
