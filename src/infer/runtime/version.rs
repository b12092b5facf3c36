//! Which ONNX Runtime a library is. Its interface tells the version through a pointer that only unsafe code can follow,
//! but every symbol that it exports carries it, too: `VERS_1.23.2`, from its own linker script (seen in 1.19.2, 1.23.2
//! and 1.31.1).

use std::io::{self, Read};

const MARK: &[u8] = b"VERS_";
/// Longer than any version that could follow the mark.
const LONGEST: usize = 32;
const CHUNK: usize = 1 << 16;

/// The version in a library's bytes: major, minor, patch. `None` where there is none.
///
/// # Errors
/// When it cannot be read.
pub(super) fn find(mut library: impl Read) -> io::Result<Option<[u32; 3]>> {
    let mut bytes = Vec::with_capacity(2 * CHUNK);
    loop {
        let read = library.by_ref().take(CHUNK as u64).read_to_end(&mut bytes)?;
        let found = (0..bytes.len()).find_map(|at| version(&bytes[at..]));
        if found.is_some() || read == 0 {
            return Ok(found);
        }
        // A mark may lie across the border.
        bytes.drain(..bytes.len().saturating_sub(MARK.len() + LONGEST));
    }
}

/// The version that these bytes begin with, which ends as a string does in C.
fn version(bytes: &[u8]) -> Option<[u32; 3]> {
    let rest = bytes.strip_prefix(MARK)?;
    let end = rest.iter().take(LONGEST).position(|byte| *byte == 0)?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    let mut parts = text.splitn(3, '.').map(|part| part.parse().ok());
    Some([parts.next()??, parts.next()??, parts.next()??])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: Option<[u32; 3]>) {
        assert_eq!(find(bytes).unwrap(), expected);
    }

    #[test]
    fn a_version_is_found_wherever_it_stands() {
        for before in [0, 1, CHUNK - 9, CHUNK - 3, CHUNK, 3 * CHUNK - 7] {
            let mut bytes = vec![b'.'; before];
            bytes.extend(b"VERS_1.23.2\0");
            check(&bytes, Some([1, 23, 2]));
            bytes.extend(vec![0; CHUNK]);
            check(&bytes, Some([1, 23, 2]));
        }
    }

    #[test]
    fn what_only_looks_like_one_is_none() {
        check(b"", None);
        check(b"VERS_", None);
        check(b"VERS_1.23\0VERS_one.two.three\0VERS_1.2.3", None);
        check(b"VERS_9999999999.1.1\0", None);
        check(b"CONVERS_ATION\0VERS_1.31.1\0", Some([1, 31, 1]));
    }
}
