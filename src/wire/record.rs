//! The one thing that leaves `infer`: records of exactly 64 bytes.
//!
//! A record has room for numbers and for enums from closed lists, and for nothing else: a picture does not fit.
//! The first byte is the kind of record and the second the version of the layout; the fields follow in the order in
//! which they are declared, integers little-endian. Unused bytes are zero and are checked to be zero.

pub mod example;
mod probe;

use binrw::{BinRead, BinWrite, io::Cursor};
pub(crate) use probe::{HUM_NONE_CDB, LEVEL_NONE_CDB, MOTION_NONE_MILLI, ProbeRecord};

pub(crate) use super::enums::{CameraFault, CameraState, PictureCodec, Provider, SoundState, Step};
pub use super::enums::{Emotion, Withheld};
use super::{CameraId, Malformed};

/// The size of every record.
pub(crate) const RECORD_BYTES: usize = 64;

/// How a slot ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BinRead, BinWrite)]
#[br(try_map = Self::from_codes)]
#[bw(map = Self::codes)]
pub enum Outcome {
    /// With a label.
    Label(Emotion),
    /// Without one, for this reason.
    Withheld(Withheld),
}

impl Outcome {
    /// The label's number from 1 on, or 0; and the reason's number, or 0.
    fn codes(&self) -> [u8; 2] {
        match self {
            Self::Label(emotion) => [1 + *emotion as u8, 0],
            Self::Withheld(reason) => [0, reason.code()],
        }
    }

    fn from_codes(codes: [u8; 2]) -> Result<Self, Malformed> {
        match codes {
            [0, reason] => Withheld::from_code(reason).map(Self::Withheld).ok_or(bad("reason")),
            [label @ 1..=3, 0] => Ok(Self::Label(Emotion::ALL[usize::from(label - 1)])),
            _ => Err(bad("label")),
        }
    }
}

/// What one slot of one camera came to.
#[derive(Clone, Copy, Debug, PartialEq, BinRead, BinWrite)]
#[brw(little)]
pub struct Reading {
    /// Which camera.
    #[br(map = CameraId)]
    #[bw(map = |camera| camera.0)]
    pub camera: CameraId,
    /// A label or a reason.
    pub outcome: Outcome,
    /// What became of the sound.
    pub sound: SoundState,
    /// The estimated group size as the lower bound of its bucket; none where the network does not estimate it.
    #[br(map = |bucket: u8| Some(bucket).filter(|bucket| *bucket != GROUP_UNKNOWN))]
    #[bw(map = |bucket| bucket.unwrap_or(GROUP_UNKNOWN))]
    pub group_at_least: Option<u8>,
    /// Which slot of the grid; unique within a boot of the daemon.
    pub slot: u64,
    /// When the window ended, milliseconds since 1970 UTC.
    pub window_end_ms: u64,
    /// Calibrated, smoothed probabilities in units of 1/10000, summing to 10000 where a network ran, else all zero.
    #[br(assert(is_distribution(&probabilities), bad("probabilities")))]
    pub probabilities: [u16; 3],
    /// The distance of the worst frame from its wanted moment, ms.
    pub frame_offset_ms: u16,
    /// From the end of the window to the moment when this record was written, ms, capped.
    pub latency_ms: u16,
    /// The network's part of that, ms, capped.
    pub inference_ms: u16,
}

/// How a camera is doing. Counters run from the start of the room.
#[derive(Clone, Copy, Debug, PartialEq, BinRead, BinWrite)]
#[brw(little)]
pub struct Vital {
    /// Which camera.
    #[br(map = CameraId)]
    #[bw(map = |camera| camera.0)]
    pub camera: CameraId,
    /// Whether it can be relied on.
    pub state: CameraState,
    /// Why it is not online.
    pub fault: CameraFault,
    /// What became of its sound lately.
    pub sound: SoundState,
    /// The rung that inference runs on.
    pub provider: Provider,
    /// Mean luma of the last frame, 0 to 255.
    pub luma: u8,
    /// How the picture is compressed.
    pub codec: PictureCodec,
    /// Width of the picture as it is sent, pixels; 0 before it is known.
    pub width: u16,
    /// Height of the picture as it is sent, pixels; 0 before it is known.
    pub height: u16,
    /// The camera's frame rate, hundredths of a frame per second.
    pub fps_x100: u16,
    /// The measured key-frame distance, ms; 0 before it is known.
    pub key_distance_ms: u16,
    /// How often the camera was lost.
    pub outages: u16,
    /// The sound's level, hundredths of a dB below full scale; -10000 for digital silence or none.
    pub level_cdb: i16,
    /// The camera's clock against this machine's, parts per million.
    pub camera_drift_ppm: i16,
    /// The microphone's clock against this machine's, parts per million.
    pub sound_drift_ppm: i16,
    /// Compressed bit rate, kbit/s.
    pub kbps: u32,
    /// RTP packets lost on the way.
    pub packets_lost: u32,
    /// Access units thrown away because `infer` did not keep up.
    pub units_dropped: u32,
    /// Decoding and scaling of one frame, microseconds, a running mean.
    pub decode_us: u32,
    /// One run of the network, microseconds, a running mean.
    pub inference_us: u32,
    /// Slots that ended with a label.
    pub labelled: u32,
    /// Slots that ended without one.
    pub withheld: u32,
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
        let mut buffer = [0; RECORD_BYTES];
        let mut cursor = Cursor::new(&mut buffer[..]);
        let written = match self {
            Self::Reading(reading) => (KIND_READING, LAYOUT, *reading).write_le(&mut cursor),
            Self::Vital(vital) => (KIND_VITAL, LAYOUT, *vital).write_le(&mut cursor),
            Self::ProbeRecord(record) => (KIND_PROBE, LAYOUT, *record).write_le(&mut cursor),
        };
        debug_assert!(written.is_ok(), "every kind of record fits into {RECORD_BYTES} bytes");
        buffer
    }

    /// Reads a record.
    ///
    /// # Errors
    /// When the size, the layout, a code, a sum or an unused byte is not what it must be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Malformed> {
        let [kind, layout, rest @ ..] = <&[u8; RECORD_BYTES]>::try_from(bytes).map_err(|_| bad("size"))?;
        let mut cursor = Cursor::new(&rest[..]);
        let read = match (*kind, *layout) {
            (KIND_READING, LAYOUT) => BinRead::read_le(&mut cursor).map(Self::Reading),
            (KIND_VITAL, LAYOUT) => BinRead::read_le(&mut cursor).map(Self::Vital),
            (KIND_PROBE, LAYOUT) => BinRead::read_le(&mut cursor).map(Self::ProbeRecord),
            _ => return Err(bad("kind")),
        };
        let record = read.map_err(|error| error.custom_err::<Malformed>().cloned().unwrap_or(bad("size")))?;
        let used = usize::try_from(cursor.position()).unwrap_or(rest.len());
        if rest.iter().skip(used).any(|byte| *byte != 0) {
            return Err(bad("padding"));
        }
        Ok(record)
    }
}

const fn bad(field: &'static str) -> Malformed {
    Malformed { what: "record", field }
}

/// Whether probabilities are those of a network that ran, or of none.
fn is_distribution(probabilities: &[u16; 3]) -> bool {
    matches!(probabilities.iter().map(|share| u32::from(*share)).sum(), 0_u32 | 10_000)
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
