//! Messages of a room: posting, and history by pages.
//!
//! A post is answered when it is kept and visible. A page walks over holes and names them; the
//! pager crosses into the room that this one continues. INVARIANT: a category without history for
//! users gives them a gap and no message.

use std::str::FromStr;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::Engine;
use hansard_engine::catalog::rows::PrincipalRow;
use hansard_engine::draft::Appended;
use hansard_engine::format::payload::{EntryKind as Kind, Payload, Post};
use hansard_engine::format::record::{Idempotency, Record};
use hansard_engine::limits::IDEMPOTENCY_KEY_BYTES_MAX;
use hansard_engine::reads::{Amendment, Anchor, Gap as EngineGap, GapReason, Page};
use hansard_engine::stats::Stopwatch;
use hansard_engine::types::{Epoch, Lsn, MessageId, RoomId, Seq, TimeUs};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};

use super::input::{At, At2, IdempotencyKey, Json, Params};
use super::validate;
use super::view::{Author, Gap, Message, MessagePage, text};
use crate::access::{Access, Seen};
use crate::auth::Caller;
use crate::cursor::Cursor;
use crate::limits::CONTINUES_MAX;
use crate::problem::{Code, Problem};
use crate::state::App;
use crate::submit::{Plan, audit_administrator, first, submit_at_once};
use crate::time;

/// What the answer to a post takes beside what was said, about.
const ANSWER_BYTES: usize = 640;

/// The kinds that people post.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PostKind {
    /// A text.
    #[default]
    Text,
    /// An action ("/me waves").
    Action,
}

/// A message to be posted.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMessage {
    /// The text: not empty, at most 64 KiB of UTF-8.
    body: String,
    /// Its kind; `text` unless given.
    #[serde(default)]
    kind: PostKind,
    /// The seq of the entry it answers.
    reply_to: Option<u64>,
}

/// Posts a message.
#[utoipa::path(
    post, path = "/api/v1/rooms/{id}/messages", tag = "messages", request_body = NewMessage,
    params(
        ("id" = String, Path),
        ("Idempotency-Key" = Option<String>, Header, description = "1 to 128 printable bytes"),
    ),
    responses((
        status = 201, body = Message,
        headers(("Idempotent-Replayed" = Option<String>, description = "`true` for a replay")),
    )),
)]
pub(crate) async fn create(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    key: IdempotencyKey,
    Json(body): Json<NewMessage>,
) -> Result<Response, Problem> {
    let watch = Stopwatch::start();
    let (post, key) = match wanted(&app, id, key, body) {
        Ok(wanted) => wanted,
        Err(problem) => {
            // Rights come first: a stranger learns nothing from how his body is judged.
            Access::begin(&app.directory(), &caller.principal).may_post(id)?;
            return Err(problem);
        }
    };
    let appended = submit_at_once(&app, &caller, |attempt| {
        let seen = attempt.access.may_post(id)?;
        let mut draft = attempt.draft(id, Payload::Post(post.clone()));
        draft.idempotency.clone_from(&key);
        Ok(Plan::of(draft).under(seen.grant, id, "post"))
    })
    .await?;
    let appended = first(appended)?;
    app.metrics.post_time.record(watch.elapsed());
    if appended.replayed {
        let message = replayed(&app, &caller, &appended, post).await?;
        let header = [("Idempotent-Replayed", "true")];
        return Ok((StatusCode::CREATED, header, axum::Json(message)).into_response());
    }
    Ok(created(&message(&appended, &caller.principal, post)))
}

/// The answer to a post, written into one piece of memory.
fn created(message: &Message) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES + message.body.len());
    match serde_json::to_writer(&mut bytes, message) {
        Ok(()) => {
            let kind = HeaderValue::from_static("application/json");
            (StatusCode::CREATED, [(header::CONTENT_TYPE, kind)], bytes).into_response()
        }
        Err(_) => Problem::new(Code::Internal).into_response(),
    }
}

/// What a request asks for, if it may be asked for by anybody. The key is let go of: it holds the
/// memory that the request was read into, which the connection reads on into meanwhile.
fn wanted(
    app: &App,
    room: RoomId,
    key: IdempotencyKey,
    body: NewMessage,
) -> Result<(Post, Option<Idempotency>), Problem> {
    let post = checked(body)?;
    let key = idempotency(&key, &post)?;
    if post.reply_to > Seq::ZERO && post.reply_to > app.engine.head(room)?.seq {
        return Err(Problem::field("reply_to", "no such entry yet"));
    }
    Ok((post, key))
}

fn checked(body: NewMessage) -> Result<Post, Problem> {
    validate::body_size(&body.body)?;
    if body.body.is_empty() {
        return Err(Problem::field("body", "a message is not empty"));
    }
    if body.reply_to == Some(0) {
        return Err(Problem::field("reply_to", "entries count from 1"));
    }
    let kind = match body.kind {
        PostKind::Text => Kind::Text,
        PostKind::Action => Kind::Action,
    };
    Ok(Post { kind, body: body.body, reply_to: Seq(body.reply_to.unwrap_or(0)), import: None })
}

/// The key of a request with the digest of what it says, whatever its JSON looked like.
fn idempotency(key: &IdempotencyKey, post: &Post) -> Result<Option<Idempotency>, Problem> {
    let Some(value) = &key.0 else { return Ok(None) };
    let key = value.as_bytes();
    let printable = key.iter().all(|byte| (0x20..=0x7e).contains(byte));
    if !(1..=IDEMPOTENCY_KEY_BYTES_MAX).contains(&key.len()) || !printable {
        let words = "Idempotency-Key has 1 to 128 printable ASCII bytes";
        return Err(Problem::with(Code::BadHeader, words));
    }
    let digest_of = Sha256::new()
        .chain_update(b"post\0")
        .chain_update([post.kind.code()])
        .chain_update(post.reply_to.0.to_le_bytes())
        .chain_update(post.body.as_bytes())
        .finalize();
    let mut digest = [0; 16];
    digest.copy_from_slice(&digest_of[..16]);
    Ok(Some(Idempotency { key: key.to_vec(), digest }))
}

/// The first result of a key: from the record, which has the name of that time.
async fn replayed(
    app: &App,
    caller: &Caller,
    appended: &Appended,
    post: Post,
) -> Result<Message, Problem> {
    let (room, seq) = (appended.room, appended.seq);
    let page = app.read(move |engine| engine.page(room, Anchor::Between(seq, seq), 1)).await?;
    let found = page.ok().and_then(|page| Message::all(&page.records, &page.amended).pop());
    // Damaged or not kept: the digest says that it was this body.
    Ok(found.unwrap_or_else(|| message(appended, &caller.principal, post)))
}

fn message(appended: &Appended, author: &PrincipalRow, post: Post) -> Message {
    let time = time::show(appended.time);
    let live = appended.recorded == appended.time;
    Message {
        id: text(&appended.message_id()),
        room: text(&appended.room),
        seq: appended.seq.0,
        rev: appended.rev.0,
        recorded: if live { time.clone() } else { time::show(appended.recorded) },
        time,
        author: Author { id: text(&author.id), name: author.settings.name.clone() },
        kind: post.kind.into(),
        body: post.body,
        reply_to: (post.reply_to.0 > 0).then_some(post.reply_to.0),
        source: None,
        edited: None,
        redacted: None,
    }
}

/// Which page: at most one of `before`, `after`, `around`, `at` and `cursor`.
#[derive(Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageParams {
    /// A seq or a message id: the entries before it.
    before: Option<String>,
    /// A seq or a message id: the entries after it.
    after: Option<String>,
    /// A seq, a message id or a time: half the page before it, the rest from it.
    around: Option<String>,
    /// A seq, a message id or a time: from the first entry at or after it.
    at: Option<String>,
    /// What `older` or `newer` said.
    cursor: Option<String>,
    /// Messages of the page: 1 to 500, 50 unless given.
    limit: Option<usize>,
    /// `true`: damage in the page is an error.
    strict: Option<bool>,
}

/// A page of the room's history; the newest entries unless a place is given.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/messages", tag = "messages",
    params(("id" = String, Path), PageParams), responses((status = 200, body = MessagePage)),
)]
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    At(id): At<RoomId>,
    Params(params): Params<PageParams>,
) -> Result<axum::Json<MessagePage>, Problem> {
    let limit = validate::limit(params.limit, app.config.page_limit_default)?;
    let strict = params.strict.unwrap_or(false);
    let directory = app.directory();
    let access = Access::begin(&directory, &caller.principal);
    let seen = access.may_read_room(id)?;
    if seen.grant.as_administrator {
        audit_administrator(&app, &caller, id, "read").await?;
    }
    let chain = chain(&access, &seen)?;
    let (place, anchor) = place(&params, &chain)?;
    let (room, kept) = chain.get(place).copied().ok_or_else(Problem::not_found)?;
    let page = if kept {
        app.read(move |engine| engine.page(room, anchor, limit)).await??
    } else {
        not_kept(&app.engine, room)?
    };
    if strict {
        refuse_damage(page.gaps.iter())?;
    }
    linked(&app.engine, &page, &chain, place).map(axum::Json)
}

/// Refuses if one of these gaps is damage, and names them all.
fn refuse_damage<'a>(gaps: impl Iterator<Item = &'a EngineGap> + Clone) -> Result<(), Problem> {
    if !gaps.clone().any(|gap| gap.reason == GapReason::Damaged) {
        return Ok(());
    }
    let mut problem = Problem::new(Code::Damaged);
    problem.extra.gaps = Some(gaps.map(Gap::from).collect());
    Err(problem)
}

/// One message.
#[utoipa::path(
    get, path = "/api/v1/rooms/{id}/messages/{message}", tag = "messages",
    params(("id" = String, Path), ("message" = String, Path)),
    responses((status = 200, body = Message, headers(("ETag" = String)))),
)]
pub(crate) async fn get(
    State(app): State<App>,
    caller: Caller,
    At2(id, name): At2<RoomId, MessageId>,
) -> Result<Response, Problem> {
    let directory = app.directory();
    let seen = Access::begin(&directory, &caller.principal).may_read_room(id)?;
    if name.room != id || !seen.category.settings.history {
        return Err(Problem::not_found());
    }
    if seen.grant.as_administrator {
        audit_administrator(&app, &caller, id, "read").await?;
    }
    let (record, amendment) = one(&app, name).await?;
    Ok(tagged(&record, amendment))
}

/// A message with what became of it. The caller may read its room.
pub(super) async fn one(
    app: &App,
    name: MessageId,
) -> Result<(Record, Option<Amendment>), Problem> {
    let (room, seq) = (name.room, name.seq);
    let page = app.read(move |engine| engine.page(room, Anchor::At(seq), 1)).await??;
    let here = |gap: &&EngineGap| (gap.from_seq..=gap.to_seq).contains(&seq);
    refuse_damage(page.gaps.iter().filter(here))?;
    let record = page.records.into_iter().find(|record| record.seq == seq);
    let record = record.filter(|record| record.epoch == name.epoch);
    let amendment = page.amended.into_iter().find(|one| one.seq == seq);
    record.map(|record| (record, amendment)).ok_or_else(Problem::not_found)
}

/// True if there is such a message, of this epoch, be it redacted.
pub(super) async fn is_there(app: &App, name: MessageId) -> Result<bool, Problem> {
    match one(app, name).await {
        Ok(_) => Ok(true),
        Err(problem) if problem.code == Code::NotFound => Ok(false),
        Err(problem) => Err(problem),
    }
}

/// The newest record about a message: its entity tag.
pub(super) fn changed(record: &Record, amendment: Option<&Amendment>) -> Lsn {
    amendment.map_or(record.lsn, |one| one.changed)
}

/// A message with its entity tag.
pub(super) fn tagged(record: &Record, amendment: Option<Amendment>) -> Response {
    let tag = validate::etag(changed(record, amendment.as_ref()));
    let message = Message::of(record, amendment.as_slice());
    ([(header::ETAG, tag)], axum::Json(message)).into_response()
}

/// The asked room and those that it continues, as far as the asker may read them, each with
/// whether its category keeps history for users.
fn chain<R: crate::access::Rights>(
    access: &Access<'_, R>,
    seen: &Seen,
) -> Result<Vec<(RoomId, bool)>, Problem> {
    let mut chain = vec![(seen.room.id, seen.category.settings.history)];
    let mut earlier = seen.room.settings.continues;
    while !earlier.is_none()
        && chain.len() <= CONTINUES_MAX
        && chain.iter().all(|(room, _)| *room != earlier)
    {
        let Ok(next) = access.may_read_room(earlier) else { break };
        chain.push((earlier, next.category.settings.history));
        earlier = next.room.settings.continues;
    }
    Ok(chain)
}

/// The place in the chain and the anchor there that the parameters name.
fn place(params: &PageParams, chain: &[(RoomId, bool)]) -> Result<(usize, Anchor), Problem> {
    let PageParams { before, after, around, at, cursor, .. } = params;
    let given = [before, after, around, at, cursor].iter().filter(|one| one.is_some()).count();
    if given > 1 {
        let words = "at most one of before, after, around, at and cursor";
        return Err(Problem::with(Code::BadQuery, words));
    }
    let asked = chain.first().map_or(RoomId::NONE, |(room, _)| *room);
    let seq = |field: &str, text: &str| match mark(field, text, asked, TimesTaken::No)? {
        Mark::Seq(seq) => Ok(seq),
        Mark::Time(_) => Err(Problem::query(field, "not a seq or a message id")),
    };
    let anchor = if let Some(text) = before {
        Anchor::Before(seq("before", text)?)
    } else if let Some(text) = after {
        Anchor::After(seq("after", text)?)
    } else if let Some(text) = around {
        match mark("around", text, asked, TimesTaken::Yes)? {
            Mark::Seq(seq) => Anchor::Around(seq),
            Mark::Time(time) => Anchor::AroundTime(time),
        }
    } else if let Some(text) = at {
        match mark("at", text, asked, TimesTaken::Yes)? {
            Mark::Seq(seq) => Anchor::At(seq),
            Mark::Time(time) => Anchor::AtTime(time),
        }
    } else if let Some(text) = cursor {
        let (room, anchor) = match validate::cursor(text)? {
            Cursor::Before { room, seq, .. } => (room, Anchor::Before(seq)),
            Cursor::After { room, seq, .. } => (room, Anchor::After(seq)),
            _ => return Err(Problem::new(Code::BadCursor)),
        };
        let place = chain.iter().position(|(known, _)| *known == room);
        return place.map(|place| (place, anchor)).ok_or_else(|| Problem::new(Code::BadCursor));
    } else {
        Anchor::Last
    };
    Ok((0, anchor))
}

enum Mark {
    Seq(Seq),
    Time(TimeUs),
}

#[derive(PartialEq)]
enum TimesTaken {
    Yes,
    No,
}

/// A seq, a message id of this room or, where taken, a time.
fn mark(field: &str, text: &str, room: RoomId, times: TimesTaken) -> Result<Mark, Problem> {
    if text.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(seq) = text.parse()
    {
        return Ok(Mark::Seq(Seq(seq)));
    }
    if let Ok(name) = MessageId::from_str(text) {
        return if name.room == room {
            Ok(Mark::Seq(name.seq))
        } else {
            Err(Problem::query(field, "a message of another room"))
        };
    }
    if times == TimesTaken::Yes {
        return validate::query_time(field, text).map(Mark::Time);
    }
    Err(Problem::query(field, "not a seq or a message id"))
}

/// The page of a room whose category keeps no history for users.
fn not_kept(engine: &Engine, room: RoomId) -> Result<Page, Problem> {
    let to_seq = engine.head(room)?.seq;
    let gap =
        hansard_engine::reads::Gap { room, from_seq: Seq(1), to_seq, reason: GapReason::NotKept };
    let gaps = if to_seq > Seq::ZERO { vec![gap] } else { Vec::new() };
    Ok(Page { gaps, ..Page::default() })
}

/// The answer, with cursors that cross from room to continued room and back.
fn linked(
    engine: &Engine,
    page: &Page,
    chain: &[(RoomId, bool)],
    place: usize,
) -> Result<MessagePage, Problem> {
    let epoch: Epoch = engine.epoch();
    let room = chain.get(place).map_or(RoomId::NONE, |(room, _)| *room);
    let older = match (page.older, chain.get(place + 1)) {
        (Some(seq), _) => Some(Cursor::Before { epoch, room, seq }),
        (None, Some((earlier, _))) => {
            let seq = engine.head(*earlier)?.seq.next();
            Some(Cursor::Before { epoch, room: *earlier, seq })
        }
        (None, None) => None,
    };
    let newer = match (page.newer, place.checked_sub(1).and_then(|at| chain.get(at))) {
        (Some(seq), _) => Some(Cursor::After { epoch, room, seq }),
        (None, Some((later, _))) => Some(Cursor::After { epoch, room: *later, seq: Seq::ZERO }),
        (None, None) => None,
    };
    Ok(MessagePage {
        messages: Message::all(&page.records, &page.amended),
        older: older.map(Cursor::encode),
        newer: newer.map(Cursor::encode),
        gaps: page.gaps.iter().map(Gap::from).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: RoomId = RoomId::new(Epoch(1), Lsn(9));

    fn anchor(params: PageParams) -> Result<(usize, Anchor), Code> {
        place(&params, &[(ROOM, true), (RoomId(77), true)]).map_err(|problem| problem.code)
    }

    fn text(text: &str) -> Option<String> {
        Some(text.to_owned())
    }

    #[test]
    fn a_page_has_one_place() {
        let none = PageParams::default;
        assert_eq!(anchor(none()), Ok((0, Anchor::Last)));
        assert_eq!(
            anchor(PageParams { before: text("7"), ..none() }),
            Ok((0, Anchor::Before(Seq(7))))
        );
        assert_eq!(
            anchor(PageParams { after: text("m1-9-1-3"), ..none() }),
            Ok((0, Anchor::After(Seq(3))))
        );
        assert_eq!(
            anchor(PageParams { around: text("2008-04-27T06:00:00Z"), ..none() }),
            Ok((0, Anchor::AroundTime(TimeUs(1_209_276_000_000_000))))
        );
        let cursor = Cursor::Before { epoch: Epoch(1), room: RoomId(77), seq: Seq(4) }.encode();
        assert_eq!(
            anchor(PageParams { cursor: Some(cursor), ..none() }),
            Ok((1, Anchor::Before(Seq(4))))
        );
    }

    #[test]
    fn wrong_places_are_refused() {
        let none = PageParams::default;
        let bad = Err(Code::BadQuery);
        assert_eq!(anchor(PageParams { before: text("1"), after: text("2"), ..none() }), bad);
        assert_eq!(anchor(PageParams { before: text("2008-04-27T06:00:00Z"), ..none() }), bad);
        assert_eq!(anchor(PageParams { before: text("m1-8-1-3"), ..none() }), bad);
        assert_eq!(anchor(PageParams { at: text("yesterday"), ..none() }), bad);
        assert_eq!(anchor(PageParams { at: text(""), ..none() }), bad);
        assert_eq!(anchor(PageParams { cursor: text("x"), ..none() }), Err(Code::BadCursor));
        let elsewhere = Cursor::Before { epoch: Epoch(1), room: RoomId(78), seq: Seq(4) }.encode();
        assert_eq!(anchor(PageParams { cursor: Some(elsewhere), ..none() }), Err(Code::BadCursor));
    }

    #[test]
    fn a_key_covers_what_is_said_and_not_how_it_was_written() {
        let of = |bytes: &[u8]| IdempotencyKey(HeaderValue::from_bytes(bytes).ok());
        let key = of(b"k 1");
        let post = |text: &str| {
            let json = format!("{{\"body\": {text}}}");
            checked(serde_json::from_str(&json).unwrap()).unwrap()
        };
        let one = idempotency(&key, &post("\"A\"")).unwrap();
        assert!(one.is_some());
        assert_eq!(one, idempotency(&key, &post("\"\\u0041\"")).unwrap());
        assert_ne!(one, idempotency(&key, &post("\"B\"")).unwrap());
        assert_eq!(idempotency(&IdempotencyKey(None), &post("\"A\"")).unwrap(), None);
        for wrong in ["", "é", &"x".repeat(129)] {
            let wrong = idempotency(&of(wrong.as_bytes()), &post("\"A\""));
            assert_eq!(wrong.unwrap_err().code, Code::BadHeader);
        }
    }
}
