//! Signed heads as text: checkpoints in signed notes, and the keys they are signed with.
//!
//! The formats are C2SP's (`c2sp.org/signed-note`, `c2sp.org/tlog-checkpoint`), with Ed25519 (RFC
//! 8032), so that tools for transparency logs can verify, witness and keep what left this machine.
//! Which tree a checkpoint is of, and where keys are kept, is not said here.
//!
//! INVARIANT: a checkpoint has one text, and the text is what is signed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use sha2::{Digest, Sha256};

use super::tree::Hash;
use crate::types::{Lsn, TimeUs};

/// Ed25519, in keys and signatures of notes.
const ALGORITHM: u8 = 1;
/// What the text of a private key begins with.
const PRIVATE: &str = "PRIVATE+KEY+";
/// Bytes of a signed note at most.
pub const NOTE_BYTES_MAX: usize = 64 * 1024;
/// Signatures of a note that are looked at, at most.
const SIGNATURES_MAX: usize = 100;

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct NoteError {
    /// The part, in words.
    pub what: &'static str,
}

const fn wrong(what: &'static str) -> NoteError {
    NoteError { what }
}

/// The name of a log, and of its keys: made of its first public key.
#[must_use]
pub fn log_name(first_key: &[u8; 32]) -> String {
    let hash = Sha256::digest(first_key);
    let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("hansard-{hex}")
}

/// The four bytes by which a signature names its key.
fn key_hash(name: &str, public: &[u8; 32]) -> [u8; 4] {
    let hash: [u8; 32] = Sha256::new()
        .chain_update(name)
        .chain_update([b'\n', ALGORITHM])
        .chain_update(public)
        .finalize()
        .into();
    [hash[0], hash[1], hash[2], hash[3]]
}

/// Name, hash and key of a key's text.
fn key_parts(text: &str) -> Result<(&str, u32, [u8; 32]), NoteError> {
    let mut parts = text.trim_end_matches('\n').splitn(3, '+');
    let mut part = || parts.next().ok_or(wrong("a key is NAME+HASH+KEY"));
    let (name, hash, key) = (part()?, part()?, part()?);
    let hash = u32::from_str_radix(hash, 16).map_err(|_| wrong("the key's hash is no number"))?;
    let key = BASE64.decode(key).map_err(|_| wrong("the key is not base64"))?;
    match key.split_first() {
        Some((&ALGORITHM, key)) => {
            let key = key.try_into().map_err(|_| wrong("the key has another length"))?;
            if is_name(name) { Ok((name, hash, key)) } else { Err(wrong("the key has no name")) }
        }
        _ => Err(wrong("the key is not of Ed25519")),
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+' || c.is_control())
}

/// A public key with its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verifier {
    name: String,
    key: VerifyingKey,
}

impl Verifier {
    /// A key by its bytes.
    ///
    /// # Errors
    /// If they are no key.
    pub fn new(name: &str, public: &[u8; 32]) -> Result<Self, NoteError> {
        let key = VerifyingKey::from_bytes(public).map_err(|_| wrong("these bytes are no key"))?;
        Ok(Self { name: name.to_owned(), key })
    }

    /// A key by its text, `NAME+HASH+KEY`.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let (name, hash, key) = key_parts(text)?;
        if u32::from_be_bytes(key_hash(name, &key)) != hash {
            return Err(wrong("the key's hash is another key's"));
        }
        Self::new(name, &key)
    }

    /// Its name: that of the log.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its bytes.
    #[must_use]
    pub fn public(&self) -> [u8; 32] {
        self.key.to_bytes()
    }

    /// True if it made this signature of a text.
    #[must_use]
    pub fn verifies(&self, text: &[u8], signature: &[u8; 64]) -> bool {
        self.key.verify_strict(text, &Signature::from_bytes(signature)).is_ok()
    }
}

impl std::fmt::Display for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let public = self.public();
        let hash = u32::from_be_bytes(key_hash(&self.name, &public));
        let key = BASE64.encode([&[ALGORITHM][..], &public].concat());
        write!(f, "{}+{hash:08x}+{key}", self.name)
    }
}

/// A private key with its name. It shows nobody what it is.
pub struct Signer {
    name: String,
    key: SigningKey,
}

impl std::fmt::Debug for Signer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({})", self.verifier())
    }
}

impl Signer {
    /// The key of a secret; of a log's first key the log takes its name.
    #[must_use]
    pub fn new(name: Option<&str>, secret: &[u8; 32]) -> Self {
        let key = SigningKey::from_bytes(secret);
        let name = name.map_or_else(|| log_name(&key.verifying_key().to_bytes()), str::to_owned);
        Self { name, key }
    }

    /// A key by its text.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let text = text.strip_prefix(PRIVATE).ok_or(wrong("this is no private key"))?;
        let (name, hash, secret) = key_parts(text)?;
        let signer = Self::new(Some(name), &secret);
        match u32::from_be_bytes(key_hash(name, &signer.verifier().public())) == hash {
            true => Ok(signer),
            false => Err(wrong("the key's hash is another key's")),
        }
    }

    /// The text to keep, and to keep secret.
    #[must_use]
    pub fn private_text(&self) -> String {
        let hash = u32::from_be_bytes(key_hash(&self.name, &self.verifier().public()));
        let key = BASE64.encode([&[ALGORITHM][..], &self.key.to_bytes()].concat());
        format!("{PRIVATE}{}+{hash:08x}+{key}\n", self.name)
    }

    /// The public key.
    #[must_use]
    pub fn verifier(&self) -> Verifier {
        Verifier { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// A signature of a text.
    #[must_use]
    pub fn sign(&self, text: &[u8]) -> [u8; 64] {
        self.key.sign(text).to_bytes()
    }
}

/// A statement of all rooms' heads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's name.
    pub origin: String,
    /// Records of the room of heads.
    pub size: u64,
    /// The root of their tree.
    pub root: Hash,
    /// The last place in the log that is covered.
    pub upto: Lsn,
    /// When it was signed.
    pub time: TimeUs,
}

impl Checkpoint {
    /// The text that is signed.
    #[must_use]
    pub fn to_text(&self) -> String {
        let Self { origin, size, root, upto, time } = self;
        let root = BASE64.encode(root);
        format!("{origin}\n{size}\n{root}\nupto {upto}\ntime_us {}\n", time.0)
    }

    /// Reads the text.
    ///
    /// # Errors
    /// If it is of another form.
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let mut line = || lines.next().ok_or(wrong("the checkpoint is cut short"));
        let (origin, size, root) = (line()?, line()?, line()?);
        let size = size.parse().map_err(|_| wrong("the checkpoint's size is no number"))?;
        let root = BASE64.decode(root).map_err(|_| wrong("the checkpoint's root is not base64"))?;
        let root = root.try_into().map_err(|_| wrong("the checkpoint's root is no hash"))?;
        let upto = line()?.strip_prefix("upto ").and_then(|lsn| lsn.parse().ok());
        let time = line()?.strip_prefix("time_us ").and_then(|time| time.parse().ok());
        let upto = Lsn(upto.ok_or(wrong("the checkpoint does not say how far it reaches"))?);
        let time = TimeUs(time.ok_or(wrong("the checkpoint does not say when it was signed"))?);
        let checkpoint = Self { origin: origin.to_owned(), size, root, upto, time };
        // One text only: numbers with signs or zeros before them are other texts.
        if checkpoint.to_text() == text {
            Ok(checkpoint)
        } else {
            Err(wrong("the checkpoint has another form"))
        }
    }
}

/// A checkpoint with a signature, as it leaves the machine.
#[must_use]
pub fn signed_note(checkpoint: &Checkpoint, key: &Verifier, signature: &[u8; 64]) -> String {
    let hash = key_hash(&key.name, &key.public());
    let line = BASE64.encode([&hash[..], signature].concat());
    format!("{}\n\u{2014} {} {line}\n", checkpoint.to_text(), key.name)
}

/// Reads a signed note and checks it: one of the keys, which has the log's name, must have signed
/// it. Gives that key's place among them.
///
/// # Errors
/// If it is of another form, or signed by none of them.
pub fn open_note(note: &str, keys: &[Verifier]) -> Result<(Checkpoint, usize), NoteError> {
    if note.len() > NOTE_BYTES_MAX {
        return Err(wrong("the note is too long"));
    }
    let (text, signatures) = note.split_once("\n\n").ok_or(wrong("the note is not signed"))?;
    let text = format!("{text}\n");
    let checkpoint = Checkpoint::parse(&text)?;
    for line in signatures.lines().take(SIGNATURES_MAX) {
        let parts = line.strip_prefix("\u{2014} ").and_then(|line| line.split_once(' '));
        let (name, signature) = parts.ok_or(wrong("the note's signature has another form"))?;
        let bytes = BASE64.decode(signature).map_err(|_| wrong("a signature is not base64"))?;
        let Some((hash, signature)) = bytes.split_first_chunk::<4>() else {
            return Err(wrong("a signature is too short"));
        };
        // Others may have signed it too, with other algorithms.
        let Ok(signature) = <&[u8; 64]>::try_from(signature) else { continue };
        let own = keys.iter().position(|key| {
            key.name == name
                && key.name == checkpoint.origin
                && key_hash(&key.name, &key.public()) == *hash
                && key.verifies(text.as_bytes(), signature)
        });
        if let Some(own) = own {
            return Ok((checkpoint, own));
        }
    }
    Err(wrong("the note is signed by none of the keys"))
}

/// What the key before signs to endorse a key.
#[must_use]
pub fn endorsement(name: &str, public: &[u8; 32]) -> Vec<u8> {
    [b"hansard key\n", name.as_bytes(), b"\n", public].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            origin: "hansard-0011223344556677".into(),
            size: 12,
            root: [7; 32],
            upto: Lsn(500),
            time: TimeUs(1_767_268_800_000_000),
        }
    }

    /// The key of the example in Go's golang.org/x/mod/sumdb/note.
    const GO_PRIVATE: &str =
        "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
    const GO_PUBLIC: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";

    #[test]
    fn keys_are_those_of_signed_notes() {
        let signer = Signer::parse(GO_PRIVATE).unwrap();
        assert_eq!(signer.verifier().to_string(), GO_PUBLIC);
        assert_eq!(signer.private_text().trim_end(), GO_PRIVATE);
        assert_eq!(Verifier::parse(GO_PUBLIC), Ok(signer.verifier()));
        assert!(!format!("{signer:?}").contains("AYEK"), "a secret is never shown");
        // The example's note and signature.
        let text = b"If you think cryptography is the answer to your problem,\n\
            then you don't know what your problem is.\n";
        let line = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngot\
            pRZb6KE6RyyBwJnAM=";
        let bytes = BASE64.decode(line).unwrap();
        let signature: [u8; 64] = bytes[4..].try_into().unwrap();
        assert_eq!(signer.sign(text), signature);
        assert!(signer.verifier().verifies(text, &signature));
    }

    #[test]
    fn a_key_that_is_not_one_says_what_is_wrong_with_it() {
        for (text, what) in [
            ("", "a key is NAME+HASH+KEY"),
            ("name+xx+AQ", "the key's hash is no number"),
            ("name+00000000+!!", "the key is not base64"),
            ("name+00000000+AQ==", "the key has another length"),
            ("name+00000000+Ag==", "the key is not of Ed25519"),
            (
                "name+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW",
                "the key's hash is another key's",
            ),
            ("a b+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW", "the key has no name"),
        ] {
            assert_eq!(Verifier::parse(text), Err(wrong(what)), "{text}");
        }
        assert!(Signer::parse(GO_PUBLIC).is_err());
    }

    #[test]
    fn a_note_opens_with_the_key_that_signed_it_and_with_no_other() {
        let signer = Signer::new(Some(&checkpoint().origin), &[9; 32]);
        let other = Signer::new(Some(&checkpoint().origin), &[8; 32]);
        let signature = signer.sign(checkpoint().to_text().as_bytes());
        let note = signed_note(&checkpoint(), &signer.verifier(), &signature);
        let keys = [other.verifier(), signer.verifier()];
        assert_eq!(open_note(&note, &keys), Ok((checkpoint(), 1)));
        let none = Err(wrong("the note is signed by none of the keys"));
        assert_eq!(open_note(&note, &keys[..1]), none);
        assert_eq!(open_note(&note, &[]), none);
        // A witness has signed it as well, before and behind, with an algorithm of its own.
        let (text, own) = note.split_once("\n\n").unwrap();
        let witness = format!("\u{2014} witness {}\n", BASE64.encode([5; 80]));
        let witnessed = format!("{text}\n\n{witness}{own}{witness}");
        assert_eq!(open_note(&witnessed, &keys), Ok((checkpoint(), 1)));
        // A key of another log signs nothing of this one.
        let foreign = Signer::new(Some("hansard-another"), &[9; 32]);
        let note_of = signed_note(&checkpoint(), &foreign.verifier(), &signature);
        assert!(open_note(&note_of, &[foreign.verifier()]).is_err());
        for at in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[at] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(open_note(&changed, &keys).is_err(), "byte {at}: {changed}");
            }
        }
    }

    #[test]
    fn a_checkpoint_has_one_text() {
        let text = checkpoint().to_text();
        assert_eq!(Checkpoint::parse(&text), Ok(checkpoint()));
        for wrong in [
            text.replace("\n12\n", "\n012\n"),
            text.replace("\n12\n", "\n+12\n"),
            text.replace("upto 500", "upto 0500"),
            text.replace("upto", "until"),
            text.replace("time_us ", "time "),
            format!("{text}more\n"),
            text.trim_end().to_owned(),
            String::new(),
        ] {
            assert!(Checkpoint::parse(&wrong).is_err(), "{wrong:?}");
        }
    }
}
