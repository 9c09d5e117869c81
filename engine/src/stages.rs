//! The stages between an append and its answer, and the threads that run them.
//!
//! queue -> encoder -> writer -> applier. Each stage has a thread; without threads `step` runs them
//! in turn, which is how the simulation drives the engine. Shutdown is in this order too: a stage
//! ends when the one before it has ended and its lane is empty.
//!
//! A wake-up costs as much as a small group. So a caller who waits anyway and finds nobody else
//! here leads: it encodes, writes and publishes its own append on its own thread; and the encoder
//! writes small groups itself. INVARIANT: whoever does so holds the encoder's lock and saw that no
//! group is with the writer, so groups are written and published one at a time and in order.

use crate::sync::atomic::Ordering;
use std::sync::Arc;
use std::time::Duration;

use crate::commit::{
    Answer, Closing, Committed, Encoder, GROUP_BYTES_MAX, Group, Incoming, fail_group, write_group,
};
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::lane::Taken;
use crate::stats::Stopwatch;
use crate::sync::MutexGuard;
use crate::tail::TailEntry;
use crate::types::{Lsn, RoomId};

/// Idle time after which the last records get their promise.
const PROMISE_AFTER: Duration = Duration::from_millis(50);
/// Waiting drafts of so many bytes are encoded while the group before is still being written.
const EAGER_BYTES: usize = 256 * 1024;
/// A frame below this is written by the thread that made it: encoding the next one meanwhile gains
/// less than waking the writer costs.
const INLINE_BYTES: usize = 64 * 1024;
/// Appends that a group under load waits for, as long as they keep coming, if the one before had
/// one only; otherwise most of as many as that had, for those callers were just answered.
const GATHER_ITEMS: usize = 16;
/// Appends of the group before from which on the thread that takes them is not woken by the first:
/// fewer come while it wakes.
const GATHER_MANY: usize = 16;
/// How long it waits for the next one.
const GATHER_PAUSE: Duration = Duration::from_micros(300);
/// How often it does.
const GATHER_PAUSES: usize = 8;
/// Groups that are not waited for after one for which nobody came: one, and twice as many after
/// each further such one, up to this.
const GATHER_REST_MAX: usize = 64;
/// Records applied in one batch of the catalog.
const APPLY_RECORDS_MAX: usize = 4096;

/// How long records wait to be applied with what comes after them: a batch costs as much as dozens
/// of records in it, and mostly nobody waits for it. For control records, and for whoever does wait
/// (`Directory::wait_applied`), it does not.
const APPLY_PAUSE: Duration = Duration::from_millis(8);
/// Records that are not waited with.
const APPLY_ENOUGH: usize = 1024;

/// What the applier gets: records, and answers that wait for it.
#[derive(Debug)]
pub(crate) struct Work {
    pub records: Vec<Committed>,
    pub answers: Vec<Answer>,
}

impl Engine {
    /// Without threads: runs every stage until nothing waits.
    pub fn step(&self) {
        self.0.step();
    }

    /// Without threads: writes the promise and the witness that an idle engine owes.
    pub fn idle(&self) {
        let next = self.0.encoder.lock().as_ref().map(|encoder| encoder.state.next_lsn());
        self.0.encode_once(Some(Duration::ZERO), next);
        self.0.write_waiting();
        self.0.state_witness(self.0.progress.committed.get());
    }
}

/// How a round of the encoder ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoded {
    /// A promise is owed for what was encoded; with it the place of the next record.
    Owing(Lsn),
    /// Nothing is owed.
    AtRest,
    /// Nothing will ever come.
    Closed,
}

/// Starts the threads of an engine.
pub(crate) fn start(inner: &Arc<Inner>) -> Result<()> {
    let spawn = |name: &str, run: fn(&Inner)| {
        let own = Arc::clone(inner);
        crate::sync::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || run(&own))
            .map_err(|e| Error::io("start thread", inner.disk.root(), &e))
    };
    let mut threads = inner.threads.lock();
    threads.push(spawn("hansard-encode", Inner::run_encoder)?);
    threads.push(spawn("hansard-write", Inner::run_writer)?);
    threads.push(spawn("hansard-apply", Inner::run_applier)?);
    threads.push(spawn("hansard-keep", Inner::run_keeper)?);
    // Also where no pass is due by itself: one may be asked for.
    threads.push(spawn("hansard-scrub", Inner::run_scrub)?);
    if inner.options.merge_interval_ms > 0 {
        threads.push(spawn("hansard-merge", Inner::run_merger)?);
    }
    if inner.options.expire_interval_ms > 0 {
        threads.push(spawn("hansard-expire", Inner::run_expirer)?);
    }
    if inner.options.head_interval_ms > 0 {
        threads.push(spawn("hansard-sign", Inner::run_notary)?);
    }
    Ok(())
}

impl Inner {
    pub(crate) fn step(&self) {
        while self.queue.len() > 0 {
            self.encode_once(Some(Duration::ZERO), None);
            self.write_waiting();
            self.apply_waiting();
        }
    }

    fn run_encoder(&self) {
        let mut owed = None;
        loop {
            // ORDERING: the stage ends when its queue is closed and empty, not when the engine is
            // closing: an append that was let in before may still be on its way into the queue.
            match self.encode_once(owed.map(|_| PROMISE_AFTER), owed) {
                Encoded::Owing(next) => owed = Some(next),
                Encoded::AtRest => owed = None,
                Encoded::Closed => break,
            }
        }
        self.write_closing();
        self.to_writer.close();
    }

    /// Takes what waits and makes one group of it. If nothing comes within `wait`, and `owed` is
    /// still the place of the next record, it is the time for a promise.
    fn encode_once(&self, wait: Option<Duration>, owed: Option<Lsn>) -> Encoded {
        // While a group is being written, what comes next goes on gathering, unless there is enough
        // of it to make encoding meanwhile worth while: a draft taken early waits for two syncs.
        let ready = || self.writing.load(Ordering::Acquire) == 0;
        let no_more = self.gather_first();
        let taken = match self.queue.take_when(GROUP_BYTES_MAX, wait, EAGER_BYTES, ready) {
            Taken::Items(incoming) if !no_more => Taken::Items(self.gather(incoming)),
            other => other,
        };
        let mut guard = self.encoder.lock();
        let Some(encoder) = guard.as_mut() else { return Encoded::Closed };
        let group = match taken {
            Taken::Items(incoming) => {
                let group = self.encode(encoder, incoming);
                self.queue.done();
                group
            }
            Taken::Nothing if owed == Some(encoder.state.next_lsn()) && encoder.owes_promise() => {
                self.encoded(encoder.empty_frame(Closing::No))
            }
            Taken::Nothing => None,
            Taken::Closed => return Encoded::Closed,
        };
        let owes = encoder.owes_promise().then(|| encoder.state.next_lsn());
        self.resting.store(owes.is_none(), Ordering::Release);
        if let Some(group) = group {
            let bytes = group.frame.as_ref().map_or(0, |(_, frame)| frame.len());
            let idle = self.writing.load(Ordering::Acquire) == 0;
            if self.threaded && idle && bytes < INLINE_BYTES {
                self.writing.fetch_add(1, Ordering::AcqRel);
                self.write_one(group);
            } else {
                self.pass_to_writer(group);
            }
        }
        MutexGuard::unlock_fair(guard);
        owes.map_or(Encoded::AtRest, Encoded::Owing)
    }

    /// Leads the commit of appends whose caller waits for them, if nobody else is here and they are
    /// few: of many the encoder had better take a part while the caller goes on. Gives them back
    /// otherwise.
    pub(crate) fn lead(&self, items: Vec<Incoming>) -> Vec<Incoming> {
        // Where the last group had more appends than these, more are about to come: they had better
        // share a sync.
        let weight: usize = items.iter().map(|incoming| incoming.bytes).sum();
        let more = self.last_appends.load(Ordering::Relaxed) > items.len();
        if !self.threaded || items.is_empty() || more || weight > INLINE_BYTES {
            return items;
        }
        let Some(mut guard) = self.encoder.try_lock() else { return items };
        // ORDERING: groups go to the writer under this lock only, and the closing frame is written
        // under it after the queue was closed. What was queued before, perhaps by this caller, has
        // its place: it is not in the encoder's hands on the way to this lock.
        let busy = self.writing.load(Ordering::Acquire) > 0 || !self.queue.is_idle();
        let Some(encoder) = guard.as_mut().filter(|_| !busy) else { return items };
        let group = self.encode(encoder, items);
        let owes = encoder.owes_promise();
        if let Some(group) = group {
            self.writing.fetch_add(1, Ordering::AcqRel);
            self.write_one(group);
        }
        if owes && self.resting.swap(false, Ordering::AcqRel) {
            // The encoder waits for nothing: from now on it waits until a promise is due.
            self.queue.poke();
        }
        MutexGuard::unlock_fair(guard);
        Vec::new()
    }

    /// Makes one group of appends; none if they were refused.
    fn encode(&self, encoder: &mut Encoder, incoming: Vec<Incoming>) -> Option<Group> {
        self.last_appends.store(incoming.len(), Ordering::Relaxed);
        self.encoded(encoder.group(incoming, self.gate.get()))
    }

    fn encoded(&self, group: Result<Group>) -> Option<Group> {
        match group {
            Ok(group) => {
                if self.refusing.lock().take().is_some() {
                    tracing::info!("records are taken again");
                }
                Some(group)
            }
            // Whoever waited was answered; mostly there is no room in the journal, and only a trim
            // helps. One line for all of one cause: what is left of the disk is not for the log.
            Err(error) => {
                let before = self.refusing.lock().replace(error.clone());
                if before.as_ref() != Some(&error) {
                    tracing::warn!(%error, "nothing can be recorded now");
                }
                self.keeper.wake();
                None
            }
        }
    }

    /// Under load, a group that is still small waits for the next few appends while they keep
    /// coming: a sync shared by more of them costs each less. Where nobody came, it is not tried
    /// again for a while, so that a few writers who wait for each answer are not slowed down; one
    /// alone never is.
    fn gather(&self, mut incoming: Vec<Incoming>) -> Vec<Incoming> {
        let weight: usize = incoming.iter().map(|i| i.bytes).sum();
        let (before, wanted) = self.wanted();
        let alone = incoming.len() < 2 && before < 2;
        let small = incoming.len() < wanted && !alone && weight < EAGER_BYTES;
        if !self.threaded || !small {
            return incoming;
        }
        let rest = self.gather_rest.load(Ordering::Relaxed);
        if rest > 0 {
            self.gather_rest.store(rest - 1, Ordering::Relaxed);
            return incoming;
        }
        let missing = (wanted - incoming.len(), EAGER_BYTES - weight);
        let (came, _) = self.queue.gather(missing, GATHER_PAUSE, GATHER_PAUSES);
        self.rest_from_gathering(came == 0);
        if let Taken::Items(more) = self.queue.take(GROUP_BYTES_MAX - weight, Some(Duration::ZERO))
        {
            incoming.extend(more);
        }
        incoming
    }

    /// The appends of the group before, and those that the next one waits for. Not as many: those
    /// that come later make a group of their own while this one is written, so that neither the
    /// disk nor the processors wait for the other.
    fn wanted(&self) -> (usize, usize) {
        let before = self.last_appends.load(Ordering::Relaxed);
        (before, if before > 1 { before - before * 3 / 8 } else { GATHER_ITEMS })
    }

    /// Of many, sleeps until a quarter of them are here: a thread that the first one wakes sleeps
    /// again, and while it wakes, others come. True if no more of them come.
    fn gather_first(&self) -> bool {
        let (before, wanted) = self.wanted();
        if !self.threaded || before < GATHER_MANY || self.gather_rest.load(Ordering::Relaxed) > 0 {
            return false;
        }
        let some = wanted / 4;
        let (came, inside) = self.queue.gather((some, EAGER_BYTES), GATHER_PAUSE, GATHER_PAUSES);
        let no_more = came == 0 && (1..some).contains(&inside);
        if no_more {
            self.rest_from_gathering(true);
        }
        no_more
    }

    /// After nobody came, groups are not waited for: for each such time twice as many.
    fn rest_from_gathering(&self, nobody: bool) {
        if nobody {
            let next = self.gather_pause.load(Ordering::Relaxed).clamp(1, GATHER_REST_MAX);
            self.gather_rest.store(next, Ordering::Relaxed);
            self.gather_pause.store(next * 2, Ordering::Relaxed);
        } else {
            self.gather_pause.store(1, Ordering::Relaxed);
        }
    }

    fn write_closing(&self) {
        if self.progress.poison.get().is_some() {
            return;
        }
        let mut encoder = self.encoder.lock();
        let Some(encoder) = encoder.as_mut() else { return };
        match encoder.empty_frame(Closing::Yes) {
            Ok(group) => self.pass_to_writer(group),
            Err(error) => tracing::warn!(%error, "no room for the closing frame"),
        }
    }

    pub(crate) fn pass_to_writer(&self, group: Group) {
        self.writing.fetch_add(1, Ordering::AcqRel);
        if let Err(group) = self.to_writer.give(group, 1) {
            fail_group(&group, &Error::Poisoned { first: "the writer has stopped".into() });
        }
    }

    fn run_writer(&self) {
        loop {
            match self.to_writer.take(1, None) {
                Taken::Items(groups) => groups.into_iter().for_each(|g| self.write_one(g)),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
        self.to_applier.close();
    }

    pub(crate) fn write_waiting(&self) {
        while let Taken::Items(groups) = self.to_writer.take(1, Some(Duration::ZERO)) {
            groups.into_iter().for_each(|g| self.write_one(g));
        }
    }

    fn write_one(&self, group: Group) {
        self.write_and_publish(group);
        self.writing.fetch_sub(1, Ordering::AcqRel);
        self.queue.nudge();
    }

    /// Writes one group, makes it durable and publishes it.
    fn write_and_publish(&self, group: Group) {
        if let Some(poisoned) = self.progress.poison.get() {
            fail_group(&group, &poisoned);
            return;
        }
        let watch = Stopwatch::start();
        if let Err(error) = write_group(&group) {
            // INVARIANT: after one failed write or sync nothing more is accepted, and nothing is
            // tried again: what the page cache says after it is not to be believed.
            self.progress.poison.set(&error);
            let poisoned = self.progress.poison.get().unwrap_or(error);
            fail_group(&group, &poisoned);
            self.gate.open_for_good();
            return;
        }
        if let Some((placement, frame)) = &group.frame {
            self.stats.sync.record(watch.elapsed());
            self.stats.frames.add(1);
            self.stats.journal_bytes.add(frame.len() as u64);
            self.watch_disk_after(frame.len() as u64);
            self.durable_incarnation.store(placement.incarnation, Ordering::Release);
            if placement.header.is_some() || group.records.is_empty() {
                // ORDERING: before anything in a new file is acknowledged, something outside of it
                // says that there is such a file; and when the log comes to rest, how far it is.
                self.state_witness(group.last);
            }
        }
        self.publish(group);
    }

    /// Says outside the journal how far it is durable. A failure costs that protection only.
    pub(crate) fn state_witness(&self, durable: crate::types::Lsn) {
        let incarnation = self.durable_incarnation.load(Ordering::Acquire);
        if let Some(witness) = self.witness.lock().as_mut()
            && let Err(error) = witness.state(incarnation, durable)
        {
            tracing::warn!(%error, "witness cannot be written");
        }
    }

    fn publish(&self, group: Group) {
        let Group { records, answers, last, .. } = group;
        for committed in &records {
            let record = &committed.record;
            let entry = TailEntry {
                lsn: record.lsn,
                rev: record.rev,
                seq_at: committed.seq_at,
                time_at: record.time,
                kind: record.payload.kind(),
                bytes: committed.bytes.clone(),
                words: committed.words,
            };
            self.history.tails.push(record.room, entry);
        }
        self.progress.committed.raise(last);
        if !records.is_empty() {
            self.stats.groups.add(1);
            self.stats.records.add(records.len() as u64);
            self.tell(&records);
        }
        let (control, plain): (Vec<Answer>, Vec<Answer>) =
            answers.into_iter().partition(|a| a.control);
        for answer in plain {
            answer.promise.fill(Ok(answer.appended));
        }
        if self.history.tails.bytes() > self.options.tail_bytes_soft || self.pool.pressed() {
            self.keeper.wake();
        }
        if records.is_empty() && control.is_empty() {
            return;
        }
        let weight = records.len();
        let waited_for = !control.is_empty();
        let work = Work { records, answers: control };
        let given = match waited_for {
            true => self.to_applier.give_now(work, weight),
            false => self.to_applier.give(work, weight),
        };
        if let Err(work) = given {
            let stopped = Error::Poisoned { first: "the applier has stopped".into() };
            for answer in work.answers {
                answer.promise.fill(Err(stopped.clone()));
            }
        }
    }

    fn tell(&self, records: &[Committed]) {
        let listeners = self.listeners.read();
        if listeners.is_empty() {
            return;
        }
        let mut rooms: Vec<RoomId> = records.iter().map(|c| c.record.room).collect();
        rooms.sort_unstable();
        rooms.dedup();
        for listener in listeners.iter() {
            listener.committed(&rooms);
        }
    }

    fn run_applier(&self) {
        loop {
            match self.to_applier.take_later(APPLY_RECORDS_MAX, APPLY_PAUSE, APPLY_ENOUGH) {
                Taken::Items(work) => self.apply_work(work),
                Taken::Nothing => {}
                Taken::Closed => break,
            }
        }
    }

    fn apply_waiting(&self) {
        while let Taken::Items(work) = self.to_applier.take(APPLY_RECORDS_MAX, Some(Duration::ZERO))
        {
            self.apply_work(work);
        }
    }

    /// Applies what was committed, and answers who waited for it.
    fn apply_work(&self, work: Vec<Work>) {
        let applied = self.apply_records(&work);
        match applied {
            Ok(lsn) => {
                self.gate.raise(lsn);
                for answer in work.into_iter().flat_map(|w| w.answers) {
                    answer.promise.fill(Ok(answer.appended));
                }
            }
            Err(error) => {
                self.progress.poison.set(&error);
                let poisoned = self.progress.poison.get().unwrap_or(error);
                for answer in work.into_iter().flat_map(|w| w.answers) {
                    answer.promise.fill(Err(poisoned.clone()));
                }
                self.gate.open_for_good();
            }
        }
    }

    fn apply_records(&self, work: &[Work]) -> Result<crate::types::Lsn> {
        if let Some(poisoned) = self.progress.poison.get() {
            return Err(poisoned);
        }
        let mut applier = self.applier.lock();
        applier.read_ahead(work.iter().flat_map(|w| &w.records).map(|c| &c.record))?;
        for committed in work.iter().flat_map(|w| &w.records) {
            applier.apply_named(&committed.record, &committed.bytes, committed.name)?;
        }
        let applied = applier.commit();
        // ORDERING: the rows are written, and nobody was told of it yet.
        self.known.forget(applier.take_written());
        self.history.runs.forget_pasts(applier.take_pasts().into_iter());
        self.history.runs.forget_places(applier.take_places().into_iter());
        applied
    }

    /// Ends the stages in their order and flushes.
    pub(crate) fn close(&self) -> Result<()> {
        self.sign_before_closing();
        if self.closing.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.queue.close();
        self.pool.stop();
        self.keeper.bell.stop();
        self.scrub.bell.stop();
        self.merger.bell.stop();
        self.expirer.bell.stop();
        self.notary.bell.stop();
        if self.threaded {
            let threads = std::mem::take(&mut *self.threads.lock());
            for thread in threads {
                if thread.join().is_err() {
                    tracing::error!("a stage ended by a panic");
                }
            }
        } else if self.restricted.is_empty() {
            self.step();
            self.write_closing();
            self.write_waiting();
            self.apply_waiting();
        }
        self.gate.open_for_good();
        if self.progress.poison.get().is_none() {
            self.state_witness(self.progress.committed.get());
        }
        match self.progress.poison.get() {
            Some(poisoned) => Err(poisoned),
            None if self.restricted.is_empty() => {
                self.applier.lock().commit_all()?;
                self.store.flush()
            }
            None => Ok(()),
        }
    }
}
