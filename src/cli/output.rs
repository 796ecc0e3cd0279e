//! What the operator's commands share: printing for a terminal, and the exit code of an error of the system.

use std::io::{self, ErrorKind, Write};

use super::exit::{Exit, Failure};

/// The exit code for what the system says of a file.
pub fn exit_of(error: &io::Error) -> Exit {
    match error.kind() {
        ErrorKind::PermissionDenied => Exit::Permission,
        ErrorKind::NotFound => Exit::NoInput,
        _ => Exit::InputOutput,
    }
}

/// A text that cannot steer a terminal.
pub fn printable(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len());
    for character in String::from_utf8_lossy(octets).chars() {
        match character {
            '\t' => text.push(' '),
            c if c.is_control() => text.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if is_deceptive(c) => text.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
            c => text.push(c),
        }
    }
    text
}

/// The same for a text of several lines, with its lines and tabs.
pub fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.split_inclusive(['\n', '\t']) {
        let end = line.len() - usize::from(line.ends_with(['\n', '\t']));
        out.push_str(&printable(&line.as_bytes()[..end]));
        out.push_str(&line[end..]);
    }
    out
}

/// Whether it would move text that stands elsewhere, or break a line: bidirectional controls (Unicode 9 annex), separators
/// and tags.
pub fn is_deceptive(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A JSON document on lines of its own, that cannot steer a terminal either.
pub fn printable_json(document: &serde_json::Value) -> String {
    harmless_json(&format!("{document:#}\n"))
}

/// JSON text in which what JSON lets stand, and we do not, is said otherwise.
pub fn harmless_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push('\n'),
            c if c.is_control() || is_deceptive(c) => {
                c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}")));
            }
            c => out.push(c),
        }
    }
    out
}

/// A number and what it counts.
pub fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Prints all of it; who stops reading has read enough.
pub fn print(text: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::InputOutput, format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_client_sent_cannot_steer_the_terminal() {
        assert_eq!(printable(b"a\x1b[2J\x7f\tb\xc2\x9bc\xc3\xa9"), "a\\x1b[2J\\x7f b\\x9bcé");
        assert_eq!(printable("a\u{202e}b\nc".as_bytes()), "a\\u{202e}b\\x0ac");
        assert_eq!(printable_lines("a\tb\r\nc\u{2066}\n\n"), "a\tb\\x0d\nc\\u{2066}\n\n");
    }

    #[test]
    fn json_says_it_otherwise() {
        let value = serde_json::json!("\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}é");
        let text = printable_json(&value);
        assert_eq!(text, "\"\\u001b\\u007f\\u009b\\u202e\\udb40\\udc41é\"\n");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
    }
}
