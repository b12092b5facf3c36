//! A program of somebody else, with its output read line by line.

use std::{
    io::{BufRead, BufReader},
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use crossbeam_channel::{Receiver, bounded};

use super::broker::DEADLINE;

/// It runs until it is dropped.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Program {
    /// Starts it, behind the tests of live media that run beside it.
    pub(crate) fn start(name: &str, arguments: &[&str]) -> Self {
        let mut command = Command::new("nice");
        command.args(["-n", "19", name]).args(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = bounded(100_000);
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let readers: [Box<dyn BufRead + Send>; 2] = [Box::new(BufReader::new(out)), Box::new(BufReader::new(err))];
        for reader in readers {
            let sender = sender.clone();
            let read = move || reader.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
            thread::Builder::new().name("program".into()).spawn(read).unwrap();
        }
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for the next line that holds `words`.
    #[track_caller]
    pub(crate) fn wait_line(&mut self, words: &str) -> String {
        let deadline = Instant::now() + 2 * DEADLINE;
        loop {
            match self.lines.recv_deadline(deadline) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(err) => panic!("{err}: no line with {words:?}; said:\n{}", self.said.join("\n")),
            }
        }
    }

    /// Everything that was said so far, without waiting.
    pub(crate) fn said(&mut self) -> &[String] {
        self.said.extend(self.lines.try_iter());
        &self.said
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
