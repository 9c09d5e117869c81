//! What the policy reads: three sorts of rows and one membership.
//!
//! A trait, so that the decisions are tested on plain tables. It is implemented for the engine's
//! directory, whose reads take microseconds and never wait.

use std::sync::Arc;

use hansard_engine::Directory;
use hansard_engine::catalog::rows::{CategoryRow, RoomRow};
use hansard_engine::error::Result;
use hansard_engine::format::payload::Roles;
use hansard_engine::types::{CategoryId, Lsn, PrincipalId, RoomId};

/// The rows that rights are computed from.
pub trait Rights {
    /// The position these rows stand at, at least.
    fn applied(&self) -> Lsn;

    /// A room, also a deleted one.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn room(&self, room: RoomId) -> Result<Option<Arc<RoomRow>>>;

    /// A category.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn category(&self, category: CategoryId) -> Result<Option<Arc<CategoryRow>>>;

    /// What a principal is in a room.
    ///
    /// # Errors
    /// If the rows cannot be read.
    fn member(&self, room: RoomId, principal: PrincipalId) -> Result<Option<Roles>>;
}

impl Rights for Directory {
    fn applied(&self) -> Lsn {
        Self::applied(self)
    }

    fn room(&self, room: RoomId) -> Result<Option<Arc<RoomRow>>> {
        // The reserved rooms are never shown, whatever rows they may have.
        if room.is_system() { Ok(None) } else { Self::room(self, room) }
    }

    fn category(&self, category: CategoryId) -> Result<Option<Arc<CategoryRow>>> {
        Self::category(self, category)
    }

    fn member(&self, room: RoomId, principal: PrincipalId) -> Result<Option<Roles>> {
        Self::member(self, room, principal)
    }
}
