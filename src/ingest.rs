//! The first room: pulls compressed video and sound from the cameras, and lets through what the network will see.
//!
//! Each camera has a thread that keeps its connection ([`camera`]). What a connection yields ([`rtsp`]) is chosen
//! from ([`tap`], [`sampling`]) in the thread that received it, and goes into the one queue to `infer`
//! ([`downstream`]). A camera that hangs hangs alone.

pub mod backoff;
pub mod camera;
pub mod downstream;
pub mod sampling;
pub mod source;
pub mod timestamper;

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
        control::{CameraOrder, IngestConfig, Order, Report},
    },
};

/// The room reports this often that it lives.
const PROGRESS_EVERY: Span = Span::from_ms(1000);
/// All cameras together have this long to let go when the room ends; those that hang are left behind.
const STOP_WITHIN: Span = Span::from_ms(1200);

/// Why the room cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// GStreamer or one of its elements is missing.
    #[error("cameras cannot be read: {0}")]
    GStreamer(#[from] StreamError),
    /// The kernel gave no thread or descriptor.
    #[error("a thread of ingest cannot start: {0}; raise the limits of threads and open files")]
    Thread(#[from] io::Error),
}

/// A camera, and what is counted of it over all its connections.
struct Kept {
    running: Option<Running>,
    ledger: Arc<Counters>,
}

struct Ingest {
    room: CameraContext,
    cameras: BTreeMap<CameraId, Kept>,
}

/// Runs the room: pulls from all cameras and writes to `out` until it is told to stop, or nobody is left to tell it.
///
/// # Errors
/// When GStreamer is not installed, which is also reported as [`Report::Refused`], or when threads cannot start.
pub fn run(
    begin: IngestConfig,
    out: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    if let Err(trouble) = source::init() {
        report(reports, Report::Refused(trouble.to_string()));
        return Err(trouble.into());
    }
    let downstream = Arc::new(Downstream::start(out)?);
    let room = CameraContext { downstream, grid: begin.grid, survey: begin.survey, clock: Arc::clone(&clock) };
    let mut ingest = Ingest { room, cameras: BTreeMap::new() };
    let count = begin.cameras.len();
    begin.cameras.into_iter().try_for_each(|order| ingest.set(order))?;
    report(reports, Report::Ready(format!("{count} camera(s)")));
    let mut turns = 0_u64;
    let mut next_report = Moment::default();
    loop {
        let now = clock.now();
        if next_report <= now {
            next_report = now + PROGRESS_EVERY;
            report(reports, Report::Progress(turns));
            turns += 1;
        }
        match orders.recv_timeout(next_report.after(now).max(Duration::from_millis(1))) {
            Ok((Order::SetCamera(order), _)) => ingest.set(*order)?,
            Ok((Order::DropCamera(id), _)) => ingest.cameras.remove(&id).into_iter().for_each(drop),
            Ok((Order::Clap(id), _)) => ingest.want_all(id, true),
            Ok((Order::EndClapTest(id), _)) => ingest.want_all(id, false),
            Ok((Order::Downstream, fds)) => match fds.into_iter().next() {
                Some(out) => ingest.room.downstream.replace(out),
                None => warn!("an order to change the way out came without one"),
            },
            Ok((Order::Stop, _)) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(_) => warn!("an order that is not for ingest came"),
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    ingest.stop(clock.as_ref());
    Ok(())
}

/// Tells the parent, which may be gone or busy: neither is a reason to stand still.
fn report(reports: &Sender<Report>, report: Report) {
    if let Err(err) = reports.try_send(report) {
        debug!(%err, "a report was not taken");
    }
}

impl Ingest {
    /// Starts a camera, or restarts it with other settings. Its numbers go on.
    fn set(&mut self, order: CameraOrder) -> Result<(), Error> {
        let room = self.room.clone();
        let kept = self.cameras.entry(order.camera.id).or_insert_with(|| {
            let ledger = Arc::new(Counters::default());
            Kept { running: None, ledger }
        });
        let before = kept.running.take();
        kept.running = Some(Running::start(order, room, Arc::clone(&kept.ledger), before)?);
        Ok(())
    }

    /// Lets every picture of a camera through, or again only what the network will see.
    fn want_all(&self, id: CameraId, wants_all: bool) {
        let ledger = self.cameras.get(&id).map(|kept| &kept.ledger);
        ledger.into_iter().for_each(|it| it.wants_all.store(wants_all, Ordering::Relaxed));
    }

    /// Asks all cameras at once, and waits for them together.
    fn stop(mut self, clock: &dyn Clock) {
        let deadline = clock.now() + STOP_WITHIN;
        // First, because infer is asked to end a moment later.
        self.room.downstream.finish();
        self.cameras.values_mut().filter_map(|kept| kept.running.as_mut()).for_each(Running::ask_to_stop);
        for (id, kept) in &self.cameras {
            let patience = deadline.after(clock.now());
            if kept.running.as_ref().is_some_and(|running| !running.wait(patience)) {
                warn!(camera = id.0, "a camera did not let go in time and was left behind");
            }
        }
        // Threads that were left behind keep the room's shared parts alive; nothing may go out any more all the same.
        self.room.downstream.close();
    }
}
