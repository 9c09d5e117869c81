//! Does housekeeping keep up?
//!
//! Groups at a steady rate while seals and merges run by themselves, as a server has them; a day of
//! the log passes every quarter of a minute, so that parts of days, days and months merge, and keys
//! are forgotten. What merges owe is looked at each second: it must come and go, and not grow.

use std::time::{Duration, Instant};

use hansard_benches::suite::field;
use hansard_benches::suite::figures::{Better, Suite};
use hansard_benches::suite::hansard::{self, Hansard, Setup};
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::quantile_us;
use hansard_benches::suite::world::{self, World};
use hansard_benches::tournament::Outcome;
use hansard_peers::{Budget, CacheState, Durability, Store};

const QUESTION: &str = "What do merges owe under a steady load?";
/// Messages of a group, and groups a second.
const GROUP: u64 = 64;
const GROUPS_A_SECOND: u64 = 125;
/// Seconds in which a day of the log passes, or twenty hours of it.
const DAY_SECONDS: u64 = 15;
/// How often it is looked at what is owed.
const LOOK: Duration = Duration::from_secs(1);
const MIB: f64 = 1024.0 * 1024.0;

/// What was seen in one half of the time.
#[derive(Debug, Default)]
struct Half {
    /// Bytes that merges were to read, at most.
    owed: u64,
    /// Packs, at most.
    packs: u64,
    /// How long groups took, in turn.
    acks: Vec<Duration>,
    /// How far behind its time a group began, at most.
    late: Duration,
}

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let messages = GROUP * GROUPS_A_SECOND * DAY_SECONDS;
    let world = World::read(&world::logs(), Size { messages, ..size })?;
    let mut suite = Suite::new("steady", QUESTION, size, &[])?;
    let seconds = size.steady.as_secs();
    suite.say(format!(
        "{} messages a second in groups of {GROUP}, each synced, for {seconds} s, a day of the log \
         in {DAY_SECONDS} s; seals and a look for merges each second, merges paced as a server's",
        GROUP * GROUPS_A_SECOND
    ));
    suite
        .say("owed: bytes of packs that merges have yet to read until nothing is due, each second");
    let dir = field::scratch()?;
    let usual = Setup::usual(Budget::of(CacheState::Warm));
    let setup = Setup { housekeeping: Some(LOOK), ..usual };
    let store = Hansard::open(&dir.path().join(hansard::NAME), &world, setup)?;
    let mut halves = load(&store, &world, size.steady)?;
    let stats = store.engine.stats();
    suite.say(format!(
        "{} seals, {} merges that read {:.0} MiB, {:.0} MiB of packs at the end",
        stats.seals.get(),
        stats.merges.get(),
        mib(stats.merge_read_bytes.get()),
        mib(stats.pack_bytes.get()),
    ));
    for (name, half) in ["first", "second"].iter().zip(&mut halves) {
        let p99_ms = quantile_us(&mut half.acks, 99).unwrap_or_default() / 1e3;
        suite.say(format!(
            "{name} half: at most {:.1} MiB owed, {} packs, a group {:.1} ms behind its time; p99 \
             of a group {p99_ms:.2} ms",
            mib(half.owed),
            half.packs,
            half.late.as_secs_f64() * 1e3,
        ));
    }
    Box::new(store).close()?;
    let [first, second] = halves.map(|half| mib(half.owed));
    let values = [(hansard::NAME, second), ("first half", first)];
    let values = values.map(|(name, value)| (name.to_owned(), value));
    let what = ("steady-owed", "what merges owe at most, later than in the first half", "MiB");
    suite.given(what, Better::Less, values);
    suite.leave()
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / MIB
}

/// Posts at the steady rate; what was seen in either half.
fn load(store: &Hansard, world: &World, time: Duration) -> Outcome<[Half; 2]> {
    let mut stream = world.stream();
    let (begun, mut looked) = (Instant::now(), Instant::now());
    let groups = time.as_secs() * GROUPS_A_SECOND;
    let mut halves = [Half::default(), Half::default()];
    for number in 0..groups {
        let messages = stream.take(GROUP);
        let due = begun
            + Duration::from_secs(1) * u32::try_from(number)? / u32::try_from(GROUPS_A_SECOND)?;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let [first, second] = &mut halves;
        let half = if number * 2 < groups { first } else { second };
        half.late = half.late.max(Instant::now().saturating_duration_since(due));
        let at = Instant::now();
        let tally = store.commit(&messages, Durability::Group)?;
        half.acks.push(at.elapsed());
        if tally.stored != GROUP {
            return Err("a message was not stored".into());
        }
        if looked.elapsed() >= LOOK {
            looked = Instant::now();
            half.owed = half.owed.max(store.engine.merge_owed_bytes()?);
            half.packs = half.packs.max(store.engine.stats().packs.get());
        }
    }
    Ok(halves)
}
