//! The document: everything that was measured, each single value, with the machine and the command lines.
//!
//! The table and the page are functions of it alone. [`FORMAT_VERSION`] grows when a field changes its meaning or goes.

use std::collections::BTreeMap;

use loadgen::report::Environment;
use loadgen::report::units::count;
use serde::{Deserialize, Serialize};

/// The version of the document's form.
pub const FORMAT_VERSION: u32 = 1;

/// A comparison.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Results {
    /// See [`FORMAT_VERSION`].
    pub format_version: u32,
    /// When it began, in UTC (RFC 3339).
    pub started: String,
    /// The commit of the source, if git says it; with `-dirty` if the source was changed.
    pub commit: Option<String>,
    /// The comparison's own options.
    pub command: Vec<String>,
    /// Whether all rounds were run; false if it was interrupted.
    pub complete: bool,
    /// Rounds that were planned.
    pub rounds: u32,
    /// Warm-up of each run, in seconds, in no figure but the processor time.
    pub warm_up_seconds: f64,
    /// Measured time of each run, in seconds.
    pub measured_seconds: f64,
    /// How long a delivery run offers mail, in seconds.
    pub delivery_seconds: f64,
    /// Where it ran.
    pub machine: Machine,
    /// The bare disk, in each round.
    pub disk: Vec<DiskFigures>,
    /// Who was compared, and who is missing.
    pub servers: Vec<ServerFacts>,
    /// What was measured.
    pub cells: Vec<CellResults>,
}

/// Where it ran.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// Processor, cores, memory, kernel, and what else the machine had to do when the comparison began.
    pub environment: Environment,
    /// The distribution.
    pub system: String,
    /// Whether it is a virtual machine, as far as its processor says.
    pub is_virtual: bool,
    /// The core of servers that have one.
    pub server_core: u64,
    /// The generator's.
    pub generator_core: u64,
    /// Where everybody's data lay.
    pub file_system: FileSystem,
}

/// A mounted file system.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct FileSystem {
    /// As the kernel calls it.
    pub kind: String,
    /// Of its mount.
    pub options: String,
    /// Whether it has a journal; none if that is not known.
    pub journal: Option<bool>,
}

/// A write and fdatasync within a file written before.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DiskFigures {
    /// In which round, from 1.
    pub round: u32,
    /// Octets of each.
    pub octets: u64,
    /// How many.
    pub count: u64,
    /// Half took at most this.
    pub p50_us: f64,
    /// 99 % did.
    pub p99_us: f64,
    /// All did.
    pub max_us: f64,
}

/// A server.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ServerFacts {
    /// For the command line, and in `cells`.
    pub key: String,
    /// For people.
    pub name: String,
    /// What its 250 means.
    pub durability: String,
    /// Which cores it had.
    pub placement: String,
    /// Its version, if it is there.
    pub version: Option<String>,
    /// How it was started.
    pub command: Vec<String>,
    /// Why there are no figures.
    pub missing: Option<String>,
    /// At rest.
    pub memory: Option<Memory>,
    /// Whether both sides counted the same.
    pub counts: Option<CountsAgree>,
}

/// Resident octets at rest: the sum of all its processes, a page that several share counted once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// After the start.
    pub idle_octets: u64,
    /// How many connections came to stand.
    pub connections: u64,
    /// With those, each of which had said EHLO.
    pub with_connections_octets: u64,
    /// The difference, for each.
    pub octets_per_connection: f64,
}

/// What both sides counted in a run of its own.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CountsAgree {
    /// Accepted, by loadgen.
    pub accepted: u64,
    /// By the server; none if it does not count.
    pub counted: Option<u64>,
    /// What was looked at.
    pub counted_by: String,
    /// Whether they are equal; none if there is one only.
    pub agree: Option<bool>,
}

/// What is measured in a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Measured {
    /// Messages answered 250, a second.
    Accepted,
    /// Messages in the Maildir, a second, from the first connection until the last is there.
    Delivered,
}

/// One kind of load, on all servers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CellResults {
    /// For `--only`.
    pub key: String,
    /// What is measured.
    pub measured: Measured,
    /// At the same time.
    pub connections: u32,
    /// Of a message, like `1KiB`.
    pub size: String,
    /// How it is sent.
    pub way: String,
    /// By server, in the order of rounds.
    pub runs: BTreeMap<String, Vec<RunFigures>>,
}

/// One run of one server.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct RunFigures {
    /// In which round, from 1.
    pub round: u32,
    /// The generator's command line.
    pub command: Vec<String>,
    /// Why there are no figures; all of them are 0 then.
    pub did_not_finish: Option<String>,
    /// What limits their worth.
    pub note: Option<String>,
    /// What the cell measures.
    pub messages_per_second: f64,
    /// In the measured time.
    pub offered: u64,
    /// Of those.
    pub accepted: u64,
    /// In the warm-up.
    pub warm_up_accepted: u64,
    /// The measured time.
    pub elapsed_seconds: f64,
    /// From the first octet of the mail data to the 250.
    pub accept_p50_us: f64,
    /// See `accept_p50_us`.
    pub accept_p99_us: f64,
    /// Processor time of all the server's processes from the generator's start until the last message has left the
    /// queue, by the messages accepted in that time, warm-up and all.
    pub processor_us_per_message: f64,
    /// Whether the generator says that it was the limit.
    pub generator_bound: bool,
    /// Files in the Maildir; none if nothing is delivered.
    pub delivered: Option<u64>,
}

/// Of several single values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Summary {
    /// The one in the middle, or the mean of those two.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Summary {
    /// None of no values.
    pub fn of(mut values: Vec<f64>) -> Option<Summary> {
        values.sort_by(f64::total_cmp);
        let (first, last) = (values.first()?, values.last()?);
        let middle = values.len() / 2;
        let median =
            if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Summary { median, min: *first, max: *last })
    }
}

impl CellResults {
    /// Of one figure of a server's runs that finished.
    pub fn summary(&self, server: &str, figure: impl Fn(&RunFigures) -> f64) -> Option<Summary> {
        let runs = self.runs.get(server)?.iter().filter(|run| run.did_not_finish.is_none());
        Summary::of(runs.map(figure).collect())
    }

    /// Why a server's run gave no figure, of the first that did not.
    pub fn did_not_finish(&self, server: &str) -> Option<&str> {
        self.runs.get(server)?.iter().find_map(|run| run.did_not_finish.as_deref())
    }

    /// How the load is called.
    pub fn title(&self) -> String {
        let size = self.size.replace("KiB", " KiB").replace("MiB", " MiB");
        let connections = if self.connections == 1 { "connection" } else { "connections" };
        let delivered = if self.measured == Measured::Delivered { ", delivered" } else { "" };
        format!("{size}, {} {connections}, {}{delivered}", count(self.connections.into()), self.way)
    }
}

impl ServerFacts {
    /// What its 250 means, in a word or two: `nothing`, `received`, `in memory`, `durable`.
    pub fn promise(&self) -> &str {
        self.durability.split_once(':').map_or(&*self.durability, |(promise, _)| promise)
    }
}
