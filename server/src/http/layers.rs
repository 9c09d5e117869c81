//! What surrounds every request: state of the log, time limit, counters and headers.
//!
//! It reads no body and logs none. INVARIANT: a request that changes something runs to its end even
//! if the client has gone, so that what follows a change (streams taken back) always follows.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::extract::{MatchedPath, Request};
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use futures_util::future::CatchUnwind;
use hansard_engine::stats::Stopwatch;
use pin_project_lite::pin_project;
use tokio::runtime::Handle;
use tokio::time::Sleep;
use tower_layer::Layer;
use tower_service::Service;

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

/// Puts [`Surrounded`] around a route.
#[derive(Clone)]
pub(crate) struct Around(pub(crate) App);

impl<S> Layer<S> for Around {
    type Service = Surrounded<S>;

    fn layer(&self, inner: S) -> Surrounded<S> {
        Surrounded { app: self.0.clone(), inner }
    }
}

/// A route with what surrounds it.
#[derive(Clone)]
pub(crate) struct Surrounded<S> {
    app: App,
    inner: S,
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Answering<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let watch = Stopwatch::start();
        let method = request.method().clone();
        let matched = request.extensions().get::<MatchedPath>().cloned();
        let route = name(matched.as_ref());
        let api = request.uri().path().starts_with("/api/");
        let long = LONG.iter().any(|end| route.ends_with(end));
        let wait = tokio::time::sleep(if long { LONG_WAIT } else { REQUEST_WAIT });
        let work = match refusal(&self.app, route) {
            Some(response) => Work::Refused { response: Some(response) },
            None => {
                let reads = matches!(method, Method::GET | Method::HEAD);
                Work::Runs { work: ToItsEnd::new(self.inner.call(request), !reads) }
            }
        };
        Answering { app: self.app.clone(), watch, method, matched, api, work, wait }
    }
}

fn name(matched: Option<&MatchedPath>) -> &str {
    matched.map_or("unmatched", MatchedPath::as_str)
}

/// The answer to a request while records that were acknowledged are missing.
fn refusal(app: &App, route: &str) -> Option<Response> {
    if !app.engine.is_restricted() || OPEN_WHEN_RESTRICTED.contains(&route) {
        return None;
    }
    let problem = health::refusal(&app.engine.health());
    Some(problem.unwrap_or_else(Problem::not_found).into_response())
}

enum Work<F: Future + Send + 'static> {
    Refused { response: Option<Response> },
    Runs { work: ToItsEnd<F> },
}

pin_project! {
    /// The answer to a request, when it is there or its time has passed.
    ///
    /// # Cancel safety
    /// Of a request that changes something only the answer is lost.
    pub(crate) struct Answering<F>
    where
        F: Future,
        F: Send,
        F: 'static,
    {
        app: App,
        watch: Stopwatch,
        method: Method,
        matched: Option<MatchedPath>,
        api: bool,
        work: Work<F>,
        #[pin]
        wait: Sleep,
    }
}

impl<F> Future for Answering<F>
where
    F: Future<Output = Result<Response, Infallible>> + Send + 'static,
{
    type Output = Result<Response, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let route = name(this.matched.as_ref());
        let done = match this.work {
            Work::Refused { response } => response.take(),
            Work::Runs { work } => match Pin::new(work).poll(context) {
                Poll::Ready(Ok(Ok(response))) => Some(response),
                Poll::Ready(Err(error)) => {
                    tracing::error!(error, route, "a request failed");
                    Some(Problem::new(Code::Internal).into_response())
                }
                Poll::Pending => {
                    ready!(this.wait.poll(context));
                    None
                }
            },
        };
        let mut response = done.unwrap_or_else(|| Problem::new(Code::Timeout).into_response());
        let (status, took) = (response.status().as_u16(), this.watch.elapsed());
        this.app.metrics.request(route, status, took);
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(method = %this.method, route, status, took_us, "request");
        headers(response.headers_mut(), *this.api);
        Poll::Ready(Ok(response))
    }
}

/// Work that outlives a client who hangs up, if it is to, and the wait for it: a task of its own
/// goes on with what is let go of before its end. Most is not, and needs no task. What it panics
/// with is its result.
///
/// # Cancel safety
/// Dropping it withdraws nothing that is to come to its end, but for where the runtime is gone.
struct ToItsEnd<F: Future + Send + 'static> {
    work: Option<Pin<Box<CatchUnwind<AssertUnwindSafe<F>>>>>,
    always: bool,
}

impl<F: Future + Send + 'static> ToItsEnd<F> {
    fn new(work: F, always: bool) -> Self {
        Self { work: Some(Box::pin(AssertUnwindSafe(work).catch_unwind())), always }
    }
}

impl<F: Future + Send + 'static> Future for ToItsEnd<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else { return Poll::Pending };
        let done = ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(done.map_err(|panic| {
            let words = panic.downcast_ref::<&str>().map(|words| (*words).to_owned());
            let words = words.or_else(|| panic.downcast_ref::<String>().cloned());
            words.unwrap_or_else(|| "it panicked".to_owned())
        }))
    }
}

impl<F: Future + Send + 'static> Drop for ToItsEnd<F> {
    fn drop(&mut self) {
        let work = self.work.take().filter(|_| self.always);
        if let (Some(work), Ok(runtime)) = (work, Handle::try_current()) {
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
        let left = ToItsEnd::new(work(Arc::clone(&go), Arc::clone(&ended)), true);
        assert!(tokio::time::timeout(Duration::from_millis(1), left).await.is_err());
        assert!(!ended.load(Ordering::SeqCst));
        go.notify_one();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // One that nobody ever asked begins all the same.
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        drop(ToItsEnd::new(work(Arc::clone(&go), Arc::clone(&ended)), true));
        go.notify_one();
        while !ended.load(Ordering::SeqCst) {
            tokio::task::yield_now().await;
        }
        // What only reads is let go of: nobody holds its parts any more.
        let (go, ended) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        drop(ToItsEnd::new(work(go, Arc::clone(&ended)), false));
        assert_eq!(Arc::strong_count(&ended), 1);
    }

    #[tokio::test]
    async fn what_work_panics_with_is_its_result() {
        async fn fails(words: Option<&'static str>) -> u8 {
            match words {
                Some(words) => panic!("{words}"),
                None => std::panic::panic_any(7_u8),
            }
        }
        assert_eq!(ToItsEnd::new(fails(Some("of this")), true).await, Err("of this".to_owned()));
        assert_eq!(ToItsEnd::new(fails(None), true).await, Err("it panicked".to_owned()));
        assert_eq!(ToItsEnd::new(async { 3 }, false).await, Ok(3));
    }
}
