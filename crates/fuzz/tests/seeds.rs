//! Every target bears its seeds, and its seeds changed at random.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use schalter_fuzz::TARGETS;
use schalter_testkit::Random;

/// Changed inputs for each target. Ten seconds in all, of a debug build; libFuzzer has hours.
const INPUTS: u64 = 20_000;
/// Longest input. Datagrams are shorter, and so is what parsers of text are given.
const LEN_MAX: usize = 4_096;

#[test]
fn every_target_bears_its_seeds_and_what_becomes_of_them() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (name, run) in TARGETS {
        let seeds = seeds(&corpus.join(name));
        for seed in &seeds {
            bear(name, *run, seed);
        }
        for number in 0..INPUTS {
            let mut random = Random::new(number);
            bear(name, *run, &changed(&mut random, &seeds));
        }
    }
}

/// Runs the target; a panic is told with the input, to be kept as a seed.
fn bear(name: &str, run: fn(&[u8]), input: &[u8]) {
    if catch_unwind(|| run(input)).is_err() {
        panic!("{name} does not bear {input:02x?}");
    }
}

/// The seeds of a target, in an order that is the same everywhere. A target may have none: then all is made at random.
fn seeds(folder: &Path) -> Vec<Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return vec![Vec::new()];
    };
    let mut paths: Vec<_> = entries
        .map(|entry| entry.expect("a readable folder").path())
        // What libFuzzer found on this machine is named by its hash, and not the same everywhere.
        .filter(|path| path.file_name().is_some_and(|name| name.len() != 40))
        .collect();
    paths.sort();
    paths
        .iter()
        .map(|path| fs::read(path).expect("a readable seed"))
        .collect()
}

/// A seed after a few changes of the kinds that libFuzzer makes: bits, bytes, numbers at their edges, pieces removed, doubled,
/// and taken from another seed.
fn changed(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = pick(random, seeds).clone();
    for _ in 0..=random.below(6) {
        let at = random.below(bytes.len() as u64 + 1) as usize;
        let some = (random.below(16) + 1) as usize;
        let end = (at + some).min(bytes.len());
        match random.below(7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => bytes[at] = random.next() as u8,
            2 if at < bytes.len() => bytes[at] = *pick(random, &[0, 1, 0x7f, 0x80, 0xff]),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            5 => {
                let other = pick(random, seeds);
                let from = random.below(other.len() as u64 + 1) as usize;
                let until = (from + 4 * some).min(other.len());
                bytes.splice(at..at, other[from..until].iter().copied());
            }
            _ => {
                let new: Vec<u8> = (0..some).map(|_| random.next() as u8).collect();
                bytes.splice(at..at, new);
            }
        }
    }
    bytes.truncate(LEN_MAX);
    bytes
}

fn pick<'a, T>(random: &mut Random, from: &'a [T]) -> &'a T {
    &from[random.below(from.len() as u64) as usize]
}
