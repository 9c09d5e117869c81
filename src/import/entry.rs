//! What every format of import has in common: kinds, limits, reasons.
//!
//! Each format has its own entry type, as some borrow from the file and some cannot.

/// The longest body that a message may have.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// The longest name that an author may have.
pub const NICK_BYTES_MAX: usize = 256;
/// The largest file that is read in one piece; it also keeps line numbers within `u32`.
pub const SOURCE_BYTES_MAX: usize = 1 << 30;

/// The kinds of entry that an import brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// Somebody said it.
    Text,
    /// Somebody did it (`/me`).
    Action,
    /// The channel reported it: a join, a part, a new name, a topic.
    Event,
}

/// Why a line is no entry. These words are part of the report and do not change.
pub mod reason {
    /// A notice to the channel, `[HH:MM] -nick:#channel- text`.
    pub const NOTICE: &str = "notice";
    /// Not valid UTF-8.
    pub const NOT_UTF8: &str = "not-utf8";
    /// Nothing on the line.
    pub const EMPTY_LINE: &str = "empty-line";
    /// A clock that no day has, such as `[24:60]`.
    pub const BAD_TIME: &str = "bad-time";
    /// A body or an author's name longer than its limit.
    pub const TOO_LONG: &str = "too-long";
    /// A message that refers to a file, which an import cannot bring.
    pub const FILE: &str = "file";
    /// The mark of entries that an export could not give.
    pub const GAP: &str = "gap";
    /// A redacted message, of which an export has no text.
    pub const REDACTED: &str = "redacted";
    /// An author's name with a control character in it, which no room takes.
    pub const BAD_NICK: &str = "bad-nick";
    /// Any other shape.
    pub const UNRECOGNISED: &str = "unrecognised";
}

/// The lines of a file, without their line feed and without the carriage return of a CR LF. What
/// stands behind the last line feed is a line too, unless it is nothing.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = Line<'_>> {
    let mut end = 0;
    (1..).zip(bytes.split_inclusive(|&byte| byte == b'\n')).map(move |(number, line)| {
        end += u64::try_from(line.len()).expect("a slice is shorter than 2^64 bytes");
        let text = line.strip_suffix(b"\n").unwrap_or(line);
        Line { number, text: text.strip_suffix(b"\r").unwrap_or(text), end }
    })
}

pub(super) struct Line<'a> {
    /// Counted from 1.
    pub(super) number: u32,
    pub(super) text: &'a [u8],
    /// Offset of the first byte behind the line and its line feed.
    pub(super) end: u64,
}
