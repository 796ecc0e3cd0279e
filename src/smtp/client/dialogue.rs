//! The states of a client and all transitions between them: the replies come in already read, what is to be said is
//! borrowed from the [`Manner`] and the [`Mail`]. Allocates nothing as long as it goes well.

use std::sync::Arc;

use super::auth::{ClearText, Exchange, Reach};
use super::{Error, Extension, Extensions, Form, Grouping, Mail, Manner, Phase, Reply, StartTls};
use crate::wire::sasl::SaslError;

#[derive(Debug)]
pub(super) struct Dialogue {
    manner: Arc<Manner>,
    /// Of the transaction under way.
    mail: Option<Mail>,
    /// Of AUTH under way.
    exchange: Option<Box<Exchange>>,
    nonce: u64,
    pub(super) extensions: Extensions,
    /// Who can read what is said.
    reach: Reach,
    state: State,
    /// Octets of what the state says that are sent.
    sent: usize,
    /// In LMTP, the recipients that the server took: each has a reply of its own after the data.
    taken: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Banner,
    Ehlo,
    Helo,
    StartTls,
    /// The server waits for the handshake, which is the driver's.
    Handshake,
    Auth,
    Idle,
    Envelope(Answers),
    Data,
    Cancel,
    /// LMTP: this many of the recipients taken have their reply to the data.
    Outcomes(usize),
    /// A chunk that is refused before it was sent whole: its octets are owed, since the server counts them.
    Owed(Answers),
    /// LMTP: RSET behind a chunk that was for nobody, which RFC 2033 4.3 gives no reply and some servers a refusal.
    Orphan,
    Reset,
    Quit,
    Over,
}

/// What was answered of an envelope's commands so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Answers {
    /// How many: the index of the command whose reply is next.
    count: usize,
    /// Whether MAIL was taken, so that a transaction is open.
    open: bool,
    /// Recipients taken.
    recipients: usize,
}

impl Answers {
    /// Where a transaction goes whose data was refused, or makes no sense.
    fn to_reset(self) -> State {
        if self.open { State::Reset } else { State::Idle }
    }
}

/// What a reply answers, and which recipient it is about.
pub(super) type Answered = (Phase, Option<usize>);

impl Dialogue {
    pub(super) fn new(manner: Arc<Manner>, nonce: u64) -> Dialogue {
        Dialogue {
            manner,
            mail: None,
            exchange: None,
            nonce,
            extensions: Extensions::default(),
            reach: Reach::Everybody,
            state: State::Banner,
            sent: 0,
            taken: Vec::new(),
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.state == State::Idle
    }

    pub(super) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    pub(super) fn needs_tls(&self) -> bool {
        self.state == State::Handshake
    }

    /// Between the reply to STARTTLS and the handshake there is to be nothing.
    pub(super) fn refuse_injected(&self, input: &[u8]) -> Result<(), Error> {
        if self.needs_tls() && !input.is_empty() { Err(Error::Injected) } else { Ok(()) }
    }

    pub(super) fn secured(&mut self) {
        assert!(self.needs_tls(), "TLS begins when the server granted STARTTLS");
        self.reach = Reach::Server;
        self.extensions = Extensions::default();
        self.go(State::Ehlo);
    }

    pub(super) fn secured_from_start(&mut self) {
        assert_eq!(self.state, State::Banner, "TLS from the start begins before the banner");
        self.reach = Reach::Server;
    }

    pub(super) fn start(&mut self, mail: Mail) {
        assert!(self.is_idle(), "a transaction begins when the last has ended");
        let form = if self.manner.grouping == Grouping::Chunked { Form::Chunk } else { Form::Stuffed };
        assert_eq!(mail.form(), form, "data in the form of the other grouping");
        self.mail = Some(mail);
        self.taken.clear();
        self.go(State::Envelope(Answers::default()));
    }

    pub(super) fn quit(&mut self) {
        assert!(self.is_idle(), "QUIT comes when the last transaction has ended");
        self.go(State::Quit);
    }

    pub(super) fn end(&mut self) {
        self.go(State::Over);
    }

    /// What remains to be sent.
    pub(super) fn output(&self) -> [&[u8]; 2] {
        let [first, second] = self.saying();
        match self.sent.checked_sub(first.len()) {
            Some(beyond) => [&second[beyond..], b""],
            None => [&first[self.sent..], second],
        }
    }

    pub(super) fn sent(&mut self, count: usize) {
        self.sent += count;
        assert!(self.sent <= self.saying_len(), "more sent than there was to send");
        self.pay();
    }

    /// Takes a reply and goes on to what follows from it.
    pub(super) fn take(&mut self, reply: &Reply<'_>) -> Result<Answered, Error> {
        let answered @ (phase, _) = (self.phase(), self.recipient());
        if reply.code() == SERVICE_CLOSING {
            self.go(State::Over);
            return Ok(answered);
        }
        if self.is_refusal_of_orphan(reply) {
            if self.state == State::Orphan {
                self.go(State::Reset);
            }
            return Ok((Phase::Accept, None));
        }
        if phase == Phase::Unasked {
            return Err(Error::Unasked(reply.code()));
        }
        let next = if self.sent < self.needed() {
            self.after_early(phase, reply)?
        } else if has_meaning(phase, reply) {
            self.after(phase, reply)?
        } else {
            return Err(Error::OutOfPlace(phase, reply.code()));
        };
        self.go(next);
        Ok(answered)
    }

    /// What the state has to say, from its beginning.
    fn saying(&self) -> [&[u8]; 2] {
        let line: &[u8] = match self.state {
            State::Envelope(_) | State::Owed(_) if self.is_grouped() => return self.mail().group(),
            State::Envelope(answers) | State::Owed(answers) => return self.mail().command(answers.count),
            State::Data => return self.mail().data(),
            State::Banner | State::Handshake | State::Outcomes(_) | State::Idle | State::Over => b"",
            State::Ehlo => self.manner.hello.first(),
            State::Helo => self.manner.hello.fall_back(),
            State::StartTls => b"STARTTLS\r\n",
            State::Auth => self.exchange().line(),
            State::Cancel => b".\r\n",
            State::Orphan | State::Reset => b"RSET\r\n",
            State::Quit => b"QUIT\r\n",
        };
        [line, b""]
    }

    fn saying_len(&self) -> usize {
        self.saying().iter().map(|slice| slice.len()).sum()
    }

    /// Octets of what the state says that must be sent before its next reply makes sense.
    fn needed(&self) -> usize {
        match self.state {
            State::Envelope(answers) if self.is_grouped() => self.mail().end(answers.count),
            _ => self.saying_len(),
        }
    }

    /// What the next reply answers.
    fn phase(&self) -> Phase {
        match self.state {
            State::Banner => Phase::Banner,
            State::Ehlo => Phase::Ehlo,
            State::Helo => Phase::Helo,
            State::StartTls => Phase::StartTls,
            State::Auth => Phase::Auth,
            State::Envelope(answers) => self.mail().phase(answers.count),
            State::Data | State::Outcomes(_) => Phase::Accept,
            State::Cancel => Phase::Cancel,
            State::Orphan | State::Reset => Phase::Reset,
            State::Quit => Phase::Quit,
            State::Handshake | State::Owed(_) | State::Idle | State::Over => Phase::Unasked,
        }
    }

    /// Whom the next reply is about.
    fn recipient(&self) -> Option<usize> {
        match (self.state, self.phase()) {
            (State::Envelope(answers), Phase::Rcpt) => Some(answers.count - 1),
            (State::Outcomes(replies), _) => self.taken.get(replies).copied(),
            // Empty but in LMTP.
            (_, Phase::Accept) => self.taken.first().copied(),
            _ => None,
        }
    }

    fn is_refusal_of_orphan(&self, reply: &Reply<'_>) -> bool {
        let orphan = match self.state {
            State::Orphan => true,
            State::Owed(_) => self.is_lmtp(),
            _ => false,
        };
        orphan && reply.is_negative()
    }

    /// The state after a reply that came before what it answers was sent whole.
    fn after_early(&self, phase: Phase, reply: &Reply<'_>) -> Result<State, Error> {
        match self.state {
            _ if !reply.is_negative() => Err(Error::Early(phase, reply.code())),
            State::Envelope(answers) if phase == Phase::Accept && !self.is_lmtp() => Ok(State::Owed(answers)),
            // What would follow it no longer lines up.
            _ => Ok(State::Over),
        }
    }

    /// The state after a reply that has a meaning.
    fn after(&mut self, phase: Phase, reply: &Reply<'_>) -> Result<State, Error> {
        let negative = reply.is_negative();
        Ok(match (self.state, negative) {
            (State::Envelope(answers), _) => return self.after_command(answers, phase, reply),
            (State::Banner, false) => State::Ehlo,
            (State::Ehlo, false) => {
                self.extensions = Extensions::offered(reply);
                return self.welcomed();
            }
            (State::Helo, false) => return self.welcomed(),
            (State::Ehlo, true) if reply.is_permanent() && !self.is_lmtp() => State::Helo,
            (State::StartTls, false) => State::Handshake,
            (State::StartTls, true) => return self.without_tls(reply.code()),
            (State::Auth, false) => return self.after_auth(reply),
            (State::Data, _) if self.is_lmtp() => self.after_outcome(1),
            (State::Outcomes(replies), _) => self.after_outcome(replies + 1),
            (State::Data | State::Cancel, _) | (State::Orphan | State::Reset, false) => State::Idle,
            (State::Banner | State::Ehlo | State::Helo | State::Auth, true) => State::Quit,
            (State::Orphan | State::Reset, true) => State::Quit,
            (State::Quit, _) => State::Over,
            (State::Handshake | State::Owed(_) | State::Idle | State::Over, _) => {
                unreachable!("judged before")
            }
        })
    }

    /// The state after a hello that was taken: TLS first.
    fn welcomed(&mut self) -> Result<State, Error> {
        match (self.reach, self.manner.starttls) {
            (Reach::Server, _) | (_, StartTls::Never) => self.in_service(),
            _ if self.extensions.starttls => Ok(State::StartTls),
            (_, StartTls::WhenOffered) => self.in_service(),
            (_, StartTls::Required) => Err(Error::NotOffered(Extension::StartTls)),
        }
    }

    /// The state after a refused STARTTLS.
    fn without_tls(&mut self, code: u16) -> Result<State, Error> {
        let credentials = self.manner.credentials.as_ref();
        let clear = credentials.is_none_or(|credentials| credentials.clear() == ClearText::Allowed);
        match self.manner.starttls {
            StartTls::WhenOffered if clear => self.in_service(),
            _ => Err(Error::TlsRefused(code)),
        }
    }

    /// The state once it is settled who can read along.
    fn in_service(&mut self) -> Result<State, Error> {
        let chunked = self.manner.grouping == Grouping::Chunked;
        if chunked && !self.extensions.chunking {
            return Err(Error::NotOffered(Extension::Chunking));
        }
        let Some(credentials) = &self.manner.credentials else { return Ok(State::Idle) };
        let mechanism = credentials.choose(self.extensions.auth, self.reach)?;
        let exchange = Exchange::begin(Arc::clone(credentials), mechanism, self.nonce);
        self.exchange = Some(Box::new(exchange));
        Ok(State::Auth)
    }

    /// The state after a challenge, or a success.
    fn after_auth(&mut self, reply: &Reply<'_>) -> Result<State, Error> {
        let exchange = self.exchange.as_mut().expect("AUTH is said by an exchange");
        if reply.is_positive() {
            exchange.succeed()?;
            return Ok(State::Idle);
        }
        let mut lines = reply.lines();
        let challenge = lines.next().filter(|_| lines.next().is_none());
        exchange.answer(challenge.ok_or(SaslError::Malformed)?)?;
        Ok(State::Auth)
    }

    /// The state after a reply to one of an envelope's commands.
    fn after_command(
        &mut self,
        mut answers: Answers,
        phase: Phase,
        reply: &Reply<'_>,
    ) -> Result<State, Error> {
        let negative = reply.is_negative();
        self.count(&mut answers, phase, negative);
        let nobody = answers.recipients == 0;
        let data_is_next = self.mail().is_data(answers.count);
        Ok(match (phase, negative) {
            // LMTP owes the lone dot no reply (RFC 2033 4.2), so that one who grants DATA for nobody cannot be followed;
            // and nobody can take responsibility for a message to nobody.
            (Phase::Data, false) if nobody && self.is_lmtp() => return out_of_place(phase, reply),
            (Phase::Accept, false) if nobody => return out_of_place(phase, reply),
            (Phase::Data, false) if nobody => State::Cancel,
            (Phase::Data, false) => State::Data,
            (Phase::Accept, _) if self.is_lmtp() => self.after_outcome(1),
            (Phase::Accept, false) => State::Idle,
            // A refused chunk leaves the transaction in no state that one could know (RFC 3030 2).
            (Phase::Data | Phase::Accept, true) => answers.to_reset(),
            _ if self.is_grouped() && nobody && data_is_next && self.is_lmtp_chunk() => State::Owed(answers),
            _ if self.is_grouped() => State::Envelope(answers),
            (Phase::Mail, true) => State::Idle,
            _ if data_is_next && nobody => answers.to_reset(),
            _ => State::Envelope(answers),
        })
    }

    /// Takes note of a reply to one of an envelope's commands.
    fn count(&mut self, answers: &mut Answers, phase: Phase, negative: bool) {
        match phase {
            Phase::Mail => answers.open = !negative,
            Phase::Rcpt if !negative => {
                answers.recipients += 1;
                if self.is_lmtp() {
                    self.taken.push(answers.count - 1);
                }
            }
            _ => {}
        }
        if phase != Phase::Data && phase != Phase::Accept {
            answers.count += 1;
        }
    }

    /// The state when so many of the recipients taken have their reply to the data, in LMTP.
    fn after_outcome(&self, replies: usize) -> State {
        if replies < self.taken.len() { State::Outcomes(replies) } else { State::Idle }
    }

    fn go(&mut self, next: State) {
        // What goes on in what is being said already.
        let same = match (self.state, next) {
            (State::Envelope(_), State::Envelope(answers)) => answers.count > 0 && self.is_grouped(),
            (_, State::Owed(_)) | (State::Orphan, State::Reset) => true,
            _ => false,
        };
        self.state = next;
        if !same {
            self.sent = 0;
        }
        if matches!(next, State::Idle | State::Over) {
            self.mail = None;
        }
        if next != State::Auth {
            self.exchange = None;
        }
        self.pay();
    }

    /// Goes on once all octets of a chunk are sent that were owed.
    fn pay(&mut self) {
        if matches!(self.state, State::Owed(_)) && self.sent == self.saying_len() {
            self.go(if self.is_lmtp() { State::Orphan } else { State::Reset });
        }
    }

    /// Whether an envelope's commands are said all at once.
    fn is_grouped(&self) -> bool {
        self.manner.grouping != Grouping::Lockstep && self.extensions.pipelining
    }

    fn is_lmtp(&self) -> bool {
        self.manner.hello.is_lmtp()
    }

    fn is_lmtp_chunk(&self) -> bool {
        self.is_lmtp() && self.mail().form() == Form::Chunk
    }

    fn exchange(&self) -> &Exchange {
        self.exchange.as_ref().expect("AUTH is said by an exchange")
    }

    fn mail(&self) -> &Mail {
        self.mail.as_ref().expect("the states of a transaction come only from `start`, which has its mail")
    }
}

/// Whether a reply's class can answer such a thing.
fn has_meaning(phase: Phase, reply: &Reply<'_>) -> bool {
    match phase {
        _ if reply.is_negative() => true,
        Phase::Data => reply.is_intermediate(),
        // RFC 3207 4 knows no other.
        Phase::StartTls => reply.code() == READY,
        // RFC 4954 4.
        Phase::Auth => [CONTINUE, AUTHENTICATED].contains(&reply.code()),
        _ => reply.is_positive(),
    }
}

fn out_of_place(phase: Phase, reply: &Reply<'_>) -> Result<State, Error> {
    Err(Error::OutOfPlace(phase, reply.code()))
}

/// The server is about to close (RFC 5321 3.8), whatever it was asked.
const SERVICE_CLOSING: u16 = 421;

/// A challenge, and the success, of AUTH (RFC 4954 4 and 6).
const CONTINUE: u16 = 334;
/// See [`CONTINUE`].
const AUTHENTICATED: u16 = 235;

/// The server is ready for the handshake (RFC 3207 4).
const READY: u16 = 220;
