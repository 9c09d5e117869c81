//! Reads of a directory that may be damaged: everything once, within a bound of calls.
//!
//! `exact` compares with what was said: an entry is as it was, or it is named as missing. `bounded`
//! compares nothing; it looks at every door that reads bytes.

use std::collections::BTreeSet;

use hansard_engine::Engine;
use hansard_engine::format::payload::{LsnSpan, Payload};
use hansard_engine::reads::{Anchor, CategoryRequest, Order};
use hansard_engine::types::*;

use crate::directory::Base;

/// Pages of one walk at most: a forged head may promise more entries than there are.
const PAGES_MAX: usize = 3;

/// What may be missing without a gap.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    pub holes: Vec<LsnSpan>,
    /// Records behind this one may have been cut.
    pub cut_after: Option<Lsn>,
    /// More was damaged than the promises can tell.
    pub anything: bool,
}

impl Leave {
    fn covers(&self, lsn: Lsn) -> bool {
        self.anything
            || self.holes.iter().any(|hole| hole.first <= lsn && lsn <= hole.last)
            || self.cut_after.is_some_and(|last| lsn > last)
    }
}

/// Every entry of every room: exact, or missing where that is said.
pub fn exact(engine: &Engine, base: &Base, leave: &Leave, what: &str) {
    for (room, said) in &base.rooms {
        let mut seen = BTreeSet::new();
        let mut gaps = Vec::new();
        let mut at = Anchor::At(Seq(1));
        loop {
            let page = engine.page(*room, at, 500).expect(what);
            for record in &page.records {
                let index = usize::try_from(record.seq.0 - 1).expect(what);
                let Payload::Post(post) = &record.payload else { panic!("{what}: {record:?}") };
                // What is said behind the damage is not compared here.
                if let Some(entry) = said.get(index).filter(|_| post.body != AFTERWARDS) {
                    assert_eq!(post.body, entry.body, "{what}: {room} {}", record.seq);
                    let place = (record.lsn, record.rev);
                    assert_eq!(place, (entry.lsn, entry.rev), "{what}: {room} {}", record.seq);
                    assert!(seen.insert(index), "{what}: {room} {} twice", record.seq);
                } else {
                    assert_eq!(post.body, AFTERWARDS, "{what}: {room} {}", record.seq);
                }
            }
            gaps.extend(page.gaps);
            match page.newer {
                Some(seq) => at = Anchor::After(seq),
                None => break,
            }
        }
        for (index, entry) in said.iter().enumerate().filter(|(index, _)| !seen.contains(index)) {
            let seq = Seq(index as u64 + 1);
            let gap = gaps.iter().any(|gap| gap.from_seq <= seq && seq <= gap.to_seq);
            let named = gap || leave.covers(entry.lsn);
            assert!(named, "{what}: {room} {seq} {} is missing, nothing says so", entry.lsn);
        }
    }
}

/// What is posted after a start over damage.
pub const AFTERWARDS: &str = "it goes on";

/// Every kind of read, each within a bound of calls.
pub fn bounded(engine: &Engine, base: &Base) {
    for (room, _) in &base.rooms {
        let _ = engine.page(*room, Anchor::Last, 7);
        let _ = engine.page(*room, Anchor::Around(Seq(3)), 5);
        let _ = engine.page(*room, Anchor::AroundTime(crate::support::START), 5);
        let _ = engine.entries(*room, Anchor::Last, 50);
        let _ = engine.entry(*room, Seq(2));
        let _ = engine.head(*room);
        let (mut at, mut after) = (Anchor::At(Seq(1)), Rev::ZERO);
        for _ in 0..PAGES_MAX {
            match engine.page(*room, at, 9) {
                Ok(page) if page.newer.is_some() => at = Anchor::After(page.newer.expect("some")),
                _ => break,
            }
        }
        for _ in 0..PAGES_MAX {
            match engine.changes(*room, after, 12) {
                Ok(part) if part.through < part.head => after = part.through,
                _ => break,
            }
        }
    }
    for order in [Order::Ascending, Order::Descending] {
        let (from, to, category) = (TimeUs::FLOOR, TimeUs::CEILING, base.category);
        let mut request = CategoryRequest { category, from, to, order, cursor: None, limit: 25 };
        let _ = engine.category_entries(&request, &mut |_| true);
        for _ in 0..PAGES_MAX {
            match engine.category_page(&request, &mut |_| true) {
                Ok(page) if page.next.is_some() => request.cursor = page.next,
                _ => break,
            }
        }
    }
    let _ = engine.events(Lsn::ZERO, 50);
    let directory = engine.directory();
    let _ = directory.token(&base.token);
    for (room, _) in &base.rooms {
        let _ = directory.room(*room);
        let _ = directory.members(*room, PrincipalId::NONE, 20);
    }
    for name in ["one", "two", "three"] {
        let _ = directory.room_by_name(name);
    }
}
