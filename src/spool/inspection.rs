//! Which messages wait in the log, for the operator's eyes: reads and changes nothing, and needs no lock. Called by
//! `fastsmtp queue`, beside a running server or without one.
//!
//! The walk is recovery's, without its syncs. A server that runs on writes while we read: the end of its log looks torn,
//! and a segment may be recycled under us. Neither is damage, so no damage is reported here; that is for recovery.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::recovery::{RecoverError, Walk, at};
use super::scan::Window;
use super::segment::{self, Name, Segment};
use super::{Pending, SPOOL, Source};
use crate::QueueId;
use crate::disk::{Disk, Open};

/// The messages of the log that are not settled, oldest first, and where to read them.
pub fn inspect(disk: Arc<dyn Disk>) -> Result<Vec<(QueueId, Source)>, RecoverError> {
    let mut walk = Walk::default();
    let mut window = Window::new();
    for mut segment in segments(&*disk)? {
        let file = match disk.open(&segment.path, Open::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue, // recycled meanwhile
            file => at(&segment.path, file)?,
        };
        segment.size = at(&segment.path, file.size())?;
        walk.read(&*file, segment, &mut window)?;
    }
    walk.end();
    let source = |Pending { id, place }: &Pending| {
        let segment = walk.segments.iter().find(|segment| segment.sequence == place.segment)?;
        let (disk, path) = (Arc::clone(&disk), segment.path.clone());
        Some((*id, Source { disk, path, offset: place.offset, octets: place.octets }))
    };
    Ok(walk.pending.iter().filter_map(source).collect())
}

/// The segments in use, in order.
fn segments(disk: &dyn Disk) -> Result<Vec<Segment>, RecoverError> {
    let mut segments = Vec::new();
    let names = match disk.list(Path::new(SPOOL)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        names => at(Path::new(SPOOL), names)?,
    };
    for file_name in names {
        let Some(Name::Used { sequence, nonce }) = segment::name(&file_name) else { continue };
        let path = Path::new(SPOOL).join(&file_name);
        segments.push(Segment { sequence, nonce, size: 0, prewritten: false, path, file: None });
    }
    segments.sort_by_key(|segment| segment.sequence);
    Ok(segments)
}
