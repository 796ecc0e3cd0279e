//! fastsmtp: an SMTP server whose 250 means durable.
#![forbid(unsafe_code)]

pub mod calendar;
pub mod disk;
pub mod event_loop;
pub mod limits;
pub mod log_value;
pub mod mailbox;
pub mod net;
pub mod queue_id;
pub mod server;
pub mod smtp;
pub mod spool;
pub mod units;
pub mod wire;
pub mod workers;

pub use queue_id::QueueId;
