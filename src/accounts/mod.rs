//! Accounts: who has a mailbox here, under which addresses, and what is kept of the passwords.
//!
//! ```text
//!   accounts.toml ──file.rs──▶ text ──text.rs──▶ Accounts ──▶ recipient, is_known, may_send_as (the loop)
//!                                                    │
//!                                                    ├──▶ login ──▶ PasswordCheck::run          (a worker)
//!                                                    └──▶ scram_keys                           (the loop)
//! ```
//!
//! [`Accounts`] is a snapshot that never changes: who changes the file makes another one, and whoever serves takes it
//! when it is ready. Nothing here tells, by what it does or how long it takes, whether a user exists. Not here: what
//! `postmaster` without an account means, and how often a password may be tried.

mod file;
mod password;
mod text;

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::num::NonZeroU64;
use std::sync::Arc;

use crate::limits::{ACCOUNT_SCRAM_ITERATIONS, PATH_MAX};
use crate::smtp::{Address, domain_key, is_domain, is_host_name};
use crate::wire::sasl::{Key, ScramKeys, prepared, signature};

pub use file::{AccountsFile, FileError, change, read};
pub use password::{HashError, HashMemory, PasswordCheck, PasswordError, PasswordHash, Salts};
pub use text::{AccountsError, Fault, Place, quota_of};

/// One user: a mailbox, the addresses that lead to it, and what is kept of the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The address that names the mailbox, and the user who logs in.
    pub address: Address,
    /// For PLAIN and LOGIN.
    pub hash: PasswordHash,
    /// For SCRAM-SHA-256, of the same password.
    pub scram: ScramKeys,
    /// Further addresses. Mail for them goes into the same mailbox.
    pub aliases: Vec<Address>,
    /// Domains, by their keys, of which all mail that nobody else gets goes into this mailbox.
    pub catch_all: Vec<String>,
    /// Octets that the mailbox may hold.
    pub quota: Option<NonZeroU64>,
}

impl Account {
    /// An account with a password and nothing else. Takes about 0.2 s.
    pub fn new(address: Address, password: &str, salts: Salts) -> Result<Account, PasswordError> {
        let (hash, scram) = password::kept(password, salts)?;
        Ok(Account { address, hash, scram, aliases: Vec::new(), catch_all: Vec::new(), quota: None })
    }

    /// Gives it another password. Takes about 0.2 s.
    pub fn set_password(&mut self, password: &str, salts: Salts) -> Result<(), PasswordError> {
        (self.hash, self.scram) = password::kept(password, salts)?;
        Ok(())
    }
}

/// Without what is kept of the password.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

/// Stands for what is kept of one user's password. Two are the same if the same is kept, so that who has logged in can be
/// asked later whether that still holds.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Key);

/// All accounts at one time. [`Accounts::default`] is what holds where there is no accounts file: none.
#[derive(Clone, Default)]
pub struct Accounts {
    /// What makes salts for users that do not exist; none where there is no accounts file.
    secret: Option<Key>,
    accounts: Vec<Account>,
    /// The keys of all addresses and aliases.
    names: HashMap<Box<str>, Name>,
    /// Domains, by their keys, and the account that gets what nobody else does.
    catch_alls: HashMap<Box<str>, usize>,
    /// The domains of all these.
    domains: BTreeSet<Box<str>>,
    /// Each account by a number that only depends on the secret and its address: whom strangers look like.
    ring: BTreeMap<u64, usize>,
}

/// Whose an address is. The numbers are places in `Accounts::accounts`.
#[derive(Debug, Clone, Copy)]
enum Name {
    Own(usize),
    Alias(usize),
}

impl Name {
    fn account(self) -> usize {
        match self {
            Name::Own(account) | Name::Alias(account) => account,
        }
    }
}

/// Two accounts want the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clash {
    /// The place of the second account.
    account: usize,
    /// What it wants.
    wanted: Wanted,
    /// The address of the first account.
    owner: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Wanted {
    Address(String),
    /// Its place among the account's aliases, and itself.
    Alias(usize, String),
    /// Its place among the account's domains, and itself.
    CatchAll(usize, String),
}

impl fmt::Display for Clash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = &self.owner;
        match &self.wanted {
            Wanted::Address(address) => write!(f, "{address} is taken by {owner}"),
            Wanted::Alias(_, alias) => write!(f, "the alias {alias} is taken by {owner}"),
            Wanted::CatchAll(_, domain) => write!(f, "the catch-all of {domain} is taken by {owner}"),
        }
    }
}

impl std::error::Error for Clash {}

/// Making and changing.
impl Accounts {
    /// These accounts. `secret` is 32 octets that nobody can guess.
    pub fn new(secret: Key, accounts: Vec<Account>) -> Result<Accounts, Clash> {
        let order = 0..accounts.len();
        Accounts::in_order(Some(secret), accounts, order)
    }

    /// These accounts; whose turn comes later, theirs is the clash.
    fn in_order(
        secret: Option<Key>,
        accounts: Vec<Account>,
        order: impl Iterator<Item = usize>,
    ) -> Result<Accounts, Clash> {
        let mut made = Accounts { secret, ..Accounts::default() };
        made.ring =
            (0..).zip(&accounts).map(|(at, account)| (made.number(&key(&account.address)), at)).collect();
        for at in order {
            let owner_of = |owner: usize| accounts[owner].address.to_string();
            made.claim(at, &accounts[at]).map_err(|(wanted, owner)| Clash {
                account: at,
                wanted,
                owner: owner_of(owner),
            })?;
        }
        made.accounts = accounts;
        Ok(made)
    }

    /// Notes all that an account has; the error is what it cannot have, and who has it.
    fn claim(&mut self, at: usize, account: &Account) -> Result<(), (Wanted, usize)> {
        let Account { address, aliases, catch_all, .. } = account;
        self.name(address, Name::Own(at)).map_err(|owner| (Wanted::Address(address.to_string()), owner))?;
        for (n, alias) in aliases.iter().enumerate() {
            self.name(alias, Name::Alias(at))
                .map_err(|owner| (Wanted::Alias(n, alias.to_string()), owner))?;
        }
        for (n, domain) in catch_all.iter().enumerate() {
            self.catch_all(domain, at).map_err(|owner| (Wanted::CatchAll(n, domain.clone()), owner))?;
        }
        Ok(())
    }

    /// Notes whose an address is; the error is who has it already.
    fn name(&mut self, address: &Address, name: Name) -> Result<(), usize> {
        match self.names.entry(key(address).into()) {
            Entry::Occupied(taken) => return Err(taken.get().account()),
            Entry::Vacant(free) => free.insert(name),
        };
        self.domains.insert(address.domain_key().into());
        Ok(())
    }

    /// Notes whose the rest of a domain is; the error is who has it already.
    fn catch_all(&mut self, domain: &str, account: usize) -> Result<(), usize> {
        match self.catch_alls.entry(domain.into()) {
            Entry::Occupied(taken) => return Err(*taken.get()),
            Entry::Vacant(free) => free.insert(account),
        };
        self.domains.insert(domain.into());
        Ok(())
    }

    /// These accounts with one more, or with another in the place of the one that has its address.
    pub fn with(self, account: Account) -> Result<Accounts, Clash> {
        let at = self.place(&account.address).unwrap_or(self.accounts.len());
        let mut accounts = self.accounts;
        accounts.splice(at..accounts.len().min(at + 1), [account]);
        let others = (0..accounts.len()).filter(move |other| *other != at);
        Accounts::in_order(self.secret, accounts, others.chain([at]))
    }

    /// These accounts without the one that has this address.
    pub fn without(self, address: &Address) -> Accounts {
        let Some(at) = self.place(address) else { return self };
        let mut accounts = self.accounts;
        accounts.remove(at);
        let order = 0..accounts.len();
        Accounts::in_order(self.secret, accounts, order).expect("fewer accounts want no more")
    }
}

/// Asking.
impl Accounts {
    /// Whether there is an accounts file. Where there is, nobody has a mailbox but those in it, be there none; where there is
    /// not, every address of a local domain is one.
    pub fn is_kept(&self) -> bool {
        self.secret.is_some()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The accounts, in the order of the file.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Account> {
        self.accounts.iter()
    }

    /// The account that has this very address as its own.
    pub fn account(&self, address: &Address) -> Option<&Account> {
        self.place(address).map(|at| &self.accounts[at])
    }

    /// The account of a user, who is called by its own address in any of its spellings.
    pub fn of_user(&self, user: &str) -> Option<&Account> {
        self.owner(&user_key(user)).map(|at| &self.accounts[at])
    }

    /// What is kept of a user's password; none of a user that does not exist. How long this takes tells which it is: to be
    /// asked of those only who have logged in.
    pub fn credential(&self, user: &str) -> Option<Credential> {
        self.of_user(user)
            .map(|account| Credential(signature(&account.scram.stored_key, account.hash.text())))
    }

    /// The account that gets mail for this address: its own, an alias, either with a `+tag`, else the domain's
    /// catch-all.
    pub fn recipient(&self, address: &Address) -> Option<&Account> {
        let catch_all = || self.catch_alls.get(&*address.domain_key()).copied();
        self.named(address).or_else(catch_all).map(|at| &self.accounts[at])
    }

    /// Whether an account has this address: its own, an alias, either with a `+tag`.
    pub fn is_known(&self, address: &Address) -> bool {
        self.named(address).is_some()
    }

    /// Whether a user, who is called by an account's address, may send mail as from `sender`: the own address, an alias,
    /// either with a `+tag`.
    pub fn may_send_as(&self, user: &str, sender: &Address) -> bool {
        self.owner(&user_key(user)).is_some_and(|at| self.named(sender) == Some(at))
    }

    /// Whether an address, alias or catch-all is in the domain of this [key](domain_key).
    pub fn has_domain(&self, domain_key: &str) -> bool {
        self.domains.contains(domain_key)
    }

    /// The keys of all domains that an address, alias or catch-all is in, sorted.
    pub fn domains(&self) -> impl Iterator<Item = &str> {
        self.domains.iter().map(|domain| &**domain)
    }

    fn place(&self, address: &Address) -> Option<usize> {
        self.owner(&key(address))
    }

    /// Who has the address of this key as the own one.
    fn owner(&self, key: &str) -> Option<usize> {
        match self.names.get(key) {
            Some(Name::Own(at)) => Some(*at),
            _ => None,
        }
    }

    /// Who has this address: itself first, for a name may have a `+` of its own, then without its tag.
    fn named(&self, address: &Address) -> Option<usize> {
        let (local_part, domain) = (local_part_key(address.local_part()), address.domain_key());
        let find =
            |local_part: &str| self.names.get(&*joined(local_part, &domain)).map(|name| name.account());
        let untagged = || match local_part.split_once('+') {
            Some((user, _tag)) if !user.is_empty() => find(user),
            _ => None,
        };
        find(&local_part).or_else(untagged)
    }
}

/// Logging in. A user's name is an account's own address, in any of its spellings.
impl Accounts {
    /// What judges this user's password. A user that does not exist gets the check of one that does, which costs the same
    /// and always fails.
    pub fn login(&self, user: &str) -> PasswordCheck {
        let user = user_key(user);
        match self.own_or_like(&user) {
            Some((account, is_own)) => {
                let name = Arc::from(account.address.to_string());
                PasswordCheck::new(account.hash.clone(), is_own.then_some(name))
            }
            None => PasswordCheck::new(PasswordHash::nobodys(), None),
        }
    }

    /// What SCRAM needs for this user, and the account's address. A user that does not exist gets a salt, always the
    /// same, and keys that no password fits.
    pub fn scram_keys(&self, user: &str) -> (ScramKeys, Option<Arc<str>>) {
        let user = user_key(user);
        let found = self.own_or_like(&user);
        let strangers = self.strangers_keys(&user, found.map(|(account, _)| &account.scram));
        let Some((account, is_own)) = found else { return (strangers, None) };
        // Both are made of either, for the challenge goes out at once: the copy alone, 0.4 us, tells who exists.
        let (users, name) = (account.scram.clone(), Arc::from(account.address.to_string()));
        if is_own { (users, Some(name)) } else { (strangers, None) }
    }

    /// The account of a user, or for one that does not exist the account that it looks like; and whether it is the user's
    /// own. It looks at the same things for either, so that what the processor has at hand does not tell who exists.
    fn own_or_like(&self, user: &str) -> Option<(&Account, bool)> {
        let (owner, like) = (self.owner(user), self.likeness(user)?);
        let account = &self.accounts[owner.unwrap_or(like)];
        Some((account, self.place(&account.address) == owner))
    }

    /// The place of the account that a user who does not exist looks like, so that strangers have whatever costs and
    /// iterations there are. It is the next on a ring of all users' numbers: who adds or removes an account changes the
    /// likeness of those strangers only that come just before it. Known weakness: if it has other costs than its
    /// neighbour, they change.
    fn likeness(&self, user: &str) -> Option<usize> {
        let next = self.ring.range(self.number(user)..).next();
        let (_, at) = next.or_else(|| self.ring.first_key_value())?;
        Some(*at)
    }

    /// A user's place on the ring.
    fn number(&self, user: &str) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = self.derived("likeness", user);
        u64::from_le_bytes([a, b, c, d, e, f, g, h])
    }

    fn strangers_keys(&self, user: &str, like: Option<&ScramKeys>) -> ScramKeys {
        let salt_len = like.map_or(password::SALT_LEN, |scram| scram.salt.len());
        ScramKeys {
            iterations: like.map_or(ACCOUNT_SCRAM_ITERATIONS, |scram| scram.iterations),
            salt: self.strangers_salt(user).take(salt_len).collect(),
            // Whoever could log in with it would have found what SHA-256 makes it of.
            stored_key: self.derived("stored key", user),
            server_key: self.derived("server key", user),
        }
    }

    /// Octets without end, for a salt may be longer than one key.
    fn strangers_salt(&self, user: &str) -> impl Iterator<Item = u8> {
        (0..u64::MAX).flat_map(move |block| self.derived(&format!("salt {block}"), user))
    }

    /// What looks like chance to all who do not know the secret.
    fn derived(&self, what: &str, user: &str) -> Key {
        signature(&self.secret.unwrap_or_default(), [what, "\0", user].concat().as_bytes())
    }
}

/// How many there are: neither the secret nor what is kept of passwords.
impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accounts").field("accounts", &self.accounts).finish_non_exhaustive()
    }
}

/// Reads an account's address or alias: one that fits a path of SMTP. The error is a [`Fault`] for people.
pub fn address(text: &str) -> Result<Address, Fault> {
    let address = Address::parse(text.as_bytes()).ok();
    let fits = |address: &Address| address.to_string().len() + "<>".len() <= PATH_MAX;
    address.filter(fits).ok_or_else(|| Fault::Address(text.to_owned()))
}

/// Reads a catch-all's domain and gives its [key](domain_key). The error is a [`Fault`] for people.
pub fn domain(text: &str) -> Result<String, Fault> {
    let is_literal = text.starts_with('[') && is_host_name(text);
    match is_literal || is_domain(text) {
        true => Ok(domain_key(text).into_owned()),
        false => Err(Fault::Domain(text.to_owned())),
    }
}

/// An address in the one spelling that counts among accounts.
fn key(address: &Address) -> String {
    joined(&local_part_key(address.local_part()), &address.domain_key())
}

/// A domain has no at sign in it, so each key has one way to be read.
fn joined(local_part: &str, domain: &str) -> String {
    [local_part, "@", domain].concat()
}

/// A local part in lower case of ASCII. Beyond ASCII it is as SASLprep has it, so that an address has one key whether it
/// comes by RCPT or by AUTH; what SASLprep refuses stays as it is.
fn local_part_key(local_part: &str) -> String {
    prepared(local_part).unwrap_or(local_part.into()).to_ascii_lowercase()
}

/// What a user typed as name. SASLprep may refuse the whole where it takes the parts, as with a domain in Hebrew.
fn user_key(user: &str) -> String {
    let user = prepared(user).unwrap_or(user.into());
    match Address::parse(user.as_bytes()) {
        Ok(address) => key(&address),
        Err(_) => user.to_ascii_lowercase(),
    }
}

#[cfg(test)]
mod tests;
