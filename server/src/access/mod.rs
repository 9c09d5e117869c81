//! The one module that answers "may X do Y". Every door calls it; no door decides by itself.
//!
//! The questions are pure functions over three rows and one membership; they append nothing and
//! render nothing. INVARIANT: what a principal may not know of is `Absent`, as if it did not
//! exist; `Forbidden` is said only of what he sees. INVARIANT: `checked_at` is taken before the
//! first read.

mod rights;

pub use rights::Rights;

use std::sync::Arc;

use hansard_engine::catalog::rows::{CategoryRow, PrincipalRow, RoomRow};
use hansard_engine::error::Error;
use hansard_engine::format::payload::{ChangePolicy, PrincipalKind, Privacy, Roles, RoomKind};
use hansard_engine::types::{CategoryId, Lsn, PrincipalId, RoomId, TokenId};

use crate::problem::{Code, Problem};

/// What somebody wants to do to a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amend {
    /// Let it say something else; what it said is kept.
    Edit,
    /// Hide it from people.
    Redact,
}

/// A yes, and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The catalog position before the check's first read: goes into the draft.
    pub checked_at: Lsn,
    /// True if only the administrator's right gave the yes: its use is an event.
    pub as_administrator: bool,
}

/// A no.
#[derive(Clone, Debug)]
pub enum Refusal {
    /// Denied and absent alike.
    Absent,
    /// Seen, but not allowed.
    Forbidden(Code),
    /// The rows could not be read.
    Failed(Error),
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Absent => Self::not_found(),
            Refusal::Forbidden(code) => Self::new(code),
            Refusal::Failed(error) => Self::from(error),
        }
    }
}

/// An answer.
pub type Answer<T> = Result<T, Refusal>;

/// A room that the asker may know of, with what the check read.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The room.
    pub room: Arc<RoomRow>,
    /// Its category.
    pub category: Arc<CategoryRow>,
    /// What the asker is there; none if he is no member or out of scope.
    pub roles: Option<Roles>,
    /// Whether the category's scope holds him.
    pub in_scope: bool,
    /// What the yes rests on.
    pub grant: Grant,
}

impl Seen {
    fn is(&self, roles: Roles) -> bool {
        self.roles.is_some_and(|mine| mine.contains(roles))
    }

    fn by_administrator(mut self) -> Self {
        self.grant.as_administrator = true;
        self
    }
}

/// One principal asking at one position of the catalog.
pub struct Access<'a, R> {
    rights: &'a R,
    who: &'a PrincipalRow,
    checked_at: Lsn,
}

impl<'a, R: Rights> Access<'a, R> {
    /// Begins a check: takes the position before anything is read.
    pub fn begin(rights: &'a R, who: &'a PrincipalRow) -> Self {
        Self { rights, who, checked_at: rights.applied() }
    }

    /// Begins a check whose first read was at `checked_at`.
    pub const fn since(rights: &'a R, who: &'a PrincipalRow, checked_at: Lsn) -> Self {
        Self { rights, who, checked_at }
    }

    /// Who asks.
    #[must_use]
    pub const fn who(&self) -> &PrincipalRow {
        self.who
    }

    /// May he do anything at all?
    ///
    /// # Errors
    /// `Absent` for the disabled, for groups and for imported authors.
    pub fn may_act(&self) -> Answer<Grant> {
        if acts(self.who) { Ok(self.grant(false)) } else { Err(Refusal::Absent) }
    }

    /// May he administer: users, categories, settings, compliance events?
    ///
    /// # Errors
    /// `Forbidden` for everybody else.
    pub fn may_administer(&self) -> Answer<Grant> {
        self.may_act()?;
        if self.who.settings.administrator {
            Ok(self.grant(false))
        } else {
            Err(Refusal::Forbidden(Code::Forbidden))
        }
    }

    /// May he know of this room?
    ///
    /// # Errors
    /// `Absent` if not.
    pub fn may_find_room(&self, room: RoomId) -> Answer<Seen> {
        self.may_act()?;
        let room = self.rights.room(room)?.filter(|row| !row.deleted).ok_or(Refusal::Absent)?;
        self.find(room)
    }

    /// The same for a row at hand, which lists use.
    ///
    /// # Errors
    /// `Absent` if not.
    pub fn may_find_row(&self, room: Arc<RoomRow>) -> Answer<Seen> {
        self.may_act()?;
        if room.deleted { Err(Refusal::Absent) } else { self.find(room) }
    }

    /// May he read its history, its changes and its members?
    ///
    /// # Errors
    /// `Forbidden` in a closed room that he only finds; `Absent` where he may not even find it.
    pub fn may_read_room(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_find_room(room)?;
        let open = seen.in_scope && seen.room.settings.privacy == Privacy::Open;
        let usable = !seen.room.settings.disabled && (open || seen.is(Roles::MEMBER));
        self.or_administrator(seen, usable, Code::Forbidden)
    }

    /// May he post in it?
    ///
    /// # Errors
    /// `Forbidden(PresentersOnly)` in an auditorium, also for managers and administrators;
    /// else as for reading.
    pub fn may_post(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_read_room(room)?;
        if seen.room.settings.kind == RoomKind::Auditorium {
            let usable = !seen.room.settings.disabled && seen.is(Roles::PRESENTER);
            return match usable {
                true => Ok(seen),
                false => Err(Refusal::Forbidden(Code::PresentersOnly)),
            };
        }
        Ok(seen)
    }

    /// May he edit or redact this author's messages in it?
    ///
    /// # Errors
    /// `Forbidden` where the category's policy does not let him; else as for reading.
    pub fn may_amend(&self, room: RoomId, author: PrincipalId, how: Amend) -> Answer<Seen> {
        let seen = self.may_read_room(room)?;
        let policy = match how {
            Amend::Edit => seen.category.settings.edit,
            Amend::Redact => seen.category.settings.redact,
        };
        if policy == ChangePolicy::Nobody {
            return Err(Refusal::Forbidden(Code::Forbidden));
        }
        // Whoever reads as an administrator only is no author here any more.
        let own = policy == ChangePolicy::Authors && author == self.who.id;
        let ordinary = !seen.grant.as_administrator && (own || seen.is(Roles::MANAGER));
        self.or_administrator(seen, ordinary, Code::Forbidden)
    }

    /// May he read what redacted messages said?
    ///
    /// # Errors
    /// `Forbidden` for all but administrators who may read the room.
    pub fn may_read_redacted(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_read_room(room)?;
        self.or_administrator(seen, false, Code::Forbidden)
    }

    /// May he become a member by himself?
    ///
    /// # Errors
    /// `Forbidden` unless the room is open and he is in scope, or already a member.
    pub fn may_join(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_find_room(room)?;
        let open = seen.in_scope && seen.room.settings.privacy == Privacy::Open;
        let usable = !seen.room.settings.disabled && (open || seen.is(Roles::MEMBER));
        self.or_administrator(seen, usable, Code::Forbidden)
    }

    /// May he leave it?
    ///
    /// # Errors
    /// `Absent` where he may not find it and is no member.
    pub fn may_leave(&self, room: RoomId) -> Answer<Grant> {
        self.may_act()?;
        if let Ok(seen) = self.may_find_room(room) {
            return Ok(seen.grant);
        }
        let row = self.rights.room(room)?.filter(|row| !row.deleted && !row.settings.disabled);
        match (row, self.rights.member(room, self.who.id)?) {
            (Some(_), Some(_)) => Ok(self.grant(false)),
            _ => Err(Refusal::Absent),
        }
    }

    /// May he change the room (but for category and deletion) and its members?
    ///
    /// # Errors
    /// `Forbidden` for those who only find it.
    pub fn may_manage_room(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_find_room(room)?;
        let manages = !seen.room.settings.disabled && seen.is(Roles::MANAGER);
        self.or_administrator(seen, manages, Code::Forbidden)
    }

    /// May he move the room to another category, or delete it?
    ///
    /// # Errors
    /// `Forbidden` for all but administrators who may know of it.
    pub fn may_administer_room(&self, room: RoomId) -> Answer<Seen> {
        let seen = self.may_find_room(room)?;
        self.may_administer()?;
        Ok(seen)
    }

    /// May he be made a member? Asked of the principal to be added, not of the asker.
    ///
    /// # Errors
    /// `Absent` for the unknown; `Forbidden` for those out of the category's scope.
    pub fn may_be_member(&self, seen: &Seen, candidate: &PrincipalRow) -> Answer<()> {
        if candidate.settings.kind == PrincipalKind::Imported {
            return Err(Refusal::Forbidden(Code::Forbidden));
        }
        if in_scope(&seen.category, candidate.id) {
            Ok(())
        } else {
            Err(Refusal::Forbidden(Code::Forbidden))
        }
    }

    /// May he know of this category?
    ///
    /// # Errors
    /// `Absent` for those out of scope.
    pub fn may_find_category(&self, category: CategoryId) -> Answer<(Arc<CategoryRow>, Grant)> {
        self.may_act()?;
        let row = self.rights.category(category)?.ok_or(Refusal::Absent)?;
        self.may_find_category_row(&row).map(|grant| (row, grant))
    }

    /// The same for a row at hand, which lists use.
    ///
    /// # Errors
    /// `Absent` for those out of scope.
    pub fn may_find_category_row(&self, row: &CategoryRow) -> Answer<Grant> {
        self.may_act()?;
        if self.who.settings.administrator || in_scope(row, self.who.id) {
            Ok(self.grant(false))
        } else {
            Err(Refusal::Absent)
        }
    }

    /// May he create rooms in this category?
    ///
    /// # Errors
    /// `Forbidden` for those who only find the category.
    pub fn may_create_room(&self, category: CategoryId) -> Answer<(Arc<CategoryRow>, Grant)> {
        let (row, grant) = self.may_find_category(category)?;
        if self.creates_in(&row) {
            Ok((row, grant))
        } else {
            Err(Refusal::Forbidden(Code::Forbidden))
        }
    }

    /// The same as a plain answer, for showing it.
    #[must_use]
    pub fn creates_in(&self, row: &CategoryRow) -> bool {
        let creator = in_scope(row, self.who.id) && lists(&row.settings.creators, self.who.id);
        acts(self.who) && (creator || self.who.settings.administrator)
    }

    /// May he see and revoke this principal's tokens, or make one for him?
    ///
    /// # Errors
    /// `Forbidden` for other people's, unless he administers.
    pub fn may_use_tokens_of(&self, principal: PrincipalId) -> Answer<Grant> {
        if principal == self.who.id { self.may_act() } else { self.may_administer() }
    }

    /// May he revoke this token? A stranger's is absent, as its id is not his to know.
    ///
    /// # Errors
    /// `Absent` for other people's, unless he administers.
    pub fn may_revoke(&self, owner: PrincipalId, _: TokenId) -> Answer<Grant> {
        self.may_use_tokens_of(owner).map_err(|_| Refusal::Absent)
    }

    fn grant(&self, as_administrator: bool) -> Grant {
        Grant { checked_at: self.checked_at, as_administrator }
    }

    /// The yes of an ordinary right, or of the administrator's, or a no.
    fn or_administrator(&self, seen: Seen, ordinary: bool, code: Code) -> Answer<Seen> {
        if ordinary {
            Ok(seen)
        } else if self.who.settings.administrator {
            Ok(seen.by_administrator())
        } else {
            Err(Refusal::Forbidden(code))
        }
    }

    fn find(&self, room: Arc<RoomRow>) -> Answer<Seen> {
        let category = self.rights.category(room.settings.category)?.ok_or(Refusal::Absent)?;
        let in_scope = in_scope(&category, self.who.id);
        let roles = match in_scope {
            // INVARIANT: a member out of the category's scope has no rights.
            true => self.rights.member(room.id, self.who.id)?,
            false => None,
        };
        let found = in_scope
            && !room.settings.disabled
            && (room.settings.privacy != Privacy::Secret || roles.is_some());
        if found || self.who.settings.administrator {
            Ok(Seen { room, category, roles, in_scope, grant: self.grant(!found) })
        } else {
            Err(Refusal::Absent)
        }
    }
}

/// Whether a principal can act at all.
fn acts(who: &PrincipalRow) -> bool {
    !who.settings.disabled && who.settings.kind == PrincipalKind::User
}

fn lists(list: &[PrincipalId], who: PrincipalId) -> bool {
    list.contains(&who) || list.contains(&PrincipalId::EVERYONE)
}

/// Whether a category's scope holds a principal: allowed, and not denied.
#[must_use]
pub fn in_scope(category: &CategoryRow, who: PrincipalId) -> bool {
    lists(&category.settings.allowed, who) && !lists(&category.settings.denied, who)
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
