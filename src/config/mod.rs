//! What the operator chose: read from a file, from variables and from flags, checked, and written back.
//!
//! Each source only reduces what it holds to [`Setting`]s. They are applied in the order file, variables, flags by one
//! function, [`Config::set`], and each value is parsed by its row of [`KEYS`]; so the three cannot differ, a later
//! source replaces an earlier one's value (a list as a whole), and an error says where the value stands.

mod file;
mod keys;
mod variables;

use std::fmt;
use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use fastsmtp::certificates::{CertificateFiles, CertificateSource};
use fastsmtp::event_loop::AccountsSource;
use fastsmtp::limits::{MEMORY_MIN, SEGMENT_SIZE};
use fastsmtp::server::{Durability, Options, Service};
use fastsmtp::units::{duration_text, size_text};

use crate::cli::exit::{Exit, Failure};
use crate::machine::Machine;
pub use keys::{KEYS, Key, Takes};

/// Everything `fastsmtp serve` is told, checked and complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where to listen; at least one address.
    pub listen: Vec<SocketAddr>,
    /// Where to listen for submissions, with STARTTLS and in TLS.
    pub listen_submission: Vec<SocketAddr>,
    /// See [`listen_submission`](Config::listen_submission).
    pub listen_submissions: Vec<SocketAddr>,
    /// Where to listen for readers of mail, with STLS and in TLS.
    pub listen_pop3: Vec<SocketAddr>,
    /// See [`listen_pop3`](Config::listen_pop3).
    pub listen_pop3s: Vec<SocketAddr>,
    /// The files of certificate and key: both or none.
    pub tls_cert: Option<PathBuf>,
    /// See [`tls_cert`](Config::tls_cert).
    pub tls_key: Option<PathBuf>,
    /// Whether the server makes its certificate.
    pub tls_self_signed: bool,
    /// The directory of spool and mailboxes.
    pub data: PathBuf,
    /// The user that root becomes once the ports are bound.
    pub run_as: Option<String>,
    /// The file of the accounts, if somebody named it: see [`Config::accounts_source`].
    pub accounts: Option<PathBuf>,
    /// What the server itself is told.
    pub options: Options,
    /// The least important events that are logged.
    pub log: log::LevelFilter,
    /// Only check, print and leave.
    pub check_config: bool,
    /// What is allowed but not as the operator thinks: to be logged at the start.
    pub warnings: Vec<String>,
}

/// One key with its values, and where they stand.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The row of the key.
    pub key: &'static Key,
    /// One value, or a list's.
    pub values: Vec<String>,
    /// Where they were said.
    pub origin: Origin,
}

/// Where a setting was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// In the configuration file, by its name as given and the line, counted from 1.
    File(PathBuf, usize),
    /// In the environment.
    Variable,
    /// On the command line.
    Flag,
}

/// What the command line says to `serve`.
#[derive(Debug, Clone, Default)]
pub struct Flags {
    /// The settings made there.
    pub settings: Vec<Setting>,
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Only check, print and leave.
    pub check_config: bool,
}

impl Config {
    /// Reads all sources and checks what came of them.
    pub fn load(
        flags: Flags,
        variables: impl IntoIterator<Item = variables::Variable>,
        machine: &Machine,
    ) -> Result<Config, Failure> {
        let variables = variables::read(variables)?;
        let mut settings = match flags.file.or(variables.file) {
            Some(path) => file::read(&path)?,
            None => Vec::new(),
        };
        settings.extend(variables.settings);
        settings.extend(flags.settings);
        let mut config = Config::new(machine);
        config.check_config = flags.check_config;
        for setting in &settings {
            config.set(setting)?;
        }
        config.fit(machine)?;
        config.check().map_err(|broken| broken.failure(&settings))?;
        Ok(config)
    }

    /// What holds where nothing is said.
    pub fn new(machine: &Machine) -> Config {
        Config {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 2525))],
            listen_submission: Vec::new(),
            listen_submissions: Vec::new(),
            listen_pop3: Vec::new(),
            listen_pop3s: Vec::new(),
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            data: PathBuf::from("./fastsmtp-data"),
            run_as: None,
            accounts: None,
            options: Options { connections_max: machine.connections_max, ..Options::new(&machine.host_name) },
            log: log::LevelFilter::Info,
            check_config: false,
            warnings: Vec::new(),
        }
    }

    /// Where the accounts are.
    pub fn accounts_file(&self) -> PathBuf {
        self.accounts.clone().unwrap_or_else(|| self.data.join("accounts.toml"))
    }

    /// Where the accounts are, and whether somebody said so.
    pub fn accounts_source(&self) -> AccountsSource {
        match &self.accounts {
            Some(named) => AccountsSource::Named(named.clone()),
            None => AccountsSource::Usual(self.accounts_file()),
        }
    }

    /// Applies one setting: the only way from text to value.
    fn set(&mut self, setting: &Setting) -> Result<(), Failure> {
        let result = match (setting.key.takes, setting.values.as_slice()) {
            (Takes::One(parse) | Takes::Number(parse), [value]) => parse(self, value),
            (Takes::Switch(switch), [value]) => match value.parse() {
                Ok(is_on) => {
                    switch(self, is_on);
                    Ok(())
                }
                Err(_) => Err(format!("'{value}' is not known; say true or false")),
            },
            (Takes::One(_) | Takes::Number(_) | Takes::Switch(_), _) => {
                Err("takes one value, not a list".to_owned())
            }
            (Takes::List(parse), values) => parse(self, values),
        };
        result.map_err(|sentence| {
            let place = setting.place();
            Failure::new(setting.origin.exit(), format!("{place}: {sentence}"))
        })
    }

    /// All addresses, and what is served there.
    pub fn listeners(&self) -> Vec<(Service, SocketAddr)> {
        let lists = [
            &self.listen,
            &self.listen_submission,
            &self.listen_submissions,
            &self.listen_pop3,
            &self.listen_pop3s,
        ];
        let services = Service::ALL.into_iter().zip(lists);
        services.flat_map(|(service, list)| list.iter().map(move |address| (service, *address))).collect()
    }

    /// Has it listen where the sockets do that a service manager handed over, in place of all addresses that were given; as
    /// it was, if there are none.
    pub fn listen_where(&mut self, handed: &[(Service, TcpListener)]) -> Result<(), Failure> {
        if handed.is_empty() {
            return Ok(());
        }
        let lists = [
            &mut self.listen,
            &mut self.listen_submission,
            &mut self.listen_submissions,
            &mut self.listen_pop3,
            &mut self.listen_pop3s,
        ];
        for (service, list) in Service::ALL.into_iter().zip(lists) {
            let sockets = handed.iter().filter(|(of, _)| *of == service);
            *list = sockets.filter_map(|(_, socket)| socket.local_addr().ok()).collect();
        }
        self.check_tls().map_err(|broken| broken.failure(&[]))
    }

    /// Where certificate and key come from, if there is TLS.
    pub fn certificate_source(&self) -> Option<CertificateSource> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(chain), Some(key)) => {
                let files = CertificateFiles { chain: chain.clone(), key: key.clone() };
                Some(CertificateSource::Files(files))
            }
            _ => self.tls_self_signed.then_some(CertificateSource::SelfSigned),
        }
    }

    /// Cuts to what the machine allows.
    fn fit(&mut self, machine: &Machine) -> Result<(), Failure> {
        let allowed = machine.connections_max;
        if allowed == 0 {
            let sentence =
                "the limit of open files leaves none for connections; raise it, like 'ulimit -n 4096'";
            return Err(Failure::new(Exit::Unavailable, sentence));
        }
        let wanted = self.options.connections_max;
        if wanted > allowed {
            self.options.connections_max = allowed;
            self.warnings.push(format!(
                "max-connections: {wanted} is more than the open files allow, {allowed} is used; raise the hard \
                 limit, like 'ulimit -Hn' or LimitNOFILE="
            ));
        } else if allowed < CONNECTIONS_FEW {
            self.warnings.push(format!(
                "the hard limit of open files allows {allowed} connections only; raise it, like 'ulimit -Hn' or \
                 LimitNOFILE="
            ));
        }
        Ok(())
    }

    /// What must hold between the values.
    fn check(&self) -> Result<(), Broken> {
        let options = &self.options;
        let (message, memory) = (size_text(options.message_size_max), size_text(options.memory));
        let (spool, least) = (size_text(options.spool_size), size_text(4 * SEGMENT_SIZE));
        if options.durability == Durability::None && options.memory < options.message_size_max {
            return Err(Broken {
                keys: ["memory", "max-message-size"],
                sentence: format!("{memory} cannot hold one largest message of {message}"),
            });
        }
        if options.memory < MEMORY_MIN {
            return Err(Broken {
                keys: ["memory", "memory"],
                sentence: format!(
                    "{memory} is too little for even a few sessions; give {} or more",
                    size_text(MEMORY_MIN)
                ),
            });
        }
        if options.spool_size < 4 * SEGMENT_SIZE {
            return Err(Broken {
                keys: ["spool-size", "spool-size"],
                sentence: format!("{spool} is less than four segments, {least}"),
            });
        }
        if options.greeting_delay >= options.command_timeout {
            return Err(Broken {
                keys: ["greeting-delay", "command-timeout"],
                sentence: format!(
                    "{} is not shorter than the command timeout of {}",
                    duration_text(options.greeting_delay),
                    duration_text(options.command_timeout)
                ),
            });
        }
        self.check_tls()
    }

    /// What must hold between listeners and certificates.
    fn check_tls(&self) -> Result<(), Broken> {
        let broken = |keys, sentence: &str| Err(Broken { keys, sentence: sentence.to_owned() });
        match (&self.tls_cert, &self.tls_key) {
            (Some(_), None) => return broken(["tls-cert", "tls-key"], "is of no use without its tls-key"),
            (None, Some(_)) => return broken(["tls-key", "tls-cert"], "is of no use without its tls-cert"),
            (Some(_), Some(_)) if self.tls_self_signed => {
                return broken(["tls-self-signed", "tls-cert"], "is not needed where a certificate is given");
            }
            _ => {}
        }
        if self.certificate_source().is_some() {
            return Ok(());
        }
        let services = || self.listeners().into_iter().map(|(service, _)| service);
        if let Some(service) = services().find(|service| service.is_in_tls()) {
            return broken(
                [service.key(), "tls-cert"],
                "is TLS from the start, and there is no certificate (tls-cert and tls-key, or tls-self-signed)",
            );
        }
        if let Some(service) = services().find(|service| *service != Service::Smtp)
            && !self.options.allow_plaintext_auth
        {
            return broken(
                [service.key(), "tls-cert"],
                "takes passwords, and there is no certificate to keep them secret by (tls-cert and tls-key, \
                 tls-self-signed, or allow-plaintext-auth)",
            );
        }
        Ok(())
    }

    /// The whole configuration as a file that says the same.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        for key in KEYS {
            let values = (key.show)(self);
            let literals: Vec<String> = values.iter().map(|value| file::literal(key, value)).collect();
            let line = match (key.takes, &*literals) {
                (Takes::List(_), literals) => format!("{} = [{}]", key.name, literals.join(", ")),
                (_, []) => format!("# {} = ({})", key.name, key.default.unwrap_or("none")),
                (_, literals) => format!("{} = {}", key.name, literals.concat()),
            };
            writeln!(text, "{line}").expect("a String takes all");
        }
        text
    }
}

/// Connections below which the limit of open files is worth a warning.
const CONNECTIONS_FEW: usize = 512;

/// A relation between values that does not hold: the key to mend, and the one it does not go with.
struct Broken {
    keys: [&'static str; 2],
    sentence: String,
}

impl Broken {
    /// Placed at the last setting that had a part in it: what was fine before, it broke.
    fn failure(self, settings: &[Setting]) -> Failure {
        let Broken { keys: [key, other], sentence } = self;
        let mend = if key == other { format!("raise {key}") } else { format!("mend {key} or {other}") };
        match settings.iter().rfind(|setting| [key, other].contains(&setting.key.name)) {
            Some(last) => {
                let named = if last.key.name == key { String::new() } else { format!("{key} ") };
                let place = last.place();
                Failure::new(last.origin.exit(), format!("{place}: {named}{sentence}; {mend}"))
            }
            None => Failure::new(Exit::Configuration, format!("{key}: {sentence}; {mend}")),
        }
    }
}

impl Setting {
    /// Where it stands, and its name there: `fastsmtp.toml:12: listen`, `FASTSMTP_LISTEN`, `--listen`.
    fn place(&self) -> impl fmt::Display {
        let key = self.key;
        match &self.origin {
            Origin::File(path, line) => format!("{}:{line}: {}", path.display(), key.name),
            Origin::Variable => key.variable(),
            Origin::Flag => format!("--{}", key.name),
        }
    }
}

impl Origin {
    fn exit(&self) -> Exit {
        match self {
            Origin::Flag => Exit::Usage,
            Origin::File(..) | Origin::Variable => Exit::Configuration,
        }
    }
}

/// The known name nearest to one that is not known, as the end of a sentence.
fn did_you_mean(name: &str, known: impl Iterator<Item = String>) -> String {
    let similarity = |other: &str| strsim::jaro(name, other);
    match known.max_by(|one, other| similarity(one).total_cmp(&similarity(other))) {
        Some(nearest) if similarity(&nearest) >= SIMILAR => format!("did you mean '{nearest}'?"),
        _ => "'fastsmtp --help' names all".to_owned(),
    }
}

/// Jaro similarity from which a name may be meant (clap uses the same).
const SIMILAR: f64 = 0.7;

#[cfg(test)]
mod tests {
    use super::*;

    fn machine() -> Machine {
        Machine { host_name: "mail.example".to_owned(), connections_max: 1000 }
    }

    fn flag(name: &str, values: &[&str]) -> Setting {
        Setting {
            key: Key::named(name).unwrap(),
            values: values.iter().map(|value| (*value).to_owned()).collect(),
            origin: Origin::Flag,
        }
    }

    fn load(settings: &[(&str, &str)]) -> Result<Config, String> {
        let settings = settings.iter().map(|(name, value)| flag(name, &[value])).collect();
        let flags = Flags { settings, ..Flags::default() };
        Config::load(flags, [], &machine()).map_err(|failure| {
            assert_eq!(failure.exit, Exit::Usage);
            failure.sentence
        })
    }

    #[test]
    fn a_machine_without_any_setting_has_a_complete_configuration() {
        let config = load(&[]).unwrap();
        assert_eq!(config, Config::new(&machine()));
        assert_eq!(config.options.hostname, "mail.example");
        assert_eq!(config.options.connections_max, 1000);
    }

    #[test]
    fn every_key_reads_what_it_shows() {
        let config = Config::new(&machine());
        let mut again = Config::new(&Machine { host_name: "other".to_owned(), connections_max: 7 });
        let said = |key: &&Key| matches!(key.takes, Takes::List(_)) || !(key.show)(&config).is_empty();
        for key in KEYS.iter().filter(said) {
            again.set(&Setting { key, values: (key.show)(&config), origin: Origin::Flag }).unwrap();
        }
        assert_eq!(again, config);
    }

    #[test]
    fn too_many_connections_are_cut_and_said() {
        let config = load(&[("max-connections", "1001")]).unwrap();
        assert_eq!(config.options.connections_max, 1000);
        assert!(
            config.warnings[0].starts_with("max-connections: 1001 is more than"),
            "{:?}",
            config.warnings
        );
        assert_eq!(load(&[("max-connections", "1000")]).unwrap().warnings, [""; 0]);
    }

    #[test]
    fn a_machine_that_allows_no_connection_is_refused() {
        let none = Machine { connections_max: 0, ..machine() };
        assert_eq!(Config::load(Flags::default(), [], &none).unwrap_err().exit, Exit::Unavailable);
    }

    #[test]
    fn values_that_do_not_go_together_are_refused_where_the_last_was_said() {
        let cases: [(&[(&str, &str)], &str); 12] = [
            (
                &[("tls-cert", "c.pem")],
                "--tls-cert: is of no use without its tls-key; mend tls-cert or tls-key",
            ),
            (
                &[("tls-key", "k.pem")],
                "--tls-key: is of no use without its tls-cert; mend tls-key or tls-cert",
            ),
            (
                &[("tls-cert", "c.pem"), ("tls-key", "k.pem"), ("tls-self-signed", "true")],
                "--tls-self-signed: is not needed where a certificate is given; mend tls-self-signed or tls-cert",
            ),
            (
                &[("listen-submissions", "127.0.0.1:465"), ("allow-plaintext-auth", "true")],
                "--listen-submissions: is TLS from the start, and there is no certificate (tls-cert and tls-key, or \
                 tls-self-signed); mend listen-submissions or tls-cert",
            ),
            (
                &[("listen-submission", "127.0.0.1:587")],
                "--listen-submission: takes passwords, and there is no certificate to keep them secret by (tls-cert \
                 and tls-key, tls-self-signed, or allow-plaintext-auth); mend listen-submission or tls-cert",
            ),
            (
                &[("listen-pop3s", "127.0.0.1:995"), ("allow-plaintext-auth", "true")],
                "--listen-pop3s: is TLS from the start, and there is no certificate (tls-cert and tls-key, or \
                 tls-self-signed); mend listen-pop3s or tls-cert",
            ),
            (
                &[("listen-pop3", "127.0.0.1:110")],
                "--listen-pop3: takes passwords, and there is no certificate to keep them secret by (tls-cert \
                 and tls-key, tls-self-signed, or allow-plaintext-auth); mend listen-pop3 or tls-cert",
            ),
            (
                &[("durability", "none"), ("memory", "10MiB")],
                "--memory: 10MiB cannot hold one largest message of 50MiB; mend memory or max-message-size",
            ),
            (
                &[("durability", "none"), ("memory", "10MiB"), ("max-message-size", "11MiB")],
                "--max-message-size: memory 10MiB cannot hold one largest message of 11MiB; mend memory or \
                 max-message-size",
            ),
            (
                &[("memory", "1MiB")],
                "--memory: 1MiB is too little for even a few sessions; give 8MiB or more; raise memory",
            ),
            (
                &[("spool-size", "255MiB")],
                "--spool-size: 255MiB is less than four segments, 256MiB; raise spool-size",
            ),
            (
                &[("greeting-delay", "5m")],
                "--greeting-delay: 5m is not shorter than the command timeout of 5m; mend greeting-delay or \
                 command-timeout",
            ),
        ];
        for (settings, sentence) in cases {
            assert_eq!(load(settings).unwrap_err(), sentence);
        }
        assert!(load(&[("spool-size", "256MiB"), ("memory", "8MiB")]).is_ok());
        assert!(load(&[("listen-submissions", "[::1]:465"), ("tls-self-signed", "true")]).is_ok());
        assert!(load(&[("listen-submission", "[::1]:587"), ("allow-plaintext-auth", "true")]).is_ok());
    }
}
