//! One value of a log line, made harmless: what a client sent cannot end the line, forge a field or steer a terminal.
//!
//! `key=value` stays unambiguous: a value that is empty or has a space or a quote stands in quotes, and inside them
//! there is no quote, for it is written `\x22`. Writes straight into the formatter, without allocation.

use std::fmt;

use crate::limits::LOG_VALUE_MAX;

/// Shows text or octets as printable ASCII: every other octet, and the backslash, as `\xNN`; beyond
/// [`LOG_VALUE_MAX`] characters it is cut and ends in `...`.
///
/// `log::info!("refused helo={}", Escaped(name))`
#[derive(Debug, Clone, Copy)]
pub struct Escaped<'a, T: ?Sized>(pub &'a T);

impl<T: AsRef<[u8]> + ?Sized> fmt::Display for Escaped<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (octets, rest) = cut(self.0.as_ref());
        let quote = if needs_quotes(octets) { "\"" } else { "" };
        f.write_str(quote)?;
        let mut plain = 0;
        for (at, &octet) in octets.iter().enumerate() {
            if !is_plain(octet) {
                write_plain(f, &octets[plain..at])?;
                write!(f, "\\x{octet:02x}")?;
                plain = at + 1;
            }
        }
        write_plain(f, &octets[plain..])?;
        f.write_str(if rest.is_empty() { "" } else { CUT })?;
        f.write_str(quote)
    }
}

/// What stands for the part that is left out.
const CUT: &str = "...";

/// Characters of an escaped octet.
const ESCAPE: usize = r"\xNN".len();

/// What is shown, and what is not. All of it is shown if it fits, else as much as leaves room for [`CUT`].
fn cut(octets: &[u8]) -> (&[u8], &[u8]) {
    let mut width = 0;
    let mut fits_with_cut = 0;
    for (at, &octet) in octets.iter().enumerate() {
        width += if is_plain(octet) { 1 } else { ESCAPE };
        if width > LOG_VALUE_MAX {
            return octets.split_at(fits_with_cut);
        }
        if width + CUT.len() <= LOG_VALUE_MAX {
            fits_with_cut = at + 1;
        }
    }
    (octets, &[])
}

fn needs_quotes(octets: &[u8]) -> bool {
    octets.is_empty() || octets.iter().any(|octet| matches!(octet, b' ' | b'"'))
}

/// Whether an octet stands for itself: printable ASCII but for the backslash and the quote.
fn is_plain(octet: u8) -> bool {
    matches!(octet, b' '..=b'~') && octet != b'\\' && octet != b'"'
}

fn write_plain(f: &mut fmt::Formatter<'_>, octets: &[u8]) -> fmt::Result {
    f.write_str(std::str::from_utf8(octets).expect("plain octets are ASCII"))
}

const _: () = assert!(LOG_VALUE_MAX > ESCAPE + CUT.len());

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(value: &str) -> String {
        Escaped(value).to_string()
    }

    #[test]
    fn plain_text_stands_for_itself() {
        assert_eq!(shown("alice+tag@example.com"), "alice+tag@example.com");
        assert_eq!(shown("a=b"), "a=b");
    }

    #[test]
    fn a_client_cannot_end_the_line_or_steer_the_terminal() {
        assert_eq!(shown("x\r\n2026 INFO forged"), r#""x\x0d\x0a2026 INFO forged""#);
        assert_eq!(shown("\x1b[2J\x7f"), r"\x1b[2J\x7f");
        assert_eq!(Escaped(b"\0\xff\\".as_slice()).to_string(), r"\x00\xff\x5c");
        assert_eq!(shown("é"), r"\xc3\xa9");
    }

    #[test]
    fn a_client_cannot_forge_a_field() {
        assert_eq!(shown("x id=1"), r#""x id=1""#);
        assert_eq!(shown("x\" id=\"1"), r#""x\x22 id=\x221""#);
        assert_eq!(shown("\"x\""), r#""\x22x\x22""#);
        assert_eq!(shown(""), r#""""#);
    }

    #[test]
    fn a_long_value_is_cut_between_two_octets() {
        assert_eq!(shown(&"a".repeat(LOG_VALUE_MAX)).len(), LOG_VALUE_MAX);
        let long = shown(&"a".repeat(LOG_VALUE_MAX + 1));
        assert_eq!(long, format!("{}...", "a".repeat(LOG_VALUE_MAX - 3)));
        for prefix in 0..8 {
            let long = shown(&format!("{}{}", "a".repeat(prefix), "\n".repeat(LOG_VALUE_MAX)));
            assert!(long.len() <= LOG_VALUE_MAX && long.ends_with(r"\x0a..."), "{long}");
        }
    }
}
