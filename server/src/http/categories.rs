//! Categories: `/categories`.
//!
//! Administrators make and change them; everybody in scope sees that they exist. INVARIANT: a
//! change of scope takes back streams before it is answered.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::catalog::rows::CategoryRow;
use hansard_engine::format::payload::{
    CategoryChanged, CategoryCreated, CategoryDeleted, CategorySettings,
    ChangePolicy as EnginePolicy, Payload, Retention,
};
use hansard_engine::limits::SCOPE_PRINCIPALS_MAX;
use hansard_engine::types::{CategoryId, PrincipalId, RoomId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, Json, Params, given};
use super::validate;
use super::view::Category;
use super::words::ChangePolicy;
use crate::access::Access;
use crate::auth::Caller;
use crate::cursor::{Cursor, List};
use crate::hub::Touched;
use crate::limits::{LIST_ITEMS, LIST_SCAN_MAX};
use crate::problem::Problem;
use crate::state::App;
use crate::submit::{Attempt, Plan, first, submit};

/// A category to be made, or a change of one: what is given is set.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryPatch {
    /// Its unique name; needed for a new one.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// What it is for.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    description: Option<String>,
    /// Who is in scope: principals or `everyone`, which a new one gets. Empty: administrators only.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    allowed: Option<Vec<String>>,
    /// Who is not, whatever `allowed` says.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    denied: Option<Vec<String>>,
    /// Who may create rooms, besides administrators.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    creators: Option<Vec<String>>,
    /// Whether members may invite: kept, and looked at by nothing yet.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    invitations: Option<bool>,
    /// Whether files may be uploaded: kept, and looked at by nothing yet.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    uploads: Option<bool>,
    /// Whether users see history. Off: kept for compliance only.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    history: Option<bool>,
    /// How long history is kept, in days; 0 is for ever.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    retention_days: Option<u32>,
    /// How many entries of each room are kept; 0 is all.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    retention_entries: Option<u64>,
    /// How many bytes the entries of each room may take in packs; 0 is any number.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    retention_bytes: Option<u64>,
    /// Who may edit.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    edit: Option<ChangePolicy>,
    /// Who may redact.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    redact: Option<ChangePolicy>,
    /// Whether reading is an event: kept, and looked at by nothing yet.
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    read_audit: Option<bool>,
}

/// Categories.
#[derive(Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CategoryList {
    categories: Vec<Category>,
    next: Option<String>,
}

/// Which categories.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListParams {
    /// Of exactly this name.
    name: Option<String>,
    /// Where the last page ended.
    cursor: Option<String>,
}

/// Makes a category. Administrators only.
#[utoipa::path(
    post, path = "/api/v1/categories", tag = "categories", request_body = CategoryPatch,
    responses((status = 201, body = Category, headers(("ETag" = String)))),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    Json(body): Json<CategoryPatch>,
) -> Result<Response, Problem> {
    Access::begin(&app.directory(), &caller.principal).may_administer()?;
    let name = body.name.clone().ok_or_else(|| Problem::field("name", "is missing"))?;
    let start = CategorySettings {
        name,
        description: String::new(),
        allowed: vec![PrincipalId::EVERYONE],
        denied: Vec::new(),
        creators: Vec::new(),
        invitations: true,
        uploads: true,
        history: true,
        retention: Retention::ALL,
        edit: EnginePolicy::Nobody,
        redact: EnginePolicy::Managers,
        read_audit: false,
    };
    let appended = submit(&app, &caller, |attempt| {
        attempt.access.may_administer()?;
        let settings = merged(attempt, &start, &body)?;
        let created = CategoryCreated { settings };
        Ok(Plan::of(attempt.draft(RoomId::NONE, Payload::CategoryCreated(created))))
    })
    .await?;
    shown(&app, &caller, first(appended)?.category_id(), StatusCode::CREATED)
}

/// The categories in whose scope you are.
#[utoipa::path(
    get, path = "/api/v1/categories", tag = "categories", params(ListParams),
    responses((status = 200, body = CategoryList)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    Params(params): Params<ListParams>,
) -> Result<axum::Json<CategoryList>, Problem> {
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    let view = |row: &CategoryRow| {
        let found = access.may_find_category_row(row).is_ok();
        found.then(|| Category::of(row, access.creates_in(row), &caller.principal))
    };
    let mut after = validate::list_cursor(params.cursor.as_deref(), List::Categories, 0)?;
    if let Some(name) = &params.name {
        let row = directory.category_by_name(name)?;
        let categories = row.iter().filter_map(|row| view(row)).collect();
        return Ok(axum::Json(CategoryList { categories, next: None }));
    }
    let mut categories = Vec::new();
    let mut scanned = 0;
    while categories.len() < LIST_ITEMS && scanned < LIST_SCAN_MAX {
        let rows = directory.categories(CategoryId(after), LIST_ITEMS)?;
        let full = rows.len() == LIST_ITEMS;
        for row in rows {
            if categories.len() == LIST_ITEMS {
                break;
            }
            (after, scanned) = (row.id.0, scanned + 1);
            categories.extend(view(&row));
        }
        if !full && categories.len() < LIST_ITEMS {
            return Ok(axum::Json(CategoryList { categories, next: None }));
        }
    }
    let next = Cursor::List { list: List::Categories, within: 0, after }.encode();
    Ok(axum::Json(CategoryList { categories, next: Some(next) }))
}

/// One category.
#[utoipa::path(
    get, path = "/api/v1/categories/{id}", tag = "categories", params(("id" = String, Path)),
    responses((status = 200, body = Category, headers(("ETag" = String)))),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    At(id): At<CategoryId>,
) -> Result<Response, Problem> {
    shown(&app, &caller, id, StatusCode::OK)
}

/// Changes a category. Administrators only.
#[utoipa::path(
    patch, path = "/api/v1/categories/{id}", tag = "categories", request_body = CategoryPatch,
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 200, body = Category, headers(("ETag" = String)))),
)]
pub(crate) async fn patch(
    State(app): State<App>,
    caller: Caller,
    At(id): At<CategoryId>,
    headers: HeaderMap,
    Json(body): Json<CategoryPatch>,
) -> Result<Response, Problem> {
    let if_match = validate::if_match(&headers)?;
    submit(&app, &caller, |attempt| {
        let (row, _) = attempt.access.may_find_category(id)?;
        attempt.access.may_administer()?;
        let settings = merged(attempt, &row.settings, &body)?;
        let changed = Payload::CategoryChanged(CategoryChanged { category: id, settings });
        Ok(Plan::change(attempt.draft(RoomId::NONE, changed), if_match, row.changed))
    })
    .await?;
    app.revalidate(Touched::Category(id)).await;
    shown(&app, &caller, id, StatusCode::OK)
}

/// Deletes a category that has no rooms. Administrators only.
#[utoipa::path(
    delete, path = "/api/v1/categories/{id}", tag = "categories",
    params(("id" = String, Path), ("If-Match" = Option<String>, Header)),
    responses((status = 204)),
)]
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    At(id): At<CategoryId>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let if_match = validate::if_match(&headers)?;
    submit(&app, &caller, |attempt| {
        let (row, _) = attempt.access.may_find_category(id)?;
        attempt.access.may_administer()?;
        let gone = CategoryDeleted { category: id, name: row.settings.name.clone() };
        let draft = attempt.draft(RoomId::NONE, Payload::CategoryDeleted(gone));
        Ok(Plan::change(draft, if_match, row.changed))
    })
    .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn merged(
    attempt: &Attempt<'_>,
    start: &CategorySettings,
    body: &CategoryPatch,
) -> Result<CategorySettings, Problem> {
    let mut settings = start.clone();
    if let Some(name) = &body.name {
        validate::name("name", name)?;
        settings.name.clone_from(name);
    }
    if let Some(text) = &body.description {
        validate::text("description", text)?;
        settings.description.clone_from(text);
    }
    for (field, given, slot) in [
        ("allowed", &body.allowed, &mut settings.allowed),
        ("denied", &body.denied, &mut settings.denied),
        ("creators", &body.creators, &mut settings.creators),
    ] {
        if let Some(texts) = given {
            *slot = principals(attempt, field, texts)?;
        }
    }
    settings.invitations = body.invitations.unwrap_or(settings.invitations);
    settings.uploads = body.uploads.unwrap_or(settings.uploads);
    settings.history = body.history.unwrap_or(settings.history);
    let Retention { days, entries, bytes } = settings.retention;
    settings.retention = Retention {
        days: body.retention_days.unwrap_or(days),
        entries: body.retention_entries.unwrap_or(entries),
        bytes: body.retention_bytes.unwrap_or(bytes),
    };
    settings.edit = body.edit.map_or(settings.edit, Into::into);
    settings.redact = body.redact.map_or(settings.redact, Into::into);
    settings.read_audit = body.read_audit.unwrap_or(settings.read_audit);
    Ok(settings)
}

/// A list of principals that exist, without repetition.
fn principals(
    attempt: &Attempt<'_>,
    field: &str,
    texts: &[String],
) -> Result<Vec<PrincipalId>, Problem> {
    if texts.len() > SCOPE_PRINCIPALS_MAX {
        return Err(Problem::field(field, format!("at most {SCOPE_PRINCIPALS_MAX} principals")));
    }
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let id = validate::listed(field, text)?;
        let known = id == PrincipalId::EVERYONE || attempt.directory.principal(id)?.is_some();
        if !known {
            return Err(Problem::field(field, format!("no such principal: {text}")));
        }
        ids.push(id);
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn shown(
    app: &App,
    caller: &Caller,
    id: CategoryId,
    status: StatusCode,
) -> Result<Response, Problem> {
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    let (row, _) = access.may_find_category(id)?;
    let tag = [(header::ETAG, validate::etag(row.changed))];
    let view = Category::of(&row, access.creates_in(&row), &caller.principal);
    Ok((status, tag, axum::Json(view)).into_response())
}
