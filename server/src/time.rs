//! Times as clients write and read them: RFC 3339, UTC, six fractional digits.
//!
//! It reads no clock. INVARIANT: every time given out ends in `Z` and has exactly six digits after
//! the point, so that texts sort as times do.

use hansard_engine::types::TimeUs;
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));

/// A time as text. Times beyond the calendar's ends show as those ends.
pub(crate) fn show(time: TimeUs) -> String {
    let kept = time.0.clamp(TimeUs::FLOOR.0, TimeUs::CEILING.0);
    let at = Timestamp::from_microsecond(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_string(&at)
}

/// A time from text: RFC 3339 with an offset, cut to microseconds.
pub(crate) fn parse(text: &str) -> Option<TimeUs> {
    let bytes = text.as_bytes();
    let shaped = bytes.len() <= 40
        && bytes.get(10).is_some_and(|at| matches!(at, b'T' | b't'))
        && bytes.iter().all(|byte| {
            matches!(byte, b'0'..=b'9' | b'-' | b':' | b'.' | b'+' | b'T' | b't' | b'Z' | b'z')
        });
    if !shaped {
        return None;
    }
    let at: Timestamp = text.parse().ok()?;
    let time = TimeUs(at.as_microsecond());
    (TimeUs::FLOOR..=TimeUs::CEILING).contains(&time).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_and_come_back() {
        for (us, text) in [
            (0, "1970-01-01T00:00:00.000000Z"),
            (1_209_276_000_000_000, "2008-04-27T06:00:00.000000Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (TimeUs::FLOOR.0, "0001-01-01T00:00:00.000000Z"),
        ] {
            assert_eq!(show(TimeUs(us)), text);
            assert_eq!(parse(text), Some(TimeUs(us)));
        }
    }

    #[test]
    fn only_a_full_time_with_an_offset_is_a_time() {
        assert_eq!(parse("2008-04-27T06:00:00Z"), Some(TimeUs(1_209_276_000_000_000)));
        assert_eq!(parse("2008-04-27T08:00:00+02:00"), Some(TimeUs(1_209_276_000_000_000)));
        for wrong in [
            "",
            "2008-04-27",
            "2008-04-27T06:00:00",
            "2008-04-27 06:00:00Z",
            "2008-13-01T00:00:00Z",
            "now",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
