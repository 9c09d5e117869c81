//! What only an administrator does to the server itself: accept the clock, make a checkpoint.
//!
//! Both are recorded before they are done. INVARIANT: a checkpoint goes into a folder that did not
//! exist, named by an absolute path; nothing that exists is ever written over.

use std::path::PathBuf;

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::format::payload::{Audit, AuditKind, Payload};
use hansard_engine::types::RoomId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::Json;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Plan, submit};

/// The longest path of a checkpoint, in bytes.
const PATH_BYTES_MAX: usize = 4096;

/// Nothing to say.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClockRequest {}

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
    post, path = "/api/v1/admin/clock", tag = "operations", request_body = ClockRequest,
    responses((status = 200, body = Done)),
)]
pub(crate) async fn clock(
    State(app): State<App>,
    caller: Caller,
    Json(ClockRequest {}): Json<ClockRequest>,
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
