//! `fastsmtp serve`: the server.

use std::io::{self, ErrorKind, Write};

use fastsmtp::certificates::CertificateSource;
use fastsmtp::event_loop::{self, Announcement, Setup, StartError};
use fastsmtp::privileges::{self, PrivilegeError, RunAs};
use fastsmtp::server::End;

use super::exit::{Exit, Failure};
use super::output::printable;
use super::supervisor::{self, Supervisor};
use crate::config::Config;
use crate::logging;

/// Runs the server until it is stopped.
pub fn run(mut config: Config) -> Result<(), Failure> {
    if config.check_config {
        if let Some(CertificateSource::Files(files)) = config.certificate_source() {
            files.read().map_err(|error| failure(StartError::Certificate(error)))?;
        }
        config.accounts_source().check(&config.listeners()).map_err(failure)?;
        return print(&config);
    }
    let run_as =
        RunAs::named(config.run_as.as_deref()).map_err(|error| failure(StartError::Privileges(error)))?;
    let handed = supervisor::sockets()?;
    config.listen_where(&handed)?;
    privileges::narrow();
    logging::init(config.log)
        .map_err(|error| Failure::new(Exit::Unavailable, format!("the log cannot start: {error}")))?;
    for warning in &config.warnings {
        log::warn!("{warning}");
    }
    let supervisor = Supervisor::of_this_process();
    let setup = Setup {
        listen: config.listeners(),
        accounts: config.accounts_source(),
        certificate: config.certificate_source(),
        data: config.data,
        run_as,
        options: config.options,
        alive_every: supervisor.alive_every(),
    };
    supervisor.doing("starting: recovering the log");
    let mut serving = Vec::new();
    let announce = |announcement| announce(announcement, &supervisor, &mut serving);
    let end = event_loop::run(&setup, handed, announce).map_err(failure)?;
    match end {
        End::Stopped { undelivered: 0, held: 0 } => log::info!("stopped; all accepted mail is delivered"),
        End::Stopped { undelivered: 0, held } => {
            log::info!("stopped; all accepted mail is delivered but for {held} held messages")
        }
        End::Stopped { undelivered, held } => {
            log::warn!(
                "stopped; {undelivered} accepted messages are delivered at the next start, {held} are held"
            )
        }
        End::Interrupted => return Err(Failure::new(Exit::Temporary, "stopped at once by a second signal")),
        End::Failed(sentence) => return Err(Failure::new(Exit::InputOutput, sentence)),
    }
    Ok(())
}

/// Tells whoever started us: a service manager, and scripts by the start-up contract on standard output, which nobody has to
/// read. `serving` is what the server listens for so far.
fn announce(announcement: Announcement, supervisor: &Supervisor, serving: &mut Vec<String>) {
    match announcement {
        Announcement::Listening(service, address) => {
            serving.push(format!("{} {address}", service.name()));
            say(&format!("listening {} {address}", service.name()));
        }
        Announcement::Ready => {
            supervisor.ready(&format!("serving {}", serving.join(", ")));
            say("ready");
        }
        Announcement::Alive => supervisor.alive(),
        Announcement::Stopping => {
            supervisor.stopping("stopping: transactions and deliveries under way may end");
        }
    }
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn failure(error: StartError) -> Failure {
    let exit = match &error {
        StartError::Listen(_, _, error) | StartError::Data(_, error)
            if error.kind() == ErrorKind::PermissionDenied =>
        {
            Exit::Permission
        }
        StartError::NotTheirs(..) | StartError::Privileges(PrivilegeError::NotRoot(_)) => Exit::Permission,
        StartError::Privileges(PrivilegeError::NoSuchUser(_)) => Exit::NoUser,
        StartError::Privileges(PrivilegeError::System(..) | PrivilegeError::Left(_)) => Exit::Unavailable,
        StartError::Listen(..) | StartError::System(_) => Exit::Unavailable,
        StartError::Data(..) => Exit::CannotCreate,
        StartError::Locked(_) => Exit::Temporary,
        StartError::TwoFileSystems(_)
        | StartError::Certificate(_)
        | StartError::Accounts(_)
        | StartError::NoAccounts(_)
        | StartError::NoUsers(..) => Exit::Configuration,
        StartError::Recovery(_) => Exit::InputOutput,
    };
    Failure::new(exit, error.to_string())
}

/// Prints the configuration as a file of its own.
fn print(config: &Config) -> Result<(), Failure> {
    for warning in &config.warnings {
        eprintln!("fastsmtp: warning: {}", printable(warning.to_string().as_bytes()));
    }
    let mut out = io::stdout().lock();
    out.write_all(config.to_toml().as_bytes())
        .and_then(|()| out.flush())
        .map_err(|error| Failure::new(Exit::InputOutput, format!("standard output: {error}")))
}
