//! Imported history: `/rooms/{id}/imports`.
//!
//! An importer sends entries in batches with how far its source has come; entries and progress are
//! one append, so an interrupted import goes on where it stood. INVARIANT: an author is a principal
//! of his own (network, nick), never an account.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::Directory;
use hansard_engine::draft::{Draft, Said};
use hansard_engine::format::payload::{
    EntryKind as Kind, ImportMark, ImportProgress, Payload, Post, PrincipalCreated, PrincipalKind,
    PrincipalSettings,
};
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::limits::{APPEND_BYTES_MAX, SOURCE_BYTES_MAX};
use hansard_engine::types::{PrincipalId, RoomId, Seq, TimeUs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, ImportJson, Params};
use super::validate;
use super::view::Progress;
use super::words::EntryKind;
use crate::access::{Access, Seen};
use crate::auth::Caller;
use crate::codec::from_hex;
use crate::limits::{IMPORT_ENTRIES_MAX, POLICY_ATTEMPTS_MAX};
use crate::problem::{Code, Problem};
use crate::secrets::sha256;
use crate::state::App;
use crate::submit::{Attempt, Plan, submit};
use crate::time;

/// The name of a format.
const FORMAT_BYTES_MAX: usize = 32;
/// Looks at the progress of a refused batch, and the time between them.
const PROGRESS_LOOKS: u32 = 20;
const PROGRESS_WAIT: Duration = Duration::from_millis(10);
/// An entry's envelope, address included, in the weight of a batch.
const ENTRY_BYTES: usize = 320;
/// The name of a network.
const NETWORK_BYTES_MAX: usize = 64;

/// A place in a source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Place {
    /// Bytes consumed.
    bytes: u64,
    /// SHA-256 of the consumed bytes, lower-case hexadecimal.
    digest: String,
    /// Whether the source is consumed whole.
    #[serde(default)]
    done: bool,
}

/// An entry of a source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportEntry {
    /// Its kind: `text`, `action` or `event`.
    kind: EntryKind,
    /// Who wrote it; none for events, which are the importer's.
    nick: Option<String>,
    /// When it was said.
    #[schema(format = DateTime)]
    time: String,
    /// The text; may be empty.
    body: String,
}

/// A batch of a source.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Import {
    /// The format it was read as.
    format: String,
    /// The source's name: a file without its folders.
    source: String,
    /// Where the batch begins; must be where the room's progress stands.
    from: Place,
    /// Where it ends.
    to: Place,
    /// The network whose nicks these are.
    authors_source: String,
    /// At most 1000, in order of time.
    entries: Vec<ImportEntry>,
    /// Take entries, too, that the category's retention takes away at its next look.
    #[serde(default)]
    allow_expired: bool,
}

/// What was recorded.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Imported {
    /// Entries recorded.
    appended: usize,
    /// The first one's place; null if there was none.
    first_seq: Option<u64>,
    /// The last one's place; null if there was none.
    last_seq: Option<u64>,
}

/// Which import.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ProgressParams {
    /// The format.
    format: String,
    /// The source's name.
    source: String,
}

/// Takes a batch. Managers of the room and administrators.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/imports", tag = "imports", request_body = Import,
    params(("id" = String, Path)), responses((status = 201, body = Imported)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    ImportJson(body): ImportJson<Import>,
) -> Result<(StatusCode, axum::Json<Imported>), Problem> {
    let seen = Access::begin(&app.directory(), &caller.principal).may_manage_room(id)?;
    let batch = Batch::checked(body, &caller)?;
    // Asked before authors are made for nothing, and again with the append.
    batch.continues(&app.directory(), id)?;
    batch.lasts(&seen, app.engine.now())?;
    let authors = authors(&app, &caller, id, &batch).await?;
    let appended = submit(&app, &caller, |attempt| {
        let seen = attempt.access.may_manage_room(id)?;
        batch.continues(attempt.directory, id)?;
        batch.lasts(&seen, app.engine.now())?;
        let mut drafts = Vec::with_capacity(batch.entries.len() + 1);
        for entry in &batch.entries {
            drafts.push(entry.draft(attempt, id, &authors)?);
        }
        let mut progress = attempt.draft(id, Payload::ImportProgress(batch.progress.clone()));
        progress.actor.door = Door::Import;
        drafts.push(progress);
        let plan = Plan { drafts, ..Plan::default() };
        Ok(plan.under(seen.grant, id, "import"))
    })
    .await;
    let appended = match appended {
        Err(problem) => return Err(explained(&app.directory(), id, &batch, problem).await?),
        Ok(appended) => appended,
    };
    if let Some(last) = appended.last() {
        // ORDERING: progress is acknowledged before the catalog has it; the next batch, and whoever
        // asks where the import stands after this answer, must find it there.
        app.directory().wait_applied(last.lsn).await;
    }
    let seqs: Vec<u64> = appended.iter().map(|one| one.seq.0).filter(|seq| *seq > 0).collect();
    let imported = Imported {
        appended: batch.entries.len(),
        first_seq: seqs.first().copied(),
        last_seq: seqs.last().copied(),
    };
    Ok((StatusCode::CREATED, axum::Json(imported)))
}

/// How far a source has come in this room.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/imports", tag = "imports",
    params(("id" = String, Path), ProgressParams), responses((status = 200, body = Progress)),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    Params(params): Params<ProgressParams>,
) -> Result<axum::Json<Progress>, Problem> {
    let directory = app.directory();
    Access::begin(&directory, &caller.principal).may_manage_room(id)?;
    let stored = directory.import_progress(id, &params.format, &params.source)?;
    stored.as_ref().map(|row| axum::Json(row.into())).ok_or_else(Problem::not_found)
}

/// A checked batch.
struct Batch {
    from: (u64, [u8; 32]),
    progress: ImportProgress,
    network: String,
    entries: Vec<Entry>,
    allow_expired: bool,
}

struct Entry {
    nick: Option<String>,
    time: TimeUs,
    post: Post,
}

impl Batch {
    fn checked(body: Import, caller: &Caller) -> Result<Self, Problem> {
        if body.entries.len() > IMPORT_ENTRIES_MAX {
            let words = format!("at most {IMPORT_ENTRIES_MAX} entries");
            return Err(Problem::field("entries", words));
        }
        for (field, text, max) in [
            ("format", &body.format, FORMAT_BYTES_MAX),
            ("source", &body.source, SOURCE_BYTES_MAX),
            ("authors_source", &body.authors_source, NETWORK_BYTES_MAX),
        ] {
            validate::name(field, text)?;
            if text.len() > max {
                return Err(Problem::field(field, format!("at most {max} bytes")));
            }
        }
        let digest = |field: &str, place: &Place| {
            let words = "64 lower-case hexadecimal digits";
            from_hex::<32>(&place.digest).ok_or_else(|| Problem::field(field, words))
        };
        let from = (body.from.bytes, digest("from.digest", &body.from)?);
        if body.to.bytes < body.from.bytes {
            return Err(Problem::field("to.bytes", "lies before from.bytes"));
        }
        let mark = ImportMark {
            source: body.source.clone(),
            format: body.format.clone(),
            importer: caller.principal.id,
        };
        let progress = ImportProgress {
            format: body.format,
            source: body.source,
            from: from.0,
            bytes: body.to.bytes,
            digest: digest("to.digest", &body.to)?,
            done: body.to.done,
        };
        let mark_bytes = mark.source.len() + mark.format.len();
        let weigh = |entry: &ImportEntry| {
            let nick = entry.nick.as_ref().map_or(0, String::len);
            entry.body.len() + nick + mark_bytes + ENTRY_BYTES
        };
        if body.entries.iter().map(weigh).sum::<usize>() > APPEND_BYTES_MAX - ENTRY_BYTES * 8 {
            let words = format!("a batch has at most {APPEND_BYTES_MAX} bytes with its envelopes");
            return Err(Problem::with(Code::TooLarge, words));
        }
        let entries = body.entries.into_iter().enumerate();
        let entries = entries.map(|(at, entry)| Entry::checked(at, entry, &mark));
        let entries = entries.collect::<Result<_, _>>()?;
        let (network, allow_expired) = (body.authors_source, body.allow_expired);
        Ok(Self { from, progress, network, entries, allow_expired })
    }

    /// Refuses entries that retention would take at once, unless the importer knows of it.
    fn lasts(&self, seen: &Seen, now: TimeUs) -> Result<(), Problem> {
        let own = seen.room.settings.retention.as_ref();
        let kept = own.unwrap_or(&seen.category.settings.retention);
        let days = i64::from(kept.days);
        let cutoff = now.saturating_add_us(-days.saturating_mul(TimeUs::DAY_US));
        let oldest = self.entries.iter().enumerate().find(|(_, entry)| entry.time < cutoff);
        match oldest {
            Some((at, entry)) if days > 0 && !self.allow_expired => {
                let said = time::show(entry.time);
                let words = format!("entries[{at}] was said {said}; {days} days are kept");
                Err(Problem::with(Code::WouldExpire, words))
            }
            _ => Ok(()),
        }
    }

    /// Whether the batch begins where the room's progress stands.
    fn continues(&self, directory: &Directory, room: RoomId) -> Result<(), Problem> {
        let ImportProgress { format, source, .. } = &self.progress;
        let stored = directory.import_progress(room, format, source)?;
        let stands_at = stored.map_or((0, sha256(b"")), |row| (row.bytes, row.digest));
        if stands_at == self.from { Ok(()) } else { Err(stands(directory, room, &self.progress)?) }
    }
}

impl Entry {
    fn checked(at: usize, entry: ImportEntry, mark: &ImportMark) -> Result<Self, Problem> {
        let field = |name: &str| format!("entries[{at}].{name}");
        let kind = Kind::from(entry.kind);
        match (&entry.nick, kind) {
            (_, Kind::File) => {
                return Err(Problem::field(&field("kind"), "files are not imported here"));
            }
            (Some(nick), _) => validate::nick(&field("nick"), nick)?,
            (None, Kind::Event) => {}
            (None, _) => return Err(Problem::field(&field("nick"), "is missing")),
        }
        validate::body_size(&entry.body)?;
        Ok(Self {
            time: validate::body_time(&field("time"), &entry.time)?,
            nick: entry.nick,
            post: Post { kind, body: entry.body, reply_to: Seq::ZERO, import: Some(mark.clone()) },
        })
    }

    fn draft(
        &self,
        attempt: &Attempt<'_>,
        room: RoomId,
        authors: &HashMap<String, PrincipalId>,
    ) -> Result<Draft, Problem> {
        let mut draft = attempt.draft(room, Payload::Post(self.post.clone()));
        draft.said = Said::At(self.time);
        draft.actor.door = Door::Import;
        if let Some(nick) = &self.nick {
            let id = authors.get(nick).copied();
            let id = id.ok_or_else(|| Problem::new(Code::Internal))?;
            draft.actor = Actor { id, name: nick.clone(), ..draft.actor };
        }
        Ok(draft)
    }
}

/// The problem that says where an import stands.
fn stands(
    directory: &Directory,
    room: RoomId,
    progress: &ImportProgress,
) -> Result<Problem, Problem> {
    let stored = directory.import_progress(room, &progress.format, &progress.source)?;
    let mut problem = Problem::new(Code::ImportProgress);
    problem.extra.progress = Some(match &stored {
        Some(row) => row.into(),
        None => Progress { bytes: 0, digest: crate::codec::hex(&sha256(b"")), done: false },
    });
    Ok(problem)
}

/// Why the order refused a batch. One that was taken before, by an attempt whose answer was lost or
/// that ran at the same time, shows as progress as soon as the catalog has it.
async fn explained(
    directory: &Directory,
    room: RoomId,
    batch: &Batch,
    problem: Problem,
) -> Result<Problem, Problem> {
    if !matches!(problem.code, Code::ImportProgress | Code::TimeBackwards) {
        return Ok(problem);
    }
    for _ in 0..PROGRESS_LOOKS {
        if let Err(stands) = batch.continues(directory, room) {
            return Ok(stands);
        }
        tokio::time::sleep(PROGRESS_WAIT).await;
    }
    if problem.code == Code::ImportProgress {
        return stands(directory, room, &batch.progress);
    }
    Ok(problem)
}

/// The principals of a batch's nicks; those that do not exist yet are made first.
async fn authors(
    app: &App,
    caller: &Caller,
    room: RoomId,
    batch: &Batch,
) -> Result<HashMap<String, PrincipalId>, Problem> {
    let mut nicks: Vec<&String> = batch.entries.iter().filter_map(|e| e.nick.as_ref()).collect();
    nicks.sort_unstable();
    nicks.dedup();
    for _ in 0..POLICY_ATTEMPTS_MAX {
        let directory = app.directory();
        let (known, missing) = known(&directory, &batch.network, &nicks)?;
        if missing.is_empty() {
            return Ok(known);
        }
        let made = submit(app, caller, |attempt| {
            attempt.access.may_manage_room(room)?;
            let drafts = missing.iter().map(|nick| {
                let settings = PrincipalSettings {
                    kind: PrincipalKind::Imported,
                    name: (*nick).clone(),
                    source: batch.network.clone(),
                    password: None,
                    administrator: false,
                    disabled: false,
                };
                let created = PrincipalCreated { settings };
                let mut draft = attempt.draft(RoomId::NONE, Payload::PrincipalCreated(created));
                draft.actor.door = Door::Import;
                draft
            });
            Ok(Plan { drafts: drafts.collect(), ..Plan::default() })
        });
        match made.await {
            Ok(_) => {}
            // Another import made one of them meanwhile: look again.
            Err(problem) if problem.code == Code::NameUnavailable => {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(Problem::new(Code::Unavailable))
}

type Known<'a> = (HashMap<String, PrincipalId>, Vec<&'a String>);

fn known<'a>(
    directory: &Directory,
    network: &str,
    nicks: &[&'a String],
) -> Result<Known<'a>, Problem> {
    let mut known = HashMap::with_capacity(nicks.len());
    let mut missing = Vec::new();
    for nick in nicks {
        let row = directory.principal_by_name(PrincipalKind::Imported, network, nick)?;
        match row {
            Some(row) => {
                known.insert((*nick).clone(), row.id);
            }
            None => missing.push(*nick),
        }
    }
    Ok((known, missing))
}
