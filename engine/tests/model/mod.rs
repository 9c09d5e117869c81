//! A seeded model test: an engine on a simulated machine beside a model of what it must answer.
//!
//! A scenario is a sequence of lives. In each, random operations run against both, faults strike,
//! and the life ends by a clean stop, a kill or a power cut; then everything that was acknowledged
//! must be read back exactly, or, where bytes were damaged, be named as missing. The same choices
//! give the same trace. (After TigerBeetle's VOPR and FoundationDB's simulation.)

#![allow(dead_code, unreachable_pub, reason = "shared by the test, the campaign and a fuzz target")]
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod check;
mod choices;
mod damage;
mod drive;
mod facts;
mod goes;
mod think;

pub use choices::Choices;
pub use drive::{Tally, run, run_to_equal_rows};
