//! The other physical limit: an SMTP client that measures nothing.
//!
//! The counterpart of `null_responder`, and good against that only: one thread, one epoll loop, one send and one receive
//! for each group of commands and each mail data, whose octets are made once. It believes that each receive is one
//! reply, whole, and that it is a yes. So no real generator is faster with the same server, and what this one reaches
//! against the null responder is the null responder's own limit.
//!
//! ```sh
//! cargo run --release -p loadgen --example bare_client -- 127.0.0.1:2525 100 3    # connections, seconds
//! ```

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted = match &arguments[..] {
        [target, connections, seconds] => {
            target.parse().ok().zip(connections.parse().ok()).zip(seconds.parse().ok())
        }
        _ => None,
    };
    let Some(((target, connections), seconds)) = wanted else {
        eprintln!("usage: bare_client ADDRESS:PORT CONNECTIONS SECONDS");
        return ExitCode::from(2);
    };
    match load(target, connections, Duration::from_secs(seconds)) {
        Ok(rate) => {
            println!("{rate:.0} messages a second");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bare_client: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Sends messages for so long; how many a second were answered.
fn load(target: SocketAddr, connections: usize, time: Duration) -> io::Result<f64> {
    let mut poll = Poll::new()?;
    let mut all = (0..connections)
        .map(|number| {
            let mut stream = TcpStream::connect(target)?;
            stream.set_nodelay(true)?;
            poll.registry().register(&mut stream, Token(number), Interest::READABLE)?;
            Ok(Connection { stream, awaits: Awaits::Banner })
        })
        .collect::<io::Result<Vec<_>>>()?;
    let (mut events, mut buffer) = (Events::with_capacity(1024), vec![0; 64 * 1024]);
    let message = message();
    let (mut begun, mut answered) = (None, 0_u64);
    while begun.is_none_or(|begun: Instant| begun.elapsed() < time) {
        match poll.poll(&mut events, Some(time)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            answered += u64::from(all[event.token().0].go_on(&mut buffer, &message)?);
        }
        if begun.is_none() && answered > connections as u64 {
            (begun, answered) = (Some(Instant::now()), 0);
        }
    }
    Ok(answered as f64 / begun.map_or(time, |begun| begun.elapsed()).as_secs_f64())
}

/// As loadgen sends it with `--size 1KiB`.
fn message() -> Vec<u8> {
    let mut message = b"Subject: nothing\r\n\r\n".to_vec();
    while message.len() < 1024 - LINE.len() {
        message.extend_from_slice(LINE);
    }
    message.resize(1022, b'x');
    message.extend_from_slice(b"\r\n.\r\n");
    message
}

struct Connection {
    stream: TcpStream,
    awaits: Awaits,
}

/// The reply that comes next.
enum Awaits {
    Banner,
    Hello,
    Group,
    Data,
}

impl Connection {
    /// Takes a reply, and says what follows it; whether it was a message's.
    fn go_on(&mut self, buffer: &mut [u8], message: &[u8]) -> io::Result<bool> {
        match self.stream.read(buffer) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
        let is_message = matches!(self.awaits, Awaits::Data);
        let (awaits, says) = match self.awaits {
            Awaits::Banner => (Awaits::Hello, HELLO),
            Awaits::Hello | Awaits::Data => (Awaits::Group, GROUP),
            Awaits::Group => (Awaits::Data, message),
        };
        self.awaits = awaits;
        // A kibibyte into an empty socket buffer is never cut short.
        match self.stream.write(says)? == says.len() {
            true => Ok(is_message),
            false => Err(io::ErrorKind::WriteZero.into()),
        }
    }
}

const HELLO: &[u8] = b"EHLO bare.example\r\n";
const GROUP: &[u8] = b"MAIL FROM:<from@example.com>\r\nRCPT TO:<to@example.com>\r\nDATA\r\n";
const LINE: &[u8] = b"The quick brown fox jumps over the lazy dog, and over the next one.\r\n";
