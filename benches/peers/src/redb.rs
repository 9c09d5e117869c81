//! redb: three tables in one file, `Durability::Immediate` for every group.
//!
//! Its documentation advises one transaction for many writes, which a group is, and a cache to fit;
//! it makes no difference between a cache and what waits to be written.

use std::path::{Path, PathBuf};

use parking_lot::RwLock;
use redb::{Builder, Database, ReadableDatabase, ReadableTable, TableDefinition};

use crate::rows::{add_row, first_at, message_row, time_of};
use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};

pub const SETTINGS: &str = "defaults; Durability::Immediate; 3 tables; caches and writes share one \
                            budget";
const FILE: &str = "db.redb";
const MESSAGES: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("messages");
const CATEGORIES: TableDefinition<'_, (u32, i64, u32, u64), ()> =
    TableDefinition::new("categories");
const KEYS: TableDefinition<'_, &[u8; 16], (u32, u64, [u8; 16])> = TableDefinition::new("keys");

pub struct Redb {
    /// Alone only to be compacted.
    db: RwLock<Database>,
    folder: PathBuf,
}

impl Redb {
    pub fn open(dir: &Path, budget: Budget) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let db = Builder::new().set_cache_size(budget.all_bytes()).create(dir.join(FILE))?;
        let first = db.begin_write()?;
        first.open_table(MESSAGES)?;
        first.open_table(CATEGORIES)?;
        first.open_table(KEYS)?;
        first.commit()?;
        Ok(Self { db: RwLock::new(db), folder: dir.to_owned() })
    }
}

impl Store for Redb {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let mut tally = Tally::default();
        let db = self.db.read();
        let mut transaction = db.begin_write()?;
        transaction.set_durability(match durability {
            Durability::Group => redb::Durability::Immediate,
            Durability::Settle => redb::Durability::None,
        })?;
        {
            let mut messages = transaction.open_table(MESSAGES)?;
            let mut categories = transaction.open_table(CATEGORIES)?;
            let mut keys = transaction.open_table(KEYS)?;
            let mut row = Vec::new();
            for message in group {
                if keys.get(&message.key)?.is_some() {
                    tally.repeated += 1;
                    continue;
                }
                message_row(message, &mut row);
                let Message { room, seq, category, time_us, .. } = *message;
                messages.insert((room, seq), row.as_slice())?;
                categories.insert((category, time_us, room, seq), ())?;
                keys.insert(&message.key, (room, seq, message.digest))?;
                tally.stored += 1;
            }
        }
        transaction.commit()?;
        Ok(tally)
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        if quiet == Quiet::Applied {
            return Ok(());
        }
        // An empty durable commit makes those before it durable.
        self.db.read().begin_write()?.commit()?;
        if quiet == Quiet::Compacted {
            self.db.write().compact()?;
        }
        Ok(())
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let mut sum = Sum::default();
        let table = self.db.read().begin_read()?.open_table(MESSAGES)?;
        for row in table.range((room, 0)..(room, below))?.rev().take(count) {
            add_row(&mut sum, row?.1.value())?;
        }
        Ok(sum)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        let table = self.db.read().begin_read()?.open_table(MESSAGES)?;
        let newest = table.range((room, 0)..(room, u64::MAX))?.next_back().transpose()?;
        let last = newest.map_or(0, |(key, _)| key.value().1);
        let found = first_at(1, last + 1, time_us, |seq| {
            time_of(table.get((room, seq))?.ok_or("a message is missing")?.value())
        })?;
        let mut sum = Sum::default();
        for row in table.range((room, 0)..(room, found))?.rev().take(count) {
            add_row(&mut sum, row?.1.value())?;
        }
        Ok(sum)
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let Slice { category, from_us, to_us } = slice;
        let transaction = self.db.read().begin_read()?;
        let messages = transaction.open_table(MESSAGES)?;
        let categories = transaction.open_table(CATEGORIES)?;
        let mut sum = Sum::default();
        for entry in categories.range((category, from_us, 0, 0)..(category, to_us, 0, 0))? {
            let (_, _, room, seq) = entry?.0.value();
            add_row(&mut sum, messages.get((room, seq))?.ok_or("a message is missing")?.value())?;
        }
        Ok(Some(sum))
    }

    fn forget_keys(&self) -> Outcome<bool> {
        let transaction = self.db.read().begin_write()?;
        transaction.delete_table(KEYS)?;
        transaction.commit()?;
        Ok(true)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.into_inner().close()?)
    }
}
