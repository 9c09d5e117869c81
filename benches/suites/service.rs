//! What does a post cost over the network?
//!
//! The server with its defaults, compliance and proofs on, in a process of its own, beside an axum
//! that only gives back what it gets. Each connection has a room, and one post in flight.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::http::{StatusCode, header};
use axum::routing;
use criterion::Criterion;
use hansard_benches::powercut::client::Client;
use hansard_benches::suite::child::{self, Running};
use hansard_benches::suite::field;
use hansard_benches::suite::figures::{Per, Suite};
use hansard_benches::suite::hansard;
use hansard_benches::suite::http::{self, Connection};
use hansard_benches::suite::size::Size;
use hansard_benches::suite::turns::{Turn, compare};
use hansard_benches::suite::world::{self, Stream, World};
use hansard_benches::tournament::Outcome;
use hansard_engine::{Engine, Options};
use hansard_server::{PasswordCost, ServerConfig};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

const QUESTION: &str = "What does a post cost over the network?";
const ECHO: &str = "bare echo";
const ADMIN: &str = "admin";
const PASSWORD: &str = "a password of the suite's own";
const CONNECTIONS: [usize; 2] = [1, 64];

/// What a child is to be.
#[derive(Serialize, Deserialize)]
enum Task {
    /// A server on a new directory.
    Server(PathBuf),
    /// An echo.
    Echo,
}

fn main() -> Outcome<()> {
    match child::task()? {
        Some(Task::Server(dir)) => return serve(&dir),
        Some(Task::Echo) => return echo(),
        None => {}
    }
    let size = Size::asked()?;
    let world = World::read(&world::logs(), size)?;
    let mut criterion = Criterion::default().configure_from_args();
    let mut suite = Suite::new("service", QUESTION, size, &[])?;
    suite.say(
        "the server as it ships, its log of messages and RocksDB's allocator aside: with \
         compliance, proofs and a key for each post; each post durable before its answer; both \
         servers and the client share the machine's cores",
    );
    suite.say("the echo: axum on the same runtime, a route that answers 201 with the body it got");
    suite.say("a connection has a room of its own and one post in flight");
    let dir = field::scratch()?;
    // As few threads as can drive it, for they take their time from the servers.
    let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut server = Running::start(&Task::Server(dir.path().join(hansard::NAME)))?;
    let mut echo = Running::start(&Task::Echo)?;
    let (server_port, echo_port): (u16, u16) = (server.said()?, echo.said()?);
    let doors = doors(server_port)?;
    let stream = std::cell::RefCell::new(world.stream());
    for connections in CONNECTIONS {
        let id = format!("service-posts-{connections}");
        let turn = |name: &str, port| -> Outcome<Turn<'_>> {
            let mut open = opened(&runtime, port, connections)?;
            let (runtime, doors, stream) = (&runtime, &doors, &stream);
            Ok(Turn::new(name, move |count| {
                let requests = requests(doors, &mut stream.borrow_mut(), (connections, count));
                http::lap(runtime, &mut open, requests)
            }))
        };
        let turns = vec![turn(hansard::NAME, server_port)?, turn(ECHO, echo_port)?];
        let samples = compare(&mut criterion, &id, size, 2 * connections as u64, turns)?;
        suite.timed(&id, &format!("posts over HTTP, {connections} connections"), Per::Second);
        let title = format!("answered after, {connections} connections");
        suite.percentiles((&id, &title), &samples, &[50, 99]);
    }
    suite.leave()
}

fn opened(runtime: &Runtime, port: u16, connections: usize) -> Outcome<Vec<Connection>> {
    (0..connections).map(|_| runtime.block_on(Connection::open(port))).collect()
}

/// Where a connection posts, and as whom.
struct Door {
    path: String,
    bearer: String,
}

/// A room and somebody who posts there, for each connection.
fn doors(port: u16) -> Outcome<Vec<Door>> {
    let url = format!("http://127.0.0.1:{port}");
    let admin = Client::signed_in(&url, ADMIN, PASSWORD)?;
    let category = admin.make("/categories", &json!({ "name": "c" }), "id")?;
    let mut doors = Vec::new();
    for at in 0..CONNECTIONS.into_iter().max().unwrap_or(1) {
        let settings =
            json!({ "name": format!("room {at}"), "category": category, "privacy": "open" });
        let room = admin.make("/rooms", &settings, "id")?;
        let user = admin.make("/users", &json!({ "name": format!("user-{at}") }), "id")?;
        let token = json!({ "name": "suite", "principal": user });
        let token = admin.make("/tokens", &token, "token")?;
        match admin.put(&format!("/rooms/{room}/members/{user}"), &json!({})) {
            Some((204, _)) => {}
            other => return Err(format!("no member was made: {other:?}").into()),
        }
        let path = format!("/api/v1/rooms/{room}/messages");
        doors.push(Door { path, bearer: format!("Bearer {token}") });
    }
    Ok(doors)
}

/// Posts for each connection, `count` in all.
fn requests(
    doors: &[Door],
    stream: &mut Stream<'_>,
    (connections, count): (usize, u64),
) -> Vec<Vec<Vec<u8>>> {
    static KEYS: AtomicU64 = AtomicU64::new(0);
    let mut all = vec![Vec::new(); connections];
    for (at, message) in stream.take(count).iter().enumerate() {
        let connection = at % connections;
        let key = format!("{:016x}", KEYS.fetch_add(1, Ordering::Relaxed));
        let body = json!({ "body": message.body }).to_string();
        let Door { path, bearer } = &doors[connection];
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", key.as_str())];
        all[connection].push(http::post(path, &headers, &body));
    }
    all
}

/// The child that is the server.
fn serve(dir: &Path) -> Outcome<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let config = ServerConfig { http: ([127, 0, 0, 1], 0).into(), ..ServerConfig::default() };
    let listener = runtime.block_on(hansard_server::bind(&config))?;
    let port = listener.local_addr()?.port();
    Engine::create(dir)?;
    let (engine, _) = Engine::open(dir, Options::default())?;
    hansard_server::initialise(&engine, ADMIN, Some((PASSWORD, PasswordCost::default())))?;
    child::say(&port)?;
    let served = hansard_server::serve_on(listener, engine, config, std::future::pending());
    Ok(runtime.block_on(served)?)
}

/// The child that is the echo.
fn echo() -> Outcome<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let given_back = |body: axum::body::Bytes| async move {
        (StatusCode::CREATED, [(header::CONTENT_TYPE, "application/json")], body)
    };
    let router = Router::new().route("/api/v1/rooms/{id}/messages", routing::post(given_back));
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        child::say(&listener.local_addr()?.port())?;
        use axum::serve::ListenerExt;
        let listener = listener.tap_io(|stream| drop(stream.set_nodelay(true)));
        Ok(axum::serve(listener, router).await?)
    })
}
