//! Finds and loads ONNX Runtime's library, once per process.

use std::{
    env,
    fs::File,
    io::Read,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use ort::{environment::Environment, logging::LogLevel};

use super::{Error, version};

const FILE_NAME: &str = "libonnxruntime.so";
/// Where our package puts it.
const PACKAGED: &str = "/usr/lib/edge-ger/libonnxruntime.so";

/// The library that is loaded and its one environment, which must live as long as the process.
static LOADED: Mutex<Option<(PathBuf, Environment)>> = Mutex::new(None);

/// ONNX Runtime in this process.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Runtime;

impl Runtime {
    /// Loads the library: `library` if given, else `ORT_DYLIB_PATH` if set, else the first there is of: beside the
    /// binary, `../lib/edge-ger` from there, `.onnxruntime` in the repository that the binary was built in, and
    /// `/usr/lib/edge-ger`. A second call is allowed and finds it loaded.
    ///
    /// # Errors
    /// When there is none, it is no ONNX Runtime of at least 1.17 for this machine, or another one is loaded.
    pub(crate) fn init(library: Option<&Path>) -> Result<(), Error> {
        // The lock keeps two threads from loading at once.
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let named = library.map(Path::to_path_buf);
        let named = named.or_else(|| env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from));
        if named.is_none() && loaded.is_some() {
            return Ok(());
        }
        let places = named.map_or_else(|| places(env::current_exe().ok().as_deref()), |file| vec![file]);
        let Some(file) = places.iter().find(|place| place.exists()).and_then(|place| place.canonicalize().ok()) else {
            return Err(Error::LibraryMissing { searched: places });
        };
        match &*loaded {
            Some((loaded, _)) if *loaded == file => return Ok(()),
            Some((loaded, _)) => {
                check(&file)?;
                return Err(Error::OtherLibrary { asked: file, loaded: loaded.clone() });
            }
            None => {}
        }
        let environment = load(&file)?;
        *loaded = Some((file, environment));
        Ok(())
    }

    /// What the library says of itself: its version among other things. `None` before [`Runtime::init`].
    #[must_use]
    pub(crate) fn info() -> Option<&'static str> {
        let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.is_some().then(ort::info)
    }

    /// The library's version: major, minor, patch. `None` before [`Runtime::init`], or where it does not tell.
    #[must_use]
    pub(crate) fn version() -> Option<[u32; 3]> {
        let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let (file, _) = loaded.as_ref()?;
        File::open(file).and_then(version::find).ok().flatten()
    }
}

/// The one environment.
pub(super) fn environment() -> Result<Environment, Error> {
    let loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
    loaded.as_ref().map(|(_, environment)| environment.clone()).ok_or(Error::NotLoaded)
}

fn load(file: &Path) -> Result<Environment, Error> {
    check(file)?;
    let fault = |reason: String| Error::Library { file: file.to_path_buf(), reason };
    let builder = ort::init_from(file).map_err(|error| fault(error.to_string()))?;
    let environment = builder
        .with_name("edge-ger")
        .with_telemetry(false)
        .build()
        .map_err(|error| fault(error.message().to_owned()))?;
    environment.set_log_level(LogLevel::Warning);
    tracing::debug!(library = %file.display(), info = ort::info(), "ONNX Runtime is loaded");
    Ok(environment)
}

/// Says it in plain words before the dynamic linker does in its own.
fn check(file: &Path) -> Result<(), Error> {
    let fault = |reason: &str| Err(Error::Library { file: file.to_path_buf(), reason: reason.to_owned() });
    let mut magic = [0; 4];
    match File::open(file).and_then(|mut library| library.read_exact(&mut magic)) {
        Ok(()) if magic == *b"\x7fELF" => Ok(()),
        Ok(()) => fault("it is not a shared library"),
        Err(error) => fault(&format!("it cannot be read ({error})")),
    }
}

fn places(binary: Option<&Path>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    if let Some(folder) = binary.and_then(Path::parent) {
        places.push(folder.join(FILE_NAME));
        places.push(folder.join("../lib/edge-ger").join(FILE_NAME));
        let target = folder.ancestors().find(|ancestor| ancestor.file_name().is_some_and(|name| name == "target"));
        places.extend(target.and_then(Path::parent).map(|repository| repository.join(".onnxruntime").join(FILE_NAME)));
    }
    places.push(PathBuf::from(PACKAGED));
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installed_and_a_built_binary_look_where_they_should() {
        let check = |binary: Option<&str>, wanted: &[&str]| {
            let wanted: Vec<_> = wanted.iter().map(PathBuf::from).collect();
            assert_eq!(places(binary.map(Path::new)), wanted);
        };
        check(
            Some("/opt/bin/edge-ger"),
            &["/opt/bin/libonnxruntime.so", "/opt/bin/../lib/edge-ger/libonnxruntime.so", PACKAGED],
        );
        check(
            Some("/src/edge-ger/target/release/edge-ger"),
            &[
                "/src/edge-ger/target/release/libonnxruntime.so",
                "/src/edge-ger/target/release/../lib/edge-ger/libonnxruntime.so",
                "/src/edge-ger/.onnxruntime/libonnxruntime.so",
                PACKAGED,
            ],
        );
        check(None, &[PACKAGED]);
    }

    #[test]
    fn what_is_no_library_is_told_in_plain_words() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("libonnxruntime.so");
        let check = |content: &[u8], wanted: &str| {
            std::fs::write(&file, content).unwrap();
            let error = Runtime::init(Some(&file)).unwrap_err().to_string();
            assert!(error.contains(wanted) && error.contains("libonnxruntime.so of version"), "{error}");
        };
        check(b"hello, I am a text", "not a shared library");
        check(b"", "cannot be read");
        let error = Runtime::init(Some(&folder.path().join("none.so"))).unwrap_err().to_string();
        assert!(error.contains("none.so") && error.contains("model.runtime_library"), "{error}");
    }

    #[test]
    fn a_library_without_onnx_runtime_in_it_is_refused() {
        // Every Linux has this one, and it is none.
        let others = ["/lib/x86_64-linux-gnu/libm.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "/usr/lib/libm.so.6"];
        let other = others.iter().map(Path::new).find(|path| path.exists()).expect("a C library");
        let error = load(other).unwrap_err().to_string();
        assert!(error.contains("OrtGetApiBase"), "{error}");
    }
}
