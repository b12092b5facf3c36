//! `make bench`: what the daemon costs, beside the Python script that a user would write, in the same run.
//!
//! Both watch the same cameras (1080p25 H.264 with a key frame every second: one at 2 Mbit/s without sound, one at
//! 4 Mbit/s with AAC) with the same network, which costs next to nothing, so that what is left is everything but
//! inference. Then the daemon runs once more with the shipped network, for its memory and for the delay that it adds to
//! inference. Nothing here passes or fails: the goals are printed beside the figures.
//!
//! The environment may say `BENCH_SECONDS` (how long each run is measured after the network's first answer; 60),
//! `BENCH_BINARY` (another edge-ger) and `BENCH_NETWORK` (another network than the shipped one).

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a bench prints its table")]

mod broker;
mod camera;
mod measure;
mod process;
mod report;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use camera::Kind;
use measure::Measured;
use report::Row;

/// What stopped the bench. It is only ever shown.
pub(crate) type Fault = Box<dyn std::error::Error>;

/// Measures one program under this name.
type Run<'a> = dyn Fn(&str) -> Result<Measured, Fault> + 'a;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn main() -> ExitCode {
    let words: Vec<_> = env::args().collect();
    let done = match words.get(1..) {
        Some([mode, clip]) if mode == camera::MODE => camera::serve(Path::new(clip)),
        _ => bench(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("bench: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// All that is set up once and used by every run.
#[derive(Debug)]
struct Setting {
    /// The program under test.
    binary: PathBuf,
    /// The Python of the peer's environment.
    python: PathBuf,
    /// ONNX Runtime's library.
    runtime: PathBuf,
    /// How long each run is measured.
    length: Duration,
    /// Where files are kept from one bench to the next.
    kept: PathBuf,
    shipped: PathBuf,
    light: PathBuf,
}

fn bench() -> Result<(), Fault> {
    let setting = set_up()?;
    let folder = tempfile::tempdir()?;
    let broker = broker::Broker::start(folder.path())?;
    let camera = |kind: Kind| {
        let clip = setting.kept.join(kind.file());
        camera::encode(kind, &clip)?;
        camera::start(&clip)
    };
    let (plain, busy) = (camera(Kind::Plain)?, camera(Kind::Busy)?);
    report::head(setting.length);
    let url = |kind: Kind| match kind {
        Kind::Plain => &plain.1,
        Kind::Busy => &busy.1,
    };
    let daemon = |name: &str, kind: Kind, network: &Path| {
        let command = daemon_command(&setting, kind, url(kind), network, broker.port(), folder.path())?;
        Ok(measure::run(command, &broker, setting.length).map_err(|it| format!("{name}: {it}"))?)
    };
    let peer = |name: &str, kind: Kind, frames: &str| {
        let command = peer_command(&setting, kind, url(kind), broker.port(), frames);
        Ok(measure::run(command, &broker, setting.length).map_err(|it| format!("{name}: {it}"))?)
    };
    let runs: [(&'static str, &Run<'_>); 7] = [
        (report::PLAIN.daemon, &|name| daemon(name, Kind::Plain, &setting.light)),
        (report::PLAIN.peer, &|name| peer(name, Kind::Plain, "all")),
        (report::PLAIN.frugal_peer, &|name| peer(name, Kind::Plain, "wanted")),
        (report::BUSY.daemon, &|name| daemon(name, Kind::Busy, &setting.light)),
        (report::BUSY.peer, &|name| peer(name, Kind::Busy, "all")),
        (report::BUSY.frugal_peer, &|name| peer(name, Kind::Busy, "wanted")),
        (report::SHIPPED, &|name| daemon(name, Kind::Busy, &setting.shipped)),
    ];
    let mut rows = Vec::new();
    for (name, run) in runs {
        eprintln!("bench: {name} …");
        match run(name) {
            Ok(measured) => rows.push(Row { name, measured }),
            // The others are worth measuring all the same.
            Err(fault) => eprintln!("bench: {fault}"),
        }
    }
    report::table(&rows);
    report::processes(&rows);
    report::goals(&rows);
    if rows.len() == runs.len() { Ok(()) } else { Err("not everything could be measured".into()) }
}

fn set_up() -> Result<Setting, Fault> {
    let root = Path::new(ROOT);
    let or = |key: &str, default: PathBuf| env::var_os(key).map_or(default, PathBuf::from);
    let seconds = env::var("BENCH_SECONDS").unwrap_or_else(|_| "60".to_owned());
    let seconds: u32 = seconds.parse().map_err(|_| format!("BENCH_SECONDS is \"{seconds}\", not whole seconds"))?;
    let kept = root.join("target/bench");
    fs::create_dir_all(&kept)?;
    let setting = Setting {
        binary: or("BENCH_BINARY", env!("CARGO_BIN_EXE_edge-ger").into()),
        python: root.join("benches/.venv/bin/python"),
        runtime: or("ORT_DYLIB_PATH", root.join(".onnxruntime/libonnxruntime.so")),
        length: Duration::from_secs(seconds.into()),
        shipped: or("BENCH_NETWORK", root.join("models/edge-ger.onnx")),
        light: kept.join("light.onnx"),
        kept,
    };
    for needed in [&setting.binary, &setting.python, &setting.runtime, &setting.shipped] {
        if !needed.exists() {
            return Err(format!("{} is missing: `make bench` sets everything up", needed.display()).into());
        }
    }
    let made = Command::new(&setting.python)
        .arg(root.join("benches/peer/light.py"))
        .args([&setting.shipped, &setting.light])
        .status()?;
    if made.success() { Ok(setting) } else { Err("the light network could not be made".into()) }
}

/// The daemon as it is delivered: only what has no default is configured.
fn daemon_command(
    setting: &Setting,
    kind: Kind,
    url: &str,
    network: &Path,
    port: u16,
    folder: &Path,
) -> Result<Command, Fault> {
    let state = folder.join("state");
    fs::create_dir_all(&state)?;
    let file = folder.join("camera.toml");
    let text = format!(
        "[camera]\nurl = \"{url}\"\n\n[sound]\nsource = \"{}\"\n\n\
         [site]\ncontext = \"demo\"\nnotice = \"a bench: the camera shows a test picture, and nobody\"\n\n\
         [mqtt]\nhost = \"127.0.0.1\"\nport = {port}\n\n\
         [model]\nfile = \"{}\"\n\n[box]\nstate_dir = \"{}\"\n",
        sound(kind),
        network.display(),
        state.display(),
    );
    fs::write(&file, text)?;
    let mut command = Command::new(&setting.binary);
    command.arg(file).env("ORT_DYLIB_PATH", &setting.runtime);
    Ok(command)
}

fn peer_command(setting: &Setting, kind: Kind, url: &str, port: u16, frames: &str) -> Command {
    let mut command = Command::new(&setting.python);
    command.arg(Path::new(ROOT).join("benches/peer/peer.py"));
    command.args(["--url", url, "--mqtt-port", &port.to_string(), "--sound", sound(kind), "--frames", frames]);
    command.arg("--model").arg(&setting.light);
    command
}

/// Where the sound comes from, in the words of both programs.
const fn sound(kind: Kind) -> &'static str {
    match kind {
        Kind::Plain => "none",
        Kind::Busy => "camera",
    }
}
