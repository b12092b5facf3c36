//! Decides which cameras are paused, and by what; the pause file and the time are arguments.

use std::{collections::BTreeMap, path::Path};

use crate::{
    config::Camera,
    service::pause_file::PauseFile,
    time::local::{Local, Zone},
    wire::CameraId,
};

/// What pauses a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Cause {
    /// The pause file, until this time, milliseconds since 1970 UTC; or until it is removed.
    File(Option<u64>),
    /// The pause file, which cannot be read or has other content.
    InvalidFile,
    /// SIGUSR1, where the pause file could not be written.
    Signal,
    /// The camera's schedule.
    Schedule,
}

/// What the decision depends on, beside the cameras.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PauseInputs {
    /// The content of the pause file.
    pub(super) file: PauseFile,
    /// Whether SIGUSR1 paused and could not write the pause file, and no SIGUSR2 came since.
    pub(super) signal: bool,
    /// The time, milliseconds since 1970 UTC.
    pub(super) wall_ms: u64,
    /// The same as local time.
    pub(super) local: Local,
}

/// Returns the cameras that are paused.
#[must_use]
pub(super) fn paused(cameras: &[Camera], inputs: &PauseInputs) -> BTreeMap<CameraId, Cause> {
    let of_all_cameras = match inputs.file {
        PauseFile::Indefinite => Some(Cause::File(None)),
        PauseFile::Until(end_ms) if inputs.wall_ms < end_ms => Some(Cause::File(Some(end_ms))),
        PauseFile::Invalid => Some(Cause::InvalidFile),
        PauseFile::Absent | PauseFile::Until(_) => inputs.signal.then_some(Cause::Signal),
    };
    let cause = |camera: &Camera| {
        of_all_cameras.or_else(|| (!camera.schedule.is_open(inputs.local)).then_some(Cause::Schedule))
    };
    cameras.iter().filter_map(|camera| Some((camera.id, cause(camera)?))).collect()
}

impl Cause {
    /// For the log, with the path of the pause file and the end of the pause as local time in `zone`.
    #[must_use]
    pub(super) fn describe(self, file: &Path, zone: &Zone) -> String {
        let file = file.display();
        match self {
            Self::File(Some(end_ms)) => format!("the file {file} until {}", zone.rfc3339(end_ms)),
            Self::File(None) => format!("the file {file} until it is removed"),
            Self::InvalidFile => format!("the file {file}, which cannot be read or understood, until it is removed"),
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
    fn every_cause_pauses_and_the_one_that_lasts_longer_is_reported() {
        let cameras = [camera(0, &[]), camera(1, &["Mon 08:00-09:00"])];
        let [morning, evening] = [510, 1200].map(|minute| Local { weekday: 0, minute });
        let check = |file, signal, local, expected: &[(u16, Cause)]| {
            let inputs = PauseInputs { file, signal, wall_ms: 1000, local };
            let found: Vec<_> = paused(&cameras, &inputs).into_iter().map(|(id, cause)| (id.0, cause)).collect();
            assert_eq!(found, expected, "{inputs:?}");
        };
        let both = |cause| [(0, cause), (1, cause)];
        check(PauseFile::Absent, false, morning, &[]);
        check(PauseFile::Absent, false, evening, &[(1, Cause::Schedule)]);
        check(PauseFile::Indefinite, false, morning, &both(Cause::File(None)));
        check(PauseFile::Invalid, true, evening, &both(Cause::InvalidFile));
        check(PauseFile::Until(1001), false, evening, &both(Cause::File(Some(1001))));
        check(PauseFile::Until(1000), false, morning, &[]);
        check(PauseFile::Until(1000), false, evening, &[(1, Cause::Schedule)]);
        check(PauseFile::Absent, true, morning, &both(Cause::Signal));
        check(PauseFile::Until(1000), true, morning, &both(Cause::Signal));
    }

    #[test]
    fn causes_are_described() {
        let zone = Zone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let text = |cause: Cause| cause.describe(Path::new("/s/paused"), &zone);
        assert_eq!(text(Cause::File(Some(1_795_282_200_000))), "the file /s/paused until 2026-11-21T18:30:00+01:00");
        assert_eq!(text(Cause::Schedule), "camera.schedule");
    }
}
