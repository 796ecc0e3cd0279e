//! One mail is read: what `read` and `wait` share.

use std::io::{self, ErrorKind, IsTerminal, Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{Exit, Failure};
use super::mail::{Mail, json, save, show};
use super::mailbox::{Entry, Mailbox, gone};
use super::output::{is_deceptive, print, printable_json};

/// How a mail is shown, and what becomes of it.
#[derive(Args)]
#[group(skip)]
pub struct Reading {
    /// Print the exact content, octet for octet
    #[arg(long, conflicts_with_all = ["json", "save", "headers"])]
    raw: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    /// Show all header fields
    #[arg(long, conflicts_with = "json")]
    headers: bool,
    /// Save the attachments in this directory, each under a name that is free there
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// Leave the mail as new as it is
    #[arg(long)]
    peek: bool,
}

impl Reading {
    /// Whether the content goes out while it comes in.
    pub fn is_raw(&self) -> bool {
        self.raw
    }

    /// Shows a mail, and marks it as seen.
    pub fn read(&self, mailbox: &mut Mailbox, entry: &Entry) -> Result<(), Failure> {
        match self.raw {
            true => copy(mailbox, entry)?,
            false => self.show(&mailbox.content(entry)?.ok_or_else(|| gone(entry))?, entry)?,
        }
        if self.peek { Ok(()) } else { mailbox.mark_seen(entry) }
    }

    fn show(&self, content: &[u8], entry: &Entry) -> Result<(), Failure> {
        let mail = Mail::of(content);
        let saved = self.save.as_deref().map(|directory| save::save(&mail.parts, directory)).transpose()?;
        if self.json {
            return print(printable_json(&json::mail(entry, &mail, saved.as_deref())).as_bytes());
        }
        let directory = self.save.as_deref().unwrap_or(Path::new(""));
        let paths = saved.map(|names| {
            names.iter().map(|name| directory.join(name).display().to_string()).collect::<Vec<_>>()
        });
        let head = if self.headers { show::header(&mail) + "\n" } else { String::new() };
        print((head + &show::mail(entry, &mail, paths.as_deref())).as_bytes())
    }
}

/// The exact content: to a terminal only what cannot steer it.
fn copy(mailbox: &mut Mailbox, entry: &Entry) -> Result<(), Failure> {
    if !stdout().is_terminal() {
        let mut out = Pipe { out: stdout().lock(), is_closed: false };
        return match mailbox.copy(entry, &mut out) {
            Err(_) if out.is_closed => Ok(()),
            Ok(false) => Err(gone(entry)),
            Ok(true) => out.flush().map_err(|error| Failure::new(Exit::InputOutput, error.to_string())),
            Err(failure) => Err(failure),
        };
    }
    let content = mailbox.content(entry)?.ok_or_else(|| gone(entry))?;
    let is_harmless = |c: char| matches!(c, '\n' | '\t') || !(c.is_control() || is_deceptive(c));
    match std::str::from_utf8(&content) {
        Ok(text) if text.replace("\r\n", "\n").chars().all(is_harmless) => print(&content),
        _ => Err(Failure::new(
            Exit::Usage,
            "--raw: this mail has control characters, which would steer the terminal; say --raw > FILE",
        )),
    }
}

/// Standard output, whose reader may have read enough.
struct Pipe<W> {
    out: W,
    /// Whether it has. Then nothing more is worth reading, and what is written is an error.
    is_closed: bool,
}

impl<W> Pipe<W> {
    fn judged<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        result.map_err(|error| {
            self.is_closed |= error.kind() == ErrorKind::BrokenPipe;
            io::Error::new(error.kind(), format!("standard output: {error}"))
        })
    }
}

impl<W: Write> Write for Pipe<W> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self.out.write(octets) {
            Err(error) if error.kind() == ErrorKind::Interrupted => Err(error),
            written => self.judged(written),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        match self.judged(flushed) {
            Err(_) if self.is_closed => Ok(()),
            flushed => flushed,
        }
    }
}
