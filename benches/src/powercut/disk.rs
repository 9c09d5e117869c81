//! A disk with a volatile cache: what programs see now, and what a power cut leaves.
//!
//! Every file keeps its durable bytes and the writes since its last sync; names keep their durable
//! state and the changes since the last sync of their folder. INVARIANT: `cut` changes nothing that
//! was synced.
//!
//! A rename is one step: after a cut it happened or it did not, also between two folders. Steps of
//! other names may survive in any choice, so a later one without an earlier one.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::time::SystemTime;

use fuser::Errno;

use crate::tournament::seed::Draw;

pub type Ino = u64;
/// The number of the top folder.
pub const ROOT: Ino = 1;
/// The unit in which an unsynced write can be torn.
const TEAR_BYTES: usize = 512;

/// What a power cut leaves of the writes that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bytes {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// Of each file the first so many.
    Prefix,
    /// Any sectors of any writes.
    Sectors,
}

/// What a power cut leaves of the changes of names that were not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// The first so many: what a journalling file system does.
    Prefix,
    /// Any of them.
    Any,
}

impl Bytes {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Prefix, Self::Sectors];
}

impl Names {
    pub const ALL: [Self; 4] = [Self::Nothing, Self::Everything, Self::Prefix, Self::Any];
}

/// How much a cut met.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lost {
    /// Changes of files that were not synced.
    pub writes: u64,
    /// Of those, what did not survive whole.
    pub writes_lost: u64,
    /// Changes of names that were not synced.
    pub names: u64,
    pub names_lost: u64,
}

impl std::ops::AddAssign for Lost {
    fn add_assign(&mut self, other: Self) {
        self.writes += other.writes;
        self.writes_lost += other.writes_lost;
        self.names += other.names;
        self.names_lost += other.names_lost;
    }
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// A file's bytes.
#[derive(Clone, Default)]
pub struct File {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

/// A folder's names.
#[derive(Clone, Default)]
pub struct Folder {
    now: BTreeMap<OsString, Ino>,
    durable: BTreeMap<OsString, Ino>,
}

#[derive(Clone)]
pub enum Content {
    File(File),
    Folder(Folder),
}

#[derive(Clone)]
pub struct Node {
    pub content: Content,
    pub mode: u16,
    pub links: u32,
    pub changed: SystemTime,
}

#[derive(Clone)]
struct NameChange {
    folder: Ino,
    name: OsString,
    to: Option<Ino>,
}

/// The disk.
#[derive(Clone)]
pub struct Disk {
    nodes: BTreeMap<Ino, Node>,
    next: Ino,
    /// Changes of names since the sync of their folders, oldest first; each happens whole.
    steps: Vec<Vec<NameChange>>,
}

type Answer<T> = Result<T, Errno>;

fn node(content: Content, mode: u16, links: u32) -> Node {
    Node { content, mode, links, changed: SystemTime::now() }
}

impl Default for Disk {
    fn default() -> Self {
        let top = node(Content::Folder(Folder::default()), 0o755, 2);
        Self { nodes: BTreeMap::from([(ROOT, top)]), next: ROOT + 1, steps: Vec::new() }
    }
}

impl Disk {
    pub fn node(&self, ino: Ino) -> Answer<&Node> {
        self.nodes.get(&ino).ok_or(Errno::ENOENT)
    }

    fn node_mut(&mut self, ino: Ino) -> Answer<&mut Node> {
        self.nodes.get_mut(&ino).ok_or(Errno::ENOENT)
    }

    fn file(&self, ino: Ino) -> Answer<&File> {
        match &self.node(ino)?.content {
            Content::File(file) => Ok(file),
            Content::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, ino: Ino) -> Answer<&mut File> {
        let node = self.node_mut(ino)?;
        node.changed = SystemTime::now();
        match &mut node.content {
            Content::File(file) => Ok(file),
            Content::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn folder(&self, ino: Ino) -> Answer<&Folder> {
        match &self.node(ino)?.content {
            Content::Folder(folder) => Ok(folder),
            Content::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, ino: Ino) -> Answer<&mut Folder> {
        match &mut self.node_mut(ino)?.content {
            Content::Folder(folder) => Ok(folder),
            Content::File(_) => Err(Errno::ENOTDIR),
        }
    }

    /// Bytes of a file; 0 for a folder.
    pub fn length(&self, ino: Ino) -> Answer<usize> {
        Ok(self.file(ino).map_or(0, |file| file.now.len()))
    }

    pub fn lookup(&self, folder: Ino, name: &OsStr) -> Answer<Ino> {
        self.folder(folder)?.now.get(name).copied().ok_or(Errno::ENOENT)
    }

    /// The names of a folder.
    pub fn list(&self, folder: Ino) -> Answer<Vec<(OsString, Ino)>> {
        Ok(self.folder(folder)?.now.iter().map(|(name, ino)| (name.clone(), *ino)).collect())
    }

    /// True if a folder of this name has this file, under a name that ends so.
    pub fn stands_in(&self, ino: Ino, folder: &str, end: &str) -> bool {
        let here = |(name, one): (&OsString, &Ino)| {
            *one == ino && name.to_str().is_some_and(|name| name.ends_with(end))
        };
        self.nodes.values().any(|node| {
            let Content::Folder(names) = &node.content else { return false };
            let inner = names.now.get(OsStr::new(folder));
            let inner = inner.and_then(|inner| self.folder(*inner).ok());
            inner.is_some_and(|inner| inner.now.iter().any(here))
        })
    }

    pub fn read(&self, ino: Ino, offset: usize, size: usize) -> Answer<&[u8]> {
        let bytes = &self.file(ino)?.now;
        let from = offset.min(bytes.len());
        Ok(&bytes[from..(from + size).min(bytes.len())])
    }

    pub fn write(&mut self, ino: Ino, offset: usize, bytes: &[u8]) -> Answer<()> {
        let file = self.file_mut(ino)?;
        place(&mut file.now, offset, bytes);
        file.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(())
    }

    pub fn set_length(&mut self, ino: Ino, length: usize) -> Answer<()> {
        let file = self.file_mut(ino)?;
        file.now.resize(length, 0);
        file.pending.push(Change::Length(length));
        Ok(())
    }

    pub fn set_mode(&mut self, ino: Ino, mode: u16) -> Answer<()> {
        self.node_mut(ino)?.mode = mode;
        Ok(())
    }

    /// Makes a file's bytes durable.
    pub fn sync(&mut self, ino: Ino) -> Answer<()> {
        let file = self.file_mut(ino)?;
        for change in std::mem::take(&mut file.pending) {
            change.apply(&mut file.durable);
        }
        Ok(())
    }

    /// What Linux does when a sync fails: nothing of it may be durable, and the cache goes on
    /// showing it as if it were ("fsyncgate", 2018).
    pub fn fail_sync(&mut self, ino: Ino, draw: &mut Draw) -> Answer<()> {
        let file = self.file_mut(ino)?;
        for change in std::mem::take(&mut file.pending) {
            if draw.below(2) == 0 {
                change.apply(&mut file.durable);
            }
        }
        Ok(())
    }

    /// Makes a folder's names durable, and those that they were moved from or to.
    pub fn sync_folder(&mut self, ino: Ino) -> Answer<()> {
        self.folder(ino)?;
        let mut folders = HashSet::from([ino]);
        let (mut now, mut later) = (Vec::new(), Vec::new());
        for step in std::mem::take(&mut self.steps).into_iter().rev() {
            if step.iter().any(|change| folders.contains(&change.folder)) {
                folders.extend(step.iter().map(|change| change.folder));
                now.push(step);
            } else {
                later.push(step);
            }
        }
        later.reverse();
        self.steps = later;
        for step in now.into_iter().rev() {
            self.keep(step);
        }
        Ok(())
    }

    fn keep(&mut self, step: Vec<NameChange>) {
        for NameChange { folder, name, to } in step {
            let Ok(folder) = self.folder_mut(folder) else { continue };
            match to {
                Some(ino) => drop(folder.durable.insert(name, ino)),
                None => drop(folder.durable.remove(&name)),
            }
        }
    }

    fn change_names(&mut self, step: Vec<NameChange>) -> Answer<()> {
        for NameChange { folder, name, to } in &step {
            let names = &mut self.folder_mut(*folder)?.now;
            match to {
                Some(ino) => drop(names.insert(name.clone(), *ino)),
                None => drop(names.remove(name)),
            }
            self.node_mut(*folder)?.changed = SystemTime::now();
        }
        self.steps.push(step);
        Ok(())
    }

    fn make(&mut self, folder: Ino, name: &OsStr, made: Node) -> Answer<Ino> {
        if self.folder(folder)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let ino = self.next;
        self.next += 1;
        self.nodes.insert(ino, made);
        self.change_names(vec![NameChange { folder, name: name.to_owned(), to: Some(ino) }])?;
        Ok(ino)
    }

    pub fn make_file(&mut self, folder: Ino, name: &OsStr, mode: u16) -> Answer<Ino> {
        self.make(folder, name, node(Content::File(File::default()), mode, 1))
    }

    pub fn make_folder(&mut self, folder: Ino, name: &OsStr, mode: u16) -> Answer<Ino> {
        self.make(folder, name, node(Content::Folder(Folder::default()), mode, 2))
    }

    pub fn link(&mut self, ino: Ino, folder: Ino, name: &OsStr) -> Answer<()> {
        self.file(ino)?;
        if self.folder(folder)?.now.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        self.node_mut(ino)?.links += 1;
        self.change_names(vec![NameChange { folder, name: name.to_owned(), to: Some(ino) }])
    }

    pub fn unlink(&mut self, folder: Ino, name: &OsStr) -> Answer<()> {
        let ino = self.lookup(folder, name)?;
        self.file(ino)?;
        let links = &mut self.node_mut(ino)?.links;
        *links = links.saturating_sub(1);
        self.change_names(vec![NameChange { folder, name: name.to_owned(), to: None }])
    }

    pub fn remove_folder(&mut self, folder: Ino, name: &OsStr) -> Answer<()> {
        let ino = self.lookup(folder, name)?;
        if !self.folder(ino)?.now.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.change_names(vec![NameChange { folder, name: name.to_owned(), to: None }])
    }

    pub fn rename(&mut self, from: (Ino, &OsStr), to: (Ino, &OsStr)) -> Answer<()> {
        let ino = self.lookup(from.0, from.1)?;
        if from == to {
            return Ok(());
        }
        if let Ok(over) = self.lookup(to.0, to.1) {
            match &self.node(over)?.content {
                Content::Folder(names) if !names.now.is_empty() => return Err(Errno::ENOTEMPTY),
                _ => {}
            }
            let links = &mut self.node_mut(over)?.links;
            *links = links.saturating_sub(1);
        }
        self.change_names(vec![
            NameChange { folder: from.0, name: from.1.to_owned(), to: None },
            NameChange { folder: to.0, name: to.1.to_owned(), to: Some(ino) },
        ])
    }

    /// Cuts the power: from now on the disk is what survived.
    pub fn cut(&mut self, bytes: Bytes, names: Names, draw: &mut Draw) -> Lost {
        let mut lost = Lost::default();
        for node in self.nodes.values_mut() {
            let Content::File(file) = &mut node.content else { continue };
            let pending = std::mem::take(&mut file.pending);
            let count = pending.len() as u64;
            let first = draw.below(count + 1);
            lost.writes += count;
            for (at, change) in (0..).zip(pending) {
                let survives = match bytes {
                    Bytes::Nothing => false,
                    Bytes::Everything => true,
                    Bytes::Prefix => at < first,
                    Bytes::Sectors => {
                        lost.writes_lost += u64::from(!change.tear(&mut file.durable, draw));
                        continue;
                    }
                };
                if survives {
                    change.apply(&mut file.durable);
                } else {
                    lost.writes_lost += 1;
                }
            }
        }
        let steps = std::mem::take(&mut self.steps);
        lost.names = steps.len() as u64;
        let first = draw.below(lost.names + 1);
        for (at, step) in (0..).zip(steps) {
            let survives = match names {
                Names::Nothing => false,
                Names::Everything => true,
                Names::Prefix => at < first,
                Names::Any => draw.below(2) == 0,
            };
            if survives {
                self.keep(step);
            } else {
                lost.names_lost += 1;
            }
        }
        self.forget();
        lost
    }

    /// The cache is gone: what is seen is what is durable, and what has no name is nowhere.
    fn forget(&mut self) {
        let mut links: BTreeMap<Ino, u32> = BTreeMap::from([(ROOT, 2)]);
        let mut open = vec![ROOT];
        while let Some(ino) = open.pop() {
            let Ok(folder) = self.folder(ino) else { continue };
            for inner in folder.durable.values() {
                *links.entry(*inner).or_default() += 1;
                if links[inner] == 1 {
                    open.push(*inner);
                }
            }
        }
        self.nodes.retain(|ino, _| links.contains_key(ino));
        for (ino, node) in &mut self.nodes {
            node.links = links[ino];
            match &mut node.content {
                Content::File(file) => file.now.clone_from(&file.durable),
                Content::Folder(folder) => folder.now.clone_from(&folder.durable),
            }
        }
    }

    /// Everything written so far is durable.
    pub fn sync_all(&mut self) {
        for step in std::mem::take(&mut self.steps) {
            self.keep(step);
        }
        let files: Vec<Ino> = self.nodes.keys().copied().collect();
        for ino in files {
            // Folders have no bytes.
            let _ = self.sync(ino);
        }
    }

    /// Writes what is seen now below a real folder.
    pub fn write_out(&self, ino: Ino, to: &Path) -> std::io::Result<()> {
        std::fs::create_dir_all(to)?;
        for (name, inner) in self.list(ino).unwrap_or_default() {
            let path = to.join(&name);
            match self.nodes.get(&inner).map(|node| &node.content) {
                Some(Content::File(file)) => std::fs::write(path, &file.now)?,
                Some(Content::Folder(_)) => self.write_out(inner, &path)?,
                None => {}
            }
        }
        Ok(())
    }
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => place(to, *offset, bytes),
            Self::Length(length) => to.resize(*length, 0),
        }
    }

    /// Applies some sectors of it; true if all.
    fn tear(&self, to: &mut Vec<u8>, draw: &mut Draw) -> bool {
        let Self::Write { offset, bytes } = self else {
            let whole = draw.below(2) == 0;
            if whole {
                self.apply(to);
            }
            return whole;
        };
        let (mut at, mut whole) = (0, true);
        // A third of the writes loses half of its sectors, a third few, a third none.
        let odds = draw.below(3);
        while at < bytes.len() {
            let place_now = offset + at;
            let sector = (TEAR_BYTES - place_now % TEAR_BYTES).min(bytes.len() - at);
            let survives = match odds {
                0 => draw.below(2) == 0,
                1 => draw.below(16) > 0,
                _ => true,
            };
            if survives {
                place(to, place_now, &bytes[at..at + sector]);
            }
            whole &= survives;
            at += sector;
        }
        whole
    }
}

fn place(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}

#[cfg(test)]
#[path = "disk_tests.rs"]
mod tests;
