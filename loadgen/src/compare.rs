//! Two reports against each other: `loadgen compare A.json B.json`. Is B worse than A?
//!
//! A is what was, B what is. Figures are only judged where they answer the same question; what differs in how the runs
//! were made is named, and what makes their comparison nonsense is refused ([`Comparison::Invalid`]). Two runs differ by
//! chance as well: the threshold must be above what two runs of the same server differ by.

mod figures;
mod page;

use serde::Serialize;

use crate::report::escape::printable;
use crate::report::{Report, units, words};
pub use figures::{Figure, Judgement, Kind};
pub use page::page;

/// What comes of a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reasons")]
pub enum Comparison {
    /// Nothing is worse beyond the threshold; or there is no threshold, and nothing was judged, whatever the two are.
    Fine,
    /// These figures are: each with its change, as `accept p99 +23.4 %`.
    Regression(Vec<String>),
    /// Nothing can be concluded, for these reasons. Such a comparison has not passed.
    Invalid(Vec<String>),
}

/// A comparison, and all that is told of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Compared {
    /// What came of it.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// The share by which a figure may be worse; none if nothing was judged.
    pub threshold: Option<f64>,
    /// What A was, in a line.
    pub before: String,
    /// What B was, in a line.
    pub after: String,
    /// How the making of the runs differs, where that may explain a change of the figures.
    pub differences: Vec<String>,
    /// The figures of both.
    pub figures: Vec<Figure>,
}

/// Compares what was with what is. `threshold` is the share by which a figure may be worse (0.1 for 10 %); without one
/// nothing is judged.
pub fn compare(before: &Report, after: &Report, threshold: Option<f64>) -> Compared {
    let mut differences = differences(before, after);
    let mut reasons = refusals(before, after);
    match threshold {
        Some(_) => reasons.extend(other_questions(before, after)),
        // Two runs of any kind may be looked at side by side.
        None => differences.extend(other_questions(before, after)),
    }
    let judged = if reasons.is_empty() { threshold } else { None };
    let figures = figures::figures(before, after, judged);
    let worse: Vec<String> = figures
        .iter()
        .filter(|figure| figure.judgement == Judgement::Worse)
        .map(|figure| format!("{} {}", figure.name, figure.change_text()))
        .collect();
    let comparison = match (reasons.is_empty(), worse.is_empty()) {
        (false, _) => Comparison::Invalid(reasons),
        (true, false) => Comparison::Regression(worse),
        (true, true) => Comparison::Fine,
    };
    Compared {
        comparison,
        threshold,
        before: described(before),
        after: described(after),
        differences,
        figures,
    }
}

/// Reads a threshold: `10%`, `7.5 %`, from 0 to 1000 %. The error is a sentence for people.
pub fn threshold(text: &str) -> Result<f64, String> {
    let number = text.trim().strip_suffix('%').map(str::trim_end).filter(|digits| {
        !digits.is_empty() && digits.chars().all(|character| character.is_ascii_digit() || character == '.')
    });
    let percent: Option<f64> = number.and_then(|number| number.parse().ok());
    percent
        .filter(|percent| *percent <= 1_000.0)
        .map(|percent| percent / 100.0)
        .ok_or_else(|| format!("'{text}' is not a threshold from 0% to 1000%, like 10%"))
}

impl Compared {
    /// For the terminal, 80 columns wide; the last line says what came of it.
    pub fn text(&self) -> String {
        let mut lines = vec![format!("A: {}", self.before), format!("B: {}", self.after)];
        lines.extend(self.differences.iter().map(|difference| format!("differs: {difference}")));
        lines.push(String::new());
        lines.push(format!("{:<16}{:>14}{:>14}{:>12}", "", "A", "B", "change"));
        lines.extend(self.figures.iter().map(Figure::line));
        lines.push(String::new());
        lines.push(format!("comparison: {}", self.sentence()));
        lines.join("\n") + "\n"
    }

    /// For programs, as JSON with a line end behind it.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("its keys are strings and its values plain") + "\n"
    }

    /// What came of it, in a sentence.
    pub fn sentence(&self) -> String {
        let beyond = self.threshold.map(units::percent).unwrap_or_default();
        match (&self.comparison, self.threshold) {
            (Comparison::Invalid(reasons), _) => format!("INVALID: {}", reasons.join("; ")),
            (Comparison::Regression(worse), _) => format!("REGRESSION beyond {beyond}: {}", worse.join(", ")),
            (Comparison::Fine, Some(_)) => format!("no regression beyond {beyond}"),
            (Comparison::Fine, None) => "not judged, as no threshold was given".into(),
        }
    }
}

/// A run in a line.
fn described(report: &Report) -> String {
    let parts =
        [words::mode(report), report.target.name.clone(), words::connections(report), report.started.clone()];
    printable(&parts.join(", "))
}

/// Why the two cannot be compared at all.
fn refusals(before: &Report, after: &Report) -> Vec<String> {
    let mut reasons = Vec::new();
    for (name, report) in [("A", before), ("B", after)] {
        if !report.valid {
            let reason = report.invalid_reason.as_deref().unwrap_or("no reason is given");
            reasons.push(format!("{name} is not valid: {}", printable(reason)));
        }
    }
    if before.accepted == 0 {
        reasons.push("A accepted nothing, so nothing can be worse".into());
    }
    reasons
}

/// What the two ask so differently that none of their figures can be judged by the other's.
fn other_questions(before: &Report, after: &Report) -> impl Iterator<Item = String> {
    let differing = SAME_QUESTION.iter().filter_map(|(name, of)| difference(name, of(before), of(after)));
    differing.map(|difference| format!("they answer different questions: {difference}"))
}

/// How the runs differ, where that may explain a change but does not forbid to look at it.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    CIRCUMSTANCES.iter().filter_map(|(name, of)| difference(name, of(before), of(after))).collect()
}

fn difference(name: &str, before: String, after: String) -> Option<String> {
    let shown = |value: &str| if value.is_empty() { "nothing".into() } else { printable(value) };
    (before != after).then(|| format!("{name}: {} in A, {} in B", shown(&before), shown(&after)))
}

type Aspect = (&'static str, fn(&Report) -> String);

/// What must be the same, or the figures mean different things.
const SAME_QUESTION: &[Aspect] = &[
    ("mode", |report| report.mode.name().into()),
    ("kind of run", |report| match &report.sweep {
        Some(_) => "a sweep".into(),
        None => "one run".into(),
    }),
    // Of a sweep, the rate is what it found.
    ("intended rate", |report| match (&report.sweep, report.intended_rate) {
        (None, Some(rate)) => units::rate(rate),
        _ => String::new(),
    }),
    ("protocol", |report| report.speaking.protocol.clone()),
    ("message size", |report| report.speaking.size.clone()),
    ("recipients", |report| report.speaking.recipients.clone()),
];

/// What should be the same, or may be the very thing that is compared.
const CIRCUMSTANCES: &[Aspect] = &[
    ("target", |report| report.target.name.clone()),
    ("arrivals", |report| {
        report.arrivals.map_or(String::new(), |arrivals| format!("{arrivals:?}").to_lowercase())
    }),
    ("grouping", |report| report.speaking.grouping.clone()),
    ("spoken", |report| report.speaking.in_force.clone()),
    ("TLS", |report| report.target.tls.clone().unwrap_or_else(|| report.speaking.tls.clone())),
    ("AUTH", |report| report.speaking.auth.clone().unwrap_or_default()),
    ("connections", |report| units::count(report.speaking.connections)),
    ("messages on a connection", |report| units::count(report.speaking.messages_per_connection)),
    ("timeout", |report| units::seconds(report.speaking.timeout_seconds)),
    ("threads", |report| units::count(report.speaking.threads)),
    ("measured time", |report| format!("{:.0} s", report.elapsed_seconds)),
    ("objective", |report| {
        report.objective.as_ref().map(|objective| objective.text.clone()).unwrap_or_default()
    }),
    ("loadgen", |report| report.loadgen.clone()),
    ("server on the generator's machine", |report| match report.target.same_machine {
        Some(true) => "yes".into(),
        Some(false) => "no".into(),
        None => String::new(),
    }),
    ("processor", |report| report.environment.processor.clone()),
    ("cores", |report| report.environment.cores.to_string()),
    ("allowed cores", |report| report.environment.allowed_cores.clone()),
    ("memory", |report| units::octets(report.environment.memory as f64)),
    ("kernel", |report| report.environment.kernel.clone()),
];

#[cfg(test)]
mod tests;
