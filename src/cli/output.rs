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
            c => text.push(c),
        }
    }
    text
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
    }
}
