//! What rooms, categories, principals and holds are: the parts of records and rows that people set.
//!
//! Each is stored as a whole with every change of it.

use super::payload::{ChangePolicy, Invitations, PrincipalKind, Privacy, RoomKind};
use super::wire::wire_struct;
use crate::types::{CategoryId, PrincipalId, RoomId, TimeUs};

wire_struct! {
    /// How much of a room's history is kept: what passes any of these goes, the oldest first. Zero
    /// bounds nothing.
    #[derive(Copy)]
    pub struct Retention {
        /// Days since an entry was said.
        pub days: u32,
        /// Entries of one room.
        pub entries: u64,
        /// Bytes that one room's entries take in packs.
        pub bytes: u64,
    }
}

impl Retention {
    /// Everything is kept.
    pub const ALL: Self = Self { days: 0, entries: 0, bytes: 0 };
}

wire_struct! {
    /// Everything a room is, but for its members.
    pub struct RoomSettings {
        /// The category it is in.
        pub category: CategoryId,
        /// Its unique name.
        pub name: String,
        /// What it is for.
        pub description: String,
        /// What it is about now.
        pub topic: String,
        /// Who may post.
        pub kind: RoomKind,
        /// Who finds and joins it.
        pub privacy: Privacy,
        /// Whether members may invite.
        pub invitations: Invitations,
        /// Hidden from everybody but administrators; keeps everything.
        pub disabled: bool,
        /// The room whose history stands before this one's; none for most.
        pub continues: RoomId,
        /// How much of it is kept, if not as its category says.
        pub retention: Option<Retention>,
    }
}

wire_struct! {
    /// Everything a category is.
    pub struct CategorySettings {
        /// Its unique name.
        pub name: String,
        /// What it is for.
        pub description: String,
        /// Who is in scope. Empty: administrators only.
        pub allowed: Vec<PrincipalId>,
        /// Who is not, whatever `allowed` says.
        pub denied: Vec<PrincipalId>,
        /// Who may create rooms.
        pub creators: Vec<PrincipalId>,
        /// Whether members may invite.
        pub invitations: bool,
        /// Whether files may be uploaded.
        pub uploads: bool,
        /// Whether users see history. Off: kept for compliance only.
        pub history: bool,
        /// How much is kept of each of its rooms that says nothing else.
        pub retention: Retention,
        /// Who may edit.
        pub edit: ChangePolicy,
        /// Who may redact.
        pub redact: ChangePolicy,
        /// Whether reading is an event.
        pub read_audit: bool,
    }
}

wire_struct! {
    /// Everything a principal is.
    pub struct PrincipalSettings {
        /// The sort.
        pub kind: PrincipalKind,
        /// The name people see.
        pub name: String,
        /// Empty for local accounts; for imported authors the network they wrote on.
        pub source: String,
        /// An argon2id string; none if he cannot sign in with a password.
        pub password: Option<String>,
        /// Whether he is an administrator.
        pub administrator: bool,
        /// Whether he may do nothing at all.
        pub disabled: bool,
    }
}

wire_struct! {
    /// What a legal hold keeps from expiry and erasure: entries to which all that is given applies.
    pub struct HoldSettings {
        /// What it is called.
        pub name: String,
        /// Why, in words.
        pub reason: String,
        /// The room; none for every room.
        pub room: RoomId,
        /// The category that the room is in; none for every category.
        pub category: CategoryId,
        /// The author; none for every author.
        pub principal: PrincipalId,
        /// The first time of an entry, included; the smallest for no bound.
        pub from: TimeUs,
        /// The last time of an entry, excluded; the largest for no bound.
        pub to: TimeUs,
    }
}
