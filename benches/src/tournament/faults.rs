//! The faults, and where they hit.
//!
//! A place is drawn from the seed over the sectors that hold anything, whichever store they are of.
//! A fault is worked out on the image of a folder and then made in a copy of that folder, so that
//! equal draws can be seen to be equal and are tried once.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Outcome;
use super::contestant::{Role, State};
use super::image::{FileImage, Image, SECTOR_BYTES};
use super::seed::{Draw, mark_of};

/// The larger unit that faults hit, in bytes: a page of the devices of today.
const PAGE_BYTES: u64 = 4096;
/// A torn tail loses so many bytes at most.
const TAIL_BYTES_MAX: u64 = 8192;
/// Draws until a fault that needs two different sectors has found them.
const DRAWS_MAX: usize = 4096;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fault {
    /// One bit is flipped.
    Bit,
    /// A sector reads as zeros.
    Zero,
    /// A sector reads as it was earlier; as zeros if the file did not reach so far then.
    Stale,
    /// Two sectors of a file have changed places.
    Swap,
    /// A sector stands on its neighbour's place as well.
    Double,
    /// A file ends at a sector.
    Cut,
    /// A file is gone.
    Remove,
    /// The last bytes of the log are gone, although they were acknowledged.
    Torn,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Bit,
        Self::Zero,
        Self::Stale,
        Self::Swap,
        Self::Double,
        Self::Cut,
        Self::Remove,
        Self::Torn,
    ];

    /// Its name on the command line and in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bit => "bit",
            Self::Zero => "zero",
            Self::Stale => "stale",
            Self::Swap => "swap",
            Self::Double => "double",
            Self::Cut => "cut",
            Self::Remove => "remove",
            Self::Torn => "torn",
        }
    }

    /// Whether it means anything in this state: at rest there is no log whose tail could be torn.
    #[must_use]
    pub fn is_in(self, state: State) -> bool {
        state == State::Log || self != Self::Torn
    }
}

/// What a fault does to a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Damage {
    /// The file that is hit.
    pub file: String,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// What happens there, for people.
    pub text: String,
    writes: Vec<(u64, Vec<u8>)>,
    cut: Option<u64>,
    length: Option<u64>,
    removed: bool,
}

impl Damage {
    /// Makes the fault in the folder `dir`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn make(&self, dir: &Path) -> Outcome<()> {
        let path = dir.join(&self.file);
        if self.removed {
            return Ok(fs::remove_file(path)?);
        }
        let file = OpenOptions::new().write(true).open(path)?;
        for (at, bytes) in &self.writes {
            file.write_all_at(bytes, *at)?;
        }
        for length in self.cut.into_iter().chain(self.length) {
            file.set_len(length)?;
        }
        Ok(())
    }

    fn at(file: &str, offset: u64, text: String) -> Self {
        Self { file: file.to_owned(), offset, text, ..Self::default() }
    }
}

/// A sector that may be hit.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sector {
    file: String,
    number: u64,
    mark: u64,
}

impl Sector {
    fn new(file: &str, number: u64) -> Self {
        Self { file: file.to_owned(), number, mark: mark_of(file, number) }
    }

    const fn mark(&self) -> u64 {
        self.mark
    }
}

/// A store's folder with the places where faults may hit it.
#[derive(Debug)]
pub struct Ground {
    /// The folder.
    pub image: Image,
    older: Image,
    sectors: Vec<Sector>,
    removable: Vec<String>,
    logs: Vec<String>,
}

impl Ground {
    /// `older` is an earlier copy of the folder. At rest only the tables are hit, for all that the
    /// log holds stands there too; any file can be removed.
    #[must_use]
    pub fn new(image: Image, older: Image, state: State, role: impl Fn(&str) -> Role) -> Self {
        let mut ground = Self {
            older,
            sectors: vec![],
            removable: vec![],
            logs: vec![],
            image: Image::default(),
        };
        for (name, file) in &image.files {
            let role = role(name);
            if role == Role::Aside || file.bytes.is_empty() {
                continue;
            }
            ground.removable.push(name.clone());
            if role == Role::Log {
                ground.logs.push(name.clone());
            }
            if role == Role::Table || state == State::Log {
                ground.sectors.extend(file.live_sectors().map(|n| Sector::new(name, n)));
            }
        }
        ground.image = image;
        ground
    }

    /// How many sectors can be hit.
    #[must_use]
    pub fn live_sectors(&self) -> usize {
        self.sectors.len()
    }

    /// Works out a fault. None if the folder has no place for it.
    pub fn place(&self, fault: Fault, draw: &mut Draw) -> Option<Damage> {
        match fault {
            Fault::Bit => self.bit(draw),
            Fault::Zero => self.until(draw, Self::zero),
            Fault::Stale => self.until(draw, Self::stale),
            Fault::Swap => self.until(draw, Self::swap),
            Fault::Double => self.until(draw, Self::double),
            Fault::Cut => self.cut(draw),
            Fault::Remove => {
                let file = draw.one_of(&self.removable, |file| mark_of(file, 0))?;
                let text = "file removed".to_owned();
                Some(Damage { removed: true, ..Damage::at(file, 0, text) })
            }
            Fault::Torn => self.torn(draw),
        }
    }

    fn until(
        &self,
        draw: &mut Draw,
        place: fn(&Self, &mut Draw) -> Option<Damage>,
    ) -> Option<Damage> {
        (0..DRAWS_MAX).find_map(|_| place(self, draw))
    }

    /// A live sector, or the page around it: file, offset, bytes wanted.
    fn unit(&self, draw: &mut Draw) -> Option<(&str, &FileImage, u64, u64)> {
        let Sector { file, number, .. } = draw.one_of(&self.sectors, Sector::mark)?;
        let size = if draw.below(2) == 0 { SECTOR_BYTES } else { PAGE_BYTES };
        let at = number * SECTOR_BYTES / size * size;
        Some((file, self.image.files.get(file)?, at, size))
    }

    fn bit(&self, draw: &mut Draw) -> Option<Damage> {
        let Sector { file: name, number, .. } = draw.one_of(&self.sectors, Sector::mark)?;
        let file = self.image.files.get(name)?;
        let bytes = file.range(number * SECTOR_BYTES, SECTOR_BYTES);
        let index = draw.below(bytes.len() as u64);
        let bit = draw.below(8);
        let byte = bytes.get(usize::try_from(index).ok()?)?;
        let at = number * SECTOR_BYTES + index;
        let writes = vec![(at, vec![byte ^ (1 << bit)])];
        Some(Damage { writes, ..Damage::at(name, at, format!("bit {bit} flipped")) })
    }

    fn zero(&self, draw: &mut Draw) -> Option<Damage> {
        let (name, file, at, size) = self.unit(draw)?;
        let bytes = vec![0; file.range(at, size).len()];
        let text = format!("{} bytes zeroed", bytes.len());
        Some(Damage { writes: vec![(at, bytes)], ..Damage::at(name, at, text) })
    }

    fn stale(&self, draw: &mut Draw) -> Option<Damage> {
        let (name, file, at, size) = self.unit(draw)?;
        let now = file.range(at, size);
        let mut was = self.older.files.get(name).map_or(vec![], |older| older.range(at, size));
        was.resize(now.len(), 0);
        let what = if was.iter().all(|b| *b == 0) { ", then zero" } else { "" };
        let text = format!("{} bytes as they were earlier{what}", was.len());
        (was != now).then(|| Damage { writes: vec![(at, was)], ..Damage::at(name, at, text) })
    }

    fn swap(&self, draw: &mut Draw) -> Option<Damage> {
        let (name, file, at, size) = self.unit(draw)?;
        let others = self.sectors.iter().filter(|sector| sector.file == name);
        let other = draw.one_of(others, Sector::mark)?.number * SECTOR_BYTES / size * size;
        let (here, there) = (file.range(at, size), file.range(other, size));
        let text = format!("{} bytes swapped with those at {other}", here.len());
        let writes = vec![(at, there.clone()), (other, here.clone())];
        let differ = here.len() == there.len() && here != there;
        differ.then(|| Damage { writes, ..Damage::at(name, at, text) })
    }

    fn double(&self, draw: &mut Draw) -> Option<Damage> {
        let (name, file, at, size) = self.unit(draw)?;
        let after = at + size;
        let neighbour = match at.checked_sub(size) {
            Some(before) if file.range(after, size).len() as u64 != size => before,
            _ => after,
        };
        let (here, there) = (file.range(at, size), file.range(neighbour, size));
        let text = format!("{size} bytes overwritten by those at {at}");
        let differ = here.len() == there.len() && here != there;
        differ.then(|| Damage {
            writes: vec![(neighbour, here.clone())],
            ..Damage::at(name, neighbour, text)
        })
    }

    fn cut(&self, draw: &mut Draw) -> Option<Damage> {
        let (name, file, at, _) = self.unit(draw)?;
        let text = format!("file cut to {at} of {} bytes", file.len);
        Some(Damage { cut: Some(at), ..Damage::at(name, at, text) })
    }

    /// The log that was written last, or the whole store's last file if it has no log.
    fn torn(&self, draw: &mut Draw) -> Option<Damage> {
        let candidates = if self.logs.is_empty() { &self.removable } else { &self.logs };
        let files = candidates.iter().filter_map(|name| Some((name, self.image.files.get(name)?)));
        let (name, file) = files.max_by_key(|(name, file)| (file.modified, *name))?;
        let used = file.bytes.len() as u64;
        let lost = (1 + draw.below(TAIL_BYTES_MAX)).min(used);
        let end = used - lost;
        // Space that was allocated ahead stays and reads as zeros; else the file is shorter.
        let length = (file.len > used).then_some(file.len);
        let text = format!("last {lost} bytes of the log lost");
        Some(Damage { cut: Some(end), length, ..Damage::at(name, end, text) })
    }
}

#[cfg(test)]
#[path = "faults_tests.rs"]
mod tests;
