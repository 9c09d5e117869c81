//! What the fuzz targets share: the engine's test support and model, small directories to damage,
//! ways to damage them, and checksums made right again behind a mutation.
//!
//! It is no part of the product and decides nothing about it. The tests' sources stand where the
//! tests are and are compiled here a second time, so that there is one model and one support.

pub mod damage;
pub mod directory;
pub mod mend;
#[path = "../../engine/tests/model/mod.rs"]
pub mod model;
pub mod reading;
#[path = "../../engine/tests/support/mod.rs"]
pub mod support;
