//! PostgreSQL: a table of messages with its indexes, a group one statement and one commit.
//!
//! Rows are given as arrays and `unnest`ed, the fastest insert that its documentation has beside
//! COPY, which takes no `on conflict`. Each thread that is inside has a connection with its
//! statements prepared; they wait in a pool.

use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use postgres::{Client, NoTls, Statement};

use crate::server::Server;
use crate::store::{Budget, Durability, Message, Outcome, Quiet, Slice, Store, Sum, Tally};

pub use crate::server::SETTINGS;

const TABLES: &str = "
    create table if not exists message (room int not null, seq bigint not null,
        category int not null, time bigint not null, author int not null, key bytea not null,
        digest bytea not null, body text not null, primary key (room, seq));
    create unique index if not exists by_key on message (key);
    create index if not exists by_category on message (category, time);
    create index if not exists by_time on message (room, time);";
const INSERT: &str = "insert into message select * from unnest($1::int[], $2::bigint[], \
     $3::int[], $4::bigint[], $5::int[], $6::bytea[], $7::bytea[], $8::text[]) \
     on conflict do nothing";
const BEFORE: &str =
    "select body from message where room = $1 and seq < $2 order by seq desc limit $3";
const BEFORE_TIME: &str =
    "select body from message where room = $1 and time < $2 order by time desc, seq desc limit $3";
const DELETE: &str = "delete from message where category = any($1) and time < $2";
/// Their index goes with the column; the rows are written anew by a full vacuum.
const FORGET: &str = "alter table message drop column key, drop column digest";
const CATEGORY: &str = "select body from message where category = $1 and time >= $2 and time < $3";

pub struct Postgres {
    /// Those that nobody uses just now. Gone before the server.
    pool: Mutex<Vec<Connection>>,
    server: Server,
    folder: PathBuf,
}

struct Connection {
    client: Client,
    insert: Statement,
    before: Statement,
    before_time: Statement,
    category: Statement,
}

impl Connection {
    fn to(server: &Server) -> Outcome<Self> {
        let mut client = Client::connect(&server.address(), NoTls)?;
        let insert = client.prepare(INSERT)?;
        let before = client.prepare(BEFORE)?;
        let before_time = client.prepare(BEFORE_TIME)?;
        let category = client.prepare(CATEGORY)?;
        Ok(Self { client, insert, before, before_time, category })
    }
}

impl Postgres {
    pub fn open(dir: &Path, budget: Budget) -> Outcome<Self> {
        std::fs::create_dir_all(dir)?;
        let server = Server::start(dir, budget)?;
        Client::connect(&server.address(), NoTls)?.batch_execute(TABLES)?;
        Ok(Self { pool: Mutex::default(), server, folder: dir.to_owned() })
    }

    /// Does something on a connection of its own.
    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Outcome<T>) -> Outcome<T> {
        let idle = self.pool.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => Connection::to(&self.server)?,
        };
        let done = work(&mut connection)?;
        self.pool.lock().push(connection);
        Ok(done)
    }
}

fn bodies(rows: &[postgres::Row]) -> Outcome<Sum> {
    let mut sum = Sum::default();
    for row in rows {
        sum.add(row.try_get::<_, &str>(0)?.as_bytes());
    }
    Ok(sum)
}

impl Store for Postgres {
    fn commit(&self, group: &[Message<'_>], durability: Durability) -> Outcome<Tally> {
        // Bulk too: a group of many rows is what it is told to do, and a commit of it is cheap.
        let _ = durability;
        let rooms: Vec<i32> = group.iter().map(|m| m.room.cast_signed()).collect();
        let seqs: Vec<i64> = group.iter().map(|m| m.seq.cast_signed()).collect();
        let categories: Vec<i32> = group.iter().map(|m| m.category.cast_signed()).collect();
        let times: Vec<i64> = group.iter().map(|m| m.time_us).collect();
        let authors: Vec<i32> = group.iter().map(|m| m.author.cast_signed()).collect();
        let keys: Vec<&[u8]> = group.iter().map(|m| &m.key[..]).collect();
        let digests: Vec<&[u8]> = group.iter().map(|m| &m.digest[..]).collect();
        let texts: Vec<&str> = group.iter().map(|m| m.body).collect();
        self.with(|to| {
            let row: [&(dyn postgres::types::ToSql + Sync); 8] =
                [&rooms, &seqs, &categories, &times, &authors, &keys, &digests, &texts];
            let stored = to.client.execute(&to.insert, &row)?;
            Ok(Tally { stored, repeated: group.len() as u64 - stored })
        })
    }

    fn rest(&self, quiet: Quiet) -> Outcome<()> {
        let statements: &[&str] = match quiet {
            Quiet::Applied => &[],
            Quiet::Settled => &["checkpoint", "vacuum analyze message"],
            Quiet::Compacted => &["vacuum full analyze message", "checkpoint"],
        };
        self.with(|to| {
            for statement in statements {
                to.client.batch_execute(statement)?;
            }
            Ok(())
        })
    }

    fn before(&self, room: u32, below: u64, count: usize) -> Outcome<Sum> {
        let (room, below) = (room.cast_signed(), below.cast_signed());
        let count = i64::try_from(count)?;
        self.with(|to| bodies(&to.client.query(&to.before, &[&room, &below, &count])?))
    }

    fn before_time(&self, room: u32, time_us: i64, count: usize) -> Outcome<Sum> {
        let (room, count) = (room.cast_signed(), i64::try_from(count)?);
        self.with(|to| bodies(&to.client.query(&to.before_time, &[&room, &time_us, &count])?))
    }

    fn category(&self, slice: Slice) -> Outcome<Option<Sum>> {
        let Slice { category, from_us, to_us } = slice;
        let category = category.cast_signed();
        let found = self
            .with(|to| bodies(&to.client.query(&to.category, &[&category, &from_us, &to_us])?))?;
        Ok(Some(found))
    }

    fn delete_before(&self, categories: &[u32], time_us: i64) -> Outcome<Option<u64>> {
        let categories: Vec<i32> = categories.iter().map(|c| c.cast_signed()).collect();
        let gone = self.with(|to| Ok(to.client.execute(DELETE, &[&categories, &time_us])?))?;
        Ok(Some(gone))
    }

    fn forget_keys(&self) -> Outcome<bool> {
        self.with(|to| Ok(to.client.batch_execute(FORGET)?))?;
        Ok(true)
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.folder.join("data/pg_wal")).into_iter().flatten();
        files.filter_map(|file| Some(file.ok()?.path())).filter(|path| path.is_file()).collect()
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        self.pool.into_inner().clear();
        drop(self.server);
        Ok(())
    }
}
