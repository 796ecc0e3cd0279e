//! One run of the generator against a server, bounded in time.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use loadgen::report::{Report, SCHEMA_VERSION};

use super::server::Lab;
use super::{Failure, failure, process};

/// How a message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// MAIL, RCPT and DATA in one write, on kept connections.
    Pipelined,
    /// One command, one reply, on kept connections.
    Lockstep,
    /// Pipelined, with a connection for each message.
    ConnectionEach,
}

impl Way {
    /// For people and for names of cells.
    pub fn name(self) -> &'static str {
        match self {
            Way::Pipelined => "pipelined",
            Way::Lockstep => "lockstep",
            Way::ConnectionEach => "a connection each",
        }
    }

    fn arguments(self) -> [&'static str; 4] {
        match self {
            Way::Pipelined => ["--mode", "pipeline", "--messages-per-conn", "0"],
            Way::Lockstep => ["--mode", "lockstep", "--messages-per-conn", "0"],
            Way::ConnectionEach => ["--mode", "pipeline", "--messages-per-conn", "1"],
        }
    }
}

/// How much is offered.
#[derive(Debug, Clone, Copy)]
pub enum Amount {
    /// As many as are answered in this time, behind a warm-up.
    Time {
        /// Not measured.
        warm_up: Duration,
        /// Measured.
        measured: Duration,
    },
    /// So many, and all are measured.
    Messages(u64),
}

/// What the generator is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    /// At the same time.
    pub connections: u32,
    /// Of a message, as the generator's option is spelled.
    pub size: &'static str,
    /// See [`Way`].
    pub way: Way,
    /// See [`Amount`].
    pub amount: Amount,
}

/// How a run went.
#[derive(Debug)]
pub enum Ended {
    /// The report that the generator wrote.
    Done(Vec<u8>),
    /// Why it did not finish, or said nothing of use.
    Not(String),
}

impl Load {
    /// The generator's command line.
    pub fn arguments(&self, address: SocketAddr) -> Vec<String> {
        let connections = self.connections.to_string();
        let mut arguments: Vec<String> =
            ["--target", &address.to_string(), "--conns", &connections, "--size", self.size]
                .map(String::from)
                .to_vec();
        arguments.extend(self.way.arguments().map(String::from));
        arguments.extend(match self.amount {
            Amount::Time { warm_up, measured } => {
                ["--warmup".into(), milliseconds(warm_up), "--duration".into(), milliseconds(measured)]
                    .to_vec()
            }
            Amount::Messages(messages) => ["--messages".into(), messages.to_string()].to_vec(),
        });
        arguments
    }

    fn time_max(&self) -> Duration {
        GRACE
            + match self.amount {
                Amount::Time { warm_up, measured } => warm_up + measured,
                Amount::Messages(_) => Duration::from_secs(60),
            }
    }
}

/// Runs the generator on `cores`; it writes its report into `directory`.
pub fn run(
    lab: &Lab,
    load: &Load,
    address: SocketAddr,
    cores: &[usize],
    directory: &Path,
) -> Result<Ended, Failure> {
    let (file, said) = (directory.join("report.json"), directory.join("loadgen.err"));
    let _ = fs::remove_file(&file);
    let stderr = fs::File::create(&said).map_err(Failure::of(&said))?;
    let mut command = Command::new(&lab.tools.loadgen);
    command.args(load.arguments(address)).arg("--json").arg(&file);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(stderr);
    let mut child = Killed(process::spawn(&mut command, cores)?);
    let began = Instant::now();
    let status = failure::wait_for(load.time_max(), || {
        child.0.try_wait().map_err(|error| Failure::new(format!("loadgen is lost: {error}")))
    })?;
    let Some(status) = status else {
        return Ok(Ended::Not(format!("no end within {:.0} s", began.elapsed().as_secs_f64())));
    };
    match fs::read(&file) {
        Ok(report) if status.success() => Ok(Ended::Done(report)),
        _ => {
            let said = fs::read_to_string(&said).unwrap_or_default();
            Ok(Ended::Not(format!(
                "loadgen failed ({status}): {}",
                said.lines().last().unwrap_or("it said nothing")
            )))
        }
    }
}

/// Reads a report. Of another version than the library's is no report.
pub fn report(octets: &[u8]) -> Result<Report, Failure> {
    let version =
        serde_json::from_slice::<serde_json::Value>(octets).ok().and_then(|v| v["schema_version"].as_u64());
    if version != Some(SCHEMA_VERSION.into()) {
        let found = version.map_or("none".into(), |version| version.to_string());
        return Err(Failure::new(format!("loadgen wrote a report of version {found}, not {SCHEMA_VERSION}")));
    }
    serde_json::from_slice(octets)
        .map_err(|error| Failure::new(format!("loadgen's report cannot be read: {error}")))
}

/// A child that does not outlive us.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn milliseconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Beyond what was planned: connections come to stand, the last replies come.
const GRACE: Duration = Duration::from_secs(30);
