//! `fastsmtp send`: sends one mail to a server, ours or any other. Writes it from what the command line says
//! ([`compose`](super::compose)), or takes it from a file ([`eml`](super::eml)), and hands it over
//! ([`sending`](super::sending)).

use std::env;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use fastsmtp::limits::{SEND_FILE_MAX, SEND_TEXT_MAX};
use fastsmtp::smtp::Envelope;
use fastsmtp::units::size_text;

use super::compose::{self, Attachment, ComposeError, Draft, Field, Mailbox, Stamp};
use super::connecting::{Connecting, Protocol};
use super::dialogue::Shown;
use super::editor::{self, Written};
use super::eml::Eml;
use super::exit::{Exit, Failure};
use super::output::{exit_of, print, printable};
use super::sending::{self, Outcome, Recipient, Said};
use crate::machine::{self, Machine};

/// What `fastsmtp send` is asked.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Send {
    /// Who sends, like alice@example.com or 'Alice <alice@example.com>' [default: --user, else you at this machine]
    #[arg(long, value_name = "ADDRESS")]
    from: Option<String>,
    /// A recipient, or several with commas between. May be repeated
    #[arg(long, value_name = "ADDRESS")]
    to: Vec<String>,
    /// A recipient who is to know of it. May be repeated
    #[arg(long, value_name = "ADDRESS")]
    cc: Vec<String>,
    /// A recipient of whom the others do not learn. May be repeated
    #[arg(long, value_name = "ADDRESS")]
    bcc: Vec<String>,
    /// What it is about
    #[arg(long, short, value_name = "TEXT")]
    subject: Option<String>,
    /// Attach this file. May be repeated
    #[arg(long, short, value_name = "FILE")]
    attach: Vec<PathBuf>,
    /// A further header field, like 'Reply-To: sales@example.com'. May be repeated
    #[arg(long = "header", value_name = "FIELD")]
    headers: Vec<String>,
    /// The text is in this file, '-' for standard input
    #[arg(long = "text", value_name = "FILE", conflicts_with = "words")]
    text_file: Option<PathBuf>,
    /// Send the mail in this file as it is, '-' for standard input; to --to, else to whom its To, Cc and Bcc name
    #[arg(long, value_name = "FILE", conflicts_with_all = WRITTEN)]
    eml: Option<PathBuf>,
    /// Show the dialogue with the server on standard error, without passwords
    #[arg(long, short)]
    verbose: bool,
    #[command(flatten)]
    connecting: Connecting,
    /// The text [default: standard input, or the editor on a terminal]
    #[arg(value_name = "TEXT")]
    words: Option<String>,
}

/// The arguments of a mail that is yet to be written.
const WRITTEN: [&str; 7] = ["cc", "bcc", "subject", "attach", "headers", "text_file", "words"];

const AFTER: &str = "\
The server is --server, else what FASTSMTP_SERVER says, else 127.0.0.1:2525,
where 'fastsmtp' listens. Without a port it is 25; 587 with --user; 465 with
--tls implicit. By default TLS is spoken where the server offers it, and its
certificate must be good. A password goes over no connection without TLS,
unless --allow-plaintext-auth is given.

Without a text, standard input is the text; on a terminal, $VISUAL or $EDITOR
is started. Text and header are UTF-8.

On success, prints what the server said: the mail's id there. Recipients that
it refuses are told one by one on standard error; the others get the mail. Ends
with 0 if all were taken, 69 if one was refused for good, 75 if trying again
may help, 77 if the login was refused.

Examples:
  fastsmtp send --to alice@example.com --subject Lunch 'At noon?'
      to a server on this machine
  fastsmtp send --to 'Zoë <zoe@example.com>' --cc bob@example.com \\
                --subject 'The report' --attach report.pdf < letter.txt
  df -h | fastsmtp send --to root@example.com --subject 'Disks'
      the text comes from another program
  fastsmtp send --server mail.example.com --user alice@example.com \\
                --to bob@example.org --subject 'Hello'
      submits by way of port 587, asks for the password, and starts the editor
  fastsmtp send --server localhost:587 --ca fastsmtp-data/tls-cert.pem \\
                --user alice@example.com --to bob@example.com -v Test
      trusts a server's certificate of its own making, and shows the dialogue
  fastsmtp send --eml saved.eml --to archive@example.com";

/// Does what is asked.
pub fn run(send: Send) -> Result<(), Failure> {
    send.check_standard_input()?;
    let address = send.connecting.server.clone().unwrap_or_else(usual_server);
    let mut settings = send.connecting.settings(Protocol::SMTP, &address)?;
    let host_name = Machine::here().host_name;
    let Mail { envelope, octets, written } = send.mail(&host_name)?;
    let sent = send.connecting.login(&settings.server).and_then(|login| {
        settings.login = login;
        let shown = if send.verbose { Shown::Yes } else { Shown::No };
        sending::send(&settings, &host_name, &envelope, &octets, shown)
    });
    let told = sent.and_then(|outcome| {
        if outcome.recipients.iter().any(|recipient| recipient.said.is_positive()) {
            written.iter().for_each(Written::remove);
        }
        tell(&outcome, &settings.server.to_string())
    });
    told.map_err(|failure| kept(failure, written.as_ref()))
}

/// Where mail goes if the command line does not say.
pub fn usual_server() -> String {
    env::var(SERVER_VARIABLE).unwrap_or_else(|_| DEFAULT_SERVER.to_owned())
}

/// Names the server if the command line does not.
const SERVER_VARIABLE: &str = "FASTSMTP_SERVER";

/// Where `fastsmtp serve` listens by default.
const DEFAULT_SERVER: &str = "127.0.0.1:2525";

/// A mail to be sent.
struct Mail {
    envelope: Envelope,
    octets: Vec<u8>,
    /// Of a text from the editor: its file.
    written: Option<Written>,
}

impl Send {
    /// Standard input can be one thing only.
    fn check_standard_input(&self) -> Result<(), Failure> {
        let is_dash = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
        let is_text = is_dash(&self.text_file) || is_dash(&self.eml) || !self.has_text();
        match is_text && self.connecting.takes_standard_input() {
            true => Err(usage("--password-file: standard input is the mail's text already; name a file")),
            false => Ok(()),
        }
    }

    fn has_text(&self) -> bool {
        self.words.is_some() || self.text_file.is_some() || self.eml.is_some()
    }

    fn mail(&self, host_name: &str) -> Result<Mail, Failure> {
        let to = mailboxes("--to", &self.to)?;
        match &self.eml {
            Some(path) => self.mail_of(path, to, host_name),
            None => self.mail_written(to, host_name),
        }
    }

    /// The mail in a file.
    fn mail_of(&self, path: &Path, to: Vec<Mailbox>, host_name: &str) -> Result<Mail, Failure> {
        let failed = |error: &dyn std::fmt::Display| {
            Failure::new(
                Exit::Data,
                format!("--eml: {}: {}", path.display(), printable(error.to_string().as_bytes())),
            )
        };
        let eml = Eml::new(read("--eml", path, SEND_FILE_MAX)?).map_err(|error| failed(&error))?;
        let sender = match self.from {
            None => eml.sender().map_err(|error| failed(&error))?,
            Some(_) => None,
        };
        let sender = match sender {
            Some(sender) => sender,
            None => self.sender(host_name)?.address,
        };
        let (recipients, octets) = match to.is_empty() {
            true => (eml.recipients().map_err(|error| failed(&error))?, eml.without_bcc()),
            false => (to.into_iter().map(|mailbox| mailbox.address).collect(), eml.octets().to_vec()),
        };
        if recipients.is_empty() {
            return Err(failed(&"it names no recipient in To, Cc or Bcc; name one with --to ADDRESS"));
        }
        Ok(Mail { envelope: compose::envelope(Some(sender), recipients, &octets), octets, written: None })
    }

    /// The mail that the arguments describe.
    fn mail_written(&self, to: Vec<Mailbox>, host_name: &str) -> Result<Mail, Failure> {
        let mut draft = Draft {
            from: self.sender(host_name)?,
            to,
            cc: mailboxes("--cc", &self.cc)?,
            bcc: mailboxes("--bcc", &self.bcc)?,
            subject: self.subject.clone().unwrap_or_default(),
            text: String::new(),
            attachments: Vec::new(),
            fields: self
                .headers
                .iter()
                .map(|text| Field::parse(text))
                .collect::<Result<_, _>>()
                .map_err(wrong("--header"))?,
        };
        // What is wrong so far is said before the text is asked for.
        draft.check().map_err(wrong_part)?;
        draft.attachments = self.attach.iter().map(|path| attachment(path)).collect::<Result<_, _>>()?;
        let (text, written) = self.text()?;
        draft.text = text;
        let built = draft.build(Stamp::now());
        let (envelope, octets) = built.map_err(|error| kept(wrong_part(error), written.as_ref()))?;
        Ok(Mail { envelope, octets, written })
    }

    fn sender(&self, host_name: &str) -> Result<Mailbox, Failure> {
        if let Some(from) = &self.from {
            return Mailbox::parse(from).map_err(wrong("--from"));
        }
        let user = self.connecting.user.as_deref().map(Mailbox::parse);
        let own = || Mailbox::parse(&format!("{}@{host_name}", machine::user_name()?)).ok();
        user.and_then(Result::ok).or_else(own).ok_or_else(|| usage("who sends? Say so with --from ADDRESS"))
    }

    /// The text, and its file if it comes from the editor.
    fn text(&self) -> Result<(String, Option<Written>), Failure> {
        let (octets, source) = match (&self.words, &self.text_file) {
            (Some(words), _) => return Ok((words.clone(), None)),
            (None, Some(path)) => {
                (read("--text", path, SEND_TEXT_MAX)?, format!("--text: {}", path.display()))
            }
            (None, None) if io::stdin().is_terminal() && editor::is_there() => {
                return editor::write().map(|(text, written)| (text, Some(written)));
            }
            (None, None) => {
                if io::stdin().is_terminal() {
                    crate::logging::say("The text, up to Ctrl-D on a line of its own:");
                }
                (read("--text", Path::new("-"), SEND_TEXT_MAX)?, "standard input".to_owned())
            }
        };
        let text = String::from_utf8(octets).map_err(|_| {
            Failure::new(
                Exit::Data,
                format!("{source}: it is not UTF-8 text; convert it, or --attach it as a file"),
            )
        });
        Ok((text?, None))
    }
}

/// Says what became of the mail: whom the server refused, and what it said to the mail. That nothing more can be printed
/// takes neither away.
fn tell(outcome: &Outcome, server: &str) -> Result<(), Failure> {
    let taken = outcome.mail.as_ref().filter(|said| said.is_positive());
    let printed = taken.map_or(Ok(()), |said| {
        print(format!("{}\n", said.text).as_bytes()).map_err(|failure| {
            let sentence = format!("{}; the mail was sent: {}", failure.sentence, said.text);
            Failure::new(failure.exit, sentence)
        })
    });
    match (refusals(outcome, server), printed) {
        (Ok(()), printed) => printed,
        (refused, Ok(())) => refused,
        (Err(refused), Err(unprinted)) => {
            crate::logging::say(&refused.to_string());
            Err(Failure::new(refused.exit, unprinted.sentence))
        }
    }
}

/// Says whom the server refused; the last of them is the failure.
fn refusals(outcome: &Outcome, server: &str) -> Result<(), Failure> {
    let Outcome { recipients, mail } = outcome;
    let refused = || recipients.iter().filter(|recipient| !recipient.said.is_positive());
    let Some(exit) = exit_of_refusals(refused().map(|recipient| &recipient.said)) else { return Ok(()) };
    let mail = mail.as_ref().filter(|said| !said.is_positive());
    let alone = refused().filter(|recipient| Some(&recipient.said) != mail);
    let mut sentences: Vec<String> = alone.map(|recipient| refusal(server, recipient)).collect();
    sentences.extend(mail.map(|said| format!("{server} refused the mail: {}", said.text)));
    let last = sentences.pop().expect("somebody was refused, or the mail");
    for sentence in sentences {
        crate::logging::say(&Failure::new(exit, sentence).to_string());
    }
    Err(Failure::new(exit, last))
}

fn refusal(server: &str, Recipient { address, said }: &Recipient) -> String {
    format!("{server} refused {}: {}", printable(address.to_string().as_bytes()), said.text)
}

/// How a program ends that was refused so; none if it was not.
fn exit_of_refusals<'a>(refusals: impl Iterator<Item = &'a Said>) -> Option<Exit> {
    refusals.map(Said::exit).reduce(|one, other| if one == Exit::Unavailable { one } else { other })
}

/// A failure, and where the text is that was written in vain.
fn kept(failure: Failure, written: Option<&Written>) -> Failure {
    match written {
        None => failure,
        Some(written) if !written.path.exists() => failure,
        Some(written) => {
            let place = written.path.display();
            Failure::new(failure.exit, format!("{}; the text is kept in {place}", failure.sentence))
        }
    }
}

fn mailboxes(option: &'static str, texts: &[String]) -> Result<Vec<Mailbox>, Failure> {
    let each = texts.iter().map(|text| Mailbox::parse_list(text));
    Ok(each.collect::<Result<Vec<_>, _>>().map_err(wrong(option))?.concat())
}

fn attachment(path: &Path) -> Result<Attachment, Failure> {
    let name = path.file_name().map_or_else(|| "file".into(), |name| name.to_string_lossy());
    Ok(Attachment { name: name.into_owned(), content: read("--attach", path, SEND_FILE_MAX)? })
}

/// All that a file has, or standard input.
fn read(option: &str, path: &Path, octets_max: u64) -> Result<Vec<u8>, Failure> {
    let mut octets = Vec::new();
    let limit = octets_max + 1;
    let done = match path.to_str() {
        Some("-") if option != "--attach" => io::stdin().lock().take(limit).read_to_end(&mut octets),
        _ => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut octets)),
    };
    let place = path.display();
    match done {
        Err(error) => Err(Failure::new(exit_of(&error), format!("{option}: {place}: {error}"))),
        Ok(count) if count as u64 > octets_max => {
            let size = size_text(octets_max);
            Err(Failure::new(
                Exit::Data,
                format!("{option}: {place}: it is larger than {size}, and no mail any more"),
            ))
        }
        Ok(_) => Ok(octets),
    }
}

/// What is wrong with an option.
fn wrong(option: &'static str) -> impl Fn(ComposeError) -> Failure {
    move |error| usage(format!("{option}: {}", printable(error.to_string().as_bytes())))
}

/// What is wrong with a draft, whose addresses and fields were judged before.
fn wrong_part(error: ComposeError) -> Failure {
    match error {
        ComposeError::Control => wrong("--subject")(error),
        ComposeError::NoAddress(_) | ComposeError::LongWord(_) => wrong("--header")(error),
        ComposeError::Nul => Failure::new(Exit::Data, error.to_string()),
        error => usage(printable(error.to_string().as_bytes())),
    }
}

fn usage(sentence: impl Into<String>) -> Failure {
    Failure::new(Exit::Usage, sentence)
}
