//! A record's leaf: its metadata, and commitments to what it says and to where it came from.
//!
//! A proof can show a leaf without either, with one or with both; once a place's salts are
//! forgotten, nothing about them can be told from it. Idempotency keys are in no leaf: they leave
//! with their window.
//!
//! INVARIANT: everything else that a record's bytes say is in its leaf or under a commitment.

use sha2::{Digest, Sha256};

use super::salts::{PlaceSalts, Seed};
use super::tree::{Hash, inclusion, leaf_hash, node_hash, root_at, unknown_leaf};
use crate::format::codec::{DecodeError, Reader, put_bytes};
use crate::format::payload::{Kind, Payload, RoomHead};
use crate::format::record::{Actor, Door, Record};
use crate::format::wire::{Wire, to_bytes};
use crate::limits;
use crate::types::{Epoch, Lsn, PrincipalId, Rev, RoomId, Seq, TimeUs, TokenId};

/// The first byte of a leaf's data: the form of what follows.
const VERSION: u8 = 1;
/// The first byte of what a commitment to what was said hashes.
const SAID: u8 = 2;
/// The first byte of what a commitment to where it came from hashes.
const ORIGIN: u8 = 3;

/// What a leaf is the hash of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// The record's kind.
    pub kind: Kind,
    /// The epoch it was ordered in.
    pub epoch: Epoch,
    /// Its place in the log.
    pub lsn: Lsn,
    /// Its room.
    pub room: RoomId,
    /// Its place among everything that happened to the room.
    pub rev: Rev,
    /// Its place in the timeline; zero if it has none.
    pub seq: Seq,
    /// When the log took it.
    pub recorded: TimeUs,
    /// When it was said.
    pub time: TimeUs,
    /// Who did it.
    pub actor: PrincipalId,
    /// His name then.
    pub name: String,
    /// The way in.
    pub door: Door,
    /// The commitment to what it says.
    pub said: Hash,
    /// The commitment to where it came from.
    pub origin: Hash,
}

/// The commitment to a record's body.
#[must_use]
pub fn said_hash(salt: &Seed, body: &[u8]) -> Hash {
    Sha256::new().chain_update([SAID]).chain_update(salt).chain_update(body).finalize().into()
}

/// The commitment to where a record came from.
#[must_use]
pub fn origin_hash(salt: &Seed, origin: &[u8]) -> Hash {
    Sha256::new().chain_update([ORIGIN]).chain_update(salt).chain_update(origin).finalize().into()
}

/// What stands under a commitment to what is said: the body's bytes; of room heads the root of the
/// tree over them, so that a proof shows one without the others.
#[must_use]
pub fn said_bytes(payload: &Payload) -> Vec<u8> {
    if let Payload::RoomHeads(heads) = payload {
        return heads_root(&heads.heads).to_vec();
    }
    let mut bytes = Vec::with_capacity(128);
    payload.put(&mut bytes);
    bytes
}

/// What stands under a commitment to where a record came from.
#[must_use]
pub fn origin_bytes(actor: &Actor, policy: Lsn) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    put_bytes(&mut bytes, actor.address.as_bytes());
    actor.session.put(&mut bytes);
    policy.put(&mut bytes);
    bytes
}

/// Where a record came from, of the bytes under its commitment: address, session, policy.
///
/// # Errors
/// If they are of another form.
pub fn origin_of(bytes: &[u8]) -> Result<(String, TokenId, Lsn), DecodeError> {
    let reader = &mut Reader::new(bytes);
    let address = reader.text(limits::ADDRESS_BYTES_MAX, "origin.address")?.to_owned();
    let session = TokenId::get(reader, "origin.session")?;
    let policy = Lsn::get(reader, "origin.policy")?;
    reader.end("origin.end")?;
    Ok((address, session, policy))
}

/// The leaf of one room's head among those of a record.
#[must_use]
pub fn head_leaf(head: &RoomHead) -> Hash {
    leaf_hash(&to_bytes(head))
}

/// The hash of the perfect subtree at (`level`, `index`) over these heads.
fn head_node(heads: &[RoomHead], level: u32, index: u64) -> Hash {
    match level {
        0 => {
            let head = usize::try_from(index).ok().and_then(|at| heads.get(at));
            head.map_or_else(unknown_leaf, head_leaf)
        }
        _ => {
            let left = head_node(heads, level - 1, index * 2);
            node_hash(&left, &head_node(heads, level - 1, index * 2 + 1))
        }
    }
}

/// The root of the tree over a record's room heads.
#[must_use]
pub fn heads_root(heads: &[RoomHead]) -> Hash {
    let node: &mut dyn FnMut(u32, u64) -> Result<Hash, std::convert::Infallible> =
        &mut |level, index| Ok(head_node(heads, level, index));
    let Ok(root) = root_at(heads.len() as u64, node);
    root
}

/// The audit path of one of a record's room heads.
#[must_use]
pub fn heads_path(heads: &[RoomHead], index: u64) -> Vec<Hash> {
    let node: &mut dyn FnMut(u32, u64) -> Result<Hash, std::convert::Infallible> =
        &mut |level, index| Ok(head_node(heads, level, index));
    let Ok(path) = inclusion(index, heads.len() as u64, node);
    path
}

impl Leaf {
    /// The leaf of a record.
    #[must_use]
    pub fn of(record: &Record, salts: &PlaceSalts) -> Self {
        let said = said_hash(&salts.said, &said_bytes(&record.payload));
        let origin = origin_hash(&salts.origin, &origin_bytes(&record.actor, record.policy));
        Self {
            kind: record.payload.kind(),
            epoch: record.epoch,
            lsn: record.lsn,
            room: record.room,
            rev: record.rev,
            seq: record.seq,
            recorded: record.recorded,
            time: record.time,
            actor: record.actor.id,
            name: record.actor.name.clone(),
            door: record.actor.door,
            said,
            origin,
        }
    }

    /// What is hashed.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend([VERSION, self.kind.code()]);
        self.epoch.put(&mut out);
        self.lsn.put(&mut out);
        self.room.put(&mut out);
        self.rev.put(&mut out);
        self.seq.put(&mut out);
        self.recorded.put(&mut out);
        self.time.put(&mut out);
        self.actor.put(&mut out);
        put_bytes(&mut out, self.name.as_bytes());
        self.door.put(&mut out);
        self.said.put(&mut out);
        self.origin.put(&mut out);
        out
    }

    /// Reads what was hashed.
    ///
    /// # Errors
    /// If the bytes are not of that form.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(bytes);
        let wrong = reader.error("leaf.version");
        if reader.u8("leaf.version")? != VERSION {
            return Err(wrong);
        }
        let leaf = Self {
            kind: Kind::get(reader, "leaf.kind")?,
            epoch: Epoch::get(reader, "leaf.epoch")?,
            lsn: Lsn::get(reader, "leaf.lsn")?,
            room: RoomId::get(reader, "leaf.room")?,
            rev: Rev::get(reader, "leaf.rev")?,
            seq: Seq::get(reader, "leaf.seq")?,
            recorded: TimeUs::get(reader, "leaf.recorded")?,
            time: TimeUs::get(reader, "leaf.time")?,
            actor: PrincipalId::get(reader, "leaf.actor")?,
            name: reader.text(limits::NAME_BYTES_MAX, "leaf.name")?.to_owned(),
            door: Door::get(reader, "leaf.door")?,
            said: Hash::get(reader, "leaf.said")?,
            origin: Hash::get(reader, "leaf.origin")?,
        };
        reader.end("leaf.end")?;
        Ok(leaf)
    }

    /// The leaf's hash.
    #[must_use]
    pub fn hash(&self) -> Hash {
        leaf_hash(&self.to_bytes())
    }
}

/// The leaf hash of a record; an unknown leaf's if the record is lost or its salts are.
#[must_use]
pub fn record_leaf(record: &Record, salts: Option<&PlaceSalts>) -> Hash {
    match (&record.payload, salts) {
        (Payload::Lost(_), _) | (_, None) => unknown_leaf(),
        (_, Some(salts)) => Leaf::of(record, salts).hash(),
    }
}

#[cfg(test)]
#[path = "leaf_tests.rs"]
mod tests;
