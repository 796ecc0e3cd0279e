//! The second driver of a session: no sockets, bytes in and replies out, cut wherever a test wants.

use std::sync::{Arc, LazyLock};

use fastsmtp::QueueId;
use fastsmtp::smtp::{
    ChannelBinding, CloseReason, Message, Need, Path, Profile, Reply, SaslStep, ScramBasis, ScramKeys,
    Security, Session,
};
use fastsmtp::wire::Outbox;
use fastsmtp::wire::sasl::Bindings;

/// A session with a policy for tests: mail for example.com is taken, no other; [`USER`] logs in with [`PASSWORD`], and is
/// [`ACCOUNT`] then.
pub struct Dialogue {
    pub session: Session,
    pub replies: Vec<u8>,
    pub messages: Vec<Message>,
    pub closed: Option<CloseReason>,
    /// Whether parts of large messages find no room.
    pub refuse_spills: bool,
    /// What was asked about exchanges of AUTH.
    pub steps: Vec<SaslStep>,
    /// What every login is answered with, instead of by the password.
    pub refuse_logins: Option<Reply>,
    /// Of the message under way, the parts that were handed out.
    spilled: Vec<u8>,
    carry: Vec<u8>,
}

pub const MESSAGE_SIZE_MAX: u64 = 4000;
pub const RECIPIENTS_MAX: usize = 3;

/// The one user, as in the example of RFC 7677 3, whose nonce and salt these are too.
pub const USER: &str = "user";
pub const PASSWORD: &str = "pencil";
pub const ACCOUNT: &str = "user@example.com";
pub const NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
const SALT: &[u8] = b"\x5b\x6d\x99\x68\x9d\x12\x35\x8e\xec\xa0\x4b\x14\x12\x36\xfa\x81";

static KEYS: LazyLock<ScramKeys> = LazyLock::new(|| ScramKeys::new(PASSWORD, SALT.to_vec(), 4096));
static NOBODYS_KEYS: LazyLock<ScramKeys> =
    LazyLock::new(|| ScramKeys { stored_key: [0; 32], server_key: [0; 32], ..KEYS.clone() });

/// What TLS would give.
pub fn binding_data(binding: ChannelBinding) -> Vec<u8> {
    match binding {
        ChannelBinding::Exporter => b"exported".to_vec(),
        ChannelBinding::ServerEndPoint => b"the certificate's hash".to_vec(),
    }
}

/// What a proof of this user is checked against.
pub fn scram_basis(user: &str, binding: Option<ChannelBinding>) -> ScramBasis {
    ScramBasis {
        keys: if user == USER { KEYS.clone() } else { NOBODYS_KEYS.clone() },
        nonce: NONCE.to_owned(),
        binding: binding.map(binding_data),
    }
}

impl Dialogue {
    pub fn new() -> Dialogue {
        Dialogue::with(Security::default())
    }

    pub fn with(security: Security) -> Dialogue {
        let profile = Profile::new("mx.example.com", "", MESSAGE_SIZE_MAX, RECIPIENTS_MAX).with(security);
        Dialogue {
            session: Session::new(Arc::new(profile)),
            replies: Vec::new(),
            messages: Vec::new(),
            closed: None,
            refuse_spills: false,
            steps: Vec::new(),
            refuse_logins: None,
            spilled: Vec::new(),
            carry: Vec::new(),
        }
    }

    /// Offers input in one piece, behind what was left of the piece before.
    pub fn feed(&mut self, input: &[u8]) {
        self.carry.extend_from_slice(input);
        let mut input = std::mem::take(&mut self.carry);
        let mut out = Outbox::new();
        while self.closed.is_none() {
            let progress = self.session.advance(&input, &mut out);
            assert!(progress.consumed <= input.len());
            input.drain(..progress.consumed);
            if !self.session.is_spilling() && !matches!(progress.need, Need::Commit(_)) {
                self.spilled.clear();
            }
            match progress.need {
                Need::Input => break,
                Need::Room => assert!(out.is_full(), "room is asked for when there is none"),
                Need::Sender(envelope) => self.session.answer_sender(Ok(envelope), &mut out),
                Need::Recipient(path) => {
                    let answer = match path {
                        Path::Mailbox(address) if address.domain_key() == "example.com" => Ok(address),
                        Path::Postmaster => Ok(fastsmtp::smtp::Address::new("postmaster", "example.com")),
                        _ => Err(Reply::RELAY_DENIED),
                    };
                    self.session.answer_recipient(answer, &mut out);
                }
                Need::Spill(_) if self.refuse_spills => self.session.spilled(Err(Reply::STORAGE_FULL)),
                Need::Spill(part) => {
                    self.spilled.extend_from_slice(&part);
                    self.session.spilled(Ok(part));
                }
                Need::Commit(mut message) => {
                    message.data.splice(..0, self.spilled.drain(..));
                    self.messages.push(message);
                    let id = QueueId { run: 0, counter: self.messages.len() as u64 };
                    self.session.committed(Ok(id), &mut out);
                }
                Need::Sasl(step) => self.answer_step(step, &mut out),
                Need::StartTls => self.session.secured(Bindings::Offered),
                Need::Close(reason) => self.closed = Some(reason),
            }
            self.replies.extend_from_slice(out.pending());
            out.advance(out.pending().len());
        }
        self.replies.extend_from_slice(out.pending());
        self.carry = input;
    }

    /// Offers input in pieces, cut at the given offsets.
    pub fn feed_cut(&mut self, input: &[u8], cuts: &[usize]) {
        let mut start = 0;
        for &cut in cuts.iter().chain([&input.len()]) {
            self.feed(&input[start..cut]);
            start = cut;
        }
    }

    fn answer_step(&mut self, step: SaslStep, out: &mut Outbox) {
        match &step {
            SaslStep::Password { user, password } => {
                self.answer_login(user == USER && password == PASSWORD, out);
            }
            SaslStep::Proof { is_right, .. } => self.answer_login(*is_right, out),
            SaslStep::Keys { user, binding } => {
                self.session.answer_keys(Ok(scram_basis(user, *binding)), out);
            }
        }
        self.steps.push(step);
    }

    fn answer_login(&mut self, is_right: bool, out: &mut Outbox) {
        let granted = if is_right { Ok(Arc::from(ACCOUNT)) } else { Err(Reply::LOGIN_FAILED) };
        self.session.answer_login(self.refuse_logins.map_or(granted, Err), out);
    }

    /// The codes of the replies so far, each reply once however many lines it has.
    pub fn codes(&self) -> Vec<u16> {
        codes(&self.replies)
    }
}

/// The codes of replies, each reply once.
pub fn codes(replies: &[u8]) -> Vec<u16> {
    let text = std::str::from_utf8(replies).expect("replies are ASCII");
    assert!(text.is_empty() || text.ends_with("\r\n"));
    let lines = text.split_terminator("\r\n");
    let last_lines = lines.filter(|line| line.as_bytes()[3] == b' ');
    last_lines.map(|line| line[..3].parse().expect("a reply begins with its code")).collect()
}

/// Runs `input` through a fresh session, cut at the given offsets.
pub fn run(input: &[u8], cuts: &[usize]) -> Dialogue {
    run_spilling(input, cuts, usize::MAX)
}

/// As [`run`], with a session that hands out mail data beyond so many octets.
pub fn run_spilling(input: &[u8], cuts: &[usize], spill_beyond: usize) -> Dialogue {
    let mut dialogue = Dialogue::new();
    dialogue.session.spill_beyond(spill_beyond);
    dialogue.feed_cut(input, cuts);
    dialogue
}

/// Runs `input` whole, byte by byte and split at every offset, and insists that it makes no difference.
pub fn run_three_ways(input: &[u8]) -> Dialogue {
    run_each_way(input, Dialogue::new)
}

/// As [`run_three_ways`], with sessions of this making.
pub fn run_each_way(input: &[u8], make: impl Fn() -> Dialogue) -> Dialogue {
    let run = |input: &[u8], cuts: &[usize]| {
        let mut dialogue = make();
        dialogue.feed_cut(input, cuts);
        dialogue
    };
    let whole = run(input, &[]);
    let same = |other: &Dialogue, how: &str| {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert_eq!(text(&other.replies), text(&whole.replies), "{how}: {}", text(input));
        assert_eq!(other.messages, whole.messages, "{how}: {}", text(input));
        assert_eq!(other.closed, whole.closed, "{how}: {}", text(input));
        assert_eq!(other.steps, whole.steps, "{how}: {}", text(input));
        assert_eq!(other.session.user(), whole.session.user(), "{how}: {}", text(input));
    };
    same(&run(input, &(1..input.len()).collect::<Vec<_>>()), "byte by byte");
    for cut in 1..input.len().min(SPLITS_MAX) {
        same(&run(input, &[cut]), &format!("cut at {cut}"));
    }
    whole
}

/// Beyond so many octets only the byte by byte run looks at every offset.
const SPLITS_MAX: usize = 600;
