//! Principals: `/users`.
//!
//! Everybody signed in may look people up; only administrators make and change them, but for one's
//! own password. INVARIANT: a new password ends the other sessions of its owner in the same append.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::Directory;
use hansard_engine::catalog::rows::{PrincipalRow, TokenRow};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{
    Payload, PrincipalChanged, PrincipalCreated, PrincipalKind as Kind, PrincipalSettings,
};
use hansard_engine::types::{PrincipalId, RoomId, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, Json, Params, given};
use super::view::User;
use super::words::PrincipalKind;
use super::{sessions, validate};
use crate::access::Access;
use crate::auth::{Caller, password};
use crate::cursor::{Cursor, List};
use crate::hub::Touched;
use crate::limits::{LIST_ITEMS, LIST_SCAN_MAX, SESSIONS_ENDED_MAX};
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::{Plan, first, submit};

/// A user to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name people see, unique among users.
    name: String,
    /// Without one he cannot sign in by password.
    password: Option<String>,
}

/// A change of a user: what is given changes.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserPatch {
    /// The name people see from now on.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// The new password.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    password: Option<String>,
    /// The password of now: needed for one's own.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    old_password: Option<String>,
    /// Whether he may do nothing at all.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    disabled: Option<bool>,
    /// Whether he is an administrator.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    administrator: Option<bool>,
}

/// Principals.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserList {
    users: Vec<User>,
    next: Option<String>,
}

/// Which principals.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Of exactly this name.
    name: Option<String>,
    /// Of this sort; users unless given.
    #[param(inline)]
    kind: Option<PrincipalKind>,
    /// Where the last page ended.
    cursor: Option<String>,
}

/// Makes a user. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/users", tag = "users", request_body = NewUser,
    responses((status = 201, body = User)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewUser>,
) -> Result<Response, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    validate::name("name", &body.name)?;
    let hash = match body.password {
        Some(password) => Some(hashed(&app, password).await?),
        None => None,
    };
    let settings = PrincipalSettings {
        kind: Kind::User,
        name: body.name,
        source: String::new(),
        password: hash,
        administrator: false,
        disabled: false,
    };
    let appended = submit(&app, &caller, |attempt| {
        attempt.access.may_administer()?;
        let created = PrincipalCreated { settings: settings.clone() };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::PrincipalCreated(created))))
    })
    .await?;
    let id = first(appended)?.principal_id();
    shown(&app.directory(), id, &caller, StatusCode::CREATED)
}

/// Looks people up.
#[utoipa::path(
    get, path = "/api/v1/users", tag = "users", params(ListParams),
    responses((status = 200, body = UserList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<UserList>, Problem> {
    let directory = app.directory();
    let kind = Kind::from(params.kind.unwrap_or(PrincipalKind::User));
    let within = u64::from(kind.code());
    let mut after = validate::list_cursor(params.cursor.as_deref(), List::Users, within)?;
    if let (Some(name), Kind::User) = (&params.name, kind) {
        let row = directory.principal_by_name(kind, "", name)?;
        let users = row.iter().map(|row| User::of(row, &caller.principal)).collect();
        return Ok(axum::Json(UserList { users, next: None }));
    }
    let wanted = |row: &PrincipalRow| {
        row.settings.kind == kind
            && params.name.as_ref().is_none_or(|name| *name == row.settings.name)
    };
    let mut users = Vec::new();
    let mut scanned = 0;
    while users.len() < LIST_ITEMS && scanned < LIST_SCAN_MAX {
        let rows = directory.principals(PrincipalId(after), LIST_ITEMS)?;
        let full = rows.len() == LIST_ITEMS;
        for row in rows {
            if users.len() == LIST_ITEMS {
                break;
            }
            (after, scanned) = (row.id.0, scanned + 1);
            if wanted(&row) {
                users.push(User::of(&row, &caller.principal));
            }
        }
        if !full && users.len() < LIST_ITEMS {
            return Ok(axum::Json(UserList { users, next: None }));
        }
    }
    let next = Cursor::List { list: List::Users, within, after }.encode();
    Ok(axum::Json(UserList { users, next: Some(next) }))
}

/// One principal.
#[utoipa::path(
    get, path = "/api/v1/users/{id}", tag = "users", params(("id" = String, Path)),
    responses((status = 200, body = User, headers(("ETag" = String)))),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<PrincipalId>,
) -> Result<Response, Problem> {
    shown(&app.directory(), id, &caller, StatusCode::OK)
}

/// Changes a user: administrators, or one's own password with the old one.
#[utoipa::path(
    patch, path = "/api/v1/users/{id}", tag = "users", request_body = UserPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = User, headers(("ETag" = String)))),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    At(id): At<PrincipalId>,
    headers: HeaderMap,
    Json(body): Json<UserPatch>,
) -> Result<Response, Problem> {
    let if_match = validate::if_match(&headers)?;
    let hash = check(&app, &caller, id, &body).await?;
    submit(&app, &caller, |attempt| {
        if !only_own_password(&caller, id, &body) {
            attempt.access.may_administer()?;
        }
        let row = user(attempt.directory, id)?;
        let changed = PrincipalChanged { principal: id, settings: merged(&row, &body, &hash) };
        let draft = attempt.draft(RoomId::NONE, Payload::PrincipalChanged(changed));
        let mut plan = Plan::change(draft, if_match, row.changed);
        if hash.is_some() {
            // ORDERING: the change of the actor himself stays last; nothing is checked behind it.
            for token in other_sessions(&app, attempt.directory, &caller, id)? {
                plan.drafts.insert(0, attempt.draft(RoomId::NONE, sessions::revocation(&token)));
            }
        }
        Ok(plan)
    })
    .await?;
    app.revalidate(Touched::Principal(id)).await;
    shown(&app.directory(), id, &caller, StatusCode::OK)
}

/// Whether a patch is one's own password and nothing else.
fn only_own_password(caller: &Caller, id: PrincipalId, body: &UserPatch) -> bool {
    let UserPatch { name, password, old_password: _, disabled, administrator } = body;
    id == caller.principal.id
        && password.is_some()
        && name.is_none()
        && disabled.is_none()
        && administrator.is_none()
}

/// The checks that need no position; gives the hash of a new password.
async fn check(
    app: &App,
    caller: &Caller,
    id: PrincipalId,
    body: &UserPatch,
) -> Result<Option<String>, Problem> {
    let own = id == caller.principal.id;
    if !only_own_password(caller, id, body) {
        Access::begin(&app.directory(), &caller.principal).may_administer()?;
    }
    user(&app.directory(), id)?;
    if let Some(name) = &body.name {
        validate::name("name", name)?;
    }
    if own && (body.disabled == Some(true) || body.administrator == Some(false)) {
        // The last administrator must not lock the door behind himself.
        return Err(Problem::field("administrator", "another administrator must do that"));
    }
    let Some(password) = &body.password else { return Ok(None) };
    let current = user(&app.directory(), id)?.settings.password.clone();
    if let (true, Some(hash)) = (own, current) {
        let name = &caller.principal.settings.name;
        if let Some(wait) = app.attempts.wait(name, &caller.address) {
            return Err(Problem::new(Code::TooManyAttempts).after_seconds(wait.as_secs() + 1));
        }
        let old = body.old_password.clone().unwrap_or_default();
        if !password::acceptable(&old) || !app.passwords.verify(old, Some(hash)).await? {
            app.attempts.failed(name, &caller.address);
            return Err(Problem::field("old_password", "is not the password of now"));
        }
    }
    hashed(app, password.clone()).await.map(Some)
}

async fn hashed(app: &App, password: String) -> Result<String, Problem> {
    if !password::acceptable(&password) {
        return Err(Problem::field("password", "a password has 1 to 1024 bytes"));
    }
    app.passwords.hash(password).await
}

/// A principal that can be changed here.
fn user(directory: &Directory, id: PrincipalId) -> Result<Arc<PrincipalRow>, Problem> {
    let row = directory.principal(id)?.filter(|row| row.settings.kind == Kind::User);
    row.ok_or_else(Problem::not_found)
}

fn merged(row: &PrincipalRow, body: &UserPatch, hash: &Option<String>) -> PrincipalSettings {
    let mut settings = row.settings.clone();
    if let Some(name) = &body.name {
        settings.name.clone_from(name);
    }
    if hash.is_some() {
        settings.password.clone_from(hash);
    }
    settings.disabled = body.disabled.unwrap_or(settings.disabled);
    settings.administrator = body.administrator.unwrap_or(settings.administrator);
    settings
}

/// The working sessions of a principal, but for the one that asks.
fn other_sessions(
    app: &App,
    directory: &Directory,
    caller: &Caller,
    id: PrincipalId,
) -> Result<Vec<TokenRow>, Error> {
    let now = app.engine.now();
    let mut found = Vec::new();
    let mut after = TokenId::NONE;
    loop {
        let rows = directory.tokens_of(id, after, LIST_ITEMS)?;
        let full = rows.len() == LIST_ITEMS;
        for row in rows {
            after = row.id;
            let works = row.session && !row.revoked && row.expires > now;
            if works && row.id != caller.token.id && found.len() < SESSIONS_ENDED_MAX {
                found.push(row);
            }
        }
        if !full {
            return Ok(found);
        }
    }
}

fn shown(
    directory: &Directory,
    id: PrincipalId,
    caller: &Caller,
    status: StatusCode,
) -> Result<Response, Problem> {
    let row = directory.principal(id)?.ok_or_else(Problem::not_found)?;
    let tag = [(header::ETAG, validate::etag(row.changed))];
    Ok((status, tag, axum::Json(User::of(&row, &caller.principal))).into_response())
}
