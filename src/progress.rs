//! How far long work has come, on standard error.
//!
//! On a terminal one line that changes; elsewhere a line every ten seconds, for logs.

use std::io::{IsTerminal, Write, stderr};
use std::time::{Duration, Instant};

const TERMINAL_EVERY: Duration = Duration::from_millis(100);
const LOG_EVERY: Duration = Duration::from_secs(10);

/// The one line of a command's progress.
pub struct Progress {
    terminal: bool,
    last: Instant,
    on_screen: bool,
}

impl Progress {
    /// Begins; nothing is shown yet.
    pub fn new() -> Self {
        Self { terminal: stderr().is_terminal(), last: Instant::now(), on_screen: false }
    }

    /// Shows a line, if the last one is old enough.
    pub fn show(&mut self, line: impl FnOnce() -> String) {
        let every = if self.terminal { TERMINAL_EVERY } else { LOG_EVERY };
        if self.last.elapsed() < every {
            return;
        }
        self.last = Instant::now();
        let text = if self.terminal {
            self.on_screen = true;
            format!("\r\x1b[K{}", line())
        } else {
            format!("{}\n", line())
        };
        // Progress is a courtesy: whoever closed standard error does not want it.
        let _ = stderr().write_all(text.as_bytes());
    }

    /// Leaves the line of a terminal free for what comes.
    pub fn end(&mut self) {
        if self.on_screen {
            let _ = stderr().write_all(b"\r\x1b[K");
            self.on_screen = false;
        }
    }
}
