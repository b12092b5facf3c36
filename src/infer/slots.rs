//! Ends every slot of every camera as exactly one reading.
//!
//! Slots of all cameras come due together and are one batch: their windows are cut and written straight into the
//! network's inputs, the network runs, and each camera's answer becomes its reading.

use std::collections::BTreeMap;

use tracing::error;

use super::{
    aggregate::Aggregate,
    camera_pipeline::CameraPipeline,
    contract::{Contract, Missing, SoundKind},
    feature_extractor::{FeatureExtractor, NO_LEVEL_CDB, heard},
    probe::Listener,
    receiver::lock,
    runtime::{self, Answer, Clip, Session},
    window::{CameraView, Cut, Window},
};
use crate::{
    config::{Reading as When, Sound},
    time::{Clock, Grid, Moment, Span},
    wire::{
        CameraId,
        access_unit::CameraStatus,
        record::{
            CameraFault, CameraState, MOTION_NONE_MILLI, Outcome, ProbeRecord, Provider, Reading, Record, SoundState,
            Vital, Withheld,
        },
    },
};

/// How quickly the mean inference time follows: a tenth of each new one.
const INFERENCE_MEAN_SHARE: u32 = 10;

/// A camera at its place in the slots.
struct Seat {
    eye: CameraPipeline,
    window: Window,
    aggregate: Aggregate,
    first_frame: Option<Moment>,
    sound: SoundState,
    level_cdb: i16,
    luma: u8,
    labelled: u32,
    withheld: u32,
    /// Of the window that is being read, levels; measured in a dry run only.
    motion: Option<f32>,
    /// The newest slot, and what is told of it.
    newest: Newest,
}

/// All cameras, and the network that they share.
pub(crate) struct Slots {
    session: Session,
    contract: Contract,
    senses: FeatureExtractor,
    grid: Grid,
    when: When,
    seats: BTreeMap<CameraId, Seat>,
    inference_us: u32,
    /// Only in a dry run, and only for a network that hears.
    listener: Option<Listener>,
}

/// What a camera brings to a slot: its cut, if it has one, and what became of its sound.
struct Brought {
    cut: Result<Cut, Withheld>,
    sound: SoundState,
}

impl Slots {
    /// Slots without any camera yet. With `survey` their sound is measured.
    pub(crate) fn new(session: Session, contract: Contract, grid: Grid, when: When, survey: bool) -> Self {
        let senses = FeatureExtractor::new(&contract);
        let hears = survey && contract.sound.kind != SoundKind::None;
        let listener = hears.then(|| Listener::new(contract.sound.rate_hz)).flatten();
        Self { session, senses, contract, grid, when, seats: BTreeMap::new(), inference_us: 0, listener }
    }

    /// What the network is like.
    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The network.
    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Takes a camera in, whose slots have been counted so far; one with the same number must have been removed.
    pub(crate) fn seat(&mut self, eye: CameraPipeline, (labelled, withheld): (u32, u32)) {
        let missing = match self.contract.sound.kind {
            SoundKind::None => Missing::Mask,
            _ => self.contract.sound.missing,
        };
        let seat = Seat {
            window: Window::new(self.grid, eye.camera.gates, missing),
            aggregate: Aggregate::new(&self.contract, &self.when),
            first_frame: None,
            sound: if eye.camera.sound == Sound::Off { SoundState::Off } else { SoundState::Absent },
            level_cdb: NO_LEVEL_CDB,
            luma: 0,
            labelled,
            withheld,
            motion: None,
            newest: Newest::default(),
            eye,
        };
        self.seats.insert(seat.eye.camera.id, seat);
    }

    /// How many of a camera's slots ended with a label, and without one.
    pub(crate) fn counted(&self, camera: CameraId) -> (u32, u32) {
        self.seats.get(&camera).map_or((0, 0), |it| (it.labelled, it.withheld))
    }

    /// Whether a camera is there and paused.
    pub(crate) fn is_paused(&self, camera: CameraId) -> bool {
        self.seats.get(&camera).is_some_and(|it| it.eye.paused)
    }

    /// Removes a camera.
    pub(crate) fn unseat(&mut self, camera: CameraId) -> Option<CameraPipeline> {
        self.seats.remove(&camera).map(|it| it.eye)
    }

    /// Whether all that can still come for a slot that ended at `end` has come.
    pub(crate) fn settled(&self, end: Moment) -> bool {
        self.seats.values().all(|it| it.eye.settled(end))
    }

    /// Ends a slot: one reading for each camera.
    ///
    /// # Errors
    /// When the network cannot run any more.
    pub(crate) fn end(
        &mut self,
        slot: u64,
        clock: &dyn Clock,
        emit: &mut impl FnMut(Record),
    ) -> Result<(), runtime::Error> {
        // A slot is too late when the next one has ended: running it would make all that follow late, too.
        let overload = self.grid.end(slot + 1) <= clock.now();
        let brought = self.cut(slot, overload);
        let clips = brought.iter().filter(|it| it.cut.is_ok()).count();
        let started = clock.now();
        let mut answers = Vec::with_capacity(clips);
        if 0 < clips {
            answers.extend_from_slice(self.session.run(clips)?);
        }
        let inference = clock.now() - started;
        if 0 < clips {
            let us = u32::try_from(inference.as_ns() / 1000).unwrap_or(u32::MAX);
            self.inference_us = match self.inference_us {
                0 => us,
                mean => mean - mean / INFERENCE_MEAN_SHARE + us / INFERENCE_MEAN_SHARE,
            };
        }
        let late = clock.now() - self.grid.end(slot);
        let window_end_ms = clock.wall_ms().saturating_sub(u64::try_from(late.as_ms()).unwrap_or(0));
        let mut answers = answers.into_iter();
        for (seat, brought) in self.seats.values_mut().zip(brought) {
            let frame_offset_ms = brought.cut.as_ref().map_or(0, Cut::frame_offset_ms);
            let ran = brought.cut.is_ok();
            let sensed = brought.cut.and_then(|_| answer(answers.next()));
            let head_width = sensed.ok().and_then(|it| it.head_width);
            let step = seat.aggregate.step(slot, sensed);
            // Of nobody's head nothing is known.
            let head_width = head_width.filter(|_| step.group_at_least != Some(0));
            seat.newest = Newest {
                slot,
                probabilities: step.calibrated,
                head_width_permille: head_width.map_or(0, permille),
                motion: seat.motion.take(),
            };
            match step.outcome {
                Outcome::Label(_) => seat.labelled += 1,
                Outcome::Withheld(_) => seat.withheld += 1,
            }
            emit(Record::Reading(Reading {
                camera: seat.eye.camera.id,
                slot,
                window_end_ms,
                outcome: step.outcome,
                probabilities: step.probabilities,
                group_at_least: step.group_at_least,
                sound: brought.sound,
                frame_offset_ms,
                latency_ms: milliseconds(clock.now() - self.grid.end(slot)),
                inference_ms: if ran { milliseconds(inference) } else { 0 },
            }));
        }
        Ok(())
    }

    /// Cuts every camera's window and writes what can be read into the network's inputs, one place after another.
    fn cut(&mut self, slot: u64, overload: bool) -> Vec<Brought> {
        let clips = self.seats.len();
        let mut places = self.session.batch(clips);
        let mut place = places.next();
        let mut all = Vec::with_capacity(clips);
        for seat in self.seats.values_mut() {
            let sound = seat.hear(slot, &self.grid, &mut self.senses.samples);
            let cut = match &mut place {
                _ if seat.eye.paused => Err(Withheld::Paused),
                Some(clip) if !overload => seat.cut(slot, sound, &mut self.senses, clip),
                _ => Err(Withheld::Overload),
            };
            if cut.is_ok() {
                place = places.next();
            }
            seat.eye.stop_awaiting();
            all.push(Brought { cut, sound });
        }
        all
    }

    /// A slot that was missed while this room was away: one withheld reading for each camera.
    pub(crate) fn missed(&mut self, slot: u64, clock: &dyn Clock, emit: &mut impl FnMut(Record)) {
        let late = clock.now() - self.grid.end(slot);
        let window_end_ms = clock.wall_ms().saturating_sub(u64::try_from(late.as_ms()).unwrap_or(0));
        for seat in self.seats.values_mut() {
            let why = if seat.eye.paused { Withheld::Paused } else { Withheld::Starting };
            seat.withheld += 1;
            emit(Record::Reading(Reading {
                camera: seat.eye.camera.id,
                slot,
                window_end_ms,
                outcome: Outcome::Withheld(why),
                probabilities: [0; 3],
                group_at_least: None,
                sound: seat.sound,
                frame_offset_ms: 0,
                latency_ms: milliseconds(late),
                inference_ms: 0,
            }));
        }
    }

    /// How every camera is doing.
    pub(crate) fn vitals(&self) -> impl Iterator<Item = Vital> {
        self.seats.values().map(|it| it.vital(self.session.provider(), self.inference_us))
    }

    /// What is measured of every camera. Nothing is, unless this is a dry run.
    pub(crate) fn survey(&mut self, now: Moment, mut tell: impl FnMut(ProbeRecord)) {
        self.seats.values().filter_map(|it| it.survey(now, self.listener.as_mut())).for_each(&mut tell);
    }

    /// Begins or ends a clap test on a camera.
    pub(crate) fn clap(&self, camera: CameraId, is_on: bool) {
        self.seats.get(&camera).into_iter().for_each(|it| it.eye.clap(is_on));
    }

    /// The cameras' states, to notice a change.
    pub(crate) fn states(&self) -> impl Iterator<Item = (CameraId, CameraState)> {
        self.seats.values().map(|it| (it.eye.camera.id, it.status().state))
    }
}

fn answer(answer: Option<Result<Answer, runtime::NotFinite>>) -> Result<Answer, Withheld> {
    match answer {
        Some(answer) => answer.map_err(Withheld::from),
        None => {
            error!("the network gave fewer answers than there were clips");
            Err(Withheld::ModelInvalid)
        }
    }
}

/// Capped below what stands for nothing.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates, which is meant")]
fn thousandths(levels: f32) -> u16 {
    ((levels * 1000.0).round() as u16).min(MOTION_NONE_MILLI - 1)
}

/// What a survey tells of the newest slot.
#[derive(Clone, Copy, Debug, Default)]
struct Newest {
    slot: u64,
    probabilities: [u16; 3],
    head_width_permille: u16,
    /// How much its window moved, levels.
    motion: Option<f32>,
}

/// Of a share from 0 to 1.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0 to 1000")]
fn permille(share: f32) -> u16 {
    (share * 1000.0).round().clamp(0.0, 1000.0) as u16
}

fn milliseconds(span: Span) -> u16 {
    u16::try_from(span.as_ms().max(0)).unwrap_or(u16::MAX)
}

impl Seat {
    /// Reads the window's sound into `samples` and says what became of it.
    fn hear(&mut self, slot: u64, grid: &Grid, samples: &mut [f32]) -> SoundState {
        if self.eye.camera.sound == Sound::Off || samples.is_empty() {
            return self.sound;
        }
        let coverage = lock(&self.eye.rings.sound).read(grid.start(slot), grid.end(slot), samples);
        (self.sound, self.level_cdb) = heard(coverage, &self.eye.camera.gates);
        self.sound
    }

    /// Cuts the window and writes the clip into its place of the batch.
    fn cut(
        &mut self,
        slot: u64,
        sound: SoundState,
        senses: &mut FeatureExtractor,
        clip: &mut Clip<'_>,
    ) -> Result<Cut, Withheld> {
        // Held until the pixels are copied: a new frame would move the indices of the cut.
        let frames = lock(&self.eye.rings.frames);
        self.first_frame = self.first_frame.or_else(|| frames.metas().next().map(|it| it.moment));
        if let Some(newest) = frames.metas().next_back() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255 by its definition")]
            let luma = newest.luma as u8;
            self.luma = luma;
        }
        let camera = CameraView { state: self.eye.route.status().state, first_frame: self.first_frame, sound };
        if self.eye.rings.gauge.is_some() {
            self.motion = self.window.motion(slot, frames.metas());
        }
        let cut = self.window.cut(slot, frames.metas(), camera)?;
        senses.fill(&frames, &cut, clip);
        Ok(cut)
    }

    fn survey(&self, now: Moment, listener: Option<&mut Listener>) -> Option<ProbeRecord> {
        let gauge = self.eye.rings.gauge.as_ref()?;
        let status = self.status();
        let mut survey = ProbeRecord {
            step: status.step,
            jitter_us: status.jitter_us,
            round_trip_us: status.round_trip_us,
            packets: status.packets,
            camera_clock_ms: status.camera_clock_ms,
            slot: self.newest.slot,
            probabilities: self.newest.probabilities,
            head_width_permille: self.newest.head_width_permille,
            motion_milli: self.newest.motion.map_or(MOTION_NONE_MILLI, thousandths),
            ..ProbeRecord::unknown(self.eye.camera.id)
        };
        if let Some(listener) = listener {
            listener.tell(now, &self.eye.rings.sound, gauge, &mut survey);
        }
        gauge.tell(now, &mut survey);
        Some(survey)
    }

    /// What `ingest` says of the camera, and what is known here: a pause begins here and there, one after the other.
    fn status(&self) -> CameraStatus {
        let status = self.eye.route.status();
        match (self.eye.paused, status.fault) {
            (true, _) => CameraStatus { state: CameraState::Offline, fault: CameraFault::Paused, ..status },
            (false, CameraFault::Paused) => CameraStatus { fault: CameraFault::Connecting, ..status },
            (false, _) => status,
        }
    }

    fn vital(&self, provider: Provider, inference_us: u32) -> Vital {
        let status = self.status();
        let (codec, width, height) = self.eye.rings.format();
        Vital {
            camera: self.eye.camera.id,
            state: status.state,
            fault: status.fault,
            sound: self.sound,
            provider,
            fps_x100: status.fps_x100,
            key_distance_ms: status.key_distance_ms,
            kbps: status.kbps,
            packets_lost: status.packets_lost,
            units_dropped: status.units_dropped.saturating_add(self.eye.route.dropped()),
            outages: status.outages,
            level_cdb: self.level_cdb,
            camera_drift_ppm: status.drift_ppm,
            sound_drift_ppm: self.eye.sound_drift_ppm(),
            decode_us: self.eye.rings.decode_us(),
            inference_us,
            labelled: self.labelled,
            withheld: self.withheld,
            luma: self.luma,
            codec,
            width,
            height,
            sound_lost_ms: self.eye.sound_lost_ms(),
        }
    }
}
