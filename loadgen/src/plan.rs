//! What is to be done: the command line, checked and complete, as values.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fastsmtp::net::tls::{ClientTls, ServerName};
use fastsmtp::smtp::client::Manner;

use crate::mails;
use crate::objective::Objective;
use crate::report::{Arrivals, Environment};
use crate::sources::Sources;

/// A run, or a sweep of them.
#[derive(Debug)]
pub struct Plan {
    /// The server as it was named: `HOST:PORT`.
    pub target_name: String,
    /// Its address.
    pub target: SocketAddr,
    /// Where connections come from; none for wherever the system likes.
    pub sources: Option<Sources>,
    /// Connections at the same time, in all threads.
    pub connections: usize,
    /// Threads that load.
    pub threads: usize,
    /// How much is offered.
    pub amount: Amount,
    /// What decides when.
    pub pace: Pacing,
    /// Which rates are tried.
    pub search: Search,
    /// How long messages under way are waited for behind the measured time.
    pub drain: Duration,
    /// Messages on a connection before it is closed; 0 for no such number.
    pub messages_per_connection: u64,
    /// Connections opened a second, at the most; none for no such bound.
    pub connect_rate: Option<f64>,
    /// How clients speak.
    pub manner: Arc<Manner>,
    /// When TLS is spoken.
    pub tls: TlsMode,
    /// How TLS is spoken, where it is.
    pub security: Option<Security>,
    /// The mechanism that was asked for, in words.
    pub mechanism: Option<String>,
    /// What is sent, in words: octets of a message, and recipients.
    pub words: [String; 2],
    /// What is sent.
    pub content: Arc<mails::Plan>,
    /// How long to wait for a reply, or for progress of the mail data.
    pub timeout: Duration,
    /// Of all that is drawn by chance.
    pub seed: u64,
    /// What makes it pass or fail.
    pub objective: Option<Objective>,
    /// Where it is told.
    pub output: Output,
    /// Where it is made, read before the load is on.
    pub environment: Environment,
}

/// How much is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many messages, all of them measured.
    Messages(u64),
    /// As many as fit.
    Time {
        /// Not measured.
        warm_up: Duration,
        /// Measured, after that.
        measured: Duration,
    },
}

/// What decides when messages begin.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Pacing {
    /// The replies.
    Closed,
    /// A schedule.
    Open(Rate),
}

/// Of a schedule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Messages a second, in all threads.
    pub rate: f64,
    /// How they are spaced.
    pub arrivals: Arrivals,
    /// Starts that may wait for a connection, in all threads.
    pub waiting_max: usize,
}

/// Which rates are tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Search {
    /// The one.
    None,
    /// From `from` to `to`, both included, in steps.
    Ramp {
        /// Messages a second.
        from: f64,
        /// Messages a second.
        to: f64,
        /// Messages a second.
        step: f64,
    },
    /// The highest that keeps the objective.
    Knee {
        /// Messages a second of the first step.
        from: f64,
        /// How close the knee is found, as a share of it.
        precision: f64,
        /// How often each rate is run.
        repetitions: u32,
    },
}

/// When TLS is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsMode {
    /// Never.
    Off,
    /// By STARTTLS, where it is offered.
    Auto,
    /// By STARTTLS.
    StartTls,
    /// From the first octet.
    Implicit,
}

impl TlsMode {
    /// As the option is spelled.
    pub fn name(self) -> &'static str {
        match self {
            TlsMode::Off => "off",
            TlsMode::Auto => "auto",
            TlsMode::StartTls => "starttls",
            TlsMode::Implicit => "implicit",
        }
    }
}

/// How TLS is spoken.
#[derive(Debug, Clone)]
pub struct Security {
    /// Whom to trust, and how.
    pub config: ClientTls,
    /// Whom the certificate must name.
    pub name: ServerName,
}

/// Where a run is told, beside standard output.
#[derive(Debug, Clone, Default)]
pub struct Output {
    /// The report for programs; `-` is standard output.
    pub json: Option<PathBuf>,
    /// Seconds, or steps, for spreadsheets.
    pub csv: Option<PathBuf>,
    /// Histograms for the standard viewers.
    pub hdr: Option<PathBuf>,
    /// The page.
    pub html: Option<PathBuf>,
    /// Each acknowledged message.
    pub ledger: Option<PathBuf>,
}
