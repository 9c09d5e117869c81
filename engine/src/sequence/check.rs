//! The refusals of `sequence`: what has become wrong since the door looked.
//!
//! Limits of length are here too, so that no door can forget one. It never changes the state.

use std::sync::Arc;

use super::state::{Policy, SeqState};
use crate::catalog::keys;
use crate::catalog::rows::{
    AmendRow, CategoryRow, HeadRow, HoldRow, PrincipalRow, RoomRow, TokenRow,
};
use crate::draft::Draft;
use crate::error::{ConflictCode, Error, Result};
use crate::format::payload::{
    CategorySettings, Erased, Expired, HoldSettings, ImportProgress, Payload, Post, PrincipalKind,
    PrincipalSettings, RoomSettings,
};
use crate::format::record::Record;
use crate::limits;
use crate::types::{Lsn, PrincipalId, RoomId, Seq};

/// Refuses a draft that contradicts the record, or lets it in.
pub(super) fn admit(draft: &Draft, room: RoomId, head: &HeadRow, state: &SeqState) -> Result<()> {
    actor(draft)?;
    match &draft.payload {
        Payload::RoomCreated(p) => room_created(&p.settings, state),
        Payload::Post(p) => {
            live_room(room, state)?;
            post(p)
        }
        Payload::Edited(p) => {
            body(&p.body)?;
            let row = amendable(draft, room, p.seq, head, state)?;
            if row.edits >= limits::EDITS_MAX {
                return Err(Error::invalid(format!(
                    "an entry takes at most 1000 edits seq={}",
                    p.seq
                )));
            }
            Ok(())
        }
        Payload::Redacted(p) => {
            text("reason", &p.reason, limits::TEXT_BYTES_MAX / 4, 0)?;
            amendable(draft, room, p.seq, head, state).map(|_| ())
        }
        Payload::Erased(p) => erased(draft, room, p, head, state),
        Payload::Expired(p) => expired(draft, room, p, head, state),
        Payload::HoldPlaced(p) => hold(&p.settings, state),
        Payload::HoldReleased(p) => {
            let row: Option<HoldRow> = state.applied_row(&keys::hold(p.hold), "hold row")?;
            row.map(|_| ()).ok_or(Error::NotFound { what: "hold" })
        }
        Payload::ComplianceExpired(_)
        | Payload::SigningKey(_)
        | Payload::RoomHeads(_)
        | Payload::SignedHead(_) => own(draft),
        Payload::Salts(p) => {
            own(draft)?;
            if p.is_sound() { Ok(()) } else { Err(Error::invalid("seeds of salts are unsound")) }
        }
        Payload::Lost(_) => Err(Error::invalid("a loss cannot be appended")),
        Payload::ImportProgress(p) => {
            live_room(room, state)?;
            import(room, p, state)
        }
        Payload::RoomChanged(p) => room_changed(draft, room, &p.settings, state),
        Payload::RoomDeleted(_) => unchanged(draft, live_room(room, state)?.changed),
        Payload::MemberSet(p) => {
            live_room(room, state)?;
            principal(p.principal, state).map(|_| ())
        }
        Payload::MemberRemoved(_) => live_room(room, state).map(|_| ()),
        Payload::CategoryCreated(p) => {
            category_settings(&p.settings)?;
            free(&keys::category_name(&p.settings.name), state)
        }
        Payload::CategoryChanged(p) => {
            category_settings(&p.settings)?;
            let before = category(p.category, state)?;
            unchanged(draft, before.changed)?;
            let (old, new) = (&before.settings.name, &p.settings.name);
            free_unless_same(&keys::category_name(old), &keys::category_name(new), state)
        }
        Payload::CategoryDeleted(p) => {
            unchanged(draft, category(p.category, state)?.changed)?;
            if state.has_rooms(p.category)? {
                return Err(Error::conflict(ConflictCode::NotEmpty, "category has rooms"));
            }
            Ok(())
        }
        Payload::PrincipalCreated(p) => {
            principal_settings(&p.settings)?;
            free(&principal_name_key(&p.settings), state)
        }
        Payload::PrincipalChanged(p) => {
            principal_settings(&p.settings)?;
            let before = principal(p.principal, state)?;
            unchanged(draft, before.changed)?;
            let (old, new) =
                (principal_name_key(&before.settings), principal_name_key(&p.settings));
            free_unless_same(&old, &new, state)
        }
        Payload::TokenCreated(p) => text("token name", &p.name, limits::NAME_CHARS_MAX, 0),
        Payload::TokenRevoked(p) => {
            let row: Option<TokenRow> = state.applied_row(&keys::token(&p.sha256), "token row")?;
            match row {
                Some(row) if !row.revoked && !state.token_gone(p.token) => Ok(()),
                _ => Err(Error::NotFound { what: "token" }),
            }
        }
        Payload::Audit(p) => text("detail", &p.detail, limits::TEXT_BYTES_MAX, 0),
        Payload::Setting(p) => {
            text("setting", &p.key, limits::NAME_CHARS_MAX, 1)?;
            text("setting value", &p.value, limits::SETTING_BYTES_MAX, 0)
        }
        Payload::LossAccepted(p) if p.holes.len() > limits::HOLES_MAX => {
            Err(Error::invalid(format!("too many holes found={}", p.holes.len())))
        }
        Payload::LossAccepted(_) => Ok(()),
    }
}

/// A record over the limit never reaches the journal.
pub(super) fn size(record: &Record) -> Result<()> {
    // An estimate from above would refuse what fits; encoding is cheap beside a sync.
    let bytes = match &record.payload {
        Payload::Post(p) => p.body.len() + 2048,
        Payload::Edited(p) => p.body.len() + 2048,
        _ => record.to_bytes().len(),
    };
    if bytes > limits::RECORD_BYTES_MAX {
        return Err(Error::invalid(format!("record is too long bytes={bytes}")));
    }
    Ok(())
}

fn actor(draft: &Draft) -> Result<()> {
    let actor = &draft.actor;
    if actor.name.len() > limits::NAME_BYTES_MAX || actor.address.len() > limits::ADDRESS_BYTES_MAX
    {
        return Err(Error::invalid("actor name or address is too long"));
    }
    if let Some(idempotency) = &draft.idempotency {
        let key = &idempotency.key;
        let printable = key.iter().all(|b| (0x20..0x7f).contains(b));
        if key.is_empty() || key.len() > limits::IDEMPOTENCY_KEY_BYTES_MAX || !printable {
            return Err(Error::invalid("idempotency key must be 1 to 128 printable bytes"));
        }
    }
    Ok(())
}

fn text(field: &str, value: &str, max: usize, min: usize) -> Result<()> {
    let chars = value.chars().count();
    if chars < min || chars > max {
        return Err(Error::invalid(format!(
            "{field} must have {min} to {max} characters found={chars}"
        )));
    }
    Ok(())
}

fn name(field: &str, value: &str) -> Result<()> {
    text(field, value, limits::NAME_CHARS_MAX, 1)?;
    if value.chars().any(char::is_control) || value.trim() != value {
        return Err(Error::invalid(format!(
            "{field} must have no control characters and no space at its ends"
        )));
    }
    Ok(())
}

/// An entry that exists, is not hidden, and did not change since the caller saw it.
fn amendable(
    draft: &Draft,
    room: RoomId,
    seq: Seq,
    head: &HeadRow,
    state: &SeqState,
) -> Result<AmendRow> {
    live_room(room, state)?;
    if seq <= state.floor(room)? || seq > head.seq {
        return Err(Error::NotFound { what: "entry" });
    }
    let row = state.amended(room, seq)?;
    if row.is_erased() {
        return Err(Error::NotFound { what: "entry" });
    }
    if row.is_redacted() {
        let text = format!("entry is redacted already room={room} seq={seq}");
        return Err(Error::conflict(ConflictCode::Redacted, text));
    }
    // An entry that was never changed is still what the caller saw.
    if row.changed > Lsn::ZERO {
        unchanged(draft, row.changed)?;
    }
    Ok(row)
}

/// An entry that no hold keeps, also one that retention took: its words may still be on the disk.
fn erased(
    draft: &Draft,
    room: RoomId,
    erased: &Erased,
    head: &HeadRow,
    state: &SeqState,
) -> Result<()> {
    text("reason", &erased.reason, limits::TEXT_BYTES_MAX / 4, 0)?;
    if erased.records.len() as u64 > limits::EDITS_MAX + 2 {
        return Err(Error::invalid("too many versions of one entry"));
    }
    let gone = erased.seq == Seq::ZERO || erased.seq > head.seq;
    let row = state.amended(room, erased.seq)?;
    let Some(of) = state.room(room)?.filter(|_| !gone && !row.is_erased()) else {
        return Err(Error::NotFound { what: "entry" });
    };
    // What became of an entry before retention took it no row says any more, and nothing else will.
    let past = state.past(room)?;
    let changed = if erased.seq <= past.floor { past.at } else { row.changed };
    if changed > Lsn::ZERO {
        unchanged(draft, changed)?;
    }
    let compliance = state.compliance()?;
    if compliance.on && compliance.locked {
        let text = "the compliance record is locked: nothing in it is erased before its time";
        return Err(Error::conflict(ConflictCode::Held, text));
    }
    let holds = state.holds()?;
    let keeps = |row: &&HoldRow| {
        let HoldSettings { room: on, category, principal, from, to, .. } = row.settings;
        (on.is_none() || on == room)
            && (category.is_none() || category == of.settings.category)
            && (principal.is_none() || principal == erased.author)
            && (from..to).contains(&erased.time)
    };
    match holds.iter().find(keeps) {
        Some(hold) => {
            let text = format!("a legal hold keeps the entry hold={}", hold.id);
            Err(Error::conflict(ConflictCode::Held, text))
        }
        None => Ok(()),
    }
}

fn body(body: &str) -> Result<()> {
    if body.len() > limits::BODY_BYTES_MAX {
        let found = body.len();
        return Err(Error::invalid(format!("body is longer than 65536 bytes found={found}")));
    }
    Ok(())
}

fn post(post: &Post) -> Result<()> {
    body(&post.body)?;
    match &post.import {
        Some(mark) if mark.source.len() > limits::SOURCE_BYTES_MAX => {
            Err(Error::invalid("import source is longer than 256 bytes"))
        }
        _ => Ok(()),
    }
}

fn own(draft: &Draft) -> Result<()> {
    match draft.actor.id {
        PrincipalId::SYSTEM => Ok(()),
        _ => Err(Error::invalid("retention is the server's own")),
    }
}

/// Entries go by the server's own doing only, and further each time.
fn expired(
    draft: &Draft,
    room: RoomId,
    expired: &Expired,
    head: &HeadRow,
    state: &SeqState,
) -> Result<()> {
    own(draft)?;
    if expired.floor > head.seq || expired.floor <= state.floor(room)? {
        return Err(Error::invalid(format!("nothing expires floor={}", expired.floor)));
    }
    Ok(())
}

/// A hold on things that exist.
fn hold(settings: &HoldSettings, state: &SeqState) -> Result<()> {
    name("hold name", &settings.name)?;
    text("reason", &settings.reason, limits::TEXT_BYTES_MAX / 4, 0)?;
    if !settings.room.is_none() && state.room(settings.room)?.is_none() {
        return Err(Error::NotFound { what: "room" });
    }
    if !settings.category.is_none() {
        category(settings.category, state)?;
    }
    if !settings.principal.is_none() {
        principal(settings.principal, state)?;
    }
    if settings.from >= settings.to {
        return Err(Error::invalid("a hold's times must be from an earlier to a later one"));
    }
    if state.holds()?.len() >= limits::HOLDS_MAX {
        return Err(Error::invalid("at most 4096 legal holds at once"));
    }
    Ok(())
}

fn live_room(room: RoomId, state: &SeqState) -> Result<Arc<RoomRow>> {
    match state.room(room)? {
        Some(row) if !row.deleted => Ok(row),
        _ => Err(Error::NotFound { what: "room" }),
    }
}

fn room_settings(settings: &RoomSettings) -> Result<()> {
    name("room name", &settings.name)?;
    text("description", &settings.description, limits::TEXT_BYTES_MAX / 4, 0)?;
    text("topic", &settings.topic, limits::TEXT_BYTES_MAX / 4, 0)
}

fn room_created(settings: &RoomSettings, state: &SeqState) -> Result<()> {
    room_settings(settings)?;
    category(settings.category, state)?;
    if !settings.continues.is_none() {
        live_room(settings.continues, state)?;
    }
    free(&keys::room_name(&settings.name), state)
}

fn room_changed(draft: &Draft, room: RoomId, new: &RoomSettings, state: &SeqState) -> Result<()> {
    room_settings(new)?;
    let before = live_room(room, state)?;
    unchanged(draft, before.changed)?;
    if before.settings.category != new.category {
        category(new.category, state)?;
        // A room must not leave a hold by moving away from under it.
        let from = before.settings.category;
        if let Some(hold) = state.holds()?.iter().find(|hold| hold.settings.category == from) {
            let text = format!("a legal hold is on the category hold={}", hold.id);
            return Err(Error::conflict(ConflictCode::Held, text));
        }
    }
    let (old, new) = (keys::room_name(&before.settings.name), keys::room_name(&new.name));
    free_unless_same(&old, &new, state)
}

fn category(id: crate::types::CategoryId, state: &SeqState) -> Result<CategoryRow> {
    let row = state.applied_row(&keys::category(id), "category row")?;
    row.ok_or(Error::NotFound { what: "category" })
}

fn category_settings(settings: &CategorySettings) -> Result<()> {
    name("category name", &settings.name)?;
    text("description", &settings.description, limits::TEXT_BYTES_MAX / 4, 0)?;
    for list in [&settings.allowed, &settings.denied, &settings.creators] {
        if list.len() > limits::SCOPE_PRINCIPALS_MAX {
            return Err(Error::invalid(format!(
                "a scope lists at most 4096 principals found={}",
                list.len()
            )));
        }
    }
    Ok(())
}

fn principal(id: PrincipalId, state: &SeqState) -> Result<PrincipalRow> {
    let changed = state.changed(Policy::Principal(id));
    let row: Option<PrincipalRow> = state.applied_row(&keys::principal(id), "principal row")?;
    match row {
        Some(row) if row.changed >= changed => Ok(row),
        Some(_) => Err(Error::PolicyChanged { changed }),
        None => Err(Error::NotFound { what: "principal" }),
    }
}

fn principal_settings(settings: &PrincipalSettings) -> Result<()> {
    if settings.kind == PrincipalKind::Imported {
        // A nick is kept as it was written.
        text("author", &settings.name, limits::NAME_CHARS_MAX, 1)?;
        text("author source", &settings.source, limits::SOURCE_BYTES_MAX / 4, 1)?;
        return Ok(());
    }
    name("name", &settings.name)?;
    match &settings.password {
        Some(hash) if hash.len() > limits::PASSWORD_HASH_BYTES_MAX => {
            Err(Error::invalid("password hash is too long"))
        }
        _ => Ok(()),
    }
}

/// The name key of a principal.
pub(crate) fn principal_name_key(settings: &PrincipalSettings) -> Vec<u8> {
    let imported = settings.kind == PrincipalKind::Imported;
    keys::principal_name(imported.then_some(settings.source.as_str()), &settings.name)
}

fn free(key: &Vec<u8>, state: &SeqState) -> Result<()> {
    if state.name_taken(key)? {
        return Err(Error::conflict(ConflictCode::NameUnavailable, "name is unavailable"));
    }
    Ok(())
}

fn free_unless_same(old: &Vec<u8>, new: &Vec<u8>, state: &SeqState) -> Result<()> {
    if old == new { Ok(()) } else { free(new, state) }
}

/// `If-Match`: the caller saw the newest version.
fn unchanged(draft: &Draft, changed: Lsn) -> Result<()> {
    match draft.expect {
        Some(seen) if seen != changed => {
            let text = format!("object changed since it was read seen={seen} changed={changed}");
            Err(Error::conflict(ConflictCode::Stale, text))
        }
        _ => Ok(()),
    }
}

/// An import goes on exactly where it stopped, and nothing follows its end.
fn import(room: RoomId, next: &ImportProgress, state: &SeqState) -> Result<()> {
    if next.source.is_empty() || next.source.len() > limits::SOURCE_BYTES_MAX {
        return Err(Error::invalid("import source must have 1 to 256 bytes"));
    }
    text("import format", &next.format, 32, 1)?;
    let before = state.import(room, &next.format, &next.source)?;
    let (bytes, done) = before.map_or((0, false), |before| (before.bytes, before.done));
    let wrong = done || next.from != bytes || next.bytes < bytes;
    if wrong {
        let (source, from) = (&next.source, next.from);
        let text = format!("import stands elsewhere source={source:?} bytes={bytes} from={from}");
        return Err(Error::conflict(ConflictCode::ImportProgress, text));
    }
    Ok(())
}
