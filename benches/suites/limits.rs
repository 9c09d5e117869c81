//! What can this machine do at best?
//!
//! The bare loop of pwrite and fdatasync on a recycled file, the disk's bandwidth, and what one
//! core copies, checks and compresses. Of Hansard there is the size of its blocks in it and, beside
//! those limits, what the offline tool verifies in a second.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::time::Instant;

use criterion::Criterion;
use hansard_benches::suite::field::{self, Who};
use hansard_benches::suite::figures::{Better, Per, Suite};
use hansard_benches::suite::hansard;
use hansard_benches::suite::limits::{Bare, Blocks, PASS_BYTES, PASS_MIB, checksum, copy};
use hansard_benches::suite::machine;
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::{Lap, Samples, Turn, compare};
use hansard_benches::suite::world::{self, World};
use hansard_benches::tournament::Outcome;
use hansard_tool::{Against, Depth, Show};

const QUESTION: &str = "What can this disk and one core of this machine do at best?";
const FRAMES: [usize; 3] = [4 * 1024, 64 * 1024, 1024 * 1024];
const CRC: &str = "CRC-32";
const BUFFER_BYTES: usize = 1024 * 1024;
/// Messages of the packs that are verified. Of few the start would be a good part of it.
const ARCHIVE: u64 = 10_000_000;

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut suite = Suite::new("limits", QUESTION, size, &[])?;
    let dir = field::scratch()?;
    syncs(&mut criterion, &mut suite, size, dir.path())?;
    let world = World::read(&world::logs(), size)?;
    let crc = memory(&mut criterion, &mut suite, size, &world)?;
    let mib = if size.name == Size::QUICK.name { 256 } else { 1024 };
    let read = disk(&mut suite, dir.path(), mib)?;
    let archive = if size.name == Size::QUICK.name { ARCHIVE / 10 } else { ARCHIVE };
    let world = World::read(&world::logs(), Size { messages: archive, ..size })?;
    let store = dir.path().join(hansard::NAME);
    Who::Hansard.fill(&store, &world)?;
    verify(&mut suite, (&store, archive), read.map_or(crc, |read| read.min(crc)))?;
    suite.leave()
}

fn syncs(criterion: &mut Criterion, suite: &mut Suite, size: Size, dir: &Path) -> Outcome<()> {
    let mut loops = Vec::new();
    for bytes in FRAMES {
        let folder = dir.join(bytes.to_string());
        std::fs::create_dir(&folder)?;
        let mut bare = Bare::new(&folder)?;
        bare.set_bytes(bytes);
        loops.push((format!("{} KiB", bytes / 1024), bare));
    }
    let turns = loops.iter_mut().map(|(name, bare)| Turn::new(name, |writes| bare.lap(writes)));
    let samples: Samples = compare(criterion, "limits-sync", size, 1, turns.collect())?;
    suite.timed("limits-sync", "pwrite + fdatasync on a recycled file, mean", Per::Operation);
    suite.percentiles(("limits-sync", "the same"), &samples, &[50, 99]);
    Ok(())
}

/// What one core does; the speed of the checksum.
fn memory(criterion: &mut Criterion, suite: &mut Suite, size: Size, world: &World) -> Outcome<f64> {
    let mut text = Vec::with_capacity(PASS_BYTES);
    let mut stream = world.stream();
    while text.len() < PASS_BYTES {
        stream.take(1024).iter().for_each(|m| text.extend_from_slice(m.body.as_bytes()));
    }
    text.truncate(PASS_BYTES);
    let mut to = vec![0; PASS_BYTES];
    let blocks = Blocks::of(&text)?;
    // A turn is whole passes, however much is asked for.
    let turns = vec![
        Turn::new("memcpy", |mib| passes(mib, || Ok(copy(&text, &mut to)))),
        Turn::new(CRC, |mib| passes(mib, || Ok(checksum(&text)))),
        Turn::new("zstd", |mib| passes(mib, || blocks.compress())),
        Turn::new("zstd back", |mib| passes(mib, || blocks.decompress())),
    ];
    let samples = compare(criterion, "limits-core", size, PASS_MIB, turns)?;
    let title = "one core, 8 MiB of text (zstd 3 in blocks of 8 KiB)";
    suite.timed("limits-core", title, Per::MibSecond);
    let crc = samples.get(CRC).ok_or("no sample of the checksum")?.samples.iter();
    Ok(Per::MibSecond.of_ns(crc.copied().fold(f64::INFINITY, f64::min)))
}

fn passes(mib: u64, mut pass: impl FnMut() -> Outcome<Lap>) -> Outcome<Lap> {
    let mut sum = Lap::default();
    while sum.count < mib {
        let lap = pass()?;
        sum.took += lap.took;
        sum.count += lap.count;
    }
    Ok(sum)
}

/// One large file, written with a sync at its end and read back after the kernel forgot it: how
/// fast, if it forgets.
fn disk(suite: &mut Suite, dir: &Path, mib: u32) -> Outcome<Option<f64>> {
    let path = dir.join("large");
    let mut buffer = vec![0; BUFFER_BYTES];
    for (at, byte) in (0_u64..).zip(&mut buffer) {
        *byte = at.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()[7];
    }
    let begun = Instant::now();
    let mut file = File::create(&path)?;
    for _ in 0..mib {
        file.write_all(&buffer)?;
    }
    file.sync_all()?;
    let write = f64::from(mib) / begun.elapsed().as_secs_f64();
    let mut values = vec![("write".to_owned(), write)];
    let mut found = None;
    if machine::sync_and_drop() {
        let (begun, mut file) = (Instant::now(), File::open(&path)?);
        while file.read(&mut buffer)? > 0 {}
        let read = f64::from(mib) / begun.elapsed().as_secs_f64();
        values.push(("read".to_owned(), read));
        found = Some(read);
    } else {
        suite.say("sequential reads: not measured, the kernel's cache cannot be dropped");
    }
    let title = format!("{mib} MiB in one file, synced; read cold");
    suite.given(("limits-disk", &title, "MiB/s"), Better::More, values);
    Ok(found)
}

/// The offline tool's checks, cold: of every byte against the packs' digests and of their indexes
/// against the catalog, and of every block, record and tree.
fn verify(suite: &mut Suite, (dir, messages): (&Path, u64), limit: f64) -> Outcome<()> {
    for (id, title, depth) in [
        ("limits-verify-quick", "verify --quick, every byte and run index", Depth::Digests),
        ("limits-verify", "verify, every block, record and tree", Depth::Records),
    ] {
        let _ = machine::sync_and_drop();
        let begun = Instant::now();
        let report = hansard_tool::verify(dir, depth, Show::OnTerminal, &Against::default())?;
        let took = begun.elapsed().as_secs_f64();
        if !report.ok {
            return Err(format!("damage: {:?}", report.damage.first()).into());
        }
        let mib = bytes_of(report.bytes) / 1_048_576.0;
        suite.say(format!("{title}: {mib:.0} MiB of packs of {messages} messages, cold"));
        let values = [(hansard::NAME, mib / took), ("least limit", limit)];
        let values = values.map(|(name, value)| (name.to_owned(), value));
        suite.given((id, title, "MiB/s"), Better::More, values);
    }
    suite.say("least limit: the slower of one file read cold and CRC-32 on one core");
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "files are far below 2^53 bytes")]
fn bytes_of(bytes: u64) -> f64 {
    bytes.max(1) as f64
}
