//! The server's life: listen, accept, serve, stop in order.
//!
//! HTTP/1.1 with bounds on heads and connections; TLS stands in front of it. Stop order: no new
//! connections, requests finish, streams say bye, the hub's thread ends. The engine is the caller's
//! to close afterwards. INVARIANT: plaintext listens off loopback only when told.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use hansard_engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::auth::Peer;
use crate::config::ServerConfig;
use crate::limits::{
    CONNECTIONS_MAX, HEAD_BYTES_MAX, HEAD_WAIT, HEADERS_MAX, STOP_WAIT, STREAMS_MAX,
};
use crate::state::App;

/// The server could not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The operating system refused.
    #[error("{op} failed error={source}")]
    Io {
        /// The operation.
        op: &'static str,
        /// Its words.
        source: std::io::Error,
    },
}

/// Binds the HTTP listener, so that the caller can print where it really listens.
///
/// # Errors
/// `PermissionDenied` for plaintext off loopback without `insecure_listen`; else what the operating
/// system says.
pub async fn bind(config: &ServerConfig) -> std::io::Result<TcpListener> {
    if !config.http.ip().is_loopback() && !config.insecure_listen {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            format!("plaintext off loopback needs insecure_listen address={}", config.http),
        ));
    }
    TcpListener::bind(config.http).await
}

/// Binds and serves until `shutdown` resolves and everything in flight has finished.
///
/// # Errors
/// If the address cannot be bound or the hub's thread cannot start.
pub async fn serve(
    engine: Engine,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let listener = bind(&config).await.map_err(|source| ServeError::Io { op: "listen", source })?;
    serve_on(listener, engine, config, shutdown).await
}

/// Serves on a bound listener until `shutdown` resolves and everything in flight has finished, at
/// most 15 seconds later.
///
/// # Errors
/// If the hub's thread cannot start.
pub async fn serve_on(
    listener: TcpListener,
    engine: Engine,
    config: ServerConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    tracing::info!(irc = %config.irc, peer = %config.peer, "not built yet: irc and peer doors");
    let app = App::new(engine, config.sanitized());
    let hub = app.hub.start().map_err(|source| ServeError::Io { op: "start hub", source })?;
    let router = crate::http::router(app.clone());
    let mut connections = JoinSet::new();
    accept(&listener, &app, &router, &mut connections, shutdown).await;
    drop(listener);
    app.stopping.send_replace(true);
    app.hub.close_all("stopping");
    let all = u32::try_from(STREAMS_MAX).unwrap_or(u32::MAX);
    let finished = async {
        while connections.join_next().await.is_some() {}
        // A stream that was just opening registers late: told again until all have ended.
        loop {
            let ended = app.streams.acquire_many(all);
            if timeout(std::time::Duration::from_millis(100), ended).await.is_ok() {
                return;
            }
            app.hub.close_all("stopping");
        }
    };
    if timeout(STOP_WAIT, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "cut connections that did not finish");
        connections.shutdown().await;
    }
    app.hub.stop();
    if tokio::task::spawn_blocking(move || hub.join()).await.is_err() {
        tracing::error!("the hub's thread did not end well");
    }
    Ok(())
}

async fn accept(
    listener: &TcpListener,
    app: &App,
    router: &Router,
    connections: &mut JoinSet<()>,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            () = &mut shutdown => return,
            Some(ended) = connections.join_next() => {
                if let Err(error) = ended {
                    tracing::error!(%error, "a connection's task failed");
                }
            }
            (place, accepted) = next => match accepted {
                Ok((stream, peer)) => {
                    let service = TowerToHyperService::new(router.clone());
                    let (app, stop) = (app.clone(), app.stopping.subscribe());
                    connections.spawn(async move {
                        app.metrics.connections.add(1);
                        connection(stream, peer, service, stop).await;
                        app.metrics.connections.add(-1);
                        drop(place);
                    });
                }
                Err(error) => {
                    // Out of descriptors, most likely: others must close first.
                    tracing::warn!(%error, "accept failed");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: TowerToHyperService<Router>,
    mut stop: watch::Receiver<bool>,
) {
    // Acknowledgements are small: waiting to fill a packet would double their time.
    let _ = stream.set_nodelay(true);
    let from = Peer::of(peer);
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(from.clone());
        router.call(request)
    });
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WAIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended early");
    }
}

/// Resolves when the server stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that the sender is gone, which is the same.
    let _ = stop.wait_for(|stop| *stop).await.map(|_| ());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn plaintext_off_loopback_is_refused_unless_told() {
        let off = ServerConfig { http: ([0, 0, 0, 0], 0).into(), ..ServerConfig::default() };
        let error = bind(&off).await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
        let told = ServerConfig { insecure_listen: true, ..off };
        assert!(bind(&told).await.is_ok());
    }
}
