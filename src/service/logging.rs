//! Lines on standard error: for journald with its levels, for a terminal short, for a file with the date.

use std::{
    env, fmt,
    io::{self, IsTerminal as _, Write as _},
    panic,
    sync::OnceLock,
};

use tracing::{Event, Level, Subscriber, error};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::time::{Clock, SystemClock};

/// The variable that chooses what is logged, in the words of `tracing_subscriber::EnvFilter`.
pub const FILTER: &str = "EDGE_GER_LOG";
/// Libraries that tell more than an operator can act on are held to their warnings.
const FILTER_DEFAULT: &str = "info,ort=warn,rumqttc=warn,rumqttd=warn,rustls=warn";

/// The variable by which the parent tells its rooms that a person at a terminal reads their lines, although they write
/// into a pipe: a live view keeps the lines until it is left.
const READER: &str = "EDGE_GER_LOG_READER";
const TERMINAL: &str = "terminal";
/// Who reads the lines of this process.
static CHOSEN: OnceLock<Reader> = OnceLock::new();

/// Who reads the lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// journald: it knows the time, and takes the level from a prefix.
    Journal,
    /// A person.
    Terminal,
    /// A file or a pipe.
    File,
}

/// Logs from now on, and panics too. `room` begins every line; the parent's is empty.
///
/// A second call changes nothing: the first one's choice stays.
pub fn start(room: &'static str) {
    let asked = env::var(FILTER).ok().filter(|it| !it.is_empty());
    let (filter, fault) = match asked.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(err)) => (EnvFilter::new(FILTER_DEFAULT), Some(err)),
        None => (EnvFilter::new(FILTER_DEFAULT), None),
    };
    let lines = Lines { room, reader: *CHOSEN.get_or_init(reader) };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would tell of them on standard error, and end the program where that is what is gone.
        .log_internal_errors(false)
        .with_ansi(lines.reader == Reader::Terminal)
        .event_format(lines)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    panic::set_hook(Box::new(|info| {
        let words = info.payload_as_str().unwrap_or("without words");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic, which is a fault of edge-ger: {words}");
    }));
    if let Some(err) = fault {
        tracing::warn!(%err, "{FILTER} is not understood, so the default `{FILTER_DEFAULT}` holds");
    }
}

/// What a room's environment must hold beside its own, so that its lines look like those of this process.
#[must_use]
pub fn for_rooms() -> Option<(&'static str, &'static str)> {
    (CHOSEN.get() == Some(&Reader::Terminal)).then_some((READER, TERMINAL))
}

/// Says on standard error why the program ends, also where logging has not started. Every line of it has the
/// journal's prefix where the journal reads.
pub fn last_words(text: &str) {
    let prefix = if reader() == Reader::Journal { prefix(Level::ERROR) } else { "" };
    let mut lines: String = text.lines().map(|line| format!("{prefix}{}\n", printable(line))).collect();
    if lines.is_empty() {
        lines = format!("{prefix}ended without a reason\n");
    }
    // Where nobody can be told, the exit code still says it.
    io::stderr().write_all(lines.as_bytes()).ok();
}

/// journald names the device and inode of its socket; another standard error inherits the variable all the same.
fn reader() -> Reader {
    let journal = env::var("JOURNAL_STREAM").ok().zip(rustix::fs::fstat(rustix::stdio::stderr()).ok());
    if journal.is_some_and(|(named, found)| named == format!("{}:{}", found.st_dev, found.st_ino)) {
        Reader::Journal
    } else if io::stderr().is_terminal() || env::var_os(READER).is_some_and(|it| it == TERMINAL) {
        Reader::Terminal
    } else {
        Reader::File
    }
}

/// `sd-daemon(3)`: 3 is an error, 4 a warning, 6 information, 7 for developers.
fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Cameras and brokers choose some of the words: they must not forge a line or command the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|it| if it.is_control() { char::REPLACEMENT_CHARACTER } else { it }).collect()
}

struct Lines {
    room: &'static str,
    reader: Reader,
}

impl Lines {
    fn write(&self, to: &mut dyn fmt::Write, level: Level, wall_ms: u64, text: &str) -> fmt::Result {
        let text = printable(text.trim_end());
        let room = if self.room.is_empty() { String::new() } else { format!("{}: ", self.room) };
        match self.reader {
            Reader::Journal => writeln!(to, "{}{room}{text}", prefix(level)),
            Reader::Terminal => {
                let colour = match level {
                    Level::ERROR => "\x1b[31merror\x1b[0m ",
                    Level::WARN => "\x1b[33mwarning\x1b[0m ",
                    Level::INFO => "",
                    Level::DEBUG | Level::TRACE => "\x1b[2mdebug\x1b[0m ",
                };
                writeln!(to, "{} {colour}{room}{text}", time_of_day(wall_ms))
            }
            Reader::File => writeln!(to, "{} {} {level:<5} {room}{text}", date(wall_ms), time_of_day(wall_ms)),
        }
    }
}

impl<S, N> FormatEvent<S, N> for Lines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, ctx: &FmtContext<'_, S, N>, mut to: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut text = String::new();
        ctx.field_format().format_fields(Writer::new(&mut text), event)?;
        self.write(&mut to, *event.metadata().level(), SystemClock.wall_ms(), &text)
    }
}

/// `YYYY-MM-DD HH:MM UTC`, of milliseconds since 1970.
#[must_use]
pub fn date_and_time(wall_ms: u64) -> String {
    format!("{} {} UTC", date(wall_ms), &time_of_day(wall_ms)[..5])
}

/// `HH:MM:SS.mmmZ`, UTC.
pub(crate) fn time_of_day(wall_ms: u64) -> String {
    let (s, ms) = (wall_ms / 1000, wall_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// `YYYY-MM-DD`, UTC.
pub(crate) fn date(wall_ms: u64) -> String {
    // Counted from 1 March of year 0, so that the leap day is the last day of its year: Howard Hinnant,
    // "chrono-Compatible Low-Level Date Algorithms", civil_from_days.
    let days = wall_ms / 86_400_000 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reader_gets_its_kind_of_line() {
        let check = |reader, level, room, expected: &str| {
            let mut line = String::new();
            let wall_ms = 1_767_225_600_000 + 3_723_004;
            Lines { room, reader }.write(&mut line, level, wall_ms, "camera lost\n<0>forged").unwrap();
            assert_eq!(line, expected);
        };
        check(Reader::Journal, Level::WARN, "ingest", "<4>ingest: camera lost\u{fffd}<0>forged\n");
        check(Reader::Journal, Level::ERROR, "", "<3>camera lost\u{fffd}<0>forged\n");
        check(
            Reader::File,
            Level::INFO,
            "infer",
            "2026-01-01 01:02:03.004Z INFO  infer: camera lost\u{fffd}<0>forged\n",
        );
        let warning = "01:02:03.004Z \x1b[33mwarning\x1b[0m publish: camera lost\u{fffd}<0>forged\n";
        check(Reader::Terminal, Level::WARN, "publish", warning);
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (day, expected) in [
            (0, "1970-01-01"),
            (11_016, "2000-02-29"),
            (11_017, "2000-03-01"),
            (20_453, "2025-12-31"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(day * 86_400_000), expected, "day {day}");
        }
        assert_eq!(date_and_time(1_767_225_600_000 + 3_723_004), "2026-01-01 01:02 UTC");
    }
}
