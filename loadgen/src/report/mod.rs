//! A run as a document: all that is told of it, in the form in which it is written as JSON and read back.
//!
//! [`Report`] is made once, when a run has ended; the table in the terminal, the JSON, the CSV, the page and the
//! comparison are each a function of it alone. Latencies are in microseconds, counts are messages, times are seconds.
//! [`SCHEMA_VERSION`] grows when a field changes its meaning or goes; new fields may come without that.

pub mod chart;
pub mod csv;
pub mod environment;
pub mod escape;
pub mod file;
pub mod hdr;
pub mod histogram;
pub mod page;
#[doc(hidden)]
pub mod sample;
pub mod text;
pub mod units;
pub mod words;

use serde::{Deserialize, Serialize};

/// The version of the document's form.
pub const SCHEMA_VERSION: u32 = 2;

/// All that is told of a run. Of a sweep, the figures are those of the step that it found: the highest rate that kept
/// its objective, or else the last; the other steps are in `sweep`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// The generator's version.
    pub loadgen: String,
    /// The command line. Secrets never stand on one.
    pub command: Vec<String>,
    /// When the run began, in UTC (RFC 3339).
    pub started: String,
    /// One line that says what the run is worth.
    pub verdict: String,
    /// Whether the figures are what they say. A run that the generator held back, or that broke off, is not.
    pub valid: bool,
    /// Why it is not.
    pub invalid_reason: Option<String>,
    /// How it ended.
    pub ending: Ending,
    /// Why it ended so, where it is not complete.
    pub ending_reason: Option<String>,

    /// Whether messages came as fast as replies allowed, or by a schedule.
    pub mode: Mode,
    /// How a schedule spaces messages; none in a closed loop.
    pub arrivals: Option<Arrivals>,
    /// Messages a second that the schedule intended; none in a closed loop.
    pub intended_rate: Option<f64>,

    /// Messages whose intended start lay in the measured time. They are each in exactly one of the next seven.
    pub offered: u64,
    /// Those that the server took responsibility for.
    pub accepted: u64,
    /// Refused for now (4yz).
    pub refused_transient: u64,
    /// Refused for good (5yz).
    pub refused_permanent: u64,
    /// Without an answer for as long as it was waited for: the timeout, or until the run gave up behind the measured time.
    pub timed_out: u64,
    /// On a connection that broke or was closed before the answer.
    pub broken: u64,
    /// Under way, or waiting for a connection, when the run was interrupted or gave up on them.
    pub abandoned: u64,
    /// Never begun, because too many waited already.
    pub dropped: u64,
    /// Accepted, a second of the measured time. In an open loop those count that were accepted within it: what a server
    /// works off behind it is no rate of its.
    pub messages_per_second: f64,
    /// Octets of accepted mail data, a second of the measured time.
    pub octets_per_second: f64,
    /// The share of offered messages that were not accepted, 0 to 1.
    pub error_share: f64,
    /// How long the measured time was.
    pub elapsed_seconds: f64,
    /// What came before it and is in no figure.
    pub warm_up: WarmUp,

    /// Latencies by phase.
    pub phases: Phases,
    /// Replies by what they answer and by code: those that came at all.
    pub replies: Vec<ReplyCount>,
    /// The first negative reply, as an example.
    pub first_refusal: Option<String>,
    /// Connections that ended otherwise than by our QUIT.
    pub connection_failures: ConnectionFailures,
    /// The first of these, as an example.
    pub first_failure: Option<String>,
    /// The measured time second by second, and as long behind it as answers came.
    pub intervals: Vec<Interval>,

    /// What the generator says of itself.
    pub self_check: SelfCheck,
    /// The objective and whether it was met; none if none was set.
    pub objective: Option<Objective>,
    /// The rates that were tried; none if it was one run.
    pub sweep: Option<Sweep>,

    /// What was loaded.
    pub target: Target,
    /// How it was spoken to.
    pub speaking: Speaking,
    /// Where the generator ran.
    pub environment: Environment,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// As planned.
    Complete,
    /// By a signal.
    Interrupted,
    /// No connection came to a message for as long as we wait.
    GaveUp,
    /// There was never an SMTP server with service for us.
    Unreachable,
}

/// What decides when a message begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// The reply to the one before: a server that stalls is offered less, so its stalls hardly show.
    Closed,
    /// A schedule: latency counts from the intended start, whatever the server does.
    Open,
}

impl Mode {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            Mode::Closed => "closed loop",
            Mode::Open => "open loop",
        }
    }
}

/// How a schedule spaces messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// Evenly.
    Constant,
    /// As from many senders that know nothing of each other: exponential distances.
    Poisson,
}

/// The time before the measured time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct WarmUp {
    /// How long it was, from when all connections stood.
    pub seconds: f64,
    /// Messages begun in it.
    pub offered: u64,
    /// Those of them that were accepted.
    pub accepted: u64,
}

/// Latencies by phase. Connections are mostly opened before the measured time, so the phases of their opening are of
/// the whole run; the others are of messages whose intended start lay in the measured time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Phases {
    /// Of TCP.
    pub connect: Latency,
    /// From the connection to the 220.
    pub banner: Latency,
    /// From EHLO (HELO, LHLO) to its reply.
    pub ehlo: Latency,
    /// From the first octet of the handshake to its end, STARTTLS not counted.
    pub tls: Latency,
    /// From AUTH to the last reply of the exchange.
    pub auth: Latency,
    /// From the first octet of MAIL to the last reply to a RCPT.
    pub envelope: Latency,
    /// From DATA, or the first octet of its group, to the 354. Nothing with BDAT.
    pub data: Latency,
    /// Durable acceptance: from the first octet of the mail data to the reply to its end. Accepted, and for as long as
    /// they waited those without an answer: timed out, broken.
    pub accept: Latency,
    /// From the intended start to the reply to the end of data. Of the same messages.
    pub message: Latency,
}

impl Phases {
    /// Each with its name, in the order in which they come.
    pub fn named(&self) -> [(&'static str, &Latency); 9] {
        [
            ("connect", &self.connect),
            ("banner", &self.banner),
            ("ehlo", &self.ehlo),
            ("tls", &self.tls),
            ("auth", &self.auth),
            ("envelope", &self.envelope),
            ("data", &self.data),
            ("accept", &self.accept),
            ("message", &self.message),
        ]
    }
}

/// The distribution of a latency, in microseconds. All 0 and empty where the count is 0.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// How many.
    pub count: u64,
    /// Their mean.
    pub mean_us: f64,
    /// Half are at most this.
    pub p50_us: f64,
    /// 90 % are.
    pub p90_us: f64,
    /// 99 % are.
    pub p99_us: f64,
    /// 99.9 % are.
    pub p99_9_us: f64,
    /// All are.
    pub max_us: f64,
    /// The percentile curve: share from 0 to 1, and what so many are at most; closer together towards the end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub curve: Vec<(f64, f64)>,
    /// The histogram: how many are at most this, and beyond the one before. In steps of a tenth of a power of ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub histogram: Vec<(f64, u64)>,
}

/// Replies of one code to one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyCount {
    /// What they answer: `banner`, `ehlo`, `mail`, `rcpt`, `data`, `accept` and so on.
    pub phase: String,
    /// The reply code.
    pub code: u16,
    /// How many.
    pub count: u64,
}

/// Connections that ended otherwise than by our QUIT, in the whole run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFailures {
    /// Never stood.
    pub connect: u64,
    /// 421, or a refusal at the banner, the hello, STARTTLS or AUTH.
    pub refused: u64,
    /// Closed or reset by the server in the midst.
    pub reset: u64,
    /// No reply, no progress, for as long as we wait.
    pub timeout: u64,
    /// What the server said is not SMTP, or not in its turn.
    pub protocol: u64,
    /// TLS failed.
    pub tls: u64,
}

impl ConnectionFailures {
    /// Adds another's.
    pub fn add(&mut self, other: &ConnectionFailures) {
        self.connect += other.connect;
        self.refused += other.refused;
        self.reset += other.reset;
        self.timeout += other.timeout;
        self.protocol += other.protocol;
        self.tls += other.tls;
    }

    /// All of them.
    pub fn total(&self) -> u64 {
        self.connect + self.refused + self.reset + self.timeout + self.protocol + self.tls
    }
}

/// One second. Only measured messages are in it, each in the second in which it ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Seconds from the beginning of the measured time to this second's begin.
    pub at: f64,
    /// Messages that were given out in this second.
    pub offered: u64,
    /// Messages accepted in this second.
    pub accepted: u64,
    /// Messages that ended otherwise in this second.
    pub errors: u64,
    /// Messages under way or waiting for a connection at its end.
    pub in_flight: u64,
    /// Of messages, from the intended start.
    pub p50_us: f64,
    /// See `p50_us`.
    pub p99_us: f64,
    /// See `p50_us`.
    pub max_us: f64,
}

/// What the generator says of itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SelfCheck {
    /// Whether the generator, not the server, was the limit.
    pub client_bound: bool,
    /// Its processor time for each message offered.
    pub processor_us_per_message: f64,
    /// The share of a core that its busiest thread used, 0 to 1.
    pub processor_share: f64,
    /// The share of the time that this thread spent awake with nothing to do, because a start was due in a moment.
    #[serde(default)]
    pub spun_share: f64,
    /// The share of the time that this thread waited for a core, 0 to 1; none where the kernel does not tell.
    pub waited_share: Option<f64>,
    /// How much later than intended the generator came to a start, whether or not a connection was free then. In a
    /// closed loop there is none.
    pub schedule_lag: Option<Latency>,
    /// For how long replies waited while others that were read in the same turn were handled: the generator's own part in
    /// the latencies of many connections that are answered at once.
    #[serde(default)]
    pub reply_lag: Latency,
}

/// An objective, and how the run stood to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Objective {
    /// As it was given.
    pub text: String,
    /// Whether all conditions hold.
    pub met: bool,
    /// Each of them.
    pub conditions: Vec<Condition>,
}

/// One condition of an objective.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// As it was given.
    pub text: String,
    /// What was measured, in words: `3.21 ms`, `0.02 %`.
    pub measured: String,
    /// Whether it holds.
    pub met: bool,
}

/// Rates that were tried one after the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sweep {
    /// Why these rates.
    pub kind: SweepKind,
    /// The highest rate that kept the objective, of those tried; none if none did, or there was no objective.
    pub knee: Option<f64>,
    /// The lowest rate tried that did not keep it, and is above the knee.
    pub broken_at: Option<f64>,
    /// In the order in which they were run.
    pub steps: Vec<Step>,
}

/// Why the rates of a sweep are what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SweepKind {
    /// From one rate to another, in even steps.
    Ramp,
    /// Doubling, then bisecting, in search of the knee.
    Knee,
}

/// One run of a sweep.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Messages a second that were intended.
    pub rate: f64,
    /// Which run at this rate, from 1.
    pub repetition: u32,
    /// Messages a second that were accepted.
    pub messages_per_second: f64,
    /// See [`Report::offered`].
    pub offered: u64,
    /// See [`Report::accepted`].
    pub accepted: u64,
    /// See [`Report::error_share`].
    pub error_share: f64,
    /// Of messages, from the intended start.
    pub message: Latency,
    /// Of durable acceptance.
    pub accept: Latency,
    /// Whether it kept the objective; none if there was none.
    pub met: Option<bool>,
    /// Whether the generator, not the server, was the limit.
    pub client_bound: bool,
    /// Why it says nothing about the server.
    pub invalid_reason: Option<String>,
}

/// What was loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// As it was named.
    pub name: String,
    /// Address and port.
    pub address: String,
    /// The first line of the server's greeting.
    pub banner: Option<String>,
    /// What it offers in its last reply to EHLO.
    pub extensions: Vec<String>,
    /// Whether it runs on the generator's machine, so that both share its cores; none if no connection stood.
    pub same_machine: Option<bool>,
    /// Version and cipher suite, if TLS was spoken.
    pub tls: Option<String>,
}

/// How the server was spoken to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Speaking {
    /// `smtp` or `lmtp`.
    pub protocol: String,
    /// What was asked for: `lockstep`, `pipeline` or `bdat`.
    pub grouping: String,
    /// What was done, in words: without PIPELINING a pipeline is `lockstep (PIPELINING is not offered)`.
    pub in_force: String,
    /// `off`, `auto`, `starttls` or `implicit`.
    pub tls: String,
    /// The mechanism of AUTH, if there was one.
    pub auth: Option<String>,
    /// Connections at the same time.
    pub connections: u64,
    /// Threads of the generator.
    pub threads: u64,
    /// Messages on a connection before it is closed; 0 for no such number.
    pub messages_per_connection: u64,
    /// Octets of a message, as it was asked for.
    pub size: String,
    /// Recipients of a message, as it was asked for.
    pub recipients: String,
    /// How long a reply was waited for.
    pub timeout_seconds: f64,
    /// Of all that was drawn by chance.
    pub seed: u64,
}

/// Where the generator ran.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Environment {
    /// The processor's name.
    pub processor: String,
    /// Processors that are on line.
    pub cores: u64,
    /// Those that the generator may run on, as the kernel lists them: `0-1`.
    pub allowed_cores: String,
    /// Octets of memory.
    pub memory: u64,
    /// Name and release.
    pub kernel: String,
    /// The load average of the last minute when the run began, as the kernel says it.
    pub load_average: String,
}
