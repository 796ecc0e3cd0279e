//! NOOP every millisecond, beside 50 clients a second that try wrong passwords and 200 a second that shake hands in full.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastsmtp::net::tls::{ClientTls, Resumption, Trust};
use hdrhistogram::Histogram;

use super::Outcome;
use super::client::{Client, connect};
use super::server::Server;

/// NOOP beside clients that guess passwords and shake hands.
pub fn run() -> Outcome<()> {
    let accounts = ["alice@example.com".to_owned()];
    let server = Server::with_accounts(&accounts, &["--tls-self-signed", "--allow-plaintext-auth"])?;
    let before = noops(server.address, IDLE)?;
    let beside = attacked(server.address)?;
    thread::sleep(Duration::from_secs(2)); // until the worker is done with the passwords that wait
    let after = noops(server.address, IDLE)?;
    let mut idle = before.clone();
    idle.add(&after)?;
    let figure = |histogram: &Histogram<u64>, quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    println!(
        "attack: NOOP p50 idle {:.0} us ({:.0} before, {:.0} after), attacked {:.0} us ({:.2} times; at most 2 is the goal); p99 {:.0} and {:.0} us (10,000 is the goal)",
        figure(&idle, 0.5),
        figure(&before, 0.5),
        figure(&after, 0.5),
        figure(&beside, 0.5),
        figure(&beside, 0.5) / figure(&idle, 0.5),
        figure(&idle, 0.99),
        figure(&beside, 0.99),
    );
    Ok(())
}

/// What NOOPs take while the attack is under way; prints of what it consisted.
fn attacked(address: SocketAddr) -> Outcome<Histogram<u64>> {
    let (over, counts) = (&AtomicBool::new(false), &Counts::default());
    let beside = thread::scope(|scope| {
        scope.spawn(move || guess(address, over, counts));
        for _ in 0..SHAKERS {
            scope.spawn(move || shake_hands(address, over, counts));
        }
        thread::sleep(Duration::from_secs(1)); // until the attack is under way
        let begun = (Instant::now(), Counts::get(&counts.guesses), Counts::get(&counts.handshakes));
        let beside = noops(address, ATTACK).map_err(|error| error.to_string());
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
    Ok(beside)
}

/// How long a NOOP takes, one every millisecond, in nanoseconds. One that is due while its predecessor waits counts from
/// then on, not from when it could be said.
fn noops(address: SocketAddr, time: Duration) -> Outcome<Histogram<u64>> {
    let mut client = Client::connect(address)?;
    let mut histogram = Histogram::new(3)?;
    let begun = Instant::now();
    for due in paced(1000) {
        if begun.elapsed() >= time {
            break;
        }
        let is_late = Instant::now() > due;
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = if is_late { due } else { Instant::now() };
        client.say("NOOP", "250")?;
        histogram.record(asked.elapsed().as_nanos() as u64)?;
    }
    Ok(histogram)
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

fn handshake(address: SocketAddr, tls: &ClientTls) -> Outcome<()> {
    let mut client = Client::connect(address)?;
    client.say("EHLO shaker.example", "250")?;
    client.into_tls(tls)?;
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

/// How long it is measured before the attack, and after.
const IDLE: Duration = Duration::from_secs(5);
const ATTACK: Duration = Duration::from_secs(10);
const GUESSES_PER_SECOND: u32 = 50;
const HANDSHAKES_PER_SECOND: u32 = 200;
/// Threads that share the handshakes, for each takes its time.
const SHAKERS: u32 = 4;
/// How long a guesser stays for its reply: longer than the delay of a first failure.
const GUESSER_STAYS: Duration = Duration::from_secs(5);
