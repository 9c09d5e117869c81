//! The text log of an IRC channel, one file a day, read into entries.
//!
//! A pure parser: a file's name and bytes in, entries out, and a reason for every line that is
//! none. It knows nothing of rooms, and two files never meet here.
//!
//! A line carries only hours and minutes. The day is in the file's name, and the rest is inferred
//! from where the clock falls: midnight, the noon of a twelve-hour clock, or a step back.
//!
//! INVARIANT: times never decrease within a file, and every line is an entry or counted as skipped.

use std::collections::BTreeMap;

use thiserror::Error;

use super::civil::days_from_civil;
use super::entry::{
    BODY_BYTES_MAX, EntryKind, Line, NICK_BYTES_MAX, SOURCE_BYTES_MAX, lines, reason,
};

/// Reads one log file. `name` is the file's name without folders.
///
/// # Errors
/// `Name` if the name does not give a day; `TooLarge` beyond [`SOURCE_BYTES_MAX`].
pub fn parse<'a>(name: &str, bytes: &'a [u8], date_of: DateOf) -> Result<Parsed<'a>, Error> {
    let named_day = day_of(name)?;
    if bytes.len() > SOURCE_BYTES_MAX {
        return Err(Error::TooLarge { file: name.to_owned(), bytes: bytes.len() });
    }
    let span = Span::of(bytes);
    let first_day = match date_of {
        DateOf::First => named_day,
        DateOf::Last => named_day - span.last / MINUTES_PER_DAY,
    };

    let mut parsed = Parsed::default();
    let mut clock = Clock::starting_at(span.first);
    for Line { number, text, end } in lines(bytes) {
        parsed.lines += 1;
        let stamp = Stamp::of(text);
        if let Stamp::At(minute) = stamp {
            clock.advance(minute);
        }
        match entry_of(stamp, text) {
            Ok((kind, nick, body)) => {
                let time_us = (first_day * MINUTES_PER_DAY + clock.now) * US_PER_MINUTE;
                parsed.entries.push(Entry { line: number, end, kind, time_us, nick, body });
            }
            Err(reason) => *parsed.skipped.entry(reason).or_default() += 1,
        }
    }
    parsed.midnights = clock.midnights;
    parsed.twelve_hour = clock.twelve_hour;
    parsed.clamped = clock.clamped;
    Ok(parsed)
}

/// Which part of a file that passes midnight its name means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DateOf {
    /// The file starts on the named day.
    First,
    /// The file ends on the named day.
    Last,
}

/// What one file holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// In the order of the file; times never decrease.
    pub entries: Vec<Entry<'a>>,
    /// Lines that are no entry, by a reason of [`reason`].
    pub skipped: BTreeMap<&'static str, u64>,
    /// All lines: entries and skipped ones.
    pub lines: u64,
    /// Falls of the clock that were taken for midnight.
    pub midnights: u64,
    /// Falls that were taken for the noon or midnight of a twelve-hour clock.
    pub twelve_hour: u64,
    /// Lines whose clock stood before the line above, raised to its time.
    pub clamped: u64,
}

/// One line that people said or saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Counted from 1.
    pub line: u32,
    /// Offset of the first byte behind the line and its line feed: what is consumed with it.
    pub end: u64,
    /// What kind of line it is.
    pub kind: EntryKind,
    /// Microseconds since 1970-01-01T00:00:00Z.
    pub time_us: i64,
    /// The author as written; `None` for events.
    pub nick: Option<&'a str>,
    /// May be empty; control characters are kept.
    pub body: &'a str,
}

/// Why a whole file is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The name does not say which day the file is about.
    #[error("log file name gives no day file={file:?} wanted=YYYY-MM-DD.log or YYYY-MM-DD_HH.log")]
    Name {
        /// The name as given.
        file: String,
    },
    /// The file is too large to be read in one piece.
    #[error("log file too large file={file:?} bytes={bytes} max={SOURCE_BYTES_MAX}")]
    TooLarge {
        /// The name as given.
        file: String,
        /// Its size.
        bytes: usize,
    },
}

const MINUTES_PER_DAY: i64 = 24 * 60;
const US_PER_MINUTE: i64 = 60_000_000;
/// A fall from here on is midnight.
const MIDNIGHT_FALL_MIN: i64 = 13 * 60;
/// A fall from here on, and below midnight's, is a twelve-hour clock starting again.
const TWELVE_HOUR_FALL_MIN: i64 = 11 * 60;

/// The day that a name gives, in days since 1970-01-01.
fn day_of(name: &str) -> Result<i64, Error> {
    let day = || {
        let stem = name.strip_suffix(".log")?;
        let (date, hour) = match stem.split_once('_') {
            Some((date, hour)) => (date, Some(hour)),
            None => (stem, None),
        };
        if let Some(hour) = hour
            && digits(hour, 2)? > 23
        {
            return None;
        }
        let (year, month_day) = date.split_once('-')?;
        let (month, day) = month_day.split_once('-')?;
        let small = |text| digits(text, 2).and_then(|value| u8::try_from(value).ok());
        days_from_civil(digits(year, 4)?, small(month)?, small(day)?)
    };
    day().ok_or_else(|| Error::Name { file: name.to_owned() })
}

/// A number of exactly `count` ASCII digits. `str::parse` alone would also take a sign.
fn digits(text: &str, count: usize) -> Option<u16> {
    let well_formed = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    if well_formed { text.parse().ok() } else { None }
}

/// What a line says about the time.
#[derive(Clone, Copy)]
enum Stamp {
    /// Minutes since midnight.
    At(i64),
    /// The shape of a time without being one.
    Bad,
    /// No time.
    None,
}

impl Stamp {
    const BYTES: usize = "[HH:MM]".len();

    fn of(line: &[u8]) -> Self {
        let Some(&[b'[', h1, h2, b':', m1, m2, b']']) = line.first_chunk::<{ Self::BYTES }>()
        else {
            return Self::None;
        };
        if ![h1, h2, m1, m2].iter().all(u8::is_ascii_digit) {
            return Self::None;
        }
        let number = |tens, units| i64::from(tens - b'0') * 10 + i64::from(units - b'0');
        match (number(h1, h2), number(m1, m2)) {
            (hour @ 0..24, minute @ 0..60) => Self::At(hour * 60 + minute),
            _ => Self::Bad,
        }
    }
}

/// The file's running time, in minutes since its first day began.
struct Clock {
    now: i64,
    /// What is added to the clock of a line: half days that have passed unseen.
    offset: i64,
    midnights: u64,
    twelve_hour: u64,
    clamped: u64,
}

impl Clock {
    fn starting_at(now: i64) -> Self {
        Self { now, offset: 0, midnights: 0, twelve_hour: 0, clamped: 0 }
    }

    /// Moves to a line that shows `minute`. A fall is measured from the latest time reached, so a
    /// clock that was set back is one fall and not a new one with every line.
    fn advance(&mut self, minute: i64) {
        let fall = self.now - (self.offset + minute);
        if fall >= MIDNIGHT_FALL_MIN {
            self.offset += MINUTES_PER_DAY;
            self.midnights += 1;
        } else if fall >= TWELVE_HOUR_FALL_MIN {
            self.offset += MINUTES_PER_DAY / 2;
            self.twelve_hour += 1;
        }
        let time = self.offset + minute;
        if time < self.now {
            self.clamped += 1;
        } else {
            self.now = time;
        }
    }
}

/// Where a file's time begins and ends, in minutes since its first day began.
///
/// Needed before the first entry: events above the first timed line take its time, and with
/// [`DateOf::Last`] the first day follows from the last. A file without any time is at the start
/// of its day.
struct Span {
    first: i64,
    last: i64,
}

impl Span {
    fn of(bytes: &[u8]) -> Self {
        let mut minutes = lines(bytes).filter_map(|line| match Stamp::of(line.text) {
            Stamp::At(minute) => Some(minute),
            Stamp::Bad | Stamp::None => None,
        });
        let first = minutes.next().unwrap_or(0);
        let mut clock = Clock::starting_at(first);
        minutes.for_each(|minute| clock.advance(minute));
        Self { first, last: clock.now }
    }
}

type Said<'a> = (EntryKind, Option<&'a str>, &'a str);

fn entry_of(stamp: Stamp, line: &[u8]) -> Result<Said<'_>, &'static str> {
    if line.is_empty() {
        return Err(reason::EMPTY_LINE);
    }
    let line = str::from_utf8(line).map_err(|_| reason::NOT_UTF8)?;
    let said = match stamp {
        // The stamp is ASCII, so the cut falls between characters.
        Stamp::At(_) => timed(line.get(Stamp::BYTES..).unwrap_or_default())?,
        Stamp::Bad => return Err(reason::BAD_TIME),
        Stamp::None => (EntryKind::Event, None, event(line)?),
    };
    let (_, nick, body) = said;
    if body.len() > BODY_BYTES_MAX || nick.is_some_and(|nick| nick.len() > NICK_BYTES_MAX) {
        return Err(reason::TOO_LONG);
    }
    Ok(said)
}

/// What follows the time of a message or an action.
fn timed(rest: &str) -> Result<Said<'_>, &'static str> {
    if let Some(said) = rest.strip_prefix(" <") {
        let (nick, text) = said.split_once('>').ok_or(reason::UNRECOGNISED)?;
        let body = if text.is_empty() { Some(text) } else { text.strip_prefix(' ') };
        return match body {
            Some(body) if !nick.is_empty() => Ok((EntryKind::Text, Some(nick), body)),
            _ => Err(reason::UNRECOGNISED),
        };
    }
    if let Some(done) = rest.strip_prefix("  * ").or_else(|| rest.strip_prefix(" * ")) {
        let (nick, body) = done.split_once(' ').unwrap_or((done, ""));
        return match nick {
            "" => Err(reason::UNRECOGNISED),
            _ => Ok((EntryKind::Action, Some(nick), body)),
        };
    }
    Err(if is_notice(rest) { reason::NOTICE } else { reason::UNRECOGNISED })
}

/// ` -nick:#channel- text`
fn is_notice(rest: &str) -> bool {
    let Some((from, target)) = rest.strip_prefix(" -").and_then(|rest| rest.split_once(":#"))
    else {
        return false;
    };
    !from.is_empty() && !from.contains(' ') && (target.contains("- ") || target.ends_with('-'))
}

/// The text of a `=== ...` line.
fn event(line: &str) -> Result<&str, &'static str> {
    match line.strip_prefix("===") {
        Some("") => Ok(""),
        Some(text) => text.strip_prefix(' ').ok_or(reason::UNRECOGNISED),
        None => Err(reason::UNRECOGNISED),
    }
}

#[cfg(test)]
#[path = "irc_log_tests.rs"]
mod tests;
