//! A file system of its own for one measurement, on a loop device that counts what reaches it.
//!
//! What `/proc/PID/io` says is of pages made dirty, and with large folios many times what is
//! written; a device counts sectors. Made and unmade as root; without it nothing is measured.
//! INVARIANT: it is unmounted with the handle, and its image goes with the folder it is in.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::tournament::Outcome;

/// A sector of the kernel's counters.
const SECTOR_BYTES: u64 = 512;
/// Which of the counters tells the sectors written.
const SECTORS_WRITTEN: usize = 6;
/// Nothing is initialised in the background while it is measured.
const MKFS: [&str; 3] = ["-q", "-E", "lazy_itable_init=0,lazy_journal_init=0"];

/// A mounted file system.
pub struct Volume {
    at: PathBuf,
}

impl Volume {
    /// Makes and mounts one below `dir` that holds so many bytes.
    ///
    /// # Errors
    /// If that is not possible here.
    pub fn new(dir: &Path, bytes: u64) -> Outcome<Self> {
        let (image, at) = (dir.join("image"), dir.join("volume"));
        File::create_new(&image)?.set_len(bytes)?;
        fs::create_dir(&at)?;
        run(Command::new("mkfs.ext4").args(MKFS).arg(&image))?;
        run(Command::new("mount").args(["-o", "loop,noatime"]).arg(&image).arg(&at))?;
        Ok(Self { at })
    }

    /// Where it is mounted.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }

    /// Bytes that reached the device since it was mounted, everything that waits included.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub fn written_bytes(&self) -> Outcome<u64> {
        rustix::fs::sync();
        let device = fs::metadata(&self.at)?.dev();
        let (major, minor) = (rustix::fs::major(device), rustix::fs::minor(device));
        let counters = fs::read_to_string(format!("/sys/dev/block/{major}:{minor}/stat"))?;
        let sectors = counters.split_whitespace().nth(SECTORS_WRITTEN).ok_or("no such counter")?;
        Ok(sectors.parse::<u64>()? * SECTOR_BYTES)
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.at)) {
            eprintln!("{} is still mounted: {error}", self.at.display());
        }
    }
}

fn run(command: &mut Command) -> Outcome<()> {
    let out = command.output()?;
    if out.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&out.stderr).trim()).into())
}
