//! The one door to randomness: bearer tokens, sign-in links, salts and connection names.
//!
//! It gives out secrets and their digests; it keeps none. INVARIANT: what is recorded is the
//! SHA-256 of a secret, never the secret.

use sha2::{Digest, Sha256};

use crate::codec::base64url;

const PREFIX: &str = "hst_";
const SECRET_BYTES: usize = 32;

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("no randomness from the system: {0}")]
pub struct NoRandomness(String);

/// A new secret and what is recorded of it.
pub(crate) struct Minted {
    /// What the owner gets, once.
    pub(crate) secret: String,
    /// What the log keeps.
    pub(crate) sha256: [u8; 32],
}

/// Random bytes.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut out = [0; N];
    getrandom::fill(&mut out).map_err(|error| NoRandomness(error.to_string()))?;
    Ok(out)
}

/// A new bearer token or sign-in secret.
pub(crate) fn mint() -> Result<Minted, NoRandomness> {
    let secret = format!("{PREFIX}{}", base64url(&random::<SECRET_BYTES>()?));
    let sha256 = sha256(secret.as_bytes());
    Ok(Minted { secret, sha256 })
}

/// A name for a stream connection: not a credential.
pub(crate) fn connection_name() -> Result<String, NoRandomness> {
    Ok(format!("s{}", base64url(&random::<9>()?)))
}

/// What the log keeps of a presented secret; `None` if it cannot be one of ours.
pub(crate) fn digest_of(secret: &str) -> Option<[u8; 32]> {
    let rest = secret.strip_prefix(PREFIX)?;
    (rest.len() == 43).then(|| sha256(secret.as_bytes()))
}

/// SHA-256.
pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_secret_is_recognised_by_its_digest_only() {
        let one = mint().unwrap();
        let two = mint().unwrap();
        assert_ne!(one.secret, two.secret);
        assert_eq!(digest_of(&one.secret), Some(one.sha256));
        assert_eq!(digest_of("hst_short"), None);
        assert_eq!(digest_of(&one.secret["hst_".len()..]), None);
    }
}
