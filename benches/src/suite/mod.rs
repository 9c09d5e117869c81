//! The engine measured beside its peers: what the criterion suites share.
//!
//! `world` says what is posted, `size` how much; `hansard` stands behind the same door as the
//! peers; `field` opens and fills everyone; `turns` measures them turn by turn and hands the
//! samples to criterion; `proofs` makes what proofs need once more; `figures` is what a suite
//! leaves for `report`.

pub mod child;
pub mod field;
pub mod figures;
pub mod hansard;
pub mod http;
pub mod limits;
pub mod machine;
pub mod proofs;
pub mod report;
pub mod shared;
pub mod size;
pub mod targets;
pub mod turns;
pub mod volume;
pub mod world;
pub mod writers;
pub mod zipf;
