//! A server's maildrop, over the network: the POP3 client on a connection, with TLS and a login, and what its errors mean
//! for people.

use std::cell::Cell;
use std::io::Write;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use fastsmtp::disk::random_octets;
use fastsmtp::limits::{DIAL_GOODBYE_SECS, HEADER_READ_MAX};
use fastsmtp::smtp::client::{ClearText, Credentials};
use fastsmtp::wire::sasl::{self, Key, SaslError};

use super::pop3::{Awaits, Capabilities, Client, Error, Proof};
use super::{EachHeader, Entry, State};
use crate::cli::connecting::{Connecting, Protocol, Settings, Tls};
use crate::cli::dial::Connection;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::printable;

/// The arguments that say where a server is and how to log in. The user is the mailbox's address.
#[derive(Args)]
#[group(skip)]
pub struct Remote {
    /// Read the mailbox by POP3 from this server instead: HOST, HOST:PORT or [IPV6]:PORT
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    server: Option<String>,
    /// Whether TLS is spoken
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Tls::Auto, requires = "server", help_heading = HEADING)]
    tls: Tls,
    /// Trust the authorities, or the very certificates, of this PEM file, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", requires = "server", help_heading = HEADING)]
    ca: Option<PathBuf>,
    /// Trust whoever answers: keeps out who listens, not who poses as the server
    #[arg(long, requires = "server", help_heading = HEADING)]
    insecure: bool,
    /// The password is the one line of this file, '-' for standard input [default: FASTSMTP_PASSWORD, else it is asked for]
    #[arg(long, value_name = "FILE", requires = "server", help_heading = HEADING)]
    password_file: Option<PathBuf>,
    /// Send the password without TLS if there is no other way, for all between to read
    #[arg(long, requires = "server", help_heading = HEADING)]
    allow_plaintext_auth: bool,
}

const HEADING: &str = "The server";

impl Remote {
    /// Whether a server is named.
    pub fn is_asked_for(&self) -> bool {
        self.server.is_some()
    }

    /// How to log in there, with the password, which may be asked for on the terminal.
    pub fn login(self, user: String, timeout: Option<Duration>) -> Result<Login, Failure> {
        let Remote { server, tls, ca, insecure, password_file, allow_plaintext_auth } = self;
        let address = server.clone().unwrap_or_default();
        let connecting = Connecting {
            server,
            tls,
            ca,
            insecure,
            user: Some(user.clone()),
            password_file,
            allow_plaintext_auth,
            timeout,
        };
        let settings = connecting.settings(Protocol::POP3, &address)?;
        let password = connecting.login(&settings.server)?.map(|login| login.password).unwrap_or_default();
        Login::new(settings, user, password)
    }
}

/// A server, and who logs in there.
pub struct Login {
    settings: Settings,
    user: String,
    password: String,
    /// The key of the last login, which costs 0.2 s, with its salt and iterations.
    salted: Cell<Option<(Vec<u8>, u32, Key)>>,
}

impl Login {
    /// Of this user there, with this password.
    pub fn new(settings: Settings, user: String, password: String) -> Result<Login, Failure> {
        // They would end a line of the dialogue, and begin another.
        if user.contains(char::is_control) || password.contains(char::is_control) {
            return Err(Failure::new(Exit::Usage, "a user's name and password have no control characters"));
        }
        Ok(Login { settings, user, password, salted: Cell::new(None) })
    }

    /// Whose mailbox it is.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// Where it is.
    pub fn server(&self) -> String {
        self.settings.server.to_string()
    }

    fn salted(&self, salt: &[u8], iterations: u32) -> Key {
        let known = self.salted.take().filter(|(of, count, _)| of == salt && *count == iterations);
        let key = known.map(|(_, _, key)| key).unwrap_or_else(|| {
            let password = sasl::prepared(&self.password).unwrap_or(self.password.as_str().into());
            sasl::salted_password(&password, salt, iterations)
        });
        self.salted.set(Some((salt.to_vec(), iterations, key)));
        key
    }

    /// What an error comes to.
    fn failure(&self, error: &Error, connection: &Connection) -> Failure {
        let (server, user) = (self.server(), printable(self.user.as_bytes()));
        let exit = match error {
            Error::Stream(error) => return connection.failure(error),
            Error::Output(_) => Exit::InputOutput,
            Error::Closed => Exit::Temporary,
            Error::Refused(_, words) if is_transient(words) => Exit::Temporary,
            Error::Refused("USER" | "PASS" | "AUTH", words) => {
                let words = self.harmless(words);
                let sentence =
                    format!("{server}: user {user} may not log in: {words}; look at ADDRESS and password");
                return Failure::new(Exit::Permission, sentence);
            }
            Error::Sasl(SaslError::Server(_)) => Exit::Permission,
            Error::Refused(..) | Error::Garbage(_) | Error::Sasl(_) => Exit::Unavailable,
        };
        match error {
            Error::Output(error) => Failure::new(exit, error.to_string()),
            error => Failure::new(exit, format!("{server}: {}", self.harmless(&error.to_string()))),
        }
    }

    /// What a server said, unless it repeats the password; it cannot steer a terminal.
    fn harmless(&self, words: &str) -> String {
        let secrets = Credentials::new(&self.user, &self.password, None, ClearText::Refused);
        let is_secret = match secrets {
            Ok(credentials) => credentials.are_shown_in(words.as_bytes()),
            Err(_) => !self.password.is_empty() && words.contains(&self.password),
        };
        if is_secret { "(the password)".to_owned() } else { printable(words.as_bytes()) }
    }
}

impl Awaits for Connection {
    fn await_answer(&mut self) {
        Connection::await_answer(self);
    }
}

/// Whether a refusal is for now only (RFC 2449 8, RFC 3206).
fn is_transient(words: &str) -> bool {
    let words = words.to_ascii_uppercase();
    ["[IN-USE]", "[LOGIN-DELAY]", "[SYS/TEMP]"].iter().any(|code| words.starts_with(code))
}

/// A maildrop that is open: nobody else opens it meanwhile.
pub struct Maildrop {
    client: Client<Connection>,
    entries: Vec<Entry>,
    /// The numbers of this session, in the order of the entries. By id they are not found: identical mails may have one id
    /// (RFC 1939 7).
    numbers: Vec<usize>,
    /// For the sentences of errors.
    login: Rc<Login>,
}

impl Maildrop {
    /// Connects, logs in and lists. Nothing of the session lasts beyond `end`, if there is one.
    pub fn open(login: &Rc<Login>, end: Option<Instant>) -> Result<Maildrop, Failure> {
        let mut client = login.client(end)?;
        let listed = client.list().map_err(|error| login.failure(&error, client.stream()))?;
        let numbers = listed.iter().map(|mail| mail.number).collect();
        let entry = |(at, mail): (usize, super::pop3::Listed)| Entry {
            number: at + 1,
            // Ours are the names of Maildir files, which begin with the time of arrival.
            arrived: mail.id.ends_with(".fs").then(|| mail.id.split('.').next()?.parse().ok()).flatten(),
            id: mail.id,
            octets: mail.octets,
            state: State::Unknown,
        };
        let entries = listed.into_iter().enumerate().map(entry).collect();
        Ok(Maildrop { client, entries, numbers, login: login.clone() })
    }

    /// All mails, as they were when it was opened.
    pub fn list(&self) -> Vec<Entry> {
        self.entries.clone()
    }

    /// The headers of these mails; none for one that the server does not give.
    pub fn headers(&mut self, entries: &[Entry], each: EachHeader<'_>) -> Result<(), Failure> {
        let numbers = self.numbers_of(entries);
        let result = self.client.headers(&numbers, HEADER_READ_MAX, |at, header| each(&entries[at], header));
        self.judged(result)
    }

    /// See [`Mailbox::copy`](super::Mailbox::copy).
    pub fn copy(&mut self, entry: &Entry, out: &mut dyn Write) -> Result<bool, Failure> {
        let number = self.numbers[entry.number - 1];
        // Some servers count the ends of lines as one octet.
        let content_max = entry.octets.saturating_mul(2).saturating_add(SLACK);
        let result = self.client.retrieve(number, content_max, out);
        self.judged(result).map(|()| true)
    }

    /// Marks mails, to be removed at the end.
    pub fn remove(&mut self, entries: &[Entry]) -> Result<(), Failure> {
        let numbers = self.numbers_of(entries);
        let result = self.client.delete(&numbers);
        self.judged(result)
    }

    /// Ends the session: what is marked is removed.
    pub fn close(mut self) -> Result<(), Failure> {
        let result = self.client.quit();
        self.judged(result)?;
        self.client.into_stream().close();
        Ok(())
    }

    /// Ends the session, in which nothing was marked: what is in the way of that is no matter.
    pub fn leave(mut self) {
        let goodbye_max = self.login.settings.step_max().min(Duration::from_secs(DIAL_GOODBYE_SECS));
        self.client.stream_mut().set_timeout(goodbye_max);
        if self.client.quit().is_ok() {
            self.client.into_stream().close();
        }
    }

    fn numbers_of(&self, entries: &[Entry]) -> Vec<usize> {
        entries.iter().map(|entry| self.numbers[entry.number - 1]).collect()
    }

    fn judged(&self, result: Result<(), Error>) -> Result<(), Failure> {
        result.map_err(|error| self.login.failure(&error, self.client.stream()))
    }
}

/// Octets that a mail may have beyond what the server says.
const SLACK: u64 = 1 << 20;

impl Login {
    /// A session, logged in.
    fn client(&self, end: Option<Instant>) -> Result<Client<Connection>, Failure> {
        let mut client = Client::new(self.settings.dial_until(end)?);
        let greeted = client.greet();
        greeted.map_err(|error| self.not_greeted(&error, client.stream()))?;
        let result = self.secured_and_logged_in(&mut client);
        result.map(|()| client)
    }

    /// What an error before the greeting comes to: a server that waits for TLS says nothing, or hangs up.
    fn not_greeted(&self, error: &Error, connection: &Connection) -> Failure {
        let Failure { exit, sentence } = self.failure(error, connection);
        let may_want_tls = matches!(error, Error::Stream(_) | Error::Closed | Error::Garbage(_));
        match may_want_tls && !connection.is_secured() {
            true => {
                Failure::new(exit, format!("{sentence}; if it speaks TLS from the start, say --tls implicit"))
            }
            false => Failure { exit, sentence },
        }
    }

    fn secured_and_logged_in(&self, client: &mut Client<Connection>) -> Result<(), Failure> {
        let mut offered = self.step(client, Client::capabilities)?;
        if !client.stream().is_secured() && self.is_tls_wanted(&offered)? {
            self.step(client, |client| client.start_tls())?;
            self.settings.secure(client.stream_mut())?;
            offered = self.step(client, Client::capabilities)?;
        }
        let clear = if client.stream().is_secured() { ClearText::Allowed } else { self.settings.clear };
        let proof = offered.proof(clear).ok_or_else(|| self.no_proof(&offered, client.stream()))?;
        self.step(client, |client| match proof {
            Proof::Scram => {
                let nonce = sasl::encode(&random_octets::<24>());
                let user = sasl::prepared(&self.user).unwrap_or(self.user.as_str().into());
                client.login_by_scram(&user, &nonce, |salt, iterations| self.salted(salt, iterations))
            }
            proof => client.login(proof, &self.user, &self.password),
        })
    }

    fn step<T>(
        &self,
        client: &mut Client<Connection>,
        step: impl FnOnce(&mut Client<Connection>) -> Result<T, Error>,
    ) -> Result<T, Failure> {
        let result = step(client);
        result.map_err(|error| self.failure(&error, client.stream()))
    }

    fn is_tls_wanted(&self, offered: &Capabilities) -> Result<bool, Failure> {
        match self.settings.tls {
            Tls::Starttls if !offered.tls => {
                let server = self.server();
                let sentence = format!("{server} does not offer TLS; try --tls implicit with another port");
                Err(Failure::new(Exit::Unavailable, sentence))
            }
            Tls::Starttls | Tls::Auto => Ok(offered.tls),
            Tls::Off | Tls::Implicit => Ok(false),
        }
    }

    fn no_proof(&self, offered: &Capabilities, connection: &Connection) -> Failure {
        let server = self.server();
        let sentence = match offered.proof(ClearText::Allowed) {
            None if !connection.is_secured() => format!(
                "{server} offers no way to log in without TLS; leave out --tls off, or use its port for TLS with --tls implicit"
            ),
            Some(_) => format!(
                "{server} wants the password without TLS, for all between to read; use TLS, or say --allow-plaintext-auth"
            ),
            None => format!(
                "{server} offers no way to log in that we know: SCRAM-SHA-256, PLAIN, or USER and PASS"
            ),
        };
        Failure::new(Exit::Unavailable, sentence)
    }
}
