//! A server whose part in the dialogue the test writes out: what it says, and what it insists to hear, octet by octet,
//! in the clear or under TLS. One thread a connection; what a thread had to object to fails the test in
//! [`Server::content`].

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fastsmtp::net::tls::{ServerTls, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

/// A listening server. Its threads end with the test.
pub struct Server {
    pub address: SocketAddr,
    threads: Arc<Mutex<Vec<JoinHandle<()>>>>,
}

/// Starts a server that plays `part` on each connection. An error of the connection's ends it and is nobody's fault.
pub fn serve(part: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let threads = Arc::new(Mutex::new(Vec::new()));
    let (part, started) = (Arc::new(part), Arc::clone(&threads));
    thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let part = Arc::clone(&part);
            let thread = thread::spawn(move || {
                let _ = stream.and_then(|stream| part(&mut Peer::new(stream, number)?));
            });
            started.lock().unwrap().push(thread);
        }
    });
    Server { address, threads }
}

impl Server {
    /// How many connections there were, once all of them have ended and nobody had to object. Only when the client has
    /// ended.
    pub fn content(&self) -> usize {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap());
        let count = threads.len();
        for thread in threads {
            assert!(thread.join().is_ok(), "the server heard what it should not: see above");
        }
        count
    }
}

/// The server's end of one connection.
pub struct Peer {
    pub stream: TcpStream,
    /// How many connections there were before.
    pub number: usize,
    tls: Option<Tls>,
    /// Heard, and not asked for yet.
    heard: Vec<u8>,
}

impl Peer {
    fn new(stream: TcpStream, number: usize) -> io::Result<Peer> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Peer { stream, number, tls: None, heard: Vec::new() })
    }

    pub fn is_secured(&self) -> bool {
        self.tls.is_some()
    }

    pub fn is_resumed(&self) -> bool {
        self.tls.as_ref().is_some_and(Tls::is_resumed)
    }

    pub fn say(&mut self, text: &str) -> io::Result<()> {
        let Some(tls) = &mut self.tls else { return self.stream.write_all(text.as_bytes()) };
        let mut left = text.as_bytes();
        while !left.is_empty() {
            left = &left[tls.send([left, b""])..];
            tls.flush(&mut self.stream)?;
        }
        Ok(())
    }

    /// Hears exactly `text`, and nothing behind it: what it answers may not be known yet.
    pub fn hear(&mut self, text: &str) -> io::Result<()> {
        let octets = self.hear_octets(text.len())?;
        assert_eq!(String::from_utf8_lossy(&octets), text);
        assert_eq!(String::from_utf8_lossy(&self.heard), "", "said behind {text:?} and before its reply");
        Ok(())
    }

    pub fn hear_octets(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.heard.len() < count {
            self.receive()?;
        }
        Ok(self.heard.drain(..count).collect())
    }

    /// Hears a line, without its CRLF.
    pub fn hear_line(&mut self) -> io::Result<String> {
        let octets = self.hear_until(b"\r\n")?;
        Ok(String::from_utf8(octets[..octets.len() - 2].to_vec()).unwrap())
    }

    /// Hears mail data to its end, and gives it without that, and unstuffed.
    pub fn hear_data(&mut self) -> io::Result<Vec<u8>> {
        let mut data = Vec::new();
        loop {
            let line = self.hear_until(b"\r\n")?;
            match &line[..] {
                b".\r\n" => return Ok(data),
                line => data.extend_from_slice(line.strip_prefix(b".").unwrap_or(line)),
            }
        }
    }

    /// Waits for the client to end the connection, whatever it says before.
    pub fn wait_for_end(&mut self) {
        while self.receive().is_ok() {}
    }

    /// Makes the handshake, as a server.
    pub fn secure(&mut self, server: &ServerTls) -> io::Result<()> {
        assert!(
            self.heard.is_empty(),
            "said before the handshake: {:?}",
            String::from_utf8_lossy(&self.heard)
        );
        self.tls = Some(Tls::server(server).unwrap());
        while self.tls.as_ref().is_some_and(Tls::is_handshaking) {
            self.receive()?;
        }
        Ok(())
    }

    /// What a handshake that came to nothing was told by the client.
    pub fn secure_in_vain(&mut self, server: &ServerTls) -> String {
        match self.secure(server).and_then(|()| self.receive()) {
            Ok(()) => panic!("the handshake succeeded"),
            Err(error) => error.to_string(),
        }
    }

    fn hear_until(&mut self, end: &[u8]) -> io::Result<Vec<u8>> {
        let mut from = 0;
        loop {
            if let Some(at) = self.heard[from..].windows(end.len()).position(|octets| octets == end) {
                return Ok(self.heard.drain(..from + at + end.len()).collect());
            }
            from = self.heard.len().saturating_sub(end.len());
            self.receive()?;
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut buffer = [0; 65536];
        let count = self.stream.read(&mut buffer)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some(tls) = &mut self.tls else {
            self.heard.extend_from_slice(&buffer[..count]);
            return Ok(());
        };
        let received = tls.receive(&buffer[..count], &mut self.heard);
        tls.flush(&mut self.stream)?;
        received.map_err(io::Error::other)
    }
}

/// A certificate for a host, and the authority that it is from.
pub struct Certificate {
    /// Of the authority, as PEM.
    pub authority: String,
    pub server: ServerTls,
}

/// Makes both anew.
pub fn certificate(host: &str) -> Certificate {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec![host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = ServerTls::new(certificate.pem().as_bytes(), key.serialize_pem().as_bytes()).unwrap();
    Certificate { authority: issuer.pem(), server }
}

/// How long a connection may be silent before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);
