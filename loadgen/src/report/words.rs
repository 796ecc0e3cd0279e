//! What the terminal, the page and the comparison say in the same words: the mode, how it went, how it was spoken.

use super::{Arrivals, Ending, Report, SelfCheck, SweepKind, units};

/// What a run is worth at first sight, the gravest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// The figures are not what they say.
    Invalid,
    /// It did not run to its end.
    Incomplete(Ending),
    /// The server took responsibility for no message.
    NothingAccepted,
    /// The objective was not met.
    Missed,
    /// The objective was met.
    Met,
    /// Valid, and no objective was set.
    Valid,
}

impl Standing {
    /// That of a report.
    pub fn of(report: &Report) -> Standing {
        match (report.ending, &report.objective) {
            (Ending::Unreachable, _) => Standing::Incomplete(report.ending),
            _ if !report.valid => Standing::Invalid,
            (Ending::Interrupted | Ending::GaveUp, _) => Standing::Incomplete(report.ending),
            _ if report.accepted == 0 => Standing::NothingAccepted,
            (_, Some(objective)) if !objective.met => Standing::Missed,
            (_, Some(_)) => Standing::Met,
            (_, None) => Standing::Valid,
        }
    }

    /// In one or two words.
    pub fn name(self) -> &'static str {
        match self {
            Standing::Invalid => "INVALID",
            Standing::Incomplete(Ending::Interrupted) => "INTERRUPTED",
            Standing::Incomplete(Ending::Unreachable) => "UNREACHABLE",
            Standing::Incomplete(_) => "GAVE UP",
            Standing::NothingAccepted => "NOTHING ACCEPTED",
            Standing::Missed => "OBJECTIVE MISSED",
            Standing::Met => "OBJECTIVE MET",
            Standing::Valid => "VALID",
        }
    }
}

/// The mode, always with what it needs to be understood: `open loop (constant, 1,500/s)`.
pub fn mode(report: &Report) -> String {
    let arrivals = report.arrivals.map(|arrivals| match arrivals {
        Arrivals::Constant => "constant".to_owned(),
        Arrivals::Poisson => "poisson".to_owned(),
    });
    let details: Vec<String> = arrivals.into_iter().chain(report.intended_rate.map(units::rate)).collect();
    match details.as_slice() {
        [] => report.mode.name().into(),
        details => format!("{} ({})", report.mode.name(), details.join(", ")),
    }
}

/// What was loaded, and where it is.
pub fn target(report: &Report) -> String {
    let target = &report.target;
    let address = if target.address == target.name || target.address.is_empty() {
        String::new()
    } else {
        format!(" ({})", target.address)
    };
    let place = match target.same_machine {
        Some(true) => ", on the generator's machine: they share its cores",
        _ => "",
    };
    format!("{}{address}{place}", target.name)
}

/// How it was spoken: `smtp, pipelined, TLS off, 20 connections`.
pub fn speaking(report: &Report) -> String {
    let speaking = &report.speaking;
    let tls = match &report.target.tls {
        Some(version) => format!("TLS {} ({version})", speaking.tls),
        None => format!("TLS {}", speaking.tls),
    };
    let auth = speaking.auth.as_ref().map(|mechanism| format!("AUTH {mechanism}"));
    let parts = [speaking.protocol.clone(), speaking.in_force.clone(), tls];
    parts.into_iter().chain(auth).collect::<Vec<_>>().join(", ")
}

/// How many connections, and how long each is kept.
pub fn connections(report: &Report) -> String {
    let connections = report.speaking.connections;
    let kept = match report.speaking.messages_per_connection {
        0 => "kept open".to_owned(),
        number => {
            format!("closed after {} {}", units::count(number), units::plural(number, "message", "messages"))
        }
    };
    format!(
        "{} {}, {kept}",
        units::count(connections),
        units::plural(connections, "connection", "connections")
    )
}

/// What a message is: `4KiB a message, recipients: 1`.
pub fn message(report: &Report) -> String {
    let recipients = &report.speaking.recipients;
    format!("{} a message, recipients: {recipients}", report.speaking.size)
}

/// How long was measured, and after what.
pub fn duration(report: &Report) -> String {
    if report.elapsed_seconds <= 0.0 {
        return "nothing was measured".into();
    }
    let measured = units::seconds(report.elapsed_seconds);
    match report.warm_up.seconds {
        warm_up if warm_up > 0.0 => format!("{measured} after {} of warm-up", units::seconds(warm_up)),
        _ => measured,
    }
}

/// Where messages ended, each with its name; of the offered ones each is in exactly one.
pub fn outcomes(report: &Report) -> [(&'static str, u64); 7] {
    [
        ("accepted", report.accepted),
        ("refused for now (4yz)", report.refused_transient),
        ("refused for good (5yz)", report.refused_permanent),
        ("timed out", report.timed_out),
        ("broken off", report.broken),
        ("abandoned", report.abandoned),
        ("dropped", report.dropped),
    ]
}

/// How connections failed, each with its name.
pub fn failures(report: &Report) -> [(&'static str, u64); 6] {
    let failures = &report.connection_failures;
    [
        ("could not connect", failures.connect),
        ("refused service", failures.refused),
        ("closed or reset", failures.reset),
        ("timed out", failures.timeout),
        ("spoke no proper SMTP", failures.protocol),
        ("failed at TLS", failures.tls),
    ]
}

/// What the generator says of itself, each with its name.
pub fn self_check(report: &Report) -> Vec<(&'static str, String)> {
    let check = &report.self_check;
    let bound = match check.client_bound {
        true => "the generator: the server may be able to do more",
        false => "not the generator",
    };
    let mut lines = vec![
        ("limit", bound.to_owned()),
        ("processor time", format!("{} a message", units::time(check.processor_us_per_message))),
        ("busiest thread", busiest_thread(check)),
    ];
    lines.extend(
        check
            .waited_share
            .map(|share| ("waited for a core", format!("{} of the time", units::percent(share)))),
    );
    let replies = &check.reply_lag;
    if replies.count > 0 {
        let [p50, p99] = [replies.p50_us, replies.p99_us].map(units::time);
        lines.push(("replies waited for their turn", format!("p50 {p50}, p99 {p99}")));
    }
    lines.extend(check.schedule_lag.as_ref().filter(|lag| lag.count > 0).map(|lag| {
        let [p50, p99, max] = [lag.p50_us, lag.p99_us, lag.max_us].map(units::time);
        ("schedule lag", format!("p50 {p50}, p99 {p99}, max {max}"))
    }));
    lines
}

fn busiest_thread(check: &SelfCheck) -> String {
    let used = units::percent(check.processor_share);
    match check.spun_share {
        0.0 => format!("{used} of a core"),
        spun => format!(
            "{used} of a core ({} of it awake for the next start)",
            units::percent(spun / check.processor_share)
        ),
    }
}

/// Why the rates of a sweep are what they are, and what it found.
pub fn sweep(report: &Report) -> Option<String> {
    let sweep = report.sweep.as_ref()?;
    let kind = match sweep.kind {
        SweepKind::Ramp => "a ramp in even steps",
        SweepKind::Knee => "a search for the knee",
    };
    let found = match (sweep.knee, sweep.broken_at) {
        (Some(knee), Some(broken)) => {
            format!("{} kept the objective, {} did not", units::rate(knee), units::rate(broken))
        }
        (Some(knee), None) => format!("{} kept the objective, the highest that was tried", units::rate(knee)),
        (None, Some(broken)) => format!("no rate kept the objective, the lowest was {}", units::rate(broken)),
        (None, None) if report.objective.is_none() => "no objective was set".into(),
        (None, None) => "no rate could be judged".into(),
    };
    Some(format!("{kind}: {found}"))
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn the_mode_always_says_which_loop_and_what_rate() {
        assert_eq!(mode(&sample::closed()), "closed loop");
        assert_eq!(mode(&sample::open_stalling(3)), "open loop (constant, 1,500/s)");
    }

    #[test]
    fn the_gravest_standing_is_the_one_that_is_told() {
        assert_eq!(Standing::of(&sample::closed()), Standing::Valid);
        assert_eq!(Standing::of(&sample::open_stalling(3)), Standing::Missed);
        assert_eq!(Standing::of(&sample::nothing_accepted()), Standing::NothingAccepted);
        let mut report = sample::invalid();
        report.accepted = 0;
        assert_eq!(Standing::of(&report), Standing::Invalid);
        report.ending = Ending::Unreachable;
        assert_eq!(Standing::of(&report).name(), "UNREACHABLE");
    }
}
