//! A client of the server under test: JSON over HTTP, and what to make of its answers.
//!
//! Written against PROTOCOL.md. A lost connection is an answer like others here.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;

use crate::tournament::Outcome;

/// A server whose disk stands still answers nobody; who waits for it is let go when it is killed.
const ANSWER_WAIT: Duration = Duration::from_secs(30);

/// A server and who asks it.
#[derive(Clone)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

/// Status and body; the body is null if it is no JSON.
pub type Answer = (u16, Value);

impl Client {
    #[must_use]
    pub fn new(url: &str, token: Option<&str>) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(ANSWER_WAIT))
            .build();
        Self { agent: config.into(), url: url.to_owned(), token: token.map(str::to_owned) }
    }

    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    #[must_use]
    pub fn token(&self) -> &str {
        self.token.as_deref().unwrap_or_default()
    }

    fn answer(answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Option<Answer> {
        let mut answer = answer.ok()?;
        let text = answer.body_mut().with_config().limit(1 << 28).read_to_string().ok()?;
        Some((answer.status().as_u16(), serde_json::from_str(&text).unwrap_or_default()))
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token())
    }

    /// None if the connection was lost.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Answer> {
        let request = self.agent.get(format!("{}{path}", self.url));
        Self::answer(request.header("Authorization", self.bearer()).call())
    }

    /// None if the connection was lost.
    #[must_use]
    pub fn delete(&self, path: &str) -> Option<Answer> {
        let request = self.agent.delete(format!("{}/api/v1{path}", self.url));
        Self::answer(request.header("Authorization", self.bearer()).call())
    }

    /// None if the connection was lost.
    #[must_use]
    pub fn post(&self, path: &str, body: &Value, key: Option<&str>) -> Option<Answer> {
        let mut request = self.agent.post(format!("{}/api/v1{path}", self.url));
        if self.token.is_some() {
            request = request.header("Authorization", self.bearer());
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        Self::answer(request.content_type("application/json").send(body.to_string().as_bytes()))
    }

    /// None if the connection was lost.
    #[must_use]
    pub fn put(&self, path: &str, body: &Value) -> Option<Answer> {
        let request = self.agent.put(format!("{}/api/v1{path}", self.url));
        let request = request.header("Authorization", self.bearer());
        Self::answer(request.content_type("application/json").send(body.to_string().as_bytes()))
    }

    /// Posts what must be taken, and gives the text field of this name.
    ///
    /// # Errors
    /// If there is another answer or none.
    pub fn make(&self, path: &str, body: &Value, field: &str) -> Outcome<String> {
        let answer = self.post(path, body, None).ok_or("the connection was lost")?;
        match answer.1[field].as_str() {
            Some(text) if answer.0 == 201 => Ok(text.to_owned()),
            _ => Err(format!("POST {path}: {} {}", answer.0, answer.1).into()),
        }
    }

    /// Signs in.
    ///
    /// # Errors
    /// If the server does not let it.
    pub fn signed_in(url: &str, name: &str, password: &str) -> Outcome<Self> {
        let nobody = Self::new(url, None);
        let token =
            nobody.make("/sessions", &json!({ "name": name, "password": password }), "token")?;
        Ok(Self::new(url, Some(&token)))
    }

    /// Messages of a room behind a seq, oldest first; they must be dense, without a gap.
    ///
    /// # Errors
    /// If they are not.
    pub fn messages(&self, room: &str, after: u64) -> Outcome<Vec<Value>> {
        let mut messages: Vec<Value> = Vec::new();
        let first = format!("/api/v1/rooms/{room}/messages?limit=500");
        let mut path = format!("{first}&after={after}");
        loop {
            let (status, mut page) = self.get(&path).ok_or("the connection was lost")?;
            if status != 200 {
                return Err(format!("GET {path}: {status} {page}").into());
            }
            if page["gaps"].as_array().is_none_or(|gaps| !gaps.is_empty()) {
                return Err(format!("a gap in room {room}: {}", page["gaps"]).into());
            }
            let Value::Array(list) = page["messages"].take() else {
                return Err(format!("GET {path}: no messages").into());
            };
            let last = list.is_empty();
            for message in list {
                let expected = after + 1 + messages.len() as u64;
                if message["seq"] != expected {
                    let seq = &message["seq"];
                    return Err(format!("room {room} has seq {seq} at {expected}").into());
                }
                messages.push(message);
            }
            match page["newer"].as_str() {
                Some(cursor) if !last => path = format!("{first}&cursor={cursor}"),
                _ => return Ok(messages),
            }
        }
    }
}
