//! A mail as people write it, made into what goes over the wire: a [`Draft`] gives an envelope and octets (RFC 5322, MIME).
//! `fastsmtp send` calls it, and whoever else lets people write. Encoding is mail-builder's; what may be a header field, and
//! what an address is, is judged here, so that no line break gets into a header.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use fastsmtp::calendar::Date;
use fastsmtp::disk::random_octets;
use fastsmtp::limits::HEADER_WORD_MAX;
use fastsmtp::smtp::{Address, Body, Envelope};
use mail_builder::MessageBuilder;
use mail_builder::headers::HeaderType;
use mail_builder::headers::address::Address as Addresses;
use mail_builder::headers::content_type::ContentType;
use mail_builder::headers::raw::Raw;
use mail_builder::headers::text::Text;
use mail_builder::mime::MimePart;

use super::media_type::media_type;

/// An address with the name that people know its owner by, which may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mailbox {
    /// Without control characters.
    pub name: String,
    /// Its domain in A-labels.
    pub address: Address,
}

/// A file that goes with a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attachment {
    /// Its name without directories, which also tells its type.
    pub name: String,
    /// Its octets.
    pub content: Vec<u8>,
}

/// A header field of the writer's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    name: String,
    value: String,
}

/// A mail as it is written. Who gets it without being named in it stands in `bcc`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Draft {
    /// Who writes.
    pub from: Mailbox,
    /// To whom.
    pub to: Vec<Mailbox>,
    /// Who is to know of it.
    pub cc: Vec<Mailbox>,
    /// Who is to know of it, unknown to the others.
    pub bcc: Vec<Mailbox>,
    /// What it is about; may be empty.
    pub subject: String,
    /// What it says, with line ends of any kind.
    pub text: String,
    /// What goes with it.
    pub attachments: Vec<Attachment>,
    /// Further header fields.
    pub fields: Vec<Field>,
}

/// When a mail was written, and what makes it one of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Seconds since 1970.
    pub unix_secs: u64,
    /// Random.
    pub unique: u64,
}

impl Stamp {
    /// Of a mail that is written now.
    pub fn now() -> Stamp {
        let unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        Stamp { unix_secs, unique: u64::from_ne_bytes(random_octets()) }
    }
}

/// Why something can be no part of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComposeError {
    /// It is no address.
    NoAddress(String),
    /// It contains a line break or another control character.
    Control,
    /// It is no header field.
    NoField(String),
    /// A header field that is made from what the draft says elsewhere.
    MadeField(String),
    /// There is nobody to send it to.
    NoRecipient,
    /// A header field has a word that fits no line.
    LongWord(String),
    /// The text has an octet NUL.
    Nul,
}

impl fmt::Display for ComposeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ComposeError::NoAddress(text) => {
                write!(f, "'{text}' is no address, like alice@example.com or 'Alice <alice@example.com>'")
            }
            ComposeError::Control => {
                f.write_str("it has a line break or another control character; leave that out")
            }
            ComposeError::NoField(text) => {
                write!(f, "'{text}' is no header field, like 'Reply-To: alice@example.com'")
            }
            ComposeError::MadeField(name) => {
                write!(f, "{name} is made from what the other options say; leave it out")
            }
            ComposeError::NoRecipient => {
                f.write_str("there is nobody to send it to; name a recipient with --to ADDRESS")
            }
            ComposeError::LongWord(name) => {
                write!(
                    f,
                    "{name} has a word of more than {HEADER_WORD_MAX} octets, which fits no line; shorten it"
                )
            }
            ComposeError::Nul => f.write_str(
                "the text has an octet NUL, which no mail may have; send it as a file with --attach",
            ),
        }
    }
}

impl std::error::Error for ComposeError {}

impl Mailbox {
    /// Reads `alice@example.com`, `Alice <alice@example.com>` or `"Alice" <alice@example.com>`.
    pub fn parse(text: &str) -> Result<Mailbox, ComposeError> {
        if text.contains(char::is_control) {
            return Err(ComposeError::Control);
        }
        let text = text.trim();
        let (name, address) = match text.strip_suffix('>').and_then(|text| text.rsplit_once('<')) {
            Some((name, address)) => (unquoted(name.trim()), address),
            None => (String::new(), text),
        };
        let address =
            Address::parse(address.as_bytes()).map_err(|_| ComposeError::NoAddress(text.to_owned()))?;
        Ok(Mailbox { name, address: in_a_labels(&address) })
    }

    /// Reads one or more, with commas between.
    pub fn parse_list(text: &str) -> Result<Vec<Mailbox>, ComposeError> {
        let mut starts = vec![0];
        let (mut is_quoted, mut is_escaped) = (false, false);
        for (at, character) in text.char_indices() {
            match character {
                _ if is_escaped => is_escaped = false,
                '\\' => is_escaped = is_quoted,
                '"' => is_quoted = !is_quoted,
                ',' if !is_quoted => starts.push(at + 1),
                _ => {}
            }
        }
        let ends = starts.iter().skip(1).map(|start| start - 1).chain([text.len()]);
        starts.iter().zip(ends).map(|(&start, end)| Mailbox::parse(&text[start..end])).collect()
    }
}

/// So that a domain beyond ASCII asks no SMTPUTF8 of anybody.
pub fn in_a_labels(address: &Address) -> Address {
    match address.domain().is_ascii() {
        true => address.clone(),
        false => Address::new(address.local_part(), &address.domain_key()),
    }
}

/// The value of a display name, quoted or not.
fn unquoted(name: &str) -> String {
    let Some(inner) = name.strip_prefix('"').and_then(|name| name.strip_suffix('"')) else {
        return name.to_owned();
    };
    let mut value = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        value.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    value
}

impl Field {
    /// Reads `Name: value`.
    pub fn parse(text: &str) -> Result<Field, ComposeError> {
        if text.contains(char::is_control) {
            return Err(ComposeError::Control);
        }
        let no_field = || ComposeError::NoField(text.to_owned());
        let (name, value) = text.split_once(':').ok_or_else(no_field)?;
        // RFC 5322 2.2; a name of a whole line would leave no room for its value.
        let is_name =
            (1..=FIELD_NAME_MAX).contains(&name.len()) && name.bytes().all(|octet| octet.is_ascii_graphic());
        if !is_name || value.trim().is_empty() {
            return Err(no_field());
        }
        if MADE_FIELDS.iter().any(|made| made.eq_ignore_ascii_case(name)) {
            return Err(ComposeError::MadeField(name.to_owned()));
        }
        Ok(Field { name: name.to_owned(), value: value.trim().to_owned() })
    }

    fn header(&self) -> Result<HeaderType<'_>, ComposeError> {
        if ADDRESS_FIELDS.iter().any(|field| field.eq_ignore_ascii_case(&self.name)) {
            return Ok(addresses(&Mailbox::parse_list(&self.value)?).into());
        }
        if !self.value.is_ascii() {
            return Ok(Text::new(self.value.as_str()).into());
        }
        match self.value.split(' ').any(|word| word.len() > HEADER_WORD_MAX) {
            true => Err(ComposeError::LongWord(self.name.clone())),
            false => Ok(Raw::new(self.value.as_str()).into()),
        }
    }
}

/// The header fields of one's own that are addresses, of which only the names are encoded.
const ADDRESS_FIELDS: [&str; 9] = [
    "Reply-To",
    "Sender",
    "Resent-From",
    "Resent-Sender",
    "Resent-To",
    "Resent-Cc",
    "Resent-Bcc",
    "Mail-Followup-To",
    "Disposition-Notification-To",
];

/// The longest name of a header field of one's own.
const FIELD_NAME_MAX: usize = 60;

/// The header fields that a draft makes itself.
const MADE_FIELDS: [&str; 11] = [
    "From",
    "To",
    "Cc",
    "Bcc",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Content-Transfer-Encoding",
    "Content-Disposition",
];

impl Draft {
    /// The mail: its envelope, and its octets with CRLF at the ends of their lines, all in ASCII but for an address that
    /// cannot be.
    pub fn build(&self, stamp: Stamp) -> Result<(Envelope, Vec<u8>), ComposeError> {
        self.check()?;
        if self.text.contains('\0') {
            return Err(ComposeError::Nul);
        }
        let recipients = self.recipients().map(|mailbox| mailbox.address.clone()).collect();
        let mut octets = Vec::with_capacity(self.octets_about());
        let written = self.message(stamp)?.write_to(&mut octets);
        written.expect("a vector takes all");
        Ok((envelope(Some(self.from.address.clone()), recipients, &octets), octets))
    }

    /// Whether it can be a mail, whatever its text and attachments.
    pub fn check(&self) -> Result<(), ComposeError> {
        if self.subject.contains(char::is_control) {
            return Err(ComposeError::Control);
        }
        for field in &self.fields {
            field.header()?;
        }
        self.recipients().next().map(|_| ()).ok_or(ComposeError::NoRecipient)
    }

    fn recipients(&self) -> impl Iterator<Item = &Mailbox> {
        [&self.to, &self.cc, &self.bcc].into_iter().flatten()
    }

    fn message(&self, stamp: Stamp) -> Result<MessageBuilder<'_>, ComposeError> {
        let Draft { from, to, cc, subject, text, attachments, fields, .. } = self;
        let domain = from.address.domain_key();
        let mut message = MessageBuilder::new()
            .header("Date", Raw::new(Date::of(stamp.unix_secs).rfc5322().to_string()))
            .from(addresses(std::slice::from_ref(from)));
        message = match to.is_empty() && cc.is_empty() {
            true => message.header("To", Raw::new("undisclosed-recipients:;")),
            false => message,
        };
        for (name, mailboxes) in [("To", to), ("Cc", cc)] {
            if !mailboxes.is_empty() {
                message = message.header(name, addresses(mailboxes));
            }
        }
        if !subject.is_empty() {
            message = message.header("Subject", unstructured(subject));
        }
        message = message.message_id(format!("{:x}.{:016x}@{domain}", stamp.unix_secs, stamp.unique));
        for field in fields {
            message = message.header(field.name.as_str(), field.header()?);
        }
        let mut parts: Vec<MimePart<'_>> = attachments.iter().map(Attachment::part).collect();
        let text = MimePart::new("text/plain", with_crlf(text));
        Ok(match parts.is_empty() {
            true => message.body(text),
            false => {
                parts.insert(0, text);
                message.body(MimePart::new("multipart/mixed", parts))
            }
        })
    }

    /// Enough room that a large mail is not moved while it grows.
    fn octets_about(&self) -> usize {
        let attachments: usize =
            self.attachments.iter().map(|attachment| attachment.content.len() / 2 * 3).sum();
        attachments + 2 * self.text.len() + 4096
    }
}

/// A text that is read as it is written, also where it looks encoded already.
fn unstructured(text: &str) -> HeaderType<'_> {
    match text.is_ascii() && looks_encoded(text) {
        true => Raw::new(encoded_words(text)).into(),
        false => Text::new(text).into(),
    }
}

/// Whether a reader could take it for an encoded word, which it would decode.
fn looks_encoded(text: &str) -> bool {
    text.contains("=?")
}

/// An ASCII text in encoded words (RFC 2047 4.2), which the builder writes only for other texts.
fn encoded_words(text: &str) -> String {
    let word = |piece: &[u8]| format!("=?us-ascii?Q?{}?=", escaped(piece, '=', b""));
    text.as_bytes().chunks(ENCODED_AT_ONCE).map(word).collect::<Vec<_>>().join(" ")
}

/// The field of an attachment whose name looks encoded (RFC 2231 3 and 4).
fn encoded_disposition(name: &str) -> String {
    let piece = |piece: &[u8]| escaped(piece, '%', b"-._");
    let mut pieces = name.as_bytes().chunks(ENCODED_AT_ONCE).map(piece);
    match name.len() > ENCODED_AT_ONCE {
        false => format!("attachment; filename*=utf-8''{}", pieces.collect::<String>()),
        true => {
            let first = pieces.next().unwrap_or_default();
            let rest = pieces.enumerate().map(|(at, piece)| format!("; filename*{}*={piece}", at + 1));
            format!("attachment; filename*0*=utf-8''{first}{}", rest.collect::<String>())
        }
    }
}

/// Letters and digits as they are, and `plain`; of each other octet its number, behind `mark`.
fn escaped(octets: &[u8], mark: char, plain: &[u8]) -> String {
    let mut text = String::with_capacity(3 * octets.len());
    for octet in octets {
        match octet.is_ascii_alphanumeric() || plain.contains(octet) {
            true => text.push(char::from(*octet)),
            false => text.push_str(&format!("{mark}{octet:02X}")),
        }
    }
    text
}

/// Octets that are encoded as one word: thrice as many and the frame fit a line, and the 75 of an encoded word.
const ENCODED_AT_ONCE: usize = 18;

fn addresses(mailboxes: &[Mailbox]) -> Addresses<'static> {
    let one = |Mailbox { name, address }: &Mailbox| {
        Addresses::new_address((!name.is_empty()).then(|| name.clone()), address.to_string())
    };
    Addresses::new_list(mailboxes.iter().map(one).collect())
}

/// The text with CRLF at the ends of its lines, the last one's, too.
fn with_crlf(text: &str) -> String {
    let mut lines = text.replace("\r\n", "\n").replace('\r', "\n");
    if !lines.is_empty() && !lines.ends_with('\n') {
        lines.push('\n');
    }
    lines.replace('\n', "\r\n")
}

impl Attachment {
    fn part(&self) -> MimePart<'_> {
        let mut kind = media_type(&self.name).to_owned();
        if kind.starts_with("text/") && self.content.is_ascii() {
            kind.push_str("; charset=us-ascii");
        } else if kind.starts_with("text/") && std::str::from_utf8(&self.content).is_ok() {
            kind.push_str("; charset=utf-8");
        }
        // A raw field, so that text is no text to the builder: it goes octet by octet, in base64.
        let name: String = self.name.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
        let disposition: HeaderType<'_> = match looks_encoded(&name) {
            true => Raw::new(encoded_disposition(&name)).into(),
            false => ContentType::new("attachment").attribute("filename", name).into(),
        };
        MimePart::raw(self.content.as_slice())
            .header("Content-Type", Raw::new(kind))
            .header("Content-Disposition", disposition)
    }
}

/// The envelope of a mail: each recipient once, and what its octets ask of the server.
pub fn envelope(reverse_path: Option<Address>, recipients: Vec<Address>, octets: &[u8]) -> Envelope {
    let mut forward_paths: Vec<Address> = Vec::with_capacity(recipients.len());
    for address in recipients {
        if !forward_paths.contains(&address) {
            forward_paths.push(address);
        }
    }
    let header_end = octets.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(octets.len());
    let header = &octets[..header_end];
    let is_international = !header.is_ascii() && std::str::from_utf8(header).is_ok();
    let addresses_are_ascii = reverse_path.iter().chain(&forward_paths).all(Address::is_ascii);
    Envelope {
        reverse_path,
        forward_paths,
        body: if octets.is_ascii() { Body::SevenBit } else { Body::EightBitMime },
        smtputf8: is_international || !addresses_are_ascii,
    }
}

#[cfg(test)]
#[path = "compose/tests.rs"]
mod tests;
