//! Latencies as a log of histograms, an interval a line, for the standard viewers (HistogramLogAnalyzer,
//! HistogramLogProcessor): what is in no percentile of ours can still be asked of it.
//!
//! The format is that of HdrHistogram's `HistogramLogWriter`, version 1.3: histograms in the compressed form V2, times
//! in seconds from the start, the maximum of each line in milliseconds. Values are nanoseconds.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};

/// A log that is being written. Lines are expected in the order of their starts.
pub struct HdrLog<W> {
    writer: W,
    serializer: V2DeflateSerializer,
    line: Vec<u8>,
}

impl<W: Write> HdrLog<W> {
    /// Begins a log whose intervals count from `started`.
    pub fn new(mut writer: W, started: SystemTime) -> io::Result<HdrLog<W>> {
        let since = started.duration_since(UNIX_EPOCH).unwrap_or_default();
        let moment = super::environment::rfc3339(started);
        writer.write_all(
            format!(
                "#[Logged with loadgen {}; values in nanoseconds, Interval_Max in milliseconds]\n#[Histogram log format \
                 version 1.3]\n#[StartTime: {:.3} (seconds since epoch), {moment}]\n{LEGEND}\n",
                env!("CARGO_PKG_VERSION"),
                since.as_secs_f64(),
            )
            .as_bytes(),
        )?;
        Ok(HdrLog { writer, serializer: V2DeflateSerializer::new(), line: Vec::new() })
    }

    /// Writes an interval that began `start` after the log's own start. The tag says what was measured; of `message`
    /// and `accept`, each has its own lines.
    ///
    /// # Panics
    ///
    /// If the tag has a comma, a space or a line end, of which the format has no way to write them.
    pub fn interval(
        &mut self,
        tag: &str,
        start: Duration,
        duration: Duration,
        histogram: &Histogram<u64>,
    ) -> io::Result<()> {
        let tag = Tag::new(tag).expect("a tag is a word");
        self.line.clear();
        let mut builder = IntervalLogWriterBuilder::new();
        let mut log = builder
            .with_max_value_divisor(NANOSECONDS_PER_MILLISECOND)
            .begin_log_with(&mut self.line, &mut self.serializer)?;
        log.write_histogram(histogram, start, duration, Some(tag)).map_err(io::Error::other)?;
        // The crate's writer borrows what it writes to, so each interval has a writer of its own, and each of them says
        // its divisor first; that comment is left out.
        let line = self.line.split_inclusive(|octet| *octet == b'\n').rfind(|line| !line.starts_with(b"#"));
        self.writer.write_all(line.unwrap_or_default())
    }

    /// Writes what is still buffered.
    pub fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// Readers know the columns; people are told.
const LEGEND: &str = r#""StartTimestamp","Interval_Length","Interval_Max","Interval_Compressed_Histogram""#;

/// The customary unit of the maximum.
const NANOSECONDS_PER_MILLISECOND: f64 = 1e6;

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    use super::*;

    fn log() -> Vec<u8> {
        let mut histogram = Histogram::new(3).expect("three digits are a valid precision");
        let mut octets = Vec::new();
        let mut log =
            HdrLog::new(&mut octets, UNIX_EPOCH + Duration::from_millis(1_795_473_601_250)).expect("a log");
        for second in 0..3 {
            histogram.record(2_500_000 + second).expect("it is in range");
            log.interval("message", Duration::from_secs(second), Duration::from_secs(1), &histogram)
                .expect("a line");
        }
        octets
    }

    #[test]
    fn what_is_written_is_read_back() {
        let octets = log();
        let entries: Vec<LogEntry> =
            IntervalLogIterator::new(&octets).map(|entry| entry.expect("it is valid")).collect();
        assert_eq!(entries[0], LogEntry::StartTime(Duration::from_millis(1_795_473_601_250)));
        assert_eq!(entries.len(), 4);
        for (second, entry) in entries[1..].iter().enumerate() {
            let LogEntry::Interval(interval) = entry else { panic!("no interval: {entry:?}") };
            assert_eq!(interval.tag().map(|tag| tag.as_str()), Some("message"));
            assert_eq!(interval.start_timestamp(), Duration::from_secs(second as u64));
            assert_eq!(interval.duration(), Duration::from_secs(1));
            assert!((interval.max() - 2.5).abs() < 0.01, "{}", interval.max());
            assert!(interval.encoded_histogram().starts_with("HISTFAAA"), "it is V2, compressed");
        }
    }

    #[test]
    fn between_the_intervals_there_is_nothing_else() {
        let log = String::from_utf8(log()).expect("a log is text");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 4 + 3);
        assert!(lines[4..].iter().all(|line| line.starts_with("Tag=message,")), "{log}");
    }
}
