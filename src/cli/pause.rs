//! `edge-ger pause` and `edge-ger resume`: make and remove the pause file that the daemon looks at every second.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, wiring};
use crate::{
    config::file::Places,
    service::{Exit, lock, pause},
    time::{
        Clock as _, SystemClock,
        local::{Zone, read_span},
    },
};

/// A longer pause is the end of the box.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Reads how long a pause is to last.
pub(super) fn span(written: &str) -> Result<Duration, String> {
    let span = read_span(written).ok_or("write a time with its unit, such as 90m, 2h or \"1h 30m\"")?;
    if SPAN_MAX < span {
        Err("at most 366 days; without --for it lasts until edge-ger resume".into())
    } else {
        Ok(span)
    }
}

/// Pauses, and says what comes of it.
pub(super) fn pause(file: Option<PathBuf>, files: &[PathBuf], span: Option<Duration>) -> Result<String, Failure> {
    let (file, state_dir) = places(file, files)?;
    let until_ms = span.map(|it| SystemClock.wall_ms() + u64::try_from(it.as_millis()).unwrap_or(u64::MAX));
    pause::write(&file, until_ms).map_err(|err| unusable("made", &file, &err))?;
    let end = until_ms.map_or_else(|| "edge-ger resume".to_owned(), |it| Zone::of_people().written(it));
    let now =
        state_dir.map_or_else(String::new, |it| who_hears(&it, "its cameras and microphones close within seconds"));
    Ok(format!("paused until {end}: {}\n{now}", file.display()))
}

/// Ends a pause, and says what comes of it.
pub(super) fn resume(file: Option<PathBuf>, files: &[PathBuf]) -> Result<String, Failure> {
    let (file, state_dir) = places(file, files)?;
    if !pause::remove(&file).map_err(|err| unusable("removed", &file, &err))? {
        return Ok(format!("was not paused: there is no {}\n", file.display()));
    }
    let now = state_dir.map_or_else(String::new, |it| who_hears(&it, "its cameras within their hours open"));
    Ok(format!("resumed: removed {}\n{now}", file.display()))
}

/// The pause file, and where the daemon's lock is, if that is known.
fn places(file: Option<PathBuf>, files: &[PathBuf]) -> Result<(PathBuf, Option<PathBuf>), Failure> {
    match file {
        Some(file) => Ok((file, None)),
        None => {
            let Places { state_dir, pause_file } =
                wiring::places(files).map_err(|text| Failure::new(Exit::Configuration, text))?;
            Ok((pause_file, Some(state_dir)))
        }
    }
}

/// Whether anybody looks at the file: whoever pauses another box than the one in front of them must notice.
fn who_hears(state_dir: &Path, what: &str) -> String {
    match lock::holder_of(state_dir) {
        Ok(Some(process)) => format!("edge-ger, process {process}, runs: {what}\n"),
        Ok(None) => format!("no edge-ger runs with the state directory {}\n", state_dir.display()),
        Err(err) => {
            format!("whether edge-ger runs with the state directory {} is unknown: {err}\n", state_dir.display())
        }
    }
}

fn unusable(what: &str, file: &Path, err: &io::Error) -> Failure {
    let cure = match err.kind() {
        io::ErrorKind::NotFound => "its folder is not there: make it, or let edge-ger run once",
        io::ErrorKind::PermissionDenied => "try it with sudo",
        _ => "look at the disk",
    };
    Failure::new(Exit::Internal, format!("the pause file {} cannot be {what}: {err}; {cure}", file.display()))
}
