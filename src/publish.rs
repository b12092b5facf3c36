//! The third process: keeps readings until the broker has acknowledged them, and sees only 64-byte records.
//!
//! ```text
//! infer ─datagrams─▶ record filter ─records─▶ cameras ─readings─▶ outbox ──────────┐
//!                          │ refused:            │  └─────────────▶ retained topics ┴▶ broker
//!                          ▼ counted             └─▶ history ─▶ status page, metrics
//! ```
//!
//! Four threads: one receives datagrams, the main thread filters and stores them, one talks to the broker, and one
//! serves the status page where it is on. The broker's thread and the main thread share the outbox and the retained
//! topics ([`broker::SharedState`]); the page's thread and the main thread share the history. A reading is on disk
//! before it is sent. `last` and the statuses are retained and only the newest of each matters, so they are kept in
//! memory; which topics they are is on disk ([`topic_registry`]), so that none remains after its camera was removed.

mod broker;
mod cameras;
mod discovery;
mod history;
mod metrics;
pub(crate) mod outbox;
pub(crate) mod page;
pub(crate) mod payload;
pub(crate) mod record_filter;
mod retained;
mod topic_registry;

use std::{io, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvFlags, Shutdown, recv, shutdown},
};
use tracing::{info, warn};

pub(crate) use self::broker::StartError;
use self::{
    broker::{Broker, SharedState},
    cameras::Cameras,
    outbox::{Message, Outbox},
    page::Page,
    payload::BoxFigures,
    record_filter::{RecordFilter, Refusal},
    retained::Priority,
    topic_registry::TopicRegistry,
};
use crate::{
    time::{Clock, Span},
    wire::{
        control::{Order, PublishConfig, Report},
        record::{RECORD_BYTES, Reading, Record},
    },
};

/// From one round of periodic work to the next: silent cameras, health messages, rows to delete, progress reports.
const TICK: Duration = Duration::from_millis(500);
/// The capacity of the queue between the socket and the main thread. When full, the socket fills, and `infer` waits.
const DATAGRAMS_MAX: usize = 256;
/// At most this many datagrams are stored in one transaction.
const BATCH_MAX: usize = 256;

/// Why the process could not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker's thread could not be started, or a certificate cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The broker's thread ended by itself, which is a defect of this program.
    #[error("the broker's thread ended by itself")]
    BrokerEnded,
    /// The system provides no thread, or no event queue for the page.
    #[error("no thread for the records or the page: {0}")]
    Thread(#[from] io::Error),
}

/// Runs the process until [`Order::Stop`], or until `orders` is disconnected because the parent has ended; either way
/// it says goodbye to the broker and returns within 1.5 s. `records` is this process's end of
/// [`record_pair`](crate::wire::control::record_pair). An unreachable broker, a full disk and an `infer` that died are
/// states, not errors.
///
/// # Errors
/// When a certificate or key cannot be used (reported as [`Report::Refused`] too), or the system provides no thread.
pub fn run(
    config: PublishConfig,
    records: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let state = Arc::new(SharedState::new(Outbox::open(&config.outbox, clock.wall_ms())));
    let mut publisher = Publisher::new(&config, Arc::clone(&state), Arc::clone(&clock));
    publisher.page = Page::open(&config, Arc::clone(&clock))?;
    let broker = Broker::start(&config, state, clock).inspect_err(|err| {
        // If the parent has ended, nobody needs the report; the same below.
        reports.send(Report::Refused(err.to_string())).ok();
    })?;
    publisher.upstream = Some(Upstream::open(records)?);
    // The cameras are on the page before their first record.
    publisher.check();
    let waiting = publisher.state.outbox().waiting();
    let page = publisher.page.as_ref().map_or_else(String::new, |page| format!(", page {}", page.url()));
    let (host, port) = (&config.mqtt.host.0, config.mqtt.port());
    reports.send(Report::Ready(format!("broker {host}:{port}, {waiting} readings waiting{page}"))).ok();
    drop(config);
    let ended = publisher.run(orders, reports, &broker);
    publisher.drain_upstream();
    broker.leave();
    // What the broker acknowledged in the last moment need not be sent again.
    publisher.state.outbox().tend(publisher.clock.wall_ms());
    publisher.tend_registry();
    ended
}

struct Publisher {
    filter: RecordFilter,
    cameras: Cameras,
    registry: TopicRegistry,
    state: Arc<SharedState>,
    clock: Arc<dyn Clock>,
    upstream: Option<Upstream>,
    /// `None` where it is off.
    page: Option<Page>,
}

impl Publisher {
    fn new(config: &PublishConfig, state: Arc<SharedState>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let mut filter = RecordFilter::new(Span::from_ms(i64::from(config.hop_ms)));
        config.cameras.iter().for_each(|(camera, _)| filter.add(*camera, now));
        let cameras = Cameras::new(config, now, &mut state.retained());
        let mut registry = TopicRegistry::open(&config.outbox.file);
        registry.set_wanted(cameras.retained_topics());
        // What was removed from the configuration while the daemon was off.
        registry.obsolete().iter().for_each(|topic| state.retained().clear(Priority::of(topic), topic.clone()));
        Self { filter, cameras, registry, state, clock, upstream: None, page: None }
    }

    /// The main loop.
    fn run(
        &mut self,
        orders: &Receiver<(Order, Vec<OwnedFd>)>,
        reports: &Sender<Report>,
        broker: &Broker,
    ) -> Result<(), Error> {
        let ticks = tick(TICK);
        let mut rounds = 0;
        loop {
            let datagrams = self.upstream.as_ref().map_or_else(never, |upstream| upstream.datagrams.clone());
            select! {
                recv(datagrams) -> datagram => match datagram {
                    Ok(datagram) => self.receive(datagram),
                    Err(_) => self.upstream_lost(),
                },
                recv(orders) -> order => match order {
                    Ok((Order::Stop, _)) | Err(_) => return Ok(()),
                    Ok((order, fds)) => self.handle(order, fds)?,
                },
                recv(ticks) -> _ => {
                    rounds += 1;
                    // If the parent does not read just now, the next report will do.
                    reports.try_send(Report::Progress(rounds)).ok();
                    self.state.outbox().tend(self.clock.wall_ms());
                    self.tend_registry();
                    self.check();
                },
                recv(broker.ended()) -> _ => return Err(Error::BrokerEnded),
            }
        }
    }

    /// Stores a datagram and those that arrived with it: the cameras' slots end at the same time.
    fn receive(&mut self, first: Datagram) {
        let mut accepted = Vec::new();
        let mut next = Some(first);
        let mut received = 0;
        while let Some(datagram) = next {
            accepted.extend(self.filter(&datagram));
            received += 1;
            let upstream = self.upstream.as_ref().filter(|_| received < BATCH_MAX);
            next = upstream.and_then(|upstream| upstream.datagrams.try_recv().ok());
        }
        let (messages, readings): (Vec<_>, Vec<_>) = accepted.into_iter().unzip();
        if !messages.is_empty() {
            self.state.outbox().push(messages, self.clock.wall_ms());
        }
        self.state.wake();
        // The page has the state of a camera before its readings.
        self.check();
        if let Some(page) = &self.page {
            readings.iter().for_each(|reading| page.add_reading(reading));
        }
    }

    /// A reading and its message; `None` for a vital or a refused record.
    fn filter(&mut self, datagram: &Datagram) -> Option<(Message, Reading)> {
        let now = self.clock.now();
        match self.filter.accept(datagram.bytes(), now) {
            Ok(record) => {
                let message = self.cameras.apply(&record, now, &mut self.state.retained())?;
                if let Record::Reading(reading) = record { Some((message, reading)) } else { None }
            }
            Err(refusal) => {
                self.log_refusal(refusal);
                None
            }
        }
    }

    /// Once for each reason: a defect that causes one wrong record causes many.
    fn log_refusal(&self, refusal: Refusal) {
        if self.filter.refused_for(refusal) == 1 {
            warn!(why = refusal.as_str(), "a record from infer was refused; more of them are only counted");
        }
    }

    /// Brings the page and the retained topics up to date.
    fn check(&mut self) {
        let figures = self.figures();
        if let Some(page) = &mut self.page {
            page.update(self.cameras.updates(), &figures, self.clock.now());
        }
        if self.cameras.check(self.clock.now(), self.clock.wall_ms(), &figures, &mut self.state.retained()) {
            self.state.wake();
        }
    }

    fn figures(&self) -> BoxFigures {
        let outbox = self.state.outbox();
        BoxFigures {
            waiting: outbox.waiting(),
            given_up: outbox.given_up(),
            on_disk: outbox.on_disk(),
            refused: self.filter.refused(),
            broker_outages: self.state.outages(),
            broker_connected: self.state.is_connected(),
        }
    }

    fn tend_registry(&mut self) {
        let retained = self.state.retained();
        self.registry.tend(|topic| retained.contains(topic));
    }

    fn handle(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let now = self.clock.now();
        match order {
            Order::SetCamera(order) => {
                self.filter.add(order.camera.id, now);
                let mut retained = self.state.retained();
                self.cameras.set(order.camera.id, &order.camera.name, now, &mut retained);
                // While the retained topics are locked, so that none is sent before it is in the registry.
                self.registry.set_wanted(self.cameras.retained_topics());
            }
            Order::DropCamera(camera) => {
                self.filter.remove(camera);
                self.cameras.remove(camera, &mut self.state.retained());
                self.registry.set_wanted(self.cameras.retained_topics());
            }
            Order::Upstream => {
                self.drain_upstream();
                self.upstream_lost();
                self.upstream = fds.into_iter().next().map(Upstream::open).transpose()?;
            }
            // The other orders are for other processes.
            _ => return Ok(()),
        }
        self.state.wake();
        self.check();
        Ok(())
    }

    /// Stores everything that has arrived, and receives nothing more.
    fn drain_upstream(&mut self) {
        let Some(upstream) = &self.upstream else { return };
        upstream.close();
        let datagrams = upstream.datagrams.clone();
        while let Ok(datagram) = datagrams.recv() {
            self.receive(datagram);
        }
    }

    fn upstream_lost(&mut self) {
        if self.upstream.take().is_some() {
            info!("infer has gone; its cameras are stale until it is back");
            self.cameras.all_silent(&mut self.state.retained());
            self.state.wake();
        }
    }
}

/// A datagram as received, with space for one byte more than a record, so that a longer one is recognised.
struct Datagram {
    buffer: [u8; RECORD_BYTES + 1],
    length: usize,
}

impl Datagram {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length.min(RECORD_BYTES + 1)]
    }
}

/// The socket that records come from, and the thread that receives them.
struct Upstream {
    socket: Arc<OwnedFd>,
    datagrams: Receiver<Datagram>,
}

impl Upstream {
    fn open(socket: OwnedFd) -> io::Result<Self> {
        let socket = Arc::new(socket);
        let (sender, datagrams) = bounded(DATAGRAMS_MAX);
        thread::Builder::new().name("records".into()).spawn({
            let socket = Arc::clone(&socket);
            move || receive(&socket, &sender)
        })?;
        Ok(Self { socket, datagrams })
    }

    /// Ends receiving; what was received stays in the queue.
    fn close(&self) {
        // Fails only if the peer has closed the connection, which has the same effect.
        shutdown(&self.socket, Shutdown::Read).ok();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.close();
    }
}

/// Receives until the peer closes the socket or the main thread drops the queue.
fn receive(socket: &OwnedFd, to: &Sender<Datagram>) {
    let mut buffer = [0; RECORD_BYTES + 1];
    loop {
        let length = match rustix::io::retry_on_intr(|| recv(socket, &mut buffer, RecvFlags::empty())) {
            // An empty datagram looks like the end of the socket.
            Ok((0, _)) if !is_closed(socket) => 0,
            Ok((0, _)) | Err(_) => return,
            Ok((length, _)) => length,
        };
        if to.send(Datagram { buffer, length }).is_err() {
            return;
        }
    }
}

fn is_closed(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let polled = poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_err() || !fds[0].revents().is_empty()
}
