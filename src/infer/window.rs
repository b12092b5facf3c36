//! Selects the frames of the slot grid's windows: which frames of a camera's ring a slot gets, or why it gets none.
//!
//! Pure: no I/O, no clock. The reasons, the first that applies is given:
//!
//! 1. `starting`: too few frames, and the window began before the camera's first frame, or there was none yet and the
//!    camera is not known to be offline.
//! 2. `camera_offline`: too few frames, and the camera is offline, or it sent nothing and is not online.
//! 3. `format_change`: the frames have different formats.
//! 4. `video_gap`: too few frames near enough to the wanted moments.
//! 5. `damaged`: more packets were lost than `packets_lost_max`.
//! 6. `dark`: the mean luma of the chosen frames is below `luma_min`.
//! 7. `frozen`: no frame in the window differs from the one before by `motion_min`.
//! 8. `sound_missing`: there is no sound, and the network was not trained to work without.
//!
//! Each is given only where those before it do not apply, so a dashboard shows the cause that someone can act on: a
//! camera that was disconnected is not reported as dark.

use super::contract::Missing;
use crate::{
    config::Gates,
    time::{Grid, Moment, Span},
    wire::record::{CameraState, SoundState, Withheld},
};

/// The motion of a frame that has none before it (the first of a connection or of a format): as much as there can be, so
/// that it is not taken for frozen.
pub(crate) const MOTION_UNKNOWN: f32 = 255.0;

/// What is known about a frame beside its pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct FrameMeta {
    /// Its presentation time on our clock.
    pub moment: Moment,
    /// Mean luma, 0 to 255.
    pub luma: f32,
    /// Mean absolute difference to the frame before, in luma levels; [`MOTION_UNKNOWN`] where there is none to compare
    /// with.
    pub motion: f32,
    /// Changes with the camera's codec and size.
    pub format: u32,
    /// RTP packets of this camera's video lost up to this frame, counted from the start of the process. It may
    /// start again at zero.
    pub lost_total: u64,
}

/// The state of a camera when its slot ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CameraView {
    /// Whether pictures arrive.
    pub state: CameraState,
    /// The moment of its first frame ever; `None` before it.
    pub first_frame: Option<Moment>,
    /// What the sound of this window is like.
    pub sound: SoundState,
}

/// The frames of a window that the network can read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Selection {
    /// For each wanted moment the index of its frame in the ring, in the ring's order. A missing frame is replaced by
    /// the nearest one that is there.
    pub frames: Vec<usize>,
    /// Whether there is sound that is not digital silence.
    pub has_sound: bool,
    /// The distance of the worst of the frames from its wanted moment.
    pub frame_offset: Span,
}

impl Selection {
    /// The worst distance for a record: whole ms, capped.
    #[must_use]
    pub(crate) fn frame_offset_ms(&self) -> u16 {
        u16::try_from(self.frame_offset.as_ms()).unwrap_or(u16::MAX)
    }
}

/// Selects the frames of one camera's slots.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    grid: Grid,
    gates: Gates,
    missing: Missing,
}

impl Window {
    /// With the slots, the camera's gates, and what the network does without sound (`Missing::Mask` for one that
    /// uses no sound).
    #[must_use]
    pub(crate) const fn new(grid: Grid, gates: Gates, missing: Missing) -> Self {
        Self { grid, gates, missing }
    }

    /// Selects the frames of slot `slot` from those of the ring, oldest first.
    ///
    /// # Errors
    /// The reason why the slot must be withheld; see the list above.
    pub(crate) fn select<'f>(
        &self,
        slot: u64,
        ring: impl IntoIterator<Item = &'f FrameMeta>,
        camera: CameraView,
    ) -> Result<Selection, Withheld> {
        let ring: Vec<FrameMeta> = ring.into_iter().copied().collect();
        let inside: Vec<&FrameMeta> = ring.iter().filter(|frame| self.covers(slot, frame.moment)).collect();
        let chosen = self.choose(slot, &ring);
        if chosen.is_none() {
            self.absence(slot, inside.is_empty(), camera)?;
        }
        let of_chosen = |(frames, _): &(Vec<usize>, Span)| frames.iter().map(|at| ring[*at].format).collect();
        let formats: Vec<u32> = chosen.as_ref().map(of_chosen).unwrap_or_default();
        let mut formats = formats.into_iter().chain(inside.iter().map(|frame| frame.format));
        let first = formats.next();
        if formats.any(|format| Some(format) != first) {
            return Err(Withheld::FormatChange);
        }
        let (frames, frame_offset) = chosen.ok_or(Withheld::VideoGap)?;
        if self.gates.packets_lost_max.get::<u64>() < self.lost(slot, &ring) {
            return Err(Withheld::Damaged);
        }
        let luma = frames.iter().map(|at| ring[*at].luma).sum::<f32>() / frames.len().max(1) as f32;
        if luma < self.gates.luma_min.get_f32() {
            return Err(Withheld::Dark);
        }
        let motion = frames.iter().map(|at| &ring[*at]).chain(inside).map(|frame| frame.motion).fold(0.0, f32::max);
        if motion < self.gates.motion_min.get_f32() {
            return Err(Withheld::Frozen);
        }
        // Digital silence is a muted or broken microphone, not a quiet place: the network was not trained on it.
        let has_sound = matches!(camera.sound, SoundState::Present | SoundState::Clipping);
        if !has_sound && self.missing == Missing::Withhold {
            return Err(Withheld::SoundMissing);
        }
        Ok(Selection { frames, has_sound, frame_offset })
    }

    /// How much the window moved, in levels: what [`Self::select`] compares with `motion_min`, of the frames that have one
    /// before them. `None` where none has, or there are too few.
    pub(crate) fn motion<'f>(&self, slot: u64, ring: impl IntoIterator<Item = &'f FrameMeta>) -> Option<f32> {
        let ring: Vec<FrameMeta> = ring.into_iter().copied().collect();
        let (chosen, _) = self.choose(slot, &ring)?;
        let inside = ring.iter().filter(|frame| self.covers(slot, frame.moment));
        let all = chosen.iter().map(|at| &ring[*at]).chain(inside).map(|frame| frame.motion);
        all.filter(|motion| *motion < MOTION_UNKNOWN).reduce(f32::max)
    }

    fn covers(&self, slot: u64, moment: Moment) -> bool {
        self.grid.start(slot) <= moment && moment < self.grid.end(slot)
    }

    /// Why there are too few frames, if it is not only a gap.
    fn absence(&self, slot: u64, none_at_all: bool, camera: CameraView) -> Result<(), Withheld> {
        let offline = camera.state == CameraState::Offline;
        match camera.first_frame {
            None if offline => Err(Withheld::CameraOffline),
            None => Err(Withheld::Starting),
            Some(first) if self.grid.start(slot) < first => Err(Withheld::Starting),
            Some(_) if offline || none_at_all && camera.state != CameraState::Online => Err(Withheld::CameraOffline),
            Some(_) => Ok(()),
        }
    }

    /// For each wanted moment the nearest frame, and the worst distance; `None` if too many are missing.
    fn choose(&self, slot: u64, ring: &[FrameMeta]) -> Option<(Vec<usize>, Span)> {
        let wanted: Vec<Moment> = (0..self.grid.frames).map(|frame| self.grid.wanted(slot, frame)).collect();
        let near: Vec<Option<usize>> = wanted
            .iter()
            .map(|wanted| {
                let nearest = (0..ring.len()).min_by_key(|at| (ring[*at].moment - *wanted).abs())?;
                let distance = (ring[nearest].moment - *wanted).abs();
                (distance <= self.gates.frame_offset_max_ms.span()).then_some(nearest)
            })
            .collect();
        let missing = near.iter().filter(|frame| frame.is_none()).count();
        if self.gates.frames_missing_max.get::<usize>() < missing {
            return None;
        }
        let mut frames = Vec::with_capacity(wanted.len());
        let mut worst = Span::ZERO;
        for wanted in &wanted {
            let nearest = near.iter().flatten().min_by_key(|at| (ring[**at].moment - *wanted).abs())?;
            worst = worst.max((ring[*nearest].moment - *wanted).abs());
            frames.push(*nearest);
        }
        Some((frames, worst))
    }

    /// The packets lost for the frames of this window: since the last frame before it.
    fn lost(&self, slot: u64, ring: &[FrameMeta]) -> u64 {
        let pairs = ring.windows(2).filter(|pair| self.covers(slot, pair[1].moment));
        // A counter that fell was restarted: what it shows then was lost since.
        pairs
            .map(|pair| pair[1].lost_total.checked_sub(pair[0].lost_total).unwrap_or(pair[1].lost_total))
            .fold(0, u64::saturating_add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decimal;

    const GRID: Grid = Grid { clip: Span::from_ms(5000), hop: Span::from_ms(5000), frames: 5 };
    /// From 10 s to 15 s; frames are wanted at 10.5, 11.5, … s.
    const SLOT: u64 = 3;

    const fn at(ms: i64) -> Moment {
        Moment(ms * 1_000_000)
    }

    fn frame(ms: i64) -> FrameMeta {
        FrameMeta { moment: at(ms), luma: 100.0, motion: 2.0, format: 1, lost_total: 0 }
    }

    /// A frame a second, half a second past each, from 5.5 s on.
    fn steady() -> Vec<FrameMeta> {
        (5..15).map(|second| frame(second * 1000 + 500)).collect()
    }

    fn online() -> CameraView {
        CameraView { state: CameraState::Online, first_frame: Some(at(500)), sound: SoundState::Present }
    }

    fn window(missing: Missing) -> Window {
        Window::new(GRID, Gates::default(), missing)
    }

    #[track_caller]
    fn check(ring: &[FrameMeta], camera: CameraView, wanted: Result<(&[usize], i64), Withheld>) {
        let selected = window(Missing::Withhold).select(SLOT, ring, camera);
        let selected = selected.as_ref().map(|selection| (&selection.frames[..], selection.frame_offset.as_ms()));
        assert_eq!(selected.map_err(|reason| *reason), wanted);
    }

    #[test]
    fn a_clean_window_takes_the_nearest_frames() {
        check(&steady(), online(), Ok((&[5, 6, 7, 8, 9], 0)));
        let shifted: Vec<_> = (50..160).map(|tenth| frame(tenth * 100 + 30)).collect();
        check(&shifted, online(), Ok((&[55, 65, 75, 85, 95], 30)));
        let key_frames_two_seconds_apart: Vec<_> = (0..8).map(|n| frame(n * 2000 + 1000)).collect();
        check(&key_frames_two_seconds_apart, online(), Ok((&[5, 5, 6, 6, 7], 500)));
    }

    #[test]
    fn a_short_drop_is_bridged_and_a_longer_one_is_a_gap() {
        let mut ring = steady();
        ring.remove(7);
        check(&ring, online(), Ok((&[5, 6, 6, 7, 8], 1000)));
        ring.remove(7);
        check(&ring, online(), Err(Withheld::VideoGap));
        check(&ring, CameraView { state: CameraState::Stale, ..online() }, Err(Withheld::VideoGap));
    }

    #[test]
    fn a_long_drop_is_an_outage_until_the_camera_is_back() {
        let until = |ms: i64| steady().into_iter().filter(|frame| frame.moment <= at(ms)).collect::<Vec<_>>();
        let offline = CameraView { state: CameraState::Offline, ..online() };
        let stale = CameraView { state: CameraState::Stale, ..online() };
        check(&until(12_000), offline, Err(Withheld::CameraOffline));
        check(&until(9000), stale, Err(Withheld::CameraOffline));
        check(&until(9000), offline, Err(Withheld::CameraOffline));
        check(&[], offline, Err(Withheld::CameraOffline));
        check(&until(9000), online(), Err(Withheld::VideoGap));
        // Back in the middle of the window: a gap; in the next, all is well.
        check(&steady()[8..], online(), Err(Withheld::VideoGap));
        check(&steady()[5..], online(), Ok((&[0, 1, 2, 3, 4], 0)));
    }

    #[test]
    fn a_camera_that_never_sent_is_starting_or_offline() {
        let none = CameraView { first_frame: None, state: CameraState::Stale, ..online() };
        check(&[], none, Err(Withheld::Starting));
        check(&[], CameraView { state: CameraState::Offline, ..none }, Err(Withheld::CameraOffline));
        let late = CameraView { first_frame: Some(at(12_500)), ..online() };
        check(&steady()[7..], late, Err(Withheld::Starting));
        // It came during the window, but in time for all frames.
        check(&steady()[5..], CameraView { first_frame: Some(at(10_400)), ..online() }, Ok((&[0, 1, 2, 3, 4], 0)));
    }

    #[test]
    fn a_format_change_comes_before_what_it_causes() {
        let mut ring = steady();
        ring[8..].iter_mut().for_each(|frame| frame.format = 2);
        check(&ring, online(), Err(Withheld::FormatChange));
        ring.remove(6);
        ring.remove(6);
        check(&ring, online(), Err(Withheld::FormatChange));
        let mut before = steady();
        before[..5].iter_mut().for_each(|frame| frame.format = 2);
        check(&before, online(), Ok((&[5, 6, 7, 8, 9], 0)));
    }

    #[test]
    fn lost_packets_are_counted_in_the_window_alone() {
        let lost = |counts: [u64; 10]| {
            let frames = steady().into_iter().zip(counts);
            frames.map(|(frame, lost_total)| FrameMeta { lost_total, ..frame }).collect::<Vec<_>>()
        };
        check(&lost([0, 90, 90, 90, 90, 90, 90, 100, 110, 110]), online(), Ok((&[5, 6, 7, 8, 9], 0)));
        check(&lost([0, 0, 0, 0, 0, 0, 0, 10, 21, 21]), online(), Err(Withheld::Damaged));
        check(&lost([0, 0, 0, 0, 0, 21, 21, 21, 21, 21]), online(), Err(Withheld::Damaged));
        // The process was restarted, and its counter with it.
        check(&lost([9, 9, 9, 9, 900, 0, 0, 5, 5, 5]), online(), Ok((&[5, 6, 7, 8, 9], 0)));
        check(&lost([9, 9, 9, 9, 900, 0, 0, 25, 25, 25]), online(), Err(Withheld::Damaged));
    }

    #[test]
    fn dark_and_frozen_pictures_are_not_read() {
        let mut dark = steady();
        dark.iter_mut().for_each(|frame| frame.luma = 11.9);
        check(&dark, online(), Err(Withheld::Dark));
        dark[9].luma = 100.0;
        check(&dark, online(), Ok((&[5, 6, 7, 8, 9], 0)));
        let mut frozen = steady();
        frozen[5..].iter_mut().for_each(|frame| frame.motion = 0.0);
        check(&frozen, online(), Err(Withheld::Frozen));
        frozen[9].motion = 0.2;
        check(&frozen, online(), Ok((&[5, 6, 7, 8, 9], 0)));
        frozen[9].motion = f32::INFINITY;
        check(&frozen, online(), Ok((&[5, 6, 7, 8, 9], 0)));
        frozen[9].motion = 0.0;
        let off =
            Window::new(GRID, Gates { motion_min: Decimal::new(0.0).unwrap(), ..Gates::default() }, Missing::Withhold);
        assert!(off.select(SLOT, &frozen, online()).is_ok());
    }

    #[test]
    fn the_motion_of_a_window_is_what_its_gate_compares() {
        let motion = |ring: &[FrameMeta]| window(Missing::Withhold).motion(SLOT, ring);
        let mut ring = steady();
        ring.iter_mut().zip(1_u8..).for_each(|(frame, nth)| frame.motion = f32::from(nth) / 10.0);
        assert_eq!(motion(&ring), Some(1.0), "of ten frames the last");
        ring[9].motion = MOTION_UNKNOWN;
        assert_eq!(motion(&ring), Some(0.9), "the first of a format is compared with nothing");
        ring.iter_mut().for_each(|frame| frame.motion = MOTION_UNKNOWN);
        assert_eq!(motion(&ring), None);
        assert_eq!(motion(&steady()[..7]), None, "a gap");
    }

    #[test]
    fn sound_is_needed_or_not() {
        let has_sound = |missing, sound| {
            let selected = window(missing).select(SLOT, &steady(), CameraView { sound, ..online() });
            selected.map(|selection| selection.has_sound)
        };
        for missing in [Missing::Withhold, Missing::Mask, Missing::LogitsVideo] {
            assert_eq!(has_sound(missing, SoundState::Present), Ok(true));
            assert_eq!(has_sound(missing, SoundState::Clipping), Ok(true));
        }
        for sound in [SoundState::Absent, SoundState::Silent, SoundState::Off] {
            assert_eq!(has_sound(Missing::Withhold, sound), Err(Withheld::SoundMissing));
            assert_eq!(has_sound(Missing::Mask, sound), Ok(false));
            assert_eq!(has_sound(Missing::LogitsVideo, sound), Ok(false));
        }
    }

    #[test]
    fn a_day_of_windows_is_selected_without_a_loss() {
        let first = 3;
        for slot in first..first + 17_280 {
            let ring: Vec<_> =
                (0..5).map(|frame| GRID.wanted(slot, frame)).map(|moment| FrameMeta { moment, ..frame(0) }).collect();
            let selection = window(Missing::Withhold).select(slot, &ring, online()).unwrap();
            assert_eq!((&selection.frames[..], selection.frame_offset_ms()), (&[0, 1, 2, 3, 4][..], 0));
        }
    }
}
