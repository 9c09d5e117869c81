//! `hansard`: the operators' binary.
//!
//! Parses the command line, runs one command, ends with one code of `exits`. Every command is a
//! module; what a failure says goes to standard error, here and nowhere else.

mod admin;
mod cli;
mod client;
mod config;
mod data;
mod exits;
mod export;
mod files;
mod import;
mod init;
mod interrupt;
mod logging;
mod pages;
mod progress;
mod serve;

use std::process::ExitCode;

use clap::Parser;

use cli::{Cli, Command};
use exits::{Exit, Failure};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(shown) => {
            let exit = if shown.use_stderr() { Exit::Usage } else { Exit::Fine };
            // Help and usage to a closed output are nobody's loss.
            let _ = shown.print();
            return exit.into();
        }
    };
    match run(&cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("hansard: {failure}");
            failure.exit.into()
        }
    }
}

fn run(command: &Command) -> Result<Exit, Failure> {
    let done = match command {
        Command::Serve(args) => return serve::run(args),
        Command::Init(args) => init::run(args),
        Command::AcceptDamage(args) => init::accept_damage(args),
        Command::CheckConfig { file } => config::check(file),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Admin(args) => admin::run(args),
        Command::Completions { shell } => pages::completions(*shell),
        Command::Man { dir } => pages::man(dir),
    };
    done.map(|()| Exit::Fine)
}
