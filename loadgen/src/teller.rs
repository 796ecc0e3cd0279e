//! Who is told how a run is going: the live line, and the log of histograms.

use crate::live::Live;
use crate::output::Hdr;
use crate::plan::{Pacing, Plan};
use crate::run::{Moment, Watcher};

pub use crate::live::Show;

/// Passes on what a run says.
pub struct Teller<'a> {
    live: Live,
    hdr: Option<&'a mut Hdr>,
}

impl<'a> Teller<'a> {
    /// For one run; `prefix` says which of several it is.
    pub fn new(plan: &Plan, pace: Pacing, prefix: &str, show: Show, hdr: Option<&'a mut Hdr>) -> Teller<'a> {
        Teller { live: Live::new(plan, pace, prefix, show), hdr }
    }
}

impl Watcher for Teller<'_> {
    fn moment(&mut self, moment: Moment<'_>) {
        if let (Moment::Second(Some(number), second, _), Some(hdr)) = (&moment, &mut self.hdr) {
            hdr.second(*number, second);
        }
        self.live.moment(moment);
    }
}
