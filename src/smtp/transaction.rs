//! A mail transaction of a session: envelope and data as they come together, and what is wrong with them.

use super::trace::ReceivedCount;
use super::{Body, Envelope, Path, Reply};
use crate::limits::{ENVELOPE_MAX, RECEIVED_FIELDS_MAX};
use crate::wire::data::LineEnds;

/// From MAIL to the end of the data.
#[derive(Debug, Default)]
pub(super) struct Transaction {
    pub envelope: Envelope,
    pub envelope_size: usize,
    pub data: Vec<u8>,
    /// Octets of the data that came before `data` and were handed out.
    pub spilled: u64,
    /// What the end of the data will be answered with, if not with 250. The rest of the data is read and thrown away.
    pub failure: Option<Reply>,
    pub received: ReceivedCount,
    pub line_ends: LineEnds,
}

impl Transaction {
    pub fn fail(&mut self, reply: Reply) {
        self.failure.get_or_insert(reply);
        self.data = Vec::new();
    }

    /// Makes room for `octets` more where doubling, which a vector does by itself, would go beyond `most`, the octets
    /// that are ever kept at once: no message takes more memory than that.
    pub fn make_room(&mut self, octets: usize, most: usize) {
        let (len, capacity) = (self.data.len(), self.data.capacity());
        let is_short = capacity - len < octets && capacity < most;
        if self.failure.is_none() && is_short && capacity.saturating_mul(2) > most {
            self.data.reserve_exact(most - len);
        }
    }

    /// Octets of the data, those handed out included.
    pub fn size(&self) -> u64 {
        self.spilled + self.data.len() as u64
    }

    /// Hands the data so far out, if it is more than `beyond`.
    pub fn spill(&mut self, beyond: usize) -> Option<Vec<u8>> {
        if self.failure.is_some() || self.data.len() <= beyond {
            return None;
        }
        self.spilled += self.data.len() as u64;
        Some(std::mem::take(&mut self.data))
    }

    /// Looks at the data behind `before`: its size, and the Received fields in it.
    pub fn judge(&mut self, before: usize, size_max: u64) {
        if self.failure.is_some() {
            return;
        }
        self.received.read(&self.data[before..]);
        if self.received.fields() > RECEIVED_FIELDS_MAX {
            self.fail(Reply::MAIL_LOOP);
        } else if self.size() > size_max {
            self.fail(Reply::MESSAGE_TOO_BIG);
        }
    }

    /// Why a further recipient is refused, whoever it is.
    pub fn refusal(&self, path: &Path, recipients_max: usize) -> Option<Reply> {
        let needs_utf8 = matches!(path, Path::Mailbox(address) if !address.is_ascii());
        if needs_utf8 && !self.envelope.smtputf8 {
            Some(Reply::NEEDS_SMTPUTF8)
        } else if self.envelope.forward_paths.len() >= recipients_max || self.envelope_size >= ENVELOPE_MAX {
            Some(Reply::TOO_MANY_RECIPIENTS)
        } else {
            None
        }
    }

    pub fn refusal_of_data(&self) -> Option<Reply> {
        if self.envelope.body == Body::BinaryMime {
            Some(Reply::BINARY_NEEDS_CHUNKS)
        } else if self.envelope.forward_paths.is_empty() {
            Some(Reply::NO_RECIPIENTS)
        } else {
            None
        }
    }
}
