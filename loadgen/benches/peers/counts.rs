//! Whether both sides counted the same: what loadgen says was accepted, and what the server says it took.

use super::Failure;
use super::load::{self, Amount, Ended, Load, Way};
use super::server::{Kind, Lab, Purpose, Server};

/// Both counts.
#[derive(Debug, Clone)]
pub struct Counts {
    /// By loadgen.
    pub accepted: u64,
    /// By the server; none if it does not count.
    pub counted: Option<u64>,
    /// What was looked at.
    pub counted_by: &'static str,
}

/// Starts the server, sends it so many messages, and asks both.
pub fn compare(lab: &Lab, kind: Kind, messages: u64) -> Result<Counts, Failure> {
    let server = Server::start(lab, kind, Purpose::Count)?;
    let load =
        Load { connections: 10, size: "1KiB", way: Way::Pipelined, amount: Amount::Messages(messages) };
    let directory = tempfile::tempdir_in(&lab.place).map_err(Failure::of(&lab.place))?;
    let report = match load::run(lab, &load, server.address(), &lab.cores, directory.path())? {
        Ended::Done(report) => report,
        Ended::Not(reason) => return Err(Failure::new(format!("{}: {reason}", kind.name()))),
    };
    let accepted = accepted(&report)?;
    server.settle(accepted)?;
    let counts = Counts { accepted, counted: server.counted(accepted)?, counted_by: server.counted_by() };
    server.stop();
    Ok(counts)
}

fn accepted(report: &[u8]) -> Result<u64, Failure> {
    let value: serde_json::Value = serde_json::from_slice(report)
        .map_err(|error| Failure::new(format!("loadgen's report cannot be read: {error}")))?;
    value["accepted"]
        .as_u64()
        .ok_or_else(|| Failure::new("loadgen's report says nothing of accepted messages"))
}
