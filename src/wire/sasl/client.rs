//! The client's side of SCRAM-SHA-256 (RFC 5802, 7677): what it says, and how it judges what a server says. Called by a
//! client's dialogue, which carries the messages. No channel binding (`n,,`): whoever needs it authenticates the server by
//! its certificate.

use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::{
    Key, SaslError, attribute, client_key, decode, encode, is_nonce, server_key, signature, signing,
    stored_key, text,
};
use crate::limits::{SCRAM_ITERATIONS_MAX, SCRAM_ITERATIONS_MIN};

/// A client's side of SCRAM-SHA-256.
#[derive(Debug)]
pub struct Scram {
    /// `client-first-message-bare`, which is signed with the rest.
    first_bare: String,
    /// Where our nonce begins in it.
    nonce_at: usize,
}

/// What a server asks of a client that said its name.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge<'a> {
    /// The whole message, which is signed with the rest.
    message: &'a str,
    nonce: &'a str,
    /// The salt of the user's password.
    pub salt: Vec<u8>,
    /// The iterations of the user's password, within bounds.
    pub iterations: u32,
}

/// What the server's last word must be.
#[derive(Debug)]
pub struct Verifier {
    signing: Hmac<Sha256>,
}

impl Scram {
    /// For a user, [prepared](super::prepared), and a nonce that was never used before: printable ASCII without comma.
    pub fn new(user: &str, nonce: &str) -> Scram {
        assert!(is_nonce(nonce), "not a nonce");
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={user},r={nonce}");
        Scram { nonce_at: first_bare.len() - nonce.len(), first_bare }
    }

    /// The client's first message.
    pub fn first(&self) -> Vec<u8> {
        format!("{GS2_HEADER}{}", self.first_bare).into_bytes()
    }

    /// Reads the server's first message.
    pub fn challenge<'a>(&self, message: &'a [u8]) -> Result<Challenge<'a>, SaslError> {
        let message = text(message)?;
        refusal(message)?;
        let mut attributes = message.split(',');
        let nonce = attribute(attributes.next(), "r=")?;
        let salt = decode(attribute(attributes.next(), "s=")?.as_bytes())?;
        let iterations = iterations(attribute(attributes.next(), "i=")?)?;
        let ours = &self.first_bare[self.nonce_at..];
        match nonce.strip_prefix(ours) {
            Some(theirs) if is_nonce(theirs) => {}
            _ => return Err(SaslError::Nonce),
        }
        if salt.is_empty() {
            return Err(SaslError::Malformed);
        }
        Ok(Challenge { message, nonce, salt, iterations })
    }

    /// The client's last message, which proves that it knows the password, and what checks the server's.
    pub fn proof(&self, challenge: &Challenge<'_>, salted_password: &Key) -> (Vec<u8>, Verifier) {
        let unproven = format!("c={},r={}", encode(GS2_HEADER.as_bytes()), challenge.nonce);
        let message = format!("{},{},{unproven}", self.first_bare, challenge.message);
        let mut proof = client_key(salted_password);
        let signature = signature(&stored_key(&proof), message.as_bytes());
        proof.iter_mut().zip(signature).for_each(|(octet, mask)| *octet ^= mask);
        let signing = signing(&server_key(salted_password), message.as_bytes());
        (format!("{unproven},p={}", encode(&proof)).into_bytes(), Verifier { signing })
    }
}

impl Verifier {
    /// Judges the server's last message.
    pub fn verify(self, message: &[u8]) -> Result<(), SaslError> {
        let message = text(message)?;
        refusal(message)?;
        let first = message.split(',').next();
        let signature = decode(attribute(first, "v=")?.as_bytes())?;
        self.signing.verify_slice(&signature).map_err(|_| SaslError::Signature)
    }
}

/// A message that says that there is no going on.
fn refusal(message: &str) -> Result<(), SaslError> {
    let first = message.split(',').next().unwrap_or_default();
    match first.split_once('=') {
        Some(("e", error)) => {
            let known = SERVER_ERRORS.into_iter().find(|known| *known == error);
            Err(SaslError::Server(known.unwrap_or("other-error")))
        }
        Some(("m", _)) => Err(SaslError::Extension),
        _ => Ok(()),
    }
}

fn iterations(digits: &str) -> Result<u32, SaslError> {
    let plain = !digits.starts_with('0') && digits.bytes().all(|octet| octet.is_ascii_digit());
    let count: u64 = digits.parse().ok().filter(|_| plain).ok_or(SaslError::Malformed)?;
    match u32::try_from(count) {
        Ok(count) if (SCRAM_ITERATIONS_MIN..=SCRAM_ITERATIONS_MAX).contains(&count) => Ok(count),
        _ => Err(SaslError::Iterations(count)),
    }
}

/// No channel binding, nobody else's name (RFC 5802 7, `gs2-header`).
const GS2_HEADER: &str = "n,,";

/// RFC 5802 7, `server-error-value`. Another one is `other-error`, and what the server wrote is not repeated.
const SERVER_ERRORS: [&str; 11] = [
    "invalid-encoding",
    "extensions-not-supported",
    "invalid-proof",
    "channel-bindings-dont-match",
    "server-does-support-channel-binding",
    "channel-binding-not-supported",
    "unsupported-channel-binding-type",
    "unknown-user",
    "invalid-username-encoding",
    "no-resources",
    "other-error",
];

#[cfg(test)]
mod tests {
    use super::super::salted_password;
    use super::*;
    use proptest::prelude::*;

    const NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
    const CHALLENGE: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const SIGNATURE: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn rfc_7677() -> (Vec<u8>, Verifier) {
        let scram = Scram::new("user", NONCE);
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = scram.challenge(CHALLENGE.as_bytes()).unwrap();
        let salted = salted_password("pencil", &challenge.salt, challenge.iterations);
        scram.proof(&challenge, &salted)
    }

    #[test]
    fn the_example_of_rfc_7677_comes_out_as_printed() {
        let (proof, verifier) = rfc_7677();
        assert_eq!(
            String::from_utf8(proof).unwrap(),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        assert_eq!(verifier.verify(SIGNATURE.as_bytes()), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        for wrong in ["v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G8=", "v=", "v=6rri"] {
            let judged = rfc_7677().1.verify(wrong.as_bytes());
            assert!(matches!(judged, Err(SaslError::Signature | SaslError::Base64)), "{wrong}: {judged:?}");
        }
        assert_eq!(rfc_7677().1.verify(b"ok"), Err(SaslError::Malformed));
    }

    #[test]
    fn the_servers_error_is_named_and_nothing_else_that_it_wrote() {
        assert_eq!(rfc_7677().1.verify(b"e=invalid-proof"), Err(SaslError::Server("invalid-proof")));
        assert_eq!(rfc_7677().1.verify(b"e=\x1b[2Jx,y"), Err(SaslError::Server("other-error")));
    }

    #[test]
    fn a_challenge_that_is_not_for_us_is_refused() {
        let scram = Scram::new("user", "abc");
        let error = |challenge: &str| scram.challenge(challenge.as_bytes()).unwrap_err();
        assert_eq!(error("r=abc,s=AAAA,i=4096"), SaslError::Nonce, "nothing of theirs");
        assert_eq!(error("r=abXdef,s=AAAA,i=4096"), SaslError::Nonce);
        assert_eq!(error("r=xabcdef,s=AAAA,i=4096"), SaslError::Nonce);
        assert_eq!(error("m=x,r=abcdef,s=AAAA,i=4096"), SaslError::Extension);
        assert_eq!(error("e=unknown-user"), SaslError::Server("unknown-user"));
        assert_eq!(error("r=abcdef,s=,i=4096"), SaslError::Malformed);
        assert_eq!(error("r=abcdef,s=A*AA,i=4096"), SaslError::Base64);
        assert_eq!(error("r=abcdef,i=4096,s=AAAA"), SaslError::Malformed);
        assert_eq!(error("r=abcdef,s=AAAA,i=+4096"), SaslError::Malformed);
        assert_eq!(error("r=abcdef,s=AAAA"), SaslError::Malformed);
        assert_eq!(error(""), SaslError::Malformed);
        assert!(scram.challenge(b"r=abcdef,s=AAAA,i=4096,x=unknown").is_ok());
    }

    #[test]
    fn the_work_that_a_server_may_ask_for_is_bounded_both_ways() {
        let scram = Scram::new("user", "abc");
        let ask = |iterations: u64| {
            let challenge = format!("r=abcdef,s=AAAA,i={iterations}");
            scram.challenge(challenge.as_bytes()).map(|challenge| challenge.iterations)
        };
        let (least, most) = (u64::from(SCRAM_ITERATIONS_MIN), u64::from(SCRAM_ITERATIONS_MAX));
        assert_eq!(ask(least), Ok(SCRAM_ITERATIONS_MIN));
        assert_eq!(ask(most), Ok(SCRAM_ITERATIONS_MAX));
        assert_eq!(ask(least - 1), Err(SaslError::Iterations(least - 1)));
        assert_eq!(ask(most + 1), Err(SaslError::Iterations(most + 1)));
        assert_eq!(ask(1 << 33), Err(SaslError::Iterations(1 << 33)));
    }

    #[test]
    fn a_comma_or_equals_sign_in_a_name_is_written_so_that_it_ends_nothing() {
        assert_eq!(Scram::new("a=b,c", "xyz").first(), b"n,,n=a=3Db=2Cc,r=xyz");
    }

    proptest! {
        #[test]
        fn a_server_with_the_stored_keys_and_the_client_convince_each_other(
            user in "[ -~]{1,20}", password in "[ -~]{1,20}", wrong in "[ -~]{1,20}", salt in prop::collection::vec(any::<u8>(), 1..40),
        ) {
            let scram = Scram::new(&user, "abc");
            let message = format!("r=abcdef,s={},i={SCRAM_ITERATIONS_MIN}", encode(&salt));
            let challenge = scram.challenge(message.as_bytes()).unwrap();
            let salted = salted_password(&password, &salt, 1);
            let (stored, server) = (stored_key(&client_key(&salted)), server_key(&salted));
            for tried in [&password, &wrong] {
                let (last, verifier) = scram.proof(&challenge, &salted_password(tried, &salt, 1));
                let last = String::from_utf8(last).unwrap();
                let (unproven, proof) = last.rsplit_once(",p=").unwrap();
                let bare = String::from_utf8(scram.first()).unwrap()[3..].to_owned();
                let signed = format!("{bare},{message},{unproven}");
                let mask = signature(&stored, signed.as_bytes());
                let key: Vec<u8> = decode(proof.as_bytes()).unwrap().iter().zip(mask).map(|(a, b)| a ^ b).collect();
                let convinced = stored_key(&key.try_into().unwrap()) == stored;
                prop_assert_eq!(convinced, *tried == password);
                let last = format!("v={}", encode(&signature(&server, signed.as_bytes())));
                prop_assert_eq!(verifier.verify(last.as_bytes()).is_ok(), *tried == password);
            }
        }

        #[test]
        fn any_octets_are_judged_without_a_panic(octets in prop::collection::vec(any::<u8>(), 0..80)) {
            let scram = Scram::new("user", "abc");
            let _ = scram.challenge(&octets);
            let _ = decode(&octets);
            let _ = Verifier { signing: signing(&[0; 32], b"") }.verify(&octets);
        }
    }
}
