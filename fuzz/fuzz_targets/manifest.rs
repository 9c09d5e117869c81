//! The manifest: no bytes panic its reader, and it never reads beyond what it checked.
//! Edits are also given right checksums and a right chain, so that the fuzzer gets behind them, and
//! two different copies stand beside each other.
#![no_main]

use std::sync::Arc;

use hansard_engine::catalog::framing;
use hansard_engine::format::manifest::{Chain, Edit, MANIFEST_MAGIC, decode_edit, encode_edit};
use hansard_engine::format::wire::from_bytes;
use hansard_engine::manifest::{COPY, FILE, Manifest, load, read};
use hansard_engine::storage::Disk;
use hansard_engine::storage::sim::SimStorage;
use hansard_fuzz::mend;
use libfuzzer_sys::fuzz_target;

/// A manifest of the edits whose bodies these are, each behind a byte that says how long it is.
fn manifest_of(mut bodies: &[u8]) -> Vec<u8> {
    let mut bytes = MANIFEST_MAGIC.to_vec();
    while let Some((len, rest)) = bodies.split_first() {
        let (body, rest) = rest.split_at(usize::from(*len).min(rest.len()));
        let len = u32::try_from(body.len()).expect("at most 255");
        bytes.extend(len.to_le_bytes());
        bytes.extend([0; 20]);
        bytes.extend(body);
        bodies = rest;
    }
    mend::manifest(&mut bytes);
    bytes
}

fn look(bytes: &[u8]) {
    let disk = Disk::new(Arc::new(SimStorage::new()));
    if let Ok(read) = read(&disk, bytes) {
        assert!(read.end <= bytes.len() as u64);
        assert_eq!(read.fault.is_none(), read.end == bytes.len() as u64);
    }
}

fuzz_target!(|data: &[u8]| {
    // The catalog's manifest is RocksDB's; its framing is looked at before.
    let _ = framing::is_broken(data);
    look(data);
    let whole = manifest_of(data);
    look(&whole);
    if let Ok(edit) = from_bytes::<Edit>(data, "edit") {
        let bytes = encode_edit(&edit, &mut Chain::default());
        match decode_edit(&bytes, &mut Chain::default()) {
            Ok(decoded) => assert_eq!(decoded, (edit, bytes.len())),
            // A number that no log reaches.
            Err(wrong) => assert_eq!(wrong.what, "edit.position"),
        }
    }
    let (first, second) = data.split_at(data.len() / 2);
    let disk = Disk::new(Arc::new(SimStorage::new()));
    Manifest::create(&disk).expect("simulated");
    disk.write_whole("", FILE, &manifest_of(first)).expect("simulated");
    disk.write_whole("", COPY, if second.len() % 2 == 0 { &whole } else { second }).expect("");
    let Ok(loaded) = load(&disk) else { return };
    // What a start makes of two copies is sound and says what was found.
    let state = loaded.state.clone();
    assert_eq!(*Manifest::open(&disk, loaded).expect("simulated").state(), state);
    let again = load(&disk).expect("made anew");
    assert!(again.faults.is_empty(), "{:?}", again.faults);
    assert_eq!(again.state, state);
});
