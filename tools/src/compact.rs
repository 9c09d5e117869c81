//! `compact`, in place: replays the journal and seals everything into packs.
//!
//! It opens the directory as a server does, with its lock, and closes it cleanly. It refuses a
//! directory whose damage wants an operator's decision first.

use std::path::Path;

use hansard_engine::error::Result;
use hansard_engine::{Engine, Health, Options};
use serde::Serialize;

use crate::{DAMAGE, say, say_json};

#[derive(Debug, Serialize)]
struct Compacted {
    replayed: u64,
    sealed_lsn: u64,
    packs: u64,
    pack_bytes: u64,
    lost_messages: u64,
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened, sealed or closed.
pub(crate) fn run(path: &Path, json: bool) -> Result<u8> {
    let (engine, report) = Engine::open(path, Options::default())?;
    if let Health::Restricted { holes } = engine.health() {
        eprintln!("hansard-tool: records were lost and not accepted holes={holes:?}");
        engine.close()?;
        return Ok(DAMAGE);
    }
    let sealed = engine.seal();
    let stats = engine.stats();
    let done = Compacted {
        replayed: report.replayed,
        sealed_lsn: stats.sealed_lsn.get(),
        packs: stats.packs.get(),
        pack_bytes: stats.pack_bytes.get(),
        lost_messages: report.lost_messages,
    };
    engine.close()?;
    sealed?;
    if json {
        say_json(&done)?;
    } else {
        let Compacted { replayed, sealed_lsn, packs, pack_bytes, lost_messages } = done;
        let mut lines = format!("replayed {replayed} records, sealed up to lsn {sealed_lsn}\n");
        lines += &format!("{packs} packs hold {pack_bytes} bytes\n");
        if lost_messages > 0 {
            lines += &format!("{lost_messages} damaged messages stay gaps in their rooms\n");
        }
        say(&lines)?;
    }
    Ok(0)
}
