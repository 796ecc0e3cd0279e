//! What a message's record says of it, without its content being read: for the operator's lists. The checksum covers the
//! content too, so it is not checked here; what these octets cannot mean is still called damage.

use super::{ReadError, record};
use crate::QueueId;
use crate::disk::{File, read_full_at};
use crate::limits::RECORD_HEAD_MAX;
use crate::smtp::Envelope;

/// A message in short.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Its name.
    pub id: QueueId,
    /// When it arrived, in seconds since 1970.
    pub arrived: u64,
    /// Who sent it and who is to have it.
    pub envelope: Envelope,
    /// Octets of its content with its trace fields.
    pub octets: u64,
}

/// Reads the beginning of the record at `offset`.
pub(super) fn read(file: &dyn File, offset: u64) -> Result<Summary, ReadError> {
    let mut octets = vec![0; FIRST_READ];
    let read = read_full_at(file, &mut octets, offset).map_err(ReadError::Io)?;
    octets.truncate(read);
    let needed = record::envelope_end(&octets).ok_or(ReadError::Damaged)?;
    if needed > RECORD_HEAD_MAX {
        return Err(ReadError::Damaged);
    }
    octets.resize(needed as usize, 0);
    if needed as usize > read {
        let rest = read_full_at(file, &mut octets[read..], offset + read as u64).map_err(ReadError::Io)?;
        octets.truncate(read + rest);
    }
    record::summary(&octets).ok_or(ReadError::Damaged)
}

/// Octets read at first: most envelopes end before.
const FIRST_READ: usize = 4096;
