//! The programs that the comparison runs: built by cargo, or found on the system, or named as missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::server::Kind;
use super::{Failure, failure};

/// Where each program is.
#[derive(Debug, Clone)]
pub struct Tools {
    /// The generator.
    pub loadgen: PathBuf,
    /// The example of that name.
    pub null_responder: PathBuf,
    /// The server.
    pub fastsmtp: PathBuf,
    /// Of Debian's package postfix.
    pub smtp_sink: Option<PathBuf>,
    /// The same package's; none also where it cannot be started.
    pub postfix: Option<PathBuf>,
    /// Why one of these is missing, and how to get it.
    pub missing: Vec<Missing>,
}

/// A program that is not there.
#[derive(Debug, Clone)]
pub struct Missing {
    /// Its name.
    pub program: &'static str,
    /// One sentence.
    pub reason: &'static str,
}

impl Tools {
    /// Those of cargo's in `built`, the system's where they are.
    pub fn find(built: &Path) -> Tools {
        let mut missing = Vec::new();
        let smtp_sink = on_path("smtp-sink");
        if smtp_sink.is_none() {
            missing.push(Missing { program: "smtp-sink", reason: NOT_INSTALLED });
        }
        let mut postfix = on_path("postfix");
        if postfix.is_none() {
            missing.push(Missing { program: "postfix", reason: NOT_INSTALLED });
        } else if !rustix::process::geteuid().is_root() {
            postfix = None;
            missing.push(Missing { program: "postfix", reason: NOT_ROOT });
        }
        Tools {
            loadgen: built.join("loadgen"),
            null_responder: built.join("examples/null_responder"),
            fastsmtp: built.join("fastsmtp"),
            smtp_sink,
            postfix,
            missing,
        }
    }

    /// Why a server cannot be run here; none if it can.
    pub fn missing(&self, kind: Kind) -> Option<String> {
        let program = match kind {
            Kind::Sink => "smtp-sink",
            _ if kind.transport().is_some() => "postfix",
            _ => return None,
        };
        self.missing
            .iter()
            .find(|missing| missing.program == program)
            .map(|missing| missing.reason.to_owned())
    }
}

/// A server's version, as it says itself.
pub fn version(tools: &Tools, kind: Kind) -> Option<String> {
    match kind {
        Kind::Null => Some(format!("example of loadgen {}", env!("CARGO_PKG_VERSION"))),
        Kind::FastsmtpMemory | Kind::Fastsmtp | Kind::FastsmtpMaildir => {
            failure::output(Command::new(&tools.fastsmtp).arg("--version")).ok()
        }
        // -d: the program's own, whether or not the system has a configuration. smtp-sink is a part of it.
        _ => failure::output(Command::new(on_path("postconf")?).args(["-dh", "mail_version"]))
            .ok()
            .map(|version| format!("Postfix {version}")),
    }
}

/// The commit of the source, if it is a git checkout.
pub fn commit() -> Option<String> {
    let git = |arguments: &[&str]| {
        failure::output(Command::new("git").args(arguments).current_dir(workspace())).ok()
    };
    git(&["describe", "--always", "--dirty", "--abbrev=12"])
}

/// Where cargo puts what it builds like this program: two directories above it.
pub fn built() -> Result<PathBuf, Failure> {
    let this = std::env::current_exe().map_err(|error| Failure::new(format!("/proc/self/exe: {error}")))?;
    let built = this.parent().and_then(Path::parent);
    built
        .map(Path::to_owned)
        .ok_or_else(|| Failure::new(format!("{} lies in no target directory", this.display())))
}

/// Builds the programs of this workspace as they are run in earnest.
pub fn build() -> Result<(), Failure> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--release", "--workspace", "--bins", "--examples"])
        .current_dir(workspace())
        .status()
        .map_err(|error| Failure::new(format!("cargo cannot be run: {error}")))?;
    if status.success() { Ok(()) } else { Err(Failure::new("cargo could not build the programs")) }
}

/// The workspace's directory.
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in the workspace")
}

/// Installs Debian's package postfix, without a configuration: then it has no service to start.
pub fn install_postfix() -> Result<(), Failure> {
    let is_debian = fs::read_to_string("/etc/os-release").is_ok_and(|text| text.contains("debian"));
    if !is_debian || !rustix::process::geteuid().is_root() {
        return Err(Failure::new("--install needs root on Debian or one of its kind"));
    }
    if on_path("postfix").is_some() {
        return Ok(());
    }
    let script = "echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections && \
                  apt-get update -qq && apt-get install -y -qq --no-install-recommends postfix";
    failure::output(Command::new("sh").args(["-c", script]).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}

/// Where a program is. Those of servers lie in directories that not every user's PATH has.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|file| file.is_file())
}

const NOT_INSTALLED: &str =
    "it is not installed: `apt-get install postfix` (or --install, as root on Debian) has it";
const NOT_ROOT: &str = "Postfix can be started by root only: run the comparison as root to have it";
