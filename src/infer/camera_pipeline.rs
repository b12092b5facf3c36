//! One camera inside `infer`: its decoders, its microphone and its rings.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use crossbeam_channel::Receiver;
use tracing::{error, info_span, warn};

use super::{
    contract::{Contract, SoundKind},
    decode::{self, AnyRate, Fed, Picture, SoundDecoder, VideoDecoder},
    features::picture::{Resize, Rgb},
    microphone,
    probe::CameraProbe,
    receiver::{Route, UnitReceiver, lock},
    ring::{FrameRing, KEPT, SoundRing},
};
use crate::{
    config::{Camera, Gates, Sound},
    mask::{Cells, Polygon},
    service::stop::{self, Stopper},
    time::{Clock, Moment},
    wire::{
        access_unit::{AccessUnit, Codec, UnitHeader},
        control::CameraOrder,
        record::PictureCodec,
    },
};

/// A minute of frames at 1 Hz would be less; this is the bound for a camera whose every frame is decoded.
const FRAME_BYTES_MAX: usize = 32 << 20;
/// How quickly the mean decoding time follows: a tenth of each new one.
const DECODE_MEAN_SHARE: u32 = 10;

/// A camera's newest frames and sound, shared by its decoders and the slots.
pub(crate) struct Rings {
    pub(crate) frames: Mutex<FrameRing>,
    pub(crate) sound: Mutex<SoundRing>,
    /// Wanted pictures that a decoder was given, and those that it gave back.
    expected: AtomicU32,
    received: AtomicU32,
    /// When the newest wanted unit was given to the decoder, for the decoding time.
    given: AtomicI64,
    decode_us: AtomicU32,
    lost_total: AtomicU64,
    /// Codec, width and height of the newest picture: 8, 16 and 16 bits.
    format: AtomicU64,
    /// Only in a dry run.
    pub(crate) gauge: Option<CameraProbe>,
}

impl Rings {
    fn new(contract: &Contract, masks: &[Polygon], gauge: Option<CameraProbe>) -> Self {
        let size = (contract.video.width, contract.video.height);
        let rate_hz = match contract.sound.kind {
            // A network that does not hear needs no ring; the smallest is kept so that nothing is optional.
            SoundKind::None => 1,
            _ => contract.sound.rate_hz,
        };
        Self {
            frames: Mutex::new(
                FrameRing::new(size.0, size.1, KEPT, FRAME_BYTES_MAX)
                    .measured_at(Cells::touched(masks, size, 1).left()),
            ),
            sound: Mutex::new(SoundRing::new(rate_hz, KEPT)),
            expected: AtomicU32::new(0),
            received: AtomicU32::new(0),
            given: AtomicI64::new(0),
            decode_us: AtomicU32::new(0),
            lost_total: AtomicU64::new(0),
            format: AtomicU64::new(0),
            gauge,
        }
    }

    /// A running mean of what a frame costs from its unit to the ring, microseconds.
    pub(crate) fn decode_us(&self) -> u32 {
        self.decode_us.load(Ordering::Relaxed)
    }

    /// Codec, width and height of the picture as the camera sends it.
    pub(crate) fn format(&self) -> (PictureCodec, u16, u16) {
        let [codec, _, _, _, width_high, width_low, height_high, height_low] =
            self.format.load(Ordering::Relaxed).to_be_bytes();
        let codec = PictureCodec::from_code(codec).unwrap_or(PictureCodec::Unknown);
        (codec, u16::from_be_bytes([width_high, width_low]), u16::from_be_bytes([height_high, height_low]))
    }

    /// Whether a wanted picture is still inside a decoder.
    fn awaiting(&self) -> bool {
        self.expected.load(Ordering::Acquire) != self.received.load(Ordering::Acquire)
    }

    /// Gives up on pictures that a damaged stream never gave.
    fn stop_awaiting(&self) {
        self.received.store(self.expected.load(Ordering::Acquire), Ordering::Release);
    }

    /// A picture came out of the decoder: scales it into the ring.
    fn take(&self, picture: &Picture<'_>, squash: &mut Resize, clock: &dyn Clock) {
        let Picture { moment, width, height, stride, rgb, .. } = *picture;
        let source = Rgb { bytes: rgb, width, height, stride };
        if self.gauge.as_ref().is_some_and(|gauge| !gauge.look(moment, source)) {
            return;
        }
        let mut scaled = Ok(());
        let lost_total = self.lost_total.load(Ordering::Relaxed);
        let fill = |out: &mut [u8]| scaled = squash.squash(source, out);
        let motion = lock(&self.frames).push(moment, picture.format(), lost_total, fill).motion;
        self.gauge.iter().for_each(|gauge| gauge.moved(moment, motion));
        if let Err(err) = scaled {
            warn!(%err, "a picture cannot be scaled");
        }
        let codec = u64::from(picture_codec(picture.codec).code()) << 56;
        self.format.store(codec | u64::from(width & 0xffff) << 16 | u64::from(height & 0xffff), Ordering::Relaxed);
        let took_us = (clock.now() - Moment(self.given.load(Ordering::Relaxed))).as_ns() / 1000;
        let took_us = u32::try_from(took_us).unwrap_or(0);
        let mean_us = match self.decode_us.load(Ordering::Relaxed) {
            0 => took_us,
            mean => mean - mean / DECODE_MEAN_SHARE + took_us / DECODE_MEAN_SHARE,
        };
        self.decode_us.store(mean_us, Ordering::Relaxed);
        self.received.fetch_add(1, Ordering::AcqRel);
    }
}

fn picture_codec(codec: Codec) -> PictureCodec {
    match codec {
        Codec::H264 => PictureCodec::H264,
        Codec::H265 => PictureCodec::H265,
        Codec::Mjpeg => PictureCodec::Mjpeg,
        _ => PictureCodec::Unknown,
    }
}

/// A camera at work; its threads end when it is dropped.
pub(crate) struct CameraPipeline {
    pub(crate) camera: Camera,
    pub(crate) route: Arc<Route>,
    pub(crate) rings: Arc<Rings>,
    /// Nobody looks or listens: there is no decoder and no microphone, and the rings stay empty.
    pub(crate) paused: bool,
    decoding: Option<JoinHandle<()>>,
    microphone: Option<Microphone>,
}

/// The thread that listens, and how it is doing.
struct Microphone {
    status: Arc<microphone::Status>,
    stopper: Stopper,
    thread: JoinHandle<()>,
}

impl Microphone {
    /// Listens to the microphone `name` and writes what it hears into the ring, shifted by the camera's offset.
    fn start(camera: &Camera, name: &str, rings: &Arc<Rings>, clock: &Arc<dyn Clock>) -> io::Result<Self> {
        let status = Arc::new(microphone::Status::default());
        let (stopper, stop) = stop::channel();
        let rate_hz = lock(&rings.sound).rate_hz();
        let (name, offset, camera) = (name.to_owned(), camera.sync_offset, camera.name.clone());
        let (rings, clock, of_thread) = (Arc::clone(rings), Arc::clone(clock), Arc::clone(&status));
        let listen = move || {
            let _span = info_span!("microphone", camera = %camera).entered();
            let sink = |first: Moment, samples: &[f32]| lock(&rings.sound).write(first - offset, samples);
            if let Err(err) = microphone::run(&name, rate_hz, sink, &clock, &stop, &of_thread) {
                error!(%err, "no sound");
            }
        };
        let thread = thread::Builder::new().name("microphone".into()).spawn(listen)?;
        Ok(Self { status, stopper, thread })
    }
}

impl CameraPipeline {
    /// Starts the camera's decoders, unless it is paused; its units come from `intake`. With `survey` its pictures are
    /// measured.
    pub(crate) fn open(
        CameraOrder { camera, paused, .. }: CameraOrder,
        intake: &UnitReceiver,
        contract: &Contract,
        survey: bool,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let motion_min = camera.gates.motion_min.get_f32();
        let motion_min = if 0.0 < motion_min { motion_min } else { Gates::default().motion_min.get_f32() };
        let gauge = survey.then(|| CameraProbe::new(motion_min, camera.masks.clone()));
        let rings = Arc::new(Rings::new(contract, &camera.masks, gauge));
        let (route, packets) = intake.add(camera.id);
        if paused {
            return Ok(Self { camera, route, rings, paused, decoding: None, microphone: None });
        }
        let decoding = Decoding {
            camera: camera.clone(),
            rings: Arc::clone(&rings),
            route: Arc::clone(&route),
            size: (contract.video.width, contract.video.height),
            zero: contract.video.mean,
            rate_hz: contract.sound.rate_hz,
            clock: Arc::clone(clock),
            video: None,
            sound: None,
        };
        let name = format!("decode-{}", camera.name);
        let decoding = thread::Builder::new().name(name).spawn(move || decoding.run(&packets))?;
        let hears = contract.sound.kind != SoundKind::None;
        let microphone = match &camera.sound {
            Sound::Microphone(name) if hears => Some(Microphone::start(&camera, name, &rings, clock)?),
            _ => None,
        };
        Ok(Self { camera, route, rings, paused, decoding: Some(decoding), microphone })
    }

    /// Whether everything that arrived has reached the rings, and the sound has come as far as `end`.
    pub(crate) fn settled(&self, end: Moment) -> bool {
        if self.paused {
            return true;
        }
        let sound_came = match self.camera.sound {
            Sound::Off => true,
            Sound::Camera | Sound::Microphone(_) => lock(&self.rings.sound).end().is_some_and(|it| end <= it),
        };
        sound_came && !self.route.pending() && !self.rings.awaiting()
    }

    /// Begins a clap test, or ends it.
    pub(crate) fn clap(&self, is_on: bool) {
        match &self.rings.gauge {
            Some(gauge) if is_on => gauge.begin_clap(self.camera.sync_offset, lock(&self.rings.sound).rate_hz()),
            Some(gauge) => gauge.end_clap(),
            None => warn!("a clap test is for dry runs"),
        }
    }

    /// The microphone's clock against ours, parts per million; 0 before it is known.
    pub(crate) fn sound_drift_ppm(&self) -> i16 {
        let ppm = self.microphone.as_ref().and_then(|it| it.status.drift_ppm()).unwrap_or(0.0);
        #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
        let ppm = ppm.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        ppm
    }

    /// Sound thrown away because this room did not take it in time, ms.
    pub(crate) fn sound_lost_ms(&self) -> u32 {
        let lost = self
            .microphone
            .as_ref()
            .map_or(0, |it| it.status.overflowed().saturating_mul(1000) / u64::from(it.status.rate_hz().max(1)));
        u32::try_from(lost).unwrap_or(u32::MAX)
    }

    /// The slot was cut: what is still awaited comes too late for it.
    pub(crate) fn stop_awaiting(&self) {
        self.rings.stop_awaiting();
    }

    /// Ends the camera's threads. Its route must have been removed, which ends their input.
    pub(crate) fn close(mut self) {
        if let Some(Microphone { stopper, thread, .. }) = self.microphone.take() {
            drop(stopper);
            thread.join().ok();
        }
        if let Some(decoding) = self.decoding.take() {
            decoding.join().ok();
        }
    }
}

/// The thread that feeds a camera's decoders.
struct Decoding {
    camera: Camera,
    rings: Arc<Rings>,
    route: Arc<Route>,
    size: (u32, u32),
    /// The network's zero: red, green and blue, 0 to 1.
    zero: [f32; 3],
    rate_hz: u32,
    clock: Arc<dyn Clock>,
    video: Option<(Codec, VideoDecoder)>,
    sound: Option<SoundDecoder>,
}

impl Decoding {
    fn run(mut self, packets: &Receiver<AccessUnit<Vec<u8>>>) {
        let _span = info_span!("decode", camera = %self.camera.name).entered();
        let mut failed = false;
        for unit in packets {
            let done = if unit.header.codec.is_video() { self.video(unit) } else { self.sound(unit) };
            self.route.done();
            // One line when decoding begins to fail; the next one only after it has worked again.
            match done {
                Err(err) if !failed => {
                    warn!(%err, "cannot decode");
                    failed = true;
                }
                Err(_) => {}
                Ok(()) => failed = false,
            }
        }
    }

    fn video(&mut self, mut unit: AccessUnit<Vec<u8>>) -> Result<(), decode::Error> {
        let UnitHeader { codec, moment, wanted, discontinuity, lost, .. } = unit.header;
        self.rings.lost_total.fetch_add(u64::from(lost), Ordering::Relaxed);
        if discontinuity {
            self.rings.stop_awaiting();
        }
        if wanted {
            self.rings.given.store(self.clock.now().as_ns(), Ordering::Relaxed);
        }
        unit.header.wanted |= self.rings.gauge.as_ref().is_some_and(|gauge| !wanted && gauge.wants(moment));
        let decoder = self.video_decoder(codec)?;
        if decoder.decode(unit)? == Fed::Taken && wanted {
            self.rings.expected.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    fn video_decoder(&mut self, codec: Codec) -> Result<&mut VideoDecoder, decode::Error> {
        if self.video.as_ref().is_none_or(|(of, _)| *of != codec) {
            let (rings, clock) = (Arc::clone(&self.rings), Arc::clone(&self.clock));
            let mut squash = Resize::new(self.size.0, self.size.1);
            let take = move |picture: &Picture<'_>| rings.take(picture, &mut squash, &*clock);
            self.video = None;
            self.rings.stop_awaiting();
            let decoder = VideoDecoder::open(codec, self.camera.decoder.as_deref(), take)?;
            let decoder = decoder.masked(self.camera.masks.clone(), self.zero);
            return Ok(&mut self.video.insert((codec, decoder)).1);
        }
        self.video.as_mut().map(|(_, decoder)| decoder).ok_or(decode::Error::Start("no decoder".into()))
    }

    fn sound(&mut self, unit: AccessUnit<Vec<u8>>) -> Result<(), decode::Error> {
        if self.camera.sound != Sound::Camera {
            return Ok(());
        }
        if let Some(decoder) = self.sound.as_mut().filter(|decoder| decoder.fits(&unit.header)) {
            return decoder.decode(unit);
        }
        let UnitHeader { codec, rate_hz, channels, .. } = unit.header;
        let (rings, offset) = (Arc::clone(&self.rings), self.camera.sync_offset);
        let mut resampler = AnyRate::new(self.rate_hz);
        let take = move |first: Moment, from_hz: u32, samples: &[f32]| {
            let write = |first, samples: &[f32]| lock(&rings.sound).write(first, samples);
            resampler.push(first - offset, from_hz, samples, write);
        };
        let decoder = SoundDecoder::open(codec, rate_hz, channels, take)?;
        self.sound.insert(decoder).decode(unit)
    }
}
