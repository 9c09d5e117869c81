//! The machine a suite runs on, and what is seen of a process and of a folder.
//!
//! INVARIANT: what cannot be found out is said to be unknown.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::tournament::Outcome;

const UNKNOWN: &str = "unknown";
/// A process stands still when its CPU time does for so long.
const STILL: Duration = Duration::from_millis(120);
const STEP: Duration = Duration::from_millis(10);
const STILL_MAX: Duration = Duration::from_secs(300);

/// Files of a folder and of those in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnDisk {
    pub files: u64,
    pub bytes: u64,
}

/// What is below a folder, but for some files; a sparse file counts what it has on disk.
///
/// # Errors
/// If a folder cannot be listed. A file that goes meanwhile is not counted.
pub fn on_disk(folder: &Path, without: &[PathBuf]) -> Outcome<OnDisk> {
    let mut sum = OnDisk::default();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if without.contains(&path) {
            continue;
        }
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.is_dir() {
            let below = on_disk(&path, without)?;
            sum.files += below.files;
            sum.bytes += below.bytes;
        } else if meta.is_file() {
            sum.files += 1;
            sum.bytes += meta.len().min(meta.blocks() * 512);
        }
    }
    Ok(sum)
}

/// The CPU time of this process in the kernel's ticks.
fn cpu_ticks() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// The CPU time of this process in seconds, in steps of a hundredth; zero if nobody tells.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
pub fn cpu_seconds() -> f64 {
    // Linux tells all programs hundredths (USER_HZ), whatever the kernel counts in.
    cpu_ticks().unwrap_or(0) as f64 / 100.0
}

/// The wait for threads of whose work nobody is told.
pub struct Still;

impl Still {
    /// Waits until this process does nothing any more: how long after `begun` it last did.
    #[must_use]
    pub fn wait(begun: Instant) -> Duration {
        let (mut last, mut seen) = (begun.elapsed(), cpu_ticks());
        while begun.elapsed() - last < STILL && begun.elapsed() < STILL_MAX {
            std::thread::sleep(STEP);
            let now = cpu_ticks();
            // The look itself costs a tick now and then.
            if now > seen.map(|ticks| ticks + 1) {
                (last, seen) = (begun.elapsed(), now);
            }
        }
        last
    }
}

/// Makes the kernel forget clean pages of files, if it lets this process. What was written before
/// has to be synced, or it stays.
#[must_use]
pub fn drop_page_cache() -> bool {
    fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// The same with everything that waits to be written.
#[must_use]
pub fn sync_and_drop() -> bool {
    rustix::fs::sync();
    drop_page_cache()
}

fn line_of(file: &str, field: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8_lossy(&out.stdout).lines().next()?.trim().to_owned())
}

/// The device and the file system of a folder.
fn disk(folder: &Path) -> Option<String> {
    let folder = fs::canonicalize(folder).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mounts = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?.to_owned(), fields.next()?.to_owned(), fields.next()?.to_owned()))
    });
    let of_folder = mounts.filter(|(_, at, _)| folder.starts_with(at));
    let (device, _, kind) = of_folder.max_by_key(|(_, at, _)| at.len())?;
    Some(format!("{kind} on {device}"))
}

/// What is said of the machine beside every answer.
#[must_use]
pub fn describe(folder: &Path) -> BTreeMap<String, String> {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = line_of("/proc/cpuinfo", "model name").unwrap_or_else(|| UNKNOWN.into());
    let memory = line_of("/proc/meminfo", "MemTotal").unwrap_or_else(|| UNKNOWN.into());
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or(UNKNOWN.into());
    let load = fs::read_to_string("/proc/loadavg").unwrap_or(UNKNOWN.into());
    let repository = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
    let commit = first_line("git", &["-C", repository, "rev-parse", "--short=12", "HEAD"]);
    let described = [
        ("cpu", format!("{cores} x {cpu}")),
        ("memory", memory),
        ("kernel", kernel.trim().to_owned()),
        ("disk", disk(folder).unwrap_or_else(|| UNKNOWN.into())),
        ("commit", commit.unwrap_or_else(|| UNKNOWN.into())),
        ("load", load.trim().to_owned()),
    ];
    described.into_iter().map(|(what, said)| (what.to_owned(), said)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_counted_without_its_log() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("a")).unwrap();
        fs::write(dir.path().join("a/1"), [1; 10_000]).unwrap();
        fs::write(dir.path().join("log"), [1; 5000]).unwrap();
        let without = [dir.path().join("log")];
        let found = on_disk(dir.path(), &without).unwrap();
        assert_eq!((found.files, found.bytes), (1, 10_000));
        assert!(cpu_ticks().is_some());
        assert!(describe(dir.path()).values().all(|said| !said.is_empty()));
    }
}
