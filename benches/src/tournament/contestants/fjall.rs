//! fjall: all rooms in one keyspace, `PersistMode::SyncAll` after every group.
//!
//! Its documentation knows no stricter mode.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer, key_of, seq_of};
use crate::tournament::load::Message;

pub struct Fjall;

struct Store {
    db: Database,
    messages: Keyspace,
}

impl Store {
    fn open(dir: &Path) -> Outcome<Self> {
        let db = Database::builder(dir).open()?;
        let messages = db.keyspace("messages", KeyspaceCreateOptions::default)?;
        Ok(Self { db, messages })
    }
}

impl Contestant for Fjall {
    fn key(&self) -> &'static str {
        "fjall"
    }

    fn title(&self) -> &'static str {
        "fjall"
    }

    fn package(&self) -> &'static str {
        "fjall"
    }

    fn settings(&self) -> &'static str {
        "`PersistMode::SyncAll`; opened with defaults"
    }

    fn role(&self, path: &str) -> Role {
        match path {
            "lock" => Role::Aside,
            path if path.ends_with(".jnl") => Role::Log,
            _ => Role::Table,
        }
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        Ok(Box::new(Store::open(dir)?))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        Ok(Box::new(Store::open(dir)?))
    }
}

impl Writer for Store {
    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let mut batch = self.db.batch();
        for message in group {
            let key = key_of(message.room_id(), message.seq);
            batch.insert(&self.messages, key, message.body);
        }
        batch.commit()?;
        Ok(self.db.persist(PersistMode::SyncAll)?)
    }

    fn settle(&mut self) -> Outcome<()> {
        self.messages.rotate_memtable_and_wait()?;
        Ok(self.messages.major_compact()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        for row in self.messages.prefix(room.to_be_bytes()) {
            let (key, body) = row.into_inner()?;
            read.messages.push((seq_of(&key).unwrap_or_default(), body.to_vec()));
        }
        Ok(())
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        Ok(self.messages.get(key_of(room, seq))?.map(|body| body.to_vec()))
    }
}
