//! Which cameras are paused, and by what: decided from what is told, without a look at a file or a clock.

use std::{collections::BTreeMap, path::Path};

use crate::{
    config::Camera,
    service::pause::Said,
    time::local::{Local, Zone},
    wire::CameraId,
};

/// What pauses a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The pause file, until this moment, milliseconds since 1970 UTC; or until it is removed.
    File(Option<u64>),
    /// The pause file, which cannot be read or understood.
    UnclearFile,
    /// A signal, whose pause could not be written into the pause file.
    Signal,
    /// It is outside of the camera's hours.
    Schedule,
}

/// What is told about all cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Told {
    /// By the pause file.
    pub file: Said,
    /// By a signal, and not taken back since.
    pub signal: bool,
    /// What time it is: milliseconds since 1970 UTC, and what a clock on the wall shows.
    pub wall_ms: u64,
    /// The same, as a clock on the wall shows it.
    pub local: Local,
}

/// The paused ones among these cameras.
#[must_use]
pub fn paused(cameras: &[Camera], told: &Told) -> BTreeMap<CameraId, Cause> {
    let of_all = match told.file {
        Said::Always => Some(Cause::File(None)),
        Said::Until(end_ms) if told.wall_ms < end_ms => Some(Cause::File(Some(end_ms))),
        Said::Unclear => Some(Cause::UnclearFile),
        Said::Nothing | Said::Until(_) => told.signal.then_some(Cause::Signal),
    };
    let cause = |camera: &Camera| of_all.or_else(|| (!camera.schedule.is_open(told.local)).then_some(Cause::Schedule));
    cameras.iter().filter_map(|camera| Some((camera.id, cause(camera)?))).collect()
}

impl Cause {
    /// For the log; `file` is the pause file, and the end of a pause is written as clocks in `zone` show it.
    #[must_use]
    pub fn told(self, file: &Path, zone: &Zone) -> String {
        let file = file.display();
        match self {
            Self::File(Some(end_ms)) => format!("the file {file} until {}", zone.written(end_ms)),
            Self::File(None) => format!("the file {file} until it is removed"),
            Self::UnclearFile => format!("the file {file}, which cannot be read or understood, until it is removed"),
            Self::Signal => "SIGUSR1 until SIGUSR2".to_owned(),
            Self::Schedule => "camera.schedule".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Decode, Gates, Sound, Source, schedule::Schedule};

    fn camera(id: u16, entries: &[&str]) -> Camera {
        Camera {
            id: CameraId(id),
            name: format!("camera-{id}"),
            source: Source::File("clip.mp4".into()),
            decode: Decode::Auto,
            decoder: None,
            sound: Sound::Off,
            sync_offset: Default::default(),
            gates: Gates::default(),
            masks: Vec::new(),
            schedule: Schedule::parse(entries.iter().copied()).unwrap(),
        }
    }

    #[test]
    fn every_cause_pauses_and_the_more_lasting_one_is_told() {
        let cameras = [camera(0, &[]), camera(1, &["Mon 08:00-09:00"])];
        let [morning, evening] = [510, 1200].map(|minute| Local { weekday: 0, minute });
        let check = |file, signal, local, expected: &[(u16, Cause)]| {
            let told = Told { file, signal, wall_ms: 1000, local };
            let found: Vec<_> = paused(&cameras, &told).into_iter().map(|(id, cause)| (id.0, cause)).collect();
            assert_eq!(found, expected, "{told:?}");
        };
        let both = |cause| [(0, cause), (1, cause)];
        check(Said::Nothing, false, morning, &[]);
        check(Said::Nothing, false, evening, &[(1, Cause::Schedule)]);
        check(Said::Always, false, morning, &both(Cause::File(None)));
        check(Said::Unclear, true, evening, &both(Cause::UnclearFile));
        check(Said::Until(1001), false, evening, &both(Cause::File(Some(1001))));
        check(Said::Until(1000), false, morning, &[]);
        check(Said::Until(1000), false, evening, &[(1, Cause::Schedule)]);
        check(Said::Nothing, true, morning, &both(Cause::Signal));
        check(Said::Until(1000), true, morning, &both(Cause::Signal));
    }

    #[test]
    fn causes_are_told() {
        let zone = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let told = |cause: Cause| cause.told(Path::new("/s/paused"), &zone);
        assert_eq!(told(Cause::File(Some(1_795_282_200_000))), "the file /s/paused until 2026-11-21T18:30:00+01:00");
        assert_eq!(told(Cause::Schedule), "camera.schedule");
    }
}
