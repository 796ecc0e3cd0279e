//! The maildrop of one session (RFC 1939 4): the messages as they were when it was opened, and what the client marked.
//! Nothing is removed here: QUIT hands the marks to the server.

use super::command::Number;
use super::reply::Refusal;
use crate::limits::POP3_UID_MAX;

/// A message, in the order of the messages' numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its unique id, the same in every session: 1 to [`POP3_UID_MAX`] octets of printable ASCII without blanks
    /// (RFC 1939 7).
    pub uid: Box<str>,
    /// Its octets as they are stored: a client reads one more for each line that ends in LF alone.
    pub octets: u64,
}

/// What a client wants done to its maildrop, by the messages' indices from 0, in ascending order. No message is in both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Those to be removed.
    pub removed: Vec<usize>,
    /// Those that stay, and went to the client whole, by RETR.
    pub seen: Vec<usize>,
}

impl Changes {
    /// Whether nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.seen.is_empty()
    }

    /// Octets of memory beyond itself.
    pub(super) fn memory(&self) -> usize {
        (self.removed.capacity() + self.seen.capacity()) * size_of::<usize>()
    }
}

/// An open maildrop.
#[derive(Debug)]
pub(super) struct Maildrop {
    messages: Vec<Listed>,
    deleted: Marks,
    seen: Marks,
    /// Octets of all the messages.
    octets: u64,
    /// Messages that are deleted, and their octets.
    deleted_count: usize,
    deleted_octets: u64,
    /// Octets of all the unique ids.
    uids: usize,
}

impl Maildrop {
    /// Of these messages, none marked. A unique id against [`Listed::uid`] is the server's mistake: it would break what
    /// clients read.
    pub(super) fn new(messages: Vec<Listed>) -> Maildrop {
        let is_sound = |uid: &str| {
            (1..=POP3_UID_MAX).contains(&uid.len()) && uid.bytes().all(|octet| octet.is_ascii_graphic())
        };
        assert!(
            messages.iter().all(|message| is_sound(&message.uid)),
            "a unique id that RFC 1939 does not have"
        );
        let octets = messages.iter().map(|message| message.octets).sum();
        let uids = messages.iter().map(|message| message.uid.len()).sum();
        let (deleted, seen) = (Marks::new(messages.len()), Marks::new(messages.len()));
        Maildrop { messages, deleted, seen, octets, deleted_count: 0, deleted_octets: 0, uids }
    }

    /// Messages that are not deleted.
    pub(super) fn count(&self) -> usize {
        self.messages.len() - self.deleted_count
    }

    /// Their octets.
    pub(super) fn octets(&self) -> u64 {
        self.octets - self.deleted_octets
    }

    /// The index of the message with this number, if there is one that is not deleted.
    pub(super) fn find(&self, number: Number) -> Result<usize, Refusal> {
        let index = number.0.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index
            .filter(|&index| index < self.messages.len() && !self.deleted.contains(index))
            .ok_or(Refusal::NO_SUCH_MESSAGE)
    }

    /// The message at this index.
    pub(super) fn message(&self, index: usize) -> &Listed {
        &self.messages[index]
    }

    /// The first message that is not deleted, from this index on.
    pub(super) fn next(&self, from: usize) -> Option<usize> {
        self.deleted.next_free(from).filter(|&index| index < self.messages.len())
    }

    /// Marks a message as deleted, which is not yet.
    pub(super) fn delete(&mut self, index: usize) {
        self.deleted.set(index);
        self.deleted_count += 1;
        self.deleted_octets += self.messages[index].octets;
    }

    /// No message is deleted any more.
    pub(super) fn undelete(&mut self) {
        self.deleted.clear();
        (self.deleted_count, self.deleted_octets) = (0, 0);
    }

    /// Takes note that a message went out whole.
    pub(super) fn see(&mut self, index: usize) {
        self.seen.set(index);
    }

    /// What is to become of the mailbox.
    pub(super) fn changes(&self) -> Changes {
        let all = 0..self.messages.len();
        let removed = all.clone().filter(|&index| self.deleted.contains(index)).collect();
        let seen = all.filter(|&index| self.seen.contains(index) && !self.deleted.contains(index)).collect();
        Changes { removed, seen }
    }

    /// Octets of memory beyond itself.
    pub(super) fn memory(&self) -> usize {
        let listing = self.messages.capacity() * size_of::<Listed>() + self.uids;
        listing + self.deleted.memory() + self.seen.memory()
    }
}

/// A mark or none for each index: a bit each, so that a search goes through 64 at once.
#[derive(Debug)]
struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// No marks, of so many indices.
    fn new(count: usize) -> Marks {
        Marks { words: vec![0; count.div_ceil(BITS)] }
    }

    fn contains(&self, index: usize) -> bool {
        self.words[index / BITS] >> (index % BITS) & 1 == 1
    }

    fn set(&mut self, index: usize) {
        self.words[index / BITS] |= 1 << (index % BITS);
    }

    fn clear(&mut self) {
        self.words.fill(0);
    }

    /// The first index without a mark, from this one on; perhaps one behind the last. None only if there is none.
    fn next_free(&self, from: usize) -> Option<usize> {
        let (at, below) = (from / BITS, (1u64 << (from % BITS)) - 1);
        let first = self.words.get(at)? | below;
        let mut words = [first].into_iter().chain(self.words[at + 1..].iter().copied()).zip(at..);
        let (word, at) = words.find(|(word, _)| *word != u64::MAX)?;
        Some(at * BITS + word.trailing_ones() as usize)
    }

    fn memory(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

const BITS: usize = u64::BITS as usize;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn maildrop(count: usize) -> Maildrop {
        let listed = |index| Listed { uid: format!("uid{index}").into(), octets: 10 + index as u64 };
        Maildrop::new((0..count).map(listed).collect())
    }

    proptest! {
        #[test]
        fn marks_are_what_a_set_of_indices_would_be(
            count in 0..300usize,
            deleted in prop::collection::btree_set(0..300usize, 0..300),
            seen in prop::collection::btree_set(0..300usize, 0..9),
        ) {
            let mut maildrop = maildrop(count);
            let deleted: Vec<usize> = deleted.into_iter().filter(|&index| index < count).collect();
            let seen: Vec<usize> = seen.into_iter().filter(|&index| index < count).collect();
            deleted.iter().for_each(|&index| maildrop.delete(index));
            seen.iter().for_each(|&index| maildrop.see(index));
            let is_left = |index: &usize| !deleted.contains(index);
            let left: Vec<usize> = (0..count).filter(is_left).collect();
            let listed: Vec<usize> =
                std::iter::successors(maildrop.next(0), |index| maildrop.next(index + 1)).collect();
            prop_assert_eq!(&listed, &left);
            prop_assert_eq!(maildrop.count(), left.len());
            prop_assert_eq!(maildrop.octets(), left.iter().map(|index| 10 + *index as u64).sum::<u64>());
            for index in 0..count {
                prop_assert_eq!(maildrop.find(Number(index as u64 + 1)).ok(), Some(index).filter(is_left));
            }
            let seen = seen.into_iter().filter(is_left).collect();
            prop_assert_eq!(maildrop.changes(), Changes { removed: deleted, seen });
        }
    }

    #[test]
    fn there_is_no_message_but_those_that_were_listed() {
        let maildrop = maildrop(2);
        for number in [0, 3, 64, u64::MAX] {
            assert_eq!(maildrop.find(Number(number)), Err(Refusal::NO_SUCH_MESSAGE), "{number}");
        }
    }

    #[test]
    #[should_panic(expected = "a unique id that RFC 1939 does not have")]
    fn a_unique_id_that_would_break_a_line_never_comes_to_a_client() {
        let _ = Maildrop::new(vec![Listed { uid: "a\r\n.".into(), octets: 1 }]);
    }
}
