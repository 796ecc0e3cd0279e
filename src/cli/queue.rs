//! `fastsmtp queue`: what the server holds, and what is to become of it. For the operator.
//!
//! Works beside a running server and without one, and takes no lock. It only reads, but for two things: `remove` takes a
//! held message away, and both `remove` and `release` leave an order (`spool/orders.rs`) that the server looks for about
//! once a second while it holds anything, and when it starts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use fastsmtp::QueueId;
use fastsmtp::calendar::Date;
use fastsmtp::disk::RealDisk;
use fastsmtp::log_value::Escaped;
use fastsmtp::smtp::{Envelope, Message};
use fastsmtp::spool::held::{self, HeldError, Note};
use fastsmtp::spool::orders::{self, Order};
use fastsmtp::spool::{QUARANTINE, Stored, Summary, inspect};
use serde_json::{Value, json};

use super::exit::{Exit, Failure};
use super::output::{counted, exit_of, print, printable, printable_json};
use crate::config::{Config, Flags, Key, Origin, Setting};
use crate::machine::Machine;

/// What `fastsmtp queue` is asked.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Queue {
    /// The server's data directory [default: what the file or FASTSMTP_DATA says, or ./fastsmtp-data]
    #[arg(long, global = true, value_name = "DIR")]
    data: Option<String>,
    /// The server's TOML file
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    asked: Option<Asked>,
}

#[derive(Subcommand)]
enum Asked {
    /// List held messages, quarantined files, and how many messages wait in the log [default]
    #[command(after_help = LIST_EXAMPLES)]
    List {
        /// List the messages that wait in the log, too
        #[arg(long)]
        waiting: bool,
    },
    /// Show a held message: envelope, times, reason and header fields
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// Its queue id, whole
        id: String,
        /// Print its exact content instead
        #[arg(long)]
        raw: bool,
    },
    /// Try held messages again now
    #[command(after_help = RELEASE_EXAMPLES)]
    Release {
        /// Their queue ids
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        ids: Vec<String>,
        /// All that are held
        #[arg(long)]
        all: bool,
    },
    /// Remove held messages: they are not tried again
    #[command(after_help = REMOVE_EXAMPLES)]
    Remove {
        /// Their queue ids
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

const AFTER: &str = "\
A message is held when its mailbox could not be written three times. The server
tries it again after a minute, doubling to an hour, for ever; the log does not
wait for it. What is damaged lies in the quarantine and is not tried again. All
of this works beside a running server, and without one.

Examples:
  fastsmtp queue --data /var/lib/fastsmtp
      lists what is held, and why
  fastsmtp queue show 9f3c00000000000100000001
      its envelope, its times, the reason, and its header fields
  fastsmtp queue release --all
      has the server try everything again now
  fastsmtp queue --json list --waiting
      for scripts: what is held, and what waits to be delivered";

const LIST_EXAMPLES: &str = "\
Examples:
  fastsmtp queue list --waiting
  fastsmtp queue list --json";

const SHOW_EXAMPLES: &str = "\
Examples:
  fastsmtp queue show 9f3c00000000000100000001
  fastsmtp queue show --raw 9f3c00000000000100000001 > held.eml";

const RELEASE_EXAMPLES: &str = "\
Examples:
  fastsmtp queue release 9f3c00000000000100000001
  fastsmtp queue release --all";

const REMOVE_EXAMPLES: &str = "\
Examples:
  fastsmtp queue remove 9f3c00000000000100000001";

/// Does what is asked.
pub fn run(queue: Queue) -> Result<(), Failure> {
    let Queue { data, config, json, asked } = queue;
    let data = data_directory(data, config)?;
    let disk = RealDisk::existing(&data).map_err(|error| no_data(&data, &error))?;
    let view = View { disk: Arc::new(disk), data, json };
    match asked.unwrap_or(Asked::List { waiting: false }) {
        Asked::List { waiting } => view.list(waiting),
        Asked::Show { id, raw } => view.show(parse(&id)?, raw),
        Asked::Release { ids, all } => view.release(&if all { view.held()? } else { view.known(&ids)? }),
        Asked::Remove { ids } => view.remove(&view.known(&ids)?),
    }
}

/// The data directory as `serve` would find it.
fn data_directory(data: Option<String>, file: Option<PathBuf>) -> Result<PathBuf, Failure> {
    let key = Key::named("data").expect("the table has it");
    let setting = |value| Setting { key, values: vec![value], origin: Origin::Flag };
    let flags = Flags { settings: data.map(setting).into_iter().collect(), file, check_config: false };
    Ok(Config::load(flags, std::env::vars_os(), &Machine::here())?.data)
}

fn no_data(data: &Path, error: &io::Error) -> Failure {
    let place = data.display();
    Failure::new(exit_of(error), format!("{place}: {error}; name the server's data directory with --data"))
}

fn parse(id: &str) -> Result<QueueId, Failure> {
    let sentence = || {
        let id = Escaped(id);
        format!("{id} is no whole queue id, like 9f3c00000000000100000001; 'fastsmtp queue' lists them")
    };
    id.parse().map_err(|_| Failure::new(Exit::Usage, sentence()))
}

/// A data directory to be looked at, and how to tell.
struct View {
    disk: Arc<RealDisk>,
    data: PathBuf,
    json: bool,
}

impl View {
    fn failure(&self, directory: &str, error: &io::Error) -> Failure {
        Failure::new(exit_of(error), format!("{}: {error}", self.data.join(directory).display()))
    }

    fn held(&self) -> Result<Vec<QueueId>, Failure> {
        held::ids(&*self.disk).map_err(|error| self.failure(held::HELD, &error))
    }

    /// The ids, if all of them are held.
    fn known(&self, ids: &[String]) -> Result<Vec<QueueId>, Failure> {
        let ids: Vec<QueueId> = ids.iter().map(|id| parse(id)).collect::<Result<_, _>>()?;
        let held = self.held()?;
        match ids.iter().find(|id| !held.contains(id)) {
            Some(id) => Err(self.not_held(*id)),
            None => Ok(ids),
        }
    }

    fn not_held(&self, id: QueueId) -> Failure {
        let place = self.data.display();
        Failure::new(
            Exit::NoInput,
            format!("no message {id} is held in {place}; 'fastsmtp queue' lists those that are"),
        )
    }

    fn unreadable(&self, id: QueueId, error: HeldError) -> Failure {
        match error {
            HeldError::Gone => self.not_held(id),
            HeldError::Io(error) => self.failure(held::HELD, &error),
            HeldError::Damaged | HeldError::Newer(_) => Failure::new(Exit::Data, format!("{id}: {error}")),
        }
    }

    fn list(&self, with_waiting: bool) -> Result<(), Failure> {
        let mut listed: Vec<_> =
            self.held()?.into_iter().map(|id| (id, held::summary(&*self.disk, id))).collect();
        listed.retain(|(_, held)| !matches!(held, Err(HeldError::Gone))); // delivered or removed meanwhile
        listed.sort_by_key(|(id, held)| (held.as_ref().map_or(0, |(note, _)| note.since), *id));
        let mut quarantined =
            held::quarantined(&*self.disk).map_err(|error| self.failure(QUARANTINE, &error))?;
        quarantined.sort();
        let waiting =
            inspect(self.disk.clone()).map_err(|error| Failure::new(Exit::InputOutput, error.to_string()))?;
        let count = waiting.len();
        let waiting: Option<Vec<Summary>> = with_waiting
            .then(|| waiting.into_iter().filter_map(|(_, source)| source.summary().ok()).collect());
        if self.json {
            let held: Vec<Value> = listed.iter().map(|(id, held)| listed_json(*id, held)).collect();
            let waiting = waiting.map(|waiting| waiting.iter().map(summary_json).collect::<Vec<_>>());
            let document =
                json!({ "held": held, "quarantined": quarantined, "in_log": count, "waiting": waiting });
            return print(printable_json(&document).as_bytes());
        }
        let mut text = String::new();
        listed.iter().for_each(|(id, held)| text.push_str(&listed_text(*id, held)));
        text.push_str(&format!("{}\n", counted(listed.len(), "held message")));
        if !quarantined.is_empty() {
            let place = self.data.join(QUARANTINE);
            let files = counted(quarantined.len(), "quarantined file");
            let place = printable(place.display().to_string().as_bytes());
            text.push_str(&format!("{files} in {place}\n"));
            quarantined.iter().for_each(|name| text.push_str(&line("  ", &printable(name.as_bytes()))));
        }
        text.push_str(&format!("{} in the log\n", counted(count, "message")));
        waiting.iter().flatten().for_each(|summary| text.push_str(&waiting_text(summary)));
        print(text.as_bytes())
    }

    fn show(&self, id: QueueId, raw: bool) -> Result<(), Failure> {
        let held = held::read(&*self.disk, id).map_err(|error| self.unreadable(id, error))?;
        let data = held::data(&*self.disk, &held.stored).map_err(|error| self.failure(held::HELD, &error))?;
        let Stored { arrived, message, .. } = held.stored;
        let content = [message.trace.as_slice(), &data].concat();
        if raw {
            return print(&content);
        }
        let Message { envelope, .. } = message;
        let header: Vec<String> = header_lines(&content).map(printable).collect();
        let summary = Summary { id, arrived, envelope, octets: content.len() as u64 };
        if self.json {
            let mut document = held_json(&held.note, &summary);
            document["header"] = json!(header);
            return print(printable_json(&document).as_bytes());
        }
        print(shown(&held.note, &summary, &header).as_bytes())
    }

    fn release(&self, ids: &[QueueId]) -> Result<(), Failure> {
        self.order(ids, Order::Release)?;
        let taken = self.is_taken_up(ids);
        if self.json {
            let ids: Vec<String> = ids.iter().map(QueueId::to_string).collect();
            return print(format!("{:#}\n", json!({ "released": ids, "taken_up": taken })).as_bytes());
        }
        let what = counted(ids.len(), "message");
        let sentence = match taken {
            _ if ids.is_empty() => "nothing is held".to_owned(),
            true => format!("released {what}: the server tries again now"),
            false => format!("released {what}: no server took it up, the next one to start tries at once"),
        };
        print(format!("{sentence}\n").as_bytes())
    }

    fn remove(&self, ids: &[QueueId]) -> Result<(), Failure> {
        self.order(ids, Order::Remove)?;
        ids.iter()
            .try_for_each(|id| held::remove(&*self.disk, *id))
            .and_then(|()| held::sync(&*self.disk))
            .map_err(|error| self.failure(held::HELD, &error))?;
        if self.json {
            let ids: Vec<String> = ids.iter().map(QueueId::to_string).collect();
            return print(format!("{:#}\n", json!({ "removed": ids })).as_bytes());
        }
        print(format!("removed {}, not to be tried again\n", counted(ids.len(), "message")).as_bytes())
    }

    fn order(&self, ids: &[QueueId], order: Order) -> Result<(), Failure> {
        ids.iter()
            .try_for_each(|id| orders::give(&*self.disk, *id, order))
            .map_err(|error| self.failure("spool", &error))
    }

    /// Whether a server is there and has seen at least one of the releases.
    fn is_taken_up(&self, ids: &[QueueId]) -> bool {
        let started = Instant::now();
        let is_given = |id: &QueueId| orders::is_given(&*self.disk, *id, Order::Release);
        while !ids.is_empty() && ids.iter().all(is_given) {
            if started.elapsed() > TAKEN_UP_WITHIN {
                return false;
            }
            sleep(Duration::from_millis(20));
        }
        true
    }
}

/// How long a server may take to see an order: it looks once a second, when no delivery is under way.
const TAKEN_UP_WITHIN: Duration = Duration::from_millis(2500);

type Listed = Result<(Note, Summary), HeldError>;

fn listed_json(id: QueueId, held: &Listed) -> Value {
    match held {
        Ok((note, summary)) => held_json(note, summary),
        Err(error) => json!({ "id": id.to_string(), "error": error.to_string() }),
    }
}

fn held_json(note: &Note, summary: &Summary) -> Value {
    let mut value = summary_json(summary);
    value["held_since"] = json!(moment(note.since));
    value["reason"] = json!(reason(note));
    value
}

fn summary_json(summary: &Summary) -> Value {
    let Summary { id, arrived, envelope: Envelope { reverse_path, forward_paths, .. }, octets } = summary;
    let recipients: Vec<String> = forward_paths.iter().map(ToString::to_string).collect();
    json!({
        "id": id.to_string(),
        "arrived": moment(*arrived),
        "octets": octets,
        "sender": reverse_path.as_ref().map(ToString::to_string),
        "recipients": recipients,
    })
}

fn listed_text(id: QueueId, held: &Listed) -> String {
    match held {
        Ok((note, summary)) => {
            let size = summary.octets;
            let mut text = line("", &format!("{id}  held since {}  {size} octets", moment(note.since)));
            text.push_str(&line("  from    ", &sender(&summary.envelope)));
            text.push_str(&line("  to      ", &recipients(&summary.envelope)));
            text.push_str(&line("  reason  ", reason(note)));
            text + "\n"
        }
        Err(error) => line("", &id.to_string()) + &line("  ", &error.to_string()) + "\n",
    }
}

fn waiting_text(summary: &Summary) -> String {
    let Summary { id, arrived, envelope, octets } = summary;
    let mut text = line("", &format!("{id}  arrived {}  {octets} octets", moment(*arrived)));
    text.push_str(&line("  from    ", &sender(envelope)));
    text.push_str(&line("  to      ", &recipients(envelope)));
    text
}

fn shown(note: &Note, summary: &Summary, header: &[String]) -> String {
    let Summary { id, arrived, envelope, octets } = summary;
    let mut text = format!("id          {id}\nheld since  {}\n", moment(note.since));
    text.push_str(&format!("arrived     {}\nsize        {octets} octets\n", moment(*arrived)));
    text.push_str(&format!("reason      {}\nfrom        {}\n", reason(note), sender(envelope)));
    for (at, path) in envelope.forward_paths.iter().enumerate() {
        let path = printable(path.to_string().as_bytes());
        text.push_str(&format!("{}{path}\n", if at == 0 { "to          " } else { "            " }));
    }
    text.push('\n');
    header.iter().for_each(|field| text.push_str(&format!("{field}\n")));
    text
}

/// The reason without the quotes of a log line.
fn reason(note: &Note) -> &str {
    note.reason.trim_matches('"')
}

fn sender(envelope: &Envelope) -> String {
    match &envelope.reverse_path {
        Some(address) => printable(address.to_string().as_bytes()),
        None => "<>".to_owned(),
    }
}

fn recipients(envelope: &Envelope) -> String {
    let mut paths = envelope.forward_paths.iter();
    let first = paths.next().map(|path| printable(path.to_string().as_bytes())).unwrap_or_default();
    match paths.len() {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

/// The lines of a message's header, without their ends.
fn header_lines(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = content.split(|octet| *octet == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.take_while(|line| !line.is_empty())
}

/// A line of at most [`COLUMNS`] characters.
fn line(label: &str, text: &str) -> String {
    let room = COLUMNS - label.len();
    match text.chars().count() > room {
        true => format!("{label}{}...\n", text.chars().take(room - 3).collect::<String>()),
        false => format!("{label}{text}\n"),
    }
}

const COLUMNS: usize = 80;

fn moment(unix_seconds: u64) -> String {
    let Date { year, month, day, hour, minute, second, .. } = Date::of(unix_seconds);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_fits_a_terminal() {
        assert_eq!(line("  to  ", &"é".repeat(74)), format!("  to  {}\n", "é".repeat(74)));
        assert_eq!(line("  to  ", &"é".repeat(75)), format!("  to  {}...\n", "é".repeat(71)));
    }

    #[test]
    fn the_header_ends_at_the_empty_line() {
        let lines: Vec<&[u8]> = header_lines(b"A: 1\r\n b\r\n\r\nC: 2\r\n").collect();
        assert_eq!(lines, [&b"A: 1"[..], b" b"]);
    }
}
