//! The dialogue with servers of every kind, whose side of it is written down.

use std::io::Cursor;

use super::*;

/// A server that says this, in pieces of so many octets, whatever it hears.
struct Script {
    says: Cursor<Vec<u8>>,
    piece: usize,
    heard: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = buffer.len().min(self.piece);
        self.says.read(&mut buffer[..most])
    }
}

impl Write for Script {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.heard.extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Awaits for Script {
    fn await_answer(&mut self) {}
}

const PIECES: [usize; 4] = [1, 2, 7, 100_000];

/// A client that was greeted, for each way to cut what the server says.
fn clients(says: &str) -> impl Iterator<Item = Client<Script>> {
    let says = format!("+OK hello\r\n{says}").into_bytes();
    PIECES.into_iter().map(move |piece| {
        let mut client = Client::new(Script { says: Cursor::new(says.clone()), piece, heard: Vec::new() });
        client.greet().unwrap();
        client
    })
}

fn heard(client: &Client<Script>) -> String {
    String::from_utf8(client.stream().heard.clone()).unwrap()
}

const PIPELINING: &str = "+OK\r\nPIPELINING\r\nsasl plain SCRAM-SHA-256\r\nSTLS\r\n.\r\n";

#[test]
fn capabilities_are_read_and_a_server_without_has_user() {
    for mut client in clients(PIPELINING) {
        let expected = Capabilities { tls: true, scram: true, plain: true, user: false };
        assert_eq!(client.capabilities().unwrap(), expected);
        assert_eq!(expected.proof(ClearText::Allowed), Some(Proof::Scram));
    }
    for mut client in clients("-ERR what?\r\n") {
        let offered = client.capabilities().unwrap();
        assert_eq!(
            (offered.proof(ClearText::Allowed), offered.proof(ClearText::Refused)),
            (Some(Proof::User), None)
        );
    }
}

#[test]
fn a_list_has_size_and_id_of_each_mail() {
    let expected = vec![
        Listed { number: 1, id: "7.aa.fs".into(), octets: 120 },
        Listed { number: 3, id: ".b".into(), octets: 4 },
    ];
    let answers = "+OK\r\n1 120\r\n3 4\r\n.\r\n+OK\r\n1 7.aa.fs\r\n3 .b\r\n.\r\n";
    for mut client in clients(answers) {
        assert_eq!(client.list().unwrap(), expected);
        assert_eq!(heard(&client), "LIST\r\nUIDL\r\n");
    }
    for mut client in clients(&format!("{PIPELINING}{answers}")) {
        client.capabilities().unwrap();
        assert_eq!(client.list().unwrap(), expected);
    }
}

#[test]
fn a_server_without_ids_has_the_numbers_for_ids() {
    for mut client in clients("+OK\r\n1 120\r\n3 4\r\n.\r\n-ERR what?\r\n") {
        let expected = vec![
            Listed { number: 1, id: "1".into(), octets: 120 },
            Listed { number: 3, id: "3".into(), octets: 4 },
        ];
        assert_eq!(client.list().unwrap(), expected);
    }
}

#[test]
fn a_mail_is_what_was_sent_however_it_is_cut() {
    let long = "x".repeat(20_000);
    for (sent, expected) in [
        ("a\r\nb\r\n.\r\n", "a\r\nb\r\n".to_owned()),
        (".\r\n", String::new()),
        ("..\r\n...\r\n..a\r\n.\r\n", ".\r\n..\r\n.a\r\n".to_owned()),
        ("a\n.\nb\r.\r\n\r\n.\r\n", "a\n.\nb\r.\r\n\r\n".to_owned()),
        (&format!("{long}\r\n.\r\n"), format!("{long}\r\n")),
    ] {
        for mut client in clients(&format!("+OK\r\n{sent}")) {
            let mut out = Vec::new();
            client.retrieve(1, 1 << 20, &mut out).unwrap();
            assert_eq!(String::from_utf8(out).unwrap(), expected);
            assert!(matches!(client.answer("x"), Err(Error::Closed)), "nothing is left");
        }
    }
}

#[test]
fn headers_come_in_windows_and_of_a_mail_without_top_from_the_mail() {
    let tops = "+OK\r\nA: 1\r\n\r\n.\r\n-ERR no\r\n+OK\r\nC: 3\r\n\r\n.\r\n";
    let answers = format!("{tops}+OK\r\nB: 2\r\n\r\nhello\r\n.\r\n");
    for mut client in clients(&format!("{PIPELINING}{answers}")) {
        client.capabilities().unwrap();
        let mut got = Vec::new();
        client.headers(&[4, 5, 6], 5, |at, header| got.push((at, header.map(<[u8]>::to_vec)))).unwrap();
        assert_eq!(
            got,
            [(0, Some(b"A: 1\r".to_vec())), (1, Some(b"B: 2\r".to_vec())), (2, Some(b"C: 3\r".to_vec()))]
        );
        assert!(heard(&client).ends_with("TOP 4 0\r\nTOP 5 0\r\nTOP 6 0\r\nRETR 5\r\n"));
    }
    for mut client in clients("-ERR no\r\n-ERR nor that\r\n") {
        let mut got = Vec::new();
        client.headers(&[4], 5, |at, header| got.push((at, header.is_some()))).unwrap();
        assert_eq!(got, [(0, false)]);
    }
}

#[test]
fn a_login_by_scram_proves_both_sides() {
    // RFC 7677 3.
    let (user, password, nonce) = ("user", "pencil", "rOprNGfwEbeRWgbNEkqO");
    let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    let last = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
    let salted = |salt: &[u8], iterations| sasl::salted_password(password, salt, iterations);
    let says = |last: &str| {
        format!("+ {}\r\n+ {}\r\n+OK\r\n", sasl::encode(first.as_bytes()), sasl::encode(last.as_bytes()))
    };
    for mut client in clients(&says(last)).take(1) {
        client.login_by_scram(user, nonce, salted).unwrap();
        assert!(heard(&client).starts_with("AUTH SCRAM-SHA-256 biwsbj11c2VyLHI9"), "{}", heard(&client));
    }
    for mut client in clients(&says("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")).take(1) {
        let error = client.login_by_scram(user, nonce, salted).unwrap_err();
        assert!(matches!(error, Error::Sasl(SaslError::Signature)));
    }
    for mut client in clients("+OK welcome\r\n") {
        let error = client.login_by_scram(user, nonce, salted).unwrap_err();
        assert!(matches!(error, Error::Sasl(SaslError::Unproven)), "a server that proves nothing: {error}");
    }
    for mut client in clients("-ERR [AUTH] no\r\n") {
        let error = client.login_by_scram(user, nonce, salted).unwrap_err();
        assert_eq!(error.to_string(), "it refuses AUTH: [AUTH] no");
    }
}

#[test]
fn what_came_before_tls_is_not_taken_for_what_comes_in_it() {
    let mut client = clients("+OK\r\n+OK injected\r\n").last().unwrap();
    assert!(matches!(client.start_tls(), Err(Error::Garbage(_))));
    let mut client = clients("+OK\r\n").last().unwrap();
    client.start_tls().unwrap();
}

#[test]
fn a_server_that_talks_nonsense_is_no_pop3_server() {
    let line = "x".repeat(100_000);
    for says in [
        "hello\r\n",
        "+OK\r\n1\r\n.\r\n",
        "+OK\r\none 1\r\n.\r\n",
        "+OK\r\n1 1\r\n.\r\n+OK\r\n.\r\n",
        "+OK\r\n1 99999999999999999999999\r\n.\r\n",
        &line,
        &format!("+OK\r\n{line}\r\n"),
        &format!("+OK {}\r\n.\r\n", &line[..510]),
        &format!("+OK\r\n1 1\r\n.\r\n+OK\r\n1 {}\r\n.\r\n", &line[..129]),
    ] {
        for mut client in clients(says).skip(2) {
            assert!(matches!(client.list(), Err(Error::Garbage(_))), "{says:.40}");
        }
    }
    for mut client in clients("+OK\r\n1 1\r\n") {
        assert!(matches!(client.list(), Err(Error::Closed)));
    }
    for mut client in clients(&format!("+OK\r\n{line}")).skip(2) {
        let error = client.retrieve(1, 50_000, &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("more than the mail has"), "{error}");
    }
}
