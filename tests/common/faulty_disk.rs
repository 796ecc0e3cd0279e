//! A disk in memory that fails when told to: the fault model, and its injector.
//!
//! What is written is in the page cache, and on the disk after a sync of that file; names are on the disk after a sync
//! of their directory. A crash keeps everything synced and, of the rest, what [`Crash`] says: nothing, all, or any part
//! in any order, by sectors of 512 octets, which alone are written whole or not at all. A failed sync leaves data in
//! the cache that will never reach the disk, not by a later sync either, until [`File::drop_cache`] shows the truth. A
//! name is reachable only as long as its directories are. Operations are counted from 0; a fault strikes at one of them.
#![allow(dead_code)] // each test uses a part of it

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use fastsmtp::disk::{Disk, File, Open};

/// Octets that reach the disk together or not at all.
pub const SECTOR: usize = 512;

/// What strikes at an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The operation and all after it fail: the machine is gone. A write may have reached the cache.
    Crash,
    /// The operation fails with this error; half of a write is done.
    Error(i32),
    /// From this operation on, nothing that needs space succeeds.
    Full,
}

pub const EIO: i32 = 5;
pub const ENOSPC: i32 = 28;

/// What a crash leaves of that which no sync covered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Nothing.
    Lost,
    /// Everything: also what a killed process leaves.
    Kept,
    /// Everything but the last write, and that one's first sectors.
    Torn(usize),
    /// Any sectors and any names, by this seed.
    Any(u64),
}

#[derive(Clone)]
pub struct FaultyDisk(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    files: Vec<Content>,
    cached: Names,
    durable: Names,
    /// Changes of names that no sync of their directory covered.
    changes: Vec<Change>,
    operations: u64,
    fault: Option<(u64, Fault)>,
    crashed: bool,
    /// Writes take so many octets at the most.
    write_max: Option<usize>,
    random: u64,
    /// What a crash would have found at each instant, if that is recorded.
    moments: Option<Vec<Moment>>,
    /// Whether anything changed since the last of them.
    is_changed: bool,
    meanwhile: Option<Box<dyn FnOnce() + Send>>,
    /// Files of which a failed sync of everything lost something that their own next sync has not told yet.
    lost: BTreeSet<usize>,
    /// Files of which a sync failed.
    failed_syncs: BTreeSet<usize>,
    /// Syncs of such a file that came behind.
    hopeful_syncs: u64,
}

/// What a crash at one instant finds: what is safe, and what may be lost.
#[derive(Default)]
pub struct Moment {
    /// Operations that were before.
    pub operation: u64,
    /// Names that are on the disk.
    pub names: Names,
    /// Changes of them that no sync covered, oldest first.
    pub changes: Vec<Change>,
    /// By number, the files that ever were. What is cached of them is not told: the writes say it.
    pub files: Vec<Content>,
}

pub type Names = BTreeMap<PathBuf, Node>;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Node {
    Directory,
    File(usize),
}

#[derive(Default, Clone)]
pub struct Content {
    cached: Vec<u8>,
    pub durable: Vec<u8>,
    /// Writes that no sync covered: where, and what; an empty one only grows the file to there.
    pub writes: Vec<(usize, Vec<u8>)>,
}

impl Content {
    /// What was written since the last sync reaches the disk; what a failed sync lost does not.
    fn sync(&mut self) {
        for (offset, data) in self.writes.drain(..) {
            self.durable.resize(self.durable.len().max(offset), 0);
            write_into(&mut self.durable, offset, &data);
        }
    }
}

#[derive(Debug, Clone)]
pub enum Change {
    Add(PathBuf, Node),
    Remove(PathBuf),
    /// From, to, and what is renamed: which may have its new name although the old one never reached the disk.
    Rename(PathBuf, PathBuf, Node),
}

impl Change {
    /// The name that it gives or takes.
    pub fn path(&self) -> &Path {
        let (Change::Add(path, _) | Change::Remove(path) | Change::Rename(_, path, _)) = self;
        path
    }

    fn is_in(&self, directory: &Path) -> bool {
        parent(self.path()) == parent(&directory.join("x"))
    }

    pub fn apply(&self, names: &mut Names) {
        match self {
            Change::Add(path, node) => {
                names.insert(path.clone(), *node);
            }
            Change::Remove(path) => {
                names.remove(path);
            }
            Change::Rename(from, to, node) => {
                names.remove(from);
                names.insert(to.clone(), *node);
            }
        }
    }
}

pub fn parent(path: &Path) -> PathBuf {
    let path = path.strip_prefix(".").unwrap_or(path);
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn is_reachable(names: &Names, path: &Path) -> bool {
    let directory = parent(path);
    directory.as_os_str().is_empty() || names.get(&directory) == Some(&Node::Directory)
}

fn write_into(octets: &mut Vec<u8>, offset: usize, data: &[u8]) {
    octets.resize(octets.len().max(offset + data.len()), 0);
    octets[offset..offset + data.len()].copy_from_slice(data);
}

/// A small generator of pseudo-random numbers (splitmix64).
pub fn next_random(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl FaultyDisk {
    pub fn new(seed: u64) -> FaultyDisk {
        FaultyDisk(Arc::new(Mutex::new(State { random: seed, ..State::default() })))
    }

    pub fn with(self, operation: u64, fault: Fault) -> FaultyDisk {
        self.state().fault = Some((operation, fault));
        self
    }

    pub fn with_short_writes(self, write_max: usize) -> FaultyDisk {
        self.state().write_max = Some(write_max);
        self
    }

    /// A disk that holds these files, by number, under these names; nothing of it can be lost.
    pub fn holding(names: Names, files: impl IntoIterator<Item = Vec<u8>>, seed: u64) -> FaultyDisk {
        let content = |durable: Vec<u8>| Content { cached: durable.clone(), durable, writes: Vec::new() };
        let files = files.into_iter().map(content).collect();
        let state = State { files, cached: names.clone(), durable: names, random: seed, ..State::default() };
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// From now on, remembers what a crash would find after each operation.
    pub fn record(&self) {
        let mut state = self.state();
        state.moments = Some(Vec::new());
        state.is_changed = true;
    }

    /// What a crash would have found since [`record`](Self::record), the present included.
    pub fn moments(&self) -> Vec<Moment> {
        let mut state = self.state();
        state.remember();
        state.moments.take().unwrap_or_default()
    }

    /// Does something, as another thread would, once the next sync is asked for and before it begins.
    pub fn meanwhile(&self, act: impl FnOnce() + Send + 'static) {
        self.state().meanwhile = Some(Box::new(act));
    }

    fn sync_is_asked(&self) {
        let act = self.state().meanwhile.take();
        act.into_iter().for_each(|act| act());
    }

    /// Syncs of a file of which a sync had failed before: they prove nothing, for the cache forgot the error.
    pub fn hopeful_syncs(&self) -> u64 {
        self.state().hopeful_syncs
    }

    /// The process is gone and the machine goes on: what was cached stays so. Nobody is told any more of what a failed
    /// sync lost: a start that is told so fails, and the next one is not.
    pub fn restart(&self) {
        let mut state = self.state();
        state.lost.clear();
        (state.crashed, state.fault, state.meanwhile) = (false, None, None);
    }

    /// Operations so far.
    pub fn operations(&self) -> u64 {
        self.state().operations
    }

    pub fn is_crashed(&self) -> bool {
        self.state().crashed
    }

    /// There is space again.
    pub fn heal(&self) {
        let mut state = self.state();
        state.fault = None;
    }

    /// Whether a fault is still to strike, or strikes.
    pub fn is_armed(&self) -> bool {
        self.state().fault.is_some()
    }

    /// All files below a directory and its directories.
    pub fn tree(&self, directory: &str) -> Vec<PathBuf> {
        let state = self.state();
        let below = state.cached.range(PathBuf::from(directory)..);
        let below = below.take_while(|(path, _)| path.starts_with(directory));
        below.filter(|(_, node)| **node != Node::Directory).map(|(path, _)| path.clone()).collect()
    }

    /// The sectors of the last write that no sync covered.
    pub fn last_write_sectors(&self) -> usize {
        let state = self.state();
        state
            .files
            .iter()
            .filter_map(|file| file.writes.last())
            .map(|w| w.1.len().div_ceil(SECTOR))
            .max()
            .unwrap_or(0)
    }

    /// The disk as the next start finds it.
    pub fn after(&self, crash: Crash) -> FaultyDisk {
        let state = self.state();
        let mut seed = match crash {
            Crash::Any(seed) => seed,
            _ => 0,
        };
        let mut coin = || next_random(&mut seed) & 1 == 1;
        let mut names = state.durable.clone();
        for change in &state.changes {
            if match crash {
                Crash::Lost => false,
                Crash::Kept | Crash::Torn(_) => true,
                Crash::Any(_) => coin(),
            } {
                change.apply(&mut names);
            }
        }
        // Directories sort before what is in them.
        for path in names.keys().cloned().collect::<Vec<_>>() {
            if !is_reachable(&names, &path) {
                names.remove(&path);
            }
        }
        let mut files: Vec<Content> = Vec::new();
        for file in &state.files {
            let mut content = file.durable.clone();
            for (index, (offset, data)) in file.writes.iter().enumerate() {
                let last = index + 1 == file.writes.len();
                if data.is_empty() && (crash == Crash::Kept || coin()) {
                    content.resize(content.len().max(*offset), 0);
                }
                for (sector, octets) in data.chunks(SECTOR).enumerate() {
                    if match crash {
                        Crash::Lost => false,
                        Crash::Kept => true,
                        Crash::Torn(sectors) => !last || sector < sectors,
                        Crash::Any(_) => coin(),
                    } {
                        write_into(&mut content, offset + sector * SECTOR, octets);
                    }
                }
            }
            files.push(Content { cached: content.clone(), durable: content, writes: Vec::new() });
        }
        let random = state.random ^ 0x5555;
        let state = State { files, cached: names.clone(), durable: names, random, ..State::default() };
        FaultyDisk(Arc::new(Mutex::new(state)))
    }

    /// A copy of everything, without faults: cache and disk alike.
    pub fn copy(&self) -> FaultyDisk {
        self.after(Crash::Kept)
    }

    /// The files below a directory.
    pub fn paths(&self, directory: &str) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.cached.iter().filter(|(_, node)| **node != Node::Directory);
        files.map(|(path, _)| path.clone()).filter(|path| parent(path) == Path::new(directory)).collect()
    }

    /// All files.
    pub fn all_paths(&self) -> Vec<PathBuf> {
        let state = self.state();
        let files = state.cached.iter().filter(|(_, node)| **node != Node::Directory);
        files.map(|(path, _)| path.clone()).collect()
    }

    /// A file's octets.
    pub fn read(&self, path: &Path) -> Vec<u8> {
        let state = self.state();
        match state.cached[path] {
            Node::File(index) => state.files[index].cached.clone(),
            Node::Directory => panic!("{} is a directory", path.display()),
        }
    }

    /// Changes a file behind everybody's back.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let Node::File(index) = state.cached[path] else { panic!("{} is a directory", path.display()) };
        let file = &mut state.files[index];
        change(&mut file.cached);
        file.durable = file.cached.clone();
        file.writes.clear();
    }

    /// Removes a file behind everybody's back.
    pub fn erase(&self, path: &Path) {
        let mut state = self.state();
        state.cached.remove(path);
        state.durable.remove(path);
    }
}

impl State {
    /// Counts an operation; says which fault strikes.
    fn step(&mut self, needs_space: bool) -> Option<Fault> {
        if self.crashed {
            return Some(Fault::Crash);
        }
        self.remember();
        let operation = self.operations;
        self.operations += 1;
        match self.fault {
            Some((at, Fault::Crash)) if at == operation => {
                self.crashed = true;
                Some(Fault::Crash)
            }
            Some((at, Fault::Error(error))) if at == operation => Some(Fault::Error(error)),
            Some((at, Fault::Full)) if operation >= at && needs_space => Some(Fault::Error(ENOSPC)),
            _ => None,
        }
    }

    fn remember(&mut self) {
        if let Some(moments) = &mut self.moments
            && std::mem::take(&mut self.is_changed)
        {
            let unsynced = |file: &Content| Content {
                cached: Vec::new(),
                durable: file.durable.clone(),
                writes: file.writes.clone(),
            };
            moments.push(Moment {
                operation: self.operations,
                names: self.durable.clone(),
                changes: self.changes.clone(),
                files: self.files.iter().map(unsynced).collect(),
            });
        }
    }

    fn check(&mut self, needs_space: bool) -> io::Result<()> {
        match self.step(needs_space) {
            None => Ok(()),
            Some(fault) => Err(error_of(fault)),
        }
    }

    fn check_parent(&self, path: &Path) -> io::Result<()> {
        let parent = parent(path);
        match self.cached.get(&parent) {
            None if !parent.as_os_str().is_empty() => Err(not_found()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            _ => Ok(()),
        }
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.cached);
        self.changes.push(change);
        self.is_changed = true;
    }
}

fn error_of(fault: Fault) -> io::Error {
    match fault {
        Fault::Error(error) => io::Error::from_raw_os_error(error),
        _ => io::Error::from_raw_os_error(EIO),
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, how: Open) -> io::Result<Box<dyn File>> {
        let mut state = self.state();
        state.check(how == Open::Create)?;
        let index = match (state.cached.get(path), how) {
            (Some(_), Open::Create) => return Err(io::ErrorKind::AlreadyExists.into()),
            (None, Open::Create) => {
                state.check_parent(path)?;
                state.files.push(Content::default());
                let index = state.files.len() - 1;
                state.change(Change::Add(path.to_owned(), Node::File(index)));
                index
            }
            (Some(Node::File(index)), _) => *index,
            _ => return Err(not_found()),
        };
        drop(state);
        Ok(Box::new(FaultyFile { disk: self.clone(), index }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(false)?;
        let node = *state.cached.get(from).ok_or_else(not_found)?;
        state.check_parent(to)?;
        state.change(Change::Rename(from.to_owned(), to.to_owned(), node));
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(true)?;
        let node = *state.cached.get(from).ok_or_else(not_found)?;
        state.check_parent(to)?;
        if state.cached.contains_key(to) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.check_parent(to)?;
        state.change(Change::Add(to.to_owned(), node));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(false)?;
        if !state.cached.contains_key(path) {
            return Err(not_found());
        }
        state.change(Change::Remove(path.to_owned()));
        Ok(())
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.cached.contains_key(path) {
            state.check(false)?;
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        state.check(true)?;
        state.check_parent(path)?;
        state.change(Change::Add(path.to_owned(), Node::Directory));
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut state = self.state();
        state.check(false)?;
        state.check_parent(&path.join("x"))?;
        let inside = state.cached.keys().filter(|name| parent(name) == path);
        Ok(inside.filter_map(|name| name.file_name()?.to_str().map(str::to_owned)).collect())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.check(false)?;
        state.is_changed = true;
        let (covered, rest) =
            std::mem::take(&mut state.changes).into_iter().partition(|change| change.is_in(path));
        state.changes = rest;
        let covered: Vec<Change> = covered;
        covered.iter().for_each(|change| change.apply(&mut state.durable));
        Ok(())
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync_is_asked();
        let mut state = self.state();
        let result = state.check(false);
        state.is_changed |= result.is_ok();
        if result.is_err() && !state.crashed {
            // As in `sync_data`; who has such a file open is told by its own next sync, too.
            let State { files, lost, .. } = &mut *state;
            for (index, file) in files.iter_mut().enumerate().filter(|(_, file)| !file.writes.is_empty()) {
                file.writes.clear();
                lost.insert(index);
            }
        }
        result?;
        state.files.iter_mut().for_each(Content::sync);
        state.changes.clear();
        state.durable = state.cached.clone();
        Ok(())
    }

    fn random(&self) -> u64 {
        next_random(&mut self.state().random)
    }
}

struct FaultyFile {
    disk: FaultyDisk,
    index: usize,
}

impl FaultyFile {
    fn put(&self, state: &mut State, slices: &[IoSlice<'_>], offset: u64, max: usize) -> usize {
        let mut data = Vec::new();
        slices.iter().for_each(|slice| data.extend_from_slice(slice));
        data.truncate(max);
        let written = data.len();
        state.is_changed = true;
        let file = &mut state.files[self.index];
        write_into(&mut file.cached, offset as usize, &data);
        file.writes.push((offset as usize, data));
        written
    }
}

impl File for FaultyFile {
    fn write_at(&self, slices: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        let all: usize = slices.iter().map(|slice| slice.len()).sum();
        let was_crashed = state.crashed;
        match state.step(true) {
            None => {
                let max = state.write_max.unwrap_or(all);
                Ok(self.put(&mut state, slices, offset, max))
            }
            Some(Fault::Crash) => {
                if !was_crashed {
                    self.put(&mut state, slices, offset, all);
                }
                Err(error_of(Fault::Crash))
            }
            Some(fault) => {
                self.put(&mut state, slices, offset, all / 2);
                Err(error_of(fault))
            }
        }
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut state = self.disk.state();
        state.check(false)?;
        let octets = state.files[self.index].cached.get(offset as usize..).unwrap_or(&[]);
        let count = octets.len().min(buffer.len());
        buffer[..count].copy_from_slice(&octets[..count]);
        Ok(count)
    }

    fn allocate(&self, size: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check(true)?;
        state.is_changed = true;
        let file = &mut state.files[self.index];
        let size = file.cached.len().max(size as usize);
        file.cached.resize(size, 0);
        file.writes.push((size, Vec::new()));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_is_asked();
        let mut state = self.disk.state();
        let mut result = state.check(false);
        if state.lost.remove(&self.index) && result.is_ok() {
            result = Err(io::Error::from_raw_os_error(EIO));
        }
        let crashed = state.crashed;
        state.is_changed = true;
        state.hopeful_syncs += u64::from(state.failed_syncs.contains(&self.index));
        if result.is_err() {
            state.failed_syncs.insert(self.index);
        }
        let file = &mut state.files[self.index];
        match result {
            Ok(()) => {
                file.sync();
                Ok(())
            }
            Err(error) => {
                if !crashed {
                    file.writes.clear(); // clean in the cache, and not on the disk
                }
                Err(error)
            }
        }
    }

    fn drop_cache(&self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.check(false)?;
        let file = &mut state.files[self.index];
        if file.writes.is_empty() {
            let size = file.cached.len(); // that is no page
            file.cached = file.durable.clone();
            file.cached.resize(size, 0);
        }
        Ok(())
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.index].cached.len() as u64)
    }
}
