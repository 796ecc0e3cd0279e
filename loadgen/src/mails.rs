//! What is sent: one mail after the other, each with its id, its addresses and its content.
//!
//! ```text
//!   Parts ─▶ Plan, shared by all threads ─▶ Mails, one in each thread ─▶ compose() ─▶ Composed
//!            counts messages and recipients      draws sizes by its seed
//! ```
//!
//! A plan is checked when it is made, so that composing cannot fail. What messages have in common is held once: the
//! commands of their envelope, where the addresses are fixed; the content of a file; the filler, of which a message
//! takes the tail that its size needs (`mails/generated.rs`).

mod files;
mod generated;
mod template;
mod wire;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use fastrand::Rng;
use fastsmtp::smtp::client::{Commands, Form, Mail};
use fastsmtp::smtp::{Address, Body, Envelope};

use crate::distribution::Distribution;
use crate::mail_id::{FIELD, FIELD_LEN, MailId, RunId};

pub use files::{Files, OCTETS_MAX};
pub use generated::WITH_ID_MIN;
pub use template::{ReversePath, Template};

use generated::{Generated, Telling};
use wire::Wire;

/// What messages are made from.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The reverse-path; its number is the message's.
    pub reverse_path: ReversePath,
    /// Each forward-path; its number grows with each. Several without a number in it are numbered from 1.
    pub forward_path: Template,
    /// How many forward-paths a message has: 1 to [`RECIPIENTS_MAX`].
    pub recipients: Distribution,
    /// What messages say.
    pub content: Content,
    /// In which form data goes over the wire.
    pub form: Form,
    /// Whether messages will be looked for.
    pub evidence: Evidence,
    /// What all ids are of.
    pub run: RunId,
    /// When the run began, for the field Date.
    pub started: SystemTime,
}

/// What messages say.
#[derive(Debug, Clone)]
pub enum Content {
    /// Made up, in sizes of 2 octets up to [`OCTETS_MAX`], header and all; with a ledger from [`WITH_ID_MIN`] on.
    Generated(Distribution),
    /// From files, in turn.
    Files(Files),
}

/// Whether messages will be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evidence {
    /// No: what a file says is sent as it is, and nothing is hashed.
    None,
    /// Yes: each message begins with the field of its id, and has a hash.
    Ledger,
}

/// Parts that fit together, and what was used of them; shared by all threads.
#[derive(Debug)]
pub struct Plan {
    reverse_path: Option<Template>,
    forward_path: Template,
    recipients: Distribution,
    source: Source,
    evidence: Evidence,
    run: RunId,
    /// Messages made, so that each has a number of its own.
    messages: AtomicU64,
    /// Forward-paths used of a template with a number.
    forward_paths: AtomicU64,
}

#[derive(Debug)]
enum Source {
    Generated {
        sizes: Distribution,
        generated: Generated,
    },
    /// Never empty.
    Files(Vec<Letter>),
}

/// The content of a file, ready for the wire.
#[derive(Debug)]
struct Letter {
    wire: Wire,
    body: Body,
}

impl Plan {
    /// Checks the parts, and makes what messages share. The error is a sentence for people.
    pub fn new(parts: Parts) -> Result<Plan, String> {
        check_recipients(&parts)?;
        let source = match parts.content {
            Content::Files(files) => Source::Files(letters(files, parts.form)),
            Content::Generated(sizes) => {
                check_sizes(&sizes, parts.evidence)?;
                let generated = Generated::new(sizes.max() as usize, parts.form, parts.started);
                Source::Generated { sizes, generated }
            }
        };
        Ok(Plan {
            reverse_path: parts.reverse_path.0,
            forward_path: parts.forward_path,
            recipients: parts.recipients,
            source,
            evidence: parts.evidence,
            run: parts.run,
            messages: AtomicU64::new(0),
            forward_paths: AtomicU64::new(0),
        })
    }

    /// What all ids are of.
    pub fn run(&self) -> RunId {
        self.run
    }

    /// Whether it makes messages that need a server with 8BITMIME (RFC 6152).
    pub fn needs_eight_bit_mime(&self) -> bool {
        match &self.source {
            Source::Generated { .. } => false,
            Source::Files(letters) => letters.iter().any(|letter| letter.body == Body::EightBitMime),
        }
    }

    /// Whether all messages with as many recipients have the same envelope.
    fn envelopes_are_fixed(&self) -> bool {
        self.forward_path.is_fixed() && self.reverse_path.as_ref().is_none_or(Template::is_fixed)
    }

    /// The forward-paths of one message.
    fn take_forward_paths(&self, count: u64) -> Arc<[Address]> {
        if !self.forward_path.is_fixed() {
            let first = self.forward_paths.fetch_add(count, Ordering::Relaxed);
            (0..count).map(|index| self.forward_path.address(first.wrapping_add(index))).collect()
        } else if count == 1 {
            [self.forward_path.address(0)].into()
        } else {
            (1..=count).map(|number| self.forward_path.numbered(number)).collect()
        }
    }
}

/// One thread's maker of mails.
#[derive(Debug)]
pub struct Mails {
    plan: Arc<Plan>,
    chance: Rng,
    /// By number of recipients, where they are fixed; at most [`ENVELOPES_KEPT_MAX`].
    kept: Vec<(u64, Body, Arc<Paths>)>,
}

/// An envelope, ready for the wire.
#[derive(Debug)]
struct Paths {
    commands: Arc<Commands>,
    reverse_path: Option<Address>,
    forward_paths: Arc<[Address]>,
}

/// A mail, and what it is known by.
#[derive(Debug)]
pub struct Composed {
    /// What a client says.
    pub mail: Mail,
    /// In its first field, if it has one: always with a ledger, else if it was made up and is not too small.
    pub id: MailId,
    /// Its recipients, in the order of their RCPTs.
    pub forward_paths: Arc<[Address]>,
    /// Octets of its content: unstuffed, without the end of data.
    pub octets: u64,
    /// Of these octets; none without a ledger.
    pub sha256: Option<[u8; 32]>,
}

impl Mails {
    /// For one thread; sizes and numbers of recipients are drawn by `seed`, which is to differ between threads.
    pub fn new(plan: Arc<Plan>, seed: u64) -> Mails {
        Mails { plan, chance: Rng::with_seed(seed), kept: Vec::new() }
    }

    /// The next mail. No other of the plan has its number, whatever thread makes it.
    pub fn compose(&mut self) -> Composed {
        let plan = Arc::clone(&self.plan);
        let number = plan.messages.fetch_add(1, Ordering::Relaxed);
        let id = plan.run.mail(number);
        match &plan.source {
            Source::Generated { sizes, generated } => {
                let octets = sizes.draw(&mut self.chance) as usize;
                let paths = self.paths(number, Body::SevenBit);
                let telling = Telling {
                    id,
                    number,
                    reverse_path: paths.reverse_path.as_ref(),
                    forward_paths: &paths.forward_paths,
                };
                let (head, filler, from) = generated.compose(&telling, octets);
                composed(plan.evidence, id, &paths, head, filler, from)
            }
            Source::Files(letters) => {
                let letter = &letters[(number % letters.len() as u64) as usize];
                let paths = self.paths(number, letter.body);
                let head = id_field(plan.evidence, id);
                composed(plan.evidence, id, &paths, head, &letter.wire, 0)
            }
        }
    }

    /// An envelope for the message with this number.
    fn paths(&mut self, number: u64, body: Body) -> Arc<Paths> {
        let count = self.plan.recipients.draw(&mut self.chance);
        if !self.plan.envelopes_are_fixed() {
            return self.plan.paths(number, count, body);
        }
        if let Some((.., kept)) = self.kept.iter().find(|kept| (kept.0, kept.1) == (count, body)) {
            return Arc::clone(kept);
        }
        let paths = self.plan.paths(number, count, body);
        if self.kept.len() < ENVELOPES_KEPT_MAX {
            self.kept.push((count, body, Arc::clone(&paths)));
        }
        paths
    }
}

impl Plan {
    fn paths(&self, number: u64, count: u64, body: Body) -> Arc<Paths> {
        let reverse_path = self.reverse_path.as_ref().map(|template| template.address(number));
        let forward_paths = self.take_forward_paths(count);
        let envelope =
            Envelope { reverse_path, forward_paths: forward_paths.to_vec(), body, smtputf8: false };
        let commands = Arc::new(Commands::new(&envelope));
        Arc::new(Paths { commands, reverse_path: envelope.reverse_path, forward_paths })
    }
}

fn composed(
    evidence: Evidence,
    id: MailId,
    paths: &Paths,
    head: String,
    wire: &Wire,
    from: usize,
) -> Composed {
    let sha256 = match evidence {
        Evidence::None => None,
        Evidence::Ledger => Some(wire.sha256(&head, from)),
    };
    Composed {
        id,
        forward_paths: Arc::clone(&paths.forward_paths),
        octets: (head.len() + wire.len() - from) as u64,
        sha256,
        mail: Mail::new(Arc::clone(&paths.commands), wire.data(head, from)),
    }
}

/// What stands before the content of a file.
fn id_field(evidence: Evidence, id: MailId) -> String {
    let mut field = String::new();
    if evidence == Evidence::Ledger {
        field.reserve_exact(FIELD_LEN);
        field.push_str(FIELD);
        id.push_to(&mut field);
        field.push_str("\r\n");
    }
    field
}

fn letters(files: Files, form: Form) -> Vec<Letter> {
    let letters = files.letters.into_iter().map(|letter| {
        let body = if letter.eight_bit { Body::EightBitMime } else { Body::SevenBit };
        Letter { wire: Wire::new(letter.content, form), body }
    });
    letters.collect()
}

fn check_recipients(parts: &Parts) -> Result<(), String> {
    let Parts { recipients, forward_path, .. } = parts;
    if recipients.min() == 0 || recipients.max() > RECIPIENTS_MAX {
        return Err(format!("'{recipients}' is not a number of recipients, which is 1 to {RECIPIENTS_MAX}"));
    }
    if forward_path.is_fixed() {
        // Has to be asked of the one with the most digits.
        if recipients.max() > 1 && !template::fits(&forward_path.numbered(recipients.max())) {
            return Err(format!(
                "'{forward_path}' is too long to be numbered to {}: shorten it",
                recipients.max()
            ));
        }
        return Ok(());
    }
    match forward_path.count_max() {
        Some(count) if count < recipients.max() => Err(format!(
            "'{forward_path}' makes {count} different recipients, but a message may have {}: raise one or lower \
             the other",
            recipients.max()
        )),
        _ => Ok(()),
    }
}

fn check_sizes(sizes: &Distribution, evidence: Evidence) -> Result<(), String> {
    let min = match evidence {
        Evidence::None => 2,
        Evidence::Ledger => WITH_ID_MIN,
    };
    if sizes.min() < min {
        let why = if evidence == Evidence::None { "the end of a line" } else { "for the ledger: its id" };
        return Err(format!("'{sizes}' is too small: a message has at least {min} octets, {why}"));
    }
    if sizes.max() > OCTETS_MAX {
        let max = fastsmtp::units::size_text(OCTETS_MAX);
        return Err(format!("'{sizes}' is too large: a message has at most {max}"));
    }
    Ok(())
}

/// Recipients of a message: a hundred times what servers have to take (RFC 5321 4.5.3.1.8).
pub const RECIPIENTS_MAX: u64 = 10_000;

/// Envelopes that a thread keeps ready: with the most recipients they take some 60 MB, and mostly it is one.
const ENVELOPES_KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests;
