//! How a run is told: a table and a verdict for people, JSON for programs.

use std::fmt::Write as _;
use std::io::{self, Write as _};

use fastsmtp::units;
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

use crate::arguments::{Amount, Mode, Plan};
use crate::generator::{Ending, Run};

/// Writes the report where the plan wants it.
pub fn write(plan: &Plan, run: &Run) -> io::Result<()> {
    let (text, json) = (text(plan, run), json(plan, run));
    match &plan.json {
        None => io::stdout().write_all(text.as_bytes()),
        Some(path) if path.as_os_str() == "-" => {
            io::stderr().write_all(text.as_bytes())?;
            writeln!(io::stdout(), "{json:#}")
        }
        Some(path) => {
            io::stdout().write_all(text.as_bytes())?;
            std::fs::write(path, format!("{json:#}\n"))
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
        }
    }
}

fn text(plan: &Plan, run: &Run) -> String {
    let mut lines = vec![head(plan, run)];
    if run.begun > 0 {
        lines.push(String::new());
        lines.push(row("", ["count", "mean", "p50", "p90", "p99", "p99.9", "max"].map(String::from)));
        for (name, histogram) in run.measured.latencies.named() {
            lines.push(row(name, columns(histogram)));
        }
        lines.extend(connects_before(run));
        lines.push(String::new());
        lines.push(messages(run));
        lines.extend(failures(run));
        lines.push(replies(run));
        lines.extend(processor(run));
        lines.extend(apart(run));
    }
    lines.push(format!("verdict: {}", verdict(plan, run)));
    lines.join("\n") + "\n"
}

fn head(plan: &Plan, run: &Run) -> String {
    let amount = match plan.amount {
        Amount::Messages(messages) => format!("{messages} messages"),
        Amount::Time { warm_up, measured } => {
            format!("{} after {} of warm-up", units::duration_text(measured), units::duration_text(warm_up))
        }
    };
    format!(
        "{}: closed loop, {} connections, {}, {} a message, {} recipient(s), {amount}",
        plan.target,
        plan.connections,
        in_force(plan, run),
        units::size_text(plan.size as u64),
        plan.envelope.forward_paths.len(),
    )
}

/// The mode as it really was.
fn in_force(plan: &Plan, run: &Run) -> &'static str {
    match (plan.mode, run.pipelining) {
        (Mode::Lockstep, _) => "lockstep",
        (Mode::Pipeline, Some(false)) => "lockstep (PIPELINING is not offered)",
        (Mode::Pipeline, _) => "pipelined",
    }
}

fn row(name: &str, columns: [String; 7]) -> String {
    let mut line = format!("{name:<9}");
    for column in columns {
        write!(line, "{column:>10}").expect("writing to a string cannot fail");
    }
    line
}

fn columns(histogram: &Histogram<u64>) -> [String; 7] {
    let count = histogram.len();
    let quantile =
        |quantile| if count == 0 { "-".into() } else { time(histogram.value_at_quantile(quantile) as f64) };
    let of = |nanoseconds| if count == 0 { "-".into() } else { time(nanoseconds) };
    [
        count.to_string(),
        of(histogram.mean()),
        quantile(0.5),
        quantile(0.9),
        quantile(0.99),
        quantile(0.999),
        of(histogram.max() as f64),
    ]
}

/// Three digits and a unit.
fn time(nanoseconds: f64) -> String {
    let (value, unit) = match nanoseconds {
        ns if ns < 999_500.0 => (ns / 1e3, "µs"),
        ns if ns < 999_500_000.0 => (ns / 1e6, "ms"),
        ns => (ns / 1e9, "s"),
    };
    let decimals = if value < 9.995 { 2 } else { usize::from(value < 99.95) };
    format!("{value:.decimals$} {unit}")
}

/// Kept connections are opened before anything is measured.
fn connects_before(run: &Run) -> Option<String> {
    let connect = &run.warm_up.latencies.connect;
    (!connect.is_empty()).then(|| row("before:", columns(connect)) + "   (connects before the measured time)")
}

fn messages(run: &Run) -> String {
    let tally = &run.measured;
    format!(
        "messages: {} accepted, {} refused with 4xx, {} refused with 5xx, {} unanswered, in {:.3} s",
        tally.accepted,
        tally.transient,
        tally.permanent,
        tally.unanswered,
        run.elapsed.as_secs_f64()
    )
}

fn failures(run: &Run) -> Option<String> {
    let failures = &run.measured.failures;
    (failures.total() > 0).then(|| {
        format!(
            "connections that failed: {} to connect, {} refused service, {} closed or reset, {} timed out, {} spoke no \
             proper SMTP; the first: {}",
            failures.connect,
            failures.refused,
            failures.reset,
            failures.timeout,
            failures.protocol,
            run.first_failure.as_deref().unwrap_or("-")
        )
    })
}

fn replies(run: &Run) -> String {
    let replies: Vec<String> =
        run.measured.replies().map(|(code, count)| format!("{code}: {count}")).collect();
    let example = run.first_negative.as_ref().map(|example| format!("; the first refusal: {example}"));
    format!("replies: {}{}", replies.join(", "), example.unwrap_or_default())
}

fn processor(run: &Run) -> Option<String> {
    let micros = processor_micros(run)?;
    Some(format!(
        "the generator itself: {micros:.2} µs of processor time a message, {:.0} % of a core",
        100.0 * busy(run)
    ))
}

/// Messages that are not in the figures.
fn apart(run: &Run) -> Option<String> {
    let (before, after) = (run.warm_up.settled(), run.drain.settled());
    (before + after + run.abandoned > 0).then(|| {
        format!(
            "not in the figures: {} accepted and {} not in the warm-up, {} and {} after the end, {} given up under way",
            run.warm_up.accepted,
            before - run.warm_up.accepted,
            run.drain.accepted,
            after - run.drain.accepted,
            run.abandoned
        )
    })
}

/// One line that says what the run is worth.
fn verdict(plan: &Plan, run: &Run) -> String {
    let tally = &run.measured;
    let ending = match &run.ending {
        Ending::Unreachable(reason) => {
            return format!("{} has no SMTP service for us: {reason}", plan.target);
        }
        Ending::Complete => "",
        Ending::Interrupted => "interrupted: ",
        Ending::GaveUp => "gave up, as no connection came to a message any more: ",
    };
    if tally.accepted == 0 {
        return format!("{ending}nothing was accepted: {}", why_nothing(run));
    }
    let mut verdict = format!(
        "{ending}{:.0} messages/s accepted (closed loop, {}), accept p99 {}",
        rate(run),
        in_force(plan, run),
        time(tally.latencies.accept.value_at_quantile(0.99) as f64)
    );
    let refused = tally.settled() - tally.accepted;
    if refused > 0 {
        write!(verdict, "; NOT accepted: {refused} of {}", tally.settled()).expect("a string takes all");
    }
    if tally.failures.total() > 0 {
        write!(verdict, "; {} connections failed", tally.failures.total()).expect("a string takes all");
    }
    if busy(run) > GENERATOR_BOUND {
        verdict += "; the generator used its core up: the server may be able to do more";
    }
    verdict
}

fn why_nothing(run: &Run) -> String {
    let tally = &run.measured;
    if tally.settled() == 0 && tally.failures.total() == 0 {
        return "no message came to its end in the measured time".into();
    }
    let example = run.first_negative.as_deref().or(run.first_failure.as_deref()).unwrap_or("-");
    format!(
        "{} messages refused with 4xx, {} with 5xx, {} unanswered, {} connections failed; the first: {example}",
        tally.transient,
        tally.permanent,
        tally.unanswered,
        tally.failures.total()
    )
}

fn json(plan: &Plan, run: &Run) -> Value {
    let tally = &run.measured;
    let failures = &tally.failures;
    let (ending, reason) = match &run.ending {
        Ending::Complete => ("complete", None),
        Ending::Interrupted => ("interrupted", None),
        Ending::GaveUp => ("gave_up", None),
        Ending::Unreachable(reason) => ("unreachable", Some(reason)),
    };
    let phases: Map<String, Value> = tally
        .latencies
        .named()
        .into_iter()
        .map(|(name, histogram)| (name.into(), phase(histogram)))
        .collect();
    let replies: Map<String, Value> =
        tally.replies().map(|(code, count)| (code.to_string(), count.into())).collect();
    json!({
        "schema_version": 1,
        "target": plan.target.to_string(),
        "loop": "closed",
        "mode": plan.mode.name(),
        "pipelining_offered": run.pipelining,
        "connections": plan.connections,
        "message_octets": plan.size,
        "recipients": plan.envelope.forward_paths.len(),
        "messages_per_connection": plan.messages_per_connection,
        "ending": ending,
        "reason": reason,
        "begun": run.begun,
        "accepted": tally.accepted,
        "refused_transient": tally.transient,
        "refused_permanent": tally.permanent,
        "unanswered": tally.unanswered,
        "abandoned": run.abandoned,
        "warm_up": {
            "accepted": run.warm_up.accepted,
            "settled": run.warm_up.settled(),
            "connect": phase(&run.warm_up.latencies.connect),
        },
        "drain": { "accepted": run.drain.accepted, "settled": run.drain.settled() },
        "elapsed_seconds": run.elapsed.as_secs_f64(),
        "messages_per_second": rate(run),
        "processor_us_per_message": processor_micros(run),
        "processor_share": busy(run),
        "connection_failures": {
            "connect": failures.connect,
            "refused": failures.refused,
            "reset": failures.reset,
            "timeout": failures.timeout,
            "protocol": failures.protocol,
        },
        "first_failure": run.first_failure,
        "first_refusal": run.first_negative,
        "replies": replies,
        "phases": phases,
        "verdict": verdict(plan, run),
    })
}

fn phase(histogram: &Histogram<u64>) -> Value {
    let count = histogram.len();
    let micros = |nanoseconds: f64| (count > 0).then_some(nanoseconds / 1e3);
    let quantile = |quantile| micros(histogram.value_at_quantile(quantile) as f64);
    json!({
        "count": count,
        "mean_us": micros(histogram.mean()),
        "p50_us": quantile(0.5),
        "p90_us": quantile(0.9),
        "p99_us": quantile(0.99),
        "p99_9_us": quantile(0.999),
        "max_us": micros(histogram.max() as f64),
    })
}

/// Messages accepted in a second; 0 if no time passed.
fn rate(run: &Run) -> f64 {
    let seconds = run.elapsed.as_secs_f64();
    if seconds > 0.0 { run.measured.accepted as f64 / seconds } else { 0.0 }
}

/// Our own processor time for each message that ended, in microseconds; none if none did.
fn processor_micros(run: &Run) -> Option<f64> {
    let settled = run.measured.settled();
    (settled > 0).then(|| run.processor.as_secs_f64() * 1e6 / settled as f64)
}

/// Which share of a core we used.
fn busy(run: &Run) -> f64 {
    let seconds = run.elapsed.as_secs_f64();
    if seconds > 0.0 { run.processor.as_secs_f64() / seconds } else { 0.0 }
}

/// The share of a core beyond which the generator, not the server, may be the limit.
const GENERATOR_BOUND: f64 = 0.95;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_three_digits_and_a_unit() {
        for (nanoseconds, text) in [
            (0.0, "0.00 µs"),
            (1_234.0, "1.23 µs"),
            (12_345.0, "12.3 µs"),
            (999_499.0, "999 µs"),
            (999_999.0, "1.00 ms"),
            (99_960_000.0, "100 ms"),
            (1_500_000_000.0, "1.50 s"),
        ] {
            assert_eq!(time(nanoseconds), text);
        }
    }
}
