//! Legal holds: what they keep, retention does not take.
//!
//! A hold keeps the entries to which all applies that it names; one that names nothing keeps
//! everything. Placing and releasing are records, and so compliance events. INVARIANT: who is no
//! administrator hears of no hold.

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::catalog::rows::HoldRow;
use hansard_engine::format::payload::{HoldPlaced, HoldReleased, HoldSettings, Payload};
use hansard_engine::types::{CategoryId, HoldId, PrincipalId, RoomId, TimeUs};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{At, Json};
use super::validate;
use crate::access::Access;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Plan, first, submit};
use crate::time;

/// A hold to be placed. What is left out bounds nothing.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHold {
    /// What it is called.
    name: String,
    /// Why, in words.
    reason: Option<String>,
    /// Entries of this room only.
    room: Option<String>,
    /// Entries of rooms in this category only.
    category: Option<String>,
    /// Entries of this author only.
    principal: Option<String>,
    /// Entries said at this time or later only.
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Entries said before this time only.
    #[schema(format = DateTime)]
    to: Option<String>,
}

/// A hold.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Hold {
    /// Its identifier.
    id: String,
    /// What it is called.
    name: String,
    /// Why, in words.
    reason: String,
    /// Entries of this room only.
    #[serde(skip_serializing_if = "Option::is_none")]
    room: Option<String>,
    /// Entries of rooms in this category only.
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    /// Entries of this author only.
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<String>,
    /// Entries said at this time or later only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    from: Option<String>,
    /// Entries said before this time only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = DateTime)]
    to: Option<String>,
    /// When it was placed.
    #[schema(format = DateTime)]
    placed: String,
    /// Who placed it.
    by: String,
}

/// Holds in the order they were placed: all of them, 4,096 at most.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct HoldList {
    holds: Vec<Hold>,
    /// Always null.
    next: Option<String>,
}

impl From<HoldRow> for Hold {
    fn from(row: HoldRow) -> Self {
        let HoldRow { id, settings, placed, by } = row;
        let HoldSettings { name, reason, room, category, principal, from, to } = settings;
        Self {
            id: id.to_string(),
            name,
            reason,
            room: (!room.is_none()).then(|| room.to_string()),
            category: (!category.is_none()).then(|| category.to_string()),
            principal: (!principal.is_none()).then(|| principal.to_string()),
            from: (from > TimeUs::MIN).then(|| time::show(from)),
            to: (to < TimeUs::MAX).then(|| time::show(to)),
            placed: time::show(placed),
            by: by.to_string(),
        }
    }
}

/// What the body says, with every field checked.
fn checked(body: NewHold) -> Result<HoldSettings, Problem> {
    let NewHold { name, reason, room, category, principal, from, to } = body;
    validate::name("name", &name)?;
    let reason = reason.unwrap_or_default();
    validate::text("reason", &reason)?;
    let room = room.map(|text| validate::id::<RoomId>("room", &text)).transpose()?;
    let category =
        category.map(|text| validate::id::<CategoryId>("category", &text)).transpose()?;
    let principal =
        principal.map(|text| validate::id::<PrincipalId>("principal", &text)).transpose()?;
    let moment = |field: &str, text: Option<String>, unset| {
        text.map_or(Ok(unset), |text| validate::body_time(field, &text))
    };
    let (from, to) = (moment("from", from, TimeUs::MIN)?, moment("to", to, TimeUs::MAX)?);
    if from >= to {
        return Err(Problem::field("to", "must be later than from"));
    }
    Ok(HoldSettings {
        name,
        reason,
        room: room.unwrap_or_default(),
        category: category.unwrap_or_default(),
        principal: principal.unwrap_or_default(),
        from,
        to,
    })
}

fn rows(app: &App) -> Result<Vec<HoldRow>, Problem> {
    Ok(app.engine.holds()?)
}

/// Places a hold. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/holds", tag = "operations", request_body = NewHold,
    responses((status = 201, body = Hold)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewHold>,
) -> Result<(StatusCode, axum::Json<Hold>), Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let settings = checked(body)?;
    let appended = submit(&app, &caller, |attempt| {
        attempt.access.may_administer()?;
        let directory = attempt.directory;
        let absent = |field: &str| Err(Problem::field(field, "there is no such thing"));
        if !settings.room.is_none() && directory.room(settings.room)?.is_none() {
            return absent("room");
        }
        if !settings.category.is_none() && directory.category(settings.category)?.is_none() {
            return absent("category");
        }
        if !settings.principal.is_none() && directory.principal(settings.principal)?.is_none() {
            return absent("principal");
        }
        let placed = HoldPlaced { settings: settings.clone() };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::HoldPlaced(placed))))
    })
    .await?;
    let appended = first(appended)?;
    let id = HoldId::new(appended.epoch, appended.lsn);
    let (placed, by) = (appended.recorded, caller.principal.id);
    let hold = Hold::from(HoldRow { id, settings, placed, by });
    Ok((StatusCode::CREATED, axum::Json(hold)))
}

/// Every hold. Administrators only.
#[utoipa::path(
    get, path = "/api/v1/holds", tag = "operations",
    responses((status = 200, body = HoldList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<HoldList>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let holds = rows(&app)?.into_iter().map(Hold::from).collect();
    Ok(axum::Json(HoldList { holds, next: None }))
}

/// Releases a hold. Administrators only.
#[utoipa::path(
    delete, path = "/api/v1/holds/{id}", tag = "operations", params(("id" = String, Path)),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<HoldId>,
) -> Result<StatusCode, Problem> {
    submit(&app, &caller, |attempt| {
        attempt.access.may_administer()?;
        let row = rows(&app)?.into_iter().find(|row| row.id == id);
        let settings = row.ok_or_else(Problem::not_found)?.settings;
        let released = HoldReleased { hold: id, settings };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::HoldReleased(released))))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}
