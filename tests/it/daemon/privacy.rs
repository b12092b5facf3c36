//! Nobody looks or listens: a pause, hours, and masks.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use rustix::{
    fs::{CWD, FileType, Mode, mknodat},
    process::{Signal, kill_process},
};

use super::*;
use crate::harness::{
    broker::free_port,
    daemon::run,
    http::get,
    pulse::{MICROPHONE, Pulse},
};

/// A moment of the real clock, as the daemon's.
fn wall_ms() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

/// Waits until nobody is connected to the camera; readings are the reason to look again.
#[track_caller]
fn alone(camera: &Camera, subscriber: &mut Subscriber) {
    let deadline = Instant::now() + DEADLINE;
    while 0 < camera.clients() {
        assert!(Instant::now() < deadline, "somebody watches");
        reading(subscriber, "hall", |_| true);
    }
}

/// Nobody watches for as long as three more readings take, all of which are withheld for this reason alone.
#[track_caller]
fn stays_alone(camera: &Camera, subscriber: &mut Subscriber) {
    for _ in 0..3 {
        let next = reading(subscriber, "hall", |_| true);
        assert_eq!((&next["reason"], &next["code"]), (&"paused".into(), &(-23).into()), "{next}");
        assert_eq!(camera.clients(), 0);
    }
}

/// Whether anything records from the microphone.
fn is_heard(pulse: &Pulse) -> bool {
    !pulse.readers().is_empty()
}

#[test]
fn a_pause_by_file_closes_camera_and_microphone_until_it_is_over() {
    let (camera, broker, pulse) = (moving().start(), Broker::start(), Pulse::start());
    let _sound = pulse.play_sine(440.0, 0.3);
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let address: SocketAddr = ([127, 0, 0, 1], free_port()).into();
    let sections = format!(
        "[sound]\nsource = \"microphone\"\ndevice = \"{MICROPHONE}\"\n[page]\naddress = \"loopback\"\nport = {}",
        address.port()
    );
    let folder = hall(&of(&camera), &sections, &broker);
    let cameras = folder.path().join("cameras");
    let mut daemon = Daemon::start(folder, &[], &[("PULSE_SERVER", &pulse.address())]);
    reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == "present");
    assert!(is_heard(&pulse) && camera.clients() == 1, "the test can fail");

    let (code, told, said) = run(&["pause", cameras.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("until edge-ger resume") && told.contains("runs: its cameras"), "{told}");
    daemon.wait_log("paused by the file", DEADLINE);
    status(&mut subscriber, "hall", "offline");
    withheld(&mut subscriber, "hall", "paused");
    alone(&camera, &mut subscriber);
    stays_alone(&camera, &mut subscriber);
    assert!(!is_heard(&pulse), "{:?}", pulse.readers());
    let health = get(address, "/healthz", &[]);
    assert_eq!(health.status, 200, "a box that is meant to rest is well: {}", health.text);

    let (code, told, said) = run(&["resume", cameras.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(told.starts_with("resumed: "), "{told}");
    daemon.wait_log("the pause is over", DEADLINE);
    reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == "present");
    assert!(is_heard(&pulse) && camera.clients() == 1);
    assert_no_gap(&subscriber, "hall");
    let said = daemon.said();
    assert!(!said.contains("camera lost"), "it was not lost:\n{said}");
    stop(daemon);
}

#[test]
fn a_pause_by_signal_outlives_processes_and_the_daemon_itself() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let mut daemon = Daemon::start(hall(&of(&camera), "", &broker), &[], &[]);
    labelled(&mut subscriber, "hall");
    // As `systemctl kill --signal=USR1` does it where nobody says which process is meant.
    for room in ["ingest", "infer", "publish"] {
        kill_process(daemon.room(room).unwrap(), Signal::USR1).unwrap();
    }
    daemon.signal(Signal::USR1);
    daemon.wait_log("paused by the file", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    alone(&camera, &mut subscriber);
    for room in ["ingest", "infer"] {
        kill_process(daemon.room(room).unwrap(), Signal::KILL).unwrap();
        daemon.wait_log("back: ", DEADLINE);
        stays_alone(&camera, &mut subscriber);
    }
    // A reload changes nothing about it.
    daemon.signal(Signal::HUP);
    daemon.wait_log("configuration changed", DEADLINE);
    stays_alone(&camera, &mut subscriber);
    let folder = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
    stop(daemon);

    let before = camera.connections();
    let mut daemon = Daemon::start(folder, &[], &[]);
    daemon.wait_log("paused by the file", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_alone(&camera, &mut subscriber);
    assert_eq!(camera.connections(), before, "it was connected to, if for a moment");
    daemon.signal(Signal::USR2);
    daemon.wait_log("the pause is over", DEADLINE);
    labelled(&mut subscriber, "hall");
    assert_eq!(camera.connections(), before + 1);
    let said = daemon.said();
    assert_eq!((said.matches("paused by").count(), said.matches("the pause is over").count()), (1, 1), "{said}");
    stop(daemon);
}

#[test]
fn a_pause_that_comes_while_the_configuration_is_read_waits() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = hall(&of(&camera), "", &broker);
    // A configuration that takes as long as the test likes.
    let path = folder.path().join("cameras/hall.toml");
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut daemon = Daemon::start(folder, &[], &[]);
    // It is there when somebody reads from it.
    let mut configuration = fs::File::create(&path).unwrap();
    daemon.signal(Signal::USR1);
    configuration.write_all(&text).unwrap();
    drop(configuration);
    daemon.wait_log("paused by", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_alone(&camera, &mut subscriber);
    stop(daemon);
}

#[test]
fn a_pause_file_that_makes_no_sense_pauses_and_one_whose_time_has_come_does_not() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = hall(&of(&camera), "[privacy]\npause_file = \"../pause\"", &broker);
    let file = folder.path().join("pause");
    fs::write(&file, "until tomorrow").unwrap();
    let mut daemon = Daemon::start(folder, &[], &[]);
    daemon.wait_log("cannot be read or understood", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_alone(&camera, &mut subscriber);
    assert_eq!(camera.connections(), 0);
    let path = file.to_str().unwrap();
    let (code, _, said) = run(&["pause", "--for", "3s", "--file", path]);
    assert_eq!(code, 0, "{said}");
    daemon.wait_log("until 20", DEADLINE);
    let until = fs::read_to_string(&file).unwrap();
    daemon.wait_log("the pause is over", DEADLINE);
    let until = edge_ger::time::local::read_moment(until.trim()).unwrap();
    assert!(until <= wall_ms(), "it was over before its time");
    labelled(&mut subscriber, "hall");
    stop(daemon);
}

#[test]
fn outside_of_its_hours_a_camera_is_paused_and_the_other_is_not() {
    let (first, second, broker) = (moving().start(), moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    // Three days from today, in the time of the daemon below; 1970 began on a Thursday.
    let days = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let day = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"][usize::try_from(days % 7).unwrap()];
    let closed = format!("{}\nschedule = [\"{day} 00:00-24:00\"]", of(&second));
    let folder = folder(&[
        ("first.toml", &file(&of(&first), "", broker.port())),
        ("hall.toml", &file(&closed, "", broker.port())),
    ]);
    let changed = folder.path().join("cameras/hall.toml");
    let mut daemon = Daemon::start(folder, &[], &[("TZ", "UTC0")]);
    daemon.wait_log("paused by camera.schedule", DEADLINE);
    labelled(&mut subscriber, "first");
    stays_alone(&second, &mut subscriber);
    fs::write(changed, file(&of(&second), "", broker.port())).unwrap();
    daemon.signal(Signal::HUP);
    labelled(&mut subscriber, "hall");
    assert_no_gap(&subscriber, "hall");
    assert_no_gap(&subscriber, "first");
    stop(daemon);
}

#[test]
fn new_masks_take_effect_for_their_camera_alone() {
    let mut pair = Pair::start();
    // What is left is narrower than one of the network's 16 columns, so nothing is left to measure: it is dark.
    let seen = pair.change_second("masks = [[[0.0, 0.0], [0.97, 0.0], [0.97, 1.0], [0.0, 1.0]]]");
    withheld(&mut pair.subscriber, "second", "dark");
    labelled(&mut pair.subscriber, "first");
    pair.assert_first_never_noticed(seen);
    assert_eq!(pair.second.connections(), 1, "masks are no reason to connect anew");
    stop(pair.daemon);
}
