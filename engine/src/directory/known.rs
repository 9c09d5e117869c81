//! Rows that requests ask for again and again, kept in memory: tokens, owners, rooms, members.
//!
//! A request looks up some ten of them, and RocksDB takes a few microseconds for each. Kept are
//! single rows as bytes, beside them what their first reader made of them, and of most that they
//! are absent; lists are read from the catalog. It decides nothing and knows no row's meaning.
//!
//! INVARIANT: once the applier's position has moved to a record, no row is given that is older than
//! it. So the applier forgets what it wrote before it moves, and a reader who began before that
//! keeps nothing of what he read.

use std::any::Any;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use foldhash::fast::RandomState;

use crate::catalog::{CatalogStore, Family};
use crate::error::Result;
use crate::limits::DIRECTORY_BYTES_MAX;
use crate::sync::RwLock;

/// Parts with a lock each.
const SHARDS: usize = 16;
/// What a row takes beside its key and twice its bytes, about: its places in memory, and its value
/// but for what that has on the heap.
const ROW_BYTES: usize = 288;
/// First bytes of the keys whose rows are kept: rooms, memberships, categories, principals,
/// tokens, settings.
const KEPT: &[u8] = b"rpcuts";
/// Rows of which it is not kept that they are absent: whoever has no token can ask for any.
const ABSENT_UNKNOWN: &[u8] = b"t";

/// A row that is there.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: Box<[u8]>,
    value: OnceLock<Arc<dyn Any + Send + Sync>>,
}

impl Kept {
    fn new(bytes: Vec<u8>) -> Arc<Self> {
        Arc::new(Self { bytes: bytes.into(), value: OnceLock::new() })
    }

    /// The bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What `decode` makes of the bytes; it is asked the first time only, if `T` stays the same.
    ///
    /// # Errors
    /// As `decode`.
    pub(super) fn value<T: Send + Sync + 'static>(
        &self,
        decode: impl Fn(&[u8]) -> Result<T>,
    ) -> Result<Arc<T>> {
        if let Some(value) = self.value.get()
            && let Ok(value) = Arc::clone(value).downcast()
        {
            return Ok(value);
        }
        let value = Arc::new(decode(&self.bytes)?);
        // Where another reader was first, either value is the same.
        let _ = self.value.set(Arc::clone(&value) as Arc<_>);
        Ok(value)
    }
}

type Row = Option<Arc<Kept>>;

#[derive(Debug, Default)]
struct Shard {
    rows: HashMap<Vec<u8>, Row, RandomState>,
    bytes: usize,
    /// Rises whenever something is forgotten.
    forgotten: u64,
}

/// The rows.
#[derive(Debug)]
pub(crate) struct Known {
    shards: [RwLock<Shard>; SHARDS],
    hasher: RandomState,
    shard_bytes_max: usize,
}

impl Default for Known {
    fn default() -> Self {
        Self::of(DIRECTORY_BYTES_MAX)
    }
}

/// True if rows under such keys are kept.
pub(crate) fn is_kept(key: &[u8]) -> bool {
    key.first().is_some_and(|letter| KEPT.contains(letter))
}

fn size(key: &[u8], row: &Row) -> usize {
    key.len() + row.as_ref().map_or(0, |row| 2 * row.bytes.len()) + ROW_BYTES
}

impl Known {
    fn of(bytes_max: usize) -> Self {
        let shards = std::array::from_fn(|_| RwLock::new(Shard::default()));
        Self { shards, hasher: RandomState::default(), shard_bytes_max: bytes_max / SHARDS }
    }

    fn shard(&self, key: &[u8]) -> &RwLock<Shard> {
        let at = self.hasher.hash_one(key) % SHARDS as u64;
        // There are so many.
        &self.shards[usize::try_from(at).unwrap_or_default()]
    }

    /// A row of the family `State`.
    ///
    /// # Errors
    /// As `CatalogStore::get`.
    pub(super) fn get(&self, store: &dyn CatalogStore, key: &[u8]) -> Result<Row> {
        let read = || store.get(Family::State, key).map(|row| row.map(Kept::new));
        if !is_kept(key) {
            return read();
        }
        let shard = self.shard(key);
        let before = {
            let shard = shard.read();
            if let Some(row) = shard.rows.get(key) {
                return Ok(row.clone());
            }
            shard.forgotten
        };
        let row: Row = read()?;
        if row.is_none() && ABSENT_UNKNOWN.iter().any(|letter| key.first() == Some(letter)) {
            return Ok(row);
        }
        let size = size(key, &row);
        let mut shard = shard.write();
        // ORDERING: if the applier forgot anything meanwhile, this row may be what it wrote over.
        if shard.forgotten == before && size <= self.shard_bytes_max {
            if shard.bytes + size > self.shard_bytes_max {
                // All at once: which rows are wanted is soon seen again.
                (shard.rows, shard.bytes) = (HashMap::default(), 0);
            }
            if shard.rows.insert(key.to_vec(), row.clone()).is_none() {
                shard.bytes += size;
            }
        }
        Ok(row)
    }

    /// Forgets rows that were written; all of them if nobody knows which.
    pub(crate) fn forget(&self, written: Option<Vec<Vec<u8>>>) {
        let Some(written) = written else {
            for shard in &self.shards {
                let mut shard = shard.write();
                (shard.rows, shard.bytes) = (HashMap::default(), 0);
                shard.forgotten += 1;
            }
            return;
        };
        for key in written {
            let mut shard = self.shard(&key).write();
            shard.forgotten += 1;
            if let Some(row) = shard.rows.remove(&key) {
                shard.bytes -= size(&key, &row);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::memory::MemoryCatalog;
    use crate::catalog::{Change, Visit, Walk};
    use crate::error::Error;
    use crate::sync::Mutex;

    type Meanwhile = Box<dyn FnOnce() + Send>;

    /// A catalog in which something happens between reading a row and giving it.
    #[derive(Default)]
    struct Slow {
        rows: MemoryCatalog,
        meanwhile: Mutex<Option<Meanwhile>>,
        asked: Mutex<usize>,
    }

    impl CatalogStore for Slow {
        fn get(&self, family: Family, key: &[u8]) -> Result<Option<Vec<u8>>> {
            *self.asked.lock() += 1;
            let row = self.rows.get(family, key);
            let meanwhile = self.meanwhile.lock().take();
            if let Some(meanwhile) = meanwhile {
                meanwhile();
            }
            row
        }
        fn range(&self, _: Family, _: &[u8], _: &[u8], _: Walk, _: Visit<'_>) -> Result<()> {
            unreachable!("only single rows are read")
        }
        fn write(&self, changes: &[Change]) -> Result<()> {
            self.rows.write(changes)
        }
        fn remove_range(&self, _: Family, _: &[u8], _: &[u8]) -> Result<()> {
            unreachable!("nothing is removed")
        }
        fn flush(&self) -> Result<()> {
            Ok(())
        }
        fn checkpoint(&self, _: &std::path::Path) -> Result<()> {
            Ok(())
        }
        fn erase_removed(&self, _: Family, _: &[u8], _: &[u8]) -> Result<()> {
            Ok(())
        }
    }

    fn write(store: &Slow, key: &[u8], value: &[u8]) {
        let (key, value) = (key.to_vec(), Some(value.to_vec()));
        store.write(&[Change { family: Family::State, key, value }]).unwrap();
    }

    fn get(known: &Known, store: &Slow, key: &[u8]) -> Option<Vec<u8>> {
        known.get(store, key).unwrap().map(|row| row.bytes().to_vec())
    }

    #[test]
    fn a_row_has_one_value_for_all_who_ask() {
        let (kept, made) = (Kept::new(b"7".to_vec()), std::cell::Cell::new(0));
        let first_byte = |bytes: &[u8]| {
            made.set(made.get() + 1);
            Ok(bytes[0])
        };
        let (one, other) = (kept.value(first_byte).unwrap(), kept.value(first_byte).unwrap());
        assert!(Arc::ptr_eq(&one, &other));
        assert_eq!((*one, made.get()), (b'7', 1));
        assert_eq!(*kept.value(|bytes| Ok(bytes.len())).unwrap(), 1, "a value of another sort");
        assert_eq!((*kept.value(first_byte).unwrap(), made.get()), (b'7', 1));
        let wrong = Kept::new(Vec::new());
        let refused = wrong.value::<u8>(|_| Err(Error::Unavailable { why: "of this row" }));
        assert!(refused.is_err());
        assert_eq!(*wrong.value(|_| Ok(9_u8)).unwrap(), 9, "an error is not kept");
    }

    #[test]
    fn a_row_is_read_once_until_it_is_written() {
        let (known, store) = (Known::default(), Slow::default());
        write(&store, b"r1", b"one");
        for _ in 0..3 {
            assert_eq!(get(&known, &store, b"r1"), Some(b"one".to_vec()));
            assert_eq!(get(&known, &store, b"p1"), None);
        }
        assert_eq!(*store.asked.lock(), 2, "that it is absent is kept, too");
        write(&store, b"r1", b"two");
        write(&store, b"p1", b"member");
        known.forget(Some(vec![b"r1".to_vec(), b"p1".to_vec()]));
        assert_eq!(get(&known, &store, b"r1"), Some(b"two".to_vec()));
        assert_eq!(get(&known, &store, b"p1"), Some(b"member".to_vec()));
        known.forget(None);
        get(&known, &store, b"r1");
        assert_eq!(*store.asked.lock(), 5);
    }

    #[test]
    fn what_was_read_before_a_change_is_not_kept_behind_it() {
        let (known, store) = (Arc::new(Known::default()), Arc::new(Slow::default()));
        write(&store, b"t1", b"valid");
        let (of_known, of_store) = (Arc::clone(&known), Arc::clone(&store));
        *store.meanwhile.lock() = Some(Box::new(move || {
            write(&of_store, b"t1", b"revoked");
            of_known.forget(Some(vec![b"t1".to_vec()]));
        }));
        assert_eq!(get(&known, &store, b"t1"), Some(b"valid".to_vec()), "as it was when asked");
        assert_eq!(get(&known, &store, b"t1"), Some(b"revoked".to_vec()));
        assert_eq!(get(&known, &store, b"t1"), Some(b"revoked".to_vec()));
    }

    #[test]
    fn it_stays_within_its_bytes_and_keeps_no_strangers_guesses() {
        let (known, store) = (Known::of(SHARDS * 1024), Slow::default());
        for number in 0..10_000_u32 {
            let key = [b"r".as_slice(), &number.to_be_bytes()].concat();
            get(&known, &store, &key);
            let guess = [b"t".as_slice(), &number.to_be_bytes()].concat();
            get(&known, &store, &guess);
        }
        write(&store, b"rlarge", &[7; 2048]);
        assert_eq!(get(&known, &store, b"rlarge").map(|row| row.len()), Some(2048), "never kept");
        for shard in &known.shards {
            let shard = shard.read();
            let sum: usize = shard.rows.iter().map(|(key, row)| size(key, row)).sum();
            assert_eq!(shard.bytes, sum);
            assert!(sum <= 1024 && sum > 0, "{sum}");
            assert!(shard.rows.keys().all(|key| key.first() == Some(&b'r')));
        }
    }
}
