//! LMTP (RFC 2033).

use super::*;

#[test]
fn lmtp_has_a_reply_for_each_recipient_that_was_taken() {
    let three = "MAIL FROM:<a@b>\r\nRCPT TO:<r0@x>\r\nRCPT TO:<r1@x>\r\nRCPT TO:<r2@x>\r\n";
    greeted(lmtp(Grouping::Pipelined), OFFERS, |talk| {
        for _ in 0..2 {
            talk.start(3, Form::Stuffed);
            assert_eq!(talk.said(), format!("{three}DATA\r\n"));
            talk.goes(&[("250 ok\r\n250 ok\r\n550 no\r\n250 ok\r\n354 go\r\n", "hi\r\n.\r\n")]);
            assert_eq!(talk.hear_with_recipients("250 ok\r\n"), Ok(vec![(Phase::Accept, 250, Some(0))]));
            assert!(!talk.client.is_idle());
            assert_eq!(talk.hear_with_recipients("452 full\r\n"), Ok(vec![(Phase::Accept, 452, Some(2))]));
            assert!(talk.client.is_idle());
        }
    });
    greeted(lmtp(Grouping::Chunked), CHUNKS, |talk| {
        for _ in 0..2 {
            talk.start(3, Form::Chunk);
            assert_eq!(talk.said(), format!("{three}BDAT 4 LAST\r\nhi\r\n"));
            let heard = talk.hear_with_recipients("250 a\r\n550 b\r\n250 c\r\n250 d\r\n552 e\r\n250 f\r\n");
            let outcomes = [(Phase::Accept, 552, Some(1)), (Phase::Accept, 250, Some(2))];
            assert_eq!(heard.unwrap()[4..], outcomes);
            assert!(talk.client.is_idle());
        }
    });
}

#[test]
fn lmtp_has_no_other_hello() {
    talk(lmtp(Grouping::Lockstep), |talk| {
        talk.goes(&[("220 hi\r\n", "LHLO me\r\n"), ("500 what\r\n", "QUIT\r\n"), ("221 bye\r\n", "")]);
        assert!(talk.client.is_over());
    });
}

#[test]
fn lmtp_data_for_nobody_is_refused_or_the_end() {
    greeted(lmtp(Grouping::Pipelined), OFFERS, |talk| {
        talk.start(1, Form::Stuffed);
        talk.said();
        talk.goes(&[("250 ok\r\n550 no\r\n503 none\r\n", "RSET\r\n"), ("250 ok\r\n", "")]);
        talk.start(1, Form::Stuffed);
        talk.said();
        let heard = talk.hear("250 ok\r\n550 no\r\n354 go\r\n");
        assert_eq!(
            heard,
            Err(Error::OutOfPlace(Phase::Data, 354)),
            "the dot would have no reply to wait for"
        );
    });
}

#[test]
fn an_lmtp_chunk_for_nobody_may_be_refused_or_passed_over() {
    greeted(lmtp(Grouping::Chunked), CHUNKS, |talk| {
        for (refusal, phases) in [("", vec![]), ("503 none\r\n", vec![(Phase::Accept, 503)])] {
            talk.start(1, Form::Chunk);
            talk.said();
            talk.goes(&[("250 ok\r\n550 no\r\n", "RSET\r\n")]);
            assert_eq!(talk.hear(refusal), Ok(phases));
            assert_eq!(talk.said(), "", "RSET is said once");
            assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Reset, 250)]));
            assert!(talk.client.is_idle());
        }
    });
}
