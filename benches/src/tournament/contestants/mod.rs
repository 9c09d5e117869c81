//! Who takes part, in the order of the table.
//!
//! A store whose documentation advises a stricter mode has a second entry for it.

mod fjall;
mod hansard;
mod raft_engine;
mod redb;
mod rocksdb;
mod sqlite;

use super::Outcome;
use super::contestant::Contestant;

/// How a store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// As its documentation calls default.
    Default,
    /// With every check that its documentation advises to whoever fears damage.
    Strict,
}

/// All of them.
#[must_use]
pub fn all() -> Vec<Box<dyn Contestant>> {
    vec![
        Box::new(rocksdb::Rocks(Mode::Default)),
        Box::new(rocksdb::Rocks(Mode::Strict)),
        Box::new(sqlite::Sqlite(Mode::Default)),
        Box::new(sqlite::Sqlite(Mode::Strict)),
        Box::new(fjall::Fjall),
        Box::new(redb::Redb(Mode::Default)),
        Box::new(redb::Redb(Mode::Strict)),
        Box::new(raft_engine::Raft(Mode::Default)),
        Box::new(raft_engine::Raft(Mode::Strict)),
        Box::new(hansard::Hansard),
    ]
}

/// The one with this name on the command line.
///
/// # Errors
/// If there is none.
pub fn by_key(key: &str) -> Outcome<Box<dyn Contestant>> {
    let found = all().into_iter().find(|who| who.key() == key);
    found.ok_or_else(|| format!("no contestant is called {key}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let all = all();
        let mut keys: Vec<_> = all.iter().map(|who| who.key()).collect();
        assert!(keys.iter().all(|key| by_key(key).unwrap().key() == *key));
        assert!(by_key("nobody").is_err());
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), all.len());
    }
}
