//! The messages that every contestant stores: real chat, in groups, over a few rooms.
//!
//! A function of the seed and the count alone, so that the parent and every child have the same
//! ones without handing them over.

use super::seed::Draw;

/// Rooms of the tournament.
pub const ROOMS: usize = 8;
/// Messages of one group at most; a group is what one sync makes durable.
const GROUP_MESSAGES_MAX: u64 = 7;
/// A day of #ubuntu; see server/tests/data/README.md for its source and licence.
const CHAT: &str = include_str!("../../../server/tests/data/2008-04-27.log");

/// One message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its room: the first is 0.
    pub room: usize,
    /// Its place in the room, dense from 1.
    pub seq: u64,
    /// Its text.
    pub body: &'static str,
}

impl Message {
    /// The room's name in stores that number them: the first is 1.
    #[must_use]
    pub const fn room_id(&self) -> u64 {
        self.room as u64 + 1
    }
}

/// All messages.
#[derive(Clone, Debug)]
pub struct Load {
    /// In the order in which they are acknowledged.
    pub groups: Vec<Vec<Message>>,
    rooms: Vec<Vec<&'static str>>,
}

impl Load {
    /// `messages` messages in groups.
    #[must_use]
    pub fn new(seed: u64, messages: usize) -> Self {
        let mut draw = Draw::of(&[seed, 0x10AD]);
        let mut bodies = said().collect::<Vec<_>>().into_iter().cycle();
        let mut load = Self { groups: Vec::new(), rooms: vec![Vec::new(); ROOMS] };
        let mut left = messages as u64;
        while left > 0 {
            let size = (1 + draw.below(GROUP_MESSAGES_MAX)).min(left);
            left -= size;
            let group = (0..size).filter_map(|_| load.add(&mut draw, bodies.next()?));
            let group: Vec<Message> = group.collect();
            load.groups.push(group);
        }
        load
    }

    fn add(&mut self, draw: &mut Draw, body: &'static str) -> Option<Message> {
        let room = usize::try_from(draw.below(ROOMS as u64)).ok()?;
        let bodies = self.rooms.get_mut(room)?;
        bodies.push(body);
        Some(Message { room, seq: bodies.len() as u64, body })
    }

    /// The bodies of each room, in order of seq.
    #[must_use]
    pub fn rooms(&self) -> &[Vec<&'static str>] {
        &self.rooms
    }

    /// The number of all messages.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rooms.iter().map(Vec::len).sum()
    }

    /// Whether there are no messages.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What people said, without the clock and the name.
fn said() -> impl Iterator<Item = &'static str> {
    let lines = CHAT.lines().filter(|line| line.starts_with('['));
    lines.filter_map(|line| line.split_once("> ")).map(|(_, text)| text).filter(|t| !t.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_message_has_its_place_and_the_seed_says_all() {
        let load = Load::new(1, 500);
        assert_eq!(load.len(), 500);
        assert_eq!(load.groups.iter().map(Vec::len).sum::<usize>(), 500);
        assert!(load.groups.iter().all(|g| (1..=7).contains(&g.len())));
        let mut heads = [0; ROOMS];
        for message in load.groups.iter().flatten() {
            heads[message.room] += 1;
            assert_eq!(message.seq, heads[message.room]);
            let at = usize::try_from(message.seq).unwrap() - 1;
            assert_eq!(load.rooms()[message.room][at], message.body);
        }
        assert_eq!(load.groups, Load::new(1, 500).groups);
        assert_ne!(load.groups, Load::new(2, 500).groups);
    }
}
