//! The framing of RocksDB's own logs, looked at before RocksDB is.
//!
//! Only types and lengths of records: what they say and their checksums are RocksDB's to judge.
//!
//! INVARIANT: it ends on any bytes, and calls nothing broken that RocksDB writes.

/// A block of RocksDB's own logs, of which the manifest is one.
const BLOCK_BYTES: usize = 32 * 1024;
/// The header of a record there: checksum, length, type.
pub(crate) const HEADER_BYTES: usize = 7;

/// True if the framing of one of RocksDB's manifests is broken.
///
/// RocksDB 11.8.1 does not end when it reads a manifest whose record has the type of a recycled
/// log (5 to 8): `ReadPhysicalRecord` reports it and consumes nothing. So the types and lengths are
/// looked at before; the checksums are RocksDB's to check.
#[must_use]
pub fn is_broken(bytes: &[u8]) -> bool {
    for block in bytes.chunks(BLOCK_BYTES) {
        let mut rest = block;
        while let Some(header) = rest.get(..HEADER_BYTES) {
            let [_, _, _, _, low, high, kind] = *header else { break };
            let length = usize::from(u16::from_le_bytes([low, high]));
            match kind {
                // Zeros up to the end: space that was never written.
                0 if length == 0 => break,
                1..=4 => {}
                _ => return true,
            }
            match rest.get(HEADER_BYTES + length..) {
                Some(next) => rest = next,
                // The last record of a file may be cut; RocksDB knows what that means.
                None => break,
            }
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: u8, length: usize) -> Vec<u8> {
        let [low, high] = u16::try_from(length).unwrap().to_le_bytes();
        let mut bytes = vec![1, 2, 3, 4, low, high, kind];
        bytes.resize(HEADER_BYTES + length, 9);
        bytes
    }

    #[test]
    fn the_kinds_that_a_log_has_are_sound_and_no_others() {
        let log =
            |kinds: &[u8]| kinds.iter().flat_map(|kind| record(*kind, 40)).collect::<Vec<_>>();
        assert!(!is_broken(&log(&[1, 2, 3, 4, 1])) && !is_broken(&[]));
        for kind in 5..=u8::MAX {
            assert!(is_broken(&log(&[1, kind, 1])), "{kind}");
        }
        assert!(is_broken(&record(0, 3)), "zeros have no length");
        // Space that was never written, and the rest of a block that no header fits into.
        let mut bytes = [log(&[1]), vec![0; 100]].concat();
        bytes.resize(BLOCK_BYTES, 0);
        assert!(!is_broken(&bytes) && !is_broken(&[bytes.clone(), log(&[1, 4])].concat()));
        assert!(is_broken(&[bytes, log(&[1, 5])].concat()), "in the second block");
        let full = record(1, BLOCK_BYTES - 2 * HEADER_BYTES + 1);
        assert!(!is_broken(&[full, vec![9; HEADER_BYTES - 1], record(1, 4)].concat()));
        // Cut in a record, or in a header.
        let cut = log(&[1, 1]);
        assert!((0..cut.len()).all(|len| !is_broken(&cut[..len])));
    }
}
