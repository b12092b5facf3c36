//! Reads the contract of a network in a short-lived process without network: the parent, which holds passwords, does not
//! parse a file that somebody else made.
//!
//! The child is this executable as `edge-ger model-facts FILE`; it prints its result as one line of JSON.

use std::{
    env,
    io::Read as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
};

use serde::{Deserialize, Serialize};

use crate::{
    calibrate::facts::Network,
    infer::contract::{Contract, Missing, SoundKind},
    sandbox,
    supervisor::worker_config::ModelFacts,
};

/// No result is longer.
const RESULT_BYTES_MAX: u64 = 64 << 10;
/// The environment variables that the child gets.
const ENVIRONMENT: [&str; 2] = ["PATH", "LD_LIBRARY_PATH"];

/// What is needed of a contract outside of `infer`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NetworkFacts {
    /// For the parent.
    pub(super) model: ModelFacts,
    /// For the report of a dry run.
    pub(super) network: Network,
}

/// Reads the contract in a process of its own. The error is for people.
pub(super) fn read_in_child(model: &Path) -> Result<NetworkFacts, String> {
    let failed = |reason: &str| format!("model.file: {}: reading its contract failed: {reason}", model.display());
    let mut command = Command::new("/proc/self/exe");
    command.arg0("edge-ger").arg("model-facts").arg(model);
    command.env_clear().envs(ENVIRONMENT.iter().filter_map(|name| Some((name, env::var_os(name)?))));
    // Its own group, so that Ctrl-C reaches the parent alone, which handles it.
    command.process_group(0).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().map_err(|err| failed(&err.to_string()))?;
    let mut printed = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(RESULT_BYTES_MAX).read_to_end(&mut printed).map_err(|err| failed(&err.to_string()))?;
    }
    let status = child.wait().map_err(|err| failed(&err.to_string()))?;
    if !status.success() {
        return Err(failed(&status.to_string()));
    }
    serde_json::from_slice::<Result<NetworkFacts, String>>(&printed).map_err(|err| failed(&err.to_string()))?
}

/// The child: enters the sandbox of `infer`, reads the contract and returns the line to print.
pub(super) fn child(model: &Path) -> Result<String, String> {
    rustix::thread::set_name(c"ger-model").map_err(|err| err.to_string())?;
    let granted = sandbox::enter(sandbox::Profile::NoNetwork { unix_sockets: false });
    let result = granted.map_err(|err| err.to_string()).and_then(|_| read(model));
    serde_json::to_string(&result).map_err(|err| err.to_string())
}

/// Reads the contract in this process. The error is for people.
pub(super) fn read(model: &Path) -> Result<NetworkFacts, String> {
    let (contract, file) = Contract::read(model).map_err(|err| format!("model.file: {err}"))?;
    let calibration_error = contract.document.pointer("/calibration/ece").and_then(serde_json::Value::as_f64);
    let hears = contract.sound.kind != SoundKind::None;
    let network = Network {
        name: contract.name.clone(),
        sha256: file.sha256_hex(),
        clip_s: contract.clip.as_secs_f64(),
        frames: contract.video.frames,
        size: (contract.video.width, contract.video.height),
        hears,
        needs_sound: hears && contract.sound.missing == Missing::Withhold,
        estimates_group: contract.outputs.group_size.is_some(),
        estimates: contract.outputs.estimates,
        prior: contract.prior,
        calibration_error,
    };
    let model = ModelFacts { name: contract.name, frames: contract.video.frames, clip: contract.clip };
    Ok(NetworkFacts { model, network })
}
