//! Servers under libfaketime: another wall clock, and the boot clock as it is.
//!
//! A file says how far ahead the wall clock is; whoever runs reads it all the time.

use std::fs;
use std::process::{Command, Output};

use super::{Site, text};

/// How often the wrapper is started when what it leaves behind is in its way.
const TRIES: usize = 100;

/// What the wrapper `faketime` gives the programs it starts.
///
/// The wrapper names a semaphore after its process and fails where one of that name is there
/// already. So does the library in each server, and a server that is killed leaves its own behind:
/// once the machine's process identifiers start over, the wrapper may get one of those. The next
/// process has another.
fn wrapped() -> Output {
    for _ in 0..TRIES {
        let mut faketime = Command::new("faketime");
        faketime.args(["-m", "--exclude-monotonic", "-f", "+0", "env"]);
        let output = faketime.output().expect("no faketime: run `make deps`");
        if output.status.success() {
            return output;
        }
        let said = text(&output.stderr);
        assert!(said.contains("sem_open: File exists"), "faketime: {said}");
    }
    panic!("{TRIES} times faketime found the semaphore of a process that was killed");
}

/// The environment of a program whose wall clock a file moves: `+0`, or `+10y`.
fn moved_by(file: &str) -> Vec<(String, String)> {
    let output = wrapped();
    let said = text(&output.stdout);
    let library = said.lines().find_map(|line| line.strip_prefix("LD_PRELOAD="));
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    vec![
        variable("LD_PRELOAD", library.expect("faketime preloads its library")),
        variable("FAKETIME_TIMESTAMP_FILE", file),
        variable("FAKETIME_NO_CACHE", "1"),
        variable("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
    ]
}

/// A site whose servers have the clock that [`set`] sets.
pub fn site() -> Site {
    let mut site = Site::new();
    let file = site.path("clock");
    site.environment = moved_by(file.to_str().expect("a path"));
    set(&site, "+0");
    site
}

/// Sets the clock of running and later servers so far ahead: `+0`, or `+10y`.
pub fn set(site: &Site, ahead: &str) {
    // In place of the old file at once: the server reads it all the time.
    let new = site.path("clock.new");
    fs::write(&new, ahead).expect("a file");
    fs::rename(new, site.path("clock")).expect("it can be replaced");
}
