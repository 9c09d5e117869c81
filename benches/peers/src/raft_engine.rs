//! raft-engine: a raft group for each room, a message its log entry, `write(sync = true)`.
//!
//! A key is a value of its room, which raft-engine keeps in memory, as it does its index of all
//! entries. It has no index of categories by time, and is not asked for one. Recycled log files are
//! its default; it never rewrites what is not garbage.

use std::path::{Path, PathBuf};

use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, ReadableSize};

use crate::rows::{add_row, first_at, key_row, message_row, time_of};
use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};

pub const SETTINGS: &str = "defaults (log recycling, LZ4 of batches from 8 KiB); write(sync=true); \
                            a group a room; no index of categories; keys and index in memory";

/// An entry of a raft log: the index as text beside the row, in a message protobuf brings along.
struct Entry;

impl MessageExt for Entry {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.type_url.parse().unwrap_or_default()
    }
}

pub struct Raft {
    engine: Engine,
    folder: PathBuf,
}

impl Raft {
    pub fn open(dir: &Path, budget: Budget) -> Outcome<Self> {
        let memory_limit = Some(ReadableSize(budget.all_bytes() as u64));
        let dir_name = dir.display().to_string();
        let config = Config { dir: dir_name, memory_limit, ..Config::default() };
        Ok(Self { engine: Engine::open(config)?, folder: dir.to_owned() })
    }

    fn span(&self, room: u32) -> Option<(u64, u64)> {
        let group = group_of(room);
        Some((self.engine.first_index(group)?, self.engine.last_index(group)?))
    }
}

/// Group 0 is raft-engine's own.
fn group_of(room: u32) -> u64 {
    u64::from(room) + 1
}

impl Store for Raft {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let mut tally = Tally::default();
        let mut batch = LogBatch::with_capacity(2 * group.len());
        for message in group {
            let room = group_of(message.room);
            if self.engine.get(room, &message.key).is_some() {
                tally.repeated += 1;
                continue;
            }
            let mut row = Vec::new();
            message_row(message, &mut row);
            let mut entry = Any::new();
            entry.set_type_url(message.seq.to_string());
            entry.set_value(row);
            batch.add_entries::<Entry>(room, &[entry])?;
            batch.put(room, message.key.to_vec(), key_row(message).to_vec())?;
            tally.stored += 1;
        }
        self.engine.write(&mut batch, durability == Durability::Group)?;
        Ok(tally)
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        if quiet != Quiet::Applied {
            self.engine.sync()?;
            self.engine.purge_expired_files()?;
        }
        Ok(())
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let mut sum = Sum::default();
        let Some((first, last)) = self.span(room) else { return Ok(sum) };
        let end = below.min(last + 1);
        let from = end.saturating_sub(count as u64).max(first);
        let mut entries = Vec::with_capacity(count);
        if from < end {
            let room = group_of(room);
            self.engine.fetch_entries_to::<Entry>(room, from, end, None, &mut entries)?;
        }
        entries.iter().try_for_each(|entry| add_row(&mut sum, &entry.value))?;
        Ok(sum)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        let Some((first, last)) = self.span(room) else { return Ok(Sum::default()) };
        let found = first_at(first, last + 1, time_us, |seq| {
            let entry = self.engine.get_entry::<Entry>(group_of(room), seq)?;
            time_of(&entry.ok_or("a message is missing")?.value)
        })?;
        self.before(room, found, count)
    }

    fn category(&self, _: Slice) -> Outcome<Option<Sum>> {
        Ok(None)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.engine.sync()?)
    }
}
