//! Damage at rest: what a disk, a cable or a person does to bytes behind the engine's back.
//!
//! One strike changes one file in one way; what it did is said in the trace.

use hansard_engine::storage::sim::SimStorage;

use super::choices::Choices;

/// What was done, for the trace.
#[derive(Clone, Debug)]
pub struct Done {
    pub file: String,
    pub text: String,
}

const SECTOR: usize = 512;

/// Damages one file in one way, but none that `spare` is the end of. `older` is the disk as it was
/// some time before. None if the choice changes nothing.
pub fn strike(
    sim: &SimStorage,
    older: &SimStorage,
    spare: &str,
    choices: &mut Choices,
) -> Option<Done> {
    let files: Vec<String> = sim
        .files()
        .into_iter()
        .filter(|f| !f.ends_with("LOCK") && !f.ends_with(spare) && !f.starts_with("quarantine/"))
        .collect();
    let file = &files[choices.below(files.len())];
    let bytes = sim.bytes_of(file)?;
    let sector = choices.pick(&[SECTOR, 4096]);
    let (after, text) = match choices.below(9) {
        0 | 1 => flip(bytes.clone(), choices),
        2 => zero(bytes.clone(), used(&bytes, sector, choices), sector),
        3 => stale(bytes.clone(), &older.bytes_of(file)?, sector, choices),
        4 => swap(bytes.clone(), sector, choices),
        5 => misdirect(bytes.clone(), sector, choices),
        6 => {
            let keep = choices.below(bytes.len() / sector + 1) * sector;
            (bytes.get(..keep)?.to_vec(), format!("cut to {keep}"))
        }
        7 => {
            sim.take_away(file);
            return Some(Done { file: file.clone(), text: "removed".to_owned() });
        }
        _ => (older.bytes_of(file)?, "put back as it was".to_owned()),
    };
    if after == bytes {
        return None;
    }
    sim.set_bytes(file, after);
    Some(Done { file: file.clone(), text })
}

fn flip(mut bytes: Vec<u8>, choices: &mut Choices) -> (Vec<u8>, String) {
    let filled: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
    let at = match choices.one_in(4) || filled.is_empty() {
        true => choices.below(bytes.len()),
        false => filled[choices.below(filled.len())],
    };
    let bit = choices.below(8);
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 1 << bit;
    }
    (bytes, format!("bit {bit} of byte {at}"))
}

/// A sector that holds something, if there is one.
fn used(bytes: &[u8], sector: usize, choices: &mut Choices) -> usize {
    let filled: Vec<usize> = bytes
        .chunks(sector)
        .enumerate()
        .filter(|(_, chunk)| chunk.iter().any(|b| *b != 0))
        .map(|(index, _)| index * sector)
        .collect();
    if filled.is_empty() { 0 } else { filled[choices.below(filled.len())] }
}

fn zero(mut bytes: Vec<u8>, at: usize, sector: usize) -> (Vec<u8>, String) {
    let end = (at + sector).min(bytes.len());
    bytes[at.min(end)..end].fill(0);
    (bytes, format!("{sector} bytes at {at} zeroed"))
}

fn copy(bytes: &mut [u8], from: &[u8], at: usize) {
    let end = (at + from.len()).min(bytes.len());
    if at < end {
        bytes[at..end].copy_from_slice(&from[..end - at]);
    }
}

fn piece(bytes: &[u8], at: usize, sector: usize) -> Vec<u8> {
    let end = (at + sector).min(bytes.len());
    bytes.get(at..end).unwrap_or_default().to_vec()
}

fn stale(
    mut bytes: Vec<u8>,
    older: &[u8],
    sector: usize,
    choices: &mut Choices,
) -> (Vec<u8>, String) {
    let changed: Vec<usize> = (0..bytes.len().min(older.len()))
        .step_by(sector)
        .filter(|at| piece(&bytes, *at, sector) != piece(older, *at, sector))
        .collect();
    if changed.is_empty() {
        return (bytes, String::new());
    }
    let at = changed[choices.below(changed.len())];
    copy(&mut bytes, &piece(older, at, sector), at);
    (bytes, format!("{sector} bytes at {at} as they were"))
}

fn swap(mut bytes: Vec<u8>, sector: usize, choices: &mut Choices) -> (Vec<u8>, String) {
    let (a, b) = (used(&bytes, sector, choices), used(&bytes, sector, choices));
    let (first, second) = (piece(&bytes, a, sector), piece(&bytes, b, sector));
    copy(&mut bytes, &second, a);
    copy(&mut bytes, &first, b);
    (bytes, format!("{sector} bytes at {a} and {b} swapped"))
}

fn misdirect(mut bytes: Vec<u8>, sector: usize, choices: &mut Choices) -> (Vec<u8>, String) {
    let (from, to) = (used(&bytes, sector, choices), used(&bytes, sector, choices));
    let written = piece(&bytes, from, sector);
    copy(&mut bytes, &written, to);
    (bytes, format!("{sector} bytes at {from} also at {to}"))
}
