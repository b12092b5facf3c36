//! The real command in a process of its own, with its log read line by line.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// ONNX Runtime's library, where `make` puts it.
pub(crate) const ONNX_RUNTIME: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/.onnxruntime/libonnxruntime.so");
/// The network that is shipped.
pub(crate) const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/edge-ger.onnx");

/// A command that runs, and the folder that holds its configuration and state.
pub(crate) struct Daemon {
    pub(crate) folder: TempDir,
    child: Child,
    log: Receiver<String>,
    said: Vec<String>,
}

/// A folder with one configuration file per camera.
pub(crate) fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("cameras")).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join("cameras").join(name), text).unwrap();
    }
    folder
}

impl Daemon {
    /// Starts `edge-ger [arguments] FOLDER/cameras` with these environment variables.
    pub(crate) fn start(folder: TempDir, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-ger"));
        command.args(arguments).arg(folder.path().join("cameras"));
        command.env("ORT_DYLIB_PATH", ONNX_RUNTIME).envs(environment.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, log) = bounded(100_000);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers: [Box<dyn BufRead + Send>; 2] = [Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for reader in readers {
            let sender = sender.clone();
            let read = move || reader.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            thread::Builder::new().name("daemon-log".into()).spawn(read).unwrap();
        }
        Self { folder, child, log, said: Vec::new() }
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// The processes that the daemon started, by the name of their room.
    pub(crate) fn room(&self, name: &str) -> Option<Pid> {
        let children = format!("/proc/{0}/task/{0}/children", self.child.id());
        let children = std::fs::read_to_string(children).ok()?;
        children.split_whitespace().find_map(|pid| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).ok()?;
            let is_it = command.split(|it| *it == 0).any(|it| it == name.as_bytes());
            is_it.then(|| Pid::from_raw(pid.parse().unwrap())).flatten()
        })
    }

    /// Sends a signal to the parent.
    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for a line of the log that holds `words`.
    #[track_caller]
    pub(crate) fn wait_log(&mut self, words: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        loop {
            match self.log.recv_deadline(deadline) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {words:?} within {within:?}; said:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Everything that was said so far, without waiting.
    pub(crate) fn said(&mut self) -> String {
        self.said.extend(self.log.try_iter());
        self.said.join("\n")
    }

    /// Waits for the end. Returns the exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        let (_keep, never) = bounded::<()>(0);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Both pipes are closed by now, so what is left of the log can be read to its end.
                self.said.extend(self.log.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "did not end within {within:?}; said:\n{}", self.said());
            never.recv_timeout(Duration::from_millis(10)).unwrap_err();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}

/// Runs the command to its end. Returns the exit code, standard output and standard error.
pub(crate) fn run(arguments: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-ger"));
    let output = command.args(arguments).env("ORT_DYLIB_PATH", ONNX_RUNTIME).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// A file below the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
