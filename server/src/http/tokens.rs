//! Bearer tokens for programs: `/tokens`.
//!
//! A token's secret is in one answer and nowhere else. INVARIANT: a token's streams end before the
//! answer that revokes it.

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::format::payload::{Payload, PrincipalKind, TokenCreated};
use hansard_engine::types::{PrincipalId, RoomId, TimeUs, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, Json, Params};
use super::view::Token;
use super::{sessions, validate};
use crate::access::Access;
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::hub::Touched;
use crate::limits::{LIST_ITEMS, TOKEN_DAYS_MAX};
use crate::problem::Problem;
use crate::secrets;
use crate::state::App;
use crate::submit::{Plan, first, submit};

const DEFAULT_DAYS: i64 = 365;

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What you call it.
    name: String,
    /// Whose it is to be: yourself, unless you administer.
    principal: Option<String>,
    /// When it stops working; a year from now unless given, ten at most.
    #[schema(format = DateTime)]
    expires: Option<String>,
}

/// A new token: the only time that its secret is shown.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreatedToken {
    id: String,
    token: String,
}

/// Tokens of one principal.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenList {
    tokens: Vec<Token>,
    next: Option<String>,
}

/// Which tokens.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Whose; your own unless you administer.
    principal: Option<String>,
    /// Where the last page ended.
    cursor: Option<String>,
}

/// Makes a token.
#[utoipa::path(
    post, path = "/api/v1/tokens", tag = "tokens", request_body = NewToken,
    responses((status = 201, body = CreatedToken)),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<NewToken>,
) -> Result<(StatusCode, axum::Json<CreatedToken>), Problem> {
    validate::name("name", &body.name)?;
    let principal = match &body.principal {
        Some(text) => validate::id::<PrincipalId>("principal", text)?,
        None => caller.principal.id,
    };
    let now = app.engine.now();
    let expires = match &body.expires {
        Some(text) => validate::body_time("expires", text)?,
        None => now.saturating_add_us(DEFAULT_DAYS * TimeUs::DAY_US),
    };
    let latest = now.saturating_add_us(TOKEN_DAYS_MAX * TimeUs::DAY_US);
    if expires <= now || expires > latest {
        return Err(Problem::field("expires", "must lie ahead, ten years at most"));
    }
    let minted = secrets::mint()?;
    let appended = submit(&app, &caller, |attempt| {
        attempt.access.may_use_tokens_of(principal)?;
        let owner = attempt.directory.principal(principal)?;
        if owner.is_none_or(|row| row.settings.kind != PrincipalKind::User) {
            return Err(Problem::field("principal", "no such user"));
        }
        let token = TokenCreated {
            principal,
            name: body.name.clone(),
            sha256: minted.sha256,
            expires,
            session: false,
            one_use: false,
        };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::TokenCreated(token))))
    })
    .await?;
    let id = first(appended)?.token_id().to_string();
    Ok((StatusCode::CREATED, axum::Json(CreatedToken { id, token: minted.secret })))
}

/// Tokens, sessions included.
#[utoipa::path(
    get, path = "/api/v1/tokens", tag = "tokens", params(ListParams),
    responses((status = 200, body = TokenList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<TokenList>, Problem> {
    let principal = match &params.principal {
        Some(text) => validate::query_id::<PrincipalId>("principal", text)?,
        None => caller.principal.id,
    };
    let directory = app.directory();
    Access::begin(&directory, &caller.principal).may_use_tokens_of(principal)?;
    let mut after = validate::list_cursor(params.cursor.as_deref(), List::Tokens, principal.0)?;
    let now = app.engine.now();
    let mut tokens = Vec::new();
    loop {
        let rows = directory.tokens_of(principal, TokenId(after), LIST_ITEMS)?;
        let full = rows.len() == LIST_ITEMS;
        for row in rows {
            after = row.id.0;
            if !row.revoked && row.expires > now {
                tokens.push(Token::from(&row));
            }
            if tokens.len() == LIST_ITEMS {
                let next = Cursor::List { list: List::Tokens, within: principal.0, after };
                return Ok(axum::Json(TokenList { tokens, next: Some(next.encode()) }));
            }
        }
        if !full {
            return Ok(axum::Json(TokenList { tokens, next: None }));
        }
    }
}

/// Revokes a token; its streams end first.
#[utoipa::path(
    delete, path = "/api/v1/tokens/{id}", tag = "tokens", params(("id" = String, Path)),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<TokenId>,
) -> Result<StatusCode, Problem> {
    submit(&app, &caller, |attempt| {
        let row = attempt.directory.token_by_id(id)?.filter(|row| !row.revoked);
        let row = row.ok_or_else(Problem::not_found)?;
        attempt.access.may_revoke(row.principal, row.id)?;
        Ok(Plan::of(attempt.draft(RoomId::NONE, sessions::revocation(&row))))
    })
    .await?;
    app.revalidate(Touched::Token(id)).await;
    Ok(StatusCode::NO_CONTENT)
}
