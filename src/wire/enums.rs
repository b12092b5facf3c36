//! The words that records speak: closed lists, each word with a number that never changes its meaning.

use binrw::{
    BinRead, BinResult, BinWrite, Endian,
    io::{Read, Seek, Write},
};

use super::Malformed;

/// A group's emotion, in the order of the networks' outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Emotion {
    /// Smiles, laughter, cheering.
    Positive,
    /// Neither.
    Neutral,
    /// Anger, grief, fear.
    Negative,
}

impl Emotion {
    /// In the order of the model's outputs.
    pub const ALL: [Self; 3] = [Self::Positive, Self::Neutral, Self::Negative];

    /// The word that is published.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Positive => "positive",
            Self::Neutral => "neutral",
            Self::Negative => "negative",
        }
    }

    /// The number that is published for databases that keep no words: 1, 0, -1.
    #[must_use]
    pub const fn code(self) -> i8 {
        match self {
            Self::Positive => 1,
            Self::Neutral => 0,
            Self::Negative => -1,
        }
    }
}

/// Makes an enum with fixed numbers and words, and the ways between them. In a record it is one byte; `$field` is what
/// a number that is not in the list is refused as.
macro_rules! closed_list {
    ($(#[$meta:meta])* $name:ident as $field:literal { $($(#[$doc:meta])* $variant:ident = $code:literal $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$doc])* $variant = $code,)+ }

        impl $name {
            /// All of them, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The number on the wire.
            #[must_use]
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The one with this number.
            #[must_use]
            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.iter().copied().find(|value| value.code() == code)
            }

            /// The word that is published.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)+ }
            }
        }

        // Derived, a number that is not in the list would be refused without the field's name.
        impl BinRead for $name {
            type Args<'a> = ();

            fn read_options<R: Read + Seek>(reader: &mut R, endian: Endian, (): ()) -> BinResult<Self> {
                let pos = reader.stream_position()?;
                let malformed = Malformed { what: "record", field: $field };
                Self::from_code(u8::read_options(reader, endian, ())?)
                    .ok_or_else(|| binrw::Error::Custom { pos, err: Box::new(malformed) })
            }
        }

        impl BinWrite for $name {
            type Args<'a> = ();

            fn write_options<W: Write + Seek>(&self, writer: &mut W, endian: Endian, (): ()) -> BinResult<()> {
                self.code().write_options(writer, endian, ())
            }
        }
    };
}

closed_list! {
    /// Why a slot has no label. A closed list: dashboards may rely on it.
    Withheld as "reason" {
        /// The room, the model or the camera is still starting.
        Starting = 1 "starting",
        /// The camera sends nothing.
        CameraOffline = 2 "camera_offline",
        /// The camera is there, but too few frames are near enough to the wanted moments.
        VideoGap = 3 "video_gap",
        /// Packets were lost in this window, so the frames may be smeared.
        Damaged = 4 "damaged",
        /// The picture does not move at all: a camera that repeats itself.
        Frozen = 5 "frozen",
        /// Too dark to see anything.
        Dark = 6 "dark",
        /// The camera changed its codec or size inside this window.
        FormatChange = 7 "format_change",
        /// Sound is configured, is not there, and the network was not trained to do without.
        SoundMissing = 8 "sound_missing",
        /// Fewer people than `reading.min_group`.
        TooFewPeople = 9 "too_few_people",
        /// No emotion is likely enough.
        LowConfidence = 10 "low_confidence",
        /// This machine did not finish the slot in time.
        Overload = 11 "overload",
        /// The network answered with something that is not a number.
        ModelInvalid = 12 "model_invalid",
        /// Camera and microphone were closed: the box is paused, or the time is outside of `camera.schedule`.
        Paused = 13 "paused",
    }
}

closed_list! {
    /// Whether a camera can be relied on right now.
    CameraState as "state" {
        /// Pictures arrive.
        Online = 1 "online",
        /// Connected, but no picture for a while.
        Stale = 2 "stale",
        /// Not connected.
        Offline = 3 "offline",
    }
}

closed_list! {
    /// Why a camera is not online, in the words an installer can act on.
    CameraFault as "fault" {
        /// Nothing is wrong.
        None = 0 "none",
        /// The first connection is still under way.
        Connecting = 1 "connecting",
        /// No route, no answer, or the port is closed.
        Unreachable = 2 "unreachable",
        /// The camera refused the user or the password.
        Unauthorised = 3 "unauthorised",
        /// The camera has no stream at this path, or the file or device does not exist.
        NotFound = 4 "not_found",
        /// The camera serves as many sessions as it can.
        Busy = 5 "busy",
        /// The certificate is not the pinned one, or is not trusted.
        Certificate = 6 "certificate",
        /// The camera sends a codec that is not on the allow-list.
        Codec = 7 "codec",
        /// Connected, but nothing arrived for too long.
        Stalled = 8 "stalled",
        /// The camera ended the stream.
        Ended = 9 "ended",
        /// Sound arrives, pictures do not.
        SoundOnly = 10 "sound_only",
        /// Anything else; the log has the words.
        Other = 11 "other",
        /// It is disconnected on purpose: the box is paused, or the time is outside of `camera.schedule`.
        Paused = 12 "paused",
    }
}

closed_list! {
    /// How far a connection to a camera has come. Each step includes those before it.
    Step as "step" {
        /// It does not answer, or has not been asked yet.
        None = 0 "none",
        /// It takes connections at its address and port; a file or device is open.
        Connected = 1 "connected",
        /// It took the user and the password, where it wants any, and answered with a description.
        Authorised = 2 "authorised",
        /// The description holds a picture in a codec that is understood, and the camera agreed to send it.
        Described = 3 "described",
        /// Access units arrive.
        Playing = 4 "playing",
        /// The first key frame is there: from here on pictures can be decoded.
        KeyFrame = 5 "key_frame",
        /// The first picture was decoded.
        Decoded = 6 "decoded",
    }
}

closed_list! {
    /// How a camera's picture is compressed.
    PictureCodec as "codec" {
        /// Not known yet.
        Unknown = 0 "unknown",
        /// H.264.
        H264 = 1 "h264",
        /// H.265.
        H265 = 2 "h265",
        /// JPEG pictures.
        Mjpeg = 3 "mjpeg",
    }
}

closed_list! {
    /// What became of the sound of a window.
    SoundState as "sound" {
        /// None is configured.
        Off = 0 "off",
        /// There, and used.
        Present = 1 "present",
        /// Configured, but not there.
        Absent = 2 "absent",
        /// There, but digitally silent: a muted or broken microphone.
        Silent = 3 "silent",
        /// There, but clipping.
        Clipping = 4 "clipping",
    }
}

closed_list! {
    /// The rung of the execution-provider ladder in use.
    Provider as "provider" {
        /// No network runs yet.
        None = 0 "none",
        /// ONNX Runtime's CPU provider.
        Cpu = 1 "cpu",
        /// CUDA.
        Cuda = 2 "cuda",
        /// TensorRT.
        TensorRt = 3 "tensorrt",
    }
}
