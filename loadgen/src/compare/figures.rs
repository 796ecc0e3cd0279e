//! The figures of two runs, and which of them is worse.
//!
//! Judged are messages a second, the share that was not accepted, and p50 and p99 of accept and message. The p99.9 is
//! shown but not judged: it rests on one message in a thousand, and these are not independent of each other, as one
//! stall makes a whole group of them; two runs of the same server differ there by more than any useful threshold. For
//! the same reason a p99 is only judged where both runs have at least [`P99_COUNT_MIN`] messages.

use serde::Serialize;

use crate::report::{Latency, Mode, Report, units};

/// A figure of both runs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is.
    pub name: &'static str,
    /// What it counts.
    pub kind: Kind,
    /// In A; none if it was not measured.
    pub before: Option<f64>,
    /// In B; none if it was not measured.
    pub after: Option<f64>,
    /// How much more it is in B, as a share of A; none where A has none or nothing.
    pub change: Option<f64>,
    /// Whether it is worse.
    pub judgement: Judgement,
}

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Messages a second: more is better.
    Rate,
    /// A share from 0 to 1 of what is wanted: more is better.
    ShareReached,
    /// A share from 0 to 1 of what went wrong: less is better.
    ShareFailed,
    /// Microseconds: less is better.
    Time,
}

/// What is thought of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// Not judged.
    Shown,
    /// Not judged, for it was measured in too few messages.
    TooFew,
    /// Not worse beyond the threshold.
    Kept,
    /// Worse beyond the threshold.
    Worse,
}

/// All figures, judged where there is a threshold and they can be.
pub fn figures(before: &Report, after: &Report, threshold: Option<f64>) -> Vec<Figure> {
    let latency = |name, of: fn(&Report) -> f64, phase: fn(&Report) -> &Latency| {
        let values = [before, after].map(|report| (phase(report).count > 0).then(|| of(report)));
        figure(name, Kind::Time, values)
    };
    let mut figures = rates(before, after, threshold);
    figures.push(judged(
        figure("not accepted", Kind::ShareFailed, [before, after].map(|report| Some(report.error_share))),
        threshold,
    ));
    let latency_threshold = if same_rate(before, after) { threshold } else { None };
    figures.extend(LATENCIES.iter().map(|(name, percentile, of, phase)| {
        let figure = latency(name, *of, *phase);
        let fewest = phase(before).count.min(phase(after).count);
        match percentile {
            Percentile::P50 => judged(figure, latency_threshold),
            Percentile::P99 if fewest >= P99_COUNT_MIN => judged(figure, latency_threshold),
            Percentile::P99 => Figure { judgement: Judgement::TooFew, ..figure },
            Percentile::P99_9 => figure,
        }
    }));
    figures
}

/// Messages a second, and how they stand to what was wanted. In an open loop a server cannot take more than it is
/// offered, so there only the share of the intended rate is judged; of a sweep, the rate that it found.
fn rates(before: &Report, after: &Report, threshold: Option<f64>) -> Vec<Figure> {
    let messages =
        figure("messages/s", Kind::Rate, [before, after].map(|report| Some(report.messages_per_second)));
    if before.mode == Mode::Closed {
        return vec![judged(messages, threshold)];
    }
    let knee = [before, after].map(|report| report.sweep.as_ref().and_then(|sweep| sweep.knee));
    if before.sweep.is_some() {
        return vec![messages, judged_knee(figure("knee", Kind::Rate, knee), threshold)];
    }
    let reached = [before, after].map(|report| Some(report.messages_per_second / report.intended_rate?));
    vec![messages, judged_reached(figure("of intended", Kind::ShareReached, reached), threshold)]
}

/// A knee that is no longer there is worse than a lower one.
fn judged_knee(figure: Figure, threshold: Option<f64>) -> Figure {
    match (figure.before, figure.after, threshold) {
        (Some(_), None, Some(_)) => Figure { judgement: Judgement::Worse, ..figure },
        _ => judged(figure, threshold),
    }
}

/// Worse is what misses the intended rate by more than the threshold, unless it was missed as much before.
fn judged_reached(figure: Figure, threshold: Option<f64>) -> Figure {
    let judgement = match (figure.before, figure.after, threshold) {
        (Some(before), Some(after), Some(threshold)) if after < 1.0 - threshold && after < before => {
            Judgement::Worse
        }
        (Some(_), Some(_), Some(_)) => Judgement::Kept,
        _ => Judgement::Shown,
    };
    Figure { judgement, ..figure }
}

/// Latencies at different rates answer different questions; in a closed loop the rate is the server's own.
fn same_rate(before: &Report, after: &Report) -> bool {
    before.mode == Mode::Closed || before.intended_rate == after.intended_rate
}

fn figure(name: &'static str, kind: Kind, [before, after]: [Option<f64>; 2]) -> Figure {
    let change = match (before, after) {
        (Some(before), Some(after)) if before > 0.0 => Some((after - before) / before),
        _ => None,
    };
    Figure { name, kind, before, after, change, judgement: Judgement::Shown }
}

/// Judges by the change as a share of what was. From nothing, any failure is worse: a server that lost none and now
/// loses some is worse by every measure.
fn judged(figure: Figure, threshold: Option<f64>) -> Figure {
    let (Some(before), Some(after), Some(threshold)) = (figure.before, figure.after, threshold) else {
        return figure;
    };
    let is_worse = match figure.kind {
        Kind::Rate | Kind::ShareReached => after < before * (1.0 - threshold),
        Kind::Time | Kind::ShareFailed => after > before * (1.0 + threshold),
    };
    Figure { judgement: if is_worse { Judgement::Worse } else { Judgement::Kept }, ..figure }
}

impl Figure {
    /// The change in words: `+12.3 %`.
    pub fn change_text(&self) -> String {
        match (self.change, self.before, self.after) {
            (Some(change), ..) if change.abs() < 0.000_5 => "0.0 %".into(),
            (Some(change), ..) if change.abs() < 10.0 => format!("{:+.1} %", change * 100.0),
            (Some(change), ..) => format!("x {}", units::number(change + 1.0)),
            (None, Some(before), Some(after)) if before == after => "0.0 %".into(),
            (None, Some(_), Some(_)) => "from 0".into(),
            (None, Some(_), None) => "gone".into(),
            (None, ..) => units::NONE.into(),
        }
    }

    /// Both values in words, A's first.
    pub fn values(&self) -> [String; 2] {
        [self.before, self.after].map(|value| match (value, self.kind) {
            (None, _) => units::NONE.into(),
            (Some(value), Kind::Rate) => units::rate(value),
            (Some(value), Kind::ShareReached | Kind::ShareFailed) => units::percent(value),
            (Some(value), Kind::Time) => units::time(value),
        })
    }

    /// A line of the table.
    pub fn line(&self) -> String {
        let [before, after] = self.values();
        let judgement = match self.judgement {
            Judgement::Shown => "",
            Judgement::TooFew => "  too few to judge",
            Judgement::Kept => "  ok",
            Judgement::Worse => "  WORSE",
        };
        format!("{:<16}{before:>14}{after:>14}{:>12}{judgement}", self.name, self.change_text())
    }
}

/// Which percentile a figure is.
#[derive(Clone, Copy)]
enum Percentile {
    P50,
    P99,
    P99_9,
}

type LatencyFigure = (&'static str, Percentile, fn(&Report) -> f64, fn(&Report) -> &Latency);

const LATENCIES: [LatencyFigure; 6] = [
    ("accept p50", Percentile::P50, |report| report.phases.accept.p50_us, |report| &report.phases.accept),
    ("accept p99", Percentile::P99, |report| report.phases.accept.p99_us, |report| &report.phases.accept),
    (
        "accept p99.9",
        Percentile::P99_9,
        |report| report.phases.accept.p99_9_us,
        |report| &report.phases.accept,
    ),
    ("message p50", Percentile::P50, |report| report.phases.message.p50_us, |report| &report.phases.message),
    ("message p99", Percentile::P99, |report| report.phases.message.p99_us, |report| &report.phases.message),
    (
        "message p99.9",
        Percentile::P99_9,
        |report| report.phases.message.p99_9_us,
        |report| &report.phases.message,
    ),
];

/// Ten messages beyond the p99: with fewer it is a matter of chance.
const P99_COUNT_MIN: u64 = 1_000;
