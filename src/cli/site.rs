//! `--dry-run`: its options, the run, and the files that it writes.

use std::{fs, ops::ControlFlow, path::PathBuf, sync::Arc, thread};

use clap::Args;
use crossbeam_channel::bounded;
use tracing::{info, warn};

use super::{Failure, show, wiring};
use crate::{
    calibrate::{
        Site,
        baseline::WINDOWS_MIN,
        facts::Facts,
        files,
        grade::Grade,
        html, json, patch,
        script::Wanted,
        session::{Output, Session},
        settings::{self, Setting},
        system::System,
        text,
        verdict::counts,
    },
    sandbox,
    service::{
        Exit, logging,
        signals::{self, HangupAction},
    },
    supervisor::{self, Reload, Sink, worker::Program},
    terminal::Terminal,
    time::{Clock, SystemClock},
};

/// Records that wait for the view; it takes them several times a second.
const RECORDS: usize = 1024;
/// Requests that wait for the parent: a clap test of every camera at most.
const REQUESTS: usize = 256;

#[derive(Args, Debug)]
pub(super) struct Options {
    /// End after N slots of each camera
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = clap::value_parser!(u64).range(1..))]
    slots: Option<u64>,
    /// Print one JSON object per line instead of showing a view
    #[arg(long, requires = "dry_run")]
    json: bool,
    /// Begin with a clap test on every camera that has sound, without a key press
    #[arg(long, requires = "dry_run")]
    clap: bool,
    /// Measure N windows of the empty place, then N of the place as usual, without a key press
    #[arg(long, value_name = "N", requires = "dry_run", value_parser = clap::value_parser!(u32).range(WINDOWS_MIN as i64..=10_000))]
    baseline: Option<u32>,
    /// Write a report, one HTML file; an older report of this name is replaced
    #[arg(long, value_name = "SITE.html", requires = "dry_run")]
    report: Option<PathBuf>,
    /// Write a copy of the configuration with the keys that were measured; of several files, a folder of copies
    #[arg(long, value_name = "PATCHED.toml", requires = "dry_run")]
    patch: Option<PathBuf>,
}

/// Takes no lock and keeps no state, so that it may run beside the daemon, if the camera serves both.
pub(super) fn dry_run(options: Options, paths: Vec<PathBuf>) -> Result<Exit, Failure> {
    logging::start("");
    let internal = |err: &dyn std::error::Error| Failure::new(Exit::Internal, err);
    // From here on Ctrl-C ends the run with a report.
    let received = signals::listen(HangupAction::Stop).map_err(|err| internal(&err))?;
    options.may_write().map_err(|err| Failure::new(Exit::Usage, err))?;
    let read = wiring::site(&paths).map_err(|text| Failure::new(Exit::Configuration, text))?;
    let system = System::read();
    // Broker and camera passwords pass through here.
    sandbox::enter(sandbox::Profile::Networked).map_err(|err| internal(&err))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let cores = thread::available_parallelism().map_or(1, |it| u32::try_from(it.get()).unwrap_or(u32::MAX));
    let facts = Facts::new(&read.config, read.network, system, clock.wall_ms(), cores);
    let output = options.output().map_err(|err| internal(&err))?;
    let (sender, events) = bounded(RECORDS);
    let (requests, to_parent) = bounded(REQUESTS);
    let (parent, signals) = bounded(1);
    let wanted = Wanted { slots: options.slots, clap: options.clap, baseline: options.baseline };
    let site = Site::new(facts, clock.now());
    let session =
        Session { site, wanted, output, events, signals: received, requests, parent, clock: Arc::clone(&clock) };
    let session = thread::Builder::new().name("session".into()).spawn(move || session.run());
    let session = session.map_err(|err| internal(&err))?;
    let take = move |event| if sender.send(event).is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
    let reload: Reload = Box::new(move || wiring::load(&paths));
    let run = supervisor::Options {
        sink: Sink::Here(Box::new(take)),
        program: Program::default(),
        signals,
        asks: to_parent,
        reload,
        clock,
    };
    let ended = supervisor::run(read.config, read.model, run);
    let (site, tail) = session.join().map_err(|_| Failure::new(Exit::Internal, "the view ended with a panic"))?;
    if let Some(tail) = tail {
        tail.wait();
    }
    ended.map_err(|err| Failure::new(err.exit(), err))?;
    options.leave(&site, &read.files, &read.camera_files)
}

impl Options {
    fn may_write(&self) -> Result<(), files::Error> {
        self.report.iter().try_for_each(|it| files::may_report(it))?;
        self.patch.iter().try_for_each(|it| files::may_patch(it))
    }

    fn output(&self) -> std::io::Result<Output> {
        Ok(match self.json {
            true => Output::Json,
            false if Terminal::is_possible() => Output::View(Terminal::enter()?),
            false => Output::Lines,
        })
    }

    /// Writes the files first and prints the result then, because the terminal may have been closed.
    fn leave(&self, site: &Site, files: &[PathBuf], camera_files: &[PathBuf]) -> Result<Exit, Failure> {
        let internal = |err: files::Error| Failure::new(Exit::Internal, err);
        if let Some(path) = &self.report {
            files::write_report(path, &html::report(site)).map_err(internal)?;
        }
        if let Some(path) = &self.patch {
            write_patch(path, site, files, camera_files)?;
        }
        show(&if self.json {
            json::end(site).iter().map(|line| format!("{line}\n")).collect()
        } else {
            text::report(site)
        })?;
        if let Some(path) = &self.report {
            info!("the report is in {}", path.display());
        }
        let verdicts = site.verdicts();
        let [.., fail, _] = counts(verdicts.iter().flat_map(|(_, items)| items));
        debug_assert_eq!(Grade::ALL[2], Grade::Fail);
        Ok(if fail == 0 { Exit::Stopped } else { Exit::Unanswered })
    }
}

/// One file becomes one file, several become a folder.
fn write_patch(path: &PathBuf, site: &Site, files: &[PathBuf], camera_files: &[PathBuf]) -> Result<(), Failure> {
    let internal = |text: String| Failure::new(Exit::Internal, text);
    let found = settings::fitted_keys(site).settings;
    if files.len() != 1 {
        fs::create_dir(path).map_err(|err| internal(format!("{}: {err}", path.display())))?;
    }
    let mut texts = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).map_err(|err| internal(format!("{}: {err}", file.display())))?;
        texts.push((file, text));
    }
    let with = |section: &str| texts.iter().find(|(_, text)| patch::has_section(text, section)).map(|(file, _)| *file);
    let home = |setting: &Setting| match setting.camera {
        Some(camera) => camera_files.get(usize::from(camera.0)),
        None => with(setting.section).or(camera_files.first()),
    };
    for (file, text) in &texts {
        let of_file = found.iter().filter(|it| home(it).is_some_and(|home| home == *file));
        let new = patch::patched(text, of_file).map_err(|err| internal(format!("{}: {err}", file.display())))?;
        let into = if files.len() == 1 { path.clone() } else { path.join(file.file_name().unwrap_or_default()) };
        files::write_patch(&into, &new).map_err(|err| internal(err.to_string()))?;
    }
    info!("{} keys were set in {}", found.len(), path.display());
    if let Err(faults) = wiring::accepts(std::slice::from_ref(path)) {
        warn!("as it lies there the patch has faults; relative paths in it begin at its folder");
        faults.lines().for_each(|it| warn!("{it}"));
    }
    Ok(())
}
