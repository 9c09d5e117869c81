//! Rules about words and names in the code: doors, channels, marks, paths of development machines.
//!
//! They look at tokens, so a word in a literal or a comment breaks no rule about code. A name that
//! was imported under another one is not seen.

use super::items::{attributes, find};
use super::lexer::Token;
use super::source::{Finding, Source};

/// What only some files may name.
struct Door {
    what: &'static str,
    names: &'static [&'static [&'static str]],
    files: &'static [&'static str],
}

const DOORS: [Door; 5] = [
    Door {
        what: "the file system",
        names: &[
            &["std", "::", "fs"],
            &["tokio", "::", "fs"],
            &["rustix", "::", "fs"],
            &["fs", "::"],
            &["File", "::", "open"],
            &["File", "::", "create"],
            &["OpenOptions"],
        ],
        files: &[
            "engine/src/storage/",
            "engine/src/catalog/rocks.rs",
            "server/src/files*",
            "server/src/keys*",
            "src/files.rs",
        ],
    },
    Door {
        what: "the wall clock",
        names: &[
            &["SystemTime", "::", "now"],
            &["Timestamp", "::", "now"],
            &["Zoned", "::", "now"],
            &["clock_gettime"],
        ],
        files: &["engine/src/storage/clock.rs", "server/src/clock.rs", "src/"],
    },
    Door {
        what: "the stopwatch",
        names: &[&["Instant", "::", "now"]],
        files: &[
            "engine/src/stats.rs",
            "engine/src/storage/clock.rs",
            "server/src/clock.rs",
            "server/src/metrics.rs",
            "src/",
        ],
    },
    Door {
        what: "randomness",
        names: &[&["getrandom"], &["OsRng"], &["thread_rng"], &["rand", "::"]],
        files: &["engine/src/storage/clock.rs", "server/src/secrets.rs", "src/"],
    },
    Door {
        what: "memory maps",
        names: &[&["memmap2"], &["Mmap"], &["MmapOptions"]],
        files: &["engine/src/storage/map.rs"],
    },
];

/// `unsafe` has one file, tests included.
const UNSAFE_FILES: [&str; 1] = ["engine/src/storage/map.rs"];

/// Words that leave work behind; it belongs in an issue.
pub const MARKS: [&str; 4] =
    [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X"), concat!("HA", "CK")];
const MACROS: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Folders of development machines.
const MACHINE_FOLDERS: [&str; 2] = ["work", "farm"];

/// Files, clocks, randomness and maps each have a door.
pub fn doors(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let tokens = source.shipped_tokens();
    let mut found = Vec::new();
    for door in DOORS.iter().filter(|door| !source.is_one_of(door.files)) {
        let mut lines: Vec<_> = door.names.iter().flat_map(|name| find(&tokens, name)).collect();
        lines.sort_unstable();
        lines.dedup();
        let what = format!("{} is only for {:?}", door.what, door.files);
        found.extend(lines.into_iter().map(|line| source.finding(line, what.clone())));
    }
    found
}

/// Nothing is unsafe outside the door for maps.
pub fn unsafety(source: &Source) -> Vec<Finding> {
    if !source.is_rust() || source.is_one_of(&UNSAFE_FILES) {
        return Vec::new();
    }
    let tokens = source.lex().tokens;
    let allowed = attributes(&tokens).into_iter().filter(|attribute| {
        attribute.text.contains("unsafe_code") && attribute.text.contains("allow(")
    });
    let lines = find(&tokens, &["unsafe"]).into_iter();
    lines
        .chain(allowed.map(|attribute| attribute.line))
        .map(|line| source.finding(line, format!("unsafe is only for {UNSAFE_FILES:?}")))
        .collect()
}

/// Every queue has a maximum.
pub fn channels(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let tokens = source.lex().tokens;
    let unbounded = tokens.iter().enumerate().filter(|&(at, token)| match token.text.as_str() {
        "unbounded_channel" => true,
        "unbounded" => is_call(&tokens, at),
        "channel" => {
            // A oneshot holds one value; that is its maximum.
            let oneshot = at >= 2 && tokens[at - 2].text == "oneshot";
            !oneshot && is_call(&tokens, at) && has_no_argument(&tokens, at)
        }
        _ => false,
    });
    unbounded.map(|(_, token)| source.finding(token.line, "a channel without a maximum")).collect()
}

/// Whether a free function is called here, or imported under the name it has.
fn is_call(tokens: &[Token], at: usize) -> bool {
    let is = |at: Option<usize>, texts: &[&str]| {
        at.and_then(|at| tokens.get(at)).is_some_and(|token| texts.contains(&token.text.as_str()))
    };
    !is(at.checked_sub(1), &[".", "fn"]) && is(Some(at + 1), &["(", "::"])
}

/// Whether `name()` or `name::<T>()` stands here.
fn has_no_argument(tokens: &[Token], at: usize) -> bool {
    let mut behind = tokens.get(at + 1..).unwrap_or_default().iter();
    let mut depth = 0_usize;
    let open = behind.find(|token| {
        match token.text.as_str() {
            "<" => depth += 1,
            ">" => depth = depth.saturating_sub(1),
            _ => {}
        }
        depth == 0 && token.text == "("
    });
    open.is_some() && behind.next().is_some_and(|token| token.text == ")")
}

/// No mark of work left behind, in code, comments or any other file.
pub fn marks(source: &Source) -> Vec<Finding> {
    let finding = |line, word: &str| source.finding(line, format!("{word} belongs in an issue"));
    let in_text = |first: usize, text: &str| {
        let mut found = Vec::new();
        for (line, text) in (first..).zip(text.lines()) {
            let mut words = text.split(|char: char| char != '_' && !char.is_alphanumeric());
            found.extend(words.find(|word| MARKS.contains(word)).map(|word| finding(line, word)));
        }
        found
    };
    if source.is_data() {
        return Vec::new();
    }
    if !source.is_rust() {
        return in_text(1, &source.text);
    }
    let lexed = source.lex();
    let mut found: Vec<_> =
        lexed.comments.iter().flat_map(|comment| in_text(comment.line, &comment.text)).collect();
    for name in MACROS {
        found.extend(find(&lexed.tokens, &[name, "!"]).into_iter().map(|line| finding(line, name)));
    }
    found
}

/// A test that does not run is no test.
pub fn ignored_tests(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let is_ignore = |text: &str| {
        let conditional = text.starts_with("cfg_attr(") && text.contains(",ignore");
        text == "ignore" || text.starts_with("ignore=") || conditional
    };
    let attributes = attributes(&source.lex().tokens).into_iter();
    attributes
        .filter(|attribute| is_ignore(&attribute.text))
        .map(|attribute| source.finding(attribute.line, "an ignored test"))
        .collect()
}

/// The repository works where it is cloned, whoever cloned it.
pub fn machine_paths(source: &Source) -> Vec<Finding> {
    if source.is_data() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        for folder in MACHINE_FOLDERS {
            let path = format!("/{folder}/");
            let begins = |at: usize| {
                let before = line.get(..at).and_then(|text| text.chars().next_back());
                !before.is_some_and(|char| char.is_alphanumeric() || "._-~/}".contains(char))
            };
            if line.match_indices(&path).any(|(at, _)| begins(at)) {
                found.push(source.finding(number, format!("a path of one machine, {path}")));
            }
        }
    }
    found
}
