//! Decodes a camera's sound.

use std::sync::{Arc, Mutex, PoisonError};

use crossbeam_channel::Receiver;
use gstreamer as gst;

use super::{
    Error,
    pipeline::{self, Pipeline},
};
use crate::{
    time::Moment,
    wire::access_unit::{AccessUnit, Codec, UnitHeader},
};

type OnSound = Arc<Mutex<dyn FnMut(Moment, u32, &[f32]) + Send>>;

/// Decodes a camera's sound to mono samples at their own rate.
pub(crate) struct SoundDecoder {
    codec: Codec,
    rate_hz: u32,
    channels: u8,
    pipeline: Option<Pipeline>,
    on_sound: OnSound,
}

impl SoundDecoder {
    /// A decoder for `codec`, whose sound has `channels` channels of `rate_hz` samples per second. `on_sound` is
    /// called on the decoder's thread with the moment of the first sample, the rate, which for AAC may be twice
    /// the announced one, and the samples, -1 to 1.
    ///
    /// # Errors
    /// When the codec is not one of sound, the rate is not between 8 and 192 kHz, or an element is not there.
    pub(crate) fn open(
        codec: Codec,
        rate_hz: u32,
        channels: u8,
        on_sound: impl FnMut(Moment, u32, &[f32]) + Send + 'static,
    ) -> Result<Self, Error> {
        pipeline::start()?;
        let on_sound: OnSound = Arc::new(Mutex::new(on_sound));
        let mut decoder = Self { codec, rate_hz, channels, pipeline: None, on_sound };
        decoder.restart()?;
        Ok(decoder)
    }

    /// Whether this decoder is the right one for a unit with this header; otherwise open another.
    #[must_use]
    pub(crate) fn fits(&self, unit: &UnitHeader) -> bool {
        (unit.codec, unit.rate_hz, unit.channels) == (self.codec, self.rate_hz, self.channels)
    }

    /// Whether the decoder can be given a unit now.
    #[must_use]
    pub(crate) fn has_room(&self) -> bool {
        self.pipeline.as_ref().is_none_or(Pipeline::has_room)
    }

    /// Gets a token when the decoder may have room again.
    #[must_use]
    pub(crate) fn room(&self) -> Option<&Receiver<()>> {
        self.pipeline.as_ref().map(Pipeline::room)
    }

    /// Gives a unit, with the storage of its bytes, to the decoder, which should have room for it.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit; it has been restarted.
    pub(crate) fn decode<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<(), Error> {
        let AccessUnit { header, bytes } = unit;
        if header.codec != self.codec {
            return Err(Error::WrongKind { codec: header.codec, wanted: self.codec.name() });
        }
        if header.discontinuity || self.pipeline.is_none() {
            self.restart()?;
        }
        let Some(pipeline) = &self.pipeline else { return Ok(()) };
        let buffer = pipeline::buffer(bytes, pipeline::pts_of(header.moment), true);
        let pushed = pipeline.check().and_then(|()| pipeline.push(buffer));
        pushed.or_else(|reason| self.fail(reason))
    }

    /// As [`Self::decode`], after waiting until the decoder has room.
    ///
    /// # Errors
    /// As [`Self::decode`].
    pub(crate) fn decode_in_turn<B: AsRef<[u8]> + Send + 'static>(&mut self, unit: AccessUnit<B>) -> Result<(), Error> {
        self.pipeline.as_ref().map_or(Ok(()), Pipeline::wait_for_room).or_else(|reason| self.fail(reason))?;
        self.decode(unit)
    }

    /// No unit follows: waits until all sound came out. The next unit restarts the decoder.
    ///
    /// # Errors
    /// When the decoder failed at an earlier unit.
    pub(crate) fn finish(&mut self) -> Result<(), Error> {
        let finished = self.pipeline.as_ref().map_or(Ok(()), Pipeline::finish);
        self.pipeline = None;
        finished.map_err(|reason| Error::Failed { element: self.codec.name().to_owned(), reason })
    }

    fn fail(&mut self, reason: String) -> Result<(), Error> {
        self.restart()?;
        Err(Error::Failed { element: self.codec.name().to_owned(), reason })
    }

    fn restart(&mut self) -> Result<(), Error> {
        self.pipeline = None;
        let names: &[&str] = match self.codec {
            Codec::Aac if pipeline::exists("avdec_aac") => &["aacparse", "avdec_aac"],
            Codec::Aac => &["aacparse", "faad"],
            Codec::Pcmu => &["mulawdec"],
            Codec::Pcma => &["alawdec"],
            Codec::Opus => &["opusdec"],
            codec => return Err(Error::WrongKind { codec, wanted: "sound" }),
        };
        if !(8000..=192_000).contains(&self.rate_hz) {
            return Err(Error::Rate { rate_hz: self.rate_hz });
        }
        let mut elements = names.iter().map(|name| pipeline::element(name)).collect::<Result<Vec<_>, _>>()?;
        elements.push(pipeline::element("audioconvert")?);
        let format = if cfg!(target_endian = "little") { "F32LE" } else { "F32BE" };
        let output = gst::Caps::builder("audio/x-raw").field("format", format).field("channels", 1);
        let output = output.field("layout", "interleaved").build();
        let on_sound = self.on_sound.clone();
        let mut samples = Vec::new();
        let pipeline = Pipeline::start(&self.input_caps(), &elements, &output, move |sample| {
            pass_on(sample, &mut samples, &on_sound);
        })?;
        self.pipeline = Some(pipeline);
        Ok(())
    }

    fn input_caps(&self) -> gst::Caps {
        let caps = match self.codec {
            Codec::Aac => {
                return gst::Caps::builder("audio/mpeg")
                    .field("mpegversion", 4)
                    .field("stream-format", "adts")
                    .field("framed", true)
                    .build();
            }
            Codec::Pcmu => gst::Caps::builder("audio/x-mulaw"),
            Codec::Pcma => gst::Caps::builder("audio/x-alaw"),
            _ => gst::Caps::builder("audio/x-opus").field("channel-mapping-family", 0),
        };
        let rate_hz = i32::try_from(self.rate_hz).unwrap_or(i32::MAX);
        caps.field("rate", rate_hz).field("channels", i32::from(self.channels.max(1))).build()
    }
}

/// Passes the samples on; their storage is reused, so that nothing is allocated per block.
fn pass_on(sample: &gst::Sample, samples: &mut Vec<f32>, on_sound: &OnSound) {
    let rate_hz = || sample.caps()?.structure(0)?.get::<i32>("rate").ok().and_then(|rate| u32::try_from(rate).ok());
    let (Some(rate_hz), Some(buffer)) = (rate_hz(), sample.buffer()) else { return };
    let (Some(pts), Ok(map)) = (buffer.pts(), buffer.map_readable()) else { return };
    samples.clear();
    samples.extend(map.as_chunks::<4>().0.iter().map(|bytes| f32::from_ne_bytes(*bytes)));
    let mut on_sound = on_sound.lock().unwrap_or_else(PoisonError::into_inner);
    on_sound(pipeline::moment_of(pts), rate_hz, samples);
}
