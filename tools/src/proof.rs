//! `prove` and `check-proof`: what shows offline that messages are in the record, and the check.
//!
//! A proof goes from the message's leaf up its room's tree to a root, from that root's entry in a
//! list of rooms to the tree over those lists, and from there to a signature. `prove` reads packs
//! and journal, never the catalog; `check-proof` reads the proof and a public key, nothing else.
//!
//! INVARIANT: what `check-proof` says of a message it took from bytes that lead to the signature.

mod check;
mod file;
mod salts;
mod source;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use hansard_engine::error::{Error, Result};
use hansard_engine::format::payload::{Payload, RoomHead, RoomHeads};
use hansard_engine::format::record::Record;
use hansard_engine::proof::leaf::{Leaf, heads_path, origin_bytes, said_bytes};
use hansard_engine::proof::note::{NOTE_BYTES_MAX, Verifier, open_note};
use hansard_engine::proof::tree::{consistency, inclusion, root_at};
use hansard_engine::storage::Disk;
use hansard_engine::storage::real::RealStorage;
use hansard_engine::types::{RoomId, Seq};

use crate::open::Directory;
use crate::verify::Against;
use crate::{DAMAGE, say};
pub use check::CheckArgs;
pub(crate) use check::check;
pub(crate) use file::hex;
use file::{Consistency, Document, Heads, Listed, Opening, Proof, RoomPath};
use source::HeadList;
pub(crate) use source::{HeadEvent, Step, Trees};

/// What to prove.
#[derive(Debug, Args)]
pub struct ProveArgs {
    /// The data directory.
    pub dir: PathBuf,
    /// The room.
    #[arg(long, value_name = "ID", required_unless_present_any = ["head", "since"])]
    pub room: Option<RoomId>,
    /// The message's number in the room, or a range like 5-9; may be given again.
    #[arg(long, value_name = "SEQ", value_parser = range, requires = "room")]
    pub seq: Vec<(Seq, Seq)>,
    /// Leave out what the message says: the proof is that there is one, of whom and when.
    #[arg(long)]
    pub without_words: bool,
    /// Show the client's address and session as well.
    #[arg(long)]
    pub with_origin: bool,
    /// Print the newest signed head instead: a note to keep on another machine.
    #[arg(long, conflicts_with_all = ["room", "since"])]
    pub head: bool,
    /// Prove instead that the newest signed head follows from this one.
    #[arg(long, value_name = "FILE", conflicts_with = "room")]
    pub since: Option<PathBuf>,
}

/// A number or a range of the command line.
fn range(text: &str) -> std::result::Result<(Seq, Seq), String> {
    let wrong = || "not a number like 5 or a range like 5-9".to_owned();
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u64 = first.parse().map_err(|_| wrong())?;
    let last: u64 = last.parse().map_err(|_| wrong())?;
    if first == 0 || last < first { Err(wrong()) } else { Ok((Seq(first), Seq(last))) }
}

/// The text of a file that the command line names.
///
/// # Errors
/// `Io`, or `Invalid` if it is no text.
pub(crate) fn read_text(path: &Path, most: u64) -> Result<String> {
    if path == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().take(most).read_to_string(&mut text);
        let failed = |error: std::io::Error| Error::Io {
            op: "read",
            path: PathBuf::from("standard input"),
            kind: error.kind(),
            message: error.to_string(),
        };
        return read.map(|_| text).map_err(failed);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let disk = Disk::new(Arc::new(RealStorage::new(folder.unwrap_or(Path::new(".")))));
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    let bytes = disk.read_all(&name, most)?;
    let text = String::from_utf8(bytes);
    text.map_err(|_| Error::Invalid { what: format!("the file is no text path={path:?}") })
}

/// Keys of a command line: the text of a key, or a file with one a line.
///
/// # Errors
/// `Invalid` if a key is none; `Io`.
pub(crate) fn keys_of(given: &str) -> Result<Vec<Verifier>> {
    let text = match Verifier::parse(given) {
        Ok(key) => return Ok(vec![key]),
        Err(wrong) if !Path::new(given).exists() => {
            return Err(Error::Invalid { what: format!("{wrong} key={given:?}") });
        }
        Err(_) => read_text(Path::new(given), NOTE_BYTES_MAX as u64)?,
    };
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    let key = |line: &str| {
        Verifier::parse(line)
            .map_err(|wrong| Error::Invalid { what: format!("{wrong} file={given:?}") })
    };
    let keys: Vec<Verifier> = lines.map(key).collect::<Result<_>>()?;
    // Without a key everything would be believed.
    if keys.is_empty() {
        return Err(Error::Invalid { what: format!("no key in the file path={given:?}") });
    }
    Ok(keys)
}

/// What the command line of `verify` holds the record against.
///
/// # Errors
/// `Io` of the files, `Invalid` of a key.
pub(crate) fn against(head: Option<&Path>, key: Option<&str>) -> Result<Against> {
    let head = head.map(|file| read_text(file, NOTE_BYTES_MAX as u64)).transpose()?;
    let keys = key.map(keys_of).transpose()?.unwrap_or_default();
    Ok(Against { head, keys })
}

/// Runs `prove`.
///
/// # Errors
/// What keeps the directory from being opened; `Invalid` if there is nothing to prove, or no head
/// that covers it.
pub(crate) fn prove(args: &ProveArgs) -> Result<u8> {
    let directory = Directory::open(&args.dir)?;
    let mut trees = Trees::open(&directory)?;
    trees.damage.iter().for_each(|said| eprintln!("hansard-tool: {said}"));
    let room = args.room.unwrap_or(RoomId::NONE);
    let heads = trees.heads(room)?;
    let newest = heads.log.newest();
    let newest =
        newest.ok_or_else(|| invalid("no head is signed yet: `hansard admin head sign`"))?;
    if args.head {
        return say(&newest.note).map(|()| 0);
    }
    if let Some(file) = &args.since {
        let keys: Vec<Verifier> = heads.log.keys().values().cloned().collect();
        let note = read_text(file, NOTE_BYTES_MAX as u64)?;
        let (old, _) = open_note(&note, &keys)
            .map_err(|wrong| Error::Invalid { what: format!("{wrong} file={file:?}") })?;
        let mut source = trees.nodes(RoomId::SYSTEM_HEADS)?;
        let (from, to) = (old.size, newest.checkpoint.size);
        if root_at(from, &mut |level, index| source.node(level, index))? != old.root {
            eprintln!("hansard-tool: the record does not begin with what was signed file={file:?}");
            return Ok(DAMAGE);
        }
        let path = consistency(from, to, &mut |level, index| source.node(level, index))?;
        let path = path.iter().map(|hash| hex(hash)).collect();
        let document = Document::Consistency(Consistency { old: note, head: newest.note, path });
        return say(&(document.to_text() + "\n")).map(|()| 0);
    }
    let Some(listed) = &heads.newest else {
        return Err(invalid("no signed head covers the room: is there such a room?"));
    };
    trees.take(&(room..=room)).iter().for_each(|said| eprintln!("hansard-tool: {said}"));
    let mut maker = Maker { args, trees: &trees, newest: &newest.note, listed };
    maker.all(room, newest.checkpoint.size)
}

fn invalid(what: &str) -> Error {
    Error::Invalid { what: what.to_owned() }
}

/// What of a range is not among these, as ranges.
fn missing((first, last): (Seq, Seq), made: &BTreeSet<Seq>) -> Vec<(Seq, Seq)> {
    let (mut missing, mut next) = (Vec::new(), first);
    for seq in made.range(first..=last) {
        if *seq > next {
            missing.push((next, Seq(seq.0 - 1)));
        }
        next = seq.next();
    }
    if next <= last {
        missing.push((next, last));
    }
    missing
}

/// Makes proofs of one room's messages.
struct Maker<'a> {
    args: &'a ProveArgs,
    trees: &'a Trees<'a>,
    newest: &'a str,
    listed: &'a HeadList,
}

impl Maker<'_> {
    fn all(&mut self, room: RoomId, heads_size: u64) -> Result<u8> {
        let Some((record, index)) = self.trees.list_record(self.listed)? else {
            return Err(invalid("the record that lists the room's head cannot be read"));
        };
        let Payload::RoomHeads(RoomHeads { heads }) = &record.payload else {
            return Err(invalid("the record that lists the room's head is another one"));
        };
        let Some(head) = heads.get(index) else {
            return Err(invalid("the record that lists the room's head is another one"));
        };
        let salts = self.trees.salts(record.lsn);
        let salts = salts.ok_or_else(|| invalid("the salts of a list of heads are not known"))?;
        let leaf = Leaf::of(&record, &salts);
        let mut of_heads = self.trees.nodes(RoomId::SYSTEM_HEADS)?;
        let path = inclusion(record.rev.0 - 1, heads_size, &mut |l, i| of_heads.node(l, i))?;
        let listed = Listed {
            leaf: hex(&leaf.to_bytes()),
            salt: hex(&salts.said),
            entries: heads.len() as u64,
            index: index as u64,
            path: heads_path(heads, index as u64).iter().map(|hash| hex(hash)).collect(),
        };
        let heads = Heads { path: path.iter().map(|hash| hex(hash)).collect() };
        self.messages(room, head, &listed, &heads)
    }

    fn wants(&self, seq: Seq) -> bool {
        seq > Seq::ZERO
            && (self.args.seq.is_empty()
                || self.args.seq.iter().any(|(first, last)| (*first..=*last).contains(&seq)))
    }

    fn messages(
        &self,
        room: RoomId,
        head: &RoomHead,
        listed: &Listed,
        heads: &Heads,
    ) -> Result<u8> {
        let mut nodes = self.trees.nodes(room)?;
        if root_at(head.size, &mut |level, index| nodes.node(level, index))? != head.root {
            eprintln!(
                "hansard-tool: the room's records are not those that were signed: see \
                 `hansard-tool verify` room={room}"
            );
            return Ok(DAMAGE);
        }
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let (mut made, mut failed) = (BTreeSet::new(), None);
        let redacted = self.trees.redacted(room)?;
        self.trees.each(room, &mut |step| {
            let Step::Record(record) = step else { return Ok(()) };
            // An entry, or what was done to it.
            let of = record.payload.amends().unwrap_or(record.seq);
            if !self.wants(of) || record.rev.0 > head.size || failed.is_some() {
                return Ok(());
            }
            let hidden = redacted.contains(&of) && !matches!(record.payload, Payload::Redacted(_));
            let words = !self.args.without_words && !hidden;
            let Some(proof) = self.proof(&record, words, head, (listed, heads), &mut nodes)? else {
                return Ok(());
            };
            made.insert(record.seq);
            if let Err(error) = writeln!(out, "{}", Document::Message(Box::new(proof)).to_text()) {
                failed = Some(error);
            }
            Ok(())
        })?;
        let failed = failed.or_else(|| out.flush().err());
        match failed {
            Some(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(0),
            Some(error) => {
                let (path, message) = (PathBuf::from("standard output"), error.to_string());
                return Err(Error::Io { op: "write", path, kind: error.kind(), message });
            }
            None => {}
        }
        if made.is_empty() {
            return Err(invalid("no such message under the newest signed head"));
        }
        // Nobody shall take it for proved because nothing was said.
        for (first, last) in self.args.seq.iter().flat_map(|range| missing(*range, &made)) {
            eprintln!(
                "hansard-tool: not proved seq={first}..{last}: erased, expired, damaged, or not \
                 under the newest signed head"
            );
        }
        Ok(0)
    }

    /// None if the salts of the record are forgotten: then nothing ties it to the tree.
    fn proof(
        &self,
        record: &Record,
        words: bool,
        head: &RoomHead,
        (listed, heads): (&Listed, &Heads),
        nodes: &mut source::Nodes<'_>,
    ) -> Result<Option<Proof>> {
        let Some(salts) = self.trees.salts(record.lsn) else { return Ok(None) };
        let leaf = Leaf::of(record, &salts);
        let path = inclusion(record.rev.0 - 1, head.size, &mut |l, i| nodes.node(l, i))?;
        let said = words
            .then(|| Opening { salt: hex(&salts.said), bytes: hex(&said_bytes(&record.payload)) });
        let origin = self.args.with_origin.then(|| Opening {
            salt: hex(&salts.origin),
            bytes: hex(&origin_bytes(&record.actor, record.policy)),
        });
        let shown = check::shown(&leaf, said.as_ref(), origin.as_ref());
        let message = shown.map_err(|wrong| Error::Invalid { what: wrong })?;
        let path = path.iter().map(|hash| hex(hash)).collect();
        Ok(Some(Proof {
            message,
            leaf: hex(&leaf.to_bytes()),
            said,
            origin,
            room: RoomPath { size: head.size, path },
            listed: listed.clone(),
            heads: heads.clone(),
            head: self.newest.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_proved_is_told_in_ranges() {
        let made: BTreeSet<Seq> = [0, 2, 3, 7].map(Seq).into();
        let told = |first, last| {
            let ranges = missing((Seq(first), Seq(last)), &made);
            ranges.into_iter().map(|(a, b)| (a.0, b.0)).collect::<Vec<_>>()
        };
        assert_eq!(told(1, 8), [(1, 1), (4, 6), (8, 8)]);
        assert_eq!(told(2, 3), []);
        assert_eq!(told(9, u64::MAX), [(9, u64::MAX)]);
    }

    #[test]
    fn a_file_without_a_key_is_no_key() {
        for given in ["/dev/null", "nonsense", "/nowhere"] {
            assert!(matches!(keys_of(given), Err(Error::Invalid { .. })), "{given}");
        }
    }

    #[test]
    fn a_range_has_two_ends_in_order() {
        assert_eq!(range("5"), Ok((Seq(5), Seq(5))));
        assert_eq!(range("5-9"), Ok((Seq(5), Seq(9))));
        for wrong in ["", "0", "9-5", "a", "5-", "-5", "5-9-11"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }
}
