//! The accounts file as text: TOML, read with errors that name the line, and written so that it reads back the same.
//!
//! ```toml
//! secret = "<32 octets in base64>"
//!
//! [[account]]
//! address = "alice@example.com"
//! password = "$argon2id$v=19$m=19456,t=2,p=1$<salt>$<hash>"
//! scram = "SCRAM-SHA-256$600000:<salt>$<StoredKey>:<ServerKey>"
//! aliases = ["sales@example.com"]
//! catch-all = ["example.com"]
//! quota = "1GiB"
//! ```
//!
//! The SCRAM keys are written as RFC 5803 has it. No error repeats what is kept of a password.

use std::fmt::{self, Write as _};
use std::num::NonZeroU64;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::password::HashError;
use super::{Account, Accounts, Clash, PasswordHash, Wanted, address, domain};
use crate::disk::random_octets;
use crate::limits::{ACCOUNT_SCRAM_ITERATIONS, SCRAM_ITERATIONS_MAX};
use crate::smtp::Address;
use crate::units::{self, size_text};
use crate::wire::sasl::{self, Key, Mechanism, ScramKeys};

/// What is wrong with a text, and where: `line 12: ...`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountsError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong, and what mends it.
    pub fault: Fault,
}

impl fmt::Display for AccountsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.fault)
    }
}

impl std::error::Error for AccountsError {}

/// What may be wrong with accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// It is not TOML; with the parser's words.
    NotToml(String),
    /// A key that is none, and the place that knows it not.
    UnknownKey(String, Place),
    /// A key is missing.
    Missing(&'static str, Place),
    /// A key's value is of another kind than this.
    Kind(&'static str, &'static str),
    /// It is no address, or one too long for SMTP.
    Address(String),
    /// It is no domain.
    Domain(String),
    /// It is no hash for us.
    Hash(HashError),
    /// They are no SCRAM keys.
    Scram,
    /// So many iterations of SCRAM are too few or too many.
    Iterations(u64),
    /// It is no quota, with the reason.
    Quota(String),
    /// It is no secret.
    Secret,
    /// All its octets are the same: everybody can guess it.
    SecretGuessable,
    /// Another account has it.
    Clash(Clash),
}

/// Where in the file a key stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Above all accounts.
    Top,
    /// In an account.
    Account,
}

impl Place {
    fn keys(self) -> &'static str {
        match self {
            Place::Top => "above the accounts stands only secret, each account begins with [[account]]",
            Place::Account => "an account has address, password, scram, aliases, catch-all and quota",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NotToml(reason) => write!(f, "not TOML ({reason}); write key = \"text\" or key = [\"one\", \"two\"]"),
            Fault::UnknownKey(key, place) => write!(f, "unknown key '{}'; {}", key.escape_debug(), place.keys()),
            Fault::Missing("secret", _) => f.write_str(
                "the secret is missing; it is a line like secret = \"...\" with 32 random octets in base64, as 'openssl \
                 rand -base64 32' makes them",
            ),
            Fault::Missing(key, place) => write!(f, "{key} is missing; {}", place.keys()),
            Fault::Kind(key, wanted) => write!(f, "{key}: takes {wanted}"),
            Fault::Address(text) => {
                write!(f, "'{}' is not an address of at most 254 octets, like alice@example.com", text.escape_debug())
            }
            Fault::Domain(text) => {
                write!(f, "'{}' is not a domain, like example.com or [192.0.2.1]", text.escape_debug())
            }
            Fault::Hash(error) => {
                write!(f, "password: {error}; 'fastsmtp user password' makes a new one")
            }
            Fault::Scram => f.write_str(
                "scram: it is not SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>; 'fastsmtp user password' \
                 makes a new one",
            ),
            Fault::Iterations(count) => write!(
                f,
                "scram: {count} iterations are out of range {ACCOUNT_SCRAM_ITERATIONS} to {SCRAM_ITERATIONS_MAX}; \
                 'fastsmtp user password' makes a new one"
            ),
            Fault::Quota(reason) => write!(f, "quota: {reason}"),
            Fault::Secret => f.write_str("secret: it is not 32 octets in base64, as 'openssl rand -base64 32' makes them"),
            Fault::SecretGuessable => f.write_str(
                "secret: its octets are all the same, so everybody can guess it; 'openssl rand -base64 32' makes one",
            ),
            Fault::Clash(clash) => write!(f, "{clash}; take it from one of them"),
        }
    }
}

impl std::error::Error for Fault {}

impl Accounts {
    /// Reads the whole of an accounts file. No hash is computed: it takes about 10 µs an account.
    pub fn parse(text: &str) -> Result<Accounts, AccountsError> {
        parse(text).map_err(|Misplaced { at, fault }| AccountsError { line: line_of(text, at), fault })
    }

    /// The whole as an accounts file that reads back the same. Where there was no file, it gets a secret by that.
    pub fn to_toml(&self) -> String {
        let secret = self.secret.unwrap_or_else(random_octets);
        let mut text = format!("{HEAD}secret = \"{}\"\n", sasl::encode(&secret));
        for account in &self.accounts {
            push(&mut text, account);
        }
        text
    }
}

const HEAD: &str = "\
# The accounts of fastsmtp. Written by 'fastsmtp user', which keeps no other comments; may be edited by hand.
# A running server takes changes within seconds; from a broken file it takes nothing, and logs what is wrong.
# It holds what passwords can be guessed from: keep it private (chmod 600, or 640 for the server's group).
";

fn push(text: &mut String, account: &Account) {
    let Account { address, hash, scram, aliases, catch_all, quota } = account;
    let list = |items: Vec<String>| items.iter().map(|item| quoted(item)).collect::<Vec<_>>().join(", ");
    let mut line = |key: &str, value: String| writeln!(text, "{key} = {value}").expect("a String takes all");
    line("\n[[account]]\naddress", quoted(&address.to_string()));
    line("password", quoted(hash.as_str()));
    line("scram", quoted(&scram_text(scram)));
    if !aliases.is_empty() {
        line("aliases", format!("[{}]", list(aliases.iter().map(Address::to_string).collect())));
    }
    if !catch_all.is_empty() {
        line("catch-all", format!("[{}]", list(catch_all.clone())));
    }
    if let Some(quota) = quota {
        line("quota", quoted(&size_text(quota.get()).to_string()));
    }
}

/// A text as a TOML basic string. Nothing that we write has control characters of ASCII.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A fault, and the octet where it stands.
struct Misplaced {
    at: usize,
    fault: Fault,
}

/// A value and where it stands.
type Value<'a, 'i> = &'a Spanned<DeValue<'i>>;

fn at<T>(place: &Spanned<T>) -> impl Fn(Fault) -> Misplaced {
    let at = place.span().start;
    move |fault| Misplaced { at, fault }
}

fn parse(text: &str) -> Result<Accounts, Misplaced> {
    let table = DeTable::parse(text).map_err(|error| Misplaced {
        at: error.span().map_or(0, |span| span.start),
        fault: Fault::NotToml(error.message().replace('\n', ", ")),
    })?;
    let (mut secret, mut tables) = (None, None);
    for (name, value) in table.get_ref() {
        match name.get_ref().as_ref() {
            "secret" => secret = Some(secret_of(value)?),
            "account" => tables = Some(array("account", "[[account]] in front of each", value)?),
            other => return Err(at(name)(Fault::UnknownKey(other.to_owned(), Place::Top))),
        }
    }
    let missing = Misplaced { at: 0, fault: Fault::Missing("secret", Place::Top) };
    let secret = secret.ok_or(missing)?;
    let tables = tables.map(|tables| tables.iter()).into_iter().flatten();
    let read: Vec<(Account, Places)> = tables.map(account).collect::<Result<_, _>>()?;
    let (accounts, places): (Vec<_>, Vec<_>) = read.into_iter().unzip();
    Accounts::new(secret, accounts).map_err(|clash| Misplaced {
        at: places[clash.account].of(&clash.wanted),
        fault: Fault::Clash(clash),
    })
}

/// Where an account's names stand.
struct Places {
    address: usize,
    aliases: Vec<usize>,
    catch_all: Vec<usize>,
}

impl Places {
    fn of(&self, wanted: &Wanted) -> usize {
        match wanted {
            Wanted::Address(_) => self.address,
            Wanted::Alias(n, _) => self.aliases[*n],
            Wanted::CatchAll(n, _) => self.catch_all[*n],
        }
    }
}

fn account(value: Value<'_, '_>) -> Result<(Account, Places), Misplaced> {
    let DeValue::Table(table) = value.get_ref() else {
        return Err(at(value)(Fault::Kind("account", "[[account]] in front of each")));
    };
    if let Some((name, _)) = table.iter().find(|(name, _)| !KEYS.contains(&name.get_ref().as_ref())) {
        return Err(at(name)(Fault::UnknownKey(name.get_ref().to_string(), Place::Account)));
    }
    let needed = |key| table.get(key).ok_or_else(|| at(value)(Fault::Missing(key, Place::Account)));
    let [address_at, hash, scram] = [needed("address")?, needed("password")?, needed("scram")?];
    let (aliases, alias_places) = list("aliases", table, address)?;
    let (catch_all, catch_all_places) = list("catch-all", table, domain)?;
    let account = Account {
        address: address(string("address", address_at)?).map_err(at(address_at))?,
        hash: PasswordHash::parse(string("password", hash)?).map_err(|error| at(hash)(Fault::Hash(error)))?,
        scram: scram_keys(string("scram", scram)?).map_err(at(scram))?,
        aliases,
        catch_all,
        quota: table.get("quota").map(quota).transpose()?,
    };
    let address = address_at.span().start;
    Ok((account, Places { address, aliases: alias_places, catch_all: catch_all_places }))
}

const KEYS: [&str; 6] = ["address", "password", "scram", "aliases", "catch-all", "quota"];

/// A list that may be missing, each of its texts read, and where they stand.
fn list<T>(
    key: &'static str,
    table: &DeTable<'_>,
    read: impl Fn(&str) -> Result<T, Fault>,
) -> Result<(Vec<T>, Vec<usize>), Misplaced> {
    let Some(value) = table.get(key) else { return Ok((Vec::new(), Vec::new())) };
    let wanted = "a list of texts, like [\"one\", \"two\"]";
    let items = array(key, wanted, value)?.iter().map(|item| match item.get_ref() {
        DeValue::String(text) => Ok((read(text).map_err(at(item))?, item.span().start)),
        _ => Err(at(item)(Fault::Kind(key, wanted))),
    });
    Ok(items.collect::<Result<Vec<_>, _>>()?.into_iter().unzip())
}

fn array<'a, 'i>(
    key: &'static str,
    wanted: &'static str,
    value: Value<'a, 'i>,
) -> Result<&'a DeArray<'i>, Misplaced> {
    match value.get_ref() {
        DeValue::Array(array) => Ok(array),
        _ => Err(at(value)(Fault::Kind(key, wanted))),
    }
}

fn string<'a>(key: &'static str, value: Value<'a, '_>) -> Result<&'a str, Misplaced> {
    match value.get_ref() {
        DeValue::String(text) => Ok(text),
        _ => Err(at(value)(Fault::Kind(key, "one text, in quotes"))),
    }
}

fn secret_of(value: Value<'_, '_>) -> Result<Key, Misplaced> {
    let octets = sasl::decode(string("secret", value)?.as_bytes()).ok();
    let secret: Key =
        octets.and_then(|octets| octets.try_into().ok()).ok_or_else(|| at(value)(Fault::Secret))?;
    match secret.iter().all(|octet| *octet == secret[0]) {
        true => Err(at(value)(Fault::SecretGuessable)),
        false => Ok(secret),
    }
}

fn quota(value: Value<'_, '_>) -> Result<NonZeroU64, Misplaced> {
    let text = match value.get_ref() {
        DeValue::String(text) => text.to_string(),
        DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
        _ => return Err(at(value)(Fault::Kind("quota", "a size like \"1GiB\""))),
    };
    quota_of(&text).map_err(at(value))
}

/// Reads a quota: a [size](units::size) of at least one octet. The error is a [`Fault`] for people.
pub fn quota_of(text: &str) -> Result<NonZeroU64, Fault> {
    let octets = units::size(text).map_err(Fault::Quota)?;
    NonZeroU64::new(octets)
        .ok_or_else(|| Fault::Quota("0 leaves no room for mail; say a size like 1GiB".to_owned()))
}

/// SCRAM keys as RFC 5803 writes them.
fn scram_text(keys: &ScramKeys) -> String {
    let [salt, stored_key, server_key] =
        [&keys.salt[..], &keys.stored_key, &keys.server_key].map(sasl::encode);
    let (mechanism, iterations) = (Mechanism::ScramSha256.name(), keys.iterations);
    format!("{mechanism}${iterations}:{salt}${stored_key}:{server_key}")
}

fn scram_keys(text: &str) -> Result<ScramKeys, Fault> {
    let keys = scram_parts(text).ok_or(Fault::Scram)?;
    match (ACCOUNT_SCRAM_ITERATIONS..=SCRAM_ITERATIONS_MAX).contains(&keys.iterations) {
        true => Ok(keys),
        false => Err(Fault::Iterations(keys.iterations.into())),
    }
}

fn scram_parts(text: &str) -> Option<ScramKeys> {
    let text = text.strip_prefix(Mechanism::ScramSha256.name())?.strip_prefix('$')?;
    let (cost, keys) = text.split_once('$')?;
    let ((iterations, salt), (stored_key, server_key)) = (cost.split_once(':')?, keys.split_once(':')?);
    let octets = |text: &str| sasl::decode(text.as_bytes()).ok();
    let key = |text| octets(text)?.try_into().ok();
    Some(ScramKeys {
        iterations: iterations.parse().ok().filter(|_| iterations.bytes().all(|b| b.is_ascii_digit()))?,
        salt: octets(salt).filter(|salt| SCRAM_SALT_LEN.contains(&salt.len()))?,
        stored_key: key(stored_key)?,
        server_key: key(server_key)?,
    })
}

/// Octets of a salt that others may have made: the server's first message stays short with it.
const SCRAM_SALT_LEN: std::ops::RangeInclusive<usize> = 8..=64;

/// The line of an octet, counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|&b| b == b'\n').count()
}
