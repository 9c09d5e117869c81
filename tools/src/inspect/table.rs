//! The table for people: one row for each live frame, pack, segment and room.
//!
//! It shows what the JSON shows but for single records and blocks. Bytes are bytes, a ratio is how
//! many times smaller the compression made something, times are UTC.

use std::fmt::{self, Write};

use jiff::Timestamp;

use super::{Frame, Inspection, Pack, Room, Segment};

/// The whole table.
pub(super) fn table(shown: &Inspection) -> String {
    let mut out = String::new();
    // Writing to a string cannot fail.
    let _ = write_all(&mut out, shown);
    out
}

fn write_all(out: &mut String, shown: &Inspection) -> fmt::Result {
    let Inspection { format, epoch, last_lsn, sealed_lsn, .. } = shown;
    let applied = shown.applied_lsn.map_or("unreadable".to_owned(), |lsn| lsn.to_string());
    writeln!(out, "format {format}  epoch {epoch}  last lsn {last_lsn}")?;
    writeln!(out, "sealed lsn {sealed_lsn}  applied lsn {applied}\n")?;
    writeln!(
        out,
        "{:<24} {:>11} {:>9} {:>8} {:>12}  recorded",
        "journal", "offset", "bytes", "records", "first lsn"
    )?;
    for file in &shown.journal {
        for frame in &file.frames {
            write_frame(out, &file.file, frame)?;
        }
    }
    writeln!(
        out,
        "\n{:<24} {:>5} {:>8} {:>10} {:>12} {:>12} {:>7}  time",
        "pack", "level", "segments", "records", "bytes", "plain", "ratio"
    )?;
    for pack in &shown.packs {
        write_pack(out, pack)?;
    }
    writeln!(
        out,
        "\n{:<24} {:<14} {:>17} {:>8} {:>6} {:>10} {:>10} {:>7}  time",
        "segment", "room", "seq", "records", "blocks", "bytes", "plain", "ratio"
    )?;
    for pack in &shown.packs {
        for segment in &pack.segments {
            write_segment(out, &pack.file, segment)?;
        }
    }
    writeln!(
        out,
        "\n{:<18} {:>10} {:>10} {:>10} {:>12} {:>5}  {:<27}  name",
        "room", "floor", "seq", "rev", "packed", "runs", "last time"
    )?;
    for room in &shown.rooms {
        write_room(out, room)?;
    }
    Ok(())
}

fn write_frame(out: &mut String, file: &str, frame: &Frame) -> fmt::Result {
    let Frame { offset, bytes, first_lsn, records, .. } = frame;
    let recorded = span(frame.first_recorded_us, frame.last_recorded_us);
    let records = records.len();
    writeln!(out, "{file:<24} {offset:>11} {bytes:>9} {records:>8} {first_lsn:>12}  {recorded}")
}

fn write_pack(out: &mut String, pack: &Pack) -> fmt::Result {
    let Pack { file, level, bytes, plain_bytes, records, runs, .. } = pack;
    let (ratio, time) =
        (ratio(Some(*plain_bytes), *bytes), span(pack.min_time_us, pack.max_time_us));
    write!(out, "{file:<24} {level:>5} {runs:>8} {records:>10} {bytes:>12}")?;
    writeln!(out, " {plain_bytes:>12} {ratio}  {time}")
}

fn write_segment(out: &mut String, file: &str, segment: &Segment) -> fmt::Result {
    let Segment { room, records, bytes, .. } = segment;
    let seqs = match (segment.from_seq, segment.to_seq) {
        (from, to) if to < from => "-".to_owned(),
        (from, to) => format!("{from}..{to}"),
    };
    let blocks = segment.blocks.len();
    let plain = segment.plain_bytes.map_or("?".to_owned(), |bytes| bytes.to_string());
    let ratio = ratio(segment.plain_bytes, *bytes);
    let time = span(segment.first_time_us, segment.last_time_us);
    write!(out, "{file:<24} {room:<14} {seqs:>17} {records:>8} {blocks:>6} {bytes:>10}")?;
    writeln!(out, " {plain:>10} {ratio}  {time}")
}

fn write_room(out: &mut String, room: &Room) -> fmt::Result {
    let Room { id, seq, rev, floor, packed_bytes, runs, .. } = room;
    let last = room.last_time_us.map_or("-".to_owned(), moment);
    let name = room.name.as_deref().unwrap_or("");
    write!(out, "{id:<18} {floor:>10} {seq:>10} {rev:>10} {packed_bytes:>12} {runs:>5}")?;
    writeln!(out, "  {last:<27}  {name:?}")
}

/// How many times smaller, with two digits.
fn ratio(plain: Option<u64>, bytes: u64) -> String {
    let Some(plain) = plain else { return format!("{:>7}", "?") };
    let hundredths = plain.saturating_mul(100) / bytes.max(1);
    format!("{:>4}.{:02}", hundredths / 100, hundredths % 100)
}

fn moment(us: i64) -> String {
    Timestamp::from_microsecond(us).map_or(format!("{us}us"), |time| format!("{time:.6}"))
}

fn span(first: Option<i64>, last: Option<i64>) -> String {
    match (first, last) {
        (Some(first), Some(last)) if first != last => {
            format!("{} .. {}", moment(first), moment(last))
        }
        (Some(one), _) | (_, Some(one)) => moment(one),
        (None, None) => "-".to_owned(),
    }
}
