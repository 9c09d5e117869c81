//! What a child process does: fill a store, or open a damaged one and read everything back.
//!
//! A child of its own, because a store may abort, be killed by SIGBUS or hang on what it finds:
//! that is a result and must not end the tournament. It says what it saw as one line of JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, Signal, getpid, kill_process, setrlimit};
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::contestant::{Contestant, Reader, RoomRead, State};
use super::contestants;
use super::image::Image;
use super::load::Load;
use super::verdict::Readout;

/// Memory that a child may ask for: a damaged length must not take the machine down.
const MEMORY_BYTES_MAX: u64 = 6 * 1024 * 1024 * 1024;

/// Where the store stands below the child's folder.
pub const STORE: &str = "store";
/// Where the earlier copy of it stands.
pub const OLDER: &str = "older";

/// What a child is to do, as it is handed over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Who.
    pub contestant: String,
    /// Fill the store into this state, or read it back.
    pub fill: Option<State>,
    /// The child's folder.
    pub dir: PathBuf,
    /// The contestant's names of the rooms, for a reading.
    pub rooms: Vec<u64>,
    /// What the messages are drawn from.
    pub seed: u64,
    /// How many messages.
    pub messages: usize,
    /// How long a filled store is left alone before its copy, in milliseconds.
    pub idle_ms: u64,
    /// Over how long the messages are spread, in milliseconds.
    pub load_ms: u64,
}

/// Does a task and prints its result: the rooms' names, or a [`Readout`].
///
/// # Errors
/// If the contestant is unknown or cannot be filled. Damage is not an error.
pub fn run(task: &Task) -> Outcome<()> {
    let limit = Some(MEMORY_BYTES_MAX);
    setrlimit(Resource::As, Rlimit { current: limit, maximum: limit })?;
    let who = contestants::by_key(&task.contestant)?;
    let load = Load::new(task.seed, task.messages);
    match task.fill {
        Some(state) => {
            let rooms = fill(&*who, state, task, &load)?;
            println!("{}", serde_json::to_string(&rooms)?);
        }
        None => {
            let readout = read_back(&*who, &task.dir.join(STORE), &task.rooms, &load);
            println!("{}", serde_json::to_string(&readout)?);
        }
    }
    // Nothing is closed, as after a crash, and no store's threads run into the end of the process:
    // whoever was killed after its line was said has done its task.
    kill_process(getpid(), Signal::KILL)?;
    Ok(())
}

/// Fills a store, with a copy of it made half-way.
fn fill(who: &dyn Contestant, state: State, task: &Task, load: &Load) -> Outcome<Vec<u64>> {
    let (store, older) = (task.dir.join(STORE), task.dir.join(OLDER));
    let mut writer = who.create(&store)?;
    let rooms = writer.rooms();
    let (first, second) = load.groups.split_at(load.groups.len() / 2);
    let pause = Duration::from_millis(task.load_ms) / u32::try_from(load.groups.len())?.max(1);
    for half in [first, second] {
        for group in half {
            std::thread::sleep(pause);
            writer.commit(group)?;
        }
        if state == State::Tables {
            writer.settle()?;
        }
        std::thread::sleep(Duration::from_millis(task.idle_ms));
        if !older.exists() {
            Image::read(&store)?.write(&older)?;
        }
    }
    match state {
        State::Log => std::mem::forget(writer),
        State::Tables => writer.close()?,
    }
    Ok(rooms)
}

/// Opens a store and reads every message.
fn read_back(who: &dyn Contestant, store: &Path, rooms: &[u64], load: &Load) -> Readout {
    let mut readout = Readout::default();
    match who.open(store) {
        Ok(reader) => {
            read_rooms(&*reader, rooms, load, &mut readout);
            readout.complaint = reader.complaint();
            std::mem::forget(reader);
        }
        Err(error) => {
            readout.open_error = Some(error.to_string());
            if let Some(Ok(())) = who.repair(store)
                && let Ok(reader) = who.open(store)
            {
                read_rooms(&*reader, rooms, load, &mut readout);
                std::mem::forget(reader);
            }
        }
    }
    readout
}

fn read_rooms(reader: &dyn Reader, rooms: &[u64], load: &Load, readout: &mut Readout) {
    for (room, bodies) in rooms.iter().zip(load.rooms()) {
        let mut read = RoomRead::default();
        let failed = reader.room(*room, &mut read).err();
        let mut seen = vec![false; bodies.len()];
        for (seq, body) in &read.messages {
            let index = usize::try_from(*seq).ok().and_then(|seq| seq.checked_sub(1));
            let place = index.and_then(|index| Some((seen.get_mut(index)?, bodies.get(index)?)));
            match place {
                Some((seen, _)) if *seen => readout.alien += 1,
                None => readout.alien += 1,
                Some((seen, expected)) => {
                    *seen = true;
                    let equal = body == expected.as_bytes();
                    *(if equal { &mut readout.equal } else { &mut readout.changed }) += 1;
                }
            }
        }
        let unseen = (1..).zip(bodies).zip(seen).filter(|(_, seen)| !seen);
        for ((seq, expected), _) in unseen {
            if read.gaps.iter().any(|(from, to)| (*from..=*to).contains(&seq)) {
                readout.named += 1;
            } else if failed.is_none() {
                readout.missing += 1;
            } else {
                let found = reader.one(*room, seq).ok().flatten();
                readout.equal += u64::from(found.is_some_and(|body| body == expected.as_bytes()));
            }
        }
        if let Some(error) = failed {
            readout.read_error.get_or_insert_with(|| error.to_string());
        }
    }
}

#[cfg(test)]
#[path = "child_tests.rs"]
mod tests;
