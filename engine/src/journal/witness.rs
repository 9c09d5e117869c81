//! The witness file: what the journal must at least hold.
//!
//! Written behind the commit and never in an append's way: when a journal file is begun, when the
//! log comes to rest, and twice a second under load. So the loss of the journal's newest frames or
//! files is seen at the next start, except for what was acknowledged in the last half second.
//!
//! INVARIANT: what it says was durable before it was written; a file whose write or sync failed is
//! not written again but replaced.

use crate::error::Result;
use crate::format::witness::{COPIES, SLOTS, Witness};
use crate::format::{LAYOUT, SECTOR_BYTES, stated_layout};
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::types::Lsn;

/// The file's name in the journal's folder.
pub const NAME: &str = "WITNESS";

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WitnessRead {
    /// The newest slot that checks; none if the file is gone or wholly damaged.
    pub newest: Option<Witness>,
    /// What is wrong with the file: (offset, reason). Slots never written are not.
    pub faults: Vec<(u64, &'static str)>,
    /// A slot was written in the format before.
    pub older: bool,
}

/// Reads the witness of a directory.
///
/// # Errors
/// `Io`.
pub fn read(disk: &Disk) -> Result<WitnessRead> {
    let path = join(super::DIR, NAME);
    let mut found = WitnessRead::default();
    if !disk.exists(&path)? {
        found.faults.push((0, "witness is missing"));
        return Ok(found);
    }
    let file = disk.open(&path, Mode::Read)?;
    for sector in 0..SLOTS * COPIES {
        let offset = sector * SECTOR_BYTES as u64;
        let mut sector = vec![0; SECTOR_BYTES];
        let got = file.read_some(offset, &mut sector)?;
        let sector = sector.get(..got).unwrap_or_default();
        match Witness::parse(sector, offset) {
            Ok(witness) => {
                found.older |= stated_layout(sector) != Some(LAYOUT);
                let newer = found.newest.is_none_or(|n| witness.generation > n.generation);
                found.newest = if newer { Some(witness) } else { found.newest };
            }
            Err(wrong) => found.faults.push((offset + wrong.at as u64, wrong.what)),
        }
    }
    Ok(found)
}

/// The witness of an open engine.
#[derive(Debug)]
pub struct WitnessFile {
    disk: Disk,
    file: DiskFile,
    last: Witness,
    broken: bool,
}

impl WitnessFile {
    /// Makes the file of a new directory, every slot written.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn create(disk: &Disk) -> Result<()> {
        Self::write_new(disk, Witness::default()).map(|_| ())
    }

    /// Puts a new file in place of any other; returns its newest generation.
    fn write_new(disk: &Disk, last: Witness) -> Result<u64> {
        let first = last.generation.next_multiple_of(SLOTS);
        let mut bytes = Vec::new();
        for generation in first..first + SLOTS {
            bytes.extend(Witness { generation, ..last }.to_sectors());
        }
        disk.write_whole(super::DIR, NAME, &bytes)?;
        Ok(first + SLOTS - 1)
    }

    /// Opens it for writing; one that is damaged, or of the format before, is made anew from what
    /// was read and what the log was found to hold.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn open(disk: &Disk, read: &WitnessRead, incarnation: u64, lsn: Lsn) -> Result<Self> {
        let mut last = read.newest.unwrap_or_default();
        if !read.faults.is_empty() || read.older {
            last = Witness { incarnation, lsn, ..last };
            last.generation = Self::write_new(disk, last)?;
        }
        let file = disk.open(&join(super::DIR, NAME), Mode::Write)?;
        Ok(Self { disk: disk.clone(), file, last, broken: false })
    }

    /// States that everything up to `lsn` is durable, if that is news.
    ///
    /// # Errors
    /// `NoSpace` or `Io`, after a new file in its place failed too: the file that failed is not
    /// written again, a later call tries another new one.
    pub fn state(&mut self, incarnation: u64, lsn: Lsn) -> Result<()> {
        let known = lsn <= self.last.lsn && incarnation <= self.last.incarnation;
        if known && !self.broken {
            return Ok(());
        }
        self.last.incarnation = incarnation.max(self.last.incarnation);
        self.last.lsn = lsn.max(self.last.lsn);
        if !self.broken {
            self.last.generation += 1;
            let bytes = self.last.to_sectors();
            let file = &self.file;
            let written = file.write(self.last.offset(), &bytes).and_then(|()| file.sync());
            self.broken = written.is_err();
        }
        if self.broken {
            self.last.generation = Self::write_new(&self.disk, self.last)?;
            self.file = self.disk.open(&join(super::DIR, NAME), Mode::Write)?;
            self.broken = false;
        }
        Ok(())
    }
}
