//! The witness as bytes: how far the journal was durable, said outside the journal.
//!
//! Two slots, written in turn, so that a torn write leaves the one before it; each is two equal
//! sectors, so that a damaged one leaves the other. The journal's own
//! promises cannot tell that its newest frames or its newest file are gone; this can. (The idea of
//! ZFS's and TigerBeetle's superblock copies.)
//!
//! INVARIANT: a slot is written only after everything it states is durable.

use super::codec::{DecodeError, Reader};
use super::{LAYOUT, SECTOR_BYTES, reads};
use crate::types::Lsn;

/// First bytes of a slot.
pub const WITNESS_MAGIC: [u8; 4] = *b"HnWt";
/// Slots of the file.
pub const SLOTS: u64 = 2;
/// Equal sectors of a slot.
pub const COPIES: u64 = 2;

/// What a slot says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Witness {
    /// Rises by one with every write: the larger is the newer.
    pub generation: u64,
    /// The newest use of a journal file that holds a durable frame.
    pub incarnation: u64,
    /// Every record up to here is durable.
    pub lsn: Lsn,
}

impl Witness {
    /// Where its slot is.
    #[must_use]
    pub const fn offset(&self) -> u64 {
        self.generation % SLOTS * COPIES * SECTOR_BYTES as u64
    }

    /// The slot's bytes.
    #[must_use]
    pub fn to_sectors(&self) -> Vec<u8> {
        let copies = usize::try_from(COPIES).unwrap_or(1);
        self.to_sector().repeat(copies)
    }

    /// One sector of the slot.
    #[must_use]
    pub fn to_sector(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(SECTOR_BYTES);
        out.extend_from_slice(&WITNESS_MAGIC);
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&LAYOUT.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.incarnation.to_le_bytes());
        out.extend_from_slice(&self.lsn.0.to_le_bytes());
        out.resize(SECTOR_BYTES, 0);
        let crc = crc32fast::hash(&out[8..]);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads a sector at `offset`.
    ///
    /// # Errors
    /// If it is none of a slot, or of the other slot.
    pub fn parse(sector: &[u8], offset: u64) -> Result<Self, DecodeError> {
        let reader = &mut Reader::new(sector);
        let magic: [u8; 4] = reader.array("witness.magic")?;
        if magic != WITNESS_MAGIC {
            return Err(DecodeError { what: "witness.magic", at: 0 });
        }
        let crc = reader.u32("witness.crc")?;
        let covered = sector.get(8..SECTOR_BYTES).ok_or(reader.error("witness.sector"))?;
        if crc32fast::hash(covered) != crc {
            return Err(DecodeError { what: "witness.crc", at: 4 });
        }
        if !reads(reader.u32("witness.layout")?) {
            return Err(DecodeError { what: "witness.layout", at: 8 });
        }
        let _zero = reader.u32("witness.zero")?;
        let found = Self {
            generation: reader.place("witness.generation")?,
            incarnation: reader.place("witness.incarnation")?,
            lsn: Lsn(reader.place("witness.lsn")?),
        };
        let slot = COPIES * SECTOR_BYTES as u64;
        if found.offset() != offset / slot * slot {
            return Err(DecodeError { what: "witness.generation", at: 16 });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_read_back_and_every_flip_is_seen() {
        let witness = Witness { generation: 7, incarnation: 3, lsn: Lsn(1234) };
        let sector = witness.to_sector();
        assert_eq!(Witness::parse(&sector, witness.offset()).unwrap(), witness);
        let copy = witness.offset() + SECTOR_BYTES as u64;
        assert_eq!(Witness::parse(&sector, copy).unwrap(), witness);
        assert!(Witness::parse(&sector, 0).is_err(), "the other slot's place");
        for at in 0..sector.len() {
            let mut flipped = sector.clone();
            flipped[at] ^= 4;
            assert!(Witness::parse(&flipped, witness.offset()).is_err(), "byte {at}");
        }
        assert!(Witness::parse(&sector[..100], witness.offset()).is_err());
    }
}
