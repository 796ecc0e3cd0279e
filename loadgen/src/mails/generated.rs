//! Content that is made up: a header of its own for each message, and lines of filler that all share, to the octet.
//!
//! ```text
//!   X-Loadgen-Id: 0f1e...cdef        always there, if a ledger is kept
//!   Date, From, To, Subject, Message-ID, MIME-Version with Content-Type
//!                                    of these, from the front, as many as fit into the size
//!                                    a blank line
//!   filler[from..]                   its lines are counted from its end, so that every tail ends with a line
//! ```
//!
//! Where the tail would begin between a CR and its LF, it begins behind them, and the id has one more space before it.
//! A size too small for the id is an empty header and filler.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use fastsmtp::calendar::Date;
use fastsmtp::limits::BODY_JOINED_MAX;
use fastsmtp::smtp::Address;
use fastsmtp::smtp::client::Form;

use super::wire::Wire;
use crate::mail_id::{FIELD, FIELD_LEN, ID_LEN, MailId};

/// What makes content.
#[derive(Debug)]
pub struct Generated {
    filler: Wire,
    /// When the run began (RFC 5322 3.3).
    date: String,
}

/// What a header tells.
#[derive(Debug, Clone, Copy)]
pub struct Telling<'a> {
    /// Of the message.
    pub id: MailId,
    /// Its number in the run.
    pub number: u64,
    /// None for the null one.
    pub reverse_path: Option<&'a Address>,
    /// At least one.
    pub forward_paths: &'a [Address],
}

/// Octets of the smallest message that has an id: its field, and a blank line.
pub const WITH_ID_MIN: u64 = FIELD_LEN as u64 + 2;

impl Generated {
    /// For messages of up to `octets_max` octets in a run that began at `started`.
    pub fn new(octets_max: usize, form: Form, started: SystemTime) -> Generated {
        let seconds = started.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Generated {
            filler: Wire::new(filler(octets_max), form),
            date: Date::of(seconds).rfc5322().to_string(),
        }
    }

    /// The head of a message of `octets` octets, the filler, and where in it the message goes on. At least 2 octets,
    /// and not more than it was made for.
    pub fn compose(&self, telling: &Telling<'_>, octets: usize) -> (String, &Wire, usize) {
        assert!((2..=self.filler.len()).contains(&octets), "a size that was not asked for");
        let mut head = String::with_capacity(HEAD_CAPACITY + octets.min(BODY_JOINED_MAX));
        if octets as u64 >= WITH_ID_MIN {
            self.write_header(&mut head, telling, octets - 2);
        }
        // Three octets are a line of one and its end: there is no room for a blank line and another.
        if octets != 3 {
            head.push_str("\r\n");
        }
        let mut tail = octets - head.len();
        if tail % LINE == 1 {
            head.insert(FIELD.len(), ' ');
            tail -= 1;
        }
        (head, &self.filler, self.filler.len() - tail)
    }

    /// Writes the fields, as many as `room` octets have room for.
    fn write_header(&self, head: &mut String, telling: &Telling<'_>, room: usize) {
        for field in FIELDS {
            let before = head.len();
            self.write_field(head, field, telling);
            if head.len() > room {
                head.truncate(before);
                return;
            }
        }
    }

    fn write_field(&self, head: &mut String, field: Field, telling: &Telling<'_>) {
        match field {
            Field::Id => {
                head.push_str(FIELD);
                telling.id.push_to(head);
            }
            Field::Date => {
                head.push_str("Date: ");
                head.push_str(&self.date);
            }
            Field::From => {
                head.push_str("From: ");
                match telling.reverse_path {
                    Some(address) => address.push_to(head),
                    None => head.push_str("mailer-daemon@client.example"),
                }
            }
            Field::To => {
                head.push_str("To: ");
                match telling.forward_paths {
                    [address] => address.push_to(head),
                    _ => head.push_str("undisclosed-recipients:;"),
                }
            }
            Field::Subject => {
                write!(head, "Subject: Message {} of a load test", telling.number)
                    .expect("writing to a string cannot fail");
            }
            Field::MessageId => {
                head.push_str("Message-ID: <");
                telling.id.push_to(head);
                head.push_str("@client.example>");
            }
            Field::Mime => {
                head.push_str("MIME-Version: 1.0\r\nContent-Type: text/plain; charset=us-ascii");
            }
        }
        head.push_str("\r\n");
    }
}

/// Fields, the most important in front: an id finds the message, RFC 5322 3.6 wants Date and From.
#[derive(Debug, Clone, Copy)]
enum Field {
    Id,
    Date,
    From,
    To,
    Subject,
    MessageId,
    Mime,
}

const FIELDS: [Field; 7] =
    [Field::Id, Field::Date, Field::From, Field::To, Field::Subject, Field::MessageId, Field::Mime];

/// So many octets of lines, and a line's end more, whose tails of any length but one more than whole lines begin with a
/// whole CRLF or within a line. Letters by chance, always the same, like an attachment in base64: nothing that a file
/// system or a network would make smaller, and no dot.
fn filler(octets: usize) -> Vec<u8> {
    let mut chance = Rng::with_seed(0);
    let mut filler: Vec<u8> = (0..octets).map(|_| LETTERS[chance.usize(0..LETTERS.len())]).collect();
    for line_end in (0..octets).rev().skip(1).step_by(LINE) {
        filler[line_end] = b'\r';
        filler[line_end + 1] = b'\n';
    }
    filler
}

/// Octets of a line of filler, with its CRLF (RFC 5322 2.1.1 wants at most 78 without).
const LINE: usize = 78;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Octets that a header mostly has at the most.
const HEAD_CAPACITY: usize = 512;

const _: () = assert!(WITH_ID_MIN as usize - 2 == FIELD.len() + ID_LEN + 2);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail_id::RunId;
    use sha2::{Digest, Sha256};

    fn address(text: &str) -> Address {
        Address::parse(text.as_bytes()).unwrap()
    }

    fn made(octets: usize, octets_max: usize, id: MailId) -> String {
        let generated = Generated::new(octets_max, Form::Chunk, UNIX_EPOCH);
        let (from, to) = (address("from@x"), [address("to@x")]);
        let telling = Telling { id, number: 7, reverse_path: Some(&from), forward_paths: &to };
        let (head, wire, from) = generated.compose(&telling, octets);
        let content = format!("{head}{}", String::from_utf8(filler(octets_max)[from..].to_vec()).unwrap());
        let hash: [u8; 32] = Sha256::digest(&content).into();
        assert_eq!(wire.sha256(&head, from), hash);
        content
    }

    #[test]
    fn a_message_has_the_size_asked_for_and_proper_lines() {
        let id = RunId::random().mail(7);
        for octets_max in [1_000, 1_001, 1_077] {
            for octets in 2..=1_000 {
                let content = made(octets, octets_max, id);
                assert_eq!(content.len(), octets);
                assert!(content.ends_with("\r\n"), "{octets}");
                for line in content.split("\r\n") {
                    assert!(line.len() <= 78 && !line.contains(['\r', '\n']), "{octets}: {line:?}");
                    assert!(!line.starts_with('.'), "{octets}");
                }
            }
        }
        for octets in [65_535, 65_536, 65_537, 1 << 20] {
            assert_eq!(made(octets, octets, id).len(), octets);
        }
    }

    #[test]
    fn the_id_is_there_from_fifty_octets_on_and_fields_are_left_out_from_the_end() {
        let id = RunId::random().mail(7);
        assert_eq!(WITH_ID_MIN, 50);
        let mut fields = 0;
        for octets in 2..1_000 {
            let content = made(octets, 1_000, id);
            let (header, _) = content.split_once("\r\n\r\n").unwrap_or(("", &content));
            let first = header.split("\r\n").next().and_then(|line| MailId::in_field(line.as_bytes()));
            assert_eq!(first, (octets >= 50).then_some(id), "{octets}");
            let count = header.split("\r\n").filter(|line| line.contains(": ")).count();
            assert!(count >= fields, "{octets}: {header}");
            fields = count;
        }
        assert_eq!(fields, 8);
    }

    #[test]
    fn the_header_is_as_rfc_5322_has_it() {
        let id = RunId::random().mail(7);
        let content = made(1024, 1024, id);
        let header = format!(
            "X-Loadgen-Id: {id}\r\nDate: Thu, 1 Jan 1970 00:00:00 +0000\r\nFrom: from@x\r\nTo: to@x\r\n\
             Subject: Message 7 of a load test\r\nMessage-ID: <{id}@client.example>\r\nMIME-Version: 1.0\r\n\
             Content-Type: text/plain; charset=us-ascii\r\n\r\n"
        );
        assert!(content.starts_with(&header), "{content}");

        let generated = Generated::new(1024, Form::Stuffed, UNIX_EPOCH);
        let to = [address("a@x"), address("b@x")];
        let telling = Telling { id, number: 7, reverse_path: None, forward_paths: &to };
        let (head, ..) = generated.compose(&telling, 1024);
        assert!(head.contains("\r\nFrom: mailer-daemon@client.example\r\nTo: undisclosed-recipients:;\r\n"));
    }
}
