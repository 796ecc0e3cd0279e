//! The memory of sessions that wait for a command: in plain, and in TLS 1.3 after a mail each.

use fastsmtp::net::tls::{ClientTls, Resumption, Trust};

use super::Outcome;
use super::client::{Client, TlsClient};
use super::server::Server;

/// Prints what one costs of each.
pub fn run() -> Outcome<()> {
    rustix::process::setrlimit(rustix::process::Resource::Nofile, descriptors())?;
    let plain = cost(greeted)?;
    let client = ClientTls::new(Trust::Nobody, Resumption::Off)?;
    let tls = cost(|server| secured(server, &client))?;
    println!(
        "idle: a session that waits for a command costs {plain} octets resident in plain, {tls} in TLS 1.3 (12,288 is the goal); of {SESSIONS} each, beyond the first {FIRST}"
    );
    Ok(())
}

/// As many as are allowed.
fn descriptors() -> rustix::process::Rlimit {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    rustix::process::Rlimit { current: limit.maximum, ..limit }
}

/// What each session adds to a server's resident memory, in octets. The first ones are not counted: what they need is
/// kept for others.
fn cost<C>(open: impl Fn(&Server) -> Outcome<C>) -> Outcome<u64> {
    let server = Server::start(&["--tls-self-signed"])?;
    let _first: Vec<C> = (0..FIRST).map(|_| open(&server)).collect::<Outcome<_>>()?;
    let before = server.resident()?;
    let _more: Vec<C> = (0..SESSIONS).map(|_| open(&server)).collect::<Outcome<_>>()?;
    Ok(server.resident()?.saturating_sub(before) / SESSIONS)
}

fn greeted(server: &Server) -> Outcome<Client> {
    let mut client = Client::connect(server.address)?;
    client.say("EHLO idler.example", "250")?;
    Ok(client)
}

fn secured(server: &Server, tls: &ClientTls) -> Outcome<TlsClient> {
    let mut client = greeted(server)?.into_tls(tls)?;
    client.say("EHLO idler.example\r\n", "250 ")?;
    // A mail of a full record, so that buffers grow; it goes nowhere.
    let data = "x".repeat(14_000);
    client.say(
        &format!("MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nBDAT 14000\r\n{data}RSET\r\n"),
        "250 2.0.0 ",
    )?;
    Ok(client)
}

const FIRST: u64 = 100;
const SESSIONS: u64 = 1000;
