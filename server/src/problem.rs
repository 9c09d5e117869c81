//! What a client hears when something is refused: RFC 9457 problems with a stable `code`.
//!
//! One table gives each code its status and its meaning, and one function maps the engine's kinds
//! to codes. PROTOCOL.md shows the table; a test compares the two. INVARIANT: a problem for
//! something denied is byte for byte the problem for something absent.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hansard_engine::error::{ConflictCode, Error};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::view::{Gap, Progress};
use crate::secrets::NoRandomness;

macro_rules! codes {
    ($( $variant:ident = $code:literal $status:literal $meaning:literal ),* $(,)?) => {
        /// Why a request was refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $( #[doc = $meaning] $variant ),*
        }

        /// Every code with its status and its meaning, in the order of PROTOCOL.md.
        pub const CODES: &[(&str, u16, &str)] = &[ $( ($code, $status, $meaning) ),* ];

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[ $( Self::$variant ),* ];

            /// The stable text.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $( Self::$variant => $code ),* }
            }

            /// The HTTP status.
            #[must_use]
            pub const fn status(self) -> u16 {
                match self { $( Self::$variant => $status ),* }
            }

            /// What it means, for people.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $( Self::$variant => $meaning ),* }
            }
        }
    };
}

codes! {
    BadJson = "bad-json" 400
        "The body is not UTF-8 or not JSON.",
    BadQuery = "bad-query" 400
        "A query parameter is unknown, out of range or contradicts another.",
    BadCursor = "bad-cursor" 400
        "The cursor is not one that this server gave out for this list.",
    BadHeader = "bad-header" 400
        "A header has a form that this server does not take.",
    BadStream = "bad-stream" 400
        "A stream frame is not one of those that PROTOCOL.md lists.",
    Unauthenticated = "unauthenticated" 401
        "No credential, or one that does not work (any more).",
    SignInFailed = "sign-in-failed" 401
        "The name, the password or the sign-in link is wrong.",
    Forbidden = "forbidden" 403
        "You see this but may not do that here.",
    PresentersOnly = "presenters-only" 403
        "Only presenters post in an auditorium.",
    CsrfRequired = "csrf-required" 403
        "A request by cookie that changes something needs X-Hansard-Csrf: 1.",
    OriginRefused = "origin-refused" 403
        "A stream by cookie must come from this server's own page.",
    NotFound = "not-found" 404
        "There is no such thing, or none that you may know of.",
    MethodNotAllowed = "method-not-allowed" 405
        "This address does not take that method.",
    NameUnavailable = "name-unavailable" 409
        "The name cannot be used.",
    NotEmpty = "not-empty" 409
        "A category with rooms cannot be deleted.",
    TimeBackwards = "time-backwards" 409
        "An imported entry is older than what the room already holds.",
    ImportProgress = "import-progress" 409
        "The import of this source stands elsewhere; see `progress`.",
    WouldExpire = "would-expire" 409
        "Imported entries are older than the room keeps; allow_expired takes them.",
    Held = "held" 409
        "A legal hold, or a locked compliance record, forbids it.",
    Redacted = "redacted" 409
        "The message is redacted and takes no more changes.",
    Stale = "stale" 412
        "The object changed since the entity tag in If-Match was given.",
    TooLarge = "too-large" 413
        "The body, or the message in it, is too large.",
    NotJsonType = "not-json-type" 415
        "The body must be application/json.",
    Invalid = "invalid" 422
        "A field is missing, unknown or has a value that is not allowed; see `field`.",
    KeyReused = "idempotency-key-reused" 422
        "The idempotency key was used for another request.",
    UpgradeRequired = "upgrade-required" 426
        "This address speaks WebSocket only.",
    TooManyAttempts = "too-many-attempts" 429
        "Too many failed sign-ins; wait for Retry-After.",
    TooManySubscriptions = "too-many-subscriptions" 429
        "A connection subscribes to at most 10,000 rooms.",
    Damaged = "damaged" 500
        "Stored bytes are damaged; see `gaps` where it is a page.",
    Internal = "internal" 500
        "The server failed; the log says why.",
    Unavailable = "unavailable" 503
        "Busy; try again after Retry-After.",
    Timeout = "timeout" 503
        "Not done in time. A change may still happen: retry with the same key.",
    OutcomeUnknown = "outcome-unknown" 503
        "The log failed; whether this was kept shows after a restart. Retry with the same key.",
    Restricted = "restricted" 503
        "Records of rights were lost; an operator must heal or accept it.",
    ClockRefused = "clock-refused" 503
        "The clock is far ahead of the record; an operator must accept it.",
    Poisoned = "poisoned" 503
        "The log failed and takes nothing more; a restart recovers it.",
    Fenced = "fenced" 503
        "A newer primary exists; ask it.",
    Stopping = "stopping" 503
        "The server is stopping.",
    NoSpace = "no-space" 507
        "The disk is full; reading goes on.",
}

/// Codes that appear in stream frames and close frames only, with their meaning.
pub const STREAM_CODES: &[(&str, &str)] = &[
    ("no-rights", "removed: you may not read this room any more, or it is gone."),
    ("signed-out", "bye: the credential of this connection was revoked or has expired."),
    ("stopping", "bye: the server stops; reconnect and resume."),
    ("slow-reader", "bye: a write made no progress for 5 minutes; reconnect and resume."),
    ("silent", "bye: no sign of life for 90 seconds."),
    ("bad-stream", "bye: a frame was binary. After one that is too long the connection is gone."),
];

/// Seconds a client waits before it tries again, unless there is a better number.
const RETRY_AFTER_SECONDS: u64 = 2;

/// A refusal on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Why.
    pub code: Code,
    /// This occurrence, in words.
    pub detail: Option<String>,
    /// What else helps the client.
    pub extra: Box<Extra>,
}

/// What some problems say beyond their code.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra {
    /// The field that is wrong.
    pub field: Option<String>,
    /// Where the JSON breaks: line and column, from 1.
    pub place: Option<(usize, usize)>,
    /// Seconds to wait; the same as Retry-After.
    pub retry_after: Option<u64>,
    /// Where an import stands.
    pub progress: Option<Progress>,
    /// What a strict page would have had to leave out.
    pub gaps: Option<Vec<Gap>>,
    /// Lost log positions, each as [first, last].
    pub holes: Option<Vec<[u64; 2]>>,
}

/// A problem as RFC 9457 writes it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
#[serde(deny_unknown_fields)]
pub struct ProblemBody {
    /// `urn:hansard:problem:` and the code.
    pub r#type: String,
    /// The code's meaning.
    pub title: &'static str,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Stable: programs match this.
    pub code: &'static str,
    /// The field that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// Where the JSON breaks: line, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// Where the JSON breaks: column, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Seconds to wait; the same as Retry-After.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u64>,
    /// Where an import stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What a strict page would have had to leave out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Vec<Gap>>,
    /// Lost log positions, each as [first, last].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holes: Option<Vec<[u64; 2]>>,
}

impl Problem {
    /// A problem of this code without words of its own.
    #[must_use]
    pub fn new(code: Code) -> Self {
        let waits = code.status() == 503 && code != Code::OutcomeUnknown;
        let retry_after = waits.then_some(RETRY_AFTER_SECONDS);
        Self { code, detail: None, extra: Box::new(Extra { retry_after, ..Extra::default() }) }
    }

    /// A problem with words.
    #[must_use]
    pub fn with(code: Code, detail: impl Into<String>) -> Self {
        Self { detail: Some(detail.into()), ..Self::new(code) }
    }

    /// A wrong field of a body.
    #[must_use]
    pub fn field(field: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::with(Code::Invalid, detail);
        problem.extra.field = Some(field.to_owned());
        problem
    }

    /// A wrong query parameter.
    #[must_use]
    pub fn query(field: &str, detail: impl Into<String>) -> Self {
        let mut problem = Self::with(Code::BadQuery, detail);
        problem.extra.field = Some(field.to_owned());
        problem
    }

    /// Denied and absent alike.
    #[must_use]
    pub fn not_found() -> Self {
        Self::new(Code::NotFound)
    }

    /// With a better number than the usual wait.
    #[must_use]
    pub fn after_seconds(mut self, seconds: u64) -> Self {
        self.extra.retry_after = Some(seconds);
        self
    }

    /// The body.
    #[must_use]
    pub fn body(self) -> ProblemBody {
        let Extra { field, place, retry_after, progress, gaps, holes } = *self.extra;
        ProblemBody {
            r#type: format!("urn:hansard:problem:{}", self.code.as_str()),
            title: self.code.meaning(),
            status: self.code.status(),
            detail: self.detail,
            code: self.code.as_str(),
            field,
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            retry_after,
            progress,
            gaps,
            holes,
        }
    }
}

/// The one table from the engine's kinds to codes.
#[must_use]
pub fn code_of(error: &Error) -> Code {
    match error {
        Error::Invalid { .. } => Code::Invalid,
        Error::NotFound { .. } => Code::NotFound,
        Error::Conflict { code, .. } => match code {
            ConflictCode::NameUnavailable => Code::NameUnavailable,
            ConflictCode::KeyReused => Code::KeyReused,
            ConflictCode::TimeBackwards => Code::TimeBackwards,
            ConflictCode::ImportProgress => Code::ImportProgress,
            ConflictCode::Stale => Code::Stale,
            ConflictCode::NotEmpty => Code::NotEmpty,
            ConflictCode::Redacted => Code::Redacted,
            ConflictCode::Held => Code::Held,
        },
        Error::PolicyChanged { .. } | Error::Unavailable { .. } => Code::Unavailable,
        Error::NoSpace { .. } => Code::NoSpace,
        Error::Corrupt { .. } => Code::Damaged,
        Error::Fenced { .. } => Code::Fenced,
        Error::Poisoned { .. } => Code::OutcomeUnknown,
        Error::Unsupported { .. } | Error::Locked { .. } => Code::Internal,
        Error::Trimmed { .. } | Error::Io { .. } => Code::Internal,
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        let code = code_of(&error);
        match code {
            // Words about files, offsets and names that others took stay in the log.
            Code::NotFound | Code::NameUnavailable => Self::new(code),
            Code::Internal | Code::Damaged => {
                tracing::error!(code = code.as_str(), %error, "request failed");
                Self::new(code)
            }
            // The engine says once that it failed or is full; a line for each post would fill what
            // is left of the disk.
            Code::OutcomeUnknown | Code::NoSpace => {
                tracing::debug!(code = code.as_str(), %error, "request failed");
                Self::new(code)
            }
            _ => Self::with(code, error.to_string()),
        }
    }
}

impl From<NoRandomness> for Problem {
    fn from(error: NoRandomness) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(Code::Internal)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let code = self.code;
        let retry_after = self.extra.retry_after;
        let body = serde_json::to_vec(&self.body()).unwrap_or_default();
        let mut response = Response::new(Body::from(body));
        *response.status_mut() =
            StatusCode::from_u16(code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        let kind = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, kind);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if code == Code::Unauthenticated {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tables of PROTOCOL.md, as they must stand there.
    fn tables() -> String {
        let mut out = String::from("| code | status | meaning |\n|---|---|---|\n");
        for (code, status, meaning) in CODES {
            out.push_str(&format!("| `{code}` | {status} | {meaning} |\n"));
        }
        out.push_str("\n| stream code | meaning |\n|---|---|\n");
        for (code, meaning) in STREAM_CODES {
            out.push_str(&format!("| `{code}` | {meaning} |\n"));
        }
        out
    }

    #[test]
    fn protocol_md_lists_every_code() {
        let document = include_str!("../PROTOCOL.md");
        assert!(document.contains(&tables()), "PROTOCOL.md must contain:\n{}", tables());
    }

    #[test]
    fn codes_are_unique_and_their_statuses_exist() {
        for (at, (code, status, meaning)) in CODES.iter().enumerate() {
            assert!(CODES[..at].iter().all(|other| other.0 != *code), "{code}");
            assert!((400..600).contains(status), "{code}");
            assert!(meaning.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn a_problem_is_what_rfc_9457_says() {
        let problem = Problem::field("name", "is empty");
        let value = serde_json::to_value(problem.body()).unwrap();
        assert_eq!(
            value,
            serde_json::json!({
                "type": "urn:hansard:problem:invalid",
                "title": Code::Invalid.meaning(),
                "status": 422,
                "detail": "is empty",
                "code": "invalid",
                "field": "name",
            })
        );
    }

    #[test]
    fn every_503_but_an_unknown_outcome_says_when_to_come_back() {
        for code in Code::ALL.iter().filter(|code| code.status() == 503) {
            let response = Problem::new(*code).into_response();
            let waits = response.headers().contains_key(header::RETRY_AFTER);
            assert_eq!(waits, *code != Code::OutcomeUnknown, "{}", code.as_str());
        }
    }

    #[test]
    fn engine_words_about_files_do_not_leave() {
        let error = Error::Corrupt {
            what: "block checksum mismatch",
            file: "packs/000012.pack".into(),
            offset: 1,
            expected: 2,
            found: 3,
        };
        assert_eq!(Problem::from(error), Problem::new(Code::Damaged));
        assert_eq!(Problem::from(Error::NotFound { what: "room" }), Problem::not_found());
    }
}
