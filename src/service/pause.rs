//! The pause file: while it is there, nobody looks or listens.
//!
//! It is empty, or holds the moment at which the pause ends. Whatever else it is or holds, and whatever keeps it from
//! being read, it pauses: only a file that is not there does not.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::whole_file::{self, Readers};
use crate::time::local::{Zone, read_moment};

/// A moment needs fewer.
const BYTES_MAX: u64 = 256;

/// What the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// It is not there.
    Nothing,
    /// Pause, until it is removed.
    Always,
    /// Pause until this moment, milliseconds since 1970 UTC.
    Until(u64),
    /// It cannot be read, or holds something else: pause, until it is removed.
    Unclear,
}

/// What the file says now.
#[must_use]
pub fn read(file: &Path) -> Said {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(file);
    match opened.and_then(|it| it.take(BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) => understood(&bytes),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Said::Nothing,
        Err(_) => Said::Unclear,
    }
}

/// A pipe in the file's place must not keep whoever looks at it waiting. The bits are those of this machine.
#[allow(clippy::cast_possible_wrap, reason = "a flag is a bit, whatever its sign")]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

fn understood(bytes: &[u8]) -> Said {
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => Said::Always,
        Ok(written) if bytes.len() as u64 <= BYTES_MAX => read_moment(written).map_or(Said::Unclear, Said::Until),
        _ => Said::Unclear,
    }
}

/// Makes the file, or replaces it: to pause until this moment, or until it is removed.
///
/// # Errors
/// When the folder is not there, or may not be written.
pub fn write(file: &Path, until_ms: Option<u64>) -> io::Result<()> {
    let text = until_ms.map(|it| Zone::of_people().written(it) + "\n").unwrap_or_default();
    // The daemon reads it as another user than the one who typed the command.
    whole_file::replace(file, &text, Readers::Everybody)
}

/// Removes the file. False if there was none.
///
/// # Errors
/// When it is there and may not be removed.
pub fn remove(file: &Path) -> io::Result<bool> {
    match fs::remove_file(file) {
        Ok(()) => Ok(true),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(err) => Err(err),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    #[test]
    fn only_a_file_that_is_not_there_says_nothing() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("paused");
        let says = |bytes: &[u8], expected| {
            fs::write(&file, bytes).unwrap();
            assert_eq!(read(&file), expected, "{:?}", String::from_utf8_lossy(bytes));
        };
        assert_eq!(read(&file), Said::Nothing);
        says(b"", Said::Always);
        says(b" \n", Said::Always);
        says(b"2026-11-21T18:30:00+01:00\n", Said::Until(1_795_282_200_000));
        says(b"2026-11-21T17:30:00Z", Said::Until(1_795_282_200_000));
        for unclear in [&b"no"[..], b"18:30", b"2026-11-21", b"\xff", &[b' '; 300], &[b'1'; 300]] {
            says(unclear, if unclear[0] == b' ' { Said::Always } else { Said::Unclear });
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(read(&file), Said::Unclear, "a folder");
        fs::remove_dir(&file).unwrap();
        symlink(&file, &file).unwrap();
        assert_eq!(read(&file), Said::Unclear, "a link to itself");
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(read(&file), Said::Always, "a pipe that nobody writes to");
        assert_eq!(read(&scratch.path().join("no/folder")), Said::Nothing);
    }

    #[test]
    fn what_is_written_is_read_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("paused");
        for (until, said) in [(Some(1_795_282_200_000), Said::Until(1_795_282_200_000)), (None, Said::Always)] {
            write(&file, until).unwrap();
            assert_eq!(read(&file), said);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!((remove(&file).unwrap(), remove(&file).unwrap()), (true, false));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing else is left");
        assert_eq!(write(&scratch.path().join("no/folder"), None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
