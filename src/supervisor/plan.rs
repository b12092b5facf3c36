//! The state machine of the parent: events in, actions out, and the time is an argument.
//!
//! Nothing here touches a process or a socket, so that tests can run hours of failures on a clock that they set.

mod status;
mod worker_state;

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use self::worker_state::{PROGRESS_TIMEOUT, Phase, WorkerState};
use crate::{
    service::notify::Notification,
    time::{Moment, Span},
    wire::{control::Report, process::ProcessName},
};

/// From the order to stop to the kill.
const STOP_TIMEOUT: Span = Span::from_ms(1500);
/// `infer` is told to stop when `ingest` has ended, or after so long: by then `ingest` has its order and sends no more
/// units, even if closing its cameras takes longer.
const LAST_UNITS_TIMEOUT: Span = Span::from_ms(150);
/// `publish` is told to stop when `infer` has ended, or after so long, so that it gets the last readings.
const LAST_READINGS_TIMEOUT: Span = Span::from_ms(300);
/// The parent ends after so long, even if the kernel has not removed every process yet: the promise is two seconds.
const FINISH_TIMEOUT: Span = Span::from_ms(1900);
/// A process, the one upstream of it whose end it waits for when all are stopped, and for how long at most.
const STOP_AFTER: [(ProcessName, ProcessName, Span); 2] = [
    (ProcessName::Infer, ProcessName::Ingest, LAST_UNITS_TIMEOUT),
    (ProcessName::Publish, ProcessName::Infer, LAST_READINGS_TIMEOUT),
];
/// A killed process ends at once, unless it is inside a driver.
const KILL_AGAIN_AFTER: Span = Span::from_ms(5000);
/// `systemctl status` need not show every slot.
const STATUS_INTERVAL: Span = Span::from_ms(10_000);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Event {
    /// The nth start of a process sent a report.
    Report(ProcessName, u32, Report),
    /// The nth start of a process ended, with its exit code or signal.
    Exited(ProcessName, u32, String),
    /// The configuration changed.
    Reloaded {
        /// How many cameras there are now.
        cameras: usize,
        /// The processes that must be restarted.
        restart: Vec<ProcessName>,
        /// Whether this is the return to a configuration that worked.
        revert: bool,
    },
    /// How many cameras are paused.
    Paused(usize),
    /// Stop all processes.
    Stop,
    /// Kill all processes.
    StopAtOnce,
    /// Time passed.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Action {
    /// Start this process for the nth time.
    Start(ProcessName, u32),
    /// Send it `Order::Stop`.
    Stop(ProcessName),
    /// Kill the process.
    Kill(ProcessName),
    /// Notify the service manager.
    Notify(Notification),
    /// The new configuration was refused: return to the one before it.
    Revert,
    /// All processes have ended, or the time to wait for them is over.
    Finish(Outcome),
}

/// Why the daemon ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It was asked to stop.
    Stopped,
    /// A process reported that the configuration or the network is at fault.
    Refused(ProcessName, String),
}

#[derive(Debug)]
enum State {
    Running,
    Stopping {
        since: Moment,
        /// Those that were told to stop.
        told: BTreeSet<ProcessName>,
        killed: bool,
        outcome: Outcome,
    },
    Ended,
}

/// The state of the parent.
#[derive(Debug)]
pub(super) struct Plan {
    workers: BTreeMap<ProcessName, WorkerState>,
    state: State,
    jitter: fastrand::Rng,
    cameras: usize,
    paused: usize,
    /// READY was sent.
    ready: bool,
    /// The newest slot, and when it came.
    slot: Option<(u64, Moment)>,
    slots: u64,
    /// The interval within which WATCHDOG must be sent, and when it is due.
    watchdog: Option<(Span, Moment)>,
    status_due: Moment,
}

impl Plan {
    /// A plan for these processes, and the actions that start them. `watchdog` is the interval of the service manager's
    /// watchdog; `seed` is that of the back-off's jitter.
    pub(super) fn new(
        now: Moment,
        workers: &[ProcessName],
        cameras: usize,
        watchdog: Option<Span>,
        seed: u64,
    ) -> (Self, Vec<Action>) {
        let mut plan = Self {
            workers: workers.iter().map(|name| (*name, WorkerState::new())).collect(),
            state: State::Running,
            jitter: fastrand::Rng::with_seed(seed),
            cameras,
            paused: 0,
            ready: false,
            slot: None,
            slots: 0,
            watchdog: watchdog.map(|every| (every, now)),
            status_due: now,
        };
        let actions = workers.iter().map(|name| plan.start(now, *name)).collect();
        (plan, actions)
    }

    /// The newest slot that `infer` reported.
    pub(super) fn last_slot(&self) -> Option<u64> {
        self.slot.map(|(slot, _)| slot)
    }

    /// Whether READY was sent and the daemon is not stopping.
    pub(super) fn is_ready(&self) -> bool {
        self.ready && matches!(self.state, State::Running)
    }

    /// The actions that follow from an event.
    pub(super) fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Report(name, generation, report) => self.report(now, name, generation, report, &mut actions),
            Event::Exited(name, generation, how) => self.exited(now, name, generation, &how, &mut actions),
            Event::Reloaded { cameras, restart, revert } => {
                self.cameras = cameras;
                for name in restart {
                    self.restart(now, name, self.ready && !revert, &mut actions);
                }
            }
            Event::Paused(paused) => (self.paused, self.status_due) = (paused, now),
            Event::Stop => self.stop(now, Outcome::Stopped, &mut actions),
            Event::StopAtOnce => {
                self.stop(now, Outcome::Stopped, &mut actions);
                self.kill_all(&mut actions);
            }
            Event::Tick => {}
        }
        match self.state {
            State::Running => self.keep_running(now, &mut actions),
            State::Stopping { .. } => self.keep_stopping(now, &mut actions),
            State::Ended => {}
        }
        actions
    }

    /// When the next [`Event::Tick`] is due at the latest.
    pub(super) fn next_deadline(&self, now: Moment) -> Moment {
        let workers = self.workers.iter().filter_map(|(name, worker)| worker.deadline(*name));
        let state = match &self.state {
            State::Stopping { since, told, killed: false, .. } => {
                let waiting = STOP_AFTER.iter().filter(|(name, ..)| !told.contains(name)).map(|(.., timeout)| *timeout);
                Some(*since + waiting.min().unwrap_or(STOP_TIMEOUT))
            }
            State::Stopping { since, .. } => Some(*since + FINISH_TIMEOUT),
            State::Running | State::Ended => None,
        };
        // While nothing is produced only an event can change that, and every event is followed by a tick.
        let watchdog = self.watchdog.filter(|_| self.producing(now)).map(|(_, due)| due);
        workers.chain(state).chain(watchdog).min().unwrap_or(now + PROGRESS_TIMEOUT)
    }

    fn start(&mut self, now: Moment, name: ProcessName) -> Action {
        let generation = self.workers.get_mut(&name).map_or(0, |worker| {
            worker.generation += 1;
            worker.phase = Phase::Starting { since: now };
            worker.generation
        });
        Action::Start(name, generation)
    }

    fn report(&mut self, now: Moment, name: ProcessName, generation: u32, report: Report, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&name).filter(|worker| worker.generation == generation) else { return };
        match report {
            Report::Ready(summary) => {
                if !matches!(worker.phase, Phase::Starting { .. }) {
                    return;
                }
                worker.phase = Phase::Running { since: now, last_report: now };
                worker.on_probation = false;
                match worker.down_since.take() {
                    Some(since) => info!(process = %name, after = %(now - since), "back: {summary}"),
                    None => info!(process = %name, "ready: {summary}"),
                }
                self.status_due = now;
            }
            Report::Progress(number) => {
                if let Phase::Running { last_report, .. } = &mut worker.phase {
                    *last_report = now;
                }
                if name == ProcessName::Infer {
                    self.produced(now, number);
                }
            }
            Report::Refused(reason) if worker.on_probation => {
                error!(process = %name, "the new configuration was refused, the old one stays: {reason}");
                worker.on_probation = false;
                worker.phase = Phase::Stopping { kill_at: now + STOP_TIMEOUT, planned: true };
                actions.push(Action::Revert);
            }
            // Later, what `ingest` and `publish` refuse can be temporary; what `infer` refuses is not.
            Report::Refused(reason) if !self.ready || name == ProcessName::Infer => {
                self.stop(now, Outcome::Refused(name, reason), actions);
            }
            Report::Refused(reason) => error!(process = %name, "refused to work, will be asked again: {reason}"),
            Report::Libraries(_) => {}
        }
    }

    fn produced(&mut self, now: Moment, slot: u64) {
        let newer = self.slot.map_or(0 < slot, |(last, _)| last < slot);
        if newer {
            self.slots += self.slot.map_or(1, |(last, _)| slot - last);
            self.slot = Some((slot, now));
        }
    }

    fn exited(&mut self, now: Moment, name: ProcessName, generation: u32, how: &str, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&name).filter(|worker| worker.generation == generation) else { return };
        if !matches!(self.state, State::Running) {
            worker.phase = Phase::Stopped;
            return;
        }
        self.status_due = now;
        if let Phase::Stopping { planned: true, .. } = worker.phase {
            actions.push(self.start(now, name));
            return;
        }
        let delay = worker.fail(now, self.jitter.f64());
        warn!(process = %name, %how, "ended by itself; starting it again in {delay}");
    }

    /// Restarts a process because its part of the configuration changed.
    fn restart(&mut self, now: Moment, name: ProcessName, on_probation: bool, actions: &mut Vec<Action>) {
        let Some(worker) = self.workers.get_mut(&name) else { return };
        if !matches!(self.state, State::Running) {
            return;
        }
        worker.reset_failures(on_probation);
        match worker.phase {
            Phase::Starting { .. } | Phase::Running { .. } => {
                worker.phase = Phase::Stopping { kill_at: now + STOP_TIMEOUT, planned: true };
                actions.push(Action::Stop(name));
            }
            Phase::Stopping { kill_at, .. } => worker.phase = Phase::Stopping { kill_at, planned: true },
            Phase::Waiting { .. } | Phase::Stopped => actions.push(self.start(now, name)),
        }
    }

    fn keep_running(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut to_start = Vec::new();
        for (name, worker) in &mut self.workers {
            if worker.deadline(*name).is_none_or(|deadline| now < deadline) {
                continue;
            }
            match worker.phase {
                Phase::Waiting { .. } => to_start.push(*name),
                Phase::Starting { .. } | Phase::Running { .. } => {
                    error!(process = %name, "no progress for {}: killed", worker.timeout(*name));
                    worker.phase = Phase::Stopping { kill_at: now + KILL_AGAIN_AFTER, planned: false };
                    actions.push(Action::Kill(*name));
                }
                Phase::Stopping { planned, .. } => {
                    worker.phase = Phase::Stopping { kill_at: now + KILL_AGAIN_AFTER, planned };
                    actions.push(Action::Kill(*name));
                }
                Phase::Stopped => {}
            }
        }
        for name in to_start {
            actions.push(self.start(now, name));
        }
        let all_run = self.workers.values().all(WorkerState::is_running);
        if all_run && !self.ready {
            self.ready = true;
            actions.push(Action::Notify(Notification::Ready));
        }
        if self.ready && self.status_due <= now {
            self.status_due = now + STATUS_INTERVAL;
            actions.push(Action::Notify(Notification::Status(status::line(
                self.cameras,
                self.paused,
                self.slots,
                &self.workers,
            ))));
        }
        if let Some((every, due)) = self.watchdog
            && due <= now
            && self.producing(now)
        {
            // Three times in the interval, so that one late turn causes no restart.
            self.watchdog = Some((every, now + Span(every.0 / 3)));
            actions.push(Action::Notify(Notification::Watchdog));
        }
    }

    /// Whether slots are produced, which is what WATCHDOG reports. An `infer` that was restarted with a changed
    /// configuration has its time to start, because an engine may have to be built for a new network.
    fn producing(&self, now: Moment) -> bool {
        let is_recent = |since: Moment| now - since < PROGRESS_TIMEOUT;
        let infer_on_trial = self.workers.get(&ProcessName::Infer).is_some_and(|worker| worker.on_probation);
        let workers = self.workers.values().all(|worker| match worker.phase {
            Phase::Running { last_report, .. } => is_recent(last_report),
            _ => worker.on_probation,
        });
        self.ready && workers && (infer_on_trial || self.slot.is_some_and(|(_, since)| is_recent(since)))
    }

    fn stop(&mut self, now: Moment, outcome: Outcome, actions: &mut Vec<Action>) {
        if !matches!(self.state, State::Running) {
            return;
        }
        self.state = State::Stopping { since: now, told: BTreeSet::new(), killed: false, outcome };
        actions.push(Action::Notify(Notification::Stopping));
        for (name, worker) in &mut self.workers {
            match worker.phase {
                Phase::Waiting { .. } => worker.phase = Phase::Stopped,
                Phase::Stopped => {}
                _ if *name == ProcessName::Ingest => actions.push(Action::Stop(*name)),
                _ => {}
            }
        }
    }

    fn keep_stopping(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let has_stopped =
            |name| self.workers.get(&name).is_none_or(|worker: &WorkerState| worker.phase == Phase::Stopped);
        let all_stopped = self.workers.values().all(|worker| worker.phase == Phase::Stopped);
        let State::Stopping { since, told, killed, outcome } = &mut self.state else { return };
        let elapsed = now - *since;
        if all_stopped || FINISH_TIMEOUT <= elapsed {
            actions.push(Action::Finish(outcome.clone()));
            self.state = State::Ended;
            return;
        }
        for (name, upstream, timeout) in STOP_AFTER {
            if (has_stopped(upstream) || timeout <= elapsed) && told.insert(name) && !has_stopped(name) {
                actions.push(Action::Stop(name));
            }
        }
        if !*killed && STOP_TIMEOUT <= elapsed {
            warn!("not all processes ended within {STOP_TIMEOUT}: killed");
            self.kill_all(actions);
        }
    }

    fn kill_all(&mut self, actions: &mut Vec<Action>) {
        let running = self.workers.iter().filter(|(_, worker)| worker.phase != Phase::Stopped);
        actions.extend(running.map(|(name, _)| Action::Kill(*name)));
        if let State::Stopping { killed, told, .. } = &mut self.state {
            *killed = true;
            told.extend(ProcessName::ALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProcessName::{Infer, Ingest, Publish};

    const ALL: [ProcessName; 3] = [Ingest, Infer, Publish];

    /// A plan on a set clock; the events of a test are given to it one by one.
    struct Scenario {
        plan: Plan,
        now: Moment,
    }

    impl Scenario {
        fn start() -> Self {
            let now = Moment(0) + Span::from_ms(1_000_000);
            let (plan, actions) = Plan::new(now, &ALL, 2, Some(Span::from_ms(60_000)), 7);
            assert_eq!(actions, ALL.map(|name| Action::Start(name, 1)));
            Self { plan, now }
        }

        fn ready() -> Self {
            let mut scenario = Self::start();
            for name in [Publish, Ingest] {
                assert_eq!(scenario.report(name, 1, Report::Ready(String::new())), []);
            }
            let status = Action::Notify(Notification::Status("2 cameras, 0 slots".into()));
            assert_eq!(
                scenario.report(Infer, 1, Report::Ready(String::new())),
                [Action::Notify(Notification::Ready), status]
            );
            scenario
        }

        fn after_ms(&mut self, ms: i64) -> &mut Self {
            self.now += Span::from_ms(ms);
            self
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            self.plan.step(self.now, event)
        }

        fn report(&mut self, name: ProcessName, generation: u32, report: Report) -> Vec<Action> {
            self.step(Event::Report(name, generation, report))
        }

        fn exit(&mut self, name: ProcessName, generation: u32) -> Vec<Action> {
            self.step(Event::Exited(name, generation, "signal 9".into()))
        }

        fn tick(&mut self) -> Vec<Action> {
            self.step(Event::Tick)
        }

        /// A second passes in which every process reports progress, `infer` that of `slot`. Returns the actions.
        fn second_of_progress(&mut self, slot: u64) -> Vec<Action> {
            self.after_ms(1000);
            ALL.into_iter().flat_map(|name| self.report(name, 1, Report::Progress(slot))).collect()
        }
    }

    fn is_watchdog(action: &Action) -> bool {
        *action == Action::Notify(Notification::Watchdog)
    }

    #[test]
    fn a_process_that_ended_is_restarted_after_a_delay() {
        let mut scenario = Scenario::ready();
        scenario.second_of_progress(1);
        let starting = Action::Notify(Notification::Status("2 cameras, 1 slots; starting: infer".into()));
        assert_eq!(scenario.exit(Infer, 1), [starting]);
        // Late reports of the process that ended are ignored.
        assert_eq!(scenario.report(Infer, 0, Report::Refused("late".into())), []);
        assert_eq!(scenario.after_ms(249).tick(), []);
        assert_eq!(scenario.after_ms(251).tick(), [Action::Start(Infer, 2)]);
        scenario.report(Infer, 2, Report::Ready(String::new()));
        assert_eq!(scenario.plan.last_slot(), Some(1));
    }

    #[test]
    fn a_process_without_reports_is_killed_after_its_timeout() {
        let check = |name: ProcessName, starting: bool, limit_ms: i64| {
            let mut scenario = if starting { Scenario::start() } else { Scenario::ready() };
            for other in ALL.into_iter().filter(|other| *other != name) {
                scenario.report(other, 1, Report::Ready(String::new()));
            }
            let mut actions = Vec::new();
            for _ in 0..limit_ms / 1000 - 1 {
                scenario.after_ms(1000);
                for other in ALL.into_iter().filter(|other| *other != name) {
                    actions.extend(scenario.report(other, 1, Report::Progress(0)));
                }
            }
            assert!(!actions.contains(&Action::Kill(name)), "{name} was killed too early");
            assert_eq!(scenario.plan.next_deadline(scenario.now) - scenario.now, Span::from_ms(1000), "{name}");
            scenario.after_ms(1000);
            assert!(scenario.tick().contains(&Action::Kill(name)), "{name} was not killed");
            // A process inside a driver may have to be killed twice.
            assert!(scenario.after_ms(5000).tick().contains(&Action::Kill(name)));
            scenario.exit(name, 1);
            assert!(scenario.after_ms(500).tick().contains(&Action::Start(name, 2)));
        };
        check(Ingest, false, 20_000);
        check(Infer, false, 20_000);
        check(Publish, false, 20_000);
        check(Ingest, true, 120_000);
        check(Publish, true, 120_000);
        check(Infer, true, 900_000);
    }

    #[test]
    fn the_watchdog_is_notified_only_while_slots_are_produced() {
        let mut scenario = Scenario::ready();
        assert!(!scenario.tick().iter().any(is_watchdog), "no slot was produced yet");
        assert!(scenario.second_of_progress(5).iter().any(is_watchdog));
        // Every third of the interval of a minute.
        let sent = (6..66).filter(|slot| scenario.second_of_progress(*slot).iter().any(is_watchdog)).count();
        assert_eq!(sent, 3);
        // The processes report, but no slot is finished any more.
        let sent = (0..60).filter(|_| scenario.second_of_progress(65).iter().any(is_watchdog)).count();
        assert!(sent <= 1, "sent {sent} times");
        assert!(scenario.second_of_progress(66).iter().any(is_watchdog), "slots are back");
    }

    #[test]
    fn a_refusal_ends_the_daemon_during_the_start_and_one_by_infer_always() {
        let check = |mut scenario: Scenario, name: ProcessName, ends: bool| {
            let actions = scenario.report(name, 1, Report::Refused("no such model".into()));
            assert_eq!(actions.contains(&Action::Notify(Notification::Stopping)), ends, "{name}");
            if ends {
                let mut last = Vec::new();
                for name in ALL {
                    last = scenario.exit(name, 1);
                }
                assert_eq!(last, [Action::Finish(Outcome::Refused(name, "no such model".into()))]);
            }
        };
        check(Scenario::start(), Ingest, true);
        check(Scenario::start(), Infer, true);
        check(Scenario::start(), Publish, true);
        check(Scenario::ready(), Infer, true);
        check(Scenario::ready(), Ingest, false);
        check(Scenario::ready(), Publish, false);
    }

    #[test]
    fn processes_are_stopped_in_the_order_of_the_data() {
        let mut scenario = Scenario::ready();
        assert_eq!(scenario.step(Event::Stop), [Action::Notify(Notification::Stopping), Action::Stop(Ingest)]);
        assert_eq!(scenario.after_ms(40).exit(Ingest, 1), [Action::Stop(Infer)]);
        assert_eq!(scenario.after_ms(40).exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(scenario.exit(Publish, 1), [Action::Finish(Outcome::Stopped)]);
        assert_eq!(scenario.exit(Publish, 1), []);
    }

    #[test]
    fn a_camera_that_closes_slowly_delays_no_reading() {
        let mut scenario = Scenario::ready();
        scenario.step(Event::Stop);
        assert_eq!(scenario.plan.next_deadline(scenario.now) - scenario.now, LAST_UNITS_TIMEOUT);
        assert_eq!(scenario.after_ms(LAST_UNITS_TIMEOUT.as_ms()).tick(), [Action::Stop(Infer)]);
        assert_eq!(scenario.after_ms(40).exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(scenario.exit(Publish, 1), []);
        assert_eq!(scenario.exit(Ingest, 1), [Action::Finish(Outcome::Stopped)]);
    }

    #[test]
    fn a_process_that_does_not_stop_is_killed_within_two_seconds() {
        let mut scenario = Scenario::ready();
        scenario.step(Event::Stop);
        assert_eq!(scenario.after_ms(150).tick(), [Action::Stop(Infer)]);
        assert_eq!(scenario.plan.next_deadline(scenario.now) - scenario.now, Span::from_ms(150));
        assert_eq!(scenario.after_ms(150).tick(), [Action::Stop(Publish)]);
        scenario.exit(Ingest, 1);
        assert_eq!(scenario.plan.next_deadline(scenario.now) - scenario.now, Span::from_ms(1200));
        assert_eq!(scenario.after_ms(1200).tick(), [Action::Kill(Infer), Action::Kill(Publish)]);
        assert_eq!(scenario.after_ms(400).tick(), [Action::Finish(Outcome::Stopped)]);
    }

    #[test]
    fn the_daemon_can_be_stopped_in_every_state() {
        // During the start, while one process waits for its restart.
        let mut scenario = Scenario::start();
        scenario.exit(Ingest, 1);
        assert_eq!(scenario.step(Event::Stop), [Action::Notify(Notification::Stopping), Action::Stop(Infer)]);
        assert_eq!(scenario.exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(scenario.exit(Publish, 1), [Action::Finish(Outcome::Stopped)]);
        // All processes wait for their restart.
        let mut scenario = Scenario::ready();
        for name in ALL {
            scenario.exit(name, 1);
        }
        assert_eq!(
            scenario.step(Event::Stop),
            [Action::Notify(Notification::Stopping), Action::Finish(Outcome::Stopped)]
        );
        // The second request kills.
        let mut scenario = Scenario::ready();
        scenario.step(Event::Stop);
        assert_eq!(scenario.step(Event::StopAtOnce), ALL.map(Action::Kill));
    }

    #[test]
    fn a_process_with_a_new_configuration_restarts_without_delay_and_the_watchdog_is_still_notified() {
        let mut scenario = Scenario::ready();
        scenario.second_of_progress(1);
        let reloaded = Event::Reloaded { cameras: 3, restart: vec![Infer], revert: false };
        assert_eq!(scenario.step(reloaded), [Action::Stop(Infer)]);
        assert!(scenario.exit(Infer, 1).contains(&Action::Start(Infer, 2)));
        let mut sent = 0;
        for _ in 0..300 {
            scenario.after_ms(1000);
            sent += scenario.report(Ingest, 1, Report::Progress(0)).iter().filter(|action| is_watchdog(action)).count();
            scenario.report(Publish, 1, Report::Progress(0));
        }
        assert!(12 <= sent, "sent {sent} times in five minutes");
    }

    #[test]
    fn a_refused_configuration_is_reverted_once() {
        let mut scenario = Scenario::ready();
        scenario.step(Event::Reloaded { cameras: 2, restart: vec![Infer], revert: false });
        scenario.exit(Infer, 1);
        assert_eq!(scenario.report(Infer, 2, Report::Refused("foreign model".into())), [Action::Revert]);
        scenario.step(Event::Reloaded { cameras: 2, restart: vec![Infer], revert: true });
        assert!(scenario.exit(Infer, 2).contains(&Action::Start(Infer, 3)));
        let actions = scenario.report(Infer, 3, Report::Refused("the old one is gone too".into()));
        assert!(actions.contains(&Action::Notify(Notification::Stopping)));
    }
}
