//! What clients see: the JSON shapes of answers, made from rows and records.
//!
//! Nothing here reads or decides. INVARIANT: no shape has a field for a secret; what a shape shows
//! of a category's scope depends on who asks and is passed in.

use std::fmt::{self, Write};

use hansard_engine::catalog::rows::{CategoryRow, MemberRow, PrincipalRow, RoomRow, TokenRow};
use hansard_engine::format::payload::{Payload, Post, Retention as EngineRetention};
use hansard_engine::format::record::Record;
use hansard_engine::reads::Amendment;
use hansard_engine::types::{PrincipalId, RoomId, Seq};
use hansard_engine::{format::payload, reads};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::data;
use super::validate::show_listed;
use super::words::{ChangePolicy, EntryKind, Invitations, PrincipalKind, Privacy, Role, RoomKind};
use crate::access::Seen;
use crate::codec::hex;
use crate::time;

/// Bytes of most identifiers' texts at most.
const IDENTIFIER_BYTES: usize = 32;

/// Who did something, by the name he had then.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// The principal.
    pub id: String,
    /// His name at that time.
    pub name: String,
}

impl Author {
    /// Of a row, as it is now.
    #[must_use]
    pub fn of_row(row: &PrincipalRow) -> Self {
        Self { id: row.id.to_string(), name: row.settings.name.clone() }
    }

    /// Of a record, as it was then.
    #[must_use]
    pub fn of_record(record: &Record) -> Self {
        Self { id: text(&record.actor.id), name: record.actor.name.clone() }
    }
}

/// Where an imported entry came from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// The source's name: a file without its folders.
    pub name: String,
    /// The format it was read as.
    pub format: String,
    /// Who imported it.
    pub importer: String,
}

/// A timeline entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Message {
    /// Its permanent name.
    pub id: String,
    /// The room it stands in.
    pub room: String,
    /// Its place in the room: dense from 1.
    pub seq: u64,
    /// Its place among the room's changes.
    pub rev: u64,
    /// When it was said.
    #[schema(format = DateTime)]
    pub time: String,
    /// When this server took it.
    #[schema(format = DateTime)]
    pub recorded: String,
    /// Who said it.
    pub author: Author,
    /// Its kind.
    pub kind: EntryKind,
    /// The text as it is now; empty if it is redacted.
    pub body: String,
    /// The seq of the entry it answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    /// Set if it was imported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
    /// Set if it was edited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// Set if it is redacted: what it said is hidden.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted: Option<Redacted>,
}

/// The newest edit of a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Edited {
    /// Its place among the room's changes.
    pub rev: u64,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub recorded: String,
    /// Who edited it.
    pub by: Author,
    /// How often the message was edited.
    pub edits: u64,
}

/// The redaction of a message. Its fields are missing where its record is damaged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Redacted {
    /// Its place among the room's changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// When it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    pub recorded: Option<String>,
    /// Who redacted it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Author>,
    /// Why, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Redacted {
    fn of(record: Option<&Record>) -> Self {
        let reason = record.and_then(|record| match &record.payload {
            Payload::Redacted(body) if !body.reason.is_empty() => Some(body.reason.clone()),
            _ => None,
        });
        Self {
            rev: record.map(|record| record.rev.0),
            recorded: record.map(|record| time::show(record.recorded)),
            by: record.map(Author::of_record),
            reason,
        }
    }
}

/// One of the things a message said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Version {
    /// Its place among the room's changes.
    pub rev: u64,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub recorded: String,
    /// Who wrote it.
    pub author: Author,
    /// What it said.
    pub body: String,
}

/// Everything that a message said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    /// Oldest first.
    pub versions: Vec<Version>,
    /// Versions that are damaged and therefore missing.
    pub damaged: u64,
    /// Set if the message is redacted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redacted: Option<Redacted>,
}

impl From<&reads::Versions> for Versions {
    fn from(versions: &reads::Versions) -> Self {
        let version = |record: &Record| {
            let body = match &record.payload {
                Payload::Post(post) => &post.body,
                Payload::Edited(edit) => &edit.body,
                _ => return None,
            };
            Some(Version {
                rev: record.rev.0,
                recorded: time::show(record.recorded),
                author: Author::of_record(record),
                body: body.clone(),
            })
        };
        Self {
            versions: versions.records.iter().filter_map(version).collect(),
            damaged: versions.damaged,
            redacted: versions.redacted.then(|| Redacted::of(versions.redaction.as_ref())),
        }
    }
}

/// What became of an entry, of a list in order of room and seq.
fn amendment_of(amended: &[Amendment], room: RoomId, seq: Seq) -> Option<&Amendment> {
    let at = amended.binary_search_by_key(&(room, seq), |one| (one.room, one.seq)).ok()?;
    amended.get(at)
}

/// An identifier as text. Its length is guessed: text that grows bit by bit is moved each time.
pub(crate) fn text(id: &impl fmt::Display) -> String {
    let mut text = String::with_capacity(IDENTIFIER_BYTES);
    let _ = write!(text, "{id}");
    text
}

impl Message {
    /// The message of a record, if it is one, with what became of it. `amended` is in order of room
    /// and seq.
    #[must_use]
    pub fn of(record: &Record, amended: &[Amendment]) -> Option<Self> {
        let Payload::Post(post) = &record.payload else { return None };
        let mut message = Self::of_post(record, post);
        if let Some(amendment) = amendment_of(amended, record.room, record.seq) {
            message.edited = amendment.edit.as_ref().map(|edit| Edited {
                rev: edit.rev.0,
                recorded: time::show(edit.recorded),
                by: Author::of_record(edit),
                edits: amendment.edits,
            });
            let redaction = amendment.redaction.as_ref();
            message.redacted = amendment.redacted.then(|| Redacted::of(redaction));
        }
        Some(message)
    }

    /// The messages of records.
    #[must_use]
    pub fn all(records: &[Record], amended: &[Amendment]) -> Vec<Self> {
        records.iter().filter_map(|record| Self::of(record, amended)).collect()
    }

    fn of_post(record: &Record, post: &Post) -> Self {
        Self {
            id: text(&record.message_id()),
            room: text(&record.room),
            seq: record.seq.0,
            rev: record.rev.0,
            time: time::show(record.time),
            recorded: time::show(record.recorded),
            author: Author::of_record(record),
            kind: post.kind.into(),
            body: post.body.clone(),
            reply_to: (post.reply_to.0 > 0).then_some(post.reply_to.0),
            source: post.import.as_ref().map(|mark| Source {
                name: mark.source.clone(),
                format: mark.format.clone(),
                importer: mark.importer.to_string(),
            }),
            edited: None,
            redacted: None,
        }
    }
}

/// A run of entries that a page cannot give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Gap {
    /// The room.
    pub room: String,
    /// The first missing entry.
    pub from_seq: u64,
    /// The last missing entry.
    pub to_seq: u64,
    /// Why.
    pub reason: GapReason,
}

/// Why entries are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum GapReason {
    /// The bytes are damaged.
    Damaged,
    /// The category keeps no history.
    NotKept,
    /// Retention removed them.
    Expired,
    /// They were erased.
    Erased,
}

impl From<reads::GapReason> for GapReason {
    fn from(reason: reads::GapReason) -> Self {
        match reason {
            reads::GapReason::Damaged => Self::Damaged,
            reads::GapReason::NotKept => Self::NotKept,
            reads::GapReason::Expired => Self::Expired,
            reads::GapReason::Erased => Self::Erased,
        }
    }
}

impl From<&reads::Gap> for Gap {
    fn from(gap: &reads::Gap) -> Self {
        Self {
            room: gap.room.to_string(),
            from_seq: gap.from_seq.0,
            to_seq: gap.to_seq.0,
            reason: gap.reason.into(),
        }
    }
}

/// A page of a room, oldest first.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MessagePage {
    /// The entries.
    pub messages: Vec<Message>,
    /// The cursor of the page before; null at the beginning.
    pub older: Option<String>,
    /// The cursor of the page behind; null at the end.
    pub newer: Option<String>,
    /// What is missing between and beside them.
    pub gaps: Vec<Gap>,
}

/// A page of a category, in the order asked for.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryMessages {
    /// The entries.
    pub messages: Vec<Message>,
    /// The cursor of the next page; null at the end.
    pub next: Option<String>,
    /// What is missing.
    pub gaps: Vec<Gap>,
}

/// Something that happened to a room.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// Its place among the room's changes: dense from 1.
    pub rev: u64,
    /// What happened: `post`, `room-changed`, `member-set`, ...
    pub kind: String,
    /// The place in the timeline of the entry that it is, edits or redacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub recorded: String,
    /// Who did it.
    pub actor: Author,
    /// The entry, if it is one: as it was said then, without its text if it is redacted by now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<Message>,
    /// What changed, for everything else. An edit of an entry that is redacted by now has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

/// The place of the entry that a record is, edits or redacts.
fn entry_of(record: &Record) -> Option<u64> {
    let seq = record.payload.amends().unwrap_or(record.seq);
    (seq.0 > 0).then_some(seq.0)
}

impl Change {
    /// The change of a room's record. `redacted` are the redacted entries among those that such
    /// records say or edit, in order of seq.
    #[must_use]
    pub fn of(record: &Record, redacted: &[Amendment]) -> Self {
        let message = Message::of(record, redacted);
        let hidden = match &record.payload {
            Payload::Edited(edit) => amendment_of(redacted, record.room, edit.seq).is_some(),
            _ => message.is_some(),
        };
        Self {
            rev: record.rev.0,
            kind: record.payload.kind().as_str().to_owned(),
            seq: entry_of(record),
            recorded: time::show(record.recorded),
            actor: Author::of_record(record),
            data: (!hidden).then(|| data::of(&record.payload)),
            message,
        }
    }
}

/// A run of changes that an answer cannot give.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevGap {
    /// The first missing change.
    pub from_rev: u64,
    /// The last missing change.
    pub to_rev: u64,
    /// Why.
    pub reason: GapReason,
}

/// Changes of a room, in order.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePage {
    /// The changes.
    pub changes: Vec<Change>,
    /// What is missing among them.
    pub gaps: Vec<RevGap>,
    /// The last rev that this answer covers: a later call asks after it.
    pub through: u64,
    /// The cursor of what follows already; null at the end.
    pub next: Option<String>,
}

/// How far an import of one source into a room has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Bytes consumed.
    pub bytes: u64,
    /// SHA-256 of the consumed bytes, hexadecimal.
    pub digest: String,
    /// Whether the source is consumed whole.
    pub done: bool,
}

impl From<&payload::ImportProgress> for Progress {
    fn from(progress: &payload::ImportProgress) -> Self {
        Self { bytes: progress.bytes, digest: hex(&progress.digest), done: progress.done }
    }
}

/// A category. What only administrators see is left out for others.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Category {
    /// Its identifier.
    pub id: String,
    /// Its unique name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Whether members may invite: kept, and looked at by nothing yet.
    pub invitations: bool,
    /// Whether files may be uploaded: kept, and looked at by nothing yet.
    pub uploads: bool,
    /// Whether users see history.
    pub history: bool,
    /// How long history is kept, in days; 0 is for ever.
    pub retention_days: u32,
    /// How many entries of each room are kept; 0 is all.
    pub retention_entries: u64,
    /// How many bytes the entries of each room may take in packs; 0 is any number.
    pub retention_bytes: u64,
    /// Who may edit.
    pub edit: ChangePolicy,
    /// Who may redact.
    pub redact: ChangePolicy,
    /// Whether you may create rooms here.
    pub may_create: bool,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// Who is in scope: principals or `everyone`. Administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed: Option<Vec<String>>,
    /// Who is not, whatever `allowed` says. Administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub denied: Option<Vec<String>>,
    /// Who may create rooms. Administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub creators: Option<Vec<String>>,
    /// Whether reading is an event: kept, and looked at by nothing yet. Administrators only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_audit: Option<bool>,
}

impl Category {
    /// Of a row, for one who may create there or not, administers or not.
    pub(crate) fn of(row: &CategoryRow, may_create: bool, who: &PrincipalRow) -> Self {
        let settings = &row.settings;
        let full = who.settings.administrator;
        let list =
            |ids: &[PrincipalId]| full.then(|| ids.iter().copied().map(show_listed).collect());
        Self {
            id: row.id.to_string(),
            name: settings.name.clone(),
            description: settings.description.clone(),
            invitations: settings.invitations,
            uploads: settings.uploads,
            history: settings.history,
            retention_days: settings.retention.days,
            retention_entries: settings.retention.entries,
            retention_bytes: settings.retention.bytes,
            edit: settings.edit.into(),
            redact: settings.redact.into(),
            may_create,
            created: time::show(row.created),
            allowed: list(&settings.allowed),
            denied: list(&settings.denied),
            creators: list(&settings.creators),
            read_audit: full.then_some(settings.read_audit),
        }
    }
}

/// A room.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Room {
    /// Its identifier.
    pub id: String,
    /// Its unique name.
    pub name: String,
    /// The category it is in.
    pub category: String,
    /// What it is for.
    pub description: String,
    /// What it is about now.
    pub topic: String,
    /// Who may post.
    pub r#type: RoomKind,
    /// Who finds and joins it.
    pub privacy: Privacy,
    /// Invitations.
    pub invitations: Invitations,
    /// Hidden from everybody but administrators.
    pub disabled: bool,
    /// When it was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// Who created it.
    pub creator: String,
    /// What you are there; empty if you are no member.
    pub roles: Vec<Role>,
    /// The room whose history stands before this one's. Shown to those who may find that one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub continues: Option<String>,
    /// How much of it is kept, if not as its category says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
}

/// How much of a room is kept: what passes any of these goes, the oldest first. 0 bounds nothing.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Days since an entry was said.
    #[serde(default)]
    pub days: u32,
    /// Entries.
    #[serde(default)]
    pub entries: u64,
    /// Bytes that its entries take in packs.
    #[serde(default)]
    pub bytes: u64,
}

impl From<&EngineRetention> for Retention {
    fn from(kept: &EngineRetention) -> Self {
        let EngineRetention { days, entries, bytes } = *kept;
        Self { days, entries, bytes }
    }
}

impl From<Retention> for EngineRetention {
    fn from(kept: Retention) -> Self {
        let Retention { days, entries, bytes } = kept;
        Self { days, entries, bytes }
    }
}

impl Room {
    /// Of what the policy saw; `continues` where the asker may find that room.
    pub(crate) fn of(seen: &Seen, continues: Option<RoomId>) -> Self {
        let RoomRow { id, settings, created, creator, .. } = &*seen.room;
        Self {
            id: id.to_string(),
            name: settings.name.clone(),
            category: settings.category.to_string(),
            description: settings.description.clone(),
            topic: settings.topic.clone(),
            r#type: settings.kind.into(),
            privacy: settings.privacy.into(),
            invitations: settings.invitations.into(),
            disabled: settings.disabled,
            created: time::show(*created),
            creator: creator.to_string(),
            roles: seen.roles.map(Role::of).unwrap_or_default(),
            continues: continues.map(|room| room.to_string()),
            retention: settings.retention.as_ref().map(Into::into),
        }
    }
}

/// A member of a room.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Who.
    pub principal: Author,
    /// What he is there.
    pub roles: Vec<Role>,
    /// Since when, by his last change.
    #[schema(format = DateTime)]
    pub since: String,
}

impl Member {
    /// Of two rows.
    pub(crate) fn of(row: &MemberRow, principal: &PrincipalRow) -> Self {
        Self {
            principal: Author::of_row(principal),
            roles: Role::of(row.roles),
            since: time::show(row.since),
        }
    }
}

/// A principal. What only administrators and he himself see is left out for others.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// His identifier.
    pub id: String,
    /// The name people see.
    pub name: String,
    /// The sort.
    pub kind: PrincipalKind,
    /// For imported authors the network they wrote on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// When he was created.
    #[schema(format = DateTime)]
    pub created: String,
    /// Whether he is an administrator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub administrator: Option<bool>,
    /// Whether he may do nothing at all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disabled: Option<bool>,
}

impl User {
    /// Of a row, as `who` sees it.
    pub(crate) fn of(row: &PrincipalRow, who: &PrincipalRow) -> Self {
        let settings = &row.settings;
        let full = who.settings.administrator || who.id == row.id;
        Self {
            id: row.id.to_string(),
            name: settings.name.clone(),
            kind: settings.kind.into(),
            source: (!settings.source.is_empty()).then(|| settings.source.clone()),
            created: time::show(row.created),
            administrator: full.then_some(settings.administrator),
            disabled: full.then_some(settings.disabled),
        }
    }
}

/// A bearer token, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Its identifier.
    pub id: String,
    /// What its owner calls it.
    pub name: String,
    /// Whose it is.
    pub principal: String,
    /// Whether it came from a sign-in.
    pub session: bool,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created: String,
    /// When it stops working.
    #[schema(format = DateTime)]
    pub expires: String,
}

impl From<&TokenRow> for Token {
    fn from(row: &TokenRow) -> Self {
        Self {
            id: row.id.to_string(),
            name: row.name.clone(),
            principal: row.principal.to_string(),
            session: row.session,
            created: time::show(row.created),
            expires: time::show(row.expires),
        }
    }
}

/// A compliance event.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Event {
    /// The epoch it was ordered in.
    pub epoch: u16,
    /// Its place in the log; (epoch, lsn) is unique for ever.
    pub lsn: u64,
    /// When it was recorded.
    #[schema(format = DateTime)]
    pub recorded: String,
    /// When it was said, if that differs.
    #[schema(format = DateTime)]
    pub time: String,
    /// What happened.
    pub kind: String,
    /// The room, if it belongs to one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub room: Option<String>,
    /// The place in the room's timeline of the entry that it is, edits or redacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Its place among the room's changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rev: Option<u64>,
    /// Who did it, by the name he had then.
    pub actor: Author,
    /// The way in: `system`, `http`, `irc` or `import`.
    pub door: String,
    /// The client's address; empty if there was none.
    pub address: String,
    /// The session or token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// The content, by kind.
    pub data: serde_json::Value,
}

impl From<&Record> for Event {
    fn from(record: &Record) -> Self {
        let in_room = !record.room.is_system();
        let session = record.actor.session;
        Self {
            epoch: record.epoch.0,
            lsn: record.lsn.0,
            recorded: time::show(record.recorded),
            time: time::show(record.time),
            kind: record.payload.kind().as_str().to_owned(),
            room: in_room.then(|| record.room.to_string()),
            seq: entry_of(record),
            rev: in_room.then_some(record.rev.0),
            actor: Author::of_record(record),
            door: record.actor.door.as_str().to_owned(),
            address: record.actor.address.clone(),
            session: (!session.is_none()).then(|| session.to_string()),
            data: data::of(&record.payload),
        }
    }
}
