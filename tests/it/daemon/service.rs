//! Starting, stopping and reloading, and faults of the model.

use rustix::process::Signal;

use super::*;
use crate::it::harness::{
    broker::{free_port, retained},
    daemon::{MODEL, ONNX_RUNTIME, run},
};

#[test]
fn sigterm_stops_it_in_every_state() {
    let camera = moving().start();
    let broker = Broker::start();
    for moment in ["sandbox", "process=publish", "process=infer", "camera connected", "connected to the broker"] {
        let mut daemon = Daemon::start(hall(&of(&camera), "", &broker), &[], &[]);
        daemon.wait_log(moment, DEADLINE);
        stop(daemon);
    }
}

#[test]
fn sigterm_stops_it_without_camera_and_broker() {
    let text = file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port());
    let mut daemon = Daemon::start(folder(&[("hall.toml", &text)]), &[], &[]);
    daemon.wait_log("process=infer", DEADLINE);
    stop(daemon);
}

#[test]
fn a_reload_of_one_of_two_cameras() {
    let mut pair = Pair::start();
    let seen = pair.change_second("decode = \"all\"");
    withheld(&mut pair.subscriber, "second", "starting");
    labelled(&mut pair.subscriber, "second");
    pair.assert_first_unaffected(seen);
    stop(pair.daemon);
}

#[test]
fn home_assistant_sees_cameras_come_and_go() {
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "homeassistant/#");
    let url = format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port());
    let text = file(&url, "discovery = true", broker.port());
    let folder = folder(&[("first.toml", &text), ("second.toml", &text), ("third.toml", &text)]);
    let config = |camera: &str| format!("homeassistant/device/edge-ger_-box_-{camera}/config");
    let mut daemon = Daemon::start(folder, &[], &[]);
    for camera in ["first", "second", "third"] {
        subscriber.find(DEADLINE, |it| it.topic == config(camera) && it.text.contains("box"));
    }
    std::fs::remove_file(daemon.folder.path().join("cameras/second.toml")).unwrap();
    daemon.signal(Signal::HUP);
    subscriber.find(DEADLINE, |it| it.topic == config("second") && it.text.is_empty());
    let folder = std::mem::replace(&mut daemon.folder, tempfile::tempdir().unwrap());
    stop(daemon);
    // This one leaves while nobody is there to see it.
    std::fs::remove_file(folder.path().join("cameras/third.toml")).unwrap();
    let daemon = Daemon::start(folder, &[], &[]);
    subscriber.find(DEADLINE, |it| it.topic == config("third") && it.text.is_empty());
    subscriber.find(DEADLINE, |it| it.topic == config("first") && it.text.contains("box"));
    let held = retained(&broker);
    let mut of_home_assistant = held.keys().filter(|it| it.starts_with("homeassistant/"));
    assert_eq!((of_home_assistant.next(), of_home_assistant.next()), (Some(&config("first")), None));
    assert!(!held.keys().any(|it| it.contains("/second/") || it.contains("/third/")), "{held:#?}");
    stop(daemon);
}

#[test]
fn a_second_instance_is_refused() {
    let camera = moving().start();
    let broker = Broker::start();
    let mut daemon = Daemon::start(hall(&of(&camera), "", &broker), &[], &[]);
    daemon.wait_log("ready", DEADLINE);
    let cameras = daemon.folder.path().join("cameras");
    let (code, _, said) = run(&[cameras.to_str().unwrap()]);
    assert_eq!(code, 75, "{said}");
    assert!(said.contains("state"), "{said}");
    stop(daemon);
}

#[test]
fn a_dry_run_reports_and_publishes_nothing() {
    let camera = moving().sound(crate::it::harness::camera::Sound::Aac).start();
    let broker = Broker::start();
    let folder = hall(&of(&camera), "[sound]\nsource = \"camera\"", &broker);
    let mut daemon = Daemon::start(folder, &["--dry-run", "--slots", "8"], &[]);
    // The verdict on a picture of noise does not matter here.
    assert!((0..=1).contains(&daemon.wait_exit(DEADLINE)), "{}", daemon.said());
    let said = daemon.said();
    for words in [
        "hall             step      picture",
        "ONNX Runtime 1.",
        "pass     codec             H.264",
        "pass     picture size      320 × 180",
        "pass     key frames        every 1.0",
        "pass     sound             present",
        "pass     latency           median ",
        "of 8 labelled",
        "nothing was published",
    ] {
        assert!(said.contains(words), "no {words:?} in:\n{said}");
    }
    assert_eq!(broker.logged("New client connected"), 0);
}

/// A fault of the model or of ONNX Runtime: one clear message, exit code 78.
#[track_caller]
fn refused(model: &std::path::Path, library: &str, words: &[&str]) {
    let camera = format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port());
    let text = file(&camera, "", free_port());
    let text = text.replace(repository("tests/data/batch-one.onnx").to_str().unwrap(), model.to_str().unwrap());
    let mut daemon = Daemon::start(folder(&[("hall.toml", &text)]), &[], &[("ORT_DYLIB_PATH", library)]);
    assert_eq!(daemon.wait_exit(DEADLINE), 78, "{}", daemon.said());
    let said = daemon.said();
    words.iter().for_each(|it| assert!(said.contains(it), "no {it:?} in:\n{said}"));
}

#[test]
fn an_unusable_network_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let cut = scratch.path().join("cut.onnx");
    let whole = std::fs::read(MODEL).unwrap();
    std::fs::write(&cut, &whole[..whole.len() / 2]).unwrap();
    refused(&cut, ONNX_RUNTIME, &["cut.onnx", "cut short"]);
    refused(&scratch.path().join("none.onnx"), ONNX_RUNTIME, &["none.onnx"]);
    refused(&repository("tests/data/no-contract.onnx"), ONNX_RUNTIME, &["no-contract.onnx", "ger.contract"]);
    refused(&repository("README.md"), ONNX_RUNTIME, &["README.md"]);
    refused(&repository("tests/data/golden-wrong.onnx"), ONNX_RUNTIME, &["golden"]);
}

#[test]
fn a_missing_onnx_runtime_is_named() {
    refused(&repository("tests/data/batch-one.onnx"), "/nowhere/libonnxruntime.so", &["/nowhere/libonnxruntime.so"]);
    refused(&repository("tests/data/batch-one.onnx"), MODEL, &["edge-ger.onnx"]);
}

#[test]
fn a_model_can_be_inspected_and_verified() {
    let (code, told, _) = run(&["model", "inspect", MODEL]);
    assert_eq!(code, 0);
    assert!(told.contains("system         edge"), "{told}");
    let (code, told, said) = run(&["model", "verify", MODEL]);
    assert_eq!(code, 0, "{said}");
    assert!(told.contains("golden case right on cpu"), "{told}");
    let (code, _, said) = run(&["model", "verify", repository("tests/data/golden-wrong.onnx").to_str().unwrap()]);
    assert_eq!(code, 78, "{said}");
}

#[test]
fn the_version_names_the_libraries() {
    let (code, told, _) = run(&["--version"]);
    assert_eq!(code, 0);
    for words in [concat!("edge-ger ", env!("CARGO_PKG_VERSION")), "GStreamer 1.", "ORT Build Info"] {
        assert!(told.contains(words), "no {words:?} in:\n{told}");
    }
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_shows_labelled_readings_and_ends_by_itself() {
    let (code, told, said) = run(&["demo", "--seconds", "22"]);
    assert_eq!(code, 0, "{told}\n{said}");
    assert!(told.contains("the camera shows"), "{told}");
}

/// The descriptors of a process: what each refers to, and whether it may be written to.
fn descriptors(pid: rustix::process::Pid) -> Vec<(String, bool)> {
    let folder = format!("/proc/{}", pid.as_raw_nonzero());
    let fds = std::fs::read_dir(format!("{folder}/fd")).unwrap();
    let fds = fds.filter_map(|fd| {
        let fd = fd.unwrap();
        let target = std::fs::read_link(fd.path()).ok()?.to_string_lossy().into_owned();
        let info = std::fs::read_to_string(format!("{folder}/fdinfo/{}", fd.file_name().to_string_lossy())).ok()?;
        let flags = info.lines().find_map(|it| it.strip_prefix("flags:"))?.trim().to_owned();
        // The last octal digit of the flags holds the access mode: 0 is for reading only.
        Some((target, !flags.ends_with('0') && !flags.ends_with('4')))
    });
    fds.collect()
}

#[test]
fn infer_has_no_network_socket_and_writes_no_file() {
    let camera = moving().sound(crate::it::harness::camera::Sound::Aac).start();
    let broker = Broker::start();
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let daemon = Daemon::start(hall(&of(&camera), "[sound]\nsource = \"camera\"", &broker), &[], &[]);
    reading(&mut subscriber, "hall", |it| it["label"] != "withheld" && it["sound"] == "present");
    let infer = daemon.process("infer").unwrap();
    let held = descriptors(infer);
    let networks: String = ["tcp", "tcp6", "udp", "udp6", "raw", "raw6", "packet", "netlink"]
        .iter()
        .map(|it| std::fs::read_to_string(format!("/proc/{}/net/{it}", infer.as_raw_nonzero())).unwrap_or_default())
        .collect();
    let inodes = held.iter().filter_map(|(it, _)| it.strip_prefix("socket:[")?.strip_suffix(']'));
    for inode in inodes.clone() {
        assert!(!networks.split_whitespace().any(|it| it == inode), "a network socket: {held:?}");
    }
    // There are sockets: those to the parent and the neighbours.
    assert!(3 <= inodes.count(), "{held:?}");
    // ORC, the compiler of GStreamer, has its code in a file that was deleted.
    let files = held.iter().filter(|(it, writable)| *writable && it.starts_with('/') && !it.contains("orcexec"));
    let files: Vec<_> = files.filter(|(it, _)| it != "/dev/null").collect();
    assert!(files.is_empty(), "{files:?}");
    // The state directory has the outbox and the lock, and nothing else.
    let state = daemon.folder.path().join("state");
    for entry in std::fs::read_dir(state).unwrap() {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        assert!(name.starts_with("outbox.sqlite") || name == "lock", "{name}");
    }
    stop(daemon);
}
