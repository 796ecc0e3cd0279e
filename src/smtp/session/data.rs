//! Mail data in a session: behind 354 up to the final dot, or a chunk of BDAT to its end (RFC 3030 2). What is too much for
//! memory is handed out; what is refused is read to its end all the same.

use super::{Asked, Need, Profile, Session, State, Step, reply};
use crate::limits::RECEIVE_BUFFER;
use crate::smtp::reply::push_chunk_taken;
use crate::smtp::{Body, Message, Reply};
use crate::wire::Outbox;

impl Session {
    /// Reads mail data up to its end.
    pub(super) fn read_data(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        let State::Data(transaction, scanner) = &mut self.state else {
            unreachable!("called in this state only");
        };
        if input.is_empty() {
            return Step::needs_input(0);
        }
        let before = transaction.data.len();
        transaction.make_room(input.len(), most_kept(&self.profile, self.spill_beyond));
        let scan = scanner
            .scan(input, if transaction.failure.is_none() { Some(&mut transaction.data) } else { None });
        if scanner.has_bare_line_end() {
            transaction.fail(Reply::BARE_LINE_END_IN_DATA);
        }
        transaction.judge(before, self.profile.message_size_max);
        if !scan.ended {
            let spill = transaction.spill(self.spill_beyond);
            return self.needs_input_or_spill(scan.consumed, spill);
        }
        Step { consumed: scan.consumed, need: self.end_message(out) }
    }

    /// Reads one chunk of BDAT to its end (RFC 3030 2).
    pub(super) fn read_chunk(&mut self, input: &[u8], out: &mut Outbox) -> Step {
        let State::Chunk { transaction, remaining, size, last } = &mut self.state else {
            unreachable!("called in this state only");
        };
        // What a chunk's end left there, for behind an end nothing is read that would take the session on.
        if *remaining > 0
            && let Some(part) = transaction.spill(self.spill_beyond)
        {
            return self.needs_input_or_spill(0, Some(part));
        }
        let taken = usize::try_from(*remaining).map_or(input.len(), |remaining| remaining.min(input.len()));
        *remaining -= taken as u64;
        let before = transaction.data.len();
        transaction.make_room(taken, most_kept(&self.profile, self.spill_beyond));
        if transaction.failure.is_none() {
            transaction.data.extend_from_slice(&input[..taken]);
        }
        let is_end = *remaining == 0 && *last;
        if transaction.envelope.body != Body::BinaryMime {
            let paired = transaction.line_ends.check(&input[..taken]);
            if !paired || is_end && transaction.line_ends.is_open() {
                transaction.fail(Reply::BARE_LINE_END_IN_DATA);
            }
        }
        transaction.judge(before, self.profile.message_size_max);
        if *remaining > 0 {
            let spill = transaction.spill(self.spill_beyond);
            return self.needs_input_or_spill(taken, spill);
        }
        let (size, failed) = (*size, transaction.failure.is_some());
        if is_end || failed {
            return Step { consumed: taken, need: self.end_message(out) };
        }
        push_chunk_taken(size, out);
        if let State::Chunk { transaction, .. } = std::mem::replace(&mut self.state, State::Ready) {
            self.state = State::Chunks(transaction);
        }
        Step::taken(taken)
    }

    fn needs_input_or_spill(&mut self, consumed: usize, spill: Option<Vec<u8>>) -> Step {
        let Some(part) = spill else { return Step::needs_input(consumed) };
        self.asked = Asked::Spill;
        Step { consumed, need: Some(Need::Spill(part)) }
    }

    /// The data is complete, or a chunk ended that had failed: the message goes to the server, or is refused.
    fn end_message(&mut self, out: &mut Outbox) -> Option<Need> {
        let (State::Data(transaction, _) | State::Chunk { transaction, .. }) =
            std::mem::replace(&mut self.state, State::Ready)
        else {
            unreachable!("called in these states only");
        };
        match transaction.failure {
            Some(failure) => {
                self.refused = Some((failure, self.refused.map_or(1, |(_, count)| count + 1)));
                reply(failure, out)
            }
            None => {
                self.state = State::Committing;
                self.asked = Asked::Commit;
                Some(Need::Commit(Message {
                    envelope: transaction.envelope,
                    trace: Vec::new(),
                    data: transaction.data,
                }))
            }
        }
    }
}

/// Octets of mail data that are kept at once, at the most.
fn most_kept(profile: &Profile, spill_beyond: usize) -> usize {
    let largest = usize::try_from(profile.message_size_max).unwrap_or(usize::MAX);
    largest.min(spill_beyond.saturating_add(RECEIVE_BUFFER))
}
