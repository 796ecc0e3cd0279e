//! Counters of what the server did. Plain numbers: one thread owns them.

use std::fmt;
use std::time::Duration;

/// What happened since the start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Connections turned away with 421, because there were too many.
    pub connections_refused: u64,
    /// Connections turned away with 421, because their client had as many in this minute as one may have.
    pub connections_limited: u64,
    /// Messages put off at MAIL, because their client had sent as many in this minute as one may send.
    pub messages_limited: u64,
    /// Connections from trusted proxies that brought no header, or a bad one.
    pub proxy_errors: u64,
    /// Users let in.
    pub logins: u64,
    /// Logins with a wrong user or password.
    pub logins_failed: u64,
    /// Logins put off with 454, because too many passwords waited.
    pub logins_put_off: u64,
    /// Logins that were not looked at, because too many of the client's had failed.
    pub logins_refused: u64,
    /// Connections whose client spoke before the banner.
    pub early_talkers: u64,
    /// Connections that ended by a deadline.
    pub timeouts: u64,
    /// Connections that were reset, or that a client closed within a transaction.
    pub aborted: u64,
    /// Handshakes of TLS that came to their end.
    pub handshakes: u64,
    /// Those of them that went on from an earlier session.
    pub handshakes_resumed: u64,
    /// Connections on which a handshake, or TLS behind it, came to nothing.
    pub tls_failed: u64,
    /// Messages answered with 250.
    pub accepted: u64,
    /// Octets of mail data in them.
    pub accepted_octets: u64,
    /// Senders and recipients that were not taken: not local, no room, or the client's limit.
    pub rejected: u64,
    /// Messages whose data was refused after its end: for what it is, for memory, room or a failed disk.
    pub refused: u64,
    /// Batches committed.
    pub commits: u64,
    /// Time spent in their syncs.
    pub sync_time: Duration,
    /// Messages delivered and settled.
    pub delivered: u64,
    /// Attempts of delivery that failed.
    pub delivery_failures: u64,
    /// Messages set aside into `spool/held`.
    pub held: u64,
    /// Messages delivered from there.
    pub released: u64,
    /// Messages removed from there by the operator.
    pub removed: u64,
    /// Messages found damaged and set aside into `spool/quarantine`.
    pub quarantined: u64,
    /// Maildrops opened by POP3.
    pub maildrops: u64,
    /// Those that were not, because another session had the mailbox.
    pub maildrops_in_use: u64,
    /// Messages that POP3's clients read to their end, short ones by TOP too.
    pub popped: u64,
    /// Octets that they read.
    pub popped_octets: u64,
    /// Messages that they removed.
    pub maildrop_removed: u64,
}

/// `key=value` pairs for one log line.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections={} connections_refused={} connections_limited={} messages_limited={} proxy_errors={} logins={} logins_failed={} logins_put_off={} logins_refused={} early_talkers={} timeouts={} aborted={} handshakes={} handshakes_resumed={} tls_failed={} accepted={} accepted_octets={} \
             rejected={} refused={} commits={} sync_ms={} delivered={} delivery_failures={} held={} released={} removed={} quarantined={} \
             maildrops={} maildrops_in_use={} popped={} popped_octets={} maildrop_removed={}",
            self.connections,
            self.connections_refused,
            self.connections_limited,
            self.messages_limited,
            self.proxy_errors,
            self.logins,
            self.logins_failed,
            self.logins_put_off,
            self.logins_refused,
            self.early_talkers,
            self.timeouts,
            self.aborted,
            self.handshakes,
            self.handshakes_resumed,
            self.tls_failed,
            self.accepted,
            self.accepted_octets,
            self.rejected,
            self.refused,
            self.commits,
            self.sync_time.as_millis(),
            self.delivered,
            self.delivery_failures,
            self.held,
            self.released,
            self.removed,
            self.quarantined,
            self.maildrops,
            self.maildrops_in_use,
            self.popped,
            self.popped_octets,
            self.maildrop_removed
        )
    }
}
