//! Rules about shape: lengths, headers, folders, documents.
//!
//! `LIMITS` may be passed by a file whose parts must be read together: one plain comment in it says
//! `tidy-allow` and the reason.

use super::items::{functions, test_items};
use super::lexer::Lexed;
use super::source::{Finding, Source};

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 120;
const INLINE_TESTS_LINES_MAX: usize = 150;
const LINE_CHARS_MAX: usize = 100;
const HEADER_LINES_MIN: usize = 2;
const README_LINES_MAX: usize = 150;
const REASON_WORDS_MIN: usize = 3;

const FOLDERS: [&str; 6] = ["benches", "engine", "fuzz", "server", "src", "tools"];

const DOCUMENTS: [&str; 7] = [
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "engine/FORMAT.md",
    "server/OPERATIONS.md",
    "server/PROTOCOL.md",
];

/// Files and functions are short, unless the file says why not.
pub fn lengths(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let lexed = source.lex();
    let too_long = too_long(source, &lexed);
    match allowance(source, &lexed) {
        None => too_long,
        Some(Err(wrong)) => vec![wrong],
        Some(Ok(line)) if too_long.is_empty() => {
            vec![source.finding(line, "nothing here needs this tidy-allow")]
        }
        Some(Ok(_)) => Vec::new(),
    }
}

fn too_long(source: &Source, lexed: &Lexed) -> Vec<Finding> {
    let mut found = Vec::new();
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(source.finding(lines, format!("{lines} lines, max {FILE_LINES_MAX}")));
    }
    for function in functions(&lexed.tokens).iter().filter(|f| f.lines > FUNCTION_LINES_MAX) {
        let what =
            format!("fn {} has {} lines, max {FUNCTION_LINES_MAX}", function.name, function.lines);
        found.push(source.finding(function.line, what));
    }
    found
}

/// The line of the file's `tidy-allow` comment, or what is wrong with it.
fn allowance(source: &Source, lexed: &Lexed) -> Option<Result<usize, Finding>> {
    lexed.comments.iter().filter(|comment| !comment.is_doc()).find_map(|comment| {
        let said = comment.text.trim_start_matches(['/', '*']).trim_start();
        let reason = said.strip_prefix("tidy-allow")?.strip_prefix(':').unwrap_or_default();
        Some(if reason.split_whitespace().count() < REASON_WORDS_MIN {
            Err(source.finding(comment.line, "a tidy-allow needs a reason, `tidy-allow: reason`"))
        } else {
            Ok(comment.line)
        })
    })
}

/// Longer inline tests belong in a sibling file.
pub fn inline_tests(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let tokens = source.lex().tokens;
    let spans = test_items(&tokens).into_iter().filter_map(|range| {
        let part = tokens.get(range)?;
        Some((part.first()?.line, part.last()?.line))
    });
    spans
        .map(|(first, last)| (first, last - first + 1))
        .filter(|&(_, lines)| lines > INLINE_TESTS_LINES_MAX)
        .map(|(first, lines)| {
            let what = format!("{lines} lines of inline tests, max {INLINE_TESTS_LINES_MAX}");
            source.finding(first, what)
        })
        .collect()
}

/// Lines fit the page; an address cannot be broken.
pub fn line_length(source: &Source) -> Vec<Finding> {
    if !source.is_rust() {
        return Vec::new();
    }
    let lines = (1..).zip(source.text.lines());
    lines
        .map(|(number, line)| (number, line.chars().count(), line.contains("://")))
        .filter(|&(_, chars, address)| chars > LINE_CHARS_MAX && !address)
        .map(|(number, chars, _)| {
            source.finding(number, format!("{chars} characters, max {LINE_CHARS_MAX}"))
        })
        .collect()
}

/// Every file begins with what it is.
pub fn header(source: &Source) -> Vec<Finding> {
    let header = source.text.lines().take_while(|line| line.starts_with("//!"));
    let said = header.filter(|line| line.len() > "//!".len()).count();
    if source.is_rust() && said < HEADER_LINES_MIN {
        return vec![source.finding(1, format!("begins with {said} lines of `//!`, min 2"))];
    }
    Vec::new()
}

/// The top-level folders are these and no others.
pub fn folders(source: &Source) -> Vec<Finding> {
    match source.path.split_once('/') {
        Some((folder, _)) if !folder.starts_with('.') && !FOLDERS.contains(&folder) => {
            vec![source.finding(1, format!("top-level folder {folder}, allowed are {FOLDERS:?}"))]
        }
        _ => Vec::new(),
    }
}

/// The README is read in one go.
pub fn readme(source: &Source) -> Vec<Finding> {
    let lines = source.text.lines().count();
    if source.path == "README.md" && lines > README_LINES_MAX {
        return vec![source.finding(lines, format!("{lines} lines, max {README_LINES_MAX}"))];
    }
    Vec::new()
}

/// Each document exists and says something.
pub fn documents(sources: &[Source]) -> Vec<Finding> {
    let written = |path: &str| {
        sources.iter().any(|source| source.path == path && !source.text.trim().is_empty())
    };
    let missing = DOCUMENTS.into_iter().filter(|path| !written(path));
    missing
        .map(|path| Finding { path: path.to_owned(), line: 1, what: "missing or empty".to_owned() })
        .collect()
}
