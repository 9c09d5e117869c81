//! How fast is a room's history read?
//!
//! The newest fifty of random rooms from caches, decoded from the page cache, and from the disk;
//! fifty before a random time; a large room paged backwards; and all of that while others write.
//! Everyone's sums of the bytes that were read are compared: a store that reads something else ends
//! the suite.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use criterion::Criterion;
use hansard_benches::suite::field::{self, Who};
use hansard_benches::suite::figures::{Better, Per, Suite};
use hansard_benches::suite::hansard;
use hansard_benches::suite::machine;
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::{Lap, Samples, Turn, compare};
use hansard_benches::suite::world::{self, FIRST_US, SPAN_US, Stream, World};
use hansard_benches::tournament::Outcome;
use hansard_benches::tournament::seed::Draw;
use hansard_peers::{Budget, CacheState, Durability, Store, Sum};
use parking_lot::Mutex;

const QUESTION: &str = "How long does a page of a room take, wherever its bytes are?";
/// Messages of a page.
const PAGE: usize = 50;
/// Reads that all stores do alike to be compared.
const CHECKED: u64 = 500;
/// Rooms that are talked in just now.
const ACTIVE_ROOMS: u32 = 500;
const WRITERS: u32 = 64;
const COLD_READS: u64 = 40;
const SEED: u64 = 7;

type Streams<'a> = Vec<Mutex<Stream<'a>>>;
type Stores = Vec<(&'static str, Box<dyn Store>)>;

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    let who = Who::all()?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut suite = Suite::new("history", QUESTION, size, &who)?;
    suite.say(format!("{} messages, {} rooms, at rest and compacted", world.messages, world.rooms));
    suite.say("rooms are drawn evenly, so most are small; every byte of every body is summed");
    let heads = {
        let mut stream = world.stream();
        stream.skip(world.messages);
        stream.heads().to_vec()
    };
    let warm = open(&who, &world, size, CacheState::Warm)?;
    agree(&warm, &world)?;
    cached(&mut criterion, &mut suite, size, &world, &warm)?;
    paging(&mut criterion, &mut suite, size, &heads, &warm)?;
    close(warm)?;
    let dir = field::scratch()?;
    let written = copies(&who, &world, size, dir.path())?;
    let mut streams: Streams<'_> = who.iter().map(|_| Mutex::new(world.stream())).collect();
    streams.iter_mut().for_each(|stream| stream.get_mut().skip(world.messages));
    active(&mut criterion, &mut suite, size, &world, (&written, &streams))?;
    while_writing(&mut criterion, &mut suite, size, &world, (&written, &streams))?;
    close(written)?;
    drop(dir);
    let starved = open(&who, &world, size, CacheState::Starved)?;
    decoded(&mut criterion, &mut suite, size, &world, &starved)?;
    cold(&mut suite, &world, &starved)?;
    close(starved)?;
    suite.leave()
}

fn open(who: &[Who], world: &World, size: Size, state: CacheState) -> Outcome<Stores> {
    let mut stores = Vec::new();
    for who in who {
        let (dir, _) = who.filled(world, size)?;
        stores.push((who.name(), who.open(&dir, world, Budget::of(state))?));
    }
    Ok(stores)
}

/// Copies that may be written to: the filled stores stay as they are for the suites behind.
fn copies(who: &[Who], world: &World, size: Size, to: &Path) -> Outcome<Stores> {
    let mut stores = Vec::new();
    for who in who {
        let (from, _) = who.filled(world, size)?;
        let to = to.join(who.name());
        field::copy(&from, &to)?;
        stores.push((who.name(), who.open(&to, world, Budget::of(CacheState::Warm))?));
    }
    Ok(stores)
}

fn close(stores: Stores) -> Outcome<()> {
    stores.into_iter().try_for_each(|(_, store)| store.close())
}

fn any_room(draw: &mut Draw, world: &World) -> u32 {
    u32::try_from(draw.below(u64::from(world.rooms))).unwrap_or(0)
}

fn any_time(draw: &mut Draw) -> i64 {
    FIRST_US + i64::try_from(draw.below(SPAN_US.unsigned_abs())).unwrap_or(0)
}

/// Everyone reads the same, or the suite ends.
fn agree(stores: &Stores, world: &World) -> Outcome<()> {
    let mut first: Option<(&str, Sum)> = None;
    for (name, store) in stores {
        let (mut draw, mut sum) = (Draw::of(&[SEED, 1]), Sum::default());
        for _ in 0..CHECKED {
            let room = any_room(&mut draw, world);
            sum += store.last(room, PAGE)?;
            sum += store.before_time(room, any_time(&mut draw), PAGE)?;
            sum += store.before(room, 30, PAGE)?;
        }
        let sum = Sum { blocks: 0, ..sum };
        let (other, expected) = *first.get_or_insert((*name, sum));
        if sum != expected {
            return Err(format!("{name} read {sum:?}, {other} {expected:?}").into());
        }
    }
    Ok(())
}

/// Turns of one read each, its place drawn by the same numbers for everyone.
fn reads<'a>(
    stores: &'a Stores,
    stream: u64,
    read: impl Fn(&dyn Store, &mut Draw) -> Outcome<Sum> + Copy + 'a,
) -> Vec<Turn<'a>> {
    let turn = |(name, store): &'a (&'static str, Box<dyn Store>)| {
        let mut draw = Draw::of(&[SEED, 2, stream]);
        Turn::each(name, move || {
            std::hint::black_box(read(&**store, &mut draw)?);
            Ok(())
        })
    };
    stores.iter().map(turn).collect()
}

fn one(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    (id, title): (&str, &str),
    turns: Vec<Turn<'_>>,
) -> Outcome<Samples> {
    let samples = compare(criterion, id, size, 1, turns)?;
    suite.timed(id, &format!("{title}, mean of a turn"), Per::Operation);
    suite.percentiles((id, title), &samples, &[50]);
    Ok(samples)
}

fn cached(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    world: &World,
    stores: &Stores,
) -> Outcome<()> {
    // Every room once, so that what is read is cached as far as the budget goes.
    for (_, store) in stores {
        for room in 0..world.rooms {
            store.last(room, PAGE)?;
        }
    }
    let last = reads(stores, 1, |store, draw| store.last(any_room(draw, world), PAGE));
    one(criterion, suite, size, ("history-last-cached", "last 50, blocks cached"), last)?;
    let before = reads(stores, 2, |store, draw| {
        let room = any_room(draw, world);
        store.before_time(room, any_time(draw), PAGE)
    });
    let what = ("history-before-time", "50 before a random time, cached");
    one(criterion, suite, size, what, before)?;
    Ok(())
}

fn paging(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    heads: &[u64],
    stores: &Stores,
) -> Outcome<()> {
    let largest = heads.iter().enumerate().max_by_key(|(_, head)| **head);
    let (room, head) = largest.ok_or("no room")?;
    let room = u32::try_from(room)?;
    let pages = head.div_ceil(PAGE as u64);
    let turns = stores.iter().map(|(name, store)| {
        Turn::new(name, move |count| {
            let begun = Instant::now();
            let mut rows = 0;
            while rows < count {
                let mut below = head + 1;
                while below > 1 && rows < count {
                    let sum = store.before(room, below, PAGE)?;
                    (rows, below) = (rows + sum.rows, below.saturating_sub(PAGE as u64).max(1));
                }
            }
            Ok(Lap { took: begun.elapsed(), count: rows, each: Vec::new() })
        })
    });
    let turns = turns.collect();
    suite.say(format!("the room that is paged backwards has {head} messages, {pages} pages"));
    let id = "history-paging";
    compare(criterion, id, size, *head, turns)?;
    suite.timed(id, "a large room paged backwards by 50", Per::Second);
    Ok(())
}

/// Messages that nobody has flushed or sealed yet, in rooms that are read at once.
fn active(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    world: &World,
    (stores, streams): (&Stores, &Streams<'_>),
) -> Outcome<()> {
    let rooms = ACTIVE_ROOMS.min(world.rooms);
    for ((name, store), stream) in stores.iter().zip(streams) {
        let mut stream = stream.lock();
        for room in 0..rooms {
            let group: Vec<_> = (0..PAGE).map(|_| stream.next_in(room)).collect();
            let stored = store.commit(&group, Durability::Group)?.stored;
            if stored != group.len() as u64 {
                return Err(format!("{name} stored {stored} of {}", group.len()).into());
            }
        }
    }
    suite.say(format!("active rooms: the {rooms} most popular had 50 messages just before"));
    let active = reads(stores, 3, move |store, draw| {
        store.last(u32::try_from(draw.below(u64::from(rooms)))?, PAGE)
    });
    one(criterion, suite, size, ("history-last-active", "last 50, room active"), active)?;
    Ok(())
}

/// The same reads alone and while others write, of one store after the other.
fn while_writing(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    world: &World,
    (stores, streams): (&Stores, &Streams<'_>),
) -> Outcome<()> {
    let id = "history-last-idle";
    let idle = reads(stores, 4, |store, draw| store.last(any_room(draw, world), PAGE));
    let samples = one(criterion, suite, size, (id, "last 50, nobody writes"), idle)?;
    suite.percentiles((id, "last 50, nobody writes"), &samples, &[99]);
    let idle = samples.get(hansard::NAME).and_then(|taken| taken.quantile_us(99));
    let turns = stores.iter().zip(streams).map(|((name, store), stream)| {
        let mut draw = Draw::of(&[SEED, 2, 4]);
        Turn::new(name, move |count| beside_writers(&**store, world, stream, count, &mut draw))
    });
    let turns = turns.collect();
    let id = "history-last-writing";
    let what = (id, "last 50 while 64 writers write");
    let samples = one(criterion, suite, size, what, turns)?;
    suite.percentiles(what, &samples, &[99]);
    let busy = samples.get(hansard::NAME).and_then(|taken| taken.quantile_us(99));
    let values = [(hansard::NAME, busy), ("idle", idle)];
    let values = values.into_iter().filter_map(|(name, p99)| Some((name.to_owned(), p99?)));
    let what = ("history-writing-p99", "Hansard: last 50 while 64 writers write, p99", "us");
    suite.given(what, Better::Less, values);
    Ok(())
}

/// Reads beside writers that store single messages until the reads are done.
fn beside_writers(
    store: &dyn Store,
    world: &World,
    stream: &Mutex<Stream<'_>>,
    count: u64,
    draw: &mut Draw,
) -> Outcome<Lap> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = |writer: u32| {
            let stop = &stop;
            move || -> Outcome<()> {
                while !stop.load(Ordering::Relaxed) {
                    let message = stream.lock().next_of(WRITERS, writer);
                    store.commit(&[message], Durability::Group)?;
                }
                Ok(())
            }
        };
        let writers: Vec<_> = (0..WRITERS).map(|number| scope.spawn(writer(number))).collect();
        let begun = Instant::now();
        let read = || {
            let since = Instant::now();
            store.last(any_room(draw, world), PAGE).map(|_| since.elapsed())
        };
        let each: Outcome<Vec<_>> =
            std::iter::repeat_with(read).take(usize::try_from(count)?).collect();
        let took = begun.elapsed();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().map_err(|_| "a writer panicked")??;
        }
        Ok(Lap { took, count, each: each? })
    })
}

fn decoded(
    criterion: &mut Criterion,
    suite: &mut Suite,
    size: Size,
    world: &World,
    stores: &Stores,
) -> Outcome<()> {
    let last = reads(stores, 5, |store, draw| store.last(any_room(draw, world), PAGE));
    let what = ("history-last-decoded", "last 50, from the page cache, caches starved");
    one(criterion, suite, size, what, last)?;
    Ok(())
}

/// Reads after the kernel forgot everything; one of each store a round, from files of its own.
fn cold(suite: &mut Suite, world: &World, stores: &Stores) -> Outcome<()> {
    let mut each: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    let mut draw = Draw::of(&[SEED, 6]);
    let _ = machine::sync_and_drop();
    for _ in 0..COLD_READS {
        let room = any_room(&mut draw, world);
        if !machine::drop_page_cache() {
            suite.say("cold reads: not measured, the kernel's cache cannot be dropped");
            return Ok(());
        }
        for (name, store) in stores {
            let begun = Instant::now();
            std::hint::black_box(store.last(room, PAGE)?);
            each.entry(name).or_default().push(begun.elapsed().as_secs_f64() * 1e6);
        }
    }
    let median = |(name, mut each): (&str, Vec<f64>)| {
        each.sort_by(f64::total_cmp);
        (name.to_owned(), each[each.len() / 2])
    };
    let values: Vec<_> = each.into_iter().map(median).collect();
    let what = ("history-last-cold-p50", "last 50, page cache dropped, p50", "us");
    suite.given(what, Better::Less, values);
    Ok(())
}
