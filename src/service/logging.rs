//! Log lines on standard error: with levels for journald, short for a terminal, with the date for a file.

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

/// The environment variable that filters the log, in the syntax of `tracing_subscriber::EnvFilter`.
const FILTER: &str = "EDGE_GER_LOG";
/// Of libraries that log more than an operator needs, only warnings.
const FILTER_DEFAULT: &str = "info,ort=warn,rumqttc=warn,rumqttd=warn,rustls=warn";

/// Set by the parent in the environment of its workers when the log is for a terminal, although they write into a pipe:
/// a view on the terminal holds the lines back until it is left.
const READER: &str = "EDGE_GER_LOG_READER";
const TERMINAL: &str = "terminal";
/// Where the log of this process goes.
static CHOSEN: OnceLock<Reader> = OnceLock::new();

/// Where the log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    /// To journald, which knows the time and reads the level from a prefix.
    Journal,
    /// To a terminal.
    Terminal,
    /// To a file or a pipe.
    File,
}

/// Starts logging, of panics, too. `process` is the first word of every line; empty for the parent.
///
/// A second call changes nothing.
pub(crate) fn start(process: &'static str) {
    let requested = env::var(FILTER).ok().filter(|filter| !filter.is_empty());
    let (filter, fault) = match requested.as_deref().map(EnvFilter::try_new) {
        Some(Ok(filter)) => (filter, None),
        Some(Err(err)) => (EnvFilter::new(FILTER_DEFAULT), Some(err)),
        None => (EnvFilter::new(FILTER_DEFAULT), None),
    };
    let lines = Lines { process, reader: *CHOSEN.get_or_init(reader) };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        // It would print them to standard error, and panic where that is closed.
        .log_internal_errors(false)
        .with_ansi(lines.reader == Reader::Terminal)
        .event_format(lines)
        .finish();
    if tracing::subscriber::set_global_default(subscriber).is_err() {
        return;
    }
    panic::set_hook(Box::new(|info| {
        let message = info.payload_as_str().unwrap_or("no message");
        let place = info.location().map(ToString::to_string).unwrap_or_default();
        error!(place, "panic, which is a fault of edge-ger: {message}");
    }));
    if let Some(err) = fault {
        tracing::warn!(%err, "{FILTER} is not understood, so the default `{FILTER_DEFAULT}` holds");
    }
}

/// An environment variable for the workers, so that their lines have the form of those of this process.
#[must_use]
pub(crate) fn for_workers() -> Option<(&'static str, &'static str)> {
    (CHOSEN.get() == Some(&Reader::Terminal)).then_some((READER, TERMINAL))
}

/// Prints to standard error why the program ends, whether or not logging has started. For journald, every line has its
/// prefix.
pub fn print_error(text: &str) {
    let prefix = if reader() == Reader::Journal { prefix(Level::ERROR) } else { "" };
    let mut lines: String = text.lines().map(|line| format!("{prefix}{}\n", printable(line))).collect();
    if lines.is_empty() {
        lines = format!("{prefix}ended without a reason\n");
    }
    // Where standard error is closed, there still is the exit code.
    io::stderr().write_all(lines.as_bytes()).ok();
}

/// `JOURNAL_STREAM` is the device and inode of journald's socket; it is also inherited by processes with another standard
/// error.
fn reader() -> Reader {
    let journal = env::var("JOURNAL_STREAM").ok().zip(rustix::fs::fstat(rustix::stdio::stderr()).ok());
    if journal.is_some_and(|(named, found)| named == format!("{}:{}", found.st_dev, found.st_ino)) {
        Reader::Journal
    } else if io::stderr().is_terminal() || env::var_os(READER).is_some_and(|value| value == TERMINAL) {
        Reader::Terminal
    } else {
        Reader::File
    }
}

/// Levels of `sd-daemon(3)`: 3 error, 4 warning, 6 information, 7 debug.
fn prefix(level: Level) -> &'static str {
    match level {
        Level::ERROR => "<3>",
        Level::WARN => "<4>",
        Level::INFO => "<6>",
        Level::DEBUG | Level::TRACE => "<7>",
    }
}

/// Parts of the text come from cameras and brokers: they must not forge a line or contain terminal sequences.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

struct Lines {
    process: &'static str,
    reader: Reader,
}

impl Lines {
    fn write(&self, to: &mut dyn fmt::Write, level: Level, wall_ms: u64, text: &str) -> fmt::Result {
        let text = printable(text.trim_end());
        let process = if self.process.is_empty() { String::new() } else { format!("{}: ", self.process) };
        match self.reader {
            Reader::Journal => writeln!(to, "{}{process}{text}", prefix(level)),
            Reader::Terminal => {
                let colour = match level {
                    Level::ERROR => "\x1b[31merror\x1b[0m ",
                    Level::WARN => "\x1b[33mwarning\x1b[0m ",
                    Level::INFO => "",
                    Level::DEBUG | Level::TRACE => "\x1b[2mdebug\x1b[0m ",
                };
                writeln!(to, "{} {colour}{process}{text}", time_of_day(wall_ms))
            }
            Reader::File => writeln!(to, "{} {} {level:<5} {process}{text}", date(wall_ms), time_of_day(wall_ms)),
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
pub(crate) fn date_and_time(wall_ms: u64) -> String {
    format!("{} {} UTC", date(wall_ms), &time_of_day(wall_ms)[..5])
}

/// `HH:MM:SS.mmmZ`, UTC.
pub(crate) fn time_of_day(wall_ms: u64) -> String {
    let (s, ms) = (wall_ms / 1000, wall_ms % 1000);
    format!("{:02}:{:02}:{:02}.{ms:03}Z", s / 3600 % 24, s / 60 % 60, s % 60)
}

/// `YYYY-MM-DD`, UTC.
pub(crate) fn date(wall_ms: u64) -> String {
    // Years start on 1 March, so that the leap day is the last day: Howard Hinnant,
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
    fn each_destination_has_its_format() {
        let check = |reader, level, process, expected: &str| {
            let mut line = String::new();
            let wall_ms = 1_767_225_600_000 + 3_723_004;
            Lines { process, reader }.write(&mut line, level, wall_ms, "camera lost\n<0>forged").unwrap();
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
    fn dates_are_those_of_the_gregorian_calendar() {
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
