//! Addresses with a number in them: `user{n}@example.com`, and `box{n%1000}@example.com` for a thousand in turn.

use std::fmt::{self, Write};

use fastsmtp::limits::PATH_MAX;
use fastsmtp::smtp::Address;

/// An address for each number. ASCII only, and never anything but an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    text: String,
    pieces: Vec<Piece>,
    /// What it is for the number 0; always, if there is no number in it.
    first: Address,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `{n}`.
    Number,
    /// `{n%1000}`; never 0.
    Modulo(u64),
}

impl Template {
    /// Reads one. The error is a sentence for people.
    pub fn parse(text: &str) -> Result<Template, String> {
        if !text.is_ascii() {
            return Err(format!("'{text}' is not ASCII; SMTPUTF8 is not supported"));
        }
        let pieces = pieces(text)?;
        // With 0 it is as short as it can be; the last number of each placeholder makes it as long.
        let first = address(text, &pieces, |_| 0)?;
        let last = address(text, &pieces, |modulus| modulus.map_or(u64::MAX, |modulus| modulus - 1))?;
        if !fits(&last) {
            return Err(format!("'{text}' makes an address of more than {} octets", PATH_MAX - 2));
        }
        if first.domain().starts_with('[') && first.domain() != last.domain() {
            return Err(format!("'{text}' has a number in an address literal: put it before the @"));
        }
        Ok(Template { text: text.to_owned(), pieces, first })
    }

    /// The address for `number`, which counts from 0.
    pub fn address(&self, number: u64) -> Address {
        if self.is_fixed() {
            return self.first.clone();
        }
        let of = |modulus: Option<u64>| modulus.map_or(number, |modulus| number % modulus);
        address(&self.text, &self.pieces, of)
            .expect("an address for the first and the last number is one for each")
    }

    /// The address among `several` others that differ from it only in that it has `number` in it, where the template
    /// has none: `user3@example.com`.
    pub fn numbered(&self, number: u64) -> Address {
        Address::new(&format!("{}{number}", self.first.local_part()), self.first.domain())
    }

    /// Whether it is the same address for every number.
    pub fn is_fixed(&self) -> bool {
        self.pieces.iter().all(|piece| matches!(piece, Piece::Text(_)))
    }

    /// How many addresses it is at the most; none if there is no bound.
    pub fn count_max(&self) -> Option<u64> {
        self.pieces.iter().try_fold(1_u64, |count, piece| match piece {
            Piece::Text(_) => Some(count),
            Piece::Number => None,
            // Placeholders go through their numbers at the same time, so that the largest counts.
            Piece::Modulo(modulus) => Some(count.max(*modulus)),
        })
    }
}

/// As it was given.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// A reverse-path for each message: a template, or the null one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReversePath(pub Option<Template>);

impl ReversePath {
    /// Reads one: an address with or without a number, or `<>` or nothing for the null one. The error is a sentence.
    pub fn parse(text: &str) -> Result<ReversePath, String> {
        match text {
            "" | "<>" => Ok(ReversePath(None)),
            _ => Template::parse(text).map(|template| ReversePath(Some(template))),
        }
    }
}

/// Splits a template at its placeholders.
fn pieces(text: &str) -> Result<Vec<Piece>, String> {
    let (mut pieces, mut rest) = (Vec::new(), text);
    while let Some(at) = rest.find(['{', '}']) {
        let (before, behind) = rest.split_at(at);
        let end = behind.find('}').filter(|end| *end > 0);
        let Some(end) = end else {
            return Err(format!("'{text}' has a brace without its other: a number is {{n}} or {{n%1000}}"));
        };
        pieces.push(Piece::Text(before.to_owned()));
        pieces.push(placeholder(text, &behind[..=end])?);
        rest = &behind[end + 1..];
    }
    pieces.push(Piece::Text(rest.to_owned()));
    Ok(pieces)
}

fn placeholder(text: &str, placeholder: &str) -> Result<Piece, String> {
    if placeholder == "{n}" {
        return Ok(Piece::Number);
    }
    let modulus = placeholder.strip_prefix("{n%").and_then(|rest| rest.strip_suffix('}'));
    let digits = modulus.filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse().ok()) {
        Some(0) => {
            Err(format!("'{placeholder}' in '{text}' goes through no numbers: write {{n%1000}} or so"))
        }
        Some(modulus) => Ok(Piece::Modulo(modulus)),
        None => Err(format!("'{placeholder}' in '{text}' is not a number like {{n}} or {{n%1000}}")),
    }
}

/// The address that the pieces make, with `number` at each placeholder, which is given its modulus.
fn address(text: &str, pieces: &[Piece], number: impl Fn(Option<u64>) -> u64) -> Result<Address, String> {
    let mut rendered = String::with_capacity(text.len() + 20);
    for piece in pieces {
        let number = match piece {
            Piece::Text(text) => {
                rendered.push_str(text);
                continue;
            }
            Piece::Number => number(None),
            Piece::Modulo(modulus) => number(Some(*modulus)),
        };
        write!(rendered, "{number}").expect("writing to a string cannot fail");
    }
    let error = |_| {
        if rendered == text {
            format!("'{text}' is not an address, like user@example.com")
        } else {
            format!("'{text}' does not make an address: '{rendered}' is none")
        }
    };
    Address::parse(rendered.as_bytes()).map_err(error)
}

/// Whether a path has room for it, in angle brackets (RFC 5321 4.5.3.1.3).
pub(super) fn fits(address: &Address) -> bool {
    address.to_string().len() + 2 <= PATH_MAX
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addresses(text: &str, numbers: &[u64]) -> Vec<String> {
        let template = Template::parse(text).unwrap();
        numbers.iter().map(|number| template.address(*number).to_string()).collect()
    }

    #[test]
    fn a_number_grows_or_goes_round() {
        assert_eq!(addresses("u{n}@x", &[0, 1, u64::MAX]), ["u0@x", "u1@x", "u18446744073709551615@x"]);
        assert_eq!(addresses("u{n%3}@x", &[0, 1, 2, 3]), ["u0@x", "u1@x", "u2@x", "u0@x"]);
        assert_eq!(addresses("{n}@d{n%2}.x", &[7]), ["7@d1.x"]);
        assert_eq!(addresses("\"a b{n}\"@[192.0.2.1]", &[7]), ["\"a b7\"@[192.0.2.1]"]);
        assert_eq!(addresses("u@x", &[7]), ["u@x"]);
    }

    #[test]
    fn how_many_addresses_there_are_is_known() {
        let count = |text| Template::parse(text).unwrap().count_max();
        assert_eq!(count("u@x"), Some(1));
        assert_eq!(count("u{n}@x"), None);
        assert_eq!(count("u{n%1000}@d{n%10}.x"), Some(1000));
        assert!(
            Template::parse("u@x").unwrap().is_fixed() && !Template::parse("u{n%1}@x").unwrap().is_fixed()
        );
    }

    #[test]
    fn an_error_says_what_is_wrong() {
        for (text, error) in [
            ("jörg@x", "'jörg@x' is not ASCII; SMTPUTF8 is not supported"),
            ("user", "'user' is not an address, like user@example.com"),
            ("", "'' is not an address, like user@example.com"),
            ("u{n}", "'u{n}' does not make an address: 'u0' is none"),
            ("u{m}@x", "'{m}' in 'u{m}@x' is not a number like {n} or {n%1000}"),
            ("u{}@x", "'{}' in 'u{}@x' is not a number like {n} or {n%1000}"),
            ("u{n%}@x", "'{n%}' in 'u{n%}@x' is not a number like {n} or {n%1000}"),
            ("u{n%+1}@x", "'{n%+1}' in 'u{n%+1}@x' is not a number like"),
            ("u{n%0}@x", "'{n%0}' in 'u{n%0}@x' goes through no numbers: write {n%1000} or so"),
            ("u{n@x", "'u{n@x' has a brace without its other: a number is {n} or {n%1000}"),
            ("u}n{@x", "'u}n{@x' has a brace without its other"),
            (
                "u@[10.0.0.{n%9}]",
                "'u@[10.0.0.{n%9}]' has a number in an address literal: put it before the @",
            ),
        ] {
            let told = Template::parse(text).expect_err(text);
            assert!(told.starts_with(error), "{text}: {told}");
        }
        let long = format!("{{n}}@{}.{}.{}.example", "d".repeat(60), "d".repeat(63), "d".repeat(63));
        assert!(Template::parse(&long).is_ok());
        let error = Template::parse(&format!("{}{long}", "l".repeat(64))).unwrap_err();
        assert!(error.ends_with("makes an address of more than 254 octets"), "{error}");
        let label = format!("u@{}{{n}}", "d".repeat(60));
        assert!(
            Template::parse(&label).unwrap_err().contains("does not make an address"),
            "its longest counts"
        );
    }

    #[test]
    fn the_null_reverse_path_has_two_spellings() {
        assert_eq!(ReversePath::parse(""), Ok(ReversePath(None)));
        assert_eq!(ReversePath::parse("<>"), Ok(ReversePath(None)));
        assert!(ReversePath::parse("a@x").unwrap().0.is_some());
        assert!(ReversePath::parse("<a@x>").is_err());
    }

    proptest! {
        #[test]
        fn a_template_that_is_taken_makes_an_address_of_every_number(
            text in "(\\{n\\}|\\{n%[1-9][0-9]{0,3}\\}|[a-z0-9.-]){1,8}@(\\{n\\}|\\{n%[1-9]\\}|[a-z0-9.-]|\\[|\\]){1,8}",
            number: u64,
        ) {
            if let Ok(template) = Template::parse(&text) {
                let address = template.address(number);
                prop_assert_eq!(Address::parse(address.to_string().as_bytes()), Ok(address));
            }
        }

        #[test]
        fn no_text_is_too_strange_to_be_judged(text in "[a-z0-9@{}%n.é]{0,20}") {
            let _ = Template::parse(&text);
        }
    }
}
