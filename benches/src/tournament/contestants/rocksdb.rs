//! RocksDB: all rooms in the default column family, every write synced to its log.
//!
//! `WriteOptions::sync` is what its documentation calls durable. Strict is
//! `WALRecoveryMode::kAbsoluteConsistency` with the log files tracked in the manifest; paranoid
//! checks are the default.

use std::path::Path;

use rocksdb::{DB, DBRecoveryMode, Direction, IteratorMode, Options, WriteBatch, WriteOptions};

use super::Mode;
use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer, key_of, seq_of};
use crate::tournament::load::Message;

pub struct Rocks(pub Mode);

struct Store(DB);

impl Rocks {
    fn options(&self) -> Options {
        let mut options = Options::default();
        if self.0 == Mode::Strict {
            options.set_wal_recovery_mode(DBRecoveryMode::AbsoluteConsistency);
            options.set_track_and_verify_wals_in_manifest(true);
            options.set_paranoid_checks(true);
        }
        options
    }
}

impl Contestant for Rocks {
    fn key(&self) -> &'static str {
        match self.0 {
            Mode::Default => "rocksdb",
            Mode::Strict => "rocksdb-strict",
        }
    }

    fn title(&self) -> &'static str {
        match self.0 {
            Mode::Default => "RocksDB",
            Mode::Strict => "RocksDB, strict",
        }
    }

    fn package(&self) -> &'static str {
        "librocksdb-sys"
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Mode::Default => "`sync` writes; opened with default options",
            Mode::Strict => {
                "`sync` writes; kAbsoluteConsistency, paranoid_checks, \
                 track_and_verify_wals_in_manifest"
            }
        }
    }

    fn role(&self, path: &str) -> Role {
        match path {
            "LOCK" | "LOG" => Role::Aside,
            path if path.starts_with("LOG.old") => Role::Aside,
            path if path.ends_with(".log") => Role::Log,
            _ => Role::Table,
        }
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        let mut options = self.options();
        options.create_if_missing(true);
        Ok(Box::new(Store(DB::open(&options, dir)?)))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        Ok(Box::new(Store(DB::open(&self.options(), dir)?)))
    }

    fn repair(&self, dir: &Path) -> Option<Outcome<()>> {
        Some(DB::repair(&self.options(), dir).map_err(Into::into))
    }
}

impl Writer for Store {
    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let mut batch = WriteBatch::default();
        for message in group {
            batch.put(key_of(message.room_id(), message.seq), message.body);
        }
        let mut durable = WriteOptions::default();
        durable.set_sync(true);
        Ok(self.0.write_opt(batch, &durable)?)
    }

    fn settle(&mut self) -> Outcome<()> {
        self.0.flush()?;
        self.0.compact_range(None::<&[u8]>, None::<&[u8]>);
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.0.cancel_all_background_work(true);
        Ok(())
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let (from, end) = (key_of(room, 0), key_of(room + 1, 0));
        for row in self.0.iterator(IteratorMode::From(&from, Direction::Forward)) {
            let (key, body) = row?;
            if *key >= end[..] {
                break;
            }
            read.messages.push((seq_of(&key).unwrap_or_default(), body.into_vec()));
        }
        Ok(())
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self.0.get(key_of(room, seq))?)
    }
}
