//! Writing whole sectors past the page cache (`O_DIRECT`).
//!
//! A journal is written once and read only after a crash, so its pages do nobody any good in the
//! cache, and putting them there and taking them out again costs up to four tenths of what a small
//! write and its sync take of a processor. It is a faster way to the same bytes, no promise of its
//! own: what is written is durable after `sync_data`, as with any file. Where the file system or
//! the device knows no such writes, and for bytes that are no whole sectors, it is an ordinary
//! file.
//!
//! INVARIANT: a write is tried a second time, through the cache, only if the system refused its
//! form (`EINVAL`, `EOPNOTSUPP`) and wrote nothing of it.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::OFlags;

/// What offsets, lengths and memory are multiples of: what a frame is. A device of larger sectors
/// refuses it.
const ALIGN_BYTES: usize = 4096;

/// Longer writes go through the cache: of them the system spends little on pages beside the bytes,
/// which would be copied here as well.
const DIRECT_BYTES_MAX: usize = 64 * 1024;

/// A second way into a file that is open already, for writing only.
pub(super) struct Direct {
    /// None once the system refused to write so.
    way: Mutex<Option<Way>>,
}

struct Way {
    file: File,
    memory: Vec<u8>,
}

impl Direct {
    /// Opens `path` for writes past the cache; none of them will be if that is not to be had.
    pub(super) fn open(path: &Path) -> Self {
        let flags = i32::try_from(OFlags::DIRECT.bits()).unwrap_or(0);
        let opened = OpenOptions::new().write(true).custom_flags(flags).open(path);
        let way = opened.ok().map(|file| Way { file, memory: Vec::new() });
        Self { way: Mutex::new(way) }
    }

    /// Writes bytes from the first on, as many as it can; returns how many.
    ///
    /// # Errors
    /// The system's; some of the bytes may have been written.
    pub(super) fn write_some(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        let whole = |n: u64| n.is_multiple_of(ALIGN_BYTES as u64);
        let fits = !buf.is_empty() && buf.len() <= DIRECT_BYTES_MAX;
        if !fits || !whole(offset) || !whole(buf.len() as u64) {
            return Ok(0);
        }
        let mut kept = self.way.lock();
        let Some(way) = kept.as_mut() else { return Ok(0) };
        let Some(aligned) = aligned(&mut way.memory, buf) else { return Ok(0) };
        loop {
            match way.file.write_at(aligned, offset) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if refuses_form(&e) => {
                    tracing::debug!("no writes past the page cache here");
                    *kept = None;
                    return Ok(0);
                }
                other => return other,
            }
        }
    }
}

/// True if the system says that nothing can be written so, whatever it is.
fn refuses_form(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// A copy of `bytes` in `memory` that begins where it must.
fn aligned<'m>(memory: &'m mut Vec<u8>, bytes: &[u8]) -> Option<&'m [u8]> {
    let needed = bytes.len() + ALIGN_BYTES;
    if memory.len() < needed {
        *memory = vec![0; needed.next_power_of_two()];
    }
    let at = memory.as_ptr().align_offset(ALIGN_BYTES);
    let place = memory.get_mut(at..at.checked_add(bytes.len())?)?;
    place.copy_from_slice(bytes);
    Some(place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sectors(count: usize, seed: u8) -> Vec<u8> {
        (0..=250).cycle().map(|byte: u8| byte ^ seed).take(count * ALIGN_BYTES).collect()
    }

    #[test]
    fn whole_sectors_are_written_and_other_bytes_are_left_to_the_cache() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, vec![0; 8 * ALIGN_BYTES]).unwrap();
        let direct = Direct::open(&path);
        assert_eq!(direct.write_some(&sectors(1, 0)[1..], 0).unwrap(), 0, "no whole sector");
        assert_eq!(direct.write_some(&sectors(1, 0), 512).unwrap(), 0, "not where one begins");
        assert_eq!(direct.write_some(&[], 0).unwrap(), 0);
        for (count, at, seed) in [(1, 0, 1), (3, 4, 2), (2, 1, 3)] {
            let bytes = sectors(count, seed);
            let done = direct.write_some(&bytes, (at * ALIGN_BYTES) as u64).unwrap();
            if direct.way.lock().is_some() {
                assert_eq!(done, bytes.len());
                let found = std::fs::read(&path).unwrap();
                assert_eq!(found[at * ALIGN_BYTES..][..bytes.len()], bytes);
                assert_eq!(found.len(), 8 * ALIGN_BYTES, "nothing grows");
            } else {
                assert_eq!(done, 0, "this file system knows no such writes");
            }
        }
    }

    #[test]
    fn a_form_that_is_refused_is_left_to_the_cache_and_not_tried_again() {
        // A file that refuses every number that is none, with `EINVAL`.
        let file = OpenOptions::new().write(true).open("/proc/self/oom_score_adj").unwrap();
        let direct = Direct { way: Mutex::new(Some(Way { file, memory: Vec::new() })) };
        assert_eq!(direct.write_some(&sectors(1, 1), 0).unwrap(), 0);
        assert!(direct.way.lock().is_none());
        // Anything else is a failure, which nobody may try again.
        let file = File::open("/proc/self/oom_score_adj").unwrap();
        let direct = Direct { way: Mutex::new(Some(Way { file, memory: Vec::new() })) };
        assert!(direct.write_some(&sectors(1, 1), 0).is_err(), "it is open for reading only");
        assert!(direct.way.lock().is_some());
    }

    #[test]
    fn memory_begins_where_it_must_and_is_kept() {
        let mut memory = Vec::new();
        for count in [1, 5, 2, 64] {
            let bytes = sectors(count, 7);
            let copy = aligned(&mut memory, &bytes).unwrap();
            assert_eq!(copy.as_ptr().align_offset(ALIGN_BYTES), 0);
            assert_eq!(copy, bytes);
        }
        assert!(memory.len() <= 128 * ALIGN_BYTES, "{}", memory.len());
    }
}
