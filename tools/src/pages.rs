//! `completions` and `man`: what a shell and `man` know of the command line.
//!
//! Both are made from the command line's own definition; nothing is written down twice. No data
//! directory is touched.
//!
//! INVARIANT: a command that help hides has no page.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;
use hansard_engine::error::{Error, Result};

use crate::{Cli, say};

/// Prints the completions of a shell.
///
/// # Errors
/// As [`say`].
pub(crate) fn completions(shell: Shell) -> Result<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "hansard-tool", &mut script);
    say(&String::from_utf8_lossy(&script))?;
    Ok(0)
}

/// Writes a page for the tool and one for each of its commands into an existing folder.
///
/// # Errors
/// `Io`.
pub(crate) fn man(folder: &Path) -> Result<u8> {
    let written = clap_mangen::generate_to(Cli::command(), folder);
    written.map(|()| 0).map_err(|error| Error::Io {
        op: "write man pages",
        path: folder.to_path_buf(),
        kind: error.kind(),
        message: error.to_string(),
    })
}
