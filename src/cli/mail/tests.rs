//! What a mail says, and what those that were made to break a reader do not break.

use proptest::prelude::*;

use super::*;

fn summary(mail: &str) -> Summary {
    Mail::of(mail.as_bytes()).summary
}

fn text(mail: &str) -> String {
    Mail::of(mail.as_bytes()).parts.text()
}

/// Name, type and data of each attachment.
fn attachments(mail: &str) -> Vec<(Option<String>, String, Vec<u8>)> {
    let mail = Mail::of(mail.as_bytes());
    let attachments = mail.parts.attachments();
    attachments.map(|it| (it.name.map(str::to_owned), it.kind.to_owned(), it.data.into_owned())).collect()
}

fn person(name: Option<&str>, address: &str) -> Person {
    Person { name: name.map(str::to_owned), address: Some(address.to_owned()) }
}

#[test]
fn a_header_is_decoded() {
    let summary = summary(
        "Return-Path: <bounce@x>\r\nFrom: =?utf-8?q?J=C3=B6rg?=\r\n  <joerg@x.example>, Other <o@x>\r\n\
         To: a@x, \"B, C\" <bc@x>\r\nto: d@x\r\nDate: Mon, 23 Nov 2026 23:40:01 +0100\r\n\
         SUBJECT: =?iso-8859-1?q?=FCber?=\r\n\t=?utf-8?b?IHVucw==?= now\r\n\r\nbody",
    );
    assert_eq!(summary.from, Some(person(Some("Jörg"), "joerg@x.example")));
    assert_eq!(summary.to, [person(None, "a@x"), person(Some("B, C"), "bc@x"), person(None, "d@x")]);
    assert_eq!(summary.date, Some(1_795_473_601));
    assert_eq!(summary.subject.as_deref(), Some("über uns now"));
}

#[test]
fn a_header_ends_where_it_should_and_where_it_must() {
    for (mail, subject, body) in [
        ("Subject: a\r\n\r\nb\r\n", Some("a"), "b\n"),
        ("Subject: a\n\nb\n", Some("a"), "b\n"),
        ("Subject: a", Some("a"), ""),
        ("From x@y Mon Nov 23\nSubject: a\n\nb", Some("a"), "b\n"),
        ("Subject : a\n\nb", Some("a"), "b\n"),
        ("Subject: a\nno field, but text\nmore", Some("a"), "no field, but text\nmore\n"),
        ("no header: at all\nmore", None, "no header: at all\nmore\n"),
        ("\r\nSubject: a", None, "Subject: a\n"),
        ("", None, ""),
        ("Subject:\r\n\r\nx", None, "x\n"),
        (" odd\nSubject: a\n\nb", None, " odd\nSubject: a\n\nb\n"),
    ] {
        assert_eq!((summary(mail).subject.as_deref(), text(mail).as_str()), (subject, body), "{mail:?}");
    }
}

const MIXED: &str = "Content-Type: multipart/mixed; boundary=\"a b\"\r\n\r\npreamble\r\n--a b\r\n\
Content-Type: multipart/alternative; boundary=inner\r\n\r\n\
--inner\r\nContent-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nf=FCr=\r\n dich\r\n\
--inner\r\nContent-Type: text/html\r\n\r\n<p>for you</p>\r\n--inner--\r\nepilogue\r\n\
--a b  \r\nContent-Type: application/pdf; name=x.pdf\r\nContent-Transfer-Encoding: base64\r\n\
Content-Disposition: attachment; filename*=utf-8''%C3%BC.pdf\r\n\r\nAAEC\r\nAw==\r\n\
--a b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nforwarded\r\n--a b--\r\nepilogue\r\n";

#[test]
fn the_text_is_shown_once_and_the_rest_is_attached() {
    assert_eq!(text(MIXED), "für dich\n");
    let pdf = (Some("ü.pdf".to_owned()), "application/pdf".to_owned(), vec![0, 1, 2, 3]);
    let forwarded = (None, "message/rfc822".to_owned(), b"Subject: inner\r\n\r\nforwarded".to_vec());
    assert_eq!(attachments(MIXED), [pdf, forwarded]);
}

#[test]
fn html_is_shown_as_text_where_there_is_no_other() {
    let html = "Content-Type: multipart/alternative; boundary=b\n\n--b\nContent-Type: text/html; charset=utf-8\n\n<b>für</b> dich\n--b--\n";
    assert_eq!(text(html), "für dich\n");
    assert_eq!(text("Content-Type: text/html\n\n<p>one</p><p>two</p>"), "one\n\ntwo\n");
}

#[test]
fn what_is_broken_is_read_as_far_as_it_goes() {
    for (mail, expected) in [
        // No delimiter at all, none at the end, only the last.
        ("Content-Type: multipart/mixed; boundary=b\n\ntext\n", "text\n"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext", "text\n"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b--\n", "--b--\n"),
        ("Content-Type: multipart/mixed\n\n--b\n\ntext\n--b--\n", "--b\n\ntext\n--b--\n"),
        ("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b", ""),
        // Encodings and character sets that are none, and base64 with what does not belong there.
        ("Content-Transfer-Encoding: x-odd\n\ntext", "text\n"),
        ("Content-Type: text/plain; charset=x-odd\n\nf\u{fc}r", "für\n"),
        ("Content-Transfer-Encoding: base64\n\nZvxyIGRp*Y2g", "f\u{fffd}r dich\n"),
        ("Content-Transfer-Encoding: quoted-printable\n\n100=% sure", "100=% sure\n"),
        ("Content-Type: ;;;=\n\ntext", "text\n"),
    ] {
        assert_eq!(text(mail), expected, "{mail:?}");
    }
}

#[test]
fn a_mail_that_was_made_to_exhaust_its_reader_does_not() {
    let deep = |depth: usize| {
        let open = |n| format!("Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n");
        (0..depth).map(open).collect::<String>() + "\ndeep"
    };
    assert!(text(&deep(20)).ends_with("deep\n"));
    assert!(!text(&deep(10_000)).is_empty());
    // Many parts, each with a boundary that is not there; messages within messages.
    let part = "--b\nContent-Type: multipart/mixed; boundary=no\n\n";
    let many = format!("Content-Type: multipart/mixed; boundary=b\n\n{}", part.repeat(20_000));
    assert!(Mail::of(many.as_bytes()).parts.attachments().count() <= fastsmtp::limits::PARTS_MAX);
    let nested = "Content-Type: message/rfc822\n\n".repeat(20_000);
    assert_eq!(attachments(&nested).len(), 1);
    // Fields that cost more than in proportion, were they read whole.
    for field in ["Subject: ", "From: ", "Content-Type: a/b; ", "Date: "] {
        for filling in ["=?utf-8?q?", "x*0=1;", "<(\"", "\n ", "a@b,"] {
            let mail = format!("{field}{}\n\n", filling.repeat(300_000 / filling.len()));
            assert_eq!(text(&mail).trim(), "");
        }
    }
}

#[test]
fn what_is_wanted_is_found_in_sender_subject_and_text() {
    let mail = "From: Alice <alice@x>\nSubject: =?utf-8?q?R=C3=84tsel?=\nContent-Type: text/html\n\n<b>Please</b> con<i>firm</i>";
    let is_in = |texts: &[&str]| {
        Wanted::new(&texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>()).is_in(mail.as_bytes())
    };
    for found in [&[][..], &["ALICE"], &["rätsel"], &["please"], &["alice@x", "Rätsel", "Please"]] {
        assert!(is_in(found), "{found:?}");
    }
    for missing in [&["bob"][..], &["alice", "bob"], &["<b>"]] {
        assert!(!is_in(missing), "{missing:?}");
    }
}

/// Pieces that mails are made of, in any order.
fn octets() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just(&b"\r\n"[..]),
        Just(&b"\n\n"[..]),
        Just(&b"--b\n"[..]),
        Just(&b"--b--\r\n"[..]),
        Just(&b"Content-Type: multipart/alternative; boundary=b\r\n\r\n"[..]),
        Just(&b"Content-Type: text/html; charset=utf-7\r\n"[..]),
        Just(&b"Content-Type: text/plain; charset=iso-2022-jp\r\n"[..]),
        Just(&b"Content-Transfer-Encoding: base64\r\n"[..]),
        Just(&b"Content-Transfer-Encoding: quoted-printable\r\n"[..]),
        Just(&b"Content-Disposition: attachment; filename*0*=utf-8''%"[..]),
        Just(&b"Subject: =?utf-8?q?=?= =?x?b?"[..]),
        Just(&b"From: (\"<@:;,\\"[..]),
        Just(&b"Date: 99 Feb 0000 99:99 -9999\n"[..]),
        Just(&b"<a href='<!--&#xffffff;&amp"[..]),
        Just(&b"\xff\x00\x1b\xc3="[..]),
    ];
    let odd = prop::collection::vec(any::<u8>(), 0..8);
    prop::collection::vec(prop_oneof![3 => piece.prop_map(<[u8]>::to_vec), 1 => odd], 0..40)
        .prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn no_octets_break_a_reader(octets in octets()) {
        let mail = Mail::of(&octets);
        let _ = (mail.parts.text(), mail.parts.attachments().count());
        for field in mail.fields.iter() {
            let _ = (field.text(), mail.fields.people(field.name), mail.fields.date(field.name), mail.fields.kind(field.name));
        }
        Wanted::new(&["x".to_owned()]).is_in(&octets);
    }
}
