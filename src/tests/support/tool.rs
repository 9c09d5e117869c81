//! The offline tool as an operator runs it, and a thumb that turns one byte of a file.
//!
//! The tool is a binary of another package. A run of all tests builds it, as that package has tests
//! of its own; for a single suite `cargo build --workspace` does. One that is older than the
//! sources of this test program is refused, so that no test judges yesterday's tool.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// `hansard-tool`.
#[track_caller]
pub fn tool() -> Command {
    let path = Path::new(env!("CARGO_BIN_EXE_hansard")).with_file_name("hansard-tool");
    const BUILD: &str = "build it with `cargo build --workspace`";
    assert!(path.exists(), "no {path:?}: {BUILD}");
    let changed = |path: &Path| fs::metadata(path).and_then(|of| of.modified()).ok();
    let program = std::env::current_exe().expect("this program");
    let (built, tested) = (changed(&path), changed(&program));
    // Cargo's own list of what it was built from; a space within a path is escaped.
    let sources = fs::read_to_string(path.with_extension("d")).expect("cargo lists its sources");
    let sources = sources.replace("\\ ", "\0");
    for source in sources.split_whitespace().skip(1) {
        let source = source.replace('\0', " ");
        let changed = changed(Path::new(&source));
        let stale = built < changed && changed < tested;
        assert!(!stale, "{path:?} is older than {source}: {BUILD}");
    }
    Command::new(path)
}

/// Runs a verb of the tool on a directory: its exit, what it printed, what it complained of.
#[track_caller]
pub fn run(verb: &str, data: &Path) -> (i32, Value, String) {
    let output = tool().args([verb, "--json"]).arg(data).output().expect("the tool runs");
    let said = super::text(&output.stderr);
    assert!(!said.contains("panicked"), "{said}");
    let code = output.status.code().expect("the tool exits");
    (code, serde_json::from_slice(&output.stdout).unwrap_or_default(), said)
}

/// Runs a verb that must do well.
#[track_caller]
pub fn done(verb: &str, data: &Path) -> Value {
    let (code, value, said) = run(verb, data);
    assert_eq!((code, said.as_str()), (0, ""), "{verb}: {value}");
    value
}

/// Turns one bit of the byte at a place.
#[track_caller]
pub fn flip(path: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(path).expect("the file opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).expect("the place can be read");
    file.write_all_at(&[byte[0] ^ 0x10], offset).expect("the place can be written");
}

/// Some bytes of a file.
#[track_caller]
pub fn bytes(path: &Path, offset: u64, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    let file = File::open(path).expect("the file opens");
    file.read_exact_at(&mut bytes, offset).expect("the place can be read");
    bytes
}

/// All files below a folder, with what they hold and when they were changed last.
#[track_caller]
pub fn contents(folder: &Path) -> Vec<(String, Vec<u8>, std::time::SystemTime)> {
    use sha2::{Digest, Sha256};
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entries can be read").path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            let bytes = fs::read(&path).expect("a file can be read");
            let changed = fs::metadata(&path).and_then(|of| of.modified()).expect("a time");
            found.push((path.display().to_string(), Sha256::digest(&bytes).to_vec(), changed));
        }
    }
    found.sort();
    found
}
