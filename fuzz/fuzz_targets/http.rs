//! HTTP and the stream, through the server's own door: method, path, query, headers, JSON bodies
//! and WebSocket frames of the input, sent to a listener over an engine in memory.
//!
//! INVARIANT under attack: no request makes a handler panic or answer 500, and every one is
//! answered, or its connection closed, within a bound of time.
#![no_main]

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hansard_engine::Engine;
use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::draft::Appended;
use hansard_engine::open::{Drive, Ground, Losses, lay_out, open_on};
use hansard_engine::storage::Disk;
use hansard_engine::storage::clock::SystemClock;
use hansard_engine::storage::sim::SimStorage;
use hansard_fuzz::support;
use hansard_server::http::ROUTES;
use hansard_server::{PasswordCost, ServerConfig, bind, initialise, serve_on};
use libfuzzer_sys::fuzz_target;
use tokio::sync::oneshot;

/// Requests of one server: what they record stays in memory.
const REQUESTS_MAX: u32 = 2_000;

/// A running server with a room in it and somebody signed in as its administrator.
struct Server {
    address: SocketAddr,
    engine: Engine,
    token: String,
    ids: Vec<String>,
    left: u32,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// Whether the server can know that nothing more follows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whole {
    Yes,
    Perhaps,
}

static SERVER: Mutex<Option<Server>> = Mutex::new(None);

impl Server {
    fn start() -> Self {
        let disk = Disk::new(Arc::new(SimStorage::new()));
        lay_out(&disk).expect("an empty disk");
        let store = Arc::new(MemoryCatalog::default());
        let ground = Ground { disk, store, clock: Arc::new(SystemClock) };
        let opened = open_on(ground, support::options(), Drive::Threads, Losses::Restrict);
        let engine = opened.expect("a new engine").0;
        let link = initialise(&engine, "root", None).expect("first records").expect("a link");
        let category = support::make_category(&engine, "General");
        let room = support::make_room(&engine, category, "lobby");
        let said: Appended = support::one(&engine, support::post(link.principal, room, "hello"));
        let ids = vec![
            room.to_string(),
            category.to_string(),
            link.principal.to_string(),
            format!("m{}-1-{}", &room.to_string()[1..], said.seq),
        ];
        let (stop, stopped) = oneshot::channel::<()>();
        let (ready, address) = std::sync::mpsc::sync_channel(1);
        let served = engine.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async move {
                let config = ServerConfig {
                    http: ([127, 0, 0, 1], 0).into(),
                    password_cost: PasswordCost { memory_kib: 64, passes: 1, lanes: 1 },
                    ..ServerConfig::default()
                };
                let listener = bind(&config).await.expect("a port");
                ready.send(listener.local_addr().expect("an address")).expect("a listener");
                let end = async {
                    let _ = stopped.await;
                };
                serve_on(listener, served, config, end).await.expect("a good end");
            });
        });
        let address = address.recv().expect("an address");
        let (stop, thread) = (Some(stop), Some(thread));
        let mut server =
            Self { address, engine, token: String::new(), ids, left: REQUESTS_MAX, stop, thread };
        let body = format!("{{\"link\":\"{}\"}}", link.secret);
        let sign_in = request("POST", "/api/v1/sessions", "", "", body.as_bytes());
        let answer = server.send(&sign_in, Whole::Yes);
        let (_, token) = answer.split_once("\"token\":\"").expect("signed in");
        server.token = token.split('"').next().unwrap_or_default().to_owned();
        server
    }

    /// Sends bytes and reads until the server closes. What may be no whole request is followed by
    /// the end of the client's side; the answer to a whole one must not depend on it.
    fn send(&self, bytes: &[u8], whole: Whole) -> String {
        let mut stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(8))).expect("a timeout");
        // The server may refuse before it has read everything.
        let _ = stream.write_all(bytes);
        if whole == Whole::Perhaps {
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("no answer within 8 s: {:?}", String::from_utf8_lossy(&answer))
            }
            _ => String::from_utf8_lossy(&answer).into_owned(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        let thread = self.thread.take().expect("a thread");
        thread.join().expect("a server that ends");
        self.engine.close().expect("a clean close");
    }
}

fn request(method: &str, path: &str, token: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!(
        "{} {path} HTTP/1.1\r\nHost: h\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n",
        method.to_uppercase(),
        body.len()
    );
    if !token.is_empty() {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    [head.as_bytes(), headers.as_bytes(), b"\r\n", body].concat()
}

/// A WebSocket's opening and the input as what follows: the first byte of each frame, its length
/// and its text, masked with zeros.
fn stream(token: &str, frames: &[u8]) -> Vec<u8> {
    let mut bytes = format!(
        "GET /api/v1/stream HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Authorization: Bearer {token}\r\n\r\n"
    )
    .into_bytes();
    for frame in frames.split(|b| *b == b'\n') {
        let Some((first, text)) = frame.split_first() else { continue };
        // Mostly texts; else the opcode and flags of the input.
        let first = if *first >= 128 { *first } else { 0x81 };
        let text = &text[..text.len().min(125)];
        bytes.extend([first, 0x80 | u8::try_from(text.len()).expect("125"), 0, 0, 0, 0]);
        bytes.extend(text);
    }
    // A closing frame, which the server answers by closing.
    bytes.extend([0x88, 0x80, 0, 0, 0, 0]);
    bytes
}

/// A route with the identifiers that exist, or the input's own in their place.
fn path_of(route: &str, server: &Server, own: &str) -> String {
    let mut ids = match route {
        r if r.contains("/categories/") => vec![&server.ids[1]],
        r if r.contains("/users/") || r.contains("/tokens/") => vec![&server.ids[2]],
        r if r.contains("{message}") => vec![&server.ids[0], &server.ids[3]],
        _ => vec![&server.ids[0], &server.ids[2]],
    }
    .into_iter();
    let mut path = String::new();
    for part in route.split('/').skip(1) {
        path.push('/');
        match (part.starts_with('{'), own.is_empty()) {
            (true, true) => path += ids.next().map_or("r1-1", |id| id),
            (true, false) => path += own,
            (false, _) => path += part,
        }
    }
    path
}

/// What can stand in a request line or a header without ending it.
fn plain(bytes: &[u8]) -> String {
    let kept = bytes.iter().filter(|b| b.is_ascii_graphic());
    kept.map(|b| char::from(*b)).collect()
}

fn bytes_of(data: &[u8], server: &Server) -> (Vec<u8>, Whole) {
    let Some(([route, how], rest)) = data.split_first_chunk::<2>() else {
        return (data.to_vec(), Whole::Perhaps);
    };
    let token = if how & 1 == 0 { server.token.as_str() } else { "" };
    match how >> 5 {
        0 => return (rest.to_vec(), Whole::Perhaps),
        1 => return (stream(token, rest), Whole::Yes),
        _ => {}
    }
    // Identifier, query, a header's value, body.
    let mut parts = rest.splitn(4, |b| *b == 0);
    let mut part = || parts.next().unwrap_or_default();
    let (own, query, header, body) = (plain(part()), plain(part()), plain(part()), part());
    let (method, route) = ROUTES[usize::from(*route) % ROUTES.len()];
    let mut path = path_of(route, server, if how & 2 == 0 { "" } else { &own });
    if !query.is_empty() {
        path += &format!("?{query}");
    }
    let name = ["Idempotency-Key", "If-Match", "Cookie", "Accept"][usize::from(how >> 2 & 3)];
    let headers = match header.is_empty() {
        true => String::new(),
        false => format!("{name}: {header}\r\n"),
    };
    // Behind a request line that it cannot read, hyper takes such a body for another protocol's
    // opening and closes without an answer.
    let whole = if body.starts_with(b"PRI * HTTP/2.0") { Whole::Perhaps } else { Whole::Yes };
    (request(method, &path, token, &headers, body), whole)
}

fuzz_target!(|data: &[u8]| {
    let mut place = SERVER.lock().expect("one at a time");
    if place.as_ref().is_none_or(|server| server.left == 0) {
        drop(place.take());
        *place = Some(Server::start());
    }
    let server = place.as_mut().expect("started");
    server.left -= 1;
    let (bytes, whole) = bytes_of(data, server);
    let answer = server.send(&bytes, whole);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3));
    assert!(status != Some("500"), "{answer}");
    assert!(status.is_some() || whole == Whole::Perhaps, "no answer: {answer:?}");
    // The input may have signed itself out.
    if status == Some("401") {
        server.left = server.left.min(20);
    }
});
