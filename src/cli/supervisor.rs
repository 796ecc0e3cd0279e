//! The service manager that started us, systemd or another that speaks its protocols: the sockets that it hands over
//! (sd_listen_fds(3)), and what it is told (sd_notify(3)).
//!
//! Both are variables of the environment. Without them there is no service manager, and all of this does nothing. What we
//! tell it is a datagram to a socket that everybody may write to, so it is the same before and after root's rights are given
//! up; the kernel adds who wrote. Nothing here waits once the server is ready: a service manager that does not read misses
//! a line, and the loop goes on.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io;
use std::net::TcpListener;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

use fastsmtp::limits::NOTIFY_WAIT_MS;
use fastsmtp::server::Service;
use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::exit::{Exit, Failure};
use super::output::printable;

/// The listening sockets that were handed over, each with what it is for; none if there are none. To be called once, before
/// there is a second thread: it takes the variables away, so that nobody we might start believes them to be meant.
pub fn sockets() -> Result<Vec<(Service, TcpListener)>, Failure> {
    let names = env::var("LISTEN_FDNAMES").ok();
    let mut handed = ListenFd::from_env();
    let services = services(handed.len(), names.as_deref())?;
    let socket = |(index, service): (usize, Service)| {
        let descriptor = FIRST_DESCRIPTOR + index;
        listener(&mut handed, index).map(|socket| (service, socket)).map_err(|error| {
            let name = service.name();
            wrong(format!(
                "LISTEN_FDS: descriptor {descriptor}, for {name}, is no listening TCP socket: {error}; in its socket unit, \
                 say ListenStream= with an address and port, and Accept=no"
            ))
        })
    };
    services.into_iter().enumerate().map(socket).collect()
}

/// The first descriptor that is handed over (SD_LISTEN_FDS_START).
const FIRST_DESCRIPTOR: usize = 3;

fn listener(handed: &mut ListenFd, index: usize) -> io::Result<TcpListener> {
    let taken = handed.take_tcp_listener(index)?;
    let socket = taken.ok_or_else(|| io::Error::other("it was taken before"))?;
    match socket_acceptconn(&socket)? {
        true => Ok(socket),
        false => Err(io::Error::other("it does not listen")),
    }
}

/// What each of `count` sockets is for, by the names that come with them (FileDescriptorName=).
fn services(count: usize, names: Option<&str>) -> Result<Vec<Service>, Failure> {
    let Some(names) = names.filter(|_| count > 0) else { return Ok(vec![Service::Smtp; count]) };
    let services: Vec<Service> = names.split(':').map(service).collect::<Result<_, _>>()?;
    if services.len() != count {
        let named = services.len();
        return Err(wrong(format!(
            "LISTEN_FDNAMES: names {named} sockets, and LISTEN_FDS says {count}; mend one of them"
        )));
    }
    Ok(services)
}

fn service(name: &str) -> Result<Service, Failure> {
    if let Some(service) = Service::ALL.into_iter().find(|service| service.name() == name) {
        return Ok(service);
    }
    if is_unnamed(name) {
        return Ok(Service::Smtp);
    }
    let known = Service::ALL.map(Service::name).join(", ");
    let name = printable(name.as_bytes());
    Err(wrong(format!(
        "LISTEN_FDNAMES: '{name}' is no service; in its socket unit, say FileDescriptorName= and one of {known}"
    )))
}

/// Whether this is what a socket is called that nobody gave a name: nothing, or after its unit. A unit that is called after
/// another service is hardly meant for mail from everywhere, in plain, at that service's port.
fn is_unnamed(name: &str) -> bool {
    let is_for =
        |service: &Service| *service != Service::Smtp && name.to_ascii_lowercase().contains(service.name());
    let is_of_unit = name.ends_with(".socket") && !Service::ALL.iter().any(is_for);
    name.is_empty() || name == "unknown" || is_of_unit
}

fn wrong(sentence: String) -> Failure {
    Failure::new(Exit::Configuration, sentence)
}

/// Who is told how the server fares.
pub struct Supervisor {
    /// Where it reads, if there is one.
    socket: Option<(UnixDatagram, SocketAddr)>,
    /// How often it has to hear of us, if at all.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that started this process.
    pub fn of_this_process() -> Supervisor {
        Supervisor::new(|name| env::var_os(name))
    }

    fn new(variable: impl Fn(&str) -> Option<OsString>) -> Supervisor {
        let socket = variable("NOTIFY_SOCKET").and_then(|name| match open(&name) {
            Ok(socket) => Some(socket),
            Err(error) => {
                log::warn!(
                    "NOTIFY_SOCKET: {error}; the service manager is not told when the server is ready"
                );
                None
            }
        });
        Supervisor { watchdog: socket.as_ref().and_then(|_| watchdog(variable)), socket }
    }

    /// How often it has to be told that we live; twice as often as it looks.
    pub fn alive_every(&self) -> Option<Duration> {
        self.watchdog.map(|watchdog| watchdog / 2)
    }

    /// Says what the server is doing, for `systemctl status`.
    pub fn doing(&self, what: &str) {
        self.tell(&format!("STATUS={what}"));
    }

    /// Says that connections are served. From here on it is never waited for.
    pub fn ready(&self, what: &str) {
        self.tell(&format!("READY=1\nSTATUS={what}"));
        if let Some((socket, _)) = &self.socket {
            let _ = socket.set_nonblocking(true); // at worst the loop waits NOTIFY_WAIT_MS
        }
    }

    /// Says that the server ends.
    pub fn stopping(&self, what: &str) {
        self.tell(&format!("STOPPING=1\nSTATUS={what}"));
    }

    /// Says that the loop turns.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    fn tell(&self, state: &str) {
        let Some((socket, address)) = &self.socket else { return };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            log::warn!("the service manager cannot be told {}: {error}", printable(state.as_bytes()));
        }
    }
}

/// A socket to write to the one of this name: a path, or an abstract one behind '@'.
fn open(name: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let address = match name.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        [b'/', ..] => SocketAddr::from_pathname(name)?,
        _ => return Err(io::Error::other("is neither a path nor an abstract name, like @name")),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_write_timeout(Some(Duration::from_millis(NOTIFY_WAIT_MS)))?;
    Ok((socket, address))
}

/// How often the service manager wants to hear of this process.
fn watchdog(variable: impl Fn(&str) -> Option<OsString>) -> Option<Duration> {
    let number = |name| variable(name)?.to_str()?.parse().ok();
    let is_ours =
        variable("WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(u64::from(process::id()));
    let micros = number("WATCHDOG_USEC").filter(|micros| is_ours && *micros > 0)?;
    Some(Duration::from_micros(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_is_for_what_its_name_says_and_for_smtp_without_one() {
        use Service::{Smtp, Submission, Submissions};
        assert_eq!(services(2, None).unwrap(), [Smtp, Smtp]);
        assert_eq!(services(0, Some("whatever")).unwrap(), []);
        let names = "smtp:submission:submissions:fastsmtp.socket:unknown:";
        assert_eq!(services(6, Some(names)).unwrap(), [Smtp, Submission, Submissions, Smtp, Smtp, Smtp]);
    }

    #[test]
    fn a_name_that_is_no_service_is_told() {
        let failure = services(2, Some("smtp:im\nap")).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
        assert!(failure.sentence.contains("'im\\x0aap' is no service"), "{failure}");
        assert!(failure.sentence.contains("smtp, submission, submissions"), "{failure}");
        assert!(
            services(3, Some("smtp:smtp"))
                .unwrap_err()
                .sentence
                .contains("names 2 sockets, and LISTEN_FDS says 3")
        );
    }

    #[test]
    fn a_unit_without_a_name_for_its_socket_is_not_taken_for_another_service_than_it_is_called_after() {
        for unit in ["fastsmtp.socket", "smtp-in.socket", "mail.socket"] {
            assert_eq!(services(1, Some(unit)).unwrap(), [Service::Smtp], "{unit}");
        }
        for unit in
            ["fastsmtp-pop3s.socket", "POP3.socket", "fastsmtp-submission.socket", "submissions.socket"]
        {
            let failure = services(1, Some(unit)).unwrap_err();
            let sentence = format!("'{unit}' is no service; in its socket unit, say FileDescriptorName=");
            assert!(failure.sentence.contains(&sentence), "{failure}");
        }
    }

    #[test]
    fn the_watchdog_is_only_for_the_process_that_it_names() {
        let every = |pid: Option<&str>, micros: &str| {
            let (pid, micros) = (pid.map(OsString::from), OsString::from(micros));
            let variable =
                move |name: &str| if name == "WATCHDOG_PID" { pid.clone() } else { Some(micros.clone()) };
            watchdog(variable)
        };
        let ours = process::id().to_string();
        assert_eq!(every(None, "3000000"), Some(Duration::from_secs(3)));
        assert_eq!(every(Some(&ours), "3000000"), Some(Duration::from_secs(3)));
        assert_eq!(every(Some("1"), "3000000"), None);
        assert_eq!(every(None, "0"), None);
        assert_eq!(every(None, "soon"), None);
    }

    #[test]
    fn an_abstract_socket_is_written_to() {
        let name = format!("fastsmtp-test-{}", process::id());
        let read = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        let supervisor =
            Supervisor::new(|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
        assert_eq!(supervisor.alive_every(), None);
        supervisor.ready("serving");
        let mut octets = [0; 100];
        let len = read.recv(&mut octets).unwrap();
        assert_eq!(&octets[..len], b"READY=1\nSTATUS=serving");
    }
}
