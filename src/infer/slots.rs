//! Ends every slot of every camera with exactly one reading.
//!
//! Slots of all cameras come due together and are one batch: the frames of their windows are selected and written
//! straight into the network's inputs, the network runs, and each camera's answer becomes its reading.

use std::collections::BTreeMap;

use tracing::error;

use super::{
    aggregate::Aggregate,
    camera_pipeline::CameraPipeline,
    contract::{Contract, Missing, SoundKind},
    feature_extractor::{FeatureExtractor, NO_LEVEL_CDB, sound_state},
    receiver::lock,
    runtime::{self, Answer, Clip, Session},
    window::{CameraView, Selection, Window},
};
use crate::{
    config::{Reading as ReadingConfig, Sound},
    time::{Clock, Grid, Moment, Span},
    wire::{
        CameraId,
        access_unit::CameraStatus,
        control::Sampling,
        record::{
            CameraFault, CameraState, Outcome, ProbeRecord, Provider, Reading, Record, SoundState, Vital, Withheld,
        },
    },
};

/// How quickly the mean inference time follows: a tenth of each new one.
const INFERENCE_MEAN_SHARE: u32 = 10;

/// A camera, and what is kept of it from slot to slot.
struct SlotCamera {
    pipeline: CameraPipeline,
    window: Window,
    aggregate: Aggregate,
    first_frame: Option<Moment>,
    sound: SoundState,
    level_cdb: i16,
    luma: u8,
    labelled: u32,
    withheld: u32,
}

/// All cameras, and the network that they share.
pub(crate) struct Slots {
    session: Session,
    contract: Contract,
    features: FeatureExtractor,
    grid: Grid,
    reading: ReadingConfig,
    cameras: BTreeMap<CameraId, SlotCamera>,
    inference_us: u32,
}

/// What a camera contributes to a slot.
struct SlotInput {
    /// The frames, or why there is no clip.
    selection: Result<Selection, Withheld>,
    sound: SoundState,
}

impl Slots {
    /// Slots without any camera yet.
    pub(crate) fn new(session: Session, contract: Contract, grid: Grid, reading: ReadingConfig) -> Self {
        let features = FeatureExtractor::new(&contract);
        Self { session, features, contract, grid, reading, cameras: BTreeMap::new(), inference_us: 0 }
    }

    pub(crate) fn contract(&self) -> &Contract {
        &self.contract
    }

    pub(crate) fn session(&self) -> &Session {
        &self.session
    }

    /// Adds a camera, with the counts of its slots so far; one with the same number must have been removed.
    pub(crate) fn add(&mut self, pipeline: CameraPipeline, (labelled, withheld): (u32, u32)) {
        let missing = match self.contract.sound.kind {
            SoundKind::None => Missing::Mask,
            _ => self.contract.sound.missing,
        };
        let camera = SlotCamera {
            window: Window::new(self.grid, pipeline.camera.gates, missing),
            aggregate: Aggregate::new(&self.contract, &self.reading),
            first_frame: None,
            sound: if pipeline.camera.sound == Sound::Off { SoundState::Off } else { SoundState::Absent },
            level_cdb: NO_LEVEL_CDB,
            luma: 0,
            labelled,
            withheld,
            pipeline,
        };
        self.cameras.insert(camera.pipeline.camera.id, camera);
    }

    /// How many of a camera's slots ended with a label, and without one.
    pub(crate) fn counted(&self, camera: CameraId) -> (u32, u32) {
        self.cameras.get(&camera).map_or((0, 0), |camera| (camera.labelled, camera.withheld))
    }

    /// Whether a camera is there and paused.
    pub(crate) fn is_paused(&self, camera: CameraId) -> bool {
        self.cameras.get(&camera).is_some_and(|camera| camera.pipeline.paused)
    }

    pub(crate) fn remove(&mut self, camera: CameraId) -> Option<CameraPipeline> {
        self.cameras.remove(&camera).map(|camera| camera.pipeline)
    }

    /// Whether all that can still come for a slot that ended at `end` has come.
    pub(crate) fn is_settled(&self, end: Moment) -> bool {
        self.cameras.values().all(|camera| camera.pipeline.is_settled(end))
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
        let inputs = self.select(slot, overload);
        let clips = inputs.iter().filter(|input| input.selection.is_ok()).count();
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
        for (camera, input) in self.cameras.values_mut().zip(inputs) {
            let frame_offset_ms = input.selection.as_ref().map_or(0, Selection::frame_offset_ms);
            let ran = input.selection.is_ok();
            let answer = input.selection.and_then(|_| answer(answers.next()));
            let step = camera.aggregate.step(slot, answer);
            camera.pipeline.rings.probe.on_slot(slot, answer.ok(), &step);
            match step.outcome {
                Outcome::Label(_) => camera.labelled += 1,
                Outcome::Withheld(_) => camera.withheld += 1,
            }
            emit(Record::Reading(Reading {
                camera: camera.pipeline.camera.id,
                slot,
                window_end_ms,
                outcome: step.outcome,
                probabilities: step.probabilities,
                group_at_least: step.group_at_least,
                sound: input.sound,
                frame_offset_ms,
                latency_ms: milliseconds(clock.now() - self.grid.end(slot)),
                inference_ms: if ran { milliseconds(inference) } else { 0 },
            }));
        }
        Ok(())
    }

    /// Selects the frames of every camera's window and writes each clip into the network's inputs, one place after another.
    fn select(&mut self, slot: u64, overload: bool) -> Vec<SlotInput> {
        let clips = self.cameras.len();
        let mut places = self.session.batch(clips);
        let mut place = places.next();
        let mut all = Vec::with_capacity(clips);
        for camera in self.cameras.values_mut() {
            let sound = camera.read_sound(slot, &self.grid, &mut self.features.samples);
            let selection = match &mut place {
                _ if camera.pipeline.paused => Err(Withheld::Paused),
                Some(clip) if !overload => camera.select(slot, sound, &mut self.features, clip),
                _ => Err(Withheld::Overload),
            };
            if selection.is_ok() {
                place = places.next();
            }
            camera.pipeline.rings.pending.stop_waiting();
            all.push(SlotInput { selection, sound });
        }
        all
    }

    /// A slot that ended before this process was started: one withheld reading for each camera.
    pub(crate) fn missed(&mut self, slot: u64, clock: &dyn Clock, emit: &mut impl FnMut(Record)) {
        let late = clock.now() - self.grid.end(slot);
        let window_end_ms = clock.wall_ms().saturating_sub(u64::try_from(late.as_ms()).unwrap_or(0));
        for camera in self.cameras.values_mut() {
            let why = if camera.pipeline.paused { Withheld::Paused } else { Withheld::Starting };
            camera.withheld += 1;
            emit(Record::Reading(Reading {
                camera: camera.pipeline.camera.id,
                slot,
                window_end_ms,
                outcome: Outcome::Withheld(why),
                probabilities: [0; 3],
                group_at_least: None,
                sound: camera.sound,
                frame_offset_ms: 0,
                latency_ms: milliseconds(late),
                inference_ms: 0,
            }));
        }
    }

    /// How every camera is doing.
    pub(crate) fn vitals(&self) -> impl Iterator<Item = Vital> {
        self.cameras.values().map(|camera| camera.vital(self.session.provider(), self.inference_us))
    }

    /// What the probes have measured of every camera.
    pub(crate) fn probe_records(&self, now: Moment) -> impl Iterator<Item = ProbeRecord> {
        self.cameras.values().filter_map(move |camera| {
            let rings = &camera.pipeline.rings;
            rings.probe.record(now, camera.status(), &rings.sound)
        })
    }

    /// Other pictures of a camera are decoded from now on.
    pub(crate) fn set_sampling(&self, camera: CameraId, sampling: Sampling) {
        if let Some(camera) = self.cameras.get(&camera) {
            camera.pipeline.rings.probe.on_sampling(sampling);
        }
    }

    /// The cameras' states, to notice a change.
    pub(crate) fn states(&self) -> impl Iterator<Item = (CameraId, CameraState)> {
        self.cameras.values().map(|camera| (camera.pipeline.camera.id, camera.status().state))
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

fn milliseconds(span: Span) -> u16 {
    u16::try_from(span.as_ms().max(0)).unwrap_or(u16::MAX)
}

impl SlotCamera {
    /// Reads the window's sound into `samples` and says what it is like.
    fn read_sound(&mut self, slot: u64, grid: &Grid, samples: &mut [f32]) -> SoundState {
        if self.pipeline.camera.sound == Sound::Off || samples.is_empty() {
            return self.sound;
        }
        let coverage = lock(&self.pipeline.rings.sound).read(grid.start(slot), grid.end(slot), samples);
        (self.sound, self.level_cdb) = sound_state(coverage, &self.pipeline.camera.gates);
        self.sound
    }

    /// Selects the frames of the window and writes the clip into its place of the batch.
    fn select(
        &mut self,
        slot: u64,
        sound: SoundState,
        features: &mut FeatureExtractor,
        clip: &mut Clip<'_>,
    ) -> Result<Selection, Withheld> {
        // Held until the pixels are copied: a new frame would move the indices of the selection.
        let frames = lock(&self.pipeline.rings.frames);
        self.first_frame = self.first_frame.or_else(|| frames.metas().next().map(|frame| frame.moment));
        if let Some(newest) = frames.metas().next_back() {
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255 by its definition")]
            let luma = newest.luma as u8;
            self.luma = luma;
        }
        let camera = CameraView { state: self.pipeline.route.status().state, first_frame: self.first_frame, sound };
        self.pipeline.rings.probe.on_window(slot, &self.window, &frames);
        let selection = self.window.select(slot, frames.metas(), camera)?;
        features.fill(&frames, &selection, clip);
        Ok(selection)
    }

    /// The status that `ingest` reports, and whether the camera is paused, which both processes learn one after the other.
    fn status(&self) -> CameraStatus {
        let status = self.pipeline.route.status();
        match (self.pipeline.paused, status.fault) {
            (true, _) => CameraStatus { state: CameraState::Offline, fault: CameraFault::Paused, ..status },
            (false, CameraFault::Paused) => CameraStatus { fault: CameraFault::Connecting, ..status },
            (false, _) => status,
        }
    }

    fn vital(&self, provider: Provider, inference_us: u32) -> Vital {
        let status = self.status();
        let (codec, width, height) = self.pipeline.rings.format();
        Vital {
            camera: self.pipeline.camera.id,
            state: status.state,
            fault: status.fault,
            sound: self.sound,
            provider,
            fps_x100: status.fps_x100,
            key_distance_ms: status.key_distance_ms,
            kbps: status.kbps,
            packets_lost: status.packets_lost,
            units_dropped: status.units_dropped.saturating_add(self.pipeline.route.dropped()),
            outages: status.outages,
            level_cdb: self.level_cdb,
            camera_drift_ppm: status.drift_ppm,
            sound_drift_ppm: self.pipeline.sound_drift_ppm(),
            decode_us: self.pipeline.rings.decode_us(),
            inference_us,
            labelled: self.labelled,
            withheld: self.withheld,
            luma: self.luma,
            codec,
            width,
            height,
            sound_lost_ms: self.pipeline.sound_lost_ms(),
        }
    }
}
