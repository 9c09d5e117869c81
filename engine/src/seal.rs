//! Sealing: tails become packs, and the journal behind them is set free.
//!
//! All rooms are sealed together, so no idle room pins the journal. A failed seal removes its packs
//! and is tried again; a failed manifest write poisons. What it makes, a merge makes as well.
//!
//! ORDERING: pack durable, then manifest edit durable, then rows in the catalog, then tails
//! dropped; the journal is trimmed only after the catalog is flushed.

use std::collections::BTreeMap;

use crate::apply::decode_row;
use crate::catalog::rows::{CategoryRow, RoomRow};
use crate::catalog::{CatalogStore, Family, keys};
use crate::compliance::Compliance;
use crate::error::Result;
use crate::format::pack::{PackIndex, PackMeta, pack_name};
use crate::format::payload::RoomSettings;
use crate::format::run::Run;
use crate::history::decode_record;
use crate::limits;
use crate::pack::{self, PackKind, PackWriter, takes_seq};
use crate::storage::{Disk, join};
use crate::sync::Mutex;
use crate::tail::TailEntry;
use crate::types::{CategoryId, RoomId};

/// The retention class of what is kept for ever. Any other is a number of days.
pub(crate) const CLASS_KEPT: u32 = 0;

/// The retention classes of categories.
pub(crate) struct Classes<'a> {
    store: &'a dyn CatalogStore,
    compliance: Compliance,
    known: BTreeMap<CategoryId, u32>,
}

/// Where a room stands in packs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub category: CategoryId,
    /// For how many days its records stay on the disk; [`CLASS_KEPT`]: for ever.
    pub class: u32,
}

impl<'a> Classes<'a> {
    /// As the categories and settings are now.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub(crate) fn new(store: &'a dyn CatalogStore) -> Result<Self> {
        Ok(Self { store, compliance: Compliance::read(store)?, known: BTreeMap::new() })
    }

    /// Where a room's records belong: its category, and how long they stay. What only a number of
    /// entries or bytes bounds has no time that is known before.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub(crate) fn place(&mut self, room: RoomId) -> Result<Place> {
        let row = match room.is_system() {
            true => None,
            false => self.store.get(Family::State, &keys::room(room))?,
        };
        let row = row.map(|row| decode_row::<RoomRow>(&row, "room row")).transpose()?;
        let Some(RoomSettings { category, retention, .. }) = row.map(|row| row.settings) else {
            return Ok(Place { category: CategoryId::NONE, class: CLASS_KEPT });
        };
        let class = match retention {
            Some(own) => self.class(own.days),
            None => self.of(category)?,
        };
        Ok(Place { category, class })
    }

    fn class(&self, days: u32) -> u32 {
        match (days, self.compliance) {
            (0, _) | (_, Compliance { on: true, days: 0, .. }) => CLASS_KEPT,
            (days, Compliance { on: true, days: own, .. }) => days.max(own),
            (days, _) => days,
        }
    }

    fn of(&mut self, category: CategoryId) -> Result<u32> {
        if let Some(class) = self.known.get(&category) {
            return Ok(*class);
        }
        let row = self.store.get(Family::State, &keys::category(category))?;
        let row = row.map(|row| decode_row::<CategoryRow>(&row, "category row")).transpose()?;
        let class = self.class(row.map_or(0, |row| row.settings.retention.days));
        self.known.insert(category, class);
        Ok(class)
    }
}

/// The records of one day and one retention class, in the order of a pack.
type Day = BTreeMap<(CategoryId, RoomId), Vec<TailEntry>>;

/// Packs that a seal or a merge made.
#[derive(Debug, Default)]
pub(crate) struct Sealed(pub Vec<(PackMeta, PackIndex)>);

impl Sealed {
    pub(crate) fn metas(&self) -> impl Iterator<Item = &PackMeta> {
        self.0.iter().map(|(meta, _)| meta)
    }

    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.0.iter().flat_map(|(_, index)| &index.runs)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.metas().map(|meta| meta.bytes).sum()
    }
}

/// Numbers for new packs. One that has a file already is passed over: whatever stands in it is not
/// to be written over.
#[derive(Debug)]
pub(crate) struct PackNumbers(Mutex<u64>);

impl PackNumbers {
    pub(crate) fn from(next: u64) -> Self {
        Self(Mutex::new(next))
    }

    /// The next number.
    ///
    /// # Errors
    /// `Io`.
    pub(crate) fn take(&self, disk: &Disk) -> Result<u64> {
        let mut next = self.0.lock();
        while disk.exists(&join(pack::DIR, &pack_name(*next)))? {
            *next += 1;
        }
        *next += 1;
        Ok(*next - 1)
    }
}

/// Sorts unsealed records by UTC day of `recorded`, retention class, category and room.
fn by_day(
    store: &dyn CatalogStore,
    rooms: Vec<(RoomId, Vec<TailEntry>)>,
) -> Result<BTreeMap<(i64, u32), Day>> {
    let mut days: BTreeMap<(i64, u32), Day> = BTreeMap::new();
    let mut classes = Classes::new(store)?;
    for (room, entries) in rooms {
        let Place { category, class } = classes.place(room)?;
        let takes = |entry: &TailEntry| takes_seq(entry.kind) || entry.kind.is_amendment();
        let class = match entries.iter().any(takes) {
            true => class,
            false => CLASS_KEPT,
        };
        for entry in entries {
            let day = decode_record(&entry.bytes)?.recorded.day();
            let day = days.entry((day, class)).or_default();
            day.entry((category, room)).or_default().push(entry);
        }
    }
    Ok(days)
}

/// Writes packs of unsealed records. They are durable, but nothing names them yet. After a failure
/// nothing is left of them.
pub(crate) fn write_packs(
    disk: &Disk,
    store: &dyn CatalogStore,
    rooms: Vec<(RoomId, Vec<TailEntry>)>,
    numbers: &PackNumbers,
) -> Result<Sealed> {
    let (mut sealed, mut taken) = (Sealed::default(), Vec::new());
    let written = write_days(disk, by_day(store, rooms)?, &mut sealed, &mut || {
        let id = numbers.take(disk)?;
        taken.push(id);
        Ok(id)
    });
    match written {
        Ok(()) => Ok(sealed),
        Err(error) => {
            discard(disk, &taken);
            Err(error)
        }
    }
}

fn write_days(
    disk: &Disk,
    days: BTreeMap<(i64, u32), Day>,
    sealed: &mut Sealed,
    number: &mut dyn FnMut() -> Result<u64>,
) -> Result<()> {
    for ((day, class), rooms) in days {
        let kind = PackKind { class, level: 0, day };
        let mut writer: Option<PackWriter> = None;
        for ((category, room), entries) in rooms {
            let open = match &mut writer {
                Some(open) => open,
                None => writer.insert(PackWriter::create(disk, number()?, kind, None)?),
            };
            for entry in &entries {
                open.add(room, category, entry)?;
            }
            if open.bytes() >= limits::PACK_BYTES_TARGET {
                finish(writer.take(), sealed)?;
            }
        }
        finish(writer.take(), sealed)?;
    }
    Ok(())
}

/// Removes packs that nothing names, finished or not. What cannot be removed a start looks at.
pub(crate) fn discard(disk: &Disk, ids: &[u64]) {
    for id in ids {
        let path = join(pack::DIR, &pack_name(*id));
        for path in [format!("{path}.tmp"), path] {
            if let Err(error) = disk.remove_if_there(&path) {
                tracing::warn!(%error, path, "unfinished pack cannot be removed");
            }
        }
    }
}

pub(crate) fn finish(writer: Option<PackWriter>, sealed: &mut Sealed) -> Result<()> {
    if let Some(writer) = writer {
        sealed.0.push(writer.finish()?);
    }
    Ok(())
}
