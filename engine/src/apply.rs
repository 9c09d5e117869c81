//! The catalog end of apply: one record's rows, in log order.
//!
//! Total and deterministic: it reads the record and earlier rows, nothing else. It never refuses;
//! an error is the disk's. Applying a record twice leaves the rows that applying it once does.
//!
//! INVARIANT: a batch carries the `AppliedRow` of its last record, so rows and position agree.
//! Idempotency keys have a position of their own, for they are gathered (`remembered`).

mod batch;
mod older;
mod remembered;
mod rooms;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::Path;
use std::sync::Arc;

use crate::catalog::keys::KeyName;
use crate::catalog::rows::{
    AmendRow, AppliedRow, CategoryRow, HeadRow, HoldRow, MemberRow, PastRow, PrincipalRow, RoomRow,
    SaltRow, TipRow, TokenRow, head_of,
};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::error::{Error, Result};
use crate::format::payload::{
    CategorySettings, Erased, Expired, LsnSpan, Payload, Roles, RoomSettings,
};
use crate::format::record::Record;
use crate::format::run::Run;
use crate::format::wire::{Wire, from_bytes, to_bytes};
use crate::limits;
use crate::proof::Tree;
use crate::proof::book::Book;
use crate::proof::leaf::record_leaf;
use crate::proof::salts::Salts;
use crate::remembered::{Gathered, Remembered, kept_on_disk};
use crate::sequence::principal_name_key;
use crate::types::{CategoryId, HoldId, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs};
use remembered::Spans;
use rooms::Rooms;

pub(crate) use older::{take_over, take_over_trees};
pub(crate) use remembered::first_key;

/// Rows of one batch of a replay.
const BATCH_ROWS: usize = 16 * 1024;
/// A key that begins with a room and an entry.
type RowOf = fn(RoomId, Seq) -> Vec<u8>;
/// The setting that turns compliance on.
pub const SETTING_COMPLIANCE: &str = "compliance";

/// Applies records to the catalog.
pub struct Applier {
    store: Arc<dyn CatalogStore>,
    changes: BTreeMap<(Family, Vec<u8>), Option<Vec<u8>>>,
    applied: AppliedRow,
    compliance: bool,
    book: Book,
    rooms: Rooms,
    /// While the log is read again out of packs: runs whose records were dropped.
    dropped: BTreeMap<(RoomId, Rev), Run>,
    /// Rooms of which a record was applied since they were last asked for; none if they were too
    /// many.
    grown: Option<HashSet<RoomId>>,
    /// Rooms of whose entries something became.
    pasts: BTreeSet<RoomId>,
    /// Rooms that were changed or deleted.
    places: BTreeSet<RoomId>,
    /// Rows written that the directory may keep; none if they were too many.
    written: Option<Vec<Vec<u8>>>,
    /// Some entry is noted as lost, or was.
    any_lost: bool,
    spans: Spans,
    /// Keys that stand in no run yet.
    gathered: Gathered,
    /// The keys of every record up to here stand in a run or are gathered; none once that is so of
    /// all that is applied. After a start those of records applied before come again.
    gathered_to: Option<Lsn>,
    /// Those that do.
    remembered: Arc<Remembered>,
}

impl std::fmt::Debug for Applier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Applier(applied={} pending={})", self.applied.lsn, self.changes.len())
    }
}

/// Decodes a row of the catalog.
pub(crate) fn decode_row<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T> {
    from_bytes(bytes, what)
        .map_err(|e| Error::corrupt(e.what, Path::new("catalog"), e.at as u64, 0, 0))
}

/// Decodes the head of a room's tip.
pub(crate) fn decode_head(tip: &[u8]) -> Result<HeadRow> {
    head_of(tip).map_err(|e| Error::corrupt(e.what, Path::new("catalog"), e.at as u64, 0, 0))
}

/// How far a catalog is applied.
///
/// # Errors
/// `Io` or `Corrupt`.
pub fn applied_row(store: &dyn CatalogStore) -> Result<AppliedRow> {
    match store.get(Family::State, keys::APPLIED)? {
        Some(bytes) => decode_row(&bytes, "applied row"),
        None => Ok(AppliedRow { lsn: Lsn::ZERO, recorded: TimeUs::MIN, sealed: Lsn::ZERO }),
    }
}

impl Applier {
    /// Goes on where the catalog stands.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn new(store: Arc<dyn CatalogStore>) -> Result<Self> {
        let applied = applied_row(&*store)?;
        let setting = store.get(Family::State, &keys::setting(SETTING_COMPLIANCE))?;
        let compliance = setting.as_deref() == Some(b"on");
        let (mut changes, dropped) = (BTreeMap::new(), BTreeMap::new());
        let remembered = Arc::new(Remembered::read(Arc::clone(&store))?);
        if kept_on_disk(&*store)?.is_none() {
            // From the first batch on it says which keys a crash may take.
            let kept = to_bytes(&remembered.kept());
            changes.insert((Family::State, keys::KEYS_KEPT.to_vec()), Some(kept));
        }
        let book = Book::default();
        let grown = Some(HashSet::new());
        let (pasts, places) = (BTreeSet::new(), BTreeSet::new());
        let rooms = Rooms::default();
        let mut any_lost = false;
        walk_prefix(&*store, Family::State, keys::LOST, &mut |_, _| {
            any_lost = true;
            Ok(Go::Stop)
        })?;
        let spans = Spans::read(&*store)?;
        let gathered_to = (remembered.kept() < applied.lsn).then(|| remembered.kept());
        Ok(Self {
            store,
            changes,
            applied,
            compliance,
            book,
            rooms,
            dropped,
            grown,
            pasts,
            places,
            written: Some(Vec::new()),
            any_lost,
            spans,
            gathered: Gathered::default(),
            gathered_to,
            remembered,
        })
    }

    /// The rows it writes to.
    #[must_use]
    pub fn store(&self) -> &dyn CatalogStore {
        &*self.store
    }

    /// The idempotency keys at rest.
    #[must_use]
    pub fn remembered(&self) -> Arc<Remembered> {
        Arc::clone(&self.remembered)
    }

    /// The last record applied, committed or not.
    #[must_use]
    pub const fn applied(&self) -> Lsn {
        self.applied.lsn
    }

    fn put(&mut self, family: Family, key: Vec<u8>, value: Vec<u8>) {
        self.changes.insert((family, key), Some(value));
    }

    fn set(&mut self, key: Vec<u8>, row: &impl Wire) {
        self.put(Family::State, key, to_bytes(row));
    }

    fn remove(&mut self, key: Vec<u8>) {
        self.changes.insert((Family::State, key), None);
    }

    fn get<T: Wire>(&self, key: &[u8], what: &'static str) -> Result<Option<T>> {
        let bytes = match self.changes.get(&(Family::State, key.to_vec())) {
            Some(change) => change.clone(),
            None => self.store.get(Family::State, key)?,
        };
        bytes.map(|bytes| decode_row(&bytes, what)).transpose()
    }

    /// At most `most` rows with `from <= key < to` as they are with what is pending.
    ///
    /// Nothing is written for it: a record's rows and its position go into one batch, or a crash
    /// between two would leave a record that is applied in part and never finished.
    fn rows_between(
        &self,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        self.rows_in(Family::State, from, to, most)
    }

    fn rows_in(
        &self,
        family: Family,
        from: &[u8],
        to: &[u8],
        most: usize,
    ) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let mut rows = BTreeMap::new();
        self.store.range(family, from, to, crate::catalog::Walk::Up, &mut |key, value| {
            if !self.changes.contains_key(&(family, key.to_vec())) {
                rows.insert(key.to_vec(), value.to_vec());
            }
            Ok(if rows.len() < most { Go::On } else { Go::Stop })
        })?;
        let pending = self.changes.range((family, from.to_vec())..(family, to.to_vec()));
        for ((_, key), value) in pending {
            if let Some(value) = value {
                rows.insert(key.clone(), value.clone());
            }
        }
        while rows.len() > most {
            rows.pop_last();
        }
        Ok(rows)
    }

    /// How far a room has come.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn head(&self, room: RoomId) -> Result<HeadRow> {
        if let Some(tip) = self.rooms.peek(room) {
            return Ok(tip.head.clone());
        }
        let row = self.store.get(Family::State, &keys::tip(room))?;
        row.map_or(Ok(HeadRow::EMPTY), |row| decode_head(&row))
    }

    /// A room's head and tree, which are written with the next batch.
    fn tip(&mut self, room: RoomId) -> Result<&mut TipRow> {
        self.rooms.change(room, &*self.store)
    }

    /// The newest `recorded` time applied.
    #[must_use]
    pub const fn recorded(&self) -> TimeUs {
        self.applied.recorded
    }

    /// Notes that a room came at least so far, where the records that say so are damaged.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn raise_head(&mut self, room: RoomId, least: &HeadRow) -> Result<()> {
        let TipRow { head, tree } = self.tip(room)?;
        head.rev = head.rev.max(least.rev);
        head.seq = head.seq.max(least.seq);
        head.time = head.time.max(least.time);
        let (rev, mut tree) = (head.rev.0, std::mem::take(tree));
        self.fill(room, &mut tree, rev);
        self.tip(room)?.tree = tree;
        Ok(())
    }

    /// Before the log is read again out of packs: what of it comes out of order. Runs whose records
    /// were dropped tell what trees need of them, and seeds of salts may stand behind the records
    /// that need them.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn prepare(&mut self, dropped: &[Run], salts: &[(Lsn, Salts)]) -> Result<()> {
        for run in dropped.iter().filter(|run| run.first_rev <= run.last_rev) {
            self.dropped.insert((run.room, run.first_rev), run.clone());
        }
        salts.iter().try_for_each(|(lsn, salts)| self.take_salts(*lsn, salts))
    }

    /// Rooms of whose entries something became since the last call.
    pub(crate) fn take_pasts(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.pasts)
    }

    /// Rooms that were changed or deleted since the last call.
    pub(crate) fn take_places(&mut self) -> BTreeSet<RoomId> {
        std::mem::take(&mut self.places)
    }

    /// Keys of rows written since the last call that the directory may keep; none if they were too
    /// many to remember.
    pub(crate) fn take_written(&mut self) -> Option<Vec<Vec<u8>>> {
        self.written.replace(Vec::new())
    }

    /// Rooms of which a record was applied since the last call; none if they were too many to
    /// remember.
    pub(crate) fn take_grown(&mut self) -> Option<HashSet<RoomId>> {
        self.grown.replace(HashSet::new())
    }

    /// Brings a tree to `size` where the records are not there: with what is known of those that
    /// were dropped, and with unknown leaves for the rest.
    fn fill(&mut self, room: RoomId, tree: &mut Tree, size: u64) {
        while tree.size() < size {
            let next = Rev(tree.size().saturating_add(1));
            let last = self.dropped.range((room, Rev::ZERO)..=(room, next)).next_back();
            let here = last.map(|(_, run)| run).filter(|run| next <= run.last_rev);
            if let Some(run) = here {
                let end = run.last_rev.0.min(size);
                if run.first_rev == next && run.last_rev.0 <= size {
                    let (kept, _) = tree.push_nodes(end, &run.nodes);
                    for (index, node) in kept {
                        self.put(Family::State, keys::tree_node(room, index), node.to_vec());
                    }
                }
                // Where a part of it is in the tree already, its nodes do not fit.
                tree.push_unknown(end);
            } else {
                let range = (room, next)..=(room, Rev(u64::MAX));
                let further = self.dropped.range(range).next().map_or(u64::MAX, |((_, r), _)| r.0);
                tree.push_unknown(size.min(further.saturating_sub(1)));
            }
        }
    }

    /// Adds a record to its room's tree.
    fn grow_tree(&mut self, record: &Record) -> Result<()> {
        if record.rev.0 <= self.tip(record.room)?.tree.size() {
            return Ok(());
        }
        let mut book = std::mem::take(&mut self.book);
        let salts = book.get(record.lsn, &|from, to| self.rows_between(from, to, usize::MAX))?;
        self.book = book;
        let mut tree = std::mem::take(&mut self.tip(record.room)?.tree);
        self.fill(record.room, &mut tree, record.rev.0 - 1);
        if let Some((index, node)) = tree.push(record_leaf(record, salts.as_ref())) {
            self.put(Family::State, keys::tree_node(record.room, index), node.to_vec());
        }
        self.tip(record.room)?.tree = tree;
        if let Some(grown) = &mut self.grown {
            grown.insert(record.room);
        }
        self.grown.take_if(|grown| grown.len() > limits::GROWN_ROOMS_MAX);
        Ok(())
    }

    fn take_salts(&mut self, lsn: Lsn, salts: &Salts) -> Result<()> {
        let key = keys::salts(salts.first, salts.level);
        let before: Option<SaltRow> = self.get(&key, "salt row")?;
        if salts.is_sound() && before.is_none_or(|row| row.lsn < lsn) {
            self.set(key, &SaltRow { lsn, salts: salts.clone() });
            self.book = Book::default();
        }
        Ok(())
    }

    /// Notes that a message is lost while its place is known; also where the catalog had applied it
    /// before it was lost. A record that takes no place in a timeline leaves no gap in one.
    pub fn note_lost(&mut self, record: &Record) {
        if record.seq == Seq::ZERO {
            return;
        }
        self.any_lost = true;
        self.put(Family::State, keys::lost(record.room, record.seq), Vec::new());
    }

    /// Notes places of the log that are lost and not yet accepted as such.
    ///
    /// # Errors
    /// `Io` or `NoSpace`.
    pub fn note_holes(&mut self, holes: &[LsnSpan]) -> Result<()> {
        for span in holes {
            self.set(keys::open_hole(span.first), span);
        }
        self.commit().map(|_| ())
    }

    /// Notes that nothing up to `lsn` is left to apply, where the last of it is lost.
    pub fn skip_to(&mut self, lsn: Lsn) {
        self.dropped.clear();
        self.applied.lsn = self.applied.lsn.max(lsn);
        let applied = to_bytes(&self.applied);
        self.put(Family::State, keys::APPLIED.to_vec(), applied);
    }

    /// Notes that everything up to `sealed` stands in packs.
    pub fn note_sealed(&mut self, sealed: Lsn) {
        self.applied.sealed = self.applied.sealed.max(sealed);
        let applied = to_bytes(&self.applied);
        self.put(Family::State, keys::APPLIED.to_vec(), applied);
    }

    /// True if nothing of the record at a place of the log is left to apply.
    pub(crate) fn has(&self, lsn: Lsn) -> bool {
        lsn <= self.applied.lsn && self.gathered_to.is_none_or(|to| lsn <= to)
    }

    /// Applies one record; `bytes` are its own. Records at or below the position are skipped, but
    /// for idempotency keys that stand in no run.
    ///
    /// # Errors
    /// `Io` or `Corrupt` from earlier rows.
    pub fn apply(&mut self, record: &Record, bytes: &[u8]) -> Result<()> {
        self.apply_named(record, bytes, None)
    }

    /// The same where the name of the record's key is known already.
    ///
    /// # Errors
    /// The same.
    pub(crate) fn apply_named(
        &mut self,
        record: &Record,
        bytes: &[u8],
        name: Option<KeyName>,
    ) -> Result<()> {
        if record.lsn <= self.applied.lsn {
            return self.remember_again(record);
        }
        self.gathered_to = None;
        self.rows(record)?;
        self.advance_head(record)?;
        self.grow_tree(record)?;
        if let Some(idempotency) = &record.idempotency {
            self.remember_key(record, idempotency, name);
        }
        if self.compliance && record.payload.kind().is_event() {
            self.put(Family::Compliance, keys::event(record.lsn), bytes.to_vec());
        }
        self.applied.lsn = record.lsn;
        self.applied.recorded = self.applied.recorded.max(record.recorded);
        self.drop_old_keys(record.recorded);
        Ok(())
    }

    fn advance_head(&mut self, record: &Record) -> Result<()> {
        let head = &mut self.tip(record.room)?.head;
        head.rev = head.rev.max(record.rev);
        head.seq = head.seq.max(record.seq);
        if record.payload.kind().is_entry() {
            head.time = head.time.max(record.time);
        }
        Ok(())
    }

    fn rows(&mut self, record: &Record) -> Result<()> {
        match &record.payload {
            Payload::Post(_) | Payload::Audit(_) | Payload::RoomHeads(_) => {}
            Payload::SigningKey(p) => self.set(keys::signing_key(record.rev), p),
            Payload::SignedHead(p) => self.set(keys::NEWEST_HEAD.to_vec(), p),
            Payload::Salts(p) => self.take_salts(record.lsn, p)?,
            Payload::Lost(_) => self.note_lost(record),
            Payload::ImportProgress(p) => {
                self.set(keys::import(record.room, &p.format, &p.source), p);
            }
            Payload::Edited(p) => self.amend(record, p.seq)?,
            Payload::Redacted(p) => self.amend(record, p.seq)?,
            Payload::Erased(p) => {
                self.amend(record, p.seq)?;
                self.erase(record, p)?;
            }
            Payload::Expired(p) => self.expire(record, p)?,
            Payload::ComplianceExpired(p) => self.compliance_expired(p.upto)?,
            Payload::HoldPlaced(p) => {
                let id = HoldId::new(record.epoch, record.lsn);
                let (settings, by) = (p.settings.clone(), record.actor.id);
                self.set(keys::hold(id), &HoldRow { id, settings, placed: record.recorded, by });
            }
            Payload::HoldReleased(p) => self.remove(keys::hold(p.hold)),
            Payload::RoomCreated(p) => self.room_created(record, &p.settings),
            Payload::RoomChanged(p) => self.room_changed(record, &p.settings)?,
            Payload::RoomDeleted(_) => self.room_deleted(record)?,
            Payload::MemberSet(p) => self.set_member(record, p.principal, p.roles),
            Payload::MemberRemoved(p) => self.drop_member(record.room, p.principal),
            Payload::CategoryCreated(p) => {
                let id = CategoryId::new(record.epoch, record.lsn);
                self.set_category(id, &p.settings, record.lsn, record.recorded);
            }
            Payload::CategoryChanged(p) => {
                self.category_changed(record, p.category, &p.settings)?
            }
            Payload::CategoryDeleted(p) => {
                self.remove(keys::category(p.category));
                self.remove(keys::category_name(&p.name));
            }
            Payload::PrincipalCreated(p) => {
                let id = PrincipalId::new(record.epoch, record.lsn);
                self.set_principal(id, &p.settings, record.lsn, record.recorded);
            }
            Payload::PrincipalChanged(p) => self.principal_changed(record, p)?,
            Payload::TokenCreated(p) => self.token_created(record, p),
            Payload::TokenRevoked(p) => self.token_revoked(&p.sha256)?,
            Payload::Setting(p) => {
                if p.key == SETTING_COMPLIANCE {
                    self.compliance = p.value == "on";
                }
                self.put(Family::State, keys::setting(&p.key), p.value.as_bytes().to_vec());
            }
            Payload::LossAccepted(p) => {
                for span in &p.holes {
                    self.set(keys::accepted_loss(span.first), span);
                    self.remove(keys::open_hole(span.first));
                }
                // Every token made before this place is void.
                let floor = record.lsn.0.to_string().into_bytes();
                self.put(Family::State, keys::setting(SETTING_TOKENS_FLOOR), floor);
            }
        }
        Ok(())
    }

    /// An entry is edited or redacted.
    fn amend(&mut self, record: &Record, seq: Seq) -> Result<()> {
        let mut past = self.past(record.room)?;
        let erases = matches!(record.payload, Payload::Erased(_));
        if seq <= past.floor && !erases {
            // It was on its way when retention took the entry.
            return Ok(());
        }
        let key = keys::amended(record.room, seq);
        let before: Option<AmendRow> = self.get(&key, "amend row")?;
        if before.is_none() {
            past.amended = past.amended.saturating_add(1);
            self.set_past(record.room, &past);
        }
        // Where the entry itself is lost, its place must not be given again: what is redacted would
        // be somebody else's words.
        let head = &mut self.tip(record.room)?.head;
        head.seq = head.seq.max(seq);
        let mut row = before.unwrap_or(AmendRow::NONE);
        row.take(record.lsn, record.rev, &record.payload);
        self.set(key, &row);
        if matches!(record.payload, Payload::Edited(_)) {
            self.put(Family::State, keys::edit(record.room, seq, record.rev), Vec::new());
        }
        Ok(())
    }

    /// No row keeps what an erased entry was but that it is.
    fn erase(&mut self, record: &Record, erased: &Erased) -> Result<()> {
        let room = record.room;
        let (from, to) = (keys::edits(room, erased.seq), keys::edits(room, erased.seq.next()));
        for key in self.rows_between(&from, &to, usize::MAX)?.into_keys() {
            self.remove(key);
        }
        self.remove(keys::lost(room, erased.seq));
        for gone in &erased.records {
            self.changes.insert((Family::Compliance, keys::event(gone.lsn)), None);
            self.forget_key(room, gone, record.recorded)?;
        }
        Ok(())
    }

    fn past(&self, room: RoomId) -> Result<PastRow> {
        Ok(self.get(&keys::past(room), "past row")?.unwrap_or(PastRow::EMPTY))
    }

    fn set_past(&mut self, room: RoomId, past: &PastRow) {
        self.set(keys::past(room), past);
        self.pasts.insert(room);
    }

    /// Retention took entries: what the rows know of them goes too.
    fn expire(&mut self, record: &Record, expired: &Expired) -> Result<()> {
        let (room, floor) = (record.room, expired.floor);
        let mut past = self.past(room)?;
        if floor <= past.floor {
            return Ok(());
        }
        // Each look at rows that are not there costs as much as all else here. Mostly nothing was
        // edited, redacted or erased in the room, and nothing is lost in any.
        let amended = past.amended > 0;
        let rows: [(RowOf, bool, bool); 3] = [
            (keys::lost, false, self.any_lost),
            (keys::amended, true, amended),
            (keys::edits, false, amended),
        ];
        for (of, is_amended, _) in rows.into_iter().filter(|(.., any)| *any) {
            let (from, to) = (of(room, Seq::ZERO), of(room, floor.next()));
            for (key, row) in self.rows_between(&from, &to, usize::MAX)? {
                if is_amended {
                    let row: AmendRow = decode_row(&row, "amend row")?;
                    if row.is_erased() {
                        // Its bytes may still be owed.
                        continue;
                    }
                    past.amended = past.amended.saturating_sub(1);
                }
                self.remove(key);
            }
        }
        (past.floor, past.at) = (floor, record.lsn);
        self.set_past(room, &past);
        // Of a room of which everything is gone this is all that tells how far it had come.
        let head = &mut self.tip(room)?.head;
        (head.seq, head.time) = (head.seq.max(floor), head.time.max(expired.time));
        Ok(())
    }

    /// Compliance events are gone; whoever drafted it bounded how many.
    fn compliance_expired(&mut self, upto: Lsn) -> Result<()> {
        let (from, to) = (keys::event(Lsn::ZERO), keys::event(upto.next()));
        for key in self.rows_in(Family::Compliance, &from, &to, usize::MAX)?.into_keys() {
            self.changes.insert((Family::Compliance, key), None);
        }
        Ok(())
    }

    fn room_created(&mut self, record: &Record, settings: &RoomSettings) {
        let row = RoomRow {
            id: record.room,
            settings: settings.clone(),
            changed: record.lsn,
            created: record.recorded,
            creator: record.actor.id,
            deleted: false,
        };
        self.set(keys::room(record.room), &row);
        self.set(keys::room_name(&settings.name), &record.room);
        self.put(Family::State, keys::category_room(settings.category, record.room), Vec::new());
        if record.actor.id != PrincipalId::SYSTEM {
            self.set_member(record, record.actor.id, Roles::MANAGER);
        }
    }

    fn room_changed(&mut self, record: &Record, settings: &RoomSettings) -> Result<()> {
        let Some(mut row): Option<RoomRow> = self.get(&keys::room(record.room), "room row")? else {
            return Ok(());
        };
        let before = std::mem::replace(&mut row.settings, settings.clone());
        row.changed = record.lsn;
        self.set(keys::room(record.room), &row);
        self.places.insert(record.room);
        self.remove(keys::room_name(&before.name));
        self.set(keys::room_name(&settings.name), &record.room);
        if before.category != settings.category {
            self.remove(keys::category_room(before.category, record.room));
            self.remove(keys::moved_in(before.category, record.room));
            self.put(
                Family::State,
                keys::category_room(settings.category, record.room),
                Vec::new(),
            );
            self.put(Family::State, keys::moved_in(settings.category, record.room), Vec::new());
            self.drop_members_out_of_scope(record.room, settings.category)?;
        }
        Ok(())
    }

    /// A move removes the members that the new category does not allow.
    fn drop_members_out_of_scope(&mut self, room: RoomId, category: CategoryId) -> Result<()> {
        let row: Option<CategoryRow> = self.get(&keys::category(category), "category row")?;
        let Some(row) = row else { return Ok(()) };
        let prefix = keys::members(room);
        let members = self.rows_between(&prefix, &keys::after_prefix(&prefix), usize::MAX)?;
        let gone = members
            .keys()
            .map(|key| PrincipalId(keys::number_at(key, 9)))
            .filter(|principal| !in_scope(&row.settings, *principal))
            .collect::<Vec<_>>();
        for principal in gone {
            self.drop_member(room, principal);
        }
        Ok(())
    }

    fn room_deleted(&mut self, record: &Record) -> Result<()> {
        let Some(mut row): Option<RoomRow> = self.get(&keys::room(record.room), "room row")? else {
            return Ok(());
        };
        row.deleted = true;
        row.changed = record.lsn;
        self.places.insert(record.room);
        // The name's row stays: it is never reused.
        self.remove(keys::category_room(row.settings.category, record.room));
        self.set(keys::room(record.room), &row);
        Ok(())
    }

    fn set_member(&mut self, record: &Record, principal: PrincipalId, roles: Roles) {
        let row = MemberRow { room: record.room, principal, roles, since: record.recorded };
        self.set(keys::member(record.room, principal), &row);
        self.set(keys::membership(principal, record.room), &roles);
    }

    fn drop_member(&mut self, room: RoomId, principal: PrincipalId) {
        self.remove(keys::member(room, principal));
        self.remove(keys::membership(principal, room));
    }

    fn set_category(
        &mut self,
        id: CategoryId,
        settings: &CategorySettings,
        changed: Lsn,
        created: TimeUs,
    ) {
        let row = CategoryRow { id, settings: settings.clone(), changed, created };
        self.set(keys::category(id), &row);
        self.set(keys::category_name(&settings.name), &id);
    }

    fn category_changed(
        &mut self,
        record: &Record,
        id: CategoryId,
        settings: &CategorySettings,
    ) -> Result<()> {
        let before: Option<CategoryRow> = self.get(&keys::category(id), "category row")?;
        if let Some(before) = before {
            self.remove(keys::category_name(&before.settings.name));
            self.set_category(id, settings, record.lsn, before.created);
        }
        Ok(())
    }

    fn set_principal(
        &mut self,
        id: PrincipalId,
        settings: &crate::format::payload::PrincipalSettings,
        changed: Lsn,
        created: TimeUs,
    ) {
        let row = PrincipalRow { id, settings: settings.clone(), changed, created };
        self.set(keys::principal(id), &row);
        self.set(principal_name_key(settings), &id);
    }

    fn principal_changed(
        &mut self,
        record: &Record,
        change: &crate::format::payload::PrincipalChanged,
    ) -> Result<()> {
        let key = keys::principal(change.principal);
        let before: Option<PrincipalRow> = self.get(&key, "principal row")?;
        if let Some(before) = before {
            self.remove(principal_name_key(&before.settings));
            self.set_principal(change.principal, &change.settings, record.lsn, before.created);
        }
        Ok(())
    }

    fn token_created(&mut self, record: &Record, made: &crate::format::payload::TokenCreated) {
        let id = crate::types::TokenId::new(record.epoch, record.lsn);
        let row = TokenRow {
            id,
            principal: made.principal,
            name: made.name.clone(),
            sha256: made.sha256,
            expires: made.expires,
            session: made.session,
            one_use: made.one_use,
            created: record.recorded,
            lsn: record.lsn,
            revoked: false,
        };
        self.set(keys::token(&made.sha256), &row);
        self.put(Family::State, keys::token_by_id(id), made.sha256.to_vec());
        self.put(Family::State, keys::token_of(made.principal, id), Vec::new());
    }

    fn token_revoked(&mut self, sha256: &[u8; 32]) -> Result<()> {
        let row: Option<TokenRow> = self.get(&keys::token(sha256), "token row")?;
        if let Some(mut row) = row {
            row.revoked = true;
            self.remove(keys::token_of(row.principal, row.id));
            self.set(keys::token(sha256), &row);
        }
        Ok(())
    }
}

/// The setting below whose place in the log every token is void.
pub const SETTING_TOKENS_FLOOR: &str = "tokens-floor";

/// True if a category's scope holds a principal: allowed and not denied.
#[must_use]
pub fn in_scope(settings: &CategorySettings, principal: PrincipalId) -> bool {
    let listed =
        |list: &[PrincipalId]| list.contains(&principal) || list.contains(&PrincipalId::EVERYONE);
    listed(&settings.allowed) && !listed(&settings.denied)
}
