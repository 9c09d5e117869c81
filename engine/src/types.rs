//! Positions, identifiers and times: one newtype each, so that no two can be mixed up.
//!
//! Nothing here knows bytes on disk or the network; `Display` gives the text clients see.
//!
//! INVARIANT: an identifier carries the epoch it was made in, so an abandoned suffix of the log can
//! never lend its identifiers to something else after a forced failover.

use std::fmt;
use std::str::FromStr;

macro_rules! position {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// The position before the first one.
            pub const ZERO: Self = Self(0);

            /// The next position; saturates at the end of the number range, which no log reaches.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.saturating_add(1))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

position! {
    /// A record's place in the log: dense from 1, equal on every copy, never a byte offset.
    Lsn
}
position! {
    /// A timeline entry's place in its room: dense from 1 over text, action, file and event.
    Seq
}
position! {
    /// Any record's place in its room: dense from 1 over everything that happened to the room.
    Rev
}

/// The reign of one primary. Starts at 1; every promotion and every accepted loss raises it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u16);

impl Epoch {
    /// The epoch of a new data directory.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Microseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeUs(pub i64);

impl TimeUs {
    /// Before any time a record can carry.
    pub const MIN: Self = Self(i64::MIN);
    /// After any time a record can carry.
    pub const MAX: Self = Self(i64::MAX);
    /// The earliest time a record may carry: 0001-01-01T00:00:00Z.
    pub const FLOOR: Self = Self(-62_135_596_800_000_000);
    /// The latest time a record may carry: 9999-12-31T23:59:59Z.
    pub const CEILING: Self = Self(253_402_300_799_000_000);

    /// Microseconds in a UTC day.
    pub const DAY_US: i64 = 86_400_000_000;

    /// Whole UTC days since the Unix epoch, rounded down.
    #[must_use]
    pub const fn day(self) -> i64 {
        self.0.div_euclid(Self::DAY_US)
    }

    /// This time moved by `us` microseconds, kept within the number range.
    #[must_use]
    pub const fn saturating_add_us(self, us: i64) -> Self {
        Self(self.0.saturating_add(us))
    }
}

impl fmt::Display for TimeUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}us", self.0)
    }
}

const LSN_BITS: u32 = 48;
const LSN_MASK: u64 = (1 << LSN_BITS) - 1;

/// The epoch and the record of an identifier.
fn two_numbers(f: &mut fmt::Formatter<'_>, id: u64) -> fmt::Result {
    let mut number = itoa::Buffer::new();
    f.write_str(number.format(id >> LSN_BITS))?;
    f.write_str("-")?;
    f.write_str(number.format(id & LSN_MASK))
}

macro_rules! identifier {
    ($(#[$doc:meta])* $name:ident, $letter:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl $name {
            /// No object: the identifier that is never given out.
            pub const NONE: Self = Self(0);

            /// The identifier of the object whose creating record is `lsn` of `epoch`.
            #[must_use]
            pub const fn new(epoch: Epoch, lsn: Lsn) -> Self {
                Self(((epoch.0 as u64) << LSN_BITS) | (lsn.0 & LSN_MASK))
            }

            /// True for the identifier that is never given out.
            #[must_use]
            pub const fn is_none(self) -> bool {
                self.0 == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($letter)?;
                two_numbers(f, self.0)
            }
        }

        impl FromStr for $name {
            type Err = BadId;

            fn from_str(text: &str) -> Result<Self, BadId> {
                let (epoch, lsn) = text
                    .strip_prefix($letter)
                    .and_then(|rest| rest.split_once('-'))
                    .ok_or(BadId)?;
                let epoch: u16 = plain_number(epoch)?;
                let lsn: u64 = plain_number(lsn)?;
                if lsn > LSN_MASK {
                    return Err(BadId);
                }
                Ok(Self((u64::from(epoch) << LSN_BITS) | lsn))
            }
        }
    };
}

/// The text is not an identifier of this sort.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadId;

impl fmt::Display for BadId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not an identifier of this sort")
    }
}

impl std::error::Error for BadId {}

/// A decimal number in its one canonical spelling, so that an identifier has one text only.
fn plain_number<T: FromStr>(text: &str) -> Result<T, BadId> {
    let canonical = text == "0" || !text.starts_with(['0', '+', '-']);
    if canonical { text.parse().map_err(|_| BadId) } else { Err(BadId) }
}

identifier! {
    /// A room, or one of the reserved system rooms (epoch 0).
    RoomId, "r"
}
identifier! {
    /// A category.
    CategoryId, "c"
}
identifier! {
    /// A principal: a user, a user group, or an imported author.
    PrincipalId, "p"
}
identifier! {
    /// A bearer token or a session.
    TokenId, "t"
}
identifier! {
    /// A legal hold.
    HoldId, "h"
}

impl PrincipalId {
    /// Every user: stands in a category's lists.
    pub const EVERYONE: Self = Self(1);
    /// The server itself.
    pub const SYSTEM: Self = Self(2);
}

impl RoomId {
    /// Principals and tokens.
    pub const SYSTEM_PRINCIPALS: Self = Self(1);
    /// Categories.
    pub const SYSTEM_CATEGORIES: Self = Self(2);
    /// Settings and the acceptance of losses.
    pub const SYSTEM_SETTINGS: Self = Self(3);
    /// Sign-ins and other events that belong to no room.
    pub const SYSTEM_AUDIT: Self = Self(4);
    /// Posts of rooms that keep no history.
    pub const SYSTEM_UNKEPT: Self = Self(5);
    /// Legal holds.
    pub const SYSTEM_HOLDS: Self = Self(6);
    /// Seeds of salts: secret.
    pub const SYSTEM_SALTS: Self = Self(7);
    /// Heads of rooms, signed, and the keys they are signed with.
    pub const SYSTEM_HEADS: Self = Self(8);
    /// One past the last reserved room.
    const SYSTEM_END: u64 = 64;

    /// True for the reserved rooms, which the room API never shows.
    #[must_use]
    pub const fn is_system(self) -> bool {
        self.0 < Self::SYSTEM_END
    }
}

/// A message's permanent name: (room, epoch, seq), printed `m<room epoch>-<room
/// lsn>-<epoch>-<seq>`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct MessageId {
    /// The room it stands in.
    pub room: RoomId,
    /// The epoch it was recorded in.
    pub epoch: Epoch,
    /// Its place in the room.
    pub seq: Seq,
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = itoa::Buffer::new();
        f.write_str("m")?;
        two_numbers(f, self.room.0)?;
        f.write_str("-")?;
        f.write_str(number.format(self.epoch.0))?;
        f.write_str("-")?;
        f.write_str(number.format(self.seq.0))
    }
}

impl FromStr for MessageId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        let mut parts = text.strip_prefix('m').ok_or(BadId)?.splitn(4, '-');
        let mut part = || parts.next().ok_or(BadId);
        let (room_epoch, room_lsn, epoch, seq) = (part()?, part()?, part()?, part()?);
        let room_epoch: u16 = plain_number(room_epoch)?;
        let room_lsn: u64 = plain_number(room_lsn)?;
        if room_lsn > LSN_MASK {
            return Err(BadId);
        }
        Ok(Self {
            room: RoomId((u64::from(room_epoch) << LSN_BITS) | room_lsn),
            epoch: Epoch(plain_number(epoch)?),
            seq: Seq(plain_number(seq)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_identifier_has_exactly_one_text() {
        let id = RoomId::new(Epoch(3), Lsn(42));
        assert_eq!(id.to_string(), "r3-42");
        assert_eq!("r3-42".parse(), Ok(id));
        for wrong in
            ["r3-042", "c3-42", "r3", "r-42", "r3-", "r+3-42", "r70000-1", "r1-281474976710656"]
        {
            assert_eq!(wrong.parse::<RoomId>(), Err(BadId), "{wrong}");
        }
    }

    #[test]
    fn a_message_id_names_room_epoch_and_seq() {
        let id = MessageId { room: RoomId::new(Epoch(1), Lsn(9)), epoch: Epoch(2), seq: Seq(7) };
        assert_eq!(id.to_string(), "m1-9-2-7");
        assert_eq!("m1-9-2-7".parse(), Ok(id));
        assert_eq!("m1-9-2".parse::<MessageId>(), Err(BadId));
        assert_eq!("m1-9-2-7-1".parse::<MessageId>(), Err(BadId));
    }

    #[test]
    fn days_round_down_before_1970() {
        assert_eq!(TimeUs(-1).day(), -1);
        assert_eq!(TimeUs(0).day(), 0);
        assert_eq!(TimeUs(TimeUs::DAY_US).day(), 1);
    }
}
