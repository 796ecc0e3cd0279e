//! Trace information: the fields that we add (RFC 5321 4.4), and those that we count to break loops (6.3).

use std::fmt::Write;
use std::net::IpAddr;

use super::Envelope;
use crate::QueueId;

/// What the trace fields of a message tell.
#[derive(Debug)]
pub struct Trace<'a> {
    /// The name that the client gave with EHLO or HELO.
    pub hello: &'a str,
    /// Where the client really is.
    pub client: IpAddr,
    /// Our name.
    pub hostname: &'a str,
    /// How it came (RFC 3848, RFC 6531): SMTP, ESMTP, ESMTPSA and their like.
    pub protocol: &'static str,
    /// The name that we gave it.
    pub id: QueueId,
    /// When, as RFC 5322 3.3 writes it.
    pub date: &'a str,
}

impl Trace<'_> {
    /// Return-Path and Received, as they stand before the content. A recipient is named only if there is but one, for
    /// else one would learn of the other (RFC 5321 7.2).
    pub fn fields(&self, envelope: &Envelope) -> Vec<u8> {
        let Trace { hello, client, hostname, protocol, id, date } = self;
        let mut text = String::with_capacity(FIELDS_USUAL);
        text.push_str("Return-Path: <");
        if let Some(address) = &envelope.reverse_path {
            address.push_to(&mut text);
        }
        for part in [">\r\nReceived: from ", hello, if client.is_ipv6() { " ([IPv6:" } else { " ([" }] {
            text.push_str(part);
        }
        write!(text, "{client}").expect(INFALLIBLE);
        for part in ["])\r\n\tby ", hostname, " with ", protocol, " id "] {
            text.push_str(part);
        }
        write!(text, "{id}").expect(INFALLIBLE);
        if let [only] = &*envelope.forward_paths {
            text.push_str("\r\n\tfor <");
            only.push_to(&mut text);
            text.push('>');
        }
        for part in [";\r\n\t", date, "\r\n"] {
            text.push_str(part);
        }
        text.into_bytes()
    }

    /// As [`fields`](Trace::fields), but of a length that was settled before: spaces before the date, where the line is
    /// folded, mean nothing (RFC 5322 3.2.2).
    pub fn fields_filling(&self, envelope: &Envelope, octets: usize) -> Vec<u8> {
        let mut fields = self.fields(envelope);
        let missing = octets.checked_sub(fields.len()).expect("room was left for the longest queue id");
        let before_date = fields.len() - self.date.len() - "\r\n".len();
        fields.splice(before_date..before_date, std::iter::repeat_n(b' ', missing));
        fields
    }
}

/// Octets that the fields usually have, and some more: one allocation.
const FIELDS_USUAL: usize = 384;
const INFALLIBLE: &str = "a String takes what it is given";

/// Counts the Received fields of a header while it streams by; looks no further than the empty line that ends it.
#[derive(Debug, Default)]
pub struct ReceivedCount {
    at: At,
    fields: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    /// So many octets of the line are there, and so far they are those of "Received:".
    Name(usize),
    /// In a line that is no Received field, or whose name is already counted.
    Line,
    /// Behind a CR that began a line.
    EmptyLine,
    /// Behind the header.
    Content,
}

impl Default for At {
    fn default() -> Self {
        At::Name(0)
    }
}

impl ReceivedCount {
    /// The fields so far.
    pub fn fields(&self) -> u32 {
        self.fields
    }

    /// Reads on.
    pub fn read(&mut self, content: &[u8]) {
        let mut rest = content;
        while let [first, after @ ..] = rest {
            (self.at, rest) = match self.at {
                At::Content => return,
                At::EmptyLine if *first == b'\n' => (At::Content, after),
                At::Name(0) if *first == b'\r' => (At::EmptyLine, after),
                At::Name(matched) if first.eq_ignore_ascii_case(&NAME[matched]) => {
                    let whole = matched + 1 == NAME.len();
                    self.fields += u32::from(whole);
                    (if whole { At::Line } else { At::Name(matched + 1) }, after)
                }
                At::Name(_) | At::EmptyLine => (At::Line, rest),
                At::Line => match crate::wire::line::end(rest) {
                    Some(behind) => (At::Name(0), behind),
                    None => return,
                },
            };
        }
    }
}

const NAME: &[u8] = b"received:";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Address;

    fn trace(client: &str) -> Trace<'static> {
        Trace {
            hello: "client.example",
            client: client.parse().unwrap(),
            hostname: "mx.example",
            protocol: "ESMTP",
            id: QueueId { run: 1, counter: 2 },
            date: "Mon, 23 Nov 2026 22:40:01 +0000",
        }
    }

    #[test]
    fn the_fields_tell_where_a_message_came_from() {
        let address = |text: &str| Address::parse(text.as_bytes()).unwrap();
        let mut envelope = Envelope {
            reverse_path: Some(address("a@b.example")),
            forward_paths: vec![address("c@d.example")],
            ..Envelope::default()
        };
        let text = String::from_utf8(trace("192.0.2.1").fields(&envelope)).unwrap();
        assert_eq!(
            text,
            "Return-Path: <a@b.example>\r\nReceived: from client.example ([192.0.2.1])\r\n\tby mx.example with ESMTP id \
             000000000000000100000002\r\n\tfor <c@d.example>;\r\n\tMon, 23 Nov 2026 22:40:01 +0000\r\n"
        );
        envelope.reverse_path = None;
        envelope.forward_paths.push(address("e@f.example"));
        let text = String::from_utf8(trace("2001:db8::1").fields(&envelope)).unwrap();
        assert!(
            text.starts_with("Return-Path: <>\r\nReceived: from client.example ([IPv6:2001:db8::1])\r\n")
        );
        assert!(!text.contains("for <"), "with two recipients neither is named");
    }

    #[test]
    fn received_fields_are_counted_in_the_header_only_however_it_is_cut() {
        let message = b"RECEIVED: a\r\nX-Received: b\r\n received: c\r\nReceived:d\r\n\r\nReceived: e\r\n";
        for cut in 0..message.len() {
            let mut count = ReceivedCount::default();
            count.read(&message[..cut]);
            count.read(&message[cut..]);
            assert_eq!(count.fields(), 2, "cut at {cut}");
        }
        let mut count = ReceivedCount::default();
        message.iter().for_each(|octet| count.read(&[*octet]));
        assert_eq!(count.fields(), 2);
    }
}
