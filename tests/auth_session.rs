//! What the session promises of AUTH (RFC 4954): each line of the exchange, its refusals, its order, and that nothing
//! depends on how the octets are cut. The messages of SCRAM are of RFC 7677 3, as far as they can be.

mod common;

use common::dialogue::{ACCOUNT, Dialogue, NONCE, PASSWORD, USER, binding_data, run_each_way};
use fastsmtp::smtp::{CloseReason, Envelope, Offer, Reply, SaslStep, Security};
use fastsmtp::wire::sasl;

const EHLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<user@example.com>\r\n";

/// In plain.
fn offering(auth: Offer) -> Dialogue {
    Dialogue::with(Security { starttls: true, auth, auth_required: false })
}

/// Under TLS from the start.
fn in_tls() -> Dialogue {
    let mut dialogue = offering(Offer::InTls);
    dialogue.session.secured();
    dialogue
}

/// The replies behind EHLO's to what is said then, each without its CRLF.
fn replies(said: &[&str], make: impl Fn() -> Dialogue) -> Vec<String> {
    let dialogue = after_ehlo(said, make);
    let text = String::from_utf8(dialogue.replies).unwrap();
    let last = |line: &&str| line.as_bytes()[3] == b' ';
    text.split_terminator("\r\n").filter(last).skip(1).map(str::to_owned).collect()
}

fn after_ehlo(said: &[&str], make: impl Fn() -> Dialogue) -> Dialogue {
    let lines: String = said.iter().map(|line| format!("{line}\r\n")).collect();
    run_each_way(format!("{EHLO}{lines}").as_bytes(), make)
}

fn encoded(text: &str) -> String {
    sasl::encode(text.as_bytes())
}

fn plain(user: &str, password: &str) -> String {
    sasl::encode(&sasl::plain(user, password))
}

const CHALLENGE_USER: &str = "334 VXNlcm5hbWU6";
const CHALLENGE_PASSWORD: &str = "334 UGFzc3dvcmQ6";
const LOGGED_IN: &str = "235 2.7.0 logged in";

#[test]
fn plain_lets_the_user_in_with_and_without_an_initial_response() {
    let message = plain(USER, PASSWORD);
    for line in [format!("AUTH PLAIN {message}"), format!("auth plain {message}")] {
        assert_eq!(replies(&[&line], in_tls), [LOGGED_IN]);
    }
    assert_eq!(replies(&["AUTH PLAIN", &message], in_tls), ["334 ", LOGGED_IN]);
    let dialogue = after_ehlo(&["AUTH PLAIN", &message], in_tls);
    assert_eq!(dialogue.session.user(), Some(ACCOUNT));
    let (user, password) = (USER.to_owned(), PASSWORD.to_owned());
    assert_eq!(dialogue.steps, [SaslStep::Password { user, password }]);
}

#[test]
fn login_asks_for_the_name_and_the_password() {
    let (user, password) = (encoded(USER), encoded(PASSWORD));
    assert_eq!(
        replies(&["AUTH LOGIN", &user, &password], in_tls),
        [CHALLENGE_USER, CHALLENGE_PASSWORD, LOGGED_IN]
    );
    let initial = format!("AUTH LOGIN {user}");
    assert_eq!(replies(&[&initial, &password], in_tls), [CHALLENGE_PASSWORD, LOGGED_IN]);
}
