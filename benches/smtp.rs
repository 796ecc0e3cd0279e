//! What the dialogue costs without sockets: one command, and all of a message on a kept connection.
//!
//! `cargo bench --bench smtp`; a system call costs 500 ns and more, so a figure matters only where it comes near that.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use fastsmtp::QueueId;
use fastsmtp::smtp::command::Command;
use fastsmtp::smtp::{Need, Path, Profile, Session};
use fastsmtp::wire::Outbox;

fn commands(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("command");
    for line in [
        "EHLO client.example.com",
        "MAIL FROM:<sender@example.com>",
        "MAIL FROM:<sender@example.com> SIZE=1024 BODY=8BITMIME SMTPUTF8",
        "RCPT TO:<recipient@example.com>",
        "DATA",
        "BDAT 1024 LAST",
    ] {
        group.bench_function(line, |bencher| bencher.iter(|| Command::parse(black_box(line.as_bytes()))));
    }
}

fn messages(criterion: &mut Criterion) {
    let group_of_commands = "MAIL FROM:<sender@example.com> SIZE=1024 BODY=8BITMIME\r\n\
                             RCPT TO:<recipient@example.com>\r\nDATA\r\n";
    let bdat = "MAIL FROM:<sender@example.com> SIZE=1024 BODY=8BITMIME\r\n\
                RCPT TO:<recipient@example.com>\r\nBDAT 1024 LAST\r\n";
    let lockstep: Vec<&[u8]> = group_of_commands.split_inclusive('\n').map(str::as_bytes).collect();
    let body = body(1024);
    let data = [&body, &b".\r\n"[..]].concat();
    let chunk = [bdat.as_bytes(), &body].concat();

    let mut group = criterion.benchmark_group("message of 1 KiB");
    group.throughput(Throughput::Elements(1));
    for (name, pieces) in [
        ("DATA, pipelined", vec![group_of_commands.as_bytes(), &data]),
        ("DATA, lockstep", [&lockstep[..], &[&data]].concat()),
        ("BDAT, all in one piece", vec![&chunk]),
    ] {
        let mut kept = Exchange::new();
        kept.send(b"EHLO client.example.com\r\n");
        group.bench_function(name, |bencher| {
            bencher.iter(|| pieces.iter().for_each(|piece| kept.send(black_box(piece))));
        });
        assert!(kept.messages > 0, "{name}: no message was taken");
    }
    let alone: [&[u8]; 4] =
        [b"EHLO client.example.com\r\n", group_of_commands.as_bytes(), &data, b"QUIT\r\n"];
    group.bench_function("a session of its own", |bencher| {
        bencher.iter_batched_ref(
            Exchange::new,
            |exchange| alone.iter().for_each(|piece| exchange.send(black_box(piece))),
            BatchSize::SmallInput,
        );
    });
}

/// A session whose server takes everything at once and stores nothing.
struct Exchange {
    session: Session,
    messages: u64,
}

impl Exchange {
    fn new() -> Exchange {
        let profile = Profile::new("mx.example.com", "", 50 << 20, 1000);
        Exchange { session: Session::new(Arc::new(profile)), messages: 0 }
    }

    /// One read of the server: the input to its end, and the replies to it. Each read begins with an empty outbox, which
    /// owns no memory, for that is how it is between two turns of the loop.
    fn send(&mut self, input: &[u8]) {
        let (mut out, mut consumed) = (Outbox::new(), 0);
        loop {
            let progress = self.session.advance(&input[consumed..], &mut out);
            consumed += progress.consumed;
            match progress.need {
                Need::Spill(part) => self.session.spilled(Ok(part)),
                Need::Input | Need::StartTls | Need::Sasl(_) | Need::Close(_) => break,
                Need::Room => unreachable!("a message has few replies"),
                Need::Sender(envelope) => self.session.answer_sender(Ok(envelope), &mut out),
                Need::Recipient(Path::Mailbox(address)) => {
                    self.session.answer_recipient(Ok(address), &mut out);
                }
                Need::Recipient(_) => unreachable!("the recipient has a domain"),
                Need::Commit(message) => {
                    black_box(message);
                    self.messages += 1;
                    self.session.committed(Ok(QueueId { run: 1, counter: self.messages }), &mut out);
                }
            }
        }
        assert_eq!(consumed, input.len(), "input left over");
        black_box(out.pending());
    }
}

/// So many octets of mail data: a header and lines of 72 octets.
fn body(size: usize) -> Vec<u8> {
    let header = "From: <sender@example.com>\r\nTo: <recipient@example.com>\r\nSubject: a benchmark\r\n\r\n";
    let line = "A line of mail data, as long as they are when somebody wrapped a text.\r\n";
    let mut body = header.as_bytes().to_vec();
    while body.len() + 2 * line.len() < size {
        body.extend_from_slice(line.as_bytes());
    }
    body.resize(size - 2, b'x');
    body.extend_from_slice(b"\r\n");
    body
}

criterion_group!(benches, commands, messages);
criterion_main!(benches);
