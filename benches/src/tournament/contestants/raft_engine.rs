//! raft-engine: a raft group for each room, a message its log entry, `write(sync = true)`.
//!
//! Its files are an append queue and, for what outlives it, a rewrite queue. Strict is
//! `RecoveryMode::AbsoluteConsistency`.

use std::path::Path;

use protobuf::well_known_types::Any;
use raft_engine::{Config, Engine, LogBatch, MessageExt, RecoveryMode};

use super::Mode;
use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer};
use crate::tournament::load::Message;

pub struct Raft(pub Mode);

/// An entry of a raft log: the index as text beside the body, in a message protobuf brings along.
struct Entry;

impl MessageExt for Entry {
    type Entry = Any;

    fn index(entry: &Any) -> u64 {
        entry.type_url.parse().unwrap_or_default()
    }
}

struct Store(Engine);

impl Raft {
    fn config(&self, dir: &Path) -> Config {
        let mut config = Config { dir: dir.display().to_string(), ..Config::default() };
        if self.0 == Mode::Strict {
            config.recovery_mode = RecoveryMode::AbsoluteConsistency;
        }
        config
    }
}

impl Contestant for Raft {
    fn key(&self) -> &'static str {
        match self.0 {
            Mode::Default => "raft-engine",
            Mode::Strict => "raft-engine-strict",
        }
    }

    fn title(&self) -> &'static str {
        match self.0 {
            Mode::Default => "raft-engine",
            Mode::Strict => "raft-engine, strict",
        }
    }

    fn package(&self) -> &'static str {
        "raft-engine"
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Mode::Default => "`write(sync = true)`; opened with defaults",
            Mode::Strict => "`write(sync = true)`; absolute-consistency",
        }
    }

    fn role(&self, path: &str) -> Role {
        match path {
            "LOCK" => Role::Aside,
            path if path.contains(".raftlog") => Role::Log,
            _ => Role::Table,
        }
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        Ok(Box::new(Store(Engine::open(self.config(dir))?)))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        Ok(Box::new(Store(Engine::open(self.config(dir))?)))
    }
}

impl Writer for Store {
    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let mut batch = LogBatch::default();
        for message in group {
            let mut entry = Any::new();
            entry.set_type_url(message.seq.to_string());
            entry.set_value(message.body.as_bytes().to_vec());
            batch.add_entries::<Entry>(message.room_id(), &[entry])?;
        }
        self.0.write(&mut batch, true)?;
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        self.0.purge_manager().must_rewrite_append_queue(None, None);
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.0.sync()?)
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let (Some(first), Some(last)) = (self.0.first_index(room), self.0.last_index(room)) else {
            return Ok(());
        };
        let mut entries = Vec::new();
        let fetched = self.0.fetch_entries_to::<Entry>(room, first, last + 1, None, &mut entries);
        let messages = entries.into_iter().map(|entry| (Entry::index(&entry), entry.value));
        read.messages.extend(messages);
        fetched?;
        Ok(())
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self.0.get_entry::<Entry>(room, seq)?.map(|entry| entry.value))
    }
}
