//! Opaque page cursors: what a page gives and takes back.
//!
//! A cursor is a place, never a right: access is checked again with each page. The text is
//! base64url of a version byte, a kind, the numbers and four bytes of SHA-256, so that a mistyped
//! or foreign one is refused and not misread.

use hansard_engine::reads::{CategoryCursor, Order};
use hansard_engine::types::{CategoryId, Epoch, RoomId, Seq, TimeUs};

use crate::codec::{base64url, from_base64url};
use crate::secrets::sha256;

const VERSION: u8 = 1;
const CHECK_BYTES: usize = 4;

/// The list a list cursor belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum List {
    Categories = 16,
    Rooms = 17,
    Members = 18,
    Users = 19,
    Tokens = 20,
    Events = 21,
    Changes = 22,
}

/// A place that a page hands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cursor {
    /// Entries of `room` before `seq`. The room may be one that the asked one continues.
    Before { epoch: Epoch, room: RoomId, seq: Seq },
    /// Entries of `room` after `seq`.
    After { epoch: Epoch, room: RoomId, seq: Seq },
    /// A category's entries behind `at`, within the bounds of the first request.
    Category {
        epoch: Epoch,
        category: CategoryId,
        from: TimeUs,
        to: TimeUs,
        order: Order,
        at: CategoryCursor,
    },
    /// The items of a list behind the one with this number; `within` names what the list is of.
    List { list: List, within: u64, after: u64 },
}

impl Cursor {
    /// The opaque text.
    pub(crate) fn encode(self) -> String {
        let (kind, numbers) = match self {
            Self::Before { epoch, room, seq } => (1, vec![u64::from(epoch.0), room.0, seq.0]),
            Self::After { epoch, room, seq } => (2, vec![u64::from(epoch.0), room.0, seq.0]),
            Self::Category { epoch, category, from, to, order, at } => (
                if order == Order::Ascending { 3 } else { 4 },
                vec![
                    u64::from(epoch.0),
                    category.0,
                    from.0.cast_unsigned(),
                    to.0.cast_unsigned(),
                    at.time.0.cast_unsigned(),
                    at.room.0,
                    at.seq.0,
                ],
            ),
            Self::List { list, within, after } => (list as u8, vec![within, after]),
        };
        let mut bytes = vec![VERSION, kind];
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        let check = sha256(&bytes);
        bytes.extend_from_slice(&check[..CHECK_BYTES]);
        base64url(&bytes)
    }

    /// The place of a text; `None` if it is not one of ours.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        if text.len() > 128 {
            return None;
        }
        let bytes = from_base64url(text)?;
        let (body, check) = bytes.split_at_checked(bytes.len().checked_sub(CHECK_BYTES)?)?;
        if sha256(body)[..CHECK_BYTES] != *check {
            return None;
        }
        let [VERSION, kind, rest @ ..] = body else { return None };
        let (words, []) = rest.as_chunks::<8>() else { return None };
        let numbers: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        Self::from_numbers(*kind, &numbers)
    }

    fn from_numbers(kind: u8, numbers: &[u64]) -> Option<Self> {
        let list = match kind {
            16 => List::Categories,
            17 => List::Rooms,
            18 => List::Members,
            19 => List::Users,
            20 => List::Tokens,
            21 => List::Events,
            22 => List::Changes,
            1 | 2 => {
                let [epoch, room, seq] = *numbers else { return None };
                let (epoch, room, seq) =
                    (Epoch(u16::try_from(epoch).ok()?), RoomId(room), Seq(seq));
                return Some(if kind == 1 {
                    Self::Before { epoch, room, seq }
                } else {
                    Self::After { epoch, room, seq }
                });
            }
            3 | 4 => {
                let [epoch, category, from, to, time, room, seq] = *numbers else { return None };
                return Some(Self::Category {
                    epoch: Epoch(u16::try_from(epoch).ok()?),
                    category: CategoryId(category),
                    from: TimeUs(from.cast_signed()),
                    to: TimeUs(to.cast_signed()),
                    order: if kind == 3 { Order::Ascending } else { Order::Descending },
                    at: CategoryCursor {
                        time: TimeUs(time.cast_signed()),
                        room: RoomId(room),
                        seq: Seq(seq),
                    },
                });
            }
            _ => return None,
        };
        let [within, after] = *numbers else { return None };
        Some(Self::List { list, within, after })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<Cursor> {
        let epoch = Epoch(3);
        let at = CategoryCursor { time: TimeUs(-5), room: RoomId(9), seq: Seq(8) };
        let (category, from, to) = (CategoryId(7), TimeUs::MIN, TimeUs::MAX);
        let mut all = vec![
            Cursor::Before { epoch, room: RoomId(1 << 50), seq: Seq(42) },
            Cursor::After { epoch, room: RoomId(1), seq: Seq::ZERO },
            Cursor::Category { epoch, category, from, to, order: Order::Ascending, at },
            Cursor::Category { epoch, category, from, to, order: Order::Descending, at },
        ];
        for list in [
            List::Categories,
            List::Rooms,
            List::Members,
            List::Users,
            List::Tokens,
            List::Events,
            List::Changes,
        ] {
            all.push(Cursor::List { list, within: 5, after: u64::MAX });
        }
        all
    }

    #[test]
    fn a_cursor_comes_back_as_it_went() {
        for cursor in samples() {
            assert_eq!(Cursor::decode(&cursor.encode()), Some(cursor));
        }
    }

    #[test]
    fn a_changed_or_foreign_text_is_no_cursor() {
        for cursor in samples() {
            let text = cursor.encode();
            for at in 0..text.len() {
                let mut wrong = text.clone().into_bytes();
                wrong[at] = if wrong[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(Cursor::decode(std::str::from_utf8(&wrong).unwrap()), None);
                assert_eq!(Cursor::decode(&text[..at]), None);
            }
        }
        for wrong in ["", "AAAA", "not a cursor", "é"] {
            assert_eq!(Cursor::decode(wrong), None);
        }
    }
}
