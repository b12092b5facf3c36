//! A worker as a process: starts it, reads its reports, and ends it.

use std::{
    collections::BTreeMap,
    env,
    ffi::{OsStr, OsString},
    io,
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::process::{CommandExt as _, ExitStatusExt as _},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::Duration,
};

use crossbeam_channel::Sender;
use rustix::{
    net::sockopt::{Timeout, set_socket_timeout},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use tracing::{debug, warn};

use super::plan::Event;
use crate::{
    service::logging,
    wire::{
        control::{self, Control, Order, Report},
        process::ProcessName,
    },
};

/// Sending an order blocks only when the socket is full of orders that the worker has not read: it is taken to hang.
const ORDER_TIMEOUT: Duration = Duration::from_millis(200);

/// The executable of the workers.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    /// Its path.
    pub path: PathBuf,
    /// Its arguments.
    pub args: fn(ProcessName) -> Vec<OsString>,
}

impl Default for Program {
    /// The running executable itself, as `edge-ger process NAME`. Through `/proc/self/exe`, so that after an upgrade,
    /// which replaces the file, no worker has another version than its parent.
    fn default() -> Self {
        Self { path: "/proc/self/exe".into(), args: |name| vec!["process".into(), name.as_str().into()] }
    }
}

/// A running worker process.
#[derive(Debug)]
pub(super) struct Worker {
    control: Control,
    process: OwnedFd,
}

impl Worker {
    /// Starts a process and sends its configuration as the first order. Its reports and its end come as events, with
    /// its `generation`: which start of this process it is.
    ///
    /// # Errors
    /// When the system gives no process, socket or thread. What was started is ended.
    pub(super) fn start(
        program: &Program,
        (name, generation): (ProcessName, u32),
        first_order: &Order,
        ends: &[OwnedFd],
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let (ours, theirs) = control::pair()?;
        let mut command = Command::new(&program.path);
        command.args((program.args)(name)).arg0("edge-ger");
        command.env_clear().envs(environment(name, env::vars_os())).envs(logging::for_workers());
        // A process group of its own, so that Ctrl-C signals only the parent, which stops the workers in their order.
        command.process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let mut child = command.spawn()?;
        // Closes the parent's copy of the worker's end, so that reading ends when the worker does.
        drop(command);
        let attached = Self::attach(&child, ours, first_order, ends).and_then(|(worker, control)| {
            let process = worker.process.try_clone()?;
            Ok((worker, control, process))
        });
        let (worker, control, process) = match attached {
            Ok(attached) => attached,
            Err(err) => {
                // There is no thread yet that would wait for it.
                child.kill()?;
                child.wait()?;
                return Err(err);
            }
        };
        let watch = move || {
            let status = watch((name, generation), &control, process.as_fd(), &mut child, &events);
            // Without a receiver the parent is ending itself.
            events.send(Event::Exited(name, generation, status)).ok();
        };
        match thread::Builder::new().name(format!("watch {name}")).spawn(watch) {
            Ok(_) => Ok(worker),
            Err(err) => {
                worker.kill();
                Err(err)
            }
        }
    }

    fn attach(child: &Child, control: Control, first_order: &Order, ends: &[OwnedFd]) -> io::Result<(Self, Control)> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        // A pidfd: a process number can be that of another process by the time it is used.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let descriptor = OwnedFd::from(control);
        set_socket_timeout(&descriptor, Timeout::Send, Some(ORDER_TIMEOUT))?;
        let control = Control::from(descriptor);
        let worker = Self { control: control.try_clone()?, process };
        worker.order(first_order, ends)?;
        Ok((worker, control))
    }

    /// Sends an order and the descriptors that belong to it.
    ///
    /// # Errors
    /// When the worker has ended or does not read its orders.
    pub(super) fn order(&self, order: &Order, ends: &[OwnedFd]) -> io::Result<()> {
        let ends: Vec<BorrowedFd<'_>> = ends.iter().map(OwnedFd::as_fd).collect();
        self.control.send(order, &ends)
    }

    /// LinkEnds the process at once.
    pub(super) fn kill(&self) {
        kill(self.process.as_fd());
    }
}

fn kill(process: BorrowedFd<'_>) {
    if let Err(err) = pidfd_send_signal(process, Signal::KILL) {
        debug!(%err, "the process had ended before it was killed");
    }
}

/// Forwards the reports until the worker closes its socket, waits for its end, and returns its exit code or signal. One
/// thread does both, so that a refusal always comes before the end that follows it.
fn watch(
    (name, generation): (ProcessName, u32),
    control: &Control,
    process: BorrowedFd<'_>,
    child: &mut Child,
    events: &Sender<Event>,
) -> String {
    loop {
        match control.receive::<Report>() {
            Ok(Some((report, _))) => {
                if events.send(Event::Report(name, generation, report)).is_err() {
                    break;
                }
            }
            Ok(None) => break,
            // A process that was killed while it had unread orders.
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => break,
            Err(err) => {
                warn!(process = %name, %err, "a report cannot be read: killed");
                kill(process);
                break;
            }
        }
    }
    match child.wait() {
        Ok(status) => describe(status),
        Err(err) => format!("unknown: {err}"),
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// The environment variables of the parent that a worker gets. GStreamer's debugging variables are not among them: its
/// output and its dumps contain passwords.
fn environment(name: ProcessName, all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    const EVERY_WORKER: &[&str] = &[
        "PATH",
        "HOME",
        "LANG",
        "RUST_BACKTRACE",
        "EDGE_GER_LOG",
        "JOURNAL_STREAM",
        "LD_LIBRARY_PATH",
        "XDG_CACHE_HOME",
    ];
    const MEDIA: &[&str] =
        &["GST_PLUGIN_PATH", "GST_PLUGIN_SYSTEM_PATH", "GST_PLUGIN_SCANNER", "GST_REGISTRY", "GST_REGISTRY_1_0"];
    const INFER: &[&str] = &["ORT_DYLIB_PATH", "XDG_RUNTIME_DIR", "PIPEWIRE_RUNTIME_DIR", "PIPEWIRE_REMOTE"];
    const INFER_PREFIXES: &[&str] = &["PULSE_", "ALSA_", "CUDA_", "NVIDIA_"];
    let allowed = |key: &OsStr| {
        let Some(key) = key.to_str() else { return false };
        let infer = || INFER.contains(&key) || INFER_PREFIXES.iter().any(|prefix| key.starts_with(prefix));
        EVERY_WORKER.contains(&key)
            || (name != ProcessName::Publish && MEDIA.contains(&key))
            || (name == ProcessName::Infer && infer())
    };
    let mut environment: BTreeMap<_, _> = all.filter(|(key, _)| allowed(key)).collect();
    if name == ProcessName::Infer {
        // Later ONNX Runtimes (seen: 1.31.1) collect usage data in the user's cache and send it. This process has no
        // network to send it, and must not write it either.
        environment.insert("ORT_DISABLE_TELEMETRY".into(), "1".into());
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_inherit_only_the_environment_that_they_need() {
        let parent = [
            "PATH",
            "GST_DEBUG",
            "GST_DEBUG_DUMP_DOT_DIR",
            "GST_DEBUG_FILE",
            "GST_REGISTRY",
            "PULSE_SERVER",
            "CUDA_CACHE_PATH",
            "ORT_DYLIB_PATH",
            "EDGE_GER__MQTT__HOST",
            "NOTIFY_SOCKET",
            "CREDENTIALS_DIRECTORY",
            "EDGE_GER_LOG",
            "LD_PRELOAD",
        ];
        let check = |name, expected: &[&str]| {
            let all = parent.iter().map(|key| (OsString::from(key), OsString::from("x")));
            let got: Vec<_> = environment(name, all).into_keys().collect();
            assert_eq!(got, expected, "{name}");
        };
        check(ProcessName::Publish, &["EDGE_GER_LOG", "PATH"]);
        check(ProcessName::Ingest, &["EDGE_GER_LOG", "GST_REGISTRY", "PATH"]);
        let infer = [
            "CUDA_CACHE_PATH",
            "EDGE_GER_LOG",
            "GST_REGISTRY",
            "ORT_DISABLE_TELEMETRY",
            "ORT_DYLIB_PATH",
            "PATH",
            "PULSE_SERVER",
        ];
        check(ProcessName::Infer, &infer);
    }
}
