//! How fast is a category read by time?
//!
//! Dense slices, in which large rooms were talked in and a block of the engine's gives many rows,
//! and sparse ones of small rooms, where nearly every row is in a block of its own. The same rows
//! in every store, or the suite ends.

use std::collections::BTreeSet;
use std::time::Instant;

use criterion::Criterion;
use hansard_benches::suite::field::Who;
use hansard_benches::suite::figures::{Better, Per, Suite};
use hansard_benches::suite::hansard;
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::{Lap, Turn, compare};
use hansard_benches::suite::world::{self, FIRST_US, SPAN_US, World};
use hansard_benches::tournament::Outcome;
use hansard_benches::tournament::seed::Draw;
use hansard_peers::{Budget, CacheState, Slice, Store, Sum};

const QUESTION: &str = "What does a row of a category by time cost?";
/// The most popular rooms, whose categories are dense.
const DENSE_ROOMS: u32 = 5;
/// The categories of so many popular rooms are not sparse.
const POPULAR_ROOMS: u32 = 100;
const CHECKED: u64 = 40;
const SEED: u64 = 11;

/// Slices of one sort.
struct Sort {
    id: &'static str,
    title: &'static str,
    categories: Vec<u32>,
    us: i64,
}

type Stores = Vec<(&'static str, Box<dyn Store>)>;

fn main() -> Outcome<()> {
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    let who: Vec<_> = Who::all()?.into_iter().filter(Who::is_full).collect();
    let mut criterion = Criterion::default().configure_from_args();
    let mut suite = Suite::new("category", QUESTION, size, &who)?;
    let mut stores = Stores::new();
    for who in &who {
        let (dir, _) = who.filled(&world, size)?;
        stores.push((who.name(), who.open(&dir, &world, Budget::of(CacheState::Warm))?));
    }
    suite.say("stores at rest and compacted; caches warm; raft-engine has no such index");
    for sort in sorts(&world) {
        let sum = agree(&stores, &world, &sort)?;
        suite.say(format!("{}: {} rows a slice", sort.id, sum.rows / CHECKED));
        blocks(&mut suite, &sort, sum);
        let turns = stores.iter().map(|(name, store)| turn(name, &**store, &world, &sort));
        compare(&mut criterion, sort.id, size, 64, turns.collect())?;
        suite.timed(sort.id, &format!("{}, a row", sort.title), Per::Operation);
    }
    stores.into_iter().try_for_each(|(_, store)| store.close())?;
    suite.leave()
}

fn sorts(world: &World) -> [Sort; 2] {
    let of = |rooms: u32| -> BTreeSet<u32> {
        (0..rooms.min(world.rooms)).map(|room| world.category_of(room)).collect()
    };
    let popular = of(POPULAR_ROOMS);
    let mut sparse: Vec<u32> = (0..world.categories).filter(|c| !popular.contains(c)).collect();
    if sparse.is_empty() {
        sparse.push(0);
    }
    let dense = of(DENSE_ROOMS).into_iter().collect();
    let (id, title) = ("category-dense", "slices of 1/20 with a large room");
    let dense = Sort { id, title, categories: dense, us: SPAN_US / 20 };
    let (id, title) = ("category-sparse", "slices of 1/200 of small rooms");
    [dense, Sort { id, title, categories: sparse, us: SPAN_US / 200 }]
}

fn any_slice(world: &World, sort: &Sort, draw: &mut Draw) -> Slice {
    let at = draw.below(sort.categories.len() as u64);
    let category = usize::try_from(at).ok().and_then(|at| sort.categories.get(at));
    world.slice(draw, category.copied().unwrap_or(0), sort.us)
}

fn read(store: &dyn Store, world: &World, sort: &Sort, draw: &mut Draw) -> Outcome<Sum> {
    let found = store.category(any_slice(world, sort, draw))?;
    Ok(found.ok_or("a store without an index of categories takes part")?)
}

/// Everyone reads the same, or the suite ends. What Hansard read, with its blocks.
fn agree(stores: &Stores, world: &World, sort: &Sort) -> Outcome<Sum> {
    let (mut first, mut ours) = (None, Sum::default());
    for (name, store) in stores {
        // All of it once, so that what is read is cached as far as the budget goes.
        for category in &sort.categories {
            let all = Slice { category: *category, from_us: FIRST_US, to_us: world.end_us() };
            store.category(all)?;
        }
        let (mut draw, mut sum) = (Draw::of(&[SEED, 1]), Sum::default());
        for _ in 0..CHECKED {
            sum += read(&**store, world, sort, &mut draw)?;
        }
        if *name == hansard::NAME {
            ours = sum;
        }
        let sum = Sum { blocks: 0, ..sum };
        let (other, expected) = *first.get_or_insert((*name, sum));
        if sum != expected {
            return Err(format!("{}: {name} {sum:?}, {other} {expected:?}", sort.id).into());
        }
    }
    Ok(ours)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn blocks(suite: &mut Suite, sort: &Sort, sum: Sum) {
    let a_row = sum.blocks as f64 / sum.rows.max(1) as f64;
    let (id, title) = (format!("{}-blocks", sort.id), format!("{}, blocks a row", sort.title));
    let values = [(hansard::NAME.to_owned(), a_row)];
    suite.given((&id, &title, "blocks"), Better::Less, values);
}

fn turn<'a>(name: &str, store: &'a dyn Store, world: &'a World, sort: &'a Sort) -> Turn<'a> {
    let mut draw = Draw::of(&[SEED, 2]);
    Turn::new(name, move |count| {
        let (begun, mut sum) = (Instant::now(), Sum::default());
        while sum.rows < count {
            sum += read(store, world, sort, &mut draw)?;
        }
        std::hint::black_box(sum);
        Ok(Lap { took: begun.elapsed(), count: sum.rows, each: Vec::new() })
    })
}
