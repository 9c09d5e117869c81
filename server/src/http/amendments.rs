//! What becomes of a message after it was posted: edits, redaction, versions.
//!
//! Every version is kept. An edit shows people the newest; a redaction hides all of them, and only
//! those who may administer read them from then on, as an event. INVARIANT: no answer here tells
//! one who may not read the room that the message exists.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hansard_engine::format::payload::{Edited, Payload, Post, Redacted};
use hansard_engine::format::record::Record;
use hansard_engine::limits::TEXT_BYTES_MAX;
use hansard_engine::reads::Amendment;
use hansard_engine::types::{Lsn, MessageId, RoomId};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::input::{At2, Json, Params};
use super::messages::{changed, one, tagged};
use super::validate;
use super::view::Versions;
use crate::access::{Access, Amend, Grant, Seen};
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::{Plan, audit_administrator, submit};

/// What a message shall say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditMessage {
    /// The text: not empty, at most 64 KiB of UTF-8.
    body: String,
}

/// Why a message is redacted.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RedactParams {
    /// In words, for the record: at most 1,024 characters.
    reason: Option<String>,
}

/// The message in question, for one who may read its room.
async fn found(
    app: &App,
    caller: &Caller,
    room: RoomId,
    name: MessageId,
) -> Result<(Record, Option<Amendment>), Problem> {
    readable(app, caller, room, name)?;
    one(app, name).await
}

/// Refuses who may not read the room, and a message that is not of this room or not kept for users.
fn readable(app: &App, caller: &Caller, room: RoomId, name: MessageId) -> Result<Seen, Problem> {
    let directory = app.directory();
    let seen = Access::begin(&directory, &caller.principal).may_read_room(room)?;
    if name.room != room || !seen.category.settings.history {
        return Err(Problem::not_found());
    }
    Ok(seen)
}

/// The entity tag of If-Match, if it is still the message's.
fn expected(headers: &HeaderMap, now: Lsn) -> Result<Option<Lsn>, Problem> {
    let expected = validate::if_match(headers)?;
    match expected {
        Some(seen) if seen != now => Err(Problem::new(Code::Stale)),
        _ => Ok(expected),
    }
}

/// Lets a message say something else. What it said is kept.
#[utoipa::path(
    patch, path = "/api/v1/rooms/{id}/messages/{message}", tag = "messages",
    request_body = EditMessage,
    params(
        ("id" = String, Path),
        ("message" = String, Path),
        ("If-Match" = Option<String>, Header),
    ),
    responses((
        status = 200, body = super::view::Message, headers(("ETag" = String)),
    )),
)]
pub(crate) async fn edit(
    State(app): State<App>,
    caller: Caller,
    At2(id, name): At2<RoomId, MessageId>,
    headers: HeaderMap,
    Json(EditMessage { body }): Json<EditMessage>,
) -> Result<Response, Problem> {
    let (record, amendment) = found(&app, &caller, id, name).await?;
    let author = record.actor.id;
    {
        let directory = app.directory();
        Access::begin(&directory, &caller.principal).may_amend(id, author, Amend::Edit)?;
    }
    validate::body_size(&body)?;
    if body.is_empty() {
        return Err(Problem::field("body", "a message is not empty"));
    }
    let expect = expected(&headers, changed(&record, amendment.as_ref()))?;
    if amendment.as_ref().is_some_and(|one| one.redacted) {
        return Err(Problem::new(Code::Redacted));
    }
    if matches!(&record.payload, Payload::Post(Post { body: now, .. }) if *now == body) {
        // It says that already.
        return Ok(tagged(&record, amendment));
    }
    submit(&app, &caller, |attempt| {
        let seen = attempt.access.may_amend(id, author, Amend::Edit)?;
        let edited = Edited { seq: name.seq, body: body.clone() };
        let mut draft = attempt.draft(id, Payload::Edited(edited));
        draft.expect = expect;
        Ok(Plan::of(draft).under(seen.grant, id, "edit"))
    })
    .await?;
    let (record, amendment) = one(&app, name).await?;
    Ok(tagged(&record, amendment))
}

/// Hides a message from people, with all that it ever said. Its place stays.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{id}/messages/{message}", tag = "messages",
    params(
        ("id" = String, Path),
        ("message" = String, Path),
        RedactParams,
        ("If-Match" = Option<String>, Header),
    ),
    responses((status = 204)),
)]
pub(crate) async fn redact(
    State(app): State<App>,
    caller: Caller,
    At2(id, name): At2<RoomId, MessageId>,
    headers: HeaderMap,
    Params(RedactParams { reason }): Params<RedactParams>,
) -> Result<StatusCode, Problem> {
    let (record, amendment) = found(&app, &caller, id, name).await?;
    let author = record.actor.id;
    {
        let directory = app.directory();
        Access::begin(&directory, &caller.principal).may_amend(id, author, Amend::Redact)?;
    }
    let reason = reason.unwrap_or_default();
    if reason.chars().count() > TEXT_BYTES_MAX / 4 {
        return Err(Problem::query("reason", "at most 1024 characters"));
    }
    let expect = expected(&headers, changed(&record, amendment.as_ref()))?;
    if amendment.is_some_and(|one| one.redacted) {
        app.hub.words_taken(id);
        return Ok(StatusCode::NO_CONTENT);
    }
    let done = submit(&app, &caller, |attempt| {
        let seen = attempt.access.may_amend(id, author, Amend::Redact)?;
        let redacted = Redacted { seq: name.seq, reason: reason.clone() };
        let mut draft = attempt.draft(id, Payload::Redacted(redacted));
        draft.expect = expect;
        Ok(Plan::of(draft).under(seen.grant, id, "redact"))
    })
    .await;
    // ORDERING: before the answer, so that no stream that begins behind it gets the words.
    app.hub.words_taken(id);
    match done {
        // Somebody else was faster, and it is hidden.
        Err(problem) if problem.code == Code::Redacted => Ok(StatusCode::NO_CONTENT),
        other => other.map(|_| StatusCode::NO_CONTENT),
    }
}

/// Everything that a message said. Of a redacted one for administrators only.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/messages/{message}/versions", tag = "messages",
    params(("id" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Versions)),
)]
pub(crate) async fn versions(
    State(app): State<App>,
    caller: Caller,
    At2(id, name): At2<RoomId, MessageId>,
) -> Result<axum::Json<Versions>, Problem> {
    let seen = readable(&app, &caller, id, name)?;
    // The same answers as for the message itself: absent, damaged, of another epoch.
    let (_, amendment) = one(&app, name).await?;
    let (grant, act) = match amendment.is_some_and(|one| one.redacted) {
        false => (seen.grant, "read"),
        true => (redacted_reader(&app, &caller, id)?, "read redacted"),
    };
    if grant.as_administrator {
        audit_administrator(&app, &caller, id, act).await?;
    }
    let versions = app.read(move |engine| engine.versions(id, name.seq)).await??;
    let versions = versions.ok_or_else(Problem::not_found)?;
    if versions.redacted && act == "read" {
        // It was redacted meanwhile.
        return Err(Problem::new(Code::Redacted));
    }
    Ok(axum::Json(Versions::from(&versions)))
}

/// The right to read what a redacted message said.
fn redacted_reader(app: &App, caller: &Caller, room: RoomId) -> Result<Grant, Problem> {
    let directory = app.directory();
    Ok(Access::begin(&directory, &caller.principal).may_read_redacted(room)?.grant)
}
