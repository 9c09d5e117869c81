//! Erasures: messages whose words leave every file, for administrators.
//!
//! Each message is recorded as erased, one by one, and from that answer on no door shows it; then
//! the bytes go, and the request is answered. INVARIANT: what a hold keeps, or a locked compliance
//! record, is refused with its name, and nothing of it is erased.

use axum::extract::State;
use hansard_engine::erase::EraseReport;
use hansard_engine::format::payload::Payload;
use hansard_engine::limits::TEXT_BYTES_MAX;
use hansard_engine::types::{MessageId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::{At, Json};
use crate::access::Access;
use crate::auth::Caller;
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::{Plan, submit};

/// Messages of one request at most.
const MESSAGES_MAX: usize = 100;
/// How often an erasure is tried anew because the message changed meanwhile.
const ATTEMPTS_MAX: usize = 5;

/// What is to be erased, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EraseRequest {
    /// Messages of the room: at most 100.
    messages: Vec<String>,
    /// Why, in words, for the record: at most 1,024 characters.
    #[serde(default)]
    reason: String,
}

/// What was erased.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Erasure {
    /// Messages that were erased; those that were not there are not among them.
    erased: u64,
    /// Records that left the packs: messages, edits, redactions.
    records: u64,
    /// Packs that were written anew.
    packs: u64,
    /// Journal files that were filled with zeros.
    journal_files: u64,
    /// Files that were removed from quarantine.
    quarantined: u64,
}

/// Erase messages, with every version of them, from every file. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/erasures", tag = "messages", request_body = EraseRequest,
    params(("id" = String, Path)),
    responses((status = 200, body = Erasure)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    At(room): At<RoomId>,
    Json(EraseRequest { messages, reason }): Json<EraseRequest>,
) -> Result<axum::Json<Erasure>, Problem> {
    {
        let directory = app.directory();
        Access::begin(&directory, &caller.principal).may_administer()?;
        // One that is hidden for ever still holds what was said there.
        directory.room(room)?.ok_or_else(Problem::not_found)?;
    }
    if messages.len() > MESSAGES_MAX {
        return Err(Problem::field("messages", "at most 100 at once"));
    }
    if reason.chars().count() > TEXT_BYTES_MAX / 4 {
        return Err(Problem::field("reason", "at most 1024 characters"));
    }
    let name = |text: &String| {
        let name = text.parse::<MessageId>().ok().filter(|name| name.room == room);
        name.ok_or_else(|| Problem::field("messages", format!("no message of this room: {text}")))
    };
    let names = messages.iter().map(name).collect::<Result<Vec<_>, _>>()?;
    let (mut erased, mut refused) = (0, None);
    for name in names {
        let done = one(&app, &caller, name, &reason).await;
        // ORDERING: before the answer, so that no stream that begins behind it gets the words.
        app.hub.words_taken(room);
        match done {
            Ok(done) => erased += u64::from(done),
            Err(problem) => {
                refused = Some(problem);
                break;
            }
        }
    }
    let report = app.read(|engine| engine.erase_owed()).await??;
    if let Some(problem) = refused {
        return Err(problem);
    }
    let EraseReport { records, packs, journal_files, quarantined, .. } = report;
    Ok(axum::Json(Erasure { erased, records, packs, journal_files, quarantined }))
}

/// Records that a message is erased; false if there is none.
async fn one(app: &App, caller: &Caller, name: MessageId, reason: &str) -> Result<bool, Problem> {
    let (room, seq) = (name.room, name.seq);
    for _ in 0..ATTEMPTS_MAX {
        // What retention took is there for nobody else, and its words may still be on the disk.
        if !super::messages::is_there(app, name).await? {
            let epoch = app.read(move |engine| engine.epoch_of(room, seq)).await??;
            if epoch != Some(name.epoch) {
                return Ok(false);
            }
        }
        let words = reason.to_owned();
        let found = app.read(move |engine| engine.erasure(room, seq, &words)).await??;
        let Some((erased, changed)) = found else { return Ok(false) };
        let done = submit(app, caller, |attempt| {
            attempt.access.may_administer()?;
            let mut draft = attempt.draft(room, Payload::Erased(erased.clone()));
            draft.expect = Some(changed);
            Ok(Plan::of(draft))
        });
        let refused = match done.await {
            Ok(_) => return Ok(true),
            // It may have been recorded: the note stays.
            Err(problem) if problem.code == Code::OutcomeUnknown => return Err(problem),
            Err(problem) => problem,
        };
        app.read(move |engine| engine.withdraw_erasure(room, seq)).await??;
        match refused.code {
            // Edited or redacted meanwhile: those words go as well.
            Code::Stale => {}
            Code::NotFound => return Ok(false),
            _ => return Err(refused),
        }
    }
    Err(Problem::new(Code::Unavailable))
}
