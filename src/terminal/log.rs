//! Standard error of this process and of the children that it starts, kept while a view has the terminal.
//!
//! The descriptor itself leads into a pipe, because libraries and children write to it, too.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, PipeReader, Write as _},
    os::fd::OwnedFd,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};

/// Hours of a camera that comes and goes. Whatever is over it, the oldest goes first, and is counted.
const LINES_MAX: usize = 20_000;
/// How long the last words of children that have ended may take.
const TAIL: Duration = Duration::from_secs(2);

/// The captured standard error.
#[derive(Debug)]
pub(super) struct Log {
    kept: Arc<Mutex<Kept>>,
    /// Disconnected when nobody can write any more.
    over: Receiver<()>,
}

#[derive(Debug)]
struct Kept {
    /// The terminal.
    stderr: File,
    lines: VecDeque<String>,
    /// How many went, because there were too many.
    gone: u64,
    /// From now on lines go straight to the terminal.
    is_released: bool,
}

impl Log {
    /// From now on what is written to standard error is kept.
    ///
    /// # Errors
    /// When the system gives no descriptors or thread. Nothing has changed then.
    pub(super) fn capture() -> io::Result<Self> {
        let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let (reader, writer) = io::pipe()?;
        let kept = Kept { stderr: stderr.into(), lines: VecDeque::new(), gone: 0, is_released: false };
        let kept = Arc::new(Mutex::new(kept));
        let (keeps_open, over) = bounded(0);
        let keeping = Arc::clone(&kept);
        let keep = move || {
            keep(reader, &keeping);
            drop(keeps_open);
        };
        thread::Builder::new().name("terminal-log".into()).spawn(keep)?;
        rustix::stdio::dup2_stderr(OwnedFd::from(writer))?;
        Ok(Self { kept, over })
    }

    /// The lines from the nth on, and how many there were until now.
    pub(super) fn since(&self, nth: u64) -> (Vec<String>, u64) {
        let kept = lock(&self.kept);
        let first = usize::try_from(nth.saturating_sub(kept.gone)).unwrap_or(usize::MAX);
        (kept.lines.iter().skip(first).cloned().collect(), kept.gone + kept.lines.len() as u64)
    }

    /// Standard error is the terminal again, which gets what was kept.
    pub(super) fn release(&self) {
        let mut kept = lock(&self.kept);
        // Where the terminal is gone, there is nobody to tell.
        rustix::stdio::dup2_stderr(&kept.stderr).ok();
        kept.is_released = true;
        if 0 < kept.gone {
            let gone = format!("… {} older lines are not kept\n", kept.gone);
            kept.stderr.write_all(gone.as_bytes()).ok();
        }
        let text: String = std::mem::take(&mut kept.lines).iter().map(|line| format!("{line}\n")).collect();
        kept.stderr.write_all(text.as_bytes()).ok();
    }

    /// Waits until nobody can write any more.
    pub(super) fn wait(&self) {
        // Nothing is ever sent: it is disconnected, or it takes too long.
        self.over.recv_timeout(TAIL).ok();
    }
}

/// A panic elsewhere leaves the lines as they are: whole.
fn lock(kept: &Mutex<Kept>) -> MutexGuard<'_, Kept> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep(reader: PipeReader, kept: &Mutex<Kept>) {
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut kept = lock(kept);
        if kept.is_released {
            kept.stderr.write_all(format!("{line}\n").as_bytes()).ok();
            continue;
        }
        if kept.lines.len() == LINES_MAX {
            kept.lines.pop_front();
            kept.gone += 1;
        }
        kept.lines.push_back(line);
    }
}
