//! The thread that feeds a camera's decoders.

use std::sync::{Arc, atomic::Ordering};

use crossbeam_channel::{Receiver, never, select};
use tracing::{info_span, warn};

use super::Rings;
use crate::{
    config::{Camera, Sound},
    infer::{
        contract::Contract,
        decode::{self, AnyRate, HANGS_AFTER, Picture, SoundDecoder, VideoDecoder},
        features::picture::Resize,
        receiver::lock,
        unit_pool::UnitBuffer,
        unit_queue::UnitQueue,
        wake::Wake,
    },
    time::{Clock, Moment, Span},
    wire::access_unit::{AccessUnit, Codec, UnitHeader},
};

/// The decoders of a camera, which are opened when their first unit comes.
pub(super) struct Decoding {
    camera: Camera,
    rings: Arc<Rings>,
    queue: Arc<UnitQueue>,
    /// Width and height of the network's pictures.
    size: (u32, u32),
    /// The network's zero: red, green and blue, 0 to 1.
    zero: [f32; 3],
    /// Of the network's sound.
    rate_hz: u32,
    wake: Wake,
    clock: Arc<dyn Clock>,
    video: Option<(Codec, VideoDecoder)>,
    sound: Option<SoundDecoder>,
    /// Since when the video decoder has had no room.
    full_since: Option<Moment>,
    has_failed: bool,
}

impl Decoding {
    pub(super) fn new(
        camera: Camera,
        rings: Arc<Rings>,
        queue: Arc<UnitQueue>,
        contract: &Contract,
        wake: Wake,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            camera,
            rings,
            queue,
            size: (contract.video.width, contract.video.height),
            zero: contract.video.mean,
            rate_hz: contract.sound.rate_hz,
            wake,
            clock,
            video: None,
            sound: None,
            full_since: None,
            has_failed: false,
        }
    }

    /// Gives units to the decoders that have room, until the queue is closed. `arrived` gets a token for new units.
    pub(super) fn run(mut self, arrived: &Receiver<()>) {
        let _span = info_span!("decode", camera = %self.camera.name).entered();
        loop {
            let video_has_room = self.video.as_ref().is_none_or(|(_, decoder)| decoder.has_room());
            let sound_has_room = self.sound.as_ref().is_none_or(SoundDecoder::has_room);
            if let Some(unit) = self.queue.pop(video_has_room, sound_has_room) {
                let decoded = if unit.header.codec.is_video() { self.video(unit) } else { self.sound(unit) };
                self.log(decoded);
                continue;
            }
            self.wake.notify();
            self.restart_if_hanging(video_has_room);
            let nothing = never();
            let video_room = self.video.as_ref().and_then(|(_, decoder)| decoder.room());
            let sound_room = self.sound.as_ref().and_then(SoundDecoder::room);
            select! {
                recv(arrived) -> token => if token.is_err() { return },
                recv(video_room.filter(|_| !video_has_room).unwrap_or(&nothing)) -> _ => {}
                recv(sound_room.filter(|_| !sound_has_room).unwrap_or(&nothing)) -> _ => {}
                default(HANGS_AFTER) => {}
            }
        }
    }

    /// A decoder that hangs takes no unit, so this is the only place that notices it.
    fn restart_if_hanging(&mut self, video_has_room: bool) {
        if video_has_room {
            self.full_since = None;
            return;
        }
        let now = self.clock.now();
        if Span::from(HANGS_AFTER) <= now - *self.full_since.get_or_insert(now) {
            self.full_since = None;
            if let Some((_, decoder)) = &mut self.video {
                let error = decoder.restart_hanging();
                self.log(Err(error));
            }
        }
    }

    /// One line when decoding begins to fail; the next one only after it has worked again.
    fn log(&mut self, decoded: Result<(), decode::Error>) {
        if let Err(err) = &decoded
            && !self.has_failed
        {
            warn!(%err, "cannot decode");
        }
        self.has_failed = decoded.is_err();
    }

    fn video(&mut self, mut unit: AccessUnit<UnitBuffer>) -> Result<(), decode::Error> {
        let UnitHeader { codec, moment, wanted, lost, .. } = unit.header;
        self.rings.lost_total.fetch_add(u64::from(lost), Ordering::Relaxed);
        if wanted {
            self.rings.given.store(self.clock.now().as_ns(), Ordering::Relaxed);
        }
        unit.header.wanted |= !wanted && self.rings.probe.wants(moment);
        self.video_decoder(codec)?.decode(unit).map(drop)
    }

    fn video_decoder(&mut self, codec: Codec) -> Result<&mut VideoDecoder, decode::Error> {
        if self.video.as_ref().is_none_or(|(of, _)| *of != codec) {
            let (rings, clock) = (Arc::clone(&self.rings), Arc::clone(&self.clock));
            let mut resize = Resize::new(self.size.0, self.size.1);
            let take = move |picture: &Picture<'_>| rings.take(picture, &mut resize, &*clock);
            self.video = None;
            let pending = Arc::clone(&self.rings.pending);
            let decoder = VideoDecoder::open(codec, self.camera.decoder.as_deref(), pending, take)?;
            let decoder = decoder.masked(self.camera.masks.clone(), self.zero);
            return Ok(&mut self.video.insert((codec, decoder)).1);
        }
        self.video.as_mut().map(|(_, decoder)| decoder).ok_or(decode::Error::Start("no decoder".into()))
    }

    fn sound(&mut self, unit: AccessUnit<UnitBuffer>) -> Result<(), decode::Error> {
        if self.camera.sound != Sound::Camera {
            return Ok(());
        }
        if let Some(decoder) = self.sound.as_mut().filter(|decoder| decoder.fits(&unit.header)) {
            return decoder.decode(unit);
        }
        let UnitHeader { codec, rate_hz, channels, .. } = unit.header;
        let (rings, offset, wake) = (Arc::clone(&self.rings), self.camera.sync_offset, self.wake.clone());
        let mut resampler = AnyRate::new(self.rate_hz);
        let take = move |first: Moment, from_hz: u32, samples: &[f32]| {
            let write = |first, samples: &[f32]| lock(&rings.sound).write(first, samples);
            resampler.push(first - offset, from_hz, samples, write);
            wake.notify();
        };
        let decoder = SoundDecoder::open(codec, rate_hz, channels, take)?;
        self.sound.insert(decoder).decode(unit)
    }
}
