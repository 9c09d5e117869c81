//! `sequence`: the pure function that gives positions, in log order, or refuses.
//!
//! It reads a draft, its state and rows at rest; it reads no clock and no configuration. Everything
//! the door could not know for sure is decided here: is the name still free, is the room still
//! there, was the key seen, did the rights change since they were checked.
//!
//! INVARIANT: only this module makes an `Lsn`, a `seq`, a `rev` or a record's time.

mod check;
mod keys;
mod state;

pub(crate) use check::principal_name_key;
pub use state::{Policy, SeqState};

use crate::catalog::keys::KeyName;
use crate::catalog::rows::HeadRow;
use crate::draft::{Appended, Draft, Said};
use crate::error::{ConflictCode, Error, Result};
use crate::format::payload::Payload;
use crate::format::record::{Idempotency, Record};
use crate::limits;
use crate::remembered::First;
use crate::types::{Epoch, Lsn, Rev, RoomId, Seq, TimeUs};

/// A draft's idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// Its name.
    pub name: KeyName,
    /// Whether one that stood in a run before this group may be it.
    pub may_rest: bool,
}

/// A record that has its place.
#[derive(Debug)]
pub struct Placed {
    /// The record.
    pub record: Record,
    /// The room's seq after it.
    pub seq_at: Seq,
    /// The name of its key as the catalog will know it, if that was needed here.
    pub name: Option<KeyName>,
}

/// What became of an append.
#[derive(Debug)]
pub enum Sequenced {
    /// These records are to be written, in this order.
    New(Vec<Placed>),
    /// The key was seen: nothing is written.
    Replay(Appended),
}

/// The name of the key of an append: only a draft alone has one.
#[must_use]
pub fn name_of(drafts: &[Draft]) -> Option<KeyName> {
    let [draft] = drafts else { return None };
    let key = draft.idempotency.as_ref()?;
    Some(KeyName::new(draft.actor.id, draft.room, &key.key))
}

/// Gives positions to all drafts of one append, or to none. `key` is what [`name_of`] says of them.
///
/// # Errors
/// `NotFound`, `Conflict`, `Invalid` or `PolicyChanged`; the state is then as before.
pub fn sequence(
    drafts: Vec<Draft>,
    key: Option<Keyed>,
    now: TimeUs,
    state: &mut SeqState,
) -> Result<Sequenced> {
    let mark = state.mark();
    match all(drafts, key, now, state) {
        Ok(sequenced) => {
            state.keep();
            Ok(sequenced)
        }
        Err(error) => {
            state.undo(&mark);
            Err(error)
        }
    }
}

fn all(
    drafts: Vec<Draft>,
    key: Option<Keyed>,
    now: TimeUs,
    state: &mut SeqState,
) -> Result<Sequenced> {
    if drafts.is_empty() || drafts.len() > limits::APPEND_DRAFTS_MAX {
        return Err(Error::invalid(format!(
            "an append takes 1 to 1024 drafts found={}",
            drafts.len()
        )));
    }
    // Rights are those before the append: what its own drafts change does not send it back.
    for draft in &drafts {
        state.check_policy(draft)?;
    }
    let mut records = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let key = match &draft.idempotency {
            Some(idempotency) => {
                let Some(key) = key else {
                    return Err(Error::invalid("an idempotency key goes with one draft"));
                };
                if let Some(first) = seen(&draft, (idempotency, &key), now, state)? {
                    return Ok(Sequenced::Replay(first));
                }
                Some(key.name)
            }
            None => None,
        };
        records.push(one(draft, key, now, state)?);
    }
    Ok(Sequenced::New(records))
}

/// The first result under the draft's key, if the key is remembered.
fn seen(
    draft: &Draft,
    (idempotency, key): (&Idempotency, &Keyed),
    now: TimeUs,
    state: &SeqState,
) -> Result<Option<Appended>> {
    let Some(First { span, row }) = state.key(key)? else { return Ok(None) };
    // The window counts in the log's own time, so that it is the same after a restart.
    let recorded = now.max(state.last_recorded());
    let first = row.recorded(span);
    if first.saturating_add_us(limits::IDEMPOTENCY_WINDOW_US) < recorded {
        return Ok(None);
    }
    if !row.is_of(&idempotency.digest) {
        return Err(Error::conflict(
            ConflictCode::KeyReused,
            format!("idempotency key was used for another request lsn={}", row.lsn),
        ));
    }
    Ok(Some(Appended {
        epoch: row.epoch,
        lsn: row.lsn,
        room: draft.room,
        seq: row.seq,
        rev: row.rev,
        time: row.time(span),
        recorded: first,
        replayed: true,
    }))
}

fn one(draft: Draft, name: Option<KeyName>, now: TimeUs, state: &mut SeqState) -> Result<Placed> {
    let lsn = state.next_lsn();
    let epoch = state.epoch();
    let recorded = now.max(state.last_recorded());
    let room = place(&draft, epoch, lsn);
    // The catalog knows it by the room that the record is of.
    let known = name.filter(|_| room == draft.room);
    let mut head = match draft.payload {
        // Its number was never given before.
        Payload::RoomCreated(_) => HeadRow::EMPTY,
        _ => state.head(room)?,
    };
    check::admit(&draft, room, &head, state)?;
    let is_entry = draft.payload.kind().is_entry();
    let time = said(&draft, recorded, is_entry, head.time, head.seq)?;
    head.rev = head.rev.next();
    if is_entry {
        head.seq = head.seq.next();
        head.time = time;
    }
    let record = Record {
        epoch,
        lsn,
        recorded,
        time,
        room,
        seq: if is_entry { head.seq } else { Seq::ZERO },
        rev: head.rev,
        actor: draft.actor,
        policy: draft.checked_at,
        idempotency: draft.idempotency,
        payload: draft.payload,
    };
    check::size(&record)?;
    let seq_at = head.seq;
    state.advance(&record, name, head);
    Ok(Placed { record, seq_at, name: known })
}

/// The room a draft belongs to: a new one, a system room, or the one it names.
fn place(draft: &Draft, epoch: Epoch, lsn: Lsn) -> RoomId {
    match &draft.payload {
        Payload::RoomCreated(_) => RoomId::new(epoch, lsn),
        payload => payload.system_room().unwrap_or(draft.room),
    }
}

/// The time of a record, never before the room's newest entry.
fn said(
    draft: &Draft,
    recorded: TimeUs,
    is_entry: bool,
    newest: TimeUs,
    newest_seq: Seq,
) -> Result<TimeUs> {
    if !is_entry {
        return Ok(recorded);
    }
    match draft.said {
        Said::Now => Ok(recorded.max(newest)),
        Said::At(time) if time < TimeUs::FLOOR || time > TimeUs::CEILING => {
            Err(Error::invalid(format!("time is out of range time={time}")))
        }
        Said::At(time) if time < newest => Err(Error::conflict(
            ConflictCode::TimeBackwards,
            format!(
                "entry is older than the room's newest time={time} newest={newest} seq={newest_seq}"
            ),
        )),
        Said::At(time) => Ok(time),
    }
}

/// What the caller gets for a record.
#[must_use]
pub const fn appended(record: &Record) -> Appended {
    Appended {
        epoch: record.epoch,
        lsn: record.lsn,
        room: record.room,
        seq: record.seq,
        rev: record.rev,
        time: record.time,
        recorded: record.recorded,
        replayed: false,
    }
}

const _: () = assert!(Rev::ZERO.next().0 == 1);
