//! `/compliance`: whether every record becomes an event, and for how long events are kept.
//!
//! The events themselves are in `events`. INVARIANT: a change is a record, and so an event; nothing
//! here removes one.

use axum::extract::State;
use hansard_engine::compliance::{self, SETTING_COMPLIANCE_DAYS, SETTING_COMPLIANCE_LOCKED};
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
    /// Nothing of it is erased before its time.
    locked: bool,
}

/// What is to change.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CompliancePatch {
    /// For how many days events are kept; 0 for ever.
    days: Option<u32>,
    /// Whether nothing of it is erased before its time.
    locked: Option<bool>,
}

impl Compliance {
    fn of(app: &App) -> Result<Self, Problem> {
        let compliance::Compliance { on, days, locked } = app.engine.compliance()?;
        Ok(Self { on, days, locked })
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

/// Change for how long events are kept, or whether they may be erased. Administrators only.
#[utoipa::path(
    patch, path = "/api/v1/compliance", tag = "compliance", request_body = CompliancePatch,
    responses((status = 200, body = Compliance)),
)]
pub(crate) async fn change(
    State(app): State<App>,
    caller: Caller,
    Json(CompliancePatch { days, locked }): Json<CompliancePatch>,
) -> Result<axum::Json<Compliance>, Problem> {
    let word = |locked| if locked { "on" } else { "off" }.to_owned();
    let settings = [
        (SETTING_COMPLIANCE_DAYS, days.map(|days| days.to_string())),
        (SETTING_COMPLIANCE_LOCKED, locked.map(word)),
    ];
    for (key, value) in settings {
        let Some(value) = value else { continue };
        submit(&app, &caller, |attempt| {
            attempt.access.may_administer()?;
            let setting = Setting { key: key.to_owned(), value: value.clone() };
            Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::Setting(setting))))
        })
        .await?;
    }
    Compliance::of(&app).map(axum::Json)
}
