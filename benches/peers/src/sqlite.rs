//! SQLite: WAL with `synchronous=FULL`, which its documentation calls durable in WAL mode.
//!
//! Tables without rowid, as it advises for such keys; one connection writes, as only one may, and
//! each thread that reads takes a connection of its own. The log is checkpointed by itself.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rusqlite::{Connection, OpenFlags, params};

use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};

pub const SETTINGS: &str = "WAL, synchronous=FULL (bulk: OFF until the end), WITHOUT ROWID, \
                            mmap off, prepared statements, an index of (room, time) and one of \
                            (category, time)";
const FILE: &str = "db";
const TABLES: &str = "
    create table if not exists message (room integer not null, seq integer not null,
        category integer not null, time integer not null, author integer not null,
        reply_to integer not null, body text not null, primary key (room, seq)) without rowid;
    create index if not exists by_category on message (category, time);
    create index if not exists by_time on message (room, time);
    create table if not exists known (key blob not null primary key, room integer not null,
        seq integer not null, digest blob not null) without rowid;";
const BEFORE: &str =
    "select body from message where room = ?1 and seq < ?2 order by seq desc limit ?3";
const BEFORE_TIME: &str =
    "select body from message where room = ?1 and time < ?2 order by time desc, seq desc limit ?3";
const CATEGORY: &str = "select body from message where category = ?1 and time >= ?2 and time < ?3";

pub struct Sqlite {
    writer: Mutex<Writer>,
    /// Those that nobody uses just now.
    readers: Mutex<Vec<Connection>>,
    cache_kib: i64,
    folder: PathBuf,
}

/// The connection that writes, and how durable its commits are just now.
struct Writer {
    db: Connection,
    durability: Durability,
}

impl Writer {
    fn be(&mut self, durability: Durability) -> Outcome<()> {
        if self.durability != durability {
            let level = if durability == Durability::Group { "FULL" } else { "OFF" };
            self.db.pragma_update(None, "synchronous", level)?;
            self.durability = durability;
        }
        Ok(())
    }
}

fn connection(file: &Path, flags: OpenFlags, cache_kib: i64) -> Outcome<Connection> {
    let db = Connection::open_with_flags(file, flags)?;
    db.pragma_update(None, "cache_size", -cache_kib)?;
    db.set_prepared_statement_cache_capacity(16);
    Ok(db)
}

impl Sqlite {
    pub fn open(dir: &Path, budget: Budget) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        // A reader and the writer have a cache each.
        let cache_kib = i64::try_from(budget.all_bytes() / 2048)?;
        let db = connection(&dir.join(FILE), OpenFlags::default(), cache_kib)?;
        db.pragma_update(None, "journal_mode", "WAL")?;
        db.pragma_update(None, "synchronous", "FULL")?;
        db.execute_batch(TABLES)?;
        let readers = Mutex::new(Vec::new());
        let writer = Mutex::new(Writer { db, durability: Durability::Group });
        Ok(Self { writer, readers, cache_kib, folder: dir.to_owned() })
    }

    fn bodies(&self, query: &str, place: [i64; 3]) -> Outcome<Sum> {
        let idle = self.readers.lock().pop();
        let db = match idle {
            Some(db) => db,
            None => connection(&self.folder.join(FILE), OpenFlags::default(), self.cache_kib)?,
        };
        let mut sum = Sum::default();
        {
            let mut statement = db.prepare_cached(query)?;
            let mut rows = statement.query(place)?;
            while let Some(row) = rows.next()? {
                sum.add(row.get_ref(0)?.as_bytes()?);
            }
        }
        self.readers.lock().push(db);
        Ok(sum)
    }
}

impl Store for Sqlite {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        let mut tally = Tally::default();
        let mut writer = self.writer.lock();
        writer.be(durability)?;
        let transaction = writer.db.transaction()?;
        {
            let mut known = transaction
                .prepare_cached("insert or ignore into known values (?1, ?2, ?3, ?4)")?;
            let mut insert = transaction
                .prepare_cached("insert into message values (?1, ?2, ?3, ?4, ?5, 0, ?6)")?;
            for message in group {
                let Message { room, seq, category, time_us, author, .. } = *message;
                let seq = seq.cast_signed();
                if known.execute(params![&message.key[..], room, seq, &message.digest[..]])? == 0 {
                    tally.repeated += 1;
                    continue;
                }
                insert.execute(params![room, seq, category, time_us, author, message.body])?;
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
        let mut writer = self.writer.lock();
        writer.be(Durability::Group)?;
        let db = &writer.db;
        db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        if quiet == Quiet::Compacted {
            db.execute_batch("vacuum")?;
            db.query_row("pragma wal_checkpoint(truncate)", [], |_| Ok(()))?;
        }
        Ok(())
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let place = [i64::from(room), below.cast_signed(), i64::try_from(count)?];
        self.bodies(BEFORE, place)
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        self.bodies(BEFORE_TIME, [i64::from(room), time_us, i64::try_from(count)?])
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let Slice { category, from_us, to_us } = slice;
        Ok(Some(self.bodies(CATEGORY, [i64::from(category), from_us, to_us])?))
    }

    fn forget_keys(&self) -> Outcome<bool> {
        let mut writer = self.writer.lock();
        writer.be(Durability::Group)?;
        writer.db.execute("delete from known", [])?;
        Ok(true)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.readers.into_inner().clear();
        self.writer.into_inner().db.close().map_err(|(_, error)| error.into())
    }
}
