//! What a dry run leaves behind: whole files or none, and never in the place of somebody else's.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use super::html;
use crate::service::whole_file::{self, Readers};

/// Why a file is not written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Something is there already.
    #[error("{}: this file exists already; name another one", .0.display())]
    Exists(PathBuf),
    /// Something is there that is no report.
    #[error("{}: this file exists and is no report of edge-ger; name another one", .0.display())]
    Foreign(PathBuf),
    /// There is no such folder.
    #[error("{}: there is no such folder to write into", .0.display())]
    NoFolder(PathBuf),
    /// The system refuses.
    #[error("{}: {}", .0.display(), .1)]
    Io(PathBuf, #[source] io::Error),
}

/// Whether a report may be written there: to know it before the work, and not after it.
///
/// # Errors
/// When there is no such folder, or another file in the report's place.
pub(crate) fn may_report(path: &Path) -> Result<(), Error> {
    has_folder(path)?;
    let mut start = Vec::new();
    match File::open(path) {
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(err) => return Err(Error::Io(path.into(), err)),
        Ok(file) => file.take(html::MARK.len() as u64).read_to_end(&mut start),
    }
    .map_err(|err| Error::Io(path.into(), err))?;
    if start == html::MARK.as_bytes() { Ok(()) } else { Err(Error::Foreign(path.into())) }
}

/// Whether a patch may be written there.
///
/// # Errors
/// When there is no such folder, or anything in the patch's place.
pub(crate) fn may_patch(path: &Path) -> Result<(), Error> {
    has_folder(path)?;
    if path.symlink_metadata().is_ok() { Err(Error::Exists(path.into())) } else { Ok(()) }
}

fn has_folder(path: &Path) -> Result<(), Error> {
    let folder = whole_file::folder(path);
    if folder.is_dir() { Ok(()) } else { Err(Error::NoFolder(folder.into())) }
}

/// Writes a report, in the place of an older one.
///
/// # Errors
/// As [`may_report`], and when the system refuses.
pub(crate) fn write_report(path: &Path, text: &str) -> Result<(), Error> {
    may_report(path)?;
    whole_file::replace(path, text, Readers::Umask).map_err(|err| error(path, err))
}

/// Writes a patch where nothing is.
///
/// # Errors
/// As [`may_patch`], and when the system refuses.
pub(crate) fn write_patch(path: &Path, text: &str) -> Result<(), Error> {
    may_patch(path)?;
    whole_file::create(path, text, Readers::Umask).map_err(|err| error(path, err))
}

fn error(path: &Path, err: io::Error) -> Error {
    match err.kind() {
        io::ErrorKind::AlreadyExists => Error::Exists(path.into()),
        _ => Error::Io(path.into(), err),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn only_an_older_report_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let report = folder.path().join("site.html");
        write_report(&report, &format!("{}first", html::MARK)).unwrap();
        write_report(&report, &format!("{}second", html::MARK)).unwrap();
        assert!(fs::read_to_string(&report).unwrap().ends_with("second"));
        fs::write(&report, "<!DOCTYPE html><title>mine").unwrap();
        assert!(matches!(write_report(&report, "x"), Err(Error::Foreign(_))));
        assert!(fs::read_to_string(&report).unwrap().ends_with("mine"));
        assert!(matches!(may_report(&folder.path().join("none/site.html")), Err(Error::NoFolder(_))));
        assert!(matches!(may_report(folder.path()), Err(Error::Io(..) | Error::Foreign(_))));
    }

    #[test]
    fn a_patch_takes_nobodys_place() {
        let folder = tempfile::tempdir().unwrap();
        let patch = folder.path().join("hall.toml");
        write_patch(&patch, "a = 1\n").unwrap();
        assert!(matches!(write_patch(&patch, "a = 2\n"), Err(Error::Exists(_))));
        assert_eq!(fs::read_to_string(&patch).unwrap(), "a = 1\n");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }
}
