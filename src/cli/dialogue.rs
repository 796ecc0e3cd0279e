//! A dialogue as `--verbose` shows it on standard error: `> ` is ours, `< ` the server's, `* ` is told beside. What AUTH says
//! is left out on either side, mail data is told by its size, and nothing can steer the terminal.

use std::io::{self, Write};

use fastsmtp::smtp::client::Phase;

use super::dial::Connection;
use super::output::printable;

/// Whether a dialogue is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// It is not.
    No,
    /// It is, on standard error.
    Yes,
}

/// A dialogue that is shown, or not.
pub struct Dialogue {
    shown: Shown,
    saying: Saying,
    /// What was said of a line that is not whole.
    line: Vec<u8>,
}

/// What we say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Saying {
    /// Commands, line by line.
    Commands,
    /// Behind AUTH: lines of its exchange.
    Secrets,
    /// Behind the 354: so many octets so far.
    MailData(usize),
}

impl Dialogue {
    /// One in which nothing was said yet.
    pub fn new(shown: Shown) -> Dialogue {
        Dialogue { shown, saying: Saying::Commands, line: Vec::new() }
    }

    /// Tells what is no part of the dialogue itself.
    pub fn note(&self, text: &str) {
        self.tell("* ", text);
    }

    /// Tells of TLS, if it is spoken now.
    pub fn note_tls(&self, connection: &Connection) {
        if let Some(tls) = connection.tls_in_words() {
            self.note(&tls);
        }
    }

    /// Tells what was sent.
    pub fn said(&mut self, octets: &[u8]) {
        if self.shown == Shown::No {
            return;
        }
        if let Saying::MailData(count) = &mut self.saying {
            *count += octets.len();
            return;
        }
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            self.line.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                let line = std::mem::take(&mut self.line);
                self.tell_line(printable(line.trim_ascii_end()));
            }
        }
    }

    fn tell_line(&mut self, line: String) {
        let mut words = line.splitn(3, ' ');
        match (self.saying, words.next(), words.next()) {
            (Saying::Secrets, ..) => self.tell("> ", HIDDEN),
            (_, Some("AUTH"), Some(mechanism)) => {
                self.saying = Saying::Secrets;
                let behind = if words.next().is_some() { format!(" {HIDDEN}") } else { String::new() };
                self.tell("> ", &format!("AUTH {mechanism}{behind}"));
            }
            _ => self.tell("> ", &line),
        }
    }

    /// Tells a reply to what was said: its code, and the texts of its lines.
    pub fn heard(&mut self, phase: Phase, code: u16, lines: &[String]) {
        if let Saying::MailData(count) = self.saying {
            self.tell("> ", &format!("({count} octets of mail data)"));
        }
        let is_challenge = phase == Phase::Auth && code == 334;
        self.saying = match phase {
            Phase::Data if code < 400 => Saying::MailData(0),
            Phase::Auth if is_challenge => Saying::Secrets,
            _ => Saying::Commands,
        };
        for (at, line) in lines.iter().enumerate() {
            let separator = if at + 1 < lines.len() { '-' } else { ' ' };
            let line = if is_challenge && !line.is_empty() { HIDDEN } else { line };
            self.tell("< ", &format!("{code}{separator}{line}"));
        }
    }

    /// A standard error that is broken is no reason not to send.
    fn tell(&self, mark: &str, text: &str) {
        if self.shown == Shown::Yes {
            let _ = writeln!(io::stderr().lock(), "{mark}{}", text.trim_end());
        }
    }
}

const HIDDEN: &str = "(hidden)";
