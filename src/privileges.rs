//! Who the process is: from root, who alone may listen below port 1024, to a user who may do nothing else, with no way
//! back.
//!
//! The library has it, rather than the program, because its place is between two steps of the event loop's start: the
//! ports are bound, and nothing was read or written yet, neither a client's octet nor the data directory.
//!
//! What is promised of [`RunAs::drop_root`]: if it comes back well, then all threads have the user's ids and groups and no
//! capability, as the kernel tells of each, and an attempt to be root again has failed. What is not: that the user may do
//! nothing harmful. Whoever runs as root all the time is told so by the caller ([`RunAs::is_root`]).

use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, fchown};
use std::path::Path;
use std::{ffi::CString, fmt};

use nix::unistd::{self, Gid, Uid};

/// Whom the process is to run as, once its ports are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunAs {
    /// The user who started it, who is not root.
    Starter,
    /// Root, for ever.
    Root,
    /// This user, although root started it.
    User(User),
}

/// A user, and all groups that they are in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    name: String,
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

/// Why a process cannot be whom it should be.
#[derive(Debug)]
pub enum PrivilegeError {
    /// There is no such user here.
    NoSuchUser(String),
    /// Only root can become somebody else.
    NotRoot(String),
    /// The system refused a step, or would not say.
    System(&'static str, io::Error),
    /// Something is left of root, or there is a way back.
    Left(String),
}

impl fmt::Display for PrivilegeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PrivilegeError::NoSuchUser(name) => {
                write!(f, "run-as: there is no user '{name}'; add one, or name another")
            }
            PrivilegeError::NotRoot(name) => {
                write!(
                    f,
                    "run-as: only root can become '{name}'; start it as root, or as that user without run-as"
                )
            }
            PrivilegeError::System(step, error) => write!(f, "run-as: cannot {step}: {error}"),
            PrivilegeError::Left(what) => {
                write!(f, "run-as: root's rights cannot be given up: {what}; start it as that user instead")
            }
        }
    }
}

impl std::error::Error for PrivilegeError {}

/// Makes the process less than it could be, whoever it runs as: no file that it makes is anybody else's to read, nor its
/// memory, which has passwords in it, left behind in a core file; and no program that it might be made to start gains
/// rights (`no_new_privs`). To be called before there is a second thread,
/// for the threads to come inherit it.
pub fn narrow() {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none); // to lower it is always allowed
    // Kernels before 3.5 have no such thing; we start no programs anyway.
    let _ = rustix::thread::set_no_new_privs(true);
}

impl RunAs {
    /// Whom `name`, a user's name or number, means for this process; `None` is no wish. A number that no user has is one
    /// with the group of the same number, as in containers.
    pub fn named(name: Option<&str>) -> Result<RunAs, PrivilegeError> {
        let starter = if Uid::effective().is_root() { RunAs::Root } else { RunAs::Starter };
        let Some(name) = name else { return Ok(starter) };
        let user = User::named(name)?;
        match starter {
            RunAs::Root if user.uid.is_root() => Ok(RunAs::Root),
            RunAs::Root => Ok(RunAs::User(user)),
            _ if user.uid == Uid::effective() => Ok(RunAs::Starter),
            _ => Err(PrivilegeError::NotRoot(user.name)),
        }
    }

    /// Whether the process is root and stays so.
    pub fn is_root(&self) -> bool {
        *self == RunAs::Root
    }

    /// The user that the process is to become.
    pub fn user(&self) -> Option<&User> {
        if let RunAs::User(user) = self { Some(user) } else { None }
    }

    /// Becomes the user, for ever.
    pub fn drop_root(&self) -> Result<(), PrivilegeError> {
        let Some(user) = self.user() else { return Ok(()) };
        let failed = |step| move |error: nix::Error| PrivilegeError::System(step, error.into());
        // The user last: only root may change the groups. The C library has all threads do it.
        unistd::setgroups(&user.groups).map_err(failed("set the groups"))?;
        unistd::setresgid(user.gid, user.gid, user.gid).map_err(failed("set the group"))?;
        unistd::setresuid(user.uid, user.uid, user.uid).map_err(failed("set the user"))?;
        user.check_no_way_back()?;
        user.check_threads()
            .map_err(|error| PrivilegeError::System("see in /proc who the threads are", error))?
    }
}

impl User {
    fn named(name: &str) -> Result<User, PrivilegeError> {
        let failed = |error: nix::Error| PrivilegeError::System("look the user up", error.into());
        let mut found = unistd::User::from_name(name).map_err(failed)?;
        let number = name.parse().ok().filter(|_| name.bytes().all(|octet| octet.is_ascii_digit()));
        if let (None, Some(number)) = (&found, number) {
            found = unistd::User::from_uid(Uid::from_raw(number)).map_err(failed)?;
            if found.is_none() {
                let (uid, gid) = (Uid::from_raw(number), Gid::from_raw(number));
                return Ok(User { name: name.to_owned(), uid, gid, groups: vec![gid] });
            }
        }
        let Some(unistd::User { name, uid, gid, .. }) = found else {
            return Err(PrivilegeError::NoSuchUser(name.to_owned()));
        };
        let c_name = CString::new(name.as_str()).expect("a name from the C library has no NUL");
        let groups = unistd::getgrouplist(&c_name, gid).map_err(failed)?;
        Ok(User { name, uid, gid, groups })
    }

    /// The user's name, or the number for want of one.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Makes a directory that is not there the user's, while the process is root, who alone may do so in `/var/lib`. One
    /// that is there stays as it is, and the one above it has to be there.
    pub fn make_directory(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if matches!(error.kind(), ErrorKind::AlreadyExists | ErrorKind::NotFound) => {
                return Ok(());
            }
            made => made?,
        }
        // By descriptor, so that nobody who may write above it has us give away another directory.
        let flags = rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::NOFOLLOW;
        let directory = File::options().read(true).custom_flags(flags.bits() as i32).open(path)?;
        if directory.metadata()?.uid() != Uid::effective().as_raw() {
            return Err(io::Error::new(ErrorKind::PermissionDenied, "somebody put another directory there"));
        }
        fchown(&directory, Some(self.uid.as_raw()), Some(self.gid.as_raw()))?;
        directory.sync_all()?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
    }

    /// Tries to be root again.
    fn check_no_way_back(&self) -> Result<(), PrivilegeError> {
        let root = Uid::from_raw(0);
        let is_back = unistd::setresuid(root, root, root).is_ok()
            || unistd::seteuid(root).is_ok()
            || !self.groups.contains(&Gid::from_raw(0))
                && self.gid.as_raw() != 0
                && unistd::setegid(Gid::from_raw(0)).is_ok();
        match is_back {
            true => Err(PrivilegeError::Left("the process could become root again".to_owned())),
            false => Ok(()),
        }
    }

    /// Looks at what the kernel says of each thread.
    fn check_threads(&self) -> io::Result<Result<(), PrivilegeError>> {
        for thread in fs::read_dir("/proc/self/task")? {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            if let Some(line) = status.lines().find(|line| self.is_left_of_root(line)) {
                return Ok(Err(PrivilegeError::Left(format!("a thread has '{}'", line.replace('\t', " ")))));
            }
        }
        Ok(Ok(()))
    }

    /// Whether a line of a thread's status is not this user's.
    fn is_left_of_root(&self, line: &str) -> bool {
        let Some((name, values)) = line.split_once(':') else { return false };
        let mut values = values.split_ascii_whitespace();
        let mut all_are = |id: u32| values.all(|value| value.parse() == Ok(id));
        match name {
            "Uid" => !all_are(self.uid.as_raw()),
            "Gid" => !all_are(self.gid.as_raw()),
            "Groups" => {
                let is_theirs = |value: &str| self.groups.iter().any(|gid| value.parse() == Ok(gid.as_raw()));
                !values.all(is_theirs)
            }
            "CapPrm" | "CapEff" | "CapAmb" => !values.all(|value| value.bytes().all(|digit| digit == b'0')),
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> User {
        let groups = vec![Gid::from_raw(7), Gid::from_raw(8)];
        User { name: "mail".to_owned(), uid: Uid::from_raw(5), gid: Gid::from_raw(7), groups }
    }

    #[test]
    fn whatever_a_thread_has_left_of_root_is_seen() {
        let good = [
            "Uid:\t5\t5\t5\t5",
            "Gid:\t7\t7\t7\t7",
            "Groups:\t7 8 ",
            "Groups:\t",
            "CapPrm:\t0000000000000000",
            "CapBnd:\t000001ffffffffff",
            "Name:\tfastsmtp",
        ];
        let bad = [
            "Uid:\t5\t0\t5\t5",
            "Uid:\t5\t5\t5\t0",
            "Gid:\t0\t7\t7\t7",
            "Groups:\t0 7 8 ",
            "CapPrm:\t0000000000000400",
            "CapEff:\t000001ffffffffff",
        ];
        assert!(good.iter().all(|line| !user().is_left_of_root(line)));
        assert!(bad.iter().all(|line| user().is_left_of_root(line)));
    }

    #[test]
    fn a_user_has_a_name_or_a_number() {
        let root = User::named("root").unwrap();
        assert_eq!((root.name(), root.uid.as_raw()), ("root", 0));
        assert_eq!(User::named("0").unwrap(), root);
        let number = User::named("4123456789").unwrap();
        assert_eq!((number.uid.as_raw(), number.gid.as_raw()), (4_123_456_789, 4_123_456_789));
        for name in ["", "no such user", "-1", "+1", "99999999999", "root\n"] {
            assert!(matches!(User::named(name), Err(PrivilegeError::NoSuchUser(_))), "{name:?}");
        }
    }
}
