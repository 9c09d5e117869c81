//! The soak: every long trial, two at a time, until the time is over, and one table at the end.
//!
//! `programs` builds what is run, `suites` says what there is and reads what it says, `course` runs
//! it, `table` tells. `bin/soak.rs` is the door. INVARIANT: no process outlives the soak, and what
//! fails is kept with the command that repeats it.

pub mod course;
pub mod programs;
pub mod suites;
pub mod table;
