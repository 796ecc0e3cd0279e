//! The name of an accepted message: given once, never again.
//!
//! A queue id is the random id of one run of the server and a counter that only grows within that run. It is the
//! ticket a waiting client holds, the position that the watermark compares, and the Maildir name. It is stored in the
//! message's record, so a restart keeps the ids of the runs before.

use std::fmt;
use std::str::FromStr;

/// The id of one accepted message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct QueueId {
    /// The random number that this run of the server drew at its start.
    pub run: u64,
    /// Counts the messages of the run from 1.
    pub counter: u64,
}

/// Sixteen hexadecimal digits of the run, then at least eight of the counter.
impl fmt::Display for QueueId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}{:08x}", self.run, self.counter)
    }
}

/// A text that is no queue id.
#[derive(Debug, PartialEq, Eq)]
pub struct NotAQueueId;

impl FromStr for QueueId {
    type Err = NotAQueueId;

    fn from_str(text: &str) -> Result<QueueId, NotAQueueId> {
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if !(RUN_DIGITS + COUNTER_DIGITS_MIN..=RUN_DIGITS + 16).contains(&text.len())
            || !text.bytes().all(lower_hex)
        {
            return Err(NotAQueueId);
        }
        let (run, counter) = text.split_at(RUN_DIGITS);
        let number = |digits| u64::from_str_radix(digits, 16).map_err(|_| NotAQueueId);
        let id = QueueId { run: number(run)?, counter: number(counter)? };
        // One id, one spelling: no zeros beyond the padding.
        if counter.len() > COUNTER_DIGITS_MIN && counter.starts_with('0') { Err(NotAQueueId) } else { Ok(id) }
    }
}

const RUN_DIGITS: usize = 16;
const COUNTER_DIGITS_MIN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_as_written() {
        for id in [
            QueueId { run: 0, counter: 0 },
            QueueId { run: u64::MAX, counter: u64::MAX },
            QueueId { run: 0x9f3c_0000_0000_0001, counter: 0x1_0000_0000 },
        ] {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
    }

    #[test]
    fn one_id_has_one_spelling() {
        for text in
            ["", "12", "9F3C00000000000100000001", "9f3c000000000001000000001", "9f3c00000000000100000001 "]
        {
            assert_eq!(text.parse::<QueueId>(), Err(NotAQueueId), "{text}");
        }
    }
}
