//! The tool as a script meets it: exit codes and where its words go.
//!
//! What it says about real directories is tested with the server's binary, in `src/tests/`. That
//! cargo builds the tool's binary for a test run rests on this file.

use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str], dir: Option<&Path>) -> (Option<i32>, String, String) {
    let mut tool = Command::new(env!("CARGO_BIN_EXE_hansard-tool"));
    let Output { status, stdout, stderr } =
        tool.args(args).args(dir).output().expect("the tool runs");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("it speaks UTF-8");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn a_wrong_command_line_is_2_and_help_is_0() {
    for wrong in [&[][..], &["shout"], &["verify"], &["inspect", "--colour", "dir"]] {
        let (code, stdout, stderr) = run(wrong, None);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(stderr.contains("Usage"), "{wrong:?}: {stderr}");
    }
    for help in [&["--help"][..], &["--version"], &["verify", "--help"]] {
        let (code, stdout, stderr) = run(help, None);
        assert_eq!((code, stderr.as_str()), (Some(0), ""), "{help:?}");
        assert!(!stdout.is_empty());
    }
}

#[test]
fn what_is_no_data_directory_is_3_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let absent = folder.path().join("absent");
    for verb in ["inspect", "verify", "compact"] {
        for dir in [folder.path(), &absent] {
            let (code, stdout, stderr) = run(&[verb, "--json"], Some(dir));
            assert_eq!((code, stdout.as_str()), (Some(3), ""), "{verb} {dir:?}: {stderr}");
            assert!(stderr.starts_with("hansard-tool: "), "{stderr}");
        }
    }
    let left = std::fs::read_dir(folder.path()).expect("the folder is there").count();
    assert_eq!(left, 0, "nothing was made");
}
