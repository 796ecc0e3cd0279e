//! Our client against our session, both as values: what one says the other takes for the same, in every grouping, with
//! recipients and messages refused at random, and the octets cut at random on their way.

use std::collections::BTreeSet;
use std::sync::Arc;

use fastsmtp::QueueId;
use fastsmtp::smtp::client::{
    ClearText, Client, Commands, Credentials, Data, Form, Grouping, Hello, Mail, Manner, Mechanism, Phase,
    StartTls,
};
use fastsmtp::smtp::{
    Address, Envelope, Message, Need, Offer, Path, Profile, Reply, SaslStep, ScramBasis, ScramKeys, Security,
    Session,
};
use fastsmtp::wire::Outbox;
use proptest::prelude::*;

/// A server without sockets, which refuses recipients whose name begins with `no`.
struct Server {
    session: Session,
    /// What came and was not taken yet.
    carry: Vec<u8>,
    taken: Vec<Message>,
    /// Octets of the largest message that it has room for.
    size_max: usize,
}

impl Server {
    fn new(size_max: usize) -> Server {
        let security = Security { auth: Offer::Always, ..Security::default() };
        let profile = Profile::new("mx.example.com", "", 50 << 20, 1000).with(security);
        Server { session: Session::new(Arc::new(profile)), carry: Vec::new(), taken: Vec::new(), size_max }
    }

    /// Takes octets, and gives the replies to them.
    fn receive(&mut self, octets: &[u8]) -> Vec<u8> {
        let (mut out, mut replies) = (Outbox::new(), Vec::new());
        self.carry.extend_from_slice(octets);
        loop {
            let progress = self.session.advance(&self.carry, &mut out);
            self.carry.drain(..progress.consumed);
            replies.extend_from_slice(out.pending());
            out.advance(out.pending().len());
            match progress.need {
                Need::Input | Need::StartTls | Need::Close(_) => break,
                Need::Room => {}
                need => self.answer(need, &mut out),
            }
        }
        replies.extend_from_slice(out.pending());
        replies
    }

    fn answer(&mut self, need: Need, out: &mut Outbox) {
        match need {
            Need::Sender(envelope) => self.session.answer_sender(Ok(envelope), out),
            Need::Recipient(Path::Mailbox(address)) => {
                let refused = address.to_string().starts_with("no");
                let answer = if refused { Err(Reply::RELAY_DENIED) } else { Ok(address) };
                self.session.answer_recipient(answer, out);
            }
            Need::Commit(message) if message.data.len() > self.size_max => {
                self.session.committed(Err(Reply::STORAGE_FULL), out);
            }
            Need::Commit(message) => {
                self.taken.push(message);
                let counter = self.taken.len() as u64;
                self.session.committed(Ok(QueueId { run: 1, counter }), out);
            }
            Need::Sasl(SaslStep::Keys { .. }) => {
                let keys = ScramKeys::new(PASSWORD, b"salt".to_vec(), 4096);
                let basis = ScramBasis { keys, nonce: "server".into(), binding: None };
                self.session.answer_keys(Ok(basis), out);
            }
            Need::Sasl(SaslStep::Password { user, password }) => {
                self.answer_login(user == USER && password == PASSWORD, out);
            }
            Need::Sasl(SaslStep::Proof { is_right, .. }) => self.answer_login(is_right, out),
            other => panic!("not asked for: {other:?}"),
        }
    }

    fn answer_login(&mut self, is_right: bool, out: &mut Outbox) {
        let answer = if is_right { Ok(Arc::from("tim@x.example")) } else { Err(Reply::LOGIN_FAILED) };
        self.session.answer_login(answer, out);
    }
}

const USER: &str = "tim=,\u{FC}";
const PASSWORD: &str = "pencil \u{E9}";

/// A message to send: its recipients and its data.
type Sent = (Vec<String>, String);

fn mail((recipients, data): &Sent, grouping: Grouping) -> Mail {
    let address = |name: &String| Address::parse(format!("{name}@x.example").as_bytes()).unwrap();
    let envelope =
        Envelope { forward_paths: recipients.iter().map(address).collect(), ..Envelope::default() };
    // Half of the data is the message's own, as a load generator's header is.
    let (head, body) = data.split_at(data.find("\r\n").map_or(0, |at| at + 2));
    let data = match grouping {
        Grouping::Chunked => Data::shared(Form::Chunk, head.as_bytes().to_vec(), body.as_bytes().into(), 0),
        _ => Data::stuffed(data.as_bytes()),
    };
    Mail::new(Arc::new(Commands::new(&envelope)), data)
}

/// Sends messages one after the other; gives, for each, the recipients taken and whether the server took it.
fn send(
    messages: &[Sent],
    grouping: Grouping,
    server: &mut Server,
    cuts: &mut impl FnMut() -> usize,
) -> Vec<(Vec<usize>, bool)> {
    let manner =
        Manner { hello: Hello::new("me.example"), grouping, starttls: StartTls::Never, credentials: None };
    let (mut client, mut waiting) = (Client::new(Arc::new(manner), 0), messages.iter());
    let mut outcomes: Vec<(Vec<usize>, bool)> = Vec::new();
    let mut to_client = b"220 mx.example.com\r\n".to_vec();
    while !client.is_over() {
        let (piece, rest) = to_client.split_at(cuts().min(to_client.len()));
        let mut input = piece;
        while let Some(event) = client.advance(&mut input).unwrap() {
            match (event.phase, event.recipient, event.reply.is_positive()) {
                (Phase::Rcpt, Some(index), true) => outcomes.last_mut().unwrap().0.push(index),
                (Phase::Accept, _, true) => outcomes.last_mut().unwrap().1 = true,
                _ => {}
            }
            if client.is_idle() {
                match waiting.next() {
                    Some(message) => {
                        outcomes.push((Vec::new(), false));
                        client.start(mail(message, grouping));
                    }
                    None => client.quit(),
                }
            }
        }
        to_client = rest.to_vec();
        let mut piece = client.output().concat();
        piece.truncate(cuts());
        client.sent(piece.len());
        to_client.extend(server.receive(&piece));
    }
    outcomes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_the_client_is_told_is_what_the_server_did(
        messages in prop::collection::vec(
            (prop::collection::vec("(no|yes)[a-z]{1,3}", 1..4), prop::collection::vec("[.a-c]{0,6}\r\n", 0..20)), 0..5),
        grouping in prop::sample::select(vec![Grouping::Lockstep, Grouping::Pipelined, Grouping::Chunked]),
        pieces in prop::collection::vec(prop::sample::select(vec![1usize, 3, 30, 1000]), 1..20),
    ) {
        let messages: Vec<Sent> = messages.into_iter().map(|(names, lines)| (names, lines.concat())).collect();
        let mut server = Server::new(60);
        let mut pieces = pieces.into_iter().cycle();
        let outcomes = send(&messages, grouping, &mut server, &mut || pieces.next().unwrap());
        prop_assert_eq!(outcomes.len(), messages.len());
        let mut taken = server.taken.iter();
        for ((recipients, data), (accepted, committed)) in messages.iter().zip(outcomes) {
            let welcome: Vec<usize> =
                (0..recipients.len()).filter(|index| !recipients[*index].starts_with("no")).collect();
            prop_assert_eq!(&accepted, &welcome);
            prop_assert_eq!(committed, !welcome.is_empty() && data.len() <= 60);
            if committed {
                let message = taken.next().unwrap();
                prop_assert_eq!(&message.data, data.as_bytes());
                // Whoever is named twice is told 250 twice and gets it once.
                let names: BTreeSet<&String> = welcome.iter().map(|index| &recipients[*index]).collect();
                prop_assert_eq!(message.envelope.forward_paths.len(), names.len());
            }
        }
        prop_assert!(taken.next().is_none());
    }
}

/// What the client is told in AUTH, and who is logged in then.
fn log_in(mechanism: Mechanism, password: &str, cut: usize) -> (Vec<u16>, Option<String>) {
    let credentials = Credentials::new(USER, password, Some(mechanism), ClearText::Allowed).unwrap();
    let manner = Manner {
        hello: Hello::new("me.example"),
        grouping: Grouping::Pipelined,
        starttls: StartTls::Never,
        credentials: Some(Arc::new(credentials)),
    };
    let (mut client, mut server) = (Client::new(Arc::new(manner), 7), Server::new(0));
    let mut replies = Vec::new();
    let mut to_client = b"220 mx.example.com\r\n".to_vec();
    while !client.is_idle() && !client.is_over() {
        let mut input = &to_client[..cut.min(to_client.len())];
        let taken = input.len();
        let mut is_wrong = false;
        while let Some(event) = client.advance(&mut input).unwrap() {
            if event.phase == Phase::Auth {
                replies.push(event.reply.code());
                is_wrong |= event.reply.code() == 535;
            }
        }
        to_client.drain(..taken);
        if is_wrong {
            break;
        }
        let mut piece = client.output().concat();
        piece.truncate(cut);
        client.sent(piece.len());
        to_client.extend(server.receive(&piece));
    }
    (replies, server.session.user().map(str::to_owned))
}

#[test]
fn each_mechanism_lets_our_client_in_with_the_password_and_with_no_other() {
    let user = Some("tim@x.example".to_owned());
    for cut in [1, 7, 1000] {
        for (mechanism, steps) in [(Mechanism::Plain, 0), (Mechanism::Login, 2), (Mechanism::ScramSha256, 2)]
        {
            let (replies, who) = log_in(mechanism, PASSWORD, cut);
            assert_eq!(replies, [vec![334; steps], vec![235]].concat(), "{mechanism:?}");
            assert_eq!(who, user);
            let (replies, who) = log_in(mechanism, "wrong", cut);
            assert_eq!((replies.last(), who), (Some(&535), None), "{mechanism:?}");
        }
    }
}
