//! What is said of each server once: its version, what it occupies at rest, and whether its counts are loadgen's.

use super::plan::Plan;
use super::results::{CountsAgree, Results, ServerFacts};
use super::server::{Kind, Lab, Purpose, Server};
use super::tools::version;
use super::{Failure, counts, memory};

/// Of all that the plan has; of a missing one, why it is.
pub fn gather(lab: &Lab, plan: &Plan) -> Result<Vec<ServerFacts>, Failure> {
    plan.servers.iter().map(|kind| of(lab, *kind)).collect()
}

impl Results {
    /// Whether a server can be run.
    pub fn is_present(&self, key: &str) -> bool {
        self.servers.iter().any(|server| server.key == key && server.missing.is_none())
    }
}

fn of(lab: &Lab, kind: Kind) -> Result<ServerFacts, Failure> {
    let mut facts = ServerFacts {
        key: kind.key().into(),
        name: kind.name().into(),
        durability: kind.durability().into(),
        placement: kind.placement().into(),
        version: None,
        command: Vec::new(),
        missing: lab.tools.missing(kind),
        memory: None,
        counts: None,
    };
    if let Some(reason) = &facts.missing {
        eprintln!("peers: {} is left out: {reason}", kind.name());
        return Ok(facts);
    }
    eprintln!("peers: {}: counts, and memory at rest", kind.name());
    facts.version = version(&lab.tools, kind);
    match look(lab, kind, &mut facts) {
        Ok(()) => {}
        Err(Failure::Interrupted) => return Err(Failure::Interrupted),
        Err(Failure::Broken(reason)) => {
            eprintln!("peers: {} is left out: {reason}", kind.name());
            facts.missing = Some(reason);
        }
    }
    Ok(facts)
}

/// Starts it twice: as it is measured, and so that it counts.
fn look(lab: &Lab, kind: Kind, facts: &mut ServerFacts) -> Result<(), Failure> {
    let server = Server::start(lab, kind, Purpose::Measure)?;
    facts.command = server.command().to_vec();
    facts.memory = Some(memory::measure(&server)?);
    server.stop();
    let counts = counts::compare(lab, kind, COUNTED)?;
    facts.counts = Some(CountsAgree {
        accepted: counts.accepted,
        counted: counts.counted,
        counted_by: counts.counted_by.into(),
        agree: counts.counted.map(|counted| counted == counts.accepted),
    });
    Ok(())
}

/// Messages.
const COUNTED: u64 = 2000;
