//! What a process and all of its children cost, from `/proc`; and processes that end with us.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Child,
    time::Duration,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

/// What a process has cost so far.
#[derive(Clone, Debug)]
pub(crate) struct Cost {
    /// Its number.
    pub pid: u32,
    /// The beginning of its command line.
    pub name: String,
    /// Processor time of it and of its children that have ended, s.
    pub cpu_s: f64,
    /// The processor time of its threads, s, by name; threads of one name count together.
    pub threads: BTreeMap<String, f64>,
    /// Resident memory, kB. Pages that several processes share count in each.
    pub rss_kb: u64,
    /// Resident memory, kB, where a page that n processes share counts 1/n. `None` where the kernel does not tell.
    pub pss_kb: Option<u64>,
}

impl Cost {
    /// What it cost since `before`, for each of `seconds`.
    pub(crate) fn shares_since(mut self, before: Option<&Self>, seconds: f64) -> Self {
        self.cpu_s = (self.cpu_s - before.map_or(0.0, |it| it.cpu_s)) / seconds;
        for (name, cpu_s) in &mut self.threads {
            *cpu_s = (*cpu_s - before.and_then(|it| it.threads.get(name)).unwrap_or(&0.0)) / seconds;
        }
        self
    }
}

/// What a process and all that descend from it have cost so far, itself first.
pub(crate) fn tree(root: u32) -> Vec<Cost> {
    let parents: Vec<_> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, stat(&folder(pid))?.parent)))
        .collect();
    let mut pids = vec![root];
    let mut at = 0;
    while let Some(parent) = pids.get(at).copied() {
        pids.extend(parents.iter().filter(|it| it.1 == parent).map(|it| it.0));
        at += 1;
    }
    // A process that ends between the two looks is left out: its parent accounts for its processor time.
    pids.into_iter().filter_map(cost).collect()
}

/// What a `stat` of proc(5) says, of a process or of a thread.
struct Stat {
    name: String,
    parent: u32,
    /// Its own.
    cpu_s: f64,
    /// Of the children that have ended.
    ended_s: f64,
}

fn stat(path: &Path) -> Option<Stat> {
    let line = fs::read_to_string(path.join("stat")).ok()?;
    // The second field is a name in brackets, which may hold spaces and brackets.
    let (front, back) = line.rsplit_once(')')?;
    let fields: Vec<_> = back.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let seconds = |at: usize| Some(number(at)? as f64 / rustix::param::clock_ticks_per_second() as f64);
    Some(Stat {
        name: front.split_once('(')?.1.to_owned(),
        parent: u32::try_from(number(1)?).ok()?,
        // utime, stime, cutime and cstime are fields 14 to 17 of proc(5), and the first one here is field 3.
        cpu_s: seconds(11)? + seconds(12)?,
        ended_s: seconds(13)? + seconds(14)?,
    })
}

fn cost(pid: u32) -> Option<Cost> {
    let folder = folder(pid);
    let stat = stat(&folder)?;
    let (rss_kb, pss_kb) = memory(&folder);
    Some(Cost { pid, name: name(&folder), cpu_s: stat.cpu_s + stat.ended_s, threads: threads(&folder), rss_kb, pss_kb })
}

fn folder(pid: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}"))
}

fn threads(folder: &Path) -> BTreeMap<String, f64> {
    let mut threads = BTreeMap::new();
    for thread in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
        if let Some(stat) = stat(&thread.path()) {
            *threads.entry(stat.name).or_default() += stat.cpu_s;
        }
    }
    threads
}

/// Resident and proportional memory, kB.
fn memory(folder: &Path) -> (u64, Option<u64>) {
    let value = |text: &str, key: &str| {
        text.lines().find_map(|line| line.strip_prefix(key)?.split_whitespace().next()?.parse::<u64>().ok())
    };
    if let Ok(rollup) = fs::read_to_string(folder.join("smaps_rollup"))
        && let Some(rss_kb) = value(&rollup, "Rss:")
    {
        return (rss_kb, value(&rollup, "Pss:"));
    }
    // A process that gave up being dumpable shows its maps to root only, but its size to everybody.
    let status = fs::read_to_string(folder.join("status")).unwrap_or_default();
    (value(&status, "VmRSS:").unwrap_or(0), None)
}

/// The program's file name and its first arguments.
fn name(folder: &Path) -> String {
    const CHARACTERS_MAX: usize = 40;
    let line = fs::read(folder.join("cmdline")).unwrap_or_default();
    let words: Vec<_> = line
        .split(|byte| *byte == 0)
        .map(|word| String::from_utf8_lossy(word).rsplit('/').next().unwrap_or_default().to_owned())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(CHARACTERS_MAX).collect()
}

/// A child process that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn new(child: Child) -> Self {
        Self(child)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Whether it has ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        matches!(self.0.try_wait(), Ok(Some(_)) | Err(_))
    }

    /// Asks it to end, and makes it end when it has not after `patience`. Returns whether asking was enough.
    pub(crate) fn stop(&mut self, patience: Duration) -> io::Result<bool> {
        if self.ended() {
            return Ok(true);
        }
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).ok_or(io::ErrorKind::InvalidInput)?;
        let ending = pidfd_open(pid, PidfdFlags::empty())?;
        kill_process(pid, Signal::TERM)?;
        let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
        let obeyed = poll(&mut [PollFd::new(&ending, PollFlags::IN)], Some(&patience))? == 1;
        if !obeyed {
            self.0.kill()?;
        }
        self.0.wait()?;
        Ok(obeyed)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        /// The daemon promises two seconds.
        const PATIENCE: Duration = Duration::from_secs(5);
        if self.stop(PATIENCE).is_err() {
            self.0.kill().ok();
            self.0.wait().ok();
        }
    }
}
