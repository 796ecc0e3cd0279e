//! A mail as its reader wants it: what its header fields say, its text, its attachments. For `list`, `read` and `wait`.
//!
//! ```text
//!   octets ──header.rs──▶ fields ──────────▶ Summary                 (a listing: the first 64 KiB are enough)
//!      └─────parts.rs───▶ leaves of the tree ─┬─▶ text ──html.rs──▶   (show.rs: for people, json.rs: for programs)
//!                                             └─▶ attachments ──────▶ save.rs
//! ```
//!
//! Whoever sent it may have meant harm. The library decodes: encoded words, addresses, dates, transfer encodings, character
//! sets, HTML. The way through the tree of parts is ours, for the library's is bounded neither in depth nor in time: it
//! searches the whole mail for each boundary that is not there, and copies it once for each message within a message.
//! Nothing here fails, takes more than a small multiple of the mail's length, or recurses.

mod header;
mod html;
pub mod json;
mod parts;
pub mod save;
pub mod show;
pub mod time;

pub use header::{Fields, Person};
pub use parts::Parts;

/// What a listing tells of a mail, besides what its mailbox knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Summary {
    /// Who wrote it: the first address of From, else Sender.
    pub from: Option<Person>,
    /// The addresses of To.
    pub to: Vec<Person>,
    /// Its subject, if it has one that says something.
    pub subject: Option<String>,
    /// When it was written, in Unix seconds, if its date is one.
    pub date: Option<i64>,
}

impl Summary {
    /// Of a mail that is there, and cannot be read.
    pub fn unreadable() -> Summary {
        let from = Person { name: Some("(cannot be read)".to_owned()), address: None };
        Summary { from: Some(from), ..Summary::default() }
    }

    /// Of a header, or the beginning of one.
    pub fn of(fields: &Fields<'_>) -> Summary {
        let mut from = fields.people("From");
        if from.is_empty() {
            from = fields.people("Sender");
        }
        Summary {
            from: from.into_iter().next(),
            to: fields.people("To"),
            subject: fields.text("Subject").filter(|subject| !subject.trim().is_empty()),
            date: fields.date("Date"),
        }
    }
}

/// A whole mail, opened.
pub struct Mail<'a> {
    /// Its header fields.
    pub fields: Fields<'a>,
    /// What its header says.
    pub summary: Summary,
    /// What its body holds.
    pub parts: Parts<'a>,
}

impl<'a> Mail<'a> {
    /// Opens it.
    pub fn of(octets: &'a [u8]) -> Mail<'a> {
        let (fields, _) = Fields::split(octets);
        Mail { summary: Summary::of(&fields), fields, parts: Parts::of(octets) }
    }
}

/// What a mail has to hold to be meant: each of these texts somewhere in its sender, subject or text, in letters of any
/// case. None is held by all.
pub struct Wanted(Vec<String>);

impl Wanted {
    /// These texts.
    pub fn new(texts: &[String]) -> Wanted {
        Wanted(texts.iter().map(|text| text.to_lowercase()).collect())
    }

    /// Whether every mail is meant.
    pub fn is_anything(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this mail is meant.
    pub fn is_in(&self, octets: &[u8]) -> bool {
        if self.is_anything() {
            return true;
        }
        let mail = Mail::of(octets);
        let from = mail.summary.from.iter().map(Person::to_string);
        let heard: Vec<String> = from.chain(mail.summary.subject).map(|text| text.to_lowercase()).collect();
        let mut missing =
            self.0.iter().filter(|text| !heard.iter().any(|heard| heard.contains(*text))).peekable();
        if missing.peek().is_none() {
            return true;
        }
        let text = mail.parts.text().to_lowercase();
        missing.all(|wanted| text.contains(wanted))
    }
}

#[cfg(test)]
mod tests;
