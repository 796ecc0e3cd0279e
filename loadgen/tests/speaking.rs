//! What the client says, octet by octet, and what it makes of the answers: chunks, LMTP, envelopes, sizes, sources.

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::net::IpAddr;

use common::peer::{Peer, serve};
use common::post::Post;
use common::{Ran, command, finish, run, spawn};

/// Insists that all went well.
fn fine(ran: &Ran) {
    assert_eq!(ran.code(), Some(0), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

/// Insists on code 3, a report of nothing accepted, and a sentence.
fn no_service(ran: &Ran, sentence: &str) {
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert_eq!(ran.count("/accepted"), 0);
    assert!(ran.stderr.contains(sentence), "{sentence:?} is not in {}", ran.stderr);
    assert!(ran.text("/verdict").contains(sentence), "{}", ran.text("/verdict"));
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
}

fn greet(peer: &mut Peer, keywords: &str) -> io::Result<()> {
    peer.say("220 mx.example ESMTP\r\n")?;
    peer.hear("EHLO client.example\r\n")?;
    peer.say(&format!("250-mx.example\r\n{keywords}"))
}

fn part(peer: &mut Peer) -> io::Result<()> {
    peer.hear("QUIT\r\n")?;
    peer.say("221 bye\r\n")?;
    peer.wait_for_end();
    Ok(())
}

const ENVELOPE: [&str; 3] =
    ["MAIL FROM:<loadgen@client.example>\r\n", "RCPT TO:<user@example.com>\r\n", "BDAT 1000 LAST\r\n"];

#[test]
fn a_chunk_goes_with_its_envelope_in_one_group() {
    let server = serve(|peer| {
        greet(peer, "250-PIPELINING\r\n250 CHUNKING\r\n")?;
        for _ in 0..5 {
            let octets = peer.hear_octets(ENVELOPE.concat().len() + 1000)?;
            let (envelope, content) = octets.split_at(octets.len() - 1000);
            assert_eq!(String::from_utf8_lossy(envelope), ENVELOPE.concat());
            assert!(content.starts_with(b"X-Loadgen-Id: ") && content.ends_with(b"\r\n"));
            peer.hear("")?;
            peer.say("250 ok\r\n250 ok\r\n250 2.0.0 1000 octets\r\n")?;
        }
        part(peer)
    });
    let ran = run(server.address, "--conns 1 --messages 5 --size 1000 --mode bdat");
    fine(&ran);
    assert_eq!((ran.count("/accepted"), ran.count("/phases/accept/count"), server.content()), (5, 5, 1));
    assert_eq!(ran.text("/speaking/in_force"), "BDAT, pipelined");
}

#[test]
fn a_chunk_goes_in_lockstep_where_pipelining_is_not_offered() {
    let server = serve(|peer| {
        greet(peer, "250 CHUNKING\r\n")?;
        for _ in 0..5 {
            for command in &ENVELOPE[..2] {
                peer.hear(command)?;
                peer.say("250 ok\r\n")?;
            }
            assert_eq!(peer.hear_octets(ENVELOPE[2].len())?, ENVELOPE[2].as_bytes());
            assert!(peer.hear_octets(1000)?.ends_with(b"\r\n"));
            peer.hear("")?;
            peer.say("250 2.0.0 1000 octets\r\n")?;
        }
        part(peer)
    });
    let ran = run(server.address, "--conns 1 --messages 5 --size 1000 --mode bdat");
    fine(&ran);
    assert_eq!((ran.count("/accepted"), server.content()), (5, 1));
    assert_eq!(ran.text("/speaking/in_force"), "BDAT in lockstep: PIPELINING is not offered");
}

#[test]
fn without_chunking_a_chunk_is_not_said_and_the_run_says_why() {
    let server = serve(|peer| {
        greet(peer, "250 PIPELINING\r\n")?;
        peer.hear("")?;
        peer.wait_for_end();
        peer.hear("")
    });
    let ran = run(server.address, "--conns 3 --messages 5 --mode bdat");
    no_service(&ran, "the server does not offer CHUNKING");
    assert_eq!((ran.count("/offered"), server.content()), (0, 1));
}

#[test]
fn a_refused_chunk_is_said_to_its_end_and_its_transaction_reset() {
    let server = serve(|peer| {
        greet(peer, "250-PIPELINING\r\n250 CHUNKING\r\n")?;
        for _ in 0..3 {
            peer.hear_octets(ENVELOPE.concat().len() + 1000)?;
            peer.say("250 ok\r\n250 ok\r\n452 4.3.1 full\r\n")?;
            peer.hear("RSET\r\n")?;
            peer.say("250 ok\r\n")?;
        }
        part(peer)
    });
    let ran = run(server.address, "--conns 1 --messages 3 --size 1000 --mode bdat");
    no_service(&ran, "452 4.3.1 full");
    assert_eq!((ran.count("/refused_transient"), server.content()), (3, 1));
}

#[test]
fn lmtp_has_a_reply_for_each_recipient_and_a_message_counts_once() {
    // Of numbers 1 to 4 RCPT refuses 2, and 3 has no room when the data is there.
    let rcpt = |path: &str| if path.contains('2') { "550 5.1.1 nobody\r\n" } else { "250 ok\r\n" };
    let accept = |path: &str| if path.contains('3') { "452 4.2.2 full\r\n" } else { "250 2.0.0 ok\r\n" };
    for mode in ["lockstep", "pipeline", "bdat"] {
        let post = Post { lmtp: true, rcpt, accept, ..Post::default() };
        let (server, book) = post.open();
        let arguments =
            format!("--conns 2 --messages 10 --lmtp --mode {mode} --rcpts 4 --to u{{n%4}}@x.example");
        let ran = run(server.address, &arguments);
        fine(&ran);
        assert_eq!((ran.count("/accepted"), ran.count("/offered"), book.lock().unwrap().len()), (10, 10, 10));
        let to_data = |code| {
            let json = ran.json();
            let replies = json["replies"].as_array().unwrap().iter();
            let of_accept = |reply: &&serde_json::Value| reply["phase"] == "accept" && reply["code"] == code;
            replies.filter(of_accept).map(|reply| reply["count"].as_u64().unwrap()).sum::<u64>()
        };
        assert_eq!((to_data(250), to_data(452)), (20, 10), "{mode}");
        assert_eq!((ran.replies(550), ran.count("/phases/accept/count")), (10, 10));
        assert!(ran.text("/verdict").contains("20 recipients were refused"), "{}", ran.text("/verdict"));
        assert_eq!(ran.text("/speaking/protocol"), "lmtp");
        assert!(ran.text("/speaking/in_force").starts_with("LMTP, "));
        server.content();
    }
}

#[test]
fn lmtp_to_nobody_is_a_refusal_and_the_connection_goes_on() {
    for mode in ["lockstep", "pipeline", "bdat"] {
        let post = Post { lmtp: true, rcpt: |_| "550 5.1.1 nobody\r\n", ..Post::default() };
        let (server, book) = post.open();
        let ran = run(server.address, &format!("--conns 1 --messages 10 --lmtp --mode {mode}"));
        no_service(&ran, "550 5.1.1 nobody");
        assert_eq!((ran.count("/refused_permanent"), book.lock().unwrap().len()), (10, 0), "{mode}");
        assert_eq!((server.content(), ran.count("/phases/connect/count")), (1, 1), "{mode}");
    }
}

#[test]
fn envelopes_have_exactly_the_addresses_that_were_asked_for() {
    let (server, book) = Post::default().open();
    let ran = run(
        server.address,
        "--conns 2 --messages 40 --rcpts 1..5 --from bounce-{n}@client.example --to user{n%1000}@x{n%10}.example",
    );
    fine(&ran);
    let taken = book.lock().unwrap().clone();
    let reverse_paths: BTreeSet<_> = taken.iter().map(|mail| mail.reverse_path.clone()).collect();
    assert_eq!(reverse_paths, (0..40).map(|n| format!("bounce-{n}@client.example")).collect());
    let forward_paths: Vec<_> = taken.iter().flat_map(|mail| mail.forward_paths.clone()).collect();
    let expected: BTreeSet<_> =
        (0..forward_paths.len()).map(|n| format!("user{}@x{}.example", n % 1000, n % 10)).collect();
    assert_eq!(forward_paths.iter().cloned().collect::<BTreeSet<_>>(), expected);
    assert!(taken.iter().all(|mail| (1..=5).contains(&mail.forward_paths.len())));
    assert!(taken.iter().map(|mail| mail.forward_paths.len()).collect::<BTreeSet<_>>().len() > 1);
    // MAIL and the end of data of each message, and each RCPT; and EHLO of each connection.
    assert_eq!(ran.replies(250), 2 * 40 + forward_paths.len() as u64 + 2);
}

#[test]
fn the_null_reverse_path_can_be_asked_for() {
    let (server, book) = Post::default().open();
    let ran = finish(spawn(command(server.address, "--conns 1 --messages 2 --json -").args(["--from", ""])));
    fine(&ran);
    assert!(book.lock().unwrap().iter().all(|mail| mail.reverse_path.is_empty()));
}

#[test]
fn octets_are_those_that_the_server_saw() {
    for mode in ["lockstep", "pipeline", "bdat"] {
        for size in ["2", "77", "100..2000", "70%:1KiB,25%:4KiB..8KiB,5%:100KiB"] {
            let (server, book) = Post::default().open();
            let ran = run(server.address, &format!("--conns 2 --messages 60 --size {size} --mode {mode}"));
            fine(&ran);
            let taken = book.lock().unwrap().clone();
            let octets: usize = taken.iter().map(|mail| mail.data.len()).sum();
            let told = ran.number("/octets_per_second") * ran.number("/elapsed_seconds");
            assert_eq!(told.round() as usize, octets, "{size} {mode}");
            let is_in_range = |octets: usize| match size {
                "2" => octets == 2,
                "77" => octets == 77,
                "100..2000" => (100..=2000).contains(&octets),
                _ => [1024, 102_400].contains(&octets) || (4096..=8192).contains(&octets),
            };
            assert!(taken.iter().all(|mail| is_in_range(mail.data.len())), "{size}");
        }
    }
}

#[test]
fn the_messages_of_a_directory_are_sent_as_they_stand_in_turn() {
    let directory = tempfile::tempdir().unwrap();
    let contents: [&[u8]; 3] = [
        b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n",
        b"Subject: lines of Unix\n\nto be sent with CRLF\n",
        "Subject: eight bits\r\n\r\ngr\u{fc}\u{df}e\r\n".as_bytes(),
    ];
    for (number, content) in contents.iter().enumerate() {
        fs::write(directory.path().join(format!("{number}.eml")), content).unwrap();
    }
    fs::write(directory.path().join("not-a-mail.txt"), "x").unwrap();
    let expected: BTreeSet<Vec<u8>> = contents
        .iter()
        .map(|content| content.split(|octet| *octet == b'\n'))
        .map(|lines| {
            let lines: Vec<_> = lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)).collect();
            lines.join(&b"\r\n"[..])
        })
        .collect();
    for mode in ["lockstep", "pipeline", "bdat"] {
        let keywords = &["PIPELINING", "CHUNKING", "8BITMIME"];
        let (server, book) = Post { keywords, ..Post::default() }.open();
        let mut command = command(server.address, &format!("--conns 1 --messages 9 --mode {mode} --json -"));
        let ran = finish(spawn(command.arg("--eml").arg(directory.path())));
        fine(&ran);
        let taken = book.lock().unwrap().clone();
        let sent: BTreeSet<Vec<u8>> = taken.iter().map(|mail| mail.data.clone()).collect();
        assert_eq!(sent, expected, "{mode}");
        assert!((0..6).all(|number| taken[number].data == taken[number + 3].data));
        assert!(ran.text("/speaking/size").contains("3 real messages"));
    }
}

#[test]
fn connections_come_from_the_addresses_that_were_named_in_turn() {
    let (server, book) = Post::default().open();
    let ran = run(
        server.address,
        "--conns 8 --messages 80 --messages-per-conn 1 --source-addrs 127.0.0.2-127.0.0.5",
    );
    fine(&ran);
    let peers: BTreeSet<IpAddr> = book.lock().unwrap().iter().map(|mail| mail.peer).collect();
    assert_eq!(peers, (2..=5).map(|last| IpAddr::from([127, 0, 0, last])).collect());
}

#[test]
fn an_address_that_is_not_ours_is_named() {
    let (server, _) = Post::default().open();
    let ran = run(server.address, "--conns 2 --messages 2 --source-addrs 192.0.2.77");
    no_service(&ran, "192.0.2.77");
}

#[test]
fn a_connection_is_closed_after_so_many_messages() {
    let (server, book) = Post::default().open();
    let ran = run(server.address, "--conns 2 --messages 30 --messages-per-conn 3");
    fine(&ran);
    let taken = book.lock().unwrap().clone();
    let on = |number| taken.iter().filter(|mail| mail.connection == number).count();
    let connections = server.content();
    assert!((10..=12).contains(&connections), "{connections}");
    assert!((0..connections).all(|number| on(number) <= 3));
    assert_eq!((ran.count("/connection_failures/reset"), taken.len()), (0, 30));
}

#[test]
fn connections_are_not_opened_faster_than_their_rate() {
    let (server, _) = Post::default().open();
    let begun = std::time::Instant::now();
    let ran = run(server.address, "--conns 6 --messages 6 --connect-rate 20 --threads 2");
    fine(&ran);
    // Five distances of 50 ms, each thread having its own; a slow machine only takes longer.
    assert!(begun.elapsed().as_millis() >= 150, "{:?}", begun.elapsed());
    assert_eq!(ran.count("/phases/connect/count"), 6);
}

#[test]
fn what_threads_did_adds_up() {
    let (server, book) = Post::default().open();
    let ran = run(
        server.address,
        "--conns 5 --messages 301 --threads 2 --rcpts 2 --to u{n}@x.example --from f{n}@x.example",
    );
    fine(&ran);
    let taken = book.lock().unwrap().clone();
    assert_eq!((ran.count("/accepted"), ran.count("/offered"), taken.len()), (301, 301, 301));
    for phase in ["message", "accept", "envelope"] {
        assert_eq!(ran.count(&format!("/phases/{phase}/count")), 301);
    }
    assert_eq!(ran.count("/phases/connect/count"), 5);
    let reverse_paths: BTreeSet<_> = taken.iter().map(|mail| mail.reverse_path.clone()).collect();
    assert_eq!(reverse_paths, (0..301).map(|n| format!("f{n}@x.example")).collect());
    let forward_paths: BTreeSet<_> = taken.iter().flat_map(|mail| mail.forward_paths.clone()).collect();
    assert_eq!(forward_paths, (0..602).map(|n| format!("u{n}@x.example")).collect());
    assert_eq!(server.content(), 5);
}
