//! A report as CSV, for spreadsheets and plotting programs: a line for each second, of a sweep one for each step.
//!
//! Quoted as RFC 4180 says, but lines end in LF alone, as every reader takes it and the tools of a shell want it. Our own
//! few lines instead of a crate: all fields but one are numbers. What was not measured is an empty field.

use super::{Latency, Report, Step, Sweep};

/// The lines, a header first. Times are in microseconds, seconds count from the beginning of the measured time.
pub fn csv(report: &Report) -> String {
    match &report.sweep {
        Some(sweep) => steps(sweep),
        None => seconds(report),
    }
}

fn seconds(report: &Report) -> String {
    let mut lines = line(&SECOND.map(String::from));
    for second in &report.intervals {
        let ended = second.accepted + second.errors > 0;
        let time = |microseconds: f64| if ended { number(microseconds) } else { String::new() };
        lines += &line(&[
            number(second.at),
            second.offered.to_string(),
            second.accepted.to_string(),
            second.errors.to_string(),
            second.in_flight.to_string(),
            time(second.p50_us),
            time(second.p99_us),
            time(second.max_us),
        ]);
    }
    lines
}

const SECOND: [&str; 8] =
    ["second", "offered", "accepted", "errors", "in_flight", "p50_us", "p99_us", "max_us"];

fn steps(sweep: &Sweep) -> String {
    let mut lines = line(&STEP.map(String::from));
    for step in &sweep.steps {
        lines += &line(&fields(step));
    }
    lines
}

const STEP: [&str; 18] = [
    "rate",
    "repetition",
    "messages_per_second",
    "offered",
    "accepted",
    "error_share",
    "message_p50_us",
    "message_p90_us",
    "message_p99_us",
    "message_p99_9_us",
    "message_max_us",
    "accept_p50_us",
    "accept_p90_us",
    "accept_p99_us",
    "accept_p99_9_us",
    "accept_max_us",
    "met",
    "invalid_reason",
];

fn fields(step: &Step) -> Vec<String> {
    let mut fields = vec![
        number(step.rate),
        step.repetition.to_string(),
        number(step.messages_per_second),
        step.offered.to_string(),
        step.accepted.to_string(),
        number(step.error_share),
    ];
    fields.extend(times(&step.message));
    fields.extend(times(&step.accept));
    fields.push(step.met.map(|met| met.to_string()).unwrap_or_default());
    fields.push(step.invalid_reason.clone().unwrap_or_default());
    fields
}

fn times(latency: &Latency) -> [String; 5] {
    let times = [latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us];
    times.map(|microseconds| if latency.count == 0 { String::new() } else { number(microseconds) })
}

fn number(value: f64) -> String {
    if value.is_finite() { value.to_string() } else { String::new() }
}

fn line(fields: &[String]) -> String {
    let fields: Vec<String> = fields.iter().map(|field| quoted(field)).collect();
    fields.join(",") + "\n"
}

/// A field, in quotes where it needs them (RFC 4180 section 2).
fn quoted(field: &str) -> String {
    if field.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.into()
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn each_second_is_a_line_with_as_many_fields_as_the_header() {
        let report = sample::closed_stalling(10);
        let csv = csv(&report);
        assert_eq!(csv.lines().count(), 1 + report.intervals.len());
        assert!(csv.lines().all(|line| line.split(',').count() == SECOND.len()), "{csv}");
        assert!(csv.lines().nth(6).expect("the stall").ends_with(",0,0,20,,,"), "{csv}");
    }

    #[test]
    fn each_step_of_a_sweep_is_a_line() {
        let mut report = sample::sweep();
        report.sweep.as_mut().expect("it is a sweep").steps[1].message = Latency::default();
        let csv = csv(&report);
        assert_eq!(csv.lines().count(), 13);
        assert!(csv.lines().all(|line| line.split(',').count() == STEP.len()), "{csv}");
    }

    #[test]
    fn a_field_cannot_break_out_of_its_field() {
        assert_eq!(quoted("a,\"b\"\r\n"), "\"a,\"\"b\"\"\r\n\"");
        assert_eq!(quoted("plain"), "plain");
    }
}
