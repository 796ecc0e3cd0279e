//! The comparison: fastsmtp beside the null responder, Postfix's smtp-sink and Postfix, on this machine, in one command.
//!
//! `cargo bench -p loadgen --bench peers`, with `-- --help` for what can be chosen. It builds what it needs, starts each
//! server on loopback in directories of its own, loads them in turn, and writes a table, `peers.json` and `peers.html`.
//! Single figures of a machine that does other things at the same time are noise: read the ratios, and the spread.
#![forbid(unsafe_code)]

#[path = "peers/mod.rs"]
mod peers;

use std::process::ExitCode;

fn main() -> ExitCode {
    // `cargo test --benches` runs this too, without the word that `cargo bench` adds.
    if !std::env::args().any(|argument| argument == "--bench") {
        println!("skipped: this takes minutes, and is run by `cargo bench -p loadgen --bench peers`");
        return ExitCode::SUCCESS;
    }
    match peers::main() {
        Ok(()) => ExitCode::SUCCESS,
        Err(peers::Failure::Interrupted) => {
            eprintln!("peers: interrupted; everything that was started is stopped");
            ExitCode::from(130)
        }
        Err(failure) => {
            eprintln!("peers: {failure}");
            ExitCode::FAILURE
        }
    }
}
