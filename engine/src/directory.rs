//! Reads of the catalog end: rooms, members, categories, principals, tokens.
//!
//! Short synchronous look-ups. What they see is the state at some record; `applied`, taken before
//! them, is a lower bound of it, and goes into a draft as `checked_at`. Single rows that requests
//! ask for all the time are kept in memory (`known`).

pub(crate) mod known;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use crate::sync::Mutex;

use crate::apply::{SETTING_TOKENS_FLOOR, decode_row};
use crate::catalog::rows::{CategoryRow, MemberRow, PrincipalRow, RoomRow, TokenRow};
use crate::catalog::{CatalogStore, Family, Go, Walk, keys};
use crate::error::Result;
use crate::format::payload::{ImportProgress, PrincipalKind, Roles};
use crate::format::wire::Wire;
use crate::lane::Lane;
use crate::stages::Work;
use crate::types::{CategoryId, Lsn, PrincipalId, RoomId, TokenId};
use known::Known;

/// The position, who waits for which, and whether it will move no more.
type GateState = (Lsn, Vec<(Lsn, Waker)>, bool);

/// How far the catalog end is, and who waits for it.
#[derive(Debug)]
pub(crate) struct Gate {
    state: Mutex<GateState>,
    /// What the catalog end takes from, and waits with while nobody waits here.
    work: Arc<Lane<Work>>,
}

impl Gate {
    pub(crate) fn at(lsn: Lsn, work: Arc<Lane<Work>>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new((lsn, Vec::new(), false)), work })
    }

    pub(crate) fn get(&self) -> Lsn {
        self.state.lock().0
    }

    /// Moves the position and wakes who waited for it.
    pub(crate) fn raise(&self, lsn: Lsn) {
        let mut state = self.state.lock();
        state.0 = state.0.max(lsn);
        let reached = state.0;
        let (ready, waiting) = state.1.drain(..).partition(|(wanted, _)| *wanted <= reached);
        state.1 = waiting;
        drop(state);
        let ready: Vec<(Lsn, Waker)> = ready;
        for (_, waker) in ready {
            waker.wake();
        }
    }

    /// Lets everybody go: the position will not move any more.
    pub(crate) fn open_for_good(&self) {
        let mut state = self.state.lock();
        state.2 = true;
        let waiting = std::mem::take(&mut state.1);
        drop(state);
        for (_, waker) in waiting {
            waker.wake();
        }
    }
}

/// Resolves when the catalog end has applied a record.
#[derive(Debug)]
pub struct Applied {
    gate: Arc<Gate>,
    lsn: Lsn,
}

impl Future for Applied {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.gate.state.lock();
        if state.0 >= self.lsn || state.2 {
            return Poll::Ready(());
        }
        state.1.push((self.lsn, cx.waker().clone()));
        drop(state);
        self.gate.work.poke();
        Poll::Pending
    }
}

/// Reads of the catalog end.
#[derive(Clone)]
pub struct Directory {
    store: Arc<dyn CatalogStore>,
    gate: Arc<Gate>,
    known: Arc<Known>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Directory(applied={})", self.applied())
    }
}

impl Directory {
    pub(crate) fn new(store: Arc<dyn CatalogStore>, gate: Arc<Gate>, known: Arc<Known>) -> Self {
        Self { store, gate, known }
    }

    /// How far the catalog end is. For a check, take it before the check's reads.
    #[must_use]
    pub fn applied(&self) -> Lsn {
        self.gate.get()
    }

    /// Resolves when the catalog end has applied `lsn`, or never will. It does not wait for more
    /// records meanwhile, as it does while nobody waits.
    ///
    /// # Cancel safety
    /// Safe: holds no state but its place in a list of wakers.
    pub fn wait_applied(&self, lsn: Lsn) -> impl Future<Output = ()> + Send + use<> {
        Applied { gate: Arc::clone(&self.gate), lsn }
    }

    fn row<T: Wire>(&self, key: &[u8], what: &'static str) -> Result<Option<T>> {
        let row = self.known.get(&*self.store, key)?;
        row.map(|row| decode_row(row.bytes(), what)).transpose()
    }

    /// A row that is decoded once for all who ask.
    fn shared<T>(&self, key: &[u8], what: &'static str) -> Result<Option<Arc<T>>>
    where
        T: Wire + Send + Sync + 'static,
    {
        let row = self.known.get(&*self.store, key)?;
        row.map(|row| row.value(|bytes| decode_row(bytes, what))).transpose()
    }

    /// Rows from `from` on with the given first bytes, at most `limit`, each through `make`.
    fn list<T>(
        &self,
        prefix: &[u8],
        from: &[u8],
        limit: usize,
        mut make: impl FnMut(&[u8], &[u8]) -> Result<T>,
    ) -> Result<Vec<T>> {
        let mut found = Vec::new();
        if limit == 0 {
            return Ok(found);
        }
        let end = keys::after_prefix(prefix);
        self.store.range(Family::State, from, &end, Walk::Up, &mut |key, value| {
            found.push(make(key, value)?);
            Ok(if found.len() < limit { Go::On } else { Go::Stop })
        })?;
        Ok(found)
    }

    /// A room, deleted and disabled ones included.
    ///
    /// # Errors
    /// `Io` or `Corrupt`, as every method here.
    pub fn room(&self, id: RoomId) -> Result<Option<Arc<RoomRow>>> {
        self.shared(&keys::room(id), "room row")
    }

    /// A room by its name, ASCII case aside.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn room_by_name(&self, name: &str) -> Result<Option<Arc<RoomRow>>> {
        match self.row::<RoomId>(&keys::room_name(name), "name row")? {
            Some(id) => self.room(id),
            None => Ok(None),
        }
    }

    /// Rooms after `after`, by identifier, deleted and disabled ones included.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn rooms(&self, after: RoomId, limit: usize) -> Result<Vec<RoomRow>> {
        let from = keys::room(RoomId(after.0.saturating_add(1)));
        self.list(b"r", &from, limit, |_, value| decode_row(value, "room row"))
    }

    /// The rooms a category has now, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn rooms_of_category(
        &self,
        category: CategoryId,
        after: RoomId,
        limit: usize,
    ) -> Result<Vec<RoomId>> {
        let from = keys::category_room(category, RoomId(after.0.saturating_add(1)));
        let prefix = from.get(..9).unwrap_or_default().to_vec();
        self.list(&prefix, &from, limit, |key, _| Ok(RoomId(keys::number_at(key, 9))))
    }

    /// What a principal is in a room.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn member(&self, room: RoomId, principal: PrincipalId) -> Result<Option<Roles>> {
        self.row(&keys::membership(principal, room), "membership row")
    }

    /// The members of a room, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn members(
        &self,
        room: RoomId,
        after: PrincipalId,
        limit: usize,
    ) -> Result<Vec<MemberRow>> {
        let from = keys::member(room, PrincipalId(after.0.saturating_add(1)));
        self.list(&keys::members(room), &from, limit, |_, v| decode_row(v, "member row"))
    }

    /// The rooms a principal is a member of, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn rooms_of_principal(
        &self,
        principal: PrincipalId,
        after: RoomId,
        limit: usize,
    ) -> Result<Vec<(RoomId, Roles)>> {
        let from = keys::membership(principal, RoomId(after.0.saturating_add(1)));
        let prefix = from.get(..9).unwrap_or_default().to_vec();
        self.list(&prefix, &from, limit, |key, value| {
            Ok((RoomId(keys::number_at(key, 9)), decode_row(value, "membership row")?))
        })
    }

    /// A category.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn category(&self, id: CategoryId) -> Result<Option<Arc<CategoryRow>>> {
        self.shared(&keys::category(id), "category row")
    }

    /// A category by its name, ASCII case aside.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn category_by_name(&self, name: &str) -> Result<Option<Arc<CategoryRow>>> {
        match self.row::<CategoryId>(&keys::category_name(name), "name row")? {
            Some(id) => self.category(id),
            None => Ok(None),
        }
    }

    /// Categories after `after`, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn categories(&self, after: CategoryId, limit: usize) -> Result<Vec<CategoryRow>> {
        let from = keys::category(CategoryId(after.0.saturating_add(1)));
        self.list(b"c", &from, limit, |_, value| decode_row(value, "category row"))
    }

    /// A principal.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn principal(&self, id: PrincipalId) -> Result<Option<Arc<PrincipalRow>>> {
        self.shared(&keys::principal(id), "principal row")
    }

    /// A principal by name; `source` counts for imported authors only.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn principal_by_name(
        &self,
        kind: PrincipalKind,
        source: &str,
        name: &str,
    ) -> Result<Option<Arc<PrincipalRow>>> {
        let imported = (kind == PrincipalKind::Imported).then_some(source);
        match self.row::<PrincipalId>(&keys::principal_name(imported, name), "name row")? {
            Some(id) => self.principal(id),
            None => Ok(None),
        }
    }

    /// Principals after `after`, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn principals(&self, after: PrincipalId, limit: usize) -> Result<Vec<PrincipalRow>> {
        let from = keys::principal(PrincipalId(after.0.saturating_add(1)));
        self.list(b"u", &from, limit, |_, value| decode_row(value, "principal row"))
    }

    /// A token that is not revoked and not voided by an accepted loss. Whether it has expired is
    /// the caller's to check.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn token(&self, sha256: &[u8; 32]) -> Result<Option<Arc<TokenRow>>> {
        let row: Option<Arc<TokenRow>> = self.shared(&keys::token(sha256), "token row")?;
        let floor = self.setting(SETTING_TOKENS_FLOOR)?;
        let floor = floor.and_then(|text| text.parse().ok()).map_or(Lsn::ZERO, Lsn);
        Ok(row.filter(|row| !row.revoked && row.lsn >= floor))
    }

    /// A token by its identifier, as [`Self::token`].
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn token_by_id(&self, id: TokenId) -> Result<Option<Arc<TokenRow>>> {
        match self.row::<[u8; 32]>(&keys::token_by_id(id), "token id row")? {
            Some(sha256) => self.token(&sha256),
            None => Ok(None),
        }
    }

    /// The live tokens of a principal, by identifier.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn tokens_of(
        &self,
        principal: PrincipalId,
        after: TokenId,
        limit: usize,
    ) -> Result<Vec<TokenRow>> {
        let from = keys::token_of(principal, TokenId(after.0.saturating_add(1)));
        let prefix = from.get(..9).unwrap_or_default().to_vec();
        let ids =
            self.list(&prefix, &from, limit, |key, _| Ok(TokenId(keys::number_at(key, 9))))?;
        let rows = ids.into_iter().map(|id| self.token_by_id(id));
        Ok(rows
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .map(Arc::unwrap_or_clone)
            .collect())
    }

    /// How far an import has come.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn import_progress(
        &self,
        room: RoomId,
        format: &str,
        source: &str,
    ) -> Result<Option<ImportProgress>> {
        self.row(&keys::import(room, format, source), "import row")
    }

    /// A setting's value.
    ///
    /// # Errors
    /// `Io` or `Corrupt`.
    pub fn setting(&self, key: &str) -> Result<Option<String>> {
        let row = self.known.get(&*self.store, &keys::setting(key))?;
        Ok(row.map(|row| String::from_utf8_lossy(row.bytes()).into_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::lane::Taken;

    /// The catalog end would wait for an hour for more records to come.
    #[test]
    fn whoever_waits_for_the_catalog_end_is_not_made_to_wait_for_more_records() {
        let work = Arc::new(Lane::new(100));
        let gate = Gate::at(Lsn(4), Arc::clone(&work));
        let mut cx = Context::from_waker(Waker::noop());
        let mut wait =
            |lsn| Pin::new(&mut Applied { gate: Arc::clone(&gate), lsn: Lsn(lsn) }).poll(&mut cx);
        let given = || work.give(Work { records: Vec::new(), answers: Vec::new() }, 1).is_ok();
        std::thread::scope(|scope| {
            let take = || work.take_later(100, Duration::from_secs(3600), 100);
            let taker = scope.spawn(take);
            assert!(given());
            assert_eq!(wait(4), Poll::Ready(()), "it is there");
            std::thread::sleep(Duration::from_millis(2));
            assert!(!taker.is_finished());
            assert_eq!(wait(5), Poll::Pending);
            assert!(matches!(taker.join(), Ok(Taken::Items(work)) if work.len() == 1));
            // Also if what it waits for comes later.
            let taker = scope.spawn(take);
            assert_eq!(wait(6), Poll::Pending);
            std::thread::sleep(Duration::from_millis(2));
            assert!(given());
            assert!(matches!(taker.join(), Ok(Taken::Items(work)) if work.len() == 1));
        });
    }
}
