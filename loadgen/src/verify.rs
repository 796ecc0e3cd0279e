//! `loadgen verify`: holds a ledger against the mailboxes, and says whether each acknowledged message is there, once
//! and whole.
//!
//! Every acknowledged message is one of four, the worst that holds: *missing* (fewer copies than there should be),
//! *damaged* (a copy's content is another), *duplicate* (more copies), or present. There should be one copy in the
//! mailbox of each different recipient that was accepted, or one at all where the directory is itself a Maildir; so
//! recipients that share a mailbox, by aliases, look like something missing. A file of the run that is in no line of the
//! ledger is no fault, for its 250 may have been lost; nor are files of other runs and without an id.
//!
//! The server should be at rest: a file that is moved while the walk goes on may be seen twice or not at all. What a
//! server changes on purpose is damage like any other: some add a Date or a Message-ID where there is none, or wrap
//! long lines. What is not seen: whether a copy lies in the right mailbox, and what became of trace fields.

mod accounts;
mod content;
mod walk;

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use crate::exit;
use crate::ledger::{self, LedgerError};
use accounts::{Accounts, Copies};
use content::Examiner;
use walk::Walk;

/// What is to be verified.
#[derive(Debug, Clone, clap::Args)]
pub struct Request {
    /// What a run wrote with --ledger
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,
    /// A Maildir, or a directory with Maildirs anywhere below it
    #[arg(long, value_name = "DIR")]
    pub maildir: PathBuf,
    /// Where to write the findings for programs; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The version of the document's form.
pub const SCHEMA_VERSION: u32 = 1;

/// All that is told of a verification. Counts are of messages, unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verification {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What it came to.
    pub outcome: Outcome,
    /// The same, in a sentence.
    pub verdict: String,
    /// The ledger's file.
    pub ledger: String,
    /// Whether the ledger's last line has no end, and was left out for that: its writer was killed.
    pub ledger_torn: bool,
    /// The run's id.
    pub run: String,
    /// The server that acknowledged.
    pub target: String,
    /// The directory that was looked through.
    pub maildir: String,
    /// Maildirs in it.
    pub maildirs: u64,
    /// Files in their `new/` and `cur/`.
    pub files: u64,
    /// Lines of the ledger. They are each in exactly one of the next four.
    pub acknowledged: u64,
    /// All copies are there, once and whole.
    pub present: u64,
    /// Fewer copies than there should be.
    pub missing: u64,
    /// As many as there should be, but the content of one is another.
    pub damaged: u64,
    /// More than there should be, all whole.
    pub duplicate: u64,
    /// Files of this run that are in no line: their 250 may have been lost.
    pub unacknowledged: u64,
    /// Files without an id, or of another run.
    pub foreign: u64,
    /// Files and directories that could not be read.
    pub unreadable: u64,
    /// The first [`FAULTS_TOLD_MAX`] of each kind.
    pub faults: Vec<Fault>,
}

/// What a verification came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// All that was acknowledged is there, once and whole.
    Whole,
    /// Something is missing, damaged or duplicate.
    Faulty,
    /// Nothing was acknowledged, so that nothing is proved: a ledger whose writer was killed early looks like that.
    Empty,
    /// Some files could not be read, so that nobody knows.
    Unreadable,
}

impl Outcome {
    /// The program's exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Outcome::Whole => exit::FINE,
            Outcome::Faulty => exit::NOT_ALL_THERE,
            Outcome::Empty | Outcome::Unreadable => exit::FAILED,
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fault {
    /// Which of its kinds.
    pub kind: FaultKind,
    /// Of the message; none of a file that could not be read.
    pub id: Option<String>,
    /// More, in words.
    pub text: String,
    /// The file that is damaged, too many, or could not be read; none of what is missing.
    pub file: Option<String>,
}

/// The kinds of faults, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// Fewer copies than there should be.
    Missing,
    /// A copy's content is another.
    Damaged,
    /// More copies than there should be.
    Duplicate,
    /// It could not be read.
    Unreadable,
}

/// Why nothing could be verified. All are [`EXIT_UNREADABLE`].
#[derive(Debug)]
pub enum VerifyError {
    /// The ledger is none, or cannot be read.
    Ledger(PathBuf, LedgerError),
    /// The directory cannot be read.
    Maildir(PathBuf, io::Error),
    /// What was found cannot be written.
    Output(PathBuf, io::Error),
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VerifyError::Ledger(path, error) => write!(f, "the ledger {}: {error}", path.display()),
            VerifyError::Maildir(path, error) => write!(f, "{} cannot be read: {error}", path.display()),
            VerifyError::Output(path, error) => write!(f, "{} cannot be written: {error}", path.display()),
        }
    }
}

impl std::error::Error for VerifyError {}

/// Verifies, with a line of progress on a terminal, and tells what was found: on standard output, and as a document.
pub fn run(request: &Request) -> Result<Outcome, VerifyError> {
    if request.json.as_ref() == Some(&request.ledger) {
        let error = io::Error::new(io::ErrorKind::InvalidInput, "it is the ledger itself");
        return Err(VerifyError::Output(request.ledger.clone(), error));
    }
    let verification = verify(&request.ledger, &request.maildir, &progress_line())?;
    let standard_output = |error| VerifyError::Output("standard output".into(), error);
    let standard_error = |error| VerifyError::Output("standard error".into(), error);
    match request.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            write_json(&verification, io::stdout().lock()).map_err(standard_output)?;
            io::stderr().lock().write_all(verification.summary().as_bytes()).map_err(standard_error)?;
        }
        path => {
            if let Some(path) = path {
                let written = File::create(path).and_then(|file| write_json(&verification, file));
                written.map_err(|error| VerifyError::Output(path.to_owned(), error))?;
            }
            io::stdout().lock().write_all(verification.summary().as_bytes()).map_err(standard_output)?;
        }
    }
    Ok(verification.outcome)
}

/// Holds a ledger against a Maildir or a tree of them.
pub fn verify(ledger: &Path, maildir: &Path, progress: &ProgressBar) -> Result<Verification, VerifyError> {
    let of_ledger = |error| VerifyError::Ledger(ledger.to_owned(), error);
    std::fs::read_dir(maildir).map_err(|error| VerifyError::Maildir(maildir.to_owned(), error))?;
    let copies = if walk::is_maildir(maildir) { Copies::One } else { Copies::OneEach };
    let mut reader = ledger::read(ledger).map_err(of_ledger)?;
    let mut accounts = Accounts::read(&mut reader, copies).map_err(of_ledger)?;
    let walked = look_through(maildir, &mut accounts, progress);
    progress.finish_and_clear();
    let mut verification = Verification {
        schema_version: SCHEMA_VERSION,
        outcome: Outcome::Whole,
        verdict: String::new(),
        ledger: ledger.display().to_string(),
        ledger_torn: reader.is_torn(),
        run: reader.head().run.to_string(),
        target: reader.head().target.clone(),
        maildir: maildir.display().to_string(),
        maildirs: walked.maildirs,
        files: walked.files,
        acknowledged: accounts.count(),
        present: 0,
        missing: accounts.faulty(FaultKind::Missing),
        damaged: accounts.faulty(FaultKind::Damaged),
        duplicate: accounts.faulty(FaultKind::Duplicate),
        unacknowledged: accounts.unacknowledged,
        foreign: accounts.foreign,
        unreadable: walked.unreadable,
        faults: walked.faults,
    };
    for kind in [FaultKind::Missing, FaultKind::Damaged, FaultKind::Duplicate] {
        verification.faults.extend(accounts.faults(kind, FAULTS_TOLD_MAX));
    }
    verification.conclude();
    Ok(verification)
}

/// What the walk through a tree came to.
#[derive(Default)]
struct Walked {
    maildirs: u64,
    files: u64,
    unreadable: u64,
    /// The first of what is unreadable.
    faults: Vec<Fault>,
}

fn look_through(root: &Path, accounts: &mut Accounts, progress: &ProgressBar) -> Walked {
    let (mut walked, mut examiner, mut walk) = (Walked::default(), Examiner::new(), Walk::new(root));
    for step in &mut walk {
        let examined = step.and_then(|file| {
            walked.files += 1;
            match File::open(&file.path).and_then(|opened| examiner.examine(opened)) {
                Ok(found) => Ok((found, file)),
                Err(error) => Err((file.path, error)),
            }
        });
        match examined {
            Ok((found, file)) => accounts.found(found, file.maildir, &file.path),
            Err((path, error)) => walked.fault(&path, &error),
        }
        progress.set_position(walked.files);
    }
    walked.maildirs = walk.maildirs().into();
    walked
}

impl Walked {
    fn fault(&mut self, path: &Path, error: &io::Error) {
        self.unreadable += 1;
        if self.faults.len() < FAULTS_TOLD_MAX {
            let (file, text) = (Some(path.display().to_string()), error.to_string());
            self.faults.push(Fault { kind: FaultKind::Unreadable, id: None, text, file });
        }
    }
}

impl Verification {
    /// Makes the outcome and the verdict from the counts.
    fn conclude(&mut self) {
        let faulty = self.missing + self.damaged + self.duplicate;
        self.present = self.acknowledged - faulty;
        self.outcome = match (self.unreadable, faulty) {
            (0, 0) if self.acknowledged == 0 => Outcome::Empty,
            (0, 0) => Outcome::Whole,
            (0, _) => Outcome::Faulty,
            _ => Outcome::Unreadable,
        };
        let counts = format!(
            "of {} acknowledged messages {} are missing, {} damaged, {} duplicate",
            self.acknowledged, self.missing, self.damaged, self.duplicate
        );
        self.verdict = match self.outcome {
            Outcome::Empty => "NOTHING TO VERIFY: the ledger has no message that was acknowledged".into(),
            Outcome::Whole => {
                format!("WHOLE: all {} acknowledged messages are present, once and whole", self.acknowledged)
            }
            Outcome::Faulty => format!("FAULTY: {counts}"),
            Outcome::Unreadable => format!(
                "UNKNOWN: {} files or directories could not be read; of the others, {counts}",
                self.unreadable
            ),
        };
        if self.ledger_torn {
            self.verdict += "; the ledger's last line is torn and was left out";
        }
    }

    /// For people.
    pub fn summary(&self) -> String {
        let mut text = format!(
            "ledger     {}: run {} against {}\nmailboxes  {}: {} Maildirs, {} files\n\n",
            self.ledger, self.run, self.target, self.maildir, self.maildirs, self.files
        );
        for (name, count, note) in [
            ("acknowledged", self.acknowledged, "messages in the ledger"),
            ("present", self.present, "once in each mailbox, and whole"),
            ("missing", self.missing, "fewer copies than there should be"),
            ("damaged", self.damaged, "the content of a copy is another"),
            ("duplicate", self.duplicate, "more copies than there should be"),
            ("unacknowledged", self.unacknowledged, "files of this run in no line of the ledger: no fault"),
            ("foreign", self.foreign, "files without an id, or of another run: no fault"),
            ("unreadable", self.unreadable, "files and directories"),
        ] {
            text += &format!("{name:<14} {count:>12}  {note}\n");
        }
        text.push('\n');
        for kind in [FaultKind::Unreadable, FaultKind::Missing, FaultKind::Damaged, FaultKind::Duplicate] {
            text += &self.faults_text(kind);
        }
        text + &self.verdict + "\n"
    }

    fn faults_text(&self, kind: FaultKind) -> String {
        let (name, count) = match kind {
            FaultKind::Missing => ("missing", self.missing),
            FaultKind::Damaged => ("damaged", self.damaged),
            FaultKind::Duplicate => ("duplicate", self.duplicate),
            FaultKind::Unreadable => ("unreadable", self.unreadable),
        };
        let (mut text, mut told) = (String::new(), 0);
        for fault in self.faults.iter().filter(|fault| fault.kind == kind) {
            told += 1;
            let parts = [fault.id.as_deref(), Some(&fault.text), fault.file.as_deref()];
            let parts: Vec<&str> = parts.into_iter().flatten().collect();
            text += &format!("{name}: {}\n", parts.join("  "));
        }
        match count - told {
            0 if told == 0 => text,
            0 => text + "\n",
            more => text + &format!("{name}: and {more} more\n\n"),
        }
    }
}

fn write_json(verification: &Verification, mut output: impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut output, verification)?;
    output.write_all(b"\n")
}

/// Draws on a terminal only.
fn progress_line() -> ProgressBar {
    let style = ProgressStyle::with_template("{human_pos} files, {per_sec}").expect("a constant template");
    ProgressBar::no_length().with_style(style)
}

/// Faults of a kind that are told one by one.
pub const FAULTS_TOLD_MAX: usize = 10;

#[cfg(test)]
mod tests;
