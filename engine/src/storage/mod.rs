//! The door to the operating system: the only module of the engine that touches files and clocks.
//!
//! Everything else sees `Storage`, `File` and `Clock`; tests put the simulated twin behind them.
//! Paths are relative to the data directory. INVARIANT: an error here is never dropped and never
//! retried; who retries is decided above.

pub mod clock;
mod direct;
pub mod map;
pub mod real;
pub mod sim;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, Result};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Existing, for reading.
    Read,
    /// Existing, for reading and writing.
    Write,
    /// Existing, for reading and writing; whole sectors are written past the page cache where the
    /// system can.
    WriteDirect,
    /// New; it is an error if it exists.
    Create,
}

/// An open file. All access is by position; no method moves a cursor.
#[expect(clippy::len_without_is_empty, reason = "a length on disk, not a collection")]
pub trait File: Send + Sync {
    /// Reads at `offset` until `buf` is full or the file ends; returns the bytes read.
    ///
    /// # Errors
    /// The system's.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `buf` at `offset`.
    ///
    /// # Errors
    /// The system's; some of the bytes may have been written.
    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written so far durable (`fdatasync`).
    ///
    /// # Errors
    /// The system's. What was not yet durable may be lost for ever: never retry.
    fn sync_data(&self) -> io::Result<()>;

    /// The file's length.
    ///
    /// # Errors
    /// The system's.
    fn len(&self) -> io::Result<u64>;
}

/// A lock that is held until dropped.
pub trait Lock: Send + Sync {}

/// A data directory.
pub trait Storage: Send + Sync {
    /// Where it is, for messages.
    fn root(&self) -> &Path;

    /// Opens a file.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &str, mode: Mode) -> io::Result<Box<dyn File>>;

    /// Names in a directory, sorted. A directory that is absent is an error.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, dir: &str) -> io::Result<Vec<String>>;

    /// Makes a directory that may exist.
    ///
    /// # Errors
    /// The system's.
    fn create_dir(&self, dir: &str) -> io::Result<()>;

    /// Renames a file over whatever has the new name.
    ///
    /// # Errors
    /// The system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_dir(&self, dir: &str) -> io::Result<()>;

    /// Another directory.
    fn beside(&self, to: &Path) -> Arc<dyn Storage>;

    /// Where a directory that does not exist yet would stand.
    ///
    /// # Errors
    /// The system's; `NotFound` if the folder above it does not exist.
    fn place_of(&self, to: &Path) -> io::Result<Place>;

    /// Gives `path` a second name outside the directory.
    ///
    /// # Errors
    /// The system's.
    fn link_out(&self, path: &str, to: &Path) -> io::Result<()>;

    /// Takes the directory's lock.
    ///
    /// # Errors
    /// `WouldBlock` if another process holds it.
    fn lock(&self, path: &str, exclusive: Exclusive) -> io::Result<Box<dyn Lock>>;

    /// Bytes that unprivileged writers can still use.
    ///
    /// # Errors
    /// The system's.
    fn free_bytes(&self) -> io::Result<u64>;
}

/// Where a directory stands, seen from another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Within it.
    Inside,
    /// On another file system: there are no hard links between the two.
    OtherDisk,
    /// Elsewhere on the same file system.
    SameDisk,
}

/// Whether a lock shuts out readers too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exclusive {
    /// One holder.
    Yes,
    /// Many readers.
    No,
}

/// A storage with the engine's errors: each carries the operation and the path.
#[derive(Clone)]
pub struct Disk(Arc<dyn Storage>);

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Disk({:?})", self.0.root())
    }
}

impl Disk {
    /// Wraps a storage.
    #[must_use]
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self(storage)
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.0.root()
    }

    /// The full path of a name, for messages.
    #[must_use]
    pub fn full(&self, path: &str) -> PathBuf {
        self.0.root().join(path)
    }

    /// Opens a file.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn open(&self, path: &str, mode: Mode) -> Result<DiskFile> {
        let file = self.0.open(path, mode).map_err(|e| Error::io("open", &self.full(path), &e))?;
        Ok(DiskFile { file, path: self.full(path) })
    }

    /// True if the file can be opened for reading.
    ///
    /// # Errors
    /// `Io` for anything but absence.
    pub fn exists(&self, path: &str) -> Result<bool> {
        match self.0.open(path, Mode::Read) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(Error::io("open", &self.full(path), &e)),
        }
    }

    /// The whole of a small file.
    ///
    /// # Errors
    /// `Io`; a file of more than `max` bytes is `Corrupt`.
    pub fn read_all(&self, path: &str, max: u64) -> Result<Vec<u8>> {
        let file = self.open(path, Mode::Read)?;
        let len = file.len()?;
        if len > max {
            return Err(Error::corrupt("file is too long", &self.full(path), max, max, len));
        }
        file.read(0, usize::try_from(len).unwrap_or(usize::MAX))
    }

    /// Writes a whole file so that after a crash it is there complete or not at all.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; the temporary file is removed if it can be.
    pub fn write_whole(&self, dir: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let (temporary, path) = (join(dir, &format!("{name}.tmp")), join(dir, name));
        self.remove_if_there(&temporary)?;
        let written = self.open(&temporary, Mode::Create).and_then(|file| {
            file.write(0, bytes)?;
            file.sync()
        });
        if let Err(error) = written {
            let _ = self.0.remove(&temporary);
            return Err(error);
        }
        self.rename_durably(dir, &format!("{name}.tmp"), name)
            .inspect_err(|error| tracing::debug!(%error, ?path, "rename failed"))
    }

    /// Renames within `dir` and makes the names durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn rename_durably(&self, dir: &str, from: &str, to: &str) -> Result<()> {
        // ORDERING: the directory is synced after the rename; a crash between them may keep either
        // name, never neither.
        let (from, to) = (join(dir, from), join(dir, to));
        self.0.rename(&from, &to).map_err(|e| Error::io("rename", &self.full(&to), &e))?;
        self.sync_dir(dir)
    }

    /// Moves a file or folder from one folder to another and makes both folders' names durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn move_durably(&self, from: &str, from_dir: &str, to: &str, to_dir: &str) -> Result<()> {
        self.0.rename(from, to).map_err(|e| Error::io("rename", &self.full(to), &e))?;
        self.sync_dir(to_dir)?;
        self.sync_dir(from_dir)
    }

    /// Removes a file that may be absent.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove_if_there(&self, path: &str) -> Result<()> {
        match self.0.remove(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", &self.full(path), &e))
            }
            _ => Ok(()),
        }
    }

    /// Names in a directory, sorted; none if it is absent.
    ///
    /// # Errors
    /// `Io`.
    pub fn list(&self, dir: &str) -> Result<Vec<String>> {
        match self.0.list(dir) {
            Ok(names) => Ok(names),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(Error::io("list", &self.full(dir), &e)),
        }
    }

    /// Makes a directory that may exist.
    ///
    /// # Errors
    /// `Io`.
    pub fn create_dir(&self, dir: &str) -> Result<()> {
        self.0.create_dir(dir).map_err(|e| Error::io("create directory", &self.full(dir), &e))
    }

    /// Makes the names of a directory durable.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_dir(&self, dir: &str) -> Result<()> {
        self.0.sync_dir(dir).map_err(|e| Error::io("sync directory", &self.full(dir), &e))
    }

    /// Another directory, on the same sort of storage.
    #[must_use]
    pub fn beside(&self, to: &Path) -> Self {
        Self(self.0.beside(to))
    }

    /// Where a directory that does not exist yet would stand.
    ///
    /// # Errors
    /// `Invalid` if the folder above it does not exist; else `Io`.
    pub fn place_of(&self, to: &Path) -> Result<Place> {
        self.0.place_of(to).map_err(|e| match e.kind() {
            io::ErrorKind::NotFound => {
                Error::invalid(format!("the folder above does not exist path={to:?}"))
            }
            _ => Error::io("look at the folder above", to, &e),
        })
    }

    /// Makes the directory's own name durable: it stands in the folder above.
    ///
    /// # Errors
    /// `Io`.
    pub fn sync_own_name(&self) -> Result<()> {
        self.beside(above(self.root())).sync_dir("")
    }

    /// Gives a file a second name outside the directory.
    ///
    /// # Errors
    /// `Io`.
    pub fn link_out(&self, path: &str, to: &Path) -> Result<()> {
        self.0.link_out(path, to).map_err(|e| Error::io("hard link", to, &e))
    }

    /// Takes the directory's lock.
    ///
    /// # Errors
    /// `Locked` if another process holds it, else `Io`.
    pub fn lock(&self, path: &str, exclusive: Exclusive) -> Result<Box<dyn Lock>> {
        self.0.lock(path, exclusive).map_err(|e| match e.kind() {
            io::ErrorKind::WouldBlock => Error::Locked { path: self.root().to_path_buf() },
            _ => Error::io("lock", &self.full(path), &e),
        })
    }

    /// Bytes still free.
    ///
    /// # Errors
    /// `Io`.
    pub fn free_bytes(&self) -> Result<u64> {
        self.0.free_bytes().map_err(|e| Error::io("statvfs", self.root(), &e))
    }
}

/// `dir/name`, or `name` at the root.
#[must_use]
pub fn join(dir: &str, name: &str) -> String {
    if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") }
}

/// The folder above a path.
fn above(path: &Path) -> &Path {
    let above = path.parent().filter(|above| !above.as_os_str().is_empty());
    above.unwrap_or_else(|| Path::new("."))
}

/// Longer reads first ask how long the file is.
const READ_BYTES_UNASKED: usize = 1024 * 1024;

/// An open file with the engine's errors.
pub struct DiskFile {
    file: Box<dyn File>,
    path: PathBuf,
}

impl std::fmt::Debug for DiskFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DiskFile({:?})", self.path)
    }
}

impl DiskFile {
    /// Its path, for messages.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Exactly `len` bytes at `offset`.
    ///
    /// # Errors
    /// `Io`; a file that ends before is `Corrupt`.
    pub fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>> {
        let end = offset.saturating_add(len as u64);
        let early = |found| Error::corrupt("file ends early", &self.path, offset, end, found);
        if len > READ_BYTES_UNASKED {
            // A length that stood in a file takes no memory before the file is known to be so long.
            let found = self.len()?;
            if found < end {
                return Err(early(found));
            }
        }
        let mut buf = vec![0; len];
        let got = self.read_some(offset, &mut buf)?;
        if got == len { Ok(buf) } else { Err(early(offset.saturating_add(got as u64))) }
    }

    /// As many bytes at `offset` as there are; returns how many.
    ///
    /// # Errors
    /// `Io`.
    pub fn read_some(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file.read_at(buf, offset).map_err(|e| Error::io("read", &self.path, &e))
    }

    /// Writes all bytes at `offset`.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn write(&self, offset: u64, bytes: &[u8]) -> Result<()> {
        self.file.write_at(bytes, offset).map_err(|e| Error::io("write", &self.path, &e))
    }

    /// Makes what was written durable.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: never retry.
    pub fn sync(&self) -> Result<()> {
        self.file.sync_data().map_err(|e| Error::io("fdatasync", &self.path, &e))
    }

    /// The file's length.
    ///
    /// # Errors
    /// `Io`.
    pub fn len(&self) -> Result<u64> {
        self.file.len().map_err(|e| Error::io("length", &self.path, &e))
    }

    /// True if it holds nothing.
    ///
    /// # Errors
    /// `Io`.
    pub fn is_empty(&self) -> Result<bool> {
        Ok(self.len()? == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of ten bytes that nobody may read from.
    struct Short;

    impl File for Short {
        fn read_at(&self, buf: &mut [u8], _: u64) -> io::Result<usize> {
            panic!("asked for {} bytes", buf.len())
        }

        fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }

        fn len(&self) -> io::Result<u64> {
            Ok(10)
        }
    }

    #[test]
    fn a_length_beyond_the_file_is_damage_before_memory_is_taken_for_it() {
        let file = DiskFile { file: Box::new(Short), path: PathBuf::from("pack") };
        for (offset, len) in [(0, u32::MAX as usize), (u64::MAX, 2 * READ_BYTES_UNASKED)] {
            let error = file.read(offset, len).unwrap_err();
            assert!(matches!(error, Error::Corrupt { .. }), "{error}");
        }
    }
}
