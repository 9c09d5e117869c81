//! redb: one table, `Durability::Immediate`.
//!
//! It has no log: the one file is both states, after a crash and compacted. Strict is two-phase
//! commit and `check_integrity_on_open`, which its documentation advises for files that something
//! else may have changed.

use std::path::Path;

use redb::{Builder, Database, Durability, ReadableDatabase, TableDefinition};

use super::Mode;
use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer};
use crate::tournament::load::Message;

const FILE: &str = "db.redb";
const MESSAGES: TableDefinition<'_, (u64, u64), &[u8]> = TableDefinition::new("messages");

pub struct Redb(pub Mode);

struct Store {
    db: Database,
    mode: Mode,
}

impl Contestant for Redb {
    fn key(&self) -> &'static str {
        match self.0 {
            Mode::Default => "redb",
            Mode::Strict => "redb-strict",
        }
    }

    fn title(&self) -> &'static str {
        match self.0 {
            Mode::Default => "redb",
            Mode::Strict => "redb, checked",
        }
    }

    fn package(&self) -> &'static str {
        "redb"
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Mode::Default => "`Durability::Immediate`; opened with defaults",
            Mode::Strict => "`Durability::Immediate`, two-phase commit; check_integrity_on_open",
        }
    }

    fn role(&self, _: &str) -> Role {
        Role::Table
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        std::fs::create_dir_all(dir)?;
        let db = Database::create(dir.join(FILE))?;
        Ok(Box::new(Store { db, mode: self.0 }))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        let strict = self.0 == Mode::Strict;
        let db = Builder::new().set_check_integrity_on_open(strict).open(dir.join(FILE))?;
        Ok(Box::new(Store { db, mode: self.0 }))
    }
}

impl Writer for Store {
    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let mut transaction = self.db.begin_write()?;
        transaction.set_durability(Durability::Immediate)?;
        transaction.set_two_phase_commit(self.mode == Mode::Strict);
        {
            let mut table = transaction.open_table(MESSAGES)?;
            for message in group {
                let key = (message.room_id(), message.seq);
                table.insert(key, message.body.as_bytes())?;
            }
        }
        Ok(transaction.commit()?)
    }

    fn settle(&mut self) -> Outcome<()> {
        self.db.compact()?;
        Ok(())
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.db.close()?)
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let table = self.db.begin_read()?.open_table(MESSAGES)?;
        for row in table.range((room, 0)..(room + 1, 0))? {
            let (key, body) = row?;
            read.messages.push((key.value().1, body.value().to_vec()));
        }
        Ok(())
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let table = self.db.begin_read()?.open_table(MESSAGES)?;
        Ok(table.get((room, seq))?.map(|body| body.value().to_vec()))
    }
}
