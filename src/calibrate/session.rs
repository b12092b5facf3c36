//! A dry run while it runs: records, keys and signals come in, a view or lines go out.

use std::{
    io::{self, Write as _},
    sync::Arc,
    time::Duration,
};

use crossbeam_channel::{Receiver, Sender, TryRecvError, select};
use tracing::debug;

use super::{
    Site,
    guide::Guide,
    json,
    script::{Script, Wanted},
    text::{self, PrintedLines},
    view::{self, Screen},
};
use crate::{
    service::signals::Signal,
    supervisor::{DryRunEvent, DryRunRequest},
    terminal::{Key, Tail, Terminal},
    time::Clock,
    wire::record::Record,
};

/// How long a key waits for an answer, and how often a view is drawn at most.
const TURN: Duration = Duration::from_millis(100);
/// While only the end of the processes is waited for.
const LONG: Duration = Duration::from_secs(3600);
/// Lines of the log that a view may show.
const LOG_LINES: usize = 200;

/// Where it goes.
pub(crate) enum Output {
    /// Onto a terminal of its own.
    View(Terminal),
    /// Lines for people.
    Lines,
    /// Lines for programs.
    Json,
}

/// A run.
pub(crate) struct Session {
    /// What is known.
    pub site: Site,
    /// What is to be done without a person.
    pub wanted: Wanted,
    /// Where it goes.
    pub output: Output,
    /// From the processes; the run ends when it is closed.
    pub events: Receiver<DryRunEvent>,
    /// The signals that this process received.
    pub signals: Receiver<Signal>,
    /// To the parent, for `ingest` and `infer`.
    pub requests: Sender<DryRunRequest>,
    /// To the parent: signals that it must see.
    pub parent: Sender<Signal>,
    /// The clock of the process.
    pub clock: Arc<dyn Clock>,
}

/// How a turn ended.
enum Turn {
    Key(Key),
    Event(DryRunEvent),
    Signal(Signal),
    Nothing,
    /// The processes have ended.
    Over,
}

impl Session {
    /// Runs until the processes have ended, after a key, a signal, the script or a closed output asked for it. Returns
    /// what was observed, and the last log lines where a terminal was left.
    #[must_use]
    pub(crate) fn run(mut self) -> (Site, Option<Tail>) {
        let mut guide = Guide::new(self.wanted.baseline);
        let mut script = Script::new(self.wanted);
        let mut shown = Shown { printed: PrintedLines::default(), note: String::new(), screen: Screen::default() };
        let mut tail = None;
        if matches!(self.output, Output::Json) && shown.line(&json::run(&self.site.facts).to_string()).is_err() {
            self.send(DryRunRequest::Stop);
        }
        loop {
            let now = self.clock.now();
            self.site.tick(now);
            let (mut requests, note) = script.step(&mut self.site, &mut guide, now);
            requests.extend(guide.look(&mut self.site, now));
            if let Some(note) = note {
                guide.note = note.into();
            }
            if script.is_over(&self.site) {
                requests.push(DryRunRequest::Stop);
            }
            let mut ends = self.show(&mut shown, &guide).is_err();
            match self.turn() {
                Turn::Over => break,
                Turn::Nothing => {}
                Turn::Key(key) => requests.extend(guide.key(key, &mut self.site, self.clock.now())),
                Turn::Signal(signal) => {
                    // The first lets the processes finish, the second does not.
                    self.parent.try_send(signal).ok();
                    ends |= matches!(signal, Signal::Stop | Signal::StopAtOnce);
                }
                Turn::Event(event) => ends |= self.handle(&mut shown, &event).is_err(),
            }
            ends |= requests.contains(&DryRunRequest::Stop);
            requests.into_iter().for_each(|request| self.send(request));
            if ends {
                self.send(DryRunRequest::Stop);
                tail = tail.or(self.leave());
                break;
            }
        }
        self.wait();
        let left = self.leave();
        (self.site, tail.or(left))
    }

    /// Waits until the processes have ended; a second signal ends them at once.
    fn wait(&mut self) {
        loop {
            match self.next_of(LONG) {
                Turn::Over => return,
                // If a key of the view asked for the end, this first signal is the second request.
                Turn::Signal(Signal::Stop) => drop(self.parent.try_send(Signal::StopAtOnce)),
                Turn::Signal(signal) => drop(self.parent.try_send(signal)),
                Turn::Event(_) | Turn::Key(_) | Turn::Nothing => {}
            }
        }
    }

    /// Leaves the terminal as soon as it is not needed, so that the last log lines of the processes can be seen.
    fn leave(&mut self) -> Option<Tail> {
        match std::mem::replace(&mut self.output, Output::Lines) {
            Output::View(terminal) => Some(terminal.leave()),
            other => {
                self.output = other;
                None
            }
        }
    }

    fn send(&self, request: DryRunRequest) {
        if self.requests.try_send(request).is_err() {
            debug!(?request, "the parent is ending and takes no requests");
        }
    }

    fn turn(&mut self) -> Turn {
        let Output::View(terminal) = &mut self.output else { return self.next_of(TURN) };
        match self.events.try_recv() {
            Ok(event) => return Turn::Event(event),
            Err(TryRecvError::Disconnected) => return Turn::Over,
            Err(TryRecvError::Empty) => {}
        }
        if let Ok(signal) = self.signals.try_recv() {
            return Turn::Signal(signal);
        }
        match terminal.key(TURN) {
            Ok(key) => key.map_or(Turn::Nothing, Turn::Key),
            // The terminal was closed.
            Err(_) => Turn::Signal(Signal::Stop),
        }
    }

    fn next_of(&self, within: Duration) -> Turn {
        select! {
            recv(self.signals) -> signal => signal.map_or(Turn::Over, Turn::Signal),
            recv(self.events) -> event => event.map_or(Turn::Over, Turn::Event),
            default(within) => Turn::Nothing,
        }
    }

    fn handle(&mut self, shown: &mut Shown, event: &DryRunEvent) -> io::Result<()> {
        match event {
            DryRunEvent::Record(record) => self.take(shown, record),
            DryRunEvent::Libraries(libraries) => {
                self.site.libraries = Some(*libraries);
                match self.output {
                    Output::Json => shown.line(&json::libraries(libraries).to_string()),
                    Output::Lines | Output::View(_) => Ok(()),
                }
            }
        }
    }

    fn take(&mut self, shown: &mut Shown, record: &Record) -> io::Result<()> {
        self.site.take(record, self.clock.now());
        match (&self.output, record) {
            (Output::Json, _) => shown.line(&json::record(&self.site, record).to_string())?,
            (Output::Lines, Record::Reading(reading)) => {
                shown.line(&text::reading(self.site.name(reading.camera), reading))?;
            }
            (Output::Lines, Record::ProbeRecord(probe)) => {
                if let Some(step) = shown.printed.step(probe) {
                    shown.line(&text::step(self.site.name(probe.camera), step))?;
                }
            }
            _ => {}
        }
        if matches!(self.output, Output::View(_)) {
            return Ok(());
        }
        for (name, item) in shown.printed.news(&self.site) {
            shown.line(&match self.output {
                Output::Json => json::verdict(&name, &item, false).to_string(),
                _ => text::verdict(&name, &item),
            })?;
        }
        Ok(())
    }

    /// Draws the view, or prints a new note of the guide.
    fn show(&mut self, shown: &mut Shown, guide: &Guide) -> io::Result<()> {
        if let Output::View(terminal) = &mut self.output {
            shown.screen.log.extend(terminal.logged());
            let over = shown.screen.log.len().saturating_sub(LOG_LINES);
            shown.screen.log.drain(..over);
            return terminal.draw(|frame| view::draw(frame, &self.site, guide, &shown.screen));
        }
        if guide.note.is_empty() || guide.note == shown.note {
            return Ok(());
        }
        shown.note.clone_from(&guide.note);
        shown.line(&match self.output {
            Output::Json => serde_json::json!({ "kind": "guide", "say": guide.note }).to_string(),
            _ => guide.note.clone(),
        })
    }
}

/// What was printed or is on the screen.
struct Shown {
    printed: PrintedLines,
    /// The last note of the guide.
    note: String,
    screen: Screen,
}

impl Shown {
    /// An error, such as a closed standard output, ends the run.
    fn line(&self, line: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(format!("{line}\n").as_bytes())?;
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::bounded;

    use super::{super::guide::tests::site, *};
    use crate::time::SystemClock;

    /// The slots are there at once, so that the run is over; then these signals come, and the processes end.
    fn after_the_end(signals: &[Signal]) -> Vec<Signal> {
        let (_rooms, heard) = bounded(1);
        let (signal, asked) = bounded(4);
        let (asks, to_parent) = bounded(8);
        let (parent, for_parent) = bounded(4);
        let wanted = Wanted { slots: Some(3), ..Wanted::default() };
        let clock = Arc::new(SystemClock);
        let session = Session {
            site: site(),
            wanted,
            output: Output::Lines,
            events: heard,
            signals: asked,
            requests: asks,
            parent,
            clock,
        };
        let session = std::thread::Builder::new().name("session".into()).spawn(move || session.run()).unwrap();
        assert_eq!(to_parent.recv().unwrap(), DryRunRequest::Stop);
        signals.iter().for_each(|it| signal.send(*it).unwrap());
        drop(signal);
        assert!(session.join().unwrap().1.is_none());
        for_parent.iter().collect()
    }

    #[test]
    fn who_asks_again_does_not_wait() {
        // The first wish was no signal: a key of the view, or the last slot.
        assert_eq!(after_the_end(&[Signal::Stop]), [Signal::StopAtOnce]);
        assert_eq!(after_the_end(&[Signal::StopAtOnce]), [Signal::StopAtOnce]);
        assert_eq!(after_the_end(&[Signal::Pause]), [Signal::Pause]);
    }
}
