//! Reads a configuration, and finds everything that is wrong with it at once.
//!
//! Each file and the environment become a layer (`parse`, `environment`, `layer`). Each layer is deserialised into the
//! structs of `keys`, whose types (`value`) accept what fits; every fault is noted. `resolve` merges the layers,
//! applies the rules that concern several keys, and builds a [`Config`]. No message repeats a value, so none can reveal
//! a password that was written in the wrong place.

mod diagnostic;
mod environment;
pub(super) mod keys;
mod layer;
mod parse;
mod resolve;
pub(crate) mod schema;
pub(crate) mod secrets;
mod suggest;
mod summary;
pub(crate) mod value;

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

pub(crate) use diagnostic::{Diagnostic, Faults, Place};
use diagnostic::{Diagnostics, Problem};
use environment::Environment;
use parse::{Base, ParsedFile};

use super::Config;

/// No configuration is longer, but a recording that is named by mistake is.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A configuration that can be acted on, and what its owner should know about it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Loaded {
    /// The configuration.
    pub config: Config,
    /// Where the network is named.
    pub model_place: Place,
    /// What is allowed but probably a mistake. For the log, one line each.
    pub warnings: Vec<Diagnostic>,
    /// All files that were read, in their order.
    pub files: Vec<PathBuf>,
    /// The files of the cameras, by the cameras' numbers.
    pub camera_files: Vec<PathBuf>,
}

/// The files of a box that a command needs to find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Places {
    /// Its state, and the lock of the daemon that uses it.
    pub state_dir: PathBuf,
    /// While this file exists, all cameras are paused.
    pub pause_file: PathBuf,
}

/// Reads files, and folders of them (all `*.toml` in one, by name); the environment overrides them.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub(crate) fn load(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<Config, Faults> {
    load_with_warnings(paths, environment).map(|loaded| loaded.config)
}

/// Reads the same as [`load`], and keeps the warnings.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub(crate) fn load_with_warnings(
    paths: &[PathBuf],
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Loaded, Faults> {
    let mut diagnostics = Diagnostics::default();
    let environment = Environment::of(environment);
    let files = parse_all(paths, &environment, &mut diagnostics);
    let (config, model_place) = resolve::config(&files, &environment, &mut diagnostics);
    diagnostics.sort();
    if !diagnostics.faults.is_empty() {
        return Err(Faults(diagnostics.faults));
    }
    // Without a fault, there is one camera for each file with a camera's section, in this order.
    let of_cameras = files.iter().filter(|file| file.camera().is_some());
    let camera_files = of_cameras.map(|file| file.path.clone()).collect();
    let files = files.into_iter().map(|file| file.path).collect();
    Ok(Loaded { config, model_place, warnings: diagnostics.warnings, files, camera_files })
}

/// What `edge-ger check` prints about a configuration without a fault: the box, each camera, the warnings. The
/// network's file must be there; whether it is a good one, only its contract can tell.
///
/// # Errors
/// With every fault of every file and of the environment, sorted by place. The exit code is 78.
pub(crate) fn check(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<String, Faults> {
    let loaded = load_with_warnings(paths, environment)?;
    if !loaded.config.model.file.is_file() {
        let what = "there is no such file".to_owned();
        let cure = "name the network, an .onnx with its contract, in file below [model]".to_owned();
        return Err(Faults(vec![Diagnostic { place: loaded.model_place, key: "model.file".into(), what, cure }]));
    }
    Ok(summary::of(&loaded))
}

/// Where the box keeps its state and its pause file. All other faults are ignored, so that a box can be paused whatever
/// else its files say.
///
/// # Errors When a file cannot be read, is not TOML, or is wrong about one of the two.
pub(crate) fn places(paths: &[PathBuf], environment: impl Iterator<Item = (String, String)>) -> Result<Places, Faults> {
    let mut diagnostics = Diagnostics::default();
    let environment = Environment::of(environment);
    let files = parse_all(paths, &environment, &mut diagnostics);
    let places = resolve::places(&files, &environment, &mut diagnostics);
    diagnostics.sort();
    let keys = ["box", "box.state_dir", "privacy", "privacy.pause_file"];
    let is_whole_file = |fault: &Diagnostic| fault.key.is_empty() && !matches!(fault.place, Place::Environment(_));
    diagnostics.faults.retain(|fault| is_whole_file(fault) || keys.contains(&fault.key.as_str()));
    if diagnostics.faults.is_empty() { Ok(places) } else { Err(Faults(diagnostics.faults)) }
}

/// Reads every file once, however often it is named.
fn parse_all(paths: &[PathBuf], environment: &Environment, diagnostics: &mut Diagnostics) -> Vec<ParsedFile> {
    if paths.is_empty() {
        let problem = Problem::new("no configuration is named", "name files, or folders of them");
        diagnostics.fault(Place::CommandLine, "", problem);
    }
    let mut seen = BTreeSet::new();
    let mut parsed = Vec::new();
    for path in paths {
        for path in files(path, &mut parsed, diagnostics) {
            if !seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                continue;
            }
            match text(&path) {
                Ok(text) => {
                    let whole = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
                    let folder = whole.parent().unwrap_or(Path::new("/"));
                    let base = Base { folder, credentials: environment.credentials.as_deref() };
                    parsed.push(parse::parse(&path, &text, base, diagnostics));
                }
                Err(problem) => refuse(&path, problem, &mut parsed, diagnostics),
            }
        }
    }
    parsed
}

/// The file itself, or the files of a folder.
fn files(path: &Path, parsed: &mut Vec<ParsedFile>, diagnostics: &mut Diagnostics) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let entries =
        fs::read_dir(path).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>());
    let mut files = match entries {
        Ok(entries) => entries,
        Err(err) => {
            refuse(path, unreadable(&err), parsed, diagnostics);
            return Vec::new();
        }
    };
    // Editors keep their own copies under names that begin with a dot.
    let hidden = |path: &Path| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    files.retain(|path| {
        path.extension().is_some_and(|extension| extension == "toml") && !hidden(path) && !path.is_dir()
    });
    files.sort();
    if files.is_empty() {
        let problem = Problem::new("there is no .toml in this folder", "put a file for each camera into it");
        refuse(path, problem, parsed, diagnostics);
    }
    files
}

/// Notes a file or folder that cannot be used. Keys that seem missing may stand in it.
fn refuse(path: &Path, problem: Problem, parsed: &mut Vec<ParsedFile>, diagnostics: &mut Diagnostics) {
    let file = ParsedFile::broken(path);
    diagnostics.fault(file.place(0), "", problem);
    parsed.push(file);
}

fn text(path: &Path) -> Result<String, Problem> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|err| unreadable(&err))?;
    if FILE_BYTES_MAX < text.len() as u64 {
        return Err(Problem::new("longer than 1 MiB", "name a configuration"));
    }
    Ok(text)
}

fn unreadable(err: &io::Error) -> Problem {
    match err.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            Problem::new("there is no such file or folder", "name one that exists")
        }
        io::ErrorKind::PermissionDenied => {
            Problem::new("it may not be read", "give it to the daemon's user, or run as that one")
        }
        io::ErrorKind::InvalidData => Problem::new("it is not text in UTF-8", "name a configuration"),
        kind => Problem::new(format!("it cannot be read: {kind}"), "look at the disk"),
    }
}
