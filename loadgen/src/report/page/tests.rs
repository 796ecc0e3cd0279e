//! The promises of the page.

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

/// Every string of a report says what a hostile server might.
fn hostile() -> Report {
    let mut report = sample::sweep();
    let value = serde_json::to_value(&report).expect("a report is JSON");
    let value = with_hostile_strings(value);
    report = serde_json::from_value(value).expect("it still is a report");
    report.valid = false;
    report.invalid_reason = Some(sample::HOSTILE.into());
    report.ending_reason = Some(sample::HOSTILE.into());
    report.first_refusal = Some(sample::HOSTILE.into());
    report.first_failure = Some(sample::HOSTILE.into());
    report.connection_failures.reset = 1;
    report
}

fn with_hostile_strings(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    const NAMES: [&str; 6] = ["mode", "ending", "arrivals", "kind", "invalid_reason", "ending_reason"];
    match value {
        Value::String(_) => sample::HOSTILE.into(),
        Value::Array(values) => values.into_iter().map(with_hostile_strings).collect(),
        Value::Object(map) => map
            .into_iter()
            .map(|(name, value)| {
                let value = if NAMES.contains(&name.as_str()) { value } else { with_hostile_strings(value) };
                (name, value)
            })
            .collect(),
        other => other,
    }
}

#[test]
fn nothing_that_a_server_says_becomes_mark_up() {
    let page = page(sample::HOSTILE, &[hostile(), hostile()]);
    for forbidden in ["<script", "<img", "onerror=alert(1)>", "]]>", "--></", "NaN"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(page.matches("</style>").count(), 1);
    assert!(page.chars().all(|character| character == '\n' || !character.is_control()));
    assert!(!page.contains('\u{202e}'));
    assert!(page.contains("&lt;script&gt;"));
}

#[test]
fn every_element_that_is_opened_is_closed() {
    let mut pages: Vec<String> = all().into_iter().map(|report| page("A run", &[report])).collect();
    pages.extend([page("All", &all()), page("None", &[]), page("Hostile", &[hostile()])]);
    for page in pages {
        for element in [
            "section", "article", "figure", "table", "tr", "td", "th", "svg", "g", "text", "p", "div", "dl",
            "ul",
        ] {
            let opened =
                page.matches(&format!("<{element}>")).count() + page.matches(&format!("<{element} ")).count();
            assert_eq!(opened, page.matches(&format!("</{element}>")).count(), "{element}");
        }
    }
}

#[test]
fn the_page_asks_the_network_for_nothing() {
    // Without the hostile one: as text, it may say what it likes.
    let page = page("All", &all()[..4]);
    for reference in ["http://", "https://", "src=", "href=", "@import", "url("] {
        assert!(!page.contains(reference), "{reference}");
    }
}

#[test]
fn an_invalid_run_says_so_before_any_figure() {
    let page = page("A run", &[sample::invalid()]);
    let invalid = page.find("INVALID</p>").expect("the badge");
    assert!(invalid < page.find("class=\"tiles void\"").expect("the figures"));
    assert!(page.contains("verdict bad"));
}

#[test]
fn a_missed_objective_and_one_that_was_met_look_different() {
    assert!(page("A run", &[sample::open_stalling(3)]).contains("verdict bad"));
    assert!(page("A run", &[sample::sweep()]).contains("verdict good"));
}

#[test]
fn runs_side_by_side_are_called_by_what_sets_them_apart() {
    let reports = [sample::closed_stalling(3), sample::open_stalling(3)];
    let names: Vec<String> = runs(&reports).into_iter().map(|run| run.name).collect();
    assert_eq!(names[0], "A closed loop");
    assert!(names[1].starts_with("B open loop (constant, 1,500/s)"), "{names:?}");
    let same = [sample::closed(), sample::closed()];
    assert_eq!(runs(&same).into_iter().map(|run| run.name).collect::<Vec<_>>(), ["A", "B"]);
}

#[test]
fn the_knee_is_marked_in_the_charts_and_the_table() {
    let page = page("A sweep", &[sample::sweep()]);
    assert!(page.contains(">knee 3,250/s</text>") && page.contains("<strong>knee</strong>"));
}

#[test]
fn figures_that_are_no_numbers_break_nothing() {
    let mut report = sample::open_stalling(3);
    report.messages_per_second = f64::NAN;
    report.elapsed_seconds = f64::INFINITY;
    report.phases.message.curve = vec![(f64::NAN, 1.0), (0.5, f64::INFINITY), (2.0, 3.0), (-1.0, 5.0)];
    report.intervals[1].p99_us = f64::NAN;
    let page = page("Odd", &[report]);
    assert!(!page.contains("NaN") && !page.contains("inf "), "{page}");
}
