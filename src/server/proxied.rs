//! Connections of trusted proxies: whose they are is known once the proxy's header has come (PROXY protocol), and until
//! then nothing else is looked at. The part of the turn between accepting such a connection and its banner.

use std::net::SocketAddr;

use log::{debug, info};

use super::Server;
use super::connection::{CloseReason, Phase, Received, Stream};
use crate::limits::{COMMANDS_RECEIVED_MAX, PROXY_HEADER_SECS};
use crate::log_value::Escaped;
use crate::net::network::Network;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::smtp::{self, Reply};
use crate::wire::proxy::{self, Header};

impl<S: Stream> Server<S> {
    /// Whether a connection from there begins with a proxy's header.
    pub(super) fn is_proxy(&self, address: SocketAddr) -> bool {
        Network::any_contains(&self.options.trusted_proxies, address.ip())
    }

    /// The phase of a new connection.
    pub(super) fn first_phase(&self, is_proxied: bool, now: Now) -> Phase {
        match is_proxied {
            true => Phase::Proxied(now.ms() + PROXY_HEADER_SECS * 1000),
            false => Phase::Greeting(now.ms() + self.options.greeting_delay.as_millis() as u64),
        }
    }

    /// Reads on in a proxy's header. What is none, or ends before its end, ends the connection without a word: there is
    /// nobody whom it could be for.
    pub(super) fn await_header(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if !connection.may_be_readable {
            return;
        }
        let begun = connection.carry.len();
        self.buffer[..begun].copy_from_slice(&connection.carry);
        let octets = match connection.receive(&mut self.buffer[begun..COMMANDS_RECEIVED_MAX]) {
            Received::Octets(octets) => octets,
            Received::Nothing => return,
            Received::End => return self.close(key, CloseReason::Client),
            Received::Broken => return self.close(key, CloseReason::Reset),
        };
        let input = &self.buffer[..begun + octets];
        match proxy::parse(input) {
            Header::Partial => connection.carry = input.to_vec(),
            Header::Whole { consumed, source } => {
                connection.carry = input[consumed..].to_vec();
                self.introduce(key, source, now);
            }
            Header::Bad => return self.close(key, CloseReason::BadProxyHeader),
        }
        self.charge(key);
    }

    /// Whose connection it is has been said; if nobody's but the proxy's own, as when it looks whether we are well, its
    /// connections have no limit. What stood behind the header is in the carry.
    fn introduce(&mut self, key: Key, source: Option<SocketAddr>, now: Now) {
        let phase = self.first_phase(false, now);
        let Some(connection) = self.connections.get_mut(key) else { return };
        connection.phase = phase;
        if let Some(source) = source {
            let client = SocketAddr::new(source.ip().to_canonical(), source.port());
            debug!("proxy={} speaks for client={client}", connection.client);
            connection.client = client;
            if !self.clients.may_connect(client.ip(), now.ms()) {
                self.tell_limited(client);
                let reason = CloseReason::Session(smtp::CloseReason::Dismissed);
                return self.dismiss(key, Reply::CLIENT_CONNECTIONS, reason, now);
            }
        }
        if let Phase::Greeting(until_ms) = phase {
            self.await_greeting(key, until_ms, now);
        }
    }

    /// Tells of a connection beyond its client's limit.
    pub(super) fn tell_limited(&mut self, client: SocketAddr) {
        self.counters.connections_limited += 1;
        info!("turned away client={client} reply={}", Escaped(Reply::CLIENT_CONNECTIONS.text().as_bytes()));
    }
}

#[cfg(test)]
mod tests;
