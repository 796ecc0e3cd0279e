//! Every state that POSIX lets a crash leave, given what was synced and what was not.
//!
//! Nothing orders unsynced things. Of the unsynced changes of names any subset may have reached the disk; a rename is
//! one change, and what lies below a directory whose own name was lost is lost with it. Of the unsynced sectors of a
//! file any subset may be there, and its size may be anything that it was on the way and that holds those sectors, with
//! zeros where none arrived. All of these are enumerated, but where they are too many to be:
//!
//! - of more than [`SECTORS_MAX`] unsynced sectors of one file: all prefixes and suffixes in the order of writing, all
//!   but each single one, and each single one alone;
//! - of more than `most` combinations of files' states at one instant: for each set of names, each state of each file
//!   beside the others all lost and all kept, and pseudo-random combinations up to that set's share.
//!
//! Sectors that change nothing, as the padding of a batch does, are not counted.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::rc::Rc;

use crate::faulty_disk::{Change, Content, FaultyDisk, Moment, Names, Node, SECTOR, next_random, parent};

/// Unsynced sectors of one file of which each subset is tried.
const SECTORS_MAX: usize = 8;
/// Sets of names at one instant; more means that a scenario has to sync, or this module to choose.
const TREES_MAX: usize = 20_000;

/// What a crash left.
pub struct Left {
    names: Rc<Names>,
    files: BTreeMap<usize, Rc<Octets>>,
    /// Tells it from any other: the hash of all of it.
    pub key: u64,
}

struct Octets {
    octets: Vec<u8>,
    hash: u64,
}

impl Left {
    /// The disk as the next start finds it.
    pub fn disk(&self) -> FaultyDisk {
        let count = self.files.last_key_value().map_or(0, |(file, _)| file + 1);
        let octets = |file| self.files.get(&file).map_or(Vec::new(), |octets| octets.octets.clone());
        FaultyDisk::holding(Names::clone(&self.names), (0..count).map(octets), self.key)
    }
}

impl std::fmt::Display for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (path, node) in &*self.names {
            match node {
                Node::Directory => writeln!(f, "  {}/", path.display())?,
                Node::File(file) => {
                    let Octets { octets, hash } = &*self.files[file];
                    writeln!(
                        f,
                        "  {}: file {file}, {} octets, hash {hash:016x}",
                        path.display(),
                        octets.len()
                    )?;
                }
            }
        }
        Ok(())
    }
}

/// Gives `each` the states that a crash at this moment may leave, at most about `most`.
pub fn states(moment: &Moment, most: usize, mut each: impl FnMut(Left)) {
    let choices: Vec<Vec<Rc<Octets>>> = moment.files.iter().map(contents).collect();
    let trees = trees(moment);
    let share = most.div_ceil(trees.len());
    let possible = |tree: &Names| -> usize {
        files_of(tree).map(|file| choices[file].len()).fold(1, usize::saturating_mul)
    };
    let total = trees.iter().map(possible).fold(0, usize::saturating_add);
    for tree in trees {
        let files: Vec<usize> = files_of(&tree).collect();
        let counts: Vec<usize> = files.iter().map(|file| choices[*file].len()).collect();
        let names = Rc::new(tree);
        combinations(&counts, if total <= most { usize::MAX } else { share }, |chosen| {
            let chosen = files.iter().zip(chosen).map(|(file, at)| (*file, Rc::clone(&choices[*file][*at])));
            let files = chosen.collect();
            each(Left { key: key(&names, &files), names: Rc::clone(&names), files });
        });
    }
}

/// The files that have a name, each once.
fn files_of(names: &Names) -> impl Iterator<Item = usize> {
    let files: std::collections::BTreeSet<usize> = names
        .values()
        .filter_map(|node| match node {
            Node::File(file) => Some(*file),
            Node::Directory => None,
        })
        .collect();
    files.into_iter()
}

/// Two disks that nobody can tell apart have one key.
fn key(names: &Names, files: &BTreeMap<usize, Rc<Octets>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut first_names: BTreeMap<usize, &Path> = BTreeMap::new();
    for (path, node) in names {
        path.hash(&mut hasher);
        if let Node::File(file) = node {
            first_names.entry(*file).or_insert(path).hash(&mut hasher);
            files[file].hash.hash(&mut hasher);
        }
    }
    hasher.finish()
}

/// The sets of names that may be left.
fn trees(moment: &Moment) -> Vec<Names> {
    let mut trees = vec![moment.names.clone()];
    let mut seen: HashSet<Names> = trees.iter().cloned().collect();
    for change in &moment.changes {
        for at in 0..trees.len() {
            if has_directory(&trees[at], change.path()) || matches!(change, Change::Remove(_)) {
                let mut tree = trees[at].clone();
                change.apply(&mut tree);
                if seen.insert(tree.clone()) {
                    trees.push(tree);
                }
            }
        }
        assert!(trees.len() <= TREES_MAX, "too many changes of names at once: {:?}", moment.changes);
    }
    let mut seen = HashSet::new();
    trees.into_iter().map(reachable).filter(|tree| seen.insert(tree.clone())).collect()
}

fn has_directory(names: &Names, path: &Path) -> bool {
    let directory = parent(path);
    directory.as_os_str().is_empty() || names.contains_key(&directory)
}

/// Without what lies below a directory that is lost.
fn reachable(names: Names) -> Names {
    let is_there = |path: &Path| path.as_os_str().is_empty() || names.contains_key(path);
    let kept = names.iter().filter(|(path, _)| path.ancestors().skip(1).all(is_there));
    kept.map(|(path, node)| (path.clone(), *node)).collect()
}

/// What a file may hold, first nothing of the unsynced and last all of it.
fn contents(file: &Content) -> Vec<Rc<Octets>> {
    let sectors = sectors(file);
    let ends = file.writes.iter().map(|(offset, data)| offset + data.len());
    let sizes: Vec<usize> = ends.filter(|end| *end > file.durable.len()).collect();
    let mut seen = HashSet::new();
    let mut all = Vec::new();
    subsets(sectors.len(), |kept| {
        let mut octets = file.durable.clone();
        for (_, (offset, data)) in sectors.iter().enumerate().filter(|(at, _)| kept(*at)) {
            octets.resize(octets.len().max(offset + data.len()), 0);
            octets[*offset..offset + data.len()].copy_from_slice(data);
        }
        let least = octets.len();
        for size in std::iter::once(least).chain(sizes.iter().copied().filter(|size| *size > least)) {
            octets.resize(size, 0);
            let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&octets);
            if seen.insert(hash) {
                all.push(Rc::new(Octets { octets: octets.clone(), hash }));
            }
        }
    });
    all
}

/// The unsynced sectors that would change the file, in the order of writing.
fn sectors(file: &Content) -> Vec<(usize, &[u8])> {
    let mut sectors: Vec<(usize, &[u8])> = Vec::new();
    for (start, data) in &file.writes {
        let mut at = 0;
        while at < data.len() {
            let offset = start + at;
            let octets = &data[at..data.len().min(at + SECTOR - offset % SECTOR)];
            let overlaps = sectors.iter().any(|(o, s)| *o < offset + octets.len() && offset < o + s.len());
            if overlaps || file.durable.get(offset..offset + octets.len()) != Some(octets) {
                sectors.push((offset, octets));
            }
            at += octets.len();
        }
    }
    sectors
}

/// Subsets of `count` things, as whether each is in: first none, last all.
fn subsets(count: usize, mut each: impl FnMut(&dyn Fn(usize) -> bool)) {
    if count <= SECTORS_MAX {
        (0..1usize << count).for_each(|bits| each(&|at| bits >> at & 1 == 1));
        return;
    }
    (0..count).for_each(|end| each(&|at| at < end));
    (1..count).for_each(|start| each(&|at| at >= start));
    (0..count).for_each(|only| each(&|at| at == only));
    (0..count).for_each(|missing| each(&|at| at != missing));
    each(&|_| true);
}

/// Choices of one of each, if there are so many of each: all, or about `most` of them.
fn combinations(counts: &[usize], most: usize, mut each: impl FnMut(&[usize])) {
    let product = counts.iter().copied().fold(1, usize::saturating_mul);
    let lost = vec![0; counts.len()];
    let kept: Vec<usize> = counts.iter().map(|count| count - 1).collect();
    if product <= most {
        let mut chosen = lost;
        loop {
            each(&chosen);
            let Some(at) = (0..counts.len()).find(|at| chosen[*at] < kept[*at]) else { return };
            chosen[at] += 1;
            chosen[..at].fill(0);
        }
    }
    let mut left = most;
    for (at, count) in counts.iter().enumerate() {
        for choice in 0..*count {
            for mut chosen in [lost.clone(), kept.clone()] {
                chosen[at] = choice;
                each(&chosen);
                left = left.saturating_sub(1);
            }
        }
    }
    let mut seed = product as u64;
    for _ in 0..left {
        let chosen: Vec<usize> =
            counts.iter().map(|count| (next_random(&mut seed) % *count as u64) as usize).collect();
        each(&chosen);
    }
}
