//! Who made a block's records and from where, each once: numbers beside numbers, names beside
//! names.
//!
//! A maker is what a record says of its actor: number, name, door, address and session. One behind
//! the other, as a record has them, zstd must find out for each where the numbers end and that the
//! address was met before. Here numbers are differences in few bits, names stand end to end, and a
//! place (a door and an address) stands once for all who came from there.
//!
//! INVARIANT: makers come back byte for byte, and reading allocates no more than it was told to
//! expect.

use std::ops::Range;

use super::codec::{DecodeError, Reader, put_bytes, put_varint};
use super::columns::{Table, apart, difference};
use super::rice;
use crate::limits;

/// A maker's numbers in a block beside its name, about.
const MAKER_WEIGHT: usize = 6;
/// A place has at most a door and an address.
const PLACE_BYTES_MAX: usize = 1 + limits::ADDRESS_BYTES_MAX;
/// Numbers of who are differences, the first to the room's.
const AS_STEPS: u8 = 0;
/// They are as they are.
const AS_THEY_ARE: u8 = 1;

/// One maker's parts.
struct Maker<'a> {
    actor: u64,
    name: &'a [u8],
    door: u8,
    address: &'a [u8],
    session: u64,
}

impl<'a> Maker<'a> {
    fn of(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let maker = Self {
            actor: reader.varint("maker.actor")?,
            name: reader.bytes(limits::NAME_BYTES_MAX, "maker.name")?,
            door: reader.u8("maker.door")?,
            address: reader.bytes(limits::ADDRESS_BYTES_MAX, "maker.address")?,
            session: reader.varint("maker.session")?,
        };
        reader.end("maker.end")?;
        Ok(maker)
    }
}

/// Makers that are being gathered, in the order in which they were first met.
#[derive(Debug, Default)]
pub(super) struct Makers {
    known: Table,
    actors: Vec<u64>,
    sessions: Vec<u64>,
    name_lens: Vec<u64>,
    names: Vec<u8>,
    places: Table,
    /// Zero where a place is met the first time, else one more than its number.
    place: Vec<u64>,
}

impl Makers {
    /// The number of a maker, which is added if it is new; none if the bytes are not of one.
    pub(super) fn number(&mut self, bytes: &[u8]) -> Option<u64> {
        let before = self.known.len();
        if let Some(known) = self.known.find(bytes) {
            return Some(known);
        }
        let maker = Maker::of(bytes).ok()?;
        self.actors.push(maker.actor);
        self.sessions.push(maker.session);
        self.name_lens.push(maker.name.len() as u64);
        self.names.extend_from_slice(maker.name);
        let place = [&[maker.door], maker.address].concat();
        let met = self.places.find(&place);
        if met.is_none() {
            self.places.add(&place);
        }
        self.place.push(met.map_or(0, |number| number + 1));
        self.known.add(bytes);
        Some(before as u64)
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.known.len()
    }

    /// About their bytes in a block.
    pub(super) const fn weight(&self) -> usize {
        self.names.len() + self.places.bytes() + self.len() * MAKER_WEIGHT
    }

    /// Appends their numbers.
    pub(super) fn put_numbers(&self, room: u64, out: &mut Vec<u8>) {
        put_ids(out, room, &self.actors);
        put_ids(out, room, &self.sessions);
        rice::put(out, &self.name_lens);
        rice::put(out, &self.place);
    }

    /// Appends their words: the names, and the places.
    pub(super) fn put_words(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.names);
        self.places.put(out);
    }
}

/// Appends numbers of accounts or sessions in whichever way takes less.
fn put_ids(out: &mut Vec<u8>, room: u64, ids: &[u64]) {
    let before = std::iter::once(&room).chain(ids);
    let steps: Vec<u64> =
        ids.iter().zip(before).map(|(id, before)| difference(*id, *before)).collect();
    let (mut as_steps, mut as_they_are) = (vec![AS_STEPS], vec![AS_THEY_ARE]);
    rice::put(&mut as_steps, &steps);
    ids.iter().for_each(|id| put_varint(&mut as_they_are, *id));
    out.extend(if as_they_are.len() < as_steps.len() { as_they_are } else { as_steps });
}

fn get_ids(
    reader: &mut Reader<'_>,
    room: u64,
    count: usize,
    what: &'static str,
) -> Result<Vec<u64>, DecodeError> {
    let wrong = reader.error(what);
    match reader.u8(what)? {
        AS_STEPS => {
            let mut ids = rice::get(reader, count, what)?;
            let mut before = room;
            for id in &mut ids {
                *id = apart(*id, before);
                before = *id;
            }
            Ok(ids)
        }
        AS_THEY_ARE => (0..count).map(|_| reader.varint(what)).collect(),
        _ => Err(wrong),
    }
}

/// Makers as records have them.
#[derive(Debug, Default)]
pub(super) struct Made {
    bytes: Vec<u8>,
    each: Vec<Range<usize>>,
}

impl Made {
    /// Reads `count` makers of a block of room `room`, which together take at most `bytes`.
    ///
    /// # Errors
    /// If the sections are not of so many.
    pub(super) fn get(
        numbers: &mut Reader<'_>,
        words: &mut Reader<'_>,
        room: u64,
        (count, bytes): (usize, usize),
    ) -> Result<Self, DecodeError> {
        let actors = get_ids(numbers, room, count, "block.actors")?;
        let sessions = get_ids(numbers, room, count, "block.sessions")?;
        let lens = rice::get(numbers, count, "block.names")?;
        let place = rice::get(numbers, count, "block.places")?;
        let wrong = words.error("block.names");
        let names: u64 =
            lens.iter().try_fold(0, |sum: u64, len| sum.checked_add(*len)).ok_or(wrong)?;
        let names = usize::try_from(names).map_err(|_| wrong)?;
        let names = &mut Reader::new(words.take(names, "block.names")?);
        let distinct = place.iter().filter(|place| **place == 0).count();
        let places = (0..distinct).map(|_| words.bytes(PLACE_BYTES_MAX, "block.place"));
        let places: Vec<&[u8]> = places.collect::<Result<_, _>>()?;
        let wrong = words.error("block.places");
        let (mut made, mut met) = (Self::default(), 0);
        for (((actor, session), len), place) in actors.iter().zip(&sessions).zip(&lens).zip(&place)
        {
            let number = match place.checked_sub(1) {
                None => {
                    met += 1;
                    met - 1
                }
                // Only one that was met before.
                Some(number) => usize::try_from(number).ok().filter(|n| *n < met).ok_or(wrong)?,
            };
            let (door, address) = places.get(number).and_then(|p| p.split_first()).ok_or(wrong)?;
            let name = names.take(usize::try_from(*len).map_err(|_| wrong)?, "block.names")?;
            made.add(|out| {
                put_varint(out, *actor);
                put_bytes(out, name);
                out.push(*door);
                put_bytes(out, address);
                put_varint(out, *session);
            });
            if made.bytes.len() > bytes {
                return Err(wrong);
            }
        }
        Ok(made)
    }

    /// Reads `count` makers that stand in words as records have them, as format 1 wrote them.
    ///
    /// # Errors
    /// If there are not so many.
    pub(super) fn get_whole(words: &mut Reader<'_>, count: usize) -> Result<Self, DecodeError> {
        let mut made = Self::default();
        for _ in 0..count {
            let maker = words.bytes(limits::RECORD_BYTES_MAX, "block.maker")?;
            made.add(|out| out.extend_from_slice(maker));
        }
        Ok(made)
    }

    fn add(&mut self, put: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        put(&mut self.bytes);
        self.each.push(start..self.bytes.len());
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.each.len()
    }

    /// One of them.
    pub(super) fn at(&self, number: usize) -> Option<&[u8]> {
        self.bytes.get(self.each.get(number)?.clone())
    }

    /// All of them, each behind the one before.
    pub(super) fn all(&self) -> (&[u8], &[Range<usize>]) {
        (&self.bytes, &self.each)
    }
}

#[cfg(test)]
#[path = "makers_tests.rs"]
mod tests;
