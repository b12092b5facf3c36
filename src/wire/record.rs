//! The one thing that leaves `infer`: records of exactly 64 bytes.
//!
//! A record has room for numbers and for enums from closed lists, and for nothing else: a picture does not fit.
//! All integers are little-endian; unused bytes are zero and are checked to be zero.

pub mod example;
mod probe;

pub(crate) use probe::{HUM_NONE_CDB, LEVEL_NONE_CDB, MOTION_NONE_MILLI, ProbeRecord};

pub(crate) use super::enums::{CameraFault, CameraState, PictureCodec, Provider, SoundState, Step};
pub use super::enums::{Emotion, Withheld};
use super::{CameraId, Malformed};

/// The size of every record.
pub(crate) const RECORD_BYTES: usize = 64;

/// How a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// With a label.
    Label(Emotion),
    /// Without one, for this reason.
    Withheld(Withheld),
}

/// What one slot of one camera came to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Reading {
    /// Which camera.
    pub camera: CameraId,
    /// Which slot of the grid; unique within a boot of the daemon.
    pub slot: u64,
    /// When the window ended, milliseconds since 1970 UTC.
    pub window_end_ms: u64,
    /// A label or a reason.
    pub outcome: Outcome,
    /// Calibrated, smoothed probabilities in units of 1/10000, summing to 10000 where a network ran, else all zero.
    pub probabilities: [u16; 3],
    /// The estimated group size as the lower bound of its bucket; none where the network does not estimate it.
    pub group_at_least: Option<u8>,
    /// What became of the sound.
    pub sound: SoundState,
    /// The distance of the worst frame from its wanted moment, ms.
    pub frame_offset_ms: u16,
    /// From the end of the window to the moment when this record was written, ms, capped.
    pub latency_ms: u16,
    /// The network's part of that, ms, capped.
    pub inference_ms: u16,
}

/// How a camera is doing. Counters run from the start of the room.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Vital {
    /// Which camera.
    pub camera: CameraId,
    /// Whether it can be relied on.
    pub state: CameraState,
    /// Why it is not online.
    pub fault: CameraFault,
    /// What became of its sound lately.
    pub sound: SoundState,
    /// The rung that inference runs on.
    pub provider: Provider,
    /// The camera's frame rate, hundredths of a frame per second.
    pub fps_x100: u16,
    /// The measured key-frame distance, ms; 0 before it is known.
    pub key_distance_ms: u16,
    /// Compressed bit rate, kbit/s.
    pub kbps: u32,
    /// RTP packets lost on the way.
    pub packets_lost: u32,
    /// Access units thrown away because `infer` did not keep up.
    pub units_dropped: u32,
    /// How often the camera was lost.
    pub outages: u16,
    /// The sound's level, hundredths of a dB below full scale; -10000 for digital silence or none.
    pub level_cdb: i16,
    /// The camera's clock against this machine's, parts per million.
    pub camera_drift_ppm: i16,
    /// The microphone's clock against this machine's, parts per million.
    pub sound_drift_ppm: i16,
    /// Decoding and scaling of one frame, microseconds, a running mean.
    pub decode_us: u32,
    /// One run of the network, microseconds, a running mean.
    pub inference_us: u32,
    /// Slots that ended with a label.
    pub labelled: u32,
    /// Slots that ended without one.
    pub withheld: u32,
    /// Mean luma of the last frame, 0 to 255.
    pub luma: u8,
    /// How the picture is compressed.
    pub codec: PictureCodec,
    /// Width of the picture as it is sent, pixels; 0 before it is known.
    pub width: u16,
    /// Height of the picture as it is sent, pixels; 0 before it is known.
    pub height: u16,
    /// Sound samples thrown away by full rings or gaps, milliseconds.
    pub sound_lost_ms: u32,
}

/// All that can come out of `infer`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Record {
    /// How a slot ended.
    Reading(Reading),
    /// How a camera is doing.
    Vital(Vital),
    /// What an installer wants to know beside that. Only a dry run has it; `publish` refuses it.
    ProbeRecord(ProbeRecord),
}

const KIND_READING: u8 = 1;
const KIND_VITAL: u8 = 2;
const KIND_PROBE: u8 = 3;
/// The version of the layout, so that rooms of different builds refuse each other.
const LAYOUT: u8 = 1;
/// In place of a bucket when the group size is unknown.
const GROUP_UNKNOWN: u8 = u8::MAX;

impl Record {
    /// The record's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = Writer::default();
        match self {
            Self::Reading(reading) => write_reading(&mut bytes, reading),
            Self::Vital(vital) => write_vital(&mut bytes, vital),
            Self::ProbeRecord(record) => probe::write(&mut bytes, record),
        }
        bytes.buffer
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the size, the layout, a code, a sum or an unused byte is not what it must be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let buffer: &[u8; RECORD_BYTES] = bytes.try_into().map_err(|_| bad("size"))?;
        let mut bytes = Reader { buffer, at: 0 };
        let record = match (bytes.u8(), bytes.u8()) {
            (KIND_READING, LAYOUT) => Self::Reading(read_reading(&mut bytes)?),
            (KIND_VITAL, LAYOUT) => Self::Vital(read_vital(&mut bytes)?),
            (KIND_PROBE, LAYOUT) => Self::ProbeRecord(probe::read(&mut bytes)?),
            _ => return Err(bad("kind")),
        };
        if buffer[bytes.at..].iter().any(|it| *it != 0) {
            return Err(bad("padding"));
        }
        Ok(record)
    }
}

fn bad(field: &'static str) -> Malformed {
    Malformed { what: "record", field }
}

fn write_reading(bytes: &mut Writer, reading: &Reading) {
    let (label, reason) = match reading.outcome {
        Outcome::Label(emotion) => (1 + emotion as u8, 0),
        Outcome::Withheld(reason) => (0, reason.code()),
    };
    bytes.put(&[KIND_READING, LAYOUT]);
    bytes.put(&reading.camera.0.to_le_bytes());
    bytes.put(&[label, reason, reading.sound.code(), reading.group_at_least.unwrap_or(GROUP_UNKNOWN)]);
    bytes.put(&reading.slot.to_le_bytes());
    bytes.put(&reading.window_end_ms.to_le_bytes());
    reading.probabilities.iter().for_each(|it| bytes.put(&it.to_le_bytes()));
    bytes.put(&reading.frame_offset_ms.to_le_bytes());
    bytes.put(&reading.latency_ms.to_le_bytes());
    bytes.put(&reading.inference_ms.to_le_bytes());
}

fn read_reading(bytes: &mut Reader<'_>) -> Result<Reading, Malformed> {
    let camera = CameraId(bytes.u16());
    let outcome = match (bytes.u8(), bytes.u8()) {
        (0, reason) => Outcome::Withheld(Withheld::from_code(reason).ok_or(bad("reason"))?),
        (label @ 1..=3, 0) => Outcome::Label(Emotion::ALL[usize::from(label - 1)]),
        _ => return Err(bad("label")),
    };
    let sound = SoundState::from_code(bytes.u8()).ok_or(bad("sound"))?;
    let group_at_least = Some(bytes.u8()).filter(|it| *it != GROUP_UNKNOWN);
    let reading = Reading {
        camera,
        outcome,
        sound,
        group_at_least,
        slot: bytes.u64(),
        window_end_ms: bytes.u64(),
        probabilities: [bytes.u16(), bytes.u16(), bytes.u16()],
        frame_offset_ms: bytes.u16(),
        latency_ms: bytes.u16(),
        inference_ms: bytes.u16(),
    };
    match reading.probabilities.iter().map(|it| u32::from(*it)).sum() {
        0_u32 | 10_000 => Ok(reading),
        _ => Err(bad("probabilities")),
    }
}

fn write_vital(bytes: &mut Writer, vital: &Vital) {
    bytes.put(&[KIND_VITAL, LAYOUT]);
    bytes.put(&vital.camera.0.to_le_bytes());
    bytes.put(&[vital.state.code(), vital.fault.code(), vital.sound.code(), vital.provider.code(), vital.luma]);
    bytes.put(&[vital.codec.code()]);
    for number in [vital.width, vital.height, vital.fps_x100, vital.key_distance_ms, vital.outages] {
        bytes.put(&number.to_le_bytes());
    }
    for number in [vital.level_cdb, vital.camera_drift_ppm, vital.sound_drift_ppm] {
        bytes.put(&number.to_le_bytes());
    }
    for number in [
        vital.kbps,
        vital.packets_lost,
        vital.units_dropped,
        vital.decode_us,
        vital.inference_us,
        vital.labelled,
        vital.withheld,
        vital.sound_lost_ms,
    ] {
        bytes.put(&number.to_le_bytes());
    }
}

fn read_vital(bytes: &mut Reader<'_>) -> Result<Vital, Malformed> {
    Ok(Vital {
        camera: CameraId(bytes.u16()),
        state: CameraState::from_code(bytes.u8()).ok_or(bad("state"))?,
        fault: CameraFault::from_code(bytes.u8()).ok_or(bad("fault"))?,
        sound: SoundState::from_code(bytes.u8()).ok_or(bad("sound"))?,
        provider: Provider::from_code(bytes.u8()).ok_or(bad("provider"))?,
        luma: bytes.u8(),
        codec: PictureCodec::from_code(bytes.u8()).ok_or(bad("codec"))?,
        width: bytes.u16(),
        height: bytes.u16(),
        fps_x100: bytes.u16(),
        key_distance_ms: bytes.u16(),
        outages: bytes.u16(),
        level_cdb: bytes.i16(),
        camera_drift_ppm: bytes.i16(),
        sound_drift_ppm: bytes.i16(),
        kbps: bytes.u32(),
        packets_lost: bytes.u32(),
        units_dropped: bytes.u32(),
        decode_us: bytes.u32(),
        inference_us: bytes.u32(),
        labelled: bytes.u32(),
        withheld: bytes.u32(),
        sound_lost_ms: bytes.u32(),
    })
}

struct Writer {
    buffer: [u8; RECORD_BYTES],
    at: usize,
}

impl Default for Writer {
    fn default() -> Self {
        Self { buffer: [0; RECORD_BYTES], at: 0 }
    }
}

impl Writer {
    fn put(&mut self, bytes: &[u8]) {
        self.buffer[self.at..self.at + bytes.len()].copy_from_slice(bytes);
        self.at += bytes.len();
    }
}

struct Reader<'a> {
    buffer: &'a [u8; RECORD_BYTES],
    at: usize,
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let from = self.at;
        self.at += N;
        std::array::from_fn(|i| self.buffer[from + i])
    }

    fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }

    fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }

    fn i16(&mut self) -> i16 {
        i16::from_le_bytes(self.take())
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn i32(&mut self) -> i32 {
        i32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading() -> Reading {
        example::reading(CameraId(3), 4242)
    }

    fn vital() -> Vital {
        Vital {
            state: CameraState::Stale,
            fault: CameraFault::Stalled,
            sound: SoundState::Clipping,
            provider: Provider::Cuda,
            codec: PictureCodec::H265,
            ..example::vital(CameraId(1))
        }
    }

    #[test]
    fn records_come_back_as_they_went() {
        for record in [
            Record::Reading(reading()),
            Record::Reading(Reading { outcome: Outcome::Withheld(Withheld::Dark), group_at_least: None, ..reading() }),
            Record::Vital(vital()),
            Record::ProbeRecord(probe::tests::record()),
        ] {
            assert_eq!(Record::from_bytes(&record.to_bytes()), Ok(record));
        }
    }

    /// The layout: processes of one build must agree on it, and a change needs another [`LAYOUT`].
    #[test]
    fn records_have_these_bytes() {
        let check = |record: Record, golden: &str| {
            let hex: String = record.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(hex.trim_end_matches('0'), golden, "{record:?}");
        };
        check(Record::Reading(reading()), "0101030001000105921000000000000090019aefa1010000bb1fe8036d03780058003d");
        let withheld = Outcome::Withheld(Withheld::Dark);
        check(
            Record::Reading(Reading { outcome: withheld, group_at_least: None, ..reading() }),
            "01010300000601ff921000000000000090019aefa1010000bb1fe8036d03780058003d",
        );
        check(
            Record::Vital(vital()),
            "0201010002080402630280073804c409e803020016f4d8ff1900a00f000007000000080000002823000048ee00000a000000030000000c",
        );
        check(
            Record::ProbeRecord(probe::tests::record()),
            "030107000529325d0628000000b004000034080000905f01008011c9ffa6ebd4fe80fd4cffda0202005400e803d007581b002a751500000000d204",
        );
    }

    #[test]
    fn what_is_not_a_record_is_refused() {
        let good = Record::Reading(reading()).to_bytes();
        let check = |at: usize, value: u8, field: &'static str| {
            let mut bytes = good;
            bytes[at] = value;
            assert_eq!(Record::from_bytes(&bytes), Err(bad(field)), "byte {at}");
        };
        check(0, 9, "kind");
        check(1, 2, "kind");
        check(4, 4, "label");
        check(5, 1, "label");
        check(6, 200, "sound");
        check(24, 255, "probabilities");
        check(63, 1, "padding");
        assert_eq!(Record::from_bytes(&good[..63]), Err(bad("size")));
        assert_eq!(Record::from_bytes(&[0; 65]), Err(bad("size")));
    }

    proptest! {
        /// Whatever bytes arrive, they are refused or mean exactly what they say: nothing can hide in a record.
        #[test]
        fn every_accepted_record_is_written_back_to_the_same_bytes(mut bytes in proptest::array::uniform32(any::<u8>()), kind in 1_u8..=3) {
            bytes[0] = kind;
            bytes[1] = LAYOUT;
            let mut whole = [0; RECORD_BYTES];
            whole[..32].copy_from_slice(&bytes);
            if let Ok(record) = Record::from_bytes(&whole) {
                prop_assert_eq!(record.to_bytes(), whole);
            }
        }
    }
}
