//! The parent process: starts the three workers, watches them, restarts those that end, and stops them. It handles no
//! media.
//!
//! What to do is decided in [`plan`], a state machine without processes or sockets. [`worker_config`] makes the
//! configuration of each worker, [`change`] compares two configurations, [`worker`] starts and ends a process and
//! [`links`] makes the sockets between them. [`process`] is what runs inside of a worker. [`pause`] decides which cameras
//! are paused, and [`paused_cameras`] applies it.

mod change;
mod links;
mod pause;
mod paused_cameras;
mod plan;
pub(crate) mod process;
mod records;
mod request;
pub(crate) mod worker;
pub(crate) mod worker_config;

use std::{collections::BTreeMap, fmt, io, ops::ControlFlow, os::fd::OwnedFd, sync::Arc};

use crossbeam_channel::{Receiver, Sender, bounded, never, select};
use tracing::{debug, error, info, warn};

pub(crate) use self::request::DryRunRequest;
use self::{
    links::{Links, Side},
    paused_cameras::PausedCameras,
    plan::{Action, Event, Outcome, Plan},
    worker::{Program, Worker},
    worker_config::{ModelFacts, ResolvedConfig, RunFacts},
};
use crate::{
    config::{Config, file::secrets::Unusable},
    service::{
        Exit,
        notify::{self, Notification},
        signals::Signal,
    },
    time::{Clock, Span},
    wire::{
        control::{Libraries, Order, Report},
        process::ProcessName,
        record::Record,
    },
};

/// How many events may wait for the parent. Workers report once a second; when the queue is full, they wait.
const EVENTS_MAX: usize = 256;

/// Where the records of `infer` go.
pub(crate) enum Sink {
    /// To the process `publish`.
    Publish,
    /// To this function, called on the thread that called [`run`]; `publish` is not started. On
    /// [`ControlFlow::Break`] everything is stopped.
    Here(Box<dyn FnMut(DryRunEvent) -> ControlFlow<()>>),
}

/// What a dry run receives from `infer`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum DryRunEvent {
    /// A record.
    Record(Record),
    /// The versions of the libraries in use.
    Libraries(Libraries),
}

/// Reads the configuration, and the facts of the network that it names, again. The error is shown as it is.
pub(crate) type Reload = Box<dyn FnMut() -> Result<(Config, ModelFacts), String>>;

/// How to run.
pub(crate) struct Options {
    /// Where the records go.
    pub sink: Sink,
    /// The executable of the workers.
    pub program: Program,
    /// The signals that the process received.
    pub signals: Receiver<Signal>,
    /// Requests of a dry run; when the sender is dropped, everything is stopped. `never` in the daemon.
    pub asks: Receiver<DryRunRequest>,
    /// Called on SIGHUP.
    pub reload: Reload,
    /// The clock of every deadline.
    pub clock: Arc<dyn Clock>,
}

/// Why the daemon ended without being asked to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// All files named by the configuration that cannot be used.
    #[error("{}", lines(.0))]
    Secrets(Vec<Unusable>),
    /// A worker cannot work, and a restart would not help.
    #[error("{0}: {1}")]
    Refused(ProcessName, String),
    /// An order cannot be serialised.
    #[error("an order cannot be serialised, which is a fault of edge-ger: {0}")]
    Order(#[from] serde_json::Error),
}

impl Error {
    /// The exit code for this error.
    #[must_use]
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Secrets(_) | Self::Refused(..) => Exit::Configuration,
            Self::Order(_) => Exit::Internal,
        }
    }
}

fn lines(faults: &[Unusable]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Runs the workers until a signal or the sink asks to stop.
///
/// # Errors
/// When files that the configuration names cannot be used, or a worker reports that the configuration or the network
/// is at fault. Nothing else ends the daemon.
pub(crate) fn run(config: Config, model: ModelFacts, options: Options) -> Result<(), Error> {
    let config = ResolvedConfig::read(config, model).map_err(Error::Secrets)?;
    let names: &[ProcessName] = match &options.sink {
        Sink::Publish => &ProcessName::ALL,
        Sink::Here(_) => &[ProcessName::Ingest, ProcessName::Infer],
    };
    let clock = options.clock;
    let watchdog = notify::watchdog().map(Span::from);
    let cameras = &config.config.cameras;
    let (plan, first_actions) = Plan::new(clock.now(), names, cameras.len(), watchdog, fastrand::u64(..));
    let (events, received_events) = bounded(EVENTS_MAX);
    let next_camera = cameras.iter().map(|camera| camera.id.0.saturating_add(1)).max().unwrap_or(0);
    let mut parent = Parent {
        plan,
        names,
        config,
        previous_config: None,
        paused_cameras: PausedCameras::default(),
        next_camera,
        boot: fastrand::u32(1..),
        workers: BTreeMap::new(),
        links: Links::default(),
        program: options.program,
        sink: options.sink,
        events,
        records: never(),
        asks: options.asks,
        reload: options.reload,
        clock,
        outcome: None,
    };
    // Before the first camera or microphone is opened.
    parent.check_pauses();
    parent.act(first_actions);
    parent.work(&options.signals, &received_events)
}

struct Parent {
    plan: Plan,
    /// The workers of this run: a dry run has no `publish`.
    names: &'static [ProcessName],
    config: ResolvedConfig,
    /// Restored if a worker refuses the present configuration.
    previous_config: Option<ResolvedConfig>,
    paused_cameras: PausedCameras,
    /// The number of the next camera that is added by a reload.
    next_camera: u16,
    /// Random number of this run of the daemon; part of the identity of a reading.
    boot: u32,
    workers: BTreeMap<ProcessName, Worker>,
    links: Links,
    program: Program,
    sink: Sink,
    events: Sender<Event>,
    /// The records of a dry run.
    records: Receiver<Record>,
    asks: Receiver<DryRunRequest>,
    reload: Reload,
    clock: Arc<dyn Clock>,
    outcome: Option<Outcome>,
}

impl Parent {
    fn work(&mut self, signals: &Receiver<Signal>, events: &Receiver<Event>) -> Result<(), Error> {
        loop {
            if let Some(outcome) = self.outcome.take() {
                return match outcome {
                    Outcome::Stopped => Ok(()),
                    Outcome::Refused(name, reason) => Err(Error::Refused(name, reason)),
                };
            }
            self.check_pauses();
            let now = self.clock.now();
            let (records, asks) = (self.records.clone(), self.asks.clone());
            select! {
                recv(events) -> event => if let Ok(event) = event { self.step(event) },
                recv(signals) -> signal => self.handle_signal(signal.unwrap_or(Signal::StopAtOnce))?,
                recv(asks) -> request => self.handle_request(request.ok()),
                recv(records) -> record => self.handle_record(record.ok()),
                default(self.plan.next_deadline(now).min(self.paused_cameras.next_check).after(now)) => {}
            }
            // All waiting events are handled before the clock is read: if the parent was not scheduled for a while, that
            // time must not be taken for silence of a worker.
            while let Ok(event) = events.try_recv() {
                self.step(event);
            }
            self.step(Event::Tick);
        }
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Exited(name, ..) => {
                self.workers.remove(&name);
                self.links.disconnect(name);
            }
            Event::Report(ProcessName::Infer, _, Report::Libraries(libraries)) => {
                self.deliver(DryRunEvent::Libraries(libraries));
            }
            _ => {}
        }
        let actions = self.plan.step(self.clock.now(), event);
        self.act(actions);
    }

    fn act(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start(name, generation) => self.start(name, generation),
                Action::Stop(name) => self.order(name, &Order::Stop, &[]),
                Action::Kill(name) => {
                    if let Some(worker) = self.workers.get(&name) {
                        worker.kill();
                    }
                }
                Action::Notify(notification) => notify::send(&notification),
                Action::Revert => self.revert(),
                Action::Finish(outcome) => self.outcome = Some(outcome),
            }
        }
    }

    fn start(&mut self, name: ProcessName, generation: u32) {
        if let Err(err) = self.try_start(name, generation) {
            error!(process = %name, %err, "could not be started");
            self.links.disconnect(name);
            self.step(Event::Exited(name, generation, "not started".into()));
        }
    }

    fn try_start(&mut self, name: ProcessName, generation: u32) -> io::Result<()> {
        let ends = self.links.connect(name, |neighbour| self.workers.contains_key(&neighbour))?;
        let mut own = ends.own;
        let is_dry_run = !self.names.contains(&ProcessName::Publish);
        if name == ProcessName::Infer
            && is_dry_run
            && let Some(records) = self.links.take_spare(ProcessName::Publish)
        {
            self.records = records::read(records)?;
        }
        let run = RunFacts { boot: self.boot, last_slot: self.plan.last_slot(), is_dry_run };
        let order = self.config.order(name, run);
        let worker = Worker::start(&self.program, (name, generation), &order, &own, self.events.clone())?;
        // The parent closes its copies, so that the neighbours see the end of this process as the end of the stream.
        own.clear();
        debug!(process = %name, generation, "started");
        self.workers.insert(name, worker);
        for (neighbour, side, end) in ends.neighbours {
            // A neighbour on the upstream side of the link gets a new downstream, and the reverse.
            let order = if side == Side::Upstream { Order::Downstream } else { Order::Upstream };
            self.order(neighbour, &order, &[end]);
        }
        Ok(())
    }

    /// Sends an order; a worker that does not accept it is killed, and so restarted.
    fn order(&self, name: ProcessName, order: &Order, ends: &[OwnedFd]) {
        let Some(worker) = self.workers.get(&name) else { return };
        if let Err(err) = worker.order(order, ends) {
            warn!(process = %name, %err, "accepts no orders: killed");
            worker.kill();
        }
    }

    fn handle_record(&mut self, record: Option<Record>) {
        match record {
            Some(record) => self.deliver(DryRunEvent::Record(record)),
            // `infer` ended; when it is restarted, there is a new socket.
            None => self.records = never(),
        }
    }

    fn deliver(&mut self, event: DryRunEvent) {
        if let Sink::Here(receive) = &mut self.sink
            && receive(event).is_break()
        {
            self.step(Event::Stop);
        }
    }

    fn handle_request(&mut self, request: Option<DryRunRequest>) {
        let Some(order) = request.and_then(DryRunRequest::order) else {
            self.asks = never();
            return self.step(Event::Stop);
        };
        // A process that is being restarted misses the request; the person sees that nothing is counted, and repeats it.
        for name in [ProcessName::Ingest, ProcessName::Infer] {
            self.order(name, &order, &[]);
        }
    }

    fn handle_signal(&mut self, signal: Signal) -> Result<(), Error> {
        match signal {
            Signal::Stop => self.step(Event::Stop),
            Signal::StopAtOnce => self.step(Event::StopAtOnce),
            Signal::Pause => self.pause(true),
            Signal::Resume => self.pause(false),
            Signal::Reload => {
                let is_ready = self.plan.is_ready();
                if is_ready {
                    notify::send(&Notification::Reloading(self.clock.now()));
                }
                self.reload()?;
                if is_ready {
                    notify::send(&Notification::Ready);
                }
            }
        }
        Ok(())
    }

    fn reload(&mut self) -> Result<(), Error> {
        let read = (self.reload)().and_then(|(mut config, model)| {
            let next = change::renumber(&self.config.config, &mut config, self.next_camera);
            let next = next.ok_or("all 65535 camera numbers of this run are used: restart edge-ger")?;
            let config = ResolvedConfig::read(config, model).map_err(|faults| lines(&faults))?;
            Ok((config, next))
        });
        match read {
            Err(faults) => {
                for fault in faults.lines() {
                    error!("{fault}");
                }
                error!("the new configuration has faults, so the old one stays");
                Ok(())
            }
            Ok((config, next)) => {
                if config.config.state_dir != self.config.config.state_dir {
                    warn!("a new state_dir is only used after a restart of edge-ger");
                }
                self.next_camera = next;
                self.adopt(config, false)
            }
        }
    }

    /// Makes this the present configuration: sends orders to the workers that it concerns, and restarts some.
    fn adopt(&mut self, mut config: ResolvedConfig, revert: bool) -> Result<(), Error> {
        self.paused_cameras.update(&mut config, &*self.clock);
        let change = change::between(&self.config, &config, self.names)?;
        let cameras = config.config.cameras.len();
        let restarting: Vec<_> = change.restart.iter().map(|name| name.as_str()).collect();
        info!(cameras, restarting = restarting.join(" "), camera_orders = change.orders.len(), "configuration changed");
        let previous = std::mem::replace(&mut self.config, config);
        self.previous_config = if revert { None } else { Some(previous) };
        for (name, order) in &change.orders {
            self.order(*name, order, &[]);
        }
        self.step(Event::Paused(self.config.paused.len()));
        self.step(Event::Reloaded { cameras, restart: change.restart, revert });
        Ok(())
    }

    fn revert(&mut self) {
        let Some(previous) = self.previous_config.take() else { return };
        if let Err(err) = self.adopt(previous, true) {
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
