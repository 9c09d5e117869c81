//! Rooms, categories and members over HTTP: who sees, who may, and what races do.
//!
//! The decisions themselves are tested beside the policy module; here it is the doors that ask it.

use serde_json::json;

use crate::world::{World, text};

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_room_is_absent_for_others() {
    let world = World::start().await;
    let category = world.category("walls", json!({})).await;
    let room = world.room("plans", &category, json!({ "privacy": "secret" })).await;
    let ann = world.user("ann").await;
    for path in ["", "/messages", "/changes", "/members"] {
        let denied = ann.get(&format!("/rooms/{room}{path}")).await;
        let absent = ann.get(&format!("/rooms/r1-999999{path}")).await;
        assert_eq!((denied.status, &denied.text), (404, &absent.text), "{path}");
    }
    let post = json!({ "body": "x" });
    let denied = ann.post(&format!("/rooms/{room}/messages"), post.clone()).await;
    let absent = ann.post("/rooms/r1-999999/messages", post).await;
    assert_eq!((denied.status, denied.text), (404, absent.text));
    assert_eq!(ann.get("/rooms").await.is(200)["rooms"], json!([]));
    let made = ann.post("/rooms", json!({ "name": "plans", "category": category })).await;
    made.refuses(403, "forbidden");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_join_leave_and_are_removed() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let closed = world.room("closed", &category, json!({})).await;
    let open = world.room("open", &category, json!({ "privacy": "open" })).await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    ann.get(&format!("/rooms/{closed}")).await.is(200);
    ann.get(&format!("/rooms/{closed}/messages")).await.refuses(403, "forbidden");
    let seat = format!("/rooms/{closed}/members/{id}");
    ann.put(&seat, json!({})).await.refuses(403, "forbidden");
    world.root.put(&seat, json!({ "roles": ["presenter"] })).await.is(204);
    let room = ann.get(&format!("/rooms/{closed}")).await.is(200);
    assert_eq!(room["roles"], json!(["member", "presenter"]));
    ann.post(&format!("/rooms/{closed}/messages"), json!({ "body": "hi" })).await.is(201);
    let members = ann.get(&format!("/rooms/{closed}/members")).await.is(200);
    assert_eq!(members["members"].as_array().map(Vec::len), Some(2));
    world.root.delete(&seat).await.is(204);
    ann.get(&format!("/rooms/{closed}/messages")).await.refuses(403, "forbidden");
    let seat = format!("/rooms/{open}/members/{id}");
    ann.send("PUT", &seat, &[], b"").await.is(204);
    assert_eq!(ann.get("/rooms?mine=true").await.is(200)["rooms"][0]["id"], json!(open));
    ann.delete(&seat).await.is(204);
    ann.delete(&seat).await.refuses(404, "not-found");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_removed_member_posts_nothing_behind_his_removal() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({})).await;
    let ann = world.user("ann").await;
    let id = text(&ann.get("/me").await.is(200)["id"]);
    let seat = format!("/rooms/{room}/members/{id}");
    world.root.put(&seat, json!({})).await.is(204);
    let path = format!("/rooms/{room}/messages");
    let posters: Vec<_> = (0..64)
        .map(|at| {
            let (ann, path) = (ann.clone(), path.clone());
            tokio::spawn(async move { ann.post(&path, json!({ "body": format!("{at}") })).await })
        })
        .collect();
    world.root.delete(&seat).await.is(204);
    let changes = world.root.get(&format!("/rooms/{room}/changes?limit=500")).await.is(200);
    for poster in posters {
        let status = poster.await.expect("a poster").status;
        assert!([201, 403, 503].contains(&status), "{status}");
    }
    let after = world.root.get(&format!("/rooms/{room}/changes?limit=500")).await.is(200);
    assert_eq!(changes, after, "nothing follows the removal");
    let kinds: Vec<_> = after["changes"].as_array().expect("changes").iter().collect();
    assert_eq!(kinds.last().map(|last| &last["kind"]), Some(&json!("member-removed")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_many_creations_of_a_name_wins() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let makers: Vec<_> = (0..64)
        .map(|_| {
            let (root, category) = (world.root.clone(), category.clone());
            let body = json!({ "name": "one", "category": category });
            tokio::spawn(async move { root.post("/rooms", body).await.status })
        })
        .collect();
    let mut counts = std::collections::BTreeMap::new();
    for maker in makers {
        *counts.entry(maker.await.expect("a maker")).or_insert(0) += 1;
    }
    assert_eq!(counts, [(201, 1), (409, 63)].into());
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_respect_entity_tags() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({})).await;
    let path = format!("/rooms/{room}");
    let answer = world.root.get(&path).await;
    let tag = answer.header("etag").expect("a tag").to_owned();
    let with = [("If-Match", tag.as_str())];
    let topic = |text: &str| json!({ "topic": text });
    world.root.json("PATCH", &path, &with, &topic("one")).await.is(200);
    world.root.json("PATCH", &path, &with, &topic("two")).await.refuses(412, "stale");
    assert_eq!(world.root.patch(&path, topic("three")).await.is(200)["topic"], "three");
    let wrong = [("If-Match", "three")];
    world.root.json("PATCH", &path, &wrong, &topic("x")).await.refuses(400, "bad-header");
    world.root.patch(&path, json!({ "topik": "x" })).await.refuses(422, "invalid");
    world.root.patch(&path, json!({ "topic": null })).await.refuses(422, "invalid");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_patches_of_different_fields_all_count() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({})).await;
    let path = format!("/rooms/{room}");
    let change = |body| {
        let (root, path) = (world.root.clone(), path.clone());
        tokio::spawn(async move { root.patch(&path, body).await.is(200) })
    };
    let all = [
        change(json!({ "topic": "t" })),
        change(json!({ "description": "d" })),
        change(json!({ "privacy": "secret" })),
        change(json!({ "type": "auditorium" })),
    ];
    for one in all {
        one.await.expect("a change");
    }
    let room = world.root.get(&path).await.is(200);
    assert_eq!((&room["topic"], &room["description"]), (&json!("t"), &json!("d")));
    assert_eq!((&room["privacy"], &room["type"]), (&json!("secret"), &json!("auditorium")));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn categories_with_rooms_stay_and_deleted_rooms_are_gone() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    let room = world.room("r", &category, json!({})).await;
    let path = format!("/categories/{category}");
    world.root.delete(&path).await.refuses(409, "not-empty");
    world.root.delete(&format!("/rooms/{room}")).await.is(204);
    world.root.get(&format!("/rooms/{room}")).await.refuses(404, "not-found");
    let again = json!({ "name": "r", "category": category });
    world.root.post("/rooms", again).await.refuses(409, "name-unavailable");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_moved_room_loses_the_members_the_new_category_does_not_allow() {
    let world = World::start().await;
    let wide = world.category("wide", json!({})).await;
    let ann = world.user("ann").await;
    let bob = world.user("bob").await;
    let id = |user: serde_json::Value| text(&user["id"]);
    let (ann_id, bob_id) = (id(ann.get("/me").await.is(200)), id(bob.get("/me").await.is(200)));
    let room = world.room("r", &wide, json!({})).await;
    for who in [&ann_id, &bob_id] {
        world.root.put(&format!("/rooms/{room}/members/{who}"), json!({})).await.is(204);
    }
    let narrow =
        world.category("narrow", json!({ "allowed": ["everyone"], "denied": [ann_id] })).await;
    world.root.patch(&format!("/rooms/{room}"), json!({ "category": narrow })).await.is(200);
    ann.get(&format!("/rooms/{room}")).await.refuses(404, "not-found");
    bob.get(&format!("/rooms/{room}/messages")).await.is(200);
    let members = world.root.get(&format!("/rooms/{room}/members")).await.is(200);
    let names: Vec<_> = members["members"]
        .as_array()
        .expect("members")
        .iter()
        .map(|member| text(&member["principal"]["name"]))
        .collect();
    assert_eq!(names, ["root", "bob"]);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrators_use_of_his_right_is_an_event() {
    let world = World::start().await;
    let category = world.category("c", json!({})).await;
    world.root.post("/users", json!({ "name": "second", "password": "x" })).await.is(201);
    let users = world.root.get("/users?name=second").await.is(200);
    let id = text(&users["users"][0]["id"]);
    world.root.patch(&format!("/users/{id}"), json!({ "administrator": true })).await.is(200);
    let body = json!({ "name": "second", "password": "x" });
    let token = text(&world.guest().post("/sessions", body).await.is(201)["token"]);
    let second = crate::client::Client::new(world.address, Some(token));
    let room = world.room("r", &category, json!({})).await;
    second.post(&format!("/rooms/{room}/messages"), json!({ "body": "x" })).await.is(201);
    second.get(&format!("/rooms/{room}/messages")).await.is(200);
    let hall = world.room("hall", &category, json!({ "type": "auditorium" })).await;
    let path = format!("/rooms/{hall}/messages");
    second.post(&path, json!({ "body": "x" })).await.refuses(403, "presenters-only");
    let events = second.get("/events?limit=500").await.is(200);
    let acts: Vec<_> = events["events"]
        .as_array()
        .expect("events")
        .iter()
        .filter(|event| event["data"]["what"] == "administrator-act")
        .map(|event| (text(&event["data"]["room"]), text(&event["data"]["detail"])))
        .collect();
    assert_eq!(acts, [(room.clone(), "post".into()), (room, "read".into())]);
    let ann = world.user("ann").await;
    ann.get("/events").await.refuses(403, "forbidden");
    world.stop().await;
}
