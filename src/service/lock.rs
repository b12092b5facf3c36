//! The lock of the state directory: one instance of the daemon uses it.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

/// Holds the state directory until it is dropped. The kernel releases it when the process ends in any way.
#[derive(Debug)]
pub(crate) struct Lock(#[expect(dead_code, reason = "only its drop is used")] File);

/// Why the state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Another process holds it.
    #[error(
        "another edge-ger, process {holder}, uses the state directory {dir}: stop it, or give this one a \
         `state_dir` of its own"
    )]
    Held {
        /// The state directory.
        dir: PathBuf,
        /// The number of that process, from the lock file.
        holder: String,
    },
    /// It cannot be created or written.
    #[error("cannot use the state directory {dir}: {source}; `state_dir` must be writable by the user of edge-ger")]
    Unusable {
        /// The state directory.
        dir: PathBuf,
        /// The error of the system.
        source: io::Error,
    },
}

/// Locks the state directory, and creates it if it does not exist.
///
/// # Errors
/// When another process holds it, or it cannot be created or written.
pub(crate) fn take(dir: &Path) -> Result<Lock, Error> {
    let unusable = |source| Error::Unusable { dir: dir.to_path_buf(), source };
    // It has the readings that the broker has not acknowledged, which are private.
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(unusable)?;
    let path = dir.join("lock");
    let mut options = OpenOptions::new();
    let mut file =
        options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(unusable)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Err(Error::Held { dir: dir.to_path_buf(), holder: holder(&mut file) }),
        Err(err) => return Err(unusable(err.into())),
    }
    file.set_len(0).map_err(unusable)?;
    writeln!(file, "{}", std::process::id()).map_err(unusable)?;
    Ok(Lock(file))
}

/// The number of the process that holds the state directory; `None` if none does. Read from `/proc/locks`, because trying
/// the lock could keep out a daemon that starts at that moment.
///
/// # Errors
/// When the lock file or `/proc/locks` cannot be read.
pub(crate) fn holder_of(dir: &Path) -> io::Result<Option<String>> {
    let inode = match fs::metadata(dir.join("lock")) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        found => found?.ino().to_string(),
    };
    // `1: FLOCK  ADVISORY  WRITE 4711 fe:00:1179650 0 EOF`, see proc_locks(5). Only the inode is compared: the device may
    // differ from that of stat(2), as on btrfs.
    let of_line = |line: &str| match line.split_whitespace().collect::<Vec<_>>()[..] {
        [_, "FLOCK", _, "WRITE", pid, place, ..] if place.rsplit(':').next() == Some(&inode) => Some(pid.to_owned()),
        _ => None,
    };
    Ok(fs::read_to_string("/proc/locks")?.lines().find_map(of_line))
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => pid.trim().to_owned(),
        // It has the lock, but has not written its number yet.
        _ => "unknown".to_owned(),
    }
}

/// Whether `dir` could be used; nothing is created or locked. For `edge-ger check`.
///
/// # Errors
/// When there is a file in its place.
pub(crate) fn check(dir: &Path) -> Result<(), Error> {
    match fs::metadata(dir) {
        Ok(found) if !found.is_dir() => {
            Err(Error::Unusable { dir: dir.to_path_buf(), source: io::ErrorKind::NotADirectory.into() })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_directory_has_one_holder_at_a_time() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("state").join("box");
        let lock = take(&dir).unwrap();
        let refused = take(&dir).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        assert!(refused.contains(&dir.display().to_string()), "{refused}");
        assert_eq!(holder_of(&dir).unwrap(), Some(std::process::id().to_string()));
        drop(lock);
        assert_eq!(holder_of(&dir).unwrap(), None);
        assert_eq!(holder_of(scratch.path()).unwrap(), None);
        take(&dir).unwrap();
    }

    #[test]
    fn a_file_in_its_place_is_an_error() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("state");
        fs::write(&dir, "").unwrap();
        assert!(matches!(take(&dir), Err(Error::Unusable { .. })));
        assert!(matches!(check(&dir), Err(Error::Unusable { .. })));
        assert!(check(&scratch.path().join("not-there-yet")).is_ok());
    }
}
