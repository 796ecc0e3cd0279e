//! TLS with the real binary: STARTTLS and TLS from the start, by a client of ours that sees each octet, by Python and by
//! OpenSSL; what an attacker on the way may try; and certificates that change while sessions go on.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::server::{PATIENCE, Server, Talk, data, delivered, has_tool, wait_for_mail, wait_until};
use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, Tls, Trust};
use rcgen::{CertificateParams, KeyPair};

/// The server's listeners for submissions, beside its usual one.
const SUBMISSIONS: [&str; 4] = ["--listen-submission", "127.0.0.1:0", "--listen-submissions", "127.0.0.1:0"];

/// A server with a certificate of its own making, and submissions.
fn self_signed(data: &Path, arguments: &[&str]) -> Server {
    Server::start(data, &[&["--tls-self-signed"], &SUBMISSIONS[..], arguments].concat())
}

/// A client that types in TLS.
struct Secure {
    stream: TcpStream,
    tls: Tls,
    heard: Vec<u8>,
    /// Whether the stream is at its end.
    is_over: bool,
}

impl Secure {
    /// Begins TLS on a stream.
    fn begin(stream: TcpStream, client: &ClientTls) -> Secure {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let tls = Tls::client(client, &ServerName::new("mx.example.com").unwrap()).unwrap();
        Secure { stream, tls, heard: Vec::new(), is_over: false }
    }

    /// Begins it, and insists on it.
    fn agreed(stream: TcpStream, client: &ClientTls) -> Secure {
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
    fn connect(address: SocketAddr, client: &ClientTls) -> Secure {
        Secure::agreed(TcpStream::connect(address).unwrap(), client)
    }

    /// Connects in plain, and goes on by STARTTLS.
    fn by_starttls(address: SocketAddr, client: &ClientTls) -> Secure {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        talk.say("STARTTLS\r\n", "220 ");
        Secure::agreed(talk.stream.try_clone().unwrap(), client)
    }

    fn flush(&mut self) {
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

    fn send(&mut self, octets: &[u8]) {
        let mut sent = 0;
        while sent < octets.len() {
            sent += self.tls.send([&octets[sent..], b""]);
            self.flush();
        }
    }

    /// The next reply, all its lines; empty at the end of the session.
    fn reply(&mut self) -> String {
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

    fn say(&mut self, text: &str, code: &str) -> String {
        self.send(text.as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(code), "{code} wanted to {text:?}: {reply:?}");
        reply
    }

    fn begin_mail(&mut self) {
        self.say("MAIL FROM:<sender@client.example>\r\n", "250");
        self.say("RCPT TO:<user@example.com>\r\n", "250");
        self.say("DATA\r\n", "354");
    }

    /// Reads to the end of the stream, and insists that the server said that it is one.
    fn insist_on_the_end(&mut self) {
        while !self.is_over {
            self.read();
        }
        assert!(self.tls.peer_has_closed(), "no close_notify");
    }
}

fn trusting(certificate: &Path) -> ClientTls {
    ClientTls::new(Trust::File(&fs::read(certificate).unwrap()), Resumption::On).unwrap()
}

fn own_certificate(data: &Path) -> PathBuf {
    data.join("tls-cert.pem")
}

#[test]
fn a_message_comes_in_by_starttls_and_by_tls_from_the_start() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut session = Secure::by_starttls(server.address(), &client);
    assert!(!session.say("EHLO client.example\r\n", "250").contains("STARTTLS"));
    session.begin_mail();
    session.say("Subject: one\r\n\r\n.\r\n", "250 2.");
    session.say("QUIT\r\n", "221");
    session.insist_on_the_end();

    let mut session = Secure::by_starttls(server.submission[0], &client);
    session.say("EHLO client.example\r\n", "250");
    let mut session = Secure::connect(server.submissions[0], &client);
    assert!(session.reply().starts_with("220 mx.example.com "));
    assert!(!session.say("EHLO client.example\r\n", "250").contains("STARTTLS"));
    session.say("STARTTLS\r\n", "503");
    session.begin_mail();
    session.say("Subject: two\r\n\r\n.\r\n", "250 2.");
    for mail in wait_for_mail(&data, 2) {
        let text = fs::read_to_string(mail).unwrap();
        assert!(text.contains("with ESMTPS id"), "{text}");
    }
}
