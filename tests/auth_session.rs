//! What the session promises of AUTH (RFC 4954): each line of the exchange, its refusals, its order, and that nothing
//! depends on how the octets are cut. The messages of SCRAM are of RFC 7677 3, as far as they can be.

mod common;

use common::dialogue::{ACCOUNT, Dialogue, NONCE, PASSWORD, USER, binding_data, run_each_way};
use fastsmtp::smtp::{ChannelBinding, CloseReason, Envelope, Offer, Reply, SaslStep, Security};
use fastsmtp::wire::sasl;
use fastsmtp::wire::sasl::Bindings;
use proptest::prelude::*;

const EHLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<user@example.com>\r\n";

/// In plain.
fn offering(auth: Offer) -> Dialogue {
    Dialogue::with(Security { starttls: true, auth, auth_required: false })
}

/// Under TLS from the start.
fn in_tls() -> Dialogue {
    let mut dialogue = offering(Offer::InTls);
    dialogue.session.secured(Bindings::Offered);
    dialogue
}

#[test]
fn nothing_in_plain_behind_starttls_is_ever_taken_however_long_its_line_is() {
    for padding in [0, 1, 2036, 2037, 2038] {
        let mut dialogue = offering(Offer::Never);
        let line = format!("STARTTLS{}\r\n", " ".repeat(padding));
        dialogue.feed(format!("{EHLO}{line}NOOP\r\n").as_bytes());
        let text = String::from_utf8(dialogue.replies).unwrap();
        assert!(text.ends_with("554 5.5.1 nothing may follow STARTTLS but TLS\r\n"), "{padding}: {text}");
        assert_eq!(dialogue.closed, Some(CloseReason::Injection));
    }
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

const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
const SERVER_FIRST: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const CLIENT_LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
     p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
const SERVER_LAST: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

#[test]
fn scram_lets_the_user_in_behind_the_servers_proof() {
    let (first, last) = (encoded(CLIENT_FIRST), encoded(CLIENT_LAST));
    let (challenge, proof) =
        (format!("334 {}", encoded(SERVER_FIRST)), format!("334 {}", encoded(SERVER_LAST)));
    let at_once = format!("AUTH SCRAM-SHA-256 {first}");
    assert_eq!(replies(&[&at_once, &last, ""], in_tls), [&*challenge, &proof, LOGGED_IN]);
    let said = ["AUTH SCRAM-SHA-256", &first, &last, ""];
    assert_eq!(replies(&said, in_tls), ["334 ", &challenge, &proof, LOGGED_IN]);
    assert_eq!(after_ehlo(&said, in_tls).session.user(), Some(ACCOUNT));
    assert_eq!(after_ehlo(&said[..3], in_tls).session.user(), None, "the client has not taken note");
    for (instead, code) in [("*", CANCELLED), ("QUIT", UNREADABLE), ("=", UNREADABLE)] {
        let said = [&at_once, &*last, instead, "NOOP"];
        assert_eq!(replies(&said, in_tls), [&*challenge, &proof, code, OK], "{instead}");
        assert_eq!(after_ehlo(&said, in_tls).session.user(), None);
    }
}

#[test]
fn scram_refuses_a_wrong_proof_and_an_unknown_user_alike() {
    let wrong = CLIENT_LAST.replace("p=d", "p=e");
    for (first, last) in [(CLIENT_FIRST, &*wrong), ("n,,n=nobody,r=rOprNGfwEbeRWgbNEkqO", CLIENT_LAST)] {
        let said = ["AUTH SCRAM-SHA-256", &encoded(first), &encoded(last), "NOOP"];
        let challenge = format!("334 {}", encoded(SERVER_FIRST));
        assert_eq!(replies(&said, in_tls), ["334 ", &challenge, WRONG, OK]);
        assert_eq!(after_ehlo(&said, in_tls).session.user(), None);
    }
}

#[test]
fn scram_plus_is_bound_to_the_channel() {
    for (name, data) in [
        ("tls-exporter", binding_data(ChannelBinding::Exporter)),
        ("tls-server-end-point", binding_data(ChannelBinding::ServerEndPoint)),
    ] {
        let last = |data: &[u8]| bound(&format!("p={name},,"), data);
        let said = |last: &str| {
            let first = format!("AUTH SCRAM-SHA-256-PLUS {}", encoded(&format!("p={name},,{BARE}")));
            let replies = replies(&[&first, last, "", "NOOP"], in_tls);
            replies.iter().map(|reply| reply[..3].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(said(&last(&data)), ["334", "334", "235", "250"]);
        assert_eq!(said(&last(b"another channel")), ["334", "535", "500", "250"]);
    }
    let first = |header: &str| encoded(&format!("{header}{BARE}"));
    for (mechanism, header) in [
        ("SCRAM-SHA-256", "y,,"),
        ("SCRAM-SHA-256", "p=tls-exporter,,"),
        ("SCRAM-SHA-256-PLUS", "n,,"),
        ("SCRAM-SHA-256-PLUS", "p=tls-unique,,"),
    ] {
        let line = format!("AUTH {mechanism} {}", first(header));
        assert_eq!(replies(&[&line, "NOOP"], in_tls), ["535 5.7.8 channel binding is not as offered", OK]);
    }
    let line = format!("AUTH SCRAM-SHA-256 {}", first("y,,"));
    let challenge = format!("334 {}", encoded(SERVER_FIRST));
    assert_eq!(replies(&[&line], || offering(Offer::Always)), [challenge], "in plain there is none");
}

const BARE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";

/// The last message of a client that knows the password, with this header and this channel's data.
fn bound(header: &str, data: &[u8]) -> String {
    let binding = sasl::encode(&[header.as_bytes(), data].concat());
    let unproven = format!("c={binding},r=rOprNGfwEbeRWgbNEkqO{NONCE}");
    let (_, salt) = SERVER_FIRST.split_once(",s=").unwrap();
    let salt = sasl::decode(salt.split(',').next().unwrap().as_bytes()).unwrap();
    let mut proof = sasl::client_key(&sasl::salted_password(PASSWORD, &salt, 4096));
    let signed = format!("{BARE},{SERVER_FIRST},{unproven}");
    let mask = sasl::signature(&sasl::stored_key(&proof), signed.as_bytes());
    proof.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    encoded(&format!("{unproven},p={}", sasl::encode(&proof)))
}

const OK: &str = "250 2.0.0 ok";
const WRONG: &str = "535 5.7.8 wrong user or password";
const CANCELLED: &str = "501 5.7.0 cancelled";
const UNREADABLE: &str = "501 5.5.2 cannot read this response";

#[test]
fn who_is_not_a_user_is_told_the_same_whatever_was_wrong() {
    for (user, password) in [(USER, "wrong"), ("nobody", PASSWORD), ("nobody", "wrong")] {
        let line = format!("AUTH PLAIN {}", plain(user, password));
        assert_eq!(replies(&[&line, "NOOP"], in_tls), [WRONG, OK]);
        let said = ["AUTH LOGIN", &encoded(user), &encoded(password), "NOOP"];
        assert_eq!(replies(&said, in_tls), [CHALLENGE_USER, CHALLENGE_PASSWORD, WRONG, OK]);
    }
    let for_another = format!("AUTH PLAIN {}", encoded("root\0user\0pencil"));
    let dialogue = after_ehlo(&[&for_another], in_tls);
    assert_eq!(
        dialogue.steps,
        [SaslStep::Proof { user: USER.into(), is_right: false }],
        "it counts as a failure"
    );
    assert_eq!(replies(&[&for_another, "NOOP"], in_tls), [WRONG, OK]);
    let for_oneself = format!("AUTH PLAIN {}", encoded("user\0user\0pencil"));
    assert_eq!(replies(&[&for_oneself], in_tls), [LOGGED_IN]);
}

/// Each place where a response is awaited: what was said to get there.
fn places() -> [Vec<String>; 6] {
    let first = encoded(CLIENT_FIRST);
    let lines = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect();
    [
        lines(&["AUTH PLAIN"]),
        lines(&["AUTH LOGIN"]),
        lines(&["AUTH LOGIN", &encoded(USER)]),
        lines(&["AUTH SCRAM-SHA-256"]),
        lines(&["AUTH SCRAM-SHA-256", &first]),
        lines(&["AUTH SCRAM-SHA-256", &first, &encoded(CLIENT_LAST)]),
    ]
}

/// The replies to `said` at each place, behind those that lead there.
fn at_each_place(said: &str) -> Vec<Vec<String>> {
    let at = |place: Vec<String>| {
        let mut lines: Vec<&str> = place.iter().map(String::as_str).collect();
        lines.extend(said.split("\r\n"));
        let mut replies = replies(&lines, in_tls);
        assert!(replies[..place.len()].iter().all(|reply| reply.starts_with("334 ")), "{replies:?}");
        replies.split_off(place.len())
    };
    places().map(at).into()
}

#[test]
fn an_asterisk_cancels_and_the_session_goes_on() {
    let again = format!("*\r\nAUTH PLAIN {}", plain(USER, PASSWORD));
    for replies in at_each_place(&again) {
        assert_eq!(replies, [CANCELLED, LOGGED_IN]);
    }
}

#[test]
fn what_is_not_base64_ends_the_exchange() {
    for wrong in ["?", "AAA=BBB", "YQ", "YR==", " YQ==", "YQ== ", "**", "=", "AGEAYg==\t"] {
        for replies in at_each_place(&format!("{wrong}\r\nNOOP")) {
            assert_eq!(replies, [UNREADABLE, OK], "{wrong:?}");
        }
    }
    for initial in ["?", "*", "AAA=BBB", " YQ==", "=="] {
        for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
            let line = format!("AUTH {mechanism} {initial}");
            assert_eq!(replies(&[&line, "NOOP"], in_tls), [UNREADABLE, OK], "{line}");
        }
    }
}

#[test]
fn an_equals_sign_is_an_empty_initial_response_which_no_mechanism_takes() {
    for mechanism in ["PLAIN", "LOGIN", "SCRAM-SHA-256"] {
        assert_eq!(replies(&[&format!("AUTH {mechanism} ="), "NOOP"], in_tls), [UNREADABLE, OK]);
        assert_eq!(replies(&[&format!("AUTH {mechanism}"), "", "NOOP"], in_tls)[1..], [UNREADABLE, OK]);
    }
}

#[test]
fn a_message_against_the_mechanisms_grammar_is_a_mistake() {
    for message in ["YWJj", "AABwYXNz", "AP/+AP/+", &encoded("\0user\0"), &plain(&"x".repeat(256), "x")] {
        assert_eq!(replies(&[&format!("AUTH PLAIN {message}"), "NOOP"], in_tls), [UNREADABLE, OK]);
    }
}

#[test]
fn a_response_is_never_executed() {
    for command in
        ["QUIT", "NOOP", "RSET", "DATA", "HELP", "MAIL", "STARTTLS", "EHLO x.example", "AUTH PLAIN"]
    {
        for replies in at_each_place(command) {
            assert!(replies.len() == 1, "{replies:?}");
            let code: u16 = replies[0][..3].parse().unwrap();
            assert!([501, 535, 334].contains(&code), "{command}: {code}");
        }
    }
    let http = after_ehlo(&["AUTH LOGIN", "GET / HTTP/1.1"], in_tls);
    assert_eq!((http.codes(), http.closed), (vec![250, 334, 501], None));
}

#[test]
fn a_response_may_have_12288_octets_and_no_more() {
    let line = |octets: usize| "A".repeat(octets - 2);
    let fed = |said: &[&str]| {
        let mut input = EHLO.to_owned();
        said.iter().for_each(|line| input += &format!("{line}\r\n"));
        let mut whole = in_tls();
        whole.feed(input.as_bytes());
        let mut bytewise = in_tls();
        bytewise.feed_cut(input.as_bytes(), &(1..input.len()).collect::<Vec<_>>());
        assert_eq!(bytewise.codes(), whole.codes());
        String::from_utf8(whole.replies).unwrap().lines().last().unwrap().to_owned()
    };
    for octets in [12_286, 12_288] {
        assert_eq!(
            fed(&["AUTH PLAIN", &line(octets)]),
            UNREADABLE,
            "{octets}: taken, and no message of PLAIN"
        );
    }
    const TOO_LONG: &str = "500 5.5.6 line too long";
    for octets in [12_289, 12_290, 20_000, 60_000] {
        assert_eq!(fed(&["AUTH PLAIN", &line(octets)]), TOO_LONG, "{octets}");
        assert_eq!(fed(&["AUTH PLAIN", &line(octets), "NOOP"]), OK, "{octets}: it is one line");
    }
    assert!(fed(&["AUTH PLAIN", &line(70_000)]).starts_with("421 "));
    let command = |octets: usize| format!("aUTH PLAIN {}", line(octets - "AUTH PLAIN ".len()));
    for octets in [2047, 2048, 2049, 12_288] {
        assert_eq!(fed(&[&command(octets)]), UNREADABLE, "{octets}");
    }
    assert_eq!(fed(&[&command(12_289)]), TOO_LONG);
    assert_eq!(fed(&[&command(12_289), "NOOP"]), OK);
    assert_eq!(fed(&[&format!("AUTHS {}", line(2049))]), "500 5.5.2 line too long");
}

#[test]
fn a_bare_line_end_ends_the_exchange_and_its_line_is_not_executed() {
    for line in ["YQ==\nQUIT\r\n", "\nQUIT\r\n", "YQ\r==\r\n", "YQ==\r\r\n"] {
        let dialogue = run_each_way(format!("{EHLO}AUTH LOGIN\r\n{line}NOOP\r\n").as_bytes(), in_tls);
        assert_eq!(dialogue.codes(), [250, 334, 500, 250], "{line:?}");
        assert_eq!(dialogue.closed, None);
    }
}

#[test]
fn auth_has_its_reply_in_every_state() {
    let right = format!("AUTH PLAIN {}", plain(USER, PASSWORD));
    let last = |input: &str, make: &dyn Fn() -> Dialogue| {
        let dialogue = run_each_way(format!("{input}{right}\r\n").as_bytes(), make);
        String::from_utf8(dialogue.replies).unwrap().lines().last().unwrap().to_owned()
    };
    let (mail, rcpt) = (MAIL, "RCPT TO:<user@example.com>\r\n");
    assert_eq!(last("", &in_tls), "503 5.5.1 say EHLO or HELO first");
    assert_eq!(last("HELO x.example\r\n", &in_tls), "503 5.5.1 say EHLO first");
    assert_eq!(last(EHLO, &in_tls), LOGGED_IN);
    let under_way = "503 5.5.1 not now: a transaction is under way";
    assert_eq!(last(&format!("{EHLO}{mail}"), &in_tls), under_way);
    assert_eq!(last(&format!("{EHLO}{mail}{rcpt}"), &in_tls), under_way);
    assert_eq!(last(&format!("{EHLO}{mail}{rcpt}BDAT 2\r\nab"), &in_tls), under_way);
    assert_eq!(last(&format!("{EHLO}{mail}RSET\r\n"), &in_tls), LOGGED_IN);
    let twice = "503 5.5.1 you are logged in already";
    for between in ["", "RSET\r\n", EHLO, mail] {
        assert_eq!(last(&format!("{EHLO}{right}\r\n{between}"), &in_tls), twice, "{between}");
    }
    assert_eq!(last(EHLO, &|| offering(Offer::InTls)), "538 5.7.11 AUTH only in TLS");
    assert_eq!(last(EHLO, &|| offering(Offer::Always)), LOGGED_IN);
    assert_eq!(last(EHLO, &|| offering(Offer::Never)), "502 5.5.1 there is no AUTH here");
}

#[test]
fn a_mechanism_that_is_not_offered_is_not_known() {
    let unknown = "504 5.5.4 mechanism not known";
    for line in ["AUTH CRAM-MD5", "AUTH x", "AUTH PLAIN=", "AUTH PLAINER AGEAYg==", "AUTH \u{1}"] {
        assert_eq!(replies(&[line], in_tls), [unknown], "{line}");
    }
    assert_eq!(replies(&["AUTH SCRAM-SHA-256-PLUS"], || offering(Offer::Always)), [unknown]);
    assert_eq!(replies(&["AUTH SCRAM-SHA-256-PLUS"], in_tls), ["334 "]);
    for line in ["AUTH", "AUTH ", "AUTH  PLAIN"] {
        assert_eq!(replies(&[line], in_tls), ["501 5.5.4 syntax error in argument"], "{line:?}");
    }
}

#[test]
fn ehlo_offers_what_is_taken() {
    let auth = |dialogue: Dialogue| {
        let mut dialogue = dialogue;
        dialogue.feed(EHLO.as_bytes());
        let text = String::from_utf8(dialogue.replies).unwrap();
        text.lines().find(|line| line[4..].starts_with("AUTH")).map(str::to_owned)
    };
    let all = Some("250-AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN".to_owned());
    let mut always = offering(Offer::Always);
    always.session.secured(Bindings::Offered);
    let mut never = offering(Offer::Never);
    never.session.secured(Bindings::Offered);
    assert_eq!(auth(in_tls()), all);
    assert_eq!(auth(always), all);
    assert_eq!(auth(never), None);
    assert_eq!(auth(offering(Offer::InTls)), None);
    assert_eq!(auth(offering(Offer::Always)).as_deref(), Some("250-AUTH SCRAM-SHA-256 PLAIN LOGIN"));
}

#[test]
fn who_is_logged_in_stays_so_until_tls_begins() {
    let right = format!("AUTH PLAIN {}", plain(USER, PASSWORD));
    let always = || offering(Offer::Always);
    for (said, user) in [
        ("RSET", Some(ACCOUNT)),
        ("EHLO again.example", Some(ACCOUNT)),
        ("HELO x", Some(ACCOUNT)),
        ("STARTTLS", None),
    ] {
        let dialogue = after_ehlo(&[&right, said], always);
        assert_eq!(dialogue.session.user(), user, "{said}");
    }
}

#[test]
fn a_reply_of_421_from_the_server_ends_the_session() {
    let refusing = |reply: Reply| {
        move || {
            let mut dialogue = in_tls();
            dialogue.refuse_logins = Some(reply);
            dialogue
        }
    };
    let wrong = format!("AUTH PLAIN {}", plain(USER, "wrong"));
    let dialogue = after_ehlo(&[&wrong, "NOOP"], refusing(Reply::TOO_MANY_FAILED_LOGINS));
    assert_eq!((dialogue.codes(), dialogue.closed), (vec![250, 421], Some(CloseReason::Dismissed)));
    let said = ["AUTH SCRAM-SHA-256", &encoded(CLIENT_FIRST), &encoded(CLIENT_LAST), "NOOP"];
    let dialogue = after_ehlo(&said, refusing(Reply::TOO_MANY_FAILED_LOGINS));
    assert_eq!(dialogue.codes(), [250, 334, 334, 421]);
    let dialogue = after_ehlo(&[&wrong, "NOOP"], refusing(Reply::LOGIN_BUSY));
    assert_eq!((dialogue.codes(), dialogue.closed), (vec![250, 454, 250], None));
}

#[test]
fn a_session_that_was_dismissed_meanwhile_hears_no_answer() {
    use fastsmtp::smtp::Need;
    use fastsmtp::wire::Outbox;
    let mut session = in_tls().session;
    let mut out = Outbox::new();
    let input = format!("{EHLO}AUTH PLAIN {}\r\n", plain(USER, PASSWORD));
    let progress = session.advance(input.as_bytes(), &mut out);
    assert!(matches!(progress.need, Need::Sasl(SaslStep::Password { .. })), "{:?}", progress.need);
    session.dismiss(Reply::SESSION_TIMEOUT, &mut out);
    let said = out.pending().len();
    session.answer_login(Ok(ACCOUNT.into()), &mut out);
    assert_eq!((out.pending().len(), session.user()), (said, None));
}

#[test]
fn mistakes_in_auth_count_as_others_do() {
    let mut input = EHLO.to_owned();
    (0..10).for_each(|_| input += "AUTH PLAIN ?\r\nAUTH LOGIN\r\n*\r\n");
    let dialogue = run_each_way(input.as_bytes(), in_tls);
    assert_eq!(dialogue.codes().last(), Some(&421));
    assert_eq!(dialogue.closed, Some(CloseReason::TooManyErrors));
}

#[test]
fn nobody_sends_before_auth_where_it_is_required() {
    let requiring = |auth: Offer| {
        move || {
            let security = Security { starttls: true, auth, auth_required: true };
            Dialogue::with(security)
        }
    };
    let secured = || {
        let mut dialogue = requiring(Offer::InTls)();
        dialogue.session.secured(Bindings::Offered);
        dialogue
    };
    let mail = MAIL.trim_end();
    let rest = ["RCPT TO:<user@example.com>", "DATA", "BDAT 0 LAST"];
    let no_transaction =
        ["503 5.5.1 MAIL first", "503 5.5.1 MAIL first", "503 5.5.1 no transaction for this chunk"];
    let said: Vec<&str> = [mail].into_iter().chain(rest).collect();
    let with = |reply: &'static str| [vec![reply], no_transaction.to_vec()].concat();
    assert_eq!(replies(&said, requiring(Offer::InTls)), with("530 5.7.0 STARTTLS first, then AUTH"));
    assert_eq!(replies(&said, requiring(Offer::Always)), with("530 5.7.0 log in first, with AUTH"));
    assert_eq!(replies(&said, secured), with("530 5.7.0 log in first, with AUTH"));
    let right = format!("AUTH PLAIN {}", plain(USER, PASSWORD));
    let said = [&*right, mail, "RCPT TO:<user@example.com>"];
    assert_eq!(replies(&said, secured), [LOGGED_IN, "250 2.1.0 sender ok", "250 2.1.5 recipient ok"]);
}

#[test]
fn mail_may_name_who_sent_it_first_where_auth_is_offered() {
    let mail = |parameter: &str, make: fn() -> Dialogue| {
        replies(&[&format!("MAIL FROM:<user@example.com> {parameter}")], make).remove(0)
    };
    for good in ["AUTH=<>", "AUTH=user@example.com", "auth=e+3Dmc2@example.com SIZE=10"] {
        assert_eq!(mail(good, in_tls), "250 2.1.0 sender ok", "{good}");
        assert_eq!(mail(good, || offering(Offer::InTls)), "555 5.5.4 parameter not known", "{good}");
    }
    for bad in
        ["AUTH", "AUTH=", "AUTH=a+ZZ@x", "AUTH=a+3d", "AUTH=a+3", "AUTH=a=b", "AUTH=<> AUTH=<>", "AUTH=é"]
    {
        assert_eq!(mail(bad, in_tls), "501 5.5.4 syntax error in argument", "{bad}");
    }
}

#[test]
fn the_received_field_says_whether_the_user_was_known() {
    let right = format!("AUTH PLAIN {}", plain(USER, PASSWORD));
    let always_in_tls = || {
        let mut dialogue = offering(Offer::Always);
        dialogue.session.secured(Bindings::Offered);
        dialogue
    };
    let plain_session = || offering(Offer::Always);
    let utf8 = Envelope { smtputf8: true, ..Envelope::default() };
    let protocols = |said: &[&str], make: &dyn Fn() -> Dialogue| {
        let session = after_ehlo(said, make).session;
        [session.protocol(&Envelope::default()), session.protocol(&utf8)]
    };
    assert_eq!(protocols(&[], &plain_session), ["ESMTP", "UTF8SMTP"]);
    assert_eq!(protocols(&[&right], &plain_session), ["ESMTPA", "UTF8SMTPA"]);
    assert_eq!(protocols(&[], &always_in_tls), ["ESMTPS", "UTF8SMTPS"]);
    assert_eq!(protocols(&[&right], &always_in_tls), ["ESMTPSA", "UTF8SMTPSA"]);
    assert_eq!(protocols(&["HELO x"], &always_in_tls)[0], "SMTP");
    assert_eq!(protocols(&[&right, "HELO x"], &always_in_tls)[0], "ESMTPSA");
}

#[test]
fn no_secret_is_shown_by_debug() {
    let mut dialogue = in_tls();
    dialogue.feed(EHLO.as_bytes());
    for line in ["AUTH LOGIN", &encoded(USER)] {
        dialogue.feed(format!("{line}\r\n").as_bytes());
        assert!(format!("{:?}", dialogue.session).contains("Auth(Login { .. })"));
    }
    dialogue.feed(format!("{}\r\n", encoded(PASSWORD)).as_bytes());
    let step = format!("{:?}", fastsmtp::smtp::Need::Sasl(dialogue.steps.remove(0)));
    assert!(step.contains(USER) && !step.contains(PASSWORD), "{step}");
    let line = format!("AUTH PLAIN {}", plain(USER, PASSWORD));
    let command = format!("{:?}", fastsmtp::smtp::command::Command::parse(line.as_bytes()));
    assert!(command.contains("Secret(..)"), "{command}");
}

fn item() -> impl Strategy<Value = String> {
    let words = [
        EHLO,
        "HELO x\r\n",
        "AUTH PLAIN\r\n",
        "AUTH LOGIN\r\n",
        "AUTH SCRAM-SHA-256\r\n",
        "AUTH SCRAM-SHA-256-PLUS\r\n",
        "AUTH PLAIN =\r\n",
        "AUTH ",
        "*\r\n",
        "\r\n",
        "\n",
        "\r",
        "?",
        "STARTTLS\r\n",
        MAIL,
        "RCPT TO:<user@example.com>\r\n",
        "DATA\r\n",
        ".\r\n",
        "BDAT 4 LAST\r\nQUIT",
        "RSET\r\n",
        "QUIT\r\n",
    ];
    let mut items: Vec<String> = words.map(str::to_owned).into();
    items.push(format!("AUTH PLAIN {}\r\n", plain(USER, PASSWORD)));
    items.push(format!("AUTH PLAIN {}\r\n", plain(USER, "wrong")));
    items.push("A".repeat(12_280));
    items.extend([USER, PASSWORD, CLIENT_FIRST, CLIENT_LAST].map(|text| encoded(text) + "\r\n"));
    prop::sample::select(items)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_dialogue_gives_the_same_replies_and_the_same_user(
        items in prop::collection::vec(item(), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        auth in prop::sample::select(vec![Offer::Never, Offer::InTls, Offer::Always]),
        auth_required in any::<bool>(),
        begins_in_tls in any::<bool>(),
    ) {
        // STARTTLS is not offered: how much of the plain text is here when it comes is the server's affair.
        let security = Security { starttls: false, auth, auth_required: auth_required && auth != Offer::Never };
        let input = format!("{EHLO}{}", items.concat()).into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let run = |cuts: &[usize]| {
            let mut dialogue = Dialogue::with(security);
            if begins_in_tls {
                dialogue.session.secured(Bindings::Offered);
            }
            dialogue.feed_cut(&input, cuts);
            dialogue
        };
        let (whole, cut) = (run(&[]), run(&cuts));
        prop_assert_eq!(&cut.replies, &whole.replies);
        prop_assert_eq!(&cut.messages, &whole.messages);
        prop_assert_eq!(&cut.steps, &whole.steps);
        prop_assert_eq!(cut.closed, whole.closed);
        prop_assert_eq!(cut.session.user(), whole.session.user());
        if whole.session.user().is_some() {
            prop_assert!(auth == Offer::Always || auth == Offer::InTls && begins_in_tls);
        }
        prop_assert!(!security.auth_required || whole.messages.is_empty() || whole.session.user().is_some());
    }
}
