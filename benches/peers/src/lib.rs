//! The stores that Hansard's engine is measured beside, each behind the same small door.
//!
//! A peer is opened as its documentation advises for this work, says so in its settings, and does
//! what Hansard does: a row for each message, an index of categories by time, an idempotency key
//! that is looked up before its message is stored. It knows nothing of Hansard.

mod fjall;
mod line_up;
mod postgres;
mod raft_engine;
mod redb;
mod rocksdb;
pub mod rows;
mod server;
mod sqlite;
mod store;

pub use line_up::{Peer, all, by_name};
pub use store::{
    Budget, CacheState, Durability, Kind, Message, Outcome, Quiet, Slice, Store, Sum, Tally,
};

#[cfg(test)]
mod tests;
