//! Mails for programs. The shape has a version; what `--help` says of it holds.

use serde_json::{Value, json};

use super::time::rfc3339;
use super::{Mail, Person, Summary};
use crate::cli::mailbox::{Entry, State};
use crate::cli::output::harmless_json;

/// The version of the documents' shape. Keys may be added to it; none goes or changes its meaning.
const VERSION: u32 = 1;

/// What `--help` says of both documents.
pub const EXPLAINED: &str = "\
Each mail in JSON has: number, id, date (RFC 3339, UTC; null if unknown), from
({name, address} or null), to (a list of such), subject (or null), size
(octets), new, seen (true or false; null over POP3, which does not tell).";

/// A listing, each mail on one line: as one value in memory, 100,000 mails would take half a GiB.
pub fn listing(address: &str, mails: &[String]) -> String {
    let (address, mails) = (json!(address), mails.join(",\n"));
    let text = format!("{{\"version\":{VERSION},\"mailbox\":{address},\"mails\":[\n{mails}\n]}}\n");
    harmless_json(&text)
}

/// A mail of a listing.
pub fn entry(entry: &Entry, summary: &Summary) -> Value {
    let (is_new, is_seen) = match entry.state {
        State::New => (Some(true), Some(false)),
        State::Old => (Some(false), Some(false)),
        State::Seen => (Some(false), Some(true)),
        State::Unknown => (None, None),
    };
    json!({
        "number": entry.number,
        "id": entry.id,
        "date": entry.date(summary).and_then(rfc3339),
        "from": summary.from.as_ref().map(person),
        "to": summary.to.iter().map(person).collect::<Vec<_>>(),
        "subject": summary.subject,
        "size": entry.octets,
        "new": is_new,
        "seen": is_seen,
    })
}

/// A mail that is read. `saved` has the names of its attachments' files, if they were saved.
pub fn mail(at: &Entry, mail: &Mail<'_>, saved: Option<&[String]>) -> Value {
    let mut document = entry(at, &mail.summary);
    let headers = mail.fields.iter().map(|field| json!({ "name": field.name, "value": field.text() }));
    let attachments = mail.parts.attachments().enumerate().map(|(at, attachment)| {
        json!({
            "name": attachment.name,
            "type": attachment.kind,
            "size": attachment.data.len(),
            "saved": saved.and_then(|names| names.get(at)),
        })
    });
    document["version"] = json!(VERSION);
    document["headers"] = headers.collect();
    document["text"] = json!(mail.parts.text());
    document["attachments"] = attachments.collect();
    document
}

fn person(person: &Person) -> Value {
    json!({ "name": person.name, "address": person.address })
}
