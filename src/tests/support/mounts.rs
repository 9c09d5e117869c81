//! Small file systems of a test's own: one in memory, one on an image that can be made to fail.
//!
//! INVARIANT: a test that mounts does so in a mount namespace of its own, so nothing that it mounts
//! is seen outside or outlives it, however it ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::geteuid;

/// Names the test that runs in mounts of its own.
const INNER: &str = "HANSARD_TEST_MOUNTS";

/// Runs the body of the test of this name in mounts of its own: in a second process, which is this
/// program again. Needs the rights of root.
#[track_caller]
pub fn alone(test: &str, body: impl FnOnce()) {
    assert!(geteuid().is_root(), "this test mounts file systems: run it as root");
    if std::env::var_os(INNER).is_some_and(|name| name == test) {
        body();
        return;
    }
    let program = std::env::current_exe().expect("this program");
    let mut inner = Command::new("unshare");
    inner.args(["--mount", "--propagation", "private"]).arg(program);
    inner.args(["--exact", test, "--nocapture"]).env(INNER, test);
    let status = inner.status().expect("unshare runs");
    assert!(status.success(), "the test in mounts of its own failed: {status}");
}

/// A mounted file system. Dropped it is unmounted.
pub struct Mount {
    at: PathBuf,
}

impl Mount {
    /// A file system in memory of this size.
    #[track_caller]
    pub fn memory(at: &Path, bytes: u64) -> Self {
        let size = format!("size={bytes}");
        Self::new(at, &["-t", "tmpfs", "-o", &size, "tmpfs"])
    }

    /// The ext4 of an image, which becomes read-only at its first error.
    #[track_caller]
    pub fn image(image: &Path, at: &Path) -> Self {
        let image = image.to_str().expect("a path");
        Self::new(at, &["-t", "ext4", "-o", "loop,errors=remount-ro", image])
    }

    /// A folder once more, where the kernel says no to every write.
    #[track_caller]
    pub fn read_only(folder: &Path, at: &Path) -> Self {
        let folder = folder.to_str().expect("a path");
        let mount = Self::new(at, &["--bind", "-o", "ro", folder]);
        assert!(fs::write(at.join("x"), "x").is_err(), "{at:?} is not read-only");
        mount
    }

    #[track_caller]
    fn new(at: &Path, what: &[&str]) -> Self {
        if !at.exists() {
            fs::create_dir(at).expect("a folder to mount on");
        }
        super::done(Command::new("mount").args(what).arg(at));
        Self { at: at.to_owned() }
    }

    /// Gives a file system in memory another size.
    #[track_caller]
    pub fn resize(&self, bytes: u64) {
        let size = format!("remount,size={bytes}");
        super::done(Command::new("mount").args(["-o", &size]).arg(&self.at));
    }

    /// What an error of the disk does to an ext4: the kernel lets nothing be written any more.
    #[track_caller]
    pub fn fail(&self) {
        let mounts = fs::read_to_string("/proc/self/mounts").expect("the kernel lists its mounts");
        let mut mounts = mounts.lines().filter_map(|line| {
            let mut words = line.split(' ');
            Some((words.next()?.strip_prefix("/dev/")?, words.next()?))
        });
        let device = mounts.find(|(_, at)| Path::new(at) == self.at).expect("it is mounted").0;
        let switch = Path::new("/sys/fs/ext4").join(device).join("trigger_fs_error");
        fs::write(&switch, "an error, says the test").expect("the kernel lets errors be made");
    }

    /// Whatever is open on it must be closed before.
    #[track_caller]
    pub fn unmount(self) {
        super::done(Command::new("umount").arg(&self.at));
        std::mem::forget(self);
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.at).status();
    }
}

/// Makes an image with an empty ext4. It takes only as much space as is written to it.
#[track_caller]
pub fn make_image(path: &Path, bytes: u64) {
    let file = fs::File::create_new(path).expect("an image");
    file.set_len(bytes).expect("an image has a size");
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path).status();
    assert!(made.expect("no mkfs.ext4: run `make deps`").success(), "mkfs.ext4 failed");
}

/// Repairs the file system of an image that is not mounted.
#[track_caller]
pub fn repair_image(path: &Path) {
    let output = Command::new("e2fsck").args(["-f", "-y"]).arg(path).output();
    let output = output.expect("no e2fsck: run `make deps`");
    // 1 says that errors were found, and that none is left.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{}", super::text(&output.stdout));
}
