//! STARTTLS in its dialogue (RFC 3207).

use super::*;

#[test]
fn all_is_forgotten_and_said_again_under_tls() {
    for starttls in [StartTls::WhenOffered, StartTls::Required] {
        talk(tls(starttls), |talk| {
            talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "STARTTLS\r\n")]);
            assert_eq!(talk.hear("220 go\r\n"), Ok(vec![(Phase::StartTls, 220)]));
            assert!(talk.client.needs_tls() && !talk.client.is_idle() && talk.said().is_empty());
            talk.client.secured();
            assert_eq!(*talk.client.extensions(), Extensions::default());
            // A second offer is a mistake of the server's, and not taken.
            talk.goes(&[("", "EHLO me\r\n"), (TLS, "")]);
            assert!(talk.client.is_idle() && !talk.client.needs_tls());
        });
    }
}

#[test]
fn octets_between_the_reply_to_starttls_and_the_handshake_are_never_heard() {
    for injected in ["220 go\r\n250 injected\r\n", "220 go\r\n2", "220 go\r\n\r\n"] {
        talk(tls(StartTls::Required), |talk| {
            talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "STARTTLS\r\n")]);
            assert_eq!(talk.hear(injected), Err(Error::Injected));
            assert!(talk.client.is_over() && !talk.client.needs_tls());
        });
    }
}

#[test]
fn without_the_tls_that_it_requires_a_client_says_nothing_more() {
    talk(tls(StartTls::Required), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
        assert_eq!(talk.hear(OFFERS), Err(Error::NotOffered(Extension::StartTls)));
        assert!(talk.said().is_empty());
    });
    talk(tls(StartTls::Required), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "STARTTLS\r\n")]);
        assert_eq!(talk.hear("454 not now\r\n"), Err(Error::TlsRefused(454)));
        assert!(talk.said().is_empty());
    });
    talk(tls(StartTls::Required), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "STARTTLS\r\n")]);
        assert_eq!(talk.hear("250 hm\r\n"), Err(Error::OutOfPlace(Phase::StartTls, 250)));
    });
}

#[test]
fn a_client_that_takes_tls_when_offered_goes_on_without() {
    talk(tls(StartTls::WhenOffered), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (OFFERS, "")]);
        assert!(talk.client.is_idle());
    });
    talk(tls(StartTls::WhenOffered), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "STARTTLS\r\n"), ("454 not now\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn under_tls_from_the_start_there_is_no_starttls() {
    talk(tls(StartTls::Required), |talk| {
        talk.client.secured_from_start();
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), (TLS, "")]);
        assert!(talk.client.is_idle());
    });
}
