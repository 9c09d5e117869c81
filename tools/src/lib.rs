//! The offline tool: looks at, checks and compacts a data directory that no server has open.
//!
//! `inspect` and `verify` write nothing and work on a read-only mount; `compact` works in place.
//! Exit codes: 0 fine, 1 damage, 2 usage, 3 could not run.

mod compact;
mod inspect;
mod open;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hansard_engine::error::Error;

pub use open::Directory;
pub use verify::{Finding, Report, verify};

/// The directory is damaged, or a check failed.
pub const DAMAGE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// The tool could not run: directory absent, in use, unreadable, or of another layout.
pub const COULD_NOT_RUN: u8 = 3;

/// Looks at, checks and compacts a Hansard data directory that no server has open.
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
    /// Check every checksum, every run index against its blocks, and the journal against the
    /// catalog.
    Verify {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
    /// Replay the journal and seal everything into packs, in place.
    Compact {
        /// The data directory.
        dir: PathBuf,
        /// Print one JSON document.
        #[arg(long)]
        json: bool,
    },
}

/// Runs a command and says how it ended.
#[must_use]
pub fn run(cli: &Cli) -> ExitCode {
    let done = match &cli.command {
        Command::Inspect { dir, json } => inspect::run(dir, *json).map(|()| 0),
        Command::Verify { dir, json } => verify::run(dir, *json),
        Command::Compact { dir, json } => compact::run(dir, *json),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
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
