//! The parent: starts the three rooms, watches them, restarts what dies, stops them. It touches no media.
//!
//! What to do is decided in [`plan`], which knows neither processes nor sockets; what a room is told is made in
//! [`begin`] and [`change`]; processes and sockets are in [`child`] and [`joints`]. [`room`] is the other side. Who is
//! paused is decided in [`pause`] and seen to in [`rest`].

pub mod change;
pub mod links;
pub mod pause;
mod paused_cameras;
pub mod plan;
mod records;
mod request;
pub mod worker;
pub mod worker_config;

pub mod process;

use std::{collections::BTreeMap, fmt, io, os::fd::OwnedFd, sync::Arc};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use tracing::{debug, error, info, warn};

pub use self::request::DryRunRequest;
use self::{
    links::{Links, Side},
    paused_cameras::PausedCameras,
    plan::{Action, Ending, Event, Plan},
    process::ProcessName,
    worker::Program,
    worker_config::{ModelFacts, ResolvedConfig, Run},
};
use crate::{
    config::{Config, file::secrets::Unusable},
    service::{
        Exit,
        notify::{self, Word},
        signals::Signal,
    },
    time::{Clock, Span},
    wire::{
        control::{Libraries, Order, Report},
        record::Record,
    },
};

/// Processes report once a second; a parent that does not keep up lets them wait.
const EVENTS: usize = 256;

/// Whether to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// With the next record.
    Continue,
    /// There were enough: stop everything.
    Enough,
}

/// Where records go.
pub enum Sink {
    /// To the room `publish`.
    Publish,
    /// Here: `publish` is not started, and what is heard is handed to this function, on the thread that called [`run`].
    Here(Box<dyn FnMut(Heard) -> Flow>),
}

/// What whoever watches a dry run hears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heard {
    /// A record.
    Record(Record),
    /// What `infer` works with.
    Libraries(Libraries),
}

/// Reads the configuration, and the facts of the network that it names, anew. The error is for people.
pub type Reload = Box<dyn FnMut() -> Result<(Config, ModelFacts), String>>;

/// How to run.
pub struct Options {
    /// Where records go.
    pub sink: Sink,
    /// What is started as a room.
    pub program: Program,
    /// What somebody asks of the process.
    pub signals: Receiver<Signal>,
    /// What whoever watches a dry run asks; its end is the wish to stop. [`never`] where nobody does.
    pub asks: Receiver<DryRunRequest>,
    /// What SIGHUP does.
    pub reload: Reload,
    /// How late it is.
    pub clock: Arc<dyn Clock>,
}

/// Why the daemon ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Files that the configuration names cannot be used: all of them.
    #[error("{}", lines(.0))]
    Secrets(Vec<Unusable>),
    /// A room cannot work, and trying again will not help.
    #[error("{0}: {1}")]
    Refused(ProcessName, String),
    /// An order cannot be written down.
    #[error("an order cannot be written down, which is a fault of edge-ger: {0}")]
    Order(#[from] serde_json::Error),
}

impl Error {
    /// The exit code that tells a script the same.
    #[must_use]
    pub fn exit(&self) -> Exit {
        match self {
            Self::Secrets(_) | Self::Refused(..) => Exit::Configuration,
            Self::Order(_) => Exit::Internal,
        }
    }
}

fn lines(faults: &[Unusable]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs the rooms until somebody asks to stop, or the sink has enough.
///
/// # Errors
/// When files that the configuration names cannot be used, or a room says that the configuration or the network is
/// at fault. Nothing else is a reason to end.
pub fn run(config: Config, model: ModelFacts, options: Options) -> Result<(), Error> {
    let setting = ResolvedConfig::read(config, model).map_err(Error::Secrets)?;
    let rooms: &[ProcessName] = match &options.sink {
        Sink::Publish => &ProcessName::ALL,
        Sink::Here(_) => &[ProcessName::Ingest, ProcessName::Infer],
    };
    let clock = options.clock;
    let watchdog = notify::watchdog().map(Span::from);
    let cameras = setting.config.cameras.len();
    let (plan, begin) = Plan::begin(clock.now(), rooms, cameras, watchdog, fastrand::u64(..));
    let (events, happened) = bounded(EVENTS);
    let next_camera = setting.config.cameras.iter().map(|it| it.id.0.saturating_add(1)).max().unwrap_or(0);
    let mut parent = Parent {
        plan,
        rooms,
        setting,
        before: None,
        rest: PausedCameras::default(),
        next_camera,
        boot: fastrand::u32(1..),
        children: BTreeMap::new(),
        joints: Links::default(),
        program: options.program,
        sink: options.sink,
        events,
        records: never(),
        asks: options.asks,
        reload: options.reload,
        clock,
        ending: None,
    };
    // Before anybody looks or listens.
    parent.look();
    parent.act(begin);
    parent.work(&options.signals, &happened)
}

struct Parent {
    plan: Plan,
    rooms: &'static [ProcessName],
    setting: ResolvedConfig,
    /// What to return to if a room refuses the present setting.
    before: Option<ResolvedConfig>,
    rest: PausedCameras,
    next_camera: u16,
    /// This run of the daemon.
    boot: u32,
    children: BTreeMap<ProcessName, worker::Worker>,
    joints: Links,
    program: Program,
    sink: Sink,
    events: Sender<Event>,
    /// A dry run's records.
    records: Receiver<Record>,
    asks: Receiver<DryRunRequest>,
    reload: Reload,
    clock: Arc<dyn Clock>,
    ending: Option<Ending>,
}

impl Parent {
    fn work(&mut self, signals: &Receiver<Signal>, happened: &Receiver<Event>) -> Result<(), Error> {
        loop {
            if let Some(ending) = self.ending.take() {
                return match ending {
                    Ending::Stopped => Ok(()),
                    Ending::Refused(name, why) => Err(Error::Refused(name, why)),
                };
            }
            self.look();
            let now = self.clock.now();
            let (records, asks) = (self.records.clone(), self.asks.clone());
            select! {
                recv(happened) -> event => event.into_iter().for_each(|it| self.step(it)),
                recv(signals) -> signal => self.signal(signal.unwrap_or(Signal::StopAtOnce))?,
                recv(asks) -> ask => self.ask(ask.ok()),
                recv(records) -> record => self.record(record.ok()),
                default(self.plan.next(now).min(self.rest.look_at).after(now)) => {}
            }
            // All that has happened comes before the look at the clock: a parent that was kept from running must not
            // take its own delay for a room's silence.
            while let Ok(event) = happened.try_recv() {
                self.step(event);
            }
            self.step(Event::Tick);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Exited(name, ..) => {
                self.children.remove(&name);
                self.joints.leave(name);
            }
            Event::Report(ProcessName::Infer, _, Report::Libraries(it)) => self.hear(Heard::Libraries(it)),
            _ => {}
        }
        let actions = self.plan.step(self.clock.now(), event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(name, life) => self.start(name, life),
                Action::Stop(name) => self.order(name, &Order::Stop, &[]),
                Action::Kill(name) => self.children.get(&name).into_iter().for_each(worker::Worker::kill),
                Action::Say(word) => notify::say(&word),
                Action::Revert => self.revert(),
                Action::End(ending) => self.ending = Some(ending),
            }
        }
    }

    fn start(&mut self, name: ProcessName, life: u32) {
        if let Err(err) = self.try_start(name, life) {
            error!(room = %name, %err, "could not be started");
            self.joints.leave(name);
            self.step(Event::Exited(name, life, "never begun".into()));
        }
    }

    fn try_start(&mut self, name: ProcessName, life: u32) -> io::Result<()> {
        let ends = self.joints.enter(name, |it| self.children.contains_key(&it))?;
        let mut own = ends.own;
        if name == ProcessName::Infer
            && !self.rooms.contains(&ProcessName::Publish)
            && let Some(records) = self.joints.take_kept(ProcessName::Publish)
        {
            self.records = records::read(records)?;
        }
        let survey = !self.rooms.contains(&ProcessName::Publish);
        let run = Run { boot: self.boot, last_slot: self.plan.last_slot(), survey };
        let order = self.setting.order(name, run);
        let room = worker::Worker::start(&self.program, (name, life), &order, &own, self.events.clone())?;
        // The parent's copies go, so that a room's end is heard by its neighbours.
        own.clear();
        debug!(room = %name, life, "started");
        self.children.insert(name, room);
        for (neighbour, side, end) in ends.neighbours {
            let order = if side == Side::Before { Order::Downstream } else { Order::Upstream };
            self.order(neighbour, &order, &[end]);
        }
        Ok(())
    }

    /// Sends an order; a room that does not take it cannot be worked with.
    fn order(&self, name: ProcessName, order: &Order, ends: &[OwnedFd]) {
        let Some(room) = self.children.get(&name) else { return };
        if let Err(err) = room.order(order, ends) {
            warn!(room = %name, %err, "takes no orders: killed");
            room.kill();
        }
    }

    fn record(&mut self, record: Option<Record>) {
        match record {
            Some(record) => self.hear(Heard::Record(record)),
            // `infer` ended; its next life brings a new socket.
            None => self.records = never(),
        }
    }

    fn hear(&mut self, heard: Heard) {
        if let Sink::Here(take) = &mut self.sink
            && take(heard) == Flow::Enough
        {
            self.step(Event::Stop);
        }
    }

    fn ask(&mut self, ask: Option<DryRunRequest>) {
        let Some(order) = ask.and_then(DryRunRequest::order) else {
            self.asks = never();
            return self.step(Event::Stop);
        };
        // A room that is away begins without a test; whoever watches sees that no claps are counted, and asks again.
        [ProcessName::Ingest, ProcessName::Infer].into_iter().for_each(|room| self.order(room, &order, &[]));
    }

    fn signal(&mut self, signal: Signal) -> Result<(), Error> {
        match signal {
            Signal::Stop => self.step(Event::Stop),
            Signal::StopAtOnce => self.step(Event::StopAtOnce),
            Signal::Pause => self.pause(true),
            Signal::Resume => self.pause(false),
            Signal::Reload => {
                let told = self.plan.ready();
                if told {
                    notify::say(&Word::Reloading(self.clock.now()));
                }
                self.reload()?;
                if told {
                    notify::say(&Word::Ready);
                }
            }
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Error> {
        let read = (self.reload)().and_then(|(mut config, model)| {
            let next = change::renumber(&self.setting.config, &mut config, self.next_camera);
            let next = next.ok_or("65535 cameras have come and gone: restart edge-ger")?;
            let setting = ResolvedConfig::read(config, model).map_err(|faults| lines(&faults))?;
            Ok((setting, next))
        });
        match read {
            Err(faults) => {
                for fault in faults.lines() {
                    error!("{fault}");
                }
                error!("the new configuration has faults, so the old one stays");
                Ok(())
            }
            Ok((setting, next)) => {
                if setting.config.state_dir != self.setting.config.state_dir {
                    warn!("a new state_dir is only used after a restart of edge-ger");
                }
                self.next_camera = next;
                self.adopt(setting, false)
            }
        }
    }

    /// Goes over to a setting: rooms that it does not concern hear nothing.
    fn adopt(&mut self, mut setting: ResolvedConfig, revert: bool) -> Result<(), Error> {
        self.rest.settle(&mut setting, &*self.clock);
        let change = change::between(&self.setting, &setting, self.rooms)?;
        let cameras = setting.config.cameras.len();
        let words: Vec<_> = change.restart.iter().map(|it| it.as_str()).collect();
        info!(cameras, restarting = words.join(" "), camera_orders = change.orders.len(), "configuration changed");
        let old = std::mem::replace(&mut self.setting, setting);
        self.before = if revert { None } else { Some(old) };
        for (name, order) in &change.orders {
            self.order(*name, order, &[]);
        }
        self.step(Event::Paused(self.setting.paused.len()));
        self.step(Event::Reloaded { cameras, restart: change.restart, revert });
        Ok(())
    }

    fn revert(&mut self) {
        let Some(before) = self.before.take() else { return };
        if let Err(err) = self.adopt(before, true) {
            error!(%err, "could not return to the old configuration");
        }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish => "Publish",
            Self::Here(_) => "Here(…)",
        })
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options").field("sink", &self.sink).field("program", &self.program).finish_non_exhaustive()
    }
}
