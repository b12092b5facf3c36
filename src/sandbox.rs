//! Restricts what a process may do. The kernel enforces it for all threads, and it cannot be undone.
//!
//! `infer` decodes pictures, so it cannot create a network socket: on no thread, and through no other system call with the
//! same effect. `socket`, `socketpair` and the calls that circumvent them are refused. `connect`, `bind`, `listen`,
//! `accept` and `send` are allowed: without a socket they have no use, and the descriptors that the parent passes are
//! ends of socket pairs, which cannot be connected to anything else.

use std::{collections::BTreeMap, fmt, io::Error as IoError};

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, apply_filter_all_threads, sock_filter,
};

/// What a process gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// For the parent, `ingest` and `publish`: no core dumps, and other processes of the same user cannot read its memory,
    /// where passwords are.
    Networked,
    /// For a process that decodes pictures and sound or runs a network file: no core dumps, and no sockets.
    NoNetwork {
        /// Whether unix sockets are allowed, for a microphone that is reached through one.
        unix_sockets: bool,
    },
}

/// The restrictions that are in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Granted(Profile);

impl fmt::Display for Granted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Profile::Networked => "no core dumps, memory closed to others",
            Profile::NoNetwork { unix_sockets: false } => "no sockets (seccomp, every thread), no core dumps",
            Profile::NoNetwork { unix_sockets: true } => {
                "no network sockets (seccomp, every thread), unix sockets for the microphone, no core dumps"
            }
        })
    }
}

/// Why the restrictions could not be put in force.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The kernel does not support seccomp filters.
    #[error(
        "the kernel does not enforce the rule that this process has no network ({0}): pictures are only decoded where it \
         does; use a kernel with CONFIG_SECCOMP_FILTER, and a container that allows `seccomp`"
    )]
    NotEnforced(IoError),
    /// There is no filter for this architecture.
    #[error("the sandbox cannot be built for {arch}: {text}")]
    NotBuilt {
        /// The processor's architecture.
        arch: &'static str,
        /// The error of seccompiler.
        text: String,
    },
    /// A limit could not be set.
    #[error("the kernel refused to switch off core dumps: {0}")]
    CoreDumps(IoError),
}

/// Puts the restrictions in force. To be called before the process starts threads; threads that exist are restricted,
/// too.
///
/// # Errors
/// When the kernel does not enforce them. There is no option to run without.
pub(crate) fn enter(profile: Profile) -> Result<Granted, Error> {
    // A core dump of `infer` would hold pictures, and one of the others passwords.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    setrlimit(Resource::Core, none).map_err(|err| Error::CoreDumps(err.into()))?;
    match profile {
        // Not for `infer`: CUDA writes to its own threads' entries in /proc, which this would close.
        Profile::Networked => {
            set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|err| Error::CoreDumps(err.into()))?;
        }
        Profile::NoNetwork { unix_sockets } => {
            let arch = std::env::consts::ARCH;
            let program = no_network(unix_sockets).map_err(|text| Error::NotBuilt { arch, text: text.to_string() })?;
            apply(&program)?;
            apply(&no_foreign_numbers())?;
        }
    }
    Ok(Granted(profile))
}

fn apply(program: &BpfProgram) -> Result<(), Error> {
    apply_filter_all_threads(program).map_err(|err| match err {
        seccompiler::Error::Prctl(source) | seccompiler::Error::Seccomp(source) => Error::NotEnforced(source),
        other => Error::NotEnforced(IoError::other(other.to_string())),
    })
}

/// System calls that make sockets without `socket`, take them from another process, or act in its place.
const ROUND_ABOUT: &[i64] = &[
    // A ring makes and uses sockets in the kernel, where no filter looks.
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    // Another process of the same user has a network.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    // Programs in the kernel, and pages that another process fills.
    libc::SYS_bpf,
    libc::SYS_userfaultfd,
];

/// `SOCK_TYPE_MASK` of `linux/net.h`: the rest of a socket's type are flags.
const SOCKET_TYPE_MASK: u64 = 0xf;
/// `TUNSETIFF` of `linux/if_tun.h`: a network card in a file.
const TUNSETIFF: u64 = 0x4004_54ca;

/// The rules. A call with another architecture's numbers, as through `int 0x80`, ends the process.
fn no_network(unix_sockets: bool) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ROUND_ABOUT.iter().map(|number| (*number, Vec::new())).collect();
    // The kernel takes these arguments as 32 bits and ignores the others, so the comparison must too.
    let argument = |at, operator, value| {
        let condition = SeccompCondition::new(at, SeccompCmpArgLen::Dword, operator, value)?;
        Ok::<_, seccompiler::BackendError>(vec![SeccompRule::new(vec![condition])?])
    };
    let not_unix = argument(0, SeccompCmpOp::Ne, u64::from(libc::AF_UNIX.unsigned_abs()))?;
    // No rule means always.
    rules.insert(libc::SYS_socket, if unix_sockets { not_unix.clone() } else { Vec::new() });
    let mut pairs = not_unix;
    if !unix_sockets {
        // GStreamer wakes its threads through a pair of stream sockets, which reaches nobody else. An end of a pair
        // of any other type could still send to every unix socket that has a name, such as the system log's.
        let stream = u64::from(libc::SOCK_STREAM.unsigned_abs());
        for kind in (0..=SOCKET_TYPE_MASK).filter(|it| *it != stream) {
            pairs.extend(argument(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK), kind)?);
        }
    }
    rules.insert(libc::SYS_socketpair, pairs);
    rules.insert(libc::SYS_ioctl, argument(1, SeccompCmpOp::Eq, TUNSETIFF)?);
    let refused = SeccompAction::Errno(libc::EACCES.unsigned_abs());
    let arch = TargetArch::try_from(std::env::consts::ARCH)?;
    SeccompFilter::new(rules, SeccompAction::Allow, refused, arch)?.try_into()
}

/// On x86-64 a second set of numbers, x32, has the same architecture code and bit 30 set: all of it is refused.
/// Elsewhere no such number exists.
fn no_foreign_numbers() -> BpfProgram {
    // `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JGE | BPF_K` and `BPF_RET | BPF_K` of `linux/bpf_common.h`.
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    const NUMBER_AT: u32 = 0;
    const X32_BIT: u32 = 1 << 30;
    let refused = libc::SECCOMP_RET_ERRNO | libc::EACCES.unsigned_abs();
    vec![
        sock_filter { code: LOAD_WORD, jt: 0, jf: 0, k: NUMBER_AT },
        sock_filter { code: JUMP_IF_AT_LEAST, jt: 0, jf: 1, k: X32_BIT },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: refused },
        sock_filter { code: RETURN, jt: 0, jf: 0, k: libc::SECCOMP_RET_ALLOW },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_can_be_built_for_this_machine() {
        for unix_sockets in [false, true] {
            let program = no_network(unix_sockets).unwrap();
            // The kernel takes at most 4096 instructions (BPF_MAXINSNS).
            assert!(ROUND_ABOUT.len() < program.len() && program.len() < 4096);
        }
    }
}
