//! A report as a file: JSON that is written and read back, and one clear sentence where it cannot be.

use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use serde_json::Value;
use serde_json::error::Category;

use super::{Report, SCHEMA_VERSION};

impl Report {
    /// The document as JSON, indented, with a line end behind it. A figure that is no finite number becomes `null`, and
    /// then the document cannot be read back: there must be none.
    pub fn json(&self) -> String {
        let json = serde_json::to_string_pretty(self).expect("its keys are strings and its values plain");
        json + "\n"
    }

    /// Reads a document that [`Report::json`] wrote.
    ///
    /// # Errors
    ///
    /// See [`Mistake`]; the error names the file.
    pub fn read(path: &Path) -> Result<Report, Unreadable> {
        let unreadable = |mistake| Unreadable { path: path.to_owned(), mistake };
        let text = fs::read(path).map_err(|error| unreadable(Mistake::File(error)))?;
        parse(&text).map_err(unreadable)
    }
}

/// A file that is no report, and why not; as a sentence for people.
#[derive(Debug)]
pub struct Unreadable {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub mistake: Mistake,
}

/// Why a file is no report.
#[derive(Debug)]
pub enum Mistake {
    /// It is not there or cannot be read.
    File(io::Error),
    /// It ends in the midst: its writer was killed, or the disk was full.
    Truncated,
    /// It is not JSON; the line is told.
    NotJson(usize),
    /// It is JSON of something else; what is missing or wrong is told.
    NotAReport(String),
    /// It is a report, of another version of the document; the version is told.
    OtherVersion(u64),
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.path.display())?;
        match &self.mistake {
            Mistake::File(error) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no such file")
            }
            Mistake::File(error) => write!(f, "cannot be read: {error}"),
            Mistake::Truncated => write!(f, "ends in the midst of the report; make it anew"),
            Mistake::NotJson(line) => write!(f, "is not JSON (line {line}); give a file that `--json` wrote"),
            Mistake::NotAReport(why) => write!(f, "is not a report of loadgen: {why}"),
            Mistake::OtherVersion(version) => write!(
                f,
                "has schema version {version}, but this loadgen reads version {SCHEMA_VERSION}; use the loadgen that wrote it"
            ),
        }
    }
}

impl std::error::Error for Unreadable {}

fn parse(text: &[u8]) -> Result<Report, Mistake> {
    let value: Value = serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Eof => Mistake::Truncated,
        _ => Mistake::NotJson(error.line()),
    })?;
    match value.get("schema_version").and_then(Value::as_u64) {
        Some(version) if version == u64::from(SCHEMA_VERSION) => {
            serde_json::from_value(value).map_err(|error| Mistake::NotAReport(error.to_string()))
        }
        Some(version) if value.get("verdict").is_some() => Err(Mistake::OtherVersion(version)),
        _ => Err(Mistake::NotAReport("it has no schema_version and verdict".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn mistake(text: &[u8]) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("report.json");
        fs::write(&path, text).expect("it is written");
        let error = Report::read(&path).expect_err("it is no report").to_string();
        error.strip_prefix(&format!("{}: ", path.display())).expect("the file is named").to_owned()
    }

    #[test]
    fn what_is_written_is_read_as_the_same() {
        for report in [sample::closed(), sample::sweep(), sample::nothing_accepted()] {
            let json = report.json();
            let read = parse(json.as_bytes()).expect("it is a report");
            assert!(json.ends_with("}\n"));
            assert!(read == report, "to the last digit");
        }
    }

    #[test]
    fn each_way_of_being_no_report_has_its_own_sentence() {
        let json = sample::closed().json();
        let newer = json.replacen("\"schema_version\": 2", "\"schema_version\": 3", 1);
        let lacking = json.replacen("\"offered\"", "\"given\"", 1);
        for (text, expected) in [
            ("", "ends in the midst"),
            (&json[..json.len() / 2], "ends in the midst"),
            ("verdict: fine\n", "is not JSON (line 1)"),
            ("{}", "is not a report of loadgen: it has no schema_version"),
            ("[1, 2]", "is not a report of loadgen"),
            ("{\"schema_version\": 7}", "is not a report of loadgen"),
            (&newer, "has schema version 3, but this loadgen reads version 2"),
            (&lacking, "is not a report of loadgen: missing field `offered`"),
        ] {
            assert!(mistake(text.as_bytes()).starts_with(expected), "{}", mistake(text.as_bytes()));
        }
        assert!(mistake(b"\xff\xfe{").starts_with("is not JSON"));
    }

    #[test]
    fn a_file_that_is_not_there_is_said_so() {
        let error = Report::read(Path::new("there/is/none.json")).expect_err("there is none");
        assert_eq!(error.to_string(), "there/is/none.json: there is no such file");
    }
}
