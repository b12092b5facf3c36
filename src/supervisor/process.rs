//! The room's side: takes its first order from standard input, enters its sandbox, works until it is told to stop.

use std::{
    error::Error as StdError,
    fmt, io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::{SocketType, sockopt::socket_type};
use tracing::{debug, error, info};

use super::worker_config::needs_unix_sockets;
use crate::{
    sandbox,
    service::{Exit, signals},
    time::Clock,
    wire::control::{Control, InferConfig, IngestConfig, Order, PublishConfig, Report},
};

/// More orders than this never wait: a reload sends one for each changed camera.
const ORDERS: usize = 256;
const REPORTS: usize = 64;
/// A room whose parent is gone, or that takes no orders, has so long to finish.
const ORPHAN: Duration = Duration::from_secs(2);
/// How long the last report may take on its way.
const LAST_REPORT: Duration = Duration::from_millis(300);

/// Which room; in the order of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProcessName {
    /// Pulls compressed media from the cameras.
    Ingest,
    /// Decodes, listens, runs the network.
    Infer,
    /// Keeps records until the broker has them.
    Publish,
}

impl ProcessName {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ingest, Self::Infer, Self::Publish];

    /// The word on the command line and in the log.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Infer => "infer",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the parent sends while the room works. It disconnects when the parent is gone: the room then ends.
pub type Orders = Receiver<(Order, Vec<OwnedFd>)>;
/// How a room ended.
pub type Ended = Result<(), Box<dyn StdError + Send + Sync>>;

/// `ingest`: takes the socket for access units.
pub type Ingest = fn(IngestConfig, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> Ended;
/// `infer`: takes the sockets for access units and for records.
pub type Infer = fn(InferConfig, OwnedFd, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> Ended;
/// `publish`: takes the socket for records.
pub type Publish = fn(PublishConfig, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> Ended;

/// The three rooms as functions over their ends, so that tests can bring their own.
#[derive(Clone, Copy, Debug)]
pub struct Processes {
    /// The first room.
    pub ingest: Ingest,
    /// The second room.
    pub infer: Infer,
    /// The third room.
    pub publish: Publish,
}

/// Why a room did not begin.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody typed `edge-ger room …`.
    #[error("rooms are started by edge-ger itself: give it a camera's file instead")]
    NotARoom,
    /// The parent spoke, but not as it should.
    #[error("the parent's first order is not that of {0}")]
    Order(ProcessName),
    /// The system refused something.
    #[error("the room {0} cannot begin: {1}")]
    System(ProcessName, io::Error),
}

/// Works as the room `name` over standard input, to the end. A process does this once.
///
/// # Errors
/// When standard input is not the parent's, or the parent's first order is not for this room.
pub fn enter(name: ProcessName, rooms: Processes, clock: Arc<dyn Clock>) -> Result<Exit, Error> {
    let system = |err| Error::System(name, err);
    let stdin = io::stdin();
    if socket_type(&stdin) != Ok(SocketType::SEQPACKET) {
        return Err(Error::NotARoom);
    }
    // Before anything else, so that the line that `ps` shows says which room it is.
    let title = match name {
        ProcessName::Ingest => c"ger-ingest",
        ProcessName::Infer => c"ger-infer",
        ProcessName::Publish => c"ger-publish",
    };
    rustix::thread::set_name(title).map_err(|err| system(err.into()))?;
    signals::leave_to_parent().map_err(system)?;
    let control = Control::from(stdin.as_fd().try_clone_to_owned().map_err(system)?);
    // The parent may be gone before it has said anything.
    let Some((begin, fds)) = control.receive::<Order>().map_err(system)? else { return Ok(Exit::Stopped) };
    let begin = Begin::new(name, begin, fds).ok_or(Error::Order(name))?;
    match sandbox::enter(begin.sandbox()) {
        Ok(granted) => info!("sandbox: {granted}"),
        Err(err) => {
            control.send(&Report::Refused(err.to_string()), &[]).map_err(system)?;
            return Ok(Exit::Configuration);
        }
    }
    let (done, finished) = bounded::<()>(0);
    let orders = take_orders(control.try_clone().map_err(system)?, finished).map_err(system)?;
    let (reports, sent) = send_reports(control).map_err(system)?;
    let ended = begin.work(rooms, &orders, &reports, clock);
    drop((done, reports));
    let refused = sent.recv_timeout(LAST_REPORT).unwrap_or(false);
    Ok(match ended {
        Ok(()) => Exit::Stopped,
        Err(err) => {
            error!("{}", with_sources(&*err));
            if refused { Exit::Configuration } else { Exit::Internal }
        }
    })
}

/// A first order with the descriptors that belong to it.
enum Begin {
    Ingest(IngestConfig, OwnedFd),
    Infer(Box<InferConfig>, OwnedFd, OwnedFd),
    Publish(Box<PublishConfig>, OwnedFd),
}

impl Begin {
    fn new(name: ProcessName, order: Order, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        match (name, order) {
            (ProcessName::Ingest, Order::Ingest(begin)) => Some(Self::Ingest(begin, fds.next()?)),
            (ProcessName::Infer, Order::Infer(begin)) => Some(Self::Infer(Box::new(begin), fds.next()?, fds.next()?)),
            (ProcessName::Publish, Order::Publish(begin)) => Some(Self::Publish(begin, fds.next()?)),
            _ => None,
        }
    }

    fn sandbox(&self) -> sandbox::Room {
        match self {
            Self::Infer(begin, ..) => {
                sandbox::Room::Infer { unix_sockets: needs_unix_sockets(begin.cameras.iter().map(|it| &it.camera)) }
            }
            Self::Ingest(..) | Self::Publish(..) => sandbox::Room::Networked,
        }
    }

    fn work(self, rooms: Processes, orders: &Orders, reports: &Sender<Report>, clock: Arc<dyn Clock>) -> Ended {
        match self {
            Self::Ingest(begin, out) => (rooms.ingest)(begin, out, orders, reports, clock),
            Self::Infer(begin, from, out) => (rooms.infer)(*begin, from, out, orders, reports, clock),
            Self::Publish(begin, from) => (rooms.publish)(*begin, from, orders, reports, clock),
        }
    }
}

/// Hands orders on, until the parent is gone. A room must not outlive it: a camera would stay taken.
fn take_orders(control: Control, finished: Receiver<()>) -> io::Result<Orders> {
    let (sender, orders) = bounded(ORDERS);
    let take = move || {
        loop {
            match control.receive::<Order>() {
                Ok(Some(order)) => {
                    if sender.send_timeout(order, ORPHAN).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(err) => {
                    error!(%err, "the parent's order is not understood");
                    break;
                }
            }
        }
        drop(sender);
        if finished.recv_timeout(ORPHAN).is_err_and(|err| err.is_timeout()) {
            error!("the parent is gone and the room does not end: killed");
            // Not `exit`, which would wait for the very thread that hangs.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        }
    };
    thread::Builder::new().name("orders".into()).spawn(take)?;
    Ok(orders)
}

/// Sends reports to the parent. Once the last sender is gone and all is sent, the second end tells whether a refusal
/// was among them.
fn send_reports(control: Control) -> io::Result<(Sender<Report>, Receiver<bool>)> {
    let (reports, waiting) = bounded::<Report>(REPORTS);
    let (done, sent) = bounded(1);
    let send = move || {
        let mut refused = false;
        for report in waiting {
            refused |= matches!(report, Report::Refused(_));
            if let Err(err) = control.send(&report, &[]) {
                debug!(%err, "the parent did not hear a report");
                break;
            }
        }
        // The room may not have waited for it.
        done.send(refused).ok();
    };
    thread::Builder::new().name("reports".into()).spawn(send)?;
    Ok((reports, sent))
}

/// An error with what caused it, on one line.
fn with_sources(err: &(dyn StdError + 'static)) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        let words = source.to_string();
        // Some errors already hold their source's words.
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        cause = source.source();
    }
    text
}
