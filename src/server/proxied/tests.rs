use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::num::NonZeroU32;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::limits::PROXY_HEADER_MAX;
use crate::server::{ClientLimits, Deliver, Durability, Log, Options, Service};

const HEADER: &str = "PROXY TCP4 192.0.2.1 198.51.100.1 56324 25\r\n";
const BANNER: &str = "220 mx.example ESMTP";

/// One connection from 127.0.0.1, seen from both sides.
#[derive(Default)]
pub struct Pipe {
    pub input: VecDeque<u8>,
    pub output: Vec<u8>,
    /// Whether the client sends no more.
    pub is_over: bool,
    pub is_closed: bool,
}

/// The server's end of it.
pub struct End(pub Rc<RefCell<Pipe>>);

impl Read for End {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut pipe = self.0.borrow_mut();
        match pipe.input.read(buffer)? {
            0 if pipe.is_over => Ok(0),
            0 => Err(ErrorKind::WouldBlock.into()),
            octets => Ok(octets),
        }
    }
}

impl Write for End {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().output.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for End {
    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.0.borrow_mut().is_closed = true;
    }
}

struct World {
    server: Server<End>,
    now_ms: u64,
}

struct Client {
    key: Option<Key>,
    pipe: Rc<RefCell<Pipe>>,
}

impl World {
    fn new(change: impl FnOnce(&mut Options)) -> World {
        let mut options = Options {
            deliver: Deliver::Discard,
            durability: Durability::None,
            connections_max: 10,
            trusted_proxies: vec!["127.0.0.1".parse().unwrap()],
            shutdown_grace: Duration::from_secs(60),
            ..Options::new("mx.example")
        };
        change(&mut options);
        World { server: Server::new(options, Log::Memory(1), [1; 32]), now_ms: 0 }
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.now_ms), unix: Duration::from_secs(1_735_689_600) }
    }

    fn connect(&mut self) -> Client {
        let pipe = Rc::<RefCell<Pipe>>::default();
        let proxy = SocketAddr::from(([127, 0, 0, 1], 9));
        let client =
            Client { key: self.server.accept(End(pipe.clone()), proxy, Service::Smtp, self.now()), pipe };
        self.turn();
        client
    }

    fn send(&mut self, client: &Client, octets: &[u8]) {
        client.pipe.borrow_mut().input.extend(octets);
        self.server.ready(client.key.unwrap(), true, true, false);
        self.turn();
    }

    /// Turns until there is nothing to do.
    fn turn(&mut self) {
        for _ in 0..1000 {
            let turn = self.server.turn(self.now(), &mut |_| ());
            if turn.end.is_some() || turn.sleep != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the server spins");
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.turn();
    }

    /// Whom the server takes for the client.
    fn named(&self, client: &Client) -> String {
        self.server.connections.get(client.key.unwrap()).unwrap().client.to_string()
    }
}

impl Client {
    fn heard(&self) -> String {
        String::from_utf8(self.pipe.borrow().output.clone()).unwrap()
    }

    fn is_closed(&self) -> bool {
        self.pipe.borrow().is_closed
    }
}

#[test]
fn the_header_is_taken_wherever_it_is_cut_and_the_banner_waits_for_it() {
    for cut in 1..HEADER.len() {
        let mut world = World::new(|_| ());
        let client = world.connect();
        world.send(&client, &HEADER.as_bytes()[..cut]);
        assert_eq!((client.heard(), client.is_closed()), (String::new(), false), "cut at {cut}");
        world.send(&client, &HEADER.as_bytes()[cut..]);
        assert!(client.heard().starts_with(BANNER), "cut at {cut}: {}", client.heard());
        assert_eq!(world.named(&client), "192.0.2.1:56324");
        world.send(&client, b"EHLO client.example\r\n");
        assert!(client.heard().contains("250-mx.example"));
        assert_eq!(world.server.counters().early_talkers, 0, "a header is no talk");
    }
}

#[test]
fn what_stands_behind_the_header_is_the_clients() {
    let mut world = World::new(|_| ());
    let client = world.connect();
    world.send(&client, format!("{HEADER}NOOP\r\nQUIT\r\n").as_bytes());
    let heard = client.heard();
    let codes: Vec<&str> = heard.lines().map(|line| &line[..3]).collect();
    assert_eq!(codes, ["220", "250", "221"]);
    assert_eq!(world.server.counters().early_talkers, 1);
}

#[test]
fn with_a_greeting_delay_talk_behind_the_header_is_refused_and_the_header_alone_is_not() {
    let delayed = || World::new(|options| options.greeting_delay = Duration::from_secs(2));
    let mut world = delayed();
    let client = world.connect();
    world.send(&client, format!("{HEADER}NOOP\r\n").as_bytes());
    assert_eq!(client.heard(), "554 5.5.1 you spoke before the greeting\r\n");
    let mut world = delayed();
    let client = world.connect();
    world.pass(5000);
    world.send(&client, HEADER.as_bytes());
    assert_eq!(client.heard(), "", "the delay begins behind the header");
    world.pass(3000);
    assert!(client.heard().starts_with(BANNER));
}

#[test]
fn without_a_good_header_in_time_the_connection_is_closed_without_a_word() {
    let mut world = World::new(|_| ());
    let silent = world.connect();
    let slow = world.connect();
    world.pass(9000);
    world.send(&slow, &HEADER.as_bytes()[..20]);
    assert!(!silent.is_closed() && !slow.is_closed());
    world.pass(2000);
    assert!(silent.is_closed() && slow.is_closed());
    assert_eq!((silent.heard(), slow.heard()), (String::new(), String::new()));
    for bad in [&b"EHLO client.example\r\n"[..], b"\r\n\r\n\0\r\nQUIT\n\x22", &[b'P'; PROXY_HEADER_MAX]] {
        let client = world.connect();
        world.send(&client, bad);
        assert!(client.is_closed());
        assert_eq!(client.heard(), "");
    }
    assert_eq!(world.server.counters().proxy_errors, 5);
    assert_eq!(world.server.connections(), 0);
    assert_eq!(world.server.memory(), 0);
}

#[test]
fn the_limit_is_the_named_clients_and_the_proxys_own_connections_have_none() {
    let mut world = World::new(|options| {
        options.client_limits =
            ClientLimits { connections: NonZeroU32::new(1), messages: None, exempt: vec![] };
    });
    let mut heard_by = |header: &str| {
        let client = world.connect();
        world.send(&client, header.as_bytes());
        client.heard()
    };
    assert!(heard_by(HEADER).starts_with(BANNER));
    let refusal = "421 4.7.0 too many connections from your address, try again later\r\n";
    assert_eq!(heard_by(HEADER), refusal);
    assert_eq!(heard_by("PROXY TCP6 ::ffff:192.0.2.1 ::1 5 25\r\nEHLO x\r\n"), refusal);
    assert!(heard_by(&HEADER.replace("192.0.2.1", "192.0.2.2")).starts_with(BANNER));
    for _ in 0..3 {
        assert!(heard_by("PROXY UNKNOWN\r\n").starts_with(BANNER), "who looks after us is not counted");
    }
    assert_eq!(world.server.counters().connections_limited, 2);
}

#[test]
fn a_server_that_stops_closes_on_who_has_not_said_yet_for_whom_it_speaks() {
    let mut world = World::new(|_| ());
    let client = world.connect();
    let now = world.now();
    world.server.stop(now);
    world.turn();
    assert_eq!(client.heard(), "", "nobody is there yet to hear it");
    assert!(client.is_closed());
}

#[test]
fn who_says_all_behind_the_header_and_its_end_is_answered() {
    let mut world = World::new(|_| ());
    let client = world.connect();
    client.pipe.borrow_mut().is_over = true;
    world.send(&client, format!("{HEADER}EHLO x.example\r\nQUIT\r\n").as_bytes());
    let heard = client.heard();
    assert!(heard.starts_with(BANNER) && heard.ends_with("221 2.0.0 goodbye\r\n"), "{heard}");
}
