//! Mail data between 354 and its end: CRLF `.` CRLF and nothing else (RFC 5321 4.1.1.4), dot transparency (4.5.2), bare
//! CR and LF (2.3.8).
//!
//! A [`Scanner`] takes the input as it comes and appends the unstuffed content to a vector. Its answer does not depend
//! on how the input was cut. A stretch without "LF dot" is copied as it is after one vectorised pass that proves every
//! CR to stand before an LF and every LF behind a CR; so what is copied is proven free of smuggling.
//!
//! ```text
//!   octets of the wire   H e l l o CR LF . . x CR LF . CR LF Q U I T
//!                        └── one stretch ─┘│ └─ the next ┘└─ end ─┘└ not consumed
//!                                          └ a stuffed dot, dropped
//! ```

use memchr::memmem;

/// Where the scanner stands between two inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// At the start of a line, behind CRLF or at the very start.
    LineStart,
    /// Within a line.
    Text,
    /// Behind a CR, which is already copied.
    Cr,
    /// Behind a dot at the start of a line, not copied.
    Dot,
    /// Behind such a dot and a CR; neither copied.
    DotCr,
}

/// Finds the end of mail data and undoes dot stuffing.
#[derive(Debug)]
pub struct Scanner {
    at: At,
    bare: bool,
}

impl Default for Scanner {
    fn default() -> Self {
        Scanner { at: At::LineStart, bare: false }
    }
}

/// What a scanner made of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Scan {
    /// Octets that belong to the mail data or its end; all of the input unless `ended`.
    pub consumed: usize,
    /// Whether the end of the data was reached.
    pub ended: bool,
}

impl Scanner {
    /// Whether a CR without LF or an LF without CR was among the data so far. Nothing is copied from then on.
    pub fn has_bare_line_end(&self) -> bool {
        self.bare
    }

    /// Reads mail data from `input`, appending the content to `content` if there is one to append to.
    pub fn scan(&mut self, input: &[u8], mut content: Option<&mut Vec<u8>>) -> Scan {
        // Made once an input: it costs as much as a search through a thousand octets.
        let line_with_dot = memmem::Finder::new(b"\n.");
        let mut rest = input;
        while let [first, after @ ..] = rest {
            match (self.at, first) {
                (At::LineStart, b'.') => (self.at, rest) = (At::Dot, after),
                (At::Dot, b'\r') => (self.at, rest) = (At::DotCr, after),
                (At::DotCr, b'\n') => {
                    self.at = At::LineStart;
                    return Scan { consumed: input.len() - after.len(), ended: true };
                }
                // The dot was stuffed, or stood for itself: either way the first of a line that has more goes.
                (At::Dot, _) => self.at = At::Text,
                // The CR is bare, as the next stretch will find.
                (At::DotCr, _) => self.at = At::Cr,
                (At::LineStart | At::Text | At::Cr, _) => {
                    // Up to and with the first LF that a dot follows.
                    let end = line_with_dot.find(rest).map_or(rest.len(), |at| at + 1);
                    let (stretch, behind) = rest.split_at(end);
                    self.text(stretch, content.as_deref_mut());
                    rest = behind;
                }
            }
        }
        Scan { consumed: input.len(), ended: false }
    }

    /// Takes a stretch that holds "LF dot" nowhere and begins with no dot of a line's start.
    fn text(&mut self, stretch: &[u8], content: Option<&mut Vec<u8>>) {
        self.bare = self.bare || !line_ends_are_paired(stretch, self.at == At::Cr);
        self.at = match stretch {
            [.., b'\r', b'\n'] => At::LineStart,
            [b'\n'] if self.at == At::Cr => At::LineStart,
            [.., b'\r'] => At::Cr,
            _ => At::Text,
        };
        if let Some(content) = content
            && !self.bare
        {
            content.extend_from_slice(stretch);
        }
    }
}

/// Checks chunks of BDAT, which have no end and no dots but must not have bare CR or LF either (unless BINARYMIME).
#[derive(Debug, Default)]
pub struct LineEnds {
    behind_cr: bool,
    bare: bool,
}

impl LineEnds {
    /// Reads on; gives whether all CR and LF so far are paired.
    pub fn check(&mut self, input: &[u8]) -> bool {
        if let [.., last] = input {
            self.bare = self.bare || !line_ends_are_paired(input, self.behind_cr);
            self.behind_cr = *last == b'\r';
        }
        !self.bare
    }

    /// Whether a CR still waits for its LF.
    pub fn is_open(&self) -> bool {
        self.behind_cr
    }
}

/// Whether every CR of `input` stands before an LF and every LF behind a CR. `behind_cr`: the octet before the input was
/// a CR. A CR at the very end is not judged.
///
/// One pass without branches over pairs of neighbours, which the compiler vectorises.
pub fn line_ends_are_paired(input: &[u8], behind_cr: bool) -> bool {
    let Some(first) = input.first() else {
        return true;
    };
    if (*first == b'\n') != behind_cr {
        return false;
    }
    let mut clean = true;
    // Blocks, so that a dirty megabyte is left early and the flag stays in a register.
    for start in (0..input.len() - 1).step_by(BLOCK) {
        let end = (start + BLOCK).min(input.len() - 1);
        let crs = &input[start..end];
        let lfs = &input[start + 1..=end];
        let unpaired = crs
            .iter()
            .zip(lfs)
            .fold(0u8, |bad, (cr, lf)| bad | (u8::from(*cr == b'\r') ^ u8::from(*lf == b'\n')));
        clean &= unpaired == 0;
        if !clean {
            break;
        }
    }
    clean
}

const BLOCK: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The naive twin: one octet at a time, straight from the RFC. Gives content, what is left, and whether it is bad;
    /// none without an end.
    fn naive(input: &[u8]) -> Option<(Vec<u8>, usize, bool)> {
        let (mut content, mut line_start, mut bare) = (Vec::new(), true, false);
        let mut i = 0;
        while i < input.len() {
            if line_start && input[i..].starts_with(b".\r\n") {
                return Some((content, i + 3, bare));
            }
            if line_start && input[i] == b'.' {
                i += 1;
                line_start = false;
                continue;
            }
            let cr_before = i > 0 && input[i - 1] == b'\r';
            bare |= input[i] == b'\n' && !cr_before;
            bare |= input[i] == b'\r' && i + 1 < input.len() && input[i + 1] != b'\n';
            line_start = input[i] == b'\n' && cr_before;
            content.push(input[i]);
            i += 1;
        }
        None
    }

    fn in_pieces(input: &[u8], cuts: &[usize]) -> Option<(Vec<u8>, usize, bool)> {
        let (mut scanner, mut content, mut start) = (Scanner::default(), Vec::new(), 0);
        for &end in cuts.iter().chain([&input.len()]) {
            let scan = scanner.scan(&input[start..end], Some(&mut content));
            start += scan.consumed;
            if scan.ended {
                return Some((content, start, scanner.has_bare_line_end()));
            }
            assert_eq!(start, end);
        }
        None
    }

    fn agree(input: &[u8], cuts: &[usize]) {
        match (naive(input), in_pieces(input, cuts)) {
            (Some((content, end, false)), found) => {
                assert_eq!(found, Some((content, end, false)), "{input:?} {cuts:?}")
            }
            (Some((_, end, true)), found) => {
                assert_eq!(found.map(|(_, end, bare)| (end, bare)), Some((end, true)), "{input:?} {cuts:?}")
            }
            (None, found) => assert_eq!(found, None, "{input:?} {cuts:?}"),
        }
    }

    #[test]
    fn a_dot_split_across_reads_ends_the_data() {
        let input = b"one\r\n.\r\nQUIT\r\n";
        for cut in 0..=input.len() {
            agree(input, &[cut]);
        }
        agree(input, &(0..input.len()).collect::<Vec<_>>());
        assert_eq!(in_pieces(input, &[]), Some((b"one\r\n".to_vec(), 8, false)));
    }

    #[test]
    fn every_short_sequence_of_the_four_octets_that_matter_is_judged_like_the_naive_twin() {
        // All words of length 1 to 8 over CR, LF, dot and a letter, each with the true end behind it.
        for length in 1..=8u32 {
            for n in 0..4u32.pow(length) {
                let word = (0..length).map(|i| b"\r\n.x"[(n >> (2 * i) & 3) as usize]);
                let input: Vec<u8> = word.chain(*b"\r\n.\r\nQ").collect();
                agree(&input, &[]);
                agree(&input, &[length as usize / 2, length as usize]);
                agree(&input, &(1..input.len()).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn a_message_may_be_empty_and_a_dot_may_stand_anywhere_else() {
        assert_eq!(in_pieces(b".\r\n", &[]), Some((vec![], 3, false)));
        assert_eq!(in_pieces(b"..\r\n.\r\n", &[]), Some((b".\r\n".to_vec(), 7, false)));
        assert_eq!(in_pieces(b".x\r\na.\r\n.\r\n", &[]), Some((b"x\r\na.\r\n".to_vec(), 11, false)));
        assert_eq!(in_pieces(b"a\n.\r\n\r\n.\r\n", &[]).map(|(_, end, bare)| (end, bare)), Some((10, true)));
    }

    #[test]
    fn pairs_are_checked_across_block_borders() {
        for at in [BLOCK - 2, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK] {
            let mut input = vec![b'x'; 3 * BLOCK];
            input[at] = b'\r';
            assert!(!line_ends_are_paired(&input, false), "CR at {at}");
            input[at + 1] = b'\n';
            assert!(line_ends_are_paired(&input, false), "CRLF at {at}");
            input[at] = b'x';
            assert!(!line_ends_are_paired(&input, false), "LF at {}", at + 1);
        }
    }

    proptest! {
        #[test]
        fn any_cut_of_any_data_is_judged_like_the_naive_twin(
            words in prop::collection::vec(
                prop::sample::select(vec!["\r\n", "\n", "\r", ".", "..", "\r\n.\r\n", "x", "text ", "\0", "\r\n."]), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let input = words.concat().into_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
            cuts.sort_unstable();
            agree(&input, &cuts);
        }

        #[test]
        fn line_ends_are_judged_the_same_however_they_are_cut(
            input in prop::collection::vec(prop::sample::select(vec![b'\r', b'\n', b'x']), 0..40), cut in 0..40usize,
        ) {
            let cut = cut.min(input.len());
            let mut pieces = LineEnds::default();
            pieces.check(&input[..cut]);
            let paired = pieces.check(&input[cut..]) && !pieces.is_open();
            let naive = input.iter().enumerate().all(|(i, b)| match b {
                b'\r' => input.get(i + 1) == Some(&b'\n'),
                b'\n' => i > 0 && input[i - 1] == b'\r',
                _ => true,
            });
            prop_assert_eq!(paired, naive);
        }
    }
}
