//! What tests need of the machine beside the program: mounts, processes, tracing.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    pub fn new(arguments: &[String], directory: &Path) -> Option<Mount> {
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
