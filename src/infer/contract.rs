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

use self::json::InvalidValue;
use crate::{
    time::Span,
    wire::{
        estimate::{Estimate, Estimates},
        record::Emotion,
    },
};

/// The metadata property that holds the contract.
pub(crate) const KEY: &str = "ger.contract";
/// The version of the contract that this build understands.
pub(crate) const VERSION: u32 = 1;
/// How many buckets of the group's size a network tells apart.
pub(crate) const GROUP_BUCKETS: usize = 5;

/// Why a network file cannot be used. Every message names the file and the cure.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
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
    #[error("{}: the network file is cut short{missing}; copy it again and compare its sha256", .file.display())]
    Truncated {
        /// The file.
        file: PathBuf,
        /// How much is known to be missing.
        missing: MissingBytes,
    },
    /// Weights lie in another file, which neither the hash nor a copy of the network would cover.
    #[error("{}: the network keeps weights in another file beside it; write it as one file (onnx.save without external data)", .0.display())]
    External(PathBuf),
    /// It is something else.
    #[error("{}: this is not an ONNX network but {looks_like}; set `model.file` to an .onnx that carries a contract", .file.display())]
    NotOnnx {
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
pub(crate) struct MissingBytes(pub u64);

impl fmt::Display for MissingBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            bytes => write!(f, ": at least {bytes} bytes are missing"),
        }
    }
}

/// The file that a contract came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ModelFile {
    /// The SHA-256 of all its bytes.
    pub sha256: [u8; 32],
    /// Its size.
    pub bytes: u64,
}

impl ModelFile {
    /// The hash in hexadecimal.
    #[must_use]
    pub(crate) fn sha256_hex(&self) -> String {
        self.sha256.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// What a network needs and gives, checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Contract {
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
pub(crate) struct Video {
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
pub(crate) enum Batch {
    /// One.
    One,
    /// As many as there are: its first dimension is symbolic.
    Any,
}

/// What a network answers beside `logits`. Nothing else is let through.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Outputs {
    /// The smallest size of each bucket of the group's size, ascending from 0.
    pub group_size: Option<[u8; GROUP_BUCKETS]>,
    /// What else it estimates: from which value to which it was trained, 0 to 1.
    pub estimates: Estimates<Option<[f32; 2]>>,
    /// Whether there is `logits_video`.
    pub logits_video: bool,
    /// Whether there is `logits_sound`.
    pub logits_sound: bool,
}

/// The outputs for inputs that `ramp-v1` makes, in the network's own order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Golden {
    /// The expected logits.
    pub logits: [f32; 3],
    /// The expected logits of the group's size, where given.
    pub group_size: Option<[f32; GROUP_BUCKETS]>,
    /// The expected estimates, where given.
    pub estimates: Estimates<Option<f32>>,
    /// No output may differ by more.
    pub tolerance: f32,
}

impl Outputs {
    /// What it estimates.
    pub(crate) fn estimated(&self) -> impl Iterator<Item = Estimate> + '_ {
        Estimate::ALL.into_iter().filter(|estimate| estimate.of(&self.estimates).is_some())
    }
}

impl Contract {
    /// Reads the contract of a network file, its hash and its size, in one pass and with little memory.
    ///
    /// # Errors
    /// When the file is missing, empty, cut short, in several files or no ONNX, or its contract is missing, of another version,
    /// or wrong.
    pub(crate) fn read(path: &Path) -> Result<(Self, ModelFile), Error> {
        let file = path.to_path_buf();
        let found = match onnx::scan(path, KEY) {
            Ok(found) => found,
            Err(onnx::ReadError::Io(source)) if source.kind() == io::ErrorKind::NotFound => {
                return Err(Error::Missing(file));
            }
            Err(onnx::ReadError::Io(source)) => return Err(Error::Unreadable { file, source }),
            Err(onnx::ReadError::Empty) => return Err(Error::Empty(file)),
            Err(onnx::ReadError::Truncated(bytes)) => {
                return Err(Error::Truncated { file, missing: MissingBytes(bytes) });
            }
            Err(onnx::ReadError::NotOnnx(looks_like)) => return Err(Error::NotOnnx { file, looks_like }),
        };
        if found.is_external {
            return Err(Error::External(file));
        }
        let text = found.property.ok_or_else(|| Error::NoContract(file.clone()))?;
        Ok((Self::parse(path, &text)?, found.file))
    }

    /// Checks the contract's text; `path` is only for the messages.
    ///
    /// # Errors
    /// When it is not JSON, of another version, or wrong.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Error> {
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
        check::contract(document).map_err(|InvalidValue { key, problem }| Error::Value { file, key, what: problem })
    }

    /// Puts three values that are in the network's order into the order of [`Emotion::ALL`].
    #[must_use]
    pub(crate) fn in_order<T: Copy>(&self, of_network: [T; 3]) -> [T; 3] {
        in_order(self.classes, of_network)
    }

    /// How many numbers the pictures of one clip are.
    #[must_use]
    pub(crate) fn video_len(&self) -> usize {
        self.video_shape(1).iter().product()
    }

    /// How many numbers the sound of one clip is; 0 where the network does not hear.
    #[must_use]
    pub(crate) fn sound_len(&self) -> usize {
        self.sound_shape(1).map_or(0, |shape| shape.iter().product())
    }

    /// The shape of `clips` clips' pictures.
    #[must_use]
    pub(crate) fn video_shape(&self, clips: usize) -> Vec<usize> {
        let Video { frames, height, width, .. } = self.video;
        vec![clips, frames as usize, 3, height as usize, width as usize]
    }

    /// The shape of `clips` clips' sound.
    #[must_use]
    pub(crate) fn sound_shape(&self, clips: usize) -> Option<Vec<usize>> {
        match self.sound.kind {
            SoundKind::None => None,
            SoundKind::Mel { .. } => Some(vec![clips, 5, 1, 128, 128]),
            SoundKind::Waveform { .. } => Some(vec![clips, self.sound.samples as usize]),
        }
    }
}

fn in_order<T: Copy>(classes: [Emotion; 3], of_network: [T; 3]) -> [T; 3] {
    Emotion::ALL.map(|emotion| of_network[classes.iter().position(|class| *class == emotion).unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::*;

    fn data(name: &str) -> PathBuf {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data")).join(name)
    }

    fn good() -> Contract {
        Contract::read(&data("good.onnx")).unwrap().0
    }

    /// The good contract with one place changed.
    fn with(pointer: &str, value: Value) -> Result<Contract, Error> {
        let mut document = good().document;
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let parent = document.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        if value.is_null() {
            assert!(parent.remove(key).is_some(), "{pointer}");
        } else {
            parent.insert(key.to_owned(), value);
        }
        Contract::parse(Path::new("a.onnx"), &document.to_string())
    }

    #[test]
    fn a_whole_file_is_read_with_its_hash() {
        let (contract, file) = Contract::read(&data("good.onnx")).unwrap();
        assert_eq!((contract.video.frames, contract.video.width, contract.batch), (5, 16, Batch::Any));
        assert_eq!(contract.sound.kind, SoundKind::Mel { mean: -30.0, std: 18.0 });
        assert_eq!(contract.outputs.group_size, Some([0, 1, 2, 5, 10]));
        assert_eq!(*Estimate::HeadWidth.of(&contract.outputs.estimates), Some([0.05, 0.25]));
        assert_eq!(contract.golden.tolerance, 1e-3);
        assert_eq!((contract.video_len(), contract.sound_len()), (5 * 3 * 16 * 16, 5 * 128 * 128));
        let bytes = fs::read(data("good.onnx")).unwrap();
        assert_eq!(file.bytes, bytes.len() as u64);
        assert_eq!(
            file.sha256[..],
            sha2::Digest::finalize(sha2::Digest::chain_update(sha2::Sha256::default(), bytes))[..]
        );
        assert!(contract.card(&file).contains(&file.sha256_hex()));
    }

    #[test]
    fn a_large_file_is_read_in_little_memory() {
        // Sixteen megabytes of weights, sparse on disk.
        let good = fs::read(data("good.onnx")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("large.onnx");
        let length: u64 = 16 << 20;
        let mut head = vec![0x08, 0x08, 0x3a];
        let mut rest = length;
        while 0x80 <= rest {
            head.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        head.push(u8::try_from(rest).unwrap());
        let file = fs::File::create(&path).unwrap();
        let contract_at = good.windows(KEY.len()).position(|bytes| bytes == KEY.as_bytes()).unwrap();
        let property_at = (0..contract_at).rev().find(|at| good[*at] == 0x72).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &head, 0).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &good[property_at..], head.len() as u64 + length).unwrap();
        let counted = allocation_counter::measure(|| drop(Contract::read(&path).unwrap()));
        assert!(counted.bytes_max < 1 << 20, "{counted:?}");
    }

    #[test]
    fn what_is_no_network_is_told_apart() {
        let good = fs::read(data("good.onnx")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.onnx");
        let check = |bytes: &[u8], words: &[&str]| {
            fs::write(&path, bytes).unwrap();
            let error = Contract::read(&path).unwrap_err().to_string();
            for word in words.iter().chain(&["a.onnx: "]) {
                assert!(error.contains(word), "no {word:?} in: {error}");
            }
        };
        check(b"", &["is empty", "copy it again"]);
        check(&good[..good.len() - 1], &["cut short: at least 1 bytes are missing", "copy it again"]);
        check(&good[..good.len() / 2], &["cut short", "bytes are missing"]);
        check(&good[..1], &["cut short"]);
        check(&good[..2], &["cut short"]);
        check(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00", &["not an ONNX", "a JPEG"]);
        check(b"\x89PNG\r\n\x1a\n\x00\x00\x00\x0dIHDR", &["a PNG"]);
        check(b"PK\x03\x04\x00\x00\x08\x08\x00\x00\x00\x00\x00\x00archive/data.pkl", &["PyTorch checkpoint", "export"]);
        check(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", &["git lfs pull"]);
        check(b"hello", &["text"]);
        check(b"\x7fELF\x02\x01\x01\x00", &["a program"]);
        check(&[0xff; 100], &["something else"]);
        check(&[0x08], &["cut short"]);
        let error = Contract::read(&data("no-contract.onnx")).unwrap_err().to_string();
        assert!(error.contains("no-contract.onnx: ") && error.contains("carries no `ger.contract`"), "{error}");
        let error = Contract::read(&folder.path().join("none.onnx")).unwrap_err().to_string();
        assert!(error.contains("none.onnx: no such network file; set `model.file`"), "{error}");
        let error = Contract::read(folder.path()).unwrap_err().to_string();
        assert!(error.contains("cannot be read: is a directory"), "{error}");
    }

    #[test]
    fn every_cut_is_a_fault() {
        let good = fs::read(data("good.onnx")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.onnx");
        for length in (0..good.len()).step_by(61) {
            fs::write(&path, &good[..length]).unwrap();
            let error = Contract::read(&path).unwrap_err();
            let known = matches!(error, Error::Empty(_) | Error::Truncated { .. } | Error::NoContract(_));
            assert!(known, "{length}: {error}");
        }
    }

    #[test]
    fn weights_in_another_file_are_refused_wherever_they_hide() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.onnx");
        // A field that holds a message, and the tensor's `data_location`.
        let within = |fields: &[u8], innermost: &[u8]| {
            fields.iter().rev().fold(innermost.to_vec(), |inner, field| {
                let mut outer = vec![field << 3 | 2, u8::try_from(inner.len()).unwrap()];
                outer.extend(inner);
                outer
            })
        };
        let read = |fields: &[u8], location: u8| {
            let mut bytes = vec![0x08, 0x08];
            bytes.extend(within(fields, &[14 << 3, location]));
            fs::write(&path, bytes).unwrap();
            Contract::read(&path).unwrap_err()
        };
        // An initializer; a constant; a constant in the branch of an `If`; a sparse initializer's values.
        for fields in [&[7, 5][..], &[7, 1, 5, 5], &[7, 1, 5, 6, 1, 5, 5], &[7, 15, 1]] {
            let error = read(fields, 1);
            assert!(matches!(error, Error::External(_)), "{fields:?}: {error}");
            let error = read(fields, 0);
            assert!(matches!(error, Error::NoContract(_)), "{fields:?}: {error}");
        }
        // The same number elsewhere says nothing of the kind.
        let error = read(&[7, 1], 1);
        assert!(matches!(error, Error::NoContract(_)), "{error}");
        // Deeper than any network: refused, not followed.
        let deep = [&[7][..], &[1, 5, 6].repeat(20)].concat();
        let error = read(&deep, 1);
        assert!(matches!(error, Error::NotOnnx { .. }), "{error}");
    }

    #[test]
    fn a_wrong_value_is_named() {
        let check = |pointer: &str, value: Value, words: &[&str]| {
            let error = with(pointer, value.clone()).expect_err(pointer).to_string();
            for word in words.iter().chain(&["a.onnx: "]) {
                assert!(error.contains(word), "{pointer} {value}: no {word:?} in: {error}");
            }
        };
        let none = Value::Null;
        check("/version", json!(2), &["version 2", "understands 1"]);
        check("/version", none.clone(), &["`version` must be", "nothing"]);
        for pointer in
            ["/video/mean", "/video/std", "/sound/kind", "/sound/missing", "/sound/mel/mean", "/sound/mel/std"]
        {
            let key = pointer[1..].replace('/', ".");
            check(pointer, none.clone(), &[&format!("`{key}` must be"), "but is nothing"]);
        }
        check("/video/std", json!([0.2, 0.2, 0]), &["`video.std`", "3 numbers"]);
        check("/video/mean", json!([0.2, 0.2]), &["`video.mean`", "[0.2,0.2]"]);
        check("/video/frames", json!(5.5), &["`video.frames`", "whole number"]);
        check("/video/resize", json!("crop"), &["`video.resize`", "squash-bicubic-antialias", "crop"]);
        check("/video/crop", json!(0.9), &["`video.crop` is not known"]);
        check("/classes", json!(["positive", "neutral", "neutral"]), &["`classes`", "three words"]);
        check("/classes", json!(["happy", "neutral", "negative"]), &["`classes`", "positive, neutral and negative"]);
        check("/classes", json!(["positive", "negative"]), &["`classes`"]);
        check("/outputs/embedding", json!(512), &["`outputs.embedding` is not known", "logits, group_size"]);
        check("/outputs/logits", json!(7), &["`outputs.logits`"]);
        for range in [json!([0.2, 0.1]), json!([0.0, 0.1]), json!([0.1, 1.5]), json!([0.1])] {
            check("/outputs/head_width", json!({ "trained": range }), &["`outputs.head_width.trained`"]);
        }
        check(
            "/outputs/group_size",
            json!({ "buckets": [0, 2, 2, 5, 10] }),
            &["`outputs.group_size.buckets`", "ascending"],
        );
        check("/sound/mel/id", json!("whisper"), &["`sound.mel.id`", "ger-mel-1"]);
        check("/sound/mel/hop", json!(160), &["`sound.mel.hop`", "125"]);
        check("/sound/mel/scale", json!("slaney"), &["`sound.mel.scale`", "htk"]);
        check("/sound/samples", json!(79_999), &["`sound.samples`", "clip_seconds"]);
        check("/sound/missing", json!("zeros"), &["`sound.missing`", "withhold"]);
        check("/sound/missing", json!("logits_video"), &["`sound.missing`", "outputs"]);
        check("/batch", json!(4), &["`batch`", "any"]);
        check("/calibration/temperature", json!(0), &["`calibration.temperature`"]);
        check("/prior", json!([0.5, 0.5, 0.5]), &["`prior`", "sum of 1"]);
        check("/transition", json!([[1, 0, 0], [0, 1, 0], [0, 0.5, 0]]), &["`transition[2]`", "sum of 1"]);
        check("/golden", none.clone(), &["`golden.input`"]);
        check("/golden/tolerance", json!(1.0), &["`golden.tolerance`"]);
        check("/name", json!("a\u{1b}[2J"), &["`name`", "printable"]);
        let error = Contract::parse(Path::new("a.onnx"), "{").unwrap_err().to_string();
        assert!(error.contains("`ger.contract` is not JSON"), "{error}");
    }

    #[test]
    fn what_may_grow_or_be_left_out() {
        for (pointer, value) in [
            ("/new", json!({ "a": 1 })),
            ("/evaluation/roc", json!(1)),
            ("/transition", Value::Null),
            ("/prior", Value::Null),
            ("/batch", Value::Null),
            ("/batch", json!(1)),
            ("/precision", json!("fp16")),
            ("/sound", json!({ "kind": "none" })),
            ("/outputs", json!({ "logits": 3 })),
        ] {
            assert!(with(pointer, value.clone()).is_ok(), "{pointer} {value}");
        }
        assert_eq!(with("/sound", json!({ "kind": "none" })).unwrap().sound_len(), 0);
    }

    #[test]
    fn other_orders_of_the_classes_are_mapped() {
        let contract = with("/classes", json!(["negative", "positive", "neutral"])).unwrap();
        assert_eq!(contract.in_order(["neg", "pos", "neu"]), ["pos", "neu", "neg"]);
        // In the file prior and transition are in the network's order.
        assert_eq!(contract.prior, [0.3, 0.4, 0.3]);
        let matrix = contract.transition.unwrap();
        assert_eq!(matrix[0], [0.654, 0.138, 0.208]);
        assert_eq!(matrix[2], [0.235, 0.066, 0.699]);
    }
}
