//! `edge-ger pause` and `edge-ger resume`: create and remove the pause file, which the daemon reads every second.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Failure, wiring};
use crate::{
    config::file::Places,
    service::{Exit, lock, pause_file},
    time::{
        Clock as _, SystemClock,
        local::{Zone, parse_duration},
    },
};

/// The longest pause that can be asked for.
const SPAN_MAX: Duration = Duration::from_secs(366 * 24 * 3600);

/// Parses the duration of a pause.
pub(super) fn span(text: &str) -> Result<Duration, String> {
    let span = parse_duration(text).ok_or("write a time with its unit, such as 90m, 2h or \"1h 30m\"")?;
    if SPAN_MAX < span {
        Err("at most 366 days; without --for it lasts until edge-ger resume".into())
    } else {
        Ok(span)
    }
}

/// Pauses; returns the text to show.
pub(super) fn pause(file: Option<PathBuf>, files: &[PathBuf], span: Option<Duration>) -> Result<String, Failure> {
    let (file, state_dir) = places(file, files)?;
    let until_ms = span.map(|span| SystemClock.wall_ms() + u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    pause_file::write(&file, until_ms).map_err(|err| unusable("made", &file, &err))?;
    let end = until_ms.map_or_else(|| "edge-ger resume".to_owned(), |end_ms| Zone::system_or_utc().rfc3339(end_ms));
    let now =
        state_dir.map_or_else(String::new, |dir| daemon_of(&dir, "its cameras and microphones close within seconds"));
    Ok(format!("paused until {end}: {}\n{now}", file.display()))
}

/// Ends a pause; returns the text to show.
pub(super) fn resume(file: Option<PathBuf>, files: &[PathBuf]) -> Result<String, Failure> {
    let (file, state_dir) = places(file, files)?;
    if !pause_file::remove(&file).map_err(|err| unusable("removed", &file, &err))? {
        return Ok(format!("was not paused: there is no {}\n", file.display()));
    }
    let now = state_dir.map_or_else(String::new, |dir| daemon_of(&dir, "its cameras within their hours open"));
    Ok(format!("resumed: removed {}\n{now}", file.display()))
}

/// The pause file, and the state directory of the daemon if it is known.
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

/// Says whether a daemon runs that reads the file, so that a pause of the wrong box is noticed.
fn daemon_of(state_dir: &Path, what: &str) -> String {
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
