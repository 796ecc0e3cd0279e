//! The server's side of an exchange: PLAIN, LOGIN, SCRAM-SHA-256 and SCRAM-SHA-256-PLUS (RFC 4616, 5802, 7677, 9266, 5929).
//! Called by a server's session, which carries the messages, and asks its server what an exchange cannot know: whether a
//! password is right, a user's keys, how the channel is bound. Any octets may come; none makes it panic.
//!
//! ```text
//!   PLAIN   First ─────────────────────▶ Password                                          ─granted─▶ Over
//!   LOGIN   First ──▶ LoginPassword ───▶ Password                                          ─granted─▶ Over
//!   SCRAM   First ──▶ Keys ─challenge─▶ Final ──▶ Proven ─granted─▶ Confirmation ──empty──▶ Over
//! ```

use std::fmt;

use hmac::digest::CtOutput;
use sha2::{Digest, Sha256};

use super::{
    Key, Mechanism, SaslError, ScramKeys, attribute, decode, encode, is_nonce, prepared, signature, text,
};
use crate::limits::{CREDENTIAL_MAX, SCRAM_FIRST_MAX};

/// What an exchange waits for from the server.
#[derive(PartialEq, Eq)]
pub enum SaslStep {
    /// Whether the password is the user's. Both are as they came: UTF-8 of 1 to [`CREDENTIAL_MAX`] octets, without NUL.
    Password {
        /// The user's name.
        user: String,
        /// The password, which `Debug` keeps to itself.
        password: String,
    },
    /// What a proof is checked against: a [`ScramBasis`].
    Keys {
        /// The user's name, [prepared]; 1 to [`CREDENTIAL_MAX`] octets.
        user: String,
        /// How the client binds to the channel, if it does: the basis must have its data.
        binding: Option<ChannelBinding>,
    },
    /// What to do about a proof that was right or wrong; also about a user that wants to act for another.
    Proof {
        /// The user's name: [prepared] in SCRAM, as it came in PLAIN.
        user: String,
        /// Whether the user knows the password, and is bound to this channel.
        is_right: bool,
    },
}

impl fmt::Debug for SaslStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SaslStep::Password { user, .. } => write!(f, "Password {{ user: {user:?}, .. }}"),
            SaslStep::Keys { user, binding } => {
                write!(f, "Keys {{ user: {user:?}, binding: {binding:?} }}")
            }
            SaslStep::Proof { user, is_right } => {
                write!(f, "Proof {{ user: {user:?}, is_right: {is_right} }}")
            }
        }
    }
}

/// What ties an exchange to the TLS connection that it goes over, so that nobody can stand between.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// `tls-exporter` (RFC 9266): 32 octets that TLS exports under `EXPORTER-Channel-Binding` with an empty context.
    Exporter,
    /// `tls-server-end-point` (RFC 5929 4): the hash of the server's certificate.
    ServerEndPoint,
}

impl ChannelBinding {
    fn named(name: &str) -> Option<ChannelBinding> {
        match name {
            "tls-exporter" => Some(ChannelBinding::Exporter),
            "tls-server-end-point" => Some(ChannelBinding::ServerEndPoint),
            _ => None,
        }
    }
}

/// Whether a server offers channel binding, with SCRAM-SHA-256-PLUS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bindings {
    /// Under TLS.
    Offered,
    /// There is nothing to bind to.
    Absent,
}

/// What a proof is checked against.
#[derive(PartialEq, Eq)]
pub struct ScramBasis {
    /// The user's keys; of an unknown user some that nobody can prove, but always the same salt and iterations.
    pub keys: ScramKeys,
    /// A nonce never used before, and not to be guessed: printable ASCII without comma.
    pub nonce: String,
    /// The data of the binding that was asked for. None refuses the client: there is no such binding here.
    pub binding: Option<Vec<u8>>,
}

impl fmt::Debug for ScramBasis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ScramBasis {{ keys: {:?}, .. }}", self.keys)
    }
}

/// What comes after a client's response.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// This is to be said, and the client to respond.
    Challenge(String),
    /// The server is to be asked.
    Step(SaslStep),
    /// All is said: the client is who [`Exchange::granted`] was told of.
    Done,
}

/// The names of the mechanisms that a server takes, the best first.
pub fn mechanisms(bindings: Bindings) -> &'static str {
    match bindings {
        Bindings::Offered => "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN",
        Bindings::Absent => "SCRAM-SHA-256 PLAIN LOGIN",
    }
}

/// An exchange under way. `Debug` keeps what was said to itself.
pub struct Exchange(State);

enum State {
    /// The client's first message is to come.
    First(Kind),
    LoginPassword {
        user: String,
    },
    /// Whether a password is right is to be said.
    Password,
    /// The basis is to come.
    Keys(ClientFirst),
    /// SCRAM's last message with the proof is to come.
    Final(Challenged),
    /// What to do about a right proof is to be said; then this goes to the client.
    Proven(String),
    /// The client is to confirm by saying nothing that it took our proof.
    Confirmation,
    Over,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    Login,
    Scram(Wanted),
}

/// What the mechanism wants of SCRAM's first message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Bound,
    /// No binding, which may be offered all the same.
    Unbound(Bindings),
}

impl Exchange {
    /// Begins one of the mechanism that is called so, in letters of any case; none if there is none.
    pub fn begin(mechanism: &[u8], bindings: Bindings) -> Option<Exchange> {
        let is_plus = mechanism.eq_ignore_ascii_case(b"SCRAM-SHA-256-PLUS") && bindings == Bindings::Offered;
        let kind = match Mechanism::named(mechanism) {
            None if is_plus => Kind::Scram(Wanted::Bound),
            None => return None,
            Some(Mechanism::ScramSha256) => Kind::Scram(Wanted::Unbound(bindings)),
            Some(Mechanism::Plain) => Kind::Plain,
            Some(Mechanism::Login) => Kind::Login,
        };
        Some(Exchange(State::First(kind)))
    }

    /// What is said to a client that gave no initial response.
    pub fn opening(&self) -> &'static str {
        match self.0 {
            State::First(Kind::Login) => "Username:",
            _ => "",
        }
    }

    /// Reads a response. An error is the exchange's end.
    pub fn respond(&mut self, response: &[u8]) -> Result<Next, SaslError> {
        let (next, state) = match std::mem::replace(&mut self.0, State::Over) {
            State::First(Kind::Plain) => plain_step(response)?,
            State::First(Kind::Login) => {
                let user = credential(response)?;
                (Next::Challenge("Password:".into()), State::LoginPassword { user })
            }
            State::First(Kind::Scram(wanted)) => scram_first(response, wanted)?,
            State::LoginPassword { user } => {
                let password = credential(response)?;
                (Next::Step(SaslStep::Password { user, password }), State::Password)
            }
            State::Final(challenged) => challenged.judge(response)?,
            State::Confirmation if response.is_empty() => (Next::Done, State::Over),
            State::Confirmation => return Err(SaslError::Malformed),
            State::Password | State::Keys(_) | State::Proven(_) | State::Over => {
                return Err(SaslError::Unexpected);
            }
        };
        self.0 = state;
        Ok(next)
    }

    /// Answers [`SaslStep::Keys`]; gives what is to be said.
    pub fn challenge(&mut self, basis: ScramBasis) -> Result<String, SaslError> {
        let State::Keys(first) = std::mem::replace(&mut self.0, State::Over) else {
            unreachable!("keys were not asked for");
        };
        let (message, challenged) = first.challenge(basis)?;
        self.0 = State::Final(challenged);
        Ok(message)
    }

    /// Takes note that the user may come in: answers [`SaslStep::Password`], or a [`SaslStep::Proof`] that was right. Gives
    /// what is to be said first, if the client is to respond to something more; else this is the end.
    pub fn granted(&mut self) -> Option<String> {
        match std::mem::replace(&mut self.0, State::Over) {
            State::Password => None,
            State::Proven(signature) => {
                self.0 = State::Confirmation;
                Some(signature)
            }
            _ => unreachable!("nobody is let in without a proof"),
        }
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Exchange { .. }")
    }
}

/// PLAIN's message: who is acted for, who acts, the password (RFC 4616 2).
fn plain_step(message: &[u8]) -> Result<(Next, State), SaslError> {
    let mut parts = message.split(|octet| *octet == 0);
    let (Some(acted_for), Some(user), Some(password), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(SaslError::Malformed);
    };
    let (user, password) = (credential(user)?, credential(password)?);
    if !acted_for.is_empty() && acted_for != user.as_bytes() {
        return Ok(refused(user));
    }
    Ok((Next::Step(SaslStep::Password { user, password }), State::Password))
}

/// Whatever it may know: this user wants what nobody may.
fn refused(user: String) -> (Next, State) {
    (Next::Step(SaslStep::Proof { user, is_right: false }), State::Over)
}

/// A name or a password.
fn credential(octets: &[u8]) -> Result<String, SaslError> {
    let is_sound = (1..=CREDENTIAL_MAX).contains(&octets.len()) && !octets.contains(&0);
    text(octets).ok().filter(|_| is_sound).map(str::to_owned).ok_or(SaslError::Malformed)
}

/// `client-first-message`, as far as it is needed later.
struct ClientFirst {
    /// `gs2-header`, which the last message repeats.
    header: String,
    /// `client-first-message-bare`, which is signed with the rest.
    bare: String,
    user: String,
    nonce: String,
    binding: Option<ChannelBinding>,
}

fn scram_first(message: &[u8], wanted: Wanted) -> Result<(Next, State), SaslError> {
    if message.len() > SCRAM_FIRST_MAX {
        return Err(SaslError::Malformed);
    }
    let message = text(message)?;
    let (flag, rest) = message.split_once(',').ok_or(SaslError::Malformed)?;
    let (acted_for, bare) = rest.split_once(',').ok_or(SaslError::Malformed)?;
    let binding = binding(flag, wanted)?;
    if bare.starts_with("m=") {
        return Err(SaslError::Extension);
    }
    let mut attributes = bare.split(',');
    let name = name(attribute(attributes.next(), "n=")?)?;
    let nonce = attribute(attributes.next(), "r=")?;
    if !is_nonce(nonce) {
        return Err(SaslError::Malformed);
    }
    let acts_for_another = match acted_for.strip_prefix("a=") {
        None if acted_for.is_empty() => false,
        None => return Err(SaslError::Malformed),
        Some(other) => self::name(other)? != name,
    };
    let user = match prepared(&name) {
        Some(user) if !acts_for_another && user.len() <= CREDENTIAL_MAX => user.into_owned(),
        _ => return Ok(refused(name)), // also: nobody can be called so
    };
    let header = message[..message.len() - bare.len()].to_owned();
    let first =
        ClientFirst { header, bare: bare.to_owned(), user: user.clone(), nonce: nonce.to_owned(), binding };
    Ok((Next::Step(SaslStep::Keys { user, binding }), State::Keys(first)))
}

/// `gs2-cbind-flag`. A client that would bind, but thinks that we cannot, was told so by somebody else (RFC 5802 6).
fn binding(flag: &str, wanted: Wanted) -> Result<Option<ChannelBinding>, SaslError> {
    match (flag, flag.strip_prefix("p="), wanted) {
        ("n", _, Wanted::Unbound(_)) | ("y", _, Wanted::Unbound(Bindings::Absent)) => Ok(None),
        (_, Some(name), Wanted::Bound) => ChannelBinding::named(name).map(Some).ok_or(SaslError::Binding),
        ("n" | "y", ..) | (_, Some(_), _) => Err(SaslError::Binding),
        _ => Err(SaslError::Malformed),
    }
}

/// `saslname`: comma and equals sign are written `=2C` and `=3D`.
fn name(written: &str) -> Result<String, SaslError> {
    let mut pieces = written.split('=');
    let mut name = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let (sign, rest) = match (piece.strip_prefix("2C"), piece.strip_prefix("3D")) {
            (Some(rest), _) => (',', rest),
            (_, Some(rest)) => ('=', rest),
            _ => return Err(SaslError::Malformed),
        };
        name.push(sign);
        name.push_str(rest);
    }
    credential(name.as_bytes())
}

impl ClientFirst {
    fn challenge(self, basis: ScramBasis) -> Result<(String, Challenged), SaslError> {
        let ClientFirst { header, bare, user, nonce, binding } = self;
        let ScramBasis { keys, nonce: ours, binding: data } = basis;
        assert!(is_nonce(&ours), "not a nonce");
        let data = match binding {
            Some(_) => data.ok_or(SaslError::Binding)?,
            None => Vec::new(),
        };
        let nonce = nonce + &ours;
        let message = format!("r={nonce},s={},i={}", encode(&keys.salt), keys.iterations);
        let signed = format!("{bare},{message}");
        Ok((message, Challenged { user, nonce, binding: [header.into_bytes(), data].concat(), signed, keys }))
    }
}

/// An exchange of SCRAM that waits for its proof.
struct Challenged {
    user: String,
    /// The client's nonce and ours.
    nonce: String,
    /// What `c=` must be: the header and the binding's data.
    binding: Vec<u8>,
    /// The messages so far, which are signed.
    signed: String,
    keys: ScramKeys,
}

impl Challenged {
    /// Judges `client-final-message`.
    fn judge(self, message: &[u8]) -> Result<(Next, State), SaslError> {
        let (unproven, proof) = text(message)?.rsplit_once(",p=").ok_or(SaslError::Malformed)?;
        let mut attributes = unproven.split(',');
        let binding = decode(attribute(attributes.next(), "c=")?.as_bytes())?;
        let nonce = attribute(attributes.next(), "r=")?;
        let proof: Key = decode(proof.as_bytes())?.try_into().map_err(|_| SaslError::Malformed)?;
        let signed = format!("{},{unproven}", self.signed);
        let knows = self.keys.are_proven_by(proof, signed.as_bytes());
        let is_right = knows && binding == self.binding && nonce == self.nonce;
        let state = if is_right {
            let signature = signature(&self.keys.server_key, signed.as_bytes());
            State::Proven(format!("v={}", encode(&signature)))
        } else {
            State::Over
        };
        Ok((Next::Step(SaslStep::Proof { user: self.user, is_right }), state))
    }
}

impl ScramKeys {
    /// Whether this proof of a message is of somebody who knows the password. Compared in constant time.
    fn are_proven_by(&self, proof: Key, message: &[u8]) -> bool {
        let mut client_key = proof;
        let mask = signature(&self.stored_key, message);
        client_key.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
        let found = CtOutput::<Sha256>::new(Sha256::digest(client_key));
        found == CtOutput::new(self.stored_key.into())
    }
}

#[cfg(test)]
mod tests;
