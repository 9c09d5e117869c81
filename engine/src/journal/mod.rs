//! The journal: files of fixed size, zero-filled once and then recycled.
//!
//! `place` says where the next frame goes, `write` puts it there and makes it durable. It does not
//! decide what is in a frame, and it does not read: that is `scan`. Where there is no next file and
//! the last attempt to get one failed, nobody waits for it: that failure is the answer.
//!
//! INVARIANT: no sector that holds an acknowledged frame is written again before it is trimmed, and
//! a file that saw a failed write or sync is never used again by this process.

pub mod scan;
pub mod witness;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use crate::sync::{Condvar, Mutex};

use crate::error::{Error, Result};
use crate::format::SECTOR_BYTES;
use crate::format::frame::FileHeader;
use crate::limits;
use crate::storage::{Disk, DiskFile, Mode, join};
use crate::types::{Epoch, Lsn};

/// Zeros of a new file that are written before a sync.
const ZEROS_SYNCED: u64 = 4 * 1024 * 1024;
/// The folder of the journal.
pub const DIR: &str = "journal";

/// A journal file's name by its number.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("{number:06}.journal")
}

/// The number in a journal file's name.
#[must_use]
pub fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal")?;
    let plain = digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

/// A file in use: what it holds, or may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveFile {
    /// Its number.
    pub number: u32,
    /// The use.
    pub incarnation: u64,
    /// The first record it can hold.
    pub first_lsn: Lsn,
    /// Its length.
    pub file_bytes: u64,
}

#[derive(Debug, Default)]
struct Pool {
    /// Files in order of their use; the last one is being written.
    live: VecDeque<LiveFile>,
    /// Files of full length that hold nothing that is needed.
    free: Vec<u32>,
    /// Numbers that some file of the folder has, or had when it was read.
    taken: BTreeSet<u32>,
    /// A file is being zero-filled.
    filling: bool,
    stopped: bool,
    /// Why the last attempt to make a file failed, until one succeeds.
    unfilled: Option<Error>,
    /// Why a free file could not be opened, until one can.
    unopened: Option<Error>,
    /// Why the last attempt to set files free failed, until one succeeds.
    untrimmed: Option<Error>,
}

impl Pool {
    fn hindrance(&self, files_max: usize) -> Option<&Error> {
        if !self.free.is_empty() {
            return None;
        }
        match self.live.len() >= files_max {
            true => self.untrimmed.as_ref(),
            false => self.unfilled.as_ref(),
        }
    }
}

/// The files of the journal and which of them are needed.
#[derive(Debug)]
pub struct JournalPool {
    disk: Disk,
    file_bytes: u64,
    files_max: usize,
    pool: Mutex<Pool>,
    changed: Condvar,
}

/// Where a frame goes.
#[derive(Debug)]
pub struct Placement {
    /// The file.
    pub file: Arc<DiskFile>,
    /// Its use.
    pub incarnation: u64,
    /// The offset.
    pub offset: u64,
    /// The header checksum of the frame before.
    pub prev_crc: u32,
    /// The file header to write first, if the file is new.
    pub header: Option<Vec<u8>>,
}

/// The end of the log, as the encoder sees it: where the next frame goes.
#[derive(Debug)]
pub struct JournalEnd {
    pool: Arc<JournalPool>,
    file: Arc<DiskFile>,
    incarnation: u64,
    offset: u64,
    prev_crc: u32,
    header: Option<Vec<u8>>,
    /// The next frame goes into a new file.
    turning: bool,
}

/// Where the log ended when it was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMark {
    /// The use of the newest file; 0 if there was none.
    pub incarnation: u64,
    /// Where its frames end.
    pub end: u64,
    /// The header checksum of its last frame.
    pub prev_crc: u32,
    /// The record that comes next.
    pub next_lsn: Lsn,
    /// The epoch.
    pub epoch: Epoch,
}

impl JournalPool {
    /// A pool over the files that a scan found.
    #[must_use]
    pub fn new(
        disk: &Disk,
        file_bytes: u64,
        bytes_max: u64,
        live: Vec<LiveFile>,
        free: Vec<u32>,
        taken: BTreeSet<u32>,
    ) -> Self {
        let files = usize::try_from(bytes_max / file_bytes.max(1)).unwrap_or(usize::MAX);
        Self {
            disk: disk.clone(),
            file_bytes,
            files_max: files.clamp(3, limits::JOURNAL_FILES_MAX),
            pool: Mutex::new(Pool {
                live: live.into(),
                free,
                taken,
                filling: false,
                stopped: false,
                unfilled: None,
                unopened: None,
                untrimmed: None,
            }),
            changed: Condvar::new(),
        }
    }

    /// Makes one more file, zero-filled and durable, if the pool may grow and has none to spare.
    /// Returns whether it made one.
    ///
    /// # Errors
    /// `NoSpace` or `Io`; the unfinished file is removed. `Unavailable` if every number is taken.
    pub fn fill_one(&self) -> Result<bool> {
        self.fill_below(self.files_max)
    }

    fn fill_below(&self, files_max: usize) -> Result<bool> {
        let number = {
            let mut pool = self.pool.lock();
            let files = pool.live.len() + pool.free.len();
            if !pool.free.is_empty() || pool.filling || files >= files_max {
                return Ok(false);
            }
            // Any number that is free: files stand in order of their use, not of their names.
            let free = (0..=limits::JOURNAL_NUMBER_MAX).find(|n| !pool.taken.contains(n));
            pool.filling = true;
            pool.taken.extend(free);
            free
        };
        let why = "every number of a journal file is taken";
        let made = match number {
            Some(number) => self.zero_filled(number).map(|()| number),
            None => Err(Error::Unavailable { why }),
        };
        let mut pool = self.pool.lock();
        pool.filling = false;
        let before = pool.unfilled.take();
        match &made {
            Ok(number) => pool.free.push(*number),
            Err(error) => {
                if let Some(number) = number {
                    pool.taken.remove(&number);
                }
                if before.as_ref() != Some(error) {
                    tracing::warn!(%error, "journal file cannot be made and will be tried again");
                }
                pool.unfilled = Some(error.clone());
            }
        }
        drop(pool);
        self.changed.notify_all();
        made.map(|_| true)
    }

    fn zero_filled(&self, number: u32) -> Result<()> {
        let name = file_name(number);
        let temporary = format!("{name}.tmp");
        let path = join(DIR, &temporary);
        let fill = || -> Result<()> {
            self.disk.remove_if_there(&path)?;
            let file = self.disk.open(&path, Mode::Create)?;
            self.write_zeros(&file)?;
            self.disk.rename_durably(DIR, &temporary, &name)
        };
        fill().inspect_err(|_| {
            let _ = self.disk.remove_if_there(&path);
        })
    }

    /// Fills a file, durably, a piece at a time: a commit beside it does not wait for the disk to
    /// take all of it.
    fn write_zeros(&self, file: &DiskFile) -> Result<()> {
        let zeros = vec![0; usize::try_from(self.file_bytes.min(1 << 20)).unwrap_or(1 << 20)];
        let (mut at, mut synced) = (0, 0);
        while at < self.file_bytes {
            let left = usize::try_from(self.file_bytes - at).unwrap_or(usize::MAX);
            let piece = zeros.get(..left.min(zeros.len())).unwrap_or(&zeros);
            file.write(at, piece)?;
            at += piece.len() as u64;
            if at - synced >= ZEROS_SYNCED || at == self.file_bytes {
                file.sync()?;
                synced = at;
            }
        }
        Ok(())
    }

    /// Takes a free file for the next use, waiting for one if all are needed.
    fn take(&self, wait: Wait) -> Result<u32> {
        loop {
            let mut pool = self.pool.lock();
            if let Some(number) = pool.free.pop() {
                return Ok(number);
            }
            if pool.stopped {
                return Err(Error::Unavailable { why: "the journal is closing" });
            }
            let full = pool.live.len() >= self.files_max;
            if wait == Wait::ForTrim
                && let Some(error) = pool.hindrance(self.files_max)
            {
                return Err(error.clone());
            }
            if (full || pool.filling) && wait == Wait::ForTrim {
                self.changed.wait(&mut pool);
                continue;
            }
            drop(pool);
            let files_max = if wait == Wait::Grow { usize::MAX } else { self.files_max };
            if !self.fill_below(files_max)? {
                return Err(Error::Unavailable { why: "the journal is full" });
            }
        }
    }

    /// Opens a free file. One that cannot be opened stays free.
    fn open_free(&self, wait: Wait) -> Result<(u32, DiskFile)> {
        let number = self.take(wait)?;
        let opened = self.disk.open(&join(DIR, &file_name(number)), Mode::WriteDirect);
        let mut pool = self.pool.lock();
        pool.unopened = opened.as_ref().err().cloned();
        match opened {
            Ok(file) => Ok((number, file)),
            Err(error) => {
                pool.free.push(number);
                Err(error)
            }
        }
    }

    /// Makes a file to spare, and looks whether a free one that could not be opened now can.
    pub fn try_again(&self) {
        // A failure says so itself.
        let _ = self.fill_one();
        let unopened = {
            let pool = self.pool.lock();
            pool.unopened.as_ref().and(pool.free.last().copied())
        };
        if let Some(number) = unopened
            && self.disk.open(&join(DIR, &file_name(number)), Mode::Write).is_ok()
        {
            self.pool.lock().unopened = None;
        }
    }

    /// Sets files free whose records all lie below or at `floor`; returns how many. A file of
    /// another length than new ones have is removed instead.
    pub fn trim(&self, floor: Lsn) -> usize {
        let mut pool = self.pool.lock();
        let mut freed = 0;
        let mut odd = Vec::new();
        while let (Some(first), Some(second)) = (pool.live.front().copied(), pool.live.get(1)) {
            if second.first_lsn > floor.next() {
                break;
            }
            pool.live.pop_front();
            match first.file_bytes == self.file_bytes {
                true => pool.free.push(first.number),
                false => odd.push(first.number),
            }
            freed += 1;
        }
        drop(pool);
        for number in odd {
            if let Err(error) = self.disk.remove_if_there(&join(DIR, &file_name(number))) {
                tracing::warn!(%error, "journal file of another length cannot be removed");
            }
        }
        if freed > 0 {
            self.changed.notify_all();
        }
        freed
    }

    /// Fills the files with zeros that hold nothing that is needed: until they are used again they
    /// hold what was written before. Returns how many.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: a file that failed is not used again.
    pub fn zero_free(&self) -> Result<usize> {
        let numbers = self.pool.lock().free.clone();
        let mut zeroed = 0;
        for number in numbers {
            {
                let mut pool = self.pool.lock();
                // It may have been taken meanwhile, and is written over then.
                let Some(at) = pool.free.iter().position(|free| *free == number) else { continue };
                pool.free.remove(at);
            }
            let file = self.disk.open(&join(DIR, &file_name(number)), Mode::Write)?;
            self.write_zeros(&file)?;
            self.pool.lock().free.push(number);
            self.changed.notify_all();
            zeroed += 1;
        }
        Ok(zeroed)
    }

    /// How many files hold records that are needed, and how many there may be.
    #[must_use]
    pub fn usage(&self) -> (usize, usize) {
        (self.pool.lock().live.len(), self.files_max)
    }

    /// True if no file is free and the pool cannot grow: a trim is urgent.
    #[must_use]
    pub fn pressed(&self) -> bool {
        let pool = self.pool.lock();
        pool.free.is_empty() && pool.live.len() + 1 >= self.files_max
    }

    /// Says why nothing can be set free for the time being, or that something can again. Until then
    /// nobody waits for it.
    pub fn note_untrimmed(&self, why: Option<Error>) {
        self.pool.lock().untrimmed = why;
        self.changed.notify_all();
    }

    /// Why there will be no next file, if the last attempt to get one failed.
    #[must_use]
    pub fn hindrance(&self) -> Option<Error> {
        let pool = self.pool.lock();
        pool.unopened.as_ref().or_else(|| pool.hindrance(self.files_max)).cloned()
    }

    /// The files in use.
    #[must_use]
    pub fn live(&self) -> Vec<LiveFile> {
        self.pool.lock().live.iter().copied().collect()
    }

    /// Lets nobody wait any longer.
    pub fn stop(&self) {
        self.pool.lock().stopped = true;
        self.changed.notify_all();
    }
}

/// What to do when every file is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Wait until a trim sets one free: there is a thread that trims.
    ForTrim,
    /// Fail: nobody else would trim.
    No,
    /// Make a file beyond the bound: a start needs one before anything can be sealed.
    Grow,
}

impl JournalEnd {
    /// Starts a new file behind the end of the log. Nothing is written yet.
    ///
    /// # Errors
    /// `NoSpace` or `Io`.
    pub fn start(pool: &Arc<JournalPool>, mark: EndMark, wait: Wait) -> Result<Self> {
        let (number, file) = pool.open_free(wait)?;
        let file = Arc::new(file);
        let incarnation = mark.incarnation + 1;
        let header = FileHeader {
            incarnation,
            epoch: mark.epoch,
            first_lsn: mark.next_lsn,
            prev_frame_crc: mark.prev_crc,
            file_bytes: pool.file_bytes,
            prev_incarnation: mark.incarnation,
            prev_end: mark.end,
        };
        let file_bytes = pool.file_bytes;
        let live = LiveFile { number, incarnation, first_lsn: mark.next_lsn, file_bytes };
        pool.pool.lock().live.push_back(live);
        Ok(Self {
            pool: Arc::clone(pool),
            file,
            incarnation,
            offset: SECTOR_BYTES as u64,
            prev_crc: mark.prev_crc,
            header: Some(header.to_sector()),
            turning: false,
        })
    }

    /// The place of a frame of `frame_bytes` that starts with `next_lsn`; turns to the next file if
    /// this one is full. Call [`Self::placed`] with the frame's checksum afterwards.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, or `Unavailable` if there is no file and none to wait for.
    pub fn place(
        &mut self,
        frame_bytes: usize,
        next_lsn: Lsn,
        epoch: Epoch,
        wait: Wait,
    ) -> Result<Placement> {
        if self.turning || self.offset + frame_bytes as u64 > self.pool.file_bytes {
            let mark = EndMark {
                incarnation: self.incarnation,
                end: self.offset,
                prev_crc: self.prev_crc,
                next_lsn,
                epoch,
            };
            *self = Self::start(&self.pool, mark, wait)?;
        }
        Ok(Placement {
            file: Arc::clone(&self.file),
            incarnation: self.incarnation,
            offset: self.offset,
            prev_crc: self.prev_crc,
            header: self.header.take(),
        })
    }

    /// Lets the next frame go into a new file.
    pub const fn turn(&mut self) {
        self.turning = true;
    }

    /// The use of the file that the next frame goes to, unless it turns.
    #[must_use]
    pub const fn incarnation(&self) -> u64 {
        self.incarnation
    }

    /// Takes a placement back that was not used.
    pub fn unplaced(&mut self, placement: Placement) {
        if placement.incarnation == self.incarnation {
            self.header = placement.header;
        }
    }

    /// Moves the end behind a frame that was just placed.
    pub const fn placed(&mut self, frame_bytes: usize, crc: u32) {
        self.offset += frame_bytes as u64;
        self.prev_crc = crc;
    }

    /// The largest frame a file can hold.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        let room = self.pool.file_bytes.saturating_sub(SECTOR_BYTES as u64);
        usize::try_from(room).unwrap_or(usize::MAX).min(limits::FRAME_BYTES_MAX)
    }
}

impl Placement {
    /// Writes the frame, and the file's header if it is the first.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: the outcome is unknown, poison.
    pub fn write(&self, frame: &[u8]) -> Result<()> {
        if let Some(header) = &self.header {
            self.file.write(0, header)?;
        }
        self.file.write(self.offset, frame)
    }
}
