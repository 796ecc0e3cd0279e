//! Header fields: where one ends and the next begins, and what each says, decoded.

use std::fmt;

use fastsmtp::limits::FIELD_READ_MAX;
use mail_parser::parsers::MessageStream;
use mail_parser::{ContentType, DateTime};

/// The fields of one header, in their order, as they stand there.
#[derive(Debug, Clone, Default)]
pub struct Fields<'a>(Vec<Field<'a>>);

/// One field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name: visible ASCII.
    pub name: &'a str,
    /// All behind the colon, with the ends of its lines.
    value: &'a [u8],
}

impl<'a> Fields<'a> {
    /// The header at the beginning of `octets`, and the body behind it. A line that is no field, nor goes on with one, begins
    /// the body, too: there are mails without a header, or without the empty line behind it.
    pub fn split(octets: &'a [u8]) -> (Fields<'a>, &'a [u8]) {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let (mut at, mut start) = (0, 0); // of the line; of the last field's value
        while at < octets.len() {
            let line = first_line(&octets[at..]);
            let end = at + line.len();
            if without_end(line).is_empty() {
                return (Fields(fields), &octets[end..]);
            }
            let goes_on = line.starts_with(b" ") || line.starts_with(b"\t");
            match (fields.last_mut(), name_in(line)) {
                (Some(last), _) if goes_on => last.value = &octets[start..end],
                (_, Some(name)) => {
                    start = at + line.iter().position(|&octet| octet == b':').map_or(0, |colon| colon + 1);
                    fields.push(Field { name, value: &octets[start..end] });
                }
                // The first line of a mail in an mbox file, which some programs leave there.
                (None, None) if line.starts_with(b"From ") || line.starts_with(b">From ") => {}
                _ => break,
            }
            at = end;
        }
        (Fields(fields), &octets[at..])
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Field<'a>> {
        self.0.iter()
    }

    /// The first that is called so, in letters of any case.
    fn named(&self, name: &str) -> Option<&Field<'a>> {
        self.0.iter().find(|field| field.name.eq_ignore_ascii_case(name))
    }

    /// What the first that is called so says.
    pub fn text(&self, name: &str) -> Option<String> {
        self.named(name).map(Field::text)
    }

    /// Whom all that are called so name.
    pub fn people(&self, name: &str) -> Vec<Person> {
        let named = self.0.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        named.flat_map(Field::people).collect()
    }

    /// The moment that the first that is called so names, in Unix seconds.
    pub fn date(&self, name: &str) -> Option<i64> {
        self.named(name)?.date()
    }

    /// What the first that is called so says of the kind of something: Content-Type and Content-Disposition.
    pub fn kind(&self, name: &str) -> Option<ContentType<'static>> {
        self.named(name)?.kind()
    }
}

/// Decoding. The library wants a value that ends with its line.
impl Field<'_> {
    /// As text, in one line.
    pub fn text(&self) -> String {
        match MessageStream::new(&self.line()).parse_unstructured().as_text() {
            Some(text) => text.trim().to_owned(),
            None => String::new(),
        }
    }

    fn people(&self) -> Vec<Person> {
        let line = self.line();
        let value = MessageStream::new(&line).parse_address();
        let Some(addresses) = value.as_address() else { return Vec::new() };
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let person = |name: Option<&str>, address: Option<&str>| Person {
            name: name.map(one_line).filter(|name| !name.is_empty()),
            address: address.map(one_line).filter(|address| !address.is_empty()),
        };
        let people = addresses.iter().map(|each| person(each.name(), each.address()));
        people.filter(|person| person.name.is_some() || person.address.is_some()).collect()
    }

    fn date(&self) -> Option<i64> {
        let line = self.line();
        let value = MessageStream::new(&line).parse_date();
        value.as_datetime().filter(|date| date.is_valid()).map(DateTime::to_timestamp)
    }

    fn kind(&self) -> Option<ContentType<'static>> {
        let line = self.line();
        let value = MessageStream::new(&line).parse_content_type();
        value.into_owned().as_content_type().cloned()
    }

    /// Its value as one field's end: at most [`FIELD_READ_MAX`] octets of it, and no octet that would end it earlier.
    fn line(&self) -> Vec<u8> {
        let value = without_end(&self.value[..self.value.len().min(FIELD_READ_MAX)]);
        [value, b"\n"].concat()
    }
}

/// A person or program that sends or gets mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// What it calls itself.
    pub name: Option<String>,
    /// Its address, as it stands there.
    pub address: Option<String>,
}

/// `Name <address>`.
impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.name, &self.address) {
            (Some(name), Some(address)) => write!(f, "{name} <{address}>"),
            (Some(only), None) | (None, Some(only)) => f.write_str(only),
            (None, None) => Ok(()),
        }
    }
}

/// The first line, with its end.
pub(super) fn first_line(octets: &[u8]) -> &[u8] {
    let end = octets.iter().position(|&octet| octet == b'\n').map_or(octets.len(), |at| at + 1);
    &octets[..end]
}

/// A line without its end.
pub(super) fn without_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// The name of the field that a line begins with, if it does (RFC 5322 2.2; 4.5 allows spaces before the colon).
fn name_in(line: &[u8]) -> Option<&str> {
    let colon = line.iter().take(NAME_MAX + 1).position(|&octet| octet == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    std::str::from_utf8(name).ok().filter(|_| is_name)
}

/// Octets of a field's name with what stands between it and the colon: a line has 998 (RFC 5322 2.1.1).
const NAME_MAX: usize = 998;
