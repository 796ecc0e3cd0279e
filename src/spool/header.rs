//! Where things stand in the log, and the header of a batch. Every number is little-endian.
//!
//! ```text
//!   0  magic             8   "fsSpool\n"
//!   8  version           2   of the format: 2
//!  10  flags             2   bit 0: settled at commit, needs no delivery
//!  12  records           4
//!  16  nonce             8   of this use of the segment, as in its file name
//!  24  sequence          8   of the batch: grows by one over the whole log, for ever
//!  32  segment           8 ┐ where this batch stands
//!  40  offset            8 ┘
//!  48  length            8   octets of the batch, this header included, padding not
//!  56  previous segment  8 ┐
//!  64  previous offset   8 │ the batch before it; all zero in the first batch of a log
//!  72  previous crc      4 ┘
//!  76  head segment      8 ┐ the oldest batch that holds an unsettled message; this one if none older does
//!  84  head offset       8 ┘
//!  92  crc               4   crc32c of all the batch but this field
//!  96  records, then zeros up to a multiple of 4 KiB
//! ```
//!
//! Every version keeps these 96 octets, so a version counts only when the checksum is right: damage is never taken for
//! a newer format, nor a newer format for damage.

/// Octets of a batch's header.
pub(super) const HEADER: usize = 96;
/// The version of the format that we write, and the newest that we read.
pub(super) const VERSION: u16 = 2;
/// The batch's messages need no delivery: to accept them was all there was to do.
pub(super) const SETTLED_AT_COMMIT: u16 = 1;

const MAGIC: [u8; 8] = *b"fsSpool\n";
const CRC_AT: usize = HEADER - 4;

/// A place in the log: a segment's sequence number and an offset in it. They order as they were written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Position {
    pub segment: u64,
    pub offset: u64,
}

/// What a batch says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Link {
    /// The sequence number; 0 before the first batch of a log.
    pub sequence: u64,
    pub position: Position,
    pub crc: u32,
}

/// The header of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub version: u16,
    pub flags: u16,
    pub records: u32,
    pub nonce: u64,
    pub position: Position,
    pub length: u64,
    /// The batch before; this one's sequence number is one more.
    pub previous: Link,
    pub head: Position,
    pub crc: u32,
}

impl Header {
    /// The octets of the header. Those before the last four are the ones to sum.
    pub fn encode(&self) -> [u8; HEADER] {
        let mut octets = [0; HEADER];
        let mut rest = &mut octets[..];
        let mut put = |field: &[u8]| {
            let (front, behind) = std::mem::take(&mut rest).split_at_mut(field.len());
            front.copy_from_slice(field);
            rest = behind;
        };
        put(&MAGIC);
        put(&self.version.to_le_bytes());
        put(&self.flags.to_le_bytes());
        put(&self.records.to_le_bytes());
        put(&self.nonce.to_le_bytes());
        put(&self.sequence().to_le_bytes());
        put(&self.position.segment.to_le_bytes());
        put(&self.position.offset.to_le_bytes());
        put(&self.length.to_le_bytes());
        put(&self.previous.position.segment.to_le_bytes());
        put(&self.previous.position.offset.to_le_bytes());
        put(&self.previous.crc.to_le_bytes());
        put(&self.head.segment.to_le_bytes());
        put(&self.head.offset.to_le_bytes());
        put(&self.crc.to_le_bytes());
        octets
    }

    /// Reads a header, whatever it says; none if it is too short. See [`starts_batch`](Header::starts_batch).
    pub fn decode(octets: &[u8]) -> Option<Header> {
        let mut fields = Fields(octets.get(MAGIC.len()..HEADER)?);
        let (version, flags, records) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let (nonce, sequence) = (fields.u64()?, fields.u64()?);
        let position = fields.position()?;
        let length = fields.u64()?;
        let (previous, previous_crc) = (fields.position()?, fields.u32()?);
        let (head, crc) = (fields.position()?, fields.u32()?);
        let previous = Link { sequence: sequence.wrapping_sub(1), position: previous, crc: previous_crc };
        Some(Header { version, flags, records, nonce, position, length, previous, head, crc })
    }

    /// Whether these octets begin as a batch does.
    pub fn starts_batch(octets: &[u8]) -> bool {
        octets.starts_with(&MAGIC)
    }

    /// This batch's sequence number.
    pub fn sequence(&self) -> u64 {
        self.previous.sequence.wrapping_add(1)
    }

    /// What the next batch will say of this one.
    pub fn link(&self) -> Link {
        Link { sequence: self.sequence(), position: self.position, crc: self.crc }
    }

    /// Where the next batch may begin.
    pub fn end(&self) -> u64 {
        self.position.offset + align(self.length)
    }
}

/// The part of an encoded header that the checksum covers.
pub(super) fn summed(header: &[u8]) -> &[u8] {
    &header[..CRC_AT]
}

/// Rounds up to where a batch may begin.
pub(super) fn align(octets: u64) -> u64 {
    octets.next_multiple_of(crate::limits::BATCH_ALIGN)
}

/// A crc32c that grows.
#[derive(Debug, Default)]
pub(super) struct Checksum(u32);

impl Checksum {
    pub fn add(self, octets: &[u8]) -> Checksum {
        Checksum(crc32c::crc32c_append(self.0, octets))
    }

    pub fn value(self) -> u32 {
        self.0
    }
}

/// Takes fields off the front of some octets, as long as there are any.
pub(super) struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    pub fn octets(&mut self, count: u64) -> Option<&'a [u8]> {
        let (field, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(field)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn position(&mut self) -> Option<Position> {
        Some(Position { segment: self.u64()?, offset: self.u64()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back_as_written() {
        let at = |segment, offset| Position { segment, offset };
        let header = Header {
            version: VERSION,
            flags: SETTLED_AT_COMMIT,
            records: 3,
            nonce: 0x0102_0304_0506_0708,
            position: at(9, 8192),
            length: 5000,
            previous: Link { sequence: 41, position: at(8, 4096), crc: 0xdead_beef },
            head: at(7, 0),
            crc: 0x1234_5678,
        };
        let octets = header.encode();
        assert!(Header::starts_batch(&octets));
        assert_eq!(Header::decode(&octets), Some(header));
        assert_eq!(Header::decode(&octets[..HEADER - 1]), None);
        assert_eq!(octets[24..32], 42u64.to_le_bytes(), "the sequence number of this batch");
        assert_eq!(octets[CRC_AT..], 0x1234_5678u32.to_le_bytes());
        assert_eq!((header.sequence(), header.end()), (42, 16384));
    }

    #[test]
    fn the_sum_of_pieces_is_the_sum_of_the_whole() {
        let sum =
            |pieces: &[&[u8]]| pieces.iter().fold(Checksum::default(), |sum, piece| sum.add(piece)).value();
        assert_eq!(sum(&[b"123456789"]), 0xe306_9283, "the check value of crc32c (RFC 3720)");
        assert_eq!(sum(&[b"123", b"", b"456789"]), 0xe306_9283);
    }
}
