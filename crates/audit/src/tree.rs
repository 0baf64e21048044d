//! Merkle trees: roots, proofs that a leaf is in a tree, and that one tree begins with another (RFC 9162 §2.1).

use crate::{Hash, sha256};

/// Longest proof that is looked at: the path in a tree of 2^64 leaves.
pub const MAX_PROOF: usize = 64;

/// Hash of a leaf (RFC 9162 §2.1.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256(&[&[0], leaf])
}

fn node_hash(left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[1], left, right])
}

/// Root of the tree without leaves: the hash of nothing.
pub fn empty_root() -> Hash {
    sha256(&[])
}

/// A tree of which only the right edge is held: it grows, and tells its root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    /// Roots of the complete subtrees from left to right: one for each bit that is set in `size`.
    edge: Vec<Hash>,
}

impl Frontier {
    /// Adds a leaf by its hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            let left = self
                .edge
                .pop()
                .expect("each bit of the size has its subtree");
            hash = node_hash(&left, &hash);
        }
        self.edge.push(hash);
        self.size += 1;
    }

    /// Leaves.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// Root.
    pub fn root(&self) -> Hash {
        let mut edge = self.edge.iter().rev();
        let Some(last) = edge.next() else {
            return empty_root();
        };
        edge.fold(*last, |right, left| node_hash(left, &right))
    }
}

/// A tree that is held whole, for proofs.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Roots of the complete subtrees of 2^level leaves each, by level.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    /// The tree over these leaves, by their hashes.
    pub fn of(leaves: impl IntoIterator<Item = Hash>) -> Self {
        let mut levels = vec![leaves.into_iter().collect::<Vec<_>>()];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let pairs = below.chunks_exact(2);
            let above = pairs.map(|pair| node_hash(&pair[0], &pair[1])).collect();
            levels.push(above);
        }
        Self { levels }
    }

    /// Leaves.
    pub fn size(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Root of the first `size` leaves; `None` if there are fewer.
    pub fn root(&self, size: usize) -> Option<Hash> {
        (size <= self.size()).then(|| match size {
            0 => empty_root(),
            _ => self.subtree(0, size),
        })
    }

    /// Proof that leaf `index` is in the tree of the first `size` leaves (RFC 9162 §2.1.3.1); `None` if it isn't.
    pub fn inclusion(&self, index: usize, size: usize) -> Option<Vec<Hash>> {
        if index >= size || size > self.size() {
            return None;
        }
        let (mut from, mut to, mut proof) = (0, size, Vec::new());
        while to - from > 1 {
            let middle = from + split(to - from);
            if index < middle {
                proof.push(self.subtree(middle, to));
                to = middle;
            } else {
                proof.push(self.subtree(from, middle));
                from = middle;
            }
        }
        proof.reverse();
        Some(proof)
    }

    /// Proof that the tree of the first `new` leaves begins with that of the first `old` (RFC 9162 §2.1.4.1); `None` if there are fewer, or
    /// `old` is 0 or more than `new`.
    pub fn consistency(&self, old: usize, new: usize) -> Option<Vec<Hash>> {
        if old == 0 || old > new || new > self.size() {
            return None;
        }
        let (mut from, mut to, mut whole, mut proof) = (0, new, true, Vec::new());
        while old < to {
            let middle = from + split(to - from);
            if old <= middle {
                proof.push(self.subtree(middle, to));
                to = middle;
            } else {
                proof.push(self.subtree(from, middle));
                from = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.subtree(from, to));
        }
        proof.reverse();
        Some(proof)
    }

    /// Root over leaves `from` to before `to`; `from` is a multiple of the smallest power of two that holds them all.
    fn subtree(&self, from: usize, to: usize) -> Hash {
        let size = to - from;
        if size.is_power_of_two() {
            let level = size.trailing_zeros() as usize;
            return self.levels[level][from >> level];
        }
        let middle = from + split(size);
        node_hash(&self.subtree(from, middle), &self.subtree(middle, to))
    }
}

/// The largest power of two below `size`, which is at least 2.
fn split(size: usize) -> usize {
    1 << (size - 1).ilog2()
}

/// Whether a leaf is in the tree with this size and root, by its hash and index (RFC 9162 §2.1.3.2).
pub fn is_included(leaf: Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size || proof.len() > MAX_PROOF {
        return false;
    }
    let (mut at, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            if at & 1 == 0 {
                let skipped = at.trailing_zeros().min(63);
                at >>= skipped;
                last >>= skipped;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether the tree with size `new` begins with that of size `old` (RFC 9162 §2.1.4.2). Sizes come with their roots.
pub fn is_consistent(old: (u64, &Hash), new: (u64, &Hash), proof: &[Hash]) -> bool {
    let ((old, old_root), (new, new_root)) = (old, new);
    if old == new {
        return old_root == new_root && proof.is_empty();
    }
    if old == 0 || old > new || proof.is_empty() || proof.len() > MAX_PROOF {
        return false;
    }
    let mut path = proof.iter();
    let begun = if old.is_power_of_two() {
        Some(old_root)
    } else {
        path.next()
    };
    let Some(begun) = begun else { return false };
    let skipped = (old - 1).trailing_ones();
    let (mut at, mut last) = ((old - 1) >> skipped, (new - 1) >> skipped);
    let (mut first, mut second) = (*begun, *begun);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            first = node_hash(sibling, &first);
            second = node_hash(sibling, &second);
            if at & 1 == 0 {
                let skipped = at.trailing_zeros().min(63);
                at >>= skipped;
                last >>= skipped;
            }
        } else {
            second = node_hash(&second, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && first == *old_root && second == *new_root
}
