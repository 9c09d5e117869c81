//! Things named by name or by id: found, or said to be absent.
//!
//! What looks like an id is an id, so that nobody can catch a command by naming a room like one.

use std::str::FromStr;

use hansard_engine::types::{CategoryId, PrincipalId, RoomId};
use serde_json::Value;

use super::{Client, Error, Result};
use crate::exits::{Exit, Failure};

/// A sort of thing that has a name and an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// A category.
    Category,
    /// A room.
    Room,
    /// A user.
    User,
}

impl Sort {
    /// Its list in the API.
    pub const fn list(self) -> &'static str {
        match self {
            Self::Category => "categories",
            Self::Room => "rooms",
            Self::User => "users",
        }
    }

    /// Its word for people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Category => "category",
            Self::Room => "room",
            Self::User => "user",
        }
    }

    fn is_id(self, text: &str) -> bool {
        match self {
            Self::Category => CategoryId::from_str(text).is_ok(),
            Self::Room => RoomId::from_str(text).is_ok(),
            Self::User => PrincipalId::from_str(text).is_ok(),
        }
    }
}

impl Client {
    /// The thing of this name or id, as the API shows it, or none.
    pub fn look_up(&self, sort: Sort, text: &str) -> Result<Option<Value>> {
        if sort.is_id(text) {
            return match self.get(&format!("/{}/{}", sort.list(), segment(text)), &[]) {
                Ok(found) => Ok(Some(found)),
                Err(Error::Problem(problem)) if problem.status == 404 => Ok(None),
                Err(error) => Err(error),
            };
        }
        let mut page = self.get(&format!("/{}", sort.list()), &[("name", text)])?;
        let found = page.get_mut(sort.list()).and_then(Value::as_array_mut);
        Ok(found.and_then(|list| list.pop()))
    }

    /// The id of the thing of this name or id.
    pub fn id_of(&self, sort: Sort, text: &str) -> std::result::Result<String, Failure> {
        match self.look_up(sort, text)? {
            Some(found) => Ok(id(&found)),
            None => {
                let words = format!("no such {}, or not for you name={text:?}", sort.word());
                Err(Failure::new(Exit::NoInput, words))
            }
        }
    }
}

/// Whether a text is an id of this sort.
pub fn is_id(sort: Sort, text: &str) -> bool {
    sort.is_id(text)
}

/// The id that the API shows.
pub fn id(shown: &Value) -> String {
    shown.get("id").and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// A text as one segment of a path.
pub fn segment(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_an_id_is_one() {
        assert!(Sort::Room.is_id("r1-5"));
        assert!(Sort::Category.is_id("c1-5"));
        assert!(Sort::User.is_id("p1-5"));
        for (sort, name) in
            [(Sort::Room, "ubuntu"), (Sort::Room, "c1-5"), (Sort::Room, "r1"), (Sort::User, "r1-5")]
        {
            assert!(!sort.is_id(name), "{name}");
        }
    }

    #[test]
    fn a_segment_has_nothing_that_ends_it() {
        assert_eq!(segment("t1-5"), "t1-5");
        assert_eq!(segment("../a b?c#é"), "..%2Fa%20b%3Fc%23%C3%A9");
    }
}
