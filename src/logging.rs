//! What the server says about itself, on standard error: as text or as JSON.
//!
//! Levels hold for Hansard's own crates; others are heard from `warn` on. INVARIANT: no body of a
//! message is ever logged; that is the callers' rule, and nothing here adds any.

use std::io::{IsTerminal, stderr};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

use crate::config::{Level, LogFormat};

/// Begins to log; a second call changes nothing.
pub fn begin(format: LogFormat, level: Level) {
    let level = level.as_str();
    let own = ["hansard", "hansard_engine", "hansard_server"].map(|name| format!("{name}={level}"));
    let others = if level == Level::Error.as_str() { level } else { Level::Warn.as_str() };
    let filter = EnvFilter::new(format!("{others},{}", own.join(",")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    // Already begun: only tests do that.
    let _ = match format {
        LogFormat::Text => lines.with_ansi(stderr().is_terminal()).finish().try_init(),
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
    };
}
