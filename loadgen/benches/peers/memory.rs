//! What a server occupies when nothing happens: after its start, and with a thousand connections that say no more.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

use super::results::Memory;
use super::server::Server;
use super::{Failure, failure};

/// Opens connections, each of which says EHLO and then nothing, and looks at the server before and after.
pub fn measure(server: &Server) -> Result<Memory, Failure> {
    thread::sleep(REST);
    let idle_octets = server.group().memory();
    let connections = open(server, CONNECTIONS)?;
    thread::sleep(REST);
    let with_connections_octets = server.group().memory();
    let more = with_connections_octets.saturating_sub(idle_octets);
    let count = connections.len() as u64;
    Ok(Memory {
        idle_octets,
        connections: count,
        with_connections_octets,
        octets_per_connection: more as f64 / count.max(1) as f64,
    })
}

/// Connections whose EHLO is answered, one after the other; fewer where that takes too long.
pub fn open(server: &Server, count: usize) -> Result<Vec<TcpStream>, Failure> {
    let began = Instant::now();
    let mut connections = Vec::new();
    while connections.len() < count && began.elapsed() < TIME_MAX {
        failure::check()?;
        match greet(server) {
            Ok(connection) => connections.push(connection),
            Err(_) => break,
        }
    }
    Ok(connections)
}

/// A connection whose EHLO is answered.
fn greet(server: &Server) -> std::io::Result<TcpStream> {
    let mut stream = TcpStream::connect_timeout(&server.address(), PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream.try_clone()?);
    reply(&mut reader)?;
    stream.write_all(b"EHLO client.example\r\n")?;
    reply(&mut reader)?;
    Ok(stream)
}

/// Reads a reply to its last line.
fn reply(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(());
        }
    }
}

const CONNECTIONS: usize = 1000;
/// All connections together.
const TIME_MAX: Duration = Duration::from_secs(60);
/// One of them.
const PATIENCE: Duration = Duration::from_secs(10);
/// Until what a start or a connection set off has come to rest.
const REST: Duration = Duration::from_millis(500);
