//! `hansard import`: files into a room of a running server, in batches that carry their progress.
//!
//! Entries and progress are one append at the server, so a run that is interrupted, by Ctrl-C or by
//! kill -9, goes on where it stood. INVARIANT: a batch is sent again only if the server says that
//! it still stands where the batch begins.

use std::io::{Write, stdout};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::batch::{Batch, Batches, Grows, Place};
use super::report::Report;
use super::source::Source;
use crate::cli::{DateOf, ImportArgs, ImportFormat};
use crate::client::{Ask, Client, Error, Patience, Sort, id, is_id, segment};
use crate::exits::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::progress::Progress;

/// Runs an import.
pub fn run(args: &ImportArgs) -> Result<(), Failure> {
    if args.format == ImportFormat::Jsonl && args.date_of.is_some() {
        return Err(Failure::usage("--date-of is for irc-log only"));
    }
    let interrupt = Interrupt::listen()?;
    let client = Client::new(&args.server)?;
    let category = category(&client, &args.category)?;
    let room = room(&client, &args.room, &category)?;
    let mut import = Import {
        args,
        client,
        room,
        interrupt,
        report: Report::default(),
        progress: Progress::new(),
    };
    let done = import.files();
    import.progress.end();
    let report = &import.report;
    let text = match (&done, args.json) {
        (Ok(()), true) => report.json().to_string(),
        (Ok(()), false) => report.words(&args.room),
        (Err(failure), _) => {
            let recorded = report.entries();
            let text = format!("{failure}; {recorded} entries recorded, run again to go on");
            return Err(Failure::new(failure.exit, text));
        }
    };
    writeln!(stdout(), "{text}").map_err(|error| Failure::stdout(&error))
}

struct Import<'a> {
    args: &'a ImportArgs,
    client: Client,
    room: String,
    interrupt: Interrupt,
    report: Report,
    progress: Progress,
}

impl Import<'_> {
    fn files(&mut self) -> Result<(), Failure> {
        let now = Timestamp::now();
        let args = self.args;
        for (at, path) in (1..).zip(&args.files) {
            let source = Source::read(path)?;
            let date_of = args.date_of.unwrap_or(DateOf::First);
            let contents = source.contents(args.format, date_of, now)?;
            let place = self.stands_at(&source.name)?.unwrap_or_else(Place::start);
            let grows = match args.format {
                ImportFormat::IrcLog => Grows::Yes,
                ImportFormat::Jsonl => Grows::No,
            };
            let bytes = &source.bytes;
            let batches = Batches::from(place.clone(), grows, bytes, &contents.items);
            let batches = batches.ok_or_else(|| {
                source.differs("file does not begin with what was imported under its name", &place)
            })?;
            if place.done && batches.left() > 0 {
                let words = "file has grown since it was imported whole";
                return Err(source.differs(words, &place));
            }
            self.report.file(bytes, &contents, batches.left());
            for batch in batches {
                self.check_interrupt()?;
                self.send(&source, &batch)?;
                self.report.recorded(batch.items);
                let (files, entries) = (args.files.len(), self.report.entries());
                self.progress.show(|| {
                    format!("file {at} of {files} {}: {entries} entries recorded", source.name)
                });
            }
        }
        Ok(())
    }

    /// Sends a batch until it is recorded: once if all is well.
    fn send(&self, source: &Source, batch: &Batch<'_, '_>) -> Result<(), Failure> {
        let format = self.args.format.as_str();
        let network = self.args.source.as_deref().unwrap_or(format);
        let mut body = batch.json(format, &source.name, network);
        if self.args.allow_expired {
            body["allow_expired"] = true.into();
        }
        let patience = Patience::begin();
        loop {
            let error = match self.client.ask(&self.path(), Ask::Post(&body)) {
                Ok(_) => return Ok(()),
                Err(error) => error,
            };
            patience.wait(error).map_err(|error| refused(source, batch, error))?;
            self.check_interrupt()?;
            // The answer was lost or late: only the server knows whether the batch was.
            let place = self.stands_at(&source.name)?.unwrap_or_else(Place::start);
            if place.is_at(&batch.to) && place.done == batch.to.done {
                return Ok(());
            }
            if !place.is_at(&batch.from) {
                return Err(elsewhere(source, place.bytes));
            }
        }
    }

    /// How far the room has consumed this source.
    fn stands_at(&self, source: &str) -> Result<Option<Place>, Failure> {
        let query = [("format", self.args.format.as_str()), ("source", source)];
        match self.client.get(&self.path(), &query) {
            Ok(progress) => Ok(Place::of(&progress)),
            Err(Error::Problem(problem)) if problem.status == 404 => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn path(&self) -> String {
        format!("/rooms/{}/imports", segment(&self.room))
    }

    fn check_interrupt(&self) -> Result<(), Failure> {
        if self.interrupt.raised() {
            return Err(Failure::new(Exit::Interrupted, "interrupted"));
        }
        Ok(())
    }
}

/// Why the server did not take a batch, with the file and the line that it is about.
fn refused(source: &Source, batch: &Batch<'_, '_>, error: Error) -> Failure {
    match (error.code(), batch.items.first()) {
        // Times do not fall within a batch, so its first entry is the oldest.
        (Some("time-backwards"), Some(item)) => {
            source.at(item, "conflict: file is earlier than what the room already holds")
        }
        (Some("would-expire"), Some(item)) => {
            let words =
                "conflict: older than the category keeps; --allow-expired takes it all the same";
            source.at(item, words)
        }
        (Some("import-progress"), _) => elsewhere(source, batch.from.bytes),
        (_, item) => {
            let line = item.map_or(0, |item| item.line);
            let mut failure = Failure::from(error);
            failure.text.push_str(&format!(" file={:?} from_line={line}", source.name));
            failure
        }
    }
}

fn elsewhere(source: &Source, bytes: u64) -> Failure {
    let words = "another import of this file runs: its progress is elsewhere";
    Failure::new(Exit::TryAgain, format!("{words} file={:?} bytes={bytes}", source.name))
}

/// The category's id; made, for everyone, if there is none.
fn category(client: &Client, name: &str) -> Result<String, Failure> {
    if let Some(found) = client.look_up(Sort::Category, name)? {
        return Ok(id(&found));
    }
    made(client, Sort::Category, name, json!({ "name": name, "allowed": ["everyone"] }))
}

/// The room's id; made, open, if there is none.
fn room(client: &Client, name: &str, category: &str) -> Result<String, Failure> {
    if let Some(found) = client.look_up(Sort::Room, name)? {
        let stands_in = found.get("category").and_then(Value::as_str).unwrap_or_default();
        if stands_in != category {
            let words = "conflict: the room is in another category";
            let words = format!("{words} room={name:?} category={stands_in} wanted={category}");
            return Err(Failure::new(Exit::Data, words));
        }
        return Ok(id(&found));
    }
    let body = json!({ "name": name, "category": category, "privacy": "open" });
    made(client, Sort::Room, name, body)
}

fn made(client: &Client, sort: Sort, name: &str, body: Value) -> Result<String, Failure> {
    if is_id(sort, name) {
        let words = format!("no such {}, or not for you id={name}", sort.word());
        return Err(Failure::new(Exit::NoInput, words));
    }
    let path = format!("/{}", sort.list());
    match client.ask(&path, Ask::Post(&body)) {
        Ok(made) => Ok(id(&made)),
        // Somebody else made it in between, or it is there and not for you.
        Err(error) if error.code() == Some("name-unavailable") => {
            match client.look_up(sort, name) {
                Ok(Some(found)) => Ok(id(&found)),
                _ => Err(error.into()),
            }
        }
        Err(error) => Err(error.into()),
    }
}
