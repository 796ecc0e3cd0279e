//! `fastsmtp send`, run as people run it; and servers whose every word a test writes out, to run it against.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};
use std::thread::{self, JoinHandle};

use super::server::{PATIENCE, PROGRAM, Server};

/// A command line that is yet to be run: in an environment without anything of the tester's.
pub struct Sender {
    command: Command,
    input: Vec<u8>,
}

/// What came of it.
pub struct Ran {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// `fastsmtp send` to the server at `address`, from a sender at client.example, with an empty standard input.
pub fn send(address: impl ToString, arguments: &[&str]) -> Sender {
    let mut sender = Sender::new(&["--server", &address.to_string(), "--from", "sender@client.example"]);
    sender.command.args(arguments);
    sender
}

impl Sender {
    /// `fastsmtp send` with these arguments alone.
    pub fn new(arguments: &[&str]) -> Sender {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.arg("send").args(arguments);
        Sender { command, input: Vec::new() }
    }

    pub fn variable(mut self, name: &str, value: &str) -> Sender {
        self.command.env(name, value);
        self
    }

    pub fn arguments(mut self, arguments: &[&str]) -> Sender {
        self.command.args(arguments);
        self
    }

    /// In a session of its own, which has no terminal that a password could be asked for on.
    pub fn without_terminal(mut self) -> Sender {
        let mut command = Command::new("setsid");
        command.arg(self.command.get_program()).args(self.command.get_args());
        command.env_clear().envs(self.command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        self.command = command;
        self
    }

    pub fn argument(mut self, name: &str, value: &Path) -> Sender {
        self.command.arg(name).arg(value);
        self
    }

    pub fn input(mut self, input: impl Into<Vec<u8>>) -> Sender {
        self.input = input.into();
        self
    }

    pub fn run(mut self) -> Ran {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // Who reads no text may be gone already.
        let _ = child.stdin.take().unwrap().write_all(&self.input);
        Ran::of(child.wait_with_output().unwrap())
    }

    /// The one line that it prints when it must succeed.
    #[track_caller]
    pub fn ok(self) -> String {
        let ran = self.run();
        assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""), "{}", ran.stdout);
        let line = ran.stdout.strip_suffix('\n').expect("a line");
        assert!(!line.contains('\n'), "{line}");
        line.to_owned()
    }

    /// The one sentence of a run that must fail with `code`.
    #[track_caller]
    pub fn fails(self, code: i32) -> String {
        let ran = self.run();
        assert_eq!(ran.code, Some(code), "{}{}", ran.stdout, ran.stderr);
        assert_eq!(ran.stdout, "");
        let sentence = ran.stderr.strip_prefix("fastsmtp: ").unwrap_or_else(|| panic!("{}", ran.stderr));
        assert_eq!(sentence.matches('\n').count(), 1, "{sentence}");
        sentence.trim_end().to_owned()
    }
}

impl Ran {
    fn of(output: Output) -> Ran {
        Ran {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A program on a terminal of its own, by util-linux' script.
pub struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    shown: Vec<u8>,
}

impl Terminal {
    /// Runs a shell's command line.
    pub fn run(line: &str, variables: &[(&str, &str)]) -> Terminal {
        let mut command = Command::new("script");
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.args(["-qec", line, "/dev/null"]).envs(variables.iter().copied());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Terminal { child, keys, screen, shown: Vec::new() }
    }

    /// Waits until the screen shows `text`, and types.
    pub fn answer(&mut self, text: &str, keys: &str) {
        let mut octet = [0];
        while !self.shown().contains(text) {
            assert_eq!(self.screen.read(&mut octet).unwrap(), 1, "ended with {:?}", self.shown());
            self.shown.push(octet[0]);
        }
        self.keys.write_all(keys.as_bytes()).unwrap();
    }

    fn shown(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// The exit code, and all that the screen showed.
    pub fn end(mut self) -> (Option<i32>, String) {
        self.screen.read_to_end(&mut self.shown).unwrap();
        (self.child.wait().unwrap().code(), self.shown())
    }
}

/// A server of one connection that says what a test has it say.
pub struct Scripted {
    pub address: SocketAddr,
    thread: JoinHandle<Vec<u8>>,
}

/// The server's end of its connection.
pub struct Peer {
    stream: TcpStream,
    reader: BufReader<TcpStream>,
    /// All that it heard.
    heard: Vec<u8>,
}

impl Peer {
    pub fn say(&mut self, text: &str) {
        // Who has heard enough may be gone.
        let _ = self.stream.write_all(text.as_bytes());
    }

    /// Hears a line, without its CRLF; none at the end.
    pub fn hear(&mut self) -> Option<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line).ok().filter(|count| *count > 0)?;
        self.heard.extend_from_slice(&line);
        Some(String::from_utf8_lossy(&line).trim_end().to_owned())
    }

    /// Hears mail data to its end, and gives how many octets it had; it is not kept.
    pub fn hear_data(&mut self) -> usize {
        let (mut count, mut last) = (0, Vec::new());
        loop {
            let octets = self.reader.fill_buf().unwrap();
            assert!(!octets.is_empty(), "an end within the mail data");
            let taken = octets.len();
            last.extend_from_slice(&octets[taken.saturating_sub(5)..]);
            last.drain(..last.len().saturating_sub(5));
            self.reader.consume(taken);
            count += taken;
            if last == b"\r\n.\r\n" {
                return count;
            }
        }
    }

    /// Waits for the client to go.
    pub fn wait(&mut self) {
        while self.hear().is_some() {}
    }

    /// Goes through a session: `answer` gives the reply to a line; a line of mail data has none but the last.
    pub fn converse(&mut self, answer: impl Fn(&str) -> String) {
        self.say("220 mx.example ESMTP\r\n");
        let mut is_data = false;
        while let Some(line) = self.hear() {
            if is_data && line != "." {
                continue;
            }
            is_data = false;
            let reply = answer(&line);
            is_data |= reply.starts_with("354");
            self.say(&reply);
            if line == "QUIT" {
                return;
            }
        }
    }
}

/// Starts one.
pub fn scripted(part: impl FnOnce(&mut Peer) + Send + 'static) -> Scripted {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let thread = thread::spawn(move || {
        let stream = listener.accept().unwrap().0;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        let mut peer = Peer { stream, reader, heard: Vec::new() };
        part(&mut peer);
        peer.heard
    });
    Scripted { address, thread }
}

impl Scripted {
    /// All that it heard, once its part is over.
    pub fn heard(self) -> String {
        String::from_utf8_lossy(&self.thread.join().unwrap()).into_owned()
    }
}

/// The reply of a server that takes everything and offers little.
pub fn agreeable(line: &str) -> String {
    let reply = match line.split(' ').next().unwrap_or_default() {
        "EHLO" => "250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME",
        "DATA" => "354 go on",
        "QUIT" => "221 bye",
        _ => "250 2.0.0 ok",
    };
    format!("{reply}\r\n")
}

/// What stands in a message's file behind the trace fields.
pub fn content(file: &Path) -> Vec<u8> {
    let octets = std::fs::read(file).unwrap();
    let mut rest = octets.as_slice();
    while rest.starts_with(b"Return-Path:")
        || rest.starts_with(b"Received:")
        || rest.starts_with(b" ")
        || rest.starts_with(b"\t")
    {
        let end = rest.iter().position(|octet| *octet == b'\n').unwrap();
        rest = &rest[end + 1..];
    }
    rest.to_vec()
}

/// The one message that a server got, parsed by Python: a JSON document.
pub fn parsed(file: &Path) -> serde_json::Value {
    let output = Command::new("python3").args(["-c", PARSE]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

const PARSE: &str = r#"
import email, email.policy, json, sys
mail = email.message_from_binary_file(open(sys.argv[1], 'rb'), policy=email.policy.default)
text = mail.get_body(preferencelist=('plain',))
parts = [mail, *mail.walk()]
print(json.dumps({
    'subject': mail['subject'], 'from': str(mail['from']), 'to': str(mail['to']), 'cc': str(mail['cc']),
    'bcc': mail['bcc'], 'id': mail['message-id'], 'date': str(mail['date'].datetime.year), 'mime': mail['mime-version'],
    'foo': mail['x-foo'], 'text': text.get_content().replace('\r\n', '\n'), 'encoding': text['content-transfer-encoding'],
    'attachments': [[a.get_filename(), a.get_content_type(), a.get_payload(decode=True).hex()] for a in mail.iter_attachments()],
    'defects': [str(defect) for part in parts for defect in part.defects]
        + [str(defect) for part in parts for value in part.values() for defect in getattr(value, 'defects', ())],
}))
"#;

/// Stops a server in order, so that all it has is where it belongs.
pub fn stop(server: Server) {
    assert_eq!(server.stop().code(), Some(0));
}
