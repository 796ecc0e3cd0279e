//! What loadgen reports is what happened: the server's counts and its own agree, whatever the server does.

mod common;

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::{Script, Seen, finish, run, serve, start};

#[test]
fn lockstep_and_pipelined_runs_count_what_the_server_counted() {
    for (mode, receives_a_message) in [("lockstep", 3), ("pipeline", 1)] {
        let (target, seen) = serve(Script::default());
        let ran = run(target, &format!("--conns 3 --messages 200 --size 3KiB --mode {mode}"));
        assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
        assert_eq!((ran.count("/accepted"), Seen::get(&seen.accepted)), (200, 200), "{mode}");
        assert_eq!((ran.count("/phases/message/count"), ran.count("/phases/accept/count")), (200, 200));
        assert_eq!((ran.replies(250), ran.replies(354), ran.replies(221)), (3 + 600, 200, 3));
        assert_eq!(Seen::get(&seen.data_octets), 200 * (3072 + 3));
        // EHLO and QUIT of each connection, and what a message takes.
        assert_eq!(Seen::get(&seen.receives), 3 * 2 + 200 * receives_a_message, "{mode}");
        assert_eq!(Seen::get(&seen.quits), 3);
        let json = ran.json();
        assert_eq!((json["schema_version"].as_u64(), json["mode"].as_str()), (Some(2), Some("closed")));
        assert_eq!(ran.text("/speaking/grouping"), mode);
        assert_eq!((json["valid"].as_bool(), json["ending"].as_str()), (Some(true), Some("complete")));
        assert_eq!(ran.count("/offered"), 200);
        assert!(json["messages_per_second"].as_f64().is_some_and(|rate| rate > 0.0));
    }
}

#[test]
fn a_run_by_time_counts_every_message_in_one_of_its_stretches() {
    let (target, seen) = serve(Script::default());
    let ran = run(target, "--conns 4 --duration 300ms --warmup 100ms");
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let all = ran.count("/accepted") + ran.count("/warm_up/accepted");
    assert_eq!(all, Seen::get(&seen.accepted));
    assert_eq!(ran.count("/offered") + ran.count("/warm_up/offered"), all);
    assert_eq!(ran.count("/phases/connect/count"), 4);
    let intervals = ran.json()["intervals"].as_array().unwrap().clone();
    let sum = |name: &str| intervals.iter().map(|second| second[name].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("offered"), sum("accepted")), (ran.count("/offered"), ran.count("/accepted")));
    assert!(ran.stderr.contains("closed loop"), "{}", ran.stderr);
}

#[test]
fn every_recipient_is_named_and_connections_may_be_opened_for_each_message() {
    let (target, seen) = serve(Script::default());
    let ran = run(target, "--conns 2 --messages 20 --rcpts 7 --messages-per-conn 1");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 20), "{}", ran.stderr);
    assert_eq!(Seen::get(&seen.recipients), 140);
    assert!(Seen::get(&seen.quits) >= 20);
    assert!(ran.count("/phases/connect/count") >= 20);
    assert_eq!(ran.count("/connection_failures/reset"), 0);
}

#[test]
fn nothing_is_pipelined_that_is_not_offered_and_the_report_says_so() {
    let (target, seen) = serve(Script { ehlo: "250 mx.example\r\n", ..Script::default() });
    let ran = run(target, "--conns 1 --messages 10 --mode pipeline");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 10));
    assert_eq!(Seen::get(&seen.receives), 2 + 30);
    assert!(ran.text("/speaking/in_force").contains("PIPELINING is not offered"));
    assert!(ran.stderr.contains("PIPELINING is not offered"), "{}", ran.stderr);
}

#[test]
fn refusals_are_counted_by_class_and_the_verdict_quotes_one() {
    let transient = Script { mail: "451 4.3.0 later\r\n", ..Script::default() };
    let permanent = Script { rcpt: "550 5.1.1 nobody\r\n", ..Script::default() };
    let at_the_dot = Script { accept: |_| Some("452 4.3.1 full\r\n"), ..Script::default() };
    for mode in ["lockstep", "pipeline"] {
        for (script, pointer, quote) in [
            (&transient, "/refused_transient", "451 4.3.0 later"),
            (&permanent, "/refused_permanent", "550 5.1.1 nobody"),
            (&at_the_dot, "/refused_transient", "452 4.3.1 full"),
        ] {
            let (target, seen) = serve(script.clone());
            let ran = run(target, &format!("--conns 2 --messages 50 --mode {mode}"));
            assert_eq!((ran.code(), ran.count(pointer), ran.count("/accepted")), (Some(3), 50, 0), "{quote}");
            assert_eq!(Seen::get(&seen.accepted), 0);
            let json = ran.json();
            let verdict = json["verdict"].as_str().unwrap_or_default();
            assert!(verdict.contains("nothing was accepted") && verdict.contains(quote), "{verdict}");
            assert_eq!(json["messages_per_second"].as_f64(), Some(0.0));
        }
    }
}

#[test]
fn a_server_that_closes_in_the_midst_leaves_messages_unanswered_and_is_asked_again() {
    let (target, seen) =
        serve(Script { accept: |message| (message < 3).then_some("250 2.0.0 ok\r\n"), ..Script::default() });
    let ran = run(target, "--conns 2 --messages 40");
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert_eq!(ran.count("/accepted"), Seen::get(&seen.accepted));
    assert_eq!(ran.count("/accepted") + ran.count("/broken"), 40);
    assert!(ran.count("/broken") >= 9);
    assert_eq!(ran.count("/connection_failures/reset"), ran.count("/broken"));
    assert!(ran.stderr.contains("NOT accepted"), "{}", ran.stderr);
}

#[test]
fn service_closed_with_421_is_a_refusal() {
    let (target, seen) = serve(Script {
        accept: |message| Some(if message == 0 { "250 2.0.0 ok\r\n" } else { "421 4.3.2 going\r\n" }),
        ..Script::default()
    });
    let ran = run(target, "--conns 1 --messages 6");
    assert_eq!((ran.count("/accepted"), ran.count("/refused_transient")), (3, 3));
    assert_eq!(Seen::get(&seen.accepted), 3);
    assert_eq!(ran.count("/connection_failures/refused"), 3);
}

#[test]
fn a_reply_that_never_comes_is_a_timeout() {
    // A reply that is not whole, for ever.
    let (target, _) = serve(Script { accept: |_| Some("250-almost\r\n"), ..Script::default() });
    let ran = run(target, "--conns 2 --messages 3 --timeout 1s");
    assert_eq!((ran.code(), ran.count("/timed_out")), (Some(3), 3), "{}", ran.stderr);
    assert_eq!(ran.count("/connection_failures/timeout"), 3);
    // With their full value, which is the timeout at least.
    for phase in ["message", "accept"] {
        assert_eq!(ran.count(&format!("/phases/{phase}/count")), 3);
        assert!(ran.number(&format!("/phases/{phase}/p50_us")) >= 1e6);
    }
    assert!(
        ran.stderr.contains("nothing was accepted") && ran.stderr.contains("no reply in 1s"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_no_smtp_server_ends_with_code_3_and_says_why() {
    for (banner, reason) in [
        ("SSH-2.0-OpenSSH_9.2\r\n", "not SMTP"),
        ("554 5.7.1 go away\r\n", "554 5.7.1 go away"),
        ("421 4.3.2 busy\r\n", "421 4.3.2 busy"),
        ("", "no reply in 1s"),
    ] {
        let (target, _) = serve(Script { banner, ..Script::default() });
        let ran = run(target, "--conns 5 --timeout 1s");
        assert_eq!(ran.code(), Some(3), "{banner:?} {}", ran.stderr);
        assert!(ran.stderr.contains(reason), "{banner:?}: {}", ran.stderr);
        assert_eq!((ran.json()["ending"].as_str(), ran.count("/accepted")), (Some("unreachable"), 0));
    }
}

#[test]
fn where_nothing_listens_the_code_is_3() {
    // A port that was ours a moment ago: nobody has it, and nobody is likely to get it.
    let target = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let ran = run(target, "--conns 5");
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert!(ran.stderr.contains("refused"), "{}", ran.stderr);
}

#[test]
fn a_server_that_goes_away_is_given_up() {
    // Accepts one connection, one message, and never listens again.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = listener.local_addr().unwrap();
    let server = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        stream.write_all(b"220 hi\r\n").unwrap();
        assert!(stream.read(&mut [0; 100]).unwrap() > 0);
        stream.write_all(b"250 hi\r\n").unwrap();
        assert!(stream.read(&mut [0; 100]).unwrap() > 0);
    });
    let ran = run(target, "--conns 1 --messages 100 --timeout 1s");
    server.join().unwrap();
    assert_eq!((ran.code(), ran.count("/broken")), (Some(3), 1), "{}", ran.stderr);
    assert!(ran.stderr.contains("gave up"), "{}", ran.stderr);
    // It asks again, and does not flood: a thousand times a second at the most.
    assert!((1..10_000).contains(&ran.count("/connection_failures/connect")));
}

#[test]
fn an_interrupted_run_still_reports() {
    let (target, seen) = serve(Script::default());
    let child = start(target, "--conns 2 --duration 1h --warmup 0s");
    let begun = Instant::now();
    while Seen::get(&seen.accepted) < 10 {
        assert!(begun.elapsed() < Duration::from_secs(30), "no message in half a minute");
        std::thread::yield_now();
    }
    let pid = rustix::process::Pid::from_raw(child.id() as i32).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ran = finish(child);
    assert_eq!(ran.code(), Some(130), "{}", ran.stderr);
    assert_eq!(ran.json()["ending"].as_str(), Some("interrupted"));
    assert_eq!(ran.count("/offered"), ran.count("/accepted") + ran.count("/abandoned"));
    assert!((10..=Seen::get(&seen.accepted)).contains(&ran.count("/accepted")));
}

#[test]
fn wrong_usage_is_code_2_and_names_the_option() {
    let target: SocketAddr = "127.0.0.1:1".parse().unwrap();
    for (arguments, option) in [
        ("--conns 0", "--conns"),
        ("--conns x", "--conns"),
        ("--messages 0", "--messages"),
        ("--messages 5 --duration 3s", "--duration"),
        ("--duration 0s", "--duration"),
        ("--duration soon", "--duration"),
        ("--size 0", "--size"),
        ("--size 99999GiB", "--size"),
        ("--rcpts 0", "--rcpts"),
        ("--to nobody", "--to"),
        ("--to a@b>\r\nRSET", "RSET"),
        ("--timeout 0s", "--timeout"),
        ("--mode fast", "--mode"),
        ("--target nowhere", "--target"),
        ("--nonsense", "--nonsense"),
    ] {
        let ran = run(target, arguments);
        assert_eq!(ran.code(), Some(2), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(option) && ran.stdout.is_empty(), "{arguments}: {}", ran.stderr);
    }
}

#[test]
fn the_report_goes_to_a_file_too_and_a_failure_to_write_it_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("report.json");
    let (target, _) = serve(Script::default());
    let with = |path: &Path| {
        Command::new(env!("CARGO_BIN_EXE_loadgen"))
            .args(["--target", &target.to_string(), "--messages", "5", "--json"])
            .arg(path)
            .output()
            .unwrap()
    };
    let ran = with(&file);
    assert!(ran.status.success() && String::from_utf8_lossy(&ran.stdout).contains("verdict: "));
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(json["accepted"].as_u64(), Some(5));
    let ran = with(&directory.path().join("no/such/directory"));
    assert_eq!(ran.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&ran.stderr).contains("no/such/directory"));
}

#[test]
fn the_null_responder_understands_both_modes_and_large_mail() {
    let binary = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("examples").join("null_responder");
    let mut responder = Command::new(&binary)
        .args(["--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error}; `cargo test` builds it", binary.display()));
    let mut lines = BufReader::new(responder.stdout.take().unwrap()).lines();
    let listening = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let target: SocketAddr = listening.strip_prefix("listening smtp ").unwrap().parse().unwrap();
    let mut reports = Vec::new();
    for mode in ["lockstep", "pipeline"] {
        for (size, messages) in [("2", 50), ("1KiB", 500), ("1MiB", 10)] {
            let arguments =
                format!("--conns 10 --messages {messages} --size {size} --mode {mode} --messages-per-conn 9");
            reports.push((arguments.clone(), messages, run(target, &arguments)));
        }
    }
    responder.kill().unwrap();
    responder.wait().unwrap();
    for (arguments, messages, ran) in reports {
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), messages), "{arguments}: {}", ran.stderr);
        assert_eq!(ran.json()["first_failure"], serde_json::Value::Null, "{arguments}");
    }
}
