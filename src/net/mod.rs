//! Connections without a protocol: slots with generations, deadlines, and TLS.

pub mod slots;
pub mod timers;
pub mod tls;
