//! Servers under libfaketime: another wall clock, and the boot clock as it is.
//!
//! A file says how far ahead the wall clock is; whoever runs reads it all the time.

use std::fs;
use std::process::Command;

use super::{Site, text};

/// The environment of a program whose wall clock a file moves: `+0`, or `+10y`.
fn moved_by(file: &str) -> Vec<(String, String)> {
    let mut faketime = Command::new("faketime");
    faketime.args(["-m", "--exclude-monotonic", "-f", "+0", "env"]);
    let output = faketime.output().expect("no faketime: run `make deps`");
    assert!(output.status.success(), "faketime: {}", text(&output.stderr));
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
