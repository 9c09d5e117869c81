//! fjall: a keyspace each for messages, for the index of categories and for keys.
//!
//! A group is one batch across them and `PersistMode::SyncAll`. Its documentation advises the
//! defaults (LZ4, Bloom filters, no separated values below some KiB) and a cache to fit.

use std::path::{Path, PathBuf};
use std::time::Duration;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::rows::{
    add_row, category_key, first_at, key_row, message_key, message_row, place_of, seq_of,
    slice_keys, time_of,
};
use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};

pub const SETTINGS: &str = "defaults (LZ4, filters); batch + PersistMode::SyncAll; 3 keyspaces";
const KEYSPACES: u64 = 3;
/// How often it is asked whether it is at rest.
const LOOK: Duration = Duration::from_millis(5);

pub struct Fjall {
    db: Database,
    messages: Keyspace,
    categories: Keyspace,
    keys: Keyspace,
    folder: PathBuf,
}

impl Fjall {
    pub fn open(dir: &Path, budget: Budget) -> Outcome<Self> {
        let db = Database::builder(dir).cache_size(budget.cache_bytes as u64).open()?;
        let memtable_bytes = budget.write_bytes as u64 / KEYSPACES;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(memtable_bytes);
        let keyspace = |name: &str| db.keyspace(name, options);
        let messages = keyspace("messages")?;
        let categories = keyspace("categories")?;
        let keys = keyspace("keys")?;
        Ok(Self { messages, categories, keys, folder: dir.to_owned(), db })
    }

    fn wait(&self) {
        while self.db.outstanding_flushes() > 0 || self.db.active_compactions() > 0 {
            std::thread::sleep(LOOK);
        }
    }
}

impl Store for Fjall {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let mut tally = Tally::default();
        let (mut batch, mut row) = (self.db.batch(), Vec::new());
        for message in group {
            if self.keys.contains_key(message.key)? {
                tally.repeated += 1;
                continue;
            }
            message_row(message, &mut row);
            let Message { room, seq, category, time_us, .. } = *message;
            batch.insert(&self.messages, message_key(room, seq), row.as_slice());
            batch.insert(&self.categories, category_key(category, time_us, room, seq), "");
            batch.insert(&self.keys, message.key, key_row(message));
            tally.stored += 1;
        }
        batch.commit()?;
        if durability == Durability::Group {
            self.db.persist(PersistMode::SyncAll)?;
        }
        Ok(tally)
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        if quiet == Quiet::Applied {
            return Ok(());
        }
        let all = [&self.messages, &self.categories, &self.keys];
        self.db.persist(PersistMode::SyncAll)?;
        for keyspace in all {
            keyspace.rotate_memtable_and_wait()?;
        }
        self.wait();
        if quiet == Quiet::Compacted {
            for keyspace in all {
                keyspace.major_compact()?;
            }
            self.wait();
        }
        Ok(())
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let mut sum = Sum::default();
        let rows = self.messages.range(message_key(room, 0)..message_key(room, below));
        for row in rows.rev().take(count) {
            add_row(&mut sum, &row.value()?)?;
        }
        Ok(sum)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        let mut rows = self.messages.range(message_key(room, 0)..message_key(room, u64::MAX));
        let Some(newest) = rows.next_back() else { return Ok(Sum::default()) };
        let last = seq_of(&newest.key()?, room).unwrap_or(0);
        let found = first_at(1, last + 1, time_us, |seq| {
            time_of(&self.messages.get(message_key(room, seq))?.ok_or("a message is missing")?)
        })?;
        self.before(room, found, count)
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let (from, end) = slice_keys(slice);
        let mut sum = Sum::default();
        for entry in self.categories.range(from..end) {
            let row = self.messages.get(place_of(&entry.key()?)?)?;
            add_row(&mut sum, &row.ok_or("a message is missing")?)?;
        }
        Ok(Some(sum))
    }

    fn forget_keys(&self) -> Outcome<bool> {
        self.keys.clear()?;
        self.db.persist(PersistMode::SyncAll)?;
        Ok(true)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(&self.folder).into_iter().flatten();
        let paths = files.filter_map(|file| Some(file.ok()?.path()));
        paths.filter(|path| path.extension().is_some_and(|end| end == "jnl")).collect()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }
}
