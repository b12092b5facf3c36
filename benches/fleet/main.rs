//! `make fleet`: a thousand boxes' publishers against one real mosquitto, on this machine.
//!
//! Each box is the real `publish` room with its outbox, its MQTT session and its waits, fed with the 64-byte records of
//! one or two cameras every 5 s, on a grid of its own as if it had been started at its own moment. Several processes hold
//! 250 of them each, with their outboxes in memory (tmpfs) where there is any. A subscriber with a session counts every
//! reading by (box, camera, seq). Then the broker is killed, is away for a while, and comes back; meanwhile a stand-in
//! on its port turns callers away and counts them. Nothing here passes or fails, except that a lost reading is a fault.
//!
//! The environment may say `FLEET_BOXES` (1000), `FLEET_SECONDS` (how long each state is measured; 60) and
//! `FLEET_OUTAGE_S` (20).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]
#![allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "times are of minutes, and not negative")]

mod boxes;
mod broker;
mod dashboard;
#[allow(dead_code, reason = "the daemon's bench uses all of it")]
#[path = "../daemon/process.rs"]
mod process;
mod report;
mod storm;
mod tally;

use std::{env, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use boxes::Boxes;
use broker::Broker;
use crossbeam_channel::after;
use dashboard::Dashboard;
use edge_ger::inside::time::{Clock as _, Moment, Span, SystemClock};
use process::Cost;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What stopped the bench. It is only ever shown.
pub(crate) type Fault = Box<dyn std::error::Error>;

/// So many boxes live in one process.
const TOGETHER: usize = 250;
/// After boxes have been started, so long until a state is measured.
const SETTLING: Duration = Duration::from_secs(10);
/// Nobody waits longer than this for an end that must come.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    let words: Vec<_> = env::args().collect();
    let done = raise_descriptors().and_then(|()| match words.get(1..) {
        Some([mode, task]) if mode == boxes::MODE => boxes::serve(task),
        _ => bench(),
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("fleet: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// A box needs about ten descriptors, and many shells allow 1024 in all.
fn raise_descriptors() -> Result<(), Fault> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

fn number(key: &str, default: usize) -> Result<usize, Fault> {
    let Ok(text) = env::var(key) else { return Ok(default) };
    Ok(text.parse().map_err(|_| format!("{key} is \"{text}\", not a whole number"))?)
}

pub(crate) fn pause(length: Duration) {
    // It is only ever disconnected by this machine's end.
    after(length).recv().ok();
}

/// Waits until something is so, looking ten times a second. False if it did not come about in time.
pub(crate) fn until(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let end = SystemClock.now() + Span::from(patience);
    while !is_so() {
        if end < SystemClock.now() {
            return false;
        }
        pause(Duration::from_millis(100));
    }
    true
}

/// What one state of the fleet costs.
pub(crate) struct Measured {
    pub(crate) boxes: usize,
    pub(crate) cameras: usize,
    pub(crate) seconds: f64,
    pub(crate) broker: Cost,
    pub(crate) descriptors: usize,
    /// All publishers together.
    pub(crate) publishers_cpu_s: f64,
    pub(crate) publishers_rss_kb: u64,
    /// By the broker's own count, in a second: packets received and sent, bytes received and sent; with
    /// acknowledgements and all that the dashboard has.
    pub(crate) counters: [f64; 4],
    /// From the end of the window to the dashboard, ms.
    pub(crate) delays_ms: Vec<u64>,
}

struct Bench {
    broker: Broker,
    dashboard: Dashboard,
    boxes: Vec<Boxes>,
    length: Duration,
    folder: PathBuf,
}

fn bench() -> Result<(), Fault> {
    let count = number("FLEET_BOXES", 1000)?.max(1);
    let length = Duration::from_secs(number("FLEET_SECONDS", 60)? as u64);
    let outage = Duration::from_secs(number("FLEET_OUTAGE_S", 20)? as u64);
    let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
    let broker = Broker::start(folder.path())?;
    let dashboard = Dashboard::open(broker.port())?;
    let mut bench = Bench { broker, dashboard, boxes: Vec::new(), length, folder: folder.path().into() };
    report::head(count, length, outage);
    let mut states = vec![bench.measure()];
    for goal in [100, count].into_iter().filter(|goal| *goal <= count).skip(usize::from(count == 100)) {
        eprintln!("fleet: up to {goal} boxes …");
        bench.grow(goal)?;
        states.push(bench.measure());
    }
    report::states(&states);
    report::newcomer(&dashboard::newcomer(bench.broker.port())?);
    let storm = bench.outage(outage)?;
    report::storm(&storm);
    bench.end()
}

impl Bench {
    fn count(&self) -> usize {
        self.boxes.iter().map(Boxes::count).sum()
    }

    fn grow(&mut self, goal: usize) -> Result<(), Fault> {
        while self.count() < goal {
            let more = (goal - self.count()).min(TOGETHER);
            self.boxes.push(Boxes::start(self.broker.port(), self.count(), more, &self.folder)?);
        }
        let admitted = |it: &Self| it.broker.admitted_since(Moment::default()).len();
        // The dashboard and its counter were let in, too.
        if until(PATIENCE, || self.count() + 2 <= admitted(self)) {
            pause(SETTLING);
            return Ok(());
        }
        Err(format!("only {} of {goal} boxes were let in", admitted(self) - 2).into())
    }

    fn publishers(&self) -> (f64, u64) {
        let costs = self.boxes.iter().flat_map(|it| process::tree(it.pid()));
        costs.fold((0.0, 0), |(cpu_s, rss_kb), it| (cpu_s + it.cpu_s, rss_kb + it.rss_kb))
    }

    fn measure(&self) -> Measured {
        let look = || (self.broker.cost(), self.publishers(), self.dashboard.counters(), SystemClock.now());
        let from_ms = SystemClock.wall_ms();
        let (broker, publishers, counters, since) = look();
        pause(self.length);
        let (broker_now, publishers_now, counters_now, now) = look();
        let seconds = (now - since).as_secs_f64();
        Measured {
            boxes: self.count(),
            cameras: (0..self.count()).map(|it| usize::from(boxes::cameras(it))).sum(),
            seconds,
            broker: broker_now.shares_since(Some(&broker), seconds),
            descriptors: self.broker.descriptors(),
            publishers_cpu_s: (publishers_now.0 - publishers.0) / seconds,
            publishers_rss_kb: publishers_now.1,
            counters: std::array::from_fn(|at| (counters_now[at] - counters[at]) / seconds),
            delays_ms: self.dashboard.tally().delays_since(from_ms),
        }
    }

    /// Kills the broker, and brings it back.
    fn outage(&mut self, length: Duration) -> Result<storm::Storm, Fault> {
        eprintln!("fleet: the broker is killed …");
        self.broker.save()?;
        dashboard::set_away(true);
        self.broker.kill();
        let (lost, lost_ms) = (SystemClock.now(), SystemClock.wall_ms());
        let stand_in = broker::StandIn::open(self.broker.port())?;
        pause(length);
        let turned_away = stand_in.close();
        // From here on: the first boxes are faster than the look that finds it awake.
        let (back, back_ms) = (SystemClock.now(), SystemClock.wall_ms());
        self.broker.launch()?;
        dashboard::set_away(false);
        let cost = self.broker.cost();
        let all = self.count();
        let all_are_back = || self.broker.boxes_since(back).len() >= all;
        if !until(PATIENCE, all_are_back) {
            return Err(format!("only {} of {all} boxes came back", self.broker.boxes_since(back).len()).into());
        }
        // Longer than the longest wait, so that the last backlog is drained, too.
        pause(self.length.max(Duration::from_secs(20)));
        let seconds = (SystemClock.now() - back).as_secs_f64();
        let mut attempts: Vec<_> = turned_away;
        attempts.extend(self.broker.attempts_since(back));
        let since = |moments: Vec<Moment>| moments.into_iter().map(|it| (it - lost).as_secs_f64()).collect();
        let tally = self.dashboard.tally();
        Ok(storm::Storm {
            boxes: all,
            outage_s: (back - lost).as_secs_f64(),
            attempts_s: since(attempts),
            returns_s: since(self.broker.boxes_since(back)),
            broker: self.broker.cost().shares_since(Some(&cost), seconds),
            rates: tally.rates_since(lost_ms),
            drained_s: tally.drained_ms(back_ms).map(|it| it as f64 / 1000.0),
        })
    }

    /// Stops feeding, waits for what is still under way, and counts.
    fn end(mut self) -> Result<(), Fault> {
        let mut fed = Vec::new();
        for boxes in &mut self.boxes {
            fed.extend(boxes.quiet()?);
        }
        let arrived = || self.dashboard.tally().missing(&fed).is_empty();
        until(Duration::from_secs(60), arrived);
        let tally = self.dashboard.tally();
        let lost = tally.missing(&fed).len();
        report::sums(&tally, &fed, lost);
        drop(tally);
        let late: Vec<u64> = self.boxes.drain(..).map(Boxes::stop).collect::<Result<Vec<_>, _>>()?.concat();
        report::feeder(late);
        if lost == 0 { Ok(()) } else { Err(format!("{lost} readings did not arrive").into()) }
    }
}

/// A reader of a lock that nobody leaves broken.
pub(crate) fn locked<T>(it: &Arc<std::sync::Mutex<T>>) -> std::sync::MutexGuard<'_, T> {
    it.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
