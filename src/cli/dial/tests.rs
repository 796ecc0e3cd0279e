use std::net::TcpListener;
use std::sync::mpsc::channel;
use std::thread;

use fastsmtp::net::tls::{Resumption, ServerTls, Trust, self_signed};

use super::*;

const LONG: Duration = Duration::from_secs(60);

fn parsed(text: &str) -> Option<(String, u16)> {
    Server::parse(text, 25).map(|server| (server.host, server.port))
}

#[test]
fn a_server_is_a_host_and_perhaps_a_port() {
    for (text, host, port) in [
        ("mx.example", "mx.example", 25),
        ("MX.example:2525", "mx.example", 2525),
        ("127.0.0.1:465", "127.0.0.1", 465),
        ("::1", "::1", 25),
        ("[::1]", "::1", 25),
        ("[2001:db8::1]:587", "2001:db8::1", 587),
        ("bücher.example", "xn--bcher-kva.example", 25),
    ] {
        assert_eq!(parsed(text), Some((host.to_owned(), port)), "{text}");
    }
    for text in [
        "", ":25", "a:", "a:0", "a:65536", "a:b", "a:+1", "a:1:2", "[::1", "[a]:1", "[::1]2", "[::1]:", "a b",
    ] {
        assert_eq!(parsed(text), None, "{text}");
    }
    assert_eq!(Server::parse("::1", 25).unwrap().to_string(), "[::1]:25");
    assert_eq!(Server::parse("mx.example", 25).unwrap().to_string(), "mx.example:25");
}

/// A server of one connection, and where it is.
fn serve(act: impl FnOnce(TcpStream) + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = Server { host: "127.0.0.1".to_owned(), port: listener.local_addr().unwrap().port() };
    thread::spawn(move || act(listener.accept().unwrap().0));
    server
}

/// Serves TLS by hand: makes the handshake, says `words`, and ends as it is told.
fn serve_tls(mut stream: TcpStream, server: &ServerTls, words: &[u8], ends: Ends) {
    let mut tls = Tls::server(server).unwrap();
    let (mut wire, mut plain) = ([0; 4096], Vec::new());
    while tls.is_handshaking() {
        let count = stream.read(&mut wire).unwrap();
        if tls.receive(&wire[..count], &mut plain).is_err() || count == 0 {
            return;
        }
        tls.flush(&mut stream).unwrap();
    }
    assert_eq!(tls.send([words, b""]), words.len());
    if ends == Ends::InOrder {
        tls.close();
    }
    tls.flush(&mut stream).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let _ = stream.read_to_end(&mut plain);
}

#[derive(Clone, Copy, PartialEq)]
enum Ends {
    InOrder,
    Cut,
}

/// A certificate for this machine's names of itself and its key, from `unix_secs` on for ten years.
type Pems = (String, String);

fn pems(unix_secs: u64) -> Pems {
    self_signed("localhost", unix_secs).unwrap()
}

/// What a client reads from such a server, whom it calls by `name`.
fn read_tls(shown: &Pems, trust: Trust<'_>, name: &str, ends: Ends) -> Result<Vec<u8>, Failure> {
    let tls = ServerTls::new(shown.0.as_bytes(), shown.1.as_bytes()).unwrap();
    let server = serve(move |stream| serve_tls(stream, &tls, b"* hello\r\n", ends));
    let client = ClientTls::new(trust, Resumption::Off).unwrap();
    let mut connection = Connection::dial(&server, LONG)?;
    let secured = connection.start_tls(&client, &ServerName::new(name).unwrap());
    secured.map_err(|error| connection.failure(&error))?;
    assert!(connection.is_secured() && connection.tls_in_words().unwrap().starts_with("TLS 1."));
    let mut read = Vec::new();
    connection.read_to_end(&mut read).map_err(|error| connection.failure(&error))?;
    connection.close();
    Ok(read)
}

const IN_2023: u64 = 1_700_000_000;

#[test]
fn an_end_of_tls_is_told_from_a_cut() {
    let own = pems(IN_2023);
    let read = |ends| read_tls(&own, Trust::File(own.0.as_bytes()), "127.0.0.1", ends);
    assert_eq!(read(Ends::InOrder).unwrap(), b"* hello\r\n");
    let failure = read(Ends::Cut).unwrap_err();
    assert_eq!(failure.exit, Exit::Temporary);
    assert!(failure.sentence.contains("cut the connection"), "{failure}");
}

#[test]
fn who_cannot_be_trusted_is_not_and_the_mend_is_named() {
    let (own, other, old, young) = (pems(IN_2023), pems(IN_2023), pems(0), pems(4_000_000_000));
    for (shown, trusted, name, says) in [
        (&own, &other, "127.0.0.1", "no authority that we trust"),
        (&own, &own, "mx.example", "is for another name"),
        (&old, &old, "127.0.0.1", "has expired"),
        (&young, &young, "127.0.0.1", "is not valid yet"),
    ] {
        let failure = read_tls(shown, Trust::File(trusted.0.as_bytes()), name, Ends::InOrder).unwrap_err();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.sentence.contains(says) && failure.sentence.contains("--insecure"), "{failure}");
    }
    assert_eq!(read_tls(&old, Trust::Nobody, "mx.example", Ends::InOrder).unwrap(), b"* hello\r\n");
}

#[test]
fn a_server_that_trickles_is_given_up_when_the_time_of_an_answer_is_over() {
    let server = serve(|mut stream| {
        while stream.write_all(b"2").is_ok() {
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    let mut connection = Connection::dial(&server, LONG).unwrap();
    connection.set_timeout(Duration::from_millis(100));
    connection.await_answer();
    let read = connection.read_to_end(&mut Vec::new());
    assert_eq!(read.unwrap_err().kind(), ErrorKind::TimedOut);
    connection.set_timeout(LONG);
    connection.end_at(Instant::now());
    assert_eq!(connection.read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::TimedOut, "the end is for all");
}

#[test]
fn a_server_that_is_silent_is_given_up() {
    let (done, wait) = channel::<()>();
    let server = serve(move |stream| {
        let _ = wait.recv();
        drop(stream);
    });
    let mut connection = Connection::dial(&server, LONG).unwrap();
    connection.set_timeout(Duration::from_millis(10));
    let error = connection.read(&mut [0; 8]).unwrap_err();
    let failure = connection.failure(&error);
    assert_eq!(failure.exit, Exit::Temporary);
    assert!(failure.sentence.contains("did not answer within 10ms"), "{failure}");
    drop(done);
}

#[test]
fn nobody_at_a_port_and_a_host_that_is_none_are_unavailable() {
    // A port that was ours a moment ago.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    for (host, says) in [("127.0.0.1", "connection refused"), ("nowhere.invalid", "no such host")] {
        let failure = Connection::dial(&Server { host: host.to_owned(), port }, LONG).err().unwrap();
        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.sentence.contains(says), "{failure}");
    }
}

#[test]
fn all_the_addresses_of_a_name_are_tried() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let there = listener.local_addr().unwrap();
    let nobody = SocketAddr::new("127.0.0.2".parse().unwrap(), there.port());
    assert_eq!(connect(&[nobody, there], LONG).unwrap().peer_addr().unwrap(), there);
    assert!(connect(&[], LONG).unwrap_err().is_none());
}
