//! What others do to a client of fastsmtp: what its replies wait for while other clients send large mail, or attack; what
//! it costs to keep clients that do nothing; and what a client learns by the time that a no takes.
//!
//! `cargo bench -p loadgen --bench neighbours [-- large|pop3|attack|idle|timing]` builds what it needs, starts servers on
//! loopback in a directory of their own, and prints a few lines of figures a scenario. The others have the lowest
//! priority, for they belong on machines of their own; a machine that does something else is noise.
//!
//! - `large`: small mail at 200 messages a second, beside 200 messages of 50 MiB that begin at the same time; and what the
//!   disk alone has a sync wait for beside as much.
//! - `pop3`: the same small mail, beside 200 sessions that read mails of 10 MiB slowly.
//! - `attack`: NOOP every millisecond, beside 50 clients a second that try wrong passwords and 200 a second that shake
//!   hands in full.
//! - `idle`: the memory of 1,000 sessions that wait for a command, in plain and in TLS.
//! - `timing`: what an unknown user and a wrong password take, two minutes.
#![forbid(unsafe_code)]

#[path = "neighbours/attack.rs"]
mod attack;
#[path = "neighbours/client.rs"]
mod client;
#[path = "neighbours/idle.rs"]
mod idle;
#[path = "neighbours/large.rs"]
mod large;
#[path = "neighbours/pop3.rs"]
mod pop3;
#[path = "neighbours/server.rs"]
mod server;
#[path = "neighbours/timing.rs"]
mod timing;

use std::error::Error;
use std::process::ExitCode;

use serde_json::Value;

use server::build;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Runs, and prints its figures.
type Scenario = fn() -> Outcome<()>;

/// The scenarios by their names, in their order.
const SCENARIOS: [(&str, Scenario); 5] = [
    ("large", large::run),
    ("pop3", pop3::run),
    ("attack", attack::run),
    ("idle", idle::run),
    ("timing", timing::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without the word that `cargo bench` adds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: this takes minutes, and is run by `cargo bench -p loadgen --bench neighbours`");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    match run(&wanted) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("neighbours: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios that are wanted, all where none is named.
fn run(wanted: &[&str]) -> Outcome<()> {
    let names = SCENARIOS.map(|(name, _)| name);
    if let Some(unknown) = wanted.iter().find(|word| !names.contains(word)) {
        return Err(format!("'{unknown}' is no scenario; say one of {}", names.join(", ")).into());
    }
    build()?;
    SCENARIOS
        .iter()
        .filter(|(name, _)| wanted.is_empty() || wanted.contains(name))
        .try_for_each(|(_, run)| run())
}

/// What a phase of the generator's took, like `accept/p99_us`, in milliseconds.
fn phase_ms(report: &Value, figure: &str) -> f64 {
    report.pointer(&format!("/phases/{figure}")).and_then(Value::as_f64).unwrap_or(f64::NAN) / 1e3
}
