//! A mail that is there already, in a file (`.eml`): read, judged, and sent as it is. For `fastsmtp send --eml`.
//!
//! Nothing of it is changed but for two things: line ends that are not CRLF become so, since mail has no others (RFC 5321
//! 2.3.8), and who asks for it has the Bcc fields left out.

use std::fmt;

use fastsmtp::smtp::Address;
use mail_parser::{HeaderName, MessageParser};

use super::compose::in_a_labels;

/// A mail in octets, with CRLF at the ends of its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eml {
    octets: Vec<u8>,
    /// Where its header ends.
    header_end: usize,
}

/// Why octets are no mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmlError {
    /// There are none.
    Empty,
    /// They begin as a mailbox file does.
    Mbox,
    /// Their first lines are no header fields.
    NoHeader,
    /// There is an octet NUL among them.
    Nul,
    /// A field has an address that is none.
    NoAddress(&'static str, String),
}

impl fmt::Display for EmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EmlError::Empty => f.write_str("it is empty, and no mail"),
            EmlError::Mbox => {
                f.write_str("it is a mailbox file, and no single mail; leave out its lines 'From '")
            }
            EmlError::NoHeader => {
                f.write_str("it is no mail: it does not begin with header fields, like 'From: ...'")
            }
            EmlError::Nul => f.write_str("it is no mail: it has an octet NUL"),
            EmlError::NoAddress(field, text) => {
                write!(f, "{field}: '{text}' is no address; name the recipients with --to")
            }
        }
    }
}

impl std::error::Error for EmlError {}

impl Eml {
    /// Judges octets.
    pub fn new(octets: Vec<u8>) -> Result<Eml, EmlError> {
        match octets.as_slice() {
            [] => return Err(EmlError::Empty),
            octets if octets.starts_with(b"From ") => return Err(EmlError::Mbox),
            octets if octets.contains(&0) => return Err(EmlError::Nul),
            _ => {}
        }
        let octets = with_crlf(octets);
        let mut header_end = 0;
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            match line {
                b"\r\n" => break,
                [b' ' | b'\t', ..] if header_end > 0 => {}
                line if field_name(line).is_some() => {}
                _ => return Err(EmlError::NoHeader),
            }
            header_end += line.len();
        }
        if header_end == 0 { Err(EmlError::NoHeader) } else { Ok(Eml { octets, header_end }) }
    }

    /// Its octets.
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Its octets without the Bcc fields.
    pub fn without_bcc(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.octets.len());
        let mut is_left_out = false;
        for line in self.octets[..self.header_end].split_inclusive(|octet| *octet == b'\n') {
            if let Some(name) = field_name(line) {
                is_left_out = name.eq_ignore_ascii_case(b"Bcc");
            }
            if !is_left_out {
                octets.extend_from_slice(line);
            }
        }
        octets.extend_from_slice(&self.octets[self.header_end..]);
        octets
    }

    /// Whom its fields To, Cc and Bcc name.
    pub fn recipients(&self) -> Result<Vec<Address>, EmlError> {
        let fields = [(HeaderName::To, "To"), (HeaderName::Cc, "Cc"), (HeaderName::Bcc, "Bcc")];
        let each = fields.into_iter().map(|(name, text)| self.addresses(&name, text));
        Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
    }

    /// Who its field From, or Sender where there is one, names; none if nobody.
    pub fn sender(&self) -> Result<Option<Address>, EmlError> {
        let sender = self.addresses(&HeaderName::Sender, "Sender")?;
        let from = self.addresses(&HeaderName::From, "From")?;
        Ok(sender.into_iter().chain(from).next())
    }

    fn addresses(&self, wanted: &HeaderName<'_>, field: &'static str) -> Result<Vec<Address>, EmlError> {
        let Some(message) = MessageParser::default().parse_headers(&self.octets[..self.header_end]) else {
            return Ok(Vec::new());
        };
        let values = message.headers().iter().filter(|header| header.name == *wanted);
        let addresses = values.filter_map(|header| header.value.as_address()).flat_map(|list| list.iter());
        let addresses = addresses.filter_map(|one| one.address.as_deref().or(one.name.as_deref()));
        let read = |text: &str| match Address::parse(text.as_bytes()) {
            Ok(address) => Ok(in_a_labels(&address)),
            Err(_) => Err(EmlError::NoAddress(field, text.to_owned())),
        };
        addresses.map(read).collect()
    }
}

/// The name of the field that a line begins; none for one that goes on with a field, or is none.
fn field_name(line: &[u8]) -> Option<&[u8]> {
    let colon = line.iter().position(|octet| *octet == b':')?;
    // Before the colon RFC 5322 4.5 has space, for old times' sake.
    let name = line[..colon].trim_ascii_end();
    (!name.is_empty() && name.iter().all(u8::is_ascii_graphic)).then_some(name)
}

/// With CRLF for every lone CR or LF.
fn with_crlf(octets: Vec<u8>) -> Vec<u8> {
    let is_clean = |at: usize| match octets[at] {
        b'\n' => at > 0 && octets[at - 1] == b'\r',
        b'\r' => octets.get(at + 1) == Some(&b'\n'),
        _ => true,
    };
    if (0..octets.len()).all(is_clean) {
        return octets;
    }
    let mut clean = Vec::with_capacity(octets.len() + octets.len() / 32 + 2);
    for (at, &octet) in octets.iter().enumerate() {
        match octet {
            _ if is_clean(at) => clean.push(octet),
            _ => clean.extend_from_slice(b"\r\n"),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn eml(text: &str) -> Eml {
        Eml::new(text.as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn clean_octets_stay_as_they_are_and_others_get_crlf() {
        let clean = "A: b\r\n c\r\n\r\n.\r\n\u{e9}";
        assert_eq!(eml(clean).octets(), clean.as_bytes());
        assert_eq!(eml("A: b\n\nx\r\ny\rz\n").octets(), b"A: b\r\n\r\nx\r\ny\r\nz\r\n");
        assert_eq!(eml("A: b\n\n\n\r\r").octets(), b"A: b\r\n\r\n\r\n\r\n\r\n");
    }

    #[test]
    fn what_is_no_mail_is_refused() {
        for (text, error) in [
            ("", EmlError::Empty),
            ("hello\n", EmlError::NoHeader),
            ("\nA: b\n", EmlError::NoHeader),
            (" A: b\n", EmlError::NoHeader),
            ("A: b\nhello\n\n", EmlError::NoHeader),
            ("From a@b Mon\nA: b\n", EmlError::Mbox),
            ("A: b\n\n\0", EmlError::Nul),
        ] {
            assert_eq!(Eml::new(text.as_bytes().to_vec()), Err(error), "{text:?}");
        }
        assert_eq!(eml("A: b").octets(), b"A: b");
    }

    #[test]
    fn the_recipients_are_those_of_all_its_fields() {
        let text = "From: x@a.example\r\nTo: Ann <a@a.example>, \"B, b\" <b@a.example>\r\nCC: friends: c@a.example, d@a.example;\r\n\
                    Bcc:\r\n e@a.example\r\nTo: f@a.example\r\n\r\nTo: no@a.example\r\n";
        let recipients: Vec<String> =
            eml(text).recipients().unwrap().iter().map(Address::to_string).collect();
        let expected = ["a", "b", "f", "c", "d", "e"].map(|name| format!("{name}@a.example"));
        assert_eq!(recipients, expected);
        assert_eq!(eml(text).sender().unwrap().unwrap().to_string(), "x@a.example");
        assert_eq!(eml("To: nobody\r\n\r\n").recipients(), Err(EmlError::NoAddress("To", "nobody".into())));
        assert_eq!(eml("Subject: x\r\n\r\n").recipients(), Ok(vec![]));
    }

    #[test]
    fn the_bcc_fields_are_left_out_and_nothing_else_is() {
        let text = "To: a@b\r\nbcc: c@d,\r\n\te@f\r\nSubject: x\r\nBCC: g@h\r\n\r\nBcc: stays\r\n";
        assert_eq!(eml(text).without_bcc(), b"To: a@b\r\nSubject: x\r\n\r\nBcc: stays\r\n");
    }
}
