//! `make compression ARGS='DIR'`: what blocks of other sizes, levels and dictionaries would take.
//!
//! On the records of a data directory that no server has open.
//!
//! This is its command line; `compression` in the library is the rest.

use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(data) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: compression DIR");
        return ExitCode::from(2);
    };
    match hansard_benches::compression::run(&data) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compression: {error}");
            ExitCode::FAILURE
        }
    }
}
