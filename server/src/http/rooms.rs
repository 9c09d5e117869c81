//! Rooms: `/rooms`.
//!
//! Creators make them, managers change them, administrators move and delete them. INVARIANT: a
//! change that takes rights away takes back streams before it is answered.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::Directory;
use hansard_engine::catalog::rows::RoomRow;
use hansard_engine::format::payload::{
    Invitations as EngineInvitations, MemberRemoved, Payload, Privacy as EnginePrivacy,
    RoomChanged, RoomCreated, RoomDeleted, RoomKind as EngineKind, RoomSettings,
};
use hansard_engine::types::{CategoryId, PrincipalId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, Json, Params, given};
use super::validate;
use super::view::{Retention, Room};
use super::words::{Invitations, Privacy, RoomKind};
use crate::access::{Access, Seen, in_scope};
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::hub::Touched;
use crate::limits::{LIST_ITEMS, LIST_SCAN_MAX};
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::{Attempt, Plan, audit_administrator, first, submit};

/// A room to be made, or a change of one: what is given is set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomPatch {
    /// Its unique name; needed for a new one.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// The category it is in; needed for a new one, changed by administrators only.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    category: Option<String>,
    /// What it is for.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// What it is about now.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    topic: Option<String>,
    /// Who may post; `normal` unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    r#type: Option<RoomKind>,
    /// Who finds and joins it; `closed` unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    privacy: Option<Privacy>,
    /// Invitations; `inherit` unless given.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    invitations: Option<Invitations>,
    /// Hides it from everybody but administrators and keeps everything.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    disabled: Option<bool>,
    /// The room whose history stands before this one's; you must be able to read it.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    continues: Option<String>,
    /// How much of it is kept, in the place of what its category says; `null`: as that says.
    /// Administrators only.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = true, value_type = Option<Retention>)]
    retention: Option<Option<Retention>>,
}

/// Rooms.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RoomList {
    rooms: Vec<Room>,
    next: Option<String>,
}

/// Which rooms.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Of exactly this name.
    name: Option<String>,
    /// Of this category.
    category: Option<String>,
    /// `true`: only those you are a member of.
    mine: Option<bool>,
    /// Where the last page ended.
    cursor: Option<String>,
}

/// Makes a room; you become its manager.
#[utoipa::path(
    post, path = "/api/v1/rooms", tag = "rooms", request_body = RoomPatch,
    responses((status = 201, body = Room, headers(("ETag" = String)))),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<RoomPatch>,
) -> Result<Response, Problem> {
    let name = body.name.clone().ok_or_else(|| Problem::field("name", "is missing"))?;
    let category = body.category.as_deref();
    let category = category.ok_or_else(|| Problem::field("category", "is missing"))?;
    let category: CategoryId = validate::id("category", category)?;
    let start = RoomSettings {
        category,
        name,
        description: String::new(),
        topic: String::new(),
        kind: EngineKind::Normal,
        privacy: EnginePrivacy::Closed,
        invitations: EngineInvitations::Inherit,
        disabled: false,
        continues: RoomId::NONE,
        retention: None,
    };
    let appended = submit(&app, &caller, |attempt| {
        attempt.access.may_create_room(category)?;
        if body.retention.is_some() {
            attempt.access.may_administer()?;
        }
        let settings = merged(attempt, &start, &body)?;
        let created = Payload::RoomCreated(RoomCreated { settings });
        Ok(Plan::of(attempt.draft(RoomId::NONE, created)))
    })
    .await?;
    shown(&app, &caller, first(appended)?.room, StatusCode::CREATED)
}

/// The rooms that you may find.
#[utoipa::path(
    get, path = "/api/v1/rooms", tag = "rooms", params(ListParams),
    responses((status = 200, body = RoomList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<RoomList>, Problem> {
    let directory = app.directory();
    let category = params.category.as_deref();
    let category = category.map(|text| validate::query_id::<CategoryId>("category", text));
    let category = category.transpose()?;
    let mine = params.mine.unwrap_or(false);
    let within = category.map_or(0, |id| id.0) ^ (u64::from(mine) << 63);
    let mut after = validate::list_cursor(params.cursor.as_deref(), List::Rooms, within)?;
    let access = Access::begin(&directory, &caller.principal);
    let view = |row: Arc<RoomRow>| -> Option<Room> {
        let fits = category.is_none_or(|id| row.settings.category == id);
        let seen = access.may_find_row(row).ok().filter(|_| fits)?;
        let fits = !mine || seen.roles.is_some();
        fits.then(|| Room::of(&seen, continues(&access, &seen)))
    };
    if let Some(name) = &params.name {
        let rooms = directory.room_by_name(name)?.and_then(view).into_iter().collect();
        return Ok(axum::Json(RoomList { rooms, next: None }));
    }
    let source = Rows { directory: &directory, who: caller.principal.id, category, mine };
    let mut rooms = Vec::new();
    let mut scanned = 0;
    while rooms.len() < LIST_ITEMS && scanned < LIST_SCAN_MAX {
        let ids = source.after(RoomId(after))?;
        let full = ids.len() == LIST_ITEMS;
        for id in ids {
            if rooms.len() == LIST_ITEMS {
                break;
            }
            (after, scanned) = (id.0, scanned + 1);
            let row = directory.room(id)?.filter(|row| !row.id.is_system());
            rooms.extend(row.and_then(view));
        }
        if !full && rooms.len() < LIST_ITEMS {
            return Ok(axum::Json(RoomList { rooms, next: None }));
        }
    }
    let next = Cursor::List { list: List::Rooms, within, after }.encode();
    Ok(axum::Json(RoomList { rooms, next: Some(next) }))
}

/// Where a list takes its rooms from: the smallest of the indexes that fits.
struct Rows<'a> {
    directory: &'a Directory,
    who: PrincipalId,
    category: Option<CategoryId>,
    mine: bool,
}

impl Rows<'_> {
    fn after(&self, after: RoomId) -> Result<Vec<RoomId>, Problem> {
        let directory = self.directory;
        Ok(match (self.mine, self.category) {
            (true, _) => directory
                .rooms_of_principal(self.who, after, LIST_ITEMS)?
                .into_iter()
                .map(|(id, _)| id)
                .collect(),
            (false, Some(category)) => directory.rooms_of_category(category, after, LIST_ITEMS)?,
            (false, None) => {
                directory.rooms(after, LIST_ITEMS)?.into_iter().map(|row| row.id).collect()
            }
        })
    }
}

/// One room.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}", tag = "rooms", params(("id" = String, Path)),
    responses((status = 200, body = Room, headers(("ETag" = String)))),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
) -> Result<Response, Problem> {
    let seen = Access::begin(&app.directory(), &caller.principal).may_find_room(id)?;
    if seen.grant.as_administrator {
        audit_administrator(&app, &caller, id, "find").await?;
    }
    shown(&app, &caller, id, StatusCode::OK)
}

/// Changes a room: its managers; its category: administrators.
#[utoipa::path(
    patch, path = "/api/v1/rooms/{id}", tag = "rooms", request_body = RoomPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses(
        (status = 200, body = Room, headers(("ETag" = String))),
        (status = 204, description = "Changed, and you may find it no longer."),
    ),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    headers: HeaderMap,
    Json(body): Json<RoomPatch>,
) -> Result<Response, Problem> {
    let if_match = validate::if_match(&headers)?;
    let target = body.category.as_deref();
    let target = target.map(|text| validate::id::<CategoryId>("category", text)).transpose()?;
    submit(&app, &caller, |attempt| {
        let seen = attempt.access.may_manage_room(id)?;
        let moves = target.filter(|to| *to != seen.room.settings.category);
        let mut settings = merged(attempt, &seen.room.settings, &body)?;
        if body.retention.is_some() {
            attempt.access.may_administer_room(id)?;
        }
        if let Some(to) = moves {
            attempt.access.may_administer_room(id)?;
            if attempt.directory.category(to)?.is_none() {
                return Err(Problem::field("category", "no such category"));
            }
            settings.category = to;
        }
        let changed = attempt.draft(id, Payload::RoomChanged(RoomChanged { settings }));
        let plan = Plan::change(changed, if_match, seen.room.changed);
        Ok(plan.under(seen.grant, id, "change"))
    })
    .await?;
    // From here on members out of scope have no rights; what follows tidies their rows away.
    app.revalidate(Touched::Room(id)).await;
    if target.is_some() {
        remove_outsiders(&app, &caller, id).await?;
    }
    match shown(&app, &caller, id, StatusCode::OK) {
        Err(problem) if problem.code == Code::NotFound => {
            Ok(StatusCode::NO_CONTENT.into_response())
        }
        other => other,
    }
}

/// Deletes a room: it is hidden for ever, and its name is never used again. Administrators only.
#[utoipa::path(
    delete, path = "/api/v1/rooms/{id}", tag = "rooms",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let if_match = validate::if_match(&headers)?;
    submit(&app, &caller, |attempt| {
        let seen = attempt.access.may_administer_room(id)?;
        let gone = Payload::RoomDeleted(RoomDeleted { settings: seen.room.settings.clone() });
        let plan = Plan::change(attempt.draft(id, gone), if_match, seen.room.changed);
        Ok(plan.under(seen.grant, id, "delete"))
    })
    .await?;
    app.revalidate(Touched::Room(id)).await;
    Ok(StatusCode::NO_CONTENT)
}

/// The settings with what a body gives, but for the category.
fn merged(
    attempt: &Attempt<'_>,
    start: &RoomSettings,
    body: &RoomPatch,
) -> Result<RoomSettings, Problem> {
    let mut settings = start.clone();
    if let Some(name) = &body.name {
        validate::name("name", name)?;
        settings.name.clone_from(name);
    }
    for (field, given, slot) in [
        ("description", &body.description, &mut settings.description),
        ("topic", &body.topic, &mut settings.topic),
    ] {
        if let Some(text) = given {
            validate::text(field, text)?;
            slot.clone_from(text);
        }
    }
    settings.kind = body.r#type.map_or(settings.kind, Into::into);
    settings.privacy = body.privacy.map_or(settings.privacy, Into::into);
    settings.invitations = body.invitations.map_or(settings.invitations, Into::into);
    settings.disabled = body.disabled.unwrap_or(settings.disabled);
    if let Some(kept) = body.retention {
        settings.retention = kept.map(Into::into);
    }
    if let Some(text) = &body.continues {
        let earlier: RoomId = validate::id("continues", text)?;
        let readable = attempt.access.may_read_room(earlier).is_ok();
        if !readable {
            return Err(Problem::field("continues", "no such room, or none that you may read"));
        }
        settings.continues = earlier;
    }
    Ok(settings)
}

/// Removes the members that the room's category does not allow.
///
/// One by one: each removal changes the room's policy, which the next one is checked against.
async fn remove_outsiders(app: &App, caller: &Caller, room: RoomId) -> Result<(), Problem> {
    let directory = app.directory();
    let mut after = PrincipalId::NONE;
    loop {
        let rows = directory.members(room, after, LIST_ITEMS)?;
        let full = rows.len() == LIST_ITEMS;
        for row in rows {
            after = row.principal;
            submit(app, caller, |attempt| {
                let seen = attempt.access.may_administer_room(room)?;
                let member = attempt.directory.member(room, row.principal)?.is_some();
                if !member || in_scope(&seen.category, row.principal) {
                    return Ok(Plan::default());
                }
                let removed = MemberRemoved { principal: row.principal };
                Ok(Plan::of(attempt.draft(room, Payload::MemberRemoved(removed))))
            })
            .await?;
        }
        if !full {
            return Ok(());
        }
    }
}

/// The room that this one continues, where the asker may find it.
fn continues(access: &Access<'_, Directory>, seen: &Seen) -> Option<RoomId> {
    let earlier = seen.room.settings.continues;
    (!earlier.is_none() && access.may_find_room(earlier).is_ok()).then_some(earlier)
}

fn shown(app: &App, caller: &Caller, id: RoomId, status: StatusCode) -> Result<Response, Problem> {
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    let mut seen = access.may_find_room(id)?;
    let tag = [(header::ETAG, validate::etag(seen.room.changed))];
    let continues = continues(&access, &seen);
    if !seen.in_scope {
        seen.roles = None;
    }
    Ok((status, tag, axum::Json(Room::of(&seen, continues))).into_response())
}
