//! The manifest's edits as bytes: which packs exist and how far history is sealed.
//!
//! An edit is length, CRC-32, the first 16 bytes of the SHA-256 chain so far, and a body. The chain
//! makes an edit valid only behind the one it was written behind.

use sha2::{Digest, Sha256};

use super::codec::{DecodeError, Reader};
use super::pack::PackMeta;
use super::wire::{from_bytes, to_bytes, wire_struct};
use crate::limits::POSITION_MAX;
use crate::types::{Epoch, Lsn};

/// First bytes of the manifest.
pub const MANIFEST_MAGIC: [u8; 8] = *b"HnMf\x01\0\0\0";
/// Bytes before an edit's body.
pub const EDIT_HEADER_BYTES: usize = 24;
/// One edit's body at most.
pub const EDIT_BYTES_MAX: usize = 64 * 1024 * 1024;

wire_struct! {
    /// One change of the manifest. All of it takes effect, or none.
    pub struct Edit {
        /// Packs that exist from now on.
        pub added: Vec<PackMeta>,
        /// Packs that exist no longer.
        pub removed: Vec<u64>,
        /// Every record up to here stands in a pack.
        pub sealed: Lsn,
        /// The epoch.
        pub epoch: Epoch,
        /// The next pack's number.
        pub next_pack: u64,
    }
}

/// The hash chain over a manifest's edits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain(pub [u8; 16]);

impl Chain {
    fn after(self, body: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(self.0);
        hasher.update(body);
        let full = hasher.finalize();
        let mut short = [0; 16];
        short.copy_from_slice(&full[..16]);
        Self(short)
    }
}

/// Encodes an edit behind `chain` and moves the chain.
#[must_use]
pub fn encode_edit(edit: &Edit, chain: &mut Chain) -> Vec<u8> {
    let body = to_bytes(edit);
    let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let mut out = Vec::with_capacity(EDIT_HEADER_BYTES + body.len());
    out.extend_from_slice(&len.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&chain.0);
    out.extend_from_slice(&body);
    let crc = edit_crc(&out);
    out[4..8].copy_from_slice(&crc.to_le_bytes());
    *chain = chain.after(&body);
    out
}

/// The checksum over length, chain and body: a length that was damaged is seen as well.
fn edit_crc(edit: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(edit.get(..4).unwrap_or_default());
    hasher.update(edit.get(8..).unwrap_or_default());
    hasher.finalize()
}

/// Reads the edit at the start of `bytes`, checks it against `chain` and moves the chain. Returns
/// the edit and its length.
///
/// # Errors
/// If it is not the edit that follows.
pub fn decode_edit(bytes: &[u8], chain: &mut Chain) -> Result<(Edit, usize), DecodeError> {
    let reader = &mut Reader::new(bytes);
    let len = reader.u32("edit.bytes")? as usize;
    if len > EDIT_BYTES_MAX {
        return Err(DecodeError { what: "edit.bytes", at: 0 });
    }
    let crc = reader.u32("edit.crc")?;
    let prev: [u8; 16] = reader.array("edit.chain")?;
    let body = reader.take(len, "edit.body")?;
    let whole = bytes.get(..EDIT_HEADER_BYTES + len).unwrap_or_default();
    if edit_crc(whole) != crc {
        return Err(DecodeError { what: "edit.crc", at: 4 });
    }
    if prev != chain.0 {
        return Err(DecodeError { what: "edit.chain", at: 8 });
    }
    let edit: Edit = from_bytes(body, "edit")?;
    let packs = edit.added.iter().flat_map(|pack| [pack.id, pack.first_lsn.0, pack.last_lsn.0]);
    if packs.chain([edit.sealed.0, edit.next_pack]).any(|n| n > POSITION_MAX) {
        return Err(DecodeError { what: "edit.position", at: EDIT_HEADER_BYTES });
    }
    *chain = chain.after(body);
    Ok((edit, EDIT_HEADER_BYTES + len))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_longer_than_64_mib_is_refused_before_it_is_read() {
        let what = |len: u32| {
            let mut bytes = vec![0; EDIT_HEADER_BYTES];
            bytes[..4].copy_from_slice(&len.to_le_bytes());
            decode_edit(&bytes, &mut Chain::default()).unwrap_err().what
        };
        assert_eq!(what(67_108_864), "edit.body");
        assert_eq!(what(67_108_865), "edit.bytes");
    }

    #[test]
    fn the_largest_position_is_read_and_no_larger_one() {
        let read = |sealed| {
            let edit = Edit {
                added: vec![],
                removed: vec![],
                sealed: Lsn(sealed),
                epoch: Epoch(1),
                next_pack: POSITION_MAX,
            };
            let bytes = encode_edit(&edit, &mut Chain::default());
            decode_edit(&bytes, &mut Chain::default()).map(|(edit, _)| edit.sealed.0)
        };
        assert_eq!(read(POSITION_MAX), Ok(POSITION_MAX));
        assert_eq!(read(POSITION_MAX + 1).unwrap_err().what, "edit.position");
    }

    #[test]
    fn edits_follow_their_chain_and_every_flip_is_seen() {
        let edit = |sealed| Edit {
            added: vec![],
            removed: vec![4],
            sealed: Lsn(sealed),
            epoch: Epoch(1),
            next_pack: 9,
        };
        let mut chain = Chain::default();
        let first = encode_edit(&edit(1), &mut chain);
        let second = encode_edit(&edit(2), &mut chain);
        let mut reading = Chain::default();
        assert!(decode_edit(&second, &mut reading).is_err(), "out of order");
        assert_eq!(decode_edit(&first, &mut reading).unwrap(), (edit(1), first.len()));
        assert_eq!(decode_edit(&second, &mut reading).unwrap(), (edit(2), second.len()));
        assert_eq!(reading, chain);
        for at in 0..first.len() {
            let mut flipped = first.clone();
            flipped[at] ^= 1;
            assert!(decode_edit(&flipped, &mut Chain::default()).is_err(), "byte {at}");
        }
    }
}
