//! One opened device: cpal's callbacks copy into a ring and set flags, and nothing else.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use cpal::{
    BufferSize, DeviceId, ErrorKind, FromSample, SampleFormat, SizedSample, StreamConfig,
    traits::{DeviceTrait, HostTrait, StreamTrait},
};
use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use ringbuf::{
    HeapCons, HeapProd, HeapRb,
    traits::{Consumer, Observer, Producer, Split},
};

use super::Error;
use crate::time::{Clock, Moment};

/// The ring between the device's callback and our thread holds this much, seconds; the thread empties it every 30 ms.
const RING_SECONDS: usize = 2;
/// Blocks in that ring: at least 2 ms each.
const BLOCKS_MAX: usize = 1000;
/// How much is asked of the device at a time; it may give any other amount.
const BLOCKS_PER_SECOND: u32 = 50;
/// How often a sound server is asked whether the microphone is still there.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// How long opening may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// One opened device that captures.
pub(crate) struct Microphone {
    name: String,
    rate_hz: u32,
    channels: usize,
    blocks: HeapCons<Block>,
    samples: HeapCons<f32>,
    is_lost: Arc<AtomicBool>,
    /// Its drop ends the capture. Never dropped from a callback.
    _stream: cpal::Stream,
    /// Its drop ends the thread that watches the device.
    _watched: Sender<Never>,
}

#[derive(PartialEq)]
enum Never {}

impl fmt::Debug for Microphone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Microphone({}, {} Hz, {} channels)", self.name, self.rate_hz, self.channels)
    }
}

/// What a callback brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// When it arrived.
    pub arrival: Moment,
    /// Frames that are in the ring.
    pub kept: usize,
    /// Frames after those for which there was no room.
    pub lost: usize,
}

/// Whether this could be a microphone's name.
pub(super) fn check_name(name: &str) -> Result<(), Error> {
    let is_device = ["pulseaudio:", "alsa:"].iter().any(|host| host.len() < name.len() && name.starts_with(host));
    if is_device || name == "default" { Ok(()) } else { Err(Error::Name { name: name.to_owned() }) }
}

impl Microphone {
    /// Opens the microphone with this name: `pulseaudio:NAME` (also for PipeWire), `alsa:NAME`, or `default` for
    /// the sound system's own choice. It captures at the device's own rate and channels.
    ///
    /// # Errors
    /// When the name is malformed, the sound system or the device is not there, or it does not open.
    pub(crate) fn open(name: &str, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        check_name(name)?;
        let failed = |err: cpal::Error| Error::Open { name: name.to_owned(), reason: err.to_string() };
        let (host, device) = find(name)?;
        let native = device.default_input_config().map_err(failed)?;
        let (rate_hz, channels) = (native.sample_rate(), usize::from(native.channels()).max(1));
        let config = StreamConfig {
            channels: native.channels(),
            sample_rate: rate_hz,
            buffer_size: BufferSize::Fixed((rate_hz / BLOCKS_PER_SECOND).max(1)),
        };
        let (blocks_in, blocks) = HeapRb::new(BLOCKS_MAX).split();
        let (samples_in, samples) = HeapRb::new(rate_hz as usize * channels * RING_SECONDS).split();
        let is_lost = Arc::new(AtomicBool::new(false));
        let callback = Callback { clock, channels, blocks: blocks_in, samples: samples_in, lost: 0 };
        let stream = start(&device, config, native.sample_format(), callback, &is_lost).map_err(failed)?;
        stream.play().map_err(failed)?;
        let watched = watch(name, host, &device, &is_lost)?;
        let name = name.to_owned();
        Ok(Self { name, rate_hz, channels, blocks, samples, is_lost, _stream: stream, _watched: watched })
    }

    /// The name it was opened by.
    #[must_use]
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Frames per second.
    #[must_use]
    pub(crate) const fn rate_hz(&self) -> u32 {
        self.rate_hz
    }

    /// Channels.
    #[must_use]
    pub(crate) const fn channels(&self) -> usize {
        self.channels
    }

    /// No block has more frames.
    #[must_use]
    pub(crate) const fn frames_max(&self) -> usize {
        self.rate_hz as usize * RING_SECONDS
    }

    /// The next block, its frames mixed to one channel in `mono`, whose storage is reused; `None` if there is no
    /// other block yet.
    pub(crate) fn next_block(&mut self, mono: &mut Vec<f32>) -> Option<Block> {
        let block = self.blocks.try_pop()?;
        mono.clear();
        let scale = 1.0 / self.channels as f32;
        for _ in 0..block.kept {
            let sum: f32 = self.samples.pop_iter().take(self.channels).sum();
            mono.push(sum * scale);
        }
        Some(block)
    }

    /// Whether the device or the sound system said that this capture is over.
    #[must_use]
    pub(crate) fn is_lost(&self) -> bool {
        self.is_lost.load(Ordering::Relaxed)
    }
}

/// Watches whether the sound server still lists the microphone: it moves the recordings of a lost one to another
/// without notice. On a thread of its own, since a busy server takes its time to answer. ALSA reports a loss itself,
/// and `default` may be any microphone.
fn watch(
    name: &str,
    host: cpal::Host,
    device: &cpal::Device,
    is_lost: &Arc<AtomicBool>,
) -> Result<Sender<Never>, Error> {
    let failed = |reason: String| Error::Open { name: name.to_owned(), reason };
    let (watched, end) = bounded::<Never>(0);
    let id = device.id().map_err(|err| failed(err.to_string()))?;
    if id.host() == cpal::HostId::PulseAudio && name != "default" {
        let is_lost = is_lost.clone();
        let is_listed =
            move || Ok::<_, cpal::Error>(host.devices()?.any(|device| device.id().is_ok_and(|other| other == id)));
        let look = move || {
            while end.recv_timeout(LOOK_EVERY) == Err(RecvTimeoutError::Timeout) {
                if !is_listed().unwrap_or(false) {
                    is_lost.store(true, Ordering::Relaxed);
                    return;
                }
            }
        };
        let thread = thread::Builder::new().name("microphone-watch".into()).spawn(look);
        thread.map_err(|err| failed(err.to_string()))?;
    }
    Ok(watched)
}

/// Finds a microphone by its name.
fn find(name: &str) -> Result<(cpal::Host, cpal::Device), Error> {
    let no_host = |err: cpal::Error| Error::NoHost { name: name.to_owned(), reason: err.to_string() };
    if name == "default" {
        let host = cpal::default_host();
        let none = Error::NoDevice { name: name.to_owned(), others: "none".to_owned() };
        let device = host.default_input_device().ok_or(none)?;
        return Ok((host, device));
    }
    let id = DeviceId::from_str(name).map_err(no_host)?;
    let host = cpal::host_from_id(id.host()).map_err(no_host)?;
    let inputs = || host.input_devices().map_err(no_host);
    let found = inputs()?.find(|device| device.id().is_ok_and(|other| other == id));
    let Some(device) = found else {
        let others: Vec<_> = inputs()?.filter_map(|device| device.id().ok()).map(|id| configured(&id)).collect();
        let others = if others.is_empty() { "none".to_owned() } else { others.join(", ") };
        return Err(Error::NoDevice { name: name.to_owned(), others });
    };
    Ok((host, device))
}

/// The device's name as it would be configured.
fn configured(id: &DeviceId) -> String {
    id.to_string()
}

/// What runs on the device's thread: it only copies.
struct Callback {
    clock: Arc<dyn Clock>,
    channels: usize,
    blocks: HeapProd<Block>,
    samples: HeapProd<f32>,
    /// Frames of blocks for which there was no room at all.
    lost: usize,
}

impl Callback {
    fn take<T>(&mut self, data: &[T])
    where
        T: Copy,
        f32: FromSample<T>,
    {
        let arrival = self.clock.now();
        let frames = data.len() / self.channels;
        let kept = if self.blocks.is_full() { 0 } else { frames.min(self.samples.vacant_len() / self.channels) };
        let copied = data.iter().take(kept * self.channels).map(|sample| f32::from_sample_(*sample));
        self.samples.push_iter(copied);
        // Frames lost before this block are reported with it, and count as if they came after it: there is a gap anyway.
        let block = Block { arrival, kept, lost: frames - kept + self.lost };
        self.lost = if self.blocks.try_push(block).is_ok() { 0 } else { block.lost };
    }
}

fn start(
    device: &cpal::Device,
    config: StreamConfig,
    format: SampleFormat,
    callback: Callback,
    is_lost: &Arc<AtomicBool>,
) -> Result<cpal::Stream, cpal::Error> {
    match format {
        SampleFormat::F32 => start_as::<f32>(device, config, callback, is_lost),
        SampleFormat::I16 => start_as::<i16>(device, config, callback, is_lost),
        SampleFormat::I24 => start_as::<cpal::I24>(device, config, callback, is_lost),
        SampleFormat::I32 => start_as::<i32>(device, config, callback, is_lost),
        SampleFormat::U8 => start_as::<u8>(device, config, callback, is_lost),
        SampleFormat::U16 => start_as::<u16>(device, config, callback, is_lost),
        SampleFormat::F64 => start_as::<f64>(device, config, callback, is_lost),
        other => {
            Err(cpal::Error::with_message(ErrorKind::UnsupportedConfig, format!("its samples are of the kind {other}")))
        }
    }
}

fn start_as<T>(
    device: &cpal::Device,
    config: StreamConfig,
    mut callback: Callback,
    is_lost: &Arc<AtomicBool>,
) -> Result<cpal::Stream, cpal::Error>
where
    T: SizedSample,
    f32: FromSample<T>,
{
    let is_lost = is_lost.clone();
    device.build_input_stream::<T, _, _>(
        config,
        move |data, _| callback.take(data),
        move |err| {
            // ALSA's plugins call this a hundred thousand times a second once their source is removed, so nothing more
            // happens here. An overrun needs no action.
            if matches!(err.kind(), ErrorKind::DeviceNotAvailable | ErrorKind::StreamInvalidated) {
                is_lost.store(true, Ordering::Relaxed);
            }
        },
        Some(OPEN_TIMEOUT),
    )
}
