//! Hansard's engine: an append-only log of chat history with segmented, indexed storage behind it.
//!
//! It knows no socket, no async runtime and no configuration file. `Engine` is the door;
//! ARCHITECTURE.md is the map and FORMAT.md says what the bytes mean.

mod amend;
pub mod apply;
pub mod catalog;
mod category;
mod checkpoint;
mod clock;
mod commit;
pub mod compliance;
mod cover;
pub mod dictionary;
pub mod directory;
pub mod draft;
pub mod engine;
pub mod erase;
pub mod error;
pub mod expire;
pub mod format;
mod history;
mod index;
pub mod journal;
mod keeper;
mod lane;
mod leftover;
pub mod limits;
mod lists;
pub mod manifest;
pub mod merge;
pub mod notary;
pub mod open;
mod pace;
pub mod pack;
pub mod proof;
pub mod reads;
mod recent;
mod recovery;
pub mod remembered;
pub mod scrub;
mod seal;
pub mod sequence;
pub mod spans;
mod stages;
pub mod stats;
pub mod storage;
mod sync;
pub mod tail;
pub mod types;
mod views;

pub use directory::Directory;
pub use engine::{CommitListener, Engine, Health, OpenReport, Options};
#[cfg(feature = "rocksdb")]
pub use open::accept_damage;
pub use open::{LossReport, system_actor};
