//! A file of a mailbox: which message it is, and the hash of its content as it was sent.
//!
//! ```text
//!   Return-Path, Received ...        trace fields, which servers put in front: not looked at
//!   X-Loadgen-Id: 0f1e...cdef        from here on hashed
//!   ...
//! ```
//!
//! If the line of the id ends with CRLF, the file is hashed as it is; if it ends with a bare LF, its server stores lines
//! so, and every LF is hashed as CRLF.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

use crate::mail_id::MailId;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// Which message.
    pub id: MailId,
    /// Octets of its content, line ends CRLF.
    pub octets: u64,
    /// Of these octets.
    pub sha256: [u8; 32],
}

/// Reads one file after the other, with one buffer.
pub struct Examiner {
    buffer: Vec<u8>,
}

impl Examiner {
    pub fn new() -> Examiner {
        Examiner { buffer: vec![0; BUFFER] }
    }

    /// Reads a file to its end. None if there is no id in its header, or not within the first [`BUFFER`] octets.
    pub fn examine(&mut self, mut file: impl Read) -> io::Result<Option<Found>> {
        let mut filled = fill(&mut file, &mut self.buffer)?;
        let Some((id, at, line_end)) = find_id(&self.buffer[..filled]) else { return Ok(None) };
        let mut content = Content { hash: Sha256::new(), octets: 0, line_end };
        content.take(&self.buffer[at..filled]);
        while filled == self.buffer.len() {
            filled = fill(&mut file, &mut self.buffer)?;
            content.take(&self.buffer[..filled]);
        }
        Ok(Some(Found { id, octets: content.octets, sha256: content.hash.finalize().into() }))
    }
}

/// How the lines of a file end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineEnd {
    CrLf,
    Lf,
}

struct Content {
    hash: Sha256,
    octets: u64,
    line_end: LineEnd,
}

impl Content {
    fn take(&mut self, octets: &[u8]) {
        if self.line_end == LineEnd::CrLf {
            return self.update(octets);
        }
        for line in octets.split_inclusive(|octet| *octet == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    self.update(text);
                    self.update(b"\r\n");
                }
                None => self.update(line),
            }
        }
    }

    fn update(&mut self, octets: &[u8]) {
        self.hash.update(octets);
        self.octets += octets.len() as u64;
    }
}

/// The id in a file's header, where its line begins, and how it ends.
fn find_id(start: &[u8]) -> Option<(MailId, usize, LineEnd)> {
    let mut at = 0;
    for line in start.split_inclusive(|octet| *octet == b'\n') {
        let (text, line_end) = match line.strip_suffix(b"\r\n") {
            Some(text) => (text, LineEnd::CrLf),
            None => (line.strip_suffix(b"\n").unwrap_or(line), LineEnd::Lf),
        };
        if text.is_empty() {
            return None;
        }
        if let Some(id) = MailId::in_field(text) {
            return Some((id, at, line_end));
        }
        at += line.len();
    }
    None
}

/// Reads until the buffer is full or the file at its end.
fn fill(file: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// Octets read at once, and within which an id has to begin: trace fields are a few thousand at the most.
const BUFFER: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mail_id::RunId;
    use proptest::prelude::*;

    const TRACE: &str = "Return-Path: <a@x>\r\nReceived: from b\r\n\tby c\r\n";

    fn content(id: MailId) -> String {
        format!("X-Loadgen-Id: {id}\r\nSubject: s\r\n\r\nA line\r\n.dot\r\n\r\nlast\r\n")
    }

    fn examined(file: &[u8]) -> Option<Found> {
        Examiner::new().examine(file).unwrap()
    }

    fn whole(id: MailId) -> Found {
        let content = content(id);
        Found { id, octets: content.len() as u64, sha256: Sha256::digest(&content).into() }
    }

    #[test]
    fn content_is_found_behind_trace_fields_and_with_either_line_end() {
        let id = RunId::random().mail(1);
        let file = format!("{TRACE}{}", content(id));
        assert_eq!(examined(file.as_bytes()), Some(whole(id)));
        assert_eq!(examined(file.replace("\r\n", "\n").as_bytes()), Some(whole(id)));
        assert_eq!(examined(content(id).as_bytes()), Some(whole(id)));
    }

    #[test]
    fn a_flipped_bit_anywhere_in_the_content_is_seen() {
        let id = RunId::random().mail(1);
        for line_end in ["\r\n", "\n"] {
            let (trace, content) = (TRACE.replace("\r\n", line_end), content(id).replace("\r\n", line_end));
            let file = [trace.as_bytes(), content.as_bytes()].concat();
            let id_line = trace.len()..trace.len() + content.find('\n').unwrap() + 1;
            for at in trace.len()..file.len() {
                for bit in 0..8 {
                    let mut flipped = file.clone();
                    flipped[at] ^= 1 << bit;
                    let found = examined(&flipped);
                    assert_ne!(found, Some(whole(id)), "octet {at}, bit {bit}");
                    let as_id = found.filter(|found| found.id == id);
                    assert_eq!(as_id.is_none(), id_line.contains(&at), "octet {at}, bit {bit}");
                }
            }
        }
    }

    #[test]
    fn a_file_cut_short_or_made_longer_is_seen() {
        let id = RunId::random().mail(1);
        let file = content(id);
        (0..file.len())
            .for_each(|end| assert_ne!(examined(&file.as_bytes()[..end]), Some(whole(id)), "{end}"));
        assert_ne!(examined(format!("{file}\0").as_bytes()), Some(whole(id)));
    }

    #[test]
    fn an_id_beyond_the_header_is_none() {
        let id = RunId::random().mail(1);
        assert_eq!(examined(format!("A: b\r\n\r\n{}", content(id)).as_bytes()), None);
        assert_eq!(examined(format!("A: b\n\n{}", content(id)).as_bytes()), None);
        assert_eq!(examined(b""), None);
    }

    #[test]
    fn a_file_larger_than_the_buffer_is_read_to_its_last_octet() {
        let id = RunId::random().mail(1);
        for octets in [BUFFER - 1, BUFFER, BUFFER + 1, 3 * BUFFER] {
            let mut large = content(id).into_bytes();
            large.resize(octets, b'x');
            let expected = Found { id, octets: octets as u64, sha256: Sha256::digest(&large).into() };
            assert_eq!(examined(&large), Some(expected));
            *large.last_mut().unwrap() ^= 1;
            assert_ne!(examined(&large), Some(expected));
        }
    }

    proptest! {
        #[test]
        fn no_file_is_too_strange_to_be_examined(file in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = examined(&file);
        }
    }
}
