//! Reads one segment as recovery sees it: which batch stands at an offset, if any does.
//!
//! Memory is one window, however large a batch is: checksums are taken in pieces, and of messages only the first octets
//! are looked at.

use std::io;

use super::header::{Checksum, HEADER, Header, Position, VERSION, summed};
use super::record::{IdRange, MESSAGE, Outline, RANGE, SETTLEMENT, decode_range, outline};
use super::spill::{SPILLED, SpillName, Spilled};
use super::{Place, Reason};
use crate::QueueId;
use crate::disk::File;

/// Octets read at once.
const WINDOW: usize = 4 << 20;
/// Octets checked at once.
const PIECE: u64 = 256 * 1024;

/// What stands at an offset.
pub(super) enum Sight {
    /// A batch; its records may be read.
    Batch(Header),
    /// A batch of a format that is newer than ours: this version.
    Newer(u16),
    /// None.
    Nothing(Reason),
}

/// What a batch holds.
pub(super) enum Item {
    Message(QueueId, Place),
    /// The message before has its data in this file.
    Spilled(QueueId, SpillName),
    Settled(IdRange),
}

/// One segment's file and a window on it.
pub(super) struct Scan<'a> {
    file: &'a dyn File,
    sequence: u64,
    nonce: u64,
    size: u64,
    window: &'a mut Window,
}

impl<'a> Scan<'a> {
    pub fn new(file: &'a dyn File, sequence: u64, nonce: u64, size: u64, window: &'a mut Window) -> Scan<'a> {
        window.filled = 0;
        Scan { file, sequence, nonce, size, window }
    }

    /// What stands at `offset`.
    pub fn look(&mut self, offset: u64) -> io::Result<Sight> {
        let Some(octets) = self.octets(offset, HEADER)? else {
            return Ok(Sight::Nothing(Reason::Unreadable));
        };
        let starts = Header::starts_batch(octets);
        let header = Header::decode(octets).expect("these are as many octets as a header has");
        let here = header.position == Position { segment: self.sequence, offset };
        let ours = header.nonce == self.nonce;
        if !(starts && ours && here && (HEADER as u64..=self.size - offset).contains(&header.length)) {
            let traces = ours || starts && here;
            return Ok(Sight::Nothing(if traces { Reason::Torn } else { Reason::Blank }));
        }
        Ok(match self.checksum(&header)? {
            None => Sight::Nothing(Reason::Unreadable),
            Some(crc) if crc != header.crc => Sight::Nothing(Reason::Torn),
            Some(_) if header.version > VERSION => Sight::Newer(header.version),
            Some(_) => Sight::Batch(header),
        })
    }

    fn checksum(&mut self, header: &Header) -> io::Result<Option<u32>> {
        let (start, end) = (header.position.offset, header.position.offset + header.length);
        let Some(octets) = self.octets(start, HEADER)? else { return Ok(None) };
        let mut sum = Checksum::default().add(summed(octets));
        let mut offset = start + HEADER as u64;
        while offset < end {
            let piece = (end - offset).min(PIECE);
            let Some(octets) = self.octets(offset, piece as usize)? else { return Ok(None) };
            sum = sum.add(octets);
            offset += piece;
        }
        Ok(Some(sum.value()))
    }

    /// What a batch holds, in order. False if its records do not add up to it, or can't be read.
    pub fn records(&mut self, header: &Header, mut each: impl FnMut(Item)) -> io::Result<bool> {
        let mut offset = header.position.offset + HEADER as u64;
        let end = header.position.offset + header.length;
        for _ in 0..header.records {
            let left = end - offset;
            let Some(octets) = self.octets(offset, left.min(MESSAGE as u64) as usize)? else {
                return Ok(false);
            };
            let size = match outline(octets) {
                Some(Outline::Message { id, size, is_spilled }) if size <= left => {
                    each(Item::Message(id, Place { segment: self.sequence, offset, octets: size }));
                    if is_spilled {
                        let Some(name) = self.spill_name(offset + size)? else { return Ok(false) };
                        each(Item::Spilled(id, name));
                    }
                    size
                }
                Some(Outline::Settlement { ranges }) => {
                    let size = SETTLEMENT as u64 + RANGE as u64 * u64::from(ranges);
                    if size > left || !self.ranges(offset + SETTLEMENT as u64, ranges, &mut each)? {
                        return Ok(false);
                    }
                    size
                }
                _ => return Ok(false),
            };
            offset += size;
        }
        Ok(offset == end)
    }

    /// The name of the file that a record which ends there tells of.
    fn spill_name(&mut self, end: u64) -> io::Result<Option<SpillName>> {
        let octets = self.octets(end - SPILLED as u64, SPILLED)?;
        Ok(octets.and_then(|octets| Spilled::decode(octets, 0)).map(|spilled| spilled.name))
    }

    fn ranges(&mut self, start: u64, count: u32, each: &mut impl FnMut(Item)) -> io::Result<bool> {
        for index in 0..u64::from(count) {
            let Some(octets) = self.octets(start + index * RANGE as u64, RANGE)? else { return Ok(false) };
            let Some(range) = decode_range(octets) else { return Ok(false) };
            each(Item::Settled(range));
        }
        Ok(true)
    }

    /// Some octets of the file; none if the disk can't read them all, or the file ends before.
    fn octets(&mut self, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        self.window.octets(self.file, offset, count)
    }
}

/// A part of a file in memory.
pub(super) struct Window {
    buffer: Vec<u8>,
    start: u64,
    filled: usize,
}

impl Window {
    pub fn new() -> Window {
        Window { buffer: vec![0; WINDOW], start: 0, filled: 0 }
    }

    fn octets(&mut self, file: &dyn File, offset: u64, count: usize) -> io::Result<Option<&[u8]>> {
        let inside = offset >= self.start && offset + count as u64 <= self.start + self.filled as u64;
        if !inside {
            self.start = offset;
            self.filled = read_what_can_be(file, &mut self.buffer, offset)?;
        }
        let from = (offset - self.start) as usize;
        Ok(self.buffer[..self.filled].get(from..from + count))
    }
}

/// Fills `buffer` from `offset` up to the end of the file or the first page that the disk can't read: at the second
/// attempt either, and on its own.
pub(super) fn read_what_can_be(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    let mut step = buffer.len();
    while filled < buffer.len() {
        let end = buffer.len().min(filled + step);
        match file.read_at(&mut buffer[filled..end], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.raw_os_error() != Some(EIO) => return Err(error),
            Err(_) if step > PAGE => step = PAGE,
            Err(_) => break,
        }
    }
    Ok(filled)
}

/// Octets that are read alone once a larger read failed.
const PAGE: usize = 4096;

/// The disk can't read this sector: that is damage, and the rest may be sound. Other errors say nothing of the disk.
const EIO: i32 = 5;
