//! What the running server promises: to many clients at once, to hostile ones, to its operator; and how it stops.

mod common;

use std::fs;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::accounts;
use common::server::{PATIENCE, PROGRAM, Server, Talk, data, delivered, log_of, wait_for_mail, wait_until};
use fastsmtp::limits::{COMMANDS_RECEIVED_MAX, OUTBOX_MAX};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};

// Many clients.

#[test]
fn a_thousand_clients_that_connect_in_the_same_instant_all_have_their_banner_within_a_second() {
    want_descriptors(1500);
    let (_root, data) = data();
    let server = Server::start(&data, &["--log", "warn"]);
    let (address, barrier) = (server.address(), Barrier::new(THREADS));
    let longest = thread::scope(|scope| {
        let clients = |_| {
            scope.spawn(|| {
                barrier.wait();
                let started = Instant::now();
                let connect = |_| Talk::new(TcpStream::connect(address).unwrap());
                let mut talks: Vec<Talk> = (0..1000 / THREADS).map(connect).collect();
                talks.iter_mut().for_each(|talk| assert!(talk.reply().starts_with("220 ")));
                started.elapsed()
            })
        };
        let threads: Vec<_> = (0..THREADS).map(clients).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).max().unwrap()
    });
    println!("1,000 banners in {} ms", longest.as_millis());
    assert!(longest < BANNERS_TIME, "1,000 banners took {longest:?}");
}

#[test]
fn an_idle_session_costs_at_most_half_a_kibibyte() {
    want_descriptors(4000);
    let (_root, data) = data();
    let server = Server::start(&data, &["--log", "warn"]);
    let mut talks = Vec::new();
    let mut resident_with = |count: usize| {
        while talks.len() < count {
            let mut talk = server.connect();
            talk.hello();
            talks.push(talk);
        }
        server.resident()
    };
    let before = resident_with(1000);
    let after = resident_with(3000);
    let each = after.saturating_sub(before) / 2000;
    println!("an idle session costs {each} octets");
    assert!(each <= 512, "an idle session costs {each} octets");
}

#[test]
fn too_many_connections_are_told_421_and_there_is_service_again_when_one_leaves() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--max-connections", "5"]);
    let mut talks: Vec<Talk> = (0..5).map(|_| server.connect()).collect();
    talks.iter_mut().for_each(Talk::hello);
    for _ in 0..3 {
        assert_eq!(server.connect().rest(), "421 4.7.0 too many connections, try again later\r\n");
    }
    let mut leaving = talks.pop().unwrap();
    leaving.say("QUIT\r\n", "221");
    assert_eq!(leaving.rest(), "");
    // The server closes behind the end that the client saw.
    wait_until("the place of who left is free", || server.connect().reply().starts_with("220 "));
    talks.iter_mut().for_each(|talk| drop(talk.say("NOOP\r\n", "250")));
}

#[test]
fn when_descriptors_run_out_it_does_not_spin_and_loses_nothing_and_serves_again() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let pid = Pid::from_raw(server.child.id() as i32).unwrap();
    let mut early = server.connect();
    early.hello();
    let open = server.descriptors() as u64;
    let limit = prlimit(Some(pid), Resource::Nofile, limit_of(open + 10)).unwrap();
    let mut clients: Vec<TcpStream> =
        (0..60).map(|_| TcpStream::connect(server.address()).unwrap()).collect();
    wait_until("it has no descriptor left", || server.log().contains("cannot accept connections"));

    let (cpu, since) = (server.processor_time(), Instant::now());
    send_one(&mut early, b"taken while there is no descriptor\r\n");
    thread::sleep(Duration::from_secs(2)); // what it burns meanwhile is what is measured
    let share = (server.processor_time() - cpu).as_secs_f64() / since.elapsed().as_secs_f64();
    println!("without descriptors it takes {:.0} % of a processor", share * 100.0);
    assert!(share < 0.2, "it takes {share} of a processor");

    clients.drain(5..);
    wait_until("it serves again", || server.connect().reply().starts_with("220 "));
    prlimit(Some(pid), Resource::Nofile, limit).unwrap();
    wait_for_mail(&data, 1);
}

// Hostile and hasty clients.

#[test]
fn another_protocol_gets_one_421_and_its_rest_is_never_read() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let smtp = "EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 2 LAST\r\nhi";
    for hello in ["GET / HTTP/1.1\r\n", "POST /x HTTP/1.1\r\nHost: x\r\n\r\n", "\x16\x03\x01\x02\x00\x01"] {
        let mut talk = server.connect();
        assert!(talk.reply().starts_with("220 "));
        talk.send(format!("{hello}{smtp}"));
        assert_eq!(talk.rest(), "421 4.7.0 this is SMTP\r\n", "{hello:?}");
    }
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), 0);
}

#[test]
fn input_before_the_banner_is_served_and_counted() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let mut talk = early_talker(&server, "EHLO client.example\r\n");
    talk.hello_replies();
    assert_eq!(counter(&server, "early_talkers"), 1);
}

#[test]
fn with_a_greeting_delay_input_before_the_banner_is_refused_and_patience_is_served() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--greeting-delay", "300ms"]);
    let started = Instant::now();
    let mut patient = server.connect();
    let mut hasty = early_talker(&server, "EHLO client.example\r\n");
    assert_eq!(hasty.rest(), "554 5.5.1 you spoke before the greeting\r\n");
    patient.hello();
    assert!(started.elapsed() >= Duration::from_millis(300), "the banner came at once");
    assert_eq!(counter(&server, "early_talkers"), 1);
}

#[test]
fn clients_that_never_read_cost_a_full_outbox_and_carry_and_lose_no_reply() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let group = "RSET\r\n".repeat(1000);
    let mut before = 0;
    let mut readers: Vec<(Talk, usize)> = Vec::new();
    for n in 0..11 {
        if n == 1 {
            before = server.resident(); // the first has paid for what is bought once
        }
        let mut talk = server.connect();
        talk.hello();
        talk.stream.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let sent = send_until_blocked(&mut talk.stream, group.as_bytes());
        readers.push((talk, sent));
    }
    let cost = server.resident().saturating_sub(before) / (readers.len() as u64 - 1);
    println!("a client that never reads costs {cost} octets");
    let bound = (COMMANDS_RECEIVED_MAX + OUTBOX_MAX) as u64 * 2; // holes that the allocator leaves come on top
    assert!(cost < bound, "a client that never reads costs {cost} octets");
    server.connect().hello();
    let (mut talk, sent) = readers.pop().unwrap();
    talk.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(talk.rest().lines().count(), sent / "RSET\r\n".len());
}

#[test]
fn a_command_that_trickles_in_ends_at_its_deadline() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--command-timeout", "2s"]);
    let mut talk = server.connect();
    talk.hello();
    talk.stream.set_read_timeout(Some(Duration::from_millis(250))).unwrap();
    let started = Instant::now();
    let mut reply = String::new();
    while reply.is_empty() && started.elapsed() < PATIENCE {
        let _ = talk.stream.write_all(b"N");
        reply = talk.reply();
    }
    assert_eq!(reply, "421 4.4.2 no command in time\r\n");
    let elapsed = started.elapsed();
    println!("a command that trickles is given up after {} ms of 2,000", elapsed.as_millis());
    assert!(elapsed >= Duration::from_millis(1900), "{elapsed:?}");
}

#[test]
fn a_half_closed_client_gets_every_reply_to_what_it_sent() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let group = "EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nBDAT 2 LAST\r\nhi\
                 MAIL FROM:<>\r\nRCPT TO:<a@b.example>\r\nDATA\r\nhello\r\n.\r\nNOOP\r\nNO";
    let mut talk = server.connect();
    talk.send(group);
    talk.stream.shutdown(Shutdown::Write).unwrap();
    talk.hello_replies();
    let replies = talk.rest();
    let codes: Vec<&str> = replies.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["250", "250", "250", "250", "250", "354", "250", "250"], "{replies}");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), 2);
}

#[test]
fn who_leaves_behind_the_final_dot_has_sent_the_message_once() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    for _ in 0..20 {
        let mut talk = server.connect();
        talk.hello();
        talk.begin();
        talk.send("hello\r\n.\r\n");
    }
    wait_for_mail(&data, 20);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), 20);
}

#[test]
fn what_clients_send_cannot_forge_a_log_line() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let mut talk = server.connect();
    assert!(talk.reply().starts_with("220 "));
    for name in ["a\x1b[31m", "a b", "a\tb", "\u{fc}", "x\0y", "a=b", "\"q\""] {
        talk.say(format!("EHLO {name}\r\n"), "501");
    }
    talk.say("EHLO client.example\r\n", "250");
    talk.say("MAIL FROM:<\"a to=forged \\\" id=1\"@client.example>\r\n", "250");
    talk.say("RCPT TO:<\"x from=y\"@example.com>\r\n", "250");
    talk.say("DATA\r\n", "354");
    let reply = talk.say("hello\r\n.\r\n", "250");
    let id = reply.trim_end().rsplit(' ').next().unwrap();
    assert_eq!(counter(&server, "accepted"), 1); // and by now the line is written
    let log = server.log();
    let line = log.lines().find(|line| line.contains(&format!("id={id}"))).expect("the message's line");
    let mut is_quoted = false;
    let outside_quotes = |c: char| {
        is_quoted ^= c == '"';
        c == ' ' && !is_quoted
    };
    let fields = line.split(outside_quotes).filter_map(|field| field.split_once('='));
    let keys: Vec<&str> = fields.map(|(key, _)| key).collect();
    assert_eq!(keys, ["id", "client", "from", "to", "recipients", "size", "durable_us"], "{line}");
    assert!(log.bytes().all(|octet| octet == b'\n' || (b' '..=b'~').contains(&octet)), "{log}");
}

// Limits.

#[test]
fn the_largest_message_is_taken_although_memory_is_no_larger() {
    let (_root, data) = data();
    let limits =
        ["--durability", "none", "--deliver", "discard", "--max-message-size", "8MiB", "--memory", "8MiB"];
    let server = Server::start(&data, &limits);
    let content = "0123456789abcde\r\n".repeat((8 << 20) / 17);
    for _ in 0..2 {
        let mut talk = server.connect();
        talk.hello();
        talk.begin();
        talk.say(format!("{content}.\r\n"), "250");
    }
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn without_a_log_mail_beyond_memory_is_put_off_and_beyond_its_size_refused_and_neither_is_stored() {
    let (_root, data) = data();
    let limits = ["--durability", "none", "--max-message-size", "1MiB", "--memory", "8MiB"];
    let server = Server::start(&data, &limits);
    let mut talk = server.connect();
    talk.hello();
    assert!(talk.say("MAIL FROM:<> SIZE=1048577\r\n", "552").starts_with("552 5.3.4 "));
    talk.begin();
    talk.send("0123456789abcde\r\n".repeat(200_000));
    talk.say(".\r\n", "552 5.3.4 ");

    let part = "0123456789abcde\r\n".repeat(50_000);
    let mut talks: Vec<Talk> = (0..16).map(|_| server.connect()).collect();
    for talk in &mut talks {
        talk.hello();
        talk.send("MAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n");
        talk.send(&part);
    }
    let mut taken = 0;
    let mut put_off = 0;
    for talk in &mut talks {
        talk.send(".\r\n");
        let replies: Vec<String> = (0..3).map(|_| talk.reply()).collect();
        let end = match &replies[..] {
            [sender, ..] if sender.starts_with("452 4.3.1 ") => sender.clone(),
            [_, recipient, _] if recipient.starts_with("452 4.3.1 ") => recipient.clone(),
            _ => talk.reply(),
        };
        match &end[..3] {
            "250" => taken += 1,
            "452" => put_off += 1,
            _ => panic!("{replies:?} {end}"),
        }
    }
    println!("of 16 messages of 850 kB in 8 MiB {taken} were taken, {put_off} put off");
    assert!(taken >= 1 && put_off >= 1, "{taken} taken, {put_off} put off");
    drop(talks);
    let mut talk = server.connect();
    talk.hello();
    send_one(&mut talk, b"and service goes on\r\n");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), taken + 1);
}

#[test]
fn a_large_message_is_stored_once_for_all_its_recipients_and_takes_no_memory_of_its_size() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--memory", "8MiB"]);
    let content = "Subject: large\r\n\r\n".to_owned() + &"0123456789abcde\r\n".repeat((40 << 20) / 17);
    let base = server.peak_memory();
    let mut talks: Vec<Talk> = (0..4).map(|_| server.connect()).collect();
    for talk in &mut talks {
        talk.hello();
        talk.say("MAIL FROM:<sender@client.example>\r\n", "250");
        talk.say("RCPT TO:<one@example.com>\r\n", "250");
        talk.say("RCPT TO:<two@example.com>\r\n", "250");
        talk.say("DATA\r\n", "354");
    }
    thread::scope(|scope| {
        for talk in &mut talks {
            scope.spawn(|| talk.say(format!("{content}.\r\n"), "250"));
        }
    });
    let files = wait_for_mail(&data, 8);
    wait_until("the spool lets go of them", || fs::read_dir(data.join("spool/spill")).unwrap().count() == 0);
    for file in files {
        assert_eq!(fs::metadata(&file).unwrap().nlink(), 2, "one file in two mailboxes");
        let octets = fs::read(file).unwrap();
        assert!(octets.starts_with(b"Return-Path: <sender@client.example>\r\nReceived: from "));
        assert!(octets.ends_with(content.as_bytes()));
    }
    let grown = server.peak_memory() - base;
    println!("4 messages of 40 MiB at once: {} MiB more resident at the peak", grown >> 20);
    assert!(grown <= (8 + 32) << 20, "{grown} octets more");
    assert_eq!(server.stop().code(), Some(0));
}

// A reset and the next message came in one piece with the end of a chunk, and the next message went to the file of the
// one before, behind its octets.
#[test]
fn a_large_message_behind_one_that_was_reset_is_only_itself() {
    let (_root, data) = data();
    const SECOND: usize = 300_000;
    let server = Server::start(&data, &["--memory", "8MiB"]);
    // Half of the memory is in use, so a message keeps less than one read brings.
    let mut others: Vec<Talk> = (0..6).map(|_| server.connect()).collect();
    for other in &mut others {
        other.hello();
        other.begin();
        other.send("0123456789abcde\r\n".repeat(900_000 / 17));
    }
    let mut talk = server.connect();
    talk.hello();
    let envelope = "MAIL FROM:<sender@client.example>\r\nRCPT TO:<user@example.com>\r\n";
    let chunk = |letter: &str, octets: usize, last: &str| {
        format!("{envelope}BDAT {octets}{last}\r\n{}", letter.repeat(octets))
    };
    talk.send(format!("{}RSET\r\n{}", chunk("a", 150_000, ""), chunk("b", SECOND, " LAST")));
    for code in
        ["250 2.1.0", "250 2.1.5", "250 2.0.0", "250 2.0.0", "250 2.1.0", "250 2.1.5", "250 2.0.0 queued"]
    {
        let reply = talk.reply();
        assert!(reply.starts_with(code), "{reply}");
    }
    let octets = fs::read(&wait_for_mail(&data, 1)[0]).unwrap();
    assert!(octets.ends_with("b".repeat(SECOND).as_bytes()));
    let trace = &octets[..octets.len() - SECOND];
    assert!(trace.ends_with(b"+0000\r\n"), "{}", String::from_utf8_lossy(trace));
    drop(others);
    assert_eq!(server.stop().code(), Some(0));
}

// Chunks that each came in one piece, as those below the 16 KiB do that commands are read by, were never handed out: all
// of such a message stayed in memory, up to the size limit, and then went to the log.
#[test]
fn a_large_message_in_small_chunks_goes_to_a_file_as_well() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--memory", "8MiB"]);
    let (chunk, chunks) = ("0123456789abcd\r\n".repeat(500), 1200);
    let mut talk = server.connect();
    talk.hello();
    talk.say("MAIL FROM:<sender@client.example>\r\n", "250");
    talk.say("RCPT TO:<user@example.com>\r\n", "250");
    let base = server.peak_memory();
    for _ in 0..chunks {
        talk.say(format!("BDAT {}\r\n{chunk}", chunk.len()), "250 2.0.0");
    }
    assert_eq!(fs::read_dir(data.join("spool/spill")).unwrap().count(), 1, "it has a file");
    let grown = server.peak_memory() - base;
    assert!(grown < 6 << 20, "{grown} octets more for {}", chunks * chunk.len());
    talk.say("BDAT 0 LAST\r\n", "250 2.0.0 queued");
    let octets = fs::read(&wait_for_mail(&data, 1)[0]).unwrap();
    assert!(octets.ends_with(chunk.repeat(chunks).as_bytes()));
    assert_eq!(server.stop().code(), Some(0));
}

#[test]
fn a_large_message_that_is_given_up_leaves_no_file() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--max-message-size", "4MiB"]);
    let spilled = || fs::read_dir(data.join("spool/spill")).unwrap().count();
    let part = "0123456789abcde\r\n".repeat((2 << 20) / 17);
    let endings: [&dyn Fn(Talk); 3] = [
        &drop,
        &|mut talk| {
            talk.say("bare\nfeed\r\n.\r\n", "550");
        },
        &|mut talk| {
            talk.say(format!("{part}{part}.\r\n"), "552");
        },
    ];
    for ending in endings {
        let mut talk = server.connect();
        talk.hello();
        talk.begin();
        talk.send(&part);
        wait_until("it has a file", || spilled() == 1);
        ending(talk);
        wait_until("the file is gone", || spilled() == 0);
    }
    assert_eq!(server.stop().code(), Some(0));
    assert!(delivered(&data.join("mailboxes")).is_empty());
}

#[test]
fn a_full_spool_puts_mail_off_and_all_is_delivered_once_the_mailbox_is_mended() {
    let (_root, data) = data();
    let obstacle = data.join("mailboxes/example.com");
    fs::create_dir_all(data.join("mailboxes")).unwrap();
    fs::write(&obstacle, "in the way").unwrap();
    let server = Server::start(&data, &["--spool-size", "256MiB"]);
    // Nor can it be held, so the log must keep it.
    fs::remove_dir(data.join("spool/held")).unwrap();
    // MAIL looks for room for some message; what is too large for the rest is refused when it is there.
    let mut content = vec![b'x'; 1 << 20];
    let mut sizes = Vec::new();
    let mut talk = server.connect();
    talk.hello();
    let full = loop {
        talk.send("MAIL FROM:<sender@client.example>\r\n");
        let reply = talk.reply();
        if !reply.starts_with("250") {
            break reply;
        }
        talk.say("RCPT TO:<user@example.com>\r\n", "250");
        talk.send(format!("BDAT {} LAST\r\n", content.len()));
        talk.send(&content);
        let reply = talk.reply();
        if reply.starts_with("250") {
            sizes.push(content.len());
        } else {
            assert!(reply.starts_with("452 4.3.1 "), "{reply}");
            assert!(content.len() > 1, "no room for an octet, and MAIL does not say so");
            content.truncate(content.len() / 2);
        }
        assert!(sizes.len() < 1000, "more than the spool can hold");
    };
    let octets: usize = sizes.iter().sum();
    println!("{} messages, {} MiB, fill a spool of 256 MiB", sizes.len(), octets >> 20);
    assert!(full.starts_with("452 4.3.1 "), "{full}");
    assert!(octets > 128 << 20, "{octets} octets are no full spool");
    talk.say("NOOP\r\n", "250");

    fs::remove_file(&obstacle).unwrap();
    let mut delivered_sizes: Vec<usize> = Vec::new();
    for file in wait_for_mail(&data, sizes.len()) {
        let octets = fs::read(file).unwrap();
        let content = octets.splitn(6, |octet| *octet == b'\n').nth(5).expect("five lines of ours");
        assert!(octets.starts_with(b"Return-Path: <sender@client.example>\r\n"));
        assert!(content.iter().all(|octet| *octet == b'x'));
        delivered_sizes.push(content.len());
    }
    sizes.sort();
    delivered_sizes.sort();
    assert_eq!(delivered_sizes, sizes);
    wait_until("there is room again", || {
        talk.send("RSET\r\nMAIL FROM:<>\r\n");
        talk.reply();
        talk.reply().starts_with("250")
    });
    talk.say("RSET\r\n", "250");
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), sizes.len());
}

// What the operator asks for.

#[test]
fn it_listens_on_several_addresses_at_once_and_on_ipv6() {
    if TcpListener::bind("[::1]:0").is_err() {
        eprintln!("skipped: this machine has no IPv6");
        return;
    }
    let (_root, data) = data();
    let server = Server::start_listening(&data, &["--listen", "127.0.0.1:0", "--listen", "[::1]:0"]);
    assert_eq!(server.addresses.len(), 2);
    assert!(server.addresses[0].is_ipv4() && server.addresses[1].is_ipv6());
    for address in &server.addresses {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        send_one(&mut talk, b"hello\r\n");
    }
    let texts: Vec<String> =
        wait_for_mail(&data, 2).iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    for client in ["([127.0.0.1])", "([IPv6:::1])"] {
        assert!(texts.iter().any(|text| text.contains(client)), "{client}: {texts:?}");
    }
}

#[test]
fn discarded_mail_lies_in_no_mailbox_not_even_after_a_restart() {
    let (_root, data) = data();
    for _ in 0..2 {
        let server = Server::start(&data, &["--deliver", "discard"]);
        let mut talk = server.connect();
        talk.hello();
        send_one(&mut talk, b"gone\r\n");
        assert_eq!(server.stop().code(), Some(0));
    }
    let server = Server::start(&data, &[]);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(fs::read_dir(data.join("mailboxes")).unwrap().count(), 0);
}

#[test]
fn without_durability_the_banner_and_the_log_say_so() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--durability", "none"]);
    let mut talk = server.connect();
    let banner = talk.reply();
    assert!(banner.starts_with("220 mx.example.com ESMTP ") && banner.contains("NOT DURABLE"), "{banner}");
    wait_until("the log says so", || server.log().contains("250 MEANS NOTHING"));
    talk.say("EHLO client.example\r\n", "250");
    send_one(&mut talk, b"kept in memory\r\n");
    wait_for_mail(&data, 1);
}

#[test]
fn the_log_says_at_the_start_who_is_limited_and_who_is_believed() {
    let (_root, data) = data();
    let log = log_of_start(&data, &["--limit-connections", "60", "--trusted-proxy", "192.0.2.0/24"]);
    let limits = "INFO limits of each client in a minute: 60 connections; exempt: 127.0.0.0/8, ::1\n";
    assert!(log.contains(limits), "{log}");
    assert!(log.contains("INFO trusted proxies: 192.0.2.0/24; "), "{log}");
    let log = log_of_start(&data, &[]);
    assert!(!log.contains("limits of each client") && !log.contains("trusted proxies"), "{log}");
}

#[test]
fn the_log_warns_at_the_start_of_passwords_in_plain_and_of_submission_by_nobody() {
    let (_root, data) = data();
    let submission = ["--listen-submission", "127.0.0.1:0", "--allow-plaintext-auth"];
    let log = log_of_start(&data, &submission);
    assert!(log.contains("WARN PASSWORDS MAY COME IN PLAIN: "), "{log}");
    assert!(log.contains("WARN nobody can log in, to send or to read: there are no accounts"), "{log}");
    accounts::keep(&data);
    let log = log_of_start(&data, &submission);
    assert!(log.contains("PASSWORDS MAY COME IN PLAIN") && !log.contains("nobody can log in"), "{log}");
    let log = log_of_start(&data, &[]);
    assert!(!log.contains("PASSWORDS MAY COME IN PLAIN") && !log.contains("nobody can log in"), "{log}");
}

#[test]
fn the_log_warns_at_the_start_of_accounts_whose_mail_is_refused() {
    let (_root, data) = data();
    accounts::keep(&data);
    let log = log_of_start(&data, &["--local-domain", "example.org"]);
    assert!(log.contains("WARN accounts have addresses in example.com, which is not local: "), "{log}");
    let log = log_of_start(&data, &["--local-domain", "example.org", "--local-domain", "example.com"]);
    assert!(!log.contains("which is not local"), "{log}");
}

/// What one run over `data` logged.
fn log_of_start(data: &Path, arguments: &[&str]) -> String {
    let _ = fs::remove_file(log_of(data));
    let server = Server::start(data, arguments);
    assert_eq!(server.stop().code(), Some(0));
    fs::read_to_string(log_of(data)).unwrap()
}

#[test]
fn sigusr1_logs_the_counters() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let mut talk = server.connect();
    talk.hello();
    assert_eq!(counter(&server, "accepted"), 0);
    send_one(&mut talk, b"one\r\n");
    assert_eq!(counter(&server, "accepted"), 1);
    assert_eq!(counter(&server, "open"), 1);
    wait_until("it is delivered and settled", || {
        counter(&server, "delivered") == 1 && counter(&server, "queued") == 0
    });
}

#[test]
fn a_second_server_on_the_same_data_says_so_and_exits_75() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let (code, said) = run_to_its_end(&["--listen", "127.0.0.1:0", "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(75));
    let sentence = format!(
        "fastsmtp: another fastsmtp uses the data directory {}; stop it, or give another --data\n",
        data.display()
    );
    assert_eq!(said, sentence);
    server.connect().hello();
}

#[test]
fn a_taken_port_is_named_and_exits_69() {
    let (_root, data) = data();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, said) = run_to_its_end(&["--listen", &address, "--data", data.to_str().unwrap()]);
    assert_eq!(code, Some(69), "{said}");
    assert_eq!(
        said,
        format!("fastsmtp: {address} is in use; stop who listens there, or give another --listen\n")
    );
}

#[test]
fn a_data_directory_that_cannot_be_made_or_written_is_named_and_exits_73_or_77() {
    let (root, _data) = data();
    let file = root.path().join("a file");
    fs::write(&file, "").unwrap();
    let spool_taken = root.path().join("spool taken");
    fs::create_dir(&spool_taken).unwrap();
    fs::write(spool_taken.join("spool"), "").unwrap();
    for path in [&file, &file.join("below"), &spool_taken] {
        let (code, said) = run_to_its_end(&["--listen", "127.0.0.1:0", "--data", path.to_str().unwrap()]);
        assert!(code == Some(73) || code == Some(77), "{code:?}: {said}");
        assert!(said.starts_with("fastsmtp: ") && said.contains(path.to_str().unwrap()), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
}

// Stopping.

#[test]
fn sigterm_under_load_keeps_every_250_and_ends_within_the_grace() {
    let (_root, data) = data();
    let server = Server::start(&data, &[]);
    let address = server.address();
    let mut idle: Vec<Talk> = (0..20).map(|_| server.connect()).collect();
    idle.iter_mut().for_each(Talk::hello);
    let mut in_data = server.connect();
    in_data.hello();
    in_data.begin();
    in_data.send("half of it\r\n");

    let acknowledged = AtomicUsize::new(0);
    let status = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| send_until_dismissed(address, &acknowledged));
        }
        wait_until("there is load", || acknowledged.load(Ordering::SeqCst) >= 50);
        let started = Instant::now();
        server.signal("TERM");
        for talk in &mut idle {
            assert_eq!(talk.rest(), "421 4.3.2 shutting down, try again later\r\n");
        }
        in_data.say("the other half\r\n.\r\n", "250");
        acknowledged.fetch_add(1, Ordering::SeqCst);
        assert_eq!(in_data.rest(), "421 4.3.2 shutting down, try again later\r\n");
        let mut server = server;
        let status = server.wait();
        println!("it stopped after {} ms", started.elapsed().as_millis());
        assert!(started.elapsed() < Duration::from_secs(6), "it took {:?}", started.elapsed());
        status
    });
    assert_eq!(status.code(), Some(0));
    let server = Server::start(&data, &["--shutdown-grace", "50s"]);
    assert_eq!(server.stop().code(), Some(0));
    assert_eq!(delivered(&data.join("mailboxes")).len(), acknowledged.into_inner());
}

#[test]
fn a_transaction_that_does_not_end_is_given_up_at_the_end_of_the_grace() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--shutdown-grace", "1s"]);
    let mut talk = server.connect();
    talk.hello();
    talk.begin();
    talk.send("half of it\r\n");
    server.connect().hello(); // by now the half is read
    let started = Instant::now();
    assert_eq!(server.stop().code(), Some(0));
    assert!(started.elapsed() >= Duration::from_millis(900), "it did not wait: {:?}", started.elapsed());
    assert_eq!(talk.rest(), "421 4.3.2 shutting down, try again later\r\n");
    assert_eq!(delivered(&data.join("mailboxes")).len(), 0);
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let (_root, data) = data();
    let mut server = Server::start(&data, &["--shutdown-grace", "50s"]);
    let mut in_data = server.connect();
    in_data.hello();
    in_data.begin();
    let mut idle = server.connect();
    idle.hello();
    server.signal("TERM");
    assert!(idle.rest().starts_with("421 4.3.2 "), "the first signal is taken");
    assert!(server.child.try_wait().unwrap().is_none(), "a transaction is under way");
    let started = Instant::now();
    server.signal("INT");
    assert_eq!(server.wait().code(), Some(75));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert!(server.log().ends_with("fastsmtp: stopped at once by a second signal\n"), "{}", server.log());
}

// Helpers.

impl Talk {
    /// Takes banner and reply of an EHLO that is sent already.
    fn hello_replies(&mut self) {
        assert!(self.reply().starts_with("220 "));
        assert!(self.reply().starts_with("250-"));
    }
}

fn send_one(talk: &mut Talk, content: &[u8]) {
    talk.begin();
    talk.send(content);
    talk.say(".\r\n", "250");
}

/// Sends message after message, counting the 250s, until the server says 421 or is gone.
fn send_until_dismissed(address: SocketAddr, acknowledged: &AtomicUsize) {
    let mut talk = Talk::new(TcpStream::connect(address).unwrap());
    talk.hello();
    for _ in 0..100_000 {
        for (text, code) in [
            ("MAIL FROM:<>\r\n", "250"),
            ("RCPT TO:<user@example.com>\r\n", "250"),
            ("DATA\r\n", "354"),
            ("hello\r\n.\r\n", "250"),
        ] {
            let reply = talk.stream.write_all(text.as_bytes()).map(|()| talk.reply()).unwrap_or_default();
            if reply.is_empty() || reply.starts_with("421 4.3.2 ") {
                return;
            }
            assert!(reply.starts_with(code), "{reply}");
        }
        acknowledged.fetch_add(1, Ordering::SeqCst);
    }
}

/// A client whose input is there before the server sees the connection.
fn early_talker(server: &Server, input: &str) -> Talk {
    server.signal("STOP");
    let mut talk = server.connect();
    talk.send(input);
    server.signal("CONT");
    talk
}

/// Writes `group` again and again until the other side takes no more; says how many octets it took, and completes the
/// last group's command by a blocking write once somebody reads. At most 256 MiB.
fn send_until_blocked(stream: &mut TcpStream, group: &[u8]) -> usize {
    let mut sent = 0;
    while sent < 256 << 20 {
        match stream.write(&group[sent % group.len()..]) {
            Ok(octets) => sent += octets,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return sent,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it reads for ever although its replies are not read");
}

/// A counter of the server's, as it logs it now.
fn counter(server: &Server, name: &str) -> u64 {
    let lines = || {
        server.log().lines().filter(|line| line.contains(" counters ")).map(str::to_owned).collect::<Vec<_>>()
    };
    let before = lines().len();
    server.signal("USR1");
    wait_until("the counters are logged", || lines().len() > before);
    let line = lines().pop().unwrap();
    let value = line.split(' ').find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
    value.unwrap_or_else(|| panic!("no {name} in {line}")).parse().unwrap()
}

/// Runs the program, which must end by itself; gives its code and its standard error.
fn run_to_its_end(arguments: &[&str]) -> (Option<i32>, String) {
    let errors = tempfile::NamedTempFile::new().unwrap();
    let mut child = Command::new(PROGRAM).args(arguments).stderr(errors.reopen().unwrap()).spawn().unwrap();
    let started = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > PATIENCE {
            child.kill().unwrap();
        }
        thread::sleep(Duration::from_millis(5));
    };
    (status.code(), fs::read_to_string(errors.path()).unwrap())
}

/// Raises the limit of descriptors of this process, which the clients' side of a test needs.
fn want_descriptors(count: u64) {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).unwrap();
    assert!(limit.maximum.is_none_or(|most| most >= count), "raise the hard limit of open files to {count}");
}

fn limit_of(descriptors: u64) -> Rlimit {
    Rlimit { current: Some(descriptors), maximum: getrlimit(Resource::Nofile).maximum }
}

const THREADS: usize = 8;
/// A second is the promise, on a machine of its own.
const BANNERS_TIME: Duration = Duration::from_secs(5);
