//! What an import did: one document for programs, a few lines for people.
//!
//! INVARIANT: every line of every source is a message, an event, repeated or skipped, and counted
//! once: `lines = messages + events + repeated + skipped`.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::EntryKind;
use super::batch::hex;
use super::source::{Contents, Item, show};

/// The sums so far.
#[derive(Debug, Default)]
pub struct Report {
    lines: u64,
    messages: u64,
    events: u64,
    repeated: u64,
    skipped: BTreeMap<&'static str, u64>,
    midnights: u64,
    twelve_hour: u64,
    clamped: u64,
    first_us: Option<i64>,
    last_us: Option<i64>,
    digest: Sha256,
    files: u64,
}

impl Report {
    /// Adds a whole file, of which `left` entries are still to be sent.
    pub fn file(&mut self, bytes: &[u8], contents: &Contents<'_>, left: usize) {
        self.files += 1;
        self.digest.update(bytes);
        self.lines += contents.lines;
        self.repeated += count(contents.items.len() - left);
        for (reason, lines) in &contents.skipped {
            *self.skipped.entry(reason).or_default() += lines;
        }
        self.midnights += contents.midnights;
        self.twelve_hour += contents.twelve_hour;
        self.clamped += contents.clamped;
        let times = || contents.items.iter().map(|item| item.time_us);
        self.first_us = self.first_us.into_iter().chain(times()).min();
        self.last_us = self.last_us.into_iter().chain(times()).max();
    }

    /// Adds entries that the server has recorded.
    pub fn recorded(&mut self, items: &[Item<'_>]) {
        let events = items.iter().filter(|item| item.kind == EntryKind::Event).count();
        self.events += count(events);
        self.messages += count(items.len() - events);
    }

    /// Entries recorded.
    pub fn entries(&self) -> u64 {
        self.messages + self.events
    }

    /// For programs.
    pub fn json(&self) -> Value {
        json!({
            "lines": self.lines,
            "messages": self.messages,
            "events": self.events,
            "skipped": self.skipped,
            "repeated": self.repeated,
            "midnights": self.midnights,
            "twelve_hour": self.twelve_hour,
            "clamped": self.clamped,
            "rooms": 1,
            "first": self.first_us.map(show),
            "last": self.last_us.map(show),
            "digest": hex(&self.digest.clone().finalize()),
        })
    }

    /// For people.
    pub fn words(&self, room: &str) -> String {
        let skipped: u64 = self.skipped.values().sum();
        let mut text = format!(
            "imported into {room}: {} messages and {} events of {} lines in {} files; \
             {} repeated, {skipped} skipped",
            self.messages, self.events, self.lines, self.files, self.repeated
        );
        let reasons: Vec<_> = self.skipped.iter().map(|(why, n)| format!("{why} {n}")).collect();
        if !reasons.is_empty() {
            text.push_str(&format!(" ({})", reasons.join(", ")));
        }
        if let (Some(first), Some(last)) = (self.first_us, self.last_us) {
            text.push_str(&format!("\nfrom {} to {}", show(first), show(last)));
        }
        text.push_str(&format!(
            "\nclock: {} midnights, {} twelve-hour falls, {} lines clamped\nsha256 {}",
            self.midnights,
            self.twelve_hour,
            self.clamped,
            hex(&self.digest.clone().finalize())
        ));
        text
    }
}

fn count(n: usize) -> u64 {
    u64::try_from(n).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{DateOf, ImportFormat};
    use crate::import::source::Source;

    #[test]
    fn every_line_is_counted_once() {
        let text = "[23:00] <a> x\n=== y\nodd\n\n[01:00]  * b z\n";
        let source = Source { name: "2008-04-27.log".into(), bytes: text.into() };
        let now = "2020-01-01T00:00:00Z".parse().unwrap();
        let contents = source.contents(ImportFormat::IrcLog, DateOf::First, now).unwrap();
        let mut report = Report::default();
        report.file(&source.bytes, &contents, 2);
        report.recorded(&contents.items[1..]);
        let json = report.json();
        assert_eq!(
            json,
            json!({
                "lines": 5, "messages": 1, "events": 1, "repeated": 1,
                "skipped": { "empty-line": 1, "unrecognised": 1 },
                "midnights": 1, "twelve_hour": 0, "clamped": 0, "rooms": 1,
                "first": "2008-04-27T23:00:00.000000Z", "last": "2008-04-28T01:00:00.000000Z",
                "digest": hex(&Sha256::digest(text)),
            })
        );
        assert_eq!(report.entries(), 2);
        let words = report.words("ubuntu");
        assert!(words.contains("2 skipped (empty-line 1, unrecognised 1)"), "{words}");
    }
}
