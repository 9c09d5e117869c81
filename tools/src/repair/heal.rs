//! Packs: which of them are what was written, and making good what is not.
//!
//! A pack checks itself: header, footer, run index, a checksum for each block; the digest in the
//! manifest covers the whole. From a copy only such bytes are taken as one of these checks accepts.
//! A run index that is lost is made again of the catalog's rows, in the form of its pack's layout.
//!
//! INVARIANT: a pack that was made good as a whole has the digest that the manifest wants.

use std::collections::BTreeMap;

use hansard_engine::error::{Error, Result};
use hansard_engine::format::block::checksum;
use hansard_engine::format::pack::{
    DictionaryMark, FOOTER_BYTES, Footer, PACK_HEADER_BYTES, PackIndex, PackMeta, Places,
    encode_index, header_of, pack_name,
};
use hansard_engine::format::run::{BlockRef, Run};
use hansard_engine::format::{FORMAT, LAYOUT, layout_of};
use hansard_engine::pack::{self, BlockReader, PackFile};
use hansard_engine::storage::{Disk, DiskFile, Mode, join};
use hansard_engine::types::{Lsn, RoomId, TimeUs};

use super::donor::Donor;
use crate::open::CATALOG;
use crate::verify::{Progress, digest};

/// Bytes copied at once; what cannot be read of them is tried again in smaller pieces.
const PIECE_BYTES: usize = 1024 * 1024;
const SMALL_BYTES: usize = 4096;

/// A block: where it stands and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub offset: u64,
    pub bytes: u64,
    pub room: Option<RoomId>,
    /// Its entries; empty if the second is the smaller.
    pub seqs: (u64, u64),
}

/// A block that is not what was written, and the fence that says so.
#[derive(Clone, Debug)]
pub(super) struct BadBlock {
    pub place: Place,
    room: RoomId,
    fence: BlockRef,
}

/// What the catalog says of packs.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// Their runs.
    pub runs: Vec<Run>,
    /// What was dropped from them.
    pub dropped: BTreeMap<u64, Places>,
}

/// A pack's run index, read without regard to the pack's header.
#[derive(Clone, Debug)]
pub(super) struct Index {
    pub footer: Footer,
    pub contents: PackIndex,
}

impl Index {
    /// Made again of its runs, whose blocks must fill what the manifest says of the pack.
    fn of(rows: &Rows, meta: &PackMeta, files: &[&PackFile]) -> Option<Self> {
        let of_it = rows.runs.iter().filter(|run| run.pack == meta.id);
        let mut runs: Vec<Run> = of_it.cloned().collect();
        runs.sort_by_key(|run| (run.category, run.room, run.first_rev));
        let dropped = rows.dropped.get(&meta.id).cloned().unwrap_or_default();
        let contents = PackIndex { runs, dropped };
        // Where no header tells the layout, that one is right whose index fills the pack.
        let layouts = match files.iter().find_map(|pack| pack.header().ok()) {
            Some(header) => vec![header.layout],
            None => vec![LAYOUT, layout_of(FORMAT - 1)],
        };
        let footer = layouts.into_iter().find_map(|layout| {
            let footer = footer_of(&contents, layout, meta, files)?;
            fills(&contents.runs, &footer).then_some(footer)
        });
        footer.map(|footer| Self { footer, contents })
    }

    /// The length of its pack.
    const fn pack_bytes(&self) -> u64 {
        self.footer.index_offset + self.footer.index_bytes + FOOTER_BYTES as u64
    }

    fn blocks(&self) -> usize {
        self.contents.runs.iter().map(|run| run.blocks.len()).sum()
    }
}

/// The footer of a pack whose run index is this.
fn footer_of(
    contents: &PackIndex,
    layout: u32,
    meta: &PackMeta,
    files: &[&PackFile],
) -> Option<Footer> {
    let index = encode_index(contents, layout);
    let index_bytes = index.len() as u64;
    let index_offset = meta.bytes.checked_sub(index_bytes + FOOTER_BYTES as u64)?;
    let blocks = || contents.runs.iter().flat_map(|run| &run.blocks);
    let start = blocks().map(|block| block.offset).min().unwrap_or(PACK_HEADER_BYTES as u64);
    let dictionary = start.checked_sub(PACK_HEADER_BYTES as u64)?;
    Some(Footer {
        layout,
        id: meta.id,
        index_offset,
        index_bytes,
        index_crc: checksum(&index),
        runs: contents.runs.len() as u64,
        records: blocks().map(|block| u64::from(block.records)).sum(),
        class: meta.class,
        level: meta.level,
        dictionary: mark(files, u32::try_from(dictionary).ok()?, index_offset)?,
    })
}

/// True if blocks stand side by side in all the place that a footer leaves to them.
fn fills(runs: &[Run], footer: &Footer) -> bool {
    let blocks = runs.iter().flat_map(|run| &run.blocks);
    // Those of a bundle have one place.
    let places: BTreeMap<u64, u32> = blocks.map(|block| (block.offset, block.bytes)).collect();
    let mut end = footer.blocks_start();
    for (offset, bytes) in places {
        if offset != end {
            return false;
        }
        end += u64::from(bytes);
    }
    end == footer.blocks_end()
}

/// What header and footer must say of a pack's own dictionary of so many bytes, of which a copy
/// stands in one of these files; none if no copy is sound.
fn mark(files: &[&PackFile], bytes: u32, index_offset: u64) -> Option<DictionaryMark> {
    if bytes == 0 {
        return Some(DictionaryMark::default());
    }
    let places = [PACK_HEADER_BYTES as u64, index_offset.checked_sub(u64::from(bytes))?];
    let read = |pack: &PackFile, at| pack.file().read(at, bytes as usize).ok();
    let copies = files.iter().flat_map(|pack| places.map(|at| read(pack, at)));
    let copies: Vec<DictionaryMark> =
        copies.flatten().map(|copy| DictionaryMark::of(&copy)).collect();
    let mut headers = files.iter().filter_map(|pack| Some(pack.header().ok()?.dictionary));
    let said = headers.find(|said| copies.contains(said));
    // Without a header: two copies that agree are right.
    let twice = || copies.iter().find(|one| copies.iter().filter(|two| two == one).count() > 1);
    said.or_else(|| twice().copied())
}

/// How a pack's file was found.
#[derive(Debug)]
pub(super) enum State {
    /// Every byte is what was written.
    Sound,
    /// Some are not.
    Damaged {
        /// The run index, or why it cannot be read.
        index: std::result::Result<Index, String>,
        /// What is not as it must be of the header and of the copies of the dictionary.
        front: Vec<Place>,
        /// The blocks that do not check.
        bad: Vec<BadBlock>,
    },
    /// There is no file.
    Missing,
}

/// A pack's file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub id: u64,
    /// What the manifest says of it.
    pub meta: Option<PackMeta>,
    pub state: State,
    /// Of the file, if it could be read.
    pub digest: Option<[u8; 32]>,
}

/// The name of a pack in its directory.
pub(super) fn path_of(id: u64) -> String {
    join(pack::DIR, &pack_name(id))
}

/// Looks at one pack.
pub(super) fn examine(disk: &Disk, id: u64, meta: Option<PackMeta>, progress: &Progress) -> Found {
    let file = match disk.open(&path_of(id), Mode::Read) {
        Ok(file) => file,
        Err(Error::Io { kind: std::io::ErrorKind::NotFound, .. }) => {
            return Found { id, meta, state: State::Missing, digest: None };
        }
        Err(error) => {
            let index = Err(error.to_string());
            let state = State::Damaged { index, front: vec![HEADER], bad: Vec::new() };
            return Found { id, meta, state, digest: None };
        }
    };
    let digest = digest(&file, |bytes| progress.add(bytes)).ok();
    if let (Some(meta), Some(digest)) = (&meta, digest)
        && meta.sha256 == digest
    {
        return Found { id, meta: Some(meta.clone()), state: State::Sound, digest: Some(digest) };
    }
    let pack = PackFile::new(file, id);
    let front = front_damage(&pack);
    let index = read_index(&pack).map_err(|error| words(&error));
    let bad = index.as_ref().map_or(Vec::new(), |index| bad_blocks(&pack, &index.contents.runs));
    let whole =
        meta.is_none() && front.is_empty() && index.is_ok() && bad.is_empty() && digest.is_some();
    let state = if whole { State::Sound } else { State::Damaged { index, front, bad } };
    Found { id, meta, state, digest }
}

fn words(error: &Error) -> String {
    match error {
        Error::Corrupt { what, .. } => (*what).to_owned(),
        other => other.to_string(),
    }
}

/// A pack's header as a place.
const HEADER: Place = Place { bytes: PACK_HEADER_BYTES as u64, ..whole(0) };

/// What does not check of the header, and of the copies of the dictionary that it and the footer
/// tell of. The footer counts where they differ.
fn front_damage(pack: &PackFile) -> Vec<Place> {
    let (header, footer) = (pack.header().ok(), pack.footer().ok());
    let said = footer.map(|footer| footer.header()).or(header);
    let Some(said) = said else { return vec![HEADER] };
    let mark = said.dictionary;
    let mut damaged = if header == Some(said) { Vec::new() } else { vec![HEADER] };
    let copies = [Some(PACK_HEADER_BYTES as u64), footer.map(|footer| footer.blocks_end())];
    for offset in copies.into_iter().flatten() {
        if pack.dictionary_at(offset, mark).is_err() {
            damaged.push(Place { offset, ..whole(u64::from(mark.bytes)) });
        }
    }
    damaged
}

/// Footer and run index of a pack.
///
/// # Errors
/// `Io`, or `Corrupt` if they do not check.
pub(super) fn read_index(pack: &PackFile) -> Result<Index> {
    let footer = pack.footer()?;
    let contents = pack.index_of(&footer)?;
    Ok(Index { footer, contents })
}

/// A block's bytes, if they check.
fn block(
    pack: &PackFile,
    BadBlock { room, fence, .. }: &BadBlock,
    reader: Option<&mut BlockReader>,
) -> Option<Vec<u8>> {
    let bytes = pack.file().read(fence.offset, fence.bytes as usize).ok()?;
    pack.decode(&bytes, *room, fence, reader?).is_ok().then_some(bytes)
}

fn bad_blocks(pack: &PackFile, runs: &[Run]) -> Vec<BadBlock> {
    let mut blocks = every_block(runs);
    let mut reader = BlockReader::new();
    blocks.retain(|bad| block(pack, bad, reader.as_mut()).is_none());
    blocks
}

/// What was made of a pack that is not sound.
#[derive(Debug)]
pub(super) enum Made {
    /// Its file is used as it is; these blocks of it are lost.
    AsItIs(Vec<BadBlock>),
    /// A new file was written: what was made good in it, whence, and what is lost all the same.
    Anew { healed: Vec<(Place, String)>, lost: Vec<BadBlock> },
    /// A new file was written, with the run index and without a block: why, and the blocks.
    Hollow(String, Vec<BadBlock>),
    /// Nothing says what is in it.
    Unreadable(String),
}

/// The whole of a pack as a place.
pub(super) const fn whole(bytes: u64) -> Place {
    Place { offset: 0, bytes, room: None, seqs: (1, 0) }
}

/// Makes good what can be made good of a pack, in the new file `to`. `rows` is what the catalog
/// says of it, if it was asked.
///
/// # Errors
/// `NoSpace` or `Io` of what is written.
pub(super) fn heal(
    disk: &Disk,
    found: &Found,
    donor: Option<&Donor>,
    rows: &Rows,
    to: (&Disk, &str),
) -> Result<Made> {
    let (damaged, bad, front) = match &found.state {
        State::Damaged { index, front, bad } => (index.as_ref().ok(), bad.as_slice(), &**front),
        _ => (None, &[][..], &[HEADER][..]),
    };
    let ours = PackFile::open(disk, found.id).ok();
    let theirs = donor.and_then(|donor| donor.pack(found.id));
    if let (Some(meta), Some((file, from))) = (&found.meta, &theirs)
        && digest(file.file(), |_| {}).is_ok_and(|digest| digest == meta.sha256)
    {
        copy(Some(file.file()), meta.bytes, to)?;
        let places: Vec<Place> = match bad {
            [] => vec![whole(meta.bytes)],
            bad => bad.iter().map(|bad| bad.place.clone()).collect(),
        };
        // The copy may be on a failing disk too.
        if digest(&to.0.open(to.1, Mode::Read)?, |_| {})? == meta.sha256 {
            let healed = places.into_iter().map(|place| (place, from.clone())).collect();
            return Ok(Made::Anew { healed, lost: Vec::new() });
        }
        to.0.remove_if_there(to.1)?;
    }
    let reason = match &found.state {
        State::Damaged { index: Err(reason), .. } => reason.clone(),
        State::Damaged { .. } => "pack is not the one that the manifest means".to_owned(),
        _ => "pack is missing".to_owned(),
    };
    let files = (ours.as_ref(), theirs.as_ref().map(|(file, _)| file));
    let Some(plan) = Plan::make(found, damaged, files, rows) else {
        return Ok(Made::Unreadable(reason));
    };
    let foreign = plan.whose != Whose::Own;
    if plan.patches.is_empty() && !foreign && front.is_empty() {
        return Ok(Made::AsItIs(plan.lost));
    }
    let digest = plan.write(found.id, ours.as_ref(), to)?;
    let wrong = found.meta.as_ref().is_some_and(|meta| meta.sha256 != digest);
    if plan.lost.is_empty() && wrong {
        // Every part checks and the whole does not: nobody knows what this is.
        to.0.remove_if_there(to.1)?;
        return Ok(match foreign || !front.is_empty() {
            true => Made::Unreadable("pack digest mismatch".to_owned()),
            false => Made::AsItIs(bad.to_vec()),
        });
    }
    if foreign && plan.lost.len() == plan.index.blocks() {
        return Ok(Made::Hollow(reason, plan.lost));
    }
    let mut healed = Vec::new();
    let from = theirs.as_ref().map_or("", |(_, from)| from);
    for place in front.iter().filter(|_| !foreign) {
        let whence = match (place == &HEADER, &plan.dictionary) {
            (true, _) => "the pack's number",
            (false, Some(Copied::Own(_))) => "the pack's other copy",
            (false, Some(Copied::Theirs(_))) => from,
            (false, None) => continue,
        };
        healed.push((place.clone(), whence.to_owned()));
    }
    if foreign {
        let start = plan.index.footer.index_offset;
        let place = Place { offset: start, bytes: plan.index.pack_bytes() - start, ..whole(0) };
        let from = if plan.whose == Whose::Catalog { CATALOG } else { from };
        healed.push((place, from.to_owned()));
    }
    healed.extend(plan.patches.into_iter().map(|patch| (patch.place, from.to_owned())));
    Ok(Made::Anew { healed, lost: plan.lost })
}

/// Where a pack's run index is taken from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Own,
    Copy,
    Catalog,
}

/// A dictionary, from this pack or from the copy's.
enum Copied {
    Own(Vec<u8>),
    Theirs(Vec<u8>),
}

/// Where each part of a pack is taken from.
struct Plan<'a> {
    index: Index,
    whose: Whose,
    /// Blocks to be taken from the copy.
    patches: Vec<BadBlock>,
    lost: Vec<BadBlock>,
    /// The pack's own dictionary, if it has one that can be found.
    dictionary: Option<Copied>,
    theirs: Option<&'a PackFile>,
}

impl<'a> Plan<'a> {
    /// None if nobody has a run index that is the one which the manifest means.
    fn make(
        found: &Found,
        own: Option<&Index>,
        (ours, theirs): (Option<&PackFile>, Option<&'a PackFile>),
        rows: &Rows,
    ) -> Option<Self> {
        let meant = |index: &Index| found.meta.as_ref().is_none_or(|meta| agrees(index, meta));
        let (index, whose) = match own.filter(|own| meant(own)) {
            Some(own) => (own.clone(), Whose::Own),
            None => {
                // Without the manifest's word another pack may stand under this number.
                let meta = found.meta.as_ref()?;
                let copied = theirs.and_then(|file| read_index(file).ok());
                let copied = copied.map(|index| (index, Whose::Copy));
                let files: Vec<&PackFile> = ours.into_iter().chain(theirs).collect();
                let made = || Some((Index::of(rows, meta, &files)?, Whose::Catalog));
                copied.filter(|(index, _)| meant(index)).or_else(made)?
            }
        };
        if !meant(&index) {
            return None;
        }
        let bad = match (whose, &found.state, ours) {
            (Whose::Own, State::Damaged { bad, .. }, _) => bad.clone(),
            (_, _, Some(file)) => bad_blocks(file, &index.contents.runs),
            (_, _, None) => every_block(&index.contents.runs),
        };
        let mut reader = BlockReader::new();
        let mut sound =
            |bad: &BadBlock| theirs.is_some_and(|file| block(file, bad, reader.as_mut()).is_some());
        let (patches, lost) = bad.into_iter().partition(&mut sound);
        let (mark, second) = (index.footer.dictionary, index.footer.blocks_end());
        let found = |pack: &PackFile| {
            let copies = [PACK_HEADER_BYTES as u64, second];
            copies.into_iter().find_map(|at| pack.dictionary_at(at, mark).ok())
        };
        let own = ours.and_then(found).map(Copied::Own);
        let dictionary = own.or_else(|| theirs.and_then(found).map(Copied::Theirs));
        Some(Self { index, whose, patches, lost, dictionary, theirs })
    }

    /// Writes the pack; returns its digest.
    fn write(&self, id: u64, ours: Option<&PackFile>, to: (&Disk, &str)) -> Result<[u8; 32]> {
        let Index { footer, contents } = &self.index;
        copy(ours.map(PackFile::file), self.index.pack_bytes(), to)?;
        let file = to.0.open(to.1, Mode::Write)?;
        file.write(0, &header_of(id, footer.header()))?;
        if let Some(Copied::Own(dictionary) | Copied::Theirs(dictionary)) = &self.dictionary {
            file.write(PACK_HEADER_BYTES as u64, dictionary)?;
            file.write(footer.blocks_end(), dictionary)?;
        }
        if self.whose != Whose::Own {
            let mut bytes = encode_index(contents, footer.layout);
            bytes.extend(footer.to_bytes());
            file.write(footer.index_offset, &bytes)?;
        }
        let mut reader = BlockReader::new();
        for bad in &self.patches {
            let sound = |theirs| block(theirs, bad, reader.as_mut());
            if let Some(bytes) = self.theirs.and_then(sound) {
                file.write(bad.fence.offset, &bytes)?;
            }
        }
        file.sync()?;
        digest(&file, |_| {})
    }
}

fn every_block(runs: &[Run]) -> Vec<BadBlock> {
    let blocks = runs.iter().flat_map(|run| (0..).zip(&run.blocks).map(move |at| (run, at)));
    let bad = blocks.map(|(run, (at, fence))| BadBlock {
        place: Place {
            offset: fence.offset,
            bytes: u64::from(fence.bytes),
            room: Some(run.room),
            seqs: (fence.seq_base.0 + 1, run.block_last_seq(at).0),
        },
        room: run.room,
        fence: fence.clone(),
    });
    bad.collect()
}

/// True if a run index is that of the pack which the manifest means.
fn agrees(index: &Index, meta: &PackMeta) -> bool {
    let Index { footer, .. } = index;
    (index.pack_bytes(), footer.records, footer.runs) == (meta.bytes, meta.records, meta.runs)
        && lsns(&index.contents) == (meta.first_lsn, meta.last_lsn)
        && times(&index.contents.runs) == (meta.min_time, meta.max_time)
        && index.contents.dropped.count() == meta.dropped
}

/// The smallest and the largest time of a pack's entries, as the writer states them.
pub(super) fn times(runs: &[Run]) -> (TimeUs, TimeUs) {
    let runs = || runs.iter().filter(|run| !run.is_dropped());
    let first = runs().map(|run| run.first_time).min().unwrap_or(TimeUs::MAX);
    (first, runs().map(|run| run.last_time).max().unwrap_or(TimeUs::MIN))
}

/// The smallest and the largest place in the log of a pack's records, those that were dropped with
/// them, as the writer states them.
pub(super) fn lsns(contents: &PackIndex) -> (Lsn, Lsn) {
    let runs = contents.runs.iter().map(|run| (run.first_lsn, run.last_lsn));
    let spans = runs.chain(contents.dropped.0.iter().map(|span| (span.first, span.last)));
    spans.fold((Lsn(u64::MAX), Lsn::ZERO), |all, one| (all.0.min(one.0), all.1.max(one.1)))
}

/// Writes `bytes` bytes of a file to a new one; what cannot be read becomes zeros, which pass no
/// check.
///
/// # Errors
/// `NoSpace` or `Io` of what is written.
fn copy(from: Option<&DiskFile>, bytes: u64, to: (&Disk, &str)) -> Result<()> {
    let (disk, path) = to;
    disk.remove_if_there(path)?;
    let target = disk.open(path, Mode::Create)?;
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = 0;
    // Of nothing no byte need be written: what is put behind makes the length.
    while from.is_some() && at < bytes {
        let len = usize::try_from(bytes - at).unwrap_or(PIECE_BYTES).min(PIECE_BYTES);
        let piece = piece.get_mut(..len).unwrap_or_default();
        piece.fill(0);
        if let Some(from) = from
            && from.read_some(at, piece).is_err()
        {
            for (n, small) in piece.chunks_mut(SMALL_BYTES).enumerate() {
                small.fill(0);
                if from.read_some(at + (n * SMALL_BYTES) as u64, small).is_err() {
                    small.fill(0);
                }
            }
        }
        target.write(at, piece)?;
        at += len as u64;
    }
    target.sync()
}
