//! Erasure: the words of an entry leave every file of the directory.
//!
//! What is erased is recorded in the room, without a word of it; what follows from the record is
//! `apply`'s. Then the bytes go: packs that hold them are written anew, the salts that tie proofs
//! to the words are forgotten, compliance's tables are compacted, the journal turns to another file
//! and those it left are filled with zeros, and what damage left in quarantine is removed. A note
//! on disk says what is owed until all of that is done, so that a start goes on with it.
//!
//! INVARIANT: the note is durable before the record is, and goes only when nothing is owed.
//!
//! ORDERING: everything sealed, packs, salts, free journal files, journal turned, everything sealed
//! and trimmed, packs with salts, catalog, free journal files again, quarantine, note. Packs before
//! salts: what a tree needs of a record that leaves them is computed with its salts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::apply::decode_row;
use crate::catalog::rows::AmendRow;
use crate::catalog::{Family, Go, keys, walk_prefix};
use crate::commit::{Closing, own_draft};
use crate::draft::Draft;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::payload::{Erased, ErasedRecord, Payload};
use crate::format::record::Record;
use crate::format::run::Run;
use crate::format::wire::{from_bytes, to_bytes, wire_struct};
use crate::limits;
use crate::open::QUARANTINE;
use crate::proof::book::{rows_covering, salt_row};
use crate::proof::salts::{Chunk, Salts};
use crate::storage::join;
use crate::sync::Mutex;
use crate::sync::atomic::Ordering;
use crate::types::{Epoch, Lsn, Rev, RoomId, Seq};

/// The note of what is owed, in the data directory.
pub const NOTE: &str = "ERASING";
/// Bytes of that note at most.
const NOTE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// The one folder in quarantine.
const CATALOG: &str = "catalog";
/// Events that stand nearer to each other than this are compacted together.
const EVENTS_APART: u64 = 64 * 1024;
/// Chunks of places whose salts are forgotten by one append: the seeds that are left fit into it,
/// and so do they into a frame of the smallest journal file.
const FORGET_MAX: usize = 4;
/// How long the journal may take to turn to another file.
const TURN_ROUNDS: u32 = 3000;
const TURN_PAUSE: Duration = Duration::from_millis(10);

wire_struct! {
    /// An entry whose bytes are to leave the disk.
    pub struct Owed {
        /// Its room.
        pub room: RoomId,
        /// Its place in the room.
        pub seq: Seq,
        /// The places in the log of its record and of those of its versions.
        pub lsns: Vec<Lsn>,
    }
}

/// What only erasures know.
#[derive(Debug, Default)]
pub(crate) struct Eraser {
    /// Who reads and writes the note, and what was noted since the start, once for each time: its
    /// record may be under way.
    note: Mutex<Vec<(RoomId, Seq)>>,
}

impl Owed {
    const fn place(&self) -> (RoomId, Seq) {
        (self.room, self.seq)
    }
}

/// What an erasure did to the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EraseReport {
    /// Entries that were owed.
    pub entries: u64,
    /// Records that were dropped from packs.
    pub records: u64,
    /// Packs that were written anew.
    pub packs: u64,
    /// Journal files that were filled with zeros.
    pub journal_files: u64,
    /// Files that were removed from quarantine.
    pub quarantined: u64,
}

impl Engine {
    /// What has to be recorded to erase an entry with every version of it, and the record that last
    /// changed the entry, which the draft expects: of one that retention took, the newest expiry of
    /// its room. None if there is no such entry; one that retention took is there for as long as
    /// the disk has it. From now on its bytes are owed: append it, and call [`Self::erase_owed`],
    /// or where it is refused [`Self::withdraw_erasure`].
    ///
    /// # Errors
    /// `Corrupt` if a version is damaged, whose place a repair or an accepted loss must settle
    /// first; `NoSpace` or `Io`.
    pub fn erasure(&self, room: RoomId, seq: Seq, reason: &str) -> Result<Option<(Erased, Lsn)>> {
        self.0.erasure(room, seq, reason)
    }

    /// The epoch in which an entry was said, also of one that retention took and the disk still
    /// has; none if there is no such entry, or if none of its records can be read.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn epoch_of(&self, room: RoomId, seq: Seq) -> Result<Option<Epoch>> {
        let versions = self.0.history.versions_on_disk(room, seq)?;
        Ok(versions.and_then(|versions| {
            versions.records.iter().chain(&versions.redaction).next().map(|record| record.epoch)
        }))
    }

    /// The record of an erasure was refused: nothing of it is owed.
    ///
    /// # Errors
    /// `NoSpace` or `Io`: the note keeps it until the next start, and nothing follows from that.
    pub fn withdraw_erasure(&self, room: RoomId, seq: Seq) -> Result<()> {
        self.0.withdraw_erasure(room, seq)
    }

    /// Takes the bytes of all that is erased out of every file, as far as that is not done.
    ///
    /// # Errors
    /// `NoSpace`, `Io`, `Unavailable` or `Poisoned`; `Corrupt` if a pack cannot be read. What is
    /// owed stays owed, and is tried again.
    pub fn erase_owed(&self) -> Result<EraseReport> {
        self.0.erase_owed()
    }
}

fn erased_record(record: &Record) -> ErasedRecord {
    let key = record.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
    let key = String::from_utf8(key.unwrap_or_default()).unwrap_or_default();
    let (lsn, recorded, actor) = (record.lsn, record.recorded, record.actor.id);
    ErasedRecord { lsn, recorded, actor, key }
}

impl Inner {
    fn erasure(&self, room: RoomId, seq: Seq, reason: &str) -> Result<Option<(Erased, Lsn)>> {
        // ORDERING: before its versions: an entry that expires between the two is looked at anew.
        let past = self.history.past(room)?;
        let Some(versions) = self.history.versions_on_disk(room, seq)? else { return Ok(None) };
        let records = versions.records.iter().chain(&versions.redaction);
        let (Some(first), 0) = (records.clone().next(), versions.damaged) else {
            let path = self.disk.full(crate::pack::DIR);
            return Err(Error::corrupt("a version of the entry is damaged", &path, 0, seq.0, 0));
        };
        let erased = Erased {
            seq,
            time: first.time,
            author: first.actor.id,
            reason: reason.to_owned(),
            records: records.map(erased_record).collect(),
        };
        let changed = match self.amend_row(room, seq)? {
            _ if seq <= past.floor => past.at,
            Some(row) => row.changed,
            None => first.lsn,
        };
        let lsns: Vec<Lsn> = erased.records.iter().map(|record| record.lsn).collect();
        self.owe(Owed { room, seq, lsns })?;
        Ok(Some((erased, changed)))
    }

    /// Adds to the note.
    fn owe(&self, one: Owed) -> Result<()> {
        let mut noted = self.eraser.note.lock();
        let mut owed = self.owed()?;
        noted.push(one.place());
        if !owed.contains(&one) {
            owed.push(one);
        }
        // ORDERING: a note that has it already is written all the same: it may stand there since a
        // write of which the disk kept nothing yet.
        self.write_note(&owed)
    }

    fn withdraw_erasure(&self, room: RoomId, seq: Seq) -> Result<()> {
        let mut noted = self.eraser.note.lock();
        let place = (room, seq);
        if let Some(at) = noted.iter().position(|noted| *noted == place) {
            noted.swap_remove(at);
        }
        // Somebody else may be erasing it, or have done so.
        if noted.contains(&place) {
            return Ok(());
        }
        let mut owed = self.owed()?;
        let before = owed.len();
        let is_off = |one: &Owed| one.place() == place && !self.is_erased(one).unwrap_or(true);
        owed.retain(|one| !is_off(one));
        if owed.len() == before { Ok(()) } else { self.write_note(&owed) }
    }

    /// Writes the note, or removes it where nothing is owed.
    fn write_note(&self, owed: &Vec<Owed>) -> Result<()> {
        if owed.is_empty() {
            return self.disk.remove_if_there(NOTE);
        }
        let body = to_bytes(owed);
        let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
        bytes.extend(body);
        self.disk.write_whole("", NOTE, &bytes)
    }

    /// What the note says. Of one that is damaged, every entry that is erased.
    fn owed(&self) -> Result<Vec<Owed>> {
        if !self.disk.exists(NOTE)? {
            return Ok(Vec::new());
        }
        let bytes = self.disk.read_all(NOTE, NOTE_BYTES_MAX)?;
        let sound = bytes
            .split_first_chunk()
            .filter(|(crc, body)| crc32fast::hash(body) == u32::from_le_bytes(**crc));
        if let Some(owed) = sound.and_then(|(_, body)| from_bytes(body, "note").ok()) {
            return Ok(owed);
        }
        tracing::error!(
            file = NOTE,
            "note of what is erased is damaged: all that was ever is looked for"
        );
        let mut owed = Vec::new();
        walk_prefix(&*self.store, Family::State, keys::AMENDS, &mut |key, value| {
            let row: AmendRow = decode_row(value, "amend row")?;
            let (room, seq) = (RoomId(keys::number_at(key, 1)), Seq(keys::number_at(key, 9)));
            let lsns = Vec::new();
            owed.extend(row.is_erased().then_some(Owed { room, seq, lsns }));
            Ok(Go::On)
        })?;
        Ok(owed)
    }

    pub(crate) fn erase_owed(&self) -> Result<EraseReport> {
        if !self.restricted.is_empty() {
            return Ok(EraseReport::default());
        }
        if !self.disk.exists(NOTE)? {
            return Ok(EraseReport::default());
        }
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        let owed = {
            let noted = self.eraser.note.lock();
            let (mut owed, mut left) = (Vec::new(), Vec::new());
            for one in self.owed()? {
                match self.is_erased(&one)? {
                    true => owed.push(one),
                    // Its record is under way. Of an earlier start's it was refused.
                    false if noted.contains(&one.place()) => left.push(one),
                    false => {}
                }
            }
            if owed.is_empty() {
                self.write_note(&left)?;
                return Ok(EraseReport::default());
            }
            owed
        };
        // Sealed first: then it is known to be in packs, and there is a journal file to turn to.
        self.seal_all()?;
        let rewritten = self.rewrite_packs(&self.packs_with(&owed)?)?;
        self.forget_salts(&owed)?;
        // ORDERING: before the turn too, or the file it turns to would keep what it held before.
        let mut journal_files = self.pool.zero_free()?;
        self.turn_journal()?;
        self.seal_all()?;
        self.rewrite_packs(&self.packs_with_old_salts()?)?;
        self.erase_events(&owed)?;
        let (from, to) = (keys::SALTS, keys::after_prefix(keys::SALTS));
        self.store.erase_removed(Family::State, from, &to)?;
        journal_files += self.pool.zero_free()?;
        let quarantined = self.empty_quarantine("")?;
        let report = EraseReport {
            entries: owed.len() as u64,
            records: rewritten.dropped,
            packs: rewritten.packs_in,
            journal_files: journal_files as u64,
            quarantined,
        };
        let mut noted = self.eraser.note.lock();
        noted.retain(|place| owed.iter().all(|one| one.place() != *place));
        let mut left = self.owed()?;
        left.retain(|one| !owed.contains(one) && noted.contains(&one.place()));
        self.write_note(&left)?;
        tracing::info!(?report, "erased words have left the disk");
        Ok(report)
    }

    fn is_erased(&self, one: &Owed) -> Result<bool> {
        Ok(self.amend_row(one.room, one.seq)?.is_some_and(|row| row.is_erased()))
    }

    fn amend_row(&self, room: RoomId, seq: Seq) -> Result<Option<AmendRow>> {
        let row = self.store.get(Family::State, &keys::amended(room, seq))?;
        row.map(|row| decode_row(&row, "amend row")).transpose()
    }

    /// The bytes of events that were removed leave the catalog's tables.
    fn erase_events(&self, owed: &[Owed]) -> Result<()> {
        let erase = |first: Lsn, behind: Lsn| {
            let (from, to) = (keys::event(first), keys::event(behind));
            self.store.erase_removed(Family::Compliance, &from, &to)
        };
        if owed.iter().any(|one| one.lsns.is_empty()) {
            return erase(Lsn::ZERO, Lsn(u64::MAX));
        }
        let lsns: BTreeSet<Lsn> = owed.iter().flat_map(|one| one.lsns.iter().copied()).collect();
        // What stands in the same tables is compacted at once.
        let lsns: Vec<Lsn> = lsns.into_iter().collect();
        lsns.chunk_by(|a, b| b.0 - a.0 < EVENTS_APART).try_for_each(|near| {
            let (first, last) = (near.first(), near.last());
            first.zip(last).map_or(Ok(()), |(first, last)| erase(*first, last.next()))
        })
    }

    /// The places of the log that an owed entry took.
    fn places_of(&self, one: &Owed) -> Result<Vec<Lsn>> {
        if !one.lsns.is_empty() {
            return Ok(one.lsns.clone());
        }
        // The note was damaged: the record of the erasure says it.
        let row = self.amend_row(one.room, one.seq)?;
        let before = Rev(row.map_or(0, |row| row.erased.0.saturating_sub(1)));
        let _view = self.history.views.newest();
        let records = self.history.recorded(one.room, before, 1)?.records;
        Ok(records.into_iter().next().map_or(Vec::new(), |record| match record.payload {
            Payload::Erased(erased) => erased.records.iter().map(|gone| gone.lsn).collect(),
            _ => Vec::new(),
        }))
    }

    /// Records what is left of the seeds of salts once those of erased records are forgotten.
    fn forget_salts(&self, owed: &[Owed]) -> Result<()> {
        let mut places = BTreeSet::new();
        for one in owed {
            places.extend(self.places_of(one)?);
        }
        let places: Vec<Lsn> = places.into_iter().collect();
        let chunks: Vec<&[Lsn]> =
            places.chunk_by(|a, b| Chunk::first_of(*a) == Chunk::first_of(*b)).collect();
        for some in chunks.chunks(FORGET_MAX) {
            let mut spans: BTreeMap<(Lsn, u8), (Salts, Vec<Lsn>)> = BTreeMap::new();
            for place in some.iter().copied().flatten() {
                for row in rows_covering(&*self.store, *place)? {
                    let span = (row.salts.first, row.salts.level);
                    spans.entry(span).or_insert((row.salts, Vec::new())).1.push(*place);
                }
            }
            let left = spans.into_values().flat_map(|(salts, places)| salts.without(&places));
            let drafts: Vec<Draft> = left.map(|salts| own_draft(Payload::Salts(salts))).collect();
            if !drafts.is_empty() {
                self.append_and_wait(drafts)?;
            }
        }
        Ok(())
    }

    /// Packs with records of salts of which later ones say what is left.
    fn packs_with_old_salts(&self) -> Result<BTreeSet<u64>> {
        let room = RoomId::SYSTEM_SALTS;
        let (mut after, mut old) = (Rev::ZERO, BTreeSet::new());
        loop {
            let _view = self.history.views.newest();
            let records = self.history.recorded(room, after, limits::PAGE_MESSAGES_MAX)?.records;
            let Some(last) = records.last() else { break };
            after = last.rev;
            for record in &records {
                let Payload::Salts(salts) = &record.payload else { continue };
                let row = salt_row(&*self.store, salts)?;
                old.extend(row.filter(|row| row.lsn > record.lsn).map(|_| record.lsn));
            }
        }
        let mut packs = BTreeSet::new();
        walk_prefix(&*self.store, Family::Index, &keys::runs(room), &mut |_, value| {
            let run: Run = decode_row(value, "run row")?;
            let holds = old.range(run.first_lsn..=run.last_lsn).next().is_some();
            packs.extend((holds && !run.is_dropped()).then_some(run.pack));
            Ok(Go::On)
        })?;
        Ok(packs)
    }

    /// Packs that may hold an entry or a version of it.
    fn packs_with(&self, owed: &[Owed]) -> Result<BTreeSet<u64>> {
        let mut rooms: BTreeMap<RoomId, Vec<Seq>> = BTreeMap::new();
        owed.iter().for_each(|one| rooms.entry(one.room).or_default().push(one.seq));
        let mut packs = BTreeSet::new();
        for (room, seqs) in rooms {
            walk_prefix(&*self.store, Family::Index, &keys::runs(room), &mut |_, value| {
                let run: Run = decode_row(value, "run row")?;
                let holds = |seq: &Seq| {
                    let entry = run.has_entries() && run.seq_base < *seq && *seq <= run.last_seq;
                    entry || (run.amended_from..=run.amended_to).contains(seq)
                };
                if !run.is_dropped() && seqs.iter().any(holds) {
                    packs.insert(run.pack);
                }
                Ok(Go::On)
            })?;
        }
        Ok(packs)
    }

    /// Everything recorded so far stands in journal files that are written no more.
    fn turn_journal(&self) -> Result<()> {
        let before = {
            let mut encoder = self.encoder.lock();
            let Some(encoder) = encoder.as_mut() else {
                return Err(Error::Unavailable { why: "the engine closes" });
            };
            let before = encoder.end.incarnation();
            encoder.end.turn();
            let group = encoder.empty_frame(Closing::No)?;
            self.pass_to_writer(group);
            before
        };
        if !self.threaded {
            self.write_waiting();
        }
        for _ in 0..TURN_ROUNDS {
            if let Some(poisoned) = self.progress.poison.get() {
                return Err(poisoned);
            }
            if self.durable_incarnation.load(Ordering::Acquire) > before {
                return Ok(());
            }
            std::thread::sleep(TURN_PAUSE);
        }
        Err(Error::Unavailable { why: "the journal did not turn to another file" })
    }

    /// Removes what damage left for people to look at: it may hold what is erased.
    fn empty_quarantine(&self, below: &str) -> Result<u64> {
        let folder = if below.is_empty() { QUARANTINE.to_owned() } else { join(QUARANTINE, below) };
        let mut removed = 0;
        for name in self.disk.list(&folder)? {
            let path = join(&folder, &name);
            if below.is_empty() && name == CATALOG {
                removed += self.empty_quarantine(&name)?;
                continue;
            }
            tracing::warn!(path, "file is removed from quarantine: it may hold what is erased");
            self.disk.remove_if_there(&path)?;
            removed += 1;
        }
        Ok(removed)
    }
}
