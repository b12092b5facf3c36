//! The first process: pulls compressed video and sound from the cameras, and passes on what the network will see.
//!
//! Each camera has a thread that keeps its connection (`camera`). The access units of a connection (`source`) get
//! their moments (`timestamper`) and are selected (`sampling`) in the thread that received them, and go into the one
//! queue to `infer` (`downstream`). A camera that hangs holds up no other.

pub(crate) mod backoff;
mod camera;
mod downstream;
mod sampling;
mod source;
mod timestamper;

use std::{
    collections::BTreeMap,
    io,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{debug, warn};

use self::{
    camera::{CameraContext, Running},
    downstream::{Counters, Downstream},
    source::StreamError,
};
use crate::{
    time::{Clock, Moment, Span},
    wire::{
        CameraId,
        control::{CameraOrder, IngestConfig, Order, Report, Sampling},
    },
};

/// How often progress is reported.
const PROGRESS_EVERY: Span = Span::from_ms(1000);
/// All cameras together have this long to close their connections at the end; those that hang are left behind.
const STOP_WITHIN: Span = Span::from_ms(1200);

/// Why the process cannot work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// GStreamer or one of its elements is missing.
    #[error("cameras cannot be read: {0}")]
    GStreamer(#[from] StreamError),
    /// The kernel gave no thread or descriptor.
    #[error("a thread of ingest cannot start: {0}; raise the limits of threads and open files")]
    Thread(#[from] io::Error),
}

/// A camera, and what is counted of it over all its connections.
struct IngestCamera {
    running: Option<Running>,
    counters: Arc<Counters>,
}

struct Ingest {
    context: CameraContext,
    cameras: BTreeMap<CameraId, IngestCamera>,
}

/// Runs the process: pulls from all cameras and writes to `out` until it is told to stop, or the parent has ended.
///
/// # Errors
/// When GStreamer is not installed, which is also reported as [`Report::Refused`], or when threads cannot start.
pub(crate) fn run(
    config: IngestConfig,
    out: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    if let Err(error) = source::init() {
        report(reports, Report::Refused(error.to_string()));
        return Err(error.into());
    }
    let downstream = Arc::new(Downstream::start(out)?);
    let context =
        CameraContext { downstream, grid: config.grid, is_dry_run: config.is_dry_run, clock: Arc::clone(&clock) };
    let mut ingest = Ingest { context, cameras: BTreeMap::new() };
    let count = config.cameras.len();
    config.cameras.into_iter().try_for_each(|order| ingest.set(order))?;
    report(reports, Report::Ready(format!("{count} camera(s)")));
    let mut rounds = 0_u64;
    let mut next_report = Moment::default();
    loop {
        let now = clock.now();
        if next_report <= now {
            next_report = now + PROGRESS_EVERY;
            report(reports, Report::Progress(rounds));
            rounds += 1;
        }
        match orders.recv_timeout(next_report.after(now).max(Duration::from_millis(1))) {
            Ok((Order::SetCamera(order), _)) => ingest.set(*order)?,
            Ok((Order::DropCamera(id), _)) => drop(ingest.cameras.remove(&id)),
            Ok((Order::SetSampling(id, sampling), _)) => ingest.set_sampling(id, sampling),
            Ok((Order::Downstream, fds)) => match fds.into_iter().next() {
                Some(out) => ingest.context.downstream.replace(out),
                None => warn!("an order to use a new downstream came without a descriptor"),
            },
            Ok((Order::Stop, _)) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(_) => warn!("an order that is not for ingest came"),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    ingest.stop(clock.as_ref());
    Ok(())
}

/// Tells the parent, without waiting where it has ended or is busy.
fn report(reports: &Sender<Report>, report: Report) {
    if let Err(err) = reports.try_send(report) {
        debug!(%err, "a report was not taken");
    }
}

impl Ingest {
    /// Starts a camera, or restarts it with other settings. Its counters continue.
    fn set(&mut self, order: CameraOrder) -> Result<(), Error> {
        let context = self.context.clone();
        let camera = self.cameras.entry(order.camera.id).or_insert_with(|| {
            let counters = Arc::new(Counters::default());
            IngestCamera { running: None, counters }
        });
        let before = camera.running.take();
        camera.running = Some(Running::start(order, context, Arc::clone(&camera.counters), before)?);
        Ok(())
    }

    fn set_sampling(&self, id: CameraId, sampling: Sampling) {
        if let Some(camera) = self.cameras.get(&id) {
            camera.counters.samples_all.store(sampling == Sampling::All, Ordering::Relaxed);
        }
    }

    /// Asks all cameras at once, and waits for them together.
    fn stop(mut self, clock: &dyn Clock) {
        let deadline = clock.now() + STOP_WITHIN;
        // First, because infer is asked to end a moment later.
        self.context.downstream.finish();
        self.cameras.values_mut().filter_map(|camera| camera.running.as_mut()).for_each(Running::ask_to_stop);
        for (id, camera) in &self.cameras {
            let timeout = deadline.after(clock.now());
            if camera.running.as_ref().is_some_and(|running| !running.wait(timeout)) {
                warn!(camera = id.0, "a camera did not close its connection in time and was left behind");
            }
        }
        // Threads that were left behind keep the downstream alive; nothing may be sent any more all the same.
        self.context.downstream.close();
    }
}
