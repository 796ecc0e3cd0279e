//! What this machine is called, and what it lets the process have. Asked once at start.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use fastsmtp::limits::{CONNECTIONS_MAX, DESCRIPTORS_RESERVED};
use fastsmtp::smtp::is_host_name;

/// The facts that defaults depend on; a value, so that tests need no particular machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine {
    /// Its name, one that may stand in a banner.
    pub host_name: String,
    /// Connections that the process's descriptors allow; zero if there are too few for any.
    pub connections_max: usize,
}

impl Machine {
    /// Asks the system, and raises the limit of descriptors on the way.
    pub fn here() -> Machine {
        Machine { host_name: host_name(), connections_max: connections_of(raise_descriptors()) }
    }
}

/// Raises the number of descriptors that the process may have to the hard limit; says how many that is.
pub fn raise_descriptors() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // No limit at all is more than the kernel gives (fs.nr_open): it refuses, and the soft limit stays.
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_err() {
        return current.unwrap_or(u64::MAX);
    }
    maximum.unwrap_or(u64::MAX)
}

/// Connections that so many descriptors allow.
fn connections_of(descriptors: u64) -> usize {
    let descriptors = usize::try_from(descriptors).unwrap_or(usize::MAX);
    descriptors.saturating_sub(DESCRIPTORS_RESERVED).min(CONNECTIONS_MAX)
}

/// The machine's name if it may stand behind EHLO and in a banner, else `localhost`.
fn host_name() -> String {
    let uname = rustix::system::uname();
    let name = uname.nodename().to_str().unwrap_or_default();
    if is_host_name(name) { name.to_owned() } else { "localhost".to_owned() }
}

/// What the system calls the user whose rights the process has; none for one that it has no name for.
pub fn user_name() -> Option<String> {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map(|user| user.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_the_rest_and_are_bounded() {
        assert_eq!(connections_of(1024), 1024 - DESCRIPTORS_RESERVED);
        assert_eq!(connections_of(10), 0);
        assert_eq!(connections_of(u64::MAX), CONNECTIONS_MAX);
    }

    #[test]
    fn the_machine_has_a_name_for_the_banner() {
        assert!(is_host_name(&host_name()));
    }
}
