//! The bare disk: what one fdatasync takes that overwrites a piece of a file written before.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use super::results::DiskFigures;
use super::{Failure, failure};

/// Both sizes, in a file below `place` that goes again.
pub fn measure(place: &Path, round: u32, time: Duration) -> Result<Vec<DiskFigures>, Failure> {
    let file = tempfile::tempfile_in(place).map_err(Failure::of(place))?;
    let zeros = vec![0; 1 << 20];
    for at in 0..FILE_SIZE >> 20 {
        file.write_all_at(&zeros, at << 20).map_err(Failure::of(place))?;
    }
    file.sync_all().map_err(Failure::of(place))?;
    [4 << 10, 512 << 10]
        .into_iter()
        .map(|octets| syncs(&file, octets, round, time).map_err(Failure::of(place))?)
        .collect()
}

/// Writes and syncs one piece after the other for `time`.
fn syncs(
    file: &File,
    octets: u64,
    round: u32,
    time: Duration,
) -> std::io::Result<Result<DiskFigures, Failure>> {
    let data = vec![b'd'; octets as usize];
    let (began, mut times) = (Instant::now(), Vec::new());
    while began.elapsed() < time {
        if let Err(interrupted) = failure::check() {
            return Ok(Err(interrupted));
        }
        let offset = times.len() as u64 * octets % FILE_SIZE;
        let start = Instant::now();
        file.write_all_at(&data, offset)?;
        file.sync_data()?;
        times.push(start.elapsed());
    }
    times.sort();
    let at =
        |share: f64| times[((times.len() as f64 * share) as usize).min(times.len() - 1)].as_secs_f64() * 1e6;
    Ok(Ok(DiskFigures {
        round,
        octets,
        count: times.len() as u64,
        p50_us: at(0.5),
        p99_us: at(0.99),
        max_us: at(1.0),
    }))
}

/// A multiple of both sizes, and of what one write fills it with.
const FILE_SIZE: u64 = 64 << 20;
