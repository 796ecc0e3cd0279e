//! What a run came to, as the document that is told of it: figures out of histograms, and what they are worth.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::generator;
use crate::objective::Figures;
use crate::plan::{Pacing, Plan, Search};
use crate::processor::Reading;
use crate::report::environment::rfc3339;
use crate::report::units;
use crate::report::{
    self, Ending, Interval, Latency, Mode, Phases, ReplyCount, Report, SCHEMA_VERSION, SelfCheck, Speaking,
    Step, Target, WarmUp,
};
use crate::run::Outcome;
use crate::tally::{self, Timing};

/// The document about a run.
pub fn report(plan: &Plan, run: &Outcome) -> Report {
    let outcomes = &run.tally.outcomes;
    let objective = judged(plan, run);
    let (ending, ending_reason) = ending(&run.ending);
    let self_check = self_check(run);
    let invalid_reason = invalid_reason(plan, run, &self_check);
    let verdict = verdict(plan, run, objective.as_ref(), invalid_reason.as_deref());
    let rate = match run.pace {
        Pacing::Closed => None,
        Pacing::Open(rate) => Some(rate),
    };
    Report {
        schema_version: SCHEMA_VERSION,
        loadgen: env!("CARGO_PKG_VERSION").into(),
        command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        started: rfc3339(run.started),
        verdict,
        valid: invalid_reason.is_none(),
        invalid_reason,
        ending,
        ending_reason,
        mode: rate.map_or(Mode::Closed, |_| Mode::Open),
        arrivals: rate.map(|rate| rate.arrivals),
        intended_rate: rate.map(|rate| rate.rate),
        offered: run.tally.offered,
        accepted: outcomes.of(tally::Outcome::Accepted),
        refused_transient: outcomes.of(tally::Outcome::Transient),
        refused_permanent: outcomes.of(tally::Outcome::Permanent),
        timed_out: outcomes.of(tally::Outcome::TimedOut),
        broken: outcomes.of(tally::Outcome::Broken),
        abandoned: outcomes.of(tally::Outcome::Abandoned),
        dropped: outcomes.of(tally::Outcome::Dropped),
        messages_per_second: run.rate(),
        octets_per_second: per_second(run.tally.octets_in_time, run.elapsed),
        error_share: run.error_share(),
        elapsed_seconds: run.elapsed.as_secs_f64(),
        warm_up: WarmUp {
            seconds: run.warm_up.as_secs_f64(),
            offered: run.tally.warm_up_offered,
            accepted: run.tally.warm_up.of(tally::Outcome::Accepted),
        },
        phases: phases(run),
        replies: replies(run),
        first_refusal: run.facts.first_negative.clone(),
        connection_failures: run.tally.failures,
        first_failure: run.first_failure.clone(),
        intervals: intervals(run),
        self_check,
        objective,
        sweep: None,
        target: target(plan, run),
        speaking: speaking(plan, run),
        environment: plan.environment.clone(),
    }
}

/// The line of a sweep about one of its runs.
pub fn step(plan: &Plan, run: &Outcome, rate: f64, repetition: u32) -> Step {
    let self_check = self_check(run);
    Step {
        rate,
        repetition,
        messages_per_second: run.rate(),
        offered: run.tally.offered,
        accepted: run.tally.outcomes.of(tally::Outcome::Accepted),
        error_share: run.error_share(),
        message: latency(run.tally.latency(Timing::Message), Detail::Figures),
        accept: latency(run.tally.latency(Timing::Accept), Detail::Figures),
        met: judged(plan, run).map(|objective| objective.met),
        invalid_reason: invalid_reason(plan, run, &self_check),
        client_bound: self_check.client_bound,
    }
}

/// The objective, and what goes without saying: that every message is answered while it is waited for, and of a sweep
/// that the server keeps up with the rate. None if there is no objective.
fn judged(plan: &Plan, run: &Outcome) -> Option<report::Objective> {
    let mut objective = plan.objective.as_ref()?.judge(run);
    let mut also = |text: &str, measured: String| {
        let condition = report::Condition { text: text.into(), measured, met: false };
        objective.conditions.push(condition);
        objective.met = false;
    };
    if run.tally.given_up > 0 {
        also("every message is answered", format!("{} were not", units::count(run.tally.given_up)));
    }
    if plan.search != Search::None && !run.kept_up(plan) {
        let dropped = run.tally.outcomes.of(tally::Outcome::Dropped);
        also(
            "the server keeps up",
            format!("{} waited at the end", units::count(run.left_waiting + dropped)),
        );
    }
    Some(objective)
}

impl Outcome {
    /// Messages accepted in a second; 0 if no time passed. What an open loop's server works off behind the measured time does
    /// not count.
    pub fn rate(&self) -> f64 {
        per_second(self.tally.accepted_in_time, self.elapsed)
    }

    /// The share of offered messages that were not accepted.
    pub fn error_share(&self) -> f64 {
        match self.tally.offered {
            0 => 0.0,
            offered => self.tally.outcomes.errors() as f64 / offered as f64,
        }
    }

    /// Whether the server took messages as fast as they came: hardly more waited at the end than there are connections.
    pub fn kept_up(&self, plan: &Plan) -> bool {
        if self.tally.outcomes.of(tally::Outcome::Dropped) > 0 {
            return false;
        }
        let excusable = (plan.connections as f64).max(WAITING_SHARE_MAX * self.tally.offered as f64);
        self.left_waiting as f64 <= excusable
    }

    /// The generator's own processor time.
    fn used(&self) -> Duration {
        self.processor.iter().map(|reading| reading.used).sum()
    }
}

impl Figures for Outcome {
    fn latencies(&self, phase: &str) -> Option<&Histogram<u64>> {
        let timing = TIMINGS.into_iter().find(|(name, _)| *name == phase)?.1;
        Some(self.tally.latency(timing))
    }

    fn error_share(&self) -> Option<f64> {
        (self.tally.offered > 0).then(|| Outcome::error_share(self))
    }

    fn rate(&self) -> f64 {
        Outcome::rate(self)
    }
}

/// How a run ended, as the document says it.
pub fn ending(ending: &generator::Ending) -> (Ending, Option<String>) {
    match ending {
        generator::Ending::Complete => (Ending::Complete, None),
        generator::Ending::Interrupted => (Ending::Interrupted, Some("a signal ended the run".into())),
        generator::Ending::GaveUp => (
            Ending::GaveUp,
            Some("no connection came to a message any more, for as long as a reply is waited for".into()),
        ),
        generator::Ending::Unreachable(reason) => (Ending::Unreachable, Some(reason.clone())),
    }
}

fn self_check(run: &Outcome) -> SelfCheck {
    let seconds = run.elapsed.as_secs_f64();
    let share = |time: Duration| if seconds > 0.0 { time.as_secs_f64() / seconds } else { 0.0 };
    let busy = |reading: &Reading| share(reading.busy());
    let busiest =
        run.processor.iter().max_by(|a, b| busy(a).total_cmp(&busy(b))).copied().unwrap_or_default();
    let is_open = matches!(run.pace, Pacing::Open(_));
    let lag = run.tally.latency(Timing::Lag);
    SelfCheck {
        client_bound: busy(&busiest) > BUSY_MAX || starved(&run.processor, seconds) || is_open && lags(run),
        processor_us_per_message: match run.tally.offered {
            0 => 0.0,
            offered => run.used().as_secs_f64() * 1e6 / offered as f64,
        },
        processor_share: share(busiest.used),
        spun_share: share(busiest.spun),
        waited_share: busiest.waited.map(share),
        schedule_lag: is_open.then(|| latency(lag, Detail::Figures)),
        reply_lag: latency(run.tally.latency(Timing::ReplyLag), Detail::Figures),
    }
}

/// Whether a thread could have run and was not let, for most of the time: what it measured is the machine's crowd.
fn starved(threads: &[Reading], seconds: f64) -> bool {
    threads
        .iter()
        .filter_map(|thread| thread.waited)
        .any(|waited| waited.as_secs_f64() > WAITED_MAX * seconds)
}

/// Whether starts came so late that it is a good part of what was measured.
fn lags(run: &Outcome) -> bool {
    let lag = run.tally.latency(Timing::Lag).value_at_quantile(0.99) as f64;
    let message = run.tally.latency(Timing::Message);
    // Where nothing was accepted, there is no latency that could be spoilt.
    !message.is_empty() && lag > LAG_SHARE_MAX * message.value_at_quantile(0.99) as f64
}

/// Why the figures are not what they say; none if they are.
fn invalid_reason(plan: &Plan, run: &Outcome, self_check: &SelfCheck) -> Option<String> {
    if run.ending != generator::Ending::Complete {
        return Some("the run broke off".into());
    }
    let must_keep_time = matches!(run.pace, Pacing::Open(_)) || plan.objective.is_some();
    let dropped = run.tally.outcomes.of(tally::Outcome::Dropped);
    if dropped > 0 {
        return Some(format!(
            "client-bound: {dropped} starts were dropped, since too many waited (--max-queue)"
        ));
    }
    if run.tally.offered == 0 {
        return Some("no message was due in the measured time".into());
    }
    if must_keep_time && self_check.client_bound {
        return Some(match &self_check.schedule_lag {
            Some(lag) if lags(run) => format!(
                "client-bound: starts came late (p99 {}), which is more than a tenth of the latency that was measured",
                units::time(lag.p99_us)
            ),
            _ => "client-bound: the generator used a core, or waited for one, all the time".into(),
        });
    }
    None
}

/// One line that says what the run is worth.
fn verdict(
    plan: &Plan,
    run: &Outcome,
    objective: Option<&report::Objective>,
    invalid: Option<&str>,
) -> String {
    if let generator::Ending::Unreachable(reason) = &run.ending {
        return format!("{} has no mail service for us: {reason}", plan.target_name);
    }
    let mut parts = Vec::new();
    match (&run.ending, invalid) {
        (generator::Ending::Interrupted, _) => parts.push("interrupted".to_owned()),
        (generator::Ending::GaveUp, _) => {
            parts.push(format!("gave up, as no connection came to a message any more ({})", example(run)));
        }
        (_, Some(reason)) => parts.push(format!("INVALID: {reason}")),
        (_, None) => {}
    }
    if let Some(objective) = objective {
        let met = if objective.met { "met" } else { "MISSED" };
        parts.push(format!("objective {met} ({})", objective.text));
    }
    let accepted = run.tally.outcomes.of(tally::Outcome::Accepted);
    if run.tally.offered == 0 {
        parts.push("nothing was measured".into());
    } else if accepted == 0 {
        parts.push(format!("nothing was accepted: {}", example(run)));
    } else {
        parts.push(figures(plan, run));
        if matches!(run.pace, Pacing::Open(_)) && !run.kept_up(plan) {
            let waiting = run.left_waiting + run.tally.outcomes.of(tally::Outcome::Dropped);
            parts.push(format!("the server did NOT KEEP UP: {} waited at the end", units::count(waiting)));
        }
        let errors = run.tally.outcomes.errors();
        if errors > 0 {
            parts.push(format!(
                "NOT accepted: {} of {}",
                units::count(errors),
                units::count(run.tally.offered)
            ));
        }
        let refused = refused_recipients(plan, run);
        if refused > 0 {
            parts.push(format!("{refused} recipients were refused"));
        }
        if run.tally.failures.total() > 0 {
            parts.push(format!("{} connections failed", run.tally.failures.total()));
        }
        if invalid.is_none() && matches!(run.pace, Pacing::Closed) && self_check(run).client_bound {
            parts.push(
                "client-bound: the generator used a core, or waited for one, all the time; the server may be able to do more".into(),
            );
        }
    }
    parts.join("; ")
}

/// Recipients that the server did not take; an accepted message may have some.
fn refused_recipients(plan: &Plan, run: &Outcome) -> u64 {
    let is_about_one = |phase: &str| phase == "rcpt" || phase == "accept" && plan.manner.hello.is_lmtp();
    let replies = run.tally.replies().filter(|(phase, code, _)| is_about_one(phase) && *code >= 400);
    replies.map(|(.., count)| count).sum()
}

fn figures(plan: &Plan, run: &Outcome) -> String {
    let mode = match run.pace {
        Pacing::Closed => "closed loop".to_owned(),
        Pacing::Open(open) => format!("open loop, {} offered", units::rate(open.rate)),
    };
    let p99 = |timing| units::time(run.tally.latency(timing).value_at_quantile(0.99) as f64 / 1e3);
    format!(
        "{} messages/s accepted ({mode}, {}), p99 {} accept, {} message",
        units::number(run.rate()),
        in_force(plan, run),
        p99(Timing::Accept),
        p99(Timing::Message)
    )
}

/// Why something was not accepted.
fn example(run: &Outcome) -> String {
    let example = run.facts.first_negative.as_deref().or(run.first_failure.as_deref());
    match example {
        Some(example) => format!("the first failure: {example}"),
        None => "no message came to its end".into(),
    }
}

/// How the server really was spoken to.
fn in_force(plan: &Plan, run: &Outcome) -> String {
    use fastsmtp::smtp::client::Grouping;
    let is_offered = run.facts.pipelining != Some(false);
    let how = match (plan.manner.grouping, is_offered) {
        (Grouping::Lockstep, _) => "lockstep",
        (Grouping::Pipelined, true) => "pipelined",
        (Grouping::Pipelined, false) => "lockstep: PIPELINING is not offered",
        (Grouping::Chunked, true) => "BDAT, pipelined",
        (Grouping::Chunked, false) => "BDAT in lockstep: PIPELINING is not offered",
    };
    let lmtp = if plan.manner.hello.is_lmtp() { "LMTP, " } else { "" };
    let tls = if run.facts.tls.is_some() { ", TLS" } else { "" };
    format!("{lmtp}{how}{tls}")
}

fn phases(run: &Outcome) -> Phases {
    let of = |timing, detail| latency(run.tally.latency(timing), detail);
    Phases {
        connect: of(Timing::Connect, Detail::Figures),
        banner: of(Timing::Banner, Detail::Figures),
        ehlo: of(Timing::Ehlo, Detail::Figures),
        tls: of(Timing::Tls, Detail::Figures),
        auth: of(Timing::Auth, Detail::Figures),
        envelope: of(Timing::Envelope, Detail::Figures),
        data: of(Timing::Data, Detail::Figures),
        accept: of(Timing::Accept, Detail::Curves),
        message: of(Timing::Message, Detail::Curves),
    }
}

/// How much is told of a histogram.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Detail {
    Figures,
    Curves,
}

fn latency(histogram: &Histogram<u64>, detail: Detail) -> Latency {
    if histogram.is_empty() {
        return Latency::default();
    }
    let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let quantile = |quantile| micros(histogram.value_at_quantile(quantile));
    let mut latency = Latency {
        count: histogram.len(),
        mean_us: histogram.mean() / 1e3,
        p50_us: quantile(0.5),
        p90_us: quantile(0.9),
        p99_us: quantile(0.99),
        p99_9_us: quantile(0.999),
        max_us: micros(histogram.max()),
        ..Latency::default()
    };
    if detail == Detail::Curves {
        let points = histogram.iter_quantiles(TICKS_PER_HALF);
        latency.curve =
            points.map(|point| (point.quantile_iterated_to(), micros(point.value_iterated_to()))).collect();
        latency.curve.dedup();
        latency.histogram = buckets(histogram);
    }
    latency
}

/// How many are at most each tenth of a power of ten, in microseconds, from the first to the last that has any.
fn buckets(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    let place = |nanoseconds: u64| ((nanoseconds.max(1) as f64 / 1e3).log10() * 10.0).ceil() as i32;
    let mut buckets: Vec<(i32, u64)> = Vec::new();
    for value in histogram.iter_recorded() {
        let at = place(value.value_iterated_to());
        let first = buckets.last().map_or(at, |(last, _)| last + 1);
        buckets.extend((first..=at).map(|at| (at, 0)));
        if let Some((_, count)) = buckets.last_mut() {
            *count += value.count_since_last_iteration();
        }
    }
    buckets.into_iter().map(|(at, count)| (10f64.powf(f64::from(at) / 10.0), count)).collect()
}

fn replies(run: &Outcome) -> Vec<ReplyCount> {
    let counts = run.tally.replies();
    counts.map(|(phase, code, count)| ReplyCount { phase: phase.into(), code, count }).collect()
}

fn intervals(run: &Outcome) -> Vec<Interval> {
    let micros = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    let interval = |(number, second): (usize, &crate::run::Summary)| Interval {
        at: number as f64,
        offered: second.offered,
        accepted: second.accepted,
        errors: second.errors,
        in_flight: second.in_flight,
        p50_us: micros(second.p50),
        p99_us: micros(second.p99),
        max_us: micros(second.max),
    };
    run.seconds.iter().enumerate().map(interval).collect()
}

fn target(plan: &Plan, run: &Outcome) -> Target {
    Target {
        name: plan.target_name.clone(),
        address: plan.target.to_string(),
        banner: run.facts.banner.clone(),
        extensions: run.facts.extensions.clone(),
        same_machine: run.facts.same_machine,
        tls: run.facts.tls.clone(),
    }
}

fn speaking(plan: &Plan, run: &Outcome) -> Speaking {
    use fastsmtp::smtp::client::Grouping;
    Speaking {
        protocol: if plan.manner.hello.is_lmtp() { "lmtp" } else { "smtp" }.into(),
        grouping: match plan.manner.grouping {
            Grouping::Lockstep => "lockstep",
            Grouping::Pipelined => "pipeline",
            Grouping::Chunked => "bdat",
        }
        .into(),
        in_force: in_force(plan, run),
        tls: plan.tls.name().into(),
        auth: plan.mechanism.clone(),
        connections: plan.connections as u64,
        threads: plan.threads as u64,
        messages_per_connection: plan.messages_per_connection,
        size: plan.words[0].clone(),
        recipients: plan.words[1].clone(),
        timeout_seconds: plan.timeout.as_secs_f64(),
        seed: plan.seed,
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    let seconds = elapsed.as_secs_f64();
    if seconds > 0.0 { count as f64 / seconds } else { 0.0 }
}

/// What an objective may be about, by name.
const TIMINGS: [(&str, Timing); 9] = [
    ("connect", Timing::Connect),
    ("banner", Timing::Banner),
    ("ehlo", Timing::Ehlo),
    ("tls", Timing::Tls),
    ("auth", Timing::Auth),
    ("envelope", Timing::Envelope),
    ("data", Timing::Data),
    ("accept", Timing::Accept),
    ("message", Timing::Message),
];

/// The share of its time that a thread may use or wait for a core, before it counts as the limit.
const BUSY_MAX: f64 = 0.9;

/// The share of its time that a thread may wait for a core.
const WAITED_MAX: f64 = 0.5;

/// The share of the latency that was measured, by which starts may be late.
const LAG_SHARE_MAX: f64 = 0.1;

/// The share of offered messages that may wait at the end of a step whose rate the server is to keep up with.
const WAITING_SHARE_MAX: f64 = 0.02;

/// Points of a percentile curve between a quantile and the one half as far from the end.
const TICKS_PER_HALF: u32 = 5;
