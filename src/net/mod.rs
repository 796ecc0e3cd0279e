//! Connections without a protocol: slots with generations, deadlines, and a stream with what was read ahead of it.

pub mod slots;
pub mod timers;
