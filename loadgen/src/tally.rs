//! What was counted in one stretch of a run: messages by what became of them, replies, failures, latencies.

use fastsmtp::smtp::client::Reply;
use hdrhistogram::Histogram;

/// The counts of one stretch. A message belongs to the stretch in which it ended.
#[derive(Debug)]
pub struct Tally {
    /// Messages whose final dot was answered positively.
    pub accepted: u64,
    /// Messages refused for now (4yz).
    pub transient: u64,
    /// Messages refused for good (5yz).
    pub permanent: u64,
    /// Messages begun on a connection that ended before the answer: nobody knows what became of them.
    pub unanswered: u64,
    /// Connections that ended otherwise than by our QUIT.
    pub failures: Failures,
    /// Latencies, in nanoseconds.
    pub latencies: Latencies,
    /// Replies by code.
    replies: Vec<u64>,
}

/// Connections that ended otherwise than by our QUIT, by why.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    /// Never stood, by the system's word.
    pub connect: u64,
    /// The server had no service for us: 421, or a refusal at the banner or the hello.
    pub refused: u64,
    /// Closed or reset by the server in the midst.
    pub reset: u64,
    /// No reply, no progress, for as long as we wait.
    pub timeout: u64,
    /// The server said what is not SMTP, or not in its turn.
    pub protocol: u64,
}

/// How long things took, in nanoseconds.
#[derive(Debug)]
pub struct Latencies {
    /// From the connect to the banner.
    pub connect: Histogram<u64>,
    /// From the first octet of MAIL to the 354.
    pub envelope: Histogram<u64>,
    /// From the first octet of the mail data to the positive reply to its end.
    pub accept: Histogram<u64>,
    /// From the first octet of MAIL to the positive reply to the end of data.
    pub message: Histogram<u64>,
}

impl Latencies {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, &Histogram<u64>); 4] {
        [
            ("connect", &self.connect),
            ("envelope", &self.envelope),
            ("accept", &self.accept),
            ("message", &self.message),
        ]
    }
}

impl Default for Tally {
    fn default() -> Tally {
        let histogram =
            || Histogram::new_with_bounds(1, LONGEST_NS, 3).expect("the bounds are constant, and in order");
        Tally {
            accepted: 0,
            transient: 0,
            permanent: 0,
            unanswered: 0,
            failures: Failures::default(),
            latencies: Latencies {
                connect: histogram(),
                envelope: histogram(),
                accept: histogram(),
                message: histogram(),
            },
            replies: vec![0; CODES],
        }
    }
}

impl Tally {
    /// Counts a reply.
    pub fn reply(&mut self, reply: &Reply<'_>) {
        self.replies[usize::from(reply.code())] += 1;
    }

    /// Replies by code, those that came at all.
    pub fn replies(&self) -> impl Iterator<Item = (usize, u64)> {
        self.replies.iter().copied().enumerate().filter(|(_, count)| *count > 0)
    }

    /// Messages that ended.
    pub fn settled(&self) -> u64 {
        self.accepted + self.transient + self.permanent + self.unanswered
    }
}

impl Failures {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.refused + self.reset + self.timeout + self.protocol
    }
}

/// Codes end at 599, which the client's reader of replies sees to.
const CODES: usize = 600;

/// A day: no latency of ours is longer, for every wait has its timeout.
const LONGEST_NS: u64 = 86_400 * 1_000_000_000;
