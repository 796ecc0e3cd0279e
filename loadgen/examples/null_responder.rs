//! The physical limit: an SMTP server that does nothing but answer.
//!
//! One thread, one epoll loop, one receive and one send per exchange. It looks at the last five octets of what one
//! receive returned and at nothing else: no parsing, no scanning, no storing. So no real server is faster with the same
//! client, and what a generator reaches against it is the generator's own limit. It is a yardstick, not a server: it
//! believes that each receive is one command, one group of MAIL, one RCPT and DATA, or a piece of mail data, as this
//! project's load generator and smtp-source send them, and gives nonsense to all others.
//!
//! ```sh
//! cargo run --release -p loadgen --example null_responder -- --listen 127.0.0.1:2525
//! ```

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;

use fastsmtp::net::slots::{Key, Slots};
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let listen = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => "127.0.0.1:2525".parse(),
        ["--listen", address] => address.parse(),
        _ => {
            eprintln!("usage: null_responder [--listen ADDRESS:PORT]");
            return ExitCode::from(2);
        }
    };
    raise_descriptor_limit();
    match listen.map_err(io::Error::other).and_then(serve) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("null_responder: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves for ever.
fn serve(address: SocketAddr) -> io::Result<()> {
    let listener = listen(address)?;
    println!("listening smtp {}", listener.local_addr()?);
    println!("ready");
    io::stdout().flush()?;

    let mut responder = Responder { poll: Poll::new()?, listener, connections: Slots::new() };
    responder.poll.registry().register(&mut responder.listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut buffer = vec![0; RECEIVE_BUFFER];
    loop {
        match responder.poll.poll(&mut events, None) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => responder.accept()?,
                Token(number) => {
                    let key = Key::from_u64(number as u64);
                    if let Some(connection) = responder.connections.get_mut(key)
                        && !connection.answer(&mut buffer, event.is_read_closed()).unwrap_or(false)
                    {
                        responder.connections.remove(key);
                    }
                }
            }
        }
    }
}

/// As many descriptors as the system lets us have.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    let _ = setrlimit(Resource::Nofile, limit);
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit it on Linux, which saves each a system call.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(TcpListener::from_std(socket.into()))
}

struct Responder {
    poll: Poll,
    listener: TcpListener,
    connections: Slots<Connection>,
}

impl Responder {
    /// Accepts all that wait: the listener tells of them once.
    fn accept(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let key = self.connections.insert(Connection { stream, in_data: false, tail: [0; 5] });
            let Some(Connection { stream, .. }) = self.connections.get_mut(key) else { continue };
            self.poll.registry().register(stream, Token(key.to_u64() as usize), Interest::READABLE)?;
            if stream.write(BANNER).is_err() {
                self.connections.remove(key);
            }
        }
    }
}

struct Connection {
    stream: TcpStream,
    in_data: bool,
    /// The last octets of the mail data so far: its end may be cut by a receive.
    tail: [u8; 5],
}

impl Connection {
    /// Answers what is there to be received; false when the connection is to be closed.
    fn answer(&mut self, buffer: &mut [u8], read_closed: bool) -> io::Result<bool> {
        loop {
            let received = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            let reply = self.reply(&buffer[..received]);
            // A few octets into an empty socket buffer: never cut short, or the client does not read and may go.
            if !reply.is_empty() && self.stream.write(reply)? < reply.len() || reply == GOODBYE {
                return Ok(false);
            }
            if received < buffer.len() && !read_closed {
                return Ok(true);
            }
        }
    }

    /// The reply to what one receive returned; empty within mail data.
    fn reply(&mut self, received: &[u8]) -> &'static [u8] {
        if self.in_data {
            return self.reply_to_data(received);
        }
        if received.ends_with(b"ATA\r\n") {
            self.in_data = true;
            self.tail = *b"\0\0\0\r\n";
            return if received.len() == b"DATA\r\n".len() { GO } else { GROUP };
        }
        match received {
            [b'E', b'H', ..] => EXTENSIONS,
            [b'Q', b'U', ..] => GOODBYE,
            _ => OK,
        }
    }

    fn reply_to_data(&mut self, received: &[u8]) -> &'static [u8] {
        match received.last_chunk() {
            Some(last) => self.tail = *last,
            None => {
                self.tail.rotate_left(received.len());
                self.tail[5 - received.len()..].copy_from_slice(received);
            }
        }
        self.in_data = self.tail != *b"\r\n.\r\n";
        if self.in_data { b"" } else { ACCEPTED }
    }
}

const LISTENER: Token = Token(usize::MAX);
/// Large enough that a megabyte takes a dozen receives, small enough for the processor's second-level cache.
const RECEIVE_BUFFER: usize = 128 * 1024;

const BANNER: &[u8] = b"220 null.example ESMTP\r\n";
const EXTENSIONS: &[u8] = b"250-null.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800\r\n";
const OK: &[u8] = b"250 2.0.0 ok\r\n";
const GO: &[u8] = b"354 go\r\n";
const GROUP: &[u8] = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n";
const ACCEPTED: &[u8] = b"250 2.0.0 ok\r\n";
const GOODBYE: &[u8] = b"221 2.0.0 bye\r\n";
