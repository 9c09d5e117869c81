//! What proofs are made of: leaves, seeds of salts, trees, paths and signed notes. No bytes panic a
//! decoder or a check, a value has one byte form, and seeds that are sound give each place the same
//! salts on every way to them and none once it is forgotten.
#![no_main]

use hansard_engine::format::wire::{from_bytes, to_bytes};
use hansard_engine::proof::Tree;
use hansard_engine::proof::leaf::{Leaf, origin_of};
use hansard_engine::proof::note::{Checkpoint, Signer, Verifier, open_note};
use hansard_engine::proof::salts::{Chunk, Salts};
use hansard_engine::proof::tree::{Hash, is_consistent, root_of};
use hansard_engine::types::Lsn;
use libfuzzer_sys::fuzz_target;

fn salts(data: &[u8]) {
    let Ok(salts) = from_bytes::<Salts>(data, "salts") else { return };
    assert_eq!(to_bytes(&salts), data);
    if !salts.is_sound() {
        return;
    }
    let places = salts.nodes.iter().take(8).map(|node| Lsn(node.index << node.level));
    let places: Vec<Lsn> = places.collect();
    for place in &places {
        let mut chunk = Chunk::of(Chunk::first_of(*place), std::slice::from_ref(&salts));
        assert!(chunk.has(*place));
        assert_eq!(chunk.get(*place), salts.of(*place));
        assert!(salts.of(*place).is_some());
    }
    let left = salts.without(&places);
    assert_eq!(left.is_empty(), places.is_empty());
    for span in &left {
        assert!(span.is_sound());
        assert!(places.iter().all(|place| span.of(*place).is_none()));
    }
}

fn trees(data: &[u8]) {
    let Ok(mut tree) = from_bytes::<Tree>(data, "tree") else { return };
    assert_eq!(to_bytes(&tree), data);
    let _ = tree.root();
    tree.push([1; 32]);
    let _ = tree.push_nodes(tree.size().saturating_add(9), &[[2; 32]; 12]);
    tree.push_unknown(tree.size().saturating_add(u64::from(data[0])));
}

fn paths(data: &[u8]) {
    let mut numbers = data.chunks_exact(8).map(|n| u64::from_le_bytes(n.try_into().unwrap()));
    let (Some(a), Some(b)) = (numbers.next(), numbers.next()) else { return };
    let path: Vec<Hash> = numbers.take(70).map(|n| [n.to_le_bytes()[0]; 32]).collect();
    for (index, size) in [(a, b), (a % 100, b % 100)] {
        let root = root_of([0; 32], index, size, &path);
        assert!(root.is_none() || index < size);
        let roots = ([3; 32], [4; 32]);
        // No path of a hash of zeros leads to either.
        let shown = is_consistent((index, &roots.0), (size, &roots.1), &path);
        assert!(!shown, "{index} {size}");
    }
}

fn text(data: &[u8]) {
    let Ok(text) = str::from_utf8(data) else { return };
    if let Ok(checkpoint) = Checkpoint::parse(text) {
        assert_eq!(checkpoint.to_text(), text);
    }
    if let Ok(key) = Verifier::parse(text) {
        assert_eq!(Verifier::parse(&key.to_string()), Ok(key));
    }
    if let Ok(signer) = Signer::parse(text) {
        assert!(Signer::parse(&signer.private_text()).is_ok());
    }
    let key = Signer::new(None, &[7; 32]).verifier();
    assert!(open_note(text, &[key]).is_err(), "a signature was made without the key");
}

fuzz_target!(|data: &[u8]| {
    let Some((sort, data)) = data.split_first() else { return };
    match sort % 5 {
        0 => {
            if let Ok(leaf) = Leaf::from_bytes(data) {
                assert_eq!(leaf.to_bytes(), data);
            }
            let _ = origin_of(data);
        }
        1 => salts(data),
        2 => trees(data),
        3 => paths(data),
        _ => text(data),
    }
});
