//! Damage to a data directory, drawn from a fuzzer's bytes: overwritten, zeroed, swapped, copied,
//! cut, extended, removed, put in another's place.
//!
//! Two hands. Chance writes bytes that only depend on the whole input, so that no checksum can be
//! met by trying: what is found afterwards must be exact or named. The forger writes the input's
//! own bytes, makes checksums right again and changes rows of the catalog: then nothing may panic,
//! hang or take memory beyond its limits, and nothing else is asked.

use std::collections::BTreeSet;
use std::sync::Arc;

use hansard_engine::catalog::memory::MemoryCatalog;
use hansard_engine::catalog::{CatalogStore, Change};
use hansard_engine::format::SECTOR_BYTES;
use hansard_engine::format::block::checksum;
use hansard_engine::format::manifest::{Edit, encode_edit};
use hansard_engine::manifest;
use hansard_engine::storage::sim::{Random, SimStorage};
use hansard_engine::storage::{Disk, Mode, Storage};
use hansard_engine::types::{Epoch, Lsn};

use crate::mend;

/// Changes of one input at most.
const CHANGES_MAX: usize = 12;

/// A fuzzer's bytes, taken from the front; zeros behind their end.
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    pub fn byte(&mut self) -> usize {
        let (first, rest) = self.0.split_first().unwrap_or((&0, &[]));
        self.0 = rest;
        usize::from(*first)
    }

    fn word(&mut self) -> usize {
        self.byte() << 8 | self.byte()
    }

    fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// A place below `len`, where something is more often than not.
    fn place(&mut self, bytes: &[u8]) -> usize {
        let used = bytes.iter().rposition(|b| *b != 0).map_or(1, |last| last + 1);
        let word = self.word();
        let used = if word >> 13 == 7 { bytes.len().max(1) } else { used };
        (word << 8 | word >> 8) % used
    }
}

/// Whose damage it is.
#[derive(Debug)]
pub enum Hand {
    Chance(Random),
    Forger,
}

impl Hand {
    /// Chance, for an input.
    pub fn chance(whole: &[u8]) -> Self {
        Self::Chance(Random::new(u64::from(checksum(whole)) << 16 | 0x5eed))
    }

    fn bytes(&mut self, input: &mut Input<'_>, count: usize) -> Vec<u8> {
        match self {
            Self::Chance(random) => (0..count).map(|_| random.next().to_le_bytes()[3]).collect(),
            Self::Forger => input.take(count).to_vec(),
        }
    }
}

/// Damages a directory and its catalog; returns which files were changed.
pub fn strike(
    sim: &SimStorage,
    store: &MemoryCatalog,
    input: &mut Input<'_>,
    hand: &mut Hand,
) -> BTreeSet<String> {
    let mut touched = BTreeSet::new();
    for _ in 0..CHANGES_MAX {
        if input.0.is_empty() {
            break;
        }
        let how = input.byte();
        if matches!(hand, Hand::Forger) && how % 16 == 15 {
            forge_row(store, input);
            continue;
        }
        let mut names = sim.files();
        names.retain(|name| name != "LOCK" && !name.starts_with("quarantine/"));
        if names.is_empty() {
            break;
        }
        let name = names[input.byte() % names.len()].clone();
        let other = names[input.byte() % names.len()].clone();
        touched.extend(change(sim, how % 16, &name, &other, input, hand));
        if matches!(hand, Hand::Forger)
            && how & 16 == 0
            && let Some(mut bytes) = sim.bytes_of(&name)
        {
            mend::file(&name, &mut bytes);
            sim.set_bytes(&name, bytes);
        }
    }
    touched
}

/// One change; says which file is not what it was.
fn change(
    sim: &SimStorage,
    how: usize,
    name: &str,
    other: &str,
    input: &mut Input<'_>,
    hand: &mut Hand,
) -> Option<String> {
    let mut bytes = sim.bytes_of(name)?;
    let unit = [1, 8, 512, 4096][input.byte() % 4];
    match how {
        0..=3 => {
            let (at, count) = (input.place(&bytes), 1 + input.byte() % 32);
            let what = hand.bytes(input, count);
            overwrite(&mut bytes, at, &what);
        }
        4 => {
            let (at, bit) = (input.place(&bytes), input.byte() % 8);
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        5 => {
            let at = input.place(&bytes) / unit * unit;
            overwrite(&mut bytes, at, &vec![0; unit]);
        }
        6 => {
            let at = input.place(&bytes) / unit * unit;
            bytes.truncate(at);
        }
        7 => {
            let count = input.byte();
            bytes.extend(hand.bytes(input, count));
        }
        8 => {
            let (a, b) = (input.place(&bytes) / unit * unit, input.place(&bytes) / unit * unit);
            let (first, second) = (piece(&bytes, a, unit), piece(&bytes, b, unit));
            overwrite(&mut bytes, a, &second);
            overwrite(&mut bytes, b, &first);
        }
        9 | 10 => {
            let from = sim.bytes_of(other)?;
            let (at, to) = (input.place(&from) / unit * unit, input.place(&bytes) / unit * unit);
            overwrite(&mut bytes, to, &piece(&from, at, unit * (1 + input.byte() % 4)));
        }
        11 => {
            sim.take_away(name);
            return Some(name.to_owned());
        }
        12 => bytes = sim.bytes_of(other)?,
        13 => {
            let count = input.word() % 512;
            bytes = hand.bytes(input, count);
        }
        14 if matches!(hand, Hand::Forger) => match name.ends_with(".pack") {
            true => forge_record(&mut bytes, name, input),
            false => forge_number(&mut bytes, name, input),
        },
        _ => {
            let number = input.byte() % 12;
            let copy = match name.ends_with(".pack") {
                true => format!("packs/{number:08}.pack"),
                false => format!("journal/{number:06}.journal"),
            };
            if sim.bytes_of(&copy).is_none() && sim.open(&copy, Mode::Create).is_err() {
                return None;
            }
            sim.set_bytes(&copy, bytes);
            return Some(copy);
        }
    }
    sim.set_bytes(name, bytes);
    Some(name.to_owned())
}

fn overwrite(bytes: &mut [u8], at: usize, what: &[u8]) {
    let end = (at + what.len()).min(bytes.len());
    if at < end {
        bytes[at..end].copy_from_slice(&what[..end - at]);
    }
}

fn piece(bytes: &[u8], at: usize, len: usize) -> Vec<u8> {
    bytes.get(at..(at + len).min(bytes.len())).unwrap_or_default().to_vec()
}

/// Changes a record inside a compressed block.
fn forge_record(bytes: &mut Vec<u8>, name: &str, input: &mut Input<'_>) {
    let id = name.trim_end_matches(".pack").rsplit('/').next().and_then(|n| n.parse().ok());
    let (block, record, at) = (input.byte() % 8, input.byte(), input.byte());
    let count = 1 + input.byte() % 16;
    let what = input.take(count);
    mend::pack(bytes, id.unwrap_or(1), |number, records| {
        let many = records.len().max(1);
        if number == block
            && let Some(record) = records.get_mut(record % many)
        {
            let at = at % record.len().max(1);
            overwrite(record, at, what);
        }
    });
}

/// Numbers that no log reaches, and others at the ends of ranges.
const FAR: [u64; 8] =
    [u64::MAX, u64::MAX >> 1, 1 << 62, 1 << 47, 1 << 32, u64::MAX - 1, 0, 1 << 16];

/// Puts a far number where a header has a field, or into a further edit of a manifest.
fn forge_number(bytes: &mut Vec<u8>, name: &str, input: &mut Input<'_>) {
    if !name.starts_with("MANIFEST") {
        let at = input.place(bytes) / SECTOR_BYTES * SECTOR_BYTES + input.byte() % 24 * 4;
        let number = FAR[input.byte() % FAR.len()];
        return overwrite(bytes, at, &number.to_le_bytes()[..4 + input.byte() % 2 * 4]);
    }
    let disk = Disk::new(Arc::new(SimStorage::new()));
    let Ok(mut read) = manifest::read(&disk, bytes) else { return };
    let mut far = |or: u64| if input.byte() % 3 == 0 { FAR[input.byte() % FAR.len()] } else { or };
    let edit = Edit {
        added: read.state.packs.values().take(1).cloned().collect(),
        removed: vec![far(0)],
        sealed: Lsn(far(read.state.sealed.0)),
        epoch: Epoch(u16::try_from(far(1)).unwrap_or(u16::MAX)),
        next_pack: far(read.state.next_pack),
    };
    bytes.extend(encode_edit(&edit, &mut read.chain));
}

/// Changes, removes or replaces a row of the catalog.
fn forge_row(store: &MemoryCatalog, input: &mut Input<'_>) {
    let rows = store.rows();
    let Some(((family, key), value)) = rows.iter().nth(input.word() % rows.len().max(1)) else {
        return;
    };
    let mut value = value.clone();
    let value = match input.byte() % 4 {
        0 => None,
        1 => {
            let count = input.byte();
            Some(input.take(count).to_vec())
        }
        _ => {
            let (at, count) = (input.byte() % value.len().max(1), 1 + input.byte() % 12);
            overwrite(&mut value, at, input.take(count));
            Some(value)
        }
    };
    let change = Change { family: *family, key: key.clone(), value };
    store.write(&[change]).expect("in memory");
}
