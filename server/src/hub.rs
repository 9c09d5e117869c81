//! From commits to connections: which rooms changed, and who listens there.
//!
//! One thread turns commits into marks on the outboxes and writes each change of a busy room once
//! for all its readers; it sleeps while nobody listens. It sends nothing and queues no message.
//! INVARIANT: the commit path only adds room ids to a set. INVARIANT: once a redaction is answered,
//! no text that was ready before it is given out. Lock order: `dirty` alone; `board`, then an
//! outbox.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering, fence};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

use hansard_engine::catalog::rows::PrincipalRow;
use hansard_engine::format::payload::Payload;
use hansard_engine::format::record::Record;
use hansard_engine::types::{CategoryId, PrincipalId, Rev, RoomId, TokenId};
use hansard_engine::{CommitListener, Directory, Engine};
use parking_lot::{Condvar, Mutex};

use crate::access::{Access, Refusal};
use crate::frames::{self, Frame};
use crate::limits::{READY_BYTES_MAX, READY_CHANGES_MAX, READY_TOTAL_BYTES_MAX};
use crate::metrics::Metrics;
use crate::outbox::Outbox;

/// What a change of rights touched.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Touched {
    /// A room's settings or members.
    Room(RoomId),
    /// A category's scope.
    Category(CategoryId),
    /// A principal.
    Principal(PrincipalId),
    /// A token.
    Token(TokenId),
}

/// The newest changes of a room as text: those after `start`, through `through`.
#[derive(Default)]
struct Ready {
    start: Rev,
    through: Rev,
    frames: Vec<Frame>,
    bytes: usize,
}

impl Ready {
    /// Nothing: what is newer than `rev` the sessions read for themselves, until it is ready.
    fn none(rev: Rev) -> Self {
        Self { start: rev, through: rev, ..Self::default() }
    }
}

struct Feed {
    sessions: HashMap<u64, Arc<Outbox>>,
    ready: Ready,
    /// Another number since words were taken away: what was read before is not to become ready.
    turn: u64,
}

#[derive(Default)]
struct Board {
    rooms: HashMap<RoomId, Feed>,
    sessions: HashMap<u64, Arc<Outbox>>,
}

#[derive(Default)]
struct Dirty {
    rooms: HashSet<RoomId>,
    stop: bool,
}

/// True for what takes words away that were said before it.
fn takes_words(record: &Record) -> bool {
    matches!(record.payload, Payload::Redacted(_) | Payload::Expired(_) | Payload::Erased(_))
}

/// The meeting place of commits and connections.
pub(crate) struct Hub {
    engine: Engine,
    metrics: Arc<Metrics>,
    board: Mutex<Board>,
    dirty: Mutex<Dirty>,
    wake: Condvar,
    /// Rooms that somebody listens to.
    heard: AtomicUsize,
    /// Numbers of connections and turns: none is given twice.
    names: AtomicU64,
    ready_bytes: AtomicUsize,
}

/// What the engine holds: not the hub itself, which holds the engine.
struct Listener(Weak<Hub>);

impl CommitListener for Listener {
    fn committed(&self, rooms: &[RoomId]) {
        if let Some(hub) = self.0.upgrade().filter(|hub| hub.is_heard()) {
            hub.dirty.lock().rooms.extend(rooms.iter().filter(|room| !room.is_system()));
            hub.wake.notify_one();
        }
    }
}

impl Hub {
    /// Without its thread.
    pub(crate) fn new(engine: Engine, metrics: Arc<Metrics>) -> Arc<Self> {
        Arc::new(Self {
            engine,
            metrics,
            board: Mutex::default(),
            dirty: Mutex::default(),
            wake: Condvar::new(),
            heard: AtomicUsize::new(0),
            names: AtomicU64::new(1),
            ready_bytes: AtomicUsize::new(0),
        })
    }

    /// Listens to commits and starts the thread; its owner joins it after `stop`.
    pub(crate) fn start(self: &Arc<Self>) -> std::io::Result<JoinHandle<()>> {
        self.engine.listen(Arc::new(Listener(Arc::downgrade(self))));
        let hub = Arc::clone(self);
        std::thread::Builder::new().name("hansard-hub".into()).spawn(move || hub.run())
    }

    /// Ends the thread.
    pub(crate) fn stop(&self) {
        self.dirty.lock().stop = true;
        self.wake.notify_one();
    }

    /// True if somebody listens to some room, or is about to and has not read what is there yet.
    fn is_heard(&self) -> bool {
        // ORDERING: the fence stands between what was made visible and this look, as that of
        // `subscribe` between its mark and the listener's first read: one sees the other's.
        fence(Ordering::SeqCst);
        self.heard.load(Ordering::Relaxed) > 0
    }

    fn run(&self) {
        loop {
            let rooms = {
                let mut dirty = self.dirty.lock();
                while dirty.rooms.is_empty() && !dirty.stop {
                    self.wake.wait(&mut dirty);
                }
                if dirty.stop {
                    return;
                }
                std::mem::take(&mut dirty.rooms)
            };
            for room in rooms {
                self.fan_out(room);
            }
        }
    }

    /// Reads what is new in a room once, keeps its text ready, and marks everybody who listens.
    fn fan_out(&self, room: RoomId) {
        let feed = self.board.lock().rooms.get(&room).map(|feed| (feed.ready.through, feed.turn));
        let Some((through, turn)) = feed else { return };
        let changes = self.engine.changes(room, through, READY_CHANGES_MAX);
        self.metrics.fanout_reads.add(1);
        let mut board = self.board.lock();
        let Some(feed) = board.rooms.get_mut(&room) else { return };
        self.ready_bytes.fetch_sub(feed.ready.bytes, Ordering::Relaxed);
        feed.ready = match changes {
            // The words that go may stand before it in the same text: it was perhaps not applied
            // yet when this was read.
            Ok(changes) if feed.turn != turn || changes.records.iter().any(takes_words) => {
                Ready::none(changes.through)
            }
            Ok(changes) if changes.through >= changes.head => {
                self.bounded(through, changes.through, frames::of_changes(room, &changes))
            }
            // Far behind: the sessions read for themselves.
            Ok(changes) => Ready::none(changes.head),
            Err(error) => {
                tracing::error!(%room, %error, "changes could not be read for streams");
                Ready::none(through)
            }
        };
        self.ready_bytes.fetch_add(feed.ready.bytes, Ordering::Relaxed);
        for session in feed.sessions.values() {
            session.mark(room);
        }
    }

    fn bounded(&self, start: Rev, through: Rev, frames: Vec<Frame>) -> Ready {
        let bytes = frames.iter().map(|frame| frame.text.len()).sum();
        let total = self.ready_bytes.load(Ordering::Relaxed).saturating_add(bytes);
        if bytes > READY_BYTES_MAX || total > READY_TOTAL_BYTES_MAX {
            return Ready::none(through);
        }
        Ready { start, through, frames, bytes }
    }

    /// Words of a room were taken away: call before that is answered.
    pub(crate) fn words_taken(&self, room: RoomId) {
        let mut board = self.board.lock();
        let Some(feed) = board.rooms.get_mut(&room) else { return };
        feed.turn = self.names.fetch_add(1, Ordering::Relaxed);
        self.ready_bytes.fetch_sub(feed.ready.bytes, Ordering::Relaxed);
        feed.ready = Ready::none(feed.ready.through);
    }

    /// The ready changes of a room after a rev, if what follows it is ready.
    pub(crate) fn ready(&self, room: RoomId, after: Rev) -> Option<(Vec<Frame>, Rev)> {
        let board = self.board.lock();
        let ready = &board.rooms.get(&room)?.ready;
        if after < ready.start || after >= ready.through {
            return None;
        }
        let news = ready.frames.iter().filter(|frame| frame.rev > after);
        Some((news.cloned().collect(), ready.through))
    }

    /// A new connection.
    pub(crate) fn connect(&self, principal: PrincipalId, token: TokenId) -> Arc<Outbox> {
        let id = self.names.fetch_add(1, Ordering::Relaxed);
        let outbox = Arc::new(Outbox::new(id, principal, token));
        self.board.lock().sessions.insert(id, Arc::clone(&outbox));
        self.metrics.streams.add(1);
        outbox
    }

    /// A connection has ended.
    pub(crate) fn disconnect(&self, outbox: &Outbox) {
        let mut board = self.board.lock();
        if board.sessions.remove(&outbox.id).is_none() {
            return;
        }
        self.metrics.streams.add(-1);
        let rooms: Vec<RoomId> = board
            .rooms
            .iter()
            .filter(|(_, feed)| feed.sessions.contains_key(&outbox.id))
            .map(|(room, _)| *room)
            .collect();
        for room in rooms {
            self.forget(&mut board, room, outbox.id);
        }
    }

    /// Adds a connection to a room's listeners, from a rev. False if it has too many rooms.
    pub(crate) fn subscribe(
        &self,
        outbox: &Arc<Outbox>,
        room: RoomId,
        after: Rev,
        head: Rev,
    ) -> bool {
        if !outbox.insert(room, after, head) {
            return false;
        }
        let mut board = self.board.lock();
        let feed = board.rooms.entry(room).or_insert_with(|| Feed {
            sessions: HashMap::new(),
            ready: Ready::none(head),
            turn: self.names.fetch_add(1, Ordering::Relaxed),
        });
        if feed.sessions.insert(outbox.id, Arc::clone(outbox)).is_none() {
            self.metrics.subscriptions.add(1);
        }
        self.heard.store(board.rooms.len(), Ordering::Relaxed);
        fence(Ordering::SeqCst);
        true
    }

    /// Removes a connection from a room's listeners, as it asked. True if it was one.
    pub(crate) fn unsubscribe(&self, outbox: &Outbox, room: RoomId) -> bool {
        let there = outbox.remove(room);
        self.forget(&mut self.board.lock(), room, outbox.id);
        there
    }

    /// Takes a room away from a connection.
    pub(crate) fn take_away(&self, outbox: &Outbox, room: RoomId, code: &'static str) {
        outbox.take_away(room, code);
        self.forget(&mut self.board.lock(), room, outbox.id);
    }

    fn forget(&self, board: &mut Board, room: RoomId, session: u64) {
        let Some(feed) = board.rooms.get_mut(&room) else { return };
        if feed.sessions.remove(&session).is_some() {
            self.metrics.subscriptions.add(-1);
        }
        if feed.sessions.is_empty() {
            self.ready_bytes.fetch_sub(feed.ready.bytes, Ordering::Relaxed);
            board.rooms.remove(&room);
            self.heard.store(board.rooms.len(), Ordering::Relaxed);
        }
    }

    /// Ends every connection.
    pub(crate) fn close_all(&self, code: &'static str) {
        for session in self.board.lock().sessions.values() {
            session.close(code);
        }
    }

    /// Checks rights again after a change; when it returns, nothing more goes to those who lost
    /// theirs.
    pub(crate) fn revalidate(&self, touched: &Touched) {
        match touched {
            Touched::Token(token) => {
                for session in self.sessions(|session| session.token == *token) {
                    session.close("signed-out");
                }
            }
            Touched::Principal(principal) => {
                let mut check = Check::new(self);
                for session in self.sessions(|session| session.principal == *principal) {
                    for room in session.rooms() {
                        check.room(&session, room);
                    }
                    check.credential(&session);
                }
            }
            Touched::Room(room) => {
                let mut check = Check::new(self);
                for session in self.listeners(*room) {
                    check.room(&session, *room);
                }
            }
            Touched::Category(category) => {
                let mut check = Check::new(self);
                let rooms: Vec<RoomId> = self.board.lock().rooms.keys().copied().collect();
                for room in rooms {
                    if !check.is_in(room, *category) {
                        continue;
                    }
                    for session in self.listeners(room) {
                        check.room(&session, room);
                    }
                }
            }
        }
    }

    fn sessions(&self, wanted: impl Fn(&Outbox) -> bool) -> Vec<Arc<Outbox>> {
        let board = self.board.lock();
        board.sessions.values().filter(|session| wanted(session)).cloned().collect()
    }

    fn listeners(&self, room: RoomId) -> Vec<Arc<Outbox>> {
        let board = self.board.lock();
        board
            .rooms
            .get(&room)
            .map(|feed| feed.sessions.values().cloned().collect())
            .unwrap_or_default()
    }
}

/// One run of checks; each principal is looked up once.
struct Check<'a> {
    hub: &'a Hub,
    directory: Directory,
    principals: HashMap<PrincipalId, Option<Arc<PrincipalRow>>>,
}

impl<'a> Check<'a> {
    fn new(hub: &'a Hub) -> Self {
        Self { hub, directory: hub.engine.directory(), principals: HashMap::new() }
    }

    /// Takes the room away from a session whose principal may not read it. If the rows cannot be
    /// read, the door closes.
    fn room(&mut self, session: &Outbox, room: RoomId) {
        let directory = &self.directory;
        let who = self
            .principals
            .entry(session.principal)
            .or_insert_with(|| directory.principal(session.principal).ok().flatten());
        let allowed = who.as_ref().is_some_and(|who| {
            match Access::begin(directory, who).may_read_room(room) {
                Ok(_) => true,
                Err(Refusal::Failed(error)) => {
                    tracing::error!(%room, %error, "rights could not be read");
                    false
                }
                Err(_) => false,
            }
        });
        if !allowed {
            self.hub.take_away(session, room, "no-rights");
        }
    }

    /// Closes a session whose credential or owner works no longer.
    fn credential(&self, session: &Outbox) {
        let token = self.directory.token_by_id(session.token).ok().flatten();
        let owner = self.directory.principal(session.principal).ok().flatten();
        let works = token.is_some_and(|token| !token.revoked)
            && owner.is_some_and(|owner| !owner.settings.disabled);
        if !works {
            session.close("signed-out");
        }
    }

    fn is_in(&self, room: RoomId, category: CategoryId) -> bool {
        let row = self.directory.room(room).ok().flatten();
        row.is_none_or(|row| row.settings.category == category)
    }
}
