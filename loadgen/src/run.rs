//! A run: its threads, and what they come to together.
//!
//! The calling thread coordinates: it puts the seconds of the threads together, hands each to a [`Watcher`] as soon as it
//! is whole, and passes a signal on. It costs a few wake-ups a second.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::generator::{self, Done, Ending};
use crate::ledger::Ledger;
use crate::load::{Facts, Load, Pace};
use crate::mails::Mails;
use crate::plan::{Amount, Pacing, Plan};
use crate::processor::Reading;
use crate::schedule::{Part, Schedule};
use crate::tally::{Second, Tally};
use crate::timeline::{Pulse, Pulses, Shared, Timeline, nanoseconds};

/// What a run came to.
#[derive(Debug)]
pub struct Outcome {
    /// What decided when messages began.
    pub pace: Pacing,
    /// When it began.
    pub started: SystemTime,
    /// The counts.
    pub tally: Tally,
    /// How long the measured time was.
    pub elapsed: Duration,
    /// How long the load was on before that.
    pub warm_up: Duration,
    /// Starts that waited for a connection when the measured time was over.
    pub left_waiting: u64,
    /// What each thread cost in the measured time.
    pub processor: Vec<Reading>,
    /// What was learnt of the server.
    pub facts: Facts,
    /// The first failure of a connection, as an example.
    pub first_failure: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// The seconds of the measured time, and behind it.
    pub seconds: Vec<Summary>,
}

/// What is kept of a second when its histograms are gone. Latencies are in nanoseconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Summary {
    /// Messages offered.
    pub offered: u64,
    /// Messages accepted.
    pub accepted: u64,
    /// Messages that ended otherwise.
    pub errors: u64,
    /// Messages under way, or waiting, at its end.
    pub in_flight: u64,
    /// Of messages.
    pub p50: u64,
    /// Of messages.
    pub p99: u64,
    /// Of messages.
    pub max: u64,
}

impl Summary {
    fn of(second: &Second) -> Summary {
        let accepted = second.outcomes.of(crate::tally::Outcome::Accepted);
        Summary {
            offered: second.offered,
            accepted,
            errors: second.outcomes.total() - accepted,
            in_flight: second.in_flight,
            p50: second.message.value_at_quantile(0.5),
            p99: second.message.value_at_quantile(0.99),
            max: second.message.max(),
        }
    }
}

/// What is told while a run is under way.
pub enum Moment<'a> {
    /// So many connections were tried, of all.
    Opening(u64),
    /// A second is over: which one of the measured time, none before that.
    Second(Option<u32>, &'a Second, Summary),
    /// Time passes.
    Tick,
}

/// Who is told.
pub trait Watcher {
    /// Takes note.
    fn moment(&mut self, moment: Moment<'_>);
}

/// Makes a run at a pace. An error is the system's, not the server's.
pub fn run(
    plan: &Plan,
    pace: Pacing,
    ledger: Option<&Ledger>,
    interrupted: &AtomicBool,
    watcher: &mut dyn Watcher,
) -> io::Result<Outcome> {
    let started = SystemTime::now();
    let shared = Arc::new(Shared::new(plan.connections as u64));
    let (sender, pulses) = channel();
    let mut loads = Vec::new();
    for thread in 0..plan.threads {
        let part = Part { index: thread as u64, of: plan.threads as u64 };
        let pulses = Pulses::new(thread, sender.clone());
        loads.push((part, load(plan, pace, part, Arc::clone(&shared), pulses, ledger)));
    }
    drop(sender);
    thread::scope(|scope| {
        let threads: Vec<_> = loads
            .into_iter()
            .map(|(part, load)| {
                let name = format!("loadgen-{}", part.index);
                thread::Builder::new()
                    .name(name)
                    .spawn_scoped(scope, move || generator::run(plan, part, load))
            })
            .collect::<io::Result<_>>()
            .inspect_err(|_| shared.is_stopped.store(true, Ordering::Release))?;
        let mut seconds = Seconds::new(plan.threads);
        coordinate(&shared, &pulses, interrupted, &mut seconds, watcher);
        let mut done = Vec::new();
        for thread in threads {
            done.push(thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(together(plan, pace, started, done, seconds.summaries))
    })
}

fn load(
    plan: &Plan,
    pace: Pacing,
    part: Part,
    shared: Arc<Shared>,
    pulses: Pulses,
    ledger: Option<&Ledger>,
) -> Load {
    let (until, messages) = match plan.amount {
        Amount::Messages(messages) => (u64::MAX, messages),
        Amount::Time { warm_up, measured } => (nanoseconds(warm_up + measured), u64::MAX / 2),
    };
    let pace = match pace {
        Pacing::Closed => Pace::Closed { remaining: part.share(messages) },
        Pacing::Open(rate) => Pace::Open {
            schedule: Schedule::new(rate.rate, rate.arrivals, part, until, messages, plan.seed),
            waiting: VecDeque::new(),
            waiting_max: part.share(rate.waiting_max as u64) as usize,
        },
    };
    Load {
        shared,
        timeline: Timeline::UNKNOWN,
        manner: Arc::clone(&plan.manner),
        security: plan.security.clone(),
        needs_eight_bit_mime: plan.content.needs_eight_bit_mime(),
        blocked: Duration::ZERO,
        mails: Mails::new(
            Arc::clone(&plan.content),
            plan.seed ^ MAILS ^ part.index.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        ),
        pace,
        messages_per_connection: plan.messages_per_connection,
        resting: VecDeque::new(),
        tally: Tally::default(),
        pulses,
        ledger: ledger.map(Ledger::recorder),
        settled_at: 0,
        facts: Facts::default(),
    }
}

/// Puts seconds together until the threads have ended.
fn coordinate(
    shared: &Shared,
    pulses: &Receiver<Pulse>,
    interrupted: &AtomicBool,
    seconds: &mut Seconds,
    watcher: &mut dyn Watcher,
) {
    let mut told = Instant::now();
    loop {
        match pulses.recv_timeout(TICK) {
            Ok(pulse) => seconds.take(pulse, watcher),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        if interrupted.load(Ordering::Relaxed) {
            shared.is_stopped.store(true, Ordering::Release);
        }
        if told.elapsed() >= TICK {
            told = Instant::now();
            watcher.moment(match shared.starts() {
                None => Moment::Opening(shared.tried_so_far()),
                Some(_) => Moment::Tick,
            });
        }
    }
    seconds.finish(watcher);
}

/// Seconds that wait for the threads that have not told of them yet.
struct Seconds {
    threads: usize,
    /// By number; before the measured time (none) a second is told as soon as one thread has.
    open: BTreeMap<u32, (usize, Second)>,
    summaries: Vec<Summary>,
}

impl Seconds {
    fn new(threads: usize) -> Seconds {
        Seconds { threads, open: BTreeMap::new(), summaries: Vec::new() }
    }

    fn take(&mut self, pulse: Pulse, watcher: &mut dyn Watcher) {
        let Some(number) = pulse.number else {
            let summary = Summary::of(&pulse.second);
            return watcher.moment(Moment::Second(None, &pulse.second, summary));
        };
        let (count, second) = self.open.entry(number).or_default();
        *count += 1;
        second.add(&pulse.second);
        if *count == self.threads {
            self.close_through(number, watcher);
        }
    }

    /// Closes all seconds through this one, in order.
    fn close_through(&mut self, number: u32, watcher: &mut dyn Watcher) {
        let later = self.open.split_off(&(number + 1));
        for (number, (_, second)) in std::mem::replace(&mut self.open, later) {
            let summary = Summary::of(&second);
            self.summaries.resize(number as usize, Summary::default());
            self.summaries.push(summary);
            watcher.moment(Moment::Second(Some(number), &second, summary));
        }
    }

    /// The threads have ended: their last seconds are as whole as they will be.
    fn finish(&mut self, watcher: &mut dyn Watcher) {
        self.close_through(u32::MAX - 1, watcher);
        let is_empty = |second: &Summary| second.offered + second.accepted + second.errors == 0;
        while self.summaries.last().is_some_and(is_empty) {
            self.summaries.pop();
        }
    }
}

/// What the threads came to together.
fn together(
    plan: &Plan,
    pace: Pacing,
    started: SystemTime,
    done: Vec<Done>,
    seconds: Vec<Summary>,
) -> Outcome {
    let timeline = done.iter().map(|done| done.timeline).find(|timeline| timeline.starts != u64::MAX);
    let ended = done.iter().map(|done| done.ended).max().unwrap_or_default();
    let ended = match (pace, plan.amount, timeline) {
        // A schedule ends one distance behind its last start, not with that.
        (Pacing::Open(open), Amount::Messages(messages), Some(timeline)) if is_complete(&done) => {
            let scheduled = Duration::from_secs_f64(messages as f64 / open.rate);
            ended.max(timeline.begins.saturating_add(nanoseconds(scheduled)))
        }
        _ => ended,
    };
    let (elapsed, warm_up) = match timeline {
        None => (Duration::ZERO, Duration::ZERO),
        Some(timeline) => (
            Duration::from_nanos(ended.saturating_sub(timeline.begins)),
            Duration::from_nanos(timeline.begins.min(ended).saturating_sub(timeline.starts)),
        ),
    };
    let mut outcome = Outcome {
        pace,
        started,
        tally: Tally::default(),
        elapsed,
        warm_up,
        left_waiting: 0,
        processor: Vec::with_capacity(plan.threads),
        facts: Facts::default(),
        first_failure: None,
        ending: Ending::Complete,
        seconds,
    };
    for thread in done {
        outcome.tally.add(&thread.tally);
        outcome.left_waiting += thread.left_waiting;
        outcome.processor.push(thread.processor);
        outcome.facts.complete(thread.facts);
        outcome.first_failure = outcome.first_failure.or(thread.first_failure);
        outcome.ending = outcome.ending.worse(thread.ending);
    }
    outcome
}

fn is_complete(done: &[Done]) -> bool {
    done.iter().all(|done| done.ending == Ending::Complete)
}

/// Sets what messages are drawn from apart from what starts are.
const MAILS: u64 = 0x006d_6169_6c73;

/// How often the coordinator looks for a signal and tells of the time.
const TICK: Duration = Duration::from_millis(200);
