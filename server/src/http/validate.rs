//! The forms of names, texts, limits and references in requests.
//!
//! Every function gives the value or a problem that names the field; none of them reads anything.

use std::str::FromStr;

use hansard_engine::limits::{BODY_BYTES_MAX, NAME_CHARS_MAX, TEXT_BYTES_MAX};
use hansard_engine::types::{Lsn, PrincipalId, TimeUs};

use crate::cursor::Cursor;
use crate::problem::{Code, Problem};
use crate::{limits, time};

/// A description or a topic: as many characters as surely fit the engine's bytes.
const TEXT_CHARS_MAX: usize = TEXT_BYTES_MAX / 4;
/// The word for every user in a category's lists.
const EVERYONE: &str = "everyone";

/// A name: 1 to 256 characters, none of them a control character, and no space around it.
///
/// # Errors
/// `invalid`, naming the field.
pub fn name(field: &str, text: &str) -> Result<(), Problem> {
    let chars = text.chars().count();
    if !(1..=NAME_CHARS_MAX).contains(&chars) {
        return Err(Problem::field(field, format!("a name has 1 to {NAME_CHARS_MAX} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(Problem::field(field, "a name has no control characters"));
    }
    if text.trim() != text {
        return Err(Problem::field(field, "a name neither begins nor ends with space"));
    }
    Ok(())
}

/// An author's name as some network wrote it: as `name`, but for space around it.
pub(crate) fn nick(field: &str, text: &str) -> Result<(), Problem> {
    let chars = text.chars().count();
    if (1..=NAME_CHARS_MAX).contains(&chars) && !text.chars().any(char::is_control) {
        return Ok(());
    }
    let words = format!("a nick has 1 to {NAME_CHARS_MAX} characters, none a control character");
    Err(Problem::field(field, words))
}

/// A description or a topic.
pub(crate) fn text(field: &str, text: &str) -> Result<(), Problem> {
    if text.chars().count() > TEXT_CHARS_MAX {
        return Err(Problem::field(field, format!("at most {TEXT_CHARS_MAX} characters")));
    }
    if text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Problem::field(field, "no control characters but line ends and tabs"));
    }
    Ok(())
}

/// A message's size.
pub(crate) fn body_size(text: &str) -> Result<(), Problem> {
    if text.len() > BODY_BYTES_MAX {
        let words =
            format!("a message has at most {BODY_BYTES_MAX} bytes, this one {}", text.len());
        return Err(Problem::with(Code::TooLarge, words));
    }
    Ok(())
}

/// The `limit` of a page.
pub(crate) fn limit(given: Option<usize>, default: usize) -> Result<usize, Problem> {
    let limit = given.unwrap_or(default);
    if (1..=limits::PAGE_MESSAGES_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(Problem::query("limit", format!("1 to {}", limits::PAGE_MESSAGES_MAX)))
    }
}

/// A time in a query.
pub(crate) fn query_time(field: &str, text: &str) -> Result<TimeUs, Problem> {
    time::parse(text).ok_or_else(|| {
        Problem::query(field, "not a time like 2008-04-27T06:00:00Z (write + as %2B)")
    })
}

/// A time in a body.
pub(crate) fn body_time(field: &str, text: &str) -> Result<TimeUs, Problem> {
    time::parse(text).ok_or_else(|| Problem::field(field, "not a time like 2008-04-27T06:00:00Z"))
}

/// An identifier in a body.
pub(crate) fn id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::field(field, "not an identifier of this sort"))
}

/// An identifier in a query.
pub(crate) fn query_id<T: FromStr>(field: &str, text: &str) -> Result<T, Problem> {
    text.parse().map_err(|_| Problem::query(field, "not an identifier of this sort"))
}

/// A principal in a category's list: an identifier, or `everyone`.
pub(crate) fn listed(field: &str, text: &str) -> Result<PrincipalId, Problem> {
    if text == EVERYONE { Ok(PrincipalId::EVERYONE) } else { id(field, text) }
}

/// The text of a principal in a category's list.
pub(crate) fn show_listed(id: PrincipalId) -> String {
    if id == PrincipalId::EVERYONE { EVERYONE.into() } else { id.to_string() }
}

/// A cursor of any sort.
pub(crate) fn cursor(text: &str) -> Result<Cursor, Problem> {
    Cursor::decode(text).ok_or_else(|| Problem::new(Code::BadCursor))
}

/// The position that a list's cursor of this sort names; the start without one.
pub(crate) fn list_cursor(
    text: Option<&str>,
    list: crate::cursor::List,
    within: u64,
) -> Result<u64, Problem> {
    let Some(text) = text else { return Ok(0) };
    match cursor(text)? {
        Cursor::List { list: of, within: here, after } if of == list && here == within => Ok(after),
        _ => Err(Problem::new(Code::BadCursor)),
    }
}

/// The text of an entity tag.
pub(crate) fn etag(changed: Lsn) -> String {
    format!("\"{changed}\"")
}

/// The position that an If-Match header expects; `*` expects nothing in particular.
pub(crate) fn if_match(headers: &axum::http::HeaderMap) -> Result<Option<Lsn>, Problem> {
    let Some(value) = headers.get(axum::http::header::IF_MATCH) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    if text == "*" {
        return Ok(None);
    }
    let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    match inner.and_then(|digits| digits.parse().ok()) {
        Some(lsn) => Ok(Some(Lsn(lsn))),
        None => Err(Problem::with(Code::BadHeader, "If-Match takes one entity tag or *")),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;

    use super::*;

    #[test]
    fn names_have_1_to_256_characters_without_control_characters() {
        for right in ["a", "#ubuntu", "été", &"ß".repeat(256), "two words"] {
            assert_eq!(name("name", right), Ok(()), "{right}");
        }
        for wrong in ["", " a", "a ", "a\nb", "a\u{7f}", &"a".repeat(257)] {
            let problem = name("name", wrong).unwrap_err();
            assert_eq!(problem.code, Code::Invalid);
            assert_eq!(problem.extra.field.as_deref(), Some("name"));
        }
    }

    #[test]
    fn limits_are_1_to_500() {
        assert_eq!(limit(None, 50), Ok(50));
        assert_eq!(limit(Some(500), 50), Ok(500));
        for wrong in [0, 501] {
            assert_eq!(limit(Some(wrong), 50).unwrap_err().code, Code::BadQuery);
        }
    }

    #[test]
    fn an_if_match_is_one_tag_or_a_star() {
        let of = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("if-match", text.parse().unwrap());
            if_match(&headers)
        };
        assert_eq!(if_match(&HeaderMap::new()), Ok(None));
        assert_eq!(of("*"), Ok(None));
        assert_eq!(of(&etag(Lsn(42))), Ok(Some(Lsn(42))));
        for wrong in ["42", "\"x\"", "W/\"42\"", "\"1\", \"2\""] {
            assert_eq!(of(wrong).unwrap_err().code, Code::BadHeader, "{wrong}");
        }
    }

    #[test]
    fn everyone_is_a_word() {
        assert_eq!(listed("allowed", "everyone"), Ok(PrincipalId::EVERYONE));
        assert_eq!(show_listed(PrincipalId::EVERYONE), "everyone");
        assert!(listed("allowed", "nobody").is_err());
    }
}
