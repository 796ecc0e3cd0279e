//! Handshakes as the server has them among everything else, on a clock that the test moves: how many in a turn, until when,
//! who gives way, and what is not read before its time.

#[path = "sim/pipe.rs"]
#[allow(dead_code)]
mod pipe;

use std::net::SocketAddr;
use std::time::Duration;

use fastsmtp::limits::{
    HANDSHAKE_SECS, HANDSHAKE_STORM_SECS, HANDSHAKES_MAX, HANDSHAKES_PER_TURN, HANDSHAKES_STORM,
};
use fastsmtp::net::slots::Key;
use fastsmtp::net::timers::Now;
use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, ServerTls, Tls, Trust};
use fastsmtp::server::{Deliver, Durability, Log, Options, Server, Service, Turn};
use pipe::{Pipe, ServerEnd};

/// A server, its clients and its clock.
struct World {
    server: Server<ServerEnd>,
    trusting: ClientTls,
    clients: Vec<Client>,
    now: Duration,
}

/// One client's end.
struct Client {
    pipe: Pipe,
    key: Key,
    tls: Option<Tls>,
    /// What it heard in TLS.
    heard: Vec<u8>,
}

impl World {
    fn new(greeting_delay: Duration) -> World {
        let (chain, key) = fastsmtp::net::tls::self_signed("mx.example", 1_700_000_000).unwrap();
        let tls = ServerTls::new(chain.as_bytes(), key.as_bytes()).unwrap();
        World {
            server: Server::new(options(greeting_delay), Log::Memory(1), [1; 32]).with_tls(tls),
            trusting: ClientTls::new(Trust::Nobody, Resumption::Off).unwrap(),
            clients: Vec::new(),
            now: Duration::from_secs(1),
        }
    }

    fn now(&self) -> Now {
        Now { monotonic: self.now, unix: Duration::from_secs(1_735_689_600) + self.now }
    }

    /// Connects, with a way back that holds so many octets; gives the client's number.
    fn connect_by(&mut self, service: Service, room: usize) -> usize {
        let (pipe, end) = Pipe::new(room, true);
        let key = self.server.accept(end, SocketAddr::from(([192, 0, 2, 1], 25)), service, self.now());
        self.clients.push(Client { pipe, key: key.unwrap(), tls: None, heard: Vec::new() });
        self.clients.len() - 1
    }

    fn connect(&mut self, service: Service) -> usize {
        self.connect_by(service, 1 << 20)
    }

    /// Has a client say its hello of TLS.
    fn begin_tls(&mut self, client: usize) {
        let tls = Tls::client(&self.trusting, &ServerName::new("mx.example").unwrap()).unwrap();
        self.clients[client].tls = Some(tls);
        self.clients[client].say("");
    }

    /// One turn, with all that happened before.
    fn turn(&mut self) -> Turn {
        for client in &self.clients {
            if let Some(event) = client.pipe.event() {
                self.server.ready(client.key, event.readable, event.writable, event.read_closed);
            }
        }
        self.server.turn(self.now(), &mut |_| panic!("nothing here makes work"))
    }

    /// Turns, and what the clients answer in TLS, until nothing happens any more.
    fn settle(&mut self) {
        loop {
            let turn = self.turn();
            let answered = self.clients.iter_mut().map(Client::hear).filter(|answered| *answered).count();
            if answered == 0 && turn.sleep != Some(Duration::ZERO) {
                return;
            }
        }
    }

    /// Lets time pass, with a turn whenever the server wants one.
    fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let sleep = self.turn().sleep.unwrap_or(time).max(Duration::from_millis(1));
            self.now = (self.now + sleep).min(end);
        }
        self.turn();
    }

    fn is_there(&self, client: usize) -> bool {
        !self.clients[client].pipe.is_dropped()
    }

    fn there(&self) -> usize {
        self.clients.iter().filter(|client| !client.pipe.is_dropped()).count()
    }
}

impl Client {
    /// Says something in TLS, and whatever TLS has to say.
    fn say(&mut self, text: &str) {
        let tls = self.tls.as_mut().unwrap();
        assert_eq!(tls.send([text.as_bytes(), b""]), text.len());
        let mut wire = Vec::new();
        tls.flush(&mut wire).unwrap();
        self.pipe.arrive(&wire);
    }

    /// Hears what came in TLS; whether there was an answer of TLS's own.
    fn hear(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        tls.receive(&self.pipe.read(usize::MAX), &mut self.heard).unwrap();
        let wants_write = tls.wants_write();
        if wants_write {
            self.say("");
        }
        wants_write
    }

    fn heard(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.heard)).unwrap()
    }

    /// What came in plain.
    fn plain(&mut self) -> String {
        String::from_utf8_lossy(&self.pipe.read(usize::MAX)).into_owned()
    }
}

fn options(greeting_delay: Duration) -> Options {
    Options {
        deliver: Deliver::Discard,
        durability: Durability::None,
        greeting_delay,
        ..Options::new("mx.example")
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_turn_answers_a_few_handshakes_and_every_plain_command() {
    let mut world = World::new(Duration::ZERO);
    let plain = world.connect(Service::Smtp);
    world.settle();
    assert!(world.clients[plain].plain().starts_with("220 "));
    let many = 3 * HANDSHAKES_PER_TURN;
    for _ in 0..many {
        let client = world.connect(Service::Submissions);
        world.begin_tls(client);
    }
    for turns in 1..=3 {
        world.clients[plain].pipe.arrive(b"NOOP\r\n");
        let turn = world.turn();
        assert_eq!(world.clients[plain].plain(), "250 2.0.0 ok\r\n");
        let is_answered = |client: &&Client| client.pipe.totals().1 > 0 && client.tls.is_some();
        let answered = world.clients.iter().filter(is_answered).count();
        assert_eq!(answered, turns * HANDSHAKES_PER_TURN);
        assert_eq!(turn.sleep == Some(Duration::ZERO), turns < 3, "it sleeps over hellos that wait");
    }
    world.settle();
    assert_eq!(world.server.counters().handshakes, many as u64);
    assert!(world.clients[1..].iter_mut().all(|client| client.heard().starts_with("220 mx.example ")));
}

#[test]
fn a_hello_that_trickles_in_is_no_answer_and_holds_nobody_up() {
    let mut world = World::new(Duration::ZERO);
    for _ in 0..10 * HANDSHAKES_PER_TURN {
        let client = world.connect(Service::Submissions);
        world.clients[client].pipe.arrive(&[0x16, 3, 1]);
    }
    let client = world.connect(Service::Submissions);
    world.begin_tls(client);
    world.turn();
    assert!(world.clients[client].pipe.totals().1 > 0, "it waits behind those that say nothing");
}

#[test]
fn a_handshake_has_ten_seconds_and_three_in_a_storm() {
    let mut world = World::new(Duration::ZERO);
    let few = world.connect(Service::Submissions);
    let mut hello = Vec::new();
    Tls::client(&world.trusting, &ServerName::new("mx.example").unwrap()).unwrap().flush(&mut hello).unwrap();
    for octet in 1..HANDSHAKE_SECS as usize {
        world.clients[few].pipe.arrive(&hello[octet - 1..octet]); // a trickle does not prolong it
        world.pass(SECOND);
        assert!(world.is_there(few));
    }
    world.pass(2 * SECOND);
    assert!(!world.is_there(few));
    assert_eq!((world.server.counters().timeouts, world.server.counters().tls_failed), (1, 1));

    world.clients.clear();
    for _ in 0..HANDSHAKES_STORM + 10 {
        world.connect(Service::Submissions);
    }
    world.pass(SECOND * (HANDSHAKE_STORM_SECS as u32 + 1));
    assert_eq!(world.there(), HANDSHAKES_STORM, "beyond a storm's size they have a storm's time");
    world.pass(SECOND * HANDSHAKE_SECS as u32);
    assert_eq!(world.there(), 0);
}

#[test]
fn the_oldest_handshake_gives_way_to_the_newest() {
    let mut world = World::new(Duration::ZERO);
    let done = world.connect(Service::Submissions);
    world.begin_tls(done);
    world.settle();
    for _ in 0..HANDSHAKES_MAX {
        world.connect(Service::Submissions);
    }
    assert_eq!(world.there(), 1 + HANDSHAKES_MAX);
    let newest = world.connect(Service::Submissions);
    assert!(world.is_there(done) && !world.is_there(1) && world.is_there(2) && world.is_there(newest));
    world.begin_tls(newest);
    world.settle();
    assert!(world.clients[newest].heard().starts_with("220 "));
    // There is one fewer now.
    world.connect(Service::Submissions);
    assert!(world.is_there(2));
}

#[test]
fn nothing_is_read_behind_starttls_until_its_220_is_written() {
    let mut world = World::new(Duration::ZERO);
    let whole = world.connect(Service::Smtp);
    world.clients[whole].pipe.arrive(b"EHLO client.example\r\n");
    world.settle();
    let before = world.clients[whole].pipe.totals().1 as usize;
    // The same on a way back that the 220 does not fit.
    let client = world.connect_by(Service::Smtp, before + 3);
    world.clients[client].pipe.arrive(b"EHLO client.example\r\n");
    world.settle();
    world.clients[client].pipe.arrive(b"STARTTLS\r\n");
    world.turn();
    let read = world.clients[client].pipe.totals().0;
    world.clients[client].pipe.arrive(b"NOOP\r\n");
    for _ in 0..3 {
        world.turn();
    }
    assert_eq!(world.clients[client].pipe.totals().0, read, "read in plain behind STARTTLS");
    let replies = world.clients[client].plain();
    assert!(replies.contains("250-STARTTLS\r\n") && replies.ends_with("\r\n220"), "{replies:?}");
    world.turn();
    world.turn();
    let rest = world.clients[client].pipe.read(usize::MAX);
    let end = rest.iter().position(|octet| *octet == b'\n').unwrap() + 1;
    assert_eq!(rest[end..][..2], [0x15, 3], "an alert, and no reply: {rest:?}");
}

#[test]
fn a_220_that_nobody_takes_ends_by_the_deadline_of_writing() {
    let mut world = World::new(Duration::ZERO);
    let whole = world.connect(Service::Smtp);
    world.clients[whole].pipe.arrive(b"EHLO client.example\r\n");
    world.settle();
    let client = world.connect_by(Service::Smtp, world.clients[whole].pipe.totals().1 as usize + 3);
    world.clients[client].pipe.arrive(b"EHLO client.example\r\n");
    world.settle();
    world.clients[client].pipe.arrive(b"STARTTLS\r\n");
    world.pass(59 * SECOND);
    assert!(world.is_there(client));
    world.pass(3 * SECOND);
    assert!(!world.is_there(client));
}

#[test]
fn the_banner_is_held_back_behind_the_handshake_and_early_talk_is_refused_in_tls() {
    let mut world = World::new(Duration::from_millis(300));
    let (patient, hasty, together) = (0, 1, 2);
    for client in [patient, hasty, together] {
        assert_eq!(world.connect(Service::Submissions), client);
        world.begin_tls(client);
    }
    // In the same segment as the end of the handshake.
    world.clients[together].tls.as_mut().unwrap().send([b"EHLO client.example\r\n", b""]);
    world.settle();
    assert_eq!(world.clients[patient].heard(), "");
    assert!(world.clients[together].heard().starts_with("554 "));
    world.clients[hasty].say("EHLO client.example\r\n");
    world.settle();
    assert!(world.clients[hasty].heard().starts_with("554 "));
    world.pass(SECOND);
    world.settle();
    assert!(world.clients[patient].heard().starts_with("220 mx.example "));
    assert_eq!(world.server.counters().early_talkers, 2);
}

#[test]
fn without_a_delay_what_comes_with_the_end_of_the_handshake_is_taken() {
    let mut world = World::new(Duration::ZERO);
    let client = world.connect(Service::Submissions);
    world.begin_tls(client);
    world.clients[client].tls.as_mut().unwrap().send([b"EHLO client.example\r\n", b""]);
    world.settle();
    let heard = world.clients[client].heard();
    assert!(heard.starts_with("220 ") && heard.contains("\r\n250-mx.example\r\n"), "{heard:?}");
}

#[test]
fn a_stopping_server_does_not_wait_for_handshakes() {
    let mut world = World::new(Duration::ZERO);
    let shaking = world.connect(Service::Submissions);
    let secured = world.connect(Service::Submissions);
    world.begin_tls(secured);
    world.settle();
    world.server.stop(world.now());
    assert!(!world.is_there(shaking));
    world.settle();
    assert!(world.clients[secured].heard().ends_with("421 4.3.2 shutting down, try again later\r\n"));
    assert!(world.clients[secured].tls.as_ref().unwrap().peer_has_closed());
}

#[test]
fn who_takes_its_leave_before_its_time_is_let_go_and_costs_no_turn() {
    let close_notify = [0x15, 3, 3, 0, 2, 1, 0];
    let mut world = World::new(Duration::from_millis(900));
    let shaking = world.connect(Service::Submissions);
    world.clients[shaking].pipe.arrive(&close_notify);
    world.clients[shaking].pipe.end(pipe::End::Closed);
    let secured = world.connect(Service::Submissions);
    world.begin_tls(secured);
    world.settle();
    assert!(!world.is_there(shaking));
    world.clients[secured].tls.as_mut().unwrap().close();
    world.clients[secured].say("");
    world.clients[secured].pipe.end(pipe::End::Closed);
    world.turn();
    assert_ne!(world.turn().sleep, Some(Duration::ZERO), "it spins until the banner is due");
    world.pass(2 * SECOND);
    assert!(!world.is_there(secured));
}
