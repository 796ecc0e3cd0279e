//! The promises of a comparison.

use super::*;
use crate::report::sample;

const TEN_PERCENT: Option<f64> = Some(0.1);

/// The sample, made anew as it would be by another run.
fn changed(report: &Report, change: impl Fn(&mut Report)) -> Report {
    let mut changed = report.clone();
    change(&mut changed);
    changed
}

fn worse(before: &Report, after: &Report) -> Vec<String> {
    match compare(before, after, TEN_PERCENT).comparison {
        Comparison::Regression(worse) => worse,
        Comparison::Fine => Vec::new(),
        Comparison::Invalid(reasons) => panic!("it can be compared: {reasons:?}"),
    }
}

fn invalid(before: &Report, after: &Report) -> String {
    match compare(before, after, TEN_PERCENT).comparison {
        Comparison::Invalid(reasons) => reasons.join("; "),
        other => panic!("it cannot be compared, but is {other:?}"),
    }
}

#[test]
fn a_run_is_no_worse_than_itself() {
    for report in [sample::closed(), sample::open_stalling(5), sample::sweep()] {
        let compared = compare(&report, &report, Some(0.0));
        assert_eq!(compared.comparison, Comparison::Fine, "{}", compared.text());
        assert!(compared.differences.is_empty());
    }
}

#[test]
fn what_is_worse_beyond_the_threshold_is_a_regression_and_what_is_within_is_not() {
    let before = sample::closed();
    let after = |factor: f64| {
        changed(&before, |report| {
            report.messages_per_second /= factor;
            report.phases.accept.p99_us *= factor;
        })
    };
    assert_eq!(worse(&before, &after(1.05)), [""; 0]);
    assert_eq!(worse(&before, &after(1.25)), ["messages/s -20.0 %", "accept p99 +25.0 %"]);
    assert_eq!(worse(&after(1.25), &before), [""; 0], "better is not worse");
}

#[test]
fn from_no_failure_to_any_is_a_regression() {
    let before = sample::closed();
    let after = changed(&before, |report| report.error_share = 0.000_1);
    assert_eq!(worse(&before, &after), ["not accepted from 0"]);
}

#[test]
fn the_p99_9_is_shown_and_not_judged() {
    let before = sample::closed();
    let after = changed(&before, |report| report.phases.message.p99_9_us *= 20.0);
    assert_eq!(worse(&before, &after), [""; 0]);
    assert!(compare(&before, &after, TEN_PERCENT).text().contains("x 20"));
}

#[test]
fn a_p99_of_few_messages_is_not_judged_and_said_so() {
    let before = changed(&sample::closed(), |report| report.phases.accept.count = 999);
    let after = changed(&before, |report| report.phases.accept.p99_us *= 2.0);
    assert_eq!(worse(&before, &after), [""; 0]);
    assert!(compare(&before, &after, TEN_PERCENT).text().contains("too few to judge"));
}

#[test]
fn an_open_loop_is_judged_by_what_it_reached_of_the_intended_rate() {
    let before = sample::open_stalling(5);
    let after = |factor: f64| changed(&before, |report| report.messages_per_second *= factor);
    assert_eq!(worse(&before, &after(0.95)), [""; 0]);
    assert_eq!(worse(&before, &after(0.8)), ["of intended -20.0 %"]);
    assert_eq!(worse(&after(0.8), &after(0.8)), [""; 0], "it was missed as much before");
}

#[test]
fn of_two_sweeps_the_knees_are_judged_and_not_the_latencies_at_different_rates() {
    let before = sample::sweep();
    let after = changed(&before, |report| {
        report.intended_rate = Some(1_000.0);
        report.messages_per_second = 1_000.0;
        report.phases.message.p99_us *= 3.0;
        report.sweep.as_mut().expect("it is a sweep").knee = Some(1_000.0);
    });
    assert_eq!(worse(&before, &after), ["knee -69.2 %"]);
    let gone = changed(&before, |report| report.sweep.as_mut().expect("it is a sweep").knee = None);
    assert_eq!(worse(&before, &gone), ["knee gone"]);
}

#[test]
fn a_run_that_is_not_valid_cannot_pass() {
    let valid = sample::open_stalling(10);
    assert!(invalid(&valid, &sample::invalid()).starts_with("B is not valid: the generator came"));
    assert!(invalid(&sample::invalid(), &valid).starts_with("A is not valid"));
    let without_threshold = compare(&valid, &sample::invalid(), None).comparison;
    assert!(matches!(without_threshold, Comparison::Invalid(_)));
}

#[test]
fn different_questions_are_refused_and_named() {
    let closed = sample::closed();
    let open = sample::open_stalling(5);
    assert!(invalid(&closed, &open).contains("mode: closed loop in A, open loop in B"));
    let larger = changed(&closed, |report| report.speaking.size = "1MiB".into());
    assert!(invalid(&closed, &larger).contains("message size: 4KiB in A, 1MiB in B"));
    let faster = changed(&open, |report| report.intended_rate = Some(3_000.0));
    assert!(invalid(&open, &faster).contains("intended rate: 1,500/s in A, 3,000/s in B"));
    assert!(invalid(&sample::nothing_accepted(), &closed).contains("A accepted nothing"));
}

#[test]
fn different_circumstances_are_named_one_by_one() {
    let before = sample::closed();
    let after = changed(&before, |report| {
        report.speaking.connections = 50;
        report.target.name = "\x1b[2Jelsewhere".into();
        report.environment.processor = "Another".into();
    });
    let compared = compare(&before, &after, TEN_PERCENT);
    assert_eq!(compared.comparison, Comparison::Fine);
    assert_eq!(compared.differences.len(), 3, "{:?}", compared.differences);
    assert!(compared.text().contains("differs: connections: 20 in A, 50 in B\n"));
    assert!(compared.text().chars().all(|character| character == '\n' || !character.is_control()));
}

#[test]
fn a_server_that_accepts_nothing_any_more_is_a_regression() {
    let worse = worse(&sample::closed(), &sample::nothing_accepted());
    assert!(worse.contains(&"messages/s -100.0 %".to_owned()), "{worse:?}");
}

#[test]
fn the_last_line_says_what_came_of_it_and_so_does_the_json() {
    let before = sample::closed();
    let after = changed(&before, |report| report.messages_per_second *= 0.5);
    let compared = compare(&before, &after, TEN_PERCENT);
    assert_eq!(
        compared.text().lines().last(),
        Some("comparison: REGRESSION beyond 10.0 %: messages/s -50.0 %")
    );
    let json: serde_json::Value = serde_json::from_str(&compared.json()).expect("it is JSON");
    assert_eq!(json["outcome"], "regression");
    assert_eq!(json["reasons"][0], "messages/s -50.0 %");
    assert_eq!(json["figures"][0]["judgement"], "worse");
}

#[test]
fn thresholds_are_read_and_nonsense_is_shown() {
    for (text, share) in [("10%", 0.1), ("7.5 %", 0.075), ("0%", 0.0), (" 200% ", 2.0)] {
        assert_eq!(threshold(text), Ok(share));
    }
    for text in ["", "%", "10", "-1%", "1001%", "1e3%", "ten%", "1.2.3%", "NaN%", "inf%"] {
        let error = threshold(text).expect_err(text);
        assert!(error.starts_with(&format!("'{text}' is not a threshold")), "{error}");
    }
}
