//! The real command in a process of its own, with its log read line by line.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::LazyLock,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::program::Program;

/// ONNX Runtime's library, where `make` puts it.
pub(crate) const ONNX_RUNTIME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.onnxruntime/libonnxruntime.so");
/// The network that is shipped.
pub(crate) const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/edge-ger.onnx");

/// The program, which `cargo test` builds beside the tests, for tests/program.rs.
///
/// # Panics
/// When it is absent or older than what it is built from, as after `cargo test --lib` alone.
pub(crate) fn binary() -> &'static str {
    static BINARY: LazyLock<String> = LazyLock::new(|| {
        let file = target().join("edge-ger");
        let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
        let sources = fs::read_to_string(file.with_extension("d")).unwrap_or_default();
        let is_current = |source: &str| modified(Path::new(source)) <= modified(&file);
        let is_built = file.exists() && sources.split_whitespace().skip(1).all(is_current);
        assert!(is_built, "{} is absent or out of date: cargo build --features demo", file.display());
        file.into_os_string().into_string().unwrap()
    });
    &BINARY
}

/// A folder for what a person may want to look at after a test.
pub(crate) fn scratch() -> PathBuf {
    let folder = target().with_file_name("tmp");
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// The folder of this build, `target/debug`. The tests run in its `deps`.
fn target() -> PathBuf {
    std::env::current_exe().unwrap().ancestors().nth(2).unwrap().to_owned()
}

/// A running command, and the folder of its configuration and state.
pub(crate) struct Daemon {
    program: Program,
    /// Removed after the program has ended.
    pub(crate) folder: TempDir,
}

/// A folder with one configuration file per camera.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("cameras")).unwrap();
    for (name, text) in files {
        fs::write(folder.path().join("cameras").join(name), text).unwrap();
    }
    folder
}

impl Daemon {
    /// Starts `edge-ger [arguments] FOLDER/cameras` with these environment variables.
    pub(crate) fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(binary());
        command.args(arguments).arg(folder.path().join("cameras"));
        command.env("ORT_DYLIB_PATH", ONNX_RUNTIME).envs(environment.iter().copied());
        Self { program: Program::start(&mut command), folder }
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        self.program.pid()
    }

    /// A process that the daemon started, by its name.
    pub(crate) fn process(&self, name: &str) -> Option<Pid> {
        process(self.pid(), name)
    }

    /// Sends a signal to the parent.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for a line of the log that holds `words`.
    #[track_caller]
    pub(crate) fn wait_log(&mut self, words: &str, within: Duration) -> String {
        self.program.wait_line(words, within)
    }

    /// Everything that was said so far, without waiting.
    pub(crate) fn said(&mut self) -> String {
        self.program.said()
    }

    /// Waits for the end. Returns the exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> i32 {
        self.program.wait_exit(within)
    }
}

/// A process of this name that the parent started.
pub(crate) fn process(parent: Pid, name: &str) -> Option<Pid> {
    let children = format!("/proc/{0}/task/{0}/children", parent.as_raw_nonzero());
    let children = std::fs::read_to_string(children).ok()?;
    children.split_whitespace().find_map(|pid| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let is_it = command.split(|it| *it == 0).any(|it| it == name.as_bytes());
        is_it.then(|| Pid::from_raw(pid.parse().unwrap())).flatten()
    })
}

/// Runs the command to its end. Returns the exit code, standard output and standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(binary());
    let output = command.args(arguments).env("ORT_DYLIB_PATH", ONNX_RUNTIME).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A file below the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
