//! The simulator: the whole server over pipes, a faulty disk, workers in any order and a clock that does what it likes.
//!
//! ```text
//!   client ── said ──▶ dialogue (which replies are right)         disk ── Maildirs, log ──▶ oracle (what must be there)
//!     │ ▲                                                          ▲
//!     ▼ │ pipe                                                     │ jobs, when the run says so
//!   Server<ServerEnd> ────────────────── jobs ──────────────────▶ workers
//! ```
//!
//! [`run`] is one run: its seed decides everything. To have a further kind of job run: two lines in `workers`. To have a
//! further place count as safe: one call of `nothing_is_missing`.

mod client;
mod dialogue;
mod oracle;
mod pipe;
mod quiet;
mod random;
mod restart;
mod workers;
mod world;

pub use world::{Summary, run};

use std::cell::Cell;

thread_local! {
    static PANICKED: Cell<bool> = const { Cell::new(false) };
}

/// Has panics noticed that the server survives by closing the session: they are bugs all the same.
pub fn watch_panics() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICKED.set(true);
        default(panic);
    }));
}

/// Whether this thread panicked since it was asked last.
fn panicked() -> bool {
    PANICKED.replace(false)
}
