//! `stats`: the figures that an operator asks for, of the directory as a whole.
//!
//! Sizes come from the manifest, the packs' indexes, the journal's headers and the lengths of
//! files: no block is read. Single packs, segments and frames are `inspect`'s.
//!
//! INVARIANT: a figure that misses what cannot be read is not shown as the whole without a word.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::path::Path;

use hansard_engine::apply::applied_row;
use hansard_engine::catalog::rows::{RoomRow, head_of};
use hansard_engine::catalog::{Family, Go, keys, walk_prefix};
use hansard_engine::error::Result;
use hansard_engine::format::pack::PackMeta;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::journal::scan::{FoundFrame, Scan, scan};
use hansard_engine::journal::{self};
use hansard_engine::pack::PackFile;
use hansard_engine::storage::{Mode, join};
use hansard_engine::types::{Lsn, RoomId, Seq};
use serde::Serialize;

use crate::open::{CATALOG, Directory};
use crate::{DAMAGE, say, say_json};

/// The largest rooms that are listed.
const LARGEST: usize = 10;

/// Everything `stats` shows.
#[derive(Debug, Serialize)]
struct Stats {
    format: u16,
    packs: u64,
    bytes: u64,
    plain_bytes: u64,
    /// How many times smaller the packs are than their records.
    ratio: Option<f64>,
    records: u64,
    /// Records that stood in packs until retention took them.
    dropped: u64,
    runs: u64,
    blocks: u64,
    rooms: u64,
    /// Places of all timelines, the journal's included.
    messages: u64,
    /// Those that packs hold.
    packed_messages: u64,
    /// Bytes of packs for each message that they hold.
    bytes_per_message: Option<f64>,
    levels: Vec<Group>,
    classes: Vec<Group>,
    largest_rooms: Vec<LargeRoom>,
    catalog_bytes: u64,
    catalog_bytes_per_room: Option<f64>,
    journal_files: u64,
    journal_bytes: u64,
    live_frames: u64,
    live_bytes: u64,
    live_records: u64,
    /// What could not be read, and is in no figure.
    unread: Vec<String>,
}

/// Packs that have something in common.
#[derive(Debug, Default, Serialize)]
struct Group {
    /// The level, or the class.
    number: u32,
    packs: u64,
    bytes: u64,
    records: u64,
}

#[derive(Debug, Serialize)]
struct LargeRoom {
    id: String,
    name: Option<String>,
    packed_bytes: u64,
    messages: u64,
}

/// What is known of a room.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    seq: Seq,
    packed_bytes: u64,
}

/// Sums over the packs.
#[derive(Debug, Default)]
struct Sums {
    runs: u64,
    blocks: u64,
    packed_messages: u64,
    rooms: BTreeMap<RoomId, Known>,
    unread: Vec<String>,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened.
pub(crate) fn run(path: &Path, json: bool) -> Result<u8> {
    let directory = Directory::open(path)?;
    let stats = look(&directory)?;
    if json {
        say_json(&stats)?;
    } else {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = show(&mut text, &stats);
        say(&text)?;
    }
    stats.unread.iter().for_each(|what| eprintln!("hansard-tool: {what}"));
    Ok(if stats.unread.is_empty() { 0 } else { DAMAGE })
}

/// `a / b` with two digits; none without a `b`.
fn quotient(a: u64, b: u64) -> Option<f64> {
    let hundredths = a.saturating_mul(100).checked_div(b)?;
    u32::try_from(hundredths).ok().map(|hundredths| f64::from(hundredths) / 100.0)
}

fn look(directory: &Directory) -> Result<Stats> {
    let state = &directory.manifest.state;
    let metas: Vec<&PackMeta> = state.packs.values().collect();
    let mut sums = Sums::default();
    metas.iter().for_each(|meta| sums.pack(directory, meta));
    sums.heads(directory);
    let applied = directory.catalog().and_then(applied_row).map_or(Lsn::ZERO, |row| row.lsn);
    let floor = applied.min(state.sealed);
    let found = scan(&directory.disk, floor, floor)?;
    for damage in &found.damage {
        let (file, offset, reason) = (&damage.file, damage.offset, damage.reason);
        sums.unread.push(format!("damage file={file:?} offset={offset} reason={reason:?}"));
    }
    for slot in slots(&found.frames) {
        let room = sums.rooms.entry(slot.room).or_default();
        room.seq = room.seq.max(slot.seq);
    }
    let sum = |of: fn(&PackMeta) -> u64| metas.iter().map(|meta| of(meta)).sum::<u64>();
    let (bytes, plain_bytes) = (sum(|meta| meta.bytes), sum(|meta| meta.plain_bytes));
    let rooms = sums.rooms.keys().filter(|room| !room.is_system()).count() as u64;
    let messages = sums.rooms.values().map(|room| room.seq.0).fold(0, u64::saturating_add);
    let (_, catalog_bytes) = folder(directory, CATALOG)?;
    let (journal_files, journal_bytes) = folder(directory, journal::DIR)?;
    Ok(Stats {
        format: directory.format,
        packs: metas.len() as u64,
        bytes,
        plain_bytes,
        ratio: quotient(plain_bytes, bytes),
        records: sum(|meta| meta.records),
        dropped: sum(|meta| meta.dropped),
        runs: sums.runs,
        blocks: sums.blocks,
        rooms,
        messages,
        packed_messages: sums.packed_messages,
        bytes_per_message: quotient(bytes, sums.packed_messages),
        levels: groups(&metas, |meta| meta.level),
        classes: groups(&metas, |meta| meta.class),
        largest_rooms: largest(directory, &sums.rooms, &found),
        catalog_bytes,
        catalog_bytes_per_room: quotient(catalog_bytes, rooms),
        journal_files,
        journal_bytes,
        live_frames: found.frames.len() as u64,
        live_bytes: found.frames.iter().map(|frame| frame.header.len()).sum(),
        live_records: slots(&found.frames).count() as u64,
        unread: sums.unread,
    })
}

/// What the directories of frames say of their records.
fn slots(
    frames: &[FoundFrame],
) -> impl Iterator<Item = &hansard_engine::format::frame::DirEntry> + '_ {
    frames.iter().flat_map(|frame| frame.slots.iter().flatten().map(|slot| &slot.entry))
}

impl Sums {
    fn pack(&mut self, directory: &Directory, meta: &PackMeta) {
        match PackFile::open(&directory.disk, meta.id).and_then(|open| open.index()) {
            Ok(index) => {
                index.runs.iter().for_each(|run| self.run(run));
            }
            Err(error) => self.unread.push(error.to_string()),
        }
    }

    fn run(&mut self, run: &Run) {
        self.runs += 1;
        self.blocks += run.blocks.len() as u64;
        if run.has_entries() {
            let entries = run.last_seq.0.saturating_sub(run.seq_base.0);
            self.packed_messages = self.packed_messages.saturating_add(entries);
        }
        let room = self.rooms.entry(run.room).or_default();
        room.seq = room.seq.max(run.last_seq);
        room.packed_bytes += run.blocks.iter().map(|block| u64::from(block.share)).sum::<u64>();
    }

    /// How far the catalog says that rooms went.
    fn heads(&mut self, directory: &Directory) {
        let walked = directory.catalog().and_then(|catalog| {
            walk_prefix(catalog, Family::State, keys::TIPS, &mut |key, value| {
                if let Ok(head) = head_of(value) {
                    let room = self.rooms.entry(RoomId(keys::number_at(key, 1))).or_default();
                    room.seq = room.seq.max(head.seq);
                }
                Ok(Go::On)
            })
        });
        if let Err(error) = walked {
            self.unread.push(format!("catalog: {error}"));
        }
    }
}

fn groups(metas: &[&PackMeta], of: fn(&PackMeta) -> u32) -> Vec<Group> {
    let mut groups: BTreeMap<u32, Group> = BTreeMap::new();
    for meta in metas {
        let number = of(meta);
        let group = groups.entry(number).or_insert(Group { number, ..Group::default() });
        group.packs += 1;
        group.bytes += meta.bytes;
        group.records += meta.records;
    }
    groups.into_values().collect()
}

fn largest(directory: &Directory, rooms: &BTreeMap<RoomId, Known>, found: &Scan) -> Vec<LargeRoom> {
    let real = rooms.iter().filter(|(room, _)| !room.is_system());
    let mut list: Vec<(RoomId, Known)> = real.map(|(room, known)| (*room, *known)).collect();
    list.sort_by_key(|(room, known)| (Reverse((known.packed_bytes, known.seq)), *room));
    list.truncate(LARGEST);
    let named = |(room, Known { seq, packed_bytes }): (RoomId, Known)| LargeRoom {
        id: room.to_string(),
        name: name(directory, room, found),
        packed_bytes,
        messages: seq.0,
    };
    list.into_iter().map(named).collect()
}

/// A room's name: of what the journal says last, else of the catalog.
fn name(directory: &Directory, id: RoomId, found: &Scan) -> Option<String> {
    let mut name = None;
    for frame in &found.frames {
        for slot in frame.slots.iter().flatten().filter(|slot| slot.entry.room == id) {
            let Ok(record) = Record::from_bytes(&frame.record(slot)) else { continue };
            match (slot.fault, record.payload) {
                (None, Payload::RoomCreated(room)) => name = Some(room.settings.name),
                (None, Payload::RoomChanged(room)) => name = Some(room.settings.name),
                _ => {}
            }
        }
    }
    let row = || directory.catalog().ok()?.get(Family::State, &keys::room(id)).ok()?;
    let of_row = |row: Vec<u8>| from_bytes::<RoomRow>(&row, "room row").ok();
    name.or_else(|| row().and_then(of_row).map(|row| row.settings.name))
}

/// The files of a folder and their bytes.
fn folder(directory: &Directory, folder: &str) -> Result<(u64, u64)> {
    let (mut files, mut bytes) = (0, 0_u64);
    for name in directory.disk.list(folder)? {
        let file = directory.disk.open(&join(folder, &name), Mode::Read);
        bytes = bytes.saturating_add(file.and_then(|file| file.len()).unwrap_or(0));
        files += 1;
    }
    Ok((files, bytes))
}

fn show(out: &mut String, stats: &Stats) -> fmt::Result {
    let shown = |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
    let figures = [
        ("packs", stats.packs.to_string()),
        ("bytes", stats.bytes.to_string()),
        ("plain bytes", stats.plain_bytes.to_string()),
        ("ratio", shown(stats.ratio)),
        ("records", stats.records.to_string()),
        ("dropped records", stats.dropped.to_string()),
        ("runs", stats.runs.to_string()),
        ("blocks", stats.blocks.to_string()),
        ("rooms", stats.rooms.to_string()),
        ("messages", stats.messages.to_string()),
        ("packed messages", stats.packed_messages.to_string()),
        ("bytes a message", shown(stats.bytes_per_message)),
        ("catalog bytes", stats.catalog_bytes.to_string()),
        ("catalog bytes a room", shown(stats.catalog_bytes_per_room)),
        ("journal files", stats.journal_files.to_string()),
        ("journal bytes", stats.journal_bytes.to_string()),
        ("live frames", stats.live_frames.to_string()),
        ("live bytes", stats.live_bytes.to_string()),
        ("live records", stats.live_records.to_string()),
    ];
    for (what, value) in figures {
        writeln!(out, "{what:<22} {value:>14}")?;
    }
    for (what, groups) in [("level", &stats.levels), ("class", &stats.classes)] {
        writeln!(out, "\n{what:<8} {:>8} {:>14} {:>12}", "packs", "bytes", "records")?;
        for Group { number, packs, bytes, records } in groups {
            writeln!(out, "{number:<8} {packs:>8} {bytes:>14} {records:>12}")?;
        }
    }
    writeln!(out, "\n{:<18} {:>14} {:>12}  name", "largest room", "packed", "messages")?;
    for LargeRoom { id, name, packed_bytes, messages } in &stats.largest_rooms {
        let name = name.as_deref().unwrap_or("");
        writeln!(out, "{id:<18} {packed_bytes:>14} {messages:>12}  {name:?}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quotient_has_two_digits_and_needs_a_divisor() {
        assert_eq!(quotient(10, 3), Some(3.33));
        assert_eq!(quotient(0, 3), Some(0.0));
        assert_eq!(quotient(5, 0), None);
    }
}
