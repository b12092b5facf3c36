//! A clip of a file through the daemon's own decoders, scaling, resampling and features.
//!
//! **Pictures.** All units are decoded, as many frames hang on those before them; only the frames that the network will
//! see are converted and scaled. For each i of T it is the last frame before `(i + 1/2) · D / T` after the first one,
//! D the contract's `clip_seconds`. Of a clip that is longer the first D count. One that is shorter repeats its last
//! frame, as a window repeats the nearest frame across a gap.
//!
//! **Sound** is placed by its time stamps relative to the first frame. By the rules of a window (`senses`) a clip with
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
    decode::{AnyRate, Error, Media, Picture, SoundDecoder, Sounding, Unreadable, VideoDecoder},
    feature_extractor::{FeatureExtractor, heard},
    features::picture::{Resize, Rgb},
    receiver::lock,
    ring::{FrameRing, KEPT, SoundRing},
    runtime::Clip,
    window::Cut,
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

/// Which senses a clip brought to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brought {
    /// Pictures and sound.
    Both,
    /// Pictures; the network does not hear, or was trained to do without.
    Picture,
    /// Sound; the network was trained to do without pictures.
    Sound,
    /// Too little for this network: it is not asked.
    None,
}

impl Brought {
    /// As a word of predictions.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Both => "both",
            Self::Picture => "picture",
            Self::Sound => "sound",
            Self::None => "none",
        }
    }
}

/// What reading a clip came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    /// The senses.
    pub brought: Brought,
    /// How long demuxing, decoding, colour and resampling took.
    pub decoding: Span,
    /// How long scaling, normalising and the spectrogram took.
    pub features: Span,
}

/// Reads one clip after another; memory is that of one.
pub struct Reader {
    contract: Contract,
    senses: FeatureExtractor,
    seen: Arc<Mutex<Seen>>,
    told: Arc<Mutex<Told>>,
    video: Option<(Codec, VideoDecoder)>,
    sound: Option<SoundDecoder>,
    clock: Arc<dyn Clock>,
}

/// The frames of the clip at hand.
struct Seen {
    frames: FrameRing,
    squash: Resize,
    scaling: Span,
}

/// The sound of the clip at hand.
struct Told {
    ring: SoundRing,
    resampler: AnyRate,
}

impl Told {
    fn take(&mut self, first: Moment, from_hz: u32, samples: &[f32]) {
        let Self { ring, resampler } = self;
        resampler.push(first, from_hz, samples, |first, samples| ring.write(first, samples));
    }
}

impl Reader {
    /// A reader for a network's clips.
    #[must_use]
    pub fn new(contract: &Contract, clock: Arc<dyn Clock>) -> Self {
        let (width, height) = (contract.video.width, contract.video.height);
        let kept = contract.clip + KEPT;
        let rate_hz = match contract.sound.kind {
            SoundKind::None => 1,
            _ => contract.sound.rate_hz,
        };
        let seen = Seen {
            frames: FrameRing::new(width, height, kept, FRAME_BYTES_MAX),
            squash: Resize::new(width, height),
            scaling: Span::ZERO,
        };
        let told = Told { ring: SoundRing::new(rate_hz, kept), resampler: AnyRate::new(rate_hz) };
        Self {
            senses: FeatureExtractor::new(contract),
            contract: contract.clone(),
            seen: Arc::new(Mutex::new(seen)),
            told: Arc::new(Mutex::new(told)),
            video: None,
            sound: None,
            clock,
        }
    }

    /// Reads a file into a clip's place of the batch.
    ///
    /// # Errors
    /// When nothing of it can be decoded.
    pub fn read(&mut self, file: &Path, clip: &mut Clip<'_>) -> Result<Read, Unreadable> {
        let begun = self.clock.now();
        lock(&self.seen).frames.clear();
        lock(&self.told).ring.clear();
        let media = Media::open(file, self.contract.clip)?;
        let zero = media.zero().ok_or(Unreadable::Empty)?;
        let wanted = wanted(&media.video, zero, self.contract.clip, self.contract.video.frames);
        let seen = self.see(media.video, &wanted);
        let told = self.hear(media.sound);
        let decoded = self.clock.now();
        let brought = self.fill(zero, &wanted, clip);
        let scaling = mem::take(&mut lock(&self.seen).scaling);
        let nothing = lock(&self.seen).frames.is_empty() && lock(&self.told).ring.end().is_none();
        if nothing {
            seen.and(told)?;
            return Err(Unreadable::Empty);
        }
        let features = self.clock.now() - decoded + scaling;
        Ok(Read { brought, decoding: Span((decoded - begun).as_ns() - scaling.as_ns()), features })
    }

    /// Decodes the units, up to the last that is wanted.
    fn see(&mut self, mut units: Vec<AccessUnit<Vec<u8>>>, wanted: &[Moment]) -> Result<(), Error> {
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
            let (seen, clock) = (Arc::clone(&self.seen), Arc::clone(&self.clock));
            let take = move |picture: &Picture<'_>| lock(&seen).take(picture, &*clock);
            let decoder = VideoDecoder::open(codec, None, take)?.undropped();
            self.video = Some((codec, decoder));
        }
        self.video.as_mut().map(|(_, decoder)| decoder).ok_or(Error::Start("no decoder".into()))
    }

    fn hear(&mut self, sound: Vec<Sounding>) -> Result<(), Error> {
        if self.contract.sound.kind == SoundKind::None {
            return Ok(());
        }
        let mut fault = Ok(());
        for sounding in sound {
            match sounding {
                Sounding::Samples(first, from_hz, samples) => lock(&self.told).take(first, from_hz, &samples),
                Sounding::AccessUnit(unit) => {
                    let done = self.sound_decoder(&unit.header)?.decode_in_turn(unit);
                    fault = fault.and(done);
                }
            }
        }
        let finished = self.sound.as_mut().map_or(Ok(()), SoundDecoder::finish);
        let Told { ring, resampler } = &mut *lock(&self.told);
        resampler.finish(|first, samples| ring.write(first, samples));
        finished.and(fault)
    }

    fn sound_decoder(&mut self, unit: &UnitHeader) -> Result<&mut SoundDecoder, Error> {
        if self.sound.as_ref().is_none_or(|it| !it.fits(unit)) {
            let told = Arc::clone(&self.told);
            let take = move |first: Moment, from_hz: u32, samples: &[f32]| lock(&told).take(first, from_hz, samples);
            self.sound = Some(SoundDecoder::open(unit.codec, unit.rate_hz, unit.channels, take)?);
        }
        self.sound.as_mut().ok_or(Error::Start("no decoder".into()))
    }

    /// Writes what was decoded into the clip's place, where it is enough for the network.
    fn fill(&mut self, zero: Moment, wanted: &[Moment], clip: &mut Clip<'_>) -> Brought {
        let hears = self.contract.sound.kind != SoundKind::None;
        let sound = match hears {
            true => {
                let end = zero + self.contract.clip;
                heard(lock(&self.told).ring.read(zero, end, &mut self.senses.samples), &Gates::default()).0
            }
            false => SoundState::Off,
        };
        let heard = matches!(sound, SoundState::Present | SoundState::Clipping);
        let seen = lock(&self.seen);
        let frames = nearest(&seen.frames, wanted);
        match (frames, heard) {
            (Some(_), false) if hears && self.contract.sound.missing == Missing::Withhold => Brought::None,
            (Some(frames), _) => {
                self.senses.fill(&seen.frames, &Cut { frames, heard, frame_offset: Span::ZERO }, clip);
                if heard { Brought::Both } else { Brought::Picture }
            }
            // Whoever was trained with a sense masked is told so by the input `present`.
            (None, true) if self.contract.sound.missing == Missing::Mask => {
                self.senses.fill_blind(heard, clip);
                Brought::Sound
            }
            (None, _) => Brought::None,
        }
    }
}

impl Seen {
    fn take(&mut self, picture: &Picture<'_>, clock: &dyn Clock) {
        let begun = clock.now();
        let Picture { moment, width, height, stride, rgb, .. } = *picture;
        let source = Rgb { bytes: rgb, width, height, stride };
        let Self { frames, squash, .. } = self;
        let mut scaled = Ok(());
        frames.push(moment, picture.format(), 0, |out| scaled = squash.squash(source, out));
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
        let heard = || match self.sound.first() {
            Some(Sounding::AccessUnit(unit)) => Some(unit.header.moment),
            Some(Sounding::Samples(first, ..)) => Some(*first),
            None => None,
        };
        from_key.min().or_else(heard)
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
        let distances = frames.metas().map(|it| (it.moment - *wanted).abs()).enumerate();
        distances.min_by_key(|(_, distance)| *distance).map(|(index, _)| index)
    };
    let frames: Option<Vec<_>> = wanted.iter().map(nearest).collect();
    frames.filter(|it| !it.is_empty())
}
