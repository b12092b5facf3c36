//! The versions of the program and its libraries and the machine that a report was measured with.
//! Neither the machine's name nor any number of it is among them.

use std::{env::consts::ARCH, fs, path::Path};

use crate::wire::control::Libraries;

/// The machine and its system, as they were when the run began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// The distribution, in its own words.
    pub os: String,
    /// The kernel's name and release.
    pub kernel: String,
    /// What the program was built for.
    pub architecture: &'static str,
    /// The board, or else the processor.
    pub machine: String,
}

const UNKNOWN: &str = "unknown";

impl System {
    /// Asks the system. What it does not tell is unknown.
    #[must_use]
    pub(crate) fn read() -> Self {
        let kernel = rustix::system::uname();
        let [name, release] = [kernel.sysname(), kernel.release()].map(|it| it.to_string_lossy().into_owned());
        let text = |path: &str| fs::read_to_string(Path::new(path)).ok();
        let release_file = text("/etc/os-release").or_else(|| text("/usr/lib/os-release"));
        let board = text("/proc/device-tree/model").map(|it| it.trim_end_matches('\0').to_owned());
        let machine = board.or_else(|| processor(&text("/proc/cpuinfo")?));
        Self {
            os: release_file.and_then(|it| pretty_name(&it)).unwrap_or_else(|| UNKNOWN.into()),
            kernel: format!("{name} {release}"),
            architecture: ARCH,
            machine: machine.unwrap_or_else(|| UNKNOWN.into()),
        }
    }
}

/// `PRETTY_NAME` of os-release(5).
fn pretty_name(text: &str) -> Option<String> {
    let value = text.lines().find_map(|it| it.strip_prefix("PRETTY_NAME="))?;
    Some(value.trim_matches(['"', '\'']).to_owned()).filter(|it| !it.is_empty())
}

/// What the first processor calls itself. Those of ARM do not.
fn processor(text: &str) -> Option<String> {
    let (_, value) =
        text.lines().find_map(|it| it.split_once(':').filter(|(key, _)| key.trim_end() == "model name"))?;
    Some(value.trim().to_owned()).filter(|it| !it.is_empty())
}

/// The libraries' names and versions: unknown before they are loaded.
#[must_use]
pub(crate) fn libraries(found: Option<&Libraries>) -> [(&'static str, String); 2] {
    let unknown = || UNKNOWN.to_owned();
    let gstreamer = found.map_or_else(unknown, |it| match it.gstreamer {
        // A fourth number is of a development version.
        [major, minor, micro, 0] => dotted(&[major, minor, micro]),
        all => dotted(&all),
    });
    let onnx_runtime = found.and_then(|it| it.onnx_runtime).map_or_else(unknown, |it| dotted(&it));
    [("GStreamer", gstreamer), ("ONNX Runtime", onnx_runtime)]
}

/// A version as it is written.
#[must_use]
pub(crate) fn dotted(numbers: &[u32]) -> String {
    numbers.iter().map(ToString::to_string).collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_named_by_what_it_says() {
        let os = "ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\nHOME_URL=\"x\"\n";
        assert_eq!(pretty_name(os).as_deref(), Some("Debian GNU/Linux 12 (bookworm)"));
        assert_eq!(pretty_name("PRETTY_NAME=\n"), None);
        assert_eq!(
            processor("processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nmodel\t: 7\n").unwrap(),
            "Some CPU @ 2 GHz"
        );
        assert_eq!(processor("processor\t: 0\nBogoMIPS\t: 50.00\n"), None);
    }

    #[test]
    fn versions_are_written_with_dots() {
        let told = |gstreamer, onnx_runtime| {
            libraries(Some(&Libraries { gstreamer, onnx_runtime })).map(|(_, version)| version)
        };
        assert_eq!(told([1, 22, 0, 0], Some([1, 23, 2])), ["1.22.0", "1.23.2"]);
        assert_eq!(told([1, 27, 1, 1], None), ["1.27.1.1", "unknown"]);
        assert_eq!(libraries(None).map(|(_, version)| version), ["unknown", "unknown"]);
    }
}
