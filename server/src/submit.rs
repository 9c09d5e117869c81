//! From a request to the record: check, draft, append, and again if the policy moved meanwhile.
//!
//! It decides nothing itself: the caller's closure asks `access` and builds the drafts. INVARIANT:
//! every draft carries the position that its check began at, credential included, so a right taken
//! away before the record's place in the log is never used.

use hansard_engine::catalog::rows::PrincipalRow;
use hansard_engine::draft::{Appended, Draft, Said};
use hansard_engine::error::{ConflictCode, Error};
use hansard_engine::format::payload::{Audit, AuditKind, Payload};
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::types::{Lsn, RoomId};
use hansard_engine::{Directory, Health};

use std::time::Duration;

use crate::access::{Access, Grant};
use crate::auth::Caller;
use crate::limits::POLICY_ATTEMPTS_MAX;
use crate::problem::{Code, Problem};
use crate::state::App;

/// Between two readings of an object that somebody else is changing.
const STALE_WAIT: Duration = Duration::from_millis(3);

/// The rights of one attempt.
pub(crate) struct Attempt<'a> {
    /// The rows.
    pub(crate) directory: &'a Directory,
    /// The policy, asked by the caller as he is now.
    pub(crate) access: Access<'a, Directory>,
    /// The position before the first read.
    pub(crate) checked_at: Lsn,
    caller: &'a Caller,
}

impl Attempt<'_> {
    /// A draft of this attempt.
    pub(crate) fn draft(&self, room: RoomId, payload: Payload) -> Draft {
        Draft {
            actor: self.caller.actor_as(self.access.who(), Door::Http),
            checked_at: self.checked_at,
            room,
            said: Said::Now,
            idempotency: None,
            expect: None,
            payload,
        }
    }
}

/// What a closure wants appended.
#[derive(Default)]
pub(crate) struct Plan {
    /// In order; all or none.
    pub(crate) drafts: Vec<Draft>,
    /// Set if only the administrator's right allowed it: over which room, and what for.
    pub(crate) administrator: Option<(RoomId, &'static str)>,
    /// Whether a stale `expect` is the server's own and may be read again: the client gave none.
    pub(crate) rereads: bool,
}

impl Plan {
    /// Of one draft.
    pub(crate) fn of(draft: Draft) -> Self {
        Self { drafts: vec![draft], ..Self::default() }
    }

    /// A change of an object read at `changed`: fails if it has changed since, or since what the
    /// client saw.
    pub(crate) fn change(mut draft: Draft, seen: Option<Lsn>, changed: Lsn) -> Self {
        draft.expect = Some(seen.unwrap_or(changed));
        Self { drafts: vec![draft], rereads: seen.is_none(), ..Self::default() }
    }

    /// Notes the use of an administrator's right, if it was one.
    pub(crate) fn under(mut self, grant: Grant, room: RoomId, act: &'static str) -> Self {
        self.administrator = grant.as_administrator.then_some((room, act));
        self
    }
}

/// Appends what `plan` builds, checking again as long as the policy moves.
///
/// # Cancel safety
/// Dropping it does not withdraw an append that was queued.
pub(crate) async fn submit<F>(app: &App, caller: &Caller, plan: F) -> Result<Vec<Appended>, Problem>
where
    F: FnMut(&Attempt<'_>) -> Result<Plan, Problem>,
{
    attempts(app, caller, None, plan).await
}

/// As [`submit`], the first time with the rows that the caller was let in with: of a request that
/// comes straight from there, nothing has changed mostly, and if it has the append says so.
///
/// # Cancel safety
/// As [`submit`].
pub(crate) async fn submit_at_once<F>(
    app: &App,
    caller: &Caller,
    plan: F,
) -> Result<Vec<Appended>, Problem>
where
    F: FnMut(&Attempt<'_>) -> Result<Plan, Problem>,
{
    let known = caller.lasts(app).then_some(caller);
    attempts(app, caller, known, plan).await
}

async fn attempts<F>(
    app: &App,
    caller: &Caller,
    mut known: Option<&Caller>,
    mut plan: F,
) -> Result<Vec<Appended>, Problem>
where
    F: FnMut(&Attempt<'_>) -> Result<Plan, Problem>,
{
    let directory = app.directory();
    let mut audited = false;
    for _ in 0..POLICY_ATTEMPTS_MAX {
        let now;
        let (checked_at, principal) = match known.take() {
            Some(known) => (known.checked_at, &known.principal),
            None => {
                let checked_at = directory.applied();
                now = caller.renew(app, &directory)?;
                (checked_at, &now)
            }
        };
        if app.engine.is_poisoned() {
            // Nothing is taken any more, so nothing is unknown.
            return Err(Problem::new(Code::Poisoned));
        }
        let wanted = prepare(&directory, principal, caller, checked_at, &mut plan)?;
        if let (Some((room, act)), false) = (wanted.administrator, audited) {
            audit_administrator(app, caller, room, act).await?;
            audited = true;
        }
        match append(app, wanted.drafts).await {
            // The catalog end is behind the order by little: read again when it has moved.
            Err(Error::Conflict { code: ConflictCode::Stale, .. }) if wanted.rereads => {
                tokio::time::sleep(STALE_WAIT).await;
            }
            Err(Error::PolicyChanged { changed }) => {
                app.metrics.policy_retries.add(1);
                directory.wait_applied(changed).await;
            }
            Err(Error::Unavailable { .. }) if app.engine.health() == Health::ClockRefused => {
                return Err(Problem::new(Code::ClockRefused));
            }
            other => return other.map_err(Problem::from),
        }
    }
    Err(Problem::with(Code::Unavailable, "rights keep changing"))
}

fn prepare<F>(
    directory: &Directory,
    principal: &PrincipalRow,
    caller: &Caller,
    checked_at: Lsn,
    plan: &mut F,
) -> Result<Plan, Problem>
where
    F: FnMut(&Attempt<'_>) -> Result<Plan, Problem>,
{
    let access = Access::since(directory, principal, checked_at);
    plan(&Attempt { directory, access, checked_at, caller })
}

/// One append, with the outcome of its ticket.
pub(crate) async fn append(app: &App, drafts: Vec<Draft>) -> Result<Vec<Appended>, Error> {
    if drafts.is_empty() {
        return Ok(Vec::new());
    }
    app.engine.append(drafts)?.await
}

/// Records that an administrator used his right over a room.
pub(crate) async fn audit_administrator(
    app: &App,
    caller: &Caller,
    room: RoomId,
    act: &'static str,
) -> Result<(), Problem> {
    let audit = Audit {
        what: AuditKind::AdministratorAct,
        principal: caller.principal.id,
        room,
        detail: act.to_owned(),
    };
    record_event(app, caller.actor(), audit).await
}

/// Appends an event that belongs to no room's timeline.
pub(crate) async fn record_event(app: &App, actor: Actor, audit: Audit) -> Result<(), Problem> {
    let directory = app.directory();
    for _ in 0..POLICY_ATTEMPTS_MAX {
        let draft = Draft {
            actor: actor.clone(),
            checked_at: directory.applied(),
            room: RoomId::NONE,
            said: Said::Now,
            idempotency: None,
            expect: None,
            payload: Payload::Audit(audit.clone()),
        };
        match append(app, vec![draft]).await {
            Err(Error::PolicyChanged { changed }) => directory.wait_applied(changed).await,
            other => return other.map(|_| ()).map_err(Problem::from),
        }
    }
    Err(Problem::new(Code::Unavailable))
}

/// The first result of an append.
pub(crate) fn first(appended: Vec<Appended>) -> Result<Appended, Problem> {
    appended.into_iter().next().ok_or_else(|| Problem::new(Code::Internal))
}
