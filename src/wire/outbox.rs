//! Bytes that wait to be written to one connection: replies for a server, commands for a client.
//!
//! Bounded by its user: whoever appends looks at [`Outbox::is_full`] first, and stops consuming input while it is. An
//! empty outbox owns no memory.

use crate::limits::{OUTBOX_MAX, REPLY_MAX};

/// Bytes to write, in order.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    /// How many of `bytes` are written already; less than their number, or both are 0.
    written: usize,
}

impl Outbox {
    /// An empty one.
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// Appends bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(FIRST_CAPACITY.max(bytes.len()));
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// What remains to be written.
    pub fn pending(&self) -> &[u8] {
        &self.bytes[self.written..]
    }

    /// Whether nothing remains to be written.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Octets of memory that it owns.
    pub fn memory(&self) -> usize {
        self.bytes.capacity()
    }

    /// Whether so much waits that nothing more should be appended: a further reply might go beyond the bound.
    pub fn is_full(&self) -> bool {
        self.bytes.len() - self.written > OUTBOX_MAX - REPLY_MAX
    }

    /// Takes note that the first `count` octets of [`pending`](Outbox::pending) are written. When all are, the memory
    /// goes too.
    pub fn advance(&mut self, count: usize) {
        self.written += count;
        assert!(self.written <= self.bytes.len(), "more written than was pending");
        if self.written == self.bytes.len() {
            *self = Outbox::default();
        }
    }
}

/// Room for the replies to a pipelined group, so that they cost one allocation.
const FIRST_CAPACITY: usize = 256;

impl std::fmt::Write for Outbox {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_gone_and_an_empty_outbox_owns_nothing() {
        let mut outbox = Outbox::new();
        outbox.push(b"220 hello\r\n");
        outbox.advance(4);
        assert_eq!(outbox.pending(), b"hello\r\n");
        outbox.push(b"x");
        assert_eq!(outbox.pending(), b"hello\r\nx");
        outbox.advance(8);
        assert!(outbox.is_empty());
        assert_eq!(outbox.bytes.capacity(), 0);
    }

    #[test]
    fn it_is_full_by_what_waits_not_by_what_was_written() {
        let mut outbox = Outbox::new();
        outbox.push(&[b'x'; OUTBOX_MAX - REPLY_MAX + 1]);
        assert!(outbox.is_full());
        outbox.advance(1);
        assert!(!outbox.is_full());
    }
}
