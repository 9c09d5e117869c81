//! What surrounds every request: state of the log, time limit, counters and headers.
//!
//! It reads no body and logs none. INVARIANT: a request that changes something runs to its end even
//! if the client has gone, so that what follows a change (streams taken back) always follows.

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hansard_engine::Health;
use hansard_engine::stats::Stopwatch;

use super::health;
use crate::limits::{LONG_WAIT, REQUEST_WAIT};
use crate::problem::{Code, Problem};
use crate::state::App;

const OPEN_WHEN_RESTRICTED: [&str; 3] = ["/healthz", "/metrics", "/readyz"];
/// Routes that write much: how they end.
const LONG: [&str; 6] =
    ["/imports", "/erasures", "/admin/expire", "/admin/checkpoint", "/head", "/head/key"];
const CONTENT_POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Around every route.
pub(crate) async fn around(State(app): State<App>, request: Request, next: Next) -> Response {
    let watch = Stopwatch::start();
    let method = request.method().clone();
    let matched = request.extensions().get::<MatchedPath>();
    let route = matched.map_or("unmatched", MatchedPath::as_str).to_owned();
    let api = request.uri().path().starts_with("/api/");
    let mut response = answer(&app, &route, request, next).await;
    let (status, took) = (response.status().as_u16(), watch.elapsed());
    app.metrics.request(&route, status, took);
    let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
    tracing::debug!(%method, route, status, took_us, "request");
    headers(response.headers_mut(), api);
    response
}

async fn answer(app: &App, route: &str, request: Request, next: Next) -> Response {
    if !OPEN_WHEN_RESTRICTED.contains(&route) {
        let health = app.engine.health();
        if matches!(health, Health::Restricted { .. }) {
            let problem = health::refusal(&health);
            return problem.unwrap_or_else(Problem::not_found).into_response();
        }
    }
    let wait = if LONG.iter().any(|end| route.ends_with(end)) { LONG_WAIT } else { REQUEST_WAIT };
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    let work = next.run(request);
    let done = if safe {
        tokio::time::timeout(wait, work).await.ok()
    } else {
        // The task outlives a client that hangs up, and this wait: it ends by itself.
        let task = tokio::spawn(work);
        match tokio::time::timeout(wait, task).await {
            Ok(Ok(response)) => Some(response),
            Ok(Err(error)) => {
                tracing::error!(%error, route, "a request failed");
                Some(Problem::new(Code::Internal).into_response())
            }
            Err(_) => None,
        }
    };
    done.unwrap_or_else(|| Problem::new(Code::Timeout).into_response())
}

fn headers(headers: &mut HeaderMap, api: bool) {
    let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_SECURITY_POLICY, CONTENT_POLICY);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::REFERRER_POLICY, "no-referrer");
    if api {
        set(header::CACHE_CONTROL, "no-store");
    }
}
