//! Maildrops: POP3 sessions, and what they have of their mailboxes. The part of the turn that has to do with reading mail.
//!
//! ```text
//! Need::Open ──▶ lock ──▶ job: list what fits ───▶ charged to the budget, or refused; then the session goes on
//! Need::Read ──▶ queue ──room──▶ job: a part ────▶ outbox ──all written──▶ Need::Read …
//! Need::Update ─────────▶ job: some changes ─────▶ the next job … or unlock, and the last reply
//! ```
//!
//! What is promised: one session has a mailbox at a time; nothing is removed but by an update, and one that has begun is
//! finished, though its client be gone, unless a stop's grace ends before; a slow client costs one part of a message here,
//! and some in the kernel; all maildrops together have no more than their share of the memory for mail, and of the
//! descriptors, and one of them no more than its part of the memory: of a mailbox beyond, the oldest messages are there; and
//! who takes some KiB a second reads to the end. What is not: that an update survives the loss of power. Then messages come
//! back that a client removed, with the unique ids that it knows. A message that was removed while it was read is closed by
//! the loop if its client goes, and the disk may take a moment for that.

pub mod jobs;
mod visit;

use std::io;
use std::mem;
use std::sync::Arc;

use log::warn;

use super::Server;
use super::connection::{CloseReason, Phase, Stream};
use super::driving::{Advanced, Wants};
use super::job::Job;
use super::spoken::Spoken;
use crate::limits::{
    POP3_FILES_KEPT_MAX, POP3_LISTINGS_SHARE, POP3_MEMORY_DIVISOR, POP3_READ_MEMORY, POP3_READS_OUT_MAX,
};
use crate::mailbox::{Mail, MailboxPath};
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::pop3::{Changes, Listed, Need, Refusal};
use crate::units::size_text;
use crate::wire::Outbox;
use jobs::{Listing, OpenJob, ReadDone, ReadJob, Source, UpdateDone, UpdateJob};
use visit::{Asked, Maildrop};
pub(super) use visit::{GoesOn, Maildrops, Visit};

impl<S: Stream> Server<S> {
    /// Offers `input` to a POP3 session and does what it needs, until it needs something that is not here.
    pub(super) fn advance_pop3(&mut self, key: Key, input: &[u8], now: Now) -> Advanced {
        let mut advanced = Advanced::default();
        while let Some(connection) = self.connections.get_mut(key) {
            let Spoken::Pop3(visit) = &mut connection.session else { break };
            let waits_before = connection.outbox.pending().len();
            let progress = visit.session.advance(&input[advanced.consumed..], &mut connection.outbox);
            advanced.consumed += progress.consumed;
            advanced.has_answered |= connection.outbox.pending().len() > waits_before;
            let is_to_be_written = progress.need == Need::Room;
            visit.goes_on = if is_to_be_written { GoesOn::OnceWritten } else { GoesOn::WithInput };
            if waits_before == 0 {
                visit.said(now);
            }
            let is_answered = match progress.need {
                Need::Input => {
                    advanced.wants = Wants::Input;
                    false
                }
                Need::Room => false,
                Need::StartTls => {
                    assert_eq!(
                        advanced.consumed,
                        input.len(),
                        "the session ends if anything stands behind STLS"
                    );
                    connection.phase = Phase::StartTls;
                    false
                }
                Need::Sasl(step) => self.login_step(key, step, now),
                Need::Open => self.open_maildrop(key),
                Need::Read(wanted) => {
                    self.park(key, Asked::Room(wanted));
                    self.maildrops.reads.push_back(key);
                    false
                }
                Need::Update(changes) => self.update_maildrop(key, changes),
                Need::Close(reason) => {
                    connection.phase = Phase::Finishing(CloseReason::Pop3(reason));
                    advanced.has_answered = true; // its end is to be written, if nothing else
                    false
                }
            };
            advanced.has_answered |= is_answered;
            if !is_answered {
                break;
            }
        }
        self.leave_maildrop_if_over(key);
        advanced
    }

    /// Has a session wait for us.
    fn park(&mut self, key: Key, asked: Asked) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Spoken::Pop3(visit) = &mut connection.session
        {
            visit.asked = asked;
            connection.is_parked = true;
        }
    }

    /// A session and its outbox, unless the connection is gone.
    fn visit(&mut self, key: Key) -> Option<(&mut Visit, &mut Outbox)> {
        let connection = self.connections.get_mut(key)?;
        connection.session.visit_mut().map(|visit| (visit, &mut connection.outbox))
    }

    /// Locks and lists the mailbox of the user who logged in. Whether the session was answered, with a refusal; else it is
    /// parked.
    fn open_maildrop(&mut self, key: Key) -> bool {
        let refusal = match self.lock_maildrop(key) {
            Ok(job) => {
                self.park(key, Asked::Open);
                self.maildrops.due.push(Job::Open(job));
                return false;
            }
            Err(refusal) => refusal,
        };
        if let Some((visit, outbox)) = self.visit(key) {
            visit.session.answer_open(Err(refusal), outbox);
        }
        true
    }

    fn lock_maildrop(&mut self, key: Key) -> Result<OpenJob, Refusal> {
        let share = self.share_of_maildrops();
        let is_full = self.maildrops.held.listings >= share;
        // The same whatever others have, so that a client finds the same messages each time.
        let room = usize::try_from(share / POP3_LISTINGS_SHARE).unwrap_or(usize::MAX);
        let connection = self.connections.get_mut(key).ok_or(Refusal::SHUTTING_DOWN)?;
        let client = connection.client;
        let visit = connection.session.visit_mut().ok_or(Refusal::SHUTTING_DOWN)?;
        let user = visit.session.user().unwrap_or_default();
        // Who is no longer there was removed since the password was judged.
        let account = self.accounts.of_user(user).ok_or(Refusal::MAILBOX_UNREADABLE)?;
        let mailbox = MailboxPath::of(&account.address);
        if is_full {
            return Err(Refusal::NO_MEMORY);
        }
        if !self.maildrops.locked.insert(mailbox.clone()) {
            self.counters.maildrops_in_use += 1;
            return Err(Refusal::IN_USE);
        }
        visit.maildrop = Some(Maildrop {
            mailbox: mailbox.clone(),
            client,
            user: user.into(),
            mails: Arc::new([]),
            octets: 0,
            is_open: false,
            popped: 0,
            removed: 0,
        });
        Ok(OpenJob { key, mailbox, room })
    }

    /// Takes the answer that a session waits for, which then waits for none: nothing but itself ends with it, should it
    /// panic, and its mailbox is free.
    pub(super) fn answered(&mut self, key: Key, take: impl FnOnce(&mut Self)) {
        if let Some((visit, _)) = self.visit(key) {
            visit.asked = Asked::Nothing;
        }
        self.contained(key, take);
    }

    /// A mailbox is listed, or could not be.
    pub(super) fn opened(&mut self, key: Key, listing: io::Result<Listing>, now: Now) {
        if self.is_orphan(key, 0) {
            return;
        }
        let answer = self.admit(key, listing);
        let Some((visit, outbox)) = self.visit(key) else { return };
        let is_open = answer.is_ok();
        visit.session.answer_open(answer, outbox);
        if is_open {
            visit.said_ms = Some(now.ms());
            self.counters.maildrops += 1;
        } else if let Some(maildrop) = visit.maildrop.take() {
            self.maildrops.release(maildrop);
        }
        self.go_on(key, now);
    }

    /// Takes a listing, if there is memory for it.
    fn admit(&mut self, key: Key, listing: io::Result<Listing>) -> Result<Vec<Listed>, Refusal> {
        let room = self.share_of_maildrops().saturating_sub(self.maildrops.held.listings);
        let visit = self.connections.get_mut(key).and_then(|connection| connection.session.visit_mut());
        let Some(maildrop) = visit.and_then(|visit| visit.maildrop.as_mut()) else {
            return Err(Refusal::SHUTTING_DOWN);
        };
        let Maildrop { mailbox, .. } = maildrop;
        let Listing { mails, listed, octets, left_out } = listing.map_err(|error| {
            warn!("a mailbox cannot be listed mailbox={mailbox}: {error}");
            Refusal::MAILBOX_UNREADABLE
        })?;
        let (count, takes) = (mails.len(), size_text(octets as u64));
        if octets as u64 > room {
            let left = size_text(room);
            warn!(
                "no memory to list a mailbox mailbox={mailbox} messages={count}: that takes {takes}, and maildrops have \
                 {left} left; raise memory"
            );
            return Err(Refusal::NO_MEMORY);
        }
        if left_out > 0 {
            warn!(
                "a mailbox is larger than one session may list mailbox={mailbox} messages={count} left_out={left_out}: \
                 the oldest, which take {takes}, are there; the others once those are removed; raise memory"
            );
        }
        maildrop.octets = mails.iter().map(Mail::memory).sum();
        (maildrop.mails, maildrop.is_open) = (mails, true);
        Ok(listed)
    }

    /// Half of what all maildrops may have: one for their listings, one for what is on its way to clients, so that mailboxes
    /// that are merely open never keep others from reading.
    fn share_of_maildrops(&self) -> u64 {
        self.options.memory / POP3_MEMORY_DIVISOR / 2
    }

    /// Whether there is memory and a descriptor for one more part of a message.
    fn may_read(&self) -> bool {
        self.maildrops.held.parts + POP3_READ_MEMORY as u64 <= self.share_of_maildrops()
            && self.maildrops.reads_out < POP3_READS_OUT_MAX
    }

    /// Whether there are jobs for a turn to hand out.
    pub(super) fn has_maildrop_jobs(&self) -> bool {
        !self.maildrops.due.is_empty() || !self.maildrops.reads.is_empty() && self.may_read()
    }

    /// Hands out the jobs of this turn, and as many reads as there is room for.
    pub(super) fn start_maildrop_jobs(&mut self, jobs: &mut dyn FnMut(Job)) {
        mem::take(&mut self.maildrops.due).into_iter().for_each(&mut *jobs);
        while self.may_read()
            && let Some(key) = self.maildrops.reads.pop_front()
        {
            if let Some(job) = self.read_job(key) {
                self.maildrops.reads_out += 1;
                jobs(Job::Read(job));
                self.charge(key);
            }
        }
    }

    fn read_job(&mut self, key: Key) -> Option<ReadJob> {
        let (visit, _) = self.visit(key)?;
        let Asked::Room(wanted) = visit.asked else { return None };
        let maildrop = visit.maildrop.as_ref()?;
        let listed = maildrop.mails.get(wanted.message).map_or(0, |mail| mail.octets);
        let source = match visit.file.take() {
            Some(file) => Source::File(file),
            None => Source::Mail {
                mailbox: maildrop.mailbox.clone(),
                mails: maildrop.mails.clone(),
                index: wanted.message,
            },
        };
        visit.asked = Asked::Part;
        Some(ReadJob { key, source, listed, offset: wanted.offset, octets: wanted.octets })
    }

    /// A part of a message was read, or could not be.
    pub(super) fn part_read(&mut self, key: Key, done: io::Result<ReadDone>, now: Now) {
        self.maildrops.reads_out -= 1;
        let may_keep = self.maildrops.held.files < POP3_FILES_KEPT_MAX;
        let Some((visit, outbox)) = self.visit(key) else { return };
        match done {
            Ok(ReadDone { part, file }) => {
                let (octets, is_last) = (part.octets.len(), part.is_last);
                visit.session.answer_read(Ok(part), outbox);
                visit.file = file.filter(|_| may_keep && visit.session.is_reading());
                if let Some(maildrop) = &mut visit.maildrop {
                    maildrop.popped += u64::from(is_last);
                }
                self.counters.popped += u64::from(is_last);
                self.counters.popped_octets += octets as u64;
            }
            Err(error) => {
                visit.session.answer_read(Err(refusal_of(visit.maildrop.as_ref(), &error)), outbox);
            }
        }
        if let Some((visit, _)) = self.visit(key) {
            visit.said(now);
        }
        self.go_on(key, now);
    }

    /// Has a mailbox changed as its client wants, if that still may log in. Whether the session was answered, with a refusal;
    /// else it is parked.
    fn update_maildrop(&mut self, key: Key, changes: Changes) -> bool {
        let is_revoked = self.is_revoked(key);
        let Some((visit, outbox)) = self.visit(key) else { return false };
        if is_revoked {
            visit.session.answer_update(Err(Refusal::LOGIN_REVOKED), outbox);
            return true;
        }
        let Some(Maildrop { mailbox, mails, .. }) = &visit.maildrop else { return false };
        let job = UpdateJob::new(key, mailbox.clone(), mails.clone(), changes);
        self.park(key, Asked::Update);
        self.maildrops.updates += 1;
        self.maildrops.due.push(Job::Update(job));
        false
    }

    /// A mailbox is changed, as far as the disk let it be. What is left is done behind what others asked for meanwhile; once
    /// the grace of a stop is over, it stays, as RFC 1939 6 allows.
    pub(super) fn updated(&mut self, key: Key, done: UpdateDone, now: Now) {
        if let Some(rest) = done.rest {
            if !self.stop.is_some_and(|stop| stop.is_over) {
                self.maildrops.due.push(Job::Update(rest));
                return;
            }
            if rest.left() > 0 {
                let (mailbox, left) = (rest.mailbox(), rest.left());
                warn!("an update is cut short by the stop mailbox={mailbox}: {left} deleted messages stay");
            }
        }
        self.maildrops.updates -= 1;
        self.counters.maildrop_removed += done.removed;
        if self.is_orphan(key, done.removed) {
            return;
        }
        let Some((visit, outbox)) = self.visit(key) else { return };
        if let Some(maildrop) = &mut visit.maildrop {
            maildrop.removed += done.removed;
        }
        visit
            .session
            .answer_update(if done.is_whole { Ok(()) } else { Err(Refusal::NOT_ALL_REMOVED) }, outbox);
        visit.said(now);
        self.go_on(key, now);
    }

    /// Goes on with a session that was answered.
    fn go_on(&mut self, key: Key, now: Now) {
        if let Some((visit, _)) = self.visit(key) {
            visit.goes_on = GoesOn::AtOnce;
        }
        self.leave_maildrop_if_over(key);
        self.unpark(key, now);
        self.charge(key);
    }

    /// Lets go of the mailbox of a session that has come to its end, at once: the client's next may be on its way.
    pub(super) fn leave_maildrop_if_over(&mut self, key: Key) {
        let Some((visit, _)) = self.visit(key) else { return };
        if visit.session.is_over() && !visit.needs_lock() {
            visit.file = None;
            if let Some(maildrop) = visit.maildrop.take() {
                self.maildrops.release(maildrop);
            }
        }
    }

    /// Lets go of what a connection had that is gone; what a job needs is kept until that comes back.
    pub(super) fn leave(&mut self, key: Key, mut visit: Box<Visit>, charged: u64) {
        if visit.needs_lock() {
            self.memory += charged;
            self.maildrops.orphans.insert(key, (visit, charged));
            return;
        }
        if let Some(maildrop) = visit.maildrop.take() {
            self.maildrops.release(maildrop);
        }
        self.maildrops.forget(&visit);
    }

    /// Whether the connection of a job is gone; then that was the last of its session, which removed so many messages.
    fn is_orphan(&mut self, key: Key, removed: u64) -> bool {
        let Some((mut visit, charged)) = self.maildrops.orphans.remove(&key) else { return false };
        self.memory -= charged;
        if let Some(mut maildrop) = visit.maildrop.take() {
            maildrop.removed += removed;
            self.maildrops.release(maildrop);
        }
        self.maildrops.forget(&visit);
        true
    }
}

/// What a client hears of a message that could not be read.
fn refusal_of(maildrop: Option<&Maildrop>, error: &io::Error) -> Refusal {
    if error.kind() == io::ErrorKind::NotFound {
        return Refusal::MESSAGE_GONE;
    }
    if let Some(maildrop) = maildrop {
        warn!("a message cannot be read mailbox={}: {error}", maildrop.mailbox);
    }
    Refusal::MESSAGE_UNREADABLE
}

#[cfg(test)]
mod tests;
