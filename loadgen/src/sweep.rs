//! Several runs at several rates: a ramp, or the search for the knee, the highest rate that keeps the objective.
//!
//! The search doubles the rate while the objective is kept (or halves it until it is), then bisects between the last rate
//! that kept it and the first that did not. Each rate is run several times, and the majority decides: one hiccup of a
//! machine is not the server's limit. To keep an objective a server must also keep up: a queue that grows for as long as
//! a step lasts is no rate, whatever the latency.
//!
//! A step in which the *generator* was late says nothing about the server. Where most repetitions of a rate are so, the
//! search ends there, and its result is invalid.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::generator::Ending;
use crate::plan::{Plan, Rate, Search};
use crate::report::{self, Report, Step, Sweep, SweepKind, units};
use crate::run::Outcome;
use crate::summary;

/// Makes one run of a sweep: at a rate, with words for the live line.
pub type Runner<'a> = dyn FnMut(Rate, &str) -> io::Result<Outcome> + 'a;

/// Makes all runs of a sweep and puts them together.
pub fn sweep(
    plan: &Plan,
    rate: Rate,
    interrupted: &AtomicBool,
    runner: &mut Runner<'_>,
) -> io::Result<Report> {
    let sweeper =
        Sweeper { plan, rate, interrupted, runner, steps: Vec::new(), best: None, last: None, cut: None };
    match plan.search {
        Search::None => unreachable!("one run is no sweep"),
        Search::Ramp { from, to, step } => sweeper.ramp(from, to, step),
        Search::Knee { from, precision, repetitions } => sweeper.knee(from, precision, repetitions),
    }
}

struct Sweeper<'a> {
    plan: &'a Plan,
    rate: Rate,
    interrupted: &'a AtomicBool,
    runner: &'a mut Runner<'a>,
    steps: Vec<Step>,
    /// The run at the highest rate that kept the objective.
    best: Option<(f64, Outcome)>,
    last: Option<Outcome>,
    /// Why the sweep did not come to its end.
    cut: Option<Ending>,
}

/// How a rate was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    Kept,
    Broken,
    /// The generator was the limit.
    ClientBound,
    /// The run did not come to its end: nothing further is to be tried.
    CutShort,
}

impl Sweeper<'_> {
    fn ramp(mut self, from: f64, to: f64, step: f64) -> io::Result<Report> {
        let steps = ((to - from) / step + 1e-9).floor() as u64 + 1;
        for number in 0..steps {
            let rate = from + step * number as f64;
            let judgement = self.step(rate, 1, &format!("step {} of {steps}, ", number + 1))?;
            match judgement {
                Judgement::CutShort => break,
                Judgement::Kept => self.keep(rate),
                Judgement::Broken | Judgement::ClientBound => {}
            }
        }
        Ok(self.report(SweepKind::Ramp, None, None))
    }

    fn knee(mut self, from: f64, precision: f64, repetitions: u32) -> io::Result<Report> {
        let (mut kept, mut broken, mut rate): (Option<f64>, Option<f64>, f64) = (None, None, from);
        let trouble = loop {
            match self.judge(rate, repetitions)? {
                Judgement::Kept => kept = Some(rate),
                Judgement::Broken => broken = Some(rate),
                trouble => break Some((trouble, rate)),
            }
            rate = match (kept, broken) {
                (Some(kept), None) => kept * 2.0,
                (None, Some(broken)) if broken <= RATE_MIN => break None,
                (None, Some(broken)) => (broken / 2.0).max(RATE_MIN),
                (Some(kept), Some(broken)) if broken / kept <= 1.0 + precision => break None,
                (Some(kept), Some(broken)) => kept.midpoint(broken),
                (None, None) => unreachable!("a rate is judged one way or the other"),
            };
        };
        let client_bound =
            trouble.filter(|(trouble, _)| *trouble == Judgement::ClientBound).map(|(_, rate)| rate);
        Ok(self.report(SweepKind::Knee, broken, client_bound))
    }

    /// Runs a rate until the majority of its repetitions agree.
    fn judge(&mut self, rate: f64, repetitions: u32) -> io::Result<Judgement> {
        let mut judgements = Vec::new();
        for repetition in 1..=repetitions {
            let prefix = format!("run {}, ", self.steps.len() + 1);
            let judgement = self.step(rate, repetition, &prefix)?;
            if judgement == Judgement::CutShort {
                return Ok(judgement);
            }
            judgements.push(judgement);
            let agree = judgements.iter().filter(|other| **other == judgement).count() as u32;
            if agree > repetitions / 2 {
                if judgement == Judgement::Kept {
                    self.keep(rate);
                }
                return Ok(judgement);
            }
        }
        // No majority: not a rate to rely on.
        Ok(Judgement::Broken)
    }

    fn step(&mut self, rate: f64, repetition: u32, prefix: &str) -> io::Result<Judgement> {
        if !self.steps.is_empty() {
            // What the step before left behind is not to burden this one.
            std::thread::sleep(PAUSE);
            if self.interrupted.load(Ordering::Relaxed) {
                self.cut = Some(Ending::Interrupted);
                return Ok(Judgement::CutShort);
            }
        }
        let run = (self.runner)(Rate { rate, ..self.rate }, prefix)?;
        let step = summary::step(self.plan, &run, rate, repetition);
        let judgement = match run.ending {
            Ending::Complete if step.client_bound => Judgement::ClientBound,
            Ending::Complete if step.met == Some(false) => Judgement::Broken,
            Ending::Complete => Judgement::Kept,
            // There was a server before: a rate that it does not survive is one that it does not keep.
            Ending::Unreachable(_) | Ending::GaveUp if !self.steps.is_empty() => Judgement::Broken,
            _ => {
                self.cut = Some(run.ending.clone());
                Judgement::CutShort
            }
        };
        self.steps.push(step);
        self.last = Some(run);
        Ok(judgement)
    }

    /// The last run is that of a rate which was kept: the best so far, if no higher one was.
    fn keep(&mut self, rate: f64) {
        if self.best.as_ref().is_none_or(|(best, _)| rate >= *best) {
            self.best = self.last.take().map(|run| (rate, run));
        }
    }

    /// The document: of the best run, with the whole sweep.
    fn report(self, kind: SweepKind, broken_at: Option<f64>, client_bound_at: Option<f64>) -> Report {
        let has_objective = self.plan.objective.is_some();
        let knee = self.best.as_ref().map(|(rate, _)| *rate).filter(|_| has_objective);
        // A run cut short is the one to tell of, if it is all there is.
        let run = self.best.map(|(_, run)| run).or(self.last);
        let run = run.expect("the first step is always run");
        let mut report = summary::report(self.plan, &run);
        if let Some(rate) = client_bound_at {
            report.valid = false;
            report.invalid_reason =
                Some(format!("client-bound: at {} the generator itself was late", units::rate(rate)));
        }
        let text = self.plan.objective.as_ref().map(ToString::to_string).unwrap_or_default();
        report.verdict = match (kind, knee, broken_at) {
            _ if self.cut.is_some() => report.verdict,
            _ if client_bound_at.is_some() => format!(
                "INVALID: {}; {}",
                report.invalid_reason.as_deref().unwrap_or_default(),
                match knee {
                    Some(knee) => format!("the knee is at {} or above", units::rate(knee)),
                    None => format!("no rate is known to keep {text}"),
                }
            ),
            (SweepKind::Knee, Some(knee), Some(broken)) => format!(
                "the knee is at {}: it keeps {text}, and {} does not; {}",
                units::rate(knee),
                units::rate(broken),
                report.verdict
            ),
            (SweepKind::Knee, None, _) => format!("no rate kept {text}; {}", report.verdict),
            _ => report.verdict,
        };
        if let Some(cut) = self.cut.filter(|_| report.ending == report::Ending::Complete) {
            // What is told of is a run before the one that was cut short.
            (report.ending, report.ending_reason) = summary::ending(&cut);
            report.valid = false;
            report.invalid_reason = Some("the sweep broke off".into());
            let runs = self.steps.len();
            report.verdict =
                format!("the sweep broke off after {runs} runs, one of which: {}", report.verdict);
        }
        report.sweep = Some(Sweep { kind, knee, broken_at, steps: self.steps });
        report
    }
}

/// The rate below which nothing is searched for, in messages a second.
const RATE_MIN: f64 = 1.0;

/// Between two steps.
const PAUSE: Duration = Duration::from_millis(500);
