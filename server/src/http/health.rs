//! For operators and their programs: `/healthz`, `/readyz` and `/metrics`.
//!
//! No credential is asked, so nothing here names a room, a person or a message; keep the listener
//! on loopback or behind a proxy that hides these. INVARIANT: they answer whatever state the log
//! is in.

use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use hansard_engine::Health as Engine;
use serde::Serialize;
use utoipa::ToSchema;

use crate::problem::{Code, Problem};
use crate::state::App;

/// A good answer.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// `ok` or `ready`.
    status: &'static str,
}

/// The process lives.
#[utoipa::path(
    get, path = "/healthz", tag = "operations", security(()),
    responses((status = 200, body = Status)),
)]
pub(crate) async fn live() -> axum::Json<Status> {
    axum::Json(Status { status: "ok" })
}

/// The server takes posts.
#[utoipa::path(
    get, path = "/readyz", tag = "operations", security(()),
    responses((status = 200, body = Status)),
)]
pub(crate) async fn ready(State(app): State<App>) -> Result<axum::Json<Status>, Problem> {
    if *app.stopping.borrow() {
        return Err(Problem::new(Code::Stopping));
    }
    match refusal(&app.engine.health()) {
        Some(problem) => Err(problem),
        None => Ok(axum::Json(Status { status: "ready" })),
    }
}

/// Why a log in this state is not ready.
pub(crate) fn refusal(health: &Engine) -> Option<Problem> {
    match health {
        Engine::Ready => None,
        Engine::Restricted { holes } => {
            let mut problem = Problem::new(Code::Restricted);
            let pairs = holes.iter().map(|hole| [hole.first.0, hole.last.0]);
            problem.extra.holes = Some(pairs.collect());
            Some(problem)
        }
        Engine::Poisoned { .. } => Some(Problem::new(Code::Poisoned)),
        Engine::NoSpace => Some(Problem::new(Code::NoSpace)),
        // No path of the machine to anybody who asks: the log has it.
        Engine::Stalled { .. } => Some(Problem::with(
            Code::Unavailable,
            "the journal is full, and what would make room fails: see the log",
        )),
        Engine::ClockRefused => Some(Problem::new(Code::ClockRefused)),
    }
}

/// Counters as OpenMetrics text.
#[utoipa::path(
    get, path = "/metrics", tag = "operations", security(()),
    responses((status = 200, body = String, content_type = "application/openmetrics-text")),
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], app.metrics.render(app.engine.stats())).into_response()
}
