//! What was acknowledged, kept where no power cut reaches it.
//!
//! INVARIANT: an acknowledged post is at its place for ever; one whose answer was lost is there at
//! most once, and once somebody has seen it, it stays.

use std::collections::{BTreeMap, HashMap, HashSet};

use serde_json::Value;

use crate::tournament::Outcome;

/// A post of one poster, who numbers his own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Post {
    pub poster: usize,
    pub number: u64,
}

#[derive(Default)]
pub struct Room {
    pub id: String,
    /// By seq.
    kept: BTreeMap<u64, Post>,
    /// Sent, and the answer was lost.
    unknown: HashSet<Post>,
}

/// A token that was made.
pub struct Token {
    pub secret: String,
    /// None while nobody knows: the answer to its end was lost.
    pub good: Option<bool>,
}

#[derive(Default)]
pub struct Ledger {
    pub rooms: Vec<Room>,
    pub tokens: Vec<Token>,
    pub acknowledged: u64,
    pub found_later: u64,
}

impl Post {
    /// What is said: the same for the same post, mostly short.
    #[must_use]
    pub fn body(self) -> String {
        let Self { poster, number } = self;
        let long = match number % 16 {
            0 => 12_000,
            8 => 3_000,
            some => 20 * some as usize,
        };
        let mut body = format!("{poster} {number} ");
        let mut state = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ poster as u64;
        while body.len() < long {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            body.push(char::from(b'a' + u8::try_from((state >> 40) % 26).unwrap_or_default()));
        }
        body.trim_end().to_owned()
    }

    #[must_use]
    pub fn key(self) -> String {
        format!("{}-{}", self.poster, self.number)
    }

    fn of(body: &str) -> Option<Self> {
        let mut words = body.split(' ');
        let post =
            Self { poster: words.next()?.parse().ok()?, number: words.next()?.parse().ok()? };
        (post.body() == body).then_some(post)
    }
}

impl Room {
    #[must_use]
    pub fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }
}

impl Ledger {
    /// A post was acknowledged.
    ///
    /// # Errors
    /// If the answer is not of this post, or its place was taken.
    pub fn kept(&mut self, room: usize, post: Post, answer: &Value) -> Outcome<()> {
        let seq = answer["seq"].as_u64().ok_or("an answer without a seq")?;
        if answer["body"] != post.body() {
            return Err(format!("{post:?} was answered with another body").into());
        }
        let room = &mut self.rooms[room];
        room.unknown.remove(&post);
        self.acknowledged += 1;
        match room.kept.insert(seq, post) {
            Some(before) if before != post => {
                Err(format!("seq {seq} was given to {before:?} and {post:?}").into())
            }
            _ => Ok(()),
        }
    }

    pub fn unknown(&mut self, room: usize, post: Post) {
        self.rooms[room].unknown.insert(post);
    }

    /// Posts without an answer, in their order.
    #[must_use]
    pub fn open(&self) -> Vec<(usize, Post)> {
        let rooms = self.rooms.iter().enumerate();
        let mut open: Vec<_> =
            rooms.flat_map(|(at, room)| room.unknown.iter().map(move |post| (at, *post))).collect();
        open.sort_unstable_by_key(|(_, post)| *post);
        open
    }

    /// Checks what a room shows behind a seq; gives how far it goes.
    ///
    /// # Errors
    /// If an acknowledged post is missing, moved, doubled or out of order.
    pub fn check(&mut self, room: usize, after: u64, messages: &[Value]) -> Outcome<u64> {
        let room = &mut self.rooms[room];
        let mut newest: HashMap<usize, u64> = HashMap::new();
        for (_, post) in room.kept.range(..=after) {
            newest.insert(post.poster, post.number);
        }
        for message in messages {
            let (seq, body) = (message["seq"].as_u64(), message["body"].as_str());
            let seq = seq.ok_or("a message without a seq")?;
            let post = body.and_then(Post::of);
            let post = post.ok_or_else(|| format!("seq {seq} says what nobody said: {message}"))?;
            match room.kept.get(&seq) {
                Some(kept) if *kept == post => {}
                Some(kept) => {
                    return Err(
                        format!("room {} seq {seq}: {post:?}, not {kept:?}", room.id).into()
                    );
                }
                None if room.unknown.remove(&post) => {
                    room.kept.insert(seq, post);
                    self.found_later += 1;
                }
                None => {
                    let what = format!("room {} seq {seq}: {post:?} is doubled or moved", room.id);
                    return Err(what.into());
                }
            }
            // Numbers that rise are also numbers that come once.
            let before = newest.insert(post.poster, post.number);
            if before.is_some_and(|before| before >= post.number) {
                return Err(format!("seq {seq}: {post:?} stands behind {before:?}").into());
            }
        }
        let end = after + messages.len() as u64;
        if let Some((seq, post)) = room.kept.range(end + 1..).next() {
            let missing = room.kept.range(end + 1..).count();
            return Err(format!(
                "room {} ends at seq {end}: {missing} acknowledged posts are missing, the first \
                 {post:?} at seq {seq}",
                room.id
            )
            .into());
        }
        Ok(end)
    }
}
