//! Reading command lines: CRLF ends them and nothing else, and what is too long or broken is refused as one line, never cut
//! in two.

use super::{CloseReason, Need, Session, State, Step};
use crate::limits::{AUTH_LINE_MAX, COMMAND_LINE_DISCARD_MAX, POP3_LINE_MAX};
use crate::pop3::reply::Refusal;
use crate::wire::Outbox;
use crate::wire::line::{self, Line};

/// A refused line whose rest is still to come, up to its CRLF; `refusal` follows then, if it was not given before.
#[derive(Debug)]
pub(super) struct RefusedLine {
    discarded: usize,
    refusal: Option<Refusal>,
}

impl Session {
    /// Reads one line, and executes it or hands it to the exchange under way.
    pub(super) fn read_line(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        if input.first() == Some(&TLS_HANDSHAKE) {
            self.end(Refusal::NOT_POP3, CloseReason::NotPop3, out);
            return Step::taken(0);
        }
        let searched = std::mem::take(&mut self.searched);
        // What lies beyond the limit is not looked at, so that the answer is the same however much of it is here.
        let line_max = self.line_max(input);
        let (all, input) = (input.len(), &input[..input.len().min(line_max)]);
        match line::find(input, searched) {
            Line::Whole(line) => self.take_line(line, all - line.len() - 2, out),
            Line::BareCr(consumed) => {
                self.refuse(Refusal::BARE_LINE_END, out);
                Step::taken(consumed)
            }
            Line::BareLf(consumed) => {
                self.refuse(Refusal::BARE_LINE_END, out);
                self.refused = Some(RefusedLine { discarded: consumed, refusal: None });
                Step::taken(consumed)
            }
            Line::Partial if input.len() < line_max => {
                self.searched = input.len();
                Step::needs(Need::Input)
            }
            Line::Partial => {
                self.refused = Some(RefusedLine { discarded: 0, refusal: Some(Refusal::LINE_TOO_LONG) });
                Step::taken(0)
            }
        }
    }

    /// Octets of the line that comes, at the most.
    fn line_max(&self, input: &[u8]) -> usize {
        let is_auth = input.get(..AUTH_BEGINS.len()).is_some_and(|at| at.eq_ignore_ascii_case(AUTH_BEGINS));
        if is_auth || matches!(self.state, State::Auth(_)) { AUTH_LINE_MAX } else { POP3_LINE_MAX }
    }

    /// Reads on in a line that was refused.
    pub(super) fn throw_away(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        let Some(RefusedLine { discarded, refusal }) = &mut self.refused else {
            return Step::taken(0);
        };
        let (taken, is_end) = line::skip(input);
        *discarded += taken;
        let (discarded, refusal) = (*discarded, *refusal);
        if discarded > COMMAND_LINE_DISCARD_MAX {
            self.end(Refusal::NOT_POP3, CloseReason::LineTooLong, out);
        } else if !is_end {
            return Step { consumed: taken, need: Some(Need::Input) };
        } else {
            self.refused = None;
            if let Some(refusal) = refusal {
                self.refuse(refusal, out);
            }
        }
        Step::taken(taken)
    }
}

/// A command whose line may be longer than others.
const AUTH_BEGINS: &[u8] = b"AUTH ";

/// The first octet of a TLS handshake record (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
