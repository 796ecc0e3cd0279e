//! Who the menu talks with: a person at a terminal, whose lines can be edited, or a program at the other end of a pipe, which
//! gets no prompts and nothing that steers a terminal.

use std::io::{self, BufRead, ErrorKind, IsTerminal};

use fastsmtp::limits::{MENU_HISTORY_MAX, MENU_LINE_MAX};
use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{exit_of, print, printable};
use crate::cli::password;

/// What there is to ask and to tell.
pub trait Console {
    /// Asks for a line, which comes without its end.
    fn ask(&mut self, prompt: &str) -> Result<Answer, Failure>;
    /// The same for a password: nobody sees it, nothing keeps it.
    fn ask_secret(&mut self, prompt: &str) -> Result<Answer, Failure>;
    /// Tells some lines, which must be fit for a terminal.
    fn say(&mut self, text: &str) -> Result<(), Failure>;
    /// Tells that something failed, made fit for a terminal.
    fn complain(&mut self, failure: &Failure) -> Result<(), Failure>;
    /// The exit code of the first complaint; none if there was none, or if a person saw it.
    fn failed(&self) -> Option<Exit>;
    /// Who answers.
    fn kind(&self) -> Kind;
}

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A person, who sees what is told and can be asked what to do.
    Person,
    /// A program, or nobody any more: its lines were written before.
    Program,
}

/// What was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A line.
    Line(String),
    /// Ctrl-C.
    Interrupted,
    /// Ctrl-D, or the end of the pipe.
    End,
}

/// The console of this process.
pub fn console() -> Result<Box<dyn Console>, Failure> {
    match io::stdin().is_terminal() && io::stdout().is_terminal() {
        true => Ok(Box::new(Terminal::new()?)),
        false => Ok(Box::new(Pipe { failed: None })),
    }
}

/// A person at a terminal.
struct Terminal {
    editor: DefaultEditor,
}

impl Terminal {
    fn new() -> Result<Terminal, Failure> {
        let config = Config::builder()
            // What is pasted into a text is lines of it, as if they were typed.
            .bracketed_paste(false)
            .max_history_size(MENU_HISTORY_MAX)
            .map_err(failure)?
            .build();
        Ok(Terminal { editor: DefaultEditor::with_config(config).map_err(failure)? })
    }
}

impl Console for Terminal {
    fn ask(&mut self, prompt: &str) -> Result<Answer, Failure> {
        match self.editor.readline(prompt) {
            Ok(line) => {
                if !prompt.is_empty() && !line.is_empty() {
                    self.editor.add_history_entry(&line).map_err(failure)?;
                }
                Ok(Answer::Line(line))
            }
            Err(ReadlineError::Interrupted) => Ok(Answer::Interrupted),
            Err(ReadlineError::Eof) => Ok(Answer::End),
            Err(error) => Err(failure(error)),
        }
    }

    fn ask_secret(&mut self, prompt: &str) -> Result<Answer, Failure> {
        match password::typed(prompt) {
            Ok(line) => Ok(Answer::Line(line)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(Answer::End),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Answer::Interrupted),
            Err(error) => Err(failure(ReadlineError::Io(error))),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        print(text.as_bytes())
    }

    fn complain(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.say(&format!("{}.\n", printable(failure.sentence.as_bytes())))
    }

    fn failed(&self) -> Option<Exit> {
        None
    }

    fn kind(&self) -> Kind {
        Kind::Person
    }
}

fn failure(error: ReadlineError) -> Failure {
    let exit = match &error {
        ReadlineError::Io(error) => exit_of(error),
        _ => Exit::InputOutput,
    };
    Failure::new(exit, format!("the terminal cannot be read: {error}"))
}

/// A program, or a person whose output goes elsewhere.
struct Pipe {
    /// The exit code of the first complaint.
    failed: Option<Exit>,
}

impl Console for Pipe {
    fn ask(&mut self, _: &str) -> Result<Answer, Failure> {
        line(io::stdin().lock())
            .map_err(|error| Failure::new(exit_of(&error), format!("standard input: {error}")))
    }

    fn ask_secret(&mut self, prompt: &str) -> Result<Answer, Failure> {
        match io::stdin().is_terminal() {
            true => Terminal::new()?.ask_secret(prompt),
            false => self.ask(prompt),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        print(text.as_bytes())
    }

    fn complain(&mut self, failure: &Failure) -> Result<(), Failure> {
        self.failed = self.failed.or(Some(failure.exit));
        crate::logging::say(&failure.to_string());
        Ok(())
    }

    fn failed(&self) -> Option<Exit> {
        self.failed
    }

    fn kind(&self) -> Kind {
        Kind::Program
    }
}

/// The next line of a pipe; what is no UTF-8 in it is replaced.
fn line(input: impl BufRead) -> io::Result<Answer> {
    let mut octets = Vec::new();
    if input.take(MENU_LINE_MAX).read_until(b'\n', &mut octets)? == 0 {
        return Ok(Answer::End);
    }
    if octets.len() as u64 == MENU_LINE_MAX && !octets.ends_with(b"\n") {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            format!("a line is longer than {MENU_LINE_MAX} octets"),
        ));
    }
    let line = octets.strip_suffix(b"\n").unwrap_or(&octets);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    Ok(Answer::Line(String::from_utf8_lossy(line).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_gives_line_by_line_and_then_the_end() {
        let mut input = &b"one\r\n\ntwo \xff\nlast"[..];
        let mut next = || line(&mut input).unwrap();
        let lines = ["one", "", "two \u{fffd}", "last"].map(|line| Answer::Line(line.to_owned()));
        assert_eq!([next(), next(), next(), next()], lines);
        assert_eq!([next(), next()], [Answer::End, Answer::End]);
    }

    #[test]
    fn a_line_without_end_is_not_held_in_memory() {
        assert!(line(&vec![b'x'; MENU_LINE_MAX as usize + 1][..]).is_err());
    }
}
