//! Proofs under `verify`: every room's tree made anew from its records, and every signature.
//!
//! Whoever changes a record and every checksum over it changes its room's root, and cannot sign the
//! other one. Against somebody who has the key only a signed head that left the machine helps: it
//! is compared too, where one is given.
//!
//! INVARIANT: a root that cannot be computed, because records were lost or dropped before it, is
//! counted as not checked and never as right.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use hansard_engine::catalog::rows::TipRow;
use hansard_engine::catalog::{CatalogStore, Family, keys};
use hansard_engine::error::Result;
use hansard_engine::format::payload::{Payload, SignedHead, SigningKey};
use hansard_engine::format::record::Record;
use hansard_engine::format::run::Run;
use hansard_engine::format::wire::from_bytes;
use hansard_engine::notary::{HeadLog, KEY, KEYS, NEXT_KEY};
use hansard_engine::proof::note::{Checkpoint, Signer, Verifier, endorsement, open_note};
use hansard_engine::proof::{Hash, Tree};
use hansard_engine::storage::{Disk, join};
use hansard_engine::types::{Lsn, Rev, RoomId, Seq};
use serde::Serialize;

use super::progress::{Progress, Show};
use super::{Finding, finding, of_error, pool};
use crate::open::Directory;
use crate::proof::{HeadEvent, Step, Trees};

/// Bytes of the key's file at most.
const KEY_BYTES_MAX: u64 = 4096;

/// What the record is held against beside itself.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// A signed head that left the machine.
    pub head: Option<String>,
    /// Public keys from elsewhere.
    pub keys: Vec<Verifier>,
}

/// What became of proofs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Proofs {
    /// Rooms whose trees were made.
    pub rooms: u64,
    /// Leaves of all of them.
    pub leaves: u64,
    /// Signed heads whose signature and root are right.
    pub heads: u64,
    /// Listed roots of rooms that are right.
    pub roots: u64,
    /// Roots that cannot be computed any more: records before them were lost or dropped.
    pub unchecked: u64,
    /// The last place in the log under a signature; 0 for none.
    pub upto_lsn: u64,
    /// `head` if a head from elsewhere was compared, `key` if a key was, else `self`.
    pub against: &'static str,
    /// What is no damage and yet to be looked at.
    pub warnings: Vec<String>,
}

impl Proofs {
    /// For people.
    pub(super) fn words(&self) -> String {
        let Self { rooms, leaves, heads, roots, unchecked, upto_lsn, against, warnings } = self;
        let held = match *against {
            "head" => "agrees with the head that was given",
            "key" => "signed with the key that was given",
            _ => "self-consistent only: give --head or --key to hold it against something",
        };
        let mut words: String =
            warnings.iter().map(|warning| format!("warning {warning}\n")).collect();
        words += &format!(
            "proofs of {rooms} rooms, {leaves} leaves: {heads} signed heads and {roots} roots are \
             right, {unchecked} not checked, signed up to lsn {upto_lsn}\n{held}\n"
        );
        words
    }
}

/// What the room of heads says, but for the roots of rooms.
#[derive(Default)]
struct Heads {
    log: HeadLog,
    keys: Vec<(Rev, SigningKey)>,
    signed: Vec<SignedHead>,
    /// Roots of the room of heads itself, by size: the signed ones.
    own: BTreeMap<u64, Hash>,
    /// A record of it was lost: rooms may have been listed there.
    lost: bool,
}

/// Roots in order of room and size. Of one size there is one, unless two were listed.
#[derive(Default)]
struct Roots(Vec<(RoomId, u64, Hash)>);

impl Roots {
    /// Those of some rooms.
    fn read(trees: &Trees<'_>, heads: &Heads, of: &RangeInclusive<RoomId>) -> Result<Self> {
        let mut roots = Vec::new();
        trees.each_head(&mut |_, event| {
            if let HeadEvent::Listed(head) = event
                && head.room != RoomId::SYSTEM_HEADS
                && of.contains(&head.room)
            {
                roots.push((head.room, head.size, head.root));
            }
            Ok(())
        })?;
        if of.contains(&RoomId::SYSTEM_HEADS) {
            let own = heads.own.iter();
            roots.extend(own.map(|(size, root)| (RoomId::SYSTEM_HEADS, *size, *root)));
        }
        roots.sort_unstable();
        roots.dedup();
        Ok(Self(roots))
    }

    fn of(&self, room: RoomId) -> &[(RoomId, u64, Hash)] {
        let begin = self.0.partition_point(|(other, ..)| *other < room);
        let roots = self.0.get(begin..).unwrap_or_default();
        roots.get(..roots.partition_point(|(other, ..)| *other == room)).unwrap_or_default()
    }
}

/// Checks trees and signatures. `sound`: nothing else was found, so that records which are missing
/// are told here and nowhere else.
///
/// # Errors
/// `Io` of the journal.
pub(super) fn check(
    directory: &Directory,
    against: &Against,
    show: Show,
    sound: bool,
) -> Result<(Proofs, Vec<Finding>)> {
    let mut trees = Trees::open(directory)?;
    // What an operator accepted as lost is no news.
    let mut tells = sound;
    trees.each(RoomId::SYSTEM_SETTINGS, &mut |step| {
        if let Step::Record(record) = step {
            tells &= !matches!(record.payload, Payload::LossAccepted(_));
        }
        Ok(())
    })?;
    let mut heads = Heads::default();
    trees.each_head(&mut |rev, event| {
        match event {
            HeadEvent::Listed(head) if head.room == RoomId::SYSTEM_HEADS => {
                heads.own.insert(head.size, head.root);
            }
            HeadEvent::Listed(_) => {}
            HeadEvent::Signed(head) => heads.signed.push(head.clone()),
            HeadEvent::Lost => heads.lost = true,
            HeadEvent::Key(record) => {
                heads.log.take(record);
                if let Payload::SigningKey(key) = &record.payload {
                    heads.keys.push((rev, key.clone()));
                }
            }
        }
        Ok(())
    })?;
    let (proofs, damage) = (Proofs::default(), Vec::new());
    let mut check = Check { directory, against, tells, proofs, damage };
    let trusted = check.keys(&heads);
    check.signatures(&mut heads, &trusted);
    check.rooms(&mut trees, &heads, show)?;
    Ok((check.proofs, check.damage))
}

struct Check<'a> {
    directory: &'a Directory,
    against: &'a Against,
    /// Records that are missing are told.
    tells: bool,
    proofs: Proofs,
    damage: Vec<Finding>,
}

impl Check<'_> {
    fn add(&mut self, reason: impl Into<String>) {
        let file = self.directory.disk.full(hansard_engine::pack::DIR);
        let room = Some(RoomId::SYSTEM_HEADS.to_string());
        self.damage.push(Finding { room, ..finding(&file, 0, 0, reason) });
    }

    /// The keys that may sign: all that are recorded, or where a key is given, that one and those
    /// that it endorses, one after the other.
    fn keys(&mut self, heads: &Heads) -> BTreeSet<Rev> {
        let name = heads.log.name().unwrap_or_default().to_owned();
        let mut trusted = BTreeSet::new();
        let mut before: Option<(Rev, Verifier)> = None;
        for (rev, key) in &heads.keys {
            let Some(own) = heads.log.keys().get(rev) else {
                self.add(format!("signing key is no key rev={rev}"));
                continue;
            };
            let text = endorsement(&name, &key.public);
            let by =
                before.as_ref().filter(|(_, key_before)| key_before.verifies(&text, &key.endorsed));
            let given = self.against.keys.contains(own);
            if before.is_some() && by.is_none() {
                let warning = format!("key is endorsed by no key before it key={own}");
                self.proofs.warnings.push(warning);
            }
            let endorsed = by.is_some_and(|(rev, _)| trusted.contains(rev));
            if given || endorsed || self.against.keys.is_empty() {
                trusted.insert(*rev);
            }
            before = Some((*rev, own.clone()));
        }
        // Whoever cannot read the private key cannot put another public one here unseen.
        // A stop between the record of a new key and the renaming of its file leaves both.
        let held: Vec<Verifier> =
            [KEY, NEXT_KEY].iter().filter_map(|name| self.key(name)).collect();
        if before.is_some_and(|(_, newest)| !held.is_empty() && !held.contains(&newest)) {
            self.add("the newest signing key is not that of the key in keys/");
        }
        trusted
    }

    /// The public half of a key in the directory, if it is there.
    fn key(&self, name: &str) -> Option<Verifier> {
        let bytes = self.directory.disk.read_all(&join(KEYS, name), KEY_BYTES_MAX).ok()?;
        Signer::parse(std::str::from_utf8(&bytes).ok()?).ok().map(|key| key.verifier())
    }

    /// Checks every signature, and notes the roots that they are of.
    fn signatures(&mut self, heads: &mut Heads, trusted: &BTreeSet<Rev>) {
        for head in &heads.signed {
            let known = heads.log.head(head);
            let signed = known.as_ref().is_some_and(|known| {
                open_note(&known.note, std::slice::from_ref(&known.key)).is_ok()
            });
            let wrong = match (signed, trusted.contains(&head.key)) {
                (true, true) => None,
                (true, false) => Some("head is signed with a key that is not trusted"),
                (false, _) => Some("signature of a head is wrong"),
            };
            if let Some(wrong) = wrong {
                self.add(format!("{wrong} size={} upto={}", head.size, head.upto));
                continue;
            }
            self.proofs.heads += 1;
            self.proofs.upto_lsn = self.proofs.upto_lsn.max(head.upto.0);
            if heads.own.insert(head.size, head.root).is_some_and(|root| root != head.root) {
                self.damage.push(of_room(
                    &self.directory.disk,
                    RoomId::SYSTEM_HEADS,
                    format!("two roots are signed for one size={}", head.size),
                ));
            }
        }
        self.proofs.against = if self.against.keys.is_empty() { "self" } else { "key" };
        let Some(note) = &self.against.head else { return };
        let recorded: Vec<Verifier> = heads.log.keys().values().cloned().collect();
        let keys = if self.against.keys.is_empty() { &recorded } else { &self.against.keys };
        // Also by a key that a trusted one endorsed.
        let endorsed: Vec<Verifier> =
            trusted.iter().filter_map(|rev| heads.log.keys().get(rev)).cloned().collect();
        match open_note(note, keys).or_else(|_| open_note(note, &endorsed)) {
            Ok((Checkpoint { size, root, .. }, _)) => {
                if heads.own.insert(size, root).is_some_and(|other| other != root) {
                    self.add(format!(
                        "another root was signed than the head that was given size={size}"
                    ));
                }
                self.proofs.against = "head";
            }
            Err(wrong) => {
                self.add(format!("the head that was given is not of this record: {wrong}"))
            }
        }
    }

    /// What the catalog would be signed with is what the records are.
    fn catalog_agrees(&self, room: RoomId, tree: &Tree, done: &mut RoomCheck) {
        if let Ok(catalog) = self.directory.catalog()
            && let Some(row) = tree_of(catalog, room)
            && row.size() == tree.size()
            && row != *tree
        {
            let reason = "the catalog has another tree of the room's records".to_owned();
            done.damage.push(of_room(&self.directory.disk, room, reason));
        }
    }

    /// Makes the trees of all rooms, a share of them at a time. An index that cannot be read this
    /// time is a finding, and what is missing then tells of it as well.
    fn rooms(&mut self, trees: &mut Trees<'_>, heads: &Heads, show: Show) -> Result<()> {
        let progress = Progress::new("proofs", trees.bytes());
        let path = self.directory.disk.full(hansard_engine::pack::DIR);
        progress.during(show, || {
            trees.shares().iter().try_for_each(|share| {
                let unread = trees.take(share);
                self.damage.extend(unread.iter().map(|error| of_error(error, &path)));
                let roots = Roots::read(trees, heads, share)?;
                self.share(trees, share, &roots, heads.lost, &progress);
                Ok(())
            })
        })
    }

    fn share(
        &mut self,
        trees: &Trees<'_>,
        share: &RangeInclusive<RoomId>,
        roots: &Roots,
        lost: bool,
        progress: &Progress,
    ) {
        let mut rooms = trees.rooms(share);
        let listed = roots.0.chunk_by(|a, b| a.0 == b.0).filter_map(|roots| roots.first());
        rooms.extend(listed.map(|(room, ..)| *room));
        rooms.sort_unstable();
        rooms.dedup();
        let upto = Lsn(if lost { 0 } else { self.proofs.upto_lsn });
        let disk = &self.directory.disk;
        // The sums, and the findings of the few rooms that have some: there may be millions.
        let sums = Mutex::new((RoomCheck::default(), BTreeMap::new()));
        let made = |room: RoomId| {
            let (mut done, tree) =
                Room::new(disk, trees, room, roots.of(room), (upto, self.tells)).run(progress);
            if let Some(tree) = tree {
                self.catalog_agrees(room, &tree, &mut done);
            }
            let mut sums = sums.lock().unwrap_or_else(PoisonError::into_inner);
            sums.0.leaves += done.leaves;
            sums.0.right += done.right;
            sums.0.unchecked += done.unchecked;
            if !done.damage.is_empty() {
                sums.1.insert(room, done.damage);
            }
            Vec::new()
        };
        let count = rooms.len() as u64;
        pool::run(pool::threads(), rooms.into_iter(), made);
        let (sum, damage) = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.proofs.rooms += count;
        self.proofs.leaves += sum.leaves;
        self.proofs.roots += sum.right;
        self.proofs.unchecked += sum.unchecked;
        self.damage.extend(damage.into_values().flatten());
    }
}

fn of_room(disk: &Disk, room: RoomId, reason: String) -> Finding {
    let file = disk.full(hansard_engine::pack::DIR);
    Finding { room: Some(room.to_string()), ..finding(&file, 0, 0, reason) }
}

/// The outcome for a room.
#[derive(Debug, Default)]
struct RoomCheck {
    leaves: u64,
    right: u64,
    unchecked: u64,
    damage: Vec<Finding>,
}

/// A room being checked.
struct Room<'a> {
    disk: &'a Disk,
    trees: &'a Trees<'a>,
    room: RoomId,
    /// Its listed roots, in order of size.
    roots: &'a [(RoomId, u64, Hash)],
    /// Records up to here must be under a signature.
    upto: Lsn,
    tells: bool,
    tree: Tree,
    /// From here on roots cannot be computed: a record was lost.
    lost: bool,
    /// A root was wrong: whatever comes behind it will be.
    wrong: bool,
    /// The last record under the newest signature.
    covered: u64,
    last_seq: Seq,
    floor: Seq,
    erased: BTreeSet<Seq>,
    /// Entries that were dropped.
    dropped: Vec<(Seq, Seq)>,
    done: RoomCheck,
}

/// The tree that the catalog has of a room's records.
fn tree_of(catalog: &dyn CatalogStore, room: RoomId) -> Option<Tree> {
    let read = |key: &[u8]| catalog.get(Family::State, key).ok().flatten();
    let tip: TipRow = from_bytes(&read(&keys::tip(room))?, "tip row").ok()?;
    if tip.tree.size() > 0 {
        return Some(tip.tree);
    }
    // As format 1 kept it.
    from_bytes(&read(&keys::old_tree(room))?, "tree row").ok()
}

impl<'a> Room<'a> {
    fn new(
        disk: &'a Disk,
        trees: &'a Trees<'a>,
        room: RoomId,
        roots: &'a [(RoomId, u64, Hash)],
        (upto, tells): (Lsn, bool),
    ) -> Self {
        Self {
            disk,
            trees,
            room,
            roots,
            upto,
            tells,
            tree: Tree::default(),
            lost: false,
            wrong: false,
            covered: 0,
            last_seq: Seq::ZERO,
            floor: Seq::ZERO,
            erased: BTreeSet::new(),
            dropped: Vec::new(),
            done: RoomCheck::default(),
        }
    }

    fn add(&mut self, reason: String, seqs: Option<(Seq, Seq)>) {
        let mut found = of_room(self.disk, self.room, reason);
        if let Some((from, to)) = seqs {
            (found.from_seq, found.to_seq) = (Some(from.0), Some(to.0));
        }
        self.done.damage.push(found);
    }

    /// The outcome, and the whole tree; none if a record of it was lost.
    fn run(mut self, progress: &Progress) -> (RoomCheck, Option<Tree>) {
        let (room, trees) = (self.room, self.trees);
        let bytes = trees.mean_bytes();
        let walked = trees.each(room, &mut |step| {
            match step {
                Step::Record(record) => {
                    progress.add(bytes);
                    self.record(&record);
                }
                Step::Dropped(run) => self.drop_run(run),
                Step::Missing(last) => self.miss(last),
            }
            Ok(())
        });
        if let Err(error) = walked {
            self.add(error.to_string(), None);
        }
        self.end();
        (self.done, (!self.lost).then_some(self.tree))
    }

    fn record(&mut self, record: &Record) {
        self.lost |= matches!(record.payload, Payload::Lost(_));
        match &record.payload {
            Payload::Expired(expired) => self.floor = self.floor.max(expired.floor),
            Payload::Erased(erased) => drop(self.erased.insert(erased.seq)),
            _ => {}
        }
        self.tree.push(self.trees.leaf(record));
        self.done.leaves += 1;
        if record.lsn <= self.upto {
            self.covered = record.rev.0;
        }
        self.last_seq = self.last_seq.max(record.seq);
        self.compare();
    }

    /// How many roots are listed of these sizes.
    fn listed(&self, first: u64, last: u64) -> u64 {
        let below = |size: u64| self.roots.partition_point(|(_, listed, _)| *listed < size) as u64;
        below(last.saturating_add(1)).saturating_sub(below(first))
    }

    fn drop_run(&mut self, run: &Run) {
        self.done.unchecked += self.listed(run.first_rev.0, run.last_rev.0.saturating_sub(1));
        if !self.tree.push_nodes(run.last_rev.0, &run.nodes).1 {
            self.add(
                "a run lacks nodes of its tree".to_owned(),
                Some((run.seq_base, run.last_seq)),
            );
        }
        self.done.leaves += run.last_rev.0.saturating_sub(run.first_rev.0).saturating_add(1);
        if run.last_seq > run.seq_base {
            self.dropped.push((run.seq_base.next(), run.last_seq));
        }
        self.last_seq = self.last_seq.max(run.last_seq);
        self.compare();
    }

    fn miss(&mut self, last: Rev) {
        let first = self.tree.size().saturating_add(1);
        self.tree.push_unknown(last.0);
        self.done.unchecked += self.listed(first, last.0);
        if !self.lost && self.tells {
            let reason = format!("records are missing rev={first}..{last}");
            let next = self.last_seq.next();
            self.add(reason, Some((next, next)));
        }
        self.lost = true;
    }

    /// Compares the root as it is now with those that were listed of its size. Where there are two,
    /// one of them is wrong.
    fn compare(&mut self) {
        let size = self.tree.size();
        let first = self.roots.partition_point(|(_, listed, _)| *listed < size);
        let roots = self.roots.get(first..).unwrap_or_default();
        for (.., root) in roots.iter().take_while(|(_, listed, _)| *listed == size) {
            if self.lost || self.wrong {
                self.done.unchecked += 1;
            } else if *root == self.tree.root() {
                self.done.right += 1;
            } else {
                self.wrong = true;
                let reason = format!("records are not those that were signed rev=1..{size}");
                self.add(reason, Some((Seq(1), self.last_seq)));
            }
        }
    }

    fn end(&mut self) {
        let size = self.tree.size();
        let listed = self.roots.last().map_or(0, |(_, size, _)| *size);
        if listed > size && (self.tells || !self.lost) {
            let reason = format!(
                "records that were signed are missing rev={}..{listed}",
                size.saturating_add(1)
            );
            let next = self.last_seq.next();
            self.add(reason, Some((next, next)));
        }
        if self.room != RoomId::SYSTEM_HEADS && self.covered > listed {
            let reason =
                format!("records are under no signature rev={}..{}", listed + 1, self.covered);
            self.add(reason, None);
        }
        for (first, last) in std::mem::take(&mut self.dropped) {
            let from = first.max(self.floor.next());
            let mut seqs = (from.0..=last.0).map(Seq);
            if let Some(seq) = seqs.find(|seq| !self.erased.contains(seq)) {
                let reason = "an entry was dropped that neither expired nor was erased".to_owned();
                self.add(reason, Some((seq, last)));
            }
        }
    }
}
