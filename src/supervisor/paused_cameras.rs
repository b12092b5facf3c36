//! Pauses and resumes cameras: reads the pause file once a second, and sends orders to the workers.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tracing::{error, info, warn};

use super::{
    Parent,
    pause::{self, Cause, PauseInputs},
    plan::Event,
    worker_config::ResolvedConfig,
};
use crate::{
    config::Camera,
    service::pause_file,
    time::{Clock, Moment, Span, local::Zone},
    wire::{CameraId, control::Order, process::ProcessName},
};

/// A new pause file takes effect after no more than this.
const CHECK_INTERVAL: Span = Span::from_ms(1000);

/// The pauses that are in effect.
#[derive(Debug, Default)]
pub(super) struct PausedCameras {
    /// When to read the pause file again.
    pub(super) next_check: Moment,
    /// SIGUSR1 paused and could not write the pause file, and no SIGUSR2 came since.
    signal: bool,
    paused: BTreeMap<CameraId, Cause>,
    /// Whether it was logged that the time zone of the schedules is unknown.
    zone_is_unknown: bool,
}

impl PausedCameras {
    /// Decides which cameras are paused now, logs what changed, and stores it in the configuration. Returns the cameras
    /// for which it changed.
    pub(super) fn update(&mut self, resolved: &mut ResolvedConfig, clock: &dyn Clock) -> BTreeSet<CameraId> {
        self.next_check = clock.now() + CHECK_INTERVAL;
        let (zone, wall_ms) = (self.zone(&resolved.config.cameras), clock.wall_ms());
        let (cameras, path) = (&resolved.config.cameras, &resolved.config.pause_file);
        let inputs =
            PauseInputs { file: pause_file::read(path), signal: self.signal, wall_ms, local: zone.at(wall_ms) };
        let paused = pause::paused(cameras, &inputs);
        let mut changes: BTreeMap<Option<Cause>, Vec<&str>> = BTreeMap::new();
        for camera in cameras {
            let (before, now) = (self.paused.get(&camera.id), paused.get(&camera.id));
            if before != now {
                changes.entry(now.copied()).or_default().push(&camera.name);
            }
        }
        for (cause, names) in changes {
            let names = names.join(", ");
            match cause {
                Some(cause) => info!(cameras = names, "paused by {}", cause.describe(path, &zone)),
                None => info!(cameras = names, "the pause is over"),
            }
        }
        let changed = |id: &CameraId| resolved.paused.contains(id) != paused.contains_key(id);
        let changed = cameras.iter().map(|camera| camera.id).filter(changed).collect();
        resolved.paused = paused.keys().copied().collect();
        self.paused = paused;
        changed
    }

    /// The time zone of the schedules. Logs once if it is unknown.
    fn zone(&mut self, cameras: &[Camera]) -> Zone {
        let known = Zone::system();
        let needed = cameras.iter().any(|camera| !camera.schedule.is_always());
        let is_unknown = needed && known.is_none();
        if is_unknown && !self.zone_is_unknown {
            warn!("this machine's time zone is not known, camera.schedule is read as UTC: install tzdata, or set TZ");
        }
        self.zone_is_unknown = is_unknown;
        known.unwrap_or_else(Zone::utc)
    }

    /// Handles SIGUSR1 and SIGUSR2. A pause must outlast this process, so the pause file is written; where that fails, the
    /// pause lasts as long as the process.
    fn handle_signal(&mut self, pause: bool, path: &Path) {
        let result = if pause { pause_file::write(path, None) } else { pause_file::remove(path).map(drop) };
        self.signal = pause && result.is_err();
        let path = path.display();
        match (result, pause) {
            (Ok(()), _) => {}
            (Err(err), true) => warn!(%path, %err, "the pause file cannot be written: a restart will end the pause"),
            (Err(err), false) => error!(%path, %err, "the pause file cannot be removed, so the pause goes on"),
        }
    }
}

impl Parent {
    /// Updates the pauses if the next check is due.
    pub(super) fn check_pauses(&mut self) {
        if self.clock.now() < self.paused_cameras.next_check {
            return;
        }
        let changed = self.paused_cameras.update(&mut self.config, &*self.clock);
        for camera in self.config.config.cameras.iter().filter(|camera| changed.contains(&camera.id)) {
            // `infer` first, so that the microphone is closed and nothing more is decoded.
            for name in [ProcessName::Infer, ProcessName::Ingest] {
                self.order(name, &Order::SetCamera(Box::new(self.config.camera(name, camera))), &[]);
            }
        }
        if !changed.is_empty() {
            self.step(Event::Paused(self.config.paused.len()));
        }
    }

    /// SIGUSR1 and SIGUSR2.
    pub(super) fn pause(&mut self, pause: bool) {
        self.paused_cameras.handle_signal(pause, &self.config.config.pause_file);
        self.paused_cameras.next_check = self.clock.now();
        self.check_pauses();
    }
}
