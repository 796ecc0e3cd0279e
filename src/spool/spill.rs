//! Large messages: each in a file of its own, written while it arrives, so that memory and log are for small ones.
//!
//! ```text
//! spool/spill/{run}-{number}.msg, in hexadecimal
//!
//!   0              room                          room + octets
//!   │ trace fields │ mail data                               │
//!     the courier's  written part by part, synced before the log's record names the file
//! ```
//!
//! The courier gives the file further names, in its recipients' Maildirs: there is no second copy. So it has to begin
//! with the trace fields; these name the queue id, which the message has once its last part is safe. Room is left for
//! them, of just their length; they are in the log's record, and the courier writes them before it gives out names.
//!
//! The loop owns a [`Spill`] while no job has it; a worker calls [`SpillJob::run`]. A file that no record names belongs
//! to nobody: the next recovery removes it.

use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::header::{Checksum, Fields};
use crate::disk::{Disk, File, Open, read_full_at, write_all_at};
use crate::limits::{COMPARE_CHUNK, SPILL_SYNC_OCTETS};

/// Where these files lie.
pub(crate) const SPILL: &str = "spool/spill";

/// The name of a spilled message's file: the run that wrote it, and its number in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SpillName {
    pub run: u64,
    pub number: u64,
}

impl SpillName {
    pub fn path(self) -> PathBuf {
        Path::new(SPILL).join(format!("{:016x}-{:016x}.msg", self.run, self.number))
    }

    /// Reads a file's name; none if it is not ours.
    pub fn parse(name: &str) -> Option<SpillName> {
        let (run, number) = name.strip_suffix(".msg")?.split_once('-')?;
        let number_of = |digits: &str| u64::from_str_radix(digits, 16).ok();
        let parsed = SpillName { run: number_of(run)?, number: number_of(number)? };
        (parsed.path().file_name()? == name).then_some(parsed)
    }
}

/// A large message whose mail data goes into a file.
pub struct Spill {
    disk: Arc<dyn Disk>,
    name: SpillName,
    /// Open from the first part to the last: who opens a file later may not be told of an error before.
    file: Option<Box<dyn File>>,
    room: u64,
    octets: u64,
    unsynced: u64,
    crc: Checksum,
}

impl Spill {
    pub(super) fn new(disk: Arc<dyn Disk>, name: SpillName, room: u64) -> Spill {
        Spill { disk, name, file: None, room, octets: 0, unsynced: 0, crc: Checksum::default() }
    }

    /// Octets left for the trace fields.
    pub fn room(&self) -> u64 {
        self.room
    }

    pub(super) fn name(&self) -> SpillName {
        self.name
    }

    /// The job that writes the next part of the mail data.
    pub fn write(self, part: Vec<u8>) -> SpillJob {
        SpillJob { spill: self, part, step: Step::Part }
    }

    /// The job that writes the last part, and makes all of it durable.
    pub fn finish(self, part: Vec<u8>) -> SpillJob {
        SpillJob { spill: self, part, step: Step::Last }
    }
}

/// Which part it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Part,
    Last,
}

/// Mail data on its way to its file.
pub struct SpillJob {
    spill: Spill,
    part: Vec<u8>,
    step: Step,
}

/// What became of a [`SpillJob`].
pub enum SpillDone {
    /// The part is written; its buffer may be used again.
    Written(Spill, Vec<u8>),
    /// All is written and durable.
    Finished(Spilled),
    /// It could not be written, and the file is gone, as far as that works.
    Failed(io::Error),
}

impl SpillJob {
    /// Octets of mail data in memory that it will write.
    pub fn octets(&self) -> usize {
        self.part.len()
    }

    /// Does the job. Blocks for as long as the disk takes.
    pub fn run(mut self) -> SpillDone {
        match self.write() {
            Err(error) => {
                let _ = self.spill.disk.remove(&self.spill.name.path()); // what is left is found by the next recovery
                SpillDone::Failed(error)
            }
            Ok(()) if self.step == Step::Part => SpillDone::Written(self.spill, self.part),
            Ok(()) => {
                let Spill { name, octets, crc, .. } = self.spill;
                SpillDone::Finished(Spilled { name, octets, crc: crc.value() })
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Spill { disk, name, file, room, octets, unsynced, crc } = &mut self.spill;
        let file = match file {
            Some(file) => file,
            None => file.insert(disk.open(&name.path(), Open::Create)?),
        };
        write_all_at(&**file, &mut [IoSlice::new(&self.part)], *room + *octets)?;
        *crc = std::mem::take(crc).add(&self.part);
        *octets += self.part.len() as u64;
        *unsynced += self.part.len() as u64;
        // Synced as it comes: the log's small syncs must not queue behind a large one. Between syncs the disk is kept at it:
        // of many large messages at once each has its unsynced octets.
        if *unsynced >= SPILL_SYNC_OCTETS || self.step == Step::Last {
            file.sync_data()?;
            *unsynced = 0;
        } else {
            let _ = file.drop_cache(); // begins to write; advice, so no message fails for it
        }
        if self.step == Step::Last { disk.sync_dir(Path::new(SPILL)) } else { Ok(()) }
    }
}

/// A message's mail data in a file of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spilled {
    pub(super) name: SpillName,
    /// Octets of the mail data.
    pub(super) octets: u64,
    /// The crc32c of the mail data.
    pub(super) crc: u32,
}

/// Octets of a record's words on a spilled message's file.
pub(super) const SPILLED: usize = 24;

impl Spilled {
    /// Octets of the mail data.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// The file's path below the data directory.
    pub fn path(&self) -> PathBuf {
        self.name.path()
    }

    /// Opens the file under one of its names, for its trace fields to be written. None if its length is not that of the trace fields and the
    /// mail data.
    pub(crate) fn open(
        &self,
        disk: &dyn Disk,
        path: &Path,
        trace: usize,
    ) -> io::Result<Option<Box<dyn File>>> {
        let file = disk.open(path, Open::Write)?;
        Ok((file.size()? == trace as u64 + self.octets).then_some(file))
    }

    /// Whether the mail data in the file is what was written.
    pub(crate) fn is_sound(&self, file: &dyn File, trace: usize) -> io::Result<bool> {
        let mut buffer = vec![0; COMPARE_CHUNK];
        let (mut crc, mut offset) = (Checksum::default(), trace as u64);
        loop {
            let read = read_full_at(file, &mut buffer, offset)?;
            if read == 0 {
                return Ok(crc.value() == self.crc && offset == trace as u64 + self.octets);
            }
            crc = crc.add(&buffer[..read]);
            offset += read as u64;
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(SPILLED);
        octets.extend(self.name.run.to_le_bytes());
        octets.extend(self.name.number.to_le_bytes());
        octets.extend(self.crc.to_le_bytes());
        octets.extend([0; 4]);
        octets
    }

    pub(super) fn decode(encoded: &[u8], octets: u64) -> Option<Spilled> {
        let mut fields = Fields(encoded);
        let name = SpillName { run: fields.u64()?, number: fields.u64()? };
        Some(Spilled { name, octets, crc: fields.u32()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_reads_back_and_others_are_left_alone() {
        let name = SpillName { run: 0x9f3c, number: 7 };
        let path = name.path();
        assert_eq!(path.to_str(), Some("spool/spill/0000000000009f3c-0000000000000007.msg"));
        assert_eq!(SpillName::parse(path.file_name().unwrap().to_str().unwrap()), Some(name));
        for other in ["", "1-2.msg", "0000000000009F3C-0000000000000007.msg", "notes.txt"] {
            assert_eq!(SpillName::parse(other), None, "{other}");
        }
    }

    #[test]
    fn what_a_record_says_of_the_file_reads_back() {
        let spilled = Spilled { name: SpillName { run: 1, number: 2 }, octets: 3, crc: 4 };
        assert_eq!(spilled.encode().len(), SPILLED);
        assert_eq!(Spilled::decode(&spilled.encode(), 3), Some(spilled));
    }
}
