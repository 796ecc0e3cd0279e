//! The real server, in a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A running fastsmtp over an empty directory. Dropping it kills it.
pub struct FastSmtp {
    child: Child,
    pub address: SocketAddr,
    root: TempDir,
}

impl FastSmtp {
    /// Starts it on a port of the system's choice, and waits until it is ready.
    pub fn start() -> FastSmtp {
        let root = tempfile::tempdir().unwrap();
        let log = fs::File::create(root.path().join("log")).unwrap();
        let mut child = Command::new(binary())
            .args(["--listen", "127.0.0.1:0", "--hostname", "mx.example.com", "--data"])
            .arg(root.path().join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let listening = lines.next().expect("the start-up contract").unwrap();
        let address = listening.strip_prefix("listening smtp ").unwrap().parse().unwrap();
        assert_eq!(lines.next().unwrap().unwrap(), "ready");
        FastSmtp { child, address, root }
    }

    /// Where its Maildirs are.
    pub fn mailboxes(&self) -> PathBuf {
        self.root.path().join("data/mailboxes")
    }

    /// The delivered messages, once there are as many.
    pub fn delivered(&self, count: usize) -> Vec<PathBuf> {
        let begun = std::time::Instant::now();
        loop {
            let mut files = Vec::new();
            walk(&self.mailboxes(), &mut files);
            if files.len() >= count {
                files.sort();
                return files;
            }
            assert!(begun.elapsed().as_secs() < 60, "{} of {count} were delivered", files.len());
            std::thread::yield_now();
        }
    }
}

impl Drop for FastSmtp {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The files in `new` of all Maildirs below a directory.
fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            walk(&path, files);
        } else if directory.ends_with("new") {
            files.push(path);
        }
    }
}

/// Beside our own binary, where `cargo test --workspace` puts it; who tests this package alone has it built here.
fn binary() -> PathBuf {
    let binary = Path::new(env!("CARGO_BIN_EXE_loadgen")).with_file_name("fastsmtp");
    if !binary.exists() {
        let profile = binary.parent().and_then(Path::file_name).and_then(|name| name.to_str()).unwrap();
        let profile = if profile == "debug" { "dev" } else { profile };
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--package", "fastsmtp", "--bin", "fastsmtp", "--profile", profile])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .status();
        assert!(built.is_ok_and(|status| status.success()) && binary.exists(), "fastsmtp cannot be built");
    }
    binary
}
