//! What one import request can take of a file: entries, bytes, and the places around them.
//!
//! INVARIANT: the batches of a file follow each other without a gap, each digest is that of all the
//! bytes before its place, and the last one ends at the file's end.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::EntryKind;
use super::source::{Item, show};

/// Entries of one request; the server takes as many.
const ENTRIES_MAX: usize = 1000;
/// Bytes of one request's entries in the log: below the engine's bound on one append.
const RECORD_BYTES_MAX: usize = 960 * 1024;
/// What an entry has there besides its nick and its body: envelope, file name, address.
const RECORD_ENTRY_BYTES: usize = 640;
/// Bytes of one request's entries as JSON: below the server's bound on a request.
const JSON_BYTES_MAX: usize = 3 * 1024 * 1024;
/// What an entry has as JSON besides its nick and its body.
const JSON_ENTRY_BYTES: usize = 128;

/// A place in a file: how much is consumed, and the digest of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes consumed.
    pub bytes: u64,
    /// SHA-256 of them, hexadecimal.
    pub digest: String,
    /// Whether that is the whole file.
    pub done: bool,
}

impl Place {
    /// As the API writes it.
    pub fn json(&self) -> Value {
        json!({ "bytes": self.bytes, "digest": self.digest, "done": self.done })
    }

    /// From what the API says.
    pub fn of(value: &Value) -> Option<Self> {
        Some(Self {
            bytes: value.get("bytes")?.as_u64()?,
            digest: value.get("digest")?.as_str()?.to_owned(),
            done: value.get("done")?.as_bool()?,
        })
    }

    /// Before the first byte.
    pub fn start() -> Self {
        Self { bytes: 0, digest: hex(&Sha256::digest([])), done: false }
    }

    /// Whether both name the same bytes.
    pub fn is_at(&self, other: &Self) -> bool {
        self.bytes == other.bytes && self.digest == other.digest
    }
}

/// Entries that go together.
#[derive(Debug)]
pub struct Batch<'a, 'b> {
    /// Where it begins.
    pub from: Place,
    /// Where it ends.
    pub to: Place,
    /// Its entries; none if only skipped lines are left.
    pub items: &'b [Item<'a>],
}

/// Cuts a file from a place that is consumed already.
pub struct Batches<'a, 'b> {
    bytes: &'b [u8],
    items: &'b [Item<'a>],
    place: Place,
    hasher: Sha256,
    grows: Grows,
}

/// Whether a source of this format may have more at its end another time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grows {
    /// A log: it is never said to be done.
    Yes,
    /// An export.
    No,
}

impl<'a, 'b> Batches<'a, 'b> {
    /// Begins at `place`; none if the file does not begin with what was consumed.
    pub fn from(
        place: Place,
        grows: Grows,
        bytes: &'b [u8],
        items: &'b [Item<'a>],
    ) -> Option<Self> {
        let consumed = bytes.get(..usize::try_from(place.bytes).ok()?)?;
        let hasher = Sha256::new_with_prefix(consumed);
        if hex(&hasher.clone().finalize()) != place.digest {
            return None;
        }
        let repeated = items.partition_point(|item| item.end <= place.bytes);
        Some(Self { bytes, items: items.get(repeated..)?, place, hasher, grows })
    }

    /// Entries that are left.
    pub fn left(&self) -> usize {
        self.items.len()
    }

    fn cut(&self) -> usize {
        let (mut record, mut json) = (0, 0);
        let fits = self.items.iter().take(ENTRIES_MAX).take_while(|item| {
            let nick = item.nick.as_deref().unwrap_or_default();
            record += RECORD_ENTRY_BYTES + item.body.len() + nick.len();
            json += JSON_ENTRY_BYTES + escaped(&item.body) + escaped(nick);
            record <= RECORD_BYTES_MAX && json <= JSON_BYTES_MAX
        });
        // One entry alone always fits: bodies have at most 64 KiB.
        fits.count()
    }
}

impl<'a, 'b> Iterator for Batches<'a, 'b> {
    type Item = Batch<'a, 'b>;

    fn next(&mut self) -> Option<Self::Item> {
        let whole = u64::try_from(self.bytes.len()).ok()?;
        if self.place.bytes == whole && (self.place.done || self.grows == Grows::Yes) {
            return None;
        }
        let (items, rest) = self.items.split_at(self.cut());
        let end = match items.last() {
            Some(last) if !rest.is_empty() => last.end,
            _ => whole,
        };
        let (begin, stop) = (usize::try_from(self.place.bytes).ok()?, usize::try_from(end).ok()?);
        self.hasher.update(self.bytes.get(begin..stop)?);
        let digest = hex(&self.hasher.clone().finalize());
        let done = end == whole && self.grows == Grows::No;
        let to = Place { bytes: end, digest, done };
        let from = std::mem::replace(&mut self.place, to.clone());
        self.items = rest;
        Some(Batch { from, to, items })
    }
}

impl Batch<'_, '_> {
    /// The request's body.
    pub fn json(&self, format: &str, source: &str, authors_source: &str) -> Value {
        let entries: Vec<_> = self.items.iter().map(entry).collect();
        json!({
            "format": format,
            "source": source,
            "from": self.from.json(),
            "to": self.to.json(),
            "authors_source": authors_source,
            "entries": entries,
        })
    }
}

fn entry(item: &Item<'_>) -> Value {
    let kind = match item.kind {
        EntryKind::Text => "text",
        EntryKind::Action => "action",
        EntryKind::Event => "event",
    };
    let mut entry = json!({ "kind": kind, "time": show(item.time_us), "body": item.body });
    if let Some(nick) = &item.nick {
        entry["nick"] = nick.as_ref().into();
    }
    entry
}

/// Bytes that a text has in JSON.
fn escaped(text: &str) -> usize {
    let cost = |byte| match byte {
        b'"' | b'\\' => 2,
        0..0x20 => 6,
        _ => 1,
    };
    text.bytes().map(cost).sum()
}

/// Bytes as lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Items whose lines are as long as their bodies and a line feed, and the file of them.
    fn file(bodies: &[String]) -> (Vec<u8>, Vec<Item<'static>>) {
        let mut bytes = b"skipped\n".to_vec();
        let mut items = Vec::new();
        for (line, body) in (2..).zip(bodies) {
            bytes.extend_from_slice(body.as_bytes());
            bytes.push(b'\n');
            items.push(Item {
                line,
                end: u64::try_from(bytes.len()).unwrap(),
                kind: EntryKind::Text,
                time_us: 0,
                nick: Some("n".into()),
                body: body.clone().into(),
            });
        }
        bytes.extend_from_slice(b"skipped too\n");
        (bytes, items)
    }

    /// The sizes of the batches, after checking that they join from begin to end.
    fn sizes(start: Place, grows: Grows, bytes: &[u8], items: &[Item<'_>]) -> Vec<usize> {
        let mut place = start.clone();
        let mut sizes = Vec::new();
        for batch in Batches::from(start, grows, bytes, items).unwrap() {
            assert_eq!(batch.from, place);
            let consumed = &bytes[..usize::try_from(batch.to.bytes).unwrap()];
            assert_eq!(batch.to.digest, hex(&Sha256::digest(consumed)));
            assert_eq!(batch.to.done, consumed.len() == bytes.len() && grows == Grows::No);
            let json = batch.json("f", "s", "n").to_string().len();
            assert!(json <= 4 * 1024 * 1024, "{json}");
            sizes.push(batch.items.len());
            place = batch.to;
        }
        assert_eq!(place.bytes, u64::try_from(bytes.len()).unwrap());
        sizes
    }

    #[test]
    fn batches_are_cut_by_entries_by_bytes_and_by_escapes() {
        let of = |bodies: &[String]| {
            let (bytes, items) = file(bodies);
            sizes(Place::start(), Grows::Yes, &bytes, &items)
        };
        assert_eq!(of(&vec!["x".to_owned(); 2100]), [1000, 1000, 100]);
        assert_eq!(of(&vec!["x".repeat(60 * 1024); 31]), [15, 15, 1]);
        assert_eq!(of(&vec!["\u{1}".repeat(60 * 1024); 9]), [8, 1]);
        assert_eq!(of(&[]), [0]);
        assert_eq!(sizes(Place::start(), Grows::Yes, b"", &[]), [0; 0]);
        // An export is said to be done, also when it is empty.
        assert_eq!(sizes(Place::start(), Grows::No, b"", &[]), [0]);
    }

    #[test]
    fn what_was_consumed_is_left_out_and_checked() {
        let (bytes, items) = file(&vec!["x".to_owned(); 2100]);
        let begun = |place: &Place, bytes: &[u8]| {
            Batches::from(place.clone(), Grows::Yes, bytes, &items).map(Iterator::count)
        };
        let batches = Batches::from(Place::start(), Grows::Yes, &bytes, &items).unwrap();
        let places: Vec<_> = batches.map(|batch| batch.to).collect();
        assert_eq!(begun(&places[0], &bytes), Some(2));
        let mut other = bytes.clone();
        other[0] ^= 1;
        assert_eq!(begun(&places[0], &other), None);
        assert_eq!(begun(&places[0], &bytes[..9]), None);
        assert_eq!(begun(&places[2], &bytes), Some(0));

        // A log that has grown since goes on where it ended.
        let mut grown = bytes.clone();
        grown.extend_from_slice(b"more\n");
        let last = Item { end: u64::try_from(grown.len()).unwrap(), ..items[0].clone() };
        let items: Vec<_> = items.iter().cloned().chain([last]).collect();
        assert_eq!(sizes(places[2].clone(), Grows::Yes, &grown, &items), [1]);
    }
}
