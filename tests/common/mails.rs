//! What was sent, and whether it is in its mailboxes.
#![allow(dead_code)] // each test uses a part of it

use std::collections::{BTreeMap, BTreeSet};

use fastsmtp::QueueId;
use fastsmtp::mailbox::MailboxPath;
use fastsmtp::smtp::{Address, Envelope, Message};

use crate::faulty_disk::{FaultyDisk, next_random};

/// When all of it arrived.
pub const ARRIVED: u64 = 1_735_689_600;

/// A mail of a scenario. No two have as many octets.
pub struct Mail {
    /// Octets of its data.
    pub octets: usize,
    pub recipients: &'static [&'static str],
}

impl Mail {
    pub fn message(&self) -> Message {
        let mut random = self.octets as u64;
        let line = |_| format!("{:016x}\r\n", next_random(&mut random)).into_bytes();
        let mut data: Vec<u8> = (0..self.octets.div_ceil(18)).flat_map(line).collect();
        data.truncate(self.octets);
        let address = |text: &&str| Address::parse(text.as_bytes()).expect("the table holds addresses");
        let forward_paths = self.recipients.iter().map(address).collect();
        let envelope = Envelope { forward_paths, ..Envelope::default() };
        Message { envelope, trace: format!("Received: {}\r\n", self.octets).into_bytes(), data }
    }
}

/// The messages that were appended.
pub type Sent = BTreeMap<QueueId, Known>;

/// A message, and what is to come of it.
#[derive(Clone)]
pub struct Known {
    pub message: Message,
    /// Its file.
    pub octets: Vec<u8>,
    pub mailboxes: BTreeSet<MailboxPath>,
}

impl From<Message> for Known {
    fn from(message: Message) -> Known {
        let octets = [&message.trace[..], &message.data].concat();
        let mailboxes = message.envelope.forward_paths.iter().map(MailboxPath::of).collect();
        Known { message, octets, mailboxes }
    }
}

/// In how many of its mailboxes each message is: once in each, and whole. An error says what is in a mailbox and should
/// not be.
pub fn delivered(disk: &FaultyDisk, sent: &Sent) -> Result<BTreeMap<QueueId, usize>, String> {
    let mut found = BTreeSet::new();
    for path in disk.all_paths() {
        let text = path.to_string_lossy();
        let Some((mailbox, name)) = text.split_once("/new/").or(text.split_once("/cur/")) else { continue };
        let mut known = sent.iter().filter(|(id, _)| name.starts_with(&format!("{ARRIVED}.{id}")));
        let (id, known) = known.next().ok_or(format!("{text} is nobody's"))?;
        if !known.mailboxes.iter().any(|known| known.as_str() == mailbox) {
            return Err(format!("{text} is in somebody else's mailbox"));
        }
        if disk.read(&path) != known.octets {
            return Err(format!("{text} is not the message"));
        }
        if !found.insert((*id, mailbox.to_owned())) {
            return Err(format!("{text} is there twice"));
        }
    }
    let mut copies = BTreeMap::new();
    for (id, _) in found {
        *copies.entry(id).or_default() += 1;
    }
    Ok(copies)
}
