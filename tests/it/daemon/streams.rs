//! Readings arrive with every codec, transport and kind of sound.

use super::*;
use crate::it::harness::{
    camera::{Auth, Sound, Video},
    pulse::{MICROPHONE, Pulse},
};

/// This camera leads to a reading with a label and with this state of its sound.
#[track_caller]
fn check(builder: Builder, camera_lines: &str, sections: &str, environment: &[(&str, &str)], sound: &str) {
    let (camera, broker) = (builder.start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = hall(&format!("{}\n{camera_lines}", of(&camera)), sections, &broker);
    let daemon = Daemon::start(folder, &[], environment);
    let reading = reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == sound);
    assert_eq!(reading["reason"], "none");
    let sum: f64 = ["p_positive", "p_neutral", "p_negative"].iter().map(|it| reading[it].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6, "{reading}");
    stop(daemon);
}

#[test]
fn h264_over_tcp_without_sound() {
    check(moving(), "", "", &[], "off");
}

#[test]
fn h265_over_tcp() {
    check(moving().video(Video::H265), "", "", &[], "off");
}

#[test]
fn mjpeg_over_tcp() {
    check(moving().video(Video::Mjpeg), "", "", &[], "off");
}

#[test]
fn h264_over_udp_with_g711_sound() {
    let builder = moving().sound(Sound::Pcmu);
    check(builder, "transport = \"udp\"", "[sound]\nsource = \"camera\"", &[], "present");
}

#[test]
fn h264_with_aac_sound() {
    check(moving().sound(Sound::Aac), "", "[sound]\nsource = \"camera\"", &[], "present");
}

#[test]
fn h264_with_opus_sound() {
    check(moving().sound(Sound::Opus), "", "[sound]\nsource = \"camera\"", &[], "present");
}

#[test]
fn a_key_frame_every_ten_seconds() {
    check(moving().key_every(250), "", "", &[], "off");
}

#[test]
fn a_microphone() {
    let pulse = Pulse::start();
    let _sound = pulse.play_sine(440.0, 0.3);
    let sections = format!("[sound]\nsource = \"microphone\"\ndevice = \"{MICROPHONE}\"");
    check(moving(), "", &sections, &[("PULSE_SERVER", &pulse.address())], "present");
}

#[test]
fn rtsps_with_a_pinned_certificate_and_a_password() {
    let camera = moving().encrypted().login(Auth::Digest, "viewer", "canary-4711").start();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let fingerprint: String = camera.fingerprint().iter().map(|it| format!("{it:02x}")).collect();
    let lines = format!(
        "{}\nuser = \"viewer\"\npassword_file = \"../password\"\ntls_fingerprint = \"sha256:{fingerprint}\"",
        of(&camera)
    );
    let folder = hall(&lines, "", &broker);
    std::fs::write(folder.path().join("password"), "canary-4711\n").unwrap();
    let mut daemon = Daemon::start(folder, &[], &[("EDGE_GER_LOG", "debug"), ("GST_DEBUG", "rtspsrc:7")]);
    labelled(&mut subscriber, "hall");
    // The password is in no log line, even at the level debug.
    assert!(!daemon.said().contains("canary-4711"), "{}", daemon.said());
    stop(daemon);
}

#[test]
fn a_recording_is_played_over_and_over() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let url = format!("url = \"file:{}\"", repository("demo/group.mp4").display());
    let daemon = Daemon::start(hall(&url, "[sound]\nsource = \"camera\"", &broker), &[], &[]);
    reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == "present");
    stop(daemon);
}
