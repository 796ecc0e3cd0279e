//! A whole mail server over [`Peer`](super::peer::Peer): it takes what comes, checks that each command is one that a
//! client may say there, and writes down what it took.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

use fastsmtp::net::tls::ServerTls;
use fastsmtp::wire::sasl;

use super::peer::{Peer, Server, serve};

/// What it offers.
#[derive(Clone)]
pub struct Post {
    /// EHLO keywords, beside STARTTLS and AUTH.
    pub keywords: &'static [&'static str],
    pub lmtp: bool,
    pub starttls: Option<ServerTls>,
    pub implicit: Option<ServerTls>,
    /// Name and password; AUTH is then offered, and needed before MAIL.
    pub account: Option<(&'static str, &'static str)>,
    /// The reply to the recipient with this address.
    pub rcpt: fn(&str) -> &'static str,
    /// The reply about mail data, to the recipient with this address.
    pub accept: fn(&str) -> &'static str,
}

impl Default for Post {
    fn default() -> Post {
        Post {
            keywords: &["PIPELINING", "CHUNKING"],
            lmtp: false,
            starttls: None,
            implicit: None,
            account: None,
            rcpt: |_| "250 2.1.5 ok\r\n",
            accept: |_| "250 2.0.0 ok\r\n",
        }
    }
}

/// A message that it took.
#[derive(Debug, Clone)]
pub struct Taken {
    pub peer: IpAddr,
    pub connection: usize,
    pub secured: bool,
    /// Whether the handshake went on from an earlier one.
    pub resumed: bool,
    pub reverse_path: String,
    /// Those that were granted.
    pub forward_paths: Vec<String>,
    pub data: Vec<u8>,
}

/// All that it took.
pub type Book = Arc<Mutex<Vec<Taken>>>;

impl Post {
    /// Starts it.
    pub fn open(self) -> (Server, Book) {
        let book = Book::default();
        let written = Arc::clone(&book);
        (serve(move |peer| self.converse(peer, &written)), book)
    }

    fn converse(&self, peer: &mut Peer, book: &Book) -> io::Result<()> {
        if let Some(server) = &self.implicit {
            peer.secure(server)?;
        }
        peer.say("220 mx.example ESMTP\r\n")?;
        let mut authenticated = self.account.is_none();
        loop {
            let line = peer.hear_line()?;
            match line.split(' ').next().unwrap() {
                hello @ ("EHLO" | "LHLO") => {
                    assert_eq!(hello == "LHLO", self.lmtp, "{line}");
                    assert_eq!(&line[4..], " client.example");
                    peer.say(&self.hello(peer.is_secured()))?;
                }
                "STARTTLS" => {
                    peer.say("220 2.0.0 go\r\n")?;
                    peer.secure(self.starttls.as_ref().expect("STARTTLS is offered"))?;
                }
                "AUTH" => authenticated = self.authenticate(peer, &line)?,
                "MAIL" => {
                    assert!(authenticated, "MAIL before AUTH");
                    let reverse_path = line.strip_prefix("MAIL FROM:<").unwrap().split('>').next().unwrap();
                    peer.say("250 2.1.0 ok\r\n")?;
                    self.transaction(peer, reverse_path, book)?;
                }
                "QUIT" => {
                    peer.say("221 2.0.0 bye\r\n")?;
                    peer.wait_for_end();
                    return Ok(());
                }
                "RSET" => peer.say("250 2.0.0 ok\r\n")?,
                _ => panic!("not expected here: {line:?}"),
            }
        }
    }

    fn hello(&self, secured: bool) -> String {
        let mut lines = vec!["mx.example".to_owned()];
        lines.extend(self.keywords.iter().map(|&keyword| keyword.to_owned()));
        if self.starttls.is_some() && !secured {
            lines.push("STARTTLS".into());
        }
        if self.account.is_some() {
            lines.push("AUTH PLAIN LOGIN SCRAM-SHA-256".into());
        }
        let last = lines.pop().unwrap();
        lines.iter().map(|line| format!("250-{line}\r\n")).collect::<String>() + &format!("250 {last}\r\n")
    }

    /// From RCPT to the replies about the data, or to RSET.
    fn transaction(&self, peer: &mut Peer, reverse_path: &str, book: &Book) -> io::Result<()> {
        let mut forward_paths = Vec::new();
        let data = loop {
            let line = peer.hear_line()?;
            if let Some(path) = line.strip_prefix("RCPT TO:<") {
                let path = path.strip_suffix('>').unwrap();
                let reply = (self.rcpt)(path);
                if reply.starts_with('2') {
                    forward_paths.push(path.to_owned());
                }
                peer.say(reply)?;
            } else if let Some(bdat) = line.strip_prefix("BDAT ") {
                let octets = bdat.strip_suffix(" LAST").expect("one chunk").parse().unwrap();
                break peer.hear_octets(octets)?;
            } else if line == "DATA" && !forward_paths.is_empty() {
                peer.say("354 go\r\n")?;
                break peer.hear_data()?;
            } else if line == "DATA" {
                return peer.say("503 5.5.1 nobody to send it to\r\n");
            } else {
                assert_eq!(line, "RSET");
                return peer.say("250 2.0.0 ok\r\n");
            }
        };
        if forward_paths.is_empty() {
            return if self.lmtp { Ok(()) } else { peer.say("503 5.5.1 nobody to send it to\r\n") };
        }
        let connection = (peer.stream.peer_addr()?.ip(), peer.number, peer.is_secured());
        let replies = forward_paths.iter().map(|path| (self.accept)(path));
        let replies: Vec<_> = replies.take(if self.lmtp { usize::MAX } else { 1 }).collect();
        if replies.iter().any(|reply| reply.starts_with('2')) {
            // Before the replies: who has these counts on it.
            book.lock().unwrap().push(Taken {
                peer: connection.0,
                connection: connection.1,
                secured: connection.2,
                resumed: peer.is_resumed(),
                reverse_path: reverse_path.to_owned(),
                forward_paths,
                data,
            });
        }
        peer.say(&replies.concat())
    }

    fn authenticate(&self, peer: &mut Peer, line: &str) -> io::Result<bool> {
        let account = self.account.expect("AUTH is offered");
        let words: Vec<&str> = line.split(' ').collect();
        let is_right = match words[..] {
            ["AUTH", "PLAIN", message] => decode(message) == sasl::plain(account.0, account.1),
            ["AUTH", "LOGIN"] => {
                let user = ask(peer, b"Username:")?;
                let password = ask(peer, b"Password:")?;
                (&user[..], &password[..]) == (account.0.as_bytes(), account.1.as_bytes())
            }
            ["AUTH", "SCRAM-SHA-256", first] => scram(peer, account, &decode(first))?,
            _ => panic!("not an AUTH that we know: {line:?}"),
        };
        peer.say(if is_right { "235 2.7.0 welcome\r\n" } else { "535 5.7.8 wrong name or password\r\n" })?;
        Ok(is_right)
    }
}

/// The server's side of RFC 5802; gives whether the proof is right.
fn scram(peer: &mut Peer, (user, password): (&str, &str), first: &[u8]) -> io::Result<bool> {
    const ITERATIONS: u32 = 4096;
    let first = std::str::from_utf8(first).unwrap();
    let bare = first.strip_prefix("n,,").expect("no channel binding, no other name");
    let nonce = bare.strip_prefix(&format!("n={user},r=")).expect("the right name");
    let challenge = format!("r={nonce}server,s={},i={ITERATIONS}", sasl::encode(b"salt"));
    let last = String::from_utf8(ask(peer, challenge.as_bytes())?).unwrap();
    let (without_proof, proof) = last.rsplit_once(",p=").unwrap();
    assert_eq!(without_proof, format!("c=biws,r={nonce}server"));
    let salted = sasl::salted_password(password, b"salt", ITERATIONS);
    let signed = format!("{bare},{challenge},{without_proof}");
    let key = sasl::client_key(&salted);
    let signature = sasl::signature(&sasl::stored_key(&key), signed.as_bytes());
    let right: Vec<u8> = key.iter().zip(signature).map(|(key, signature)| key ^ signature).collect();
    if decode(proof) != right {
        return Ok(false);
    }
    let proof = sasl::signature(&sasl::server_key(&salted), signed.as_bytes());
    let answer = ask(peer, format!("v={}", sasl::encode(&proof)).as_bytes())?;
    assert!(answer.is_empty());
    Ok(true)
}

fn ask(peer: &mut Peer, challenge: &[u8]) -> io::Result<Vec<u8>> {
    peer.say(&format!("334 {}\r\n", sasl::encode(challenge)))?;
    Ok(decode(&peer.hear_line()?))
}

fn decode(text: &str) -> Vec<u8> {
    sasl::decode(text.as_bytes()).unwrap()
}
