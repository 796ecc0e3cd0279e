//! `fastsmtp list`: what lies in a mailbox, one line for each mail, the newest last.

use clap::Args;

use super::columns::width;
use super::exit::Failure;
use super::mail::show::Columns;
use super::mail::{Wanted, json};
use super::mailbox::{Entry, Mailbox, Patience, Place, State};
use super::output::{counted, print, printable};
use super::progress::Progress;

/// What `fastsmtp list` is asked.
#[derive(Args)]
#[command(after_help = after())]
pub struct List {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    patience: Patience,
    /// Only mail that no reader has looked at
    #[arg(long)]
    new: bool,
    /// Only mail with this text in its sender, subject or text, in letters of any case. May be repeated: all must be there
    #[arg(long = "match", value_name = "TEXT")]
    wanted: Vec<String>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
}

fn after() -> String {
    format!(
        "\
The columns: number (1 is the oldest), N for new, the date in your time zone,
sender, subject, size. Over POP3 nobody tells what is new: there it is '-'.

{}
The document: version (1), mailbox, mails (a list, the newest last, each on one
line).

Examples:
  fastsmtp list bob@example.com --data /tmp/mail
  fastsmtp list bob@example.com --new --json | jq -r '.mails[].subject'
  fastsmtp list bob@example.com --match invoice --match alice@
  fastsmtp list bob@example.com --server mail.example.com",
        json::EXPLAINED
    )
}

/// Does what is asked.
pub fn run(asked: List) -> Result<(), Failure> {
    let List { place, patience, new, wanted, json: as_json } = asked;
    if new {
        place.tells_new()?;
    }
    let found = place.find(patience.timeout)?;
    let mut mailbox = found.open()?;
    let all = mailbox.list()?;
    let mut chosen: Vec<Entry> =
        all.iter().filter(|entry| !new || entry.state == State::New).cloned().collect();
    if !wanted.is_empty() {
        chosen = matching(&mut mailbox, chosen, &Wanted::new(&wanted))?;
    }
    let text = match as_json {
        true => listed_json(&mut mailbox, &chosen, &found.address())?,
        false => listed(&mut mailbox, &chosen, &all)? + &foot(&chosen, &all, &found.place()),
    };
    print(text.as_bytes())?;
    mailbox.leave();
    Ok(())
}

fn matching(mailbox: &mut Mailbox, entries: Vec<Entry>, wanted: &Wanted) -> Result<Vec<Entry>, Failure> {
    let mut progress = Progress::new(entries.len(), "mails searched");
    let mut matching = Vec::new();
    for entry in entries {
        progress.step();
        if mailbox.beginning(&entry)?.is_some_and(|content| wanted.is_in(&content)) {
            matching.push(entry);
        }
    }
    Ok(matching)
}

fn listed(mailbox: &mut Mailbox, entries: &[Entry], all: &[Entry]) -> Result<String, Failure> {
    let columns = Columns::new(all.len(), width());
    let mut progress = Progress::new(entries.len(), "mails read");
    let mut text = if entries.is_empty() { String::new() } else { columns.head() };
    mailbox.summaries(entries, |entry, summary| {
        progress.step();
        text.push_str(&columns.line(entry, summary));
    })?;
    Ok(text)
}

fn listed_json(mailbox: &mut Mailbox, entries: &[Entry], address: &str) -> Result<String, Failure> {
    let mut mails = Vec::with_capacity(entries.len());
    let mut progress = Progress::new(entries.len(), "mails read");
    mailbox.summaries(entries, |entry, summary| {
        progress.step();
        mails.push(json::entry(entry, summary).to_string());
    })?;
    Ok(json::listing(address, &mails))
}

fn foot(chosen: &[Entry], all: &[Entry], place: &str) -> String {
    let new = all.iter().filter(|entry| entry.state == State::New).count();
    let new = if new > 0 { format!(", {new} new,") } else { String::new() };
    let shown = if chosen.len() < all.len() { format!("{} of ", chosen.len()) } else { String::new() };
    printable(format!("{shown}{}{new} in {place}", counted(all.len(), "mail")).as_bytes()) + "\n"
}
