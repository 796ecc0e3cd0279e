//! What a client learns by the time that a no takes: an unknown user and a wrong password beside each other, in an order
//! of chance, each on a connection of its own.
//!
//! The no itself comes late, and when the server's timers look, which is once a second: its time spreads over a second. So
//! two more are measured that nothing blurs: the SCRAM challenge, which comes at once, and a right login that waits behind
//! the wrong one for the worker that judges passwords, which shows how long that one took.
//!
//! Each line has the deciles, the difference of the medians, and the Kolmogorov-Smirnov statistic of the two samples: the
//! largest distance between their distributions, which chance alone exceeds once in a hundred times beyond the value
//! beside it.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastsmtp::wire::sasl::{self, Scram};

use super::Outcome;
use super::client::Client;
use super::server::{PASSWORD, Server};

/// Prints the figures of each time that a client can take.
pub fn run() -> Outcome<()> {
    let accounts: Vec<String> = (0..ACCOUNTS).map(known).collect();
    let server = Server::with_accounts(&accounts, &["--allow-plaintext-auth"])?;
    let address = server.address;
    println!("timing: the time from a wrong login to its end, of unknown users and of wrong passwords");
    print("SCRAM, AUTH to challenge", &measured(CHALLENGES, 1, |user| challenge(address, user))?);
    print("PLAIN, a right login behind it", &measured(BEHIND, 1, |user| plain_behind(address, user))?);
    print("PLAIN, AUTH to 535", &measured(LATE, CROWD, |user| plain_no(address, user))?);
    print("SCRAM, AUTH to 535", &measured(LATE, CROWD, |user| scram_no(address, user))?);
    Ok(())
}

/// The name of a user that exists, or of one that does not: both are of the same length.
fn known(number: usize) -> String {
    format!("user{number:04}@example.com")
}

fn user(kind: usize) -> String {
    match kind {
        UNKNOWN => known(fastrand::usize(ACCOUNTS..10_000)),
        _ => known(fastrand::usize(..ACCOUNTS)),
    }
}

/// What each kind of login took, in seconds and sorted, by their number: unknown users first.
type Samples = [Vec<f64>; 2];

/// Takes so many times of each kind, as many at once as the crowd has members.
fn measured(each: usize, crowd: usize, take: impl Fn(&str) -> Outcome<Duration> + Sync) -> Outcome<Samples> {
    let mut kinds: Vec<usize> = (0..2 * each).map(|n| n % 2).collect();
    fastrand::shuffle(&mut kinds);
    let (next, samples) = (&AtomicUsize::new(0), &Mutex::new(Samples::default()));
    let work = || -> Result<(), String> {
        while let Some(&kind) = kinds.get(next.fetch_add(1, Ordering::SeqCst)) {
            let time = take(&user(kind)).map_err(|error| error.to_string())?;
            samples.lock().expect("nobody panics with it")[kind].push(time.as_secs_f64());
        }
        Ok(())
    };
    thread::scope(|scope| {
        let members: Vec<_> = (0..crowd).map(|_| scope.spawn(work)).collect();
        members.into_iter().try_for_each(|member| member.join().expect("nobody panics"))
    })?;
    let mut samples = std::mem::take(&mut *samples.lock().expect("nobody panics with it"));
    samples.iter_mut().for_each(|sample| sample.sort_by(f64::total_cmp));
    Ok(samples)
}

fn plain_no(address: SocketAddr, user: &str) -> Outcome<Duration> {
    out_of_step();
    let mut client = greeted(address)?;
    let begun = Instant::now();
    client.say(&plain(user, "wrong"), "535")?;
    Ok(begun.elapsed())
}

/// What a right login takes behind a wrong one.
fn plain_behind(address: SocketAddr, user: &str) -> Outcome<Duration> {
    let (mut wrong, mut right) = (greeted(address)?, greeted(address)?);
    let begun = Instant::now();
    wrong.tell(&plain(user, "wrong"))?;
    right.say(&plain(&known(0), PASSWORD), "235")?;
    Ok(begun.elapsed())
}

fn challenge(address: SocketAddr, user: &str) -> Outcome<Duration> {
    let mut client = greeted(address)?;
    let scram = Scram::new(user, &nonce());
    let line = format!("AUTH SCRAM-SHA-256 {}", sasl::encode(&scram.first()));
    let begun = Instant::now();
    client.say(&line, "334")?;
    Ok(begun.elapsed())
}

fn scram_no(address: SocketAddr, user: &str) -> Outcome<Duration> {
    out_of_step();
    let mut client = greeted(address)?;
    let scram = Scram::new(user, &nonce());
    let begun = Instant::now();
    let reply = client.say(&format!("AUTH SCRAM-SHA-256 {}", sasl::encode(&scram.first())), "334")?;
    let message = sasl::decode(reply.trim_start_matches("334 ").as_bytes())?;
    // No password's key: to make one of a wrong password would cost 0.2 s of ours, and tell the server nothing else.
    let (proof, _) = scram.proof(&scram.challenge(&message)?, &[7; 32]);
    client.say(&sasl::encode(&proof), "535")?;
    Ok(begun.elapsed())
}

/// Waits up to a second: all that hear their no in the same moment would begin anew in the same moment.
fn out_of_step() {
    thread::sleep(Duration::from_secs_f64(fastrand::f64()));
}

fn greeted(address: SocketAddr) -> Outcome<Client> {
    let mut client = Client::connect(address)?;
    client.say("EHLO guesser.example", "250")?;
    Ok(client)
}

fn plain(user: &str, password: &str) -> String {
    format!("AUTH PLAIN {}", sasl::encode(&sasl::plain(user, password)))
}

fn nonce() -> String {
    format!("{:032x}", fastrand::u128(..))
}

fn print(what: &str, samples: &Samples) {
    let [unknown, wrong] = samples;
    let deciles =
        |sample: &[f64]| [0.1, 0.5, 0.9].map(|q| format!("{:.3}", quantile(sample, q) * 1e3)).join(" / ");
    println!(
        "timing: {what}: {} of each; p10 / p50 / p90 of an unknown user {} ms, of a wrong password {} ms; medians differ by {:+.2} %; D {:.4}, by chance below {:.4}",
        unknown.len(),
        deciles(unknown),
        deciles(wrong),
        (quantile(unknown, 0.5) / quantile(wrong, 0.5) - 1.0) * 100.0,
        largest_distance(unknown, wrong),
        critical(unknown.len(), wrong.len()),
    );
}

fn quantile(sorted: &[f64], q: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * q).round() as usize]
}

/// The two-sample Kolmogorov-Smirnov statistic of sorted samples.
fn largest_distance(a: &[f64], b: &[f64]) -> f64 {
    let share = |sample: &[f64], x: f64| sample.partition_point(|y| *y <= x) as f64 / sample.len() as f64;
    a.iter().chain(b).map(|x| (share(a, *x) - share(b, *x)).abs()).fold(0.0, f64::max)
}

/// What it exceeds by chance once in a hundred times: `sqrt(-ln(0.01 / 2) / 2 * (n + m) / (n m))`.
fn critical(n: usize, m: usize) -> f64 {
    let (n, m) = (n as f64, m as f64);
    (-(0.01f64 / 2.0).ln() / 2.0 * (n + m) / (n * m)).sqrt()
}

const UNKNOWN: usize = 0;
const ACCOUNTS: usize = 8;
/// Times of each kind: those that wait a second, those that wait for the worker, and those that wait for nothing.
const LATE: usize = 400;
const BEHIND: usize = 400;
const CHALLENGES: usize = 5000;
/// Clients that wait for their no at the same time: a third of the passwords that the worker judges in that time.
const CROWD: usize = 16;
