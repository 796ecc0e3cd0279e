//! What a server gets of composed mails: tested through a client, octet for octet.

use super::*;
use fastsmtp::smtp::client::{Client, Grouping, Hello, Manner, StartTls};
use fastsmtp::units;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::fs;
use std::time::UNIX_EPOCH;

fn parts(size: &str, evidence: Evidence) -> Parts {
    Parts {
        reverse_path: ReversePath::parse("from@x").unwrap(),
        forward_path: Template::parse("to@x").unwrap(),
        recipients: Distribution::fixed(1, "1"),
        content: Content::Generated(Distribution::parse(size, units::size).unwrap()),
        form: Form::Stuffed,
        evidence,
        run: RunId::random(),
        started: UNIX_EPOCH,
    }
}

fn mails(parts: Parts) -> Mails {
    Mails::new(Arc::new(Plan::new(parts).unwrap()), 1)
}

/// What a client sends of `mail` before and after the 354, in lockstep.
fn sent(mail: Mail) -> (String, Vec<u8>) {
    let grouping = match mail.form() {
        Form::Stuffed => Grouping::Lockstep,
        Form::Chunk => Grouping::Chunked,
    };
    let hello = Hello::new("client.example");
    let manner = Manner { hello, grouping, starttls: StartTls::Never, credentials: None };
    let mut client = Client::new(Arc::new(manner), 0);
    hear(&mut client, b"220 x\r\n");
    drain(&mut client);
    hear(&mut client, b"250-x\r\n250 CHUNKING\r\n");
    client.start(mail);
    let mut commands = String::new();
    loop {
        let output = drain(&mut client);
        if output.starts_with(b"BDAT ") {
            let end = output.iter().position(|octet| *octet == b'\n').unwrap() + 1;
            return (commands, output[end..].to_vec());
        }
        commands += std::str::from_utf8(&output).unwrap();
        if output == b"DATA\r\n" {
            hear(&mut client, b"354 go\r\n");
            return (commands, drain(&mut client));
        }
        hear(&mut client, b"250 ok\r\n");
    }
}

fn hear(client: &mut Client, mut input: &[u8]) {
    while client.advance(&mut input).unwrap().is_some() {}
}

fn drain(client: &mut Client) -> Vec<u8> {
    let mut output = Vec::new();
    loop {
        let more = client.output().concat();
        if more.is_empty() {
            return output;
        }
        client.sent(more.len());
        output.extend_from_slice(&more);
    }
}

/// Takes stuffing and the end of data away again.
fn unstuffed(data: &[u8]) -> Vec<u8> {
    let data = data.strip_suffix(b".\r\n").unwrap();
    let lines = data.split_inclusive(|octet| *octet == b'\n');
    lines.flat_map(|line| line.strip_prefix(b".").unwrap_or(line)).copied().collect()
}

#[test]
fn what_is_sent_has_the_hash_and_the_octets_that_are_told() {
    for size in (50..400).chain([1024, 100_000]) {
        for form in [Form::Stuffed, Form::Chunk] {
            let mut mails = mails(Parts { form, ..parts(&size.to_string(), Evidence::Ledger) });
            let composed = mails.compose();
            let (commands, data) = sent(composed.mail);
            let content = if form == Form::Stuffed { unstuffed(&data) } else { data };
            assert_eq!(content.len(), size);
            assert_eq!(composed.octets, size as u64);
            assert_eq!(composed.sha256, Some(Sha256::digest(&content).into()));
            let line = content.split(|octet| *octet == b'\r').next().unwrap();
            assert_eq!(MailId::in_field(line), Some(composed.id));
            assert!(commands.starts_with("MAIL FROM:<from@x>\r\nRCPT TO:<to@x>\r\n"), "{commands}");
        }
    }
}

#[test]
fn without_a_ledger_the_smallest_sizes_are_sent_and_nothing_is_hashed() {
    for size in 2..60 {
        let composed = mails(parts(&size.to_string(), Evidence::None)).compose();
        assert_eq!(composed.sha256, None);
        let content = unstuffed(&sent(composed.mail).1);
        assert_eq!((content.len(), content.ends_with(b"\r\n")), (size, true));
    }
}

#[test]
fn threads_of_a_plan_repeat_no_id_and_no_number() {
    let plan = Plan::new(Parts {
        reverse_path: ReversePath::parse("from{n}@x").unwrap(),
        forward_path: Template::parse("to{n%1000}@x").unwrap(),
        recipients: Distribution::parse("1..3", units::size).unwrap(),
        ..parts("100", Evidence::None)
    });
    let plan = Arc::new(plan.unwrap());
    let made: Vec<(MailId, Arc<[Address]>, String)> = std::thread::scope(|scope| {
        let work = |seed| {
            let mut mails = Mails::new(Arc::clone(&plan), seed);
            let one = move |_| {
                let composed = mails.compose();
                let (commands, _) = sent(composed.mail);
                (composed.id, composed.forward_paths, commands.lines().next().unwrap().to_owned())
            };
            (0..100).map(one).collect::<Vec<_>>()
        };
        let threads: Vec<_> = (0..4).map(|seed| scope.spawn(move || work(seed))).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let ids: HashSet<MailId> = made.iter().map(|(id, ..)| *id).collect();
    let from: HashSet<&String> = made.iter().map(|(_, _, from)| from).collect();
    let to: Vec<&Address> = made.iter().flat_map(|(_, to, _)| &**to).collect();
    assert_eq!((ids.len(), from.len()), (400, 400));
    assert!((400..=1_000).contains(&to.len()), "this many fit into one round");
    assert_eq!(to.iter().collect::<HashSet<_>>().len(), to.len());
}

#[test]
fn fixed_addresses_share_their_commands_and_several_are_numbered() {
    let mut mails = mails(Parts {
        reverse_path: ReversePath(None),
        recipients: Distribution::parse("1..2", units::size).unwrap(),
        ..parts("100", Evidence::None)
    });
    let mut seen = HashSet::new();
    for _ in 0..100 {
        seen.insert(sent(mails.compose().mail).0);
    }
    let one = "MAIL FROM:<>\r\nRCPT TO:<to@x>\r\nDATA\r\n".to_owned();
    let two = "MAIL FROM:<>\r\nRCPT TO:<to1@x>\r\nRCPT TO:<to2@x>\r\nDATA\r\n".to_owned();
    assert_eq!(seen, HashSet::from([one, two]));
    assert_eq!(mails.kept.len(), 2);
}

#[test]
fn files_are_sent_in_turn_and_with_a_ledger_behind_an_id() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a.eml"), "A: b\n\n.\n..dots\n").unwrap();
    fs::write(directory.path().join("b.eml"), "A: \u{e9}\r\n").unwrap();
    let content = [b"A: b\r\n\r\n.\r\n..dots\r\n".as_slice(), "A: \u{e9}\r\n".as_bytes()];
    for evidence in [Evidence::None, Evidence::Ledger] {
        for form in [Form::Stuffed, Form::Chunk] {
            let files = Content::Files(Files::load(directory.path()).unwrap());
            let plan = Plan::new(Parts { content: files, form, ..parts("2", evidence) });
            let plan = Arc::new(plan.unwrap());
            assert!(plan.needs_eight_bit_mime());
            let mut mails = Mails::new(plan, 1);
            for turn in 0..4 {
                let composed = mails.compose();
                let (commands, data) = sent(composed.mail);
                assert_eq!(commands.contains(" BODY=8BITMIME"), turn % 2 == 1);
                let data = if form == Form::Stuffed { unstuffed(&data) } else { data };
                assert_eq!(composed.octets, data.len() as u64);
                let expected = match evidence {
                    Evidence::None => content[turn % 2].to_vec(),
                    Evidence::Ledger => {
                        assert_eq!(composed.sha256, Some(Sha256::digest(&data).into()));
                        let field = format!("X-Loadgen-Id: {}\r\n", composed.id);
                        [field.as_bytes(), content[turn % 2]].concat()
                    }
                };
                assert_eq!(data, expected);
            }
        }
    }
}

#[test]
fn parts_that_do_not_fit_together_are_refused_with_the_mend() {
    let refused = |parts| Plan::new(parts).unwrap_err();
    assert_eq!(
        refused(parts("49..100", Evidence::Ledger)),
        "'49..100' is too small: a message has at least 50 octets, for the ledger: its id"
    );
    assert_eq!(
        refused(parts("1", Evidence::None)),
        "'1' is too small: a message has at least 2 octets, the end of a line"
    );
    assert_eq!(refused(parts("1GiB", Evidence::None)), "'1GiB' is too large: a message has at most 512MiB");
    let recipients = |text| Distribution::parse(text, units::size).unwrap();
    assert_eq!(
        refused(Parts { recipients: recipients("0..3"), ..parts("1KiB", Evidence::None) }),
        "'0..3' is not a number of recipients, which is 1 to 10000"
    );
    let few = Template::parse("u{n%2}@x").unwrap();
    assert_eq!(
        refused(Parts { recipients: recipients("3"), forward_path: few, ..parts("1KiB", Evidence::None) }),
        "'u{n%2}@x' makes 2 different recipients, but a message may have 3: raise one or lower the other"
    );
    let domain = format!("{0}.{0}.{0}.example", "d".repeat(61));
    let long = Template::parse(&format!("{}@{domain}", "l".repeat(254 - domain.len() - 1))).unwrap();
    let long = |recipients| Parts { recipients, forward_path: long.clone(), ..parts("1KiB", Evidence::None) };
    assert!(Plan::new(long(recipients("1"))).is_ok());
    assert!(refused(long(recipients("2"))).ends_with(" is too long to be numbered to 2: shorten it"));
}
