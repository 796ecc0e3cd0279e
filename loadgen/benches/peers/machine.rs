//! The machine, as it is described beside every figure.

use std::fs;
use std::path::Path;

use loadgen::report::environment::environment;

use super::results::{FileSystem, Machine};
use super::server::Lab;

/// This one.
pub fn describe(lab: &Lab) -> Machine {
    Machine {
        environment: environment(),
        system: system().unwrap_or_default(),
        is_virtual: read("/proc/cpuinfo").contains(" hypervisor"),
        server_core: lab.server_core as u64,
        generator_core: lab.generator_core as u64,
        file_system: file_system(&lab.place).unwrap_or_default(),
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn system() -> Option<String> {
    let text = read("/etc/os-release");
    let line = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(line.trim_matches('"').to_owned())
}

/// The mount that a directory is in: the last of those with the longest directory above it.
fn file_system(place: &Path) -> Option<FileSystem> {
    let mounts = read("/proc/self/mounts");
    let fields = mounts
        .lines()
        .map(|line| line.split(' ').collect::<Vec<_>>())
        .filter(|fields| fields.len() >= 4 && place.starts_with(fields[1]))
        .max_by_key(|fields| fields[1].len())?;
    let (device, kind) = (fields[0], fields[2]);
    // The kernel lists the journals of ext4 by device.
    let name = device.rsplit('/').next().unwrap_or(device);
    let journals = fs::read_dir("/proc/fs/jbd2").into_iter().flatten().flatten();
    let is_listed = |entry: fs::DirEntry| {
        entry.file_name().to_string_lossy().rsplit_once('-').is_some_and(|(listed, _)| listed == name)
    };
    Some(FileSystem {
        kind: kind.to_owned(),
        options: fields[3].to_owned(),
        journal: (kind == "ext4").then(|| journals.into_iter().any(is_listed)),
    })
}
