//! The systemd unit: systemd accepts it, it restricts the service, and it allows what the processes need.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    process::Command,
};

const UNIT: &str = include_str!("../../../systemd/edge-ger.service");

/// The values of a key, in order.
fn values(key: &str) -> Vec<&'static str> {
    UNIT.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// The unit as it would be installed, but with a command that is there.
fn analyze(arguments: &[&str]) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edge-ger.service");
    fs::write(&path, UNIT.replace("/usr/bin/edge-ger", crate::it::harness::daemon::binary())).unwrap();
    let output = Command::new("systemd-analyze").args(arguments).arg(&path).output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    (output.status.success(), said)
}

#[test]
fn systemd_accepts_every_line() {
    // Its manual is made with the package.
    let (right, said) = analyze(&["verify", "--man=no"]);
    assert!(right && said.is_empty(), "{said}");
}

#[test]
fn the_unit_exposes_little() {
    // Measured with systemd 252, in tenths of 10; the rest is network, GPU, sound card and JIT, which it needs.
    let (right, said) = analyze(&["security", "--offline=true", "--threshold=18"]);
    assert!(right, "{said}");
    let (right, _) = analyze(&["security", "--offline=true", "--threshold=5"]);
    assert!(!right, "the measure does not measure");
}

#[test]
fn the_unit_agrees_with_the_daemon() {
    for (key, value) in [
        ("Type", "notify"),
        ("NotifyAccess", "main"),
        ("KillMode", "mixed"),
        ("ExecReload", "/bin/kill -HUP $MAINPID"),
        ("Restart", "on-failure"),
        ("RestartPreventExitStatus", "64 75 78"),
    ] {
        assert_eq!(values(key), [value], "{key}");
    }
    assert_eq!(values("MemoryDenyWriteExecute"), [""; 0], "ORC and CUDA compile at run time");
    assert_eq!(values("ExecStartPre"), [""; 0], "RestartPreventExitStatus= is for the main process alone");
}

#[test]
fn a_device_may_be_plugged_in_after_the_start() {
    for (kind, module) in [("alsa", "snd"), ("video4linux", "videodev"), ("drm", "drm")] {
        let allowed = format!("char-{kind} rw");
        assert!(values("DeviceAllow").contains(&allowed.as_str()), "{allowed}");
        let loaded = format!("modprobe@{module}.service");
        for key in ["Wants", "After"] {
            assert!(values(key).iter().any(|it| it.split(' ').any(|it| it == loaded)), "{key} {loaded}");
        }
    }
}

/// What `SystemCallFilter=` comes to with the groups of this machine's systemd.
fn allowed() -> BTreeSet<String> {
    let output = Command::new("systemd-analyze").arg("syscall-filter").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (mut groups, mut group) = (BTreeMap::<&str, Vec<&str>>::new(), "");
    for line in text.lines() {
        match line.strip_prefix("    ") {
            Some(name) if !name.starts_with('#') => groups.entry(group).or_default().push(name.trim()),
            None if line.starts_with('@') => group = line.trim(),
            _ => {}
        }
    }
    fn resolve<'a>(groups: &BTreeMap<&'a str, Vec<&'a str>>, name: &'a str) -> BTreeSet<&'a str> {
        match groups.get(name) {
            Some(members) => members.iter().flat_map(|it| resolve(groups, it)).collect(),
            None => BTreeSet::from([name]),
        }
    }
    let mut allowed = BTreeSet::new();
    for value in values("SystemCallFilter") {
        let (names, less) = value.strip_prefix('~').map_or((value, false), |names| (names, true));
        for name in names.split(' ').flat_map(|name| resolve(&groups, name)) {
            if less {
                allowed.remove(name);
            } else {
                allowed.insert(name.to_owned());
            }
        }
    }
    allowed
}

#[test]
fn the_unit_allows_the_system_calls_of_the_processes() {
    let allowed = allowed();
    // For the sandbox, the parent's control of its workers, GLib's threads, CUDA.
    for call in [
        "seccomp",
        "prctl",
        "prlimit64",
        "pidfd_open",
        "pidfd_send_signal",
        "socketpair",
        "sendmsg",
        "flock",
        "sched_setattr",
        "memfd_create",
        "mlock",
        "sched_setaffinity",
    ] {
        assert!(allowed.contains(call), "{call} is refused");
    }
    for call in ["ptrace", "bpf", "mount", "init_module", "setuid", "chroot", "reboot", "swapon", "io_uring_setup"] {
        assert!(!allowed.contains(call), "{call} is allowed");
    }
}
