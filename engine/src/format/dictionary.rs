//! Dictionaries that the words of blocks are compressed with, and what compresses and decompresses.
//!
//! A dictionary is a zstd dictionary of raw content (RFC 8878, section 5): runs of bytes with a
//! byte 0xff behind each, which stands in no UTF-8. One is generic and comes with the program; a
//! pack may have one of its own, which stands in it. How a pack's is made is in
//! `crate::dictionary`.
//!
//! INVARIANT: no run is longer than `limits::DICTIONARY_RUN_BYTES_MAX`, so no dictionary holds
//! more than that of anybody's text in one piece.

use std::sync::LazyLock;

use zstd::zstd_safe::{CCtx, CDict, DCtx, DDict};

use super::codec::DecodeError;
use crate::limits;

/// Stands behind each run.
pub const RUN_END: u8 = 0xff;

/// The dictionary of blocks of packs that have none of their own: what at least 5 people said at
/// least 20 times on at least 3 days in the public logs of `#ubuntu` from 2004 to 2009.
static GENERIC: &[u8] = include_bytes!("generic.dictionary");

static GENERIC_READY: LazyLock<Option<Dictionary>> =
    LazyLock::new(|| Dictionary::new(GENERIC.to_vec()).ok());

/// The words of a block were compressed with this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DictionaryKind {
    /// Nothing.
    None,
    /// The one that comes with the program.
    Generic,
    /// The one that stands in the pack.
    Own,
}

impl DictionaryKind {
    /// As a block's header has it.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Generic => 1,
            Self::Own => 2,
        }
    }

    /// The dictionary of this kind, if it needs one; `own` is the pack's.
    ///
    /// # Errors
    /// `missing` if it is not to be had.
    pub(super) fn find(
        self,
        own: Option<&Dictionary>,
        missing: DecodeError,
    ) -> Result<Option<&Dictionary>, DecodeError> {
        match self {
            Self::None => Ok(None),
            Self::Generic => Dictionary::generic().ok_or(missing).map(Some),
            Self::Own => own.ok_or(missing).map(Some),
        }
    }

    /// What a block's header says.
    #[must_use]
    pub const fn of(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Generic),
            2 => Some(Self::Own),
            _ => None,
        }
    }
}

/// A dictionary, ready to decompress with.
pub struct Dictionary {
    bytes: Vec<u8>,
    ready: DDict<'static>,
}

impl std::fmt::Debug for Dictionary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Dictionary({} bytes)", self.bytes.len())
    }
}

impl Dictionary {
    /// Checks and prepares a dictionary.
    ///
    /// # Errors
    /// If it is empty or too long, or has a run that is too long; for want of memory.
    pub fn new(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        let wrong = |what, at| DecodeError { what, at };
        if bytes.is_empty() || bytes.len() > limits::DICTIONARY_BYTES_MAX {
            return Err(wrong("dictionary.bytes", 0));
        }
        let mut at = 0;
        for run in bytes.split(|byte| *byte == RUN_END) {
            if run.len() > limits::DICTIONARY_RUN_BYTES_MAX {
                return Err(wrong("dictionary.run", at));
            }
            at += run.len() + 1;
        }
        let ready = DDict::try_create(&bytes).ok_or(wrong("dictionary.memory", 0))?;
        Ok(Self { bytes, ready })
    }

    /// The one that comes with the program; none for want of memory.
    #[must_use]
    pub fn generic() -> Option<&'static Self> {
        GENERIC_READY.as_ref()
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Compresses the words of blocks.
pub struct Compressor {
    context: CCtx<'static>,
    level: i32,
    dictionary: Option<CDict<'static>>,
    kind: DictionaryKind,
    least: usize,
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compressor(level={} dictionary={:?})", self.level, self.kind)
    }
}

impl Compressor {
    fn make(level: i32, kind: DictionaryKind, bytes: Option<&[u8]>) -> Option<Self> {
        let dictionary = match bytes {
            Some(bytes) => Some(CDict::try_create(bytes, level)?),
            None => None,
        };
        Some(Self { context: CCtx::try_create()?, level, dictionary, kind, least: 0 })
    }

    /// One without a dictionary; none for want of memory.
    #[must_use]
    pub fn plain(level: i32) -> Option<Self> {
        Self::make(level, DictionaryKind::None, None)
    }

    /// One with the generic dictionary; none for want of memory.
    #[must_use]
    pub fn generic(level: i32) -> Option<Self> {
        Self::make(level, DictionaryKind::Generic, Some(GENERIC))
    }

    /// One with a pack's own dictionary; none for want of memory.
    #[must_use]
    pub fn own(level: i32, dictionary: &Dictionary) -> Option<Self> {
        Self::make(level, DictionaryKind::Own, Some(&dictionary.bytes))
    }

    /// The same, for which fewer words than so many bytes are not worth its time.
    #[must_use]
    pub fn from_bytes_on(self, least: usize) -> Self {
        Self { least, ..self }
    }

    /// The dictionary it uses.
    #[must_use]
    pub const fn kind(&self) -> DictionaryKind {
        self.kind
    }

    /// One zstd frame with these bytes, if they are worth its time and it makes them smaller.
    ///
    /// # Errors
    /// For want of memory.
    pub(super) fn if_smaller(&mut self, bytes: &[u8]) -> std::io::Result<Option<Vec<u8>>> {
        if bytes.len() < self.least {
            return Ok(None);
        }
        self.compress(bytes).map(|frame| Some(frame).filter(|frame| frame.len() < bytes.len()))
    }

    /// One zstd frame with these bytes.
    ///
    /// # Errors
    /// For want of memory.
    pub fn compress(&mut self, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(zstd::zstd_safe::compress_bound(bytes.len()));
        let done = match &self.dictionary {
            Some(dictionary) => self.context.compress_using_cdict(&mut out, bytes, dictionary),
            None => self.context.compress(&mut out, bytes, self.level),
        };
        done.map_err(words)?;
        Ok(out)
    }
}

/// Decompresses the words of blocks: making one takes as long as using it.
pub struct Decompressor(DCtx<'static>);

impl std::fmt::Debug for Decompressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Decompressor")
    }
}

impl Decompressor {
    /// A decompressor; none for want of memory.
    #[must_use]
    pub fn new() -> Option<Self> {
        DCtx::try_create().map(Self)
    }

    /// What a zstd frame holds, of at most so many bytes.
    ///
    /// # Errors
    /// If it is not a frame, or holds more.
    pub fn decompress(
        &mut self,
        frame: &[u8],
        most: usize,
        dictionary: Option<&Dictionary>,
    ) -> std::io::Result<Vec<u8>> {
        let mut out = Vec::with_capacity(most);
        let done = match dictionary {
            Some(dictionary) => self.0.decompress_using_ddict(&mut out, frame, &dictionary.ready),
            None => self.0.decompress(&mut out, frame),
        };
        done.map_err(words)?;
        Ok(out)
    }
}

fn words(code: usize) -> std::io::Error {
    std::io::Error::other(zstd::zstd_safe::get_error_name(code))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_generic_dictionary_keeps_to_the_rule_and_helps() {
        let generic = Dictionary::generic().unwrap();
        assert!(generic.bytes().len() > 16 * 1024);
        // Blocks can be read with this one only, so it never changes.
        let digest: String =
            Sha256::digest(generic.bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "240b10d232ce7dfdea262f0f88951d02268c8cd23ba642c4a8cc0ae34d590dcf");
        let said = b"try to install it with apt-get, and then you need to restart the server";
        let plain = Compressor::plain(3).unwrap().compress(said).unwrap();
        let mut compressor = Compressor::generic(3).unwrap();
        let frame = compressor.compress(said).unwrap();
        assert!(frame.len() * 3 < plain.len() * 2, "{} and {}", frame.len(), plain.len());
        let mut decompressor = Decompressor::new().unwrap();
        for _ in 0..2 {
            assert_eq!(decompressor.decompress(&frame, said.len(), Some(generic)).unwrap(), said);
            assert_eq!(decompressor.decompress(&plain, said.len(), None).unwrap(), said);
        }
        assert!(decompressor.decompress(&plain, said.len() - 1, None).is_err());
    }

    #[test]
    fn a_dictionary_with_a_long_run_is_refused() {
        assert!(Dictionary::new(b"fifteen bytes..\xffand more\xff".to_vec()).is_ok());
        let error = Dictionary::new(b"short\xffsixteen bytes...\xff".to_vec()).unwrap_err();
        assert_eq!(error, DecodeError { what: "dictionary.run", at: 6 });
        assert!(Dictionary::new(Vec::new()).is_err());
        assert!(Dictionary::new(vec![RUN_END; limits::DICTIONARY_BYTES_MAX + 1]).is_err());
    }
}
