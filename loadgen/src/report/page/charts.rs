//! The charts of a page: percentile curves, the time line, the sweep.

use super::super::chart::{Axis, Chart, Mark, Scale, Series, figure};
use super::super::{Interval, Latency, Report, Step, Sweep, units, words};
use super::{Run, key, section, tables};

/// The percentile curves and the time line. One run has its own figures as series; several runs are the series of one
/// chart for each figure.
pub fn latencies(runs: &[Run]) -> String {
    let charts = match runs {
        [] => return String::new(),
        [run] => of_one(run.report),
        several => of_several(several),
    };
    let drawn = charts.iter().filter(|chart| chart.series.iter().any(|series| !series.points.is_empty()));
    let figures: String = drawn.map(figure).collect();
    if figures.is_empty() {
        return figures;
    }
    section("Latency and time line", &format!("<div class=\"charts\">\n{figures}</div>\n"))
}

fn of_one(report: &Report) -> Vec<Chart> {
    let phases = &report.phases;
    let curves = [("message", &phases.message), ("accept", &phases.accept)]
        .into_iter()
        .filter(|(_, latency)| latency.count > 0)
        .enumerate()
        .map(|(style, (name, latency))| series(name, style, curve(latency)))
        .collect();
    let seconds = Seconds::of(report);
    let rates = [("accepted", SECOND_ACCEPTED), ("offered", SECOND_OFFERED), ("not accepted", SECOND_ERRORS)];
    let times: [(&str, Figure); 3] =
        [("p50", |second| second.p50_us), ("p99", |second| second.p99_us), ("max", |second| second.max_us)];
    let lines = |figures: &[(&str, Figure)]| {
        let shown =
            figures.iter().enumerate().filter(|(_, (name, of))| *name != "not accepted" || seconds.any(*of));
        shown.map(|(style, (name, of))| series(name, style, seconds.points(*of))).collect()
    };
    vec![
        percentiles("Latency by percentile", curves),
        time_line("Latency of messages, second by second", latency_axis(), lines(&times), &[report]),
        time_line("Messages a second", rate_axis("messages a second"), lines(&rates), &[report]),
        time_line(
            "Messages in flight",
            rate_axis("messages, at each second's end"),
            lines(&[("in flight", SECOND_IN_FLIGHT)]),
            &[report],
        ),
    ]
}

fn of_several(runs: &[Run]) -> Vec<Chart> {
    let reports: Vec<&Report> = runs.iter().map(|run| run.report).collect();
    let seconds: Vec<Seconds> = reports.iter().map(|report| Seconds::of(report)).collect();
    let curves = |of: fn(&Report) -> &Latency| {
        runs.iter().map(|run| series(&run.name, run.style, curve(of(run.report)))).collect()
    };
    let lines = |title: &str, axis: Axis, of: Figure| {
        let lines =
            runs.iter().zip(&seconds).map(|(run, seconds)| series(&run.name, run.style, seconds.points(of)));
        time_line(title, axis, lines.collect(), &reports)
    };
    let mut charts = vec![
        percentiles("Message latency by percentile", curves(|report| &report.phases.message)),
        percentiles("Accept latency by percentile", curves(|report| &report.phases.accept)),
        lines("Offered, second by second", rate_axis("messages a second"), SECOND_OFFERED),
        lines("Accepted, second by second", rate_axis("messages a second"), SECOND_ACCEPTED),
        lines("Message p50, second by second", latency_axis(), |second| second.p50_us),
        lines("Message p99, second by second", latency_axis(), |second| second.p99_us),
        lines("Message max, second by second", latency_axis(), |second| second.max_us),
        lines("Messages in flight", rate_axis("messages, at each second's end"), SECOND_IN_FLIGHT),
    ];
    // How such a curve is read stands beside it already.
    charts[1].note.clear();
    if seconds.iter().any(|seconds| seconds.any(SECOND_ERRORS)) {
        charts.push(lines("Not accepted, second by second", rate_axis("messages a second"), SECOND_ERRORS));
    }
    charts
}

/// Of each run that was a sweep, its charts and its table.
pub fn sweeps(runs: &[Run]) -> String {
    let parts: String = runs
        .iter()
        .filter_map(|run| Some((run, run.report.sweep.as_ref()?)))
        .map(|(run, sweep)| {
            let name = if run.letter.is_empty() { String::new() } else { key(run) };
            let found = super::html(&words::sweep(run.report).unwrap_or_default());
            let figures: String = of_sweep(sweep).iter().map(figure).collect();
            format!(
                "{name}<p>Rates tried: {found}.</p>\n<div class=\"charts\">\n{figures}</div>\n{}",
                tables::sweep(sweep)
            )
        })
        .collect();
    section("Rate sweep", &parts)
}

fn of_sweep(sweep: &Sweep) -> Vec<Chart> {
    let times: [(&str, StepFigure); 3] = [
        ("p50", |step| measured(&step.message, step.message.p50_us)),
        ("p99", |step| measured(&step.message, step.message.p99_us)),
        ("p99.9", |step| measured(&step.message, step.message.p99_9_us)),
    ];
    let lines = |figures: &[(&str, StepFigure)]| -> Vec<Series> {
        figures.iter().enumerate().map(|(style, (name, of))| by_rate(name, style, sweep, *of)).collect()
    };
    let rates: [(&str, StepFigure); 2] =
        [("accepted", |step| step.messages_per_second), ("intended", |step| step.rate)];
    let mut charts = vec![
        sweep_chart("Latency of messages by rate", latency_axis(), lines(&times), sweep),
        sweep_chart("Accepted by rate", rate_axis("messages a second"), lines(&rates), sweep),
    ];
    if sweep.steps.iter().any(|step| step.error_share > 0.0) {
        let share = Axis { label: "share of offered".into(), scale: Scale::Linear, text: units::percent };
        let errors: [(&str, StepFigure); 1] = [("not accepted", |step| step.error_share)];
        charts.push(sweep_chart("Not accepted by rate", share, lines(&errors), sweep));
    }
    charts
}

type Figure = fn(&Second) -> f64;
type StepFigure = fn(&Step) -> f64;

const SECOND_OFFERED: Figure = |second| second.offered;
const SECOND_ACCEPTED: Figure = |second| second.accepted;
const SECOND_ERRORS: Figure = |second| second.errors;
const SECOND_IN_FLIGHT: Figure = |second| second.in_flight;

/// A second of a run as a chart shows it, or some seconds together.
struct Second {
    at: f64,
    /// What no axis shows where the measured time was over: then there was nothing to offer.
    offered: f64,
    accepted: f64,
    errors: f64,
    in_flight: f64,
    p50_us: f64,
    p99_us: f64,
    max_us: f64,
}

/// The seconds of a run, some together where they are more than a chart can show.
struct Seconds(Vec<Second>);

impl Seconds {
    fn of(report: &Report) -> Seconds {
        let mut seconds: Vec<Second> = report.intervals.chunks(together(report)).map(merged).collect();
        for second in seconds.iter_mut().filter(|second| second.at >= report.elapsed_seconds) {
            second.offered = f64::NAN;
        }
        Seconds(seconds)
    }

    fn points(&self, of: Figure) -> Vec<(f64, f64)> {
        self.0.iter().map(|second| (second.at, of(second))).collect()
    }

    fn any(&self, of: Figure) -> bool {
        self.0.iter().any(|second| of(second) > 0.0)
    }
}

/// How many seconds are one point.
fn together(report: &Report) -> usize {
    report.intervals.len().div_ceil(POINTS_MAX).max(1)
}

/// Some seconds as one: what comes in a second as their mean, what must not be hidden as the worst of them.
fn merged(seconds: &[Interval]) -> Second {
    let mean = |of: fn(&Interval) -> u64| seconds.iter().map(of).sum::<u64>() as f64 / seconds.len() as f64;
    let worst = |of: fn(&Interval) -> f64| seconds.iter().map(of).fold(0.0, f64::max);
    Second {
        at: seconds.first().map_or(0.0, |second| second.at),
        offered: mean(|second| second.offered),
        accepted: mean(|second| second.accepted),
        errors: mean(|second| second.errors),
        in_flight: worst(|second| second.in_flight as f64),
        p50_us: worst(|second| second.p50_us),
        p99_us: worst(|second| second.p99_us),
        max_us: worst(|second| second.max_us),
    }
}

/// The points of a percentile curve. The axis of nines never comes to 100 %, so the maximum stands where half a value
/// more would be beyond it.
fn curve(latency: &Latency) -> Vec<(f64, f64)> {
    let last = 1.0 - 0.5 / latency.count.max(1) as f64;
    latency.curve.iter().map(|(share, value)| (share.min(last), *value)).collect()
}

/// A figure of a latency that was measured; else what no axis shows.
fn measured(latency: &Latency, microseconds: f64) -> f64 {
    if latency.count == 0 { f64::NAN } else { microseconds }
}

/// A figure over the rates. Of several runs at a rate the line takes the middle one, and the others stand beside it.
fn by_rate(name: &str, style: usize, sweep: &Sweep, of: StepFigure) -> Series {
    let mut steps: Vec<(f64, f64)> = sweep
        .steps
        .iter()
        .filter(|step| step.invalid_reason.is_none())
        .map(|step| (step.rate, of(step)))
        .collect();
    steps.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.total_cmp(&other.1)));
    let mut line = series(name, style, Vec::new());
    for runs in steps.chunk_by(|one, other| one.0 == other.0) {
        let middle = runs.len() / 2;
        line.points.push(runs[middle]);
        line.strays
            .extend(runs.iter().enumerate().filter(|(number, _)| *number != middle).map(|(_, point)| *point));
    }
    line
}

fn series(name: &str, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), style, points, strays: Vec::new() }
}

fn percentiles(title: &str, series: Vec<Series>) -> Chart {
    Chart {
        title: title.into(),
        note: "How to read it: at 99 %, the latency that 99 of 100 did not exceed. Each 9 to the right leaves a tenth as many slower ones; the last point is the maximum."
            .into(),
        x: Axis { label: "share that took at most so long".into(), scale: Scale::Nines, text: percentile },
        y: latency_axis(),
        series,
        marks: Vec::new(),
    }
}

fn time_line(title: &str, y: Axis, series: Vec<Series>, reports: &[&Report]) -> Chart {
    let together = reports.iter().map(|report| together(report)).max().unwrap_or(1);
    let note = match (together, y.scale) {
        (1, Scale::Logarithmic) => "A gap is a time in which no message ended.".into(),
        (1, _) => String::new(),
        (seconds, Scale::Logarithmic) => format!("A point is the worst of up to {seconds} seconds."),
        (seconds, _) => format!("A point is up to {seconds} seconds together."),
    };
    let ends = reports.iter().filter(|report| {
        report.intervals.last().is_some_and(|last| last.at >= report.elapsed_seconds)
            && report.elapsed_seconds > 0.0
    });
    let mut marks: Vec<Mark> =
        ends.map(|report| Mark { x: report.elapsed_seconds, label: "load ends".into() }).collect();
    marks.dedup_by(|one, other| one.x == other.x);
    let x = Axis { label: "time since the measured time began".into(), scale: Scale::Linear, text: second };
    Chart { title: title.into(), note, x, y, series, marks }
}

fn sweep_chart(title: &str, y: Axis, series: Vec<Series>, sweep: &Sweep) -> Chart {
    let rates =
        || series.iter().flat_map(|line| &line.points).map(|(rate, _)| *rate).filter(|rate| *rate > 0.0);
    let (low, high) = (rates().fold(f64::INFINITY, f64::min), rates().fold(0.0, f64::max));
    let scale = if high > low * WIDE_SWEEP { Scale::Logarithmic } else { Scale::Linear };
    let knee = sweep.knee.map(|rate| Mark { x: rate, label: format!("knee {}", units::rate(rate)) });
    Chart {
        title: title.into(),
        note: sweep_note(&series, sweep),
        x: Axis { label: "messages a second, intended".into(), scale, text: units::number },
        y,
        series,
        marks: knee.into_iter().collect(),
    }
}

fn sweep_note(series: &[Series], sweep: &Sweep) -> String {
    let invalid = sweep.steps.iter().filter(|step| step.invalid_reason.is_some()).count() as u64;
    let left_out = (invalid > 0).then(|| {
        format!(
            "Left out: {invalid} {} that say nothing about the server, see the table.",
            units::plural(invalid, "run", "runs")
        )
    });
    let repeated = series.iter().any(|line| !line.strays.is_empty());
    let middle = repeated.then(|| "Of several runs at a rate, the line takes the middle one.".to_owned());
    middle.into_iter().chain(left_out).collect::<Vec<_>>().join(" ")
}

fn latency_axis() -> Axis {
    Axis { label: "latency, logarithmic".into(), scale: Scale::Logarithmic, text: short_time }
}

fn rate_axis(label: &str) -> Axis {
    Axis { label: label.into(), scale: Scale::Linear, text: units::number }
}

/// A time without the zeros that a tick does not need: `10 ms`.
fn short_time(microseconds: f64) -> String {
    let text = units::time(microseconds);
    match text.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            format!("{} {unit}", number.trim_end_matches('0').trim_end_matches('.'))
        }
        _ => text,
    }
}

fn second(seconds: f64) -> String {
    format!("{} s", units::number(seconds))
}

/// A share with the nines that it has: `50 %`, `99.9 %`.
fn percentile(share: f64) -> String {
    let nines = -(1.0 - share).log10();
    let decimals = (nines.clamp(0.0, 12.0).ceil() as usize).saturating_sub(1);
    let text = format!("{:.decimals$}", share * 100.0);
    let text = if decimals > 0 { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text} %")
}

/// A chart is not as many pixels wide.
const POINTS_MAX: usize = 300;

/// Rates that span more than this factor are shown by powers of ten.
const WIDE_SWEEP: f64 = 20.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_say_all_their_nines() {
        for (share, text) in [(0.0, "0 %"), (0.5, "50 %"), (0.9, "90 %"), (0.99, "99 %"), (0.9999, "99.99 %")]
        {
            assert_eq!(percentile(share), text);
        }
    }

    #[test]
    fn a_day_of_seconds_is_no_more_than_a_chart_can_show_and_hides_no_stall() {
        let mut report = super::super::super::sample::closed();
        report.intervals = (0..86_400)
            .map(|at| Interval { at: f64::from(at), max_us: 5.0, ..Interval::default() })
            .collect();
        report.intervals[40_000].max_us = 9e6;
        let points = Seconds::of(&report).points(|second| second.max_us);
        assert!(points.len() <= POINTS_MAX);
        assert!(points.iter().any(|(_, max)| *max == 9e6));
    }

    #[test]
    fn of_several_runs_at_a_rate_the_line_takes_the_middle_one() {
        let mut sweep = super::super::super::sample::sweep().sweep.expect("it is a sweep");
        sweep.steps.truncate(3);
        for (step, rate) in sweep.steps.iter_mut().zip([10.0, 30.0, 20.0]) {
            (step.rate, step.messages_per_second) = (100.0, rate);
        }
        let line = by_rate("", 0, &sweep, |step| step.messages_per_second);
        assert_eq!((line.points, line.strays), (vec![(100.0, 20.0)], vec![(100.0, 10.0), (100.0, 30.0)]));
    }
}
