//! The third room: keeps readings until the broker has them, and sees nothing but 64-byte records.
//!
//! ```text
//! infer ─datagrams─▶ gate ─records─▶ cameras ─readings─▶ outbox ─┐
//!                      │ refused:       │  └─retained──▶ board  ──┴▶ mqtt ─▶ broker
//!                      ▼ counted        └─▶ chronicle ──▶ page, metrics ─▶ whoever may look
//! ```
//!
//! Four threads: one waits for datagrams, the room's own judges and keeps them, one talks to the broker, and one
//! serves the status page where it is on. The broker's thread and the room share the outbox and the board
//! ([`mqtt::SharedState`]), the page's thread and the room share the chronicle. A reading is on disk before it is on the wire.
//! `last` and the statuses are retained and only the newest of each matters, so they wait in memory;
//! which topics they are is on disk ([`ledger`]), so that none outlives its camera.

pub mod cameras;
pub mod discovery;
pub mod history;
pub mod metrics;
pub mod mqtt;
pub mod outbox;
pub mod page;
pub mod payload;
pub mod record_filter;
pub mod retained;
pub mod topic_registry;

use std::{io, os::fd::OwnedFd, sync::Arc, thread, time::Duration};

use crossbeam_channel::{Receiver, Sender, bounded, never, select, tick};
use rustix::{
    event::{PollFd, PollFlags, poll},
    net::{RecvFlags, Shutdown, recv, shutdown},
};
use tracing::{info, warn};

use self::{
    cameras::Cameras,
    mqtt::{Broker, SharedState, StartError},
    outbox::{Message, Outbox},
    page::Page,
    payload::Figures,
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

/// The room looks around so often: for silent cameras, due healths, rows to delete; and reports its progress.
const TICK: Duration = Duration::from_millis(500);
/// So many datagrams may lie between the socket and the room. When full, the socket fills, and `infer` waits.
const DATAGRAMS_MAX: usize = 256;
/// So many datagrams are kept in one transaction at most.
const TOGETHER_MAX: usize = 256;

/// Why the room could not work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The broker's thread could not be started, or a certificate cannot be used.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The broker's thread ended by itself, which is a defect of this program.
    #[error("the broker's thread ended by itself")]
    BrokerEnded,
    /// The system gives no thread, or no event queue for the page.
    #[error("no thread for the records or the page: {0}")]
    Thread(#[from] io::Error),
}

/// Runs the room until [`Order::Stop`], or until `orders` is disconnected because the parent is gone; either way it
/// says goodbye to the broker and returns within 1.5 s. `from` is this room's end of
/// [`record_pair`](crate::wire::control::record_pair). A broker that is away, a disk that is full and an `infer` that
/// died are states, not errors.
///
/// # Errors
/// When a certificate or key cannot be used (reported as [`Report::Refused`] too), or the system gives no thread.
pub fn run(
    begin: PublishConfig,
    from: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let desk = Arc::new(SharedState::new(Outbox::open(&begin.outbox, clock.wall_ms())));
    let mut room = Room::new(&begin, Arc::clone(&desk), Arc::clone(&clock));
    room.page = Page::open(&begin, Arc::clone(&clock))?;
    let broker = Broker::start(&begin, desk, clock).inspect_err(|err| {
        // A parent that is gone needs no answer; the same below.
        reports.send(Report::Refused(err.to_string())).ok();
    })?;
    room.upstream = Some(Upstream::open(from)?);
    // The cameras are on the page before anything was heard of them.
    room.look();
    let waiting = room.desk.outbox().waiting();
    let page = room.page.as_ref().map_or_else(String::new, |page| format!(", page {}", page.url()));
    let (host, port) = (&begin.mqtt.host, begin.mqtt.port);
    reports.send(Report::Ready(format!("broker {host}:{port}, {waiting} readings waiting{page}"))).ok();
    drop(begin);
    let ended = room.work(orders, reports, &broker);
    room.take_in();
    broker.leave();
    // What the broker acknowledged at the last moment need not be sent again.
    room.desk.outbox().tend(room.clock.wall_ms());
    room.tend_ledger();
    ended
}

struct Room {
    gate: RecordFilter,
    cameras: Cameras,
    ledger: TopicRegistry,
    desk: Arc<SharedState>,
    clock: Arc<dyn Clock>,
    upstream: Option<Upstream>,
    /// `None` where it is off.
    page: Option<Page>,
}

impl Room {
    fn new(begin: &PublishConfig, desk: Arc<SharedState>, clock: Arc<dyn Clock>) -> Self {
        let now = clock.now();
        let mut gate = RecordFilter::new(Span::from_ms(i64::from(begin.hop_ms)));
        begin.cameras.iter().for_each(|(camera, _)| gate.add(*camera, now));
        let cameras = Cameras::new(begin, now, &mut desk.board());
        let mut ledger = TopicRegistry::open(&begin.outbox.file);
        ledger.want(cameras.retained());
        // What left the configuration while nobody was here to see it.
        ledger.gone().iter().for_each(|topic| desk.board().clear(Priority::of(topic), topic.clone()));
        Self { gate, cameras, ledger, desk, clock, upstream: None, page: None }
    }

    /// The main loop.
    fn work(
        &mut self,
        orders: &Receiver<(Order, Vec<OwnedFd>)>,
        reports: &Sender<Report>,
        broker: &Broker,
    ) -> Result<(), Error> {
        let ticks = tick(TICK);
        let mut turns = 0;
        loop {
            let datagrams = self.upstream.as_ref().map_or_else(never, |it| it.datagrams.clone());
            select! {
                recv(datagrams) -> datagram => match datagram {
                    Ok(datagram) => self.take(datagram),
                    Err(_) => self.upstream_lost(),
                },
                recv(orders) -> order => match order {
                    Ok((Order::Stop, _)) | Err(_) => return Ok(()),
                    Ok((order, fds)) => self.obey(order, fds)?,
                },
                recv(ticks) -> _ => {
                    turns += 1;
                    // A parent that does not read has its own reasons; the next one tells it as much.
                    reports.try_send(Report::Progress(turns)).ok();
                    self.desk.outbox().tend(self.clock.wall_ms());
                    self.tend_ledger();
                    self.look();
                },
                recv(broker.ended()) -> _ => return Err(Error::BrokerEnded),
            }
        }
    }

    /// Takes in a datagram and all that came with it: the cameras' slots end together.
    fn take(&mut self, first: Datagram) {
        let mut readings = Vec::new();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(datagram) = next {
            readings.extend(self.judge(&datagram));
            taken += 1;
            let more = self.upstream.as_ref().filter(|_| taken < TOGETHER_MAX);
            next = more.and_then(|it| it.datagrams.try_recv().ok());
        }
        let (messages, readings): (Vec<_>, Vec<_>) = readings.into_iter().unzip();
        if !messages.is_empty() {
            self.desk.outbox().push(messages, self.clock.wall_ms());
        }
        self.desk.wake();
        // The state of a camera is on the page before its readings, so that nobody sees half of what came.
        self.look();
        if let Some(page) = &self.page {
            readings.iter().for_each(|it| page.reading(it));
        }
    }

    /// A reading, and the message that says it; `None` where it is a vital, or refused.
    fn judge(&mut self, datagram: &Datagram) -> Option<(Message, Reading)> {
        let now = self.clock.now();
        match self.gate.admit(datagram.bytes(), now) {
            Ok(record) => {
                let message = self.cameras.take(&record, now, &mut self.desk.board())?;
                if let Record::Reading(reading) = record { Some((message, reading)) } else { None }
            }
            Err(why) => {
                self.say_refused(why);
                None
            }
        }
    }

    /// Once for each reason: whoever sends wrong records sends many.
    fn say_refused(&self, why: Refusal) {
        if self.gate.refused_for(why) == 1 {
            warn!(why = why.words(), "a record from infer was refused; more of them are only counted");
        }
    }

    fn look(&mut self) {
        let figures = {
            let outbox = self.desk.outbox();
            Figures {
                waiting: outbox.waiting(),
                given_up: outbox.given_up(),
                on_disk: outbox.on_disk(),
                refused: self.gate.refused(),
                broker_outages: self.desk.outages(),
                broker_connected: self.desk.is_connected(),
            }
        };
        if let Some(page) = &mut self.page {
            page.look(self.cameras.seen(), &figures, self.clock.now());
        }
        if self.cameras.look(self.clock.now(), self.clock.wall_ms(), &figures, &mut self.desk.board()) {
            self.desk.wake();
        }
    }

    fn tend_ledger(&mut self) {
        let board = self.desk.board();
        self.ledger.tend(|topic| board.holds(topic));
    }

    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let now = self.clock.now();
        match order {
            Order::SetCamera(order) => {
                self.gate.add(order.camera.id, now);
                let mut board = self.desk.board();
                self.cameras.set(order.camera.id, &order.camera.name, now, &mut board);
                // Before the broker's thread can take them from the board and send them.
                self.ledger.want(self.cameras.retained());
            }
            Order::DropCamera(camera) => {
                self.gate.remove(camera);
                self.cameras.drop(camera, &mut self.desk.board());
                self.ledger.want(self.cameras.retained());
            }
            Order::Upstream => {
                self.take_in();
                self.upstream_lost();
                self.upstream = fds.into_iter().next().map(Upstream::open).transpose()?;
            }
            // The other orders are for other rooms.
            _ => return Ok(()),
        }
        self.desk.wake();
        self.look();
        Ok(())
    }

    /// Takes in all that has arrived, and no more.
    fn take_in(&mut self) {
        let Some(upstream) = &self.upstream else { return };
        upstream.close();
        let datagrams = upstream.datagrams.clone();
        while let Ok(datagram) = datagrams.recv() {
            self.take(datagram);
        }
    }

    fn upstream_lost(&mut self) {
        if self.upstream.take().is_some() {
            info!("infer has gone; its cameras are stale until it is back");
            self.cameras.all_silent(&mut self.desk.board());
            self.desk.wake();
        }
    }
}

/// One datagram as it came: a byte more than a record, so that a longer one is noticed.
struct Datagram {
    buffer: [u8; RECORD_BYTES + 1],
    length: usize,
}

impl Datagram {
    fn bytes(&self) -> &[u8] {
        &self.buffer[..self.length.min(RECORD_BYTES + 1)]
    }
}

/// The socket that records come from, and the thread that waits at it.
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

    /// Nothing more is received; what has been is still there.
    fn close(&self) {
        // It fails only where the peer has closed already, and that does as well.
        shutdown(&self.socket, Shutdown::Read).ok();
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.close();
    }
}

/// Receives until the peer is gone or the room has enough.
fn receive(socket: &OwnedFd, to: &Sender<Datagram>) {
    let mut buffer = [0; RECORD_BYTES + 1];
    loop {
        let length = match rustix::io::retry_on_intr(|| recv(socket, &mut buffer, RecvFlags::empty())) {
            // An empty datagram looks like the end of the socket.
            Ok((0, _)) if !is_over(socket) => 0,
            Ok((0, _)) | Err(_) => return,
            Ok((length, _)) => length,
        };
        if to.send(Datagram { buffer, length }).is_err() {
            return;
        }
    }
}

fn is_over(socket: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(socket, PollFlags::RDHUP)];
    let polled = poll(&mut fds, Some(&rustix::time::Timespec { tv_sec: 0, tv_nsec: 0 }));
    polled.is_err() || !fds[0].revents().is_empty()
}
