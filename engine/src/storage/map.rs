//! Memory maps, for offline tools only.
//!
//! A map of a file that another process cuts short kills its reader with SIGBUS, so the server
//! never uses one. The tools hold the directory's lock while they map.

#![allow(unsafe_code)]

use std::path::Path;

use memmap2::Mmap;

use crate::error::{Error, Result};

/// A whole file, mapped for reading.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps a file.
    ///
    /// # Errors
    /// `Io`.
    pub fn open(path: &Path) -> Result<Self> {
        let file = std::fs::File::open(path).map_err(|e| Error::io("open", path, &e))?;
        // SAFETY: the caller holds the data directory's lock, so no process of ours changes or cuts
        // the file; a foreign writer would break the mapping, which is why only tools come here.
        let map = unsafe { Mmap::map(&file) }.map_err(|e| Error::io("mmap", path, &e))?;
        Ok(Self(map))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}
