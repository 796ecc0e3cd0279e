//! `fastsmtp menu`: mail for people, question by question: sign in, compose, view the mailbox. What is asked when is
//! `session.rs`; here are the arguments, and what the session's door leads to: a mailbox of the data directory or of a server,
//! and a server that mail is sent by.

mod console;
mod inbox;
mod session;

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use fastsmtp::smtp::Address;

use super::compose::{ComposeError, Draft, Stamp};
use super::connecting::{Connecting, Login, Protocol, Settings};
use super::dialogue::Shown;
use super::editor::Written;
use super::exit::{Exit, Failure};
use super::mailbox::{self, Found};
use super::output::printable;
use super::password::{given_password, next_line};
use super::send;
use super::sending::{self, Outcome};
use crate::machine::Machine;
use inbox::FoundInbox;
use session::{Desk, Door, Sender};

/// What `fastsmtp menu` is asked.
#[derive(Args)]
#[command(after_help = AFTER, mut_arg("server", |arg| arg.help(SERVER)), mut_arg("user", |arg| arg.help(USER)))]
pub struct Menu {
    /// View the mailbox in this data directory; a server may be running there or not [default: what the file or
    /// FASTSMTP_DATA says, or ./fastsmtp-data]
    #[arg(long, value_name = "DIR", conflicts_with = "server", help_heading = MAILBOX)]
    data: Option<String>,
    /// The accounts file [default: what the file or FASTSMTP_ACCOUNTS says, or accounts.toml in the data directory]
    #[arg(long, value_name = "FILE", conflicts_with = "server", help_heading = MAILBOX)]
    accounts: Option<String>,
    /// The server's TOML file
    #[arg(long, value_name = "FILE", conflicts_with = "server", help_heading = MAILBOX)]
    config: Option<PathBuf>,
    /// Send by this server [default: the --server's host; without one what FASTSMTP_SERVER says, or 127.0.0.1:2525]
    #[arg(long, value_name = "ADDR", help_heading = "The server")]
    smtp_server: Option<String>,
    #[command(flatten)]
    connecting: Connecting,
}

const MAILBOX: &str = "The mailbox";

const SERVER: &str =
    "View the mailbox at this server, by POP3, instead of a data directory's: HOST, HOST:PORT or [IPV6]:PORT";
const USER: &str = "Sign in as this user, without being asked";

const AFTER: &str = "\
Signs in with an address, then asks what to do: 1 compose, 2 view the mailbox,
3 exit. While composing, a line that is a single '.' ends the text. While
viewing, a number reads a mail, 'd' and a number removes it after a question,
Enter goes back. Ctrl-C goes back to the menu, Ctrl-D leaves.

In a data directory no password is asked for: who may read it may. At a server
the password is what POP3 and SMTP log in with; after three wrong ones it ends
with 77. Lines may also come from a pipe: then nothing is prompted for, and the
end of input leaves; failures go to standard error, and it ends with the first
one's code. --password-file - takes the password from the first line.

The text of a mail that could not be sent is kept in a file, whose name is told.

Examples:
  fastsmtp menu --data /var/lib/fastsmtp
      asks who you are, and sends to 127.0.0.1:2525
  fastsmtp menu --server mail.example.com --user alice@example.com
      views by POP3 (110, STARTTLS), sends by submission (587, STARTTLS)
  fastsmtp menu --server mail.example.com --tls implicit
      both in TLS from the start (995 and 465)
  printf '%s\\n' alice@example.com 2 1 '' 3 | fastsmtp menu --data /tmp/mail
      shows alice's first mail";

/// Does what is asked.
pub fn run(menu: Menu) -> Result<(), Failure> {
    let user = menu.connecting.user.as_deref().map(|user| {
        let wrong =
            || Failure::new(Exit::Usage, format!("--user: '{}' is no address", printable(user.as_bytes())));
        Address::parse(user.as_bytes()).map_err(|_| wrong())
    });
    let user = user.transpose()?;
    let mut door = House::new(menu)?;
    session::run(&mut *console::console()?, &mut door, user)
}

/// Where mailboxes and senders are.
struct House {
    menu: Menu,
    /// The server of mailboxes, if they are at one.
    pop3: Option<Settings>,
    smtp: Settings,
    /// What was given, so that nobody is asked.
    password: Option<String>,
}

impl House {
    /// What the arguments come to; what is wrong with them is told before anybody is asked.
    fn new(menu: Menu) -> Result<House, Failure> {
        let mut connecting = menu.connecting.clone();
        let there = connecting.server.clone();
        // Whoever signs in at a server is a user of it, and so are the ports.
        if there.is_some() && connecting.user.is_none() && connecting.password_file.is_none() {
            connecting.user = Some(String::new());
        }
        let pop3 = there.as_ref().map(|server| connecting.settings(Protocol::POP3, server)).transpose()?;
        let smtp = menu.smtp_server.clone().unwrap_or_else(|| match &pop3 {
            Some(pop3) if pop3.server.host.contains(':') => format!("[{}]", pop3.server.host),
            Some(pop3) => pop3.server.host.clone(),
            None => send::usual_server(),
        });
        let smtp = connecting.settings(Protocol::SMTP, &smtp)?;
        let file = connecting.password_file.as_deref();
        let password = match file {
            // What follows are the answers.
            Some(path) if path.as_os_str() == "-" => Some(next_line()?),
            None if there.is_none() => None,
            file => given_password(file)?,
        };
        Ok(House { menu, pop3, smtp, password })
    }

    fn found(&self, user: &str, password: &str) -> Result<Found, Failure> {
        let Menu { data, accounts, config, .. } = &self.menu;
        match &self.pop3 {
            Some(pop3) => {
                let login = mailbox::Login::new(pop3.clone(), user.to_owned(), password.to_owned())?;
                let found = Found::There(Rc::new(login));
                found.open()?.leave(); // whether it is the right password
                Ok(found)
            }
            None => {
                let here = mailbox::here(user, data.clone(), accounts.clone(), config.clone())?;
                here.open()?; // whether there is such a data directory
                Ok(Found::Here(here))
            }
        }
    }
}

impl Door for House {
    fn wants_password(&self) -> bool {
        self.pop3.is_some() && self.password.is_none()
    }

    fn open(&mut self, address: &Address, password: &str) -> Result<Desk, Failure> {
        let user = address.to_string();
        let password = self.password.as_deref().unwrap_or(password);
        let found = self.found(&user, password)?;
        let mut smtp = self.smtp.clone();
        if self.pop3.is_some() || self.password.is_some() {
            smtp.login = Some(Login { user, password: password.to_owned() });
        }
        Ok(Desk { inbox: Box::new(FoundInbox::new(found)), sender: Box::new(SmtpSender(smtp)) })
    }
}

/// Sends by a server.
struct SmtpSender(Settings);

impl Sender for SmtpSender {
    fn send(&mut self, draft: &Draft) -> Result<Outcome, Failure> {
        let wrong = |error: ComposeError| Failure::new(Exit::Data, printable(error.to_string().as_bytes()));
        let (envelope, octets) = draft.build(Stamp::now()).map_err(wrong)?;
        sending::send(&self.0, &Machine::here().host_name, &envelope, &octets, Shown::No)
    }

    fn keep(&mut self, text: &str) -> Result<String, Failure> {
        Written::keep(text).map(|written| written.path.display().to_string())
    }
}
