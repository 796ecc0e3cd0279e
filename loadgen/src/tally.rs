//! What one thread counts, and what several come to together: messages by what became of them, replies, failures,
//! latencies, and the present second of all that.
//!
//! A message belongs to the measured time if its *intended start* lies in it, however late it ends: else a stall at the
//! end would be in no figure. Every message offered is in exactly one [`Outcome`], or still under way.

use std::array;

use hdrhistogram::Histogram;

use crate::report::ConnectionFailures;

/// What became of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The server took responsibility for it.
    Accepted,
    /// Refused for now (4yz).
    Transient,
    /// Refused for good (5yz).
    Permanent,
    /// No answer in time.
    TimedOut,
    /// Its connection broke or was closed before the answer.
    Broken,
    /// Given up under way, or while it waited for a connection, at the end of the run.
    Abandoned,
    /// Never begun: too many waited already.
    Dropped,
}

/// How many messages came to each outcome.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Outcomes([u64; 7]);

impl Outcomes {
    /// Counts one.
    pub fn count(&mut self, outcome: Outcome) {
        self.0[outcome as usize] += 1;
    }

    /// How many came to this one.
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many came to any.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }

    /// How many came to any other than being accepted.
    pub fn errors(&self) -> u64 {
        self.total() - self.of(Outcome::Accepted)
    }

    /// Adds another's.
    pub fn add(&mut self, other: &Outcomes) {
        self.0.iter_mut().zip(other.0).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// What a latency is of, in the order in which they come; the report has the exact meaning of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timing {
    /// TCP.
    Connect,
    /// The 220.
    Banner,
    /// EHLO, HELO, LHLO.
    Ehlo,
    /// The handshake.
    Tls,
    /// The exchange of AUTH.
    Auth,
    /// MAIL to the last RCPT.
    Envelope,
    /// DATA to the 354.
    Data,
    /// Durable acceptance.
    Accept,
    /// From the intended start to the end.
    Message,
    /// How late the generator came to an intended start.
    Lag,
    /// For how long a reply waited while others of the same turn were handled.
    ReplyLag,
}

/// What one stretch of time came to.
#[derive(Debug)]
pub struct Second {
    /// Messages whose intended start lay in it.
    pub offered: u64,
    /// Messages that ended in it.
    pub outcomes: Outcomes,
    /// Messages under way, or waiting for a connection, at its end.
    pub in_flight: u64,
    /// Their latencies from the intended start, in nanoseconds.
    pub message: Histogram<u64>,
    /// Their latencies of acceptance, in nanoseconds.
    pub accept: Histogram<u64>,
}

impl Default for Second {
    fn default() -> Second {
        Second {
            offered: 0,
            outcomes: Outcomes::default(),
            in_flight: 0,
            message: histogram(),
            accept: histogram(),
        }
    }
}

impl Second {
    /// Adds another thread's share of the same second.
    pub fn add(&mut self, other: &Second) {
        self.offered += other.offered;
        self.outcomes.add(&other.outcomes);
        self.in_flight += other.in_flight;
        add(&mut self.message, &other.message);
        add(&mut self.accept, &other.accept);
    }
}

/// The counts of a run, or of one thread's part in it.
#[derive(Debug)]
pub struct Tally {
    /// Measured messages, by what became of them.
    pub outcomes: Outcomes,
    /// Measured messages.
    pub offered: u64,
    /// Of those that were accepted, the ones that count for the rate: of a closed loop all, of an open one those that were
    /// accepted within the measured time.
    pub accepted_in_time: u64,
    /// Octets of the mail data of these.
    pub octets_in_time: u64,
    /// Messages that were waited for no longer at the end of the run.
    pub given_up: u64,
    /// Messages of the warm-up.
    pub warm_up_offered: u64,
    /// What became of them.
    pub warm_up: Outcomes,
    /// Connections that ended otherwise than by our QUIT.
    pub failures: ConnectionFailures,
    latencies: [Histogram<u64>; TIMINGS],
    /// Replies by what they answer and by code.
    replies: Vec<[u64; CODES]>,
}

impl Default for Tally {
    fn default() -> Tally {
        Tally {
            outcomes: Outcomes::default(),
            offered: 0,
            accepted_in_time: 0,
            octets_in_time: 0,
            given_up: 0,
            warm_up_offered: 0,
            warm_up: Outcomes::default(),
            failures: ConnectionFailures::default(),
            latencies: array::from_fn(|_| histogram()),
            replies: vec![[0; CODES]; ANSWERED.len()],
        }
    }
}

impl Tally {
    /// Counts a latency, in nanoseconds.
    pub fn record(&mut self, timing: Timing, nanoseconds: u64) {
        record(&mut self.latencies[timing as usize], nanoseconds);
    }

    /// The latencies of one kind, in nanoseconds.
    pub fn latency(&self, timing: Timing) -> &Histogram<u64> {
        &self.latencies[timing as usize]
    }

    /// Counts a reply with a code below 600 to the thing at this place in [`ANSWERED`].
    pub fn reply(&mut self, answered: usize, code: u16) {
        self.replies[answered][usize::from(code)] += 1;
    }

    /// Replies that came at all: what they answer, the code, how many.
    pub fn replies(&self) -> impl Iterator<Item = (&'static str, u16, u64)> {
        ANSWERED.into_iter().zip(&self.replies).flat_map(|(name, codes)| {
            codes
                .iter()
                .enumerate()
                .filter(|(_, count)| **count > 0)
                .map(move |(code, count)| (name, code as u16, *count))
        })
    }

    /// Adds another thread's.
    pub fn add(&mut self, other: &Tally) {
        self.outcomes.add(&other.outcomes);
        self.offered += other.offered;
        self.accepted_in_time += other.accepted_in_time;
        self.octets_in_time += other.octets_in_time;
        self.given_up += other.given_up;
        self.warm_up_offered += other.warm_up_offered;
        self.warm_up.add(&other.warm_up);
        self.failures.add(&other.failures);
        self.latencies.iter_mut().zip(&other.latencies).for_each(|(mine, theirs)| add(mine, theirs));
        for (mine, theirs) in self.replies.iter_mut().zip(&other.replies) {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }
}

/// What a reply may answer, by name.
pub const ANSWERED: [&str; 13] = [
    "banner", "ehlo", "helo", "starttls", "auth", "mail", "rcpt", "data", "accept", "cancel", "rset", "quit",
    "unasked",
];

/// Latencies with a relative error of a thousandth, from a nanosecond on; grows as far as it must.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are within what it can")
}

/// Counts a value in nanoseconds.
pub fn record(histogram: &mut Histogram<u64>, nanoseconds: u64) {
    histogram
        .record(nanoseconds.min(LONGEST_NS))
        .expect("it grows by itself, and this is no end of the world");
}

fn add(mine: &mut Histogram<u64>, theirs: &Histogram<u64>) {
    mine.add(theirs).expect("it grows by itself");
}

const TIMINGS: usize = Timing::ReplyLag as usize + 1;

/// Codes end at 599, which the client's reader of replies sees to.
const CODES: usize = 600;

/// A day: no latency of ours is longer, for every wait has its timeout.
const LONGEST_NS: u64 = 86_400 * 1_000_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_two_threads_counted_adds_up() {
        let mut one = Tally::default();
        let mut two = Tally::default();
        one.record(Timing::Accept, 1_000);
        two.record(Timing::Accept, 5_000_000_000);
        two.outcomes.count(Outcome::Broken);
        one.outcomes.count(Outcome::Accepted);
        (one.offered, two.offered) = (1, 1);
        one.reply(1, 250);
        two.reply(1, 250);
        two.reply(5, 451);
        one.add(&two);
        assert_eq!((one.offered, one.outcomes.total(), one.outcomes.errors()), (2, 2, 1));
        assert_eq!(one.replies().collect::<Vec<_>>(), [("ehlo", 250, 2), ("mail", 451, 1)]);
        let accept = one.latency(Timing::Accept);
        assert_eq!((accept.len(), accept.value_at_quantile(0.5) / 10), (2, 100));
        assert!(accept.max() >= 5_000_000_000);
    }

    #[test]
    fn a_latency_beyond_all_bounds_is_counted_at_the_bound() {
        let mut tally = Tally::default();
        tally.record(Timing::Message, u64::MAX);
        assert_eq!(tally.latency(Timing::Message).len(), 1);
    }
}
