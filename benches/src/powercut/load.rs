//! Posters, and somebody who makes and ends tokens, until the server is gone.
//!
//! Each has one request in flight. INVARIANT: what is sent is in the ledger as kept or as unknown
//! before the next one is sent.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::json;

use super::client::Client;
use super::ledger::{Ledger, Post, Token};
use crate::tournament::Outcome;

const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// A poster: his room and his credential; his numbers go on from round to round.
pub struct Poster {
    pub room: usize,
    pub token: String,
    pub next: Arc<AtomicU64>,
}

/// The people at work.
pub struct Load {
    stop: Arc<AtomicBool>,
    at_work: Vec<JoinHandle<Outcome<()>>>,
}

/// The ledger, shared.
pub type Shared = Arc<Mutex<Ledger>>;

/// The ledger, whatever became of who held it.
pub fn open(ledger: &Shared) -> std::sync::MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Load {
    #[must_use]
    pub fn start(posters: &[Poster], admin: &Client, user: &str, ledger: &Shared) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let mut at_work = Vec::new();
        for (at, poster) in posters.iter().enumerate() {
            let client = Client::new(admin.url(), Some(&poster.token));
            let room = (poster.room, open(ledger).rooms[poster.room].id.clone());
            let (next, stop, ledger) = (poster.next.clone(), stop.clone(), ledger.clone());
            at_work.push(thread::spawn(move || post(&client, &room, at, &next, &stop, &ledger)));
        }
        let (admin, user) = (admin.clone(), user.to_owned());
        let (ledger, stopped) = (ledger.clone(), stop.clone());
        at_work.push(thread::spawn(move || rights(&admin, &user, &stopped, &ledger)));
        Self { stop, at_work }
    }

    /// Ends it. The server is dead, or nothing would end the requests on their way.
    ///
    /// # Errors
    /// If somebody got an answer that cannot be.
    pub fn end(self) -> Outcome<()> {
        self.stop.store(true, Ordering::Relaxed);
        for one in self.at_work {
            one.join().map_err(|_| "a poster panicked")??;
        }
        Ok(())
    }
}

fn post(
    client: &Client,
    (room, id): &(usize, String),
    poster: usize,
    next: &AtomicU64,
    stop: &AtomicBool,
    ledger: &Shared,
) -> Outcome<()> {
    let path = format!("/rooms/{id}/messages");
    loop {
        let post = Post { poster, number: next.fetch_add(1, Ordering::Relaxed) };
        let (body, key) = (json!({ "body": post.body() }), post.key());
        loop {
            match client.post(&path, &body, Some(&key)) {
                Some((201, answer)) => {
                    open(ledger).kept(*room, post, &answer)?;
                    break;
                }
                Some((503 | 507, _)) if !stop.load(Ordering::Relaxed) => {
                    thread::sleep(BUSY_PAUSE);
                }
                None | Some((503 | 507, _)) => {
                    open(ledger).unknown(*room, post);
                    return Ok(());
                }
                Some((status, answer)) => return Err(format!("{status} {answer}").into()),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
    }
}

/// Makes tokens, and ends every second one.
fn rights(admin: &Client, user: &str, stop: &AtomicBool, ledger: &Shared) -> Outcome<()> {
    for n in 0_u64.. {
        let made = admin.post("/tokens", &json!({ "name": "t", "principal": user }), None);
        let Some((201, token)) = made else { return Ok(()) };
        let (Some(id), Some(secret)) = (token["id"].as_str(), token["token"].as_str()) else {
            return Err(format!("no token in {token}").into());
        };
        let (id, secret) = (id.to_owned(), secret.to_owned());
        let at = open(ledger).tokens.len();
        open(ledger).tokens.push(Token { secret, good: Some(true) });
        if n % 2 == 0 {
            open(ledger).tokens[at].good = None;
            match admin.delete(&format!("/tokens/{id}")) {
                Some((204, _)) => open(ledger).tokens[at].good = Some(false),
                _ => return Ok(()),
            }
        }
        if stop.load(Ordering::Relaxed) {
            return Ok(());
        }
        thread::sleep(BUSY_PAUSE);
    }
    Ok(())
}
