//! SASL as octets (RFC 4422): base64, PLAIN (RFC 4616) and SCRAM-SHA-256 (RFC 5802, 7677), for whoever has a dialogue to
//! carry them. Knows no reply codes, no users and no randomness; a nonce is handed in.
//!
//! ```text
//!   client.rs                                           server.rs
//!   Scram          n,,n=user,r=nonce ──────────────────▶ Exchange ─▶ SaslStep::Keys
//!   Challenge      ◀────────────── r=nonce+more,s=salt,i=iterations
//!                  c=biws,r=nonce+more,p=proof ────────▶ Exchange ─▶ SaslStep::Proof
//!   Verifier       ◀───────────────── v=signature  or  e=error
//!
//!   salted_password ─┬─▶ client_key ─▶ stored_key ─▶ signature(message) xor client_key = proof
//!                    └─▶ server_key ────────────────▶ signature(message)
//! ```

mod client;
mod server;

use std::borrow::Cow;
use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

pub use client::{Challenge, Scram, Verifier};
pub use server::{Bindings, ChannelBinding, Exchange, Next, SaslStep, ScramBasis, mechanisms};

use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN};

/// A mechanism of authentication that we speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// A proof that the password is known, by both sides (RFC 7677).
    ScramSha256,
    /// The password itself (RFC 4616).
    Plain,
    /// The password itself, in two questions (draft-murchison-sasl-login).
    Login,
}

impl Mechanism {
    /// All of them, the best first.
    pub const ALL: [Mechanism; 3] = [Mechanism::ScramSha256, Mechanism::Plain, Mechanism::Login];

    /// As it is called in the dialogue.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Login => "LOGIN",
        }
    }

    /// The one that is called so, in letters of any case.
    pub fn named(name: &[u8]) -> Option<Mechanism> {
        Mechanism::ALL.into_iter().find(|mechanism| name.eq_ignore_ascii_case(mechanism.name().as_bytes()))
    }

    /// Whether whoever reads along, or poses as the server, has the password then.
    pub fn reveals_password(self) -> bool {
        self != Mechanism::ScramSha256
    }
}

/// When something is offered that shows a password to whoever reads along.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Offer {
    /// Never.
    #[default]
    Never,
    /// Under TLS.
    InTls,
    /// Also in plain.
    Always,
}

/// What is not shown: a password may be in it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Secret<'a>(pub &'a [u8]);

impl fmt::Debug for Secret<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// What was wrong with what the other side said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaslError {
    /// It is not base64, or not the one spelling of it that is allowed (RFC 4648 3.5).
    Base64,
    /// It does not follow the grammar (RFC 5802 7).
    Malformed,
    /// It demands an extension (`m=`), of which there is none.
    Extension,
    /// Its nonce is not ours with something behind it: the message belongs to another exchange.
    Nonce,
    /// Fewer iterations than [`SCRAM_ITERATIONS_MIN`] or more than [`SCRAM_ITERATIONS_MAX`].
    Iterations(u64),
    /// The server gave up, with this error (RFC 5802 7, `server-error-value`).
    Server(&'static str),
    /// The server's signature is wrong: it does not know the password, nor what is derived from it.
    Signature,
    /// The server was content before it had what it asked for, or proved that it knows the password.
    Unproven,
    /// The other side goes on after all was said.
    Unexpected,
    /// The client binds to no channel where it was to, or to one that is not offered, or was told that none is.
    Binding,
}

impl fmt::Display for SaslError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaslError::Base64 => f.write_str("what it said is not base64"),
            SaslError::Malformed => f.write_str("its SCRAM message does not follow RFC 5802"),
            SaslError::Extension => f.write_str("it demands a SCRAM extension"),
            SaslError::Nonce => f.write_str("its SCRAM nonce does not go on from ours"),
            SaslError::Iterations(iterations) => write!(
                f,
                "it asks for {iterations} iterations of SCRAM, out of range {SCRAM_ITERATIONS_MIN} to {SCRAM_ITERATIONS_MAX}"
            ),
            SaslError::Server(error) => write!(f, "it ended SCRAM with the error {error}"),
            SaslError::Signature => {
                f.write_str("its SCRAM signature is wrong: it does not know the password")
            }
            SaslError::Unproven => f.write_str("it was content too early"),
            SaslError::Unexpected => f.write_str("it asks for more than the mechanism has"),
            SaslError::Binding => f.write_str("its channel binding is not what is offered"),
        }
    }
}

impl std::error::Error for SaslError {}

/// As base64 (RFC 4648 4), padded.
pub fn encode(octets: &[u8]) -> String {
    BASE64_STANDARD.encode(octets)
}

/// From base64: padded, nothing skipped, no stray bits.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, SaslError> {
    BASE64_STANDARD.decode(text).map_err(|_| SaslError::Base64)
}

/// The message of PLAIN: who acts for oneself (RFC 4616 2). Neither may have a NUL.
pub fn plain(user: &str, password: &str) -> Vec<u8> {
    [b"\0", user.as_bytes(), b"\0", password.as_bytes()].concat()
}

/// A name or password as SCRAM compares it: ASCII as it is, all else by SASLprep (RFC 4013). None for what SASLprep
/// prohibits, or knows nothing of, or leaves nothing of.
pub fn prepared(text: &str) -> Option<Cow<'_, str>> {
    if text.is_ascii() {
        return Some(text.into());
    }
    stringprep::saslprep(text).ok().filter(|prepared| !prepared.is_empty())
}

/// A key, a signature or a proof of SCRAM-SHA-256.
pub type Key = [u8; 32];

/// `SaltedPassword`: what costs time, 0.2 s for 600,000 iterations. Whoever has it can pose as the user.
pub fn salted_password(password: &str, salt: &[u8], iterations: u32) -> Key {
    pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password.as_bytes(), salt, iterations)
}

/// `ClientKey`, which only the user has.
pub fn client_key(salted_password: &Key) -> Key {
    signature(salted_password, b"Client Key")
}

/// `StoredKey`, which a server keeps to check the user.
pub fn stored_key(client_key: &Key) -> Key {
    Sha256::digest(client_key).into()
}

/// `ServerKey`, which a server keeps to prove itself.
pub fn server_key(salted_password: &Key) -> Key {
    signature(salted_password, b"Server Key")
}

/// What a server keeps of a password for SCRAM-SHA-256 (RFC 5802 3): whoever has it can pose as the server, not as the user.
#[derive(Clone, PartialEq, Eq)]
pub struct ScramKeys {
    /// What a guess costs.
    pub iterations: u32,
    /// The salt, which the server tells everybody who asks.
    pub salt: Vec<u8>,
    /// `StoredKey`, which checks the user.
    pub stored_key: Key,
    /// `ServerKey`, which proves the server.
    pub server_key: Key,
}

impl ScramKeys {
    /// Of a password, [prepared]. Takes as long as [`salted_password`].
    pub fn new(password: &str, salt: Vec<u8>, iterations: u32) -> ScramKeys {
        let salted = salted_password(password, &salt, iterations);
        let stored_key = stored_key(&client_key(&salted));
        ScramKeys { iterations, salt, stored_key, server_key: server_key(&salted) }
    }
}

/// Without the keys: they belong in no log.
impl fmt::Debug for ScramKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

/// `HMAC(key, message)`.
pub fn signature(key: &Key, message: &[u8]) -> Key {
    signing(key, message).finalize().into_bytes().into()
}

fn signing(key: &Key, message: &[u8]) -> Hmac<Sha256> {
    let signing = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    signing.chain_update(message)
}

fn text(message: &[u8]) -> Result<&str, SaslError> {
    std::str::from_utf8(message).map_err(|_| SaslError::Malformed)
}

/// The value of an attribute that is to stand here.
fn attribute<'a>(text: Option<&'a str>, name: &str) -> Result<&'a str, SaslError> {
    text.and_then(|text| text.strip_prefix(name)).ok_or(SaslError::Malformed)
}

fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b',')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ascii_is_prepared_as_it_is_and_the_rest_by_rfc_4013() {
        assert_eq!(prepared("p w\t1"), Some("p w\t1".into()));
        assert_eq!(prepared("I\u{00AD}X\u{2168}").as_deref(), Some("IXIX"));
        assert_eq!(prepared("\u{00AD}"), None);
        assert_eq!(prepared("a\u{E000}"), None);
    }

    #[test]
    fn base64_has_one_spelling() {
        assert_eq!(encode(b"a"), "YQ==");
        for wrong in ["YQ", "YQ=", "YR==", "YQ==\n", " YQ==", "YQ==YQ==", "*", "="] {
            assert_eq!(decode(wrong.as_bytes()), Err(SaslError::Base64), "{wrong:?}");
        }
    }
}
