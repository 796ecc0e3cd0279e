//! A program at a terminal, and the person before it, who types and sees the screen. The terminal is the window of a tmux
//! that nobody else uses: it ends with the value, and the program with it, also when a test fails.
//!
//! Nothing waits for a time. What a key brings about is waited for on the screen before the next is typed; so wait for what
//! was not there before.
//!
//! ```text
//! let terminal = Terminal::start(Command::new("mutt").args(["-f", "inbox"]));
//! terminal.wait_for("Msgs:2");
//! terminal.type_text("~s hello");
//! terminal.press(&["Enter"]);
//! assert_eq!(terminal.end(), 0);
//! ```

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::PATIENCE;

/// Characters of a line.
pub const COLUMNS: u16 = 120;
/// Lines of the screen.
pub const ROWS: u16 = 40;

/// A running program and its screen.
pub struct Terminal {
    /// Where tmux has its socket, and the exit status is.
    directory: TempDir,
}

/// What is to be seen.
pub struct Screen {
    /// Its lines, each with its end and without blanks before that.
    pub text: String,
    /// Whether the program has ended, and this is the last of it; tmux adds a line that says so.
    pub is_over: bool,
}

impl Terminal {
    /// Starts a program. Its environment is what `command` sets of it, PATH, and a terminal in UTF-8.
    pub fn start(command: &Command) -> Terminal {
        let terminal = Terminal { directory: tempfile::tempdir().unwrap() };
        let mut tmux = terminal.tmux();
        tmux.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        tmux.arg("start-server");
        for (option, value) in OPTIONS {
            tmux.args([";", "set-option", "-g", option, value]);
        }
        tmux.args([";", "new-session", "-d", "-x", &COLUMNS.to_string(), "-y", &ROWS.to_string()]);
        if let Some(directory) = command.get_current_dir() {
            tmux.arg("-c").arg(directory);
        }
        tmux.args(["sh", "-c", KEEP_STATUS]).arg(terminal.status());
        tmux.args(["env", "-u", "TMUX", "-u", "TMUX_PANE"]); // it need not know
        tmux.arg(word(command.get_program())).args(command.get_args().map(word));
        finish(&mut tmux);
        terminal
    }

    /// Types a text as it is.
    pub fn type_text(&self, text: &str) {
        finish(self.tmux().args(["send-keys", "-l", "--"]).arg(word(text.as_ref())));
    }

    /// Presses keys that have a name, as tmux calls them: `Enter`, `Escape`, `Up`, `C-c`.
    pub fn press(&self, keys: &[&str]) {
        finish(self.tmux().arg("send-keys").args(keys));
    }

    /// What is to be seen now; perhaps in the middle of its being drawn.
    pub fn screen(&self) -> Screen {
        let text =
            finish(self.tmux().args(["display-message", "-p", "#{pane_dead}", ";", "capture-pane", "-p"]));
        let (is_dead, text) = text.split_once('\n').expect("the answer to the first question is a line");
        Screen { text: text.to_owned(), is_over: is_dead == "1" }
    }

    /// Waits until `text` is to be seen, which may have several lines; gives the screen.
    pub fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is as wanted, and gives it. The test fails if that takes too long, and at once if the program
    /// has ended.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> String {
        let screen = self.watch(what, |screen| screen.is_over || is_so(&screen.text));
        assert!(is_so(&screen.text), "the program ended without this on the screen: {what}\n{}", screen.text);
        screen.text
    }

    /// Waits until the program has ended, and gives its exit status; 128 and more is a signal, as for a shell.
    pub fn end(self) -> i32 {
        let screen = self.watch("the end of the program", |screen| screen.is_over);
        let status = fs::read_to_string(self.status()).unwrap_or_default();
        status.trim_end().parse().unwrap_or_else(|_| panic!("its shell was killed\n{}", screen.text))
    }

    fn watch(&self, what: &str, is_so: impl Fn(&Screen) -> bool) -> Screen {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if is_so(&screen) {
                return screen;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain: {what}\n{}", screen.text);
            thread::sleep(Duration::from_millis(20)); // each look is a process
        }
    }

    /// Where the exit status is kept.
    fn status(&self) -> PathBuf {
        self.directory.path().join("status")
    }

    /// A command of this tmux.
    fn tmux(&self) -> Command {
        let mut tmux = Command::new("tmux");
        let path = std::env::var_os("PATH").unwrap_or_default();
        tmux.env_clear().env("PATH", path).env("LC_ALL", "C.UTF-8").env("TMUX_TMPDIR", self.directory.path());
        tmux.args(["-u", "-L", "test", "-f", "/dev/null"]);
        tmux
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.tmux().arg("kill-server").stderr(Stdio::null()).status();
    }
}

/// The whole window is the program's, and what was last seen stays when it has ended.
const OPTIONS: [(&str, &str); 4] = [
    ("default-terminal", "screen"),
    ("status", "off"),
    ("remain-on-exit", "on"),
    ("alternate-screen", "off"),
];

/// Runs a command, and keeps its exit status in a file, also where keys interrupt it. Tmux itself may miss the status: version
/// 3.3a now and then sees the end of the output, and not the end of the process.
const KEEP_STATUS: &str = r#"trap : INT QUIT; "$@"; echo $? >"$0""#;

/// A word of a command of tmux: a semicolon at its end would begin another.
fn word(text: &OsStr) -> OsString {
    match text.to_str().and_then(|text| text.strip_suffix(';')) {
        Some(before) => format!("{before}\\;").into(),
        None => text.to_owned(),
    }
}

/// Runs it, insists that it succeeds, and gives what it says.
fn finish(tmux: &mut Command) -> String {
    let output = tmux.stdin(Stdio::null()).output().unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tmux:?}: {complaint}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
