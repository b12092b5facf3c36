//! Starting, stopping, reloading, and being refused.

use rustix::process::Signal;

use super::*;
use crate::harness::{
    broker::free_port,
    daemon::{MODEL, ONNX_RUNTIME, run},
};

#[test]
fn sigterm_ends_it_in_every_state() {
    let camera = moving().start();
    let broker = Broker::start();
    for moment in ["sandbox", "room=publish", "room=infer", "camera connected", "connected to the broker"] {
        let mut daemon = Daemon::start(hall(&of(&camera), "", &broker), &[], &[]);
        daemon.wait_log(moment, DEADLINE);
        stop(daemon);
    }
}

#[test]
fn sigterm_ends_it_without_camera_and_broker() {
    let text = file(&format!("url = \"rtsp://127.0.0.1:{}/none\"", free_port()), "", free_port());
    let mut daemon = Daemon::start(folder(&[("hall.toml", &text)]), &[], &[]);
    daemon.wait_log("room=infer", DEADLINE);
    stop(daemon);
}

#[test]
fn two_cameras_and_a_reload_of_one() {
    let (first, second, broker) = (moving().start(), moving().start(), Broker::start());
    let mut subscriber = Subscriber::to(&broker, "edge-ger/#");
    let folder = folder(&[
        ("first.toml", &file(&of(&first), "", broker.port())),
        ("second.toml", &file(&of(&second), "", broker.port())),
    ]);
    let changed = folder.path().join("cameras/second.toml");
    let mut daemon = Daemon::start(folder, &[], &[]);
    labelled(&mut subscriber, "first");
    labelled(&mut subscriber, "second");
    let lines = format!("{}\ndecode = \"all\"", of(&second));
    std::fs::write(changed, file(&lines, "", broker.port())).unwrap();
    let seen = subscriber.seen.len();
    daemon.signal(Signal::HUP);
    daemon.wait_log("camera set anew", DEADLINE);
    withheld(&mut subscriber, "second", "starting");
    labelled(&mut subscriber, "second");
    // The other camera never noticed.
    let of_first = subscriber.seen[seen..].iter().filter(|it| it.topic == "edge-ger/box/first/reading");
    assert!(of_first.clone().all(|it| json(it)["label"] != "withheld"), "{:?}", of_first.collect::<Vec<_>>());
    assert_no_gap(&subscriber, "first");
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
    let camera = moving().sound(crate::harness::camera::Sound::Aac).start();
    let broker = Broker::start();
    let folder = hall(&of(&camera), "[sound]\nsource = \"camera\"", &broker);
    let mut daemon = Daemon::start(folder, &["--dry-run", "--slots", "8"], &[]);
    assert_eq!(daemon.wait_exit(DEADLINE), 0, "{}", daemon.said());
    let said = daemon.said();
    for words in [
        "stream      h264 320x180",
        "key frames  every 1.0",
        "sound       present",
        "latency     window end to reading",
        "readings    8 slots",
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
fn a_network_that_is_not_fit_is_refused() {
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
fn an_onnx_runtime_that_is_not_there_is_named() {
    refused(&repository("tests/data/batch-one.onnx"), "/nowhere/libonnxruntime.so", &["/nowhere/libonnxruntime.so"]);
    refused(&repository("tests/data/batch-one.onnx"), MODEL, &["edge-ger.onnx"]);
}

#[test]
fn a_model_can_be_looked_at_and_verified() {
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
