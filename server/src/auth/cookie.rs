//! The browser's credential: one `__Host-` cookie, and the checks that go with it.
//!
//! Secure, HttpOnly and SameSite=Strict; browsers keep it on plain loopback, too. The page never
//! sees the token. INVARIANT: the Origin of a stream by cookie is the Host it asks.

use axum::http::{HeaderMap, header};

/// The cookie's name.
pub(crate) const NAME: &str = "__Host-hansard";
/// Asks for a cookie in place of a token at sign-in.
pub(crate) const BROWSER_HEADER: &str = "x-hansard-browser";
/// Proves that a changing request by cookie came from a script of our own page.
pub(crate) const CSRF_HEADER: &str = "x-hansard-csrf";

const ATTRIBUTES: &str = "Path=/; Secure; HttpOnly; SameSite=Strict";

/// The token in the request's cookies.
pub(crate) fn read(headers: &HeaderMap) -> Option<&str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(name, _)| *name == NAME)
        .map(|(_, value)| value)
}

/// Sets it for so many seconds.
pub(crate) fn set(secret: &str, seconds: i64) -> String {
    format!("{NAME}={secret}; Max-Age={seconds}; {ATTRIBUTES}")
}

/// Removes it.
pub(crate) fn clear() -> String {
    format!("{NAME}=; Max-Age=0; {ATTRIBUTES}")
}

/// Whether the page that opens a stream is ours: its Origin's host is the Host it asks.
pub(crate) fn same_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let (Some(origin), Some(host)) = (text(header::ORIGIN), text(header::HOST)) else {
        return false;
    };
    let origin_host = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    origin_host.is_some_and(|found| found.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &'static str)| {
            (name.parse().unwrap(), value.parse().unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_cookie_is_found_among_others() {
        let found = headers(&[("cookie", "a=b; __Host-hansard=hst_x; c=d")]);
        assert_eq!(read(&found), Some("hst_x"));
        assert_eq!(read(&headers(&[("cookie", "hansard=hst_x")])), None);
    }

    #[test]
    fn only_our_own_origin_opens_a_stream() {
        let same = [("origin", "http://127.0.0.1:8010"), ("host", "127.0.0.1:8010")];
        assert!(same_origin(&headers(&same)));
        for wrong in [
            &[("origin", "http://evil.example"), ("host", "127.0.0.1:8010")][..],
            &[("origin", "null"), ("host", "127.0.0.1:8010")],
            &[("origin", "http://127.0.0.1:9999"), ("host", "127.0.0.1:8010")],
            &[("host", "127.0.0.1:8010")],
        ] {
            assert!(!same_origin(&headers(wrong)), "{wrong:?}");
        }
    }
}
