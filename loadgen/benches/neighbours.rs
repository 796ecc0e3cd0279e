//! What others do to a client of fastsmtp: what its replies wait for while other clients send large mail, or attack.
//!
//! `cargo bench -p loadgen --bench neighbours [-- large|attack]` builds what it needs, starts a server on loopback in a
//! directory of its own, and prints one line of figures a scenario: alone, beside the others, and the ratio. The others have
//! the lowest priority, for they belong on machines of their own; a machine that does something else is noise.
//!
//! - `large`: small mail at 200 messages a second, beside 200 messages of 50 MiB that begin at the same time.
//! - `attack`: NOOP every millisecond, beside 50 clients a second that try wrong passwords and 200 a second that shake
//!   hands in full.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{fs, thread};

use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, Tls, Trust};
use hdrhistogram::Histogram;
use serde_json::Value;
use tempfile::TempDir;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo test --benches` runs this too, without the word that `cargo bench` adds.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("skipped: this takes a minute, and is run by `cargo bench -p loadgen --bench neighbours`");
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<&str> = arguments.iter().map(String::as_str).filter(|word| *word != "--bench").collect();
    let is_wanted = |scenario: &str| wanted.is_empty() || wanted.contains(&scenario);
    let run = || -> Outcome<()> {
        if let Some(unknown) = wanted.iter().find(|word| !["large", "attack"].contains(word)) {
            return Err(format!("'{unknown}' is no scenario; say large or attack").into());
        }
        build()?;
        if is_wanted("large") {
            large()?;
        }
        if is_wanted("attack") {
            attack()?;
        }
        Ok(())
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("neighbours: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Small mail beside large.
fn large() -> Outcome<()> {
    let server = Server::start(&["--max-message-size", "60MiB"])?;
    let small = "--conns 2 --rate 200 --warmup 1s --to small{n%50}@x.example";
    let large = "--conns 200 --size 50MiB --messages 200 --timeout 120s --to big{n%10}@x.example";
    let alone = report(server.load(&format!("{small} --duration 5s"), Priority::Own)?)?;
    let senders = server.load(large, Priority::Others)?;
    let beside = report(server.load(&format!("{small} --duration 12s"), Priority::Own)?)?;
    let large = report(senders)?;
    let accept = |report: &Value, figure: &str| -> f64 {
        report.pointer(&format!("/phases/accept/{figure}")).and_then(Value::as_f64).unwrap_or(f64::NAN) / 1e3
    };
    println!(
        "large: small mail's 250 p99 alone {:.1} ms, beside {:.1} ms ({:.1} times), p50 {:.1} and {:.1} ms; large mail: {} of 200 in {:.0} s",
        accept(&alone, "p99_us"),
        accept(&beside, "p99_us"),
        accept(&beside, "p99_us") / accept(&alone, "p99_us"),
        accept(&alone, "p50_us"),
        accept(&beside, "p50_us"),
        large["accepted"],
        large["elapsed_seconds"].as_f64().unwrap_or(f64::NAN),
    );
    Ok(())
}

/// NOOP beside clients that guess passwords and shake hands.
fn attack() -> Outcome<()> {
    let server = Server::with_account("alice@example.com", &["--tls-self-signed", "--allow-plaintext-auth"])?;
    let alone = noops(server.address, Duration::from_secs(5))?;
    let (over, counts) = (AtomicBool::new(false), Counts::default());
    let beside = thread::scope(|scope| {
        let (over, counts) = (&over, &counts);
        scope.spawn(move || guess(server.address, over, counts));
        for _ in 0..SHAKERS {
            scope.spawn(move || shake_hands(server.address, over, counts));
        }
        thread::sleep(Duration::from_secs(1)); // until the attack is under way
        let begun = (Instant::now(), Counts::get(&counts.guesses), Counts::get(&counts.handshakes));
        let beside = noops(server.address, ATTACK).map_err(|error| error.to_string());
        let seconds = begun.0.elapsed().as_secs_f64();
        over.store(true, Ordering::SeqCst);
        println!(
            "attack: {:.0} guesses/s ({} told 535, {} put off, {} sent away so far), {:.0} handshakes/s ({} failed)",
            (Counts::get(&counts.guesses) - begun.1) as f64 / seconds,
            Counts::get(&counts.wrong),
            Counts::get(&counts.put_off),
            Counts::get(&counts.sent_away),
            (Counts::get(&counts.handshakes) - begun.2) as f64 / seconds,
            Counts::get(&counts.failed),
        );
        beside
    })?;
    let figure = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "attack: NOOP p50 idle {:.0} us, attacked {:.0} us ({:.2} times; at most 2 is the goal); p99 {:.0} and {:.0} us (10,000 is the goal)",
        figure(&alone, 0.5),
        figure(&beside, 0.5),
        figure(&beside, 0.5) / figure(&alone, 0.5),
        figure(&alone, 0.99),
        figure(&beside, 0.99),
    );
    Ok(())
}

/// How long a NOOP takes, one every millisecond, in nanoseconds.
fn noops(address: SocketAddr, time: Duration) -> Outcome<Histogram<u64>> {
    let mut line = String::new();
    let mut reader = BufReader::new(connect(address)?);
    reader.read_line(&mut line)?;
    let mut histogram = Histogram::new(3)?;
    let begun = Instant::now();
    for due in (0..).map(|n| begun + n * Duration::from_millis(1)) {
        if begun.elapsed() >= time {
            return Ok(histogram);
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let sent = Instant::now();
        reader.get_mut().write_all(b"NOOP\r\n")?;
        line.clear();
        reader.read_line(&mut line)?;
        if !line.starts_with("250") {
            return Err(format!("NOOP was told {line:?}").into());
        }
        histogram.record(sent.elapsed().as_nanos() as u64)?;
    }
    unreachable!("the loop ends by its time")
}

#[derive(Default)]
struct Counts {
    guesses: AtomicU64,
    wrong: AtomicU64,
    put_off: AtomicU64,
    sent_away: AtomicU64,
    handshakes: AtomicU64,
    failed: AtomicU64,
}

impl Counts {
    fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::SeqCst);
    }

    fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::SeqCst)
    }
}

/// Tries a wrong password fifty times a second, each on a connection of its own, which stays for its reply.
fn guess(address: SocketAddr, over: &AtomicBool, counts: &Counts) {
    step_back();
    let mut open: VecDeque<(Instant, TcpStream)> = VecDeque::new();
    for due in paced(GUESSES_PER_SECOND) {
        if over.load(Ordering::SeqCst) {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let opened = connect(address).and_then(|mut stream| {
            // alice@example.com and a wrong password.
            stream.write_all(b"EHLO guesser.example\r\nAUTH PLAIN AGFsaWNlQGV4YW1wbGUuY29tAHdyb25n\r\n")?;
            Ok(stream)
        });
        if let Ok(stream) = opened {
            Counts::add(&counts.guesses);
            open.push_back((Instant::now(), stream));
        }
        while open.front().is_some_and(|(since, _)| since.elapsed() > GUESSER_STAYS) {
            let Some((_, stream)) = open.pop_front() else { break };
            count_replies(stream, counts);
        }
    }
}

fn count_replies(mut stream: TcpStream, counts: &Counts) {
    let mut heard = String::new();
    let _ = stream.set_nonblocking(true);
    match stream.read_to_string(&mut heard) {
        Err(error) if error.kind() != ErrorKind::WouldBlock => return,
        _ => {}
    }
    for line in heard.lines() {
        match line.get(..3) {
            Some("535") => Counts::add(&counts.wrong),
            Some("454") => Counts::add(&counts.put_off),
            Some("421") => Counts::add(&counts.sent_away),
            _ => {}
        }
    }
}

/// Shakes hands in full, again and again, at its share of the rate.
fn shake_hands(address: SocketAddr, over: &AtomicBool, counts: &Counts) {
    step_back();
    let client = ClientTls::new(Trust::Nobody, Resumption::Off).expect("nobody is trusted, nothing is read");
    for due in paced(HANDSHAKES_PER_SECOND / SHAKERS) {
        if over.load(Ordering::SeqCst) {
            return;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        match handshake(address, &client) {
            Ok(()) => Counts::add(&counts.handshakes),
            Err(_) => Counts::add(&counts.failed),
        }
    }
}

fn handshake(address: SocketAddr, client: &ClientTls) -> Outcome<()> {
    let mut stream = connect(address)?;
    stream.write_all(b"EHLO shaker.example\r\nSTARTTLS\r\n")?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut line = String::new();
    while !line.starts_with("220 2.0.0 ") {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Err("closed".into());
        }
    }
    let name = ServerName::new("localhost").expect("a name");
    let mut tls = Tls::client(client, &name)?;
    let (mut wire, mut plain) = (vec![0; 16 * 1024], Vec::new());
    while tls.is_handshaking() {
        tls.flush(&mut stream)?;
        let count = stream.read(&mut wire)?;
        if count == 0 {
            return Err("closed".into());
        }
        tls.receive(&wire[..count], &mut plain)?;
    }
    tls.flush(&mut stream)?;
    Ok(())
}

/// The instants at which something is due, so many a second, for ever.
fn paced(per_second: u32) -> impl Iterator<Item = Instant> {
    let begun = Instant::now();
    (0..).map(move |n: u32| begun + Duration::from_secs(1) * n / per_second)
}

/// Takes only the processor time that nobody else wants.
fn step_back() {
    let _ = rustix::process::setpriority_process(None, 19);
}

fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// A server in a directory of its own. Dropping it ends it.
struct Server {
    child: Child,
    address: SocketAddr,
    _place: TempDir,
}

/// Whose processor time comes first.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Priority {
    Own,
    Others,
}

impl Server {
    fn start(arguments: &[&str]) -> Outcome<Server> {
        Server::over(place()?, arguments)
    }

    fn with_account(address: &str, arguments: &[&str]) -> Outcome<Server> {
        let place = place()?;
        let mut user = Command::new(program("fastsmtp")?)
            .args(["user", "add", address, "--data"])
            .arg(place.path().join("data"))
            .stdin(Stdio::piped())
            .spawn()?;
        user.stdin.take().ok_or("no standard input")?.write_all(b"correct horse\n")?;
        if !user.wait()?.success() {
            return Err("the account could not be made".into());
        }
        Server::over(place, arguments)
    }

    fn over(place: TempDir, arguments: &[&str]) -> Outcome<Server> {
        let mut child = Command::new(program("fastsmtp")?)
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(place.path().join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(place.path().join("log"))?)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let mut address = None;
        for line in lines.by_ref() {
            match line? {
                line if line == "ready" => break,
                line => {
                    address = line.strip_prefix("listening smtp ").and_then(|it| it.parse().ok()).or(address)
                }
            }
        }
        let address =
            address.ok_or_else(|| fs::read_to_string(place.path().join("log")).unwrap_or_default())?;
        Ok(Server { child, address, _place: place })
    }

    /// Starts the generator against it.
    fn load(&self, arguments: &str, priority: Priority) -> Outcome<Child> {
        let loadgen = program("loadgen")?;
        let mut command = match priority {
            Priority::Own => Command::new(loadgen),
            Priority::Others => {
                let mut command = Command::new("nice");
                command.args(["-n", "19"]).arg(loadgen);
                command
            }
        };
        command.args(["--target", &self.address.to_string(), "--json", "-"]).args(arguments.split(' '));
        Ok(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the generator reports at its end.
fn report(generator: Child) -> Outcome<Value> {
    Ok(serde_json::from_slice(&generator.wait_with_output()?.stdout)?)
}

/// A directory beside the programs: on a disk, as a rule, where the system's temporary ones may be memory.
fn place() -> Outcome<TempDir> {
    Ok(tempfile::tempdir_in(built()?)?)
}

fn program(name: &str) -> Outcome<PathBuf> {
    Ok(built()?.join(name))
}

/// Where cargo puts what it builds like this program: two directories above it.
fn built() -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.parent().and_then(Path::parent).ok_or("this program lies in no target directory")?.to_owned())
}

/// Builds the programs as they are run in earnest.
fn build() -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = built()?.parent().ok_or("the target directory has no parent")?.to_owned();
    let status = Command::new(cargo)
        .args(["build", "--release", "--workspace", "--bins", "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .status()?;
    if status.success() { Ok(()) } else { Err("cargo could not build the programs".into()) }
}

const ATTACK: Duration = Duration::from_secs(10);
const GUESSES_PER_SECOND: u32 = 50;
const HANDSHAKES_PER_SECOND: u32 = 200;
/// Threads that share the handshakes, for each takes its time.
const SHAKERS: u32 = 4;
/// How long a guesser stays for its reply: longer than the delay of a first failure.
const GUESSER_STAYS: Duration = Duration::from_secs(5);
const PATIENCE: Duration = Duration::from_secs(30);
