//! Sealing: tails become packs, and the journal behind them is set free.
//!
//! All rooms are sealed together, so no idle room pins the journal. A failed seal removes its packs
//! and is tried again; a failed manifest write poisons. What it makes, a merge makes as well.
//!
//! ORDERING: pack durable, then manifest edit durable, then rows in the catalog, then tails
//! dropped; the journal is trimmed only after the catalog is flushed.

use std::collections::BTreeMap;
use std::path::Path;

use crate::apply::decode_row;
use crate::catalog::rows::{CategoryRow, RoomRow};
use crate::catalog::{CatalogStore, Family, keys};
use crate::compliance::Compliance;
use crate::error::{Error, Result};
use crate::format::pack::{PackMeta, pack_name};
use crate::format::payload::RoomSettings;
use crate::format::record::Outline;
use crate::limits;
use crate::pack::{self, PackKind, PackWriter, Written};
use crate::storage::{Disk, join};
use crate::sync::{Mutex, give_way};
use crate::tail::{TailEntry, Tails, Unsealed};
use crate::types::{CategoryId, Rev, RoomId};

/// Records of a room that a seal takes from its tail at once.
const SOME_ENTRIES: usize = 1024;

/// Rooms that are looked at before others may have the core.
const ROOMS_A_PIECE: usize = 256;

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

    /// Where the records of rooms belong, in the order in which they are given: the category, and
    /// how long they stay. What only a number of entries or bytes bounds has no time that is known
    /// before. Rooms in order cost less.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub(crate) fn places(&mut self, rooms: &[RoomId]) -> Result<Vec<Place>> {
        let keys: Vec<Vec<u8>> = rooms.iter().map(|room| keys::room(*room)).collect();
        let rows = self.store.get_many(Family::State, &keys)?;
        // The system's own have none, whatever stands there.
        let rows = rooms.iter().zip(rows).map(|(room, row)| row.filter(|_| !room.is_system()));
        rows.map(|row| self.place(row.as_deref())).collect()
    }

    /// Where the records of a room with this row belong.
    fn place(&mut self, row: Option<&[u8]>) -> Result<Place> {
        let row = row.map(|row| decode_row::<RoomRow>(row, "room row")).transpose()?;
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

/// Consecutive records of a room that stand in one pack: they are of one day and one retention
/// class. In the order in which they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Stretch {
    day: i64,
    class: u32,
    category: CategoryId,
    room: RoomId,
    first: Rev,
    last: Rev,
}

/// Packs that a seal or a merge made.
#[derive(Debug, Default)]
pub(crate) struct Sealed(pub Vec<Written>);

impl Sealed {
    pub(crate) fn metas(&self) -> impl Iterator<Item = &PackMeta> {
        self.0.iter().map(|pack| &pack.meta)
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

/// Cuts what is unsealed by UTC day of `recorded` and retention class, and puts it in order.
fn stretches(
    store: &dyn CatalogStore,
    tails: &Tails,
    unsealed: &[Unsealed],
) -> Result<Vec<Stretch>> {
    let mut stretches = Vec::with_capacity(unsealed.len());
    let mut classes = Classes::new(store)?;
    let mut parts: Vec<&Unsealed> = unsealed.iter().collect();
    parts.sort_unstable_by_key(|part| part.room);
    for some in parts.chunks(ROOMS_A_PIECE) {
        give_way();
        let rooms: Vec<RoomId> = some.iter().map(|part| part.room).collect();
        for (part, Place { category, class }) in some.iter().zip(classes.places(&rooms)?) {
            let class = if part.said { class } else { CLASS_KEPT };
            let (day, room) = (0, part.room);
            let (first, last) = (part.first, part.last);
            let whole = Stretch { day, class, category, room, first, last };
            by_day(tails, whole, &mut stretches)?;
        }
    }
    stretches.sort_unstable();
    Ok(stretches)
}

/// Cuts records of a room where another day begins.
fn by_day(tails: &Tails, whole: Stretch, out: &mut Vec<Stretch>) -> Result<()> {
    let day_at = |rev| tails.between(whole.room, (rev, rev), 1).first().map(day_of).transpose();
    let first = day_at(whole.first)?;
    // Of many rooms there is one record.
    let last = if whole.first == whole.last { first } else { day_at(whole.last)? };
    // Times of the log do not fall: what is between is of the same day.
    if let (Some(day), Some(last)) = (first, last)
        && day == last
    {
        out.push(Stretch { day, ..whole });
        return Ok(());
    }
    let mut open: Option<Stretch> = None;
    each(tails, &whole, &mut |entry| {
        let day = day_of(entry)?;
        match &mut open {
            Some(open) if open.day == day => open.last = entry.rev,
            open => {
                out.extend(open.take());
                *open = Some(Stretch { day, first: entry.rev, last: entry.rev, ..whole });
            }
        }
        Ok(())
    })?;
    out.extend(open);
    Ok(())
}

/// The UTC day on which this log took a record.
fn day_of(entry: &TailEntry) -> Result<i64> {
    // What a tail has was encoded here, or decoded in full by the start that put it there.
    let outline = Outline::peek(&entry.bytes).map_err(Error::undecodable)?;
    Ok(outline.recorded.day())
}

/// The records of a stretch, in order, some at a time: the tail has them in memory already.
fn each(
    tails: &Tails,
    stretch: &Stretch,
    visit: &mut dyn FnMut(&TailEntry) -> Result<()>,
) -> Result<()> {
    let mut next = stretch.first;
    while next <= stretch.last {
        let part = tails.between(stretch.room, (next, stretch.last), SOME_ENTRIES);
        let Some(last) = part.last() else {
            let what = "records are missing from a tail";
            return Err(Error::corrupt(what, Path::new("tail"), 0, stretch.last.0, next.0));
        };
        next = last.rev.next();
        touch(&part);
        part.iter().try_for_each(&mut *visit)?;
    }
    Ok(())
}

/// Looks at every line of a processor's cache that these records stand in. They are all over
/// memory, and each line is waited for with the others so, and alone when its turn comes.
fn touch(part: &[TailEntry]) {
    const LINE_BYTES: usize = 64;
    let lines = part.iter().flat_map(|entry| entry.bytes.iter().step_by(LINE_BYTES));
    std::hint::black_box(lines.fold(0, |all, byte| all ^ byte));
}

/// Writes packs of unsealed records. They are durable, but nothing names them yet. After a failure
/// nothing is left of them. Seals must stand still: what is unsealed must stay in the tails.
pub(crate) fn write_packs(
    disk: &Disk,
    store: &dyn CatalogStore,
    (tails, unsealed): (&Tails, &[Unsealed]),
    numbers: &PackNumbers,
) -> Result<Sealed> {
    let (mut sealed, mut taken) = (Sealed::default(), Vec::new());
    let stretches = stretches(store, tails, unsealed)?;
    let written = write_days(disk, (tails, &stretches), &mut sealed, &mut || {
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
    (tails, stretches): (&Tails, &[Stretch]),
    sealed: &mut Sealed,
    number: &mut dyn FnMut() -> Result<u64>,
) -> Result<()> {
    for stretches in stretches.chunk_by(|a, b| (a.day, a.class) == (b.day, b.class)) {
        let mut writer: Option<PackWriter> = None;
        for stretch in stretches {
            let kind = PackKind { class: stretch.class, level: 0, day: stretch.day };
            let open = match &mut writer {
                Some(open) => open,
                None => writer.insert(PackWriter::create(disk, number()?, kind, None)?),
            };
            each(tails, stretch, &mut |entry| open.add(stretch.room, stretch.category, entry))?;
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
