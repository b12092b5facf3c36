//! Just enough of protobuf to find one string in an `.onnx` of any size without holding it in memory.
//!
//! Field numbers and wire types are those of `ModelProto` and `StringStringEntryProto` in the ONNX
//! specification (`onnx.proto3`).

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::Path,
};

use sha2::{Digest, Sha256};

use super::ModelFile;

const IR_VERSION: u64 = 1;
const GRAPH: u64 = 7;
const METADATA_PROPS: u64 = 14;
/// `TensorProto.data_location`: 1 says that the numbers lie in another file.
const DATA_LOCATION: u64 = 14;
/// Graphs lie in graphs where there are branches and loops; no network goes so deep.
const DEPTH_MAX: u32 = 60;
/// `ModelProto` uses 1 to 26; a few more may come. Text and pictures show far larger "numbers" at once.
const FIELD_MAX: u64 = 63;
/// A property larger than this is no contract.
const PROPERTY_BYTES_MAX: u64 = 1 << 20;

const VARINT: u64 = 0;
const FIXED_64: u64 = 1;
const BYTES: u64 = 2;
const FIXED_32: u64 = 5;

/// Why a file is not a readable `.onnx`.
#[derive(Debug)]
pub(super) enum ReadError {
    Io(io::Error),
    Empty,
    /// So many bytes more were announced.
    Truncated(u64),
    /// With what it seems to be.
    NotOnnx(&'static str),
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// What a scan of the file gives.
pub(super) struct OnnxMetadata {
    pub(super) file: ModelFile,
    /// The value of the wanted metadata property.
    pub(super) property: Option<String>,
    /// Whether some of its numbers lie in another file, which the hash does not cover.
    pub(super) is_external: bool,
}

/// The messages of `onnx.proto3` in which tensors can lie.
#[derive(Clone, Copy)]
enum Message {
    Model,
    Training,
    Function,
    Graph,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
}

impl Message {
    /// What a field of this message holds, if tensors can lie in it.
    const fn within(self, field: u64) -> Option<Self> {
        Some(match (self, field) {
            (Self::Model, GRAPH) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 20) => Self::Training,
            (Self::Model, 25) => Self::Function,
            (Self::Function, 7) | (Self::Graph, 1) => Self::Node,
            (Self::Node, 5) => Self::Attribute,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            _ => return None,
        })
    }
}

/// Reads the whole file once: hashes it and keeps the metadata property `key`.
pub(super) fn scan(path: &Path, key: &str) -> Result<OnnxMetadata, ReadError> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Err(ReadError::Io(io::ErrorKind::IsADirectory.into()));
    }
    let mut scanner = Scanner {
        from: BufReader::with_capacity(1 << 16, file),
        hash: Sha256::new(),
        at: 0,
        bytes: metadata.len(),
        start: [0; START_BYTES],
        is_external: false,
    };
    if scanner.bytes == 0 {
        return Err(ReadError::Empty);
    }
    let property = scanner.fields(key)?;
    Ok(OnnxMetadata {
        file: ModelFile { sha256: scanner.hash.finalize().into(), bytes: scanner.bytes },
        property,
        is_external: scanner.is_external,
    })
}

/// As many as the longest of the signatures in [`looks_like`].
const START_BYTES: usize = 24;

struct Scanner {
    from: BufReader<File>,
    hash: Sha256,
    at: u64,
    bytes: u64,
    start: [u8; START_BYTES],
    is_external: bool,
}

impl Scanner {
    fn fields(&mut self, key: &str) -> Result<Option<String>, ReadError> {
        let (mut ir_version, mut graph, mut property) = (false, false, None);
        while self.at < self.bytes {
            let tag = self.varint()?;
            let (field, wire) = (tag >> 3, tag & 7);
            // Every writer begins with the version; before it nothing says that this is ONNX at all.
            if field == 0 || FIELD_MAX < field || !(ir_version || field == IR_VERSION) {
                return Err(self.not_onnx());
            }
            match (field, wire) {
                (IR_VERSION, VARINT) => ir_version = (1..=1000).contains(&self.varint()?),
                (IR_VERSION | GRAPH | METADATA_PROPS, wire) if wire != BYTES => return Err(self.not_onnx()),
                (METADATA_PROPS, _) => {
                    let length = self.length()?;
                    if length <= PROPERTY_BYTES_MAX {
                        property = entry(&self.take(length)?, key).or(property);
                    } else {
                        self.skip(length)?;
                    }
                }
                (_, VARINT) => _ = self.varint()?,
                (_, FIXED_64) => self.skip(8)?,
                (_, FIXED_32) => self.skip(4)?,
                (_, BYTES) => {
                    graph |= field == GRAPH;
                    let length = self.length()?;
                    self.message(Message::Model.within(field), length, DEPTH_MAX)?;
                }
                _ => return Err(self.not_onnx()),
            }
        }
        if graph { Ok(property) } else { Err(ReadError::Truncated(0)) }
    }

    /// Walks a message for tensors whose numbers lie elsewhere; skips what holds none.
    fn message(&mut self, message: Option<Message>, length: u64, depth: u32) -> Result<(), ReadError> {
        let Some(message) = message else { return self.skip(length) };
        let (end, Some(depth)) = (self.at + length, depth.checked_sub(1)) else { return Err(self.not_onnx()) };
        while self.at < end {
            let tag = self.varint()?;
            match (tag >> 3, tag & 7) {
                (DATA_LOCATION, VARINT) if matches!(message, Message::Tensor) => {
                    self.is_external |= self.varint()? == 1
                }
                (_, VARINT) => _ = self.varint()?,
                (_, FIXED_64) => self.skip(8)?,
                (_, FIXED_32) => self.skip(4)?,
                (field, BYTES) => {
                    let length = self.length()?;
                    self.message(message.within(field), length, depth)?;
                }
                _ => return Err(self.not_onnx()),
            }
        }
        if self.at == end { Ok(()) } else { Err(ReadError::Truncated(self.at - end)) }
    }

    fn byte(&mut self) -> Result<u8, ReadError> {
        let mut byte = [0];
        self.read(&mut byte)?;
        Ok(byte[0])
    }

    fn varint(&mut self) -> Result<u64, ReadError> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(self.not_onnx())
    }

    /// The length of a field, which must lie in the file.
    fn length(&mut self) -> Result<u64, ReadError> {
        let length = self.varint()?;
        match length.checked_sub(self.bytes - self.at) {
            None | Some(0) => Ok(length),
            Some(missing) => Err(ReadError::Truncated(missing)),
        }
    }

    fn take(&mut self, length: u64) -> Result<Vec<u8>, ReadError> {
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self, mut length: u64) -> Result<(), ReadError> {
        let mut chunk = [0; 1 << 14];
        while 0 < length {
            let part = usize::try_from(length).unwrap_or(usize::MAX).min(chunk.len());
            self.read(&mut chunk[..part])?;
            length -= part as u64;
        }
        Ok(())
    }

    fn read(&mut self, into: &mut [u8]) -> Result<(), ReadError> {
        self.from.read_exact(into).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => ReadError::Truncated(0),
            _ => ReadError::Io(error),
        })?;
        self.hash.update(&*into);
        if let Some(rest) = usize::try_from(self.at).ok().and_then(|at| self.start.get_mut(at..)) {
            let part = rest.len().min(into.len());
            rest[..part].copy_from_slice(&into[..part]);
        }
        self.at += into.len() as u64;
        Ok(())
    }

    /// Not ONNX: says what it looks like, from as much of its start as was read, or more.
    fn not_onnx(&mut self) -> ReadError {
        let missing = (START_BYTES as u64).min(self.bytes).saturating_sub(self.at);
        match self.skip(missing) {
            Ok(()) => ReadError::NotOnnx(looks_like(&self.start)),
            Err(fault) => fault,
        }
    }
}

/// The value of a `StringStringEntryProto` if its key is `key`.
fn entry(bytes: &[u8], key: &str) -> Option<String> {
    let (mut rest, mut name, mut value) = (bytes, None, None);
    while !rest.is_empty() {
        let (tag, after) = varint(rest)?;
        let (length, after) = varint(after)?;
        let length = usize::try_from(length).ok()?;
        let text = after.get(..length)?;
        match tag {
            0x0a => name = Some(text),
            0x12 => value = Some(text),
            _ => return None,
        }
        rest = &after[length..];
    }
    (name? == key.as_bytes()).then(|| String::from_utf8_lossy(value.unwrap_or_default()).into_owned())
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0_u64;
    for (i, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f).checked_shl(7 * u32::try_from(i).ok()?)?;
        if *byte < 0x80 {
            return Some((value, &bytes[i + 1..]));
        }
    }
    None
}

/// People mistake some files for networks more often than others.
fn looks_like(start: &[u8]) -> &'static str {
    const SIGNATURES: [(&[u8], &str); 7] = [
        (b"version https://git-lfs", "a Git LFS pointer: run `git lfs pull`"),
        (b"\xff\xd8\xff", "a JPEG picture"),
        (b"\x89PNG", "a PNG picture"),
        (b"PK\x03\x04", "a zip archive or a PyTorch checkpoint: export it first"),
        (b"\x80\x02", "a Python pickle: export it first"),
        (b"\x7fELF", "a program or a library"),
        (b"\x1f\x8b", "a gzip archive: unpack it first"),
    ];
    let known = SIGNATURES.iter().find(|(signature, _)| start.starts_with(signature));
    let text = start.iter().all(|byte| matches!(byte, 0 | b'\t' | b'\n' | b'\r' | b' '..=b'~'));
    match known {
        Some((_, name)) => name,
        None if text => "text",
        None => "something else",
    }
}
