//! `ingest → infer`: framed access units, still compressed, and what is known about their camera.
//!
//! Every message is a header of 52 bytes and a body. A unit's body is the access unit itself; a status has none.

use std::io::{self, IoSlice, Read, Write};

use super::{
    CameraId, Malformed,
    record::{CameraFault, CameraState, Step},
};
use crate::time::Moment;

/// The size of every header.
pub(crate) const HEADER_BYTES: usize = 52;
/// No access unit is larger: a 4K MJPEG frame of highest quality stays below it.
pub(crate) const UNIT_BYTES_MAX: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"GER3";
const KIND_UNIT: u8 = 1;
const KIND_STATUS: u8 = 2;

/// How an access unit is compressed. Each is self-describing: parameter sets in band, ADTS for AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Codec {
    /// H.264, byte stream, one access unit, parameter sets before every key frame.
    H264 = 1,
    /// H.265, likewise.
    H265 = 2,
    /// One JPEG picture.
    Mjpeg = 3,
    /// AAC with an ADTS header.
    Aac = 4,
    /// G.711 µ-law.
    Pcmu = 5,
    /// G.711 A-law.
    Pcma = 6,
    /// One Opus packet.
    Opus = 7,
}

impl Codec {
    /// All codecs, by their number on the wire.
    pub(crate) const ALL: [Self; 7] =
        [Self::H264, Self::H265, Self::Mjpeg, Self::Aac, Self::Pcmu, Self::Pcma, Self::Opus];

    /// Whether this is a picture; otherwise it is sound.
    #[must_use]
    pub(crate) const fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Mjpeg)
    }

    /// Its usual name, for messages.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::H264 => "H.264",
            Self::H265 => "H.265",
            Self::Mjpeg => "MJPEG",
            Self::Aac => "AAC",
            Self::Pcmu => "G.711 µ-law",
            Self::Pcma => "G.711 A-law",
            Self::Opus => "Opus",
        }
    }
}

/// What is known about an access unit beside its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnitHeader {
    /// Which camera.
    pub camera: CameraId,
    /// How it is compressed.
    pub codec: Codec,
    /// Decodable by itself. Sound always is.
    pub is_key: bool,
    /// The first unit of a new connection or of a changed format: the decoder must not use what it knew before.
    pub discontinuity: bool,
    /// Whether the network will see this picture. `sampling` decides it, and the decoder converts no other picture.
    /// Sound is always wanted.
    pub wanted: bool,
    /// Counts the units of this camera and medium that `sampling` passed. A gap means that units were dropped because
    /// a queue was full: nothing after it is decodable before the next key frame.
    pub seq: u32,
    /// RTP packets of this medium lost since the last unit that was passed.
    pub lost: u32,
    /// Sound only: samples per second. 0 for video.
    pub rate_hz: u32,
    /// Sound only: channels. 0 for video.
    pub channels: u8,
    /// Presentation time of the frame, or of the first sample, on our clock, slewed.
    pub moment: Moment,
    /// When the unit came out of the jitter buffer.
    pub arrival: Moment,
}

/// An access unit, from the appsink of a camera's pipeline to the decoder; only the storage of its bytes changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AccessUnit<B> {
    /// What is known about it.
    pub header: UnitHeader,
    /// The compressed bytes.
    pub bytes: B,
}

/// How a camera's connection is doing: sent on every change and once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CameraStatus {
    /// Which camera.
    pub camera: CameraId,
    /// Whether pictures arrive.
    pub state: CameraState,
    /// If they do not, why.
    pub fault: CameraFault,
    /// How far the connection has come, up to the first key frame.
    pub step: Step,
    /// Frame rate as it arrives, hundredths of a frame per second.
    pub fps_x100: u16,
    /// Measured key-frame distance, ms; 0 before it is known.
    pub key_distance_ms: u16,
    /// How often the camera was lost.
    pub outages: u16,
    /// The camera's clock against ours, parts per million.
    pub drift_ppm: i16,
    /// Bit rate of all media, kbit/s.
    pub kbps: u32,
    /// RTP packets lost, all media, since the process started.
    pub packets_lost: u32,
    /// Access units dropped because `infer` did not keep up.
    pub units_dropped: u32,
    /// RTP packets that came, all media, since the process started.
    pub packets: u32,
    /// Interarrival jitter of the picture's packets, microseconds; 0 without RTP.
    pub jitter_us: u32,
    /// From an RTSP request to its answer, microseconds; 0 before it is known.
    pub round_trip_us: u32,
    /// The camera's wall clock minus ours, ms; [`i32::MIN`] before it is known, and always where nobody asked for it.
    pub camera_clock_ms: i32,
}

/// What `ingest` sends about a camera.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Message<B> {
    /// An access unit.
    AccessUnit(AccessUnit<B>),
    /// The state of the connection.
    Status(CameraStatus),
}

/// A header in the making: its fields, one after another.
struct HeaderBytes {
    bytes: [u8; HEADER_BYTES],
    len: usize,
}

impl HeaderBytes {
    fn begin(kind: u8, three: [u8; 3], camera: CameraId, body_len: u32) -> Self {
        let empty = Self { bytes: [0; HEADER_BYTES], len: 0 };
        let reserved = [0; 2];
        empty.put(MAGIC).put([kind]).put(three).put(camera.0.to_le_bytes()).put(reserved).put(body_len.to_le_bytes())
    }

    fn put<const N: usize>(mut self, field: [u8; N]) -> Self {
        self.bytes[self.len..self.len + N].copy_from_slice(&field);
        self.len += N;
        self
    }
}

impl UnitHeader {
    fn to_bytes(self, body_len: u32) -> [u8; HEADER_BYTES] {
        let flags = u8::from(self.is_key) | u8::from(self.discontinuity) << 1 | u8::from(self.wanted) << 2;
        HeaderBytes::begin(KIND_UNIT, [self.codec as u8, flags, self.channels], self.camera, body_len)
            .put(self.seq.to_le_bytes())
            .put(self.lost.to_le_bytes())
            .put(self.rate_hz.to_le_bytes())
            .put(self.moment.0.to_le_bytes())
            .put(self.arrival.0.to_le_bytes())
            .bytes
    }
}

impl CameraStatus {
    fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let three = [self.state.code(), self.fault.code(), self.step.code()];
        HeaderBytes::begin(KIND_STATUS, three, self.camera, 0)
            .put(self.kbps.to_le_bytes())
            .put(self.packets_lost.to_le_bytes())
            .put(self.units_dropped.to_le_bytes())
            .put(self.fps_x100.to_le_bytes())
            .put(self.key_distance_ms.to_le_bytes())
            .put(self.outages.to_le_bytes())
            .put(self.drift_ppm.to_le_bytes())
            .put(self.packets.to_le_bytes())
            .put(self.jitter_us.to_le_bytes())
            .put(self.round_trip_us.to_le_bytes())
            .put(self.camera_clock_ms.to_le_bytes())
            .bytes
    }
}

/// Reads a header. Returns the message, still without bytes, and how many bytes follow.
fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<(Message<()>, usize), Malformed> {
    let bad = |field| Malformed { what: "unit", field };
    let u16_at = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let u32_at = |at: usize| u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    let i64_at = |at: usize| i64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]));
    if bytes[..4] != MAGIC {
        return Err(bad("magic"));
    }
    let camera = CameraId(u16_at(8));
    let body_len = usize::try_from(u32_at(12)).map_err(|_| bad("length"))?;
    let message = match bytes[4] {
        KIND_UNIT => {
            let header = UnitHeader {
                camera,
                codec: Codec::ALL.into_iter().find(|codec| *codec as u8 == bytes[5]).ok_or(bad("codec"))?,
                is_key: bytes[6] & 1 != 0,
                discontinuity: bytes[6] & 2 != 0,
                wanted: bytes[6] & 4 != 0,
                channels: bytes[7],
                seq: u32_at(16),
                lost: u32_at(20),
                rate_hz: u32_at(24),
                moment: Moment(i64_at(28)),
                arrival: Moment(i64_at(36)),
            };
            Message::AccessUnit(AccessUnit { header, bytes: () })
        }
        KIND_STATUS => Message::Status(CameraStatus {
            camera,
            state: CameraState::from_code(bytes[5]).ok_or(bad("state"))?,
            fault: CameraFault::from_code(bytes[6]).ok_or(bad("fault"))?,
            step: Step::from_code(bytes[7]).ok_or(bad("step"))?,
            kbps: u32_at(16),
            packets_lost: u32_at(20),
            units_dropped: u32_at(24),
            fps_x100: u16_at(28),
            key_distance_ms: u16_at(30),
            outages: u16_at(32),
            drift_ppm: u16_at(34).cast_signed(),
            packets: u32_at(36),
            jitter_us: u32_at(40),
            round_trip_us: u32_at(44),
            camera_clock_ms: u32_at(48).cast_signed(),
        }),
        _ => return Err(bad("kind")),
    };
    match (&message, body_len) {
        (Message::AccessUnit(_), 1..=UNIT_BYTES_MAX) | (Message::Status(_), 0) => Ok((message, body_len)),
        _ => Err(bad("length")),
    }
}

/// Writes a message; blocks until all of it is written. Nothing is allocated and no byte of a unit is copied.
///
/// # Errors
/// When the peer is gone, or a unit is empty or longer than [`UNIT_BYTES_MAX`].
pub(crate) fn write<B: AsRef<[u8]>>(out: &mut impl Write, message: &Message<B>) -> io::Result<()> {
    let (header, body) = match message {
        Message::Status(status) => (status.to_bytes(), &[][..]),
        Message::AccessUnit(unit) => {
            let body = unit.bytes.as_ref();
            let body_len = u32::try_from(body.len()).ok().filter(|_| (1..=UNIT_BYTES_MAX).contains(&body.len()));
            let body_len = body_len.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
            (unit.header.to_bytes(body_len), body)
        }
    };
    let mut sent = 0;
    while sent < HEADER_BYTES {
        let parts = [IoSlice::new(&header[sent..]), IoSlice::new(body)];
        match out.write_vectored(&parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(n) => sent += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    out.write_all(&body[sent - HEADER_BYTES..])
}

/// Reads the next message, the bytes of a unit into storage of their length that `storage` gives. `None` once the peer
/// has closed the connection.
///
/// # Errors
/// When the bytes are malformed, or end inside a message.
pub(crate) fn read<B: AsMut<[u8]>>(
    from: &mut impl Read,
    storage: impl FnOnce(usize) -> B,
) -> io::Result<Option<Message<B>>> {
    let mut header = [0; HEADER_BYTES];
    let mut read = 0;
    while read < HEADER_BYTES {
        match from.read(&mut header[read..]) {
            Ok(0) if read == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => read += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    let (message, body_len) = parse(&header).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
    Ok(Some(match message {
        Message::Status(status) => Message::Status(status),
        Message::AccessUnit(AccessUnit { header, .. }) => {
            let mut bytes = storage(body_len);
            from.read_exact(bytes.as_mut())?;
            Message::AccessUnit(AccessUnit { header, bytes })
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(is_key: bool, discontinuity: bool, wanted: bool) -> Message<Vec<u8>> {
        let header = UnitHeader {
            camera: CameraId(2),
            codec: Codec::H265,
            is_key,
            discontinuity,
            wanted,
            seq: 9,
            lost: 1,
            rate_hz: 0,
            channels: 0,
            moment: Moment(123_456_789),
            arrival: Moment(123_999_999),
        };
        Message::AccessUnit(AccessUnit { header, bytes: b"access unit".to_vec() })
    }

    fn status() -> CameraStatus {
        CameraStatus {
            camera: CameraId(2),
            state: CameraState::Offline,
            fault: CameraFault::Unauthorised,
            step: Step::Connected,
            fps_x100: 2500,
            key_distance_ms: 2000,
            outages: 3,
            drift_ppm: -12,
            kbps: 4096,
            packets_lost: 5,
            units_dropped: 6,
            packets: 7,
            jitter_us: 8,
            round_trip_us: 9,
            camera_clock_ms: -10,
        }
    }

    fn read_vec(from: &mut &[u8]) -> io::Result<Option<Message<Vec<u8>>>> {
        read(from, |len| vec![0; len])
    }

    #[test]
    fn messages_come_back_as_they_went() {
        for flags in 0..8 {
            let sent = [unit(flags & 1 != 0, flags & 2 != 0, flags & 4 != 0), Message::Status(status())];
            let mut pipe = Vec::new();
            sent.iter().for_each(|message| write(&mut pipe, message).unwrap());
            let mut from = pipe.as_slice();
            for message in sent {
                assert_eq!(read_vec(&mut from).unwrap(), Some(message));
            }
            assert_eq!(read_vec(&mut from).unwrap(), None);
        }
    }

    #[test]
    fn a_truncated_or_malformed_stream_is_an_error() {
        let mut pipe = Vec::new();
        write(&mut pipe, &unit(true, false, true)).unwrap();
        for len in [1, HEADER_BYTES, HEADER_BYTES + 3] {
            assert!(read_vec(&mut &pipe[..len]).is_err(), "{len} bytes");
        }
        for (at, value) in [(0, 0), (4, 7), (5, 99), (15, 255)] {
            let mut malformed = pipe.clone();
            malformed[at] = value;
            assert!(read_vec(&mut malformed.as_slice()).is_err(), "byte {at}");
        }
        let Message::AccessUnit(AccessUnit { header, .. }) = unit(true, false, true) else { panic!("it is a unit") };
        for len in [0, UNIT_BYTES_MAX + 1] {
            let refused = Message::AccessUnit(AccessUnit { header, bytes: vec![0; len] });
            assert!(write(&mut pipe, &refused).is_err(), "{len} bytes");
        }
    }
}
