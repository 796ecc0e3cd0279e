//! What `--help` says beyond the list of options; what can be generated from a table is.

use std::fmt::Write as _;

use super::exit::Exit;
use crate::config::{Config, Key};
use crate::machine::Machine;

/// The default of a key in words.
pub fn default(key: &Key) -> String {
    // The keys whose default depends on the machine say so in words.
    let nowhere = Machine { host_name: String::new(), connections_max: 0 };
    match key.default {
        Some(words) => words.to_owned(),
        None => (key.show)(&Config::new(&nowhere)).join(", "),
    }
}

/// What stands behind the options.
pub fn after() -> String {
    let mut text = EXPLAINED.to_owned();
    for exit in Exit::ALL {
        write!(text, "\n  {:>3}  {}", exit.code(), exit.meaning()).expect("a String takes all");
    }
    text
}

const EXPLAINED: &str = "\
Environment and file:
  Every option may stand in a variable, like FASTSMTP_MAX_MESSAGE_SIZE=10MiB for
  --max-message-size 10MiB (a list with commas), and in the TOML file that
  --config or FASTSMTP_CONFIG names:

      listen = [\"0.0.0.0:25\", \"[::]:25\"]
      local-domain = [\"example.com\"]
      max-message-size = \"10MiB\"

  A flag beats a variable, a variable beats the file; a list is replaced as a
  whole. A name that is not known is an error.

While it runs:
  Standard output says where it listens, and 'ready' when it serves; the log
  goes to standard error. SIGTERM and SIGINT let it finish what is under way, a
  second one ends it at once; either way nothing that was answered 250 is lost.
  SIGHUP has it read certificate and accounts anew, which it also does when the
  files change. SIGUSR1 logs its counters. Sockets that systemd hands over are
  served in place of all --listen addresses, each for what FileDescriptorName=
  says.

Examples:
  fastsmtp
      takes mail for every address at 127.0.0.1:2525 into ./fastsmtp-data
  fastsmtp --listen 127.0.0.1:0 --data \"$(mktemp -d)\"
      for a test: prints 'listening smtp 127.0.0.1:PORT', then 'ready'
  fastsmtp --listen 0.0.0.0:25 --listen [::]:25 --data /var/lib/fastsmtp \\
           --local-domain example.com
      serves a domain
  fastsmtp user add alice@example.com --data /var/lib/fastsmtp
      gives her a mailbox and a password: 'fastsmtp user --help'
  fastsmtp send --to alice@example.com --subject Lunch 'At noon?'
      sends a mail to 127.0.0.1:2525, or elsewhere: 'fastsmtp send --help'
  fastsmtp list alice@example.com
      lists her mail; read, wait and remove are told the same way
  fastsmtp menu
      asks who you are, and what to do
  fastsmtp --listen 0.0.0.0:25 --listen-submissions 0.0.0.0:465 \\
           --listen-pop3s 0.0.0.0:995 --data /var/lib/fastsmtp \\
           --tls-cert fullchain.pem --tls-key privkey.pem --run-as mail
      takes mail from everywhere, and from her once she has logged in, in TLS;
      so she also reads hers
  fastsmtp --config fastsmtp.toml --check-config
      checks a file, and prints what would hold

Exit codes:";
