//! How the program ends: the one table of exit codes, and the one sentence that goes with each but 0.
//!
//! The codes are those of sysexits.h, so that scripts and supervisors know them; 2 is what every Unix tool says of a
//! wrong command line. `--help` prints this table.

use std::fmt;
use std::process::ExitCode;

use super::output::printable;

/// Why the program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// It did what it was asked.
    Ok = 0,
    /// The command line is wrong.
    Usage = 2,
    /// What was read is not what it should be.
    Data = 65,
    /// What should be read is not there.
    NoInput = 66,
    /// The user or mailbox does not exist.
    NoUser = 67,
    /// The service is not there, or cannot be offered.
    Unavailable = 69,
    /// A file or directory cannot be created.
    CannotCreate = 73,
    /// The disk failed.
    InputOutput = 74,
    /// It may work later.
    Temporary = 75,
    /// Not permitted.
    Permission = 77,
    /// The configuration file or a variable is wrong.
    Configuration = 78,
    /// Ctrl-C at a question; what a shell says of SIGINT, which the process ends itself by.
    Interrupted = 130,
}

impl Exit {
    /// The whole table, in the order of the codes.
    pub const ALL: [Exit; 12] = [
        Exit::Ok,
        Exit::Usage,
        Exit::Data,
        Exit::NoInput,
        Exit::NoUser,
        Exit::Unavailable,
        Exit::CannotCreate,
        Exit::InputOutput,
        Exit::Temporary,
        Exit::Permission,
        Exit::Configuration,
        Exit::Interrupted,
    ];

    /// The number that the parent process sees.
    pub fn code(self) -> u8 {
        self as u8
    }

    /// What it means, for `--help` and the README.
    pub fn meaning(self) -> &'static str {
        match self {
            Exit::Ok => "it did what it was asked; a server: it was stopped and everything is safe",
            Exit::Usage => "the command line is wrong",
            Exit::Data => "what was read is not what it should be",
            Exit::NoInput => "what should be read is not there",
            Exit::NoUser => "no such user or mailbox",
            Exit::Unavailable => "unavailable: an address is taken, no server answers, or it refused",
            Exit::CannotCreate => "a file or directory cannot be created",
            Exit::InputOutput => "input or output failed; a server: the disk did not sync",
            Exit::Temporary => "not now, try again: the data directory is in use, or the answer was 4xx",
            Exit::Permission => "not permitted",
            Exit::Configuration => "the configuration file or a FASTSMTP_ variable is wrong",
            Exit::Interrupted => "interrupted at a question",
        }
    }
}

/// An end other than [`Exit::Ok`], with the sentence for the one who has to mend it: the thing, the value, the mend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// The exit code.
    pub exit: Exit,
    /// One sentence, without the program's name and without a full stop; none if it was told already.
    pub sentence: String,
}

impl Failure {
    /// A failure of its kind with its sentence.
    pub fn new(exit: Exit, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into() }
    }

    /// A failure whose sentence stands on standard error already.
    pub fn told(exit: Exit) -> Failure {
        Failure::new(exit, "")
    }
}

/// As it is printed on standard error: nothing that it names, be it a file or what a server said, can steer a terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fastsmtp: {}", printable(self.sentence.as_bytes()))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_sentence_steers_the_terminal() {
        let failure = Failure::new(Exit::NoInput, "--attach: no\x1b[2J\u{202e}\n: not there");
        assert_eq!(failure.to_string(), "fastsmtp: --attach: no\\x1b[2J\\u{202e}\\x0a: not there");
    }

    #[test]
    fn the_table_has_each_code_once_and_in_order() {
        assert!(Exit::ALL.is_sorted_by(|one, next| one.code() < next.code()));
    }
}
