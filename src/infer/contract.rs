//! What a network file says of itself: the contract in its metadata, read without ONNX Runtime and checked.
//!
//! The daemon knows no architecture; all that it must know of a network is here. What is used is checked
//! strictly and has no defaults where a wrong guess would go unnoticed. What is only for people (evaluation,
//! licence, training) is kept as it is and shown by [`Contract::card`].

mod card;
mod check;
mod json;
mod onnx;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde_json::Value;

use self::json::Fault;
use crate::{time::Span, wire::record::Emotion};

/// The metadata property that holds the contract.
pub const KEY: &str = "ger.contract";
/// The version of the contract that this build understands.
pub const VERSION: u32 = 1;
/// How many buckets of the group's size a network tells apart.
pub const GROUP_BUCKETS: usize = 5;

/// Why a network file cannot be used. Every message names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such file.
    #[error("{}: no such network file; set `model.file` to an .onnx that carries a contract", .0.display())]
    Missing(PathBuf),
    /// The system refuses to read it.
    #[error("{}: the network file cannot be read: {source}; make it a file that the daemon's user may read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Zero bytes.
    #[error("{}: the network file is empty; copy it again", .0.display())]
    Empty(PathBuf),
    /// It ends too early.
    #[error("{}: the network file is cut short{beyond}; copy it again and compare its sha256", .file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// How much is known to be missing.
        beyond: Beyond,
    },
    /// It is something else.
    #[error("{}: this is not an ONNX network but {looks_like}; set `model.file` to an .onnx that carries a contract", .file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// What it seems to be.
        looks_like: &'static str,
    },
    /// ONNX, but not made for this daemon.
    #[error("{}: the network carries no `{KEY}`; export it with `python -m ger.export`, or add the contract to its metadata", .0.display())]
    NoContract(PathBuf),
    /// A contract of another version.
    #[error("{}: its contract has version {found}, and this build understands {VERSION}; export the network again, or use the build it was made for", .file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The version that it states.
        found: String,
    },
    /// A value is missing or wrong.
    #[error("{}: its contract is wrong: `{key}` {what}; correct it and export the network again", .file.display())]
    Value {
        /// The file.
        file: PathBuf,
        /// Where in the contract.
        key: String,
        /// What is wrong there.
        what: String,
    },
}

/// How many bytes a file is short of, where its own fields tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beyond(pub u64);

impl fmt::Display for Beyond {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            bytes => write!(f, ": at least {bytes} bytes are missing"),
        }
    }
}

/// The file that a contract came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ModelFile {
    /// The SHA-256 of all its bytes.
    pub sha256: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

impl ModelFile {
    /// The hash in hexadecimal.
    #[must_use]
    pub fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a network needs and gives, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Contract {
    /// The published system it follows: `augusma2023`, `evtodienko2021`, `vemd2026`, `edge`, or another name.
    pub system: String,
    /// The network's own name.
    pub name: String,
    /// How long a clip is.
    pub clip: Span,
    /// The meaning of each logit, in the network's order.
    pub classes: [Emotion; 3],
    /// The pictures it looks at.
    pub video: Video,
    /// The sound it hears.
    pub sound: Sound,
    /// How many clips it takes at a time.
    pub batch: Batch,
    /// What it answers.
    pub outputs: Outputs,
    /// Logits are divided by this before the softmax: over 0.
    pub temperature: f32,
    /// How often each emotion was in training, in the order of [`Emotion::ALL`]; sums to 1.
    pub prior: [f32; 3],
    /// From the emotion of a clip (row) to that of the next (column), both in the order of [`Emotion::ALL`];
    /// rows sum to 1. Without it nothing is smoothed.
    pub transition: Option<[[f32; 3]; 3]>,
    /// What it must answer to known inputs.
    pub golden: Golden,
    /// Whether its weights are meant for half precision (`fp16`): TensorRT may then use it.
    pub half: bool,
    /// The whole document, for people.
    pub document: Value,
}

/// The pictures of a clip: `f32 [1, frames, 3, height, width]`, sampled in the middle of each n-th of the clip,
/// squashed to size by Pillow's bicubic, then `(x / 255 - mean) / std` for red, green, blue.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Video {
    /// Frames of a clip: 1 to 32.
    pub frames: u32,
    /// Pixels: 16 to 1024.
    pub height: u32,
    /// Pixels: 16 to 1024.
    pub width: u32,
    /// Subtracted.
    pub mean: [f32; 3],
    /// Divided by.
    pub std: [f32; 3],
}

/// The sound of a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sound {
    /// Samples per second.
    pub rate_hz: u32,
    /// Samples of a clip.
    pub samples: u32,
    /// In which form.
    pub kind: SoundKind,
    /// What happens without it.
    pub missing: Missing,
}

/// The form in which a network hears.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SoundKind {
    /// It does not.
    None,
    /// `ger-mel-1`, `f32 [1, 5, 1, 128, 128]`, then `(x - mean) / std`.
    Mel {
        /// Subtracted, dB.
        mean: f32,
        /// Divided by, dB.
        std: f32,
    },
    /// Samples, `f32 [1, samples]`.
    Waveform {
        /// Whether each clip is shifted and scaled to mean 0 and deviation 1.
        zscore: bool,
    },
}

/// What a network does without sound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It was not trained to do without: the slot is withheld.
    Withhold,
    /// It was, and is told by its input `present`.
    Mask,
    /// Its output `logits_video` is used.
    LogitsVideo,
}

/// How many clips a network takes at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// One.
    One,
    /// As many as there are: its first dimension is symbolic.
    Any,
}

/// What a network answers beside `logits`. Nothing else is let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outputs {
    /// The smallest size of each bucket of the group's size, ascending from 0.
    pub group_size: Option<[u8; GROUP_BUCKETS]>,
    /// Whether there is `logits_video`.
    pub logits_video: bool,
    /// Whether there is `logits_sound`.
    pub logits_sound: bool,
}

/// The outputs for inputs that `ramp-v1` makes, in the network's own order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Golden {
    /// The expected logits.
    pub logits: [f32; 3],
    /// The expected logits of the group's size, where given.
    pub group_size: Option<[f32; GROUP_BUCKETS]>,
    /// No output may differ by more.
    pub tolerance: f32,
}

impl Contract {
    /// Reads the contract of a network file, its hash and its size, in one pass and with little memory.
    ///
    /// # Errors
    /// When the file is missing, empty, cut short or no ONNX, or its contract is missing, of another version,
    /// or wrong.
    pub fn read(path: &Path) -> Result<(Self, ModelFile), Error> {
        let file = path.to_path_buf();
        let found = match onnx::walk(path, KEY) {
            Ok(found) => found,
            Err(onnx::Fault::Io(source)) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(file));
            }
            Err(onnx::Fault::Io(source)) => return Err(Error::Unreadable { file, source }),
            Err(onnx::Fault::Empty) => return Err(Error::Empty(file)),
            Err(onnx::Fault::Truncated(beyond)) => return Err(Error::Truncated { file, beyond: Beyond(beyond) }),
            Err(onnx::Fault::Foreign(looks_like)) => return Err(Error::Foreign { file, looks_like }),
        };
        let text = found.property.ok_or_else(|| Error::NoContract(file.clone()))?;
        Ok((Self::parse(path, &text)?, found.file))
    }

    /// Checks the contract's text; `path` is only for the messages.
    ///
    /// # Errors
    /// When it is not JSON, of another version, or wrong.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file = path.to_path_buf();
        let document: Value = serde_json::from_str(text).map_err(|error| Error::Value {
            file: file.clone(),
            key: KEY.to_owned(),
            what: format!("is not JSON: {error}"),
        })?;
        match document.get("version") {
            Some(version) if version.as_u64() != Some(u64::from(VERSION)) => {
                return Err(Error::Version { file, found: version.to_string() });
            }
            _ => {}
        }
        check::contract(document).map_err(|Fault { key, what }| Error::Value { file, key, what })
    }

    /// Puts three values that are in the network's order into the order of [`Emotion::ALL`].
    #[must_use]
    pub fn in_order<T: Copy>(&self, of_network: [T; 3]) -> [T; 3] {
        in_order(self.classes, of_network)
    }

    /// How many numbers the pictures of one clip are.
    #[must_use]
    pub fn video_len(&self) -> usize {
        self.video_shape(1).iter().product()
    }

    /// How many numbers the sound of one clip is; 0 where the network does not hear.
    #[must_use]
    pub fn sound_len(&self) -> usize {
        self.sound_shape(1).map_or(0, |shape| shape.iter().product())
    }

    /// The shape of `clips` clips' pictures.
    #[must_use]
    pub fn video_shape(&self, clips: usize) -> Vec<usize> {
        let Video { frames, height, width, .. } = self.video;
        vec![clips, frames as usize, 3, height as usize, width as usize]
    }

    /// The shape of `clips` clips' sound.
    #[must_use]
    pub fn sound_shape(&self, clips: usize) -> Option<Vec<usize>> {
        match self.sound.kind {
            SoundKind::None => None,
            SoundKind::Mel { .. } => Some(vec![clips, 5, 1, 128, 128]),
            SoundKind::Waveform { .. } => Some(vec![clips, self.sound.samples as usize]),
        }
    }
}

fn in_order<T: Copy>(classes: [Emotion; 3], of_network: [T; 3]) -> [T; 3] {
    Emotion::ALL.map(|emotion| of_network[classes.iter().position(|it| *it == emotion).unwrap_or(0)])
}
