//! What surrounds every request: state of the log, time limit, counters and headers.
//!
//! It reads no body and logs none. INVARIANT: a request that changes something runs to its end even
//! if the client has gone, so that what follows a change (streams taken back) always follows.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use hansard_engine::Health;
use hansard_engine::stats::Stopwatch;
use tokio::runtime::Handle;

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
    let matched = request.extensions().get::<MatchedPath>().cloned();
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    let api = request.uri().path().starts_with("/api/");
    let mut response = answer(&app, route, request, next).await;
    let (status, took) = (response.status().as_u16(), watch.elapsed());
    app.metrics.request(route, status, took);
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
        match tokio::time::timeout(wait, ToItsEnd::new(work)).await {
            Ok(Ok(response)) => Some(response),
            Ok(Err(error)) => {
                tracing::error!(error, route, "a request failed");
                Some(Problem::new(Code::Internal).into_response())
            }
            Err(_) => None,
        }
    };
    done.unwrap_or_else(|| Problem::new(Code::Timeout).into_response())
}

/// Work that outlives a client who hangs up, and the wait for it: a task of its own goes on with
/// what is let go of before its end. Most is not, and needs no task. What it panics with is its
/// result.
///
/// # Cancel safety
/// Dropping it withdraws nothing, but for where the runtime is gone.
struct ToItsEnd<F: Future + Send + 'static>(Option<Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>>);

impl<F: Future + Send + 'static> ToItsEnd<F> {
    fn new(work: F) -> Self {
        Self(Some(Box::pin(AssertUnwindSafe(work).catch_unwind())))
    }
}

impl<F: Future + Send + 'static> Future for ToItsEnd<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.0 else { return Poll::Pending };
        let done = std::task::ready!(work.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(done.map_err(|panic| {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            words.unwrap_or_else(|| "it panicked".to_owned())
        }))
    }
}

impl<F: Future + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(async {
                if work.await.is_err() {
                    tracing::error!("a request failed whose client had gone");
                }
            });
        }
    }
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use tokio::sync::Notify;

    use super::*;

    #[tokio::test]
    async fn work_that_is_let_go_of_runs_to_its_end() {
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let work = |go: Arc<Notify>, ended: Arc<AtomicBool>| async move {
            go.notified().await;
            ended.store(true, Ordering::SeqCst);
        };
        let left = ToItsEnd::new(work(Arc::clone(&go), Arc::clone(&ended)));
        assert!(tokio::time::timeout(Duration::from_millis(1), left).await.is_err());
        assert!(!ended.load(Ordering::SeqCst));
        go.notify_one();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // One that nobody ever asked begins all the same.
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        drop(ToItsEnd::new(work(Arc::clone(&go), Arc::clone(&ended))));
        go.notify_one();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn what_work_panics_with_is_its_result() {
        async fn fails(words: Option<&'static str>) -> u8 {
            match words {
                Some(words) => panic!("{words}"),
                None => std::panic::panic_any(7_u8),
            }
        }
        assert_eq!(ToItsEnd::new(fails(Some("of this"))).await, Err("of this".to_owned()));
        assert_eq!(ToItsEnd::new(fails(None)).await, Err("it panicked".to_owned()));
        assert_eq!(ToItsEnd::new(async { 3 }).await, Ok(3));
    }
}
