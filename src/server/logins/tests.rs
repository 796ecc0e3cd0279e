use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::*;
use crate::accounts::Accounts;
use crate::server::job::{Completion, Reload};
use crate::server::proxied::tests::{End, Pipe};
use crate::server::{Deliver, Durability, Log, Options, Service};
use crate::smtp::Address;

const USERS: &str = include_str!("../../../tests/common/accounts.toml");

/// A server with accounts that takes passwords in plain, and the passwords that wait for their judge.
struct World {
    server: Server<End>,
    now_ms: u64,
    jobs: Vec<PasswordJob>,
}

struct Guesser {
    key: Key,
    pipe: Rc<RefCell<Pipe>>,
}

impl World {
    fn new() -> World {
        let options = Options {
            deliver: Deliver::Discard,
            durability: Durability::None,
            allow_plaintext_auth: true,
            connections_max: 100,
            ..Options::new("mx.example")
        };
        let server = Server::new(options, Log::Memory(1), [1; 32]);
        let accounts = Arc::new(Accounts::parse(USERS).unwrap());
        World { server: server.with_accounts(accounts), now_ms: 0, jobs: Vec::new() }
    }

    fn now(&self) -> Now {
        Now { monotonic: Duration::from_millis(self.now_ms), unix: Duration::from_secs(1_735_689_600) }
    }

    fn turn(&mut self) {
        let now = self.now();
        for _ in 0..1000 {
            let jobs = &mut self.jobs;
            let turn = self.server.turn(now, &mut |job| {
                if let Job::CheckPassword(job) = job {
                    jobs.push(job);
                }
            });
            if turn.sleep != Some(Duration::ZERO) {
                return;
            }
        }
        panic!("the server spins");
    }

    /// A client of this address that said EHLO, and then a guess.
    fn guesser(&mut self, address: [u8; 4]) -> Guesser {
        let pipe = Rc::<RefCell<Pipe>>::default();
        let client = SocketAddr::from((address, 9));
        let key = self.server.accept(End(pipe.clone()), client, Service::Smtp, self.now()).unwrap();
        let guesser = Guesser { key, pipe };
        self.say(&guesser, "EHLO x.example\r\n");
        self.guess(&guesser);
        guesser
    }

    fn guess(&mut self, guesser: &Guesser) {
        let guess = sasl::encode(&sasl::plain("alice@example.com", "wrong"));
        self.say(guesser, &format!("AUTH PLAIN {guess}\r\n"));
    }

    fn say(&mut self, guesser: &Guesser, text: &str) {
        guesser.pipe.borrow_mut().input.extend(text.as_bytes());
        guesser.pipe.borrow_mut().output.clear();
        self.server.ready(guesser.key, true, true, false);
        self.turn();
    }

    /// Says of all that wait that they are wrong.
    fn judge(&mut self) {
        for job in std::mem::take(&mut self.jobs) {
            let wrong = Completion::PasswordChecked { key: job.key, user: job.user, account: None };
            self.server.complete(wrong, self.now());
        }
        self.turn();
    }

    fn pass(&mut self, ms: u64) {
        self.now_ms += ms;
        self.turn();
    }
}

impl Guesser {
    fn heard(&self) -> String {
        String::from_utf8(self.pipe.borrow().output.clone()).unwrap()
    }
}

const STRANGER: [u8; 4] = [192, 0, 2, 1];

#[test]
fn who_guesses_and_is_gone_before_the_answer_has_guessed() {
    let mut world = World::new();
    let guesser = world.guesser(STRANGER);
    world.server.abandon(guesser.key);
    world.judge();
    assert_eq!(world.server.counters().logins_failed, 1);
    assert!(world.server.logins.waiting.is_empty());
    for _ in 1..crate::limits::FAILED_LOGINS_MAX {
        let guesser = world.guesser(STRANGER);
        world.judge();
        world.server.abandon(guesser.key);
    }
    let guesser = world.guesser(STRANGER);
    assert!(guesser.heard().starts_with("421 4.7.0 "), "{}", guesser.heard());
    let other = world.guesser([192, 0, 2, 2]);
    assert_eq!((world.jobs.len(), other.heard()), (1, String::new()), "others are judged");
}

#[test]
fn passwords_that_wait_are_bounded_for_each_client_and_in_all() {
    let mut world = World::new();
    let guessers: Vec<Guesser> =
        (0..=PASSWORDS_WAITING_PER_CLIENT).map(|_| world.guesser(STRANGER)).collect();
    assert_eq!(world.jobs.len(), PASSWORDS_WAITING_PER_CLIENT);
    assert!(guessers.last().unwrap().heard().starts_with("454 4.7.0 "));
    for other in 2..60 {
        world.guesser([192, 0, 2, other]);
    }
    assert_eq!(world.jobs.len(), PASSWORDS_WAITING_MAX);
    world.judge();
    world.guesser([192, 0, 2, 99]);
    assert_eq!(world.jobs.len(), 1, "there is room again");
}

#[test]
fn each_no_comes_later_and_the_last_ends_the_connection_by_itself() {
    let mut world = World::new();
    let guesser = world.guesser(STRANGER);
    for failure in 1..=FAILED_LOGINS_PER_CONNECTION {
        world.judge();
        let delay_ms = FAILED_LOGIN_DELAY_MS << (failure - 1);
        world.pass(delay_ms - 1);
        assert_eq!(guesser.heard(), "", "failure {failure} is told too early");
        world.pass(1001); // deadlines are looked at once a second
        if failure < FAILED_LOGINS_PER_CONNECTION {
            assert_eq!(guesser.heard(), "535 5.7.8 wrong user or password\r\n");
            world.guess(&guesser);
        }
    }
    assert_eq!(guesser.heard(), "421 4.7.0 too many failed logins\r\n");
    world.pass(5000);
    assert!(guesser.pipe.borrow().is_closed);
}

#[test]
fn who_has_logged_in_begins_no_further_message_once_the_password_is_changed() {
    let mut world = World::new();
    let user = world.guesser(STRANGER);
    let job = world.jobs.pop().unwrap();
    let account = Some(Arc::from(job.user.as_str()));
    let right = Completion::PasswordChecked { key: job.key, user: job.user, account };
    world.server.complete(right, world.now());
    world.say(&user, "MAIL FROM:<alice@example.com>\r\nRSET\r\n");
    assert!(user.heard().contains("250 2.1.0 "), "{}", user.heard());
    let accounts = Accounts::parse(USERS).unwrap().without(&Address::new("alice", "example.com"));
    let reload = Reload { tls: None, accounts: Some(Arc::new(accounts)) };
    world.server.complete(Completion::Reloaded(reload), world.now());
    world.say(&user, "MAIL FROM:<>\r\n");
    assert!(user.heard().starts_with("535 5.7.8 the password was changed"), "{}", user.heard());
}
