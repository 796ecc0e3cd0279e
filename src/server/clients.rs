//! Limits per client: how many connections and messages one address may bring in a minute, and how many mistakes it may
//! make. Asked by the server, which brings the time; counts only, and forgets.
//!
//! A client is an IPv4 address, or the /64 of an IPv6 one: whoever has one address of a /64 has all of them.
//!
//! **Promise.** In no minute, wherever it begins, is one client allowed more than its limit. What it was allowed is
//! forgotten 60 to 80 seconds later ([`Meter`]); what it was refused does not count, so that who comes again too early
//! is not shut out for ever. Mistakes likewise, in ten minutes and up to 13.
//!
//! **Cost.** One look into a hash table for each question, whatever an attacker does. The table has two halves: who comes
//! is moved into the young one, and once that is full, or as old as a mistake may count, the old one is thrown away
//! whole and the young one is the old. So the clients that came longest ago are forgotten, without a search for them. The
//! hash is keyed by random: nobody can choose addresses that collide.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use crate::limits::{CLIENTS_COUNTED_MAX, FAILED_LOGINS_MAX, MISTAKES_WINDOW_MS, UNKNOWN_RECIPIENTS_MAX};
use crate::net::network::Network;

/// What the operator allows each client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientLimits {
    /// Connections in a minute; none for no limit.
    pub connections: Option<NonZeroU32>,
    /// Messages in a minute, counted at MAIL; none for no limit.
    pub messages: Option<NonZeroU32>,
    /// Clients without limits of any kind.
    pub exempt: Vec<Network>,
}

/// No limit but those of mistakes, and none for this machine's own clients.
impl Default for ClientLimits {
    fn default() -> Self {
        ClientLimits { connections: None, messages: None, exempt: Network::loopback().into() }
    }
}

/// What clients did of late.
#[derive(Debug)]
pub struct Clients {
    limits: ClientLimits,
    young: HashMap<Client, Record>,
    old: HashMap<Client, Record>,
    /// Clients that each half holds at the most.
    half_max: usize,
    /// When the young half began.
    began_ms: u64,
}

impl Clients {
    /// Nobody yet.
    pub fn new(limits: ClientLimits) -> Clients {
        Clients {
            limits,
            young: HashMap::new(),
            old: HashMap::new(),
            half_max: CLIENTS_COUNTED_MAX / 2,
            began_ms: 0,
        }
    }

    /// Whether a client may have one more connection now; if so, it is counted.
    pub fn may_connect(&mut self, address: IpAddr, now_ms: u64) -> bool {
        let limit = self.limits.connections;
        self.allows(limit, address, now_ms, |record| &mut record.connections, MINUTE_MS)
    }

    /// Whether a client may send one more message now; if so, it is counted.
    pub fn may_send(&mut self, address: IpAddr, now_ms: u64) -> bool {
        let limit = self.limits.messages;
        self.allows(limit, address, now_ms, |record| &mut record.messages, MINUTE_MS)
    }

    /// Takes note of a login that failed.
    pub fn failed_login(&mut self, address: IpAddr, now_ms: u64) {
        self.add(address, now_ms, |record| &mut record.failed_logins);
    }

    /// Whether a client may try to log in: not if [`FAILED_LOGINS_MAX`] of its attempts failed.
    pub fn may_try_login(&self, address: IpAddr, now_ms: u64) -> bool {
        self.mistakes(address, now_ms, |record| &record.failed_logins) < FAILED_LOGINS_MAX
    }

    /// Takes note of a recipient that is not here.
    pub fn unknown_recipient(&mut self, address: IpAddr, now_ms: u64) {
        self.add(address, now_ms, |record| &mut record.unknown_recipients);
    }

    /// Whether a client may be told that a recipient is not here: not if it named [`UNKNOWN_RECIPIENTS_MAX`] of those.
    pub fn may_guess_recipients(&self, address: IpAddr, now_ms: u64) -> bool {
        self.mistakes(address, now_ms, |record| &record.unknown_recipients) < UNKNOWN_RECIPIENTS_MAX
    }

    /// How many clients it counts for: at most [`CLIENTS_COUNTED_MAX`].
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nobody came of late.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn allows(
        &mut self,
        limit: Option<NonZeroU32>,
        address: IpAddr,
        now_ms: u64,
        meter: impl FnOnce(&mut Record) -> &mut Meter,
        window_ms: u64,
    ) -> bool {
        let Some(limit) = limit else { return true };
        if self.is_exempt(address) {
            return true;
        }
        let meter = meter(self.record(address, now_ms));
        let is_allowed = meter.count(now_ms, window_ms) < limit.get();
        if is_allowed {
            meter.add(now_ms, window_ms);
        }
        is_allowed
    }

    fn add(&mut self, address: IpAddr, now_ms: u64, meter: impl FnOnce(&mut Record) -> &mut Meter) {
        if !self.is_exempt(address) {
            meter(self.record(address, now_ms)).add(now_ms, MISTAKES_WINDOW_MS);
        }
    }

    fn mistakes(&self, address: IpAddr, now_ms: u64, meter: impl FnOnce(&Record) -> &Meter) -> u32 {
        let client = Client::of(address);
        let record = self.young.get(&client).or_else(|| self.old.get(&client));
        record.map_or(0, |record| meter(record).count(now_ms, MISTAKES_WINDOW_MS))
    }

    /// Whether a client has no limits of any kind.
    pub fn is_exempt(&self, address: IpAddr) -> bool {
        Network::any_contains(&self.limits.exempt, address)
    }

    /// The record of a client, in the young half from now on.
    fn record(&mut self, address: IpAddr, now_ms: u64) -> &mut Record {
        if self.young.len() >= self.half_max || now_ms >= self.began_ms + FORGOTTEN_AFTER_MS {
            self.old = std::mem::take(&mut self.young);
            self.began_ms = now_ms;
        }
        let client = Client::of(address);
        let old = &mut self.old;
        self.young.entry(client).or_insert_with(|| old.remove(&client).unwrap_or_default())
    }
}

/// Whose doings are counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Client {
    V4(u32),
    /// The first 64 bits.
    V6(u64),
}

impl Client {
    pub fn of(address: IpAddr) -> Client {
        match address.to_canonical() {
            IpAddr::V4(address) => Client::V4(address.to_bits()),
            IpAddr::V6(address) => Client::V6((address.to_bits() >> 64) as u64),
        }
    }
}

/// What one client did.
#[derive(Debug, Clone, Copy, Default)]
struct Record {
    connections: Meter,
    messages: Meter,
    failed_logins: Meter,
    unknown_recipients: Meter,
}

/// Counts events of a window of time that slides by thirds.
///
/// ```text
///          |<-------- any window -------->|
///   |    2    |    0    |    1    |    3  ·
///                                         now: 6 are counted, and for the next third as well
/// ```
///
/// The present third and the three before it reach back by at least the window: whatever the window's beginning, all its
/// events are among them. At most a third more is.
#[derive(Debug, Clone, Copy, Default)]
struct Meter {
    /// Events of the present third, then of those before it.
    counts: [u32; 1 + THIRDS as usize],
    /// Which third since the clock began the present one is.
    third: u32,
}

impl Meter {
    /// Events that still count.
    fn count(&self, now_ms: u64, window_ms: u64) -> u32 {
        let kept = self.counts.len().saturating_sub(self.elapsed(now_ms, window_ms));
        self.counts[..kept].iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// Counts one event.
    fn add(&mut self, now_ms: u64, window_ms: u64) {
        let elapsed = self.elapsed(now_ms, window_ms);
        self.counts.rotate_right(elapsed);
        self.counts[..elapsed].fill(0);
        self.counts[0] = self.counts[0].saturating_add(1);
        self.third = third_of(now_ms, window_ms);
    }

    /// Thirds since the last event, as many as there are counts at the most.
    fn elapsed(&self, now_ms: u64, window_ms: u64) -> usize {
        (third_of(now_ms, window_ms).saturating_sub(self.third) as usize).min(self.counts.len())
    }
}

/// Wraps after 2,700 years.
fn third_of(now_ms: u64, window_ms: u64) -> u32 {
    (now_ms * THIRDS / window_ms) as u32
}

const THIRDS: u64 = 3;
const MINUTE_MS: u64 = 60_000;
/// When nothing that a client did can count any more.
const FORGOTTEN_AFTER_MS: u64 = MISTAKES_WINDOW_MS * (THIRDS + 1) / THIRDS;

const _: () = assert!(MINUTE_MS <= MISTAKES_WINDOW_MS, "no count outlives a half of the table");

#[cfg(test)]
mod tests;
