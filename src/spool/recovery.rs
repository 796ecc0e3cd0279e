//! What the log holds when the server starts. Starting is recovery: there is no other way to open the spool.
//!
//! 1. Names, then each segment's data are synced (a killed process may have left some in the page cache), cached pages
//!    are dropped: only what the disk really holds counts.
//! 2. The segments are walked in the order of their sequence numbers, each from its start. A batch counts if nonce,
//!    position and checksum are right; it is never searched for inside another. Where none stands, the walk goes on by
//!    steps of 4 KiB, to see whether there is one behind.
//! 3. A break is *damage* if a batch behind it says that there was one that we did not find: the broken range is copied
//!    to `quarantine/`, reported, and what is behind it is recovered. Otherwise the break is the torn end of a run: the
//!    next run began a fresh segment that follows the last sound batch.
//! 4. What lies before the newest head is none of our business, whole or broken.
//!
//! Nothing is written to a segment that holds a batch, so recovery may be killed anywhere and run again. Only its last
//! steps change names: files without a batch are free for use, and one of them becomes the fresh segment.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::committer::Waiting;
use super::header::{Header, Link, Position};
use super::live::{Live, Settles};
use super::record::IdRange;
use super::scan::{Item, Scan, Sight, Window, read_what_can_be};
use super::segment::{self, Name, Segment, Stock};
use super::spill::{SPILL, SpillName};
use super::{Pending, QUARANTINE, SPOOL, Spool, SpoolOptions, is_space};
use crate::QueueId;
use crate::disk::{Disk, File, Open, write_all_at};
use crate::limits::BATCH_ALIGN;

/// What recovery found.
#[derive(Debug, PartialEq, Eq)]
pub struct Recovered {
    /// The messages that wait for delivery, oldest first.
    pub pending: Vec<Pending>,
    /// What there was.
    pub report: Report,
}

/// What there was in the log.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Segment files.
    pub segments: usize,
    /// Octets that were read.
    pub octets: u64,
    /// Batches that were sound.
    pub batches: u64,
    /// Messages in them, settled or not.
    pub messages: u64,
    /// Runs that ended within a write: nothing that was answered for is missing.
    pub torn_ends: usize,
    /// Parts of the log that are lost. Messages may be among them.
    pub damage: Vec<Damage>,
}

/// A part of the log that should hold something sound and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's sequence number.
    pub segment: u64,
    /// Where the broken range begins in it.
    pub offset: u64,
    /// Octets of the broken range; 0 if there is nothing left of it.
    pub octets: u64,
    /// What is wrong with it.
    pub reason: Reason,
    /// Where a copy of it is kept.
    pub copy: Option<PathBuf>,
}

/// Why a place holds no batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Nothing looks like a batch there.
    Blank,
    /// The file is gone, or the place in it never was.
    Missing,
    /// There are traces of a batch, and its header or its checksum is wrong.
    Torn,
    /// The disk can't read it.
    Unreadable,
    /// The checksum is right, and the records make no sense.
    Malformed,
    /// A large message's file is gone.
    NoFile,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.reason {
            Reason::Blank => "no batch is left of those that were",
            Reason::Missing => "batches are missing before",
            Reason::Torn => "a batch is broken",
            Reason::Unreadable => "the disk can't read",
            Reason::Malformed => "a batch makes no sense",
            Reason::NoFile => "the file of a large message is gone",
        };
        let Damage { segment, offset, octets, .. } = self;
        write!(f, "{what}: segment {segment:016x}, {octets} octets at {offset}")?;
        match &self.copy {
            Some(copy) => write!(f, "; a copy is in {}", copy.display()),
            None => Ok(()),
        }
    }
}

/// Why the spool can't be opened.
#[derive(Debug)]
pub enum RecoverError {
    /// The disk refused something.
    Io {
        /// Of which file or directory.
        path: PathBuf,
        /// What it said.
        error: io::Error,
    },
    /// The log was written by a newer server.
    Newer {
        /// The segment's file.
        path: PathBuf,
        /// The version of its format.
        found: u16,
        /// The newest version that we read.
        known: u16,
    },
    /// Two files claim to be the same segment, as when a copy was put beside the original.
    Twice {
        /// One of them.
        one: PathBuf,
        /// The other.
        other: PathBuf,
    },
}

impl fmt::Display for RecoverError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecoverError::Io { path, error } => write!(f, "{}: {error}", path.display()),
            RecoverError::Newer { path, found, known } => write!(
                f,
                "{}: written in version {found} of the spool's format, and this server knows versions up to {known}: \
                 start the newer server",
                path.display()
            ),
            RecoverError::Twice { one, other } => write!(
                f,
                "{} and {}: two files of one segment: move the one that does not belong here elsewhere",
                one.display(),
                other.display()
            ),
        }
    }
}

impl std::error::Error for RecoverError {}

pub(super) fn at<T>(path: &Path, result: io::Result<T>) -> Result<T, RecoverError> {
    result.map_err(|error| RecoverError::Io { path: path.to_owned(), error })
}

/// See [`Spool::recover`].
pub(super) fn recover(
    disk: Arc<dyn Disk>,
    options: SpoolOptions,
) -> Result<(Spool, Recovered), RecoverError> {
    assert!(options.segment_size.is_multiple_of(BATCH_ALIGN) && options.segment_size > BATCH_ALIGN);
    make_directories(&*disk)?;
    let (used, free) = list(&*disk)?;
    let mut walk = Walk::default();
    let mut window = Window::new();
    walk.report.segments = used.len();
    for segment in used {
        walk.segment(&*disk, segment, &mut window)?;
    }
    drop(window);
    walk.end();
    walk.judge_files(&*disk)?;
    for damage in &mut walk.report.damage {
        quarantine(&*disk, &walk.segments, damage)?;
    }
    open(disk, options, walk, free)
}

fn make_directories(disk: &dyn Disk) -> Result<(), RecoverError> {
    for path in [SPOOL, QUARANTINE, SPILL] {
        match disk.create_dir(Path::new(path)) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => at(Path::new(path), Err(error))?,
            _ => {}
        }
    }
    // Also for what an earlier run made and could not sync.
    [".", SPOOL].iter().try_for_each(|path| at(Path::new(path), disk.sync_dir(Path::new(path))))
}

/// The segments by sequence number, and the files that are free.
fn list(disk: &dyn Disk) -> Result<(Vec<Segment>, Vec<Segment>), RecoverError> {
    let (mut used, mut free) = (Vec::new(), Vec::new());
    for file_name in at(Path::new(SPOOL), disk.list(Path::new(SPOOL)))? {
        let path = Path::new(SPOOL).join(&file_name);
        let Some(name) = segment::name(&file_name) else { continue };
        let size = at(&path, disk.open(&path, Open::Read).and_then(|file| file.size()))?;
        let segment = Segment { sequence: 0, nonce: 0, size, prewritten: false, path, file: None };
        match name {
            Name::Free => free.push(segment),
            Name::Used { sequence, nonce } => used.push(Segment { sequence, nonce, ..segment }),
        }
    }
    used.sort_by_key(|segment: &Segment| segment.sequence);
    match used.windows(2).find(|pair| pair[0].sequence == pair[1].sequence) {
        Some(pair) => Err(RecoverError::Twice { one: pair[0].path.clone(), other: pair[1].path.clone() }),
        None => Ok((used, free)),
    }
}

/// The walk over the log: what it has found so far.
#[derive(Default)]
pub(super) struct Walk {
    /// The batch accepted last.
    link: Link,
    /// What that one says of the one before it.
    before: Link,
    head: Position,
    pub pending: VecDeque<Pending>,
    /// Where the batches from the head on begin.
    batches: VecDeque<Position>,
    settled: Vec<IdRange>,
    /// The files of large messages.
    spilled: HashMap<QueueId, SpillName>,
    /// Segments, in order.
    pub segments: Vec<Segment>,
    /// Breaks that reach to the end of a segment and nothing behind has explained yet.
    open: Vec<Damage>,
    /// Segments without a trace of a batch.
    blank: Vec<u64>,
    report: Report,
}

impl Walk {
    /// The next segment, as the disk really holds it.
    fn segment(
        &mut self,
        disk: &dyn Disk,
        mut segment: Segment,
        window: &mut Window,
    ) -> Result<(), RecoverError> {
        let path = &segment.path;
        let file = at(path, disk.open(path, Open::Write))?;
        at(path, file.sync_data())?;
        at(path, file.drop_cache())?;
        segment.size = at(path, file.size())?;
        self.read(&*file, segment, window)
    }

    /// The next segment, as it reads: changes nothing.
    pub fn read(
        &mut self,
        file: &dyn File,
        segment: Segment,
        window: &mut Window,
    ) -> Result<(), RecoverError> {
        let path = &segment.path;
        let mut scan = Scan::new(file, segment.sequence, segment.nonce, segment.size, window);
        let mut offset = 0;
        let mut broken: Option<(u64, Reason)> = None;
        let mut found = false;
        while offset + BATCH_ALIGN <= segment.size {
            match at(path, scan.look(offset))? {
                Sight::Newer(version) => {
                    return Err(RecoverError::Newer {
                        path: path.clone(),
                        found: version,
                        known: super::header::VERSION,
                    });
                }
                Sight::Nothing(reason) => {
                    let (from, worst) = broken.unwrap_or((offset, reason));
                    broken = Some((from, worst.max(reason)));
                    offset += BATCH_ALIGN;
                }
                Sight::Batch(header) => {
                    match broken.take() {
                        Some((from, reason)) => {
                            let range = damage(segment.sequence, from, offset - from, reason);
                            self.report.damage.push(range);
                            self.lost(&header);
                        }
                        None if !self.follows(&header) => self.lost(&header),
                        None => self.explained(),
                    }
                    at(path, self.accept(&header, &mut scan))?;
                    offset = header.end();
                    found = true;
                }
            }
        }
        self.report.octets += segment.size;
        if let Some((from, reason)) = broken {
            self.open.push(damage(segment.sequence, from, segment.size - from, reason));
        }
        if !found && broken.is_none_or(|(_, reason)| reason == Reason::Blank) {
            self.blank.push(segment.sequence);
        }
        self.segments.push(segment);
        Ok(())
    }
}

fn damage(segment: u64, offset: u64, octets: u64, reason: Reason) -> Damage {
    Damage { segment, offset, octets, reason, copy: None }
}

impl Walk {
    /// Whether nothing is missing before a batch: it follows the last one, or stands in its stead. The latter is so when
    /// the last one had all its octets written and then no space for its padding: its messages were put off, and the
    /// next batch went to the next segment.
    fn follows(&self, header: &Header) -> bool {
        header.previous == self.link || header.previous == self.before
    }

    /// The log goes on behind the open ends, and misses nothing: they are where runs ended.
    fn explained(&mut self) {
        let torn = self.open.drain(..).filter(|range| range.reason == Reason::Torn).count();
        self.report.torn_ends += torn;
    }

    /// A batch does not follow the last one that we found: which range should have held those between?
    fn lost(&mut self, header: &Header) {
        let first = self.link == Link::default();
        let named = header.previous.position;
        let mut open = std::mem::take(&mut self.open);
        open.retain(|range| range.reason != Reason::Blank || range.segment == named.segment);
        let explained =
            !open.is_empty() || self.report.damage.last().is_some_and(|last| covers(last, header));
        self.report.damage.append(&mut open);
        // Before the first batch of a log there was none; before the first one that is left may lie what was recycled.
        let log_begins = first && header.previous == Link::default();
        if !explained && !log_begins {
            self.report.damage.push(damage(named.segment, named.offset, 0, Reason::Missing));
        }
    }

    /// Takes up what a batch holds.
    fn accept(&mut self, header: &Header, scan: &mut Scan<'_>) -> io::Result<()> {
        let needs_delivery = header.flags & super::SETTLED_AT_COMMIT == 0;
        let mut messages = 0;
        let pending = &mut self.pending;
        let settled = &mut self.settled;
        let spilled = &mut self.spilled;
        let sound = scan.records(header, |item| match item {
            Item::Message(id, place) => {
                messages += 1;
                if needs_delivery {
                    pending.push_back(Pending { id, place });
                }
            }
            Item::Spilled(id, name) => {
                spilled.insert(id, name);
            }
            Item::Settled(range) => settled.push(range),
        })?;
        let Position { segment, offset } = header.position;
        if !sound {
            self.report.damage.push(damage(segment, offset, header.length, Reason::Malformed));
        }
        self.batches.push_back(header.position);
        self.report.batches += 1;
        self.report.messages += messages;
        (self.link, self.before) = (header.link(), header.previous);
        self.advance(self.head.max(header.head));
        Ok(())
    }

    /// Forgets what is before the head.
    fn advance(&mut self, head: Position) {
        self.head = head;
        while self.batches.front().is_some_and(|position| *position < head) {
            self.batches.pop_front();
        }
        while self.pending.front().is_some_and(|pending| pending.place.position() < head) {
            self.pending.pop_front();
        }
    }

    /// The last segment is read: what is still open is the end of the log.
    pub fn end(&mut self) {
        self.report.damage.extend(self.open.extract_if(.., |range| range.reason == Reason::Unreadable));
        self.explained();
        let head = self.head;
        self.report.damage.retain(|range| {
            let end = Position { segment: range.segment, offset: range.offset + range.octets.max(1) };
            end > head
        });
        let settled = Settled::new(std::mem::take(&mut self.settled));
        self.pending.retain(|pending| !settled.contains(pending.id));
        let pending: HashSet<QueueId> = self.pending.iter().map(|pending| pending.id).collect();
        self.spilled.retain(|id, _| pending.contains(id));
    }

    /// Compares the large messages' files with those that there should be: what is missing is damage, and what nobody
    /// names is removed, as far as that works; unless a record may be lost that named it: then people are to look at it.
    fn judge_files(&mut self, disk: &dyn Disk) -> Result<(), RecoverError> {
        let names = at(Path::new(SPILL), disk.list(Path::new(SPILL)))?;
        let there: HashSet<SpillName> = names.iter().filter_map(|name| SpillName::parse(name)).collect();
        let named: HashSet<SpillName> = self.spilled.values().copied().collect();
        for name in there.difference(&named) {
            let path = name.path();
            let _ = match (&self.report.damage[..], path.file_name()) {
                ([_, ..], Some(name)) => disk.rename(&path, &Path::new(QUARANTINE).join(name)),
                _ => disk.remove(&path),
            };
        }
        for pending in &self.pending {
            if self.spilled.get(&pending.id).is_some_and(|name| !there.contains(name)) {
                let Position { segment, offset } = pending.place.position();
                self.report.damage.push(damage(segment, offset, pending.place.octets, Reason::NoFile));
            }
        }
        Ok(())
    }
}

/// Whether a damaged range is one that the batch `header` comes right behind.
fn covers(range: &Damage, header: &Header) -> bool {
    range.segment == header.position.segment && range.offset + range.octets == header.position.offset
}

/// Ids that are settled: ranges in order, none touching another.
struct Settled(Vec<IdRange>);

impl Settled {
    fn new(mut ranges: Vec<IdRange>) -> Settled {
        ranges.sort_unstable();
        ranges.dedup_by(|next, kept| {
            let joins = next.run == kept.run && next.first <= kept.last.saturating_add(1);
            kept.last = if joins { kept.last.max(next.last) } else { kept.last };
            joins
        });
        Settled(ranges)
    }

    fn contains(&self, id: QueueId) -> bool {
        let behind = self.0.partition_point(|range| (range.run, range.first) <= (id.run, id.counter));
        behind > 0 && self.0[behind - 1].run == id.run && id.counter <= self.0[behind - 1].last
    }
}

/// Copies a broken range to the quarantine, under a name that is the same each time.
fn quarantine(disk: &dyn Disk, segments: &[Segment], damage: &mut Damage) -> Result<(), RecoverError> {
    let source = segments.iter().find(|segment| segment.sequence == damage.segment);
    let Some(source) = source.filter(|_| damage.octets > 0) else { return Ok(()) };
    let broken = at(&source.path, disk.open(&source.path, Open::Read))?;
    let copy = Path::new(QUARANTINE).join(format!("{:016x}-{:016x}.bad", damage.segment, damage.offset));
    let unfinished = copy.with_extension("tmp");
    let _ = disk.remove(&unfinished); // of an earlier recovery; there is none as a rule
    let file = at(&unfinished, disk.open(&unfinished, Open::Create))?;
    let mut buffer = vec![0; COPY];
    let mut done = 0;
    while done < damage.octets {
        let piece = (damage.octets - done).min(COPY as u64) as usize;
        let piece = &mut buffer[..piece];
        piece.fill(0);
        let mut read = at(&source.path, read_what_can_be(&*broken, piece, damage.offset + done))?;
        if read == 0 {
            read = piece.len().min(BATCH_ALIGN as usize); // unreadable: zeros stand for it
        }
        at(&unfinished, write_all_at(&*file, &mut [IoSlice::new(&piece[..read])], done))?;
        done += read as u64;
    }
    at(&unfinished, file.sync_data())?;
    at(&copy, disk.rename(&unfinished, &copy))?;
    at(Path::new(QUARANTINE), disk.sync_dir(Path::new(QUARANTINE)))?;
    damage.copy = Some(copy);
    Ok(())
}

/// Octets copied at once.
const COPY: usize = 1 << 20;

/// Opens the log behind what the walk found: in a fresh segment, so that no tail that was judged is written again.
fn open(
    disk: Arc<dyn Disk>,
    options: SpoolOptions,
    mut walk: Walk,
    free: Vec<Segment>,
) -> Result<(Spool, Recovered), RecoverError> {
    let newest = walk.segments.last().map_or(0, |segment| segment.sequence);
    let newest = newest.max(walk.link.position.segment).max(walk.head.segment);
    let mut stock = Stock::new(Arc::clone(&disk), options.segment_size, newest + 1);
    let is_blank = |segment: &Segment| {
        walk.blank.contains(&segment.sequence)
            && !walk.report.damage.iter().any(|damage| damage.segment == segment.sequence)
    };
    let (blank, kept): (Vec<_>, Vec<_>) = walk.segments.into_iter().partition(is_blank);
    blank.into_iter().chain(free).for_each(|segment| stock.put(segment));

    let mut segments = VecDeque::from(kept);
    let mut end = None;
    match stock.make(options.segment_size, false).run(&*disk) {
        Ok(fresh) => {
            segments.push_back(fresh);
            end = Some(0);
        }
        // Refuse mail, deliver what there is, and try again.
        Err(error) if is_space(&error) => stock.blocked = true,
        Err(error) => return at(Path::new(SPOOL), Err(error)),
    }

    let mut live = Live::default();
    let pending = Vec::from(walk.pending);
    let mut messages = pending.iter().peekable();
    while let Some(position) = walk.batches.pop_front() {
        let next = walk.batches.front();
        let mut unsettled = 0;
        while messages.next_if(|message| next.is_none_or(|next| message.place.position() < *next)).is_some() {
            unsettled += 1;
        }
        live.push(position, unsettled);
    }
    let spool = Spool {
        options,
        run: disk.random(),
        counter: 0,
        durable: 0,
        waiting: Waiting::default(),
        settles: Settles::default(),
        settles_forced: false,
        live,
        segments,
        end,
        link: walk.link,
        stock,
        spills: 0,
        spilled: walk.spilled,
        spent: Vec::new(),
        under_way: false,
        is_short: false,
        failed: false,
    };
    Ok((spool, Recovered { pending, report: walk.report }))
}
