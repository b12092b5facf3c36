//! Writes files atomically: the file has all of its new content, or none.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// Who may read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Readers {
    /// Those that the umask allows.
    Umask,
    /// All users, independent of the umask.
    Everybody,
}

/// Creates or replaces the file. It is on the disk when this returns; a concurrent reader gets the old content or all of
/// the new.
///
/// # Errors
/// When the folder does not exist or may not be written, or the disk is full. The old content then stays.
pub(crate) fn replace(file: &Path, text: &str, readers: Readers) -> io::Result<()> {
    temporary(file, text, readers)?.persist(file)?;
    sync_folder(file)
}

/// Creates the file; never replaces one.
///
/// # Errors
/// As [`replace`], and [`io::ErrorKind::AlreadyExists`] when the file exists, even if it was created just now.
pub(crate) fn create(file: &Path, text: &str, readers: Readers) -> io::Result<()> {
    temporary(file, text, readers)?.persist_noclobber(file)?;
    sync_folder(file)
}

/// The folder that a file is in.
#[must_use]
pub(crate) fn folder(file: &Path) -> &Path {
    file.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A complete temporary file in the same folder, on the disk; removed if it is dropped.
fn temporary(file: &Path, text: &str, readers: Readers) -> io::Result<NamedTempFile> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    // The umask applies to these permissions, but not to those that are set afterwards.
    let before_umask = Permissions::from_mode(0o666);
    let mut new = Builder::new().prefix(&prefix).permissions(before_umask).tempfile_in(folder(file))?;
    if readers == Readers::Everybody {
        new.as_file().set_permissions(Permissions::from_mode(0o644))?;
    }
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    Ok(new)
}

/// Until the folder is on the disk, too, a power failure can undo the new name.
fn sync_folder(file: &Path) -> io::Result<()> {
    File::open(folder(file))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_where_it_may_be() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("list");
        create(&file, "first", Readers::Umask).unwrap();
        assert_eq!(create(&file, "second", Readers::Umask).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read_to_string(&file).unwrap(), "first");
        replace(&file, "third", Readers::Everybody).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "third");
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o644);
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("list");
        fs::create_dir(&file).unwrap();
        assert!(replace(&file, "text", Readers::Umask).is_err());
        assert!(file.is_dir());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");
        let nowhere = scratch.path().join("no/list");
        assert_eq!(replace(&nowhere, "text", Readers::Umask).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(replace(Path::new("/"), "text", Readers::Umask).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn its_permissions_follow_the_umask() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, usual) = (scratch.path().join("list"), scratch.path().join("usual"));
        fs::write(&usual, "").unwrap();
        create(&file, "", Readers::Umask).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions(), fs::metadata(&usual).unwrap().permissions());
    }
}
