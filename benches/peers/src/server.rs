//! A PostgreSQL server of our own: initialised, started, and stopped with the last handle.
//!
//! From the distribution's binaries, on a fresh data directory and a Unix socket in it; no port is
//! opened. It refuses root, so as root it runs as `postgres`, else `nobody`.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::store::{Budget, Outcome};

/// Where Debian keeps the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
const USERS: [&str; 2] = ["postgres", "nobody"];
const START_MAX: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(20);

pub struct Server {
    child: Child,
    sockets: PathBuf,
}

/// The newest version's folder of programs.
fn programs() -> Outcome<PathBuf> {
    let versions = std::fs::read_dir(PROGRAMS).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> = versions
        .filter_map(|entry| {
            Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin")))
        })
        .filter(|(_, bin)| bin.join("postgres").exists())
        .collect();
    found.sort();
    Ok(found.pop().ok_or("no PostgreSQL: run .ci/deps bench")?.1)
}

/// A user who is not root, if this is root.
fn user() -> Outcome<Option<String>> {
    if !rustix::process::geteuid().is_root() {
        return Ok(None);
    }
    let known = std::fs::read_to_string("/etc/passwd")?;
    let is_known = |name: &&str| known.lines().any(|line| line.split(':').next() == Some(*name));
    Ok(Some(USERS.into_iter().find(is_known).ok_or("no user to run PostgreSQL as")?.to_owned()))
}

/// A program run as that user; it stays the same process, so that it can be told to end.
fn command(program: &Path, user: Option<&str>) -> Command {
    let Some(user) = user else { return Command::new(program) };
    let mut command = Command::new("setpriv");
    command.args(["--reuid", user, "--regid", user_group(user), "--clear-groups", "--"]);
    command.arg(program);
    command
}

fn user_group(user: &str) -> &str {
    if user == "nobody" { "nogroup" } else { user }
}

fn settings(budget: Budget, sockets: &Path) -> Vec<String> {
    let mib = 1024 * 1024;
    vec![
        format!("shared_buffers={}MB", (budget.all_bytes() / mib).max(1)),
        "fsync=on".into(),
        "synchronous_commit=on".into(),
        "full_page_writes=on".into(),
        "wal_compression=off".into(),
        "max_wal_size=1GB".into(),
        "checkpoint_completion_target=0.9".into(),
        "max_connections=300".into(),
        "effective_cache_size=4GB".into(),
        "random_page_cost=1.1".into(),
        "jit=off".into(),
        "listen_addresses=".into(),
        format!("unix_socket_directories={}", sockets.display()),
    ]
}

pub const SETTINGS: &str = "version of the system; shared_buffers = budget, fsync, \
                            synchronous_commit, max_wal_size 1 GB, random_page_cost 1.1, Unix \
                            socket, prepared statements, unnest() inserts, primary key (room, \
                            seq), unique key, indexes (room, time) and (category, time)";

impl Server {
    /// Starts a server on `dir`, which is made first if it is absent.
    pub fn start(dir: &Path, budget: Budget) -> Outcome<Self> {
        let (bin, user) = (programs()?, user()?);
        let data = dir.join("data");
        if !data.exists() {
            std::fs::create_dir_all(&data)?;
            if let Some(user) = &user {
                let owner = format!("{user}:{}", user_group(user));
                run(Command::new("chown").arg(owner).arg(dir).arg(&data))?;
            }
            let mut init = command(&bin.join("initdb"), user.as_deref());
            let args = ["--auth=trust", "--encoding=UTF8", "--locale=C", "--username=bench", "-D"];
            run(init.args(args).arg(&data))?;
        }
        // The path of a socket may be 107 bytes long at most, so it stands elsewhere.
        let sockets = std::env::temp_dir().join(format!("hansard-pg-{}", std::process::id()));
        std::fs::create_dir_all(&sockets)?;
        if let Some(user) = &user {
            run(Command::new("chown").arg(user).arg(&sockets))?;
        }
        let mut postgres = command(&bin.join("postgres"), user.as_deref());
        postgres.arg("-D").arg(&data);
        for setting in settings(budget, &sockets) {
            postgres.args(["-c", &setting]);
        }
        let log = File::create(dir.join("log"))?;
        postgres.current_dir("/").stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let server = Self { child: postgres.spawn()?, sockets };
        server.wait()?;
        Ok(server)
    }

    /// How to reach it.
    pub fn address(&self) -> String {
        format!("host={} user=bench dbname=postgres", self.sockets.display())
    }

    fn wait(&self) -> Outcome<()> {
        let begun = Instant::now();
        while let Err(error) = postgres::Client::connect(&self.address(), postgres::NoTls) {
            if begun.elapsed() > START_MAX {
                return Err(format!("PostgreSQL does not start: {error}").into());
            }
            std::thread::sleep(STEP);
        }
        Ok(())
    }

    fn stop(&mut self) -> Outcome<()> {
        // Fast: it finishes nothing for clients, writes a checkpoint and ends.
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            kill_process(pid, Signal::INT)?;
        }
        self.child.wait()?;
        std::fs::remove_dir_all(&self.sockets)?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("PostgreSQL did not stop: {error}");
        }
    }
}

fn run(command: &mut Command) -> Outcome<()> {
    let out = command.stdin(Stdio::null()).output()?;
    if out.status.success() {
        return Ok(());
    }
    let program = OsStr::new(command.get_program()).display();
    Err(format!("{program}: {}: {}", out.status, String::from_utf8_lossy(&out.stderr)).into())
}
