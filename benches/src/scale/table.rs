//! What the trial says at its end: its phases, its reads, and the figures of the whole.
//!
//! What was not measured is a dash. Bytes are in MiB (2^20) unless a row says otherwise.

use std::fmt::Write;

use super::catalog::{Rows, of_rooms};
use super::course::{Plan, Report};
use super::gauge::{Files, Kinds, Mark};

const MIB: f64 = 1_048_576.0;

/// Numbers for people.
#[expect(clippy::cast_precision_loss, reason = "for people")]
fn float(number: u64) -> f64 {
    number as f64
}

fn mib(bytes: Option<u64>) -> String {
    bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", float(bytes) / MIB))
}

fn plain(number: Option<u64>) -> String {
    number.map_or("-".to_owned(), |number| number.to_string())
}

/// `a / b` with a digit; a dash without a `b`.
fn quotient(a: u64, b: u64) -> String {
    if b == 0 { "-".to_owned() } else { format!("{:.1}", float(a) / float(b)) }
}

fn of(kinds: &Kinds, kind: &str) -> Files {
    kinds.get(kind).copied().unwrap_or_default()
}

fn sum(kinds: &Kinds) -> Files {
    kinds.values().fold(Files::default(), |sum, one| Files {
        files: sum.files + one.files,
        bytes: sum.bytes + one.bytes,
    })
}

/// All tables.
#[must_use]
pub fn report(plan: &Plan, report: &Report) -> String {
    let mut text = String::new();
    // Writing into a string does not fail.
    let _ = phases(&mut text, report);
    let _ = reads(&mut text, report);
    let _ = whole(&mut text, plan, report);
    for wrong in &report.wrong {
        let _ = writeln!(text, "wrong: {wrong}");
    }
    let _ = writeln!(text, "\n{}", if report.wrong.is_empty() { "all is fine" } else { "WRONG" });
    text
}

fn phases(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n| phase | s | done | a second | first, last tenth | peak MiB | own MiB | MiB at end | \
         handles, most | at end | packs | MiB | catalog | MiB | journal | MiB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|"
    )?;
    for mark in &report.marks {
        let Mark { phase, seconds, count, unit, kinds, .. } = mark;
        let (done, rate) = match count {
            0 => ("-".to_owned(), "-".to_owned()),
            _ => (format!("{count} {unit}"), format!("{:.0}", mark.rate())),
        };
        let tenths = match mark.tenths[..] {
            [first, .., last] => format!("{first:.0}, {last:.0}"),
            _ => "-".to_owned(),
        };
        write!(
            out,
            "| {phase} | {seconds:.1} | {done} | {rate} | {tenths} | {} | {} | {} | {} | {} |",
            mib(mark.peak_bytes),
            mib(mark.own_peak_bytes),
            mib(mark.resident_bytes),
            plain(mark.handles_peak),
            plain(mark.handles)
        )?;
        for kind in ["packs", "catalog", "journal"] {
            let Files { files, bytes } = of(kinds, kind);
            write!(out, " {files} | {} |", mib(Some(bytes)))?;
        }
        writeln!(out)?;
    }
    Ok(())
}

fn reads(out: &mut String, report: &Report) -> std::fmt::Result {
    writeln!(
        out,
        "\n| read | pages | messages compared | blocks | p50 ms | p99 ms | most ms |\n\
         |---|---|---|---|---|---|---|"
    )?;
    for (when, reads) in ["before merge", "after merge"].into_iter().zip(&report.reads) {
        for read in reads {
            let times = read.times;
            writeln!(
                out,
                "| {}, {when} | {} | {} | {} | {:.2} | {:.2} | {:.2} |",
                read.what,
                times.count,
                read.messages,
                read.blocks,
                times.p50_ms,
                times.p99_ms,
                times.max_ms
            )?;
        }
    }
    Ok(())
}

fn whole(out: &mut String, plan: &Plan, report: &Report) -> std::fmt::Result {
    writeln!(out, "\n| figure | value |\n|---|---|")?;
    let mut row = |name: &str, value: String| writeln!(out, "| {name} | {value} |");
    let (size, filled) = (plan.size, &report.filled);
    row("rooms", format!("{} of 3 messages, 1 of {}", size.rooms, size.big))?;
    row("messages", size.messages().to_string())?;
    row("records", filled.records.to_string())?;
    let seconds: f64 = report.marks.iter().map(|mark| mark.seconds).sum();
    row("seconds of all phases", format!("{seconds:.0}"))?;
    let imports = report.marks.iter().filter(|mark| mark.phase.starts_with("import"));
    let (said, took) =
        imports.fold((0, 0.0), |(said, took), mark| (said + mark.count, took + mark.seconds));
    row("messages imported a second", format!("{:.0}", float(said) / took.max(1e-9)))?;
    let peak = report.marks.iter().filter_map(|mark| mark.peak_bytes).max();
    row("memory at most, MiB", mib(peak))?;
    let own = report.marks.iter().filter_map(|mark| mark.own_peak_bytes).max();
    row("of it not pages of mapped files, MiB", mib(own))?;
    row("of it the trial's own while it fills, MiB", mib(report.own_bytes))?;
    let handles = report.marks.iter().filter_map(|mark| mark.handles_peak).max();
    row("handles at most", plain(handles))?;
    let (empty, rooms) = (report.empty_bytes.unwrap_or(0), size.rooms + 1);
    for (when, idle) in ["before merge", "after merge"].into_iter().zip(report.idle_bytes) {
        let more = idle.map_or(0, |idle| idle.saturating_sub(empty));
        let text = format!("{} ({} - {} MiB)", quotient(more, rooms), mib(idle), mib(Some(empty)));
        row(&format!("bytes of memory an idle room, {when}"), text)?;
    }
    let closed = report.marks.iter().find(|mark| mark.phase == "close");
    let last = report.marks.last();
    let marks = [("before merge", closed), ("after merge", last)];
    for ((when, mark), families) in marks.into_iter().zip(&report.families) {
        let Some(mark) = mark else { continue };
        let (all, packs) = (sum(&mark.kinds), of(&mark.kinds, "packs"));
        row(&format!("files, {when}"), all.files.to_string())?;
        row(&format!("MiB on disk, {when}"), mib(Some(all.bytes)))?;
        for (name, Rows { bytes, rows }) in families {
            let text = format!("{} MiB in about {rows} rows", mib(Some(*bytes)));
            row(&format!("catalog family {name}, {when}"), text)?;
        }
        let bytes = quotient(of_rooms(families), rooms);
        row(&format!("catalog bytes a room, compliance aside, {when}"), bytes)?;
        let bytes = families.values().map(|rows| rows.bytes).sum();
        let bytes = quotient(bytes, filled.records);
        row(&format!("catalog bytes a record, compliance included, {when}"), bytes)?;
        let bytes = quotient(packs.bytes, size.messages());
        row(&format!("pack bytes a message, {when}"), bytes)?;
    }
    let written = filled.seal_written + filled.merge_written;
    row("packs written over while filling", quotient(written, filled.seal_written))?;
    let disk = report.marks.iter().find(|mark| mark.phase == "close");
    let disk = disk.and_then(|mark| mark.written_bytes);
    row("MiB of pages made dirty while filling", mib(disk))?;
    row("of it journal frames, MiB", mib(Some(filled.journal_written)))?;
    row("of it packs, MiB", mib(Some(written)))?;
    let merged = report.compacted["bytes_written"].as_u64();
    row("MiB of packs that compact wrote", mib(merged))?;
    row("runs, after merge", plain(report.stats["runs"].as_u64()))?;
    row("blocks, after merge", plain(report.stats["blocks"].as_u64()))?;
    row("appends tried again while sealing caught up", filled.waits.to_string())
}
