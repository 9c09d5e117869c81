//! A real server on a data directory of its own, for the end-to-end tests.
//!
//! It starts the built binary and knows it only from outside: command line, HTTP, signals, files.
//! INVARIANT: no test leaves a process behind, and every wait has an end.

// Every test program uses its own part of this.
#![allow(dead_code)]

pub mod api;
pub mod browser;
#[path = "../../../server/tests/api/checker.rs"]
pub mod checker;
pub mod history;
pub mod load;
pub mod mounts;
pub mod reference;
pub mod tool;
pub mod wall;
pub mod websocket;

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use api::Api;

pub const PASSWORD: &str = "correct horse battery staple";
const START_WAIT: Duration = Duration::from_secs(30);
/// What DESIGN section 11 promises.
pub const STOP_WAIT: Duration = Duration::from_secs(20);

/// The binary under test, with an environment that says nothing to it.
pub fn hansard() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hansard"));
    for (name, _) in std::env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(|name| name.starts_with("HANSARD_")))
    {
        command.env_remove(name);
    }
    command.stdin(Stdio::null());
    command
}

/// A folder for one data directory, and for what a test puts beside it. With HANSARD_TEST_KEEP in
/// the environment that of a failed test stays, for a look at what broke.
pub struct Site {
    root: TempDir,
    data: PathBuf,
    /// Variables that the server finds in its environment.
    pub environment: Vec<(String, String)>,
}

impl Drop for Site {
    fn drop(&mut self) {
        if thread::panicking() && std::env::var_os("HANSARD_TEST_KEEP").is_some() {
            self.root.disable_cleanup(true);
            eprintln!("kept: {:?}", self.root.path());
        }
    }
}

impl Site {
    /// Without a data directory.
    pub fn empty() -> Self {
        let root = tempfile::Builder::new().prefix("hansard-test-").tempdir();
        let root = root.expect("a temporary folder");
        let data = root.path().join("data");
        let site = Self { root, data, environment: Vec::new() };
        fs::write(site.path("password"), format!("{PASSWORD}\n")).expect("a password file");
        site
    }

    /// With an initialised data directory whose administrator has [`PASSWORD`].
    pub fn new() -> Self {
        let site = Self::empty();
        site.init();
        site
    }

    /// The data directory will be here, below the site's folder.
    pub fn put_data(&mut self, path: &str) {
        self.data = self.path(path);
    }

    /// Makes the data directory.
    pub fn init(&self) {
        let (data, password) = (self.data(), self.path("password"));
        let output = hansard()
            .args(["init", "--admin", "admin", "--data"])
            .arg(data)
            .arg("--password-file")
            .arg(password)
            .output()
            .expect("init runs");
        assert!(output.status.success(), "init: {}", text(&output.stderr));
    }

    /// Writes a configuration file, and gives the arguments that make a server read it.
    pub fn configure(&self, toml: &str) -> [String; 2] {
        let file = self.path("hansard.toml");
        fs::write(&file, toml).expect("a configuration file");
        ["--config".to_owned(), file.to_str().expect("a path").to_owned()]
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// Everything that the site's servers have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Starts a server on a free port.
    pub fn serve(&self) -> Server {
        self.serve_with(&[""; 0])
    }

    pub fn serve_with(&self, args: &[impl AsRef<str>]) -> Server {
        match self.try_serve(args) {
            Ok(server) => server,
            Err(status) => panic!("serve ended with {status}: {}", self.log()),
        }
    }

    /// Starts a server where another one was.
    pub fn serve_with_address(&self, address: &str) -> Server {
        self.serve_with(&["--http", address])
    }

    /// Starts a server; how it ended, if it did not get as far as listening.
    pub fn try_serve(&self, args: &[impl AsRef<str>]) -> Result<Server, ExitStatus> {
        let args: Vec<&str> = args.iter().map(AsRef::as_ref).collect();
        let free = if args.contains(&"--http") { vec![] } else { vec!["--http", "127.0.0.1:0"] };
        let log = File::options().append(true).create(true).open(self.path("log"));
        let mut child = hansard()
            .args(["serve", "--data"])
            .arg(self.data())
            .args(free)
            .args(args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdout(Stdio::piped())
            .stderr(log.expect("a log file"))
            .spawn()
            .expect("serve starts");
        let stdout = child.stdout.take().expect("its standard output");
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let mut line = String::new();
            let mut stdout = BufReader::new(stdout);
            let read = stdout.read_line(&mut line);
            let _ = sender.send(read.map(|_| line));
            // Keeps the pipe open, so that the server can say more.
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        let line = receiver.recv_timeout(START_WAIT);
        let line = line.expect("serve listens in time").expect("its output is text");
        let Some(address) = line.split(' ').find_map(|word| word.strip_prefix("http=")) else {
            return Err(wait(&mut child, START_WAIT).expect("serve ends"));
        };
        Ok(Server { url: format!("http://{}", address.trim()), child, password: PASSWORD.into() })
    }
}

/// A running server. Dropped it is killed.
pub struct Server {
    pub url: String,
    child: Child,
    password: String,
}

impl Server {
    pub fn anonymous(&self) -> Api {
        Api::new(&self.url)
    }

    /// Signed in as the administrator.
    pub fn admin(&self) -> Api {
        self.anonymous().signed_in("admin", &self.password)
    }

    /// A command that talks to this server as the administrator.
    pub fn command(&self, admin: &Api) -> Command {
        let mut command = hansard();
        command.env("HANSARD_URL", &self.url);
        command.env("HANSARD_TOKEN", admin.token.as_deref().unwrap_or_default());
        command
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a process id"), signal).expect("the server can be signalled");
    }

    /// Ends it as a power cut ends a process.
    pub fn kill(mut self) {
        self.child.kill().expect("the server can be killed");
        self.child.wait().expect("the server has ended");
    }

    /// Asks it to stop and waits as long as it may take.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.ended(STOP_WAIT)
    }

    pub fn ended(&mut self, within: Duration) -> ExitStatus {
        wait(&mut self.child, within).expect("the server ends in time")
    }

    /// Bytes of memory that it has now.
    pub fn memory_bytes(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(path).expect("the kernel tells");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().strip_suffix("kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok()).expect("a number") * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child, within: Duration) -> Option<ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("a child can be waited for") {
            return Some(status);
        }
        if begun.elapsed() > within {
            return None;
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command that must do well, and gives its standard output.
#[track_caller]
pub fn done(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    let code = output.status.code();
    assert!(output.status.success(), "{command:?} gave {code:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs a command that must fail with this exit, and gives its standard error.
#[track_caller]
pub fn fails(command: &mut Command, exit: i32) -> String {
    let Output { status, stdout, stderr } = command.output().expect("the command runs");
    let said = text(&stderr);
    assert_eq!(status.code(), Some(exit), "{command:?}: {}{said}", text(&stdout));
    assert!(!said.contains("panicked"), "{said}");
    said
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Text that no compression makes much smaller, another one for each seed.
pub fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut letter = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        char::from(b' ' + u8::try_from(state % 90).expect("few"))
    };
    (0..bytes).map(|_| letter()).collect()
}

/// The six logs that come with the repository.
pub fn data_folder() -> PathBuf {
    let top = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    Path::new(&top).join("server/tests/data")
}

/// The logs of a folder, in the order of their days.
pub fn logs(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the folder of logs can be read");
    let paths = entries.map(|entry| entry.expect("its entries can be read").path());
    let mut logs: Vec<_> =
        paths.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    logs.sort();
    assert!(!logs.is_empty(), "no *.log in {folder:?}");
    logs
}
