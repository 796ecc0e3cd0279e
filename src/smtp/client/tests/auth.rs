//! AUTH in its dialogue (RFC 4954).

use super::*;
use crate::wire::sasl;

const NONCE: &str = "00000000000000ff";

fn credentials(mechanism: Option<Mechanism>, clear: ClearText) -> Option<Arc<Credentials>> {
    Some(Arc::new(Credentials::new("tim", "secret", mechanism, clear).unwrap()))
}

fn authenticated(credentials: Option<Arc<Credentials>>) -> Manner {
    Manner { credentials, ..manner(Grouping::Pipelined) }
}

fn offers(mechanisms: &str) -> String {
    format!("250-mx\r\n250 AUTH {mechanisms}\r\n")
}

/// A talk under TLS, up to where the server has made its offer.
fn under_tls(mechanism: Option<Mechanism>, mechanisms: &str, body: impl Fn(&mut Talk)) {
    talk(authenticated(credentials(mechanism, ClearText::Refused)), |talk| {
        talk.client = Client::new(Arc::new(authenticated(credentials(mechanism, ClearText::Refused))), 255);
        talk.client.secured_from_start();
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
        assert_eq!(talk.hear(&offers(mechanisms)), Ok(vec![(Phase::Ehlo, 250)]));
        body(talk);
    });
}

fn challenge(text: &str) -> String {
    format!("334 {}\r\n", sasl::encode(text.as_bytes()))
}

#[test]
fn plain_is_one_line() {
    under_tls(Some(Mechanism::Plain), "LOGIN plain", |talk| {
        assert_eq!(talk.said(), "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n");
        assert!(!talk.client.is_idle());
        assert_eq!(talk.hear("235 2.7.0 welcome\r\n"), Ok(vec![(Phase::Auth, 235)]));
        assert!(talk.client.is_idle());
        talk.start(1, Form::Stuffed);
        assert_eq!(talk.said(), "MAIL FROM:<a@b>\r\n");
    });
}

#[test]
fn a_first_message_too_long_for_a_command_waits_to_be_asked_for() {
    let long = "x".repeat(255);
    let credentials = Credentials::new(&long, &long, Some(Mechanism::Plain), ClearText::Allowed).unwrap();
    let message = sasl::encode(&sasl::plain(&long, &long));
    talk(authenticated(Some(Arc::new(credentials))), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (&offers("PLAIN"), "AUTH PLAIN\r\n")]);
        talk.goes(&[("334 \r\n", &format!("{message}\r\n")), ("235 ok\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn login_answers_two_questions() {
    under_tls(Some(Mechanism::Login), "PLAIN LOGIN", |talk| {
        talk.goes(&[("", "AUTH LOGIN\r\n"), ("334 VXNlcm5hbWU6\r\n", "dGlt\r\n")]);
        talk.goes(&[("334 UGFzc3dvcmQ6\r\n", "c2VjcmV0\r\n"), ("235 ok\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn the_best_mechanism_that_is_offered_is_taken() {
    for (offered, taken) in [
        ("LOGIN PLAIN SCRAM-SHA-256 GSSAPI", "AUTH SCRAM-SHA-256 "),
        ("LOGIN PLAIN", "AUTH PLAIN "),
        ("X LOGIN", "AUTH LOGIN\r\n"),
    ] {
        under_tls(None, offered, |talk| assert!(talk.said().starts_with(taken)));
    }
}

/// What a server with the password says to a client that spoke first, and to its proof.
fn scram_server(password: &str) -> (String, impl Fn(&str) -> String) {
    let first = format!("r={NONCE}server,s=c2FsdA==,i=4096");
    let (text, password) = (first.clone(), password.to_owned());
    let last = move |line: &str| {
        let last = String::from_utf8(sasl::decode(line.trim_end().as_bytes()).unwrap()).unwrap();
        let (unproven, _) = last.rsplit_once(",p=").unwrap();
        let key = sasl::server_key(&sasl::salted_password(&password, b"salt", 4096));
        let signed = format!("n=tim,r={NONCE},{text},{unproven}");
        format!("v={}", sasl::encode(&sasl::signature(&key, signed.as_bytes())))
    };
    (first, last)
}

#[test]
fn scram_ends_when_both_sides_have_proved_that_they_know_the_password() {
    under_tls(Some(Mechanism::ScramSha256), "SCRAM-SHA-256", |talk| {
        let (first, last) = scram_server("secret");
        let hello = sasl::encode(format!("n,,n=tim,r={NONCE}").as_bytes());
        assert_eq!(talk.said(), format!("AUTH SCRAM-SHA-256 {hello}\r\n"));
        assert_eq!(talk.hear(&challenge(&first)), Ok(vec![(Phase::Auth, 334)]));
        let proof = talk.said();
        talk.goes(&[(&challenge(&last(&proof)), "\r\n"), ("235 ok\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn a_server_that_cannot_prove_itself_in_scram_is_left() {
    under_tls(None, "SCRAM-SHA-256", |talk| {
        let (first, last) = scram_server("another");
        talk.said();
        talk.hear(&challenge(&first)).unwrap();
        let proof = talk.said();
        let heard = talk.hear(&challenge(&last(&proof)));
        assert_eq!(heard, Err(Error::Sasl(SaslError::Signature)));
        assert!(talk.client.is_over() && talk.said().is_empty());
    });
    under_tls(None, "SCRAM-SHA-256", |talk| {
        talk.said();
        talk.hear(&challenge(&scram_server("").0)).unwrap();
        talk.said();
        assert_eq!(talk.hear("235 trust me\r\n"), Err(Error::Sasl(SaslError::Unproven)));
    });
    under_tls(None, "SCRAM-SHA-256", |talk| {
        talk.said();
        assert_eq!(talk.hear("235 no need\r\n"), Err(Error::Sasl(SaslError::Unproven)));
    });
}

#[test]
fn a_challenge_without_sense_is_an_error_that_names_it() {
    for (said, error) in [
        ("334 *\r\n".to_owned(), SaslError::Base64),
        ("334-AA==\r\n334 AA==\r\n".to_owned(), SaslError::Malformed),
        (challenge("hello"), SaslError::Malformed),
        (challenge("r=other,s=AAAA,i=4096"), SaslError::Nonce),
        (challenge(&format!("r={NONCE}x,s=AAAA,i=1")), SaslError::Iterations(1)),
        (challenge("e=unknown-user"), SaslError::Server("unknown-user")),
    ] {
        under_tls(None, "SCRAM-SHA-256", |talk| {
            talk.said();
            assert_eq!(talk.hear(&said), Err(Error::Sasl(error)));
            assert!(talk.client.is_over());
        });
    }
    under_tls(None, "PLAIN", |talk| {
        talk.said();
        assert_eq!(talk.hear("334 \r\n"), Err(Error::Sasl(SaslError::Unexpected)));
    });
    under_tls(None, "PLAIN", |talk| {
        talk.said();
        assert_eq!(talk.hear("250 hm\r\n"), Err(Error::OutOfPlace(Phase::Auth, 250)));
    });
}

#[test]
fn a_refused_password_ends_in_quit() {
    under_tls(None, "PLAIN", |talk| {
        talk.said();
        assert_eq!(talk.hear("535 5.7.8 no\r\n"), Ok(vec![(Phase::Auth, 535)]));
        talk.goes(&[("", "QUIT\r\n"), ("221 bye\r\n", "")]);
        assert!(talk.client.is_over());
    });
}

#[test]
fn a_password_goes_in_the_clear_only_where_that_is_allowed() {
    for (mechanisms, mechanism) in [("PLAIN LOGIN", Mechanism::Plain), ("LOGIN", Mechanism::Login)] {
        talk(authenticated(credentials(None, ClearText::Refused)), |talk| {
            talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
            assert_eq!(talk.hear(&offers(mechanisms)), Err(Error::InTheClear(mechanism)));
            assert!(talk.said().is_empty());
        });
    }
    talk(authenticated(credentials(None, ClearText::Allowed)), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (&offers("PLAIN"), "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n")]);
    });
    talk(authenticated(credentials(None, ClearText::Refused)), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
        talk.hear(&offers("SCRAM-SHA-256")).unwrap();
        assert!(talk.said().starts_with("AUTH SCRAM-SHA-256 "), "it does not reveal the password");
    });
}

#[test]
fn a_mechanism_that_is_not_offered_is_told_apart() {
    for (mechanism, offered, missing) in [
        (Some(Mechanism::ScramSha256), "PLAIN", Extension::Mechanism(Mechanism::ScramSha256)),
        (None, "GSSAPI", Extension::Auth),
        (None, "", Extension::Auth),
    ] {
        talk(authenticated(credentials(mechanism, ClearText::Allowed)), |talk| {
            talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
            assert_eq!(talk.hear(&offers(offered)), Err(Error::NotOffered(missing)));
        });
    }
}

#[test]
fn auth_comes_behind_starttls_and_not_without_it() {
    let both = "250-mx\r\n250-STARTTLS\r\n250 AUTH PLAIN\r\n";
    let with = |clear| Manner {
        starttls: StartTls::WhenOffered,
        ..authenticated(credentials(Some(Mechanism::Plain), clear))
    };
    talk(with(ClearText::Refused), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (both, "STARTTLS\r\n")]);
        talk.hear("220 go\r\n").unwrap();
        talk.client.secured();
        talk.goes(&[("", "EHLO me\r\n"), (&offers("PLAIN"), "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n")]);
    });
    talk(with(ClearText::Refused), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (both, "STARTTLS\r\n")]);
        assert_eq!(talk.hear("454 not now\r\n"), Err(Error::TlsRefused(454)));
    });
    talk(with(ClearText::Allowed), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (both, "STARTTLS\r\n")]);
        talk.goes(&[("454 not now\r\n", "AUTH PLAIN AHRpbQBzZWNyZXQ=\r\n")]);
    });
}

#[test]
fn nothing_that_is_printed_for_us_has_the_password() {
    for mechanism in Mechanism::ALL {
        let manner = Arc::new(authenticated(credentials(Some(mechanism), ClearText::Allowed)));
        let mut talk = Talk { client: Client::new(Arc::clone(&manner), 0), pieces: Pieces::Whole };
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
        talk.hear(&offers(mechanism.name())).unwrap();
        let printed = format!("{manner:?} {:?}", talk.client);
        let octets = format!("{:?}", b"secret");
        for secret in ["secret", "AHRpbQBzZWNyZXQ=", "c2VjcmV0", octets.trim_matches(['[', ']'])] {
            assert!(!printed.contains(secret), "{printed}");
        }
    }
}

proptest! {
    #[test]
    fn an_exchange_hears_the_same_however_the_replies_are_cut(
        words in prop::collection::vec(prop::sample::select(vec![
            "334 \r\n", "334 VXNlcm5hbWU6\r\n", "334 *\r\n", "334 cj0wMA==\r\n", "235 ok\r\n", "535 no\r\n", "250 ok\r\n",
            "221 bye\r\n", "3", "421 bye\r\n",
        ]), 0..8),
        mechanism in prop::sample::select(Mechanism::ALL.to_vec()),
        seed in any::<u64>(),
    ) {
        let manner = Arc::new(authenticated(credentials(Some(mechanism), ClearText::Allowed)));
        let offered = "250 AUTH SCRAM-SHA-256 PLAIN LOGIN\r\n";
        let run = |pieces| {
            let client = Client::new(Arc::clone(&manner), 255);
            let mut talk = Talk { client, pieces };
            talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
            talk.hear(&format!("250-mx\r\n{offered}")).unwrap();
            words.iter().map(|word| (talk.said(), talk.hear(word))).collect::<Vec<_>>()
        };
        // An idle client stays idle here: what comes is unasked for.
        prop_assert_eq!(run(Pieces::Random(seed)), run(Pieces::Whole));
    }
}
