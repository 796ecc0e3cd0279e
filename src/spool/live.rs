//! Which batches of the log still hold unsettled messages, and so where the log's head is. Memory only.

use std::collections::VecDeque;

use super::Place;
use super::header::Position;
use super::record::IdRange;
use crate::QueueId;

/// The batches from the head on that hold messages, in log order. The first has an unsettled one.
#[derive(Default)]
pub(super) struct Live(VecDeque<LiveBatch>);

struct LiveBatch {
    position: Position,
    unsettled: u32,
}

impl Live {
    /// A batch came to the end of the log, with so many unsettled messages.
    pub fn push(&mut self, position: Position, unsettled: u32) {
        debug_assert!(self.0.back().is_none_or(|last| last.position < position));
        if unsettled > 0 {
            self.0.push_back(LiveBatch { position, unsettled });
        }
    }

    /// A message of one of the batches was settled.
    pub fn settle(&mut self, place: &Place) {
        let position = place.position();
        let behind = self.0.partition_point(|batch| batch.position <= position);
        let batch = behind.checked_sub(1).and_then(|index| self.0.get_mut(index));
        let batch = batch.expect("a place is settled once, and its batch is live until then");
        assert!(batch.unsettled > 0, "{place:?} was settled before");
        batch.unsettled -= 1;
        while self.0.front().is_some_and(|batch| batch.unsettled == 0) {
            self.0.pop_front();
        }
    }

    /// The oldest batch with an unsettled message.
    pub fn head(&self) -> Option<Position> {
        self.0.front().map(|batch| batch.position)
    }
}

/// Settled ids that the log does not know yet.
#[derive(Default)]
pub(super) struct Settles {
    ranges: Vec<IdRange>,
    /// When the loop first saw them wait.
    since_ms: Option<u64>,
}

impl Settles {
    pub fn push(&mut self, id: QueueId) {
        match self.ranges.last_mut() {
            Some(range) if range.run == id.run && range.last + 1 == id.counter => range.last = id.counter,
            _ => self.ranges.push(IdRange { run: id.run, first: id.counter, last: id.counter }),
        }
    }

    /// The time since which there have been any, which begins with the first call that finds some.
    pub fn since_ms(&mut self, now_ms: u64) -> Option<u64> {
        if !self.ranges.is_empty() && self.since_ms.is_none() {
            self.since_ms = Some(now_ms);
        }
        self.since_ms
    }

    /// Has the time begin although there are none.
    pub fn notice(&mut self, now_ms: u64) {
        self.since_ms.get_or_insert(now_ms);
    }

    /// The time since which there have been any, as far as it was noticed.
    pub fn noticed_ms(&self) -> Option<u64> {
        self.since_ms
    }

    pub fn ranges(&self) -> &[IdRange] {
        &self.ranges
    }

    pub fn take(&mut self) -> Vec<IdRange> {
        self.since_ms = None;
        std::mem::take(&mut self.ranges)
    }

    /// Takes back what did not reach the log.
    pub fn keep(&mut self, ranges: Vec<IdRange>) {
        let newer = std::mem::replace(&mut self.ranges, ranges);
        self.ranges.extend(newer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(segment: u64, offset: u64) -> Place {
        Place { segment, offset, octets: 10 }
    }

    #[test]
    fn the_head_is_the_oldest_batch_with_an_unsettled_message() {
        let at = |segment, offset| Position { segment, offset };
        let mut live = Live::default();
        live.push(at(1, 0), 2);
        live.push(at(1, 4096), 0);
        live.push(at(1, 8192), 1);
        live.push(at(2, 0), 1);
        assert_eq!(live.head(), Some(at(1, 0)));
        live.settle(&place(1, 8192 + 96));
        live.settle(&place(1, 96));
        assert_eq!(live.head(), Some(at(1, 0)), "one of two is not all");
        live.settle(&place(1, 200));
        assert_eq!(live.head(), Some(at(2, 0)), "the one between was settled before");
        live.settle(&place(2, 96));
        assert_eq!(live.head(), None);
    }

    #[test]
    #[should_panic(expected = "settled before")]
    fn settling_more_than_there_was_is_a_bug() {
        let mut live = Live::default();
        live.push(Position { segment: 1, offset: 0 }, 1);
        live.push(Position { segment: 2, offset: 0 }, 1);
        live.settle(&place(2, 96));
        live.settle(&place(2, 96));
    }

    #[test]
    fn ids_that_follow_each_other_are_one_range() {
        let mut settles = Settles::default();
        assert_eq!(settles.since_ms(1), None);
        for (run, counter) in [(7, 1), (7, 2), (7, 3), (7, 5), (8, 6)] {
            settles.push(QueueId { run, counter });
        }
        assert_eq!((settles.since_ms(5), settles.since_ms(9)), (Some(5), Some(5)));
        let taken = settles.take();
        let range = |run, first, last| IdRange { run, first, last };
        assert_eq!(taken, [range(7, 1, 3), range(7, 5, 5), range(8, 6, 6)]);
        settles.push(QueueId { run: 8, counter: 7 });
        settles.keep(taken);
        assert_eq!(settles.ranges().len(), 4);
    }
}
