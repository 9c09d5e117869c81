//! How `hansard` ends: the codes of sysexits.h, and which failure gets which.
//!
//! One table maps the engine's kinds, one the server's problems. Scripts rely on the numbers;
//! OPERATIONS.md explains each, and a test compares the two.

use std::fmt;
use std::io::ErrorKind;
use std::process::ExitCode;

use hansard_engine::error::Error;
use hansard_server::BootstrapError;

macro_rules! exits {
    ($( $variant:ident = $code:literal $meaning:literal ),* $(,)?) => {
        /// An exit code.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Exit { $( #[doc = $meaning] $variant ),* }

        impl Exit {
            /// Every code with its meaning, in the order of OPERATIONS.md.
            #[cfg(test)]
            pub const ALL: &'static [(Self, u8, &'static str)] =
                &[ $( (Self::$variant, $code, $meaning) ),* ];

            /// The number.
            pub const fn code(self) -> u8 {
                match self { $( Self::$variant => $code ),* }
            }
        }
    };
}

exits! {
    Fine = 0 "Done.",
    Cut = 1 "Stopped at once by a second signal.",
    Usage = 64 "The command line is wrong.",
    Data = 65 "The input is wrong, contradicts the record, or stored bytes are damaged.",
    NoInput = 66 "A file, room, user or other object that was named does not exist.",
    Unavailable = 69 "The server cannot be reached or failed.",
    CannotCreate = 73 "An output cannot be created, or its disk is full.",
    Io = 74 "Reading or writing failed; also a server whose log failed.",
    TryAgain = 75 "Busy, or the data directory is in use: try again.",
    Denied = 77 "No credential, a wrong one, or one that may not do this.",
    Config = 78 "The configuration is wrong.",
    Interrupted = 130 "Interrupted (Ctrl-C); what was done is kept.",
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why the program ends otherwise than well: words for people, a code for scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// The words, without the program's name.
    pub text: String,
}

impl Failure {
    /// A failure with words.
    pub fn new(exit: Exit, text: impl Into<String>) -> Self {
        Self { exit, text: text.into() }
    }

    /// A wrong command line that the parser could not see.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Exit::Usage, text)
    }

    /// A standard output that takes no more: mostly a pipe whose reader has gone.
    pub fn stdout(error: &std::io::Error) -> Self {
        Self::new(Exit::Io, format!("standard output failed error={error}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::new(of_engine(&error), error.to_string())
    }
}

impl From<BootstrapError> for Failure {
    fn from(error: BootstrapError) -> Self {
        match error {
            BootstrapError::Engine(error) => error.into(),
            BootstrapError::Input(text) => Self::new(Exit::Data, text),
            other => Self::new(Exit::Io, other.to_string()),
        }
    }
}

/// The code of an engine's error.
pub fn of_engine(error: &Error) -> Exit {
    match error {
        Error::Invalid { .. } | Error::Conflict { .. } => Exit::Data,
        Error::Corrupt { .. } | Error::Unsupported { .. } | Error::Trimmed { .. } => Exit::Data,
        Error::NotFound { .. } => Exit::NoInput,
        Error::PolicyChanged { .. } | Error::Unavailable { .. } => Exit::TryAgain,
        Error::Locked { .. } => Exit::TryAgain,
        Error::NoSpace { .. } => Exit::CannotCreate,
        Error::Fenced { .. } => Exit::Unavailable,
        Error::Poisoned { .. } => Exit::Io,
        Error::Io { kind, .. } => of_io(*kind),
    }
}

/// The code of an operating system's error.
pub const fn of_io(kind: ErrorKind) -> Exit {
    match kind {
        ErrorKind::NotFound => Exit::NoInput,
        ErrorKind::PermissionDenied => Exit::Denied,
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::AlreadyExists => {
            Exit::CannotCreate
        }
        _ => Exit::Io,
    }
}

/// The code of an answer of the server.
pub const fn of_status(status: u16) -> Exit {
    match status {
        401 | 403 => Exit::Denied,
        404 => Exit::NoInput,
        408 | 429 | 503 => Exit::TryAgain,
        507 => Exit::CannotCreate,
        400..=499 => Exit::Data,
        _ => Exit::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use hansard_engine::error::ConflictCode;
    use hansard_server::problem::CODES;

    use super::*;

    #[test]
    fn the_codes_are_those_of_sysexits() {
        let numbers: Vec<_> = Exit::ALL.iter().map(|(_, number, _)| *number).collect();
        assert_eq!(numbers, [0, 1, 64, 65, 66, 69, 73, 74, 75, 77, 78, 130]);
        assert!(Exit::ALL.iter().all(|(exit, number, _)| exit.code() == *number));
    }

    #[test]
    fn the_engines_kinds_have_their_codes() {
        let conflict = Error::Conflict { what: "x".into(), code: ConflictCode::TimeBackwards };
        let io = |kind| Error::Io { op: "open", path: "x".into(), kind, message: "x".into() };
        for (error, exit) in [
            (Error::Invalid { what: "x".into() }, Exit::Data),
            (conflict, Exit::Data),
            (Error::Locked { path: "x".into() }, Exit::TryAgain),
            (Error::Unsupported { file: "x".into(), found: 2 }, Exit::Data),
            (Error::NoSpace { what: "x", path: "x".into() }, Exit::CannotCreate),
            (Error::Poisoned { first: "x".into() }, Exit::Io),
            (io(ErrorKind::NotFound), Exit::NoInput),
            (io(ErrorKind::PermissionDenied), Exit::Denied),
            (io(ErrorKind::TimedOut), Exit::Io),
        ] {
            assert_eq!(of_engine(&error), exit, "{error}");
        }
    }

    #[test]
    fn every_problem_of_the_server_is_no_success() {
        for (code, status, _) in CODES {
            let exit = of_status(*status);
            assert!(exit.code() >= 64, "{code}");
            assert_eq!(exit == Exit::TryAgain, matches!(status, 429 | 503), "{code}");
        }
    }

    #[test]
    fn operations_md_lists_every_exit_code() {
        let mut table = String::from("| exit | meaning |\n|---|---|\n");
        for (_, number, meaning) in Exit::ALL {
            table.push_str(&format!("| {number} | {meaning} |\n"));
        }
        let document = include_str!("../server/OPERATIONS.md");
        assert!(document.contains(&table), "OPERATIONS.md must contain:\n{table}");
    }
}
