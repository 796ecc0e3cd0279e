//! Connections without a protocol: slots with generations, deadlines, networks, and TLS.

pub mod network;
pub mod slots;
pub mod timers;
pub mod tls;
