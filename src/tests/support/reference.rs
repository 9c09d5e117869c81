//! What the logs of #ubuntu say, read by the plainest means: the other side of every comparison.
//!
//! Written from the words alone and independent of the importer: a day in the name, falls
//! of the clock, three shapes of lines. It knows only the shapes that the corpus has.

use std::path::Path;

use serde_json::Value;

/// An entry as the API must show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub time: String,
    pub kind: &'static str,
    /// Events have none of their own.
    pub nick: Option<String>,
    pub body: String,
}

impl Said {
    /// Whether a message of the API is this entry.
    #[track_caller]
    pub fn check(&self, message: &Value) {
        assert_eq!(message["time"], self.time, "{message}");
        assert_eq!(message["kind"], self.kind, "{message}");
        assert_eq!(message["body"], self.body, "{message}");
        if let Some(nick) = &self.nick {
            assert_eq!(message["author"]["name"], *nick, "{message}");
        }
    }
}

/// What a file holds.
pub struct File {
    pub said: Vec<Said>,
    pub lines: u64,
    pub skipped: u64,
}

/// Reads a file that is named for the day on which it ends.
pub fn read(path: &Path) -> File {
    let bytes = std::fs::read(path).expect("a log can be read");
    let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
    let day: jiff::civil::Date = name.get(..10).and_then(|day| day.parse().ok()).expect("a day");
    let mut lines: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
    if lines.last().is_some_and(|last| last.is_empty()) {
        lines.pop();
    }
    let minutes = running(&lines);
    let days = minutes.iter().max().map_or(0, |last| last / 1440);
    let first_day = day.saturating_sub(jiff::Span::new().days(days));
    let mut said = Vec::new();
    let mut skipped = 0;
    for (line, minute) in lines.iter().zip(minutes) {
        let time = first_day.at(0, 0, 0, 0) + jiff::Span::new().minutes(minute);
        let time = format!("{time:.6}Z");
        match std::str::from_utf8(line).ok().and_then(entry) {
            Some((kind, nick, body)) => said.push(Said { time, kind, nick, body }),
            None => skipped += 1,
        }
    }
    let lines = u64::try_from(lines.len()).expect("few lines");
    File { said, lines, skipped }
}

/// Minutes since the first day began, for each line.
fn running(lines: &[&[u8]]) -> Vec<i64> {
    let clock = |line: &[u8]| -> Option<i64> {
        let text = std::str::from_utf8(line.get(..7)?).ok()?;
        let text = text.strip_prefix('[')?.strip_suffix(']')?;
        let (hour, minute) = text.split_once(':')?;
        let (hour, minute): (i64, i64) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    let mut now = lines.iter().find_map(|line| clock(line)).unwrap_or(0);
    let mut offset = 0;
    let mut minutes = Vec::with_capacity(lines.len());
    for line in lines {
        if let Some(minute) = clock(line) {
            let fall = now - offset - minute;
            if fall >= 13 * 60 {
                offset += 24 * 60;
            } else if fall >= 11 * 60 {
                offset += 12 * 60;
            }
            now = now.max(offset + minute);
        }
        minutes.push(now);
    }
    minutes
}

type Entry = (&'static str, Option<String>, String);

fn entry(line: &str) -> Option<Entry> {
    let line = line.strip_suffix('\r').unwrap_or(line);
    if let Some(event) = line.strip_prefix("===") {
        let body = event.strip_prefix(' ').unwrap_or(event);
        return Some(("event", None, body.to_owned()));
    }
    let rest = line.strip_prefix('[')?.get(6..)?;
    if let Some(rest) = rest.strip_prefix(" <") {
        let (nick, body) = rest.split_once('>')?;
        let body = body.strip_prefix(' ').unwrap_or(body);
        return Some(("text", Some(nick.to_owned()), body.to_owned()));
    }
    let rest = rest.strip_prefix("  * ").or_else(|| rest.strip_prefix(" * "))?;
    let (nick, body) = rest.split_once(' ').unwrap_or((rest, ""));
    (!nick.is_empty()).then(|| ("action", Some(nick.to_owned()), body.to_owned()))
}
