//! The files of the log, and how the next one is made ready before it is needed.
//!
//! `spool/{sequence}-{nonce}.seg`, in hexadecimal: the name says which segment this is and which use of the file. A
//! batch counts only if it carries the nonce of its file's name: so what is left from an earlier use is nothing, what
//! a client sends can't be taken for a batch, and no damaged sector takes the nonce with it. A new use is a new name.
//! `spool/free-{random}.seg` is a file on its way to its first use.
//!
//! A segment ready for use is written with zeros: where blocks were only reserved, each sync would have to journal
//! their conversion (a commit takes half as long again). [`Stock`] decides on the loop, [`Prepare::run`] works elsewhere.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::SPOOL;
use super::header::align;
use crate::disk::{Disk, File, Open, write_all_at};
use crate::limits::{SEGMENTS_FREE_MAX, SPOOL_RETRY_MS};

/// A file of the log.
pub(super) struct Segment {
    pub sequence: u64,
    /// The random number of this use.
    pub nonce: u64,
    pub size: u64,
    /// Whether all of it was written once, so that a sync needs no metadata.
    pub prewritten: bool,
    pub path: PathBuf,
    /// Open while batches go there: a long log must not take a descriptor for each of its segments.
    pub file: Option<Arc<dyn File>>,
}

impl Segment {
    /// Opens the file, unless it is open.
    pub fn open(&mut self, disk: &dyn Disk) -> io::Result<Arc<dyn File>> {
        match &self.file {
            Some(file) => Ok(Arc::clone(file)),
            None => {
                let file = Arc::from(disk.open(&self.path, Open::Write)?);
                Ok(Arc::clone(self.file.insert(file)))
            }
        }
    }
}

/// The path of a segment in use.
pub(super) fn path(sequence: u64, nonce: u64) -> PathBuf {
    Path::new(SPOOL).join(format!("{sequence:016x}-{nonce:016x}.seg"))
}

/// What a file's name in the spool directory says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Name {
    Used { sequence: u64, nonce: u64 },
    Free,
}

/// Reads a file's name; none if it is not ours.
pub(super) fn name(name: &str) -> Option<Name> {
    let stem = name.strip_suffix(".seg")?;
    if stem.starts_with("free-") {
        return Some(Name::Free);
    }
    let number = |digits: &str| {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let all = digits.len() == 16 && digits.bytes().all(lower_hex);
        all.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
    };
    let (sequence, nonce) = stem.split_once('-')?;
    Some(Name::Used { sequence: number(sequence)?, nonce: number(nonce)? })
}

/// What a segment is made of, and what for.
pub(super) struct Make {
    /// A file that is free, of this size; else one is created.
    pub from: Option<Segment>,
    pub sequence: u64,
    pub size: u64,
    /// Whether to write it with zeros, which takes long, or only to reserve its space.
    pub prewrite: bool,
}

impl Make {
    /// Makes the segment; it may be used at once. If that fails, nothing of it is left.
    pub fn run(self, disk: &dyn Disk) -> io::Result<Segment> {
        let mut segment = match self.from {
            Some(free) => free,
            None => create(disk, self.size)?,
        };
        let nonce = disk.random();
        let made = path(self.sequence, nonce);
        let result = reserve(disk, &mut segment, self.prewrite)
            .and_then(|()| disk.rename(&segment.path, &made))
            .and_then(|()| disk.sync_dir(Path::new(SPOOL)));
        if let Err(error) = result {
            // It may have either name. What can't be removed now is found by the next recovery.
            let _ = disk.remove(&segment.path);
            let _ = disk.remove(&made);
            return Err(error);
        }
        Ok(Segment { sequence: self.sequence, nonce, path: made, ..segment })
    }
}

fn create(disk: &dyn Disk, size: u64) -> io::Result<Segment> {
    let path = Path::new(SPOOL).join(format!("free-{:016x}.seg", disk.random()));
    let file = Arc::from(disk.open(&path, Open::Create)?);
    Ok(Segment { sequence: 0, nonce: 0, size, prewritten: false, path, file: Some(file) })
}

fn reserve(disk: &dyn Disk, segment: &mut Segment, prewrite: bool) -> io::Result<()> {
    let file = segment.open(disk)?;
    if segment.prewritten {
        return Ok(());
    }
    match file.allocate(segment.size) {
        Err(error) if error.kind() != io::ErrorKind::Unsupported => return Err(error),
        _ => {} // a file system that cannot reserve: the zeros do it, or a commit finds out
    }
    if prewrite {
        write_zeros(&*file, segment.size)?;
        segment.prewritten = true;
    }
    Ok(())
}

/// Writes zeros in steps, each synced: a commit never queues behind more than one of them.
fn write_zeros(file: &dyn File, size: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS.min(size as usize)];
    let mut offset = 0;
    while offset < size {
        let step = (size - offset).min(zeros.len() as u64);
        write_all_at(file, &mut [IoSlice::new(&zeros[..step as usize])], offset)?;
        file.sync_data()?;
        offset += step;
    }
    Ok(())
}

/// Octets of one write of zeros.
const ZEROS: usize = 1 << 20;

/// The job that makes the next segment ready, and removes files that nobody needs.
pub struct Prepare {
    disk: Arc<dyn Disk>,
    make: Option<Make>,
    remove: Vec<PathBuf>,
}

/// What became of a [`Prepare`].
pub struct Prepared {
    made: Option<io::Result<Segment>>,
}

impl Prepare {
    /// Does the job. It writes a whole segment: not on the loop, and not where commits would wait for it.
    pub fn run(self) -> Prepared {
        for path in &self.remove {
            let _ = self.disk.remove(path); // what is left is found by the next recovery
        }
        Prepared { made: self.make.map(|make| make.run(&*self.disk)) }
    }
}

/// The segments that hold none of the log: the next one, the free ones, and the one under way.
pub(super) struct Stock {
    disk: Arc<dyn Disk>,
    segment_size: u64,
    /// The sequence number of the segment that is made next.
    pub sequence: u64,
    pub next: Option<Segment>,
    free: Vec<Segment>,
    remove: Vec<PathBuf>,
    under_way: bool,
    /// Octets that the next batch needs and found no room for.
    pub wanted: Option<u64>,
    /// The last attempt failed.
    pub blocked: bool,
    /// When to make the next one after that.
    pub retry_ms: Option<u64>,
}

impl Stock {
    pub fn new(disk: Arc<dyn Disk>, segment_size: u64, sequence: u64) -> Stock {
        let (next, free, remove) = (None, Vec::new(), Vec::new());
        let (under_way, wanted, blocked, retry_ms) = (false, None, false, None);
        Stock { disk, segment_size, sequence, next, free, remove, under_way, wanted, blocked, retry_ms }
    }

    /// Takes a segment that the log needs no more.
    pub fn put(&mut self, mut segment: Segment) {
        segment.file = None;
        if segment.size == self.segment_size && self.free.len() < SEGMENTS_FREE_MAX {
            self.free.push(segment);
        } else {
            self.remove.push(segment.path);
        }
    }

    /// Has a file removed.
    pub fn remove(&mut self, path: PathBuf) {
        self.remove.push(path);
    }

    /// Whether files are to be removed, and no job is under way behind which that would be done.
    pub fn has_removals(&self) -> bool {
        !self.under_way && !self.remove.is_empty()
    }

    /// The disk that all of it lies on.
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// How to make a segment of `size` octets.
    pub fn make(&mut self, size: u64, prewrite: bool) -> Make {
        let sequence = self.sequence;
        self.sequence += 1;
        let from = if size == self.segment_size { self.take_free() } else { None };
        Make { from, sequence, size, prewrite }
    }

    fn take_free(&mut self) -> Option<Segment> {
        let best = self.free.iter().position(|segment| segment.prewritten).unwrap_or(0);
        (best < self.free.len()).then(|| self.free.swap_remove(best))
    }

    /// The job that is due, if any. `may_grow`: the log may have another segment.
    pub fn prepare(&mut self, now_ms: u64, may_grow: bool) -> Option<Prepare> {
        if self.under_way {
            return None;
        }
        if self.retry_ms.is_some_and(|retry_ms| now_ms >= retry_ms) {
            self.retry_ms = None;
            // Behind a next one nothing is made until a message wants it: only that would show that there is space again.
            self.blocked &= self.next.is_none();
        }
        let make = self.size_due(may_grow).map(|size| self.make(size, size == self.segment_size));
        if make.is_none() && self.remove.is_empty() {
            return None;
        }
        self.under_way = true;
        Some(Prepare { disk: Arc::clone(&self.disk), make, remove: std::mem::take(&mut self.remove) })
    }

    fn size_due(&self, may_grow: bool) -> Option<u64> {
        if self.retry_ms.is_some() {
            return None;
        }
        let size = self.next.as_ref().map_or(0, |next| next.size);
        match self.wanted {
            Some(wanted) if size < wanted => Some(self.size_for(wanted)),
            _ => (size == 0 && may_grow).then_some(self.segment_size),
        }
    }

    /// The size of a segment that takes a batch of so many octets.
    pub fn size_for(&self, octets: u64) -> u64 {
        align(octets).max(self.segment_size)
    }

    pub fn prepared(&mut self, prepared: Prepared, now_ms: u64) -> io::Result<()> {
        self.under_way = false;
        match prepared.made {
            None => {}
            Some(Ok(segment)) => {
                self.blocked = false;
                if let Some(too_small) = self.next.replace(segment) {
                    self.put(too_small);
                }
            }
            Some(Err(error)) => {
                self.blocked = true;
                self.retry_ms = Some(now_ms + SPOOL_RETRY_MS);
                return Err(error);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_says_sequence_and_nonce() {
        let path = path(18, u64::MAX);
        assert_eq!(path, Path::new("spool/0000000000000012-ffffffffffffffff.seg"));
        let of = |text| super::name(text);
        assert_eq!(
            of("0000000000000012-ffffffffffffffff.seg"),
            Some(Name::Used { sequence: 18, nonce: u64::MAX })
        );
        assert_eq!(of("free-1.seg"), Some(Name::Free));
        for text in ["held", "0012-ffff.seg", "+000000000000012-ffffffffffffffff.seg", "x.seg", ".seg"] {
            assert_eq!(of(text), None, "{text}");
        }
    }
}
