//! fastsmtp: an SMTP server whose 250 means durable.
#![forbid(unsafe_code)]

pub mod disk;
pub mod limits;
pub mod net;
pub mod queue_id;
pub mod server;
pub mod smtp;
pub mod units;
pub mod wire;

pub use queue_id::QueueId;
