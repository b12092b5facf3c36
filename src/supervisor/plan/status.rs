//! The line that `systemctl status` shows.

use std::collections::BTreeMap;

use super::worker_state::WorkerState;
use crate::wire::process::ProcessName;

/// Says how many cameras there are, how many of them are paused, how many slots were produced, and which workers start.
pub(super) fn line(cameras: usize, paused: usize, slots: u64, workers: &BTreeMap<ProcessName, WorkerState>) -> String {
    let camera_text = match cameras {
        1 => "1 camera".to_owned(),
        many => format!("{many} cameras"),
    };
    let paused_text = match paused {
        0 => String::new(),
        all if all == cameras => ", paused".to_owned(),
        some => format!(", {some} of them paused"),
    };
    let starting: Vec<_> =
        workers.iter().filter(|(_, worker)| !worker.is_running()).map(|(name, _)| name.as_str()).collect();
    match starting.as_slice() {
        [] => format!("{camera_text}{paused_text}, {slots} slots"),
        starting => format!("{camera_text}{paused_text}, {slots} slots; starting: {}", starting.join(", ")),
    }
}
