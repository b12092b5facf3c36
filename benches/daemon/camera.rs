//! The camera of the bench, in a process of its own, so that what it costs is not counted.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
};

use edge_ger::inside::demo::camera::Camera;

use crate::{Fault, process::Running};

/// The word in front of the clip's path that makes this binary a camera.
pub(crate) const MODE: &str = "camera";

/// How long the clip is that the camera repeats.
const CLIP_S: &str = "20";

/// What the camera sends. In both cases 1080p25, High profile, one slice, no B-frames, a key frame every second. The
/// picture moves everywhere, and its noise leaves the encoder no bit to spare.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    /// 2 Mbit/s, and nobody asks for its sound.
    Plain,
    /// 4 Mbit/s and AAC sound.
    Busy,
}

impl Kind {
    /// The clip's file name.
    pub(crate) const fn file(self) -> &'static str {
        match self {
            Self::Plain => "camera-1080p25-2M-aac.mp4",
            Self::Busy => "camera-1080p25-4M-aac.mp4",
        }
    }

    fn encoding(self) -> String {
        let picture = "-f lavfi -i testsrc2=size=1920x1080:rate=25,noise=alls=12:allf=t";
        let sound = "-f lavfi -i anoisesrc=sample_rate=48000:amplitude=0.05:color=pink -codec:a aac -b:a 64k";
        let rate = match self {
            Self::Plain => "2M",
            Self::Busy => "4M",
        };
        format!(
            "{picture} {sound} -t {CLIP_S} -pix_fmt yuv420p -codec:v libx264 -preset veryfast -tune zerolatency \
             -profile:v high -x264-params sliced-threads=0:keyint=25:min-keyint=25:scenecut=0 \
             -b:v {rate} -maxrate {rate} -bufsize {rate} -f mp4"
        )
    }
}

/// Encodes the clip once; a clip that is there already is used again.
pub(crate) fn encode(kind: Kind, clip: &Path) -> Result<(), Fault> {
    if clip.exists() {
        return Ok(());
    }
    let unfinished = clip.with_extension("unfinished");
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-hide_banner", "-loglevel", "error", "-y"])
        .args(kind.encoding().split_whitespace())
        .arg(&unfinished)
        .status()
        .map_err(|error| format!("ffmpeg, which draws the camera's picture, cannot be started: {error}"))?;
    if !status.success() {
        return Err("ffmpeg could not encode the camera's picture".into());
    }
    Ok(std::fs::rename(unfinished, clip)?)
}

/// Shows the clip until standard input ends; the first line of standard output is where.
pub(crate) fn serve(clip: &Path) -> Result<(), Fault> {
    let camera = Camera::open(std::fs::read(clip)?)?;
    let mut out = io::stdout();
    writeln!(out, "{}", camera.url())?;
    out.flush()?;
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

/// Starts [`serve`] in another process. Returns it and its URL.
pub(crate) fn start(clip: &Path) -> Result<(Running, String), Fault> {
    let mut child: Child = Command::new(std::env::current_exe()?)
        .arg(MODE)
        .arg(clip)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let out = child.stdout.take();
    let camera = Running::new(child);
    let mut url = String::new();
    BufReader::new(out.ok_or("the camera has no standard output")?).read_line(&mut url)?;
    match url.trim() {
        "" => Err("the camera did not start".into()),
        url => Ok((camera, url.to_owned())),
    }
}
