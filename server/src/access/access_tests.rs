//! The policy on plain tables: who may do what, room by room.
//!
//! Each test reads as a table of (principal, expected answer), so that a change of the policy shows
//! as a change of a table.

use std::collections::HashMap;

use hansard_engine::error::Result;
use hansard_engine::format::payload::{
    CategorySettings, ChangePolicy, Invitations, PrincipalSettings, Retention, RoomSettings,
};
use hansard_engine::types::TimeUs;

use super::*;

const CATEGORY: CategoryId = CategoryId(100);
const WALLED: PrincipalId = PrincipalId(201);
const MEMBER: PrincipalId = PrincipalId(202);
const STRANGER: PrincipalId = PrincipalId(203);
const MANAGER: PrincipalId = PrincipalId(204);
const PRESENTER: PrincipalId = PrincipalId(205);
const ADMIN: PrincipalId = PrincipalId(206);
const OUTSIDER: PrincipalId = PrincipalId(207);
const ALL: [PrincipalId; 7] = [WALLED, MEMBER, STRANGER, MANAGER, PRESENTER, ADMIN, OUTSIDER];

#[derive(Default)]
struct Tables {
    rooms: HashMap<RoomId, RoomRow>,
    categories: HashMap<CategoryId, CategoryRow>,
    members: HashMap<(RoomId, PrincipalId), Roles>,
}

impl Rights for Tables {
    fn applied(&self) -> Lsn {
        Lsn(77)
    }

    fn room(&self, room: RoomId) -> Result<Option<Arc<RoomRow>>> {
        Ok(self.rooms.get(&room).cloned().map(Arc::new))
    }

    fn category(&self, category: CategoryId) -> Result<Option<Arc<CategoryRow>>> {
        Ok(self.categories.get(&category).cloned().map(Arc::new))
    }

    fn member(&self, room: RoomId, principal: PrincipalId) -> Result<Option<Roles>> {
        Ok(self.members.get(&(room, principal)).copied())
    }
}

fn principal(id: PrincipalId) -> PrincipalRow {
    PrincipalRow {
        id,
        settings: PrincipalSettings {
            kind: PrincipalKind::User,
            name: format!("{id}"),
            source: String::new(),
            password: None,
            administrator: id == ADMIN,
            disabled: false,
        },
        changed: Lsn(1),
        created: TimeUs(0),
    }
}

fn category() -> CategoryRow {
    let allowed = vec![WALLED, MEMBER, STRANGER, MANAGER, PRESENTER];
    CategoryRow {
        id: CATEGORY,
        settings: CategorySettings {
            name: "c".into(),
            description: String::new(),
            allowed,
            denied: vec![WALLED],
            creators: vec![MANAGER, WALLED, OUTSIDER],
            invitations: true,
            uploads: true,
            history: true,
            retention: Retention::ALL,
            edit: ChangePolicy::Nobody,
            redact: ChangePolicy::Nobody,
            read_audit: false,
        },
        changed: Lsn(2),
        created: TimeUs(0),
    }
}

/// One room in one category; WALLED and OUTSIDER have old memberships out of scope.
fn tables(privacy: Privacy, kind: RoomKind) -> (Tables, RoomId) {
    let id = RoomId(1000);
    let settings = RoomSettings {
        category: CATEGORY,
        name: "r".into(),
        description: String::new(),
        topic: String::new(),
        kind,
        privacy,
        invitations: Invitations::Inherit,
        disabled: false,
        continues: RoomId::NONE,
        retention: None,
    };
    let room = RoomRow {
        id,
        settings,
        changed: Lsn(3),
        created: TimeUs(0),
        creator: MANAGER,
        deleted: false,
    };
    let mut tables = Tables::default();
    tables.rooms.insert(id, room);
    tables.categories.insert(CATEGORY, category());
    for (who, roles) in [
        (WALLED, Roles::MANAGER),
        (OUTSIDER, Roles::MEMBER),
        (MEMBER, Roles::MEMBER),
        (MANAGER, Roles::MANAGER),
        (PRESENTER, Roles::PRESENTER),
    ] {
        tables.members.insert((id, who), roles);
    }
    (tables, id)
}

/// The answer in a word: `yes`, `administrator`, `absent`, or a code.
fn word(answer: Answer<Seen>) -> &'static str {
    match answer {
        Ok(seen) => {
            assert_eq!(seen.grant.checked_at, Lsn(77));
            if seen.grant.as_administrator { "administrator" } else { "yes" }
        }
        Err(Refusal::Absent) => "absent",
        Err(Refusal::Forbidden(code)) => code.as_str(),
        Err(Refusal::Failed(error)) => panic!("{error}"),
    }
}

fn answers(
    tables: &Tables,
    ask: impl Fn(&Access<'_, Tables>) -> Answer<Seen>,
) -> [&'static str; 7] {
    ALL.map(|id| {
        let who = principal(id);
        word(ask(&Access::begin(tables, &who)))
    })
}

#[test]
fn open_rooms_are_used_by_anyone_in_scope() {
    let (tables, id) = tables(Privacy::Open, RoomKind::Normal);
    let all = ["absent", "yes", "yes", "yes", "yes", "administrator", "absent"];
    assert_eq!(answers(&tables, |access| access.may_find_room(id)), all);
    assert_eq!(answers(&tables, |access| access.may_read_room(id)), all);
    assert_eq!(answers(&tables, |access| access.may_post(id)), all);
    assert_eq!(answers(&tables, |access| access.may_join(id)), all);
}

#[test]
fn closed_rooms_are_found_by_anyone_in_scope_and_used_by_members() {
    let (tables, id) = tables(Privacy::Closed, RoomKind::Normal);
    let found = ["absent", "yes", "yes", "yes", "yes", "administrator", "absent"];
    let used = ["absent", "yes", "forbidden", "yes", "yes", "administrator", "absent"];
    assert_eq!(answers(&tables, |access| access.may_find_room(id)), found);
    assert_eq!(answers(&tables, |access| access.may_read_room(id)), used);
    assert_eq!(answers(&tables, |access| access.may_post(id)), used);
    assert_eq!(answers(&tables, |access| access.may_join(id)), used);
}

#[test]
fn secret_rooms_do_not_exist_for_others() {
    let (tables, id) = tables(Privacy::Secret, RoomKind::Normal);
    let all = ["absent", "yes", "absent", "yes", "yes", "administrator", "absent"];
    assert_eq!(answers(&tables, |access| access.may_find_room(id)), all);
    assert_eq!(answers(&tables, |access| access.may_read_room(id)), all);
    assert_eq!(answers(&tables, |access| access.may_post(id)), all);
    assert_eq!(answers(&tables, |access| access.may_join(id)), all);
}

#[test]
fn only_presenters_post_in_an_auditorium() {
    let (tables, id) = tables(Privacy::Open, RoomKind::Auditorium);
    let only = "presenters-only";
    assert_eq!(
        answers(&tables, |access| access.may_post(id)),
        ["absent", only, only, only, "yes", only, "absent"]
    );
}

#[test]
fn managers_manage_and_only_administrators_delete() {
    let (tables, id) = tables(Privacy::Closed, RoomKind::Normal);
    let no = "forbidden";
    assert_eq!(
        answers(&tables, |access| access.may_manage_room(id)),
        ["absent", no, no, "yes", no, "administrator", "absent"]
    );
    assert_eq!(
        answers(&tables, |access| access.may_administer_room(id)),
        ["absent", no, no, no, no, "administrator", "absent"]
    );
}

#[test]
fn disabled_rooms_are_hidden_and_deleted_ones_are_gone() {
    let (mut tables, id) = tables(Privacy::Open, RoomKind::Normal);
    tables.rooms.get_mut(&id).unwrap().settings.disabled = true;
    let hidden = ["absent", "absent", "absent", "absent", "absent", "administrator", "absent"];
    assert_eq!(answers(&tables, |access| access.may_find_room(id)), hidden);
    assert_eq!(answers(&tables, |access| access.may_read_room(id)), hidden);
    tables.rooms.get_mut(&id).unwrap().deleted = true;
    assert_eq!(answers(&tables, |access| access.may_find_room(id)), ["absent"; 7]);
    assert_eq!(answers(&tables, |access| access.may_manage_room(id)), ["absent"; 7]);
}

#[test]
fn an_empty_scope_is_for_administrators_and_everyone_means_everyone() {
    let (mut tables, id) = tables(Privacy::Open, RoomKind::Normal);
    tables.categories.get_mut(&CATEGORY).unwrap().settings.allowed.clear();
    assert_eq!(
        answers(&tables, |access| access.may_read_room(id)),
        ["absent", "absent", "absent", "absent", "absent", "administrator", "absent"]
    );
    tables.categories.get_mut(&CATEGORY).unwrap().settings.allowed = vec![PrincipalId::EVERYONE];
    assert_eq!(
        answers(&tables, |access| access.may_read_room(id)),
        ["absent", "yes", "yes", "yes", "yes", "yes", "yes"]
    );
}

#[test]
fn creators_must_be_in_scope() {
    let (tables, _) = tables(Privacy::Open, RoomKind::Normal);
    let may = |id: PrincipalId| {
        let who = principal(id);
        match Access::begin(&tables, &who).may_create_room(CATEGORY) {
            Ok(_) => "yes",
            Err(Refusal::Absent) => "absent",
            Err(_) => "forbidden",
        }
    };
    assert_eq!(
        ALL.map(may),
        ["absent", "forbidden", "forbidden", "yes", "forbidden", "yes", "absent"]
    );
}

#[test]
fn the_disabled_the_imported_and_groups_may_nothing() {
    let (tables, id) = tables(Privacy::Open, RoomKind::Normal);
    let mut disabled = principal(ADMIN);
    disabled.settings.disabled = true;
    let mut imported = principal(MEMBER);
    imported.settings.kind = PrincipalKind::Imported;
    let mut group = principal(MANAGER);
    group.settings.kind = PrincipalKind::Group;
    for who in [disabled, imported, group] {
        let access = Access::begin(&tables, &who);
        assert_eq!(word(access.may_read_room(id)), "absent");
        assert_eq!(word(access.may_post(id)), "absent");
        assert!(access.may_administer().is_err());
        assert!(access.may_create_room(CATEGORY).is_err());
    }
}

#[test]
fn a_member_out_of_scope_may_still_leave_and_nothing_else() {
    let (tables, id) = tables(Privacy::Secret, RoomKind::Normal);
    let who = principal(OUTSIDER);
    assert!(Access::begin(&tables, &who).may_leave(id).is_ok());
    assert_eq!(word(Access::begin(&tables, &who).may_read_room(id)), "absent");
    let stranger = principal(STRANGER);
    assert!(Access::begin(&tables, &stranger).may_leave(id).is_err());
}

#[test]
fn denied_and_absent_are_the_same_problem() {
    let (tables, id) = tables(Privacy::Secret, RoomKind::Normal);
    let who = principal(STRANGER);
    let access = Access::begin(&tables, &who);
    let denied = Problem::from(access.may_read_room(id).unwrap_err());
    let absent = Problem::from(access.may_read_room(RoomId(4242)).unwrap_err());
    assert_eq!(denied, absent);
}
