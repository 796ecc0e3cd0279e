//! The lines of a ledger: their form, written and read.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastsmtp::calendar::Date;
use fastsmtp::smtp::Address;

use crate::mail_id::{MailId, RunId, hex, octets_of_hex};

/// What stands at the head of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Of all its messages.
    pub run: RunId,
    /// When the run began. Microseconds are kept.
    pub started: SystemTime,
    /// The server, as it was named; tabs and line ends in it become spaces.
    pub target: String,
}

/// One message that the server took responsibility for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which it is.
    pub id: MailId,
    /// When the 250 was read. Microseconds are kept.
    pub acknowledged: SystemTime,
    /// Of the content: unstuffed, line ends CRLF.
    pub octets: u64,
    /// Of the content, from the line of its id on.
    pub sha256: [u8; 32],
    /// Those that were accepted, at least one.
    pub recipients: Vec<Address>,
}

impl Head {
    /// Both lines, with their ends.
    pub(super) fn text(&self) -> String {
        let target = self.target.replace(['\t', '\r', '\n'], " ");
        let (run, started) = (self.run, Timestamp(self.started));
        format!("{SIGNATURE}\t{run}\t{started}\t{target}\n{COLUMNS}\n")
    }

    /// Of the first line, without its end.
    fn parse(line: &str) -> Result<Head, String> {
        let mut fields = line.split('\t');
        match fields.next() {
            Some(SIGNATURE) => {}
            Some(other) if other.starts_with("# loadgen ledger ") => {
                return Err(format!("'{other}' is of another version: this one reads '{SIGNATURE}'"));
            }
            _ => return Err("it is not a ledger: its first line does not say so".into()),
        }
        let (Some(run), Some(started), Some(target), None) =
            (fields.next(), fields.next(), fields.next(), fields.next())
        else {
            return Err("its head is not run, start and target".into());
        };
        Ok(Head {
            run: run.parse().map_err(|_| format!("'{run}' is not a run's id"))?,
            started: timestamp(started)?,
            target: target.to_owned(),
        })
    }
}

/// The line, without its end.
impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Entry { id, octets, .. } = self;
        write!(f, "{id}\t{}\t{octets}\t{}\t", Timestamp(self.acknowledged), hex(&self.sha256))?;
        for (index, recipient) in self.recipients.iter().enumerate() {
            write!(f, "{}{recipient}", if index == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

impl Entry {
    /// Of a line without its end. The error says what is wrong with it.
    pub fn parse(line: &str) -> Result<Entry, String> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [id, acknowledged, octets, sha256, recipients] = fields[..] else {
            return Err(format!("it has {} fields, not 5", fields.len()));
        };
        let recipients = addresses(recipients)
            .map(|text| Address::parse(text.as_bytes()).map_err(|_| format!("'{text}' is not an address")));
        Ok(Entry {
            id: id.parse().map_err(|_| format!("'{id}' is not a message's id"))?,
            acknowledged: timestamp(acknowledged)?,
            octets: octets.parse().map_err(|_| format!("'{octets}' is not a number of octets"))?,
            sha256: octets_of_hex(sha256).ok_or_else(|| format!("'{sha256}' is not a hash"))?,
            recipients: recipients.collect::<Result<_, _>>()?,
        })
    }
}

/// Splits at commas, but not within quotes.
fn addresses(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        let comma = c == ',' && !quoted;
        quoted ^= c == '"' && !escaped;
        escaped = c == '\\' && quoted && !escaped;
        comma
    })
}

/// A time as `2026-11-23T22:40:01.123456Z` (RFC 3339).
struct Timestamp(SystemTime);

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.0.duration_since(UNIX_EPOCH).unwrap_or_default();
        let Date { year, month, day, hour, minute, second, .. } = Date::of(since.as_secs());
        let microseconds = since.subsec_micros();
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{microseconds:06}Z")
    }
}

/// Reads what [`Timestamp`] wrote.
fn timestamp(text: &str) -> Result<SystemTime, String> {
    let error = || format!("'{text}' is not a time like 2026-11-23T22:40:01.123456Z");
    let field = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let fields = || {
        let shape = text.bytes().map(|octet| if octet.is_ascii_digit() { b'0' } else { octet });
        if !shape.eq(*b"0000-00-00T00:00:00.000000Z") {
            return None;
        }
        let days = days_until(field(0, 4)?, field(5, 7)?, field(8, 10)?)?;
        let seconds = field(11, 13)? * 3_600 + field(14, 16)? * 60 + field(17, 19)?;
        Some(Duration::from_secs(days * 86_400 + seconds) + Duration::from_micros(field(20, 26)?))
    };
    let since = fields().ok_or_else(error)?;
    let time = UNIX_EPOCH + since;
    // A 30 February, a 25th hour: another day's name would come back.
    if Timestamp(time).to_string() == text { Ok(time) } else { Err(error()) }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar.
fn days_until(year: u64, month: u64, day: u64) -> Option<u64> {
    if year < 1970 || !(1..=12).contains(&month) {
        return None;
    }
    // Years that begin in March, as the calendar has them.
    let (year, month) = if month < 3 { (year - 1, month + 9) } else { (year, month - 3) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5;
    (days + day).checked_sub(719_469)
}

/// Why a ledger cannot be read.
#[derive(Debug)]
pub enum LedgerError {
    /// The system says why.
    File(io::Error),
    /// A line is not as it should be.
    Line {
        /// From 1.
        number: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl fmt::Display for LedgerError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LedgerError::File(error) => error.fmt(f),
            LedgerError::Line { number, reason } => write!(f, "line {number}: {reason}"),
        }
    }
}

impl std::error::Error for LedgerError {}

/// A ledger that is being read.
pub struct Reader<R> {
    input: R,
    head: Head,
    line: Vec<u8>,
    /// Of the line read last, from 1.
    number: u64,
    torn: bool,
}

/// Opens the ledger at `path`.
pub fn read(path: &Path) -> Result<Reader<BufReader<File>>, LedgerError> {
    Reader::new(BufReader::new(File::open(path).map_err(LedgerError::File)?))
}

impl<R: BufRead> Reader<R> {
    /// Reads the head.
    pub fn new(input: R) -> Result<Reader<R>, LedgerError> {
        let head = Head { run: RunId::random(), started: UNIX_EPOCH, target: String::new() };
        let mut reader = Reader { input, head, line: Vec::new(), number: 0, torn: false };
        let first = reader.line()?.ok_or_else(|| "it has no head".to_owned()).and_then(Head::parse);
        reader.head = first.map_err(|reason| LedgerError::Line { number: 1, reason })?;
        match reader.line()? {
            Some(COLUMNS) | None => Ok(reader),
            Some(other) => {
                let reason = format!("'{other}' does not name the columns as this version has them");
                Err(LedgerError::Line { number: 2, reason })
            }
        }
    }

    /// What stands at its head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Of the line read last, from 1.
    pub fn line_number(&self) -> u64 {
        self.number
    }

    /// Whether the last line has no end, and was left out for that. Known at the end.
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// The next message; none at the end.
    pub fn entry(&mut self) -> Result<Option<Entry>, LedgerError> {
        let parsed = match self.line()? {
            Some(line) => Entry::parse(line),
            None => return Ok(None),
        };
        parsed.map(Some).map_err(|reason| LedgerError::Line { number: self.number, reason })
    }

    /// The next whole line, without its end.
    fn line(&mut self) -> Result<Option<&str>, LedgerError> {
        self.line.clear();
        self.input.read_until(b'\n', &mut self.line).map_err(LedgerError::File)?;
        self.torn |= !self.line.is_empty() && self.line.last() != Some(&b'\n');
        let Some(b'\n') = self.line.pop() else { return Ok(None) };
        self.number += 1;
        let number = self.number;
        let error = |_| LedgerError::Line { number, reason: "it is not text".into() };
        std::str::from_utf8(&self.line).map(Some).map_err(error)
    }
}

/// What a ledger's first line begins with; its version is the form of its lines.
const SIGNATURE: &str = "# loadgen ledger 1";

/// A ledger's second line.
const COLUMNS: &str = "# id\tacknowledged\toctets\tsha256\trecipients";

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn head() -> Head {
        let started = UNIX_EPOCH + Duration::from_micros(1_795_473_601_123_456);
        Head { run: "00000000000000ff".parse().unwrap(), started, target: "localhost:25".into() }
    }

    fn entry(recipients: &[&str]) -> Entry {
        Entry {
            id: head().run.mail(7),
            acknowledged: head().started,
            octets: 1024,
            sha256: [0xab; 32],
            recipients: recipients.iter().map(|text| Address::parse(text.as_bytes()).unwrap()).collect(),
        }
    }

    fn entries(text: &str) -> Result<(Vec<Entry>, bool), String> {
        let mut reader = Reader::new(text.as_bytes()).map_err(|error| error.to_string())?;
        assert_eq!(*reader.head(), head());
        let mut entries = Vec::new();
        while let Some(entry) = reader.entry().map_err(|error| error.to_string())? {
            entries.push(entry);
        }
        Ok((entries, reader.is_torn()))
    }

    #[test]
    fn the_form_is_as_documented() {
        assert_eq!(
            head().text(),
            "# loadgen ledger 1\t00000000000000ff\t2026-11-23T22:40:01.123456Z\tlocalhost:25\n\
             # id\tacknowledged\toctets\tsha256\trecipients\n"
        );
        let (id, hash) = (head().run.mail(7), "ab".repeat(32));
        assert_eq!(
            entry(&["a@x", "\"b,c\"@y"]).to_string(),
            format!("{id}\t2026-11-23T22:40:01.123456Z\t1024\t{hash}\ta@x,\"b,c\"@y")
        );
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        let all = [entry(&["a@x"]), entry(&["\"a,\\\",\\\\\"@x", "b@y", "\",\"@[192.0.2.1]"])];
        let text = format!("{}{}\n{}\n", head().text(), all[0], all[1]);
        assert_eq!(entries(&text), Ok((all.to_vec(), false)));
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_is_torn() {
        let (first, second) = (entry(&["a@x"]), entry(&["b@y"]));
        let whole = format!("{}{first}\n", head().text());
        let last = second.to_string();
        for end in 1..=last.len() {
            assert_eq!(
                entries(&format!("{whole}{}", &last[..end])),
                Ok((vec![first.clone()], true)),
                "{end}"
            );
        }
        assert_eq!(entries(&whole), Ok((vec![first], false)));
        assert_eq!(entries(head().text().trim_end()), Ok((vec![], true)), "torn in the second line");
    }

    #[test]
    fn an_error_has_its_line_number() {
        let line = entry(&["a@x"]).to_string();
        let of = |line: &str| entries(&format!("{}{line}\n", head().text())).unwrap_err();
        assert_eq!(of(&format!("{line}\tmore")), "line 3: it has 6 fields, not 5");
        assert_eq!(of(""), "line 3: it has 1 fields, not 5");
        assert_eq!(of(&line.replace("1024", "-1")), "line 3: '-1' is not a number of octets");
        assert!(of(&line.replace("abab", "abax")).ends_with("is not a hash"));
        assert!(of(&line.replace("a@x", "a@x,")).ends_with("'' is not an address"));
        assert!(of(&line.replace("-11-23T", "-02-30T")).contains("is not a time like"));
        assert!(of(&line.replace("T22:", "T25:")).contains("is not a time like"));
        assert!(of(&line[1..]).contains("is not a message's id"));
    }

    #[test]
    fn what_is_no_ledger_or_of_another_version_is_said_to_be() {
        let error = |text: &str| Reader::new(text.as_bytes()).err().unwrap().to_string();
        assert_eq!(error(""), "line 1: it has no head");
        assert_eq!(error("From: a@x\n"), "line 1: it is not a ledger: its first line does not say so");
        assert_eq!(
            error("# loadgen ledger 2\tx\n"),
            "line 1: '# loadgen ledger 2' is of another version: this one reads '# loadgen ledger 1'"
        );
        assert!(error(&head().text().replace("octets", "bytes")).starts_with("line 2: "));
        assert_eq!(error("\u{fffd}\n"), "line 1: it is not a ledger: its first line does not say so");
    }

    proptest! {
        #[test]
        fn times_read_back_to_the_microsecond(microseconds in 0_u64..253_402_300_800_000_000) {
            let time = UNIX_EPOCH + Duration::from_micros(microseconds);
            prop_assert_eq!(timestamp(&Timestamp(time).to_string()), Ok(time));
        }

        #[test]
        fn any_recipients_read_back(local_parts in prop::collection::vec("[ -~]{1,20}", 1..5)) {
            let recipients = local_parts.iter().map(|local_part| Address::new(local_part, "example.com"));
            let entry = Entry { recipients: recipients.collect(), ..entry(&[]) };
            prop_assert_eq!(Entry::parse(&entry.to_string()), Ok(entry));
        }

        #[test]
        fn no_line_is_too_strange_to_be_judged(line in "\\PC{0,80}") {
            let _ = Entry::parse(&line);
        }
    }
}
