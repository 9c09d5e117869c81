//! What `sequence` remembers beyond the catalog: everything ordered but perhaps not yet applied.
//!
//! A name, key or head at rest is read from the catalog; what is newer than the catalog stands here
//! until the catalog has it. Heads and rows of some rooms stay longer, because their rooms were
//! busy of late; how many is bounded. So an idle room holds no memory.
//!
//! INVARIANT: an entry leaves only after the catalog applied its record, a key only once it stands
//! in a run there.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;

use super::Keyed;
use super::keys::NewKeys;
use crate::apply::decode_head;
use crate::catalog::keys::{KeyName, KeySpan};
use crate::catalog::rows::{AmendRow, HeadRow, HoldRow, KeyRow, PastRow, RoomRow};
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::compliance::{Compliance, SETTING_COMPLIANCE_LOCKED};
use crate::draft::Draft;
use crate::error::{Error, Result};
use crate::format::codec::DecodeError;
use crate::format::payload::{ImportProgress, Payload};
use crate::format::record::Record;
use crate::format::wire::{Wire, from_bytes};
use crate::recent::Recent;
use crate::remembered::{First, Remembered};
use crate::types::{CategoryId, Epoch, Lsn, PrincipalId, RoomId, Seq, TimeUs, TokenId};

/// Something whose change changes rights.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// A room: its settings and members.
    Room(RoomId),
    /// A category.
    Category(CategoryId),
    /// Which rooms a category has; matters to its deletion only.
    CategoryRooms(CategoryId),
    /// A principal.
    Principal(PrincipalId),
    /// A session or token.
    Token(TokenId),
    /// Legal holds; matter to what takes entries away only.
    Holds,
}

/// Changes of rights that are remembered one by one; older ones are summed up in the floor.
const POLICY_MAX: usize = 64 * 1024;
/// Heads kept although the catalog has them, because their rooms are busy.
const HEADS_MAX: usize = 64 * 1024;
/// Rows of rooms kept although the catalog has them: every post looks at its room's.
const ROOMS_MAX: usize = 64 * 1024;

/// A map whose changes can be taken back, and whose entries leave once applied.
#[derive(Debug)]
struct Overlay<K, V> {
    map: HashMap<K, (V, Lsn), RandomState>,
    undo: Vec<(K, Option<(V, Lsn)>)>,
}

impl<K, V> Default for Overlay<K, V> {
    fn default() -> Self {
        Self { map: HashMap::default(), undo: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V: Clone> Overlay<K, V> {
    fn get(&self, key: &K) -> Option<&V> {
        self.map.get(key).map(|(value, _)| value)
    }

    fn put(&mut self, key: K, value: V, lsn: Lsn) {
        let before = self.map.insert(key.clone(), (value, lsn));
        self.undo.push((key, before));
    }

    fn keep(&mut self) {
        self.undo.clear();
    }

    fn take_back(&mut self) {
        while let Some((key, before)) = self.undo.pop() {
            match before {
                Some(value) => self.map.insert(key, value),
                None => self.map.remove(&key),
            };
        }
    }

    fn forget(&mut self, applied: Lsn) {
        self.map.retain(|_, (_, lsn)| *lsn > applied);
    }
}

/// Where an append began, to go back to.
#[derive(Clone, Debug)]
pub(super) struct Mark {
    next_lsn: Lsn,
    last_recorded: TimeUs,
}

/// The state of `sequence`.
pub struct SeqState {
    store: Arc<dyn CatalogStore>,
    epoch: Epoch,
    next_lsn: Lsn,
    last_recorded: TimeUs,
    policy_floor: Lsn,
    heads: Overlay<RoomId, HeadRow>,
    rooms: Overlay<RoomId, Arc<RoomRow>>,
    /// Rows of rooms as the catalog has them; none of a room in `rooms`, for only a record that was
    /// sequenced here changes one.
    known_rooms: RefCell<Recent<RoomId, Arc<RoomRow>>>,
    /// Heads as the catalog has them, of rooms in the group that is sequenced. None of a room is
    /// asked for that is in `heads`, and what leaves there takes these with it.
    ahead: HashMap<RoomId, HeadRow, RandomState>,
    /// Names that the catalog has not, of rooms that the group makes; as with heads.
    free_ahead: HashSet<Vec<u8>, RandomState>,
    names: Overlay<Vec<u8>, bool>,
    /// Those that stand in no run yet.
    keys: NewKeys,
    /// Those at rest.
    remembered: Arc<Remembered>,
    imports: Overlay<Vec<u8>, ImportProgress>,
    policies: Overlay<Policy, ()>,
    gone_tokens: Overlay<TokenId, ()>,
    amended: Overlay<(RoomId, Seq), AmendRow>,
    swept: Lsn,
    swept_keys: Lsn,
}

impl std::fmt::Debug for SeqState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SeqState(next_lsn={} epoch={})", self.next_lsn, self.epoch)
    }
}

/// Decodes a row; damage there is the catalog's.
fn decode<T: Wire>(bytes: &[u8], what: &'static str) -> Result<T> {
    let wrong =
        |e: DecodeError| Error::corrupt(e.what, std::path::Path::new("catalog"), e.at as u64, 0, 0);
    from_bytes(bytes, what).map_err(wrong)
}

impl SeqState {
    /// The state behind the last record of the log; every check made before it is void.
    #[must_use]
    pub fn new(
        store: Arc<dyn CatalogStore>,
        remembered: Arc<Remembered>,
        epoch: Epoch,
        last_lsn: Lsn,
        last_recorded: TimeUs,
    ) -> Self {
        Self {
            store,
            epoch,
            next_lsn: last_lsn.next(),
            last_recorded,
            policy_floor: Lsn::ZERO,
            heads: Overlay::default(),
            rooms: Overlay::default(),
            known_rooms: RefCell::new(Recent::of(ROOMS_MAX)),
            ahead: HashMap::default(),
            free_ahead: HashSet::default(),
            names: Overlay::default(),
            keys: NewKeys::default(),
            remembered,
            imports: Overlay::default(),
            policies: Overlay::default(),
            gone_tokens: Overlay::default(),
            amended: Overlay::default(),
            swept: Lsn::ZERO,
            swept_keys: Lsn::ZERO,
        }
    }

    /// The place the next record gets.
    #[must_use]
    pub const fn next_lsn(&self) -> Lsn {
        self.next_lsn
    }

    /// The epoch records are ordered in.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The newest record's time.
    #[must_use]
    pub const fn last_recorded(&self) -> TimeUs {
        self.last_recorded
    }

    fn row<T: Wire>(&self, key: &[u8], what: &'static str) -> Result<Option<T>> {
        let bytes = self.store.get(Family::State, key)?;
        bytes.map(|bytes| decode(&bytes, what)).transpose()
    }

    /// How far a room has come; an unknown room is empty.
    pub(super) fn head(&self, room: RoomId) -> Result<HeadRow> {
        if let Some(head) = self.heads.get(&room) {
            return Ok(head.clone());
        }
        if let Some(head) = self.ahead.get(&room) {
            return Ok(head.clone());
        }
        let row = self.store.get(Family::State, &keys::tip(room))?;
        row.map_or(Ok(HeadRow::EMPTY), |bytes| decode_head(&bytes))
    }

    /// Reads at once what drafts on these rooms, and drafts of rooms of these names, will ask for
    /// one after the other. What cannot be read is read again, and told, where it is asked for.
    /// Here a group begins: what the one before put stands with the rest from now on.
    pub fn read_ahead(&mut self, mut rooms: Vec<RoomId>, names: &[&str]) {
        self.keys.settle();
        self.ahead.clear();
        self.free_ahead.clear();
        if names.len() > 1 {
            let mut keys: Vec<Vec<u8>> = names.iter().map(|name| keys::room_name(name)).collect();
            keys.sort_unstable();
            let found = self.store.get_many(Family::State, &keys).unwrap_or_default();
            let free = keys.into_iter().zip(found).filter(|(_, row)| row.is_none());
            self.free_ahead.extend(free.map(|(key, _)| key));
        }
        rooms.sort_unstable();
        rooms.dedup();
        let read = |rooms: &[RoomId], key: fn(RoomId) -> Vec<u8>| {
            // One alone is read when it is asked for.
            let keys: Vec<Vec<u8>> = rooms.iter().map(|room| key(*room)).collect();
            let many = keys.len() > 1;
            let read = many.then(|| self.store.get_many(Family::State, &keys).ok()).flatten();
            read.unwrap_or_default()
        };
        let known = self.known_rooms.get_mut();
        let of_row = |room: &RoomId| self.rooms.get(room).is_none() && known.peek(*room).is_none();
        let unknown: Vec<RoomId> = rooms.iter().copied().filter(of_row).collect();
        for (room, row) in unknown.iter().zip(read(&unknown, keys::room)) {
            if let Some(Ok(row)) = row.map(|row| decode(&row, "room row")) {
                known.insert(*room, Arc::new(row));
            }
        }
        known.turn();
        rooms.retain(|room| self.heads.get(room).is_none());
        for (room, row) in rooms.iter().zip(read(&rooms, keys::tip)) {
            if let Ok(head) = row.map_or(Ok(HeadRow::EMPTY), |row| decode_head(&row)) {
                self.ahead.insert(*room, head);
            }
        }
    }

    /// A room's row, newest version.
    pub(super) fn room(&self, room: RoomId) -> Result<Option<Arc<RoomRow>>> {
        if let Some(row) = self.rooms.get(&room) {
            return Ok(Some(Arc::clone(row)));
        }
        let mut known = self.known_rooms.borrow_mut();
        if let Some(row) = known.get(room) {
            return Ok(Some(Arc::clone(row)));
        }
        let Some(row) = self.row(&keys::room(room), "room row")?.map(Arc::new) else {
            return Ok(None);
        };
        known.insert(room, Arc::clone(&row));
        known.turn();
        Ok(Some(row))
    }

    /// A row of the catalog as it is applied now; the caller has made sure nothing newer is ahead.
    pub(super) fn applied_row<T: Wire>(&self, key: &[u8], what: &'static str) -> Result<Option<T>> {
        self.row(key, what)
    }

    /// True if a room of the category exists, deleted ones aside.
    pub(super) fn has_rooms(&self, category: CategoryId) -> Result<bool> {
        let mut found = false;
        let prefix = keys::category_room(category, RoomId::NONE);
        let prefix = prefix.get(..9).unwrap_or(&prefix);
        crate::catalog::walk_prefix(&*self.store, Family::State, prefix, &mut |_, _| {
            found = true;
            Ok(crate::catalog::Go::Stop)
        })?;
        Ok(found)
    }

    /// True if a name is taken.
    pub(super) fn name_taken(&self, key: &Vec<u8>) -> Result<bool> {
        match self.names.get(key) {
            Some(taken) => Ok(*taken),
            None if self.free_ahead.contains(key) => Ok(false),
            None => Ok(self.store.get(Family::State, key)?.is_some()),
        }
    }

    /// Which of these keys may be at rest: asked for many at once, for each is waited for. Those of
    /// which nothing is known are new, or come to be known within the group that is sequenced.
    pub fn may_rest(&self, names: &[KeyName]) -> Vec<bool> {
        self.remembered.may_hold(names)
    }

    /// The first result under a client's key.
    pub(super) fn key(&self, key: &Keyed) -> Result<Option<First>> {
        match self.keys.get(&key.name) {
            Some(first) => Ok(first.cloned()),
            None if key.may_rest => self.remembered.find(&key.name),
            None => Ok(None),
        }
    }

    /// How far an import has come.
    pub(super) fn import(
        &self,
        room: RoomId,
        format: &str,
        source: &str,
    ) -> Result<Option<ImportProgress>> {
        let key = keys::import(room, format, source);
        match self.imports.get(&key) {
            Some(progress) => Ok(Some(progress.clone())),
            None => self.row(&key, "import row"),
        }
    }

    /// What became of an entry.
    pub(super) fn amended(&self, room: RoomId, seq: Seq) -> Result<AmendRow> {
        match self.amended.get(&(room, seq)) {
            Some(row) => Ok(row.clone()),
            None => Ok(self.row(&keys::amended(room, seq), "amend row")?.unwrap_or(AmendRow::NONE)),
        }
    }

    /// How far retention took a room's entries, as far as it is applied.
    pub(super) fn floor(&self, room: RoomId) -> Result<Seq> {
        self.past(room).map(|past| past.floor)
    }

    /// The same with the record that says so.
    pub(super) fn past(&self, room: RoomId) -> Result<PastRow> {
        Ok(self.row(&keys::past(room), "past row")?.unwrap_or(PastRow::EMPTY))
    }

    /// The legal holds, as far as they are applied.
    pub(super) fn holds(&self) -> Result<Vec<HoldRow>> {
        let mut holds = Vec::new();
        walk_prefix(&*self.store, Family::State, keys::HOLDS, &mut |_, value| {
            holds.push(decode(value, "hold row")?);
            Ok(Go::On)
        })?;
        Ok(holds)
    }

    /// What the settings say of compliance, as far as they are applied.
    pub(super) fn compliance(&self) -> Result<Compliance> {
        Compliance::read(&*self.store)
    }

    /// True if a token is already revoked by a record that may not be applied yet.
    pub(super) fn token_gone(&self, token: TokenId) -> bool {
        self.gone_tokens.get(&token).is_some()
    }

    /// The newest change of something's rights, if it is newer than what is summed up.
    pub(super) fn changed(&self, policy: Policy) -> Lsn {
        self.policies.map.get(&policy).map_or(Lsn::ZERO, |(_, lsn)| *lsn)
    }

    /// Refuses a draft whose rights may have changed since the door checked them.
    pub(super) fn check_policy(&self, draft: &Draft) -> Result<()> {
        let mut newest = self.policy_floor;
        let mut look = |policy| newest = newest.max(self.changed(policy));
        look(Policy::Principal(draft.actor.id));
        look(Policy::Token(draft.actor.session));
        if !draft.room.is_none() {
            look(Policy::Room(draft.room));
            if let Some(room) = self.room(draft.room)? {
                look(Policy::Category(room.settings.category));
            }
        }
        match &draft.payload {
            Payload::RoomCreated(p) => look(Policy::Category(p.settings.category)),
            Payload::RoomChanged(p) => {
                look(Policy::Category(p.settings.category));
                look(Policy::Holds);
            }
            Payload::Expired(_) | Payload::ComplianceExpired(_) | Payload::Erased(_) => {
                look(Policy::Holds);
            }
            Payload::CategoryChanged(p) => look(Policy::Category(p.category)),
            Payload::CategoryDeleted(p) => {
                look(Policy::Category(p.category));
                look(Policy::CategoryRooms(p.category));
            }
            Payload::PrincipalChanged(p) => look(Policy::Principal(p.principal)),
            Payload::MemberSet(p) => look(Policy::Principal(p.principal)),
            _ => {}
        }
        if newest > draft.checked_at {
            return Err(Error::PolicyChanged { changed: newest });
        }
        Ok(())
    }

    pub(super) const fn mark(&self) -> Mark {
        Mark { next_lsn: self.next_lsn, last_recorded: self.last_recorded }
    }

    pub(super) fn keep(&mut self) {
        self.heads.keep();
        self.rooms.keep();
        self.names.keep();
        self.keys.keep();
        self.imports.keep();
        self.policies.keep();
        self.gone_tokens.keep();
        self.amended.keep();
    }

    pub(super) fn undo(&mut self, mark: &Mark) {
        self.next_lsn = mark.next_lsn;
        self.last_recorded = mark.last_recorded;
        self.heads.take_back();
        self.rooms.take_back();
        self.names.take_back();
        self.keys.take_back();
        self.imports.take_back();
        self.policies.take_back();
        self.gone_tokens.take_back();
        self.amended.take_back();
    }

    /// Takes a record that has its place into the state; `name` is that of its key.
    pub(super) fn advance(&mut self, record: &Record, name: Option<KeyName>, head: HeadRow) {
        let lsn = record.lsn;
        self.next_lsn = lsn.next();
        self.last_recorded = record.recorded;
        self.heads.put(record.room, head, lsn);
        if let (Some(idempotency), Some(name)) = (&record.idempotency, name) {
            let span = KeySpan::of(record.recorded);
            let first = First { span, row: KeyRow::of(record, &idempotency.digest) };
            self.keys.put(name, Some(first), lsn);
        }
        if let Payload::Erased(erased) = &record.payload {
            for gone in erased.records.iter().filter(|gone| !gone.key.is_empty()) {
                let name = KeyName::new(gone.actor, record.room, gone.key.as_bytes());
                // A key used again has a younger row under the same name.
                let own = self.key(&Keyed { name, may_rest: true });
                if own.is_ok_and(|first| first.is_some_and(|first| first.row.lsn <= gone.lsn)) {
                    self.keys.put(name, None, lsn);
                }
            }
        }
        match &record.payload {
            Payload::ImportProgress(progress) => {
                let key = keys::import(record.room, &progress.format, &progress.source);
                self.imports.put(key, progress.clone(), lsn);
            }
            payload => match payload.amends() {
                // An entry whose row cannot be read is not amended: `check` has read it.
                Some(seq) => {
                    let mut row = self.amended(record.room, seq).unwrap_or(AmendRow::NONE);
                    row.take(lsn, record.rev, payload);
                    self.amended.put((record.room, seq), row, lsn);
                }
                None => self.advance_control(payload, record),
            },
        }
    }

    fn advance_control(&mut self, payload: &Payload, record: &Record) {
        let lsn = record.lsn;
        match payload {
            Payload::RoomCreated(p) => {
                self.names.put(keys::room_name(&p.settings.name), true, lsn);
                self.policies.put(Policy::CategoryRooms(p.settings.category), (), lsn);
                self.put_room(record, &p.settings, false);
            }
            Payload::RoomChanged(p) => {
                if let Ok(Some(before)) = self.room(record.room) {
                    self.names.put(keys::room_name(&before.settings.name), false, lsn);
                    if before.settings.category != p.settings.category {
                        let rooms = Policy::CategoryRooms(p.settings.category);
                        self.policies.put(rooms, (), lsn);
                    }
                }
                self.names.put(keys::room_name(&p.settings.name), true, lsn);
                self.put_room(record, &p.settings, false);
            }
            Payload::RoomDeleted(p) => self.put_room(record, &p.settings, true),
            Payload::MemberSet(_) | Payload::MemberRemoved(_) => {
                self.policies.put(Policy::Room(record.room), (), lsn);
            }
            Payload::CategoryCreated(p) => {
                self.names.put(keys::category_name(&p.settings.name), true, lsn);
            }
            Payload::CategoryChanged(p) => {
                self.names.put(keys::category_name(&p.settings.name), true, lsn);
                self.policies.put(Policy::Category(p.category), (), lsn);
            }
            Payload::CategoryDeleted(p) => {
                self.names.put(keys::category_name(&p.name), false, lsn);
                self.policies.put(Policy::Category(p.category), (), lsn);
            }
            Payload::PrincipalCreated(p) => {
                self.names.put(super::check::principal_name_key(&p.settings), true, lsn);
            }
            Payload::PrincipalChanged(p) => {
                self.names.put(super::check::principal_name_key(&p.settings), true, lsn);
                self.policies.put(Policy::Principal(p.principal), (), lsn);
            }
            Payload::TokenRevoked(p) => {
                self.policies.put(Policy::Token(p.token), (), lsn);
                self.gone_tokens.put(p.token, (), lsn);
            }
            Payload::LossAccepted(_) => self.policy_floor = lsn,
            Payload::HoldPlaced(_) => self.policies.put(Policy::Holds, (), lsn),
            // It keeps what a hold keeps.
            Payload::Setting(p) if p.key == SETTING_COMPLIANCE_LOCKED => {
                self.policies.put(Policy::Holds, (), lsn);
            }
            _ => {}
        }
    }

    fn put_room(
        &mut self,
        record: &Record,
        settings: &crate::format::payload::RoomSettings,
        deleted: bool,
    ) {
        let row = RoomRow {
            id: record.room,
            settings: settings.clone(),
            changed: record.lsn,
            created: record.recorded,
            creator: record.actor.id,
            deleted,
        };
        self.policies.put(Policy::Room(record.room), (), record.lsn);
        self.known_rooms.get_mut().remove(record.room);
        self.rooms.put(record.room, Arc::new(row), record.lsn);
    }

    /// Lets go of what the catalog has by now.
    pub fn forget_applied(&mut self, applied: Lsn) {
        // Sweeping costs a walk over the maps, so it is done once per so many records.
        if applied.0 < self.swept.0 + 4096 {
            return;
        }
        self.swept = applied;
        self.ahead.clear();
        self.free_ahead.clear();
        if self.heads.map.len() > HEADS_MAX {
            self.heads.forget(applied);
        }
        self.rooms.forget(applied);
        self.names.forget(applied);
        self.imports.forget(applied);
        self.gone_tokens.forget(applied);
        self.amended.forget(applied);
        // A key is at rest once it stands in a run, which is later.
        let kept = self.remembered.kept();
        self.keys.settle();
        if kept > self.swept_keys {
            self.swept_keys = kept;
            self.keys.forget(kept);
        }
        if self.policies.map.len() > POLICY_MAX {
            self.policy_floor = self.policy_floor.max(applied);
            self.policies.forget(applied);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Change;
    use crate::catalog::memory::MemoryCatalog;
    use crate::format::record::tests::samples;
    use crate::format::wire::to_bytes;
    use crate::types::Rev;

    fn set(store: &MemoryCatalog, key: Vec<u8>, row: &impl Wire) {
        let change = Change { family: Family::State, key, value: Some(to_bytes(row)) };
        store.write(&[change]).unwrap();
    }

    fn head_at(seq: u64) -> HeadRow {
        HeadRow { seq: Seq(seq), rev: Rev(seq), time: TimeUs(5) }
    }

    #[test]
    fn a_name_read_ahead_is_free_until_it_is_given_and_never_once_the_catalog_has_more() {
        let store = MemoryCatalog::default();
        let keys = ["a", "b", "c"].map(keys::room_name);
        set(&store, keys[1].clone(), &RoomId(100));
        let remembered = Arc::new(Remembered::read(Arc::new(store.clone())).unwrap());
        let mut state =
            SeqState::new(Arc::new(store.clone()), remembered, Epoch(1), Lsn(1), TimeUs(1));
        let taken = |state: &SeqState| keys.each_ref().map(|key| state.name_taken(key).unwrap());
        state.read_ahead(Vec::new(), &["c", "b", "a", "a"]);
        assert_eq!((state.free_ahead.len(), taken(&state)), (2, [false, true, false]));
        state.names.put(keys[0].clone(), true, Lsn(10_000));
        assert_eq!(taken(&state), [true, true, false], "what was given since counts first");
        state.names.keep();
        set(&store, keys[0].clone(), &RoomId(200));
        set(&store, keys[2].clone(), &RoomId(300));
        state.forget_applied(Lsn(10_000));
        assert_eq!((state.free_ahead.len(), taken(&state)), (0, [true; 3]));
    }

    #[test]
    fn a_head_read_ahead_counts_until_the_room_goes_on_and_never_once_the_catalog_has_more() {
        let store = MemoryCatalog::default();
        let rooms = [RoomId(100), RoomId(200), RoomId(300)];
        rooms.iter().for_each(|room| set(&store, keys::tip(*room), &head_at(1)));
        let remembered = Arc::new(Remembered::read(Arc::new(store.clone())).unwrap());
        let mut state =
            SeqState::new(Arc::new(store.clone()), remembered, Epoch(1), Lsn(1), TimeUs(1));
        let heads = |state: &SeqState| rooms.map(|room| state.head(room).unwrap().seq.0);
        state.read_ahead(vec![rooms[1], rooms[0], rooms[1], RoomId(400)], &[]);
        assert_eq!(state.ahead.len(), 3, "each once, and one of which nothing is known");
        assert_eq!(heads(&state), [1, 1, 1]);
        assert_eq!(state.head(RoomId(400)).unwrap(), HeadRow::EMPTY);
        let record = Record { room: rooms[0], lsn: Lsn(10_000), ..samples().remove(0) };
        state.advance(&record, None, head_at(2));
        assert_eq!(heads(&state), [2, 1, 1]);
        state.keep();
        // The next group: what is newer than the catalog is not read ahead.
        state.read_ahead(rooms.to_vec(), &[]);
        assert_eq!((state.ahead.len(), heads(&state)), (2, [2, 1, 1]));
        // The catalog goes on, and what stood here beyond it leaves: so does what was read before.
        rooms.iter().for_each(|room| set(&store, keys::tip(*room), &head_at(3)));
        state.heads.forget(Lsn(10_000));
        state.forget_applied(Lsn(10_000));
        assert_eq!(heads(&state), [3, 3, 3]);
        state.read_ahead(vec![rooms[2]], &[]);
        assert_eq!(
            (state.ahead.len(), heads(&state)),
            (0, [3, 3, 3]),
            "one is not ahead of itself"
        );
    }
}
