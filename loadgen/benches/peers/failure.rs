//! Why the comparison cannot go on, in one sentence; and the flag that a signal raises, which every wait looks at.

use std::fmt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// Why something was not done.
#[derive(Debug)]
pub enum Failure {
    /// By SIGINT or SIGTERM: nothing further is begun.
    Interrupted,
    /// Something that was needed is not there or did not work; the sentence says what, and how to mend it if one can.
    Broken(String),
}

impl Failure {
    /// From anything that has a sentence.
    pub fn new(sentence: impl Into<String>) -> Failure {
        Failure::Broken(sentence.into())
    }

    /// What the system said of a file or directory.
    pub fn of(path: &Path) -> impl FnOnce(std::io::Error) -> Failure {
        move |error| Failure::Broken(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Interrupted => f.write_str("interrupted"),
            Failure::Broken(sentence) => f.write_str(sentence),
        }
    }
}

static INTERRUPTED: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on a signal raises the flag, and nothing else: every wait is bounded and looks at it, and what was started,
/// mounted or written has to be undone.
pub fn watch_signals() -> Result<(), Failure> {
    let flag = Arc::clone(INTERRUPTED.get_or_init(Arc::default));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&flag))
            .map_err(|error| Failure::new(format!("no signal can be watched: {error}")))?;
    }
    Ok(())
}

/// An error if a signal came.
pub fn check() -> Result<(), Failure> {
    match INTERRUPTED.get() {
        Some(flag) if flag.load(Ordering::Relaxed) => Err(Failure::Interrupted),
        _ => Ok(()),
    }
}

/// Asks again and again until there is an answer; none after `patience`.
pub fn wait_for<T>(
    patience: Duration,
    mut ask: impl FnMut() -> Result<Option<T>, Failure>,
) -> Result<Option<T>, Failure> {
    let began = Instant::now();
    loop {
        check()?;
        if let Some(answer) = ask()? {
            return Ok(Some(answer));
        }
        if began.elapsed() > patience {
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Runs a command to its end, and what it wrote to its standard output; an error quotes its last words.
pub fn output(command: &mut Command) -> Result<String, Failure> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Failure::new(format!("{name} cannot be run: {error}")))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    let last = said.lines().last().unwrap_or("it said nothing").to_owned();
    Err(Failure::new(format!("{name} failed ({}): {last}", output.status)))
}
