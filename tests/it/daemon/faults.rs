//! An absent camera, microphone or broker is a state: it is published, and it ends.

use rustix::process::{Signal, kill_process};

use super::*;
use crate::it::harness::pulse::{MICROPHONE, Pulse};

fn started(camera: &Camera, sections: &str, environment: &[(&str, &str)]) -> (Broker, Subscriber, Daemon) {
    let broker = Broker::start();
    let subscriber = Subscriber::to(&broker, "edge-ger/#");
    let daemon = Daemon::start(hall(&of(camera), sections, &broker), &[], environment);
    (broker, subscriber, daemon)
}

#[test]
fn a_camera_that_ends_and_comes_back() {
    let camera = moving().start();
    let (_broker, mut subscriber, mut daemon) = started(&camera, "", &[]);
    labelled(&mut subscriber, "hall");
    camera.kill();
    status(&mut subscriber, "hall", "offline");
    withheld(&mut subscriber, "hall", "camera_offline");
    camera.revive();
    status(&mut subscriber, "hall", "online");
    labelled(&mut subscriber, "hall");
    assert_no_gap(&subscriber, "hall");
    let said = daemon.said();
    assert_eq!(said.matches("camera lost").count(), 1, "one line per outage:\n{said}");
    assert_eq!(said.matches("camera back").count(), 1, "one line when it is over:\n{said}");
    stop(daemon);
}

#[test]
fn a_camera_that_stalls_and_goes_on() {
    let camera = moving().start();
    let (_broker, mut subscriber, daemon) = started(&camera, "", &[]);
    labelled(&mut subscriber, "hall");
    camera.stall();
    withheld(&mut subscriber, "hall", "camera_offline");
    camera.resume();
    labelled(&mut subscriber, "hall");
    assert_no_gap(&subscriber, "hall");
    stop(daemon);
}

#[test]
fn a_microphone_that_is_unplugged_and_comes_back() {
    let pulse = Pulse::start();
    let _sound = pulse.play_sine(440.0, 0.3);
    let camera = moving().start();
    let sections = format!("[sound]\nsource = \"microphone\"\ndevice = \"{MICROPHONE}\"");
    let (_broker, mut subscriber, daemon) = started(&camera, &sections, &[("PULSE_SERVER", &pulse.address())]);
    reading(&mut subscriber, "hall", |it| it["sound"] == "present" && it["label"] != "withheld");
    pulse.unplug();
    reading(&mut subscriber, "hall", |it| it["sound"] == "absent");
    pulse.replug(44_100);
    let _sound = pulse.play_sine(440.0, 0.3);
    reading(&mut subscriber, "hall", |it| it["sound"] == "present" && it["label"] != "withheld");
    assert_no_gap(&subscriber, "hall");
    stop(daemon);
}

#[test]
fn a_broker_that_is_killed_and_comes_back_has_every_reading() {
    let camera = moving().start();
    let (broker, mut subscriber, mut daemon) = started(&camera, "", &[]);
    let before = labelled(&mut subscriber, "hall")["seq"].as_u64().unwrap();
    broker.kill();
    daemon.wait_log("broker", DEADLINE);
    // At least three slots end while there is no broker.
    let away = std::time::Instant::now();
    while away.elapsed() < Duration::from_secs(3) {
        assert!(daemon.process("publish").is_some());
        std::thread::yield_now();
    }
    broker.restart();
    let mut after = Subscriber::to(&broker, "edge-ger/#");
    let first = reading(&mut after, "hall", |_| true)["seq"].as_u64().unwrap();
    reading(&mut after, "hall", |it| before + 8 < it["seq"].as_u64().unwrap());
    assert_no_gap(&after, "hall");
    assert!(first <= before + 2, "{before} was seen before the outage, {first} is the first after it");
    stop(daemon);
}

#[test]
fn every_process_may_be_killed_and_no_slot_is_lost() {
    let camera = moving().start();
    let (_broker, mut subscriber, daemon) = started(&camera, "", &[]);
    labelled(&mut subscriber, "hall");
    for name in ["infer", "ingest", "publish"] {
        kill_process(daemon.process(name).unwrap(), Signal::KILL).unwrap();
        let last = subscriber.seen.last().unwrap().at;
        let again = reading(&mut subscriber, "hall", |it| it["label"] != "withheld");
        assert!(last < subscriber.seen.last().unwrap().at, "{name}: {again}");
        // The next process is killed only when all three run again.
        subscriber.wait_until(DEADLINE, |it| it.topic.ends_with("/reading") && json(it)["label"] != "withheld");
    }
    assert_no_gap(&subscriber, "hall");
    stop(daemon);
}

#[test]
fn a_camera_that_is_absent_at_boot_comes_later() {
    let camera = moving().start();
    camera.kill();
    let (_broker, mut subscriber, daemon) = started(&camera, "", &[]);
    withheld(&mut subscriber, "hall", "camera_offline");
    camera.revive();
    labelled(&mut subscriber, "hall");
    assert_no_gap(&subscriber, "hall");
    stop(daemon);
}
