//! What must hold: every mail of a run, what was said of it, where it is, and where it may be.
//!
//! A mail answered 250 is in the Maildir of each of its mailboxes, once and octet for octet, or in the log. A mail
//! stands in a Maildir only if its client finished sending it and was not told that it is refused. Mail that its reader
//! took may come back in two cases: a crash before its settlement was durable, and a delivery that failed in part; in
//! both, as long as the courier has not looked again.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use fastsmtp::QueueId;
use fastsmtp::calendar::Date;
use fastsmtp::mailbox::MailboxPath;
use fastsmtp::smtp::Address;
use fastsmtp::spool::{Pending, Spool};

use crate::faulty_disk::FaultyDisk;

/// A promise that was broken, and the mail concerned.
#[derive(Debug)]
pub struct Failure {
    pub mail: Option<usize>,
    pub what: String,
}

pub type Verdict<T = ()> = Result<T, Failure>;

impl Failure {
    pub fn new(what: impl Into<String>) -> Failure {
        Failure { mail: None, what: what.into() }
    }

    fn of(mail: usize, what: impl Into<String>) -> Failure {
        Failure { mail: Some(mail), what: what.into() }
    }
}

impl From<String> for Failure {
    fn from(what: String) -> Failure {
        Failure::new(what)
    }
}

/// A mail that a client sends, or begins to.
pub struct Mail {
    /// What the trace fields must say of it.
    pub hello: String,
    pub protocol: &'static str,
    pub client: String,
    pub content: Vec<u8>,
    /// The mailboxes that its client asked for.
    pub wanted: BTreeSet<String>,
    /// All of it arrived.
    pub is_finished: bool,
    pub answer: Answer,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Answer {
    None,
    Accepted {
        id: QueueId,
        recipients: Vec<Address>,
        mailboxes: BTreeSet<String>,
    },
    /// By 4yz or 5yz; behind a fault of the disk 4yz tells nothing.
    Refused {
        is_known: bool,
    },
}

pub fn mailbox(address: &Address) -> String {
    MailboxPath::of(address).as_str().to_owned()
}

/// A mail in one of its mailboxes.
type Copy = (usize, String);

#[derive(Default)]
pub struct Oracle {
    pub step: u64,
    /// A fault of the disk struck, or might have, since the server started.
    pub had_fault: bool,
    mails: Vec<Mail>,
    ids: BTreeMap<QueueId, usize>,
    present: BTreeMap<PathBuf, Copy>,
    /// Taken by their reader, and whether they may come back.
    taken: BTreeMap<Copy, bool>,
    settlements: Settlements,
    /// To be delivered again: recovered, or deferred.
    again: BTreeSet<QueueId>,
    history: Vec<(u64, Option<usize>, String)>,
}

/// How far settlements are: in the server's memory, in a batch under way, durable.
#[derive(Default)]
struct Settlements {
    waiting: BTreeSet<QueueId>,
    riding: BTreeSet<QueueId>,
    durable: BTreeSet<QueueId>,
}

// What happens.
impl Oracle {
    pub fn note(&mut self, mail: Option<usize>, what: impl Into<String>) {
        self.history.push((self.step, mail, what.into()));
    }

    /// What happened to a mail, and around it; without one, what happened last.
    pub fn story(&self, mail: Option<usize>) -> String {
        let concerns = |about: &Option<usize>| about.is_none() || mail.is_none() || *about == mail;
        let lines: Vec<_> = self.history.iter().filter(|(_, about, _)| concerns(about)).collect();
        let lines = lines.iter().skip(lines.len().saturating_sub(STORY_LINES));
        lines
            .map(|(step, about, what)| match about {
                Some(mail) => format!("  step {step}: mail {mail}: {what}\n"),
                None => format!("  step {step}: {what}\n"),
            })
            .collect()
    }

    /// A client is about to send a mail. Gives its number.
    pub fn plan(&mut self, mail: Mail) -> usize {
        self.mails.push(mail);
        self.mails.len() - 1
    }

    pub fn next_mail(&self) -> usize {
        self.mails.len()
    }

    pub fn mails(&self) -> usize {
        self.mails.len()
    }

    pub fn accepted(&self) -> usize {
        self.mails.iter().filter(|mail| matches!(mail.answer, Answer::Accepted { .. })).count()
    }

    pub fn is_accepted(&self, mail: usize) -> bool {
        matches!(self.mails[mail].answer, Answer::Accepted { .. })
    }

    pub fn content(&self, mail: usize) -> &[u8] {
        &self.mails[mail].content
    }

    pub fn finished(&mut self, mail: usize) {
        self.note(Some(mail), "all of it arrived");
        self.mails[mail].is_finished = true;
    }

    pub fn answered(&mut self, mail: usize, answer: Answer) {
        let text = match &answer {
            Answer::Accepted { id, mailboxes, .. } => format!("answered 250 as {id} for {mailboxes:?}"),
            Answer::Refused { is_known } => format!("refused (known: {is_known})"),
            Answer::None => unreachable!("no answer is none"),
        };
        self.note(Some(mail), text);
        self.mails[mail].answer = answer;
    }

    /// A queue id is given to a mail: to no other, ever.
    pub fn names(&mut self, id: QueueId, mail: usize) -> Verdict {
        match self.ids.insert(id, mail) {
            Some(other) if other != mail => {
                Err(Failure::of(mail, format!("its queue id {id} was mail {other}'s")))
            }
            _ => Ok(()),
        }
    }

    /// The server was told that these are delivered.
    pub fn delivered(&mut self, ids: &[QueueId]) {
        for id in ids {
            let mail = self.ids.get(id).copied();
            self.note(mail, format!("{id} is settled"));
            self.settlements.waiting.insert(*id);
            self.again.remove(id);
        }
    }

    /// These are to be delivered once more.
    pub fn deferred(&mut self, id: QueueId) {
        let mail = self.ids.get(&id).copied();
        self.note(mail, format!("{id} is deferred"));
        self.taken.iter_mut().filter(|((of, _), _)| Some(*of) == mail).for_each(|(_, may)| *may = true);
        self.again.insert(id);
    }

    /// A batch goes to the committer: with all settlements that wait.
    pub fn batch_begins(&mut self) {
        self.settlements.riding.append(&mut self.settlements.waiting);
    }

    pub fn batch_ends(&mut self, is_durable: bool) {
        let Settlements { waiting, riding, durable } = &mut self.settlements;
        if is_durable { durable.append(riding) } else { waiting.append(riding) }
    }

    /// The server is gone; what it had in memory too.
    pub fn server_ends(&mut self) {
        self.settlements.waiting.clear();
        self.settlements.riding.clear();
        self.again.clear();
        for ((mail, _), may_return) in &mut self.taken {
            let id = id_of(&self.ids, *mail);
            *may_return |= id.is_none_or(|id| !self.settlements.durable.contains(&id));
        }
    }

    /// A copy that its reader may take, if there is any.
    pub fn nth_copy(&self, n: usize) -> Option<PathBuf> {
        self.present.keys().nth(n % self.present.len().max(1)).cloned()
    }

    pub fn took(&mut self, path: &Path) {
        if let Some(copy) = self.present.remove(path) {
            self.note(Some(copy.0), format!("its reader took {}", path.display()));
            let may_return = id_of(&self.ids, copy.0).is_some_and(|id| self.again.contains(&id));
            self.taken.insert(copy, may_return);
        }
    }

    pub fn moved(&mut self, from: &Path, to: &Path) {
        if let Some(copy) = self.present.remove(from) {
            self.note(Some(copy.0), format!("its reader moved it to {}", to.display()));
            self.present.insert(to.to_owned(), copy);
        }
    }
}

// What must hold.
impl Oracle {
    /// Looks at what is new in the Maildirs.
    pub fn look(&mut self, disk: &FaultyDisk) -> Verdict {
        for path in disk.tree("mailboxes").into_iter().filter(|path| is_mail(path)) {
            if !self.present.contains_key(&path) {
                self.appeared(disk, path)?;
            }
        }
        Ok(())
    }

    /// Looks at everything in the Maildirs, as a crash left it.
    pub fn look_again(&mut self, disk: &FaultyDisk) -> Verdict {
        self.present.clear();
        let taken = std::mem::take(&mut self.taken);
        self.look(disk)?;
        let present: BTreeSet<&Copy> = self.present.values().collect();
        self.taken = taken.into_iter().filter(|(copy, _)| !present.contains(copy)).collect();
        Ok(())
    }

    fn appeared(&mut self, disk: &FaultyDisk, path: PathBuf) -> Verdict {
        let octets = disk.read(&path);
        let at = |what: String| Failure::new(format!("{}: {what}", path.display()));
        let found = Found::read(&octets).map_err(at)?;
        let (arrived, id) = arrived_and_id(&path).ok_or_else(|| at("no name of ours".into()))?;
        if found.date != Date::of(arrived).rfc5322().to_string() || found.id != id {
            return Err(at(format!("its name and {found:?} do not agree")));
        }
        let mail = self.judge(&found)?;
        let copy = (mail, mailbox_of(&path));
        self.note(Some(mail), format!("in {}", path.display()));
        if !self.belongs_to(mail, &copy.1) {
            return Err(Failure::of(mail, format!("is in {}, where nobody sent it", path.display())));
        }
        if self.present.values().any(|present| *present == copy) {
            return Err(Failure::of(mail, format!("is twice in {}", copy.1)));
        }
        if self.taken.remove(&copy) == Some(false) {
            return Err(Failure::of(mail, format!("was taken by its reader from {} and came back", copy.1)));
        }
        self.present.insert(path, copy);
        Ok(())
    }

    /// Whether what was found may be there and is what was sent. Gives the mail.
    fn judge(&mut self, found: &Found<'_>) -> Verdict<usize> {
        let number = found.mail().ok_or_else(|| Failure::new(format!("no mail of ours: {found:?}")))?;
        let mail =
            self.mails.get(number).ok_or_else(|| Failure::new(format!("mail {number} was never sent")))?;
        let fail = |what: &str| Err(Failure::of(number, format!("{what}: {found:?}")));
        if !mail.is_finished {
            return fail("was never sent to its end");
        }
        match &mail.answer {
            Answer::Refused { is_known: true } => return fail("was refused, and is there"),
            Answer::Accepted { id, .. } if *id != found.id => return fail("has another queue id"),
            Answer::Accepted { recipients, .. } if !found.names_only(recipients) => {
                return fail("names its recipients wrongly");
            }
            _ => {}
        }
        if (&*mail.hello, mail.protocol, &*mail.client) != (found.hello, found.protocol, found.client) {
            return fail("has wrong trace fields");
        }
        if mail.content != found.content {
            let differs = mail.content.iter().zip(found.content).position(|(sent, found)| sent != found);
            let (sent, found) = (mail.content.len(), found.content.len());
            return Err(Failure::new(format!(
                "{sent} octets were sent, {found} are there, different from {differs:?}"
            )));
        }
        self.names(found.id, number)?;
        Ok(number)
    }

    fn belongs_to(&self, mail: usize, mailbox: &str) -> bool {
        match &self.mails[mail].answer {
            Answer::Accepted { mailboxes, .. } => mailboxes.contains(mailbox),
            _ => self.mails[mail].wanted.contains(mailbox),
        }
    }

    /// Looks at what a recovery found: all that was promised is there, and nothing comes back that was settled.
    pub fn recovered(
        &mut self,
        disk: &FaultyDisk,
        spool: &Spool,
        pending: &[Pending],
        held: &[QueueId],
    ) -> Verdict {
        let mut ids: BTreeSet<QueueId> = held.iter().copied().collect();
        self.again.extend(held);
        for Pending { id, place } in pending {
            let stored = spool.locate(place).read();
            let stored = stored.map_err(|error| Failure::new(format!("{id}: {error}")))?;
            let data = match &stored.spilled {
                None => stored.message.data,
                Some(spilled) => disk.read(&spilled.path()).split_off(stored.message.trace.len()),
            };
            let octets = [&stored.message.trace[..], &data].concat();
            let mail = self.judge(&Found::read(&octets)?)?;
            self.note(Some(mail), format!("recovered as {id}"));
            let sent_to = &stored.message.envelope.forward_paths;
            if !sent_to.iter().all(|address| self.belongs_to(mail, &mailbox(address))) {
                return Err(Failure::of(mail, format!("was recovered for {sent_to:?}")));
            }
            if stored.id != *id || self.settlements.durable.contains(id) {
                return Err(Failure::of(mail, "was settled, and is recovered"));
            }
            self.again.insert(*id);
            if !ids.insert(*id) {
                return Err(Failure::of(mail, "was recovered twice"));
            }
        }
        self.nothing_is_missing(|id| ids.contains(id))
    }

    /// All that was answered 250 is in its Maildirs, or with its reader, or `elsewhere`.
    pub fn nothing_is_missing(&self, elsewhere: impl Fn(&QueueId) -> bool) -> Verdict {
        let present: BTreeSet<&Copy> = self.present.values().chain(self.taken.keys()).collect();
        for (number, mail) in self.mails.iter().enumerate() {
            let Answer::Accepted { id, mailboxes, .. } = &mail.answer else { continue };
            for mailbox in mailboxes {
                if !present.contains(&(number, mailbox.clone())) && !elsewhere(id) {
                    return Err(Failure::of(number, format!("was answered 250 and is LOST from {mailbox}")));
                }
            }
        }
        Ok(())
    }
}

fn id_of(ids: &BTreeMap<QueueId, usize>, mail: usize) -> Option<QueueId> {
    ids.iter().find(|(_, of)| **of == mail).map(|(id, _)| *id)
}

/// A mail with its trace fields, taken apart.
#[derive(Debug)]
struct Found<'a> {
    reverse_path: &'a str,
    hello: &'a str,
    client: &'a str,
    protocol: &'a str,
    id: QueueId,
    recipient: Option<&'a str>,
    date: &'a str,
    content: &'a [u8],
}

impl Found<'_> {
    /// Takes the two fields apart, exactly as RFC 5321 4.4 and our own habits have them.
    fn read(octets: &[u8]) -> Result<Found<'_>, String> {
        let shown =
            || format!("no trace fields: {:?}", String::from_utf8_lossy(&octets[..octets.len().min(300)]));
        Found::take_apart(octets).ok_or_else(shown)
    }

    fn take_apart(octets: &[u8]) -> Option<Found<'_>> {
        let mut rest = octets;
        let mut line = || {
            let at = rest.windows(2).position(|pair| pair == b"\r\n")?;
            let line = std::str::from_utf8(&rest[..at]).ok()?;
            rest = &rest[at + 2..];
            Some(line)
        };
        let reverse_path = line()?.strip_prefix("Return-Path: <")?.strip_suffix('>')?;
        let (hello, client) =
            line()?.strip_prefix("Received: from ")?.strip_suffix("])")?.split_once(" ([")?;
        let by = line()?.strip_prefix("\tby mx.sim.example with ")?;
        let (protocol, id) = by.split_once(" id ")?;
        let (id, recipient) = match id.strip_suffix(';') {
            Some(id) => (id, None),
            None => (id, Some(line()?.strip_prefix("\tfor <")?.strip_suffix(">;")?)),
        };
        // A large message's fields fill the room that was left for them.
        let date = line()?.strip_prefix('\t')?.trim_start_matches(' ');
        let id = id.parse().ok()?;
        Some(Found { reverse_path, hello, client, protocol, id, recipient, date, content: rest })
    }

    /// The number of the mail: its reverse-path has it, or its subject.
    fn mail(&self) -> Option<usize> {
        let name = if self.reverse_path.is_empty() {
            let line = self.content.split(|octet| *octet == b'\r').next()?;
            std::str::from_utf8(line).ok()?.strip_prefix("Subject: ")?
        } else {
            self.reverse_path.strip_suffix("@client.example")?
        };
        name.strip_prefix('m')?.parse().ok()
    }

    /// A recipient is named only if there is but one (RFC 5321 7.2).
    fn names_only(&self, recipients: &[Address]) -> bool {
        let mut text = String::new();
        match recipients {
            [only] => only.push_to(&mut text),
            _ => return self.recipient.is_none(),
        }
        self.recipient == Some(&text)
    }
}

fn is_mail(path: &Path) -> bool {
    path.components()
        .nth_back(1)
        .is_some_and(|directory| ["new", "cur"].iter().any(|name| directory.as_os_str() == *name))
}

fn mailbox_of(path: &Path) -> String {
    path.ancestors().nth(2).map_or(String::new(), |mailbox| mailbox.display().to_string())
}

fn arrived_and_id(path: &Path) -> Option<(u64, QueueId)> {
    let name = path.file_name()?.to_str()?;
    let (arrived, rest) = name.split_once('.')?;
    let (id, _) = rest.split_once(".fs")?;
    Some((arrived.parse().ok()?, id.parse().ok()?))
}

const STORY_LINES: usize = 60;
