//! A client that types in TLS, and the server that it types to.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, Tls, Trust};

use super::server::{PATIENCE, Server, Talk};

/// The server's listeners for submissions, beside its usual one.
const SUBMISSIONS: [&str; 4] = ["--listen-submission", "127.0.0.1:0", "--listen-submissions", "127.0.0.1:0"];

/// A server with a certificate of its own making, and submissions.
pub fn self_signed(data: &Path, arguments: &[&str]) -> Server {
    Server::start(data, &[&["--tls-self-signed"], &SUBMISSIONS[..], arguments].concat())
}

/// Trusts the certificates of a file.
pub fn trusting(certificate: &Path) -> ClientTls {
    ClientTls::new(Trust::File(&fs::read(certificate).unwrap()), Resumption::On).unwrap()
}

/// Where the server keeps the certificate that it made.
pub fn own_certificate(data: &Path) -> PathBuf {
    data.join("tls-cert.pem")
}

/// A client that types in TLS.
pub struct Secure {
    pub stream: TcpStream,
    pub tls: Tls,
    heard: Vec<u8>,
    /// Whether the stream is at its end.
    is_over: bool,
}

impl Secure {
    /// Begins TLS on a stream.
    pub fn begin(stream: TcpStream, client: &ClientTls) -> Secure {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let tls = Tls::client(client, &ServerName::new("mx.example.com").unwrap()).unwrap();
        Secure { stream, tls, heard: Vec::new(), is_over: false }
    }

    /// Begins it, and insists on it.
    pub fn agreed(stream: TcpStream, client: &ClientTls) -> Secure {
        let mut secure = Secure::begin(stream, client);
        while secure.tls.is_handshaking() {
            secure.flush();
            secure.read();
            assert!(!secure.is_over, "no handshake");
        }
        secure.flush();
        secure
    }

    /// Connects to TLS from the start.
    pub fn connect(address: SocketAddr, client: &ClientTls) -> Secure {
        Secure::agreed(TcpStream::connect(address).unwrap(), client)
    }

    /// Connects in plain, and goes on by STARTTLS.
    pub fn by_starttls(address: SocketAddr, client: &ClientTls) -> Secure {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        talk.say("STARTTLS\r\n", "220 ");
        Secure::agreed(talk.stream.try_clone().unwrap(), client)
    }

    pub fn flush(&mut self) {
        assert!(self.tls.flush(&mut self.stream).unwrap());
    }

    /// Reads once.
    fn read(&mut self) {
        let mut wire = [0; 20_000];
        match self.stream.read(&mut wire) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.tls.receive(&wire[..count], &mut self.heard).unwrap(),
            Err(error) => panic!("{error}"),
        }
    }

    pub fn send(&mut self, octets: &[u8]) {
        let mut sent = 0;
        while sent < octets.len() {
            sent += self.tls.send([&octets[sent..], b""]);
            self.flush();
        }
    }

    /// The next reply, all its lines; empty at the end of the session.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                reply.push_str(str::from_utf8(&line).unwrap());
                if line.get(3) != Some(&b'-') {
                    return reply;
                }
            }
            if self.is_over || self.tls.peer_has_closed() {
                return String::new();
            }
            self.read();
        }
    }

    pub fn say(&mut self, text: &str, code: &str) -> String {
        self.send(text.as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(code), "{code} wanted to {text:?}: {reply:?}");
        reply
    }

    pub fn begin_mail(&mut self) {
        self.say("MAIL FROM:<sender@client.example>\r\n", "250");
        self.say("RCPT TO:<user@example.com>\r\n", "250");
        self.say("DATA\r\n", "354");
    }

    /// Reads to the end of the stream, and insists that the server said that it is one.
    pub fn insist_on_the_end(&mut self) {
        while !self.is_over {
            self.read();
        }
        assert!(self.tls.peer_has_closed(), "no close_notify");
    }
}
