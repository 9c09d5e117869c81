//! Merkle trees of RFC 9162, section 2.1: roots, and proofs of inclusion and of consistency.
//!
//! A tree grows at its right edge only, so what must be kept of it is the roots of the perfect
//! subtrees there, at most one for each bit of its size. A proof asks for perfect subtrees by level
//! and index; where their hashes come from is the caller's.
//!
//! INVARIANT: `Tree` holds as many hashes as its size has bits that are one.

use sha2::{Digest, Sha256};

use crate::format::codec::{DecodeError, Reader};
use crate::format::wire::Wire;

/// A SHA-256.
pub type Hash = [u8; 32];

/// Leaves under a node that is kept in the catalog.
pub const KEPT_LEAVES: u64 = 1 << KEPT_LEVEL;
/// The level of those nodes; a leaf's is 0.
pub const KEPT_LEVEL: u32 = 6;

/// The hash of a leaf.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0]).chain_update(data).finalize().into()
}

/// The hash of an inner node.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left);
    bytes[33..].copy_from_slice(right);
    Sha256::digest(bytes).into()
}

/// Stands for a leaf whose record no copy could give.
#[must_use]
pub fn unknown_leaf() -> Hash {
    leaf_hash(b"hansard unknown")
}

/// The root of a tree without leaves.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The level of the largest subtree, at most a kept one, with which the leaves from `at` to before
/// `end` begin.
#[must_use]
pub fn span_level(at: u64, end: u64) -> u32 {
    let aligned = at.trailing_zeros().min(KEPT_LEVEL);
    let fits = end.saturating_sub(at).checked_ilog2().unwrap_or(0);
    aligned.min(fits)
}

/// A tree, as much of it as growing takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// Roots of perfect subtrees, from the largest to the smallest.
    edge: Vec<Hash>,
}

impl Tree {
    /// How many leaves it has.
    #[must_use]
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Adds a leaf; gives the kept node that it completes.
    pub fn push(&mut self, leaf: Hash) -> Option<(u64, Hash)> {
        self.push_node(0, leaf)
    }

    /// Adds 2^`level` leaves by the root over them; gives the kept node that they complete, or are.
    /// The tree's size must be a multiple of as many.
    fn push_node(&mut self, level: u32, node: Hash) -> Option<(u64, Hash)> {
        let mut kept = (level == KEPT_LEVEL).then_some((self.size >> KEPT_LEVEL, node));
        let (mut at, mut node) = (level, node);
        while at < u64::BITS && self.size >> at & 1 == 1 {
            let Some(left) = self.edge.pop() else { break };
            node = node_hash(&left, &node);
            at += 1;
            if at == KEPT_LEVEL {
                kept = Some((self.size >> KEPT_LEVEL, node));
            }
        }
        self.edge.push(node);
        self.size = self.size.saturating_add(1 << level);
        kept
    }

    /// Adds the leaves from its size to `end` by their nodes, as [`Nodes`] has them. Gives the kept
    /// nodes among them, and false if there were fewer nodes than that.
    pub fn push_nodes(&mut self, end: u64, nodes: &[Hash]) -> (Vec<(u64, Hash)>, bool) {
        let (mut kept, mut nodes) = (Vec::new(), nodes.iter());
        while self.size < end {
            let Some(node) = nodes.next() else { return (kept, false) };
            kept.extend(self.push_node(span_level(self.size, end), *node));
        }
        (kept, true)
    }

    /// Adds unknown leaves up to `size`, however many: whole subtrees at once.
    pub fn push_unknown(&mut self, size: u64) {
        let mut node = vec![unknown_leaf()];
        while self.size < size {
            let aligned = self.size.trailing_zeros();
            let fits = (size - self.size).checked_ilog2().unwrap_or(0);
            let level = aligned.min(fits);
            while let Some(last) = node.last().copied()
                && node.len() <= level as usize
            {
                node.push(node_hash(&last, &last));
            }
            let Some(of_level) = node.get(level as usize).copied() else { return };
            self.push_node(level, of_level);
        }
    }

    /// The root over all leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev().copied();
        let Some(last) = edge.next() else { return empty_root() };
        edge.fold(last, |right, left| node_hash(&left, &right))
    }
}

impl Wire for Tree {
    const SHAPE: &'static str = "varint size, a hash for each of its bits that is one";

    fn put(&self, out: &mut Vec<u8>) {
        self.size.put(out);
        self.edge.iter().for_each(|hash| hash.put(out));
    }

    fn get(reader: &mut Reader<'_>, field: &'static str) -> Result<Self, DecodeError> {
        let size = reader.varint(field)?;
        let edge = (0..size.count_ones()).map(|_| reader.array(field));
        Ok(Self { size, edge: edge.collect::<Result<_, _>>()? })
    }
}

/// The leaves of a span, by the largest subtrees at their places that are no larger than a kept
/// node: 32 bytes for 64 leaves, and at most 12 further hashes at its ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Nodes {
    start: u64,
    end: u64,
    /// Of the leaves since the last place at which a kept node may end.
    open: Vec<(u32, Hash)>,
    done: Vec<Hash>,
}

impl Nodes {
    /// None yet, from the leaf at `start` on.
    #[must_use]
    pub const fn from(start: u64) -> Self {
        Self { start, end: start, open: Vec::new(), done: Vec::new() }
    }

    /// The leaf behind the last.
    #[must_use]
    pub const fn end(&self) -> u64 {
        self.end
    }

    /// How many hashes it is.
    #[must_use]
    pub fn len(&self) -> usize {
        self.done.len() + self.open.len()
    }

    /// True if it is of no leaf.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds the next leaf.
    pub fn push(&mut self, leaf: Hash) {
        self.push_node(0, leaf);
    }

    fn push_node(&mut self, level: u32, node: Hash) {
        let (mut level, mut node) = (level, node);
        self.end = self.end.saturating_add(1 << level);
        // Two neighbours become one where they are the halves of a subtree.
        while let Some((before, left)) = self.open.last()
            && *before == level
            && level < KEPT_LEVEL
            && self.end.is_multiple_of(2 << level)
        {
            node = node_hash(left, &node);
            level += 1;
            self.open.pop();
        }
        self.open.push((level, node));
        if level == KEPT_LEVEL || self.end.is_multiple_of(KEPT_LEAVES) {
            self.done.extend(self.open.drain(..).map(|(_, node)| node));
        }
    }

    /// Adds a span that goes on where this one ends; false if it has too few nodes.
    pub fn extend(&mut self, end: u64, nodes: &[Hash]) -> bool {
        let mut nodes = nodes.iter();
        while self.end < end {
            let Some(node) = nodes.next() else { return false };
            self.push_node(span_level(self.end, end), *node);
        }
        true
    }

    /// The hashes, from the first leaf on.
    #[must_use]
    pub fn hashes(&self) -> Vec<Hash> {
        let open = self.open.iter().map(|(_, node)| *node);
        self.done.iter().copied().chain(open).collect()
    }

    /// How many hashes a span of leaves has.
    #[must_use]
    pub fn count(start: u64, end: u64) -> u64 {
        let (mut at, mut count) = (start, 0);
        while at < end {
            if at.is_multiple_of(KEPT_LEAVES) && end - at >= KEPT_LEAVES {
                let whole = (end - at) / KEPT_LEAVES;
                (at, count) = (at + whole * KEPT_LEAVES, count + whole);
                continue;
            }
            (at, count) = (at + (1 << span_level(at, end)), count + 1);
        }
        count
    }
}

/// Gives the root of a perfect subtree: its level, and its index among those of the level.
pub type NodeOf<'a, E> = &'a mut dyn FnMut(u32, u64) -> Result<Hash, E>;

/// The largest power of two below `n`, which is at least 2.
const fn split(n: u64) -> u64 {
    1 << (n - 1).ilog2()
}

/// The root over the leaves `start..end`, where `start` is a multiple of what a subtree of that
/// span's width would begin at.
fn span_root<E>(start: u64, end: u64, node: NodeOf<'_, E>) -> Result<Hash, E> {
    let width = end - start;
    if width.is_power_of_two() {
        let level = width.ilog2();
        return node(level, start >> level);
    }
    let left = split(width);
    let hash = span_root(start, start + left, node)?;
    Ok(node_hash(&hash, &span_root(start + left, end, node)?))
}

/// The root of the tree over the first `size` leaves.
///
/// # Errors
/// What `node` fails with.
pub fn root_at<E>(size: u64, node: NodeOf<'_, E>) -> Result<Hash, E> {
    if size == 0 { Ok(empty_root()) } else { span_root(0, size, node) }
}

/// The audit path of leaf `index` in the tree of `size` leaves (RFC 9162, 2.1.3.1); empty if it has
/// no such leaf.
///
/// # Errors
/// What `node` fails with.
pub fn inclusion<E>(index: u64, size: u64, node: NodeOf<'_, E>) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    let (mut start, mut end) = (0, size);
    while index < size && end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            path.push(span_root(middle, end, node)?);
            end = middle;
        } else {
            path.push(span_root(start, middle, node)?);
            start = middle;
        }
    }
    path.reverse();
    Ok(path)
}

/// The root that a leaf and its audit path lead to (RFC 9162, 2.1.3.2); none if the path does not
/// fit.
#[must_use]
pub fn root_of(leaf: Hash, index: u64, size: u64, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for other in path {
        if last == 0 {
            return None;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(other, &hash);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            hash = node_hash(&hash, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    (last == 0).then_some(hash)
}

/// What shows that the tree of `new` leaves begins with that of `old` (RFC 9162, 2.1.4.1); empty
/// where there is nothing to show.
///
/// # Errors
/// What `node` fails with.
pub fn consistency<E>(old: u64, new: u64, node: NodeOf<'_, E>) -> Result<Vec<Hash>, E> {
    let mut path = Vec::new();
    if old == 0 || old >= new {
        return Ok(path);
    }
    let (mut start, mut end, mut whole) = (0, new, true);
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            path.push(span_root(middle, end, node)?);
            end = middle;
        } else {
            path.push(span_root(start, middle, node)?);
            (start, whole) = (middle, false);
        }
    }
    if !whole {
        path.push(span_root(start, end, node)?);
    }
    path.reverse();
    Ok(path)
}

/// True if a path shows that the tree of `new` leaves begins with that of `old` (RFC 9162,
/// 2.1.4.2).
#[must_use]
pub fn is_consistent(
    (old, old_root): (u64, &Hash),
    (new, new_root): (u64, &Hash),
    path: &[Hash],
) -> bool {
    if old > new {
        return false;
    }
    if old == new || old == 0 {
        let begins = if old == 0 { *old_root == empty_root() } else { old_root == new_root };
        return path.is_empty() && begins;
    }
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        (at, last) = (at >> 1, last >> 1);
    }
    let mut path = path.iter();
    let start = if old.is_power_of_two() { Some(old_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut of_old, mut of_new) = (*start, *start);
    for other in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            of_old = node_hash(other, &of_old);
            of_new = node_hash(other, &of_new);
            while at & 1 == 0 && at != 0 {
                (at, last) = (at >> 1, last >> 1);
            }
        } else {
            of_new = node_hash(&of_new, other);
        }
        (at, last) = (at >> 1, last >> 1);
    }
    last == 0 && of_old == *old_root && of_new == *new_root
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
