//! The words of the JSON contract for the engine's small enumerations.
//!
//! They are types of their own so that the served OpenAPI lists them. INVARIANT: a word here is the
//! engine's word; a test compares each pair.

use hansard_engine::format::payload as engine;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

macro_rules! words {
    ($( $(#[$doc:meta])* $name:ident { $( $(#[$vdoc:meta])* $variant:ident ),* $(,)? } )*) => {
        $(
            $(#[$doc])*
            #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
            #[serde(rename_all = "kebab-case")]
            pub enum $name { $( $(#[$vdoc])* $variant ),* }

            impl From<engine::$name> for $name {
                fn from(value: engine::$name) -> Self {
                    match value { $( engine::$name::$variant => Self::$variant ),* }
                }
            }

            impl From<$name> for engine::$name {
                fn from(value: $name) -> Self {
                    match value { $( $name::$variant => Self::$variant ),* }
                }
            }
        )*

        #[cfg(test)]
        mod tests {
            use super::*;

            #[test]
            fn words_are_the_engines_words() {
                $( for value in engine::$name::ALL {
                    let word = serde_json::to_value($name::from(*value)).unwrap();
                    assert_eq!(word, value.as_str());
                    assert_eq!(engine::$name::from($name::from(*value)), *value);
                } )*
            }
        }
    };
}

words! {
    /// The kind of a timeline entry.
    EntryKind {
        /// A text that someone wrote.
        Text,
        /// An action ("/me waves").
        Action,
        /// A file.
        File,
        /// Something that happened.
        Event,
    }
    /// Who may post in a room.
    RoomKind {
        /// Every member.
        Normal,
        /// Presenters only.
        Auditorium,
    }
    /// Who finds and joins a room.
    Privacy {
        /// Anyone in the category's scope.
        Open,
        /// Found by anyone in scope, used by members.
        Closed,
        /// Members only.
        Secret,
    }
    /// Invitations of a room.
    Invitations {
        /// As the category says.
        Inherit,
        /// None.
        Off,
    }
    /// The sort of a principal.
    PrincipalKind {
        /// Somebody who can sign in.
        User,
        /// A group of principals.
        Group,
        /// An author known only from imported history.
        Imported,
    }
    /// Who may edit or redact a message.
    ChangePolicy {
        /// Nobody.
        Nobody,
        /// Managers and administrators.
        Managers,
        /// Also the author.
        Authors,
    }
}

/// A role in a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Reads and, in a normal room, posts.
    Member,
    /// Changes the room and its members.
    Manager,
    /// Posts in an auditorium.
    Presenter,
}

impl Role {
    /// The roles of a set, member first.
    #[must_use]
    pub fn of(roles: engine::Roles) -> Vec<Self> {
        let all = [
            (engine::Roles::MEMBER, Self::Member),
            (engine::Roles::MANAGER, Self::Manager),
            (engine::Roles::PRESENTER, Self::Presenter),
        ];
        all.into_iter().filter(|(bits, _)| roles.contains(*bits)).map(|(_, role)| role).collect()
    }

    /// The set of some roles; everybody in a room is a member.
    #[must_use]
    pub fn set(roles: &[Self]) -> engine::Roles {
        roles.iter().fold(engine::Roles::MEMBER, |set, role| {
            set.with(match role {
                Self::Member => engine::Roles::MEMBER,
                Self::Manager => engine::Roles::MANAGER,
                Self::Presenter => engine::Roles::PRESENTER,
            })
        })
    }
}
