//! Handshakes: when TLS begins, how many have their turn, until when, and what follows. Behind them TLS is the business of
//! [`passage`](super::passage) alone.
//!
//! ```text
//!   STARTTLS ─▶ 220 ─▶ StartTls ──written──▶ Handshake ─────────────────────────▶ Open, and the client says EHLO
//!                     submissions, pop3s ──▶ Handshake ─▶ Greeting ──its time──▶ Open, behind the banner
//! ```
//!
//! Nothing that was read before TLS began is ever offered to it or to the session within: STARTTLS is the last that the
//! session takes in plain, and nothing is read until its 220 is written. What comes by then is TLS or the end.

use log::{debug, info, log_enabled};

use super::Server;
use super::connection::{CloseReason, Phase, Stream};
use super::passage::Received;
use crate::limits::{
    COMMANDS_RECEIVED_MAX, HANDSHAKE_SECS, HANDSHAKE_STORM_SECS, HANDSHAKES_MAX, HANDSHAKES_PER_TURN,
    HANDSHAKES_STORM, READ_PER_TURN,
};
use crate::log_value::Escaped;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::net::tls::{Tls, TlsError};
use crate::wire::Outbox;
use crate::wire::sasl::Bindings;

impl<S: Stream> Server<S> {
    /// Begins TLS on a connection that has said all that was to be said in plain. A client of a proxy may have `sent`
    /// something of it, behind the proxy's header.
    pub(super) fn begin_tls(&mut self, key: Key, sent: &[u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(Ok(tls)) = self.tls.as_ref().map(Tls::server) else {
            return self.close(key, CloseReason::Tls);
        };
        debug_assert!(connection.carry.is_empty() && connection.outbox.is_empty());
        connection.tls = Some(tls);
        connection.is_shaking = true;
        let began_ms = now.ms();
        connection.phase = Phase::Handshake { began_ms, look_ms: began_ms + HANDSHAKE_STORM_SECS * 1000 };
        self.handshakes_open += 1;
        self.handshakes.push_back(key);
        self.make_room_for_handshakes();
        if !sent.is_empty() {
            self.take_flight(key, sent, now);
        }
        self.watch(key);
        if self.connections.get(key).is_some_and(|connection| connection.can_advance()) {
            self.list(key);
        }
    }

    /// Has the oldest handshakes give way while there are too many.
    fn make_room_for_handshakes(&mut self) {
        while let Some(&oldest) = self.handshakes.front() {
            if self.connections.get(oldest).is_some_and(|connection| connection.is_shaking) {
                if self.handshakes_open <= HANDSHAKES_MAX {
                    return;
                }
                self.counters.timeouts += 1;
                self.close(oldest, CloseReason::HandshakeTimeout);
            }
            self.handshakes.pop_front();
        }
    }

    /// Lets those in a handshake go on, until so many of them were answered: an answer is what costs time.
    pub(super) fn shake_ready(&mut self, now: Now) {
        let mut answers = HANDSHAKES_PER_TURN;
        for _ in 0..self.shaking.len() {
            if answers == 0 {
                break;
            }
            let Some(key) = self.shaking.pop_front() else { break };
            self.drive_on(key, READ_PER_TURN, now);
            let is_answer = |tls: &Tls| tls.wants_write();
            let answered = self.connections.get(key).and_then(|connection| connection.tls.as_ref());
            answers -= usize::from(answered.is_some_and(is_answer));
        }
    }

    /// One step of a handshake.
    pub(super) fn shake(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (received, input) = connection.input(&mut self.buffers, COMMANDS_RECEIVED_MAX);
        match received {
            Received::Octets(_) => {}
            Received::Nothing => return,
            Received::End => return self.close(key, CloseReason::Client),
            Received::Broken => return self.close(key, CloseReason::Reset),
            Received::TlsFailed(error) => return self.tls_failed(key, &error, now),
        }
        let input = input.to_vec();
        self.shaken(key, input, now);
    }

    /// Takes the first of a handshake that was received already.
    fn take_flight(&mut self, key: Key, sent: &[u8], now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(tls) = &mut connection.tls else { return };
        let mut input = Vec::new();
        match tls.receive(sent, &mut input) {
            Ok(()) => self.shaken(key, input, now),
            Err(error) => self.tls_failed(key, &error, now),
        }
    }

    /// A step is made: it may have brought input, if it was the last.
    fn shaken(&mut self, key: Key, input: Vec<u8>, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(tls) = &connection.tls else { return };
        let (wants_write, is_handshaking) = (tls.wants_write(), tls.is_handshaking());
        if !is_handshaking {
            self.secured(key, input, now);
        } else if connection.is_input_over {
            return self.close(key, CloseReason::Client); // it took its leave
        }
        if wants_write {
            self.mark_dirty(key);
        }
    }

    /// The handshake is done: the session begins anew, with what the client said behind it.
    fn secured(&mut self, key: Key, input: Vec<u8>, now: Now) {
        let Some(service) = self.connections.get(key).map(|connection| connection.service) else { return };
        let greeting = self.greeting(service, now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Some(tls) = &connection.tls else { return };
        self.counters.handshakes += 1;
        self.counters.handshakes_resumed += u64::from(tls.is_resumed());
        if log_enabled!(log::Level::Debug) {
            let (version, suite) =
                (tls.version().unwrap_or_default(), tls.cipher_suite().unwrap_or_default());
            debug!(
                "secured client={} tls={version} suite={suite} resumed={}",
                connection.client,
                tls.is_resumed()
            );
        }
        connection.is_shaking = false;
        self.handshakes_open -= 1;
        // Of the bindings there are, clients have this one (RFC 9266), and only TLS 1.3 gives it.
        let bindings = if tls.exporter().is_some() { Bindings::Offered } else { Bindings::Absent };
        connection.session.secured(bindings);
        connection.progressed(now.ms(), 0);
        if service.is_in_tls() {
            connection.phase = greeting;
            if !input.is_empty() {
                self.talked_early(key, input, now);
            }
            self.greet_if_due(key, now);
        } else {
            connection.phase = Phase::Open;
            connection.has_fresh_carry = !input.is_empty();
            connection.carry = input;
        }
        self.charge(key);
    }

    /// TLS is broken: the client is told why, as far as TLS has a word for that, and the connection ends.
    pub(super) fn tls_failed(&mut self, key: Key, error: &TlsError, now: Now) {
        let was_shaking = self.handshake_is_over(key);
        let Some(connection) = self.connections.get_mut(key) else { return };
        self.counters.tls_failed += u64::from(!was_shaking);
        info!("tls failed client={} cause={}", connection.client, Escaped(error.to_string().as_bytes()));
        if connection.is_parked {
            // The message's end had come, and it is taken; nobody can be told.
            let _ = connection.write_pending(now.ms());
            return self.close(key, CloseReason::Tls);
        }
        self.counters.aborted += u64::from(connection.session.is_in_transaction());
        connection.outbox = Outbox::new(); // replies that cannot be said any more
        connection.phase = Phase::Finishing(CloseReason::Tls);
        connection.progressed(now.ms(), 0);
        self.mark_dirty(key);
    }

    /// Takes a connection out of the unfinished handshakes, which it failed to finish; whether it was among them.
    pub(super) fn handshake_is_over(&mut self, key: Key) -> bool {
        let Some(connection) = self.connections.get_mut(key) else { return false };
        let was_shaking = std::mem::take(&mut connection.is_shaking);
        self.handshakes_open -= usize::from(was_shaking);
        self.counters.tls_failed += u64::from(was_shaking);
        was_shaking
    }

    /// A handshake has had some of its time: in a storm all of it, else it is looked at again each second.
    pub(super) fn judge_handshake(&mut self, key: Key, now: Now) {
        let is_storm = self.handshakes_open > HANDSHAKES_STORM;
        let Some(connection) = self.connections.get_mut(key) else { return };
        let Phase::Handshake { began_ms, look_ms } = connection.phase else { return };
        let end_ms = began_ms + HANDSHAKE_SECS * 1000;
        if is_storm || look_ms >= end_ms {
            self.counters.timeouts += 1;
            return self.close(key, CloseReason::HandshakeTimeout);
        }
        connection.phase = Phase::Handshake { began_ms, look_ms: (now.ms() + 1000).min(end_ms) };
    }
}
