//! The rungs of the ladder: how a session is set up on each.

use std::{
    env, fmt, fs, io,
    num::NonZero,
    path::{Path, PathBuf},
    thread,
};

use ort::{
    ep::{ArenaExtendStrategy, CPU, CUDA, ExecutionProviderDispatch, TensorRT, cuda::ConvAlgorithmSearch},
    logging::LogLevel,
    session::{self, builder::GraphOptimizationLevel},
};
use sha2::{Digest, Sha256};

use super::library;
use crate::{
    config::{Model, ProviderChoice},
    infer::contract::{Contract, ModelFile},
    wire::record::Provider,
};

/// More clips than this are run in parts: it bounds memory and TensorRT's shapes.
pub(super) const CLIPS_MAX: usize = 8;

/// Which rungs were refused, and why.
#[derive(Debug, Default)]
pub(crate) struct Refusals(pub(super) Vec<(Provider, String)>);

impl fmt::Display for Refusals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none is named");
        }
        let reasons: Vec<_> = self.0.iter().map(|(provider, why)| format!("{}: {why}", provider.as_str())).collect();
        f.write_str(&reasons.join("; "))
    }
}

/// The rung's name in records and messages.
pub(super) const fn provider(choice: ProviderChoice) -> Provider {
    match choice {
        ProviderChoice::TensorRt => Provider::TensorRt,
        ProviderChoice::Cuda => Provider::Cuda,
        ProviderChoice::Cpu => Provider::Cpu,
    }
}

/// A session on one rung, and the engine cache to keep if it proves right.
pub(super) struct ProviderSession {
    pub(super) session: session::Session,
    pub(super) engines: Option<EngineCache>,
}

/// Sets a session up on one rung. An error is the reason why it cannot be.
pub(super) fn open(
    choice: ProviderChoice,
    model: &Model,
    contract: &Contract,
    file: &ModelFile,
) -> Result<ProviderSession, String> {
    let environment = library::environment().map_err(|error| error.to_string())?;
    let engines = match choice {
        ProviderChoice::TensorRt => Some(
            EngineCache::prepare(&model.cache_dir(), &engine_key(contract, file))
                .map_err(|error| format!("{} cannot hold its engines: {error}", model.cache_dir().display()))?,
        ),
        _ => None,
    };
    let threads = match model.threads.get() {
        // ONNX Runtime's own default also pins its threads to cores, which containers forbid.
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        threads => threads,
    };
    let providers = dispatches(choice, contract, engines.as_ref());
    let build = || -> Result<session::Session, ort::Error> {
        session::Session::builder(&environment)?
            .with_log_level(LogLevel::Error)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(threads)?
            .with_inter_threads(1)?
            // Idle threads that spin would use the cores that decoding needs.
            .with_intra_op_spinning(false)?
            .with_inter_op_spinning(false)?
            // A plan for every batch size seen would be kept for ever.
            .with_memory_pattern(false)?
            .with_execution_providers(providers)?
            .commit_from_file(&*model.file)
    };
    match build() {
        Ok(session) => Ok(ProviderSession { session, engines }),
        Err(error) => {
            if let Some(engines) = engines {
                engines.discard();
            }
            // ONNX Runtime begins with its own source file and line.
            let text = error.message();
            Err(text.rsplit_once("was false. ").map_or(text, |(_, rest)| rest).trim().to_owned())
        }
    }
}

fn dispatches(
    choice: ProviderChoice,
    contract: &Contract,
    engines: Option<&EngineCache>,
) -> Vec<ExecutionProviderDispatch> {
    // TF32 would be off by more than the golden case allows; the heuristic search takes no minutes at start.
    let cuda = || {
        CUDA::default()
            .with_tf32(false)
            .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
            .with_arena_extend_strategy(ArenaExtendStrategy::SameAsRequested)
            .build()
            .error_on_failure()
    };
    match choice {
        // Without the arena a batch's memory goes back after the run; measured, it costs no time.
        ProviderChoice::Cpu => vec![CPU::default().with_arena_allocator(false).build().error_on_failure()],
        ProviderChoice::Cuda => vec![cuda()],
        ProviderChoice::TensorRt => {
            let mut tensorrt = TensorRT::default().with_fp16(contract.half);
            if let Some(engines) = engines {
                let folder = engines.folder().display().to_string();
                tensorrt = tensorrt
                    .with_engine_cache(true)
                    .with_engine_cache_path(&folder)
                    .with_timing_cache(true)
                    .with_timing_cache_path(&folder);
            }
            if contract.batch == crate::infer::contract::Batch::Any {
                tensorrt = tensorrt
                    .with_profile_min_shapes(shapes(contract, 1))
                    .with_profile_opt_shapes(shapes(contract, 1))
                    .with_profile_max_shapes(shapes(contract, CLIPS_MAX));
            }
            // What TensorRT does not know stays on the GPU.
            vec![tensorrt.build().error_on_failure(), cuda()]
        }
    }
}

/// TensorRT's notation for the shapes of a batch.
fn shapes(contract: &Contract, clips: usize) -> String {
    let written = |name: &str, shape: Vec<usize>| {
        format!("{name}:{}", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join("x"))
    };
    let mut shapes = vec![written("video", contract.video_shape(clips))];
    shapes.extend(contract.sound_shape(clips).map(|shape| written("sound", shape)));
    if contract.sound_len() != 0 && contract.sound.missing == crate::infer::contract::Missing::Mask {
        shapes.push(written(super::graph::PRESENT, vec![clips, 2]));
    }
    shapes.join(",")
}

/// All that a TensorRT engine depends on. ONNX Runtime takes any engine that it finds.
fn engine_key(contract: &Contract, file: &ModelFile) -> String {
    let precision = if contract.half { "fp16" } else { "fp32" };
    let mut hash = Sha256::new();
    for part in [&file.sha256_hex(), ort::info(), &tensorrt_version(), &gpu(), precision, &shapes(contract, CLIPS_MAX)]
    {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The full names of the installed `libnvinfer.so.*`: they end in TensorRT's version.
fn tensorrt_version() -> String {
    let configured = env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    let fixed = ["/usr/lib/aarch64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/usr/local/lib", "/usr/lib"];
    let folders = env::split_paths(&configured).chain(fixed.map(PathBuf::from));
    let mut names: Vec<_> = folders
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .filter_map(|path| path.file_name()?.to_str().map(str::to_owned))
        .filter(|name| name.starts_with("libnvinfer.so."))
        .collect();
    names.sort();
    names.dedup();
    names.join(",")
}

/// Which GPU and driver this machine has, as the driver or the device tree says.
fn gpu() -> String {
    let model = fs::read_to_string("/proc/device-tree/model").unwrap_or_default();
    let driver = fs::read_to_string("/proc/driver/nvidia/version").unwrap_or_default();
    let cards = fs::read_dir("/proc/driver/nvidia/gpus").into_iter().flatten().filter_map(Result::ok);
    let cards = cards.filter_map(|card| fs::read_to_string(card.path().join("information")).ok());
    let mut names: Vec<_> = cards
        .flat_map(|text| text.lines().filter(|line| line.starts_with("Model:")).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    names.sort();
    format!("{model}{driver}{}", names.join(","))
}

/// Where TensorRT's engines lie: a folder for each key, which appears only when it is complete and proven.
#[derive(Debug)]
pub(super) struct EngineCache {
    /// The final folder.
    kept: PathBuf,
    /// Where they are built, if they are not there yet.
    building: Option<PathBuf>,
}

impl EngineCache {
    fn prepare(cache_dir: &Path, key: &str) -> io::Result<Self> {
        let kept = cache_dir.join(format!("tensorrt-{key}"));
        if kept.is_dir() {
            return Ok(Self { kept, building: None });
        }
        let building = cache_dir.join(format!(".tensorrt-{key}.partial"));
        // Left over from a build that was cut off. One instance per state directory, so nobody else is at it.
        if building.exists() {
            fs::remove_dir_all(&building)?;
        }
        fs::create_dir_all(&building)?;
        Ok(Self { kept, building: Some(building) })
    }

    fn folder(&self) -> &Path {
        self.building.as_ref().unwrap_or(&self.kept)
    }

    /// The engines gave the right answers: the next start may use them.
    pub(super) fn keep(self) {
        if let Some(building) = self.building
            && let Err(error) = fs::rename(&building, &self.kept)
        {
            tracing::warn!(%error, cache = %self.kept.display(), "TensorRT's engines could not be kept; the next start builds them again");
        }
    }

    /// They did not: they are built again next time.
    pub(super) fn discard(self) {
        let folder = self.folder();
        if let Err(error) = fs::remove_dir_all(folder) {
            tracing::warn!(%error, cache = %folder.display(), "wrong TensorRT engines could not be removed; remove them by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_appear_only_when_they_are_proven() {
        let cache = tempfile::tempdir().unwrap();
        let first = EngineCache::prepare(cache.path(), "k").unwrap();
        fs::write(first.folder().join("a.engine"), "half").unwrap();
        drop(first);
        let kept = cache.path().join("tensorrt-k");
        assert!(!kept.exists(), "a build that was cut off is not kept");

        let second = EngineCache::prepare(cache.path(), "k").unwrap();
        assert!(!second.folder().join("a.engine").exists(), "and not taken up");
        fs::write(second.folder().join("b.engine"), "whole").unwrap();
        second.keep();
        assert!(kept.join("b.engine").exists());

        let third = EngineCache::prepare(cache.path(), "k").unwrap();
        assert_eq!(third.folder(), kept);
        third.discard();
        assert!(!kept.exists(), "engines that answer wrongly go");
    }
}
