//! What a run is to keep to: `p99<5ms,errors<0.1%`, each condition judged by what was measured.
//!
//! ```text
//!   condition = [phase "."] ("p50" | "p90" | "p99" | "p99.9" | "p99.99" | "mean" | "max") ("<" | "<=") duration
//!             | "errors" ("<" | "<=") number "%"          of the messages offered, those not accepted
//!             | "rate" (">" | ">=") number                accepted messages a second
//!   phase     = as in `Phases::named`; `message` if there is none
//!   duration  = number ("ns" | "us" | "µs" | "ms" | "s" | "m")
//! ```
//!
//! Latencies are read from the histograms of the whole measured time, and from their three digits upwards: a condition
//! that holds by them does hold.

use std::fmt;

use hdrhistogram::Histogram;

use crate::decimal::decimal;
use crate::report::{self, Phases};

/// Conditions that must all hold. Never empty.
#[derive(Debug, Clone, PartialEq)]
pub struct Objective {
    text: String,
    conditions: Vec<Condition>,
}

/// What an objective is judged by.
pub trait Figures {
    /// The latencies of the phase of this name, in nanoseconds; none if it is not measured.
    fn latencies(&self, phase: &str) -> Option<&Histogram<u64>>;

    /// The share of offered messages that were not accepted, 0 to 1; none if none was offered.
    fn error_share(&self) -> Option<f64>;

    /// Accepted messages a second of the measured time.
    fn rate(&self) -> f64;
}

impl Objective {
    /// Reads one. The error is a sentence for people, which names the bad part and gives an example.
    pub fn parse(text: &str) -> Result<Objective, String> {
        let conditions =
            text.split(',').map(|part| Condition::parse(part.trim())).collect::<Result<_, _>>()?;
        Ok(Objective { text: text.trim().to_owned(), conditions })
    }

    /// What a server is asked to keep to while the highest rate that it can stand is looked for, if nobody says
    /// otherwise: `p99<50ms,errors<0.1%`.
    pub fn default_for_knee() -> Objective {
        Objective::parse("p99<50ms,errors<0.1%").expect("a constant that a test reads")
    }

    /// Judges a run.
    pub fn judge(&self, figures: &impl Figures) -> report::Objective {
        let conditions: Vec<report::Condition> =
            self.conditions.iter().map(|condition| condition.judge(figures)).collect();
        report::Objective {
            text: self.text.clone(),
            met: conditions.iter().all(|condition| condition.met),
            conditions,
        }
    }
}

/// As it was given.
impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Condition {
    text: String,
    measure: Measure,
    comparison: Comparison,
    /// In nanoseconds, as a share from 0 to 1, or in messages a second.
    bound: f64,
}

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Latency { phase: &'static str, statistic: Statistic },
    Errors,
    Rate,
}

/// One number of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Statistic {
    /// What this share, 0 to 1, is at most.
    Quantile(f64),
    Mean,
    Max,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Below,
    AtMost,
    Above,
    AtLeast,
}

impl Comparison {
    fn holds(self, measured: f64, bound: f64) -> bool {
        match self {
            Comparison::Below => measured < bound,
            Comparison::AtMost => measured <= bound,
            Comparison::Above => measured > bound,
            Comparison::AtLeast => measured >= bound,
        }
    }

    fn is_upper_bound(self) -> bool {
        matches!(self, Comparison::Below | Comparison::AtMost)
    }
}

impl Condition {
    fn parse(text: &str) -> Result<Condition, String> {
        let Some((name, comparison, bound)) = split(text) else {
            return Err(format!("'{text}' is not a condition, {EXAMPLES}"));
        };
        let measure = Measure::parse(name).map_err(|error| format!("'{text}': {error}"))?;
        if comparison.is_upper_bound() == (measure == Measure::Rate) {
            return Err(format!("'{text}' bounds it from the wrong side, {EXAMPLES}"));
        }
        let bound = measure.bound(bound).map_err(|error| format!("'{text}': {error}"))?;
        if bound == 0.0 && comparison == Comparison::Below {
            let mend = text.replacen('<', "<=", 1);
            return Err(format!("'{text}' can never hold, for nothing is below nothing: write {mend}"));
        }
        Ok(Condition { text: text.to_owned(), measure, comparison, bound })
    }

    fn judge(&self, figures: &impl Figures) -> report::Condition {
        let (met, measured) = match self.measure.of(figures) {
            Some(measured) => {
                (self.comparison.holds(measured, self.bound), self.measure.text(measured).to_string())
            }
            None => (false, self.measure.nothing().to_owned()),
        };
        report::Condition { text: self.text.clone(), measured, met }
    }
}

/// A name, how it is compared, and to what.
fn split(text: &str) -> Option<(&str, Comparison, &str)> {
    let at = text.find(['<', '>'])?;
    let (name, rest) = (text[..at].trim_end(), &text[at..]);
    let signs = [
        ("<=", Comparison::AtMost),
        ("<", Comparison::Below),
        (">=", Comparison::AtLeast),
        (">", Comparison::Above),
    ];
    signs
        .iter()
        .find_map(|(sign, comparison)| Some((name, *comparison, rest.strip_prefix(sign)?.trim_start())))
}

impl Measure {
    fn parse(name: &str) -> Result<Measure, String> {
        match name {
            "errors" => return Ok(Measure::Errors),
            "rate" => return Ok(Measure::Rate),
            _ => {}
        }
        // A quantile may have a dot of its own.
        let names = Phases::default().named().map(|(name, _)| name);
        let prefixed =
            names.iter().find_map(|phase| Some((*phase, name.strip_prefix(phase)?.strip_prefix('.')?)));
        let (phase, statistic) = prefixed.unwrap_or(("message", name));
        match Statistic::parse(statistic) {
            Some(statistic) => Ok(Measure::Latency { phase, statistic }),
            None => Err(unknown(name, &names)),
        }
    }

    /// What it is compared to, in its unit.
    fn bound(self, text: &str) -> Result<f64, String> {
        match self {
            Measure::Latency { .. } => match nanoseconds(text) {
                Some(nanoseconds) => Ok(nanoseconds as f64),
                None => Err(format!("'{text}' is not a duration, like 5ms, 2.5ms, 800us or 1s")),
            },
            Measure::Errors => {
                let number = text.strip_suffix('%').and_then(|number| decimal(number.trim_end(), 6));
                let millionths = number.filter(|number| *number <= 100_000_000);
                let error = || format!("'{text}' is not a share from 0% to 100%, like errors<0.1%");
                Ok(millionths.ok_or_else(error)? as f64 / 1e8)
            }
            Measure::Rate => {
                let error = || format!("'{text}' is not a number of messages a second, like rate>5000");
                Ok(decimal(text, 3).ok_or_else(error)? as f64 / 1e3)
            }
        }
    }

    /// None if there is nothing that it could be measured by.
    fn of(self, figures: &impl Figures) -> Option<f64> {
        match self {
            Measure::Latency { phase, statistic } => {
                let latencies = figures.latencies(phase).filter(|latencies| !latencies.is_empty())?;
                Some(statistic.of(latencies))
            }
            Measure::Errors => figures.error_share(),
            Measure::Rate => Some(figures.rate()),
        }
    }

    /// What was measured, in words.
    fn text(self, measured: f64) -> impl fmt::Display {
        match self {
            Measure::Latency { .. } => latency_text(measured),
            Measure::Errors => format!("{} %", digits(measured * 100.0)),
            Measure::Rate => format!("{measured:.0}/s"),
        }
    }

    /// In words, that nothing was measured.
    fn nothing(self) -> &'static str {
        match self {
            Measure::Latency { .. } => "no samples",
            Measure::Errors | Measure::Rate => "no messages offered",
        }
    }
}

fn unknown(name: &str, phases: &[&str]) -> String {
    match name.split_once('.') {
        Some((phase, rest)) if Statistic::parse(rest).is_some() => {
            format!("there is no phase '{phase}', only {}", phases.join(", "))
        }
        _ => {
            format!("'{name}' is not measured: p50, p90, p99, p99.9, p99.99, mean, max, errors and rate are")
        }
    }
}

impl Statistic {
    fn parse(name: &str) -> Option<Statistic> {
        Some(match name {
            "p50" => Statistic::Quantile(0.5),
            "p90" => Statistic::Quantile(0.9),
            "p99" => Statistic::Quantile(0.99),
            "p99.9" => Statistic::Quantile(0.999),
            "p99.99" => Statistic::Quantile(0.9999),
            "mean" => Statistic::Mean,
            "max" => Statistic::Max,
            _ => return None,
        })
    }

    /// In nanoseconds.
    fn of(self, latencies: &Histogram<u64>) -> f64 {
        match self {
            Statistic::Quantile(share) => latencies.value_at_quantile(share) as f64,
            Statistic::Mean => latencies.mean(),
            Statistic::Max => latencies.max() as f64,
        }
    }
}

/// A duration with its unit, in nanoseconds; of 0 the unit may be left out.
fn nanoseconds(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..at], text[at..].trim_start());
    // `µ` is the micro sign, or the Greek letter that looks the same.
    let places = match unit {
        "ns" => 0,
        "us" | "\u{b5}s" | "\u{3bc}s" => 3,
        "ms" => 6,
        "s" => 9,
        "m" => return decimal(number, 9)?.checked_mul(60),
        "" => return decimal(number, 0).filter(|number| *number == 0),
        _ => return None,
    };
    decimal(number, places)
}

/// Nanoseconds in the unit that people would take.
fn latency_text(nanoseconds: f64) -> String {
    match nanoseconds {
        ..1e3 => format!("{nanoseconds:.0} ns"),
        ..1e6 => format!("{} µs", digits(nanoseconds / 1e3)),
        ..1e9 => format!("{} ms", digits(nanoseconds / 1e6)),
        _ => format!("{} s", digits(nanoseconds / 1e9)),
    }
}

/// A number with about three digits, and never more than three decimals.
fn digits(number: f64) -> String {
    match number {
        0.0 => "0".to_owned(),
        ..1.0 => format!("{number:.3}"),
        ..10.0 => format!("{number:.2}"),
        ..100.0 => format!("{number:.1}"),
        _ => format!("{number:.0}"),
    }
}

const EXAMPLES: &str = "like p99<5ms, accept.p99.9<=20ms, errors<0.1% or rate>5000";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Measured {
        message: Histogram<u64>,
        accept: Histogram<u64>,
        error_share: Option<f64>,
        rate: f64,
    }

    impl Figures for Measured {
        fn latencies(&self, phase: &str) -> Option<&Histogram<u64>> {
            match phase {
                "message" => Some(&self.message),
                "accept" => Some(&self.accept),
                "tls" => None,
                _ => panic!("{phase} was not asked for"),
            }
        }

        fn error_share(&self) -> Option<f64> {
            self.error_share
        }

        fn rate(&self) -> f64 {
            self.rate
        }
    }

    /// 1 to 1,000 ms, evenly.
    fn measured() -> Measured {
        let empty = || Histogram::new_with_bounds(1, 86_400_000_000_000, 3).unwrap();
        let mut message = empty();
        for milliseconds in 1..=1_000 {
            message.record(milliseconds * 1_000_000).unwrap();
        }
        Measured { message, accept: empty(), error_share: Some(0.0005), rate: 5_000.0 }
    }

    fn met(text: &str) -> bool {
        let judged = Objective::parse(text).unwrap().judge(&measured());
        assert_eq!(judged.text, text);
        assert_eq!(judged.met, judged.conditions.iter().all(|condition| condition.met));
        judged.met
    }

    #[test]
    fn a_condition_holds_exactly_up_to_its_bound() {
        for (holds, fails) in [
            ("p50<501ms", "p50<500ms"),
            ("p90<=901ms", "p90<=899ms"),
            ("p99<991ms", "p99<989ms"),
            ("p99.9<1s", "p99.9<998.5ms"),
            ("message.p99.99<1.001s", "message.p99.99<999ms"),
            ("mean<501000us", "mean<499.9ms"),
            ("max<1002000µs", "max<999ms"),
            ("max < 0.1m", "max < 0.01m"),
            ("errors<0.051%", "errors<0.05%"),
            ("errors<=0.05%", "errors<=0.0499%"),
            ("rate>4999.9", "rate>5000"),
            ("rate>=5000", "rate>=5000.1"),
        ] {
            assert!(met(holds), "{holds}");
            assert!(!met(fails), "{fails}");
        }
    }

    #[test]
    fn all_conditions_must_hold_and_each_says_what_was_measured() {
        let judged = Objective::parse("p99<2s, errors<0.01%,rate>=100").unwrap().judge(&measured());
        assert!(!judged.met);
        let told: Vec<(&str, &str, bool)> =
            judged.conditions.iter().map(|c| (&c.text[..], &c.measured[..], c.met)).collect();
        assert_eq!(
            told,
            [("p99<2s", "990 ms", true), ("errors<0.01%", "0.050 %", false), ("rate>=100", "5000/s", true)]
        );
    }

    #[test]
    fn a_phase_without_samples_is_not_met_and_says_so() {
        for text in ["accept.max<=1s", "tls.p50<1s"] {
            let judged = Objective::parse(text).unwrap().judge(&measured());
            assert_eq!((judged.met, &judged.conditions[0].measured[..]), (false, "no samples"), "{text}");
        }
        let nothing = Measured { error_share: None, ..measured() };
        let judged = Objective::parse("errors<=100%").unwrap().judge(&nothing);
        assert_eq!((judged.met, &judged.conditions[0].measured[..]), (false, "no messages offered"));
    }

    #[test]
    fn the_knee_has_an_objective_of_its_own() {
        assert_eq!(Objective::default_for_knee().to_string(), "p99<50ms,errors<0.1%");
    }

    #[test]
    fn an_error_names_the_bad_part_and_gives_an_example() {
        for (text, error) in [
            ("", "'' is not a condition, like p99<5ms"),
            ("p99<5ms,", "'' is not a condition, like p99<5ms"),
            ("p99=5ms", "'p99=5ms' is not a condition, like p99<5ms"),
            ("p98<5ms", "'p98<5ms': 'p98' is not measured: p50, p90"),
            ("<5ms", "'<5ms': '' is not measured"),
            ("nonsense.p99<5ms", "'nonsense.p99<5ms': there is no phase 'nonsense', only connect, banner"),
            ("accept<5ms", "'accept<5ms': 'accept' is not measured"),
            ("p99<5", "'p99<5': '5' is not a duration, like 5ms, 2.5ms"),
            ("p99<fast", "'p99<fast': 'fast' is not a duration, like 5ms"),
            ("p99<-5ms", "'p99<-5ms': '-5ms' is not a duration"),
            ("p99<0.0000001ms", "'p99<0.0000001ms': '0.0000001ms' is not a duration"),
            ("p99>5ms", "'p99>5ms' bounds it from the wrong side, like p99<5ms"),
            ("errors>1%", "'errors>1%' bounds it from the wrong side"),
            ("rate<5000", "'rate<5000' bounds it from the wrong side"),
            ("errors<0.001", "'errors<0.001': '0.001' is not a share from 0% to 100%, like errors<0.1%"),
            ("errors<101%", "'errors<101%': '101%' is not a share from 0% to 100%"),
            ("rate>many", "'rate>many': 'many' is not a number of messages a second, like rate>5000"),
            ("errors<0%", "'errors<0%' can never hold, for nothing is below nothing: write errors<=0%"),
            ("p99<0ms", "'p99<0ms' can never hold"),
        ] {
            let told = Objective::parse(text).expect_err(text);
            assert!(told.starts_with(error), "{text}: {told}");
        }
    }

    #[test]
    fn latencies_are_told_in_the_unit_people_would_take() {
        for (nanoseconds, text) in [
            (0.0, "0 ns"),
            (999.0, "999 ns"),
            (1_500.0, "1.50 µs"),
            (3_213_000.0, "3.21 ms"),
            (45_600_000.0, "45.6 ms"),
            (1_002_000_000.0, "1.00 s"),
        ] {
            assert_eq!(latency_text(nanoseconds), text);
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_strange_to_be_judged(text in "[a-z0-9.<>=%,µ ]{0,30}") {
            if let Ok(objective) = Objective::parse(&text) {
                prop_assert_eq!(Objective::parse(&objective.to_string()), Ok(objective));
            }
        }
    }
}
