//! What the session promises of the dialogue: every command in every state, and transcripts that mean the same however
//! their bytes are cut.

mod common;

use common::dialogue::{Dialogue, MESSAGE_SIZE_MAX, codes, run, run_spilling, run_three_ways};
use fastsmtp::smtp::CloseReason;
use proptest::prelude::*;

const EHLO: &str = "EHLO client.example\r\n";
const MAIL: &str = "MAIL FROM:<a@sender.example>\r\n";
const RCPT: &str = "RCPT TO:<user@example.com>\r\n";

/// Replies to `input` after `setup`, which is answered first.
fn codes_after(setup: &str, input: &str) -> Vec<u16> {
    let before = run(setup.as_bytes(), &[]).codes().len();
    let all = run_three_ways(format!("{setup}{input}").as_bytes()).codes();
    all[before..].to_vec()
}

/// The states in which commands are read, each with the dialogue that leads there.
fn states() -> [(&'static str, String); 5] {
    [
        ("start", String::new()),
        ("ready", EHLO.into()),
        ("mail", format!("{EHLO}{MAIL}")),
        ("rcpt", format!("{EHLO}{MAIL}{RCPT}")),
        ("chunks", format!("{EHLO}{MAIL}{RCPT}BDAT 3\r\nabc")),
    ]
}

#[test]
fn every_command_has_its_reply_in_every_state() {
    // Columns: start, ready, mail, rcpt, chunks.
    let table: &[(&str, [&[u16]; 5])] = &[
        ("EHLO x.example\r\n", [&[250]; 5]),
        ("HELO x.example\r\n", [&[250]; 5]),
        ("EHLO\r\n", [&[501]; 5]),
        (MAIL, [&[503], &[250], &[503], &[503], &[503]]),
        ("MAIL FROM:<a@b@c>\r\n", [&[501]; 5]),
        (RCPT, [&[503], &[503], &[250], &[250], &[503]]),
        ("RCPT TO:<user@other.example>\r\n", [&[503], &[503], &[550], &[550], &[503]]),
        ("RCPT TO:<>\r\n", [&[501]; 5]),
        ("DATA\r\n", [&[503], &[503], &[554], &[354], &[503]]),
        ("DATA x\r\n", [&[501]; 5]),
        ("BDAT 4\r\nQUIT", [&[503], &[503], &[503], &[250], &[250]]),
        ("BDAT 4 LAST\r\nQUIT", [&[503], &[503], &[503], &[250], &[250]]),
        ("BDAT 0\r\n", [&[503], &[503], &[503], &[250], &[250]]),
        ("RSET\r\n", [&[250]; 5]),
        ("RSET x\r\n", [&[501]; 5]),
        ("NOOP\r\n", [&[250]; 5]),
        ("VRFY someone\r\n", [&[252]; 5]),
        ("VRFY\r\n", [&[501]; 5]),
        ("EXPN list\r\n", [&[502]; 5]),
        ("HELP\r\n", [&[214]; 5]),
        ("QUIT\r\n", [&[221]; 5]),
        ("WIBBLE\r\n", [&[500]; 5]),
        ("STARTTLS\r\n", [&[502]; 5]),
        ("AUTH PLAIN AGEAYg==\r\n", [&[502]; 5]),
        ("\r\n", [&[500]; 5]),
        ("NOOP\n", [&[500]; 5]),
        ("NO\rOP\r\n", [&[500]; 5]),
        ("GET / HTTP/1.1\r\n", [&[421]; 5]),
        ("\u{16}\u{3}\u{1}", [&[421]; 5]),
        ("BDAT x\r\n", [&[501]; 5]),
    ];
    for (input, expected) in table {
        for ((state, setup), expected) in states().iter().zip(expected) {
            assert_eq!(codes_after(setup, input), **expected, "{input:?} in state {state}");
        }
    }
}

#[test]
fn every_command_leaves_the_state_that_the_rfc_has() {
    // After the command, DATA tells the states apart: 503 without a transaction or among chunks, 554 without a
    // recipient, 354 with one.
    let table: &[(&str, [u16; 5])] = &[
        ("NOOP\r\n", [503, 503, 554, 354, 503]),
        ("EHLO\r\n", [503, 503, 554, 354, 503]),
        ("MAIL FROM:<a@b@c>\r\n", [503, 503, 554, 354, 503]),
        ("RCPT TO:<user@other.example>\r\n", [503, 503, 554, 354, 503]),
        (RCPT, [503, 503, 354, 354, 503]),
        (MAIL, [503, 554, 554, 354, 503]),
        ("RSET\r\n", [503; 5]),
        ("EHLO x.example\r\n", [503; 5]),
        ("BDAT 4 LAST\r\nQUIT", [503, 503, 554, 503, 503]),
        ("BDAT 4\r\nQUIT", [503, 503, 554, 503, 503]),
        ("NOOP\nNOOP\r\n", [503, 503, 554, 354, 503]),
    ];
    for (input, expected) in table {
        for ((state, setup), expected) in states().iter().zip(expected) {
            let codes = codes_after(setup, &format!("{input}DATA\r\n"));
            assert_eq!(codes.last(), Some(expected), "{input:?} then DATA in state {state}");
        }
    }
}

#[test]
fn a_message_is_taken_unstuffed_and_otherwise_as_it_came() {
    let data = "Subject: x\r\n\r\n..dot\r\n.. two\r\n\0 nul\r\n.\r\n";
    let dialogue = run_three_ways(format!("{EHLO}{MAIL}{RCPT}DATA\r\n{data}QUIT\r\n").as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 354, 250, 221]);
    assert_eq!(dialogue.messages[0].data, b"Subject: x\r\n\r\n.dot\r\n. two\r\n\0 nul\r\n");
    assert_eq!(dialogue.closed, Some(CloseReason::Quit));
}

#[test]
fn nothing_but_crlf_dot_crlf_ends_the_data_and_what_looks_like_it_spoils_the_message() {
    for end in [
        "\n.\n",
        "\n.\r\n",
        "\r\n.\n",
        "\r.\r",
        "\r.\n",
        "\r.\r\n",
        "\n.\r",
        "\r\n.\r",
        "\r\n.\r\r\n",
        "\r\r\n.\r\r\n",
        "\n\r.\n\r",
    ] {
        let input =
            format!("{EHLO}{MAIL}{RCPT}DATA\r\nbefore{end}{MAIL}{RCPT}DATA\r\nsmuggled\r\n.\r\nNOOP\r\n");
        let dialogue = run_three_ways(input.as_bytes());
        assert_eq!(dialogue.codes(), [250, 250, 250, 354, 550, 250], "{end:?}");
        assert!(dialogue.messages.is_empty());
    }
    for text in ["\r\n.\0\r\n", "\r\n. \r\n", "\u{b}.\u{b}", "\r\n\u{ff0e}\r\n"] {
        let input = format!("{EHLO}{MAIL}{RCPT}DATA\r\nbefore{text}after\r\n.\r\n");
        let dialogue = run_three_ways(input.as_bytes());
        assert_eq!(dialogue.codes(), [250, 250, 250, 354, 250], "{text:?}");
        let unstuffed = format!("before{text}after\r\n").replace("\r\n.", "\r\n");
        assert_eq!(dialogue.messages[0].data, unstuffed.as_bytes());
    }
}

#[test]
fn a_message_over_the_limit_is_read_to_its_end_and_then_refused() {
    let line = format!("{}\r\n", "x".repeat(98));
    let over = line.repeat(MESSAGE_SIZE_MAX as usize / 100 + 1);
    let input = format!("{EHLO}{MAIL}{RCPT}DATA\r\n{over}..\r\nNOOP\r\n.\r\n{MAIL}");
    assert_eq!(run_three_ways(input.as_bytes()).codes(), [250, 250, 250, 354, 552, 250]);
    let exact = line.repeat(MESSAGE_SIZE_MAX as usize / 100);
    assert_eq!(
        run_three_ways(format!("{EHLO}{MAIL}{RCPT}DATA\r\n{exact}.\r\n").as_bytes()).messages.len(),
        1
    );
    let declared = format!("MAIL FROM:<a@b.example> SIZE={}\r\n", MESSAGE_SIZE_MAX + 1);
    assert_eq!(codes_after(EHLO, &declared), [552]);
}

#[test]
fn chunks_are_counted_octets_whatever_they_hold() {
    let input = format!("{EHLO}{MAIL}{RCPT}BDAT 8\r\n..a\r\n.\r\nbdat 4\r\nQUITBDAT 3 LAST\r\n.\r\nNOOP\r\n");
    let dialogue = run_three_ways(input.as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 250, 250, 250, 250]);
    assert_eq!(dialogue.messages[0].data, b"..a\r\n.\r\nQUIT.\r\n");
}

#[test]
fn a_refused_chunk_is_not_executed() {
    let chunk = "MAIL FROM:<x@y.example>\r\nRSET\r\n";
    let input = format!("BDAT {} LAST\r\n{chunk}NOOP\r\n", chunk.len());
    for (state, setup) in &states()[..3] {
        assert_eq!(codes_after(setup, &input), [503, 250], "in state {state}");
    }
    // A chunk that breaks the rules ends the transaction; those behind it are refused too.
    let input = "BDAT 3\r\na\nbBDAT 4 LAST\r\nQUITNOOP\r\n";
    assert_eq!(codes_after(&states()[3].1, input), [550, 503, 250]);
    assert_eq!(
        codes_after(&states()[3].1, "BDAT 2 LAST\r\na\rNOOP\r\n"),
        [550, 250],
        "a CR at the very end is bare"
    );
    assert_eq!(codes_after(&states()[3].1, "BDAT 2\r\na\rBDAT 1 LAST\r\n\nNOOP\r\n"), [250, 250, 250]);
    assert_eq!(
        codes_after(&states()[3].1, "BDAT 5000 LAST\r\n").len(),
        0,
        "the refusal comes behind the chunk"
    );
}

#[test]
fn binary_goes_by_chunks_only_and_as_it_is() {
    let mail = "MAIL FROM:<a@sender.example> BODY=BINARYMIME\r\n";
    let input = format!("{EHLO}{mail}{RCPT}DATA\r\nBDAT 5 LAST\r\n\n\r\0\r\r");
    let dialogue = run_three_ways(input.as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 503, 250]);
    assert_eq!(dialogue.messages[0].data, b"\n\r\0\r\r");
}

#[test]
fn a_chunk_whose_size_is_unknown_ends_the_session() {
    let dialogue = run_three_ways(format!("{EHLO}{MAIL}{RCPT}BDAT 0x5 LAST\r\nNOOP\r\n").as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 501]);
    assert_eq!(dialogue.closed, Some(CloseReason::BadChunk));
}

#[test]
fn a_command_line_is_one_line_however_long_and_never_cut_in_two() {
    for length in [512, 1001, 2046] {
        let line = format!("NOOP {}\r\n", "a".repeat(length - 7));
        assert_eq!(run_three_ways(line.as_bytes()).codes(), [250], "{length}");
    }
    for length in [2047, 2048, 4096, 60_000] {
        let line = format!("NOOP {}NOOP\r\nNOOP\r\n", "a".repeat(length - 7));
        let dialogue = run_three_ways(line.as_bytes());
        assert_eq!(dialogue.codes(), [500, 250], "{length}");
    }
    for length in [66_000, 70_000] {
        let dialogue = run_three_ways(format!("{}\r\nNOOP\r\n", "y".repeat(length)).as_bytes());
        assert_eq!(dialogue.codes(), [421], "{length}");
        assert_eq!(dialogue.closed, Some(CloseReason::LineTooLong));
    }
}

#[test]
fn a_bare_lf_is_answered_once_and_the_line_goes_on_to_its_crlf() {
    assert_eq!(codes_after(EHLO, "NOOP\nNOOP\r\nNOOP\r\n"), [500, 250]);
    assert_eq!(codes_after(EHLO, &format!("{}\r\nNOOP\r\n", "\n".repeat(1000))), [500, 250]);
    assert_eq!(codes_after(EHLO, "NOOP\n\rNOOP\r\r\nNOOP\r\n"), [500, 250]);
}

#[test]
fn twenty_mistakes_end_the_session_and_an_accepted_message_forgives() {
    let dialogue = run_three_ways("WIBBLE\r\n".repeat(25).as_bytes());
    let mut expected = vec![500; 19];
    expected.push(421);
    assert_eq!(dialogue.codes(), expected);
    assert_eq!(dialogue.closed, Some(CloseReason::TooManyErrors));

    let message = format!("{MAIL}{RCPT}DATA\r\nx\r\n.\r\n");
    let wrong = "WIBBLE\r\n".repeat(15);
    let dialogue = run(format!("{EHLO}{wrong}{message}{wrong}NOOP\r\n").as_bytes(), &[]);
    assert_eq!(dialogue.codes().last(), Some(&250));
}

#[test]
fn recipients_beyond_the_limit_are_refused_and_those_before_stay() {
    let recipients: String = (0..5).map(|n| format!("RCPT TO:<user{n}@example.com>\r\n")).collect();
    let input = format!("{EHLO}{MAIL}{recipients}DATA\r\nx\r\n.\r\n");
    let dialogue = run_three_ways(input.as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 250, 250, 452, 452, 354, 250]);
    assert_eq!(dialogue.messages[0].envelope.forward_paths.len(), 3);
}

#[test]
fn a_recipient_that_is_named_again_is_there_once() {
    let input = format!("{EHLO}{MAIL}{}DATA\r\nx\r\n.\r\n", RCPT.repeat(5));
    let dialogue = run_three_ways(input.as_bytes());
    assert_eq!(dialogue.codes(), [250, 250, 250, 250, 250, 250, 250, 354, 250]);
    assert_eq!(dialogue.messages[0].envelope.forward_paths.len(), 1);
}

#[test]
fn more_than_a_hundred_received_fields_are_a_loop_and_only_in_the_header() {
    let field = "Received: x\r\n";
    for (header, body, code) in [(100, 50, 250), (101, 0, 554)] {
        let data = format!("{}\r\n{}", field.repeat(header), field.repeat(body));
        let input = format!("{EHLO}{MAIL}{RCPT}DATA\r\n{data}.\r\n");
        assert_eq!(run_three_ways(input.as_bytes()).codes().last(), Some(&code), "{header} fields");
    }
}

#[test]
fn utf8_in_an_address_needs_smtputf8_and_valid_octets() {
    assert_eq!(codes_after(EHLO, "MAIL FROM:<jörg@sender.example>\r\n"), [553]);
    let utf8 = format!("{EHLO}MAIL FROM:<jörg@sender.example> SMTPUTF8\r\n");
    assert_eq!(codes_after(&utf8, "RCPT TO:<jörg@example.com>\r\n"), [250]);
    assert_eq!(codes_after(&states()[2].1, "RCPT TO:<jörg@example.com>\r\n"), [553]);
    let overlong = [EHLO.as_bytes(), b"MAIL FROM:<a\xc0\xafb@sender.example> SMTPUTF8\r\n"].concat();
    assert_eq!(run_three_ways(&overlong).codes(), [250, 501]);
}

#[test]
fn ehlo_tells_what_is_offered_and_helo_does_not() {
    let text = |input: &str| String::from_utf8(run(input.as_bytes(), &[]).replies).unwrap();
    let ehlo = text(EHLO);
    for extension in [
        "PIPELINING",
        "SIZE 4000",
        "8BITMIME",
        "SMTPUTF8",
        "CHUNKING",
        "BINARYMIME",
        "ENHANCEDSTATUSCODES",
        "LIMITS RCPTMAX=3",
    ] {
        assert!(ehlo.lines().any(|line| line[4..] == *extension), "{extension} in {ehlo}");
    }
    assert!(ehlo.starts_with("250-mx.example.com\r\n"));
    assert_eq!(text("HELO x\r\n"), "250 mx.example.com\r\n");
}

#[test]
fn what_stands_behind_quit_is_not_executed() {
    let dialogue = run_three_ways(format!("{EHLO}QUIT\r\nNOOP\r\n{MAIL}").as_bytes());
    assert_eq!(dialogue.codes(), [250, 221]);
}

#[test]
fn a_session_that_sheds_its_message_reads_it_to_the_end_and_goes_on() {
    let mut dialogue = Dialogue::new();
    dialogue.feed(format!("{EHLO}{MAIL}{RCPT}DATA\r\nSubject: x\r\n").as_bytes());
    assert!(dialogue.session.memory() > 0);
    dialogue.session.shed(fastsmtp::smtp::Reply::MEMORY_FULL);
    let held = dialogue.session.memory();
    dialogue.feed(&[b'x'; 3000]);
    assert_eq!(dialogue.session.memory(), held, "nothing more is kept");
    dialogue.feed(b"\r\nRSET\r\n.\r\nNOOP\r\n");
    assert_eq!(dialogue.codes()[4..], [452, 250]);
    assert!(dialogue.messages.is_empty());
}

#[test]
fn a_reply_of_421_to_a_sender_or_a_recipient_ends_the_session() {
    use fastsmtp::smtp::{Need, Reply};
    let mut out = fastsmtp::wire::Outbox::new();
    let mut session = Dialogue::new().session;
    let input = format!("{EHLO}{MAIL}{RCPT}");
    let mut consumed = 0;
    let closed = loop {
        let progress = session.advance(&input.as_bytes()[consumed..], &mut out);
        consumed += progress.consumed;
        match progress.need {
            Need::Sender(envelope) => session.answer_sender(Ok(envelope), &mut out),
            Need::Recipient(_) => session.answer_recipient(Err(Reply::TOO_MANY_UNKNOWN_RECIPIENTS), &mut out),
            Need::Close(reason) => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(closed, CloseReason::Dismissed);
    assert_eq!(codes(out.pending()), [250, 250, 421]);

    let mut session = Dialogue::new().session;
    let progress = session.advance(format!("{EHLO}{MAIL}").as_bytes(), &mut out);
    assert!(matches!(progress.need, Need::Sender(_)));
    session.answer_sender(Err(Reply::SHUTTING_DOWN), &mut out);
    assert_eq!(session.advance(RCPT.as_bytes(), &mut out).need, Need::Close(CloseReason::Dismissed));
}

#[test]
fn a_message_that_is_handed_out_in_parts_is_judged_as_one() {
    let envelope = format!("{EHLO}{MAIL}{RCPT}");
    let line = "0123456789\r\n";
    for (data, code) in [
        (format!("{}..stuffed\r\n.\r\n", line.repeat(100)), 250),
        (format!("{}bare\nfeed\r\n.\r\n", line.repeat(100)), 550),
        (format!("{}.\r\n", line.repeat(400)), 552),
        (format!("{}\r\n{line}.\r\n", "Received: x\r\n".repeat(101)), 554),
    ] {
        let input = format!("{envelope}DATA\r\n{data}NOOP\r\n");
        let bytewise: Vec<usize> = (1..input.len()).collect();
        let dialogue = run_spilling(input.as_bytes(), &bytewise, 100);
        assert_eq!(dialogue.codes()[4..], [code, 250]);
        assert_eq!(dialogue.messages, run(input.as_bytes(), &[]).messages);
    }
    let chunks = format!("{envelope}BDAT 1200\r\n{}BDAT 12 LAST\r\n{line}", line.repeat(100));
    let bytewise: Vec<usize> = (1..chunks.len()).collect();
    let dialogue = run_spilling(chunks.as_bytes(), &bytewise, 100);
    assert_eq!(dialogue.codes()[3..], [250, 250]);
    assert_eq!(dialogue.messages[0].data, line.repeat(101).as_bytes());
}

#[test]
fn a_message_whose_part_could_not_be_put_elsewhere_is_read_to_its_end_and_refused_once() {
    let mut dialogue = Dialogue::new();
    dialogue.session.spill_beyond(10);
    dialogue.refuse_spills = true;
    dialogue.feed(format!("{EHLO}{MAIL}{RCPT}DATA\r\n{}", "0123456789\r\n".repeat(50)).as_bytes());
    assert!(dialogue.session.memory() < 100, "nothing more is kept");
    dialogue.feed(b".\r\nNOOP\r\n");
    assert_eq!(dialogue.codes()[4..], [452, 250]);
    assert!(dialogue.messages.is_empty());
}

fn item() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&[u8]> = vec![
        b"EHLO x.example\r\n",
        b"HELO x.example\r\n",
        b"MAIL FROM:<a@b.example>\r\n",
        b"MAIL FROM:<>\r\n",
        b"MAIL FROM:<a@b.example> BODY=BINARYMIME\r\n",
        b"RCPT TO:<u@example.com>\r\n",
        b"RCPT TO:<u@example.net>\r\n",
        b"DATA\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"BDAT 6\r\nab\r\ncd",
        b"BDAT 4 LAST\r\nQUIT",
        b"BDAT 0 LAST\r\n",
        b"WIBBLE\r\n",
        b"Subject: x\r\n\r\nbody\r\n.\r\n",
        b".\r\n",
        b"..x\r\n",
        b"\r\n.\r\n",
        b"\n",
        b"\r",
        b"\r\n",
        b"x",
        b".",
        b"\0",
        b"QUIT\r\n",
    ];
    prop::sample::select(words).prop_map(<[u8]>::to_vec)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn any_cut_of_any_dialogue_gives_the_same_replies_and_messages(
        items in prop::collection::vec(item(), 1..40),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        spill_beyond in 0..20usize,
    ) {
        let input = items.concat();
        let whole = run(&input, &[]);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        let cut = run(&input, &cuts);
        prop_assert_eq!(&cut.replies, &whole.replies);
        prop_assert_eq!(&cut.messages, &whole.messages);
        prop_assert_eq!(cut.closed, whole.closed);
        for message in &whole.messages {
            prop_assert!(!message.envelope.forward_paths.is_empty());
        }
        codes(&whole.replies);
        let spilled = run_spilling(&input, &cuts, spill_beyond);
        prop_assert_eq!(&spilled.replies, &whole.replies);
        prop_assert_eq!(&spilled.messages, &whole.messages);
    }
}
