//! Signing: every room's head, in one statement, with the log's key.
//!
//! Rooms in which something happened are listed with the roots of their trees, in records of a
//! system room; then the root of that room's own tree is signed, and the signature recorded there.
//! So one signature covers every record before it, and one that left the machine holds the operator
//! himself to them. The private key is a file in `keys/`; the public one is a record, which the key
//! before it signs.
//!
//! INVARIANT: a room that grew is listed before the next head is signed. What is not remembered of
//! that, after a start or a failure, is found in packs and tails by the last place that is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::apply::decode_row;
use crate::catalog::rows::TipRow;
use crate::catalog::{CatalogStore, Family, Go, keys, walk_prefix};
use crate::commit::own_draft;
use crate::engine::{Engine, Inner};
use crate::error::{Error, Result};
use crate::format::payload::{Payload, RoomHead, RoomHeads, SignedHead, SigningKey};
use crate::format::record::Record;
use crate::pace::Bell;
use crate::proof::Tree;
use crate::proof::book::Book;
use crate::proof::note::{Checkpoint, Signer, Verifier, endorsement, log_name, signed_note};
use crate::proof::salts::PlaceSalts;
use crate::storage::join;
use crate::sync::atomic::Ordering;
use crate::sync::{Mutex, MutexGuard};
use crate::types::{Lsn, Rev, RoomId};

/// The folder of keys.
pub const KEYS: &str = "keys";
/// The key that signs heads.
pub const KEY: &str = "head.key";
/// The key that will, while its record is under way.
pub const NEXT_KEY: &str = "head.key.next";
/// Bytes of such a file at most.
const KEY_BYTES_MAX: u64 = 4096;
/// Heads of one record: a proof goes through at most so many.
pub const HEADS_MAX: usize = 256;

/// A signed head, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// What is signed.
    pub checkpoint: Checkpoint,
    /// With which key.
    pub key: Verifier,
    /// The signed note: what to keep outside of this machine.
    pub note: String,
}

/// What the room of heads says, but for the heads of rooms.
#[derive(Clone, Debug, Default)]
pub struct HeadLog {
    name: Option<String>,
    keys: BTreeMap<Rev, Verifier>,
    newest: Option<SignedHead>,
}

impl HeadLog {
    /// Takes the next record of the room of heads.
    pub fn take(&mut self, record: &Record) {
        match &record.payload {
            Payload::SigningKey(key) => self.take_key(record.rev, key),
            Payload::SignedHead(head) => self.newest = Some(head.clone()),
            _ => {}
        }
    }

    fn take_key(&mut self, rev: Rev, key: &SigningKey) {
        let name = self.name.get_or_insert_with(|| log_name(&key.public));
        if let Ok(verifier) = Verifier::new(name, &key.public) {
            self.keys.insert(rev, verifier);
        }
    }

    /// The log's name, once it has a key.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Every key there ever was, by the rev of its record.
    #[must_use]
    pub const fn keys(&self) -> &BTreeMap<Rev, Verifier> {
        &self.keys
    }

    /// A recorded head as it was signed; none if its key is not known.
    #[must_use]
    pub fn head(&self, head: &SignedHead) -> Option<Head> {
        let key = self.keys.get(&head.key)?.clone();
        let (size, root, upto, time) = (head.size, head.root, head.upto, head.time);
        let checkpoint = Checkpoint { origin: key.name().to_owned(), size, root, upto, time };
        let note = signed_note(&checkpoint, &key, &head.signature);
        Some(Head { checkpoint, key, note })
    }

    /// The newest head.
    #[must_use]
    pub fn newest(&self) -> Option<Head> {
        self.newest.as_ref().and_then(|head| self.head(head))
    }

    /// The last place in the log that is under a signature.
    pub(crate) fn upto(&self) -> Lsn {
        self.newest.as_ref().map_or(Lsn::ZERO, |head| head.upto)
    }
}

/// What the notary knows.
#[derive(Debug, Default)]
struct Known {
    /// What grew before this start was looked for.
    looked: bool,
    signer: Option<Signer>,
}

/// The notary's bell, and what only it knows.
#[derive(Debug, Default)]
pub(crate) struct Notary {
    pub bell: Bell,
    known: Mutex<Known>,
}

impl Engine {
    /// Signs the heads of all rooms, if anything was recorded since the newest signature, and gives
    /// the newest.
    ///
    /// # Errors
    /// As an append; `Io` of the key.
    pub fn sign_heads(&self) -> Result<Option<Head>> {
        self.0.sign_heads()
    }

    /// The newest signed head.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn newest_head(&self) -> Result<Option<Head>> {
        Ok(self.0.head_log()?.newest())
    }

    /// Every key that heads were or are signed with, the oldest first.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn head_keys(&self) -> Result<Vec<Verifier>> {
        Ok(self.0.head_log()?.keys.into_values().collect())
    }

    /// Makes a new key, which the one before endorses, and signs all heads with it.
    ///
    /// # Errors
    /// As an append; `Io` of the keys.
    pub fn rotate_head_key(&self) -> Result<Verifier> {
        self.0.rotate_head_key()
    }

    /// The salts of a place of the log, unless they are forgotten.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn salts(&self, place: Lsn) -> Result<Option<PlaceSalts>> {
        Book::default().of(place, &*self.0.store)
    }

    /// A room's tree, as far as it is applied.
    ///
    /// # Errors
    /// `Io` or `Corrupt` of the catalog.
    pub fn tree(&self, room: RoomId) -> Result<Tree> {
        self.0.tree(room)
    }
}

impl Inner {
    pub(crate) fn run_notary(&self) {
        let interval = Duration::from_millis(self.options.head_interval_ms);
        while self.notary.bell.wait(interval) {
            match self.sign_heads() {
                Ok(_) => {}
                // Closing, or the queue is full: there is another round.
                Err(error @ Error::Unavailable { .. }) => {
                    tracing::debug!(%error, "signing waits");
                }
                Err(error) => {
                    self.stats.head_failures.add(1);
                    tracing::warn!(%error, "heads cannot be signed and will be tried again");
                }
            }
        }
    }

    /// What was recorded is signed when the engine closes, if it is ever signed by itself.
    pub(crate) fn sign_before_closing(&self) {
        let closing = self.closing.load(Ordering::Acquire);
        if closing || self.options.head_interval_ms == 0 {
            return;
        }
        if let Err(error) = self.sign_heads() {
            tracing::debug!(%error, "nothing is signed before closing");
        }
    }

    fn tree(&self, room: RoomId) -> Result<Tree> {
        let row = self.store.get(Family::State, &keys::tip(room))?;
        let tip: Option<TipRow> = row.map(|row| decode_row(&row, "tip row")).transpose()?;
        Ok(tip.map_or_else(Tree::default, |tip| tip.tree))
    }

    fn head_log(&self) -> Result<HeadLog> {
        head_log(&*self.store)
    }

    /// One signature at a time, and none while records are missing: nothing is written then, nor is
    /// a key made.
    fn begin_signing(&self) -> Result<MutexGuard<'_, Known>> {
        match self.restricted.is_empty() {
            true => Ok(self.notary.known.lock()),
            false => Err(Error::Unavailable { why: "restricted: records were lost" }),
        }
    }

    fn sign_heads(&self) -> Result<Option<Head>> {
        let mut known = self.begin_signing()?;
        let log = self.head_log()?;
        let (grown, upto) = {
            let mut applier = self.applier.lock();
            (applier.take_grown(), applier.applied())
        };
        // What grew before this start, or was too much to remember, is found where it stands.
        let grown = match grown.filter(|_| known.looked) {
            Some(grown) => grown.into_iter().collect(),
            None => self.grown_since(log.upto())?,
        };
        known.looked = true;
        let mut grown: Vec<RoomId> = grown.into_iter().collect();
        grown.retain(|room| *room != RoomId::SYSTEM_HEADS);
        grown.sort_unstable();
        if grown.is_empty() {
            return Ok(log.newest());
        }
        let signed = self.sign(&mut known, &log, &grown, upto);
        // Listed twice is no harm; not at all would be.
        known.looked = signed.is_ok();
        signed.map(Some)
    }

    fn sign(&self, known: &mut Known, log: &HeadLog, grown: &[RoomId], upto: Lsn) -> Result<Head> {
        self.find_key(known, log)?;
        for rooms in grown.chunks(HEADS_MAX) {
            let mut heads = Vec::with_capacity(rooms.len());
            for room in rooms {
                let tree = self.tree(*room)?;
                // Of one whose first record is not applied yet there is nothing to list.
                if tree.size() > 0 {
                    heads.push(RoomHead { room: *room, size: tree.size(), root: tree.root() });
                }
            }
            self.append_and_wait(vec![own_draft(Payload::RoomHeads(RoomHeads { heads }))])?;
        }
        let log = self.head_log()?;
        let tree = self.tree(RoomId::SYSTEM_HEADS)?;
        let Some((signer, (key, _))) = known.signer.as_ref().zip(log.keys.last_key_value()) else {
            return Err(Error::Unavailable { why: "there is no key to sign heads with" });
        };
        let (size, root, time) = (tree.size(), tree.root(), self.clock.now_or_floor());
        let origin = signer.verifier().name().to_owned();
        let checkpoint = Checkpoint { origin, size, root, upto, time };
        let signature = signer.sign(checkpoint.to_text().as_bytes());
        let signed = SignedHead { size, root, upto, time, key: *key, signature };
        self.append_and_wait(vec![own_draft(Payload::SignedHead(signed))])?;
        self.stats.heads_signed.add(1);
        self.stats.head_lsn.set(upto.0);
        let newest = self.head_log()?.newest();
        newest.ok_or(Error::Unavailable { why: "the signed head is not there yet" })
    }

    /// Rooms of which a record stands behind a place of the log.
    fn grown_since(&self, upto: Lsn) -> Result<BTreeSet<RoomId>> {
        let packs: Vec<_> = {
            let manifest = self.manifest.lock();
            let newer = manifest.state().packs.values().filter(|meta| meta.last_lsn > upto);
            newer.cloned().collect()
        };
        let mut grown: BTreeSet<RoomId> = BTreeSet::new();
        for meta in packs {
            let mut of_pack = Vec::new();
            self.history.packs.visit_index(&meta, &mut |run| {
                of_pack.extend((run.last_lsn > upto).then_some(run.room));
            })?;
            grown.extend(of_pack);
        }
        let unsealed = self.history.tails.unsealed(upto, Lsn(u64::MAX));
        grown.extend(unsealed.into_iter().map(|unsealed| unsealed.room));
        Ok(grown)
    }

    /// The key to sign with: the one whose public half is recorded last; without it a new one.
    fn find_key(&self, known: &mut Known, log: &HeadLog) -> Result<()> {
        let recorded = log.keys.last_key_value().map(|(_, key)| key.clone());
        let is_it = |signer: &Signer| recorded.as_ref() == Some(&signer.verifier());
        if known.signer.as_ref().is_some_and(is_it) {
            return Ok(());
        }
        let (own, next) = (self.read_key(KEY)?, self.read_key(NEXT_KEY)?);
        known.signer = match (own.filter(is_it), next.filter(is_it)) {
            (Some(own), _) => Some(own),
            // Its record was kept, and then the start ended.
            (None, Some(next)) => {
                self.disk.rename_durably(KEYS, NEXT_KEY, KEY)?;
                Some(next)
            }
            (None, None) => None,
        };
        if known.signer.is_some() {
            return Ok(());
        }
        if let Some(key) = recorded {
            tracing::warn!(%key, "key of signed heads is not in keys/: a new one is made");
        }
        self.new_key(known, log)
    }

    fn read_key(&self, name: &str) -> Result<Option<Signer>> {
        let path = join(KEYS, name);
        if !self.disk.exists(&path)? {
            return Ok(None);
        }
        let bytes = self.disk.read_all(&path, KEY_BYTES_MAX)?;
        let signer = std::str::from_utf8(&bytes).ok().and_then(|text| Signer::parse(text).ok());
        if signer.is_none() {
            tracing::warn!(file = path, "key cannot be read");
        }
        Ok(signer)
    }

    /// Makes a key, records its public half, and signs with it from then on.
    ///
    /// ORDERING: the key is durable before its record, and takes the place of the one before when
    /// the record is.
    fn new_key(&self, known: &mut Known, log: &HeadLog) -> Result<()> {
        let mut secret = [0; 32];
        self.clock.random(&mut secret)?;
        let signer = Signer::new(log.name(), &secret);
        let public = signer.verifier().public();
        let name = signer.verifier().name().to_owned();
        let endorsed = match &known.signer {
            Some(before) => before.sign(&endorsement(&name, &public)),
            None => [0; 64],
        };
        self.disk.write_whole(KEYS, NEXT_KEY, signer.private_text().as_bytes())?;
        let key = SigningKey { public, endorsed };
        self.append_and_wait(vec![own_draft(Payload::SigningKey(key))])?;
        self.disk.rename_durably(KEYS, NEXT_KEY, KEY)?;
        known.signer = Some(signer);
        Ok(())
    }

    fn rotate_head_key(&self) -> Result<Verifier> {
        let key = {
            let mut known = self.begin_signing()?;
            self.find_key(&mut known, &self.head_log()?)?;
            self.new_key(&mut known, &self.head_log()?)?;
            known.signer.as_ref().map(Signer::verifier)
        };
        key.ok_or(Error::Unavailable { why: "there is no key to sign heads with" })
    }
}

/// What the room of heads says, as far as it is applied.
///
/// # Errors
/// `Io` or `Corrupt` of the catalog.
pub(crate) fn head_log(store: &dyn CatalogStore) -> Result<HeadLog> {
    let mut log = HeadLog::default();
    walk_prefix(store, Family::State, keys::SIGNING_KEYS, &mut |key, value| {
        let rev = Rev(keys::number_at(key, keys::SIGNING_KEY_REV_AT));
        log.take_key(rev, &decode_row(value, "signing key row")?);
        Ok(Go::On)
    })?;
    let newest = store.get(Family::State, keys::NEWEST_HEAD)?;
    log.newest = newest.map(|row| decode_row(&row, "head row")).transpose()?;
    Ok(log)
}
