//! The data as a chunk (RFC 3030).

use super::*;

#[test]
fn a_chunk_goes_with_its_envelope_as_one_output() {
    greeted(manner(Grouping::Chunked), CHUNKS, |talk| {
        for _ in 0..2 {
            talk.start(2, Form::Chunk);
            assert_eq!(talk.said(), format!("{ENVELOPE_2}BDAT 4 LAST\r\nhi\r\n"));
            let heard = talk.hear("250 ok\r\n250 ok\r\n550 no\r\n250 taken\r\n").unwrap();
            assert_eq!(
                heard,
                [(Phase::Mail, 250), (Phase::Rcpt, 250), (Phase::Rcpt, 550), (Phase::Accept, 250)]
            );
            assert!(talk.client.is_idle());
        }
    });
}

#[test]
fn a_chunk_waits_for_a_recipient_where_nothing_is_pipelined() {
    greeted(manner(Grouping::Chunked), CHUNKS_ONE_BY_ONE, |talk| {
        talk.start(1, Form::Chunk);
        talk.goes(&[
            ("", "MAIL FROM:<a@b>\r\n"),
            ("250 ok\r\n", "RCPT TO:<r0@x>\r\n"),
            ("250 ok\r\n", "BDAT 4 LAST\r\nhi\r\n"),
        ]);
        assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Accept, 250)]));
        talk.start(1, Form::Chunk);
        talk.goes(&[
            ("", "MAIL FROM:<a@b>\r\n"),
            ("250 ok\r\n", "RCPT TO:<r0@x>\r\n"),
            ("550 no\r\n", "RSET\r\n"),
        ]);
        assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Reset, 250)]));
        assert!(talk.client.is_idle());
    });
}

#[test]
fn a_server_without_chunking_is_told_apart_and_never_given_data_instead() {
    talk(manner(Grouping::Chunked), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n")]);
        assert_eq!(talk.hear(OFFERS), Err(Error::NotOffered(Extension::Chunking)));
        assert!(talk.client.is_over() && talk.said().is_empty());
    });
    talk(manner(Grouping::Chunked), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), ("500 what\r\n", "HELO me\r\n")]);
        assert_eq!(talk.hear("250 me\r\n"), Err(Error::NotOffered(Extension::Chunking)));
    });
}

#[test]
fn after_a_refused_chunk_the_transaction_is_reset_if_there_is_one() {
    greeted(manner(Grouping::Chunked), CHUNKS, |talk| {
        for refused in ["250 ok\r\n550 no\r\n503 none\r\n", "250 ok\r\n250 ok\r\n452 full\r\n"] {
            talk.start(1, Form::Chunk);
            talk.said();
            talk.goes(&[(refused, "RSET\r\n"), ("250 ok\r\n", "")]);
            assert!(talk.client.is_idle());
        }
        talk.start(1, Form::Chunk);
        talk.said();
        talk.goes(&[("451 no\r\n503 no\r\n503 no\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn the_octets_of_a_chunk_refused_before_its_end_are_still_sent_for_the_server_counts_them() {
    for offers in [CHUNKS, CHUNKS_ONE_BY_ONE] {
        greeted(manner(Grouping::Chunked), offers, |talk| {
            talk.start(1, Form::Chunk);
            for reply in ["250 ok\r\n", "250 ok\r\n"] {
                let unsent = talk.client.output().concat().len();
                talk.client.sent(unsent.saturating_sub(if offers == CHUNKS { 2 } else { 0 }));
                talk.hear(reply).unwrap();
            }
            let unsent = talk.client.output().concat().len();
            talk.client.sent(unsent - 2);
            assert_eq!(talk.hear("552 large\r\n"), Ok(vec![(Phase::Accept, 552)]));
            assert_eq!(talk.said(), "\r\nRSET\r\n");
            assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Reset, 250)]));
            assert!(talk.client.is_idle());
        });
    }
}

#[test]
fn nobody_takes_responsibility_for_a_message_to_nobody() {
    greeted(manner(Grouping::Chunked), CHUNKS, |talk| {
        talk.start(1, Form::Chunk);
        talk.said();
        let heard = talk.hear("250 ok\r\n550 no\r\n250 taken\r\n");
        assert_eq!(heard, Err(Error::OutOfPlace(Phase::Accept, 250)));
    });
}

#[test]
#[should_panic(expected = "data in the form of the other grouping")]
fn data_in_the_other_form_is_a_mistake_of_the_program() {
    greeted(manner(Grouping::Chunked), CHUNKS, |talk| talk.start(1, Form::Stuffed));
}
