//! The command line: what can be asked of `hansard`, and nothing about how it is done.
//!
//! Noun before verb. Scripts rely on every name here; a changed one is a breaking change.

mod admin;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

pub use admin::{
    AdminArgs, CategoryOptions, CategoryVerb, ClockVerb, ComplianceVerb, EraseArgs, EventVerb,
    HeadVerb, HoldVerb, MemberVerb, Noun, RetentionOptions, RetentionVerb, Role, RoomKind,
    RoomOptions, RoomPrivacy, RoomVerb, ScrubVerb, SessionVerb, TokenVerb, UserVerb,
};

/// A chat server whose history is never lost.
#[derive(Debug, Parser)]
#[command(name = "hansard", version, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the server; a missing data directory is made, with an administrator "admin".
    Serve(ServeArgs),
    /// Make a data directory with an administrator, without running.
    Init(InitArgs),
    /// List what damage has cost, accept it, and sign everybody out; the server must not run.
    AcceptDamage(DataArgs),
    /// Check a configuration file: exit 0 or 78.
    CheckConfig {
        /// The file.
        file: PathBuf,
    },
    /// Bring history into a room. Can be interrupted and run again; nothing comes twice.
    Import(ImportArgs),
    /// Write a room's history.
    Export(ExportArgs),
    /// Administer a running server.
    Admin(AdminArgs),
    /// Print the completions of a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// Write man pages of the program and of each command into an existing folder.
    Man {
        /// The folder, such as /usr/local/share/man/man1.
        dir: PathBuf,
    },
}

/// A data directory.
#[derive(Debug, Args)]
pub struct DataArgs {
    /// The data directory.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// A configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// `hansard serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// The data directory; made if it does not exist.
    #[arg(long, value_name = "DIR", required_unless_present = "print_default_config")]
    pub data: Option<PathBuf>,
    /// A configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where HTTP listens [default: 127.0.0.1:8010].
    #[arg(long, value_name = "ADDR")]
    pub http: Option<String>,
    /// Where IRC will listen [default: 127.0.0.1:6667].
    #[arg(long, value_name = "ADDR")]
    pub irc: Option<String>,
    /// Where other servers will connect [default: 127.0.0.1:8011].
    #[arg(long, value_name = "ADDR")]
    pub peer: Option<String>,
    /// Print the default configuration with comments, and do nothing else.
    #[arg(long)]
    pub print_default_config: bool,
}

/// `hansard init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The data directory to make.
    #[arg(long, value_name = "DIR")]
    pub data: PathBuf,
    /// The first administrator's name.
    #[arg(long, value_name = "NAME")]
    pub admin: String,
    /// A file with his password; without it a sign-in link is made.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// A configuration file.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Which server, and who asks.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// The server [default: HANSARD_URL, else http://127.0.0.1:8010].
    #[arg(long, value_name = "URL", global = true)]
    pub server: Option<String>,
    /// A file with the token [default: the token in HANSARD_TOKEN].
    #[arg(long, value_name = "FILE", global = true)]
    pub token_file: Option<PathBuf>,
}

/// What an import reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ImportFormat {
    /// Text logs of an IRC channel, one file a day, named YYYY-MM-DD.log or YYYY-MM-DD_HH.log.
    IrcLog,
    /// What `hansard export jsonl` writes.
    Jsonl,
}

impl ImportFormat {
    /// The format's name in the record.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::IrcLog => "irc-log",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Which part of a file that passes midnight its name means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DateOf {
    /// The file starts on that day.
    First,
    /// The file ends on that day.
    Last,
}

/// `hansard import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// What the files are.
    pub format: ImportFormat,
    /// The files, in the order of their time; the room takes nothing older than what it holds.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// The category, by name or id; made for everyone if there is none.
    #[arg(long, value_name = "CATEGORY")]
    pub category: String,
    /// The room, by name or id; made open if there is none.
    #[arg(long, value_name = "ROOM")]
    pub room: String,
    /// Which day of a log that passes midnight its name gives [default: first].
    #[arg(long, value_name = "DAY")]
    pub date_of: Option<DateOf>,
    /// The network the authors wrote on: one nick of one network is one author.
    #[arg(long, value_name = "NAME")]
    pub source: Option<String>,
    /// Take entries, too, that the category's retention takes away at its next look.
    #[arg(long)]
    pub allow_expired: bool,
    /// Print the report as one JSON document.
    #[arg(long)]
    pub json: bool,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ExportFormat {
    /// One JSON object a line: messages as the API gives them, and `{"gap": ...}` for holes.
    Jsonl,
}

/// `hansard export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// What to write.
    pub format: ExportFormat,
    /// The room, by name or id.
    #[arg(long, value_name = "ROOM")]
    pub room: String,
    /// The first time, included: 2008-04-27T06:00:00Z.
    #[arg(long, value_name = "TIME")]
    pub from: Option<String>,
    /// The last time, excluded.
    #[arg(long, value_name = "TIME")]
    pub to: Option<String>,
    /// A new file for it [default: standard output].
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Which server.
    #[command(flatten)]
    pub server: ServerArgs,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn parsed(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(line.split(' '))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_command_lines_that_scripts_use_are_understood() {
        for line in [
            "hansard serve --data d",
            "hansard serve --data d --config c --http 1:1 --irc 1:2 --peer 1:3",
            "hansard serve --print-default-config",
            "hansard init --data d --admin a",
            "hansard init --data d --admin a --password-file p",
            "hansard accept-damage --data d",
            "hansard check-config f",
            "hansard import irc-log --category C --room r --date-of last a.log b.log",
            "hansard import jsonl --category C --room r --json --source freenode f",
            "hansard import irc-log f --category C --room r --server http://h:1 --token-file t",
            "hansard export jsonl --room r",
            "hansard export jsonl --room r --from 2008-04-27T06:00:00Z --to x --output f",
            "hansard admin session create --name admin --password-file f",
            "hansard admin user list --json --server http://h:1",
            "hansard admin event list --json --after c --limit 10",
            "hansard admin clock accept",
            "hansard admin checkpoint /backup/today",
            "hansard admin scrub show --json",
            "hansard admin scrub run",
        ] {
            assert!(parsed(line).is_ok(), "{line}: {:?}", parsed(line).err());
        }
        for line in [
            "hansard",
            "hansard serve",
            "hansard import irc-log --category C --room r",
            "hansard import xml --category C --room r f",
            "hansard import irc-log --room r f",
            "hansard export jsonl",
            "hansard admin",
            "hansard admin user",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn no_command_line_panics_the_parser() {
        let words = "hansard serve init import irc-log jsonl export admin user create scrub run \
                     checkpoint --data --config --http --json -- - --name --room --category --from \
                     --server --data= --limit -1 99999999999999999999 \u{1F600} --http=[::1 d \
                     check-config --help -h"
            .split_whitespace()
            .collect::<Vec<_>>();
        // G. Marsaglia's xorshift64: the same in every run.
        let mut state = 7u64;
        let mut below = |bound: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            usize::try_from(state % bound as u64).unwrap()
        };
        let mut understood = 0;
        for _ in 0..5_000 {
            let mut line = vec!["hansard"];
            for _ in 0..below(8) {
                line.push(words[below(words.len())]);
            }
            understood += u32::from(Cli::try_parse_from(line).is_ok());
        }
        assert!(understood > 0);
    }
}
