//! Where the command line meets the rooms: the only place that knows all three.

use std::{
    env,
    path::{Path, PathBuf},
    sync::Arc,
};

use tracing::warn;

use super::Failure;
use crate::{
    config::{
        Config, Model, ProviderChoice,
        file::{self, Places},
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
    supervisor::{begin::ModelFacts, room::Rooms},
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
        found.provider.word(),
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
        supervisor::{Options, Reload, Sink, child::Program},
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
        let options = Options { sink: Sink::Publish, program: Program::default(), signals, reload, clock };
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
        Ok(()) => Runtime::info().unwrap_or("ONNX Runtime: unknown").to_owned(),
        Err(err) => format!("ONNX Runtime: {err}"),
    };
    format!("edge-ger {}\n{}\n{runtime}\n", env!("CARGO_PKG_VERSION"), decode::version())
}

/// The real rooms.
pub(super) fn rooms() -> Rooms {
    Rooms {
        ingest: |begin, out, orders, reports, clock| Ok(ingest::run(begin, out, orders, reports, clock)?),
        infer: |begin, from, out, orders, reports, clock| Ok(infer::run(begin, from, out, orders, reports, clock)?),
        publish: |begin, from, orders, reports, clock| Ok(publish::run(begin, from, orders, reports, clock)?),
    }
}
