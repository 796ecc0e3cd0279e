//! What the arguments come to: the plan, or a sentence that names the option that makes no sense.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use fastsmtp::net::tls::{ClientTls, Resumption, ServerName, Trust};
use fastsmtp::smtp::client::{ClearText, Credentials, Form, Grouping, Hello, Manner, StartTls};
use fastsmtp::units;
use fastsmtp::wire::sasl::Mechanism;

use super::{ArrivalsArgument, Auth, LoadArguments, Mode, Tls};
use crate::distribution::{self, Distribution};
use crate::mail_id::RunId;
use crate::mails::{self, Content, Evidence, Files, Parts, ReversePath, Template};
use crate::objective::Objective;
use crate::plan::{Amount, Output, Pacing, Plan, Rate, Search, Security, TlsMode};
use crate::report::Arrivals;
use crate::report::environment::environment;

/// The plan that the arguments make. The error is a sentence that names the option.
pub fn plan(arguments: LoadArguments) -> Result<Plan, String> {
    if arguments.timeout.is_zero() {
        return Err("--timeout: must be more than nothing, like 60s".into());
    }
    if arguments.duration.is_zero() {
        return Err("--duration: must be more than nothing, like 10s".into());
    }
    let (target_name, target) = arguments.target.clone();
    if let Some(sources) = &arguments.source_addrs {
        sources.check_target(target.ip()).map_err(|error| format!("--source-addrs: {error}"))?;
    }
    let connections = arguments.messages.unwrap_or(u64::MAX).min(u64::from(arguments.conns)) as usize;
    let (pace, search) = pacing(&arguments)?;
    let security = security(&arguments, &target_name)?;
    let is_sweep = search != Search::None;
    let objective = match (&search, arguments.slo.clone()) {
        (Search::Knee { .. }, None) => Some(Objective::default_for_knee()),
        (_, objective) => objective,
    };
    if is_sweep && arguments.messages.is_some() {
        return Err("--messages: a sweep over rates needs a --duration for each".into());
    }
    check_outputs(&arguments)?;
    if is_sweep && (arguments.ledger.is_some() || arguments.hdr.is_some()) {
        return Err("--ledger and --hdr are about one run, not about a sweep over rates".into());
    }
    let (content, words) = content(&arguments)?;
    let drain_max = if is_sweep { SWEEP_DRAIN_MAX } else { DRAIN_MIN.max(arguments.duration) };
    Ok(Plan {
        target,
        connections,
        threads: (arguments.threads as usize).min(connections),
        amount: match arguments.messages {
            Some(messages) => Amount::Messages(messages),
            None => Amount::Time { warm_up: arguments.warmup, measured: arguments.duration },
        },
        pace,
        search,
        drain: arguments.timeout.min(drain_max),
        messages_per_connection: arguments.messages_per_conn,
        connect_rate: arguments.connect_rate,
        manner: Arc::new(manner(&arguments)?),
        tls: tls_mode(arguments.tls),
        security,
        mechanism: arguments.auth.and_then(|auth| Some(auth.to_possible_value()?.get_name().to_owned())),
        content: Arc::new(content),
        words,
        timeout: arguments.timeout,
        seed: arguments.seed,
        objective,
        sources: arguments.source_addrs,
        target_name,
        environment: environment(),
        output: Output {
            json: arguments.json,
            csv: arguments.csv,
            hdr: arguments.hdr,
            html: arguments.html,
            ledger: arguments.ledger,
        },
    })
}

/// Whether each of the files is one of its own.
fn check_outputs(arguments: &LoadArguments) -> Result<(), String> {
    let LoadArguments { json, html, csv, hdr, ledger, .. } = arguments;
    let mut seen: Vec<(&str, &PathBuf)> = json.iter().map(|path| ("--json", path)).collect();
    for (name, path) in [("--html", html), ("--csv", csv), ("--hdr", hdr), ("--ledger", ledger)] {
        let Some(path) = path else { continue };
        if path.as_os_str() == "-" {
            return Err(format!("{name}: name a file; only --json can go to standard output"));
        }
        // Devices, like /dev/null, take anything.
        let twin = seen.iter().find(|(_, other)| *other == path && !path.starts_with("/dev"));
        if let Some((other, _)) = twin {
            return Err(format!("{name}: {} is the file of {other} already", path.display()));
        }
        seen.push((name, path));
    }
    Ok(())
}

fn pacing(arguments: &LoadArguments) -> Result<(Pacing, Search), String> {
    let open = |rate| {
        Pacing::Open(Rate {
            rate,
            arrivals: match arguments.arrivals {
                ArrivalsArgument::Constant => Arrivals::Constant,
                ArrivalsArgument::Poisson => Arrivals::Poisson,
            },
            waiting_max: arguments.max_queue as usize,
        })
    };
    match (arguments.rate, arguments.ramp, arguments.step) {
        (_, Some((from, to)), Some(step)) => Ok((open(from), Search::Ramp { from, to, step })),
        (rate, _, _) if arguments.find_knee => {
            let from = rate.unwrap_or(KNEE_FROM);
            let (precision, repetitions) = (arguments.precision, arguments.repeat);
            if precision < PRECISION_MIN {
                return Err("--precision: closer than 0.1 % no machine is steady enough for".into());
            }
            Ok((open(from), Search::Knee { from, precision, repetitions }))
        }
        (Some(rate), _, _) => Ok((open(rate), Search::None)),
        (None, _, _) => Ok((Pacing::Closed, Search::None)),
    }
}

fn tls_mode(tls: Tls) -> TlsMode {
    match tls {
        Tls::Off => TlsMode::Off,
        Tls::Auto => TlsMode::Auto,
        Tls::Starttls => TlsMode::StartTls,
        Tls::Implicit => TlsMode::Implicit,
    }
}

fn security(arguments: &LoadArguments, target_name: &str) -> Result<Option<Security>, String> {
    if arguments.tls == Tls::Off {
        let names = [
            ("--ca", arguments.ca.is_some()),
            ("--insecure", arguments.insecure),
            ("--tls-name", arguments.tls_name.is_some()),
            ("--full-handshakes", arguments.full_handshakes),
        ];
        return match names.into_iter().find(|(_, is_given)| *is_given) {
            Some((name, _)) => Err(format!("{name}: means nothing without --tls auto, starttls or implicit")),
            None => Ok(None),
        };
    }
    let authorities = match &arguments.ca {
        Some(path) => std::fs::read(path).map_err(|error| format!("--ca: {}: {error}", path.display()))?,
        None => Vec::new(),
    };
    let trust = match (&arguments.ca, arguments.insecure) {
        (_, true) => Trust::Nobody,
        (Some(_), _) => Trust::File(&authorities),
        (None, false) => Trust::System,
    };
    let resumption = if arguments.full_handshakes { Resumption::Off } else { Resumption::On };
    let host = target_name.rsplit_once(':').map_or(target_name, |(host, _)| host).trim_matches(['[', ']']);
    let name = arguments.tls_name.as_deref().unwrap_or(host);
    let unusable = |error| match &arguments.ca {
        Some(path) => format!("--ca: {}: {error}", path.display()),
        None => format!("--tls: {error}"),
    };
    Ok(Some(Security {
        config: ClientTls::new(trust, resumption).map_err(unusable)?,
        name: ServerName::new(name)
            .ok_or_else(|| format!("--tls-name: '{name}' is no host that a certificate can name"))?,
    }))
}

fn manner(arguments: &LoadArguments) -> Result<Manner, String> {
    let credentials = match (arguments.auth, &arguments.user) {
        (Some(auth), Some(user)) => {
            let mechanism = match auth {
                Auth::Plain => Mechanism::Plain,
                Auth::Login => Mechanism::Login,
                Auth::ScramSha256 => Mechanism::ScramSha256,
            };
            let clear = if arguments.plaintext_auth { ClearText::Allowed } else { ClearText::Refused };
            let password = password(arguments)?;
            let credentials = Credentials::new(user, &password, Some(mechanism), clear)
                .map_err(|error| format!("--user: {error}"))?;
            Some(Arc::new(credentials))
        }
        _ => None,
    };
    Ok(Manner {
        hello: if arguments.lmtp { Hello::lmtp(HOST_NAME) } else { Hello::new(HOST_NAME) },
        grouping: match arguments.mode {
            Mode::Lockstep => Grouping::Lockstep,
            Mode::Pipeline => Grouping::Pipelined,
            Mode::Bdat => Grouping::Chunked,
        },
        starttls: match arguments.tls {
            Tls::Off | Tls::Implicit => StartTls::Never,
            Tls::Auto => StartTls::WhenOffered,
            Tls::Starttls => StartTls::Required,
        },
        credentials,
    })
}

/// Never from the command line, which every user of the machine can read.
fn password(arguments: &LoadArguments) -> Result<String, String> {
    let text = match &arguments.password_file {
        Some(path) if path.as_os_str() == "-" => std::io::read_to_string(std::io::stdin())
            .map_err(|error| format!("--password-file: standard input: {error}"))?,
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| format!("--password-file: {}: {error}", path.display()))?,
        None => std::env::var(PASSWORD_VARIABLE)
            .map_err(|_| format!("--auth: needs a password: --password-file FILE, or {PASSWORD_VARIABLE}"))?,
    };
    match text.lines().next() {
        Some(password) if !password.is_empty() => Ok(password.to_owned()),
        _ => Err(match &arguments.password_file {
            Some(path) if path.as_os_str() == "-" => {
                "--password-file: the first line of standard input is to be the password, and is empty".into()
            }
            Some(path) => {
                format!(
                    "--password-file: the first line of {} is to be the password, and is empty",
                    path.display()
                )
            }
            None => format!("--auth: {PASSWORD_VARIABLE} is to be the password, and is empty"),
        }),
    }
}

/// What is sent, and in words: the octets and recipients of a message.
fn content(arguments: &LoadArguments) -> Result<(mails::Plan, [String; 2]), String> {
    let sizes =
        Distribution::parse(&arguments.size, units::size).map_err(|error| format!("--size: {error}"))?;
    let recipients = Distribution::parse(&arguments.rcpts, distribution::count)
        .map_err(|error| format!("--rcpts: {error}"))?;
    let (content, size) = match &arguments.eml {
        Some(path) => {
            let files = Files::load(path).map_err(|error| format!("--eml: {error}"))?;
            let (smallest, largest) = files.octets();
            let size = format!("{} real messages of {smallest} to {largest} octets", files.count());
            (Content::Files(files), size)
        }
        None => (Content::Generated(sizes), arguments.size.clone()),
    };
    let words = [size, arguments.rcpts.clone()];
    let parts = Parts {
        reverse_path: ReversePath::parse(&arguments.from).map_err(|error| format!("--from: {error}"))?,
        forward_path: Template::parse(&arguments.to).map_err(|error| format!("--to: {error}"))?,
        recipients,
        content,
        form: if arguments.mode == Mode::Bdat { Form::Chunk } else { Form::Stuffed },
        evidence: if arguments.ledger.is_some() { Evidence::Ledger } else { Evidence::None },
        run: RunId::random(),
        started: SystemTime::now(),
    };
    mails::Plan::new(parts)
        .map(|plan| (plan, words))
        .map_err(|error| format!("--size, --rcpts, --to: {error}"))
}

/// The name we introduce ourselves by.
const HOST_NAME: &str = "client.example";

/// Where the password stands if no file has it.
const PASSWORD_VARIABLE: &str = "LOADGEN_PASSWORD";

/// Where a search begins, in messages a second.
const KNEE_FROM: f64 = 100.0;

const PRECISION_MIN: f64 = 0.001;

/// How long messages under way are waited for behind the measured time: at least this, or as long as that was.
const DRAIN_MIN: Duration = Duration::from_secs(10);

/// In a sweep the next rate waits.
const SWEEP_DRAIN_MAX: Duration = Duration::from_secs(2);
