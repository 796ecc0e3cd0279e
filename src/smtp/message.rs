//! A message and its envelope: what a client hands over and a 250 answers for.

use super::Address;

/// What the mail data may contain, as the client declared with BODY= (RFC 6152, RFC 3030).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Body {
    /// BODY=7BIT, or nothing said.
    #[default]
    SevenBit,
    /// BODY=8BITMIME.
    EightBitMime,
    /// BODY=BINARYMIME: any octets, by BDAT only.
    BinaryMime,
}

/// Who sent a message and who is to have it (RFC 5321 2.3.1).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Envelope {
    /// Where reports go; none for the null reverse-path `<>`.
    pub reverse_path: Option<Address>,
    /// The recipients, as accepted, in order; repeats and all.
    pub forward_paths: Vec<Address>,
    /// What the mail data may contain.
    pub body: Body,
    /// Whether the client asked for SMTPUTF8 (RFC 6531), so that addresses and header may be UTF-8.
    pub smtputf8: bool,
}

/// A message: envelope and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Sender and recipients.
    pub envelope: Envelope,
    /// The trace fields that we put before the content: Return-Path and Received, with their line ends. Empty until
    /// the message has its queue id, which Received names.
    pub trace: Vec<u8>,
    /// The mail data: unstuffed, and otherwise as it came.
    pub data: Vec<u8>,
}

impl Message {
    /// Octets of memory that it takes.
    pub fn memory(&self) -> usize {
        let addresses = self.envelope.reverse_path.iter().chain(&self.envelope.forward_paths);
        let envelope: usize = addresses.map(Address::size).sum();
        envelope + self.trace.capacity() + self.data.capacity()
    }
}
