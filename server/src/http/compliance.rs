//! `/compliance`: whether every record becomes an event, and for how long events are kept.
//!
//! The events themselves are in `events`. INVARIANT: a change is a record, and so an event; nothing
//! here removes one.

use axum::extract::State;
use hansard_engine::apply::SETTING_COMPLIANCE_DAYS;
use hansard_engine::compliance;
use hansard_engine::format::payload::{Payload, Setting};
use hansard_engine::types::RoomId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::Json;
use crate::access::Access;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Plan, submit};

/// The settings of the compliance record.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compliance {
    /// Every record becomes an event.
    on: bool,
    /// For how many days events are kept; 0 for ever.
    days: u32,
}

/// What is to change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompliancePatch {
    /// For how many days events are kept; 0 for ever.
    days: u32,
}

impl Compliance {
    fn of(app: &App) -> Result<Self, Problem> {
        let compliance::Compliance { on, days } = app.engine.compliance()?;
        Ok(Self { on, days })
    }
}

/// The settings of the compliance record. Administrators only.
#[utoipa::path(
    get, path = "/api/v1/compliance", tag = "compliance",
    responses((status = 200, body = Compliance)),
)]
pub(crate) async fn show(
    State(app): State<App>,
    caller: Caller,
) -> Result<axum::Json<Compliance>, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    Compliance::of(&app).map(axum::Json)
}

/// Change for how long events are kept. Administrators only.
#[utoipa::path(
    patch, path = "/api/v1/compliance", tag = "compliance", request_body = CompliancePatch,
    responses((status = 200, body = Compliance)),
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Json(CompliancePatch { days }): Json<CompliancePatch>,
) -> Result<axum::Json<Compliance>, Problem> {
    submit(&app, &caller, |attempt| {
        attempt.access.may_administer()?;
        let (key, value) = (SETTING_COMPLIANCE_DAYS.to_owned(), days.to_string());
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::Setting(Setting { key, value }))))
    })
    .await?;
    Compliance::of(&app).map(axum::Json)
}
