//! TLS as a client: what is trusted, what is refused with a sentence, and what an attacker between does not get through.

mod common;

use std::fs;
use std::io::{self, Write};
use std::net::Shutdown;

use common::peer::{Certificate, Peer, certificate, serve};
use common::post::Post;
use common::{Ran, command, finish, run, spawn};
use tempfile::TempDir;

const HOST: &str = "127.0.0.1";

const LOAD: &str = "--conns 2 --messages 6 --timeout 20s";

/// The authority of a certificate in a file; and the argument that names it.
fn trust(certificate: &Certificate) -> (TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    fs::write(&file, &certificate.authority).unwrap();
    let argument = format!("--ca {}", file.display());
    (directory, argument)
}

/// Insists on code 3 and the sentence, in the report and beside it.
fn no_service(ran: &Ran, sentence: &str) {
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(ran.text("/verdict").contains(sentence), "{sentence:?}: {}", ran.text("/verdict"));
    assert!(ran.stderr.contains("no mail service for us"), "{}", ran.stderr);
    assert_eq!((ran.count("/accepted"), ran.count("/offered")), (0, 0));
}

/// Up to STARTTLS.
fn greet(peer: &mut Peer) -> io::Result<()> {
    peer.say("220 mx.example ESMTP\r\n")?;
    peer.hear("EHLO client.example\r\n")?;
    peer.say("250-mx.example\r\n250-PIPELINING\r\n250 STARTTLS\r\n")?;
    peer.hear("STARTTLS\r\n")
}

#[test]
fn messages_go_under_tls_however_it_was_begun() {
    let certificate = certificate(HOST);
    let (_directory, trusting) = trust(&certificate);
    let other = common::peer::certificate("else.example");
    for (tls, implicit, trust) in [
        ("starttls", false, &trusting[..]),
        ("auto", false, &trusting),
        ("implicit", true, &trusting),
        ("starttls", false, "--insecure"),
        ("implicit", true, "--insecure"),
        ("starttls", false, &format!("{trusting} --full-handshakes")),
    ] {
        // Who asks nobody takes a certificate of another name too.
        let server = if trust.contains("insecure") { &other } else { &certificate }.server.clone();
        let post = match implicit {
            true => Post { implicit: Some(server), ..Post::default() },
            false => Post { starttls: Some(server), ..Post::default() },
        };
        let (server, book) = post.open();
        let ran = run(server.address, &format!("{LOAD} {trust} --tls {tls}"));
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 6), "{tls} {trust}: {}", ran.stderr);
        let taken = book.lock().unwrap().clone();
        assert!(taken.len() == 6 && taken.iter().all(|mail| mail.secured), "{tls}");
        assert_eq!((ran.count("/phases/tls/count"), ran.count("/phases/banner/count")), (2, 2), "{tls}");
        assert!(ran.number("/phases/tls/p50_us") > 0.0);
        assert!(ran.text("/target/tls").starts_with("TLS 1.3"), "{}", ran.text("/target/tls"));
        assert!(ran.text("/speaking/in_force").ends_with(", TLS"));
        assert_eq!(ran.text("/speaking/tls"), tls);
        assert_eq!(server.content(), 2);
    }
}

#[test]
fn sessions_are_resumed_unless_full_handshakes_are_asked_for() {
    let certificate = certificate(HOST);
    let (_directory, trusting) = trust(&certificate);
    for (arguments, resumed) in [("", 3), ("--full-handshakes", 0)] {
        let (server, book) = Post { starttls: Some(certificate.server.clone()), ..Post::default() }.open();
        let load = "--conns 1 --messages 4 --messages-per-conn 1 --tls starttls";
        let ran = run(server.address, &format!("{load} {trusting} {arguments}"));
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 4), "{}", ran.stderr);
        assert_eq!(book.lock().unwrap().iter().filter(|mail| mail.resumed).count(), resumed, "{arguments}");
        assert!(ran.count("/phases/tls/count") >= 4);
    }
}

#[test]
fn large_messages_go_whole_under_tls() {
    let certificate = certificate(HOST);
    let (_directory, trusting) = trust(&certificate);
    for mode in ["pipeline", "bdat"] {
        let (server, book) = Post { implicit: Some(certificate.server.clone()), ..Post::default() }.open();
        let ran =
            run(server.address, &format!("{LOAD} {trusting} --tls implicit --size 500KiB --mode {mode}"));
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 6), "{}", ran.stderr);
        assert!(book.lock().unwrap().iter().all(|mail| mail.data.len() == 512_000));
        server.content();
    }
}

#[test]
fn auto_goes_on_in_the_clear_where_starttls_is_not_offered_or_refused_and_says_so() {
    let (server, book) = Post::default().open();
    let ran = run(server.address, "--conns 2 --messages 6 --tls auto --insecure");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 6), "{}", ran.stderr);
    assert!(book.lock().unwrap().iter().all(|mail| !mail.secured));
    assert_eq!((ran.count("/phases/tls/count"), server.content()), (0, 2));
    assert!(!ran.text("/speaking/in_force").contains("TLS"));
    let server = serve(|peer| {
        greet(peer)?;
        peer.say("454 4.7.0 not now\r\n")?;
        peer.hear_octets("MAIL FROM".len())?;
        peer.wait_for_end();
        Ok(())
    });
    let ran = run(server.address, "--conns 1 --messages 1 --tls auto --insecure --timeout 1s");
    assert_eq!((ran.code(), ran.count("/offered"), server.content()), (Some(3), 1, 1), "{}", ran.stderr);
}

#[test]
fn starttls_that_is_not_offered_or_not_granted_ends_the_run() {
    let (server, _) = Post::default().open();
    let ran = run(server.address, "--conns 2 --messages 6 --tls starttls --insecure");
    no_service(&ran, "the server does not offer STARTTLS");
    for reply in ["454 4.7.0 not now\r\n", "502 5.5.1 what?\r\n"] {
        let server = serve(move |peer| {
            greet(peer)?;
            peer.say(reply)?;
            peer.wait_for_end();
            peer.hear("")
        });
        let ran = run(server.address, "--conns 2 --messages 6 --tls starttls --insecure");
        no_service(&ran, &format!("refused STARTTLS with {}", &reply[..3]));
        assert_eq!(server.content(), 1);
    }
}

#[test]
fn a_certificate_of_another_authority_or_name_is_refused_and_the_server_is_told() {
    let (ours, other) = (certificate("mx.example"), certificate("mx.example"));
    for (implicit, trusted, name, sentence) in [
        (false, &other, "mx.example", "invalid peer certificate"),
        (true, &other, "mx.example", "invalid peer certificate"),
        (false, &ours, "mx.example.org", "not valid for name"),
        (true, &ours, "127.0.0.1", "not valid for name"),
    ] {
        let tls = ours.server.clone();
        let server = serve(move |peer| {
            if !implicit {
                greet(peer)?;
                peer.say("220 go\r\n")?;
            }
            let told = peer.secure_in_vain(&tls);
            assert!(told.contains("alert"), "the client left without a word: {told}");
            Ok(())
        });
        let (_directory, trusting) = trust(trusted);
        let tls = if implicit { "implicit" } else { "starttls" };
        let ran = run(server.address, &format!("{LOAD} {trusting} --tls {tls} --tls-name {name}"));
        no_service(&ran, sentence);
        assert_eq!((ran.count("/connection_failures/tls"), server.content()), (1, 1));
    }
    // The name that it has is fine, whatever the address.
    let (server, _) = Post { implicit: Some(ours.server.clone()), ..Post::default() }.open();
    let (_directory, trusting) = trust(&ours);
    let ran = run(server.address, &format!("{LOAD} {trusting} --tls implicit --tls-name mx.example"));
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 6), "{}", ran.stderr);
}

#[test]
fn the_system_does_not_trust_our_certificate() {
    let (server, _) = Post { implicit: Some(certificate(HOST).server), ..Post::default() }.open();
    let ran = run(server.address, "--conns 1 --messages 1 --tls implicit");
    // Where the system trusts nobody at all, that is said before the run.
    match ran.code() {
        Some(2) => assert!(ran.stderr.contains("ca-certificates"), "{}", ran.stderr),
        _ => no_service(&ran, "invalid peer certificate"),
    }
}

#[test]
fn plaintext_behind_the_220_is_taken_for_an_attack() {
    let server = serve(|peer| {
        greet(peer)?;
        peer.say("220 go\r\n250-mx.example\r\n250 AUTH PLAIN\r\n")?;
        peer.wait_for_end();
        peer.hear("")
    });
    let ran = run(server.address, "--conns 2 --messages 6 --tls starttls --insecure");
    no_service(&ran, "between the reply to STARTTLS and the handshake");
    assert_eq!(server.content(), 1);
}

#[test]
fn a_handshake_that_comes_to_nothing_is_told_as_one() {
    type Part = fn(&mut Peer) -> io::Result<()>;
    let closes: Part = |peer| peer.stream.shutdown(Shutdown::Both);
    let closes_later: Part = |peer| {
        peer.hear_octets(5)?;
        peer.stream.shutdown(Shutdown::Both)
    };
    let garbage: Part = |peer| {
        peer.stream.write_all(&[0xff; 100])?;
        peer.wait_for_end();
        Ok(())
    };
    let plain: Part = |peer| {
        peer.say("220 mx.example I speak no TLS\r\n")?;
        peer.wait_for_end();
        Ok(())
    };
    let silent: Part = |peer| {
        peer.wait_for_end();
        Ok(())
    };
    for (number, (part, sentence)) in [
        (closes, "closed the connection in the TLS handshake"),
        (closes_later, "closed the connection in the TLS handshake"),
        (garbage, "not TLS"),
        (plain, "not TLS"),
        (silent, "no reply in 1s"),
    ]
    .into_iter()
    .enumerate()
    {
        for tls in ["implicit", "starttls"] {
            let server = serve(move |peer| {
                if tls == "starttls" {
                    greet(peer)?;
                    peer.say("220 go\r\n")?;
                    // The handshake's first octets, so that what follows is not behind the 220.
                    peer.hear_octets(1)?;
                }
                part(peer)
            });
            let ran =
                run(server.address, &format!("--conns 2 --messages 6 --tls {tls} --insecure --timeout 1s"));
            no_service(&ran, sentence);
            assert_eq!(ran.count("/connection_failures/tls"), u64::from(number < 4), "{tls} {number}");
        }
    }
}

#[test]
fn a_reply_that_tls_does_not_vouch_for_whole_is_no_acceptance() {
    // The connection is cut within the record of the last reply.
    let certificate = certificate(HOST);
    let tls = certificate.server.clone();
    let server = serve(move |peer| {
        peer.secure(&tls)?;
        peer.say("220 mx.example ESMTP\r\n")?;
        peer.hear("EHLO client.example\r\n")?;
        peer.say("250 mx.example\r\n")?;
        for reply in ["250 ok\r\n", "250 ok\r\n", "354 go\r\n"] {
            peer.hear_line()?;
            peer.say(reply)?;
        }
        peer.hear_data()?;
        // A record's header that promises more than follows.
        peer.stream.write_all(&[0x17, 3, 3, 0, 40, 1, 2, 3])?;
        peer.stream.shutdown(Shutdown::Both)
    });
    let (_directory, trusting) = trust(&certificate);
    let arguments = format!("{trusting} --conns 1 --messages 3 --tls implicit");
    let ran = run(server.address, &arguments);
    assert_eq!((ran.code(), ran.count("/accepted"), ran.count("/broken")), (Some(3), 0, 3), "{}", ran.stderr);
    assert!(ran.text("/verdict").contains("closed the connection"), "{}", ran.text("/verdict"));
}

#[test]
fn certificates_that_cannot_be_read_are_told_before_the_run() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    let (server, _) = Post::default().open();
    let told = |content: Option<&str>| {
        if let Some(content) = content {
            fs::write(&file, content).unwrap();
        }
        let mut command = command(server.address, "--tls starttls");
        let ran = finish(spawn(command.arg("--ca").arg(&file)));
        assert_eq!((ran.code(), &ran.stdout[..]), (Some(2), ""), "{}", ran.stderr);
        assert!(ran.stderr.contains("--ca") && ran.stderr.contains("ca.pem"), "{content:?}: {}", ran.stderr);
    };
    told(None);
    told(Some(""));
    told(Some("no certificate at all"));
    told(Some("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n"));
    told(Some("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"));
    assert_eq!(server.content(), 0);
}
