//! The state of one worker as the parent sees it, and the timeouts of each phase.

use crate::{
    backoff::{Backoff, Delays},
    time::{Moment, Span},
    wire::process::ProcessName,
};

/// A worker reports at least once a second; without a report for so long it is taken to hang.
pub(super) const PROGRESS_TIMEOUT: Span = Span::from_ms(20_000);
/// A worker that is not ready after so long is taken to hang.
const START_TIMEOUT: Span = Span::from_ms(120_000);
/// The same for `infer`: TensorRT takes minutes to build an engine on a Jetson.
const START_TIMEOUT_INFER: Span = Span::from_ms(15 * 60_000);
/// After running for so long, earlier failures no longer count.
const HEALTHY_AFTER: Span = Span::from_ms(60_000);
/// Before a restart; with jitter, so that workers that ended together are not restarted together every time.
const RESTART_DELAYS: Delays = Delays::new(500, 30_000, 0.5);

/// The phase of a worker.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Ended; to be started again at `until`.
    Waiting { until: Moment },
    /// Started, but not ready.
    Starting { since: Moment },
    /// Ready.
    Running { since: Moment, last_report: Moment },
    /// Told to stop, or killed; to be killed, or killed again, at `kill_at`. `planned` where it is to be restarted at
    /// once, with another configuration.
    Stopping { kill_at: Moment, planned: bool },
    /// Ended, and not to be restarted.
    Stopped,
}

/// What the parent knows of a worker.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) phase: Phase,
    /// Counts its starts, so that late events of an earlier process are recognised.
    pub(super) generation: u32,
    backoff: Backoff,
    /// Since when it has not run, for the log line when it is back.
    pub(super) down_since: Option<Moment>,
    /// Whether it has not been ready since the configuration changed: if it refuses, the change is at fault.
    pub(super) on_probation: bool,
}

impl WorkerState {
    pub(super) fn new() -> Self {
        Self {
            phase: Phase::Stopped,
            generation: 0,
            backoff: Backoff::default(),
            down_since: None,
            on_probation: false,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. })
    }

    /// When it must be started or killed if it sends no report before.
    pub(super) fn deadline(&self, name: ProcessName) -> Option<Moment> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Starting { since } => Some(since + start_timeout(name)),
            Phase::Running { last_report, .. } => Some(last_report + PROGRESS_TIMEOUT),
            Phase::Stopping { kill_at, .. } => Some(kill_at),
            Phase::Stopped => None,
        }
    }

    /// How long it may be without a report in its present phase.
    pub(super) fn timeout(&self, name: ProcessName) -> Span {
        if self.is_running() { PROGRESS_TIMEOUT } else { start_timeout(name) }
    }

    /// Clears its failures, which were those of an earlier configuration.
    pub(super) fn reset_failures(&mut self, on_probation: bool) {
        self.backoff.reset();
        self.on_probation = on_probation;
    }

    /// Records an unplanned end. Returns the delay of the restart; `jitter` is 0 to 1.
    pub(super) fn fail(&mut self, now: Moment, jitter: f64) -> Span {
        if matches!(self.phase, Phase::Running { since, .. } if HEALTHY_AFTER <= now - since) {
            self.backoff.reset();
        }
        let delay = self.backoff.next(RESTART_DELAYS, jitter);
        self.on_probation = false;
        self.phase = Phase::Waiting { until: now + delay };
        self.down_since.get_or_insert(now);
        delay
    }
}

fn start_timeout(name: ProcessName) -> Span {
    if name == ProcessName::Infer { START_TIMEOUT_INFER } else { START_TIMEOUT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_delay_doubles_up_to_half_a_minute_and_is_reset_after_a_minute_of_running() {
        let mut worker = WorkerState::new();
        let mut now = Moment(0);
        let delays: Vec<_> = (0..9).map(|_| worker.fail(now, 1.0).as_ms()).collect();
        assert_eq!(delays, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(worker.fail(now, 0.0).as_ms(), 15_000);

        worker.phase = Phase::Running { since: now, last_report: now };
        now += HEALTHY_AFTER - Span(1);
        assert_eq!(worker.fail(now, 1.0).as_ms(), 30_000);
        worker.phase = Phase::Running { since: now, last_report: now };
        now += HEALTHY_AFTER;
        assert_eq!(worker.fail(now, 1.0).as_ms(), 500);
        assert_eq!(worker.down_since, Some(Moment(0)));
    }
}
