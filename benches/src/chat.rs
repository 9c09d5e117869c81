//! Lines of real chat, from a folder of IRC logs: what every measurement posts.
//!
//! Only what was said is taken: `[HH:MM] <nick> text`. INVARIANT: the same folder gives the same
//! lines in the same order.

use std::collections::HashMap;
use std::path::Path;

use crate::tournament::Outcome;

/// Who said what.
pub struct Chat {
    /// In the order in which they were first met.
    pub nicks: Vec<String>,
    /// The place of a line's author among the nicks, and what was said.
    pub lines: Vec<(usize, Box<str>)>,
}

impl Chat {
    /// Reads the lines of every log of a folder.
    ///
    /// # Errors
    /// If there are none.
    pub fn read(logs: &Path) -> Outcome<Self> {
        let mut files: Vec<_> =
            std::fs::read_dir(logs)?.map(|f| Ok(f?.path())).collect::<Outcome<_>>()?;
        files.retain(|file| file.extension().is_some_and(|end| end == "log"));
        files.sort();
        let (mut lines, mut nicks) = (Vec::new(), Vec::new());
        let mut known: HashMap<String, usize> = HashMap::new();
        for file in files {
            let bytes = std::fs::read(&file)?;
            for (nick, body) in bytes.split(|byte| *byte == b'\n').filter_map(said) {
                let author = *known.entry(nick.to_owned()).or_insert_with(|| {
                    nicks.push(nick.to_owned());
                    nicks.len() - 1
                });
                lines.push((author, body.into()));
            }
        }
        if lines.is_empty() {
            return Err(format!("no chat in the logs of {}", logs.display()).into());
        }
        lines.shrink_to_fit();
        Ok(Self { nicks, lines })
    }
}

/// `[HH:MM] <nick> text` as who and what.
fn said(line: &[u8]) -> Option<(&str, &str)> {
    let line = std::str::from_utf8(line).ok()?.trim_end_matches('\r');
    let (_, said) = line.strip_prefix('[')?.split_once("] <")?;
    let (nick, body) = said.split_once("> ")?;
    (!nick.is_empty() && !body.is_empty()).then_some((nick, body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_who_and_what() {
        assert_eq!(said(b"[10:48] <ann> hello: you\r"), Some(("ann", "hello: you")));
        assert_eq!(said(b"=== ann has joined #ubuntu"), None);
        assert_eq!(said(b"[10:48]  * ann waves"), None);
        assert_eq!(said(b"[10:48] <ann> \xff"), None);
    }
}
