//! Nonsense on the command line, and servers that do all that they should not: always a sentence, never a panic, never
//! a wrong number presented as right.

mod common;

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use common::peer::{Peer, serve};
use common::post::Post;
use common::{Ran, finish, program, run, spawn};

#[test]
fn every_option_refuses_nonsense_by_its_name() {
    let directory = tempfile::tempdir().unwrap();
    let empty = directory.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let eml = format!("--eml {}", empty.display());
    for (arguments, told) in [
        ("--target", "--target"),
        ("--target localhost", "--target"),
        ("--target localhost:99999", "--target"),
        ("--target 127.0.0.1:x", "--target"),
        ("--target no-such-host.invalid:25", "no-such-host.invalid"),
        ("--conns 0", "--conns"),
        ("--conns -1", "--conns"),
        ("--conns 200001", "--conns"),
        ("--conns 1.5", "--conns"),
        ("--threads 0", "--threads"),
        ("--threads 257", "--threads"),
        ("--timeout 0s", "--timeout"),
        ("--timeout 1y", "--timeout"),
        ("--timeout -1s", "-1"),
        ("--timeout 99999999999999999999s", "--timeout"),
        ("--connect-rate 0", "--connect-rate"),
        ("--connect-rate nan", "--connect-rate"),
        ("--connect-rate inf", "--connect-rate"),
        ("--messages-per-conn -1", "--messages-per-conn"),
        ("--source-addrs here", "--source-addrs"),
        ("--source-addrs ::1 --target 127.0.0.1:25", "--source-addrs"),
        ("--source-addrs 127.0.0.9-127.0.0.2", "--source-addrs"),
        ("--duration 0s", "--duration"),
        ("--duration forever", "--duration"),
        ("--messages 0", "--messages"),
        ("--messages 1e3", "--messages"),
        ("--messages 5 --warmup 1s", "--warmup"),
        ("--warmup soon", "--warmup"),
        ("--rate 0", "--rate"),
        ("--rate -5", "--rate"),
        ("--rate 1e99", "--rate"),
        ("--arrivals sometimes", "--arrivals"),
        ("--max-queue 0", "--max-queue"),
        ("--ramp 5 --step 1", "--ramp"),
        ("--ramp 9..5 --step 1", "--ramp"),
        ("--ramp 5..9", "--step"),
        ("--ramp 5..9 --step 0", "--step"),
        ("--ramp 5..9 --step 1 --rate 5", "--rate"),
        ("--ramp 5..9 --step 1 --messages 5", "--messages"),
        ("--ramp 5..9 --step 1 --ledger /tmp/x", "--ledger"),
        ("--step 5", "--ramp"),
        ("--slo fast", "--slo"),
        ("--slo p99<", "--slo"),
        ("--slo nothing.p99<5ms", "--slo"),
        ("--slo p99<5", "--slo"),
        ("--find-knee --ramp 1..2 --step 1", "--find-knee"),
        ("--find-knee --messages 5", "--messages"),
        ("--find-knee --precision 0%", "--precision"),
        ("--find-knee --precision x", "--precision"),
        ("--find-knee --repeat 0", "--repeat"),
        ("--mode fast", "--mode"),
        ("--tls maybe", "--tls"),
        ("--tls off --insecure", "--insecure"),
        ("--ca /no/such", "--ca"),
        ("--tls starttls --ca /no/such", "/no/such"),
        ("--tls starttls --insecure --ca /no/such", "--ca"),
        ("--tls starttls --insecure --tls-name a_b:c", "--tls-name"),
        ("--full-handshakes", "--full-handshakes"),
        ("--auth plain", "--user"),
        ("--user me", "--auth"),
        ("--plaintext-auth", "--auth"),
        ("--password-file x", "--auth"),
        ("--size 0", "--size"),
        ("--size 1", "--size"),
        ("--size 5..1", "--size"),
        ("--size 50%:1KiB,60%:2KiB", "--size"),
        ("--size -5", "--size"),
        ("--size 1KiB --ledger /tmp/x --size 10", "--size"),
        ("--eml /no/such", "--eml"),
        (&eml, "--eml"),
        ("--eml x --size 5", "--size"),
        ("--rcpts 0", "--rcpts"),
        ("--rcpts 10001", "--rcpts"),
        ("--rcpts many", "--rcpts"),
        ("--rcpts 5 --to u{n%3}@x.example", "--rcpts"),
        ("--from nobody", "--from"),
        ("--from a@b@c", "--from"),
        ("--from a{n@x.example", "--from"),
        ("--to nobody", "--to"),
        ("--to u{m}@x.example", "--to"),
        ("--to u{n%0}@x.example", "--to"),
        ("--seed x", "--seed"),
        ("--json", "--json"),
        ("stray", "stray"),
        ("verify", "--ledger"),
        ("verify --ledger x", "--maildir"),
        ("compare", "A.json"),
        ("compare a", "B.json"),
        ("--conns 5 verify --ledger x --maildir y", "verify"),
    ] {
        let ran = finish(spawn(&mut program(arguments)));
        assert_eq!((ran.code(), &ran.stdout[..]), (Some(2), ""), "{arguments}: {}", ran.stderr);
        assert!(ran.stderr.contains(told), "{arguments}: {}", ran.stderr);
        assert!(!ran.stderr.contains("panicked"), "{arguments}: {}", ran.stderr);
    }
}

/// A server that goes wrong when it has heard so much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Banner,
    Ehlo,
    Mail,
    Rcpt,
    Data,
    Accept,
}

const STAGES: [Stage; 6] = [Stage::Banner, Stage::Ehlo, Stage::Mail, Stage::Rcpt, Stage::Data, Stage::Accept];

#[derive(Clone, Copy, Debug)]
struct Manner {
    arguments: &'static str,
    keywords: &'static str,
    is_chunked: bool,
}

const MANNERS: [Manner; 5] = [
    Manner { arguments: "--mode lockstep", keywords: "250 PIPELINING\r\n", is_chunked: false },
    Manner { arguments: "--mode pipeline", keywords: "250 PIPELINING\r\n", is_chunked: false },
    Manner { arguments: "--mode bdat", keywords: "250-PIPELINING\r\n250 CHUNKING\r\n", is_chunked: true },
    Manner { arguments: "--mode pipeline --lmtp", keywords: "250 PIPELINING\r\n", is_chunked: false },
    Manner {
        arguments: "--mode bdat --lmtp",
        keywords: "250-PIPELINING\r\n250 CHUNKING\r\n",
        is_chunked: true,
    },
];

impl Manner {
    /// Whether the server is ever in this stage.
    fn has(self, stage: Stage) -> bool {
        stage != Stage::Data || !self.is_chunked
    }

    /// Speaks well up to `stage`, and then does what goes wrong.
    fn play(
        self,
        peer: &mut Peer,
        stage: Stage,
        wrong: &dyn Fn(&mut Peer) -> io::Result<()>,
    ) -> io::Result<()> {
        let banner: &[Stage] = &[Stage::Banner, Stage::Ehlo];
        for now in banner {
            if *now == Stage::Ehlo {
                peer.hear_line()?;
            }
            if *now == stage {
                return wrong(peer);
            }
            let hello = format!("250-mx.example\r\n{}", self.keywords);
            peer.say(if *now == Stage::Banner { "220 mx.example ESMTP\r\n" } else { &hello })?;
        }
        loop {
            for now in &STAGES[2..] {
                match (now, self.is_chunked) {
                    (Stage::Data, true) => continue,
                    (Stage::Accept, true) => {
                        let line = peer.hear_line()?;
                        let octets = line.split(' ').nth(1).unwrap_or_default();
                        // A client that was refused before goes on otherwise.
                        let Ok(octets) = octets.parse() else { return Ok(()) };
                        peer.hear_octets(octets)?;
                    }
                    (Stage::Accept, false) => drop(peer.hear_data()?),
                    _ => {
                        if peer.hear_line()? == "QUIT" {
                            return peer.say("221 bye\r\n");
                        }
                    }
                }
                if *now == stage {
                    return wrong(peer);
                }
                peer.say(if *now == Stage::Data { "354 go\r\n" } else { "250 ok\r\n" })?;
            }
        }
    }
}

/// Runs against a server that goes wrong at a stage on each connection.
fn go_wrong(
    manner: Manner,
    stage: Stage,
    arguments: &str,
    wrong: impl Fn(&mut Peer) -> io::Result<()> + Send + Sync + 'static,
) -> (Ran, usize) {
    let connections = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    let server = serve(move |peer| {
        counted.fetch_add(1, Ordering::SeqCst);
        manner.play(peer, stage, &wrong)
    });
    let ran = run(server.address, &format!("{} {arguments}", manner.arguments));
    let what = format!("{manner:?} {stage:?} {}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{what}");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(3), 0), "{what}");
    assert_eq!(ran.number("/messages_per_second"), 0.0, "{what}");
    let kinds = ["refused_transient", "refused_permanent", "timed_out", "broken", "abandoned", "dropped"];
    let ended: u64 = kinds.iter().map(|kind| ran.count(&format!("/{kind}"))).sum();
    assert_eq!(ended, ran.count("/offered"), "{what}");
    let told = if ran.count("/offered") == 0 { "no mail service for us" } else { "nothing was accepted" };
    assert!(ran.text("/verdict").contains(told), "{what}");
    (ran, connections.load(Ordering::SeqCst))
}

#[test]
fn a_refusal_at_any_stage_is_counted_as_what_it_is_and_quoted() {
    for manner in MANNERS {
        for stage in STAGES.into_iter().filter(|stage| manner.has(*stage)) {
            for (code, class) in [("421", 4), ("451", 4), ("550", 5)] {
                let reply = format!("{code} {class}.3.2 not today\r\n");
                // Some hang up at once, so that what the client says then goes nowhere.
                let (ran, connections) = go_wrong(manner, stage, "--conns 1 --messages 2", move |peer| {
                    peer.say(&reply)?;
                    peer.stream.shutdown(Shutdown::Write)?;
                    peer.wait_for_end();
                    Ok(())
                });
                let verdict = ran.text("/verdict");
                let what = format!("{manner:?} {stage:?} {code} {verdict}");
                assert!(verdict.contains(&format!("{code} {class}.3.2 not today")), "{what}");
                assert!(connections <= 4, "{what}: {connections} connections");
                if stage < Stage::Mail {
                    assert_eq!(ran.count("/connection_failures/refused"), 1, "{what}");
                } else {
                    // A refusal that the end of the connection cut short is one all the same, or an answer lost.
                    let kind = if class == 4 { "/refused_transient" } else { "/refused_permanent" };
                    assert_eq!(ran.count(kind) + ran.count("/broken"), 2, "{what}");
                    assert!(code != "421" || ran.count(kind) == 2, "{what}");
                }
            }
        }
    }
}

#[test]
fn a_server_that_falls_silent_at_any_stage_is_a_timeout() {
    for manner in [MANNERS[0], MANNERS[1], MANNERS[2], MANNERS[3]] {
        for stage in STAGES.into_iter().filter(|stage| manner.has(*stage)) {
            let (ran, _) = go_wrong(manner, stage, "--conns 2 --messages 2 --timeout 200ms", |peer| {
                peer.wait_for_end();
                Ok(())
            });
            let what = format!("{manner:?} {stage:?} {}", ran.text("/verdict"));
            assert!(ran.text("/verdict").contains("no reply in 200ms"), "{what}");
            if stage >= Stage::Mail {
                assert_eq!((ran.count("/timed_out"), ran.count("/offered")), (2, 2), "{what}");
                assert!(ran.number("/phases/message/p50_us") >= 200_000.0, "{what}");
            }
        }
    }
}

#[test]
fn a_server_that_stops_taking_mail_data_is_a_timeout() {
    for manner in &MANNERS[1..] {
        let replies =
            if manner.is_chunked { "250 ok\r\n250 ok\r\n" } else { "250 ok\r\n250 ok\r\n354 go\r\n" };
        let arguments = "--conns 1 --messages 1 --size 9MiB --timeout 200ms";
        let (ran, _) = go_wrong(*manner, Stage::Mail, arguments, move |peer| {
            socket2::SockRef::from(&peer.stream).set_recv_buffer_size(65_536)?;
            peer.say(replies)?;
            peer.hear_octets(10_000)?;
            // It hears no more, but the connection stands for as long as the test.
            std::mem::forget(peer.stream.try_clone()?);
            Ok(())
        });
        assert_eq!((ran.count("/timed_out"), ran.count("/offered")), (1, 1), "{}", ran.stderr);
    }
}

#[test]
fn a_refusal_in_the_middle_of_the_mail_data_is_heard_though_the_server_hangs_up() {
    for manner in &MANNERS[..3] {
        let is_chunked = manner.is_chunked;
        let lockstep = manner.arguments == MANNERS[0].arguments;
        let arguments = "--conns 1 --messages 2 --size 9MiB --timeout 20s";
        let (ran, _) = go_wrong(*manner, Stage::Mail, arguments, move |peer| {
            peer.say("250 ok\r\n")?;
            if lockstep {
                peer.hear_line()?;
            }
            peer.say("250 ok\r\n")?;
            if lockstep {
                peer.hear_line()?;
            }
            if !is_chunked {
                peer.say("354 go\r\n")?;
            }
            peer.hear_octets(10_000)?;
            // What was not heard makes this end a reset.
            peer.say("452 4.3.1 full\r\n")
        });
        assert!(ran.text("/verdict").contains("452 4.3.1 full"), "{manner:?}: {}", ran.text("/verdict"));
        let refused = if is_chunked { ran.count("/broken") } else { ran.count("/refused_transient") };
        assert_eq!(refused, 2, "{manner:?}: {}", ran.stderr);
    }
}

#[test]
fn a_server_that_hangs_up_at_any_stage_breaks_the_message_and_is_not_flooded() {
    for manner in MANNERS {
        for stage in STAGES.into_iter().filter(|stage| manner.has(*stage)) {
            let (ran, connections) = go_wrong(manner, stage, "--conns 2 --messages 5", |peer| {
                peer.stream.shutdown(Shutdown::Both)
            });
            let what = format!("{manner:?} {stage:?} {}", ran.text("/verdict"));
            assert!(connections <= 12, "{what}: {connections} connections");
            if stage >= Stage::Mail {
                assert_eq!((ran.count("/broken"), ran.count("/offered")), (5, 5), "{what}");
            }
        }
    }
}

#[test]
fn a_server_that_is_gone_is_asked_again_but_not_flooded() {
    type Part = fn(&mut Peer) -> io::Result<()>;
    let hangs_up: Part = |peer| peer.stream.shutdown(Shutdown::Both);
    let refuses: Part = |peer| peer.say("421 4.3.2 busy\r\n");
    for part in [hangs_up, refuses] {
        // Only the first connection is served; the seven others are tried again and again.
        let server = serve(move |peer| match peer.number {
            0 => {
                peer.say("220 mx.example ESMTP\r\n")?;
                peer.hear_line()?;
                peer.say("250 mx.example\r\n")?;
                peer.wait_for_end();
                Ok(())
            }
            _ => part(peer),
        });
        let begun = Instant::now();
        let ran = run(server.address, "--conns 8 --duration 300ms --warmup 0s --timeout 400ms");
        let most = begun.elapsed().as_millis() as usize;
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(3), 0), "{}", ran.stderr);
        let connections = server.content();
        // One a millisecond at the most, and the first eight.
        assert!((9..=most + 8).contains(&connections), "{connections} in {most} ms");
        let failures = &ran.json()["connection_failures"];
        let failed: u64 = failures.as_object().unwrap().values().filter_map(serde_json::Value::as_u64).sum();
        assert!(failed >= 8, "{failures}");
    }
}

#[test]
fn what_is_no_reply_ends_the_connection_with_a_reason() {
    let long = "2".repeat(100_000);
    let many = "250-more\r\n".repeat(100_000);
    let unasked = format!("{}250 ok\r\n", "250 ok\r\n".repeat(20));
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"\0\0\0\0\r\n".to_vec(), "code from 200 to 599"),
        (b"\xff\xfe garbage\r\n".to_vec(), "code from 200 to 599"),
        (b"hello\n".to_vec(), "LF without CR"),
        (b"100 wait\r\n".to_vec(), "code from 200 to 599"),
        (b"250-a\r\n251 b\r\n".to_vec(), "different codes"),
        (long.into_bytes(), "longer than"),
        (many.into_bytes(), "more than"),
        (unasked.into_bytes(), ""),
        (b"334 bm90IG5vdw==\r\n".to_vec(), "no meaning there"),
    ];
    for manner in [MANNERS[0], MANNERS[2], MANNERS[3]] {
        for stage in STAGES.into_iter().filter(|stage| manner.has(*stage)) {
            // What is no reply is none in any manner: the first few stand for all of them.
            let count = if manner.arguments == MANNERS[0].arguments { cases.len() } else { 2 };
            for (octets, told) in &cases[..count] {
                let octets = octets.clone();
                // Replies by the dozen may be right for what is still to be said, and 354 is a 3yz.
                if told.is_empty() && stage >= Stage::Mail
                    || *told == "no meaning there" && stage == Stage::Data
                {
                    continue;
                }
                let (ran, connections) =
                    go_wrong(manner, stage, "--conns 1 --messages 2 --timeout 20s", move |peer| {
                        peer.stream.write_all(&octets)?;
                        peer.wait_for_end();
                        Ok(())
                    });
                let what = format!("{manner:?} {stage:?} {told:?} {}", ran.text("/verdict"));
                assert!(ran.text("/verdict").contains(told), "{what}");
                assert!(connections <= 4, "{what}: {connections}");
                assert!(ran.count("/connection_failures/protocol") >= 1, "{what}");
            }
        }
    }
}

#[test]
fn a_reply_out_of_turn_is_no_acceptance() {
    // All replies of a transaction at once, when only MAIL was heard: in lockstep none of them was asked for.
    let (ran, _) = go_wrong(MANNERS[0], Stage::Mail, "--conns 1 --messages 2", |peer| {
        peer.say("250 ok\r\n250 ok\r\n354 go\r\n250 2.0.0 taken\r\n")?;
        peer.wait_for_end();
        Ok(())
    });
    assert_eq!(ran.count("/broken"), 2, "{}", ran.stderr);
    // The acceptance together with the 354, before the mail data was sent.
    for manner in [MANNERS[0], MANNERS[1]] {
        let (ran, _) = go_wrong(manner, Stage::Data, "--conns 1 --messages 2 --size 1MiB", |peer| {
            peer.say("354 go\r\n250 2.0.0 taken\r\n")?;
            peer.wait_for_end();
            Ok(())
        });
        assert_eq!(ran.count("/broken"), 2, "{}", ran.stderr);
    }
}

#[test]
fn what_a_server_says_is_escaped_before_it_is_shown() {
    let (ran, _) = go_wrong(MANNERS[0], Stage::Mail, "--conns 1 --messages 1", |peer| {
        peer.stream.write_all(b"550 \x1b[31mred\x07 \x00 <script>alert(1)</script>\r\n")
    });
    for text in [&ran.stderr, &ran.text("/verdict")] {
        let is_raw = |c: char| c.is_control() && c != '\n';
        assert!(text.contains("[31mred") && !text.contains(is_raw), "{text:?}");
    }
}

#[test]
fn too_few_descriptors_are_told_before_the_run() {
    let (server, _) = Post::default().open();
    let binary = env!("CARGO_BIN_EXE_loadgen");
    let target = server.address.to_string();
    let arguments = ["--nofile=64:64", "setpriv", "--bounding-set=-sys_resource", binary];
    let mut command = Command::new("prlimit");
    command.args(arguments).args(["--target", &target, "--conns", "1000", "--messages", "10"]);
    let ran = finish(spawn(&mut command));
    if ran.stderr.contains("setpriv") {
        eprintln!("skipped: who may not drop a capability has none to drop: {}", ran.stderr);
        return;
    }
    // With fewer messages than connections only so many are opened.
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    let mut command = Command::new("prlimit");
    command.args(arguments).args(["--target", &target, "--conns", "1000", "--duration", "1s"]);
    let ran = finish(spawn(&mut command));
    assert_eq!((ran.code(), &ran.stdout[..]), (Some(2), ""), "{}", ran.stderr);
    assert!(ran.stderr.contains("--conns 1000 needs") && ran.stderr.contains("at most 64"), "{}", ran.stderr);
    assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
}

#[test]
fn thousands_of_connections_work_where_descriptors_allow() {
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_loadgen"));
    let responder = binary.with_file_name("examples").join("null_responder");
    let mut child =
        spawn(Command::new(responder).args(["--listen", "127.0.0.1:0"]).stdin(std::process::Stdio::null()));
    let mut lines = io::BufRead::lines(io::BufReader::new(child.stdout.take().unwrap()));
    let listening = lines.next().unwrap().unwrap();
    assert_eq!(lines.next().unwrap().unwrap(), "ready");
    let target = listening.strip_prefix("listening smtp ").unwrap().parse().unwrap();
    let ran = run(target, "--conns 2000 --messages 6000 --threads 2 --mode pipeline");
    child.kill().unwrap();
    child.wait().unwrap();
    if ran.code() == Some(2) && ran.stderr.contains("descriptors") {
        eprintln!("skipped: {}", ran.stderr);
        return;
    }
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 6000), "{}", ran.stderr);
    assert_eq!(ran.count("/phases/connect/count"), 2000);
}
