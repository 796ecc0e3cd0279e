//! The end of a server's life, and the beginning of the next over what the disk kept.

use std::sync::Arc;

use fastsmtp::server::{Log, Server};
use fastsmtp::spool::{Spool, held};

use super::oracle::{Failure, Verdict};
use super::pipe::ServerEnd;
use super::workers::Workers;
use super::world::World;
use crate::faulty_disk::Crash;

impl World {
    pub(super) fn notice_crash(&mut self) -> Verdict {
        if self.disk.is_crashed() { self.crash() } else { Ok(()) }
    }

    pub(super) fn crash(&mut self) -> Verdict {
        let crash = self.random_crash();
        self.restart(Some(crash))
    }

    pub(super) fn random_crash(&mut self) -> Crash {
        match self.random.below(5) {
            0 => Crash::Lost,
            1 => Crash::Kept,
            2 => Crash::Torn(self.random.below(12)),
            _ => Crash::Any(self.random.next()),
        }
    }

    /// The machine crashes, or without a `crash` only the process; and it starts again.
    pub(super) fn restart(&mut self, crash: Option<Crash>) -> Verdict {
        self.restart_with(crash).map(drop)
    }

    /// Gives how many messages were recovered, unless something struck meanwhile.
    pub(super) fn restart_with(&mut self, crash: Option<Crash>) -> Verdict<Option<usize>> {
        self.oracle.note(None, format!("restart; the machine: {crash:?}"));
        self.restarts += 1;
        for mut client in std::mem::take(&mut self.clients) {
            client.read(usize::MAX, &mut self.oracle)?; // what was written was promised
        }
        self.connecting.clear();
        self.server = None;
        self.oracle.server_ends();
        self.disk.restart();
        if let Some(crash) = crash {
            self.lose(crash)?;
        }
        self.start()
    }

    fn lose(&mut self, crash: Crash) -> Verdict {
        self.disk = self.disk.after(crash);
        self.oracle.look_again(&self.disk)
    }

    /// Starts a server over what the disk holds, however often it is struck while it recovers.
    pub(super) fn start(&mut self) -> Verdict<Option<usize>> {
        for attempt in 0.. {
            if self.restarts > 0 && self.mercy > 0 && attempt < 5 && self.random.one_in(4) {
                self.arm();
            }
            let was_armed = self.disk.is_armed();
            let recovered = Spool::recover(Arc::new(self.disk.clone()), self.spool_options);
            let recovered = recovered.and_then(|(spool, recovered)| {
                let found = held::start(&self.disk, &recovered.pending)?;
                Ok((spool, recovered, found.held))
            });
            if self.disk.is_crashed() {
                let crash = self.random_crash();
                self.oracle.note(None, format!("crash in recovery: {crash:?}"));
                self.lose(crash)?;
                continue;
            }
            self.disk.heal();
            match recovered {
                Ok((spool, recovered, held)) => {
                    if !recovered.report.damage.is_empty() {
                        return Err(Failure::new(format!("damage: {:?}", recovered.report.damage)));
                    }
                    self.oracle.recovered(&self.disk, &spool, &recovered.pending, &held)?;
                    let found = recovered.pending.len();
                    let log = Log::Spool(Box::new(spool), recovered.pending);
                    let mut server = Server::new(self.options.clone(), log, [7; 32]);
                    server.take_up_held(held);
                    self.was_struck = was_armed;
                    self.begin(server);
                    return Ok((!was_armed).then_some(found));
                }
                Err(_) if was_armed => {}
                Err(error) => return Err(Failure::new(format!("it cannot start: {error}"))),
            }
        }
        unreachable!("only so many attempts are struck")
    }

    fn begin(&mut self, server: Server<ServerEnd>) {
        if self.write_max < usize::MAX {
            let _ = self.disk.clone().with_short_writes(self.write_max);
        }
        self.server = Some(server);
        self.workers = Workers::new(&self.disk);
        self.began = self.now;
        self.wake = Some(self.now);
        self.is_stopping = false;
        self.oracle.had_fault = false;
    }
}
