//! A server that follows a script and counts what it accepted; and the generator run against it, bounded in time.
#![allow(dead_code)] // each test uses a part of it

pub mod fastsmtp;
pub mod peer;
pub mod post;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use serde_json::Value;

/// What the server does. The defaults accept everything.
#[derive(Clone)]
pub struct Script {
    pub banner: &'static str,
    pub ehlo: &'static str,
    pub mail: &'static str,
    pub rcpt: &'static str,
    /// The reply to the final dot of the n-th message of a connection, from 0; none closes without a reply.
    pub accept: fn(u64) -> Option<&'static str>,
    /// How long to wait before each write.
    pub pause: Pause,
    /// How long to wait before each reply to a final dot.
    pub pause_to_accept: Pause,
}

pub type Pause = Arc<dyn Fn() -> Duration + Send + Sync>;

impl Default for Script {
    fn default() -> Script {
        Script {
            banner: "220 mx.example ESMTP\r\n",
            ehlo: "250-mx.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
            mail: "250 2.1.0 ok\r\n",
            rcpt: "250 2.1.5 ok\r\n",
            accept: |_| Some("250 2.0.0 ok\r\n"),
            pause: Arc::new(|| Duration::ZERO),
            pause_to_accept: Arc::new(|| Duration::ZERO),
        }
    }
}

/// What the server saw.
#[derive(Default)]
pub struct Seen {
    pub accepted: AtomicU64,
    pub recipients: AtomicU64,
    /// Octets of mail data, as sent, with their ends.
    pub data_octets: AtomicU64,
    /// Receives that held commands.
    pub receives: AtomicU64,
    pub quits: AtomicU64,
}

impl Seen {
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

/// Starts a server on a port of the system's choice. Its threads end with the test.
pub fn serve(script: Script) -> (SocketAddr, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::new(Seen::default());
    let counted = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (script, seen) = (script.clone(), Arc::clone(&counted));
            // A client that is gone is the end of a connection, not of the test.
            thread::spawn(move || stream.and_then(|stream| converse(stream, &script, &seen)));
        }
    });
    (address, seen)
}

fn converse(mut stream: TcpStream, script: &Script, seen: &Seen) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.write_all(script.banner.as_bytes())?;
    let (mut input, mut buffer, mut messages, mut in_data) = (Vec::new(), vec![0; 65536], 0, false);
    loop {
        let count = stream.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        if !in_data {
            seen.receives.fetch_add(1, Ordering::SeqCst);
        }
        input.extend_from_slice(&buffer[..count]);
        let mut replies = String::new();
        loop {
            if in_data {
                let end = if input.starts_with(b".\r\n") {
                    Some(3)
                } else {
                    input.windows(5).position(|octets| octets == b"\r\n.\r\n").map(|at| at + 5)
                };
                let Some(end) = end else { break };
                input.drain(..end);
                in_data = false;
                seen.data_octets.fetch_add(end as u64, Ordering::SeqCst);
                let Some(reply) = (script.accept)(messages) else { return Ok(()) };
                thread::sleep((script.pause_to_accept)());
                messages += 1;
                seen.accepted.fetch_add(u64::from(reply.starts_with("250")), Ordering::SeqCst);
                replies += reply;
                continue;
            }
            let Some(end) = input.windows(2).position(|octets| octets == b"\r\n") else { break };
            let line: Vec<u8> = input.drain(..end + 2).collect();
            replies += match &line[..4] {
                b"EHLO" => script.ehlo,
                b"MAIL" => script.mail,
                b"RCPT" => {
                    seen.recipients.fetch_add(1, Ordering::SeqCst);
                    script.rcpt
                }
                b"DATA" if script.mail.starts_with("250") && script.rcpt.starts_with("250") => {
                    in_data = true;
                    "354 go\r\n"
                }
                b"DATA" => "503 5.5.1 no\r\n",
                b"QUIT" => {
                    seen.quits.fetch_add(1, Ordering::SeqCst);
                    return stream.write_all(b"221 2.0.0 bye\r\n");
                }
                _ => "250 2.0.0 ok\r\n",
            };
        }
        thread::sleep((script.pause)());
        stream.write_all(replies.as_bytes())?;
    }
}

/// A run of the generator.
pub struct Ran {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// The report that `--json -` wrote.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|error| panic!("{error}: {:?} {:?}", self.stdout, self.stderr))
    }

    /// A count of the report.
    pub fn count(&self, pointer: &str) -> u64 {
        let json = self.json();
        json.pointer(pointer).and_then(Value::as_u64).unwrap_or_else(|| panic!("no {pointer} in {json:#}"))
    }
}

impl Ran {
    /// Replies with this code, to whatever they answered.
    pub fn replies(&self, code: u64) -> u64 {
        let json = self.json();
        let replies = json["replies"].as_array().unwrap().iter();
        replies.filter(|reply| reply["code"] == code).map(|reply| reply["count"].as_u64().unwrap()).sum()
    }

    /// A text of the report.
    pub fn text(&self, pointer: &str) -> String {
        let json = self.json();
        json.pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no {pointer} in {json:#}"))
            .to_owned()
    }

    /// A number of the report.
    pub fn number(&self, pointer: &str) -> f64 {
        let json = self.json();
        json.pointer(pointer).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {pointer} in {json:#}"))
    }
}

/// Starts the generator.
pub fn start(target: SocketAddr, arguments: &str) -> Child {
    spawn(command(target, arguments).args(["--json", "-"]))
}

/// The generator's command line: to be added to, and to be run by [`finish`] of [`spawn`].
pub fn command(target: SocketAddr, arguments: &str) -> Command {
    program(&format!("--target {target} {arguments}"))
}

/// The generator's command line without a target.
pub fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_loadgen"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null()).env_remove("LOADGEN_PASSWORD");
    command
}

/// Starts it.
pub fn spawn(command: &mut Command) -> Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the generator's end, but not for ever.
pub fn finish(child: Child) -> Ran {
    let id = child.id();
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || sender.send(child.wait_with_output()));
    match receiver.recv_timeout(Duration::from_secs(240)) {
        Ok(output) => {
            let output = output.unwrap();
            Ran {
                status: output.status,
                stdout: String::from_utf8(output.stdout).unwrap(),
                stderr: String::from_utf8(output.stderr).unwrap(),
            }
        }
        Err(_) => {
            let pid = rustix::process::Pid::from_raw(id as i32).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            panic!("the generator did not end in four minutes");
        }
    }
}

/// Runs the generator to its end.
pub fn run(target: SocketAddr, arguments: &str) -> Ran {
    finish(start(target, arguments))
}
