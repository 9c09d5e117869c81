//! A record as one line of JSON.
//!
//! A post has every field of the API's message, in the API's form; `source` and roles, too, are as
//! the API shows them. It reads nothing and decides nothing.
//!
//! INVARIANT: no hash of a password or a token leaves here; whether an account has a password does.

use hansard_engine::format::payload::{
    Audit, CategorySettings, HoldSettings, ImportProgress, Payload, Post, PrincipalSettings,
    Retention, Roles, RoomHead, RoomSettings, TokenCreated,
};
use hansard_engine::format::record::Record;
use hansard_engine::types::{PrincipalId, TimeUs};
use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use serde::Serialize;
use serde_json::{Value, json};

use crate::proof::hex;

const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(6));
/// The word for every user in a category's lists.
const EVERYONE: &str = "everyone";

/// A line of the dump.
#[derive(Debug, Serialize)]
pub(super) struct Line<'a> {
    /// A message's permanent name.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    room: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    rev: u64,
    epoch: u16,
    lsn: u64,
    time: String,
    recorded: String,
    /// Of a post the kind of entry, which no kind of record is called.
    kind: &'static str,
    author: Author<'a>,
    door: &'static str,
    #[serde(flatten)]
    content: Value,
}

/// Who did it, by the name he had then.
#[derive(Debug, Serialize)]
struct Author<'a> {
    id: String,
    name: &'a str,
}

impl<'a> Line<'a> {
    /// The line of a record.
    pub(super) fn of(record: &'a Record) -> Self {
        let post = match &record.payload {
            Payload::Post(post) => Some(post),
            _ => None,
        };
        let seq = record.payload.amends().unwrap_or(record.seq);
        Self {
            id: post.map(|_| record.message_id().to_string()),
            room: record.room.to_string(),
            seq: (seq.0 > 0).then_some(seq.0),
            rev: record.rev.0,
            epoch: record.epoch.0,
            lsn: record.lsn.0,
            time: moment(record.time),
            recorded: moment(record.recorded),
            kind: post.map_or_else(|| record.payload.kind().as_str(), |post| post.kind.as_str()),
            author: Author { id: record.actor.id.to_string(), name: &record.actor.name },
            door: record.actor.door.as_str(),
            content: content(&record.payload),
        }
    }
}

/// A time as the API writes it. Times beyond the calendar's ends show as those ends.
pub(crate) fn moment(time: TimeUs) -> String {
    let kept = time.0.clamp(TimeUs::FLOOR.0, TimeUs::CEILING.0);
    let at = Timestamp::from_microsecond(kept).unwrap_or(Timestamp::UNIX_EPOCH);
    PRINTER.timestamp_to_string(&at)
}

/// The content, without the fields that every line has.
fn content(payload: &Payload) -> Value {
    match payload {
        Payload::Post(post) => entry(post),
        Payload::Lost(lost) => json!({ "lost": lost.kind }),
        Payload::ImportProgress(progress) => import(progress),
        Payload::Edited(body) => json!({ "body": body.body }),
        Payload::Redacted(body) => json!({ "reason": body.reason }),
        Payload::Expired(body) => {
            json!({ "floor": body.floor.0, "last_time": moment(body.time) })
        }
        Payload::HoldPlaced(body) => hold(&body.settings),
        Payload::HoldReleased(body) => with(hold(&body.settings), "hold", body.hold.to_string()),
        Payload::Erased(body) => json!({ "reason": body.reason }),
        Payload::ComplianceExpired(body) => json!({ "upto_lsn": body.upto.0 }),
        Payload::Salts(body) => {
            json!({ "first": body.first.0, "level": body.level, "seeds": body.nodes.len() })
        }
        Payload::SigningKey(body) => {
            json!({ "public": hex(&body.public), "endorsed": body.endorsed != [0; 64] })
        }
        Payload::RoomHeads(body) => {
            let head = |head: &RoomHead| {
                let (room, root) = (head.room.to_string(), hex(&head.root));
                json!({ "room": room, "size": head.size, "root": root })
            };
            json!({ "heads": body.heads.iter().map(head).collect::<Vec<_>>() })
        }
        Payload::SignedHead(body) => json!({
            "size": body.size,
            "root": hex(&body.root),
            "upto_lsn": body.upto.0,
            "signed": moment(body.time),
            "key": body.key.0,
        }),
        Payload::RoomCreated(body) => room(&body.settings),
        Payload::RoomChanged(body) => room(&body.settings),
        Payload::RoomDeleted(body) => room(&body.settings),
        Payload::MemberSet(body) => {
            json!({ "principal": body.principal.to_string(), "roles": roles(body.roles) })
        }
        Payload::MemberRemoved(body) => json!({ "principal": body.principal.to_string() }),
        Payload::CategoryCreated(body) => category(&body.settings),
        Payload::CategoryChanged(body) => {
            with(category(&body.settings), "category", body.category.to_string())
        }
        Payload::CategoryDeleted(body) => {
            json!({ "category": body.category.to_string(), "name": body.name })
        }
        Payload::PrincipalCreated(body) => principal(&body.settings),
        Payload::PrincipalChanged(body) => {
            with(principal(&body.settings), "principal", body.principal.to_string())
        }
        Payload::TokenCreated(body) => token(body),
        Payload::TokenRevoked(body) => {
            json!({ "token": body.token.to_string(), "principal": body.principal.to_string() })
        }
        Payload::Audit(body) => audit(body),
        Payload::Setting(body) => json!({ "key": body.key, "value": body.value }),
        Payload::LossAccepted(body) => {
            let holes: Vec<_> = body.holes.iter().map(|hole| [hole.first.0, hole.last.0]).collect();
            json!({ "holes": holes })
        }
    }
}

fn with(mut value: Value, field: &str, more: impl Into<Value>) -> Value {
    if let Value::Object(fields) = &mut value {
        fields.insert(field.to_owned(), more.into());
    }
    value
}

/// What a hold keeps; a field that is not there bounds nothing.
fn hold(settings: &HoldSettings) -> Value {
    let mut value = json!({ "name": settings.name, "reason": settings.reason });
    let ids = [
        ("about_room", (!settings.room.is_none()).then(|| settings.room.to_string())),
        ("category", (!settings.category.is_none()).then(|| settings.category.to_string())),
        ("principal", (!settings.principal.is_none()).then(|| settings.principal.to_string())),
        ("from", (settings.from > TimeUs::MIN).then(|| moment(settings.from))),
        ("to", (settings.to < TimeUs::MAX).then(|| moment(settings.to))),
    ];
    for (field, text) in ids {
        if let Some(text) = text {
            value = with(value, field, text);
        }
    }
    value
}

fn entry(post: &Post) -> Value {
    let mut value = json!({ "body": post.body });
    if post.reply_to.0 > 0 {
        value = with(value, "reply_to", post.reply_to.0);
    }
    if let Some(mark) = &post.import {
        let source = json!({
            "name": mark.source,
            "format": mark.format,
            "importer": mark.importer.to_string(),
        });
        value = with(value, "source", source);
    }
    value
}

fn import(progress: &ImportProgress) -> Value {
    let digest = hex(&progress.digest);
    json!({
        "format": progress.format,
        "source": progress.source,
        "from": progress.from,
        "bytes": progress.bytes,
        "digest": digest,
        "done": progress.done,
    })
}

fn room(settings: &RoomSettings) -> Value {
    let value = json!({
        "category": settings.category.to_string(),
        "name": settings.name,
        "description": settings.description,
        "topic": settings.topic,
        "type": settings.kind.as_str(),
        "privacy": settings.privacy.as_str(),
        "invitations": settings.invitations.as_str(),
        "disabled": settings.disabled,
    });
    let value = match &settings.retention {
        None => value,
        Some(kept) => with(value, "retention", retention(kept)),
    };
    match settings.continues.is_none() {
        true => value,
        false => with(value, "continues", settings.continues.to_string()),
    }
}

fn retention(kept: &Retention) -> Value {
    json!({ "days": kept.days, "entries": kept.entries, "bytes": kept.bytes })
}

fn roles(roles: Roles) -> Vec<&'static str> {
    let all =
        [(Roles::MEMBER, "member"), (Roles::MANAGER, "manager"), (Roles::PRESENTER, "presenter")];
    all.into_iter().filter(|(bits, _)| roles.contains(*bits)).map(|(_, word)| word).collect()
}

fn category(settings: &CategorySettings) -> Value {
    let listed = |id: &PrincipalId| match *id {
        PrincipalId::EVERYONE => EVERYONE.to_owned(),
        id => id.to_string(),
    };
    let list = |ids: &[PrincipalId]| ids.iter().map(listed).collect::<Vec<_>>();
    json!({
        "name": settings.name,
        "description": settings.description,
        "allowed": list(&settings.allowed),
        "denied": list(&settings.denied),
        "creators": list(&settings.creators),
        "invitations": settings.invitations,
        "uploads": settings.uploads,
        "history": settings.history,
        "retention_days": settings.retention.days,
        "retention_entries": settings.retention.entries,
        "retention_bytes": settings.retention.bytes,
        "edit": settings.edit.as_str(),
        "redact": settings.redact.as_str(),
        "read_audit": settings.read_audit,
    })
}

/// `type` is what the API calls `kind`, a word that every line has already.
fn principal(settings: &PrincipalSettings) -> Value {
    json!({
        "type": settings.kind.as_str(),
        "name": settings.name,
        "source": settings.source,
        "has_password": settings.password.is_some(),
        "administrator": settings.administrator,
        "disabled": settings.disabled,
    })
}

fn token(body: &TokenCreated) -> Value {
    json!({
        "principal": body.principal.to_string(),
        "name": body.name,
        "expires": moment(body.expires),
        "session": body.session,
        "one_use": body.one_use,
    })
}

/// `about_room` is what an event's data call `room`, a word that every line has already.
fn audit(body: &Audit) -> Value {
    let mut value = json!({ "what": body.what.as_str(), "detail": body.detail });
    if !body.principal.is_none() {
        value = with(value, "principal", body.principal.to_string());
    }
    if !body.room.is_none() {
        value = with(value, "about_room", body.room.to_string());
    }
    value
}

#[cfg(test)]
mod tests {
    use hansard_engine::format::payload::{PrincipalCreated, PrincipalKind, TokenRevoked};
    use hansard_engine::format::record::{Actor, Door};
    use hansard_engine::types::{Epoch, Lsn, Rev, RoomId, Seq, TokenId};

    use super::*;

    /// The line of a record that says this.
    fn shown(payload: Payload) -> Value {
        let actor = Actor {
            id: PrincipalId::SYSTEM,
            name: "system".into(),
            door: Door::System,
            address: String::new(),
            session: TokenId::NONE,
        };
        let record = Record {
            epoch: Epoch::FIRST,
            lsn: Lsn(9),
            recorded: TimeUs(1),
            time: TimeUs(1),
            room: RoomId::SYSTEM_PRINCIPALS,
            seq: Seq::ZERO,
            rev: Rev(3),
            actor,
            policy: Lsn::ZERO,
            idempotency: None,
            payload,
        };
        serde_json::to_value(Line::of(&record)).expect("a line is JSON")
    }

    #[test]
    fn no_hash_leaves() {
        let settings = PrincipalSettings {
            kind: PrincipalKind::User,
            name: "ann".into(),
            source: String::new(),
            password: Some("$argon2id$secret".into()),
            administrator: false,
            disabled: false,
        };
        let line = shown(Payload::PrincipalCreated(PrincipalCreated { settings }));
        assert!(!line.to_string().contains("argon2"), "{line}");
        assert_eq!((&line["has_password"], &line["type"]), (&json!(true), &json!("user")));
        assert_eq!(line["kind"], "principal-created");
        let token = TokenCreated {
            principal: PrincipalId(9),
            name: "t".into(),
            sha256: [0xab; 32],
            expires: TimeUs(0),
            session: true,
            one_use: false,
        };
        let revoked =
            TokenRevoked { token: TokenId(7), principal: PrincipalId(9), sha256: [0xab; 32] };
        for line in [shown(Payload::TokenCreated(token)), shown(Payload::TokenRevoked(revoked))] {
            let text = line.to_string();
            assert!(!text.contains("sha256") && !text.contains("171"), "{text}");
            assert!(!text.contains("abab"), "{text}");
        }
    }

    #[test]
    fn an_event_about_a_room_stays_in_its_own() {
        use hansard_engine::format::payload::AuditKind;
        let room = RoomId::new(Epoch::FIRST, Lsn(5));
        let (what, detail) = (AuditKind::Present, String::new());
        let line =
            shown(Payload::Audit(Audit { what, principal: PrincipalId::NONE, room, detail }));
        assert_eq!((&line["room"], &line["about_room"]), (&json!("r0-1"), &json!("r1-5")));
        assert_eq!(line["time"], "1970-01-01T00:00:00.000001Z");
        assert_eq!(line.get("seq"), None);
    }
}
