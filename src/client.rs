//! A small HTTP client for the commands that talk to a running server.
//!
//! Plain HTTP and JSON, one connection, every wait bounded. It knows the server's problems and no
//! command. INVARIANT: the token goes into a header and nowhere else, never into a message.

mod names;

use std::thread::sleep;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use ureq::http::Response;
use ureq::{Agent, Body};

pub use names::{Sort, id, is_id, segment};

use crate::cli::ServerArgs;
use crate::exits::{Exit, Failure, of_status};
use crate::files;

const DEFAULT_URL: &str = "http://127.0.0.1:8010";
const URL_VARIABLE: &str = "HANSARD_URL";
const TOKEN_VARIABLE: &str = "HANSARD_TOKEN";

/// Waiting for a connection.
const CONNECT_WAIT: Duration = Duration::from_secs(10);
/// Waiting for an answer: an import may take the server five minutes.
const ANSWER_WAIT: Duration = Duration::from_secs(310);
/// One answer: a page of 500 messages of 64 KiB, escaped.
const ANSWER_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// A server that is busy or away is asked again for so long.
const RETRY_FOR: Duration = Duration::from_secs(60);
/// Between two tries, unless the server says otherwise.
const RETRY_EVERY: Duration = Duration::from_secs(1);
/// The longest wait that the server can ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(30);

/// Why a request gave no answer that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Error {
    /// Nobody listens there.
    #[error("cannot connect to the server url={url} error={error:?}")]
    Refused {
        /// The server.
        url: String,
        /// The system's words.
        error: String,
    },
    /// The connection ended before the answer: whether the request was done is unknown.
    #[error("connection to the server was lost url={url} error={error:?}")]
    Lost {
        /// The server.
        url: String,
        /// The system's words.
        error: String,
    },
    /// The server says no.
    #[error("{0}")]
    Problem(Box<Problem>),
    /// The answer is none of Hansard's.
    #[error("not an answer of a Hansard server url={url} status={status}")]
    Foreign {
        /// The server.
        url: String,
        /// Its status.
        status: u16,
    },
}

/// A problem as the server tells it (RFC 9457).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Error)]
#[error("{} code={code} status={status}{}", self.words(), self.at_field())]
pub struct Problem {
    /// The HTTP status.
    pub status: u16,
    /// The stable code.
    pub code: String,
    /// What the code means.
    #[serde(default)]
    pub title: String,
    /// This occurrence.
    pub detail: Option<String>,
    /// The field that is wrong.
    pub field: Option<String>,
    /// Seconds to wait.
    pub retry_after: Option<u64>,
}

impl Problem {
    fn words(&self) -> &str {
        self.detail.as_deref().unwrap_or(&self.title)
    }

    fn at_field(&self) -> String {
        self.field.as_ref().map(|field| format!(" field={field}")).unwrap_or_default()
    }
}

impl Error {
    /// The stable code, if it is a problem.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Problem(problem) => Some(&problem.code),
            _ => None,
        }
    }

    /// How long to wait before the same request is worth another try; none if it is not.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { .. } | Self::Lost { .. } => Some(RETRY_EVERY),
            Self::Problem(problem) if matches!(problem.status, 429 | 503) => {
                let asked = problem.retry_after.map_or(RETRY_EVERY, Duration::from_secs);
                Some(asked.min(RETRY_AFTER_MAX))
            }
            Self::Problem(_) | Self::Foreign { .. } => None,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Refused { .. } | Error::Lost { .. } | Error::Foreign { .. } => Exit::Unavailable,
            Error::Problem(problem) => of_status(problem.status),
        };
        Self::new(exit, error.to_string())
    }
}

/// The client's result.
pub type Result<T> = std::result::Result<T, Error>;

/// What a request sends.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// Reads.
    Get(&'a [(&'a str, &'a str)]),
    /// Makes, with a body.
    Post(&'a Value),
    /// Sets, with a body.
    Put(&'a Value),
    /// Changes, with a body.
    Patch(&'a Value),
    /// Removes.
    Delete,
}

/// A server, and the token that asks it.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    token: Option<String>,
}

impl Client {
    /// The server and the token that flags and environment name.
    pub fn new(args: &ServerArgs) -> std::result::Result<Self, Failure> {
        let token = match &args.token_file {
            Some(path) => Some(files::read_secret(path)?),
            None => variable(TOKEN_VARIABLE)?,
        };
        if token.is_none() {
            let words = format!("no token: set {TOKEN_VARIABLE} or give --token-file");
            return Err(Failure::new(Exit::Denied, words));
        }
        Self::anonymous(args).map(|client| Self { token, ..client })
    }

    /// The server alone: for signing in.
    pub fn anonymous(args: &ServerArgs) -> std::result::Result<Self, Failure> {
        let url = match &args.server {
            Some(url) => url.clone(),
            None => variable(URL_VARIABLE)?.unwrap_or_else(|| DEFAULT_URL.to_owned()),
        };
        let url = url.trim_end_matches('/').to_owned();
        let host = url.strip_prefix("http://");
        if host.is_none_or(|host| host.is_empty() || host.contains(['/', '?', '#', '@'])) {
            let words = format!("not an address like http://127.0.0.1:8010 url={url}");
            return Err(Failure::usage(words));
        }
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .max_redirects(0)
            .timeout_connect(Some(CONNECT_WAIT))
            .timeout_recv_response(Some(ANSWER_WAIT))
            .timeout_recv_body(Some(ANSWER_WAIT))
            .user_agent(concat!("hansard/", env!("CARGO_PKG_VERSION")))
            .build();
        Ok(Self { agent: agent.into(), url, token: None })
    }

    /// Asks once. The path stands below `/api/v1`; its segments are encoded already.
    pub fn ask(&self, path: &str, ask: Ask<'_>) -> Result<Value> {
        let uri = format!("{}/api/v1{path}", self.url);
        let bearer = self.token.as_ref().map(|token| format!("Bearer {token}"));
        let body = match ask {
            Ask::Post(body) | Ask::Put(body) | Ask::Patch(body) => body.to_string(),
            Ask::Get(_) | Ask::Delete => String::new(),
        };
        let answer = match ask {
            Ask::Get(_) | Ask::Delete => {
                let mut request = match ask {
                    Ask::Get(query) => self.agent.get(&uri).query_pairs(query.iter().copied()),
                    _ => self.agent.delete(&uri),
                };
                if let Some(bearer) = bearer {
                    request = request.header("Authorization", bearer);
                }
                request.call()
            }
            Ask::Post(_) | Ask::Put(_) | Ask::Patch(_) => {
                let mut request = match ask {
                    Ask::Post(_) => self.agent.post(&uri),
                    Ask::Put(_) => self.agent.put(&uri),
                    _ => self.agent.patch(&uri),
                };
                if let Some(bearer) = bearer {
                    request = request.header("Authorization", bearer);
                }
                request.content_type("application/json").send(body.as_bytes())
            }
        };
        self.read(answer.map_err(|error| self.failed(error))?)
    }

    /// Reads, and asks again for a minute while the server is busy or away.
    pub fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Value> {
        let patience = Patience::begin();
        loop {
            match self.ask(path, Ask::Get(query)) {
                // Nobody there at the first try is an answer: do not keep a person waiting.
                Err(error @ Error::Refused { .. }) if patience.tries() == 0 => return Err(error),
                Err(error) => patience.wait(error)?,
                answer => return answer,
            }
        }
    }

    fn read(&self, mut answer: Response<Body>) -> Result<Value> {
        let status = answer.status().as_u16();
        let bytes = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let bytes = bytes.map_err(|error| self.failed(error))?;
        let foreign = || Error::Foreign { url: self.url.clone(), status };
        if (200..300).contains(&status) {
            if bytes.is_empty() {
                return Ok(Value::Null);
            }
            return serde_json::from_slice(&bytes).map_err(|_| foreign());
        }
        let problem = serde_json::from_slice(&bytes).map_err(|_| foreign())?;
        Err(Error::Problem(Box::new(problem)))
    }

    fn failed(&self, error: ureq::Error) -> Error {
        use std::io::ErrorKind;
        let (url, words) = (self.url.clone(), error.to_string());
        let refused = match &error {
            ureq::Error::Io(error) => {
                matches!(error.kind(), ErrorKind::ConnectionRefused | ErrorKind::NetworkUnreachable)
            }
            ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
            ureq::Error::Timeout(ureq::Timeout::Connect) => true,
            _ => false,
        };
        if refused {
            Error::Refused { url, error: words }
        } else {
            Error::Lost { url, error: words }
        }
    }
}

/// How long one request has been tried.
pub struct Patience {
    begun: Instant,
    tries: std::cell::Cell<u32>,
}

impl Patience {
    /// Begins now.
    pub fn begin() -> Self {
        Self { begun: Instant::now(), tries: std::cell::Cell::new(0) }
    }

    /// Waits that have been made.
    pub fn tries(&self) -> u32 {
        self.tries.get()
    }

    /// Waits before another try, or gives the error back if none is worth it.
    pub fn wait(&self, error: Error) -> Result<()> {
        match error.retry_after() {
            Some(wait) if self.begun.elapsed() + wait < RETRY_FOR => {
                self.tries.set(self.tries.get().saturating_add(1));
                sleep(wait);
                Ok(())
            }
            _ => Err(error),
        }
    }
}

fn variable(name: &str) -> std::result::Result<Option<String>, Failure> {
    match std::env::var(name) {
        Ok(value) if !value.is_empty() => Ok(Some(value)),
        Ok(_) | Err(std::env::VarError::NotPresent) => Ok(None),
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(Failure::usage(format!("variable is not UTF-8 variable={name}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(status: u16, code: &str) -> Error {
        let problem = Problem { status, code: code.into(), ..Problem::default() };
        Error::Problem(Box::new(problem))
    }

    #[test]
    fn a_problem_becomes_words_with_code_status_and_field() {
        let text = r#"{"type":"urn:hansard:problem:invalid","title":"A field is wrong.",
            "status":422,"detail":"is empty","code":"invalid","field":"name","line":1}"#;
        let problem: Problem = serde_json::from_str(text).unwrap();
        assert_eq!(problem.to_string(), "is empty code=invalid status=422 field=name");
        let bare = Problem { title: "No.".into(), code: "x".into(), status: 404, ..problem };
        let bare = Problem { detail: None, field: None, ..bare };
        assert_eq!(bare.to_string(), "No. code=x status=404");
    }

    #[test]
    fn what_is_worth_another_try() {
        let lost = Error::Lost { url: "u".into(), error: "e".into() };
        assert_eq!(lost.retry_after(), Some(RETRY_EVERY));
        assert_eq!(problem(503, "unavailable").retry_after(), Some(RETRY_EVERY));
        assert_eq!(problem(409, "time-backwards").retry_after(), None);
        let Error::Problem(mut waits) = problem(503, "unavailable") else { panic!() };
        waits.retry_after = Some(7);
        assert_eq!(Error::Problem(waits.clone()).retry_after(), Some(Duration::from_secs(7)));
        waits.retry_after = Some(7000);
        assert_eq!(Error::Problem(waits).retry_after(), Some(RETRY_AFTER_MAX));
    }

    #[test]
    fn exits_follow_the_cause() {
        let refused = Error::Refused { url: "u".into(), error: "e".into() };
        assert_eq!(Failure::from(refused).exit, Exit::Unavailable);
        assert_eq!(Failure::from(problem(401, "unauthenticated")).exit, Exit::Denied);
        assert_eq!(Failure::from(problem(403, "forbidden")).exit, Exit::Denied);
        assert_eq!(Failure::from(problem(409, "time-backwards")).exit, Exit::Data);
    }

    #[test]
    fn only_plain_http_addresses_are_taken() {
        let client = |url: &str| {
            let server = Some(url.to_owned());
            Client::anonymous(&ServerArgs { server, token_file: None })
        };
        assert_eq!(client("http://127.0.0.1:8010/").unwrap().url, "http://127.0.0.1:8010");
        for wrong in ["https://h", "h:1", "http://", "http://h/p", "http://u@h", "http://h?x"] {
            assert_eq!(client(wrong).unwrap_err().exit, Exit::Usage, "{wrong}");
        }
    }

    #[test]
    fn nobody_there_is_refused() {
        // Port 1 of loopback: nobody listens there.
        let server = Some("http://127.0.0.1:1".to_owned());
        let client = Client::anonymous(&ServerArgs { server, token_file: None }).unwrap();
        let error = client.get("/me", &[]).unwrap_err();
        assert!(matches!(error, Error::Refused { .. }), "{error}");
    }
}
