//! One camera inside `infer`: its decoders, its microphone and its rings.

mod decoding;

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use tracing::{error, info_span, warn};

use self::decoding::Decoding;
use super::{
    contract::{Contract, SoundKind},
    decode::{PendingPictures, Picture},
    features::picture::{Resize, Rgb},
    microphone,
    probe::Probe,
    receiver::{Route, UnitReceiver, lock},
    ring::{FrameRing, KEPT, SoundRing},
    unit_queue::UnitQueue,
    wake::Wake,
};
use crate::{
    config::{Camera, Sound},
    mask::{Cells, Polygon},
    service::stop::{self, Stopper},
    time::{Clock, Moment},
    wire::{access_unit::Codec, control::CameraOrder, record::PictureCodec},
};

/// A minute of frames at 1 Hz would be less; this is the bound for a camera whose every frame is decoded.
const FRAME_BYTES_MAX: usize = 32 << 20;
/// How quickly the mean decoding time follows: a tenth of each new one.
const DECODE_MEAN_SHARE: u32 = 10;

/// A camera's newest frames and sound, shared by its decoders and the slots.
pub(crate) struct Rings {
    pub(crate) frames: Mutex<FrameRing>,
    pub(crate) sound: Mutex<SoundRing>,
    /// The wanted pictures that the decoder still owes.
    pub(crate) pending: Arc<PendingPictures>,
    /// When the newest wanted unit was given to the decoder, for the decoding time.
    given: AtomicI64,
    decode_us: AtomicU32,
    lost_total: AtomicU64,
    /// Codec, width and height of the newest picture: 8, 16 and 16 bits.
    format: AtomicU64,
    pub(crate) probe: Box<dyn Probe>,
}

impl Rings {
    fn new(contract: &Contract, masks: &[Polygon], probe: Box<dyn Probe>, wake: Wake) -> Self {
        let size = (contract.video.width, contract.video.height);
        let rate_hz = match contract.sound.kind {
            // A network without sound needs no ring; it gets the smallest one, so that the ring is not optional.
            SoundKind::None => 1,
            _ => contract.sound.rate_hz,
        };
        Self {
            frames: Mutex::new(
                FrameRing::new(size.0, size.1, KEPT, FRAME_BYTES_MAX)
                    .measured_at(Cells::touched(masks, size, 1).left()),
            ),
            sound: Mutex::new(SoundRing::new(rate_hz, KEPT)),
            pending: Arc::new(PendingPictures::new(wake)),
            given: AtomicI64::new(0),
            decode_us: AtomicU32::new(0),
            lost_total: AtomicU64::new(0),
            format: AtomicU64::new(0),
            probe,
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

    /// A picture came out of the decoder: scales it into the ring.
    fn take(&self, picture: &Picture<'_>, resize: &mut Resize, clock: &dyn Clock) {
        let Picture { moment, width, height, stride, rgb, .. } = *picture;
        let source = Rgb { bytes: rgb, width, height, stride };
        if !self.probe.on_picture(moment, source) {
            return;
        }
        let mut scaled = Ok(());
        let lost_total = self.lost_total.load(Ordering::Relaxed);
        let fill = |out: &mut [u8]| scaled = resize.resize(source, out);
        let motion = lock(&self.frames).push(moment, picture.format(), lost_total, fill).motion;
        self.probe.on_frame(moment, motion);
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
    /// While it is paused there is no decoder and no microphone, and the rings stay empty.
    pub(crate) paused: bool,
    decoding: Option<JoinHandle<()>>,
    microphone: Option<Microphone>,
}

/// The thread that captures sound, and its status.
struct Microphone {
    status: Arc<microphone::Status>,
    stopper: Stopper,
    thread: JoinHandle<()>,
}

impl Microphone {
    /// Writes the sound of the microphone `name` into the ring, shifted by the camera's offset.
    fn start(camera: &Camera, name: &str, rings: &Arc<Rings>, wake: Wake, clock: &Arc<dyn Clock>) -> io::Result<Self> {
        let status = Arc::new(microphone::Status::default());
        let (stopper, stop) = stop::channel();
        let rate_hz = lock(&rings.sound).rate_hz();
        let (name, offset, camera) = (name.to_owned(), camera.sync_offset, camera.name.clone());
        let (rings, clock, of_thread) = (Arc::clone(rings), Arc::clone(clock), Arc::clone(&status));
        let capture = move || {
            let _span = info_span!("microphone", camera = %camera).entered();
            let sink = |first: Moment, samples: &[f32]| {
                lock(&rings.sound).write(first - offset, samples);
                wake.notify();
            };
            if let Err(err) = microphone::run(&name, rate_hz, sink, &clock, &stop, &of_thread) {
                error!(%err, "no sound");
            }
        };
        let thread = thread::Builder::new().name("microphone".into()).spawn(capture)?;
        Ok(Self { status, stopper, thread })
    }
}

impl CameraPipeline {
    /// Starts the camera's decoders, unless it is paused; its units come from `receiver`. `wake` is notified of all that a
    /// slot may wait for.
    pub(crate) fn open(
        CameraOrder { camera, paused, .. }: CameraOrder,
        receiver: &UnitReceiver,
        contract: &Contract,
        probe: Box<dyn Probe>,
        wake: &Wake,
        clock: &Arc<dyn Clock>,
    ) -> io::Result<Self> {
        let rings = Arc::new(Rings::new(contract, &camera.masks, probe, wake.clone()));
        if paused {
            let route = receiver.add(camera.id, None);
            return Ok(Self { camera, route, rings, paused, decoding: None, microphone: None });
        }
        let (queue, arrived) = UnitQueue::new();
        let queue = Arc::new(queue);
        let route = receiver.add(camera.id, Some(Arc::clone(&queue)));
        let decoding =
            Decoding::new(camera.clone(), Arc::clone(&rings), queue, contract, wake.clone(), Arc::clone(clock));
        let name = format!("decode-{}", camera.name);
        let decoding = thread::Builder::new().name(name).spawn(move || decoding.run(&arrived))?;
        let uses_sound = contract.sound.kind != SoundKind::None;
        let microphone = match &camera.sound {
            Sound::Microphone(name) if uses_sound => {
                Some(Microphone::start(&camera, name, &rings, wake.clone(), clock)?)
            }
            _ => None,
        };
        Ok(Self { camera, route, rings, paused, decoding: Some(decoding), microphone })
    }

    /// Whether everything that arrived has reached the rings, and the sound has come as far as `end`.
    pub(crate) fn is_settled(&self, end: Moment) -> bool {
        if self.paused {
            return true;
        }
        let sound_came = match self.camera.sound {
            Sound::Off => true,
            Sound::Camera | Sound::Microphone(_) => lock(&self.rings.sound).end().is_some_and(|newest| end <= newest),
        };
        sound_came && self.route.is_idle() && !self.rings.pending.is_any_awaited()
    }

    /// The microphone's clock against ours, parts per million; 0 before it is known.
    pub(crate) fn sound_drift_ppm(&self) -> i16 {
        let ppm = self.microphone.as_ref().and_then(|microphone| microphone.status.drift_ppm()).unwrap_or(0.0);
        #[allow(clippy::cast_possible_truncation, reason = "clamped to the range of the record")]
        let ppm = ppm.clamp(f64::from(i16::MIN), f64::from(i16::MAX)) as i16;
        ppm
    }

    /// Sound that was lost because this process did not take it in time, ms.
    pub(crate) fn sound_lost_ms(&self) -> u32 {
        let Some(Microphone { status, .. }) = &self.microphone else { return 0 };
        let lost_ms = status.overflowed().saturating_mul(1000) / u64::from(status.rate_hz().max(1));
        u32::try_from(lost_ms).unwrap_or(u32::MAX)
    }

    /// Ends the camera's threads. Its route must have been removed, which closes its queue.
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
