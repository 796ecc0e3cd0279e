//! What a server says to its client: octets in, replies out (RFC 5321 4.2).
//!
//! [`Replies`] takes the octets as they come. A reply that arrives in one piece, as nearly all do, is borrowed from the
//! input; only one that is cut is gathered in memory, which goes again with it. The answer does not depend on the cuts.
//! Strict where it keeps client and server in step (line ends, codes, lengths), indifferent to the text.
//!
//! ```text
//!   2 5 0 - s i z e CR LF 2 5 0   2 . 0 . 0   o k CR LF 2 5 0 ...
//!   └─ a line ──────────┘ └─ the last line ───────────┘ └ the next reply
//!         └ "-": more follow    └ " " or nothing
//! ```

use std::fmt;

use crate::limits::{REPLY_LINE_MAX, REPLY_LINES_MAX};

/// A reply, borrowed from where it was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    code: u16,
    /// All lines with their CRLF: each has a code, and the last one no hyphen behind it.
    octets: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The reply code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Positive completion (2yz).
    pub fn is_positive(&self) -> bool {
        self.code / 100 == 2
    }

    /// Positive intermediate: go on (3yz).
    pub fn is_intermediate(&self) -> bool {
        self.code / 100 == 3
    }

    /// Transient negative completion (4yz).
    pub fn is_transient(&self) -> bool {
        self.code / 100 == 4
    }

    /// Permanent negative completion (5yz).
    pub fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// Negative completion, of either kind.
    pub fn is_negative(&self) -> bool {
        self.is_transient() || self.is_permanent()
    }

    /// The text of each line, without code, separator and CRLF. Any octets but CR and LF: escape before printing.
    pub fn lines(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.octets.split_inclusive(|octet| *octet == b'\n').map(text)
    }

    /// The enhanced status code (RFC 3463) that the text begins with; none if there is none, or if its class is not
    /// the reply code's (RFC 2034 4).
    pub fn status(&self) -> Option<Status> {
        let first = self.lines().next()?;
        let word = first.split(|octet| *octet == b' ').next()?;
        Status::parse(word).filter(|status| u16::from(status.class) == self.code / 100)
    }

    /// The last line, code and all, without CRLF.
    pub fn last_line(&self) -> &'a [u8] {
        let end = self.octets.len() - 2;
        let start = self.octets[..end].iter().rposition(|octet| *octet == b'\n').map_or(0, |at| at + 1);
        &self.octets[start..end]
    }
}

/// An enhanced status code (RFC 3463 2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status {
    /// 2, 4 or 5.
    pub class: u8,
    /// What it is about, 0 to 999.
    pub subject: u16,
    /// What it says, 0 to 999.
    pub detail: u16,
}

impl Status {
    fn parse(word: &[u8]) -> Option<Status> {
        let mut parts = word.split(|octet| *octet == b'.');
        let (class, subject, detail) = (parts.next()?, parts.next()?, parts.next()?);
        match class {
            [class @ (b'2' | b'4' | b'5')] if parts.next().is_none() => {
                Some(Status { class: class - b'0', subject: number(subject)?, detail: number(detail)? })
            }
            _ => None,
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.class, self.subject, self.detail)
    }
}

/// Why octets are no reply. Behind it nothing can be told: the connection is to be closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReplyError {
    /// A line beyond [`REPLY_LINE_MAX`].
    LineTooLong,
    /// More lines than [`REPLY_LINES_MAX`].
    TooManyLines,
    /// An LF without CR before it.
    BareLf,
    /// A CR without LF behind it.
    BareCr,
    /// A line that does not begin with a code of three digits, 200 to 599.
    NoCode,
    /// Neither space, hyphen nor line end behind the code.
    NoSeparator,
    /// Lines of one reply with different codes.
    CodesDiffer,
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReplyError::LineTooLong => write!(f, "a line of a reply is longer than {REPLY_LINE_MAX} octets"),
            ReplyError::TooManyLines => write!(f, "a reply has more than {REPLY_LINES_MAX} lines"),
            ReplyError::BareLf => f.write_str("a line of a reply ends in LF without CR"),
            ReplyError::BareCr => f.write_str("a line of a reply has a CR that no LF follows"),
            ReplyError::NoCode => f.write_str("a line of a reply does not begin with a code from 200 to 599"),
            ReplyError::NoSeparator => f.write_str("neither space nor hyphen follows the code of a reply"),
            ReplyError::CodesDiffer => f.write_str("the lines of one reply have different codes"),
        }
    }
}

impl std::error::Error for ReplyError {}

/// Replies out of octets.
#[derive(Debug, Default)]
pub struct Replies {
    /// The octets so far of a reply that is not whole, or all of the one given last if it came in pieces.
    held: Vec<u8>,
    /// Where in `held` the line begins that is not whole.
    line_start: usize,
    /// What the whole lines of the reply under way have told.
    begun: Begun,
}

/// The lines so far of a reply under way.
#[derive(Debug, Default, Clone, Copy)]
struct Begun {
    lines: usize,
    /// Of the first line.
    code: u16,
}

impl Replies {
    /// None so far.
    pub fn new() -> Replies {
        Replies::default()
    }

    /// Takes the next reply off `input`; none if it is not whole, and then all of the input is taken. After an error
    /// there is no going on.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Reply<'a>>, ReplyError> {
        if self.begun.lines == 0 && self.line_start > 0 {
            (self.held, self.line_start) = (Vec::new(), 0);
        }
        let octets = *input;
        let in_one_piece = self.held.is_empty();
        let mut taken = 0;
        while let Some(lf) = octets[taken..].iter().position(|octet| *octet == b'\n') {
            let line = &octets[taken..taken + lf + 1];
            let last = if in_one_piece { self.begun.line(line)? } else { self.held_line(line)? };
            taken += line.len();
            if last {
                let begun = std::mem::take(&mut self.begun);
                *input = &octets[taken..];
                let octets = if in_one_piece { &octets[..taken] } else { &self.held[..] };
                return Ok(Some(Reply { code: begun.code, octets }));
            }
        }
        *input = &[];
        self.hold(octets, taken, in_one_piece)?;
        Ok(None)
    }

    /// Ends the line under way in `held` with `end`; gives whether it is the reply's last.
    fn held_line(&mut self, end: &[u8]) -> Result<bool, ReplyError> {
        self.held.extend_from_slice(end);
        let last = self.begun.line(&self.held[self.line_start..])?;
        self.line_start = self.held.len();
        Ok(last)
    }

    /// Keeps an input that ends within a reply. Its first `taken` octets are whole lines, kept already unless the reply
    /// was `in_one_piece` so far.
    fn hold(&mut self, octets: &[u8], taken: usize, in_one_piece: bool) -> Result<(), ReplyError> {
        if in_one_piece {
            self.held.extend_from_slice(octets);
            self.line_start = taken;
        } else {
            self.held.extend_from_slice(&octets[taken..]);
        }
        if self.held.len() - self.line_start > REPLY_LINE_MAX { Err(ReplyError::LineTooLong) } else { Ok(()) }
    }
}

impl Begun {
    /// Takes a whole line with its LF; gives whether it is the reply's last.
    fn line(&mut self, line: &[u8]) -> Result<bool, ReplyError> {
        if line.len() > REPLY_LINE_MAX {
            return Err(ReplyError::LineTooLong);
        }
        let line = line.strip_suffix(b"\r\n").ok_or(ReplyError::BareLf)?;
        if line.contains(&b'\r') {
            return Err(ReplyError::BareCr);
        }
        let (code, rest) = code(line).ok_or(ReplyError::NoCode)?;
        let last = match rest {
            [] | [b' ', ..] => true,
            [b'-', ..] => false,
            _ => return Err(ReplyError::NoSeparator),
        };
        if self.lines == REPLY_LINES_MAX {
            return Err(ReplyError::TooManyLines);
        }
        if self.lines > 0 && self.code != code {
            return Err(ReplyError::CodesDiffer);
        }
        (self.lines, self.code) = (self.lines + 1, code);
        Ok(last)
    }
}

/// The code at the start of a line, and what stands behind it.
fn code(line: &[u8]) -> Option<(u16, &[u8])> {
    match line {
        [a @ b'2'..=b'5', b @ b'0'..=b'9', c @ b'0'..=b'9', rest @ ..] => {
            let digit = |octet: &u8| u16::from(octet - b'0');
            Some((100 * digit(a) + 10 * digit(b) + digit(c), rest))
        }
        _ => None,
    }
}

/// The text of a line of a checked reply.
fn text(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\r\n").unwrap_or(line);
    line.get(4..).unwrap_or_default()
}

/// One to three digits.
fn number(digits: &[u8]) -> Option<u16> {
    let fits = (1..=3).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    fits.then(|| digits.iter().fold(0, |number, digit| 10 * number + u16::from(digit - b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Read = (Vec<(u16, Vec<Vec<u8>>)>, Option<ReplyError>);

    /// What `input` says, handed over in the pieces that end at `cuts`.
    fn read(input: &[u8], cuts: &[usize]) -> Read {
        let (mut replies, mut read, mut start) = (Replies::new(), Vec::new(), 0);
        for &end in cuts.iter().chain([&input.len()]) {
            let mut piece = &input[start..end];
            start = end;
            loop {
                match replies.next(&mut piece) {
                    Ok(Some(reply)) => read.push((reply.code(), reply.lines().map(<[u8]>::to_vec).collect())),
                    Ok(None) => break,
                    Err(error) => return (read, Some(error)),
                }
            }
            assert!(piece.is_empty());
        }
        (read, None)
    }

    fn error(input: &[u8]) -> Option<ReplyError> {
        let whole = read(input, &[]);
        assert_eq!(read(input, &(0..input.len()).collect::<Vec<_>>()), whole);
        whole.1
    }

    fn only(input: &[u8]) -> Reply<'_> {
        // What the parser held is gone with it, so only replies in one piece can be given on.
        let (mut replies, mut rest) = (Replies::new(), input);
        let code = replies.next(&mut rest).unwrap().unwrap().code();
        assert!(rest.is_empty());
        Reply { code, octets: input }
    }

    #[test]
    fn a_reply_has_one_line_or_many() {
        let (replies, error) = read(b"220 hi\r\n250-a\r\n250-\r\n250 b c\r\n250\r\n250 \r\n354 go", &[]);
        let lines = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec()).collect::<Vec<_>>();
        assert_eq!(
            replies,
            [
                (220, lines(&["hi"])),
                (250, lines(&["a", "", "b c"])),
                (250, lines(&[""])),
                (250, lines(&[""])),
            ]
        );
        assert_eq!(error, None);
    }

    #[test]
    fn what_is_no_reply_is_an_error_that_says_why() {
        assert_eq!(error(b"SSH-2.0-x\r\n"), Some(ReplyError::NoCode));
        assert_eq!(error(b"\r\n"), Some(ReplyError::NoCode));
        assert_eq!(error(b"150 x\r\n"), Some(ReplyError::NoCode));
        assert_eq!(error(b"600 x\r\n"), Some(ReplyError::NoCode));
        assert_eq!(error(b"25\r\n"), Some(ReplyError::NoCode));
        assert_eq!(error(b"2500 x\r\n"), Some(ReplyError::NoSeparator));
        assert_eq!(error(b"250ok\r\n"), Some(ReplyError::NoSeparator));
        assert_eq!(error(b"250 x\n"), Some(ReplyError::BareLf));
        assert_eq!(error(b"250 x\ry\r\n"), Some(ReplyError::BareCr));
        assert_eq!(error(b"250-x\r\n251 y\r\n"), Some(ReplyError::CodesDiffer));
    }

    #[test]
    fn a_line_and_the_number_of_lines_are_bounded() {
        let line = |octets: usize| format!("250 {}\r\n", "x".repeat(octets - 6)).into_bytes();
        assert_eq!(error(&line(REPLY_LINE_MAX)), None);
        assert_eq!(error(&line(REPLY_LINE_MAX + 1)), Some(ReplyError::LineTooLong));
        assert_eq!(error(&vec![b'2'; REPLY_LINE_MAX]), None);
        assert_eq!(error(&vec![b'2'; REPLY_LINE_MAX + 1]), Some(ReplyError::LineTooLong));
        let lines = |count: usize| [b"250-x\r\n".repeat(count - 1), b"250 x\r\n".to_vec()].concat();
        assert_eq!(error(&lines(REPLY_LINES_MAX)), None);
        assert_eq!(error(&lines(REPLY_LINES_MAX + 1)), Some(ReplyError::TooManyLines));
    }

    #[test]
    fn an_enhanced_status_code_is_read_if_it_agrees_with_the_code() {
        let status = |text: &[u8]| only(text).status().map(|status| status.to_string());
        assert_eq!(status(b"250 2.0.0 ok\r\n"), Some("2.0.0".into()));
        assert_eq!(status(b"550-5.1.999 no\r\n550 5.1.999\r\n"), Some("5.1.999".into()));
        assert_eq!(status(b"550 5.1.1\r\n"), Some("5.1.1".into()));
        for none in
            ["250 ok", "250 5.0.0 x", "250 2.0 x", "250 2.0.0.0 x", "250 2.0.1000 x", "250 2..0 x", "250"]
        {
            assert_eq!(status(format!("{none}\r\n").as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn the_last_line_is_given_with_its_code() {
        assert_eq!(only(b"550-a\r\n550 b\r\n").last_line(), b"550 b");
        assert_eq!(only(b"421\r\n").last_line(), b"421");
    }

    #[test]
    fn a_reply_that_came_in_pieces_owns_memory_only_until_the_next() {
        let mut replies = Replies::new();
        assert_eq!(replies.next(&mut &b"250-a\r\n25"[..]), Ok(None));
        assert_eq!(replies.next(&mut &b"0 b\r\n"[..]).unwrap().unwrap().octets, b"250-a\r\n250 b\r\n");
        assert_eq!(replies.next(&mut &b"354 go\r\n"[..]).unwrap().unwrap().code(), 354);
        assert_eq!(replies.held.capacity(), 0);
    }

    proptest! {
        #[test]
        fn any_cut_of_the_octets_gives_the_same_replies(
            words in prop::collection::vec(prop::sample::select(vec![
                "250 2.0.0 ok\r\n", "250-size\r\n", "250 x\r\n", "354 go\r\n", "220\r\n", "25", "0 ", "\r", "\n", "\r\n",
                "-", "text", "\0", "551-y\r\n", "x\r\n",
            ]), 0..40),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let input = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(read(&input, &cuts), read(&input, &[]));
            prop_assert_eq!(read(&input, &(0..input.len()).collect::<Vec<_>>()), read(&input, &[]));
        }

        #[test]
        fn replies_read_back_as_they_were_written(
            written in prop::collection::vec((200..600u16, prop::collection::vec("[ -~]{0,20}", 1..5)), 0..10)
        ) {
            let mut input = Vec::new();
            for (code, lines) in &written {
                for (at, text) in lines.iter().enumerate() {
                    let separator = if at + 1 < lines.len() { '-' } else { ' ' };
                    input.extend(format!("{code}{separator}{text}\r\n").into_bytes());
                }
            }
            let (replies, error) = read(&input, &[]);
            let expected: Vec<_> = written.into_iter()
                .map(|(code, lines)| (code, lines.into_iter().map(String::into_bytes).collect())).collect();
            prop_assert_eq!((replies, error), (expected, None));
        }
    }
}
