//! What a record says: one struct per kind.
//!
//! Changes carry the whole new state, never a difference, so that applying one twice equals
//! applying it once. No plaintext secret is a field: tokens are SHA-256, passwords are argon2id
//! strings. Seeds of salts keep no secret from whoever has the log, as the words they salt stand
//! beside them; they leave it when those do.

use super::codec::{DecodeError, Reader};
pub use super::settings::{
    CategorySettings, HoldSettings, PrincipalSettings, Retention, RoomSettings,
};
use super::wire::{Wire, wire_enum, wire_struct};
use crate::proof::salts::Salts;
use crate::proof::tree::Hash;
use crate::types::{CategoryId, HoldId, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};

wire_enum! {
    /// The kind of a timeline entry.
    pub enum EntryKind {
        /// A text that someone wrote.
        Text = 1 "text",
        /// An action ("/me waves").
        Action = 2 "action",
        /// A file.
        File = 3 "file",
        /// Something that happened, told by an import or a bot.
        Event = 4 "event",
    }
}

wire_enum! {
    /// Who may post in a room.
    pub enum RoomKind {
        /// Every member.
        Normal = 1 "normal",
        /// Presenters only.
        Auditorium = 2 "auditorium",
    }
}

wire_enum! {
    /// Who finds and joins a room.
    pub enum Privacy {
        /// Found, joined and used by anyone in the category's scope.
        Open = 1 "open",
        /// Found by anyone in scope, used by members.
        Closed = 2 "closed",
        /// Found and used by members only.
        Secret = 3 "secret",
    }
}

wire_enum! {
    /// Invitations of a room.
    pub enum Invitations {
        /// As the category says.
        Inherit = 1 "inherit",
        /// None.
        Off = 2 "off",
    }
}

wire_enum! {
    /// The sort of a principal.
    pub enum PrincipalKind {
        /// Somebody who can sign in.
        User = 1 "user",
        /// A group of principals.
        Group = 2 "group",
        /// An author known only from imported history.
        Imported = 3 "imported",
    }
}

wire_enum! {
    /// An event that belongs to no room.
    pub enum AuditKind {
        /// Somebody signed in.
        SignIn = 1 "sign-in",
        /// Somebody failed to sign in.
        SignInFailed = 2 "sign-in-failed",
        /// Somebody signed out.
        SignOut = 3 "sign-out",
        /// An administrator used his right over a room he is no member of.
        AdministratorAct = 4 "administrator-act",
        /// The record was exported.
        Export = 5 "export",
        /// A user joined a room's stream.
        Present = 6 "present",
        /// A user left a room's stream.
        Absent = 7 "absent",
        /// Tokens of a role-holder were made outside the usual doors.
        BreakGlass = 8 "break-glass",
        /// An administrator agreed with the wall clock.
        ClockAccepted = 9 "clock-accepted",
        /// An administrator had a copy of the data directory made.
        Checkpoint = 10 "checkpoint",
    }
}

wire_enum! {
    /// Who may edit or redact a message.
    pub enum ChangePolicy {
        /// Nobody.
        Nobody = 1 "nobody",
        /// Managers and administrators.
        Managers = 2 "managers",
        /// Also the author.
        Authors = 3 "authors",
    }
}

/// What a principal is in a room: a set of the constants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Roles(pub u8);

impl Roles {
    /// May read and, in a normal room, post.
    pub const MEMBER: Self = Self(1);
    /// May change the room and its members; implies member.
    pub const MANAGER: Self = Self(2 | 1);
    /// May post in an auditorium; implies member.
    pub const PRESENTER: Self = Self(4 | 1);
    const ALL: u8 = 7;

    /// True if every bit of `other` is set.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Wire for Roles {
    const SHAPE: &'static str = "u8: 1 member, 2 manager, 4 presenter";

    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.0);
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let wrong = reader.error(field);
        let bits = reader.u8(field)?;
        if bits & !Self::ALL != 0 || bits & 1 == 0 { Err(wrong) } else { Ok(Self(bits)) }
    }
}

wire_struct! {
    /// Where an imported entry came from.
    pub struct ImportMark {
        /// The source's name: a file without its folders.
        pub source: String,
        /// The format it was read as.
        pub format: String,
        /// Who imported it.
        pub importer: PrincipalId,
    }
}

wire_struct! {
    /// A timeline entry.
    pub struct Post {
        /// Its kind.
        pub kind: EntryKind,
        /// The text; for a file its description.
        pub body: String,
        /// The entry it answers; zero for none.
        pub reply_to: Seq,
        /// Set if it was imported.
        pub import: Option<ImportMark>,
    }
}

impl Post {
    /// Reads a post as `get` does, and keeps nothing.
    pub(super) fn check(reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        EntryKind::get(reader, "Post.kind")?;
        reader.text(reader.remaining(), "Post.body")?;
        Seq::get(reader, "Post.reply_to")?;
        Option::<ImportMark>::get(reader, "Post.import").map(|_| ())
    }
}

wire_struct! {
    /// An entry says something else from now on. What it said before is kept.
    pub struct Edited {
        /// The entry.
        pub seq: Seq,
        /// All of its text from now on.
        pub body: String,
    }
}

wire_struct! {
    /// An entry is hidden from people, every version of it; its place stays.
    pub struct Redacted {
        /// The entry.
        pub seq: Seq,
        /// Why, in words; empty if nobody said.
        pub reason: String,
    }
}

wire_struct! {
    /// A record whose words are erased: what else the rows know of it.
    pub struct ErasedRecord {
        /// Its place in the log.
        pub lsn: Lsn,
        /// When it was recorded.
        pub recorded: TimeUs,
        /// Who it was.
        pub actor: PrincipalId,
        /// The client's key; empty if it gave none.
        pub key: String,
    }
}

wire_struct! {
    /// An entry is erased, with every version of it: its words are to leave every file.
    pub struct Erased {
        /// The entry.
        pub seq: Seq,
        /// Its time.
        pub time: TimeUs,
        /// Its author.
        pub author: PrincipalId,
        /// Why, in words; empty if nobody said.
        pub reason: String,
        /// The entry's record, and those of its edits and its redaction.
        pub records: Vec<ErasedRecord>,
    }
}

wire_struct! {
    /// Retention took a room's entries up to a place: they are gone from everything people read.
    pub struct Expired {
        /// The last entry that is gone.
        pub floor: Seq,
        /// Its time.
        pub time: TimeUs,
    }
}

wire_struct! {
    /// The compliance record let its oldest events go: their own time is over.
    pub struct ComplianceExpired {
        /// The last that is gone.
        pub upto: Lsn,
    }
}

wire_struct! {
    /// A legal hold is placed; its identifier is this record's.
    pub struct HoldPlaced {
        /// What it keeps.
        pub settings: HoldSettings,
    }
}

wire_struct! {
    /// A legal hold is released.
    pub struct HoldReleased {
        /// Which.
        pub hold: HoldId,
        /// What it kept.
        pub settings: HoldSettings,
    }
}

wire_struct! {
    /// A room comes to be; its identifier is this record's.
    pub struct RoomCreated {
        /// What it is. The actor becomes its manager.
        pub settings: RoomSettings,
    }
}

wire_struct! {
    /// A room changes.
    pub struct RoomChanged {
        /// All of what it is now.
        pub settings: RoomSettings,
    }
}

wire_struct! {
    /// A room is hidden for ever; its name is never reused.
    pub struct RoomDeleted {
        /// What it was.
        pub settings: RoomSettings,
    }
}

wire_struct! {
    /// A principal becomes a member, or his roles change.
    pub struct MemberSet {
        /// The user or group.
        pub principal: PrincipalId,
        /// All his roles from now on.
        pub roles: Roles,
    }
}

wire_struct! {
    /// A principal is a member no longer.
    pub struct MemberRemoved {
        /// The user or group.
        pub principal: PrincipalId,
    }
}

wire_struct! {
    /// A category comes to be; its identifier is this record's.
    pub struct CategoryCreated {
        /// What it is.
        pub settings: CategorySettings,
    }
}

wire_struct! {
    /// A category changes.
    pub struct CategoryChanged {
        /// Which.
        pub category: CategoryId,
        /// All of what it is now.
        pub settings: CategorySettings,
    }
}

wire_struct! {
    /// A category without rooms goes.
    pub struct CategoryDeleted {
        /// Which.
        pub category: CategoryId,
        /// Its name, which is free again.
        pub name: String,
    }
}

wire_struct! {
    /// A principal comes to be; its identifier is this record's.
    pub struct PrincipalCreated {
        /// What he is.
        pub settings: PrincipalSettings,
    }
}

wire_struct! {
    /// A principal changes.
    pub struct PrincipalChanged {
        /// Who.
        pub principal: PrincipalId,
        /// All of what he is now.
        pub settings: PrincipalSettings,
    }
}

wire_struct! {
    /// A bearer token comes to be; its identifier is this record's.
    pub struct TokenCreated {
        /// Whose it is.
        pub principal: PrincipalId,
        /// What its owner calls it.
        pub name: String,
        /// SHA-256 of the token.
        pub sha256: [u8; 32],
        /// When it stops working.
        pub expires: TimeUs,
        /// Whether it came from a sign-in.
        pub session: bool,
        /// Whether it may be exchanged for a session once, and nothing else.
        pub one_use: bool,
    }
}

wire_struct! {
    /// A token stops working.
    pub struct TokenRevoked {
        /// Which.
        pub token: TokenId,
        /// Whose it was.
        pub principal: PrincipalId,
        /// SHA-256 of the token.
        pub sha256: [u8; 32],
    }
}

wire_struct! {
    /// Something happened that belongs to no room.
    pub struct Audit {
        /// What.
        pub what: AuditKind,
        /// Whom it concerns; none if unknown.
        pub principal: PrincipalId,
        /// The room concerned; none for most.
        pub room: RoomId,
        /// The rest in words, for people.
        pub detail: String,
    }
}

wire_struct! {
    /// How far an import of one source into this room has come. Never expires.
    pub struct ImportProgress {
        /// The format.
        pub format: String,
        /// The source's name.
        pub source: String,
        /// Bytes consumed before this step: where the step before it ended.
        pub from: u64,
        /// Bytes consumed.
        pub bytes: u64,
        /// SHA-256 of the consumed bytes.
        pub digest: [u8; 32],
        /// Whether the source is consumed whole.
        pub done: bool,
    }
}

wire_struct! {
    /// A setting that policies and `apply` need, equal on every copy.
    pub struct Setting {
        /// Its name.
        pub key: String,
        /// Its value.
        pub value: String,
    }
}

wire_struct! {
    /// A run of log positions, both ends included.
    pub struct LsnSpan {
        /// The first.
        pub first: Lsn,
        /// The last.
        pub last: Lsn,
    }
}

wire_struct! {
    /// An operator accepted the loss of records; every earlier session and token is void.
    pub struct LossAccepted {
        /// What was lost.
        pub holes: Vec<LsnSpan>,
    }
}

wire_struct! {
    /// How far a room's tree had come.
    pub struct RoomHead {
        /// The room, or a system room.
        pub room: RoomId,
        /// Its records until then.
        pub size: u64,
        /// The root of its tree over them.
        pub root: Hash,
    }
}

wire_struct! {
    /// Rooms in which something happened since they were last listed. Heads that are signed later
    /// are of the tree over these.
    pub struct RoomHeads {
        /// Each room once.
        pub heads: Vec<RoomHead>,
    }
}

wire_struct! {
    /// From now on heads are signed with this key; it is named by this record's rev.
    pub struct SigningKey {
        /// The Ed25519 public key.
        pub public: [u8; 32],
        /// The signature of the key before over it; zeros if there is none.
        pub endorsed: [u8; 64],
    }
}

wire_struct! {
    /// A signed statement of all rooms' heads: a checkpoint of the tree over them.
    pub struct SignedHead {
        /// Records of the room of heads that it covers.
        pub size: u64,
        /// The root of their tree.
        pub root: Hash,
        /// The last place in the log that is covered.
        pub upto: Lsn,
        /// When it was signed.
        pub time: TimeUs,
        /// The key: the rev of its record.
        pub key: Rev,
        /// The Ed25519 signature of the checkpoint's text.
        pub signature: [u8; 64],
    }
}

wire_struct! {
    /// Stands where an acknowledged record was damaged: its place is known, its content is gone.
    pub struct Lost {
        /// The kind that was lost, as its byte.
        pub kind: u64,
    }
}

/// Ties each kind's byte to its struct, in one table.
macro_rules! kinds {
    ($( $(#[$meta:meta])* $variant:ident = $code:literal $text:literal ),* $(,)?) => {
        /// What a record says.
        #[derive(Clone, Debug, PartialEq, Eq)]
        pub enum Payload {
            $( $(#[$meta])* $variant($variant) ),*
        }

        wire_enum! {
            /// The kind of a record.
            pub enum Kind {
                $( $(#[$meta])* $variant = $code $text ),*
            }
        }

        impl Payload {
            /// Its kind.
            #[must_use]
            pub const fn kind(&self) -> Kind {
                match self { $( Self::$variant(_) => Kind::$variant ),* }
            }

            /// Appends the body's bytes; the kind stands in the envelope.
            pub fn put(&self, out: &mut Vec<u8>) {
                match self { $( Self::$variant(body) => body.put(out) ),* }
            }

            /// Reads a body of `kind`.
            ///
            /// # Errors
            /// If the bytes are not of that kind's form.
            pub fn get(kind: Kind, reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                match kind {
                    $( Kind::$variant => {
                        <$variant as Wire>::get(reader, $text).map(Self::$variant)
                    } )*
                }
            }
        }

        impl Kind {
            /// The fields of each kind, for FORMAT.md.
            #[must_use]
            pub const fn fields(self) -> &'static [(&'static str, &'static str)] {
                use super::wire::Fields;
                match self { $( Self::$variant => <$variant as Fields>::FIELDS ),* }
            }
        }
    };
}

kinds! {
    /// A timeline entry.
    Post = 1 "post",
    /// A record whose content was damaged.
    Lost = 2 "lost",
    /// An import's progress.
    ImportProgress = 3 "import-progress",
    /// An entry is edited.
    Edited = 4 "edited",
    /// An entry is hidden from people.
    Redacted = 5 "redacted",
    /// Retention took entries of a room.
    Expired = 6 "expired",
    /// An entry is erased.
    Erased = 7 "erased",
    /// A room comes to be.
    RoomCreated = 16 "room-created",
    /// A room changes.
    RoomChanged = 17 "room-changed",
    /// A room is hidden for ever.
    RoomDeleted = 18 "room-deleted",
    /// A member is added or changed.
    MemberSet = 19 "member-set",
    /// A member is removed.
    MemberRemoved = 20 "member-removed",
    /// A category comes to be.
    CategoryCreated = 32 "category-created",
    /// A category changes.
    CategoryChanged = 33 "category-changed",
    /// A category goes.
    CategoryDeleted = 34 "category-deleted",
    /// A principal comes to be.
    PrincipalCreated = 48 "principal-created",
    /// A principal changes.
    PrincipalChanged = 49 "principal-changed",
    /// A token comes to be.
    TokenCreated = 50 "token-created",
    /// A token stops working.
    TokenRevoked = 51 "token-revoked",
    /// An event outside rooms.
    Audit = 64 "audit",
    /// A setting.
    Setting = 65 "setting",
    /// A loss was accepted.
    LossAccepted = 66 "loss-accepted",
    /// A legal hold is placed.
    HoldPlaced = 67 "hold-placed",
    /// A legal hold is released.
    HoldReleased = 68 "hold-released",
    /// Compliance events are gone.
    ComplianceExpired = 69 "compliance-expired",
    /// Seeds of salts.
    Salts = 70 "salts",
    /// A key that signs heads.
    SigningKey = 71 "signing-key",
    /// Heads of rooms.
    RoomHeads = 72 "room-heads",
    /// All rooms' heads, signed.
    SignedHead = 73 "signed-head",
}

impl Kind {
    /// True for the kinds whose loss costs messages only.
    #[must_use]
    pub const fn is_message(self) -> bool {
        matches!(self, Self::Post | Self::Lost)
    }

    /// True for the kinds whose loss opens no door: it costs messages, or what proves others.
    #[must_use]
    pub const fn opens_no_door(self) -> bool {
        self.is_message() || matches!(self, Self::RoomHeads | Self::SignedHead)
    }

    /// True for the kinds that take a place in the timeline.
    #[must_use]
    pub const fn is_entry(self) -> bool {
        matches!(self, Self::Post)
    }

    /// True for the kinds that have a place in their room's timeline.
    #[must_use]
    pub const fn takes_seq(self) -> bool {
        self.is_message()
    }

    /// True for the kinds that change what an entry says to people.
    #[must_use]
    pub const fn is_amendment(self) -> bool {
        matches!(self, Self::Edited | Self::Redacted)
    }

    /// True for the kinds that carry what people say: refused while there is no space for it, or
    /// while the clock is in doubt.
    #[must_use]
    pub const fn is_said(self) -> bool {
        matches!(self, Self::Post | Self::Edited)
    }

    /// True for the kinds that are events of the compliance record: all but those that only prove
    /// others.
    #[must_use]
    pub const fn is_event(self) -> bool {
        !matches!(self, Self::Salts | Self::RoomHeads | Self::SignedHead)
    }

    /// True for the kinds acknowledged only after the catalog end of apply.
    #[must_use]
    pub const fn is_control(self) -> bool {
        !matches!(self, Self::Post | Self::Lost | Self::Audit)
    }
}

impl Payload {
    /// The entry that an edit, a redaction or an erasure is about.
    #[must_use]
    pub const fn amends(&self) -> Option<Seq> {
        match self {
            Self::Edited(body) => Some(body.seq),
            Self::Redacted(body) => Some(body.seq),
            Self::Erased(body) => Some(body.seq),
            _ => None,
        }
    }

    /// The reserved room of a kind that belongs to no room of its own.
    #[must_use]
    pub const fn system_room(&self) -> Option<RoomId> {
        match self {
            Self::CategoryCreated(_) | Self::CategoryChanged(_) | Self::CategoryDeleted(_) => {
                Some(RoomId::SYSTEM_CATEGORIES)
            }
            Self::PrincipalCreated(_)
            | Self::PrincipalChanged(_)
            | Self::TokenCreated(_)
            | Self::TokenRevoked(_) => Some(RoomId::SYSTEM_PRINCIPALS),
            Self::HoldPlaced(_) | Self::HoldReleased(_) | Self::ComplianceExpired(_) => {
                Some(RoomId::SYSTEM_HOLDS)
            }
            Self::Audit(_) => Some(RoomId::SYSTEM_AUDIT),
            Self::Salts(_) => Some(RoomId::SYSTEM_SALTS),
            Self::SigningKey(_) | Self::RoomHeads(_) | Self::SignedHead(_) => {
                Some(RoomId::SYSTEM_HEADS)
            }
            Self::Setting(_) | Self::LossAccepted(_) => Some(RoomId::SYSTEM_SETTINGS),
            _ => None,
        }
    }
}
