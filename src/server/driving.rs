//! Driving sessions: reading, answering, deadlines, writing. The part of the turn that has to do with connections.

use std::panic::{AssertUnwindSafe, catch_unwind};

use log::{error, info};

use super::Server;
use super::connection::{CloseReason, Deadline, Phase, Stream};
use super::passage::Received;
use super::spoken::{LastWord, Spoken};
use crate::limits::{BULK_PER_TURN, COMMANDS_RECEIVED_MAX, READ_PER_TURN, RECEIVE_BUFFER};
use crate::log_value::Escaped;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::smtp::{Address, Need, Reply, Session};
use crate::wire::Outbox;

/// What a session waits for, as far as its connection is concerned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Wants {
    Input,
    #[default]
    Nothing,
}

/// What became of input that a session was offered.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Advanced {
    /// Octets taken.
    pub consumed: usize,
    /// Whether the session said something, or its end is to be written.
    pub has_answered: bool,
    pub wants: Wants,
}

impl<S: Stream> Server<S> {
    /// Drives each ready connection once, by a fair share; then some of those in a handshake; then those with large
    /// messages, by one share for all.
    pub(super) fn drive_ready(&mut self, now: Now) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            self.drive_on(key, READ_PER_TURN, now);
        }
        self.shake_ready(now);
        let mut share = BULK_PER_TURN;
        for _ in 0..self.bulk.len() {
            if share == 0 {
                break;
            }
            let Some(key) = self.bulk.pop_front() else { break };
            share -= self.drive_on(key, share.min(READ_PER_TURN), now);
        }
    }

    /// Drives a ready connection by a share of octets to read; gives how many were read.
    pub(super) fn drive_on(&mut self, key: Key, share: usize, now: Now) -> usize {
        let Some(connection) = self.connections.get_mut(key) else { return 0 };
        connection.is_listed = false;
        match connection.phase {
            Phase::Proxied(_) => self.await_header(key, now),
            Phase::Greeting(_) => self.await_greeting(key, now),
            Phase::Open => {}
            Phase::Handshake { .. } => self.shake(key, now),
            Phase::Lingering { reason, .. } => {
                if connection.linger(&mut self.buffers.wire) {
                    self.close(key, reason);
                }
                return 0;
            }
            Phase::StartTls | Phase::Finishing(_) => return 0,
        }
        let read = self.drive(key, share, now);
        if self.stop.is_some() {
            self.dismiss_if_idle(key, now);
        }
        self.watch(key);
        if self.connections.get(key).is_some_and(|connection| connection.can_advance()) {
            self.list(key);
        }
        read
    }

    /// Looks for input before the banner, and says the banner when its time has come.
    pub(super) fn await_greeting(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        // Some may have come with a proxy's header already; then it waits as carry.
        let (received, input) = connection.input(&mut self.buffers, COMMANDS_RECEIVED_MAX);
        let talk = input.to_vec();
        match received {
            Received::Octets(_) | Received::Nothing => {}
            Received::End if talk.is_empty() => return self.close(key, CloseReason::Client),
            Received::End => connection.is_input_over = true,
            Received::Broken => return self.close(key, CloseReason::Reset),
            Received::TlsFailed(error) => return self.tls_failed(key, &error, now),
        }
        if !talk.is_empty() {
            self.talked_early(key, talk, now);
        }
        self.greet_if_due(key, now);
    }

    pub(super) fn greet_if_due(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get(key) else { return };
        if matches!(connection.phase, Phase::Greeting(until_ms) if until_ms <= now.ms()) {
            self.greet(key, now);
        }
    }

    /// A client spoke before the banner: that is refused where the banner is held back, and else taken like any input.
    pub(super) fn talked_early(&mut self, key: Key, talk: Vec<u8>, now: Now) {
        self.counters.early_talkers += 1;
        let Some(service) = self.connections.get(key).map(|connection| connection.service) else { return };
        if !self.greeting_delay(service).is_zero() {
            return self.dismiss(key, LastWord::SpokeEarly, CloseReason::Dismissed, now);
        }
        if let Some(connection) = self.connections.get_mut(key) {
            connection.carry = talk;
            connection.has_fresh_carry = true;
        }
    }

    fn greet(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.phase = Phase::Open;
        connection.session.greet(&mut connection.outbox);
        connection.progressed(now.ms(), 0);
        self.mark_dirty(key);
    }

    /// Reads and advances one session until it needs something that is not here, or has had its share; gives how much
    /// of that it had.
    fn drive(&mut self, key: Key, share: usize, now: Now) -> usize {
        let mut left = share;
        // The buffers are lent to this loop, so that the session can be answered by the rest of the server.
        let mut buffers = std::mem::take(&mut self.buffers);
        while let Some(connection) = self.connections.get_mut(key) {
            if connection.phase != Phase::Open || !connection.can_advance() || left == 0 {
                break;
            }
            // Commands are read by less, for what a client pipelines beyond the outbox's bound stays as carry.
            let end = if connection.session.is_in_data() { RECEIVE_BUFFER } else { COMMANDS_RECEIVED_MAX };
            let (received, input) = connection.input(&mut buffers, end);
            let mut failure = None;
            match received {
                Received::Octets(octets) => left = left.saturating_sub(octets),
                Received::Nothing => {}
                Received::End => connection.is_input_over = true,
                Received::Broken => {
                    self.close(key, CloseReason::Reset);
                    break;
                }
                // What came before was said by the client for certain: an end of mail data, perhaps.
                Received::TlsFailed(error) => failure = Some(error),
            }
            match catch_unwind(AssertUnwindSafe(|| self.advance(key, input, now))) {
                Ok(Wants::Input) => self.end_if_input_is_over(key),
                Ok(Wants::Nothing) => {}
                Err(_) => {
                    self.panicked(key);
                    break;
                }
            }
            if let Some(error) = failure {
                self.tls_failed(key, &error, now);
            }
        }
        self.buffers = buffers;
        share - left
    }

    /// Does something for one session. A panic there ends that session, and no other.
    pub(super) fn contained(&mut self, key: Key, act: impl FnOnce(&mut Self)) {
        if catch_unwind(AssertUnwindSafe(|| act(self))).is_err() {
            self.panicked(key);
        }
    }

    fn panicked(&mut self, key: Key) {
        error!("a session panicked and was closed; please report this");
        self.close(key, CloseReason::Panic);
    }

    /// Offers `input` to a session and does what it needs, until it needs something that is not here.
    fn advance(&mut self, key: Key, input: &[u8], now: Now) -> Wants {
        let Some(connection) = self.connections.get(key) else { return Wants::Nothing };
        let Advanced { consumed, has_answered, wants } = match connection.session {
            Spoken::Smtp(_) => self.advance_smtp(key, input, now),
            Spoken::Pop3(_) => self.advance_pop3(key, input, now),
        };
        let Some(connection) = self.connections.get_mut(key) else { return Wants::Nothing };
        if consumed < input.len() {
            connection.carry = input[consumed..].to_vec();
            connection.has_fresh_carry = wants == Wants::Nothing;
        }
        // While data is awaited only data counts: a client that keeps memory does not keep it by saying NOOP.
        let has_progressed = if connection.session.awaits_data() { consumed > 0 } else { has_answered };
        if has_progressed {
            connection.progressed(now.ms(), consumed);
        }
        if has_answered {
            self.mark_dirty(key);
        }
        self.charge(key);
        wants
    }

    /// The same of an SMTP session.
    fn advance_smtp(&mut self, key: Key, input: &[u8], now: Now) -> Advanced {
        let spill_beyond = self.spill_beyond();
        let mut advanced = Advanced::default();
        while let Some(connection) = self.connections.get_mut(key) {
            let Spoken::Smtp(session) = &mut connection.session else { break };
            let waits_before = connection.outbox.pending().len();
            session.spill_beyond(spill_beyond);
            let progress = session.advance(&input[advanced.consumed..], &mut connection.outbox);
            advanced.consumed += progress.consumed;
            advanced.has_answered |= connection.outbox.pending().len() > waits_before;
            match progress.need {
                Need::Input => {
                    advanced.wants = Wants::Input;
                    break;
                }
                Need::Room => break,
                Need::Sender(envelope) => {
                    self.drop_spill_if_over(key); // the file of a message that was reset is not this one's
                    let answer = match self.sender(key, &envelope, now) {
                        Ok(()) => Ok(envelope),
                        Err(reply) => {
                            self.rejected(key, "from", envelope.reverse_path.as_ref(), reply);
                            Err(reply)
                        }
                    };
                    self.answer(key, |session, out| session.answer_sender(answer, out));
                }
                Need::Recipient(path) => {
                    let answer = self.recipient(key, path, now).map_err(|(reply, address)| {
                        self.rejected(key, "to", address.as_ref(), reply);
                        reply
                    });
                    self.answer(key, |session, out| session.answer_recipient(answer, out));
                }
                Need::Spill(part) => {
                    self.spill(key, part, now);
                    break;
                }
                Need::Commit(message) => {
                    if !self.take(key, message, now) {
                        break;
                    }
                }
                Need::Sasl(step) => {
                    if !self.login_step(key, step, now) {
                        break;
                    }
                }
                Need::StartTls => {
                    assert_eq!(
                        advanced.consumed,
                        input.len(),
                        "the session ends if anything stands behind STARTTLS"
                    );
                    connection.phase = Phase::StartTls;
                    break;
                }
                Need::Close(reason) => {
                    connection.phase = Phase::Finishing(CloseReason::Smtp(reason));
                    advanced.has_answered = true; // its end is to be written, if nothing else
                    break;
                }
            }
            advanced.has_answered = true;
        }
        self.tell_refused(key);
        self.drop_spill_if_over(key);
        advanced
    }

    /// Tells of messages that a session refused for their content.
    fn tell_refused(&mut self, key: Key) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Some((reply, count)) = connection.session.smtp_mut().take_refused()
        {
            self.counters.refused += u64::from(count);
            let (client, reply) = (connection.client, Escaped(reply.text().as_bytes()));
            info!("refused client={client} messages={count} reply={reply}");
        }
    }

    /// Answers an SMTP session.
    pub(super) fn answer(&mut self, key: Key, say: impl FnOnce(&mut Session, &mut Outbox)) {
        if let Some(connection) = self.connections.get_mut(key) {
            say(connection.session.smtp_mut(), &mut connection.outbox);
        }
    }

    /// Tells of a sender or a recipient that is not taken.
    fn rejected(&mut self, key: Key, what: &str, address: Option<&Address>, reply: Reply) {
        self.counters.rejected += 1;
        let Some(connection) = self.connections.get(key) else { return };
        let address = address.map(|address| address.to_string()).unwrap_or_default();
        let (address, reply) = (Escaped(address.as_bytes()), Escaped(reply.text().as_bytes()));
        info!("rejected client={} {what}={address} reply={reply}", connection.client);
    }

    /// Charges a connection's memory to the budget; sheds its message if the budget is used up. A message that is alone
    /// is never shed, for the budget holds the largest by configuration; only its envelope comes on top.
    pub(super) fn charge(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let mut holds = connection.memory();
        let others = self.memory - connection.charged as u64;
        let is_alone = others <= self.maildrops.memory();
        if !is_alone && others + holds as u64 > self.options.memory && connection.session.awaits_data() {
            connection.session.smtp_mut().shed(Reply::MEMORY_FULL);
            holds = connection.memory();
        }
        let outbox = connection.charged_outbox();
        if let Spoken::Pop3(visit) = &mut connection.session {
            self.maildrops.charge(visit, outbox);
        }
        connection.charged = holds;
        self.memory = others + holds as u64;
    }

    /// Takes note that replies of a maildrop were written.
    fn charge_replies(&mut self, key: Key) {
        if self.connections.get(key).is_some_and(|connection| connection.session.visit().is_some()) {
            self.charge(key);
        }
    }

    /// The client will send nothing more, and what it sent is answered: the connection ends.
    fn end_if_input_is_over(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if connection.is_input_over && connection.phase == Phase::Open {
            self.counters.aborted += u64::from(connection.session.is_in_transaction());
            connection.phase = Phase::Finishing(CloseReason::Client);
            self.mark_dirty(key);
        }
    }

    /// Looks for deadlines that have passed.
    pub(super) fn expire(&mut self, now: Now) {
        if self.timers.next_ms().is_none_or(|next| now.ms() < next) {
            return;
        }
        let mut due = Vec::new();
        self.timers.expired(now.ms(), &mut due);
        for key in due {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if connection.look_ms > now.ms() {
                continue; // it was looked at meanwhile, and will be again
            }
            connection.look_ms = u64::MAX;
            if let Some(deadline) = connection.deadline(&self.options)
                && deadline.ms() <= now.ms()
            {
                self.contained(key, |server| server.pass(key, deadline, now));
            }
            self.watch(key);
        }
    }

    /// A deadline has passed.
    fn pass(&mut self, key: Key, deadline: Deadline, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        match deadline {
            Deadline::Greet(_) => {
                self.greet(key, now);
                self.list(key);
            }
            Deadline::SayNo(_) => self.say_no(key, now),
            Deadline::Handshake(_) => self.judge_handshake(key, now),
            Deadline::Judge(_) => {
                if !connection.judge_minute(now.ms()) {
                    self.counters.timeouts += 1;
                    self.dismiss(key, LastWord::DataTimeout, CloseReason::DataTimeout, now);
                }
            }
            Deadline::Dismiss(_, word, reason) => {
                self.counters.timeouts += 1;
                self.dismiss(key, word, reason, now);
            }
            Deadline::Close(_, reason) => {
                self.counters.timeouts += u64::from(reason == CloseReason::WriteTimeout);
                self.close(key, reason);
            }
        }
    }

    /// Has the timers look at a connection in time.
    pub(super) fn watch(&mut self, key: Key) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(deadline) = connection.deadline(&self.options)
            && self.timers.look_ms(deadline.ms()) < connection.look_ms
        {
            connection.look_ms = self.timers.schedule(key, deadline.ms());
        }
    }

    /// Writes once to every connection that has something to say.
    pub(super) fn flush(&mut self, now: Now) {
        for key in std::mem::take(&mut self.dirty) {
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.is_dirty = false;
            if let Err(reason) = connection.write_pending(now.ms()) {
                self.close(key, reason);
                continue;
            }
            match connection.phase {
                Phase::StartTls if connection.is_written() => self.begin_tls(key, &[], now),
                Phase::Finishing(reason) if connection.is_written() => {
                    if connection.finish(reason, now.ms()) {
                        self.close(key, reason);
                        continue;
                    }
                    self.charge(key);
                    self.list(key);
                }
                _ if connection.can_advance() => self.list(key),
                _ => {}
            }
            self.charge_replies(key);
            self.watch(key);
        }
    }
}
