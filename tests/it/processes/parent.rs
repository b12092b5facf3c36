//! A scratch folder with a configuration, and what the rooms in it tell.

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    config::{Config, file},
    supervisor::{Reload, worker_config::ModelFacts},
    time::{Clock, Span, SystemClock},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// No event of these tests takes longer, not even on a machine that is busy with something else.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of a test: configurations, state, and the witness's socket.
pub(crate) struct Scratch {
    pub(crate) folder: TempDir,
    told: Receiver<String>,
    said: Vec<String>,
}

/// Three processes through which data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ingest: Pid,
    pub(crate) infer: Pid,
    pub(crate) publish: Pid,
}

impl Scratch {
    /// With the cameras `door` and `stage` and a model of this temper.
    pub(crate) fn new(temper: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("witness")).unwrap();
        let (sender, told) = bounded(10_000);
        let listen = move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = socket.recv(&mut bytes) {
                if sender.send(String::from_utf8_lossy(&bytes[..n]).into_owned()).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("witness".into()).spawn(listen).unwrap();
        let scratch = Self { folder, told, said: Vec::new() };
        fs::create_dir(scratch.cameras()).unwrap();
        // A file of the folder that the witness is in, so that the tiny rooms find it.
        fs::write(scratch.folder.path().join("clip.mp4"), "").unwrap();
        scratch.model(temper);
        scratch.camera("door", "");
        scratch.camera("stage", "");
        scratch
    }

    pub(crate) fn cameras(&self) -> PathBuf {
        self.folder.path().join("cameras")
    }

    /// Writes the box's part of the configuration: its model's file name is a temper.
    pub(crate) fn model(&self, temper: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "[box]\nname = \"tiny\"\nstate_dir = \"{folder}/state\"\n\
             [site]\ncontext = \"research\"\nnotice = \"none\"\n\
             [model]\nfile = \"{folder}/{temper}.onnx\"\n\
             [mqtt]\nhost = \"broker.invalid\"\n\
             [outbox]\nfile = \"{folder}/outbox.db\"\n"
        );
        fs::write(self.cameras().join("0-box.toml"), text).unwrap();
    }

    /// Writes a camera's part, with these lines more.
    pub(crate) fn camera(&self, name: &str, more: &str) {
        let text = format!(
            "[camera]\nname = \"{name}\"\nurl = \"file:{}/clip.mp4\"\n{more}\n\
             [sound]\nsource = \"microphone\"\ndevice = \"pulseaudio:tiny\"\n",
            self.folder.path().display()
        );
        fs::write(self.cameras().join(format!("{name}.toml")), text).unwrap();
    }

    pub(crate) fn reload(&self) -> Reload {
        reload(self.cameras())
    }

    /// Waits until a room tells something that begins with `start` and holds `words`.
    #[track_caller]
    pub(crate) fn wait(&mut self, start: &str, words: &str) -> String {
        self.wait_for(|line| line.starts_with(start) && line.contains(words), &format!("{start} … {words}"))
    }

    /// Waits for all of these lines (beginning, words in it), in whatever order.
    #[track_caller]
    pub(crate) fn wait_all(&mut self, lines: &[(&str, &str)]) {
        let mut missing = lines.to_vec();
        while !missing.is_empty() {
            let is_missing = |line: &str| missing.iter().position(|it| line.starts_with(it.0) && line.contains(it.1));
            let line = self.wait_for(|line| is_missing(line).is_some(), &format!("{missing:?}"));
            if let Some(at) = is_missing(&line) {
                missing.remove(at);
            }
        }
    }

    /// Waits until data flows on a route that is wanted.
    #[track_caller]
    pub(crate) fn flow(&mut self, wanted: impl Fn(Route) -> bool) -> Route {
        let line = self.wait_for(|line| route(line).is_some_and(&wanted), "data flows");
        route(&line).unwrap()
    }

    #[track_caller]
    fn wait_for(&mut self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = SystemClock.now() + Span::from(PATIENCE);
        loop {
            match self.told.recv_timeout(deadline.after(SystemClock.now())) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("nobody told {what:?}, only:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Everything that was told so far.
    pub(crate) fn all(&mut self) -> Vec<String> {
        self.said.extend(self.told.try_iter());
        self.said.clone()
    }
}

fn route(line: &str) -> Option<Route> {
    let mut pids = line.strip_prefix("data flows ")?.split(' ').map(|it| Pid::from_raw(it.parse().ok()?));
    Some(Route { ingest: pids.next()??, infer: pids.next()??, publish: pids.next()?? })
}

/// Reads the configuration through the real reader, and pretends that the model has a contract.
pub(crate) fn reload(cameras: PathBuf) -> Reload {
    Box::new(move || load(&cameras))
}

pub(crate) fn load(cameras: &std::path::Path) -> Result<(Config, ModelFacts), String> {
    let config = file::load(&[cameras.to_path_buf()], std::iter::empty()).map_err(|faults| faults.to_string())?;
    Ok((config, ModelFacts { name: "tiny".into(), frames: 5, clip: Span::from_ms(5000) }))
}

/// Sends a signal to a process.
pub(crate) fn signal(pid: Pid, signal: Signal) {
    kill_process(pid, signal).unwrap();
}
