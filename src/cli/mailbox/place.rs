//! Where a mailbox is: what the mail commands are told of it, and what that leads to.

use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use clap::Args;
use fastsmtp::accounts::{self, Accounts};
use fastsmtp::disk::RealDisk;
use fastsmtp::limits::MAILBOXES_COMPARED_MAX;
use fastsmtp::mailbox::{MailboxPath, ROOT};
use fastsmtp::smtp::Address;
use fastsmtp::units::duration;

use super::Mailbox;
use super::directory::Directory;
use super::maildrop::{Login, Maildrop, Remote};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{counted, exit_of, printable};
use crate::config::{Config, Flags, Key, Origin, Setting};
use crate::machine::Machine;

/// The arguments that say which mailbox, of every command that reads mail.
#[derive(Args)]
#[group(skip)]
pub struct Place {
    /// The mailbox's address, an alias of it, or one that a catch-all takes; with --server: the user
    pub address: String,
    /// Read the mailbox in this data directory; a server may be running there or not [default: what the file or
    /// FASTSMTP_DATA says, or ./fastsmtp-data]
    #[arg(long, value_name = "DIR", help_heading = HEADING)]
    data: Option<String>,
    /// The accounts file [default: what the file or FASTSMTP_ACCOUNTS says, or accounts.toml in the data directory]
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    accounts: Option<String>,
    /// The server's TOML file
    #[arg(long, value_name = "FILE", help_heading = HEADING)]
    config: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

const HEADING: &str = "The mailbox";

/// How long each answer of a server may take. Not for `wait`, which has its own `--timeout`.
#[derive(Args)]
#[group(skip)]
pub struct Patience {
    /// Wait so long for each answer of the server [default: 30s]
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "server", help_heading = "The server")]
    pub timeout: Option<Duration>,
}

/// A mailbox that was found.
pub enum Found {
    /// In this data directory.
    Here(Here),
    /// At a server, to be asked each time anew.
    There(Rc<Login>),
}

/// A mailbox of a data directory.
pub struct Here {
    data: PathBuf,
    /// Whose it is: the account's own address, or the one that was asked for.
    address: Address,
    /// Whether there may be such a mailbox, though it has no directory yet.
    is_account: bool,
}

impl Place {
    /// An error where nobody tells which mail is new.
    pub fn tells_new(&self) -> Result<(), Failure> {
        match self.remote.is_asked_for() {
            false => Ok(()),
            true => Err(Failure::new(
                Exit::Usage,
                "--new: a server does not tell by POP3 which mail is new; leave it out, or read the mailbox with --data",
            )),
        }
    }

    /// Finds the mailbox. A missing directory is no mistake where an account has it. `timeout` is for each answer of a
    /// server.
    pub fn find(self, timeout: Option<Duration>) -> Result<Found, Failure> {
        let Place { address, data, accounts, config, remote } = self;
        if remote.is_asked_for() {
            if data.is_some() || accounts.is_some() || config.is_some() {
                let sentence = "--server: the mailbox is either there or in --data, --accounts and --config; say one of them";
                return Err(Failure::new(Exit::Usage, sentence));
            }
            return Ok(Found::There(Rc::new(remote.login(address, timeout)?)));
        }
        here(&address, data, accounts, config).map(Found::Here)
    }
}

/// Finds the mailbox of an address in a data directory, by what the command line says of that.
pub fn here(
    address: &str,
    data: Option<String>,
    accounts: Option<String>,
    config: Option<PathBuf>,
) -> Result<Here, Failure> {
    let config = config_of([("data", data), ("accounts", accounts)], config)?;
    let address = parsed(address, &config)?;
    let accounts = accounts::read(&config.accounts_file())?.unwrap_or_default();
    let Some((owner, is_account)) = owner(&accounts, &address) else {
        return Err(no_account(&accounts, &address));
    };
    Ok(Here { data: config.data, address: owner, is_account })
}

impl Found {
    /// Opens the mailbox, which must be there.
    pub fn open(&self) -> Result<Mailbox, Failure> {
        self.open_until(None)
    }

    /// The same; nothing that is done at a server lasts beyond `end`, if there is one.
    pub fn open_until(&self, end: Option<Instant>) -> Result<Mailbox, Failure> {
        match self {
            Found::Here(here) => {
                here.must_be_there()?;
                here.open()
            }
            Found::There(login) => Ok(Mailbox::Maildrop(Box::new(Maildrop::open(login, end)?))),
        }
    }

    /// Whose mailbox it is.
    pub fn address(&self) -> String {
        match self {
            Found::Here(here) => here.address.to_string(),
            Found::There(login) => login.user().to_owned(),
        }
    }

    /// Where it is, for people.
    pub fn place(&self) -> String {
        let place = match self {
            Found::Here(here) => here.path().display().to_string(),
            Found::There(login) => login.server(),
        };
        printable(place.as_bytes())
    }
}

impl Here {
    /// Opens the mailbox, be it there or not; the data directory must.
    pub fn open(&self) -> Result<Mailbox, Failure> {
        let disk = RealDisk::existing(&self.data).map_err(|error| {
            let place = printable(self.data.to_string_lossy().as_bytes());
            let sentence = format!("{place}: {error}; name the server's data directory with --data");
            Failure::new(exit_of(&error), sentence)
        })?;
        Ok(Mailbox::Directory(Directory::new(disk, MailboxPath::of(&self.address), self.path())))
    }

    fn path(&self) -> PathBuf {
        self.data.join(MailboxPath::of(&self.address).as_str())
    }

    fn must_be_there(&self) -> Result<(), Failure> {
        let may_be_there = self.is_account || !self.data.is_dir() || self.path().symlink_metadata().is_ok();
        if may_be_there { Ok(()) } else { Err(no_mailbox(&self.data, &self.address)) }
    }
}

/// The configuration as `serve` would find it.
fn config_of(flags: [(&str, Option<String>); 2], file: Option<PathBuf>) -> Result<Config, Failure> {
    let setting = |(name, value): (&str, Option<String>)| {
        let key = Key::named(name).expect("the table has it");
        Some(Setting { key, values: vec![value?], origin: Origin::Flag })
    };
    let flags =
        Flags { settings: flags.into_iter().filter_map(setting).collect(), file, check_config: false };
    Config::load(flags, std::env::vars_os(), &Machine::here())
}

fn parsed(text: &str, config: &Config) -> Result<Address, Failure> {
    if !text.contains('@') {
        let domain = config.options.local_domains.first().map_or("example.com", String::as_str);
        let text = printable(text.as_bytes());
        let sentence = format!("'{text}' has no domain; say the whole address, like {text}@{domain}");
        return Err(Failure::new(Exit::Usage, sentence));
    }
    accounts::address(text).map_err(|fault| Failure::new(Exit::Usage, fault.to_string()))
}

/// Whose mailbox gets mail for an address, as the server has it, and whether that is an account; none if nobody's.
fn owner(accounts: &Accounts, address: &Address) -> Option<(Address, bool)> {
    if let Some(account) = accounts.recipient(address) {
        return Some((account.address.clone(), true));
    }
    if address.local_part().eq_ignore_ascii_case(POSTMASTER) {
        return Some((Address::new(POSTMASTER, address.domain()), false));
    }
    (!accounts.is_kept()).then(|| (address.clone(), false))
}

/// Whom every server has (RFC 5321 4.5.1), with an account or without.
const POSTMASTER: &str = "postmaster";

fn no_account(accounts: &Accounts, address: &Address) -> Failure {
    let known = accounts.iter().map(|account| account.address.to_string()).collect::<Vec<_>>();
    let mend = match nearest(&address.to_string(), &known) {
        Some(near) => format!("did you mean {near}?"),
        None => format!("'fastsmtp user list' lists the {}", counted(known.len(), "account")),
    };
    Failure::new(
        Exit::NoUser,
        printable(format!("no mailbox {address}: no account gets its mail; {mend}").as_bytes()),
    )
}

/// The sentence for a mailbox that has never had mail, where there are no accounts.
fn no_mailbox(data: &Path, address: &Address) -> Failure {
    let known = mailboxes(&data.join(ROOT));
    let place = data.display();
    let mend = match (nearest(&address.to_string(), &known), known.len()) {
        (Some(near), _) => format!("did you mean {near}?"),
        (None, 0) => "there is none yet: a mailbox is made by its first mail".to_owned(),
        (None, 1) => format!("the only one is {}", known[0]),
        (None, count) => format!("there are {count} others; a mailbox is made by its first mail"),
    };
    Failure::new(Exit::NoUser, printable(format!("no mailbox {address} in {place}; {mend}").as_bytes()))
}

/// The known address that was perhaps meant.
fn nearest(wanted: &str, known: &[String]) -> Option<String> {
    let distances = known.iter().map(|known| (strsim::osa_distance(known, wanted), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= MISTYPED_MAX).then(|| known.clone())
}

/// Characters that may be wrong in an address that was meant to be another.
const MISTYPED_MAX: usize = 2;

/// The mailboxes of a data directory, by their directories' names, at most [`MAILBOXES_COMPARED_MAX`]; what cannot be
/// read has none.
fn mailboxes(root: &Path) -> Vec<String> {
    let names = |directory: &Path| {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().into_string().ok()).collect::<Vec<_>>()
    };
    let of_domain = |domain: String| {
        let users = names(&root.join(&domain)).into_iter();
        users.map(move |user| format!("{user}@{domain}")).collect::<Vec<_>>()
    };
    names(root).into_iter().flat_map(of_domain).take(MAILBOXES_COMPARED_MAX).collect()
}
