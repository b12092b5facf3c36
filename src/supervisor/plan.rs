//! What to do about what happened: events in, actions out, and the time is an argument.
//!
//! Nothing here touches a process or a socket, so that every hour of a bad night can be tested on a set clock.

mod worker_state;

use std::collections::{BTreeMap, BTreeSet};

use tracing::{error, info, warn};

use self::worker_state::{PROGRESS, Phase, WorkerState};
use super::process::ProcessName;
use crate::{
    service::notify::Word,
    time::{Moment, Span},
    wire::control::Report,
};

/// What a room has between the order to stop and the kill.
const STOP: Span = Span::from_ms(1500);
/// How long `infer` waits for an `ingest` that takes its time to let its cameras go: by then it has heard the order, and
/// writes no more to somebody who is about to leave.
const LAST_UNITS: Span = Span::from_ms(150);
/// How long `publish` waits for the last readings of an `infer` that takes its time.
const LAST_READINGS: Span = Span::from_ms(300);
/// All has ended by then, whatever the kernel still has to clear away: the promise is two seconds.
const STOP_AT_LAST: Span = Span::from_ms(1900);
/// Who is asked to stop, once whom it hears is gone or has had so long.
const STOP_AFTER: [(ProcessName, ProcessName, Span); 2] =
    [(ProcessName::Infer, ProcessName::Ingest, LAST_UNITS), (ProcessName::Publish, ProcessName::Infer, LAST_READINGS)];
/// A killed process goes at once, unless it is inside a driver.
const KILL_AGAIN: Span = Span::from_ms(5000);
/// `systemctl status` need not know every slot.
const STATUS_EVERY: Span = Span::from_ms(10_000);

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A room, in its nth life, said something.
    Report(ProcessName, u32, Report),
    /// A room, in its nth life, ended: so.
    Exited(ProcessName, u32, String),
    /// The configuration changed.
    Reloaded {
        /// How many there are now.
        cameras: usize,
        /// The rooms that must begin anew.
        restart: Vec<ProcessName>,
        /// This is the return to a configuration that worked.
        revert: bool,
    },
    /// So many cameras are paused.
    Paused(usize),
    /// Finish.
    Stop,
    /// Finish now.
    StopAtOnce,
    /// Time went by.
    Tick,
}

/// Something to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start this room's nth life.
    Start(ProcessName, u32),
    /// Send it `Order::Stop`.
    Stop(ProcessName),
    /// End its process.
    Kill(ProcessName),
    /// Tell the service manager.
    Say(Word),
    /// The new configuration was refused: return to the one before it.
    Revert,
    /// All rooms have ended, or cannot be waited for.
    End(Ending),
}

/// Why all of it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Somebody asked.
    Stopped,
    /// A room said that the configuration or the network is at fault.
    Refused(ProcessName, String),
}

#[derive(Debug)]
enum Course {
    Running,
    Stopping { since: Moment, asked: BTreeSet<ProcessName>, killed: bool, ending: Ending },
    Ended,
}

/// The state of the parent.
#[derive(Debug)]
pub struct Plan {
    rooms: BTreeMap<ProcessName, WorkerState>,
    course: Course,
    jitter: fastrand::Rng,
    cameras: usize,
    paused: usize,
    /// READY was said.
    ready: bool,
    /// The newest slot, and when it came.
    slot: Option<(u64, Moment)>,
    slots: u64,
    /// How often WATCHDOG must be said, and when it is due.
    watchdog: Option<(Span, Moment)>,
    status_due: Moment,
}

impl Plan {
    /// A plan for these rooms, and the actions that start them. `watchdog` is how often the service manager wants to
    /// hear of us at least; `seed` makes the jitter of the back-off.
    pub fn begin(
        now: Moment,
        rooms: &[ProcessName],
        cameras: usize,
        watchdog: Option<Span>,
        seed: u64,
    ) -> (Self, Vec<Action>) {
        let mut plan = Self {
            rooms: rooms.iter().map(|name| (*name, WorkerState::new())).collect(),
            course: Course::Running,
            jitter: fastrand::Rng::with_seed(seed),
            cameras,
            paused: 0,
            ready: false,
            slot: None,
            slots: 0,
            watchdog: watchdog.map(|every| (every, now)),
            status_due: now,
        };
        let actions = rooms.iter().map(|name| plan.start(now, *name)).collect();
        (plan, actions)
    }

    /// The newest slot that `infer` reported.
    pub fn last_slot(&self) -> Option<u64> {
        self.slot.map(|(slot, _)| slot)
    }

    /// Whether READY was said and the end has not begun.
    pub fn ready(&self) -> bool {
        self.ready && matches!(self.course, Course::Running)
    }

    /// What to do now that this happened.
    pub fn step(&mut self, now: Moment, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        match event {
            Event::Report(name, life, report) => self.report(now, name, life, report, &mut actions),
            Event::Exited(name, life, how) => self.exited(now, name, life, &how, &mut actions),
            Event::Reloaded { cameras, restart, revert } => {
                self.cameras = cameras;
                for name in restart {
                    self.restart(now, name, self.ready && !revert, &mut actions);
                }
            }
            Event::Paused(paused) => (self.paused, self.status_due) = (paused, now),
            Event::Stop => self.stop(now, Ending::Stopped, &mut actions),
            Event::StopAtOnce => {
                self.stop(now, Ending::Stopped, &mut actions);
                self.kill_all(&mut actions);
            }
            Event::Tick => {}
        }
        match self.course {
            Course::Running => self.keep_running(now, &mut actions),
            Course::Stopping { .. } => self.keep_stopping(now, &mut actions),
            Course::Ended => {}
        }
        actions
    }

    /// When the next [`Event::Tick`] is due at the latest.
    pub fn next(&self, now: Moment) -> Moment {
        let rooms = self.rooms.iter().filter_map(|(name, room)| room.due(*name));
        let course = match &self.course {
            Course::Stopping { since, asked, killed: false, .. } => {
                let unasked =
                    STOP_AFTER.iter().filter(|(name, ..)| !asked.contains(name)).map(|(.., patience)| *patience);
                Some(*since + unasked.min().unwrap_or(STOP))
            }
            Course::Stopping { since, .. } => Some(*since + STOP_AT_LAST),
            Course::Running | Course::Ended => None,
        };
        // While nothing is produced only an event can change that, and every event is followed by a look.
        let watchdog = self.watchdog.filter(|_| self.producing(now)).map(|(_, due)| due);
        rooms.chain(course).chain(watchdog).min().unwrap_or(now + PROGRESS)
    }

    fn start(&mut self, now: Moment, name: ProcessName) -> Action {
        let life = self.rooms.get_mut(&name).map_or(0, |room| {
            room.life += 1;
            room.phase = Phase::Starting { since: now };
            room.life
        });
        Action::Start(name, life)
    }

    fn report(&mut self, now: Moment, name: ProcessName, life: u32, report: Report, actions: &mut Vec<Action>) {
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.life == life) else { return };
        match report {
            Report::Ready(words) => {
                if !matches!(room.phase, Phase::Starting { .. }) {
                    return;
                }
                room.phase = Phase::Working { since: now, heard: now };
                room.on_trial = false;
                match room.lost.take() {
                    Some(since) => info!(room = %name, after = %(now - since), "back: {words}"),
                    None => info!(room = %name, "ready: {words}"),
                }
                self.status_due = now;
            }
            Report::Progress(number) => {
                if let Phase::Working { heard, .. } = &mut room.phase {
                    *heard = now;
                }
                if name == ProcessName::Infer {
                    self.produced(now, number);
                }
            }
            Report::Refused(why) if room.on_trial => {
                error!(room = %name, "the new configuration was refused, the old one stays: {why}");
                room.on_trial = false;
                room.phase = Phase::Ending { by: now + STOP, planned: true };
                actions.push(Action::Revert);
            }
            // `infer` alone refuses for reasons that no neighbour can cure.
            Report::Refused(why) if !self.ready || name == ProcessName::Infer => {
                self.stop(now, Ending::Refused(name, why), actions);
            }
            Report::Refused(why) => error!(room = %name, "refused to work, will be asked again: {why}"),
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

    fn exited(&mut self, now: Moment, name: ProcessName, life: u32, how: &str, actions: &mut Vec<Action>) {
        let Some(room) = self.rooms.get_mut(&name).filter(|room| room.life == life) else { return };
        if !matches!(self.course, Course::Running) {
            room.phase = Phase::Gone;
            return;
        }
        self.status_due = now;
        if let Phase::Ending { planned: true, .. } = room.phase {
            actions.push(self.start(now, name));
            return;
        }
        let wait = room.fail(now, self.jitter.f64());
        warn!(room = %name, %how, "ended by itself; starting it again in {wait}");
    }

    /// Lets a room end and begin anew, because its part of the configuration changed.
    fn restart(&mut self, now: Moment, name: ProcessName, on_trial: bool, actions: &mut Vec<Action>) {
        let Some(room) = self.rooms.get_mut(&name) else { return };
        if !matches!(self.course, Course::Running) {
            return;
        }
        room.forgive(on_trial);
        match room.phase {
            Phase::Starting { .. } | Phase::Working { .. } => {
                room.phase = Phase::Ending { by: now + STOP, planned: true };
                actions.push(Action::Stop(name));
            }
            Phase::Ending { by, .. } => room.phase = Phase::Ending { by, planned: true },
            Phase::Waiting { .. } | Phase::Gone => actions.push(self.start(now, name)),
        }
    }

    fn keep_running(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let mut begin = Vec::new();
        for (name, room) in &mut self.rooms {
            if room.due(*name).is_none_or(|due| now < due) {
                continue;
            }
            match room.phase {
                Phase::Waiting { .. } => begin.push(*name),
                Phase::Starting { .. } | Phase::Working { .. } => {
                    error!(room = %name, "no progress for {}: killed", room.limit(*name));
                    room.phase = Phase::Ending { by: now + KILL_AGAIN, planned: false };
                    actions.push(Action::Kill(*name));
                }
                Phase::Ending { planned, .. } => {
                    room.phase = Phase::Ending { by: now + KILL_AGAIN, planned };
                    actions.push(Action::Kill(*name));
                }
                Phase::Gone => {}
            }
        }
        for name in begin {
            actions.push(self.start(now, name));
        }
        let all_work = self.rooms.values().all(WorkerState::works);
        if all_work && !self.ready {
            self.ready = true;
            actions.push(Action::Say(Word::Ready));
        }
        if self.ready && self.status_due <= now {
            self.status_due = now + STATUS_EVERY;
            actions.push(Action::Say(Word::Status(self.status())));
        }
        if let Some((every, due)) = self.watchdog
            && due <= now
            && self.producing(now)
        {
            // Three times as often as asked, so that one late turn is no reason for a restart.
            self.watchdog = Some((every, now + Span(every.0 / 3)));
            actions.push(Action::Say(Word::Watchdog));
        }
    }

    /// Whether slots are produced: what WATCHDOG means. An `infer` that begins anew with a changed configuration
    /// has its time to start, because a new network may have to be built first.
    fn producing(&self, now: Moment) -> bool {
        let fresh = |since: Moment| now - since < PROGRESS;
        let infer_on_trial = self.rooms.get(&ProcessName::Infer).is_some_and(|room| room.on_trial);
        let rooms = self.rooms.values().all(|room| match room.phase {
            Phase::Working { heard, .. } => fresh(heard),
            _ => room.on_trial,
        });
        self.ready && rooms && (infer_on_trial || self.slot.is_some_and(|(_, since)| fresh(since)))
    }

    fn status(&self) -> String {
        let cameras = match self.cameras {
            1 => "1 camera".to_owned(),
            many => format!("{many} cameras"),
        };
        let paused = match self.paused {
            0 => String::new(),
            all if all == self.cameras => ", paused".to_owned(),
            some => format!(", {some} of them paused"),
        };
        let missing: Vec<_> =
            self.rooms.iter().filter(|(_, room)| !room.works()).map(|(name, _)| name.as_str()).collect();
        match missing.as_slice() {
            [] => format!("{cameras}{paused}, {} slots", self.slots),
            missing => format!("{cameras}{paused}, {} slots; starting: {}", self.slots, missing.join(", ")),
        }
    }

    fn stop(&mut self, now: Moment, ending: Ending, actions: &mut Vec<Action>) {
        if !matches!(self.course, Course::Running) {
            return;
        }
        self.course = Course::Stopping { since: now, asked: BTreeSet::new(), killed: false, ending };
        actions.push(Action::Say(Word::Stopping));
        for (name, room) in &mut self.rooms {
            match room.phase {
                Phase::Waiting { .. } => room.phase = Phase::Gone,
                Phase::Gone => {}
                _ if *name == ProcessName::Ingest => actions.push(Action::Stop(*name)),
                _ => {}
            }
        }
    }

    fn keep_stopping(&mut self, now: Moment, actions: &mut Vec<Action>) {
        let gone = |name| self.rooms.get(&name).is_none_or(|room: &WorkerState| room.phase == Phase::Gone);
        let all_gone = self.rooms.values().all(|room| room.phase == Phase::Gone);
        let Course::Stopping { since, asked, killed, ending } = &mut self.course else { return };
        let asked_for = now - *since;
        if all_gone || STOP_AT_LAST <= asked_for {
            actions.push(Action::End(ending.clone()));
            self.course = Course::Ended;
            return;
        }
        for (name, before, patience) in STOP_AFTER {
            if (gone(before) || patience <= asked_for) && asked.insert(name) && !gone(name) {
                actions.push(Action::Stop(name));
            }
        }
        if !*killed && STOP <= asked_for {
            warn!("not all rooms ended within {STOP}: killed");
            self.kill_all(actions);
        }
    }

    fn kill_all(&mut self, actions: &mut Vec<Action>) {
        let left = self.rooms.iter().filter(|(_, room)| room.phase != Phase::Gone);
        actions.extend(left.map(|(name, _)| Action::Kill(*name)));
        if let Course::Stopping { killed, asked, .. } = &mut self.course {
            *killed = true;
            asked.extend(ProcessName::ALL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ProcessName::{Infer, Ingest, Publish};

    const ALL: [ProcessName; 3] = [Ingest, Infer, Publish];

    /// A plan on a set clock; the story of a test is told to it line by line.
    struct Story {
        plan: Plan,
        now: Moment,
    }

    impl Story {
        fn begin() -> Self {
            let now = Moment(0) + Span::from_ms(1_000_000);
            let (plan, actions) = Plan::begin(now, &ALL, 2, Some(Span::from_ms(60_000)), 7);
            assert_eq!(actions, ALL.map(|name| Action::Start(name, 1)));
            Self { plan, now }
        }

        fn ready() -> Self {
            let mut story = Self::begin();
            for name in [Publish, Ingest] {
                assert_eq!(story.hear(name, 1, Report::Ready(String::new())), []);
            }
            let status = Action::Say(Word::Status("2 cameras, 0 slots".into()));
            assert_eq!(story.hear(Infer, 1, Report::Ready(String::new())), [Action::Say(Word::Ready), status]);
            story
        }

        fn after_ms(&mut self, ms: i64) -> &mut Self {
            self.now += Span::from_ms(ms);
            self
        }

        fn step(&mut self, event: Event) -> Vec<Action> {
            self.plan.step(self.now, event)
        }

        fn hear(&mut self, name: ProcessName, life: u32, report: Report) -> Vec<Action> {
            self.step(Event::Report(name, life, report))
        }

        fn exit(&mut self, name: ProcessName, life: u32) -> Vec<Action> {
            self.step(Event::Exited(name, life, "signal 9".into()))
        }

        fn tick(&mut self) -> Vec<Action> {
            self.step(Event::Tick)
        }

        /// Everybody is well for a second, and `infer` produced a slot. Whatever is said meanwhile is returned.
        fn well(&mut self, slot: u64) -> Vec<Action> {
            self.after_ms(1000);
            ALL.into_iter().flat_map(|name| self.hear(name, 1, Report::Progress(slot))).collect()
        }
    }

    fn is_watchdog(action: &Action) -> bool {
        *action == Action::Say(Word::Watchdog)
    }

    #[test]
    fn a_dead_room_comes_back_after_a_wait() {
        let mut story = Story::ready();
        story.well(1);
        let starting = Action::Say(Word::Status("2 cameras, 1 slots; starting: infer".into()));
        assert_eq!(story.exit(Infer, 1), [starting]);
        // What the dead one still had to say no longer counts.
        assert_eq!(story.hear(Infer, 0, Report::Refused("late".into())), []);
        assert_eq!(story.after_ms(249).tick(), []);
        assert_eq!(story.after_ms(251).tick(), [Action::Start(Infer, 2)]);
        story.hear(Infer, 2, Report::Ready(String::new()));
        assert_eq!(story.plan.last_slot(), Some(1));
    }

    #[test]
    fn a_silent_room_is_killed_in_time() {
        let check = |name: ProcessName, starting: bool, limit_ms: i64| {
            let mut story = if starting { Story::begin() } else { Story::ready() };
            for other in ALL.into_iter().filter(|it| *it != name) {
                story.hear(other, 1, Report::Ready(String::new()));
            }
            let mut heard = Vec::new();
            for _ in 0..limit_ms / 1000 - 1 {
                story.after_ms(1000);
                for other in ALL.into_iter().filter(|it| *it != name) {
                    heard.extend(story.hear(other, 1, Report::Progress(0)));
                }
            }
            assert!(!heard.contains(&Action::Kill(name)), "{name} was killed too early");
            assert_eq!(story.plan.next(story.now) - story.now, Span::from_ms(1000), "{name}");
            story.after_ms(1000);
            assert!(story.tick().contains(&Action::Kill(name)), "{name} was not killed");
            // A process inside a driver may need it twice.
            assert!(story.after_ms(5000).tick().contains(&Action::Kill(name)));
            story.exit(name, 1);
            assert!(story.after_ms(500).tick().contains(&Action::Start(name, 2)));
        };
        check(Ingest, false, 20_000);
        check(Infer, false, 20_000);
        check(Publish, false, 20_000);
        check(Ingest, true, 120_000);
        check(Publish, true, 120_000);
        check(Infer, true, 900_000);
    }

    #[test]
    fn the_watchdog_is_fed_by_slots_alone() {
        let mut story = Story::ready();
        assert!(!story.tick().iter().any(is_watchdog), "nothing was produced yet");
        assert!(story.well(5).iter().any(is_watchdog));
        // Every third of the minute that the service manager asked for.
        let fed = (6..66).filter(|slot| story.well(*slot).iter().any(is_watchdog)).count();
        assert_eq!(fed, 3);
        // The rooms turn, but no slot is finished any more.
        let fed = (0..60).filter(|_| story.well(65).iter().any(is_watchdog)).count();
        assert!(fed <= 1, "fed {fed} times");
        assert!(story.well(66).iter().any(is_watchdog), "slots are back");
    }

    #[test]
    fn a_refusal_ends_the_daemon_at_the_start_and_infers_always() {
        let check = |mut story: Story, name: ProcessName, ends: bool| {
            let actions = story.hear(name, 1, Report::Refused("no such model".into()));
            assert_eq!(actions.contains(&Action::Say(Word::Stopping)), ends, "{name}");
            if ends {
                let mut last = Vec::new();
                for name in ALL {
                    last = story.exit(name, 1);
                }
                assert_eq!(last, [Action::End(Ending::Refused(name, "no such model".into()))]);
            }
        };
        check(Story::begin(), Ingest, true);
        check(Story::begin(), Infer, true);
        check(Story::begin(), Publish, true);
        check(Story::ready(), Infer, true);
        check(Story::ready(), Ingest, false);
        check(Story::ready(), Publish, false);
    }

    #[test]
    fn rooms_stop_in_the_order_of_the_data() {
        let mut story = Story::ready();
        assert_eq!(story.step(Event::Stop), [Action::Say(Word::Stopping), Action::Stop(Ingest)]);
        assert_eq!(story.after_ms(40).exit(Ingest, 1), [Action::Stop(Infer)]);
        assert_eq!(story.after_ms(40).exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(story.exit(Publish, 1), [Action::End(Ending::Stopped)]);
        assert_eq!(story.exit(Publish, 1), []);
    }

    #[test]
    fn a_camera_that_does_not_let_go_holds_no_reading_up() {
        let mut story = Story::ready();
        story.step(Event::Stop);
        assert_eq!(story.plan.next(story.now) - story.now, LAST_UNITS);
        assert_eq!(story.after_ms(LAST_UNITS.as_ms()).tick(), [Action::Stop(Infer)]);
        assert_eq!(story.after_ms(40).exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(story.exit(Publish, 1), []);
        assert_eq!(story.exit(Ingest, 1), [Action::End(Ending::Stopped)]);
    }

    #[test]
    fn whoever_does_not_stop_is_killed_within_two_seconds() {
        let mut story = Story::ready();
        story.step(Event::Stop);
        assert_eq!(story.after_ms(150).tick(), [Action::Stop(Infer)]);
        assert_eq!(story.plan.next(story.now) - story.now, Span::from_ms(150));
        assert_eq!(story.after_ms(150).tick(), [Action::Stop(Publish)]);
        story.exit(Ingest, 1);
        assert_eq!(story.plan.next(story.now) - story.now, Span::from_ms(1200));
        assert_eq!(story.after_ms(1200).tick(), [Action::Kill(Infer), Action::Kill(Publish)]);
        assert_eq!(story.after_ms(400).tick(), [Action::End(Ending::Stopped)]);
    }

    #[test]
    fn it_can_be_stopped_in_every_state() {
        // Starting, and one room waits for its next life.
        let mut story = Story::begin();
        story.exit(Ingest, 1);
        assert_eq!(story.step(Event::Stop), [Action::Say(Word::Stopping), Action::Stop(Infer)]);
        assert_eq!(story.exit(Infer, 1), [Action::Stop(Publish)]);
        assert_eq!(story.exit(Publish, 1), [Action::End(Ending::Stopped)]);
        // All rooms wait.
        let mut story = Story::ready();
        for name in ALL {
            story.exit(name, 1);
        }
        assert_eq!(story.step(Event::Stop), [Action::Say(Word::Stopping), Action::End(Ending::Stopped)]);
        // The second time is at once.
        let mut story = Story::ready();
        story.step(Event::Stop);
        assert_eq!(story.step(Event::StopAtOnce), ALL.map(Action::Kill));
    }

    #[test]
    fn a_changed_room_begins_anew_without_a_wait_and_the_watchdog_is_patient() {
        let mut story = Story::ready();
        story.well(1);
        let reloaded = Event::Reloaded { cameras: 3, restart: vec![Infer], revert: false };
        assert_eq!(story.step(reloaded), [Action::Stop(Infer)]);
        assert!(story.exit(Infer, 1).contains(&Action::Start(Infer, 2)));
        let mut fed = 0;
        for _ in 0..300 {
            story.after_ms(1000);
            fed += story.hear(Ingest, 1, Report::Progress(0)).iter().filter(|it| is_watchdog(it)).count();
            story.hear(Publish, 1, Report::Progress(0));
        }
        assert!(12 <= fed, "fed {fed} times in five minutes");
    }

    #[test]
    fn a_refused_change_is_taken_back_once() {
        let mut story = Story::ready();
        story.step(Event::Reloaded { cameras: 2, restart: vec![Infer], revert: false });
        story.exit(Infer, 1);
        assert_eq!(story.hear(Infer, 2, Report::Refused("foreign model".into())), [Action::Revert]);
        story.step(Event::Reloaded { cameras: 2, restart: vec![Infer], revert: true });
        assert!(story.exit(Infer, 2).contains(&Action::Start(Infer, 3)));
        let actions = story.hear(Infer, 3, Report::Refused("the old one is gone too".into()));
        assert!(actions.contains(&Action::Say(Word::Stopping)));
    }
}
