//! `report [FILE]`: what the suites found, printed, and written to FILE if one is named.
//!
//! It takes what criterion and the suites left in `CRITERION_HOME`, and measures nothing.

use hansard_benches::suite::{figures, report};
use hansard_benches::tournament::Outcome;

fn main() -> Outcome<()> {
    let suites = report::read(&figures::home())?;
    if suites.is_empty() {
        return Err("no suite has left anything yet".into());
    }
    let file = std::env::args_os().nth(1);
    let old = file.as_ref().and_then(|file| std::fs::read_to_string(file).ok());
    let text = report::write(&suites, old.as_deref().unwrap_or_default())?;
    print!("{text}");
    if let Some(file) = file {
        std::fs::write(file, text)?;
    }
    Ok(())
}
