//! The demo's camera, watched by ffmpeg.

use std::process::{Child, Command, Stdio};

use edge_ger::demo::camera::Camera;

use crate::it::harness::daemon::repository;

/// ffmpeg takes these media off the camera for so many seconds and throws them away.
fn watch(camera: &Camera, media: &str, seconds: &str) -> Child {
    let mut command = Command::new("ffmpeg");
    // A camera that sends nothing would hold ffmpeg for ever; it gives up after as many microseconds.
    command.args(["-nostdin", "-loglevel", "error", "-timeout", "60000000"]);
    command.args(["-rtsp_transport", "tcp", "-allowed_media_types", media]);
    command.args(["-i", camera.url(), "-t", seconds, "-c", "copy", "-f", "null", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_viewer_of_one_track_leaves_the_other_to_others() {
    let camera = Camera::open(std::fs::read(repository("demo/group.mp4")).unwrap()).unwrap();
    let viewers = ["video", "audio", "video+audio"].map(|media| (media, watch(&camera, media, "2")));
    for (media, viewer) in viewers {
        let done = viewer.wait_with_output().unwrap();
        assert!(done.status.success() && done.stderr.is_empty(), "{media}: {done:?}");
    }
    assert!(0 < camera.shown_ms());
    let again = watch(&camera, "audio", "1").wait_with_output().unwrap();
    assert!(again.status.success() && again.stderr.is_empty(), "{again:?}");
}
