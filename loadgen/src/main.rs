//! The program: does what is asked for, writes what came of it, ends with the code that says so.
#![forbid(unsafe_code)]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use loadgen::arguments::{self, Asked, Command, CompareArguments};
use loadgen::compare::Comparison;
use loadgen::exit;
use loadgen::plan::{Pacing, Plan, Search};
use loadgen::report::Report;
use loadgen::teller::{Show, Teller};
use loadgen::{compare, descriptors, output, run, summary, sweep, verify};

fn main() -> ExitCode {
    let code = match arguments::read() {
        Asked::Load(plan, show) => load(&plan, show),
        Asked::Command(Command::Verify(request)) => match verify::run(&request) {
            Ok(outcome) => Ok(outcome.exit_code()),
            Err(error) => Err(error.to_string()),
        },
        Asked::Command(Command::Compare(arguments)) => compared(&arguments),
    };
    ExitCode::from(code.unwrap_or_else(|error| {
        eprintln!("loadgen: {error}");
        exit::FAILED
    }))
}

/// Loads a server and tells of it. An error is a sentence; the run itself, however it went, is told in its report.
fn load(plan: &Plan, show: Show) -> Result<u8, String> {
    let interrupted = on_signals().map_err(|error| format!("signals cannot be caught: {error}"))?;
    if let Err(missing) = descriptors::provide(plan) {
        eprintln!("loadgen: {missing}");
        return Ok(exit::USAGE);
    }
    output::check(&plan.output)?;
    let mut ledger = output::ledger(plan)?;
    let mut hdr = output::hdr(plan)?;
    let told = match (plan.search, plan.pace) {
        (Search::None, pace) | (_, pace @ Pacing::Closed) => {
            let mut teller = Teller::new(plan, pace, "", show, hdr.as_mut());
            run::run(plan, pace, ledger.as_ref(), &interrupted, &mut teller)
                .map(|outcome| summary::report(plan, &outcome))
        }
        (_, Pacing::Open(rate)) => sweep::sweep(plan, rate, &interrupted, &mut |rate, prefix| {
            let pace = Pacing::Open(rate);
            run::run(plan, pace, None, &interrupted, &mut Teller::new(plan, pace, prefix, show, None))
        }),
    };
    let report = told.map_err(|error| format!("the run cannot be made: {error}"))?;
    // The report first: what else fails must not take it along.
    let written = output::write(&plan.output, &report);
    if let Some(ledger) = ledger.take() {
        output::finish_ledger(ledger)?;
    }
    if let Some(hdr) = hdr {
        hdr.finish()?;
    }
    written?;
    Ok(code(&report))
}

/// Compares two reports.
fn compared(arguments: &CompareArguments) -> Result<u8, String> {
    let read = |path| Report::read(path).map_err(|error| error.to_string());
    let reports = match (read(&arguments.before), read(&arguments.after)) {
        (Ok(before), Ok(after)) => [before, after],
        (Err(error), _) | (_, Err(error)) => {
            eprintln!("loadgen: {error}");
            return Ok(exit::USAGE);
        }
    };
    let compared = compare::compare(&reports[0], &reports[1], arguments.fail_on_regression);
    output::write_comparison(arguments, &reports, &compared)?;
    Ok(match compared.comparison {
        Comparison::Fine => exit::FINE,
        Comparison::Regression(_) => exit::MISSED,
        Comparison::Invalid(_) => exit::INVALID,
    })
}

/// What a run says to whoever started it.
fn code(report: &Report) -> u8 {
    use loadgen::report::Ending;
    let is_missed = report.objective.as_ref().is_some_and(|objective| !objective.met);
    match report.ending {
        Ending::Interrupted => exit::INTERRUPTED,
        Ending::Unreachable => exit::NO_SERVICE,
        _ if report.offered > 0 && report.accepted == 0 && !is_missed => exit::NO_SERVICE,
        _ if !report.valid => exit::INVALID,
        _ if is_missed => exit::MISSED,
        _ => exit::FINE,
    }
}

/// A flag that the first SIGINT or SIGTERM raises. The second ends the process.
fn on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag down, raises it, and lives.
        signal_hook::flag::register_conditional_shutdown(
            signal,
            i32::from(exit::INTERRUPTED),
            Arc::clone(&interrupted),
        )?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}
