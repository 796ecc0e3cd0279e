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

    /// Makes room for `octets` more where doubling, which a vector does by itself, would go beyond the largest message:
    /// no message takes more memory than that.
    pub fn make_room(&mut self, octets: usize, size_max: u64) {
        let size_max = usize::try_from(size_max).unwrap_or(usize::MAX);
        let (len, capacity) = (self.data.len(), self.data.capacity());
        let is_short = capacity - len < octets && capacity < size_max;
        if self.failure.is_none() && is_short && capacity.saturating_mul(2) > size_max {
            self.data.reserve_exact(size_max - len);
        }
    }

    /// Looks at the data behind `before`: its size, and the Received fields in it.
    pub fn judge(&mut self, before: usize, size_max: u64) {
        if self.failure.is_some() {
            return;
        }
        self.received.read(&self.data[before..]);
        if self.received.fields() > RECEIVED_FIELDS_MAX {
            self.fail(Reply::MAIL_LOOP);
        } else if self.data.len() as u64 > size_max {
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
