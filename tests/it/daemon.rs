//! The whole daemon: the real command, a real camera, a real broker, a real microphone.
//!
//! The network is `tests/data/batch-one.onnx`, which labels whatever it sees: what is tested here is whether picture
//! and sound come through, not what they mean.

mod faults;
mod page;
mod privacy;
mod service;
mod streams;

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{
    broker::{Broker, Message, Subscriber},
    camera::{Builder, Camera},
    daemon::{Daemon, folder, repository},
};

/// Far more than anything here needs on a busy machine.
const DEADLINE: Duration = Duration::from_secs(60);
/// What the issue grants a stop, and what a busy machine needs to notice it.
const STOP: Duration = Duration::from_secs(4);

/// A camera whose picture always moves: the ball of the harness is too small for a network of 16 × 16 pixels.
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

/// Stops the daemon and expects a clean end.
#[track_caller]
fn stop(mut daemon: Daemon) {
    daemon.signal(rustix::process::Signal::TERM);
    assert_eq!(daemon.wait_exit(STOP), 0, "{}", daemon.said());
}
