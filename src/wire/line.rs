//! Finding a command line: up to LF, which a CR must precede (RFC 5321 2.3.8).
//!
//! The line is a borrowed slice of the input. The caller remembers how far an incomplete line was searched, so no octet
//! is searched twice however slowly a client types.

use memchr::{memchr, memchr_iter};

/// What stands at the start of the input.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// A line that ends in CRLF and has no other CR; without its CRLF.
    Whole(&'a [u8]),
    /// A line with a CR that no LF follows, up to its CRLF; so many octets with it.
    BareCr(usize),
    /// A line that an LF without CR interrupts; so many octets with that LF.
    BareLf(usize),
    /// No end yet.
    Partial,
}

/// Looks for the end of the line at the start of `input`, whose first `searched` octets hold no LF.
pub fn find(input: &[u8], searched: usize) -> Line<'_> {
    let Some(lf) = memchr(b'\n', &input[searched..]).map(|at| at + searched) else {
        return Line::Partial;
    };
    match input[..lf].strip_suffix(b"\r") {
        None => Line::BareLf(lf + 1),
        Some(line) if memchr(b'\r', line).is_some() => Line::BareCr(lf + 1),
        Some(line) => Line::Whole(line),
    }
}

/// How many octets of `input` belong to a line that is to be thrown away, up to and with the first CRLF, and whether it
/// was found. A CR at the end of the input is left, for its LF may follow.
pub fn skip(input: &[u8]) -> (usize, bool) {
    for lf in memchr_iter(b'\n', input) {
        if lf > 0 && input[lf - 1] == b'\r' {
            return (lf + 1, true);
        }
    }
    (input.len() - usize::from(input.ends_with(b"\r")), false)
}

/// What stands behind the first LF.
pub fn end(input: &[u8]) -> Option<&[u8]> {
    memchr(b'\n', input).map(|lf| &input[lf + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_in_crlf_and_nothing_else() {
        assert_eq!(find(b"NOOP\r\nX", 0), Line::Whole(b"NOOP"));
        assert_eq!(find(b"\r\n", 0), Line::Whole(b""));
        assert_eq!(find(b"NOOP\nNOOP\r\n", 0), Line::BareLf(5));
        assert_eq!(find(b"\n", 0), Line::BareLf(1));
        assert_eq!(find(b"NO\rOP\r\n", 0), Line::BareCr(7));
        assert_eq!(find(b"NOOP\r\r\n", 0), Line::BareCr(7));
        assert_eq!(find(b"NOOP\r", 0), Line::Partial);
        assert_eq!(find(b"", 0), Line::Partial);
    }

    #[test]
    fn the_search_goes_on_where_it_stopped() {
        assert_eq!(find(b"NOOP\r\n", 5), Line::Whole(b"NOOP"));
        assert_eq!(find(b"NOOP", 4), Line::Partial);
    }

    #[test]
    fn a_line_thrown_away_ends_at_its_crlf_wherever_it_is_cut() {
        let input = b"\n\rx\n\r\r\nNOOP\r\n";
        assert_eq!(skip(input), (7, true));
        for cut in 0..7 {
            let (first, found) = skip(&input[..cut]);
            assert!(!found && first <= cut);
            assert_eq!(skip(&input[first..]), (7 - first, true), "cut at {cut}");
        }
    }
}
