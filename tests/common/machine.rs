//! What tests need of the machine beside the program: mounts, processes, tracing.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::server::{PATIENCE, PROGRAM, has_tool};

/// Whether the test may do what only root may; says so if it must be skipped.
pub fn is_root() -> bool {
    let is_root = rustix::process::geteuid().is_root();
    if !is_root {
        println!("skipped: this needs root");
    }
    is_root
}

/// A mounted file system. Dropping it unmounts it, and frees its loop device.
pub struct Mount(PathBuf);

impl Mount {
    /// Mounts on `directory` what `mount` is told; says so if the machine does not allow it.
    pub fn new(arguments: &[&str], directory: &Path) -> Option<Mount> {
        let output = Command::new("mount").args(arguments).arg(directory).output().unwrap();
        if !output.status.success() {
            println!(
                "skipped: this machine cannot mount: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
            return None;
        }
        Some(Mount(directory.to_owned()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let unmount = |how: &[&str]| Command::new("umount").args(how).arg(&self.0).status();
        let is_done = unmount(&[]).is_ok_and(|status| status.success());
        if !is_done {
            let _ = unmount(&["--lazy"]); // a process still has it open: it goes with that
        }
    }
}

/// Whether the program can be traced here; says so if it cannot.
pub fn can_trace() -> bool {
    if !has_tool("strace") {
        return false;
    }
    let output = Command::new("strace").args(["-f", "--seccomp-bpf", "-o", "/dev/null", "true"]).output();
    let can = output.is_ok_and(|output| output.status.success());
    if !can {
        println!("skipped: this machine does not allow tracing");
    }
    can
}

/// A command that becomes the program and is traced into the file `trace`: `calls` are what is written there, and
/// `injection` is what goes wrong, as `strace -e inject=` wants it (`fdatasync:error=EIO:when=3`; counted in each thread
/// for itself).
pub fn traced(trace: &Path, calls: &str, injection: &str) -> Command {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "--seccomp-bpf", "-y", "-s", "0", "-o"]).arg(trace);
    command.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={injection}"), PROGRAM]);
    command
}

/// A system call on a file, as strace saw it.
#[derive(Debug, Clone)]
pub struct Call {
    pub name: String,
    pub path: PathBuf,
    /// Whether it failed because the test wanted it to.
    pub is_injected: bool,
    /// The lines of the trace in which it began and ended.
    pub begin: usize,
    pub end: usize,
}

/// The calls of a program that has ended, in the order of their ends.
pub fn calls(trace: &Path) -> Vec<Call> {
    let started = Instant::now();
    let text = loop {
        let text = fs::read_to_string(trace).unwrap();
        let is_end = |line: &&str| line.contains("+++ exited with") || line.contains("+++ killed by");
        let main = text.split_whitespace().next().unwrap_or_default();
        // The main thread's end is written last.
        if text.lines().filter(is_end).any(|line| line.starts_with(main)) && text.ends_with("+++\n") {
            break text;
        }
        assert!(started.elapsed() < PATIENCE, "strace does not end");
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut begun: HashMap<&str, (usize, &str)> = HashMap::new();
    let mut calls = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let Some((thread, rest)) = line.split_once(' ') else { continue };
        let rest = rest.trim_start();
        if rest.ends_with("<unfinished ...>") {
            begun.insert(thread, (at, rest));
            continue;
        }
        let (begin, what) = if rest.starts_with("<...") {
            begun.remove(thread).expect("what is resumed has begun")
        } else {
            (at, rest)
        };
        let Some((name, arguments)) = what.split_once('(') else { continue };
        let path = arguments.split_once('<').and_then(|(_, path)| path.split_once('>'));
        let Some((path, _)) = path else { continue };
        let is_injected = rest.contains("(INJECTED)");
        calls.push(Call { name: name.to_owned(), path: path.into(), is_injected, begin, end: at });
    }
    calls
}
