//! The disk as a mounted file system, and the hand on its switch.
//!
//! Requests come one after the other. At a chosen change the disk stands still: nobody gets an
//! answer any more, until the server is killed; then every waiting request ends with EIO and
//! without effect. INVARIANT: nothing reaches the disk between the cut and the next mount.

use std::ffi::OsStr;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::disk::{Content, Disk, Ino, Lost};
use crate::tournament::Outcome;
use crate::tournament::seed::Draw;

/// Nobody but the one server changes anything, so the kernel may remember it.
const REMEMBERED: Duration = Duration::from_secs(3600);
const BLOCK_BYTES: u32 = 4096;
/// Blocks that are said to be free: 16 GiB.
const FREE_BLOCKS: u64 = 4 << 20;

/// Whether a cut comes before or after the change it waits for took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Power {
    On,
    /// Cut, and the server does not know yet.
    Still,
    /// Cut, and the server is dead.
    Off,
}

struct State {
    disk: Disk,
    power: Power,
    changes: u64,
    syncs: u64,
    cut_at: Option<(u64, When)>,
    /// After so many more syncs of journal files one fails.
    failing_sync: Option<u64>,
    failed_syncs: u64,
    lies: bool,
    draw: Draw,
}

/// The disk that survives its mounts.
#[derive(Clone)]
pub struct Machine(Arc<(Mutex<State>, Condvar)>);

/// How often the disk was asked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub changes: u64,
    pub syncs: u64,
    pub failed_syncs: u64,
}

type Answer<T> = Result<T, Errno>;

impl Machine {
    #[must_use]
    pub fn new(draw: Draw) -> Self {
        let state = State {
            disk: Disk::default(),
            power: Power::On,
            changes: 0,
            syncs: 0,
            cut_at: None,
            failing_sync: None,
            failed_syncs: 0,
            lies: false,
            draw,
        };
        Self(Arc::new((Mutex::new(state), Condvar::new())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Mounts the disk; dropping the mount's handle unmounts it.
    pub fn mount(&self, at: &Path) -> Outcome<BackgroundSession> {
        self.state().power = Power::On;
        let mut config = Config::default();
        config.mount_options =
            vec![MountOption::FSName("powercut".into()), MountOption::DefaultPermissions];
        Ok(fuser::spawn_mount(self.clone(), at, &config)?)
    }

    /// Cuts the power at the `changes`-th change from now.
    pub fn arrange_cut(&self, changes: u64, when: When) {
        let mut state = self.state();
        state.cut_at = Some((state.changes + changes, when));
    }

    /// Lets a sync of a journal file fail, once, after so many that succeed.
    pub fn arrange_failing_sync(&self, after: u64) {
        self.state().failing_sync = Some(after);
    }

    /// From now on a sync of a journal file does nothing and says that it did.
    pub fn lie(&self) {
        self.state().lies = true;
    }

    /// True if a failing sync is still to come; it is called off.
    pub fn calm(&self) -> bool {
        let mut state = self.state();
        state.cut_at = None;
        state.failing_sync.take().is_some()
    }

    /// Waits for the arranged cut, and cuts now if it does not come. True if it came.
    pub fn await_cut(&self, within: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.state();
        while state.power == Power::On {
            let left = within.saturating_sub(begun.elapsed());
            if left.is_zero() {
                state.power = Power::Still;
                state.cut_at = None;
                return false;
            }
            state = match self.0.1.wait_timeout(state, left) {
                Ok((state, _)) => state,
                Err(poisoned) => poisoned.into_inner().0,
            };
        }
        true
    }

    /// True if the power is cut.
    pub fn is_cut(&self) -> bool {
        self.state().power != Power::On
    }

    /// The server is dead or dying: whatever waits ends without effect.
    pub fn release(&self) {
        self.state().power = Power::Off;
        self.0.1.notify_all();
    }

    /// Loses what the power cut takes. Not while it is mounted.
    pub fn lose(&self, how: impl FnOnce(&mut Disk, &mut Draw) -> Lost) -> Lost {
        let mut state = self.state();
        let State { disk, draw, .. } = &mut *state;
        how(disk, draw)
    }

    #[must_use]
    pub fn snapshot(&self) -> Disk {
        self.state().disk.clone()
    }

    #[must_use]
    pub fn counts(&self) -> Counts {
        let State { changes, syncs, failed_syncs, .. } = *self.state();
        Counts { changes, syncs, failed_syncs }
    }

    fn stand_still<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> Answer<MutexGuard<'a, State>> {
        while state.power == Power::Still {
            let woken = self.0.1.wait(state);
            state = woken.unwrap_or_else(std::sync::PoisonError::into_inner);
        }
        if state.power == Power::Off { Err(Errno::EIO) } else { Ok(state) }
    }

    fn see<T>(&self, what: impl FnOnce(&Disk) -> Answer<T>) -> Answer<T> {
        let state = self.stand_still(self.state())?;
        what(&state.disk)
    }

    fn change<T>(&self, what: impl FnOnce(&mut State) -> Answer<T>) -> Answer<T> {
        let mut state = self.stand_still(self.state())?;
        state.changes += 1;
        let due = state.cut_at.filter(|(at, _)| *at <= state.changes).map(|(_, when)| when);
        let Some(when) = due else { return what(&mut state) };
        let done = (when == When::After).then(|| what(&mut state));
        (state.power, state.cut_at) = (Power::Still, None);
        self.0.1.notify_all();
        drop(self.stand_still(state)?);
        // The power never comes back while a request waits.
        done.unwrap_or(Err(Errno::EIO))
    }

    fn attributes(&self, ino: Ino) -> Answer<FileAttr> {
        self.see(|disk| attributes(disk, ino))
    }
}

fn attributes(disk: &Disk, ino: Ino) -> Answer<FileAttr> {
    let node = disk.node(ino)?;
    let size = disk.length(ino)? as u64;
    let kind = match node.content {
        Content::File(_) => FileType::RegularFile,
        Content::Folder(_) => FileType::Directory,
    };
    Ok(FileAttr {
        ino: INodeNo(ino),
        size,
        blocks: size.div_ceil(512),
        atime: node.changed,
        mtime: node.changed,
        ctime: node.changed,
        crtime: node.changed,
        kind,
        perm: node.mode,
        nlink: node.links,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: BLOCK_BYTES,
        flags: 0,
    })
}

fn place(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

fn done(reply: ReplyEmpty, answer: Answer<()>) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(reply: ReplyEntry, answer: Answer<FileAttr>) {
    match answer {
        Ok(attributes) => reply.entry(&REMEMBERED, &attributes, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn mode(mode: u32, umask: u32) -> u16 {
    u16::try_from(mode & !umask & 0o7777).unwrap_or(0o600)
}

impl Filesystem for Machine {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.see(|disk| attributes(disk, disk.lookup(parent.0, name)?)));
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.0) {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let answer = self.change(|state| {
            if let Some(mode) = mode {
                state.disk.set_mode(ino.0, self::mode(mode, 0))?;
            }
            if let Some(size) = size {
                state.disk.set_length(ino.0, place(size))?;
            }
            attributes(&state.disk, ino.0)
        });
        match answer {
            Ok(attributes) => reply.attr(&REMEMBERED, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        entry(
            reply,
            self.change(|state| {
                let ino = state.disk.make_folder(parent.0, name, self::mode(mode, umask))?;
                attributes(&state.disk, ino)
            }),
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.change(|state| state.disk.unlink(parent.0, name)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(reply, self.change(|state| state.disk.remove_folder(parent.0, name)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(
            reply,
            self.change(|state| {
                let taken = state.disk.lookup(newparent.0, newname).is_ok();
                if taken && flags.contains(RenameFlags::RENAME_NOREPLACE) {
                    return Err(Errno::EEXIST);
                }
                if flags.contains(RenameFlags::RENAME_EXCHANGE) {
                    return Err(Errno::EINVAL);
                }
                state.disk.rename((parent.0, name), (newparent.0, newname))
            }),
        );
    }

    fn link(&self, _: &Request, ino: INodeNo, to: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(
            reply,
            self.change(|state| {
                state.disk.link(ino.0, to.0, name)?;
                attributes(&state.disk, ino.0)
            }),
        );
    }

    fn open(&self, _: &Request, _: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        reply.opened(FileHandle(0), FopenFlags::FOPEN_KEEP_CACHE);
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let size = size as usize;
        match self.see(|disk| disk.read(ino.0, place(offset), size).map(<[u8]>::to_vec)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.change(|state| state.disk.write(ino.0, place(offset), data)) {
            Ok(()) => reply.written(u32::try_from(data.len()).unwrap_or(u32::MAX)),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(
            reply,
            self.change(|state| {
                state.syncs += 1;
                let State { disk, draw, failing_sync, failed_syncs, lies, .. } = state;
                // Not the witness: the server makes that anew and goes on.
                if failing_sync.is_some() && disk.stands_in(ino.0, "journal", ".journal") {
                    let left = failing_sync.take().unwrap_or_default();
                    if left == 0 {
                        *failed_syncs += 1;
                        disk.fail_sync(ino.0, draw)?;
                        return Err(Errno::EIO);
                    }
                    *failing_sync = Some(left - 1);
                }
                if *lies && disk.stands_in(ino.0, "journal", ".journal") {
                    return Ok(());
                }
                disk.sync(ino.0)
            }),
        );
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(
            reply,
            self.change(|state| {
                state.syncs += 1;
                state.disk.sync_folder(ino.0)
            }),
        );
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let names = self.see(|disk| {
            let kind = |ino| attributes(disk, ino).map(|attributes| attributes.kind);
            let dots = [(".".into(), ino.0), ("..".into(), ino.0)];
            let names = dots.into_iter().chain(disk.list(ino.0)?);
            names.map(|(name, ino)| Ok((name, ino, kind(ino)?))).collect::<Answer<Vec<_>>>()
        });
        let mut names = match names {
            Ok(names) => names,
            Err(error) => return reply.error(error),
        };
        // In the order of their numbers, so that a place in the list stays good while names go.
        names[2..].sort_by_key(|(_, ino, _)| *ino);
        for (at, (name, ino, kind)) in (1..).zip(names) {
            let place = if at <= 2 { at } else { ino + 2 };
            if place > offset && reply.add(INodeNo(ino), place, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let (free, size) = (FREE_BLOCKS, BLOCK_BYTES);
        reply.statfs(2 * free, free, free, 1 << 20, 1 << 20, size, 255, size);
    }

    fn create(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let made = self.change(|state| {
            let ino = state.disk.make_file(parent.0, name, self::mode(mode, umask))?;
            attributes(&state.disk, ino)
        });
        match made {
            Ok(attributes) => reply.created(
                &REMEMBERED,
                &attributes,
                Generation(0),
                FileHandle(0),
                FopenFlags::FOPEN_KEEP_CACHE,
            ),
            Err(error) => reply.error(error),
        }
    }
}
