//! A report for the terminal: what was done, the table of latencies, what came of the messages, and last the verdict.
//!
//! A function of the [`Report`] alone, in plain text without colours, so that it reads the same in a file. Whatever
//! a server said is shown by [`printable`].

use super::escape::printable;
use super::{Ending, Latency, Mode, Report, Step, histogram, units, words};

/// The report as lines of at most `width` columns (taken as 60 at least), the verdict last: it is one line however long
/// it is, for `tail -1`.
pub fn text(report: &Report, width: usize) -> String {
    let width = width.max(WIDTH_MIN);
    let sections = [
        head(report, width),
        phases(report),
        distribution(report, width),
        sweep(report),
        outcomes(report, width),
        replies(report, width),
        failures(report, width),
        self_check(report, width),
        objective(report, width),
        verdict(report),
    ];
    let sections: Vec<String> =
        sections.iter().filter(|lines| !lines.is_empty()).map(|lines| lines.join("\n")).collect();
    sections.join("\n\n") + "\n"
}

type Lines = Vec<String>;

fn head(report: &Report, width: usize) -> Lines {
    let target = &report.target;
    let mut fields = vec![("target", words::target(report))];
    fields.extend(target.banner.as_ref().map(|banner| ("banner", banner.clone())));
    let latency = match report.mode {
        Mode::Closed => "a message waits for the reply to the one before",
        Mode::Open => "latency counts from the intended start",
    };
    fields.extend([
        ("mode", format!("{}: {latency}", words::mode(report))),
        ("spoken", words::speaking(report)),
        ("load", format!("{}; {}", words::connections(report), words::message(report))),
        ("time", format!("{}; begun {}", words::duration(report), report.started)),
    ]);
    fields.iter().flat_map(|(name, value)| field(name, value, width)).collect()
}

/// The table of phases; of those that happened.
fn phases(report: &Report) -> Lines {
    let named = report.phases.named();
    let rows: Lines = named
        .iter()
        .filter(|(_, latency)| latency.count > 0)
        .map(|(name, latency)| row(name, &latency_columns(latency)))
        .collect();
    if rows.is_empty() {
        return rows;
    }
    let names = ["count", "mean", "p50", "p90", "p99", "p99.9", "max"].map(String::from);
    std::iter::once(row("phase", &names)).chain(rows).collect()
}

fn latency_columns(latency: &Latency) -> [String; 7] {
    let [mean, p50, p90, p99, p99_9, max] =
        [latency.mean_us, latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us]
            .map(units::time);
    [units::count(latency.count), mean, p50, p90, p99, p99_9, max]
}

/// The histogram of what the mode is about: of a closed loop the acceptance, of an open one the message.
fn distribution(report: &Report, width: usize) -> Lines {
    let (title, latency) = match report.mode {
        Mode::Closed => ("accept, from the first octet of the mail data:", &report.phases.accept),
        Mode::Open => ("message, from its intended start:", &report.phases.message),
    };
    let rows = histogram::rows(&latency.histogram);
    let most = rows.iter().map(|row| row.count).max().unwrap_or(0);
    if most == 0 {
        return Lines::new();
    }
    let room = width - HISTOGRAM_FIXED;
    let mut lines = vec![format!("{title:<0$}{1:>9}{2:>10}", width - 19, "share", "up to it")];
    lines.extend(rows.iter().map(|row| {
        let bar = histogram::bar(row.count, most, room);
        let [share, up_to] = [row.share, row.cumulative].map(units::percent);
        format!("  <= {:>8} {bar:<room$}{share:>9}{up_to:>10}", units::time(row.bound_us))
    }));
    lines
}

fn sweep(report: &Report) -> Lines {
    let Some(sweep) = &report.sweep else { return Lines::new() };
    let mut lines: Lines = words::sweep(report).into_iter().collect();
    let names = ["accepted", "p50", "p99", "p99.9", "errors", "met"].map(String::from);
    lines.push(row("rate", &names));
    let mut steps: Vec<&Step> = sweep.steps.iter().collect();
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate).then(one.repetition.cmp(&other.repetition)));
    lines.extend(steps.into_iter().map(|step| {
        let knee = if sweep.knee == Some(step.rate) { "  <- knee" } else { "" };
        row(&units::rate(step.rate), &step_columns(step)) + knee
    }));
    lines
}

fn step_columns(step: &Step) -> [String; 6] {
    let [p50, p99, p99_9] = [step.message.p50_us, step.message.p99_us, step.message.p99_9_us]
        .map(|us| if step.message.count == 0 { units::NONE.into() } else { units::time(us) });
    [
        units::rate(step.messages_per_second),
        p50,
        p99,
        p99_9,
        units::percent(step.error_share),
        met(step).into(),
    ]
}

/// Whether a step kept the objective, in a word.
pub(super) fn met(step: &Step) -> &'static str {
    match (&step.invalid_reason, step.met) {
        (Some(_), _) => "INVALID",
        (None, Some(true)) => "yes",
        (None, Some(false)) => "NO",
        (None, None) => units::NONE,
    }
}

fn outcomes(report: &Report, width: usize) -> Lines {
    if report.ending == Ending::Unreachable {
        return Lines::new();
    }
    let counts: Vec<String> = named_counts(&words::outcomes(report));
    let sum = format!("{} offered: {}", units::count(report.offered), counts.join(", "));
    let [rate, octets] = [units::rate(report.messages_per_second), units::octets(report.octets_per_second)];
    let warm_up = &report.warm_up;
    let mut lines = field("messages", &sum, width);
    lines.extend(field("", &format!("{rate} accepted, {octets}/s of mail data"), width));
    lines.extend(field("", &format!("not accepted: {}", units::percent(report.error_share)), width));
    if warm_up.offered > 0 {
        let [offered, accepted] = [warm_up.offered, warm_up.accepted].map(units::count);
        lines.extend(field(
            "",
            &format!("in no figure: {accepted} of {offered} accepted in the warm-up"),
            width,
        ));
    }
    lines
}

fn replies(report: &Report, width: usize) -> Lines {
    let mut phases: Vec<(&str, Vec<String>)> = Vec::new();
    for reply in &report.replies {
        let count = format!("{} x {}", reply.code, units::count(reply.count));
        match phases.iter_mut().find(|(phase, _)| *phase == reply.phase) {
            Some((_, counts)) => counts.push(count),
            None => phases.push((&reply.phase, vec![count])),
        }
    }
    let each: Vec<String> =
        phases.iter().map(|(phase, counts)| format!("{phase} {}", counts.join(", "))).collect();
    let mut lines = if each.is_empty() { Lines::new() } else { field("replies", &each.join("; "), width) };
    if let Some(refusal) = &report.first_refusal {
        lines.extend(field("refusal", &format!("the first: {refusal}"), width));
    }
    lines
}

fn failures(report: &Report, width: usize) -> Lines {
    if report.connection_failures.total() == 0 {
        return Lines::new();
    }
    let counts = named_counts(&words::failures(report)).join(", ");
    let mut lines = field("failures", &format!("connections: {counts}"), width);
    if let Some(failure) = &report.first_failure {
        lines.extend(field("", &format!("the first: {failure}"), width));
    }
    lines
}

fn self_check(report: &Report, width: usize) -> Lines {
    if report.ending == Ending::Unreachable {
        return Lines::new();
    }
    let parts: Vec<String> =
        words::self_check(report).into_iter().map(|(name, value)| format!("{name} {value}")).collect();
    field("generator", &parts.join("; "), width)
}

fn objective(report: &Report, width: usize) -> Lines {
    let Some(objective) = &report.objective else { return Lines::new() };
    let of = |met| if met { "met" } else { "MISSED" };
    let mut lines = field("objective", &format!("{}: {}", objective.text, of(objective.met)), width);
    for condition in &objective.conditions {
        let line = format!("{}: {} ({})", condition.text, of(condition.met), condition.measured);
        lines.extend(field("", &line, width));
    }
    lines
}

fn verdict(report: &Report) -> Lines {
    let mut lines = Lines::new();
    if !report.valid && report.ending != Ending::Unreachable {
        let reason = report.invalid_reason.as_deref().unwrap_or("no reason is given");
        lines.push(format!("INVALID: {}", printable(reason)));
    }
    lines.extend(report.ending_reason.as_ref().map(|reason| format!("ended: {}", printable(reason))));
    lines.push(format!("verdict: {}", printable(&report.verdict)));
    lines
}

/// Those that are not 0, as `12 accepted`.
fn named_counts(counts: &[(&str, u64)]) -> Vec<String> {
    let some = counts.iter().filter(|(_, count)| *count > 0);
    some.map(|(name, count)| format!("{} {name}", units::count(*count))).collect()
}

/// One line of a table of 79 columns.
fn row(name: &str, columns: &[String]) -> String {
    let columns: String = columns.iter().map(|column| format!("{column:>10}")).collect();
    format!("{name:<9}{columns}")
}

/// A name and what it is, in as many lines as it takes.
fn field(name: &str, value: &str, width: usize) -> Lines {
    let room = width - FIELD;
    let mut lines = Lines::new();
    let mut line = String::new();
    for word in printable(value).split(' ') {
        if !line.is_empty() && line.chars().count() + 1 + word.chars().count() > room {
            lines.push(std::mem::take(&mut line));
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    let first = std::iter::once(name).chain(std::iter::repeat(""));
    lines.iter().zip(first).map(|(line, name)| format!("{name:<FIELD$}{line}")).collect()
}

/// Columns of a field's name.
const FIELD: usize = 11;

/// Columns of the histogram beside the bar: the bound, the share, the cumulative share.
const HISTOGRAM_FIXED: usize = 14 + 9 + 10;

/// With fewer columns, nothing of this can be read.
const WIDTH_MIN: usize = 60;

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn all() -> Vec<Report> {
        vec![
            sample::closed(),
            sample::open_stalling(10),
            sample::sweep(),
            sample::invalid(),
            sample::nothing_accepted(),
            sample::unreachable(),
            sample::ramp(),
        ]
    }

    #[test]
    fn nothing_is_wider_than_the_terminal_but_the_verdict_and_a_word_that_cannot_be_broken() {
        for report in all() {
            for line in text(&report, 80)
                .lines()
                .filter(|line| !line.contains("verdict") && !line.contains("INVALID: "))
            {
                let word = line.split(' ').map(|word| word.chars().count()).max().unwrap_or(0);
                assert!(line.chars().count() <= 80.max(FIELD + word), "{line}");
            }
        }
    }

    #[test]
    fn the_verdict_is_the_last_line_and_one_line() {
        for report in all() {
            let text = text(&report, 80);
            assert_eq!(
                text.lines().last(),
                Some(format!("verdict: {}", printable(&report.verdict)).as_str())
            );
        }
    }

    #[test]
    fn the_mode_is_always_named() {
        assert!(text(&sample::closed(), 80).contains("mode       closed loop"));
        assert!(text(&sample::open_stalling(3), 80).contains("mode       open loop (constant, 1,500/s)"));
    }

    #[test]
    fn phases_that_did_not_happen_are_left_out() {
        let text = text(&sample::closed(), 80);
        assert!(!text.contains("\ntls ") && !text.contains("\nauth "), "{text}");
        assert!(text.contains("\nconnect "), "{text}");
    }

    #[test]
    fn a_server_cannot_steer_the_terminal() {
        let text = text(&sample::nothing_accepted(), 80);
        assert!(text.chars().all(|character| character == '\n' || !character.is_control()), "{text}");
        assert!(!text.contains('\u{202e}'));
    }

    #[test]
    fn figures_that_are_no_numbers_break_nothing() {
        let mut report = sample::closed();
        report.elapsed_seconds = f64::NAN;
        report.messages_per_second = f64::INFINITY;
        report.phases.accept.p99_us = f64::NAN;
        report.phases.accept.histogram = vec![(f64::NAN, 3), (f64::INFINITY, 2), (-1.0, 1), (0.0, 4)];
        assert!(!text(&report, 0).contains("NaN"));
    }
}
