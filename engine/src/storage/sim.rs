//! The simulated twin of the file system: a disk in memory that can lose what was not synced.
//!
//! Every file keeps what is durable and the writes since its last sync; every directory keeps its
//! durable names and the changes since its last sync. `crash` decides which of the unsynced
//! survive. It can also fail, or stop the world, at the n-th operation. A directory beside another
//! is on the same disk: it meets the same troubles and crashes. Modelled on Pebble's strict MemFS
//! and on TigerBeetle's storage simulator.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Exclusive, File, Lock, Mode, Place, Storage};

/// The unit in which an unsynced write can be torn.
const TEAR_BYTES: usize = 512;

/// Which unsynced changes survive a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// None.
    Nothing,
    /// All.
    Everything,
    /// A prefix of each file's and directory's changes, its length drawn from the seed.
    Prefix(u64),
    /// Any sectors of any writes, in any order, drawn from the seed.
    Sectors(u64),
}

/// What the n-th operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It and everything after it fails: the machine stopped.
    Stop,
    /// It alone fails with an I/O error.
    Once,
    /// It and everything like it (every write and sync) fails from now on.
    ForEver,
    /// It and every later write find the disk full.
    Full,
    /// The first sync from it on fails and drops what it should have made durable, while the page
    /// cache goes on showing it; syncs after it succeed. (What Linux does: "fsyncgate", 2018.)
    SyncLost,
    /// The first write from it on writes a part and fails.
    ShortWrite,
}

/// What the n-th read does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadTrouble {
    /// It alone fails with an I/O error.
    Once,
    /// It and every later read of the same file fails.
    File,
}

#[derive(Clone, Debug)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Node {
    data: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Clone, Debug)]
enum NameChange {
    Set(String, usize),
    Unset(String),
    /// One name more for what has another.
    Link(String, usize),
}

impl NameChange {
    fn name(&self) -> &str {
        match self {
            Self::Set(name, _) | Self::Unset(name) | Self::Link(name, _) => name,
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Disk {
    nodes: Vec<Node>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    name_changes: Vec<NameChange>,
    dirs: Vec<String>,
    operations: u64,
    trouble: Option<(u64, Trouble)>,
    reads: u64,
    read_trouble: Option<(u64, ReadTrouble)>,
    /// The file that can no longer be read.
    unreadable: Option<usize>,
    locked: bool,
    free: Option<u64>,
}

/// A directory on a disk in memory.
#[derive(Clone, Debug)]
pub struct SimStorage {
    disk: Arc<Mutex<Disk>>,
    root: PathBuf,
    /// What its names begin with on the disk: nothing, or `BESIDE` and where it is.
    prefix: String,
}

/// What the names of directories beside the first one begin with.
const BESIDE: &str = "//beside/";

impl Default for SimStorage {
    fn default() -> Self {
        Self::new()
    }
}

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts from a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound` (0 for a bound of 0).
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = (bound as u64).max(1);
        usize::try_from(self.next() % bound).unwrap_or(0)
    }
}

impl SimStorage {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        let disk = Disk { dirs: vec![String::new()], ..Disk::default() };
        Self { disk: Arc::new(Mutex::new(disk)), root: PathBuf::from("sim"), prefix: String::new() }
    }

    /// The directory `to` on the same disk.
    #[must_use]
    pub fn next_to(&self, to: &Path) -> Self {
        let prefix = format!("{BESIDE}{}/", to.display());
        Self { disk: Arc::clone(&self.disk), root: to.to_path_buf(), prefix }
    }

    fn name(&self, path: &str) -> String {
        format!("{}{path}", self.prefix)
    }

    /// Operations so far: reads are not counted.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.disk.lock().operations
    }

    /// Makes the operation after `operations` more do something else.
    pub fn arrange(&self, operations: u64, trouble: Trouble) {
        let mut disk = self.disk.lock();
        disk.trouble = Some((disk.operations + operations, trouble));
    }

    /// Lets the `reads`-th read from now on fail.
    pub fn arrange_read(&self, reads: u64, trouble: ReadTrouble) {
        let mut disk = self.disk.lock();
        disk.read_trouble = Some((disk.reads + reads, trouble));
    }

    /// From now on every read succeeds.
    pub fn calm_reads(&self) {
        let mut disk = self.disk.lock();
        (disk.read_trouble, disk.unreadable) = (None, None);
    }

    /// From now on nothing fails any more.
    pub fn calm(&self) {
        let mut disk = self.disk.lock();
        (disk.trouble, disk.read_trouble, disk.unreadable) = (None, None, None);
    }

    /// Sets what `free_bytes` says.
    pub fn set_free(&self, free: u64) {
        self.disk.lock().free = Some(free);
    }

    /// The disk as it is found after a crash; this one stays as it is.
    #[must_use]
    pub fn crash(&self, survivors: Survivors) -> Self {
        let mut disk = self.disk.lock().clone();
        let mut random = match survivors {
            Survivors::Prefix(seed) | Survivors::Sectors(seed) => Random::new(seed),
            _ => Random::new(0),
        };
        for node in &mut disk.nodes {
            let pending = std::mem::take(&mut node.pending);
            let keep = match survivors {
                Survivors::Nothing => 0,
                Survivors::Prefix(_) => random.below(pending.len() + 1),
                _ => pending.len(),
            };
            for write in pending.into_iter().take(keep) {
                if matches!(survivors, Survivors::Sectors(_)) {
                    tear(&mut node.durable, &write, &mut random);
                } else {
                    place(&mut node.durable, write.offset, &write.bytes);
                }
            }
            node.data.clone_from(&node.durable);
        }
        let changes = std::mem::take(&mut disk.name_changes);
        let keep = match survivors {
            Survivors::Nothing => 0,
            Survivors::Everything => changes.len(),
            _ => random.below(changes.len() + 1),
        };
        for change in changes.into_iter().take(keep) {
            change_name(&mut disk.durable_names, change);
        }
        disk.names = disk.durable_names.clone();
        (disk.trouble, disk.read_trouble, disk.unreadable) = (None, None, None);
        disk.locked = false;
        disk.operations = 0;
        let (disk, root) = (Arc::new(Mutex::new(disk)), self.root.clone());
        Self { disk, root, prefix: self.prefix.clone() }
    }

    /// A file's current bytes, for tests that damage it.
    #[must_use]
    pub fn bytes_of(&self, path: &str) -> Option<Vec<u8>> {
        let disk = self.disk.lock();
        let node = disk.names.get(&self.name(path)).and_then(|n| disk.nodes.get(*n));
        node.map(|n| n.data.clone())
    }

    /// Replaces a file's bytes, durably, behind the engine's back.
    pub fn set_bytes(&self, path: &str, bytes: Vec<u8>) {
        let mut disk = self.disk.lock();
        let found = disk.names.get(&self.name(path)).copied();
        if let Some(node) = found.and_then(|n| disk.nodes.get_mut(n)) {
            *node = Node { data: bytes.clone(), durable: bytes, pending: Vec::new() };
        }
    }

    /// Removes a file, durably, behind the engine's back.
    pub fn take_away(&self, path: &str) {
        let (mut disk, path) = (self.disk.lock(), self.name(path));
        disk.names.remove(&path);
        disk.durable_names.remove(&path);
        disk.name_changes
            .retain(|change| matches!(change, NameChange::Unset(_)) || change.name() != path);
    }

    /// Every file's name.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        let disk = self.disk.lock();
        let here = disk.names.keys().filter_map(|name| name.strip_prefix(&self.prefix));
        here.filter(|name| !name.starts_with(BESIDE)).map(str::to_owned).collect()
    }
}

impl Disk {
    /// Counts an operation and says whether it may go on.
    fn step(&mut self, writes: bool) -> io::Result<()> {
        self.operations += 1;
        let Some((at, trouble)) = self.trouble else { return Ok(()) };
        let stopped = || io::Error::other("simulated failure");
        match trouble {
            Trouble::Stop if self.operations >= at => Err(stopped()),
            Trouble::Once if self.operations == at => Err(stopped()),
            Trouble::ForEver if self.operations >= at && writes => Err(stopped()),
            Trouble::Full if self.operations >= at && writes => {
                Err(io::ErrorKind::StorageFull.into())
            }
            _ => Ok(()),
        }
    }

    /// True once, if `wanted` is arranged and due.
    fn due(&mut self, wanted: Trouble) -> bool {
        let due = self.trouble.is_some_and(|(at, t)| t == wanted && self.operations >= at);
        if due {
            self.trouble = None;
        }
        due
    }

    /// Counts a read and says whether it may go on.
    fn step_read(&mut self, node: usize) -> io::Result<()> {
        self.reads += 1;
        match self.read_trouble {
            Some((at, ReadTrouble::Once)) if self.reads == at => {
                return Err(io::Error::other("simulated read failure"));
            }
            Some((at, ReadTrouble::File)) if self.reads == at => self.unreadable = Some(node),
            _ => {}
        }
        if self.unreadable == Some(node) {
            return Err(io::Error::other("simulated read failure"));
        }
        Ok(())
    }

    fn rename_entry(&mut self, change: NameChange) {
        change_name(&mut self.names, change.clone());
        self.name_changes.push(change);
    }
}

fn change_name(names: &mut BTreeMap<String, usize>, change: NameChange) {
    match change {
        NameChange::Set(name, node) => {
            names.retain(|_, n| *n != node);
            names.insert(name, node);
        }
        NameChange::Unset(name) => {
            names.remove(&name);
        }
        NameChange::Link(name, node) => {
            names.insert(name, node);
        }
    }
}

/// The directory of a name.
fn folder(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn place(data: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if data.len() < end {
        data.resize(end, 0);
    }
    data[offset..end].copy_from_slice(bytes);
}

fn tear(data: &mut Vec<u8>, write: &Write, random: &mut Random) {
    for (index, sector) in write.bytes.chunks(TEAR_BYTES).enumerate() {
        if random.next() & 1 == 1 {
            place(data, write.offset + index * TEAR_BYTES, sector);
        }
    }
}

struct SimFile {
    disk: Arc<Mutex<Disk>>,
    node: usize,
}

impl File for SimFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut disk = self.disk.lock();
        disk.step_read(self.node)?;
        let data = disk.nodes.get(self.node).map_or(&[][..], |n| &n.data);
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(data.len());
        let got = buf.len().min(data.len() - start);
        buf[..got].copy_from_slice(&data[start..start + got]);
        Ok(got)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.disk.lock();
        let outcome = disk.step(true);
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        if disk.due(Trouble::ShortWrite) {
            let part = buf.get(..buf.len() / 2).unwrap_or_default();
            if let Some(node) = disk.nodes.get_mut(self.node) {
                node.pending.push(Write { offset, bytes: part.to_vec() });
                place(&mut node.data, offset, part);
            }
            return Err(io::Error::other("simulated short write"));
        }
        let Some(node) = disk.nodes.get_mut(self.node) else { return outcome };
        // A write that fails may have reached the page cache, and the disk, all the same.
        node.pending.push(Write { offset, bytes: buf.to_vec() });
        place(&mut node.data, offset, buf);
        outcome
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(true)?;
        let lost = disk.due(Trouble::SyncLost);
        if let Some(node) = disk.nodes.get_mut(self.node) {
            if lost {
                node.pending.clear();
                return Err(io::Error::other("simulated sync failure"));
            }
            for write in std::mem::take(&mut node.pending) {
                place(&mut node.durable, write.offset, &write.bytes);
            }
        }
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.lock().nodes.get(self.node).map_or(0, |n| n.data.len() as u64))
    }
}

struct SimLock(Arc<Mutex<Disk>>);

impl Lock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        self.0.lock().locked = false;
    }
}

impl Storage for SimStorage {
    fn root(&self) -> &Path {
        &self.root
    }

    fn open(&self, path: &str, mode: Mode) -> io::Result<Box<dyn File>> {
        let (mut disk, path) = (self.disk.lock(), self.name(path));
        let found = disk.names.get(&path).copied();
        let node = match (mode, found) {
            (Mode::Create, Some(_)) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Mode::Create, None) => {
                disk.step(true)?;
                disk.nodes.push(Node::default());
                let node = disk.nodes.len() - 1;
                disk.rename_entry(NameChange::Set(path, node));
                node
            }
            (_, Some(node)) => node,
            (_, None) => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Box::new(SimFile { disk: Arc::clone(&self.disk), node }))
    }

    fn list(&self, dir: &str) -> io::Result<Vec<String>> {
        let (disk, dir) = (self.disk.lock(), self.name(dir));
        if !disk.dirs.contains(&dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let dir = dir.strip_suffix('/').unwrap_or(&dir);
        let prefix = super::join(dir, "");
        let inside = |name: &String| {
            name.strip_prefix(&prefix).filter(|rest| !rest.contains('/')).map(str::to_owned)
        };
        Ok(disk.names.keys().filter_map(inside).collect())
    }

    fn create_dir(&self, dir: &str) -> io::Result<()> {
        let (mut disk, dir) = (self.disk.lock(), self.name(dir));
        disk.step(true)?;
        // Directories are made once, at the start, and are taken to be durable.
        if !disk.dirs.contains(&dir) {
            disk.dirs.push(dir);
        }
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(true)?;
        let node = *disk.names.get(&self.name(from)).ok_or(io::ErrorKind::NotFound)?;
        disk.rename_entry(NameChange::Set(self.name(to), node));
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let (mut disk, path) = (self.disk.lock(), self.name(path));
        if !disk.names.contains_key(&path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        disk.step(false)?;
        disk.rename_entry(NameChange::Unset(path));
        Ok(())
    }

    fn sync_dir(&self, dir: &str) -> io::Result<()> {
        let (mut disk, dir) = (self.disk.lock(), self.name(dir));
        disk.step(true)?;
        let dir = dir.strip_suffix('/').unwrap_or(&dir);
        for change in std::mem::take(&mut disk.name_changes) {
            if folder(change.name()) == dir {
                change_name(&mut disk.durable_names, change);
            } else {
                disk.name_changes.push(change);
            }
        }
        Ok(())
    }

    fn beside(&self, to: &Path) -> Arc<dyn Storage> {
        Arc::new(self.next_to(to))
    }

    fn place_of(&self, _to: &Path) -> io::Result<Place> {
        Ok(Place::SameDisk)
    }

    fn link_out(&self, path: &str, to: &Path) -> io::Result<()> {
        let mut disk = self.disk.lock();
        disk.step(true)?;
        let node = *disk.names.get(&self.name(path)).ok_or(io::ErrorKind::NotFound)?;
        disk.rename_entry(NameChange::Link(format!("{BESIDE}{}", to.display()), node));
        Ok(())
    }

    fn lock(&self, _path: &str, exclusive: Exclusive) -> io::Result<Box<dyn Lock>> {
        let mut disk = self.disk.lock();
        if disk.locked && exclusive == Exclusive::Yes {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        disk.locked = true;
        Ok(Box::new(SimLock(Arc::clone(&self.disk))))
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(self.disk.lock().free.unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsynced_bytes_and_names_survive_as_asked() {
        let sim = SimStorage::new();
        let file = sim.open("a", Mode::Create).unwrap();
        sim.sync_dir("").unwrap();
        file.write_at(b"kept", 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"LOST", 0).unwrap();
        sim.open("b", Mode::Create).unwrap();
        let after = sim.crash(Survivors::Nothing);
        assert_eq!(after.bytes_of("a").unwrap(), b"kept");
        assert_eq!(after.files(), ["a"]);
        let after = sim.crash(Survivors::Everything);
        assert_eq!(after.bytes_of("a").unwrap(), b"LOST");
        assert_eq!(after.files(), ["a", "b"]);
    }

    #[test]
    fn trouble_comes_at_the_operation_it_was_arranged_for() {
        let sim = SimStorage::new();
        let file = sim.open("a", Mode::Create).unwrap();
        sim.arrange(2, Trouble::Once);
        assert!(file.write_at(b"1", 0).is_ok());
        assert!(file.write_at(b"2", 0).is_err());
        assert!(file.write_at(b"3", 0).is_ok());
        sim.arrange(1, Trouble::Full);
        assert_eq!(file.write_at(b"4", 0).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert!(sim.open("a", Mode::Read).is_ok());
    }
}
