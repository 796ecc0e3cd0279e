use mail_parser::{HeaderForm, HeaderValue, Message, MessageParser, MimeHeaders};

use super::*;

fn mailbox(text: &str) -> Mailbox {
    Mailbox::parse(text).unwrap()
}

fn draft() -> Draft {
    Draft {
        from: mailbox("Alice Ä <alice@example.com>"),
        to: vec![mailbox("bob@example.org")],
        cc: Vec::new(),
        bcc: Vec::new(),
        subject: "Lunch".into(),
        text: "At noon?\n".into(),
        attachments: Vec::new(),
        fields: Vec::new(),
    }
}

const STAMP: Stamp = Stamp { unix_secs: 1_795_473_601, unique: 0xabc };

fn built(draft: &Draft) -> (Envelope, Vec<u8>) {
    let (envelope, octets) = draft.build(STAMP).unwrap();
    let lines: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
    let (last, whole) = lines.split_last().unwrap();
    assert!(last.is_empty(), "ends within a line");
    for line in whole {
        let line = line.strip_suffix(b"\r").expect("every LF stands behind a CR");
        assert!(!line.contains(&b'\r') && line.len() <= 998, "{}", String::from_utf8_lossy(line));
    }
    (envelope, octets)
}

fn parsed(octets: &[u8]) -> Message<'_> {
    MessageParser::default().parse(octets).unwrap()
}

#[test]
fn a_mailbox_is_an_address_with_or_without_a_name() {
    for (text, name, address) in [
        ("a@b", "", "a@b"),
        (" <a@b> ", "", "a@b"),
        ("Alice Ä <alice@example.com>", "Alice Ä", "alice@example.com"),
        ("\"Doe, \\\"J\\\"\" <j@b>", "Doe, \"J\"", "j@b"),
        ("a <x> b <\"x y\"@b>", "a <x> b", "\"x y\"@b"),
        ("x@bücher.example", "", "x@xn--bcher-kva.example"),
        ("jörg@x", "", "jörg@x"),
    ] {
        let Mailbox { name: read_name, address: read } = mailbox(text);
        assert_eq!((read_name.as_str(), read.to_string().as_str()), (name, address), "{text}");
    }
    for text in ["", "a", "<a@b", "a@b>", "a@b c", "Alice alice@b", "<>", "a@b, c@d"] {
        assert_eq!(Mailbox::parse(text), Err(ComposeError::NoAddress(text.trim().into())), "{text}");
    }
    assert_eq!(Mailbox::parse("a <a@b>\r\nBcc: x@y"), Err(ComposeError::Control));
}

#[test]
fn a_list_of_mailboxes_is_cut_at_its_commas_only() {
    let list = Mailbox::parse_list("a@b,\"C, d\" <c@d>, E <e@f>").unwrap();
    let names: Vec<&str> = list.iter().map(|mailbox| mailbox.name.as_str()).collect();
    assert_eq!(names, ["", "C, d", "E"]);
    assert!(Mailbox::parse_list("a@b,").is_err());
}

#[test]
fn a_draft_becomes_a_mail_that_reads_back_as_it_was_written() {
    let draft = Draft {
        to: vec![mailbox("Zoë \"Z\" Ÿ <zoe@example.org>"), mailbox("\"Doe, J\" <\"j d\"@example.org>")],
        cc: vec![mailbox("carol@example.org")],
        subject:
            "Grüße 🎉 and a subject that is so long that it does not fit one line of seventy-eight characters"
                .into(),
        text: "Grüße\r\n.\nlone\rline\n\n".to_owned() + &"long ".repeat(300),
        ..draft()
    };
    let (envelope, octets) = built(&draft);
    assert!(octets.is_ascii());
    assert_eq!((envelope.body, envelope.smtputf8), (Body::SevenBit, false));
    assert_eq!(envelope.reverse_path.unwrap().to_string(), "alice@example.com");
    let mail = parsed(&octets);
    assert_eq!(mail.subject(), Some(draft.subject.as_str()));
    let from = mail.from().unwrap().first().unwrap();
    assert_eq!((from.name(), from.address()), (Some("Alice Ä"), Some("alice@example.com")));
    let to: Vec<_> =
        mail.to().unwrap().iter().map(|one| (one.name().unwrap(), one.address().unwrap())).collect();
    assert_eq!(to[0], ("Zoë \"Z\" Ÿ", "zoe@example.org"));
    assert_eq!(to[1].0, "Doe, J");
    let text = mail.body_text(0).unwrap().replace("\r\n", "\n");
    let long = "long ".repeat(300);
    assert_eq!(text.trim_end(), format!("Grüße\n.\nlone\nline\n\n{}", long.trim_end()));
    assert_eq!(mail.message_id(), Some("6b04c0c1.0000000000000abc@example.com"));
    let header = String::from_utf8_lossy(&octets);
    for field in
        ["Date: Mon, 23 Nov 2026 22:40:01 +0000\r\n", "MIME-Version: 1.0\r\n", "charset=\"utf-8\"\r\n"]
    {
        assert!(header.contains(field), "{field} in {header}");
    }
}

const LONG_NAME: &str = "a name that goes on and on, and does not fit one line of a header at all, but has words, \
                         and_one_word_that_is_itself_longer_than_a_whole_line_of_seventy-eight_characters_may_be.zip";

#[test]
fn an_attachment_arrives_as_it_is_under_its_name() {
    let every: Vec<u8> = (0..=255).cycle().take(10_000).collect();
    let attachments = [
        ("every.bin", every.as_slice(), "application/octet-stream"),
        ("Größe \u{1f389}.pdf", b"%PDF", "application/pdf"),
        ("a \"b\"\\c.txt", b"one\ntwo\r\nthree\r.\n", "text/plain"),
        ("umlaut.txt", "Grüße\n".as_bytes(), "text/plain"),
        ("empty.png", b"", "image/png"),
        (LONG_NAME, b"x", "application/zip"),
    ];
    let made =
        attachments.map(|(name, content, _)| Attachment { name: name.into(), content: content.to_vec() });
    let (_, octets) = built(&Draft { attachments: made.to_vec(), ..draft() });
    assert!(octets.is_ascii());
    let mail = parsed(&octets);
    assert_eq!(mail.body_text(0).unwrap().trim_end(), "At noon?");
    let found: Vec<_> = mail.attachments().collect();
    assert_eq!(found.len(), attachments.len());
    for (found, (name, content, kind)) in found.iter().zip(attachments) {
        assert_eq!(found.attachment_name(), Some(name));
        let found_kind = found.content_type().unwrap();
        assert_eq!(format!("{}/{}", found_kind.ctype(), found_kind.subtype().unwrap()), kind);
        assert_eq!(found.contents(), content, "{name}");
    }
}

#[test]
fn nobody_is_named_who_gets_a_blind_copy() {
    let bcc = vec![mailbox("secret@example.org"), mailbox("bob@example.org")];
    let (envelope, octets) = built(&Draft { bcc: bcc.clone(), ..draft() });
    let paths: Vec<String> = envelope.forward_paths.iter().map(Address::to_string).collect();
    assert_eq!(paths, ["bob@example.org", "secret@example.org"], "each once");
    assert!(!String::from_utf8_lossy(&octets).contains("secret"));
    let (_, octets) = built(&Draft { to: vec![], bcc, ..draft() });
    assert!(String::from_utf8_lossy(&octets).contains("\r\nTo: undisclosed-recipients:;\r\n"));
}

#[test]
fn no_header_field_can_be_smuggled_in() {
    for subject in ["x\r\nBcc: y@z", "x\ny", "x\ry", "x\0"] {
        let draft = Draft { subject: subject.into(), ..draft() };
        assert_eq!(draft.build(STAMP), Err(ComposeError::Control), "{subject:?}");
    }
    assert_eq!(Field::parse("X: a\nBcc: b@c"), Err(ComposeError::Control));
    assert_eq!(Field::parse("bcc: b@c"), Err(ComposeError::MadeField("bcc".into())));
    for text in ["", "X", "X:", ": x", "X Y: z", "Ä: x", "X: "] {
        assert_eq!(Field::parse(text), Err(ComposeError::NoField(text.into())), "{text:?}");
    }
    assert_eq!(Draft { to: vec![], ..draft() }.build(STAMP), Err(ComposeError::NoRecipient));
    let attachments = vec![Attachment { name: "a\r\nX: y.txt".into(), content: vec![] }];
    let (_, octets) = built(&Draft { attachments, ..draft() });
    assert_eq!(parsed(&octets).attachment(0).unwrap().attachment_name(), Some("a__X: y.txt"));
}

#[test]
fn a_field_of_ones_own_is_there_whole() {
    let fields =
        ["X-Foo: bar", "X-Umlaut: Grüße", "Reply-To: Zoë <zoe@example.org>", "In-Reply-To: <1@a> <2@b>"];
    let fields = fields.map(|text| Field::parse(text).unwrap()).to_vec();
    let long = Field::parse(&format!("X-Long: {}", "word ".repeat(50))).unwrap();
    let (_, octets) = built(&Draft { fields: [fields, vec![long]].concat(), ..draft() });
    assert!(octets.is_ascii());
    let mail = parsed(&octets);
    let text = |name: &str| match mail.header_as(name, HeaderForm::Text).pop() {
        Some(HeaderValue::Text(text)) => text.into_owned(),
        other => panic!("{name}: {other:?}"),
    };
    assert_eq!(text("X-Foo"), "bar");
    assert_eq!(text("X-Umlaut"), "Grüße");
    assert_eq!(text("X-Long"), "word ".repeat(50).trim_end());
    let reply_to = mail.reply_to().unwrap().first().unwrap();
    assert_eq!((reply_to.name(), reply_to.address()), (Some("Zoë"), Some("zoe@example.org")));
    assert_eq!(mail.in_reply_to().as_text_list().map(<[_]>::len), Some(2));
    let wrong = Draft { fields: vec![Field::parse("Reply-To: nobody").unwrap()], ..draft() };
    assert_eq!(wrong.build(STAMP), Err(ComposeError::NoAddress("nobody".into())));
}

#[test]
fn what_looks_encoded_is_read_as_it_is_written() {
    let subject = "=?utf-8?Q?=41?= and so on, for more than one line of seventy-eight characters, =?x";
    let names =
        ["=?utf-8?Q?=41?=.txt", "ä =?utf-8?Q?=41?=.txt", "a long =?utf-8?Q?=41?= (which %41 is none)'*.txt"];
    let attachments = names.map(|name| Attachment { name: name.into(), content: b"x".to_vec() }).to_vec();
    let (_, octets) = built(&Draft { subject: subject.into(), attachments, ..draft() });
    assert!(octets.is_ascii());
    let header = String::from_utf8_lossy(&octets);
    assert!(!header.contains("Q?=41?="), "{header}");
    let mail = parsed(&octets);
    assert_eq!(mail.subject(), Some(subject));
    let found: Vec<_> = mail.attachments().map(|one| one.attachment_name().unwrap()).collect();
    assert_eq!(found, names);
    let subject = "=?utf-8?Q?=41?= ä";
    let (_, octets) = built(&Draft { subject: subject.into(), ..draft() });
    assert_eq!(parsed(&octets).subject(), Some(subject));
}

#[test]
fn of_addresses_only_the_names_are_encoded() {
    for name in ADDRESS_FIELDS {
        let field = Field::parse(&format!("{name}: Zoë <z@x.example>")).unwrap();
        let (_, octets) = built(&Draft { fields: vec![field], ..draft() });
        let header = String::from_utf8_lossy(&octets);
        let line = header.lines().find(|line| line.starts_with(&format!("{name}: "))).unwrap();
        assert!(line.contains("=?utf-8?") && line.ends_with(" <z@x.example>"), "{line}");
    }
}

#[test]
fn no_line_is_longer_than_it_may_be() {
    let long = "x".repeat(HEADER_WORD_MAX);
    let field = |text: &str| Field::parse(&format!("X: {text}")).unwrap();
    built(&Draft { fields: vec![field(&format!("{long} {long}"))], ..draft() });
    let wrong = Draft { fields: vec![field(&format!("a {long}x"))], ..draft() };
    assert_eq!(wrong.check(), Err(ComposeError::LongWord("X".into())));
    let umlauts = "ä".repeat(2000);
    let to = vec![mailbox(&format!("{long}{long} <a@b>"))];
    built(&Draft { subject: long.repeat(2), fields: vec![field(&umlauts)], to, ..draft() });
}

#[test]
fn a_text_with_nul_is_no_text() {
    let wrong = Draft { text: "a\0b".into(), ..draft() };
    assert_eq!(wrong.build(STAMP), Err(ComposeError::Nul));
}

#[test]
fn an_envelope_asks_what_its_octets_and_addresses_need() {
    let asks = |path: &str, octets: &[u8]| {
        let envelope = envelope(None, vec![Address::parse(path.as_bytes()).unwrap()], octets);
        (envelope.body == Body::EightBitMime, envelope.smtputf8)
    };
    assert_eq!(asks("a@b", b"A: b\r\n\r\nx\r\n"), (false, false));
    assert_eq!(asks("a@b", "A: b\r\n\r\nü\r\n".as_bytes()), (true, false));
    assert_eq!(asks("a@b", "A: ü\r\n\r\nx\r\n".as_bytes()), (true, true));
    assert_eq!(
        asks("a@b", b"A: \xfc\r\n\r\nx\r\n"),
        (true, false),
        "Latin-1 is no UTF-8, whatever the server offers"
    );
    assert_eq!(asks("jörg@b", b"A: b\r\n\r\nx\r\n"), (false, true));
}
