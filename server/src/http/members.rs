//! Members of a room: `/rooms/{id}/members`.
//!
//! Managers add and remove people; everybody joins open rooms and leaves by himself. INVARIANT: a
//! removed member's streams lose the room before the removal is answered.

use axum::extract::State;
use axum::http::StatusCode;
use hansard_engine::format::payload::{MemberRemoved, MemberSet, Payload, Roles};
use hansard_engine::types::{PrincipalId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, At2, OptionalJson, Params};
use super::validate;
use super::view::Member;
use super::words::Role;
use crate::access::{Access, Refusal};
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::hub::Touched;
use crate::limits::LIST_ITEMS;
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Attempt, Plan, submit};

/// What a member is to be.
#[derive(Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Membership {
    /// All his roles from now on; `member` unless given.
    roles: Option<Vec<Role>>,
}

/// Members of a room.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MemberList {
    members: Vec<Member>,
    next: Option<String>,
}

/// Where in the list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Where the last page ended.
    cursor: Option<String>,
}

/// The members, for those who may read the room.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/members", tag = "members",
    params(("id" = String, Path), ListParams), responses((status = 200, body = MemberList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<MemberList>, Problem> {
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    access.may_read_room(id)?;
    let after = validate::list_cursor(params.cursor.as_deref(), List::Members, id.0)?;
    let rows = directory.members(id, PrincipalId(after), LIST_ITEMS)?;
    let last = rows.last().filter(|_| rows.len() == LIST_ITEMS).map(|row| row.principal.0);
    let next = last.map(|after| Cursor::List { list: List::Members, within: id.0, after });
    let mut members = Vec::with_capacity(rows.len());
    for row in &rows {
        if let Some(principal) = directory.principal(row.principal)? {
            members.push(Member::of(row, &principal));
        }
    }
    Ok(axum::Json(MemberList { members, next: next.map(Cursor::encode) }))
}

/// Adds a member, sets his roles, or joins.
#[utoipa::path(
    put, path = "/api/v1/rooms/{id}/members/{principal}", tag = "members",
    params(("id" = String, Path), ("principal" = String, Path)),
    request_body = Option<Membership>, responses((status = 204)),
)]
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    At2(id, principal): At2<RoomId, PrincipalId>,
    OptionalJson(body): OptionalJson<Membership>,
) -> Result<StatusCode, Problem> {
    let wanted = body.roles.as_deref().map(Role::set);
    let joins = principal == caller.principal.id && wanted.is_none_or(|set| set == Roles::MEMBER);
    submit(&app, &caller, |attempt| set(attempt, id, principal, wanted, joins)).await?;
    // Roles may have been taken away with this, too.
    app.revalidate(Touched::Room(id)).await;
    Ok(StatusCode::NO_CONTENT)
}

fn set(
    attempt: &Attempt<'_>,
    id: RoomId,
    principal: PrincipalId,
    wanted: Option<Roles>,
    joins: bool,
) -> Result<Plan, Problem> {
    let current = attempt.directory.member(id, principal)?;
    let (seen, roles) = if joins {
        let seen = attempt.access.may_join(id)?;
        // Joining again takes no role away.
        (seen, wanted.or(current).unwrap_or(Roles::MEMBER))
    } else {
        (attempt.access.may_manage_room(id)?, wanted.unwrap_or(Roles::MEMBER))
    };
    let candidate = attempt.directory.principal(principal)?.ok_or_else(Problem::not_found)?;
    match attempt.access.may_be_member(&seen, &candidate) {
        Ok(()) => {}
        Err(Refusal::Forbidden(_)) => {
            return Err(Problem::field("principal", "the room's category does not allow him"));
        }
        Err(refusal) => return Err(refusal.into()),
    }
    if current == Some(roles) {
        return Ok(Plan::default());
    }
    let draft = attempt.draft(id, Payload::MemberSet(MemberSet { principal, roles }));
    Ok(Plan::of(draft).under(seen.grant, id, "member"))
}

/// Removes a member, or leaves.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{id}/members/{principal}", tag = "members",
    params(("id" = String, Path), ("principal" = String, Path)), responses((status = 204)),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    At2(id, principal): At2<RoomId, PrincipalId>,
) -> Result<StatusCode, Problem> {
    submit(&app, &caller, |attempt| {
        let grant = if principal == caller.principal.id {
            attempt.access.may_leave(id)?
        } else {
            attempt.access.may_manage_room(id)?.grant
        };
        if attempt.directory.member(id, principal)?.is_none() {
            return Err(Problem::not_found());
        }
        let draft = attempt.draft(id, Payload::MemberRemoved(MemberRemoved { principal }));
        Ok(Plan::of(draft).under(grant, id, "member"))
    })
    .await?;
    app.revalidate(Touched::Room(id)).await;
    Ok(StatusCode::NO_CONTENT)
}
