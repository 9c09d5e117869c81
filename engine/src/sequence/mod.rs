//! `sequence`: the pure function that gives positions, in log order, or refuses.
//!
//! It reads a draft, its state and rows at rest; it reads no clock and no configuration. Everything
//! the door could not know for sure is decided here: is the name still free, is the room still
//! there, was the key seen, did the rights change since they were checked.
//!
//! INVARIANT: only this module makes an `Lsn`, a `seq`, a `rev` or a record's time.

mod check;
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

/// What became of an append.
#[derive(Debug)]
pub enum Sequenced {
    /// These records are to be written, in this order; with each the room's seq after it.
    New(Vec<(Record, Seq)>),
    /// The key was seen: nothing is written.
    Replay(Appended),
}

/// Gives positions to all drafts of one append, or to none.
///
/// # Errors
/// `NotFound`, `Conflict`, `Invalid` or `PolicyChanged`; the state is then as before.
pub fn sequence(drafts: Vec<Draft>, now: TimeUs, state: &mut SeqState) -> Result<Sequenced> {
    let mark = state.mark();
    match all(drafts, now, state) {
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

fn all(drafts: Vec<Draft>, now: TimeUs, state: &mut SeqState) -> Result<Sequenced> {
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
    let alone = drafts.len() == 1;
    let mut records = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let keyed = |i: &Idempotency| KeyName::new(draft.actor.id, draft.room, &i.key);
        let name = draft.idempotency.as_ref().map(keyed);
        if let (Some(idempotency), Some(name)) = (&draft.idempotency, &name) {
            if !alone {
                return Err(Error::invalid("an idempotency key goes with one draft"));
            }
            if let Some(first) = seen(&draft, (idempotency, name), now, state)? {
                return Ok(Sequenced::Replay(first));
            }
        }
        records.push(one(draft, name, now, state)?);
    }
    Ok(Sequenced::New(records))
}

/// The first result under the draft's key, if the key is remembered.
fn seen(
    draft: &Draft,
    (idempotency, name): (&Idempotency, &KeyName),
    now: TimeUs,
    state: &SeqState,
) -> Result<Option<Appended>> {
    let Some(First { span, row }) = state.key(name)? else { return Ok(None) };
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

fn one(
    draft: Draft,
    name: Option<KeyName>,
    now: TimeUs,
    state: &mut SeqState,
) -> Result<(Record, Seq)> {
    let lsn = state.next_lsn();
    let epoch = state.epoch();
    let recorded = now.max(state.last_recorded());
    let room = place(&draft, epoch, lsn);
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
    Ok((record, seq_at))
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
