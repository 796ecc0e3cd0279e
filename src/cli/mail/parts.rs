//! The tree of a mail's parts (RFC 2046 5), gone through without recursion: which leaves are its text, which are attachments.
//!
//! ```text
//!   multipart/mixed ─┬─ multipart/alternative ─┬─ text/plain       shown
//!                    │                         └─ text/html        shown where there is no text/plain beside it
//!                    ├─ image/png              attachment
//!                    └─ message/rfc822         attachment, as it is: not opened
//! ```
//!
//! Each level costs one pass over its octets, and there are [`PARTS_DEPTH_MAX`] levels at the most. What is broken is taken
//! as it is: a multipart without a delimiter is text, one without an end ends with the mail.

use std::borrow::Cow;
use std::collections::HashSet;

use fastsmtp::limits::{PARTS_DEPTH_MAX, PARTS_MAX};
use mail_parser::ContentType;
use mail_parser::decoders::base64 as mime_base64;
use mail_parser::decoders::charsets::map::charset_decoder;
use mail_parser::decoders::quoted_printable::quoted_printable_decode;

use super::header::{Fields, first_line, without_end};
use super::html;

/// What the body of a mail holds.
pub struct Parts<'a> {
    leaves: Vec<Leaf<'a>>,
}

/// A part that holds no parts.
struct Leaf<'a> {
    kind: Kind,
    encoding: Encoding,
    /// The name that it wants to be saved by.
    name: Option<String>,
    body: &'a [u8],
    role: Role,
    /// See [`Node`].
    alternative: Option<usize>,
}

/// What becomes of a leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Text,
    Html,
    /// The same as a text beside it.
    Double,
    Attachment,
}

/// A Content-Type.
struct Kind {
    /// Like `text/plain`, in lower case.
    name: String,
    charset: Option<String>,
    /// A multipart's only.
    boundary: Option<String>,
    /// The name of a file, where there is no better one.
    file: Option<String>,
}

/// How octets were made fit for travelling (RFC 2045 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Identity,
    Base64,
    QuotedPrintable,
}

/// A part that is yet to be looked into.
struct Node<'a> {
    octets: &'a [u8],
    depth: usize,
    /// The innermost multipart/alternative around it, by its number.
    alternative: Option<usize>,
    is_in_digest: bool,
}

impl<'a> Parts<'a> {
    /// Those of a mail.
    pub fn of(mail: &'a [u8]) -> Parts<'a> {
        let mut nodes = vec![Node { octets: mail, depth: 0, alternative: None, is_in_digest: false }];
        let mut leaves = Vec::new();
        let mut alternatives = 0;
        while let Some(node) = nodes.pop() {
            if leaves.len() >= PARTS_MAX {
                break;
            }
            let (fields, body) = Fields::split(node.octets);
            let kind = Kind::of(&fields, &node);
            let boundary = kind.boundary.as_deref().filter(|_| node.depth < PARTS_DEPTH_MAX);
            let children = boundary.map(|boundary| split(body, boundary.as_bytes())).unwrap_or_default();
            if children.is_empty() {
                leaves.push(Leaf::new(&fields, kind, &node, body, leaves.len()));
                continue;
            }
            let is_alternative = kind.name == "multipart/alternative";
            alternatives += usize::from(is_alternative);
            let alternative = if is_alternative { Some(alternatives) } else { node.alternative };
            let is_in_digest = kind.name == "multipart/digest";
            let child = |octets| Node { octets, depth: node.depth + 1, alternative, is_in_digest };
            nodes.extend(children.into_iter().rev().map(child)); // the first of them is the next
        }
        Parts { leaves: without_doubles(leaves) }
    }

    /// The text, decoded: its parts one behind the other. Lines end in `\n`.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for leaf in &self.leaves {
            let part = match leaf.role {
                Role::Text => leaf.text(),
                Role::Html => html::text(&leaf.text()),
                Role::Double | Role::Attachment => continue,
            };
            let part = part.trim_end();
            if part.is_empty() {
                continue;
            }
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(part);
            text.push('\n');
        }
        text.replace("\r\n", "\n")
    }

    /// The attachments, in their order.
    pub fn attachments(&self) -> impl Iterator<Item = Attachment<'_>> {
        self.leaves.iter().filter(|leaf| leaf.role == Role::Attachment).map(|leaf| Attachment {
            name: leaf.name.as_deref(),
            kind: &leaf.kind.name,
            data: leaf.data(),
        })
    }
}

/// A part that is for saving.
pub struct Attachment<'a> {
    /// Its name, as its sender gave it: anything at all.
    pub name: Option<&'a str>,
    /// Its media type, like `image/png`.
    pub kind: &'a str,
    /// Its octets, decoded.
    pub data: Cow<'a, [u8]>,
}

/// Names the leaves that say the same as another: HTML beside a text in one multipart/alternative.
fn without_doubles(mut leaves: Vec<Leaf<'_>>) -> Vec<Leaf<'_>> {
    let is_said = |leaf: &&Leaf<'_>| leaf.role == Role::Text && !leaf.body.trim_ascii().is_empty();
    let said: HashSet<usize> = leaves.iter().filter(is_said).filter_map(|leaf| leaf.alternative).collect();
    for leaf in &mut leaves {
        if leaf.role == Role::Html && leaf.alternative.is_some_and(|number| said.contains(&number)) {
            leaf.role = Role::Double;
        }
    }
    leaves
}

impl<'a> Leaf<'a> {
    /// `place` is its number among the mail's leaves, from 0: the first is the text, even if it has a file's name.
    fn new(fields: &Fields<'_>, kind: Kind, node: &Node<'_>, body: &'a [u8], place: usize) -> Leaf<'a> {
        let disposition = fields.kind("Content-Disposition");
        let is_attached =
            disposition.as_ref().is_some_and(|kind| kind.c_type.eq_ignore_ascii_case("attachment"));
        let name = attribute(disposition.as_ref(), "filename").or_else(|| kind.file.clone());
        let role = match &*kind.name {
            _ if is_attached || (name.is_some() && place > 0) => Role::Attachment,
            "text/plain" => Role::Text,
            "text/html" => Role::Html,
            // A multipart that holds none, or too deep a one: as it is.
            other if other.starts_with("multipart/") => Role::Text,
            _ => Role::Attachment,
        };
        let encoding = Encoding::of(&fields.text("Content-Transfer-Encoding").unwrap_or_default());
        Leaf { kind, encoding, name, body, role, alternative: node.alternative }
    }

    /// Its octets, decoded as far as they can be.
    fn data(&self) -> Cow<'a, [u8]> {
        let decoded = match self.encoding {
            Encoding::Identity => None,
            Encoding::Base64 => {
                let said = self.body.iter().filter(|octet| is_base64(**octet));
                mime_base64::base64_decode_stream(said, self.body.len(), u8::MAX)
            }
            Encoding::QuotedPrintable => quoted_printable_decode(self.body),
        };
        decoded.map_or(Cow::Borrowed(self.body), Cow::Owned)
    }

    /// Its octets as text. A character set that is not known is read as UTF-8, and what is not UTF-8 stands there as U+FFFD.
    fn text(&self) -> String {
        let data = self.data();
        match self.kind.charset.as_deref().and_then(|charset| charset_decoder(charset.as_bytes())) {
            Some(decode) => decode(&data),
            None => String::from_utf8_lossy(&data).into_owned(),
        }
    }
}

impl Kind {
    /// What a part's fields say that it is; without a word it is text, or a mail where it is one of a digest.
    fn of(fields: &Fields<'_>, node: &Node<'_>) -> Kind {
        let said = fields.kind("Content-Type");
        let name = match (&said, node.is_in_digest) {
            (Some(ContentType { c_type, c_subtype: Some(subtype), .. }), _) => format!("{c_type}/{subtype}"),
            (_, true) => "message/rfc822".to_owned(),
            (_, false) => "text/plain".to_owned(),
        };
        let name = name.to_ascii_lowercase();
        let boundary = attribute(said.as_ref(), "boundary").filter(|_| name.starts_with("multipart/"));
        let charset = attribute(said.as_ref(), "charset");
        Kind { charset, boundary, file: attribute(said.as_ref(), "name"), name }
    }
}

/// A parameter that says something.
fn attribute(kind: Option<&ContentType<'_>>, name: &str) -> Option<String> {
    kind?.attribute(name).filter(|value| !value.trim().is_empty()).map(str::to_owned)
}

impl Encoding {
    fn of(name: &str) -> Encoding {
        match name.trim().to_ascii_lowercase().as_str() {
            "base64" => Encoding::Base64,
            "quoted-printable" => Encoding::QuotedPrintable,
            _ => Encoding::Identity,
        }
    }
}

fn is_base64(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'+' | b'/' | b'=')
}

/// The parts of a multipart (RFC 2046 5.1.1): what stands between its delimiters, each of which has the line end before it.
/// The last part may lack its own, where the mail was cut.
fn split<'a>(body: &'a [u8], boundary: &[u8]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let (mut at, mut start) = (0, None);
    while at < body.len() && parts.len() < PARTS_MAX {
        let line = first_line(&body[at..]);
        let delimiter = delimiter(line, boundary);
        if let (Some(_), Some(start)) = (&delimiter, start) {
            parts.push(without_end(&body[start..at.max(start)]));
        }
        at += line.len();
        match delimiter {
            Some(Delimiter::Next) => start = Some(at),
            Some(Delimiter::Last) => return parts,
            None => {}
        }
    }
    parts.extend(start.map(|start| &body[start..]));
    parts
}

enum Delimiter {
    Next,
    Last,
}

/// Whether a line is a delimiter, and which.
fn delimiter(line: &[u8], boundary: &[u8]) -> Option<Delimiter> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?.trim_ascii_end();
    match rest {
        b"" => Some(Delimiter::Next),
        b"--" => Some(Delimiter::Last),
        _ => None,
    }
}
