//! The courier: delivers accepted messages into Maildirs, as a function from job to completion.
//!
//! ```text
//! job n     write into tmp/ ──▶ sync ──▶ link and rename into new/ ──▶ wait
//!                                │                                      │
//! job n+1   write into tmp/ ──▶ sync ◀── makes those names durable ◀────┘ ──▶ settled
//! ```
//!
//! One sync for a whole job and none per file: it makes the data of this job durable before any name in `new/` shows
//! it, and the names that the job before gave. A crash at any instant therefore leaves whole files in `new/`, perhaps
//! some in `tmp/`, and what was not settled is delivered again: [`Delivery::again`] then looks before it writes.
//!
//! A worker calls [`Courier::run`]; no thread, no channel and no retry is here. An error costs the message it belongs
//! to, or, if the sync failed, all that were not settled: they come back to be sent again. Never panics for the disk.
//! What becomes of mail whose mailboxes do not take it stands in `courier/aside.rs`.

mod aside;

use std::collections::HashSet;
use std::fmt;
use std::io::{self, IoSlice};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::disk::{Disk, File, is_shortage, write_all_at};
use crate::mailbox::{BaseName, Content, Delivered, MailboxPath, Maildirs, Place};
use crate::queue_id::QueueId;
use crate::smtp::Message;
use crate::spool::held::HeldError;
use crate::spool::{self, held};

/// Messages to deliver: at most [`DELIVERY_BATCH_MAX`](crate::limits::DELIVERY_BATCH_MAX), and none twice. Without any,
/// the job is a flush: it makes the names of the job before durable, so that they settle.
#[derive(Default)]
pub struct DeliveryJob {
    /// What to deliver.
    pub deliveries: Vec<Delivery>,
    /// When the job was given, in Unix seconds: held mail says since when it is.
    pub given: u64,
    /// Whether to look for what the operator asks of held mail.
    pub look: bool,
}

/// A message to deliver to the mailboxes of all its recipients.
pub struct Delivery {
    /// Its queue id, which names its file.
    pub id: QueueId,
    /// Where it is.
    pub load: Load,
    /// Whether it may have been delivered before, wholly or in part: after a restart, or when it came back.
    pub again: bool,
    /// The mailboxes that remain, in order, if others have taken it; none for all of its recipients'.
    pub only: Option<Arc<[MailboxPath]>>,
    /// Whether the message is set aside if its mailboxes do not take it, or it cannot be read: the log waits no longer.
    pub last: bool,
}

/// Where a message is.
pub enum Load {
    /// In memory, and it arrived then (Unix seconds).
    Memory {
        /// Envelope and content.
        message: Message,
        /// Unix seconds.
        arrived: u64,
    },
    /// In the spool; read when its turn comes, and kept no longer than for writing.
    Spool(spool::Source),
    /// Held, in the file of its id.
    Held,
}

/// What became of the messages of a job, and of those that waited for it.
///
/// Each message handed in comes out once, by this job or a later one: `settled`, `released`, `held`, `quarantined`,
/// `removed`, `retry` or `failed`.
#[derive(Default)]
pub struct DeliveryDone {
    /// Delivered, and durably so: these need not be remembered.
    pub settled: Vec<QueueId>,
    /// Held, and delivered after all, durably; their files are removed.
    pub released: Vec<QueueId>,
    /// Set aside durably, and why: the log owes them nothing more, and they are to be tried again now and then.
    pub held: Vec<(QueueId, DeliveryError)>,
    /// Damaged, and set aside for people to look at, not to be tried again.
    pub quarantined: Vec<QueueId>,
    /// Held, and gone or removed now, because the operator wants it so. May name a message that is out, or was named
    /// before.
    pub removed: Vec<QueueId>,
    /// Held messages that the operator wants tried now.
    pub asked: Vec<QueueId>,
    /// To be sent again after a pause, [`again`](Delivery::again) set already: the sync failed.
    pub retry: Vec<Delivery>,
    /// Why, if the sync failed.
    pub sync_error: Option<io::Error>,
    /// Not delivered to all their mailboxes, and why; to be sent again, [`again`](Delivery::again) and
    /// [`only`](Delivery::only) set already. Mailboxes that are not in there have the message, durably.
    pub failed: Vec<(Delivery, DeliveryError)>,
    /// Files written, a message for several mailboxes counted once.
    pub files: u64,
    /// Octets of them.
    pub octets: u64,
    /// How long the sync took; zero if there was none.
    pub sync_duration: Duration,
}

/// Why a message was not delivered to all its mailboxes.
#[derive(Debug)]
pub enum DeliveryError {
    /// It could not be read from the log.
    Spool(spool::ReadError),
    /// It is held, and could not be read.
    Held(held::HeldError),
    /// These mailboxes did not take it.
    Mailboxes(Vec<(MailboxPath, io::Error)>),
    /// Its file beside the log cannot be written or removed.
    Aside(io::Error),
}

impl DeliveryError {
    /// Whether it says something of the message or a mailbox. What it says of the machine (no space, no descriptors, a
    /// disk that does not read) is no reason to set a message aside.
    pub fn counts(&self) -> bool {
        match self {
            DeliveryError::Spool(error) => matches!(error, spool::ReadError::Damaged),
            DeliveryError::Mailboxes(mailboxes) => mailboxes.iter().any(|(_, error)| !is_shortage(error)),
            DeliveryError::Held(_) | DeliveryError::Aside(_) => false,
        }
    }
}

impl fmt::Display for DeliveryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeliveryError::Spool(error) => write!(f, "the message cannot be delivered: {error}"),
            DeliveryError::Held(error) => write!(f, "the message cannot be delivered: {error}"),
            DeliveryError::Aside(error) => write!(f, "the message cannot be set aside or let go: {error}"),
            DeliveryError::Mailboxes(mailboxes) => {
                for (at, (mailbox, error)) in mailboxes.iter().enumerate() {
                    write!(f, "{}{mailbox}: {error}", if at == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

/// What goes into a Maildir: a message, and its data's file if it has one.
struct Letter<'a> {
    message: &'a Message,
    large: Option<&'a Large>,
}

/// A large message's file, whole: it needs names only.
struct Large {
    path: PathBuf,
    /// Octets of the mail data.
    octets: u64,
    file: Box<dyn File>,
}

/// Delivers, job after job.
pub struct Courier {
    disk: Arc<dyn Disk>,
    maildirs: Maildirs,
    sync: bool,
    /// When the job under way was given, in Unix seconds.
    given: u64,
    /// Done by the job before, by names that are not durable yet. At most one job's.
    waiting: Vec<Waiting>,
}

/// A message whose file lies in `tmp/` of its first place, if it has any.
struct Written {
    delivery: Delivery,
    /// Where it is to appear; not where it is already.
    places: Vec<Place>,
    /// Mailboxes that it could not get into.
    failures: Vec<(MailboxPath, io::Error)>,
    /// How many mailboxes it was meant for.
    mailboxes: usize,
}

/// A message that has names which are not durable yet, and what it comes to when they are.
struct Waiting {
    delivery: Delivery,
    then: Then,
}

enum Then {
    /// All its mailboxes have it.
    Delivered,
    /// Some have it; these, or all that it was meant for, do not.
    Failed(Option<Arc<[MailboxPath]>>, DeliveryError),
    /// It has a file beside the log, for the mailboxes that do not have it.
    Held(DeliveryError),
    /// Its octets lie in the quarantine.
    Quarantined,
}

impl Courier {
    /// A courier for the Maildirs on `disk`, on which nobody else may call `sync_all`: whoever asks first is told of an
    /// error, and nobody after. Without `sync` (`--durability none`) messages settle as soon as they have
    /// their names.
    pub fn new(disk: Arc<dyn Disk>, sync: bool) -> Courier {
        Courier { maildirs: Maildirs::new(disk.clone()), disk, sync, given: 0, waiting: Vec::new() }
    }

    /// Delivers the messages of a job.
    pub fn run(&mut self, job: DeliveryJob) -> DeliveryDone {
        let mut done = DeliveryDone::default();
        self.given = job.given;
        if job.look {
            self.take_orders(&mut done);
        }
        let batch = self.write_all(job.deliveries, &mut done);
        if self.sync && !(batch.is_empty() && self.waiting.is_empty()) {
            let begun = Instant::now();
            let synced = self.disk.sync_all();
            done.sync_duration = begun.elapsed();
            if let Err(error) = synced {
                self.take_back(batch, &mut done);
                done.sync_error = Some(error);
                return done;
            }
        }
        self.conclude(&mut done);
        for written in batch {
            self.publish(written, &mut done);
        }
        if !self.sync {
            self.conclude(&mut done);
        }
        done
    }

    /// Writes each message into `tmp/`.
    fn write_all(&mut self, deliveries: Vec<Delivery>, done: &mut DeliveryDone) -> Vec<Written> {
        let again: HashSet<QueueId> = deliveries.iter().filter(|d| d.again).map(|d| d.id).collect();
        let mut delivered = Delivered::new(again);
        let mut batch = Vec::with_capacity(deliveries.len());
        for delivery in deliveries {
            let stored;
            let (message, arrived, large) = match &delivery.load {
                Load::Memory { message, arrived } => (message, *arrived, None),
                Load::Spool(source) => match self.read(source, &delivery) {
                    Ok((read, large)) => {
                        stored = read;
                        (&stored.message, stored.arrived, large)
                    }
                    Err(error) => {
                        self.fall_short(delivery, None, DeliveryError::Spool(error), false, done);
                        continue;
                    }
                },
                Load::Held => match self.read_held(delivery.id) {
                    Ok((read, large)) => {
                        stored = read;
                        (&stored.message, stored.arrived, large)
                    }
                    Err(error) => {
                        self.unreadable(delivery, error, done);
                        continue;
                    }
                },
            };
            let content = Letter { message, large: large.as_ref() };
            let base = BaseName::new(arrived, delivery.id);
            let looked_for = delivery.again.then_some(&mut delivered);
            let mailboxes = mailboxes(message, delivery.only.as_deref());
            let (mut places, mut failures) = self.places(&content, &mailboxes, base, looked_for);
            self.write_one(&content, &mut places, &mut failures, done);
            batch.push(Written { delivery, places, failures, mailboxes: mailboxes.len() });
        }
        batch
    }

    /// Reads a message back from the log, and opens its file if it has one: this then begins with the trace fields.
    fn read(
        &self,
        source: &spool::Source,
        delivery: &Delivery,
    ) -> Result<(spool::Stored, Option<Large>), spool::ReadError> {
        let stored = source.read()?;
        if stored.id != delivery.id {
            // Another message in this one's place is damage too: nobody else's mail goes out under this id.
            return Err(spool::ReadError::Damaged);
        }
        let large = match stored.spilled {
            None => None,
            Some(spilled) => {
                Some(self.open_large(spilled, spilled.path(), &stored.message.trace, delivery.again)?)
            }
        };
        Ok((stored, large))
    }

    fn read_held(&self, id: QueueId) -> Result<(spool::Stored, Option<Large>), HeldError> {
        let stored = held::read(&*self.disk, id)?.stored;
        let large = match stored.spilled {
            None => None,
            Some(spilled) => {
                let large = self.open_large(spilled, held::data_path(id), &stored.message.trace, true);
                Some(large.map_err(|error| match error {
                    spool::ReadError::Io(error) => HeldError::Io(error),
                    spool::ReadError::Damaged => HeldError::Damaged,
                })?)
            }
        };
        Ok((stored, large))
    }

    fn open_large(
        &self,
        spilled: spool::Spilled,
        path: PathBuf,
        trace: &[u8],
        again: bool,
    ) -> Result<Large, spool::ReadError> {
        let opened = match spilled.open(&*self.disk, &path, trace.len()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            opened => opened.map_err(spool::ReadError::Io)?,
        };
        let file = opened.ok_or(spool::ReadError::Damaged)?;
        // What this run wrote it need not doubt; what an earlier one left may have lain on the disk for long.
        if again && !spilled.is_sound(&*file, trace.len()).map_err(spool::ReadError::Io)? {
            return Err(spool::ReadError::Damaged);
        }
        write_all_at(&*file, &mut [IoSlice::new(trace)], 0).map_err(spool::ReadError::Io)?;
        Ok(Large { path, octets: spilled.octets(), file })
    }

    /// Where a message is to go: its mailboxes, made if need be. Not where it is, if it is `looked_for`.
    fn places(
        &mut self,
        letter: &Letter<'_>,
        mailboxes: &[MailboxPath],
        base: BaseName,
        mut looked_for: Option<&mut Delivered>,
    ) -> (Vec<Place>, Vec<(MailboxPath, io::Error)>) {
        let (mut places, mut failures) = (Vec::new(), Vec::new());
        let message = letter.message;
        for mailbox in mailboxes {
            let place = self.maildirs.make(mailbox).and_then(|()| match &mut looked_for {
                Some(delivered) => {
                    let pieces: [&[u8]; 2] = [&message.trace, &message.data];
                    let content = match letter.large {
                        None => Content::Pieces(&pieces),
                        Some(large) => Content::File(&*large.file),
                    };
                    self.maildirs.place(mailbox, base, &content, delivered)
                }
                None => Ok(Some(Place { mailbox: mailbox.clone(), base })),
            });
            match place {
                Ok(place) => places.extend(place),
                Err(error) => failures.push((mailbox.clone(), error)),
            }
        }
        (places, failures)
    }

    /// Writes a message's one file, or gives it a name, in the first of its places that takes it; those before are out.
    fn write_one(
        &mut self,
        letter: &Letter<'_>,
        places: &mut Vec<Place>,
        failures: &mut Vec<(MailboxPath, io::Error)>,
        done: &mut DeliveryDone,
    ) {
        while let Some(first) = places.first() {
            let Letter { message, large } = letter;
            let written = match large {
                None => self.maildirs.write(first, &message.trace, &message.data),
                Some(large) => self.maildirs.adopt(first, &large.path),
            };
            match written {
                Ok(()) => {
                    done.files += 1;
                    let data = large.map_or(message.data.len() as u64, |large| large.octets);
                    done.octets += message.trace.len() as u64 + data;
                    return;
                }
                Err(error) => failures.push((places.remove(0).mailbox, error)),
            }
        }
    }

    /// Gives a message whose data is durable its names: those in further mailboxes first, for they need the one in
    /// `tmp/`.
    fn publish(&mut self, written: Written, done: &mut DeliveryDone) {
        let Written { delivery, places, mut failures, mailboxes } = written;
        let failed_before = failures.len();
        if let [first, further @ ..] = &places[..] {
            for place in further {
                if let Err(error) = self.maildirs.link(first, place) {
                    failures.push((place.mailbox.clone(), error));
                }
            }
            if let Err(error) = self.maildirs.publish(first) {
                failures.push((first.mailbox.clone(), error));
                self.maildirs.discard(first);
            }
        }
        if failures.is_empty() {
            self.waiting.push(Waiting { delivery, then: Then::Delivered });
            return;
        }
        let has_names = failures.len() - failed_before < places.len();
        let mut remain = (failures.len() < mailboxes).then(|| remaining(&failures));
        if matches!(delivery.load, Load::Held) {
            // Its file may be for more than that: an earlier attempt could not write it anew.
            remain = remain.or(delivery.only.clone());
        }
        let waits = has_names || matches!(delivery.load, Load::Held) && remain.is_some();
        self.fall_short(delivery, remain, DeliveryError::Mailboxes(failures), waits, done);
    }

    /// What was done by names that are durable now has come to its end.
    fn conclude(&mut self, done: &mut DeliveryDone) {
        let mut sync_held = false;
        for Waiting { delivery, then } in std::mem::take(&mut self.waiting) {
            let is_held = matches!(delivery.load, Load::Held);
            match then {
                Then::Delivered if is_held || delivery.last => {
                    self.let_go(delivery, done);
                    sync_held = true;
                }
                Then::Delivered => done.settled.push(delivery.id),
                Then::Failed(Some(remain), error) if is_held => {
                    self.keep_rest(delivery, remain, error, done);
                    sync_held = true;
                }
                Then::Failed(remain, error) => done.fail(delivery, remain, error),
                Then::Held(error) => done.held.push((delivery.id, error)),
                Then::Quarantined => done.quarantined.push(delivery.id),
            }
        }
        if sync_held {
            // If this fails, a crash may bring back what is delivered; it is looked for before it is delivered again.
            let _ = held::sync(&*self.disk);
        }
    }

    /// After a failed sync nothing is known of what it should have made durable, and asking the disk once more would
    /// be answered by a cache that has forgotten the error: everything is done again.
    fn take_back(&mut self, batch: Vec<Written>, done: &mut DeliveryDone) {
        done.retry.extend(self.waiting.drain(..).map(|waiting| waiting.delivery));
        done.retry.extend(batch.into_iter().map(|written| written.delivery));
        done.retry.iter_mut().for_each(|delivery| delivery.again = true);
    }
}

impl DeliveryDone {
    /// `remain`: the mailboxes that do not have the message, if that is not all it was meant for.
    fn fail(&mut self, delivery: Delivery, remain: Option<Arc<[MailboxPath]>>, error: DeliveryError) {
        let only = remain.or(delivery.only);
        self.failed.push((Delivery { again: true, only, ..delivery }, error));
    }
}

/// The mailboxes that a message is meant for: each once, however many of its recipients have it.
fn mailboxes(message: &Message, only: Option<&[MailboxPath]>) -> Vec<MailboxPath> {
    let mut seen = HashSet::new();
    let paths = message.envelope.forward_paths.iter().map(MailboxPath::of);
    paths
        .filter(|path| only.is_none_or(|only| only.binary_search(path).is_ok()))
        .filter(|path| seen.insert(path.clone()))
        .collect()
}

fn remaining(failures: &[(MailboxPath, io::Error)]) -> Arc<[MailboxPath]> {
    let mut mailboxes: Vec<MailboxPath> = failures.iter().map(|(mailbox, _)| mailbox.clone()).collect();
    mailboxes.sort();
    mailboxes.into()
}

#[cfg(test)]
mod tests;
