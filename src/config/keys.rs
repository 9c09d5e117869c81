//! Every key of the configuration: type, default, range, meaning. One table, read as one.
//!
//! Defaults are the engine's and the server's own. A key's comment goes into the printed default
//! and into OPERATIONS.md, word for word.

use std::net::SocketAddr;

use hansard_engine::Options;
use hansard_server::ServerConfig;

use super::value::{Given, Level, LogFormat, Value};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;
const GIB: u64 = 1024 * MIB;
const TIB: u64 = 1024 * GIB;

/// Files that the journal has at least, as the engine needs them.
pub const JOURNAL_FILES_MIN: u64 = 3;
/// Files that the journal has at most: `JOURNAL_FILES_MAX` of the engine, as a test says.
pub const JOURNAL_FILES_MAX: u64 = 64;

/// One key: where it stands, what it means, how it is set and shown.
pub struct Key {
    /// The section.
    pub section: &'static str,
    /// The key within it.
    pub name: &'static str,
    /// The meaning, line by line, each with a space in front.
    pub doc: &'static [&'static str],
    /// The least and the most, for numbers.
    pub range: Option<(u64, u64)>,
    /// Takes a value, or says what it wanted.
    pub(super) set: fn(&mut Config, Given<'_>) -> Result<(), &'static str>,
    /// The value as TOML.
    pub shown: fn(&Config) -> String,
    /// The value as a number, if it is one.
    pub(super) number: fn(&Config) -> Option<u64>,
}

impl Key {
    /// `section.key`.
    pub fn dotted(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }
}

macro_rules! keys {
    ($( $(#[$section_doc:meta])* $section:ident $Section:ident { $(
        $(#[doc = $doc:literal])+
        $key:ident: $type:ty = $default:expr, $range:expr;
    )+ } )+) => {
        /// The whole configuration.
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct Config { $( $(#[$section_doc])* pub $section: $Section, )+ }

        $(
            $(#[$section_doc])*
            #[derive(Clone, Debug, PartialEq, Eq)]
            pub struct $Section { $( $(#[doc = $doc])+ pub $key: $type, )+ }

            impl Default for $Section {
                fn default() -> Self {
                    Self { $( $key: $default, )+ }
                }
            }
        )+

        /// Every key, in the order of the printed default.
        pub const KEYS: &[Key] = &[ $( $( Key {
            section: stringify!($section),
            name: stringify!($key),
            doc: &[ $( $doc ),+ ],
            range: $range,
            set: |config, given| {
                config.$section.$key = Value::read(given)?;
                Ok(())
            },
            shown: |config| config.$section.$key.shown(),
            number: |config| config.$section.$key.number(),
        }, )+ )+ ];
    };
}

keys! {
    /// The HTTP door: the API, the stream and the page.
    http Http {
        /// Where HTTP, the stream and the page listen. Port 0 takes any free port.
        listen: SocketAddr = ServerConfig::default().http, None;
        /// Whether plaintext may listen elsewhere than on loopback. Put a TLS proxy before it.
        insecure_listen: bool = ServerConfig::default().insecure_listen, None;
        /// History reads at once; each may wait for the disk.
        read_concurrency: usize = ServerConfig::default().read_concurrency, Some((1, 1024));
    }
    /// The IRC door.
    irc Irc {
        /// Where IRC will listen. This build has no such door and says so once.
        listen: SocketAddr = ServerConfig::default().irc, None;
    }
    /// The door for other servers.
    peer Peer {
        /// Where other servers will connect. This build has no such door and says so once.
        listen: SocketAddr = ServerConfig::default().peer, None;
    }
    /// Accounts and sessions.
    auth Auth {
        /// Days that a sign-in lasts.
        session_days: u32 = ServerConfig::default().session_days, Some((1, 366));
        /// Memory of one argon2id hash, in KiB. It holds for new passwords; old ones keep theirs.
        password_memory_kib: u32 = ServerConfig::default().password_cost.memory_kib,
            Some((8 * KIB, 1024 * KIB));
        /// Passes of argon2id over that memory.
        password_passes: u32 = ServerConfig::default().password_cost.passes, Some((1, 64));
        /// Lanes of argon2id.
        password_lanes: u32 = ServerConfig::default().password_cost.lanes, Some((1, 16));
    }
    /// The log of messages: memory and files.
    engine Engine {
        /// Bytes of one journal file. It is zero-filled once and then used again and again.
        journal_file_bytes: u64 = Options::default().journal_file_bytes, Some((8 * MIB, GIB));
        /// Bytes of the whole journal: what a start replays at most.
        journal_bytes_max: u64 = Options::default().journal_bytes_max, Some((24 * MIB, 16 * GIB));
        /// Bytes of unsealed messages in memory at which rooms are sealed into packs.
        tail_bytes_soft: usize = Options::default().tail_bytes_soft, Some((MIB, TIB));
        /// Bytes of records in memory at which nothing more is recorded (503) until sealing catches
        /// up.
        tail_bytes_hard: usize = Options::default().tail_bytes_hard, Some((4 * MIB, TIB));
        /// Bytes of history kept in memory: three quarters for blocks, one for where rooms have
        /// theirs.
        cache_bytes: usize = Options::default().cache_bytes, Some((MIB, TIB));
        /// Bytes of the catalog (RocksDB) kept in memory.
        catalog_cache_bytes: usize = Options::default().catalog_cache_bytes, Some((MIB, TIB));
        /// Milliseconds after which what is new is sealed into packs, however little it is.
        seal_interval_ms: u64 = Options::default().seal_interval_ms, Some((10, 3_600_000));
        /// Seconds between passes that read all packs and look for damage; 0 for none but those
        /// asked for.
        scrub_interval_seconds: u64 = Options::default().scrub_interval_ms / 1000,
            Some((0, 366 * 86_400));
        /// Bytes a second that such a pass reads at most; 0 for no limit.
        scrub_bytes_per_second: u64 = Options::default().scrub_bytes_per_second, Some((0, TIB));
        /// Milliseconds between looks for small packs to merge into larger ones; 0 for none.
        merge_interval_ms: u64 = Options::default().merge_interval_ms, Some((0, 86_400_000));
        /// Bytes of packs a second that merges read and read back at most; 0 for no limit. At its
        /// end a merge reads the indexes once more, without it.
        merge_bytes_per_second: u64 = Options::default().merge_bytes_per_second, Some((0, TIB));
        /// Seconds between looks for entries that their category's retention takes; 0 for none.
        expire_interval_seconds: u64 = Options::default().expire_interval_ms / 1000,
            Some((0, 366 * 86_400));
        /// Seconds between signatures of all rooms' heads, if there are new records; 0 for none.
        head_interval_seconds: u64 = Options::default().head_interval_ms / 1000,
            Some((0, 366 * 86_400));
        /// Free bytes of the disk below which posts are refused with 507; reads go on.
        disk_reserve_bytes: u64 = Options::default().disk_reserve_bytes, Some((MIB, TIB));
        /// Milliseconds that reads go on after a failed write of the journal, before exit 74.
        poison_linger_ms: u64 = 30_000, Some((0, 3_600_000));
    }
    /// What the server says about itself.
    log Log {
        /// `text` or `json`, on standard error. No message's text is ever logged.
        format: LogFormat = LogFormat::Text, None;
        /// `error`, `warn`, `info`, `debug` or `trace`.
        level: Level = Level::Info, None;
    }
}
