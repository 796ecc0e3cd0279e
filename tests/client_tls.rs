//! The client's dialogue and TLS together, as a driver joins them: STARTTLS, the handshake, EHLO again, AUTH, a message.
//! Neither knows of the other; this is the second half of the picture in `net::tls`, with a server of a few lines.

use std::sync::Arc;

use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, ServerTls, Tls, Trust};
use fastsmtp::smtp::client::{
    ClearText, Client, Commands, Credentials, Data, Error, Grouping, Hello, Mail, Manner, Phase, StartTls,
};
use fastsmtp::smtp::{Address, Envelope};
use rcgen::{CertificateParams, KeyPair};

/// What a driver holds for a connection, beside the socket.
struct Connection {
    client: Client,
    tls: Option<Tls>,
}

impl Connection {
    /// Takes what came from the socket; gives the phases heard.
    fn receive(&mut self, wire: &[u8]) -> Result<Vec<Phase>, Error> {
        let mut plain = Vec::new();
        let mut input = match &mut self.tls {
            None => wire,
            Some(tls) => {
                tls.receive(wire, &mut plain).unwrap();
                &plain
            }
        };
        if self.client.needs_tls() && self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()) {
            self.client.secured();
        }
        let mut phases = Vec::new();
        while let Some(event) = self.client.advance(&mut input)? {
            phases.push(event.phase);
        }
        Ok(phases)
    }

    /// Gives what is to be written to the socket.
    fn wire(&mut self) -> Vec<u8> {
        let mut wire = Vec::new();
        match &mut self.tls {
            None => {
                wire = self.client.output().concat();
                self.client.sent(wire.len());
            }
            Some(tls) => {
                if !tls.is_handshaking() {
                    let count = tls.send(self.client.output());
                    self.client.sent(count);
                }
                assert!(tls.flush(&mut wire).unwrap());
            }
        }
        wire
    }
}

/// A server's side: TLS, and what it hears under it.
struct Server {
    tls: Tls,
}

impl Server {
    /// Carries octets until neither side has more to say; gives what the server heard in plain.
    fn exchange(&mut self, connection: &mut Connection) -> String {
        let mut heard = Vec::new();
        loop {
            let (there, mut back) = (connection.wire(), Vec::new());
            self.tls.receive(&there, &mut heard).unwrap();
            self.tls.flush(&mut back).unwrap();
            if there.is_empty() && back.is_empty() {
                return String::from_utf8(heard).unwrap();
            }
            connection.receive(&back).unwrap();
        }
    }

    /// Says something, and gives what comes back.
    fn say(&mut self, text: &str, connection: &mut Connection) -> String {
        assert_eq!(self.tls.send([text.as_bytes(), b""]), text.len());
        self.exchange(connection)
    }
}

fn connection_and_server() -> (Connection, ClientTls, ServerTls) {
    let key = KeyPair::generate().unwrap();
    let pem = CertificateParams::new(vec!["mx.example".into()]).unwrap().self_signed(&key).unwrap().pem();
    let server = ServerTls::new(pem.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    let trusting = ClientTls::new(Trust::File(pem.as_bytes()), Resumption::On).unwrap();
    let credentials = Credentials::new("tim", "secret", None, ClearText::Refused).unwrap();
    let manner = Manner {
        hello: Hello::new("client.example"),
        grouping: Grouping::Chunked,
        starttls: StartTls::Required,
        credentials: Some(Arc::new(credentials)),
    };
    (Connection { client: Client::new(Arc::new(manner), 1), tls: None }, trusting, server)
}

fn mail() -> Mail {
    let envelope =
        Envelope { forward_paths: vec![Address::parse(b"user@example.com").unwrap()], ..Envelope::default() };
    Mail::new(Arc::new(Commands::new(&envelope)), Data::chunk(b"hi\r\n"))
}

#[test]
fn a_message_goes_out_under_the_tls_that_starttls_began() {
    let (mut connection, trusting, server) = connection_and_server();
    connection.receive(b"220 mx.example\r\n").unwrap();
    assert_eq!(connection.wire(), b"EHLO client.example\r\n");
    connection.receive(b"250-mx.example\r\n250 STARTTLS\r\n").unwrap();
    assert_eq!(connection.wire(), b"STARTTLS\r\n");
    assert_eq!(connection.receive(b"220 go\r\n"), Ok(vec![Phase::StartTls]));
    assert!(connection.client.needs_tls());

    let name = ServerName::new("mx.example").unwrap();
    connection.tls = Some(Tls::client(&trusting, &name).unwrap());
    let mut server = Server { tls: Tls::server(&server).unwrap() };
    assert_eq!(server.exchange(&mut connection), "EHLO client.example\r\n");
    let offers = "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 AUTH PLAIN\r\n";
    assert_eq!(server.say(offers, &mut connection), "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
    assert_eq!(server.say("235 welcome\r\n", &mut connection), "");
    connection.client.start(mail());
    let heard = server.exchange(&mut connection);
    assert_eq!(heard, "MAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nBDAT 4 LAST\r\nhi\r\n");
    server.say("250 ok\r\n250 ok\r\n250 taken\r\n", &mut connection);
    connection.client.quit();
    assert_eq!(server.exchange(&mut connection), "QUIT\r\n");
}

#[test]
fn a_reply_put_in_before_the_handshake_is_never_taken_for_one_under_tls() {
    let (mut connection, _, _) = connection_and_server();
    connection.receive(b"220 mx.example\r\n").unwrap();
    connection.wire();
    connection.receive(b"250-mx.example\r\n250 STARTTLS\r\n").unwrap();
    connection.wire();
    assert_eq!(connection.receive(b"220 go\r\n250-mx\r\n250 AUTH PLAIN\r\n"), Err(Error::Injected));
    assert!(connection.client.is_over() && connection.wire().is_empty());
}
