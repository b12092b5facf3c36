//! Closed cameras and microphones: pauses, schedules and masks.

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
use crate::it::harness::{
    broker::free_port,
    daemon::run,
    http::get,
    pulse::{MICROPHONE, Pulse},
};

/// The time, milliseconds since 1970 UTC.
fn wall_ms() -> u64 {
    UNIX_EPOCH.elapsed().unwrap().as_millis().try_into().unwrap()
}

/// Waits until nothing is connected to the camera; checks after each reading.
#[track_caller]
fn wait_until_disconnected(camera: &Camera, subscriber: &mut Subscriber) {
    let deadline = Instant::now() + DEADLINE;
    while 0 < camera.clients() {
        assert!(Instant::now() < deadline, "still connected");
        reading(subscriber, "hall", |_| true);
    }
}

/// For three more readings, nothing is connected, and they are withheld for this reason alone.
#[track_caller]
fn stays_disconnected(camera: &Camera, subscriber: &mut Subscriber) {
    for _ in 0..3 {
        let next = reading(subscriber, "hall", |_| true);
        assert_eq!((&next["reason"], &next["code"]), (&"paused".into(), &(-23).into()), "{next}");
        assert_eq!(camera.clients(), 0);
    }
}

/// Whether anything records from the microphone.
fn is_recorded(pulse: &Pulse) -> bool {
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
    assert!(is_recorded(&pulse) && camera.clients() == 1, "the test can fail");

    let (code, told, said) = run(&["pause", cameras.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("until edge-ger resume") && told.contains("runs: its cameras"), "{told}");
    daemon.wait_log("paused by the file", DEADLINE);
    status(&mut subscriber, "hall", "offline");
    withheld(&mut subscriber, "hall", "paused");
    wait_until_disconnected(&camera, &mut subscriber);
    stays_disconnected(&camera, &mut subscriber);
    assert!(!is_recorded(&pulse), "{:?}", pulse.readers());
    let health = get(address, "/healthz", &[]);
    assert_eq!(health.status, 200, "a paused box is healthy: {}", health.text);

    let (code, told, said) = run(&["resume", cameras.to_str().unwrap()]);
    assert_eq!(code, 0, "{said}");
    assert!(told.starts_with("resumed: "), "{told}");
    daemon.wait_log("the pause is over", DEADLINE);
    reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == "present");
    assert!(is_recorded(&pulse) && camera.clients() == 1);
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
    // As `systemctl kill --signal=USR1` does without --kill-whom.
    for name in ["ingest", "infer", "publish"] {
        kill_process(daemon.process(name).unwrap(), Signal::USR1).unwrap();
    }
    daemon.signal(Signal::USR1);
    daemon.wait_log("paused by the file", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    wait_until_disconnected(&camera, &mut subscriber);
    for name in ["ingest", "infer"] {
        kill_process(daemon.process(name).unwrap(), Signal::KILL).unwrap();
        daemon.wait_log("back: ", DEADLINE);
        stays_disconnected(&camera, &mut subscriber);
    }
    // A reload keeps the pause.
    daemon.signal(Signal::HUP);
    daemon.wait_log("configuration changed", DEADLINE);
    stays_disconnected(&camera, &mut subscriber);
    let folder = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
    stop(daemon);

    let before = camera.connections();
    let mut daemon = Daemon::start(folder, &[], &[]);
    daemon.wait_log("paused by the file", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_disconnected(&camera, &mut subscriber);
    assert_eq!(camera.connections(), before, "there was a connection");
    daemon.signal(Signal::USR2);
    daemon.wait_log("the pause is over", DEADLINE);
    labelled(&mut subscriber, "hall");
    assert_eq!(camera.connections(), before + 1);
    let said = daemon.said();
    assert_eq!((said.matches("paused by").count(), said.matches("the pause is over").count()), (1, 1), "{said}");
    stop(daemon);
}

#[test]
fn a_pause_signal_during_the_start_takes_effect_after_it() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = hall(&of(&camera), "", &broker);
    // A named pipe as configuration file: reading it takes until the test writes.
    let path = folder.path().join("cameras/hall.toml");
    let text = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut daemon = Daemon::start(folder, &[], &[]);
    // Opening it waits until the daemon reads it.
    let mut configuration = fs::File::create(&path).unwrap();
    daemon.signal(Signal::USR1);
    configuration.write_all(&text).unwrap();
    drop(configuration);
    daemon.wait_log("paused by", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_disconnected(&camera, &mut subscriber);
    stop(daemon);
}

#[test]
fn an_invalid_pause_file_pauses_and_one_whose_time_is_over_does_not() {
    let (camera, broker) = (moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = hall(&of(&camera), "[privacy]\npause_file = \"../pause\"", &broker);
    let file = folder.path().join("pause");
    fs::write(&file, "until tomorrow").unwrap();
    let mut daemon = Daemon::start(folder, &[], &[]);
    daemon.wait_log("cannot be read or understood", DEADLINE);
    withheld(&mut subscriber, "hall", "paused");
    stays_disconnected(&camera, &mut subscriber);
    assert_eq!(camera.connections(), 0);
    let path = file.to_str().unwrap();
    let (code, _, said) = run(&["pause", "--for", "3s", "--file", path]);
    assert_eq!(code, 0, "{said}");
    daemon.wait_log("until 20", DEADLINE);
    let until = fs::read_to_string(&file).unwrap();
    daemon.wait_log("the pause is over", DEADLINE);
    let until = edge_ger::time::local::parse_rfc3339(until.trim()).unwrap();
    assert!(until <= wall_ms(), "the pause ended too early");
    labelled(&mut subscriber, "hall");
    stop(daemon);
}

#[test]
fn a_camera_is_paused_outside_of_its_schedule_and_the_other_is_not() {
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
    stays_disconnected(&second, &mut subscriber);
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
    // What is left is narrower than one of the network's 16 columns, so the picture counts as dark.
    let seen = pair.change_second("masks = [[[0.0, 0.0], [0.97, 0.0], [0.97, 1.0], [0.0, 1.0]]]");
    withheld(&mut pair.subscriber, "second", "dark");
    labelled(&mut pair.subscriber, "first");
    pair.assert_first_unaffected(seen);
    assert_eq!(pair.second.connections(), 1, "masks cause no new connection");
    stop(pair.daemon);
}
