//! An instance of Debian's Postfix of its own: the committed configuration, its own queue, port, data and log.
//!
//! Every command names the instance's directory (`postfix -c DIR`), so the system's own Postfix, running or not, is
//! never touched. Postfix starts as root only; its processes then run as the user `postfix`.

use std::collections::HashSet;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use super::process::Group;
use super::tools::Tools;
use super::{Failure, failure};

/// What it does with mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// Takes it from the queue, and throws it away.
    Discard,
    /// Puts it into a Maildir.
    Maildir,
}

/// An instance's directories.
#[derive(Debug)]
pub struct Instance {
    program: PathBuf,
    root: PathBuf,
}

impl Instance {
    /// Makes its directories and its configuration below `root`, and gives them to the users that Postfix wants.
    pub fn create(
        tools: &Tools,
        root: &Path,
        address: SocketAddr,
        transport: Transport,
    ) -> Result<Instance, Failure> {
        let program = tools.postfix.clone().ok_or_else(|| Failure::new("Postfix is not installed"))?;
        for name in ["etc", "queue", "data", "mail"] {
            let path = root.join(name);
            fs::create_dir(&path).map_err(Failure::of(&path))?;
        }
        let nobody = user("nobody")?;
        give(&root.join("data"), user("postfix")?)?;
        give(&root.join("mail"), nobody)?;
        let transport = match transport {
            Transport::Discard => "discard",
            Transport::Maildir => "virtual",
        };
        let main = MAIN
            .replace("@ROOT@", &root.to_string_lossy())
            .replace("@HOSTNAME@", HOSTNAME)
            .replace("@UID@", &nobody.0.to_string())
            .replace("@GID@", &nobody.1.to_string())
            .replace("@TRANSPORT@", transport);
        let master = MASTER.replace("@PORT@", &address.port().to_string());
        for (name, text) in [("main.cf", main), ("master.cf", master)] {
            let path = root.join("etc").join(name);
            fs::write(&path, text).map_err(Failure::of(&path))?;
        }
        Ok(Instance { program, root: root.to_owned() })
    }

    /// The command that starts it, and stays for as long as it runs.
    pub fn start(&self) -> Command {
        self.postfix("start-fg")
    }

    /// The group of its processes, once its master has said which that is. Without that everything is stopped.
    pub fn group(&self, mut starter: Group) -> Result<Group, Failure> {
        let leader = self.leader(&mut starter);
        if leader.is_err() {
            starter.end();
            self.stop();
        }
        leader.map(|leader| starter.with_leader(leader))
    }

    fn leader(&self, starter: &mut Group) -> Result<u32, Failure> {
        let file = self.root.join("queue/pid/master.pid");
        let leader = failure::wait_for(Duration::from_secs(60), || {
            if starter.has_ended() {
                let said = fs::read_to_string(self.root.join("err")).unwrap_or_default();
                return Err(Failure::new(format!("Postfix did not start: {}", said.trim())));
            }
            Ok(fs::read_to_string(&file).ok().and_then(|text| text.trim().parse().ok()))
        })?;
        leader.ok_or_else(|| Failure::new("Postfix's master did not start within a minute"))
    }

    /// Tells it to stop; its starter ends with it. Whoever holds its group sees to the rest.
    pub fn stop(&self) {
        let _ =
            self.postfix("stop").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status();
    }

    /// Whether all mail has left the queue.
    pub fn queue_is_empty(&self) -> bool {
        ["maildrop", "incoming", "active", "deferred"]
            .iter()
            .all(|name| !has_files(&self.root.join("queue").join(name)))
    }

    /// How many messages its log says were sent, each queue id counted once.
    pub fn sent(&self) -> u64 {
        let log = fs::read_to_string(self.root.join("data/maillog")).unwrap_or_default();
        let ids: HashSet<&str> = log
            .lines()
            .filter(|line| line.contains("status=sent"))
            .filter_map(|line| line.split(": ").nth(1))
            .collect();
        ids.len() as u64
    }

    fn postfix(&self, what: &str) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("-c").arg(self.root.join("etc")).arg(what);
        command
    }
}

/// Whether there is a file in a directory or below it.
fn has_files(directory: &Path) -> bool {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.into_iter().any(|entry| match entry.file_type() {
        Ok(kind) if kind.is_dir() => has_files(&entry.path()),
        _ => true,
    })
}

/// A user's number and that of its group.
fn user(name: &str) -> Result<(u32, u32), Failure> {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = users.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        (fields.first() == Some(&name))
            .then(|| Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?)))?
    });
    found.ok_or_else(|| Failure::new(format!("there is no user {name} in /etc/passwd")))
}

fn give(directory: &Path, (user, group): (u32, u32)) -> Result<(), Failure> {
    chown(directory, Some(user), Some(group)).map_err(Failure::of(directory))
}

/// The name by which servers greet.
pub const HOSTNAME: &str = "mx.example.com";

const MAIN: &str = include_str!("postfix/main.cf");
const MASTER: &str = include_str!("postfix/master.cf");
