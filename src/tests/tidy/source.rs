//! The files that the rules look at, and what a rule says about them.
//!
//! The list is git's: what is tracked, and what is new and not ignored. So the rules hold for a
//! change before it is committed, and build output is never seen.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::process::Command;

use super::lexer::{Lexed, Token, lex};

/// One file of the repository.
pub struct Source {
    /// From the repository's top, with `/`.
    pub path: String,
    pub text: String,
}

/// A place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Finding {
    pub path: String,
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{}: {}", self.path, self.line, self.what)
    }
}

pub fn top() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR").into()
}

/// Every file of the repository. Bytes that are not text are read as none: no rule is about them.
pub fn repository() -> Vec<Source> {
    let mut git = Command::new("git");
    git.args(["-c", "safe.directory=*", "ls-files", "-z"]);
    git.args(["--cached", "--others", "--exclude-standard"]);
    let output = git.current_dir(top()).output().expect("git is installed");
    assert!(output.status.success(), "git: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("names are UTF-8");
    let names: BTreeSet<&str> = names.split_terminator('\0').collect();
    let read = |name: &str| {
        // A file that was deleted but not yet in git's index is still listed.
        let bytes = std::fs::read(top().join(name)).ok()?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        Some(Source { path: name.to_owned(), text })
    };
    names.into_iter().filter_map(read).collect()
}

impl Source {
    pub fn is_rust(&self) -> bool {
        self.has_extension("rs")
    }

    pub fn has_extension(&self, extension: &str) -> bool {
        self.path.rsplit_once('.').is_some_and(|(_, end)| end == extension)
    }

    /// Whether the file is only compiled for tests, benchmarks or fuzzing.
    pub fn is_test(&self) -> bool {
        let file = self.path.rsplit('/').next().unwrap_or_default();
        self.path.split('/').any(|part| part == "tests")
            || self.path.starts_with("benches/")
            || self.path.starts_with("fuzz/")
            || file == "tests.rs"
            || file.ends_with("_tests.rs")
    }

    /// Real chat: people's words follow no house style.
    pub fn is_data(&self) -> bool {
        self.path.starts_with("server/tests/data/") && self.has_extension("log")
    }

    pub fn lex(&self) -> Lexed {
        lex(&self.text)
    }

    /// The tokens of the code that runs outside tests.
    pub fn shipped_tokens(&self) -> Vec<Token> {
        if self.is_test() { Vec::new() } else { super::items::without_tests(self.lex().tokens) }
    }

    pub fn finding(&self, line: usize, what: impl Into<String>) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into() }
    }

    /// Whether the path is one of the doors: an exact path, a folder with `/` at its end, or a
    /// beginning with `*` at its end.
    pub fn is_one_of(&self, doors: &[&str]) -> bool {
        doors.iter().any(|door| match door.strip_suffix('*') {
            Some(beginning) => self.path.starts_with(beginning),
            None if door.ends_with('/') => self.path.starts_with(door),
            None => self.path == *door,
        })
    }
}
