//! The workers: each job waits, is run and comes back when the run says so, and of each kind one is out at the most.

use std::sync::Arc;

use fastsmtp::server::courier::Courier;
use fastsmtp::server::job::{Completion, Job};

use crate::faulty_disk::FaultyDisk;

/// The kinds of jobs. A further one needs its line in [`kind`] and in [`Workers::run`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Commit,
    Deliver,
    Prepare,
}

const KINDS: usize = 3;

fn kind(job: &Job) -> Kind {
    match job {
        Job::Commit(_) => Kind::Commit,
        Job::Deliver(_) => Kind::Deliver,
        Job::Prepare(_) => Kind::Prepare,
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
}

impl Workers {
    pub fn new(disk: &FaultyDisk) -> Workers {
        Workers { courier: Courier::new(Arc::new(disk.clone()), true), slots: Default::default() }
    }

    /// Takes a job from the server. An error says what promise it broke.
    pub fn submit(&mut self, job: Job) -> Result<Kind, String> {
        let kind = kind(&job);
        match std::mem::replace(&mut self.slots[kind as usize], Slot::Waiting(job)) {
            Slot::Idle => Ok(kind),
            _ => Err(format!("a second {kind:?} job while one is out")),
        }
    }

    /// Jobs that wait to be run.
    pub fn waiting(&self) -> Vec<Kind> {
        let kinds = [Kind::Commit, Kind::Deliver, Kind::Prepare];
        kinds.into_iter().filter(|kind| matches!(self.slots[*kind as usize], Slot::Waiting(_))).collect()
    }

    pub fn has_done(&self) -> bool {
        self.slots.iter().any(|slot| matches!(slot, Slot::Done(_)))
    }

    pub fn are_idle(&self) -> bool {
        self.slots.iter().all(|slot| matches!(slot, Slot::Idle))
    }

    /// Runs the job of a kind that waits.
    pub fn run(&mut self, kind: Kind) {
        let Slot::Waiting(job) = std::mem::take(&mut self.slots[kind as usize]) else {
            unreachable!("only jobs that wait are run");
        };
        self.slots[kind as usize] = Slot::Done(match job {
            Job::Commit(batch) => Completion::Committed(batch.run()),
            Job::Deliver(job) => Completion::Delivered(self.courier.run(job)),
            Job::Prepare(prepare) => Completion::Prepared(prepare.run()),
        });
    }

    /// Gives what is done.
    pub fn done(&mut self) -> Vec<Completion> {
        let mut done = Vec::new();
        for slot in &mut self.slots {
            match std::mem::take(slot) {
                Slot::Done(completion) => done.push(completion),
                other => *slot = other,
            }
        }
        done
    }
}
