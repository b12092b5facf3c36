//! A scratch folder with a configuration, and the messages of the tiny processes in it.

use std::{fs, os::unix::net::UnixDatagram, path::PathBuf, thread, time::Duration};

use crossbeam_channel::{Receiver, bounded};
use edge_ger::{
    config::{Config, file},
    supervisor::{Reload, worker_config::ModelFacts},
    time::{Clock, Span, SystemClock},
};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// No event of these tests takes longer, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The folder of a test: configuration, state, and the socket for messages.
pub(crate) struct Scratch {
    pub(crate) folder: TempDir,
    messages: Receiver<String>,
    received: Vec<String>,
}

/// Three processes through which data flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ingest: Pid,
    pub(crate) infer: Pid,
    pub(crate) publish: Pid,
}

impl Scratch {
    /// With the cameras `door` and `stage`, and a model whose name is the behaviour of `infer`.
    pub(crate) fn new(behaviour: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(folder.path().join("witness")).unwrap();
        let (sender, messages) = bounded(10_000);
        let listen = move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = socket.recv(&mut bytes) {
                if sender.send(String::from_utf8_lossy(&bytes[..n]).into_owned()).is_err() {
                    break;
                }
            }
        };
        thread::Builder::new().name("witness".into()).spawn(listen).unwrap();
        let scratch = Self { folder, messages, received: Vec::new() };
        fs::create_dir(scratch.cameras()).unwrap();
        // In the folder of the socket, so that the tiny processes find it.
        fs::write(scratch.folder.path().join("clip.mp4"), "").unwrap();
        scratch.model(behaviour);
        scratch.camera("door", "");
        scratch.camera("stage", "");
        scratch
    }

    pub(crate) fn cameras(&self) -> PathBuf {
        self.folder.path().join("cameras")
    }

    /// Writes the sections that are not of a camera; the file name of the model is the behaviour of `infer`.
    pub(crate) fn model(&self, behaviour: &str) {
        let folder = self.folder.path().display();
        let text = format!(
            "[box]\nname = \"tiny\"\nstate_dir = \"{folder}/state\"\n\
             [site]\ncontext = \"research\"\nnotice = \"none\"\n\
             [model]\nfile = \"{folder}/{behaviour}.onnx\"\n\
             [mqtt]\nhost = \"broker.invalid\"\n\
             [outbox]\nfile = \"{folder}/outbox.db\"\n"
        );
        fs::write(self.cameras().join("0-box.toml"), text).unwrap();
    }

    /// Writes the file of a camera, with these lines added.
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

    /// Waits for a message that starts with `start` and contains `words`.
    #[track_caller]
    pub(crate) fn wait(&mut self, start: &str, words: &str) -> String {
        self.wait_for(|line| line.starts_with(start) && line.contains(words), &format!("{start} … {words}"))
    }

    /// Waits for messages with each of these (start, words), in any order.
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

    /// Waits until data flows on such a route.
    #[track_caller]
    pub(crate) fn flow(&mut self, wanted: impl Fn(Route) -> bool) -> Route {
        let line = self.wait_for(|line| route(line).is_some_and(&wanted), "data flows");
        route(&line).unwrap()
    }

    #[track_caller]
    fn wait_for(&mut self, wanted: impl Fn(&str) -> bool, what: &str) -> String {
        let deadline = SystemClock.now() + Span::from(PATIENCE);
        loop {
            match self.messages.recv_timeout(deadline.after(SystemClock.now())) {
                Ok(line) => {
                    self.received.push(line.clone());
                    if wanted(&line) {
                        return line;
                    }
                }
                Err(_) => panic!("no message {what:?}, only:\n{}", self.received.join("\n")),
            }
        }
    }

    /// All messages so far.
    pub(crate) fn all(&mut self) -> Vec<String> {
        self.received.extend(self.messages.try_iter());
        self.received.clone()
    }
}

fn route(line: &str) -> Option<Route> {
    let mut pids = line.strip_prefix("data flows ")?.split(' ').map(|it| Pid::from_raw(it.parse().ok()?));
    Some(Route { ingest: pids.next()??, infer: pids.next()??, publish: pids.next()?? })
}

/// Reads the configuration as the daemon does; the facts of the model are made up.
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
