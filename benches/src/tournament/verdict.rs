//! What a store did with a fault, in one word.
//!
//! The child says what it saw, as numbers; here they become a verdict. INVARIANT: a message that is
//! missing or changed makes the verdict `silent` unless the store itself said that something is
//! wrong in that very reading.

use serde::{Deserialize, Serialize};

/// What a child saw when it opened and read a store.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readout {
    /// What the store said when it refused to open.
    pub open_error: Option<String>,
    /// The first error of a read.
    pub read_error: Option<String>,
    /// What the store said of damage without refusing.
    pub complaint: Option<String>,
    /// Messages that came back byte for byte, by whatever way the store documents.
    pub equal: u64,
    /// Missing messages that the store named as missing.
    pub named: u64,
    /// Missing from a read that ended without an error, and not named.
    pub missing: u64,
    /// Delivered with other bytes.
    pub changed: u64,
    /// Delivered although never stored.
    pub alien: u64,
}

impl Readout {
    /// Messages that are not as they were acknowledged, with nothing said of them.
    #[must_use]
    pub const fn wrong(&self) -> u64 {
        self.lost() + self.alien
    }

    /// Acknowledged messages that are missing or changed, with nothing said of them.
    #[must_use]
    pub const fn lost(&self) -> u64 {
        self.missing + self.changed
    }
}

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum End {
    /// It said what it saw.
    Read(Readout),
    /// It panicked, was killed by a signal, or did not end in time: how.
    Crash(String),
}

/// The verdict on a trial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Every message is there, byte for byte.
    Exact,
    /// Messages are missing, and the store says so.
    Reported,
    /// An error at the opening or at a read; what was read is right.
    Refused,
    /// Messages are missing or changed, and nothing says so.
    Silent,
    /// It panicked, was killed, or hung.
    Crash,
}

impl Verdict {
    /// All of them, in the order of the table.
    pub const ALL: [Self; 5] =
        [Self::Exact, Self::Reported, Self::Refused, Self::Silent, Self::Crash];

    /// Its name in the table.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Reported => "reported",
            Self::Refused => "refused",
            Self::Silent => "silent",
            Self::Crash => "crash",
        }
    }
}

/// The verdict on how a child ended.
#[must_use]
pub fn judge(end: &End) -> Verdict {
    let End::Read(readout) = end else { return Verdict::Crash };
    if readout.open_error.is_some() {
        return Verdict::Refused;
    }
    match readout {
        _ if readout.wrong() > 0 && readout.complaint.is_none() => Verdict::Silent,
        _ if readout.wrong() > 0 => Verdict::Reported,
        Readout { read_error: Some(_), .. } => Verdict::Refused,
        _ if readout.named > 0 => Verdict::Reported,
        _ => Verdict::Exact,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(readout: Readout, expected: Verdict) {
        assert_eq!(judge(&End::Read(readout.clone())), expected, "{readout:?}");
    }

    fn text() -> Option<String> {
        Some("checksum mismatch".into())
    }

    #[test]
    fn all_there_is_exact_whatever_the_store_grumbles() {
        check(Readout { equal: 9, ..Readout::default() }, Verdict::Exact);
        check(Readout { equal: 9, complaint: text(), ..Readout::default() }, Verdict::Exact);
    }

    #[test]
    fn what_is_missing_is_silent_unless_named_or_complained_of() {
        check(Readout { equal: 8, missing: 1, ..Readout::default() }, Verdict::Silent);
        check(Readout { equal: 8, named: 1, ..Readout::default() }, Verdict::Reported);
        check(Readout { named: 1, missing: 1, ..Readout::default() }, Verdict::Silent);
        check(Readout { missing: 1, complaint: text(), ..Readout::default() }, Verdict::Reported);
    }

    #[test]
    fn other_bytes_and_messages_never_stored_are_silent_too() {
        check(Readout { equal: 8, changed: 1, ..Readout::default() }, Verdict::Silent);
        check(Readout { equal: 9, alien: 1, ..Readout::default() }, Verdict::Silent);
    }

    #[test]
    fn an_error_is_a_refusal_unless_another_room_lost_in_silence() {
        check(Readout { open_error: text(), ..Readout::default() }, Verdict::Refused);
        check(Readout { read_error: text(), equal: 3, ..Readout::default() }, Verdict::Refused);
        check(Readout { read_error: text(), missing: 1, ..Readout::default() }, Verdict::Silent);
        // After a refusal only the repair was read.
        check(Readout { open_error: text(), missing: 5, ..Readout::default() }, Verdict::Refused);
    }

    #[test]
    fn a_child_that_says_nothing_crashed() {
        assert_eq!(judge(&End::Crash("signal 7".into())), Verdict::Crash);
    }
}
