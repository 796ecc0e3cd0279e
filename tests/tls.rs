//! TLS with the real binary: STARTTLS and TLS from the start, by a client of ours that sees each octet, by Python and by
//! OpenSSL; what an attacker on the way may try; and certificates that change while sessions go on.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use common::server::{PATIENCE, Server, Talk, data, delivered, has_tool, wait_for_mail, wait_until};
use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, Tls, Trust};
use rcgen::{CertificateParams, KeyPair};

/// The server's listeners for submissions, beside its usual one.
const SUBMISSIONS: [&str; 4] = ["--listen-submission", "127.0.0.1:0", "--listen-submissions", "127.0.0.1:0"];

/// A server with a certificate of its own making, and submissions.
fn self_signed(data: &Path, arguments: &[&str]) -> Server {
    Server::start(data, &[&["--tls-self-signed"], &SUBMISSIONS[..], arguments].concat())
}

/// A client that types in TLS.
struct Secure {
    stream: TcpStream,
    tls: Tls,
    heard: Vec<u8>,
    /// Whether the stream is at its end.
    is_over: bool,
}

impl Secure {
    /// Begins TLS on a stream.
    fn begin(stream: TcpStream, client: &ClientTls) -> Secure {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let tls = Tls::client(client, &ServerName::new("mx.example.com").unwrap()).unwrap();
        Secure { stream, tls, heard: Vec::new(), is_over: false }
    }

    /// Begins it, and insists on it.
    fn agreed(stream: TcpStream, client: &ClientTls) -> Secure {
        let mut secure = Secure::begin(stream, client);
        while secure.tls.is_handshaking() {
            secure.flush();
            secure.read();
            assert!(!secure.is_over, "no handshake");
        }
        secure.flush();
        secure
    }

    /// Connects to TLS from the start.
    fn connect(address: SocketAddr, client: &ClientTls) -> Secure {
        Secure::agreed(TcpStream::connect(address).unwrap(), client)
    }

    /// Connects in plain, and goes on by STARTTLS.
    fn by_starttls(address: SocketAddr, client: &ClientTls) -> Secure {
        let mut talk = Talk::new(TcpStream::connect(address).unwrap());
        talk.hello();
        talk.say("STARTTLS\r\n", "220 ");
        Secure::agreed(talk.stream.try_clone().unwrap(), client)
    }

    fn flush(&mut self) {
        assert!(self.tls.flush(&mut self.stream).unwrap());
    }

    /// Reads once.
    fn read(&mut self) {
        let mut wire = [0; 20_000];
        match self.stream.read(&mut wire) {
            Ok(0) => self.is_over = true,
            Ok(count) => self.tls.receive(&wire[..count], &mut self.heard).unwrap(),
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, octets: &[u8]) {
        let mut sent = 0;
        while sent < octets.len() {
            sent += self.tls.send([&octets[sent..], b""]);
            self.flush();
        }
    }

    /// The next reply, all its lines; empty at the end of the session.
    fn reply(&mut self) -> String {
        let mut reply = String::new();
        loop {
            while let Some(end) = self.heard.iter().position(|octet| *octet == b'\n') {
                let line: Vec<u8> = self.heard.drain(..=end).collect();
                reply.push_str(str::from_utf8(&line).unwrap());
                if line.get(3) != Some(&b'-') {
                    return reply;
                }
            }
            if self.is_over || self.tls.peer_has_closed() {
                return String::new();
            }
            self.read();
        }
    }

    fn say(&mut self, text: &str, code: &str) -> String {
        self.send(text.as_bytes());
        let reply = self.reply();
        assert!(reply.starts_with(code), "{code} wanted to {text:?}: {reply:?}");
        reply
    }

    fn begin_mail(&mut self) {
        self.say("MAIL FROM:<sender@client.example>\r\n", "250");
        self.say("RCPT TO:<user@example.com>\r\n", "250");
        self.say("DATA\r\n", "354");
    }

    /// Reads to the end of the stream, and insists that the server said that it is one.
    fn insist_on_the_end(&mut self) {
        while !self.is_over {
            self.read();
        }
        assert!(self.tls.peer_has_closed(), "no close_notify");
    }
}

fn trusting(certificate: &Path) -> ClientTls {
    ClientTls::new(Trust::File(&fs::read(certificate).unwrap()), Resumption::On).unwrap()
}

fn own_certificate(data: &Path) -> PathBuf {
    data.join("tls-cert.pem")
}

#[test]
fn a_message_comes_in_by_starttls_and_by_tls_from_the_start() {
    let (_root, data) = data();
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
    session.begin_mail();
    session.say("Subject: two\r\n\r\n.\r\n", "250 2.");
    for mail in wait_for_mail(&data, 2) {
        let text = fs::read_to_string(mail).unwrap();
        assert!(text.contains("with ESMTPS id"), "{text}");
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
    let server = self_signed(&data, &[]);
    let client = trusting(&own_certificate(&data));
    let mut session = Secure::connect(server.submissions[0], &client);
    session.reply();
    session.say("EHLO client.example\r\n", "250");
    session.say("MAIL FROM:<> BODY=BINARYMIME\r\n", "250");
    session.say("RCPT TO:<user@example.com>\r\n", "250");
    let octets: Vec<u8> = (0..7_000_000u64).map(|at| ((at * at) >> 7) as u8).collect();
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
version, certificate, plain, implicit = sys.argv[1:5]
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
    client.sendmail('a@client.example', ['user@example.com'], f'Subject: {name}\r\n\r\nhi\r\n')
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
    let server = self_signed(&data, &[]);
    for version in ["TLSv1_2", "TLSv1_3"] {
        let output = Command::new("python3")
            .args(["-c", PYTHON, version])
            .arg(own_certificate(&data))
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

// Certificates.

/// Makes a certificate for some name, with its key.
fn make(root: &Path, name: &str) -> [PathBuf; 2] {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["mx.example.com".into(), name.into()]).unwrap();
    let files = [root.join(format!("{name}.pem")), root.join(format!("{name}.key"))];
    fs::write(&files[0], params.self_signed(&key).unwrap().pem()).unwrap();
    fs::write(&files[1], key.serialize_pem()).unwrap();
    files
}

/// Puts files in the place of others, as whoever renews certificates does: each at once.
fn replace(files: &[PathBuf; 2], by: &[PathBuf; 2]) {
    for (file, by) in files.iter().zip(by) {
        let unfinished = file.with_extension("unfinished");
        fs::copy(by, &unfinished).unwrap();
        fs::rename(unfinished, file).unwrap();
    }
}

#[test]
fn a_new_certificate_is_for_new_sessions_and_the_old_ones_go_on() {
    let (root, data) = data();
    let (first, second) = (make(root.path(), "first.example"), make(root.path(), "second.example"));
    let used = make(root.path(), "used.example");
    replace(&used, &first);
    let [chain, key] = [&used[0], &used[1]].map(|path| path.to_str().unwrap());
    let server = Server::start(&data, &["--tls-cert", chain, "--tls-key", key]);
    let (old, new) = (trusting(&first[0]), trusting(&second[0]));
    let mut under_way = Secure::by_starttls(server.address(), &old);
    under_way.say("EHLO client.example\r\n", "250");
    under_way.begin_mail();

    // First a broken one, which is said once and changes nothing.
    fs::write(&used[0], "-----BEGIN CERTIFICATE-----\nbroken\n").unwrap();
    let told = format!("{chain}: it is not PEM");
    wait_until("the broken one is told of", || server.log().contains(&told));
    Secure::by_starttls(server.address(), &old);
    server.signal("HUP");
    wait_until("it is read anew at once", || server.log().matches(&told).count() == 2);
    // Then a key of another certificate.
    replace(&used, &[first[0].clone(), second[1].clone()]);
    wait_until("the other's key is told of", || server.log().contains("do not belong together"));
    Secure::by_starttls(server.address(), &old);

    replace(&used, &second);
    wait_until("the new one is told of", || server.log().contains("TLS: from now on "));
    Secure::by_starttls(server.address(), &new);
    under_way.send(b"Subject: over the change\r\n\r\n.\r\n");
    assert!(under_way.reply().starts_with("250 2."));
    assert_eq!(server.log().matches(&told).count(), 2, "{}", server.log());
    assert_eq!(server.log().matches("do not belong together").count(), 1);
}

#[test]
fn a_certificate_of_its_own_making_is_kept_and_made_anew_for_another_name() {
    use std::os::unix::fs::PermissionsExt;
    let (_root, data) = data();
    let read = || ["tls-cert.pem", "tls-key.pem"].map(|name| fs::read(data.join(name)).unwrap());
    let server = self_signed(&data, &[]);
    assert!(server.log().contains("CLIENTS CANNOT VERIFY IT"));
    let first = read();
    for name in ["tls-cert.pem", "tls-key.pem"] {
        assert_eq!(fs::metadata(data.join(name)).unwrap().permissions().mode() & 0o777, 0o600);
    }
    server.stop();
    self_signed(&data, &[]).stop();
    assert_eq!(read(), first);
    // A crash between the two leaves such a pair.
    fs::write(data.join("tls-key.pem"), KeyPair::generate().unwrap().serialize_pem()).unwrap();
    self_signed(&data, &[]).stop();
    let second = read();
    assert!(second[0] != first[0] && second[1] != first[1]);
    // The last of two --hostname is an error, so the configuration file says it.
    let file = data.with_extension("toml");
    fs::write(&file, "tls-self-signed = true\nlisten = [\"127.0.0.1:0\"]\n").unwrap();
    let mut command = Command::new(common::server::PROGRAM);
    command.env("FASTSMTP_HOSTNAME", "other.example").args(["--config", file.to_str().unwrap(), "--data"]);
    let log = fs::File::options().append(true).open(common::server::log_of(&data)).unwrap();
    let child = command.arg(&data).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let server = Server::watch(child, &data);
    assert_ne!(read(), second);
    assert!(
        server.log().contains("for \"other.example, localhost, 127.0.0.1, ::1\", until "),
        "{}",
        server.log()
    );
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_with_the_mend() {
    let (root, data) = data();
    let [chain, key] = make(root.path(), "one.example");
    let [_, other] = make(root.path(), "two.example");
    let at = |name: &str, text: &str| {
        fs::write(root.path().join(name), text).unwrap();
        root.path().join(name)
    };
    let protected =
        at("protected", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n");
    let empty = at("empty", "");
    let broken = at("broken", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let missing = root.path().join("missing");
    let cases = [
        (
            &missing,
            &key,
            &missing,
            "No such file or directory (os error 2); give --tls-cert and --tls-key files that are there",
        ),
        (
            &chain,
            &missing,
            &missing,
            "No such file or directory (os error 2); give --tls-cert and --tls-key files that are there",
        ),
        (
            &empty,
            &key,
            &empty,
            "no certificate (BEGIN CERTIFICATE) in it; give --tls-cert a certificate in PEM",
        ),
        (
            &broken,
            &key,
            &broken,
            "what stands in it as a certificate is none (RFC 5280); give --tls-cert a certificate in PEM",
        ),
        (
            &chain,
            &chain,
            &chain,
            "no private key (BEGIN PRIVATE KEY) in it; give --tls-key the certificate's key",
        ),
        (&chain, &protected, &protected, "a passphrase protects the private key; store it without one"),
        (
            &chain,
            &other,
            &other,
            "key and certificate do not belong together; the key must be of the first certificate in",
        ),
    ];
    for (chain, key, named, sentence) in cases {
        for check in [&["--check-config"][..], &["--listen", "127.0.0.1:0"]] {
            let output = Command::new(common::server::PROGRAM)
                .arg("--data")
                .arg(&data)
                .arg("--tls-cert")
                .arg(chain)
                .arg("--tls-key")
                .arg(key)
                .args(check)
                .output()
                .unwrap();
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(78), "{said}");
            assert!(said.contains(&format!("{}: {sentence}", named.display())), "{sentence}\n{said}");
        }
    }
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
    use std::io::BufRead;
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
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
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
