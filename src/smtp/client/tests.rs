//! Dialogues, each of them three ways: the server's octets whole, one by one, and cut at random.

mod auth;
mod chunks;
mod lmtp;
mod starttls;

use super::*;
use crate::smtp::{Address, Envelope};
use proptest::prelude::*;

const OFFERS: &str = "250-mx\r\n250-pipelining\r\n250-SIZE 1000\r\n250 8BITMIME\r\n";
const CHUNKS: &str = "250-mx\r\n250-PIPELINING\r\n250 CHUNKING\r\n";
const CHUNKS_ONE_BY_ONE: &str = "250-mx\r\n250 CHUNKING\r\n";
const TLS: &str = "250-mx\r\n250 STARTTLS\r\n";
const ENVELOPE_2: &str = "MAIL FROM:<a@b>\r\nRCPT TO:<r0@x>\r\nRCPT TO:<r1@x>\r\n";

/// How the server's octets come in.
#[derive(Debug, Clone, Copy)]
enum Pieces {
    Whole,
    Octets,
    Random(u64),
}

/// A client and the server's side of the talk.
struct Talk {
    client: Client,
    pieces: Pieces,
}

type Heard = Result<Vec<(Phase, u16)>, Error>;

impl Talk {
    /// Takes all that is to be sent.
    fn said(&mut self) -> String {
        let mut all = Vec::new();
        loop {
            let output = self.client.output().concat();
            if output.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            // In two steps, so that a cut falls in either slice now and then.
            let count = output.len().div_ceil(2);
            all.extend_from_slice(&output[..count]);
            self.client.sent(count);
        }
    }

    fn hear(&mut self, input: &str) -> Heard {
        Ok(self.hear_with_recipients(input)?.into_iter().map(|(phase, code, _)| (phase, code)).collect())
    }

    fn hear_with_recipients(&mut self, input: &str) -> Result<Vec<(Phase, u16, Option<usize>)>, Error> {
        let (mut rest, mut events) = (input.as_bytes(), Vec::new());
        while !rest.is_empty() {
            let length = self.piece().min(rest.len());
            let (mut piece, behind) = rest.split_at(length);
            rest = behind;
            while let Some(event) = self.client.advance(&mut piece)? {
                events.push((event.phase, event.reply.code(), event.recipient));
            }
        }
        Ok(events)
    }

    /// Octets of the next piece.
    fn piece(&mut self) -> usize {
        match &mut self.pieces {
            Pieces::Whole => usize::MAX,
            Pieces::Octets => 1,
            Pieces::Random(seed) => {
                *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                1 + (*seed >> 33) as usize % 12
            }
        }
    }

    /// What the server says, and what the client says to it.
    fn goes(&mut self, lines: &[(&str, &str)]) {
        for (server, answer) in lines {
            self.hear(server).unwrap();
            assert_eq!(self.said(), *answer, "after {server:?}");
        }
    }

    /// Begins a transaction with `hi` for so many recipients.
    fn start(&mut self, recipients: usize, form: Form) {
        self.client.start(mail(recipients, form, b"hi\r\n"));
    }
}

fn mail(recipients: usize, form: Form, data: &[u8]) -> Mail {
    let address = |text: String| Address::parse(text.as_bytes()).unwrap();
    let envelope = Envelope {
        reverse_path: Some(address("a@b".into())),
        forward_paths: (0..recipients).map(|n| address(format!("r{n}@x"))).collect(),
        ..Envelope::default()
    };
    let data = match form {
        Form::Stuffed => Data::stuffed(data),
        Form::Chunk => Data::chunk(data),
    };
    Mail::new(Arc::new(Commands::new(&envelope)), data)
}

fn manner(grouping: Grouping) -> Manner {
    Manner { hello: Hello::new("me"), grouping, starttls: StartTls::Never, credentials: None }
}

fn lmtp(grouping: Grouping) -> Manner {
    Manner { hello: Hello::lmtp("me"), ..manner(grouping) }
}

fn tls(starttls: StartTls) -> Manner {
    Manner { starttls, ..manner(Grouping::Pipelined) }
}

/// The talk of a client of this manner, three ways.
fn talk(manner: Manner, body: impl Fn(&mut Talk)) {
    let manner = Arc::new(manner);
    for pieces in [Pieces::Whole, Pieces::Octets, Pieces::Random(1), Pieces::Random(2)] {
        body(&mut Talk { client: Client::new(Arc::clone(&manner), 0), pieces });
    }
}

/// The same, from where the client is idle.
fn greeted(manner: Manner, offers: &str, body: impl Fn(&mut Talk)) {
    let hello = String::from_utf8(manner.hello.first().to_vec()).unwrap();
    talk(manner, |talk| {
        talk.goes(&[("220 hi\r\n", &hello), (offers, "")]);
        assert!(talk.client.is_idle());
        body(talk);
    });
}

#[test]
fn lockstep_is_one_command_one_reply() {
    greeted(manner(Grouping::Lockstep), OFFERS, |talk| {
        for _ in 0..2 {
            talk.start(2, Form::Stuffed);
            talk.goes(&[
                ("", "MAIL FROM:<a@b>\r\n"),
                ("250 ok\r\n", "RCPT TO:<r0@x>\r\n"),
                ("250 ok\r\n", "RCPT TO:<r1@x>\r\n"),
                ("550 no\r\n", "DATA\r\n"),
                ("354 go\r\n", "hi\r\n.\r\n"),
            ]);
            assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Accept, 250)]));
            assert!(talk.client.is_idle());
        }
        talk.client.quit();
        assert_eq!(talk.said(), "QUIT\r\n");
        assert_eq!(talk.hear("221 bye\r\n"), Ok(vec![(Phase::Quit, 221)]));
        assert!(talk.client.is_over());
    });
}

#[test]
fn a_pipelined_envelope_is_one_output_and_the_data_the_next() {
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        assert_eq!(talk.client.extensions().size_max, Some(1000));
        for _ in 0..2 {
            talk.start(1, Form::Stuffed);
            assert_eq!(talk.said(), "MAIL FROM:<a@b>\r\nRCPT TO:<r0@x>\r\nDATA\r\n");
            let heard = talk.hear("250 ok\r\n250 ok\r\n354 go\r\n");
            assert_eq!(heard, Ok(vec![(Phase::Mail, 250), (Phase::Rcpt, 250), (Phase::Data, 354)]));
            talk.goes(&[("", "hi\r\n.\r\n"), ("250 ok\r\n", "")]);
            assert!(talk.client.is_idle());
        }
    });
}

#[test]
fn a_reply_to_rcpt_names_its_recipient() {
    for grouping in [Grouping::Lockstep, Grouping::Pipelined] {
        greeted(manner(grouping), OFFERS, |talk| {
            talk.start(2, Form::Stuffed);
            let mut heard = Vec::new();
            for server in ["250 ok\r\n", "250 ok\r\n", "550 no\r\n", "354 go\r\n", "250 ok\r\n"] {
                talk.said();
                heard.extend(talk.hear_with_recipients(server).unwrap());
            }
            let recipients: Vec<_> = heard.iter().map(|(_, _, recipient)| *recipient).collect();
            assert_eq!(recipients, [None, Some(0), Some(1), None, None]);
        });
    }
}

#[test]
fn nothing_is_pipelined_that_was_not_offered() {
    talk(manner(Grouping::Pipelined), |talk| {
        talk.goes(&[("220 hi\r\n", "EHLO me\r\n"), ("500 what\r\n", "HELO me\r\n"), ("250 me\r\n", "")]);
        talk.start(1, Form::Stuffed);
        assert_eq!(talk.said(), "MAIL FROM:<a@b>\r\n");
    });
}

#[test]
fn a_group_without_recipients_ends_in_a_lone_dot_a_reset_or_nothing() {
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        talk.start(1, Form::Stuffed);
        talk.said();
        talk.goes(&[("250 ok\r\n550 no\r\n354 go\r\n", ".\r\n")]);
        assert_eq!(talk.hear("554 none\r\n"), Ok(vec![(Phase::Cancel, 554)]));
        assert!(talk.client.is_idle());
        talk.start(1, Form::Stuffed);
        talk.said();
        talk.goes(&[("250 ok\r\n550 no\r\n554 none\r\n", "RSET\r\n"), ("250 ok\r\n", "")]);
        assert!(talk.client.is_idle());
        talk.start(1, Form::Stuffed);
        talk.said();
        talk.goes(&[("451 no\r\n503 no\r\n503 no\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn lockstep_goes_no_further_than_it_makes_sense() {
    greeted(manner(Grouping::Lockstep), OFFERS, |talk| {
        talk.start(1, Form::Stuffed);
        talk.goes(&[("", "MAIL FROM:<a@b>\r\n"), ("451 no\r\n", "")]);
        assert!(talk.client.is_idle());
        talk.start(1, Form::Stuffed);
        talk.goes(&[("", "MAIL FROM:<a@b>\r\n"), ("250 ok\r\n", "RCPT TO:<r0@x>\r\n")]);
        talk.goes(&[("550 no\r\n", "RSET\r\n"), ("250 ok\r\n", "")]);
        assert!(talk.client.is_idle());
    });
}

#[test]
fn after_421_the_dialogue_is_over_wherever_it_was() {
    for (heard, phase) in [("", Phase::Banner), ("220 x\r\n", Phase::Ehlo)] {
        talk(manner(Grouping::Pipelined), |talk| {
            talk.hear(heard).unwrap();
            talk.said();
            assert_eq!(talk.hear("421 bye\r\n250 more\r\n"), Ok(vec![(phase, 421)]));
            assert!(talk.client.is_over() && talk.said().is_empty());
        });
    }
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        assert_eq!(talk.hear("421 bye\r\n"), Ok(vec![(Phase::Unasked, 421)]));
    });
}

#[test]
fn a_server_that_refuses_in_its_banner_is_left_politely() {
    talk(manner(Grouping::Lockstep), |talk| {
        talk.goes(&[("554 no\r\n", "QUIT\r\n"), ("221 bye\r\n", "")]);
        assert!(talk.client.is_over());
    });
}

#[test]
fn replies_out_of_step_are_errors() {
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        assert_eq!(talk.hear("250 what\r\n"), Err(Error::Unasked(250)));
        assert!(talk.client.is_over());
    });
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        talk.start(1, Form::Stuffed);
        talk.client.sent("MAIL FROM:<a@b>\r\n".len());
        assert_eq!(talk.hear("250 ok\r\n"), Ok(vec![(Phase::Mail, 250)]));
        assert_eq!(talk.client.output().concat(), b"RCPT TO:<r0@x>\r\nDATA\r\n");
        assert_eq!(talk.hear("250 ok\r\n"), Err(Error::Early(Phase::Rcpt, 250)));
    });
    greeted(manner(Grouping::Pipelined), OFFERS, |talk| {
        talk.start(1, Form::Stuffed);
        talk.said();
        assert_eq!(talk.hear("354 go\r\n"), Err(Error::OutOfPlace(Phase::Mail, 354)));
    });
    talk(manner(Grouping::Lockstep), |talk| {
        assert_eq!(talk.hear("SSH-2.0\r\n"), Err(Error::Reply(ReplyError::NoCode)));
    });
}

#[test]
fn a_client_costs_little_while_it_waits() {
    // A hundred thousand of them stay below 32 MB.
    assert!(size_of::<Client>() <= 256, "{} octets", size_of::<Client>());
}

proptest! {
    #[test]
    fn a_client_hears_the_same_however_the_replies_are_cut(
        words in prop::collection::vec(prop::sample::select(vec![
            "220 x\r\n", "250 ok\r\n", "250-a\r\n", "354 go\r\n", "421 bye\r\n", "550 no\r\n", "451 no\r\n", "x", OFFERS,
            CHUNKS, TLS, "250 ok\r\n250 ok\r\n",
        ]), 0..12),
        grouping in prop::sample::select(vec![Grouping::Lockstep, Grouping::Pipelined, Grouping::Chunked]),
        hello in prop::sample::select(vec!["EHLO", "LHLO"]),
        starttls in prop::sample::select(vec![StartTls::Never, StartTls::WhenOffered]),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let hello = if hello == "EHLO" { Hello::new } else { Hello::lmtp };
        let manner = Arc::new(Manner { hello: hello("me"), starttls, ..manner(grouping) });
        let form = if grouping == Grouping::Chunked { Form::Chunk } else { Form::Stuffed };
        let input = words.concat();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(input.len() + 1)).collect();
        cuts.sort_unstable();
        cuts.push(input.len());
        // The driver sends and starts after every event, so that the cuts alone differ.
        let run = |cuts: &[usize]| {
            let client = Client::new(Arc::clone(&manner), 0);
            let mut talk = Talk { client, pieces: Pieces::Whole };
            let (mut heard, mut start) = (Vec::new(), 0);
            for &end in cuts {
                let mut piece = &input.as_bytes()[start..end];
                start = end;
                loop {
                    match talk.client.advance(&mut piece) {
                        Ok(Some(event)) => heard.push(Ok((event.phase, event.recipient, event.reply.code()))),
                        Ok(None) => break,
                        Err(error) => {
                            heard.push(Err(error));
                            return heard;
                        }
                    }
                    if talk.client.is_idle() {
                        talk.start(2, form);
                    }
                    talk.said();
                }
            }
            heard
        };
        prop_assert_eq!(run(&cuts), run(&[input.len()]));
    }

    #[test]
    fn whatever_a_server_says_and_however_little_of_ours_is_sent_nothing_breaks(
        words in prop::collection::vec(prop::sample::select(vec![
            "220 x\r\n", "250 ok\r\n", "354 go\r\n", "550 no\r\n", "451 no\r\n", "503 no\r\n", "235 in\r\n", "334 \r\n",
            "250-mx\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-STARTTLS\r\n250 AUTH PLAIN LOGIN SCRAM-SHA-256\r\n",
        ]), 0..30),
        counts in prop::collection::vec(prop::sample::select(vec![0, 1, 20, 90, 1000]), 30),
        grouping in prop::sample::select(vec![Grouping::Lockstep, Grouping::Pipelined, Grouping::Chunked]),
        hello in prop::sample::select(vec!["EHLO", "LHLO"]),
        starttls in prop::sample::select(vec![StartTls::Never, StartTls::WhenOffered]),
        mechanism in prop::sample::select(vec![None, Some(Mechanism::Plain), Some(Mechanism::Login)]),
    ) {
        let hello = if hello == "EHLO" { Hello::new } else { Hello::lmtp };
        let credentials = mechanism.map(|mechanism| {
            Arc::new(Credentials::new("u", "p", Some(mechanism), ClearText::Allowed).unwrap())
        });
        let manner = Manner { hello: hello("me"), starttls, credentials, ..manner(grouping) };
        let form = if grouping == Grouping::Chunked { Form::Chunk } else { Form::Stuffed };
        let mut client = Client::new(Arc::new(manner), 0);
        for (word, count) in words.iter().zip(counts) {
            let mut input = word.as_bytes();
            while !input.is_empty() {
                if client.advance(&mut input).is_err() {
                    prop_assert!(client.is_over());
                }
                prop_assert!(!client.is_over() || client.output() == [b""; 2]);
            }
            if client.needs_tls() {
                client.secured();
            }
            if client.is_idle() {
                client.start(mail(2, form, b"hi\r\n"));
            }
            let unsent: usize = client.output().iter().map(|slice| slice.len()).sum();
            client.sent(unsent.min(count));
        }
    }
}
