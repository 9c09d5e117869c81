//! What handlers take: JSON bodies, query parameters and path identifiers, each strict.
//!
//! They turn every malformed input into the problem that PROTOCOL.md names and decide nothing else.
//! INVARIANT: no request is read past its limit.

use std::convert::Infallible;
use std::str::FromStr;

use axum::body::HttpBody;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::{HeaderMap, HeaderName, HeaderValue, header, request::Parts};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::limits::{DRAIN_BYTES_MAX, IMPORT_REQUEST_BYTES_MAX, REQUEST_BYTES_MAX};
use crate::problem::{Code, Problem};
use crate::state::App;

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct OptionalJson<T>(pub(crate) T);

/// The JSON body of an import.
pub(crate) struct ImportJson<T>(pub(crate) T);

/// Query parameters; unknown ones are refused by the type.
pub(crate) struct Params<T>(pub(crate) T);

/// The header `Idempotency-Key`, if there is one.
pub(crate) struct IdempotencyKey(pub(crate) Option<HeaderValue>);

/// The identifier in a path. One that cannot be is absent.
pub(crate) struct At<T>(pub(crate) T);

/// Two identifiers in a path.
pub(crate) struct At2<A, B>(pub(crate) A, pub(crate) B);

impl<T: DeserializeOwned> FromRequest<App> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let bytes = read(request, REQUEST_BYTES_MAX).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned> FromRequest<App> for ImportJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        let bytes = read(request, IMPORT_REQUEST_BYTES_MAX).await?;
        parse(&bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalJson<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &App) -> Result<Self, Problem> {
        if request.body().is_end_stream() {
            return Ok(Self(T::default()));
        }
        let bytes = read(request, REQUEST_BYTES_MAX).await?;
        if bytes.is_empty() { Ok(Self(T::default())) } else { parse(&bytes).map(Self) }
    }
}

/// The body, or why not. One that is too large is read on and thrown away within a bound: a client
/// that is still sending would otherwise lose the answer with the connection.
async fn read(request: Request, limit: usize) -> Result<bytes::Bytes, Problem> {
    if !is_json(request.headers()) {
        return Err(Problem::new(Code::NotJsonType));
    }
    let mut pieces = request.into_body().into_data_stream();
    // Mostly it comes in one piece, which needs no copy. Of more the bytes are kept and not the
    // pieces, whose number nothing bounds: one of a single byte holds the buffer it was read into.
    let (mut one, mut all) = (bytes::Bytes::new(), bytes::BytesMut::new());
    let mut seen = 0;
    while let Some(piece) = pieces.next().await {
        let ended = |_| Problem::with(Code::BadJson, "the body ended early");
        let piece = piece.map_err(ended)?;
        seen += piece.len();
        if seen > limit + DRAIN_BYTES_MAX {
            break;
        }
        if seen <= limit && one.is_empty() && all.is_empty() {
            one = piece;
        } else if seen <= limit {
            all.extend_from_slice(&std::mem::take(&mut one));
            all.extend_from_slice(&piece);
        }
    }
    if seen > limit {
        let detail = format!("a request body has at most {limit} bytes");
        return Err(Problem::with(Code::TooLarge, detail));
    }
    Ok(if all.is_empty() { one } else { all.freeze() })
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let kind = value.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    kind.eq_ignore_ascii_case("application/json")
}

/// The value of a JSON text, or the problem that points at the wrong place.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let words = format!("the body is not UTF-8 at byte {}", error.valid_up_to());
        Problem::with(Code::BadJson, words)
    })?;
    serde_json::from_str(text).map_err(|error| {
        let mut problem = if error.is_data() {
            let words = error.to_string();
            match quoted(&words) {
                Some(field) => Problem::field(field, words.clone()),
                None => Problem::with(Code::Invalid, words),
            }
        } else {
            Problem::with(Code::BadJson, error.to_string())
        };
        problem.extra.place = Some((error.line(), error.column()));
        problem
    })
}

/// The first word in backquotes: the field that serde complains about.
fn quoted(words: &str) -> Option<&str> {
    let starts = ["unknown field `", "missing field `", "duplicate field `"];
    let rest = starts.iter().find_map(|start| words.strip_prefix(start))?;
    rest.split_once('`').map(|(field, _)| field)
}

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Problem> {
        let Query(value) = Query::<T>::try_from_uri(&parts.uri)
            .map_err(|error| Problem::with(Code::BadQuery, error.body_text()))?;
        Ok(Self(value))
    }
}

impl FromRequestParts<App> for IdempotencyKey {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &App) -> Result<Self, Infallible> {
        static NAME: HeaderName = HeaderName::from_static("idempotency-key");
        Ok(Self(parts.headers.get(&NAME).cloned()))
    }
}

impl<T: FromStr> FromRequestParts<App> for At<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(Path(text)) = Path::<String>::from_request_parts(parts, app).await else {
            return Err(Problem::not_found());
        };
        text.parse().map(Self).map_err(|_| Problem::not_found())
    }
}

impl<A: FromStr, B: FromStr> FromRequestParts<App> for At2<A, B> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Problem> {
        let Ok(Path((a, b))) = Path::<(String, String)>::from_request_parts(parts, app).await
        else {
            return Err(Problem::not_found());
        };
        match (a.parse(), b.parse()) {
            (Ok(a), Ok(b)) => Ok(Self(a, b)),
            _ => Err(Problem::not_found()),
        }
    }
}

/// For patches: a field that is given has a value; `null` is refused and not ignored.
pub(crate) fn given<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default, deserialize_with = "given")]
        name: Option<String>,
    }

    fn wrong(bytes: &[u8]) -> Problem {
        parse::<Sample>(bytes).map(|sample| sample.name).unwrap_err()
    }

    async fn read_in(pieces: &[&'static [u8]], limit: usize) -> Result<bytes::Bytes, Code> {
        let pieces: Vec<std::io::Result<&[u8]>> = pieces.iter().map(|piece| Ok(*piece)).collect();
        let body = axum::body::Body::from_stream(futures_util::stream::iter(pieces));
        let request = Request::builder().header(header::CONTENT_TYPE, "application/json");
        read(request.body(body).unwrap(), limit).await.map_err(|problem| problem.code)
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_however_many_pieces_it_comes() {
        let cases: [&[&'static [u8]]; 6] = [
            &[b"{\"a\":1}"],
            &[b"{\"a\"", b":1}"],
            &[b"", b"{\"a\":1}", b""],
            &[b"{", b"", b"\"a", b"\":", b"1}"],
            &[b"{", b"\"", b"a", b"\"", b":", b"1", b"}"],
            &[b"{\"a\":1", b"}", b""],
        ];
        for pieces in cases {
            assert_eq!(read_in(pieces, 7).await.as_deref(), Ok(&b"{\"a\":1}"[..]), "{pieces:?}");
            assert_eq!(read_in(pieces, 6).await, Err(Code::TooLarge), "{pieces:?}");
        }
        assert_eq!(read_in(&[], 7).await.as_deref(), Ok(&b""[..]));
    }

    #[test]
    fn wrong_json_says_where_and_wrong_fields_say_which() {
        let problem = wrong(b"{\n  \"name\": }");
        assert_eq!(problem.code, Code::BadJson);
        assert_eq!(problem.extra.place, Some((2, 11)));
        assert_eq!(wrong(b"").code, Code::BadJson);
        assert_eq!(wrong(b"{\"name\": \"\xff\"}").code, Code::BadJson);
        let problem = wrong(b"{\"nam\": \"x\"}");
        assert_eq!(problem.code, Code::Invalid);
        assert_eq!(problem.extra.field.as_deref(), Some("nam"));
        assert_eq!(wrong(b"{\"name\": null}").code, Code::Invalid);
        assert_eq!(wrong(b"{\"name\": 3}").code, Code::Invalid);
    }
}
