//! `edge-ger watch`: the readings of a whole fleet, in a terminal.
//!
//! ```text
//! broker ─▶ link ─messages─▶ fleet (what is known) ─rows─▶ view (a terminal) · lines (a pipe, or once)
//! ```
//!
//! It only listens. What a broker and its boxes say is a stranger's word: sizes are bounded, names that no configuration
//! allows are passed over, and no sign that commands a terminal reaches one.

pub(crate) mod address;
pub(crate) mod fleet;
mod lines;
mod subscriber;
pub(crate) mod text;
mod view;

use std::{
    io::{self, Write},
    time::Duration,
};

use crossbeam_channel::{Receiver, RecvTimeoutError, select};

use self::{
    address::Address,
    fleet::Fleet,
    subscriber::Event,
    view::{Look, Scene},
};
use crate::{
    config::MqttSecrets,
    mqtt::{FailureKind, Message, TlsError},
    service::signals::Signal,
    terminal::Terminal,
    time::{Clock, Span},
};

/// From one picture of the view to the next, if no key is pressed.
const FRAME: Duration = Duration::from_millis(250);
/// What is retained has come when nothing of it came for so long.
const QUIET: Span = Span::from_ms(700);
/// What is retained is waited for so long in all, and so is the broker.
const PATIENCE: Span = Span::from_ms(15_000);
/// No reason of a library is longer in our words, characters.
const REASON_CHARS_MAX: usize = 120;

/// What to watch, and how.
#[derive(Debug)]
pub(crate) struct Task {
    /// Where.
    pub place: Address,
    /// The password, the authority, the certificate.
    pub secrets: MqttSecrets,
    /// How it is shown.
    pub form: Form,
}

/// How it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A live view, on a terminal.
    View,
    /// A line for each thing that happens.
    Lines,
    /// The same as JSON.
    Json,
    /// A table of what is known now, then the end.
    Once,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system gives no thread, no event queue or no terminal, or takes no output.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing could be shown: the connection's state in words.
    #[error("{0}")]
    Unreached(String),
}

/// The connection, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Link {
    Connecting,
    Connected,
    NotAllowed,
    /// Why and what can be done, and when the next one is tried, s.
    Lost(String, u64),
}

impl Link {
    fn lost(reason: &str, kind: FailureKind, wait: Duration) -> Self {
        let reason = text::plain(reason, REASON_CHARS_MAX);
        let why = match kind {
            FailureKind::Away => format!("the broker is away: {reason}"),
            FailureKind::Unauthorised => {
                format!("the broker refuses us ({reason}): check the user and --password-file")
            }
            FailureKind::Certificate => format!(
                "no secure connection to the broker ({reason}): check --ca-file, --certificate-file, the host and the \
                 date"
            ),
        };
        Self::Lost(why, wait.as_secs().max(1))
    }

    fn is_good(&self) -> bool {
        *self == Self::Connected
    }

    /// Its state.
    fn words(&self) -> &str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::NotAllowed => "the broker lets us in, but not read: check what this user may subscribe to",
            Self::Lost(why, _) => why,
        }
    }

    /// Its state, and what comes next.
    fn outlook(&self) -> String {
        match self {
            Self::Lost(why, wait_s) => format!("{why}; next try in {wait_s} s"),
            it => it.words().to_owned(),
        }
    }
}

/// What is known so far.
struct Watch<'a> {
    fleet: Fleet,
    link: Link,
    clock: &'a dyn Clock,
}

impl Watch<'_> {
    /// Takes in what happened; a message that was not known before comes back as its news.
    fn take(&mut self, event: Event) -> Option<(fleet::News, Message)> {
        match event {
            Event::Connected => self.link = Link::Connected,
            Event::NotAllowed => self.link = Link::NotAllowed,
            Event::Lost(failure, wait) => self.link = Link::lost(&failure.text, failure.kind, wait),
            Event::TooLong => self.fleet.too_long(),
            Event::Message(message) => {
                let news = self.fleet.take(&message, self.clock.wall_ms())?;
                return Some((news, message));
            }
        }
        None
    }
}

/// Watches until somebody asks it to stop, or, once, until all is told. What is not a view goes to `out`; whoever closes
/// it has seen enough.
///
/// # Errors
/// When a certificate cannot be used, the terminal or `out` fails, or, once, the broker cannot be reached.
pub(crate) fn run(task: &Task, asked: &Receiver<Signal>, clock: &dyn Clock, out: &mut dyn Write) -> Result<(), Error> {
    let events = subscriber::start(&task.place, &task.secrets)?;
    let watch = Watch { fleet: Fleet::new(&task.place.prefix), link: Link::Connecting, clock };
    let done = match task.form {
        Form::View => view(watch, &task.place, &events, asked),
        Form::Lines | Form::Json => follow(watch, task.form == Form::Json, &events, asked, out),
        Form::Once => once(watch, &events, asked, out),
    };
    match done {
        Err(Error::Io(err)) if err.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn view(
    mut watch: Watch<'_>,
    place: &Address,
    events: &Receiver<Event>,
    asked: &Receiver<Signal>,
) -> Result<(), Error> {
    let place = place.to_string();
    let mut terminal = Terminal::enter()?;
    let mut look = Look::default();
    loop {
        // No more than there were, so that a flood does not keep the view from being drawn.
        for event in events.try_iter().take(events.len()) {
            watch.take(event);
        }
        let scene = Scene { place: &place, link: &watch.link, fleet: &watch.fleet, now_ms: watch.clock.wall_ms() };
        terminal.draw(|frame| view::draw(frame, &scene, &mut look))?;
        let leaves = terminal.key(FRAME)?.is_some_and(|key| !look.press(key));
        if leaves || !asked.is_empty() {
            return Ok(());
        }
    }
}

fn follow(
    mut watch: Watch<'_>,
    as_json: bool,
    events: &Receiver<Event>,
    asked: &Receiver<Signal>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    loop {
        let event = select! {
            recv(asked) -> _ => return Ok(()),
            recv(events) -> event => event.map_err(|_| ended())?,
        };
        let before = watch.link.clone();
        let line = match watch.take(event) {
            Some((news, message)) if as_json => lines::json_line(&news, message.retained),
            Some((news, _)) => lines::line(&news),
            // Every try of an outage would be a line otherwise.
            None if before.words() == watch.link.words() => continue,
            None if as_json => lines::json_state(watch.link.words()),
            None => format!("{}\n", watch.link.words()),
        };
        out.write_all(line.as_bytes())?;
        out.flush()?;
    }
}

fn once(
    mut watch: Watch<'_>,
    events: &Receiver<Event>,
    asked: &Receiver<Signal>,
    out: &mut dyn Write,
) -> Result<(), Error> {
    let clock = watch.clock;
    let end = clock.now() + PATIENCE;
    let mut quiet = end;
    loop {
        let within = quiet.min(end).after(clock.now());
        match events.recv_timeout(within) {
            Ok(event) => {
                if matches!(&event, Event::Message(it) if it.retained) {
                    quiet = clock.now() + QUIET;
                }
                watch.take(event);
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        }
        match watch.link {
            Link::Connected if quiet == end => quiet = clock.now() + QUIET,
            Link::Lost(..) | Link::NotAllowed => return Err(Error::Unreached(watch.link.words().to_owned())),
            _ => (),
        }
        if !asked.is_empty() {
            return Ok(());
        }
    }
    if !watch.link.is_good() {
        return Err(Error::Unreached(watch.link.words().to_owned()));
    }
    out.write_all(lines::table(&watch.fleet, clock.wall_ms()).as_bytes())?;
    Ok(out.flush()?)
}

/// The connection's thread never ends while somebody listens.
fn ended() -> Error {
    Error::Io(io::Error::other("the connection's thread ended by itself"))
}
