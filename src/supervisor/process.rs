//! Runs inside of a worker process: receives its configuration over standard input, enters the sandbox, and works until
//! it is told to stop.

use std::{
    error::Error as StdError,
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::net::{SocketType, sockopt::socket_type};
use tracing::{debug, error, info};

use crate::{
    sandbox,
    service::{Exit, signals},
    time::Clock,
    wire::{
        control::{Control, InferConfig, IngestConfig, Order, PublishConfig, Report},
        process::ProcessName,
    },
};

/// How many orders may wait; a reload sends one for each changed camera.
const ORDERS_MAX: usize = 256;
const REPORTS_MAX: usize = 64;
/// How long a process may take to finish once the parent has ended, and to take the next order.
const ORPHAN_TIMEOUT: Duration = Duration::from_secs(2);
/// How long sending the last reports may take.
const LAST_REPORT_TIMEOUT: Duration = Duration::from_millis(300);

/// The orders of the parent, with their file descriptors. It disconnects when the parent has ended: the process then
/// ends, too.
pub(crate) type Orders = Receiver<(Order, Vec<OwnedFd>)>;
/// The result of a process's main function.
pub(crate) type ProcessResult = Result<(), Box<dyn StdError + Send + Sync>>;

/// `ingest`: gets the socket for access units.
pub(crate) type Ingest = fn(IngestConfig, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> ProcessResult;
/// `infer`: gets the sockets for access units and for records.
pub(crate) type Infer = fn(InferConfig, OwnedFd, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> ProcessResult;
/// `publish`: gets the socket for records.
pub(crate) type Publish = fn(PublishConfig, OwnedFd, &Orders, &Sender<Report>, Arc<dyn Clock>) -> ProcessResult;

/// The main functions of the three processes; tests have their own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Processes {
    /// Of `ingest`.
    pub ingest: Ingest,
    /// Of `infer`.
    pub infer: Infer,
    /// Of `publish`.
    pub publish: Publish,
}

/// Why a process did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Standard input is not the parent's: somebody typed `edge-ger process …`.
    #[error("`edge-ger process` is started by edge-ger itself: run `edge-ger CAMERA.toml` instead")]
    NotStartedByParent,
    /// The parent's first order has no configuration for this process.
    #[error("the parent's first order is not for {0}")]
    Order(ProcessName),
    /// A system call failed.
    #[error("the process {0} cannot start: {1}")]
    System(ProcessName, io::Error),
}

/// Runs the process `name` to its end. To be called once in a process, from its main thread.
///
/// # Errors
/// When standard input is not the parent's, the first order is not for this process, or a system call fails.
pub(crate) fn run(name: ProcessName, processes: Processes, clock: Arc<dyn Clock>) -> Result<Exit, Error> {
    let system = |err| Error::System(name, err);
    let stdin = io::stdin();
    if socket_type(&stdin) != Ok(SocketType::SEQPACKET) {
        return Err(Error::NotStartedByParent);
    }
    // Before threads are started, which inherit it; those with a purpose of their own set another.
    let comm = match name {
        ProcessName::Ingest => c"ger-ingest",
        ProcessName::Infer => c"ger-infer",
        ProcessName::Publish => c"ger-publish",
    };
    rustix::thread::set_name(comm).map_err(|err| system(err.into()))?;
    signals::ignore().map_err(system)?;
    let control = Control::from(stdin.as_fd().try_clone_to_owned().map_err(system)?);
    // The parent may end before it has sent anything.
    let Some((order, fds)) = control.receive::<Order>().map_err(system)? else { return Ok(Exit::Stopped) };
    let task = Task::new(name, order, fds).ok_or(Error::Order(name))?;
    match sandbox::enter(task.profile()) {
        Ok(granted) => info!("sandbox: {granted}"),
        Err(err) => {
            control.send(&Report::Refused(err.to_string()), &[]).map_err(system)?;
            return Ok(Exit::Configuration);
        }
    }
    let (done, finished) = bounded::<()>(0);
    let orders = receive_orders(control.try_clone().map_err(system)?, finished).map_err(system)?;
    let (reports, sent) = send_reports(control).map_err(system)?;
    let result = task.run(processes, &orders, &reports, clock);
    drop((done, reports));
    let refused = sent.recv_timeout(LAST_REPORT_TIMEOUT).unwrap_or(false);
    Ok(match result {
        Ok(()) => Exit::Stopped,
        Err(err) => {
            error!("{}", with_sources(&*err));
            if refused { Exit::Configuration } else { Exit::Internal }
        }
    })
}

/// The configuration of a process, with its ends of the links.
enum Task {
    Ingest(IngestConfig, OwnedFd),
    Infer(Box<InferConfig>, OwnedFd, OwnedFd),
    Publish(Box<PublishConfig>, OwnedFd),
}

impl Task {
    fn new(name: ProcessName, order: Order, fds: Vec<OwnedFd>) -> Option<Self> {
        let mut fds = fds.into_iter();
        match (name, order) {
            (ProcessName::Ingest, Order::Ingest(config)) => Some(Self::Ingest(config, fds.next()?)),
            (ProcessName::Infer, Order::Infer(config)) => Some(Self::Infer(Box::new(config), fds.next()?, fds.next()?)),
            (ProcessName::Publish, Order::Publish(config)) => Some(Self::Publish(config, fds.next()?)),
            _ => None,
        }
    }

    fn profile(&self) -> sandbox::Profile {
        match self {
            Self::Infer(config, ..) => sandbox::Profile::NoNetwork { unix_sockets: config.unix_sockets },
            Self::Ingest(..) | Self::Publish(..) => sandbox::Profile::Networked,
        }
    }

    fn run(
        self,
        processes: Processes,
        orders: &Orders,
        reports: &Sender<Report>,
        clock: Arc<dyn Clock>,
    ) -> ProcessResult {
        match self {
            Self::Ingest(config, downstream) => (processes.ingest)(config, downstream, orders, reports, clock),
            Self::Infer(config, upstream, downstream) => {
                (processes.infer)(*config, upstream, downstream, orders, reports, clock)
            }
            Self::Publish(config, upstream) => (processes.publish)(*config, upstream, orders, reports, clock),
        }
    }
}

/// Receives orders until the parent has ended. The process must not outlive it: its cameras would stay occupied.
fn receive_orders(control: Control, finished: Receiver<()>) -> io::Result<Orders> {
    let (sender, orders) = bounded(ORDERS_MAX);
    let receive = move || {
        loop {
            match control.receive::<Order>() {
                Ok(Some(order)) => {
                    if sender.send_timeout(order, ORPHAN_TIMEOUT).is_err() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(err) => {
                    error!(%err, "an order of the parent cannot be read");
                    break;
                }
            }
        }
        drop(sender);
        if finished.recv_timeout(ORPHAN_TIMEOUT).is_err_and(|err| err.is_timeout()) {
            error!("the parent has ended and this process does not end: killed");
            // Not `exit`: its handlers could wait for the thread that hangs.
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
        }
    };
    thread::Builder::new().name("orders".into()).spawn(receive)?;
    Ok(orders)
}

/// Sends reports to the parent. When the last sender is dropped and everything was sent, the receiver gets whether one
/// of the reports was a refusal.
fn send_reports(control: Control) -> io::Result<(Sender<Report>, Receiver<bool>)> {
    let (reports, waiting) = bounded::<Report>(REPORTS_MAX);
    let (done, sent) = bounded(1);
    let send = move || {
        let mut refused = false;
        for report in waiting {
            refused |= matches!(report, Report::Refused(_));
            if let Err(err) = control.send(&report, &[]) {
                debug!(%err, "a report could not be sent to the parent");
                break;
            }
        }
        // The main thread may not wait for it any more.
        done.send(refused).ok();
    };
    thread::Builder::new().name("reports".into()).spawn(send)?;
    Ok((reports, sent))
}

/// An error with its causes, on one line.
fn with_sources(err: &(dyn StdError + 'static)) -> String {
    let mut text = err.to_string();
    let mut cause = err.source();
    while let Some(source) = cause {
        let cause_text = source.to_string();
        // Some errors already show their source.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = source.source();
    }
    text
}
