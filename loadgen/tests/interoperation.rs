//! Servers of others take what the client says: Postfix with STARTTLS and Cyrus SASL, Dovecot's LMTP, aiosmtpd. Each in
//! a directory of its own, on a port of the system's choice; where one is not installed its test says so and passes.

mod common;

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Ran, command, finish, program, spawn};
use rustix::process::{Pid, Signal, geteuid, kill_process};
use tempfile::TempDir;

/// A server of others, in its directory. Dropping it ends it and its children.
struct Other {
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Other {
    /// Starts a server that is to listen at `address`, and waits for its banner.
    fn start(directory: TempDir, address: SocketAddr, command: &mut Command) -> Other {
        let log = fs::File::create(directory.path().join("output")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        // A group of its own: some of them end by a signal to their group.
        let child = command.process_group(0).spawn().unwrap();
        let mut other = Other { child, address, directory };
        let begun = Instant::now();
        while !greets(address) {
            let ended = other.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < Duration::from_secs(60), "{}", other.log());
            std::thread::yield_now();
        }
        other
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn log(&self) -> String {
        ["output", "log"].map(|name| fs::read_to_string(self.path(name)).unwrap_or_default()).concat()
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

fn greets(address: SocketAddr) -> bool {
    let Ok(stream) = TcpStream::connect(address) else { return false };
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut banner = String::new();
    BufReader::new(stream).read_line(&mut banner).is_ok() && banner.starts_with("220")
}

/// A port that was ours a moment ago: they cannot be told to take one of the system's choice.
fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A directory that other users may look into.
fn open_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// Whether files are there, each in any of some places; says so if the test must be skipped. In CI all must be there. We
/// must be root too: these servers change their user.
fn has(names: &[&str]) -> bool {
    let places = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/usr/lib", "/usr/libexec"];
    let is_missing = |name: &&&str| !places.iter().any(|place| Path::new(place).join(name).exists());
    let reason = match names.iter().find(is_missing) {
        Some(name) => format!("{name} is not installed"),
        None if !geteuid().is_root() => format!("{names:?} take root"),
        None => return true,
    };
    assert!(std::env::var_os("CI").is_none(), "{reason}, and CI has to have it");
    eprintln!("skipped: {reason}");
    false
}

/// Runs a tool, with `input`, and insists that it succeeds.
fn done(command: &mut Command, input: &str) {
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn postfix() -> Option<Other> {
    if !has(&["postfix", "postconf", "saslpasswd2", "openssl"]) {
        return None;
    }
    let (directory, address) = (open_directory(), free_address());
    let path = directory.path();
    for name in ["queue", "data", "sasl"] {
        fs::create_dir(path.join(name)).unwrap();
    }
    let here = path.to_str().unwrap();
    fs::write(path.join("main.cf"), MAIN_CF.replace("@", here)).unwrap();
    fs::write(path.join("master.cf"), format!("{address} inet n - n - - smtpd\n{MASTER_CF}")).unwrap();
    fs::write(path.join("sasl/smtpd.conf"), SMTPD_CONF.replace("@", here)).unwrap();
    let (key, certificate) = (path.join("key.pem"), path.join("cert.pem"));
    done(
        Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:P-256",
                "-nodes",
                "-days",
                "2",
            ])
            .args(["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout"])
            .arg(key)
            .arg("-out")
            .arg(certificate),
        "",
    );
    let database = path.join("sasldb");
    done(
        Command::new("saslpasswd2").args(["-p", "-c", "-u", "example.com", "tim", "-f"]).arg(&database),
        "secret",
    );
    done(Command::new("chown").arg("postfix").arg(&database).arg(path.join("data")), "");
    done(Command::new("postfix").arg("-c").arg(path).arg("check"), "");
    let postconf = Command::new("postconf").args(["-dhx", "daemon_directory"]).output().unwrap();
    let master = Path::new(String::from_utf8(postconf.stdout).unwrap().trim()).join("master");
    let mut command = Command::new(master);
    command.arg("-c").arg(path).arg("-d");
    Some(Other::start(directory, address, &mut command))
}

const MAIN_CF: &str = "\
compatibility_level = 3.6
queue_directory = @/queue
data_directory = @/data
maillog_file = @/log
maillog_file_prefixes = @
myhostname = mx.example
mydestination =
local_recipient_maps =
alias_maps =
relay_domains = example.com
relay_transport = discard:
default_transport = discard:
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks =
smtpd_relay_restrictions = permit_sasl_authenticated, reject
smtpd_tls_security_level = may
smtpd_tls_auth_only = yes
smtpd_tls_cert_file = @/cert.pem
smtpd_tls_key_file = @/key.pem
smtpd_sasl_auth_enable = yes
smtpd_sasl_path = smtpd
smtpd_sasl_local_domain = example.com
cyrus_sasl_config_path = @/sasl
";

const MASTER_CF: &str = "\
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
tlsmgr unix - - n 1000? 1 tlsmgr
discard unix - - n - - discard
error unix - - n - - error
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
";

const SMTPD_CONF: &str = "\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: @/sasldb
mech_list: PLAIN LOGIN SCRAM-SHA-256
";

/// Runs against a server, as the user tim of Postfix.
fn load(server: &Other, arguments: &str, password: &str) -> Ran {
    let mut command = command(server.address, &format!("--timeout 30s --json - {arguments}"));
    finish(spawn(command.env("LOADGEN_PASSWORD", password)))
}

#[test]
fn postfix_takes_mail_under_starttls_from_who_proves_a_password_in_any_way() {
    let Some(postfix) = postfix() else { return };
    let trusting = format!("--tls starttls --ca {}", postfix.path("cert.pem").display());
    let to = "--conns 2 --messages 10 --to u{n}@example.com --user tim";
    for (mechanism, mode) in [("plain", "lockstep"), ("login", "pipeline"), ("scram-sha-256", "bdat")] {
        let arguments = format!("{trusting} {to} --auth {mechanism} --mode {mode} --size 1KiB..200KiB");
        let ran = load(&postfix, &arguments, "secret");
        let told = format!("{mechanism}: {} {}", ran.stderr, postfix.log());
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 10), "{told}");
        assert_eq!((ran.count("/phases/tls/count"), ran.count("/phases/auth/count")), (2, 2), "{told}");
        let method = format!("sasl_method={}, sasl_username=tim@example.com", mechanism.to_uppercase());
        assert_eq!(postfix.log().matches(&method).count(), 10, "{told}");
        let ran = load(&postfix, &arguments, "wrong");
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(3), 0), "{}", ran.stderr);
        assert!(ran.text("/verdict").contains("535 5.7.8"), "{}", ran.text("/verdict"));
    }
    // Postfix itself offers no AUTH in the clear, and relays for nobody that it does not know.
    let ran = load(&postfix, &format!("{to} --auth plain --plaintext-auth"), "secret");
    assert_eq!(ran.code(), Some(3), "{}", ran.stderr);
    assert!(ran.text("/verdict").contains("does not offer AUTH PLAIN"), "{}", ran.text("/verdict"));
    let ran = load(&postfix, "--conns 2 --messages 10 --tls auto --insecure", "");
    assert_eq!(
        (ran.code(), ran.count("/refused_permanent") + ran.count("/refused_transient")),
        (Some(3), 10)
    );
    assert!(!postfix.log().contains("improper command pipelining"), "{}", postfix.log());
}

#[test]
fn dovecot_takes_mail_by_lmtp_and_each_copy_is_found_whole() {
    if !has(&["dovecot", "dovecot/lmtp"]) {
        return;
    }
    let (directory, address) = (open_directory(), free_address());
    let path = directory.path();
    fs::create_dir(path.join("mail")).unwrap();
    fs::set_permissions(path.join("mail"), Permissions::from_mode(0o777)).unwrap();
    let port = address.port().to_string();
    let configuration = DOVECOT_CONF.replace('@', path.to_str().unwrap()).replace("PORT", &port);
    fs::write(path.join("dovecot.conf"), configuration).unwrap();
    let mut command = Command::new("dovecot");
    command.arg("-F").arg("-c").arg(path.join("dovecot.conf"));
    let dovecot = Other::start(directory, address, &mut command);
    let ledger = dovecot.path("ledger").display().to_string();
    for mode in ["lockstep", "pipeline", "bdat"] {
        let to = "--rcpts 3 --to u{n%5}@example.com";
        let arguments = format!("--lmtp --conns 2 --messages 10 --mode {mode} {to} --ledger {ledger}");
        let ran = load(&dovecot, &arguments, "");
        assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 10), "{} {}", ran.stderr, dovecot.log());
        let mut verify = program(&format!("verify --json - --ledger {ledger} --maildir"));
        let found = finish(spawn(verify.arg(dovecot.path("mail"))));
        assert_eq!((found.code(), found.count("/present")), (Some(0), 10), "{mode}: {}", found.stderr);
    }
}

const DOVECOT_CONF: &str = "\
base_dir = @/run
state_dir = @/state
log_path = @/log
protocols = lmtp
ssl = no
mail_location = maildir:@/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
passdb {
  driver = static
  args = nopassword=y
}
userdb {
  driver = static
  args = uid=nobody gid=nogroup home=@/mail/%u allow_all_users=yes
}
service lmtp {
  inet_listener lmtp {
    address = 127.0.0.1
    port = PORT
  }
}
";

#[test]
fn aiosmtpd_takes_mail_in_lockstep() {
    if !has(&["/usr/bin/python3", "python3/dist-packages/aiosmtpd"]) {
        return;
    }
    let address = free_address();
    let mut command = Command::new("/usr/bin/python3");
    command.args(["-m", "aiosmtpd", "-n", "-l", &address.to_string(), "-c", "aiosmtpd.handlers.Sink"]);
    let aiosmtpd = Other::start(open_directory(), address, &mut command);
    let ran = load(&aiosmtpd, "--conns 3 --messages 30 --rcpts 2 --size 1KiB..100KiB", "");
    assert_eq!((ran.code(), ran.count("/accepted")), (Some(0), 30), "{} {}", ran.stderr, aiosmtpd.log());
    assert_eq!(ran.text("/speaking/in_force"), "lockstep: PIPELINING is not offered");
}
