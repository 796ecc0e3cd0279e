//! Whether the system has what many connections need: descriptors, and ports to connect from.

use std::fs;

use rustix::process::{Resource, getrlimit, setrlimit};

use crate::plan::Plan;

/// Raises our limit of descriptors as far as the plan needs it. The error is a sentence that says what is missing.
pub fn provide(plan: &Plan) -> Result<(), String> {
    let needed = plan.connections as u64 + RESERVED * (1 + plan.threads as u64);
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < needed) {
        let hard = limit.maximum.unwrap_or(u64::MAX);
        if hard < needed {
            // Root may raise it, as far as the kernel goes.
            limit.maximum = Some(needed);
        }
        limit.current = Some(needed);
        setrlimit(Resource::Nofile, limit).map_err(|_| {
            format!(
                "--conns {} needs {needed} descriptors, and the system gives at most {hard}; raise it (ulimit -n {needed}, \
                 or LimitNOFILE= of the service) or ask for fewer connections",
                plan.connections
            )
        })?;
    }
    enough_ports(plan)
}

/// Each connection to one address and port needs a port of its own at our side, for each address of ours.
fn enough_ports(plan: &Plan) -> Result<(), String> {
    let Some(ports) = ephemeral_ports() else { return Ok(()) };
    let addresses = plan.sources.as_ref().map_or(1, |sources| sources.addresses().len() as u64);
    if plan.connections as u64 <= ports * addresses {
        return Ok(());
    }
    Err(format!(
        "--conns {} to one target needs as many ports, and the system has {ports} for each address to connect from \
         (net.ipv4.ip_local_port_range); more addresses have more: --source-addrs 127.0.1.0/28",
        plan.connections
    ))
}

/// How many ports the system connects from; none if it does not say.
fn ephemeral_ports() -> Option<u64> {
    let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = text.split_ascii_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    last.checked_sub(first).map(|distance| distance + 1)
}

/// Descriptors that are no connections, of the process and of each thread: files, polls, timers, standard streams.
const RESERVED: u64 = 16;
