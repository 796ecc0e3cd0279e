//! loadgen: offers an SMTP server as much mail as it takes, and says what it measured.
//!
//! A closed loop: each connection offers its next message when the last was answered. [`arguments`] reads what is asked
//! for, [`generator`] is the loop, [`connection`] one connection in it, [`tally`] what was counted, [`report`] how it is
//! told. The dialogue itself is the library's [`Client`](fastsmtp::smtp::client::Client).
//!
//! Exit codes: 0 the run was made and reported, 1 the report could not be written, 2 usage, 3 the target is unreachable
//! or no SMTP server, 130 interrupted (and reported).
#![forbid(unsafe_code)]

mod arguments;
mod connection;
mod generator;
mod old_report;
mod tally;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arguments::Plan;
use generator::Ending;

fn main() -> ExitCode {
    let plan = arguments::read();
    match run(&plan) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(plan: &Plan) -> std::io::Result<ExitCode> {
    let interrupted = on_signals()?;
    raise_descriptor_limit();
    let run = generator::run(plan, &interrupted)?;
    old_report::write(plan, &run)?;
    Ok(match run.ending {
        Ending::Complete | Ending::GaveUp => ExitCode::SUCCESS,
        Ending::Unreachable(_) => ExitCode::from(3),
        Ending::Interrupted => ExitCode::from(130),
    })
}

/// A flag that the first SIGINT or SIGTERM raises. The second ends the process.
fn on_signals() -> std::io::Result<Arc<AtomicBool>> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        // In this order: the first signal finds the flag down, raises it, and lives.
        signal_hook::flag::register_conditional_shutdown(signal, 130, Arc::clone(&interrupted))?;
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    Ok(interrupted)
}

/// As many descriptors as the system lets us have; with fewer, opening connections fails and is counted.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}
