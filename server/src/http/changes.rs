//! Everything that happened to a room, by rev: `/rooms/{id}/changes`.
//!
//! What the stream sends, for those who ask instead of listening. INVARIANT: a category without
//! history for users gives them a gap and no change.

use axum::extract::State;
use hansard_engine::reads::Changes;
use hansard_engine::types::{Rev, RoomId};
use serde::Deserialize;
use utoipa::IntoParams;

use super::input::{At, Params};
use super::validate;
use super::view::{Change, ChangePage, GapReason, RevGap};
use crate::access::Access;
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::problem::Problem;
use crate::state::App;
use crate::submit::audit_administrator;

/// Where to begin: `after` or `cursor`.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangeParams {
    /// A rev: what happened after it. 0 unless given.
    after: Option<u64>,
    /// What `next` said.
    cursor: Option<String>,
    /// Changes of the answer: 1 to 500, 50 unless given.
    limit: Option<usize>,
}

/// What happened to a room after a rev.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/changes", tag = "messages",
    params(("id" = String, Path), ChangeParams), responses((status = 200, body = ChangePage)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    Params(params): Params<ChangeParams>,
) -> Result<axum::Json<ChangePage>, Problem> {
    let limit = validate::limit(params.limit, app.config.page_limit_default)?;
    if params.after.is_some() && params.cursor.is_some() {
        return Err(Problem::query("cursor", "at most one of after and cursor"));
    }
    let directory = app.directory();
    let seen = Access::begin(&directory, &caller.principal).may_read_room(id)?;
    let after = match params.after {
        Some(after) => after,
        None => validate::list_cursor(params.cursor.as_deref(), List::Changes, id.0)?,
    };
    if seen.grant.as_administrator {
        audit_administrator(&app, &caller, id, "read").await?;
    }
    let changes = if seen.category.settings.history {
        app.read(move |engine| engine.changes(id, Rev(after), limit)).await??
    } else {
        let head = app.engine.head(id)?.rev;
        return Ok(axum::Json(not_kept(after, head)));
    };
    Ok(axum::Json(page(id, &changes)))
}

fn page(room: RoomId, changes: &Changes) -> ChangePage {
    let next = (changes.through < changes.head).then(|| {
        Cursor::List { list: List::Changes, within: room.0, after: changes.through.0 }.encode()
    });
    let gap = |(from, to): &(Rev, Rev), reason| RevGap { from_rev: from.0, to_rev: to.0, reason };
    let damaged = changes.holes.iter().map(|hole| gap(hole, GapReason::Damaged));
    let expired = changes.expired.iter().map(|hole| gap(hole, GapReason::Expired));
    let mut gaps: Vec<RevGap> = damaged.chain(expired).collect();
    gaps.sort_by_key(|gap| gap.from_rev);
    ChangePage {
        changes: changes
            .records
            .iter()
            .map(|record| Change::of(record, &changes.redacted))
            .collect(),
        gaps,
        through: changes.through.0,
        next,
    }
}

fn not_kept(after: u64, head: Rev) -> ChangePage {
    let gap =
        RevGap { from_rev: after.saturating_add(1), to_rev: head.0, reason: GapReason::NotKept };
    let gaps = if after < head.0 { vec![gap] } else { Vec::new() };
    ChangePage { changes: Vec::new(), gaps, through: after.max(head.0), next: None }
}
