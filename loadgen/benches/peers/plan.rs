//! What is run: which cells, how often, how long, and who takes part.

use std::time::Duration;

use super::Failure;
use super::load::{Amount, Load, Way};
use super::options::Options;
use super::results::Measured;
use super::server::Kind;

/// One kind of load.
#[derive(Debug, Clone)]
pub struct Cell {
    /// For `--only`.
    pub key: String,
    /// What is measured.
    pub measured: Measured,
    /// What is offered.
    pub load: Load,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How often each server is run in each cell.
    pub rounds: u32,
    /// Of each run of [`Measured::Accepted`].
    pub warm_up: Duration,
    /// See `warm_up`.
    pub measured: Duration,
    /// How long deliveries are offered mail.
    pub delivery: Duration,
    /// How long the bare disk is looked at, in each round and size.
    pub disk: Duration,
    /// In order.
    pub cells: Vec<Cell>,
    /// In order.
    pub servers: Vec<Kind>,
}

impl Plan {
    /// What the options ask for. A name that fits nothing is an error.
    pub fn new(options: &Options) -> Result<Plan, Failure> {
        let mut plan = if options.quick { quick() } else { full() };
        plan.rounds = options.rounds.unwrap_or(plan.rounds);
        let servers: Vec<Kind> =
            plan.servers.iter().copied().filter(|kind| is_named(options, kind.key())).collect();
        let cells: Vec<Cell> =
            plan.cells.iter().filter(|cell| is_named(options, &cell.key)).cloned().collect();
        for name in &options.only {
            let fits_server = plan.servers.iter().any(|kind| kind.key().contains(name));
            if !fits_server && !plan.cells.iter().any(|cell| cell.key.contains(name)) {
                return Err(Failure::new(format!(
                    "--only {name}: no server and no cell has that in its name"
                )));
            }
        }
        // Names of servers choose servers, names of cells choose cells; without any, all.
        if !servers.is_empty() {
            plan.servers = servers;
        }
        if !cells.is_empty() {
            plan.cells = cells;
        }
        Ok(plan)
    }

    /// Those that take part in what a cell measures.
    pub fn of(&self, measured: Measured) -> Vec<Kind> {
        let all: &[Kind] = match measured {
            Measured::Accepted => &Kind::ACCEPTING,
            Measured::Delivered => &Kind::DELIVERING,
        };
        all.iter().copied().filter(|kind| self.servers.contains(kind)).collect()
    }
}

fn is_named(options: &Options, name: &str) -> bool {
    options.only.iter().any(|only| name.contains(only.as_str()))
}

fn full() -> Plan {
    let (warm_up, measured, delivery) =
        (Duration::from_secs(1), Duration::from_secs(2), Duration::from_secs(10));
    Plan {
        rounds: 5,
        warm_up,
        measured,
        delivery,
        disk: Duration::from_secs(1),
        cells: cells(&FULL, warm_up, measured, delivery),
        servers: [&Kind::ACCEPTING[..], &Kind::DELIVERING].concat(),
    }
}

fn quick() -> Plan {
    let (warm_up, measured, delivery) =
        (Duration::from_millis(500), Duration::from_millis(1000), Duration::from_secs(4));
    Plan {
        rounds: 3,
        warm_up,
        measured,
        delivery,
        disk: Duration::from_millis(300),
        cells: cells(&QUICK, warm_up, measured, delivery),
        servers: [&Kind::ACCEPTING[..], &Kind::DELIVERING].concat(),
    }
}

fn cells(
    table: &[(&'static str, u32, Way)],
    warm_up: Duration,
    measured: Duration,
    delivery: Duration,
) -> Vec<Cell> {
    let accepted = table.iter().map(|&(size, connections, way)| {
        let key = match way {
            Way::ConnectionEach => format!("{size}-{connections}-each"),
            _ => format!("{size}-{connections}-{}", way.name()),
        };
        let load = Load { connections, size, way, amount: Amount::Time { warm_up, measured } };
        Cell { key, measured: Measured::Accepted, load }
    });
    let amount = Amount::Time { warm_up: Duration::ZERO, measured: delivery };
    let delivered = Cell {
        key: "1KiB-20-delivered".into(),
        measured: Measured::Delivered,
        load: Load { connections: 20, size: "1KiB", way: Way::Pipelined, amount },
    };
    accepted.chain([delivered]).collect()
}

/// Sizes beyond 10 KiB with few connections: more of them measure the memory, and no server meets that.
const FULL: [(&str, u32, Way); 11] = [
    ("1KiB", 1, Way::Pipelined),
    ("1KiB", 10, Way::Pipelined),
    ("1KiB", 100, Way::Pipelined),
    ("1KiB", 1000, Way::Pipelined),
    ("1KiB", 1, Way::Lockstep),
    ("1KiB", 100, Way::Lockstep),
    ("1KiB", 10, Way::ConnectionEach),
    ("1KiB", 100, Way::ConnectionEach),
    ("10KiB", 100, Way::Pipelined),
    ("100KiB", 10, Way::Pipelined),
    ("1MiB", 10, Way::Pipelined),
];

const QUICK: [(&str, u32, Way); 6] = [
    ("1KiB", 1, Way::Pipelined),
    ("1KiB", 100, Way::Pipelined),
    ("1KiB", 100, Way::Lockstep),
    ("1KiB", 100, Way::ConnectionEach),
    ("10KiB", 100, Way::Pipelined),
    ("1MiB", 10, Way::Pipelined),
];
