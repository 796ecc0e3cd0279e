//! `fastsmtp wait`: blocks until a mail is there, and shows it. For scripts and tests.

use std::collections::HashSet;
use std::thread::sleep;
use std::time::{Duration, Instant};

use clap::Args;
use fastsmtp::limits::DIAL_TIMEOUT_SECS_DEFAULT;
use fastsmtp::units::{duration, duration_text};

use super::exit::{Exit, Failure};
use super::mail::Wanted;
use super::mailbox::{Found, Mailbox, Place, State, gone};
use super::output::printable;
use super::reading::Reading;

/// What `fastsmtp wait` is asked.
#[derive(Args)]
#[command(after_help = AFTER)]
pub struct Wait {
    #[command(flatten)]
    place: Place,
    /// For mail with this text in its sender, subject or text, in letters of any case. May be repeated: all must be there
    #[arg(long = "match", value_name = "TEXT")]
    wanted: Vec<String>,
    /// Only for mail that no reader has looked at
    #[arg(long)]
    new: bool,
    /// How long, like 30s or 5m; 0 looks once
    #[arg(long, value_name = "DURATION", value_parser = duration, default_value = "30s")]
    timeout: Duration,
    #[command(flatten)]
    reading: Reading,
}

const AFTER: &str = "\
A mail that is there already will do, and of several the newest is shown. Shown,
it is marked as seen, unless --peek is said: with --new, each 'wait' gives
another one. A mailbox that has never had mail is waited for. The Maildir is
looked at twenty times a second, a server once a second; the last look, at the
end, takes ten seconds at the most. If nothing came in time, the exit code is
75.
The document of --json is that of 'fastsmtp read'.

Examples:
  fastsmtp wait bob@example.com --match 'confirm your address' --new
  link=$(fastsmtp wait bob@example.com --match confirm --timeout 1m |
      grep -o 'https://[^ )]*')";

/// Does what is asked.
pub fn run(asked: Wait) -> Result<(), Failure> {
    let Wait { place, wanted, new, timeout, reading } = asked;
    if new {
        place.tells_new()?;
    }
    let found = place.find(Some(timeout.clamp(ASK_EVERY, ANSWER_MAX)))?;
    let mut watch = Watch { wanted: Wanted::new(&wanted), new, reading, judged: HashSet::new() };
    let end = Instant::now() + timeout;
    let last = match &found {
        Found::Here(here) => watch.directory(here.open()?, end)?,
        Found::There(_) => watch.server(&found, end)?,
    };
    match last {
        Last::Shown => Ok(()),
        Last::Failed(failure) | Last::Broken(failure) => Err(failure),
        Last::Nothing => Err(Failure::new(Exit::Temporary, nothing(&found, &wanted, timeout))),
    }
}

fn nothing(found: &Found, wanted: &[String], timeout: Duration) -> String {
    let matching: Vec<String> =
        wanted.iter().map(|text| format!("'{}'", printable(text.as_bytes()))).collect();
    let matching =
        if matching.is_empty() { String::new() } else { format!(" that matches {}", matching.join(" and ")) };
    let (address, timeout) = (printable(found.address().as_bytes()), duration_text(timeout));
    format!("no mail{matching} came to {address} within {timeout}; wait longer with --timeout")
}

/// What the last look came to.
enum Last {
    Shown,
    Nothing,
    /// It may work at the next.
    Failed(Failure),
    /// A part of the mail was shown: another look would show it again.
    Broken(Failure),
}

/// Looks again and again.
struct Watch {
    wanted: Wanted,
    new: bool,
    reading: Reading,
    /// The ids of mails that are not meant: a mail never changes.
    judged: HashSet<String>,
}

impl Watch {
    fn directory(&mut self, mut mailbox: Mailbox, end: Instant) -> Result<Last, Failure> {
        loop {
            let last = if mailbox.may_have_changed() { self.look(&mut mailbox)? } else { Last::Nothing };
            match last {
                Last::Nothing if rest(end, LOOK_EVERY) => {}
                last => return Ok(last),
            }
        }
    }

    /// A session sees the maildrop as it was when it began: each look is a new one.
    fn server(&mut self, found: &Found, end: Instant) -> Result<Last, Failure> {
        loop {
            let look_end = end.max(Instant::now() + GLANCE_MAX);
            let looked = found.open_until(Some(look_end)).and_then(|mut mailbox| {
                let last = self.look(&mut mailbox)?;
                mailbox.leave();
                Ok(last)
            });
            let last = match looked {
                Err(failure) if failure.exit == Exit::Temporary => Last::Failed(failure),
                looked => looked?,
            };
            match last {
                Last::Nothing | Last::Failed(_) if rest(end, ASK_EVERY) => {}
                last => return Ok(last),
            }
        }
    }

    /// Shows the newest mail that is meant, if there is one. The first look goes through all that is there, however long that
    /// takes (100,000 mails: some seconds); later ones only through what is new.
    fn look(&mut self, mailbox: &mut Mailbox) -> Result<Last, Failure> {
        for entry in mailbox.list()?.iter().rev() {
            let may_be_meant = !self.new || entry.state == State::New;
            if !may_be_meant || self.judged.contains(&entry.id) {
                continue;
            }
            let Some(is_meant) = self.is_meant(mailbox, entry)? else { continue };
            if is_meant {
                match self.reading.read(mailbox, entry) {
                    // Another reader was faster.
                    Err(failure) if failure == gone(entry) => continue,
                    Err(failure) if self.reading.is_raw() => return Ok(Last::Broken(failure)),
                    read => return read.map(|()| Last::Shown),
                }
            }
            self.judged.insert(entry.id.clone());
        }
        Ok(Last::Nothing)
    }

    /// Whether a mail is meant; none if it is gone, or cannot be read.
    fn is_meant(
        &self,
        mailbox: &mut Mailbox,
        entry: &super::mailbox::Entry,
    ) -> Result<Option<bool>, Failure> {
        if self.wanted.is_anything() {
            return Ok(mailbox.is_readable(entry).then_some(true));
        }
        Ok(mailbox.beginning(entry)?.map(|content| self.wanted.is_in(&content)))
    }
}

/// Sleeps until the next look; false, at once, if there is none before the end.
fn rest(end: Instant, every: Duration) -> bool {
    let left = end.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        sleep(left.min(every)); // the last look is at the very end
    }
    !left.is_zero()
}

const LOOK_EVERY: Duration = Duration::from_millis(50);
const ASK_EVERY: Duration = Duration::from_secs(1);
/// How long a look at a server may take when the end is near, the last of which begins at the very end: a handshake and the
/// 600,000 iterations of SCRAM take a slow machine some seconds.
const GLANCE_MAX: Duration = Duration::from_secs(10);
/// How long each answer of a server may take.
const ANSWER_MAX: Duration = Duration::from_secs(DIAL_TIMEOUT_SECS_DEFAULT);
