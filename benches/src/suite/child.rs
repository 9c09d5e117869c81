//! What a suite has done by a process of its own: to count what it wrote, to see its memory, to
//! kill it.
//!
//! A suite starts itself again with `child` and a task; the child says one line of JSON. INVARIANT:
//! no child outlives the handle, and only the child itself is killed.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::tournament::Outcome;

const WORD: &str = "child";
/// How long a child may take where nothing else is said.
const SAID_MAX: Duration = Duration::from_secs(3600);

/// A running child.
pub struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as good.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    /// Starts a task.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(task: &impl Serialize) -> Outcome<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args([WORD, &serde_json::to_string(task)?]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?))
    }

    /// What it says in the end.
    ///
    /// # Errors
    /// If it says nothing, or something else.
    pub fn said<T: DeserializeOwned>(&mut self) -> Outcome<T> {
        let said = self.said_within(SAID_MAX)?;
        Ok(said.ok_or("a child took too long")?)
    }

    /// What it says within a time; none if it has said nothing by then.
    ///
    /// # Errors
    /// As [`Self::said`].
    pub fn said_within<T: DeserializeOwned>(&mut self, most: Duration) -> Outcome<Option<T>> {
        let out = self.0.stdout.take().ok_or("a child was asked twice")?;
        let (told, heard) = sync_channel(1);
        let reader = std::thread::spawn(move || {
            let mut line = String::new();
            let read = BufReader::new(out).read_line(&mut line);
            // Nobody hears it any more if it came too late.
            let _ = told.send(read.map(|_| line));
        });
        let Ok(line) = heard.recv_timeout(most) else {
            // Its end ends the reader, too.
            self.0.kill()?;
            reader.join().map_err(|_| "the reader of a child panicked")?;
            return Ok(None);
        };
        let line = line?;
        if line.is_empty() {
            return Err(format!("a child said nothing: {}", self.0.wait()?).into());
        }
        Ok(Some(serde_json::from_str(&line)?))
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    ///
    /// # Errors
    /// If it had ended.
    pub fn kill(mut self) -> Outcome<()> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }
}

/// The task, if this process is a child.
///
/// # Errors
/// If it is none that can be read.
pub fn task<T: DeserializeOwned>() -> Outcome<Option<T>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(WORD) {
        return Ok(None);
    }
    let task = arguments.next().ok_or("a child without a task")?;
    Ok(Some(serde_json::from_str(&task)?))
}

/// Says a result.
///
/// # Errors
/// If nobody hears it.
pub fn say(said: &impl Serialize) -> Outcome<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", serde_json::to_string(said)?)?;
    Ok(out.flush()?)
}
