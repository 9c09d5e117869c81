//! What only an administrator does to the server itself: accept the clock, checkpoint, scrub.
//!
//! The first two are recorded before they are done. INVARIANT: a checkpoint goes into a folder that
//! did not exist, named by an absolute path; nothing that exists is ever written over.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::error::Error;
use hansard_engine::expire::ExpireReport;
use hansard_engine::format::payload::{Audit, AuditKind, Payload};
use hansard_engine::scrub::{Finding, ScrubReport};
use hansard_engine::types::{RoomId, Seq};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::Json;
use crate::access::Access;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Plan, submit};

/// The longest path of a checkpoint, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// Nothing to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NoFields {}

/// Where a checkpoint goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CheckpointRequest {
    /// An absent folder on the server's machine, by its absolute path, on the file system of the
    /// data directory.
    dir: String,
}

/// What was done.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Done {
    /// Always true.
    done: bool,
}

/// A damaged place.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScrubFinding {
    /// The file, in the data directory.
    file: String,
    /// Where.
    offset: u64,
    /// How many bytes are concerned.
    bytes: u64,
    /// The room concerned, if one is.
    room: Option<String>,
    /// The first entry concerned.
    from_seq: Option<u64>,
    /// The last entry concerned.
    to_seq: Option<u64>,
    /// Which check failed.
    reason: String,
}

/// How the scrub stands and what it found.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Scrub {
    /// Passes that have ended since the server started.
    passes: u64,
    /// When the last one ended.
    last_end: Option<String>,
    /// A pass is under way.
    running: bool,
    /// Packs read by this pass, or by the last one.
    packs: u64,
    /// Bytes read by it.
    bytes: u64,
    /// Damaged places, at most 1000.
    damage: Vec<ScrubFinding>,
}

impl From<Finding> for ScrubFinding {
    fn from(found: Finding) -> Self {
        let Finding { file, offset, bytes, room, from_seq, to_seq, reason } = found;
        let seq = |seq: Seq| room.map(|_| seq.0);
        let (from_seq, to_seq) = (seq(from_seq), seq(to_seq));
        let room = room.map(|room| room.to_string());
        Self { file, offset, bytes, room, from_seq, to_seq, reason }
    }
}

impl From<ScrubReport> for Scrub {
    fn from(report: ScrubReport) -> Self {
        let ScrubReport { passes, last_end, running, packs, bytes, findings } = report;
        let last_end = last_end.map(|time| time.to_string());
        let damage = findings.into_iter().map(ScrubFinding::from).collect();
        Self { passes, last_end, running, packs, bytes, damage }
    }
}

async fn record(
    app: &App,
    caller: &Caller,
    what: AuditKind,
    detail: String,
) -> Result<(), Problem> {
    submit(app, caller, |attempt| {
        attempt.access.may_administer()?;
        let (principal, detail) = (caller.principal.id, detail.clone());
        let audit = Audit { what, principal, room: RoomId::NONE, detail };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::Audit(audit))))
    })
    .await
    .map(|_| ())
}

/// Accept the wall clock as it is. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/admin/clock", tag = "operations", request_body = NoFields,
    responses((status = 200, body = Done)),
)]
pub(crate) async fn clock(
    State(app): State<App>,
    caller: Caller,
    Json(NoFields {}): Json<NoFields>,
) -> Result<axum::Json<Done>, Problem> {
    let detail = format!("clock={}", app.engine.now());
    record(&app, &caller, AuditKind::ClockAccepted, detail).await?;
    app.engine.accept_clock();
    Ok(axum::Json(Done { done: true }))
}

/// Make a consistent copy of the data directory. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/admin/checkpoint", tag = "operations", request_body = CheckpointRequest,
    responses((status = 201, body = Done)),
)]
pub(crate) async fn checkpoint(
    State(app): State<App>,
    caller: Caller,
    Json(CheckpointRequest { dir }): Json<CheckpointRequest>,
) -> Result<(StatusCode, axum::Json<Done>), Problem> {
    let path = PathBuf::from(&dir);
    if !path.is_absolute() || dir.len() > PATH_BYTES_MAX || dir.contains('\0') {
        return Err(Problem::field("dir", "an absolute path of at most 4096 bytes"));
    }
    let shown: String = dir.chars().take(1000).collect();
    record(&app, &caller, AuditKind::Checkpoint, format!("dir={shown}")).await?;
    app.read(move |engine| engine.checkpoint(&path)).await??;
    Ok((StatusCode::CREATED, axum::Json(Done { done: true })))
}

/// How far retention goes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExpireRequest {
    /// Take it out of every pack as well, at once.
    #[serde(default)]
    purge: bool,
}

/// What retention took.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Expiry {
    /// Rooms of which entries expired.
    rooms: u64,
    /// Those entries.
    entries: u64,
    /// Rooms in which a legal hold kept entries that were due.
    held: u64,
    /// Compliance events whose own time was over.
    events: u64,
    /// Records that were dropped from packs, if that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    dropped: Option<u64>,
}

/// Let retention take now what is due. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/admin/expire", tag = "operations", request_body = ExpireRequest,
    responses((status = 200, body = Expiry)),
)]
pub(crate) async fn expire(
    State(app): State<App>,
    caller: Caller,
    Json(ExpireRequest { purge }): Json<ExpireRequest>,
) -> Result<axum::Json<Expiry>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let done = app.read(move |engine| {
        let ExpireReport { rooms, entries, held } = engine.expire()?;
        let events = engine.expire_events()?;
        let dropped = purge.then(|| engine.purge(&mut |_| true)).transpose()?;
        let dropped = dropped.map(|report| report.dropped);
        Ok::<_, Error>(Expiry { rooms, entries, held, events, dropped })
    });
    Ok(axum::Json(done.await??))
}

/// How the scrub of all packs stands and what it found. Administrators only.
#[utoipa::path(
    get, path = "/api/v1/admin/scrub", tag = "operations",
    responses((status = 200, body = Scrub)),
)]
pub(crate) async fn scrub(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Scrub>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    Ok(axum::Json(app.engine.scrub_report().into()))
}

/// Ask for a pass of the scrub now. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/admin/scrub", tag = "operations", request_body = NoFields,
    responses((status = 202, body = Done)),
)]
pub(crate) async fn scrub_now(
    State(app): State<App>,
    caller: Caller,
    Json(NoFields {}): Json<NoFields>,
) -> Result<(StatusCode, axum::Json<Done>), Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    app.engine.scrub_soon();
    Ok((StatusCode::ACCEPTED, axum::Json(Done { done: true })))
}
