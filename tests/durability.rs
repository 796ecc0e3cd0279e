//! A 250 means durable: the real binary is killed again and again under load, over one data directory, and what its
//! clients were told is compared with what lies in the mailboxes in the end.
//!
//! `KILLS=1000 cargo test --release --test durability -- --nocapture` is the full size; `SEED=...` repeats a run's
//! choices (the moments of the kills are the machine's). What counts as a violation is said in `common/oracle.rs`.

mod common;

use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::oracle::{Oracle, PATIENT, Random, a_new_seed, number_from};
use common::server::{Server, data, spawn};

#[test]
fn whatever_kills_it_each_message_that_got_its_250_is_delivered_exactly_once() {
    let seed = number_from("SEED").unwrap_or_else(a_new_seed);
    let kills = number_from("KILLS").unwrap_or(KILLS_DEFAULT);
    println!("SEED={seed} KILLS={kills}");
    let (root, data) = data();
    let started = Instant::now();
    let mut run = Run { data, oracle: Oracle::new(seed), before_ready: 0, frozen: 0 };
    let mut random = Random(seed);
    let mut found = Vec::new();
    for round in 1..=kills {
        run.round(&mut random);
        if round == kills || round.is_multiple_of(ROUNDS_JUDGED) {
            found = run.oracle.violations_at_rest(&run.data);
            if !found.is_empty() {
                break;
            }
            run.oracle.forget(&run.data);
        }
    }
    let counts = run.oracle.counts();
    println!(
        "rounds={kills} killed_before_ready={} frozen_first={} {counts} violations={} seconds={:.1}",
        run.before_ready,
        run.frozen,
        found.len(),
        started.elapsed().as_secs_f64(),
    );
    if !found.is_empty() {
        let kept = root.keep();
        found.truncate(20);
        panic!("SEED={seed} KILLS={kills}, kept in {}:\n{}", kept.display(), found.join("\n"));
    }
    let wanted = if kills >= 1000 { 50 * kills } else { kills };
    assert!(counts.acknowledged > wanted, "there was no load to speak of: {counts}");
}

/// All rounds over one data directory.
struct Run {
    data: PathBuf,
    oracle: Oracle,
    /// Rounds whose kill came before the server was ready.
    before_ready: u64,
    /// Rounds whose server was stopped by SIGSTOP for a while before its kill.
    frozen: u64,
}

impl Run {
    /// Starts the server and kills it at a moment of chance: while it recovers, while it serves, while it stops, while
    /// it stands still.
    fn round(&mut self, random: &mut Random) {
        let while_starting = random.below(4) == 0;
        if while_starting {
            let is_ready = kill_while_it_starts(&self.data, Duration::from_micros(random.below(STARTING_US)));
            self.before_ready += u64::from(!is_ready);
            return;
        }
        // Most rounds are short. A long one is long enough for mail to be settled and segments to be used again.
        let (answers, load_time) = match random.below(8) {
            0 => (u64::MAX, Duration::from_millis(1200 + random.below(1300))),
            _ => (random.below(ANSWERS_MAX), LOAD_TIME),
        };
        let delay = Duration::from_micros(random.below(DELAY_US));
        let (is_stopping, is_frozen) = (random.below(8) == 0, random.below(8) == 0);
        let frozen_for = Duration::from_millis(random.below(FROZEN_MS));
        self.frozen += u64::from(is_frozen);
        let server = Server::start(&self.data, PATIENT);
        self.oracle.load(server, |server, heard| {
            heard.wait(answers, load_time);
            if is_stopping {
                server.signal("TERM");
            }
            thread::sleep(delay);
            if is_frozen {
                server.signal("STOP");
                thread::sleep(frozen_for);
            }
        });
    }
}

/// Whether it was ready before.
fn kill_while_it_starts(data: &Path, delay: Duration) -> bool {
    let mut child = spawn(data, &[&["--listen", "127.0.0.1:0"], PATIENT].concat());
    thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    io::read_to_string(child.stdout.take().unwrap()).unwrap().contains("ready")
}

const KILLS_DEFAULT: u64 = 15;
/// So many rounds are judged together, and then their mail is removed.
const ROUNDS_JUDGED: u64 = 100;
/// The kill comes behind so many answers of a round and so many microseconds, or when the time for load is over.
const ANSWERS_MAX: u64 = 100;
const DELAY_US: u64 = 30_000;
const LOAD_TIME: Duration = Duration::from_secs(1);
/// A server that starts is killed within so many microseconds.
const STARTING_US: u64 = 30_000;
/// A server that stands still is killed within so many milliseconds.
const FROZEN_MS: u64 = 1000;
