//! A message as a client says it: the commands of its envelope, made once, and its data in the form of the wire.
//!
//! ```text
//!   Stuffed, for DATA   MAIL RCPT RCPT DATA │ head body[from..] .      one output up to the 354, one behind it
//!                       └─ Commands ──────┘   └─ Data ────────┘
//!   Chunk, for BDAT     MAIL RCPT RCPT BDAT n LAST head │ body[from..] one output, of two slices
//!                       └─ copied, so that they are one ┘  └ shared
//! ```

use std::fmt::Write;
use std::sync::Arc;

use super::Phase;
use crate::limits::BODY_JOINED_MAX;
use crate::smtp::{Address, Body, Envelope};

/// The commands of an envelope, made once for all mails that have it.
#[derive(Debug)]
pub struct Commands {
    /// MAIL, each RCPT, DATA.
    text: String,
    /// Where each of them ends.
    ends: Vec<usize>,
    /// Whether the data may be said in a chunk only (BODY=BINARYMIME, RFC 3030 3).
    binary: bool,
}

impl Commands {
    /// Of an envelope with at least one forward-path. Whether the server offers what the envelope asks for is the
    /// caller's to look at ([`Client::extensions`](super::Client::extensions)).
    pub fn new(envelope: &Envelope) -> Commands {
        assert!(!envelope.forward_paths.is_empty(), "an envelope without forward-paths cannot be sent");
        let mut commands = Commands {
            text: String::new(),
            ends: Vec::with_capacity(envelope.forward_paths.len() + 2),
            binary: envelope.body == Body::BinaryMime,
        };
        let body = match envelope.body {
            Body::SevenBit => "",
            Body::EightBitMime => " BODY=8BITMIME",
            Body::BinaryMime => " BODY=BINARYMIME",
        };
        let smtputf8 = if envelope.smtputf8 { " SMTPUTF8" } else { "" };
        commands.push("MAIL FROM:", envelope.reverse_path.as_ref(), &[body, smtputf8]);
        for address in &envelope.forward_paths {
            commands.push("RCPT TO:", Some(address), &[]);
        }
        commands.text.push_str("DATA\r\n");
        commands.ends.push(commands.text.len());
        commands
    }

    fn push(&mut self, command: &str, path: Option<&Address>, parameters: &[&str]) {
        self.text.push_str(command);
        self.text.push('<');
        if let Some(address) = path {
            write!(self.text, "{address}").expect("writing to a string cannot fail");
        }
        self.text.push('>');
        parameters.iter().for_each(|parameter| self.text.push_str(parameter));
        self.text.push_str("\r\n");
        self.ends.push(self.text.len());
    }

    /// MAIL and each RCPT, without DATA.
    fn envelope(&self) -> &[u8] {
        &self.text.as_bytes()[..self.ends[self.data_index() - 1]]
    }

    /// The index of DATA or BDAT.
    fn data_index(&self) -> usize {
        self.ends.len() - 1
    }
}

/// In which of two ways mail data goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For DATA: dots at line starts doubled, the end of data behind it (RFC 5321 4.5.2).
    Stuffed,
    /// For BDAT: as it is (RFC 3030).
    Chunk,
}

/// Mail data as it goes over the wire. A clone shares its body.
#[derive(Debug, Clone)]
pub struct Data {
    form: Form,
    head: Vec<u8>,
    body: Arc<[u8]>,
    /// Where in `body` the data goes on behind `head`.
    from: usize,
}

impl Data {
    /// For DATA, from mail data whose line ends are all CRLF.
    pub fn stuffed(data: &[u8]) -> Data {
        let mut stuffed = Vec::with_capacity(data.len() + data.len() / 64 + 8);
        stuff(data, &mut stuffed);
        Data { form: Form::Stuffed, head: Vec::new(), body: stuffed.into(), from: 0 }
    }

    /// For BDAT, from mail data whose line ends are all CRLF, or any octets if the envelope says BINARYMIME.
    pub fn chunk(data: &[u8]) -> Data {
        Data { form: Form::Chunk, head: Vec::new(), body: data.into(), from: 0 }
    }

    /// A head of its own in front of `body[from..]`, which many mails may share. Both are in the form of the wire
    /// already: stuffed data ends with the end of data, and the body begins at a line's start or was stuffed as if not.
    pub fn shared(form: Form, head: Vec<u8>, body: Arc<[u8]>, from: usize) -> Data {
        let ended = form == Form::Chunk || body[from..].ends_with(b".\r\n");
        assert!(ended, "stuffed data without its end");
        Data { form, head, body, from }
    }

    /// Which of the two it is.
    pub fn form(&self) -> Form {
        self.form
    }

    /// Makes one piece of a head and a short body: one piece goes out by a cheaper system call than two, which saves more
    /// than so short a copy costs.
    fn join(&mut self) {
        let body = &self.body[self.from..];
        if !self.head.is_empty() && body.len() <= BODY_JOINED_MAX {
            self.head.extend_from_slice(body);
            self.from = self.body.len();
        }
    }

    /// Octets on the wire, its end and all.
    pub fn octets(&self) -> usize {
        self.head.len() + self.body.len() - self.from
    }
}

/// A message as it is said. A clone shares its commands and its body.
#[derive(Debug, Clone)]
pub struct Mail {
    commands: Arc<Commands>,
    /// In a chunk's head stand the envelope's commands and BDAT as well.
    data: Data,
    /// Where BDAT begins in the head of a chunk.
    bdat_at: usize,
}

impl Mail {
    /// Of an envelope and data. Copies a short body, the head, and for a chunk the envelope's commands, so that they are one slice.
    pub fn new(commands: Arc<Commands>, mut data: Data) -> Mail {
        let mut bdat_at = 0;
        match data.form {
            Form::Stuffed => assert!(!commands.binary, "BINARYMIME goes in a chunk (RFC 3030 3)"),
            Form::Chunk => {
                let envelope = commands.envelope();
                bdat_at = envelope.len();
                let bdat = format!("BDAT {} LAST\r\n", data.octets());
                data.head = [envelope, bdat.as_bytes(), &data.head].concat();
            }
        }
        data.join();
        Mail { commands, data, bdat_at }
    }

    /// In which form its data is.
    pub fn form(&self) -> Form {
        self.data.form
    }

    /// All that goes out at once: up to DATA, or with the chunk.
    pub(super) fn group(&self) -> [&[u8]; 2] {
        match self.data.form {
            Form::Stuffed => [self.commands.text.as_bytes(), b""],
            Form::Chunk => self.data(),
        }
    }

    /// The command at `index`, BDAT with its octets.
    pub(super) fn command(&self, index: usize) -> [&[u8]; 2] {
        if self.phase(index) == Phase::Accept {
            return [&self.data.head[self.bdat_at..], self.body()];
        }
        let start = if index == 0 { 0 } else { self.commands.ends[index - 1] };
        [&self.commands.text.as_bytes()[start..self.commands.ends[index]], b""]
    }

    /// The stuffed data. Of a chunk, all that there is.
    pub(super) fn data(&self) -> [&[u8]; 2] {
        [&self.data.head, self.body()]
    }

    /// Octets of the group up to and with the command at `index`.
    pub(super) fn end(&self, index: usize) -> usize {
        match self.phase(index) {
            Phase::Accept => self.data.octets(),
            _ => self.commands.ends[index],
        }
    }

    /// What the reply to the command at `index` answers.
    pub(super) fn phase(&self, index: usize) -> Phase {
        match self.data.form {
            _ if index == 0 => Phase::Mail,
            _ if index < self.commands.data_index() => Phase::Rcpt,
            Form::Stuffed => Phase::Data,
            Form::Chunk => Phase::Accept,
        }
    }

    /// Whether the command at `index` is DATA or BDAT.
    pub(super) fn is_data(&self, index: usize) -> bool {
        index == self.commands.data_index()
    }

    fn body(&self) -> &[u8] {
        &self.data.body[self.data.from..]
    }
}

/// Appends mail data to `out` as it is sent: a dot at a line's start doubled (RFC 5321 4.5.2), a last line without CRLF
/// ended, and the end of data behind it. The line ends of `data` must all be CRLF: a bare CR or LF goes out as it is.
pub fn stuff(data: &[u8], out: &mut Vec<u8>) {
    let mut line_start = true;
    for piece in data.split_inclusive(|octet| *octet == b'\n') {
        if line_start && piece[0] == b'.' {
            out.push(b'.');
        }
        out.extend_from_slice(piece);
        // A piece may be a lone LF whose CR ended nothing: look at what went out, not at the piece alone.
        line_start = out.ends_with(b"\r\n");
    }
    if !line_start {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope() -> Envelope {
        Envelope {
            reverse_path: None,
            forward_paths: vec![Address::parse("jörg@x".as_bytes()).unwrap()],
            body: Body::EightBitMime,
            smtputf8: true,
        }
    }

    #[test]
    fn an_envelope_says_what_it_needs_of_the_server() {
        let commands = Commands::new(&envelope());
        assert_eq!(commands.text, "MAIL FROM:<> BODY=8BITMIME SMTPUTF8\r\nRCPT TO:<jörg@x>\r\nDATA\r\n");
        let binary = Commands::new(&Envelope { body: Body::BinaryMime, ..envelope() });
        assert!(binary.text.starts_with("MAIL FROM:<> BODY=BINARYMIME SMTPUTF8\r\n"));
    }

    #[test]
    fn a_chunk_says_how_many_octets_its_head_and_what_is_left_of_its_body_have() {
        let commands = Arc::new(Commands::new(&envelope()));
        let long = [b'x'; BODY_JOINED_MAX + 1];
        let body: Arc<[u8]> = [b"skipped.".as_slice(), &long].concat().into();
        let data = Data::shared(Form::Chunk, b"head\r\n".to_vec(), Arc::clone(&body), 8);
        let mail = Mail::new(Arc::clone(&commands), data);
        let bdat = format!("BDAT {} LAST\r\nhead\r\n", 6 + long.len());
        assert_eq!(mail.command(2), [bdat.as_bytes(), &long]);
        assert_eq!(mail.group().concat(), [commands.envelope(), &mail.command(2).concat()].concat());
        assert_eq!(mail.end(2), mail.group().concat().len());
        assert_eq!(Arc::strong_count(&body), 2, "the body is shared, not copied");
        let empty = Mail::new(commands, Data::chunk(b""));
        assert_eq!(empty.command(2), [b"BDAT 0 LAST\r\n".as_slice(), b""]);
    }

    #[test]
    fn a_head_of_its_own_stands_before_a_shared_body() {
        let end = b"\r\n.\r\n";
        for (octets, pieces) in [(BODY_JOINED_MAX, 1), (BODY_JOINED_MAX + 1, 2)] {
            let body = [&vec![b'x'; octets - end.len()], end.as_slice()].concat();
            let shared = Data::shared(Form::Stuffed, b"A: b\r\n\r\n".to_vec(), body.clone().into(), 0);
            let mail = Mail::new(Arc::new(Commands::new(&envelope())), shared);
            assert_eq!(mail.data().concat(), [b"A: b\r\n\r\n".as_slice(), &body].concat());
            // A short one is rather copied than sent as a piece of its own.
            assert_eq!(mail.data().iter().filter(|piece| !piece.is_empty()).count(), pieces);
        }
    }

    #[test]
    #[should_panic(expected = "BINARYMIME goes in a chunk")]
    fn binary_data_is_never_said_behind_data() {
        let binary = Commands::new(&Envelope { body: Body::BinaryMime, ..envelope() });
        let _ = Mail::new(Arc::new(binary), Data::stuffed(b"x"));
    }

    fn stuffed(data: &str) -> String {
        let mut out = Vec::new();
        stuff(data.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_dot_is_doubled_at_a_line_start_and_nowhere_else() {
        assert_eq!(stuffed(""), ".\r\n");
        assert_eq!(stuffed("."), "..\r\n.\r\n");
        assert_eq!(stuffed("a"), "a\r\n.\r\n");
        assert_eq!(stuffed("a\r\n.\r\n..b.\r\n"), "a\r\n..\r\n...b.\r\n.\r\n");
        assert_eq!(stuffed("a.\n.b"), "a.\n.b\r\n.\r\n");
        assert_eq!(stuffed("a\r"), "a\r\r\n.\r\n");
    }

    proptest! {
        #[test]
        fn what_is_stuffed_has_one_end_and_is_the_same_without_the_dots(
            lines in prop::collection::vec("[.a ]{0,4}", 0..20)
        ) {
            let data: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let sent = stuffed(&data);
            let mut received = String::new();
            let mut rest = sent.as_str();
            while let Some((line, behind)) = rest.split_once("\r\n") {
                rest = behind;
                if line == "." {
                    break;
                }
                received += line.strip_prefix('.').unwrap_or(line);
                received += "\r\n";
            }
            prop_assert_eq!(rest, "", "something behind the end of data");
            prop_assert_eq!(received, data);
        }
    }
}
