//! Signing in and out: `/sessions` and `/me`.
//!
//! A wrong name, a wrong password, a disabled account and a used link answer alike and cost alike.
//! INVARIANT: a link is revoked in the same append that creates its session, so it works once.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::catalog::rows::{PrincipalRow, TokenRow};
use hansard_engine::draft::{Draft, Said};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{
    Audit, AuditKind, Payload, PrincipalKind, TokenCreated, TokenRevoked,
};
use hansard_engine::format::record::{Actor, Door};
use hansard_engine::types::{PrincipalId, RoomId, TimeUs, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::input::Json;
use super::view::{Author, User};
use crate::auth::{Caller, ClientAddress, cookie};
use crate::hub::Touched;
use crate::limits::POLICY_ATTEMPTS_MAX;
use crate::problem::{Code, Problem};
use crate::secrets::{self, Minted};
use crate::state::App;
use crate::submit::{Plan, append, record_event, submit};
use crate::time;

/// What signs in: a name with a password, or the secret of a sign-in link.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    name: Option<String>,
    password: Option<String>,
    link: Option<String>,
}

/// A new session.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The bearer token; left out where it went into the browser's cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
    /// When it stops working.
    #[schema(format = DateTime)]
    expires: String,
    /// Who is signed in.
    principal: Author,
}

/// Signs in.
#[utoipa::path(
    post, path = "/api/v1/sessions", tag = "sessions", request_body = SignIn, security(()),
    params(("X-Hansard-Browser" = Option<String>, Header, description = "`1`: cookie, no token")),
    responses((status = 201, body = Session)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    ClientAddress(address): ClientAddress,
    headers: HeaderMap,
    Json(body): Json<SignIn>,
) -> Result<Response, Problem> {
    let (principal, link) = match body {
        SignIn { name: Some(name), password: Some(password), link: None } => {
            (by_password(&app, &name, password, &address).await?, None)
        }
        SignIn { name: None, password: None, link: Some(secret) } => {
            let (principal, link) = by_link(&app, &secret, &address).await?;
            (principal, Some(link))
        }
        _ => return Err(Problem::field("name", "give name and password, or link")),
    };
    let minted = secrets::mint()?;
    let session = open(&app, &principal, link, &minted, &address).await?;
    app.metrics.sign_ins.add(1);
    let browser = headers.get(cookie::BROWSER_HEADER).is_some_and(|value| value == "1");
    let mut answer = Session {
        token: (!browser).then(|| minted.secret.clone()),
        expires: time::show(session.expires),
        principal: Author::of_row(&principal),
    };
    let mut response_headers = HeaderMap::new();
    if browser {
        answer.token = None;
        let seconds = (session.expires.0 - app.engine.now().0) / 1_000_000;
        if let Ok(value) = HeaderValue::try_from(cookie::set(&minted.secret, seconds)) {
            response_headers.insert(header::SET_COOKIE, value);
        }
    }
    Ok((StatusCode::CREATED, response_headers, axum::Json(answer)).into_response())
}

/// Signs out: this session's token stops working, and its streams end first.
#[utoipa::path(
    delete, path = "/api/v1/sessions/current", tag = "sessions", responses((status = 204)),
)]
pub(crate) async fn delete(State(app): State<App>, caller: Caller) -> Result<Response, Problem> {
    submit(&app, &caller, |attempt| {
        let signed_out = Audit {
            what: AuditKind::SignOut,
            principal: caller.principal.id,
            room: RoomId::NONE,
            detail: String::new(),
        };
        Ok(Plan {
            // ORDERING: a credential ends last; nothing is checked against it behind that.
            drafts: vec![
                attempt.draft(RoomId::NONE, Payload::Audit(signed_out)),
                attempt.draft(RoomId::NONE, revocation(&caller.token)),
            ],
            ..Plan::default()
        })
    })
    .await?;
    app.revalidate(Touched::Token(caller.token.id)).await;
    let mut headers = HeaderMap::new();
    headers.insert(
        header::SET_COOKIE,
        HeaderValue::try_from(cookie::clear()).map_err(|_| Problem::new(Code::Internal))?,
    );
    Ok((StatusCode::NO_CONTENT, headers).into_response())
}

/// Who you are.
#[utoipa::path(get, path = "/api/v1/me", tag = "sessions", responses((status = 200, body = User)))]
pub(crate) async fn me(caller: Caller) -> axum::Json<User> {
    axum::Json(User::of(&caller.principal, &caller.principal))
}

/// The record that ends a token.
pub(crate) fn revocation(token: &TokenRow) -> Payload {
    Payload::TokenRevoked(TokenRevoked {
        token: token.id,
        principal: token.principal,
        sha256: token.sha256,
    })
}

async fn by_password(
    app: &App,
    name: &str,
    password: String,
    address: &str,
) -> Result<Arc<PrincipalRow>, Problem> {
    if let Some(wait) = app.attempts.wait(name, address) {
        return Err(Problem::new(Code::TooManyAttempts).after_seconds(wait.as_secs() + 1));
    }
    let row = app.directory().principal_by_name(PrincipalKind::User, "", name)?;
    let hash = row.as_ref().and_then(|row| row.settings.password.clone());
    let fits = crate::auth::password::acceptable(&password);
    let right = fits && app.passwords.verify(password, hash).await?;
    match row {
        Some(row) if right && !row.settings.disabled => Ok(row),
        row => Err(failed(app, row.map(|row| row.id), name, address).await),
    }
}

async fn by_link(
    app: &App,
    secret: &str,
    address: &str,
) -> Result<(Arc<PrincipalRow>, Arc<TokenRow>), Problem> {
    if let Some(wait) = app.attempts.wait("#link", address) {
        return Err(Problem::new(Code::TooManyAttempts).after_seconds(wait.as_secs() + 1));
    }
    let directory = app.directory();
    let token = match secrets::digest_of(secret) {
        Some(sha256) => directory.token(&sha256)?,
        None => None,
    };
    let now = app.engine.now();
    if let Some(token) = token.filter(|row| row.one_use && !row.revoked && row.expires > now) {
        let owner = directory.principal(token.principal)?;
        let works =
            |row: &PrincipalRow| !row.settings.disabled && row.settings.kind == PrincipalKind::User;
        if let Some(owner) = owner.filter(|owner| works(owner)) {
            return Ok((owner, token));
        }
    }
    Err(failed(app, None, "#link", address).await)
}

/// Counts and records a failure; the answer says nothing of the cause.
async fn failed(app: &App, whom: Option<PrincipalId>, name: &str, address: &str) -> Problem {
    app.attempts.failed(name, address);
    app.metrics.sign_in_failures.add(1);
    let shown: String = name.chars().filter(|c| !c.is_control()).take(256).collect();
    let audit = Audit {
        what: AuditKind::SignInFailed,
        principal: whom.unwrap_or(PrincipalId::NONE),
        room: RoomId::NONE,
        detail: format!("name={shown}"),
    };
    let actor = actor(PrincipalId::SYSTEM, "system", address, TokenId::NONE);
    match record_event(app, actor, audit).await {
        Ok(()) => Problem::new(Code::SignInFailed),
        Err(problem) => problem,
    }
}

fn actor(id: PrincipalId, name: &str, address: &str, session: TokenId) -> Actor {
    Actor { id, name: name.to_owned(), door: Door::Http, address: address.to_owned(), session }
}

/// Records the session, the sign-in and, for a link, its end: all or none.
async fn open(
    app: &App,
    principal: &PrincipalRow,
    link: Option<Arc<TokenRow>>,
    minted: &Minted,
    address: &str,
) -> Result<TokenCreated, Problem> {
    const DAY_US: i64 = TimeUs::DAY_US;
    let directory = app.directory();
    let via = link.as_ref().map_or("password", |_| "link");
    let shown = link.as_ref().map_or(TokenId::NONE, |row| row.id);
    let actor = actor(principal.id, &principal.settings.name, address, shown);
    for _ in 0..POLICY_ATTEMPTS_MAX {
        let checked_at = directory.applied();
        let current = directory.principal(principal.id)?;
        if current.is_none_or(|row| row.settings.disabled || row.settings != principal.settings) {
            return Err(Problem::new(Code::SignInFailed));
        }
        let days = i64::from(app.config.session_days);
        let token = TokenCreated {
            principal: principal.id,
            name: "session".into(),
            sha256: minted.sha256,
            expires: app.engine.now().saturating_add_us(days * DAY_US),
            session: true,
            one_use: false,
        };
        let signed_in = Audit {
            what: AuditKind::SignIn,
            principal: principal.id,
            room: RoomId::NONE,
            detail: format!("via={via}"),
        };
        let payloads = [Payload::TokenCreated(token.clone()), Payload::Audit(signed_in)];
        // ORDERING: the link's end comes last, as for a sign-out.
        let drafts = payloads
            .into_iter()
            .chain(link.as_deref().map(revocation))
            .map(|payload| Draft {
                actor: actor.clone(),
                checked_at,
                room: RoomId::NONE,
                said: Said::Now,
                idempotency: None,
                expect: None,
                payload,
            })
            .collect();
        match append(app, drafts).await {
            Ok(_) => return Ok(token),
            Err(Error::PolicyChanged { changed }) => directory.wait_applied(changed).await,
            // Somebody else used the link first.
            Err(Error::NotFound { .. } | Error::Conflict { .. }) if link.is_some() => {
                return Err(failed(app, Some(principal.id), "#link", address).await);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err(Problem::new(Code::Unavailable))
}
