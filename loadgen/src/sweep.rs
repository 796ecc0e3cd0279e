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
    let pause = || std::thread::sleep(PAUSE);
    let sweeper = Sweeper {
        plan,
        rate,
        interrupted,
        runner,
        pause,
        steps: Vec::new(),
        best: None,
        last: None,
        cut: None,
    };
    sweeper.sweep()
}

struct Sweeper<'a> {
    plan: &'a Plan,
    rate: Rate,
    interrupted: &'a AtomicBool,
    runner: &'a mut Runner<'a>,
    /// What the step before left behind is not to burden the next.
    pause: fn(),
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
    fn sweep(self) -> io::Result<Report> {
        match self.plan.search {
            Search::None => unreachable!("one run is no sweep"),
            Search::Ramp { from, to, step } => self.ramp(from, to, step),
            Search::Knee { from, precision, repetitions } => self.knee(from, precision, repetitions),
        }
    }

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
            (self.pause)();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments;
    use crate::load::Facts;
    use crate::plan::Pacing;
    use crate::tally::{self, Tally, Timing};
    use std::time::SystemTime;

    /// How a run goes.
    #[derive(Clone, Copy, PartialEq)]
    enum Goes {
        Well,
        Slowly,
        /// The generator was late.
        Late,
        /// There was no server.
        Nowhere,
    }

    fn run(pace: Rate, goes: Goes) -> Outcome {
        const MS: u64 = 1_000_000;
        let mut tally = Tally::default();
        if goes != Goes::Nowhere {
            (tally.offered, tally.accepted_in_time) = (1, 1);
            tally.outcomes.count(tally::Outcome::Accepted);
            tally.record(Timing::Message, if goes == Goes::Well { MS } else { 1000 * MS });
            tally.record(Timing::Lag, if goes == Goes::Late { 900 * MS } else { MS / 1000 });
        }
        Outcome {
            pace: Pacing::Open(pace),
            started: SystemTime::now(),
            tally,
            elapsed: Duration::from_secs(1),
            warm_up: Duration::ZERO,
            left_waiting: 0,
            processor: Vec::new(),
            facts: Facts::default(),
            first_failure: None,
            ending: if goes == Goes::Nowhere { Ending::Unreachable("gone".into()) } else { Ending::Complete },
            seconds: Vec::new(),
        }
    }

    /// What is found where runs at a rate go so, the first of them at that rate being 0.
    fn found(arguments: &str, mut goes: impl FnMut(f64, u32) -> Goes) -> Report {
        let plan = arguments::plan(arguments).unwrap();
        let Pacing::Open(rate) = plan.pace else { panic!("a sweep is an open loop") };
        let (mut last, mut nth) = (0.0, 0);
        let mut runner = |rate: Rate, _: &str| {
            nth = if rate.rate == last { nth + 1 } else { 0 };
            last = rate.rate;
            Ok(run(rate, goes(rate.rate, nth)))
        };
        let sweeper = Sweeper {
            plan: &plan,
            rate,
            interrupted: &AtomicBool::new(false),
            runner: &mut runner,
            pause: || (),
            steps: Vec::new(),
            best: None,
            last: None,
            cut: None,
        };
        sweeper.sweep().unwrap()
    }

    fn up_to(capacity: f64, beyond: Goes) -> impl FnMut(f64, u32) -> Goes {
        move |rate, _| if rate <= capacity { Goes::Well } else { beyond }
    }

    const SEARCH: &str = "--find-knee --slo p99<50ms --repeat 3";

    #[test]
    fn the_knee_is_the_highest_rate_that_was_kept() {
        for capacity in [3.0, 99.0, 700.0, 123_456.0] {
            let report = found(SEARCH, up_to(capacity, Goes::Slowly));
            let sweep = report.sweep.unwrap();
            let (knee, broken) = (sweep.knee.unwrap(), sweep.broken_at.unwrap());
            assert!(
                knee <= capacity && broken > capacity && broken <= knee * 1.021,
                "{capacity}: {knee} {broken}"
            );
            assert_eq!(report.intended_rate, Some(knee));
            assert!(report.valid && report.objective.unwrap().met);
        }
    }

    #[test]
    fn a_lucky_run_makes_no_knee_and_an_unlucky_one_breaks_none() {
        let lucky = |rate: f64, nth: u32| if rate <= 700.0 || nth == 0 { Goes::Well } else { Goes::Slowly };
        let report = found(SEARCH, lucky);
        let knee = report.sweep.unwrap().knee.unwrap();
        assert!((680.0..=700.0).contains(&knee), "{knee}");
        assert!(report.verdict.contains(&units::rate(knee)), "{}", report.verdict);
        let unlucky = |rate: f64, nth: u32| if rate <= 700.0 && nth != 0 { Goes::Well } else { Goes::Slowly };
        let knee = found(SEARCH, unlucky).sweep.unwrap().knee.unwrap();
        assert!((680.0..=700.0).contains(&knee), "{knee}");
    }

    #[test]
    fn a_late_generator_ends_the_search_and_makes_it_invalid() {
        let report = found(SEARCH, up_to(1000.0, Goes::Late));
        assert!(!report.valid && report.verdict.starts_with("INVALID: client-bound"), "{}", report.verdict);
        assert_eq!(report.sweep.unwrap().knee, Some(800.0));
    }

    #[test]
    fn a_rate_that_the_server_does_not_survive_is_one_that_it_does_not_keep() {
        let report = found(SEARCH, up_to(300.0, Goes::Nowhere));
        assert_eq!(report.ending, report::Ending::Complete);
        assert!((294.0..=300.0).contains(&report.sweep.unwrap().knee.unwrap()));
        let report = found(SEARCH, up_to(0.0, Goes::Nowhere));
        assert_eq!((report.ending, report.sweep.unwrap().knee), (report::Ending::Unreachable, None));
    }

    #[test]
    fn where_no_rate_is_kept_the_objective_is_missed() {
        let report = found(SEARCH, up_to(0.0, Goes::Slowly));
        assert!(!report.objective.unwrap().met);
        assert!(report.verdict.contains("no rate kept"), "{}", report.verdict);
    }

    #[test]
    fn a_ramp_runs_each_rate_once_and_tells_of_the_highest_that_was_kept() {
        let report = found("--ramp 100..500 --step 100 --slo p99<50ms", up_to(300.0, Goes::Slowly));
        let sweep = report.sweep.unwrap();
        assert_eq!(
            sweep.steps.iter().map(|step| step.rate).collect::<Vec<_>>(),
            [100.0, 200.0, 300.0, 400.0, 500.0]
        );
        assert_eq!((sweep.knee, report.intended_rate), (Some(300.0), Some(300.0)));
    }
}
