//! Answers of more than one line: LIST and UIDL, of which so much is said as the outbox takes, and RETR and TOP, which come
//! in parts, each asked for when the one before is written. So neither a long listing nor a large message stands in
//! memory.

use std::fmt::Write;

use super::{Asked, CloseReason, Need, Part, Session, State, Step, Wanted, contents};
use crate::limits::POP3_PART;
use crate::pop3::maildrop::{Listed, Maildrop};
use crate::pop3::reply::{Refusal, push_ok};
use crate::wire::Outbox;
use crate::wire::stuffing::{Stuffer, Top};

/// An answer to LIST or UIDL under way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listing {
    what: Column,
    /// The message from which on the rest is to be said.
    next: usize,
}

/// What is listed of each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Octets,
    Uid,
}

impl Listing {
    /// LIST's.
    pub(super) const OCTETS: Listing = Listing { what: Column::Octets, next: 0 };
    /// UIDL's.
    pub(super) const UIDS: Listing = Listing { what: Column::Uid, next: 0 };

    fn push_line(self, index: usize, message: &Listed, out: &mut Outbox) {
        let number = index + 1;
        match self.what {
            Column::Octets => write!(out, "{number} {}\r\n", message.octets),
            Column::Uid => write!(out, "{number} {}\r\n", message.uid),
        }
        .expect("an outbox takes what it is given");
    }
}

/// An answer to RETR or TOP under way.
#[derive(Debug)]
pub(super) struct Sending {
    message: usize,
    /// Octets of the message that are said already.
    offset: u64,
    /// Whether the first part came, and `+OK` was said: a failure is no refusal any more, but the session's end.
    has_begun: bool,
    stuffer: Stuffer,
    /// With TOP, where it ends.
    top: Option<Top>,
}

impl Sending {
    /// RETR of the message at this index.
    pub(super) fn whole(message: usize) -> Sending {
        Sending { message, offset: 0, has_begun: false, stuffer: Stuffer::default(), top: None }
    }

    /// TOP of the message at this index, with so many lines of its body.
    pub(super) fn top(message: usize, lines: u64) -> Sending {
        Sending { top: Some(Top::new(lines)), ..Sending::whole(message) }
    }

    /// Whether the client is reading the message.
    pub(super) fn has_begun(&self) -> bool {
        self.has_begun
    }

    /// Says `+OK`, once.
    fn begin(&mut self, message: &Listed, out: &mut Outbox) {
        match (self.has_begun, &self.top) {
            (true, _) => {}
            (false, None) => push_ok(format_args!("{} octets", message.octets), out),
            (false, Some(_)) => push_ok("top follows", out),
        }
        self.has_begun = true;
    }

    /// Says a part; gives whether that was all.
    fn push(&mut self, part: &Part, out: &mut Outbox) -> bool {
        assert!(
            part.is_last || !part.octets.is_empty(),
            "an empty part that is not the last: the same would follow"
        );
        assert!(part.octets.len() <= POP3_PART, "a part of more octets than were wanted");
        let (taken, is_top) = match &mut self.top {
            None => (part.octets.len(), false),
            Some(top) => top.take(&part.octets),
        };
        self.stuffer.push(&part.octets[..taken], out);
        self.offset += taken as u64;
        let is_all = part.is_last || is_top;
        if is_all {
            std::mem::take(&mut self.stuffer).end(out);
        }
        is_all
    }
}

impl Session {
    /// LIST or UIDL of all messages.
    pub(super) fn start_listing(&mut self, listing: Listing, out: &mut Outbox) -> Option<Need> {
        let maildrop = self.take_maildrop();
        push_ok(contents(&maildrop), out);
        self.state = State::Listing(maildrop, listing);
        None
    }

    /// Says as much of the listing as there is room for.
    pub(super) fn list_on(&mut self, out: &mut Outbox) -> Step {
        let State::Listing(maildrop, listing) = &mut self.state else {
            unreachable!("called in this state only");
        };
        while let Some(index) = maildrop.next(listing.next) {
            if out.is_full() {
                return Step::needs(Need::Room);
            }
            listing.push_line(index, maildrop.message(index), out);
            listing.next = index + 1;
        }
        out.push(b".\r\n");
        self.state = State::Open(self.take_maildrop());
        Step::taken(0)
    }

    /// RETR or TOP.
    pub(super) fn start_sending(&mut self, sending: Sending) -> Option<Need> {
        self.state = State::Sending(self.take_maildrop(), Box::new(sending));
        None
    }

    /// Asks for the next part, once all before it is written.
    pub(super) fn read_on(&mut self, out: &Outbox) -> Step {
        let State::Sending(_, sending) = &self.state else {
            unreachable!("called in this state only");
        };
        if !out.is_empty() {
            return Step::needs(Need::Room);
        }
        let wanted = Wanted { message: sending.message, offset: sending.offset, octets: POP3_PART };
        Step::needs(self.ask(Asked::Read, Need::Read(wanted)))
    }

    /// Answers [`Need::Read`]: with the part, or with the refusal. Where a part was sent before, the refusal is not said but
    /// ends the session: a client must never take a torn message for a whole one.
    pub fn answer_read(&mut self, answer: Result<Part, Refusal>, out: &mut Outbox) {
        self.answered(Asked::Read);
        let State::Sending(maildrop, sending) = &mut self.state else { return };
        match answer {
            Ok(part) => {
                sending.begin(maildrop.message(sending.message), out);
                if !sending.push(&part, out) {
                    return;
                }
                if sending.top.is_none() {
                    maildrop.see(sending.message);
                    self.errors = 0;
                }
                self.state = State::Open(self.take_maildrop());
            }
            Err(_) if sending.has_begun => self.close(CloseReason::Dismissed),
            Err(refusal) => {
                self.state = State::Open(self.take_maildrop());
                self.refuse(refusal, out);
            }
        }
    }

    /// The maildrop out of the state, which is to be replaced at once.
    fn take_maildrop(&mut self) -> Box<Maildrop> {
        match std::mem::replace(&mut self.state, State::Start) {
            State::Open(maildrop) | State::Listing(maildrop, _) | State::Sending(maildrop, _) => maildrop,
            _ => unreachable!("called in states with a maildrop only"),
        }
    }
}
