//! Reports of runs that never were: for tests, and for looking at what is made of them.
//!
//! A server is imagined that takes some milliseconds for a message and may stall for one second in every ten; messages
//! are sent to it on a number of connections, from a closed loop or by a schedule. The same arguments give the same
//! report.

use std::sync::LazyLock;

use super::{
    Arrivals, Condition, Ending, Environment, Interval, Latency, Mode, Objective, Phases, ReplyCount, Report,
    SCHEMA_VERSION, SelfCheck, Speaking, Step, Sweep, SweepKind, Target, WarmUp,
};

/// Ten seconds of a closed loop that went well.
pub fn closed() -> Report {
    // It is some work, and many tests want it.
    static CLOSED: LazyLock<Report> = LazyLock::new(undisturbed);
    CLOSED.clone()
}

fn undisturbed() -> Report {
    let load = Load { rate: None, seconds: 10, stalls: Stalls::Never };
    let mut report = told(load, &imagined(load));
    report.verdict = format!(
        "{:.0} messages/s accepted (closed loop, pipelined), accept p99 {}",
        report.messages_per_second,
        super::units::time(report.phases.accept.p99_us)
    );
    report
}

/// A closed loop against a server that stalls for one second in every ten.
pub fn closed_stalling(seconds: u32) -> Report {
    let load = Load { rate: None, seconds, stalls: Stalls::OneSecondInTen };
    let mut report = told(load, &imagined(load));
    report.verdict = format!(
        "{:.0} messages/s accepted (closed loop: stalls hardly show), accept p99 {}",
        report.messages_per_second,
        super::units::time(report.phases.accept.p99_us)
    );
    report
}

/// An open loop of 1,500 messages a second against the same server, with an objective that it misses.
pub fn open_stalling(seconds: u32) -> Report {
    let load = Load { rate: Some(1_500.0), seconds, stalls: Stalls::OneSecondInTen };
    let mut report = told(load, &imagined(load));
    let p99 = super::units::time(report.phases.message.p99_us);
    report.objective = Some(Objective {
        text: "p99<50ms,errors<1%".into(),
        met: false,
        conditions: vec![
            Condition { text: "p99<50ms".into(), measured: p99.clone(), met: false },
            Condition { text: "errors<1%".into(), measured: "0 %".into(), met: true },
        ],
    });
    report.verdict = format!("objective MISSED at 1,500 messages/s (open loop, constant): message p99 {p99}");
    report
}

/// A search for the knee over twelve rates.
pub fn sweep() -> Report {
    static SWEEP: LazyLock<Report> = LazyLock::new(searched);
    SWEEP.clone()
}

fn searched() -> Report {
    let rates = [
        250.0, 500.0, 1_000.0, 2_000.0, 4_000.0, 3_000.0, 3_500.0, 3_250.0, 3_125.0, 3_187.5, 3_156.0,
        3_172.0,
    ];
    let steps: Vec<Step> = rates.map(step).into();
    let knee = steps.iter().filter(|step| step.met == Some(true)).map(|step| step.rate).fold(0.0, f64::max);
    let broken =
        steps.iter().filter(|step| step.rate > knee).map(|step| step.rate).fold(f64::INFINITY, f64::min);
    let load = Load { rate: Some(knee), seconds: 4, stalls: Stalls::Never };
    let mut report = told(load, &imagined(load));
    report.arrivals = Some(Arrivals::Poisson);
    report.objective = Some(Objective {
        text: "p99<50ms".into(),
        met: true,
        conditions: vec![Condition {
            text: "p99<50ms".into(),
            measured: super::units::time(report.phases.message.p99_us),
            met: true,
        }],
    });
    report.verdict = format!("{} messages/s kept p99<50ms; {} did not", knee, broken);
    report.sweep = Some(Sweep { kind: SweepKind::Knee, knee: Some(knee), broken_at: Some(broken), steps });
    report
}

/// A ramp without an objective, each rate three times; the highest lost messages, or was more than the generator could.
pub fn ramp() -> Report {
    let mut report = sweep();
    let rates: [f64; 6] = [500.0, 1_000.0, 2_000.0, 3_000.0, 4_000.0, 16_000.0];
    let mut steps = Vec::new();
    for rate in rates {
        for (repetition, factor) in [(1, 1.0), (2, 0.8), (3, 1.3)] {
            let mut step = step(rate.min(4_000.0));
            (step.rate, step.repetition, step.met) = (rate, repetition, None);
            step.message.p99_us *= factor;
            step.error_share = if rate < 4_000.0 { 0.0 } else { 0.02 * factor };
            step.invalid_reason = (rate > 8_000.0).then(|| "the generator came to its starts late".into());
            steps.push(step);
        }
    }
    report.objective = None;
    report.verdict = "18 runs from 500 to 16,000 messages/s, see the table".into();
    report.sweep = Some(Sweep { kind: SweepKind::Ramp, knee: None, broken_at: None, steps });
    report
}

/// A run that the generator itself held back.
pub fn invalid() -> Report {
    let mut report = open_stalling(10);
    let reason = "the generator came to its starts late (p99 84.2 ms) and used 99 % of its core";
    report.valid = false;
    report.invalid_reason = Some(reason.into());
    report.objective = None;
    report.verdict = format!("INVALID: {reason}");
    report.self_check.client_bound = true;
    report.self_check.processor_share = 0.992;
    report
}

/// A server that refuses everything, in words that try to be mark-up.
pub fn nothing_accepted() -> Report {
    let load = Load { rate: None, seconds: 0, stalls: Stalls::Never };
    let mut report = told(load, &[]);
    report.offered = 1_200;
    report.refused_transient = 800;
    report.refused_permanent = 398;
    report.broken = 2;
    report.error_share = 1.0;
    report.elapsed_seconds = 3.0;
    report.replies = vec![
        ReplyCount { phase: "banner".into(), code: 220, count: 20 },
        ReplyCount { phase: "mail".into(), code: 452, count: 800 },
        ReplyCount { phase: "rcpt".into(), code: 550, count: 398 },
    ];
    report.target.banner = Some(HOSTILE.into());
    report.first_refusal = Some(format!("452 4.3.1 {HOSTILE}"));
    report.first_failure = Some("reset: connection reset by peer".into());
    report.connection_failures.reset = 2;
    report.verdict =
        format!("nothing was accepted: 800 messages refused with 4xx; the first: 452 4.3.1 {HOSTILE}");
    report
}

/// A target where nothing listens.
pub fn unreachable() -> Report {
    let load = Load { rate: None, seconds: 0, stalls: Stalls::Never };
    let mut report = told(load, &[]);
    report.phases = Phases::default();
    report.replies.clear();
    report.warm_up = WarmUp::default();
    report.target =
        Target { name: "127.0.0.1:2525".into(), address: "127.0.0.1:2525".into(), ..Target::default() };
    report.self_check = SelfCheck::default();
    report.connection_failures.connect = 1;
    report.first_failure = Some("connect: connection refused".into());
    report.ending = Ending::Unreachable;
    report.ending_reason = Some("connection refused".into());
    report.valid = false;
    report.invalid_reason = Some("there was no server".into());
    report.verdict = "127.0.0.1:2525 has no SMTP service for us: connection refused".into();
    report
}

/// What a hostile server might say.
pub const HOSTILE: &str =
    "<script>alert(\"1\")</script> '\"><img src=x onerror=alert(1)>\r\n\x1b[31m\0\u{202e}]]>--></style>&#60;";

/// What is sent.
#[derive(Clone, Copy)]
struct Load {
    /// Messages a second; none in a closed loop.
    rate: Option<f64>,
    seconds: u32,
    stalls: Stalls,
}

#[derive(Clone, Copy)]
enum Stalls {
    Never,
    OneSecondInTen,
}

/// One message: its times in seconds from the beginning.
struct Sent {
    intended: f64,
    begun: f64,
    ended: f64,
}

/// Sends all messages of a load to the imagined server.
fn imagined(load: Load) -> Vec<Sent> {
    let mut chance = Chance(7);
    let mut free = [0.0_f64; CONNECTIONS];
    let mut sent = Vec::new();
    for number in 0.. {
        let connection = (0..CONNECTIONS).min_by(|&a, &b| free[a].total_cmp(&free[b])).unwrap_or(0);
        let intended = load.rate.map_or(free[connection], |rate| f64::from(number) / rate);
        if intended >= f64::from(load.seconds) {
            return sent;
        }
        let begun = intended.max(free[connection]);
        let ended = after_stalls(begun, begun + chance.service(), load.stalls);
        free[connection] = ended;
        sent.push(Sent { intended, begun, ended });
    }
    sent
}

/// When the reply comes: what a stall meets waits for its end.
fn after_stalls(begun: f64, ended: f64, stalls: Stalls) -> f64 {
    let stalled = |at: f64| (5.0..6.0).contains(&(at % 10.0));
    match stalls {
        Stalls::OneSecondInTen if stalled(begun) || stalled(ended) => {
            (begun / 10.0).floor() * 10.0 + 6.0 + (ended - begun)
        }
        _ => ended,
    }
}

/// What is random, the same each time (SplitMix64).
struct Chance(u64);

impl Chance {
    /// From 0 to below 1.
    fn uniform(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Seconds that the server takes: 3 ms, and a tail of some more.
    fn service(&mut self) -> f64 {
        0.003 - (1.0 - self.uniform()).ln() * 0.003
    }
}

/// The report of messages that were all accepted.
fn told(load: Load, sent: &[Sent]) -> Report {
    let elapsed = f64::from(load.seconds);
    let accepted = sent.len() as u64;
    Report {
        schema_version: SCHEMA_VERSION,
        loadgen: "0.1.0".into(),
        command: command(load),
        started: "2026-11-28T00:30:00Z".into(),
        verdict: String::new(),
        valid: true,
        invalid_reason: None,
        ending: Ending::Complete,
        ending_reason: None,
        mode: if load.rate.is_some() { Mode::Open } else { Mode::Closed },
        arrivals: load.rate.map(|_| Arrivals::Constant),
        intended_rate: load.rate,
        offered: accepted,
        accepted,
        refused_transient: 0,
        refused_permanent: 0,
        timed_out: 0,
        broken: 0,
        abandoned: 0,
        dropped: 0,
        messages_per_second: accepted as f64 / elapsed.max(1.0),
        octets_per_second: 4096.0 * accepted as f64 / elapsed.max(1.0),
        error_share: 0.0,
        elapsed_seconds: elapsed,
        warm_up: WarmUp { seconds: 2.0, offered: accepted / 5, accepted: accepted / 5 },
        phases: phases(sent),
        replies: replies(accepted),
        first_refusal: None,
        connection_failures: Default::default(),
        first_failure: None,
        intervals: intervals(sent, load.seconds),
        self_check: self_check(load),
        objective: None,
        sweep: None,
        target: target(),
        speaking: speaking(),
        environment: environment(),
    }
}

fn command(load: Load) -> Vec<String> {
    let mut command: Vec<String> =
        ["loadgen", "127.0.0.1:2525", "--connections", "20", "--size", "4KiB"].map(String::from).into();
    if let Some(rate) = load.rate {
        command.extend(["--rate".into(), rate.to_string()]);
    }
    command
}

fn phases(sent: &[Sent]) -> Phases {
    let of = |share: f64| latency(sent.iter().map(|message| (message.ended - message.begun) * 1e6 * share));
    Phases {
        connect: latency((0..CONNECTIONS).map(|number| 40.0 + number as f64)),
        banner: latency((0..CONNECTIONS).map(|number| 180.0 + 3.0 * number as f64)),
        ehlo: latency((0..CONNECTIONS).map(|number| 90.0 + number as f64)),
        tls: Latency::default(),
        auth: Latency::default(),
        envelope: of(0.04),
        data: of(0.02),
        accept: of(0.94),
        message: latency(sent.iter().map(|message| (message.ended - message.intended) * 1e6)),
    }
}

/// The distribution of some microseconds.
pub fn latency(values: impl Iterator<Item = f64>) -> Latency {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let Some(&max) = values.last() else { return Latency::default() };
    let at = |share: f64| values[((share * values.len() as f64).ceil() as usize).clamp(1, values.len()) - 1];
    let beyond_none = (values.len() as f64).log10();
    let shares = (0..).map(|tenth| f64::from(tenth) / 10.0).take_while(|nines| *nines <= beyond_none);
    let mut curve: Vec<(f64, f64)> =
        shares.map(|nines| 1.0 - 0.1_f64.powf(nines)).map(|share| (share, at(share))).collect();
    curve.push((1.0, max));
    Latency {
        count: values.len() as u64,
        mean_us: values.iter().sum::<f64>() / values.len() as f64,
        p50_us: at(0.5),
        p90_us: at(0.9),
        p99_us: at(0.99),
        p99_9_us: at(0.999),
        max_us: max,
        curve,
        histogram: histogram(&values),
    }
}

fn histogram(values: &[f64]) -> Vec<(f64, u64)> {
    let mut buckets: Vec<(f64, u64)> = Vec::new();
    for value in values {
        let bound = 10_f64.powf((value.max(1.0).log10() * 10.0).ceil() / 10.0);
        match buckets.last_mut() {
            Some((last, count)) if *last == bound => *count += 1,
            _ => buckets.push((bound, 1)),
        }
    }
    buckets
}

fn intervals(sent: &[Sent], seconds: u32) -> Vec<Interval> {
    let last = sent.iter().map(|message| message.ended).fold(f64::from(seconds), f64::max).ceil() as usize;
    let mut ended: Vec<Vec<f64>> = vec![Vec::new(); last];
    let mut intervals: Vec<Interval> =
        (0..last).map(|at| Interval { at: at as f64, ..Interval::default() }).collect();
    for message in sent {
        intervals[message.intended as usize].offered += 1;
        let end = (message.ended as usize).min(last - 1);
        intervals[end].accepted += 1;
        ended[end].push((message.ended - message.intended) * 1e6);
    }
    let mut in_flight = 0;
    for (interval, values) in intervals.iter_mut().zip(ended) {
        in_flight = in_flight + interval.offered - interval.accepted;
        let latency = latency(values.into_iter());
        (interval.p50_us, interval.p99_us, interval.max_us) =
            (latency.p50_us, latency.p99_us, latency.max_us);
        interval.in_flight = in_flight;
    }
    intervals
}

fn step(rate: f64) -> Step {
    let load = Load { rate: Some(rate), seconds: 2, stalls: Stalls::Never };
    let report = told(load, &imagined(load));
    let in_time: u64 = report
        .intervals
        .iter()
        .filter(|second| second.at < f64::from(load.seconds))
        .map(|second| second.accepted)
        .sum();
    Step {
        rate,
        repetition: 1,
        messages_per_second: in_time as f64 / f64::from(load.seconds),
        offered: report.offered,
        accepted: report.accepted,
        error_share: 0.0,
        met: Some(report.phases.message.p99_us < 50_000.0),
        message: report.phases.message,
        accept: report.phases.accept,
        client_bound: false,
        invalid_reason: None,
    }
}

fn replies(accepted: u64) -> Vec<ReplyCount> {
    let each = [("mail", 250), ("rcpt", 250), ("data", 354), ("accept", 250)];
    let mut replies = vec![
        ReplyCount { phase: "banner".into(), code: 220, count: CONNECTIONS as u64 },
        ReplyCount { phase: "ehlo".into(), code: 250, count: CONNECTIONS as u64 },
    ];
    replies.extend(each.map(|(phase, code)| ReplyCount { phase: phase.into(), code, count: accepted }));
    replies
}

fn self_check(load: Load) -> SelfCheck {
    SelfCheck {
        client_bound: false,
        processor_us_per_message: 11.4,
        processor_share: 0.031,
        spun_share: 0.0,
        reply_lag: Latency::default(),
        waited_share: Some(0.004),
        schedule_lag: load.rate.map(|_| latency((0..1_000).map(|number| 20.0 + f64::from(number) * 0.05))),
    }
}

fn target() -> Target {
    Target {
        name: "127.0.0.1:2525".into(),
        address: "127.0.0.1:2525".into(),
        banner: Some("220 mail.example.org ESMTP ready".into()),
        extensions: ["PIPELINING", "SIZE 52428800", "8BITMIME", "SMTPUTF8"].map(String::from).into(),
        same_machine: Some(true),
        tls: None,
    }
}

fn speaking() -> Speaking {
    Speaking {
        protocol: "smtp".into(),
        grouping: "pipeline".into(),
        in_force: "pipelined".into(),
        tls: "off".into(),
        auth: None,
        connections: CONNECTIONS as u64,
        threads: 1,
        messages_per_connection: 0,
        size: "4KiB".into(),
        recipients: "1".into(),
        timeout_seconds: 30.0,
        seed: 42,
    }
}

fn environment() -> Environment {
    Environment {
        processor: "Example Processor 9000 @ 3.00GHz".into(),
        cores: 8,
        allowed_cores: "0-7".into(),
        memory: 16 << 30,
        kernel: "Linux 6.12.0".into(),
        load_average: "0.42".into(),
    }
}

const CONNECTIONS: usize = 20;
