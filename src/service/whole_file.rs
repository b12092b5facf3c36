//! Files that are there whole or not at all, whatever happens in between.

use std::{
    fs::{File, Permissions},
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

use tempfile::{Builder, NamedTempFile};

/// Who may read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readers {
    /// Whoever may read what this user makes: the umask says it.
    AsUsual,
    /// Everybody, whatever the umask says.
    Everybody,
}

/// Makes the file, or replaces it. It is on the disk when this returns, and whoever looks meanwhile finds all of it or
/// what was there before.
///
/// # Errors
/// When the folder is not there or may not be written, or the disk is full. What was there before stays.
pub fn replace(file: &Path, text: &str, readers: Readers) -> io::Result<()> {
    beside(file, text, readers)?.persist(file)?;
    sync_folder(file)
}

/// The same, but never in the place of anything.
///
/// # Errors
/// As [`replace`], and [`io::ErrorKind::AlreadyExists`] when something is there, even if it appeared just now.
pub fn create(file: &Path, text: &str, readers: Readers) -> io::Result<()> {
    beside(file, text, readers)?.persist_noclobber(file)?;
    sync_folder(file)
}

/// The folder that a file is in.
#[must_use]
pub fn folder(file: &Path) -> &Path {
    file.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// On the disk, under a name of its own; it goes when it is dropped.
fn beside(file: &Path, text: &str, readers: Readers) -> io::Result<NamedTempFile> {
    let name = file.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = std::ffi::OsString::from(".");
    prefix.push(name);
    // The umask takes from these rights, but not from those that are set afterwards.
    let usual = Permissions::from_mode(0o666);
    let mut new = Builder::new().prefix(&prefix).permissions(usual).tempfile_in(folder(file))?;
    if readers == Readers::Everybody {
        new.as_file().set_permissions(Permissions::from_mode(0o644))?;
    }
    new.write_all(text.as_bytes())?;
    new.as_file().sync_all()?;
    Ok(new)
}

/// Until its folder is on the disk, a crash of the machine may take the new name back.
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
        create(&file, "first", Readers::AsUsual).unwrap();
        assert_eq!(create(&file, "second", Readers::AsUsual).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
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
        assert!(replace(&file, "text", Readers::AsUsual).is_err());
        assert!(file.is_dir());
        assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1, "nothing is left beside it");
        let nowhere = scratch.path().join("no/list");
        assert_eq!(replace(&nowhere, "text", Readers::AsUsual).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(replace(Path::new("/"), "text", Readers::AsUsual).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn others_read_it_as_the_umask_lets_them() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, usual) = (scratch.path().join("list"), scratch.path().join("usual"));
        fs::write(&usual, "").unwrap();
        create(&file, "", Readers::AsUsual).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions(), fs::metadata(&usual).unwrap().permissions());
    }
}
