//! The records of a batch: messages and settlements. Every number is little-endian.
//!
//! ```text
//! message                                      settlement
//!   0  kind           1  = 1, or 3 spilled       0  kind    1  = 2
//!   1  body           1  0 7BIT, 1 8BITMIME,     1  zero    3
//!                        2 BINARYMIME            4  ranges  4
//!   2  flags          1  bit 0: SMTPUTF8,        8  ranges: run 8, first 8, last 8
//!                        bit 1: reverse path
//!   3  zero           1
//!   4  crc            4  crc32c of all the record but this field
//!   8  run, counter  16  the queue id
//!  24  arrived        8  seconds since 1970
//!  32  envelope       8  octets of it
//!  40  trace          8  octets of it
//!  48  data           8  octets of it
//!  56  envelope: the reverse path if there is one, the forward paths; each as
//!      local part 4, domain 4 (octets of them), local part, domain
//!      trace
//!      data; of a spilled message instead of it: run 8, number 8 (the file's name), crc 4 (of the data), zero 4
//! ```
//!
//! The message has a checksum of its own, beside its batch's, because the courier reads messages and not batches. What
//! stands before the data is the message's *head*: it is encoded when the message is appended; the data is never copied.

use super::header::{Checksum, Fields};
use super::spill::{SPILLED, Spilled};
use super::{Stored, Summary};
use crate::QueueId;
use crate::smtp::{Address, Body, Envelope, Message};

/// Octets of a message record before its envelope.
pub(super) const MESSAGE: usize = 56;
/// Octets of a settlement before its ranges, and of each of them.
pub(super) const SETTLEMENT: usize = 8;
pub(super) const RANGE: usize = 24;

const KIND_MESSAGE: u8 = 1;
const KIND_SETTLEMENT: u8 = 2;
const KIND_SPILLED: u8 = 3;
const SMTPUTF8: u8 = 1;
const REVERSE_PATH: u8 = 2;
const CRC: std::ops::Range<usize> = 4..8;

/// Queue ids of one run that follow each other, ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct IdRange {
    pub run: u64,
    pub first: u64,
    pub last: u64,
}

/// Octets of the record of a message with so many octets of data, or of words on its file.
pub(super) fn size(message: &Message, data: usize) -> u64 {
    (MESSAGE + envelope_size(&message.envelope) + message.trace.len() + data) as u64
}

fn envelope_size(envelope: &Envelope) -> usize {
    let addresses = envelope.reverse_path.iter().chain(&envelope.forward_paths);
    addresses.map(|address| 8 + address.local_part().len() + address.domain().len()).sum()
}

/// Appends a message's head to `heads`; its data, or what is to be said of its file, comes behind it in the log. The
/// checksum is left for [`seal`].
pub(super) fn encode_head(
    heads: &mut Vec<u8>,
    id: QueueId,
    arrived: u64,
    message: &Message,
    spilled: Option<&Spilled>,
) {
    let (kind, data) = match spilled {
        None => (KIND_MESSAGE, message.data.len() as u64),
        Some(spilled) => (KIND_SPILLED, spilled.octets()),
    };
    let Envelope { reverse_path, forward_paths, body, smtputf8 } = &message.envelope;
    let body = match body {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    };
    let flags = if *smtputf8 { SMTPUTF8 } else { 0 } | if reverse_path.is_some() { REVERSE_PATH } else { 0 };
    let envelope = envelope_size(&message.envelope);
    heads.reserve(MESSAGE + envelope + message.trace.len());
    heads.extend([kind, body, flags, 0, 0, 0, 0, 0]);
    for number in [id.run, id.counter, arrived, envelope as u64, message.trace.len() as u64, data] {
        heads.extend(number.to_le_bytes());
    }
    for address in reverse_path.iter().chain(forward_paths) {
        heads.extend((address.local_part().len() as u32).to_le_bytes());
        heads.extend((address.domain().len() as u32).to_le_bytes());
        heads.extend(address.local_part().as_bytes());
        heads.extend(address.domain().as_bytes());
    }
    heads.extend(&message.trace);
}

/// Writes the checksum of a message into its head.
pub(super) fn seal(head: &mut [u8], data: &[u8]) {
    let crc = message_crc(head, data);
    head[CRC].copy_from_slice(&crc.to_le_bytes());
}

fn message_crc(head: &[u8], data: &[u8]) -> u32 {
    Checksum::default().add(&head[..CRC.start]).add(&head[CRC.end..]).add(data).value()
}

/// A settlement of the ranges.
pub(super) fn encode_settlement(ranges: &[IdRange]) -> Vec<u8> {
    let mut record = Vec::with_capacity(SETTLEMENT + RANGE * ranges.len());
    record.extend([KIND_SETTLEMENT, 0, 0, 0]);
    record.extend((ranges.len() as u32).to_le_bytes());
    for range in ranges {
        for number in [range.run, range.first, range.last] {
            record.extend(number.to_le_bytes());
        }
    }
    record
}

/// What the beginning of a record says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outline {
    Message {
        id: QueueId,
        /// Octets of the whole record.
        size: u64,
        /// Whether the data is in a file, which the record's last [`SPILLED`] octets tell of.
        is_spilled: bool,
    },
    Settlement {
        ranges: u32,
    },
}

/// Reads the first octets of a record ([`MESSAGE`] of them, or what the batch has). None for what is no record.
pub(super) fn outline(octets: &[u8]) -> Option<Outline> {
    match *octets.first()? {
        kind @ (KIND_MESSAGE | KIND_SPILLED) => {
            let mut fields = Fields(octets.get(CRC.end..MESSAGE)?);
            let id = QueueId { run: fields.u64()?, counter: fields.u64()? };
            let _arrived = fields.u64()?;
            let (envelope, trace, data) = (fields.u64()?, fields.u64()?, fields.u64()?);
            let is_spilled = kind == KIND_SPILLED;
            let behind = if is_spilled { SPILLED as u64 } else { data };
            let size = (MESSAGE as u64).checked_add(envelope)?.checked_add(trace)?.checked_add(behind)?;
            Some(Outline::Message { id, size, is_spilled })
        }
        KIND_SETTLEMENT => Some(Outline::Settlement { ranges: Fields(octets.get(4..SETTLEMENT)?).u32()? }),
        _ => None,
    }
}

/// Reads one range of a settlement.
pub(super) fn decode_range(octets: &[u8]) -> Option<IdRange> {
    let mut fields = Fields(octets);
    Some(IdRange { run: fields.u64()?, first: fields.u64()?, last: fields.u64()? })
}

/// Reads a whole message record. None if its checksum or its lengths are wrong.
pub(super) fn decode_message(mut record: Vec<u8>) -> Option<Stored> {
    let is_spilled = match *record.first()? {
        KIND_MESSAGE => false,
        KIND_SPILLED => true,
        _ => return None,
    };
    if record.len() < MESSAGE {
        return None;
    }
    if record[CRC] != message_crc(&record, &[]).to_le_bytes() {
        return None;
    }
    let (body, flags) = (record[1], record[2]);
    let mut fields = Fields(&record[CRC.end..]);
    let id = QueueId { run: fields.u64()?, counter: fields.u64()? };
    let arrived = fields.u64()?;
    let (envelope, trace, data) = (fields.u64()?, fields.u64()?, fields.u64()?);
    let mut addresses = Fields(fields.octets(envelope)?);
    let trace = fields.octets(trace)?.to_vec();
    let behind = fields.0.len();
    if behind as u64 != if is_spilled { SPILLED as u64 } else { data } {
        return None;
    }
    let spilled = if is_spilled { Some(Spilled::decode(fields.0, data)?) } else { None };
    let envelope = decode_envelope(body, flags, &mut addresses)?;
    let head = record.len() - behind;
    record.drain(..if is_spilled { record.len() } else { head });
    Some(Stored { id, arrived, message: Message { envelope, trace, data: record }, spilled })
}

fn decode_envelope(body: u8, flags: u8, addresses: &mut Fields<'_>) -> Option<Envelope> {
    let reverse_path = if flags & REVERSE_PATH != 0 { Some(decode_address(addresses)?) } else { None };
    let mut forward_paths = Vec::new();
    while !addresses.0.is_empty() {
        forward_paths.push(decode_address(addresses)?);
    }
    let body = match body {
        0 => Body::SevenBit,
        1 => Body::EightBitMime,
        2 => Body::BinaryMime,
        _ => return None,
    };
    Some(Envelope { reverse_path, forward_paths, body, smtputf8: flags & SMTPUTF8 != 0 })
}

/// Octets of a message's record up to its envelope's end. None if these are no message's first ones.
pub(super) fn envelope_end(octets: &[u8]) -> Option<u64> {
    match outline(octets)? {
        Outline::Message { .. } => Fields(octets.get(32..40)?).u64()?.checked_add(MESSAGE as u64),
        Outline::Settlement { .. } => None,
    }
}

/// What the beginning of a message's record says, up to [`envelope_end`]. Nothing is checked but the lengths.
pub(super) fn summary(octets: &[u8]) -> Option<Summary> {
    let mut fields = Fields(octets.get(CRC.end..envelope_end(octets)? as usize)?);
    let id = QueueId { run: fields.u64()?, counter: fields.u64()? };
    let (arrived, _envelope) = (fields.u64()?, fields.u64()?);
    let octets_of_content = fields.u64()?.checked_add(fields.u64()?)?;
    let envelope = decode_envelope(octets[1], octets[2], &mut fields)?;
    Some(Summary { id, arrived, envelope, octets: octets_of_content })
}

fn decode_address(fields: &mut Fields<'_>) -> Option<Address> {
    let (local_part, domain) = (fields.u32()?, fields.u32()?);
    let local_part = std::str::from_utf8(fields.octets(local_part.into())?).ok()?;
    let domain = std::str::from_utf8(fields.octets(domain.into())?).ok()?;
    Some(Address::new(local_part, domain))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encode(id: QueueId, arrived: u64, message: &Message) -> Vec<u8> {
        let mut record = Vec::new();
        encode_head(&mut record, id, arrived, message, None);
        seal(&mut record, &message.data);
        record.extend(&message.data);
        record
    }

    prop_compose! {
        fn address()(local_part in "[a-zé@\" ]{1,9}", domain in "[a-z.]{1,9}") -> Address {
            Address::new(&local_part, &domain)
        }
    }

    prop_compose! {
        fn message()(
            reverse_path in proptest::option::of(address()),
            forward_paths in proptest::collection::vec(address(), 0..4),
            body in prop_oneof![Just(Body::SevenBit), Just(Body::EightBitMime), Just(Body::BinaryMime)],
            smtputf8: bool,
            trace in proptest::collection::vec(any::<u8>(), 0..40),
            data in proptest::collection::vec(any::<u8>(), 0..90),
        ) -> Message {
            Message { envelope: Envelope { reverse_path, forward_paths, body, smtputf8 }, trace, data }
        }
    }

    proptest! {
        #[test]
        fn a_message_reads_back_as_written(message in message(), run: u64, counter: u64, arrived: u64) {
            let id = QueueId { run, counter };
            let record = encode(id, arrived, &message);
            prop_assert_eq!(size(&message, message.data.len()), record.len() as u64);
            prop_assert_eq!(outline(&record), Some(Outline::Message { id, size: record.len() as u64, is_spilled: false }));
            prop_assert_eq!(decode_message(record), Some(Stored { id, arrived, message, spilled: None }));
        }

        #[test]
        fn a_message_with_a_flipped_bit_or_cut_short_is_none(message in message(), bit: prop::sample::Index) {
            let record = encode(QueueId { run: 1, counter: 2 }, 3, &message);
            let bit = bit.index(record.len() * 8);
            let mut flipped = record.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(decode_message(flipped), None);
            prop_assert_eq!(decode_message(record[..bit / 8].to_vec()), None);
        }

        #[test]
        fn any_octets_are_read_without_harm(octets in proptest::collection::vec(any::<u8>(), 0..120), kind in 0u8..4) {
            let record = [&[kind][..], &octets].concat();
            let _ = (outline(&record), decode_range(&record), summary(&record), decode_message(record));
        }
    }

    #[test]
    fn a_settlement_reads_back_as_written() {
        let ranges = [IdRange { run: 1, first: 2, last: 3 }, IdRange { run: u64::MAX, first: 9, last: 9 }];
        let record = encode_settlement(&ranges);
        assert_eq!(outline(&record), Some(Outline::Settlement { ranges: 2 }));
        let read: Vec<_> =
            record[SETTLEMENT..].chunks(RANGE).map(|octets| decode_range(octets).unwrap()).collect();
        assert_eq!(read, ranges);
    }
}
