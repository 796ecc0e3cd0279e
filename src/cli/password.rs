//! A password, from whoever runs the command: a new one, typed twice on the terminal without echo, or the one line of
//! standard input; one that a server knows, from a file, a variable, or the terminal. Never an argument: those are
//! everybody's to read while the command runs.

use std::env;
use std::fs::File;
use std::io::{self, BufRead, ErrorKind, IsTerminal, Read};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use fastsmtp::limits::CREDENTIAL_MAX;
use fastsmtp::smtp::Address;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use signal_hook::consts::SIGINT;
use signal_hook::flag::register_conditional_default;

use super::exit::{Exit, Failure};
use super::output::{exit_of, printable};

/// A new password: typed twice on the terminal, or the one line of standard input.
pub fn password(address: &Address) -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        return one_line(io::stdin().lock(), "standard input");
    }
    let ask = |prompt: String| {
        typed(&prompt).map_err(|error| match error.kind() {
            ErrorKind::Interrupted => Failure::new(Exit::Interrupted, "interrupted; nothing was changed"),
            _ => Failure::new(
                exit_of(&error),
                format!("the password cannot be read from the terminal: {error}"),
            ),
        })
    };
    let password = ask(format!("Password for {}: ", printable(address.to_string().as_bytes())))?;
    match ask("Again: ".to_owned())? == password {
        true => Ok(password),
        false => Err(Failure::new(Exit::Data, "the two passwords differ; nothing was changed")),
    }
}

/// The password that `user` has at a server: the [given](given_password) one, else typed on the terminal, which need not be
/// standard input.
pub fn known_password(user: &str, server: &str, file: Option<&Path>) -> Result<String, Failure> {
    given_password(file)?.map_or_else(|| ask_once(user, server), Ok)
}

/// A password that nobody has to type: the one line of `file` (`-` is standard input), else [`VARIABLE`].
pub fn given_password(file: Option<&Path>) -> Result<Option<String>, Failure> {
    match file {
        Some(path) if path.as_os_str() == "-" => one_line(io::stdin().lock(), "standard input").map(Some),
        Some(path) => {
            let source = format!("--password-file: {}", path.display());
            let opened = File::open(path);
            let opened =
                opened.map_err(|error| Failure::new(exit_of(&error), format!("{source}: {error}")))?;
            one_line(opened, &source).map(Some)
        }
        None => match env::var(VARIABLE) {
            Ok(password) => Ok(Some(password)),
            Err(env::VarError::NotUnicode(_)) => {
                Err(Failure::new(Exit::Configuration, format!("{VARIABLE}: the value is not UTF-8 text")))
            }
            Err(env::VarError::NotPresent) => Ok(None),
        },
    }
}

/// The password that is the next line of standard input; what follows is for others.
pub fn next_line() -> Result<String, Failure> {
    let mut line = Vec::new();
    let read = io::stdin().lock().take(LINE_MAX).read_until(b'\n', &mut line);
    read.map_err(|error| Failure::new(Exit::InputOutput, format!("standard input: {error}")))?;
    one_line(line.as_slice(), "standard input")
}

/// What is typed on the terminal, without echo; [`ErrorKind::Interrupted`] is Ctrl-C, which ends nothing here, so that the
/// terminal is put back in any case.
pub fn typed(prompt: &str) -> io::Result<String> {
    let is_deadly = INTERRUPT_IS_DEADLY.get_or_init(|| {
        let is_deadly = Arc::new(AtomicBool::new(true));
        register_conditional_default(SIGINT, Arc::clone(&is_deadly)).expect("SIGINT may be handled");
        is_deadly
    });
    is_deadly.store(false, Ordering::SeqCst);
    let silence = Silence::begin();
    let typed = rpassword::prompt_password(prompt);
    drop(silence);
    is_deadly.store(true, Ordering::SeqCst);
    typed
}

/// The terminal without echo, until it is dropped: rpassword asks first and ends the echo then, so that what is typed, or pasted, at
/// once would be seen.
struct Silence {
    terminal: File,
    before: Termios,
}

impl Silence {
    /// None without a terminal.
    fn begin() -> Option<Silence> {
        let terminal = File::options().read(true).write(true).open("/dev/tty").ok()?;
        let before = tcgetattr(&terminal).ok()?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Now, &silent).ok()?;
        Some(Silence { terminal, before })
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// Whether SIGINT ends the process, once a password was asked for: always but while one is typed. rpassword raises it at
/// Ctrl-C before it gives the terminal its echo back, and would not come to that. The handler stays, for without one of its
/// kind the signal would be ignored from then on (signal-hook does not put the system's back). A SIGINT from elsewhere is
/// passed over while one is typed.
static INTERRUPT_IS_DEADLY: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// Has the password of a user if no file has it.
const VARIABLE: &str = "FASTSMTP_PASSWORD";

fn ask_once(user: &str, server: &str) -> Result<String, Failure> {
    let user = printable(user.as_bytes());
    typed(&format!("Password for {user} at {server}: ")).map_err(|error| match error.kind() {
        ErrorKind::Interrupted => Failure::new(Exit::Interrupted, "interrupted"),
        _ => Failure::new(
            Exit::Usage,
            format!(
                "there is no terminal to ask for the password of {user} on; give --password-file FILE, or {VARIABLE}"
            ),
        ),
    })
}

/// The one line that there is to read, without its end. An error names the source.
fn one_line(input: impl Read, source: &str) -> Result<String, Failure> {
    let failure = |exit, sentence: &str| Failure::new(exit, format!("{source}: {sentence}"));
    let mut octets = Vec::new();
    input
        .take(LINE_MAX)
        .read_to_end(&mut octets)
        .map_err(|error| failure(Exit::InputOutput, &error.to_string()))?;
    let line = octets.strip_suffix(b"\n").map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    let line = line.unwrap_or(&octets);
    if line.contains(&b'\n') {
        return Err(failure(Exit::Data, "has more than one line; the password is to be its only one"));
    }
    String::from_utf8(line.to_vec()).map_err(|_| failure(Exit::Data, "the password is not UTF-8 text"))
}

/// Octets read for a password: enough to see that it is too long.
const LINE_MAX: u64 = 4 * CREDENTIAL_MAX as u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_password_is_the_one_line_of_the_input_exactly() {
        let line = |input: &str| one_line(input.as_bytes(), "x").map_err(|failure| failure.sentence);
        for input in [" pass word ", " pass word \n", " pass word \r\n"] {
            assert_eq!(line(input).as_deref(), Ok(" pass word "));
        }
        assert_eq!(line("a\r").as_deref(), Ok("a\r"), "no line end: to be refused as a password");
        assert_eq!(line("").as_deref(), Ok(""));
        assert!(line("a\nb").unwrap_err().contains("more than one line"));
        assert!(line("a\n\n").unwrap_err().contains("more than one line"));
        assert!(one_line(&b"\xff\n"[..], "x").unwrap_err().sentence.contains("not UTF-8"));
    }
}
