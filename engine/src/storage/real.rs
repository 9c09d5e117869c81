//! The real file system under a data directory.
//!
//! INVARIANT: files are created 0600 and directories 0700; nothing follows a path outside the root
//! but `link_out`, whose target the operator names.

use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::direct::Direct;
use super::{Exclusive, File, Lock, Mode, Place, Storage};

/// A directory of the machine's file system.
#[derive(Debug)]
pub struct RealStorage {
    root: PathBuf,
}

impl RealStorage {
    /// The directory at `root`, which need not exist yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_path_buf() }
    }

    fn full(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }
}

struct RealFile {
    file: fs::File,
    direct: Option<Direct>,
}

impl File for RealFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match self.file.read_at(rest, offset + done as u64) {
                Ok(0) => break,
                Ok(n) => done += n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(done)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let done = match &self.direct {
            Some(direct) => direct.write_some(buf, offset)?,
            None => 0,
        };
        let rest = buf.get(done..).unwrap_or_default();
        if rest.is_empty() { Ok(()) } else { self.file.write_all_at(rest, offset + done as u64) }
    }

    fn sync_data(&self) -> io::Result<()> {
        // Of the file, whichever way it was written.
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

struct RealLock(#[expect(dead_code, reason = "held for its lock")] fs::File);

impl Lock for RealLock {}

impl Storage for RealStorage {
    fn root(&self) -> &Path {
        &self.root
    }

    fn open(&self, path: &str, mode: Mode) -> io::Result<Box<dyn File>> {
        let mut options = fs::OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            Mode::Read => &mut options,
            Mode::Write | Mode::WriteDirect => options.write(true),
            Mode::Create => options.write(true).create_new(true),
        };
        let path = self.full(path);
        let file = options.open(&path)?;
        let direct = (mode == Mode::WriteDirect).then(|| Direct::open(&path));
        Ok(Box::new(RealFile { file, direct }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(self.full(dir))? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        match fs::DirBuilder::new().mode(0o700).create(self.full(dir)) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.full(from), self.full(to))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        fs::remove_file(self.full(path))
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        fs::File::open(self.full(dir))?.sync_all()
    }

    fn beside(&self, to: &Path) -> Arc<dyn Storage> {
        Arc::new(Self::new(to))
    }

    fn place_of(&self, to: &Path) -> io::Result<Place> {
        let (root, above) = (self.root.canonicalize()?, super::above(to).canonicalize()?);
        if above.starts_with(&root) {
            return Ok(Place::Inside);
        }
        let same = fs::metadata(&root)?.dev() == fs::metadata(&above)?.dev();
        Ok(if same { Place::SameDisk } else { Place::OtherDisk })
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        fs::hard_link(self.full(path), to)
    }

    fn lock(&self, path: &str, exclusive: Exclusive) -> io::Result<Box<dyn Lock>> {
        let path = self.full(path);
        let file = match exclusive {
            Exclusive::Yes => fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)?,
            // A read-only directory can be locked for reading all the same.
            Exclusive::No => fs::File::open(path)?,
        };
        let locked = match exclusive {
            Exclusive::Yes => file.try_lock(),
            Exclusive::No => file.try_lock_shared(),
        };
        match locked {
            Ok(()) => Ok(Box::new(RealLock(file))),
            Err(fs::TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(fs::TryLockError::Error(e)) => Err(e),
        }
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.root)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_the_same_whichever_way_each_part_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let storage = RealStorage::new(dir.path());
        let (sector, mut expected) = (4096, vec![0; 64 * 4096]);
        storage.open("file", Mode::Create).unwrap().write_at(&expected, 0).unwrap();
        let file = storage.open("file", Mode::WriteDirect).unwrap();
        // Few sectors, many, less than one, and not where one begins; over each other, too.
        let parts = [(0, 1), (1, 30), (8, 2), (20, 17), (19, 3), (40, 16), (41, 1)];
        for (byte, (at, count)) in (1..).zip(parts) {
            for (offset, len) in [(at * sector, count * sector), (at * sector + 7, 100)] {
                let bytes = vec![byte + u8::from(len == 100) * 100; len];
                file.write_at(&bytes, offset as u64).unwrap();
                expected[offset..offset + len].copy_from_slice(&bytes);
                let mut found = vec![0; expected.len()];
                assert_eq!(file.read_at(&mut found, 0).unwrap(), expected.len());
                assert!(found == expected, "after {len} bytes at {offset}");
            }
        }
        file.sync_data().unwrap();
        assert!(
            std::fs::read(dir.path().join("file")).unwrap() == expected,
            "through another file"
        );
    }
}
