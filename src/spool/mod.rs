//! The spool: the durable log of accepted messages, and what a 250 stands on.
//!
//! [`Spool`] is a value of the event loop's: it appends, settles and decides, and does no I/O. Its work leaves as jobs
//! ([`Batch`], [`Prepare`]) that threads run and whose outcome comes back ([`Spool::committed`], [`Spool::prepared`]).
//! [`Spool::recover`] runs before the loop.
//!
//! ```text
//!            head                                             end
//!  segment 7  │       segment 8            segment 9           │         next
//! ┌───────────▼─────┬────────────────────┬─────────────────────▼───┬───────────────────┐
//! │ · · · · · ■ · ■ │ ■ · ■ ■ · · ■ ■ ·  │ ■ ■ ■ ■ ■ · ■ ■ ■       │                   │
//! └─────────────────┴────────────────────┴─────────────────────────┴───────────────────┘
//!  ■ a batch with an unsettled message    · a batch of settlements, or all settled
//! ```
//!
//! A message is *appended* (it has its queue id and waits), then *durable* (its batch is written and synced: now its
//! 250 may go out), then *settled* (delivered, or set aside: the log owes it nothing more). One batch is under way at
//! a time; what comes meanwhile goes together into the next. What a crash leaves at each step:
//!
//! | Crash | The next start finds |
//! | --- | --- |
//! | before the write | the log as it was |
//! | during the write or the sync | the batch, whole, or a torn end that no checksum fits and nothing follows |
//! | after the sync | the batch |
//! | after `settle`, before that settlement is durable | the message, unsettled: it is delivered again |
//! | while a segment is made or recycled | a free file, or a segment without a batch |
//! | during recovery | what the recovery found, again |
//!
//! A large message never enters the log: its data is [spilled](spill) to a file of its own, durable before the log's
//! record names it, and removed when its settlement is durable.
//!
//! A segment is used again only behind a durable head: when a batch is on disk whose header says that the log begins
//! later. The bound on the log's size is strict for `append` and soft by one segment for what was appended already and
//! for settlements, since a full log that could not settle would stay full.

mod committer;
mod header;
pub mod held;
mod inspection;
mod live;
pub mod orders;
mod record;
mod recovery;
mod scan;
mod segment;
mod spill;
mod summary;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::QueueId;
use crate::disk::{Disk, Open, read_full_at};
use crate::limits::{SEGMENT_SIZE, SETTLE_DELAY_MS, SPOOL_SIZE_DEFAULT};
use crate::smtp::Message;

pub use committer::{Batch, CommitError, Committed};
pub use inspection::inspect;
pub use recovery::{Damage, Reason, RecoverError, Recovered, Report};
pub use segment::{Prepare, Prepared};
pub use spill::{Spill, SpillDone, SpillJob, Spilled};
pub use summary::Summary;

use committer::Waiting;
use header::{HEADER, Header, Link, Position, SETTLED_AT_COMMIT, VERSION, align};
use live::{Live, Settles};
use record::{RANGE, SETTLEMENT};
use segment::{Segment, Stock};
use spill::{SPILLED, SpillName};

/// The spool's directory.
pub(crate) const SPOOL: &str = "spool";
/// Where broken parts of the log are kept.
pub const QUARANTINE: &str = "spool/quarantine";

/// What the operator chose for the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolOptions {
    /// Octets that the log may have.
    pub spool_size: u64,
    /// Octets of a segment; a multiple of [`BATCH_ALIGN`](crate::limits::BATCH_ALIGN).
    pub segment_size: u64,
    /// Whether accepting is all that is done with a message: then it needs no settlement and no delivery.
    pub settled_at_commit: bool,
}

impl Default for SpoolOptions {
    fn default() -> SpoolOptions {
        SpoolOptions { spool_size: SPOOL_SIZE_DEFAULT, segment_size: SEGMENT_SIZE, settled_at_commit: false }
    }
}

/// Where the log holds a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    segment: u64,
    offset: u64,
    octets: u64,
}

impl Place {
    /// Octets of the message with its envelope and trace.
    pub fn octets(&self) -> u64 {
        self.octets
    }

    fn position(&self) -> Position {
        Position { segment: self.segment, offset: self.offset }
    }
}

/// A message that is durable now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Durable {
    /// Its name.
    pub id: QueueId,
    /// Where the courier finds it.
    pub place: Place,
    /// Octets of its data, which memory holds no more.
    pub octets: u64,
}

/// A durable message of an earlier run that is not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pending {
    /// Its name.
    pub id: QueueId,
    /// Where the courier finds it.
    pub place: Place,
}

/// The log has no room, or the disk has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Full;

/// A batch was not committed.
#[derive(Debug)]
pub struct CommitFailed {
    /// The messages that are not accepted: those of the batch, and if this is the end those behind it.
    pub ids: Vec<QueueId>,
    /// Why.
    pub error: CommitError,
    /// Whether the spool is at its end: what the disk holds is unknown, and only a recovery can say. If not, there
    /// was no space, nothing was committed, and service goes on.
    pub fatal: bool,
}

/// No next segment could be made ready. It is tried again; see [`Spool::next_ms`].
#[derive(Debug)]
pub struct PrepareFailed {
    /// The messages that are not accepted, since nothing has room for them.
    pub ids: Vec<QueueId>,
    /// Why.
    pub error: io::Error,
}

/// The log, as the event loop sees it.
pub struct Spool {
    options: SpoolOptions,
    run: u64,
    /// Of the message appended last.
    counter: u64,
    durable: u64,
    waiting: Waiting,
    settles: Settles,
    /// Settlements need not wait for their delay.
    settles_forced: bool,
    live: Live,
    /// The log's segments, oldest first; batches go to the last one.
    segments: VecDeque<Segment>,
    /// Where the next batch goes in the last segment; none if that is not ours to write.
    end: Option<u64>,
    /// The batch committed last.
    link: Link,
    stock: Stock,
    /// Files begun by this run.
    spills: u64,
    /// The files of the messages that are not settled.
    spilled: HashMap<QueueId, SpillName>,
    /// Files of messages whose settlement is not in the log yet.
    spent: Vec<SpillName>,
    under_way: bool,
    /// The last batch found no space on the disk.
    is_short: bool,
    failed: bool,
}

impl Spool {
    /// Reads what the log of earlier runs holds and opens a fresh segment behind it. Blocks; before the loop.
    pub fn recover(disk: Arc<dyn Disk>, options: SpoolOptions) -> Result<(Spool, Recovered), RecoverError> {
        recovery::recover(disk, options)
    }

    /// The id that the next appended message will have.
    pub fn next_id(&self) -> QueueId {
        QueueId { run: self.run, counter: self.counter + 1 }
    }

    /// The counter of the newest durable message of this run: up to it all are durable but those that
    /// [`committed`](Spool::committed) or [`prepared`](Spool::prepared) gave back before.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether the spool came to its end, by an error that only a new start can judge.
    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Whether nothing is under way and nothing could be: all is committed, or there is no room for what is not.
    pub fn is_idle(&self) -> bool {
        let is_settling = !self.settles.ranges().is_empty() && !self.is_short;
        let is_waiting = self.waiting.first().is_some() || is_settling;
        self.failed || !self.under_way && (!is_waiting || self.stock.wanted.is_some())
    }

    /// Whether no message waits to be durable, or there is no room for those that do.
    pub fn is_committed(&self) -> bool {
        self.failed || !self.under_way && (self.waiting.first().is_none() || self.stock.wanted.is_some())
    }

    /// Appends a message that arrived at `arrived` (seconds since 1970). It becomes durable by the jobs that
    /// [`submit`](Spool::submit) gives. Its id is the one that [`next_id`](Spool::next_id) said.
    pub fn append(&mut self, message: Message, arrived: u64) -> Result<QueueId, Full> {
        if !self.has_room_for(record::size(&message, message.data.len())) {
            return Err(Full);
        }
        let id = self.next_id();
        self.counter = id.counter;
        self.waiting.push(id, arrived, message, None);
        Ok(id)
    }

    /// Begins the file of a large message, with room for so many octets of trace fields. It ends in
    /// [`append_spilled`](Spool::append_spilled) or [`give_up`](Spool::give_up).
    pub fn spill(&mut self, room: u64) -> Spill {
        self.spills += 1;
        let name = SpillName { run: self.run, number: self.spills };
        Spill::new(Arc::clone(self.stock.disk()), name, room)
    }

    /// As [`append`](Spool::append), for a message whose data is in its file; its trace fields fill their room there.
    pub fn append_spilled(
        &mut self,
        message: Message,
        arrived: u64,
        spilled: Spilled,
    ) -> Result<QueueId, Full> {
        if !self.has_room_for(record::size(&message, SPILLED)) {
            self.give_up_spilled(spilled);
            return Err(Full);
        }
        let id = self.next_id();
        self.counter = id.counter;
        self.spilled.insert(id, spilled.name);
        self.waiting.push(id, arrived, message, Some(&spilled));
        Ok(id)
    }

    /// The message is not to be: its file goes.
    pub fn give_up(&mut self, spill: Spill) {
        self.stock.remove(spill.name().path());
    }

    /// As [`give_up`](Spool::give_up), once the file is complete.
    pub fn give_up_spilled(&mut self, spilled: Spilled) {
        self.stock.remove(spilled.path());
    }

    /// A durable message needs nothing more. Once per message.
    pub fn settle(&mut self, id: QueueId, place: Place) {
        self.live.settle(&place);
        self.settles.push(id);
        self.spent.extend(self.spilled.remove(&id));
    }

    /// Settlements that wait go with the next [`submit`](Spool::submit), however young, unless the last batch found no
    /// space: then they are tried once a [`SETTLE_DELAY_MS`].
    pub fn submit_settles(&mut self) {
        self.settles_forced = true;
    }

    /// What there is to commit, as a job for the committer; its outcome goes to [`committed`](Spool::committed).
    /// None while a batch is under way, or while what waits needs a segment that is not ready.
    pub fn submit(&mut self, now_ms: u64) -> Option<Batch> {
        if self.failed || self.under_way {
            return None;
        }
        let settles_due = self.settles_due(now_ms);
        let first = self.waiting.first();
        if first.is_none() && !settles_due {
            return None;
        }
        let offset = self.find_room(first)?;
        self.under_way = true;
        Some(self.batch(offset))
    }

    /// Whether a batch is due although no message waits: for settlements, or to say that the log begins later.
    fn settles_due(&mut self, now_ms: u64) -> bool {
        if self.is_head_behind() {
            self.settles.notice(now_ms);
        }
        let since_ms = self.settles.since_ms(now_ms);
        let is_forced = self.settles_forced && !self.is_short;
        since_ms.is_some_and(|since_ms| is_forced || now_ms >= since_ms + SETTLE_DELAY_MS)
    }

    /// Whether nothing is unsettled, and segments wait for a head that passes them: a recovery may find it so. Where they
    /// fill the log no message would come and bring that head.
    fn is_head_behind(&self) -> bool {
        self.live.head().is_none() && self.segments.len() > 1
    }

    /// Finds where a batch with at least one message of `first` octets goes, or settlements alone; moves to the next
    /// segment for it. If there is no room, remembers what is wanted.
    fn find_room(&mut self, first: Option<u64>) -> Option<u64> {
        let needed = HEADER as u64 + self.settlement() + first.unwrap_or(0);
        let needed_of_next = needed + self.reserve_size();
        if let Some(next) = self.stock.next.take_if(|next| {
            let last = self.segments.back();
            let better = next.prewritten && last.is_some_and(|last| !last.prewritten);
            next.size >= needed_of_next && (better || rest(last, self.end) < needed)
        }) {
            if let Some(last) = self.segments.back_mut() {
                last.file = None;
            }
            self.segments.push_back(next);
            self.end = Some(0);
        }
        let reserve = if first.is_some() { self.reserve() } else { 0 };
        if rest(self.segments.back(), self.end) < needed + reserve {
            self.stock.wanted = Some(needed_of_next);
            return None;
        }
        self.stock.wanted = None;
        self.end
    }

    fn batch(&mut self, offset: u64) -> Batch {
        let settlement = self.settlement();
        let reserve = self.reserve();
        let segment = self.segments.back().expect("find_room found room in the last segment");
        let position = Position { segment: segment.sequence, offset };
        let room = (segment.size - offset).saturating_sub(HEADER as u64 + settlement + reserve);
        let (heads, messages) = self.waiting.take(room);
        let mut tail = Vec::new();
        if settlement > 0 {
            tail = record::encode_settlement(self.settles.ranges());
        }
        let data: usize = messages.iter().map(|message| message.data.len()).sum();
        let length = (heads.len() + data) as u64 + settlement;
        tail.resize((settlement + align(length) - length) as usize, 0);
        let header = Header {
            version: VERSION,
            flags: if self.options.settled_at_commit { SETTLED_AT_COMMIT } else { 0 },
            records: messages.len() as u32 + u32::from(settlement > 0),
            nonce: segment.nonce,
            position,
            length,
            previous: self.link,
            head: self.live.head().unwrap_or(position),
            crc: 0, // the committer's
        };
        debug_assert!(header.end() <= segment.size);
        let file = segment.file.clone().expect("the segment that batches go to is open");
        self.settles_forced = false;
        Batch {
            file,
            header,
            heads,
            messages,
            tail,
            settlement: settlement as usize,
            ranges: self.settles.take(),
            spent: std::mem::take(&mut self.spent),
        }
    }

    /// What became of the batch under way. On success the watermark has moved, and these messages are durable.
    pub fn committed(&mut self, committed: Committed) -> Result<Vec<Durable>, CommitFailed> {
        let Committed { batch, result, sync: _ } = committed;
        self.under_way = false;
        self.is_short = matches!(&result, Err(error) if !error.is_fatal());
        match result {
            Ok(()) => Ok(self.succeeded(batch)),
            Err(error) => Err(self.commit_failed(batch, error)),
        }
    }

    fn succeeded(&mut self, batch: Batch) -> Vec<Durable> {
        let Batch { header, heads, messages, spent, .. } = batch;
        let position = header.position;
        self.end = Some(header.end());
        self.link = header.link();
        let unsettled = if self.options.settled_at_commit { 0 } else { messages.len() };
        self.live.push(position, unsettled as u32);
        let mut offset = position.offset + HEADER as u64;
        let durable: Vec<Durable> = messages
            .iter()
            .map(|message| {
                let octets = message.octets();
                let place = Place { segment: position.segment, offset, octets };
                offset += octets;
                Durable { id: message.id, place, octets: message.data.len() as u64 }
            })
            .collect();
        if let Some(last) = durable.last() {
            assert!(last.id.counter > self.durable, "the watermark only rises");
            self.durable = last.id.counter;
        }
        if self.options.settled_at_commit && !self.spilled.is_empty() {
            self.drop_files(messages.iter().map(|message| message.id));
        }
        spent.into_iter().for_each(|name| self.stock.remove(name.path()));
        self.waiting.recycle(heads);
        self.recycle_before(header.head);
        durable
    }

    /// Has the files of messages removed that nobody will ask for.
    fn drop_files(&mut self, ids: impl Iterator<Item = QueueId>) {
        for name in ids.filter_map(|id| self.spilled.remove(&id)) {
            self.stock.remove(name.path());
        }
    }

    /// Gives up the segments that a durable head has passed.
    fn recycle_before(&mut self, head: Position) {
        let passed = self.segments.partition_point(|segment| segment.sequence < head.segment);
        self.segments.drain(..passed).for_each(|segment| self.stock.put(segment));
    }

    fn commit_failed(&mut self, batch: Batch, error: CommitError) -> CommitFailed {
        let fatal = error.is_fatal();
        let mut ids: Vec<QueueId> = batch.messages.iter().map(|message| message.id).collect();
        if fatal {
            self.failed = true;
            ids.extend(self.waiting.clear());
        } else {
            self.settles.keep(batch.ranges);
            self.spent.extend(batch.spent);
            self.drop_files(ids.iter().copied());
        }
        CommitFailed { ids, error, fatal }
    }

    /// The job that makes the next segment ready, when one is due. Its outcome goes to
    /// [`prepared`](Spool::prepared). None while one is under way.
    pub fn prepare(&mut self, now_ms: u64) -> Option<Prepare> {
        let may_grow = self.log_octets() + self.options.segment_size <= self.options.spool_size;
        if self.failed { None } else { self.stock.prepare(now_ms, may_grow) }
    }

    /// What became of the job under way.
    pub fn prepared(&mut self, prepared: Prepared, now_ms: u64) -> Result<(), PrepareFailed> {
        self.stock.prepared(prepared, now_ms).map_err(|error| {
            let no_room = self.stock.wanted.take().is_some();
            let ids = if no_room { self.waiting.clear() } else { Vec::new() };
            self.drop_files(ids.iter().copied());
            PrepareFailed { ids, error }
        })
    }

    /// When the spool wants a turn although nothing else happens: for settlements that wait, for files that are to go, or
    /// to try again.
    pub fn next_ms(&self) -> Option<u64> {
        let busy = self.failed || self.under_way || self.stock.wanted.is_some();
        let settles = self.settles.noticed_ms().filter(|_| !busy).map(|since_ms| since_ms + SETTLE_DELAY_MS);
        let retry = self.stock.retry_ms.filter(|_| !self.failed);
        let removal = self.stock.has_removals().then_some(0).filter(|_| !self.failed);
        settles.into_iter().chain(retry).chain(removal).min()
    }

    /// Where to read a message that is not settled.
    pub fn locate(&self, place: &Place) -> Source {
        let index = self.segments.partition_point(|segment| segment.sequence < place.segment);
        let segment = self.segments.get(index).filter(|segment| segment.sequence == place.segment);
        let segment = segment.expect("a segment stays as long as a message in it is not settled");
        let disk = Arc::clone(self.stock.disk());
        Source { disk, path: segment.path.clone(), offset: place.offset, octets: place.octets }
    }

    /// Octets of the settlement that the next batch carries.
    fn settlement(&self) -> u64 {
        match self.settles.ranges().len() {
            0 => 0,
            ranges => (SETTLEMENT + RANGE * ranges) as u64,
        }
    }

    /// Octets at the end of the last segment that are left to settlements, as long as no next one is ready: on a full
    /// disk they are what makes a segment free again.
    fn reserve(&self) -> u64 {
        if self.stock.next.is_some() { 0 } else { self.reserve_size() }
    }

    fn reserve_size(&self) -> u64 {
        align(self.options.segment_size / 64)
    }

    /// Whether `octets` more can be appended: what waits and this fit the rest of the last segment, the next one, and
    /// those that the log may still have.
    pub fn has_room_for(&self, octets: u64) -> bool {
        let log = self.log_octets();
        if self.failed || log > self.options.spool_size {
            return false;
        }
        let needed = align(HEADER as u64 + self.waiting.octets() + octets);
        let next = self.stock.next.as_ref().map_or(0, |next| next.size);
        let here = rest(self.segments.back(), self.end).saturating_sub(self.reserve()) + next;
        if needed <= here {
            return true;
        }
        let segment_size = self.options.segment_size;
        let further = (self.options.spool_size - log) / segment_size * segment_size;
        !self.stock.blocked && needed <= here + further
    }

    /// Octets of the log's segments and the next one.
    fn log_octets(&self) -> u64 {
        self.segments.iter().chain(&self.stock.next).map(|segment| segment.size).sum()
    }
}

/// Octets behind `end` in the last segment.
fn rest(last: Option<&Segment>, end: Option<u64>) -> u64 {
    last.zip(end).map_or(0, |(last, end)| last.size - end)
}

/// Whether an error says that there is no space: then nothing is broken.
fn is_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Where to read a message back.
pub struct Source {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    offset: u64,
    octets: u64,
}

/// A message read back from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its name.
    pub id: QueueId,
    /// When it arrived, in seconds since 1970.
    pub arrived: u64,
    /// Itself, with its trace. Without its data, if that was spilled.
    pub message: Message,
    /// Where its data is then.
    pub spilled: Option<Spilled>,
}

/// Why a message could not be read back.
#[derive(Debug)]
pub enum ReadError {
    /// The disk said so.
    Io(io::Error),
    /// What was read is not what was written.
    Damaged,
}

impl std::fmt::Display for ReadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReadError::Io(error) => write!(f, "reading from the spool: {error}"),
            ReadError::Damaged => f.write_str("reading from the spool: the message is damaged"),
        }
    }
}

impl std::error::Error for ReadError {}

impl Source {
    /// Reads the message; for the courier. Its checksum was checked.
    pub fn read(&self) -> Result<Stored, ReadError> {
        record::decode_message(self.octets()?).ok_or(ReadError::Damaged)
    }

    /// The octets of the record, damaged as they may be: as many as the disk gives.
    pub fn octets(&self) -> Result<Vec<u8>, ReadError> {
        let mut record = vec![0; self.octets as usize];
        let file = self.disk.open(&self.path, Open::Read).map_err(ReadError::Io)?;
        let read = read_full_at(&*file, &mut record, self.offset).map_err(ReadError::Io)?;
        record.truncate(read);
        Ok(record)
    }

    /// What the message is, without its content being read, or its checksum checked.
    pub fn summary(&self) -> Result<Summary, ReadError> {
        let file = self.disk.open(&self.path, Open::Read).map_err(ReadError::Io)?;
        summary::read(&*file, self.offset)
    }
}
