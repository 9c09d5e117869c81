//! `hansard export jsonl`: a room's history, one JSON object a line, as the API shows it.
//!
//! Holes are lines of their own, `{"gap": {...}}`, at their place. INVARIANT: an output file
//! appears under its name only when the export is whole.

use std::io::{BufWriter, Write, stdout};

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::cli::{ExportArgs, ExportFormat};
use crate::client::{Client, Sort, segment};
use crate::exits::{Exit, Failure};
use crate::files::Output;
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Messages of one request.
const PAGE: &str = "500";

/// Runs an export.
pub fn run(args: &ExportArgs) -> Result<(), Failure> {
    let ExportFormat::Jsonl = args.format;
    let span = Span { from: time("--from", &args.from)?, to: time("--to", &args.to)? };
    let interrupt = Interrupt::listen()?;
    let client = Client::new(&args.server)?;
    let room = client.id_of(Sort::Room, &args.room)?;
    let Some(path) = &args.output else {
        let mut out = BufWriter::new(stdout().lock());
        write(&client, &room, &span, &interrupt, &mut out)?;
        return out.flush().map_err(|error| Failure::stdout(&error));
    };
    let mut out = Output::create(path)?;
    write(&client, &room, &span, &interrupt, &mut out)?;
    out.finish()
}

/// The times that are wanted.
struct Span {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
}

impl Span {
    fn ends_before(&self, time: Timestamp) -> bool {
        self.to.is_some_and(|to| time >= to)
    }
}

fn time(flag: &str, text: &Option<String>) -> Result<Option<Timestamp>, Failure> {
    let Some(text) = text else { return Ok(None) };
    let parsed = text.parse();
    let wrong =
        || Failure::usage(format!("{flag} is not a time like 2008-04-27T06:00:00Z: {text}"));
    parsed.map(Some).map_err(|_| wrong())
}

fn write(
    client: &Client,
    room: &str,
    span: &Span,
    interrupt: &Interrupt,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let path = format!("/rooms/{}/messages", segment(room));
    // What is said while the export runs belongs to the next one.
    let newest = newest(&client.get(&path, &[("limit", "1")])?)?;
    let from = span.from.map(|from| format!("{from:.6}"));
    let mut query = match &from {
        Some(from) => vec![("at", from.clone()), ("limit", PAGE.to_owned())],
        None => vec![("after", "0".to_owned()), ("limit", PAGE.to_owned())],
    };
    let mut progress = Progress::new();
    let (mut written, mut through) = (0_u64, 0);
    loop {
        if interrupt.raised() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        let pairs: Vec<_> = query.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let page = client.get(&path, &pairs)?;
        for line in lines(&page)? {
            if line.seq > newest || line.time.is_some_and(|time| span.ends_before(time)) {
                progress.end();
                return Ok(());
            }
            // A hole at the edge of a page stands on both sides of it.
            if line.end <= through {
                continue;
            }
            through = line.end;
            writeln!(out, "{}", line.json).map_err(|error| failed(&error))?;
            written += 1;
        }
        let Some(newer) = page.get("newer").and_then(Value::as_str) else { break };
        query = vec![("cursor", newer.to_owned()), ("limit", PAGE.to_owned())];
        progress.show(|| format!("{written} lines written"));
    }
    progress.end();
    Ok(())
}

/// A line of the export.
struct Line {
    /// The entry, or the first one missing.
    seq: u64,
    /// The entry, or the last one missing.
    end: u64,
    time: Option<Timestamp>,
    json: Value,
}

/// The messages and gaps of a page, in their order.
fn lines(page: &Value) -> Result<Vec<Line>, Failure> {
    let list = |name: &str| page.get(name).and_then(Value::as_array).into_iter().flatten();
    let number = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_u64).ok_or_else(|| foreign(name))
    };
    let mut lines = Vec::new();
    for message in list("messages") {
        let time = message.get("time").and_then(Value::as_str).and_then(|time| time.parse().ok());
        let seq = number(message, "seq")?;
        let time = Some(time.ok_or_else(|| foreign("time"))?);
        lines.push(Line { seq, end: seq, time, json: message.clone() });
    }
    for gap in list("gaps") {
        let (seq, end) = (number(gap, "from_seq")?, number(gap, "to_seq")?);
        lines.push(Line { seq, end, time: None, json: json!({ "gap": gap }) });
    }
    lines.sort_by_key(|line| line.seq);
    Ok(lines)
}

/// The newest entry of a room, from its last page.
fn newest(page: &Value) -> Result<u64, Failure> {
    Ok(lines(page)?.iter().map(|line| line.end).max().unwrap_or(0))
}

fn foreign(field: &str) -> Failure {
    let words = "not an answer of a Hansard server";
    Failure::new(Exit::Unavailable, format!("{words} field={field}"))
}

fn failed(error: &std::io::Error) -> Failure {
    Failure::new(Exit::Io, format!("cannot write the export error={error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page() -> Value {
        let message = |seq: u64| json!({ "seq": seq, "time": "2008-04-27T06:00:00.000000Z" });
        json!({
            "messages": [message(1), message(5), message(6)],
            "gaps": [{ "room": "r1-1", "from_seq": 2, "to_seq": 4, "reason": "damaged" }],
        })
    }

    #[test]
    fn gaps_stand_at_their_place() {
        let lines = lines(&page()).unwrap();
        let seqs: Vec<_> = lines.iter().map(|line| line.seq).collect();
        assert_eq!(seqs, [1, 2, 5, 6]);
        assert_eq!(lines[1].json["gap"]["reason"], "damaged");
        assert_eq!(newest(&page()).unwrap(), 6);
        assert_eq!(newest(&json!({ "messages": [], "gaps": [] })).unwrap(), 0);
    }

    #[test]
    fn an_answer_of_something_else_is_no_message() {
        assert!(super::lines(&json!({ "messages": [{ "seq": "1" }] })).is_err());
        assert!(super::lines(&json!({ "messages": [{ "seq": 1, "time": "x" }] })).is_err());
    }

    #[test]
    fn a_span_has_real_times() {
        assert_eq!(time("--from", &None).unwrap(), None);
        let text = Some("2008-04-27T08:00:00+02:00".to_owned());
        assert_eq!(
            format!("{:.6}", time("--from", &text).unwrap().unwrap()),
            "2008-04-27T06:00:00.000000Z"
        );
        assert_eq!(time("--to", &Some("noon".into())).unwrap_err().exit, Exit::Usage);
    }
}
