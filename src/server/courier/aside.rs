//! What the courier does with mail whose mailboxes do not take it, or which cannot be read: it goes beside the log, and
//! is let go when it is delivered after all or the operator says so.
//!
//! ```text
//! attempt 1, 2   fails ─────────────────────────────────────────────▶ failed: tried again from the log
//! attempt 3      fails ──▶ spool/held/<id>.held     ──▶ sync ───────▶ held: the log settles it
//!                damaged ▶ spool/quarantine/<id>…   ──▶ sync ───────▶ quarantined: the log settles it
//! held           some take it ──▶ sync ──▶ file for the rest ───────▶ failed: tried again from there
//!                all take it  ──▶ sync ──▶ file removed ────────────▶ released
//! ```
//!
//! A held file is written before what it stands for is settled, and loses recipients only when their copies are durable;
//! so at every instant each mailbox's copy is promised by the log, by a held file, or by the mailbox itself.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::{Courier, Delivery, DeliveryDone, DeliveryError, Load, Then, Waiting};
use crate::limits::ORDERS_MAX;
use crate::log_value::Escaped;
use crate::mailbox::MailboxPath;
use crate::spool::Stored;
use crate::spool::held::{self, Held, HeldError, Note};
use crate::spool::orders::{self, Order};

impl Courier {
    /// A message was not delivered to all its mailboxes: it is set aside if the log is to wait no longer, and fails
    /// otherwise: at once, or if it `waits`, when such names as it has are durable. `remain`: as in [`Then::Failed`].
    pub(super) fn fall_short(
        &mut self,
        delivery: Delivery,
        remain: Option<Arc<[MailboxPath]>>,
        error: DeliveryError,
        waits: bool,
        done: &mut DeliveryDone,
    ) {
        let then = if delivery.last && error.counts() {
            self.set_aside(&delivery, remain, error)
        } else {
            Then::Failed(remain, error)
        };
        match then {
            Then::Failed(remain, error) if !waits => done.fail(delivery, remain, error),
            then => self.waiting.push(Waiting { delivery, then }),
        }
    }

    fn set_aside(
        &self,
        delivery: &Delivery,
        remain: Option<Arc<[MailboxPath]>>,
        error: DeliveryError,
    ) -> Then {
        let (aside, then) = match &error {
            DeliveryError::Mailboxes(failures) => (self.hold(delivery, failures, &error), Then::Held(error)),
            _ => (self.quarantine(delivery), Then::Quarantined),
        };
        match aside {
            Ok(()) => then,
            Err(error) => Then::Failed(remain, error),
        }
    }

    /// Writes the held file of a message, for the mailboxes that did not take it.
    fn hold(
        &self,
        delivery: &Delivery,
        failures: &[(MailboxPath, io::Error)],
        reason: &DeliveryError,
    ) -> Result<(), DeliveryError> {
        let mut stored = match &delivery.load {
            Load::Spool(source) => source.read().map_err(DeliveryError::Spool)?,
            Load::Memory { message, arrived } => {
                Stored { id: delivery.id, arrived: *arrived, message: message.clone(), spilled: None }
            }
            Load::Held => unreachable!("what is held is not held again"),
        };
        let mailboxes: HashSet<&MailboxPath> = failures.iter().map(|(mailbox, _)| mailbox).collect();
        stored.message.envelope.forward_paths.retain(|path| mailboxes.contains(&MailboxPath::of(path)));
        if let Some(spilled) = &stored.spilled {
            held::keep_data(&*self.disk, delivery.id, spilled).map_err(DeliveryError::Aside)?;
        }
        let reason = Escaped(&reason.to_string()).to_string();
        let note = Note { since: self.given, reason };
        held::write(&*self.disk, &Held { note, stored }).map_err(DeliveryError::Aside)
    }

    /// Copies the damaged record of a message, whatever it is, for people to look at.
    fn quarantine(&self, delivery: &Delivery) -> Result<(), DeliveryError> {
        let Load::Spool(source) = &delivery.load else {
            unreachable!("only what is in the log is read there")
        };
        let octets = source.octets().map_err(DeliveryError::Spool)?;
        held::quarantine_record(&*self.disk, delivery.id, &octets).map_err(DeliveryError::Aside)
    }

    /// A held message is not what was written, or is not there.
    pub(super) fn unreadable(&self, delivery: Delivery, error: HeldError, done: &mut DeliveryDone) {
        match error {
            HeldError::Gone => done.removed.push(delivery.id),
            HeldError::Damaged => match held::quarantine(&*self.disk, delivery.id) {
                Ok(()) => done.quarantined.push(delivery.id),
                Err(error) => done.fail(delivery, None, DeliveryError::Aside(error)),
            },
            HeldError::Io(error) => {
                done.fail(delivery, None, DeliveryError::Held(HeldError::Io(error)));
            }
            HeldError::Newer(_) => done.fail(delivery, None, DeliveryError::Held(error)),
        }
    }

    /// All mailboxes have the message durably: its held file goes, if it has one. It may also from an attempt at holding
    /// that no sync followed.
    pub(super) fn let_go(&self, delivery: Delivery, done: &mut DeliveryDone) {
        match (held::remove(&*self.disk, delivery.id), &delivery.load) {
            (Ok(()), Load::Held) => done.released.push(delivery.id),
            (Ok(()), _) => done.settled.push(delivery.id),
            (Err(error), _) => done.fail(delivery, Some([].into()), DeliveryError::Aside(error)),
        }
    }

    /// Some mailboxes of a held message have it durably: it is held for the rest.
    pub(super) fn keep_rest(
        &self,
        delivery: Delivery,
        remain: Arc<[MailboxPath]>,
        error: DeliveryError,
        done: &mut DeliveryDone,
    ) {
        match self.hold_rest(&delivery, &remain) {
            Ok(()) => done.fail(Delivery { only: None, ..delivery }, None, error),
            Err(DeliveryError::Held(HeldError::Gone)) => done.removed.push(delivery.id),
            Err(_) => done.fail(delivery, Some(remain), error),
        }
    }

    fn hold_rest(&self, delivery: &Delivery, remain: &[MailboxPath]) -> Result<(), DeliveryError> {
        let mut held = held::read(&*self.disk, delivery.id).map_err(DeliveryError::Held)?;
        let paths = &mut held.stored.message.envelope.forward_paths;
        paths.retain(|path| remain.binary_search(&MailboxPath::of(path)).is_ok());
        held::write(&*self.disk, &held).map_err(DeliveryError::Aside)?;
        if orders::is_given(&*self.disk, delivery.id, Order::Remove) {
            // The operator removed it while we wrote it.
            held::remove(&*self.disk, delivery.id).map_err(DeliveryError::Aside)?;
            return Err(DeliveryError::Held(HeldError::Gone));
        }
        Ok(())
    }

    /// Does what the operator asks for. What cannot be done stays asked for.
    pub(super) fn take_orders(&self, done: &mut DeliveryDone) {
        let orders = orders::given(&*self.disk).unwrap_or_default();
        for (id, order) in orders.into_iter().take(ORDERS_MAX) {
            match order {
                Order::Release => done.asked.push(id),
                Order::Remove => {
                    if held::remove(&*self.disk, id).and_then(|()| held::sync(&*self.disk)).is_err() {
                        continue;
                    }
                    done.removed.push(id);
                }
            }
            let _ = orders::fulfilled(&*self.disk, id, order);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spool::ReadError;

    #[test]
    fn what_says_nothing_of_the_message_is_no_attempt() {
        let mailboxes = |codes: &[i32]| {
            let mailbox = MailboxPath::of(&crate::smtp::Address::new("a", "x"));
            let error = |code: &i32| (mailbox.clone(), io::Error::from_raw_os_error(*code));
            DeliveryError::Mailboxes(codes.iter().map(error).collect())
        };
        let [enoent, enomem, enfile, emfile, enospc, edquot] = [2, 12, 23, 24, 28, 122];
        assert!(!mailboxes(&[enomem, enfile, emfile, enospc, edquot]).counts());
        assert!(mailboxes(&[enospc, enoent]).counts());
        assert!(DeliveryError::Spool(ReadError::Damaged).counts());
        assert!(!DeliveryError::Spool(ReadError::Io(io::Error::from_raw_os_error(5))).counts());
        assert!(!DeliveryError::Aside(io::Error::from_raw_os_error(2)).counts());
    }
}
