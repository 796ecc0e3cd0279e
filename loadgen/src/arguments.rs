//! What is asked for: the command line, checked and complete.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, ValueEnum};
use fastsmtp::smtp::client::Grouping;
use fastsmtp::smtp::{Address, Envelope};
use fastsmtp::units;

/// Offers an SMTP server as much mail as it takes, in a closed loop, and says what it measured.
#[derive(Debug, Parser)]
#[command(name = "loadgen", version, max_term_width = 100)]
struct Arguments {
    /// The server to load
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2525", value_parser = target)]
    target: SocketAddr,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    conns: u32,

    /// Messages to offer, instead of a duration
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warmup"],
          value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration)]
    duration: Duration,

    /// How long to load the server before that, once all connections stand
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration)]
    warmup: Duration,

    /// Octets of a message, header and all
    #[arg(long, value_name = "SIZE", default_value = "1KiB", value_parser = size)]
    size: u64,

    /// How the commands of an envelope are sent
    #[arg(long, value_enum, default_value_t = Mode::Pipeline)]
    mode: Mode,

    /// Messages on a connection before it is closed and another opened; 0 keeps it
    #[arg(long, value_name = "N", default_value_t = 0)]
    messages_per_conn: u64,

    /// Recipients of a message; more than one are numbered: user1@..., user2@...
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rcpts: u32,

    /// The reverse-path; empty for the null one
    #[arg(long, value_name = "ADDRESS", default_value = "loadgen@client.example", value_parser = reverse_path)]
    from: ReversePath,

    /// The recipient
    #[arg(long, value_name = "ADDRESS", default_value = "user@example.com", value_parser = address)]
    to: Address,

    /// How long to wait for a reply, or for progress of the mail data
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    timeout: Duration,

    /// Where to write the report for programs; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// How the commands of an envelope are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// One command, one reply
    Lockstep,
    /// MAIL, RCPT and DATA in one write, if the server offers PIPELINING
    Pipeline,
}

impl Mode {
    /// As the option is spelled.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Lockstep => "lockstep",
            Mode::Pipeline => "pipeline",
        }
    }

    /// As the client calls it.
    pub fn grouping(self) -> Grouping {
        match self {
            Mode::Lockstep => Grouping::Lockstep,
            Mode::Pipeline => Grouping::Pipelined,
        }
    }
}

/// How much is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many messages, all of them measured.
    Messages(u64),
    /// As many as fit.
    Time {
        /// Not measured.
        warm_up: Duration,
        /// Measured, after that.
        measured: Duration,
    },
}

/// What is to be done.
#[derive(Debug)]
pub struct Plan {
    /// The server.
    pub target: SocketAddr,
    /// Connections at the same time.
    pub connections: usize,
    /// How much is offered.
    pub amount: Amount,
    /// Octets of a message's data.
    pub size: usize,
    /// How the commands are sent.
    pub mode: Mode,
    /// Messages on a connection before it is closed; 0 for no such number.
    pub messages_per_connection: u64,
    /// Of every message.
    pub envelope: Envelope,
    /// How long to wait for a reply, or for progress of the mail data.
    pub timeout: Duration,
    /// Where the report for programs goes.
    pub json: Option<PathBuf>,
}

impl Plan {
    /// The mail data of every message: a header, and lines of filler to the size that was asked for.
    pub fn data(&self) -> Vec<u8> {
        let mut data = Vec::with_capacity(self.size);
        let header = b"Subject: load\r\nFrom: loadgen@client.example\r\n\r\n";
        if header.len() + 2 <= self.size {
            data.extend_from_slice(header);
        }
        while self.size - data.len() >= LINE + 2 + 2 {
            data.extend_from_slice(&[b'x'; LINE]);
            data.extend_from_slice(b"\r\n");
        }
        data.resize(self.size - 2, b'x');
        data.extend_from_slice(b"\r\n");
        data
    }
}

/// Reads the command line; an error ends the process with code 2.
pub fn read() -> Plan {
    let arguments = Arguments::parse();
    let fail = |text: String| -> ! { Arguments::command().error(ErrorKind::ValueValidation, text).exit() };
    if arguments.timeout.is_zero() {
        fail("--timeout: must be more than nothing, like 60s".into());
    }
    if arguments.duration.is_zero() {
        fail("--duration: must be more than nothing, like 10s".into());
    }
    let envelope = Envelope {
        reverse_path: arguments.from.0,
        forward_paths: recipients(&arguments.to, arguments.rcpts),
        ..Envelope::default()
    };
    Plan {
        target: arguments.target,
        connections: arguments.conns as usize,
        amount: match arguments.messages {
            Some(messages) => Amount::Messages(messages),
            None => Amount::Time { warm_up: arguments.warmup, measured: arguments.duration },
        },
        size: arguments.size as usize,
        mode: arguments.mode,
        messages_per_connection: arguments.messages_per_conn,
        envelope,
        timeout: arguments.timeout,
        json: arguments.json,
    }
}

fn recipients(to: &Address, count: u32) -> Vec<Address> {
    match count {
        1 => vec![to.clone()],
        _ => (1..=count).map(|n| Address::new(&format!("{}{n}", to.local_part()), to.domain())).collect(),
    }
}

/// None for the null reverse-path.
#[derive(Debug, Clone)]
struct ReversePath(Option<Address>);

fn reverse_path(text: &str) -> Result<ReversePath, String> {
    if text.is_empty() {
        Ok(ReversePath(None))
    } else {
        address(text).map(|address| ReversePath(Some(address)))
    }
}

fn address(text: &str) -> Result<Address, String> {
    let address = Address::parse(text.as_bytes())
        .map_err(|_| format!("'{text}' is not an address, like user@example.com"))?;
    if text.is_ascii() {
        Ok(address)
    } else {
        Err(format!("'{text}' is not ASCII; SMTPUTF8 is not supported"))
    }
}

fn target(text: &str) -> Result<SocketAddr, String> {
    let addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("'{text}' is not a HOST:PORT to be found: {error}"))?;
    addresses.into_iter().next().ok_or_else(|| format!("'{text}' has no address"))
}

fn size(text: &str) -> Result<u64, String> {
    match units::size(text)? {
        0 | 1 => Err("a message has at least 2 octets, the end of a line".into()),
        size if size > SIZE_MAX => Err(format!("'{text}' is more than {}", units::size_text(SIZE_MAX))),
        size => Ok(size),
    }
}

/// The message lies in memory once, stuffed: more than this is no mail.
const SIZE_MAX: u64 = 1 << 30;

/// Octets of a line of filler (RFC 5322 2.1.1 wants at most 78).
const LINE: usize = 76;

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(size: usize) -> Plan {
        Plan {
            target: "127.0.0.1:25".parse().unwrap(),
            connections: 1,
            amount: Amount::Messages(1),
            size,
            mode: Mode::Pipeline,
            messages_per_connection: 0,
            envelope: Envelope::default(),
            timeout: Duration::from_secs(1),
            json: None,
        }
    }

    #[test]
    fn the_data_has_the_size_asked_for_and_proper_lines() {
        for size in (2..400).chain([1024, 65_536, 1 << 20]) {
            let data = plan(size).data();
            assert_eq!(data.len(), size);
            let text = String::from_utf8(data).unwrap();
            assert!(text.ends_with("\r\n"), "{size}");
            let lines: Vec<&str> = text.split("\r\n").collect();
            assert!(lines.iter().all(|line| line.len() <= LINE + 4 && !line.contains(['\r', '\n'])));
        }
    }

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn several_recipients_are_numbered() {
        let to = Address::parse(b"user@x").unwrap();
        let text = |count| recipients(&to, count).iter().map(Address::to_string).collect::<Vec<_>>();
        assert_eq!(text(1), ["user@x"]);
        assert_eq!(text(2), ["user1@x", "user2@x"]);
    }
}
