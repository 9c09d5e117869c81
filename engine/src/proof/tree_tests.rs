//! Trees against the published vectors of RFC 6962's reference implementation, and against a naive
//! one that follows the definition word by word.

use std::convert::Infallible;

use super::*;

/// Leaves of the test vectors of google/certificate-transparency (merkle_tree_test), which RFC
/// 9162's trees equal.
const LEAVES: [&str; 8] = [
    "",
    "00",
    "10",
    "2021",
    "3031",
    "40414243",
    "5051525354555657",
    "606162636465666768696a6b6c6d6e6f",
];
/// Their roots, by size from 1.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn unhex(text: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).unwrap();
    (0..text.len()).step_by(2).map(byte).collect()
}

fn leaves(count: u64) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_le_bytes())).collect()
}

/// MTH of RFC 9162, 2.1.1, over hashes of leaves.
fn naive_root(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => empty_root(),
        [one] => *one,
        more => {
            let (left, right) = more.split_at(more.len().next_power_of_two() / 2);
            node_hash(&naive_root(left), &naive_root(right))
        }
    }
}

fn node_of(leaves: &[Hash]) -> impl FnMut(u32, u64) -> Result<Hash, Infallible> {
    move |level, index| {
        let at = usize::try_from(index << level).unwrap();
        Ok(naive_root(&leaves[at..at + (1 << level)]))
    }
}

fn tree(leaves: &[Hash]) -> Tree {
    let mut tree = Tree::default();
    for leaf in leaves {
        tree.push(*leaf);
    }
    tree
}

#[test]
fn the_published_vectors_hold() {
    let hex = |hash: Hash| hash.iter().map(|b| format!("{b:02x}")).collect::<String>();
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(hex(Tree::default().root()), empty);
    let mut tree = Tree::default();
    for (leaf, root) in LEAVES.iter().zip(ROOTS) {
        tree.push(leaf_hash(&unhex(leaf)));
        assert_eq!(hex(tree.root()), root, "size {}", tree.size());
    }
}

#[test]
fn every_inclusion_and_consistency_up_to_seventy_leaves_holds_and_no_other_does() {
    let leaves = leaves(70);
    let roots: Vec<Hash> = (0..=70).map(|size| naive_root(&leaves[..size])).collect();
    for size in 0..=70 {
        let own = tree(&leaves[..size]);
        assert_eq!((own.root(), own.size()), (roots[size], size as u64));
        let Ok(root) = root_at(size as u64, &mut node_of(&leaves));
        assert_eq!(root, roots[size]);
        for index in 0..size {
            let (at, of) = (index as u64, size as u64);
            let Ok(path) = inclusion(at, of, &mut node_of(&leaves));
            assert_eq!(root_of(leaves[index], at, of, &path), Some(roots[size]));
            // Another leaf, place, size or path leads elsewhere.
            assert_ne!(root_of(leaves[(index + 1) % 70], at, of, &path), Some(roots[size]));
            let mut longer = path.clone();
            longer.push(roots[1]);
            assert_eq!(root_of(leaves[index], at, of, &longer), None);
            if let Some((_, shorter)) = path.split_first() {
                assert_ne!(root_of(leaves[index], at, of, shorter), Some(roots[size]));
            }
        }
        for old in 0..=size {
            let (before, after) = ((old as u64, &roots[old]), (size as u64, &roots[size]));
            let Ok(path) = consistency(old as u64, size as u64, &mut node_of(&leaves));
            assert!(is_consistent(before, after, &path), "{old} of {size}");
            if old > 0 && old < size {
                assert!(!is_consistent((old as u64, &roots[old - 1]), after, &path));
                assert!(!is_consistent(before, (size as u64, &roots[old]), &path));
                assert!(!is_consistent(after, before, &path));
                let mut wrong = path.clone();
                wrong[0][5] ^= 1;
                assert!(!is_consistent(before, after, &wrong));
                assert!(!is_consistent(before, after, &path[1..]));
                wrong = path.clone();
                wrong.push([0; 32]);
                assert!(!is_consistent(before, after, &wrong));
            }
        }
    }
    assert_eq!(root_of(leaves[0], 1, 1, &[]), None, "no such leaf");
}

#[test]
fn what_is_kept_of_a_tree_is_its_nodes_of_sixty_four_leaves() {
    let leaves = leaves(1000);
    let (mut own, mut kept) = (Tree::default(), Vec::new());
    for leaf in &leaves {
        kept.extend(own.push(*leaf));
    }
    let expected: Vec<(u64, Hash)> =
        leaves.chunks_exact(64).map(naive_root).enumerate().map(|(n, h)| (n as u64, h)).collect();
    assert_eq!(kept, expected);
    let bytes = crate::format::wire::to_bytes(&own);
    assert_eq!(bytes.len(), 2 + 32 * 1000_u64.count_ones() as usize);
    assert_eq!(crate::format::wire::from_bytes::<Tree>(&bytes, "tree"), Ok(own));
}

#[test]
fn a_span_of_leaves_stands_for_itself_wherever_it_begins_and_however_it_was_put_together() {
    let leaves = leaves(420);
    let whole = tree(&leaves);
    for start in [0, 1, 3, 6, 31, 63, 64, 65, 100, 127, 128, 250, 419] {
        for end in [start + 1, start + 2, start + 63, start + 64, start + 65, 256, 300, 419, 420] {
            if end <= start || end > leaves.len() {
                continue;
            }
            let (from, to) = (start as u64, end as u64);
            let mut nodes = Nodes::from(from);
            leaves[start..end].iter().for_each(|leaf| nodes.push(*leaf));
            let hashes = nodes.hashes();
            assert_eq!(hashes.len() as u64, Nodes::count(from, to), "{start}..{end}");
            // In two halves, cut anywhere.
            for cut in [start + 1, usize::midpoint(start, end), end - 1] {
                let part = |a: usize, b: usize| {
                    let mut nodes = Nodes::from(a as u64);
                    leaves[a..b].iter().for_each(|leaf| nodes.push(*leaf));
                    nodes.hashes()
                };
                let mut joined = Nodes::from(from);
                assert!(joined.extend(cut as u64, &part(start, cut)));
                assert!(joined.extend(to, &part(cut, end)));
                assert_eq!((joined.hashes(), joined.end()), (hashes.clone(), to));
            }
            // A tree that takes the span for its leaves is the same tree, and so are its nodes.
            let (mut own, mut kept) = (tree(&leaves[..start]), Vec::new());
            let (of_span, enough) = own.push_nodes(to, &hashes);
            assert!(enough);
            kept.extend(of_span);
            leaves[end..].iter().for_each(|leaf| kept.extend(own.push(*leaf)));
            assert_eq!(own, whole, "{start}..{end}");
            let mut plain = tree(&leaves[..start]);
            let expected: Vec<_> = leaves[start..].iter().filter_map(|l| plain.push(*l)).collect();
            assert_eq!(kept, expected, "{start}..{end}");
            let mut short = tree(&leaves[..start]);
            assert!(!short.push_nodes(to, &hashes[1..]).1, "a node too few");
        }
    }
}

#[test]
fn unknown_leaves_are_many_at_once() {
    for (before, size) in [(0, 1), (0, 100), (3, 5), (64, 64), (70, 333)] {
        let mut own = tree(&leaves(before));
        own.push_unknown(size);
        let mut expected = leaves(before);
        expected.resize(usize::try_from(size).unwrap(), unknown_leaf());
        assert_eq!(own.root(), naive_root(&expected), "{before} of {size}");
    }
    let mut own = Tree::default();
    own.push_unknown(u64::MAX / 3);
    assert_eq!(own.size(), u64::MAX / 3, "a forged size costs nothing");
}
