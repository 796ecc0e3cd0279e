//! Connections of trusted proxies: whose they are is known once the proxy's header has come (PROXY protocol), and until
//! then nothing else is looked at. The part of the turn between accepting such a connection and its banner.

use std::net::SocketAddr;

use log::{debug, info};

use super::Server;
use super::connection::{CloseReason, Phase, Stream};
use super::options::Service;
use super::passage::Received;
use super::spoken::LastWord;
use crate::limits::{COMMANDS_RECEIVED_MAX, PROXY_HEADER_SECS};
use crate::log_value::Escaped;
use crate::net::network::Network;
use crate::net::slots::Key;
use crate::net::timers::Now;
use crate::wire::proxy::{self, Header};

impl<S: Stream> Server<S> {
    /// Whether a connection from there begins with a proxy's header.
    pub(super) fn is_proxy(&self, address: SocketAddr) -> bool {
        Network::any_contains(&self.options.trusted_proxies, address.ip())
    }

    /// The phase of a new connection from there.
    pub(super) fn proxied(&self, now: Now) -> Phase {
        Phase::Proxied(now.ms() + PROXY_HEADER_SECS * 1000)
    }

    /// Reads on in a proxy's header. What is none, or ends before its end, ends the connection without a word: there is
    /// nobody whom it could be for.
    pub(super) fn await_header(&mut self, key: Key, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let (received, input) = connection.input(&mut self.buffers, COMMANDS_RECEIVED_MAX);
        match received {
            Received::Octets(_) | Received::Nothing => {}
            Received::End => return self.close(key, CloseReason::Client),
            Received::Broken => return self.close(key, CloseReason::Reset),
            Received::TlsFailed(_) => unreachable!("TLS begins behind the header"),
        }
        match proxy::parse(input) {
            Header::Partial => connection.carry = input.to_vec(),
            Header::Whole { consumed, source } => {
                let sent = input[consumed..].to_vec();
                self.introduce(key, source, sent, now);
            }
            Header::Bad => return self.close(key, CloseReason::BadProxyHeader),
        }
        self.charge(key);
    }

    /// Whose connection it is has been said; if nobody's but the proxy's own, as when it looks whether we are well, its
    /// connections have no limit. Behind the header came what was `sent`.
    fn introduce(&mut self, key: Key, source: Option<SocketAddr>, sent: Vec<u8>, now: Now) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        if let Some(source) = source {
            let client = SocketAddr::new(source.ip().to_canonical(), source.port());
            debug!("proxy={} speaks for client={client}", connection.client);
            connection.client = client;
            let service = connection.service;
            if !self.clients.may_connect(client.ip(), now.ms()) {
                self.tell_limited(client, service);
                // Where TLS comes first the close says it alone.
                return match service.is_in_tls() {
                    true => self.close(key, CloseReason::Dismissed),
                    false => self.dismiss(key, LastWord::ClientConnections, CloseReason::Dismissed, now),
                };
            }
        }
        self.begin(key, sent, now);
        if self.connections.get(key).is_some_and(|connection| matches!(connection.phase, Phase::Greeting(_)))
        {
            self.await_greeting(key, now);
        }
    }

    /// Tells of a connection beyond its client's limit.
    pub(super) fn tell_limited(&mut self, client: SocketAddr, service: Service) {
        self.counters.connections_limited += 1;
        let reply = LastWord::ClientConnections.text(service);
        info!("turned away client={client} reply={}", Escaped(reply.as_bytes()));
    }
}

#[cfg(test)]
pub(super) mod tests;
