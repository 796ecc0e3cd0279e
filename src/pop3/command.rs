//! Commands as a client sends them (RFC 1939 3, RFC 2449 3): from a line to a value, or to the refusal.

use super::reply::Refusal;
use crate::wire::sasl::Secret;

/// A command, borrowed from its line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Command<'a> {
    /// CAPA (RFC 2449 5).
    Capa,
    /// STLS (RFC 2595 4).
    Stls,
    /// AUTH (RFC 5034).
    Auth {
        /// The mechanism's name.
        mechanism: &'a [u8],
        /// The initial response, in base64, if there is one.
        response: Option<Secret<'a>>,
    },
    /// USER with a name, not empty.
    User(&'a str),
    /// PASS with a password, not empty: all that stands behind the blank, blanks too (RFC 1939 7).
    Pass(Secret<'a>),
    /// UTF8 (RFC 6856 2).
    Utf8,
    /// STAT.
    Stat,
    /// LIST, of all messages or of one.
    List(Option<Number>),
    /// UIDL, of all messages or of one.
    Uidl(Option<Number>),
    /// RETR.
    Retr(Number),
    /// TOP.
    Top {
        /// Which message.
        number: Number,
        /// Lines of its body.
        lines: u64,
    },
    /// DELE.
    Dele(Number),
    /// RSET.
    Rset,
    /// NOOP.
    Noop,
    /// QUIT.
    Quit,
}

/// A message's number as the client gave it: from 1, and perhaps no message's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number(pub(super) u64);

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCommand {
    /// A mistake: the session goes on.
    Mistake(Refusal),
    /// The first word of an HTTP request: whatever follows must not be read as commands.
    NotPop3,
}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    pub(super) fn parse(line: &'a [u8]) -> Result<Command<'a>, NoCommand> {
        let end = line.iter().position(|&octet| !octet.is_ascii_alphanumeric()).unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let mut upper = [0; VERB_MAX];
        let Some(word) = upper.get_mut(..verb.len()) else {
            return Err(NoCommand::Mistake(Refusal::UNKNOWN_COMMAND));
        };
        word.copy_from_slice(verb);
        word.make_ascii_uppercase();
        if HTTP.contains(&&*word) && rest.starts_with(b" ") {
            return Err(NoCommand::NotPop3);
        }
        let text = std::str::from_utf8(rest).ok().filter(|text| !text.contains('\0'));
        let text = text.ok_or(NoCommand::Mistake(Refusal::BAD_OCTETS))?;
        command(word, text).map_err(NoCommand::Mistake)
    }
}

/// The command of a verb in capitals and all that stands behind it.
fn command<'a>(verb: &[u8], rest: &'a str) -> Result<Command<'a>, Refusal> {
    // A password may end in blanks; everything else was typed by somebody who did not see them.
    let argument = if verb == b"PASS" { rest } else { rest.trim_end_matches([' ', '\t']) };
    let argument = match argument.strip_prefix(' ') {
        Some(argument) => argument,
        None if argument.is_empty() => "",
        None => return Err(Refusal::UNKNOWN_COMMAND),
    };
    match (verb, argument) {
        (b"CAPA", "") => Ok(Command::Capa),
        (b"STLS", "") => Ok(Command::Stls),
        (b"UTF8", "") => Ok(Command::Utf8),
        (b"STAT", "") => Ok(Command::Stat),
        (b"RSET", "") => Ok(Command::Rset),
        (b"NOOP", "") => Ok(Command::Noop),
        (b"QUIT", "") => Ok(Command::Quit),
        (b"CAPA" | b"STLS" | b"UTF8" | b"STAT" | b"RSET" | b"NOOP" | b"QUIT", _) => {
            Err(Refusal::NO_ARGUMENT_WANTED)
        }
        (b"LIST", "") => Ok(Command::List(None)),
        (b"UIDL", "") => Ok(Command::Uidl(None)),
        (b"USER" | b"PASS" | b"AUTH" | b"RETR" | b"TOP" | b"DELE", "") => Err(Refusal::BAD_ARGUMENT),
        (b"USER", name) => Ok(Command::User(name)),
        (b"PASS", password) => Ok(Command::Pass(Secret(password.as_bytes()))),
        (b"AUTH", argument) => auth(argument),
        (b"LIST", number) => digits(number).map(|number| Command::List(Some(Number(number)))),
        (b"UIDL", number) => digits(number).map(|number| Command::Uidl(Some(Number(number)))),
        (b"RETR", number) => digits(number).map(|number| Command::Retr(Number(number))),
        (b"DELE", number) => digits(number).map(|number| Command::Dele(Number(number))),
        (b"TOP", argument) => top(argument),
        _ => Err(Refusal::UNKNOWN_COMMAND),
    }
}

fn auth(argument: &str) -> Result<Command<'_>, Refusal> {
    let (mechanism, response) = match argument.split_once(' ') {
        Some((mechanism, response)) => (mechanism, Some(Secret(response.as_bytes()))),
        None => (argument, None),
    };
    if mechanism.is_empty() {
        return Err(Refusal::BAD_ARGUMENT);
    }
    Ok(Command::Auth { mechanism: mechanism.as_bytes(), response })
}

fn top(argument: &str) -> Result<Command<'_>, Refusal> {
    let (number, lines) = argument.split_once(' ').ok_or(Refusal::BAD_ARGUMENT)?;
    Ok(Command::Top { number: Number(digits(number)?), lines: digits(lines)? })
}

/// A number in decimal digits. Whatever is too large for us is as large as can be: no mailbox has so many.
fn digits(text: &str) -> Result<u64, Refusal> {
    if text.is_empty() || !text.bytes().all(|octet| octet.is_ascii_digit()) {
        return Err(Refusal::BAD_ARGUMENT);
    }
    Ok(text.parse().unwrap_or(u64::MAX))
}

/// The first words of HTTP requests.
const HTTP: [&[u8]; 9] =
    [b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"PATCH", b"TRACE"];

/// Letters of the longest word that is looked at.
const VERB_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command<'_>, NoCommand> {
        Command::parse(line.as_bytes())
    }

    fn mistake<'a>(refusal: Refusal) -> Result<Command<'a>, NoCommand> {
        Err(NoCommand::Mistake(refusal))
    }

    #[test]
    fn a_command_is_known_in_letters_of_any_case_and_with_blanks_behind() {
        assert_eq!(parsed("stat"), Ok(Command::Stat));
        assert_eq!(parsed("QUIT \t "), Ok(Command::Quit));
        assert_eq!(parsed("Retr 007 "), Ok(Command::Retr(Number(7))));
        assert_eq!(parsed("top 1 0"), Ok(Command::Top { number: Number(1), lines: 0 }));
        assert_eq!(parsed("LIST"), Ok(Command::List(None)));
        assert_eq!(parsed("UIDL 2"), Ok(Command::Uidl(Some(Number(2)))));
    }

    #[test]
    fn a_password_is_all_that_stands_behind_the_blank() {
        assert_eq!(parsed("PASS  two blanks \t"), Ok(Command::Pass(Secret(b" two blanks \t"))));
        assert_eq!(parsed("PASS  "), Ok(Command::Pass(Secret(b" "))));
        assert_eq!(parsed("PASS päss"), Ok(Command::Pass(Secret("päss".as_bytes()))));
        for line in ["PASS", "PASS "] {
            assert_eq!(parsed(line), mistake(Refusal::BAD_ARGUMENT), "{line:?}");
        }
        assert_eq!(parsed("PASS\tx"), mistake(Refusal::UNKNOWN_COMMAND));
    }

    #[test]
    fn a_name_is_utf8_with_blanks_within() {
        assert_eq!(parsed("USER jörg@example.com "), Ok(Command::User("jörg@example.com")));
        assert_eq!(parsed("USER a b"), Ok(Command::User("a b")));
        assert_eq!(Command::parse(b"USER \xff"), mistake(Refusal::BAD_OCTETS));
        assert_eq!(Command::parse(b"USER a\0"), mistake(Refusal::BAD_OCTETS));
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        let huge = "9".repeat(30);
        assert_eq!(parsed(&format!("DELE {huge}")), Ok(Command::Dele(Number(u64::MAX))));
        for argument in ["", " ", "x", "+1", "-1", "1 2", "1,2", "0x1", " 1", "1\t2", "\u{661}"] {
            let line = format!("RETR {argument}");
            assert_eq!(parsed(&line), mistake(Refusal::BAD_ARGUMENT), "{argument:?}");
        }
        for argument in ["1", "1 ", "1 x", " 1", "1 -1", "1  1", "1 2 3"] {
            let line = format!("TOP {argument}");
            assert_eq!(parsed(&line), mistake(Refusal::BAD_ARGUMENT), "{argument:?}");
        }
    }

    #[test]
    fn auth_has_a_mechanism_and_perhaps_a_response() {
        let auth = |response| Ok(Command::Auth { mechanism: b"PLAIN", response });
        assert_eq!(parsed("AUTH PLAIN"), auth(None));
        assert_eq!(parsed("AUTH PLAIN ="), auth(Some(Secret(b"="))));
        assert_eq!(parsed("AUTH PLAIN YQ== x"), auth(Some(Secret(b"YQ== x"))));
        for line in ["AUTH", "AUTH ", "AUTH  PLAIN"] {
            assert_eq!(parsed(line), mistake(Refusal::BAD_ARGUMENT), "{line:?}");
        }
    }

    #[test]
    fn what_is_no_command_is_told_apart_from_what_is_no_pop3() {
        for line in ["", " STAT", "STAT\t1", "APOP a b", "EHLO x", "STATISTICS", "GET", "ST\0AT", "\u{e9}"] {
            assert_eq!(
                parsed(line),
                mistake(if line.contains('\0') { Refusal::BAD_OCTETS } else { Refusal::UNKNOWN_COMMAND }),
                "{line:?}"
            );
        }
        for line in ["NOOP 1", "STAT x", "QUIT now"] {
            assert_eq!(parsed(line), mistake(Refusal::NO_ARGUMENT_WANTED), "{line}");
        }
        for line in ["GET / HTTP/1.1", "post /", "DELETE \0"] {
            assert_eq!(parsed(line), Err(NoCommand::NotPop3), "{line}");
        }
    }

    #[test]
    fn no_password_is_shown_by_debug() {
        assert_eq!(format!("{:?}", parsed("PASS pencil")), "Ok(Pass(Secret(..)))");
    }
}
