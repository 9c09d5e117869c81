//! `inspect`: what is in a data directory, as a table for people and as JSON for programs.
//!
//! It reads and shows; whether what it shows is sound is `verify`'s question, and damage it meets
//! on the way is named on stderr. Sizes and times of a segment come from its index and its blocks'
//! headers: nothing is decompressed.

mod table;

use std::collections::BTreeMap;
use std::path::Path;

use hansard_engine::apply::applied_row;
use hansard_engine::catalog::rows::{PastRow, RoomRow, head_of};
use hansard_engine::catalog::{Family, Go, keys, walk_prefix};
use hansard_engine::error::Result;
use hansard_engine::format::block::{BLOCK_HEADER_BYTES_MAX, BlockHeader};
use hansard_engine::format::bundle::is_bundle;
use hansard_engine::format::codec::Reader;
use hansard_engine::format::frame::RecordSlot;
use hansard_engine::format::pack::pack_name;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::format::run::{BlockRef, Run};
use hansard_engine::format::wire::from_bytes;
use hansard_engine::journal::{file_name, scan::FoundFrame, scan::scan};
use hansard_engine::pack::{self, BlockReader, PackFile};
use hansard_engine::storage::join;
use hansard_engine::types::{Lsn, RoomId, Seq, TimeUs};
use serde::Serialize;

use crate::open::Directory;
use crate::{say, say_json};

/// Everything `inspect` shows.
#[derive(Debug, Serialize)]
struct Inspection {
    format: u16,
    epoch: u16,
    last_lsn: u64,
    sealed_lsn: u64,
    applied_lsn: Option<u64>,
    journal: Vec<JournalFile>,
    packs: Vec<Pack>,
    rooms: Vec<Room>,
}

#[derive(Debug, Serialize)]
struct JournalFile {
    file: String,
    frames: Vec<Frame>,
}

#[derive(Debug, Serialize)]
struct Frame {
    offset: u64,
    bytes: u64,
    first_lsn: u64,
    synced_lsn: u64,
    committed_lsn: u64,
    flags: u32,
    /// When its records were recorded, of those that can be read.
    first_recorded_us: Option<i64>,
    last_recorded_us: Option<i64>,
    records: Vec<FrameRecord>,
}

#[derive(Debug, Serialize)]
struct FrameRecord {
    lsn: u64,
    offset: u64,
    bytes: u32,
    kind: &'static str,
    room: String,
    seq: u64,
    rev: u64,
}

#[derive(Debug, Serialize)]
struct Pack {
    file: String,
    /// Its retention class.
    class: u32,
    /// How far it was merged: 0 as sealed, 1 parts of a day, 2 a day, 3 a month, 4 a year.
    level: u32,
    bytes: u64,
    plain_bytes: u64,
    /// Of its own dictionary; none if its header cannot be read.
    dictionary_bytes: Option<u32>,
    first_lsn: u64,
    last_lsn: u64,
    records: u64,
    runs: u64,
    /// Records that stood in its place until retention took them.
    dropped: u64,
    min_time_us: Option<i64>,
    max_time_us: Option<i64>,
    segments: Vec<Segment>,
}

#[derive(Debug, Serialize)]
struct Segment {
    room: String,
    first_rev: u64,
    last_rev: u64,
    from_seq: u64,
    to_seq: u64,
    records: u64,
    bytes: u64,
    /// Before compression; none if a block's header cannot be read.
    plain_bytes: Option<u64>,
    first_time_us: Option<i64>,
    last_time_us: Option<i64>,
    blocks: Vec<BlockPlace>,
}

#[derive(Debug, Serialize)]
struct BlockPlace {
    offset: u64,
    bytes: u32,
    records: u32,
    from_seq: u64,
    to_seq: u64,
}

#[derive(Debug, Default, Serialize)]
struct Room {
    id: String,
    name: Option<String>,
    category: Option<String>,
    seq: u64,
    rev: u64,
    /// The last entry that retention took; 0 for none.
    floor: u64,
    last_time_us: Option<i64>,
    packed_bytes: u64,
    runs: u64,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened.
pub(crate) fn run(path: &Path, json: bool) -> Result<()> {
    let directory = Directory::open(path)?;
    let inspection = look(&directory)?;
    if json { say_json(&inspection) } else { say(&table::table(&inspection)) }
}

/// A time that says something: not one of the ends of the range.
fn known(time: TimeUs) -> Option<i64> {
    (time > TimeUs::FLOOR && time < TimeUs::CEILING).then_some(time.0)
}

fn look(directory: &Directory) -> Result<Inspection> {
    let state = &directory.manifest.state;
    let applied = directory.catalog().and_then(applied_row).map(|row| row.lsn);
    let applied = applied.inspect_err(|e| eprintln!("hansard-tool: catalog: {e}")).ok();
    let floor = applied.unwrap_or(Lsn::ZERO).min(state.sealed);
    let found = scan(&directory.disk, floor, floor)?;
    for damage in &found.damage {
        let (file, offset, reason) = (&damage.file, damage.offset, damage.reason);
        eprintln!("hansard-tool: damage file={file:?} offset={offset} reason={reason:?}");
    }
    let mut rooms = BTreeMap::new();
    if let Ok(catalog) = directory.catalog() {
        catalog_rooms(catalog, &mut rooms)?;
    }
    let packs = packs(directory, &mut rooms)?;
    let mut files: BTreeMap<u32, Vec<Frame>> = BTreeMap::new();
    for frame in &found.frames {
        files.entry(frame.file).or_default().push(show_frame(frame, &mut rooms));
    }
    let journal = files
        .into_iter()
        .map(|(number, frames)| JournalFile { file: join("journal", &file_name(number)), frames });
    let last = found.end.map_or(state.sealed.0, |end| end.next_lsn.0.saturating_sub(1));
    Ok(Inspection {
        format: directory.format,
        epoch: state.epoch.0,
        last_lsn: last,
        sealed_lsn: state.sealed.0,
        applied_lsn: applied.map(|lsn| lsn.0),
        journal: journal.collect(),
        packs,
        rooms: rooms.into_values().collect(),
    })
}

fn named(id: RoomId) -> Room {
    let name = id.is_system().then(|| "(system)".to_owned());
    Room { id: id.to_string(), name, ..Room::default() }
}

fn show_frame(frame: &FoundFrame, rooms: &mut BTreeMap<RoomId, Room>) -> Frame {
    let header = &frame.header;
    let show = |slot: &RecordSlot| FrameRecord {
        lsn: slot.lsn.0,
        offset: header.offset + slot.start as u64,
        bytes: slot.entry.bytes,
        kind: slot.entry.kind.as_str(),
        room: slot.entry.room.to_string(),
        seq: slot.entry.seq.0,
        rev: slot.entry.rev.0,
    };
    let (mut first, mut last) = (None, None);
    for slot in frame.slots.iter().flatten() {
        let room = rooms.entry(slot.entry.room).or_insert_with(|| named(slot.entry.room));
        room.seq = room.seq.max(slot.entry.seq.0);
        room.rev = room.rev.max(slot.entry.rev.0);
        let record = slot.fault.is_none().then(|| Record::from_bytes(&frame.record(slot)));
        if let Some(Ok(record)) = record {
            // Along the log the time of recording never falls.
            last = Some(record.recorded.0);
            first = first.or(last);
            catch_up(room, &record);
        }
    }
    Frame {
        offset: header.offset,
        bytes: header.len(),
        first_lsn: header.first_lsn.0,
        synced_lsn: header.synced.0,
        committed_lsn: header.committed.0,
        flags: header.flags,
        first_recorded_us: first,
        last_recorded_us: last,
        records: frame.slots.iter().flatten().map(show).collect(),
    }
}

/// What the catalog may not know yet: it is behind the journal after a crash.
fn catch_up(room: &mut Room, record: &Record) {
    let settings = match &record.payload {
        Payload::RoomCreated(created) => Some(&created.settings),
        Payload::RoomChanged(changed) => Some(&changed.settings),
        _ => None,
    };
    if let Some(settings) = settings {
        room.name = Some(settings.name.clone());
        room.category = Some(settings.category.to_string());
    }
    if let Payload::Expired(expired) = &record.payload {
        room.floor = room.floor.max(expired.floor.0);
    }
    if record.seq > Seq::ZERO {
        room.last_time_us = room.last_time_us.max(known(record.time));
    }
}

fn catalog_rooms(
    catalog: &dyn hansard_engine::catalog::CatalogStore,
    rooms: &mut BTreeMap<RoomId, Room>,
) -> Result<()> {
    walk_prefix(catalog, Family::State, b"r", &mut |_, value| {
        if let Ok(row) = from_bytes::<RoomRow>(value, "room row") {
            let room = rooms.entry(row.id).or_insert_with(|| named(row.id));
            room.name = Some(row.settings.name);
            room.category = Some(row.settings.category.to_string());
        }
        Ok(Go::On)
    })?;
    walk_prefix(catalog, Family::State, keys::TIPS, &mut |key, value| {
        let id = RoomId(keys::number_at(key, 1));
        if let Ok(head) = head_of(value) {
            let room = rooms.entry(id).or_insert_with(|| named(id));
            room.seq = head.seq.0;
            room.rev = head.rev.0;
            room.last_time_us = known(head.time);
        }
        Ok(Go::On)
    })?;
    walk_prefix(catalog, Family::State, b"E", &mut |key, value| {
        let id = RoomId(keys::number_at(key, 1));
        if let Ok(past) = from_bytes::<PastRow>(value, "past row") {
            let room = rooms.entry(id).or_insert_with(|| named(id));
            room.floor = past.floor.0;
        }
        Ok(Go::On)
    })
}

fn packs(directory: &Directory, rooms: &mut BTreeMap<RoomId, Room>) -> Result<Vec<Pack>> {
    let mut shown = Vec::new();
    for meta in directory.manifest.state.packs.values() {
        let file = join(pack::DIR, &pack_name(meta.id));
        let open = PackFile::open(&directory.disk, meta.id);
        let header = open.as_ref().ok().and_then(|open| open.header().ok());
        let segments = open
            .and_then(|open| {
                let runs = open.index()?.runs;
                let mut reader = BlockReader::new();
                let show = |run| show_segment(run, &open, reader.as_mut(), rooms);
                Ok(runs.iter().map(show).collect())
            })
            .inspect_err(|e| eprintln!("hansard-tool: {e}"))
            .unwrap_or_default();
        shown.push(Pack {
            file,
            class: meta.class,
            level: meta.level,
            bytes: meta.bytes,
            plain_bytes: meta.plain_bytes,
            dictionary_bytes: header.map(|header| header.dictionary.bytes),
            first_lsn: meta.first_lsn.0,
            last_lsn: meta.last_lsn.0,
            records: meta.records,
            runs: meta.runs,
            dropped: meta.dropped,
            min_time_us: known(meta.min_time),
            max_time_us: known(meta.max_time),
            segments,
        });
    }
    Ok(shown)
}

fn show_segment(
    run: &Run,
    pack: &PackFile,
    mut reader: Option<&mut BlockReader>,
    rooms: &mut BTreeMap<RoomId, Room>,
) -> Segment {
    let bytes = run.blocks.iter().map(|block| u64::from(block.share)).sum();
    let room = rooms.entry(run.room).or_insert_with(|| named(run.room));
    room.packed_bytes += bytes;
    room.runs += 1;
    let block = |(index, block): (usize, &BlockRef)| BlockPlace {
        offset: block.offset,
        bytes: block.bytes,
        records: block.records,
        from_seq: block.seq_base.0 + 1,
        to_seq: run.block_last_seq(index).0,
    };
    let times = run.has_entries().then_some((run.first_time, run.last_time));
    Segment {
        room: run.room.to_string(),
        first_rev: run.first_rev.0,
        last_rev: run.last_rev.0,
        from_seq: run.seq_base.0 + 1,
        to_seq: run.last_seq.0,
        records: run.blocks.iter().map(|block| u64::from(block.records)).sum(),
        bytes,
        plain_bytes: run
            .blocks
            .iter()
            .map(|block| plain_bytes(pack, run.room, block, reader.as_deref_mut()))
            .sum(),
        first_time_us: times.and_then(|(first, _)| known(first)),
        last_time_us: times.and_then(|(_, last)| known(last)),
        blocks: run.blocks.iter().enumerate().map(block).collect(),
    }
}

/// A block's bytes before compression, as its header says, or that of its bundle.
fn plain_bytes(
    pack: &PackFile,
    room: RoomId,
    block: &BlockRef,
    reader: Option<&mut BlockReader>,
) -> Option<u64> {
    let bytes = BLOCK_HEADER_BYTES_MAX.min(block.bytes as usize);
    let header = pack.file().read(block.offset, bytes).ok()?;
    let bytes = match is_bundle(&header) {
        true => pack.block(room, block, reader?).ok()?.record_bytes(),
        false => BlockHeader::get(&mut Reader::new(&header)).ok()?.sizes.record_bytes,
    };
    u64::try_from(bytes).ok()
}
