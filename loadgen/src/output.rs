//! Where a run is told: the table on standard output, and the files that were asked for.
//!
//! Files are opened before the run, so that a wrong path costs nobody the time of one; what fails later, as on a full
//! disk, is said in a sentence, and the table has come out before.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::arguments::CompareArguments;
use crate::compare::{self, Compared};
use crate::ledger::{Head, Ledger};
use crate::plan::{Output, Plan};
use crate::report::hdr::HdrLog;
use crate::report::{Report, csv, page, text};
use crate::tally::Second;

/// Whether the files can be written that a run is to write. The error is a sentence.
pub fn check(output: &Output) -> Result<(), String> {
    let files = [&output.json, &output.csv, &output.hdr, &output.html, &output.ledger];
    for path in files.into_iter().flatten().filter(|path| !is_standard_output(path)) {
        OpenOptions::new().append(true).create(true).open(path).map_err(|error| in_words(path, &error))?;
    }
    Ok(())
}

/// The ledger that the plan asks for.
pub fn ledger(plan: &Plan) -> Result<Option<Ledger>, String> {
    let Some(path) = &plan.output.ledger else { return Ok(None) };
    let ledger = Ledger::create(
        path,
        &Head { run: plan.content.run(), started: SystemTime::now(), target: plan.target_name.clone() },
    );
    ledger.map(Some).map_err(|error| error.to_string())
}

/// Ends a ledger.
pub fn finish_ledger(ledger: Ledger) -> Result<(), String> {
    ledger.finish().map(drop).map_err(|error| error.to_string())
}

/// The log of histograms that the plan asks for.
pub fn hdr(plan: &Plan) -> Result<Option<Hdr>, String> {
    let Some(path) = &plan.output.hdr else { return Ok(None) };
    let log = File::create(path).and_then(|file| HdrLog::new(BufWriter::new(file), SystemTime::now()));
    let log = log.map_err(|error| in_words(path, &error))?;
    Ok(Some(Hdr { path: path.clone(), log, opened: Instant::now(), begins: None, failure: None }))
}

/// The log of histograms.
pub struct Hdr {
    path: PathBuf,
    log: HdrLog<BufWriter<File>>,
    opened: Instant,
    /// When the measured time began, since the log was opened.
    begins: Option<Duration>,
    failure: Option<String>,
}

impl Hdr {
    /// Writes a second of the measured time.
    pub fn second(&mut self, number: u32, second: &Second) {
        let at = Duration::from_secs(u64::from(number));
        // The first second is told of as soon as it is over.
        let over = at + Duration::from_secs(1);
        let begins = *self.begins.get_or_insert_with(|| self.opened.elapsed().saturating_sub(over));
        let start = begins + at;
        for (tag, histogram) in [("message", &second.message), ("accept", &second.accept)] {
            let written = self.log.interval(tag, start, Duration::from_secs(1), histogram);
            if let Err(error) = written {
                self.failure.get_or_insert(in_words(&self.path, &error));
            }
        }
    }

    /// Ends it. The error is a sentence about the first thing that failed.
    pub fn finish(mut self) -> Result<(), String> {
        match self.failure {
            Some(failure) => Err(failure),
            None => self.log.flush().map_err(|error| in_words(&self.path, &error)),
        }
    }
}

/// Writes the report wherever it is wanted, as far as that goes. The error is a sentence about what failed.
pub fn write(output: &Output, report: &Report) -> Result<(), String> {
    let table = text::text(report, WIDTH);
    let is_json_alone = output.json.as_deref().is_some_and(is_standard_output);
    let mut failures = Vec::new();
    let told =
        if is_json_alone { print(&mut io::stderr(), &table) } else { print(&mut io::stdout(), &table) };
    failures.extend(told.err().map(|error| format!("the table: {error}")));
    let documents = [
        (&output.json, report.json()),
        (&output.csv, csv::csv(report)),
        (&output.html, page::page(&title(report), std::slice::from_ref(report))),
    ];
    for (path, document) in documents {
        let Some(path) = path else { continue };
        failures.extend(put(path, &document).err());
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ")) }
}

/// Tells of a comparison, wherever that is wanted. The error is a sentence about what failed.
pub fn write_comparison(
    arguments: &CompareArguments,
    reports: &[Report; 2],
    compared: &Compared,
) -> Result<(), String> {
    let is_json_alone = arguments.json.as_deref().is_some_and(is_standard_output);
    let stream: &mut dyn Write = if is_json_alone { &mut io::stderr() } else { &mut io::stdout() };
    print(stream, &compared.text()).map_err(|error| format!("the comparison: {error}"))?;
    let documents = [
        (&arguments.json, compared.json()),
        (&arguments.html, compare::page("loadgen: a comparison", compared, &reports[0], &reports[1])),
    ];
    for (path, document) in documents {
        let Some(path) = path else { continue };
        put(path, &document)?;
    }
    Ok(())
}

/// Writes a document to a file, or to standard output.
fn put(path: &Path, document: &str) -> Result<(), String> {
    let written =
        if is_standard_output(path) { print(&mut io::stdout(), document) } else { fs::write(path, document) };
    written.map_err(|error| in_words(path, &error))
}

fn title(report: &Report) -> String {
    format!("loadgen: {}", report.target.name)
}

fn print(stream: &mut dyn Write, text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes())?;
    stream.flush()
}

fn is_standard_output(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn in_words(path: &Path, error: &io::Error) -> String {
    format!("{} cannot be written: {error}", path.display())
}

/// Columns of the table where nobody says otherwise.
const WIDTH: usize = 100;
