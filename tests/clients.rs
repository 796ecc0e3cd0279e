//! What the running server promises about single clients: that none takes more than its share, and that their addresses
//! are believed from those alone who may be believed.

mod common;

use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use common::server::{Server, Talk, data, wait_for_mail, wait_until};

/// A list that spares no address of this machine.
const NOBODY_EXEMPT: [&str; 2] = ["--limit-exempt", "203.0.113.0/24"];

const TOO_MANY_CONNECTIONS: &str = "421 4.7.0 too many connections from your address, try again later\r\n";
const TOO_MANY_MESSAGES: &str = "450 4.7.1 too many messages from your address, try again later\r\n";

fn start(data: &std::path::Path, arguments: &[&str]) -> Server {
    Server::start(data, &[arguments, &NOBODY_EXEMPT].concat())
}

/// A header of version 2 for TCP over IPv4, from `source` to port 25.
fn header_of_octets(source: [u8; 4]) -> Vec<u8> {
    let signature = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [&signature[..], &source, &[198, 51, 100, 1], &[0xdc, 0x04], &[0, 25]].concat()
}

/// A client at 127.0.0.`last`.
fn connect_from(server: &Server, last: u8) -> Talk {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
    socket.connect(&server.address().into()).unwrap();
    Talk::new(TcpStream::from(socket))
}

#[test]
fn a_client_with_too_many_connections_is_told_421_and_another_is_served() {
    let (_root, data) = data();
    let server = start(&data, &["--limit-connections", "3"]);
    let mut talks: Vec<Talk> = (0..3).map(|_| connect_from(&server, 1)).collect();
    talks.iter_mut().for_each(Talk::hello);
    talks.clear();
    for _ in 0..3 {
        assert_eq!(connect_from(&server, 1).rest(), TOO_MANY_CONNECTIONS);
    }
    connect_from(&server, 2).hello();
    server.signal("USR1");
    wait_until("the counters are told", || server.log().contains(" connections_limited=3 "));
    let log = server.log();
    let told = log.lines().filter(|line| line.contains(" turned away client=127.0.0.1:"));
    assert_eq!(told.count(), 3, "{log}");
}

#[test]
fn a_client_with_too_many_messages_is_put_off_at_mail_and_what_was_taken_is_delivered() {
    let (_root, data) = data();
    let server = start(&data, &["--limit-messages", "2"]);
    let mut talk = connect_from(&server, 1);
    talk.hello();
    for _ in 0..2 {
        talk.begin();
        talk.say("taken\r\n.\r\n", "250");
    }
    assert_eq!(talk.say("MAIL FROM:<sender@client.example>\r\n", "450"), TOO_MANY_MESSAGES);
    talk.say("RCPT TO:<user@example.com>\r\n", "503");
    let mut again = connect_from(&server, 1);
    again.hello();
    assert_eq!(again.say("MAIL FROM:<>\r\n", "450"), TOO_MANY_MESSAGES);
    let mut other = connect_from(&server, 2);
    other.hello();
    other.begin();
    other.say("taken\r\n.\r\n", "250");
    wait_for_mail(&data, 3);
    let rejected = "from=sender@client.example reply=\"450 4.7.1 too many messages from your address";
    wait_until("the log says so", || server.log().contains(rejected));
    server.signal("USR1");
    wait_until("the counters are told", || server.log().contains(" messages_limited=2 "));
}

#[test]
fn this_machine_has_no_limits_where_nothing_is_said_of_it() {
    let (_root, data) = data();
    let server = Server::start(&data, &["--limit-connections", "1", "--limit-messages", "1"]);
    for _ in 0..3 {
        let mut talk = server.connect();
        talk.hello();
        talk.say("MAIL FROM:<>\r\n", "250");
        talk.say("RSET\r\n", "250");
        talk.say("MAIL FROM:<>\r\n", "250");
    }
}

#[test]
fn a_trusted_proxy_says_whose_mail_it_is_in_the_log_and_in_the_received_field() {
    let (_root, data) = data();
    let server = start(&data, &["--trusted-proxy", "127.0.0.0/8", "--greeting-delay", "10ms"]);
    let headers = [
        (b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n".to_vec(), "[192.0.2.1]", "192.0.2.1:56324"),
        (header_of_octets([192, 0, 2, 2]), "[192.0.2.2]", "192.0.2.2:56324"),
        (b"PROXY TCP6 2001:db8::1 ::1 5 25\r\n".to_vec(), "[IPv6:2001:db8::1]", "[2001:db8::1]:5"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "[127.0.0.1]", "127.0.0.1:"),
    ];
    for (at, (header, literal, client)) in headers.iter().enumerate() {
        let mut talk = server.connect();
        talk.send(header);
        talk.hello();
        talk.begin();
        talk.say(format!("Subject: {at}\r\n\r\n.\r\n"), "250");
        talk.say("QUIT\r\n", "221");
        let mail = wait_for_mail(&data, at + 1);
        let subject = format!("\r\nSubject: {at}\r\n");
        let texts = mail.iter().map(|file| std::fs::read_to_string(file).unwrap());
        let text = texts.into_iter().find(|text| text.contains(&subject)).unwrap();
        assert!(text.contains(&format!("Received: from client.example ({literal})")), "{text}");
        wait_until("the log names the client", || {
            let log = server.log();
            log.contains(&format!(" client={client}")) && log.matches("reason=quit").count() == at + 1
        });
    }
}

#[test]
fn limits_are_those_of_the_client_that_the_proxy_names() {
    let (_root, data) = data();
    let limits = ["--trusted-proxy", "127.0.0.1", "--limit-connections", "2", "--limit-messages", "1"];
    let server = start(&data, &limits);
    let connect = |source: [u8; 4]| {
        let mut talk = server.connect();
        talk.send(header_of_octets(source));
        talk
    };
    for source in [[192, 0, 2, 1], [192, 0, 2, 2]] {
        let mut talk = connect(source);
        talk.hello();
        talk.say("MAIL FROM:<>\r\nRSET\r\n", "250");
        talk.reply();
        assert_eq!(talk.say("MAIL FROM:<>\r\n", "450"), TOO_MANY_MESSAGES);
        connect(source).hello();
        assert_eq!(connect(source).rest(), TOO_MANY_CONNECTIONS);
    }
}

#[test]
fn a_header_from_anybody_else_is_garbage_and_never_believed() {
    let (_root, data) = data();
    let server = start(&data, &["--trusted-proxy", "127.0.0.9"]);
    for header in
        [b"PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n".to_vec(), header_of_octets([192, 0, 2, 1])]
    {
        let mut talk = server.connect();
        talk.send(&header);
        talk.send("NOOP\r\nQUIT\r\n");
        let heard = talk.rest();
        assert!(heard.starts_with("220 ") && heard.contains("\r\n500 "), "{heard}");
    }
    let mut proxy = connect_from(&server, 9);
    proxy.send("EHLO client.example\r\n");
    assert_eq!(proxy.rest(), "", "and the proxy has to say whom it speaks for");
    wait_until("the log says why", || server.log().contains("reason=bad-proxy-header"));
    assert!(!server.log().contains("192.0.2.1"), "{}", server.log());
}
