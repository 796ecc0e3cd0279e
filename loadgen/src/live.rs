//! The line that is redrawn while a run is under way, where standard error is a terminal: rate, messages in flight,
//! p99 of the last second, errors, time left.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::plan::{Amount, Pacing, Plan};
use crate::report::units::{count, rate, time};
use crate::run::{Moment, Summary, Watcher};

/// The line.
pub struct Live {
    bar: ProgressBar,
    /// What is run, in words.
    what: String,
    connections: u64,
    amount: Amount,
    measured_since: Option<Instant>,
    accepted: u64,
    errors: u64,
    /// The second before; none in the first.
    last: Option<Summary>,
}

/// Whether the line is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// Where there is a terminal.
    OnTerminals,
    /// Nowhere (`--quiet`).
    Never,
}

impl Live {
    /// A line for a run at a pace; `prefix` says which of several it is.
    pub fn new(plan: &Plan, pace: Pacing, prefix: &str, show: Show) -> Live {
        let target = match show {
            Show::OnTerminals => ProgressDrawTarget::stderr(),
            Show::Never => ProgressDrawTarget::hidden(),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg}").expect("a constant template"));
        bar.enable_steady_tick(Duration::from_millis(250));
        let what = match pace {
            Pacing::Closed => format!("{prefix}closed loop"),
            Pacing::Open(open) => format!("{prefix}open loop {}", rate(open.rate)),
        };
        Live {
            bar,
            what,
            connections: plan.connections as u64,
            amount: plan.amount,
            measured_since: None,
            accepted: 0,
            errors: 0,
            last: None,
        }
    }

    fn draw(&self) {
        let Some(last) = self.last else {
            return self.bar.set_message(format!("{}: begun", self.what));
        };
        let left = match (self.amount, self.measured_since) {
            (_, None) => "warming up".into(),
            (Amount::Messages(messages), Some(_)) => {
                let ended = self.accepted + self.errors;
                format!("{} of {} messages left", count(messages.saturating_sub(ended)), count(messages))
            }
            (Amount::Time { measured, .. }, Some(since)) => match measured.checked_sub(since.elapsed()) {
                Some(left) => format!("{:.0} s left", left.as_secs_f64().ceil()),
                None => "waiting for the last replies".into(),
            },
        };
        self.bar.set_message(format!(
            "{}: {}/s, {} in flight, p99 {}, {} errors, {left}",
            self.what,
            count(last.accepted),
            count(last.in_flight),
            time(last.p99 as f64 / 1e3),
            count(self.errors),
        ));
    }
}

impl Watcher for Live {
    fn moment(&mut self, moment: Moment<'_>) {
        match moment {
            Moment::Opening(tried) => {
                self.bar.set_message(format!("{}: {tried} of {} connections", self.what, self.connections));
                return;
            }
            Moment::Second(number, _, summary) => {
                self.last = Some(summary);
                if number.is_some() {
                    let begun = Instant::now().checked_sub(Duration::from_secs(1));
                    self.measured_since = self.measured_since.or(begun);
                    self.accepted += summary.accepted;
                    self.errors += summary.errors;
                }
            }
            Moment::Tick => {}
        }
        self.draw();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
