//! How full mailboxes with a quota are, as far as that is known: measured by a worker, and what was accepted since added.
//!
//! A quota is about what lies in the mailbox, which readers empty without telling us. So it is measured when somebody asks:
//! anew when the figure is a minute old, or, while the mailbox is full, two seconds, so that who removes mail has room soon.
//! Nobody waits for that: until the first figure is there mail is taken, and what was accepted and not yet delivered when a
//! mailbox was measured is missed until the next time. It is asked at RCPT. So a quota may be exceeded by that much, and by
//! the messages whose recipients were taken before it was full.

use std::collections::HashMap;
use std::io;

use log::warn;

use crate::limits::{FULL_MAILBOX_MEASURED_MS, MAILBOX_MEASURED_MS};
use crate::mailbox::MailboxPath;
use crate::smtp::Envelope;

/// The mailboxes that were asked about.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    /// One for each account with a quota, at the most.
    usages: HashMap<MailboxPath, Usage>,
    /// Those to be measured by jobs of this turn.
    due: Vec<MailboxPath>,
}

#[derive(Debug, Default)]
struct Usage {
    /// Octets in the mailbox when it was measured.
    measured: u64,
    /// Octets accepted since the last measuring began.
    accepted: u64,
    measured_ms: Option<u64>,
    is_being_measured: bool,
}

impl Quotas {
    /// Whether a mailbox has its quota of octets.
    pub fn is_full(&mut self, mailbox: &MailboxPath, quota: u64, now_ms: u64) -> bool {
        let usage = self.usages.entry(mailbox.clone()).or_default();
        let is_full = usage.measured.saturating_add(usage.accepted) >= quota;
        let age_max = if is_full { FULL_MAILBOX_MEASURED_MS } else { MAILBOX_MEASURED_MS };
        let is_old = usage.measured_ms.is_none_or(|measured_ms| now_ms >= measured_ms + age_max);
        if is_old && !usage.is_being_measured {
            usage.is_being_measured = true;
            usage.measured = usage.measured.saturating_add(std::mem::take(&mut usage.accepted));
            self.due.push(mailbox.clone());
        }
        is_full
    }

    /// Takes note of a message of so many octets that goes to these mailboxes.
    pub fn accepted(&mut self, envelope: &Envelope, octets: u64) {
        if self.usages.is_empty() {
            return;
        }
        for recipient in &envelope.forward_paths {
            if let Some(usage) = self.usages.get_mut(&MailboxPath::of(recipient)) {
                usage.accepted = usage.accepted.saturating_add(octets);
            }
        }
    }

    /// The mailboxes to measure now.
    pub fn due(&mut self) -> Vec<MailboxPath> {
        std::mem::take(&mut self.due)
    }

    /// A mailbox was measured, or could not be: then the last figure holds on.
    pub fn measured(&mut self, mailbox: &MailboxPath, octets: io::Result<u64>, now_ms: u64) {
        let Some(usage) = self.usages.get_mut(mailbox) else { return };
        usage.is_being_measured = false;
        usage.measured_ms = Some(now_ms);
        match octets {
            Ok(octets) => usage.measured = octets,
            Err(error) => warn!("a mailbox cannot be measured mailbox={mailbox}: {error}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smtp::Address;

    fn mailbox() -> MailboxPath {
        MailboxPath::of(&Address::new("user", "example.com"))
    }

    fn envelope() -> Envelope {
        Envelope { forward_paths: vec![Address::new("user", "example.com")], ..Envelope::default() }
    }

    #[test]
    fn what_is_not_measured_takes_mail_until_that_alone_is_too_much() {
        let mut quotas = Quotas::default();
        assert!(!quotas.is_full(&mailbox(), 100, 0));
        assert_eq!(quotas.due(), [mailbox()]);
        quotas.accepted(&envelope(), 99);
        assert!(!quotas.is_full(&mailbox(), 100, 1));
        quotas.accepted(&envelope(), 1);
        assert!(quotas.is_full(&mailbox(), 100, 2));
        assert!(quotas.due().is_empty(), "it is being measured");
    }

    #[test]
    fn a_figure_is_used_until_it_is_old_and_sooner_where_the_mailbox_is_full() {
        for (octets, is_full, age_max) in
            [(10, false, MAILBOX_MEASURED_MS), (100, true, FULL_MAILBOX_MEASURED_MS)]
        {
            let mut quotas = Quotas::default();
            quotas.is_full(&mailbox(), 100, 0);
            quotas.due();
            quotas.measured(&mailbox(), Ok(octets), 5);
            assert_eq!(quotas.is_full(&mailbox(), 100, 5 + age_max - 1), is_full);
            assert!(quotas.due().is_empty());
            assert_eq!(quotas.is_full(&mailbox(), 100, 5 + age_max), is_full);
            assert_eq!(quotas.due(), [mailbox()]);
        }
    }

    #[test]
    fn what_is_accepted_while_it_is_measured_counts_and_what_came_before_is_in_the_figure() {
        let mut quotas = Quotas::default();
        quotas.is_full(&mailbox(), 100, 0);
        quotas.measured(&mailbox(), Ok(0), 0);
        quotas.accepted(&envelope(), 40);
        quotas.is_full(&mailbox(), 100, MAILBOX_MEASURED_MS);
        quotas.accepted(&envelope(), 40);
        quotas.measured(&mailbox(), Ok(40), MAILBOX_MEASURED_MS + 1);
        quotas.accepted(&envelope(), 19);
        assert!(!quotas.is_full(&mailbox(), 100, MAILBOX_MEASURED_MS + 2));
        quotas.accepted(&envelope(), 1);
        assert!(quotas.is_full(&mailbox(), 100, MAILBOX_MEASURED_MS + 2));
    }
}
