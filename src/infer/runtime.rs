//! ONNX Runtime: finding its library, the ladder of execution providers, the golden case, and running clips.
//!
//! ONNX Runtime falls back to the CPU with no more than a line in its log; the daemon does not: a provider that was
//! asked for and fails is an error unless a further rung is in `model.providers`. Before a rung is used, the graph is
//! held against the contract and the golden case must come out right on it.

mod golden;
mod graph;
mod library;
mod providers;
mod session;
mod version;

use std::path::{Path, PathBuf};

use self::providers::Refusals;
pub(crate) use self::{
    library::Runtime,
    session::{Answer, Clip, NotFinite, Session},
};
use super::contract::{self, Contract};
use crate::{
    config::{Model, NetworkFile},
    time::{Clock, SystemClock},
    wire::record::Provider,
};

/// Why no network runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// No library in any of the places.
    #[error(
        "ONNX Runtime's library was not found; searched {}; put libonnxruntime.so in one of these places, or set \
         `model.runtime_library`",
        searched.iter().map(|place| place.display().to_string()).collect::<Vec<_>>().join(", ")
    )]
    LibraryMissing {
        /// Where.
        searched: Vec<PathBuf>,
    },
    /// There is a file, but it is not ONNX Runtime, or too old, or for another machine.
    #[error("{}: this is no usable ONNX Runtime library: {reason}; set `model.runtime_library` to a libonnxruntime.so of version 1.17 or later for this machine", file.display())]
    Library {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// One process can load one library.
    #[error("{}: another ONNX Runtime library is loaded already: {}", asked.display(), loaded.display())]
    OtherLibrary {
        /// The one that is asked for.
        asked: PathBuf,
        /// The one that is loaded.
        loaded: PathBuf,
    },
    /// [`Runtime::init`] was not called, or failed.
    #[error("ONNX Runtime is not loaded")]
    NotLoaded,
    /// The network's contract cannot be used.
    #[error(transparent)]
    Contract(#[from] contract::Error),
    /// The network is not what its contract says.
    #[error("{}: the network does not keep its contract: {what}; export it again", file.display())]
    Graph {
        /// The network.
        file: PathBuf,
        /// The difference.
        what: String,
    },
    /// No rung of the ladder holds.
    #[error("{}: no execution provider of `model.providers` runs this network: {refusals}; install what is missing, or add \"cpu\" to `model.providers`", file.display())]
    Providers {
        /// The network.
        file: PathBuf,
        /// Each rung's reason.
        refusals: Refusals,
    },
    /// A run failed.
    #[error("the network did not run on {provider}: {reason}", provider = provider.as_str())]
    Run {
        /// Where.
        provider: Provider,
        /// What ONNX Runtime says.
        reason: String,
    },
}

/// A network that gave what its contract promises.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Verification {
    /// The rung that it ran on.
    pub provider: Provider,
    /// The largest difference from the golden case.
    pub max_difference: f32,
    /// The largest allowed.
    pub tolerance: f32,
    /// One further run of a clip.
    pub seconds: f64,
}

/// Runs a network's golden case on the ladder of `model`, whose file is not looked at.
///
/// # Errors
/// When the contract, ONNX Runtime or the network is at fault: whatever keeps the daemon from running it.
pub(crate) fn verify(file: &Path, model: &Model) -> Result<Verification, Error> {
    let (contract, found) = Contract::read(file)?;
    Runtime::init(model.runtime_library.as_deref())?;
    let model = Model { file: NetworkFile(file.to_path_buf()), ..model.clone() };
    let mut session = Session::open(&model, &contract, &found)?;
    let clock = SystemClock;
    let begin = clock.now();
    session.batch(1).for_each(|clip| *clip.present = [1.0; 2]);
    session.run(1)?;
    Ok(Verification {
        provider: session.provider(),
        max_difference: session.max_difference(),
        tolerance: contract.golden.tolerance,
        seconds: (clock.now() - begin).as_secs_f64(),
    })
}
