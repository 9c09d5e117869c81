//! Reads everything back and compares it with the model.
//!
//! Undamaged, every answer is the model's; after damage, an entry is exact or named as missing.

use std::collections::{BTreeMap, BTreeSet};

use hansard_engine::Engine;
use hansard_engine::catalog::{CatalogStore, Family, Go, Walk, keys, walk_prefix};
use hansard_engine::expire::Due;
use hansard_engine::format::payload::{Payload, Retention};
use hansard_engine::format::record::Record;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::proof::Tree;
use hansard_engine::proof::leaf::record_leaf;
use hansard_engine::proof::note::open_note;
use hansard_engine::reads::{
    Amendment, Anchor, CategoryEntry, CategoryPage, CategoryRequest, GapReason, Order, Page,
};
use hansard_engine::types::*;

use super::choices::Choices;
use super::facts::{Effect, Facts, Room};

/// What may be missing, and why.
#[derive(Clone, Debug, Default)]
pub struct Leave {
    /// Bytes were damaged: messages may be missing where a gap says so.
    pub gaps: bool,
    /// Places of the log whose loss was named when the engine opened.
    pub holes: Vec<(Lsn, Lsn)>,
    /// Records behind this one stood under no promise yet.
    pub unprotected_after: Option<Lsn>,
    /// Rights were lost and accepted as such: names and members are not compared.
    pub accepted: bool,
}

impl Leave {
    fn named(&self, lsn: Lsn) -> bool {
        self.holes.iter().any(|(first, last)| *first <= lsn && lsn <= *last)
            || self.unprotected_after.is_some_and(|protected| lsn > protected)
    }
}

fn body(record: &Record) -> &str {
    match &record.payload {
        Payload::Post(post) => &post.body,
        other => panic!("not a post: {other:?}"),
    }
}

/// What a page shows of an entry; none if it is hidden from people.
fn shown<'a>(record: &'a Record, amended: &[Amendment]) -> Option<&'a str> {
    let of_it = |a: &&Amendment| (a.room, a.seq) == (record.room, record.seq);
    let redacted = amended.iter().find(of_it).is_some_and(|a| a.redacted);
    assert!(!redacted || body(record).is_empty(), "the words of a redacted entry");
    (!redacted).then(|| body(record))
}

/// Compares the whole history of every room, the order of categories, and the directory.
pub fn everything(
    engine: &Engine,
    facts: &mut Facts,
    leave: &Leave,
    choices: &mut Choices,
    what: &str,
) {
    for index in 0..facts.rooms.len() {
        walk(engine, &mut facts.rooms[index], leave, choices, what);
        changes(engine, &facts.rooms[index], leave, choices, what);
        if !leave.gaps && leave.unprotected_after.is_none() {
            versions(engine, &facts.rooms[index], choices, what);
        }
    }
    if !leave.accepted && leave.unprotected_after.is_none() {
        for index in 0..facts.categories.len() {
            category(engine, facts, index, leave, choices, what);
        }
    }
    if !leave.accepted {
        directory(engine, facts, leave, what);
    }
}

/// A page, which says the same as its stored bytes do.
fn page(engine: &Engine, room: RoomId, at: Anchor, limit: usize) -> Page {
    let page = engine.page(room, at, limit).unwrap();
    let raw = engine.entries(room, at, limit).unwrap();
    let ends = (&raw.amended, &raw.gaps, raw.older, raw.newer);
    assert_eq!(ends, (&page.amended, &page.gaps, page.older, page.newer), "{room} {at:?}");
    assert_eq!(raw.entries.len(), page.records.len(), "{room} {at:?}");
    for (entry, record) in raw.entries.iter().zip(&page.records) {
        assert_eq!((entry.seq, &entry.record().unwrap()), (record.seq, record), "{room} {at:?}");
        let Payload::Post(post) = &record.payload else { panic!("{record:?} is no entry") };
        assert_eq!(entry.body().unwrap(), post.body, "{room} {at:?}");
        assert_eq!(entry.words().unwrap(), post.body.as_bytes(), "{room} {at:?}");
    }
    page
}

/// A page of a category, which says the same as its stored bytes do.
fn category_page(engine: &Engine, request: &CategoryRequest) -> CategoryPage {
    let page = engine.category_page(request, &mut |_| true).unwrap();
    let raw = engine.category_entries(request, &mut |_| true).unwrap();
    let rest = (&raw.amended, &raw.gaps, raw.next, raw.blocks_overlapping);
    let expected = (&page.amended, &page.gaps, page.next, page.blocks_overlapping);
    assert_eq!(rest, expected, "{request:?}");
    // The first has learned which seconds the blocks that it opened have entries in.
    assert!(raw.blocks <= page.blocks, "{request:?}");
    assert_eq!(raw.entries.len(), page.records.len(), "{request:?}");
    for (found, record) in raw.entries.iter().zip(&page.records) {
        let CategoryEntry { room, time, entry } = found;
        let place = (*room, *time, entry.seq);
        assert_eq!(place, (record.room, record.time, record.seq), "{request:?}");
        assert_eq!(&entry.record().unwrap(), record, "{request:?}");
    }
    page
}

/// Walks a room forwards: every entry exactly once, or inside a gap.
fn walk(engine: &Engine, room: &mut Room, leave: &Leave, choices: &mut Choices, what: &str) {
    let mut seen = BTreeSet::new();
    let mut missing = BTreeSet::new();
    let mut expired = BTreeSet::new();
    let mut erased = BTreeSet::new();
    let mut at = Anchor::At(Seq(1));
    loop {
        let page = page(engine, room.id, at, 1 + choices.below(40));
        for record in &page.records {
            let index = usize::try_from(record.seq.0 - 1).unwrap();
            let Some(entry) = room.entries.get_mut(index) else {
                panic!("{what}: {} holds {} that nobody said", room.id, record.seq)
            };
            let place = (record.lsn, record.rev);
            assert_eq!(place, (entry.lsn, entry.rev), "{what}: {} {}", room.id, record.seq);
            let (shown, may_show) =
                (shown(record, &page.amended), entry.may_show(|l| leave.named(l)));
            assert!(may_show.contains(&shown), "{what}: {} {} {shown:?}", room.id, record.seq);
            let time = *entry.time.get_or_insert(record.time);
            assert_eq!(record.time, time, "{what}: {} {}", room.id, record.seq);
            assert!(seen.insert(record.seq), "{what}: {} {} twice", room.id, record.seq);
        }
        for gap in &page.gaps {
            let places = (gap.from_seq.0..=gap.to_seq.0).map(Seq);
            match gap.reason {
                GapReason::Expired => expired.extend(places),
                GapReason::Erased => erased.extend(places),
                _ => missing.extend(places),
            }
        }
        match page.newer {
            Some(seq) => at = Anchor::After(seq),
            None => break,
        }
    }
    let (certain, possible) = (room.certain_floor(|l| leave.named(l)), room.floor());
    let told = expired.len() as u64;
    assert!((certain.0..=possible.0).contains(&told), "{what}: {} {told} expired", room.id);
    assert!(expired.last().is_none_or(|last| last.0 == told), "{what}: not the oldest");
    for (index, entry) in room.entries.iter().enumerate() {
        let seq = Seq(index as u64 + 1);
        if expired.contains(&seq) {
            assert!(!seen.contains(&seq), "{what}: {} {seq} is expired", room.id);
            continue;
        }
        let gone = entry.erased.is_some_and(|lsn| !leave.named(lsn));
        assert!(!(gone && seen.contains(&seq)), "{what}: {} {seq} is erased", room.id);
        if erased.contains(&seq) {
            assert!(entry.erased.is_some(), "{what}: {} {seq} is not erased", room.id);
            continue;
        }
        let gap = leave.gaps && missing.contains(&seq);
        let there = seen.contains(&seq);
        assert!(
            !there || !missing.contains(&seq),
            "{what}: {} {seq} (lsn {}) is there and said to be missing",
            room.id,
            entry.lsn
        );
        // An erased entry whose bytes are gone, and then the record that says so was lost, too.
        let was_erased = entry.erased.is_some_and(|lsn| leave.named(lsn));
        // The same of one that retention took.
        let had_expired = certain < seq && seq <= possible;
        assert!(
            there || gap || was_erased || had_expired || leave.named(entry.lsn),
            "{what}: {} {seq} (lsn {}) is missing and nothing says so",
            room.id,
            entry.lsn
        );
    }
}

/// Follows a room by rev: dense, and holes only where messages are missing.
fn changes(engine: &Engine, room: &Room, leave: &Leave, choices: &mut Choices, what: &str) {
    let mut after = Rev::ZERO;
    let mut next = Rev(1);
    loop {
        let part = engine.changes(room.id, after, 1 + choices.below(60)).unwrap();
        assert!(part.holes.is_empty() || leave.gaps, "{what}: {} {:?}", room.id, part.holes);
        let certain = room.certain_floor(|lsn| leave.named(lsn));
        let gone = |record: &Record| {
            let entry = record.payload.amends().unwrap_or(record.seq);
            entry > Seq::ZERO && entry <= certain
        };
        let takes = room.floor() > Seq::ZERO || room.entries.iter().any(|e| e.erased.is_some());
        assert!(!part.records.iter().any(gone), "{what}: {} what is expired", room.id);
        assert!(part.expired.is_empty() || takes, "{what}: {}", room.id);
        let mut holes: Vec<_> = part.holes.iter().chain(&part.expired).copied().collect();
        holes.sort_unstable();
        let mut holes = holes.into_iter().peekable();
        for record in &part.records {
            while let Some((first, last)) = holes.next_if(|(first, _)| *first == next) {
                assert!(last >= first, "{what}");
                next = last.next();
            }
            assert_eq!(record.rev, next, "{what}: {} changes", room.id);
            no_redacted_words(room, record, leave, what);
            next = next.next();
        }
        if part.through >= part.head {
            let expected = room.rev;
            let named = leave.accepted || leave.unprotected_after.is_some();
            assert!(part.head == expected || named, "{what}: {} {}", part.head, expected);
            return;
        }
        assert!(part.through > after, "{what}: no progress");
        after = part.through;
        next = after.next();
    }
}

/// Nobody who follows a room reads what is redacted by now.
fn no_redacted_words(room: &Room, record: &Record, leave: &Leave, what: &str) {
    let (seq, words) = match &record.payload {
        Payload::Post(post) => (record.seq, &post.body),
        Payload::Edited(edit) => (edit.seq, &edit.body),
        _ => return,
    };
    let entry = usize::try_from(seq.0 - 1).ok().and_then(|at| room.entries.get(at));
    if let Some(entry) = entry {
        let erased = entry.erased.is_some_and(|lsn| !leave.named(lsn));
        assert!(!erased, "{what}: {} {seq} is erased", room.id);
        let redacted = entry.changes.iter().find(|(_, body)| body.is_none());
        let redacted = redacted.is_some_and(|(lsn, _)| !leave.named(*lsn));
        assert!(!redacted || words.is_empty(), "{what}: {} {seq} is redacted", room.id);
        let first = record.seq == seq;
        let edits = || entry.changes.iter().any(|(_, body)| body.as_ref() == Some(words));
        let known = if first { *words == entry.body } else { edits() };
        assert!(words.is_empty() || known, "{what}: {} {seq} never said {words:?}", room.id);
    }
}

/// All that an entry ever said is there for those who may see it.
fn versions(engine: &Engine, room: &Room, choices: &mut Choices, what: &str) {
    let changed: Vec<usize> = (usize::try_from(room.floor().0).unwrap()..room.entries.len())
        .filter(|index| {
            let entry = &room.entries[*index];
            !entry.changes.is_empty() || entry.erased.is_some()
        })
        .collect();
    if changed.is_empty() {
        return;
    }
    let index = changed[choices.below(changed.len())];
    let entry = &room.entries[index];
    let versions = engine.versions(room.id, Seq(index as u64 + 1)).unwrap();
    if entry.erased.is_some() {
        assert_eq!(versions, None, "{what}: {} versions of what is erased", room.id);
        return;
    }
    let versions = versions.expect(what);
    let said: Vec<&str> = versions
        .records
        .iter()
        .map(|record| match &record.payload {
            Payload::Edited(edit) => edit.body.as_str(),
            _ => body(record),
        })
        .collect();
    let edits = entry.changes.iter().filter_map(|(_, body)| body.as_deref());
    let expected: Vec<&str> = std::iter::once(entry.body.as_str()).chain(edits).collect();
    assert_eq!((said, versions.damaged), (expected, 0), "{what}: {} versions", room.id);
    assert_eq!(versions.redacted, entry.is_redacted(), "{what}");
    assert_eq!(versions.redaction.is_some(), entry.is_redacted(), "{what}");
}

/// A category by time, both ways, against a sort of everything.
fn category(
    engine: &Engine,
    facts: &Facts,
    index: usize,
    leave: &Leave,
    choices: &mut Choices,
    what: &str,
) {
    let mut all = Vec::new();
    for room in facts.rooms.iter().filter(|r| r.category == index) {
        let floor = room.certain_floor(|lsn| leave.named(lsn));
        for (at, entry) in room.entries.iter().enumerate().skip(usize::try_from(floor.0).unwrap()) {
            if entry.erased.is_some_and(|lsn| !leave.named(lsn)) {
                continue;
            }
            // Of an entry that was never answered nobody knows the time.
            if let Some(time) = entry.time {
                all.push((time, room.id, Seq(at as u64 + 1)));
            } else {
                assert!(leave.gaps, "{what}: {} was never read", room.id);
            }
        }
    }
    all.sort_unstable();
    let (from, to) = match (all.first(), all.last()) {
        (Some(first), Some(last)) if choices.one_in(2) => {
            let at = |n: usize| all[n].0;
            let (a, b) = (choices.below(all.len()), choices.below(all.len()));
            (at(a.min(b)).max(first.0), at(a.max(b)).min(last.0))
        }
        _ => (TimeUs::FLOOR, TimeUs::CEILING),
    };
    all.retain(|(time, _, _)| *time >= from && *time < to);
    let order = choices.pick(&[Order::Ascending, Order::Descending]);
    if order == Order::Descending {
        all.reverse();
    }
    let mut found = Vec::new();
    let mut gaps = Vec::new();
    let mut cursor = None;
    let limit = 1 + choices.below(50);
    loop {
        let category = facts.categories[index];
        let request = CategoryRequest { category, from, to, order, cursor, limit };
        let page = category_page(engine, &request);
        assert!(leave.gaps || page.gaps.is_empty(), "{what}: {:?}", page.gaps);
        gaps.extend(page.gaps);
        assert!(page.blocks <= page.blocks_overlapping, "{what}: blocks outside the span");
        for record in &page.records {
            let room = facts.rooms.iter().find(|room| room.id == record.room).unwrap();
            let entry = &room.entries[usize::try_from(record.seq.0 - 1).unwrap()];
            let (shown, may_show) =
                (shown(record, &page.amended), entry.may_show(|l| leave.named(l)));
            assert!(may_show.contains(&shown), "{what}: {} {} {shown:?}", room.id, record.seq);
        }
        found.extend(page.records.iter().map(|r| (r.time, r.room, r.seq)));
        match page.next {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    if leave.gaps {
        let lost = |(_, room, seq): &(TimeUs, RoomId, Seq)| {
            gaps.iter().any(|g| g.room == *room && g.from_seq <= *seq && *seq <= g.to_seq)
        };
        let here: BTreeSet<_> = found.iter().copied().collect();
        for entry in all.iter().filter(|e| !here.contains(*e)) {
            assert!(lost(entry), "{what}: {entry:?} is missing from its category and not named");
        }
        all.retain(|entry| here.contains(entry));
    }
    assert_eq!(found, all, "{what}: category {index} {order:?} from {from} to {to}");
}

fn directory(engine: &Engine, facts: &Facts, leave: &Leave, what: &str) {
    let directory = engine.directory();
    for room in &facts.rooms {
        let row = directory.room(room.id).unwrap();
        let row = row.unwrap_or_else(|| panic!("{what}: room {} is gone", room.id));
        assert_eq!(row.settings.name, room.name, "{what}: {}", room.id);
        assert_eq!(row.settings.category, facts.categories[room.category], "{what}");
        let found = directory.room_by_name(&room.name).unwrap();
        assert_eq!(found.map(|r| r.id), Some(room.id), "{what}");
        let members = directory.members(room.id, PrincipalId(0), 100).unwrap();
        let members: BTreeSet<_> = members.iter().map(|m| m.principal).collect();
        let expected: BTreeSet<_> = room.members.iter().map(|u| facts.users[*u]).collect();
        assert_eq!(members, expected, "{what}: members of {}", room.id);
    }
    for token in &facts.tokens {
        let row = directory.token(&token.sha256).unwrap();
        assert_eq!(row.is_some(), token.live, "{what}: token {}", token.id);
    }
    if let Some(on) = facts.compliance
        && !leave.gaps
    {
        events(engine, facts, on, what);
    }
}

/// What was signed is what the trees were: the newest head is of the room of heads as it is, and
/// the newest listed head of a room is of as many records as it had.
pub fn signed(engine: &Engine, what: &str) {
    let Some(head) = engine.newest_head().unwrap() else { return };
    let keys = engine.head_keys().unwrap();
    assert!(open_note(&head.note, &keys).is_ok(), "{what}: signed by no key");
    let mut after = Rev::ZERO;
    let mut tree = Tree::default();
    loop {
        let page = engine.changes(RoomId::SYSTEM_HEADS, after, 500).unwrap();
        let Some(last) = page.records.last() else { break };
        after = last.rev;
        for record in page.records {
            if tree.size() == head.checkpoint.size {
                assert_eq!(tree.root(), head.checkpoint.root, "{what}: another root was signed");
            }
            let salts = engine.salts(record.lsn).unwrap();
            tree.push(record_leaf(&record, salts.as_ref()));
            if let Payload::RoomHeads(heads) = &record.payload {
                for head in &heads.heads {
                    let tree = engine.tree(head.room).unwrap();
                    assert!(tree.size() >= head.size, "{what}: {head:?} was signed");
                    if tree.size() == head.size {
                        assert_eq!(tree.root(), head.root, "{what}: {head:?} was signed");
                    }
                }
            }
        }
    }
}

/// Every record behind the one that turned compliance on, once and in order.
fn events(engine: &Engine, facts: &Facts, on: Lsn, what: &str) {
    let mut next = on;
    let mut after = Lsn::ZERO;
    let mut bodies = BTreeMap::new();
    let entries = || facts.rooms.iter().flat_map(|r| &r.entries);
    let gone = entries().filter(|e| e.erased.is_some()).flat_map(|e| e.lsns());
    let gone: BTreeSet<Lsn> = gone.collect();
    loop {
        let (records, more) = engine.events(after, 100).unwrap();
        for record in records {
            if facts.own.contains(&record.lsn) {
                // A key that signs heads.
                continue;
            }
            while gone.contains(&next) || facts.own.contains(&next) {
                next = next.next();
            }
            assert_eq!(record.lsn, next, "{what}: compliance events");
            next = next.next();
            if let Payload::Post(post) = record.payload {
                bodies.insert(record.lsn, post.body);
            }
        }
        match more {
            Some(lsn) => after = lsn,
            None => break,
        }
    }
    while facts.own.contains(&next) {
        next = next.next();
    }
    assert_eq!(next, facts.next, "{what}: compliance is behind");
    for entry in entries().filter(|e| e.lsn >= on && e.erased.is_none()) {
        assert_eq!(bodies.get(&entry.lsn), Some(&entry.body), "{what}");
    }
}

/// What retention takes: of rooms whose category does not keep everything and that no hold is on,
/// those that were said before `cutoff`, if it keeps them for a day, and those that are too many.
pub fn due(facts: &Facts, due: &[Due], cutoff: TimeUs) -> Vec<Effect> {
    let mut effects = Vec::new();
    for (index, room) in facts.rooms.iter().enumerate() {
        let found = due.iter().find(|due| due.room == room.id);
        let old = room.entries.iter().take_while(|entry| entry.time.is_some_and(|t| t < cutoff));
        let retention = facts.retained.get(&room.category).copied().unwrap_or(Retention::ALL);
        let old = if retention.days > 0 { old.count() as u64 } else { 0 };
        let over = match retention.entries {
            0 => 0,
            entries => (room.entries.len() as u64).saturating_sub(entries),
        };
        let floor = Seq(old.max(over));
        // Of an entry that was never answered nobody knows the time.
        // One that is erased may be the first that stays, and go with those before it.
        let known = room.entries.iter().all(|e| e.time.is_some() && e.erased.is_none());
        let kept = floor <= room.floor();
        let held = facts.holds.iter().any(|(_, of)| *of == index);
        match found {
            None => assert!(kept || !known, "{} does not expire", room.id),
            Some(due) if held => {
                // A hold keeps what is there; what is erased goes with the rest.
                let Some(expired) = &due.expired else { continue };
                let place = |seq: Seq| usize::try_from(seq.0).unwrap();
                let gone = &room.entries[place(room.floor())..place(expired.floor)];
                assert!(gone.iter().all(|entry| entry.erased.is_some()), "{}", room.id);
                effects.push(Effect::Expire { room: index, floor: expired.floor });
            }
            Some(due) => {
                let expired = due.expired.as_ref().expect("what is due");
                assert!(retention != Retention::ALL, "{}", room.id);
                assert!(expired.floor == floor || !known, "{} {}", room.id, expired.floor);
                effects.push(Effect::Expire { room: index, floor: expired.floor });
            }
        }
    }
    assert!(due.iter().all(|due| facts.rooms.iter().any(|room| room.id == due.room)));
    effects
}

/// Compliance keeps events for a day, and while there is a hold: the last that was recorded before
/// `cutoff`.
pub fn events_due(engine: &Engine, facts: &Facts, cutoff: TimeUs) -> Option<Effect> {
    let mut upto = None;
    let mut after = Some(Lsn::ZERO);
    while let Some(from) = after {
        let (records, more) = engine.events(from, 100).unwrap();
        let old = records.iter().take_while(|record| record.recorded < cutoff);
        upto = old.last().map(|record| record.lsn).or(upto);
        after = more.filter(|more| upto.is_some_and(|upto| upto >= *more));
    }
    let kept = !facts.holds.is_empty();
    upto.filter(|_| !kept).map(|upto| Effect::ForgetEvents { upto })
}

/// Once nothing is owed no pack holds what was erased.
pub fn erased(store: &dyn CatalogStore, facts: &Facts, what: &str) {
    for room in &facts.rooms {
        let gone = room.entries.iter().filter(|entry| entry.erased.is_some());
        let gone: Vec<Lsn> = gone.flat_map(|entry| entry.lsns()).collect();
        if gone.is_empty() {
            continue;
        }
        let see = &mut |_: &[u8], value: &[u8]| {
            let run: Run = from_bytes(value, "run").unwrap();
            for (at, entry) in room.entries.iter().enumerate().filter(|(_, e)| e.erased.is_some()) {
                let seq = Seq(at as u64 + 1);
                let holds = run.seq_base < seq && seq <= run.last_seq && !run.is_dropped();
                assert!(!holds, "{what}: {} {seq} {} {run:?}", room.id, entry.lsn);
            }
            Ok(Go::On)
        };
        walk_prefix(store, Family::Index, &keys::runs(room.id), see).unwrap();
    }
}

/// After a purge no pack holds what retention took, unless a row repeats it.
pub fn purged(store: &dyn CatalogStore, facts: &Facts, what: &str) {
    let mut bound = Lsn(u64::MAX);
    let see = &mut |key: &[u8], _: &[u8]| {
        bound = Lsn(keys::number_at(key, 0));
        Ok(Go::Stop)
    };
    store.range(Family::Compliance, &[0; 8], &[255; 9], Walk::Up, see).unwrap();
    walk_prefix(store, Family::State, keys::FIRST_KEYS, &mut |_, value| {
        bound = bound.min(from_bytes(value, "first key").unwrap());
        Ok(Go::On)
    })
    .unwrap();
    for room in &facts.rooms {
        let see = &mut |_: &[u8], value: &[u8]| {
            let run: Run = from_bytes(value, "run").unwrap();
            let old = run.last_lsn < bound && !run.is_dropped();
            let entries = run.last_seq > run.seq_base && run.seq_base < room.floor();
            let edits = run.amended_to > Seq::ZERO && run.amended_from <= room.floor();
            assert!(!(old && (entries || edits)), "{what}: {} {run:?}", room.id);
            Ok(Go::On)
        };
        walk_prefix(store, Family::Index, &keys::runs(room.id), see).unwrap();
    }
}

/// One read at a random place, against the model. Only while nothing is damaged.
pub fn one_read(engine: &Engine, facts: &Facts, choices: &mut Choices, what: &str) {
    if facts.rooms.is_empty() {
        return;
    }
    let room = &facts.rooms[choices.below(facts.rooms.len())];
    let count = room.entries.len() as u64;
    let limit = 1 + choices.below(30);
    let seq = choices.below(room.entries.len() + 2) as u64;
    let wide = limit as u64;
    let begin = room.floor().0 + 1;
    let (anchor, first, last) = match choices.below(5) {
        0 => (Anchor::Last, count.saturating_sub(wide) + 1, count),
        1 => {
            let last = seq.saturating_sub(1).min(count);
            (Anchor::Before(Seq(seq)), last.saturating_sub(wide) + 1, last)
        }
        2 => {
            let first = begin.max(seq + 1);
            (Anchor::After(Seq(seq)), first, (first + wide - 1).min(count))
        }
        3 => {
            let first = begin.max(seq);
            (Anchor::At(Seq(seq)), first, (first + wide - 1).min(count))
        }
        _ => {
            let (a, b) = (seq, seq + choices.below(9) as u64);
            let first = begin.max(a);
            (Anchor::Between(Seq(a), Seq(b)), first, b.min(count).min(first + wide - 1))
        }
    };
    let first = first.max(begin);
    let page = page(engine, room.id, anchor, limit);
    let damage = page.gaps.iter().any(|gap| gap.reason == GapReason::Damaged);
    assert!(!damage, "{what}: {anchor:?} {:?}", page.gaps);
    if room.entries.iter().any(|entry| entry.erased.is_some()) {
        // Which of them a page counts depends on whether they have left the disk.
        let is_erased = |r: &Record| room.entries[usize::try_from(r.seq.0 - 1).unwrap()].erased;
        assert!(page.records.iter().all(|record| is_erased(record).is_none()), "{what}: erased");
        return;
    }
    let found: Vec<u64> = page.records.iter().map(|r| r.seq.0).collect();
    let expected: Vec<u64> = (first..=last).collect();
    assert_eq!(found, expected, "{what}: {} {anchor:?} limit {limit} of {count}", room.id);
    for record in &page.records {
        let entry = &room.entries[usize::try_from(record.seq.0 - 1).unwrap()];
        assert_eq!(shown(record, &page.amended), entry.shown(), "{what}");
    }
}
