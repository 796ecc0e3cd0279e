//! The tables of a page: phases, outcomes, replies, failures, self-check, objective, surroundings.

use super::super::{Ending, Latency, Report, Step, Sweep, text, units, words};
use super::{Run, html, key, section};

/// A row of a table with a column for each run: what it is called, and what a report says of it.
pub type Fact = (&'static str, fn(&Report) -> String);

/// All tables but those of the charts.
pub fn all(runs: &[Run]) -> String {
    let narrow = [
        section("Objective", &each(runs, objective)),
        section(
            "What came of the messages",
            &each(runs, |report| counts(&words::outcomes(report), "messages")),
        ),
        section("The generator itself", &each(runs, self_check)),
        section("Replies", &each(runs, replies)),
        section("Connections that failed", &each(runs, failures)),
    ];
    let phases = section("Latency by phase", &each(runs, phases));
    let surroundings =
        section("What was done, and where", &(facts(runs, SURROUNDINGS) + &each(runs, command)));
    format!("{phases}<div class=\"sections\">\n{}</div>\n{surroundings}", narrow.concat())
}

/// A table of facts. What is the same for all runs is said once.
pub fn facts(runs: &[Run], facts: &[Fact]) -> String {
    let heads: String = match runs {
        [_] => String::new(),
        several => several.iter().map(|run| format!("<th scope=\"col\">{}</th>", key(run))).collect(),
    };
    let head = if heads.is_empty() { heads } else { format!("<thead><tr><td></td>{heads}</tr></thead>\n") };
    let rows: String = facts.iter().map(|(name, of)| fact(runs, name, *of)).collect();
    scrollable(&format!("<table class=\"facts\">\n{head}<tbody>\n{rows}</tbody></table>\n"))
}

fn fact(runs: &[Run], name: &str, of: fn(&Report) -> String) -> String {
    let values: Vec<String> = runs.iter().map(|run| of(run.report)).collect();
    if values.iter().all(|value| value.is_empty() || value == units::NONE) {
        return String::new();
    }
    let cells: String = if values.iter().all(|value| *value == values[0]) {
        format!("<td colspan=\"{}\">{}</td>", values.len(), html(&values[0]))
    } else {
        values.iter().map(|value| format!("<td>{}</td>", html(value))).collect()
    };
    format!("<tr><th scope=\"row\">{}</th>{cells}</tr>\n", html(name))
}

const SURROUNDINGS: &[Fact] = &[
    ("Target", words::target),
    ("Banner", |report| report.target.banner.clone().unwrap_or_default()),
    ("Extensions", |report| report.target.extensions.join(", ")),
    ("Mode", words::mode),
    ("Spoken", words::speaking),
    ("Connections", words::connections),
    ("Messages", words::message),
    ("Measured time", words::duration),
    ("Begun", |report| report.started.clone()),
    ("Waited for a reply", |report| format!("at most {}", units::seconds(report.speaking.timeout_seconds))),
    ("Seed", |report| report.speaking.seed.to_string()),
    ("Generator's threads", |report| units::count(report.speaking.threads)),
    ("Processor", |report| report.environment.processor.clone()),
    ("Cores", |report| match report.environment.cores {
        0 => String::new(),
        cores => format!("{cores}, of which the generator may use {}", report.environment.allowed_cores),
    }),
    ("Memory", |report| match report.environment.memory {
        0 => String::new(),
        octets => format!("{:.1} GiB", octets as f64 / f64::from(1 << 30)),
    }),
    ("Kernel", |report| report.environment.kernel.clone()),
    ("Load average before", |report| report.environment.load_average.clone()),
];

/// The same of each run, under its name if there are several; nothing of a run of which there is nothing to say.
fn each(runs: &[Run], of: fn(&Report) -> String) -> String {
    let part = |run: &Run| match (of(run.report), run.letter.is_empty()) {
        (content, true) => content,
        (content, false) if content.is_empty() => content,
        (content, false) => format!("{}{content}", key(run)),
    };
    runs.iter().map(part).collect()
}

fn objective(report: &Report) -> String {
    let Some(objective) = &report.objective else { return String::new() };
    let rows: Vec<Vec<String>> = objective
        .conditions
        .iter()
        .map(|condition| vec![html(&condition.text), html(&condition.measured), met(condition.met).into()])
        .collect();
    format!("<p><code>{}</code> {}</p>\n", html(&objective.text), met(objective.met))
        + &table(&["Condition", "Measured", "Met"], &rows)
}

fn met(met: bool) -> &'static str {
    match met {
        true => "<span class=\"met\">✓ met</span>",
        false => "<span class=\"missed\">✗ MISSED</span>",
    }
}

fn phases(report: &Report) -> String {
    let named = report.phases.named();
    let happened = named.iter().filter(|(_, latency)| latency.count > 0);
    let rows: Vec<Vec<String>> = happened
        .map(|(name, latency)| std::iter::once((*name).to_owned()).chain(latency_cells(latency)).collect())
        .collect();
    table(&["Phase", "Count", "Mean", "p50", "p90", "p99", "p99.9", "Max"], &rows)
}

fn latency_cells(latency: &Latency) -> Vec<String> {
    let times =
        [latency.mean_us, latency.p50_us, latency.p90_us, latency.p99_us, latency.p99_9_us, latency.max_us];
    std::iter::once(units::count(latency.count)).chain(times.map(units::time)).collect()
}

fn replies(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .replies
        .iter()
        .map(|reply| vec![html(&reply.phase), code(reply.code), units::count(reply.count)])
        .collect();
    table(&["To", "Code", "Count"], &rows) + &quoted("The first refusal", &report.first_refusal)
}

/// A reply code; one that refuses is pointed out.
fn code(code: u16) -> String {
    match code {
        400.. => format!("<span class=\"missed\">{code}</span>"),
        _ => code.to_string(),
    }
}

fn failures(report: &Report) -> String {
    if report.connection_failures.total() == 0 {
        return String::new();
    }
    counts(&words::failures(report), "connections") + &quoted("The first", &report.first_failure)
}

fn self_check(report: &Report) -> String {
    if report.ending == Ending::Unreachable {
        return String::new();
    }
    let rows: String = words::self_check(report)
        .iter()
        .map(|(name, value)| {
            format!("<tr><th scope=\"row\">{}</th><td>{}</td></tr>\n", html(name), html(value))
        })
        .collect();
    scrollable(&format!("<table class=\"facts\"><tbody>\n{rows}</tbody></table>\n"))
}

fn command(report: &Report) -> String {
    if report.command.is_empty() {
        return String::new();
    }
    let words: Vec<String> = report.command.iter().map(|word| shell_word(word)).collect();
    format!("<pre><code>{}</code></pre>\n", html(&words.join(" ")))
}

/// A word of a command line as a shell would read it back.
fn shell_word(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,@%+[]".contains(character);
    if !word.is_empty() && word.chars().all(is_plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// The steps of a sweep in the order of their rates.
pub fn sweep(sweep: &Sweep) -> String {
    let mut steps: Vec<&Step> = sweep.steps.iter().collect();
    steps.sort_by(|one, other| one.rate.total_cmp(&other.rate).then(one.repetition.cmp(&other.repetition)));
    let rows: Vec<Vec<String>> = steps.iter().map(|step| step_cells(sweep, step)).collect();
    table(&["Rate", "Run", "Accepted", "p50", "p99", "p99.9", "Max", "Not accepted", "Objective"], &rows)
}

fn step_cells(sweep: &Sweep, step: &Step) -> Vec<String> {
    let message = &step.message;
    let times = [message.p50_us, message.p99_us, message.p99_9_us, message.max_us]
        .map(|microseconds| super::figure(message, microseconds));
    let knee = if sweep.knee == Some(step.rate) { " <strong>knee</strong>" } else { "" };
    let first = [
        format!("{}{knee}", units::rate(step.rate)),
        step.repetition.to_string(),
        units::rate(step.messages_per_second),
    ];
    let objective = match (&step.invalid_reason, step.met) {
        (Some(reason), _) => format!("<span class=\"missed\">INVALID: {}</span>", html(reason)),
        (None, Some(kept)) => met(kept).into(),
        (None, None) => text::met(step).into(),
    };
    first.into_iter().chain(times).chain([units::percent(step.error_share), objective]).collect()
}

/// What is not 0, with its share of all.
fn counts(counts: &[(&str, u64)], of: &str) -> String {
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    let rows: Vec<Vec<String>> = counts
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| {
            vec![html(name), units::count(*count), units::percent(*count as f64 / total as f64)]
        })
        .collect();
    table(&["Outcome", &format!("Count of {of}"), "Share"], &rows)
}

fn quoted(what: &str, said: &Option<String>) -> String {
    match said {
        Some(said) => format!("<p>{}: <q>{}</q></p>\n", html(what), html(said)),
        None => String::new(),
    }
}

/// A table of cells that are HTML already; nothing without rows.
pub(crate) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: String = heads.iter().map(|head| format!("<th scope=\"col\">{}</th>", html(head))).collect();
    let row = |cells: &Vec<String>| {
        let first = cells.first().map(|cell| format!("<th scope=\"row\">{cell}</th>")).unwrap_or_default();
        let others: String = cells.iter().skip(1).map(|cell| format!("<td>{cell}</td>")).collect();
        format!("<tr>{first}{others}</tr>\n")
    };
    let rows: String = rows.iter().map(row).collect();
    scrollable(&format!(
        "<table class=\"figures\">\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table>\n"
    ))
}

/// What may be wider than a phone, and then is moved within its own frame.
fn scrollable(table: &str) -> String {
    format!("<div class=\"scrollable\">\n{table}</div>\n")
}
