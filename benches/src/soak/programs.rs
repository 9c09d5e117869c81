//! Builds the programs of the soak, and finds them.
//!
//! Cargo is asked where they are; nothing here guesses a name in its folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::tournament::Outcome;

/// Paths of programs by target name; tests are `test NAME`.
pub type Programs = BTreeMap<String, PathBuf>;

/// The folder of the repository.
#[must_use]
pub fn top() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// Builds everything.
///
/// # Errors
/// If cargo does not.
pub fn build() -> Outcome<Programs> {
    let mut programs = Programs::new();
    cargo(&["build", "--workspace", "--bins"], &mut programs)?;
    // The workspace all the same: cargo unifies features over what it is asked to build.
    let tests = ["--test", "simulation", "--test", "matrix", "--test", "catalog", "--test", "kill"];
    cargo(&[&["test", "--workspace", "--no-run"], &tests[..]].concat(), &mut programs)?;
    // Its own features: the engine under a scheduler.
    let shuttle = ["--no-default-features", "--features", "shuttle"];
    let schedules = ["test", "-p", "hansard-engine", "--test", "schedules", "--no-run"];
    cargo(&[&schedules[..], &shuttle[..]].concat(), &mut programs)?;
    cargo(&["build", "--manifest-path", "benches/Cargo.toml", "--bins"], &mut programs)?;
    Ok(programs)
}

fn cargo(arguments: &[&str], programs: &mut Programs) -> Outcome<()> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(arguments).args(["--quiet", "--message-format", "json"]).current_dir(top());
    let output = cargo.stderr(Stdio::inherit()).output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines() {
        let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
        if !output.status.success() && line["message"]["level"] == "error" {
            eprintln!("{}", line["message"]["rendered"].as_str().unwrap_or_default());
        }
        let (name, path) = (line["target"]["name"].as_str(), line["executable"].as_str());
        if let (Some(name), Some(path)) = (name, path) {
            let test = line["profile"]["test"] == true;
            let name = if test { format!("test {name}") } else { name.to_owned() };
            programs.insert(name, path.into());
        }
    }
    if output.status.success() { Ok(()) } else { Err(format!("{cargo:?} failed").into()) }
}
