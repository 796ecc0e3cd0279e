//! Commands as a client sends them (RFC 5321 4.1.1, RFC 3030 2): from a line to a value, or to the reply that refuses it.

use super::address::{AddressError, Path, is_host_name, path};
use super::{Body, Reply};
use crate::wire::sasl::Secret;

/// A command, borrowed from its line.
#[derive(Debug, PartialEq, Eq)]
pub enum Command<'a> {
    /// EHLO with the client's name.
    Ehlo(&'a str),
    /// HELO with the client's name.
    Helo(&'a str),
    /// MAIL FROM.
    Mail(Mail),
    /// RCPT TO; never [`Path::Null`].
    Rcpt(Path),
    /// DATA.
    Data,
    /// BDAT: a chunk of so many octets follows.
    Bdat {
        /// Octets of the chunk.
        size: u64,
        /// Whether it is the message's last.
        last: bool,
    },
    /// RSET.
    Rset,
    /// NOOP, with or without an argument.
    Noop,
    /// VRFY with an argument.
    Vrfy,
    /// EXPN.
    Expn,
    /// HELP, with or without an argument.
    Help,
    /// STARTTLS (RFC 3207).
    StartTls,
    /// AUTH (RFC 4954).
    Auth {
        /// The mechanism's name.
        mechanism: &'a [u8],
        /// The initial response, in base64, if there is one.
        response: Option<Secret<'a>>,
    },
    /// QUIT.
    Quit,
}

/// What MAIL says.
#[derive(Debug, PartialEq, Eq)]
pub struct Mail {
    /// The reverse-path; never [`Path::Postmaster`].
    pub path: Path,
    /// SIZE=, in octets (RFC 1870).
    pub size: Option<u64>,
    /// BODY=.
    pub body: Body,
    /// SMTPUTF8.
    pub smtputf8: bool,
    /// AUTH=, well written (RFC 4954 5). Who is named there is not taken note of: we trust nobody's word for it.
    pub auth: bool,
}

/// Why a line is no command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A mistake: the reply says which, and the session goes on.
    Mistake(Reply),
    /// A chunk of unknown length would follow: the session cannot go on.
    LostTrack(Reply),
    /// The first word of an HTTP request: whatever follows must not be read as commands.
    NotSmtp,
}

impl<'a> Command<'a> {
    /// Parses a line without its CRLF.
    pub fn parse(line: &'a [u8]) -> Result<Command<'a>, Refusal> {
        let line = trim_end(line);
        let end = line.iter().position(|&b| !b.is_ascii_alphanumeric()).unwrap_or(line.len());
        let (verb, rest) = line.split_at(end);
        let argument = match rest {
            [] => None,
            [b' ', argument @ ..] => Some(argument),
            _ => return Err(Refusal::Mistake(Reply::UNKNOWN_COMMAND)),
        };
        let mut upper = [0; 8];
        let Some(word) = upper.get_mut(..verb.len()) else {
            return Err(Refusal::Mistake(Reply::UNKNOWN_COMMAND));
        };
        word.copy_from_slice(verb);
        word.make_ascii_uppercase();
        let command = match (&*word, argument) {
            (b"MAIL", argument) => mail(argument.unwrap_or_default()).map(Command::Mail),
            (b"RCPT", argument) => rcpt(argument.unwrap_or_default()).map(Command::Rcpt),
            (b"DATA", None) => Ok(Command::Data),
            (b"BDAT", argument) => return bdat(argument.unwrap_or_default()),
            (b"EHLO", Some(name)) => host_name(name).map(Command::Ehlo),
            (b"HELO", Some(name)) => host_name(name).map(Command::Helo),
            (b"EHLO" | b"HELO", None) => Err(Reply::BAD_HOST_NAME),
            (b"RSET", None) => Ok(Command::Rset),
            (b"QUIT", None) => Ok(Command::Quit),
            (b"STARTTLS", None) => Ok(Command::StartTls),
            (b"AUTH", argument) => auth(argument.unwrap_or_default()),
            (b"DATA" | b"RSET" | b"QUIT" | b"STARTTLS", Some(_)) => Err(Reply::NO_ARGUMENT_WANTED),
            (b"NOOP", argument) => printable(argument).map(|()| Command::Noop),
            (b"HELP", argument) => printable(argument).map(|()| Command::Help),
            (b"EXPN", argument) => printable(argument).map(|()| Command::Expn),
            (b"VRFY", Some(argument)) => printable(Some(argument)).map(|()| Command::Vrfy),
            (b"VRFY", None) => Err(Reply::BAD_ARGUMENT),
            (
                b"GET" | b"POST" | b"PUT" | b"HEAD" | b"OPTIONS" | b"CONNECT" | b"DELETE" | b"PATCH"
                | b"TRACE",
                Some(_),
            ) => {
                return Err(Refusal::NotSmtp);
            }
            _ => Err(Reply::UNKNOWN_COMMAND),
        };
        command.map_err(Refusal::Mistake)
    }
}

/// `FROM:` path parameters.
fn mail(argument: &[u8]) -> Result<Mail, Reply> {
    let (path, parameters) = path_after(b"FROM:", argument, Reply::BAD_SENDER)?;
    if path == Path::Postmaster {
        return Err(Reply::BAD_SENDER);
    }
    let mut mail = Mail { path, size: None, body: Body::SevenBit, smtputf8: false, auth: false };
    let mut body = None;
    for parameter in each_parameter(parameters) {
        let (keyword, value) = keyword_and_value(parameter)?;
        if keyword.eq_ignore_ascii_case(b"SIZE") && mail.size.is_none() {
            mail.size = Some(size_value(value.ok_or(Reply::BAD_ARGUMENT)?)?);
        } else if keyword.eq_ignore_ascii_case(b"BODY") && body.is_none() {
            body = Some(body_value(value.ok_or(Reply::BAD_ARGUMENT)?)?);
        } else if keyword.eq_ignore_ascii_case(b"SMTPUTF8") && !mail.smtputf8 && value.is_none() {
            mail.smtputf8 = true;
        } else if keyword.eq_ignore_ascii_case(b"AUTH") && !mail.auth && value.is_some_and(is_xtext) {
            mail.auth = true;
        } else if [&b"SIZE"[..], b"BODY", b"SMTPUTF8", b"AUTH"]
            .iter()
            .any(|known| keyword.eq_ignore_ascii_case(known))
        {
            return Err(Reply::BAD_ARGUMENT); // twice, or with a value that does not belong there
        } else {
            return Err(Reply::UNKNOWN_PARAMETER);
        }
    }
    mail.body = body.unwrap_or_default();
    Ok(mail)
}

/// `TO:` path; no extension of ours gives RCPT parameters.
fn rcpt(argument: &[u8]) -> Result<Path, Reply> {
    let (path, parameters) = path_after(b"TO:", argument, Reply::BAD_RECIPIENT)?;
    if path == Path::Null {
        return Err(Reply::BAD_RECIPIENT);
    }
    match each_parameter(parameters).next() {
        None => Ok(path),
        Some(parameter) => keyword_and_value(parameter).and(Err(Reply::UNKNOWN_PARAMETER)),
    }
}

/// The path behind `keyword`, and the parameters behind the path. A space after the colon is against the letter of RFC
/// 5321 3.3, harms nobody, and old clients send it.
fn path_after<'a>(keyword: &[u8], argument: &'a [u8], bad: Reply) -> Result<(Path, &'a [u8]), Reply> {
    let (head, rest) = argument.split_at_checked(keyword.len()).ok_or(bad)?;
    if !head.eq_ignore_ascii_case(keyword) {
        return Err(bad);
    }
    match path(rest.strip_prefix(b" ").unwrap_or(rest)) {
        Ok((path, parameters)) if matches!(parameters, [] | [b' ', ..]) => Ok((path, parameters)),
        Err(AddressError::TooLong) => Err(Reply::PATH_TOO_LONG),
        _ => Err(bad),
    }
}

fn each_parameter(parameters: &[u8]) -> impl Iterator<Item = &[u8]> {
    parameters.split(|&b| b == b' ').filter(|parameter| !parameter.is_empty())
}

/// esmtp-param of RFC 5321 4.1.2.
fn keyword_and_value(parameter: &[u8]) -> Result<(&[u8], Option<&[u8]>), Reply> {
    let (keyword, value) = match parameter.iter().position(|&b| b == b'=') {
        Some(at) => (&parameter[..at], Some(&parameter[at + 1..])),
        None => (parameter, None),
    };
    let keyword_good = keyword.first().is_some_and(u8::is_ascii_alphanumeric)
        && keyword.iter().all(|&b| b.is_ascii_alphanumeric() || b == b'-');
    let value_good = value
        .is_none_or(|value| !value.is_empty() && value.iter().all(|&b| b.is_ascii_graphic() && b != b'='));
    if keyword_good && value_good { Ok((keyword, value)) } else { Err(Reply::BAD_ARGUMENT) }
}

/// 1 to 20 digits (RFC 1870 3); more than 64 bits hold is more than anybody takes.
fn size_value(value: &[u8]) -> Result<u64, Reply> {
    if value.len() > 20 {
        Err(Reply::BAD_ARGUMENT)
    } else {
        number(value).map(|size| size.unwrap_or(u64::MAX))
    }
}

/// A decimal number; `Ok(None)` beyond 64 bits.
fn number(digits: &[u8]) -> Result<Option<u64>, Reply> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Reply::BAD_ARGUMENT);
    }
    Ok(digits.iter().try_fold(0u64, |n, digit| n.checked_mul(10)?.checked_add(u64::from(digit - b'0'))))
}

fn body_value(value: &[u8]) -> Result<Body, Reply> {
    let values: [(&[u8], Body); 3] =
        [(b"7BIT", Body::SevenBit), (b"8BITMIME", Body::EightBitMime), (b"BINARYMIME", Body::BinaryMime)];
    let found = values.iter().find(|(name, _)| value.eq_ignore_ascii_case(name));
    found.map(|(_, body)| *body).ok_or(Reply::BAD_ARGUMENT)
}

/// `size [LAST]`. Whoever gets this wrong may send a chunk all the same, so a mistake ends the session.
fn bdat(argument: &[u8]) -> Result<Command<'_>, Refusal> {
    let lost_track = Refusal::LostTrack(Reply::BAD_CHUNK_SIZE);
    let mut words = argument.split(|&b| b == b' ');
    let size = words.next().and_then(|digits| number(digits).ok()?).ok_or(lost_track)?;
    match (words.next(), words.next()) {
        (None, _) => Ok(Command::Bdat { size, last: false }),
        (Some(last), None) if last.eq_ignore_ascii_case(b"LAST") => Ok(Command::Bdat { size, last: true }),
        _ => Err(lost_track),
    }
}

/// mechanism `[initial response]`.
fn auth(argument: &[u8]) -> Result<Command<'_>, Reply> {
    let end = argument.iter().position(|&b| b == b' ').unwrap_or(argument.len());
    let (mechanism, rest) = argument.split_at(end);
    if mechanism.is_empty() {
        return Err(Reply::BAD_ARGUMENT);
    }
    Ok(Command::Auth { mechanism, response: rest.strip_prefix(b" ").map(Secret) })
}

/// RFC 3461 4: printable ASCII without `=`, `+` only before two digits of a hexadecimal number.
fn is_xtext(value: &[u8]) -> bool {
    let is_digit = |octet: &u8| matches!(octet, b'0'..=b'9' | b'A'..=b'F');
    let mut pieces = value.split(|&b| b == b'+');
    let plain = pieces.next().unwrap_or_default();
    let is_plain = |octets: &[u8]| octets.iter().all(|&b| b.is_ascii_graphic() && b != b'=');
    let is_sound =
        |piece: &[u8]| matches!(piece, [a, b, ..] if is_digit(a) && is_digit(b)) && is_plain(piece);
    is_plain(plain) && pieces.all(is_sound)
}

fn host_name(argument: &[u8]) -> Result<&str, Reply> {
    std::str::from_utf8(argument).ok().filter(|name| is_host_name(name)).ok_or(Reply::BAD_HOST_NAME)
}

fn printable(argument: Option<&[u8]>) -> Result<(), Reply> {
    let good = argument.unwrap_or_default().iter().all(|&b| b == b' ' || b.is_ascii_graphic());
    if good { Ok(()) } else { Err(Reply::BAD_ARGUMENT) }
}

/// Without trailing white space, which RFC 5321 4.1.1 wants tolerated.
fn trim_end(mut line: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = line {
        line = rest;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Reply {
        match Command::parse(line.as_bytes()) {
            Err(Refusal::Mistake(reply)) => reply,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    fn mail_of(line: &str) -> Mail {
        match Command::parse(line.as_bytes()) {
            Ok(Command::Mail(mail)) => mail,
            other => panic!("{line:?}: {other:?}"),
        }
    }

    #[test]
    fn verbs_are_known_in_any_case_and_with_white_space_behind() {
        for line in ["NOOP", "noop", "nOoP", "NOOP ", "NOOP\t ", "NOOP some words"] {
            assert_eq!(Command::parse(line.as_bytes()), Ok(Command::Noop), "{line:?}");
        }
        assert_eq!(Command::parse(b"ehlo x.example"), Ok(Command::Ehlo("x.example")));
        assert_eq!(Command::parse(b"DATA"), Ok(Command::Data));
        for line in [
            "",
            "WIBBLE",
            "NOOPNOOP",
            "NOOPNOOPNOOP",
            "NO\0OP",
            "NOOP\u{b}",
            "MAIL\tFROM:<a@b>",
            "QUITX\u{8}",
        ] {
            assert_eq!(reply(line), Reply::UNKNOWN_COMMAND, "{line:?}");
        }
    }

    #[test]
    fn parameters_of_mail_are_taken_once_and_checked() {
        let mail = mail_of("MAIL FROM:<a@b> size=1000 BODY=8bitmime SMTPUTF8");
        assert_eq!((mail.size, mail.body, mail.smtputf8), (Some(1000), Body::EightBitMime, true));
        assert_eq!(mail_of("MAIL FROM:<>").path, Path::Null);
        assert_eq!(mail_of("MAIL FROM: <a@b> ").size, None);
        assert_eq!(mail_of("MAIL FROM:<a@b> SIZE=18446744073709552616").size, Some(u64::MAX));
        for bad in [
            "SIZE=",
            "SIZE",
            "SIZE=-1",
            "SIZE=0x10",
            "SIZE=000000000000000001000",
            "SIZE=1 SIZE=2",
            "BODY=9BIT",
            "BODY",
            "SMTPUTF8=1",
            "X==y",
            "-X=1",
            "SIZE=1\u{1}0",
            "BODY=7BIT BODY=7BIT",
            "SMTPUTF8 SMTPUTF8",
        ] {
            assert_eq!(reply(&format!("MAIL FROM:<a@b> {bad}")), Reply::BAD_ARGUMENT, "{bad}");
        }
        assert_eq!(reply("MAIL FROM:<a@b> XFOO=bar"), Reply::UNKNOWN_PARAMETER);
        assert_eq!(reply("MAIL FROM:<a@b>SIZE=1"), Reply::BAD_SENDER);
    }

    #[test]
    fn paths_without_their_frame_are_refused() {
        for line in [
            "MAIL",
            "MAIL FROM",
            "MAIL FROM:",
            "MAIL <a@b>",
            "MAIL FROM :<a@b>",
            "MAIL TO:<a@b>",
            "MAIL FROM:<postmaster>",
        ] {
            assert_eq!(reply(line), Reply::BAD_SENDER, "{line}");
        }
        for line in ["RCPT", "RCPT TO:", "RCPT FROM:<a@b>", "RCPT TO:<>", "RCPT TO:a@b"] {
            assert_eq!(reply(line), Reply::BAD_RECIPIENT, "{line}");
        }
        assert_eq!(Command::parse(b"RCPT TO:<Postmaster>"), Ok(Command::Rcpt(Path::Postmaster)));
        assert_eq!(reply("RCPT TO:<a@b> NOTIFY=NEVER"), Reply::UNKNOWN_PARAMETER);
    }

    #[test]
    fn a_chunk_size_is_digits_within_64_bits_or_the_session_ends() {
        assert_eq!(Command::parse(b"BDAT 0"), Ok(Command::Bdat { size: 0, last: false }));
        assert_eq!(Command::parse(b"bdat 86 last"), Ok(Command::Bdat { size: 86, last: true }));
        for bad in [
            "",
            " ",
            " LAST",
            " 0x5 LAST",
            " +0 LAST",
            " 18446744073709551617",
            " 1 FIRST",
            " 1 LAST X",
            " 1  LAST",
        ] {
            let parsed = Command::parse(format!("BDAT{bad}").as_bytes()).err();
            assert_eq!(parsed, Some(Refusal::LostTrack(Reply::BAD_CHUNK_SIZE)), "{bad:?}");
        }
    }

    #[test]
    fn an_http_request_is_no_mistake_but_another_protocol() {
        for line in ["GET / HTTP/1.1", "POST /x", "CONNECT mail.example:25 HTTP/1.1", "options *"] {
            assert_eq!(Command::parse(line.as_bytes()).err(), Some(Refusal::NotSmtp), "{line}");
        }
    }

    #[test]
    fn octets_beyond_ascii_are_refused_where_no_address_stands() {
        assert_eq!(reply("NOOP é"), Reply::BAD_ARGUMENT);
        assert_eq!(reply("VRFY a\u{1}"), Reply::BAD_ARGUMENT);
        assert_eq!(reply("EHLO é.example"), Reply::BAD_HOST_NAME);
    }
}
