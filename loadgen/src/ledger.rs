//! The ledger: what a server took responsibility for, written down as it says so, to be held against its mailboxes.
//!
//! ```text
//!   # loadgen ledger 1 <TAB> run <TAB> start <TAB> target
//!   # id <TAB> acknowledged <TAB> octets <TAB> sha256 <TAB> recipients
//!   0f1e...cdef <TAB> 2026-11-23T22:40:01.123456Z <TAB> 1024 <TAB> 9f86...0a08 <TAB> user1@example.com,user2@...
//! ```
//!
//! Two lines of head, then a line for each message whose end of data was answered with 250 (of LMTP: for some of its
//! recipients), in the order in which the replies were read. Octets and hash are of the content as it was sent, from the
//! line of its id on, unstuffed, lines ended by CRLF; recipients are those that were accepted; times are UTC. A last
//! line without a line end is torn: its writer was killed.
//!
//! [`Ledger`] writes. A thread of its own does, fed through a bounded queue, so that the generator's loop does not wait
//! for a disk; but if the queue is full it does wait: a ledger with holes is worth nothing. Lines are with the kernel
//! a second later at the most, and so outlive the generator, but not a crash of its machine. [`Ledger::finish`] says
//! what failed. [`read`] reads a ledger, line by line.

mod entry;
mod writer;

pub use entry::{Entry, Head, LedgerError, Reader, read};
pub use writer::{Ledger, Recorder, Written};
