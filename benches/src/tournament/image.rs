//! A folder in memory: read once, written out for every trial.
//!
//! Files end in memory at their last byte that is not zero, so preallocated space costs nothing; on
//! disk they get their length back.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::time::SystemTime;

use super::Outcome;

/// The smallest unit that faults hit, in bytes.
pub const SECTOR_BYTES: u64 = 512;

/// A file in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileImage {
    /// Its bytes down to the last one that is not zero.
    pub bytes: Vec<u8>,
    /// Its length on disk.
    pub len: u64,
    /// When it was written last.
    pub modified: SystemTime,
}

impl FileImage {
    /// A file with these bytes and zeros up to `len`.
    #[must_use]
    pub fn new(mut bytes: Vec<u8>, len: u64, modified: SystemTime) -> Self {
        let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
        bytes.truncate(used);
        bytes.shrink_to_fit();
        Self { bytes, len, modified }
    }

    /// The bytes from `at` on, at most `most` and not beyond the file's end.
    #[must_use]
    pub fn range(&self, at: u64, most: u64) -> Vec<u8> {
        let to_index = |n: u64| usize::try_from(n).unwrap_or(usize::MAX);
        let end = self.len.min(at.saturating_add(most));
        let there = self.bytes.get(to_index(at)..).unwrap_or_default();
        let wanted = to_index(end.saturating_sub(at));
        let mut found = there.get(..wanted).unwrap_or(there).to_vec();
        found.resize(wanted, 0);
        found
    }

    /// The sectors that are not all zero: what the file holds.
    pub fn live_sectors(&self) -> impl Iterator<Item = u64> + '_ {
        let sectors = (0..).zip(self.bytes.chunks(512));
        sectors.filter(|(_, sector)| sector.iter().any(|b| *b != 0)).map(|(n, _)| n)
    }
}

/// A folder in memory.
#[derive(Clone, Debug, Default)]
pub struct Image {
    /// Files by their path below the folder, with `/`.
    pub files: BTreeMap<String, FileImage>,
    folders: Vec<String>,
}

impl Image {
    /// Reads a folder with all below it.
    ///
    /// # Errors
    /// If the folder cannot be read.
    pub fn read(dir: &Path) -> Outcome<Self> {
        let mut image = Self::default();
        image.read_below(dir, "")?;
        Ok(image)
    }

    fn read_below(&mut self, dir: &Path, prefix: &str) -> Outcome<()> {
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.file_type()?.is_dir() {
                self.folders.push(name.clone());
                self.read_below(&entry.path(), &format!("{name}/"))?;
            } else {
                let bytes = fs::read(entry.path())?;
                let len = bytes.len() as u64;
                let modified = entry.metadata()?.modified()?;
                self.files.insert(name, FileImage::new(bytes, len, modified));
            }
        }
        Ok(())
    }

    /// Writes the folder out at the absent path `dir`.
    ///
    /// # Errors
    /// If a file cannot be written.
    pub fn write(&self, dir: &Path) -> Outcome<()> {
        fs::create_dir_all(dir)?;
        for folder in &self.folders {
            fs::create_dir_all(dir.join(folder))?;
        }
        for (name, file) in &self.files {
            let mut out = fs::File::create(dir.join(name))?;
            out.write_all(&file.bytes)?;
            out.set_len(file.len)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_written_out_is_the_folder_read() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        fs::create_dir_all(from.join("a/empty")).unwrap();
        fs::write(from.join("a/file"), b"bytes\0\0\0").unwrap();
        fs::write(from.join("zeros"), vec![0; 10_000]).unwrap();
        let image = Image::read(&from).unwrap();
        assert_eq!(image.files["a/file"].bytes, b"bytes");
        assert!(image.files["zeros"].bytes.is_empty());
        let to = folder.path().join("to");
        image.write(&to).unwrap();
        assert_eq!(fs::read(to.join("a/file")).unwrap(), b"bytes\0\0\0");
        assert_eq!(fs::read(to.join("zeros")).unwrap(), vec![0; 10_000]);
        assert!(to.join("a/empty").is_dir());
    }

    #[test]
    fn ranges_end_with_the_file_and_zeros_are_not_live() {
        let mut bytes = vec![0; 2000];
        bytes[600] = 1;
        let file = FileImage::new(bytes, 2000, SystemTime::UNIX_EPOCH);
        assert_eq!(file.live_sectors().collect::<Vec<_>>(), [1]);
        assert_eq!(file.range(512, 512).len(), 512);
        assert_eq!(file.range(512, 512)[88], 1);
        assert_eq!(file.range(1536, 512), vec![0; 464]);
        assert!(file.range(4096, 512).is_empty());
    }
}
