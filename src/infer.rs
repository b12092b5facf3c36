//! The second room: decodes, listens, cuts windows, runs the network. It has no network of the other kind.
//!
//! Each camera's decoders and microphone fill its rings on threads of their own ([`eye`]); one thread, that of
//! [`run`], ends the slots of all of them ([`slots`]) and takes the parent's orders.

mod receiver;

mod camera_pipeline;
pub mod decode;
pub mod microphone;
pub mod ring;

pub mod aggregate;
pub mod clip;
pub mod contract;
mod feature_extractor;
pub mod features;
pub mod probe;
mod record_writer;
pub mod runtime;
mod slots;
pub mod window;

use std::{io, os::fd::OwnedFd, sync::Arc};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use tracing::{error, info, warn};

use self::{
    camera_pipeline::CameraPipeline,
    contract::{Contract, Missing, SoundKind},
    receiver::UnitReceiver,
    record_writer::RecordWriter,
    runtime::{Runtime, Session},
    slots::Slots,
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

/// Frames and sound of a window's last moments are still on their way when it ends: at least this long.
const SETTLE_MIN: Span = Span::from_ms(15);
/// Whatever has not come so long after the end of a window comes too late for it.
const SETTLE_MAX: Span = Span::from_ms(90);
/// While a slot settles: how often to look.
const SETTLE_LOOK: Span = Span::from_ms(4);
/// How often the room reports, and looks for a camera that changed its state.
const REPORT_EVERY: Span = Span::from_ms(1000);
/// How often vitals go out when nothing changes.
const VITALS_EVERY: Span = Span::from_ms(5000);
/// More slots than this are not accounted for one by one after an absence.
const MISSED_MAX: u64 = 100;

/// Why the room ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The network file is not fit.
    #[error(transparent)]
    Contract(#[from] contract::Error),
    /// ONNX Runtime is not there, refuses the network, or failed.
    #[error(transparent)]
    Runtime(#[from] runtime::Error),
    /// The configuration asks for what the network cannot do.
    #[error("{0}")]
    Unfit(String),
    /// The system gives no thread or socket.
    #[error("infer cannot go on: the system gives no thread or socket")]
    Io(#[from] io::Error),
}

/// Runs the room until it is told to stop or the parent is gone.
///
/// `from` brings access units, `out` takes records.
///
/// # Errors
/// When the network, ONNX Runtime or the configuration is at fault, which is also reported as
/// [`Report::Refused`]; and when a provider that worked fails for good.
pub fn run(
    begin: InferConfig,
    from: OwnedFd,
    out: OwnedFd,
    orders: &Receiver<(Order, Vec<OwnedFd>)>,
    reports: &Sender<Report>,
    clock: Arc<dyn Clock>,
) -> Result<(), Error> {
    let last_slot = begin.last_slot;
    let mut room = match Room::open(begin, from, out, clock) {
        Ok(room) => room,
        Err(err) => {
            if !matches!(err, Error::Io(_)) {
                reports.send(Report::Refused(err.to_string())).ok();
            }
            return Err(err);
        }
    };
    let (session, name) = (room.slots.session(), &room.slots.contract().name);
    let ready = format!("network {name} on {}", session.provider().as_str());
    if room.survey {
        let libraries = Libraries { gstreamer: decode::version_numbers(), onnx_runtime: Runtime::version() };
        reports.send(Report::Libraries(libraries)).ok();
    }
    reports.send(Report::Ready(ready)).ok();
    room.account_for_absence(last_slot);
    let ended = room.work(orders, reports);
    room.close();
    ended
}

struct Room {
    intake: UnitReceiver,
    slots: Slots,
    outlet: RecordWriter,
    cameras: Vec<CameraId>,
    grid: Grid,
    /// Whether this is a dry run.
    survey: bool,
    clock: Arc<dyn Clock>,
    /// The slot that ends next.
    slot: u64,
    report_at: Moment,
    vitals_at: Moment,
    states: Vec<(CameraId, CameraState)>,
}

impl Room {
    fn open(begin: InferConfig, from: OwnedFd, out: OwnedFd, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        let (contract, file) = Contract::read(&begin.model.file)?;
        Runtime::init(begin.model.runtime_library.as_deref())?;
        let session = Session::open(&begin.model, &contract, &file)?;
        let slots = Slots::new(session, contract, begin.grid, begin.reading, begin.survey);
        let now = clock.now();
        let mut room = Self {
            intake: UnitReceiver::start(from)?,
            slots,
            outlet: RecordWriter::new(out),
            cameras: Vec::new(),
            grid: begin.grid,
            survey: begin.survey,
            slot: begin.grid.next_slot(now),
            report_at: now,
            vitals_at: now,
            states: Vec::new(),
            clock,
        };
        begin.cameras.into_iter().try_for_each(|order| room.set_camera(order))?;
        Ok(room)
    }

    /// After a restart: the slots that ended while this room was away are withheld, not lost.
    fn account_for_absence(&mut self, last_slot: Option<u64>) {
        let Some(last) = last_slot.filter(|last| last + 1 < self.slot) else { return };
        let first = (last + 1).max(self.slot.saturating_sub(MISSED_MAX));
        if last + 1 < first {
            warn!(slots = first - last - 1, "was away for so long that these slots have no readings");
        }
        for slot in first..self.slot {
            self.slots.missed(slot, &*self.clock, &mut |record| self.outlet.emit(&record));
        }
    }

    fn work(&mut self, orders: &Receiver<(Order, Vec<OwnedFd>)>, reports: &Sender<Report>) -> Result<(), Error> {
        loop {
            let now = self.clock.now();
            if self.due(now) {
                self.slots.end(self.slot, &*self.clock, &mut |record| self.outlet.emit(&record))?;
                self.slot += 1;
                continue;
            }
            self.report(now, reports);
            match orders.recv_timeout(self.wait(now).to_duration()) {
                Ok((Order::Stop, _)) | Err(RecvTimeoutError::Disconnected) => return Ok(()),
                Ok((order, fds)) => self.obey(order, fds)?,
                Err(RecvTimeoutError::Timeout) => {}
            }
        }
    }

    /// Whether the next slot can be ended now.
    fn due(&self, now: Moment) -> bool {
        let end = self.grid.end(self.slot);
        end + SETTLE_MAX <= now || end + SETTLE_MIN <= now && self.slots.settled(end)
    }

    /// How long nothing needs to be done.
    fn wait(&self, now: Moment) -> Span {
        let slot = (self.grid.end(self.slot) + SETTLE_MIN) - now;
        slot.max(SETTLE_LOOK).min((self.report_at - now).max(Span::ZERO))
    }

    /// Once a second: progress for the parent, and vitals when it is time or a camera changed.
    fn report(&mut self, now: Moment, reports: &Sender<Report>) {
        if now < self.report_at {
            return;
        }
        self.report_at = now + REPORT_EVERY;
        self.outlet.flush();
        reports.try_send(Report::Progress(self.slot.saturating_sub(1))).ok();
        self.slots.survey(now, |survey| self.outlet.emit(&Record::ProbeRecord(survey)));
        let states: Vec<_> = self.slots.states().collect();
        // Whoever stands before a camera sees at once what became of it.
        if self.survey || self.vitals_at <= now || states != self.states {
            self.vitals_at = now + VITALS_EVERY;
            self.states = states;
            self.slots.vitals().for_each(|vital| self.outlet.emit(&Record::Vital(vital)));
        }
    }

    fn obey(&mut self, order: Order, fds: Vec<OwnedFd>) -> Result<(), Error> {
        let mut fds = fds.into_iter();
        match (order, fds.next()) {
            (Order::SetCamera(order), _) => {
                // The parent says what is paused, and by what.
                if !order.paused && !self.slots.is_paused(order.camera.id) {
                    info!(camera = %order.camera.name, "camera set anew");
                }
                self.set_camera(*order)?;
            }
            (Order::DropCamera(camera), _) => self.drop_camera(camera),
            (Order::Clap(camera), _) => self.slots.clap(camera, true),
            (Order::EndClapTest(camera), _) => self.slots.clap(camera, false),
            (Order::Upstream, Some(upstream)) => self.intake.replace(upstream)?,
            (Order::Downstream, Some(downstream)) => self.outlet.replace(downstream),
            (order, _) => error!(?order, "an order that is not for infer; the parent is of another build"),
        }
        Ok(())
    }

    fn set_camera(&mut self, order: CameraOrder) -> Result<(), Error> {
        let (camera, contract) = (&order.camera, self.slots.contract());
        let hears = contract.sound.kind != SoundKind::None;
        if hears && camera.sound == Sound::Off && contract.sound.missing == Missing::Withhold {
            return Err(Error::Unfit(format!(
                "sound.source: camera {} has no sound, and the network {} cannot do without; \
                 set sound.source to \"microphone\" or \"camera\", or choose another network",
                camera.name, contract.name
            )));
        }
        let (id, counted) = (camera.id, self.slots.counted(camera.id));
        self.drop_camera(id);
        self.cameras.push(id);
        let eye = CameraPipeline::open(order, &self.intake, self.slots.contract(), self.survey, &self.clock)?;
        self.slots.seat(eye, counted);
        Ok(())
    }

    fn drop_camera(&mut self, camera: CameraId) {
        self.intake.remove(camera);
        self.cameras.retain(|it| *it != camera);
        if let Some(eye) = self.slots.unseat(camera) {
            eye.close();
        }
    }

    /// Ends every thread of the room.
    fn close(mut self) {
        let cameras = std::mem::take(&mut self.cameras);
        cameras.into_iter().for_each(|camera| self.drop_camera(camera));
    }
}
