//! A room as a process: starting it, watching it, ending it.

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

use super::{plan::Event, process::ProcessName};
use crate::{
    service::logging,
    wire::control::{self, Control, Order, Report},
};

/// A room that does not take an order for so long has more orders waiting than the kernel keeps: it hangs.
const ORDER: Duration = Duration::from_millis(200);

/// What is started as a room.
#[derive(Clone, Debug)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its arguments.
    pub args: fn(ProcessName) -> Vec<OsString>,
}

impl Default for Program {
    /// This very binary, `room NAME`: through the kernel's own handle on it, so that an upgrade on disk, which
    /// replaces the file, does not put rooms of one version beside a parent of another.
    fn default() -> Self {
        Self { path: "/proc/self/exe".into(), args: |name| vec!["room".into(), name.as_str().into()] }
    }
}

/// A room's process.
#[derive(Debug)]
pub struct Worker {
    control: Control,
    process: OwnedFd,
}

impl Worker {
    /// Starts the nth life of a room and gives it its first order. Its reports and its end come as events.
    ///
    /// # Errors
    /// When the system gives no process, socket or thread. Whatever was started has been ended then.
    pub fn start(
        program: &Program,
        (name, life): (ProcessName, u32),
        begin: &Order,
        ends: &[OwnedFd],
        events: Sender<Event>,
    ) -> io::Result<Self> {
        let (ours, theirs) = control::pair()?;
        let mut command = Command::new(&program.path);
        command.args((program.args)(name)).arg0("edge-ger");
        command.env_clear().envs(environment(name, env::vars_os())).envs(logging::for_rooms());
        // Its own group, so that Ctrl-C reaches the parent alone, which then stops the rooms in their order.
        command.process_group(0);
        command.stdin(Stdio::from(OwnedFd::from(theirs))).stdout(Stdio::null());
        let mut child = command.spawn()?;
        // Closes the parent's copy of the room's end, so that the room's death is heard.
        drop(command);
        let room = Self::take(&child, ours, begin, ends).and_then(|(room, control)| {
            let process = room.process.try_clone()?;
            Ok((room, control, process))
        });
        let (room, control, process) = match room {
            Ok(room) => room,
            Err(err) => {
                // Without a watcher nobody else would end it.
                child.kill()?;
                child.wait()?;
                return Err(err);
            }
        };
        let watch = move || {
            let how = watch((name, life), &control, process.as_fd(), &mut child, &events);
            // The parent does not listen any more: it is ending itself.
            events.send(Event::Exited(name, life, how)).ok();
        };
        match thread::Builder::new().name(format!("watch {name}")).spawn(watch) {
            Ok(_) => Ok(room),
            Err(err) => {
                room.kill();
                Err(err)
            }
        }
    }

    fn take(child: &Child, control: Control, begin: &Order, ends: &[OwnedFd]) -> io::Result<(Self, Control)> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::NotFound)?;
        // A handle, not a number: a number can be another process's by the time that it is used.
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let descriptor = OwnedFd::from(control);
        set_socket_timeout(&descriptor, Timeout::Send, Some(ORDER))?;
        let control = Control::from(descriptor);
        let room = Self { control: control.try_clone()?, process };
        room.order(begin, ends)?;
        Ok((room, control))
    }

    /// Sends an order and the descriptors that belong to it.
    ///
    /// # Errors
    /// When the room is gone or does not take it.
    pub fn order(&self, order: &Order, ends: &[OwnedFd]) -> io::Result<()> {
        let ends: Vec<BorrowedFd<'_>> = ends.iter().map(OwnedFd::as_fd).collect();
        self.control.send(order, &ends)
    }

    /// Ends the process at once.
    pub fn kill(&self) {
        kill(self.process.as_fd());
    }
}

fn kill(process: BorrowedFd<'_>) {
    if let Err(err) = pidfd_send_signal(process, Signal::KILL) {
        debug!(%err, "the room was gone before the kill");
    }
}

/// Hands on what the room says until it is silent, waits for its end, and tells how it ended. One thread does both,
/// so that a refusal is always heard before the end that follows it.
fn watch(
    (name, life): (ProcessName, u32),
    control: &Control,
    process: BorrowedFd<'_>,
    child: &mut Child,
    events: &Sender<Event>,
) -> String {
    loop {
        match control.receive::<Report>() {
            Ok(Some((report, _))) => {
                if events.send(Event::Report(name, life, report)).is_err() {
                    break;
                }
            }
            Ok(None) => break,
            // A process that was killed with orders unread.
            Err(err) if err.kind() == io::ErrorKind::ConnectionReset => break,
            Err(err) => {
                warn!(room = %name, %err, "the room's report is not understood: killed");
                kill(process);
                break;
            }
        }
    }
    match child.wait() {
        Ok(status) => ending(status),
        Err(err) => format!("unknown: {err}"),
    }
}

fn ending(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

/// What a room may know of the parent's environment. GStreamer's own debugging is not among it: its output and its
/// dumps hold passwords.
fn environment(name: ProcessName, all: impl Iterator<Item = (OsString, OsString)>) -> BTreeMap<OsString, OsString> {
    const ALL_ROOMS: &[&str] = &[
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
    const INFER_BEGINNINGS: &[&str] = &["PULSE_", "ALSA_", "CUDA_", "NVIDIA_"];
    let allowed = |key: &OsStr| {
        let Some(key) = key.to_str() else { return false };
        let infer = || INFER.contains(&key) || INFER_BEGINNINGS.iter().any(|it| key.starts_with(it));
        ALL_ROOMS.contains(&key)
            || (name != ProcessName::Publish && MEDIA.contains(&key))
            || (name == ProcessName::Infer && infer())
    };
    let mut environment: BTreeMap<_, _> = all.filter(|(key, _)| allowed(key)).collect();
    if name == ProcessName::Infer {
        // Later libraries (seen: 1.31.1) count what they do in a database in the user's cache, and want to send it home.
        // This room has no network for it, and it must not write either.
        environment.insert("ORT_DISABLE_TELEMETRY".into(), "1".into());
    }
    environment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_inherit_only_what_they_need() {
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
