//! One write and one sync for many messages. [`Batch::run`] is the committer's whole work; it knows no order but
//! this: checksums, write, sync. What the outcome means is decided on the loop, by [`Spool::committed`].
//!
//! ```text
//! heads  │ header │ head of 1 │           │ head of 2 │           │ …          encoded on the loop
//! data   │                    │ data of 1 │           │ data of 2 │ …          each where it arrived: never copied
//! tail   │ settlement, if there is one │ zeros up to 4 KiB │
//! ```
//!
//! Sector by sector the batch is new: zeros fill its last page, so the kernel need not read that page first, and no
//! committed sector is ever written again.
//!
//! [`Spool::committed`]: super::Spool::committed

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::header::{Checksum, HEADER, Header, summed};
use super::is_space;
use super::record::{self, IdRange};
use super::spill::{SpillName, Spilled};
use crate::QueueId;
use crate::disk::{File, write_all_at};
use crate::limits::BATCH_SLICES_MAX;
use crate::smtp::Message;

/// Messages of a batch: two slices each, and the tail.
pub(super) const BATCH_MESSAGES_MAX: usize = (BATCH_SLICES_MAX - 1) / 2;

/// An appended message without its head.
pub(super) struct Appended {
    pub id: QueueId,
    /// Octets of its head.
    pub head: usize,
    /// Its data, or what the log says of its file.
    pub data: Vec<u8>,
}

impl Appended {
    /// Octets of the record.
    pub fn octets(&self) -> u64 {
        (self.head + self.data.len()) as u64
    }
}

/// Messages that were appended, in order, and their heads one after the other behind room for a batch's header.
pub(super) struct Waiting {
    heads: Vec<u8>,
    messages: VecDeque<Appended>,
    octets: u64,
    /// An empty buffer for the next heads.
    spare: Vec<u8>,
}

impl Default for Waiting {
    fn default() -> Waiting {
        Waiting { heads: vec![0; HEADER], messages: VecDeque::new(), octets: 0, spare: Vec::new() }
    }
}

impl Waiting {
    pub fn push(&mut self, id: QueueId, arrived: u64, message: Message, spilled: Option<&Spilled>) {
        let before = self.heads.len();
        record::encode_head(&mut self.heads, id, arrived, &message, spilled);
        let data = spilled.map_or(message.data, Spilled::encode);
        let appended = Appended { id, head: self.heads.len() - before, data };
        self.octets += appended.octets();
        self.messages.push_back(appended);
    }

    /// Octets of all the records.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    /// Octets of the first record; none if nothing waits.
    pub fn first(&self) -> Option<u64> {
        self.messages.front().map(Appended::octets)
    }

    /// Takes as many messages as fit `room` octets and one batch, and their heads.
    pub fn take(&mut self, room: u64) -> (Vec<u8>, Vec<Appended>) {
        let (mut count, mut octets, mut heads) = (0, 0, HEADER);
        for message in self.messages.iter().take(BATCH_MESSAGES_MAX) {
            if octets + message.octets() > room {
                break;
            }
            count += 1;
            octets += message.octets();
            heads += message.head;
        }
        self.octets -= octets;
        let mut rest = std::mem::take(&mut self.spare);
        rest.resize(HEADER, 0);
        rest.extend(&self.heads[heads..]);
        self.heads.truncate(heads);
        (std::mem::replace(&mut self.heads, rest), self.messages.drain(..count).collect())
    }

    /// Takes back a buffer for heads.
    pub fn recycle(&mut self, mut heads: Vec<u8>) {
        heads.clear();
        if heads.capacity() <= HEADS_KEPT {
            self.spare = heads;
        }
    }

    /// Gives all of them up.
    pub fn clear(&mut self) -> Vec<QueueId> {
        self.heads.truncate(HEADER);
        self.octets = 0;
        self.messages.drain(..).map(|message| message.id).collect()
    }
}

/// Octets of a buffer for heads that are kept for the next batch: a full batch of messages with few recipients.
const HEADS_KEPT: usize = 512 * 1024;

/// Messages and settlements on their way to the disk together.
pub struct Batch {
    pub(super) file: Arc<dyn File>,
    pub(super) header: Header,
    pub(super) heads: Vec<u8>,
    pub(super) messages: Vec<Appended>,
    /// A settlement, or nothing, and padding.
    pub(super) tail: Vec<u8>,
    /// Octets of the tail without the padding.
    pub(super) settlement: usize,
    /// What the settlement says.
    pub(super) ranges: Vec<IdRange>,
    /// Files of settled messages: nobody needs them once the settlement is durable.
    pub(super) spent: Vec<SpillName>,
}

/// What became of a [`Batch`].
pub struct Committed {
    pub(super) batch: Batch,
    pub(super) result: Result<(), CommitError>,
    /// How long the sync took.
    pub sync: Duration,
}

/// Why a batch was not committed.
#[derive(Debug)]
pub enum CommitError {
    /// It could not be written.
    Write(io::Error),
    /// It was written, and nobody knows whether it is on the disk.
    Sync(io::Error),
}

impl CommitError {
    /// Whether nobody knows what the disk holds. Where there was no space nothing is broken, and nothing was committed.
    pub(super) fn is_fatal(&self) -> bool {
        !matches!(self, CommitError::Write(error) if is_space(error))
    }
}

impl std::fmt::Display for CommitError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CommitError::Write(error) => write!(f, "writing to the spool: {error}"),
            CommitError::Sync(error) => write!(f, "syncing the spool: {error}"),
        }
    }
}

impl std::error::Error for CommitError {}

impl Batch {
    /// Makes the batch durable. Blocks for as long as the disk takes.
    pub fn run(mut self) -> Committed {
        self.seal();
        let written = self.write();
        let start = Instant::now();
        let result = match written {
            Ok(()) => self.file.sync_data().map_err(CommitError::Sync),
            Err(error) if is_space(&error) => Err(self.void(error)),
            Err(error) => Err(CommitError::Write(error)),
        };
        Committed { batch: self, result, sync: start.elapsed() }
    }

    /// Messages in it.
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// Whether it carries settlements alone.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Octets that it will write.
    pub fn octets(&self) -> u64 {
        self.header.end() - self.header.position.offset
    }

    /// Computes the checksums and puts header and heads in their final form.
    fn seal(&mut self) {
        self.heads[..HEADER].copy_from_slice(&self.header.encode());
        let mut sum = Checksum::default().add(summed(&self.heads[..HEADER]));
        let mut rest = &mut self.heads[HEADER..];
        for message in &self.messages {
            let (head, behind) = rest.split_at_mut(message.head);
            record::seal(head, &message.data);
            sum = sum.add(head).add(&message.data);
            rest = behind;
        }
        self.header.crc = sum.add(&self.tail[..self.settlement]).value();
        self.heads[..HEADER].copy_from_slice(&self.header.encode());
    }

    /// Takes back durably what was written before the space was out: perhaps all but some padding, and a batch without it
    /// is whole. Its senders are told to send again and its large messages' files are removed, so it must not come out of
    /// the log at the next start. Where there is no space for this either, not even the header was written.
    fn void(&self, error: io::Error) -> CommitError {
        match write_all_at(&*self.file, &mut [IoSlice::new(&[0; HEADER])], self.header.position.offset) {
            Err(error) if !is_space(&error) => return CommitError::Write(error),
            _ => {}
        }
        match self.file.sync_data() {
            Ok(()) => CommitError::Write(error),
            Err(error) => CommitError::Sync(error),
        }
    }

    fn write(&self) -> io::Result<()> {
        let mut slices = Vec::with_capacity(2 * self.messages.len() + 2);
        let (mut start, mut end) = (0, HEADER);
        for message in &self.messages {
            end += message.head;
            slices.push(IoSlice::new(&self.heads[start..end]));
            slices.push(IoSlice::new(&message.data));
            start = end;
        }
        slices.push(IoSlice::new(&self.heads[start..end])); // the header alone, or nothing
        slices.push(IoSlice::new(&self.tail));
        slices.retain(|slice| !slice.is_empty());
        write_all_at(&*self.file, &mut slices, self.header.position.offset)
    }
}
