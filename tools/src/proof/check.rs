//! Checking proofs: with the document and a public key, and nothing else.
//!
//! Everything it says of a message is decoded from bytes that hash to the leaf or to a commitment
//! in it; the summary that the document carries for people must agree with that.

use std::path::PathBuf;

use clap::Args;
use hansard_engine::error::{Error, Result};
use hansard_engine::format::codec::Reader;
use hansard_engine::format::payload::{Kind, Payload, RoomHead};
use hansard_engine::proof::Hash;
use hansard_engine::proof::leaf::{Leaf, head_leaf, origin_hash, origin_of, said_hash};
use hansard_engine::proof::note::{Checkpoint, Verifier, open_note};
use hansard_engine::proof::salts::Seed;
use hansard_engine::proof::tree::{is_consistent, leaf_hash, root_of};
use hansard_engine::types::{RoomId, Seq};
use serde_json::{Value, json};

use super::file::{Consistency, Document, Opening, Proof, unhex};
use super::{keys_of, read_text};
use crate::dump::moment;
use crate::{DAMAGE, say};

/// Bytes of a file of proofs at most.
const FILE_BYTES_MAX: u64 = 1 << 30;
/// Hashes of a path at most: a tree has no more levels.
const PATH_MAX: usize = 64;

/// What to check.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// A file with what `prove` printed; `-` for standard input.
    pub file: PathBuf,
    /// The public key, or a file with keys, one a line: from the auditor's own records.
    #[arg(long, value_name = "KEY")]
    pub key: String,
    /// Print one JSON document a proof.
    #[arg(long)]
    pub json: bool,
}

/// Why a proof proves nothing.
pub(crate) type Wrong = String;

/// Runs `check-proof`.
///
/// # Errors
/// `Io` of the file, `Invalid` of the key. A proof that proves nothing is no error but exit 1.
pub(crate) fn check(args: &CheckArgs) -> Result<u8> {
    let keys = keys_of(&args.key)?;
    let text = read_text(&args.file, FILE_BYTES_MAX)?;
    let (mut lines, mut code, mut count) = (String::new(), 0, 0_u64);
    for value in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
        count += 1;
        // Behind what is no JSON nothing can be told apart.
        let broken = value.is_err();
        let done = match value.and_then(serde_json::from_value) {
            Ok(Document::Message(proof)) => message(&proof, &keys),
            Ok(Document::Consistency(two)) => consistent(&two, &keys),
            Err(wrong) => Err(format!("this is no proof: {wrong}")),
        };
        code = if done.is_err() { DAMAGE } else { code };
        match (done, args.json) {
            (Ok(proved), true) => lines += &json!({ "ok": true, "proved": proved }).to_string(),
            (Ok(proved), false) => lines += &format!("proved {proved}"),
            (Err(why), true) => lines += &json!({ "ok": false, "reason": why }).to_string(),
            (Err(why), false) => lines += &format!("NOT PROVED number={count}: {why}"),
        }
        lines += "\n";
        if broken {
            break;
        }
    }
    if count == 0 {
        return Err(Error::Invalid { what: format!("no proof in the file path={:?}", args.file) });
    }
    say(&lines)?;
    Ok(code)
}

fn bytes(text: &str, what: &str) -> std::result::Result<Vec<u8>, Wrong> {
    unhex(text).ok_or_else(|| format!("{what} is not hexadecimal"))
}

fn fixed<const N: usize>(text: &str, what: &str) -> std::result::Result<[u8; N], Wrong> {
    bytes(text, what)?.try_into().map_err(|_| format!("{what} has another length"))
}

fn path(list: &[String], what: &str) -> std::result::Result<Vec<Hash>, Wrong> {
    if list.len() > PATH_MAX {
        return Err(format!("{what} is too long"));
    }
    list.iter().map(|text| fixed(text, what)).collect()
}

fn signed(note: &str, keys: &[Verifier]) -> std::result::Result<Checkpoint, Wrong> {
    open_note(note, keys).map(|(checkpoint, _)| checkpoint).map_err(|wrong| wrong.to_string())
}

/// What a message's proof proves.
pub(crate) fn message(proof: &Proof, keys: &[Verifier]) -> std::result::Result<Value, Wrong> {
    let head = signed(&proof.head, keys)?;
    let data = bytes(&proof.leaf, "leaf")?;
    let leaf = Leaf::from_bytes(&data).map_err(|wrong| format!("leaf: {wrong}"))?;
    let (room, size) = (leaf.room, proof.room.size);
    let at = leaf.rev.0.checked_sub(1).ok_or("leaf: it has no place in its room")?;
    let root = root_of(leaf_hash(&data), at, size, &path(&proof.room.path, "room.path")?);
    let root = root.ok_or("room.path does not fit the tree")?;

    let list = &proof.listed;
    let entry = head_leaf(&RoomHead { room, size, root });
    let entries = root_of(entry, list.index, list.entries, &path(&list.path, "listed.path")?);
    let entries = entries.ok_or("listed.path does not fit the list")?;
    let data = bytes(&list.leaf, "listed.leaf")?;
    let listed = Leaf::from_bytes(&data).map_err(|wrong| format!("listed.leaf: {wrong}"))?;
    let salt: Seed = fixed(&list.salt, "listed.salt")?;
    if (listed.kind, listed.room) != (Kind::RoomHeads, RoomId::SYSTEM_HEADS) {
        return Err("listed.leaf is of no list of rooms".into());
    }
    if said_hash(&salt, &entries) != listed.said {
        return Err("the room is not in the list with this root".into());
    }
    let at = listed.rev.0.checked_sub(1).ok_or("listed.leaf: it has no place in its room")?;
    let top = root_of(leaf_hash(&data), at, head.size, &path(&proof.heads.path, "heads.path")?);
    if top != Some(head.root) {
        return Err("the list is not under the signed head".into());
    }
    let proved = shown(&leaf, proof.said.as_ref(), proof.origin.as_ref())?;
    if proved != proof.message {
        return Err("message says something else than what is proved".into());
    }
    let mut proved = proved;
    proved["log"] = head.origin.into();
    proved["signed"] = moment(head.time).into();
    Ok(proved)
}

/// What a leaf and its opened commitments say.
///
/// # Errors
/// If an opening does not fit its commitment, or is of another form.
pub(crate) fn shown(
    leaf: &Leaf,
    said: Option<&Opening>,
    origin: Option<&Opening>,
) -> std::result::Result<Value, Wrong> {
    let mut shown = json!({
        "room": leaf.room.to_string(),
        "rev": leaf.rev.0,
        "epoch": leaf.epoch.0,
        "lsn": leaf.lsn.0,
        "recorded": moment(leaf.recorded),
        "time": moment(leaf.time),
        "author": { "id": leaf.actor.to_string(), "name": leaf.name },
        "door": leaf.door.as_str(),
        "kind": leaf.kind.as_str(),
    });
    if leaf.seq > Seq::ZERO {
        shown["seq"] = leaf.seq.0.into();
    }
    if let Some(said) = said {
        let (salt, bytes): (Seed, _) =
            (fixed(&said.salt, "said.salt")?, bytes(&said.bytes, "said.bytes")?);
        if said_hash(&salt, &bytes) != leaf.said {
            return Err("said is not what the leaf commits to".into());
        }
        let reader = &mut Reader::new(&bytes);
        let payload = Payload::get(leaf.kind, reader).map_err(|wrong| format!("said: {wrong}"))?;
        reader.end("said").map_err(|wrong| format!("said: {wrong}"))?;
        match payload {
            Payload::Edited(edit) => {
                shown["edits"] = edit.seq.0.into();
                shown["body"] = edit.body.into();
            }
            Payload::Redacted(redaction) => {
                shown["redacts"] = redaction.seq.0.into();
                shown["reason"] = redaction.reason.into();
            }
            Payload::Erased(erasure) => {
                shown["erases"] = erasure.seq.0.into();
                shown["reason"] = erasure.reason.into();
            }
            Payload::Post(post) => {
                shown["kind"] = post.kind.as_str().into();
                shown["body"] = post.body.into();
                if post.reply_to > Seq::ZERO {
                    shown["reply_to"] = post.reply_to.0.into();
                }
                if let Some(mark) = post.import {
                    shown["source"] = json!({
                        "name": mark.source,
                        "format": mark.format,
                        "importer": mark.importer.to_string(),
                    });
                }
            }
            _ => {}
        }
    }
    if let Some(origin) = origin {
        let (salt, bytes): (Seed, _) =
            (fixed(&origin.salt, "origin.salt")?, bytes(&origin.bytes, "origin.bytes")?);
        if origin_hash(&salt, &bytes) != leaf.origin {
            return Err("origin is not what the leaf commits to".into());
        }
        let (address, session, policy) =
            origin_of(&bytes).map_err(|wrong| format!("origin: {wrong}"))?;
        shown["address"] = address.into();
        shown["session"] = session.to_string().into();
        shown["policy"] = policy.0.into();
    }
    Ok(shown)
}

/// What two heads prove together.
fn consistent(two: &Consistency, keys: &[Verifier]) -> std::result::Result<Value, Wrong> {
    let (old, new) = (signed(&two.old, keys)?, signed(&two.head, keys)?);
    if old.origin != new.origin {
        return Err("the heads are of two logs".into());
    }
    let (before, after) = ((old.size, &old.root), (new.size, &new.root));
    if !is_consistent(before, after, &path(&two.path, "path")?) {
        return Err("the later head does not follow from the earlier".into());
    }
    Ok(json!({
        "log": new.origin,
        "from": { "size": old.size, "signed": moment(old.time), "upto_lsn": old.upto.0 },
        "to": { "size": new.size, "signed": moment(new.time), "upto_lsn": new.upto.0 },
    }))
}
