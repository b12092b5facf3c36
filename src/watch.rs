//! `edge-ger watch`: the readings of a whole fleet, in a terminal.
//!
//! ```text
//! broker ─▶ subscriber ─messages─▶ fleet (the known state) ─rows─▶ view (a terminal) · lines (a pipe, or once)
//! ```
//!
//! It only subscribes. Messages are not trusted: sizes are limited, names that no configuration permits are skipped, and
//! no control character of a message reaches the terminal.

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
    view::{ViewData, ViewState},
};
use crate::{
    config::MqttSecrets,
    mqtt::{FailureKind, Message, TlsError},
    service::signals::Signal,
    terminal::Terminal,
    time::{Clock, Span},
};

/// From one drawing of the view to the next, if no key is pressed.
const REDRAW: Duration = Duration::from_millis(250);
/// All retained messages have arrived when none came for this long.
const QUIET: Span = Span::from_ms(700);
/// The longest wait for the broker and its retained messages.
const TIMEOUT: Span = Span::from_ms(15_000);
/// A library's error message is cut to this length, characters.
const REASON_CHARS_MAX: usize = 120;

/// What to watch, and how.
#[derive(Debug)]
pub(crate) struct Task {
    /// The broker and the prefix.
    pub place: Address,
    /// The password, the authority, the certificate.
    pub secrets: MqttSecrets,
    /// The form of the output.
    pub form: Form,
}

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A live view, on a terminal.
    View,
    /// A line for each event.
    Lines,
    /// The same as JSON.
    Json,
    /// A table of the current state, then the end.
    Once,
}

/// Why a watch ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A certificate or a key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The system provides no thread, no event queue or no terminal, or the output failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Nothing could be shown; the state of the connection in words.
    #[error("{0}")]
    Unreached(String),
}

/// The state of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
enum ConnectionState {
    Connecting,
    Connected,
    NotAllowed,
    /// The reason with its cure, and the time until the next attempt, s.
    Lost(String, u64),
}

impl ConnectionState {
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

    fn as_str(&self) -> &str {
        match self {
            Self::Connecting => "connecting",
            Self::Connected => "connected",
            Self::NotAllowed => "the broker lets us in, but not read: check what this user may subscribe to",
            Self::Lost(why, _) => why,
        }
    }

    /// With the time until the next attempt.
    fn description(&self) -> String {
        match self {
            Self::Lost(why, wait_s) => format!("{why}; next try in {wait_s} s"),
            state => state.as_str().to_owned(),
        }
    }
}

struct Watch<'a> {
    fleet: Fleet,
    connection: ConnectionState,
    clock: &'a dyn Clock,
}

impl Watch<'_> {
    /// Applies an event; a message that changed something is returned with its change.
    fn apply(&mut self, event: Event) -> Option<(fleet::Update, Message)> {
        match event {
            Event::Connected => self.connection = ConnectionState::Connected,
            Event::NotAllowed => self.connection = ConnectionState::NotAllowed,
            Event::Lost(failure, wait) => self.connection = ConnectionState::lost(&failure.text, failure.kind, wait),
            Event::TooLong => self.fleet.count_too_long(),
            Event::Message(message) => {
                let update = self.fleet.apply(&message, self.clock.wall_ms())?;
                return Some((update, message));
            }
        }
        None
    }
}

/// Watches until a signal, or, with [`Form::Once`], until the state is known. All but the view is written to `out`; if
/// its reader closes it, the watch ends without an error.
///
/// # Errors
/// When a certificate cannot be used, the terminal or `out` fails, or, with [`Form::Once`], the broker cannot be reached.
pub(crate) fn run(task: &Task, asked: &Receiver<Signal>, clock: &dyn Clock, out: &mut dyn Write) -> Result<(), Error> {
    let events = subscriber::start(&task.place, &task.secrets)?;
    let watch = Watch { fleet: Fleet::new(&task.place.prefix), connection: ConnectionState::Connecting, clock };
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
    let mut state = ViewState::default();
    loop {
        // At most as many as are queued now, so that a flood of messages does not prevent drawing.
        for event in events.try_iter().take(events.len()) {
            watch.apply(event);
        }
        let data = ViewData {
            place: &place,
            connection: &watch.connection,
            fleet: &watch.fleet,
            now_ms: watch.clock.wall_ms(),
        };
        terminal.draw(|frame| view::draw(frame, &data, &mut state))?;
        let leaves = terminal.key(REDRAW)?.is_some_and(|key| !state.press(key));
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
        let before = watch.connection.clone();
        let line = match watch.apply(event) {
            Some((update, message)) if as_json => lines::json_line(&update, message.retained),
            Some((update, _)) => lines::line(&update),
            // Otherwise every attempt during an outage would be a line.
            None if before.as_str() == watch.connection.as_str() => continue,
            None if as_json => lines::json_state(watch.connection.as_str()),
            None => format!("{}\n", watch.connection.as_str()),
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
    let end = clock.now() + TIMEOUT;
    let mut quiet = end;
    loop {
        let within = quiet.min(end).after(clock.now());
        match events.recv_timeout(within) {
            Ok(event) => {
                if matches!(&event, Event::Message(message) if message.retained) {
                    quiet = clock.now() + QUIET;
                }
                watch.apply(event);
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return Err(ended()),
        }
        match watch.connection {
            ConnectionState::Connected if quiet == end => quiet = clock.now() + QUIET,
            ConnectionState::Lost(..) | ConnectionState::NotAllowed => {
                return Err(Error::Unreached(watch.connection.as_str().to_owned()));
            }
            _ => (),
        }
        if !asked.is_empty() {
            return Ok(());
        }
    }
    if !watch.connection.is_good() {
        return Err(Error::Unreached(watch.connection.as_str().to_owned()));
    }
    out.write_all(lines::table(&watch.fleet, clock.wall_ms()).as_bytes())?;
    Ok(out.flush()?)
}

/// The connection's thread does not end while its receiver lives.
fn ended() -> Error {
    Error::Io(io::Error::other("the connection's thread ended by itself"))
}
