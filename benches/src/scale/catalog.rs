//! How large the catalog is, family by family: what rooms cost, and what compliance costs.
//!
//! It opens a closed catalog for reading only and asks RocksDB for the sizes of its tables. The
//! rows are not read.

use std::collections::BTreeMap;
use std::path::Path;

use hansard_engine::catalog::Family;
use rocksdb::{DB, LogLevel, Options};
use serde::{Deserialize, Serialize};

use crate::tournament::Outcome;

/// A family of rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// Of its tables.
    pub bytes: u64,
    /// As RocksDB estimates.
    pub rows: u64,
}

/// The families of a catalog by their names.
pub type Families = BTreeMap<String, Rows>;

/// Weighs the catalog of a data directory that nobody has open.
///
/// # Errors
/// If it cannot be opened.
pub fn families(data: &Path) -> Outcome<Families> {
    let mut options = Options::default();
    // Its log of messages would be a write.
    options.set_db_log_dir(std::env::temp_dir());
    options.set_log_level(LogLevel::Fatal);
    let names = Family::ALL.map(Family::name);
    let db = DB::open_cf_for_read_only(&options, data.join("catalog"), names, false)?;
    let mut families = Families::new();
    for name in names {
        let family = db.cf_handle(name).ok_or("the catalog has no such family")?;
        let number = |property: &str| -> Outcome<u64> {
            Ok(db.property_int_value_cf(family, property)?.unwrap_or(0))
        };
        let bytes = number("rocksdb.total-sst-files-size")?;
        let rows = number("rocksdb.estimate-num-keys")?;
        families.insert(name.to_owned(), Rows { bytes, rows });
    }
    Ok(families)
}

/// Bytes of the families that grow with rooms and their runs: all but compliance.
#[must_use]
pub fn of_rooms(families: &Families) -> u64 {
    let compliance = Family::Compliance.name();
    families.iter().filter(|(name, _)| *name != compliance).map(|(_, rows)| rows.bytes).sum()
}
