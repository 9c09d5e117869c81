//! Ctrl-C in the commands that can stop between two steps.
//!
//! The first one is a wish that the command sees at its next step; the second ends the program at
//! once. The server has its own signals, in `serve`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::exits::{Exit, Failure};

/// Whether somebody wants to stop.
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Listens from now on. The thread lives as long as the program.
    pub fn listen() -> Result<Self, Failure> {
        let wrong = |error: std::io::Error| {
            Failure::new(Exit::Io, format!("cannot listen for signals error={error}"))
        };
        let raised = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&raised);
        let runtime = runtime::Builder::new_current_thread().enable_io().build().map_err(wrong)?;
        let mut interrupts = {
            let _inside = runtime.enter();
            signal(SignalKind::interrupt()).map_err(wrong)?
        };
        let listen = move || {
            runtime.block_on(async move {
                interrupts.recv().await;
                seen.store(true, Ordering::Relaxed);
                interrupts.recv().await;
                std::process::exit(i32::from(Exit::Interrupted.code()));
            });
        };
        thread::Builder::new().name("interrupt".into()).spawn(listen).map_err(wrong)?;
        Ok(Self(raised))
    }

    /// Whether the wish was made.
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
