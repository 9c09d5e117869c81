//! Compliance events: `/events`, for administrators.
//!
//! The record as an examiner reads it, in log order, by (epoch, lsn). It shows every room; reading
//! it shows nothing to others.

use axum::extract::State;
use hansard_engine::types::Lsn;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::Params;
use super::validate;
use super::view::Event;
use crate::access::Access;
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::problem::Problem;
use crate::state::App;

/// Compliance events.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EventList {
    events: Vec<Event>,
    next: Option<String>,
}

/// Where to begin: `after` or `cursor`.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventParams {
    /// An `lsn`: what was recorded after it. 0 unless given.
    after: Option<u64>,
    /// What `next` said.
    cursor: Option<String>,
    /// Events of the answer: 1 to 500, 100 unless given.
    limit: Option<usize>,
}

/// Compliance events in log order. Administrators only.
#[utoipa::path(
    get, path = "/api/v1/events", tag = "compliance", params(EventParams),
    responses((status = 200, body = EventList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<EventParams>,
) -> Result<axum::Json<EventList>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let limit = validate::limit(params.limit, 100)?;
    if params.after.is_some() && params.cursor.is_some() {
        return Err(Problem::query("cursor", "at most one of after and cursor"));
    }
    let after = match params.after {
        Some(after) => after,
        None => validate::list_cursor(params.cursor.as_deref(), List::Events, 0)?,
    };
    // An examiner finds everything that was answered before he asked: an event of what needed no
    // row may be committed and not yet in its family.
    let committed = Lsn(app.engine.stats().committed_lsn.get());
    app.directory().wait_applied(committed).await;
    let (records, next) = app.read(move |engine| engine.events(Lsn(after), limit)).await??;
    let next =
        next.map(|lsn| Cursor::List { list: List::Events, within: 0, after: lsn.0 }.encode());
    Ok(axum::Json(EventList { events: records.iter().map(Event::from).collect(), next }))
}
