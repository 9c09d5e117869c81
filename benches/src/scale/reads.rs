//! Reads pages of small rooms, of the big room and of the category, and compares every message.
//!
//! A page is right if it has exactly the messages that were posted there, with author, time and
//! words, in order, and names no gap. How long a page takes is told and not judged.

use hansard_engine::Engine;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::limits::PAGE_MESSAGES_MAX;
use hansard_engine::reads::{Anchor, CategoryRequest, Gap, Order, Page};
use hansard_engine::types::{RoomId, Seq};
use serde::{Deserialize, Serialize};

use super::gauge::{Quantiles, Times};
use super::world::{BIG_ROOM, Message, SMALL_MESSAGES, Slice, Small, World, room_name};
use crate::scale::fill::CATEGORY;
use crate::tournament::Outcome;
use crate::tournament::seed::Draw;

/// Small rooms whose last page is read.
const ROOMS: u64 = 10_000;
/// Pages of the big room, of each sort.
const PAGES: u64 = 2_000;
/// Messages of a page, as the HTTP interface gives unless it is told otherwise.
const PAGE: usize = 50;
/// Slices of the category, and about how many messages lie in one.
const SLICES: u64 = 10;
const SLICE_MESSAGES: u64 = 1_200;
/// Mistakes that are told; all are counted.
const TOLD_MAX: usize = 20;

/// One sort of read.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Read {
    pub what: String,
    pub times: Quantiles,
    /// Messages that were compared.
    pub messages: u64,
    /// Blocks that were decoded, or found in the cache.
    pub blocks: u64,
}

/// All reads.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Readings {
    pub reads: Vec<Read>,
    pub mistakes: u64,
    pub told: Vec<String>,
}

/// Where a message is expected.
type Expected<'a> = (RoomId, Seq, Message<'a>);

struct Reader<'a> {
    engine: &'a Engine,
    world: &'a World,
    draw: Draw,
    big: RoomId,
    found: Readings,
}

/// Reads and compares.
///
/// # Errors
/// If something cannot be read at all. A page that is wrong is a mistake and not an error.
pub fn read(engine: &Engine, world: &World) -> Outcome<Readings> {
    let big = engine.directory().room_by_name(BIG_ROOM)?.ok_or("the big room is missing")?.id;
    let draw = Draw::of(&[world.size.seed, 0x5CA1E]);
    let mut reader = Reader { engine, world, draw, big, found: Readings::default() };
    reader.small()?;
    reader.big("big room, before a seq", |world, place| {
        (Anchor::Before(seq(place)), {
            let from = place.saturating_sub(PAGE as u64);
            from..place.min(world.size.big)
        })
    })?;
    reader.big("big room, at a time", |world, place| {
        // Between two messages; the later one is the first of the page.
        let time = world.big(place).time.saturating_add_us(-1);
        (Anchor::AtTime(time), place..world.size.big.min(place + PAGE as u64))
    })?;
    reader.slices()?;
    Ok(reader.found)
}

fn seq(place: u64) -> Seq {
    Seq(place + 1)
}

impl<'a> Reader<'a> {
    fn mistake(&mut self, text: String) {
        self.found.mistakes += 1;
        if self.found.told.len() < TOLD_MAX {
            self.found.told.push(text);
        }
    }

    fn room(&self, room: u64) -> Outcome<RoomId> {
        let name = room_name(room);
        let row = self.engine.directory().room_by_name(&name)?;
        Ok(row.ok_or_else(|| format!("room is missing name={name:?}"))?.id)
    }

    fn note(&mut self, what: &str, times: Times, (messages, blocks): (u64, u64)) {
        let times = times.quantiles();
        self.found.reads.push(Read { what: what.to_owned(), times, messages, blocks });
    }

    fn small(&mut self) -> Outcome<()> {
        let (mut times, mut sums) = (Times::default(), (0, 0));
        for _ in 0..ROOMS.min(self.world.size.rooms) {
            let room = self.draw.below(self.world.size.rooms);
            let (id, page) = times.of(|| -> Outcome<(RoomId, Page)> {
                let id = self.room(room)?;
                Ok((id, self.engine.page(id, Anchor::Last, PAGE)?))
            })?;
            let message = |at| (id, seq(at), self.world.small(Small { room, at }));
            let expected: Vec<_> = (0..SMALL_MESSAGES).map(message).collect();
            sums = (sums.0 + page.records.len() as u64, sums.1 + page.blocks);
            self.compare("last page of a small room", &page.records, &page.gaps, &expected);
        }
        self.note("small room, by name, last page", times, sums);
        Ok(())
    }

    fn big(
        &mut self,
        what: &str,
        ask: impl Fn(&World, u64) -> (Anchor, std::ops::Range<u64>),
    ) -> Outcome<()> {
        let (mut times, mut sums) = (Times::default(), (0, 0));
        for _ in 0..PAGES.min(self.world.size.big) {
            let place = self.draw.below(self.world.size.big);
            let (anchor, places) = ask(self.world, place);
            let page = times.of(|| self.engine.page(self.big, anchor, PAGE))?;
            let message = |place| (self.big, seq(place), self.world.big(place));
            let expected: Vec<_> = places.map(message).collect();
            sums = (sums.0 + page.records.len() as u64, sums.1 + page.blocks);
            self.compare(&format!("{what} {anchor:?}"), &page.records, &page.gaps, &expected);
        }
        self.note(what, times, sums);
        Ok(())
    }

    fn slices(&mut self) -> Outcome<()> {
        let category = self.engine.directory().category_by_name(CATEGORY)?;
        let category = category.ok_or("the category is missing")?.id;
        let (mut times, mut sums) = (Times::default(), (0, 0));
        for number in 0..SLICES {
            let order = if number % 2 == 0 { Order::Ascending } else { Order::Descending };
            let (from, us) = self.world.size.any_slice(&mut self.draw, SLICE_MESSAGES);
            let slice = self.world.size.slice(from, us);
            let (mut records, mut gaps, mut cursor) = (Vec::new(), Vec::new(), None);
            loop {
                let request = CategoryRequest {
                    category,
                    from: slice.from,
                    to: slice.to,
                    order,
                    cursor,
                    limit: PAGE_MESSAGES_MAX,
                };
                let page = times.of(|| self.engine.category_page(&request, &mut |_| true))?;
                sums = (sums.0 + page.records.len() as u64, sums.1 + page.blocks);
                records.extend(page.records);
                gaps.extend(page.gaps);
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
            if order == Order::Descending {
                records.reverse();
            }
            let expected = self.expected(&slice)?;
            self.compare("slice of the category", &records, &gaps, &expected);
        }
        self.note("category, a slice of time, pages of 500", times, sums);
        Ok(())
    }

    /// What was said in a slice, in order of time.
    fn expected(&self, slice: &Slice) -> Outcome<Vec<Expected<'a>>> {
        let world = self.world;
        let mut expected = Vec::new();
        for small in &slice.small {
            expected.push((self.room(small.room)?, seq(small.at), world.small(*small)));
        }
        let big = slice.big.clone();
        expected.extend(big.map(|place| (self.big, seq(place), world.big(place))));
        expected.sort_by_key(|(room, seq, message)| (message.time, *room, *seq));
        Ok(expected)
    }

    fn compare(&mut self, what: &str, found: &[Record], gaps: &[Gap], expected: &[Expected<'_>]) {
        for gap in gaps {
            self.mistake(format!("{what}: gap {gap:?}"));
        }
        if found.len() != expected.len() {
            let (found, expected) = (found.len(), expected.len());
            self.mistake(format!("{what}: messages expected={expected} found={found}"));
        }
        for (record, (room, seq, message)) in found.iter().zip(expected) {
            let body = match &record.payload {
                Payload::Post(post) => post.body.as_str(),
                _ => "",
            };
            let said = (record.room, record.seq, record.time, record.actor.name.as_str(), body);
            let wanted = (*room, *seq, message.time, message.nick, message.body);
            if said != wanted {
                self.mistake(format!("{what}: expected={wanted:?} found={said:?}"));
            }
        }
    }
}
