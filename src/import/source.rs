//! One file of an import: read, parsed, and checked against what no server would take.
//!
//! It sends nothing. INVARIANT: its entries never go back in time and never lie ahead of now, and
//! every fault names file and line.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::Path;

use hansard_engine::types::TimeUs;
use jiff::Timestamp;

use super::batch::Place;
use super::{EntryKind, NICK_BYTES_MAX, SOURCE_BYTES_MAX, irc_log, jsonl, reason};
use crate::cli::{DateOf, ImportFormat};
use crate::exits::{Exit, Failure};
use crate::files;

/// Entries may be dated this far ahead: clocks differ, and days begin elsewhere earlier.
const AHEAD_US_MAX: i64 = TimeUs::DAY_US;

/// An entry on its way into a room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item<'a> {
    /// Its line, from 1.
    pub line: u32,
    /// The first byte behind it: what is consumed with it.
    pub end: u64,
    /// Its kind.
    pub kind: EntryKind,
    /// When it was said.
    pub time_us: i64,
    /// Who said it; an event may have nobody.
    pub nick: Option<Cow<'a, str>>,
    /// What was said.
    pub body: Cow<'a, str>,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Contents<'a> {
    /// In the order of the file.
    pub items: Vec<Item<'a>>,
    /// All lines.
    pub lines: u64,
    /// Lines that are no entry, by reason.
    pub skipped: BTreeMap<&'static str, u64>,
    /// Falls of the clock taken for midnight.
    pub midnights: u64,
    /// Falls taken for a twelve-hour clock.
    pub twelve_hour: u64,
    /// Lines raised to the time of the line before.
    pub clamped: u64,
}

/// A file's bytes under its name without folders.
#[derive(Debug)]
pub struct Source {
    /// The name.
    pub name: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Source {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let name = path.file_name().and_then(|name| name.to_str());
        let name = name.ok_or_else(|| {
            Failure::new(Exit::Data, format!("file name is not UTF-8 path={path:?}"))
        })?;
        let bytes = files::read_source(path, SOURCE_BYTES_MAX)?;
        Ok(Self { name: name.to_owned(), bytes })
    }

    /// Reads the entries out of it.
    pub fn contents(
        &self,
        format: ImportFormat,
        date_of: DateOf,
        now: Timestamp,
    ) -> Result<Contents<'_>, Failure> {
        let mut contents = match format {
            ImportFormat::IrcLog => self.irc_log(date_of)?,
            ImportFormat::Jsonl => self.jsonl()?,
        };
        let before = contents.items.len();
        contents.items.retain(|item| item.nick.as_deref().is_none_or(can_be_a_nick));
        let dropped = u64::try_from(before - contents.items.len()).unwrap_or(u64::MAX);
        if dropped > 0 {
            *contents.skipped.entry(reason::BAD_NICK).or_default() += dropped;
        }
        self.check_times(&contents.items, now)?;
        Ok(contents)
    }

    fn irc_log(&self, date_of: DateOf) -> Result<Contents<'_>, Failure> {
        let date_of = match date_of {
            DateOf::First => irc_log::DateOf::First,
            DateOf::Last => irc_log::DateOf::Last,
        };
        let parsed = irc_log::parse(&self.name, &self.bytes, date_of)
            .map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        let items = parsed.entries.into_iter().map(|entry| Item {
            line: entry.line,
            end: entry.end,
            kind: entry.kind,
            time_us: entry.time_us,
            nick: entry.nick.map(Cow::Borrowed),
            body: Cow::Borrowed(entry.body),
        });
        Ok(Contents {
            items: items.collect(),
            lines: parsed.lines,
            skipped: parsed.skipped,
            midnights: parsed.midnights,
            twelve_hour: parsed.twelve_hour,
            clamped: parsed.clamped,
        })
    }

    fn jsonl(&self) -> Result<Contents<'_>, Failure> {
        let parsed = jsonl::parse(&self.name, &self.bytes)
            .map_err(|error| Failure::new(Exit::Data, error.to_string()))?;
        let items = parsed.entries.into_iter().map(|entry| Item {
            line: entry.line,
            end: entry.end,
            kind: entry.kind,
            time_us: entry.time_us,
            nick: entry.author.map(|author| Cow::Owned(author.name)),
            body: Cow::Owned(entry.body),
        });
        Ok(Contents {
            items: items.collect(),
            lines: parsed.lines,
            skipped: parsed.skipped,
            ..Contents::default()
        })
    }

    fn check_times(&self, items: &[Item<'_>], now: Timestamp) -> Result<(), Failure> {
        let latest = now.as_microsecond().saturating_add(AHEAD_US_MAX);
        let mut newest = TimeUs::FLOOR.0;
        for item in items {
            let wrong = if item.time_us > latest {
                "entry is dated in the future"
            } else if item.time_us < TimeUs::FLOOR.0 {
                "entry is dated before the year 1"
            } else if item.time_us < newest {
                "entry is older than the one before it"
            } else {
                newest = item.time_us;
                continue;
            };
            return Err(self.at(item, wrong));
        }
        Ok(())
    }

    /// A file that is not what the room has consumed of it.
    pub fn differs(&self, what: &str, place: &Place) -> Failure {
        let (file, bytes) = (&self.name, place.bytes);
        Failure::new(Exit::Data, format!("conflict: {what} file={file:?} consumed_bytes={bytes}"))
    }

    /// A fault of one entry.
    pub fn at(&self, item: &Item<'_>, what: &str) -> Failure {
        let (file, line, time) = (&self.name, item.line, show(item.time_us));
        Failure::new(Exit::Data, format!("{what} file={file:?} line={line} time={time}"))
    }
}

/// Whether the server takes this as an author's name.
fn can_be_a_nick(nick: &str) -> bool {
    (1..=NICK_BYTES_MAX).contains(&nick.len()) && !nick.chars().any(char::is_control)
}

/// A time as the API writes it.
pub fn show(time_us: i64) -> String {
    Timestamp::from_microsecond(time_us)
        .map_or_else(|_| format!("{time_us}us"), |time| format!("{time:.6}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2008-04-27T12:00:00Z";

    fn source(name: &str, text: &str) -> Source {
        Source { name: name.into(), bytes: text.as_bytes().to_vec() }
    }

    fn refused(source: &Source, format: ImportFormat) -> String {
        let failure = source.contents(format, DateOf::First, NOW.parse().unwrap()).unwrap_err();
        assert_eq!(failure.exit, Exit::Data);
        failure.text
    }

    fn line(time: &str, name: &str) -> String {
        format!(
            concat!(
                r#"{{"seq":1,"time":"{time}","recorded":"{time}","#,
                r#""author":{{"id":"p1","name":"{name}"}},"kind":"text","body":"b"}}"#
            ),
            time = time,
            name = name
        )
    }

    #[test]
    fn both_formats_give_the_same_items() {
        let log = source("2008-04-27.log", "[06:00] <will> hi\n=== x\nodd\n");
        let contents =
            log.contents(ImportFormat::IrcLog, DateOf::First, NOW.parse().unwrap()).unwrap();
        let hi = Item {
            line: 1,
            end: 18,
            kind: EntryKind::Text,
            time_us: 1_209_276_000_000_000,
            nick: Some("will".into()),
            body: "hi".into(),
        };
        assert_eq!(contents.items[0], hi);
        assert_eq!((contents.lines, contents.items[1].nick.is_none()), (3, true));
        assert_eq!(contents.skipped, BTreeMap::from([(reason::UNRECOGNISED, 1)]));

        let text = line("2008-04-27T06:00:00Z", "will");
        let export = source("x", &text);
        let contents =
            export.contents(ImportFormat::Jsonl, DateOf::First, NOW.parse().unwrap()).unwrap();
        let end = u64::try_from(text.len()).unwrap();
        assert_eq!(contents.items, [Item { end, body: "b".into(), ..hi }]);
    }

    #[test]
    fn times_ahead_and_times_backwards_name_file_and_line() {
        let future = source("2008-04-28.log", "[11:59] <a> x\n[12:01] <a> x\n");
        assert_eq!(
            refused(&future, ImportFormat::IrcLog),
            "entry is dated in the future file=\"2008-04-28.log\" line=2 \
             time=2008-04-28T12:01:00.000000Z"
        );
        let (a, b) = (line("2008-04-27T06:00:00Z", "a"), line("2008-04-27T05:00:00Z", "a"));
        let back = refused(&source("e.jsonl", &format!("{a}\n{b}\n")), ImportFormat::Jsonl);
        assert!(back.starts_with("entry is older than the one before it file=\"e.jsonl\" line=2"));
        let ancient = refused(&source("0000-01-01.log", "[11:59] <a> x\n"), ImportFormat::IrcLog);
        assert!(ancient.starts_with("entry is dated before the year 1"), "{ancient}");
        assert!(refused(&source("today", "x"), ImportFormat::IrcLog).contains("gives no day"));
    }

    #[test]
    fn nicks_that_no_server_takes_are_counted() {
        let export = line("2008-04-27T06:00:00Z", "a\\u0001b");
        let source = source("x", &export);
        let contents =
            source.contents(ImportFormat::Jsonl, DateOf::First, NOW.parse().unwrap()).unwrap();
        assert!(contents.items.is_empty());
        assert_eq!(contents.skipped, BTreeMap::from([(reason::BAD_NICK, 1)]));
    }

    #[test]
    fn times_are_shown_with_six_digits() {
        assert_eq!(show(1_209_276_000_000_000), "2008-04-27T06:00:00.000000Z");
        assert_eq!(show(-1), "1969-12-31T23:59:59.999999Z");
    }
}
