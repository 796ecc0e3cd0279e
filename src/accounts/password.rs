//! What is kept of a password, and the check of one. All mechanisms take a password by its SASLprep'd form, so that they
//! agree on what it is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use argon2::password_hash::phc;
use argon2::{Algorithm, Argon2, Block, Params, PasswordHasher, Version};

use crate::disk::random_octets;
use crate::limits::{
    ACCOUNT_SCRAM_ITERATIONS, ARGON2_LANES_MAX, ARGON2_MEMORY_KIB, ARGON2_MEMORY_KIB_MAX, ARGON2_PASSES,
    ARGON2_WORK_KIB_MAX, ARGON2_WORK_KIB_MIN, CREDENTIAL_MAX,
};
use crate::wire::sasl::{ScramKeys, prepared};

/// An argon2id hash (RFC 9106) with its salt and its cost, which is within bounds, as a PHC string.
#[derive(Clone, PartialEq, Eq)]
pub struct PasswordHash(Arc<str>);

impl PasswordHash {
    /// Takes a PHC string if it is an argon2id hash of a cost that we are ready to pay.
    pub fn parse(text: &str) -> Result<PasswordHash, HashError> {
        let hash = phc::PasswordHash::new(text).map_err(|_| HashError::Malformed)?;
        let algorithm = Algorithm::try_from(hash.algorithm.as_str());
        if algorithm != Ok(Algorithm::Argon2id) || hash.version != Some(Version::V0x13.into()) {
            return Err(HashError::Algorithm);
        }
        if hash.salt.is_none() || hash.hash.is_none() {
            return Err(HashError::Malformed);
        }
        let params = Params::try_from(&hash).map_err(|_| HashError::Malformed)?;
        let work = u64::from(params.m_cost()) * u64::from(params.t_cost());
        let is_bounded = (ARGON2_WORK_KIB_MIN..=ARGON2_WORK_KIB_MAX).contains(&work)
            && params.m_cost() <= ARGON2_MEMORY_KIB_MAX
            && params.p_cost() <= ARGON2_LANES_MAX;
        if is_bounded { Ok(PasswordHash(text.into())) } else { Err(HashError::Cost) }
    }

    /// The hash of a [prepared] password.
    fn of(password: &str, salt: &[u8; SALT_LEN]) -> PasswordHash {
        let hash = usual().hash_password_with_salt(password.as_bytes(), salt);
        let hash: phc::PasswordHash = hash.expect("password and salt are within the bounds of argon2");
        PasswordHash(hash.to_string().into())
    }

    /// The PHC string.
    pub(super) fn text(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// A hash of the usual cost, for the time when there is no account.
    pub(super) fn nobodys() -> PasswordHash {
        PasswordHash(NOBODYS.into())
    }

    /// Whether a [prepared] password is the one; compares in constant time.
    fn fits(&self, password: &str, memory: &mut HashMemory) -> bool {
        let hash = phc::PasswordHash::new(&self.0).expect("it was parsed when it was made");
        let (Some(salt), Some(expected)) = (&hash.salt, &hash.hash) else { return false };
        let Ok(params) = Params::try_from(&hash) else { return false };
        let blocks = memory.blocks(params.block_count());
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut output = vec![0; expected.len()];
        let done = argon2.hash_password_into_with_memory(password.as_bytes(), salt, &mut output, blocks);
        memory.shrink();
        done.is_ok() && phc::Output::new(&output).is_ok_and(|output| output == *expected)
    }

    /// As PHC string.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What hashing works in, kept from one check to the next: 19 MiB. Taken anew each time, as much again would stay with the
/// allocator after each of the first checks, in pieces too small for the next.
#[derive(Default)]
pub struct HashMemory(Vec<Block>);

impl HashMemory {
    fn blocks(&mut self, count: usize) -> &mut [Block] {
        if self.0.len() < count {
            self.0.resize(count, Block::default());
        }
        &mut self.0[..count]
    }

    /// Gives back what only a hash of another's making needs.
    fn shrink(&mut self) {
        self.0.truncate(ARGON2_MEMORY_KIB as usize);
        self.0.shrink_to_fit();
    }
}

/// Without the hash: it belongs in no log.
impl fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

/// The argon2id of new hashes.
fn usual() -> Argon2<'static> {
    let params = Params::new(ARGON2_MEMORY_KIB, ARGON2_PASSES, 1, None).expect("within its bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

const NOBODYS: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Why a text is no hash for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashError {
    /// It is no PHC string, or not a whole one.
    Malformed,
    /// It is not argon2id, version 19.
    Algorithm,
    /// It is too weak or too dear.
    Cost,
}

impl fmt::Display for HashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HashError::Malformed => f.write_str("it is not a whole PHC string"),
            HashError::Algorithm => f.write_str("it does not begin with $argon2id$v=19$"),
            HashError::Cost => {
                let (memory, lanes) = (ARGON2_MEMORY_KIB_MAX, ARGON2_LANES_MAX);
                let (least, most) = (ARGON2_WORK_KIB_MIN, ARGON2_WORK_KIB_MAX);
                write!(
                    f,
                    "its cost is out of range: m to {memory}, p to {lanes}, m times t from {least} to {most}"
                )
            }
        }
    }
}

/// Octets of a salt that we make (RFC 9106 3.1 wants 16).
pub(super) const SALT_LEN: usize = 16;

/// The salts of one password.
pub struct Salts {
    /// Of its argon2id hash.
    pub argon2: [u8; SALT_LEN],
    /// Of its SCRAM keys.
    pub scram: [u8; SALT_LEN],
}

impl Salts {
    /// Salts that nobody has.
    pub fn random() -> Salts {
        Salts { argon2: random_octets(), scram: random_octets() }
    }
}

/// All that is kept of a password.
pub(super) fn kept(password: &str, salts: Salts) -> Result<(PasswordHash, ScramKeys), PasswordError> {
    let password = acceptable(password)?;
    let scram = ScramKeys::new(&password, salts.scram.to_vec(), ACCOUNT_SCRAM_ITERATIONS);
    Ok((PasswordHash::of(&password, &salts.argon2), scram))
}

/// A password as it counts, if it is one.
fn acceptable(password: &str) -> Result<Cow<'_, str>, PasswordError> {
    match prepared(password) {
        _ if password.is_empty() => Err(PasswordError::Empty),
        _ if password.len() > CREDENTIAL_MAX => Err(PasswordError::TooLong),
        // It may grow: AUTH has room for what was typed, and we for what comes of it.
        Some(prepared) if !prepared.contains(|c: char| c.is_control()) => Ok(prepared),
        _ => Err(PasswordError::Prohibited),
    }
}

/// Why a text cannot be a password.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PasswordError {
    /// It is empty.
    Empty,
    /// It is longer than [`CREDENTIAL_MAX`].
    TooLong,
    /// It has control characters, or some that SASLprep (RFC 4013) prohibits or does not know.
    Prohibited,
}

impl fmt::Display for PasswordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PasswordError::Empty => f.write_str("the password is empty"),
            PasswordError::TooLong => {
                write!(f, "the password is longer than {CREDENTIAL_MAX} octets; take a shorter one")
            }
            PasswordError::Prohibited => f.write_str(
                "the password has characters that not every mail program can send (control characters, or what RFC \
                 4013 prohibits); take letters, digits, signs and spaces",
            ),
        }
    }
}

impl std::error::Error for PasswordError {}

/// The check of one user's password, for a worker.
#[derive(Debug)]
pub struct PasswordCheck {
    hash: PasswordHash,
    /// None for a user that does not exist.
    account: Option<Arc<str>>,
}

impl PasswordCheck {
    pub(super) fn new(hash: PasswordHash, account: Option<Arc<str>>) -> PasswordCheck {
        PasswordCheck { hash, account }
    }

    /// The account's address, if the password is right. Takes about 20 ms, with a hash of another's making up to about a
    /// second, and as long for a user that does not exist; only what can be nobody's password is refused at once.
    pub fn run(&self, password: &str, memory: &mut HashMemory) -> Option<Arc<str>> {
        let password = acceptable(password).ok()?;
        let fits = self.hash.fits(&password, memory);
        self.account.clone().filter(|_| fits)
    }
}
