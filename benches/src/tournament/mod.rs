//! The corruption tournament: the same faults given to Hansard and to the stores it is compared
//! with.
//!
//! Each contestant stores the same messages, each group durable before the next; one fault is made
//! in a copy of its folder; it is opened and read back by a child process, and what it then says
//! and has is classified. `bin/tournament.rs` is the door, README shows the table.
//!
//! Reading order: `contestant` (what a store must be able to do), `load`, `image`, `faults`,
//! `child`, `verdict`, `run`, `table`.

pub mod child;
pub mod contestant;
pub mod contestants;
pub mod faults;
pub mod image;
pub mod load;
pub mod run;
pub mod seed;
pub mod table;
pub mod verdict;

/// What can go wrong here, as text for whoever started the tournament.
pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;
