//! How fast are messages kept?
//!
//! Groups of one caller, writers side by side with one message each, and bulk until nothing is
//! pending. Every group is synced before it counts, keys are looked up and stored, indexes kept.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use criterion::Criterion;
use hansard_benches::suite::field::{self, Who};
use hansard_benches::suite::figures::{Better, Per, Suite};
use hansard_benches::suite::hansard::{self, Hansard, Keys, Setup};
use hansard_benches::suite::limits::{BARE, Bare};
use hansard_benches::suite::shared::{SHARED, Shared};
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::{Lap, Samples, Turn, compare, quantile_us};
use hansard_benches::suite::world::{self, Stream, World};
use hansard_benches::suite::writers::{groups, singles};
use hansard_benches::tournament::Outcome;
use hansard_peers::{Budget, CacheState, Message, Store};

const QUESTION: &str = "How many messages a second are durable, and when does one hear of it?";
const GROUPS: [u32; 2] = [64, 1024];
const WRITERS: [u32; 4] = [1, 8, 64, 256];
/// Writers whose acknowledgements are timed beside housekeeping.
const ACK_WRITERS: u32 = 8;

/// A store that is written to, and the messages it has not seen yet.
struct Entry<'a> {
    name: &'static str,
    store: Box<dyn Store>,
    stream: RefCell<Stream<'a>>,
}

/// The bare loop and how many of the engine's messages one of its writes would hold.
struct Loop {
    bare: Bare,
    messages: f64,
}

/// Who writes in a comparison.
#[derive(Clone, Copy)]
enum Load {
    /// So many writers side by side, a message each at a time.
    Singles(u32),
    /// One caller with groups of so many.
    Groups(u32),
}

impl Load {
    const fn writers(self) -> u32 {
        match self {
            Self::Singles(writers) => writers,
            Self::Groups(_) => 1,
        }
    }

    /// A lap has a multiple of so many messages.
    const fn least(self) -> u64 {
        match self {
            Self::Singles(writers) => 2 * writers as u64,
            Self::Groups(size) => size as u64,
        }
    }

    fn lap(self, store: &dyn Store, messages: &[Message<'_>]) -> Outcome<Lap> {
        match self {
            Self::Singles(writers) => singles(store, messages, writers as usize),
            Self::Groups(size) => groups(store, messages, size as usize),
        }
    }
}

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    let who = Who::all()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut suite = Suite::new("append", QUESTION, size, &who)?;
    suite.say("every group is synced (fdatasync or the store's word for it) before it counts");
    suite.say("a lap ends when everything acknowledged is in every index");
    suite.say("bare loop and bare writers: past the page cache (O_DIRECT), where the system can");
    suite.say(
        "bare writers: as many threads that share syncs of the same bytes and do nothing else, \
         the limit of writers side by side on this machine",
    );
    suite.say("durable figures: stores that begin empty; the texts are resampled IRC");
    let dir = field::scratch()?;
    let (entries, engine) = enter(&who, dir.path(), &world)?;
    let mut bare = Loop { bare: Bare::new(dir.path())?, messages: 1.0 };
    for writers in WRITERS {
        let (id, load) = (format!("append-writers-{writers}"), Load::Singles(writers));
        let samples = group(&mut criterion, &id, (size, load), &entries, &engine, &mut bare)?;
        suite.timed(&id, &format!("durable single messages, {writers} writers"), Per::Second);
        let title = format!("acknowledged after, {writers} writers");
        suite.percentiles((&id, &title), &samples, &[50, 99]);
    }
    for messages in GROUPS {
        let (id, load) = (format!("append-group-{messages}"), Load::Groups(messages));
        group(&mut criterion, &id, (size, load), &entries, &engine, &mut bare)?;
        suite.timed(
            &id,
            &format!("durable groups of {messages}, one caller, applied"),
            Per::Second,
        );
    }
    for entry in entries {
        entry.store.close()?;
    }
    drop(engine);
    bulk(&mut suite, &who, &world, size)?;
    proofs(&mut suite, &world, size)?;
    acknowledged(&mut suite, &world, size)?;
    suite.leave()
}

/// Everyone with an empty store. Hansard once more as an importer, and its engine's counters.
fn enter<'a>(
    who: &[Who],
    dir: &std::path::Path,
    world: &'a World,
) -> Outcome<(Vec<Entry<'a>>, hansard_engine::Engine)> {
    let budget = Budget::of(CacheState::Warm);
    let (mut entries, mut engine) = (Vec::new(), None);
    for who in who {
        let dir = dir.join(who.name());
        let store: Box<dyn Store> = match who {
            Who::Hansard => {
                let hansard = Hansard::open(&dir, world, Setup::usual(budget))?;
                engine = Some(hansard.engine.clone());
                Box::new(hansard)
            }
            Who::Peer(_) => who.open(&dir, world, budget)?,
        };
        let stream = RefCell::new(world.stream());
        entries.push(Entry { name: who.name(), store, stream });
    }
    let setup = Setup { keys: Keys::None, ..Setup::usual(budget) };
    let store = Box::new(Hansard::open(&dir.join(hansard::UNKEYED), world, setup)?);
    entries.push(Entry { name: hansard::UNKEYED, store, stream: RefCell::new(world.stream()) });
    Ok((entries, engine.ok_or("Hansard does not take part")?))
}

/// One comparison: everyone, and the bare loop with as many bytes a write as the engine's frames.
fn group(
    criterion: &mut Criterion,
    id: &str,
    (size, load): (Size, Load),
    entries: &[Entry<'_>],
    engine: &hansard_engine::Engine,
    bare: &mut Loop,
) -> Outcome<Samples> {
    let (frames, bare) = (RefCell::new((0, 0, 0)), RefCell::new(bare));
    let mut turns: Vec<Turn<'_>> = Vec::new();
    for entry in entries {
        let frames = &frames;
        turns.push(Turn::new(entry.name, move |count| {
            let messages = entry.stream.borrow_mut().take_for(load.writers(), count);
            let before = counters(engine);
            let lap = load.lap(&*entry.store, &messages)?;
            if entry.name == hansard::NAME {
                let after = counters(engine);
                *frames.borrow_mut() = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
            }
            Ok(lap)
        }));
    }
    turns.push(Turn::new(BARE, |count| {
        let (records, groups, bytes) = *frames.borrow();
        let mut bare = bare.borrow_mut();
        bare.bare.set_bytes(usize::try_from(bytes / u64::max(groups, 1))?);
        bare.messages = ratio(records, groups);
        let writes = ratio(count, 1) / bare.messages;
        let mut lap = bare.bare.lap(whole(writes).max(1))?;
        // What it would be for messages.
        lap.count = whole(ratio(lap.count, 1) * bare.messages).max(1);
        Ok(lap)
    }));
    if let Load::Singles(writers @ 2..) = load {
        let (frames, bare) = (&frames, &bare);
        turns.push(Turn::new(SHARED, move |count| {
            let (records, _, bytes) = *frames.borrow();
            let each = ratio(bytes, records);
            Shared::new(&mut bare.borrow_mut().bare, each).lap(count, u64::from(writers))
        }));
    }
    let samples = compare(criterion, id, size, load.least(), turns)?;
    let bare = bare.borrow();
    let (per, bytes) = (bare.messages, bare.bare.bytes());
    eprintln!("{id}: the last of the bare loop's writes has {bytes} bytes; {per:.1} messages each");
    Ok(samples)
}

fn counters(engine: &hansard_engine::Engine) -> (u64, u64, u64) {
    let stats = engine.stats();
    (stats.records.get(), stats.groups.get(), stats.journal_bytes.get())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b.max(1) as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "positive and far below 2^53"
)]
fn whole(number: f64) -> u64 {
    number.round() as u64
}

fn bulk(suite: &mut Suite, who: &[Who], world: &World, size: Size) -> Outcome<()> {
    let mut values = Vec::new();
    for who in who {
        let (_, filled) = who.filled(world, size)?;
        values.push((who.name().to_owned(), ratio(filled.messages, 1) / filled.seconds));
    }
    suite.say(
        "bulk: one run, groups of 1,024; Hansard syncs each, the peers when they settle; it ends \
         when nothing is pending and the process stands still; the merge of Hansard's day counts",
    );
    suite.given(("append-bulk", "sustained ingest to quiescence", "msgs/s"), Better::More, values);
    Ok(())
}

/// What of the processor time of the ingest salts, leaves and trees take.
fn proofs(suite: &mut Suite, world: &World, size: Size) -> Outcome<()> {
    let (_, filled) = Who::Hansard.filled(world, size)?;
    let (alone, all) =
        (hansard_benches::suite::proofs::time(world).as_secs_f64(), filled.cpu_seconds);
    suite.say(format!(
        "proofs: salts, leaves and trees of the same messages made once more on one core, \
         {alone:.2} s, over the {all:.2} s of processor time that the ingest took; signatures and \
         rows aside"
    ));
    let values = [(hansard::NAME.to_owned(), alone / all.max(f64::MIN_POSITIVE))];
    let what = ("append-proofs", "Hansard: proofs, of the ingest's processor time", "share");
    suite.given(what, Better::Less, values);
    Ok(())
}

/// Acknowledgements while nothing else is done, and while the engine seals, merges and scrubs.
fn acknowledged(suite: &mut Suite, world: &World, size: Size) -> Outcome<()> {
    let dir = field::scratch()?;
    let to = dir.path().join(hansard::NAME);
    field::copy(&Who::Hansard.filled(world, size)?.0, &to)?;
    let store = Hansard::open(&to, world, Setup::usual(Budget::of(CacheState::Warm)))?;
    let mut stream = world.stream();
    stream.skip(world.messages);
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    let mut seals = 0;
    for _ in 0..size.rounds {
        let messages = stream.take_for(ACK_WRITERS, size.messages / 50);
        idle.extend(singles(&store, &messages, ACK_WRITERS as usize)?.each);
        let messages = stream.take_for(ACK_WRITERS, size.messages / 50);
        let (each, made) = beside_housekeeping(&store, &messages)?;
        busy.extend(each);
        seals += made;
    }
    Box::new(store).close()?;
    suite.say(format!(
        "acknowledgements beside housekeeping: {ACK_WRITERS} writers; {seals} rounds of seal, \
         merge and scrub without a pause, none of them paced"
    ));
    let p99 = |mut each: Vec<Duration>| quantile_us(&mut each, 99).unwrap_or_default();
    let values = [(hansard::NAME, p99(busy)), ("idle", p99(idle))];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    let what = ("append-acks-busy-p99", "Hansard: acknowledged beside housekeeping, p99", "us");
    suite.given(what, Better::Less, values);
    Ok(())
}

/// Writers beside a thread that seals, merges and scrubs all the time.
fn beside_housekeeping(store: &Hansard, messages: &[Message<'_>]) -> Outcome<(Vec<Duration>, u64)> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let housekeeper = scope.spawn(|| -> Outcome<u64> {
            let mut rounds = 0;
            while !stop.load(Ordering::Relaxed) {
                store.engine.seal()?;
                store.engine.merge(&mut |_| true)?;
                store.engine.scrub_now()?;
                rounds += 1;
            }
            Ok(rounds)
        });
        let lap = singles(store, messages, ACK_WRITERS as usize);
        stop.store(true, Ordering::Relaxed);
        let rounds = housekeeper.join().map_err(|_| "the housekeeper panicked")??;
        Ok((lap?.each, rounds))
    })
}
