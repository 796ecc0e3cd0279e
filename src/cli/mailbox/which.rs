//! WHICH mail: a number as `list` shows it, `last`, an id or its beginning, the queue id in it; for `remove` also a range.
//!
//! A server makes ids as it likes: one may look like a number, a range or `last` (RFC 1939 7). A text that is two things is
//! refused, and `id:` before it makes it an id for certain: scripts say that.

use fastsmtp::log_value::Escaped;

use super::Entry;
use crate::cli::exit::{Exit, Failure};

/// What `--help` says of it.
pub const EXPLAINED: &str = "\
WHICH is the number that 'list' shows (1 is the oldest), 'last', an id as --json
shows it or its beginning, or the queue id that the sender got with the 250.
Numbers shift when mail is removed; ids never do. An id of a server may look
like a number: id:ID is the mail of exactly that id, whatever it looks like.";

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Which {
    text: String,
    meaning: Meaning,
}

/// What it means, unless it is an id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The numbers from one to another.
    Numbers(usize, usize),
    /// The newest.
    Last,
    /// Exactly the id behind `id:`.
    ExactId,
    /// A part that names an id.
    IdPart,
}

impl Which {
    /// Reads it. The error is a sentence for people.
    pub fn parse(text: &str) -> Result<Which, String> {
        Ok(Which { text: text.to_owned(), meaning: Meaning::of(text)? })
    }
}

impl Meaning {
    fn of(text: &str) -> Result<Meaning, String> {
        let number = |digits: &str| {
            let is_number =
                (1..=NUMBER_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<usize>().ok().filter(|_| is_number)
        };
        let range = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
        match (number(text), range) {
            (Some(0), _) | (_, Some((0, _))) => Err("the first mail has number 1".to_owned()),
            (Some(number), _) => Ok(Meaning::Numbers(number, number)),
            (_, Some((first, last))) if first > last => {
                Err(format!("the range ends before it begins; say {last}-{first}"))
            }
            (_, Some((first, last))) => Ok(Meaning::Numbers(first, last)),
            _ if text == "last" || text == "-1" => Ok(Meaning::Last),
            _ if text.is_empty() || text == ID => Err("say a number, 'last' or an id".to_owned()),
            _ if text.starts_with(ID) => Ok(Meaning::ExactId),
            _ => Ok(Meaning::IdPart),
        }
    }
}

/// What stands before an id that may look like anything.
const ID: &str = "id:";

/// Digits of a number: what has more is a queue id.
const NUMBER_DIGITS_MAX: usize = 9;

/// The one mail that is meant.
pub fn resolve<'a>(which: &Which, entries: &'a [Entry]) -> Result<&'a Entry, Failure> {
    match found(which, entries)? {
        [one] => Ok(one),
        _ => Err(Failure::new(Exit::Usage, "one mail is read at a time; say one number")),
    }
}

/// All mails that are meant, each once, the oldest first.
pub fn resolve_all(all: &[Which], entries: &[Entry]) -> Result<Vec<Entry>, Failure> {
    let mut meant = Vec::new();
    for which in all {
        meant.extend_from_slice(found(which, entries)?);
    }
    meant.sort_by_key(|entry| entry.number);
    meant.dedup();
    Ok(meant)
}

/// What it means, unless the whole text is an id: then that, if there is nothing else that it means.
fn found<'a>(which: &Which, entries: &'a [Entry]) -> Result<&'a [Entry], Failure> {
    let Which { text, meaning } = which;
    let meant = meant(text, *meaning, entries);
    match (by_exact_id(text, entries)?, meant) {
        (None, meant) => meant,
        (Some(exact), Err(_)) => Ok(exact),
        (Some(exact), Ok(meant)) if meant == exact => Ok(exact),
        (Some(_), Ok(_)) => Err(both(text, *meaning)),
    }
}

fn meant<'a>(text: &str, meaning: Meaning, entries: &'a [Entry]) -> Result<&'a [Entry], Failure> {
    match meaning {
        Meaning::Last => entries.last().map(std::slice::from_ref).ok_or_else(|| none("at all", entries)),
        Meaning::Numbers(first, last) => {
            let missing = if first > entries.len() { first } else { last };
            entries.get(first - 1..last).ok_or_else(|| none(&format!("has number {missing}"), entries))
        }
        Meaning::ExactId => {
            let id = text.strip_prefix(ID).unwrap_or(text);
            let exact = by_exact_id(id, entries)?;
            exact.ok_or_else(|| none(&format!("has the id {}", Escaped(id)), entries))
        }
        Meaning::IdPart => match by_exact_id(text, entries)? {
            Some(exact) => Ok(exact),
            None => by_part(text, entries),
        },
    }
}

fn by_exact_id<'a>(id: &str, entries: &'a [Entry]) -> Result<Option<&'a [Entry]>, Failure> {
    let mut exact = entries.iter().enumerate().filter(|(_, entry)| entry.id == id);
    match (exact.next(), exact.next()) {
        (None, _) => Ok(None),
        (Some((at, _)), None) => Ok(Some(&entries[at..=at])),
        (Some((_, one)), Some((_, other))) => Err(shared(id, one.number, other.number)),
    }
}

fn by_part<'a>(text: &str, entries: &'a [Entry]) -> Result<&'a [Entry], Failure> {
    let is_meant = |entry: &Entry| entry.id.starts_with(text) || entry.id.split('.').nth(1) == Some(text);
    let mut meant = entries.iter().enumerate().filter(|(_, entry)| is_meant(entry));
    let text = Escaped(text);
    match (meant.next(), meant.count()) {
        (None, _) => Err(none(&format!("has the id {text}"), entries)),
        (Some((at, _)), 0) => Ok(&entries[at..=at]),
        (Some(_), others) => {
            let count = others + 1;
            Err(Failure::new(
                Exit::NoInput,
                format!("{count} mails have ids that begin with {text}; say more of it"),
            ))
        }
    }
}

fn none(what: &str, entries: &[Entry]) -> Failure {
    let there = match entries.len() {
        0 => "the mailbox is empty".to_owned(),
        1 => "there is one, number 1".to_owned(),
        count => format!("there are {count}, numbers 1 to {count}"),
    };
    Failure::new(Exit::NoInput, format!("no mail {what}; {there}"))
}

/// A number that might be an id as well is said as a range.
fn shared(id: &str, one: usize, other: usize) -> Failure {
    let mend = match Meaning::of(id) {
        Ok(Meaning::IdPart) => "say the number".to_owned(),
        _ => format!("say {one}-{one} or {other}-{other}"),
    };
    let id = Escaped(id);
    Failure::new(Exit::NoInput, format!("mails {one} and {other} have the same id {id}; {mend}"))
}

fn both(text: &str, meaning: Meaning) -> Failure {
    let what = match meaning {
        Meaning::Numbers(one, last) if one == last => format!("a number, for which say {one}-{one}"),
        Meaning::Numbers(..) => "a range".to_owned(),
        Meaning::Last => "the newest mail".to_owned(),
        Meaning::ExactId | Meaning::IdPart => "a way to say another".to_owned(),
    };
    let text = Escaped(text);
    Failure::new(Exit::Usage, format!("{text} is both {what}, and the id of a mail, for which say id:{text}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::mailbox::State;

    fn entries(ids: &[&str]) -> Vec<Entry> {
        let entry = |(at, id): (usize, &&str)| Entry {
            number: at + 1,
            id: (*id).to_owned(),
            octets: 1,
            state: State::New,
            arrived: None,
        };
        ids.iter().enumerate().map(entry).collect()
    }

    fn numbers(all: &[&str]) -> Result<Vec<usize>, String> {
        let entries = entries(&["7.aa01.fs", "7.aa02.fs", "8.900000000000000100000001.fs", "x"]);
        let which = all.iter().map(|text| Which::parse(text)).collect::<Result<Vec<_>, _>>()?;
        let found = resolve_all(&which, &entries).map_err(|failure| failure.sentence)?;
        Ok(found.iter().map(|entry| entry.number).collect())
    }

    #[test]
    fn a_mail_is_named_by_number_range_or_id() {
        for (all, expected) in [
            (&["1"][..], &[1][..]),
            (&["last"], &[4]),
            (&["-1"], &[4]),
            (&["2-4", "3", "1-2"], &[1, 2, 3, 4]),
            (&["7.aa01.fs"], &[1]),
            (&["7.aa02"], &[2]),
            (&["aa02"], &[2]),
            (&["8."], &[3]),
            (&["900000000000000100000001"], &[3]),
        ] {
            assert_eq!(numbers(all).as_deref(), Ok(expected), "{all:?}");
        }
    }

    #[test]
    fn what_names_none_or_several_says_so() {
        for (all, expected) in [
            (&["5"][..], "no mail has number 5; there are 4, numbers 1 to 4"),
            (&["3-9"], "no mail has number 9; there are 4, numbers 1 to 4"),
            (&["0"], "the first mail has number 1"),
            (&["4-2"], "the range ends before it begins; say 2-4"),
            (&["7."], "2 mails have ids that begin with 7.; say more of it"),
            (&["nope"], "no mail has the id nope; there are 4, numbers 1 to 4"),
            (&[""], "say a number, 'last' or an id"),
        ] {
            assert_eq!(numbers(all).unwrap_err(), expected, "{all:?}");
        }
        assert_eq!(
            resolve(&Which::parse("last").unwrap(), &[]).unwrap_err().sentence,
            "no mail at all; the mailbox is empty"
        );
    }

    #[test]
    fn an_id_that_looks_like_a_number_is_never_taken_for_another_mail() {
        let entries = entries(&["2", "1", "1-3", "last", "4711", "7", "7", "id:1"]);
        let number = |text: &str| {
            let found = resolve_all(&[Which::parse(text)?], &entries).map_err(|failure| failure.sentence)?;
            Ok(found.iter().map(|entry| entry.number).collect::<Vec<_>>())
        };
        for text in ["1", "2", "1-3", "last", "id:1"] {
            let told: Result<_, String> = number(text);
            assert!(told.unwrap_err().ends_with(&format!("say id:{text}")), "{text}");
        }
        for (text, expected) in [
            ("id:2", 1),
            ("2-2", 2),
            ("id:1-3", 3),
            ("id:last", 4),
            ("4711", 5),
            ("id:4711", 5),
            ("3", 3),
            ("id:id:1", 8),
        ] {
            assert_eq!(number(text), Ok(vec![expected]), "{text}");
        }
        for text in ["7", "id:7"] {
            assert_eq!(number(text).unwrap_err(), "mails 6 and 7 have the same id 7; say 6-6 or 7-7");
        }
        assert!(number("id:47").unwrap_err().starts_with("no mail has the id 47; "));
    }
}
