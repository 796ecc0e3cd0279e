//! The menu's mailbox: one that is [found](Found), opened for each look, so that a server is asked only while somebody looks.

use std::ops::Range;

use super::session::Inbox;
use crate::cli::columns::width;
use crate::cli::exit::{Exit, Failure};
use crate::cli::mail::Mail;
use crate::cli::mail::show::{self, Columns};
use crate::cli::mailbox::{Entry, Found, Mailbox, gone};

/// A mailbox, here or at a server.
pub struct FoundInbox {
    found: Found,
    look: Option<Look>,
}

/// A mailbox that is open.
struct Look {
    mailbox: Mailbox,
    /// By number, from 1; none where one was removed.
    entries: Vec<Option<Entry>>,
}

impl FoundInbox {
    /// The mailbox, not opened yet.
    pub fn new(found: Found) -> FoundInbox {
        FoundInbox { found, look: None }
    }

    fn look(&mut self) -> Result<&mut Look, Failure> {
        self.look
            .as_mut()
            .ok_or_else(|| Failure::new(Exit::Temporary, "the mailbox is closed; view it again"))
    }
}

impl Look {
    fn of(found: &Found) -> Result<Look, Failure> {
        let mut mailbox = match found {
            // There may be one, although nobody has written yet.
            Found::Here(here) => here.open()?,
            Found::There(_) => found.open()?,
        };
        let entries = mailbox.list()?.into_iter().map(Some).collect();
        Ok(Look { mailbox, entries })
    }

    fn entry(&self, number: usize) -> Result<Entry, Failure> {
        let entry = number.checked_sub(1).and_then(|at| self.entries.get(at)).cloned().flatten();
        entry.ok_or_else(|| {
            Failure::new(Exit::NoInput, format!("there is no mail {number}; l lists those there are"))
        })
    }
}

impl Inbox for FoundInbox {
    fn look(&mut self) -> Result<usize, Failure> {
        let look = Look::of(&self.found)?;
        let count = look.entries.len();
        self.look = Some(look);
        Ok(count)
    }

    fn list(&mut self, numbers: Range<usize>) -> Result<String, Failure> {
        let look = self.look()?;
        let entries: Vec<Entry> = match numbers.len() {
            1 => vec![look.entry(numbers.start)?],
            _ => numbers.filter_map(|number| look.entry(number).ok()).collect(),
        };
        if entries.is_empty() {
            return Ok("Nothing is left here.\n".to_owned());
        }
        let columns = Columns::new(look.entries.len(), width());
        let mut text = columns.head();
        look.mailbox.summaries(&entries, |entry, summary| text.push_str(&columns.line(entry, summary)))?;
        Ok(text)
    }

    fn read(&mut self, number: usize) -> Result<String, Failure> {
        let look = self.look()?;
        let entry = look.entry(number)?;
        let content = look.mailbox.content(&entry)?.ok_or_else(|| gone(&entry))?;
        let text = show::mail(&entry, &Mail::of(&content), None);
        look.mailbox.mark_seen(&entry)?;
        Ok(text)
    }

    fn remove(&mut self, number: usize) -> Result<(), Failure> {
        let look = self.look()?;
        let entry = look.entry(number)?;
        look.mailbox.remove(&[entry])?;
        look.entries[number - 1] = None;
        Ok(())
    }

    fn leave(&mut self) -> Result<(), Failure> {
        self.look.take().map_or(Ok(()), |look| look.mailbox.close())
    }
}
