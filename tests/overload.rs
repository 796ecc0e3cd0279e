//! More than it can take: descriptors, mail faster than it is delivered, large mail all at once, stops under load, a
//! clock that jumps, and ten minutes of everything.
//!
//! `STOPS=20 BIG=200 BIG_MIB=50 BIG_MEMORY_MIB=256 SOAK=600 cargo test --release --test overload -- --nocapture` is the full size.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use common::load::{self, Endings};
use common::machine::{can_trace, traced};
use common::oracle::{Mail, Oracle, PATIENT, Random, a_new_seed, files_below, number_from};
use common::server::{
    BACK_IN_SERVICE, PATIENCE, PROGRAM, Server, Talk, data, delivered, has_tool, spawn_by,
    until_mail_is_taken, wait_for_mail, wait_until,
};

#[test]
fn with_128_descriptors_and_500_clients_it_rests_loses_nothing_and_serves_again() {
    let _alone = alone();
    if !has_tool("prlimit") {
        return;
    }
    let (_root, data) = data();
    let mut command = Command::new("prlimit");
    command.args(["--nofile=128:128", PROGRAM]);
    let server = Server::watch(spawn_by(command, &data, LISTEN), &data);
    let mut oracle = Oracle::new(seed());
    let mut early: Vec<Talk> = (0..4).map(|_| hello(&server)).collect();
    let crowd: Vec<TcpStream> = (0..500).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    let (before, since) = (server.processor_time(), Instant::now());
    for talk in &mut early {
        post(talk, &mut oracle);
    }
    thread::sleep(Duration::from_secs(2)); // what it burns meanwhile is what is measured
    let share = (server.processor_time() - before).as_secs_f64() / since.elapsed().as_secs_f64();
    assert!(share < 0.2, "it takes {share} of a processor");
    drop(crowd);
    let left = Instant::now();
    wait_until("it serves again", || {
        let mut talk = server.connect();
        talk.reply().starts_with("220 ")
    });
    let took = left.elapsed();
    post(&mut hello(&server), &mut oracle);
    drop(early);
    assert_eq!(server.stop().code(), Some(0));
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!(
        "descriptors=128 clients=500 processor_percent={:.0} acknowledged={} lost=0 serves_again_ms={}",
        share * 100.0,
        oracle.counts().acknowledged,
        took.as_millis()
    );
    assert!(took < BACK_IN_SERVICE, "it took {took:?}");
}

#[test]
fn however_often_it_is_stopped_under_load_it_ends_in_time_and_keeps_every_250() {
    let _alone = alone();
    let stops = number_from("STOPS").unwrap_or(STOPS_DEFAULT);
    let (_root, data) = data();
    let (mut oracle, mut random) = (Oracle::new(seed()), Random(seed()));
    let (mut longest, mut endings) = (Duration::ZERO, Endings::default());
    for _ in 0..stops {
        let server = Server::start(&data, &[]);
        let its = oracle.load(server, |server, heard| {
            heard.wait(20 + random.below(200), Duration::from_secs(3));
            let started = Instant::now();
            server.signal("TERM");
            let status = server.wait();
            longest = longest.max(started.elapsed());
            assert_eq!(status.code(), Some(0));
        });
        endings.left += its.left;
        endings.dismissed += its.dismissed;
        endings.cut += its.cut;
        endings.unserved += its.unserved;
    }
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "SEED={}: {}", oracle.seed, found.join("\n"));
    println!(
        "stops={stops} longest_ms={} {} lost=0 sessions_left={} told_421={} cut={} before_the_banner={}",
        longest.as_millis(),
        oracle.counts(),
        endings.left,
        endings.dismissed,
        endings.cut,
        endings.unserved
    );
    assert!(longest < Duration::from_secs(6), "it took {longest:?}");
    assert_eq!(endings.cut, 0, "sessions that ended without a word");
}

#[test]
fn mail_faster_than_its_delivery_is_put_off_at_the_spools_size_and_taken_again_by_itself() {
    let _alone = alone();
    if !can_trace() {
        return;
    }
    let (_root, data) = data();
    // The first deliveries' syncs take long: at most 8 MiB go out in six seconds, a fraction of what comes in.
    let command = traced(&data.with_extension("trace"), "syncfs", "syncfs:delay_enter=6000000:when=1..3");
    let limits = ["--spool-size", "256MiB", "--max-message-size", "2MiB"];
    let server = Server::watch(spawn_by(command, &data, &[LISTEN, PATIENT, &limits].concat()), &data);
    let mut oracle = Oracle::new(seed());
    let mut talks: Vec<Talk> = (0..4).map(|_| hello(&server)).collect();
    let started = Instant::now();
    let refused = 'full: loop {
        let mails: Vec<Mail> = talks.iter().map(|_| oracle.large_mail()).collect();
        for (talk, mail) in talks.iter_mut().zip(&mails) {
            let reply = load::post(talk, mail, &mut oracle);
            if !reply.starts_with("250 ") {
                break 'full reply;
            }
        }
        assert!(started.elapsed() < PATIENCE, "it is never full");
    };
    assert!(refused.starts_with("452 4.3.1 "), "{refused}");
    let (filled, out) = (started.elapsed(), delivered(&data.join("mailboxes")).len());
    let again = until_mail_is_taken(&mut talks[0]); // the slow syncs are over by then
    for talk in &mut talks {
        post(talk, &mut oracle);
    }
    talks.iter_mut().for_each(|talk| drop(talk.say("QUIT\r\n", "221")));
    assert_eq!(server.stop().code(), Some(0));
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!(
        "spool=256MiB full_after_ms={} files_out_by_then={out} acknowledged={} lost=0 taken_again_ms={}",
        filled.as_millis(),
        oracle.counts().acknowledged,
        again.as_millis()
    );
}

#[test]
fn a_clock_that_jumps_a_day_ends_no_session_and_names_no_file_twice() {
    let _alone = alone();
    let Some(library) = FAKETIME.iter().find(|path| Path::new(path).exists()) else {
        println!("skipped: libfaketime is not installed");
        return;
    };
    let (root, data) = data();
    let clock = root.path().join("clock");
    let set = |offset: &str| {
        // Whole at any moment: the program reads it at each look at its clock.
        fs::write(clock.with_extension("new"), offset).unwrap();
        fs::rename(clock.with_extension("new"), &clock).unwrap();
    };
    set("+0d");
    let mut command = Command::new("env");
    command.arg(format!("LD_PRELOAD={library}")).arg(format!("FAKETIME_TIMESTAMP_FILE={}", clock.display()));
    command.args(["FAKETIME_NO_CACHE=1", "FAKETIME_DONT_FAKE_MONOTONIC=1", "DONT_FAKE_MONOTONIC=1", PROGRAM]);
    let server = Server::watch(spawn_by(command, &data, LISTEN), &data);
    let mut oracle = Oracle::new(seed());
    let (mut idle, mut busy, mut in_data) = (hello(&server), hello(&server), hello(&server));
    let slow = oracle.mail();
    let end = load::begin(&mut in_data, &slow);
    let (first, last) = end.split_at(end.len() / 2);
    in_data.send(first);
    for offset in ["+0d", "+1d", "-1d", "+0d", "-1d", "+1d", "+0d"] {
        set(offset);
        for _ in 0..10 {
            assert!(post(&mut busy, &mut oracle).starts_with("250 "));
        }
        thread::sleep(Duration::from_millis(1100)); // deadlines are looked at once a second
        idle.say("NOOP\r\n", "250");
    }
    in_data.send(last);
    let reply = in_data.reply();
    assert!(reply.starts_with("250 "), "{reply}");
    oracle.hear(&slow, &reply);
    assert_eq!(server.stop().code(), Some(0));
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let seconds: BTreeSet<u64> = delivered(&data.join("mailboxes"))
        .iter()
        .filter_map(|file| file.file_name()?.to_str()?.split('.').next()?.parse().ok())
        .collect();
    let span = seconds.last().unwrap() - seconds.first().unwrap();
    assert!(span > 170_000, "the clock did not jump: {span} s from the first name to the last");
    println!("jumps=6 span_s={span} acknowledged={} lost=0 sessions_ended=0", oracle.counts().acknowledged);
}

#[test]
fn many_of_the_largest_messages_at_once_are_all_taken_in_the_memory_that_it_may_have() {
    let _alone = alone();
    let count = number_from("BIG").unwrap_or(100) as usize;
    let size = number_from("BIG_MIB").unwrap_or(2) << 20;
    let memory = number_from("BIG_MEMORY_MIB").unwrap_or(32) << 20;
    let (_root, data) = data();
    let (size_text, memory_text) = (size.to_string(), memory.to_string());
    let server = Server::start(&data, &["--max-message-size", &size_text, "--memory", &memory_text]);
    let mut small = hello(&server);
    let begun = Instant::now();
    let alone = delays_of_small_mail(&mut small, || begun.elapsed() > Duration::from_secs(2));
    let base = server.peak_memory();
    let (address, put_off, taken) = (server.address(), &AtomicU64::new(0), &AtomicU64::new(0));
    let line = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abc\r\n".repeat(1 << 14);
    let content = &line.repeat(size as usize / line.len());
    let beside = thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(move || {
                // Senders are other machines, as a rule: here they take only what processor time nobody else wants.
                let _ = rustix::process::setpriority_process(None, 19);
                send_until_taken(address, content, put_off);
                taken.fetch_add(1, Ordering::SeqCst);
            });
        }
        let is_over = || taken.load(Ordering::SeqCst) == count as u64 || begun.elapsed() > PATIENCE * 4;
        delays_of_small_mail(&mut small, is_over)
    });
    let more = server.peak_memory().saturating_sub(base);
    let files = wait_for_mail(&data, count + alone.len() + beside.len());
    let is_large = |file: &&PathBuf| fs::metadata(file).unwrap().len() > content.len() as u64;
    assert_eq!(files.iter().filter(is_large).count(), count);
    println!(
        "messages={count} of_mib={} memory_mib={} base_mib={} peak_above_base_mib={:.1} put_off={} \
         p99_ms_of_small_mail={:.1} alone={:.1}",
        size >> 20,
        memory >> 20,
        base >> 20,
        more as f64 / (1 << 20) as f64,
        put_off.load(Ordering::SeqCst),
        p99_ms(beside),
        p99_ms(alone)
    );
    assert!(more <= memory + (32 << 20), "{more} octets more than at the start");
    assert_eq!(put_off.load(Ordering::SeqCst), 0, "large mail goes to disk before it is put off");
    assert_eq!(server.stop().code(), Some(0));
}

/// Sends one small message after the other; how long each waited for its 250.
fn delays_of_small_mail(talk: &mut Talk, is_over: impl Fn() -> bool) -> Vec<Duration> {
    let mut delays = Vec::new();
    while !is_over() || delays.is_empty() {
        talk.begin();
        let sent = Instant::now();
        talk.say("Subject: small\r\n\r\nbeside large ones\r\n.\r\n", "250");
        delays.push(sent.elapsed());
    }
    delays
}

fn p99_ms(mut delays: Vec<Duration>) -> f64 {
    delays.sort();
    delays[delays.len() * 99 / 100].as_secs_f64() * 1000.0
}

/// Sends one message again and again until it is taken.
fn send_until_taken(address: SocketAddr, content: &str, put_off: &AtomicU64) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE * 4 {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        let steps = ["MAIL FROM:<>\r\n", "RCPT TO:<user@example.com>\r\n", "DATA\r\n", content, ".\r\n"];
        let mut reply = String::new();
        for step in steps {
            let sent = talk.stream.write_all(step.as_bytes());
            if step.len() == content.len() && sent.is_ok() {
                continue;
            }
            reply = talk.reply();
            if !reply.starts_with("250 ") && !reply.starts_with("354 ") {
                break;
            }
        }
        if reply.starts_with("250 2.0.0 queued") {
            return;
        }
        assert!(reply.starts_with("452 4.3.1 "), "{reply:?}");
        put_off.fetch_add(1, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
    }
    panic!("it is never taken");
}

#[test]
fn a_soak_leaves_no_memory_descriptors_or_threads_behind() {
    let _alone = alone();
    let time = Duration::from_secs(number_from("SOAK").unwrap_or(SOAK_DEFAULT));
    let (_root, data) = data();
    let server = Server::start(&data, &["--log", "warn"]);
    let (descriptors, threads) = (server.descriptors() + SPOOL_FILES, server.threads());
    let (address, over) = (server.address(), &AtomicBool::new(false));
    let (messages, resets, read) = (&AtomicU64::new(0), &AtomicU64::new(0), &AtomicU64::new(0));
    let (warm, hot) = thread::scope(|scope| {
        for client in 0..SOAKERS {
            scope.spawn(move || soak(address, Random(client), over, messages, resets));
        }
        // Who reads the mail; else the disk would fill.
        let mailboxes = data.join("mailboxes");
        scope.spawn(move || {
            while !over.load(Ordering::SeqCst) {
                let files = delivered(&mailboxes);
                files.iter().for_each(|file| fs::remove_file(file).unwrap());
                read.fetch_add(files.len() as u64, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(200));
            }
        });
        thread::sleep(time / 3);
        let warm = server.resident();
        thread::sleep(time - time / 3);
        let hot = server.resident();
        over.store(true, Ordering::SeqCst);
        (warm, hot)
    });
    wait_until("all connections are gone", || server.descriptors() <= descriptors);
    let grown = server.resident() as i64 - warm as i64;
    println!(
        "soak_s={} messages={} resets={} read_and_removed={} warm_kib={} hot_kib={} rest_above_warm_kib={} \
         descriptors={} threads={}",
        time.as_secs(),
        messages.load(Ordering::SeqCst),
        resets.load(Ordering::SeqCst),
        read.load(Ordering::SeqCst) + files_below(&data.join("mailboxes")).len() as u64,
        warm >> 10,
        hot >> 10,
        grown >> 10,
        server.descriptors(),
        server.threads()
    );
    assert_eq!(server.threads(), threads);
    assert!(messages.load(Ordering::SeqCst) > 0 && resets.load(Ordering::SeqCst) > 0);
    let most = if time < LONG { GROWTH_WHILE_WARMING } else { GROWTH_MAX };
    assert!(grown <= most, "{grown} octets more than when it was warm");
    assert_eq!(server.stop().code(), Some(0));
}

/// Sessions of all kinds, many of them broken off by a reset at any place.
fn soak(
    address: SocketAddr,
    mut random: Random,
    over: &AtomicBool,
    messages: &AtomicU64,
    resets: &AtomicU64,
) {
    let mut number = random.next() >> 32;
    while !over.load(Ordering::SeqCst) {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        for _ in 0..random.below(5) {
            number += 1;
            let mail = Mail::new(1, number);
            if random.below(4) > 0 {
                let end = load::begin(&mut talk, &mail);
                talk.send(end);
                let reply = talk.reply();
                assert!(reply.starts_with("250 ") || mail.is_spoiled, "{reply}");
                messages.fetch_add(1, Ordering::SeqCst);
                continue;
            }
            let mut whole = mail.mail_command().into_bytes();
            mail.rcpt_commands().for_each(|command| whole.extend_from_slice(command.as_bytes()));
            whole.extend_from_slice(b"DATA\r\n");
            whole.extend_from_slice(&mail.stuffed());
            let cut = random.below(whole.len() as u64) as usize;
            let _ = talk.stream.write_all(&whole[..cut]);
            socket2::SockRef::from(&talk.stream).set_linger(Some(Duration::ZERO)).unwrap();
            resets.fetch_add(1, Ordering::SeqCst);
            break; // dropped without a farewell, which resets it
        }
        thread::sleep(Duration::from_millis(random.below(20)));
    }
}

// Helpers.

fn hello(server: &Server) -> Talk {
    let mut talk = server.connect();
    talk.hello();
    talk
}

fn post(talk: &mut Talk, oracle: &mut Oracle) -> String {
    let mail = oracle.mail();
    load::post(talk, &mail, oracle)
}

/// Keeps the other tests of this file waiting: what is measured here is the machine's as well.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seed() -> u64 {
    number_from("SEED").unwrap_or_else(a_new_seed)
}

const LISTEN: &[&str] = &["--listen", "127.0.0.1:0"];
const STOPS_DEFAULT: u64 = 3;
const SOAK_DEFAULT: u64 = 5;
const SOAKERS: u64 = 8;
/// Descriptors of segments that the log opens later.
const SPOOL_FILES: usize = 4;
/// Octets of resident memory above those of a third of the time, once that is long enough to have been everywhere.
const GROWTH_MAX: i64 = 2 << 20;
const GROWTH_WHILE_WARMING: i64 = 16 << 20;
const LONG: Duration = Duration::from_secs(300);
const FAKETIME: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
    "/usr/lib/faketime/libfaketime.so.1",
];
