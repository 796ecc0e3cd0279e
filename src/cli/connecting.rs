//! What all commands that speak to a server are told alike: where it is, whether in TLS, whom to trust, and who the user is.
//! [`Connecting`] are the arguments, [`Settings`] what they come to: a value, that a command dials by as often as it likes.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use fastsmtp::limits::{DIAL_TIMEOUT_SECS_DEFAULT, TLS_FILE_MAX};
use fastsmtp::net::tls::{ClientTls, Resumption, Trust};
use fastsmtp::smtp::client::ClearText;
use fastsmtp::units::duration;

use super::dial::{Connection, Server};
use super::exit::{Exit, Failure};
use super::output::{exit_of, printable};
use super::password::known_password;

/// The arguments, of every command that speaks to a server: `#[command(flatten)]`.
#[derive(Args, Debug, Clone)]
#[group(skip)]
pub struct Connecting {
    /// The server: HOST, HOST:PORT or [IPV6]:PORT
    #[arg(long, value_name = "ADDR", help_heading = HEADING)]
    pub server: Option<String>,
    /// Whether TLS is spoken
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Tls::Auto, help_heading = HEADING)]
    pub tls: Tls,
    /// Trust the authorities, or the very certificates, of this PEM file, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = HEADING)]
    pub ca: Option<PathBuf>,
    /// Trust whoever answers: keeps out who listens, not who poses as the server
    #[arg(long, help_heading = HEADING)]
    pub insecure: bool,
    /// Log in as this user
    #[arg(long, value_name = "ADDRESS", help_heading = HEADING)]
    pub user: Option<String>,
    /// The password is the one line of this file, '-' for standard input [default: FASTSMTP_PASSWORD, else it is asked for]
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    pub password_file: Option<PathBuf>,
    /// Send the password without TLS if there is no other way, for all between to read
    #[arg(long, help_heading = HEADING)]
    pub allow_plaintext_auth: bool,
    /// Wait so long for each answer [default: 30s; for the answer to a mail 10m]
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = HEADING)]
    pub timeout: Option<Duration>,
}

const HEADING: &str = "The server";

/// Whether TLS is spoken, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tls {
    /// From the start on the port that is for that (465, 995), else where the server offers it
    Auto,
    /// Never
    Off,
    /// From the server's consent on; nothing is sent to one that does not offer it
    Starttls,
    /// From the start
    Implicit,
}

/// A protocol, as far as its ports go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Protocol {
    /// The port of strangers.
    pub port: u16,
    /// The port of users who log in.
    pub user_port: u16,
    /// The port of TLS from the start (RFC 8314).
    pub implicit_port: u16,
}

impl Protocol {
    /// SMTP (RFC 5321) and its submission (RFC 6409).
    pub const SMTP: Protocol = Protocol { port: 25, user_port: 587, implicit_port: 465 };
    /// POP3 (RFC 1939, RFC 2595).
    pub const POP3: Protocol = Protocol { port: 110, user_port: 110, implicit_port: 995 };
}

/// How a server is spoken to.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Where it is.
    pub server: Server,
    /// Never [`Tls::Auto`] on the port of TLS from the start.
    pub tls: Tls,
    /// What was named; none for the authorities that the system trusts, which are read when they are needed.
    trusted: Option<ClientTls>,
    /// For each step, if it was said.
    pub timeout: Option<Duration>,
    /// Whether the password may be sent without TLS.
    pub clear: ClearText,
    /// Who logs in.
    pub login: Option<Login>,
}

/// A user and the password that proves it.
#[derive(Clone)]
pub struct Login {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

/// The password keeps to itself.
impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Login {{ user: {:?}, .. }}", self.user)
    }
}

impl Connecting {
    /// What the arguments come to, for the server at `address` ([`Connecting::server`], or the command's default), without a
    /// login: see [`Connecting::login`].
    pub fn settings(&self, protocol: Protocol, address: &str) -> Result<Settings, Failure> {
        let port = match self.tls {
            Tls::Implicit => protocol.implicit_port,
            _ if self.user.is_some() => protocol.user_port,
            _ => protocol.port,
        };
        let server = Server::parse(address, port).ok_or_else(|| {
            let address = printable(address.as_bytes());
            usage(format!(
                "--server: '{address}' is no server, like mail.example.com, 127.0.0.1:2525 or [::1]:465"
            ))
        })?;
        let tls = match self.tls {
            Tls::Auto if server.port == protocol.implicit_port => Tls::Implicit,
            tls => tls,
        };
        self.check()?;
        let clear = if self.allow_plaintext_auth { ClearText::Allowed } else { ClearText::Refused };
        Ok(Settings { server, tls, trusted: self.trusted()?, timeout: self.timeout, clear, login: None })
    }

    /// Who logs in, if somebody is named, with the password, which may be asked for on the terminal.
    pub fn login(&self, server: &Server) -> Result<Option<Login>, Failure> {
        let Some(user) = self.user.clone() else { return Ok(None) };
        let password = known_password(&user, &server.to_string(), self.password_file.as_deref())?;
        Ok(Some(Login { user, password }))
    }

    /// Whether the password is to come from standard input, which nothing else can be read from then.
    pub fn takes_standard_input(&self) -> bool {
        self.password_file.as_deref() == Some(Path::new("-"))
    }

    fn check(&self) -> Result<(), Failure> {
        let without_tls = self.tls == Tls::Off;
        match self {
            Connecting { ca: Some(_), .. } if without_tls => Err(usage("--ca: means nothing with --tls off")),
            Connecting { insecure: true, .. } if without_tls => {
                Err(usage("--insecure: means nothing with --tls off"))
            }
            Connecting { user: None, password_file: Some(_), .. } => {
                Err(usage("--password-file: whose password? Name the user with --user ADDRESS"))
            }
            Connecting { timeout: Some(Duration::ZERO), .. } => {
                Err(usage("--timeout: must be more than nothing, like 30s"))
            }
            _ => Ok(()),
        }
    }

    fn trusted(&self) -> Result<Option<ClientTls>, Failure> {
        let unusable = |path: &Path, exit, error: &dyn std::fmt::Display| {
            let path = path.display();
            Failure::new(exit, format!("--ca: {path}: {error}; name a file of certificates in PEM"))
        };
        match &self.ca {
            _ if self.insecure => client_tls(Trust::Nobody).map(Some),
            None => Ok(None),
            Some(path) => {
                let mut pem = Vec::new();
                File::open(path)
                    .and_then(|file| file.take(TLS_FILE_MAX).read_to_end(&mut pem))
                    .map_err(|error| unusable(path, exit_of(&error), &error))?;
                let tls = ClientTls::new(Trust::File(&pem), Resumption::Off);
                tls.map(Some).map_err(|error| unusable(path, Exit::Data, &error))
            }
        }
    }
}

impl Settings {
    /// How long each step may take, but for the answer to a mail.
    pub fn step_max(&self) -> Duration {
        self.timeout.unwrap_or(Duration::from_secs(DIAL_TIMEOUT_SECS_DEFAULT))
    }

    /// Connects, and makes the TLS handshake if TLS is spoken from the start.
    pub fn dial(&self) -> Result<Connection, Failure> {
        self.dial_until(None)
    }

    /// The same, for a dialogue that must be over at `end`, if there is one.
    pub fn dial_until(&self, end: Option<Instant>) -> Result<Connection, Failure> {
        let left = end.map_or(Duration::MAX, |end| end.saturating_duration_since(Instant::now()));
        let mut connection = Connection::dial(&self.server, left.min(self.step_max()))?;
        if let Some(end) = end {
            connection.end_at(end);
        }
        if self.tls == Tls::Implicit {
            self.secure(&mut connection)?;
        }
        Ok(connection)
    }

    /// Makes the TLS handshake, from the next octet on: see [`Connection::start_tls`].
    pub fn secure(&self, connection: &mut Connection) -> Result<(), Failure> {
        let name = self.server.name().ok_or_else(|| {
            let host = printable(self.server.host.as_bytes());
            usage(format!(
                "--server: no certificate can be for a host like {host}; give its name, or --tls off"
            ))
        })?;
        let tls = match &self.trusted {
            Some(tls) => tls.clone(),
            None => client_tls(Trust::System)?,
        };
        connection.start_tls(&tls, &name).map_err(|error| connection.failure(&error))
    }
}

fn client_tls(trust: Trust<'_>) -> Result<ClientTls, Failure> {
    ClientTls::new(trust, Resumption::Off)
        .map_err(|error| Failure::new(Exit::Unavailable, format!("no TLS: {error}, with --ca FILE")))
}

fn usage(sentence: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Command, FromArgMatches};

    fn connecting(line: &str) -> Connecting {
        let command = Connecting::augment_args(Command::new("x"));
        let words = std::iter::once("x").chain(line.split_whitespace());
        Connecting::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
    }

    fn server_and_tls(line: &str, address: &str) -> (String, Tls) {
        let settings = connecting(line).settings(Protocol::SMTP, address).unwrap();
        (settings.server.to_string(), settings.tls)
    }

    #[test]
    fn the_port_follows_from_what_is_asked_for_and_the_tls_from_the_port() {
        for (line, address, server, tls) in [
            ("", "a", "a:25", Tls::Auto),
            ("--user u", "a", "a:587", Tls::Auto),
            ("--tls implicit", "a", "a:465", Tls::Implicit),
            ("--tls implicit --user u", "a:1", "a:1", Tls::Implicit),
            ("", "a:465", "a:465", Tls::Implicit),
            ("--tls starttls", "a:465", "a:465", Tls::Starttls),
            ("--tls off", "a:465", "a:465", Tls::Off),
        ] {
            assert_eq!(server_and_tls(line, address), (server.to_owned(), tls), "{line} {address}");
        }
        let pop3 = connecting("--user u").settings(Protocol::POP3, "a:995").unwrap();
        assert_eq!(pop3.tls, Tls::Implicit);
    }

    #[test]
    fn what_makes_no_sense_is_said_by_its_option() {
        for (line, address, says) in [
            ("", "a:x", "--server: "),
            ("--tls off --ca x", "a", "--ca: "),
            ("--tls off --insecure", "a", "--insecure: "),
            ("--password-file x", "a", "--password-file: "),
            ("--timeout 0s", "a", "--timeout: "),
        ] {
            let failure = connecting(line).settings(Protocol::SMTP, address).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.sentence.starts_with(says), "{failure}");
        }
        let failure = connecting("--ca /nowhere/ca.pem").settings(Protocol::SMTP, "a").unwrap_err();
        assert_eq!(failure.exit, Exit::NoInput);
    }

    #[test]
    fn a_password_does_not_show_in_a_trace() {
        let login = Login { user: "alice".into(), password: "secret".into() };
        assert_eq!(format!("{login:?}"), "Login { user: \"alice\", .. }");
    }
}
