//! fastsmtp: an SMTP server whose 250 means durable, and POP3 to read what came.
//!
//! ```text
//!               bytes             lines             message            queue id
//!   socket ──▶ Connection ──────▶ Session ────────▶ Spool ───────────▶ Queue ──▶ courier ──▶ Maildir
//!     ▲        (TLS, carry)        │ ▲              (one batch per turn)
//!     │                            │ └─ logins, policy: who it is, what it may, by Accounts and Clients
//!     └──(TLS)─ Outbox ◀───────────┘                 │
//!                      replies                        ▼
//!                                      committer thread: write, fdatasync
//!                                                     │ completion (durable through id), one wake
//!                                                     └──────────▶ next turn: the 250s
//! ```
//!
//! Data flows left to right; only reply bytes, answers to a session's questions and completions flow back. Mail is read by
//! the other kind of session, POP3's, which gets parts of the Maildir's files as completions. One thread runs the event loop
//! and owns all state. Seven workers run what would block it: one commits, one delivers, one makes segments of the log ready,
//! one writes large messages, one judges passwords, one measures, lists and changes mailboxes, one reads messages. An eighth
//! looks whether the certificate or the accounts changed.
//!
//! # Reading order
//!
//! 1. [`server`]: the turn, in `server/mod.rs`; `driving.rs` has its half about connections, `acceptance.rs` the one
//!    about messages, `spilling.rs` what is different for large ones, `maildrop.rs` the one about reading mail; `spoken.rs`
//!    is what both protocols have in common. Of a connection: `proxied.rs` has what comes first
//!    from a proxy, `securing.rs` how TLS begins, `passage.rs` what TLS does behind that. Of a client: `logins.rs` has who it
//!    is, `policy.rs` whose mail is taken, `clients.rs` and `quotas.rs` how much.
//! 2. [`smtp`]: `session.rs`, the dialogue as a value; `session/auth.rs` for who is logged in, with [`wire::sasl`];
//!    `session/data.rs` for what follows 354.
//! 3. [`wire`]: `data.rs`, the end of mail data; `proxy.rs`, a proxy's header.
//! 4. [`spool`]: `mod.rs`, the durable log; then `recovery.rs`.
//! 5. [`accounts`]: `mod.rs`, who has which addresses and may log in; `file.rs` for the file that may change at any time.
//! 6. [`smtp::client`]: the other side of the dialogue, for loadgen and whoever sends; [`net::tls`] goes below it.
//! 7. [`pop3`]: `session.rs`, the dialogue by which users fetch their mail, as a value too; [`wire::stuffing`] for how a
//!    stored message goes out.
//! 8. [`mailbox`]: a Maildir, from both of its sides.
//! 9. [`server::courier`]: delivery and when it may be forgotten; then [`spool::held`], for what cannot be delivered.
//! 10. [`event_loop`]: what is around the server: sockets, clock, signals; [`privileges`], [`certificates`] and [`reload`]
//!     for its start and for what changes behind it.
//!
//! # Layers
//!
//! | Layer | Modules | May import |
//! | --- | --- | --- |
//! | 0 | [`limits`], [`wire`], [`queue_id`], [`units`], [`calendar`], [`log_value`] | std, and the small crates that they own |
//! | 1 | [`smtp`], [`pop3`], [`net`], [`disk`], `watch` | layer 0, and the crates that they own; they never see each other |
//! | 2 | [`spool`], [`mailbox`], [`accounts`] | layer 0, `disk`, `watch`, and smtp's value types |
//! | 3 | [`server`] | layers 0 to 2 |
//! | 4 | [`event_loop`], [`privileges`], [`workers`], [`certificates`], [`reload`] | layers 0 to 3 |
//! | 5 | the binary (`main`, `cli`, `config`, `logging`, `machine`) and loadgen | the library |
//!
//! `tests/layers.rs` holds us to this table, and each outside crate to its one home.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod calendar;
pub mod certificates;
pub mod disk;
pub mod event_loop;
pub mod limits;
pub mod log_value;
pub mod mailbox;
pub mod net;
pub mod pop3;
pub mod privileges;
pub mod queue_id;
pub mod reload;
pub mod server;
pub mod smtp;
pub mod spool;
pub mod units;
mod watch;
pub mod wire;
pub mod workers;

pub use queue_id::QueueId;
