//! A client that says what it is told and hears whole replies, in plain or in TLS.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use fastsmtp::net::tls::{ClientTls, ServerName, Tls};

use super::Outcome;

/// A client in plain.
pub struct Client {
    reader: BufReader<TcpStream>,
}

impl Client {
    /// Connects, and hears the greeting.
    pub fn connect(address: SocketAddr) -> Outcome<Client> {
        let mut client = Client { reader: BufReader::new(connect(address)?) };
        client.expect("220")?;
        Ok(client)
    }

    /// Says a line, and gives the last line of the reply, which must have this code.
    pub fn say(&mut self, line: &str, code: &str) -> Outcome<String> {
        self.tell(line)?;
        self.expect(code)
    }

    /// Says a line.
    pub fn tell(&mut self, line: &str) -> Outcome<()> {
        Ok(self.reader.get_mut().write_all(format!("{line}\r\n").as_bytes())?)
    }

    /// Hears a reply, and gives its last line, which must have this code.
    pub fn expect(&mut self, code: &str) -> Outcome<String> {
        let mut line = String::new();
        while self.reader.read_line(&mut line)? > 0 {
            match line.as_bytes().get(3) {
                Some(b'-') => line.clear(),
                _ if line.starts_with(code) => return Ok(line.trim_end().to_owned()),
                _ => break,
            }
        }
        Err(format!("{code} was awaited, and {line:?} came").into())
    }

    /// Begins TLS, and shakes hands to the end.
    pub fn into_tls(mut self, client: &ClientTls) -> Outcome<TlsClient> {
        self.say("STARTTLS", "220")?;
        let name = ServerName::new("localhost").expect("a name");
        let mut it = TlsClient {
            stream: self.reader.into_inner(),
            tls: Tls::client(client, &name)?,
            heard: Vec::new(),
        };
        while it.tls.is_handshaking() {
            it.tls.flush(&mut it.stream)?;
            it.hear()?;
        }
        it.tls.flush(&mut it.stream)?;
        Ok(it)
    }
}

/// A client in TLS.
pub struct TlsClient {
    stream: TcpStream,
    tls: Tls,
    heard: Vec<u8>,
}

impl TlsClient {
    /// Says something, and waits for a whole line that begins like this.
    pub fn say(&mut self, text: &str, line: &str) -> Outcome<()> {
        self.tls.send([text.as_bytes(), b""]);
        self.tls.flush(&mut self.stream)?;
        self.heard.clear();
        while !(self.heard.ends_with(b"\r\n") && String::from_utf8_lossy(&self.heard).contains(line)) {
            self.hear()?;
        }
        Ok(())
    }

    fn hear(&mut self) -> Outcome<()> {
        let mut wire = [0; 16 * 1024];
        match self.stream.read(&mut wire)? {
            0 => Err(std::io::Error::from(ErrorKind::UnexpectedEof).into()),
            count => Ok(self.tls.receive(&wire[..count], &mut self.heard)?),
        }
    }
}

/// A stream whose octets go out at once.
pub fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

const PATIENCE: Duration = Duration::from_secs(30);
