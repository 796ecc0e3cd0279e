//! Stored text on its way to a client that reads up to CRLF `.` CRLF: lines end in CRLF, a dot at a line's start is
//! doubled (RFC 1939 3, RFC 5321 4.5.2).
//!
//! A [`Stuffer`] takes the text in parts as they come from the disk and appends to an outbox. What it says does not depend
//! on how the text was cut. The text may be anybody's, so its lines may end in LF alone: that becomes CRLF. A CR that no LF
//! follows is text.
//!
//! ```text
//!   octets stored      H e l l o LF . . x CR LF t o CR o
//!                               │  │                    └ no line end: the end gets one
//!   octets of the wire H e l l o CR LF . . . x CR LF t o CR o CR LF . CR LF
//! ```

use memchr::memchr_iter;

use super::Outbox;

/// Where the text stands between two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// Behind an LF, or at the very start.
    LineStart,
    /// Within a line.
    Text,
    /// Behind a CR.
    Cr,
}

/// Makes stored text fit for the wire.
#[derive(Debug)]
pub struct Stuffer {
    at: At,
}

impl Default for Stuffer {
    fn default() -> Self {
        Stuffer { at: At::LineStart }
    }
}

impl Stuffer {
    /// Appends the next part of the text: at most twice its octets, and one.
    pub fn push(&mut self, part: &[u8], out: &mut Outbox) {
        if self.at == At::LineStart && part.starts_with(b".") {
            out.push(b".");
        }
        let mut said = 0;
        for lf in memchr_iter(b'\n', part) {
            let is_behind_cr = if lf == 0 { self.at == At::Cr } else { part[lf - 1] == b'\r' };
            if !is_behind_cr {
                out.push(&part[said..lf]);
                out.push(b"\r");
                said = lf;
            }
            if part.get(lf + 1) == Some(&b'.') {
                out.push(&part[said..=lf]);
                out.push(b".");
                said = lf + 1;
            }
        }
        out.push(&part[said..]);
        self.at = match part {
            [] => self.at,
            [.., b'\n'] => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Text,
        };
    }

    /// Says that this was all; a last line without its end gets one.
    pub fn end(self, out: &mut Outbox) {
        if self.at != At::LineStart {
            out.push(b"\r\n");
        }
        out.push(b".\r\n");
    }
}

/// Finds where a message's first lines end: its header, the empty line behind it, and so many lines of its body
/// (RFC 1939 7, TOP). Takes the text in parts too.
#[derive(Debug)]
pub struct Top {
    /// Whether the empty line is still to come.
    is_header: bool,
    /// Whether the line so far is empty, but for a CR that may belong to its end.
    line: Begun,
    /// Lines of the body that are still wanted.
    lines: u64,
}

/// What there is of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begun {
    Nothing,
    Cr,
    Text,
}

impl Top {
    /// Of the header and so many lines of the body.
    pub fn new(lines: u64) -> Top {
        Top { is_header: true, line: Begun::Nothing, lines }
    }

    /// How many octets of the next part belong to it, and whether its end is among them.
    pub fn take(&mut self, part: &[u8]) -> (usize, bool) {
        let mut start = 0;
        for lf in memchr_iter(b'\n', part) {
            let is_empty = self.line.and(&part[start..lf]) != Begun::Text;
            (start, self.line) = (lf + 1, Begun::Nothing);
            if !self.is_header {
                self.lines -= 1;
            } else if is_empty {
                self.is_header = false;
            }
            if !self.is_header && self.lines == 0 {
                return (start, true);
            }
        }
        self.line = self.line.and(&part[start..]);
        (part.len(), false)
    }
}

impl Begun {
    /// With more text behind it.
    fn and(self, text: &[u8]) -> Begun {
        match (self, text) {
            (begun, []) => begun,
            (Begun::Nothing, b"\r") => Begun::Cr,
            _ => Begun::Text,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The naive twin: one octet at a time.
    fn naive(text: &[u8]) -> Vec<u8> {
        let (mut said, mut before) = (Vec::new(), b'\n');
        for &octet in text {
            if octet == b'\n' && before != b'\r' {
                said.push(b'\r');
            }
            if octet == b'.' && before == b'\n' {
                said.push(b'.');
            }
            said.push(octet);
            before = octet;
        }
        if before != b'\n' {
            said.extend(b"\r\n");
        }
        said.extend(b".\r\n");
        said
    }

    /// The naive twin of [`Top`]: line by line.
    fn naive_top(text: &[u8], lines: u64) -> Vec<u8> {
        let (mut top, mut left) = (Vec::new(), None);
        for line in text.split_inclusive(|octet| *octet == b'\n') {
            if left == Some(0) {
                break;
            }
            top.extend_from_slice(line);
            match left {
                None if line == b"\n" || line == b"\r\n" => left = Some(lines),
                None => {}
                Some(count) => left = Some(count - 1),
            }
        }
        top
    }

    fn parts<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let starts = [0].into_iter().chain(cuts.iter().copied());
        let ends = cuts.iter().copied().chain([text.len()]);
        starts.zip(ends).map(|(start, end)| &text[start..end]).collect()
    }

    fn stuffed(text: &[u8], cuts: &[usize]) -> Vec<u8> {
        let (mut stuffer, mut out) = (Stuffer::default(), Outbox::new());
        for part in parts(text, cuts) {
            let before = out.pending().len();
            stuffer.push(part, &mut out);
            assert!(out.pending().len() - before <= 2 * part.len() + 1);
        }
        stuffer.end(&mut out);
        out.pending().to_vec()
    }

    fn topped(text: &[u8], lines: u64, cuts: &[usize]) -> Vec<u8> {
        let (mut top, mut taken) = (Top::new(lines), Vec::new());
        for part in parts(text, cuts) {
            let (octets, is_end) = top.take(part);
            taken.extend_from_slice(&part[..octets]);
            if is_end {
                break;
            }
            assert_eq!(octets, part.len());
        }
        taken
    }

    #[test]
    fn lines_end_in_crlf_and_dots_are_doubled_at_their_start_only() {
        for (text, said) in [
            ("", ".\r\n"),
            ("\n", "\r\n.\r\n"),
            (".", "..\r\n.\r\n"),
            ("a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"),
            ("a\r\n..x\r\n", "a\r\n...x\r\n.\r\n"),
            ("a.\rb\r\r\n", "a.\rb\r\r\n.\r\n"),
            ("a\r", "a\r\r\n.\r\n"),
            ("a\r.\r\n", "a\r.\r\n.\r\n"),
        ] {
            assert_eq!(String::from_utf8(stuffed(text.as_bytes(), &[])).unwrap(), said, "{text:?}");
        }
    }

    #[test]
    fn every_short_text_of_the_octets_that_matter_is_said_like_the_naive_twin_says_it() {
        for length in 0..=7u32 {
            for n in 0..4u32.pow(length) {
                let text: Vec<u8> = (0..length).map(|i| b"\r\n.x"[(n >> (2 * i) & 3) as usize]).collect();
                let bytewise: Vec<usize> = (1..text.len()).collect();
                for cuts in [&[][..], &[text.len() / 2], &bytewise] {
                    assert_eq!(stuffed(&text, cuts), naive(&text), "{text:?} {cuts:?}");
                    for lines in 0..3 {
                        assert_eq!(
                            topped(&text, lines, cuts),
                            naive_top(&text, lines),
                            "{text:?} {lines} {cuts:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_top_ends_behind_the_line_that_was_asked_for_last() {
        let text = b"A: b\r\nC: d\n\r\none\r\ntwo\nthree";
        for (lines, octets) in [(0, 13), (1, 18), (2, 22), (3, text.len()), (u64::MAX, text.len())] {
            assert_eq!(topped(text, lines, &[]), &text[..octets], "{lines}");
        }
        assert_eq!(Top::new(0).take(text), (13, true), "nothing more is to be read");
        assert_eq!(Top::new(3).take(text), (text.len(), false));
    }

    proptest! {
        #[test]
        fn any_cut_of_any_text_is_said_like_the_naive_twin_says_it(
            words in prop::collection::vec(
                prop::sample::select(vec!["\r\n", "\n", "\r", ".", "..", "\r\n.\r\n", "x", "text ", "\0", "\n."]), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
            lines in 0..5u64,
        ) {
            let text = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(text.len() + 1)).collect();
            cuts.sort_unstable();
            prop_assert_eq!(stuffed(&text, &cuts), naive(&text));
            prop_assert_eq!(topped(&text, lines, &cuts), naive_top(&text, lines));
        }
    }
}
