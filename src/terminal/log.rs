//! Standard error of this process and of its children, held back while a view has the terminal.
//!
//! File descriptor 2 is replaced by a pipe, because libraries and children write to it, too.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead as _, BufReader, PipeReader, Write as _},
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::Duration,
};

use crossbeam_channel::{Receiver, bounded};
use parking_lot::Mutex;

/// Enough for hours of a camera that fails again and again. Beyond it, the oldest lines are dropped and counted.
const LINES_MAX: usize = 20_000;
/// How long the last lines of children that end may take.
const TAIL_TIMEOUT: Duration = Duration::from_secs(2);

/// The captured standard error.
#[derive(Debug)]
pub(super) struct Log {
    buffer: Arc<Mutex<Buffer>>,
    /// Disconnected when no process has the pipe open any more.
    closed: Receiver<()>,
}

#[derive(Debug)]
struct Buffer {
    /// The terminal.
    stderr: File,
    lines: VecDeque<String>,
    /// How many lines were dropped.
    dropped: u64,
    /// Lines are now written to the terminal at once.
    is_released: bool,
}

impl Log {
    /// Holds back from now on what is written to standard error.
    ///
    /// # Errors
    /// When the system gives no descriptors or thread. Nothing has changed then.
    pub(super) fn capture() -> io::Result<Self> {
        let stderr = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stderr(), 3)?;
        let (reader, writer) = io::pipe()?;
        let buffer = Buffer { stderr: stderr.into(), lines: VecDeque::new(), dropped: 0, is_released: false };
        let buffer = Arc::new(Mutex::new(buffer));
        let (open, closed) = bounded(0);
        let read_into = Arc::clone(&buffer);
        let work = move || {
            read(reader, &read_into);
            drop(open);
        };
        thread::Builder::new().name("terminal-log".into()).spawn(work)?;
        rustix::stdio::dup2_stderr(OwnedFd::from(writer))?;
        Ok(Self { buffer, closed })
    }

    /// The lines from the nth on, and how many there were so far.
    pub(super) fn since(&self, nth: u64) -> (Vec<String>, u64) {
        let buffer = self.buffer.lock();
        let first = usize::try_from(nth.saturating_sub(buffer.dropped)).unwrap_or(usize::MAX);
        (buffer.lines.iter().skip(first).cloned().collect(), buffer.dropped + buffer.lines.len() as u64)
    }

    /// Makes the terminal standard error again, and writes the lines that were held back.
    pub(super) fn release(&self) {
        let mut buffer = self.buffer.lock();
        // If the terminal was closed, there is nowhere to write to.
        rustix::stdio::dup2_stderr(&buffer.stderr).ok();
        buffer.is_released = true;
        if 0 < buffer.dropped {
            let text = format!("… {} older lines were dropped\n", buffer.dropped);
            buffer.stderr.write_all(text.as_bytes()).ok();
        }
        let text: String = std::mem::take(&mut buffer.lines).iter().map(|line| format!("{line}\n")).collect();
        buffer.stderr.write_all(text.as_bytes()).ok();
    }

    /// Waits until no process has the pipe open any more.
    pub(super) fn wait(&self) {
        // Nothing is ever sent: it is disconnected, or the time is over.
        self.closed.recv_timeout(TAIL_TIMEOUT).ok();
    }
}

fn read(reader: PipeReader, buffer: &Mutex<Buffer>) {
    for line in BufReader::new(reader).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line).into_owned();
        let mut buffer = buffer.lock();
        if buffer.is_released {
            buffer.stderr.write_all(format!("{line}\n").as_bytes()).ok();
            continue;
        }
        if buffer.lines.len() == LINES_MAX {
            buffer.lines.pop_front();
            buffer.dropped += 1;
        }
        buffer.lines.push_back(line);
    }
}
