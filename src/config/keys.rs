//! The table of keys: name, help, how a value is read and how it is shown, one row for each.
//!
//! A row is all there is to an option: its flag, its variable, its line in the file, its part of `--help` and of
//! `--check-config` follow from it.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use fastsmtp::net::network::Network;
use fastsmtp::server::{Deliver, Durability};
use fastsmtp::smtp::{domain_key, is_domain, is_host_name};
use fastsmtp::units::{self, duration_text, size_text};

use super::Config;

/// One key of the configuration.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file, and behind `--`.
    pub name: &'static str,
    /// What stands for its value in `--help`.
    pub value: &'static str,
    /// The group it is shown in.
    pub heading: &'static str,
    /// How many values it takes, and how they are read; the error is the rest of a sentence that names the key.
    pub takes: Takes,
    /// Its values as they would be written; none where it takes one and nobody said which.
    pub show: fn(&Config) -> Vec<String>,
    /// The default in words, where the machine decides; else it is shown from [`Config::new`].
    pub default: Option<&'static str>,
    /// What it does.
    pub help: &'static str,
}

/// How a key's values are read.
#[derive(Debug, Clone, Copy)]
pub enum Takes {
    /// One text.
    One(fn(&mut Config, &str) -> Result<(), String>),
    /// One number: the file may say it without quotes.
    Number(fn(&mut Config, &str) -> Result<(), String>),
    /// true or false; as a flag without a value, true.
    Switch(fn(&mut Config, bool)),
    /// Any number of texts; they replace all there were.
    List(fn(&mut Config, &[String]) -> Result<(), String>),
}

impl Key {
    /// The row of a name.
    pub fn named(name: &str) -> Option<&'static Key> {
        KEYS.iter().find(|key| key.name == name)
    }

    /// The environment variable that sets it.
    pub fn variable(&self) -> String {
        format!("FASTSMTP_{}", self.name.replace('-', "_").to_ascii_uppercase())
    }
}

const NETWORK: &str = "Network";
const TLS: &str = "TLS";
const MAIL: &str = "Mail";
const LIMITS: &str = "Limits (sizes: 1000, 64KiB, 50MiB, 4GiB, 10MB)";
const TIME: &str = "Time (durations: 500ms, 30s, 5m, 1h; a bare number is seconds)";
const DIAGNOSIS: &str = "Diagnosis";

/// All keys, in the order of `--help` and of `--check-config`.
pub static KEYS: &[Key] = &[
    Key {
        name: "listen",
        value: "ADDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.listen = addresses(values)?;
            if config.listen.is_empty() {
                return Err("needs at least one address and port, like 127.0.0.1:2525".to_owned());
            }
            Ok(())
        }),
        show: |config| config.listen.iter().map(SocketAddr::to_string).collect(),
        default: None,
        help: "Listen on this address and port, like 0.0.0.0:25 or [::]:25 (which is IPv6 alone); port 0 takes a free one, \
               which standard output names. May be repeated",
    },
    Key {
        name: "listen-submission",
        value: "ADDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.listen_submission = addresses(values)?;
            Ok(())
        }),
        show: |config| config.listen_submission.iter().map(SocketAddr::to_string).collect(),
        default: Some("none"),
        help: "Listen here for mail from your users (RFC 6409), like 0.0.0.0:587: they have to log in, once TLS has begun by \
               STARTTLS. Needs a certificate and accounts ('fastsmtp user'). May be repeated",
    },
    Key {
        name: "listen-submissions",
        value: "ADDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.listen_submissions = addresses(values)?;
            Ok(())
        }),
        show: |config| config.listen_submissions.iter().map(SocketAddr::to_string).collect(),
        default: Some("none"),
        help: "The same in TLS from the start (RFC 8314), like 0.0.0.0:465. May be repeated",
    },
    Key {
        name: "listen-pop3",
        value: "ADDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.listen_pop3 = addresses(values)?;
            Ok(())
        }),
        show: |config| config.listen_pop3.iter().map(SocketAddr::to_string).collect(),
        default: Some("none"),
        help: "Listen here for users who read their mail by POP3 (RFC 1939), like 0.0.0.0:110: they have to log in, once TLS \
               has begun by STLS. Needs a certificate and accounts ('fastsmtp user'). May be repeated",
    },
    Key {
        name: "listen-pop3s",
        value: "ADDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.listen_pop3s = addresses(values)?;
            Ok(())
        }),
        show: |config| config.listen_pop3s.iter().map(SocketAddr::to_string).collect(),
        default: Some("none"),
        help: "The same in TLS from the start (RFC 8314), like 0.0.0.0:995. May be repeated",
    },
    Key {
        name: "hostname",
        value: "NAME",
        heading: NETWORK,
        takes: Takes::One(|config, value| {
            if !is_host_name(value) {
                return Err(format!("'{value}' is not a host name, like mail.example.com"));
            }
            config.options.hostname = value.to_owned();
            Ok(())
        }),
        show: |config| vec![config.options.hostname.clone()],
        default: Some("the machine's name"),
        help: "The name in the banner, in the reply to EHLO and in Received fields",
    },
    Key {
        name: "max-connections",
        value: "NUMBER",
        heading: NETWORK,
        takes: Takes::Number(|config, value| {
            config.options.connections_max = number(value, 1)?;
            Ok(())
        }),
        show: |config| vec![config.options.connections_max.to_string()],
        default: Some("what the limit of open files allows"),
        help: "Connections at the same time; one more is told 421 and closed. The limit of open files is raised to \
               the hard limit, and 64 of them are kept for other use",
    },
    Key {
        name: "run-as",
        value: "NAME",
        heading: NETWORK,
        takes: Takes::One(|config, value| {
            config.run_as = (!value.is_empty()).then(|| value.to_owned());
            Ok(())
        }),
        show: |config| vec![config.run_as.clone().unwrap_or_default()],
        default: Some("who starts it"),
        help: "Become this user (a name or a number) for good once the ports are bound, which below 1024 takes root. A \
               data directory that is not there is made for that user, one that is has to be theirs",
    },
    Key {
        name: "trusted-proxy",
        value: "CIDR",
        heading: NETWORK,
        takes: Takes::List(|config, values| {
            config.options.trusted_proxies = networks(values)?;
            Ok(())
        }),
        show: |config| config.options.trusted_proxies.iter().map(Network::to_string).collect(),
        default: Some("none"),
        help: "Connections from this network or address come by a proxy: each has to begin with a header of the PROXY \
               protocol, version 1 or 2, and the address that it names is the client's. From anybody else such a \
               header is garbage. May be repeated",
    },
    Key {
        name: "tls-cert",
        value: "FILE",
        heading: TLS,
        takes: Takes::One(|config, value| {
            config.tls_cert = file(value);
            Ok(())
        }),
        show: |config| vec![file_text(&config.tls_cert)],
        default: Some("none"),
        help: "The certificate (PEM), ECDSA or RSA, and behind it those that lead to its authority, like Let's Encrypt's \
               fullchain.pem. Every listener in plain offers STARTTLS then. It is read anew when it changes, and upon \
               SIGHUP",
    },
    Key {
        name: "tls-key",
        value: "FILE",
        heading: TLS,
        takes: Takes::One(|config, value| {
            config.tls_key = file(value);
            Ok(())
        }),
        show: |config| vec![file_text(&config.tls_key)],
        default: Some("none"),
        help: "The certificate's private key (PEM), without a passphrase",
    },
    Key {
        name: "tls-self-signed",
        value: "true|false",
        heading: TLS,
        takes: Takes::Switch(|config, is_on| config.tls_self_signed = is_on),
        show: |config| vec![config.tls_self_signed.to_string()],
        default: None,
        help: "Make a certificate for the host name and this machine's own names, and keep it in the data directory \
               (tls-cert.pem). A client that is not told to trust that file cannot know whom it talks to",
    },
    Key {
        name: "allow-plaintext-auth",
        value: "true|false",
        heading: TLS,
        takes: Takes::Switch(|config, is_on| config.options.allow_plaintext_auth = is_on),
        show: |config| vec![config.options.allow_plaintext_auth.to_string()],
        default: None,
        help: "Let users log in without TLS, where everybody on the way reads their passwords",
    },
    Key {
        name: "data",
        value: "DIR",
        heading: MAIL,
        takes: Takes::One(|config, value| {
            if value.is_empty() {
                return Err("the name of the directory is empty".to_owned());
            }
            config.data = PathBuf::from(value);
            Ok(())
        }),
        show: |config| vec![config.data.display().to_string()],
        default: None,
        help: "The directory that holds spool/, mailboxes/ and accounts.toml; it is created if need be. A relative name starts at \
               the working directory",
    },
    Key {
        name: "accounts",
        value: "FILE",
        heading: MAIL,
        takes: Takes::One(|config, value| {
            if value.is_empty() {
                return Err("the name of the file is empty".to_owned());
            }
            config.accounts = Some(PathBuf::from(value));
            Ok(())
        }),
        // What nobody named may be absent: it is not shown as if somebody had.
        show: |config| config.accounts.iter().map(|file| file.display().to_string()).collect(),
        default: Some("accounts.toml in the data directory"),
        help: "The users with their addresses and what is kept of their passwords, which 'fastsmtp user' writes. Once there \
               is such a file, mail is taken for their addresses only. A change takes effect without a restart",
    },
    Key {
        name: "local-domain",
        value: "DOMAIN",
        heading: MAIL,
        takes: Takes::List(|config, values| {
            config.options.local_domains = domains(values)?;
            Ok(())
        }),
        show: |config| config.options.local_domains.clone(),
        default: Some("the accounts' domains, or every domain where there are no accounts"),
        help: "Take mail for this domain; for others it is refused (550), from users as well: nothing is ever relayed. \
               The first is <postmaster>'s. May be repeated",
    },
    Key {
        name: "require-known-sender",
        value: "true|false",
        heading: MAIL,
        takes: Takes::Switch(|config, is_on| config.options.require_known_sender = is_on),
        show: |config| vec![config.options.require_known_sender.to_string()],
        default: None,
        help: "Refuse (550) a sender in a local domain whose address no account has. Users who logged in may send as \
               themselves only, whatever is said here",
    },
    Key {
        name: "deliver",
        value: "maildir|discard",
        heading: MAIL,
        takes: Takes::One(|config, value| {
            config.options.deliver = match value {
                "maildir" => Deliver::Maildir,
                "discard" => Deliver::Discard,
                _ => return Err(format!("'{value}' is not known; say maildir or discard")),
            };
            Ok(())
        }),
        show: |config| {
            let text = match config.options.deliver {
                Deliver::Maildir => "maildir",
                Deliver::Discard => "discard",
            };
            vec![text.to_owned()]
        },
        default: None,
        help: "What becomes of accepted mail: 'maildir' puts it into each recipient's Maildir, 'discard' throws it \
               away (for measurements)",
    },
    Key {
        name: "durability",
        value: "disk|none",
        heading: MAIL,
        takes: Takes::One(|config, value| {
            config.options.durability = match value {
                "disk" => Durability::Disk,
                "none" => Durability::None,
                _ => return Err(format!("'{value}' is not known; say disk or none")),
            };
            Ok(())
        }),
        show: |config| {
            let text = match config.options.durability {
                Durability::Disk => "disk",
                Durability::None => "none",
            };
            vec![text.to_owned()]
        },
        default: None,
        help: "What 250 means: 'disk' that the message survives kill -9 and power loss, 'none' that it is in memory \
               and may be lost (for comparisons only)",
    },
    Key {
        name: "max-message-size",
        value: "SIZE",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.message_size_max = size(value)?;
            Ok(())
        }),
        show: |config| vec![size_text(config.options.message_size_max).to_string()],
        default: None,
        help: "The largest message; a larger one is refused (552)",
    },
    Key {
        name: "max-recipients",
        value: "NUMBER",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.recipients_max = number(value, RECIPIENTS_MIN)?;
            Ok(())
        }),
        show: |config| vec![config.options.recipients_max.to_string()],
        default: None,
        help: "Recipients of one message, at least 100 (RFC 5321 4.5.3.1.8); further ones are told 452",
    },
    Key {
        name: "limit-connections",
        value: "NUMBER",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.client_limits.connections = limit(value)?;
            Ok(())
        }),
        show: |config| vec![limit_text(config.options.client_limits.connections)],
        default: None,
        help: "Connections that one client (an IPv4 address, or the /64 of an IPv6 one) may have in any minute; one more \
               is told 421 and closed. 0 for no limit",
    },
    Key {
        name: "limit-messages",
        value: "NUMBER",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.client_limits.messages = limit(value)?;
            Ok(())
        }),
        show: |config| vec![limit_text(config.options.client_limits.messages)],
        default: None,
        help: "Messages that one client may send in any minute; further ones are put off at MAIL (450). 0 for no limit",
    },
    Key {
        name: "limit-exempt",
        value: "CIDR",
        heading: LIMITS,
        takes: Takes::List(|config, values| {
            config.options.client_limits.exempt = networks(values)?;
            Ok(())
        }),
        show: |config| config.options.client_limits.exempt.iter().map(Network::to_string).collect(),
        default: None,
        help: "Clients in this network, or with this address, have no limits: neither those two nor those of failed logins \
               and unknown recipients. It replaces the default; [] in the file is nobody. May be repeated",
    },
    Key {
        name: "memory",
        value: "SIZE",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.memory = size(value)?;
            Ok(())
        }),
        show: |config| vec![size_text(config.options.memory).to_string()],
        default: None,
        help: "Mail data in memory, all connections together; what is more goes to disk while it arrives. Readers by POP3 have a \
               quarter of it at the most",
    },
    Key {
        name: "spool-size",
        value: "SIZE",
        heading: LIMITS,
        takes: Takes::Number(|config, value| {
            config.options.spool_size = size(value)?;
            Ok(())
        }),
        show: |config| vec![size_text(config.options.spool_size).to_string()],
        default: None,
        help: "The spool on disk, at least 256MiB; while it is full, mail is put off (452)",
    },
    Key {
        name: "command-timeout",
        value: "TIME",
        heading: TIME,
        takes: Takes::Number(|config, value| {
            config.options.command_timeout = timeout(value)?;
            Ok(())
        }),
        show: |config| vec![duration_text(config.options.command_timeout).to_string()],
        default: None,
        help: "How long a client may take for one whole command (RFC 5321 4.5.3.2.7 wants 5m)",
    },
    Key {
        name: "data-timeout",
        value: "TIME",
        heading: TIME,
        takes: Takes::Number(|config, value| {
            config.options.data_timeout = timeout(value)?;
            Ok(())
        }),
        show: |config| vec![duration_text(config.options.data_timeout).to_string()],
        default: None,
        help: "How long mail data may pause (RFC 5321 4.5.3.2.5 wants 3m)",
    },
    Key {
        name: "session-timeout",
        value: "TIME",
        heading: TIME,
        takes: Takes::Number(|config, value| {
            config.options.session_timeout = timeout(value)?;
            Ok(())
        }),
        show: |config| vec![duration_text(config.options.session_timeout).to_string()],
        default: None,
        help: "How long a connection may last in all, so that none is held for ever: it ends between two messages; an \
               idle one ends by --command-timeout. Raise it (24h) for senders that keep one busy connection",
    },
    Key {
        name: "shutdown-grace",
        value: "TIME",
        heading: TIME,
        takes: Takes::Number(|config, value| {
            config.options.shutdown_grace = units::duration(value)?;
            Ok(())
        }),
        show: |config| vec![duration_text(config.options.shutdown_grace).to_string()],
        default: None,
        help: "How long a stopping server waits for transactions and deliveries under way; what is not delivered by \
               then is at the next start",
    },
    Key {
        name: "greeting-delay",
        value: "TIME",
        heading: TIME,
        takes: Takes::Number(|config, value| {
            config.options.greeting_delay = units::duration(value)?;
            Ok(())
        }),
        show: |config| vec![duration_text(config.options.greeting_delay).to_string()],
        default: None,
        help: "Hold the banner back this long, and refuse (554) clients that talk before it; 0 for not at all",
    },
    Key {
        name: "log",
        value: "LEVEL",
        heading: DIAGNOSIS,
        takes: Takes::One(|config, value| {
            config.log = match value {
                "error" => log::LevelFilter::Error,
                "warn" => log::LevelFilter::Warn,
                "info" => log::LevelFilter::Info,
                "debug" => log::LevelFilter::Debug,
                "trace" => log::LevelFilter::Trace,
                _ => return Err(format!("'{value}' is not known; say error, warn, info, debug or trace")),
            };
            Ok(())
        }),
        show: |config| vec![config.log.as_str().to_ascii_lowercase()],
        default: None,
        help: "Log events to standard error down to this level: error, warn, info (one line a message and one a \
               connection's end), debug or trace",
    },
];

/// Recipients that every server has to take (RFC 5321 4.5.3.1.8).
const RECIPIENTS_MIN: usize = 100;

/// A file's name; the empty one is none.
fn file(value: &str) -> Option<PathBuf> {
    (!value.is_empty()).then(|| PathBuf::from(value))
}

fn file_text(file: &Option<PathBuf>) -> String {
    file.as_ref().map(|file| file.display().to_string()).unwrap_or_default()
}

/// Addresses to listen on, none twice.
fn addresses(values: &[String]) -> Result<Vec<SocketAddr>, String> {
    let mut addresses = Vec::new();
    for value in values {
        let address: SocketAddr = value.parse().map_err(|_| no_address(value))?;
        if address.port() != 0 && addresses.contains(&address) {
            return Err(format!("'{value}' is there twice"));
        }
        addresses.push(address);
    }
    Ok(addresses)
}

/// Why `value` is no address and port: the port alone, or the whole.
fn no_address(value: &str) -> String {
    let base = format!("'{value}' is not an address and port, like 127.0.0.1:2525 or [::1]:2525");
    match value.rsplit_once(':') {
        Some((host, port))
            if format!("{host}:0").parse::<SocketAddr>().is_ok()
                && !port.is_empty()
                && port.bytes().all(|b| b.is_ascii_digit()) =>
        {
            format!("{base}; port {port} is out of range 0 to 65535")
        }
        _ => base,
    }
}

/// Domains in the spelling that counts, none twice.
fn domains(values: &[String]) -> Result<Vec<String>, String> {
    let mut domains = Vec::new();
    for value in values {
        let is_literal = value.starts_with('[') && is_host_name(value);
        if !is_literal && !is_domain(value) {
            return Err(format!("'{value}' is not a domain, like example.com or [192.0.2.1]"));
        }
        let domain = domain_key(value).into_owned();
        if !domains.contains(&domain) {
            domains.push(domain);
        }
    }
    Ok(domains)
}

/// Networks, none twice.
fn networks(values: &[String]) -> Result<Vec<Network>, String> {
    let mut networks = Vec::new();
    for value in values {
        let network = value.parse()?;
        if !networks.contains(&network) {
            networks.push(network);
        }
    }
    Ok(networks)
}

/// A limit; 0 is none.
fn limit(value: &str) -> Result<Option<NonZeroU32>, String> {
    let number: Result<u32, _> = value.parse();
    number
        .map(NonZeroU32::new)
        .map_err(|_| format!("'{value}' is not a whole number of at most {}", u32::MAX))
}

fn limit_text(limit: Option<NonZeroU32>) -> String {
    limit.map_or(0, NonZeroU32::get).to_string()
}

/// A whole number of at least `least`.
fn number(value: &str, least: usize) -> Result<usize, String> {
    match value.parse() {
        Ok(number) if number >= least => Ok(number),
        Ok(_) => Err(format!("'{value}' is too small, the least is {least}")),
        Err(_) => Err(format!("'{value}' is not a whole number of at least {least}")),
    }
}

/// A size of at least one octet.
fn size(value: &str) -> Result<u64, String> {
    match units::size(value)? {
        0 => Err(format!("'{value}' is too small; say a size like 50MiB")),
        size => Ok(size),
    }
}

/// A duration in which something may happen.
fn timeout(value: &str) -> Result<Duration, String> {
    match units::duration(value)? {
        Duration::ZERO => Err(format!("'{value}' leaves no time; say a duration like 5m")),
        duration => Ok(duration),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_owned()).collect()
    }

    #[test]
    fn a_port_out_of_range_is_said_so() {
        let error = |value: &str| addresses(&strings(&[value])).unwrap_err();
        let base = |value| format!("'{value}' is not an address and port, like 127.0.0.1:2525 or [::1]:2525");
        assert!(error("0.0.0.0:99999").ends_with("; port 99999 is out of range 0 to 65535"));
        assert!(error("[::1]:65536").ends_with("; port 65536 is out of range 0 to 65535"));
        for value in
            ["", "2525", ":2525", "127.0.0.1", "127.0.0.1:", "::1:2525:x", "localhost:25", "1.2.3.4:+5"]
        {
            assert_eq!(error(value), base(value));
        }
    }

    #[test]
    fn addresses_are_of_both_families_and_none_twice() {
        let given = strings(&["127.0.0.1:0", "127.0.0.1:0", "[::1]:25"]);
        assert_eq!(addresses(&given).unwrap().len(), 3);
        assert_eq!(addresses(&strings(&["[::1]:25", "[::1]:25"])).unwrap_err(), "'[::1]:25' is there twice");
        assert_eq!(addresses(&[]), Ok(Vec::new()));
    }

    #[test]
    fn domains_are_kept_in_the_one_spelling() {
        let given = strings(&["Example.COM", "exämple.de", "example.com", "[192.0.2.1]"]);
        assert_eq!(domains(&given).unwrap(), ["example.com", "xn--exmple-cua.de", "[192.0.2.1]"]);
        for bad in ["", "a b", "user@example.com", "-a", "[nonsense]", "my_host"] {
            assert!(domains(&strings(&[bad])).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_keys_and_variables_are_unique() {
        for (at, key) in KEYS.iter().enumerate() {
            assert!(KEYS[..at].iter().all(|other| other.variable() != key.variable()), "{}", key.name);
        }
        assert_eq!(Key::named("max-message-size").unwrap().variable(), "FASTSMTP_MAX_MESSAGE_SIZE");
    }
}
