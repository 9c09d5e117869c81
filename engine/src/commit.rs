//! The commit: the only writer of the journal.
//!
//! Two stages, each run by one thread at a time. The encoder gathers what waits, runs `sequence`
//! and makes one frame; the writer writes it, syncs once and publishes. While the writer syncs, the
//! encoder makes the next frame. Neither decides policy or delivers.
//!
//! INVARIANT: `committed` moves, a record becomes visible and a ticket is filled only after
//! `sync_data` returned Ok for the frame's file; after one failure nothing is written any more.

use crate::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::sync::OnceLock;

use bytes::Bytes;

use crate::catalog::keys::KeyName;
use crate::draft::{Appended, Draft, Promise, Said};
use crate::error::{Error, Result};
use crate::format::frame::{
    DirEntry, FLAG_CLOSING, FLAG_PROMISE, FrameParts, encode_frame, frame_bytes,
};
use crate::format::payload::Payload;
use crate::format::record::Record;
use crate::journal::{JournalEnd, Placement, Wait};
use crate::limits;
use crate::open::system_actor;
use crate::proof::salts::{SEED_BYTES, Salts};
use crate::sequence::{Keyed, Placed, SeqState, Sequenced, appended, name_of, sequence};
use crate::storage::clock::Clock;
use crate::types::{Lsn, RoomId, Seq, TimeUs};

/// Bytes of an envelope's numbers and lengths at most: each varint is at most ten bytes long.
const ENVELOPE_BYTES: usize = 256;
/// The frame's share of one group: estimates are from above, so the frame fits.
pub(crate) const GROUP_BYTES_MAX: usize = limits::FRAME_BYTES_MAX / 2;

/// An append that waits.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub drafts: Vec<Draft>,
    /// The name of the key, if it has one.
    pub name: Option<KeyName>,
    pub now: TimeUs,
    /// Bytes in a frame at most.
    pub bytes: usize,
    pub promise: Promise,
}

impl Incoming {
    /// Of drafts that may be appended, the time, and their bytes in a frame at most.
    pub(crate) fn of((drafts, now, bytes): (Vec<Draft>, TimeUs, usize), promise: Promise) -> Self {
        // Here, where its caller's thread pays for it and not the encoder's.
        let name = name_of(&drafts);
        Self { drafts, name, now, bytes, promise }
    }
}

/// A record with its bytes.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub record: Record,
    pub bytes: Bytes,
    /// The room's seq after it.
    pub seq_at: Seq,
    /// Where in its bytes the length of a post's words stands; zero if it is none.
    pub words: u32,
    /// The name of its key, if it has one.
    pub name: Option<KeyName>,
}

/// An outcome that waits for its group.
#[derive(Debug)]
pub(crate) struct Answer {
    pub promise: Promise,
    pub appended: Vec<Appended>,
    /// Answered only after the catalog end of apply.
    pub control: bool,
}

/// What one sync makes durable.
#[derive(Debug)]
pub(crate) struct Group {
    pub frame: Option<(Placement, Vec<u8>)>,
    pub records: Vec<Committed>,
    pub answers: Vec<Answer>,
    pub last: Lsn,
}

/// The first failure, and nothing after it.
#[derive(Debug, Default)]
pub(crate) struct Poison(OnceLock<String>);

impl Poison {
    pub(crate) fn set(&self, error: &Error) {
        if self.0.set(error.to_string()).is_ok() {
            tracing::error!(%error, "engine is poisoned: restart to recover");
        }
    }

    pub(crate) fn get(&self) -> Option<Error> {
        self.0.get().map(|first| Error::Poisoned { first: first.clone() })
    }
}

/// A position that only rises.
#[derive(Debug, Default)]
pub(crate) struct Rising(AtomicU64);

impl Rising {
    pub(crate) const fn at(lsn: Lsn) -> Self {
        Self(AtomicU64::new(lsn.0))
    }

    pub(crate) fn get(&self) -> Lsn {
        Lsn(self.0.load(Ordering::Acquire))
    }

    pub(crate) fn raise(&self, lsn: Lsn) {
        let before = self.0.fetch_max(lsn.0, Ordering::AcqRel);
        debug_assert!(before <= lsn.0, "a position went back from {before} to {lsn}");
    }
}

/// An upper bound of the bytes a draft takes in a frame.
pub(crate) fn estimate(draft: &Draft) -> usize {
    let payload = match &draft.payload {
        Payload::Post(p) => {
            p.body.len() + p.import.as_ref().map_or(0, |m| m.source.len() + m.format.len())
        }
        other => {
            let mut bytes = Vec::new();
            other.put(&mut bytes);
            bytes.len()
        }
    };
    let actor = &draft.actor;
    let key = draft.idempotency.as_ref().map_or(0, |i| i.key.len());
    payload + actor.name.len() + actor.address.len() + key + ENVELOPE_BYTES
}

/// Sees to it that every place of the log has a salt before it is given.
pub(crate) struct Salter {
    pub clock: Arc<dyn Clock>,
    /// One seed is for 2^n places.
    pub level: u8,
    /// The first place without.
    pub salted: Lsn,
}

impl std::fmt::Debug for Salter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Salter(salted={})", self.salted)
    }
}

impl Salter {
    /// What must be recorded before `drafts` records from `next` on, and the first place without a
    /// salt after it.
    fn due(&self, next: Lsn, drafts: usize) -> Result<(Vec<Draft>, Lsn)> {
        let (mut due, mut salted) = (Vec::new(), self.salted);
        // They take places themselves.
        while salted.0 <= next.0.saturating_add((drafts + due.len()) as u64) {
            let first = salted.max(Lsn(next.0 >> self.level << self.level));
            let mut seed = [0; SEED_BYTES];
            self.clock.random(&mut seed)?;
            let salts = Salts::rooted(first, self.level, seed);
            salted = salts.end();
            due.push(own_draft(Payload::Salts(salts)));
        }
        Ok((due, salted))
    }
}

/// A draft of the server's own.
pub(crate) fn own_draft(payload: Payload) -> Draft {
    let (actor, checked_at) = (system_actor(), Lsn(u64::MAX));
    let (room, said) = (RoomId::NONE, Said::Now);
    Draft { actor, checked_at, room, said, idempotency: None, expect: None, payload }
}

/// The first stage: from drafts to a frame.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub state: SeqState,
    pub end: JournalEnd,
    pub wait: Wait,
    /// What the last frame promised, and what is behind it.
    pub promised: Lsn,
    /// Where salts come from.
    pub salter: Salter,
}

impl Encoder {
    /// Makes one group of what waits. Refusals are answered at once.
    ///
    /// # Errors
    /// `NoSpace` or `Unavailable` if there is no journal file to write to: nothing was sequenced
    /// and every append was answered.
    pub(crate) fn group(&mut self, incoming: Vec<Incoming>, applied: Lsn) -> Result<Group> {
        self.state.forget_applied(applied);
        let mut rooms: Vec<RoomId> =
            incoming.iter().flat_map(|i| &i.drafts).map(|d| d.room).collect();
        rooms.retain(|room| !room.is_none() && !room.is_system());
        let made = incoming.iter().flat_map(|i| &i.drafts).filter_map(|d| match &d.payload {
            Payload::RoomCreated(made) => Some(made.settings.name.as_str()),
            _ => None,
        });
        let names: Vec<&str> = made.collect();
        self.state.read_ahead(rooms, &names);
        let first = self.state.next_lsn();
        let bytes = incoming.iter().map(|i| i.bytes).sum::<usize>();
        let drafts = incoming.iter().map(|i| i.drafts.len()).sum::<usize>();
        let (salts, salted) = match self.salter.due(first, drafts) {
            Ok(due) => due,
            Err(error) => {
                refuse(incoming, &error);
                return Err(error);
            }
        };
        let bytes = bytes + salts.iter().map(estimate).sum::<usize>();
        let drafts = drafts + salts.len();
        // ORDERING: room in the journal is found before anything gets a position, so that a full
        // disk refuses drafts and loses none.
        let room = frame_bytes(drafts, bytes);
        let placement = match self.end.place(room, first, self.state.epoch(), self.wait) {
            Ok(placement) => placement,
            Err(error) => {
                // Nothing was sequenced, so nothing failed but this attempt.
                let answer = match &error {
                    Error::Io { .. } => Error::Unavailable { why: "no journal file can be had" },
                    other => other.clone(),
                };
                refuse(incoming, &answer);
                return Err(error);
            }
        };
        let mut records = Vec::with_capacity(drafts);
        let now = incoming.first().map_or(self.state.last_recorded(), |append| append.now);
        if !salts.is_empty() {
            match sequence(salts, None, now, &mut self.state) {
                Ok(Sequenced::New(new)) => (records, self.salter.salted) = (new, salted),
                Ok(Sequenced::Replay(_)) => {}
                Err(error) => {
                    self.end.unplaced(placement);
                    refuse(incoming, &error);
                    return Err(error);
                }
            }
        }
        let mut answers = Vec::with_capacity(incoming.len());
        let keys: Vec<KeyName> = incoming.iter().filter_map(|i| i.name).collect();
        let mut may_rest = self.state.may_rest(&keys).into_iter();
        for append in incoming {
            // There are as many as names.
            let may_rest = append.name.and_then(|_| may_rest.next()).unwrap_or(true);
            let key = append.name.map(|name| Keyed { name, may_rest });
            match sequence(append.drafts, key, append.now, &mut self.state) {
                Ok(Sequenced::New(new)) => {
                    let control = |placed: &Placed| placed.record.payload.kind().is_control();
                    answers.push(Answer {
                        promise: append.promise,
                        appended: new.iter().map(|placed| appended(&placed.record)).collect(),
                        control: new.iter().any(control),
                    });
                    records.extend(new);
                }
                Ok(Sequenced::Replay(first)) => {
                    let control = false;
                    let appended = vec![first];
                    answers.push(Answer { promise: append.promise, appended, control });
                }
                Err(error) => append.promise.fill(Err(error)),
            }
        }
        Ok(self.frame(placement, first, records, answers))
    }

    fn frame(
        &mut self,
        placement: Placement,
        first: Lsn,
        records: Vec<Placed>,
        answers: Vec<Answer>,
    ) -> Group {
        let last = Lsn(self.state.next_lsn().0 - 1);
        if records.is_empty() {
            self.end.unplaced(placement);
            return Group { frame: None, records: Vec::new(), answers, last };
        }
        let mut bytes = Vec::with_capacity(records.len() * 192);
        let mut entries = Vec::with_capacity(records.len());
        let mut spans = Vec::with_capacity(records.len());
        for Placed { record, .. } in &records {
            let start = bytes.len();
            let words = record.put(&mut bytes);
            spans.push((start..bytes.len(), u32::try_from(words).unwrap_or(0)));
            entries.push(DirEntry {
                bytes: u32::try_from(bytes.len() - start).unwrap_or(u32::MAX),
                kind: record.payload.kind(),
                room: record.room,
                seq: record.seq,
                rev: record.rev,
            });
        }
        // Tails keep these bytes until a seal.
        bytes.shrink_to_fit();
        let frame = self.encode(&placement, first, 0, &entries, &bytes);
        let shared = Bytes::from(bytes);
        let records = records
            .into_iter()
            .zip(spans)
            .map(|(Placed { record, seq_at, name }, (span, words))| {
                let bytes = shared.slice(span);
                Committed { record, bytes, seq_at, words, name }
            })
            .collect();
        Group { frame: Some((placement, frame)), records, answers, last }
    }

    fn encode(
        &mut self,
        placement: &Placement,
        first: Lsn,
        flags: u32,
        entries: &[DirEntry],
        records: &[u8],
    ) -> Vec<u8> {
        // The writer writes this frame only after everything before it is durable, so this promise
        // is true when it reaches the disk.
        let before = Lsn(first.0 - 1);
        let (frame, crc) = encode_frame(&FrameParts {
            prev_crc: placement.prev_crc,
            incarnation: placement.incarnation,
            offset: placement.offset,
            flags,
            epoch: self.state.epoch(),
            first_lsn: first,
            synced: before,
            committed: before,
            recorded: self.state.last_recorded(),
            entries,
            records,
        });
        self.end.placed(frame.len(), crc);
        self.promised = before;
        frame
    }

    /// True if the last records stand under no promise yet.
    pub(crate) const fn owes_promise(&self) -> bool {
        self.promised.0 + 1 < self.state.next_lsn().0
    }

    /// A frame without records: a promise for what is before it, or the closing frame.
    ///
    /// # Errors
    /// `NoSpace` or `Unavailable` if there is no journal file to write to.
    pub(crate) fn empty_frame(&mut self, closing: Closing) -> Result<Group> {
        let next = self.state.next_lsn();
        let room = frame_bytes(0, 0);
        let placement = self.end.place(room, next, self.state.epoch(), Wait::No)?;
        let flags = match closing {
            Closing::Yes => FLAG_PROMISE | FLAG_CLOSING,
            Closing::No => FLAG_PROMISE,
        };
        let frame = self.encode(&placement, next, flags, &[], &[]);
        let last = Lsn(next.0 - 1);
        Ok(Group {
            frame: Some((placement, frame)),
            records: Vec::new(),
            answers: Vec::new(),
            last,
        })
    }
}

/// Answers everything that waits with one refusal.
fn refuse(incoming: Vec<Incoming>, error: &Error) {
    incoming.into_iter().for_each(|append| append.promise.fill(Err(error.clone())));
}

/// Whether an empty frame closes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    Yes,
    No,
}

/// Writes a group and makes it durable.
///
/// # Errors
/// `NoSpace` or `Io`: poison.
pub(crate) fn write_group(group: &Group) -> Result<()> {
    let Some((placement, frame)) = &group.frame else { return Ok(()) };
    placement.write(frame)?;
    placement.file.sync()
}

/// Answers everything in a group with a failure whose outcome is unknown.
pub(crate) fn fail_group(group: &Group, error: &Error) {
    for answer in &group.answers {
        answer.promise.fill(Err(error.clone()));
    }
}

/// Shared by the stages: what is visible and what failed.
#[derive(Debug)]
pub(crate) struct Progress {
    pub committed: Rising,
    pub poison: Poison,
}

impl Progress {
    pub(crate) fn at(lsn: Lsn) -> Arc<Self> {
        Arc::new(Self { committed: Rising::at(lsn), poison: Poison::default() })
    }
}
