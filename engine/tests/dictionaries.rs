//! Dictionaries of packs: what they may hold, and what becomes of blocks when one is damaged.
//!
//! The rule is checked by brute force over everything that was said, not by the code that made
//! them.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "support/canary.rs"]
mod canary;
mod support;

use canary::files_with;
use hansard_engine::Engine;
use hansard_engine::draft::Draft;
use hansard_engine::format::block::BlockHeader;
use hansard_engine::format::codec::Reader;
use hansard_engine::format::dictionary::{DictionaryKind, RUN_END};
use hansard_engine::format::pack::PACK_HEADER_BYTES;
use hansard_engine::format::payload::*;
use hansard_engine::format::record::{Idempotency, Record};
use hansard_engine::limits::{DICTIONARY_BYTES_TARGET, DICTIONARY_RUN_BYTES_MAX};
use hansard_engine::manifest;
use hansard_engine::pack::{BlockReader, PackFile};
use hansard_engine::reads::Anchor;
use hansard_engine::storage::Disk;
use hansard_engine::tail::TailEntry;
use hansard_engine::types::*;
use sha2::{Digest, Sha256};
use support::*;

/// What one says, often and everywhere.
const ONE: &str = "as my dear wife keeps telling me";
/// What many say in two rooms.
const TWO_ROOMS: &str = "tickets for queue forty-two";
/// What many say everywhere, but too seldom.
const SELDOM: &str = "nineteen times nobody heard it";

struct Said {
    room: usize,
    author: usize,
    text: String,
}

struct Talk {
    world: World,
    engine: Option<Engine>,
    rooms: Vec<RoomId>,
    said: Vec<Said>,
}

/// Rooms of which the last three are secret.
const ROOMS: usize = 9;
const OPEN: usize = 6;
const PHRASES: usize = 300;

/// Bytes that stand nowhere else, as text that does not compress well.
fn noise(nth: usize, bytes: usize) -> String {
    let digests = (0..bytes / 64 + 1).map(|part| Sha256::digest(format!("{nth} {part}")));
    let text: String = digests.flatten().map(|byte| format!("{byte:02x}")).collect();
    text[..bytes].to_owned()
}

/// What many say everywhere, or in secret rooms only: one of some hundred of either.
fn phrase(secret: bool, nth: usize) -> String {
    noise((1 << 40) + (usize::from(secret) << 39) + nth % PHRASES, 24)
}

fn text(nth: usize, room: usize, author: usize) -> String {
    let mut text = format!("canary {nth}: {} ", noise(nth, 1700));
    for part in 0..12 {
        text += &phrase(room >= OPEN, nth * 31 + part * 7);
        text += " ";
    }
    if author == 0 {
        text += ONE;
    }
    if room < 2 && nth.is_multiple_of(2) {
        text += TWO_ROOMS;
    }
    if room < OPEN && nth % (4000 / 19) == 1 && nth / (4000 / 19) < 19 {
        text += SELDOM;
    }
    text
}

impl Talk {
    fn new(messages: usize) -> Self {
        let world = World::new();
        let engine = world.open();
        let category = make_category(&engine, "General");
        let privacy = |nth| if nth < OPEN { Privacy::Open } else { Privacy::Secret };
        let rooms = (0..ROOMS).map(|nth| {
            let settings = room_settings(category, &format!("room {nth}"));
            let settings = RoomSettings { privacy: privacy(nth), ..settings };
            let payload = Payload::RoomCreated(RoomCreated { settings });
            one(&engine, draft(PrincipalId::SYSTEM, RoomId::NONE, payload)).room
        });
        let rooms: Vec<RoomId> = rooms.collect();
        let users: Vec<PrincipalId> =
            (0..7).map(|nth| make_user(&engine, &format!("user {nth}"))).collect();
        let mut said = Vec::new();
        for nth in 0..messages {
            let (room, author) = (nth % ROOMS, nth % 7);
            let text = text(nth, room, author);
            engine.append_and_wait(vec![post(users[author], rooms[room], &text)]).unwrap();
            said.push(Said { room, author, text });
            if nth % 500 == 499 {
                engine.seal().unwrap();
            }
        }
        engine.seal().unwrap();
        world.clock.pass_us(2 * TimeUs::DAY_US);
        engine.merge(&mut |_| true).unwrap();
        for (room, id) in rooms.iter().enumerate() {
            let text = "after the merge".to_owned();
            one(&engine, post(users[0], *id, &text));
            said.push(Said { room, author: 0, text });
        }
        engine.seal().unwrap();
        Self { world, engine: Some(engine), rooms, said }
    }

    const fn engine(&self) -> &Engine {
        self.engine.as_ref().unwrap()
    }

    /// What was said in each room.
    fn bodies(&self) -> Vec<Vec<Option<String>>> {
        let of = |room| self.said.iter().filter(move |said| said.room == room);
        (0..ROOMS).map(|room| of(room).map(|said| Some(said.text.clone())).collect()).collect()
    }

    /// The same, read; none for what is a gap.
    fn read(&self, engine: &Engine) -> Vec<Vec<Option<String>>> {
        let read = self.rooms.iter().map(|room| {
            let mut entries = Vec::new();
            let mut next = Seq(1);
            loop {
                let page = engine.page(*room, Anchor::At(next), 500).unwrap();
                let before = entries.len();
                for record in &page.records {
                    entries.resize(usize::try_from(record.seq.0).unwrap() - 1, None);
                    entries.push(Some(body(record).to_owned()));
                }
                let upto = page.gaps.iter().map(|gap| gap.to_seq.0).max().unwrap_or(0);
                entries.resize(entries.len().max(usize::try_from(upto).unwrap()), None);
                if entries.len() == before {
                    return entries;
                }
                next = Seq(entries.len() as u64 + 1);
            }
        });
        read.collect()
    }

    fn packs(&self) -> Vec<PackFile> {
        let disk = Disk::new(std::sync::Arc::new(self.world.sim.clone()));
        let named = manifest::load(&disk).unwrap().state.packs;
        named.keys().map(|id| PackFile::open(&disk, *id).unwrap()).collect()
    }

    /// How many of the messages in rooms that are not secret have a run, with how many authors, in
    /// how many rooms.
    fn who_says(&self, run: &[u8]) -> (usize, usize, usize) {
        let run = std::str::from_utf8(run).unwrap();
        let has = |said: &&Said| said.room < OPEN && said.text.contains(run);
        let found: Vec<&Said> = self.said.iter().filter(has).collect();
        let count = |of: fn(&Said) -> usize| {
            let all: std::collections::BTreeSet<usize> =
                found.iter().map(|said| of(said)).collect();
            all.len()
        };
        (found.len(), count(|said| said.author), count(|said| said.room))
    }
}

fn runs(dictionary: &[u8]) -> Vec<&[u8]> {
    dictionary.split(|byte| *byte == RUN_END).filter(|run| !run.is_empty()).collect()
}

/// True if a dictionary has eight bytes of a text in one piece.
fn has_of(dictionary: &[u8], text: &str) -> bool {
    text.as_bytes().windows(8).any(|piece| find(dictionary, piece).is_some())
}

#[test]
fn a_dictionary_has_what_many_say_in_many_rooms_and_nothing_else() {
    let talk = Talk::new(5_000);
    let mut found = 0;
    for pack in talk.packs() {
        if !pack.header().unwrap().dictionary.is_some() {
            continue;
        }
        let own = pack.dictionary().unwrap().bytes().to_vec();
        found += 1;
        assert!(own.len() <= DICTIONARY_BYTES_TARGET);
        for run in runs(&own) {
            let (messages, authors, rooms) = talk.who_says(run);
            let shown = String::from_utf8_lossy(run);
            assert!(
                messages >= 20 && authors >= 5 && rooms >= 3,
                "{shown:?}: {messages} {authors}"
            );
            assert!(run.len() <= DICTIONARY_RUN_BYTES_MAX, "{shown:?}");
        }
        let there = (0..PHRASES).filter(|nth| has_of(&own, &phrase(false, *nth)));
        assert_eq!(there.count(), PHRASES, "what many say is there");
        let secret = (0..PHRASES).filter(|nth| has_of(&own, &phrase(true, *nth)));
        assert_eq!(secret.count(), 0, "what many say in secret rooms is not");
        for never in [ONE, TWO_ROOMS, SELDOM] {
            assert!(!has_of(&own, never), "{never:?}");
        }
        for nth in (0..5_000).step_by(97) {
            assert!(!has_of(&own, &noise(nth, 64)), "a canary");
        }
    }
    assert!(found > 0, "a pack has one");
    assert_eq!(talk.read(talk.engine()), talk.bodies(), "everything is read back through it");
}

#[test]
fn one_sound_copy_of_a_dictionary_is_enough_and_none_is_named_damage() {
    let mut talk = Talk::new(5_000);
    let own =
        talk.packs().into_iter().find(|pack| pack.header().unwrap().dictionary.is_some()).unwrap();
    let name = format!("packs/{}", own.file().path().file_name().unwrap().to_str().unwrap());
    let second = usize::try_from(own.footer().unwrap().blocks_end()).unwrap();
    let Talk { engine, .. } = &mut talk;
    drop(engine.take());
    let sound = talk.world.sim.bytes_of(&name).unwrap();
    let with_flips = |places: &[usize]| {
        let mut bytes = sound.clone();
        places.iter().for_each(|at| bytes[at + 9] ^= 1);
        talk.world.sim.set_bytes(&name, bytes);
        let engine = talk.world.open();
        let read = talk.read(&engine);
        drop(engine);
        (read, own.dictionary_damage().unwrap().len())
    };
    for places in [vec![], vec![PACK_HEADER_BYTES], vec![second]] {
        assert_eq!(with_flips(&places), (talk.bodies(), places.len()));
    }
    let (read, damaged) = with_flips(&[PACK_HEADER_BYTES, second]);
    assert_eq!(damaged, 2);
    let lost = read.iter().flatten().filter(|body| body.is_none()).count();
    assert_eq!(lost, 5_000, "all in the pack are named");
    let last = read.iter().map(|room| room.last().unwrap().as_deref());
    assert!(last.clone().all(|last| last == Some("after the merge")), "and no others");
}

#[test]
fn what_is_erased_leaves_packs_with_dictionaries_too() {
    let talk = Talk::new(5_000);
    let nth = 4 * ROOMS + 1;
    let canary = noise(nth, 40);
    assert!(!files_with(&talk.world.sim, "packs", &canary).is_empty(), "it is found before");
    let room = talk.rooms[1];
    let (erased, expect) = talk.engine().erasure(room, Seq(5), "asked to").unwrap().unwrap();
    let draft = draft(PrincipalId::SYSTEM, room, Payload::Erased(erased));
    one(talk.engine(), Draft { expect: Some(expect), ..draft });
    talk.engine().erase_owed().unwrap();
    assert_eq!(files_with(&talk.world.sim, "", &canary), [] as [String; 0]);
    let own = |pack: &PackFile| pack.header().unwrap().dictionary.is_some();
    assert!(talk.packs().iter().any(own), "the pack was written anew with one");
    let mut left = talk.bodies();
    left[1][4] = None;
    assert_eq!(talk.read(talk.engine()), left);
}

/// Entries as a pack of format 1 was made of: posts that its dictionary helps, and bytes that are
/// no records, which stand as rows.
fn of_the_golden_pack() -> Vec<(RoomId, Vec<TailEntry>)> {
    let record = |nth: u64| Record {
        epoch: Epoch(1),
        lsn: Lsn(10 + nth),
        recorded: TimeUs(START.0 + nth.cast_signed() * 1_234_567),
        time: TimeUs(START.0 + nth.cast_signed() * 1_234_567),
        room: RoomId(1 << 48),
        seq: Seq(nth),
        rev: Rev(nth),
        actor: actor(PrincipalId(nth % 5 + 2)),
        policy: Lsn(9),
        idempotency: nth
            .is_multiple_of(3)
            .then(|| Idempotency { key: format!("key {nth}").into(), digest: [7; 16] }),
        payload: Payload::Post(Post {
            kind: EntryKind::Text,
            body: format!("the night shift of the exchange desk, for the {nth}th time"),
            reply_to: Seq(nth / 4),
            import: None,
        }),
    };
    let entry = |nth: u64, bytes: Vec<u8>| TailEntry {
        lsn: Lsn(10 + nth),
        rev: Rev(nth),
        seq_at: Seq(nth),
        time_at: TimeUs(START.0 + nth.cast_signed() * 1_234_567),
        kind: Kind::Post,
        bytes: bytes.into(),
        words: 0,
    };
    let posts = (1..=40).map(|nth| entry(nth, record(nth).to_bytes())).collect();
    let strange = (1..=3).map(|nth| entry(nth, format!("no record {nth}").into_bytes()));
    vec![(RoomId(1 << 48), posts), (RoomId((1 << 48) + 1), strange.collect())]
}

const GOLDEN_PACK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/own-dictionary.pack");

/// A program of format 1 made the file, of these entries: later ones must read it.
#[test]
fn a_pack_of_format_1_with_its_own_dictionary_is_read() {
    let world = World::new();
    let disk = Disk::new(std::sync::Arc::new(world.sim.clone()));
    let entries = of_the_golden_pack();
    let bytes = std::fs::read(GOLDEN_PACK).unwrap();
    disk.write_whole("packs", "00000007.pack", &bytes).unwrap();
    let pack = PackFile::open(&disk, 7).unwrap();
    let index = pack.index().unwrap();
    assert!(pack.dictionary_damage().unwrap().is_empty());
    assert_eq!(pack.dictionary().unwrap().bytes().len(), 50);
    let mut reader = BlockReader::new().unwrap();
    let mut kinds = Vec::new();
    for (run, (room, entries)) in index.runs.iter().zip(&entries) {
        assert_eq!((run.room, run.last_rev.0), (*room, entries.len() as u64));
        let mut read = Vec::new();
        for fence in &run.blocks {
            let block = pack.block(run.room, fence, &mut reader).unwrap();
            read.extend((0..block.len()).filter_map(|at| block.record(at)));
            let bytes = pack.file().read(fence.offset, fence.bytes as usize).unwrap();
            kinds.push(BlockHeader::get(&mut Reader::new(&bytes)).unwrap().dictionary);
        }
        assert!(read.iter().eq(entries.iter().map(|entry| &entry.bytes)));
    }
    assert_eq!(kinds, [DictionaryKind::Own; 2]);
}
