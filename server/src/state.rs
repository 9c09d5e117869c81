//! What every handler shares: the engine, the hub, the counters and the bounded pools.
//!
//! It owns no policy and no loop. INVARIANT: a history read holds a permit of `reads` while it may
//! wait for the disk, so a storm of readers never takes the runtime's threads.

use std::sync::Arc;

use hansard_engine::{Directory, Engine};
use tokio::sync::{Semaphore, watch};

use crate::auth::limiter::Limiter;
use crate::auth::password::Passwords;
use crate::config::ServerConfig;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::problem::{Code, Problem};

/// The server, as its handlers see it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct App(Arc<Shared>);

pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) config: ServerConfig,
    pub(crate) hub: Arc<Hub>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) passwords: Passwords,
    pub(crate) attempts: Limiter,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stopping: watch::Sender<bool>,
    reads: Arc<Semaphore>,
}

impl std::ops::Deref for App {
    type Target = Shared;

    fn deref(&self) -> &Shared {
        &self.0
    }
}

impl App {
    /// Wires the parts together; nothing runs yet.
    pub(crate) fn new(engine: Engine, config: ServerConfig) -> Self {
        let metrics = Arc::new(Metrics::default());
        let reads = Arc::new(Semaphore::new(config.read_concurrency));
        Self(Arc::new(Shared {
            hub: Hub::new(engine.clone(), Arc::clone(&metrics)),
            passwords: Passwords::new(config.password_cost),
            attempts: Limiter::default(),
            streams: Arc::new(Semaphore::new(crate::limits::STREAMS_MAX)),
            stopping: watch::Sender::new(false),
            reads,
            metrics,
            engine,
            config,
        }))
    }

    /// The rows.
    pub(crate) fn directory(&self) -> Directory {
        self.engine.directory()
    }

    /// Runs a read that may wait for the disk, off the runtime's threads.
    pub(crate) async fn read<T, F>(&self, work: F) -> Result<T, Problem>
    where
        T: Send + 'static,
        F: FnOnce(&Engine) -> T + Send + 'static,
    {
        let permit = Arc::clone(&self.reads).acquire_owned().await;
        let engine = self.engine.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&engine)
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "a read failed");
            Problem::new(Code::Internal)
        })
    }

    /// Takes back what streams may see no longer, off the runtime's threads.
    ///
    /// Awaited by every handler that takes rights away, before it answers.
    pub(crate) async fn revalidate(&self, touched: crate::hub::Touched) {
        let hub = Arc::clone(&self.hub);
        if let Err(error) = tokio::task::spawn_blocking(move || hub.revalidate(&touched)).await {
            tracing::error!(%error, "streams could not be checked again");
        }
    }
}
