//! A program in a process of its own, with what it says read line by line.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crossbeam_channel::{Receiver, bounded};
use rustix::process::Pid;

/// It runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    /// Starts it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = bounded(100_000);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers: [Box<dyn BufRead + Send>; 2] = [Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for reader in readers {
            let sender = sender.clone();
            let read = move || reader.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            thread::Builder::new().name("said".into()).spawn(read).unwrap();
        }
        Self { child, lines, said: Vec::new() }
    }

    /// The process.
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits for the next line that holds `words`.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, words: &str, within: Duration) -> String {
        let found = self.find(within, |line| line.contains(words));
        found.unwrap_or_else(|| panic!("no line with {words:?} within {within:?}; said:\n{}", self.said()))
    }

    /// Waits for the next line that is one.
    pub(crate) fn find(&mut self, within: Duration, is_one: impl Fn(&str) -> bool) -> Option<String> {
        let deadline = Instant::now() + within;
        loop {
            let line = self.lines.recv_deadline(deadline).ok()?;
            self.said.push(line.clone());
            if is_one(&line) {
                return Some(line);
            }
        }
    }

    /// Everything that was said so far, without waiting.
    pub(crate) fn said(&mut self) -> String {
        self.said.extend(self.lines.try_iter());
        self.said.join("\n")
    }

    /// Waits for the end. Returns the exit code.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, within: Duration) -> i32 {
        let deadline = Instant::now() + within;
        let (_keep, never) = bounded::<()>(0);
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Both pipes are closed by now, so what is left of them can be read to its end.
                self.said.extend(self.lines.iter());
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < deadline, "did not end within {within:?}; said:\n{}", self.said());
            never.recv_timeout(Duration::from_millis(10)).unwrap_err();
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().ok();
            self.child.wait().ok();
        }
    }
}
