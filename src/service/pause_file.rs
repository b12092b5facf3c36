//! The pause file: while it exists, no camera or microphone is open.
//!
//! It is empty, or contains the time at which the pause ends. With any other content, and whenever it cannot be read, it
//! pauses, too: only a file that does not exist does not pause.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use super::whole_file::{self, Readers};
use crate::time::local::{Zone, parse_rfc3339};

/// A time needs fewer.
const BYTES_MAX: u64 = 256;

/// The content of the pause file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PauseFile {
    /// There is no file: no pause.
    Absent,
    /// Pause until the file is removed.
    Indefinite,
    /// Pause until this time, milliseconds since 1970 UTC.
    Until(u64),
    /// It cannot be read, or has other content: pause until it is removed.
    Invalid,
}

/// Reads the pause file.
#[must_use]
pub(crate) fn read(file: &Path) -> PauseFile {
    let mut bytes = Vec::new();
    let opened = OpenOptions::new().read(true).custom_flags(NONBLOCK).open(file);
    match opened.and_then(|opened| opened.take(BYTES_MAX + 1).read_to_end(&mut bytes)) {
        Ok(_) => parse(&bytes),
        Err(err) if err.kind() == io::ErrorKind::NotFound => PauseFile::Absent,
        Err(_) => PauseFile::Invalid,
    }
}

/// Reading must not block on a named pipe in its place.
#[allow(clippy::cast_possible_wrap, reason = "a flag is a bit, whatever its sign")]
const NONBLOCK: i32 = rustix::fs::OFlags::NONBLOCK.bits() as i32;

fn parse(bytes: &[u8]) -> PauseFile {
    match std::str::from_utf8(bytes).map(str::trim) {
        Ok("") => PauseFile::Indefinite,
        Ok(text) if bytes.len() as u64 <= BYTES_MAX => parse_rfc3339(text).map_or(PauseFile::Invalid, PauseFile::Until),
        _ => PauseFile::Invalid,
    }
}

/// Creates or replaces the file: to pause until this time, or until it is removed.
///
/// # Errors
/// When the folder does not exist, or may not be written.
pub(crate) fn write(file: &Path, until_ms: Option<u64>) -> io::Result<()> {
    let text = until_ms.map(|end_ms| Zone::system_or_utc().rfc3339(end_ms) + "\n").unwrap_or_default();
    // The daemon, which reads it, is another user than the one who typed the command.
    whole_file::replace(file, &text, Readers::Everybody)
}

/// Removes the file. Returns whether there was one.
///
/// # Errors
/// When it exists and may not be removed.
pub(crate) fn remove(file: &Path) -> io::Result<bool> {
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
    fn every_file_pauses_and_only_a_missing_one_does_not() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("paused");
        let says = |bytes: &[u8], expected| {
            fs::write(&file, bytes).unwrap();
            assert_eq!(read(&file), expected, "{:?}", String::from_utf8_lossy(bytes));
        };
        assert_eq!(read(&file), PauseFile::Absent);
        says(b"", PauseFile::Indefinite);
        says(b" \n", PauseFile::Indefinite);
        says(b"2026-11-21T18:30:00+01:00\n", PauseFile::Until(1_795_282_200_000));
        says(b"2026-11-21T17:30:00Z", PauseFile::Until(1_795_282_200_000));
        for invalid in [&b"no"[..], b"18:30", b"2026-11-21", b"\xff", &[b' '; 300], &[b'1'; 300]] {
            says(invalid, if invalid[0] == b' ' { PauseFile::Indefinite } else { PauseFile::Invalid });
        }
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_eq!(read(&file), PauseFile::Invalid, "a folder");
        fs::remove_dir(&file).unwrap();
        symlink(&file, &file).unwrap();
        assert_eq!(read(&file), PauseFile::Invalid, "a link to itself");
        fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
        assert_eq!(read(&file), PauseFile::Indefinite, "a pipe that nobody writes to");
        assert_eq!(read(&scratch.path().join("no/folder")), PauseFile::Absent);
    }

    #[test]
    fn a_file_that_was_written_is_read_and_removed() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("paused");
        for (until, said) in
            [(Some(1_795_282_200_000), PauseFile::Until(1_795_282_200_000)), (None, PauseFile::Indefinite)]
        {
            write(&file, until).unwrap();
            assert_eq!(read(&file), said);
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!((remove(&file).unwrap(), remove(&file).unwrap()), (true, false));
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing else is left");
        assert_eq!(write(&scratch.path().join("no/folder"), None).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
