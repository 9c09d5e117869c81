//! The packs under repair: what was found, what is made of it, and what that leaves to do.
//!
//! It decides from what `heal` made good and what `choose` chose; it writes nothing but new packs
//! under temporary names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use hansard_engine::error::Result;
use hansard_engine::format::pack::{PackMeta, pack_number};
use hansard_engine::format::payload::LsnSpan;
use hansard_engine::format::run::Run;
use hansard_engine::manifest::Loaded;
use hansard_engine::open::QUARANTINE;
use hansard_engine::pack::{self, PackFile};
use hansard_engine::spans::without;
use hansard_engine::storage::{Disk, Mode};

use super::catalog::{self, Told};
use super::choose::{self, Choice, choose};
use super::contents::{self, Contents};
use super::donor::Donor;
use super::heal::{Found, Made, Rows, State, examine, heal, path_of};
use super::journal;
use super::report::{Healed, Report};
use super::target::{Plan, Target};
use crate::verify::{Progress, Seen, Show, each};

/// A pack, and what was made of it.
struct Item {
    found: Found,
    made: Option<Made>,
    /// What it holds now, if that was looked at.
    contents: Option<Contents>,
}

impl Item {
    fn id(&self) -> u64 {
        self.found.id
    }

    /// It has a run index.
    fn usable(&self) -> bool {
        !matches!(self.made, Some(Made::Unreadable(_)))
    }

    /// Something of it is lost, as far as packs and copy go.
    fn loses(&self) -> bool {
        match &self.made {
            None => false,
            Some(Made::Unreadable(_)) => true,
            Some(Made::AsItIs(lost) | Made::Anew { lost, .. } | Made::Hollow(_, lost)) => {
                !lost.is_empty()
            }
        }
    }

    /// Its new file stands under a temporary name.
    fn is_anew(&self) -> bool {
        matches!(self.made, Some(Made::Anew { .. } | Made::Hollow(..)))
    }
}

/// A pack whose records are lost.
pub(super) struct LostPack {
    pub id: u64,
    pub file: String,
    pub span: Option<LsnSpan>,
    pub bytes: u64,
    pub reason: String,
}

/// The packs under repair.
pub(super) struct Work<'a> {
    disk: &'a Disk,
    target: &'a Disk,
    donor: Option<&'a Donor>,
    manifest: Option<&'a Loaded>,
    items: Vec<Item>,
    told: OnceLock<Option<Told>>,
}

impl<'a> Work<'a> {
    pub(super) const fn new(
        disk: &'a Disk,
        target: &'a Disk,
        donor: Option<&'a Donor>,
        manifest: Option<&'a Loaded>,
    ) -> Self {
        Self { disk, target, donor, manifest, items: Vec::new(), told: OnceLock::new() }
    }

    fn named(&self, id: u64) -> Option<&PackMeta> {
        self.manifest.and_then(|loaded| loaded.state.packs.get(&id))
    }

    /// Looks at every pack, makes good what can be, and reads what they hold if that matters.
    /// Returns what the journal holds, if that does.
    pub(super) fn heal_all(&mut self) -> Result<Seen> {
        let names = self.disk.list(pack::DIR)?;
        let mut ids: BTreeSet<u64> = names.iter().filter_map(|name| pack_number(name)).collect();
        ids.extend(self.manifest.iter().flat_map(|loaded| loaded.state.packs.keys()));
        let ids: Vec<(u64, Option<PackMeta>)> =
            ids.into_iter().map(|id| (id, self.named(id).cloned())).collect();
        let mut total = 0;
        for (id, _) in &ids {
            let file = self.disk.open(&path_of(*id), Mode::Read);
            total += file.and_then(|file| file.len()).unwrap_or(0);
        }
        let progress = Progress::new("repair: looking at packs", total);
        let found = progress.during(Show::OnTerminal, || {
            each(&ids, |(id, meta)| examine(self.disk, *id, meta.clone(), &progress))
        });
        let theirs = match (self.manifest, self.donor) {
            (None, Some(donor)) => donor.packs_of_same(&found),
            _ => Vec::new(),
        };
        for mut found in found {
            if found.meta.is_none() && !matches!(found.state, State::Sound) {
                found.meta = theirs.iter().find(|meta| meta.id == found.id).cloned();
            }
            self.heal_one(found)?;
        }
        self.heal_by_catalog()?;
        if !self.matters() {
            return Ok(Seen::default());
        }
        let journal = journal::records(self.disk)?;
        self.read_contents()?;
        self.take_absent(theirs, &journal)?;
        Ok(journal)
    }

    fn heal_one(&mut self, found: Found) -> Result<()> {
        let made = match found.state {
            State::Sound => None,
            _ => {
                let to = Target::unfinished(found.id);
                Some(heal(self.disk, &found, self.donor, &Rows::default(), (self.target, &to))?)
            }
        };
        self.items.push(Item { found, made, contents: None });
        Ok(())
    }

    /// Packs whose run index is lost.
    fn unreadable(&self) -> Vec<u64> {
        self.items.iter().filter(|item| !item.usable()).map(Item::id).collect()
    }

    /// What the old catalog says, if it can be read; of runs those of packs that are unreadable
    /// when it is asked first.
    pub(super) fn told(&self) -> Option<&Told> {
        self.told.get_or_init(|| catalog::ask(self.disk, &self.unreadable())).as_ref()
    }

    /// The runs that it told of, if it was asked.
    pub(super) fn into_runs(self) -> Vec<Run> {
        self.told.into_inner().flatten().map_or_else(Vec::new, |told| told.rows.runs)
    }

    /// Makes run indexes again of what the catalog says of them.
    fn heal_by_catalog(&mut self) -> Result<()> {
        if self.unreadable().is_empty() || self.told().is_none() {
            return Ok(());
        }
        let none = Rows::default();
        let rows = self.told.get().and_then(Option::as_ref).map_or(&none, |told| &told.rows);
        for item in self.items.iter_mut().filter(|item| !item.usable()) {
            let to = Target::unfinished(item.id());
            // Without the manifest's word nobody knows whether that is the pack.
            if self.manifest.is_some_and(|known| known.state.packs.contains_key(&item.id())) {
                let made = heal(self.disk, &item.found, self.donor, rows, (self.target, &to))?;
                item.made = Some(made);
            }
        }
        Ok(())
    }

    /// True unless the manifest is sound and every pack in it is, and there is no other.
    fn matters(&self) -> bool {
        let other = |item: &Item| self.named(item.id()).is_none();
        self.manifest.is_none() || self.items.iter().any(|item| item.loses() || other(item))
    }

    /// Where a pack's bytes are now.
    fn place(&self, item: &Item) -> (&Disk, String) {
        match item.made {
            Some(Made::Anew { .. } | Made::Hollow(..)) => {
                (self.target, Target::unfinished(item.id()))
            }
            _ => (self.disk, path_of(item.id())),
        }
    }

    fn read_contents(&mut self) -> Result<()> {
        let read = each(&self.items, |item| {
            if !item.usable() || item.contents.is_some() {
                return Ok(None);
            }
            let (disk, path) = self.place(item);
            let pack = PackFile::new(disk.open(&path, Mode::Read)?, item.id());
            contents::read(&pack, item.id(), self.named(item.id())).map(Some)
        });
        for (item, read) in self.items.iter_mut().zip(read) {
            if let Some(contents) = read? {
                item.contents = Some(contents);
            }
        }
        Ok(())
    }

    /// Takes packs that only the copy has, where no manifest says whether they were there, for
    /// records that nothing else has.
    fn take_absent(&mut self, theirs: Vec<PackMeta>, journal: &Seen) -> Result<()> {
        let mut have = journal.lsns.clone();
        for contents in self.items.iter().filter_map(|item| item.contents.as_ref()) {
            have.absorb(&contents.seen.lsns);
        }
        for meta in theirs {
            let there = self.items.iter().any(|item| item.id() == meta.id);
            if there || have.missing(meta.first_lsn, meta.last_lsn).is_empty() {
                continue;
            }
            let state = State::Missing;
            self.heal_one(Found { id: meta.id, meta: Some(meta), state, digest: None })?;
        }
        self.read_contents()
    }

    /// Where packs that the manifest names have lost records.
    fn lost_spans(&self) -> Vec<LsnSpan> {
        let lost = self.items.iter().filter(|item| item.loses());
        let metas = lost.filter_map(|item| self.named(item.id()));
        metas.map(|meta| LsnSpan { first: meta.first_lsn, last: meta.last_lsn }).collect()
    }

    pub(super) fn choose(&mut self, journal: &Seen) -> Choice {
        let mut packs = BTreeMap::new();
        let mut next_pack = 1;
        for item in &self.items {
            next_pack = next_pack.max(item.id().saturating_add(1));
            let known = self.named(item.id()).cloned();
            let (meta, seen) = match &item.contents {
                Some(contents) => (Some(contents.meta.clone()), Some(contents.seen.clone())),
                None => (known, None),
            };
            if let (Some(meta), true) = (meta, item.usable()) {
                packs.insert(item.id(), (meta, seen));
            }
        }
        // A number that is in quarantine, however it came there, was a pack's.
        for name in self.disk.list(QUARANTINE).unwrap_or_default() {
            let name = name.split_inclusive(".pack").next().unwrap_or_default();
            let number = pack_number(name).map_or(0, |id| id.saturating_add(1));
            next_pack = next_pack.max(number);
        }
        choose(&choose::Options {
            manifest: self.manifest.map(|loaded| &loaded.state),
            packs: &packs,
            lost: &self.lost_spans(),
            journal,
            next_pack,
        })
    }

    /// Reports what was made good in packs, and returns those that lose records as a whole.
    pub(super) fn report(
        &self,
        choice: &Choice,
        journal: &Seen,
        report: &mut Report,
    ) -> Vec<LostPack> {
        let mut have = journal.clone();
        for item in self.items.iter().filter(|item| choice.state.packs.contains_key(&item.id())) {
            if let Some(contents) = &item.contents {
                have.lsns.absorb(&contents.seen.lsns);
                have.accepted.extend(contents.seen.accepted.iter().cloned());
            }
        }
        have.accepted.sort_by_key(|span| span.first);
        let mut lost = Vec::new();
        for item in &self.items {
            let file = path_of(item.id());
            let span = item.found.meta.as_ref().map(|meta| (meta.first_lsn, meta.last_lsn));
            let replayed = span.is_some_and(|(first, last)| {
                without(&have.lsns.missing(first, last), &have.accepted).is_empty()
            });
            let again = choice.again.contains(&item.id());
            if let (Some(Made::Anew { healed, .. }), false) = (&item.made, again) {
                let parts = healed.iter().map(|(place, from)| Healed::part(&file, place, from));
                report.healed.extend(parts);
            }
            let bad = match &item.made {
                Some(Made::AsItIs(lost) | Made::Anew { lost, .. }) => lost.as_slice(),
                _ => &[],
            };
            if replayed && again {
                let parts = bad.iter().map(|bad| Healed::part(&file, &bad.place, "journal"));
                report.healed.extend(parts);
            }
            if let Some(Made::Unreadable(reason) | Made::Hollow(reason, _)) = &item.made {
                let bytes = item.found.meta.as_ref().map_or(0, |meta| meta.bytes);
                if replayed {
                    report.healed.push(Healed::file(&file, 0, bytes, "journal"));
                } else if self.manifest.is_none() || self.named(item.id()).is_some() {
                    let span = span.map(|(first, last)| LsnSpan { first, last });
                    lost.push(LostPack {
                        id: item.id(),
                        file,
                        span,
                        bytes,
                        reason: reason.clone(),
                    });
                }
            }
        }
        lost
    }

    /// Blocks are lost of a pack whose run index is not.
    pub(super) fn loses_blocks(&self) -> bool {
        self.items.iter().any(|item| item.usable() && item.loses())
    }

    /// What is to be done with every pack.
    pub(super) fn plan(&self, choice: &Choice, journal_is_short: bool) -> Result<Plan> {
        let mut plan = Plan { state: choice.state.clone(), ..Plan::default() };
        let sound = |loaded: &Loaded| loaded.faults.is_empty() && loaded.state == choice.state;
        plan.manifest_stays = self.manifest.is_some_and(sound);
        let of_same = |loaded: &Loaded| {
            (&loaded.state.packs, loaded.state.sealed) == (&choice.state.packs, choice.state.sealed)
        };
        // What is lost for good a sound one still knows, unless packs go which it knows.
        plan.keep_catalog = (journal_is_short || self.loses_blocks())
            && self.manifest.is_some_and(of_same)
            && self.told().is_some();
        for item in &self.items {
            let id = item.id();
            let had = !matches!(item.found.state, State::Missing);
            let anew = item.is_anew();
            let reason = match &item.made {
                Some(Made::Unreadable(reason)) => Some(reason.as_str()),
                _ if choice.again.contains(&id) => Some("its records are sealed again"),
                _ if choice.unneeded.contains(&id) => Some("the manifest does not name it"),
                _ => None,
            };
            match reason {
                None if anew => plan.anew.push((id, had)),
                None => plan.keep.push(id),
                Some(reason) => {
                    if anew {
                        self.target.remove_if_there(&Target::unfinished(id))?;
                    }
                    if had {
                        plan.aside.push((id, reason.to_owned()));
                    }
                }
            }
        }
        Ok(plan)
    }
}
