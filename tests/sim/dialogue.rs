//! The model of the dialogue: what a client said, and which replies are right, in number and order.
//!
//! A second, small reading of RFC 5321, 2920 and 3030, kept apart from the server's. It follows the replies where the
//! server has a choice (452 for want of room), and leaves none where it has none. What a client says is known to it as
//! values, in the order of the octets; nothing is parsed.

use std::collections::VecDeque;

use fastsmtp::QueueId;
use fastsmtp::limits::SESSION_ERRORS_MAX;
use fastsmtp::smtp::Address;

use super::oracle::{Answer, Failure, Oracle, Verdict, mailbox};

/// What a client says, or is owed.
#[derive(Debug, Clone)]
pub enum Said {
    /// Nothing: the banner comes first.
    Nothing,
    Hello,
    Mail {
        size: Option<u64>,
        is_valid: bool,
    },
    Recipient(Recipient),
    Data,
    /// Mail data with its end. If the server does not await any, it is these lines, each with its end.
    Content {
        mail: usize,
        flaw: Option<Flaw>,
        lines: Vec<(u64, Said)>,
    },
    /// A chunk of BDAT with its octets, of a mail that has the flaw by then.
    Chunk {
        mail: usize,
        flaw: Option<Flaw>,
        size: usize,
        is_last: bool,
    },
    Reset,
    Noop,
    Verify,
    Quit,
    /// What no server takes.
    Nonsense,
    /// A line with an LF that no CR stands before; answered there, and thrown away up to its CRLF.
    BareLf,
}

#[derive(Debug, Clone)]
pub enum Recipient {
    /// Ours; the address as the server is to note it.
    Local(Address),
    Foreign,
    Malformed,
}

/// What is wrong with mail data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flaw {
    BareLineEnd,
    TooBig,
}

#[derive(Debug)]
enum State {
    Start,
    Ready,
    /// Recipients so far, here and below.
    Mail(Vec<Address>),
    Data(Vec<Address>),
    Chunks(Vec<Address>),
}

/// What the server promised in general.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub message_size_max: u64,
    pub recipients_max: usize,
    pub may_refuse_early_talkers: bool,
}

pub struct Dialogue {
    rules: Rules,
    state: State,
    errors: u32,
    /// Whether the server had no room for the last transaction.
    is_put_off: bool,
    /// What is not answered, with the octet behind it.
    said: VecDeque<(u64, Said)>,
    /// The beginning of a reply.
    partial: Vec<u8>,
    /// The last reply was given.
    is_closed: bool,
}

impl Dialogue {
    pub fn new(rules: Rules) -> Dialogue {
        let said = VecDeque::from([(0, Said::Nothing)]);
        Dialogue {
            rules,
            state: State::Start,
            errors: 0,
            is_put_off: false,
            said,
            partial: Vec::new(),
            is_closed: false,
        }
    }

    /// The client says something that ends at an octet of its stream.
    pub fn say(&mut self, end: u64, said: Said) {
        self.said.push_back((end, said));
    }

    pub fn is_closed(&self) -> bool {
        self.is_closed
    }

    pub fn awaits_data(&self) -> bool {
        matches!(self.state, State::Data(_))
    }

    /// Whether all is answered and no transaction is under way.
    pub fn is_ready(&self) -> bool {
        self.said.is_empty() && matches!(self.state, State::Start | State::Ready)
    }

    /// Whether all is answered, also what has not arrived.
    pub fn is_answered(&self) -> bool {
        self.said.is_empty() || self.is_closed
    }

    /// What arrived and is not answered.
    pub fn owed(&self, arrived: u64) -> Option<&Said> {
        let (end, said) = self.said.front().filter(|_| !self.is_closed)?;
        let end = match said {
            Said::Content { lines, .. } if !self.awaits_data() => lines.first().map_or(*end, |(end, _)| *end),
            _ => *end,
        };
        (end <= arrived).then_some(said)
    }

    /// Octets of replies come.
    pub fn receive(&mut self, octets: &[u8], arrived: u64, oracle: &mut Oracle) -> Verdict {
        self.partial.extend_from_slice(octets);
        while let Some(at) = self.partial.windows(2).position(|pair| pair == b"\r\n") {
            let line: Vec<u8> = self.partial.drain(..at + 2).collect();
            let line = String::from_utf8_lossy(&line[..at]).into_owned();
            if line.as_bytes().get(3) != Some(&b'-') {
                self.reply(&line, arrived, oracle)?;
            }
        }
        Ok(())
    }

    /// One reply, by its last line.
    fn reply(&mut self, line: &str, arrived: u64, oracle: &mut Oracle) -> Verdict {
        if self.is_closed {
            return Err(Failure::new(format!("a reply behind the last one: {line}")));
        }
        self.read_refused_content_as_lines(oracle);
        let Some(owed) = self.owed(arrived).cloned() else {
            // Time, or a stop, may end a session unasked.
            self.is_closed = line.starts_with("421 4.4.2") || line.starts_with("421 4.3.2");
            return self
                .is_closed
                .then_some(())
                .ok_or_else(|| Failure::new(format!("a reply to nothing: {line}")));
        };
        let allowed = self.allowed(&owed);
        if !allowed.iter().any(|prefix| line.starts_with(&**prefix)) {
            let what = format!("{owed:?} in {:?} was answered {line:?}, not {allowed:?}", self.state);
            return Err(Failure { mail: mail_of(&owed), what });
        }
        if line.starts_with("421") || line.starts_with("221") || line.starts_with("554 5.5.1 you") {
            self.is_closed = true;
            return Ok(());
        }
        self.said.pop_front();
        self.apply(owed, line, oracle)
    }

    fn read_refused_content_as_lines(&mut self, oracle: &mut Oracle) {
        while !self.awaits_data()
            && let Some((_, Said::Content { mail, lines, .. })) = self.said.front().cloned()
        {
            oracle.answered(mail, Answer::Refused { is_known: true });
            self.said.pop_front();
            lines.into_iter().rev().for_each(|line| self.said.push_front(line));
        }
    }

    /// How replies to this may begin.
    fn allowed(&self, said: &Said) -> Vec<String> {
        let mut allowed: Vec<String> = self.replies(said).iter().map(|reply| reply.to_string()).collect();
        if let (Said::Chunk { size, is_last: false, .. }, "250 2.0.0") = (said, &*allowed[0]) {
            allowed[0] = format!("250 2.0.0 {size} octets");
        }
        let is_mistake = allowed.iter().any(|reply| reply.starts_with('5'))
            && !self.ends_message(said)
            && !self.follows(said);
        if is_mistake && self.errors + 1 >= SESSION_ERRORS_MAX {
            allowed = vec!["421 4.7.0 too many errors".into()];
        }
        allowed.extend(["421 4.4.2".into(), "421 4.3.2".into()]); // time, or a stop
        allowed
    }

    fn replies(&self, said: &Said) -> &'static [&'static str] {
        match (&self.state, said) {
            (_, Said::Nothing) if self.rules.may_refuse_early_talkers => {
                &["220 ", "421 4.7.0 too many conn", "554 5.5.1 you"]
            }
            (_, Said::Nothing) => &["220 ", "421 4.7.0 too many conn"],
            (_, Said::Hello) => &["250 "],
            (_, Said::Noop) => &["250 2.0.0 ok"],
            (_, Said::Reset) => &["250 2.0.0 flushed"],
            (_, Said::Verify) => &["252 2.5.2"],
            (_, Said::Quit) => &["221 2.0.0"],
            (_, Said::Nonsense | Said::BareLf) => &["500 5.5"],
            (_, Said::Mail { is_valid: false, .. }) => &["501 5.1.7"],
            (State::Ready, Said::Mail { size, .. }) => match size {
                Some(size) if *size > self.rules.message_size_max => &["552 5.3.4"],
                _ => &["250 2.1.0", "451 4.3.0", "452 4.3.1"],
            },
            (_, Said::Recipient(Recipient::Malformed)) => &["501 5.1.3"],
            (State::Mail(recipients), Said::Recipient(recipient)) => match recipient {
                _ if recipients.len() >= self.rules.recipients_max => &["452 4.5.3"],
                Recipient::Local(_) => &["250 2.1.5", "452 4.3.1"],
                _ => &["550 5.7.1", "452 4.3.1"],
            },
            (State::Mail(recipients), Said::Data) if recipients.is_empty() => &["554 5.5.1"],
            (State::Mail(_), Said::Data) => &["354 "],
            (State::Data(_), Said::Content { flaw, .. }) => end_of_message(*flaw),
            (_, Said::Chunk { .. }) if !self.ends_message(said) => &["503 5.5.1 no transaction"],
            (_, Said::Chunk { flaw, is_last: true, .. }) => end_of_message(*flaw),
            (_, Said::Chunk { flaw: None, .. }) => &["250 2.0.0", "451 4.3.0", "452 4.3.1"],
            (_, Said::Chunk { flaw, .. }) => end_of_message(*flaw),
            (_, Said::Mail { .. } | Said::Recipient(_) | Said::Data) => &["503 5.5.1"],
            (_, Said::Content { .. }) => unreachable!("refused content is lines"),
        }
    }

    /// Whether this was said for a transaction that the server put off: then it is no mistake.
    fn follows(&self, said: &Said) -> bool {
        let is_behind = match (&self.state, said) {
            (State::Ready, Said::Recipient(recipient)) => !matches!(recipient, Recipient::Malformed),
            (State::Ready, Said::Data | Said::Chunk { .. }) => true,
            (State::Mail(recipients), Said::Data | Said::Chunk { .. }) => recipients.is_empty(),
            _ => false,
        };
        is_behind && self.is_put_off
    }

    /// Whether a negative reply to this refuses a message rather than blames the client.
    fn ends_message(&self, said: &Said) -> bool {
        match (&self.state, said) {
            (State::Mail(recipients), Said::Chunk { .. }) => !recipients.is_empty(),
            (State::Chunks(_), Said::Chunk { .. }) | (State::Data(_), Said::Content { .. }) => true,
            _ => false,
        }
    }

    /// What a reply, which was right, makes of the session.
    fn apply(&mut self, said: Said, line: &str, oracle: &mut Oracle) -> Verdict {
        let is_taken = !line.starts_with(['4', '5']);
        let in_message = self.ends_message(&said);
        self.errors += u32::from(line.starts_with('5') && !in_message && !self.follows(&said));
        match said {
            Said::Mail { .. } if is_taken => self.is_put_off = false,
            Said::Mail { .. } | Said::Recipient(_) => {
                self.is_put_off |= line.starts_with("45") && !line.starts_with("452 4.5.3")
            }
            _ => {}
        }
        if let (Said::Chunk { mail, .. }, false) = (&said, in_message) {
            oracle.answered(*mail, Answer::Refused { is_known: true });
        }
        match (said, &mut self.state) {
            (Said::Hello, _) => self.state = State::Ready,
            (Said::Reset, State::Start) => {}
            (Said::Reset, _) => self.state = State::Ready,
            (Said::Mail { .. }, _) if is_taken => self.state = State::Mail(Vec::new()),
            (Said::Recipient(Recipient::Local(address)), State::Mail(recipients)) if is_taken => {
                // One mailbox has a message once.
                recipients.retain(|there| *there != address);
                recipients.push(address);
            }
            (Said::Data, State::Mail(recipients)) if is_taken => {
                self.state = State::Data(std::mem::take(recipients));
            }
            (Said::Chunk { is_last: false, .. }, State::Mail(recipients) | State::Chunks(recipients))
                if is_taken =>
            {
                self.state = State::Chunks(std::mem::take(recipients));
            }
            (Said::Content { mail, .. } | Said::Chunk { mail, .. }, _) if in_message => {
                return self.end_message(mail, line, oracle);
            }
            _ => {}
        }
        Ok(())
    }

    fn end_message(&mut self, mail: usize, line: &str, oracle: &mut Oracle) -> Verdict {
        let state = std::mem::replace(&mut self.state, State::Ready);
        let (State::Mail(recipients) | State::Data(recipients) | State::Chunks(recipients)) = state else {
            unreachable!("a message ends within a transaction");
        };
        let Some(id) = line.strip_prefix("250 2.0.0 queued as ") else {
            // What is put off for want of room is nowhere, whatever the disk does; 451 says that nobody knows.
            let is_known = !line.starts_with("451 ") || !oracle.had_fault;
            oracle.answered(mail, Answer::Refused { is_known });
            return Ok(());
        };
        self.errors = 0;
        let id: QueueId = id.parse().map_err(|_| Failure::new(format!("no queue id: {line}")))?;
        oracle.names(id, mail)?;
        let mailboxes = recipients.iter().map(mailbox).collect();
        oracle.answered(mail, Answer::Accepted { id, recipients, mailboxes });
        Ok(())
    }
}

fn mail_of(said: &Said) -> Option<usize> {
    match said {
        Said::Content { mail, .. } | Said::Chunk { mail, .. } => Some(*mail),
        _ => None,
    }
}

fn end_of_message(flaw: Option<Flaw>) -> &'static [&'static str] {
    match flaw {
        None => &["250 2.0.0 queued as ", "451 4.3.0", "452 4.3.1"],
        Some(Flaw::BareLineEnd) => &["550 5.6.0", "451 4.3.0", "452 4.3.1"],
        Some(Flaw::TooBig) => &["552 5.3.4", "451 4.3.0", "452 4.3.1"],
    }
}
