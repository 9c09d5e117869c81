//! Hansard's engine: a room each, a group is one append, the default options.
//!
//! A gap that a page names is a report; a restricted opening is a refusal, and `accept_damage` is
//! what its documentation then tells the operator to do.

use std::path::Path;

use hansard_engine::draft::{Draft, Said};
use hansard_engine::format::payload::{
    CategoryCreated, CategorySettings, ChangePolicy, EntryKind, Invitations, Payload, Post,
    Privacy, Retention, RoomCreated, RoomKind, RoomSettings,
};
use hansard_engine::reads::Anchor;
use hansard_engine::types::{CategoryId, Lsn, PrincipalId, RoomId, Seq};
use hansard_engine::{Engine, Health, Options, accept_damage, system_actor};

use crate::tournament::Outcome;
use crate::tournament::contestant::{Contestant, Reader, Role, RoomRead, Writer};
use crate::tournament::load::{Message, ROOMS};

const PAGE_MESSAGES: usize = 500;

pub struct Hansard;

struct Store {
    engine: Engine,
    rooms: Vec<RoomId>,
}

fn draft(room: RoomId, payload: Payload) -> Draft {
    Draft {
        actor: system_actor(),
        checked_at: Lsn(u64::MAX),
        room,
        said: Said::Now,
        idempotency: None,
        expect: None,
        payload,
    }
}

fn category() -> Payload {
    Payload::CategoryCreated(CategoryCreated {
        settings: CategorySettings {
            name: "tournament".into(),
            description: String::new(),
            allowed: vec![PrincipalId::EVERYONE],
            denied: vec![],
            creators: vec![],
            invitations: false,
            uploads: false,
            history: true,
            retention: Retention::ALL,
            edit: ChangePolicy::Nobody,
            redact: ChangePolicy::Nobody,
            read_audit: false,
        },
    })
}

fn room(category: CategoryId, number: usize) -> Payload {
    Payload::RoomCreated(RoomCreated {
        settings: RoomSettings {
            category,
            name: format!("room-{number}"),
            description: String::new(),
            topic: String::new(),
            kind: RoomKind::Normal,
            privacy: Privacy::Open,
            invitations: Invitations::Off,
            disabled: false,
            continues: RoomId::NONE,
            retention: None,
        },
    })
}

impl Contestant for Hansard {
    fn key(&self) -> &'static str {
        "hansard"
    }

    fn title(&self) -> &'static str {
        "Hansard"
    }

    fn package(&self) -> &'static str {
        "hansard-engine"
    }

    fn settings(&self) -> &'static str {
        "an append a group; opened with defaults"
    }

    fn role(&self, path: &str) -> Role {
        match path {
            "LOCK" | "catalog/LOCK" | "catalog/LOG" => Role::Aside,
            path if path.starts_with("catalog/LOG.old") => Role::Aside,
            path if path.ends_with(".journal") => Role::Log,
            _ => Role::Table,
        }
    }

    fn create(&self, dir: &Path) -> Outcome<Box<dyn Writer>> {
        Engine::create(dir)?;
        let (engine, _) = Engine::open(dir, Options::default())?;
        let made = engine.append_and_wait(vec![draft(RoomId::NONE, category())])?;
        let category = made.first().ok_or("no category")?.category_id();
        let mut rooms = Vec::new();
        for number in 1..=ROOMS {
            let made = engine.append_and_wait(vec![draft(RoomId::NONE, room(category, number))])?;
            rooms.push(made.first().ok_or("no room")?.room);
        }
        // The rooms are older than the messages.
        engine.seal()?;
        Ok(Box::new(Store { engine, rooms }))
    }

    fn open(&self, dir: &Path) -> Outcome<Box<dyn Reader>> {
        let (engine, _) = Engine::open(dir, Options::default())?;
        if let Health::Restricted { holes } = engine.health() {
            return Err(format!("restricted: log positions {holes:?} are lost").into());
        }
        Ok(Box::new(Store { engine, rooms: Vec::new() }))
    }

    fn repair(&self, dir: &Path) -> Option<Outcome<()>> {
        Some(accept_damage(dir, Options::default()).map(drop).map_err(Into::into))
    }
}

impl Writer for Store {
    fn rooms(&self) -> Vec<u64> {
        self.rooms.iter().map(|room| room.0).collect()
    }

    fn commit(&mut self, group: &[Message]) -> Outcome<()> {
        let mut drafts = Vec::new();
        for message in group {
            let room = *self.rooms.get(message.room).ok_or("no such room")?;
            let body = message.body.to_owned();
            let post = Post { kind: EntryKind::Text, body, reply_to: Seq::ZERO, import: None };
            drafts.push(draft(room, Payload::Post(post)));
        }
        let made = self.engine.append_and_wait(drafts)?;
        let seqs = made.iter().map(|appended| appended.seq.0);
        if !seqs.eq(group.iter().map(|message| message.seq)) {
            return Err("a message got another seq".into());
        }
        Ok(())
    }

    fn settle(&mut self) -> Outcome<()> {
        Ok(self.engine.seal()?)
    }

    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(self.engine.close()?)
    }
}

impl Reader for Store {
    fn room(&self, room: u64, read: &mut RoomRead) -> Outcome<()> {
        let mut at = Anchor::At(Seq(1));
        loop {
            let page = self.engine.page(RoomId(room), at, PAGE_MESSAGES)?;
            read.gaps.extend(page.gaps.iter().map(|gap| (gap.from_seq.0, gap.to_seq.0)));
            for record in page.records {
                if let Payload::Post(post) = record.payload {
                    read.messages.push((record.seq.0, post.body.into_bytes()));
                }
            }
            match page.newer {
                Some(seq) => at = Anchor::After(seq),
                None => return Ok(()),
            }
        }
    }

    fn one(&self, room: u64, seq: u64) -> Outcome<Option<Vec<u8>>> {
        let record = self.engine.entry(RoomId(room), Seq(seq))?;
        Ok(record.and_then(|record| match record.payload {
            Payload::Post(post) => Some(post.body.into_bytes()),
            _ => None,
        }))
    }
}
