//! Connects the command line with the modules: the only file that knows `ingest`, `infer` and `publish`.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::{
    Failure,
    model_facts::{self, NetworkFacts},
};
use crate::{
    calibrate::{facts::Network, system::dotted},
    config::{
        Config, Model, NetworkFile,
        file::{self, Loaded, Places},
    },
    evaluate,
    infer::{
        self,
        contract::Contract,
        decode,
        runtime::{self, Runtime},
    },
    ingest, publish, sandbox,
    service::Exit,
    supervisor::{process::Processes, worker_config::ModelFacts},
    time::{Clock, SystemClock},
};

/// Variables that are not UTF-8 set no key.
fn environment() -> impl Iterator<Item = (String, String)> {
    env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The summary of a configuration, or all of its faults.
pub(super) fn check(files: &[PathBuf]) -> Result<String, String> {
    file::check(files, environment()).map_err(|faults| faults.to_string())
}

/// The state directory and the pause file of a configuration.
pub(super) fn places(files: &[PathBuf]) -> Result<Places, String> {
    file::places(files, environment()).map_err(|faults| faults.to_string())
}

/// Reads a configuration, and the contract of the network that it names in a process of its own. All faults of the
/// configuration come at once.
pub(super) fn load(files: &[PathBuf]) -> Result<(Config, ModelFacts), String> {
    let Loaded { config, .. } = load_files(files)?;
    let NetworkFacts { model, .. } = model_facts::read_in_child(&config.model.file)?;
    Ok((config, model))
}

/// The same in this process, for a command that ends at once.
pub(super) fn load_here(files: &[PathBuf]) -> Result<(Config, ModelFacts), String> {
    let Loaded { config, .. } = load_files(files)?;
    let NetworkFacts { model, .. } = model_facts::read(&config.model.file)?;
    Ok((config, model))
}

fn load_files(files: &[PathBuf]) -> Result<Loaded, String> {
    let loaded = file::load_with_warnings(files, environment()).map_err(|faults| faults.to_string())?;
    for warning in &loaded.warnings {
        warn!("{warning}");
    }
    Ok(loaded)
}

/// The configuration of a dry run.
pub(super) struct Site {
    pub(super) config: Config,
    pub(super) model: ModelFacts,
    pub(super) network: Network,
    /// All files that were read, and those of the cameras by camera number.
    pub(super) files: Vec<PathBuf>,
    pub(super) camera_files: Vec<PathBuf>,
}

/// Reads the same as [`load`], and what only a dry run needs.
pub(super) fn site(files: &[PathBuf]) -> Result<Site, String> {
    let Loaded { config, files, camera_files, .. } = load_files(files)?;
    let NetworkFacts { model, network } = model_facts::read_in_child(&config.model.file)?;
    Ok(Site { config, model, network, files, camera_files })
}

/// Checks a configuration that a dry run has written.
pub(super) fn accepts(files: &[PathBuf]) -> Result<(), String> {
    file::load(files, environment()).map(drop).map_err(|faults| faults.to_string())
}

/// The contract of a network, for people.
pub(super) fn inspect(model: &Path) -> Result<String, String> {
    let (contract, found) = Contract::read(model).map_err(|err| err.to_string())?;
    Ok(contract.card(&found))
}

/// Later ONNX Runtimes (seen: 1.31.1) collect and send usage data: a process that loads one has no network.
fn no_network() -> Result<(), String> {
    sandbox::enter(sandbox::Profile::NoNetwork { unix_sockets: false }).map(drop).map_err(|err| err.to_string())
}

/// Runs the golden case of a network.
pub(super) fn verify(model: &Path) -> Result<String, String> {
    let settings = Model { file: NetworkFile(model.to_path_buf()), ..Model::default() };
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

/// Evaluates a network on labelled clips, without network, as they are pictures of people.
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

/// Runs the demo for so many seconds, or until it is stopped.
#[cfg(feature = "demo")]
pub(super) fn demo(seconds: Option<u64>) -> Result<Exit, String> {
    use std::time::Duration;

    use crate::{
        demo::{Daemon, Demo},
        service::signals::{self, HangupAction},
        supervisor::{Options, Reload, Sink, worker::Program},
    };

    let demo = Demo {
        clip: "demo/group.mp4".into(),
        model: "models/edge-ger.onnx".into(),
        length: seconds.map(Duration::from_secs),
    };
    let received = signals::listen(HangupAction::Stop).map_err(|err| err.to_string())?;
    let daemon = |file: &Path, signals| {
        let files = [file.to_path_buf()];
        let (config, model) = load(&files)?;
        let reload: Reload = Box::new(move || load(&files));
        let clock = Arc::new(SystemClock);
        let (program, asks) = (Program::default(), crossbeam_channel::never());
        let options = Options { sink: Sink::Publish, program, signals, asks, reload, clock };
        Ok(Daemon(config, model, options))
    };
    let labelled = demo.run(&received, daemon).map_err(|err| err.to_string())?;
    Ok(if labelled { Exit::Stopped } else { Exit::Unanswered })
}

/// The installed daemon has no demo.
#[cfg(not(feature = "demo"))]
pub(super) fn demo(_seconds: Option<u64>) -> Result<Exit, String> {
    Err("this build has no demo: build with `cargo build --release --features demo`, or type `make demo`".into())
}

/// Our version and those of the libraries in use.
pub(super) fn versions() -> String {
    let runtime = match no_network().and_then(|()| Runtime::init(None).map_err(|err| err.to_string())) {
        Ok(()) => {
            let version = Runtime::version().map_or("unknown version".into(), |version| dotted(&version));
            format!("{}; ONNX Runtime {version}", Runtime::info().unwrap_or_default())
        }
        Err(err) => format!("ONNX Runtime: {err}"),
    };
    format!("edge-ger {}\n{}\n{runtime}\n", env!("CARGO_PKG_VERSION"), decode::version())
}

/// The main functions of the processes.
pub(super) fn processes() -> Processes {
    Processes {
        ingest: |config, downstream, orders, reports, clock| {
            Ok(ingest::run(config, downstream, orders, reports, clock)?)
        },
        infer: |config, upstream, downstream, orders, reports, clock| {
            Ok(infer::run(config, upstream, downstream, orders, reports, clock)?)
        },
        publish: |config, upstream, orders, reports, clock| Ok(publish::run(config, upstream, orders, reports, clock)?),
    }
}
