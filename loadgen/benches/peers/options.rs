//! The command line.

use std::path::PathBuf;

use clap::Parser;

/// Compares fastsmtp with other SMTP servers on this machine, and says what each one's 250 means.
///
/// Runs, each alone and in turn, on loopback: a null responder (the limit of this machine and of the generator),
/// Postfix's smtp-sink (stores nothing), Postfix (durable), and fastsmtp, storing nothing, durable, and delivering into a
/// Maildir. All are loaded by loadgen, by connections, size and mode. Every figure is the median of several rounds, with
/// the least and the greatest beside it.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "peers",
    bin_name = "cargo bench -p loadgen --bench peers --",
    max_term_width = 100,
    after_help = AFTER
)]
pub struct Options {
    /// Fewer cells and shorter runs, 3 rounds instead of 5: a few minutes instead of about half an hour
    #[arg(long)]
    pub quick: bool,

    /// Only servers, or only cells, whose name has this in it, like 'postfix' or '1KiB-100-pipelined'. May be repeated;
    /// see the list below
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,

    /// Rounds instead of 5 (3 with --quick): each runs every server once in every cell
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: Option<u32>,

    /// Where peers.json and peers.html go
    #[arg(long, value_name = "DIR", default_value = "target/peers")]
    pub out: PathBuf,

    /// Where queues, logs and Maildirs lie while it runs; on the disk that is to be measured, and never on a tmpfs.
    /// Everything there goes in the end
    #[arg(long, value_name = "DIR", default_value = "/var/tmp")]
    pub root: PathBuf,

    /// Put everybody's data on a journaled ext4 in an image file of 10 GiB below --root (as root). Without a journal,
    /// creating and deleting files takes longer, which servers with a file for each message feel most
    #[arg(long)]
    pub loop_ext4: bool,

    /// Install Debian's package postfix if it is missing (as root); without a configuration, so that nothing is started
    #[arg(long)]
    pub install: bool,

    /// Another loadgen than the one that is built here
    #[arg(long, value_name = "FILE")]
    pub loadgen: Option<PathBuf>,

    /// Added by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const AFTER: &str = "\
Servers: null, fastsmtp-memory, fastsmtp, smtp-sink, postfix, postfix-all-cores; delivering: fastsmtp-maildir, postfix-maildir
Cells: SIZE-CONNECTIONS-WAY, like 1KiB-1-pipelined, 1KiB-1000-pipelined, 1KiB-100-lockstep, 1KiB-100-each (a connection \
for each message), 10KiB-100-pipelined, 1MiB-10-pipelined; delivering: 1KiB-20-delivered

Cores: servers of one thread, and Postfix, have the first core, and the generator has the second. fastsmtp's event loop has \
the first; its committer and the other threads may use any. Postfix is run once more with all cores, and deliveries have all. \
Leave the machine alone while it runs.

Postfix and smtp-sink come from Debian's package postfix. Postfix runs from a configuration and directories of its own and is \
started by root only; the system's own Postfix is never touched. What is missing is named in the results.

Ctrl-C stops everything, removes it, and keeps the rounds that were complete.";
