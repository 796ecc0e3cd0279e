//! What the server keeps of POP3 sessions: of each its mailbox, its message on the way and what it waits for; of all the
//! locks, the queue of reads, and the memory that they have.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;

use log::info;

use crate::disk::File;
use crate::limits::POP3_READ_MEMORY;
use crate::log_value::Escaped;
use crate::mailbox::{Mail, MailboxPath};
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::pop3::{self, Wanted};
use crate::server::job::Job;

/// A POP3 session, and what the server has open for it.
pub(in crate::server) struct Visit {
    pub session: pop3::Session,
    pub goes_on: GoesOn,
    /// The mailbox that it has locked.
    pub maildrop: Option<Maildrop>,
    /// The message on its way to the client; none between messages, while a job has it, and where too many are open.
    pub file: Option<Box<dyn File>>,
    pub asked: Asked,
    /// When it had last said something to a client that had taken all before, in milliseconds; from the first maildrop on.
    pub said_ms: Option<u64>,
    /// What it has of the share of all maildrops.
    pub held: Held,
}

/// When a session that waits for no answer can go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum GoesOn {
    /// Once there is input.
    WithInput,
    /// Now: it was answered.
    AtOnce,
    /// Once all is written that it said.
    OnceWritten,
}

/// The answer that a session waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::server) enum Asked {
    Nothing,
    /// Its mailbox is being listed.
    Open,
    /// A part of a message is to be read, once there is memory for it.
    Room(Wanted),
    /// It is being read.
    Part,
    /// Its mailbox is being changed.
    Update,
}

/// A locked mailbox.
pub(in crate::server) struct Maildrop {
    pub mailbox: MailboxPath,
    pub client: SocketAddr,
    pub user: Box<str>,
    /// Where its messages lie, in the order of the session; empty until it is listed.
    pub mails: Arc<[Mail]>,
    /// Octets of memory of that.
    pub octets: usize,
    /// Whether the client was let in.
    pub is_open: bool,
    /// Messages read to their end, short ones by TOP too.
    pub popped: u64,
    pub removed: u64,
}

/// Octets of memory, and descriptors.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::server) struct Held {
    /// Of listings: for as long as a session lasts.
    pub listings: u64,
    /// Of parts of messages and of other replies: until the client has taken them.
    pub parts: u64,
    /// Messages' files that are open while their clients take a part.
    pub files: usize,
}

/// The maildrops of a server.
#[derive(Default)]
pub(in crate::server) struct Maildrops {
    /// The mailboxes that a session has, or a job that outlives it.
    pub locked: HashSet<MailboxPath>,
    /// Jobs to be handed out in this turn.
    pub due: Vec<Job>,
    /// Sessions whose read waits for memory, in the order in which they asked, and some that are gone.
    pub reads: VecDeque<Key>,
    /// How many reads are out, each with a file.
    pub reads_out: usize,
    /// How many updates are due or out.
    pub updates: usize,
    /// Of connections that are gone: those for which a job is out that needs the lock, and what is charged for them.
    pub orphans: HashMap<Key, (Box<Visit>, u64)>,
    pub held: Held,
}

impl Maildrops {
    /// Octets of memory that all of them have.
    pub fn memory(&self) -> u64 {
        self.held.listings + self.held.parts
    }

    /// Whether every update that was asked for is done.
    pub fn is_settled(&self) -> bool {
        self.updates == 0
    }

    /// Takes note of what a visit holds now.
    pub fn charge(&mut self, visit: &mut Visit, outbox: usize) {
        let now = Held {
            listings: visit.listing_memory() as u64,
            parts: (visit.part_memory() + outbox) as u64,
            files: usize::from(visit.file.is_some()),
        };
        self.held.listings = self.held.listings - visit.held.listings + now.listings;
        self.held.parts = self.held.parts - visit.held.parts + now.parts;
        self.held.files = self.held.files - visit.held.files + now.files;
        visit.held = now;
    }

    /// Takes note that a visit is over, which then holds nothing.
    pub fn forget(&mut self, visit: &Visit) {
        self.held.listings -= visit.held.listings;
        self.held.parts -= visit.held.parts;
        self.held.files -= visit.held.files;
    }

    /// Lets go of a mailbox and tells what was done with it.
    pub fn release(&mut self, maildrop: Maildrop) {
        assert!(self.locked.remove(&maildrop.mailbox), "a maildrop has its lock until here");
        if maildrop.is_open {
            let Maildrop { client, user, popped, removed, .. } = maildrop;
            info!(
                "popped client={client} user={} messages={popped} removed={removed}",
                Escaped(user.as_bytes())
            );
        }
    }
}

impl Visit {
    /// A session before its greeting.
    pub fn new(profile: Arc<pop3::Profile>) -> Visit {
        Visit {
            session: pop3::Session::new(profile),
            goes_on: GoesOn::WithInput,
            maildrop: None,
            file: None,
            asked: Asked::Nothing,
            said_ms: None,
            held: Held::default(),
        }
    }

    /// Octets of memory beyond itself, without the outbox.
    pub fn memory(&self) -> usize {
        self.listing_memory() + self.part_memory()
    }

    fn listing_memory(&self) -> usize {
        self.session.memory() + self.maildrop.as_ref().map_or(0, |maildrop| maildrop.octets)
    }

    fn part_memory(&self) -> usize {
        if self.asked == Asked::Part { POP3_READ_MEMORY } else { 0 }
    }

    /// Takes note that it said something; a client has its time for what it is told at once.
    pub fn said(&mut self, now: Now) {
        if let Some(said_ms) = &mut self.said_ms {
            *said_ms = now.ms();
        }
    }

    /// Whether a job is out that needs the lock.
    pub fn needs_lock(&self) -> bool {
        matches!(self.asked, Asked::Open | Asked::Update)
    }
}
