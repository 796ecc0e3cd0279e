//! The command line: what may be asked for, and what of it makes no sense. [`read`] gives it checked, as a [`Plan`].

mod planning;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser, Subcommand, ValueEnum};
use fastsmtp::units;

use crate::compare;
use crate::objective::Objective;
use crate::plan::Plan;
use crate::sources::Sources;
use crate::teller::Show;
use crate::verify::Request;

/// Loads an SMTP or LMTP server with mail, and says what it measured: how fast messages were accepted, how long each
/// phase took, and whether the figures can be believed.
///
/// Without --rate it is a closed loop: each connection offers its next message when the last was answered. With --rate it
/// is an open loop: messages have intended starts, and latency counts from those, however long the server stalls.
#[derive(Debug, Parser)]
#[command(
    name = "loadgen",
    version,
    max_term_width = 100,
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true,
    // So that an error names the option.
    allow_negative_numbers = true,
    // So that an error names the option.
    allow_negative_numbers = true,
    after_long_help = EXAMPLES
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    load: LoadArguments,
}

/// What else can be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Compare the messages of a ledger with what lies in Maildirs: each present once, missing, duplicate or damaged
    Verify(Request),
    /// Compare two reports, and fail on a regression
    Compare(CompareArguments),
}

/// Of `compare`.
#[derive(Debug, clap::Args)]
pub struct CompareArguments {
    /// The report to compare with
    #[arg(value_name = "A.json")]
    pub before: PathBuf,
    /// The report that is judged
    #[arg(value_name = "B.json")]
    pub after: PathBuf,
    /// End with code 10 if a figure of B is worse than that of A by more than this
    #[arg(long, value_name = "PERCENT", value_parser = compare::threshold)]
    pub fail_on_regression: Option<f64>,
    /// Where to write a page with both
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Where to write the comparison for programs; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct LoadArguments {
    /// The server to load
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:2525", value_parser = target)]
    target: (String, SocketAddr),

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=200_000))]
    conns: u32,

    /// Threads of the generator; each has its part of the connections and of the rate
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: u32,

    /// How long to wait for a reply, or for progress of the mail data
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::duration)]
    timeout: Duration,

    /// Connections opened a second, at the most
    #[arg(long, value_name = "N", value_parser = rate)]
    connect_rate: Option<f64>,

    /// Messages on a connection before it is closed and another opened; 0 keeps it
    #[arg(long, value_name = "N", default_value_t = 0)]
    messages_per_conn: u64,

    /// Addresses to connect from, in turn: a list, a range (127.0.0.2-127.0.0.9) or a block (127.1.0.0/24). Each has ports
    /// of its own, so that more connections can be made than one address has ports for
    #[arg(long, value_name = "ADDRESSES", value_parser = Sources::parse)]
    source_addrs: Option<Sources>,

    /// How long to measure
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = units::duration, help_heading = "How much")]
    duration: Duration,

    /// Messages to offer, instead of a duration
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warmup"], help_heading = "How much",
          value_parser = clap::value_parser!(u64).range(1..))]
    messages: Option<u64>,

    /// How long to load the server before that, once all connections stand
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = units::duration, help_heading = "How much")]
    warmup: Duration,

    /// Messages a second, by a schedule: an open loop. Latency counts from the intended start
    #[arg(long, value_name = "R", value_parser = rate, help_heading = "Open loop")]
    rate: Option<f64>,

    /// How the schedule spaces messages
    #[arg(long, value_enum, default_value_t = ArrivalsArgument::Constant, help_heading = "Open loop")]
    arrivals: ArrivalsArgument,

    /// Intended starts that may wait for a free connection; beyond that they are dropped, and the run is invalid
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..),
          help_heading = "Open loop")]
    max_queue: u32,

    /// Rates from A to B messages a second, one run each, with --step between them
    #[arg(long, value_name = "A..B", value_parser = ramp, requires = "step", conflicts_with_all = ["rate", "find_knee"],
          help_heading = "Open loop")]
    ramp: Option<(f64, f64)>,

    /// Messages a second between two rates of --ramp
    #[arg(long, value_name = "R", value_parser = rate, requires = "ramp", help_heading = "Open loop")]
    step: Option<f64>,

    /// What the run must keep, like 'p99<5ms,errors<0.1%' or 'accept.p99.9<20ms,rate>5000'. Latencies are of the whole
    /// message from its intended start, unless a phase is named: connect, banner, ehlo, tls, auth, envelope, data, accept
    #[arg(long, value_name = "OBJECTIVE", value_parser = Objective::parse, help_heading = "Objective")]
    slo: Option<Objective>,

    /// Search for the highest rate that keeps the objective (p99<50ms,errors<0.1% if there is none): doubling from --rate
    /// or 100, then bisecting
    #[arg(long, help_heading = "Objective")]
    find_knee: bool,

    /// How close --find-knee comes, as a share of the rate
    #[arg(long, value_name = "PERCENT", default_value = "2%", value_parser = percent, help_heading = "Objective")]
    precision: f64,

    /// How often --find-knee runs each rate; the majority decides
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=99),
          help_heading = "Objective")]
    repeat: u32,

    /// How the commands of a message are sent
    #[arg(long, value_enum, default_value_t = Mode::Pipeline, help_heading = "Dialogue")]
    mode: Mode,

    /// Speak LMTP instead of SMTP
    #[arg(long, help_heading = "Dialogue")]
    lmtp: bool,

    /// When to speak TLS; auto is STARTTLS where it is offered
    #[arg(long, value_enum, default_value_t = Tls::Off, help_heading = "Dialogue")]
    tls: Tls,

    /// Certificates of the authorities to trust, as PEM, instead of the system's
    #[arg(long, value_name = "FILE", conflicts_with = "insecure", help_heading = "Dialogue")]
    ca: Option<PathBuf>,

    /// Take any certificate
    #[arg(long, help_heading = "Dialogue")]
    insecure: bool,

    /// Whom the certificate must name, if not the target's host
    #[arg(long, value_name = "HOST", help_heading = "Dialogue")]
    tls_name: Option<String>,

    /// Do not resume TLS sessions: each connection makes a full handshake
    #[arg(long, help_heading = "Dialogue")]
    full_handshakes: bool,

    /// How to authenticate; needs --user and a password
    #[arg(long, value_enum, requires = "user", help_heading = "Dialogue")]
    auth: Option<Auth>,

    /// As whom
    #[arg(long, value_name = "NAME", requires = "auth", help_heading = "Dialogue")]
    user: Option<String>,

    /// Where the password stands, on a line of its own; - is standard input. Without it LOADGEN_PASSWORD has it
    #[arg(long, value_name = "FILE", requires = "auth", help_heading = "Dialogue")]
    password_file: Option<PathBuf>,

    /// Send the password without TLS too
    #[arg(long, requires = "auth", help_heading = "Dialogue")]
    plaintext_auth: bool,

    /// Octets of a message, header and all: 10KiB, a range 1KiB..64KiB, or weights 70%:4KiB,25%:16KiB..64KiB,5%:1MiB
    #[arg(
        long,
        value_name = "SIZE",
        default_value = "1KiB",
        conflicts_with = "eml",
        help_heading = "Messages"
    )]
    size: String,

    /// Send the messages of a directory (*.eml, or a Maildir) or a file in turn, instead of generated ones
    #[arg(long, value_name = "DIR", help_heading = "Messages")]
    eml: Option<PathBuf>,

    /// Recipients of a message: a number, a range or weights, like --size
    #[arg(long, value_name = "N", default_value = "1", help_heading = "Messages")]
    rcpts: String,

    /// The reverse-path; n in braces is the message's number, {n%100} runs through 0 to 99; empty for the null one
    #[arg(long, value_name = "ADDRESS", default_value = "loadgen@client.example", help_heading = "Messages")]
    from: String,

    /// The recipients; n in braces is a number that grows with each, {n%1000} runs through 0 to 999
    #[arg(long, value_name = "ADDRESS", default_value = "user@example.com", help_heading = "Messages")]
    to: String,

    /// Of all that is drawn by chance: sizes, recipients, arrivals
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Messages")]
    seed: u64,

    /// Where to write the report for programs; - is standard output, which then has nothing else
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    json: Option<PathBuf>,

    /// Where to write a page with curves, which a browser opens without a network
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    html: Option<PathBuf>,

    /// Where to write a line for each second, or for each step of a sweep
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    csv: Option<PathBuf>,

    /// Where to write the histograms of each second, for the viewers of HdrHistogram logs
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    hdr: Option<PathBuf>,

    /// Where to write a line for each message that was accepted, for `loadgen verify`
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    ledger: Option<PathBuf>,

    /// Do not show how the run is going
    #[arg(long, short, help_heading = "Output")]
    quiet: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// One command, one reply
    Lockstep,
    /// MAIL, RCPT and DATA in one write, if the server offers PIPELINING
    Pipeline,
    /// BDAT instead of DATA: the whole message in one group, if the server offers PIPELINING
    Bdat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ArrivalsArgument {
    /// Evenly
    Constant,
    /// As from many independent senders
    Poisson,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Tls {
    /// Never
    Off,
    /// By STARTTLS, where it is offered
    Auto,
    /// By STARTTLS
    Starttls,
    /// From the first octet on
    Implicit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Auth {
    /// One message with name and password
    Plain,
    /// Name and password, each asked for
    Login,
    /// The password is proved, not sent
    #[value(name = "scram-sha-256")]
    ScramSha256,
}

/// What was asked for.
pub enum Asked {
    /// To load a server.
    Load(Box<Plan>, Show),
    /// Something else.
    Command(Command),
}

/// Reads the command line; an error ends the process with code 2.
pub fn read() -> Asked {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(command) => Asked::Command(command),
        None => {
            let show = if arguments.load.quiet { Show::Never } else { Show::OnTerminals };
            match planning::plan(arguments.load) {
                Ok(plan) => Asked::Load(Box::new(plan), show),
                Err(text) => Arguments::command().error(ErrorKind::ValueValidation, text).exit(),
            }
        }
    }
}

/// The plan of a command line without spaces in its values.
#[cfg(test)]
pub(crate) fn plan(arguments: &str) -> Result<Plan, String> {
    let words = std::iter::once("loadgen").chain(arguments.split_whitespace());
    planning::plan(Arguments::try_parse_from(words).map_err(|error| error.to_string())?.load)
}

fn target(text: &str) -> Result<(String, SocketAddr), String> {
    let addresses = text
        .to_socket_addrs()
        .map_err(|error| format!("'{text}' is not a HOST:PORT to be found: {error}"))?;
    match addresses.into_iter().next() {
        Some(address) => Ok((text.to_owned(), address)),
        None => Err(format!("'{text}' has no address")),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate <= RATE_MAX => Ok(rate),
        _ => Err(format!("'{text}' is not a number a second, more than 0 and at most {RATE_MAX}")),
    }
}

fn ramp(text: &str) -> Result<(f64, f64), String> {
    let (from, to) =
        text.split_once("..").ok_or_else(|| format!("'{text}' is not A..B, like 1000..10000"))?;
    let (from, to) = (rate(from)?, rate(to)?);
    if from <= to { Ok((from, to)) } else { Err(format!("'{text}' goes down; a ramp goes up")) }
}

/// A share, from a percentage.
fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err(format!("'{text}' is not a percentage, like 10%")),
    }
}

const EXAMPLES: &str = "\
Examples:
  loadgen --conns 1000                             as fast as 1,000 connections go, for 10 s
  loadgen --rate 5000 --duration 1m                5,000 messages a second, and their latencies
  loadgen --rate 5000 --slo 'p99<20ms'             pass or fail, for CI (exit code 10)
  loadgen --find-knee --slo 'accept.p99<10ms'      the highest rate that keeps it
  loadgen --ramp 1000..8000 --step 1000 --html p.html
  loadgen --messages 10000 --ledger sent --to 'user{n%100}@example.com'
  loadgen verify --ledger sent --maildir /var/mail/mailboxes
  loadgen compare before.json after.json --fail-on-regression 10%

Exit codes:
  0    fine
  1    a report or a ledger could not be written
  2    the command line is wrong, or asks for what the system does not give
  3    the target is unreachable, does not speak SMTP, or accepted nothing
  10   the objective was missed; compare: a regression
  11   the figures are invalid: the generator was the limit, or the run broke off
  12   verify: messages are missing, duplicate or damaged
  130  interrupted; the report is written, unless a second signal ended it at once";

/// A thread cannot do more, and clocks of a nanosecond still tell the starts apart.
const RATE_MAX: f64 = 10_000_000.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn rates_ramps_and_percentages_are_read() {
        assert_eq!(rate("0.5"), Ok(0.5));
        assert!(rate("0").is_err() && rate("-1").is_err() && rate("nan").is_err() && rate("inf").is_err());
        assert_eq!(ramp("10..20"), Ok((10.0, 20.0)));
        assert!(ramp("20..10").is_err() && ramp("20").is_err());
        assert_eq!(percent("2%"), Ok(0.02));
        assert_eq!(percent("10"), Ok(0.1));
        assert!(percent("x%").is_err());
    }
}
