//! WHICH mail: a number as `list` shows it, `last`, an id or its beginning, the queue id in it; for `remove` also a range.

use fastsmtp::log_value::Escaped;

use super::Entry;
use crate::cli::exit::{Exit, Failure};

/// What `--help` says of it.
pub const EXPLAINED: &str = "\
WHICH is the number that 'list' shows (1 is the oldest), 'last', an id as --json
shows it or its beginning, or the queue id that the sender got with the 250.
Numbers shift when mail is removed; ids never do.";

/// What was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The numbers from one to another.
    Numbers(usize, usize),
    /// The newest.
    Last,
    /// An id, or a part that names it.
    Id(String),
}

impl Which {
    /// Reads it. The error is a sentence for people.
    pub fn parse(text: &str) -> Result<Which, String> {
        let number = |digits: &str| {
            let is_number =
                (1..=NUMBER_DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse::<usize>().ok().filter(|_| is_number)
        };
        let range = text.split_once('-').and_then(|(first, last)| Some((number(first)?, number(last)?)));
        match (number(text), range) {
            (Some(0), _) | (_, Some((0, _))) => Err("the first mail has number 1".to_owned()),
            (Some(number), _) => Ok(Which::Numbers(number, number)),
            (_, Some((first, last))) if first > last => {
                Err(format!("the range ends before it begins; say {last}-{first}"))
            }
            (_, Some((first, last))) => Ok(Which::Numbers(first, last)),
            _ if text == "last" || text == "-1" => Ok(Which::Last),
            _ if text.is_empty() => Err("say a number, 'last' or an id".to_owned()),
            _ => Ok(Which::Id(text.to_owned())),
        }
    }
}

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

fn found<'a>(which: &Which, entries: &'a [Entry]) -> Result<&'a [Entry], Failure> {
    let none = |what: String| {
        let there = match entries.len() {
            0 => "the mailbox is empty".to_owned(),
            1 => "there is one, number 1".to_owned(),
            count => format!("there are {count}, numbers 1 to {count}"),
        };
        Failure::new(Exit::NoInput, format!("no mail {what}; {there}"))
    };
    match which {
        Which::Last => entries.last().map(std::slice::from_ref).ok_or_else(|| none("at all".to_owned())),
        Which::Numbers(first, last) => {
            let missing = if *first > entries.len() { first } else { last };
            entries.get(first - 1..*last).ok_or_else(|| none(format!("has number {missing}")))
        }
        Which::Id(text) => by_id(text, entries, none),
    }
}

fn by_id<'a>(
    text: &str,
    entries: &'a [Entry],
    none: impl Fn(String) -> Failure,
) -> Result<&'a [Entry], Failure> {
    if let Some(exact) = entries.iter().position(|entry| entry.id == *text) {
        return Ok(&entries[exact..=exact]);
    }
    let is_meant = |entry: &Entry| entry.id.starts_with(text) || entry.id.split('.').nth(1) == Some(text);
    let mut meant = entries.iter().enumerate().filter(|(_, entry)| is_meant(entry));
    let text = Escaped(text);
    match (meant.next(), meant.count()) {
        (None, _) => Err(none(format!("has the id {text}"))),
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
        assert_eq!(resolve(&Which::Last, &[]).unwrap_err().sentence, "no mail at all; the mailbox is empty");
    }
}
