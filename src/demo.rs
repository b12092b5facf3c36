//! A camera, a broker and the daemon in one command, and a subscriber that shows what arrives at the broker.
//!
//! The daemon is the real one with its three processes, in its default configuration; only the camera's and the
//! broker's addresses are the demo's own.

pub(crate) mod broker;
pub(crate) mod camera;

use std::{
    fs,
    io::{self, Write as _},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, after, bounded, never, select};
use serde_json::Value;

use self::{broker::Subscriber, camera::Camera};
use crate::{
    service::signals::Signal,
    supervisor::{self, Options},
};

/// The scenes of the clip: what is shown until so many milliseconds. `demo/README.md` describes them.
const SCENES: [(u64, &str); 3] = [(16_000, "a happy group"), (32_000, "a calm group"), (u64::MAX, "an upset group")];
/// The width of the bar for a probability of 1.
const BAR_CELLS: usize = 20;

/// What the demo shows.
#[derive(Clone, Debug)]
pub(crate) struct Demo {
    /// The clip that the camera sends: an MP4 of H.264 and AAC.
    pub clip: PathBuf,
    /// The network.
    pub model: PathBuf,
    /// It ends after so long, or when it is stopped.
    pub length: Option<Duration>,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The clip is not there.
    #[error("the demo's clip {0} cannot be read; run the demo from the repository, or by `make demo`")]
    Clip(PathBuf, #[source] io::Error),
    /// No folder or thread.
    #[error("the demo cannot start")]
    Io(#[from] io::Error),
    /// No camera.
    #[error("the demo has no camera: {0}")]
    Camera(#[from] camera::Error),
    /// No broker.
    #[error("the demo has no broker: {0}")]
    Broker(#[from] broker::Error),
    /// The daemon could not be configured.
    #[error("{0}")]
    Configuration(String),
    /// The daemon ended by itself.
    #[error("{0}")]
    Daemon(#[from] supervisor::Error),
}

impl Demo {
    /// Runs until the end. `options` makes a daemon's configuration and options of its file and its signals.
    /// Returns whether labelled readings arrived at the broker.
    ///
    /// # Errors
    /// When a part cannot start, or the daemon ends by itself.
    pub(crate) fn run(
        &self,
        signals: &Receiver<Signal>,
        options: impl FnOnce(&Path, Receiver<Signal>) -> Result<Daemon, String>,
    ) -> Result<bool, Error> {
        let clip = fs::read(&self.clip).map_err(|err| Error::Clip(self.clip.clone(), err))?;
        let camera = Arc::new(Camera::open(clip)?);
        let mut subscriber = broker::start("edge-ger/#")?;
        let folder = Folder::new()?;
        let file = folder.0.join("group.toml");
        let page = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?;
        fs::write(&file, self.configuration(&camera, subscriber.port, page.port(), &folder.0))?;
        say(&format!("camera  {}", camera.url()));
        say(&format!("broker  mqtt://127.0.0.1:{} (topics edge-ger/#)", subscriber.port));
        say(&format!("page    http://{page}/ (metrics at http://{page}/metrics)"));
        let labelled = Arc::new(AtomicU32::new(0));
        let (watched, counted) = (Arc::clone(&camera), Arc::clone(&labelled));
        let work = move || watch(&mut subscriber, &watched, &counted);
        thread::Builder::new().name("demo-subscriber".into()).spawn(work)?;
        let (stop, stopping) = bounded(1);
        let daemon = options(&file, stopping).map_err(Error::Configuration)?;
        let (ended, over) = bounded::<()>(0);
        let (signals, length) = (signals.clone(), self.length);
        let wait = move || {
            let time_is_up = length.map_or_else(never, after);
            let signal = select! {
                recv(time_is_up) -> _ => Signal::Stop,
                recv(signals) -> signal => signal.unwrap_or(Signal::Stop),
                recv(over) -> _ => return,
            };
            stop.send(signal).ok();
        };
        thread::Builder::new().name("demo-end".into()).spawn(wait)?;
        supervisor::run(daemon.0, daemon.1, daemon.2)?;
        drop(ended);
        let labelled = labelled.load(Ordering::SeqCst);
        say(&format!("{labelled} labelled readings arrived at the broker"));
        Ok(0 < labelled)
    }

    fn configuration(&self, camera: &Camera, port: u16, page_port: u16, folder: &Path) -> String {
        let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
        let absolute = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_path_buf());
        format!(
            "[box]\nname = \"demo\"\nstate_dir = {}\n\
             [site]\ncontext = \"demo\"\nnotice = \"nobody is watched: the people are drawn\"\n\
             [camera]\nurl = \"{}\"\n[sound]\nsource = \"camera\"\n[model]\nfile = {}\n\
             [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n[page]\naddress = \"loopback\"\nport = {page_port}\n",
            quoted(&folder.join("state")),
            camera.url(),
            quoted(&absolute(&self.model)),
        )
    }
}

/// A daemon that is ready to run.
pub(crate) struct Daemon(pub crate::config::Config, pub supervisor::worker_config::ModelFacts, pub Options);

/// A folder that is removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("edge-ger-demo-{}", std::process::id()));
        fs::create_dir_all(folder.join("state"))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Shows every reading as it arrives, until the broker ends.
fn watch(subscriber: &mut Subscriber, camera: &Camera, labelled: &AtomicU32) {
    while let Some((topic, payload)) = subscriber.wait() {
        if !topic.ends_with("/reading") {
            continue;
        }
        let Ok(reading) = serde_json::from_slice::<Value>(&payload) else { continue };
        if reading["label"] != "withheld" {
            labelled.fetch_add(1, Ordering::SeqCst);
        }
        let shown_ms = camera.shown_ms();
        let scene = SCENES.iter().find(|(until_ms, _)| shown_ms < *until_ms).map_or("", |(_, scene)| scene);
        say(&line(&reading, scene));
    }
}

/// A reading for people: the label, how likely it is, and what the camera shows just now.
fn line(reading: &Value, scene: &str) -> String {
    let label = reading["label"].as_str().unwrap_or("unreadable");
    let latency_ms = reading["latency_ms"].as_u64().unwrap_or(0);
    if label == "withheld" {
        let reason = reading["reason"].as_str().unwrap_or("unknown");
        return format!("{label:<9} {reason:<26} {latency_ms:>4} ms   the camera shows {scene}");
    }
    let likely = reading[format!("p_{label}")].as_f64().unwrap_or(0.0).clamp(0.0, 1.0);
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and BAR_CELLS")]
    let cells = (likely * BAR_CELLS as f64).round() as usize;
    let bar = format!("{}{}", "█".repeat(cells), "·".repeat(BAR_CELLS - cells));
    format!("{label:<9} {bar} {likely:.2}  {latency_ms:>4} ms   the camera shows {scene}")
}

/// A closed standard output is no error.
fn say(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn readings_are_shown_for_people() {
        let reading = json!({"label": "neutral", "p_neutral": 0.75, "latency_ms": 61});
        let expected = "neutral   ███████████████····· 0.75    61 ms   the camera shows a calm group";
        assert_eq!(line(&reading, "a calm group"), expected);
        let withheld = json!({"label": "withheld", "reason": "video_gap", "latency_ms": 7});
        let expected = "withheld  video_gap                     7 ms   the camera shows a calm group";
        assert_eq!(line(&withheld, "a calm group"), expected);
    }
}
