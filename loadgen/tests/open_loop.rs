//! What only an open loop can tell, and whether it may be believed: stalls, the knee of a server of known capacity, a
//! generator that is starved of its processor. These tests are about time, so they run one after the other.

mod common;

use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use common::{Ran, Script, Seen, finish, run, serve};

/// Held by a test for as long as it runs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A server that says nothing for the sixth of every ten seconds.
fn stalling() -> Script {
    let started = Instant::now();
    let pause = Arc::new(move || {
        let into = started.elapsed().as_millis() as u64 % 10_000;
        if (5000..6000).contains(&into) { Duration::from_millis(6000 - into) } else { Duration::ZERO }
    });
    Script { pause, ..Script::default() }
}

/// A server that takes `rate` messages a second, one after the other, each not before `latency`.
fn limited(rate: f64, latency: Duration) -> Script {
    let free_at = Mutex::new(Instant::now());
    let pause = Arc::new(move || {
        let now = Instant::now();
        let mut free_at = free_at.lock().unwrap();
        *free_at = (*free_at).max(now) + Duration::from_secs_f64(1.0 / rate);
        (*free_at).duration_since(now) + latency
    });
    Script { pause_to_accept: pause, ..Script::default() }
}

/// Runs it again where the machine had no time for the generator, which says so; three times at the most.
fn run_undisturbed(target: SocketAddr, arguments: &str) -> Ran {
    let mut runs = (0..3).map(|_| run(target, arguments));
    let mut last = runs.next().expect("there are three");
    while last.code() == Some(INVALID)
        && let Some(next) = runs.next()
    {
        last = next;
    }
    last
}

const INVALID: i32 = 11;

fn p99_ms(ran: &Ran) -> f64 {
    ran.number("/phases/message/p99_us") / 1e3
}

#[test]
fn a_stall_shows_in_the_open_loop_and_hardly_in_a_closed_one() {
    let _alone = alone();
    // Both see one stall of a second in ten.
    let (target, _) = serve(stalling());
    let open = common::start(target, "--conns 20 --rate 300 --duration 10s --warmup 0s");
    let (target, _) = serve(stalling());
    let closed = common::start(target, "--conns 4 --duration 10s --warmup 0s");
    let (open, closed) = (finish(open), finish(closed));
    assert_eq!((open.text("/mode"), closed.text("/mode")), ("open".into(), "closed".into()));
    // A tenth of the messages were due in the stall, evenly: a hundredth waited for 0.9 s and more.
    assert!((700.0..1500.0).contains(&p99_ms(&open)), "{}", open.stderr);
    assert!(p99_ms(&closed) < 500.0, "{}", closed.stderr);
    assert!(closed.number("/phases/message/max_us") > 700_000.0, "it was there: {}", closed.stderr);
    assert_eq!(open.count("/offered"), 3000);
}

#[test]
fn the_knee_of_a_server_of_known_capacity_is_found() {
    let _alone = alone();
    const RATE: f64 = 330.0;
    let (target, _) = serve(limited(RATE, Duration::from_millis(50)));
    let ran = run(
        target,
        "--find-knee --rate 100 --conns 60 --slo p99<120ms,errors<0.1% --duration 2s --warmup 200ms --precision 2%",
    );
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let knee = ran.number("/sweep/knee");
    assert!((0.95 * RATE..=1.05 * RATE).contains(&knee), "{knee}: {}", ran.stderr);
    assert_eq!(ran.number("/intended_rate"), knee);
    let steps = ran.json()["sweep"]["steps"].as_array().unwrap().clone();
    assert!(steps.len() >= 8 && steps.iter().any(|step| step["met"] == false), "{}", ran.stderr);
    assert!(ran.text("/verdict").contains("knee"), "{}", ran.text("/verdict"));
}

#[test]
fn an_objective_passes_or_fails_a_run() {
    let _alone = alone();
    let (target, _) = serve(limited(5000.0, Duration::from_millis(50)));
    for (objective, code) in
        [("p99<10s", 0), ("accept.p50<1ms", 10), ("errors<0.1%,rate>10", 0), ("rate>99999", 10)]
    {
        let arguments = format!("--conns 20 --rate 100 --duration 1s --warmup 100ms --slo {objective}");
        let ran = run_undisturbed(target, &arguments);
        assert_eq!(ran.code(), Some(code), "{objective}: {}", ran.stderr);
        assert_eq!(ran.json()["objective"]["met"], code == 0);
    }
}

#[test]
fn an_open_loop_offers_what_was_asked_for_and_counts_every_start() {
    let _alone = alone();
    for arrivals in ["constant", "poisson"] {
        let (target, seen) = serve(Script::default());
        let arguments = format!("--conns 10 --rate 200 --messages 300 --arrivals {arrivals} --threads 3");
        let ran = run(target, &arguments);
        assert_eq!((ran.count("/offered"), ran.count("/accepted")), (300, 300), "{}", ran.stderr);
        assert_eq!(Seen::get(&seen.accepted), 300);
        assert!((1.0..3.0).contains(&ran.number("/elapsed_seconds")), "{}", ran.stderr);
    }
}

#[test]
fn starts_that_too_many_wait_before_are_dropped_and_make_the_run_invalid() {
    let _alone = alone();
    let (target, seen) = serve(limited(20.0, Duration::ZERO));
    let ran = run(target, "--conns 2 --rate 400 --duration 1s --warmup 0s --max-queue 10");
    assert_eq!(ran.code(), Some(11), "{}", ran.stderr);
    assert!(ran.count("/dropped") > 300, "{}", ran.stderr);
    assert_eq!(ran.count("/offered"), 400);
    assert_eq!(ran.count("/accepted"), Seen::get(&seen.accepted));
    assert_eq!(ran.json()["valid"], false);
    assert!(ran.text("/invalid_reason").contains("client-bound"), "{}", ran.text("/invalid_reason"));
}

/// Processes that keep the first processor busy until they are dropped.
struct Spinners(Vec<Child>);

impl Spinners {
    /// None where processes cannot be bound, or there is one processor only.
    fn start(count: usize) -> Option<Spinners> {
        // The server, which is of this process, answers from the others: only the generator is to be starved.
        let processors = std::thread::available_parallelism().ok()?.get();
        if processors < 2 || !bind_this_process(&format!("1-{}", processors - 1)) {
            return None;
        }
        let spin = |_| {
            Command::new("taskset")
                .args(["-c", "0", "sh", "-c", "while :; do :; done"])
                .stdin(Stdio::null())
                .spawn()
                .ok()
        };
        (0..count).map(spin).collect::<Option<Vec<Child>>>().map(Spinners)
    }
}

/// Binds all threads of this process, and those that they start, to these processors.
fn bind_this_process(processors: &str) -> bool {
    let process = std::process::id().to_string();
    let bound = Command::new("taskset").args(["-a", "-c", "-p", processors, &process]).output();
    bound.is_ok_and(|output| output.status.success())
}

impl Drop for Spinners {
    fn drop(&mut self) {
        bind_this_process("0-1023");
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_starved_generator_says_so_and_its_latencies_are_invalid() {
    let _alone = alone();
    let Some(_spinners) = Spinners::start(3) else {
        println!("skipped: there is no taskset, or one processor only");
        return;
    };
    let (target, _) = serve(Script::default());
    let starved = |arguments: &str| {
        let child = Command::new("taskset")
            .args(["-c", "0", "nice", "-n", "19", env!("CARGO_BIN_EXE_loadgen")])
            .args(["--target", &target.to_string(), "--json", "-"])
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        finish(child)
    };
    let open = starved("--conns 10 --rate 1000 --duration 2s --warmup 0s");
    assert_eq!(open.code(), Some(11), "{}", open.stderr);
    assert_eq!(
        (&open.json()["valid"], &open.json()["self_check"]["client_bound"]),
        (&false.into(), &true.into())
    );
    assert!(open.text("/verdict").contains("INVALID: client-bound"), "{}", open.text("/verdict"));
    // As a throughput a closed loop stays what it is: what this generator could do.
    let closed = starved("--conns 10 --duration 2s --warmup 0s");
    assert_eq!((closed.code(), &closed.json()["valid"]), (Some(0), &true.into()), "{}", closed.stderr);
    assert_eq!(closed.json()["self_check"]["client_bound"], true, "{}", closed.stderr);
}
