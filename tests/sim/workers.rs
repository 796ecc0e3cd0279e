//! The workers: each job waits, is run and comes back when the run says so, and of each kind one is out at the most.

use std::sync::Arc;

use fastsmtp::server::courier::Courier;
use fastsmtp::server::job::{Completion, Job};

use fastsmtp::net::slots::Key;

use crate::faulty_disk::FaultyDisk;

/// The kinds of jobs. A further one needs its line in [`kind`] and in [`Workers::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Commit,
    Deliver,
    Prepare,
    Spill,
}

/// Kinds of which one job is out at the most. Of spills there is one for each connection.
const KINDS: usize = 3;

fn kind(job: &Job) -> Kind {
    match job {
        Job::Commit(_) => Kind::Commit,
        Job::Deliver(_) => Kind::Deliver,
        Job::Prepare(_) => Kind::Prepare,
        Job::Spill(..) => Kind::Spill,
        Job::CheckPassword(_) | Job::Measure(_) | Job::Open(_) | Job::Read(_) | Job::Update(_) => {
            unreachable!("there are no accounts")
        }
    }
}

/// Where a kind's one job is.
#[derive(Default)]
enum Slot {
    #[default]
    Idle,
    Waiting(Job),
    Done(Completion),
}

pub struct Workers {
    courier: Courier,
    slots: [Slot; KINDS],
    /// Those of spills, with the connection's key.
    spills: Vec<(Key, Slot)>,
}

impl Workers {
    pub fn new(disk: &FaultyDisk) -> Workers {
        let courier = Courier::new(Arc::new(disk.clone()), true);
        Workers { courier, slots: Default::default(), spills: Vec::new() }
    }

    /// Takes a job from the server. An error says what promise it broke.
    pub fn submit(&mut self, job: Job) -> Result<Kind, String> {
        let kind = kind(&job);
        if let Job::Spill(key, _) = job {
            if self.spills.iter().any(|(other, _)| *other == key) {
                return Err(format!("a second part of {key:?}'s message while one is out"));
            }
            self.spills.push((key, Slot::Waiting(job)));
            return Ok(kind);
        }
        match std::mem::replace(&mut self.slots[kind as usize], Slot::Waiting(job)) {
            Slot::Idle => Ok(kind),
            _ => Err(format!("a second {kind:?} job while one is out")),
        }
    }

    /// Jobs that wait to be run.
    pub fn waiting(&self) -> Vec<Kind> {
        let kinds = [Kind::Commit, Kind::Deliver, Kind::Prepare];
        let is_waiting = |kind: &Kind| matches!(self.slots[*kind as usize], Slot::Waiting(_));
        let spills = self.spills.iter().filter(|(_, slot)| matches!(slot, Slot::Waiting(_)));
        kinds.into_iter().filter(is_waiting).chain(spills.map(|_| Kind::Spill)).collect()
    }

    /// Octets of large messages that wait to be written.
    pub fn spill_octets(&self) -> u64 {
        let octets = |(_, slot): &(Key, Slot)| match slot {
            Slot::Waiting(Job::Spill(_, job)) => job.octets() as u64,
            _ => 0,
        };
        self.spills.iter().map(octets).sum()
    }

    pub fn has_done(&self) -> bool {
        let spills = self.spills.iter().map(|(_, slot)| slot);
        self.slots.iter().chain(spills).any(|slot| matches!(slot, Slot::Done(_)))
    }

    pub fn are_idle(&self) -> bool {
        self.spills.is_empty() && self.slots.iter().all(|slot| matches!(slot, Slot::Idle))
    }

    /// Runs the job of a kind that waits.
    pub fn run(&mut self, kind: Kind) {
        let slot = match kind {
            Kind::Spill => {
                self.spills.iter_mut().map(|(_, slot)| slot).find(|slot| matches!(slot, Slot::Waiting(_)))
            }
            _ => self.slots.get_mut(kind as usize),
        };
        let Some((slot, Slot::Waiting(job))) = slot.map(|slot| {
            let job = std::mem::take(slot);
            (slot, job)
        }) else {
            unreachable!("only jobs that wait are run");
        };
        *slot = Slot::Done(match job {
            Job::Commit(batch) => Completion::Committed(batch.run()),
            Job::Deliver(job) => Completion::Delivered(self.courier.run(job)),
            Job::Prepare(prepare) => Completion::Prepared(prepare.run()),
            Job::Spill(key, spill) => Completion::Spilled(key, spill.run()),
            Job::CheckPassword(_) | Job::Measure(_) | Job::Open(_) | Job::Read(_) | Job::Update(_) => {
                unreachable!("there are no accounts")
            }
        });
    }

    /// Gives what is done.
    pub fn done(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        let spills = self.spills.iter_mut().map(|(_, slot)| slot);
        for slot in self.slots.iter_mut().chain(spills) {
            match std::mem::take(slot) {
                Slot::Done(completion) => done.push(completion),
                other => *slot = other,
            }
        }
        self.spills.retain(|(_, slot)| !matches!(slot, Slot::Idle));
        done
    }
}
