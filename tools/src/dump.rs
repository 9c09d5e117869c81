//! `dump`: every record that can be read, one JSON object a line, without a server.
//!
//! Room by room in order of rev, packs joined to the journal; or the journal in its own order. What
//! cannot be read is a line of its own, `{"gap": {...}}`, at its place. It checks no digest and
//! does not compare the catalog: that is `verify`.
//!
//! INVARIANT: memory does not grow with the records of a room; nothing is given twice, and what is
//! missing is named.

mod follow;
mod history;
mod journal;
mod line;
mod out;

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use hansard_engine::catalog::rows::{HeadRow, RoomRow, head_of};
use hansard_engine::catalog::{Family, Go, keys, walk_prefix};
use hansard_engine::error::{Error, Result};
use hansard_engine::format::wire::from_bytes;
use hansard_engine::types::{CategoryId, RoomId, TimeUs};
use jiff::Timestamp;

use crate::DAMAGE;
use crate::open::Directory;
use crate::verify::{Progress, Show};
use follow::{Follow, Times};
use history::{Held, Reader};
pub(crate) use journal::Journal;
pub(crate) use line::moment;
use out::{Out, Step, Stop};

/// What to dump.
#[derive(Debug, Args)]
pub struct DumpArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// Only this room; may be given again. `r0-1` to `r0-8` are the system rooms.
    #[arg(long = "room", value_name = "ID")]
    pub rooms: Vec<RoomId>,
    /// Only rooms that are in this category now; may be given again.
    #[arg(long = "category", value_name = "ID")]
    pub categories: Vec<CategoryId>,
    /// Only records of this time or later, like 2008-04-27T06:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<TimeUs>,
    /// Only records before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<TimeUs>,
    /// Only what is in the journal and in no pack yet, in the order of the log.
    #[arg(long)]
    pub journal: bool,
    /// Also the system rooms: principals, tokens, categories, settings, events, holds, heads. No
    /// secrets.
    #[arg(long)]
    pub system: bool,
    /// Say on standard error once a second how far it is; on a terminal it does so anyway.
    #[arg(long)]
    pub progress: bool,
}

/// A time of the command line: RFC 3339 with an offset.
fn time(text: &str) -> std::result::Result<TimeUs, String> {
    let wrong = || "not a time like 2008-04-27T06:00:00Z".to_owned();
    let shaped = text.as_bytes().get(10).is_some_and(|at| matches!(at, b'T' | b't'));
    let at: Timestamp = text.parse().ok().filter(|_| shaped).ok_or_else(wrong)?;
    Ok(TimeUs(at.as_microsecond()))
}

/// Runs the command.
///
/// # Errors
/// What keeps the directory from being opened, or the output from being written.
pub(crate) fn run(args: &DumpArgs) -> Result<u8> {
    let directory = Directory::open(&args.dir)?;
    let times =
        Times { from: args.from.unwrap_or(TimeUs::MIN), to: args.to.unwrap_or(TimeUs::MAX) };
    let journal = Journal::read(&directory)?;
    journal.said.iter().for_each(|said| eprintln!("hansard-tool: {said}"));
    let choice = Choice::of(args, &directory, &journal)?;
    let mut out = Out::new(std::io::stdout().lock());
    out.damaged = journal.is_damaged();
    let dump = Dump { directory: &directory, journal: &journal, choice: &choice, times };
    let done = match args.journal {
        true => journal.give_all(|room| choice.has(room), times, &mut out),
        false => dump.rooms(Show::asked(args.progress), &mut out),
    };
    match done.and_then(|()| out.finish()) {
        Ok(()) | Err(Stop::Gone) => {}
        Err(Stop::Failed(error)) => return Err(error),
    }
    // Without the catalog nothing says how far a room went.
    let unread = directory.catalog.as_ref().err();
    if let Some(error) = unread {
        eprintln!("hansard-tool: catalog cannot be read: {error}");
    }
    Ok(if out.damaged || unread.is_some() { DAMAGE } else { 0 })
}

/// The rooms that are wanted.
#[derive(Debug)]
struct Choice {
    /// Those that were named, themselves or by their category; none if none was.
    named: Option<BTreeSet<RoomId>>,
    /// System rooms are wanted, named or not.
    system: bool,
}

impl Choice {
    /// # Errors
    /// `Invalid` if a category does not exist, or if it cannot be told which rooms are in it.
    fn of(args: &DumpArgs, directory: &Directory, journal: &Journal) -> Result<Self> {
        let mut named: BTreeSet<RoomId> = BTreeSet::new();
        if !args.categories.is_empty() {
            named = in_categories(&args.categories, directory, journal)?;
        }
        named.extend(&args.rooms);
        let any = args.rooms.is_empty() && args.categories.is_empty();
        let system = args.system || (args.journal && any);
        Ok(Self { named: (!any).then_some(named), system })
    }

    fn has(&self, room: RoomId) -> bool {
        (self.system && room.is_system())
            || self.named.as_ref().map_or(!room.is_system(), |named| named.contains(&room))
    }
}

/// The rooms that are in these categories now.
fn in_categories(
    categories: &[CategoryId],
    directory: &Directory,
    journal: &Journal,
) -> Result<BTreeSet<RoomId>> {
    if journal.behind {
        let what = "the catalog is behind the packs, so nothing says which rooms a category has: \
                    name rooms, or start the server once";
        return Err(Error::Invalid { what: what.to_owned() });
    }
    let catalog = directory.catalog()?;
    let mut rooms = BTreeSet::new();
    walk_prefix(catalog, Family::State, b"r", &mut |_, value| {
        if let Ok(row) = from_bytes::<RoomRow>(value, "room row")
            && categories.contains(&row.settings.category)
        {
            rooms.insert(row.id);
        }
        Ok(Go::On)
    })?;
    journal.moved(categories, &mut rooms);
    if rooms.is_empty() {
        let list: Vec<_> = categories.iter().map(ToString::to_string).collect();
        let what = format!("no room is in this category category={}", list.join(","));
        return Err(Error::Invalid { what });
    }
    Ok(rooms)
}

/// A dump room by room.
struct Dump<'a> {
    directory: &'a Directory,
    journal: &'a Journal,
    choice: &'a Choice,
    times: Times,
}

impl Dump<'_> {
    fn rooms<W: Write>(&self, show: Show, out: &mut Out<W>) -> Step {
        let held = history::held(self.directory, |room| self.choice.has(room));
        out.damaged |= held.damaged;
        let rooms = self.list(&held);
        if held.gaps.is_empty() {
            self.check_named(&rooms)?;
        }
        let progress = Progress::new("dump", held.bytes);
        progress.during(show, || self.give(&rooms, &held, &progress, out))
    }

    /// Every room of which something is known, in order.
    fn list(&self, held: &Held) -> BTreeSet<RoomId> {
        let mut rooms: BTreeSet<RoomId> = held.runs.iter().map(|run| run.room).collect();
        rooms.extend(self.journal.rooms().filter(|room| self.choice.has(*room)));
        let walked = self.directory.catalog().and_then(|catalog| {
            walk_prefix(catalog, Family::State, keys::TIPS, &mut |key, _| {
                let room = RoomId(keys::number_at(key, 1));
                if self.choice.has(room) {
                    rooms.insert(room);
                }
                Ok(Go::On)
            })
        });
        if let Err(error) = walked {
            eprintln!("hansard-tool: catalog: {error}");
        }
        rooms
    }

    /// # Errors
    /// `Invalid` if a room that was asked for is nowhere.
    fn check_named(&self, rooms: &BTreeSet<RoomId>) -> Result<()> {
        let named = self.choice.named.iter().flatten();
        // A system room in which nothing happened has no record and exists all the same.
        match named.into_iter().find(|room| !rooms.contains(room) && !room.is_system()) {
            Some(room) => Err(Error::Invalid { what: format!("no such room room={room}") }),
            None => Ok(()),
        }
    }

    fn give<W: Write>(
        &self,
        rooms: &BTreeSet<RoomId>,
        held: &Held,
        progress: &Progress,
        out: &mut Out<W>,
    ) -> Step {
        let mut reader = Reader::new(self.directory, progress, self.times);
        let mut runs = held.runs.iter().peekable();
        for room in rooms {
            let mut follow = Follow::new(*room, self.times);
            while let Some(run) = runs.next_if(|run| run.room <= *room) {
                reader.give(run, &mut follow, out)?;
            }
            self.journal.give(*room, &mut follow, out)?;
            if let Some(head) = self.head(*room) {
                follow.upto((head.rev, head.seq), out)?;
            }
            follow.tell(out)?;
        }
        held.gaps.iter().try_for_each(|gap| out.gap(gap))?;
        self.journal.give_gaps(out)
    }

    /// How far a room has come, as far as the catalog knows.
    fn head(&self, room: RoomId) -> Option<HeadRow> {
        let row = self.directory.catalog().ok()?.get(Family::State, &keys::tip(room)).ok()??;
        head_of(&row).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_an_offset() {
        assert_eq!(time("2008-04-27T06:00:00Z"), Ok(TimeUs(1_209_276_000_000_000)));
        assert_eq!(time("2008-04-27T08:00:00+02:00"), Ok(TimeUs(1_209_276_000_000_000)));
        for wrong in ["", "2008-04-27", "2008-04-27T06:00:00", "2008-04-27 06:00:00Z", "now"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
