//! `make compression ARGS='DIR'`: what blocks of other sizes, levels and dictionaries would take.
//!
//! On the records of a data directory that no server has open. With `DIR --write FILE` it makes the
//! generic dictionary of them instead.
//!
//! This is its command line; `compression` in the library is the rest.

use std::path::Path;
use std::process::ExitCode;

use hansard_benches::compression;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        [data] => compression::run(Path::new(data)),
        [data, "--write", to] => compression::write_generic(Path::new(data), Path::new(to)),
        _ => {
            eprintln!("usage: compression DIR [--write FILE]");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("compression: {error}");
            ExitCode::FAILURE
        }
    }
}
