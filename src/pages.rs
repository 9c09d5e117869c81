//! `completions` and `man`: what a shell and `man` know of the command line.
//!
//! Both are made from the command line's own definition; nothing is written down twice. No server
//! is asked and no data directory touched.

use std::io::{Write, stdout};
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exits::{Failure, of_io};

/// Prints the completions of a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hansard", &mut script);
    stdout().write_all(&script).map_err(|error| Failure::stdout(&error))
}

/// Writes a page for the program and one for each of its commands into an existing folder.
pub fn man(folder: &Path) -> Result<(), Failure> {
    clap_mangen::generate_to(Cli::command(), folder).map_err(|error| {
        let text = format!("cannot write man pages path={folder:?} error={error}");
        Failure::new(of_io(error.kind()), text)
    })
}
