//! Text in the columns of a terminal: how wide it is, what of it fits, and how wide the terminal is.

use std::io::stdout;

use terminal_size::{Width, terminal_size_of};
use unicode_width::UnicodeWidthChar;

use super::output::printable;

/// Columns of standard output: the terminal's, or 80.
pub fn width() -> usize {
    let told = terminal_size_of(stdout()).map(|(Width(columns), _)| usize::from(columns));
    told.filter(|columns| *columns >= LEAST).unwrap_or(USUAL)
}

const USUAL: usize = 80;
/// Less is no width to list anything in.
const LEAST: usize = 40;

/// Columns that a printable text takes.
pub fn columns_of(text: &str) -> usize {
    text.chars().map(columns_of_char).sum()
}

fn columns_of_char(character: char) -> usize {
    character.width().unwrap_or(0)
}

/// A text, made printable, in exactly so many columns: cut between characters, with `…` where something is missing, or
/// filled with spaces.
pub fn fitted(text: &str, columns: usize) -> String {
    let mut out = cut(text, columns);
    out.extend(std::iter::repeat_n(' ', columns.saturating_sub(columns_of(&out))));
    out
}

/// The same, not filled.
pub fn cut(text: &str, columns: usize) -> String {
    // One character has one column at most of the characters that were kept, but for those of none.
    let beginning: String = text.chars().take(columns.saturating_mul(4) + 1).collect();
    let text = printable(beginning.as_bytes());
    if columns_of(&text) <= columns {
        return text;
    }
    let mut out = String::new();
    let mut left = columns.saturating_sub(1);
    for character in text.chars() {
        let width = columns_of_char(character);
        if width > left {
            break;
        }
        left -= width;
        out.push(character);
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_wide_is_cut_between_characters() {
        for (text, columns, expected) in [
            ("abc", 5, "abc  "),
            ("abcdef", 5, "abcd…"),
            ("日本語", 6, "日本語"),
            ("日本語", 5, "日本…"),
            ("日本語", 4, "日… "),
            ("e\u{301}e\u{301}e\u{301}", 2, "e\u{301}…"),
            ("a\u{1b}[2J", 5, "a\\x1…"),
            ("a\u{202e}b", 12, "a\\u{202e}b  "),
        ] {
            assert_eq!(fitted(text, columns), expected);
        }
    }
}
