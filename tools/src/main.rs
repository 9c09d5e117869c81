//! `hansard-tool`: look into, check, dump, repair and compact a data directory without a server.
//!
//! Parses the command line and turns outcomes into exit codes; the work is in the library.

use std::process::ExitCode;

use clap::Parser;
use hansard_tool::{Cli, run};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    match Cli::try_parse() {
        Ok(cli) => run(&cli),
        Err(wrong) => {
            // Help and version are answers, everything else is a wrong use.
            let answer = !wrong.use_stderr();
            let _ = wrong.print();
            if answer { ExitCode::SUCCESS } else { ExitCode::from(hansard_tool::USAGE) }
        }
    }
}
