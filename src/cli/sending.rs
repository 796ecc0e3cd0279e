//! Hands one mail to a server, over the library's [`Client`]: EHLO, STARTTLS, AUTH, and the mail. `fastsmtp send` calls it, and
//! whatever else has a mail to send; it knows neither arguments nor files.
//!
//! ```text
//!   dial ─▶ speak ─▶ hear ─▶ speak ... ─▶ idle: start the mail ... ─▶ idle: the outcome, and QUIT
//! ```
//!
//! A refusal of single recipients is part of the [`Outcome`]; whatever keeps the mail from everybody is a [`Failure`], and
//! nothing that the server said gets into either unescaped, nor a password that it repeated.

use std::io::{self, ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use fastsmtp::disk::random_octets;
use fastsmtp::limits::{DIAL_ACCEPT_SECS, DIAL_GOODBYE_SECS};
use fastsmtp::smtp::client::{
    Client, Commands, Credentials, Data, Error, Extension, Extensions, Grouping, Hello, Mail, Manner, Phase,
    Reply, StartTls,
};
use fastsmtp::smtp::{Address, Body, Envelope};
use fastsmtp::units::size_text;

use super::connecting::{Settings, Tls};
use super::dial::{Connection, Server};
use super::dialogue::{Dialogue, Shown};
use super::exit::{Exit, Failure};
use super::output::printable;

/// What became of a mail that the server took for somebody, or could have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Each recipient, in the order of the envelope.
    pub recipients: Vec<Recipient>,
    /// What the server said to the mail; none if it took no recipient.
    pub mail: Option<Said>,
}

/// A recipient, and what the server said last that is about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// Who.
    pub address: Address,
    /// To RCPT if it was refused there, else to the mail.
    pub said: Said,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The reply code, 200 to 599.
    pub code: u16,
    /// The reply, all its lines as one, code and all; it cannot steer a terminal.
    pub text: String,
}

impl Said {
    /// Whether it is no refusal.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// The exit code of a refusal.
    pub fn exit(&self) -> Exit {
        if self.code < 500 { Exit::Temporary } else { Exit::Unavailable }
    }
}

/// Sends a mail: `octets` with CRLF at the ends of their lines, to the recipients of the envelope, of which there is at least
/// one. As `host_name`, which may stand behind EHLO.
pub fn send(
    settings: &Settings,
    host_name: &str,
    envelope: &Envelope,
    octets: &[u8],
    shown: Shown,
) -> Result<Outcome, Failure> {
    let credentials = credentials(settings)?;
    let manner = manner(settings, host_name, credentials.clone());
    let mut client = Client::new(Arc::new(manner), u64::from_ne_bytes(random_octets()));
    let connection = settings.dial()?;
    if connection.is_secured() {
        client.secured_from_start();
    }
    let dialogue = Dialogue::new(shown);
    dialogue.note(&format!("connected to {}", settings.server));
    dialogue.note_tls(&connection);
    let unanswered = vec![None; envelope.forward_paths.len()];
    let courier = Courier {
        settings,
        connection,
        client,
        credentials,
        dialogue,
        message: Message { envelope, octets },
        stands: Stands::Greeting,
        answers: Answers { recipients: unanswered, sender: None, mail: None },
    };
    courier.deliver()
}

fn manner(settings: &Settings, host_name: &str, credentials: Option<Arc<Credentials>>) -> Manner {
    let starttls = match settings.tls {
        Tls::Auto => StartTls::WhenOffered,
        Tls::Starttls => StartTls::Required,
        Tls::Off | Tls::Implicit => StartTls::Never,
    };
    Manner { hello: Hello::new(host_name), grouping: Grouping::Pipelined, starttls, credentials }
}

fn credentials(settings: &Settings) -> Result<Option<Arc<Credentials>>, Failure> {
    let Some(login) = &settings.login else { return Ok(None) };
    let credentials = Credentials::new(&login.user, &login.password, None, settings.clear);
    match credentials {
        Ok(credentials) => Ok(Some(Arc::new(credentials))),
        Err(error) => Err(Failure::new(Exit::Data, format!("{error}; give --user ADDRESS and its password"))),
    }
}

/// A mail to be sent.
#[derive(Clone, Copy)]
struct Message<'a> {
    envelope: &'a Envelope,
    octets: &'a [u8],
}

/// How far the dialogue has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stands {
    /// Before the mail.
    Greeting,
    /// In the mail's transaction.
    Transaction,
    /// The mail's data is being said.
    Data,
    /// All of it is: what becomes of it, only the reply tells.
    Sent,
}

/// What the server said to the parts of the mail.
struct Answers {
    recipients: Vec<Option<Said>>,
    /// A refusal of the sender.
    sender: Option<Said>,
    mail: Option<Said>,
}

/// One mail on its way.
struct Courier<'a> {
    settings: &'a Settings,
    connection: Connection,
    client: Client,
    credentials: Option<Arc<Credentials>>,
    dialogue: Dialogue,
    message: Message<'a>,
    stands: Stands,
    answers: Answers,
}

/// One reply, out of what it was borrowed from.
struct Heard {
    phase: Phase,
    recipient: Option<usize>,
    lines: Vec<String>,
    said: Said,
}

impl Courier<'_> {
    fn deliver(mut self) -> Result<Outcome, Failure> {
        let outcome = self.converse();
        self.say_goodbye();
        self.connection.close();
        outcome
    }

    /// The dialogue, up to the outcome.
    fn converse(&mut self) -> Result<Outcome, Failure> {
        let mut buffer = vec![0; RECEIVED_AT_ONCE];
        self.connection.await_answer();
        loop {
            if let Err(error) = self.speak() {
                return self.last_words(&error, &mut buffer);
            }
            if self.stands == Stands::Data {
                self.stands = Stands::Sent;
                let accept_max = self.settings.timeout.unwrap_or(Duration::from_secs(DIAL_ACCEPT_SECS));
                self.connection.set_timeout(accept_max);
            }
            let count = self.receive(&mut buffer)?;
            if let Some(outcome) = self.hear(&buffer[..count])? {
                return Ok(outcome);
            }
        }
    }

    /// Says all that there is to say.
    fn speak(&mut self) -> io::Result<()> {
        loop {
            let [first, second] = self.client.output();
            let next = if first.is_empty() { second } else { first };
            if next.is_empty() {
                return self.connection.flush();
            }
            let count = self.connection.write(next)?;
            self.connection.await_answer();
            self.dialogue.said(&next[..count]);
            self.client.sent(count);
        }
    }

    /// What a write that failed comes to. A server that refuses in the midst of the mail data and hangs up makes our writes
    /// fail, but what it said is still there.
    fn last_words(&mut self, error: &io::Error, buffer: &mut [u8]) -> Result<Outcome, Failure> {
        let failure = self.failure(error);
        if error.kind() == ErrorKind::TimedOut {
            return Err(failure);
        }
        while let Ok(count @ 1..) = self.connection.read(buffer) {
            if let Some(outcome) = self.hear(&buffer[..count])? {
                return Ok(outcome);
            }
        }
        Err(failure)
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Failure> {
        match self.connection.read(buffer) {
            Ok(0) => Err(self.failure(&ErrorKind::UnexpectedEof.into())),
            Ok(count) => Ok(count),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Takes what the server said; gives the outcome once it is there.
    fn hear(&mut self, mut input: &[u8]) -> Result<Option<Outcome>, Failure> {
        while let Some(heard) = self.next(&mut input)? {
            self.dialogue.heard(heard.phase, heard.said.code, &heard.lines);
            self.connection.await_answer(); // the next reply, if one is due
            self.take(heard)?;
            if self.client.needs_tls() {
                self.settings.secure(&mut self.connection)?;
                self.client.secured();
                self.dialogue.note_tls(&self.connection);
            } else if self.client.is_idle() || self.client.is_over() {
                match self.stands {
                    Stands::Greeting => self.start()?,
                    Stands::Transaction | Stands::Data | Stands::Sent => return self.outcome().map(Some),
                }
            }
        }
        Ok(None)
    }

    fn next(&mut self, input: &mut &[u8]) -> Result<Option<Heard>, Failure> {
        let server = &self.settings.server;
        let event = self.client.advance(input).map_err(|error| misspoken(server, &error))?;
        Ok(event.map(|event| {
            let (code, lines) = (event.reply.code(), lines(&event.reply, self.credentials.as_deref()));
            let text = on_one_line(&event.reply, &lines);
            Heard { phase: event.phase, recipient: event.recipient, lines, said: Said { code, text } }
        }))
    }

    /// Takes note of a reply. An error is one that ends all.
    fn take(&mut self, Heard { phase, recipient, said, .. }: Heard) -> Result<(), Failure> {
        let (is_positive, is_over) = (said.is_positive(), self.client.is_over());
        match (phase, recipient) {
            (Phase::Auth, _) if !is_positive && !is_over => return Err(self.login_refused(&said)),
            (Phase::Rcpt, Some(recipient)) => self.answers.recipients[recipient] = Some(said.clone()),
            (Phase::Mail, _) if !is_positive => self.answers.sender = Some(said.clone()),
            (Phase::Data, _) if is_positive && self.is_for_somebody() => self.stands = Stands::Data,
            (Phase::Data | Phase::Accept, _) if self.is_for_somebody() => {
                self.answers.mail = Some(said.clone())
            }
            _ => {}
        }
        let before_the_mail = matches!(phase, Phase::Banner | Phase::Helo | Phase::Ehlo);
        let is_refused = before_the_mail && !is_positive && (phase != Phase::Ehlo || said.code < 500);
        match is_refused || is_over {
            // The reply to the mail is the outcome, although the server had no more time for us.
            true if self.answers.mail.is_some() => Ok(()),
            true => {
                Err(Failure::new(said.exit(), format!("{} refused: {}", self.settings.server, said.text)))
            }
            false => Ok(()),
        }
    }

    fn login_refused(&self, said: &Said) -> Failure {
        let user = self.settings.login.as_ref().map_or("", |login| login.user.as_str());
        let user = printable(user.as_bytes());
        let exit = if said.code < 500 { Exit::Temporary } else { Exit::Permission };
        Failure::new(exit, format!("{} refused the login of {user}: {}", self.settings.server, said.text))
    }

    /// Whether the server took a recipient.
    fn is_for_somebody(&self) -> bool {
        self.answers.sender.is_none()
            && self.answers.recipients.iter().flatten().any(|said| said.is_positive())
    }

    /// Begins with the mail, if the server can take it.
    fn start(&mut self) -> Result<(), Failure> {
        let Message { envelope, octets } = self.message;
        if let Some(lack) = lack(self.client.extensions(), envelope, octets.len() as u64) {
            return Err(Failure::new(Exit::Unavailable, format!("{} {lack}", self.settings.server)));
        }
        self.stands = Stands::Transaction;
        self.client.start(Mail::new(Arc::new(Commands::new(envelope)), Data::stuffed(octets)));
        Ok(())
    }

    fn outcome(&mut self) -> Result<Outcome, Failure> {
        let server = &self.settings.server;
        if let Some(said) = &self.answers.sender {
            let sender = match &self.message.envelope.reverse_path {
                Some(address) => printable(address.to_string().as_bytes()),
                None => "<>".to_owned(),
            };
            let mend = match said.code {
                530 if self.credentials.is_none() => "; log in with --user ADDRESS",
                _ => "",
            };
            let sentence = format!("{server} refused the sender {sender}: {}{mend}", said.text);
            return Err(Failure::new(said.exit(), sentence));
        }
        let mail = self.answers.mail.clone();
        let paths = self.message.envelope.forward_paths.iter();
        let recipients = paths.zip(&self.answers.recipients).map(|(address, said)| {
            let taken = said.as_ref().is_some_and(Said::is_positive);
            let last = mail.as_ref().filter(|_| taken).or(said.as_ref());
            Recipient { address: address.clone(), said: last.cloned().unwrap_or_else(unanswered) }
        });
        Ok(Outcome { recipients: recipients.collect(), mail })
    }

    /// Says QUIT, and waits a moment for its reply: the mail is where it should be, or not, whatever comes of this.
    fn say_goodbye(&mut self) {
        let goodbye_max = self.settings.step_max().min(Duration::from_secs(DIAL_GOODBYE_SECS));
        if !self.client.is_idle() {
            return;
        }
        self.connection.set_timeout(goodbye_max);
        self.client.quit();
        let mut buffer = [0; 1024];
        let _ = self.speak();
        if let Ok(count @ 1..) = self.connection.read(&mut buffer)
            && let Ok(Some(heard)) = self.next(&mut &buffer[..count])
        {
            self.dialogue.heard(heard.phase, heard.said.code, &heard.lines);
        }
    }

    /// What an error of the connection comes to.
    fn failure(&self, error: &io::Error) -> Failure {
        let Failure { exit, sentence } = self.connection.failure(error);
        match self.stands {
            Stands::Sent => {
                Failure::new(exit, format!("{sentence}; it may have taken the mail all the same"))
            }
            Stands::Greeting | Stands::Transaction | Stands::Data => Failure { exit, sentence },
        }
    }
}

/// Octets that are received at once: more than most servers' replies.
const RECEIVED_AT_ONCE: usize = 8 * 1024;

/// The lines of a reply, which cannot do any harm any more.
fn lines(reply: &Reply<'_>, credentials: Option<&Credentials>) -> Vec<String> {
    let shows = |line: &[u8]| credentials.is_some_and(|credentials| credentials.are_shown_in(line));
    let line = |line: &[u8]| if shows(line) { "(the password)".to_owned() } else { printable(line) };
    reply.lines().map(line).collect()
}

/// All of a reply on one line, with the enhanced status code that all its lines repeat (RFC 2034 4) said once.
fn on_one_line(reply: &Reply<'_>, lines: &[String]) -> String {
    let status = reply.status().map(|status| status.to_string()).unwrap_or_default();
    let mut text = reply.code().to_string();
    for (at, line) in lines.iter().enumerate() {
        let rest = line.strip_prefix(&status).filter(|rest| at > 0 && rest.starts_with(' ')).unwrap_or(line);
        text.push(' ');
        text.push_str(rest.trim());
    }
    text.trim_end().to_owned()
}

/// For a recipient that the server never came to.
fn unanswered() -> Said {
    Said { code: 450, text: "no answer".to_owned() }
}

/// What the mail needs, and the server has not, in words that follow the server's name.
fn lack(offers: &Extensions, envelope: &Envelope, octets: u64) -> Option<String> {
    match offers.size_max {
        _ if envelope.smtputf8 && !offers.smtputf8 => Some(
            "does not offer SMTPUTF8, which an address or a header field outside of ASCII needs (RFC 6531); write them in \
             ASCII"
                .to_owned(),
        ),
        _ if envelope.body == Body::EightBitMime && !offers.eight_bit_mime => Some(
            "does not offer 8BITMIME, which this mail needs (RFC 6152); encode it as quoted-printable or base64".to_owned(),
        ),
        Some(octets_max) if octets > octets_max => Some(format!(
            "takes mail of {} at the most, and this one has {octets} octets; send less of it",
            size_text(octets_max)
        )),
        _ => None,
    }
}

/// What a server comes to that does not speak as it should, or not as we must.
fn misspoken(server: &Server, error: &Error) -> Failure {
    let (exit, sentence) = match error {
        Error::InTheClear(_) => (
            Exit::Unavailable,
            format!(
                "{server} offers no TLS and no login that hides the password, so it was not sent; name another port with \
                 --server, or let all between read it with --allow-plaintext-auth"
            ),
        ),
        Error::NotOffered(Extension::StartTls) => (
            Exit::Unavailable,
            format!("{server} does not offer STARTTLS; try --tls implicit, or another port"),
        ),
        Error::NotOffered(Extension::Auth) => (
            Exit::Unavailable,
            format!(
                "{server} offers no login here; leave out --user, or name its port for submission with --server"
            ),
        ),
        Error::TlsRefused(400..500) => (Exit::Temporary, format!("{server}: {error}; try again later")),
        Error::TlsRefused(_) | Error::Sasl(_) | Error::NotOffered(_) => {
            (Exit::Unavailable, format!("{server}: {error}"))
        }
        Error::Reply(_) | Error::Unasked(_) | Error::Early(..) | Error::OutOfPlace(..) | Error::Injected => (
            Exit::Unavailable,
            format!(
                "{server} does not speak SMTP as it should: {error}; name the server's SMTP port with --server"
            ),
        ),
    };
    Failure::new(exit, sentence)
}
