//! The runs: in each round each cell, in each cell each server, one after the other, so that what the machine does
//! meanwhile meets all of them.

use std::collections::HashMap;
use std::fs;
use std::time::SystemTime;

use loadgen::report::units::rate;
use tempfile::TempDir;

use super::load::{self, Ended};
use super::plan::{Cell, Plan};
use super::results::{CellResults, Measured, Results, RunFigures};
use super::server::{Kind, Lab, Purpose, Server, count_files};
use super::{Failure, disk, memory};

/// Runs all rounds; `results` has each as soon as it is complete.
pub fn run(lab: &Lab, plan: &Plan, results: &mut Results) -> Result<(), Failure> {
    results.cells = plan.cells.iter().map(empty).collect();
    let scratch = tempfile::tempdir_in(&lab.place).map_err(Failure::of(&lab.place))?;
    for round in 1..=plan.rounds {
        let bare = disk::measure(&lab.place, round, plan.disk)?;
        let mut driver =
            Driver { lab, plan, round, scratch: &scratch, running: HashMap::new(), earlier: results };
        let runs = driver.round()?;
        driver.stop();
        results.disk.extend(bare);
        for (cell, kind, figures) in runs {
            results.cells[cell].runs.entry(kind.key().into()).or_default().push(figures);
        }
    }
    results.complete = true;
    Ok(())
}

fn empty(cell: &Cell) -> CellResults {
    CellResults {
        key: cell.key.clone(),
        measured: cell.measured,
        connections: cell.load.connections,
        size: cell.load.size.into(),
        way: cell.load.way.name().into(),
        runs: Default::default(),
    }
}

/// A round: its servers run until it ends, and rest while others are loaded.
struct Driver<'a> {
    lab: &'a Lab,
    plan: &'a Plan,
    round: u32,
    scratch: &'a TempDir,
    running: HashMap<&'static str, Server>,
    earlier: &'a Results,
}

impl Driver<'_> {
    fn round(&mut self) -> Result<Vec<(usize, Kind, RunFigures)>, Failure> {
        let mut runs = Vec::new();
        for (at, cell) in self.plan.cells.iter().enumerate() {
            for kind in self.plan.of(cell.measured) {
                let figures = match self.earlier.cells[at].did_not_finish(kind.key()) {
                    Some(reason) => not_again(self.round, reason),
                    None => self.one(cell, kind)?,
                };
                self.tell(cell, kind, &figures);
                runs.push((at, kind, figures));
            }
        }
        Ok(runs)
    }

    /// One run. What cannot even be started has no figure, and the others go on.
    fn one(&mut self, cell: &Cell, kind: Kind) -> Result<RunFigures, Failure> {
        let mut figures = RunFigures { round: self.round, ..RunFigures::default() };
        let started = match self.running.remove(kind.key()) {
            Some(server) => Ok(server),
            None => Server::start(self.lab, kind, Purpose::Measure),
        };
        match started {
            Ok(server) => self.load(cell, kind, server, &mut figures)?,
            Err(Failure::Interrupted) => return Err(Failure::Interrupted),
            Err(Failure::Broken(reason)) => figures.did_not_finish = Some(reason),
        }
        Ok(figures)
    }

    /// Loads a server, and keeps it for its next cell. One that did not finish, or whose queue does not empty, is stopped,
    /// and started anew for the next; so is one that delivers, with an empty Maildir.
    fn load(
        &mut self,
        cell: &Cell,
        kind: Kind,
        server: Server,
        figures: &mut RunFigures,
    ) -> Result<(), Failure> {
        if kind.transport().is_some() {
            // Postfix starts a process for each connection as it comes; so that this is in nobody's figures, the processes
            // are there before, from as many connections that come and go.
            memory::open(&server, cell.load.connections as usize)?;
        }
        let cores = match cell.measured {
            Measured::Delivered => self.lab.cores.clone(),
            Measured::Accepted => vec![self.lab.generator_core],
        };
        let (before, began) = (server.group().processor_time(), SystemTime::now());
        figures.command = cell.load.arguments(server.address());
        match load::run(self.lab, &cell.load, server.address(), &cores, self.scratch.path())? {
            Ended::Done(report) => figures.take(&load::report(&report)?),
            Ended::Not(reason) => figures.did_not_finish = Some(reason),
        }
        if figures.did_not_finish.is_some() {
            server.stop();
            return Ok(());
        }
        let settled = server.settle(figures.all())?;
        let used = server.group().processor_time().saturating_sub(before);
        figures.processor_us_per_message = used.as_secs_f64() * 1e6 / figures.all().max(1) as f64;
        if settled.is_none() {
            figures.note = Some("not all had left its queue two minutes later".into());
        }
        if cell.measured == Measured::Delivered {
            figures.delivered(&server, began, settled);
        }
        match cell.measured {
            Measured::Accepted if settled.is_some() => drop(self.running.insert(kind.key(), server)),
            _ => server.stop(),
        }
        Ok(())
    }

    fn stop(self) {
        for server in self.running.into_values() {
            server.stop();
        }
        let _ = fs::remove_file(self.scratch.path().join("report.json"));
    }

    /// A line for whoever waits.
    fn tell(&self, cell: &Cell, kind: Kind, figures: &RunFigures) {
        let what = match &figures.did_not_finish {
            Some(reason) => reason.clone(),
            None => rate(figures.messages_per_second),
        };
        eprintln!("round {}/{}  {:<22} {:<26} {what}", self.round, self.plan.rounds, cell.key, kind.name());
    }
}

/// What did not finish once is not tried in later rounds: it would cost each of them half a minute.
fn not_again(round: u32, reason: &str) -> RunFigures {
    RunFigures { round, did_not_finish: Some(reason.to_owned()), ..RunFigures::default() }
}

impl RunFigures {
    /// Accepted in the whole run.
    fn all(&self) -> u64 {
        self.accepted + self.warm_up_accepted
    }

    /// The rate is that of delivery, from the first connection to the last file.
    fn delivered(&mut self, server: &Server, began: SystemTime, settled: Option<SystemTime>) {
        let all = self.all();
        let delivered = server.maildir().map_or(0, |maildir| count_files(&maildir));
        let spent = settled.unwrap_or_else(SystemTime::now).duration_since(began).unwrap_or_default();
        self.delivered = Some(delivered);
        self.messages_per_second = delivered as f64 / spent.as_secs_f64();
        if delivered != all {
            self.note = Some(format!("{all} were accepted, {delivered} are in the Maildir"));
        }
    }

    /// Takes over what the generator reports.
    fn take(&mut self, report: &loadgen::report::Report) {
        self.messages_per_second = report.messages_per_second;
        self.offered = report.offered;
        self.accepted = report.accepted;
        self.warm_up_accepted = report.warm_up.accepted;
        self.elapsed_seconds = report.elapsed_seconds;
        self.accept_p50_us = report.phases.accept.p50_us;
        self.accept_p99_us = report.phases.accept.p99_us;
        self.generator_bound = report.self_check.client_bound;
        let others = report.offered - report.accepted.min(report.offered);
        if others > 0 {
            self.note = Some(format!(
                "{others} of {} messages were not accepted: {}",
                report.offered, report.verdict
            ));
        } else if !report.valid && !self.generator_bound {
            self.note.clone_from(&report.invalid_reason);
        }
        if report.accepted == 0 {
            self.did_not_finish = Some(format!("accepted nothing: {}", report.verdict));
        }
    }
}
