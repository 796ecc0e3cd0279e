//! Disks that fail, that are full and that are slow, under the real binary: what clients are told then, and what holds
//! of what they were told before.
//!
//! `FAULTS=50 cargo test --release --test faults -- --nocapture` is the full size: errors at each of
//! the first 50 syncs and writes. Errors come from strace (each thread counts for itself: the committer, the courier,
//! the one that makes segments), shortages from file systems that are really full. What the machine does not allow is
//! skipped, and says so.

mod common;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use common::load::{begin, post};
use common::machine::{Call, Mount, calls, can_trace, is_root, traced};
use common::oracle::{ALARMS, Mail, Oracle, a_new_seed, number_from};
use common::server::{
    BACK_IN_SERVICE, Server, Talk, data, log_of, spawn, spawn_by, until_mail_is_taken, wait_for_mail,
    wait_until,
};
use fastsmtp::limits::SPILL_BEYOND;

// A disk that fails.

#[test]
fn when_a_sync_fails_nobody_gets_a_250_it_is_never_tried_again_and_all_earlier_ones_hold() {
    fails_at_each("fdatasync", "fdatasync", "syncing the spool");
}

#[test]
fn when_a_write_fails_nobody_gets_a_250_and_all_earlier_ones_hold() {
    fails_at_each("pwritev", "pwritev,fdatasync", "writing to the spool");
}

/// EIO at the nth `call` of each thread, for one n after the other: n - 1 messages are answered one by one, then eight
/// arrive at the same instant.
fn fails_at_each(call: &str, trace: &str, doing: &str) {
    if !can_trace() {
        return;
    }
    let (seed, count) = (seed(), number_from("FAULTS").unwrap_or(FAULTS_DEFAULT));
    let started = Instant::now();
    let (mut acknowledged, mut together, mut said) = (0, 0, 0);
    for n in 1..=count {
        let (_root, data) = data();
        let file = data.with_extension("trace");
        let command = traced(&file, trace, &format!("{call}:error=EIO:when={n}"));
        let mut server = Server::watch(spawn_by(command, &data, LISTEN), &data);
        let mut oracle = Oracle::new(seed ^ n);
        oracle.alarms = ALARMS;
        let mut crowd: Vec<(Talk, Mail, Vec<u8>)> = (0..8)
            .map(|_| {
                let (mut talk, mail) = (hello(&server), oracle.mail());
                let end = begin(&mut talk, &mail);
                (talk, mail, end)
            })
            .collect();
        let mut early = hello(&server);
        // A second without mail would give the courier's settlements a batch of their own: then the fault is theirs.
        let is_at_fault = (1..n).all(|_| {
            let mail = oracle.mail();
            let is_taken = post(&mut early, &mail, &mut oracle).starts_with("250 ");
            acknowledged += u64::from(is_taken);
            is_taken
        });
        if is_at_fault {
            server.signal("STOP"); // so that the eight meet in one batch
        }
        for (talk, _, end) in &mut crowd {
            let _ = talk.stream.write_all(end);
        }
        if is_at_fault {
            server.signal("CONT");
        }
        for (talk, mail, _) in &mut crowd {
            let reply = talk.rest();
            assert!(reply.is_empty() || reply.starts_with("451 4.3.0 "), "{call} {n}: {reply:?}");
            together += u64::from(is_at_fault);
            said += u64::from(!reply.is_empty());
            oracle.hear(mail, "");
        }
        assert_eq!(server.wait().code(), Some(74), "{call} {n}");
        let error = format!(
            "fastsmtp: the log cannot be written: {doing}: Input/output error (os error 5); \
             recovery will judge what the disk holds\n"
        );
        let log = server.log();
        assert!(log.ends_with(&error) && log.matches("fastsmtp: ").count() == 1, "{call} {n}: {log}");
        assert_eq!(touched_after_a_fault(&calls(&file)), [] as [String; 0], "{call} {n}");
        let found = oracle.violations_at_rest(&data);
        assert!(found.is_empty(), "SEED={seed}, {call} {n}: {}", found.join("\n"));
    }
    println!(
        "faults={count} call={call} acknowledged_before={acknowledged} lost=0 answered_250_in_a_failed_batch=0 of \
         {together} told_451={said} synced_again=0 seconds={:.1}",
        started.elapsed().as_secs_f64()
    );
}

/// What was done to a file of the log after it failed.
fn touched_after_a_fault(calls: &[Call]) -> Vec<String> {
    let failed: Vec<&Call> = calls
        .iter()
        .filter(|call| call.is_injected && call.path.extension().is_some_and(|e| e == "seg"))
        .collect();
    assert!(!failed.is_empty(), "no fault struck the log");
    let is_after =
        |call: &&Call| failed.iter().any(|fault| call.path == fault.path && call.begin > fault.end);
    calls.iter().filter(is_after).map(|call| format!("{call:?}")).collect()
}

#[test]
fn when_the_disk_fails_at_the_start_it_says_so_and_the_next_start_has_everything() {
    if !can_trace() {
        return;
    }
    let (_root, data) = data();
    let mut oracle = Oracle::new(seed());
    let server = Server::start(&data, &[]);
    let mut talk = hello(&server);
    for _ in 0..5 {
        let mail = oracle.mail();
        post(&mut talk, &mail, &mut oracle);
    }
    server.kill();
    let before = fs::read_to_string(log_of(&data)).unwrap().len();
    let command = traced(&data.with_extension("trace"), "fdatasync", "fdatasync:error=EIO:when=1");
    let mut child = spawn_by(command, &data, LISTEN);
    assert_eq!(child.wait().unwrap().code(), Some(74));
    let log = fs::read_to_string(log_of(&data)).unwrap();
    let said = &log[before..];
    assert!(
        said.starts_with("fastsmtp: ") && said.ends_with(".seg: Input/output error (os error 5)\n"),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1, "{said}");
    assert_eq!(oracle.violations_at_rest(&data), [] as [String; 0]);
    assert_eq!(oracle.counts().acknowledged, 5);
}

// A disk that is full.

#[test]
fn a_write_without_space_is_452_and_the_next_message_is_taken() {
    if !can_trace() {
        return;
    }
    let (seed, count) = (seed(), 4 * number_from("FAULTS").unwrap_or(FAULTS_DEFAULT));
    let started = Instant::now();
    let (mut acknowledged, mut refused) = (0, 0);
    // Every seventh write fails, and each of the first `count` in one of the runs.
    for first in 1..=EVERY.min(count) {
        let (_root, data) = data();
        let file = data.with_extension("trace");
        let command = traced(&file, "pwritev", &format!("pwritev:error=ENOSPC:when={first}+{EVERY}"));
        let server = Server::watch(spawn_by(command, &data, LISTEN), &data);
        let mut oracle = Oracle::new(seed ^ first);
        oracle.alarms = ALARMS;
        let mut talk = hello(&server);
        let mut was_refused = false;
        for _ in 0..count {
            // A large one is written by another thread, whose writes are counted, and fail, apart.
            let small =
                std::iter::repeat_with(|| oracle.mail()).find(|mail| mail.content.len() < SPILL_BEYOND);
            let mail = small.expect("most are");
            let reply = post(&mut talk, &mail, &mut oracle);
            let is_refused = reply.starts_with("452 4.3.1 ");
            assert!(is_refused || reply.starts_with("250 "), "{reply}");
            assert!(
                !(is_refused && was_refused),
                "SEED={seed}, {first}: no space twice, when it failed once"
            );
            was_refused = is_refused;
        }
        acknowledged += oracle.counts().acknowledged;
        refused += oracle.counts().refused;
        talk.say("QUIT\r\n", "221");
        assert_eq!(server.stop().code(), Some(0));
        let found = oracle.violations_at_rest(&data);
        assert!(found.is_empty(), "SEED={seed}, {first}: {}", found.join("\n"));
    }
    assert!(refused > 0, "no fault struck");
    println!(
        "writes={count} acknowledged={acknowledged} lost=0 told_452={refused} left_over=0 seconds={:.1}",
        started.elapsed().as_secs_f64()
    );
}

#[test]
fn a_start_without_space_refuses_mail_and_takes_it_once_there_is() {
    if !can_trace() {
        return;
    }
    let (_root, data) = data();
    let command = traced(&data.with_extension("trace"), "fallocate", "fallocate:error=ENOSPC:when=1");
    let server = Server::watch(spawn_by(command, &data, LISTEN), &data);
    let mut talk = hello(&server);
    talk.say("MAIL FROM:<sender@client.example>\r\n", "452 4.3.1 ");
    let took = until_mail_is_taken(&mut talk);
    assert!(took < BACK_IN_SERVICE, "it took {took:?}");
    println!("mail is taken {} ms after a start without space", took.as_millis());
    let mut oracle = Oracle::new(seed());
    let mail = oracle.mail();
    assert!(post(&mut talk, &mail, &mut oracle).starts_with("250 "));
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(oracle.violations_at_rest(&data), [] as [String; 0]);
}

#[test]
fn on_a_full_disk_mail_is_put_off_and_taken_by_itself_once_there_is_space() {
    put_off_while("size=448m", |data| {
        let path = data.join("filler");
        let mut filler = fs::File::create(&path).unwrap();
        while filler.write_all(&[0; 1 << 16]).is_ok() {}
        vec![path]
    });
}

#[test]
fn without_inodes_mail_is_put_off_and_taken_by_itself_once_there_are_some() {
    put_off_while("size=448m,nr_inodes=2000", |data| {
        let names = (0..).map(|n| data.join(format!("filler-{n}")));
        names.take_while(|path| fs::File::create(path).is_ok()).collect()
    });
}

/// Fills a tmpfs by what `fill` does, sends until mail is put off, removes the files that `fill` names.
fn put_off_while(options: &str, fill: impl FnOnce(&Path) -> Vec<PathBuf>) {
    if !is_root() {
        return;
    }
    let (_root, data) = data();
    fs::create_dir(&data).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", options, "tmpfs"], &data) else { return };
    let mut oracle = Oracle::new(seed());
    oracle.alarms = ALARMS;
    let server = Server::start(&data, &["--spool-size", "256MiB", "--max-message-size", "2MiB"]);
    let segments = || {
        let names = fs::read_dir(data.join("spool")).unwrap().map(|entry| entry.unwrap().file_name());
        names
            .filter(|name| {
                name.to_str().is_some_and(|name| !name.starts_with("free") && name.ends_with(".seg"))
            })
            .count()
    };
    wait_until("the second segment is ready", || segments() >= 2);
    let fillers = fill(&data);
    let mut talk = hello(&server);
    let reply = loop {
        talk.send("MAIL FROM:<>\r\nRSET\r\n"); // to see whether it is put off here already
        let reply = talk.reply();
        talk.reply();
        if !reply.starts_with("250 ") {
            break reply;
        }
        let mail = oracle.large_mail();
        let reply = post(&mut talk, &mail, &mut oracle);
        if !reply.starts_with("250 ") {
            break reply;
        }
        assert!(oracle.counts().acknowledged < 1000, "more than there is room for");
    };
    assert!(reply.starts_with("452 4.3.1 "), "{reply}");
    for _ in 0..3 {
        let mail = oracle.mail();
        talk.send(mail.mail_command());
        let reply = talk.reply();
        assert!(reply.starts_with("452 4.3.1 ") || reply.starts_with("250 "), "{reply}");
        talk.say("RSET\r\n", "250");
    }
    talk.say("NOOP\r\n", "250");
    fillers.iter().for_each(|file| fs::remove_file(file).unwrap());
    let took = until_mail_is_taken(&mut talk);
    assert!(took < BACK_IN_SERVICE, "it took {took:?}");
    let mail = oracle.mail();
    assert!(post(&mut talk, &mail, &mut oracle).starts_with("250 "));
    assert_eq!(server.stop().code(), Some(0));
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "{}", found.join("\n"));
    println!(
        "{options}: acknowledged={} lost=0 left_over=0; mail is taken {} ms after there is space",
        oracle.counts().acknowledged,
        took.as_millis()
    );
}

// A disk that takes no writes.

#[test]
fn on_a_read_only_disk_it_does_not_start_and_says_so_and_the_next_start_has_everything() {
    if !is_root() {
        return;
    }
    let (_root, data) = data();
    fs::create_dir(&data).unwrap();
    let Some(_mount) = Mount::new(&["-t", "tmpfs", "-o", "size=448m", "tmpfs"], &data) else { return };
    let mut oracle = Oracle::new(seed());
    let server = Server::start(&data, &[]);
    let mut talk = hello(&server);
    for _ in 0..5 {
        let mail = oracle.mail();
        post(&mut talk, &mail, &mut oracle);
    }
    server.kill();
    let before = fs::read_to_string(log_of(&data)).unwrap().len();
    let Some(read_only) = Mount::new(&["-o", "remount,ro"], &data) else { return };
    let code = spawn(&data, LISTEN).wait().unwrap().code();
    let log = fs::read_to_string(log_of(&data)).unwrap();
    let said = &log[before..];
    assert!(code.is_some_and(|code| [73, 74, 77].contains(&code)), "{code:?}: {said}");
    assert!(said.starts_with("fastsmtp: ") && said.contains("Read-only file system"), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    std::mem::forget(read_only); // the same mount, under another option
    std::mem::forget(Mount::new(&["-o", "remount,rw"], &data));
    assert_eq!(oracle.violations_at_rest(&data), [] as [String; 0]);
    assert_eq!(oracle.counts().acknowledged, 5);
}

#[test]
fn mailboxes_that_turn_read_only_hold_up_nobody_elses_mail_and_get_theirs_afterwards() {
    if !is_root() {
        return;
    }
    let (_root, data) = data();
    let domain = data.join("mailboxes/one.example");
    fs::create_dir_all(&domain).unwrap();
    let path = domain.to_str().unwrap();
    let Some(mount) = Mount::new(&["--bind", path], &domain) else { return };
    if Mount::new(&["-o", "remount,bind,ro"], &domain).map(std::mem::forget).is_none() {
        return;
    }
    let server = Server::start(&data, &[]);
    let mut oracle = Oracle::new(seed());
    let mut talk = hello(&server);
    let mut elsewhere = 0;
    for _ in 0..40 {
        let mail = oracle.mail();
        elsewhere += mail.recipients.iter().filter(|recipient| recipient.ends_with("@two.example")).count();
        assert!(post(&mut talk, &mail, &mut oracle).starts_with("250 "));
    }
    let others = wait_for_mail(&data, elsewhere);
    assert!(elsewhere > 0 && others.len() == elsewhere, "{} of {elsewhere}", others.len());
    drop(mount);
    assert_eq!(server.stop().code(), Some(0));
    let found = oracle.violations_at_rest(&data);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

// A disk that is slow.

#[test]
fn no_250_comes_before_its_sync_is_over_and_others_are_served_meanwhile() {
    if !can_trace() {
        return;
    }
    let count = number_from("FAULTS").unwrap_or(FAULTS_DEFAULT);
    let (_root, data) = data();
    let delay = format!("fdatasync:delay_enter={}", SYNC_DELAY.as_micros());
    let command = traced(&data.with_extension("trace"), "fdatasync", &delay);
    let server = Server::watch(spawn_by(command, &data, LISTEN), &data);
    let mut oracle = Oracle::new(seed());
    let (mut talk, mut other) = (hello(&server), hello(&server));
    let mut waits = Vec::new();
    let mut noops = Vec::new();
    for _ in 0..count {
        let mail = oracle.mail();
        let end = begin(&mut talk, &mail);
        let sent = Instant::now();
        talk.send(end);
        let between = noops.len();
        while sent.elapsed() < SYNC_DELAY - SYNC_DELAY / 4 {
            let asked = Instant::now();
            other.say("NOOP\r\n", "250");
            noops.push(asked.elapsed());
            thread::sleep(Duration::from_millis(2));
        }
        let reply = talk.reply();
        waits.push(sent.elapsed());
        assert!(reply.starts_with("250 ") && noops.len() > between, "{reply}");
        oracle.hear(&mail, &reply);
    }
    let earliest = waits.into_iter().min().unwrap();
    assert!(earliest >= SYNC_DELAY, "a 250 came {earliest:?} after its dot");
    noops.sort();
    println!(
        "messages={count} earliest_250_ms={} noops={} noop_p99_ms={:.1}",
        earliest.as_millis(),
        noops.len(),
        noops[noops.len() * 99 / 100].as_secs_f64() * 1000.0
    );
    server.kill();
    assert_eq!(oracle.violations_at_rest(&data), [] as [String; 0]);
}

// Helpers.

fn hello(server: &Server) -> Talk {
    let mut talk = server.connect();
    talk.hello();
    talk
}

fn seed() -> u64 {
    let seed = number_from("SEED").unwrap_or_else(a_new_seed);
    println!("SEED={seed}");
    seed
}

const LISTEN: &[&str] = &["--listen", "127.0.0.1:0"];
const FAULTS_DEFAULT: u64 = 3;
/// Writes from one without space to the next.
const EVERY: u64 = 7;
const SYNC_DELAY: Duration = Duration::from_millis(500);
