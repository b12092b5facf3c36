//! A clip of a file through the daemon's own decoders, scaling, resampling and features.
//!
//! **Pictures.** All units are decoded, because many frames depend on those before them; only the frames that the network
//! will see are converted and scaled. For each i of T it is the last frame before `(i + 1/2) · D / T` after the first one,
//! D the contract's `clip_seconds`. Of a longer clip the first D are read. A shorter one repeats its last frame,
//! as a window repeats the nearest frame across a gap.
//!
//! **Sound** is placed by its time stamps relative to the first frame. By the rules of a window (`feature_extractor`) a clip with
//! less than nine tenths of its sound, or with digital silence, has none; smaller gaps are zeros.
//!
//! A unit that cannot be decoded is skipped, as of a damaged stream; the frame nearest to the lost one is taken instead.

use std::{
    mem,
    path::Path,
    sync::{Arc, Mutex},
};

use super::{
    contract::{Contract, Missing, SoundKind},
    decode::{AnyRate, ContainerSound, Error, Media, Picture, SoundDecoder, Unreadable, VideoDecoder},
    feature_extractor::{FeatureExtractor, sound_state},
    features::picture::{Resize, Rgb},
    receiver::lock,
    ring::{FrameRing, KEPT, SoundRing},
    runtime::Clip,
    window::Selection,
};
use crate::{
    config::Gates,
    time::{Clock, Moment, Span},
    wire::{
        access_unit::{AccessUnit, Codec, UnitHeader},
        record::SoundState,
    },
};

/// GStreamer rounds times to nanoseconds: a frame this little before its moment is at it.
const ROUNDED: Span = Span(1000);
/// More than any network's frames: 32 of 1024 by 1024 pixels.
const FRAME_BYTES_MAX: usize = 128 << 20;

/// Which modalities of a clip the network was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Modalities {
    /// Pictures and sound.
    Both,
    /// Pictures; the network uses no sound, or was trained to work without.
    Picture,
    /// Sound; the network was trained to work without pictures.
    Sound,
    /// Too little for this network: it is not run.
    None,
}

impl Modalities {
    /// Its name in predictions.
    #[must_use]
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Picture => "picture",
            Self::Sound => "sound",
            Self::None => "none",
        }
    }
}

/// The result of reading a clip.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ClipRead {
    /// What the network was given.
    pub modalities: Modalities,
    /// How long demuxing, decoding, colour and resampling took.
    pub decoding: Span,
    /// How long scaling, normalising and the spectrogram took.
    pub features: Span,
}

/// Reads one clip after another; memory is that of one.
pub(crate) struct Reader {
    contract: Contract,
    features: FeatureExtractor,
    frames: Arc<Mutex<ClipFrames>>,
    samples: Arc<Mutex<ClipSound>>,
    video: Option<(Codec, VideoDecoder)>,
    sound: Option<SoundDecoder>,
    clock: Arc<dyn Clock>,
}

/// The frames of the current clip.
struct ClipFrames {
    ring: FrameRing,
    resize: Resize,
    scaling: Span,
}

/// The sound of the current clip.
struct ClipSound {
    ring: SoundRing,
    resampler: AnyRate,
}

impl ClipSound {
    fn take(&mut self, first: Moment, from_hz: u32, samples: &[f32]) {
        let Self { ring, resampler } = self;
        resampler.push(first, from_hz, samples, |first, samples| ring.write(first, samples));
    }
}

impl Reader {
    /// A reader for a network's clips.
    #[must_use]
    pub(crate) fn new(contract: &Contract, clock: Arc<dyn Clock>) -> Self {
        let (width, height) = (contract.video.width, contract.video.height);
        let kept = contract.clip + KEPT;
        let rate_hz = match contract.sound.kind {
            SoundKind::None => 1,
            _ => contract.sound.rate_hz,
        };
        let frames = ClipFrames {
            ring: FrameRing::new(width, height, kept, FRAME_BYTES_MAX),
            resize: Resize::new(width, height),
            scaling: Span::ZERO,
        };
        let samples = ClipSound { ring: SoundRing::new(rate_hz, kept), resampler: AnyRate::new(rate_hz) };
        Self {
            features: FeatureExtractor::new(contract),
            contract: contract.clone(),
            frames: Arc::new(Mutex::new(frames)),
            samples: Arc::new(Mutex::new(samples)),
            video: None,
            sound: None,
            clock,
        }
    }

    /// Reads a file into a clip's place of the batch.
    ///
    /// # Errors
    /// When nothing of it can be decoded.
    pub(crate) fn read(&mut self, file: &Path, clip: &mut Clip<'_>) -> Result<ClipRead, Unreadable> {
        let begun = self.clock.now();
        lock(&self.frames).ring.clear();
        lock(&self.samples).ring.clear();
        let media = Media::open(file, self.contract.clip)?;
        let zero = media.zero().ok_or(Unreadable::Empty)?;
        let wanted = wanted(&media.video, zero, self.contract.clip, self.contract.video.frames);
        let pictures = self.decode_pictures(media.video, &wanted);
        let sound = self.decode_sound(media.sound);
        let decoded = self.clock.now();
        let modalities = self.fill(zero, &wanted, clip);
        let scaling = mem::take(&mut lock(&self.frames).scaling);
        let is_empty = lock(&self.frames).ring.is_empty() && lock(&self.samples).ring.end().is_none();
        if is_empty {
            pictures.and(sound)?;
            return Err(Unreadable::Empty);
        }
        let features = self.clock.now() - decoded + scaling;
        Ok(ClipRead { modalities, decoding: Span((decoded - begun).as_ns() - scaling.as_ns()), features })
    }

    /// Decodes the units, up to the last that is wanted.
    fn decode_pictures(&mut self, mut units: Vec<AccessUnit<Vec<u8>>>, wanted: &[Moment]) -> Result<(), Error> {
        units.iter_mut().for_each(|unit| unit.header.wanted = wanted.contains(&unit.header.moment));
        let Some(last) = units.iter().rposition(|unit| unit.header.wanted) else { return Ok(()) };
        let mut fault = Ok(());
        for unit in units.into_iter().take(last + 1) {
            let done = self.video_decoder(unit.header.codec)?.decode_in_turn(unit);
            fault = fault.and(done.map(drop));
        }
        match &mut self.video {
            Some((_, decoder)) => decoder.finish().and(fault),
            None => fault,
        }
    }

    fn video_decoder(&mut self, codec: Codec) -> Result<&mut VideoDecoder, Error> {
        if self.video.as_ref().is_none_or(|(of, _)| *of != codec) {
            let (frames, clock) = (Arc::clone(&self.frames), Arc::clone(&self.clock));
            let take = move |picture: &Picture<'_>| lock(&frames).take(picture, &*clock);
            let decoder = VideoDecoder::open(codec, None, Arc::default(), take)?.lossless();
            self.video = Some((codec, decoder));
        }
        self.video.as_mut().map(|(_, decoder)| decoder).ok_or(Error::Start("no decoder".into()))
    }

    fn decode_sound(&mut self, sound: Vec<ContainerSound>) -> Result<(), Error> {
        if self.contract.sound.kind == SoundKind::None {
            return Ok(());
        }
        let mut fault = Ok(());
        for part in sound {
            match part {
                ContainerSound::Samples(first, from_hz, samples) => lock(&self.samples).take(first, from_hz, &samples),
                ContainerSound::AccessUnit(unit) => {
                    let done = self.sound_decoder(&unit.header)?.decode_in_turn(unit);
                    fault = fault.and(done);
                }
            }
        }
        let finished = self.sound.as_mut().map_or(Ok(()), SoundDecoder::finish);
        let ClipSound { ring, resampler } = &mut *lock(&self.samples);
        resampler.finish(|first, samples| ring.write(first, samples));
        finished.and(fault)
    }

    fn sound_decoder(&mut self, unit: &UnitHeader) -> Result<&mut SoundDecoder, Error> {
        if self.sound.as_ref().is_none_or(|decoder| !decoder.fits(unit)) {
            let sound = Arc::clone(&self.samples);
            let take = move |first: Moment, from_hz: u32, samples: &[f32]| lock(&sound).take(first, from_hz, samples);
            self.sound = Some(SoundDecoder::open(unit.codec, unit.rate_hz, unit.channels, take)?);
        }
        self.sound.as_mut().ok_or(Error::Start("no decoder".into()))
    }

    /// Writes what was decoded into the clip's place, where it is enough for the network.
    fn fill(&mut self, zero: Moment, wanted: &[Moment], clip: &mut Clip<'_>) -> Modalities {
        let uses_sound = self.contract.sound.kind != SoundKind::None;
        let sound = match uses_sound {
            true => {
                let end = zero + self.contract.clip;
                sound_state(lock(&self.samples).ring.read(zero, end, &mut self.features.samples), &Gates::default()).0
            }
            false => SoundState::Off,
        };
        let has_sound = matches!(sound, SoundState::Present | SoundState::Clipping);
        let ring = &lock(&self.frames).ring;
        match (nearest(ring, wanted), has_sound) {
            (Some(_), false) if uses_sound && self.contract.sound.missing == Missing::Withhold => Modalities::None,
            (Some(frames), _) => {
                self.features.fill(ring, &Selection { frames, has_sound, frame_offset: Span::ZERO }, clip);
                if has_sound { Modalities::Both } else { Modalities::Picture }
            }
            // A network that was trained with modalities masked finds the mask in its input `present`.
            (None, true) if self.contract.sound.missing == Missing::Mask => {
                self.features.fill_without_video(has_sound, clip);
                Modalities::Sound
            }
            (None, _) => Modalities::None,
        }
    }
}

impl ClipFrames {
    fn take(&mut self, picture: &Picture<'_>, clock: &dyn Clock) {
        let begun = clock.now();
        let Picture { moment, width, height, stride, rgb, .. } = *picture;
        let source = Rgb { bytes: rgb, width, height, stride };
        let Self { ring, resize, .. } = self;
        let mut scaled = Ok(());
        ring.push(moment, picture.format(), 0, |out| scaled = resize.resize(source, out));
        if let Err(err) = scaled {
            tracing::warn!(%err, "a picture cannot be scaled");
        }
        self.scaling = self.scaling + (clock.now() - begun);
    }
}

impl Media {
    /// The first frame's moment, or else the first sound's.
    fn zero(&self) -> Option<Moment> {
        let headers = self.video.iter().map(|unit| &unit.header);
        let from_key = headers.skip_while(|header| !header.is_key).map(|header| header.moment);
        let first_sound = || match self.sound.first() {
            Some(ContainerSound::AccessUnit(unit)) => Some(unit.header.moment),
            Some(ContainerSound::Samples(first, ..)) => Some(*first),
            None => None,
        };
        from_key.min().or_else(first_sound)
    }
}

/// The moments of the frames that the network will see, one for each of `frames`.
fn wanted(units: &[AccessUnit<Vec<u8>>], zero: Moment, length: Span, frames: u32) -> Vec<Moment> {
    let frames = i64::from(frames);
    let last_before = |i: i64| {
        let moment = zero + Span(length.as_ns() * (2 * i + 1) / (2 * frames));
        let moments = units.iter().map(|unit| unit.header.moment).filter(|at| zero <= *at);
        moments.filter(|at| *at + ROUNDED < moment).max()
    };
    (0..frames).filter_map(last_before).collect()
}

/// For each wanted frame the index of it, or of the nearest, in the ring; `None` without any.
fn nearest(frames: &FrameRing, wanted: &[Moment]) -> Option<Vec<usize>> {
    let nearest = |wanted: &Moment| {
        let distances = frames.metas().map(|frame| (frame.moment - *wanted).abs()).enumerate();
        distances.min_by_key(|(_, distance)| *distance).map(|(index, _)| index)
    };
    let frames: Option<Vec<_>> = wanted.iter().map(nearest).collect();
    frames.filter(|frames| !frames.is_empty())
}
