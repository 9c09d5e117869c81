//! A category by time: `/categories/{id}/messages`.
//!
//! It shows the rooms that the asker may read and no trace of the others. INVARIANT: the bounds of
//! the first request stand in the cursor, so that a later page cannot silently widen them.

use axum::extract::State;
use hansard_engine::catalog::rows::CategoryRow;
use hansard_engine::reads::{CategoryCursor, CategoryRequest, Order};
use hansard_engine::types::{CategoryId, RoomId, TimeUs};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, Params};
use super::validate;
use super::view::{CategoryMessages, Gap, GapReason, Message};
use crate::access::Access;
use crate::auth::Caller;
use crate::cursor::Cursor;
use crate::limits::{CATEGORY_GAPS_MAX, LIST_ITEMS, LIST_SCAN_MAX};
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::audit_administrator;

/// The order of a category's page.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// Oldest first.
    Asc,
    /// Newest first.
    Desc,
}

impl From<Direction> for Order {
    fn from(direction: Direction) -> Self {
        match direction {
            Direction::Asc => Self::Ascending,
            Direction::Desc => Self::Descending,
        }
    }
}

/// Which part.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct SpanParams {
    /// The first time, included; the beginning unless given.
    from: Option<String>,
    /// The last time, excluded; the end unless given.
    to: Option<String>,
    /// Oldest first unless given.
    #[param(inline)]
    order: Option<Direction>,
    /// Messages of the page: 1 to 500, 50 unless given.
    limit: Option<usize>,
    /// What `next` said; the bounds and the order go with it.
    cursor: Option<String>,
    /// `true`: damage in the page is an error.
    strict: Option<bool>,
}

/// The messages of a category's rooms in a span of time.
#[utoipa::path(
    get, path = "/api/v1/categories/{id}/messages", tag = "messages",
    params(("id" = String, Path), SpanParams), responses((status = 200, body = CategoryMessages)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    At(id): At<CategoryId>,
    Params(params): Params<SpanParams>,
) -> Result<axum::Json<CategoryMessages>, Problem> {
    let limit = validate::limit(params.limit, app.config.page_limit_default)?;
    let directory = app.directory();
    let (category, _) = Access::begin(&directory, &caller.principal).may_find_category(id)?;
    let request = request(&params, id, limit)?;
    if !category.settings.history {
        return not_kept(&app, &caller, &category).map(axum::Json);
    }
    let who = caller.principal.clone();
    let (page, administrator) = app
        .read(move |engine| {
            let directory = engine.directory();
            let access = Access::begin(&directory, &who);
            let mut administrator = false;
            let mut see = |room: RoomId| {
                let seen = access.may_read_room(room);
                administrator |= seen.as_ref().is_ok_and(|seen| seen.grant.as_administrator);
                seen.is_ok()
            };
            let page = engine.category_page(&request, &mut see);
            (page, administrator)
        })
        .await?;
    if administrator {
        audit_administrator(&app, &caller, RoomId::NONE, "read category").await?;
    }
    let page = page?;
    app.metrics.category_blocks.add(page.blocks);
    app.metrics.category_blocks_overlapping.add(page.blocks_overlapping);
    let gaps: Vec<Gap> = page.gaps.iter().map(Gap::from).collect();
    let damaged = gaps.iter().any(|gap| gap.reason == GapReason::Damaged);
    if params.strict.unwrap_or(false) && damaged {
        let mut problem = Problem::new(Code::Damaged);
        problem.extra.gaps = Some(gaps);
        return Err(problem);
    }
    let (epoch, CategoryRequest { from, to, order, .. }) = (app.engine.epoch(), request);
    let next = page.next.map(|at: CategoryCursor| {
        Cursor::Category { epoch, category: id, from, to, order, at }.encode()
    });
    let messages = Message::all(&page.records, &page.amended);
    Ok(axum::Json(CategoryMessages { messages, next, gaps }))
}

fn request(
    params: &SpanParams,
    category: CategoryId,
    limit: usize,
) -> Result<CategoryRequest, Problem> {
    let bound = |field: &str, text: &Option<String>| {
        text.as_deref().map(|text| validate::query_time(field, text)).transpose()
    };
    let (from, to) = (bound("from", &params.from)?, bound("to", &params.to)?);
    let order = params.order.map(Order::from);
    let Some(text) = &params.cursor else {
        return Ok(CategoryRequest {
            category,
            from: from.unwrap_or(TimeUs::MIN),
            to: to.unwrap_or(TimeUs::MAX),
            order: order.unwrap_or(Order::Ascending),
            cursor: None,
            limit,
        });
    };
    let Cursor::Category { category: of, from: first, to: last, order: way, at, .. } =
        validate::cursor(text)?
    else {
        return Err(Problem::new(Code::BadCursor));
    };
    if of != category {
        return Err(Problem::new(Code::BadCursor));
    }
    let same = from.is_none_or(|from| from == first)
        && to.is_none_or(|to| to == last)
        && order.is_none_or(|order| order == way);
    if !same {
        return Err(Problem::query("cursor", "belongs to other bounds or another order"));
    }
    Ok(CategoryRequest { category, from: first, to: last, order: way, cursor: Some(at), limit })
}

/// A category without history for users: what is not kept, room by room.
fn not_kept(
    app: &App,
    caller: &Caller,
    category: &CategoryRow,
) -> Result<CategoryMessages, Problem> {
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    let (mut gaps, mut after, mut scanned) = (Vec::new(), RoomId::NONE, 0);
    loop {
        let rooms = directory.rooms_of_category(category.id, after, LIST_ITEMS)?;
        let full = rooms.len() == LIST_ITEMS;
        for room in rooms {
            (after, scanned) = (room, scanned + 1);
            let to_seq = app.engine.head(room)?.seq.0;
            if to_seq > 0 && access.may_read_room(room).is_ok() {
                let (room, reason) = (room.to_string(), GapReason::NotKept);
                gaps.push(Gap { room, from_seq: 1, to_seq, reason });
            }
        }
        if !full || gaps.len() >= CATEGORY_GAPS_MAX || scanned >= LIST_SCAN_MAX {
            return Ok(CategoryMessages { messages: Vec::new(), next: None, gaps });
        }
    }
}

#[cfg(test)]
mod tests {
    use hansard_engine::types::{Epoch, Seq};

    use super::*;

    #[test]
    fn a_cursor_keeps_its_bounds() {
        let (category, epoch) = (CategoryId(9), Epoch(1));
        let at = CategoryCursor { time: TimeUs(5), room: RoomId(7), seq: Seq(3) };
        let (from, to, order) = (TimeUs(0), TimeUs(60_000_000), Order::Descending);
        let text = Cursor::Category { epoch, category, from, to, order, at }.encode();
        let params = |from: Option<&str>, order| SpanParams {
            from: from.map(str::to_owned),
            to: None,
            order,
            limit: None,
            cursor: Some(text.clone()),
            strict: None,
        };
        let kept = request(&params(None, None), category, 50).unwrap();
        assert_eq!((kept.from, kept.to, kept.order, kept.cursor), (from, to, order, Some(at)));
        assert!(request(&params(Some("1970-01-01T00:00:00Z"), None), category, 50).is_ok());
        assert!(request(&params(Some("1970-01-01T00:00:01Z"), None), category, 50).is_err());
        assert!(request(&params(None, Some(Direction::Asc)), category, 50).is_err());
        assert!(request(&params(None, None), CategoryId(8), 50).is_err());
    }
}
