//! What the POP3 session promises of the dialogue (RFC 1939, 2449, 2595, 5034): transcripts that mean the same however
//! their bytes are cut, what becomes of a maildrop, and that no message is ever taken for a whole one that is not.

mod common;

use common::dialogue::{ACCOUNT, NONCE, PASSWORD, USER, binding_data};
use common::pop3::{Dialogue, holds, run_each_way};
use fastsmtp::limits::{OUTBOX_MAX, POP3_ERRORS_MAX, POP3_LINE_MAX, POP3_PART};
use fastsmtp::pop3::{
    Bindings, Changes, CloseReason, Listed, Need, Offer, Part, Profile, Refusal, SaslStep, Security, Session,
    Wanted,
};
use fastsmtp::smtp::ChannelBinding;
use fastsmtp::wire::{Outbox, sasl};
use proptest::prelude::*;

const LOGIN: &str = "USER user\r\nPASS pencil\r\n";
const FIRST: &str = "Subject: one\r\n\r\nHello\r\n.\r\n..two\r\n";
const SECOND: &str = "Subject: two\n\nunix\n.\nend";

fn two_mails() -> Dialogue {
    Dialogue::in_tls(&[FIRST, SECOND])
}

fn empty() -> Dialogue {
    Dialogue::in_tls(&[])
}

fn plain(auth: Offer) -> Dialogue {
    Dialogue::with(Security { starttls: true, auth }, &[FIRST, SECOND])
}

/// A maildrop that is open, whose login is said already.
fn opened(make: impl Fn() -> Dialogue) -> Dialogue {
    let mut dialogue = make();
    dialogue.feed(LOGIN.as_bytes());
    assert!(dialogue.session.is_open());
    dialogue.take_said();
    dialogue
}

/// What is said to `input`, in each way that it may be cut.
fn said(input: &str, make: impl Fn() -> Dialogue) -> String {
    String::from_utf8(run_each_way(input.as_bytes(), make).said).unwrap()
}

#[test]
fn a_session_goes_as_in_rfc_1939() {
    let dialogue = holds(
        two_mails,
        "
        C: USER user
        S: +OK now PASS
        C: PASS pencil
        S: +OK 2 messages (57 octets)
        C: STAT
        S: +OK 2 57
        C: LIST
        S: +OK 2 messages (57 octets)
        S: 1 33
        S: 2 24
        S: .
        C: UIDL
        S: +OK 2 messages (57 octets)
        S: 1 uid-1
        S: 2 uid-2
        S: .
        C: RETR 1
        S: +OK 33 octets
        S: Subject: one
        S:
        S: Hello
        S: ..
        S: ...two
        S: .
        C: DELE 1
        S: +OK deleted
        C: RETR 2
        S: +OK 24 octets
        S: Subject: two
        S:
        S: unix
        S: ..
        S: end
        S: .
        C: NOOP
        S: +OK nothing done
        C: QUIT
        S: +OK goodbye
        ",
    );
    assert_eq!(dialogue.updates, [Changes { removed: vec![0], seen: vec![1] }]);
    assert_eq!(dialogue.closed, Some(CloseReason::Quit));
    assert_eq!(dialogue.session.user(), Some(ACCOUNT));
}

#[test]
fn the_greeting_offers_no_apop() {
    let mut out = Outbox::new();
    Session::new(Profile::new("mx.example.com").into()).greet(&mut out);
    assert_eq!(out.pending(), b"+OK mx.example.com POP3 fastsmtp ready\r\n");
}

#[test]
fn every_command_has_its_reply_in_every_state() {
    const FIRST_LOGIN: &str = "-ERR log in first";
    const LOGGED_IN: &str = "-ERR you are logged in already";
    const NO_MESSAGE: &str = "-ERR no such message";
    const BAD: &str = "-ERR syntax error in argument";
    const NO_ARGUMENT: &str = "-ERR no argument wanted";
    const UNKNOWN: &str = "-ERR unknown command";
    // Columns: start, behind USER, with a maildrop of two mails. Of an answer of more lines, the first.
    let table: &[(&str, [&str; 3])] = &[
        ("CAPA", ["+OK capabilities follow"; 3]),
        ("STLS", ["-ERR this is TLS already", "-ERR this is TLS already", LOGGED_IN]),
        ("AUTH PLAIN", ["+ ", "+ ", LOGGED_IN]),
        ("AUTH WIBBLE", ["-ERR mechanism not known", "-ERR mechanism not known", LOGGED_IN]),
        ("AUTH", [BAD; 3]),
        ("USER a", ["+OK now PASS", "-ERR PASS was to follow; begin again with USER", LOGGED_IN]),
        ("USER", [BAD; 3]),
        ("PASS pencil", ["-ERR USER first", "+OK 2 messages (57 octets)", LOGGED_IN]),
        ("PASS wrong", ["-ERR USER first", "-ERR [AUTH] wrong user or password", LOGGED_IN]),
        ("PASS", [BAD; 3]),
        ("UTF8", ["+OK UTF-8 enabled", "+OK UTF-8 enabled", LOGGED_IN]),
        ("STAT", [FIRST_LOGIN, FIRST_LOGIN, "+OK 2 57"]),
        ("LIST", [FIRST_LOGIN, FIRST_LOGIN, "+OK 2 messages (57 octets)"]),
        ("LIST 2", [FIRST_LOGIN, FIRST_LOGIN, "+OK 2 24"]),
        ("LIST 3", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("UIDL", [FIRST_LOGIN, FIRST_LOGIN, "+OK 2 messages (57 octets)"]),
        ("UIDL 1", [FIRST_LOGIN, FIRST_LOGIN, "+OK 1 uid-1"]),
        ("UIDL 0", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("RETR 1", [FIRST_LOGIN, FIRST_LOGIN, "+OK 33 octets"]),
        ("RETR 3", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("RETR 18446744073709551616", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("RETR", [BAD; 3]),
        ("RETR -1", [BAD; 3]),
        ("TOP 1 0", [FIRST_LOGIN, FIRST_LOGIN, "+OK top follows"]),
        ("TOP 3 0", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("TOP 1", [BAD; 3]),
        ("DELE 1", [FIRST_LOGIN, FIRST_LOGIN, "+OK deleted"]),
        ("DELE 3", [FIRST_LOGIN, FIRST_LOGIN, NO_MESSAGE]),
        ("RSET", [FIRST_LOGIN, FIRST_LOGIN, "+OK 2 messages (57 octets)"]),
        ("NOOP", [FIRST_LOGIN, FIRST_LOGIN, "+OK nothing done"]),
        ("NOOP x", [NO_ARGUMENT; 3]),
        ("QUIT", ["+OK goodbye"; 3]),
        ("QUIT x", [NO_ARGUMENT; 3]),
        ("APOP user 0123456789abcdef0123456789abcdef", [UNKNOWN; 3]),
        ("LANG", [UNKNOWN; 3]),
        ("EHLO x", [UNKNOWN; 3]),
        ("", [UNKNOWN; 3]),
        ("STAT\n", ["-ERR lines end in CRLF"; 3]),
        ("ST\rAT", ["-ERR lines end in CRLF"; 3]),
        ("USER a\0b", ["-ERR commands are UTF-8 without NUL"; 3]),
        ("GET / HTTP/1.1", ["-ERR this is POP3"; 3]),
        ("\u{16}\u{3}\u{1}", ["-ERR this is POP3"; 3]),
    ];
    for (command, expected) in table {
        for (setup, expected) in ["", "USER user\r\n", LOGIN].into_iter().zip(expected) {
            let before = said(setup, two_mails).len();
            let all = said(&format!("{setup}{command}\r\n"), two_mails);
            assert_eq!(all[before..].split("\r\n").next(), Some(*expected), "{command:?} behind {setup:?}");
        }
    }
}

const COMMON: &str = "TOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nUTF8 USER\r\nEXPIRE NEVER\r\n\
    IMPLEMENTATION fastsmtp\r\n.\r\n";

#[test]
fn capa_lists_what_holds() {
    let listed = |first: &str| format!("+OK capabilities follow\r\n{first}{COMMON}");
    let logins = "USER\r\nSASL SCRAM-SHA-256 PLAIN LOGIN\r\n";
    let bound = "USER\r\nSASL SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN\r\n";
    let without_tls = |auth| Dialogue::with(Security { starttls: false, auth }, &[]);
    assert_eq!(said("CAPA\r\n", || plain(Offer::InTls)), listed("STLS\r\n"));
    assert_eq!(said("CAPA\r\n", || plain(Offer::Always)), listed(&format!("STLS\r\n{logins}")));
    assert_eq!(said("CAPA\r\n", || plain(Offer::Never)), listed("STLS\r\n"));
    assert_eq!(said("CAPA\r\n", || without_tls(Offer::Always)), listed(logins));
    assert_eq!(said("CAPA\r\n", || without_tls(Offer::InTls)), listed(""));
    assert_eq!(said("CAPA\r\n", empty), listed(bound));
    // What is there before the login is said behind it too (RFC 2449 5), but for STLS (RFC 2595 4).
    assert_eq!(said("CAPA\r\n", || opened(two_mails)), listed(bound));
    assert_eq!(said("CAPA\r\n", || opened(|| plain(Offer::Always))), listed(logins));
}

#[test]
fn a_wrong_password_and_an_unknown_user_are_refused_alike() {
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), (USER, "pencil "), (USER, " pencil")] {
        let dialogue = holds(
            two_mails,
            &format!(
                "
                C: USER {user}
                S: +OK now PASS
                C: PASS {password}
                S: -ERR [AUTH] wrong user or password
                C: PASS pencil
                S: -ERR USER first
                C: USER user
                S: +OK now PASS
                C: PASS pencil
                S: +OK 2 messages (57 octets)
                "
            ),
        );
        let (user, password) = (user.to_owned(), password.to_owned());
        assert_eq!(dialogue.steps[0], SaslStep::Password { user, password });
    }
}

#[test]
fn a_password_goes_to_the_user_that_was_named_right_before_it() {
    holds(
        two_mails,
        "
        C: USER somebody
        S: +OK now PASS
        C: USER user
        S: -ERR PASS was to follow; begin again with USER
        C: PASS pencil
        S: -ERR USER first
        C: USER user
        S: +OK now PASS
        C: STAT
        S: -ERR log in first
        C: PASS pencil
        S: -ERR USER first
        ",
    );
}

#[test]
fn a_name_and_a_password_may_be_as_long_as_for_auth() {
    let (name, password) = (format!("{}@example.com", "n".repeat(243)), "p".repeat(255));
    let dialogue = run_each_way(format!("USER {name}\r\nPASS {password}\r\n").as_bytes(), empty);
    assert_eq!(dialogue.steps, [SaslStep::Password { user: name, password }]);
}

#[test]
fn no_password_is_said_in_plain_where_that_is_for_tls_only() {
    for (auth, refusal) in
        [(Offer::InTls, "-ERR logins only in TLS"), (Offer::Never, "-ERR there are no logins here")]
    {
        let dialogue = holds(
            || plain(auth),
            &format!(
                "
                C: USER user
                S: {refusal}
                C: PASS pencil
                S: {refusal}
                C: AUTH PLAIN AHVzZXIAcGVuY2ls
                S: {refusal}
                C: AUTH SCRAM-SHA-256
                S: {refusal}
                "
            ),
        );
        assert!(dialogue.steps.is_empty());
    }
    assert!(said(LOGIN, || plain(Offer::Always)).ends_with("+OK 2 messages (57 octets)\r\n"));
}

fn encoded(text: &str) -> String {
    sasl::encode(text.as_bytes())
}

#[test]
fn auth_plain_lets_the_user_in_with_and_without_an_initial_response() {
    let message = sasl::encode(&sasl::plain(USER, PASSWORD));
    let open = "+OK 2 messages (57 octets)\r\n";
    assert_eq!(said(&format!("AUTH PLAIN {message}\r\n"), two_mails), open);
    assert_eq!(said(&format!("auth plain\r\n{message}\r\n"), two_mails), format!("+ \r\n{open}"));
    let wrong = sasl::encode(&sasl::plain(USER, "wrong"));
    let refused = "-ERR [AUTH] wrong user or password\r\n";
    assert_eq!(
        said(&format!("AUTH PLAIN {wrong}\r\nNOOP\r\n"), two_mails),
        format!("{refused}-ERR log in first\r\n")
    );
    for another in ["b3RoZXIAdXNlcgBwZW5jaWw=", "b3RoZXIAdXNlcgB3cm9uZw=="] {
        assert_eq!(said(&format!("AUTH PLAIN {another}\r\n"), two_mails), refused, "nobody acts for another");
    }
}

#[test]
fn an_exchange_that_is_given_up_or_broken_leaves_nobody_logged_in() {
    let unreadable = "-ERR cannot read this response\r\n";
    for (line, reply) in [
        ("*", "-ERR cancelled\r\n"),
        ("QUIT", unreadable),
        ("", unreadable),
        ("AHVzZXIAcGVuY2ls=", unreadable),
        ("AHVzZXIAcGVuY2ls\n", "-ERR lines end in CRLF\r\n"),
    ] {
        let input = format!("AUTH PLAIN\r\n{line}\r\nSTAT\r\n");
        assert_eq!(said(&input, two_mails), format!("+ \r\n{reply}-ERR log in first\r\n"), "{line:?}");
    }
    assert_eq!(said("AUTH PLAIN =\r\n", two_mails), unreadable);
    let long = format!("AUTH PLAIN\r\n{}\r\nSTAT\r\n", "A".repeat(13_000));
    assert_eq!(said(&long, two_mails), "+ \r\n-ERR line too long\r\n-ERR log in first\r\n");
}

#[test]
fn what_is_said_in_an_exchange_may_be_longer_than_a_command() {
    let (user, password) = ("u".repeat(255), "p".repeat(255));
    let message = sasl::encode(&sasl::plain(&user, &password));
    assert!(message.len() > 2 * POP3_LINE_MAX);
    for input in [format!("AUTH PLAIN {message}\r\n"), format!("AUTH PLAIN\r\n{message}\r\n")] {
        let dialogue = run_each_way(input.as_bytes(), empty);
        assert_eq!(dialogue.steps, [SaslStep::Password { user: user.clone(), password: password.clone() }]);
    }
}

const BARE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn scram_lets_the_user_in_behind_the_servers_proof() {
    let (first, last) = (encoded(&format!("n,,{BARE}")), encoded(CLIENT_LAST));
    let (challenge, proof) = (encoded(SERVER_FIRST), encoded(SERVER_LAST));
    holds(
        two_mails,
        &format!(
            "
            C: AUTH SCRAM-SHA-256 {first}
            S: + {challenge}
            C: {last}
            S: + {proof}
            C: {}
            S: +OK 2 messages (57 octets)
            C: STAT
            S: +OK 2 57
            ",
            ""
        ),
    );
    let given_up = format!("AUTH SCRAM-SHA-256 {first}\r\n{last}\r\n*\r\n");
    assert_eq!(said(&given_up, two_mails), format!("+ {challenge}\r\n+ {proof}\r\n-ERR cancelled\r\n"));
    let wrong = encoded(&CLIENT_LAST.replace("p=d", "p=e"));
    for (first, last) in [(&*first, &wrong), (&encoded("n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO"), &last)] {
        let input = format!("AUTH SCRAM-SHA-256 {first}\r\n{last}\r\n");
        let refused = format!("+ {challenge}\r\n-ERR [AUTH] wrong user or password\r\n");
        assert_eq!(said(&input, two_mails), refused);
    }
}

#[test]
fn scram_plus_is_bound_to_the_channel() {
    let header = "p=tls-exporter,,";
    let last = |data: &[u8]| {
        let binding = sasl::encode(&[header.as_bytes(), data].concat());
        let unproven = format!("c={binding},r=rOprNGfwEbeRWgbNEkqO{NONCE}");
        let (_, salt) = SERVER_FIRST.split_once(",s=").unwrap();
        let (salt, _) = salt.split_once(",i=").unwrap();
        let salted = sasl::salted_password(PASSWORD, &sasl::decode(salt.as_bytes()).unwrap(), 4096);
        let key = sasl::client_key(&salted);
        let signed = format!("{BARE},{SERVER_FIRST},{unproven}");
        let signature = sasl::signature(&sasl::stored_key(&key), signed.as_bytes());
        let proof: Vec<u8> = key.iter().zip(signature).map(|(key, signed)| key ^ signed).collect();
        encoded(&format!("{unproven},p={}", sasl::encode(&proof)))
    };
    let first = encoded(&format!("{header}{BARE}"));
    let input = |data: &[u8]| format!("AUTH SCRAM-SHA-256-PLUS {first}\r\n{}\r\n\r\n", last(data));
    let bound = said(&input(&binding_data(ChannelBinding::Exporter)), two_mails);
    assert!(bound.ends_with("+OK 2 messages (57 octets)\r\n"), "{bound}");
    let elsewhere = said(&input(b"another channel"), two_mails);
    assert!(elsewhere.contains("-ERR [AUTH] wrong user or password\r\n"), "{elsewhere}");
    let downgraded = format!("AUTH SCRAM-SHA-256 {}\r\n", encoded(&format!("y,,{BARE}")));
    assert_eq!(said(&downgraded, two_mails), "-ERR channel binding is not as offered\r\n");
    let unbound = said("AUTH SCRAM-SHA-256-PLUS\r\n", || plain(Offer::Always));
    assert_eq!(unbound, "-ERR mechanism not known\r\n", "in plain there is nothing to bind to");
}

#[test]
fn a_maildrop_that_cannot_be_opened_leaves_nobody_logged_in_and_may_be_tried_again() {
    for refusal in [Refusal::IN_USE, Refusal::MAILBOX_UNREADABLE, Refusal::NO_MEMORY] {
        let mut dialogue = two_mails();
        dialogue.open_refusal = Some(refusal);
        dialogue.feed(format!("{LOGIN}STAT\r\n").as_bytes());
        assert_eq!(
            dialogue.take_said(),
            format!("+OK now PASS\r\n{}\r\n-ERR log in first\r\n", refusal.text())
        );
        assert_eq!((dialogue.session.user(), dialogue.session.is_open()), (None, false));
        dialogue.open_refusal = None;
        dialogue.feed(LOGIN.as_bytes());
        assert_eq!(dialogue.take_said(), "+OK now PASS\r\n+OK 2 messages (57 octets)\r\n");
    }
}

#[test]
fn a_last_refusal_ends_the_session_whatever_it_answers() {
    let last = Refusal::TOO_MANY_LOGINS;
    assert!(last.is_last() && last.code() == Some("AUTH"));
    let make = || Dialogue { login_refusal: Some(last), ..two_mails() };
    let dialogue = run_each_way(format!("{LOGIN}STAT\r\n").as_bytes(), make);
    assert_eq!(dialogue.said, b"+OK now PASS\r\n-ERR [AUTH] too many failed logins\r\n");
    assert_eq!(dialogue.closed, Some(CloseReason::Dismissed));
    let make = || Dialogue { open_refusal: Some(Refusal::SHUTTING_DOWN), ..two_mails() };
    assert_eq!(run_each_way(LOGIN.as_bytes(), make).closed, Some(CloseReason::Dismissed));
}

#[test]
fn stls_begins_anew() {
    let mut dialogue = plain(Offer::Always);
    dialogue.feed(b"USER user\r\n");
    dialogue.feed(b"STLS\r\n");
    assert!(dialogue.session.is_secured());
    dialogue.feed(b"PASS pencil\r\nSTLS\r\nCAPA\r\n");
    let said = dialogue.take_said();
    let expected = "+OK now PASS\r\n+OK start TLS\r\n-ERR USER first\r\n-ERR this is TLS already\r\n";
    assert!(said.starts_with(expected) && !said.contains("\nSTLS\r\n"), "{said}");
    let without = || Dialogue::with(Security { starttls: false, auth: Offer::Always }, &[]);
    assert_eq!(self::said("STLS\r\n", without), "-ERR there is no TLS here\r\n");
    let in_plain = || opened(|| plain(Offer::Always));
    assert_eq!(
        self::said("STLS\r\nNOOP\r\n", in_plain),
        "-ERR you are logged in already\r\n+OK nothing done\r\n"
    );
}

#[test]
fn nothing_in_plain_behind_stls_is_ever_taken() {
    for behind in ["X", "\r", "USER user\r\nPASS pencil\r\n", "\u{16}\u{3}\u{1}"] {
        let mut dialogue = plain(Offer::Always);
        dialogue.feed(format!("STLS \r\n{behind}").as_bytes());
        assert_eq!(dialogue.take_said(), "-ERR nothing may follow STLS but TLS\r\n", "{behind:?}");
        assert_eq!(dialogue.closed, Some(CloseReason::Injection));
    }
}

#[test]
fn a_command_line_is_one_line_however_long_and_never_cut_in_two() {
    let line = |length: usize| format!("NOOP{}\r\n", " ".repeat(length - 6));
    let make = || opened(empty);
    assert_eq!(said(&line(POP3_LINE_MAX), make), "+OK nothing done\r\n");
    for length in [POP3_LINE_MAX + 1, POP3_LINE_MAX + 2, 5000] {
        let input = format!("{}NOOP\r\n", line(length));
        assert_eq!(said(&input, make), "-ERR line too long\r\n+OK nothing done\r\n", "{length}");
    }
    let endless = format!("{}\r\nNOOP\r\n", "y".repeat(66_000));
    let dialogue = run_each_way(endless.as_bytes(), make);
    assert_eq!(dialogue.said, b"-ERR this is POP3\r\n");
    assert_eq!(dialogue.closed, Some(CloseReason::LineTooLong));
}

#[test]
fn a_bare_lf_is_answered_once_and_the_line_goes_on_to_its_crlf() {
    let make = || opened(two_mails);
    for line in ["NOOP\nDELE 1", "\n\n\n", "NOOP\n\rDELE 1\r", "NOOP\r\r"] {
        let input = format!("{line}\r\nSTAT\r\n");
        assert_eq!(said(&input, make), "-ERR lines end in CRLF\r\n+OK 2 57\r\n", "{line:?}");
    }
}

#[test]
fn what_is_not_pop3_ends_the_session_at_once() {
    for input in ["POST / HTTP/1.1\r\nUSER user\r\n", "\u{16}\u{3}\u{1}\u{2}\0USER user\r\n"] {
        let dialogue = run_each_way(input.as_bytes(), empty);
        assert_eq!(dialogue.said, b"-ERR this is POP3\r\n");
        assert_eq!(dialogue.closed, Some(CloseReason::NotPop3));
    }
}

#[test]
fn ten_mistakes_end_the_session_and_a_login_or_a_message_forgives() {
    let most = usize::try_from(POP3_ERRORS_MAX).unwrap() - 1;
    let dialogue = run_each_way("WIBBLE\r\n".repeat(most + 3).as_bytes(), empty);
    let refused = "-ERR unknown command\r\n".repeat(most);
    assert_eq!(String::from_utf8(dialogue.said).unwrap(), format!("{refused}-ERR too many errors\r\n"));
    assert_eq!(dialogue.closed, Some(CloseReason::TooManyErrors));
    let wrong = "WIBBLE\r\n".repeat(most);
    let input = format!("{wrong}{LOGIN}{wrong}RETR 1\r\n{wrong}NOOP\r\n");
    assert!(said(&input, two_mails).ends_with("-ERR unknown command\r\n+OK nothing done\r\n"));
    // What is not the client's fault counts for nothing.
    let busy = || Dialogue { login_refusal: Some(Refusal::LOGIN_LATER), ..two_mails() };
    let input = LOGIN.repeat(most + 3);
    assert_eq!(run_each_way(input.as_bytes(), busy).closed, None);
}

#[test]
fn a_deleted_message_is_no_message_any_more_until_rset() {
    let dialogue = holds(
        || opened(two_mails),
        "
        C: DELE 1
        S: +OK deleted
        C: DELE 1
        S: -ERR no such message
        C: RETR 1
        S: -ERR no such message
        C: TOP 1 0
        S: -ERR no such message
        C: LIST 1
        S: -ERR no such message
        C: UIDL 1
        S: -ERR no such message
        C: STAT
        S: +OK 1 24
        C: LIST
        S: +OK 1 messages (24 octets)
        S: 2 24
        S: .
        C: UIDL
        S: +OK 1 messages (24 octets)
        S: 2 uid-2
        S: .
        C: RSET
        S: +OK 2 messages (57 octets)
        C: STAT
        S: +OK 2 57
        C: QUIT
        S: +OK goodbye
        ",
    );
    assert!(dialogue.updates.is_empty(), "nothing changes: nobody is asked");
}

#[test]
fn an_empty_maildrop_has_empty_listings() {
    holds(
        || opened(empty),
        "
        C: STAT
        S: +OK 0 0
        C: LIST
        S: +OK 0 messages (0 octets)
        S: .
        C: UIDL
        S: +OK 0 messages (0 octets)
        S: .
        C: RETR 1
        S: -ERR no such message
        C: QUIT
        S: +OK goodbye
        ",
    );
}

#[test]
fn only_quit_removes() {
    for (input, is_over) in [("DELE 1\r\nRETR 2\r\nQUIT", false), ("DELE 1\r\nGET / HTTP/1.1\r\n", true)] {
        let dialogue = run_each_way(input.as_bytes(), || opened(two_mails));
        assert!(dialogue.updates.is_empty(), "{input}");
        assert_eq!(dialogue.closed.is_some(), is_over);
    }
    let mut dialogue = opened(two_mails);
    dialogue.feed(b"DELE 1\r\n");
    dialogue.session.dismiss(Refusal::SHUTTING_DOWN, &mut Outbox::new());
    dialogue.feed(b"QUIT\r\n");
    assert_eq!((dialogue.closed, dialogue.updates), (Some(CloseReason::Dismissed), vec![]));
}

#[test]
fn who_quits_is_told_when_not_all_was_removed() {
    let make = || {
        let mut dialogue = opened(two_mails);
        dialogue.update_refusal = Some(Refusal::NOT_ALL_REMOVED);
        dialogue
    };
    let dialogue = run_each_way(b"DELE 2\r\nQUIT\r\nNOOP\r\n", make);
    assert_eq!(dialogue.said, b"+OK deleted\r\n-ERR [SYS/TEMP] some deleted messages not removed\r\n");
    assert_eq!(dialogue.updates, [Changes { removed: vec![1], seen: vec![] }]);
    assert_eq!(dialogue.closed, Some(CloseReason::Quit));
}

#[test]
fn nothing_is_removed_before_all_is_written_that_was_said() {
    let mut dialogue = opened(two_mails);
    let mut out = Outbox::new();
    let progress = dialogue.session.advance(b"DELE 1\r\nQUIT\r\n", &mut out);
    assert_eq!((progress.consumed, progress.need), (14, Need::Room));
    out.advance(5);
    assert_eq!(dialogue.session.advance(b"", &mut out).need, Need::Room);
    out.advance(out.pending().len());
    assert!(dialogue.session.is_open());
    let changes = Changes { removed: vec![0], seen: vec![] };
    assert_eq!(dialogue.session.advance(b"", &mut out).need, Need::Update(changes));
    dialogue.session.answer_update(Ok(()), &mut out);
    assert_eq!(out.pending(), b"+OK goodbye\r\n");
    assert!(dialogue.session.is_over() && !dialogue.session.is_open());
}

#[test]
fn a_message_is_seen_once_it_went_out_whole_by_retr() {
    let make = || opened(|| Dialogue::in_tls(&[FIRST, SECOND, FIRST]));
    let dialogue = run_each_way(b"TOP 1 100\r\nRETR 2\r\nRETR 3\r\nDELE 3\r\nRSET\r\nQUIT\r\n", make);
    assert_eq!(dialogue.updates, [Changes { removed: vec![], seen: vec![1, 2] }]);
}

#[test]
fn a_message_comes_in_parts_each_when_the_one_before_is_written() {
    let mail = ".dot at the start\r\n".repeat(3000);
    let make = || opened(|| Dialogue::in_tls(&[&mail]));
    let mut dialogue = make();
    dialogue.feed(b"RETR 1\r\n");
    let stuffed =
        format!("+OK {} octets\r\n{}.\r\n", mail.len(), ".".to_owned() + &mail.replace("\r\n.", "\r\n.."));
    assert_eq!(dialogue.take_said(), stuffed);
    let wanted = |part: usize| Wanted { message: 0, offset: (part * POP3_PART) as u64, octets: POP3_PART };
    assert_eq!(dialogue.reads, (0..mail.len().div_ceil(POP3_PART)).map(wanted).collect::<Vec<_>>());
    // Every octet becomes two, and a disk may give less than is wanted.
    for (mail, part_max) in [("\n".repeat(2 * POP3_PART), POP3_PART), (FIRST.into(), 1), (SECOND.into(), 7)] {
        let mut dialogue = opened(|| Dialogue::in_tls(&[&mail]));
        dialogue.part_max = part_max;
        dialogue.feed(b"RETR 1\r\n");
        let mut whole = opened(|| Dialogue::in_tls(&[&mail]));
        whole.feed(b"RETR 1\r\n");
        assert_eq!(dialogue.take_said(), whole.take_said());
        assert!(dialogue.pending_max <= 2 * POP3_PART + 100, "{}", dialogue.pending_max);
    }
}

#[test]
fn an_empty_message_is_a_message() {
    holds(
        || opened(|| Dialogue::in_tls(&[""])),
        "
        C: RETR 1
        S: +OK 0 octets
        S: .
        C: TOP 1 5
        S: +OK top follows
        S: .
        ",
    );
}

#[test]
fn a_message_that_cannot_be_read_is_refused_before_it_began_and_torn_off_behind() {
    for refusal in [Refusal::MESSAGE_GONE, Refusal::MESSAGE_UNREADABLE] {
        let make = || Dialogue { read_failure: Some((0, refusal)), ..opened(two_mails) };
        let dialogue = run_each_way(b"RETR 1\r\nNOOP\r\nQUIT\r\n", make);
        let expected = format!("{}\r\n+OK nothing done\r\n+OK goodbye\r\n", refusal.text());
        assert_eq!(String::from_utf8(dialogue.said).unwrap(), expected);
        assert!(dialogue.updates.is_empty(), "it is not seen");
    }
    let torn = || Dialogue {
        read_failure: Some((20, Refusal::MESSAGE_UNREADABLE)),
        part_max: 20,
        ..opened(two_mails)
    };
    let dialogue = run_each_way(b"RETR 1\r\nDELE 1\r\nQUIT\r\n", torn);
    assert_eq!(dialogue.said, b"+OK 33 octets\r\nSubject: one\r\n\r\nHell");
    assert_eq!((dialogue.closed, dialogue.updates), (Some(CloseReason::Dismissed), vec![]));
}

#[test]
fn the_top_of_a_message_is_its_header_and_so_many_lines() {
    holds(
        || opened(two_mails),
        "
        C: TOP 1 0
        S: +OK top follows
        S: Subject: one
        S:
        S: .
        C: TOP 1 2
        S: +OK top follows
        S: Subject: one
        S:
        S: Hello
        S: ..
        S: .
        C: TOP 2 3
        S: +OK top follows
        S: Subject: two
        S:
        S: unix
        S: ..
        S: end
        S: .
        C: TOP 2 99999999999999999999999
        S: +OK top follows
        S: Subject: two
        S:
        S: unix
        S: ..
        S: end
        S: .
        ",
    );
    let long = format!("Subject: x\r\n\r\n{}", "line\r\n".repeat(20_000));
    let mut dialogue = opened(|| Dialogue::in_tls(&[&long]));
    dialogue.feed(b"TOP 1 2\r\n");
    assert_eq!(dialogue.take_said(), "+OK top follows\r\nSubject: x\r\n\r\nline\r\nline\r\n.\r\n");
    assert_eq!(dialogue.reads.len(), 1, "nothing is read that is not said");
}

#[test]
fn a_hundred_thousand_messages_never_stand_in_the_outbox() {
    let count = 100_000;
    let listed = |index| Listed { uid: format!("{index:070}").into(), octets: 1_000_000_000 };
    for (command, line) in [("LIST", 0), ("UIDL", 70)] {
        let mut dialogue = empty();
        let (mut out, mut said) = (Outbox::new(), Vec::new());
        let needs = |dialogue: &mut Dialogue, out: &mut Outbox| dialogue.session.advance(b"", out).need;
        assert!(matches!(dialogue.session.advance(LOGIN.as_bytes(), &mut out).need, Need::Sasl(_)));
        dialogue.session.answer_login(Ok(ACCOUNT.into()), &mut out);
        assert_eq!(needs(&mut dialogue, &mut out), Need::Open);
        dialogue.session.answer_open(Ok((0..count).map(listed).collect()), &mut out);
        let memory = dialogue.session.memory();
        assert!((count * 94..count * 100).contains(&memory), "{memory}");
        let input = format!("DELE 77\r\n{command}\r\nNOOP\r\n");
        let mut consumed = 0;
        loop {
            let progress = dialogue.session.advance(&input.as_bytes()[consumed..], &mut out);
            consumed += progress.consumed;
            assert!(out.pending().len() <= OUTBOX_MAX);
            said.extend_from_slice(out.pending());
            out.advance(out.pending().len());
            match progress.need {
                Need::Room => assert_eq!(consumed, input.len() - "NOOP\r\n".len(), "what is behind waits"),
                need => break assert_eq!(need, Need::Input),
            }
        }
        let said = String::from_utf8(said).unwrap();
        assert!(said.ends_with(".\r\n+OK nothing done\r\n"));
        let numbers: Vec<usize> = said
            .lines()
            .filter(|text| text.len() > line && text.as_bytes()[0].is_ascii_digit())
            .map(|text| text.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert!(numbers.into_iter().eq((1..=count).filter(|number| *number != 77)));
    }
}

#[test]
fn a_last_word_is_never_a_part_of_a_message_or_of_a_listing() {
    let mut out = Outbox::new();
    let mut dialogue = opened(two_mails);
    dialogue.session.dismiss(Refusal::TIMEOUT, &mut out);
    assert_eq!(out.pending(), b"-ERR no command in time\r\n");
    assert_eq!(dialogue.session.advance(b"NOOP\r\n", &mut out).need, Need::Close(CloseReason::Dismissed));

    let mut dialogue = opened(two_mails);
    let mut out = Outbox::new();
    let read = |dialogue: &mut Dialogue, out: &mut Outbox| {
        assert!(matches!(dialogue.session.advance(b"", out).need, Need::Read(_)));
    };
    assert!(matches!(dialogue.session.advance(b"RETR 1\r\n", &mut out).need, Need::Read(_)));
    let part = || Part { octets: b"Subject: x\r\n".to_vec(), is_last: false };
    dialogue.session.answer_read(Ok(part()), &mut out);
    out.advance(out.pending().len());
    read(&mut dialogue, &mut out);
    dialogue.session.dismiss(Refusal::SHUTTING_DOWN, &mut out);
    assert!(out.is_empty() && dialogue.session.is_over());
    // The answer to what was asked before comes late, and is nobody's.
    dialogue.session.answer_read(Ok(part()), &mut out);
    assert!(out.is_empty());

    let many = vec![""; 10_000];
    let mut dialogue = opened(|| Dialogue::in_tls(&many));
    assert_eq!(dialogue.session.advance(b"LIST\r\n", &mut out).need, Need::Room);
    let said = out.pending().len();
    dialogue.session.dismiss(Refusal::SHUTTING_DOWN, &mut out);
    assert_eq!(out.pending().len(), said);

    // Before the first part came, the client waits for a reply.
    let (mut dialogue, mut out) = (opened(two_mails), Outbox::new());
    assert!(matches!(dialogue.session.advance(b"RETR 1\r\n", &mut out).need, Need::Read(_)));
    dialogue.session.dismiss(Refusal::SHUTTING_DOWN, &mut out);
    assert_eq!(out.pending(), b"-ERR [SYS/TEMP] shutting down, try again later\r\n");
}

#[test]
fn names_may_be_utf8_and_octets_that_are_not_are_refused() {
    let dialogue = run_each_way("UTF8\r\nUSER jörg@example.com\r\nPASS päss wort \r\n".as_bytes(), empty);
    let (user, password) = ("jörg@example.com".to_owned(), "päss wort ".to_owned());
    assert_eq!(dialogue.steps, [SaslStep::Password { user, password }]);
    for octets in [&b"\xff"[..], b"\xc0\xaf", b"\xed\xa0\x80", b"a\0b"] {
        let input = [b"USER ", octets, b"\r\nPASS x\r\n"].concat();
        let dialogue = run_each_way(&input, empty);
        assert_eq!(
            dialogue.said, b"-ERR commands are UTF-8 without NUL\r\n-ERR USER first\r\n",
            "{octets:?}"
        );
    }
}

#[test]
fn what_a_session_owns_is_counted_and_given_back() {
    let mut dialogue = two_mails();
    assert_eq!(dialogue.session.memory(), 0);
    dialogue.feed(LOGIN.as_bytes());
    let open = dialogue.session.memory();
    assert!(open >= 2 * size_of::<Listed>() + 10);
    dialogue.feed(b"DELE 1\r\nLIST\r\nRETR 2\r\n");
    assert_eq!(dialogue.session.memory(), open);
    dialogue.feed(b"QUIT\r\n");
    assert_eq!(dialogue.session.memory(), 0);
}

#[test]
fn no_secret_is_shown_by_debug() {
    let mut session = two_mails().session;
    let need = session.advance(LOGIN.as_bytes(), &mut Outbox::new()).need;
    let shown = format!("{need:?} {session:?}");
    assert!(shown.contains(USER) && !shown.contains(PASSWORD), "{shown}");
    let mut dialogue = two_mails();
    dialogue.feed(format!("AUTH LOGIN {}\r\n", encoded(USER)).as_bytes());
    assert!(format!("{:?}", dialogue.session).contains("Auth(Login { .. })"));
}

fn item() -> impl Strategy<Value = Vec<u8>> {
    let words = [
        "CAPA\r\n",
        "STAT\r\n",
        "LIST\r\n",
        "LIST 1\r\n",
        "LIST 9\r\n",
        "UIDL\r\n",
        "UIDL 2\r\n",
        "RETR 1\r\n",
        "RETR 2\r\n",
        "TOP 1 0\r\n",
        "TOP 2 1\r\n",
        "DELE 1\r\n",
        "DELE 2\r\n",
        "RSET\r\n",
        "NOOP\r\n",
        "UTF8\r\n",
        "STLS\r\n",
        "USER user\r\n",
        "PASS pencil\r\n",
        "PASS wrong\r\n",
        LOGIN,
        LOGIN,
        LOGIN,
        "AUTH PLAIN\r\n",
        "AUTH PLAIN AHVzZXIAcGVuY2ls\r\n",
        "AHVzZXIAcGVuY2ls\r\n",
        "AUTH LOGIN\r\n",
        "*\r\n",
        "\r\n",
        "\n",
        "\r",
        "?",
        "\0",
        "QUIT\r\n",
        "GET / HTTP/1.1\r\n",
    ];
    let mut items: Vec<Vec<u8>> = words.map(|word| word.as_bytes().to_vec()).into();
    items.push("A".repeat(POP3_LINE_MAX - 3).into_bytes());
    items.push(b"\xff".to_vec());
    prop::sample::select(items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_dialogue_gives_the_same_replies_and_the_same_needs(
        items in prop::collection::vec(item(), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        auth in prop::sample::select(vec![Offer::Never, Offer::InTls, Offer::Always]),
        begins_in_tls in any::<bool>(),
        part_max in 1..40usize,
    ) {
        let input = items.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let run = |cuts: &[usize]| {
            // STLS is not offered: how much of the plain text is here when it comes is the server's affair.
            let mut dialogue = Dialogue::with(Security { starttls: false, auth }, &[FIRST, SECOND]);
            dialogue.part_max = part_max;
            if begins_in_tls {
                dialogue.session.secured(Bindings::Offered);
            }
            dialogue.feed_cut(&input, cuts);
            dialogue
        };
        let (whole, cut) = (run(&[]), run(&cuts));
        cut.assert_same(&whole, "cut");
        for step in &whole.steps {
            prop_assert!(auth == Offer::Always || auth == Offer::InTls && begins_in_tls, "{step:?}");
        }
        prop_assert!(whole.updates.is_empty() || whole.closed == Some(CloseReason::Quit));
        prop_assert_eq!(whole.session.is_open() && whole.session.user().is_none(), false);
    }

    #[test]
    fn no_octets_whatever_make_it_panic_or_say_what_is_no_reply(
        pieces in prop::collection::vec(
            prop_oneof![
                6 => any::<u8>().prop_map(|octet| vec![octet]),
                1 => Just(b"\r\n".to_vec()),
                1 => prop::sample::select(vec!["RETR ", "TOP 1 ", "USER ", "AUTH ", "DELE "]).prop_map(Vec::from),
            ],
            0..200,
        ),
        before in prop::sample::select(vec!["", "USER user\r\n", LOGIN, "AUTH PLAIN\r\n", "AUTH LOGIN\r\n"]),
    ) {
        let mut dialogue = empty();
        dialogue.feed(before.as_bytes());
        dialogue.take_said();
        dialogue.feed(&pieces.concat());
        for line in dialogue.take_said().split_terminator("\r\n") {
            prop_assert!(["+OK ", "-ERR ", "+ "].iter().any(|start| line.starts_with(start)), "{line:?}");
        }
    }
}
