//! The second driver of a POP3 session: no sockets, bytes in and replies out, cut wherever a test wants. Its maildrop is a
//! vector of mails.

use std::sync::Arc;

use fastsmtp::limits::{OUTBOX_MAX, POP3_PART};
use fastsmtp::pop3::{
    Bindings, Changes, CloseReason, Listed, Need, Offer, Part, Profile, Refusal, SaslStep, Security, Session,
    Wanted,
};
use fastsmtp::wire::Outbox;

use super::dialogue::{ACCOUNT, PASSWORD, USER, scram_basis};

/// A session with a server for tests: [`USER`] logs in with [`PASSWORD`], is [`ACCOUNT`] then, and has these mails.
pub struct Dialogue {
    pub session: Session,
    /// What the session said.
    pub said: Vec<u8>,
    pub mails: Vec<Vec<u8>>,
    /// Octets of a part, at the most: a disk may give fewer than are wanted.
    pub part_max: usize,
    /// What each login, opening or update is answered with, instead of as it should.
    pub login_refusal: Option<Refusal>,
    pub open_refusal: Option<Refusal>,
    pub update_refusal: Option<Refusal>,
    /// The offset from which on no mail can be read, and what is answered then.
    pub read_failure: Option<(u64, Refusal)>,
    /// What was asked of the server.
    pub steps: Vec<SaslStep>,
    pub reads: Vec<Wanted>,
    pub updates: Vec<Changes>,
    pub closed: Option<CloseReason>,
    /// The most that waited to be written.
    pub pending_max: usize,
    /// What was not taken yet.
    pub carry: Vec<u8>,
}

impl Dialogue {
    /// Before any TLS.
    pub fn with(security: Security, mails: &[&str]) -> Dialogue {
        Dialogue {
            session: Session::new(Arc::new(Profile::new("mx.example.com").with(security))),
            said: Vec::new(),
            mails: mails.iter().map(|mail| mail.as_bytes().to_vec()).collect(),
            part_max: POP3_PART,
            login_refusal: None,
            open_refusal: None,
            update_refusal: None,
            read_failure: None,
            steps: Vec::new(),
            reads: Vec::new(),
            updates: Vec::new(),
            closed: None,
            pending_max: 0,
            carry: Vec::new(),
        }
    }

    /// Under TLS from the start.
    pub fn in_tls(mails: &[&str]) -> Dialogue {
        let mut dialogue = Dialogue::with(Security { starttls: true, auth: Offer::InTls }, mails);
        dialogue.session.secured(Bindings::Offered);
        dialogue
    }

    /// Offers input in one piece, behind what was left of the piece before.
    pub fn feed(&mut self, input: &[u8]) {
        self.carry.extend_from_slice(input);
        let mut out = Outbox::new();
        while self.closed.is_none() {
            let progress = self.session.advance(&self.carry, &mut out);
            self.carry.drain(..progress.consumed);
            self.pending_max = self.pending_max.max(out.pending().len());
            match progress.need {
                Need::Input => break,
                Need::Room => assert!(!out.is_empty(), "room is asked for when all is written"),
                Need::StartTls => self.session.secured(Bindings::Offered),
                Need::Close(reason) => self.closed = Some(reason),
                need => self.answer(need, &mut out),
            }
            self.write(&mut out);
        }
        self.write(&mut out);
    }

    fn write(&mut self, out: &mut Outbox) {
        self.pending_max = self.pending_max.max(out.pending().len());
        self.said.extend_from_slice(out.pending());
        out.advance(out.pending().len());
    }

    fn answer(&mut self, need: Need, out: &mut Outbox) {
        match need {
            Need::Sasl(step) => self.answer_step(step, out),
            Need::Open => {
                assert_eq!(self.session.user(), Some(ACCOUNT));
                assert!(!self.session.is_open());
                let listing = self.listing();
                self.session.answer_open(self.open_refusal.map_or(Ok(listing), Err), out);
            }
            Need::Read(wanted) => {
                assert!(out.is_empty() && self.session.is_reading());
                self.reads.push(wanted);
                self.session.answer_read(self.read(wanted), out);
            }
            Need::Update(changes) => {
                assert!(out.is_empty() && self.session.is_open());
                self.updates.push(changes);
                self.session.answer_update(self.update_refusal.map_or(Ok(()), Err), out);
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn listing(&self) -> Vec<Listed> {
        let listed = |(index, mail): (usize, &Vec<u8>)| Listed {
            uid: format!("uid-{}", index + 1).into(),
            octets: mail.len() as u64,
        };
        self.mails.iter().enumerate().map(listed).collect()
    }

    fn read(&self, wanted: Wanted) -> Result<Part, Refusal> {
        if let Some((from, refusal)) = self.read_failure
            && wanted.offset >= from
        {
            return Err(refusal);
        }
        let rest = &self.mails[wanted.message][usize::try_from(wanted.offset).unwrap()..];
        let octets = rest.len().min(wanted.octets).min(self.part_max);
        Ok(Part { octets: rest[..octets].to_vec(), is_last: octets == rest.len() })
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
        let granted = if is_right { Ok(Arc::from(ACCOUNT)) } else { Err(Refusal::LOGIN_FAILED) };
        self.session.answer_login(self.login_refusal.map_or(granted, Err), out);
    }

    /// Offers input in pieces, cut at the given offsets.
    pub fn feed_cut(&mut self, input: &[u8], cuts: &[usize]) {
        let mut start = 0;
        for &cut in cuts.iter().chain([&input.len()]) {
            self.feed(&input[start..cut]);
            start = cut;
        }
    }

    /// What was said since the last call.
    pub fn take_said(&mut self) -> String {
        String::from_utf8(std::mem::take(&mut self.said)).unwrap()
    }

    /// Insists that what can be seen of the other is the same.
    pub fn assert_same(&self, other: &Dialogue, how: &str) {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        assert_eq!(text(&self.said), text(&other.said), "{how}");
        assert_eq!(self.steps, other.steps, "{how}");
        assert_eq!(self.reads, other.reads, "{how}");
        assert_eq!(self.updates, other.updates, "{how}");
        assert_eq!(self.closed, other.closed, "{how}");
        assert_eq!(self.session.user(), other.session.user(), "{how}");
        assert_eq!(self.session.is_open(), other.session.is_open(), "{how}");
        // Of an endless line, it is known where the end was only when it is too late.
        if self.closed != Some(CloseReason::LineTooLong) {
            assert_eq!(text(&self.carry), text(&other.carry), "{how}: what was taken");
        }
        assert!(self.pending_max <= PENDING_MAX, "{how}: {} octets waited", self.pending_max);
    }
}

/// What may wait to be written: a part, each octet of which became two, in an empty outbox with its `+OK`; or a full outbox.
const PENDING_MAX: usize = if OUTBOX_MAX > 2 * POP3_PART { OUTBOX_MAX } else { 2 * POP3_PART + 100 };

/// Runs `input` whole, byte by byte and split at every offset, and insists that it makes no difference.
pub fn run_each_way(input: &[u8], make: impl Fn() -> Dialogue) -> Dialogue {
    let run = |cuts: &[usize]| {
        let mut dialogue = make();
        dialogue.feed_cut(input, cuts);
        dialogue
    };
    let whole = run(&[]);
    run(&(1..input.len()).collect::<Vec<_>>()).assert_same(&whole, "byte by byte");
    for cut in 1..input.len().min(SPLITS_MAX) {
        run(&[cut]).assert_same(&whole, &format!("cut at {cut}"));
    }
    whole
}

/// Holds the session to a transcript of lines `C: ` and `S: `: line by line, and with all commands at once, in each way
/// that they may be cut.
pub fn holds(make: impl Fn() -> Dialogue, transcript: &str) -> Dialogue {
    let mut steps: Vec<(String, String)> = Vec::new();
    for line in transcript.lines().map(str::trim_start).filter(|line| !line.is_empty()) {
        match (line.split_at(line.len().min(3)), steps.last_mut()) {
            (("C: ", command), _) => steps.push((format!("{command}\r\n"), String::new())),
            (("S: " | "S:", reply), Some((_, replies))) => replies.push_str(&format!("{reply}\r\n")),
            _ => panic!("neither C: nor S: {line}"),
        }
    }
    let mut dialogue = make();
    for (command, replies) in &steps {
        dialogue.feed(command.as_bytes());
        assert_eq!(&dialogue.take_said(), replies, "{command}");
    }
    let input: String = steps.iter().map(|(command, _)| command.as_str()).collect();
    let expected: String = steps.iter().map(|(_, replies)| replies.as_str()).collect();
    let whole = run_each_way(input.as_bytes(), make);
    assert_eq!(String::from_utf8(whole.said.clone()).unwrap(), expected);
    whole
}

/// Beyond so many octets only the byte by byte run looks at every offset.
const SPLITS_MAX: usize = 600;
