//! Connections that post over HTTP/1.1, each with one request in flight.
//!
//! A client that does as little as it can, for what is measured is the server: a request is one
//! write of bytes made before, an answer is read to the end of its length. INVARIANT: an answer
//! that is not 201 ends the measurement.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;

use super::turns::Lap;
use crate::tournament::Outcome;

/// Longer answers are none of these servers'.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const HEAD_END: &[u8] = b"\r\n\r\n";

/// A connection that stays open.
pub struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

/// What a request to `path` is as bytes.
#[must_use]
pub fn post(path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text = format!("POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n");
    for (name, value) in headers {
        text.extend([name, ": ", value, "\r\n"]);
    }
    let length = body.len();
    text.push_str(&format!("content-type: application/json\r\ncontent-length: {length}\r\n\r\n"));
    text.push_str(body);
    text.into_bytes()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

/// Where an answer ends, once its head is there; its status and length must be ones to go on from.
fn end(answer: &[u8]) -> Outcome<Option<usize>> {
    let Some(head) = find(answer, HEAD_END) else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head])?;
    if !text.starts_with("HTTP/1.1 201 ") {
        return Err(format!("a post was refused: {}", String::from_utf8_lossy(answer)).into());
    }
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.ok_or("an answer without a length")?.parse()?;
    Ok(Some(head + HEAD_END.len() + length))
}

impl Connection {
    /// To a port of this machine.
    ///
    /// # Errors
    /// If nobody listens there.
    pub async fn open(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port)).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(4096) })
    }

    /// Sends a request and reads its answer.
    async fn ask(&mut self, request: &[u8]) -> Outcome<()> {
        self.stream.write_all(request).await?;
        self.answer.clear();
        loop {
            if self.stream.read_buf(&mut self.answer).await? == 0 {
                return Err("a server hung up".into());
            }
            match end(&self.answer)? {
                Some(end) if end == self.answer.len() => return Ok(()),
                Some(end) if end < self.answer.len() => {
                    return Err("more than an answer came".into());
                }
                _ if self.answer.len() > ANSWER_BYTES_MAX => {
                    return Err("an answer has no end".into());
                }
                _ => {}
            }
        }
    }
}

/// Sends each connection its requests, all connections side by side; timed from the first request
/// to the last answer.
///
/// # Errors
/// If a request gets another answer than 201.
pub fn lap(
    runtime: &Runtime,
    connections: &mut Vec<Connection>,
    requests: Vec<Vec<Vec<u8>>>,
) -> Outcome<Lap> {
    let begun = Instant::now();
    let tasks: Vec<_> = std::mem::take(connections)
        .into_iter()
        .zip(requests)
        .map(|(mut connection, requests)| {
            runtime.spawn(async move {
                let mut each = Vec::with_capacity(requests.len());
                let mut failed = None;
                for request in &requests {
                    let since = Instant::now();
                    if let Err(error) = connection.ask(request).await {
                        failed = Some(error.to_string());
                        break;
                    }
                    each.push(since.elapsed());
                }
                (connection, each, failed)
            })
        })
        .collect();
    let mut each: Vec<Duration> = Vec::new();
    for task in tasks {
        let (connection, own, failed) = runtime.block_on(task)?;
        if let Some(failed) = failed {
            return Err(failed.into());
        }
        connections.push(connection);
        each.extend(own);
    }
    Ok(Lap { took: begun.elapsed(), count: each.len() as u64, each })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_ends_where_its_length_says() {
        assert_eq!(end(b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n").unwrap(), None);
        let whole = b"HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\n{}";
        assert_eq!(end(whole).unwrap(), Some(whole.len()));
        assert!(end(b"HTTP/1.1 429 Too Many\r\ncontent-length: 0\r\n\r\n").is_err(), "refused");
        assert!(end(b"HTTP/1.1 201 Created\r\n\r\n").is_err(), "no length");
    }

    #[test]
    fn a_request_says_its_length() {
        let request = String::from_utf8(post("/p", &[("a", "b")], "{\"x\":1}")).unwrap();
        assert!(request.starts_with("POST /p HTTP/1.1\r\n") && request.contains("\r\na: b\r\n"));
        assert!(request.ends_with("content-length: 7\r\n\r\n{\"x\":1}"), "{request}");
    }
}
