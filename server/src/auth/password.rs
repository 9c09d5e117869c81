//! Passwords: argon2id, a few at a time, off the runtime's threads.
//!
//! It never says which part was wrong, and an unknown name costs the same work as a wrong password.
//! INVARIANT: at most `PASSWORD_WORKERS` hashes are computed at once, each of a fixed memory.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::config::PasswordCost;
use crate::limits::{PASSWORD_BYTES_MAX, PASSWORD_QUEUE_MAX, PASSWORD_WORKERS};
use crate::problem::{Code, Problem};
use crate::secrets::{self, NoRandomness};

const SALT_BYTES: usize = 16;

/// A password could not be hashed.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    /// No salt.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The library refused the cost.
    #[error("password hashing failed: {0}")]
    Library(String),
}

impl From<HashError> for Problem {
    fn from(error: HashError) -> Self {
        tracing::error!(%error, "request failed");
        Self::new(Code::Internal)
    }
}

/// Whether a password has a length that is taken: 1 to 1024 bytes.
pub(crate) fn acceptable(password: &str) -> bool {
    (1..=PASSWORD_BYTES_MAX).contains(&password.len())
}

/// The argon2id string of a password.
pub(crate) fn hash(password: &str, cost: PasswordCost) -> Result<String, HashError> {
    let salt = secrets::random::<SALT_BYTES>()?;
    let library = |error: String| HashError::Library(error);
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, None)
        .map_err(|error| library(error.to_string()))?;
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = hasher
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| library(error.to_string()))?;
    Ok(hash.to_string())
}

/// Whether a password is the one of an argon2id string. The string says its own cost.
fn verify(password: &str, hash: &str) -> bool {
    let Ok(hash) = PasswordHash::new(hash) else { return false };
    Argon2::default().verify_password(password.as_bytes(), &hash).is_ok()
}

/// The workers, and the hash that unknown names are compared with.
pub(crate) struct Passwords {
    cost: PasswordCost,
    workers: Arc<Semaphore>,
    queue: Semaphore,
    dummy: Arc<Mutex<Option<String>>>,
}

impl Passwords {
    /// No worker runs yet.
    pub(crate) fn new(cost: PasswordCost) -> Self {
        Self {
            cost,
            workers: Arc::new(Semaphore::new(PASSWORD_WORKERS)),
            queue: Semaphore::new(PASSWORD_QUEUE_MAX),
            dummy: Arc::default(),
        }
    }

    /// Hashes a new password.
    pub(crate) async fn hash(&self, password: String) -> Result<String, Problem> {
        let cost = self.cost;
        self.work(move || hash(&password, cost)).await?.map_err(Problem::from)
    }

    /// Compares; with no hash it does the same work and says no.
    pub(crate) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, Problem> {
        let (cost, dummy) = (self.cost, Arc::clone(&self.dummy));
        self.work(move || {
            let known = hash.is_some();
            let against = match hash {
                Some(hash) => hash,
                None => stand_in(&dummy, cost)?,
            };
            Ok::<_, HashError>(verify(&password, &against) && known)
        })
        .await?
        .map_err(Problem::from)
    }

    async fn work<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let busy = |_| Problem::with(Code::Unavailable, "too many sign-ins at once");
        let _place = self.queue.try_acquire().map_err(busy)?;
        let worker = Arc::clone(&self.workers).acquire_owned().await;
        let task = tokio::task::spawn_blocking(move || {
            let _worker = worker;
            work()
        });
        task.await.map_err(|error| {
            tracing::error!(%error, "a password worker failed");
            Problem::new(Code::Internal)
        })
    }
}

/// A hash nobody's password matches, of the same cost as real ones; made once.
fn stand_in(slot: &Mutex<Option<String>>, cost: PasswordCost) -> Result<String, HashError> {
    if let Some(made) = slot.lock().clone() {
        return Ok(made);
    }
    let made = hash(&secrets::mint()?.secret, cost)?;
    *slot.lock() = Some(made.clone());
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: PasswordCost = PasswordCost { memory_kib: 64, passes: 1, lanes: 1 };

    #[tokio::test]
    async fn the_right_password_passes_and_nothing_else() {
        let passwords = Passwords::new(CHEAP);
        let hash = passwords.hash("correct horse".into()).await.unwrap();
        assert!(hash.starts_with("$argon2id$"), "{hash}");
        assert!(passwords.verify("correct horse".into(), Some(hash.clone())).await.unwrap());
        assert!(!passwords.verify("wrong".into(), Some(hash)).await.unwrap());
        assert!(!passwords.verify("correct horse".into(), None).await.unwrap());
        assert!(!passwords.verify("x".into(), Some("not a hash".into())).await.unwrap());
    }

    #[test]
    fn passwords_have_1_to_1024_bytes() {
        assert!(!acceptable(""));
        assert!(acceptable("x"));
        assert!(acceptable(&"x".repeat(1024)));
        assert!(!acceptable(&"x".repeat(1025)));
    }
}
