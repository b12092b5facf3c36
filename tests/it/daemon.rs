//! The whole daemon: the real command, a real camera, a real broker, a real microphone.
//!
//! The network is `tests/data/batch-one.onnx`, which labels any picture: these tests are about the flow of data, not about
//! the labels.

mod faults;
mod page;
mod privacy;
mod service;
mod site;
mod streams;

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::it::harness::{
    broker::{Broker, Message, Subscriber},
    camera::{Builder, Camera},
    daemon::{Daemon, folder, repository},
};

/// No event takes longer, even on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// The two seconds that the daemon has to stop, and as many to notice it on a busy machine.
const STOP: Duration = Duration::from_secs(4);

/// A camera with a picture of noise: the ball of the harness is too small to move at 16 × 16 pixels.
fn moving() -> Builder {
    Camera::builder().noise()
}

/// A camera's file: its section's lines, and those of other sections.
fn file(camera: &str, sections: &str, broker: u16) -> String {
    format!(
        "[site]\ncontext = \"research\"\nnotice = \"a test\"\n\
         [box]\nname = \"box\"\nstate_dir = \"../state\"\n\
         [camera]\n{camera}\n\
         [model]\nfile = {:?}\n\
         [reading]\nhop_s = 1\nmin_confidence = 0.34\nsmoothing = false\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {broker}\n{sections}\n",
        repository("tests/data/batch-one.onnx")
    )
}

/// The lines that name a camera of the harness.
fn of(camera: &Camera) -> String {
    format!("url = \"{}\"", camera.url())
}

/// One camera named `hall`.
fn hall(camera: &str, sections: &str, broker: &Broker) -> TempDir {
    folder(&[("hall.toml", &file(camera, sections, broker.port()))])
}

fn json(message: &Message) -> Value {
    serde_json::from_str(&message.text).unwrap()
}

/// Waits for a reading of `camera` like this.
#[track_caller]
fn reading(subscriber: &mut Subscriber, camera: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    let topic = format!("edge-ger/box/{camera}/reading");
    json(&subscriber.wait_until(DEADLINE, |it| it.topic == topic && is_it(&json(it))))
}

#[track_caller]
fn labelled(subscriber: &mut Subscriber, camera: &str) -> Value {
    reading(subscriber, camera, |it| it["label"] != "withheld")
}

#[track_caller]
fn withheld(subscriber: &mut Subscriber, camera: &str, reason: &str) -> Value {
    reading(subscriber, camera, |it| it["reason"] == reason)
}

/// Waits for this status of `camera`.
#[track_caller]
fn status(subscriber: &mut Subscriber, camera: &str, word: &str) {
    let topic = format!("edge-ger/box/{camera}/status");
    subscriber.wait_until(DEADLINE, |it| it.topic == topic && it.text == word);
}

/// All readings of `camera` so far have slots that follow each other without a gap.
#[track_caller]
fn assert_no_gap(subscriber: &Subscriber, camera: &str) {
    let topic = format!("edge-ger/box/{camera}/reading");
    let mut slots: Vec<u64> =
        subscriber.seen.iter().filter(|it| it.topic == topic).map(|it| json(it)["seq"].as_u64().unwrap()).collect();
    slots.dedup();
    assert!(slots.windows(2).all(|pair| pair[0] + 1 == pair[1]), "{slots:?}");
    assert!(2 < slots.len(), "{slots:?}");
}

/// A daemon with two cameras.
struct Pair {
    first: Camera,
    second: Camera,
    broker: Broker,
    subscriber: Subscriber,
    daemon: Daemon,
}

impl Pair {
    /// Waits for a labelled reading of both.
    #[track_caller]
    fn start() -> Self {
        let (first, second, broker) = (moving().start(), moving().start(), Broker::start());
        let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
        let files = [("first.toml", &first), ("second.toml", &second)]
            .map(|(name, camera)| (name, file(&of(camera), "", broker.port())));
        let daemon = Daemon::start(folder(&files.each_ref().map(|(name, text)| (*name, text.as_str()))), &[], &[]);
        labelled(&mut subscriber, "first");
        labelled(&mut subscriber, "second");
        Self { first, second, broker, subscriber, daemon }
    }

    /// Adds this line to the second camera's section, while the daemon runs. Returns how many messages came before.
    #[track_caller]
    fn change_second(&mut self, line: &str) -> usize {
        let text = file(&format!("{}\n{line}", of(&self.second)), "", self.broker.port());
        std::fs::write(self.daemon.folder.path().join("cameras/second.toml"), text).unwrap();
        let seen = self.subscriber.seen.len();
        self.daemon.signal(rustix::process::Signal::HUP);
        self.daemon.wait_log("camera reconfigured", DEADLINE);
        seen
    }

    /// Since then, the reload had no effect on the first camera.
    #[track_caller]
    fn assert_first_unaffected(&self, seen: usize) {
        let mut of_first = self.subscriber.seen[seen..].iter().filter(|it| it.topic == "edge-ger/box/first/reading");
        assert!(of_first.all(|it| json(it)["label"] != "withheld"), "{:?}", &self.subscriber.seen[seen..]);
        assert_no_gap(&self.subscriber, "first");
        assert_eq!(self.first.connections(), 1);
    }
}

/// Stops the daemon and expects a clean end.
#[track_caller]
fn stop(mut daemon: Daemon) {
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait_exit(STOP), 0, "{}", daemon.said());
}
