//! One room's life as the parent sees it, and how long each part of it may last.

use crate::{
    supervisor::process::ProcessName,
    time::{Moment, Span},
};

/// A room reports at least once a second; one that has been silent for so long hangs.
pub(super) const PROGRESS: Span = Span::from_ms(20_000);
/// A room that is not ready by then hangs.
const START_UP: Span = Span::from_ms(120_000);
/// TensorRT builds an engine for minutes on a Jetson.
const START_UP_INFER: Span = Span::from_ms(15 * 60_000);
/// After so long a time of work, an old failure no longer counts.
const HEALTHY: Span = Span::from_ms(60_000);
const BACKOFF_MIN: Span = Span::from_ms(500);
const BACKOFF_MAX: Span = Span::from_ms(30_000);

/// Where a room is in its life.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Phase {
    /// Not there; its next life begins then.
    Waiting { until: Moment },
    /// There, but not ready.
    Starting { since: Moment },
    /// Ready, and last heard of then.
    Working { since: Moment, heard: Moment },
    /// Asked to end, or killed; killed, or killed again, at `by`.
    Ending { by: Moment, planned: bool },
    /// Not there, and not to come back.
    Gone,
}

/// What the parent remembers of a room.
#[derive(Debug)]
pub(super) struct WorkerState {
    pub(super) phase: Phase,
    /// Counts its processes; what an earlier one said no longer matters.
    pub(super) life: u32,
    failures: u32,
    /// Since when it has not worked, for the line that says that it is back.
    pub(super) lost: Option<Moment>,
    /// In its first life after a change of the configuration: if it refuses, the change is at fault.
    pub(super) on_trial: bool,
}

impl WorkerState {
    pub(super) fn new() -> Self {
        Self { phase: Phase::Gone, life: 0, failures: 0, lost: None, on_trial: false }
    }

    pub(super) fn works(&self) -> bool {
        matches!(self.phase, Phase::Working { .. })
    }

    /// When something must be done about it if nothing is heard of it.
    pub(super) fn due(&self, name: ProcessName) -> Option<Moment> {
        match self.phase {
            Phase::Waiting { until } => Some(until),
            Phase::Starting { since } => Some(since + start_up(name)),
            Phase::Working { heard, .. } => Some(heard + PROGRESS),
            Phase::Ending { by, .. } => Some(by),
            Phase::Gone => None,
        }
    }

    /// For how long it may be silent now.
    pub(super) fn limit(&self, name: ProcessName) -> Span {
        if self.works() { PROGRESS } else { start_up(name) }
    }

    /// Forgets its failures: what it did wrong was another configuration's doing.
    pub(super) fn forgive(&mut self, on_trial: bool) {
        self.failures = 0;
        self.on_trial = on_trial;
    }

    /// It ended by itself or was killed. Returns how long its next life has to wait; `chance` (0 to 1) jitters it.
    pub(super) fn fail(&mut self, now: Moment, chance: f64) -> Span {
        if matches!(self.phase, Phase::Working { since, .. } if HEALTHY <= now - since) {
            self.failures = 0;
        }
        let wait = backoff(self.failures, chance);
        self.failures = self.failures.saturating_add(1);
        self.on_trial = false;
        self.phase = Phase::Waiting { until: now + wait };
        self.lost.get_or_insert(now);
        wait
    }
}

fn start_up(name: ProcessName) -> Span {
    if name == ProcessName::Infer { START_UP_INFER } else { START_UP }
}

/// Doubles with every failure; half of it to all of it is chosen by `chance`, so that rooms that died together do
/// not come back together for ever.
fn backoff(failures: u32, chance: f64) -> Span {
    let whole = Span(BACKOFF_MIN.0 << failures.min(16)).min(BACKOFF_MAX);
    Span::from_secs_f64(whole.as_secs_f64() * (0.5 + 0.5 * chance))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_half_a_minute_and_a_minute_of_work_resets_it() {
        let mut room = WorkerState::new();
        let mut now = Moment(0);
        let waits: Vec<_> = (0..9).map(|_| room.fail(now, 1.0).as_ms()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000, 30_000]);
        assert_eq!(room.fail(now, 0.0).as_ms(), 15_000);

        room.phase = Phase::Working { since: now, heard: now };
        now += HEALTHY - Span(1);
        assert_eq!(room.fail(now, 1.0).as_ms(), 30_000);
        room.phase = Phase::Working { since: now, heard: now };
        now += HEALTHY;
        assert_eq!(room.fail(now, 1.0).as_ms(), 500);
        assert_eq!(room.lost, Some(Moment(0)));
    }
}
