//! What QUIT does to a maildrop: the UPDATE state (RFC 1939 6). Nothing else ever changes one.

use super::{Asked, CloseReason, GOODBYE, Need, Session, State, Step};
use crate::pop3::maildrop::Changes;
use crate::pop3::reply::{Refusal, push_ok};
use crate::wire::Outbox;

impl Session {
    /// QUIT with a maildrop. If nothing changes, nobody is asked.
    pub(super) fn start_update(&mut self, changes: Changes, out: &mut Outbox) -> Option<Need> {
        if changes.is_empty() {
            return self.say_goodbye(out);
        }
        self.state = State::Updating(Box::new(changes));
        None
    }

    /// Asks for the update, once all is written that was said before: a client that is gone has not got what it says it
    /// has.
    pub(super) fn update(&mut self, out: &Outbox) -> Step {
        let State::Updating(changes) = &mut self.state else {
            unreachable!("called in this state only");
        };
        if !out.is_empty() {
            return Step::needs(Need::Room);
        }
        let changes = std::mem::take(&mut **changes);
        Step::needs(self.ask(Asked::Update, Need::Update(changes)))
    }

    /// Answers [`Need::Update`]: the last reply. A maildrop of which not all was removed is refused.
    pub fn answer_update(&mut self, answer: Result<(), Refusal>, out: &mut Outbox) {
        self.answered(Asked::Update);
        if !matches!(self.state, State::Updating(_)) {
            return;
        }
        match answer {
            Ok(()) => push_ok(GOODBYE, out),
            Err(refusal) => refusal.push_to(out),
        }
        self.close(CloseReason::Quit);
    }
}
