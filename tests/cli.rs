//! What the command line, the variables and the file promise to an operator, asked of the real program. Nothing here
//! starts a server: each run checks its configuration, or fails before.

use std::process::{Command, Output};

const USAGE: i32 = 2;
const CONFIGURATION: i32 = 78;

/// A run of the program in a directory of its own, with no variables but those it is given.
struct Run {
    directory: tempfile::TempDir,
    command: Command,
}

impl Run {
    fn new(arguments: &[&str]) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_fastsmtp"));
        command.env_clear().current_dir(directory.path()).args(arguments);
        Run { directory, command }
    }

    fn variable(mut self, name: &str, value: &str) -> Run {
        self.command.env(name, value);
        self
    }

    /// Writes `fastsmtp.toml` and names it by `--config`.
    fn file(mut self, text: &str) -> Run {
        std::fs::write(self.directory.path().join("fastsmtp.toml"), text).unwrap();
        self.command.args(["--config", "fastsmtp.toml"]);
        self
    }

    fn output(mut self) -> Output {
        self.command.output().unwrap()
    }

    /// The configuration that would hold.
    #[track_caller]
    fn checked(mut self) -> String {
        self.command.arg("--check-config");
        let output = self.output();
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// One line of the configuration that would hold.
    #[track_caller]
    fn line(self, key: &str) -> String {
        let checked = self.checked();
        let is_key = |line: &&str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(" = "));
        checked.lines().find(is_key).expect(key).to_owned()
    }

    /// The one sentence of a run that must fail with `code`, without the program's name.
    #[track_caller]
    fn fails(mut self, code: i32) -> String {
        self.command.arg("--check-config");
        let output = self.output();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{error}");
        assert_eq!(output.stdout, b"", "nothing but the sentence");
        let sentence =
            error.strip_prefix("fastsmtp: ").and_then(|rest| rest.strip_suffix('\n')).expect(&error);
        assert!(!sentence.contains('\n'), "{error}");
        sentence.to_owned()
    }
}

fn run(arguments: &[&str]) -> Run {
    Run::new(arguments)
}

#[test]
fn a_flag_beats_a_variable_beats_the_file() {
    let file = "memory = \"100MiB\"\nlisten = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    assert_eq!(run(&[]).line("memory"), "memory = \"256MiB\"");
    assert_eq!(run(&[]).file(file).line("memory"), "memory = \"100MiB\"");
    let both = || run(&[]).file(file).variable("FASTSMTP_MEMORY", "101MiB");
    assert_eq!(both().line("memory"), "memory = \"101MiB\"");
    let all = run(&["--memory", "102MiB"]).file(file).variable("FASTSMTP_MEMORY", "101MiB");
    assert_eq!(all.line("memory"), "memory = \"102MiB\"");
}

#[test]
fn a_list_is_replaced_as_a_whole() {
    let file = "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]\n";
    assert_eq!(run(&[]).line("listen"), "listen = [\"127.0.0.1:2525\"]");
    assert_eq!(run(&[]).file(file).line("listen"), "listen = [\"127.0.0.1:1\", \"127.0.0.1:2\"]");
    let variable = || run(&[]).file(file).variable("FASTSMTP_LISTEN", "127.0.0.1:3,[::1]:0");
    assert_eq!(variable().line("listen"), "listen = [\"127.0.0.1:3\", \"[::1]:0\"]");
    let flags = run(&["--listen", "127.0.0.1:4", "--listen", "127.0.0.1:5"]).file(file);
    assert_eq!(flags.line("listen"), "listen = [\"127.0.0.1:4\", \"127.0.0.1:5\"]");
}

#[test]
fn this_machines_own_addresses_have_no_limits_unless_the_list_is_another() {
    assert_eq!(run(&[]).line("limit-exempt"), "limit-exempt = [\"127.0.0.0/8\", \"::1\"]");
    assert_eq!(run(&[]).file("limit-exempt = []").line("limit-exempt"), "limit-exempt = []");
    let other = run(&["--limit-exempt", "192.0.2.1", "--limit-exempt", "192.0.2.1"]);
    assert_eq!(other.line("limit-exempt"), "limit-exempt = [\"192.0.2.1\"]");
    assert_eq!(run(&[]).line("limit-messages"), "limit-messages = 0");
}

#[test]
fn serve_may_be_left_out() {
    let with = run(&["serve", "--listen", "127.0.0.1:1", "--log", "warn"]).checked();
    let without = run(&["--listen", "127.0.0.1:1", "--log", "warn"]).checked();
    assert_eq!(with, without);
}

#[test]
fn a_variable_may_name_the_file_and_a_flag_another() {
    let named = run(&[]).variable("FASTSMTP_CONFIG", "other.toml");
    std::fs::write(named.directory.path().join("other.toml"), "log = \"debug\"").unwrap();
    assert_eq!(named.line("log"), "log = \"debug\"");
    let flag = run(&[]).file("log = \"warn\"").variable("FASTSMTP_CONFIG", "missing.toml");
    assert_eq!(flag.line("log"), "log = \"warn\"");
}

#[test]
fn what_check_config_prints_is_a_file_that_says_the_same() {
    let told = run(&[
        "--listen=[::1]:0",
        "--data=/tmp/a \"quoted\" \\ name",
        concat!("--accounts=", env!("CARGO_MANIFEST_DIR"), "/tests/common/accounts.toml"),
        "--hostname=mx.example",
        "--max-connections=2",
        "--run-as=mail",
        "--trusted-proxy=10.0.0.0/8",
        "--limit-connections=60",
        "--limit-messages=100",
        "--limit-exempt=192.0.2.0/24",
        "--limit-exempt=2001:db8::1",
        "--local-domain=Example.COM",
        "--local-domain=[IPv6:::1]",
        "--deliver=discard",
        "--durability=none",
        "--max-message-size=1MB",
        "--max-recipients=100",
        "--memory=1GiB",
        "--spool-size=1TiB",
        "--command-timeout=1500ms",
        "--data-timeout=90",
        "--session-timeout=1d",
        "--shutdown-grace=0",
        "--greeting-delay=1s",
        "--log=trace",
    ]);
    for first in [told.checked(), run(&[]).checked()] {
        assert_eq!(run(&[]).file(&first).checked(), first);
    }
    // What was named must be there at the start, so a file that nobody named is not named.
    let unsaid = "\n# accounts = (accounts.toml in the data directory)\n";
    assert!(run(&[]).checked().contains(unsaid));
}

#[test]
fn check_config_leaves_no_trace() {
    let mut run = run(&["--check-config"]);
    assert!(run.command.output().unwrap().status.success());
    assert_eq!(std::fs::read_dir(run.directory.path()).unwrap().count(), 0);
}

#[test]
fn an_unknown_name_is_an_error_that_names_the_nearest() {
    let file = run(&[]).file("# ours\n\nlisen = [\"127.0.0.1:1\"]\n");
    assert_eq!(file.fails(CONFIGURATION), "fastsmtp.toml:3: unknown key 'lisen'; did you mean 'listen'?");
    let variable = run(&[]).variable("FASTSMTP_MAX_MESAGE_SIZE", "1");
    let sentence = "unknown variable 'FASTSMTP_MAX_MESAGE_SIZE'; did you mean 'FASTSMTP_MAX_MESSAGE_SIZE'?";
    assert_eq!(variable.fails(CONFIGURATION), sentence);
    let flag = run(&["--lisen", "127.0.0.1:1"]).output();
    assert_eq!(flag.status.code(), Some(USAGE));
    assert!(String::from_utf8_lossy(&flag.stderr).contains("'--listen'"));
}

#[test]
fn a_bad_value_is_said_with_its_place_and_its_mend() {
    let listen = "'0.0.0.0:99999' is not an address and port, like 127.0.0.1:2525 or [::1]:2525; port 99999 is out \
                  of range 0 to 65535";
    let cases = [
        ("listen", "0.0.0.0:99999", listen),
        ("data", "", "the name of the directory is empty"),
        ("accounts", "", "the name of the file is empty"),
        ("hostname", "a b", "'a b' is not a host name, like mail.example.com"),
        ("local-domain", "a@b", "'a@b' is not a domain, like example.com or [192.0.2.1]"),
        ("deliver", "mbox", "'mbox' is not known; say maildir or discard"),
        ("durability", "ram", "'ram' is not known; say disk or none"),
        ("max-message-size", "50M", "'50M' is not a size, like 50MiB, 64KiB or 1000 (octets)"),
        ("max-message-size", "0", "'0' is too small; say a size like 50MiB"),
        ("max-recipients", "99", "'99' is too small, the least is 100"),
        ("max-connections", "0", "'0' is too small, the least is 1"),
        ("max-connections", "many", "'many' is not a whole number of at least 1"),
        (
            "trusted-proxy",
            "lb.example.com",
            "'lb.example.com' is not a network or an address, like 192.0.2.0/24, 2001:db8::/32 or ::1",
        ),
        ("limit-connections", "-1", "'-1' is not a whole number of at most 4294967295"),
        ("limit-messages", "some", "'some' is not a whole number of at most 4294967295"),
        ("limit-exempt", "10.1.2.3/8", "'10.1.2.3/8' has bits behind its prefix; say 10.0.0.0/8 or 10.1.2.3"),
        ("memory", "1.5GiB", "'1.5GiB' is not a size, like 50MiB, 64KiB or 1000 (octets)"),
        ("memory", "10KiB", "10KiB is too little for even a few sessions; give 8MiB or more; raise memory"),
        ("spool-size", "255MiB", "255MiB is less than four segments, 256MiB; raise spool-size"),
        ("command-timeout", "0", "'0' leaves no time; say a duration like 5m"),
        ("data-timeout", "3 minutes", "'3 minutes' is not a duration, like 30s, 500ms, 5m or 1h"),
        ("session-timeout", "36501d", "'36501d' is too long a duration, the longest is 36500d"),
        ("shutdown-grace", "soon", "'soon' is not a duration, like 30s, 500ms, 5m or 1h"),
        (
            "greeting-delay",
            "10m",
            "10m is not shorter than the command timeout of 5m; mend greeting-delay or command-timeout",
        ),
        ("log", "off", "'off' is not known; say error, warn, info, debug or trace"),
    ];
    for (name, value, sentence) in cases {
        let flag = format!("--{name}={value}");
        assert_eq!(run(&[&flag]).fails(USAGE), format!("--{name}: {sentence}"));
        let variable = format!("FASTSMTP_{}", name.to_uppercase().replace('-', "_"));
        assert_eq!(
            run(&[]).variable(&variable, value).fails(CONFIGURATION),
            format!("{variable}: {sentence}")
        );
        let file = format!("\n\n{name} = \"{value}\"\n");
        let placed = format!("fastsmtp.toml:3: {name}: {sentence}");
        assert_eq!(run(&[]).file(&file).fails(CONFIGURATION), placed);
    }
}

#[test]
fn a_file_that_is_none_is_said_so() {
    let sentence = run(&["--config", "missing.toml"]).fails(CONFIGURATION);
    assert!(sentence.starts_with("missing.toml: the configuration cannot be read: "), "{sentence}");
    let sentence = run(&[]).file("data = \"x\"\nlog = info\n").fails(CONFIGURATION);
    assert!(sentence.starts_with("fastsmtp.toml:2: not TOML ("), "{sentence}");
    let sentence = run(&["--config", "/dev/zero"]).fails(CONFIGURATION);
    assert!(sentence.contains("is larger than"), "{sentence}");
}

#[test]
fn more_connections_than_descriptors_is_a_warning() {
    let mut run = run(&["--max-connections=99999999", "--check-config"]);
    let output = run.command.output().unwrap();
    assert!(output.status.success());
    let warning = String::from_utf8(output.stderr).unwrap();
    assert!(warning.starts_with("fastsmtp: warning: max-connections: 99999999 is more than"), "{warning}");
    assert!(!String::from_utf8(output.stdout).unwrap().contains("99999999"));
}

#[test]
fn help_names_every_option_and_every_exit_code() {
    let help = String::from_utf8(run(&["--help"]).output().stdout).unwrap();
    for line in run(&[]).checked().lines() {
        let (key, _) = line.trim_start_matches("# ").split_once(" = ").unwrap();
        let names = [format!("--{key} <"), format!("--{key}[=<")];
        assert!(names.iter().any(|name| help.contains(name)), "{key}");
    }
    let codes = help.split_once("Exit codes:").unwrap().1;
    for code in [0, 2, 65, 66, 67, 69, 73, 74, 75, 77, 78, 130] {
        assert!(codes.contains(&format!("\n  {code:>3}  ")), "{code}");
    }
    for word in ["--config", "--check-config", "FASTSMTP_MAX_MESSAGE_SIZE", "[default: 50MiB]", "Examples:"] {
        assert!(help.contains(word), "{word}");
    }
    let of_serve = String::from_utf8(run(&["serve", "--help"]).output().stdout).unwrap();
    assert_eq!(help.split_once("Network:").unwrap().1, of_serve.split_once("Network:").unwrap().1);
}

#[test]
fn the_example_in_the_help_is_a_configuration() {
    let help = String::from_utf8(run(&["--help"]).output().stdout).unwrap();
    let example: Vec<&str> = help.lines().map(str::trim).filter(|line| line.contains(" = ")).collect();
    assert!(example.len() >= 3, "{example:?}");
    let checked = run(&[]).file(&example.join("\n")).checked();
    assert!(checked.contains("max-message-size = \"10MiB\""));
}

#[test]
fn the_version_is_that_of_the_package() {
    let output = run(&["--version"]).output();
    assert_eq!(String::from_utf8_lossy(&output.stdout), format!("fastsmtp {}\n", env!("CARGO_PKG_VERSION")));
    assert!(output.status.success());
}
