//! One or several reports as one page of HTML: it opens without network, runs no script, and reads in light and dark,
//! on a phone and printed.
//!
//! The verdicts stand first, then the figures that matter, the charts, the tables, and last what the words mean. Several
//! reports share the charts: each keeps its letter, colour and dash on the whole page. Every string goes through
//! [`html`], as banners and replies come from a server that may be hostile; the page's own policy
//! (`Content-Security-Policy`) forbids scripts and the network all the same.

mod charts;
mod tables;

pub(crate) use tables::table;

use super::escape::html;
use super::words::{self, Standing};
use super::{Ending, Report, chart, units};

/// The page. Reports keep the order in which they are given.
pub fn page(title: &str, reports: &[Report]) -> String {
    page_with(title, reports, "")
}

/// The page with something before its verdicts, that is HTML already.
pub(crate) fn page_with(title: &str, reports: &[Report], preface: &str) -> String {
    let runs = runs(reports);
    let sections = [
        preface.to_owned(),
        verdicts(&runs),
        key_figures(&runs),
        charts::sweeps(&runs),
        charts::latencies(&runs),
        tables::all(&runs),
        TERMS.to_owned(),
    ];
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"color-scheme\" content=\"light dark\">\n<meta \
         http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src \
         'unsafe-inline'\">\n<title>{title}</title>\n<style>\n{STYLE}{chart_style}</style>\n</head>\n<body>\n<main>\n\
         <h1>{title}</h1>\n{lead}{sections}</main>\n{footer}</body>\n</html>\n",
        title = html(title),
        chart_style = chart::STYLE,
        lead = lead(reports),
        sections = sections.concat(),
        footer = footer(reports),
    )
}

/// A report and how it is called on this page.
struct Run<'a> {
    report: &'a Report,
    /// `A`, `B` and so on; empty if it is the only one.
    letter: String,
    /// What sets it apart from the others, the letter first.
    name: String,
    /// Its colour and dash in all charts.
    style: usize,
}

fn runs(reports: &[Report]) -> Vec<Run<'_>> {
    let facts: Vec<Vec<String>> = reports.iter().map(telling_facts).collect();
    let differs = |fact: &usize| facts.iter().any(|other| other.get(*fact) != facts[0].get(*fact));
    let differing: Vec<usize> = (0..facts.first().map_or(0, Vec::len)).filter(differs).collect();
    let run = |(number, report): (usize, _)| {
        let letter = if reports.len() > 1 { letter(number) } else { String::new() };
        let told: Vec<&str> = differing.iter().take(2).map(|fact| facts[number][*fact].as_str()).collect();
        let name = format!("{letter} {}", told.join(", "));
        Run { report, letter, name: name.trim().to_owned(), style: number }
    };
    reports.iter().enumerate().map(run).collect()
}

/// What may set a run apart, the most telling first.
fn telling_facts(report: &Report) -> Vec<String> {
    vec![
        words::mode(report),
        report.target.name.clone(),
        report.speaking.in_force.clone(),
        words::connections(report),
        words::message(report),
        format!("loadgen {}", report.loadgen),
        report.started.clone(),
    ]
}

/// `A` to `Z`, and then numbers.
fn letter(number: usize) -> String {
    match u8::try_from(number) {
        Ok(number) if number < 26 => char::from(b'A' + number).into(),
        _ => (number + 1).to_string(),
    }
}

/// What was done, in a line; of several reports in how many.
fn lead(reports: &[Report]) -> String {
    let lead = match reports {
        [] => "No report.".to_owned(),
        [report] => format!("{} · {} · {}", report.target.name, words::mode(report), report.started),
        several => format!("{} runs side by side", several.len()),
    };
    format!("<p class=\"lead\">{}</p>\n", html(&lead))
}

fn verdicts(runs: &[Run]) -> String {
    let cards: String = runs.iter().map(verdict).collect();
    format!("<section class=\"verdicts\" aria-label=\"Verdicts\">\n{cards}</section>\n")
}

fn verdict(run: &Run) -> String {
    let report = run.report;
    let standing = Standing::of(report);
    let (class, sign) = match standing {
        Standing::Invalid | Standing::Incomplete(_) | Standing::NothingAccepted | Standing::Missed => {
            ("bad", "✗")
        }
        Standing::Met => ("good", "✓"),
        Standing::Valid => ("plain", "•"),
    };
    let name = if run.letter.is_empty() { String::new() } else { key(run) };
    let reason = |reason: &Option<String>| match reason {
        Some(reason) if !report.verdict.contains(reason.as_str()) => format!("<p>{}</p>\n", html(reason)),
        _ => String::new(),
    };
    let warning = match standing {
        Standing::Invalid => "<p>The figures below are not what they say: do not quote them.</p>\n",
        _ => "",
    };
    format!(
        "<article class=\"verdict {class}\">\n<p class=\"badge\"><span aria-hidden=\"true\">{sign}</span> {}</p>\n{name}<p \
         class=\"sentence\">{}</p>\n{}{}{warning}</article>\n",
        standing.name(),
        html(&report.verdict),
        reason(&report.invalid_reason),
        reason(&report.ending_reason),
    )
}

/// The name of a run with its colour; wherever it stands, one that is not valid says so.
fn key(run: &Run) -> String {
    let invalid = if run.report.valid { "" } else { " <strong class=\"missed\">INVALID</strong>" };
    format!("<p class=\"key\"><i class=\"s{}\"></i>{}{invalid}</p>\n", run.style % 6, html(&run.name))
}

fn key_figures(runs: &[Run]) -> String {
    match runs {
        [] => String::new(),
        [run] if run.report.ending == Ending::Unreachable => String::new(),
        [run] => tiles(run.report),
        several => section("Key figures", &tables::facts(several, KEY_FIGURES)),
    }
}

fn tiles(report: &Report) -> String {
    let (accept, message) = (&report.phases.accept, &report.phases.message);
    let intended = report.intended_rate.map(|rate| format!("of {} intended", units::rate(rate)));
    let octets = format!("{}/s of mail data", units::octets(report.octets_per_second));
    let number = report.speaking.connections;
    let connections =
        format!("{} {}", units::count(number), units::plural(number, "connection", "connections"));
    let not_accepted = report.offered.saturating_sub(report.accepted);
    let tiles = [
        ("Accepted", units::rate(report.messages_per_second), intended.unwrap_or(octets)),
        ("Measured", units::seconds(report.elapsed_seconds), connections),
        ("Accept p99", figure(accept, accept.p99_us), format!("p50 {}", figure(accept, accept.p50_us))),
        ("Message p99", figure(message, message.p99_us), format!("p50 {}", figure(message, message.p50_us))),
        (
            "Message max",
            figure(message, message.max_us),
            format!("p99.9 {}", figure(message, message.p99_9_us)),
        ),
        (
            "Not accepted",
            units::percent(report.error_share),
            format!("{} of {}", units::count(not_accepted), units::count(report.offered)),
        ),
    ];
    let tiles: String = tiles
        .iter()
        .map(|(name, value, beside)| {
            format!(
                "<div><dt>{name}</dt><dd>{}</dd><dd class=\"beside\">{}</dd></div>\n",
                html(value),
                html(beside)
            )
        })
        .collect();
    let class = if report.valid { "tiles" } else { "tiles void" };
    format!("<dl class=\"{class}\">\n{tiles}</dl>\n")
}

/// A figure of a latency; none if nothing was measured.
fn figure(latency: &super::Latency, microseconds: f64) -> String {
    if latency.count == 0 { units::NONE.into() } else { units::time(microseconds) }
}

/// What is compared first where runs stand side by side.
const KEY_FIGURES: &[tables::Fact] = &[
    ("Mode", words::mode),
    ("Accepted", |report| units::rate(report.messages_per_second)),
    ("Intended", |report| report.intended_rate.map_or(units::NONE.into(), units::rate)),
    ("Offered", |report| units::count(report.offered)),
    ("Not accepted", |report| units::percent(report.error_share)),
    ("Accept p50", |report| figure(&report.phases.accept, report.phases.accept.p50_us)),
    ("Accept p99", |report| figure(&report.phases.accept, report.phases.accept.p99_us)),
    ("Accept p99.9", |report| figure(&report.phases.accept, report.phases.accept.p99_9_us)),
    ("Message p50", |report| figure(&report.phases.message, report.phases.message.p50_us)),
    ("Message p99", |report| figure(&report.phases.message, report.phases.message.p99_us)),
    ("Message p99.9", |report| figure(&report.phases.message, report.phases.message.p99_9_us)),
    ("Message max", |report| figure(&report.phases.message, report.phases.message.max_us)),
];

/// A part of the page under its heading; nothing if there is nothing in it.
pub(crate) fn section(heading: &str, content: &str) -> String {
    if content.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{}</h2>\n{content}</section>\n", html(heading))
}

fn footer(reports: &[Report]) -> String {
    let mut versions: Vec<String> = reports
        .iter()
        .map(|report| format!("loadgen {}, report schema {}", report.loadgen, report.schema_version))
        .collect();
    versions.dedup();
    format!("<footer>{}</footer>\n", html(&versions.join("; ")))
}

const STYLE: &str = include_str!("page/style.css");
const TERMS: &str = include_str!("page/terms.html");

#[cfg(test)]
mod tests;
