//! `hansard admin room ...` and `hansard admin member ...`.
//!
//! Rooms, categories and users are named by name or by id.

use serde_json::{Value, json};

use super::{Out, body, every, patch};
use crate::cli::{
    MemberVerb, RetentionOptions, Role, RoomKind, RoomOptions, RoomPrivacy, RoomVerb,
};
use crate::client::{Ask, Client, Sort, id, segment};
use crate::exits::Failure;

const COLUMNS: &[&str] = &["id", "name", "category", "privacy", "type", "disabled", "created"];
const DETAILS: &[&str] = &[
    "description",
    "topic",
    "creator",
    "continues",
    "retention.days",
    "retention.entries",
    "retention.bytes",
];
const MEMBER_COLUMNS: &[&str] = &["principal.id", "principal.name", "roles", "since"];

/// Runs a verb on rooms.
pub(super) fn run(client: &Client, out: &Out, verb: &RoomVerb) -> Result<(), Failure> {
    match verb {
        RoomVerb::Create { name, category, continues, options } => {
            let mut body = given(options);
            body["name"] = json!(name);
            body["category"] = json!(client.id_of(Sort::Category, category)?);
            if let Some(earlier) = continues {
                body["continues"] = json!(client.id_of(Sort::Room, earlier)?);
            }
            let made = client.ask("/rooms", Ask::Post(&body))?;
            out.object(&made, &format!("room {name:?} made id={}", id(&made)))
        }
        RoomVerb::List { category } => {
            let category = category.as_ref().map(|text| client.id_of(Sort::Category, text));
            let category = category.transpose()?;
            let query: Vec<_> = category.iter().map(|id| ("category", id.as_str())).collect();
            out.list("rooms", &every(client, "/rooms", "rooms", &query)?, COLUMNS)
        }
        RoomVerb::Show { room } => {
            let id = client.id_of(Sort::Room, room)?;
            let shown = client.get(&format!("/rooms/{}", segment(&id)), &[])?;
            let lines = COLUMNS.iter().chain(DETAILS);
            let lines = lines.map(|name| format!("{name}: {}", super::table::cell(&shown, name)));
            out.object(&shown, &lines.collect::<Vec<_>>().join("\n"))
        }
        RoomVerb::Change { room, name, category, disabled, options } => {
            let id = client.id_of(Sort::Room, room)?;
            let mut body = given(options);
            if let Some(name) = name {
                body["name"] = json!(name);
            }
            if let Some(category) = category {
                body["category"] = json!(client.id_of(Sort::Category, category)?);
            }
            if let Some(disabled) = disabled {
                body["disabled"] = json!(disabled);
            }
            let changed = patch(client, &format!("/rooms/{}", segment(&id)), &body)?;
            out.object(&changed, &format!("room {room:?} changed id={id}"))
        }
        RoomVerb::Delete { room } => {
            let id = client.id_of(Sort::Room, room)?;
            client.ask(&format!("/rooms/{}", segment(&id)), Ask::Delete)?;
            out.object(&json!({ "id": id }), &format!("room {room:?} deleted id={id}"))
        }
    }
}

fn given(options: &RoomOptions) -> Value {
    let kind = options.r#type.map(|kind| match kind {
        RoomKind::Normal => json!("normal"),
        RoomKind::Auditorium => json!("auditorium"),
    });
    let privacy = options.privacy.map(|privacy| match privacy {
        RoomPrivacy::Open => json!("open"),
        RoomPrivacy::Closed => json!("closed"),
        RoomPrivacy::Secret => json!("secret"),
    });
    let text = |text: &Option<String>| text.as_ref().map(|text| json!(text));
    body([
        ("description", text(&options.description)),
        ("topic", text(&options.topic)),
        ("type", kind),
        ("privacy", privacy),
        ("retention", retention(options)),
    ])
}

/// All that is kept of a room together: what is not given bounds nothing.
fn retention(options: &RoomOptions) -> Option<Value> {
    if options.retention_of_category {
        return Some(Value::Null);
    }
    let RetentionOptions { retention_days, retention_entries, retention_bytes } = options.retention;
    let given =
        retention_days.is_some() || retention_entries.is_some() || retention_bytes.is_some();
    given.then(|| {
        json!({
            "days": retention_days.unwrap_or(0),
            "entries": retention_entries.unwrap_or(0),
            "bytes": retention_bytes.unwrap_or(0),
        })
    })
}

/// Runs a verb on members.
pub(super) fn members(client: &Client, out: &Out, verb: &MemberVerb) -> Result<(), Failure> {
    let room = match verb {
        MemberVerb::Add { room, .. }
        | MemberVerb::Remove { room, .. }
        | MemberVerb::List { room } => client.id_of(Sort::Room, room)?,
    };
    let path = format!("/rooms/{}/members", segment(&room));
    match verb {
        MemberVerb::Add { user, role, .. } => {
            let principal = client.id_of(Sort::User, user)?;
            let roles = role.iter().map(|role| match role {
                Role::Manager => "manager",
                Role::Presenter => "presenter",
            });
            let roles: Vec<_> = ["member"].into_iter().chain(roles).collect();
            let body = json!({ "roles": roles });
            client.ask(&format!("{path}/{}", segment(&principal)), Ask::Put(&body))?;
            let done = json!({ "room": room, "principal": principal, "roles": roles });
            out.object(&done, &format!("user {user:?} is a member room={room} id={principal}"))
        }
        MemberVerb::Remove { user, .. } => {
            let principal = client.id_of(Sort::User, user)?;
            client.ask(&format!("{path}/{}", segment(&principal)), Ask::Delete)?;
            let done = json!({ "room": room, "principal": principal });
            let words = format!("user {user:?} is no member any more room={room} id={principal}");
            out.object(&done, &words)
        }
        MemberVerb::List { .. } => {
            let members = every(client, &path, "members", &[])?;
            out.list("members", &members, MEMBER_COLUMNS)
        }
    }
}
