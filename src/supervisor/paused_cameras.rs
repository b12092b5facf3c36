//! Puts cameras to rest and wakes them: looks once a second at what says so, and tells the rooms.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use tracing::{error, info, warn};

use super::{
    Parent,
    pause::{self, Cause, Told},
    plan::Event,
    process::ProcessName,
    worker_config::ResolvedConfig,
};
use crate::{
    config::Camera,
    service::pause as file,
    time::{Clock, Moment, Span, local::Zone},
    wire::{CameraId, control::Order},
};

/// Whoever makes the pause file waits no longer than this.
const LOOK_EVERY: Span = Span::from_ms(1000);

/// What is known about pauses.
#[derive(Debug, Default)]
pub(super) struct PausedCameras {
    /// When to look again.
    pub(super) look_at: Moment,
    /// A signal paused and could not be written into the pause file, and none has resumed since.
    signal: bool,
    paused: BTreeMap<CameraId, Cause>,
    /// A schedule is kept in a zone that may not be this machine's.
    in_doubt: bool,
}

impl PausedCameras {
    /// Finds out who is paused now, says what changed in that, and keeps it in the setting. Returns those for whom it
    /// changed.
    pub(super) fn settle(&mut self, setting: &mut ResolvedConfig, clock: &dyn Clock) -> BTreeSet<CameraId> {
        self.look_at = clock.now() + LOOK_EVERY;
        let (zone, wall_ms) = (self.zone(&setting.config.cameras), clock.wall_ms());
        let (cameras, pause_file) = (&setting.config.cameras, &setting.config.privacy.pause_file);
        let told = Told { file: file::read(pause_file), signal: self.signal, wall_ms, local: zone.at(wall_ms) };
        let paused = pause::paused(cameras, &told);
        let mut news: BTreeMap<Option<Cause>, Vec<&str>> = BTreeMap::new();
        for camera in cameras {
            let (before, now) = (self.paused.get(&camera.id), paused.get(&camera.id));
            if before != now {
                news.entry(now.copied()).or_default().push(&camera.name);
            }
        }
        for (cause, names) in news {
            let names = names.join(", ");
            match cause {
                Some(cause) => info!(cameras = names, "paused by {}", cause.told(pause_file, &zone)),
                None => info!(cameras = names, "the pause is over"),
            }
        }
        let changed = |id: &CameraId| setting.paused.contains(id) != paused.contains_key(id);
        let changed = cameras.iter().map(|it| it.id).filter(changed).collect();
        setting.paused = paused.keys().copied().collect();
        self.paused = paused;
        changed
    }

    /// Where the clock hangs that schedules are about. That it is not known is said once.
    fn zone(&mut self, cameras: &[Camera]) -> Zone {
        let known = Zone::system();
        let needed = cameras.iter().any(|it| !it.schedule.is_always());
        let in_doubt = needed && known.is_none();
        if in_doubt && !self.in_doubt {
            warn!("this machine's time zone is not known, camera.schedule is read as UTC: install tzdata, or set TZ");
        }
        self.in_doubt = in_doubt;
        known.unwrap_or_else(Zone::utc)
    }

    /// A signal came. Its pause is to outlast this process, so it goes into the pause file; where that cannot be
    /// written, it lasts as long as the process does.
    fn signalled(&mut self, pause: bool, pause_file: &Path) {
        let (path, done) =
            (pause_file.display(), if pause { file::write(pause_file, None) } else { remove(pause_file) });
        self.signal = pause && done.is_err();
        match (done, pause) {
            (Ok(()), _) => {}
            (Err(err), true) => warn!(%path, %err, "the pause file cannot be written: a restart will end the pause"),
            (Err(err), false) => error!(%path, %err, "the pause file cannot be removed, so the pause goes on"),
        }
    }
}

fn remove(pause_file: &Path) -> std::io::Result<()> {
    file::remove(pause_file).map(drop)
}

impl Parent {
    /// Looks whether it is time to rest, if it is time to look.
    pub(super) fn look(&mut self) {
        if self.clock.now() < self.rest.look_at {
            return;
        }
        let changed = self.rest.settle(&mut self.setting, &*self.clock);
        for camera in self.setting.config.cameras.iter().filter(|it| changed.contains(&it.id)) {
            // Ears and eyes are closed first.
            for room in [ProcessName::Infer, ProcessName::Ingest] {
                self.order(room, &Order::SetCamera(Box::new(self.setting.camera(room, camera))), &[]);
            }
        }
        if !changed.is_empty() {
            self.step(Event::Paused(self.setting.paused.len()));
        }
    }

    /// SIGUSR1 and SIGUSR2.
    pub(super) fn pause(&mut self, pause: bool) {
        self.rest.signalled(pause, &self.setting.config.privacy.pause_file);
        self.rest.look_at = self.clock.now();
        self.look();
    }
}
