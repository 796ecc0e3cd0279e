//! A text from the user's editor: `$VISUAL`, or else `$EDITOR`, over a file that is for its writer only.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use fastsmtp::disk::random_octets;

use super::exit::{Exit, Failure};
use super::output::exit_of;

/// A text's file, which is there until it is removed: what was written must not be lost with a server that is not there.
#[derive(Debug)]
pub struct Written {
    /// Where it is.
    pub path: PathBuf,
}

impl Written {
    /// Keeps a text in a new file of the directory for temporary files, which only its writer may read.
    pub fn keep(text: &str) -> Result<Written, Failure> {
        let name = format!("fastsmtp-{:016x}.txt", u64::from_ne_bytes(random_octets()));
        let written = Written { path: env::temp_dir().join(name) };
        let path = written.path.display();
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&written.path);
        made.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("{path}: {error}; set TMPDIR to another directory"))
        })?;
        Ok(written)
    }

    /// Removes it. If it cannot be, it stays: it is its writer's.
    pub fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Whether there is an editor.
pub fn is_there() -> bool {
    command().is_some()
}

fn command() -> Option<String> {
    ["VISUAL", "EDITOR"]
        .into_iter()
        .filter_map(|name| env::var(name).ok())
        .find(|command| !command.trim().is_empty())
}

/// Has the user write a text, which is not empty, and gives its file, too.
pub fn write() -> Result<(String, Written), Failure> {
    let editor = command().ok_or_else(|| Failure::new(Exit::Usage, "there is no editor: set EDITOR"))?;
    let written = Written::keep("")?;
    let path = written.path.display();
    edit(&editor, &written.path)?;
    let octets =
        fs::read(&written.path).map_err(|error| Failure::new(exit_of(&error), format!("{path}: {error}")))?;
    let text = String::from_utf8(octets)
        .map_err(|_| Failure::new(Exit::Data, format!("{path}: it is not UTF-8 text; nothing was sent")))?;
    if text.trim().is_empty() {
        written.remove();
        return Err(Failure::new(Exit::Data, "nothing was sent: the text is empty"));
    }
    Ok((text, written))
}

/// Runs the editor as a shell would, so that it may have arguments of its own.
fn edit(editor: &str, path: &Path) -> Result<(), Failure> {
    let failed = |reason: String| {
        let place = path.display();
        Failure::new(
            Exit::Unavailable,
            format!("the editor '{editor}' {reason}; nothing was sent, the text is in {place}"),
        )
    };
    let status = Command::new("sh").arg("-c").arg(format!("{editor} \"$1\"")).arg("sh").arg(path).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(failed(format!("ended with {status}"))),
        Err(error) => Err(failed(format!("cannot be started: {error}"))),
    }
}
