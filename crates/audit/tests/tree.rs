//! Trees and proofs, held against the definitions of RFC 9162 written down once more, as plainly as they stand there.

#![expect(clippy::unwrap_used, reason = "tests")]

use proptest::prelude::*;
use schalter_audit::Hash;
use schalter_audit::tree::{
    Frontier, MAX_PROOF, Tree, empty_root, is_consistent, is_included, leaf_hash,
};

/// Sizes that are tried one by one: past two powers of two.
const SIZES: usize = 131;

fn sha256(bytes: &[u8]) -> Hash {
    aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes)
        .as_ref()
        .try_into()
        .unwrap()
}

/// "the largest power of two smaller than n".
fn k(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

fn concat(one: u8, left: &Hash, right: &Hash) -> Hash {
    sha256(&[&[one], &left[..], &right[..]].concat())
}

/// §2.1.1: MTH(D_n).
fn mth(d: &[Vec<u8>]) -> Hash {
    match d.len() {
        0 => sha256(&[]),
        1 => sha256(&[&[0], &d[0][..]].concat()),
        n => concat(1, &mth(&d[..k(n)]), &mth(&d[k(n)..])),
    }
}

/// §2.1.3.1: PATH(m, D_n).
fn path(m: usize, d: &[Vec<u8>]) -> Vec<Hash> {
    let n = d.len();
    if n == 1 {
        return vec![];
    }
    let k = k(n);
    let (mut proof, last) = if m < k {
        (path(m, &d[..k]), mth(&d[k..]))
    } else {
        (path(m - k, &d[k..]), mth(&d[..k]))
    };
    proof.push(last);
    proof
}

/// §2.1.4.1: SUBPROOF(m, D_n, b).
fn subproof(m: usize, d: &[Vec<u8>], b: bool) -> Vec<Hash> {
    let n = d.len();
    if m == n {
        return if b { vec![] } else { vec![mth(d)] };
    }
    let k = k(n);
    let (mut proof, last) = if m <= k {
        (subproof(m, &d[..k], b), mth(&d[k..]))
    } else {
        (subproof(m - k, &d[k..], false), mth(&d[..k]))
    };
    proof.push(last);
    proof
}

/// Leaves of several lengths, each another.
fn data(n: usize) -> Vec<Vec<u8>> {
    (0_u8..)
        .take(n)
        .map(|i| vec![i; 1 + usize::from(i % 5)])
        .collect()
}

fn tree(d: &[Vec<u8>]) -> Tree {
    Tree::of(d.iter().map(|leaf| leaf_hash(leaf)))
}

fn hex(text: &str) -> Hash {
    let byte = |i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).unwrap();
    std::array::from_fn(byte)
}

/// The leaves and roots that implementations of Certificate Transparency have been tested with since RFC 6962.
#[test]
fn published_roots_are_met() {
    let leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ];
    let roots = [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
        "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
        "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
        "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
        "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
    ];
    let mut frontier = Frontier::default();
    for (leaf, root) in leaves.iter().zip(roots) {
        let bytes: Vec<u8> = (0..leaf.len() / 2)
            .map(|i| u8::from_str_radix(&leaf[2 * i..2 * i + 2], 16).unwrap())
            .collect();
        frontier.push(leaf_hash(&bytes));
        assert_eq!(frontier.root(), hex(root), "{} leaves", frontier.size());
    }
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(empty_root(), hex(nothing));
}

#[test]
fn roots_and_proofs_of_every_size_are_those_of_the_definitions_and_verify() {
    let d = data(SIZES);
    let all = tree(&d);
    let mut frontier = Frontier::default();
    for size in 0..=SIZES {
        let root = mth(&d[..size]);
        assert_eq!(all.root(size), Some(root), "{size}");
        assert_eq!(frontier.root(), root, "{size}");
        if size < SIZES {
            frontier.push(leaf_hash(&d[size]));
        }
        for index in 0..size {
            let proof = all.inclusion(index, size).unwrap();
            let leaf = leaf_hash(&d[index]);
            assert!(is_included(leaf, index as u64, size as u64, &proof, &root));
            if size % 13 < 2 {
                assert_eq!(proof, path(index, &d[..size]), "{index} of {size}");
            }
        }
        for old in 1..=size {
            let proof = all.consistency(old, size).unwrap();
            let old_root = all.root(old).unwrap();
            let (first, second) = ((old as u64, &old_root), (size as u64, &root));
            assert!(is_consistent(first, second, &proof), "{old} of {size}");
            if size % 13 < 2 {
                assert_eq!(proof, subproof(old, &d[..size], true), "{old} of {size}");
            }
        }
    }
    assert_eq!(all.root(SIZES + 1), None);
    assert_eq!(all.inclusion(SIZES, SIZES), None);
    assert_eq!(all.inclusion(0, SIZES + 1), None);
    assert_eq!(all.consistency(0, SIZES), None);
    assert_eq!(all.consistency(5, 4), None);
    assert_eq!(all.consistency(1, SIZES + 1), None);
}

#[test]
fn every_changed_bit_of_every_small_proof_is_found() {
    let d = data(12);
    let all = tree(&d);
    for size in 1..=12 {
        let root = all.root(size).unwrap();
        let flipped = |hash: &Hash, bit: usize| {
            let mut hash = *hash;
            hash[bit / 8] ^= 1 << (bit % 8);
            hash
        };
        for (index, data) in d.iter().enumerate().take(size) {
            let proof = all.inclusion(index, size).unwrap();
            let (leaf, at, n) = (leaf_hash(data), index as u64, size as u64);
            for bit in 0..256 {
                assert!(!is_included(flipped(&leaf, bit), at, n, &proof, &root));
                assert!(!is_included(leaf, at, n, &proof, &flipped(&root, bit)));
                for place in 0..proof.len() {
                    let mut other = proof.clone();
                    other[place] = flipped(&other[place], bit);
                    assert!(!is_included(leaf, at, n, &other, &root));
                }
            }
            for other in (0..16).filter(|other| *other != at) {
                assert!(!is_included(leaf, other, n, &proof, &root), "{other}");
            }
            let mut longer = proof.clone();
            longer.push(root);
            assert!(!is_included(leaf, at, n, &longer, &root));
            if let Some((_, shorter)) = proof.split_last() {
                assert!(!is_included(leaf, at, n, shorter, &root));
            }
        }
        for old in 1..size {
            let proof = all.consistency(old, size).unwrap();
            let first = all.root(old).unwrap();
            let holds = |first: &Hash, second: &Hash, proof: &[Hash]| {
                is_consistent((old as u64, first), (size as u64, second), proof)
            };
            for bit in 0..256 {
                assert!(!holds(&flipped(&first, bit), &root, &proof));
                assert!(!holds(&first, &flipped(&root, bit), &proof));
                for place in 0..proof.len() {
                    let mut other = proof.clone();
                    other[place] = flipped(&other[place], bit);
                    assert!(!holds(&first, &root, &other));
                }
            }
            assert!(!holds(&first, &root, &proof[1..]));
            let longer = [&proof[..], &[root]].concat();
            assert!(!holds(&first, &root, &longer));
        }
    }
}

#[test]
fn proofs_have_a_bound() {
    let proof = vec![[0; 32]; MAX_PROOF + 1];
    assert!(!is_included([0; 32], 0, u64::MAX, &proof, &[0; 32]));
    let (old, new) = ((1, &[0; 32]), (u64::MAX, &[0; 32]));
    assert!(!is_consistent(old, new, &proof));
    // The longest there is holds: its root is what it leads to.
    let mut root = [0; 32];
    for _ in 0..MAX_PROOF {
        root = concat(1, &root, &[0; 32]);
    }
    assert!(is_included([0; 32], 0, u64::MAX, &proof[1..], &root));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_other_leaf_place_or_size_has_the_same_proof(
        size in 1_usize..SIZES, index in 0_usize..SIZES, other in 0_usize..SIZES, bit in 0_usize..256, place in 0_usize..8
    ) {
        let d = data(size);
        let all = tree(&d);
        let index = index % size;
        let (root, proof) = (all.root(size).unwrap(), all.inclusion(index, size).unwrap());
        let holds = |leaf: &[u8], at: usize, proof: &[Hash]| {
            is_included(leaf_hash(leaf), at as u64, size as u64, proof, &root)
        };
        prop_assert!(holds(&d[index], index, &proof));
        prop_assert!(!holds(b"another", index, &proof));
        if other % size != index {
            prop_assert!(!holds(&d[other % size], index, &proof));
            prop_assert!(!holds(&d[index], other % size, &proof));
        }
        if !proof.is_empty() {
            let mut changed = proof.clone();
            let place = place % changed.len();
            changed[place][bit / 8] ^= 1 << (bit % 8);
            prop_assert!(!holds(&d[index], index, &changed));
        }
    }

    #[test]
    fn nothing_that_comes_as_a_proof_panics(
        leaf: [u8; 32], index: u64, old: u64, size: u64, root: [u8; 32],
        proof in proptest::collection::vec(any::<[u8; 32]>(), 0..70)
    ) {
        prop_assert!(!is_included(leaf, index, size, &proof, &root));
        prop_assert!(old == size || !is_consistent((old, &leaf), (size, &root), &proof));
    }
}
