//! What came at the broker's port after it was killed, and what would have come without jitter.

use std::collections::BTreeMap;

use edge_ger::inside::{backoff::Backoff, mqtt::FailureKind};

use crate::process::Cost;

/// One outage. Times are seconds after the broker was killed.
pub(crate) struct Storm {
    pub(crate) boxes: usize,
    /// When it was back.
    pub(crate) outage_s: f64,
    /// Every connection that was tried; after the return, those of the subscribers are among them.
    pub(crate) attempts_s: Vec<f64>,
    /// When each box was let in again.
    pub(crate) returns_s: Vec<f64>,
    /// Shares of its time from its return until it was quiet again.
    pub(crate) broker: Cost,
    /// New readings at the dashboard in each second.
    pub(crate) rates: BTreeMap<u64, u64>,
    /// From the broker's return until the last late reading had arrived.
    pub(crate) drained_s: Option<f64>,
}

/// How many fall into each so long step.
pub(crate) fn in_steps(times_s: &[f64], step_s: f64) -> BTreeMap<u64, usize> {
    let mut steps = BTreeMap::new();
    for time_s in times_s {
        *steps.entry((time_s / step_s) as u64).or_default() += 1;
    }
    steps
}

/// When so many boxes with the daemon's own waits would try, if they lost the broker at 0 and it was back at `back_s`.
/// Connecting takes no time here. `random` in 0..1 is the jitter.
pub(crate) fn computed(boxes: usize, back_s: f64, random: impl Fn() -> f64) -> Vec<f64> {
    let mut attempts_s = Vec::new();
    for _ in 0..boxes {
        let mut backoff = Backoff::default();
        let mut at_s = 0.0;
        while at_s < back_s {
            at_s += backoff.next(FailureKind::Away.delays(), random()).as_secs_f64();
            attempts_s.push(at_s);
        }
    }
    attempts_s
}
