//! Where the command line meets the rooms: the only place that knows all three.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::Failure;
use crate::{
    calibrate::{facts::Network, system::dotted},
    config::{
        Config, Model, ProviderChoice,
        file::{self, Loaded, Places},
    },
    evaluate,
    infer::{
        self,
        contract::{self, Contract},
        decode,
        runtime::{self, Runtime},
    },
    ingest, publish, sandbox,
    service::Exit,
    supervisor::{process::Processes, worker_config::ModelFacts},
    time::{Clock, SystemClock},
};

/// Variables that are not text are nobody's settings.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// What a configuration means, for people.
pub(super) fn check(files: &[PathBuf]) -> Result<String, String> {
    file::check(files, environment()).map_err(|faults| faults.to_string())
}

/// Where the box of a configuration keeps its state and its pause file.
pub(super) fn places(files: &[PathBuf]) -> Result<Places, String> {
    file::places(files, environment()).map_err(|faults| faults.to_string())
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
    Ok(ModelFacts { name: contract.name, frames: contract.video.frames, clip: contract.clip })
}

/// What a dry run looks at.
pub(super) struct Site {
    pub(super) config: Config,
    pub(super) model: ModelFacts,
    pub(super) network: Network,
    /// All files that were read, and those of the cameras by their numbers.
    pub(super) files: Vec<PathBuf>,
    pub(super) camera_files: Vec<PathBuf>,
}

/// Reads the same as [`load`], and what a dry run must know beside it.
pub(super) fn site(files: &[PathBuf]) -> Result<Site, String> {
    let loaded = file::load_with_warnings(files, environment()).map_err(|faults| faults.to_string())?;
    loaded.warnings.iter().for_each(|it| warn!("{it}"));
    let (contract, found) = Contract::read(&loaded.config.model.file).map_err(|err| format!("model.file: {err}"))?;
    let error = contract.document.pointer("/calibration/ece").and_then(serde_json::Value::as_f64);
    let hears = contract.sound.kind != contract::SoundKind::None;
    let network = Network {
        name: contract.name.clone(),
        sha256: found.sha256_hex(),
        clip_s: contract.clip.as_secs_f64(),
        frames: contract.video.frames,
        size: (contract.video.width, contract.video.height),
        hears,
        needs_sound: hears && contract.sound.missing == contract::Missing::Withhold,
        estimates_group: contract.outputs.group_size.is_some(),
        head_width: contract.outputs.head_width.map(|range| range.map(f64::from)),
        prior: contract.prior,
        calibration_error: error,
    };
    let model = ModelFacts { name: contract.name, frames: contract.video.frames, clip: contract.clip };
    let Loaded { config, files, camera_files, .. } = loaded;
    Ok(Site { config, model, network, files, camera_files })
}

/// Whether a configuration that a dry run has written would be accepted.
pub(super) fn accepts(files: &[PathBuf]) -> Result<(), String> {
    file::load(files, environment()).map(drop).map_err(|faults| faults.to_string())
}

/// What a network says of itself.
pub(super) fn inspect(model: &Path) -> Result<String, String> {
    let (contract, found) = Contract::read(model).map_err(|err| err.to_string())?;
    Ok(contract.card(&found))
}

/// Later ONNX Runtimes (seen: 1.31.1) want to send home what they count: where one is loaded, there is no network.
fn no_network() -> Result<(), String> {
    sandbox::enter(sandbox::Room::Infer { unix_sockets: false }).map(drop).map_err(|err| err.to_string())
}

/// What a network answers to its golden case.
pub(super) fn verify(model: &Path) -> Result<String, String> {
    let settings = Model {
        file: model.to_path_buf(),
        runtime_library: None,
        providers: vec![ProviderChoice::Cpu],
        threads: 0,
        cache_dir: env::temp_dir(),
    };
    no_network()?;
    let found = runtime::verify(model, &settings).map_err(|err| err.to_string())?;
    Ok(format!(
        "golden case right on {}: off by {:.1e}, {:.1e} is allowed; {:.3} s a clip\n",
        found.provider.as_str(),
        found.max_difference,
        found.tolerance,
        found.seconds
    ))
}

/// Measures a network on labelled clips. They are pictures of people, so there is no network here.
pub(super) fn evaluate(task: &evaluate::Task) -> Result<evaluate::Report, Failure> {
    no_network().map_err(|text| Failure::new(Exit::Internal, text))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    evaluate::run(task, &clock).map_err(|err| {
        let exit = match err {
            evaluate::Error::Runtime(runtime::Error::Run { .. }) => Exit::Internal,
            _ => Exit::Configuration,
        };
        Failure::new(exit, err)
    })
}

/// The demo, for so many seconds or until somebody stops it.
#[cfg(feature = "demo")]
pub(super) fn demo(seconds: Option<u64>) -> Result<Exit, String> {
    use std::time::Duration;

    use crate::{
        demo::{Daemon, Demo},
        service::signals::{self, Hangup},
        supervisor::{Options, Reload, Sink, worker::Program},
    };

    let demo = Demo {
        clip: "demo/group.mp4".into(),
        model: "models/edge-ger.onnx".into(),
        length: seconds.map(Duration::from_secs),
    };
    let asked = signals::listen(Hangup::Stops).map_err(|err| err.to_string())?;
    let daemon = |file: &Path, signals| {
        let files = [file.to_path_buf()];
        let (config, model) = load(&files)?;
        let reload: Reload = Box::new(move || load(&files));
        let clock = Arc::new(SystemClock);
        let (program, asks) = (Program::default(), crossbeam_channel::never());
        let options = Options { sink: Sink::Publish, program, signals, asks, reload, clock };
        Ok(Daemon(config, model, options))
    };
    let labelled = demo.run(&asked, daemon).map_err(|err| err.to_string())?;
    Ok(if labelled { Exit::Stopped } else { Exit::Unanswered })
}

/// The demo is not part of a daemon that is installed.
#[cfg(not(feature = "demo"))]
pub(super) fn demo(_seconds: Option<u64>) -> Result<Exit, String> {
    Err("this build has no demo: build with `cargo build --release --features demo`, or type `make demo`".into())
}

/// Our version and those of the libraries in use.
pub(super) fn versions() -> String {
    let runtime = match no_network().and_then(|()| Runtime::init(None).map_err(|err| err.to_string())) {
        Ok(()) => {
            let version = Runtime::version().map_or("unknown version".into(), |it| dotted(&it));
            format!("{}; ONNX Runtime {version}", Runtime::info().unwrap_or_default())
        }
        Err(err) => format!("ONNX Runtime: {err}"),
    };
    format!("edge-ger {}\n{}\n{runtime}\n", env!("CARGO_PKG_VERSION"), decode::version())
}

/// The real rooms.
pub(super) fn rooms() -> Processes {
    Processes {
        ingest: |begin, out, orders, reports, clock| Ok(ingest::run(begin, out, orders, reports, clock)?),
        infer: |begin, from, out, orders, reports, clock| Ok(infer::run(begin, from, out, orders, reports, clock)?),
        publish: |begin, from, orders, reports, clock| Ok(publish::run(begin, from, orders, reports, clock)?),
    }
}
