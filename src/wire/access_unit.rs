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
pub const HEADER_BYTES: usize = 52;
/// No access unit is larger: a 4K MJPEG frame of highest quality stays below it.
pub const UNIT_BYTES_MAX: usize = 8 << 20;

const MAGIC: [u8; 4] = *b"GER2";
const KIND_UNIT: u8 = 1;
const KIND_STATUS: u8 = 2;

/// How an access unit is compressed. Each is self-describing: parameter sets in band, ADTS for AAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Codec {
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
    /// All of them.
    pub const ALL: [Self; 7] = [Self::H264, Self::H265, Self::Mjpeg, Self::Aac, Self::Pcmu, Self::Pcma, Self::Opus];

    /// Whether this is a picture; otherwise it is sound.
    #[must_use]
    pub const fn is_video(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Mjpeg)
    }

    /// The name people know it by.
    #[must_use]
    pub const fn name(self) -> &'static str {
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
pub struct AccessUnit {
    /// Which camera.
    pub camera: CameraId,
    /// How it is compressed.
    pub codec: Codec,
    /// Decodable by itself. Sound always is.
    pub key: bool,
    /// The first unit of a new connection or of a changed format: whatever the decoder knew is void.
    pub fresh: bool,
    /// Counts the units of this camera and medium that `sampling` let through. A gap means that some were
    /// dropped because `infer` did not keep up: nothing after it is decodable before the next key frame.
    pub seq: u32,
    /// RTP packets of this medium lost since the last unit that was let through.
    pub lost: u32,
    /// Sound only: samples per second. 0 for video.
    pub rate_hz: u32,
    /// Sound only: channels. 0 for video.
    pub channels: u8,
    /// When the frame was shown, or the first sample was heard, on our clock: presentation time, slewed.
    pub moment: Moment,
    /// When the unit came out of the jitter buffer.
    pub arrival: Moment,
}

/// How a camera's connection is doing: sent on every change and once a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CameraStatus {
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
    /// RTP packets lost, all media, since the start of the room.
    pub packets_lost: u32,
    /// Access units dropped because `infer` did not keep up.
    pub units_dropped: u32,
    /// RTP packets that came, all media, since the start of the room.
    pub packets: u32,
    /// Interarrival jitter of the picture's packets, microseconds; 0 without RTP.
    pub jitter_us: u32,
    /// From an RTSP request to its answer, microseconds; 0 before it is known.
    pub round_trip_us: u32,
    /// The camera's wall clock minus ours, ms; [`i32::MIN`] before it is known, and always where nobody asked for it.
    pub camera_clock_ms: i32,
}

/// What `infer` hears of a camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// An access unit; its bytes are in the body.
    AccessUnit(AccessUnit),
    /// How the connection is doing.
    Status(CameraStatus),
}

impl Message {
    /// The header's bytes, for a body of `body_len` bytes.
    fn header(&self, body_len: u32) -> [u8; HEADER_BYTES] {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.extend_from_slice(&MAGIC);
        match self {
            Self::AccessUnit(unit) => {
                let flags = u8::from(unit.key) | u8::from(unit.fresh) << 1;
                bytes.extend_from_slice(&[KIND_UNIT, unit.codec as u8, flags, unit.channels]);
                bytes.extend_from_slice(&unit.camera.0.to_le_bytes());
                bytes.extend_from_slice(&[0; 2]);
                for number in [body_len, unit.seq, unit.lost, unit.rate_hz] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&unit.moment.0.to_le_bytes());
                bytes.extend_from_slice(&unit.arrival.0.to_le_bytes());
            }
            Self::Status(status) => {
                bytes.extend_from_slice(&[KIND_STATUS, status.state.code(), status.fault.code(), status.step.code()]);
                bytes.extend_from_slice(&status.camera.0.to_le_bytes());
                bytes.extend_from_slice(&[0; 2]);
                for number in [body_len, status.kbps, status.packets_lost, status.units_dropped] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                for number in [status.fps_x100, status.key_distance_ms, status.outages] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&status.drift_ppm.to_le_bytes());
                for number in [status.packets, status.jitter_us, status.round_trip_us] {
                    bytes.extend_from_slice(&number.to_le_bytes());
                }
                bytes.extend_from_slice(&status.camera_clock_ms.to_le_bytes());
            }
        }
        std::array::from_fn(|i| bytes.get(i).copied().unwrap_or(0))
    }

    /// Reads a header. Returns the message and the length of the body that follows, in bytes.
    fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<(Self, usize), Malformed> {
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
            KIND_UNIT => Self::AccessUnit(AccessUnit {
                camera,
                codec: Codec::ALL.into_iter().find(|it| *it as u8 == bytes[5]).ok_or(bad("codec"))?,
                key: bytes[6] & 1 != 0,
                fresh: bytes[6] & 2 != 0,
                channels: bytes[7],
                seq: u32_at(16),
                lost: u32_at(20),
                rate_hz: u32_at(24),
                moment: Moment(i64_at(28)),
                arrival: Moment(i64_at(36)),
            }),
            KIND_STATUS => Self::Status(CameraStatus {
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
            (Self::AccessUnit(_), 1..=UNIT_BYTES_MAX) | (Self::Status(_), 0) => Ok((message, body_len)),
            _ => Err(bad("length")),
        }
    }
}

/// Writes a message and its body; blocks until all of it is written.
///
/// # Errors
/// When the peer is gone, or the body is empty for a unit, not empty for a status, or too long.
pub fn write(out: &mut impl Write, message: &Message, body: &[u8]) -> io::Result<()> {
    let body_len = u32::try_from(body.len()).ok().filter(|_| body.len() <= UNIT_BYTES_MAX);
    let body_len = body_len.ok_or_else(|| io::Error::from(io::ErrorKind::FileTooLarge))?;
    let header = message.header(body_len);
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

/// Reads the next message, its body into `body`, whose storage is reused. `None` once the peer is gone.
///
/// # Errors
/// When the bytes are malformed, or end inside a message.
pub fn read(from: &mut impl Read, body: &mut Vec<u8>) -> io::Result<Option<Message>> {
    let mut header = [0; HEADER_BYTES];
    let mut at = 0;
    while at < HEADER_BYTES {
        match from.read(&mut header[at..]) {
            Ok(0) if at == 0 => return Ok(None),
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(n) => at += n,
            Err(err) if err.kind() == io::ErrorKind::Interrupted => {}
            Err(err) => return Err(err),
        }
    }
    let (message, body_len) = Message::parse(&header).map_err(|err| io::Error::new(io::ErrorKind::InvalidData, err))?;
    body.resize(body_len, 0);
    from.read_exact(body)?;
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit() -> AccessUnit {
        AccessUnit {
            camera: CameraId(2),
            codec: Codec::H265,
            key: true,
            fresh: false,
            seq: 9,
            lost: 1,
            rate_hz: 0,
            channels: 0,
            moment: Moment(123_456_789),
            arrival: Moment(123_999_999),
        }
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

    #[test]
    fn messages_come_back_as_they_went() {
        let mut pipe = Vec::new();
        write(&mut pipe, &Message::AccessUnit(unit()), b"access unit").unwrap();
        write(&mut pipe, &Message::Status(status()), b"").unwrap();
        let mut from = pipe.as_slice();
        let mut body = Vec::new();
        assert_eq!(read(&mut from, &mut body).unwrap(), Some(Message::AccessUnit(unit())));
        assert_eq!(body, b"access unit");
        assert_eq!(read(&mut from, &mut body).unwrap(), Some(Message::Status(status())));
        assert!(body.is_empty());
        assert_eq!(read(&mut from, &mut body).unwrap(), None);
    }

    #[test]
    fn a_cut_or_foreign_stream_is_an_error() {
        let mut pipe = Vec::new();
        write(&mut pipe, &Message::AccessUnit(unit()), b"access unit").unwrap();
        let mut body = Vec::new();
        for cut in [1, HEADER_BYTES, HEADER_BYTES + 3] {
            assert!(read(&mut &pipe[..cut], &mut body).is_err(), "cut at {cut}");
        }
        for (at, value) in [(0, 0), (4, 7), (5, 99), (15, 255)] {
            let mut foreign = pipe.clone();
            foreign[at] = value;
            assert!(read(&mut foreign.as_slice(), &mut body).is_err(), "byte {at}");
        }
        assert!(write(&mut pipe, &Message::AccessUnit(unit()), &vec![0; UNIT_BYTES_MAX + 1]).is_err());
    }
}
