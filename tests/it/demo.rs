//! The demo's camera, watched by ffmpeg.

use std::process::{Child, Command, Stdio};

use edge_ger::demo::camera::Camera;

use crate::harness::daemon::repository;

/// ffmpeg takes these media off the camera for so many seconds and throws them away.
fn watch(camera: &Camera, media: &str, seconds: &str) -> Child {
    let mut command = Command::new("ffmpeg");
    command.args(["-nostdin", "-loglevel", "error", "-rtsp_transport", "tcp", "-allowed_media_types", media]);
    command.args(["-i", camera.url(), "-t", seconds, "-c", "copy", "-f", "null", "-"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn a_viewer_of_one_track_leaves_the_other_to_the_next() {
    let camera = Camera::open(std::fs::read(repository("demo/group.mp4")).unwrap()).unwrap();
    for (first, second) in [("video", "audio"), ("audio", "video+audio")] {
        // The second one may come at any time while the first one watches.
        let one = watch(&camera, first, "4");
        let other = watch(&camera, second, "2").wait_with_output().unwrap();
        assert!(other.status.success() && other.stderr.is_empty(), "{second} beside {first}: {other:?}");
        let one = one.wait_with_output().unwrap();
        assert!(one.status.success() && one.stderr.is_empty(), "{first} before {second}: {one:?}");
    }
}
