//! For every rule a file that keeps it and files that break it, with the lines where they do.
//!
//! The samples are texts in this file; the rules see literals as blanks, so tidy does not trip over
//! them.

use super::source::{Finding, Source};
use super::{code, layout, manifests};

const HEADER: &str = "//! One.\n//! Two.\n";

fn source(path: &str, text: &str) -> Source {
    Source { path: path.to_owned(), text: text.to_owned() }
}

/// The lines where the rule finds something.
#[track_caller]
fn check(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str, lines: &[usize]) {
    let found = rule(&source(path, text));
    let at: Vec<_> = found.iter().map(|finding| finding.line).collect();
    assert_eq!(at, lines, "{path}: {found:?}\n{text}");
}

#[test]
fn a_finding_names_file_and_line() {
    let finding = source("engine/src/a.rs", "").finding(7, "wrong");
    assert_eq!(finding.to_string(), "engine/src/a.rs:7: wrong");
}

#[test]
fn lengths() {
    let rule = layout::lengths;
    let file = |lines| "//\n".repeat(lines);
    check(rule, "src/a.rs", &file(800), &[]);
    check(rule, "src/a.rs", &file(801), &[801]);
    check(rule, "a.md", &file(801), &[]);

    let function = |lines: usize| format!("\nfn long() {{\n{}}}\n", "{}\n".repeat(lines - 2));
    check(rule, "src/a.rs", &function(120), &[]);
    check(rule, "src/a.rs", &function(121), &[2]);

    let table = "// tidy-allow: a table read as one\n";
    check(rule, "src/a.rs", &format!("{table}{}", function(121)), &[]);
    check(rule, "src/a.rs", &format!("{table}{}", file(801)), &[]);
    check(rule, "src/a.rs", table, &[1]);
    check(rule, "src/a.rs", &format!("// tidy-allow:\n{}", function(121)), &[1]);
    check(rule, "src/a.rs", &format!("// tidy-allow a table read so\n{}", function(121)), &[1]);
    // In a document it explains the mark, in a literal it is somebody else's text.
    check(rule, "src/a.rs", &format!("/{table}{}", function(121)), &[3]);
    check(rule, "src/a.rs", &format!("const A: &str = \"{table}\";{}", function(121)), &[3]);
}

#[test]
fn inline_tests() {
    let tests = |lines: usize| {
        format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{}}}\n", "//\n".repeat(lines - 3))
    };
    check(layout::inline_tests, "src/a.rs", &tests(150), &[]);
    check(layout::inline_tests, "src/a.rs", &tests(151), &[2]);
}

#[test]
fn line_length() {
    let rule = layout::line_length;
    check(rule, "src/a.rs", &format!("\n{}\n", "é".repeat(100)), &[]);
    check(rule, "src/a.rs", &format!("\n{}\n", "é".repeat(101)), &[2]);
    check(rule, "src/a.rs", &format!("// https://example.com/{}", "a".repeat(100)), &[]);
    check(rule, "a.md", &"a".repeat(101), &[]);
}

#[test]
fn header() {
    let rule = layout::header;
    check(rule, "engine/src/a.rs", HEADER, &[]);
    check(rule, "engine/src/a.rs", "//! One.\n//!\n//! Two.\nfn f() {}", &[]);
    check(rule, "engine/src/a.rs", "//! One.\n//!\nfn f() {}", &[1]);
    check(rule, "engine/src/a.rs", "", &[1]);
    check(rule, "fuzz/fuzz_targets/a.rs", &format!("#![no_main]\n{HEADER}"), &[1]);
    check(rule, "Makefile", "", &[]);
}

#[test]
fn folders() {
    for path in ["src/a", "engine/a", "server/a", "tools/a", "benches/a", "fuzz/a", ".ci/a", "a"] {
        check(layout::folders, path, "", &[]);
    }
    check(layout::folders, "docs/a.md", "", &[1]);
    check(layout::folders, "tests/a.rs", "", &[1]);
}

#[test]
fn readme() {
    check(layout::readme, "README.md", &"a\n".repeat(150), &[]);
    check(layout::readme, "README.md", &"a\n".repeat(151), &[151]);
    check(layout::readme, "server/README.md", &"a\n".repeat(151), &[]);
}

#[test]
fn documents() {
    let all = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "LICENSE",
        "README.md",
        "engine/FORMAT.md",
        "server/OPERATIONS.md",
        "server/PROTOCOL.md",
    ];
    let written = |without: &str, text: &str| {
        let sources = all.map(|path| source(path, if path == without { text } else { "words" }));
        layout::documents(&sources).into_iter().map(|finding| finding.path).collect::<Vec<_>>()
    };
    assert_eq!(written("", ""), [""; 0]);
    for path in all {
        assert_eq!(written(path, " \n"), [path]);
    }
    assert_eq!(layout::documents(&[]).len(), all.len());
}

#[test]
fn doors_for_files() {
    let rule = code::doors;
    for line in [
        "use std::fs;",
        "use std::{fs::File, io};",
        "fs::read(path)",
        "tokio::fs::read(path)",
        "File::open(path)",
        "File::create(path)",
        "OpenOptions::new()",
        "rustix::fs::statvfs(path)",
    ] {
        let text = format!("\n{line}\n");
        for path in
            ["engine/src/journal.rs", "server/src/http/a.rs", "src/main.rs", "tools/src/a.rs"]
        {
            check(rule, path, &text, &[2]);
        }
        for path in [
            "engine/src/storage/disk.rs",
            "engine/src/catalog/rocks.rs",
            "server/src/files.rs",
            "server/src/files/upload.rs",
            "server/src/keys.rs",
            "src/files.rs",
            "src/tests/crash.rs",
            "engine/src/journal_tests.rs",
            "benches/a.rs",
        ] {
            check(rule, path, &text, &[]);
        }
        check(rule, "engine/src/a.rs", &format!("#[cfg(test)]\nmod tests {{ {line} }}"), &[]);
    }
    check(rule, "engine/src/a.rs", "// std::fs\nlet a = \"std::fs::read\"; b.fs; offs::x()", &[]);
}

#[test]
fn doors_for_clocks_and_randomness() {
    let rule = code::doors;
    let check_all = |text: &str, door: &str| {
        for path in ["engine/src/commit.rs", "server/src/http/a.rs", "tools/src/a.rs"] {
            check(rule, path, text, &[1]);
        }
        check(rule, door, text, &[]);
        check(rule, "src/main.rs", text, &[]);
    };
    for text in ["SystemTime::now()", "jiff::Timestamp::now()", "clock_gettime(x)"] {
        check_all(text, "engine/src/storage/clock.rs");
        check_all(text, "server/src/clock.rs");
        check(rule, "server/src/metrics.rs", text, &[1]);
    }
    for text in ["Instant::now()", "std::time::Instant::now()"] {
        check_all(text, "engine/src/storage/clock.rs");
        check_all(text, "server/src/metrics.rs");
        check_all(text, "engine/src/stats.rs");
    }
    for text in ["getrandom::fill(x)", "OsRng", "rand::random()"] {
        check_all(text, "server/src/secrets.rs");
    }
    check(rule, "engine/src/a.rs", "fn f(at: Instant) -> Duration { at.elapsed() }", &[]);
}

#[test]
fn doors_for_maps_and_unsafe() {
    let map = "engine/src/storage/map.rs";
    let text = "\nunsafe { memmap2::Mmap::map(&file) }";
    check(code::doors, map, text, &[]);
    check(code::doors, "engine/src/storage/disk.rs", text, &[2]);
    check(code::unsafety, map, text, &[]);
    check(code::unsafety, "engine/src/storage/disk.rs", text, &[2]);
    check(code::unsafety, "src/tests/crash.rs", text, &[2]);
    check(code::unsafety, "src/a.rs", "#![allow(unsafe_code)]", &[1]);
    check(code::unsafety, "src/a.rs", "#![deny(unsafe_code)] // unsafe", &[]);
}

#[test]
fn channels() {
    for line in [
        "tokio::sync::mpsc::unbounded_channel()",
        "std::sync::mpsc::channel()",
        "mpsc::channel::<Vec<u8>>()",
        "mpsc::channel::<()>()",
        "let (tx, rx) = channel();",
        "crossbeam_channel::unbounded()",
        "flume::unbounded::<u8>()",
    ] {
        check(code::channels, "server/src/a.rs", &format!("\n{line}"), &[2]);
    }
    for line in [
        "mpsc::channel(8)",
        "mpsc::channel::<Vec<u8>>(LIMIT)",
        "mpsc::channel::<()>(1)",
        "mpsc::sync_channel(8)",
        "oneshot::channel_of()",
        "irc.channel()",
        "fn channel() {}",
        "let unbounded = 1; // unbounded_channel()",
    ] {
        check(code::channels, "server/src/a.rs", line, &[]);
    }
}

#[test]
fn marks() {
    let rule = code::marks;
    for word in code::MARKS {
        check(rule, "src/a.rs", &format!("\n// later: {word}(me)"), &[2]);
        check(rule, "src/a.rs", &format!("/*\n{word}\n*/"), &[2]);
        check(rule, "README.md", &format!("\n\n{word}: write"), &[3]);
        check(rule, "src/a.rs", &format!("let a = \"{word}\"; // {word}S"), &[]);
        check(rule, "server/tests/data/a.log", word, &[]);
    }
    for name in ["todo", "unimplemented", "dbg"] {
        check(rule, "src/a.rs", &format!("\n{name}!(x)"), &[2]);
        check(rule, "src/a.rs", &format!("// {name}!\n{name}(x) != 1"), &[]);
    }
}

#[test]
fn ignored_tests() {
    let rule = code::ignored_tests;
    check(rule, "src/a.rs", "#[test]\n#[ignore]\nfn f() {}", &[2]);
    check(rule, "src/a.rs", "#[ignore = \"slow\"]\nfn f() {}", &[1]);
    check(rule, "src/a.rs", "#[cfg_attr(unix, ignore)]\nfn f() {}", &[1]);
    check(rule, "src/a.rs", "// #[ignore]\n#[test]\nfn ignore() {}", &[]);
}

#[test]
fn machine_paths() {
    for folder in ["work", "farm"] {
        for line in
            [format!("x = \"/{folder}/main\""), format!("/{folder}/a"), format!("-I/{folder}/a")]
        {
            let clean = line.starts_with("-I");
            check(code::machine_paths, "a.toml", &line, if clean { &[] } else { &[1] });
        }
        for line in
            [format!("https://a.org/{folder}/b"), format!("../{folder}/b"), folder.to_owned()]
        {
            check(code::machine_paths, "a.md", &line, &[]);
        }
        check(code::machine_paths, "server/tests/data/a.log", &format!("/{folder}/a"), &[]);
    }
}

#[test]
fn reasons() {
    let rule = manifests::reasons;
    let workspace =
        |entries: &str| format!("[workspace.dependencies]\n{entries}\n[profile]\na = 1");
    for entries in [
        "bytes = \"1\" # shared slices",
        "# Shared slices of frames.\nbytes = \"1\"",
        "bytes = { version = \"1\", features = [\n  \"std\",\n] } # slices",
        "hansard-engine = { path = \"engine\" }",
    ] {
        check(rule, "Cargo.toml", &workspace(entries), &[]);
    }
    check(rule, "Cargo.toml", &workspace("bytes = \"1#2\""), &[2]);
    check(rule, "Cargo.toml", &workspace("# Storage\nbytes = \"1\""), &[3]);
    check(rule, "Cargo.toml", &workspace("# Shared slices of frames.\n\nbytes = \"1\""), &[4]);
    check(rule, "Cargo.toml", &workspace("a = \"1\" # one\nb = \"1\"\nc = [\n\"{\"\n]"), &[3, 4]);
    check(rule, "Cargo.toml", "[workspace.dependencies.a]\nversion = \"1\"", &[1]);

    let member = "[dependencies]\nbytes.workspace = true\nserde = { workspace = true }\n";
    check(rule, "engine/Cargo.toml", member, &[]);
    check(rule, "fuzz/Cargo.toml", "[package]\nname = \"f\"\n[dev-dependencies]\na = \"1\"", &[4]);
}

#[test]
fn floors() {
    let metadata = |dependency: &str| {
        let dependencies = serde_json::json!([{"name": dependency, "kind": null}]);
        let package = |name: &str| serde_json::json!({"name": name, "dependencies": dependencies});
        let names = ["hansard-engine", "hansard-server", "hansard-tool"];
        serde_json::json!({"packages": names.map(package)})
    };
    assert_eq!(manifests::floors(&metadata("bytes")), [""; 0]);
    assert_eq!(manifests::floors(&metadata("tokio")), ["hansard-engine must not depend on tokio"]);
    assert_eq!(manifests::floors(&metadata("hansard")).len(), 3);
    assert_eq!(manifests::floors(&metadata("hansard-server")).len(), 2);
    assert_eq!(manifests::floors(&serde_json::json!({})).len(), 3, "nothing was looked at");
}
