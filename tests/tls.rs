//! TLS with the real binary: STARTTLS and TLS from the start, by a client of ours that sees each octet, by Python and by
//! OpenSSL; and what an attacker on the way may try.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::accounts;
use common::secure::{Secure, own_certificate, self_signed, trusting};
use common::server::{Talk, data, delivered, has_tool, wait_for_mail, wait_until};
use fastsmtp::net::tls::{ServerName, Tls};

#[test]
fn a_message_comes_in_by_starttls_and_by_tls_from_the_start() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut session = Secure::by_starttls(server.address(), &client);
    assert!(!session.say("EHLO client.example\r\n", "250").contains("STARTTLS"));
    session.begin_mail();
    session.say("Subject: one\r\n\r\n.\r\n", "250 2.");
    session.say("QUIT\r\n", "221");
    session.insist_on_the_end();

    let mut session = Secure::by_starttls(server.submission[0], &client);
    session.say("EHLO client.example\r\n", "250");
    let mut session = Secure::connect(server.submissions[0], &client);
    assert!(session.reply().starts_with("220 mx.example.com "));
    assert!(!session.say("EHLO client.example\r\n", "250").contains("STARTTLS"));
    session.say("STARTTLS\r\n", "503");
    session.say(&accounts::auth("alice@example.com"), "235");
    session.say("MAIL FROM:<alice@example.com>\r\n", "250");
    session.say("RCPT TO:<user@example.com>\r\n", "250");
    session.say("DATA\r\n", "354");
    session.say("Subject: two\r\n\r\n.\r\n", "250 2.");
    for mail in wait_for_mail(&data, 2) {
        let text = fs::read_to_string(mail).unwrap();
        let protocol = if text.contains("Subject: two") { "with ESMTPSA id" } else { "with ESMTPS id" };
        assert!(text.contains(protocol), "{text}");
    }
}

// Attackers on the way.

#[test]
fn what_is_pipelined_behind_starttls_is_refused_and_never_interpreted() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let mail = "EHLO evil.example\r\nMAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nBDAT 2 LAST\r\nhi";
    for behind in ["N", "\r\n", "NOOP\r\n", mail] {
        let mut talk = server.connect();
        talk.hello();
        talk.send(format!("STARTTLS\r\n{behind}"));
        let rest = talk.rest();
        assert!(rest.starts_with("554 5.5.1 ") && rest.matches("\r\n").count() == 1, "{rest:?}");
    }
    assert!(delivered(&data).is_empty());
    wait_until("the log says why", || server.log().contains("reason=plaintext-behind-starttls"));
}

#[test]
fn what_comes_in_plain_behind_the_220_fails_the_handshake_and_never_reaches_the_session() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mail = b"EHLO evil.example\r\nMAIL FROM:<>\r\nRCPT TO:<user@example.com>\r\nBDAT 2 LAST\r\nhi";
    let mut talk = server.connect();
    talk.hello();
    talk.say("STARTTLS\r\n", "220 ");
    talk.send(mail);
    assert_eq!(alert(&mut talk), [ALERT, 3]);
    wait_until("the log says why", || server.log().contains("cause=\"what the peer says is not TLS\""));
    // Plaintext in front of a client's true hello, as somebody on the way would put it.
    let mut talk = server.connect();
    talk.hello();
    talk.say("STARTTLS\r\n", "220 ");
    let mut hello = Vec::from(b"NOOP\r\n");
    Tls::client(&client, &ServerName::new("mx.example.com").unwrap()).unwrap().flush(&mut hello).unwrap();
    talk.send(&hello);
    assert_eq!(alert(&mut talk), [ALERT, 3]);
    // Sent without waiting for the 220: whichever way the segments fall, nothing of it is a command.
    for _ in 0..20 {
        let mut talk = server.connect();
        talk.hello();
        talk.send("STARTTLS\r\n");
        talk.send(mail);
        let mut rest = Vec::new();
        talk.stream.read_to_end(&mut rest).unwrap();
        let refused =
            rest.starts_with(b"554 5.5.1 ") && rest.iter().filter(|octet| **octet == b'\n').count() == 1;
        let end = rest.iter().position(|octet| *octet == b'\n').unwrap() + 1;
        assert!(refused || rest.starts_with(b"220 ") && rest[end..].starts_with(&[ALERT, 3]), "{rest:?}");
    }
    assert!(delivered(&data).is_empty());
}

/// The first octets of what the server says until it closes.
fn alert(talk: &mut Talk) -> [u8; 2] {
    let mut rest = Vec::new();
    talk.stream.read_to_end(&mut rest).unwrap();
    assert!(rest.len() < 20, "more than an alert: {rest:?}");
    [rest[0], rest[1]]
}

#[test]
fn a_message_that_was_cut_off_is_never_taken_and_one_whose_end_came_is() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let sessions = |end: &str| {
        let mut session = Secure::by_starttls(server.address(), &client);
        session.say("EHLO client.example\r\n", "250");
        session.begin_mail();
        session.send(format!("Subject: {end}\r\n\r\nall but the end\r\n").as_bytes());
        session
    };
    let mut cut = sessions("cut by a bare FIN");
    cut.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(cut.reply(), "");
    let mut closed = sessions("ended by close_notify");
    closed.tls.close();
    closed.flush();
    assert_eq!(closed.reply(), "");
    closed.insist_on_the_end();
    let reset = sessions("reset");
    let linger = socket2::SockRef::from(&reset.stream);
    linger.set_linger(Some(Duration::ZERO)).unwrap();
    drop(reset);
    // The end of the data in one record, the end of the stream right behind.
    let mut whole = sessions("whole");
    whole.send(b".\r\n");
    whole.stream.shutdown(Shutdown::Write).unwrap();
    assert!(whole.reply().starts_with("250 2."));
    // The same with garbage behind it, which ends the session: nobody can be told.
    let mut garbage = sessions("garbage behind it");
    let mut wire = Vec::new();
    garbage.tls.send([b".\r\n", b""]);
    garbage.tls.flush(&mut wire).unwrap();
    wire.extend([0x17, 3, 3, 0, 32]);
    wire.extend([0; 32]);
    garbage.stream.write_all(&wire).unwrap();
    let mut rest = Vec::new();
    let _ = garbage.stream.read_to_end(&mut rest);
    let mails = wait_for_mail(&data, 2);
    wait_until("all have ended", || server.log().matches("closed client=").count() == 5);
    let mut subjects: Vec<String> = mails.iter().map(|mail| subject(mail)).collect();
    subjects.sort();
    assert_eq!(subjects, ["garbage behind it", "whole"]);
    assert_eq!(delivered(&data).len(), 2);
}

fn subject(mail: &Path) -> String {
    let text = fs::read_to_string(mail).unwrap();
    text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned()
}

#[test]
fn garbage_instead_of_a_hello_is_told_by_an_alert_and_one_line_in_the_log() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    for garbage in ["EHLO client.example\r\n", "GET / HTTP/1.1\r\n\r\n", "\x16\x03\x01\x7f\x7fgarbage"] {
        let mut talk = Talk::new(TcpStream::connect(server.submissions[0]).unwrap());
        talk.send(garbage);
        assert_eq!(alert(&mut talk), [ALERT, 3], "{garbage:?}");
    }
    wait_until("the log says so", || server.log().matches("tls failed client=").count() == 3);
    wait_until("all are closed", || server.log().matches("reason=tls-failed").count() == 3);
    server.signal("USR1");
    wait_until("they are counted", || {
        server.log().contains("handshakes=0 handshakes_resumed=0 tls_failed=3")
    });
}

// Much to say.

#[test]
fn a_large_mail_comes_through_tls_byte_for_byte() {
    let (_root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut session = Secure::connect(server.submissions[0], &client);
    session.reply();
    session.say("EHLO client.example\r\n", "250");
    session.say(&accounts::auth("alice@example.com"), "235");
    session.say("MAIL FROM:<> BODY=BINARYMIME\r\n", "250");
    session.say("RCPT TO:<user@example.com>\r\n", "250");
    let octets: Vec<u8> = (0..7_000_000u64).map(|at| (at.pow(2) >> 7) as u8).collect();
    session.send(format!("BDAT {} LAST\r\n", octets.len()).as_bytes());
    session.send(&octets);
    assert!(session.reply().starts_with("250 2."));
    let mail = fs::read(&wait_for_mail(&data, 1)[0]).unwrap();
    assert!(mail.ends_with(&octets) && mail.len() < octets.len() + 1000);
}

#[test]
fn a_pipelined_group_is_answered_in_order_however_its_records_are_cut() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let group = b"MAIL FROM:<sender@client.example>\r\nRCPT TO:<user@example.com>\r\nDATA\r\n";
    let mail = b"Subject: x\r\n\r\n..dot\r\n.\r\nNOOP\r\nQUIT\r\n";
    for cut in [1, 7, 1000] {
        let mut session = Secure::by_starttls(server.address(), &client);
        session.say("EHLO client.example\r\n", "250");
        for (octets, codes) in [(&group[..], &["250", "250", "354"][..]), (mail, &["250 2.", "250", "221"])] {
            let mut wire = Vec::new();
            for record in octets.chunks(cut) {
                session.tls.send([record, b""]);
                session.tls.flush(&mut wire).unwrap();
            }
            session.stream.write_all(&wire).unwrap();
            for code in codes {
                let reply = session.reply();
                assert!(reply.starts_with(code), "{code} wanted: {reply:?}");
            }
        }
        session.insist_on_the_end();
    }
    wait_for_mail(&data, 3);
}

#[test]
fn a_client_that_never_reads_is_read_no_further_and_has_all_replies_when_it_does() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut session = Secure::by_starttls(server.address(), &client);
    session.say("EHLO client.example\r\n", "250");
    let before = server.resident();
    session.stream.set_nonblocking(true).unwrap();
    let group = b"NOOP\r\n".repeat(1000);
    let (mut wire, mut sent, mut groups) = (Vec::new(), 0, 0);
    // Until the way is full to the client and back.
    let mut blocked_since = Instant::now();
    while blocked_since.elapsed() < Duration::from_secs(1) {
        if sent == wire.len() {
            (wire, sent, groups) = (Vec::new(), 0, groups + 1);
            assert!(groups < 20_000, "the server reads on although nobody reads its replies");
            assert_eq!(session.tls.send([&group, b""]), group.len());
            session.tls.flush(&mut wire).unwrap();
        }
        match session.stream.write(&wire[sent..]) {
            Ok(count) => {
                sent += count;
                blocked_since = Instant::now();
            }
            Err(_) => std::thread::sleep(Duration::from_millis(10)), // nothing tells when it is full
        }
    }
    let grown = server.resident().saturating_sub(before);
    assert!(grown < 512 * 1024, "a slow reader costs {grown} octets");
    session.stream.set_nonblocking(false).unwrap();
    let mut stream = session.stream.try_clone().unwrap();
    let writer = std::thread::spawn(move || stream.write_all(&wire[sent..]).unwrap());
    for _ in 0..groups * 1000 {
        assert_eq!(session.reply(), "250 2.0.0 ok\r\n");
    }
    writer.join().unwrap();
    session.say("QUIT\r\n", "221");
}

// Other people's clients.

/// Speaks by Python's own libraries, which insist on close_notify, in one version of TLS.
const PYTHON: &str = r#"
import smtplib, ssl, sys
version, certificate, password, plain, implicit = sys.argv[1:6]
version = ssl.TLSVersion[version]
context = ssl.create_default_context(cafile=certificate)
context.minimum_version = context.maximum_version = version

class Starttls(smtplib.SMTP):
    _host = 'mx.example.com'
class Implicit(smtplib.SMTP_SSL):
    _host = 'mx.example.com'
    def _get_socket(self, host, port, timeout):
        import socket
        plain = socket.create_connection((host, port), timeout)
        return self.context.wrap_socket(plain, server_hostname='mx.example.com', suppress_ragged_eofs=False)

def speak(client, name):
    assert client.sock.version() == {'TLSv1_2': 'TLSv1.2', 'TLSv1_3': 'TLSv1.3'}[version.name], client.sock.version()
    client.login('alice@example.com', password)
    client.sendmail('alice@example.com', ['user@example.com'], f'Subject: {name}\r\n\r\nhi\r\n')
    client.putcmd('quit')
    assert client.getreply()[0] == 221
    client.sock.suppress_ragged_eofs = False
    assert client.sock.recv(1) == b'', 'more than a goodbye'  # an end without close_notify raises
    client.sock.unwrap()

client = Starttls('127.0.0.1', int(plain), timeout=60)
client._host = 'mx.example.com'
client.starttls(context=context)
speak(client, 'starttls')
speak(Implicit('127.0.0.1', int(implicit), timeout=60, context=context), 'implicit')
"#;

#[test]
fn pythons_libraries_send_mail_in_both_versions_and_see_the_proper_end() {
    if !has_tool("python3") {
        return;
    }
    let (_root, data) = data();
    accounts::keep(&data);
    let server = self_signed(&data, &[]);
    for version in ["TLSv1_2", "TLSv1_3"] {
        let output = Command::new("python3")
            .args(["-c", PYTHON, version])
            .arg(own_certificate(&data))
            .arg(accounts::PASSWORD)
            .args([server.address().port(), server.submissions[0].port()].map(|port| port.to_string()))
            .output()
            .unwrap();
        assert!(output.status.success(), "{version}: {}", String::from_utf8_lossy(&output.stderr));
    }
    wait_for_mail(&data, 4);
}

/// Has openssl say what it sees of the server.
fn openssl(address: SocketAddr, arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("openssl")
        .args(["s_client", "-servername", "mx.example.com", "-ign_eof", "-connect", &address.to_string()])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn openssl_agrees_in_both_versions_verifies_the_certificate_and_resumes() {
    if !has_tool("openssl") {
        return;
    }
    let (root, data) = data();
    let server = self_signed(&data, &[]);
    let (certificate, ticket) = (own_certificate(&data), root.path().join("session"));
    let (certificate, ticket) = (certificate.to_str().unwrap(), ticket.to_str().unwrap());
    for version in ["-tls1_2", "-tls1_3"] {
        for starttls in [true, false] {
            let (address, how) = if starttls {
                (server.address(), &["-starttls", "smtp"][..])
            } else {
                (server.submissions[0], &[][..])
            };
            let verify = [
                "-CAfile",
                certificate,
                "-verify_hostname",
                "mx.example.com",
                "-verify_return_error",
                version,
            ];
            let first = openssl(address, &[how, &verify, &["-sess_out", ticket]].concat(), "QUIT\r\n");
            assert!(
                first.contains("Verification: OK") && first.contains("New, TLSv1."),
                "{version}: {first}"
            );
            assert!(!first.contains("unexpected eof"), "{first}");
            let again = openssl(address, &[how, &verify, &["-sess_in", ticket]].concat(), "QUIT\r\n");
            assert!(again.contains("Reused, TLSv1."), "{version}: {again}");
        }
    }
    let old = openssl(server.submissions[0], &["-tls1_1"], "QUIT\r\n");
    assert!(!old.contains("Cipher is TLS") && !old.contains("Cipher is ECDHE"), "{old}");
    server.signal("USR1");
    wait_until("they are counted", || server.log().contains("handshakes=8 handshakes_resumed=4"));
}

#[test]
fn our_own_client_resumes() {
    let (_root, data) = data();
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut first = Secure::connect(server.submissions[0], &client);
    first.reply(); // the tickets came before it
    assert!(!first.tls.is_resumed());
    assert!(Secure::by_starttls(server.address(), &client).tls.is_resumed());
}

// What it costs.

/// Opens idle sessions in one version of TLS, or in none, says so, and keeps them until its input ends.
const IDLE: &str = r#"
import socket, ssl, sys
version, port = sys.argv[1], int(sys.argv[2])
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
if version != 'none':
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
sessions = []
def reply(stream):
    text = b''
    while not (text.endswith(b'\r\n') and text.split(b'\r\n')[-2][3:4] == b' '):
        text += stream.recv(1000)
for line in sys.stdin:
    for _ in range(int(line)):
        stream = socket.create_connection(('127.0.0.1', port), 60)
        reply(stream)
        stream.sendall(b'EHLO client.example\r\n')
        reply(stream)
        if version != 'none':
            stream.sendall(b'STARTTLS\r\n')
            reply(stream)
            stream = context.wrap_socket(stream)
            stream.sendall(b'EHLO client.example\r\n')
            reply(stream)
            stream.sendall(b'MAIL FROM:<>\r\nRCPT TO:<a@example.com>\r\nBDAT 14000\r\n' + 14000 * b'x' + b'RSET\r\n')
            text = b''
            while text.count(b'\r\n') < 4:
                text += stream.recv(1000)
        sessions.append(stream)
    print('there', flush=True)
"#;

#[test]
fn an_idle_session_in_tls_costs_at_most_12_kibibytes() {
    if !has_tool("python3") {
        return;
    }
    for version in ["none", "TLSv1_2", "TLSv1_3"] {
        let (_root, data) = data();
        let server = self_signed(&data, &["--log", "warn"]);
        let mut child = Command::new("python3")
            .args(["-c", IDLE, version, &server.address().port().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut resident_with = |more: usize| {
            writeln!(input, "{more}").unwrap();
            assert_eq!(lines.next().unwrap().unwrap(), "there");
            server.resident()
        };
        let before = resident_with(100);
        let each = resident_with(500).saturating_sub(before) / 500;
        println!("an idle session costs {each} octets in {version}");
        assert!(each <= 12 * 1024, "an idle session costs {each} octets in {version}");
        drop(input);
        assert!(child.wait().unwrap().success());
    }
}

/// The first octet of an alert's record (RFC 8446 5.1).
const ALERT: u8 = 0x15;
