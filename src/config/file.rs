//! What was written in the configuration files, and what is wrong with it: all of it, at once.
//!
//! Two levels: `written` takes each key as [`schema`] wants it, `meant` makes a [`Config`] of all of them. No
//! message repeats a value, so none can repeat a password that stands where it should not.

mod meant;
mod remark;
pub mod schema;
pub mod secrets;
mod suggest;
mod summary;
mod surroundings;
mod url;
mod value;
mod written;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub use remark::{Faults, Place, Remark};
use remark::{Remarks, Wrong};
use surroundings::Surroundings;
use value::Base;
use written::Sheet;

use super::Config;

/// No configuration is longer; a recording named by mistake is.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration that can be acted on, and what its owner should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What is meant.
    pub config: Config,
    /// What is allowed and yet may not be meant. For the log, one line each.
    pub warnings: Vec<Remark>,
}

/// Where a box keeps what a command needs to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Its state, and the lock of the daemon that uses it.
    pub state_dir: PathBuf,
    /// While this file is there, all cameras are paused.
    pub pause_file: PathBuf,
}

/// Reads files, and folders of them (all `*.toml` in one, by name), with what the environment says over it.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub fn load(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
    load_with_warnings(paths, environment).map(|loaded| loaded.config)
}

/// Reads the same as [`load`], and keeps the warnings.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub fn load_with_warnings(
    paths: &[PathBuf],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Faults> {
    read(paths, environment).0
}

/// What `edge-ger check` prints about a configuration without a fault: the box, each camera, the warnings. The
/// network's file must be there; whether it is a good one, only its contract can tell.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub fn check(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<String, Faults> {
    let (loaded, model_place) = read(paths, environment);
    let loaded = loaded?;
    if !loaded.config.model.file.is_file() {
        let what = "there is no such file".to_owned();
        let cure = "name the network, an .onnx with its contract, in file below [model]".to_owned();
        return Err(Faults(vec![Remark { place: model_place, key: "model.file".into(), what, cure }]));
    }
    Ok(summary::of(&loaded))
}

/// Where the box keeps its state and its pause file. Faults that do not concern these two are none here, so that a
/// box can be paused whatever else its files say.
///
/// # Errors
/// When a file cannot be read, is not TOML, or is wrong about one of the two.
pub fn places(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<Places, Faults> {
    let mut remarks = Remarks::default();
    let surroundings = Surroundings::of(environment);
    let sheets = sheets(paths, &surroundings, &mut remarks);
    let (state_dir, pause_file) = meant::places(&sheets, &surroundings, &mut remarks);
    remarks.sort();
    let keys = ["box", "box.state_dir", "privacy", "privacy.pause_file"];
    let is_whole_file = |it: &Remark| it.key.is_empty() && !matches!(it.place, Place::Environment(_));
    remarks.faults.retain(|it| is_whole_file(it) || keys.contains(&it.key.as_str()));
    if remarks.faults.is_empty() { Ok(Places { state_dir, pause_file }) } else { Err(Faults(remarks.faults)) }
}

/// The configuration, and where its network is named.
fn read(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> (Result<Loaded, Faults>, Place) {
    let mut remarks = Remarks::default();
    let surroundings = Surroundings::of(environment);
    let sheets = sheets(paths, &surroundings, &mut remarks);
    let (config, model_place) = meant::config(&sheets, &surroundings, &mut remarks);
    remarks.sort();
    let loaded = match config {
        Some(config) if remarks.faults.is_empty() => Ok(Loaded { config, warnings: remarks.warnings }),
        _ => Err(Faults(remarks.faults)),
    };
    (loaded, model_place)
}

/// Reads every file once, however often it is named.
fn sheets(paths: &[PathBuf], surroundings: &Surroundings, remarks: &mut Remarks) -> Vec<Sheet> {
    if paths.is_empty() {
        remarks.fault(
            Place::CommandLine,
            "",
            Wrong::new("no configuration is named", "name files, or folders of them"),
        );
    }
    let mut seen = BTreeSet::new();
    let mut sheets = Vec::new();
    for path in paths {
        for path in files(path, &mut sheets, remarks) {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            match text(&path) {
                Ok(text) => {
                    let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
                    let folder = whole.parent().unwrap_or(Path::new("/"));
                    let base = Base { folder, credentials: surroundings.credentials.as_deref() };
                    sheets.push(written::read(&path, &text, base, remarks));
                }
                Err(wrong) => refuse(&path, wrong, &mut sheets, remarks),
            }
        }
    }
    sheets
}

/// The file itself, or the files of a folder.
fn files(path: &Path, sheets: &mut Vec<Sheet>, remarks: &mut Remarks) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries =
        fs::read_dir(path).and_then(|entries| entries.map(|it| Ok(it?.path())).collect::<io::Result<Vec<_>>>());
    let mut files = match entries {
        Ok(entries) => entries,
        Err(err) => {
            refuse(path, unreadable(&err), sheets, remarks);
            return Vec::new();
        }
    };
    // Editors keep their own copies under names that begin with a dot.
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| path.extension().is_some_and(|it| it == "toml") && !hidden(path) && !path.is_dir());
    files.sort();
    if files.is_empty() {
        refuse(
            path,
            Wrong::new("there is no .toml in this folder", "put a file for each camera into it"),
            sheets,
            remarks,
        );
    }
    files
}

/// Remarks a file or folder that cannot be used; what seems missing elsewhere may stand in it.
fn refuse(path: &Path, wrong: Wrong, sheets: &mut Vec<Sheet>, remarks: &mut Remarks) {
    let sheet = Sheet::broken(path);
    remarks.fault(sheet.place(0), "", wrong);
    sheets.push(sheet);
}

fn text(path: &Path) -> Result<String, Wrong> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|err| unreadable(&err))?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(Wrong::new("longer than 1 MiB", "name a configuration"));
    }
    Ok(text)
}

fn unreadable(err: &io::Error) -> Wrong {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Wrong::new("there is no such file or folder", "name one that exists")
        }
        io::ErrorKind::PermissionDenied => {
            Wrong::new("it may not be read", "give it to the daemon's user, or run as that one")
        }
        io::ErrorKind::InvalidData => Wrong::new("it is not text in UTF-8", "name a configuration"),
        kind => Wrong::new(format!("it cannot be read: {kind}"), "look at the disk"),
    }
}
