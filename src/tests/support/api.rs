//! The HTTP API as a test uses it: an answer is a status and JSON, whatever the status.
//!
//! Written against PROTOCOL.md, not against the server's types, so that the tests would notice a
//! contract that changed. INVARIANT: no answer reaches a test before it was checked against the
//! OpenAPI document that the server gave out.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{HeaderMap, Response};

use super::checker::{Document, Heard};

const ANSWER_WAIT: Duration = Duration::from_secs(40);

/// A server and who asks it.
#[derive(Clone)]
pub struct Api {
    agent: Agent,
    pub url: String,
    pub token: Option<String>,
}

/// What the server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    /// Null if it is no JSON.
    pub body: Value,
    pub text: String,
}

impl Answer {
    /// The body, if the status is this one.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// Checks that it is this problem.
    #[track_caller]
    pub fn problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.body
        );
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        self.body
    }
}

impl Api {
    pub fn new(url: &str) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(ANSWER_WAIT))
            .build();
        Self { agent: agent.into(), url: url.to_owned(), token: None }
    }

    /// With connections of its own: for a thread.
    pub fn fresh(&self) -> Self {
        Self { token: self.token.clone(), ..Self::new(&self.url) }
    }

    pub fn with_token(&self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::new(&self.url) }
    }

    #[track_caller]
    pub fn signed_in(&self, name: &str, password: &str) -> Self {
        let body = json!({ "name": name, "password": password });
        let session = self.post("/sessions", &body).expect(201);
        self.with_token(session["token"].as_str().expect("a session has a token"))
    }

    /// A new user with a token of his, made by this one, who administers.
    #[track_caller]
    pub fn user(&self, name: &str) -> (String, Self) {
        let user = self.post("/users", &json!({ "name": name })).expect(201);
        let id = text(&user["id"]);
        let body = json!({ "name": "test", "principal": id });
        let token = self.post("/tokens", &body).expect(201);
        (id, self.with_token(&text(&token["token"])))
    }

    #[track_caller]
    pub fn category(&self, name: &str) -> String {
        text(&self.post("/categories", &json!({ "name": name })).expect(201)["id"])
    }

    #[track_caller]
    pub fn room(&self, name: &str, category: &str, privacy: &str) -> String {
        let body = json!({ "name": name, "category": category, "privacy": privacy });
        text(&self.post("/rooms", &body).expect(201)["id"])
    }

    #[track_caller]
    pub fn join(&self, room: &str, principal: &str) {
        self.put(&format!("/rooms/{room}/members/{principal}"), &json!({})).expect(204);
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.try_get(path).expect("the server answers")
    }

    #[track_caller]
    pub fn post(&self, path: &str, body: &Value) -> Answer {
        self.try_post(path, body, None).expect("the server answers")
    }

    /// None if the connection was lost.
    #[track_caller]
    pub fn try_get(&self, path: &str) -> Option<Answer> {
        let mut request = self.agent.get(self.uri(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.heard("GET", &api(path), request.call())
    }

    /// None if the connection was lost.
    #[track_caller]
    pub fn try_post(&self, path: &str, body: &Value, key: Option<&str>) -> Option<Answer> {
        self.send("POST", path, body.to_string().as_bytes(), key)
    }

    #[track_caller]
    pub fn put(&self, path: &str, body: &Value) -> Answer {
        self.send("PUT", path, body.to_string().as_bytes(), None).expect("the server answers")
    }

    #[track_caller]
    pub fn patch(&self, path: &str, body: &Value) -> Answer {
        self.send("PATCH", path, body.to_string().as_bytes(), None).expect("the server answers")
    }

    #[track_caller]
    pub fn delete(&self, path: &str) -> Answer {
        let mut request = self.agent.delete(self.uri(path));
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        self.heard("DELETE", &api(path), request.call()).expect("the server answers")
    }

    /// Any bytes as a JSON body.
    #[track_caller]
    pub fn send(&self, method: &str, path: &str, body: &[u8], key: Option<&str>) -> Option<Answer> {
        let uri = self.uri(path);
        let mut request = match method {
            "POST" => self.agent.post(uri),
            "PUT" => self.agent.put(uri),
            _ => self.agent.patch(uri),
        };
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.heard(method, &api(path), request.content_type("application/json").send(body))
    }

    /// What stands outside `/api/v1`.
    #[track_caller]
    pub fn plain(&self, path: &str) -> (u16, String) {
        let answer = self.agent.get(format!("{}{path}", self.url)).call();
        let answer = self.heard("GET", path, answer).expect("the server answers");
        (answer.status, answer.text)
    }

    /// A number of `/metrics`.
    #[track_caller]
    pub fn metric(&self, name: &str) -> u64 {
        let (status, page) = self.plain("/metrics");
        assert_eq!(status, 200);
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {page}"))
    }

    fn uri(&self, path: &str) -> String {
        format!("{}{}", self.url, api(path))
    }

    /// The document that this server gives out; it is part of the program, so the first server of a
    /// process speaks for all. One that is restricted does not give it out.
    #[track_caller]
    pub fn document(&self) -> &'static Document {
        static DOCUMENT: OnceLock<Document> = OnceLock::new();
        if let Some(document) = DOCUMENT.get() {
            return document;
        }
        let answer = self.agent.get(self.uri("/openapi.json")).call();
        let mut answer = answer.expect("the server gives out its OpenAPI document");
        assert_eq!(answer.status(), 200, "the first server of a test gives out its document");
        let text = answer.body_mut().read_to_string().expect("the document is text");
        let document = serde_json::from_str(&text).expect("the document is JSON");
        DOCUMENT.get_or_init(|| Document(document))
    }

    /// The whole answer, which must be one that the document describes. None if the connection was
    /// lost.
    #[track_caller]
    fn heard(
        &self,
        method: &str,
        path: &str,
        answer: Result<Response<ureq::Body>, ureq::Error>,
    ) -> Option<Answer> {
        let mut answer = answer.ok()?;
        let bytes = answer.body_mut().with_config().limit(256 * 1024 * 1024).read_to_vec().ok()?;
        let text = String::from_utf8(bytes).expect("an answer is text");
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let body = serde_json::from_str(&text).unwrap_or_default();
        let kind = headers.get("content-type").map(|kind| kind.to_str().expect("a content type"));
        let heard = Heard { status, kind: kind.unwrap_or_default(), text: &text, body: &body };
        self.document().check(method, path, heard);
        Some(Answer { status, headers, body, text })
    }
}

fn api(path: &str) -> String {
    format!("/api/v1{path}")
}

/// A text of the JSON.
#[track_caller]
pub fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}
