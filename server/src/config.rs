//! What may differ between servers: addresses, memory and threads.
//!
//! Nothing here decides policy or the content of the log: that is a setting record.

use std::net::{Ipv4Addr, SocketAddr};

/// The cost of a password hash (argon2id).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswordCost {
    /// Memory of one hash, in KiB.
    pub memory_kib: u32,
    /// Passes over that memory.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Default for PasswordCost {
    fn default() -> Self {
        Self { memory_kib: 19 * 1024, passes: 2, lanes: 1 }
    }
}

/// The server's own configuration. Every field has a default.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where HTTP, the stream and the page listen.
    pub http: SocketAddr,
    /// Where IRC will listen; this build opens no such door.
    pub irc: SocketAddr,
    /// Where servers will meet each other; this build opens no such door.
    pub peer: SocketAddr,
    /// Whether plaintext may listen off loopback.
    pub insecure_listen: bool,
    /// Messages of a page that names no limit: 1 to 500.
    pub page_limit_default: usize,
    /// History reads at once: each may wait for the disk.
    pub read_concurrency: usize,
    /// The cost of new password hashes.
    pub password_cost: PasswordCost,
    /// How long a sign-in lasts, in days.
    pub session_days: u32,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Self {
            http: loopback(8010),
            irc: loopback(6667),
            peer: loopback(8011),
            insecure_listen: false,
            page_limit_default: 50,
            read_concurrency: 64,
            password_cost: PasswordCost::default(),
            session_days: 30,
        }
    }
}

impl ServerConfig {
    /// Brings every number into its range.
    #[must_use]
    pub fn sanitized(mut self) -> Self {
        self.page_limit_default =
            self.page_limit_default.clamp(1, crate::limits::PAGE_MESSAGES_MAX);
        self.read_concurrency = self.read_concurrency.clamp(1, 1024);
        self.session_days = self.session_days.clamp(1, 366);
        let cost = &mut self.password_cost;
        cost.lanes = cost.lanes.clamp(1, 16);
        cost.memory_kib = cost.memory_kib.clamp(cost.lanes * 8, 1024 * 1024);
        cost.passes = cost.passes.clamp(1, 64);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_sane_and_numbers_are_brought_into_range() {
        let default = ServerConfig::default();
        assert_eq!(default.clone().sanitized(), default);
        let wild = ServerConfig {
            page_limit_default: 0,
            read_concurrency: 0,
            session_days: 9999,
            password_cost: PasswordCost { memory_kib: 0, passes: 0, lanes: 99 },
            ..default
        };
        let tame = wild.sanitized();
        assert_eq!((tame.page_limit_default, tame.read_concurrency), (1, 1));
        assert_eq!(tame.session_days, 366);
        assert_eq!(tame.password_cost, PasswordCost { memory_kib: 128, passes: 1, lanes: 16 });
    }
}
