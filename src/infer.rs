//! The second process: decodes, captures microphones, selects windows and runs the neural network. It has no access to
//! any computer network.
//!
//! Each camera's decoders and microphone fill its rings on threads of their own (`camera_pipeline`); one thread, that
//! of [`run`], ends the slots of all of them (`slots`) and handles the parent's orders.

mod receiver;
mod unit_pool;
mod unit_queue;
mod wake;

mod camera_pipeline;
pub(crate) mod decode;
pub(crate) mod microphone;
pub(crate) mod ring;

pub(crate) mod aggregate;
pub(crate) mod clip;
pub(crate) mod contract;
mod feature_extractor;
pub(crate) mod features;
mod probe;
mod record_writer;
pub(crate) mod runtime;
mod slots;
pub(crate) mod window;

use std::{io, os::fd::OwnedFd, sync::Arc};

use crossbeam_channel::{Receiver, Sender, never, select};
use tracing::{error, info, warn};

use self::{
    camera_pipeline::CameraPipeline,
    contract::{Contract, Missing, SoundKind},
    probe::Probes,
    receiver::UnitReceiver,
    record_writer::RecordWriter,
    runtime::{Runtime, Session},
    slots::Slots,
    wake::Wake,
};
use crate::{
    config::Sound,
    time::{Clock, Grid, Moment, Span},
    wire::{
        CameraId,
        control::{CameraOrder, InferConfig, Libraries, Order, Report},
        record::{CameraState, Record},
    },
};

/// When a window ends, frames and sound of its last moments are still on their way, for at least this long.
const SETTLE_MIN: Span = Span::from_ms(15);
/// What comes later than this after the end of a window is too late for it.
const SETTLE_MAX: Span = Span::from_ms(90);
/// How often progress is reported, and the states of the cameras are compared with those before.
const REPORT_EVERY: Span = Span::from_ms(1000);
/// How often vitals go out when nothing changes.
const VITALS_EVERY: Span = Span::from_ms(5000);
/// More slots than this are not accounted for one by one after an absence.
const MISSED_MAX: u64 = 100;

/// Why the process ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The network file cannot be used.
    #[error(transparent)]
    Contract(#[from] contract::Error),
    /// ONNX Runtime is missing, refuses the network, or failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The configuration asks for what the network cannot do.
    #[error("{0}")]
    Unfit(String),
    /// The system gives no thread or socket.
    #[error("infer cannot go on: the system gives no thread or socket")]
    Io(#[from] io::Error),
}

/// Runs the process until it is told to stop or the parent has ended.
///
/// Access units come from `from`, records go to `out`.
///
/// # Errors
/// When the network, ONNX Runtime or the configuration is at fault, which is also reported as
/// [`Report::Refused`]; and when a provider that worked fails for good.
pub(crate) fn run(
    config: InferConfig,
    from: OwnedFd,
    out: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let last_slot = config.last_slot;
    let mut infer = match Infer::open(config, from, out, clock) {
        Ok(infer) => infer,
        Err(err) => {
            if !matches!(err, Error::Io(_)) {
                reports.send(Report::Refused(err.to_string())).ok();
            }
            return Err(err);
        }
    };
    let (session, name) = (infer.slots.session(), &infer.slots.contract().name);
    let ready = format!("network {name} on {}", session.provider().as_str());
    if infer.is_dry_run {
        let libraries = Libraries { gstreamer: decode::version_numbers(), onnx_runtime: Runtime::version() };
        reports.send(Report::Libraries(libraries)).ok();
    }
    reports.send(Report::Ready(ready)).ok();
    infer.withhold_missed_slots(last_slot);
    let ended = infer.work(orders, reports);
    infer.close();
    ended
}

struct Infer {
    receiver: UnitReceiver,
    slots: Slots,
    records: RecordWriter,
    cameras: Vec<CameraId>,
    grid: Grid,
    is_dry_run: bool,
    probes: Probes,
    clock: Arc<dyn Clock>,
    /// Notified of everything that a slot may wait for; `woken` gets a token then.
    wake: Wake,
    woken: Receiver<()>,
    /// The slot that ends next.
    slot: u64,
    report_at: Moment,
    vitals_at: Moment,
    states: Vec<(CameraId, CameraState)>,
}

impl Infer {
    fn open(config: InferConfig, from: OwnedFd, out: OwnedFd, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (contract, file) = Contract::read(&config.model.file)?;
        Runtime::init(config.model.runtime_library.as_deref())?;
        let session = Session::open(&config.model, &contract, &file)?;
        let probes = Probes::new(config.is_dry_run, &contract);
        let slots = Slots::new(session, contract, config.grid, config.reading);
        let now = clock.now();
        let (wake, woken) = wake::channel();
        let mut infer = Self {
            receiver: UnitReceiver::start(from)?,
            slots,
            records: RecordWriter::new(out),
            cameras: Vec::new(),
            grid: config.grid,
            is_dry_run: config.is_dry_run,
            probes,
            wake,
            woken,
            slot: config.grid.next_slot(now),
            report_at: now,
            vitals_at: now,
            states: Vec::new(),
            clock,
        };
        config.cameras.into_iter().try_for_each(|order| infer.set_camera(order))?;
        Ok(infer)
    }

    /// After a restart: the slots that ended before it are withheld, not lost.
    fn withhold_missed_slots(&mut self, last_slot: Option<u64>) {
        let Some(last) = last_slot.filter(|last| last + 1 < self.slot) else { return };
        let first = (last + 1).max(self.slot.saturating_sub(MISSED_MAX));
        if last + 1 < first {
            warn!(slots = first - last - 1, "the restart took so long that these slots have no readings");
        }
        for slot in first..self.slot {
            self.slots.missed(slot, &*self.clock, &mut |record| self.records.emit(&record));
        }
    }

    fn work(&mut self, orders: &Receiver<(Order, Vec<OwnedFd>)>, reports: &Sender<Report>) -> Result<(), Error> {
        let nothing = never();
        loop {
            let now = self.clock.now();
            if self.is_due(now) {
                self.slots.end(self.slot, &*self.clock, &mut |record| self.records.emit(&record))?;
                self.slot += 1;
                continue;
            }
            self.report(now, reports);
            let end = self.grid.end(self.slot);
            let is_settling = end + SETTLE_MIN <= now;
            let slot_deadline = end + if is_settling { SETTLE_MAX } else { SETTLE_MIN };
            // Only a slot that is waiting is woken, once for each thing that may complete it.
            let woken = if is_settling { &self.woken } else { &nothing };
            select! {
                recv(orders) -> order => match order {
                    Ok((Order::Stop, _)) | Err(_) => return Ok(()),
                    Ok((order, fds)) => self.handle(order, fds)?,
                },
                recv(woken) -> _ => {}
                default(slot_deadline.min(self.report_at).after(now)) => {}
            }
        }
    }

    /// Whether the next slot can be ended now.
    fn is_due(&self, now: Moment) -> bool {
        let end = self.grid.end(self.slot);
        end + SETTLE_MAX <= now || end + SETTLE_MIN <= now && self.slots.is_settled(end)
    }

    /// Once a second: progress for the parent, and vitals when it is time or a camera changed.
    fn report(&mut self, now: Moment, reports: &Sender<Report>) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        self.records.flush();
        reports.try_send(Report::Progress(self.slot.saturating_sub(1))).ok();
        self.slots.probe_records(now).for_each(|record| self.records.emit(&Record::ProbeRecord(record)));
        let states: Vec<_> = self.slots.states().collect();
        // In a dry run every second, so that an installer in front of a camera sees its state at once.
        if self.is_dry_run || self.vitals_at <= now || states != self.states {
            self.vitals_at = now + VITALS_EVERY;
            self.states = states;
            self.slots.vitals().for_each(|vital| self.records.emit(&Record::Vital(vital)));
        }
    }

    fn handle(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let mut fds = fds.into_iter();
        match (order, fds.next()) {
            (Order::SetCamera(order), _) => {
                // The parent logs what is paused, and why.
                if !order.paused && !self.slots.is_paused(order.camera.id) {
                    info!(camera = %order.camera.name, "camera reconfigured");
                }
                self.set_camera(*order)?;
            }
            (Order::DropCamera(camera), _) => self.drop_camera(camera),
            (Order::SetSampling(camera, sampling), _) => self.slots.set_sampling(camera, sampling),
            (Order::Upstream, Some(upstream)) => self.receiver.replace(upstream)?,
            (Order::Downstream, Some(downstream)) => self.records.replace(downstream),
            (order, _) => error!(?order, "an order that is not for infer; the parent is of another build"),
        }
        Ok(())
    }

    fn set_camera(&mut self, order: CameraOrder) -> Result<(), Error> {
        let (camera, contract) = (&order.camera, self.slots.contract());
        let uses_sound = contract.sound.kind != SoundKind::None;
        if uses_sound && camera.sound == Sound::Off && contract.sound.missing == Missing::Withhold {
            return Err(Error::Unfit(format!(
                "sound.source: camera {} has no sound, and the network {} cannot do without; \
                 set sound.source to \"microphone\" or \"camera\", or choose another network",
                camera.name, contract.name
            )));
        }
        let (id, counted) = (camera.id, self.slots.counted(camera.id));
        self.drop_camera(id);
        self.cameras.push(id);
        let (contract, probe) = (self.slots.contract(), self.probes.probe(&order.camera));
        let pipeline = CameraPipeline::open(order, &self.receiver, contract, probe, &self.wake, &self.clock)?;
        self.slots.add(pipeline, counted);
        Ok(())
    }

    fn drop_camera(&mut self, camera: CameraId) {
        self.receiver.remove(camera);
        self.cameras.retain(|id| *id != camera);
        if let Some(pipeline) = self.slots.remove(camera) {
            pipeline.close();
        }
    }

    /// Ends every thread of the cameras.
    fn close(mut self) {
        let cameras = std::mem::take(&mut self.cameras);
        cameras.into_iter().for_each(|camera| self.drop_camera(camera));
    }
}
