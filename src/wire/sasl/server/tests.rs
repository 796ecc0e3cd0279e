//! The server's side against the RFC's example, our client, forged messages, and octets of any kind.

use proptest::prelude::*;

use super::super::{Scram, client_key, salted_password};
use super::*;

const SALT: [u8; 16] = *b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";
const ITERATIONS: u32 = 4096;
const CLIENT_NONCE: &str = "rOprNGfwEbeRWgbNEkqO";
const OUR_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

fn basis(binding: Option<&[u8]>) -> ScramBasis {
    let keys = ScramKeys::new("pencil", SALT.to_vec(), ITERATIONS);
    ScramBasis { keys, nonce: OUR_NONCE.into(), binding: binding.map(<[u8]>::to_vec) }
}

fn begin(mechanism: &str, bindings: Bindings) -> Exchange {
    Exchange::begin(mechanism.as_bytes(), bindings).unwrap()
}

fn keys(user: &str, binding: Option<ChannelBinding>) -> Result<Next, SaslError> {
    Ok(Next::Step(SaslStep::Keys { user: user.into(), binding }))
}

fn proof(user: &str, is_right: bool) -> Result<Next, SaslError> {
    Ok(Next::Step(SaslStep::Proof { user: user.into(), is_right }))
}

fn password(user: &str, password: &str) -> Result<Next, SaslError> {
    Ok(Next::Step(SaslStep::Password { user: user.into(), password: password.into() }))
}

/// What a client says that knows the password: bound so, in an exchange with this `client-first-message-bare` and this
/// challenge, repeating this nonce.
fn last(binding: &[u8], bare: &str, challenge: &str, nonce: &str) -> String {
    let unproven = format!("c={},r={nonce}", encode(binding));
    let message = format!("{bare},{challenge},{unproven}");
    let mut proof = client_key(&salted_password("pencil", &SALT, ITERATIONS));
    let mask = signature(&super::super::stored_key(&proof), message.as_bytes());
    proof.iter_mut().zip(mask).for_each(|(octet, mask)| *octet ^= mask);
    format!("{unproven},p={}", encode(&proof))
}

const BARE: &str = "n=user,r=rOprNGfwEbeRWgbNEkqO";
const CHALLENGE: &str =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
const NONCE: &str = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

/// An exchange behind its challenge, begun with this header.
fn challenged(mechanism: &str, header: &str, binding: Option<&[u8]>) -> Exchange {
    let mut exchange = begin(mechanism, Bindings::Offered);
    exchange.respond(format!("{header}{BARE}").as_bytes()).unwrap();
    assert_eq!(exchange.challenge(basis(binding)).unwrap(), CHALLENGE);
    exchange
}

#[test]
fn the_example_of_rfc_7677_comes_out_as_printed() {
    let mut exchange = begin("SCRAM-SHA-256", Bindings::Absent);
    assert_eq!(exchange.opening(), "");
    assert_eq!(exchange.respond(b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"), keys("user", None));
    assert_eq!(exchange.challenge(basis(None)).unwrap(), CHALLENGE);
    let last = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    assert_eq!(exchange.respond(last.as_bytes()), proof("user", true));
    let signature = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    assert_eq!(exchange.granted().as_deref(), Some(signature));
    assert_eq!(exchange.respond(b""), Ok(Next::Done));
    assert_eq!(exchange.respond(b""), Err(SaslError::Unexpected));
}

#[test]
fn a_client_that_does_not_say_nothing_to_our_proof_is_not_let_in() {
    let mut exchange = challenged("SCRAM-SHA-256", "n,,", None);
    assert_eq!(exchange.respond(last(b"n,,", BARE, CHALLENGE, NONCE).as_bytes()), proof("user", true));
    exchange.granted().unwrap();
    assert_eq!(exchange.respond(b"x"), Err(SaslError::Malformed));
    assert_eq!(exchange.respond(b""), Err(SaslError::Unexpected));
}

#[test]
fn each_binding_convinces_with_its_own_data_and_header_only() {
    let exporter = "p=tls-exporter,,";
    let right = [exporter.as_bytes(), b"this channel"].concat();
    let other_channel = [exporter.as_bytes(), b"that channel"].concat();
    let other_type = b"p=tls-server-end-point,,this channel".to_vec();
    for (bound, is_right) in [
        (right, true),
        (other_channel, false),
        (other_type, false),
        (exporter.as_bytes().to_vec(), false),
        (b"n,,".to_vec(), false),
        (Vec::new(), false),
    ] {
        let mut exchange = challenged("SCRAM-SHA-256-PLUS", exporter, Some(b"this channel"));
        let last = last(&bound, BARE, CHALLENGE, NONCE);
        assert_eq!(exchange.respond(last.as_bytes()), proof("user", is_right), "{last}");
    }
    let mut exchange = begin("scram-sha-256-plus", Bindings::Offered);
    let end_point = b"p=tls-server-end-point,a=user,n=user,r=x";
    assert_eq!(exchange.respond(end_point), keys("user", Some(ChannelBinding::ServerEndPoint)));
    assert_eq!(exchange.challenge(basis(None)), Err(SaslError::Binding), "there is none here after all");
    // Without binding, data behind the header is somebody else's.
    let mut exchange = challenged("SCRAM-SHA-256", "n,,", Some(b"not asked for"));
    assert_eq!(exchange.respond(last(b"n,,", BARE, CHALLENGE, NONCE).as_bytes()), proof("user", true));
    let mut exchange = challenged("SCRAM-SHA-256", "n,,", None);
    assert_eq!(exchange.respond(last(b"y,,", BARE, CHALLENGE, NONCE).as_bytes()), proof("user", false));
}

#[test]
fn a_client_that_was_talked_out_of_binding_is_refused() {
    let first = |mechanism, bindings, flag: &str| {
        begin(mechanism, bindings).respond(format!("{flag},,{BARE}").as_bytes())
    };
    let (plain, plus) = ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS");
    let refused = Err(SaslError::Binding);
    assert_eq!(first(plain, Bindings::Offered, "y"), refused, "it was not told of -PLUS");
    assert_eq!(first(plain, Bindings::Absent, "y"), keys("user", None));
    assert_eq!(first(plain, Bindings::Offered, "n"), keys("user", None));
    assert_eq!(first(plain, Bindings::Offered, "p=tls-exporter"), refused);
    assert_eq!(first(plain, Bindings::Absent, "p=tls-exporter"), refused);
    assert_eq!(first(plus, Bindings::Offered, "n"), refused);
    assert_eq!(first(plus, Bindings::Offered, "y"), refused);
    for unknown in ["p=tls-unique", "p=", "p=TLS-EXPORTER", "p=tls-exporter "] {
        assert_eq!(first(plus, Bindings::Offered, unknown), refused, "{unknown}");
    }
    for wrong in ["", "x", "N", "p", "nn", "n=", "\0"] {
        assert_eq!(first(plain, Bindings::Absent, wrong), Err(SaslError::Malformed), "{wrong:?}");
    }
    assert!(Exchange::begin(plus.as_bytes(), Bindings::Absent).is_none());
}

#[test]
fn a_proof_of_another_exchange_proves_nothing() {
    let right = last(b"n,,", BARE, CHALLENGE, NONCE);
    let judge = |message: &str| challenged("SCRAM-SHA-256", "n,,", None).respond(message.as_bytes());
    assert_eq!(judge(&right), proof("user", true));
    let replayed = CHALLENGE.replace("hvYD", "xvYD");
    assert_eq!(judge(&last(b"n,,", BARE, &replayed, &NONCE.replace("hvYD", "xvYD"))), proof("user", false));
    for nonce in [&NONCE[..NONCE.len() - 1], CLIENT_NONCE, OUR_NONCE, "", "x"] {
        let wrong = last(b"n,,", BARE, CHALLENGE, nonce);
        assert_eq!(judge(&wrong), proof("user", false), "a right proof with the nonce {nonce:?}");
    }
    let other_user = last(b"n,,", "n=root,r=rOprNGfwEbeRWgbNEkqO", CHALLENGE, NONCE);
    assert_eq!(judge(&other_user), proof("user", false));
    let at = right.len() - 3;
    let wrong =
        format!("{}{}{}", &right[..at], if &right[at..=at] == "A" { "I" } else { "A" }, &right[at + 1..]);
    assert_eq!(judge(&wrong), proof("user", false));
    let extended = right.replace(",p=", ",x=unknown,p=");
    assert_eq!(judge(&extended), proof("user", false), "an extension is signed as all is");
}

#[test]
fn a_last_message_against_the_grammar_is_an_error() {
    let judge = |message: &str| challenged("SCRAM-SHA-256", "n,,", None).respond(message.as_bytes());
    let proof = encode(&[0; 32]);
    for wrong in
        ["", "p=", ",p=", "c=biws", "c=biws,r=x", "r=x,c=biws,p=AAAA", "c=biws,r=x,p=AAAA", "e=other-error"]
    {
        assert_eq!(judge(wrong), Err(SaslError::Malformed), "{wrong}");
    }
    for wrong in [format!("c=biw,r=x,p={proof}"), format!("c=biws,r=x,p={proof}="), "c=biws,r=x,p=*".into()] {
        assert_eq!(judge(&wrong), Err(SaslError::Base64), "{wrong}");
    }
    assert_eq!(judge(&format!("c=biws,r=x,p={proof},x=y")), Err(SaslError::Base64), "the proof stands last");
}

#[test]
fn a_first_message_against_the_grammar_is_an_error() {
    let first = |message: &str| begin("SCRAM-SHA-256", Bindings::Absent).respond(message.as_bytes());
    for wrong in [
        "",
        "n",
        "n,",
        "n,,",
        "n,,n=user",
        "n,,r=x,n=user",
        "n,,n=,r=x",
        "n,,n=user,r=",
        "n,,n=user,r=a b",
        "n,,n=us=er,r=x",
        "n,,n=user=,r=x",
        "n,,n=user=2c,r=x",
        "n,,n=us\0er,r=x",
        "n,b=user,n=user,r=x",
        "n,user,n=user,r=x",
        "n,a=,n=user,r=x",
    ] {
        assert_eq!(first(wrong), Err(SaslError::Malformed), "{wrong:?}");
    }
    assert_eq!(first("n,,m=x,n=user,r=x"), Err(SaslError::Extension));
    assert_eq!(first("n,,n=user,r=x,y=unknown"), keys("user", None));
    let long = |octets: usize| format!("n,,n={},r=x", "u".repeat(octets));
    assert!(first(&long(CREDENTIAL_MAX)).is_ok());
    assert_eq!(first(&long(CREDENTIAL_MAX + 1)), Err(SaslError::Malformed));
    let long = |octets: usize| format!("n,,n=u,r={}", "x".repeat(octets - "n,,n=u,r=".len()));
    assert!(first(&long(SCRAM_FIRST_MAX)).is_ok());
    assert_eq!(first(&long(SCRAM_FIRST_MAX + 1)), Err(SaslError::Malformed));
}

#[test]
fn a_name_is_unescaped_and_prepared() {
    let first = |message: &str| begin("SCRAM-SHA-256", Bindings::Absent).respond(message.as_bytes());
    assert_eq!(first("n,,n=a=2Cb=3D,r=x"), keys("a,b=", None));
    assert_eq!(first("n,a=a=2Cb=3D,n=a=2Cb=3D,r=x"), keys("a,b=", None));
    assert_eq!(first("n,,n=I\u{AD}X\u{2168},r=x"), keys("IXIX", None));
    assert_eq!(first("n,,n=a\u{E000},r=x"), proof("a\u{E000}", false), "nobody can be called so");
    let expands = "\u{FDFA}".repeat(CREDENTIAL_MAX / 3);
    assert_eq!(first(&format!("n,,n={expands},r=x")), proof(&expands, false), "nor so");
}

#[test]
fn nobody_acts_for_another() {
    let mut scram = begin("SCRAM-SHA-256", Bindings::Absent);
    assert_eq!(scram.respond(b"n,a=root,n=user,r=x"), proof("user", false));
    assert_eq!(scram.respond(b"c=biws"), Err(SaslError::Unexpected), "that was the end");
    let plain = |message: &[u8]| begin("PLAIN", Bindings::Absent).respond(message);
    assert_eq!(plain(b"root\0user\0pencil"), proof("user", false));
    assert_eq!(plain(b"user\0user\0pencil"), password("user", "pencil"));
    assert_eq!(plain(b"\0user\0pencil"), password("user", "pencil"));
}

#[test]
fn a_password_without_its_frame_is_an_error() {
    let plain = |message: &[u8]| begin("PLAIN", Bindings::Absent).respond(message);
    let long = "x".repeat(CREDENTIAL_MAX);
    assert_eq!(plain(&super::super::plain(&long, &long)), password(&long, &long));
    for wrong in [
        &b""[..],
        b"abc",
        b"\0user",
        b"\0\0pencil",
        b"\0user\0",
        b"\0user\0pen\0cil",
        b"\0\xff\xfe\0\xff\xfe",
        format!("\0{long}x\0pencil").as_bytes(),
        format!("\0user\0{long}x").as_bytes(),
    ] {
        assert_eq!(plain(wrong), Err(SaslError::Malformed), "{wrong:?}");
    }
    let mut login = begin("LOGIN", Bindings::Absent);
    assert_eq!(login.opening(), "Username:");
    assert_eq!(login.respond(b"user"), Ok(Next::Challenge("Password:".into())));
    assert_eq!(login.respond(b"pencil"), password("user", "pencil"));
    assert_eq!(login.granted(), None);
    for wrong in [&b""[..], b"a\0b", b"\xff", format!("{long}x").as_bytes()] {
        assert_eq!(begin("LOGIN", Bindings::Absent).respond(wrong), Err(SaslError::Malformed));
        let mut login = begin("LOGIN", Bindings::Absent);
        login.respond(b"user").unwrap();
        assert_eq!(login.respond(wrong), Err(SaslError::Malformed));
    }
}

#[test]
#[should_panic(expected = "nobody is let in without a proof")]
fn a_wrong_proof_cannot_be_granted() {
    let mut exchange = challenged("SCRAM-SHA-256", "n,,", None);
    let forged = format!("c=biws,r={NONCE},p={}", encode(&[0; 32]));
    assert_eq!(exchange.respond(forged.as_bytes()), proof("user", false));
    exchange.granted();
}

#[test]
fn nothing_secret_is_shown() {
    let step = begin("PLAIN", Bindings::Absent).respond(b"\0user\0pencil").unwrap();
    assert_eq!(format!("{step:?}"), "Step(Password { user: \"user\", .. })");
    assert_eq!(format!("{:?}", basis(None)), "ScramBasis { keys: ScramKeys { iterations: 4096, .. }, .. }");
    assert_eq!(format!("{:?}", begin("PLAIN", Bindings::Absent)), "Exchange { .. }");
}

/// Keys of a password, hashed as little as can be.
fn quick_keys(password: &str) -> ScramKeys {
    ScramKeys { iterations: ITERATIONS, ..ScramKeys::new(password, b"salt".to_vec(), 1) }
}

proptest! {
    #[test]
    fn our_client_and_our_server_convince_each_other_if_the_password_is_right(
        user in "[ -~]{1,20}", right in "[ -~]{1,20}", wrong in "[ -~]{1,20}", ours in "[!-+.-~]{1,30}",
    ) {
        for tried in [&right, &wrong] {
            let scram = Scram::new(&user, "abc");
            let mut exchange = begin("SCRAM-SHA-256", Bindings::Offered);
            prop_assert_eq!(exchange.respond(&scram.first()), keys(&user, None));
            let basis = ScramBasis { keys: quick_keys(&right), nonce: ours.clone(), binding: None };
            let message = exchange.challenge(basis).unwrap();
            let challenge = scram.challenge(message.as_bytes()).unwrap();
            let (last, verifier) = scram.proof(&challenge, &salted_password(tried, b"salt", 1));
            prop_assert_eq!(exchange.respond(&last), proof(&user, *tried == right));
            if *tried == right {
                prop_assert_eq!(verifier.verify(exchange.granted().unwrap().as_bytes()), Ok(()));
                prop_assert_eq!(exchange.respond(b""), Ok(Next::Done));
            }
        }
    }

    #[test]
    fn any_octets_are_judged_without_a_panic_and_none_are_a_proof(
        mechanism in prop::sample::select(vec!["PLAIN", "LOGIN", "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"]),
        octets in prop::collection::vec(any::<u8>(), 0..80), text in "[nyp],[a=]{0,3},[,=nrmcpAB2C3D]{0,30}",
    ) {
        for message in [&octets[..], text.as_bytes()] {
            let mut exchange = begin(mechanism, Bindings::Offered);
            let _ = exchange.respond(message).map(|_| exchange.respond(message));
        }
        for message in [octets, [b"c=biws,r=x,p=", &octets_of(&text)[..]].concat()] {
            let mut exchange = begin("SCRAM-SHA-256", Bindings::Offered);
            exchange.respond(b"n,,n=user,r=x").unwrap();
            let basis = ScramBasis { keys: quick_keys("pencil"), nonce: "y".into(), binding: None };
            exchange.challenge(basis).unwrap();
            prop_assert_ne!(exchange.respond(&message), proof("user", true));
        }
    }
}

/// Text as 44 characters of base64, which a proof has.
fn octets_of(text: &str) -> Vec<u8> {
    encode(&Sha256::digest(text)).into_bytes()
}
