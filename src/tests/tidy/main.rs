//! Tidy: the rules of the house that neither the compiler nor clippy can check.
//!
//! Each rule is a function from files to findings and one test here that runs it over the whole
//! repository. `samples.rs` shows every rule a file that breaks it, so that none of them is a check
//! that cannot fail.

mod code;
mod items;
mod layout;
mod lexer;
mod manifests;
mod samples;
mod source;

use std::process::Command;

use source::{Finding, Source, repository, top};

#[track_caller]
fn holds(rule: fn(&Source) -> Vec<Finding>) {
    none(&repository().iter().flat_map(rule).collect::<Vec<_>>());
}

#[track_caller]
fn none(findings: &[impl std::fmt::Display]) {
    let list: Vec<_> = findings.iter().map(ToString::to_string).collect();
    assert!(list.is_empty(), "{} findings\n{}", list.len(), list.join("\n"));
}

#[test]
fn the_rules_see_the_repository() {
    let sources = repository();
    for path in ["Cargo.toml", "Makefile", "src/main.rs", "src/tests/tidy/main.rs"] {
        assert!(sources.iter().any(|source| source.path == path), "{path} is not listed");
    }
}

#[test]
fn files_and_functions_are_short() {
    holds(layout::lengths);
}

#[test]
fn inline_tests_are_short() {
    holds(layout::inline_tests);
}

#[test]
fn lines_are_short() {
    holds(layout::line_length);
}

#[test]
fn every_file_says_what_it_is() {
    holds(layout::header);
}

#[test]
fn top_level_folders_are_the_known_ones() {
    holds(layout::folders);
}

#[test]
fn the_readme_is_short() {
    holds(layout::readme);
}

#[test]
fn the_documents_are_written() {
    none(&layout::documents(&repository()));
}

#[test]
fn files_clocks_and_randomness_stay_behind_their_doors() {
    holds(code::doors);
}

#[test]
fn unsafe_stays_behind_its_door() {
    holds(code::unsafety);
}

#[test]
fn no_channel_is_unbounded() {
    holds(code::channels);
}

#[test]
fn no_work_is_left_behind() {
    holds(code::marks);
}

#[test]
fn no_test_is_ignored() {
    holds(code::ignored_tests);
}

#[test]
fn no_path_of_one_machine() {
    holds(code::machine_paths);
}

#[test]
fn every_dependency_has_a_reason() {
    holds(manifests::reasons);
}

#[test]
fn packages_depend_downwards() {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--no-deps", "--format-version", "1", "--offline"]);
    let output = cargo.current_dir(top()).output().expect("cargo runs");
    assert!(output.status.success(), "cargo: {}", String::from_utf8_lossy(&output.stderr));
    let metadata = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    none(&manifests::floors(&metadata));
}
