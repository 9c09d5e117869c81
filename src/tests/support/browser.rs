//! Chromium without a screen, driven through chromedriver's WebDriver protocol.
//!
//! One browser, one window, a profile of its own. INVARIANT: neither driver nor browser outlives
//! this value, and no wait outlives its deadline.

use std::fs;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;

const ANSWER_WAIT: Duration = Duration::from_secs(15);
const CLOSE_WAIT: Duration = Duration::from_secs(3);
const START_WAIT: Duration = Duration::from_secs(15);
const WAIT: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(50);
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1100,800",
];
/// The name of an element in the protocol's answers.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// A browser with one window.
pub struct Browser {
    agent: Agent,
    driver: Child,
    deadline: Instant,
    /// Of the driver, then of the session.
    url: String,
    home: TempDir,
}

impl Browser {
    /// Starts driver and browser, which have so much time for everything.
    #[track_caller]
    pub fn start(time: Duration) -> Self {
        let deadline = Instant::now() + time;
        let home = tempfile::Builder::new().prefix("hansard-browser-").tempdir();
        let home = home.expect("a temporary folder");
        let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr());
        let port = free.expect("a free port").port();
        let driver = Command::new("chromedriver")
            .arg(format!("--port={port}"))
            .env("HOME", home.path())
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("no chromedriver: run `make deps`");
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(ANSWER_WAIT))
            .build();
        let url = format!("http://127.0.0.1:{port}");
        let mut browser = Self { agent: agent.into(), driver, deadline, url, home };
        browser.begin();
        browser
    }

    #[track_caller]
    fn begin(&mut self) {
        let begun = Instant::now();
        while self.agent.get(format!("{}/status", self.url)).call().is_err() {
            assert!(begun.elapsed() < START_WAIT, "chromedriver does not answer");
            thread::sleep(POLL);
        }
        let profile = self.home.path().join("profile");
        let mut arguments = ARGUMENTS.map(str::to_owned).to_vec();
        arguments.push(format!("--user-data-dir={}", profile.display()));
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "browserName": "chrome",
            "goog:chromeOptions": { "args": arguments },
        } } });
        let session = self.ask("/session", Some(&wanted));
        let id = session["sessionId"].as_str().expect("a session (no chromium? run `make deps`)");
        self.url = format!("{}/session/{id}", self.url);
    }

    /// One command of the protocol.
    #[track_caller]
    fn ask(&self, path: &str, body: Option<&Value>) -> Value {
        let url = format!("{}{path}", self.url);
        let answer = match body {
            Some(body) => self.agent.post(url).send_json(body),
            None => self.agent.get(url).call(),
        };
        let mut answer = answer.expect("the driver answers");
        let value: Value = answer.body_mut().read_json().expect("its answer is JSON");
        assert!(answer.status().is_success(), "{path}: {}", value["value"]["message"]);
        value["value"].clone()
    }

    #[track_caller]
    pub fn open(&self, url: &str) {
        self.ask("/url", Some(&json!({ "url": url })));
    }

    /// What a script in the page returns.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.ask("/execute/sync", Some(&json!({ "script": script, "args": [] })))
    }

    /// Waits until an expression holds.
    #[track_caller]
    pub fn until(&self, expression: &str) {
        let end = self.deadline.min(Instant::now() + WAIT);
        while self.run(&format!("return Boolean({expression})")) != true {
            let page = || self.run("return document.body.innerText");
            assert!(Instant::now() < end, "never came: {expression}\n{}", page());
            thread::sleep(POLL);
        }
    }

    /// Clicks what an XPath finds, as a hand does: it must be visible and uncovered.
    #[track_caller]
    pub fn click(&self, xpath: &str) {
        let element = self.find(xpath);
        self.ask(&format!("/element/{element}/click"), Some(&json!({})));
    }

    /// Types into what an XPath finds.
    #[track_caller]
    pub fn write(&self, xpath: &str, text: &str) {
        let element = self.find(xpath);
        self.ask(&format!("/element/{element}/value"), Some(&json!({ "text": text })));
    }

    #[track_caller]
    fn find(&self, xpath: &str) -> String {
        let wanted = json!({ "using": "xpath", "value": xpath });
        let element = self.ask("/element", Some(&wanted));
        element[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// The browser's processes: they name its profile.
    fn processes(&self) -> Vec<Pid> {
        let home = self.home.path().as_os_str().as_encoded_bytes();
        let is_of = |line: &[u8]| line.windows(home.len()).any(|part| part == home);
        let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
        let entries = entries
            .filter(|entry| fs::read(entry.path().join("cmdline")).is_ok_and(|line| is_of(&line)));
        let pid = |name: &str| name.parse().ok().and_then(Pid::from_raw);
        entries.filter_map(|entry| entry.file_name().to_str().and_then(pid)).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let quick = self.agent.delete(&self.url).config().timeout_global(Some(CLOSE_WAIT)).build();
        let _ = quick.call();
        if let Some(group) = i32::try_from(self.driver.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.driver.wait();
        let begun = Instant::now();
        while begun.elapsed() < CLOSE_WAIT {
            let left = self.processes();
            if left.is_empty() {
                return;
            }
            for process in left {
                let _ = kill_process(process, Signal::KILL);
            }
            thread::sleep(POLL);
        }
    }
}
