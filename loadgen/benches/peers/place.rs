//! Where everybody's data lies: a directory of ours that goes in the end, if wished on a journaled ext4 of its own.

use std::fs;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::{Failure, failure};

/// The directory. Dropping it removes everything, and unmounts and frees what was mounted.
#[derive(Debug)]
pub struct Place {
    // Unmounted before its directory goes.
    mount: Option<Mount>,
    directory: TempDir,
}

impl Place {
    /// A new directory below `root`.
    pub fn below(root: &Path) -> Result<Place, Failure> {
        fs::create_dir_all(root).map_err(Failure::of(root))?;
        let root = root.canonicalize().map_err(Failure::of(root))?;
        if let Some(closed) = root.ancestors().find(|directory| !is_passable(directory)) {
            return Err(Failure::new(format!(
                "--root {}: other users, such as postfix, may not pass {}; choose another place",
                root.display(),
                closed.display()
            )));
        }
        let directory =
            tempfile::Builder::new().prefix("peers-").tempdir_in(&root).map_err(Failure::of(&root))?;
        let permissions = fs::Permissions::from_mode(0o755);
        fs::set_permissions(directory.path(), permissions).map_err(Failure::of(directory.path()))?;
        Ok(Place { mount: None, directory })
    }

    /// The same, with a journaled ext4 in an image file mounted below it, which needs root.
    pub fn with_journal(root: &Path) -> Result<Place, Failure> {
        let mut place = Place::below(root)?;
        if !rustix::process::geteuid().is_root() {
            return Err(Failure::new("--loop-ext4 needs root, to mount the image"));
        }
        let image = place.directory.path().join("disk.img");
        fill(&image)?;
        place.mount = Some(Mount::new(&image, &place.directory.path().join("disk"))?);
        Ok(place)
    }

    /// Where to put things.
    pub fn path(&self) -> PathBuf {
        match &self.mount {
            Some(mount) => mount.directory.clone(),
            None => self.directory.path().to_owned(),
        }
    }
}

/// Writes the image in full, so that no run pays for its blocks.
fn fill(image: &Path) -> Result<(), Failure> {
    eprintln!("peers: writing an image of {} GiB for the journaled ext4", IMAGE_SIZE >> 30);
    let file = fs::File::create(image).map_err(Failure::of(image))?;
    let zeros = vec![0; 1 << 20];
    for at in 0..IMAGE_SIZE >> 20 {
        failure::check()?;
        file.write_all_at(&zeros, at << 20).map_err(Failure::of(image))?;
    }
    file.sync_all().map_err(Failure::of(image))
}

/// A mounted image and its loop device.
#[derive(Debug)]
struct Mount {
    device: String,
    directory: PathBuf,
}

impl Mount {
    fn new(image: &Path, directory: &Path) -> Result<Mount, Failure> {
        let eager = "lazy_itable_init=0,lazy_journal_init=0,nodiscard";
        failure::output(
            Command::new("mkfs.ext4").args(["-q", "-F", "-O", "has_journal", "-E", eager]).arg(image),
        )?;
        fs::create_dir(directory).map_err(Failure::of(directory))?;
        let device =
            failure::output(Command::new("losetup").args(["--find", "--show", "--direct-io=on"]).arg(image))?;
        // From here on it is freed whatever happens.
        let mount = Mount { device, directory: directory.to_owned() };
        failure::output(Command::new("mount").args(["-t", "ext4", &mount.device]).arg(directory))?;
        Ok(mount)
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let run = |command: &mut Command| failure::output(command).map(drop);
        if run(Command::new("umount").arg(&self.directory)).is_err() {
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.directory));
        }
        if let Err(failure) = run(Command::new("losetup").args(["--detach", &self.device])) {
            eprintln!("peers: {} is not freed: {failure}", self.device);
        }
    }
}

fn is_passable(directory: &Path) -> bool {
    fs::metadata(directory).is_ok_and(|metadata| metadata.permissions().mode() & 0o001 != 0)
}

/// fastsmtp's log takes up to 4 GiB of it, one server's data after the other.
const IMAGE_SIZE: u64 = 10 << 30;
