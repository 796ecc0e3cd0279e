//! The real binary in a directory of its own, as a stranger would start it.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A running fastsmtp. Dropping it kills it.
pub struct Server {
    pub child: Child,
    /// Where it listens for mail from everywhere, in the order of its listeners.
    pub addresses: Vec<SocketAddr>,
    /// Where it listens for submissions: with STARTTLS, and in TLS from the start.
    pub submission: Vec<SocketAddr>,
    pub submissions: Vec<SocketAddr>,
    /// Where it listens for readers of mail: with STLS, and in TLS from the start.
    pub pop3: Vec<SocketAddr>,
    pub pop3s: Vec<SocketAddr>,
    log: PathBuf,
}

/// How long anything here may take before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Until there is service again behind a shortage. A second is the promise, on a machine of its own.
pub const BACK_IN_SERVICE: Duration = Duration::from_secs(10);

impl Server {
    /// Starts it over `data` on a free port of 127.0.0.1, and waits until it is ready.
    pub fn start(data: &Path, arguments: &[&str]) -> Server {
        let listen = ["--listen", "127.0.0.1:0"];
        Server::start_listening(data, &[&listen[..], arguments].concat())
    }

    /// The same, with listeners among the arguments.
    pub fn start_listening(data: &Path, arguments: &[&str]) -> Server {
        Server::watch(spawn(data, arguments), data)
    }

    /// Waits until a program that was started over `data` is ready.
    pub fn watch(mut child: Child, data: &Path) -> Server {
        let log = log_of(data);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (mut addresses, mut submission, mut submissions) = (Vec::new(), Vec::new(), Vec::new());
        let (mut pop3, mut pop3s) = (Vec::new(), Vec::new());
        loop {
            match lines.next() {
                Some(Ok(line)) if line == "ready" => break,
                Some(Ok(line)) => {
                    let told = line.strip_prefix("listening ").and_then(|told| told.split_once(' '));
                    let (service, address) = told.expect("the start-up contract");
                    let addresses = match service {
                        "smtp" => &mut addresses,
                        "submission" => &mut submission,
                        "submissions" => &mut submissions,
                        "pop3" => &mut pop3,
                        "pop3s" => &mut pop3s,
                        _ => panic!("{line}"),
                    };
                    addresses.push(address.parse().unwrap());
                }
                other => {
                    panic!(
                        "fastsmtp did not start: {other:?}\n{}",
                        fs::read_to_string(&log).unwrap_or_default()
                    );
                }
            }
        }
        Server { child, addresses, submission, submissions, pop3, pop3s, log }
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// What it logged so far, with its runs before over the same directory.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    pub fn signal(&self, name: &str) {
        let done =
            Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status().unwrap();
        assert!(done.success());
    }

    /// Kills it as nothing can be killed more suddenly.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the status it ends with.
    pub fn stop(mut self) -> ExitStatus {
        self.signal("TERM");
        self.wait()
    }

    /// Waits for its end.
    pub fn wait(&mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "fastsmtp does not end:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Resident memory in octets.
    pub fn resident(&self) -> u64 {
        self.status("VmRSS") * 1024
    }

    /// The most resident memory it ever had, in octets.
    pub fn peak_memory(&self) -> u64 {
        self.status("VmHWM") * 1024
    }

    pub fn threads(&self) -> u64 {
        self.status("Threads")
    }

    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Processor time so far.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// A number of the kernel's about it.
    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    pub fn connect(&self) -> Talk {
        Talk::new(TcpStream::connect(self.address()).unwrap())
    }
}

/// Starts the program over `data` and waits for nothing.
pub fn spawn(data: &Path, arguments: &[&str]) -> Child {
    spawn_by(Command::new(PROGRAM), data, arguments)
}

/// The same, by a command that becomes the program with the arguments that it is given.
pub fn spawn_by(mut command: Command, data: &Path, arguments: &[&str]) -> Child {
    let log = fs::File::options().create(true).append(true).open(log_of(data)).unwrap();
    command
        .args(["--hostname", "mx.example.com", "--data"])
        .arg(data)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_fastsmtp");

/// Where the program that is started over `data` logs.
pub fn log_of(data: &Path) -> PathBuf {
    data.with_extension("log")
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client that types.
pub struct Talk {
    pub stream: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Talk {
    pub fn new(stream: TcpStream) -> Talk {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let reader = BufReader::new(stream.try_clone().unwrap());
        Talk { stream, reader }
    }

    pub fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).unwrap();
    }

    /// The next reply, all its lines; empty at the end of the connection.
    pub fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            if self.reader.read_line(&mut reply).unwrap_or(0) == 0
                || reply.as_bytes().get(start + 3) != Some(&b'-')
            {
                return reply;
            }
        }
    }

    /// Sends, and insists on the code of the reply.
    pub fn say(&mut self, text: impl AsRef<[u8]>, code: &str) -> String {
        self.send(text.as_ref());
        let reply = self.reply();
        assert!(
            reply.starts_with(code),
            "{code} wanted to {:?}: {reply:?}",
            String::from_utf8_lossy(&text.as_ref()[..text.as_ref().len().min(200)])
        );
        reply
    }

    /// Takes the banner and says EHLO.
    pub fn hello(&mut self) {
        assert!(self.reply().starts_with("220 "));
        self.say("EHLO client.example\r\n", "250");
    }

    /// Begins a message to user@example.com, up to 354.
    pub fn begin(&mut self) {
        self.say("MAIL FROM:<sender@client.example>\r\n", "250");
        self.say("RCPT TO:<user@example.com>\r\n", "250");
        self.say("DATA\r\n", "354");
    }

    /// What comes until the server closes.
    pub fn rest(&mut self) -> String {
        let mut rest = Vec::new();
        let _ = self.reader.read_to_end(&mut rest);
        String::from_utf8_lossy(&rest).into_owned()
    }
}

/// A directory for a server, in a directory that vanishes.
pub fn data() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    (root, data)
}

/// Every file in a `new/` or `cur/` below `root`.
pub fn delivered(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(root) else { return found };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(delivered(&path));
        } else if path.parent().is_some_and(|parent| parent.ends_with("new") || parent.ends_with("cur")) {
            found.push(path);
        }
    }
    found
}

/// Waits until `count` messages are delivered below `data`, and gives their files.
pub fn wait_for_mail(data: &Path, count: usize) -> Vec<PathBuf> {
    let started = Instant::now();
    loop {
        let found = delivered(&data.join("mailboxes"));
        if found.len() >= count {
            return found;
        }
        assert!(started.elapsed() < PATIENCE, "{} of {count} messages delivered", found.len());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until something is so.
pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Asks until MAIL is taken again, and takes it back; says how long that took.
pub fn until_mail_is_taken(talk: &mut Talk) -> Duration {
    let started = Instant::now();
    wait_until("mail is taken again", || {
        talk.send("MAIL FROM:<>\r\nRSET\r\n");
        let reply = talk.reply();
        talk.reply();
        assert!(reply.starts_with("250 ") || reply.starts_with("452 4.3.1 "), "{reply}");
        reply.starts_with("250 ")
    });
    started.elapsed()
}

/// Whether a tool is there; says so if the test must be skipped. In CI every tool must be there.
pub fn has_tool(name: &str) -> bool {
    let found = std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|directory| directory.join(name).is_file()));
    if !found {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI has to have it");
        eprintln!("skipped: {name} is not installed");
    }
    found
}
