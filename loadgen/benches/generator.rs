//! Whether loadgen is the bottleneck: beside the lightest generators that there are, against the null responder.
//!
//! `cargo bench -p loadgen --bench generator [ROUNDS]`. The null responder on one core, each generator in turn on another,
//! messages of 1 KiB on 100 kept connections:
//!
//! - in lockstep beside Postfix's smtp-source, which measures nothing: messages by a second of the generator's processor;
//! - pipelined beside `bare_client`, which measures nothing and parses nothing: messages by a second. Where both keep the
//!   null responder busy that is its own limit.
#![forbid(unsafe_code)]

#[allow(dead_code, reason = "the comparison with other servers has more than this needs")]
#[path = "peers/mod.rs"]
mod peers;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use peers::load::{self, Amount, Ended, Load, Way};
use peers::server::{Kind, Lab, Purpose, Server};
use peers::tools::{self, Tools};
use peers::{Failure, failure, process};

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the word that `cargo bench` adds.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: this takes minutes, and is run by `cargo bench -p loadgen --bench generator`");
        return ExitCode::SUCCESS;
    }
    let rounds = arguments.iter().find_map(|argument| argument.parse().ok()).unwrap_or(ROUNDS);
    match measure(rounds) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("generator: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(rounds: usize) -> Result<(), Failure> {
    failure::watch_signals()?;
    process::raise_descriptor_limit();
    tools::build()?;
    let place = tempfile::tempdir().map_err(|error| Failure::new(format!("no directory: {error}")))?;
    let lab = Lab::new(Tools::find(&tools::built()?), place.path());
    match tools::on_path("smtp-source") {
        Some(smtp_source) => lockstep(&lab, &smtp_source, rounds)?,
        None => println!("skipped: lockstep: smtp-source is not installed; Debian's package postfix has it"),
    }
    pipelined(&lab, rounds)
}

fn lockstep(lab: &Lab, smtp_source: &Path, rounds: usize) -> Result<(), Failure> {
    let message = lab.place.join("message");
    let text = "x".repeat(77) + "\n";
    std::fs::write(&message, format!("Subject: nothing\n\n{}", text.repeat(13)))
        .map_err(Failure::of(&message))?;
    let mut rates = Rates::default();
    for round in 1..=rounds {
        let others = by_processor(lab, |address| {
            let mut command = Command::new(smtp_source);
            command.args(["-d", "-s", CONNECTIONS_TEXT, "-m", &MESSAGES.to_string(), "-F"]);
            command.arg(&message).arg(address.to_string());
            finished(&mut command, lab).map(drop)
        })?;
        let ours = by_processor(lab, |address| {
            loaded(lab, address, Way::Lockstep, Amount::Messages(MESSAGES)).map(drop)
        })?;
        println!(
            "lockstep, round {round}: loadgen {ours:.0} messages a second of processor, smtp-source {others:.0}"
        );
        rates.push(ours, others);
    }
    println!(
        "lockstep: loadgen sends {} as many messages by a second of processor as smtp-source",
        rates.ratio()
    );
    Ok(())
}

fn pipelined(lab: &Lab, rounds: usize) -> Result<(), Failure> {
    let amount = Amount::Time { warm_up: Duration::from_secs(1), measured: Duration::from_secs(SECONDS) };
    let mut rates = Rates::default();
    for round in 1..=rounds {
        let server = Server::start(lab, Kind::Null, Purpose::Measure)?;
        let mut command = Command::new(lab.tools.null_responder.with_file_name("bare_client"));
        command.args([&server.address().to_string(), CONNECTIONS_TEXT, &SECONDS.to_string()]);
        let said = finished(&mut command, lab)?;
        let others = said.split(' ').next().and_then(|rate| rate.parse().ok());
        let others: f64 = others.ok_or_else(|| Failure::new(format!("bare_client said {said:?}")))?;
        let ours = loaded(lab, server.address(), Way::Pipelined, amount)?;
        println!("pipelined, round {round}: loadgen {ours:.0} messages a second, bare_client {others:.0}");
        rates.push(ours, others);
    }
    println!("pipelined: loadgen reaches {} of what the null responder gives to bare_client", rates.ratio());
    Ok(())
}

/// Messages by a second of a generator's processor, against a null responder of its own.
fn by_processor(lab: &Lab, load: impl FnOnce(SocketAddr) -> Result<(), Failure>) -> Result<f64, Failure> {
    let server = Server::start(lab, Kind::Null, Purpose::Measure)?;
    let before = waited_for();
    load(server.address())?;
    Ok(MESSAGES as f64 / (waited_for() - before).as_secs_f64())
}

/// Processor time of all children of ours that ended and were waited for.
fn waited_for() -> Duration {
    let fields = process::stat(std::process::id()).unwrap_or_default();
    let [.., user, system] = fields.get(..=process::CHILDREN_SYSTEM_TIME).unwrap_or_default() else {
        return Duration::ZERO;
    };
    process::ticks(user + system)
}

/// What a generator said that had the generator's core, and came to a good end.
fn finished(command: &mut Command, lab: &Lab) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let output = process::spawn(command, &[lab.generator_core])?.wait_with_output();
    let output = output.map_err(|error| Failure::new(format!("{name} is lost: {error}")))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(Failure::new(format!("{name} failed ({})", output.status))),
    }
}

/// Messages a second of loadgen.
fn loaded(lab: &Lab, address: SocketAddr, way: Way, amount: Amount) -> Result<f64, Failure> {
    let load = Load { connections: CONNECTIONS, size: "1KiB", way, amount };
    match load::run(lab, &load, address, &[lab.generator_core], &lab.place)? {
        Ended::Done(report) => Ok(load::report(&report)?.messages_per_second),
        Ended::Not(sentence) => Err(Failure::new(sentence)),
    }
}

/// Pairs of rates, of which the ratio counts.
#[derive(Default)]
struct Rates(Vec<f64>);

impl Rates {
    fn push(&mut self, ours: f64, others: f64) {
        self.0.push(ours / others);
    }

    /// The median, with the least and the greatest.
    fn ratio(mut self) -> String {
        self.0.sort_by(f64::total_cmp);
        match self.0[..] {
            [] => "nothing".to_owned(),
            [least, .., greatest] => {
                format!("{:.2} times ({least:.2} to {greatest:.2})", self.0[self.0.len() / 2])
            }
            [only] => format!("{only:.2} times"),
        }
    }
}

const ROUNDS: usize = 5;
const CONNECTIONS: u32 = 100;
const CONNECTIONS_TEXT: &str = "100";
const MESSAGES: u64 = 100_000;
/// Of a pipelined run.
const SECONDS: u64 = 3;
