//! The real programs: `hansard` on a data directory, its offline tool, its importer.
//!
//! They are known only from outside: command line, HTTP, signals, exits. INVARIANT: no process
//! outlives the one that started it here.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::mount::Machine;
use crate::tournament::Outcome;

const START_WAIT: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(2);
pub const PASSWORD: &str = "correct horse battery staple";

/// Where the programs are, and where they work.
#[derive(Clone, Debug)]
pub struct Site {
    /// The folder of `hansard` and `hansard-tool`.
    pub programs: PathBuf,
    pub data: PathBuf,
    /// Beside the mount: configuration, logs, password.
    pub outside: PathBuf,
}

/// How a start went.
pub enum Start {
    Up(Server),
    /// The power was cut before it listened.
    Cut(Server),
    Ended(ExitStatus),
}

/// A running server. Dropped it is killed.
pub struct Server {
    pub url: String,
    child: Child,
}

impl Site {
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.programs.join(program));
        let ours = |name: &str| name.starts_with("HANSARD_");
        for (name, _) in std::env::vars().filter(|(name, _)| ours(name)) {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.outside.join("log")
    }

    fn log_file(&self) -> Outcome<File> {
        Ok(File::options().append(true).create(true).open(self.log())?)
    }

    /// Makes the data directory.
    ///
    /// # Errors
    /// If `hansard init` does not.
    pub fn init(&self) -> Outcome<()> {
        let password = self.outside.join("password");
        std::fs::write(&password, format!("{PASSWORD}\n"))?;
        let mut init = self.command("hansard");
        init.args(["init", "--admin", "admin", "--data"]).arg(&self.data);
        init.arg("--password-file").arg(password).stderr(self.log_file()?);
        match init.status()? {
            status if status.success() => Ok(()),
            status => Err(format!("hansard init: {status}").into()),
        }
    }

    /// Starts the server with these lines of configuration.
    ///
    /// # Errors
    /// If it neither listens nor ends.
    pub fn start(&self, toml: &str, machine: &Machine) -> Outcome<Start> {
        let config = self.outside.join("hansard.toml");
        std::fs::write(&config, toml)?;
        let mut serve = self.command("hansard");
        serve.args(["serve", "--http", "127.0.0.1:0", "--data"]).arg(&self.data);
        serve.arg("--config").arg(config).stdout(Stdio::piped()).stderr(self.log_file()?);
        let mut child = serve.spawn()?;
        let stdout = child.stdout.take().ok_or("no standard output")?;
        let mut server = Server { url: String::new(), child };
        let (sender, receiver) = mpsc::sync_channel(1);
        thread::spawn(move || {
            let (mut line, mut stdout) = (String::new(), BufReader::new(stdout));
            let _ = stdout.read_line(&mut line);
            let _ = sender.send(line);
            // Keeps the pipe open, so that the server can say more.
            let _ = stdout.read_to_end(&mut Vec::new());
        });
        let begun = Instant::now();
        loop {
            if let Ok(line) = receiver.recv_timeout(STEP) {
                if let Some(at) = line.split(' ').find_map(|word| word.strip_prefix("http=")) {
                    server.url = format!("http://{}", at.trim());
                    return Ok(Start::Up(server));
                }
                let ended = server.ended(START_WAIT).ok_or("serve said nothing and went on")?;
                return Ok(Start::Ended(ended));
            }
            if machine.is_cut() {
                return Ok(Start::Cut(server));
            }
            if begun.elapsed() > START_WAIT {
                return Err("serve does not listen".into());
            }
        }
    }

    /// Lets the offline tool look at a stopped directory.
    ///
    /// # Errors
    /// If it finds anything.
    pub fn verify(&self) -> Outcome<()> {
        let output =
            self.command("hansard-tool").args(["verify", "--json"]).arg(&self.data).output()?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stdout);
        let complained = String::from_utf8_lossy(&output.stderr);
        Err(format!("verify: {}\n{said}{complained}", output.status).into())
    }
}

impl Server {
    /// Ends it as a power cut ends a process. Its requests to the disk end, too.
    pub fn kill(mut self, machine: &Machine) -> Outcome<()> {
        self.child.kill()?;
        machine.release();
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to stop.
    ///
    /// # Errors
    /// If it does not end well.
    pub fn stop(mut self) -> Outcome<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let pid = pid.ok_or("no process id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        match self.ended(Duration::from_secs(30)) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("a stop ended with {status}").into()),
            None => Err("a stop does not end".into()),
        }
    }

    /// How it ended, if it did in time.
    pub fn ended(&mut self, within: Duration) -> Option<ExitStatus> {
        let begun = Instant::now();
        loop {
            match self.child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if begun.elapsed() < within => thread::sleep(STEP),
                _ => return None,
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Unmounts when it goes.
pub struct Mounted(Option<fuser::BackgroundSession>, PathBuf);

/// What the kernel may tell a file system that was unmounted while it waited for a request.
const CONNECTION_ENDED: i32 = 103;

impl Mounted {
    /// Mounts the machine's disk.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(machine: &Machine, at: &Path) -> Outcome<Self> {
        let session = machine.mount(at).map_err(|error| format!("mount: {error}"))?;
        Ok(Self(Some(session), at.to_owned()))
    }

    /// Unmounts; nobody may use it any more.
    ///
    /// # Errors
    /// The kernel's.
    pub fn unmount(mut self) -> Outcome<()> {
        let Some(session) = self.0.take() else { return Ok(()) };
        let Err(error) = session.umount_and_join() else { return Ok(()) };
        let mounts = std::fs::read_to_string("/proc/self/mounts")?;
        let there = mounts.lines().any(|line| line.split(' ').nth(1) == self.1.to_str());
        if error.raw_os_error() == Some(CONNECTION_ENDED) && !there {
            return Ok(());
        }
        Err(format!("unmount: {error}").into())
    }
}
