//! `hansard serve`: wires configuration, log, engine, listener and server, and takes them down in
//! reverse.
//!
//! The order of both is written in `run` and `served`, and nowhere else. INVARIANT: the engine is
//! closed after the last request has ended and before the program does.

use std::io::{Write, stdout};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use hansard_engine::{Engine, Health, OpenReport};
use hansard_server::ServerConfig;
use tokio::net::TcpListener;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::cli::ServeArgs;
use crate::config::{self, Config};
use crate::exits::{Exit, Failure, of_io};
use crate::{data, logging};

/// How often the log's health is looked at.
const HEALTH_EVERY: Duration = Duration::from_millis(250);
/// Work that still runs when everything has been closed is left behind after this.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(1);

/// Runs the server to its end.
pub fn run(args: &ServeArgs) -> Result<Exit, Failure> {
    if args.print_default_config {
        let printed = stdout().write_all(config::default_text().as_bytes());
        return printed.map(|()| Exit::Fine).map_err(|error| Failure::stdout(&error));
    }
    let Some(path) = &args.data else {
        return Err(Failure::usage("serve needs --data DIR"));
    };
    let config = config::load(
        args.config.as_deref(),
        &[
            ("--http", ("http", "listen"), args.http.as_deref()),
            ("--irc", ("irc", "listen"), args.irc.as_deref()),
            ("--peer", ("peer", "listen"), args.peer.as_deref()),
        ],
    )?;
    logging::begin(config.log.format, config.log.level);
    let runtime = runtime::Builder::new_multi_thread().enable_all().build();
    let runtime =
        runtime.map_err(|error| Failure::new(Exit::Io, format!("no threads: {error}")))?;
    let listener = runtime.block_on(bind(&config.server()))?;
    let (engine, report) = data::open_or_create(path, config.engine())?;

    let ended = runtime.block_on(served(listener, &engine, &report, path, &config));

    let closed = engine.close();
    runtime.shutdown_timeout(LEFT_BEHIND_AFTER);
    let ended = ended?;
    if ended == Exit::Fine {
        closed?;
        tracing::info!("stopped");
    }
    Ok(ended)
}

async fn bind(config: &ServerConfig) -> Result<TcpListener, Failure> {
    hansard_server::bind(config).await.map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::AddrInUse => Exit::Unavailable,
            kind => of_io(kind),
        };
        Failure::new(exit, format!("cannot listen address={} error={error}", config.http))
    })
}

/// Serves until a signal or a failed log ends it.
async fn served(
    listener: TcpListener,
    engine: &Engine,
    report: &OpenReport,
    path: &Path,
    config: &Config,
) -> Result<Exit, Failure> {
    let wrong = |error: std::io::Error| Failure::new(Exit::Io, format!("cannot start: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(wrong)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(wrong)?;
    let http = listener.local_addr().map_err(wrong)?;
    if !matches!(engine.health(), Health::Restricted { .. })
        && let Some(link) = data::first_link(engine)?
    {
        data::tell_link(path, http, &link)?;
    }
    announce(http, path, engine, report)?;

    let (stop, stopped) = oneshot::channel();
    let (health, linger) = (engine.clone(), Duration::from_millis(config.engine.poison_linger_ms));
    let watch = tokio::spawn(async move {
        let exit = tokio::select! {
            _ = terminate.recv() => Exit::Fine,
            _ = interrupt.recv() => Exit::Fine,
            () = poisoned(&health, linger) => Exit::Io,
        };
        // Whoever waits for it is gone only if the server ended by itself.
        let _ = stop.send(exit);
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::warn!("stopped at once by a second signal");
        std::process::exit(i32::from(Exit::Cut.code()));
    });
    let mut exit = Exit::Unavailable;
    let shutdown = async {
        exit = stopped.await.unwrap_or(Exit::Unavailable);
        tracing::info!("stopping: requests in flight are finished first");
    };
    let served = hansard_server::serve_on(listener, engine.clone(), config.server(), shutdown);
    let served = served.await.map_err(|error| Failure::new(Exit::Unavailable, error.to_string()));
    if served.is_err() {
        watch.abort();
    }
    served.map(|()| exit)
}

/// Resolves when the log has failed and readers have had their time.
async fn poisoned(engine: &Engine, linger: Duration) {
    loop {
        if let Health::Poisoned { first } = engine.health() {
            let linger_ms = u64::try_from(linger.as_millis()).unwrap_or(u64::MAX);
            tracing::error!(first, linger_ms, "the log failed: reads go on, then the server exits");
            sleep(linger).await;
            return;
        }
        sleep(HEALTH_EVERY).await;
    }
}

/// Says what runs where, to the log and to whoever reads standard output.
fn announce(
    http: SocketAddr,
    path: &Path,
    engine: &Engine,
    report: &OpenReport,
) -> Result<(), Failure> {
    let OpenReport { replayed, cut_bytes, lost_messages, clean, .. } = *report;
    let records = engine.stats().committed_lsn.get();
    let version = env!("CARGO_PKG_VERSION");
    tracing::info!(
        version, %http, data = ?path, records, replayed, cut_bytes, clean, "hansard serves"
    );
    if lost_messages > 0 {
        tracing::warn!(
            lost_messages,
            "damage has cost messages; each room's pages name the gaps, and `hansard-tool verify` \
             the files"
        );
    }
    if let Health::Restricted { holes } = engine.health() {
        let records: Vec<_> = holes.iter().map(|hole| (hole.first.0, hole.last.0)).collect();
        tracing::error!(
            ?records,
            "records of rights may be lost: only /healthz, /readyz and /metrics answer; see \
             `hansard accept-damage`"
        );
    }
    let line = format!("listening http={http} data={path:?} records={records}\n");
    let mut out = stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).map_err(|e| Failure::stdout(&e))
}
