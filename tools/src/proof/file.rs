//! The form of proofs: one JSON document a line.
//!
//! Hashes and bytes are lower-case hexadecimal. `message` is for people; a check compares it with
//! what the bytes say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A document.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "format")]
pub(crate) enum Document {
    /// A message is in the record.
    #[serde(rename = "hansard-proof 1")]
    Message(Box<Proof>),
    /// A signed head follows from an earlier one.
    #[serde(rename = "hansard-consistency 1")]
    Consistency(Consistency),
}

impl Document {
    /// One line.
    pub(crate) fn to_text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// A message is in the record.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Proof {
    /// What it is, for people.
    pub message: Value,
    /// What its leaf is the hash of.
    pub leaf: String,
    /// What it says.
    pub said: Option<Opening>,
    /// Where it came from.
    pub origin: Option<Opening>,
    /// From the leaf to the root of its room.
    pub room: RoomPath,
    /// From the room's root to the list of rooms.
    pub listed: Listed,
    /// From the list to the signed root.
    pub heads: Heads,
    /// The signed head.
    pub head: String,
}

/// A commitment, opened.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Opening {
    /// Its salt.
    pub salt: String,
    /// What is under it.
    pub bytes: String,
}

/// An audit path in a room's tree; the leaf says its place.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RoomPath {
    /// Leaves of the tree.
    pub size: u64,
    /// The path.
    pub path: Vec<String>,
}

/// Where a room's root is listed.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listed {
    /// What the leaf of the list's record is the hash of.
    pub leaf: String,
    /// The salt of its commitment.
    pub salt: String,
    /// Rooms in the list.
    pub entries: u64,
    /// Which of them it is, from 0.
    pub index: u64,
    /// The audit path among them.
    pub path: Vec<String>,
}

/// An audit path in the tree over the lists; the list's leaf says its place, the signed head the
/// size.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Heads {
    /// The path.
    pub path: Vec<String>,
}

/// A signed head follows from an earlier one.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Consistency {
    /// The earlier one.
    pub old: String,
    /// The later one.
    pub head: String,
    /// RFC 9162's proof of consistency.
    pub path: Vec<String>,
}

/// Bytes as text.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Text as bytes.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}
