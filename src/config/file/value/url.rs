//! The URL of a camera. It never contains a password: URLs end up in logs, titles and shells.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::text::{is_host, plain, text_types};

text_types! {
    /// Where pictures come from.
    Url(CameraUrl) { "x-write" = "rtsp://, rtsps://, file: or v4l2: in quotes, without user or password", "format" = "url" } =
        read;
}

/// A valid source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum CameraUrl {
    /// `rtsp://` or `rtsps://`.
    Rtsp(String),
    /// `file:`.
    File(PathBuf),
    /// `v4l2:`.
    V4l2(PathBuf),
}

impl CameraUrl {
    /// Whether the connection is encrypted.
    pub(crate) fn is_secure(&self) -> bool {
        matches!(self, Self::Rtsp(url) if url.starts_with("rtsps"))
    }
}

/// Names of parameters in which some cameras take a user, a password or a token.
const LOGIN: &[&str] = &["password", "passwd", "pass", "pwd", "psw", "username", "user", "usr", "token"];

/// A path in it is absolute: the source's parser has resolved it.
fn read(written: &str) -> Result<CameraUrl, &'static str> {
    let Some((scheme, rest)) = written.split_once(':') else {
        return Err("the scheme is missing; write rtsp://, rtsps://, file: or v4l2: and what follows it");
    };
    match scheme {
        "file" if rest.trim_start_matches('/').is_empty() => Err("the recording is missing; write file: and a path"),
        "file" => Ok(CameraUrl::File(without_slashes(rest).into())),
        "v4l2" if without_slashes(rest).starts_with("/dev/") => Ok(CameraUrl::V4l2(without_slashes(rest).into())),
        "v4l2" => Err("this is no camera of this machine; write v4l2:/dev/video0 or its like"),
        _ if holds_login(rest) => {
            Err("a user or a password stands in it; put the user into camera.user, the password \
                                       into a file, and name that in camera.password_file (an @ that belongs to the path \
                                       is %40)")
        }
        "rtsp" | "rtsps" => rtsp(written, rest),
        _ => Err("there is no such scheme; write rtsp://, rtsps://, file: or v4l2: and what follows it"),
    }
}

/// `//` may stand before an absolute path: `file:///clips/hall.mp4`.
pub(crate) fn without_slashes(rest: &str) -> &str {
    rest.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(rest)
}

/// Whether something in it looks like a login. A password may contain a `/`, so no `@` is allowed anywhere.
fn holds_login(rest: &str) -> bool {
    let lower = rest.to_lowercase();
    let mut words = lower.split(['/', '?', '&', ';', '_', '#', ' ']);
    rest.contains('@') || words.any(|word| word.split_once('=').is_some_and(|(name, _)| LOGIN.contains(&name)))
}

fn rtsp(written: &str, rest: &str) -> Result<CameraUrl, &'static str> {
    if written.chars().any(char::is_whitespace) {
        return Err("a space stands in it; write it as %20");
    }
    let Some(after) = rest.strip_prefix("//") else {
        return Err("the // is missing; write rtsp://HOST:PORT/PATH, or rtsps:// where the camera encrypts");
    };
    let authority = after.split(['/', '?', '#']).next().unwrap_or_default();
    let (host, port) = match authority.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
        Some((host, port)) => (host, if port.is_empty() { None } else { Some(port.strip_prefix(':').unwrap_or("no")) }),
        None => authority.split_once(':').map_or((authority, None), |(host, port)| (host, Some(port))),
    };
    if !is_host(host) {
        return Err(
            "the host is missing, or is no host name or address; write rtsp://HOST:PORT/PATH, or rtsps:// where \
                    the camera encrypts",
        );
    }
    if port.is_some_and(|port| !port.parse::<u16>().is_ok_and(|port| 0 < port)) {
        return Err(
            "the port is no number from 1 to 65535; write rtsp://HOST:PORT/PATH, or rtsps:// where the camera \
                    encrypts",
        );
    }
    Ok(CameraUrl::Rtsp(written.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources() {
        for url in ["rtsp://10.0.0.5/s1", "rtsps://cam.local:322/a?b=1", "rtsp://[fe80::1]:554/x", "rtsp://cam"] {
            assert_eq!(read(url), Ok(CameraUrl::Rtsp(url.into())));
        }
        assert_eq!(read("file:/etc/clip.mp4"), Ok(CameraUrl::File("/etc/clip.mp4".into())));
        assert_eq!(read("file:///clip.mp4"), Ok(CameraUrl::File("/clip.mp4".into())));
        assert_eq!(read("v4l2:/dev/video0"), Ok(CameraUrl::V4l2("/dev/video0".into())));
    }

    #[test]
    fn faults() {
        let says = |text: &str, what: &str| {
            let wrong = read(text).unwrap_err();
            assert!(wrong.contains(what), "{text}: {wrong:?}");
        };
        for login in [
            "rtsp://admin:x@cam/s",
            "rtsp://admin@cam/s",
            "rtsp://admin:12/34@cam/s",
            "http://a:b@cam",
            "rtsp://cam/user=admin_password=x_channel=1",
            "rtsp://cam/live?Pwd=x",
        ] {
            says(login, "a user or a password");
        }
        says("rtsp://", "host");
        says("rtsp:cam/s", "//");
        says("rtsp://cam:0/s", "port");
        says("rtsp://cam:port/s", "port");
        says("rtsp://[::1]x/s", "port");
        says("rtsp://cam/a b", "space");
        says("http://cam/s", "scheme");
        says("192.168.1.64", "scheme");
        says("file:", "recording");
        says("v4l2:video0", "camera of this machine");
    }
}
