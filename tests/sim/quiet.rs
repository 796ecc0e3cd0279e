//! Quiet: when nothing new happens nobody may be left waiting, and in the end everything must be given back.

use std::time::Duration;

use fastsmtp::limits::SEGMENTS_FREE_MAX;

use super::client::{Character, Client, Reads};
use super::oracle::{Failure, Verdict};
use super::pipe::End;
use super::world::World;

impl World {
    /// Nothing new happens for a while: then nobody may wait for an answer.
    pub(super) fn calm(&mut self) -> Verdict {
        self.run_until(self.now + CALM)?;
        let waits = |client: &&Client| match client.left {
            None => client.dialogue.owed(client.arrived).is_some(),
            Some(_) => !client.pipe.is_dropped(),
        };
        match self.clients.iter().find(waits) {
            Some(client) => Err(Failure::new(format!(
                "a lost wake-up: all is still for {CALM:?}, and {}",
                client.describe()
            ))),
            None => Ok(()),
        }
    }

    /// Has everything happen that is under way, and time pass where the loop waits for it.
    fn run_until(&mut self, until: Duration) -> Verdict {
        for _ in 0..QUIET_TURNS_MAX {
            let mut moved = false;
            for client in &mut self.clients {
                moved |= client.flow(usize::MAX, self.window, &mut self.oracle);
                client.read(usize::MAX, &mut self.oracle)?;
            }
            for kind in self.workers.waiting() {
                self.run_job(kind)?;
                moved = true;
                if self.disk.is_crashed() {
                    self.crash()?;
                    break;
                }
            }
            moved |= self.poll()?;
            self.forget_clients()?;
            if !moved {
                match self.wake {
                    Some(wake) if wake <= until => self.now = self.now.max(wake),
                    _ => {
                        self.now = self.now.max(until);
                        return Ok(());
                    }
                }
            }
        }
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        Err(Failure::new(format!(
            "the loop does not come to rest; it would wake at {:?} of {:?}; {clients:?}",
            self.wake, self.now
        )))
    }

    /// All clients leave, all faults end: in the end everything is delivered and given back, and there is service.
    pub(super) fn end(&mut self) -> Verdict {
        self.oracle.note(None, "the end begins");
        self.disk.heal();
        self.calm()?;
        self.everybody_leaves();
        self.run_until(self.now + QUIET)?;
        self.check_quiet()?;
        self.there_is_service()?;
        self.check_quiet()?;
        let crash = self.random_crash();
        match self.restart_with(Some(crash))? {
            Some(recovered) if recovered > 0 => {
                Err(Failure::new(format!("{recovered} messages are recovered that were settled long ago")))
            }
            _ => self.oracle.nothing_is_missing(|_| false),
        }
    }

    fn everybody_leaves(&mut self) {
        for at in 0..self.clients.len() {
            let how = self.random.pick(&[End::Closed, End::Reset]);
            self.clients[at].leave(how);
        }
    }

    /// A client that keeps trying has a mail accepted.
    fn there_is_service(&mut self) -> Verdict {
        let mail = self.oracle.next_mail();
        for _ in 0..SERVICE_STEPS_MAX {
            if (mail..self.oracle.mails()).any(|mail| self.oracle.is_accepted(mail)) {
                self.everybody_leaves();
                return self.run_until(self.now + QUIET);
            }
            match self.clients.first_mut() {
                Some(client) => client.act(&mut self.random, &mut self.oracle)?,
                None => self.connect_as(EAGER),
            }
            self.run_until(self.now + SERVICE_STEP)?;
        }
        let clients: Vec<String> = self.clients.iter().map(Client::describe).collect();
        Err(Failure::new(format!(
            "there is no service: all is quiet, and no mail is accepted of {clients:?}"
        )))
    }

    /// Everything was given back.
    fn check_quiet(&mut self) -> Verdict {
        self.oracle.nothing_is_missing(|_| false)?;
        let (connections, queued, memory) =
            (self.server().connections(), self.server().queued(), self.server().memory());
        if (connections, queued, memory) != (0, 0, 0) || !self.workers.are_idle() {
            let what = format!(
                "all is quiet, and there are {connections} connections, {queued} queued, {memory} octets"
            );
            return Err(Failure::new(what));
        }
        let unfinished =
            self.disk.tree("mailboxes").into_iter().filter(|path| path.to_string_lossy().contains("/tmp/"));
        let beside_the_log =
            ["spool/spill", "spool/held"].map(|directory| self.disk.tree(directory)).concat();
        // What could not be removed is found by the next start.
        let beside_the_log =
            beside_the_log.into_iter().filter(|_| !self.oracle.had_fault && !self.was_struck);
        if let Some(path) = unfinished.chain(beside_the_log).next() {
            return Err(Failure::new(format!("left behind: {}", path.display())));
        }
        let segments = self.disk.paths("spool").len();
        if segments > SEGMENTS_FREE_MAX + 3 {
            return Err(Failure::new(format!("all is settled, and the log has {segments} segments")));
        }
        Ok(())
    }
}

/// Long enough for everything that the server does by time, but for deadlines of its clients.
const CALM: Duration = Duration::from_secs(15);
/// Long enough for those too, and for the longest pause between two attempts to deliver.
const QUIET: Duration = Duration::from_secs(1500);
const QUIET_TURNS_MAX: usize = 20_000;
const SERVICE_STEPS_MAX: usize = 1000;
/// Longer than any banner is held back.
const SERVICE_STEP: Duration = Duration::from_millis(500);
const EAGER: Character = Character { is_lockstep: true, is_hasty: false, reads: Reads::All, cut_max: 100 };
