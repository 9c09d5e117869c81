//! A WebSocket client in its plainest form, over a blocking socket.
//!
//! Text frames both ways, pings answered, nothing else: enough to read a stream, and to stop
//! reading it at will, which no library allows so plainly. Every frame both ways is checked against
//! the OpenAPI document.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::api::Api;
use super::checker::{Document, Heard};

const READ_WAIT: Duration = Duration::from_secs(30);

/// An open stream.
pub struct Stream {
    socket: BufReader<TcpStream>,
    document: &'static Document,
}

/// What came.
#[derive(Debug, PartialEq)]
pub enum Frame {
    Text(Value),
    Closed(u16, String),
}

impl Stream {
    /// Opens `/api/v1/stream` with the token of an API.
    #[track_caller]
    pub fn open(api: &Api) -> Self {
        let token = api.token.as_deref().expect("a token");
        let address = api.url.strip_prefix("http://").expect("a plain address");
        let mut socket = TcpStream::connect(address).expect("the server listens");
        socket.set_read_timeout(Some(READ_WAIT)).expect("a wait can be set");
        let request = format!(
            "GET /api/v1/stream HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\
             Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(request.as_bytes()).expect("a request can be sent");
        let mut stream = Self { socket: BufReader::new(socket), document: api.document() };
        let status = stream.line();
        assert!(status.starts_with("HTTP/1.1 101 "), "{status}");
        let upgraded = Heard { status: 101, kind: "", text: "", body: &Value::Null };
        stream.document.check("GET", "/api/v1/stream", upgraded);
        while !stream.line().is_empty() {}
        stream
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.socket.read_line(&mut line).expect("an answer comes");
        line.trim_end().to_owned()
    }

    #[track_caller]
    pub fn send(&mut self, frame: &Value) {
        self.document.check_named("ClientFrame", frame);
        self.write(1, frame.to_string().as_bytes());
    }

    /// A frame as clients must send it: masked, here with zeros.
    fn write(&mut self, opcode: u8, payload: &[u8]) {
        let length = u8::try_from(payload.len()).ok().filter(|length| *length < 126);
        let mut frame = vec![0x80 | opcode];
        match length {
            Some(length) => frame.push(0x80 | length),
            None => {
                frame.push(0x80 | 126);
                let length = u16::try_from(payload.len()).expect("a short frame");
                frame.extend_from_slice(&length.to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(payload);
        self.socket.get_mut().write_all(&frame).expect("a frame can be sent");
    }

    /// The next text frame or the end; pings are answered on the way.
    #[track_caller]
    pub fn next(&mut self) -> Frame {
        let begun = Instant::now();
        loop {
            // The server's pings must not keep a wait alive for ever.
            assert!(begun.elapsed() < READ_WAIT, "no frame comes but pings");
            let (opcode, payload) = self.read();
            match opcode {
                1 => {
                    let value = serde_json::from_slice(&payload).expect("JSON");
                    self.document.check_named("ServerFrame", &value);
                    return Frame::Text(value);
                }
                8 => {
                    let (code, reason) = payload.split_at(payload.len().min(2));
                    let code = code.try_into().map_or(1005, u16::from_be_bytes);
                    return Frame::Closed(code, String::from_utf8_lossy(reason).into_owned());
                }
                9 => self.write(10, &payload),
                _ => {}
            }
        }
    }

    /// The next text frame, which must come.
    #[track_caller]
    pub fn text(&mut self) -> Value {
        match self.next() {
            Frame::Text(value) => value,
            Frame::Closed(code, reason) => panic!("closed: {code} {reason}"),
        }
    }

    /// The next text frame, which must be of this type.
    #[track_caller]
    pub fn expect(&mut self, kind: &str) -> Value {
        let frame = self.text();
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    fn read(&mut self) -> (u8, Vec<u8>) {
        let [first, second] = self.bytes();
        assert_eq!(first & 0x80, 0x80, "whole messages only");
        let length = match second & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.bytes())),
            127 => u64::from_be_bytes(self.bytes()),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).expect("a frame fits in memory")];
        self.socket.read_exact(&mut payload).expect("a whole frame comes");
        (first & 0x0f, payload)
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.socket.read_exact(&mut bytes).expect("a frame comes");
        bytes
    }
}
