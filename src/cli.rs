//! The command line: parses the arguments and runs the command.

mod model_facts;
mod pause;
mod site;
mod watch;
mod wiring;

use std::{
    ffi::OsString,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum, error::ErrorKind};
use tracing::info;

use crate::{
    config::{Config, ProviderChoice},
    evaluate, sandbox,
    service::{
        Exit, lock, logging,
        signals::{self, HangupAction},
    },
    supervisor::{
        self, Options, Reload, Sink, process,
        worker::Program,
        worker_config::{ModelFacts, ResolvedConfig},
    },
    time::SystemClock,
    wire::process::ProcessName,
};

/// Reads the mood of a group from a camera and a microphone, and publishes nothing else.
#[derive(Debug, Parser)]
#[command(name = "edge-ger", args_conflicts_with_subcommands = true, disable_version_flag = true, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: Run,
    /// Show the version, and the versions of the libraries in use
    #[arg(short = 'V', long)]
    version: bool,
}

#[derive(Args, Debug)]
struct Run {
    /// Look at cameras on site, with verdicts and cures, and publish nothing: exit 1 if something must be cured
    #[arg(long, requires = "files")]
    dry_run: bool,
    #[command(flatten)]
    site: site::Options,
    /// Configuration files, or folders of them
    #[arg(value_name = "CAMERA.toml")]
    files: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what a configuration means, or everything that is wrong with it
    Check {
        /// Configuration files, or folders of them
        #[arg(value_name = "CAMERA.toml", required = true)]
        files: Vec<PathBuf>,
    },
    /// Look at a network
    Model {
        #[command(subcommand)]
        what: Model,
    },
    /// Measure a network on labelled clips, through the daemon's own decoders: exit 1 if some cannot be decoded
    Evaluate(Evaluate),
    /// Show the readings of a whole fleet, as its broker has them
    Watch(watch::Watch),
    /// Close the cameras and microphones of a box, now and after every restart: readings go on as "withheld", "paused"
    Pause {
        /// End the pause after so long, such as 90m or 2h; without it, edge-ger resume ends it
        #[arg(long = "for", value_name = "TIME", value_parser = pause::span)]
        span: Option<Duration>,
        #[command(flatten)]
        of: Paused,
    },
    /// End a pause
    Resume {
        #[command(flatten)]
        of: Paused,
    },
    /// A camera, a broker and the daemon in one command
    #[command(hide = cfg!(not(feature = "demo")))]
    Demo {
        /// End after so long: exit 0 if labelled readings arrived at the broker, 1 if not
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
        seconds: Option<u64>,
    },
    /// One of the daemon's own processes
    #[command(hide = true)]
    Process { name: ProcessName },
    /// Print the facts that the parent needs of a network, as JSON
    #[command(hide = true)]
    ModelFacts { file: PathBuf },
}

#[derive(Debug, Subcommand)]
enum Model {
    /// Show its contract
    Inspect {
        /// The network
        #[arg(value_name = "MODEL.onnx")]
        file: PathBuf,
    },
    /// Run its golden case with ONNX Runtime
    Verify {
        /// The network
        #[arg(value_name = "MODEL.onnx")]
        file: PathBuf,
    },
}

/// The box to pause or resume.
#[derive(Args, Debug)]
struct Paused {
    /// The pause file itself, where the configuration is not at hand
    #[arg(long, value_name = "FILE", conflicts_with = "files")]
    file: Option<PathBuf>,
    /// The daemon's configuration files, or folders of them
    #[arg(value_name = "CAMERA.toml", required_unless_present = "file")]
    files: Vec<PathBuf>,
}

#[derive(Args, Debug)]
struct Evaluate {
    /// The network
    #[arg(value_name = "MODEL.onnx")]
    model: PathBuf,
    /// The folder of the clips: H.264, H.265 or MJPEG with AAC, Opus, G.711, PCM or no sound
    clips: PathBuf,
    /// A CSV file with the columns clip and label, or a labels file of VGAF
    labels: PathBuf,
    /// Write the answer to each clip
    #[arg(long, value_name = "FILE.csv")]
    predictions: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    /// Execution providers, separated by commas: the first that works
    #[arg(long = "provider", value_name = "NAME", value_delimiter = ',', default_value = "cpu")]
    providers: Vec<Provider>,
}

/// The values of `model.providers`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Provider {
    #[value(name = "tensorrt")]
    TensorRt,
    Cuda,
    Cpu,
}

/// Why a command failed: the text for standard error, and the exit code.
struct Failure {
    exit: Exit,
    text: String,
}

impl Failure {
    fn new(exit: Exit, text: impl ToString) -> Self {
        Self { exit, text: text.to_string() }
    }
}

/// The definition of the command line, for its completions and its manual.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// Runs the command of these arguments.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> Exit {
    let result = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments.run(),
        Err(err) => unparsed(&err),
    };
    result.unwrap_or_else(|failure| {
        logging::print_error(&failure.text);
        failure.exit
    })
}

/// A request for help is no error; every other failure of the parser is.
fn unparsed(err: &clap::Error) -> Result<Exit, Failure> {
    match err.kind() {
        ErrorKind::DisplayHelp => show(&err.render().to_string()),
        _ => Err(Failure::new(Exit::Usage, err.render())),
    }
}

impl Arguments {
    fn run(self) -> Result<Exit, Failure> {
        match self.command {
            _ if self.version => show(&wiring::versions()),
            Some(Command::Check { files }) => check(&files),
            Some(Command::Model { what: Model::Inspect { file } }) => show(&model(wiring::inspect(&file))?),
            Some(Command::Model { what: Model::Verify { file } }) => show(&model(wiring::verify(&file))?),
            Some(Command::Evaluate(arguments)) => evaluate(arguments),
            Some(Command::Watch(arguments)) => watch::watch(arguments),
            Some(Command::Pause { span, of: Paused { file, files } }) => show(&pause::pause(file, &files, span)?),
            Some(Command::Resume { of: Paused { file, files } }) => show(&pause::resume(file, &files)?),
            Some(Command::Demo { seconds }) => {
                logging::start("");
                wiring::demo(seconds).map_err(|text| Failure::new(Exit::Internal, text))
            }
            Some(Command::Process { name }) => process(name),
            Some(Command::ModelFacts { file }) => show(&model(model_facts::child(&file))?),
            None if self.run.files.is_empty() => {
                let cure = "name a configuration: edge-ger CAMERA.toml (`edge-ger --help` shows everything else)";
                Err(Failure::new(Exit::Usage, cure))
            }
            None if self.run.dry_run => site::dry_run(self.run.site, self.run.files),
            None => daemon(self.run.files),
        }
    }
}

fn model(result: Result<String, String>) -> Result<String, Failure> {
    result.map_err(|text| Failure::new(Exit::Configuration, text))
}

fn evaluate(arguments: Evaluate) -> Result<Exit, Failure> {
    logging::start("");
    let Evaluate { model, clips, labels, predictions, json, providers } = arguments;
    let providers = providers.into_iter().map(|provider| match provider {
        Provider::TensorRt => ProviderChoice::TensorRt,
        Provider::Cuda => ProviderChoice::Cuda,
        Provider::Cpu => ProviderChoice::Cpu,
    });
    let task = evaluate::Task { model, clips, labels, predictions, providers: providers.collect() };
    let report = wiring::evaluate(&task)?;
    show(&if json { format!("{:#}\n", report.to_json()) } else { report.to_string() })?;
    Ok(if report.is_complete() { Exit::Stopped } else { Exit::Unanswered })
}

/// Writes to standard output. If it was closed, as `head` does, that is no error.
fn show(text: &str) -> Result<Exit, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(err) if err.kind() != io::ErrorKind::BrokenPipe => Err(Failure::new(Exit::Internal, err)),
        _ => Ok(Exit::Stopped),
    }
}

fn process(name: ProcessName) -> Result<Exit, Failure> {
    logging::start(name.as_str());
    process::run(name, wiring::processes(), Arc::new(SystemClock)).map_err(|err| {
        let exit = if matches!(err, process::Error::NotStartedByParent) { Exit::Usage } else { Exit::Internal };
        Failure::new(exit, err)
    })
}

/// Checks everything that can be checked without a camera, a broker or ONNX Runtime.
fn check(files: &[PathBuf]) -> Result<Exit, Failure> {
    let unfit = |text| Failure::new(Exit::Configuration, text);
    let summary = wiring::check(files).map_err(unfit)?;
    let (config, model) = wiring::load_here(files).map_err(unfit)?;
    lock::check(&config.state_dir).map_err(|err| unfit(err.to_string()))?;
    ResolvedConfig::read(config, model).map_err(|faults| unfit(supervisor::Error::Secrets(faults).to_string()))?;
    show(&summary)
}

fn load(files: &[PathBuf]) -> Result<(Config, ModelFacts), Failure> {
    wiring::load(files).map_err(|text| Failure::new(Exit::Configuration, text))
}

fn daemon(files: Vec<PathBuf>) -> Result<Exit, Failure> {
    logging::start("");
    let internal = |err: &dyn std::error::Error| Failure::new(Exit::Internal, err);
    // First of all: a SIGUSR1 that comes while the configuration is read must pause later, and not end the process.
    let signals = signals::listen(HangupAction::Reload).map_err(|err| internal(&err))?;
    let (config, model) = load(&files)?;
    let _lock = lock_state_dir(&config.state_dir)?;
    info!("edge-ger {}: {} cameras, network {}", env!("CARGO_PKG_VERSION"), config.cameras.len(), model.name);
    // This process has the passwords of the broker and the cameras.
    sandbox::enter(sandbox::Profile::Networked).map_err(|err| internal(&err))?;
    let reload: Reload = Box::new(move || wiring::load(&files));
    let (program, asks, clock) = (Program::default(), crossbeam_channel::never(), Arc::new(SystemClock));
    supervise(config, model, Options { sink: Sink::Publish, program, signals, asks, reload, clock })
}

fn lock_state_dir(state_dir: &Path) -> Result<lock::Lock, Failure> {
    lock::take(state_dir).map_err(|err| {
        let exit = match err {
            lock::Error::Held { .. } => Exit::AlreadyRunning,
            lock::Error::Unusable { .. } => Exit::Configuration,
        };
        Failure::new(exit, err)
    })
}

fn supervise(config: Config, model: ModelFacts, options: Options) -> Result<Exit, Failure> {
    supervisor::run(config, model, options).map_err(|err| Failure::new(err.exit(), err))?;
    info!("stopped");
    Ok(Exit::Stopped)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn arguments_are_accepted_or_rejected() {
        let check = |line: &str, accepted: bool| {
            let arguments = line.split_whitespace();
            assert_eq!(Arguments::try_parse_from(arguments).is_ok(), accepted, "{line}");
        };
        check("edge-ger a.toml b.toml folder", true);
        check("edge-ger --dry-run a.toml", true);
        check("edge-ger --dry-run --slots 3 a.toml", true);
        check("edge-ger --slots 3 a.toml", false);
        check("edge-ger --dry-run --slots 0 a.toml", false);
        check("edge-ger --dry-run --json --clap --baseline 24 --report r.html --patch p.toml a.toml b.toml", true);
        check("edge-ger --dry-run --baseline 11 a.toml", false);
        check("edge-ger --report r.html a.toml", false);
        check("edge-ger --dry-run", false);
        check("edge-ger check a.toml", true);
        check("edge-ger check", false);
        check("edge-ger model inspect m.onnx", true);
        check("edge-ger model verify m.onnx", true);
        check("edge-ger model", false);
        check("edge-ger evaluate m.onnx clips labels.csv", true);
        check("edge-ger evaluate m.onnx clips labels.csv --predictions p.csv --json --provider cuda,cpu", true);
        check("edge-ger evaluate m.onnx clips", false);
        check("edge-ger evaluate m.onnx clips labels.csv --provider gpu", false);
        check("edge-ger watch mqtt://broker --password-file p --json", true);
        check("edge-ger watch mqtts://anna@broker/p --ca-file c --certificate-file a --key-file b --once", true);
        check("edge-ger watch mqtts://broker --key-file b", false);
        check("edge-ger watch mqtt://broker --json --once", false);
        check("edge-ger watch", false);
        check("edge-ger pause folder", true);
        check("edge-ger pause --for 90m a.toml b.toml", true);
        check("edge-ger pause --for 90 a.toml", false);
        check("edge-ger pause --for 400d a.toml", false);
        check("edge-ger pause", false);
        check("edge-ger pause --file paused", true);
        check("edge-ger resume --file paused a.toml", false);
        check("edge-ger resume --for 1h a.toml", false);
        check("edge-ger resume a.toml", true);
        check("edge-ger demo --seconds 45", true);
        check("edge-ger demo --seconds 0", false);
        check("edge-ger --version", true);
        check("edge-ger process ingest", true);
        check("edge-ger process kitchen", false);
        check("edge-ger --verbose a.toml", false);
    }
}
