//! Stand-in for the spool's reading side, with the names that the courier needs; the real one replaces it.

use std::io;
use std::sync::Arc;

use crate::disk::File;
use crate::queue_id::QueueId;
use crate::smtp::Message;

/// Where a message's record lies.
pub struct Source {
    /// The segment.
    pub file: Arc<dyn File>,
    /// Where in it the record begins.
    pub offset: u64,
    /// Octets of the record.
    pub size: u64,
}

/// A message as it was stored.
pub struct Stored {
    /// Its queue id.
    pub id: QueueId,
    /// When it arrived, in Unix seconds.
    pub arrived: u64,
    /// The message.
    pub message: Message,
}

/// Why a record cannot be read.
#[derive(Debug)]
pub enum ReadError {
    /// The disk says so.
    Io(io::Error),
}

impl Source {
    /// Reads the record.
    pub fn read(&self) -> Result<Stored, ReadError> {
        let _ = (&self.file, self.offset, self.size);
        Err(ReadError::Io(io::ErrorKind::Unsupported.into()))
    }
}
