//! `fastsmtp user`: the accounts file, for the operator. Works beside a running server, which sees a change by itself,
//! and without one.

use std::io;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Subcommand};
use fastsmtp::accounts::{self, Account, Accounts, AccountsFile, Clash, FileError, PasswordError, Salts};
use fastsmtp::disk::make_durably;
use fastsmtp::mailbox::MailboxPath;
use fastsmtp::smtp::Address;
use fastsmtp::units::size_text;
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output::{counted, exit_of, print, printable, printable_json};
use super::password::password;
use crate::config::{Config, Flags, Key, Origin, Setting};
use crate::machine::Machine;

/// What `fastsmtp user` is asked.
#[derive(Args)]
#[command(after_help = AFTER, subcommand_required = true, arg_required_else_help = true)]
pub struct User {
    /// The server's data directory [default: what the file or FASTSMTP_DATA says, or ./fastsmtp-data]
    #[arg(long, global = true, help_heading = SERVER, value_name = "DIR")]
    data: Option<String>,
    /// The accounts file [default: what the file or FASTSMTP_ACCOUNTS says, or accounts.toml in the data directory]
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE")]
    accounts: Option<String>,
    /// The server's TOML file
    #[arg(long, global = true, help_heading = SERVER, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    asked: Asked,
}

#[derive(Subcommand)]
enum Asked {
    /// Add an account; asks for its password
    #[command(after_help = ADD_EXAMPLES)]
    Add {
        /// Its address: where its mail goes, and its name for logging in
        address: String,
        /// A further address whose mail it gets. May be repeated
        #[arg(long = "alias", value_name = "ADDRESS")]
        aliases: Vec<String>,
        /// A domain whose mail it gets where no account has the address. May be repeated
        #[arg(long = "catch-all", value_name = "DOMAIN")]
        catch_all: Vec<String>,
        /// How much its mailbox may hold, like 1GiB [default: no limit]
        #[arg(long, value_name = "SIZE")]
        quota: Option<String>,
    },
    /// Remove an account; its mailbox stays
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Its address
        address: String,
    },
    /// List the accounts, without anything secret
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// Print one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Give an account another password; asks for it
    #[command(after_help = PASSWORD_EXAMPLES)]
    Password {
        /// Its address
        address: String,
    },
    /// Change an account's aliases, catch-all and quota: each option replaces all there was of its kind
    #[command(override_usage = "fastsmtp user set [OPTIONS] <ADDRESS>", after_help = SET_EXAMPLES)]
    Set(Changes),
}

#[derive(Args)]
#[group(skip)]
#[command(group = ArgGroup::new("changes").args(CHANGES).multiple(true).required(true))]
struct Changes {
    /// Its address
    address: String,
    /// A further address whose mail it gets, instead of those before. May be repeated
    #[arg(long = "alias", value_name = "ADDRESS")]
    aliases: Vec<String>,
    /// No alias any more
    #[arg(long, conflicts_with = "aliases")]
    no_alias: bool,
    /// A domain whose mail it gets where no account has the address, instead of those before. May be repeated
    #[arg(long = "catch-all", value_name = "DOMAIN")]
    catch_all: Vec<String>,
    /// No catch-all any more
    #[arg(long, conflicts_with = "catch_all")]
    no_catch_all: bool,
    /// How much its mailbox may hold, like 1GiB
    #[arg(long, value_name = "SIZE")]
    quota: Option<String>,
    /// No limit any more
    #[arg(long, conflicts_with = "quota")]
    no_quota: bool,
}

const SERVER: &str = "The server";

/// What `set` needs one of.
const CHANGES: [&str; 6] = ["aliases", "no_alias", "catch_all", "no_catch_all", "quota", "no_quota"];

const AFTER: &str = "\
The password is asked for twice on the terminal, without echo. If standard
input is none, its one line is the password. It is never an argument, and only
a hash of it is kept.

Once there is an accounts file, even one without accounts, mail is taken only
for the accounts' addresses, their aliases, 'postmaster', and what a catch-all
takes; USER+TAG@DOMAIN is USER. Upper and lower case are the same. A user logs
in with the account's address, and may send as it and its aliases. A running
server sees a change within seconds; what it has read holds although the file
goes.

Examples:
  fastsmtp user add alice@example.com --data /var/lib/fastsmtp
      asks for a password, and makes accounts.toml there if need be
  fastsmtp user add bob@example.com --alias sales@example.com --quota 1GiB
  pass show mail/bob | head -n 1 | fastsmtp user password bob@example.com
      takes the password from another program
  fastsmtp user set bob@example.com --alias info@example.com --no-quota
      now info@ is his only alias, and his mailbox has no limit
  fastsmtp user set alice@example.com --catch-all example.com
      gives her all mail for example.com that nobody else gets
  fastsmtp user remove bob@example.com";

const ADD_EXAMPLES: &str = "\
Examples:
  fastsmtp user add alice@example.com
  fastsmtp user add bob@example.com --alias sales@example.com --quota 1GiB
  fastsmtp user add carol@example.com < password.txt";

const REMOVE_EXAMPLES: &str = "\
Examples:
  fastsmtp user remove bob@example.com";

const LIST_EXAMPLES: &str = "\
Examples:
  fastsmtp user list
  fastsmtp user list --json";

const PASSWORD_EXAMPLES: &str = "\
Examples:
  fastsmtp user password bob@example.com
  pass show mail/bob | head -n 1 | fastsmtp user password bob@example.com";

const SET_EXAMPLES: &str = "\
Examples:
  fastsmtp user set bob@example.com --alias info@example.com --no-quota
      info@ is his only alias now, and his mailbox has no limit
  fastsmtp user set alice@example.com --catch-all example.com";

/// Does what is asked.
pub fn run(user: User) -> Result<(), Failure> {
    let User { data, accounts, config, asked } = user;
    let desk = Desk { config: config_of([("data", data), ("accounts", accounts)], config)? };
    match asked {
        Asked::Add { address, aliases, catch_all, quota } => {
            let changes = Edit::new(Some(aliases), Some(catch_all), Some(quota))?;
            desk.add(desk.address(&address)?, changes)
        }
        Asked::Remove { address } => desk.remove(&desk.address(&address)?),
        Asked::List { json } => desk.list(json),
        Asked::Password { address } => desk.password(&desk.address(&address)?),
        Asked::Set(changes) => desk.set(&desk.address(&changes.address)?, changes.edit()?),
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

/// What is to become of an account. `None` leaves it as it is.
struct Edit {
    aliases: Option<Vec<Address>>,
    catch_all: Option<Vec<String>>,
    quota: Option<Option<std::num::NonZeroU64>>,
}

impl Edit {
    fn new(
        aliases: Option<Vec<String>>,
        catch_all: Option<Vec<String>>,
        quota: Option<Option<String>>,
    ) -> Result<Edit, Failure> {
        let each = |read: fn(&str) -> _, texts: Vec<String>| texts.iter().map(|text| read(text)).collect();
        let domains = |texts: Vec<String>| texts.iter().map(|text| accounts::domain(text)).collect();
        Ok(Edit {
            aliases: aliases
                .map(|texts| each(accounts::address, texts))
                .transpose()
                .map_err(wrong("--alias: "))?,
            catch_all: catch_all.map(domains).transpose().map_err(wrong("--catch-all: "))?,
            quota: quota
                .map(|text| text.map(|text| accounts::quota_of(&text)).transpose())
                .transpose()
                .map_err(wrong("--"))?,
        })
    }

    fn apply(&self, account: &mut Account) {
        let Edit { aliases, catch_all, quota } = self;
        account.aliases = aliases.clone().unwrap_or_else(|| account.aliases.clone());
        account.catch_all = catch_all.clone().unwrap_or_else(|| account.catch_all.clone());
        account.quota = quota.unwrap_or(account.quota);
    }

    /// The domains that it names.
    fn domains(&self) -> impl Iterator<Item = String> {
        let aliases = self.aliases.iter().flatten().map(|alias| alias.domain_key().into_owned());
        aliases.chain(self.catch_all.iter().flatten().cloned())
    }
}

impl Changes {
    fn edit(self) -> Result<Edit, Failure> {
        let replaced = |values: Vec<String>, none: bool| (none || !values.is_empty()).then_some(values);
        let quota = match self.quota {
            None if self.no_quota => Some(None),
            quota => quota.map(Some),
        };
        Edit::new(replaced(self.aliases, self.no_alias), replaced(self.catch_all, self.no_catch_all), quota)
    }
}

fn wrong(flag: &'static str) -> impl Fn(accounts::Fault) -> Failure {
    move |fault| Failure::new(Exit::Usage, format!("{flag}{fault}"))
}

/// Where accounts are looked after.
struct Desk {
    config: Config,
}

impl Desk {
    fn address(&self, text: &str) -> Result<Address, Failure> {
        if !text.contains('@') {
            let domain = self.config.options.local_domains.first().map_or("example.com", String::as_str);
            let text = printable(text.as_bytes());
            let sentence = format!("'{text}' has no domain; say the whole address, like {text}@{domain}");
            return Err(Failure::new(Exit::Usage, sentence));
        }
        accounts::address(text).map_err(wrong(""))
    }

    /// The accounts as they are.
    fn accounts(&self) -> Result<Accounts, Failure> {
        Ok(accounts::read(&self.config.accounts_file())?.unwrap_or_default())
    }

    fn change(&self, change: impl FnOnce(Accounts) -> Result<Accounts, Failure>) -> Result<(), Failure> {
        accounts::change(&self.config.accounts_file(), change)
    }

    fn add(&self, address: Address, edit: Edit) -> Result<(), Failure> {
        self.make_directory()?;
        self.must_be_free(&self.accounts()?, &address)?; // before the password is asked for; once more below
        let password = password(&address)?;
        let mut account = Account::new(address.clone(), &password, Salts::random()).map_err(refused)?;
        edit.apply(&mut account);
        let mut is_first = false;
        self.change(|accounts| {
            self.must_be_free(&accounts, &address)?;
            is_first = accounts.is_empty();
            accounts.with(account).map_err(taken)
        })?;
        self.warn_of_domains(edit.domains().chain([address.domain_key().into_owned()]));
        let mailbox = self.mailbox(&address);
        say(&format!("added {address}; its mailbox is {}", mailbox.display()))?;
        match is_first {
            true => say("it is the first account: from now on mail is taken for accounts only"),
            false => Ok(()),
        }
    }

    /// The data directory, as the server would make it; that of a file elsewhere is its owner's to make.
    fn make_directory(&self) -> Result<(), Failure> {
        let (data, file) = (&self.config.data, self.config.accounts_file());
        if self.config.accounts.is_some() {
            let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty());
            return match directory {
                Some(directory) if !directory.is_dir() => {
                    let sentence =
                        format!("{}: there is no such directory; make it first", directory.display());
                    Err(Failure::new(Exit::CannotCreate, sentence))
                }
                _ => Ok(()),
            };
        }
        make_durably(data).map_err(|error| {
            Failure::new(Exit::CannotCreate, format!("{}: cannot be created: {error}", data.display()))
        })
    }

    fn must_be_free(&self, accounts: &Accounts, address: &Address) -> Result<(), Failure> {
        match accounts.account(address) {
            Some(account) => {
                let there = &account.address;
                let sentence = format!(
                    "{there} exists already; 'fastsmtp user set' changes it, 'fastsmtp user password' its password"
                );
                Err(Failure::new(Exit::Unavailable, sentence))
            }
            None => Ok(()),
        }
    }

    fn remove(&self, address: &Address) -> Result<(), Failure> {
        let mut removed = None;
        let mut is_last = false;
        self.change_existing(address, |accounts, account| {
            removed = Some(account.address.clone());
            is_last = accounts.iter().len() == 1;
            Ok(accounts.without(address))
        })?;
        let address = removed.unwrap_or_else(|| address.clone());
        let mailbox = self.mailbox(&address);
        let rest = match mailbox.is_dir() {
            true => format!("its mailbox stays: {}", mailbox.display()),
            false => "it has no mail".to_owned(),
        };
        say(&format!("removed {address}; {rest}"))?;
        if is_last {
            warn(&format!(
                "no account is left, but the accounts file is: from now on mail is refused (550) for every address but \
                 postmaster's; to take mail for every address again, remove {} and start the server anew",
                self.config.accounts_file().display()
            ));
        }
        Ok(())
    }

    fn password(&self, address: &Address) -> Result<(), Failure> {
        self.existing(&self.accounts()?, address)?; // before the password is asked for; once more below
        let password = password(address)?;
        // Computed before the lock, which others wait for.
        let made = Account::new(address.clone(), &password, Salts::random()).map_err(refused)?;
        self.change_existing(address, |accounts, account| {
            accounts.with(Account { hash: made.hash, scram: made.scram, ..account }).map_err(taken)
        })?;
        say(&format!("{address} has a new password"))
    }

    fn set(&self, address: &Address, edit: Edit) -> Result<(), Failure> {
        self.change_existing(address, |accounts, mut account| {
            edit.apply(&mut account);
            accounts.with(account).map_err(taken)
        })?;
        self.warn_of_domains(edit.domains());
        say(&format!("changed {address}"))
    }

    /// Changes the file if it has the account; otherwise nothing is made, not even a lock.
    fn change_existing(
        &self,
        address: &Address,
        change: impl FnOnce(Accounts, Account) -> Result<Accounts, Failure>,
    ) -> Result<(), Failure> {
        self.existing(&self.accounts()?, address)?;
        self.change(|accounts| {
            let account = self.existing(&accounts, address)?.clone();
            change(accounts, account)
        })
    }

    fn existing<'a>(&self, accounts: &'a Accounts, address: &Address) -> Result<&'a Account, Failure> {
        accounts.account(address).ok_or_else(|| {
            let file = self.config.accounts_file();
            let mend = nearest(accounts, address);
            Failure::new(Exit::NoUser, format!("no account {address} in {}; {mend}", file.display()))
        })
    }

    fn mailbox(&self, address: &Address) -> PathBuf {
        self.config.data.join(MailboxPath::of(address).as_str())
    }

    fn warn_of_domains(&self, domains: impl Iterator<Item = String>) {
        let local = &self.config.options.local_domains;
        let foreign = domains.filter(|domain| !local.is_empty() && !local.contains(domain));
        for domain in foreign.collect::<std::collections::BTreeSet<_>>() {
            warn(&format!(
                "{domain} is not among the local domains, {}; add it to local-domain",
                local.join(", ")
            ));
        }
    }

    fn list(&self, as_json: bool) -> Result<(), Failure> {
        let file = self.config.accounts_file();
        let mut looked = AccountsFile::new(&file);
        let accounts = looked.look().transpose()?.unwrap_or_default();
        if let Some(warning) = looked.warning() {
            warn(&warning);
        }
        if as_json {
            let accounts: Vec<Value> = accounts.iter().map(account_json).collect();
            return print(printable_json(&json!({ "accounts": accounts })).as_bytes());
        }
        let count = counted(accounts.iter().len(), "account");
        let file = printable(file.display().to_string().as_bytes());
        print(format!("{}{count} in {file}\n", table(&accounts)).as_bytes())
    }
}

/// The end of a sentence about an account that does not exist.
fn nearest(accounts: &Accounts, address: &Address) -> String {
    if accounts.is_known(address)
        && let Some(account) = accounts.recipient(address)
    {
        return format!("it leads to {}", account.address);
    }
    let wanted = address.to_string();
    let distance = |account: &Account| strsim::osa_distance(&account.address.to_string(), &wanted);
    match accounts.iter().map(|account| (distance(account), account)).min_by_key(|(distance, _)| *distance) {
        Some((distance, account)) if distance <= MISTYPED_MAX => {
            format!("did you mean {}?", account.address)
        }
        _ => "'fastsmtp user list' lists all".to_owned(),
    }
}

/// Characters that may be wrong in an address that was meant to be another.
const MISTYPED_MAX: usize = 2;

fn account_json(account: &Account) -> Value {
    let aliases: Vec<String> = account.aliases.iter().map(Address::to_string).collect();
    json!({
        "address": account.address.to_string(),
        "aliases": aliases,
        "catch_all": account.catch_all,
        "quota": account.quota,
    })
}

/// The accounts in columns, with a head; nothing where there are none.
fn table(accounts: &Accounts) -> String {
    let rows: Vec<[String; 4]> = accounts.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let head = ["ADDRESS", "QUOTA", "CATCH-ALL", "ALIASES"].map(str::to_owned);
    let rows: Vec<_> = [head].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let [address, quota, catch_all] = [width(0), width(1), width(2)];
    let line = |[a, q, c, last]: &[String; 4]| format!("{a:address$}  {q:quota$}  {c:catch_all$}  {last}");
    rows.iter().map(|row| line(row).trim_end().to_owned() + "\n").collect()
}

fn row(account: &Account) -> [String; 4] {
    let listed = |items: Vec<String>| if items.is_empty() { "-".to_owned() } else { items.join(", ") };
    let quota = account.quota.map_or("-".to_owned(), |quota| size_text(quota.get()).to_string());
    let aliases = listed(account.aliases.iter().map(Address::to_string).collect());
    [account.address.to_string(), quota, listed(account.catch_all.clone()), aliases]
        .map(|text| printable(text.as_bytes()))
}

fn refused(error: PasswordError) -> Failure {
    Failure::new(Exit::Data, error.to_string())
}

fn taken(clash: Clash) -> Failure {
    Failure::new(Exit::Unavailable, format!("{clash}; nothing was changed"))
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        let exit = match &error {
            FileError::Write(_, error) if error.kind() == io::ErrorKind::NotFound => Exit::CannotCreate,
            FileError::Read(_, error) | FileError::Write(_, error) => exit_of(error),
            FileError::Gone(_) | FileError::TooLarge(_) | FileError::NotText(..) | FileError::Broken(..) => {
                Exit::Data
            }
        };
        Failure::new(exit, error.to_string())
    }
}

fn warn(sentence: &str) {
    crate::logging::say(&format!("fastsmtp: warning: {}", printable(sentence.as_bytes())));
}

fn say(sentence: &str) -> Result<(), Failure> {
    print(format!("{}\n", printable(sentence.as_bytes())).as_bytes())
}
