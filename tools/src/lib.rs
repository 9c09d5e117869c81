//! The offline tool: looks at, checks, dumps, repairs and compacts a data directory that no server
//! has open.
//!
//! `inspect`, `stats`, `verify`, `dump` and `prove` write nothing and work on a read-only mount;
//! `repair` writes beside the directory unless it is told otherwise; `compact` works in place;
//! `check-proof` needs no directory.
//! Exit codes: 0 fine, 1 damage, 2 usage, 3 could not run, or could not say what it found.

mod compact;
mod dump;
mod inspect;
mod open;
mod pages;
mod proof;
mod repair;
mod stats;
mod verify;

use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use hansard_engine::error::{Error, Result};
use serde::Serialize;

pub use dump::DumpArgs;
pub use open::Directory;
pub use proof::{CheckArgs, ProveArgs};
pub use verify::{Against, Depth, Finding, Report, Show, verify};

/// The directory is damaged, or a check failed.
pub const DAMAGE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The tool could not run: directory absent, in use, unreadable, or of another layout.
pub const COULD_NOT_RUN: u8 = 3;

/// Looks at, checks, dumps, repairs and compacts a Hansard data directory that no server has open.
#[derive(Debug, Parser)]
#[command(name = "hansard-tool", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What the tool can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show rooms, packs, segments and the frames of the live journal.
    Inspect {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Show figures of the whole: packs, records, rooms, messages, compression, sizes.
    Stats {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Check every checksum, every run index against its blocks, the journal against the catalog,
    /// and every room's tree against what was signed.
    Verify {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Compare packs with their digests, and their run indexes with the catalog; look only into
        /// packs that differ.
        #[arg(long)]
        quick: bool,
        /// A signed head that left this machine: the record must begin with what it covers.
        #[arg(long, value_name = "FILE", conflicts_with = "quick")]
        head: Option<PathBuf>,
        /// The public key, or a file with keys, one a line, that heads must be signed with.
        #[arg(long, value_name = "KEY", conflicts_with = "quick")]
        key: Option<String>,
        /// Say on standard error once a second how far it is; on a terminal it does so anyway.
        #[arg(long)]
        progress: bool,
    },
    /// Print every record that can be read, one JSON object a line; what is missing is a line, too.
    Dump(DumpArgs),
    /// Prove messages of a room, one JSON document a line; or print the newest signed head, or
    /// prove that it follows from one that left this machine.
    Prove(ProveArgs),
    /// Check what `prove` printed, with a public key and nothing else.
    CheckProof(CheckArgs),
    /// Make of a damaged directory one that opens, and say exactly what is lost.
    Repair {
        /// The data directory.
        dir: PathBuf,
        /// Another data directory or checkpoint of the same server, to take sound bytes from.
        #[arg(long, value_name = "COPY")]
        from: Option<PathBuf>,
        /// Where the result goes; `DIR.repaired` unless said. It must not exist.
        #[arg(long, value_name = "NEW", conflicts_with = "in_place")]
        to: Option<PathBuf>,
        /// Change the directory itself; what is replaced goes to its `quarantine/`.
        #[arg(long)]
        in_place: bool,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Read every row of the catalog: what `repair` asks of a second process, as RocksDB may hang.
    #[command(name = repair::catalog::CHECK, hide = true)]
    CheckCatalog {
        /// The data directory.
        dir: PathBuf,
        /// Packs whose runs it shall print.
        packs: Vec<u64>,
    },
    /// Seal the journal into packs and merge small packs into large ones, in place.
    Compact {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
        /// Say how far it is, also when standard error is no terminal.
        #[arg(long)]
        progress: bool,
    },
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: Shell,
    },
    /// Write man pages of the tool and of each command.
    Man {
        /// The folder, which must exist.
        dir: PathBuf,
    },
}

/// Runs a command and says how it ended.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let (dir, done): (&Path, _) = match &cli.command {
        Command::Inspect { dir, json } => (dir, inspect::run(dir, *json).map(|()| 0)),
        Command::Stats { dir, json } => (dir, stats::run(dir, *json)),
        Command::Verify { dir, json, quick, head, key, progress } => {
            let depth = if *quick { Depth::Digests } else { Depth::Records };
            let against = proof::against(head.as_deref(), key.as_deref());
            let run = |against| verify::run(dir, *json, depth, Show::asked(*progress), &against);
            (dir, against.and_then(run))
        }
        Command::Dump(args) => (&args.dir, dump::run(args)),
        Command::Prove(args) => (&args.dir, proof::prove(args)),
        Command::CheckProof(args) => (&args.file, proof::check(args)),
        Command::Repair { dir, from, to, in_place, json } => {
            let (from, to) = (from.as_deref(), to.as_deref());
            let wish = repair::Wish { dir, from, to, in_place: *in_place, json: *json };
            (dir, repair::run(&wish))
        }
        Command::CheckCatalog { dir, packs } => (dir, repair::catalog::check(dir, packs)),
        Command::Compact { dir, json, progress } => {
            (dir, compact::run(dir, *json, Show::asked(*progress)))
        }
        Command::Completions { shell } => (Path::new(""), pages::completions(*shell)),
        Command::Man { dir } => (dir, pages::man(dir)),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            let error = open::named(error, dir);
            eprintln!("hansard-tool: {error}");
            ExitCode::from(code_of(&error))
        }
    }
}

/// The exit code of an error that ended a command.
fn code_of(error: &Error) -> u8 {
    match error {
        Error::Corrupt { .. } => DAMAGE,
        _ => COULD_NOT_RUN,
    }
}

/// Prints an answer as one JSON document.
///
/// # Errors
/// As [`say`].
pub(crate) fn say_json(answer: &impl Serialize) -> Result<()> {
    say(&(serde_json::to_string(answer).unwrap_or_default() + "\n"))
}

/// Prints an answer. A reader that is gone wants no more of it, which is not a failure.
///
/// # Errors
/// `Io` if standard output takes no more, as on a full disk.
pub(crate) fn say(answer: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(answer.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Error::Io {
            op: "write",
            path: "standard output".into(),
            kind: error.kind(),
            message: error.to_string(),
        }),
        _ => Ok(()),
    }
}
