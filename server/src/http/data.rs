//! The content of every kind of record as JSON: in compliance events and in room changes.
//!
//! One match, so that a new kind cannot be forgotten. INVARIANT: no hash of a password or a token
//! leaves here; whether an account has a password does.

use hansard_engine::format::payload::{
    Audit, CategorySettings, HoldSettings, Payload, Post, PrincipalSettings, Retention,
    RoomSettings, TokenCreated,
};
use hansard_engine::types::{PrincipalId, TimeUs};
use serde_json::{Value, json};

use super::validate::show_listed;
use super::view::Progress;
use super::words::Role;
use crate::codec::hex;
use crate::time;

/// The content of a record.
pub(crate) fn of(payload: &Payload) -> Value {
    match payload {
        Payload::Post(post) => entry(post),
        Payload::Lost(lost) => json!({ "kind": lost.kind }),
        Payload::ImportProgress(progress) => {
            let Progress { bytes, digest, done } = progress.into();
            json!({
                "format": progress.format,
                "source": progress.source,
                "from": progress.from,
                "bytes": bytes,
                "digest": digest,
                "done": done,
            })
        }
        Payload::Edited(body) => json!({ "body": body.body }),
        Payload::Redacted(body) => json!({ "reason": body.reason }),
        Payload::Expired(body) => {
            json!({ "floor": body.floor.0, "last_time": time::show(body.time) })
        }
        Payload::HoldPlaced(body) => hold(&body.settings),
        Payload::HoldReleased(body) => {
            let mut value = hold(&body.settings);
            value["hold"] = body.hold.to_string().into();
            value
        }
        Payload::Erased(body) => json!({ "reason": body.reason }),
        Payload::ComplianceExpired(body) => json!({ "upto_lsn": body.upto.0 }),
        Payload::SigningKey(body) => {
            json!({ "public": hex(&body.public), "endorsed": body.endorsed != [0; 64] })
        }
        // They prove other records, and are no events.
        Payload::Salts(_) | Payload::RoomHeads(_) | Payload::SignedHead(_) => json!({}),
        Payload::RoomCreated(body) => room(&body.settings),
        Payload::RoomChanged(body) => room(&body.settings),
        Payload::RoomDeleted(body) => room(&body.settings),
        Payload::MemberSet(body) => {
            json!({ "principal": body.principal.to_string(), "roles": Role::of(body.roles) })
        }
        Payload::MemberRemoved(body) => json!({ "principal": body.principal.to_string() }),
        Payload::CategoryCreated(body) => category(&body.settings),
        Payload::CategoryChanged(body) => {
            let mut value = category(&body.settings);
            value["category"] = body.category.to_string().into();
            value
        }
        Payload::CategoryDeleted(body) => {
            json!({ "category": body.category.to_string(), "name": body.name })
        }
        Payload::PrincipalCreated(body) => principal(&body.settings),
        Payload::PrincipalChanged(body) => {
            let mut value = principal(&body.settings);
            value["principal"] = body.principal.to_string().into();
            value
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

fn entry(post: &Post) -> Value {
    let mut value = json!({ "kind": post.kind.as_str(), "body": post.body });
    if post.reply_to.0 > 0 {
        value["reply_to"] = post.reply_to.0.into();
    }
    if let Some(mark) = &post.import {
        value["source"] = json!({
            "name": mark.source,
            "format": mark.format,
            "importer": mark.importer.to_string(),
        });
    }
    value
}

fn room(settings: &RoomSettings) -> Value {
    let mut value = json!({
        "category": settings.category.to_string(),
        "name": settings.name,
        "description": settings.description,
        "topic": settings.topic,
        "type": settings.kind.as_str(),
        "privacy": settings.privacy.as_str(),
        "invitations": settings.invitations.as_str(),
        "disabled": settings.disabled,
    });
    if !settings.continues.is_none() {
        value["continues"] = settings.continues.to_string().into();
    }
    if let Some(Retention { days, entries, bytes }) = settings.retention {
        value["retention"] = json!({ "days": days, "entries": entries, "bytes": bytes });
    }
    value
}

fn category(settings: &CategorySettings) -> Value {
    let list = |ids: &[PrincipalId]| ids.iter().copied().map(show_listed).collect::<Vec<_>>();
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

/// What a hold keeps; a field that is not there bounds nothing.
fn hold(settings: &HoldSettings) -> Value {
    let mut value = json!({ "name": settings.name, "reason": settings.reason });
    let mut with = |field: &str, text: Option<String>| {
        if let Some(text) = text {
            value[field] = text.into();
        }
    };
    with("room", (!settings.room.is_none()).then(|| settings.room.to_string()));
    with("category", (!settings.category.is_none()).then(|| settings.category.to_string()));
    with("principal", (!settings.principal.is_none()).then(|| settings.principal.to_string()));
    with("from", (settings.from > TimeUs::MIN).then(|| time::show(settings.from)));
    with("to", (settings.to < TimeUs::MAX).then(|| time::show(settings.to)));
    value
}

fn principal(settings: &PrincipalSettings) -> Value {
    json!({
        "kind": settings.kind.as_str(),
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
        "expires": time::show(body.expires),
        "session": body.session,
        "one_use": body.one_use,
    })
}

fn audit(body: &Audit) -> Value {
    let mut value = json!({ "what": body.what.as_str(), "detail": body.detail });
    if !body.principal.is_none() {
        value["principal"] = body.principal.to_string().into();
    }
    if !body.room.is_none() {
        value["room"] = body.room.to_string().into();
    }
    value
}

#[cfg(test)]
mod tests {
    use hansard_engine::format::payload::{PrincipalCreated, PrincipalKind};

    use super::*;

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
        let text = of(&Payload::PrincipalCreated(PrincipalCreated { settings })).to_string();
        assert!(!text.contains("argon2"), "{text}");
        let token = TokenCreated {
            principal: PrincipalId(9),
            name: "t".into(),
            sha256: [0xab; 32],
            expires: hansard_engine::types::TimeUs(0),
            session: true,
            one_use: false,
        };
        let text = of(&Payload::TokenCreated(token)).to_string();
        assert!(!text.contains("sha256") && !text.contains("171"), "{text}");
    }
}
