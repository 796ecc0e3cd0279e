//! The oldest mails of a mailbox that there is room for, chosen by their files' names as these are read, so that a mailbox of
//! any size costs no more than the room.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::{Directory, Mail, Spot, leading_number, mail_name, memory_of};
use crate::mailbox::base_of;

/// Memory for a list.
#[derive(Clone, Copy)]
pub struct Room<'a> {
    /// Octets of it.
    pub octets: usize,
    /// How many octets the caller takes beside [`Mail::memory`] for a mail of this base name.
    pub beside: &'a dyn Fn(&str) -> usize,
}

/// The oldest mails of a mailbox.
#[derive(Debug, Default)]
pub struct Oldest {
    /// They, oldest first.
    pub mails: Vec<Mail>,
    /// Files that there was no room for: all are younger.
    pub left_out: usize,
}

/// What is chosen so far.
pub(super) struct Selection<'a> {
    room: Room<'a>,
    /// The youngest on top.
    chosen: BinaryHeap<Candidate>,
    /// Octets that they will take.
    octets: usize,
    /// The oldest that there was no room for. What is younger has none either, or the list would have a gap.
    end: Option<Candidate>,
    left_out: usize,
}

impl<'a> Selection<'a> {
    pub(super) fn new(room: Room<'a>) -> Selection<'a> {
        Selection { room, chosen: BinaryHeap::new(), octets: 0, end: None, left_out: 0 }
    }

    /// Chooses a file if it is mail, and of the oldest so far.
    pub(super) fn offer(&mut self, directory: Directory, file_name: &str) {
        let Some(name) = mail_name(file_name) else { return };
        let spot = Spot { directory, file_name: file_name.to_owned() };
        let candidate = Candidate { arrived: leading_number(name), spot };
        if self.is_beyond(&candidate) {
            self.left_out += 1;
            return;
        }
        self.octets += self.octets_of(&candidate);
        self.chosen.push(candidate);
        while self.octets > self.room.octets
            && let Some(youngest) = self.chosen.pop()
        {
            self.octets -= self.octets_of(&youngest);
            self.left_out += 1;
            self.end = Some(youngest);
        }
    }

    /// What was chosen, oldest first, and how many files were not.
    pub(super) fn finish(mut self) -> (Vec<Spot>, usize) {
        // Of a mail that was moved while we read, one place may be in and the other out.
        while self.chosen.peek().is_some_and(|youngest| self.is_beyond(youngest)) {
            self.chosen.pop();
        }
        let chosen = self.chosen.into_sorted_vec();
        (chosen.into_iter().map(|candidate| candidate.spot).collect(), self.left_out)
    }

    fn is_beyond(&self, candidate: &Candidate) -> bool {
        self.end.as_ref().is_some_and(|end| candidate >= end)
    }

    fn octets_of(&self, candidate: &Candidate) -> usize {
        memory_of(candidate.spot.file_name.len()) + (self.room.beside)(candidate.name())
    }
}

/// A file that may be in the list. Ordered as the list is.
struct Candidate {
    arrived: u64,
    spot: Spot,
}
const _: () =
    assert!(size_of::<Candidate>() <= size_of::<Mail>(), "choosing takes no more than the list does");

impl Candidate {
    fn name(&self) -> &str {
        base_of(&self.spot.file_name)
    }
}

impl Ord for Candidate {
    fn cmp(&self, other: &Candidate) -> Ordering {
        (self.arrived, self.name()).cmp(&(other.arrived, other.name()))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Candidate) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Candidate {
    fn eq(&self, other: &Candidate) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Candidate {}
