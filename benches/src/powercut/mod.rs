//! Power cuts: the real server on a file system that forgets what was not synced.
//!
//! `disk` is the model of a disk with a volatile cache, `mount` shows it to the kernel through
//! FUSE, `client` speaks to the server, `ledger` remembers what was acknowledged, `load` posts,
//! `round` cuts and checks. `bin/powercut.rs` is the door. (After ALICE, Pillai et al. 2014, and
//! the assumptions SQLite's authors print: a file's bytes are durable after its sync, a name after
//! the sync of its folder, and nothing before.)

pub mod client;
pub mod disk;
pub mod ledger;
pub mod load;
pub mod mount;
pub mod round;
pub mod server;
