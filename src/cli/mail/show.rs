//! Mails for people: a line of a listing, and a mail that is read.

use super::time::Clock;
use super::{Mail, Person, Summary};
use crate::cli::columns::{cut, fitted};
use crate::cli::mailbox::{Entry, State};
use crate::cli::output::{printable, printable_lines};

/// The columns of a listing.
///
/// ```text
///   NO   DATE              FROM                SUBJECT                          SIZE
///    1   2026-11-28 07:35  Alice Example       Minutes of yesterday           12 KiB
///    2 N 2026-11-28 07:36  bob@example.com     Re: Minutes of yesterday        1 KiB
/// ```
pub struct Columns {
    number: usize,
    from: usize,
    subject: usize,
    clock: Clock,
}

impl Columns {
    /// For mails up to this number in so many columns of a terminal.
    pub fn new(last: usize, width: usize) -> Columns {
        let number = last.to_string().len().max(2);
        let rest = width.saturating_sub(number + MARK + DATE + SIZE + 6);
        let from = (rest * 2 / 5).clamp(8, 30);
        Columns { number, from, subject: rest.saturating_sub(from).max(8), clock: Clock::here() }
    }

    /// What stands above.
    pub fn head(&self) -> String {
        let number = self.number;
        let (from, subject) = (fitted("FROM", self.from), fitted("SUBJECT", self.subject));
        format!("{:>number$}   {:DATE$}  {from} {subject} {:>SIZE$}\n", "NO", "DATE", "SIZE")
    }

    /// The line of a mail.
    pub fn line(&self, entry: &Entry, summary: &Summary) -> String {
        let number = self.number;
        let mark = match entry.state {
            State::New => 'N',
            State::Old | State::Seen => ' ',
            State::Unknown => '-',
        };
        let date = entry.date(summary).and_then(|date| self.clock.short(date)).unwrap_or_default();
        let from = fitted(&summary.from.as_ref().map(called).unwrap_or_default(), self.from);
        let subject = fitted(summary.subject.as_deref().unwrap_or_default(), self.subject);
        let size = size(entry.octets);
        format!("{:>number$} {mark} {date:DATE$}  {from} {subject} {size:>SIZE$}\n", entry.number)
    }
}

const MARK: usize = 1;
const DATE: usize = "2026-11-28 07:35".len();
const SIZE: usize = "1023 KiB".len();

/// The name, where there is one.
fn called(person: &Person) -> String {
    person.name.as_ref().or(person.address.as_ref()).cloned().unwrap_or_default()
}

/// Octets in at most 8 columns, rounded up.
pub fn size(octets: u64) -> String {
    let units = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    match units.into_iter().find(|(_, unit)| octets >= *unit) {
        Some((name, unit)) => format!("{} {name}", octets.div_ceil(unit)),
        None => format!("{octets} B"),
    }
}

/// A mail that is read: who, when, what, the attachments, the text. `saved` has the paths of the attachments' files.
pub fn mail(entry: &Entry, mail: &Mail<'_>, saved: Option<&[String]>) -> String {
    let mut out = String::new();
    for (label, name) in [("From", "From"), ("To", "To"), ("Cc", "Cc"), ("Reply to", "Reply-To")] {
        let people: Vec<String> = mail.fields.people(name).iter().map(Person::to_string).collect();
        if !people.is_empty() {
            out.push_str(&labelled(label, &people.join(", ")));
        }
    }
    if let Some(date) = entry.date(&mail.summary).and_then(|date| Clock::here().long(date)) {
        out.push_str(&labelled("Date", &date));
    }
    out.push_str(&labelled("Subject", mail.summary.subject.as_deref().unwrap_or("(none)")));
    for (at, attachment) in mail.parts.attachments().enumerate() {
        let name = attachment.name.map_or("(no name)".to_owned(), |name| cut(name, NAME_SHOWN_MAX));
        let kind = cut(attachment.kind, NAME_SHOWN_MAX);
        let what = format!("{name} ({kind}, {})", size(attachment.data.len() as u64));
        out.push_str(&labelled(if at == 0 { "Attached" } else { "" }, &what));
        if let Some(path) = saved.and_then(|paths| paths.get(at)) {
            out.push_str(&labelled("", &format!("saved as {path}")));
        }
    }
    out.push('\n');
    out.push_str(&printable_lines(&mail.parts.text()));
    out
}

/// Columns of an attachment's name: longer, it is not for reading.
const NAME_SHOWN_MAX: usize = 200;

/// All header fields, decoded, instead of those that people read.
pub fn header(mail: &Mail<'_>) -> String {
    let line = |name: &str, value: &str| format!("{name}: {}\n", printable(value.as_bytes()));
    mail.fields.iter().map(|field| line(field.name, &field.text())).collect()
}

fn labelled(label: &str, text: &str) -> String {
    let label = if label.is_empty() { String::new() } else { format!("{label}:") };
    format!("{label:10}{}\n", printable(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_fit_their_column() {
        for (octets, text) in
            [(0, "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1025, "2 KiB"), ((1 << 20) - 1, "1024 KiB")]
        {
            assert_eq!(size(octets), text);
        }
        assert!(size((1 << 40) - 1).len() <= SIZE);
    }

    #[test]
    fn a_line_is_as_wide_as_the_terminal() {
        let long = "日本語 ".repeat(40);
        let summary = Summary { subject: Some(long.clone()), date: Some(0), ..Summary::default() };
        let entry =
            Entry { number: 100_000, id: String::new(), octets: 1 << 19, state: State::New, arrived: None };
        for width in [40, 80, 132, 400] {
            let columns = Columns::new(100_000, width);
            for line in [columns.head(), columns.line(&entry, &summary)] {
                let wide = crate::cli::columns::columns_of(line.trim_end_matches('\n'));
                assert!(wide <= width.max(56), "{wide} > {width}: {line}");
            }
        }
    }
}
