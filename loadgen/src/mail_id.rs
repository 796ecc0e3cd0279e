//! The id by which a message is found again: in its first header field, in the ledger, in a mailbox.
//!
//! ```text
//!   X-Loadgen-Id: 0f1e2d3c4b5a69780123456789abcdef
//!                 └─ the run ────┘└─ the message ┘     32 hexadecimal digits, lower case
//! ```
//!
//! Messages are numbered, and the number is scattered over 64 bits: ids of one run are all different, and so far apart
//! that a flipped bit does not make one message's id out of another's.

use std::fmt::{self, Write};
use std::str::FromStr;

/// A run of the generator, by chance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RunId(u64);

impl RunId {
    /// One that no other run has had.
    pub fn random() -> RunId {
        RunId(fastrand::u64(..))
    }

    /// The id of the message with this number in this run.
    pub fn mail(self, number: u64) -> MailId {
        MailId { run: self, mark: scatter(number) }
    }
}

/// A message of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct MailId {
    run: RunId,
    mark: u64,
}

impl MailId {
    /// The run that it is of.
    pub fn run(self) -> RunId {
        self.run
    }

    /// Appends the id's digits, faster than formatting does.
    pub fn push_to(self, text: &mut String) {
        let mut digits = [0; ID_LEN];
        let number = u128::from(self.run.0) << 64 | u128::from(self.mark);
        for (index, octet) in number.to_be_bytes().into_iter().enumerate() {
            digits[2 * index] = HEX[usize::from(octet >> 4)];
            digits[2 * index + 1] = HEX[usize::from(octet & 15)];
        }
        text.push_str(std::str::from_utf8(&digits).expect("hexadecimal digits are text"));
    }

    /// The id in a line of a header, without its line end; none if it is not [`FIELD`], one space more or none, and an
    /// id exactly as we write it.
    pub fn in_field(line: &[u8]) -> Option<MailId> {
        let value = line.strip_prefix(FIELD.as_bytes())?;
        let digits = value.strip_prefix(b" ").unwrap_or(value);
        std::str::from_utf8(digits).ok()?.parse().ok()
    }
}

/// How the field of an id begins, in this case and no other: what writes mail down has no reason to change it.
pub const FIELD: &str = "X-Loadgen-Id: ";

/// Octets of an id as text.
pub const ID_LEN: usize = 32;

/// Octets of the field of an id, with its line end.
pub const FIELD_LEN: usize = FIELD.len() + ID_LEN + 2;

/// What is no id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoId;

impl FromStr for RunId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<RunId, NoId> {
        number(text).map(RunId)
    }
}

impl FromStr for MailId {
    type Err = NoId;

    fn from_str(text: &str) -> Result<MailId, NoId> {
        let (run, mark) = text.split_at_checked(16).ok_or(NoId)?;
        Ok(MailId { run: run.parse()?, mark: number(mark)? })
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Display for MailId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{:016x}", self.run, self.mark)
    }
}

/// Sixteen lower-case hexadecimal digits.
fn number(text: &str) -> Result<u64, NoId> {
    if text.len() != 16 || !text.bytes().all(|octet| HEX.contains(&octet)) {
        return Err(NoId);
    }
    u64::from_str_radix(text, 16).map_err(|_| NoId)
}

/// Another number for each number: neighbours differ in about half of their bits (the finalizer of SplitMix64, each
/// step of which can be undone).
fn scatter(number: u64) -> u64 {
    let mut mark = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mark = (mark ^ (mark >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mark = (mark ^ (mark >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mark ^ (mark >> 31)
}

/// Octets as lower-case hexadecimal digits.
pub(crate) fn hex(octets: &[u8]) -> String {
    let mut text = String::with_capacity(2 * octets.len());
    for octet in octets {
        let _ = write!(text, "{octet:02x}");
    }
    text
}

/// What [`hex`] wrote, if it is as many octets.
pub(crate) fn octets_of_hex<const LEN: usize>(text: &str) -> Option<[u8; LEN]> {
    if text.len() != 2 * LEN || !text.bytes().all(|octet| HEX.contains(&octet)) {
        return None;
    }
    let mut octets = [0; LEN];
    for (octet, digits) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        *octet = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(octets)
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashSet;

    #[test]
    fn an_id_reads_back_in_a_field_and_alone() {
        let id = RunId(0xf1e2_d3c4_b5a6_9780).mail(7);
        let mut text = String::new();
        id.push_to(&mut text);
        assert_eq!(text, id.to_string());
        assert_eq!(text.len(), ID_LEN);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.run().to_string().parse(), Ok(id.run()));
        for space in ["", " "] {
            let field = format!("X-Loadgen-Id: {space}{id}");
            assert_eq!(MailId::in_field(field.as_bytes()), Some(id));
        }
    }

    #[test]
    fn what_is_not_as_we_write_it_is_no_id() {
        let id = RunId(0xabcd).mail(1).to_string();
        for text in [&id[1..], &format!("{id}0"), &id.to_uppercase(), &format!("+{}", &id[1..]), ""] {
            assert_eq!(text.parse::<MailId>(), Err(NoId), "{text}");
        }
        for field in ["x-loadgen-id: ", "X-Loadgen-Id:", "X-Loadgen-Id:   ", " X-Loadgen-Id: "] {
            assert_eq!(MailId::in_field(format!("{field}{id}").as_bytes()), None, "{field}");
        }
        assert_eq!(MailId::in_field(format!("X-Loadgen-Id: {id} ").as_bytes()), None);
        assert_eq!(MailId::in_field(b"X-Loadgen-Id: \xff\xfe"), None);
    }

    #[test]
    fn no_flipped_bit_makes_another_messages_id() {
        let marks: HashSet<u64> = (0..20_000).map(scatter).collect();
        assert_eq!(marks.len(), 20_000);
        let flipped = |mark: &u64| (0..64).any(|bit| marks.contains(&(mark ^ (1 << bit))));
        assert!(!marks.iter().any(flipped));
    }

    proptest! {
        #[test]
        fn hexadecimal_digits_read_back(octets: [u8; 32]) {
            prop_assert_eq!(octets_of_hex(&hex(&octets)), Some(octets));
            prop_assert_eq!(octets_of_hex::<31>(&hex(&octets)), None);
        }
    }
}
