//! SQLite: one table with a primary key, in WAL mode with `synchronous=FULL`.
//!
//! FULL is what its documentation calls durable in WAL mode. Strict is `cell_size_check` and a
//! `PRAGMA integrity_check` before reading. SQLite keeps no checksum of a database page; the
//! checksum VFS that would is an extension which the crate does not build.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension, params};

use super::Mode;
use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer};
use crate::tournament::load::Message;

const FILE: &str = "db";

pub struct Sqlite(pub Mode);

struct Store {
    db: Connection,
    complaint: Option<String>,
}

impl Contestant for Sqlite {
    fn key(&self) -> &'static str {
        match self.0 {
            Mode::Default => "sqlite",
            Mode::Strict => "sqlite-strict",
        }
    }

    fn title(&self) -> &'static str {
        match self.0 {
            Mode::Default => "SQLite",
            Mode::Strict => "SQLite, checked",
        }
    }

    fn package(&self) -> &'static str {
        "libsqlite3-sys"
    }

    fn settings(&self) -> &'static str {
        match self.0 {
            Mode::Default => "WAL, `synchronous=FULL`; opened with defaults",
            Mode::Strict => "WAL, `synchronous=FULL`; cell_size_check, integrity_check first",
        }
    }

    fn role(&self, path: &str) -> Role {
        match path {
            path if path.ends_with("-shm") => Role::Aside,
            path if path.ends_with("-wal") => Role::Log,
            _ => Role::Table,
        }
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        std::fs::create_dir_all(dir)?;
        let db = Connection::open(dir.join(FILE))?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        // So that the log still holds the messages; `settle` makes the checkpoint.
        db.pragma_update(None, "wal_autocheckpoint", 0)?;
        let table = "create table message (room integer not null, seq integer not null, \
                     body text not null, primary key (room, seq))";
        db.execute(table, [])?;
        let mut store = Store { db, complaint: None };
        // The table is older than the messages.
        store.settle()?;
        Ok(Box::new(store))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        let db = Connection::open(dir.join(FILE))?;
        let mut complaint = None;
        if self.0 == Mode::Strict {
            db.pragma_update(None, "cell_size_check", true)?;
            let found: String = db.query_row("pragma integrity_check", [], |row| row.get(0))?;
            complaint = (found != "ok").then_some(found);
        }
        Ok(Box::new(Store { db, complaint }))
    }
}

impl Writer for Store {
    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let transaction = self.db.transaction()?;
        for message in group {
            let row =
                params![message.room_id().cast_signed(), message.seq.cast_signed(), message.body];
            transaction.execute("insert into message values (?1, ?2, ?3)", row)?;
        }
        Ok(transaction.commit()?)
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.db.close().map_err(|(_, error)| error.into())
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let query = "select seq, body from message where room = ?1 order by seq";
        let mut query = self.db.prepare(query)?;
        let mut rows = query.query([room.cast_signed()])?;
        while let Some(row) = rows.next()? {
            let seq: i64 = row.get(0)?;
            read.messages.push((seq.cast_unsigned(), row.get_ref(1)?.as_bytes()?.to_vec()));
        }
        Ok(())
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let query = "select body from message where room = ?1 and seq = ?2";
        let place = [room.cast_signed(), seq.cast_signed()];
        let mut query = self.db.prepare(query)?;
        let body = query.query_row(place, |row| Ok(row.get_ref(0)?.as_bytes()?.to_vec()));
        Ok(body.optional()?)
    }

    fn complaint(&self) -> Option<String> {
        self.complaint.clone()
    }
}
