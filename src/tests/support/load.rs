//! Many posters on one thread: each connection has one request in flight, always.
//!
//! Light, so that on a small machine the server is what is measured and not the client. It keeps
//! what came as bytes and checks all of it when the last answer is there.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::task::JoinSet;

use super::api::Api;
use super::checker::Heard;

const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// An answer as it came: head and body.
type Raw = (String, Vec<u8>);

/// Posts these JSON texts to a path over so many connections, the first of them at once, and gives
/// the messages in the order of the texts. Each must be acknowledged.
#[track_caller]
pub fn post(api: &Api, path: &str, connections: usize, bodies: Vec<String>) -> Vec<Value> {
    let token = api.token.as_deref().expect("a token");
    let address = api.url.strip_prefix("http://").expect("a plain address").to_owned();
    let path = format!("/api/v1{path}");
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: "
    );
    let bodies: Arc<[String]> = bodies.into();
    let count = bodies.len();
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let raw = runtime.block_on(async {
        let mut sockets = Vec::new();
        for _ in 0..connections {
            let socket = TcpStream::connect(&address).await.expect("the server listens");
            socket.set_nodelay(true).expect("a socket");
            sockets.push(socket);
        }
        let mut posters = JoinSet::new();
        for (at, socket) in sockets.into_iter().enumerate() {
            let (head, bodies) = (head.clone(), Arc::clone(&bodies));
            posters.spawn(poster(socket, head, bodies, at, connections));
        }
        posters.join_all().await
    });
    let mut messages = vec![Value::Null; count];
    for (at, (head, bytes)) in raw.into_iter().flatten() {
        let text = String::from_utf8(bytes).expect("an answer is text");
        let body = serde_json::from_str(&text).unwrap_or_default();
        let status = head.get(9..12).and_then(|status| status.parse().ok()).expect("a status");
        let kind = header(&head, "content-type").unwrap_or_default();
        let heard = Heard { status, kind, text: &text, body: &body };
        api.document().check("POST", &path, heard);
        assert_eq!(status, 201, "{text}");
        messages[at] = body;
    }
    messages
}

/// Sends every so-many-th text over one connection, each once the answer before it is there.
async fn poster(
    mut socket: TcpStream,
    head: String,
    bodies: Arc<[String]>,
    first: usize,
    step: usize,
) -> Vec<(usize, Raw)> {
    let mut answers = Vec::new();
    let mut read = Vec::new();
    for at in (first..bodies.len()).step_by(step) {
        let body = &bodies[at];
        let request = format!("{head}{}\r\n\r\n{body}", body.len());
        let answer = loop {
            socket.write_all(request.as_bytes()).await.expect("a request can be sent");
            let answer = answer(&mut socket, &mut read).await;
            if !busy(&answer) {
                break answer;
            }
            tokio::time::sleep(BUSY_PAUSE).await;
        };
        answers.push((at, answer));
    }
    answers
}

/// Whether the server was too busy to take it: nothing was recorded, and it may be sent again.
fn busy((head, body): &Raw) -> bool {
    let code: &[u8] = b"\"code\":\"unavailable\"";
    head.starts_with("HTTP/1.1 503") && body.windows(code.len()).any(|part| part == code)
}

async fn answer(socket: &mut TcpStream, read: &mut Vec<u8>) -> Raw {
    read.clear();
    loop {
        let end = read.windows(4).position(|part| part == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&read[..end]).into_owned();
            let bytes = header(&head, "content-length").expect("an answer has a length");
            let whole = end + 4 + bytes.parse::<usize>().expect("a length is a number");
            assert!(read.len() <= whole, "more than one answer");
            if read.len() == whole {
                return (head, read.split_off(end + 4));
            }
        }
        let count = socket.read_buf(read).await.expect("an answer comes");
        assert!(count > 0, "the server closed a connection");
    }
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let lines = head.lines().skip(1).filter_map(|line| line.split_once(": "));
    lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}
