//! Where the command line meets the rooms: the only place that knows all three.

use std::{
    env,
    path::{Path, PathBuf},
};

use tracing::warn;

use crate::{
    config::{Config, file},
    infer::contract::Contract,
    service::Exit,
    supervisor::{begin::ModelFacts, room::Rooms},
};

/// Variables that are not text are nobody's settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What a configuration means, for people.
pub(super) fn check(files: &[PathBuf]) -> Result<String, String> {
    file::check(files, environment()).map_err(|faults| faults.to_string())
}

/// Reads a configuration and the contract of the network that it names. All faults of the former come at once.
pub(super) fn load(files: &[PathBuf]) -> Result<(Config, ModelFacts), String> {
    let loaded = file::load_with_warnings(files, environment()).map_err(|faults| faults.to_string())?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    let model = facts(&loaded.config.model.file)?;
    Ok((loaded.config, model))
}

fn facts(model: &Path) -> Result<ModelFacts, String> {
    let (contract, _) = Contract::read(model).map_err(|err| format!("model.file: {err}"))?;
    let frames = u32::try_from(contract.video.frames).map_err(|err| format!("model.file: frames: {err}"))?;
    Ok(ModelFacts { name: contract.name, frames, clip: contract.clip })
}

/// What a network says of itself.
pub(super) fn inspect(model: &Path) -> Result<String, String> {
    let (contract, found) = Contract::read(model).map_err(|err| err.to_string())?;
    Ok(contract.card(&found))
}

/// What a network answers to its golden case.
pub(super) fn verify(_model: &Path) -> Result<String, String> {
    Err("this build cannot run a network".into())
}

/// The demo, for so many seconds or until somebody stops it.
pub(super) fn demo(_seconds: Option<u64>) -> Result<Exit, String> {
    Err("this build has no demo: build with `cargo build --release --features demo`, or type `make demo`".into())
}

/// Our version and those of the libraries in use.
pub(super) fn versions() -> String {
    format!("edge-ger {}\n", env!("CARGO_PKG_VERSION"))
}

/// The real rooms.
pub(super) fn rooms() -> Rooms {
    Rooms {
        ingest: |_, _, _, _, _| Err("this build has no ingest".into()),
        infer: |_, _, _, _, _, _| Err("this build has no infer".into()),
        publish: |_, _, _, _, _| Err("this build has no publish".into()),
    }
}
