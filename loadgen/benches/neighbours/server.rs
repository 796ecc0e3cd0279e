//! The server that the scenarios run against, and the generator of load, as they are built in earnest.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use super::Outcome;

/// The password of every account.
pub const PASSWORD: &str = "correct horse";

/// A server in a directory of its own. Dropping it ends it.
pub struct Server {
    child: Child,
    pub address: SocketAddr,
    /// Where it listens for readers of mail, if it does.
    pub pop3: Option<SocketAddr>,
    place: TempDir,
}

/// Whose processor time comes first: others have what nobody else wants (SCHED_IDLE).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Priority {
    Own,
    Others,
}

impl Server {
    pub fn start(arguments: &[&str]) -> Outcome<Server> {
        Server::over(place()?, arguments)
    }

    /// With accounts of these addresses, whose password is [`PASSWORD`].
    pub fn with_accounts(addresses: &[String], arguments: &[&str]) -> Outcome<Server> {
        let place = place()?;
        addresses.iter().try_for_each(|address| add_user(&place, address))?;
        Server::over(place, arguments)
    }

    /// The same for many, of whom all keep the same of their password: each of its own takes a while.
    pub fn with_like_accounts(addresses: &[String], arguments: &[&str]) -> Outcome<Server> {
        let place = place()?;
        let first = addresses.first().ok_or("nobody is to have an account")?;
        add_user(&place, first)?;
        let file = place.path().join("data/accounts.toml");
        let mut text = fs::read_to_string(&file)?;
        let at = text.find("[[account]]").ok_or("an accounts file without accounts")?;
        let account = text[at..].to_owned();
        for other in &addresses[1..] {
            text.push_str(&format!("\n{}", account.replace(first.as_str(), other)));
        }
        fs::write(&file, text)?;
        Server::over(place, arguments)
    }

    /// Its data directory.
    pub fn data(&self) -> PathBuf {
        self.place.path().join("data")
    }

    /// Resident memory, in octets.
    pub fn resident(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? * 1024)
    }

    /// On a data directory as it is.
    fn over(place: TempDir, arguments: &[&str]) -> Outcome<Server> {
        let mut child = Command::new(program("fastsmtp")?)
            .args(["--listen", "127.0.0.1:0", "--log", "warn", "--data"])
            .arg(place.path().join("data"))
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(fs::File::create(place.path().join("log"))?)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no standard output")?).lines();
        let (mut address, mut pop3) = (None, None);
        for line in lines.by_ref() {
            match line? {
                line if line == "ready" => break,
                line => {
                    let told = |service| line.strip_prefix(service).and_then(|it| it.parse().ok());
                    address = told("listening smtp ").or(address);
                    pop3 = told("listening pop3 ").or(pop3);
                }
            }
        }
        let address =
            address.ok_or_else(|| fs::read_to_string(place.path().join("log")).unwrap_or_default())?;
        Ok(Server { child, address, pop3, place })
    }

    /// Starts the generator against it.
    pub fn load(&self, arguments: &str, priority: Priority) -> Outcome<Child> {
        let loadgen = program("loadgen")?;
        let mut command = match priority {
            Priority::Own => Command::new(loadgen),
            Priority::Others => {
                let mut command = Command::new("chrt");
                command.args(["--idle", "0"]).arg(loadgen);
                command
            }
        };
        command.args(["--target", &self.address.to_string(), "--json", "-"]).args(arguments.split(' '));
        Ok(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What the generator reports at its end.
pub fn report(generator: Child) -> Outcome<Value> {
    Ok(serde_json::from_slice(&generator.wait_with_output()?.stdout)?)
}

/// Adds a user whose password is [`PASSWORD`].
fn add_user(place: &TempDir, address: &str) -> Outcome<()> {
    let mut user = Command::new(program("fastsmtp")?)
        .args(["user", "add", address, "--data"])
        .arg(place.path().join("data"))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    user.stdin.take().ok_or("no standard input")?.write_all(format!("{PASSWORD}\n").as_bytes())?;
    let user = user.wait_with_output()?;
    if !user.status.success() {
        return Err(String::from_utf8_lossy(&user.stderr).into());
    }
    Ok(())
}

/// A directory beside the programs: on a disk, as a rule, where the system's temporary ones may be memory.
pub fn place() -> Outcome<TempDir> {
    Ok(tempfile::tempdir_in(built()?)?)
}

fn program(name: &str) -> Outcome<PathBuf> {
    Ok(built()?.join(name))
}

/// Where cargo puts what it builds like this program: two directories above it.
fn built() -> Outcome<PathBuf> {
    let this = std::env::current_exe()?;
    Ok(this.parent().and_then(Path::parent).ok_or("this program lies in no target directory")?.to_owned())
}

/// Builds the programs as they are run in earnest.
pub fn build() -> Outcome<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = built()?.parent().ok_or("the target directory has no parent")?.to_owned();
    let status = Command::new(cargo)
        .args(["build", "--release", "--workspace", "--bins", "--target-dir"])
        .arg(target)
        .current_dir(workspace)
        .status()?;
    if status.success() { Ok(()) } else { Err("cargo could not build the programs".into()) }
}
