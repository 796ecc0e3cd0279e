//! Work that the loop hands out, and what comes back. Values only: who runs them, and when, is not said here.

use super::courier::{DeliveryDone, DeliveryJob};
use crate::net::slots::Key;
use crate::net::tls::ServerTls;
use crate::spool::{Batch, Committed, Prepare, Prepared, SpillDone, SpillJob};

/// Something that would block the loop.
pub enum Job {
    /// Write a batch to the log and sync it. At most one is out.
    Commit(Batch),
    /// Deliver messages into Maildirs, or make earlier deliveries durable. At most one is out.
    Deliver(DeliveryJob),
    /// Make the log's next segment ready. At most one is out.
    Prepare(Prepare),
    /// Write a part of a large message to its file. At most one is out for each connection.
    Spill(Key, SpillJob),
}

/// A job's end.
pub enum Completion {
    /// Of [`Job::Commit`].
    Committed(Committed),
    /// Of [`Job::Deliver`].
    Delivered(DeliveryDone),
    /// Of [`Job::Prepare`].
    Prepared(Prepared),
    /// Of [`Job::Spill`].
    Spilled(Key, SpillDone),
    /// Of no job: somebody changed what the server was started with.
    Reloaded(Reload),
}

/// What was read anew, as far as it changed. What cannot be used is not here: the old holds on.
#[derive(Debug, Default)]
pub struct Reload {
    /// What new connections begin TLS with.
    pub tls: Option<ServerTls>,
}
