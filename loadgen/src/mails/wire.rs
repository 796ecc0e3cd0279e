//! Content in the form in which it goes over the wire, made once and shared by all messages that have it.

use std::sync::Arc;

use fastsmtp::smtp::client::{Data, Form, stuff};
use sha2::{Digest, Sha256};

/// Content, or filler of which messages take the tail.
#[derive(Debug)]
pub struct Wire {
    form: Form,
    octets: Arc<[u8]>,
    /// Where in `octets` the dots stand that stuffing put there.
    added: Vec<usize>,
}

impl Wire {
    /// Of `content`, which is empty or ends with CRLF, and whose line ends are all CRLF.
    pub fn new(content: Vec<u8>, form: Form) -> Wire {
        let Form::Stuffed = form else {
            return Wire { form, octets: content.into(), added: Vec::new() };
        };
        let mut stuffed = Vec::with_capacity(content.len() + content.len() / 64 + END.len());
        stuff(&content, &mut stuffed);
        let data = &stuffed[..stuffed.len() - END.len()];
        let added = line_starts(data).filter(|start| data[*start] == b'.').collect::<Vec<_>>();
        assert_eq!(data.len() - added.len(), content.len(), "stuffing adds dots to whole lines");
        Wire { form, added, octets: stuffed.into() }
    }

    /// Octets of the content: unstuffed, without the end of data.
    pub fn len(&self) -> usize {
        self.data_len() - self.added.len()
    }

    /// `head` and what stands from the octet `from` on. A head stands on whole lines that begin with no dot.
    pub fn data(&self, head: String, from: usize) -> Data {
        Data::shared(self.form, head.into_bytes(), Arc::clone(&self.octets), from)
    }

    /// The hash of what [`data`](Self::data) of the same arguments is: unstuffed, without the end of data.
    pub fn sha256(&self, head: &str, from: usize) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(head);
        let mut at = from;
        for dot in self.added.iter().filter(|dot| **dot >= from) {
            hash.update(&self.octets[at..*dot]);
            at = dot + 1;
        }
        hash.update(&self.octets[at..self.data_len()]);
        hash.finalize().into()
    }

    fn data_len(&self) -> usize {
        match self.form {
            Form::Stuffed => self.octets.len() - END.len(),
            Form::Chunk => self.octets.len(),
        }
    }
}

/// Where lines begin.
fn line_starts(data: &[u8]) -> impl Iterator<Item = usize> {
    let behind_line_ends =
        data.iter().enumerate().filter(|(_, octet)| **octet == b'\n').map(|(at, _)| at + 1);
    std::iter::once(0).chain(behind_line_ends).filter(|start| *start < data.len())
}

/// The end of data, behind a line's end (RFC 5321 4.1.1.4).
const END: &[u8] = b".\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn the_hash_is_of_the_content_whatever_the_form(lines in prop::collection::vec("[.a]{0,3}", 0..20)) {
            let content: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let expected: [u8; 32] = Sha256::digest(format!("A: b\r\n{content}")).into();
            for form in [Form::Stuffed, Form::Chunk] {
                let wire = Wire::new(content.clone().into_bytes(), form);
                prop_assert_eq!(wire.sha256("A: b\r\n", 0), expected);
                prop_assert_eq!(wire.len(), content.len());
            }
        }
    }
}
